//! Agents and their tokens.

use std::{collections::BTreeSet, fmt};

use bailiwick_policy::Band;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DisabledView, shape};

/// An agent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// `active`, `halted` or `disabled`.
    pub state: String,
    /// Who disabled it, where a person did; else the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<DisabledView>,
    /// Who is accountable.
    pub owner: String,
    /// The highest band it may reach.
    #[schemars(with = "shape::Band")]
    pub ceiling: Band,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The only environments that it may have grants for; no bound where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<BTreeSet<String>>,
    /// When a call was made under one of its grants last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_ms: Option<u64>,
    /// The tools of its active grants that were never called under them.
    #[serde(default)]
    pub never_used: Vec<String>,
    /// Its tokens that are good.
    pub tokens: Vec<TokenView>,
    /// Its grants that are active.
    pub grants: Vec<String>,
}

/// An agent's token; never the token itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// When it was made.
    pub created_at_ms: u64,
    /// Until when it is good.
    pub expires_at_ms: u64,
}

/// A token is wanted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// For how long.
    pub ttl_ms: u64,
}

/// A token, told once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// The token.
    pub token: String,
    /// Until when it is good.
    pub expires_at_ms: u64,
}

impl fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMade").field("expires_at_ms", &self.expires_at_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_in_what_is_printed_of_it() {
        let made = TokenMade { token: "ba_canary".to_owned(), expires_at_ms: 7 };
        assert_eq!(format!("{made:?}"), "TokenMade { expires_at_ms: 7, .. }");
    }
}
