//! Consents that are under way: how one is begun, and comes about.

use std::{
    collections::HashMap,
    fmt,
    sync::{MutexGuard, PoisonError},
};

use bailiwick_schemas::names::ConnectorId;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Consented, OFFLINE,
    client::{Authority, Gave, asked},
    consents::{Access, Consent, Consents, Secrets, own, refused},
    discover::{address, short},
};
use crate::provider::{MintFault, MintFaultKind};

/// How long somebody may take at the issuer, milliseconds.
const PATIENCE_MS: u64 = 10 * 60 * 1000;

/// So many may be under way at once, of one person and in all.
const OF_ONE: usize = 8;
const IN_ALL: usize = 512;

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
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where the person goes on.
    pub url: String,
    /// Who asks them there.
    pub issuer: String,
    /// What they are asked for.
    pub scopes: Vec<String>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("issuer", &self.issuer).field("scopes", &self.scopes).finish_non_exhaustive()
    }
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
    /// Where it came back to, below the address that all of them share; none where it is that one.
    pub place: Option<String>,
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returned").field("iss", &self.iss).field("error", &self.error).finish_non_exhaustive()
    }
}

pub(super) struct Pending {
    who: Who,
    of: Consented,
    authority: Authority,
    says_iss: bool,
    resource: String,
    scopes: Option<Vec<String>>,
    verifier: SecretString,
    redirect_uri: String,
    /// What of that is of its issuer alone.
    place: Option<String>,
    until_ms: u64,
}

