//! What the console's door asks of the gateway: the time, the record, the operator credential, and decisions.

use std::{future::Future, pin::Pin};

use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::Verdict;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    refused::Refused,
    sign::{Allow, Signature},
};

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is put on record in stream `admin`. Never a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What happened, such as `login`.
    pub event: &'static str,
    /// By whom: a person's id; empty where nobody knows.
    pub by: String,
    /// About whom or what.
    pub about: String,
    /// Why not, where it was refused.
    pub why: Option<String>,
    /// The terms.
    pub with: Value,
}

/// It could not be put on record: then it does not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it can't be put on record: {0}")]
pub struct NotRecorded(pub String);

/// What is asked about one call, as far as deciding it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its id.
    pub id: String,
    /// The digest of exactly what would be done.
    pub binding: Digest,
    /// The connector.
    pub connector: String,
    /// How risky it is.
    pub band: Band,
}

/// A decision that a person made and signed.
#[derive(Debug)]
pub struct SignedDecision {
    /// The approval, by id.
    pub approval: String,
    /// What was signed: the digest of the exact call.
    pub binding: Digest,
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// The digest of exactly what was shown.
    pub view: Option<Digest>,
    /// How far calls like it may go too.
    pub allow: Option<Allow>,
    /// By whom, and how it is proven.
    pub signature: Signature,
}

/// A decision about several calls at once that a person made and signed.
#[derive(Debug)]
pub struct SignedBatch {
    /// The approvals, by id, and the digest of each exact call, in the order in which they were shown. That list was signed.
    pub approvals: Vec<(String, Digest)>,
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// The digest of exactly what was shown.
    pub view: Option<Digest>,
    /// By whom, and how it is proven.
    pub signature: Signature,
}

/// That a person has looked at what was let go in an emergency, signed.
#[derive(Debug)]
pub struct SignedReview {
    /// The approval, by id.
    pub approval: String,
    /// The digest of the exact call.
    pub binding: Digest,
    /// What they note.
    pub note: String,
    /// By whom, and how it is proven.
    pub signature: Signature,
}

/// The gateway, as far as the console's door needs it.
pub trait House: Send + Sync + 'static {
    /// The time, unix milliseconds.
    fn now_ms(&self) -> u64;

    /// Puts it on record; it is there when this returns.
    fn note(&self, note: Note) -> Later<'_, Result<(), NotRecorded>>;

    /// The user of this machine that the gateway runs as: whose file the operator credential is.
    fn own_uid(&self) -> u32;

    /// The operator credential, as its file has it now.
    fn operator_credential(&self) -> Option<Zeroizing<Vec<u8>>>;

    /// The question of this id, if there is one.
    fn question(&self, approval: &str) -> Option<Question>;

    /// Takes a decision. It goes on record with how it was proven. Whose task it is, and whether the proof is enough for it, is judged here.
    fn decide(&self, decision: SignedDecision) -> Later<'_, Result<(), Refused>>;

    /// The same for several at once: all of them or none, and each on record by itself.
    fn decide_batch(&self, decision: SignedBatch) -> Later<'_, Result<(), Refused>>;

    /// Takes that a second person has looked.
    fn review(&self, review: SignedReview) -> Later<'_, Result<(), Refused>>;
}
