//! Task grants: made, shown and ended by operators.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use bailiwick_pipeline::{
    catalogue::{Tool, World},
    grant::{GrantState, LiveGrant},
    ids::GrantId,
    ports::Worlds as _,
};
use bailiwick_schemas::names::QualifiedName;
use bailiwick_store::{EndAs, GrantEntry, UNBOUND_MS};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    Filter,
    access::{Operator, Visitor},
    api::{EndedView, EndingView, GrantMade, GrantView, GrantWanted, HandleMade, Used, Why},
    deed::Deed,
    fault::ApiFault,
};
use crate::{issuing, runtime::Runtime};

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
    let terms = issuing::terms(&wanted, operator.name(), &runtime)?;
    let with = serde_json::to_value(&terms).unwrap_or_default();
    let deed = Deed::new("grant_created", terms.id.as_str(), with);
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let made = deed.done_by(&operator, &runtime, async move {
        let token = issuing::issue(&terms, &by, &of).await?;
        let grant = view(&known(terms.id.as_str(), &of)?, &of);
        Ok(GrantMade { grant, token: token.expose_secret().to_owned() })
    });
    made.await.map(Json)
}

/// A handle ends its grant with the process that holds it. One of the configuration is for more than one task, and would never be issued
/// again after that.
pub(super) async fn make_handle(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<HandleMade>, ApiFault> {
    let grant = known(&id, &runtime)?.grant;
    let terms = grant.terms();
    if terms.from_config {
        let why = format!("grant `{}` is of the configuration: a handle is for one task, and ends its grant for good", terms.id);
        return Err(ApiFault::conflict(why).help("`bailiwick grants create` makes a grant for one task"));
    }
    let deed = Deed::new("handle_made", terms.id.as_str(), json!({"agent": terms.agent, "bind_within_ms": UNBOUND_MS}));
    let (of, grant) = (Arc::clone(&runtime), Arc::clone(&grant));
    let made = deed.done_by(&operator, &runtime, async move {
        let (terms, now_ms) = (grant.terms(), of.clock.now_ms());
        if !grant.is_live(now_ms) {
            let why = format!("grant `{}` is not live: a handle of it would open nothing", terms.id);
            return Err(ApiFault::conflict(why).help("`bailiwick grants show` says how it ended, or from when it is"));
        }
        let handle = of.handles.issue(terms, now_ms)?;
        Ok(HandleMade {
            grant: terms.id.to_string(),
            agent: terms.agent.to_string(),
            handle: handle.expose_secret().to_owned(),
            bind_by_ms: now_ms.saturating_add(UNBOUND_MS),
        })
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
        let ended = of.end_grant(&id, how, &by, reason.as_deref(), why).await?;
        let fell = ended.fell.iter().map(ToString::to_string).collect();
        Ok(EndedView { was_active: ended.was_active, drained: ended.drained, fell })
    });
    ended.await.map(Json)
}

pub(crate) fn known(id: &str, runtime: &Runtime) -> Result<GrantEntry, ApiFault> {
    let id: GrantId = id.parse()?;
    runtime
        .grants
        .entry(&id)
        .ok_or_else(|| ApiFault::unknown(format!("there is no grant `{id}`"), "`bailiwick grants list --all` shows them"))
}

/// The callable tools that a grant covers now, by all of its chain.
pub(super) fn tools_of(grant: &LiveGrant, world: &World) -> BTreeSet<QualifiedName> {
    let rights = grant.rights();
    let meant =
        rights.iter().flat_map(|right| world.meant_by(&right.tools).filter(move |tool| right.covers(&tool.name, tool.kind)));
    let is_covered = |tool: &&Arc<Tool>| grant.chain().all(|grant| grant.covers(tool));
    meant.filter(is_covered).map(|tool| tool.name.clone()).collect()
}

pub(crate) fn view(entry: &GrantEntry, runtime: &Runtime) -> GrantView {
    let (terms, standing, spent) = (entry.grant.terms(), entry.grant.standing(), entry.grant.spent());
    let world = runtime.worlds.now();
    let tools = tools_of(&entry.grant, &world);
    GrantView {
        id: terms.id.to_string(),
        state: standing.state,
        agent: terms.agent.to_string(),
        owner: terms.owner.clone(),
        purpose: terms.purpose.clone(),
        never_used: tools.iter().filter(|tool| !entry.grant.has_used(tool)).map(ToString::to_string).collect(),
        tools: tools.iter().map(ToString::to_string).collect(),
        capabilities: terms.capabilities.clone(),
        ceiling: terms.ceiling,
        environment: terms.environment.clone(),
        not_before_ms: terms.not_before_ms,
        expires_at_ms: terms.expires_at_ms,
        budget: terms.budget.clone(),
        used: Used { calls: standing.calls, writes: standing.writes, bytes_out: spent.bytes_out, cost: spent.cost },
        labels: standing.labels,
        default: terms.default,
        tool_search: entry.grant.has_tool_search(),
        from_config: terms.from_config,
        chain: entry.grant.chain().skip(1).map(|above| above.terms().id.to_string()).collect(),
        delegation_depth: terms.delegation_depth,
        data_classes: terms.data_classes.clone(),
        destinations: terms.destinations.clone(),
        idle_ms: terms.idle_ms,
        max_rate: terms.max_rate,
        last_used_ms: Some(spent.last_used_ms).filter(|at| *at > 0),
        ticket: terms.ticket.clone(),
        created_by: terms.created_by.clone(),
        may_complete: terms.may_complete,
        may_request: terms.may_request,
        extensions: entry.grant.extended().extensions.into_iter().map(Into::into).collect(),
        revision: entry.grant.revision(),
        created_at_ms: entry.created_at_ms,
        ending: entry.ending.clone().map(|ending| EndingView { at_ms: ending.at_ms, by: ending.by, reason: ending.reason }),
    }
}
