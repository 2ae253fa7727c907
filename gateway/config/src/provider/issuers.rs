//! What issuers of several kinds are, checked.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use url::Url;

/// An OAuth 2.0 authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// Where it is.
    pub place: OAuthPlace,
    /// Whether it takes tokens back.
    pub is_revocable: bool,
    /// The gateway's id there.
    pub client_id: String,
    /// How the gateway proves that it is this client.
    pub client: OAuthClient,
    /// The files of what stands for owners of grants, and what kind of token they hold; none where the gateway asks for itself.
    pub on_behalf: Option<(BTreeMap<String, PathBuf>, &'static str)>,
    /// How long a token lives at most.
    pub max_ttl: Option<Duration>,
    /// The PEM file of the only authorities that are trusted for it.
    pub roots: Option<PathBuf>,
}

/// Where an authorization server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OAuthPlace {
    /// By its metadata.
    Issuer(Url),
    /// By itself: the token endpoint, and that for revocation.
    Endpoints(Url, Option<Url>),
}

/// How a client proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OAuthClient {
    /// A secret of this file in the header `Authorization`.
    Basic(PathBuf),
    /// A secret of this file in the form.
    Post(PathBuf),
    /// An assertion signed with the key of this file.
    PrivateKeyJwt {
        /// The file.
        file: PathBuf,
        /// By what name the server knows the key.
        key_id: Option<String>,
        /// How it signs, as RFC 7518 calls it.
        algorithm: Option<&'static str>,
    },
    /// The certificate of this file.
    Mtls(PathBuf),
}

/// What a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A key that is the lease's alone (RFC 9449).
    Dpop,
    /// The certificate that the connector presents (RFC 8705).
    Mtls,
}

/// A GitHub App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitHub {
    /// The app's client id, or its id.
    pub app: String,
    /// The id of its installation.
    pub installation: u64,
    /// The file of the app's private key.
    pub key_file: PathBuf,
    /// The API.
    pub api: Url,
    /// The PEM file of the only authorities that are trusted for it.
    pub roots: Option<PathBuf>,
}

/// A security token service of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// The region.
    pub region: String,
    /// The service.
    pub endpoint: Url,
    /// The id of the gateway's own keys.
    pub access_key_id: String,
    /// The file of their secret.
    pub secret_file: PathBuf,
    /// The file of their session token.
    pub session_token_file: Option<PathBuf>,
    /// Whether sessions are tagged.
    pub tags: bool,
    /// How long a session lives at most.
    pub max_ttl: Option<Duration>,
    /// The PEM file of the only authorities that are trusted for it.
    pub roots: Option<PathBuf>,
}

/// What a permission of a GitHub App goes up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionLevel {
    /// To read.
    Read,
    /// To read and to write.
    Write,
    /// All.
    Admin,
}
