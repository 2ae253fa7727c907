//! How the gateway is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The URL by which agents reach it; none before it listens.
    pub agents_url: Option<String>,
    /// The callable tools.
    pub tools: usize,
    /// Approvals that wait for a decision.
    pub pending_approvals: usize,
    /// What is halted; `everything` among it where every call is.
    #[serde(default)]
    pub halts: Vec<String>,
    /// Whether whoever runs an agent may approve its calls.
    pub allow_same_user: bool,
    /// Why nothing can be put on record any more, if so: every call is refused then.
    pub trail_lost: bool,
    /// Why nothing can be stored any more, if so.
    pub store_lost: Option<String>,
    /// The configuration in force, and how its last reload went.
    pub config: ConfigStatus,
}

/// The configuration in force.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// Counts the configurations since the start, from 1.
    pub epoch: u64,
    /// The digest over its files.
    pub digest: String,
    /// The digest of its policies.
    pub policy: String,
    /// What its bundles of policies call themselves: name, version, and whether they are signed.
    #[serde(default)]
    pub bundles: Vec<String>,
    /// Why the policies that are only watched are not watched, if so.
    #[serde(default)]
    pub shadow_fault: Option<String>,
    /// Since when it is in force.
    pub since_ms: u64,
    /// Reloads that were taken, since the start.
    pub applied: u64,
    /// Reloads that were refused, since the start.
    pub refused: u64,
    /// The last reload.
    pub last: Option<LastReload>,
    /// The keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
}

/// The last reload.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LastReload {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
    /// Whether it was taken; else what ran before runs on.
    pub successful: bool,
    /// Why it was refused, line by line.
    pub why: Vec<String>,
}
