//! Where credentials come from, and what of them a connector is lent, checked.

mod exec;
mod issuers;
mod mcp;
mod svid_file;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bailiwick_pipeline::ports::Access;
pub use issuers::{Aws, Bound, GitHub, OAuth, OAuthClient, OAuthPlace, PermissionLevel};
use url::Url;

pub use exec::Exec;
pub use mcp::Mcp;
pub use svid_file::SvidFile;

/// An issuer of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSpec {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: ProviderKind,
}

/// What an issuer of credentials is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// An OpenBao or Vault server.
    OpenBao(OpenBao),
    /// A PostgreSQL server.
    Postgres(Postgres),
    /// An OAuth 2.0 authorization server.
    OAuth(OAuth),
    /// A GitHub App.
    GitHub(GitHub),
    /// A security token service of AWS.
    Aws(Aws),
    /// A program that makes credentials.
    Exec(Exec),
    /// A JWT-SVID in a file.
    SvidFile(SvidFile),
    /// Authorization servers at which owners consent.
    Mcp(Mcp),
}

/// An OpenBao or Vault server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBao {
    /// Where it is.
    pub url: Url,
    /// The PEM file of the only authorities that are trusted for it; those of the system where there is none.
    pub roots: Option<PathBuf>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// How the gateway proves itself.
    pub login: BaoLogin,
    /// The token role by which child tokens are made.
    pub token_role: Option<String>,
}

/// How the gateway proves itself to an OpenBao or Vault server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaoLogin {
    /// By a token in this file.
    Token(PathBuf),
    /// By an AppRole.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
    },
    /// By a token of another issuer.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role to log in as.
        role: String,
        /// The file with the token.
        file: PathBuf,
    },
}

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// As whom the gateway logs in.
    pub user: String,
    /// The file with that user's password.
    pub password_file: Option<PathBuf>,
    /// The folder of its socket.
    pub socket: Option<PathBuf>,
    /// The PEM file of the only authorities that are trusted for it; those of the system where there is none.
    pub roots: Option<PathBuf>,
}

/// What of an issuer's a connector is lent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lending {
    /// The issuer, one of `[[providers]]`.
    pub provider: String,
    /// A role at it.
    pub role: Option<ByAccess<String>>,
    /// Where a value is kept at it.
    pub path: Option<String>,
    /// The policies of the token that reads it.
    pub policies: ByAccess<Vec<String>>,
    /// Scopes of an access token.
    pub scopes: Option<ByAccess<Vec<String>>>,
    /// For whom an access token is, as its server calls it.
    pub audience: Option<String>,
    /// For whom an access token is.
    pub resource: Option<Url>,
    /// Repositories.
    pub repositories: Vec<String>,
    /// What may be done there.
    pub permissions: Option<ByAccess<BTreeMap<String, PermissionLevel>>>,
    /// The files with the policies that narrow a session.
    pub session_policy: Option<PathBuf>,
    /// The same for tasks that only read.
    pub read_session_policy: Option<PathBuf>,
    /// What a token has to be bound to; nothing where there is none.
    pub bound: Option<Bound>,
    /// Whether a session may live longer than its task.
    pub may_outlive: bool,
    /// For how long at most; as long as the grant lives where there is none.
    pub ttl: Option<Duration>,
}

/// Something for tasks that may change things, and something narrower for those that only read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByAccess<T> {
    /// For every task, where there is nothing narrower.
    pub all: T,
    /// For tasks that only read.
    pub read: Option<T>,
}

impl<T> ByAccess<T> {
    /// What a task with this access is lent.
    pub fn of(&self, access: Access) -> &T {
        match (access, &self.read) {
            (Access::Read, Some(read)) => read,
            _ => &self.all,
        }
    }
}

impl ProviderKind {
    /// The word for it in configuration and records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OpenBao(_) => "openbao",
            Self::Postgres(_) => "postgres",
            Self::OAuth(_) => "oauth",
            Self::GitHub(_) => "github",
            Self::Aws(_) => "aws",
            Self::Exec(_) => "exec",
            Self::SvidFile(_) => "svid_file",
            Self::Mcp(_) => "mcp",
        }
    }
}