impl Consents {
    /// Begins a consent: finds out who gives the tokens, and where the person is to go. `redirect_uri` is where they come back to, or below.
    pub async fn begin(&self, of: &Consented, who: Who, redirect_uri: &str) -> Result<Begun, MintFault> {
        let earlier = self.of(&of.resource())?;
        let found = of.discover(|issuer| of.trusts(issuer, who.is_admin, &earlier)).await?;
        let known: Vec<&Authority> = earlier.iter().map(|consent| &consent.secrets.authority).collect();
        let mut authority = Authority::at(&found.issuer, of, &known, redirect_uri).await?;
        authority.resource = Some(found.resource.clone());
        let (issuer, says_iss) = (&authority.issuer, found.issuer.authorization_response_iss_parameter_supported);
        let refused = |why: &str| Err(MintFault::new(MintFaultKind::Unsupported, format!("`{issuer}` {why}")));
        if of.client.revocable && authority.revocation_endpoint.is_none() {
            return refused("takes no token back: set `revocable = false` where that is known and wanted");
        }
        // RFC 9700, section 4.4: else an answer of another issuer could be taken for one of this one, which would be sent the code.
        if !says_iss && authority.registered_for.is_none() && !of.is_listed(issuer) {
            return refused(
                "does not say in its answers whose they are (RFC 9207): add it to `issuers` of the provider where it is trusted",
            );
        }
        let redirect_uri = authority.registered_for.clone().unwrap_or_else(|| redirect_uri.to_owned());
        let place = authority.registered_for.as_ref().and_then(|place| Some(place.rsplit_once('/')?.1.to_owned()));
        let (state, verifier) = (random()?, SecretString::from(random()?));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.expose_secret().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest.as_ref());
        let scopes = of.asked().or_else(|| found.scopes.clone());
        let fields = [
            ("redirect_uri", redirect_uri.as_str()),
            ("state", state.as_str()),
            ("code_challenge", challenge.as_str()),
            ("resource", found.resource.as_str()),
        ];
        let endpoint = address(&found.issuer.authorization_endpoint)?;
        let asks = scopes.clone().unwrap_or_default();
        let url = asked(&found.issuer, endpoint, &authority.client_id, &fields, &asks);
        let begun = Begun { url, issuer: authority.issuer.clone(), scopes: asks };
        let now_ms = self.clock.now_ms();
        let until_ms = now_ms.saturating_add(PATIENCE_MS);
        let (of, resource) = (of.clone(), found.resource);
        let pending = Pending { who, of, authority, says_iss, resource, scopes, verifier, redirect_uri, place, until_ms };
        self.remember(state, pending, now_ms)?;
        Ok(begun)
    }

    fn remember(&self, state: String, pending: Pending, now_ms: u64) -> Result<(), MintFault> {
        let mut all = self.pending();
        all.retain(|_, other| now_ms < other.until_ms);
        // Of a person, in however many sessions: nobody fills what all share.
        let of_person = all.iter().filter(|(_, other)| other.who.person == pending.who.person);
        let oldest = (of_person.clone().count() >= OF_ONE)
            .then(|| of_person.min_by_key(|(_, other)| other.until_ms).map(|(state, _)| state.clone()))
            .flatten();
        oldest.and_then(|state| all.remove(&state));
        if all.len() >= IN_ALL {
            return Err(MintFault::new(MintFaultKind::Busy(None), "too many consents are under way: try again in ten minutes"));
        }
        all.insert(state, pending);
        Ok(())
    }

    /// A consent comes about: what the browser brings is good once, in the session that began it. Returned is what is consented to now.
    ///
    /// `judged` says whether they still may, as whom, and to what as that is configured by now: it is asked before the issuer is.
    pub async fn come_back(
        &self,
        returned: Returned,
        session: &str,
        judged: impl FnOnce(Who, &ConnectorId) -> Result<(Who, Consented), MintFault>,
    ) -> Result<(Consent, Consented), MintFault> {
        let now_ms = self.clock.now_ms();
        let mine = {
            let mut all = self.pending();
            let is_mine = all.get(&returned.state).is_some_and(|pending| pending.who.session == session);
            // Taken whatever comes of it. What another session began stays: nobody ends it by guessing.
            if is_mine { all.remove(&returned.state) } else { None }
        };
        let Some(pending) = mine.filter(|pending| now_ms < pending.until_ms) else {
            return Err(refused("this session began no such consent, or too long ago, or it came back before"));
        };
        let code = pending.code(returned)?;
        let Pending { who, of: before, authority, resource, scopes, verifier, redirect_uri, .. } = pending;
        let (who, of) = judged(who, &before.of.connector)?;
        if of.resource() != before.resource() || !of.trusts(&authority.issuer, who.is_admin, &self.of(&of.resource())?) {
            return Err(refused("the configuration no longer has it so: connect again"));
        }
        let gave = authority.redeem(&of, (&code, &verifier), &redirect_uri, &resource).await?;
        let (issuer, access, wrong) = (authority.issuer.clone(), gave.access.clone(), gave.wrong.clone());
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
        let replaced = self.of(&consent.resource)?;
        let replaced = replaced.into_iter().find(|one| one.owner == consent.owner && one.issuer == consent.issuer);
        let accepted = match wrong {
            Some(wrong) => Err(wrong),
            None => self.accept(&consent, scopes.as_deref()).await,
        };
        if let Err(fault) = accepted {
            self.refuse(&of, consent, access).await;
            return Err(fault);
        }
        // Nothing of the one before is left behind. An issuer that ends more than it is told to would end this one with it.
        if let Some(before) = replaced.filter(|before| of.client.revocable && before.is_other(&consent)) {
            self.revoke(&of, &before).await;
        }
        Ok((consent, of))
    }

    async fn accept(&self, consent: &Consent, scopes: Option<&[String]>) -> Result<(), MintFault> {
        if let Some(beyond) = consent.scopes.iter().find(|given| scopes.is_some_and(|asked| !asked.contains(given))) {
            let (issuer, beyond) = (&consent.issuer, short(beyond));
            let why = format!("`{issuer}` gives the scope `{beyond}`, which was not asked for: it is given back");
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

    /// Gives back all that came with a consent that is refused: the access token too, where nothing would be kept of it.
    async fn refuse(&self, of: &Consented, mut consent: Consent, access: SecretString) {
        let expires_at_ms = u64::MAX;
        consent.secrets.access = Some(Access { token: access, expires_at_ms });
        self.revoke(of, &consent).await;
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// The code, if this is the answer of the issuer that was asked.
    fn code(&self, returned: Returned) -> Result<String, MintFault> {
        let issuer = &self.authority.issuer;
        // RFC 9207, section 2.4: before anything else of it is believed.
        match &returned.iss {
            Some(iss) if iss != issuer => {
                return Err(refused("the answer is of another issuer than the one that was asked"));
            }
            None if self.says_iss => return Err(refused("the answer does not say whose it is, and its issuer promised that")),
            _ => {}
        }
        if returned.place != self.place {
            return Err(refused("the answer came back to where another issuer than the one that was asked sends its answers"));
        }
        if let Some(error) = &returned.error {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(60).collect();
            return Err(refused(format!("`{issuer}` says no: `{error}`")));
        }
        returned.code.ok_or_else(|| refused("the answer has no code"))
    }
}

impl Consent {
    /// Whether its tokens are others than those of this one.
    fn is_other(&self, than: &Self) -> bool {
        let refresh = |of: &Self| of.secrets.refresh.as_ref().map(|refresh| refresh.expose_secret().to_owned());
        refresh(self).is_some() && refresh(self) != refresh(than)
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
