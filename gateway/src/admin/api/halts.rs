//! What is stopped, and stopped agents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A halt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HaltView {
    /// What is halted, as one text: `everything`, `agent:ID`, `instance:ID/NAME`, `connector:ID` or `tool:NAME`.
    pub id: String,
    /// `in_force`.
    pub state: String,
    /// The word for what kind of thing it is.
    pub kind: String,
    /// Since when.
    pub since_ms: u64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A halt is wanted, or is to be lifted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaltWanted {
    /// What: as in [`HaltView::id`].
    pub what: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What stopping something came to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FrozenView {
    /// What is stopped, as one text.
    pub id: String,
    /// Whether it went on until now.
    pub was_new: bool,
    /// Whether nothing is being written downstream for it any more.
    pub drained: bool,
    /// The grants that ended with it.
    #[serde(default)]
    pub grants: Vec<String>,
    /// The tokens that were revoked with it.
    #[serde(default)]
    pub tokens: Vec<String>,
}

/// How an agent came to be disabled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DisabledView {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// An agent that is no longer disabled by a person.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EnabledView {
    /// The agent.
    pub id: String,
    /// How it is now: `active`, `halted`, `disabled` where the configuration says so, or `unregistered`.
    pub state: String,
}
