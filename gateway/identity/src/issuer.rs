//! One issuer: which of its tokens prove something, and what.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bailiwick_schemas::text::is_invisible;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    algorithm::Algorithm,
    compact::{Compact, LONGEST_TEXT, Token, shown},
    fault::TokenFault,
    fetch::{KeySource, Reader},
    keys::{KeySet, NoKey, Usage},
    ring::{Held, KeyRing},
    spiffe::{SpiffeId, TrustDomain},
};

/// How far clocks may be apart, seconds.
pub(crate) const LEEWAY_S: u64 = 30;

/// The longest instance, bytes.
const LONGEST_INSTANCE: usize = 128;

/// The prefix of the subject of a Kubernetes service account.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// An issuer, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSpec {
    /// What the configuration calls it.
    pub id: String,
    /// What its tokens say of their subjects.
    pub profile: Profile,
    /// Its `iss`, exactly. A SPIFFE trust domain needs none.
    pub issuer: Option<String>,
    /// Where its keys are.
    pub source: KeySource,
    /// A PEM file with the only certificate authorities that are trusted for it.
    pub roots: Option<PathBuf>,
    /// Whom its tokens must be for; the gateway's own URL where it is none.
    pub audience: Option<String>,
    /// The algorithms that it signs with.
    pub algorithms: Vec<Algorithm>,
    /// How long its tokens live at most.
    pub max_lifetime: Duration,
    /// How long its keys are used while they can't be read again.
    pub max_stale: Duration,
    /// Whether its tokens are bound to a key of their bearers.
    pub sender_constraint: SenderConstraint,
}

impl IssuerSpec {
    pub(crate) fn is_trust_domain(&self) -> bool {
        matches!(self.profile, Profile::SpiffeJwt(_))
    }
}

/// What an issuer's tokens say of their subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// Any issuer of `OpenID` Connect or OAuth: the claims are named.
    Oidc {
        /// The claim with the subject.
        subject: String,
        /// The claim that tells running copies apart.
        instance: Option<String>,
    },
    /// A Kubernetes cluster: the subject is a service account, the instance a pod.
    Kubernetes,
    /// GitHub Actions: the instance is one attempt of a run.
    GithubActions,
    /// JWT-SVIDs of a SPIFFE trust domain.
    SpiffeJwt(TrustDomain),
}

/// Whether a token is bound to a key of its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderConstraint {
    /// Who has it is its bearer, unless it says itself that it is bound.
    None,
    /// Its bearer proves to have its key with each request (`DPoP`, RFC 9449).
    Dpop,
    /// It comes over a connection that was opened with its client certificate (RFC 8705, section 3).
    Mtls,
}

/// How something was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By a JWT of an issuer.
    Jwt,
    /// By a JWT-SVID.
    JwtSvid,
}

/// What a token proves: who its bearer is. Whether that is a registered agent is asked elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Proven {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) instance: Option<String>,
    pub(crate) method: Method,
    /// Until when it is good, unix seconds.
    pub(crate) expires_at_s: u64,
    /// What its bearer has to prove.
    pub(crate) bound_to: Option<Binding>,
}

/// What a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// The key of this thumbprint, by a proof with each request (`DPoP`).
    Key(String),
    /// The client certificate of this SHA-256, by the connection (RFC 8705, section 3.1).
    Certificate([u8; 32]),
}

impl Proven {
    /// The id of the issuer, as the configuration has it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whom the issuer speaks of.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Which running copy, where the issuer says.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// How it was proven.
    pub fn method(&self) -> Method {
        self.method
    }

    pub(crate) fn is_over(&self, now_s: u64) -> bool {
        now_s >= self.expires_at_s.saturating_add(LEEWAY_S)
    }
}

/// An issuer with its keys.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) spec: IssuerSpec,
    pub(crate) ring: Arc<KeyRing>,
}

impl Issuer {
    pub(crate) fn new(spec: IssuerSpec) -> Self {
        let usage = if spec.is_trust_domain() { Usage::JwtSvid } else { Usage::Signature };
        let reader = Box::new(Reader { roots: spec.roots.clone() });
        let ring = KeyRing::new(spec.source.clone(), usage, spec.max_stale, reader);
        Self { spec, ring }
    }

    /// Whether a token of these claims, of which none is proven, says that it is of this issuer.
    pub(crate) fn is_named_by(&self, claims: &Map<String, Value>) -> bool {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        match &self.spec.profile {
            Profile::SpiffeJwt(domain) => {
                text("sub").and_then(|sub| sub.parse::<SpiffeId>().ok()).is_some_and(|id| id.domain() == domain)
            }
            _ => self.spec.issuer.is_some() && text("iss") == self.spec.issuer.as_deref(),
        }
    }

