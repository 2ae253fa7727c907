//! Who somebody at the console is, and what they may.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a person may. Each role stands for itself; none holds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees approvals, agents, grants and connectors.
    Viewer,
    /// Decides approvals, within their bounds.
    Approver,
    /// Changes agents, grants, connectors and halts.
    Admin,
    /// Reads the trail.
    Auditor,
}

/// What an approver may decide. Empty where nothing is said: then every connector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The connectors, by id.
    #[serde(default)]
    pub connectors: BTreeSet<String>,
    /// The highest band, as its word; none for `critical`.
    #[serde(default)]
    pub up_to: Option<String>,
}

/// A person who is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Their name at the console.
    pub id: String,
    /// The owners that they are or belong to, as agents and grants name them: they approve nothing of theirs.
    #[serde(default)]
    pub owns: BTreeSet<String>,
    /// Their roles.
    pub roles: BTreeSet<Role>,
    /// What they may decide.
    #[serde(default)]
    pub approves: Bounds,
}

/// Somebody who is logged in, and so may look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// Who.
    pub person: Person,
    /// Their session: a public id, which opens nothing.
    pub session: String,
}

impl Viewer {
    /// Whether they have this role.
    pub fn is(&self, role: Role) -> bool {
        self.person.roles.contains(&role)
    }
}
