//! What the admin API's description says of values whose types are at home elsewhere. Only their shape is read; a test holds real values
//! against it.

#![expect(dead_code, reason = "only their shape is read")]

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde_json::Value;

/// How people decided.
#[derive(JsonSchema)]
#[schemars(rename = "Habits")]
pub(crate) struct HabitsShape {
    asked: usize,
    approved: usize,
    denied: usize,
    unanswered: usize,
    median_ms: Option<u64>,
    quick: usize,
    habits: Vec<Habit>,
    warnings: Vec<String>,
}

/// How people decided what one rule asked of one agent's calls of one tool.
#[derive(JsonSchema)]
struct Habit {
    rule: String,
    agent: String,
    tool: String,
    asked: usize,
    approved: usize,
    denied: usize,
    alike: usize,
    suggestion: Option<String>,
}

/// What has become of a request.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RequestState {
    Pending,
    Granted,
    Denied,
    Lapsed,
}

/// What a tool does.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Read,
    Write,
    Execute,
    Exfiltrate,
    Admin,
}

/// How risky a tool is.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Band {
    Low,
    Medium,
    High,
    Critical,
}

/// Whose word it takes.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Confirm {
    User,
    Approver,
    TwoPerson,
}

/// Yes or no.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Approve,
    Deny,
}

/// Who gave a tool its kind and band.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClassedBy {
    Config,
    Person,
}

/// What becomes of a grant.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum GrantState {
    Active,
    Completed,
    Revoked,
    Expired,
}

/// The state of an approval.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ApprovalState {
    Pending,
    Approved,
    Denied,
    Expired,
    Lapsed,
    Executing,
    Succeeded,
    Failed,
    Unknown,
    Invalidated,
    Withdrawn,
    Revoked,
}

/// A SHA-256 digest.
#[derive(JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest(#[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))] String);

/// What data is marked with.
#[derive(JsonSchema)]
pub(super) struct Labels(
    /// `untrusted`, `internal`, `confidential`, `secret`, and the classes that the configuration declares; `*` is every one.
    Vec<String>,
);

/// Where data flows.
#[derive(JsonSchema)]
pub(super) struct Flow {
    /// What the task has touched.
    touched: Labels,
    /// The hosts that the call sends data to, as far as its arguments name any.
    hosts: Option<Vec<String>>,
    /// Whether data could leave the house by it.
    external: bool,
}

/// Some tools, and bounds on their arguments.
#[derive(JsonSchema)]
pub(super) struct Capability {
    /// Which tools: a name, or a pattern.
    tools: String,
    /// Only tools of these kinds.
    #[serde(default)]
    kinds: Option<BTreeSet<String>>,
    /// Bounds by JSON pointer into the arguments.
    #[serde(default)]
    args: BTreeMap<String, Bound>,
}

/// A bound on one argument: all that is set must hold.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bound {
    /// Exactly this value.
    #[serde(default)]
    eq: Option<Value>,
    /// One of these values.
    #[serde(default)]
    r#in: Option<Vec<Value>>,
    /// A 64-bit integer within this range, ends included.
    #[serde(default)]
    int_range: Option<Value>,
    /// An absolute path at or below this one.
    #[serde(default)]
    path_under: Option<String>,
    /// A URI at or below this one.
    #[serde(default)]
    uri_under: Option<String>,
    /// A URL whose host is one of these.
    #[serde(default)]
    host_in: Option<Vec<String>>,
    /// A URL or e-mail address whose domain is one of these or below one.
    #[serde(default)]
    domain_in: Option<Vec<String>>,
    /// At most so long.
    #[serde(default)]
    len_max: Option<usize>,
    /// The argument must not be given.
    #[serde(default)]
    absent: bool,
}

/// How much a grant may be used; what is not set is no limit.
#[derive(JsonSchema)]
pub(super) struct Budget {
    /// Calls in all.
    #[serde(default)]
    calls: Option<u64>,
    /// Calls of any kind but `read`.
    #[serde(default)]
    writes: Option<u64>,
    /// Bytes of arguments.
    #[serde(default)]
    bytes_out: Option<u64>,
    /// What calls cost.
    #[serde(default)]
    cost: Option<u64>,
    /// Calls of some tools, by pattern.
    #[serde(default)]
    tools: BTreeMap<String, u64>,
}

/// One thing that policy asks for.
#[derive(JsonSchema)]
pub(super) struct AskedFor {
    /// The label.
    label: String,
    /// Whose word it takes.
    #[serde(default)]
    confirm: Option<Confirm>,
    /// Whether an approver may let like calls go too.
    #[serde(default)]
    remember: bool,
    /// How many persons must approve.
    quorum: u32,
    /// How long the approval holds, milliseconds.
    ttl_ms: Option<u64>,
    /// The rule that asks.
    rule: String,
    /// Its reason.
    reason: Option<String>,
}

/// Who decided.
#[derive(JsonSchema)]
pub(super) struct Approver {
    /// Their operating-system user, where known.
    uid: Option<u32>,
    /// Their name.
    name: String,
    /// How they were proven.
    method: String,
    /// The owners that they are or belong to.
    #[serde(default)]
    owns: BTreeSet<String>,
    /// The user of this machine to whom their passkey traces: who made the link by which it was added. Absent where nobody knows.
    #[serde(default)]
    enrolled_by: Option<u32>,
}

/// A decision that was made.
#[derive(JsonSchema)]
pub(super) struct Decided {
    /// By whom.
    approver: Approver,
    /// When.
    at_ms: u64,
    /// What.
    verdict: Verdict,
    /// Why.
    reason: Option<String>,
    /// The digest of exactly what was shown.
    view: Option<Digest>,
    /// What proves that a passkey signed it.
    #[serde(default)]
    evidence: Option<Value>,
    /// What was decided at once with it: the digests of the bindings, in order.
    #[serde(default)]
    batch: Vec<Digest>,
}

/// What somebody did about an approval besides deciding it.
#[derive(JsonSchema)]
pub(super) struct Said {
    /// By whom.
    approver: Approver,
    /// When.
    at_ms: u64,
    /// Why.
    reason: Option<String>,
}

/// Calls like the approved one that may go without another word.
#[derive(JsonSchema)]
pub(super) struct Allowance {
    /// The arguments that may have any value, by JSON pointer.
    any: BTreeSet<String>,
    /// The digest of the arguments without the values of those.
    others: Digest,
    /// How many such calls may go.
    max_uses: u32,
    /// Until when.
    until_ms: u64,
    /// The calls that went.
    uses: Vec<Use>,
    /// When it ended before its time.
    ended_at_ms: Option<u64>,
}

/// One call that went under an allowance.
#[derive(JsonSchema)]
pub(super) struct Use {
    /// The call.
    call: String,
    /// When.
    at_ms: u64,
}

/// How far calls may go that are like the approved one.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowanceWanted {
    /// The arguments that may have any value, by JSON pointer.
    #[serde(default)]
    any: BTreeSet<String>,
    /// How many such calls.
    uses: u32,
    /// Until when: at most an hour from now, and not longer than the grant.
    until_ms: u64,
}
