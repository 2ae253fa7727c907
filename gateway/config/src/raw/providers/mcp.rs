use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `mcp` of `[[providers]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawMcp {
    /// The only issuers whose tokens are used, each exactly as it calls itself. When it is not set, the ones that an admin consented at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuers: Option<Vec<String>>,
    /// The gateway's id at its issuer, where it was registered there by hand. Wants exactly one of `issuers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// The file with the secret that goes with `client_id`, readable by the gateway only; relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<String>,
    /// Where the gateway's client metadata document is, with `https`: its id at issuers that take such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_metadata_url: Option<String>,
    /// Whether the gateway registers itself where an issuer takes that (RFC 7591) and knows it by nothing else.
    pub(crate) register: bool,
    /// A PEM file with the only certificate authorities that are trusted for the server and its issuer; those of the system when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<String>,
    /// Whether tokens of an issuer are refused that takes none back (RFC 7009). With `false`, they live on until they end by themselves.
    pub(crate) revocable: bool,
}

impl Default for RawMcp {
    fn default() -> Self {
        Self {
            issuers: None,
            client_id: None,
            client_secret_file: None,
            client_metadata_url: None,
            register: false,
            roots: None,
            revocable: true,
        }
    }
}
