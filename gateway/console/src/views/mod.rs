//! What is shown, as plain values: made by the gateway for who asks, and turned into pages here. Nothing of it is a secret.
//! Times are unix milliseconds. Texts are as they were written by whoever wrote them: the pages escape and mark them.

mod approval;
mod audit;
mod credentials;
mod registry;

pub use approval::{
    Aged, Ahead, ApprovalView, Arguments, Asked, Broken, Choices, Definition, Earlier, Inbox, InboxRow, Likewise, ReviewRow, Run,
    Said, Settled,
};
pub use audit::{AuditPage, AuditQuery, AuditRow, Bar, CallView, FieldView, Picture};
pub use credentials::{CredentialsView, LeaseFilter, LeaseRow, StandingRow};
pub use registry::{
    AgentRow, Child, Chips, ConnectorRow, Detection, Fact, GrantRow, GrantView, HaltRow, LiveCall, PinRow, Spent, StopTarget,
};

use std::{fmt, sync::Arc};

use crate::{Action, Viewer};

/// What stands around each page.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Who looks.
    pub who: String,
    /// Where they may go.
    pub sections: Vec<Section>,
    /// Whether they may stop things, and let them go on.
    pub may_change: bool,
    /// Whether they may read the trail.
    pub may_read: bool,
    /// Now.
    pub now_ms: u64,
    /// How many questions wait for a person.
    pub waiting: usize,
    /// How many calls that were let go in an emergency wait for a second look.
    pub reviews: usize,
    /// What everybody should know: a freeze, a lost record, that nothing separates duties here.
    pub notices: Vec<Notice>,
    /// Makes what each form carries, so that no other page can send it.
    pub guard: Guard,
    /// The gateway's version.
    pub version: String,
}

/// Makes the tokens of forms, by the place that a form goes to.
#[derive(Clone)]
pub struct Guard(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl Guard {
    /// With what makes them.
    pub(crate) fn new(make: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The token of a form that goes there.
    pub(crate) fn token(&self, path: &str) -> String {
        (self.0)(path)
    }
}

impl Default for Guard {
    /// Tokens that are good for nothing.
    fn default() -> Self {
        Self::new(|_| String::new())
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
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
    /// What they are lent.
    Credentials,
    /// What is stopped.
    Halts,
    /// What the gateway noticed.
    Detections,
    /// What was let go in an emergency, to be looked at.
    Reviews,
    /// The trail.
    Audit,
    /// Whose servers agents use in an owner's name.
    Connections,
    /// Who may log in here, with which passkeys.
    People,
}

impl Section {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 12] = [
        Self::Inbox,
        Self::Reviews,
        Self::Live,
        Self::Agents,
        Self::Grants,
        Self::Connectors,
        Self::Credentials,
        Self::Halts,
        Self::Detections,
        Self::Audit,
        Self::Connections,
        Self::People,
    ];

    /// Its name in the menu.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbox => "Inbox",
            Self::Live => "Live calls",
            Self::Agents => "Agents",
            Self::Grants => "Grants",
            Self::Connectors => "Connectors",
            Self::Credentials => "Credentials",
            Self::Halts => "Halts",
            Self::Detections => "Detections",
            Self::Reviews => "Reviews",
            Self::Audit => "Trail",
            Self::Connections => "Connections",
            Self::People => "People",
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
            Self::Credentials => "/credentials",
            Self::Halts => "/halts",
            Self::Detections => "/detections",
            Self::Reviews => "/reviews",
            Self::Audit => "/audit",
            Self::Connections => "/connections",
            Self::People => "/people",
        }
    }

    /// What somebody does who goes there.
    pub fn action(self) -> Action<'static> {
        match self {
            Self::Inbox | Self::Reviews => Action::SeeApprovals,
            Self::People => Action::ManagePeople,
            Self::Connections => Action::ManageSelf,
            Self::Audit => Action::SeeTrail,
            _ => Action::SeeRegistry,
        }
    }

    /// Where this viewer may go.
    pub fn for_viewer(viewer: &Viewer) -> Vec<Self> {
        Self::ALL.into_iter().filter(|section| viewer.may(section.action()).is_ok()).collect()
    }
}
