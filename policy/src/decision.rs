//! What policy answers.

use std::sync::Arc;
use std::time::Duration;

/// The answer to one [`Ask`](crate::Ask).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub enum Decision {
    /// The call may go.
    Allow {
        /// The permits that said so, by id.
        determining: Vec<Rule>,
    },
    /// The call may go once these approvals are held.
    StepUp {
        /// What must be approved: one entry for each forbid that an approval lifts, by rule id.
        labels: Vec<Requirement>,
        /// Those forbids, by id.
        determining: Vec<Rule>,
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
    /// How many persons must approve (`@quorum`, 1 if not said).
    pub quorum: u32,
    /// How long the approval holds (`@ttl`); the gateway's default if not said.
    pub ttl: Option<Duration>,
    /// The `@id` of the rule that asks.
    pub rule: Arc<str>,
    /// Its `@reason`.
    pub reason: Option<Arc<str>>,
}
