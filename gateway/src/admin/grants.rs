//! Task grants: made, shown and ended by operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Capability, Grant, GrantState, ToolPattern},
    ids::GrantId,
    ports::{Grants as _, Worlds as _},
    principal::Agent,
};
use bailiwick_schemas::names::QualifiedName;
use bailiwick_store::{EndAs, GrantEntry};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    Filter,
    access::{Operator, Visitor},
    agents::registered,
    api::{EndedView, EndingView, GrantMade, GrantView, GrantWanted, Used, Why},
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::Runtime;

/// A grant lives no longer than this: 30 days. It is for one task.
const LONGEST_MS: u64 = 30 * 24 * 60 * 60 * 1000;

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>, Query(filter): Query<Filter>) -> Json<Vec<GrantView>> {
    let is_meant = |entry: &GrantEntry| filter.all || entry.grant.standing().state == GrantState::Active;
    Json(runtime.grants.list().iter().filter(|entry| is_meant(entry)).map(|entry| view(entry, &runtime)).collect())
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<GrantView>, ApiFault> {
    Ok(Json(view(&known(&id, &runtime)?, &runtime)))
}

pub(super) async fn create(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    body: Bytes,
) -> Result<Json<GrantMade>, ApiFault> {
    let wanted: GrantWanted = super::read(&body)?;
    let terms = terms(&wanted, &runtime)?;
    let with = serde_json::to_value(&terms).unwrap_or_default();
    let deed = Deed::new("grant_created", terms.id.as_str(), with);
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let made = deed.done_by(&operator, &runtime, async move {
        // Not while another configuration comes into force: its agents may be others.
        let _in_turn = of.changing.lock().await;
        if registered(terms.agent.as_str(), &of)?.disabled {
            return Err(ApiFault::conflict(format!("agent `{}` is disabled", terms.agent)));
        }
        of.grants.create(terms.clone(), of.clock.now_ms()).await?;
        let token = match of.tokens.issue_grant(&terms).await {
            Ok(token) => token,
            Err(fault) => {
                // Whoever wanted it hears that there is none: then there is none. What this comes to is second to why.
                let why = "its token could not be stored";
                let _ended = of.grants.end(&terms.id, EndAs::Revoked, &by, Some(why), of.clock.now_ms()).await;
                let _void = of.after_end(&terms.id, why).await;
                return Err(fault.into());
            }
        };
        let grant = view(&known(terms.id.as_str(), &of)?, &of);
        Ok(GrantMade { grant, token: token.expose_secret().to_owned() })
    });
    made.await.map(Json)
}

pub(super) async fn complete(
    operator: Operator,
    state: State<Arc<Runtime>>,
    id: Path<String>,
    body: Bytes,
) -> Result<Json<EndedView>, ApiFault> {
    end(operator, state, id, &body, EndAs::Completed).await
}

pub(super) async fn revoke(
    operator: Operator,
    state: State<Arc<Runtime>>,
    id: Path<String>,
    body: Bytes,
) -> Result<Json<EndedView>, ApiFault> {
    end(operator, state, id, &body, EndAs::Revoked).await
}

async fn end(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: &Bytes,
    how: EndAs,
) -> Result<Json<EndedView>, ApiFault> {
    let Why { reason } = super::read(body)?;
    let reason = super::words(reason)?;
    let id = known(&id, &runtime)?.grant.terms().id.clone();
    let (event, why) = match how {
        EndAs::Completed => ("grant_completed", "the grant's task is done"),
        EndAs::Revoked => ("grant_revoked", "the grant was revoked"),
    };
    let deed = Deed::new(event, id.as_str(), json!({"reason": reason}));
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let ended = deed.done_by(&operator, &runtime, async move {
        let ended = of.grants.end(&id, how, &by, reason.as_deref(), of.clock.now_ms()).await;
        // In memory it has ended even where that could not be stored.
        let after = of.after_end(&id, why).await;
        let ended = ended?;
        after?;
        Ok(EndedView { was_active: ended.was_active, drained: ended.drained })
    });
    ended.await.map(Json)
}

fn known(id: &str, runtime: &Runtime) -> Result<GrantEntry, ApiFault> {
    let id: GrantId = id.parse()?;
    runtime
        .grants
        .entry(&id)
        .ok_or_else(|| ApiFault::unknown(format!("there is no grant `{id}`"), "`bailiwick grants list --all` shows them"))
}

/// The terms that were asked for, checked as the configuration checks its own.
fn terms(wanted: &GrantWanted, runtime: &Runtime) -> Result<Grant, ApiFault> {
    let agent = registered(&wanted.agent, runtime)?;
    let now_ms = runtime.clock.now_ms();
    let id = match &wanted.id {
        Some(id) => id.parse()?,
        None => fresh_id(runtime),
    };
    let ceiling = wanted.ceiling.unwrap_or(agent.ceiling);
    if ceiling > agent.ceiling {
        return Err(ApiFault::invalid(format!(
            "the ceiling `{ceiling}` is above that of agent `{}`, which is `{}`",
            agent.id, agent.ceiling
        ))
        .help("lower it, or leave it out: it is the agent's then"));
    }
    if wanted.ttl_ms == 0 || wanted.ttl_ms > LONGEST_MS {
        return Err(ApiFault::invalid("a grant lives 30 days at most: it is for one task").help("give a shorter `--ttl`"));
    }
    let purpose = text("purpose", &wanted.purpose)?;
    let owner = text("owner", wanted.owner.as_deref().unwrap_or(&agent.owner))?;
    let environment = text("environment", &wanted.environment)?;
    if wanted.default {
        second_default(&agent, runtime, now_ms)?;
    }
    Ok(Grant {
        id,
        revision: 1,
        agent: agent.id.clone(),
        owner,
        purpose,
        capabilities: capabilities(wanted, runtime)?,
        ceiling,
        environment,
        not_before_ms: now_ms,
        expires_at_ms: now_ms.saturating_add(wanted.ttl_ms),
        budget: wanted.budget,
        default: wanted.default,
        tool_search: wanted.tool_search,
        from_config: false,
    })
}

fn fresh_id(runtime: &Runtime) -> GrantId {
    let mut random = [0; 10];
    random.iter_mut().zip(runtime.clock.random()).for_each(|(to, from)| *to = from);
    GrantId::new(runtime.clock.now_ms(), random)
}

fn second_default(agent: &Agent, runtime: &Runtime, now_ms: u64) -> Result<(), ApiFault> {
    let other = runtime.grants.of(&agent.id).into_iter().find(|grant| grant.terms().default && grant.is_live(now_ms));
    match other {
        None => Ok(()),
        Some(other) => {
            Err(ApiFault::conflict(format!("agent `{}` has a default grant already: `{}`", agent.id, other.terms().id))
                .help("leave out `--default`: its token, or the header Bailiwick-Grant, chooses the grant"))
        }
    }
}

fn text(what: &str, given: &str) -> Result<String, ApiFault> {
    let is_fit = !given.trim().is_empty()
        && given.chars().count() <= 500
        && !given.chars().any(|c| c == '\n' || bailiwick_schemas::text::is_invisible(c));
    if is_fit {
        Ok(given.to_owned())
    } else {
        Err(ApiFault::invalid(format!("the {what} must be one line of at most 500 visible characters")))
    }
}

fn capabilities(wanted: &GrantWanted, runtime: &Runtime) -> Result<Vec<Capability>, ApiFault> {
    let mut bounds = bounds(&wanted.args)?;
    let patterns: BTreeSet<ToolPattern> = wanted.tools.iter().map(|given| pattern(given, runtime)).collect::<Result<_, _>>()?;
    if patterns.is_empty() {
        return Err(ApiFault::invalid("a grant without tools allows nothing").help("name some: `--tools connector__tool`"));
    }
    let capability = |tools: ToolPattern| {
        let args = match &tools {
            ToolPattern::Tool(name) => bounds.remove(name).unwrap_or_default(),
            ToolPattern::Connector(_) => BTreeMap::new(),
        };
        Capability { tools, kinds: None, args }
    };
    let wildcards: Vec<_> = patterns.iter().filter(|pattern| matches!(pattern, ToolPattern::Connector(_))).cloned().collect();
    let capabilities: Vec<Capability> = patterns.into_iter().map(capability).collect();
    if let Some(name) = bounds.keys().next() {
        return Err(ApiFault::invalid(format!("there are bounds for `{name}`, which the grant does not name"))
            .help("name it in `--tools` too"));
    }
    // A call needs to satisfy one capability only: a wildcard beside bounds would lift them.
    let lifted =
        capabilities.iter().filter(|capability| !capability.args.is_empty()).find_map(|capability| match &capability.tools {
            ToolPattern::Tool(name) => wildcards.iter().find(|wildcard| wildcard.covers(name)).map(|wildcard| (name, wildcard)),
            ToolPattern::Connector(_) => None,
        });
    match lifted {
        None => Ok(capabilities),
        Some((name, wildcard)) => {
            Err(ApiFault::invalid(format!("`{wildcard}` would lift the bounds of `{name}`")).help("name the tools one by one"))
        }
    }
}

/// A pattern that speaks of something there is.
fn pattern(given: &str, runtime: &Runtime) -> Result<ToolPattern, ApiFault> {
    let pattern: ToolPattern =
        given.parse().map_err(|fault: bailiwick_pipeline::grant::PatternFault| ApiFault::invalid(fault.to_string()))?;
    let connector = pattern.connector();
    if runtime.config().connector(connector.as_str()).is_none() {
        return Err(ApiFault::invalid(format!("`{pattern}`: there is no connector `{connector}`"))
            .help("`bailiwick connectors list` shows them"));
    }
    let pins = runtime.worlds.pins();
    let accepted = pins.get(connector);
    match &pattern {
        ToolPattern::Tool(name) => match name.tool() {
            Some(tool) if accepted.is_some_and(|pins| !pins.iter().any(|pin| pin.tool == *tool)) => {
                Err(ApiFault::invalid(format!("connector `{connector}` has no accepted tool `{tool}`"))
                    .help(format!("`bailiwick connectors show {connector}` lists its tools")))
            }
            _ => Ok(pattern),
        },
        ToolPattern::Connector(_) => Ok(pattern),
    }
}

fn bounds(
    given: &BTreeMap<String, BTreeMap<String, Bound>>,
) -> Result<BTreeMap<QualifiedName, BTreeMap<String, Bound>>, ApiFault> {
    let mut bounds = BTreeMap::new();
    for (tool, by_pointer) in given {
        let name: QualifiedName = tool.parse().map_err(|_| ApiFault::invalid(format!("`{tool}` is not the name of one tool")))?;
        for (pointer, bound) in by_pointer {
            let escapes_are_whole = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            if !pointer.starts_with('/') || !escapes_are_whole {
                return Err(ApiFault::invalid(format!("`{pointer}` is not a JSON pointer to an argument"))
                    .help("begin with `/`, as in `/project` (RFC 6901)"));
            }
            bound.check().map_err(|fault| ApiFault::invalid(format!("{pointer} of `{tool}`: {fault}")))?;
        }
        bounds.insert(name, by_pointer.clone());
    }
    Ok(bounds)
}

fn view(entry: &GrantEntry, runtime: &Runtime) -> GrantView {
    let (terms, standing) = (entry.grant.terms(), entry.grant.standing());
    let world = runtime.worlds.now();
    let meant = terms
        .capabilities
        .iter()
        .flat_map(|capability| world.meant_by(&capability.tools).filter(move |tool| capability.covers(&tool.name, tool.kind)));
    let tools: BTreeSet<&QualifiedName> = meant.filter(|tool| tool.band <= terms.ceiling).map(|tool| &tool.name).collect();
    GrantView {
        id: terms.id.to_string(),
        state: standing.state,
        agent: terms.agent.to_string(),
        owner: terms.owner.clone(),
        purpose: terms.purpose.clone(),
        tools: tools.into_iter().map(ToString::to_string).collect(),
        capabilities: terms.capabilities.clone(),
        ceiling: terms.ceiling,
        environment: terms.environment.clone(),
        not_before_ms: terms.not_before_ms,
        expires_at_ms: terms.expires_at_ms,
        budget: terms.budget,
        used: Used { calls: standing.calls, writes: standing.writes },
        labels: standing.labels,
        default: terms.default,
        tool_search: entry.grant.has_tool_search(),
        from_config: terms.from_config,
        revision: terms.revision,
        created_at_ms: entry.created_at_ms,
        ending: entry.ending.clone().map(|ending| EndingView { at_ms: ending.at_ms, by: ending.by, reason: ending.reason }),
    }
}
