//! The console, and the people who use it, checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bailiwick_identity::LoginSpec;
use bailiwick_policy::Band;
use bailiwick_schemas::names::ConnectorId;
use url::Url;

/// The console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Whether people may log in.
    pub enabled: bool,
    /// The URL by which browsers reach it, if it isn't `http://localhost`.
    pub public_url: Option<Url>,
    /// How long a session lives.
    pub session: Duration,
    /// How long a session may be idle.
    pub idle: Duration,
    /// Where people may log in too.
    pub oidc: Option<OidcSettings>,
}

/// An identity provider that people log in at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// The provider.
    pub provider: LoginSpec,
    /// The claim with roles, and what each of its texts stands for.
    pub roles: Option<(String, BTreeMap<String, BTreeSet<String>>)>,
}

/// A person who is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredPerson {
    /// Their name at the console and on record.
    pub id: String,
    /// What the identity provider calls them.
    pub subject: Option<String>,
    /// The owners that they are or belong to.
    pub owns: BTreeSet<String>,
    /// Their roles, each of `viewer`, `approver`, `admin`, `auditor`.
    pub roles: BTreeSet<String>,
    /// The connectors about which they decide; none for all.
    pub connectors: Option<BTreeSet<ConnectorId>>,
    /// The highest band about which they decide; none for all.
    pub up_to: Option<Band>,
}
