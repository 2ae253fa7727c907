//! Approvals as approvers look through them: a page of those that wait, and which moved. Many may wait: what is not shown is not copied.

use std::cmp::Reverse;

use bailiwick_pipeline::ids::ApprovalId;
use bailiwick_policy::Band;
use bailiwick_schemas::names::ConnectorId;

use super::{
    LiveApprovals,
    record::{Approval, ApprovalState},
};

/// Where an approval stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub id: ApprovalId,
    /// Its state.
    pub state: ApprovalState,
    /// The connector that it goes to.
    pub connector: ConnectorId,
    /// How risky it is.
    pub band: Band,
    /// How much was said about it.
    pub said: usize,
    /// How many calls wait for it.
    pub waiters: usize,
}

/// A part of the approvals that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The most risky first, then those with the least time; and how many calls wait for each.
    pub part: Vec<(Approval, usize)>,
    /// How many there are in all.
    pub total: usize,
}

impl LiveApprovals {
    /// Where each of those stands that are remembered.
    pub fn standings(&self) -> Vec<Standing> {
        let book = self.book();
        let standing = |entry: &super::Entry| {
            let approval = &entry.approval;
            let others = [&approval.acknowledged_by, &approval.revoked_by, &approval.broken_by, &approval.reviewed_by];
            let said = approval.decisions.len() + others.iter().filter(|said| said.is_some()).count();
            let (connector, band) = (approval.binding.connector.clone(), approval.band);
            Standing { id: approval.id.clone(), state: approval.state, connector, band, said, waiters: entry.waiters() }
        };
        book.entries().filter(|entry| entry.is_stored()).map(standing).collect()
    }

    /// Those that wait for a person and are meant: so many of them, after so many.
    pub fn waiting(&self, now_ms: u64, skip: usize, take: usize, is_meant: impl Fn(&Approval) -> bool) -> Waiting {
        let book = self.book();
        let waits = |approval: &Approval| approval.state == ApprovalState::Pending && now_ms < approval.approve_by_ms;
        let mut meant: Vec<_> =
            book.live().filter(|entry| entry.is_stored() && waits(&entry.approval) && is_meant(&entry.approval)).collect();
        meant.sort_unstable_by_key(|entry| (Reverse(entry.approval.band), entry.approval.approve_by_ms, &entry.approval.id));
        let part = meant.iter().skip(skip).take(take).map(|entry| (entry.approval.clone(), entry.waiters())).collect();
        Waiting { part, total: meant.len() }
    }

    /// Those that ended last and are meant, the latest first.
    pub fn ended_last(&self, most: usize, is_meant: impl Fn(&Approval) -> bool) -> Vec<Approval> {
        let book = self.book();
        let mut ended: Vec<_> = book
            .entries()
            .filter(|entry| entry.is_stored() && !entry.approval.state.is_open() && is_meant(&entry.approval))
            .map(|entry| (Reverse(entry.approval.ended_at_ms), &entry.approval))
            .collect();
        ended.sort_unstable_by_key(|(at, approval)| (*at, &approval.id));
        ended.into_iter().take(most).map(|(_, approval)| approval.clone()).collect()
    }

    /// What else was asked about exactly the call that this one is about, the latest first.
    pub fn alike(&self, approval: &Approval) -> Vec<Approval> {
        let book = self.book();
        let mut others: Vec<Approval> = book
            .about(&approval.binding)
            .filter(|entry| entry.approval.id != approval.id && entry.is_stored())
            .map(|entry| entry.approval.clone())
            .collect();
        others.sort_unstable_by(|a, b| b.id.cmp(&a.id));
        others
    }
}
