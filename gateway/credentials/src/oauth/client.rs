//! How the gateway proves to an authorization server which client it is.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{OAuthPlace, OAuthServer, secret_file};
use crate::{
    provider::{MintFault, MintFaultKind},
    signing::{SigningKey, nonce},
};

/// How long an assertion is good, seconds.
const ASSERTION_SECONDS: u64 = 60;

/// How a client proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// A secret in the header `Authorization` (RFC 6749 section 2.3.1).
    Basic(PathBuf),
    /// A secret in the form.
    Post(PathBuf),
    /// An assertion signed with a key of its own (RFC 7523).
    PrivateKeyJwt(SigningKey),
    /// The certificate of the connection (RFC 8705).
    Mtls,
}

/// The proof for one request.
#[derive(Default)]
pub(super) struct Authenticated {
    pub(super) header: Option<SecretString>,
    pub(super) fields: Vec<(&'static str, SecretString)>,
    /// That the key is ours which the token is to be bound to.
    pub(super) proof: Option<SecretString>,
}

impl ClientAuthentication {
    /// A proof that is good once, at this endpoint.
    pub(super) async fn prove(&self, server: &OAuthServer, endpoint: &Url, now_ms: u64) -> Result<Authenticated, MintFault> {
        let id = || ("client_id", SecretString::from(server.client_id.clone()));
        match self {
            Self::Basic(path) => {
                let secret = secret(path, "the client's secret").await?;
                let encoded = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
                let pair = Zeroizing::new(format!(
                    "{}:{}",
                    encoded(&server.client_id).as_str(),
                    encoded(secret.expose_secret()).as_str()
                ));
                let coded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                let header = Some(SecretString::from(format!("Basic {}", coded.as_str())));
                Ok(Authenticated { header, ..Authenticated::default() })
            }
            Self::Post(path) => {
                let secret = secret(path, "the client's secret").await?;
                Ok(Authenticated { fields: vec![id(), ("client_secret", secret)], ..Authenticated::default() })
            }
            Self::Mtls => Ok(Authenticated { fields: vec![id()], ..Authenticated::default() }),
            Self::PrivateKeyJwt(key) => {
                // The server's own name where it has one: an assertion for an endpoint could be meant for another server's.
                let audience = match &server.place {
                    OAuthPlace::Issuer(issuer) => super::metadata::name_of(issuer),
                    OAuthPlace::Endpoints { token, .. } if token.origin() == endpoint.origin() => token.to_string(),
                    OAuthPlace::Endpoints { .. } => endpoint.to_string(),
                };
                let now = now_ms / 1000;
                let claims = json!({
                    "iss": server.client_id, "sub": server.client_id, "aud": audience, "jti": nonce()?,
                    "iat": now, "nbf": now, "exp": now + ASSERTION_SECONDS,
                });
                let assertion = key.sign(&claims).await?;
                let kind = SecretString::from("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                let fields = vec![id(), ("client_assertion_type", kind), ("client_assertion", assertion)];
                Ok(Authenticated { fields, ..Authenticated::default() })
            }
        }
    }
}

/// The secret of a file, `what` for people.
pub(crate) async fn secret(path: &Path, what: &str) -> Result<SecretString, MintFault> {
    let from = path.to_owned();
    let read = tokio::task::spawn_blocking(move || secret_file::read(&from)).await;
    let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    read.map_err(|why| MintFault::new(MintFaultKind::Own, format!("{what} in `{}`: {why}", path.display())))
}
