//! Where people log in: an identity provider of `OpenID` Connect (Core 1.0, section 3.1: the authorization code flow), with PKCE (RFC 7636).
//!
//! The provider is asked from here what the browser brought a code for; the browser itself proves nothing.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bailiwick_schemas::json::{self, Limits};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{StatusCode, header};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::{
    algorithm::Algorithm,
    compact,
    fetch::{KeySource, Reader, ask, described_at, file, place_of, whole},
    issuer::{Issuer, IssuerSpec, Profile, SenderConstraint},
};

/// Types of identity tokens: one for a resource is none (RFC 9068, section 5).
const TYPES: [&str; 2] = ["", "JWT"];

/// How long an identity token may live.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// How long its keys are used while they can't be read again.
const MAX_STALE: Duration = Duration::from_hours(1);

/// How long its description is good, milliseconds.
const GOOD_FOR_MS: u64 = 5 * 60 * 1000;

/// How long the provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An identity provider, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSpec {
    /// Its `iss`, exactly.
    pub name: String,
    /// The same as an address.
    pub issuer: Url,
    /// What it calls us.
    pub client_id: String,
    /// The file with what we prove to it that we are that; none for a public client, which PKCE alone protects.
    pub client_secret_file: Option<PathBuf>,
    /// A PEM file with the only certificate authorities that are trusted for it.
    pub roots: Option<PathBuf>,
}

/// An identity provider.
#[derive(Debug)]
pub struct LoginProvider {
    spec: LoginSpec,
    issuer: Issuer,
    reader: Reader,
    /// How it described itself, and when, unix milliseconds: whoever asks to log in must not have it asked each time.
    described: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

/// What one login is asked with. All of it is random, but for the address.
#[derive(Debug, Clone, Copy)]
pub struct LoginAsked<'a> {
    /// Comes back with the browser.
    pub state: &'a str,
    /// Comes back in the token.
    pub nonce: &'a str,
    /// What the code is redeemed with: 43 characters or more.
    pub verifier: &'a str,
    /// Where the browser comes back to.
    pub redirect_uri: &'a str,
}

/// Who has logged in, as the provider says and has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Who: unique at this provider.
    pub subject: String,
    claims: Map<String, Value>,
}

impl LoggedIn {
    /// The texts of a claim that is a text or a list of texts; anything else has none.
    pub fn texts(&self, claim: &str) -> Vec<&str> {
        match self.claims.get(claim) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl LoginProvider {
    /// The provider of this configuration. Nobody is asked yet.
    pub fn new(spec: LoginSpec) -> Self {
        let issuer = Issuer::new(IssuerSpec {
            id: "console".to_owned(),
            profile: Profile::Oidc { subject: "sub".to_owned(), instance: None },
            issuer: Some(spec.name.clone()),
            source: KeySource::Discovery(spec.issuer.clone()),
            roots: spec.roots.clone(),
            audience: Some(spec.client_id.clone()),
            algorithms: Algorithm::ALL.to_vec(),
            max_lifetime: LONGEST_LIFE,
            max_stale: MAX_STALE,
            sender_constraint: SenderConstraint::None,
        });
        Self { issuer, reader: Reader { roots: spec.roots.clone() }, described: Mutex::default(), spec }
    }

    /// Its `iss`.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where the browser is sent to log in.
    pub async fn ask(&self, asked: LoginAsked<'_>, now_ms: u64) -> Result<String, String> {
        let mut to = self.place("authorization_endpoint", now_ms).await?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(asked.verifier.as_bytes()));
        to.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.spec.client_id),
            ("redirect_uri", asked.redirect_uri),
            ("scope", "openid"),
            ("state", asked.state),
            ("nonce", asked.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(to.into())
    }

    /// Who has logged in, by the code that the browser brought.
    pub async fn redeem(&self, code: &str, asked: LoginAsked<'_>, now_ms: u64) -> Result<LoggedIn, String> {
        let token = tokio::time::timeout(PATIENCE, self.exchange(code, asked, now_ms)).await;
        let token = token.map_err(|_| "it takes too long to answer".to_owned())??;
        let read = compact::read(&token, &TYPES).map_err(|fault| fault.to_string())?;
        let proven = self.issuer.prove(&read, &self.spec.client_id, now_ms).await.map_err(|fault| fault.to_string())?;
        let claims = read.claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("nonce") != Some(asked.nonce) {
            return Err("its token is of another login".to_owned());
        }
        // A token that is for others too says whom it was given to (section 3.1.3.7, 4 and 5).
        let is_for_many = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        if (is_for_many || claims.contains_key("azp")) && text("azp") != Some(self.spec.client_id.as_str()) {
            return Err("its token was given to somebody else".to_owned());
        }
        Ok(LoggedIn { subject: proven.0.subject().to_owned(), claims })
    }

    /// The identity token for a code (section 3.1.3).
    async fn exchange(&self, code: &str, asked: LoginAsked<'_>, now_ms: u64) -> Result<String, String> {
        let to = self.place("token_endpoint", now_ms).await?;
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", asked.redirect_uri),
                ("client_id", &self.spec.client_id),
                ("code_verifier", asked.verifier),
            ])
            .finish();
        let mut request = self.reader.client(&to).await?.post(to.clone()).body(body);
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request = request.header(header::ACCEPT, "application/json");
        if let Some(path) = &self.spec.client_secret_file {
            let secret = Zeroizing::new(file(path).await?);
            let secret = std::str::from_utf8(&secret).map_err(|_| "the client secret is no text".to_owned())?.trim_end();
            // Each part as a form has it (RFC 6749, section 2.3.1).
            let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(part(&self.spec.client_id), Some(part(secret)));
        }
        let answer = request.send().await.map_err(|fault| format!("`{to}` does not answer: {}", fault.without_url()))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("`{to}` answered {}", answer.status().as_u16()));
        }
        let bytes = Zeroizing::new(whole(answer, &to).await?);
        let read = json::parse(&bytes, Limits { bytes: bytes.len(), depth: 16 }).map_err(|fault| format!("`{to}`: {fault}"))?;
        read.get("id_token").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("`{to}` gave no identity token"))
    }

    /// Where its description says that something of it is.
    async fn place(&self, key: &str, now_ms: u64) -> Result<Url, String> {
        let at = described_at(&self.spec.issuer);
        let known = self.described().clone().filter(|(read_ms, _)| now_ms.saturating_sub(*read_ms) < GOOD_FOR_MS);
        let is_new = known.is_none();
        let bytes = if let Some((_, bytes)) = known {
            bytes
        } else {
            let asked = async { ask(&self.reader.client(&at).await?, &at).await };
            let described = tokio::time::timeout(PATIENCE, asked).await;
            let described = described.map_err(|_| format!("`{at}` takes too long to answer"))??;
            Arc::new(described.bytes)
        };
        let place = place_of(&bytes, &self.spec.issuer, key).map_err(|why| format!("`{at}`: {why}"))?;
        if is_new {
            *self.described() = Some((now_ms, bytes));
        }
        Ok(place)
    }

    fn described(&self) -> MutexGuard<'_, Option<(u64, Arc<Vec<u8>>)>> {
        // A panic while it was held leaves a description that is whole.
        self.described.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
