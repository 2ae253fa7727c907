//! Detections: loops, chains and small steps that add up, found in what a task has lately called.
//!
//! Of each task the last [`KEPT`] calls are kept, in the task itself; a call that a child grant makes is kept in every task above it, too.
//! Of each agent is kept what must not depend on which of its grants it chooses: amounts, and when it read what must not go out.

mod ring;
mod rules;
mod sealed;
mod sums;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwap;
use bailiwick_schemas::number::Exact;
use serde_json::Value;

use crate::{grant::LiveGrant, ids::AgentId};

pub use self::{
    ring::KEPT,
    rules::{Act, MOST_RULES, Rule, Rules, Sort},
    sealed::{opened_amounts, sealed_amounts},
};
pub(crate) use self::{
    ring::{Became, Entry, History, Unreadable},
    rules::bit,
    sums::{Ledger, Sums},
};

/// What the need of a person is called that a detection makes.
pub const LABEL: &str = "detection";

/// The detections in force, and what is kept of agents for them.
#[derive(Debug, Default)]
pub struct Detections {
    rules: ArcSwap<Rules>,
    ledgers: RwLock<HashMap<AgentId, Arc<Ledger>>>,
    /// Nobody can know what two calls would be the same by it.
    keys: RandomState,
}

impl Detections {
    /// These are looked for from now on; [`MOST_RULES`] at most.
    pub fn set(&self, rules: Vec<Rule>) {
        self.rules.store(Arc::new(Rules::after(&self.rules.load(), rules)));
    }

    /// The detections in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Takes up an amount that is on record from before this process began. `agents` are those whose task it was a part of.
    pub fn recall(&self, agents: &[AgentId], name: &str, at_ms: u64, amount: u64) {
        let rules = self.rules.load();
        let Some(rule) = rules.iter().find(|rule| *rule.name == *name && matches!(rule.sort, Sort::Sum { .. })) else { return };
        for agent in agents {
            if let Ok(mut sums) = self.ledger(agent).sums() {
                sums.add(&rule.name, rule.window_ms, at_ms, amount);
            }
        }
    }

    /// Whether nothing is looked for.
    pub(crate) fn is_idle(&self) -> bool {
        self.rules.load().is_empty()
    }

    /// What is kept of an agent. A grant asks once.
    pub(crate) fn ledger(&self, agent: &AgentId) -> Arc<Ledger> {
        // A panic while it was held leaves a map that is whole.
        if let Some(ledger) = self.ledgers.read().unwrap_or_else(PoisonError::into_inner).get(agent) {
            return Arc::clone(ledger);
        }
        let mut ledgers = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ledgers.entry(agent.clone()).or_default())
    }

    /// A keyed digest of a call: the same for the same tool and arguments, however those are written.
    pub(crate) fn call_key(&self, tool: &str, arguments: &Value) -> u64 {
        let mut hasher = self.keys.build_hasher();
        tool.hash(&mut hasher);
        digest(arguments, &mut hasher);
        hasher.finish()
    }

    /// A keyed digest of a name; never 0.
    pub(crate) fn key(&self, name: &str) -> u64 {
        self.keys.hash_one(name).max(1)
    }

    /// The same in 32 bits.
    pub(crate) fn short_key(&self, name: &str) -> u32 {
        u32::try_from(self.key(name) >> 32).unwrap_or(u32::MAX).max(1)
    }
}

/// Digests a value; the members of an object in the order of their names.
fn digest(value: &Value, hasher: &mut impl Hasher) {
    match value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(yes) => (1_u8, yes).hash(hasher),
        // By its value: `1.0` for `1` is no other call.
        Value::Number(number) => match Exact::of(number.as_str()) {
            Some(exact) => (2_u8, exact).hash(hasher),
            None => (6_u8, number.as_str()).hash(hasher),
        },
        Value::String(text) => (3_u8, text).hash(hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(hasher);
            for item in items {
                digest(item, hasher);
            }
        }
        Value::Object(members) => {
            (5_u8, members.len()).hash(hasher);
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, member) in sorted {
                name.hash(hasher);
                digest(member, hasher);
            }
        }
    }
}

/// What is kept of a grant for detections, from its first call on.
pub(crate) struct Watched {
    pub(crate) history: History,
    pub(crate) ledger: Arc<Ledger>,
}

impl Watched {
    pub(crate) fn of(grant: &LiveGrant, detections: &Detections) -> Self {
        Self { history: History::default(), ledger: detections.ledger(&grant.terms().agent) }
    }
}

/// An amount in the arguments of a call; none where it can't be read: it isn't there, or no whole number from 0 on.
pub(crate) fn amount(arguments: &Value, pointer: &str) -> Option<u64> {
    match arguments.pointer(pointer)? {
        // Not by its value: a float may be more than it says.
        Value::Number(number) => number.as_str().parse().ok(),
        _ => None,
    }
}
