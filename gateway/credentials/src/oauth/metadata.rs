//! Where an authorization server has its endpoints: as configured, or as its metadata says (RFC 8414).

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::{ClientAuthentication, OAuthPlace, OAuthServer};
use crate::{
    provider::{MintFault, MintFaultKind},
    web::{Ask, Body},
};

/// The endpoints that are used.
pub(super) struct Endpoints {
    pub(super) token: Url,
    pub(super) revocation: Option<Url>,
    /// How proofs of a key may be signed (RFC 9449, section 5.1), where it says.
    pub(super) algorithms: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: Option<String>,
    dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// Where clients with a certificate go instead (RFC 8705, section 5).
    #[serde(default)]
    mtls_endpoint_aliases: Aliases,
}

#[derive(Default, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

impl Endpoints {
    /// Those of this server, asked for each time: it is seldom, and so a server that moves is found.
    pub(super) async fn of(server: &OAuthServer) -> Result<Self, MintFault> {
        let issuer = match &server.place {
            OAuthPlace::Endpoints { token, revocation } => {
                return Ok(Self { token: token.clone(), revocation: revocation.clone(), algorithms: None });
            }
            OAuthPlace::Issuer(issuer) => issuer,
        };
        let path = issuer.path().trim_end_matches('/');
        let paths = [
            format!("/.well-known/oauth-authorization-server{path}"),
            // What OpenID Connect Discovery has instead.
            format!("{path}/.well-known/openid-configuration"),
        ];
        let mut last = None;
        for path in paths {
            let mut url = issuer.clone();
            url.set_path(&path);
            let headers = vec![("accept", "application/json".to_owned())];
            let answer = server.web.ask(Ask { method: Method::GET, url, headers, secret: None, body: Body::None }).await?;
            if answer.status != StatusCode::NOT_FOUND {
                let answer = answer.success("the authorization server, asked for its metadata,")?;
                return Self::read(issuer, server.authentication == ClientAuthentication::Mtls, &answer.body);
            }
            last = Some(answer);
        }
        let why = last.map_or_else(String::new, |answer| answer.fault("the authorization server, asked for its metadata,").why);
        Err(MintFault::new(MintFaultKind::Wrong, format!("{why}: write `token_url` instead of `issuer`")))
    }

    fn read(issuer: &Url, is_mtls: bool, body: &[u8]) -> Result<Self, MintFault> {
        let wrong = |why: String| MintFault::new(MintFaultKind::Wrong, why);
        let metadata: Metadata =
            serde_json::from_slice(body).map_err(|_| wrong("the metadata of its issuer is not what RFC 8414 says".to_owned()))?;
        // As it is configured: what differs in a `/` alone is another issuer (section 3.3), but a host without a path has both forms.
        let agrees = metadata.issuer == name_of(issuer) || metadata.issuer == issuer.as_str();
        if !agrees {
            let (theirs, ours) = (metadata.issuer.escape_debug().to_string(), name_of(issuer));
            return Err(wrong(format!("the metadata at `{ours}` is that of `{theirs}`: correct `issuer`")));
        }
        let endpoint = |written: &String| {
            // Secrets go there: never in the clear where the issuer itself is not.
            let is_safe = |url: &Url| url.scheme() == "https" || (issuer.scheme() == "http" && url.origin() == issuer.origin());
            let url = Url::parse(written).ok().filter(is_safe);
            url.ok_or_else(|| {
                wrong(format!("its issuer would have secrets sent to `{}`, which is no URL with TLS", written.escape_debug()))
            })
        };
        let aliases = if is_mtls { metadata.mtls_endpoint_aliases } else { Aliases::default() };
        let token = aliases.token_endpoint.as_ref().unwrap_or(&metadata.token_endpoint);
        let revocation =
            aliases.revocation_endpoint.as_ref().or(metadata.revocation_endpoint.as_ref()).map(endpoint).transpose()?;
        Ok(Self { token: endpoint(token)?, revocation, algorithms: metadata.dpop_signing_alg_values_supported })
    }
}

/// An issuer's name: its URL, without the `/` that a URL without a path is written with.
pub(super) fn name_of(issuer: &Url) -> String {
    let text = issuer.as_str();
    if issuer.path() == "/" { text.trim_end_matches('/').to_owned() } else { text.to_owned() }
}
