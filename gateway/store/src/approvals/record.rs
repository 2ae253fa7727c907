//! What is kept of a question, and of the answers to it.

use std::{collections::BTreeSet, fmt};

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId, CallId, GrantId},
    ports::{Binding, Delegator, Ticket, TicketState},
};
use bailiwick_policy::{Band, Confirm, Kind, Requirement};
use bailiwick_schemas::{canonical::Digest, names::ConnectorId};
use serde::{Deserialize, Serialize};

use super::{
    approver::Approver,
    decision::{Decided, Verdict},
};

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
    /// An approver took it back before it was used.
    Revoked,
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
            Self::Revoked => "revoked",
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
    /// Why the agent made the call, as it says: a claim, and no part of what is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The places in its arguments that people are not shown, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
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
    /// Who said that they are looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<Said>,
    /// Who took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<Said>,
    /// Who let it go alone, in an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_by: Option<Said>,
    /// Who looked at that afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<Said>,
    /// What of its like may run under it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
}

/// What somebody did about an approval besides deciding it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// By whom.
    pub approver: Approver,
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// Why.
    pub reason: Option<String>,
}

/// Calls like the approved one that may go without another word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// The arguments that may have any value, by JSON pointer.
    pub any: BTreeSet<String>,
    /// The digest of the arguments without the values of those.
    pub others: Digest,
    /// How many such calls may go.
    pub max_uses: u32,
    /// Until when, unix milliseconds.
    pub until_ms: u64,
    /// The calls that went, in order.
    pub uses: Vec<Use>,
    /// When it ended before its time, unix milliseconds.
    pub ended_at_ms: Option<u64>,
}

/// One call that went under an allowance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The call.
    pub call: CallId,
    /// When, unix milliseconds.
    pub at_ms: u64,
}

impl Allowance {
    /// Whether a call may still go under it.
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.ended_at_ms.is_none() && now_ms < self.until_ms && self.uses_left() > 0
    }

    /// How many calls may still go.
    pub fn uses_left(&self) -> u32 {
        self.max_uses.saturating_sub(u32::try_from(self.uses.len()).unwrap_or(u32::MAX))
    }
}

impl Approval {
    /// Whose word it takes: what the rules ask for, and no less than its band takes.
    pub fn confirm(&self) -> Confirm {
        let asked = self.requirements.iter().map(|asked| asked.confirm).max().unwrap_or_default();
        asked.max(Confirm::least_of(self.band))
    }

    /// How many persons must approve.
    pub fn quorum(&self) -> usize {
        let least = if self.confirm() == Confirm::TwoPerson { 2 } else { 1 };
        let most = self.requirements.iter().map(|asked| asked.quorum).max().unwrap_or(1).max(least);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Whether an approver may let calls like it go, too: every rule says so, and one person is enough.
    pub fn may_be_remembered(&self) -> bool {
        self.quorum() == 1 && !self.requirements.is_empty() && self.requirements.iter().all(|asked| asked.remember)
    }

    /// Whether it was let go in an emergency, and no second person has looked at that yet.
    pub fn is_review_due(&self) -> bool {
        self.broken_by.is_some() && self.reviewed_by.is_none()
    }

    /// Counts uses of what it allows that are in the trail and not in the store. Says whether there were such.
    pub(super) fn take_uses(&mut self, taken: Vec<Use>) -> bool {
        let Some(allowance) = &mut self.allowance else {
            return false;
        };
        let new: Vec<Use> =
            taken.into_iter().filter(|taken| allowance.uses.iter().all(|known| known.call != taken.call)).collect();
        let is_any = !new.is_empty();
        allowance.uses.extend(new);
        is_any
    }

    /// Ends what it allows. Says whether it allowed anything.
    pub(super) fn end_allowance(&mut self, at_ms: u64) -> bool {
        match &mut self.allowance {
            Some(allowance) if allowance.ended_at_ms.is_none() => {
                allowance.ended_at_ms = Some(at_ms);
                true
            }
            _ => false,
        }
    }

    /// Whether calls like it may go at this time without another word.
    pub fn is_allowing(&self, now_ms: u64) -> bool {
        self.allowance.as_ref().is_some_and(|allowance| allowance.is_live(now_ms))
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
    /// Whose word it takes.
    #[serde(default)]
    pub confirm: Confirm,
    /// Whether an approver may let like calls go too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remember: bool,
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
            confirm: asked.confirm,
            remember: asked.remember,
            quorum: asked.quorum,
            ttl_ms: asked.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            rule: asked.rule.to_string(),
            reason: asked.reason.as_deref().map(str::to_owned),
        }
    }
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    obligations: Vec<String>,
}
