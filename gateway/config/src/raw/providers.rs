//! Where credentials come from, as written.

mod exec;
mod mcp;
mod svid_file;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use exec::RawExec;
pub(crate) use mcp::RawMcp;
pub(crate) use svid_file::RawSvidFile;

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
    /// A program that makes credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exec: Option<RawExec>,
    /// A JWT-SVID of SPIFFE in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) svid_file: Option<RawSvidFile>,
    /// The authorization servers of MCP servers, at which owners consent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mcp: Option<RawMcp>,
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
