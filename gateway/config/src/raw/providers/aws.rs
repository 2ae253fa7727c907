//! Roles of AWS, as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `aws` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["region", "access_key_id", "secret_access_key_file"]))]
pub(crate) struct RawAws {
    /// The region whose security token service is asked.
    pub(crate) region: Option<String>,
    /// That service, where it is not `https://sts.REGION.amazonaws.com`.
    pub(crate) endpoint: Option<String>,
    /// The id of the gateway's own keys.
    pub(crate) access_key_id: Option<String>,
    /// The file with the secret of these keys, readable by the gateway only. Read again for each session.
    pub(crate) secret_access_key_file: Option<String>,
    /// The file with their session token, where they are temporary themselves.
    pub(crate) session_token_file: Option<String>,
    /// Tags sessions with `bailiwick:agent`, `bailiwick:grant` and `bailiwick:connector`. A role has to allow it (`sts:TagSession`).
    pub(crate) session_tags: bool,
    /// How long a session lives at most; 1h when it is not set, 12h at most, and a role's own limit stands above it.
    pub(crate) max_ttl: Option<Duration>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
}
