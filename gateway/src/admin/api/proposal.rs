//! What a server offers, and what of it is accepted.

use std::collections::BTreeMap;

use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::canonical::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shape;

/// What a server offers, held against what was accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// The connector.
    pub id: String,
    /// `same` or `different`.
    pub state: String,
    /// The protocol version it speaks.
    pub protocol: String,
    /// What it says it is.
    pub server_info: Option<Value>,
    /// The tools that may be accepted, and those that are gone.
    pub tools: Vec<ProposedTool>,
    /// The tools that may not, and why.
    pub findings: Vec<RejectedTool>,
}

/// One tool of a proposal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProposedTool {
    /// Its name at its server.
    pub id: String,
    /// `same`, `new`, `changed` or `gone`.
    pub state: String,
    /// What it would count as.
    #[schemars(with = "shape::Kind")]
    pub kind: Kind,
    /// How risky it would count as.
    #[schemars(with = "shape::Band")]
    pub band: Band,
    /// Where kind and band come from: `config`, `accepted before`, or what was guessed from.
    pub from: String,
    /// The digest of the definition that would be accepted; of the accepted one where it is gone.
    #[schemars(with = "shape::Digest")]
    pub digest: Digest,
    /// What changed: JSON pointers into the definition, with the value before and now.
    pub changes: Vec<Change>,
    /// What its server says of it.
    pub description: String,
    /// The tools of other connectors that its definition speaks of: a reason to read it with care.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<String>,
}

/// One place of a definition that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Where (RFC 6901).
    pub at: String,
    /// What was accepted; none where there was nothing.
    pub before: Option<Value>,
    /// What is offered; none where there is nothing.
    pub now: Option<Value>,
}

/// A tool that may not be accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RejectedTool {
    /// The name it claims.
    pub id: String,
    /// Always `rejected`.
    pub state: String,
    /// Why.
    pub why: String,
}

/// How a connector's server did when it was started for a moment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// The connector.
    pub id: String,
    /// `same` or `different` from what was accepted, or `failed`.
    pub state: String,
    /// How long it took, to its end, milliseconds.
    pub took_ms: u64,
    /// What it offers, held against what was accepted.
    pub offer: Option<Proposal>,
    /// Why it failed.
    pub failure: Option<String>,
    /// The end of what it wrote to standard error.
    pub stderr: Vec<String>,
}

/// Tools are accepted: exactly those that were shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Tool and digest, as the proposal said.
    #[schemars(with = "BTreeMap<String, shape::Digest>")]
    pub tools: BTreeMap<String, Digest>,
    /// Which of them speak of tools of other connectors, as the proposal said: who accepts them has seen that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refers_to: BTreeMap<String, Vec<String>>,
}

/// What was accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// How many tools.
    pub tools: usize,
}
