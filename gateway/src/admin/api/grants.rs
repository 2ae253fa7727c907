//! Task grants.

use std::{collections::BTreeMap, fmt};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Budget, Capability, GrantState, Labels},
};
use bailiwick_policy::Band;
use serde::{Deserialize, Serialize};

/// A grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantView {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: GrantState,
    /// The only agent that may act under it.
    pub agent: String,
    /// Who is accountable.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// The rights.
    pub capabilities: Vec<Capability>,
    /// The callable tools that it covers now.
    pub tools: Vec<String>,
    /// The highest band it reaches.
    pub ceiling: Band,
    /// The environment it is for.
    pub environment: String,
    /// From when.
    pub not_before_ms: u64,
    /// Until when.
    pub expires_at_ms: u64,
    /// How much it may be used.
    pub budget: Budget,
    /// How often it was used.
    pub used: Used,
    /// What it has touched.
    pub labels: Labels,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
    /// Whether its agent looks for tools instead of being listed them.
    #[serde(default)]
    pub tool_search: bool,
    /// Whether it comes from the configuration.
    pub from_config: bool,
    /// Counts its reissues.
    pub revision: u64,
    /// When it was made.
    pub created_at_ms: u64,
    /// How it ended.
    pub ending: Option<EndingView>,
}

/// How often a grant was used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Used {
    /// Calls.
    pub calls: u64,
    /// Calls that were not reads.
    pub writes: u64,
}

/// How a grant ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndingView {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A grant is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWanted {
    /// Its id; made up where there is none.
    pub id: Option<String>,
    /// The agent.
    pub agent: String,
    /// The owner; the agent's where there is none.
    pub owner: Option<String>,
    /// The task.
    pub purpose: String,
    /// The tools.
    pub tools: Vec<String>,
    /// Bounds by tool, then by JSON pointer.
    pub args: BTreeMap<String, BTreeMap<String, Bound>>,
    /// The highest band; the agent's where there is none.
    pub ceiling: Option<Band>,
    /// The environment.
    pub environment: String,
    /// How long it lives.
    pub ttl_ms: u64,
    /// How much it may be used.
    pub budget: Budget,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
    /// Whether its agent is to look for tools instead of being listed them.
    #[serde(default)]
    pub tool_search: bool,
}

/// A grant, made; its token is told once.
#[derive(Clone, Serialize, Deserialize)]
pub struct GrantMade {
    /// The grant.
    pub grant: GrantView,
    /// Its token.
    pub token: String,
}

impl fmt::Debug for GrantMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantMade").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// What the end of a grant came to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EndedView {
    /// Whether it was active until now.
    pub was_active: bool,
    /// Whether nothing is being written downstream any more.
    pub drained: bool,
}
