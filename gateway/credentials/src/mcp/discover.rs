//! Who gives tokens for a server, and how: what the server says of itself, and then what its issuer says.

use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::{Consented, canonical, challenge::Challenge};
use crate::{
    provider::{MintFault, MintFaultKind},
    web::{Answer, Ask, Body},
};

/// So many scopes a server may ask for, and so many bytes one has at most.
const MOST_SCOPES: usize = 100;
const LONGEST_SCOPE: usize = 256;

/// The longest address that somebody else may name, bytes, and what people are shown of one, characters.
const LONGEST_ADDRESS: usize = 2048;
const SHOWN: usize = 200;

/// What an issuer can do (RFC 8414; `OpenID` Connect Discovery 1.0).
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the words of RFC 8414")]
pub(super) struct Issuer {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    #[serde(default)]
    pub(super) registration_endpoint: Option<String>,
    #[serde(default)]
    pub(super) revocation_endpoint: Option<String>,
    #[serde(default)]
    pub(super) code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) scopes_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    pub(super) client_id_metadata_document_supported: bool,
}

/// What a server says of itself (RFC 9728, section 2).
#[derive(Debug, Deserialize)]
struct Metadata {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Option<Vec<String>>,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) issuer: Issuer,
    /// What the server calls itself.
    pub(super) resource: String,
    /// The scopes that it wants, where it says so.
    pub(super) scopes: Option<Vec<String>>,
}

impl Consented {
    /// Finds out who gives tokens for the server. `is_trusted` says of an issuer whether its tokens are used.
    pub(super) async fn discover(&self, is_trusted: impl Fn(&str) -> bool) -> Result<Found, MintFault> {
        let challenge = self.challenge().await;
        let metadata = self.metadata(challenge.metadata.as_deref()).await?;
        let servers = &metadata.authorization_servers;
        let Some(issuer) = servers.iter().find(|issuer| is_trusted(issuer)) else {
            let names = servers.iter().take(3).map(|name| short(name)).collect::<Vec<_>>().join("`, `");
            let connector = &self.of.connector;
            let why = if servers.is_empty() {
                format!("the server of `{connector}` names no issuer of its tokens")
            } else {
                format!(
                    "the server of `{connector}` takes tokens of `{names}`, which is not trusted: add it to `issuers` of the provider, or \
                 let an admin consent first"
                )
            };
            return Err(MintFault::new(MintFaultKind::Refused, why));
        };
        let scopes = challenge.scope.map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect());
        let scopes: Option<Vec<String>> = scopes.or(metadata.scopes_supported);
        let is_plain = |scope: &String| scope.len() <= LONGEST_SCOPE && !scope.is_empty() && scope.bytes().all(is_of_scope);
        if scopes.as_ref().is_some_and(|all| all.len() > MOST_SCOPES || !all.iter().all(is_plain)) {
            let why = format!(
                "the server of `{}` asks for what are no scopes, or for more than {MOST_SCOPES}: set `scopes` yourself",
                self.of.connector
            );
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        Ok(Found { issuer: self.issuer(issuer).await?, resource: metadata.resource, scopes })
    }

