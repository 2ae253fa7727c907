//! Connectors as they run, and their accepted tools.

use std::collections::BTreeMap;

use bailiwick_pipeline::grant::Labels;
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::ClassedBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::shape;

/// A connector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConnectorView {
    /// Its id.
    pub id: String,
    /// `ready`, `idle`, `failing`, `drifted`, or `unpinned` where no tool was accepted.
    pub state: String,
    /// The program, or the address.
    pub program: String,
    /// Whether it is reached over HTTP: by sessions then, and not by processes.
    #[serde(default)]
    pub over_http: bool,
    /// Whether one process, or one session, serves all grants.
    pub shared: bool,
    /// The tools that were accepted.
    pub tools: Vec<ToolView>,
    /// Its processes.
    pub processes: Vec<ProcessView>,
    /// What was counted since the start.
    pub calls: u64,
    /// Failures since the start.
    pub failures: u64,
    /// What its servers said that they should not have, by kind, since the start: answers to no request, questions, and the like.
    #[serde(default)]
    pub oddities: BTreeMap<String, u64>,
    /// The last failure: what, and how long ago.
    pub last_failure: Option<FailureView>,
    /// The end of what it wrote to standard error.
    pub stderr: Vec<String>,
}

/// A failure.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FailureView {
    /// What.
    pub what: String,
    /// How long ago.
    pub ago_ms: u64,
}

/// A tool that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolView {
    /// Its full name.
    pub id: String,
    /// What agents call it.
    #[serde(default)]
    pub exposed: String,
    /// Why it keeps its prefix, where its connector is to have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_prefix: Option<String>,
    /// `callable`, `drifted`, or `unusable`.
    pub state: String,
    /// What it does.
    #[schemars(with = "shape::Kind")]
    pub kind: Kind,
    /// How risky it is.
    #[schemars(with = "shape::Band")]
    pub band: Band,
    /// Who gave it a kind and a band where the configuration has no line for it: `config`, whose silence then counts, or `person`.
    #[schemars(with = "shape::ClassedBy")]
    pub classed_by: ClassedBy,
    /// What its results are marked with.
    #[schemars(with = "shape::Labels")]
    pub labels: Labels,
    /// The digest of its definition.
    #[schemars(with = "shape::Digest")]
    pub digest: Digest,
    /// When it was accepted.
    pub accepted_at_ms: u64,
    /// By whom.
    pub accepted_by: String,
    /// Why it can't be called, where it can't.
    pub why: Option<String>,
    /// The tools of other connectors that its definition speaks of: a reason to read it with care.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<String>,
    /// Its definition, as it was accepted.
    #[schemars(with = "serde_json::Value")]
    pub definition: Box<RawValue>,
}

/// A process of a connector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProcessView {
    /// Its process id.
    pub id: u32,
    /// `starting`, `ready` or `ending`.
    pub state: String,
    /// For which grant.
    pub grant: Option<String>,
    /// How long it runs.
    pub age_ms: u64,
    /// Calls under way.
    pub calls: usize,
}
