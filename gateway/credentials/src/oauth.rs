//! Access tokens of an OAuth 2.0 authorization server: of the gateway's own client (RFC 6749 section 4.4), or on behalf of the owner of a
//! grant (RFC 8693), with the connector's scopes and no more.

mod answer;
mod bound;
#[cfg(test)]
mod bound_tests;
mod client;
mod metadata;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
pub use bound::Bound;
pub use client::ClientAuthentication;
pub(crate) use client::secret as secret_of_file;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use self::{
    answer::{Live, Token},
    client::Authenticated,
    metadata::Endpoints,
};
use crate::{
    dpop::{self, ProofKey, TokenProver},
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    secret_file,
    web::{Answer, Ask, Body, Web},
    wiped::Wiped,
};

/// How long a token lives at most where nothing else is said.
const LONGEST: Duration = Duration::from_hours(1);

/// What the record calls it.
const NAME: &str = "oauth";

/// Lends access tokens of one authorization server to one connector.
#[derive(Clone)]
pub struct OAuth {
    /// The server.
    pub server: OAuthServer,
    /// What is asked of it.
    pub request: OAuthRequest,
}

/// An authorization server, and who the gateway is to it.
#[derive(Debug, Clone)]
pub struct OAuthServer {
    /// How it is reached.
    pub web: Web,
    /// Where it is.
    pub place: OAuthPlace,
    /// The gateway's id there.
    pub client_id: String,
    /// How the gateway proves that it is this client.
    pub authentication: ClientAuthentication,
    /// The files with what stands for people there, by the owner of a grant; none where the gateway asks for itself.
    pub on_behalf: Option<OnBehalf>,
    /// How long a token lives at most; also taken for its life where the server says none.
    pub max_ttl: Option<Duration>,
    /// Whether it takes tokens back (RFC 7009).
    pub is_revocable: bool,
}

/// Where an authorization server is.
#[derive(Debug, Clone)]
pub enum OAuthPlace {
    /// By its metadata (RFC 8414).
    Issuer(Url),
    /// By itself.
    Endpoints {
        /// The token endpoint.
        token: Url,
        /// The revocation endpoint.
        revocation: Option<Url>,
    },
}

/// For whom tokens are exchanged.
#[derive(Debug, Clone)]
pub struct OnBehalf {
    /// The files of subject tokens, by owner.
    pub files: BTreeMap<String, PathBuf>,
    /// What kind of token they hold: a URI of RFC 8693 section 3.
    pub kind: String,
}

/// What one connector is lent.
#[derive(Debug, Clone)]
pub struct OAuthRequest {
    /// Scopes.
    pub scopes: Vec<String>,
    /// Scopes for tasks that only read.
    pub read_scopes: Option<Vec<String>>,
    /// For whom the token is, as the server calls it.
    pub audience: Option<String>,
    /// For whom the token is (RFC 8707).
    pub resource: Option<Url>,
    /// What it has to be bound to.
    pub bound: Bound,
    /// The file with the certificate that the connector presents to its server, if it does.
    pub identity: Option<PathBuf>,
}

/// By what a token is taken back.
#[derive(serde::Serialize)]
struct Back<'a> {
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<&'a str>,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("server", &self.server).field("request", &self.request).finish()
    }
}

impl OAuth {
    fn scopes(&self, access: Access) -> &[String] {
        match (access, &self.request.read_scopes) {
            (Access::Read, Some(read)) => read,
            _ => &self.request.scopes,
        }
    }

    /// Asks for a token that is bound to this key; once more where the server wants a nonce first (RFC 9449, section 8).
    async fn ask_bound(
        &self,
        (endpoint, now_ms): (&Url, u64),
        fields: &[(&str, &str)],
        key: Option<&ProofKey>,
    ) -> Result<Answer, MintFault> {
        let authentication = &self.server.authentication;
        let mut client = authentication.prove(&self.server, endpoint, now_ms).await?;
        let Some(key) = key else { return self.ask(endpoint, &client, fields).await };
        let mut url = endpoint.clone();
        url.set_query(None);
        let proof = |nonce: Option<&str>| {
            let proof = key.proof(("POST", url.as_str()), None, nonce);
            proof.map_err(|why| MintFault::new(MintFaultKind::Own, why).unasked())
        };
        client.proof = Some(proof(None)?);
        let answer = self.ask(endpoint, &client, fields).await?;
        let Some(nonce) = dpop::wanted_nonce(&answer) else { return Ok(answer) };
        // An assertion is good once, and so is proved anew.
        client = authentication.prove(&self.server, endpoint, now_ms).await?;
        client.proof = Some(proof(Some(&nonce))?);
        self.ask(endpoint, &client, fields).await
    }

    async fn ask(&self, endpoint: &Url, client: &Authenticated, fields: &[(&str, &str)]) -> Result<Answer, MintFault> {
        let own = client.fields.iter().map(|(name, value)| (*name, value.expose_secret()));
        let ask = Ask {
            method: Method::POST,
            url: endpoint.clone(),
            // A proof is good once, and for this alone.
            headers: std::iter::once(("accept", "application/json".to_owned()))
                .chain(client.proof.as_ref().map(|proof| ("dpop", proof.expose_secret().to_owned())))
                .collect(),
            secret: client.header.as_ref().map(|secret| ("authorization", secret)),
            body: Body::Form(form(fields.iter().copied().chain(own))),
        };
        self.server.web.ask(ask).await
    }

