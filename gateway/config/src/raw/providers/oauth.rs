//! An OAuth 2.0 authorization server, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `oauth` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["client_id"]))]
pub(crate) struct RawOAuth {
    /// Its issuer: where it is, is in its metadata (RFC 8414), which has to be of exactly this issuer. `https`; `http` on this machine only.
    pub(crate) issuer: Option<String>,
    /// Its token endpoint, instead of `issuer`.
    pub(crate) token_url: Option<String>,
    /// Its revocation endpoint (RFC 7009), beside `token_url`. Where it has none, `revocable = false` says so.
    pub(crate) revocation_url: Option<String>,
    /// `false` where it takes nothing back, and tokens end by themselves alone.
    pub(crate) revocable: Option<bool>,
    /// The gateway's id there.
    pub(crate) client_id: Option<String>,
    /// How the gateway proves that it is this client: a secret in a header (`basic`, the default) or in the form (`post`), an assertion signed
    /// with its own key (`private_key_jwt`), or the certificate of the connection (`mtls`).
    #[schemars(extend("enum" = ["basic", "post", "private_key_jwt", "mtls"]))]
    pub(crate) auth: Option<String>,
    /// For `basic` and `post`: the file with the client's secret, readable by the gateway only.
    pub(crate) client_secret_file: Option<String>,
    /// For `private_key_jwt`: the PEM file with the private key (RSA, P-256 or Ed25519), readable by the gateway only.
    pub(crate) key_file: Option<String>,
    /// For `private_key_jwt`: by what name the server knows the key.
    pub(crate) key_id: Option<String>,
    /// For `private_key_jwt`: how it signs; what the key is for when it is not set: `RS256`, `ES256` or `EdDSA`.
    #[schemars(extend("enum" = ["RS256", "PS256", "ES256", "EdDSA"]))]
    pub(crate) algorithm: Option<String>,
    /// For `mtls`: the PEM file with the client certificate and its private key, readable by the gateway only.
    pub(crate) identity: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
    /// For whom tokens are: `client_credentials` (the default) for the gateway's own client, `token_exchange` for the owner of the grant
    /// (RFC 8693).
    #[schemars(extend("enum" = ["client_credentials", "token_exchange"]))]
    pub(crate) grant: Option<String>,
    /// For `token_exchange`: the file with the token that stands for each owner. Who has none is lent nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) subject_tokens: BTreeMap<String, String>,
    /// For `token_exchange`: what kind of token these are; `access_token` when it is not set.
    #[schemars(extend("enum" = ["access_token", "id_token", "refresh_token", "jwt"]))]
    pub(crate) subject_token_type: Option<String>,
    /// How long a token lives at most: what lives longer is refused; 1h when it is not set. Taken for its life where the server says none.
    pub(crate) max_ttl: Option<Duration>,
}
