//! What is shown, as plain values: made by the gateway for who asks, and turned into pages here. Nothing of it is a secret.
//! Times are unix milliseconds. Texts are as they were written by whoever wrote them: the pages escape and mark them.

mod approval;
mod audit;
mod registry;

pub use approval::{
    Aged, Ahead, ApprovalView, Arguments, Asked, Choices, Definition, Earlier, Inbox, InboxRow, Likewise, Said, Settled,
};
pub use audit::{AuditPage, AuditQuery, AuditRow, Bar, CallView, FieldView, Picture};
pub use registry::{
    AgentRow, Child, Chips, ConnectorRow, Detection, Fact, GrantRow, GrantView, HaltRow, LiveCall, PinRow, Spent, StopTarget,
};

use crate::{Role, Viewer};

/// What stands around each page.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Who looks.
    pub who: String,
    /// Where they may go.
    pub sections: Vec<Section>,
    /// Whether they may stop things, and let them go on.
    pub may_change: bool,
    /// Now.
    pub now_ms: u64,
    /// How many questions wait for a person.
    pub waiting: usize,
    /// What everybody should know: a freeze, a lost record, that nothing separates duties here.
    pub notices: Vec<Notice>,
    /// What each form carries, so that no other page can send it.
    pub guard: String,
    /// The gateway's version.
    pub version: String,
}

/// Something that everybody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether calls are stopped by it, or could be wronged by it.
    pub grave: bool,
    /// What, in one sentence.
    pub text: String,
}

/// A part of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The questions that wait.
    Inbox,
    /// The calls on their way.
    Live,
    /// Agents.
    Agents,
    /// Task grants.
    Grants,
    /// Connectors and pins.
    Connectors,
    /// What is stopped.
    Halts,
    /// What the gateway noticed.
    Detections,
    /// The trail.
    Audit,
}

impl Section {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 8] =
        [Self::Inbox, Self::Live, Self::Agents, Self::Grants, Self::Connectors, Self::Halts, Self::Detections, Self::Audit];

    /// Its name in the menu.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbox => "Inbox",
            Self::Live => "Live calls",
            Self::Agents => "Agents",
            Self::Grants => "Grants",
            Self::Connectors => "Connectors",
            Self::Halts => "Halts",
            Self::Detections => "Detections",
            Self::Audit => "Trail",
        }
    }

    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Self::Inbox => "/",
            Self::Live => "/live",
            Self::Agents => "/agents",
            Self::Grants => "/grants",
            Self::Connectors => "/connectors",
            Self::Halts => "/halts",
            Self::Detections => "/detections",
            Self::Audit => "/audit",
        }
    }

    /// Whether this viewer may go there.
    pub fn is_for(self, viewer: &Viewer) -> bool {
        let is_one_of = |roles: &[Role]| roles.iter().any(|role| viewer.is(*role));
        match self {
            Self::Inbox => true,
            Self::Audit => viewer.is(Role::Auditor),
            _ => is_one_of(&[Role::Viewer, Role::Admin, Role::Auditor]),
        }
    }
}
