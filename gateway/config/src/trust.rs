//! TLS for agents, and the trust domains that speak for them, checked.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bailiwick_identity::{ClientAuth, TrustDomain};
use url::Url;

/// A listener with TLS for agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The PEM file of the gateway's own certificate, and of those above it.
    pub certificate: PathBuf,
    /// The PEM file of its private key.
    pub key: PathBuf,
    /// Whether agents must present a certificate.
    pub client_auth: ClientAuth,
}

/// A trust domain whose X.509-SVIDs count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedDomain {
    /// Its name.
    pub name: TrustDomain,
    /// Where its bundle is read.
    pub bundle: BundleSource,
    /// How long a bundle counts while it can't be read again.
    pub max_stale: Duration,
}

/// Where a bundle is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleSource {
    /// In a file.
    File(PathBuf),
    /// At a bundle endpoint.
    Endpoint {
        /// Its URL: `https`, or `http` on this machine.
        url: Url,
        /// The PEM file of the only authorities that are trusted for it; those of the system where there is none.
        roots: Option<PathBuf>,
    },
}
