//! What policy answers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kind::Band;
use crate::obligation::Obligations;

/// The answer to one [`Ask`](crate::Ask).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub enum Decision {
    /// The call may go.
    Allow {
        /// The permits that said so, by id.
        determining: Vec<Rule>,
        /// What they demand beside.
        obligations: Obligations,
    },
    /// The call may go once these approvals are held.
    StepUp {
        /// What must be approved: one entry for each forbid that an approval lifts, by rule id.
        labels: Vec<Requirement>,
        /// Those forbids, by id.
        determining: Vec<Rule>,
        /// What they, and the permits that let it go then, demand beside.
        obligations: Obligations,
    },
    /// The call may not go, and no approval changes that.
    Deny {
        /// The rules that said so, by id; empty when the silence of all rules did.
        determining: Vec<Rule>,
        /// Why.
        cause: DenyCause,
    },
}

impl Decision {
    /// `allow`, `step_up` or `deny`.
    pub const fn effect(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::StepUp { .. } => "step_up",
            Self::Deny { .. } => "deny",
        }
    }

    /// The rules that determine it.
    pub fn determining(&self) -> &[Rule] {
        match self {
            Self::Allow { determining, .. } | Self::StepUp { determining, .. } | Self::Deny { determining, .. } => determining,
        }
    }

    /// A denial that no single rule made.
    pub(crate) const fn deny(cause: DenyCause) -> Self {
        Self::Deny { determining: Vec::new(), cause }
    }
}

/// Why a call is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenyCause {
    /// A forbid applies.
    Forbidden,
    /// No permit applies.
    NoPermit,
    /// A rule failed while it was evaluated. Cedar would skip it; here a failed rule is a denial.
    EvaluationError,
    /// The rules read an argument that can't be put before them.
    OpaqueArgument {
        /// Where it is, as a JSON pointer into the arguments.
        pointer: String,
    },
    /// The catalogue doesn't have the tool, or the prepared grant doesn't have its connector.
    UnknownTool,
}

/// A rule that determined a decision: all that an agent may hear of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Its `@id`.
    pub id: Arc<str>,
    /// Its `@reason`.
    pub reason: Option<Arc<str>>,
}

/// One approval that a step-up asks for. Two rules may ask for the same label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The `@approval` label, to be held in `context.call.approvals`.
    pub label: Arc<str>,
    /// Whose word it takes (`@confirm`).
    pub confirm: Confirm,
    /// Whether an approver may let like calls of the same task go too (`@remember`).
    pub remember: bool,
    /// How many persons must approve (`@quorum`; if not said 1, and 2 for `two-person`).
    pub quorum: u32,
    /// How long the approval holds (`@ttl`); the gateway's default if not said.
    pub ttl: Option<Duration>,
    /// The `@id` of the rule that asks.
    pub rule: Arc<str>,
    /// Its `@reason`.
    pub reason: Option<Arc<str>>,
}

/// Whose word a step-up takes, in rising order of what it is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confirm {
    /// Whoever drives the agent. Its client may answer by itself: worth little.
    User,
    /// Somebody who is neither the agent nor its owner.
    #[default]
    Approver,
    /// Two such persons, who can be told apart.
    TwoPerson,
}

impl Confirm {
    /// Every class, in rising order.
    pub const ALL: [Self; 3] = [Self::User, Self::Approver, Self::TwoPerson];

    /// The word for it in policies and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Approver => "approver",
            Self::TwoPerson => "two-person",
        }
    }

    /// The least that a band takes, whatever a rule says.
    pub const fn least_of(band: Band) -> Self {
        match band {
            Band::Low | Band::Medium => Self::User,
            Band::High => Self::Approver,
            Band::Critical => Self::TwoPerson,
        }
    }
}
