//! Approvals, and what operators say about them.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use bailiwick_store::{Approval, Approver, ApproverMethod, Decision, ShowFault, Verdict, Which};
use serde_json::json;

use super::{
    Filter,
    access::{Operator, Visitor},
    api::{ApprovalView, DecisionWanted},
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::Runtime;

pub(super) async fn list(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Query(filter): Query<Filter>,
) -> Json<Vec<ApprovalView>> {
    let which = if filter.all { Which::All } else { Which::Open };
    Json(runtime.approvals.list(which).iter().map(|approval| view(approval, None)).collect())
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(handle): Path<String>,
) -> Result<Json<ApprovalView>, ApiFault> {
    let shown = runtime.approvals.show(&handle)?;
    let arguments = shown.arguments.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Json(view(&shown.approval, arguments)))
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
    let DecisionWanted { reason, view: seen } = super::read(body)?;
    let reason = super::words(reason)?;
    let known = known(&runtime, &handle)?;
    let with = json!({
        "verdict": verdict, "reason": reason, "code": known.code, "tool": known.binding.tool, "agent": known.binding.agent,
        "grant": known.binding.grant, "args_digest": known.binding.args_digest, "binding": known.binding.digest(), "view": seen,
    });
    let approver = Approver {
        uid: Some(operator.uid()),
        name: operator.name().to_owned(),
        method: ApproverMethod::Operator,
        owns: BTreeSet::new(),
    };
    let deed = Deed::new("approval_decided", known.id.as_str(), with);
    let of = Arc::clone(&runtime);
    let decided = deed.done_by(&operator, &runtime, async move {
        let decision = Decision { verdict, reason, view: seen, evidence: None, allow: None };
        // By its id: a code may be given again.
        let approval = of.approvals.decide(known.id.as_str(), decision, approver, of.clock.now_ms()).await?;
        Ok(view(&approval, None))
    });
    decided.await.map(Json)
}

/// The approval of this id or code, even where its arguments don't open any more: it can still be denied.
fn known(runtime: &Runtime, handle: &str) -> Result<Approval, ApiFault> {
    match runtime.approvals.show(handle) {
        Ok(shown) => Ok(shown.approval),
        Err(ShowFault::Unreadable { code, why }) => {
            let found = runtime
                .approvals
                .list(Which::All)
                .into_iter()
                .rfind(|approval| approval.id.as_str() == handle || approval.code == code);
            found.ok_or_else(|| ShowFault::Unreadable { code, why }.into())
        }
        Err(fault) => Err(fault.into()),
    }
}

fn view(approval: &Approval, arguments: Option<String>) -> ApprovalView {
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
        arguments,
    }
}