    /// What the server says to whoever comes without a token. One that says nothing of use is asked by its well-known address.
    async fn challenge(&self) -> Challenge {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bailiwick", "version": env!("CARGO_PKG_VERSION")}},
        });
        let ask = Ask {
            method: Method::POST,
            url: self.of.url.clone(),
            headers: vec![("accept", "application/json, text/event-stream".to_owned())],
            secret: None,
            body: Body::Json(Zeroizing::new(body.to_string())),
        };
        let answer = self.web.ask_judged(ask, self.egress.as_ref()).await;
        answer
            .ok()
            .filter(|answer| answer.status.as_u16() == 401)
            .and_then(|answer| Challenge::of(&answer.headers))
            .unwrap_or_default()
    }

    async fn metadata(&self, told: Option<&str>) -> Result<Metadata, MintFault> {
        const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
        let path = self.of.url.path().trim_end_matches('/');
        let mut places = match told {
            Some(told) => vec![address(told)?],
            None => vec![at(&self.of.url, &format!("{WELL_KNOWN}{path}"))],
        };
        if told.is_none() && !path.is_empty() {
            places.push(at(&self.of.url, WELL_KNOWN));
        }
        let whose = format!("the server of `{}`", self.of.connector);
        let metadata: Metadata = self.first_of(&places, &whose).await?;
        // RFC 9728, section 3.3. One for all of its site is of its own origin, and above the connector's address.
        let (own, said) = (self.resource(), Url::parse(&metadata.resource).map(|url| canonical(&url)).unwrap_or_default());
        let is_above = said == self.of.url.origin().ascii_serialization() || own.starts_with(&format!("{said}/"));
        if said != own && (said.is_empty() || !is_above) {
            let why =
                format!("{whose} says that it is `{}`, and is at `{own}`: no token is asked for it", short(&metadata.resource));
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        Ok(metadata)
    }

    async fn issuer(&self, name: &str) -> Result<Issuer, MintFault> {
        let url = address(name)?;
        if url.query().is_some() {
            // RFC 8414, section 2.
            return Err(MintFault::new(MintFaultKind::Wrong, format!("`{name}` has a query: it is no issuer")));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let mut places = vec![at(&url, &format!("/.well-known/oauth-authorization-server{path}"))];
        places.push(at(&url, &format!("/.well-known/openid-configuration{path}")));
        if !path.is_empty() {
            places.push(at(&url, &format!("{path}/.well-known/openid-configuration")));
        }
        let issuer: Issuer = self.first_of(&places, &format!("`{name}`")).await?;
        // RFC 8414, section 3.3: the same text.
        if issuer.issuer != name {
            let why = format!("what is at `{name}` says that it is `{}`: it is not used", short(&issuer.issuer));
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        if !issuer.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            let why = format!("`{name}` does not say that it knows PKCE with `S256`: nobody is sent there");
            return Err(MintFault::new(MintFaultKind::Unsupported, why));
        }
        let others = issuer.revocation_endpoint.iter().chain(&issuer.registration_endpoint);
        for endpoint in [&issuer.authorization_endpoint, &issuer.token_endpoint].into_iter().chain(others) {
            address(endpoint)?;
        }
        // Mix-up (RFC 9207, section 1): who sends people to log in at another one, whose answer does not say whose it is, gets that one's code.
        let is_own = address(&issuer.authorization_endpoint)?.origin() == url.origin();
        if !is_own && !issuer.authorization_response_iss_parameter_supported && !self.is_listed(name) {
            let there = &issuer.authorization_endpoint;
            let why = format!(
                "`{name}` sends people to `{there}`, and does not promise to say whose answer comes back (RFC 9207): nobody is sent there, \
                 unless it is in `issuers` of the provider"
            );
            return Err(MintFault::new(MintFaultKind::Unsupported, why));
        }
        Ok(issuer)
    }

    /// The first of these places that has something.
    async fn first_of<T: DeserializeOwned>(&self, places: &[Url], whose: &str) -> Result<T, MintFault> {
        let mut told = None;
        for place in places {
            let ask = Ask {
                method: Method::GET,
                url: place.clone(),
                headers: vec![("accept", "application/json".to_owned())],
                secret: None,
                body: Body::None,
            };
            match self.web.ask_judged(ask, self.egress.as_ref()).await.and_then(|answer| answer.success(whose)) {
                Ok(answer) => return read(&answer, &format!("{whose} at `{place}`")),
                // It is somewhere else then.
                Err(fault) if fault.kind == MintFaultKind::Refused => told = told.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        Err(told.unwrap_or_else(|| MintFault::new(MintFaultKind::Wrong, format!("{whose} says nothing of who gives its tokens"))))
    }
}

/// An address that somebody else named: over TLS, but on this machine.
pub(super) fn address(told: &str) -> Result<Url, MintFault> {
    let bad = |why: &str| MintFault::new(MintFaultKind::Wrong, format!("`{}` {why}", short(told)));
    // People read it as it is written, and it is used as it is parsed: a letter that looks like another one makes two of that.
    if told.len() > LONGEST_ADDRESS || !told.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("is no address of plain letters"));
    }
    let url = Url::parse(told).map_err(|_| bad("is no address"))?;
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(v4)) => v4.is_loopback(),
        Some(url::Host::Ipv6(v6)) => v6.is_loopback(),
        None => return Err(bad("is no address of a server")),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return Err(bad("is not reached over TLS: nothing is sent there"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(bad("has a user, a password or a fragment: nothing is sent there"));
    }
    Ok(url)
}

/// What somebody else named, for people: one line, and short.
pub(super) fn short(told: &str) -> String {
    told.chars().take(SHOWN).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// RFC 6749, section 3.3.
const fn is_of_scope(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

/// Another place of the same origin.
fn at(url: &Url, path: &str) -> Url {
    let mut place = url.clone();
    place.set_path(path);
    place.set_query(None);
    place
}

/// What an answer says as JSON. The fault quotes nothing of it.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer, whose: &str) -> Result<T, MintFault> {
    serde_json::from_slice(&answer.body).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column());
        MintFault::new(MintFaultKind::Wrong, format!("what {whose} answers can't be used (line {line}, column {column})"))
    })
}
