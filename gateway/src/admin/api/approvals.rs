//! Approvals and decisions.

use bailiwick_pipeline::records::FlowRecord;
use bailiwick_policy::{Band, Confirm, Kind};
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{Allowance, AllowanceWanted, ApprovalState, AskedFor, Decided, Said, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An approval.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// Its state.
    #[schemars(with = "shape::ApprovalState")]
    pub state: ApprovalState,
    /// The short code that the agent sees too.
    pub code: String,
    /// The tool.
    pub tool: String,
    /// The agent.
    pub agent: String,
    /// The grant.
    pub grant: String,
    /// The owner of the grant.
    pub owner: String,
    /// The agents that handed the grant on, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegators: Vec<String>,
    /// The task.
    pub purpose: String,
    /// Why the agent made the call, as it says: a claim that nobody has checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// What the tool does.
    #[schemars(with = "shape::Kind")]
    pub kind: Kind,
    /// How risky it is.
    #[schemars(with = "shape::Band")]
    pub band: Band,
    /// What policy asks for.
    #[schemars(with = "Vec<shape::AskedFor>")]
    pub requirements: Vec<AskedFor>,
    /// The call that asked first.
    pub call: String,
    /// The digest of the arguments.
    #[schemars(with = "shape::Digest")]
    pub args_digest: Digest,
    /// The tool's pin.
    #[schemars(with = "shape::Digest")]
    pub tool_digest: Digest,
    /// When it was asked.
    pub created_at_ms: u64,
    /// Until when it waits for a decision.
    pub approve_by_ms: u64,
    /// Until when it may be used once approved.
    pub execute_by_ms: Option<u64>,
    /// What persons said.
    #[schemars(with = "Vec<shape::Decided>")]
    pub decisions: Vec<Decided>,
    /// When it was used or closed.
    pub ended_at_ms: Option<u64>,
    /// Why it was closed, where nobody decided that.
    pub note: Option<String>,
    /// Whose word it takes.
    #[serde(default)]
    #[schemars(with = "shape::Confirm")]
    pub confirm: Confirm,
    /// How many persons must approve.
    #[serde(default)]
    pub quorum: usize,
    /// The digest of all that is decided: what a decision about several is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Digest>")]
    pub binding: Option<Digest>,
    /// How many calls wait for it at this moment.
    #[serde(default)]
    pub waiting: usize,
    /// Who is looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Said>")]
    pub acknowledged_by: Option<Said>,
    /// Who took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Said>")]
    pub revoked_by: Option<Said>,
    /// Who let it go alone, in an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Said>")]
    pub broken_by: Option<Said>,
    /// Who looked at that afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Said>")]
    pub reviewed_by: Option<Said>,
    /// What of its like may run under it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Allowance>")]
    pub allowance: Option<Allowance>,
    /// What its task has touched by now, and where the call sends data; only where one is shown, and there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Flow>")]
    pub flow: Option<FlowRecord>,
    /// The places in the arguments that are not shown, as JSON pointers: a rule has them masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// The very bytes that would be sent, as text, but for what is masked; only where one is shown, and as long as they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

use super::shape;

/// A decision is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionWanted {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The digest of exactly what was shown to the approver.
    #[serde(default)]
    #[schemars(with = "Option<shape::Digest>")]
    pub view: Option<Digest>,
    /// Its code, as the approver typed it; a critical call is not approved without.
    #[serde(default)]
    pub code: Option<String>,
    /// What of its like may run under it too.
    #[serde(default)]
    #[schemars(with = "Option<shape::AllowanceWanted>")]
    pub allow: Option<AllowanceWanted>,
}

/// A decision about several is wanted: about all of them or none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchWanted {
    /// Which, by id, in the order in which they were shown.
    pub ids: Vec<String>,
    /// The digest of their bindings, in this order.
    #[schemars(with = "shape::Digest")]
    pub shown: Digest,
    /// Yes or no.
    #[schemars(with = "shape::Verdict")]
    pub verdict: Verdict,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}
