//! What is kept of a question, and of the answers to it.

use std::{collections::BTreeSet, fmt};

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId, CallId, GrantId},
    ports::{Binding, Delegator, Ticket, TicketState},
};
use bailiwick_policy::{Band, Kind, Requirement};
use bailiwick_schemas::{canonical::Digest, names::ConnectorId};
use serde::{Deserialize, Serialize};

/// The state of an approval (`approvals.md` 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody has decided, or not enough persons.
    Pending,
    /// It may run once, until its time is over.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Approved, but not used in time.
    Lapsed,
    /// Its one use is under way.
    Executing,
    /// It ran.
    Succeeded,
    /// It did not run, or the tool answered with an error.
    Failed,
    /// It may have run: the answer never came, or the gateway ended meanwhile. It is never sent again.
    Unknown,
    /// What it was about is no longer so: the grant ended, the tool or the connector changed.
    Invalidated,
    /// Whoever asked took it back.
    Withdrawn,
}

impl ApprovalState {
    /// The word used in records and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Lapsed => "lapsed",
            Self::Executing => "executing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Invalidated => "invalidated",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether it can still lead to a call.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    /// Whether somebody may still need the arguments: to decide, to send, or to find out what may have happened.
    pub(super) fn needs_arguments(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Executing | Self::Unknown)
    }
}

impl fmt::Display for ApprovalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An approval: a question about one exact call, and what became of it. Its arguments are kept sealed, beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its id: a handle, it gives no power.
    pub id: ApprovalId,
    /// The short code that agent and approver both see, such as `K7-42`. Unique among the open ones.
    pub code: String,
    /// Its state.
    pub state: ApprovalState,
    /// The exact call.
    #[serde(with = "BindingFields")]
    pub binding: Binding,
    /// What the tool does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// What policy asks for.
    pub requirements: Vec<AskedFor>,
    /// The owner of the grant.
    pub owner: String,
    /// Who handed the grant on, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegators: Vec<Delegator>,
    /// The task.
    pub purpose: String,
    /// The call that asked first.
    pub call: CallId,
    /// When it was asked, unix milliseconds.
    pub created_at_ms: u64,
    /// Until when it waits for a decision, unix milliseconds.
    pub approve_by_ms: u64,
    /// Until when it may be used once approved, unix milliseconds.
    pub execute_by_ms: Option<u64>,
    /// Until when its grant lives, unix milliseconds.
    pub grant_expires_at_ms: u64,
    /// What persons said, in order.
    pub decisions: Vec<Decided>,
    /// When it was used or closed, unix milliseconds.
    pub ended_at_ms: Option<u64>,
    /// Why it was closed, where nobody decided that.
    pub note: Option<String>,
}

impl Approval {
    /// How many persons must approve.
    pub fn quorum(&self) -> usize {
        let most = self.requirements.iter().map(|asked| asked.quorum).max().unwrap_or(1).max(1);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// How many persons have approved.
    pub fn approvals(&self) -> usize {
        self.decisions.iter().filter(|decided| decided.verdict == Verdict::Approve).count()
    }

    /// How often it can still be used: once, until it is.
    pub fn uses_left(&self) -> u32 {
        u32::from(self.state.is_open())
    }

    pub(super) fn ticket(&self, state: TicketState) -> Ticket {
        Ticket { id: self.id.clone(), code: self.code.clone(), state, approve_by_ms: self.approve_by_ms }
    }

    /// What persons said no with.
    pub(super) fn refusal(&self) -> Option<String> {
        self.decisions.iter().rev().find(|decided| decided.verdict == Verdict::Deny).and_then(|decided| decided.reason.clone())
    }
}

/// One thing that policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedFor {
    /// The label.
    pub label: String,
    /// How many persons must approve.
    pub quorum: u32,
    /// How long the approval holds, milliseconds, where the rule says so.
    pub ttl_ms: Option<u64>,
    /// The rule that asks.
    pub rule: String,
    /// Its reason.
    pub reason: Option<String>,
}

impl From<&Requirement> for AskedFor {
    fn from(asked: &Requirement) -> Self {
        Self {
            label: asked.label.to_string(),
            quorum: asked.quorum,
            ttl_ms: asked.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            rule: asked.rule.to_string(),
            reason: asked.reason.as_deref().map(str::to_owned),
        }
    }
}

/// A decision to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why; of a no the agent hears it.
    pub reason: Option<String>,
    /// The digest of exactly what was shown to the approver, where it is known.
    pub view: Option<Digest>,
}

impl Decision {
    /// Yes.
    pub fn approve() -> Self {
        Self { verdict: Verdict::Approve, reason: None, view: None }
    }

    /// No, and why.
    pub fn deny(reason: Option<String>) -> Self {
        Self { verdict: Verdict::Deny, reason, view: None }
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may run once.
    Approve,
    /// It may not.
    Deny,
}

/// The user that can act as any other.
const ROOT: u32 = 0;

/// Who decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Their operating-system user, where known.
    pub uid: Option<u32>,
    /// Their name.
    pub name: String,
    /// How they were proven.
    pub method: ApproverMethod,
}

impl Approver {
    /// Whether these may be one person: one name, one user, or one of them root, who can be any user.
    pub fn may_be(&self, other: &Self) -> bool {
        let is_root = |approver: &Self| approver.uid == Some(ROOT);
        self.name.trim().eq_ignore_ascii_case(other.name.trim())
            || (self.uid.is_some() && self.uid == other.uid)
            || is_root(self)
            || is_root(other)
    }
}

/// How an approver was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApproverMethod {
    /// The peer of the admin socket, with the operator credential.
    Operator,
    /// A passkey that signed this decision.
    Passkey,
}

/// A decision that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// By whom.
    pub approver: Approver,
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// The digest of exactly what was shown.
    pub view: Option<Digest>,
}

/// The fields of a [`Binding`], as they are stored.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Binding", deny_unknown_fields)]
struct BindingFields {
    agent: AgentId,
    grant: GrantId,
    grant_revision: u64,
    connector: ConnectorId,
    connector_fingerprint: Digest,
    tool: String,
    tool_digest: Digest,
    args_digest: Digest,
    policy_digest: String,
    needs: BTreeSet<String>,
}
