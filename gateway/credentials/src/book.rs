//! What is written down of leases: in the store, so that a crash forgets none, and on the record.

use std::sync::Arc;

use bailiwick_pipeline::{
    ids::{AgentId, GrantId},
    ports::{Access, Later},
};
use bailiwick_schemas::names::ConnectorId;
use serde::{Deserialize, Serialize};

use crate::{oauth::Bound, provider::Handle};

/// A lease of an issuer's credential, as it is stored: never with anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub lease: String,
    /// The grant; none for the moment in which an admin looks at the connector.
    pub grant: Option<GrantId>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// The connector.
    pub connector: ConnectorId,
    /// The provider's word.
    pub provider: String,
    /// What was lent: a role, scopes.
    pub reference: String,
    /// What it is good for.
    #[serde(with = "access_word")]
    pub access: Access,
    /// What it is bound to. What an earlier version lent is bound to nothing.
    #[serde(default)]
    pub bound: Bound,
    /// Whether its issuer takes it back.
    pub revocable: bool,
    /// Whether something of it can be in use after its end: then time alone does not end it.
    pub outlives: bool,
    /// Which issuer it is of: what is taken back at another one is not back.
    pub issuer: String,
    /// Since when, unix milliseconds.
    pub since_ms: u64,
    /// Until when it can live at its issuer, unix milliseconds.
    pub until_ms: u64,
}

mod access_word {
    use bailiwick_pipeline::ports::Access;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn serialize<S: Serializer>(access: &Access, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(access.as_str())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Access, D::Error> {
        let word = String::deserialize(from)?;
        Ok(if word == "read" { Access::Read } else { Access::Write })
    }
}

/// The store of what is lent, and not yet back.
pub trait Book: Send + Sync {
    /// Writes down that this is about to be made. On disk when it is done.
    fn open<'a>(&'a self, entry: &'a Entry) -> Later<'a, Result<(), String>>;
    /// Writes down by what it is taken back, sealed, and what has become known of it. On disk when it is done.
    fn keep<'a>(&'a self, entry: &'a Entry, handle: &'a Handle) -> Later<'a, Result<(), String>>;
    /// It is over: taken back, or ended by itself.
    fn close<'a>(&'a self, lease: &'a str) -> Later<'a, Result<(), String>>;
    /// What is not over, with by what it is taken back where that is known.
    fn unclosed(&self) -> Result<Vec<(Entry, Option<Handle>)>, String>;
}

/// What happened to a lease.
#[derive(Debug, Clone)]
pub struct Event {
    /// `minted`, `renewed`, `refused`, `revoked`, `expired` or `overdue`.
    pub event: &'static str,
    /// The lease.
    pub entry: Arc<Entry>,
    /// Why: of a refusal, an end, or a delay.
    pub why: Option<String>,
}

/// The record (stream `secrets`).
pub trait Record: Send + Sync {
    /// Puts this on record. What can't be recorded was not given.
    fn put(&self, event: &Event, now_ms: u64) -> Result<(), String>;
}
