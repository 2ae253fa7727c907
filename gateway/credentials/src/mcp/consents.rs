//! What people consented to: how a consent is begun, comes about, and is taken back.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bailiwick_pipeline::ports::{Clock, Later};
use bailiwick_schemas::names::ConnectorId;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    Consented, OFFLINE,
    client::{Authority, Gave, asked},
    discover::address,
};
use crate::provider::{MintFault, MintFaultKind};

/// How long somebody may take at the issuer, milliseconds.
const PATIENCE_MS: u64 = 10 * 60 * 1000;

/// So many may be under way at once, of one session and in all.
const OF_ONE: usize = 8;
const IN_ALL: usize = 512;

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

/// Who consents, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The owner that tasks are of.
    pub owner: String,
    /// The person at the console.
    pub person: String,
    /// Whether they are an admin there.
    pub is_admin: bool,
    /// Their session: whoever comes back in another one began nothing.
    pub session: String,
}

/// A consent that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where the person goes on.
    pub url: String,
    /// Who asks them there.
    pub issuer: String,
    /// What they are asked for.
    pub scopes: Vec<String>,
}

/// What the browser came back with (RFC 6749, section 4.1.2; RFC 9207 for `iss`).
#[derive(Clone, Default)]
pub struct Returned {
    /// The code.
    pub code: Option<String>,
    /// The state that was sent along.
    pub state: String,
    /// Who says so.
    pub iss: Option<String>,
    /// Why not.
    pub error: Option<String>,
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iss, error, .. } = self;
        f.debug_struct("Returned").field("iss", iss).field("error", error).finish_non_exhaustive()
    }
}

struct Pending {
    who: Who,
    of: Consented,
    authority: Authority,
    says_iss: bool,
    resource: String,
    scopes: Option<Vec<String>>,
    verifier: SecretString,
    redirect_uri: String,
    until_ms: u64,
}

/// Held by whoever renews a consent: its refresh token is good once.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The consents of this gateway.
pub struct Consents {
    book: Arc<dyn ConsentBook>,
    clock: Arc<dyn Clock>,
    pending: Mutex<HashMap<String, Pending>>,
    turns: Mutex<HashMap<(String, String), Turn>>,
}

impl fmt::Debug for Consents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consents")
    }
}

fn own(why: impl Into<String>) -> MintFault {
    MintFault::new(MintFaultKind::Own, why)
}

