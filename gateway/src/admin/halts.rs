//! What is stopped: freeze and thaw, and agents disabled and enabled.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use bailiwick_pipeline::{halts::Halt, ids::AgentId};
use bailiwick_schemas::names::{ConnectorId, Feature, QualifiedName};
use bailiwick_store::Stopped;
use serde_json::json;

use super::{
    access::{Operator, Visitor},
    agents::{registered, state},
    api::{EnabledView, FrozenView, HaltView, HaltWanted, Why},
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::Runtime;

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<HaltView>> {
    Json(runtime.halts.list().into_iter().map(|(halt, stopped)| halt_view(&halt, stopped)).collect())
}

pub(super) async fn freeze(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    body: Bytes,
) -> Result<Json<FrozenView>, ApiFault> {
    let HaltWanted { what, reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    let halt = meant(&what)?;
    known(&halt, &runtime)?;
    let deed = Deed::new("frozen", &what, json!({"reason": reason}));
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let frozen = deed.done_by(&operator, &runtime, async move {
        let halted = of.halt(&halt, &by, reason.as_deref()).await.map_err(|fault| {
            ApiFault::from(fault).help("it is in force nevertheless, until the gateway ends; mend the disk, and freeze it again")
        })?;
        Ok(FrozenView {
            id: halt.to_string(),
            was_new: halted.was_new,
            drained: halted.drained,
            grants: Vec::new(),
            tokens: Vec::new(),
        })
    });
    frozen.await.map(Json)
}

pub(super) async fn thaw(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    body: Bytes,
) -> Result<Json<HaltView>, ApiFault> {
    let HaltWanted { what, reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    if reason.is_none() {
        return Err(ApiFault::invalid("to let something go on needs a reason").help("say why: `--reason TEXT`"));
    }
    let halt = meant(&what)?;
    let Some(stopped) = runtime.halts.get(&halt) else {
        return Err(ApiFault::unknown(format!("`{halt}` is not halted"), "`bailiwick freeze --list` shows what is"));
    };
    let deed = Deed::new("thawed", &what, json!({"reason": reason}));
    let of = Arc::clone(&runtime);
    let thawed = deed.done_by(&operator, &runtime, async move {
        of.thaw(&halt).await?;
        Ok(HaltView { state: "lifted".to_owned(), ..halt_view(&halt, stopped) })
    });
    thawed.await.map(Json)
}

pub(super) async fn disable(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<FrozenView>, ApiFault> {
    let Why { reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    let agent = registered(&id, &runtime)?.id.clone();
    let deed = Deed::new("agent_disabled", agent.as_str(), json!({"reason": reason}));
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let disabled = deed.done_by(&operator, &runtime, async move {
        let disabled = of.disable(&agent, &by, reason.as_deref()).await.map_err(|fault| {
            ApiFault::from(fault).help("it is disabled nevertheless, until the gateway ends; mend the disk, and disable it again")
        })?;
        Ok(FrozenView {
            id: agent.to_string(),
            was_new: disabled.was_new,
            drained: disabled.drained,
            grants: disabled.grants.iter().map(ToString::to_string).collect(),
            tokens: disabled.tokens.iter().map(ToString::to_string).collect(),
        })
    });
    disabled.await.map(Json)
}

pub(super) async fn enable(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<EnabledView>, ApiFault> {
    let Why { reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    let id: AgentId = id.parse()?;
    if runtime.disabled.get(&id).is_none() {
        let by_config = registered(id.as_str(), &runtime)?.disabled;
        let fault = ApiFault::conflict(format!("agent `{id}` was disabled by nobody"));
        return Err(if by_config {
            fault.help("the configuration says `disabled = true`: change that, and reload")
        } else {
            fault
        });
    }
    let deed = Deed::new("agent_enabled", id.as_str(), json!({"reason": reason}));
    let of = Arc::clone(&runtime);
    let enabled = deed.done_by(&operator, &runtime, async move {
        of.enable(&id).await?;
        Ok(EnabledView {
            state: of.agents.agent(&id).map_or("unregistered", |agent| state(&agent, &of)).to_owned(),
            id: id.to_string(),
        })
    });
    enabled.await.map(Json)
}

/// What is to be frozen, if there is such a thing.
pub(crate) fn freezable(what: &str, runtime: &Runtime) -> Result<Halt, ApiFault> {
    let halt = meant(what)?;
    known(&halt, runtime)?;
    Ok(halt)
}

/// What is to go on, if it is frozen.
pub(crate) fn frozen(what: &str, runtime: &Runtime) -> Result<Halt, ApiFault> {
    let halt = meant(what)?;
    match runtime.halts.get(&halt) {
        Some(_) => Ok(halt),
        None => Err(ApiFault::unknown(format!("`{halt}` is not halted"), "`bailiwick freeze --list` shows what is")),
    }
}

fn meant(what: &str) -> Result<Halt, ApiFault> {
    what.parse().map_err(|fault: bailiwick_pipeline::halts::HaltFault| {
        ApiFault::invalid(fault.to_string())
            .help("`everything`, `agent:ID`, `instance:ID/NAME`, `connector:ID` and `tool:CONNECTOR__NAME` can be")
    })
}

/// A misspelt name would stop nothing, and look as if it did.
fn known(halt: &Halt, runtime: &Runtime) -> Result<(), ApiFault> {
    match halt {
        Halt::Everything => Ok(()),
        Halt::Agent(id) | Halt::Instance(id, _) => registered(id.as_str(), runtime).map(drop),
        Halt::Connector(id) => known_connector(id, runtime),
        Halt::Tool(name) => known_tool(name, runtime),
    }
}

fn known_connector(id: &ConnectorId, runtime: &Runtime) -> Result<(), ApiFault> {
    match runtime.config().connector(id.as_str()) {
        Some(_) => Ok(()),
        None => Err(ApiFault::unknown(format!("there is no connector `{id}`"), "`bailiwick connectors list` shows them")),
    }
}

fn known_tool(name: &QualifiedName, runtime: &Runtime) -> Result<(), ApiFault> {
    known_connector(name.connector(), runtime)?;
    let connector = name.connector();
    if let Some(feature) = name.feature() {
        return match feature {
            Feature::ResourceRead | Feature::PromptGet | Feature::Complete => Ok(()),
            // No call is of these: they come up during calls of other tools.
            _ => Err(ApiFault::invalid(format!("`{name}` is asked during calls, and is none itself"))
                .help(format!("halt the connector: `bailiwick freeze --connector {connector}`"))),
        };
    }
    let pins = runtime.worlds.pins();
    let is_accepted = |tool: &bailiwick_schemas::names::ToolName| {
        pins.get(connector).is_some_and(|pins| pins.iter().any(|pin| pin.tool == *tool))
    };
    if name.tool().is_some_and(is_accepted) {
        return Ok(());
    }
    Err(ApiFault::unknown(
        format!("connector `{connector}` has no accepted tool of the name `{name}`"),
        format!("`bailiwick connectors show {connector}` lists its tools"),
    ))
}

fn halt_view(halt: &Halt, stopped: Stopped) -> HaltView {
    HaltView {
        id: halt.to_string(),
        state: "in_force".to_owned(),
        kind: halt.kind().to_owned(),
        since_ms: stopped.since_ms,
        by: stopped.by,
        reason: stopped.reason,
    }
}
