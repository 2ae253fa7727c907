//! What is said to an issuer, as the client that the gateway is to it.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{
    Consented, OFFLINE,
    discover::{Issuer, address, read},
};
use crate::{
    provider::{MintFault, MintFaultKind},
    secret_file,
    standing::{Told, check},
    web::{Answer, Ask, Body},
};

/// An issuer as a consent found it, and who the gateway is to it. Kept sealed only.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Authority {
    pub(super) issuer: String,
    pub(super) token_endpoint: String,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) client_id: String,
    /// What the issuer gave when the gateway registered itself. One that was registered by hand has its secret in a file.
    pub(super) client_secret: Option<String>,
    pub(super) proof: Proof,
    /// The place to come back to that the gateway registered itself with: one for this issuer alone.
    #[serde(default)]
    pub(super) registered_for: Option<String>,
    /// What the server calls itself: for which tokens are asked. Consents of before have none.
    #[serde(default)]
    pub(super) resource: Option<String>,
}

/// How a client shows who it is (RFC 6749, section 2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proof {
    #[default]
    None,
    Basic,
    Post,
}

impl Proof {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }

    /// What the issuer takes of somebody with a secret, or without one.
    fn of(issuer: &Issuer, has_secret: bool) -> Option<Self> {
        // RFC 8414, section 2: without the list it is `client_secret_basic`. Clients without a secret show their id all the same.
        let takes = |proof: Self| match &issuer.token_endpoint_auth_methods_supported {
            Some(all) => all.iter().any(|known| known == proof.as_str()),
            None => proof == Self::Basic,
        };
        if has_secret { [Self::Basic, Self::Post, Self::None].into_iter().find(|proof| takes(*proof)) } else { Some(Self::None) }
    }
}

/// What an issuer gave. It is there even where it can't be used: to be given back.
pub(super) struct Gave {
    pub(super) access: SecretString,
    pub(super) expires_in_s: Option<u64>,
    pub(super) refresh: Option<SecretString>,
    /// The scopes, where they are others than were asked for.
    pub(super) scopes: Option<Vec<String>>,
    /// Why it can't be used.
    pub(super) wrong: Option<MintFault>,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Told,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<Told>,
    #[serde(default)]
    scope: Option<String>,
}

/// RFC 7591, section 3.2.1.
#[derive(Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
}

impl Authority {
    /// Who the gateway is to this issuer: as it was registered by hand, by its metadata document, as at an earlier consent, or as it registers
    /// itself now, with a place to come back to that is of this issuer alone.
    pub(super) async fn at(issuer: &Issuer, of: &Consented, earlier: &[&Self], redirect_uri: &str) -> Result<Self, MintFault> {
        let (client, name) = (&of.client, &issuer.issuer);
        let known = |client_id: &str, client_secret: Option<String>, proof| Self {
            issuer: name.clone(),
            token_endpoint: issuer.token_endpoint.clone(),
            revocation_endpoint: issuer.revocation_endpoint.clone(),
            client_id: client_id.to_owned(),
            client_secret,
            proof,
            registered_for: None,
            resource: None,
        };
        if let Some(id) = &client.id {
            let proof = Proof::of(issuer, client.secret_file.is_some()).ok_or_else(|| {
                MintFault::new(MintFaultKind::Unsupported, format!("`{name}` takes no secret of a client as a password"))
            })?;
            return Ok(known(id, None, proof));
        }
        if let Some(url) = client.metadata_url.as_ref().filter(|_| issuer.client_id_metadata_document_supported) {
            return Ok(known(url.as_str(), None, Proof::None));
        }
        let own_place = own_place(redirect_uri, name);
        if let Some(Self { client_id, client_secret, proof, .. }) =
            earlier.iter().find(|one| one.issuer == *name && one.registered_for.as_ref() == Some(&own_place))
        {
            return Ok(Self { registered_for: Some(own_place), ..known(client_id, client_secret.clone(), *proof) });
        }
        let (Some(endpoint), true) = (&issuer.registration_endpoint, client.register) else {
            let why = format!(
                "the gateway is not known at `{name}`: register it there and give its `client_id`, or allow `register = true` where the \
                 issuer takes that"
            );
            return Err(MintFault::new(MintFaultKind::Refused, why));
        };
        let registered = register(issuer, of, endpoint, &own_place).await?;
        let proof = match registered.token_endpoint_auth_method.as_deref() {
            Some("none") => Some(Proof::None),
            Some("client_secret_basic") => Some(Proof::Basic),
            Some("client_secret_post") => Some(Proof::Post),
            Some(_) => None,
            None => Proof::of(issuer, registered.client_secret.is_some()),
        };
        let proof = proof.filter(|proof| *proof == Proof::None || registered.client_secret.is_some()).ok_or_else(|| {
            MintFault::new(MintFaultKind::Wrong, format!("`{name}` registers the gateway in a way that it can't show itself by"))
        })?;
        Ok(Self { registered_for: Some(own_place), ..known(&registered.client_id, registered.client_secret, proof) })
    }

