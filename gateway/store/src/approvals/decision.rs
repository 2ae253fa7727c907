//! What persons say, and what proves it later.

use std::collections::BTreeSet;

use bailiwick_schemas::canonical::{Digest, canonical};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
    /// What was said of the call, as it was signed: the [text](Statement::text) itself, not base64url.
    #[serde(default)]
    pub statement: String,
}

/// Everything that a decision says of what is decided. Whoever checks it later compares it with the record: the allowance there ends no later
/// than `minutes` after the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<&'a str>,
    /// The digest of exactly what was shown.
    pub view: Option<&'a Digest>,
    /// How far calls like it may go too: the arguments that may have any value, how many calls, and for how many minutes.
    pub allow: Option<(&'a BTreeSet<String>, u32, u32)>,
}

impl Statement<'_> {
    /// It in one way of writing: canonical JSON (RFC 8785) of an object with `allow`, `reason`, `verdict` and `view`; what is not said is `null`.
    pub fn text(&self) -> String {
        let allow = self.allow.map(|(any, uses, minutes)| json!({"any": any, "uses": uses, "minutes": minutes}));
        let said = json!({"verdict": self.verdict, "reason": self.reason, "view": self.view, "allow": allow});
        String::from_utf8_lossy(&canonical(&said)).into_owned()
    }
}

/// What a passkey signs to decide, whatever it says: SHA-256 of `bailiwick.approval.v2` and a zero byte, the 32 bytes of what is decided (the
/// digest of a binding, or of a [batch](batch_digest)), the 32 bytes of the SHA-256 of its [statement](Statement::text), and the bytes of a
/// nonce.
pub fn challenge(decided: &Digest, statement: &str, nonce: &[u8]) -> Digest {
    let mut bytes = b"bailiwick.approval.v2\0".to_vec();
    bytes.extend_from_slice(decided.as_bytes());
    bytes.extend_from_slice(Digest::of(statement.as_bytes()).as_bytes());
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
