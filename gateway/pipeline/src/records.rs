//! What goes on record. Field names here are the names in the trail.

use std::collections::BTreeMap;

use bailiwick_policy::{Band, Differs, Kind, Snapshot};
use serde::{Deserialize, Serialize};

use crate::{
    detect::Act,
    grant::Labels,
    ids::{AgentId, ApprovalId, CallId, GrantId},
};

/// How a request ended. One vocabulary for records, spans and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tool answered.
    Success,
    /// The tool answered with an error of its own.
    ToolError,
    /// The server failed: ended, broke the protocol, or answered what may not pass.
    DownstreamError,
    /// A gate said no.
    Denied,
    /// The server asks something first.
    InputRequired,
    /// A person is still to decide.
    ApprovalPending,
    /// A person said no.
    ApprovalRejected,
    /// The request or its arguments are not what they must be.
    Invalid,
    /// Nobody was proven to have sent it.
    Unauthenticated,
    /// Too many, too fast.
    RateLimited,
    /// The caller went away, or the grant ended.
    Cancelled,
    /// No answer in time.
    Timeout,
    /// The gateway failed.
    InternalError,
    /// Written at a restart: it may have happened.
    Unknown,
}

impl Outcome {
    /// The word used everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ToolError => "tool_error",
            Self::DownstreamError => "downstream_error",
            Self::Denied => "denied",
            Self::InputRequired => "input_required",
            Self::ApprovalPending => "approval_pending",
            Self::ApprovalRejected => "approval_rejected",
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::RateLimited => "rate_limited",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::InternalError => "internal_error",
            Self::Unknown => "unknown",
        }
    }
}

/// Stream `calls`: this is about to happen. What it debits and claims counts from here on.
#[derive(Debug, Serialize)]
pub struct IntentRecord<'a> {
    /// Always `intent`.
    pub event: &'static str,
    /// The call.
    pub call_id: &'a CallId,
    /// Who.
    pub agent: &'a AgentId,
    /// Which copy of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a str>,
    /// Under which grant.
    pub grant: &'a GrantId,
    /// Which issue of it.
    pub grant_revision: u64,
    /// The grants debited: this one and its ancestors.
    pub debited: &'a [&'a GrantId],
    /// The tool.
    pub tool: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// Its band.
    pub band: Band,
    /// Its pin.
    pub tool_digest: &'a str,
    /// Keyed digest of the argument bytes that are sent.
    pub args_mac: &'a str,
    /// Keyed digest of what is kept of them, sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_mac: Option<&'a str>,
    /// Their number.
    pub args_size: usize,
    /// What it costs, in the admin's own units.
    pub cost: u64,
    /// Keyed digest of the answers that are sent with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_mac: Option<&'a str>,
    /// Keyed digest of the agent's own metadata that is sent beside them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_mac: Option<&'a str>,
    /// The policies that allowed it.
    pub policy_digest: &'a str,
    /// What its result will be marked with: the task has these labels from here on, should the gateway die before the result.
    pub labels: Labels,
    /// The approval whose one use this takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<&'a ApprovalId>,
    /// The approval of another call under which this one goes, as one of its like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<&'a ApprovalId>,
    /// The call that began the task which this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_of: Option<&'a CallId>,
    /// The credential lent for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<&'a str>,
    /// What it adds to sums that a detection limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sums: Option<SumsRecord<'a>>,
    /// Its trace.
    pub trace_id: &'a str,
}

/// What a call adds to sums, in an intent.
#[derive(Debug, Serialize)]
pub struct SumsRecord<'a> {
    /// The agents whose task it is a part of.
    pub agents: Vec<&'a AgentId>,
    /// The amounts, by the name of the detection; null where a rule masks arguments of the tool.
    pub amounts: BTreeMap<&'a str, Option<u64>>,
    /// What they are then, sealed for the next start ([`sealed_amounts`](crate::detect::sealed_amounts)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// Stream `calls`: this is how it ended. Exactly one for each request.
