//! Where credentials come from, as written.

mod aws;
mod exec;
mod github;
mod mcp;
mod oauth;
mod svid_file;

pub(crate) use aws::RawAws;
pub(crate) use github::RawGitHub;
pub(crate) use oauth::RawOAuth;
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
    /// A PostgreSQL server, in which the gateway makes a role for each task itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) postgres: Option<RawPostgres>,
    /// An OAuth 2.0 authorization server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oauth: Option<RawOAuth>,
    /// A GitHub App.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) github: Option<RawGitHub>,
    /// Roles of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aws: Option<RawAws>,
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
#[schemars(extend("required" = ["url"]))]
pub(crate) struct RawOpenBao {
    /// Its address, with `https`; with `http` on this machine only.
    pub(crate) url: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
    /// Its namespace, where it has such.
    pub(crate) namespace: Option<String>,
    /// The file with the gateway's own token, readable by the gateway only; relative to this file. Read again for each credential. Somebody
    /// else keeps it alive. One of this, `role_id` and `jwt_file`.
    pub(crate) token_file: Option<String>,
    /// The id of an AppRole that the gateway logs in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role_id: Option<String>,
    /// The file with its secret id, readable by the gateway only; relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_id_file: Option<String>,
    /// The file with a token of another issuer that the gateway logs in with, such as that of its Kubernetes service account; relative to
    /// this file. Nobody else may change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt_file: Option<String>,
    /// The role to log in as with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_role: Option<String>,
    /// Where the method to log in is mounted; `approle` or `jwt` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_mount: Option<String>,
    /// The token role by which the child tokens are made; without one they are plain children of the gateway's own token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_role: Option<String>,
}

/// `postgres` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(crate) struct RawPostgres {
    /// Where it is, with the user and the database and without a password: `postgresql://bailiwick@db.example/app`. TLS is used but on this
    /// machine.
    pub(crate) url: Option<String>,
    /// The file with that user's password, readable by the gateway only; relative to this file. None where the server knows the user
    /// otherwise, as by its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<String>,
    /// The folder of its socket, in place of the host in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<String>,
}
