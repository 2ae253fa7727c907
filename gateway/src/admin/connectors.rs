//! Connectors: how they are, what they offer, and which of it was accepted.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use bailiwick_config::{Connector, Program, Way};
use bailiwick_connectors::{ChildState, ConnectorStatus, Counts, Discovery};
use bailiwick_schemas::{
    crossing::Others,
    definition::{Definition, ListReading},
    names::QualifiedName,
};
use bailiwick_store::{ClassedBy, Pin};
use serde_json::json;

use super::{
    access::{Operator, Visitor},
    api::{Accept, Accepted, ConnectorView, FailureView, ProcessView, Proposal, ToolView, Trial},
    deed::Deed,
    fault::ApiFault,
    proposal::{Class, proposal},
    trial::trial,
};
use crate::{
    pinning::class_of,
    runtime::Runtime,
    shadowing::{self, names_in},
};

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<ConnectorView>> {
    Json(runtime.config().connectors.iter().map(|connector| view(connector, &runtime)).collect())
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<ConnectorView>, ApiFault> {
    Ok(Json(view(&configured(&id, &runtime)?, &runtime)))
}

pub(super) async fn discover(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<Proposal>, ApiFault> {
    let connector = configured(&id, &runtime)?;
    let deed = Deed::new("connector_discovered", connector.id.as_str(), json!(null));
    let of = Arc::clone(&runtime);
    let found = deed.done_by(&operator, &runtime, async move {
        let discovery = discovered(&connector, &of).await?;
        Ok(proposal(&connector, &discovery, &of.config(), &of.worlds.pins()))
    });
    found.await.map(Json)
}

/// Starts the server for a moment and tells how it did. That it fails is an answer, not a refusal.
pub(super) async fn test(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<Trial>, ApiFault> {
    let connector = configured(&id, &runtime)?.clone();
    let deed = Deed::new("connector_tested", connector.id.as_str(), json!(null));
    let of = Arc::clone(&runtime);
    let tried = deed.done_by(&operator, &runtime, async move {
        let began = Instant::now();
        let look = of.try_out(&connector.id).await;
        Ok(trial(&connector, look, began.elapsed(), &of.config(), &of.worlds.pins()))
    });
    tried.await.map(Json)
}

/// Accepts exactly what was shown: if the server offers anything else by now, nothing.
pub(super) async fn accept(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Accepted>, ApiFault> {
    let connector = configured(&id, &runtime)?;
    let shown: Accept = super::read(&body)?;
    let with = json!({"tools": shown.tools, "refers_to": shown.refers_to});
    let deed = Deed::new("pins_accepted", connector.id.as_str(), with);
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let accepted = deed.done_by(&operator, &runtime, async move {
        let reading = discovered(&connector, &of).await?.reading();
        let offered: BTreeMap<_, _> =
            reading.accepted.iter().map(|definition| (definition.name().to_string(), definition.digest())).collect();
        let others = others(&connector, names_in(&reading), &of);
        let speaks_of = |definition: &Definition| Some((definition.name().to_string(), others.named_in(definition.raw())));
        let refers_to: BTreeMap<_, _> =
            reading.accepted.iter().filter_map(speaks_of).filter(|(_, named)| !named.is_empty()).collect();
        if offered != shown.tools || refers_to != shown.refers_to {
            return Err(ApiFault::conflict(format!("`{}` offers something else than was shown", connector.id))
                .help("nothing was accepted: look again with `bailiwick connectors diff`"));
        }
        let pins = pins_of(&connector, &pins(&connector, &of), &reading, &by, of.clock.now_ms());
        let tools = pins.len();
        of.accept_pins(&connector.id, pins).await?;
        Ok(Accepted { tools })
    });
    accepted.await.map(Json)
}

fn configured(id: &str, runtime: &Runtime) -> Result<Connector, ApiFault> {
    let id: String = id.chars().take(64).collect();
    let config = runtime.config();
    let connector = config.connector(&id).cloned();
    connector.ok_or_else(|| ApiFault::unknown(format!("there is no connector `{id}`"), "`bailiwick connectors list` shows them"))
}

async fn discovered(connector: &Connector, runtime: &Runtime) -> Result<Discovery, ApiFault> {
    runtime.discover(&connector.id).await.map_err(|failure| {
        ApiFault::downstream(format!("connector `{}`: {failure}", connector.id))
            .help(format!("`bailiwick connectors show {}` shows what it wrote to standard error", connector.id))
    })
}

/// What the tools of this connector have no reason to speak of.
fn others<'a>(connector: &Connector, own: impl Iterator<Item = &'a str>, runtime: &Runtime) -> Others {
    shadowing::others(&runtime.config(), &runtime.worlds.pins(), &connector.id, own)
}

fn pins(connector: &Connector, runtime: &Runtime) -> Vec<Pin> {
    runtime.worlds.pins().get(&connector.id).cloned().unwrap_or_default()
}

/// The pins of what is accepted: classed by the admin's word, else as before, else by what the tool says of itself.
pub(crate) fn pins_of(connector: &Connector, before: &[Pin], reading: &ListReading, by: &str, now_ms: u64) -> Vec<Pin> {
    let pin = |definition: &Definition| {
        let known = before.iter().find(|pin| pin.tool == *definition.name());
        let class = Class::of(connector, known, definition);
        Pin {
            tool: definition.name().clone(),
            kind: class.kind,
            band: class.band,
            classed_by: if connector.tools.contains_key(definition.name()) { ClassedBy::Config } else { ClassedBy::Person },
            digest: definition.digest(),
            definition: definition.text().to_owned(),
            labels: connector.terms_of(definition.name()).labels,
            accepted_at_ms: now_ms,
            accepted_by: by.to_owned(),
        }
    };
    reading.accepted.iter().map(pin).collect()
}

pub(crate) fn view(connector: &Connector, runtime: &Runtime) -> ConnectorView {
    let status = runtime.connectors.status().into_iter().find(|status| status.id == connector.id);
    let tools = tools(connector, runtime);
    ConnectorView {
        id: connector.id.to_string(),
        state: state(&tools, status.as_ref()).to_owned(),
        program: place(connector),
        over_http: matches!(connector.way, Way::Http(_)),
        shared: connector.shared,
        tools,
        processes: status
            .iter()
            .flat_map(|status| &status.children)
            .filter_map(|child| {
                Some(ProcessView {
                    id: child.pid?,
                    state: child.state.as_str().to_owned(),
                    grant: child.grant.as_ref().map(ToString::to_string),
                    age_ms: millis(child.age),
                    calls: child.calls,
                })
            })
            .collect(),
        calls: status.as_ref().map_or(0, |status| status.counts.calls),
        failures: status.as_ref().map_or(0, |status| status.counts.failures),
        oddities: status.as_ref().map(|status| oddities(&status.counts)).unwrap_or_default(),
        last_failure: status
            .as_ref()
            .and_then(|status| status.last_failure.clone())
            .map(|(ago, what)| FailureView { what, ago_ms: millis(ago) }),
        stderr: status.map(|status| status.stderr).unwrap_or_default(),
    }
}

fn oddities(counts: &Counts) -> BTreeMap<String, u64> {
    let all = [
        ("unknown_ids", counts.unknown_ids),
        ("second_answers", counts.second_answers),
        ("server_requests", counts.server_requests),
        ("notifications", counts.notifications),
        ("stray_news", counts.stray_news),
        ("garbage_lines", counts.garbage_lines),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| (kind.to_owned(), count)).collect()
}

/// Where the server is: its program, or its address.
pub(crate) fn place(connector: &Connector) -> String {
    let process = match &connector.way {
        Way::Process(process) => process,
        Way::Http(http) => return http.url.to_string(),
    };
    let program = match &process.program {
        Program::Path(path) => path.display().to_string(),
        Program::Own => "(built in)".to_owned(),
    };
    std::iter::once(program).chain(process.arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
}

fn state(tools: &[ToolView], status: Option<&ConnectorStatus>) -> &'static str {
    let is_ready = status.is_some_and(|status| status.children.iter().any(|child| child.state == ChildState::Ready));
    match status {
        _ if tools.is_empty() => "unpinned",
        _ if tools.iter().any(|tool| tool.state == "drifted") => "drifted",
        _ if is_ready => "ready",
        Some(status) if status.last_failure.is_some() => "failing",
        _ => "idle",
    }
}

fn tools(connector: &Connector, runtime: &Runtime) -> Vec<ToolView> {
    let (drifted, unusable, names) = (runtime.worlds.drifted(), runtime.worlds.unusable(), runtime.worlds.names());
    let accepted = pins(connector, runtime);
    let others = others(connector, accepted.iter().map(|pin| pin.tool.as_str()), runtime);
    let tool = |pin: Pin| {
        let name = QualifiedName::new(connector.id.clone(), pin.tool.clone());
        let why = unusable.iter().find(|unusable| unusable.tool == name).map(|unusable| unusable.why.clone());
        let state = match &why {
            Some(_) => "unusable",
            None if drifted.contains(&name) => "drifted",
            None => "callable",
        };
        let (kind, band) = class_of(connector, &pin);
        ToolView {
            id: name.to_string(),
            exposed: names.of(&name).to_owned(),
            keeps_prefix: names.kept().get(&name).map(|kept| kept.why(&name)),
            state: state.to_owned(),
            kind,
            band,
            classed_by: pin.classed_by,
            labels: connector.terms_of(&pin.tool).labels,
            digest: pin.digest,
            accepted_at_ms: pin.accepted_at_ms,
            accepted_by: pin.accepted_by,
            why,
            refers_to: others.named_in(&serde_json::from_str(pin.definition.get()).unwrap_or_default()),
            definition: pin.definition,
        }
    };
    accepted.iter().cloned().map(tool).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