#[derive(Debug, Serialize)]
pub struct OutcomeRecord<'a> {
    /// Always `outcome`.
    pub event: &'static str,
    /// The call.
    pub call_id: &'a CallId,
    /// The MCP method.
    pub method: &'a str,
    /// The request's JSON-RPC id, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsonrpc_id: Option<&'a str>,
    /// The protocol version.
    pub protocol: &'a str,
    /// `http` or `stdio`.
    pub transport: &'a str,
    /// Bytes of the request.
    pub size: usize,
    /// Who, where proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a AgentId>,
    /// Which copy of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a str>,
    /// How it was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<&'a str>,
    /// Under which grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'a GrantId>,
    /// The tool as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// Keyed digest of the argument bytes, of a call of the gateway's own tools: it has no intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_mac: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Why, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// The approval it used or waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<&'a ApprovalId>,
    /// From arrival to answer, microseconds.
    pub duration_us: u64,
    /// Of that, spent waiting for a person, microseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub held_us: u64,
    /// The call whose outcome this one was answered with, as its own answer had reached nobody: nothing was done anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome_of: Option<&'a CallId>,
    /// What came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultRecord>,
    /// What was said before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asides: Option<AsideRecord>,
    /// The task that it became, or is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRecord>,
    /// Its trace.
    pub trace_id: &'a str,
}

/// Stream `calls`: a task was marked with more than an intent said: before anything of it left.
#[derive(Debug, Serialize)]
pub struct LabelledRecord<'a> {
    /// Always `labelled`.
    pub event: &'static str,
    /// The call that it came with.
    pub call_id: &'a CallId,
    /// Whose task it is.
    pub agent: &'a AgentId,
    /// Under which grant.
    pub grant: &'a GrantId,
    /// The grants marked: this one and its ancestors. All others of their agents are, too.
    pub chain: &'a [&'a GrantId],
    /// The tool; none for a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// The labels.
    pub labels: Labels,
    /// Its trace.
    pub trace_id: &'a str,
}

/// What a decision read of where data flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// What the task had touched.
    pub touched: Labels,
    /// The hosts that the call sends data to, as far as its arguments name any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whether data could leave the house by it.
    pub external: bool,
}

impl FlowRecord {
    /// Where it goes, for a person.
    pub fn words(&self) -> String {
        let touched: Vec<&str> = self.touched.names().collect();
        let touched = if touched.is_empty() { "nothing touched".to_owned() } else { format!("touched {}", touched.join(", ")) };
        match (self.hosts.as_slice(), self.external) {
            ([], false) => touched,
            ([], true) => format!("{touched}; may go outside, to nobody knows where"),
            (hosts, true) => format!("{touched}; goes outside, to {}", hosts.join(", ")),
            (hosts, false) => format!("{touched}; stays inside, at {}", hosts.join(", ")),
        }
    }
}

/// What came back, in an outcome.
#[derive(Debug, Clone, Serialize)]
pub struct ResultRecord {
    /// Bytes of the result that was passed on.
    pub size: usize,
    /// Keyed digest of them.
    pub mac: String,
    /// Secrets taken out of it.
    pub redactions: usize,
    /// How often rules had something masked or left out.
    #[serde(skip_serializing_if = "is_zero_usize")]
    pub masked: usize,
    /// Texts and files that were withheld, because rules redact parts of them and they can't be looked at.
    #[serde(skip_serializing_if = "is_zero_usize")]
    pub withheld: usize,
    /// Items of a list that a rule had cut off.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// What it is marked with.
    pub labels: Labels,
}

/// A call that is answered later, in an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRecord {
    /// The call that it began with.
    pub of: CallId,
    /// Where it stands, as its agent was told: `working`, `input_required`, `completed`, `failed` or `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
}

