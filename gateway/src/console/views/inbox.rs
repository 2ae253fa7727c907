//! What waits, and what was settled lately: a line each.

use bailiwick_console::{
    Action, Viewer,
    views::{Aged, InboxRow},
};
use bailiwick_policy::Band;
use bailiwick_store::Approval;

pub(in crate::console) fn inbox_row(viewer: &Viewer, approval: &Approval, waiters: usize) -> InboxRow {
    let binding = &approval.binding;
    let decide = Action::Decide { connector: binding.connector.as_str(), band: approval.band };
    InboxRow {
        id: approval.id.to_string(),
        code: approval.code.clone(),
        tool: binding.tool.clone(),
        connector: binding.connector.to_string(),
        kind: approval.kind.to_string(),
        band: approval.band,
        agent: binding.agent.to_string(),
        owner: approval.owner.clone(),
        purpose: approval.purpose.clone(),
        asked_at_ms: approval.created_at_ms,
        approve_by_ms: approval.approve_by_ms,
        waiting: waiters > 0,
        yes: (approval.approvals(), approval.quorum()),
        purpose_is_claimed: !approval.delegators.is_empty(),
        choosable: approval.band < Band::Critical && viewer.may(decide).is_ok(),
    }
}

pub(in crate::console) fn aged(approval: &Approval) -> Aged {
    Aged {
        id: approval.id.to_string(),
        code: approval.code.clone(),
        tool: approval.binding.tool.clone(),
        agent: approval.binding.agent.to_string(),
        state: approval.state.to_string(),
        by: approval.decisions.last().map(|decided| decided.approver.name.clone()),
        at_ms: approval.ended_at_ms.unwrap_or(approval.created_at_ms),
    }
}