    /// The tokens for a code.
    pub(super) async fn redeem(
        &self,
        of: &Consented,
        (code, verifier): (&str, &SecretString),
        redirect_uri: &str,
        resource: &str,
    ) -> Result<Gave, MintFault> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.expose_secret()),
            ("resource", resource),
        ];
        self.token(of, &fields).await
    }

    /// Another access token, with these scopes.
    pub(super) async fn refresh(
        &self,
        of: &Consented,
        refresh: &SecretString,
        scopes: &[String],
        resource: &str,
    ) -> Result<Gave, MintFault> {
        let scope = scopes.join(" ");
        let mut fields =
            vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose_secret()), ("resource", resource)];
        if !scope.is_empty() {
            fields.push(("scope", &scope));
        }
        self.token(of, &fields).await
    }

    /// Takes a token back (RFC 7009). One that the issuer does not know is taken back already.
    pub(super) async fn revoke(&self, of: &Consented, token: &SecretString, hint: &str) -> Result<(), MintFault> {
        let Some(endpoint) = &self.revocation_endpoint else {
            return Err(MintFault::new(MintFaultKind::Unsupported, format!("`{}` takes no token back", self.issuer)));
        };
        let fields = [("token", token.expose_secret()), ("token_type_hint", hint)];
        self.post(of, endpoint, &fields).await.map(drop)
    }

    async fn token(&self, of: &Consented, fields: &[(&str, &str)]) -> Result<Gave, MintFault> {
        let answer = self.post(of, &self.token_endpoint, fields).await?;
        let answer: TokenAnswer = read(&answer, &format!("`{}`", self.issuer))?;
        let is_bearer = answer.token_type.eq_ignore_ascii_case("bearer");
        let (access, refresh) = (SecretString::from(answer.access_token), answer.refresh_token.map(SecretString::from));
        let faulty = |secret: &SecretString| check(secret.expose_secret()).err();
        let why = if is_bearer { faulty(&access) } else { Some("is no bearer token".to_owned()) };
        let why = why.or_else(|| refresh.as_ref().and_then(faulty));
        let wrong = why.map(|why| MintFault::new(MintFaultKind::Wrong, format!("the token of `{}` {why}", self.issuer)));
        // What is no token replaces none.
        let refresh = refresh.filter(|refresh| faulty(refresh).is_none());
        let scopes = answer.scope.map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect());
        Ok(Gave { access, expires_in_s: answer.expires_in, refresh, scopes, wrong })
    }

    async fn post(&self, of: &Consented, endpoint: &str, fields: &[(&str, &str)]) -> Result<Answer, MintFault> {
        let secret = self.secret(of).await?;
        let (form, basic) = self.form(fields, secret.as_ref());
        let ask = Ask {
            method: Method::POST,
            url: address(endpoint)?,
            headers: vec![("accept", "application/json".to_owned())],
            secret: basic.as_ref().map(|basic| ("authorization", basic)),
            body: Body::Form(form),
        };
        of.web.ask_judged(ask, of.egress.as_ref()).await?.success(&format!("`{}`", self.issuer))
    }

    /// The body, and what stands in the header `Authorization`.
    fn form(&self, fields: &[(&str, &str)], secret: Option<&SecretString>) -> (Zeroizing<String>, Option<SecretString>) {
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(4096));
        form.extend_pairs(fields);
        let mut basic = None;
        match (self.proof, secret) {
            (Proof::Basic, Some(secret)) => basic = Some(self.basic(secret)),
            (Proof::Post, Some(secret)) => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.expose_secret());
            }
            _ => {
                form.append_pair("client_id", &self.client_id);
            }
        }
        (Zeroizing::new(form.finish()), basic)
    }

    fn basic(&self, secret: &SecretString) -> SecretString {
        let plain = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", plain(&self.client_id), plain(secret.expose_secret())));
        SecretString::from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
    }

    async fn secret(&self, of: &Consented) -> Result<Option<SecretString>, MintFault> {
        if let Some(secret) = &self.client_secret {
            return Ok(Some(SecretString::from(secret.clone())));
        }
        if self.proof == Proof::None {
            return Ok(None);
        }
        // What is configured by now may be of another client, at another issuer: nobody else is shown that secret.
        let is_of_this = of.client.id.as_ref() == Some(&self.client_id) && of.is_listed(&self.issuer);
        let Some(path) = of.client.secret_file.clone().filter(|_| is_of_this) else {
            let (id, issuer) = (&self.client_id, &self.issuer);
            let why =
                format!("the secret of the client `{id}` at `{issuer}` is configured no more: connect again, or end it there");
            return Err(MintFault::new(MintFaultKind::Own, why));
        };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || secret_file::read(&path)).await;
        let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
        read.map(Some).map_err(|why| MintFault::new(MintFaultKind::Own, format!("the secret of the client in `{shown}`: {why}")))
    }
}

