//! Who somebody at the console is, and what they may.

use std::collections::BTreeSet;

use bailiwick_policy::Band;
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

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Approver, Self::Admin, Self::Auditor];

    /// The word in the configuration and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
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

impl Bounds {
    /// Whether a call of this connector in this band is inside. A word that is no band covers nothing.
    fn cover(&self, connector: &str, band: Band) -> bool {
        let reaches = self.up_to.as_deref().is_none_or(|word| word.parse::<Band>().is_ok_and(|highest| band <= highest));
        reaches && (self.connectors.is_empty() || self.connectors.contains(connector))
    }
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

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// See the approvals: every role has to, to do its work.
    SeeApprovals,
    /// See agents, grants, connectors, policies and halts.
    SeeRegistry,
    /// Read the trail.
    SeeTrail,
    /// Decide a call of this connector, in this band.
    Decide {
        /// The connector, by id.
        connector: &'a str,
        /// How risky the call is.
        band: Band,
    },
    /// Change agents, grants, connectors, pins and halts.
    Change,
    /// End other people's sessions and remove their passkeys.
    ManagePeople,
    /// Add and remove passkeys of their own, and end sessions of their own.
    ManageSelf,
}

/// Somebody may not do what they want to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{person}` may not do this: it takes the role `{takes}`{within}")]
pub struct Forbidden {
    person: String,
    takes: &'static str,
    within: &'static str,
}

impl Person {
    /// Whether they may do this. The one place where roles are judged.
    pub fn may(&self, action: Action<'_>) -> Result<(), Forbidden> {
        let has_one_of = |roles: &[Role]| roles.iter().any(|role| self.roles.contains(role));
        let (is_allowed, takes, within) = match action {
            Action::SeeApprovals | Action::ManageSelf => (!self.roles.is_empty(), "viewer", ""),
            Action::SeeRegistry => (has_one_of(&[Role::Viewer, Role::Admin, Role::Auditor]), "viewer", ""),
            Action::SeeTrail => (has_one_of(&[Role::Auditor]), "auditor", ""),
            Action::Change | Action::ManagePeople => (has_one_of(&[Role::Admin]), "admin", ""),
            Action::Decide { connector, band } => {
                let is_inside = has_one_of(&[Role::Approver]) && self.approves.cover(connector, band);
                (is_inside, "approver", ", for this connector and in this band")
            }
        };
        if is_allowed { Ok(()) } else { Err(Forbidden { person: self.id.clone(), takes, within }) }
    }
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

    /// Whether they may do this; what they may not is answered with a page that says so.
    pub fn may(&self, action: Action<'_>) -> Result<(), Forbidden> {
        self.person.may(action)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Roles against actions, to be read by people: `tests/roles.txt`.
    #[test]
    fn who_may_do_what_is_as_it_was_reviewed() {
        let bounded = |connectors: &[&str], up_to: Option<&str>| Bounds {
            connectors: connectors.iter().map(|&id| id.to_owned()).collect(),
            up_to: up_to.map(str::to_owned),
        };
        let decide = |connector, band| Action::Decide { connector, band };
        let actions = [
            ("see approvals", Action::SeeApprovals),
            ("see registry", Action::SeeRegistry),
            ("see trail", Action::SeeTrail),
            ("decide tickets/high", decide("tickets", Band::High)),
            ("decide tickets/critical", decide("tickets", Band::Critical)),
            ("decide shop/low", decide("shop", Band::Low)),
            ("change", Action::Change),
            ("manage people", Action::ManagePeople),
            ("manage self", Action::ManageSelf),
        ];
        let mut people = vec![("nobody".to_owned(), Vec::new(), Bounds::default())];
        people.extend(Role::ALL.map(|role| (role.as_str().to_owned(), vec![role], Bounds::default())));
        people.push(("approver of tickets".to_owned(), vec![Role::Approver], bounded(&["tickets"], None)));
        people.push(("approver up to high".to_owned(), vec![Role::Approver], bounded(&[], Some("high"))));
        people.push(("approver up to nonsense".to_owned(), vec![Role::Approver], bounded(&[], Some("hihg"))));
        people.push(("all roles".to_owned(), Role::ALL.to_vec(), Bounds::default()));
        let mut table = String::new();
        for (name, roles, approves) in people {
            let person = Person { id: name.clone(), owns: BTreeSet::new(), roles: roles.into_iter().collect(), approves };
            let _infallible = writeln!(table, "{name}");
            for (what, action) in actions {
                let word = if person.may(action).is_ok() { "yes" } else { "-" };
                let _infallible = writeln!(table, "    {what:<24} {word}");
            }
        }
        assert_eq!(table, include_str!("tests/roles.txt"), "{table}");
    }
}
