use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `svid_file` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "trust_domain"]))]
pub(crate) struct RawSvidFile {
    /// The file in which an agent of the machine, such as `spiffe-helper`, keeps a JWT-SVID fresh; readable by the gateway only, relative to
    /// this file. For the one audience that a connector names.
    pub(crate) path: Option<String>,
    /// The trust domain of its subject, such as `example.org`.
    pub(crate) trust_domain: Option<String>,
}