    async fn mint_one(&self, wish: &Wish, journal: &dyn Journal) -> Result<Minted, MintFault> {
        let server = &self.server;
        let scopes = self.scopes(wish.access);
        // Before anything is asked: who has no subject here is lent nothing.
        let subject = match &server.on_behalf {
            Some(people) => Some((subject_of(people, &wish.owner).await?, people.kind.as_str())),
            None => None,
        };
        let Endpoints { token, revocation, algorithms } = Endpoints::of(server).await?;
        let key = self.key(algorithms.as_deref(), wish.now_ms)?;
        let certificate = match &self.request.identity {
            Some(path) => Some(bound::certificate_of(path).await?),
            None => None,
        };
        if server.is_revocable && revocation.is_none() {
            let why =
                "its issuer has no revocation endpoint: write `revocable = false` to lend tokens that end by themselves alone";
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        let wished = scopes.join(" ");
        let mut fields = vec![("scope", wished.as_str())];
        match &subject {
            None => fields.push(("grant_type", "client_credentials")),
            Some((subject, kind)) => fields.extend([
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", subject.expose_secret()),
                ("subject_token_type", *kind),
                ("requested_token_type", answer::ACCESS_TOKEN),
            ]),
        }
        fields.extend(self.request.audience.as_deref().map(|audience| ("audience", audience)));
        fields.extend(self.request.resource.as_ref().map(|resource| ("resource", resource.as_str())));
        let answer = self.ask_bound((&token, wish.now_ms), &fields, key.as_deref()).await?.success("the authorization server")?;
        let live = Live::read(&answer)?;
        let refresh = live.refresh.as_ref().map(ExposeSecret::expose_secret);
        let handle = Handle::of(&Back { token: live.access.expose_secret(), refresh })?;
        // Whatever is wrong with it from here on: it is taken back.
        journal.keep(&handle).await?;
        let token = Token::read(&answer)?;
        token.judge(&answer, scopes, (subject.is_some(), key.is_some()))?;
        bound::Shown { bound: self.request.bound, key: key.as_deref(), certificate }.judge(&token.secret.0)?;
        let Some(seconds) = token.expires_in.or(server.max_ttl.map(|longest| longest.as_secs())) else {
            let why = "its issuer does not say how long it lives: set `max_ttl` of the provider to what it is";
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        };
        Ok(Minted {
            reference: self.reference(wish.access),
            expires_at_ms: Some(wish.now_ms.saturating_add(seconds.saturating_mul(1000))),
            material: match key {
                Some(key) => {
                    let prover = TokenProver::of(key, &token.secret.0);
                    Material::of(token.secret.0).with_prover(prover)
                }
                None => Material::of(token.secret.0),
            },
            handle: Some(handle),
        })
    }

    /// The key that a token is to be bound to, where it is.
    fn key(&self, algorithms: Option<&[String]>, now_ms: u64) -> Result<Option<Arc<ProofKey>>, MintFault> {
        if self.request.bound != Bound::Dpop {
            return Ok(None);
        }
        if algorithms.is_some_and(|known| !known.iter().any(|one| one == dpop::ALGORITHM)) {
            let why = "its issuer takes no proofs with `ES256`: have it take those, or leave out `bound`";
            return Err(MintFault::new(MintFaultKind::Unsupported, why).unasked());
        }
        ProofKey::new(now_ms).map(Some)
    }

    async fn revoke_one(&self, handle: &Handle, now_ms: u64) -> Result<(), RevokeFault> {
        #[derive(serde::Deserialize)]
        struct Kept {
            token: Wiped,
            #[serde(default)]
            refresh: Option<Wiped>,
        }
        let kept: Kept =
            serde_json::from_str(handle.expose()).map_err(|_| RevokeFault::new("by what it is taken back can't be read"))?;
        let Endpoints { revocation, .. } = Endpoints::of(&self.server).await?;
        let Some(endpoint) = revocation else { return Err(RevokeFault::new("its issuer has no revocation endpoint any more")) };
        // A refresh token first: it would make others. One that it will not take keeps the other from nothing.
        let all = kept.refresh.iter().map(|token| (token, "refresh_token")).chain([(&kept.token, "access_token")]);
        let mut failed = None;
        for (token, kind) in all {
            if let Err(fault) = self.end(&endpoint, &token.0, kind, now_ms).await {
                failed.get_or_insert(fault);
            }
        }
        failed.map_or(Ok(()), |fault| Err(fault.into()))
    }

    async fn end(&self, endpoint: &Url, token: &SecretString, kind: &str, now_ms: u64) -> Result<(), MintFault> {
        let client = self.server.authentication.prove(&self.server, endpoint, now_ms).await?;
        let fields = [("token", token.expose_secret()), ("token_type_hint", kind)];
        // RFC 7009 section 2.2: what it does not know (any more) is a success too.
        self.ask(endpoint, &client, &fields).await?.success("the authorization server").map(drop)
    }
}

/// A form, wiped when it is sent.
pub(crate) fn form<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(8192));
    Zeroizing::new(form.extend_pairs(fields).finish())
}

/// What stands for this owner.
async fn subject_of(people: &OnBehalf, owner: &str) -> Result<SecretString, MintFault> {
    let Some(path) = people.files.get(owner).cloned() else {
        let why = format!("there is no subject token for the owner `{owner}`: name its file in `subject_tokens` of the provider");
        return Err(MintFault::new(MintFaultKind::Refused, why));
    };
    client::secret(&path, "the subject token").await
}

impl Provider for OAuth {
    fn name(&self) -> &'static str {
        NAME
    }

    fn reference(&self, access: Access) -> String {
        self.scopes(access).join(" ")
    }

    fn bound(&self) -> Bound {
        self.request.bound
    }

    fn is_revocable(&self) -> bool {
        self.server.is_revocable
    }

    fn longest(&self) -> Option<Duration> {
        Some(self.server.max_ttl.unwrap_or(LONGEST))
    }

    fn decides_lifetime(&self) -> bool {
        true
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.mint_one(wish, journal))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, now_ms: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(self.revoke_one(handle, now_ms))
    }
}
