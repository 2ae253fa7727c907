//! Credentials lent to connectors: for one grant and one connector, never longer than the grant.
//!
//! [`Broker`] fills the pipeline's port `Credentials`. A [`Provider`] gives credentials: its issuer makes one when a grant first needs it, and
//! takes it back when the grant ends, whichever way. By what it is taken back is in the [`Book`] before it is used, so that a crash forgets
//! none. What is lent is wiped from memory when the last call that uses it is done, and is never printed: what records and errors carry is
//! the name of a role, a variable or a file.

mod aws;
mod book;
mod broker;
#[cfg(test)]
mod cluster;
mod desk;
mod dpop;
mod exec;
mod github;
mod mcp;
mod mint;
mod moment;
mod oauth;
mod openbao;
mod postgres;
mod provider;
mod secret_file;
mod signing;
mod standing;
#[cfg(test)]
mod stub;
mod svid_file;
mod web;
mod wiped;

pub use aws::{Aws, AwsKeys};
pub use book::{Book, Entry, Event, Record};
pub use broker::{Broker, Guest, Listed, Specs};
pub use desk::{Ended, Standstill};
pub use exec::{Exec, ExecTerms, Program};
pub use github::{GitHub, GitHubPermission};
pub use mcp::{Begun, Consent, ConsentBook, Consented, Consents, OAuthClient, Protected, Returned, Secrets, Who};
pub use oauth::{Bound, ClientAuthentication, OAuth, OAuthPlace, OAuthRequest, OAuthServer, OnBehalf};
pub use openbao::{BaoServer, LentByBao, Login, OpenBao};
pub use postgres::{LentByPostgres, Postgres, PostgresServer};
pub use provider::{CredentialSpec, Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish};
pub use signing::{SignatureAlgorithm, SigningKey};
pub use standing::{EnvSecrets, Standing};
pub use svid_file::SvidFile;
pub use web::{Egress, Web};
