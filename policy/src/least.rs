//! Why a call was refused, in values: what the rules that decided looked at, and the least that would have to be otherwise.

use serde::Serialize;
use serde_json::Value;

use crate::decision::Decision;
use crate::facts::ConnectorFacts;
use crate::policies::Policies;
use crate::probe::{self, Axis, Probe};

/// The most pairs of changes that are tried.
const PAIRS: usize = 3000;

/// Something that a rule looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// What, as rules write it: `context.input.amount`.
    pub path: String,
    /// What stood there; none where nothing did, or it is not on record.
    pub value: Option<Value>,
}

/// Something that would have to be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Otherwise {
    /// What, as rules write it.
    pub path: String,
    /// What stands there.
    pub from: Option<Value>,
    /// What would have to; none where it would have to be left out.
    pub to: Option<Value>,
}

impl Policies {
    /// What these rules looked at of a call, with what stood there.
    pub fn looked_at(&self, rules: &[String], probe: &Probe) -> Vec<Looked> {
        let Some(entry) = self.entries.get(&probe.tool) else { return Vec::new() };
        let bodies = probe::bodies(&entry.slice.enforced);
        let meant = bodies
            .iter()
            .filter(|body| body.annotations.get("id").is_some_and(|id| rules.iter().any(|rule| rule == id.as_str())));
        let is_told =
            |path: &Vec<String>| !path.ends_with(&["approvals".to_owned()]) && path.first().is_none_or(|root| root != "action");
        let paths = probe::looked_at(meant).into_iter().filter(is_told);
        paths.map(|path| Looked { value: probe.value(&path), path: path.join(".") }).collect()
    }

    /// The least that would have to be otherwise for a call that is refused to go: one thing, else two. With what would be decided then:
    /// where nothing lets it go by itself, what a person could approve.
    pub fn least_change(&self, probe: &Probe, connectors: &[ConnectorFacts]) -> Option<(Vec<Otherwise>, Decision)> {
        let entry = self.entries.get(&probe.tool)?;
        let axes = probe::axes(&entry.tool, &probe::bodies(&entry.slice.enforced));
        let decide = |probe: &Probe| {
            let grant = self.prepare(&probe.grant, connectors).ok()?;
            self.decide_again(&grant, &probe.tool, &probe.read).ok()
        };
        let mut second = None;
        let mut tried = |changed: &Probe, axes: &[&Axis]| {
            let decision = decide(changed)?;
            let steps = || {
                let step = |axis: &&Axis| Otherwise {
                    path: axis.path.join("."),
                    from: probe.value(&axis.path),
                    to: changed.value(&axis.path),
                };
                axes.iter().map(step).collect::<Vec<_>>()
            };
            match decision {
                Decision::Allow { .. } => return Some((steps(), decision)),
                Decision::StepUp { .. } if second.is_none() => second = Some((steps(), decision)),
                _ => {}
            }
            None
        };
        let mut ordered: Vec<&Axis> = axes.iter().collect();
        // What the caller says first, then how it stands, then what it was given.
        ordered.sort_by_key(|axis| match axis.path.iter().map(String::as_str).take(2).collect::<Vec<_>>().as_slice() {
            ["context", "input"] => 0,
            ["context", _] => 1,
            _ => 2,
        });
        for axis in &ordered {
            for value in nearest_first(axis, probe) {
                if let Some(found) = tried(&probe.with(&axis.path, value.as_ref()), &[axis]) {
                    return Some(found);
                }
            }
        }
        let mut pairs = 0;
        for (at, one) in ordered.iter().enumerate() {
            for other in ordered.iter().skip(at + 1) {
                for value in nearest_first(one, probe) {
                    let half = probe.with(&one.path, value.as_ref());
                    for value in nearest_first(other, probe) {
                        pairs += 1;
                        if pairs > PAIRS {
                            return second;
                        }
                        if let Some(found) = tried(&half.with(&other.path, value.as_ref()), &[one, other]) {
                            return Some(found);
                        }
                    }
                }
            }
        }
        second
    }
}

/// The values of an axis that are not there now: of numbers the nearest first, and nothing at all last.
fn nearest_first(axis: &Axis, probe: &Probe) -> Vec<Option<Value>> {
    let now = probe.value(&axis.path);
    let number = now.as_ref().and_then(Value::as_i64);
    let mut values: Vec<Option<Value>> = axis.values.iter().filter(|value| **value != now).cloned().collect();
    values.sort_by_key(|value| match (value.as_ref().and_then(Value::as_i64), number) {
        _ if value.is_none() => u64::MAX,
        (Some(value), Some(now)) => value.abs_diff(now),
        _ => 0,
    });
    values
}