    /// What the token proves, with keys that are read again if need be; and by which keys.
    pub(crate) async fn prove(&self, token: &Token<'_>, audience: &str, now_ms: u64) -> Result<(Proven, u64), TokenFault> {
        self.check_algorithm(&token.signed)?;
        // Before its signature: what is over anyway has no keys read.
        let proven = self.claimed(&token.claims, audience, now_ms / 1000)?;
        let unavailable = |why| TokenFault::Unavailable { issuer: self.spec.id.clone(), why };
        let mut held = self.ring.keys(now_ms).await.map_err(unavailable)?;
        if self.is_unknown(&held.keys, &token.signed)
            && let Some(others) = self.ring.others(&held, now_ms).await
        {
            held = others;
        }
        self.check_signature(&held, &token.signed)?;
        Ok((proven, held.generation))
    }

    fn check_algorithm(&self, token: &Compact<'_>) -> Result<(), TokenFault> {
        let algorithm = token.algorithm;
        if self.spec.algorithms.contains(&algorithm) {
            return Ok(());
        }
        Err(TokenFault::NotOfIssuer { algorithm, issuer: self.spec.id.clone() })
    }

    fn is_unknown(&self, keys: &KeySet, token: &Compact<'_>) -> bool {
        matches!(keys.key_for(token), Err(NoKey::UnknownKid(_))) && self.spec.algorithms.contains(&token.algorithm)
    }

    fn check_signature(&self, held: &Held, token: &Compact<'_>) -> Result<(), TokenFault> {
        let key = held.keys.key_for(token);
        let key = key.map_err(|why| TokenFault::NoKey { issuer: self.spec.id.clone(), why: why.to_string() })?;
        if key.signed(token) { Ok(()) } else { Err(TokenFault::Signature) }
    }

    /// What the claims say, if nothing of it speaks against it. It is proven only with the signature.
    fn claimed(&self, claims: &Map<String, Value>, audience: &str, now_s: u64) -> Result<Proven, TokenFault> {
        if self.spec.issuer.is_some() && claims.get("iss").and_then(Value::as_str) != self.spec.issuer.as_deref() {
            return Err(TokenFault::claim("iss", "is not that of its issuer"));
        }
        let audience = self.spec.audience.as_deref().unwrap_or(audience);
        check_audience(claims, audience)?;
        let expires_at_s = check_times(claims, self.spec.max_lifetime.as_secs(), now_s)?;
        let (subject, instance) = self.subject(claims)?;
        let method = if self.spec.is_trust_domain() { Method::JwtSvid } else { Method::Jwt };
        let bound_to = bound_to(claims)?;
        match (self.spec.sender_constraint, &bound_to) {
            (SenderConstraint::None, _)
            | (SenderConstraint::Dpop, Some(Binding::Key(_)))
            | (SenderConstraint::Mtls, Some(Binding::Certificate(_))) => {}
            (SenderConstraint::Dpop, _) => {
                return Err(TokenFault::Bound("is bound to no key, and those of its issuer have to be"));
            }
            (SenderConstraint::Mtls, _) => {
                return Err(TokenFault::Bound("is bound to no client certificate, and those of its issuer have to be"));
            }
        }
        Ok(Proven { issuer: self.spec.id.clone(), subject, instance, method, expires_at_s, bound_to })
    }

    fn subject(&self, claims: &Map<String, Value>) -> Result<(String, Option<String>), TokenFault> {
        match &self.spec.profile {
            Profile::Oidc { subject, instance } => {
                let subject = named(claims, subject, "sub", LONGEST_TEXT)?;
                let instance = instance.as_deref().map(|name| named(claims, name, "instance_claim", LONGEST_INSTANCE));
                Ok((subject, instance.transpose()?))
            }
            Profile::Kubernetes => kubernetes(claims),
            Profile::GithubActions => {
                let subject = named(claims, "sub", "sub", LONGEST_TEXT)?;
                let run = named(claims, "run_id", "run_id", LONGEST_INSTANCE / 4)?;
                let attempt = named(claims, "run_attempt", "run_attempt", LONGEST_INSTANCE / 4)?;
                // One of each job, where GitHub says.
                let job = claims.get("check_run_id").map(|_| named(claims, "check_run_id", "check_run_id", LONGEST_INSTANCE / 4));
                let job = job.transpose()?.map(|job| format!("-{job}")).unwrap_or_default();
                Ok((subject, Some(format!("run-{run}-{attempt}{job}"))))
            }
            Profile::SpiffeJwt(domain) => {
                let id: SpiffeId = named(claims, "sub", "sub", LONGEST_TEXT)?.parse()?;
                if id.domain() != domain {
                    return Err(TokenFault::claim("sub", "is of another trust domain"));
                }
                Ok((id.as_str().to_owned(), None))
            }
        }
    }
}

