//! Two bundles over the same tools: what one lets go that the other does not, each with a request that shows it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::pst::Template;

use crate::decision::{Confirm, Decision};
use crate::facts::{ConnectorFacts, GrantFacts};
use crate::policies::{Entry, Policies};
use crate::probe::{self, Probe};

/// So many requests are tried for one tool.
const PER_TOOL: usize = 4096;

/// In which direction a decision changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// It lets go what it did not, or asks people for less.
    Widens,
    /// It lets go less, or asks people for more.
    Narrows,
}

impl Turn {
    /// From one decision to another; none where they come to the same.
    pub fn between(before: &Decision, after: &Decision) -> Option<Self> {
        let rank = |decision: &Decision| match decision {
            Decision::Deny { .. } => 0,
            Decision::StepUp { .. } => 1,
            Decision::Allow { .. } => 2,
        };
        match rank(before).cmp(&rank(after)) {
            std::cmp::Ordering::Less => return Some(Self::Widens),
            std::cmp::Ordering::Greater => return Some(Self::Narrows),
            std::cmp::Ordering::Equal => {}
        }
        // What is demanded beside a yes: what is masked, cut off or kept no more is let go.
        let demanded = |decision: &Decision| -> BTreeSet<String> {
            match decision {
                Decision::Allow { obligations, .. } | Decision::StepUp { obligations, .. } => {
                    obligations.words().into_iter().collect()
                }
                Decision::Deny { .. } => BTreeSet::new(),
            }
        };
        let (old, new) = (demanded(before), demanded(after));
        if !old.is_subset(&new) {
            return Some(Self::Widens);
        }
        if old != new {
            return Some(Self::Narrows);
        }
        let (Decision::StepUp { labels: old, .. }, Decision::StepUp { labels: new, .. }) = (before, after) else { return None };
        let (old, new) = (Asks::of(old), Asks::of(new));
        // Whether `these` demand something that `others` do not.
        let demands_more = |these: &BTreeMap<String, Asks>, others: &BTreeMap<String, Asks>| {
            these.iter().any(|(label, need)| others.get(label).is_none_or(|other| need.is_more_than(other)))
        };
        if demands_more(&old, &new) {
            Some(Self::Widens)
        } else if demands_more(&new, &old) {
            Some(Self::Narrows)
        } else {
            None
        }
    }
}

/// What is asked of people under one label.
struct Asks {
    confirm: Confirm,
    quorum: u32,
    /// How long a yes holds; the gateway's own time where no rule says.
    ttl: Option<std::time::Duration>,
    /// Whether a yes may stand for calls like it.
    remember: bool,
}

impl Asks {
    /// By label, the strictest of each.
    fn of(needs: &[crate::Requirement]) -> BTreeMap<String, Self> {
        let mut asked: BTreeMap<String, Self> = BTreeMap::new();
        for need in needs {
            let crate::Requirement { confirm, quorum, ttl, remember, .. } = *need;
            let known = asked.entry(need.label.to_string()).or_insert(Self { confirm, quorum, ttl, remember });
            known.confirm = known.confirm.max(confirm);
            known.quorum = known.quorum.max(quorum);
            known.ttl = [known.ttl, ttl].into_iter().flatten().min();
            known.remember &= remember;
        }
        asked
    }

    fn is_more_than(&self, other: &Self) -> bool {
        let is_shorter = match (self.ttl, other.ttl) {
            (Some(own), Some(other)) => own < other,
            (own, other) => own.is_some() && other.is_none(),
        };
        self.confirm > other.confirm || self.quorum > other.quorum || is_shorter || (other.remember && !self.remember)
    }
}

/// A change, with a request that shows it.
#[derive(Clone, Debug)]
pub struct Changed {
    /// In which direction.
    pub turn: Turn,
    /// A request that is decided otherwise: of those that show the change the one with the least about it.
    pub example: Probe,
    /// What the old bundle says.
    pub before: Decision,
    /// What the new one says.
    pub after: Decision,
    /// How many of the requests that were tried show it: none where the solver found it.
    pub count: usize,
}

