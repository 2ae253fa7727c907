use std::path::PathBuf;

use url::Url;

/// Authorization servers at which owners consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mcp {
    /// The only issuers whose tokens are used; those that an admin consented at where there are none.
    pub issuers: Vec<String>,
    /// The gateway's id there, where it was registered by hand.
    pub client_id: Option<String>,
    /// The file with the secret that goes with it.
    pub client_secret_file: Option<PathBuf>,
    /// Where the gateway's client metadata document is.
    pub client_metadata_url: Option<Url>,
    /// Whether the gateway registers itself.
    pub register: bool,
    /// The PEM file of the only authorities that are trusted; those of the system where there is none.
    pub roots: Option<PathBuf>,
    /// Whether tokens are refused that can't be taken back.
    pub revocable: bool,
}
