//! Task grants.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Budget, Capability, Extension, GrantState, Labels},
};
use bailiwick_policy::{Band, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub struct GrantView {
    /// Its id.
    pub id: String,
    /// Its state.
    #[schemars(with = "shape::GrantState")]
    pub state: GrantState,
    /// The only agent that may act under it.
    pub agent: String,
    /// Who is accountable.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// The rights.
    #[schemars(with = "Vec<shape::Capability>")]
    pub capabilities: Vec<Capability>,
    /// The callable tools that it covers now.
    pub tools: Vec<String>,
    /// Those of them that were never called under it.
    #[serde(default)]
    pub never_used: Vec<String>,
    /// The highest band it reaches.
    #[schemars(with = "shape::Band")]
    pub ceiling: Band,
    /// The environment it is for.
    pub environment: String,
    /// From when.
    pub not_before_ms: u64,
    /// Until when.
    pub expires_at_ms: u64,
    /// How much it may be used.
    #[schemars(with = "shape::Budget")]
    pub budget: Budget,
    /// How often it was used.
    pub used: Used,
    /// What it has touched.
    #[schemars(with = "shape::Labels")]
    pub labels: Labels,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
    /// Whether its agent looks for tools instead of being listed them.
    #[serde(default)]
    pub tool_search: bool,
    /// Whether it comes from the configuration.
    pub from_config: bool,
    /// The grants above it, nearest first: it was handed on from the first of them.
    #[serde(default)]
    pub chain: Vec<String>,
    /// How many levels of grants may be handed on from it.
    #[serde(default)]
    pub delegation_depth: u8,
    /// How sensitive what it reaches may be; no bound where there is none.
    #[serde(default)]
    pub data_classes: Option<BTreeSet<String>>,
    /// The domains that it may send data to; no bound where there are none.
    #[serde(default)]
    pub destinations: Option<BTreeSet<String>>,
    /// It ends when it was not used for so long.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// Calls in a second; no limit where there is none.
    #[serde(default)]
    pub max_rate: Option<u32>,
    /// When it was used last.
    #[serde(default)]
    pub last_used_ms: Option<u64>,
    /// Where the task is written down.
    #[serde(default)]
    pub ticket: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub created_by: Option<String>,
    /// Whether its agent may say that the task is done.
    #[serde(default)]
    pub may_complete: bool,
    /// Whether its agent may ask for more tools.
    #[serde(default)]
    pub may_request: bool,
    /// The tools that people added to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionView>,
    /// Counts its reissues, and what was added to it.
    pub revision: u64,
    /// When it was made.
    pub created_at_ms: u64,
    /// How it ended.
    pub ending: Option<EndingView>,
}

/// A tool that was added to a grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExtensionView {
    /// The tool.
    pub tool: String,
    /// Until when; for as long as the grant lives where there is none.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// The request that asked for it.
    pub request: String,
    /// Who granted it.
    pub by: String,
    /// When.
    pub at_ms: u64,
}

impl From<Extension> for ExtensionView {
    fn from(extension: Extension) -> Self {
        let Extension { tool, until_ms, request, by, at_ms, meant: _ } = extension;
        Self { tool: tool.to_string(), until_ms, request: request.to_string(), by, at_ms }
    }
}
use super::shape;

/// How often a grant was used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// Calls.
    pub calls: u64,
    /// Calls that were not reads.
    pub writes: u64,
    /// Bytes of arguments.
    #[serde(default)]
    pub bytes_out: u64,
    /// Cost, in the units that tools are priced in.
    #[serde(default)]
    pub cost: u64,
}

/// How a grant ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EndingView {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A grant is wanted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
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
    /// Only tools of these kinds; any where there are none.
    #[serde(default)]
    #[schemars(with = "Option<BTreeSet<shape::Kind>>")]
    pub kinds: Option<BTreeSet<Kind>>,
    /// Bounds by tool, then by JSON pointer.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, shape::Bound>>")]
    pub args: BTreeMap<String, BTreeMap<String, Bound>>,
    /// The highest band; the agent's where there is none.
    #[schemars(with = "Option<shape::Band>")]
    pub ceiling: Option<Band>,
    /// The environment; that of the grant above it, or `default`, where there is none.
    #[serde(default)]
    pub environment: Option<String>,
    /// How long it lives; 8 hours, or 15 minutes of what is handed on, where nobody says it.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// How much it may be used.
    #[serde(default)]
    #[schemars(with = "shape::Budget")]
    pub budget: Budget,
    /// Whether its agent acts under it when it names none.
    #[serde(default)]
    pub default: bool,
    /// Whether its agent is to look for tools instead of being listed them.
    #[serde(default)]
    pub tool_search: bool,
    /// The grant that it is handed on from.
    #[serde(default)]
    pub parent: Option<String>,
    /// How many levels of grants may be handed on from it.
    #[serde(default)]
    pub delegation_depth: u8,
    /// How sensitive what it reaches may be.
    #[serde(default)]
    pub data_classes: Option<BTreeSet<String>>,
    /// The domains that it may send data to.
    #[serde(default)]
    pub destinations: Option<BTreeSet<String>>,
    /// It ends when it was not used for so long.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// Calls in a second.
    #[serde(default)]
    pub max_rate: Option<u32>,
    /// Where the task is written down.
    #[serde(default)]
    pub ticket: Option<String>,
    /// Whether its agent may say that the task is done.
    #[serde(default)]
    pub may_complete: bool,
    /// Whether its agent may ask for more tools.
    #[serde(default)]
    pub may_request: bool,
}

/// A grant, made; its token is told once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
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

/// A one-shot handle of a grant, made; it is told once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct HandleMade {
    /// The grant.
    pub grant: String,
    /// Its agent.
    pub agent: String,
    /// The handle.
    pub handle: String,
    /// Until when a process has to show it for the first time.
    pub bind_by_ms: u64,
}

impl fmt::Debug for HandleMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleMade").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// What the end of a grant came to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EndedView {
    /// Whether it was active until now.
    pub was_active: bool,
    /// Whether nothing is being written downstream any more.
    pub drained: bool,
    /// What had been handed on from it, at any depth, and ended with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fell: Vec<String>,
}
