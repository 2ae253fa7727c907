//! Approvals as approvers look through them: a page of those that wait, those that ended last, and which moved. Many may wait: what is not
//! shown is neither looked at nor copied.

use std::sync::atomic::Ordering;

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId, GrantId},
    ports::ApprovalStands,
};
use bailiwick_policy::Band;
use bailiwick_schemas::names::ConnectorId;

use super::{
    LiveApprovals,
    book::Entry,
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
    /// Where this one stands, if it is on disk.
    pub fn standing(&self, id: &ApprovalId) -> Option<Standing> {
        let book = self.book();
        let approval = &book.entry(id).filter(|entry| entry.is_stored())?.approval;
        let (connector, band) = (approval.binding.connector.clone(), approval.band);
        Some(Standing { id: approval.id.clone(), state: approval.state, connector, band })
    }

    /// Where one stands that an agent asked for under a grant, by its id or its code: nobody else's, whatever its code.
    pub(super) fn own_of(&self, handle: &str, agent: &AgentId, grant: &GrantId, now_ms: u64) -> Option<ApprovalStands> {
        let book = self.book();
        let approval = &book.find_of(handle, agent, grant).filter(|entry| entry.is_stored())?.approval;
        let (until_ms, over) = match approval.state {
            ApprovalState::Pending => (Some(approval.approve_by_ms), ApprovalState::Expired),
            ApprovalState::Approved => (Some(approval.execute_by_ms.unwrap_or(0)), ApprovalState::Lapsed),
            state => (None, state),
        };
        // What is over by now is so before somebody takes note of it.
        let until_ms = until_ms.filter(|until_ms| now_ms < *until_ms);
        let state = if until_ms.is_some() { approval.state } else { over };
        Some(ApprovalStands {
            id: approval.id.clone(),
            code: approval.code.clone(),
            tool: approval.binding.tool.clone(),
            state: state.as_str(),
            reason: approval.refusal().filter(|_| state == ApprovalState::Denied),
            until_ms,
        })
    }

    /// Those that wait for a person: so many after so many, of the connectors and bands that are meant.
    pub fn waiting(&self, now_ms: u64, skip: usize, take: usize, is_meant: impl Fn(&ConnectorId, Band) -> bool) -> Waiting {
        let book = self.book();
        let found = book.lanes.pending(now_ms, (skip, take), is_meant);
        self.count_looks(found.looked);
        let entries = found.ids.iter().filter_map(|id| book.entry(id));
        let part = entries.map(|entry| (entry.approval.clone(), entry.waiters())).collect();
        Waiting { part, total: found.total }
    }

    /// Those that ended last, the latest first, of the connectors and bands that are meant.
    pub fn ended_last(&self, most: usize, is_meant: impl Fn(&ConnectorId, Band) -> bool) -> Vec<Approval> {
        let book = self.book();
        let found = book.lanes.ended(most, is_meant);
        self.count_looks(found.looked);
        copied(found.ids.iter().filter_map(|id| book.entry(id)))
    }

    /// Those of which nobody knows whether they ran, the latest first.
    pub fn uncertain(&self) -> Vec<Approval> {
        let mut all = copied(self.book().uncertain());
        all.reverse();
        all
    }

    /// Those that were let go in an emergency and that no second person has looked at, the oldest first.
    pub fn to_review(&self) -> Vec<Approval> {
        copied(self.book().to_review())
    }

    /// How many wait for a second look, of the connectors and bands that are meant.
    pub fn reviews_due(&self, is_meant: impl Fn(&ConnectorId, Band) -> bool) -> usize {
        let book = self.book();
        book.to_review().filter(|entry| is_meant(&entry.approval.binding.connector, entry.approval.band)).count()
    }

    /// The approval of this id or code, without its arguments.
    pub fn look_up(&self, handle: &str) -> Option<Approval> {
        self.book().find(handle).filter(|entry| entry.is_stored()).map(|entry| entry.approval.clone())
    }

    /// The other questions that wait for a decision about calls of the same tool for the same task, the oldest first: so many at most.
    pub fn siblings(&self, approval: &Approval, now_ms: u64, most: usize) -> Vec<Approval> {
        let book = self.book();
        let of = &approval.binding;
        let is_sibling = |entry: &&Entry| {
            let (other, binding) = (&entry.approval, &entry.approval.binding);
            other.id != approval.id && binding.grant == of.grant && binding.tool == of.tool && now_ms < other.approve_by_ms
        };
        copied(book.asked_by(&of.agent).filter(is_sibling).take(most))
    }

    /// What else was asked about exactly the call that this one is about, the latest first.
    pub fn alike(&self, approval: &Approval) -> Vec<Approval> {
        let book = self.book();
        let mut others = copied(book.about(&approval.binding).filter(|entry| entry.approval.id != approval.id));
        others.sort_unstable_by(|a, b| b.id.cmp(&a.id));
        others
    }

    /// How many records were looked at since the start, for parts of them to be shown.
    pub fn looked(&self) -> u64 {
        self.looked.load(Ordering::Relaxed)
    }

    fn count_looks(&self, looked: usize) {
        self.looked.fetch_add(u64::try_from(looked).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Those of them that are on disk.
fn copied<'b>(entries: impl Iterator<Item = &'b Entry>) -> Vec<Approval> {
    entries.filter(|entry| entry.is_stored()).map(|entry| entry.approval.clone()).collect()
}
