//! What agents ask for beyond their grants, and what operators say to it.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use bailiwick_pipeline::{
    grant::LiveGrant,
    ids::GrantId,
    ports::{Grants as _, Worlds as _},
};
use bailiwick_store::AccessRequest;
use bailiwick_trail::{Start, Stream};
use serde_json::json;

use super::{
    Filter,
    access::{Operator, Visitor},
    api::{AskedTool, GrantRequest, LastCall, RequestView, Why},
    deed::Deed,
    fault::ApiFault,
};
use crate::{requesting, runtime::Runtime};

/// So many calls of the task are shown, among so many of the last records.
const SHOWN: usize = 10;
const LOOKED_AT: u64 = 5_000;

pub(super) async fn list(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Query(filter): Query<Filter>,
) -> Json<Vec<RequestView>> {
    Json(runtime.requests.list(filter.all).iter().map(|request| view(request, &runtime)).collect())
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<RequestView>, ApiFault> {
    let request = runtime.requests.get(&id)?;
    let last_calls = last_calls(request.grant.clone(), Arc::clone(&runtime)).await?;
    Ok(Json(RequestView { last_calls, ..view(&request, &runtime) }))
}

pub(super) async fn grant(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, ApiFault> {
    let wanted: GrantRequest = super::read(&body)?;
    let reason = super::words(wanted.reason)?;
    let for_ms = match (wanted.for_ms, wanted.for_task) {
        (Some(_), true) => return Err(ApiFault::invalid("it is granted for a time or for the task, not both")),
        (Some(0), _) => return Err(ApiFault::invalid("a time of nothing grants nothing").help("give a longer `--for`")),
        (Some(for_ms), false) => Some(for_ms),
        (None, true) => None,
        (None, false) => runtime.requests.get(&id)?.for_ms,
    };
    let request = runtime.requests.get(&id)?;
    let with = json!({
        "grant": request.grant, "agent": request.agent, "tools": request.tools, "for_ms": for_ms, "reason": reason,
    });
    let deed = Deed::new("access_granted", request.id.as_str(), with);
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let granted = deed.done_by(&operator, &runtime, async move {
        let granted = requesting::grant(&request, for_ms, &by, reason, &of).await?;
        Ok(view(&granted, &of))
    });
    granted.await.map(Json)
}

pub(super) async fn deny(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, ApiFault> {
    let Why { reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    if reason.is_none() {
        return Err(ApiFault::invalid("a no needs a reason: the agent hears it").help("say why: `--reason TEXT`"));
    }
    let request = runtime.requests.get(&id)?;
    let with = json!({"grant": request.grant, "agent": request.agent, "tools": request.tools, "reason": reason});
    let deed = Deed::new("access_denied", request.id.as_str(), with);
    let (of, by) = (Arc::clone(&runtime), operator.name().to_owned());
    let denied =
        deed.done_by(&operator, &runtime, async move { Ok(view(&requesting::deny(&request, &by, reason, &of).await?, &of)) });
    denied.await.map(Json)
}

fn view(request: &AccessRequest, runtime: &Runtime) -> RequestView {
    let grant = runtime.grants.by_id(&request.grant);
    let terms = grant.as_deref().map(LiveGrant::terms);
    let world = runtime.worlds.now();
    let asked = |name: &bailiwick_schemas::names::QualifiedName| {
        let tool = world.tool(name.as_str());
        let obstacle = match &grant {
            Some(grant) => requesting::obstacle(name, grant, &world, runtime),
            None => Some("the grant is no longer remembered".to_owned()),
        };
        AskedTool { name: name.to_string(), kind: tool.map(|tool| tool.kind), band: tool.map(|tool| tool.band), obstacle }
    };
    let end = request.end.as_ref();
    RequestView {
        id: request.id.to_string(),
        state: request.state,
        grant: request.grant.to_string(),
        owner: terms.map(|terms| terms.owner.clone()).unwrap_or_default(),
        purpose: terms.map(|terms| terms.purpose.clone()).unwrap_or_default(),
        agent: request.agent.to_string(),
        tools: request.tools.iter().map(asked).collect(),
        reason: request.reason.clone(),
        for_ms: request.for_ms,
        call: request.call.to_string(),
        created_at_ms: request.created_at_ms,
        decided_by: end.and_then(|end| end.by.clone()),
        decided_at_ms: end.map(|end| end.at_ms),
        note: end.and_then(|end| end.reason.clone()),
        until_ms: end.and_then(|end| end.until_ms),
        last_calls: Vec::new(),
    }
}

/// What was asked last under a grant, newest first, as far as it is among the last records.
async fn last_calls(grant: GrantId, runtime: Arc<Runtime>) -> Result<Vec<LastCall>, ApiFault> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut found = std::collections::VecDeque::new();
        for record in runtime.recorder.trail().reader().records(Stream::Calls, Start::Last(LOOKED_AT))? {
            let record = record?;
            if record.text("event") != Some("outcome") || record.text("grant") != Some(grant.as_str()) {
                continue;
            }
            let of = |name| record.text(name).unwrap_or_default().to_owned();
            let what = record.text("tool").or(record.text("method")).unwrap_or_default().to_owned();
            found.push_front(LastCall { time: record.time.clone(), call: of("call_id"), what, outcome: of("outcome") });
            found.truncate(SHOWN);
        }
        Ok::<_, bailiwick_trail::TrailFault>(found.into())
    });
    let unreadable = |why: &dyn std::fmt::Display| ApiFault::unavailable(format!("the record can't be read: {why}"));
    reading.await.map_err(|why| unreadable(&why))?.map_err(|why| unreadable(&why))
}
