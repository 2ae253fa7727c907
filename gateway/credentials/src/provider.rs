//! What every source of credentials can do: give one, renew it, take it back.

use std::{fmt, sync::Arc, time::Duration};

use bailiwick_pipeline::{
    ids::{AgentId, GrantId},
    ports::{Access, Injection, Later, Material},
};
use bailiwick_schemas::names::ConnectorId;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::oauth::Bound;

/// So much room by what a credential is taken back has at first, bytes: more than tokens take.
const ROOM: usize = 32 * 1024;

/// A source of credentials for one connector.
///
/// What an implementation has to keep:
/// - It never gives more than was wished for. What its issuer gives beyond that is given back at once and refused.
/// - A handle by which the credential, or what is left of it, can be taken back is handed to the [`Journal`] as soon as it is known: before
///   the issuer is asked, where we name what is made; between two steps, where there are several.
/// - It asks the issuer once: the caller decides whether to try again. It ends within a time of its own for each step.
/// - No fault has a secret in it.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The word for the record, such as `openbao`.
    fn name(&self) -> &'static str;

    /// What is lent to whoever needs this: the name of a role, a path, scopes. Never a value.
    fn reference(&self, access: Access) -> String;

    /// Whether it gives what lives on when the task is over: then nothing is taken back, as nothing can be.
    fn is_standing(&self) -> bool {
        false
    }

    /// What its credentials are bound to.
    fn bound(&self) -> Bound {
        Bound::None
    }

    /// Whether its issuer takes back what it gave before that ends by itself.
    fn is_revocable(&self) -> bool;

    /// The longest that it lends for, whatever the grant says; none where the grant alone says it.
    fn longest(&self) -> Option<Duration> {
        None
    }

    /// The shortest life that its issuer gives anything: an admin's look takes it for that long.
    fn shortest(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether its issuer alone decides how long a credential lives. What lives longer than was wished for is refused otherwise.
    fn decides_lifetime(&self) -> bool {
        false
    }

    /// What to do about one that lives longer than was wished for, to stand behind a fault; empty where only its issuer can do something.
    fn how_long(&self) -> &'static str {
        ""
    }

    /// Whether something of a credential can be in use after its end: an open session, say. Then its end is no reason to leave it.
    fn outlives_itself(&self) -> bool {
        false
    }

    /// Gives a credential.
    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>>;

    /// Lets a credential live until `until_ms`, unix milliseconds; returned is until when it does. Fails with [`MintFault::unsupported`]
    /// where it can't: then another one is made.
    fn renew<'a>(&'a self, _: &'a Handle, _until_ms: u64, _now_ms: u64) -> Later<'a, Result<u64, MintFault>> {
        Box::pin(std::future::ready(Err(MintFault::unsupported())))
    }

    /// Takes a credential back, and what a mint left half done. What is not there any more is taken back already: that is no fault.
    fn revoke<'a>(&'a self, handle: &'a Handle, now_ms: u64) -> Later<'a, Result<(), RevokeFault>>;
}

/// What one connector is lent.
#[derive(Clone)]
pub struct CredentialSpec {
    /// Where it comes from.
    pub provider: Arc<dyn Provider>,
    /// How the server gets it.
    pub injection: Injection,
    /// Everything about it as text: what is configured otherwise has another one.
    pub terms: String,
    /// The issuer and where it is, as text: the same for as long as what it gave can be taken back there.
    pub issuer: String,
}

impl fmt::Debug for CredentialSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSpec").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl PartialEq for CredentialSpec {
    fn eq(&self, other: &Self) -> bool {
        self.provider.name() == other.provider.name() && self.injection == other.injection && self.terms == other.terms
    }
}

/// What is wanted of a provider.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The lease's id: `lease-` and 32 hexadecimal digits.
    pub lease: String,
    /// The grant; none for the moment in which an admin looks at the connector.
    pub grant: Option<GrantId>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// Who is accountable for the grant.
    pub owner: String,
    /// The connector.
    pub connector: ConnectorId,
    /// What it has to be good for.
    pub access: Access,
    /// Now, unix milliseconds.
    pub now_ms: u64,
    /// Until when it may live, unix milliseconds.
    pub until_ms: u64,
}

impl Wish {
    /// For how long, in whole seconds, at least one.
    pub fn seconds(&self) -> u64 {
        (self.until_ms.saturating_sub(self.now_ms) / 1000).max(1)
    }
}

/// What a provider gave.
#[derive(Debug)]
pub struct Minted {
    /// The credential.
    pub material: Material,
    /// What was given (a role, scopes), never a value.
    pub reference: String,
    /// Until when it lives, unix milliseconds; none where it lives on.
    pub expires_at_ms: Option<u64>,
    /// By what it is taken back; none where it can't be.
    pub handle: Option<Handle>,
}

/// By what a credential is taken back: JSON of the provider's own, which may hold secrets. It is stored sealed only.
#[derive(Clone)]
pub struct Handle(SecretString);

impl Handle {
    /// This text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// This as JSON, of which no copy is left behind.
    pub(crate) fn of(kept: &impl Serialize) -> Result<Self, MintFault> {
        // In room that is there from the start: a buffer that grew would leave copies.
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        let written = serde_json::to_writer(&mut *bytes, kept).ok();
        let text = written.and_then(|()| std::str::from_utf8(&bytes).ok());
        let unwritable = || MintFault::new(MintFaultKind::Own, "by what it is taken back can't be written down");
        Ok(Self(SecretString::from(text.ok_or_else(unwritable)?)))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// Where a provider writes down by what it takes back what it is about to make, or has made.
pub trait Journal: Send + Sync {
    /// Keeps this in place of what was kept before; on disk, sealed, when it is done. Where it fails, nothing may be made or used.
    fn keep<'a>(&'a self, handle: &'a Handle) -> Later<'a, Result<(), MintFault>>;
}

/// Why no credential was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct MintFault {
    /// What kind of fault it is.
    pub kind: MintFaultKind,
    /// Why, for the operator, and what to do.
    pub why: String,
    /// Whether the issuer was not even asked: then nothing can have been made.
    pub is_unasked: bool,
}

/// The kinds of [`MintFault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintFaultKind {
    /// The issuer can't be reached, or fails.
    Down,
    /// It does not answer in time.
    Slow,
    /// It says no.
    Refused,
    /// It asks for patience, this long if it said so.
    Busy(Option<Duration>),
    /// What it answers makes no sense.
    Wrong,
    /// It gives more than was wished for.
    Generous,
    /// The provider can't do that.
    Unsupported,
    /// Something of our own is not in order: a file, the store.
    Own,
}

impl MintFault {
    /// A fault of this kind.
    pub fn new(kind: MintFaultKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), is_unasked: false }
    }

    /// The same where the issuer was not even asked.
    #[must_use]
    pub fn unasked(self) -> Self {
        Self { is_unasked: true, ..self }
    }

    /// The provider can't do that.
    pub fn unsupported() -> Self {
        Self::new(MintFaultKind::Unsupported, "the provider can't do that")
    }
}

/// Why a credential could not be taken back yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct RevokeFault {
    /// Why, for the operator.
    pub why: String,
    /// How long to wait before it is tried again, where the issuer said so.
    pub wait: Option<Duration>,
}

impl RevokeFault {
    /// For this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), wait: None }
    }
}

impl From<MintFault> for RevokeFault {
    fn from(fault: MintFault) -> Self {
        let wait = if let MintFaultKind::Busy(wait) = fault.kind { wait } else { None };
        Self { why: fault.why, wait }
    }
}
