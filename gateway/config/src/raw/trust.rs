//! TLS for agents, and the trust domains that speak for them, as written.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `[server.tls]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub(crate) struct RawTls {
    /// Address and port for agents over TLS.
    #[schemars(with = "String", extend("format" = "bailiwick-address"))]
    pub(crate) listen: SocketAddr,
    /// A PEM file with the gateway's own certificate and those above it; relative to this file. Read again when it changes.
    pub(crate) certificate: Option<String>,
    /// A PEM file with its private key; relative to this file. Read again when it changes.
    pub(crate) key: Option<String>,
    /// Whether agents must present a certificate, or may bear a token instead.
    #[schemars(extend("enum" = ["required", "optional"]))]
    pub(crate) client_auth: String,
}

/// `[[trust_domains]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub(crate) struct RawTrustDomain {
    /// Its name, such as `example.org`.
    pub(crate) name: Option<String>,
    /// A file with its bundle: a SPIFFE bundle or PEM; relative to this file. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bundle_file: Option<String>,
    /// Its bundle endpoint (profile `https_web`). Instead of `bundle_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bundle_url: Option<String>,
    /// With `bundle_url`: a PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<String>,
    /// How long the bundle counts while it can't be read again. Then nobody of the domain is believed.
    pub(crate) max_stale: Duration,
}

impl Default for RawTls {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 8933).into(), certificate: None, key: None, client_auth: "required".to_owned() }
    }
}

impl Default for RawTrustDomain {
    fn default() -> Self {
        Self { name: None, bundle_file: None, bundle_url: None, ca_file: None, max_stale: Duration::from_secs(60 * 60) }
    }
}