fn refused(why: impl Into<String>) -> MintFault {
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

    pub(super) async fn forget(&self, consent: &Consent) -> Result<(), MintFault> {
        self.book.remove(consent).await.map_err(|why| own(format!("that a consent is over can't be stored: {why}")))
    }

    /// Begins a consent: finds out who gives the tokens, and where the person is to go.
    pub async fn begin(&self, of: &Consented, who: Who, redirect_uri: &str) -> Result<Begun, MintFault> {
        let earlier = self.of(&of.resource())?;
        let is_trusted = |issuer: &str| {
            if of.client.issuers.is_empty() {
                who.is_admin || earlier.iter().any(|consent| consent.by_admin && consent.issuer == issuer)
            } else {
                of.is_listed(issuer)
            }
        };
        let found = of.discover(is_trusted).await?;
        let registered = earlier.iter().map(|consent| &consent.secrets.authority).find(|one| one.issuer == found.issuer.issuer);
        let authority = Authority::at(&found.issuer, of, registered, redirect_uri).await?;
        let authority = Authority { resource: Some(found.resource.clone()), ..authority };
        if of.client.revocable && authority.revocation_endpoint.is_none() {
            let why =
                format!("`{}` takes no token back: set `revocable = false` where that is known and wanted", authority.issuer);
            return Err(MintFault::new(MintFaultKind::Unsupported, why));
        }
        let (state, verifier) = (random()?, SecretString::from(random()?));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.expose_secret().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest.as_ref());
        let scopes = of.asked().or_else(|| found.scopes.clone());
        let fields = [
            ("redirect_uri", redirect_uri),
            ("state", state.as_str()),
            ("code_challenge", challenge.as_str()),
            ("resource", found.resource.as_str()),
        ];
        let endpoint = address(&found.issuer.authorization_endpoint)?;
        let asks = scopes.clone().unwrap_or_default();
        let url = asked(&found.issuer, endpoint, &authority.client_id, &fields, &asks);
        let begun = Begun { url, issuer: authority.issuer.clone(), scopes: asks };
        let now_ms = self.clock.now_ms();
        let pending = Pending {
            who,
            of: of.clone(),
            authority,
            says_iss: found.issuer.authorization_response_iss_parameter_supported,
            resource: found.resource,
            scopes,
            verifier,
            redirect_uri: redirect_uri.to_owned(),
            until_ms: now_ms.saturating_add(PATIENCE_MS),
        };
        self.remember(state, pending, now_ms)?;
        Ok(begun)
    }

    fn remember(&self, state: String, pending: Pending, now_ms: u64) -> Result<(), MintFault> {
        let mut all = self.pending();
        all.retain(|_, other| now_ms < other.until_ms);
        let of_session = all.iter().filter(|(_, other)| other.who.session == pending.who.session);
        let oldest = (of_session.clone().count() >= OF_ONE)
            .then(|| of_session.min_by_key(|(_, other)| other.until_ms).map(|(state, _)| state.clone()))
            .flatten();
        oldest.and_then(|state| all.remove(&state));
        if all.len() >= IN_ALL {
            return Err(MintFault::new(MintFaultKind::Busy(None), "too many consents are under way: try again in ten minutes"));
        }
        all.insert(state, pending);
        Ok(())
    }

    /// What this session began under this state: the connector, and whose consent.
    pub fn begun(&self, state: &str, session: &str) -> Option<(ConnectorId, String)> {
        let all = self.pending();
        let pending = all.get(state).filter(|pending| pending.who.session == session)?;
        Some((pending.of.of.connector.clone(), pending.who.owner.clone()))
    }

    /// A consent comes about: what the browser brings is good once, in the session that began it. Returned is what is consented to now.
    pub async fn come_back(&self, returned: Returned, session: &str) -> Result<(Consent, Consented), MintFault> {
        let now_ms = self.clock.now_ms();
        let mine = {
            let mut all = self.pending();
            let is_mine = all.get(&returned.state).is_some_and(|pending| pending.who.session == session);
            // Taken whatever comes of it. What another session began stays: nobody ends it by guessing.
            if is_mine { all.remove(&returned.state) } else { None }
        };
        let pending = mine.filter(|pending| now_ms < pending.until_ms);
        let Some(Pending { who, of, authority, says_iss, resource, scopes, verifier, redirect_uri, .. }) = pending else {
            return Err(refused("this session began no such consent, or too long ago, or it came back before"));
        };
        // RFC 9207, section 2.4: before anything else of it is believed.
        match &returned.iss {
            Some(iss) if *iss != authority.issuer => {
                return Err(refused("the answer is of another issuer than the one that was asked"));
            }
            None if says_iss => return Err(refused("the answer does not say whose it is, and its issuer promised that")),
            _ => {}
        }
        if let Some(error) = &returned.error {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(60).collect();
            return Err(refused(format!("`{}` says no: `{error}`", authority.issuer)));
        }
        let code = returned.code.ok_or_else(|| refused("the answer has no code"))?;
        let gave = authority.redeem(&of, (&code, &verifier), &redirect_uri, &resource).await?;
        let issuer = authority.issuer.clone();
        let granted = gave.scopes.clone().or_else(|| scopes.clone()).unwrap_or_default();
        let consent = Consent {
            resource: of.resource(),
            owner: who.owner,
            issuer,
            by: who.person,
            by_admin: who.is_admin,
            since_ms: now_ms,
            scopes: granted.into_iter().filter(|scope| scope != OFFLINE).collect(),
            secrets: secrets(authority, gave, now_ms),
        };
        let turn = self.turn(&consent.resource, &consent.owner);
        let _turn = turn.lock().await;
        if let Err(fault) = self.accept(&consent, scopes.as_deref()).await {
            self.revoke(&of, &consent).await;
            return Err(fault);
        }
        Ok((consent, of))
    }

    async fn accept(&self, consent: &Consent, scopes: Option<&[String]>) -> Result<(), MintFault> {
        if let Some(beyond) = consent.scopes.iter().find(|given| scopes.is_some_and(|asked| !asked.contains(given))) {
            let why = format!("`{}` gives the scope `{beyond}`, which was not asked for: it is given back", consent.issuer);
            return Err(MintFault::new(MintFaultKind::Generous, why));
        }
        if consent.secrets.refresh.is_none() && consent.secrets.access.is_none() {
            return Err(refused(format!(
                "`{}` gives neither a refresh token nor an end: nothing can be lent of it",
                consent.issuer
            )));
        }
        self.book.put(consent).await.map_err(|why| own(format!("the consent can't be stored: {why}")))
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

    async fn revoke(&self, of: &Consented, consent: &Consent) -> bool {
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

    fn pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn secrets(authority: Authority, gave: Gave, now_ms: u64) -> Secrets {
    // One access token stands for the consent only where no other can be made.
    let access = gave.expires_in_s.filter(|_| gave.refresh.is_none());
    let access =
        access.map(|seconds| Access { token: gave.access, expires_at_ms: now_ms.saturating_add(seconds.saturating_mul(1000)) });
    Secrets { authority, refresh: gave.refresh, access }
}

/// 256 bits that nobody guesses.
fn random() -> Result<String, MintFault> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| own("there is no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
