//! A GitHub App, as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `github` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["app", "installation", "key_file"]))]
pub(crate) struct RawGitHub {
    /// The app's client id, or its id.
    pub(crate) app: Option<String>,
    /// The id of its installation.
    #[schemars(range(min = 1))]
    pub(crate) installation: Option<u64>,
    /// The PEM file with the app's private key, readable by the gateway only.
    pub(crate) key_file: Option<String>,
    /// The API: `https://api.github.com` when it is not set; `https://HOST/api/v3` of a GitHub Enterprise Server.
    pub(crate) api_url: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
}
