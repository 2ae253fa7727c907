//! Approvals, and what operators say about them.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use bailiwick_pipeline::{
    destination::flow_of,
    ports::{Grants as _, Worlds as _},
    records::FlowRecord,
};
use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{Approval, Approver, ApproverMethod, DecideFault, Decision, Habits, ShowFault, Verdict, Which};
use bailiwick_trail::Stream;
use serde_json::{Value, json};

use super::{
    Filter,
    access::{Operator, Visitor},
    api::{ApprovalView, BatchWanted, DecisionWanted, Why},
    deed::{AdminRecord, Deed, Stage, change_id},
    fault::ApiFault,
    person::is_in_group,
};
use crate::runtime::Runtime;

pub(super) async fn list(
    visitor: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Query(filter): Query<Filter>,
) -> Json<Vec<ApprovalView>> {
    let which = if filter.all { Which::All } else { Which::Open };
    let all = runtime.approvals.list(which);
    Json(all.iter().filter(|approval| visitor.sees(approval)).map(|approval| view(&runtime, approval, None)).collect())
}

/// How people have decided of late.
pub(super) async fn habits(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Habits> {
    Json(runtime.approvals.habits())
}

pub(super) async fn show(
    visitor: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
) -> Result<Json<ApprovalView>, ApiFault> {
    let shown = runtime.approvals.show(&handle)?;
    if !visitor.sees(&shown.approval) {
        return Err(ShowFault::Unknown(handle.chars().take(80).collect()).into());
    }
    let text = shown.arguments.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let flow = text.as_deref().and_then(|text| flow(&runtime, &shown.approval, text));
    let arguments = text.map(|text| runtime.recorder.masked_text(&text, &shown.approval.masked));
    Ok(Json(ApprovalView { flow, ..view(&runtime, &shown.approval, arguments) }))
}

pub(super) async fn approve(
    operator: Operator,
    state: State<Arc<Runtime>>,
    handle: Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, ApiFault> {
    decide(operator, state, handle, &body, Verdict::Approve).await
}

pub(super) async fn deny(
    operator: Operator,
    state: State<Arc<Runtime>>,
    handle: Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, ApiFault> {
    decide(operator, state, handle, &body, Verdict::Deny).await
}

async fn decide(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
    body: &Bytes,
    verdict: Verdict,
) -> Result<Json<ApprovalView>, ApiFault> {
    let DecisionWanted { reason, view: seen, code, allow } = super::read(body)?;
    let reason = told(verdict, super::words(reason)?)?;
    let known = known(&runtime, &handle)?;
    if verdict == Verdict::Approve {
        is_meant(&known, code.as_deref())?;
    }
    let with = about(&known, json!({"verdict": verdict, "reason": reason, "view": seen, "allow": allow}));
    let decision = Decision { verdict, reason, view: seen, evidence: None, allow };
    let approver = approver(&operator);
    let (of, now_ms) = (Arc::clone(&runtime), runtime.clock.now_ms());
    let decided = Deed::new("approval_decided", known.id.as_str(), with).done_by(&operator, &runtime, async move {
        // By its id: a code may be given again.
        let approval = of.approvals.decide(known.id.as_str(), decision, approver, now_ms).await?;
        Ok(view(&of, &approval, None))
    });
    decided.await.map(Json)
}

/// A no has a reason: the agent hears it, and goes about its work otherwise.
fn told(verdict: Verdict, reason: Option<String>) -> Result<Option<String>, ApiFault> {
    if verdict == Verdict::Deny && reason.is_none() {
        return Err(ApiFault::invalid("a no needs a reason").help("say why with `--reason`: the agent is told it"));
    }
    Ok(reason)
}

/// Several questions of one agent, all of them or none.
pub(super) async fn decide_batch(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    body: Bytes,
) -> Result<Json<Vec<ApprovalView>>, ApiFault> {
    let BatchWanted { ids, shown, verdict, reason } = super::read(&body)?;
    let reason = told(verdict, super::words(reason)?)?;
    let known = ids.iter().map(|id| known(&runtime, id)).collect::<Result<Vec<_>, _>>()?;
    if verdict == Verdict::Approve
        && let Some(critical) = known.iter().find(|approval| approval.band == Band::Critical)
    {
        return Err(ApiFault::invalid(format!("{} is critical: it is approved alone, with its code", critical.code)));
    }
    let (all, of) = (
        known.iter().map(|one| about(one, Value::Null)).collect::<Vec<_>>(),
        known.iter().map(|one| one.id.clone()).collect::<Vec<_>>(),
    );
    let with = json!({"verdict": verdict, "reason": reason, "shown": shown, "approvals": all});
    let decision = Decision { verdict, reason, ..Decision::approve() };
    let (approver, now_ms) = (approver(&operator), runtime.clock.now_ms());
    let about = of.first().map_or("", |id| id.as_str());
    let deed = Deed::new("approvals_decided", about, with);
    let runs = Arc::clone(&runtime);
    let (by, uid) = (operator.name().to_owned(), operator.uid());
    let decided = deed.done_by(&operator, &runtime, async move {
        let why = decision.reason.clone();
        let decided = runs.approvals.decide_batch(&of, &shown, decision, approver, now_ms).await?;
        note_each(&runs, &by, Some(uid), &decided, (shown, verdict, why.as_deref()));
        Ok(decided.iter().map(|approval| view(&runs, approval, None)).collect())
    });
    decided.await.map(Json)
}

/// Puts each of those that were decided at once on record by itself, with what was decided at once with it. The record of the whole stands
/// before these, and says the same: one that is missing loses nothing.
pub(crate) fn note_each(
    runtime: &Runtime,
    by: &str,
    uid: Option<u32>,
    decided: &[Approval],
    (batch, verdict, reason): (Digest, Verdict, Option<&str>),
) {
    let change = change_id(runtime.clock.as_ref());
    for approval in decided {
        let with = about(approval, json!({"batch": batch, "verdict": verdict, "reason": reason}));
        let record = AdminRecord {
            event: "approval_decided",
            change: &change,
            by,
            uid,
            about: approval.id.as_str(),
            result: Stage::Done,
            why: None,
            with: &with,
        };
        if let Err(fault) = runtime.recorder.trail().append(Stream::Admin, runtime.clock.now_ms(), &record) {
            tracing::error!(%fault, approval = %approval.id, "a decision of a batch has no record of its own; that of the batch names it");
        }
    }
}

/// Takes back what was approved and is not used yet, and what it allows of its like.
pub(super) async fn revoke(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, ApiFault> {
    let reason = super::words(super::read::<Why>(&body)?.reason)?;
    let (of, approver) = (Arc::clone(&runtime), approver(&operator));
    acted(operator, &runtime, &handle, ("approval_revoked", reason.clone()), move |known, now_ms| async move {
        of.approvals.revoke(known.id.as_str(), reason, approver, now_ms).await
    })
    .await
}

/// Somebody is looking.
pub(super) async fn acknowledge(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
) -> Result<Json<ApprovalView>, ApiFault> {
    let (of, approver) = (Arc::clone(&runtime), approver(&operator));
    acted(operator, &runtime, &handle, ("approval_acknowledged", None), move |known, now_ms| async move {
        of.approvals.acknowledge(known.id.as_str(), approver, now_ms).await
    })
    .await
}

/// Lets a call go by the word of one person, in an emergency.
pub(super) async fn break_glass(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, ApiFault> {
    let reason = super::words(super::read::<Why>(&body)?.reason)?;
    let known = known(&runtime, &handle)?;
    let group = runtime.config().approvals.break_glass.clone().ok_or(DecideFault::GlassIsShut)?;
    if !is_in_group(operator.uid(), &group) {
        return Err(ApiFault::forbidden(format!("`{}` is not in the group `{group}`", operator.name()))
            .help("only its users may let a call go alone: ask one of them, or an approver"));
    }
    let why = reason.clone().ok_or(DecideFault::NoReason)?;
    tracing::warn!(approval = %known.id, tool = %known.binding.tool, agent = %known.binding.agent, by = operator.name(), reason = %why,
        "a call is let go in an emergency: a second person is to look at it (`bailiwick approvals review`)");
    let (of, approver) = (Arc::clone(&runtime), approver(&operator));
    acted(operator, &runtime, known.id.as_str(), ("approval_glass_broken", reason), move |known, now_ms| async move {
        of.approvals.break_glass(known.id.as_str(), &why, approver, now_ms).await
    })
    .await
}

/// A second person has looked at what was let go in an emergency.
pub(super) async fn review(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, ApiFault> {
    let reason = super::words(super::read::<Why>(&body)?.reason)?;
    let (of, approver) = (Arc::clone(&runtime), approver(&operator));
    acted(operator, &runtime, &handle, ("approval_reviewed", reason.clone()), move |known, now_ms| async move {
        of.approvals.review(known.id.as_str(), reason, approver, now_ms).await
    })
    .await
}

/// Puts on record what an operator does about an approval, and does it.
async fn acted<F>(
    operator: Operator,
    runtime: &Arc<Runtime>,
    handle: &str,
    (event, reason): (&'static str, Option<String>),
    act: impl FnOnce(Approval, u64) -> F + Send + 'static,
) -> Result<Json<ApprovalView>, ApiFault>
where
    F: Future<Output = Result<Approval, DecideFault>> + Send + 'static,
{
    let known = known(runtime, handle)?;
    let with = about(&known, json!({ "reason": reason }));
    let (of, now_ms) = (Arc::clone(runtime), runtime.clock.now_ms());
    let deed = Deed::new(event, known.id.as_str(), with);
    let done = deed.done_by(&operator, runtime, async move { Ok(view(&of, &act(known, now_ms).await?, None)) });
    done.await.map(Json)
}

fn approver(operator: &Operator) -> Approver {
    let (uid, name) = (Some(operator.uid()), operator.name().to_owned());
    Approver { uid, name, method: ApproverMethod::Operator, owns: BTreeSet::new(), enrolled_by: None }
}

/// What is put on record of an approval that somebody does something about, and what they do.
fn about(known: &Approval, more: Value) -> Value {
    let mut with = json!({
        "code": known.code, "tool": known.binding.tool, "agent": known.binding.agent, "grant": known.binding.grant,
        "args_digest": known.binding.args_digest, "binding": known.binding.digest(),
    });
    if let (Value::Object(with), Value::Object(more)) = (&mut with, more) {
        with.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    with
}

/// Whoever typed a code typed the one of this approval; and a critical call is not approved by a slip of the hand.
fn is_meant(known: &Approval, typed: Option<&str>) -> Result<(), ApiFault> {
    match typed {
        Some(code) if code.trim().eq_ignore_ascii_case(&known.code) => Ok(()),
        Some(_) => {
            Err(ApiFault::conflict("the code is that of another approval").help("compare it with what the agent was told"))
        }
        None if known.band == Band::Critical => Err(ApiFault::invalid("a critical call is approved with its code")
            .help(format!("`bailiwick approvals approve {} --code CODE`, with the code that the agent was told", known.id))),
        None => Ok(()),
    }
}

/// The approval of this id or code, even where its arguments don't open any more: it can still be denied.
fn known(runtime: &Runtime, handle: &str) -> Result<Approval, ApiFault> {
    match runtime.approvals.show(handle) {
        Ok(shown) => Ok(shown.approval),
        Err(ShowFault::Unreadable { code, why }) => {
            let found = runtime.approvals.look_up(handle).or_else(|| runtime.approvals.look_up(&code));
            found.ok_or_else(|| ShowFault::Unreadable { code, why }.into())
        }
        Err(fault) => Err(fault.into()),
    }
}

/// What its task has touched by now, and where the call sends data.
pub(crate) fn flow(runtime: &Runtime, approval: &Approval, arguments: &str) -> Option<FlowRecord> {
    let world = runtime.worlds.now();
    let tool = world.tool(&approval.binding.tool)?;
    let grant = runtime.grants.by_id(&approval.binding.grant)?;
    let mut flow = flow_of(tool, &serde_json::from_str(arguments).ok()?, grant.standing().labels)?;
    if !approval.masked.is_empty() {
        flow.hosts.clear();
    }
    Some(flow)
}

fn view(runtime: &Runtime, approval: &Approval, arguments: Option<String>) -> ApprovalView {
    let binding = &approval.binding;
    ApprovalView {
        id: approval.id.to_string(),
        state: approval.state,
        code: approval.code.clone(),
        tool: binding.tool.clone(),
        agent: binding.agent.to_string(),
        grant: binding.grant.to_string(),
        owner: approval.owner.clone(),
        delegators: approval.delegators.iter().map(|one| one.agent.to_string()).collect(),
        purpose: approval.purpose.clone(),
        claim: approval.claim.clone(),
        kind: approval.kind,
        band: approval.band,
        requirements: approval.requirements.clone(),
        call: approval.call.to_string(),
        args_digest: binding.args_digest,
        tool_digest: binding.tool_digest,
        created_at_ms: approval.created_at_ms,
        approve_by_ms: approval.approve_by_ms,
        execute_by_ms: approval.execute_by_ms,
        decisions: approval.decisions.clone(),
        ended_at_ms: approval.ended_at_ms,
        note: approval.note.clone(),
        confirm: approval.confirm(),
        quorum: approval.quorum(),
        binding: Some(binding.digest()),
        waiting: runtime.approvals.waiters(&approval.id),
        acknowledged_by: approval.acknowledged_by.clone(),
        revoked_by: approval.revoked_by.clone(),
        broken_by: approval.broken_by.clone(),
        reviewed_by: approval.reviewed_by.clone(),
        allowance: approval.allowance.clone(),
        flow: None,
        masked: approval.masked.clone(),
        arguments,
    }
}
