//! Where credentials come from, and what of them a connector is lent, checked.

mod exec;
mod mcp;
mod svid_file;

use std::{path::PathBuf, time::Duration};

use bailiwick_pipeline::ports::Access;
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
#[non_exhaustive]
pub enum ProviderKind {
    /// An OpenBao or Vault server.
    OpenBao(OpenBao),
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
    /// The file of the gateway's own token.
    pub token_file: PathBuf,
}

/// What of an issuer's a connector is lent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lending {
    /// The issuer, one of `[[providers]]`.
    pub provider: String,
    /// A role at it.
    pub role: Option<ByAccess<String>>,
    /// For whom.
    pub audience: Option<String>,
    /// Scopes of it.
    pub scopes: Option<ByAccess<Vec<String>>>,
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
            Self::Exec(_) => "exec",
            Self::SvidFile(_) => "svid_file",
            Self::Mcp(_) => "mcp",
        }
    }
}