/// What was said before the answer, in an outcome: progress and log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AsideRecord {
    /// So many the agent was told.
    pub told: u64,
    /// So many it was not: malformed, not asked for, too many, or not read in time.
    pub withheld: u64,
    /// Secrets taken out of them.
    pub redactions: u64,
}

/// Stream `decisions`: what was decided about a request, and by what.
#[derive(Debug, Serialize)]
pub struct DecisionRecord<'a> {
    /// `decided`, or what happened to an approval.
    pub event: &'static str,
    /// The call.
    pub call_id: &'a CallId,
    /// Who, where proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a AgentId>,
    /// Under which grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'a GrantId>,
    /// The MCP method.
    pub method: &'a str,
    /// The tool as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// `allow`, `step_up` or `deny`.
    pub effect: &'static str,
    /// The gate that decided.
    pub gate: &'static str,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Why, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// The policies that determined it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub rules: &'a [String],
    /// What they demand beside a yes.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub obligations: &'a [String],
    /// The bundle they are from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<&'a str>,
    /// What the policies were asked, and what they said; none where they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<&'a Asked>,
    /// What rules that are only watched would have decided otherwise.
    #[serde(skip_serializing_if = "<[Differs]>::is_empty")]
    pub shadow: &'a [Differs],
    /// The approval asked for or used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<&'a ApprovalId>,
    /// What was read of where data flows; none before policies were asked, and where there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<&'a FlowRecord>,
    /// Its trace.
    pub trace_id: &'a str,
}

/// What the policies were asked about a call, and what they said: enough to ask them, or others, again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What they said: `allow`, `step_up` or `deny`.
    pub policy: String,
    /// What their rules read of the call.
    #[serde(flatten)]
    pub read: Snapshot,
    /// The grants above the one that it acts under, each asked as if it made the call: their ids, and the facts that rules read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<AskedAbove>,
}

/// A grant above the one that a call acts under, as the policies were asked about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedAbove {
    /// Which.
    pub grant: String,
    /// The facts of the call under it.
    pub call: serde_json::Map<String, serde_json::Value>,
}

/// Stream `detections`: something stood out. One record for as long as it goes on.
#[derive(Debug, Serialize)]
pub struct DetectionRecord<'a> {
    /// Always `fired`.
    pub event: &'static str,
    /// The name of the detection.
    pub detection: &'a str,
    /// What it looks for.
    pub kind: &'static str,
    /// What follows.
    pub action: Act,
    /// The call that it fired on first.
    pub call_id: &'a CallId,
    /// Who.
    pub agent: &'a AgentId,
    /// Which copy of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a str>,
    /// Under which grant.
    pub grant: &'a GrantId,
    /// The first grant of its chain, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<&'a GrantId>,
    /// The tool, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// How much was found: calls, amounts or seconds, by its kind. None of amounts where a rule masks arguments of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// How far it looks back, seconds.
    pub window_s: u64,
    /// What was found, in words.
    pub why: &'a str,
    /// The trace of the call.
    pub trace_id: &'a str,
}

/// Stream `secrets`: a secret was lent, used, or seen where it must not be.
#[derive(Debug, Serialize)]
pub struct SecretRecord<'a> {
    /// `lent`, `used` or `leaked`.
    pub event: &'static str,
    /// The call.
    pub call_id: &'a CallId,
    /// For whom.
    pub agent: &'a AgentId,
    /// Under which grant.
    pub grant: &'a GrantId,
    /// To which connector.
    pub connector: &'a str,
    /// The lease.
    pub lease: &'a str,
    /// The provider.
    pub provider: &'a str,
    /// Where the secret comes from: never its value.
    pub reference: &'a str,
    /// Until when it is lent, unix milliseconds.
    pub expires_at_ms: u64,
    /// How often it was taken out of a result.
    #[serde(skip_serializing_if = "is_zero_usize")]
    pub redactions: usize,
    /// The trace.
    pub trace_id: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero_usize(number: &usize) -> bool {
    *number == 0
}
