//! What people consented to: where that is kept, and how it is taken back.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bailiwick_pipeline::ports::{Clock, Later};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{Consented, client::Authority, pending::Pending};
use crate::provider::{MintFault, MintFaultKind};

/// Where consents are kept: sealed, as far as they are secret.
pub trait ConsentBook: Send + Sync {
    /// Keeps this in the place of the one before for the same server, owner and issuer; on disk, sealed, when it is done.
    fn put<'a>(&'a self, consent: &'a Consent) -> Later<'a, Result<(), String>>;

    /// Removes this one.
    fn remove<'a>(&'a self, consent: &'a Consent) -> Later<'a, Result<(), String>>;

    /// All of them.
    fn all(&self) -> Result<Vec<Consent>, String>;
}

/// That an owner lets tasks of theirs use a server in their name.
#[derive(Clone, Serialize, Deserialize)]
pub struct Consent {
    /// The server: its address.
    pub resource: String,
    /// Whose.
    pub owner: String,
    /// Who gives the tokens.
    pub issuer: String,
    /// Who consented: a person's id.
    pub by: String,
    /// Whether that was an admin.
    pub by_admin: bool,
    /// When, unix milliseconds.
    pub since_ms: u64,
    /// The scopes that were consented to.
    pub scopes: Vec<String>,
    /// What is kept sealed.
    #[serde(skip)]
    pub secrets: Secrets,
}

impl fmt::Debug for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, owner, issuer, .. } = self;
        f.debug_struct("Consent")
            .field("resource", resource)
            .field("owner", owner)
            .field("issuer", issuer)
            .finish_non_exhaustive()
    }
}

/// What of a consent is secret.
#[derive(Clone, Default)]
pub struct Secrets {
    pub(super) authority: Authority,
    pub(super) refresh: Option<SecretString>,
    pub(super) access: Option<Access>,
}

/// The access token of a consent without a refresh token.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) token: SecretString,
    pub(super) expires_at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    authority: Authority,
    #[serde(default)]
    refresh: Option<String>,
    #[serde(default)]
    access: Option<(String, u64)>,
}

impl Secrets {
    /// As a text, to be sealed.
    pub fn write(&self) -> SecretString {
        let plain = |secret: &SecretString| secret.expose_secret().to_owned();
        let written = Written {
            authority: self.authority.clone(),
            refresh: self.refresh.as_ref().map(plain),
            access: self.access.as_ref().map(|access| (plain(&access.token), access.expires_at_ms)),
        };
        SecretString::from(serde_json::to_string(&written).unwrap_or_default())
    }

    /// From such a text. The error says nothing of what was there.
    pub fn read(text: &str) -> Result<Self, String> {
        let Written { authority, refresh, access } =
            serde_json::from_str(text).map_err(|_| "it is no consent as it is kept".to_owned())?;
        let access = access.map(|(token, expires_at_ms)| Access { token: token.into(), expires_at_ms });
        Ok(Self { authority, refresh: refresh.map(SecretString::from), access })
    }
}

/// Held by whoever renews a consent: its refresh token is good once.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The consents of this gateway.
pub struct Consents {
    pub(super) book: Arc<dyn ConsentBook>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pending: Mutex<HashMap<String, Pending>>,
    turns: Mutex<HashMap<(String, String), Turn>>,
}

impl fmt::Debug for Consents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consents")
    }
}

pub(super) fn own(why: impl Into<String>) -> MintFault {
    MintFault::new(MintFaultKind::Own, why)
}

pub(super) fn refused(why: impl Into<String>) -> MintFault {
    MintFault::new(MintFaultKind::Refused, why)
}

impl Consents {
    /// Those in this book.
    pub fn new(book: Arc<dyn ConsentBook>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { book, clock, pending: Mutex::default(), turns: Mutex::default() })
    }

    /// Those to this connector's server.
    pub fn to(&self, of: &Consented) -> Result<Vec<Consent>, MintFault> {
        self.of(&of.resource())
    }

    pub(super) fn of(&self, resource: &str) -> Result<Vec<Consent>, MintFault> {
        let all = self.book.all().map_err(|why| own(format!("the consents can't be read: {why}")))?;
        Ok(all.into_iter().filter(|consent| consent.resource == resource).collect())
    }

    /// Whose turn it is to use the refresh token of this owner.
    pub(super) fn turn(&self, resource: &str, owner: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry((resource.to_owned(), owner.to_owned())).or_default())
    }

    /// Keeps what replaces a refresh token.
    pub(super) async fn rotated(&self, mut consent: Consent, refresh: SecretString) -> Result<(), MintFault> {
        consent.secrets.refresh = Some(refresh);
        let kept = self.book.put(&consent).await;
        kept.map_err(|why| own(format!("the refresh token that replaces the one before can't be stored: {why}")))
    }

    /// Forgets this consent, if it is still the same.
    pub(super) async fn forget_as_it_was(&self, consent: &Consent) -> Result<(), MintFault> {
        let used = |one: &Consent| one.secrets.refresh.as_ref().map(|refresh| refresh.expose_secret().to_owned());
        let all = self.of(&consent.resource)?;
        let now = all.iter().find(|one| one.owner == consent.owner && one.issuer == consent.issuer);
        if now.is_some_and(|now| used(now) == used(consent)) { self.forget(consent).await } else { Ok(()) }
    }

    pub(super) async fn forget(&self, consent: &Consent) -> Result<(), MintFault> {
        self.book.remove(consent).await.map_err(|why| own(format!("that a consent is over can't be stored: {why}")))
    }

    /// Takes a consent back: at its issuer, as far as that can, and here in any case. Returned is whether its issuer did.
    pub async fn end(&self, of: &Consented, owner: &str) -> Result<bool, MintFault> {
        let turn = self.turn(&of.resource(), owner);
        let _turn = turn.lock().await;
        let mut is_revoked = true;
        for consent in self.to(of)?.into_iter().filter(|consent| consent.owner == owner) {
            // Here first: whatever the issuer does, nothing is lent of it from here on.
            self.forget(&consent).await?;
            is_revoked &= self.revoke(of, &consent).await;
        }
        Ok(is_revoked)
    }

    pub(super) async fn revoke(&self, of: &Consented, consent: &Consent) -> bool {
        let Secrets { authority, refresh, access } = &consent.secrets;
        let tokens = refresh.iter().map(|token| (token, "refresh_token"));
        let tokens = tokens.chain(access.iter().map(|access| (&access.token, "access_token")));
        let mut is_revoked = true;
        for (token, hint) in tokens {
            if let Err(fault) = authority.revoke(of, token, hint).await {
                tracing::warn!(%fault, issuer = %consent.issuer, "a consent could not be taken back at its issuer");
                is_revoked = false;
            }
        }
        is_revoked
    }
}
