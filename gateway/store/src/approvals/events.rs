//! What is told of approvals: that something changed, to whoever looks; and each thing that happened, in order and across a crash, to
//! whoever has to pass it on.

use bailiwick_pipeline::ids::ApprovalId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    LiveApprovals,
    record::{Approval, ApprovalState},
    rows,
};
use crate::fault::StoreFault;

/// What happened to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A person is asked.
    Requested,
    /// Somebody is looking.
    Acknowledged,
    /// A person decided. It may take more of them.
    Decided,
    /// Somebody let it go alone, in an emergency: a second person is to look at that.
    GlassBroken,
    /// A second person has looked.
    Reviewed,
    /// Its time was over before it was decided or used.
    Expired,
    /// Its use was taken, or has ended: its state says which.
    Executed,
    /// A call of its like went under it.
    AllowanceUsed,
    /// What it was about is no longer so.
    Invalidated,
    /// Whoever asked took it back.
    Withdrawn,
    /// An approver took it back.
    Revoked,
}

impl Happened {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Acknowledged => "acknowledged",
            Self::Decided => "decided",
            Self::GlassBroken => "glass_broken",
            Self::Reviewed => "reviewed",
            Self::Expired => "expired",
            Self::Executed => "executed",
            Self::AllowanceUsed => "allowance_used",
            Self::Invalidated => "invalidated",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
        }
    }
}

/// One thing that happened. It was stored together with what it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalEvent {
    /// Its place: events are told in this order, and no place is used twice.
    pub seq: u64,
    /// The approval.
    pub approval: ApprovalId,
    /// What.
    pub event: Happened,
    /// The state that it led to.
    pub state: ApprovalState,
    /// When, unix milliseconds.
    pub at_ms: u64,
}

impl LiveApprovals {
    /// A counter that moves whenever anything about any approval changes: for whoever shows them.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.book().changes()
    }

    /// What is known of an approval of which an event was read, so that it is on disk; nothing once it is forgotten.
    pub fn known(&self, id: &ApprovalId) -> Option<Approval> {
        self.book().entry(id).map(|entry| entry.approval.clone())
    }

    /// What has happened after this place, the oldest first, at most so much. It is kept only while
    /// [`Settings::keep_events`](super::Settings::keep_events) is on, until every [channel](crate::Positions) has told it, for three days at
    /// most. Wait for [`changes`](Self::changes) to look again. Blocks for one query.
    pub fn events(&self, after: u64, most: usize) -> Result<Vec<ApprovalEvent>, StoreFault> {
        rows::events(&self.store.read(), after, most)
    }
}