/// What came of holding two bundles against each other.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// The tools whose rules differ.
    pub tools: Vec<String>,
    /// So many requests were put to both.
    pub tried: usize,
    /// What changes: what widens first.
    pub changes: Vec<Changed>,
    /// What differs and was not tried: questions about grants themselves.
    pub untried: Vec<String>,
}

impl Policies {
    /// Holds a newer bundle against this one, over the same tools. `grants` are tried as they are; `recorded` are requests that were made.
    pub fn difference(
        &self,
        newer: &Self,
        grants: &[GrantFacts],
        connectors: &[ConnectorFacts],
        recorded: &[Probe],
    ) -> Difference {
        let mut found = Difference::default();
        let mut changes: BTreeMap<String, (usize, Changed)> = BTreeMap::new();
        let mut names: Vec<&String> = self.entries.keys().collect();
        names.sort();
        for name in names {
            let (Some(old), Some(new)) = (self.entries.get(name), newer.entries.get(name)) else { continue };
            if written(old) == written(new) {
                continue;
            }
            found.tools.push(name.clone());
            let (mut bodies, more) = (probe::bodies(&old.slice.enforced), probe::bodies(&new.slice.enforced));
            bodies.extend(more);
            let axes = probe::axes(&old.tool, &bodies);
            let grants = probe::grants(&bodies, grants);
            let most = (PER_TOOL / grants.len().max(1)).max(64);
            let made_up = grants.iter().flat_map(|grant| probe::samples(&probe::plain(&old.tool, grant), &axes, most));
            for probe in recorded.iter().filter(|probe| probe.tool == *name).cloned().chain(made_up) {
                let Some((before, after)) = self.both(newer, &probe, connectors) else { continue };
                found.tried += 1;
                let Some(turn) = Turn::between(&before, &after) else { continue };
                let plain = probe::plain(&old.tool, &probe.grant);
                let odd = axes.iter().filter(|axis| probe.value(&axis.path) != plain.value(&axis.path)).count();
                // One that was really made says most.
                let odd = if probe.call_id.is_some() { 0 } else { odd + 1 };
                let ids = |decision: &Decision| {
                    let ids: Vec<&str> = decision.determining().iter().map(|rule| &*rule.id).collect();
                    format!("{} {}", decision.effect(), ids.join(","))
                };
                let key = format!("{turn:?} {name} {} → {}", ids(&before), ids(&after));
                let one = Changed { turn, example: probe, before, after, count: 0 };
                let known = changes.entry(key).or_insert_with(|| (odd, one.clone()));
                let count = known.1.count + 1;
                if odd < known.0 {
                    *known = (odd, one);
                }
                known.1.count = count;
            }
        }
        for (what, old, new) in [("delegate", &self.hop, &newer.hop), ("auto_grant", &self.auto_grant, &newer.auto_grant)] {
            if written(old) != written(new) {
                found.untried.push(what.to_owned());
            }
        }
        found.changes = changes.into_values().map(|(_, changed)| changed).collect();
        found.changes.sort_by(|left, right| (left.turn, &left.example.tool).cmp(&(right.turn, &right.example.tool)));
        found
    }

    /// What changes about this one request between this bundle and a newer one, if anything does.
    pub fn changed(&self, newer: &Self, probe: &Probe, connectors: &[ConnectorFacts]) -> Option<Changed> {
        let (before, after) = self.both(newer, probe, connectors)?;
        let turn = Turn::between(&before, &after)?;
        Some(Changed { turn, example: probe.clone(), before, after, count: 0 })
    }

    /// What both say of a request; none where one of them looks at what is not known of it.
    fn both(&self, newer: &Self, probe: &Probe, connectors: &[ConnectorFacts]) -> Option<(Decision, Decision)> {
        let decided = |policies: &Self| {
            let grant = policies.prepare(&probe.grant, connectors).ok()?;
            policies.decide_again(&grant, &probe.tool, &probe.read).ok()
        };
        Some((decided(self)?, decided(newer)?))
    }
}

/// The rules of a tool as they are written, by id.
pub(crate) fn written(entry: &Entry) -> BTreeMap<String, Template> {
    let rules = entry.slice.enforced.set.policies();
    rules.filter_map(|policy| Some((policy.id().to_string(), policy.to_pst().ok()?.body().clone()))).collect()
}
