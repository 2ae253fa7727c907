//! What persons say, and what proves it later.

use std::collections::BTreeSet;

use bailiwick_schemas::canonical::Digest;
use serde::{Deserialize, Serialize};

use super::approver::Approver;

/// A decision to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why; of a no the agent hears it.
    pub reason: Option<String>,
    /// The digest of exactly what was shown to the approver, where it is known.
    pub view: Option<Digest>,
    /// What proves later that a passkey signed this decision, where one did.
    pub evidence: Option<Evidence>,
    /// What of its like may run under it too, where the approver widens it; only of a yes.
    pub allow: Option<AllowanceWanted>,
}

impl Decision {
    /// Yes.
    pub fn approve() -> Self {
        Self { verdict: Verdict::Approve, reason: None, view: None, evidence: None, allow: None }
    }

    /// No, and why.
    pub fn deny(reason: Option<String>) -> Self {
        Self { verdict: Verdict::Deny, reason, ..Self::approve() }
    }
}

/// What an auditor needs to check later that a passkey signed a decision (Web Authentication Level 3, 7.2). All of it is base64url
/// without padding; the challenge in `client_data` is that of [`challenge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The id of the credential.
    pub credential_id: String,
    /// `clientDataJSON`, as the authenticator's client sent it.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// The signature over both.
    pub signature: String,
    /// The credential's public key (COSE), as it was enrolled.
    pub public_key: String,
    /// What made the challenge unlike every other.
    pub nonce: String,
}

/// What a passkey signs to decide: SHA-256 of `bailiwick.approval.v1` and a zero byte, the 32 bytes of what is decided (the
/// digest of a binding, or of a [batch](batch_digest)), the word of the verdict, and the bytes of a nonce.
pub fn challenge(decided: &Digest, verdict: Verdict, nonce: &[u8]) -> Digest {
    let mut bytes = b"bailiwick.approval.v1\0".to_vec();
    bytes.extend_from_slice(decided.as_bytes());
    bytes.extend_from_slice(verdict.as_str().as_bytes());
    bytes.extend_from_slice(nonce);
    Digest::of(&bytes)
}

/// What several questions are decided by at once: their binding digests, in the order in which they were shown.
pub fn batch_digest(bindings: &[Digest]) -> Digest {
    let mut bytes = b"bailiwick.approval-batch.v1\0".to_vec();
    for digest in bindings {
        bytes.extend_from_slice(digest.as_bytes());
    }
    Digest::of(&bytes)
}

/// How far an approver lets calls go that are like the approved one: of the same agent, grant and tool, and with the same arguments but
/// for those named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowanceWanted {
    /// The arguments that may have any value, by JSON pointer (RFC 6901); each must be there. All others are exactly as approved.
    #[serde(default)]
    pub any: BTreeSet<String>,
    /// How many such calls.
    pub uses: u32,
    /// Until when, unix milliseconds: at most an hour from now, and not longer than the grant.
    pub until_ms: u64,
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

impl Verdict {
    /// Its word, as in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
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
    /// What proves that a passkey signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What was decided at once with it: the digests of the bindings, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batch: Vec<Digest>,
}
