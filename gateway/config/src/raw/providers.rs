//! Where credentials come from, as written.

mod aws;
mod github;
mod oauth;

pub(crate) use aws::RawAws;
pub(crate) use github::RawGitHub;
pub(crate) use oauth::RawOAuth;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub(crate) struct RawProvider {
    /// Its id, by which connectors name it.
    pub(crate) id: Option<String>,
    /// An OpenBao or Vault server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) openbao: Option<RawOpenBao>,
    /// An OAuth 2.0 authorization server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oauth: Option<RawOAuth>,
    /// A GitHub App.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) github: Option<RawGitHub>,
    /// Roles of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aws: Option<RawAws>,
}

/// `openbao` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url", "token_file"]))]
pub(crate) struct RawOpenBao {
    /// Its address, with `https`; with `http` on this machine only.
    pub(crate) url: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
    /// Its namespace, where it has such.
    pub(crate) namespace: Option<String>,
    /// The file with the gateway's own token, readable by the gateway only; relative to this file. Read again for each credential. It makes a
    /// child token for each task.
    pub(crate) token_file: Option<String>,
}
