//! Who decides, by what proof, and about what.

use std::collections::BTreeSet;

use bailiwick_policy::{Band, Confirm};
use serde::{Deserialize, Serialize};

use super::{decision::Verdict, record::Approval};

/// The user that can act as any other.
pub(super) const ROOT: u32 = 0;

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
    /// The owners that they are or belong to, as agents and grants name them: they approve nothing of theirs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub owns: BTreeSet<String>,
    /// The user of this machine to whom their passkey traces: who made the link by which it was added. None where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_by: Option<u32>,
}

/// What somebody may decide.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideBounds {
    /// The connectors, by id; empty for all.
    #[serde(default)]
    pub connectors: BTreeSet<String>,
    /// The highest band; none for all.
    #[serde(default)]
    pub up_to: Option<Band>,
}

/// Why somebody may not decide something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MayNot {
    /// The connector is none of theirs.
    #[error("it is not among the connectors that you decide about")]
    Connector,
    /// The band is above theirs.
    #[error("it is riskier than what you decide about")]
    Band,
    /// How they were proven is not enough for it.
    #[error("it takes a passkey, or the operator credential, to approve it")]
    Method,
}

impl Approver {
    /// Whether an approver who is proven by these means may approve this, as far as their bounds and their proof go. Whose task it is is
    /// asked when they decide. A no needs no more than the bounds.
    pub fn may_decide(&self, approval: &Approval, verdict: Verdict, bounds: &DecideBounds) -> Result<(), MayNot> {
        if !bounds.connectors.is_empty() && !bounds.connectors.contains(approval.binding.connector.as_str()) {
            return Err(MayNot::Connector);
        }
        if bounds.up_to.is_some_and(|highest| approval.band > highest) {
            return Err(MayNot::Band);
        }
        if verdict == Verdict::Approve && !self.method.is_enough_for(approval) {
            return Err(MayNot::Method);
        }
        Ok(())
    }

    /// Whether this owner is them, or somebody they stand for.
    pub(super) fn is_or_owns(&self, owner: &str) -> bool {
        let same = |name: &str| name.trim().eq_ignore_ascii_case(owner.trim());
        same(&self.name) || self.owns.iter().any(|own| same(own))
    }

    /// Whether these may be one person: one name, one user, or one of them root, who can be any user.
    pub fn may_be(&self, other: &Self) -> bool {
        self.is_surely(other) || self.is_root() || other.is_root()
    }

    /// Whether these are one person: one name, or one user.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        self.name.trim().eq_ignore_ascii_case(other.name.trim()) || (self.uid.is_some() && self.uid == other.uid)
    }

    /// Whether they can act as any user.
    pub(super) fn is_root(&self) -> bool {
        self.uid == Some(ROOT)
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
    /// A fresh login, or a session that was stepped up, without a passkey: never enough for `high` and above.
    Login,
    /// The agent's own client says that whoever drives it said so: enough only where policy asks for no more than that.
    ClientAsserted,
}

impl ApproverMethod {
    /// Whether a yes by these means counts for this call.
    pub fn is_enough_for(self, approval: &Approval) -> bool {
        match self {
            Self::Operator | Self::Passkey => true,
            Self::Login => approval.band < Band::High && approval.confirm() < Confirm::TwoPerson,
            Self::ClientAsserted => approval.confirm() == Confirm::User,
        }
    }
}
