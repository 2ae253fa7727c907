//! What agents ask for beyond their grants.

use bailiwick_policy::{Band, Kind};
use bailiwick_store::RequestState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;

/// A request for more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RequestView {
    /// Its id.
    pub id: String,
    /// What has become of it.
    #[schemars(with = "shape::RequestState")]
    pub state: RequestState,
    /// The grant that it asks beyond.
    pub grant: String,
    /// Who is accountable for that grant.
    pub owner: String,
    /// Its task.
    pub purpose: String,
    /// The agent.
    pub agent: String,
    /// The tools, and whether they can be granted now.
    pub tools: Vec<AskedTool>,
    /// Why, in the agent's words.
    pub reason: String,
    /// For how long it asks; for the task where there is none.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// The call that asked.
    pub call: String,
    /// When.
    pub created_at_ms: u64,
    /// Who decided.
    #[serde(default)]
    pub decided_by: Option<String>,
    /// When it was decided, or its grant ended.
    #[serde(default)]
    pub decided_at_ms: Option<u64>,
    /// Why it was decided so.
    #[serde(default)]
    pub note: Option<String>,
    /// Until when it was granted; for the task where there is none.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// What was asked last under the grant, newest first; of one request alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_calls: Vec<LastCall>,
}

/// A tool that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AskedTool {
    /// Its name, as the agent wrote it.
    pub name: String,
    /// What it does; none where there is no such tool.
    #[serde(default)]
    #[schemars(with = "Option<shape::Kind>")]
    pub kind: Option<Kind>,
    /// How risky it is held to be.
    #[serde(default)]
    #[schemars(with = "Option<shape::Band>")]
    pub band: Option<Band>,
    /// Why it can't be granted, if so. The agent does not hear this.
    #[serde(default)]
    pub obstacle: Option<String>,
}

/// A call under the grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LastCall {
    /// When, as the record has it.
    pub time: String,
    /// Its id.
    pub call: String,
    /// Of what.
    pub what: String,
    /// How it ended.
    pub outcome: String,
}

/// A request is granted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// For so long.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// For the whole task. Where neither is said, it is as the agent asked.
    #[serde(default)]
    pub for_task: bool,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}
