//! What another configuration changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ids that another configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// New ones.
    pub added: Vec<String>,
    /// Ones that are otherwise now.
    pub changed: Vec<String>,
    /// Ones that are no longer there.
    pub removed: Vec<String>,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Another configuration is in force.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// The epoch.
    pub id: String,
    /// Always `applied`.
    pub state: String,
    /// Counts the configurations since the start.
    pub epoch: u64,
    /// The digest over its files.
    pub digest: String,
    /// The digest of the policies before.
    pub policy_before: String,
    /// The digest of the policies.
    pub policy: String,
    /// The agents.
    pub agents: Changed,
    /// The connectors.
    pub connectors: Changed,
    /// The grants of the configuration.
    pub grants: Changed,
    /// Other keys that changed.
    pub settings: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
    /// Grants that had ended by themselves, and are issued anew.
    pub reissued: Vec<String>,
    /// Grants that stay ended because somebody ended them.
    pub stay_ended: Vec<String>,
    /// Connectors of which no tool was accepted.
    pub unpinned: Vec<String>,
    /// Tools that keep their prefix though their connectors are to have none: which, and why.
    #[serde(default)]
    pub keep_prefix: Vec<String>,
    /// Why something of it could not be stored, if so.
    pub not_stored: Option<String>,
}

impl Reloaded {
    /// What changed, in one line.
    pub fn summary(&self) -> String {
        let named = |what: &str, changed: &Changed| {
            let signed = |sign: char, ids: &[String]| ids.iter().map(|id| format!("{sign}{id}")).collect::<Vec<_>>();
            let all = [signed('+', &changed.added), signed('~', &changed.changed), signed('-', &changed.removed)].concat();
            (!all.is_empty()).then(|| format!("{what} {}", all.join(" ")))
        };
        let policies = (self.policy != self.policy_before).then(|| "policies".to_owned());
        let parts =
            [named("agents", &self.agents), named("connectors", &self.connectors), named("grants", &self.grants), policies];
        let parts: Vec<String> = parts.into_iter().flatten().chain(self.settings.iter().cloned()).collect();
        if parts.is_empty() { "nothing changed".to_owned() } else { parts.join(", ") }
    }

    /// What is left to do for a person.
    pub fn notes(&self) -> Vec<String> {
        let restart = self.needs_restart.iter().map(|key| format!("needs a restart: {key}"));
        let ended =
            self.stay_ended.iter().map(|id| format!("grant `{id}` was ended by somebody and stays so: choose another id"));
        let pins = self
            .unpinned
            .iter()
            .map(|id| format!("`{id}` has no accepted tool: `bailiwick connectors pin {id}` shows and accepts them"));
        let stored = self.not_stored.iter().map(|why| format!("it is in force, but could not be stored: {why}"));
        let names = self.keep_prefix.iter().cloned();
        restart.chain(ended).chain(pins).chain(names).chain(stored).collect()
    }
}
