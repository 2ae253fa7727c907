//! Links to the console.

use serde::{Deserialize, Serialize};

/// A one-time link is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkWanted {
    /// For whom; it may be left out where there is one person.
    #[serde(default)]
    pub person: Option<String>,
}

/// A one-time link. Whoever opens it first is let in as this person.
#[derive(Clone, Serialize, Deserialize)]
pub struct LinkMade {
    /// The person.
    pub id: String,
    /// The link.
    pub url: String,
}