/// The service account that a token of a cluster is of, and the pod that it was given to. Its two ways to say so must agree.
fn kubernetes(claims: &Map<String, Value>) -> Result<(String, Option<String>), TokenFault> {
    let subject = named(claims, "sub", "sub", LONGEST_TEXT)?;
    let Some(Value::Object(own)) = claims.get("kubernetes.io") else {
        return Err(TokenFault::claim("kubernetes.io", "is missing: only tokens that were requested have it, no secrets"));
    };
    let object = |name: &str| own.get(name).and_then(Value::as_object);
    let namespace = named(own, "namespace", "kubernetes.io", LONGEST_TEXT)?;
    let account = object("serviceaccount").ok_or_else(|| TokenFault::claim("kubernetes.io", "has no service account"))?;
    let account = named(account, "name", "kubernetes.io", LONGEST_TEXT)?;
    let is_plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    if !is_plain(&namespace) || !is_plain(&account) || subject != format!("{SERVICE_ACCOUNT}{namespace}:{account}") {
        return Err(TokenFault::claim("sub", "is another service account than `kubernetes.io` says"));
    }
    let pod = object("pod").map(|pod| named(pod, "uid", "kubernetes.io", LONGEST_INSTANCE)).transpose()?;
    Ok((subject, pod))
}

/// A claim that must be a plain text.
fn named(claims: &Map<String, Value>, name: &str, claim: &'static str, most: usize) -> Result<String, TokenFault> {
    match claims.get(name) {
        Some(Value::String(text)) => {
            // What a person can't see would make two names of one.
            let is_odd = |c: char| c.is_control() || is_invisible(c);
            let is_plain = !text.is_empty() && text.len() <= most && text.trim() == text && !text.chars().any(is_odd);
            if is_plain {
                Ok(text.clone())
            } else {
                Err(TokenFault::claim(claim, format!("is no plain text: `{}`", shown(text))))
            }
        }
        Some(_) => Err(TokenFault::claim(claim, "is no text")),
        None => Err(TokenFault::claim(claim, "is missing")),
    }
}

fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), TokenFault> {
    let is_for_us = match claims.get("aud") {
        Some(Value::String(only)) => only == audience,
        Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(|one| one == audience),
        _ => false,
    };
    if is_for_us { Ok(()) } else { Err(TokenFault::Audience(audience.to_owned())) }
}

/// When the token ends, unix seconds. Times are whole seconds: `NumericDate` may have fractions, and no issuer of ours needs them.
fn check_times(claims: &Map<String, Value>, max_lifetime_s: u64, now_s: u64) -> Result<u64, TokenFault> {
    let time = |claim: &'static str| match claims.get(claim) {
        None => Ok(None),
        Some(Value::Number(number)) if number.as_str().bytes().all(|b| b.is_ascii_digit()) => {
            number.as_u64().map(Some).ok_or_else(|| TokenFault::claim(claim, "is no time that is ever reached"))
        }
        Some(_) => Err(TokenFault::claim(claim, "is no whole number of seconds")),
    };
    let expires_at_s = time("exp")?.ok_or_else(|| TokenFault::claim("exp", "is missing"))?;
    let issued_at_s = time("iat")?;
    if now_s >= expires_at_s.saturating_add(LEEWAY_S) {
        return Err(TokenFault::Expired);
    }
    for (claim, at_s) in [("nbf", time("nbf")?), ("iat", issued_at_s)] {
        if at_s.is_some_and(|at_s| at_s > now_s.saturating_add(LEEWAY_S)) {
            return Err(TokenFault::Early(claim));
        }
    }
    let from_s = issued_at_s.unwrap_or(now_s);
    let is_too_long = expires_at_s.saturating_sub(from_s) > max_lifetime_s
        || expires_at_s > now_s.saturating_add(max_lifetime_s).saturating_add(LEEWAY_S);
    if is_too_long { Err(TokenFault::Lifetime) } else { Ok(expires_at_s) }
}

/// What a token is bound to (RFC 7800): a key (RFC 9449, section 6.1) or a certificate (RFC 8705, section 3.1). Another way of binding, or
/// two of them, can't be checked, so nothing is proven by it.
fn bound_to(claims: &Map<String, Value>) -> Result<Option<Binding>, TokenFault> {
    let unknown = || TokenFault::Bound("is bound to its bearer in a way that can't be checked here");
    let Some(cnf) = claims.get("cnf") else { return Ok(None) };
    let bound = cnf.as_object().filter(|bound| bound.len() == 1).ok_or_else(unknown)?;
    let text = |name: &str| bound.get(name).and_then(Value::as_str);
    if let Some(thumbprint) = text("jkt") {
        return Ok(Some(Binding::Key(thumbprint.to_owned())));
    }
    let digest = text("x5t#S256").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).and_then(|bytes| bytes.try_into().ok());
    digest.map(|digest| Some(Binding::Certificate(digest))).ok_or_else(unknown)
}

/// The issuer of this URL as an issuer names itself: compared as a text, never as a URL.
pub fn is_issuer(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (is_plain && (url.as_str() == text || url.as_str().strip_suffix('/') == Some(text))).then_some(url)
}
