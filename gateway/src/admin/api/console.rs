//! Links to the console.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A one-time link is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkWanted {
    /// For whom; it may be left out where there is one person.
    #[serde(default)]
    pub person: Option<String>,
    /// Whether they have passkeys and can't use them: then one is added by it without showing another.
    #[serde(default)]
    pub recover: bool,
}

/// A one-time link. Whoever opens it first is let in as this person.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct LinkMade {
    /// The person.
    pub id: String,
    /// The link.
    pub url: String,
}