/// Whether its issuer says that a consent is over (RFC 6749, section 5.2).
pub(super) fn is_over(fault: &MintFault) -> bool {
    let said = fault.why.split_once("` answers with ").and_then(|(_, said)| said.split_once(": "));
    fault.kind == MintFaultKind::Refused
        && said.is_some_and(|(_, error)| error == "invalid_grant" || error.starts_with("invalid_grant:"))
}

/// The place to come back to from one issuer alone: what another one sends there is not taken for an answer of this one (RFC 9700, section
/// 4.4.2.2).
fn own_place(redirect_uri: &str, issuer: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, issuer.as_bytes());
    let mark = digest.as_ref().get(..16).unwrap_or_default();
    format!("{redirect_uri}/{}", URL_SAFE_NO_PAD.encode(mark))
}

/// Where a person consents: at the issuer, with what they are asked for.
pub(super) fn asked(issuer: &Issuer, endpoint: Url, client_id: &str, fields: &[(&str, &str)], scopes: &[String]) -> String {
    let mut url = endpoint;
    let mut scopes = scopes.to_vec();
    // What gives a refresh token where that is said by a scope (OpenID Connect Core, section 11).
    let offline = issuer.scopes_supported.iter().any(|scope| scope == OFFLINE);
    if offline && !scopes.iter().any(|scope| scope == OFFLINE) {
        scopes.push(OFFLINE.to_owned());
    }
    let mut query = url.query_pairs_mut();
    query.append_pair("response_type", "code").append_pair("client_id", client_id).append_pair("code_challenge_method", "S256");
    query.extend_pairs(fields);
    if !scopes.is_empty() {
        query.append_pair("scope", &scopes.join(" "));
    }
    if offline {
        query.append_pair("prompt", "consent");
    }
    drop(query);
    url.into()
}

async fn register(issuer: &Issuer, of: &Consented, endpoint: &str, redirect_uri: &str) -> Result<Registered, MintFault> {
    let proof = Proof::of(issuer, false).filter(|_| {
        issuer.token_endpoint_auth_methods_supported.as_ref().is_none_or(|all| all.iter().any(|known| known == "none"))
    });
    let proof = proof.or_else(|| Proof::of(issuer, true)).unwrap_or(Proof::None);
    let is_local = redirect_uri.starts_with("http://");
    let body = json!({
        "client_name": "Bailiwick", "redirect_uris": [redirect_uri], "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "token_endpoint_auth_method": proof.as_str(),
        "application_type": if is_local { "native" } else { "web" },
    });
    let ask = Ask {
        method: Method::POST,
        url: address(endpoint)?,
        headers: vec![("accept", "application/json".to_owned())],
        secret: None,
        body: Body::Json(Zeroizing::new(body.to_string())),
    };
    let whose = format!("`{}`", issuer.issuer);
    read(&of.web.ask_judged(ask, of.egress.as_ref()).await?.success(&whose)?, &whose)
}
