//! What the console asks of the gateway.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bailiwick_policy::Band;
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    Viewer,
    connections::Connections,
    refused::Refused,
    sign::Signature,
    views::{
        AgentRow, ApprovalView, AuditPage, AuditQuery, CallView, ConnectorRow, CredentialsView, Detection, Frame, GrantRow,
        GrantView, HaltRow, Inbox, LeaseRow, LiveCall, ReviewRow,
    },
};

/// What is answered later.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is shown. The gateway fills it; each answer is made for who asks, and holds nothing they may not see.
pub trait Desk: Send + Sync + 'static {
    /// What stands around a page.
    fn frame(&self, viewer: &Viewer) -> Frame;

    /// The questions that wait, this page of them, from 1.
    fn inbox(&self, viewer: &Viewer, page: usize) -> Inbox;

    /// One question, by its id or code.
    fn approval<'a>(&'a self, viewer: &'a Viewer, handle: &'a str) -> Soon<'a, Option<ApprovalView>>;

    /// The same where many stand on one page: without what is read from the trail around it.
    fn one_of_many(&self, viewer: &Viewer, handle: &str) -> Option<ApprovalView>;

    /// The questions that wait for the same as this one, of the same tool and task, this one first: so many at most, by id.
    fn like(&self, viewer: &Viewer, handle: &str, most: usize) -> Vec<String>;

    /// What was let go in an emergency and that nobody has looked at since, the oldest first.
    fn reviews(&self, viewer: &Viewer) -> Vec<ReviewRow>;

    /// The agents.
    fn agents(&self) -> Vec<AgentRow>;

    /// The grants: those that are active, or all that are remembered.
    fn grants(&self, ended_too: bool) -> Vec<GrantRow>;

    /// One grant.
    fn grant(&self, id: &str) -> Option<GrantView>;

    /// The connectors; without the definitions of their tools.
    fn connectors(&self) -> Vec<ConnectorRow>;

    /// One connector, with the definitions of its tools.
    fn connector(&self, id: &str) -> Option<ConnectorRow>;

    /// What connectors were lent.
    fn credentials(&self) -> CredentialsView;

    /// One lease: lent, not back yet, or one of those that ended last.
    fn lease(&self, id: &str) -> Option<LeaseRow>;

    /// The calls on their way.
    fn live_calls(&self) -> Vec<LiveCall>;

    /// What is stopped.
    fn halts(&self) -> Vec<HaltRow>;

    /// What the gateway noticed. For who may read the trail, what is only on record too.
    fn detections<'a>(&'a self, viewer: &'a Viewer) -> Soon<'a, Vec<Detection>>;

    /// What is on record. Reads no more than a bounded part of it.
    fn audit<'a>(&'a self, query: &'a AuditQuery) -> Soon<'a, AuditPage>;

    /// A call, with all that is on record about it.
    fn call<'a>(&'a self, id: &'a str) -> Soon<'a, Option<CallView>>;

    /// Changes something, as this signature wants it. Who signed may do it.
    fn change(&self, wanted: Wanted, signature: Signature) -> Soon<'_, Result<(), Refused>>;

    /// What knows of consents; none where nothing wants any.
    fn connections(&self) -> Option<Arc<dyn Connections>> {
        None
    }

    /// What changed after this number, as far as it is remembered, for who listens.
    fn news(&self, after: u64) -> News;

    /// Told when there is more news.
    fn told(&self) -> watch::Receiver<u64>;
}

/// What somebody wants changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A grant ends.
    RevokeGrant {
        /// Which.
        id: String,
        /// Why.
        reason: Option<String>,
    },
    /// What was lent is taken back.
    RevokeLease {
        /// Which.
        id: String,
        /// Why.
        reason: Option<String>,
    },
    /// Something stops.
    Freeze {
        /// What, as a freeze names it.
        what: String,
        /// Why.
        reason: Option<String>,
    },
    /// Something goes on.
    Thaw {
        /// What, as a freeze names it.
        what: String,
        /// Why.
        reason: Option<String>,
    },
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// These, in order, each with its number.
    These(Vec<(u64, Change)>),
    /// So much that it is not remembered one by one: everything is to be looked at anew. With the number to go on from.
    Everything(u64),
}

/// Something changed: which, never what. Whoever wants to see it asks, and sees what they may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of thing: `approval`, `grants`, `connectors`, `credentials`, `halts`, `agents` or `calls`.
    pub kind: &'static str,
    /// Its id, of an approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its state now, as a word, of an approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Its connector and how risky it is, of an approval: who may hear of it is judged by that. It is not told.
    #[serde(skip)]
    pub of: Option<(String, Band)>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}
