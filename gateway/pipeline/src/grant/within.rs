//! Whether one grant is inside another: decided by what both say, axis by axis, so that it holds for every call that could ever be made.

use std::{collections::BTreeSet, fmt};

use super::{Budget, Capability, Grant, ToolPattern};
use crate::constraint::{Bound, is_domain_within};

/// Where a grant would reach beyond the one that it is handed on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The axis, by the word that requests use.
    pub axis: &'static str,
    /// What is beyond, and what would not be.
    pub why: String,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.axis, self.why)
    }
}

impl Grant {
    /// On which axes this grant would reach beyond that one; empty where it is inside it. Sound, not complete: two rights of the one
    /// above that only together cover one of this are not found.
    ///
    /// What was used of either is not looked at: each call is paid for by the whole chain.
    pub fn excess_over(&self, above: &Self) -> Vec<Excess> {
        let mut found = Vec::new();
        let mut beyond = |axis, is_beyond: bool, why: &dyn Fn() -> String| {
            if is_beyond {
                found.push(Excess { axis, why: why() });
            }
        };
        for capability in &self.capabilities {
            let is_inside = above.capabilities.iter().any(|wider| capability.is_within(wider));
            beyond("tools", !is_inside, &|| {
                format!("`{}`, with its kinds and bounds, is inside no right of it", capability.tools)
            });
        }
        beyond("tools", self.capabilities.is_empty(), &|| "none are named, which allows nothing".to_owned());
        beyond("ceiling", self.ceiling > above.ceiling, &|| format!("`{}` is above `{}`", self.ceiling, above.ceiling));
        beyond("environment", self.environment != above.environment, &|| {
            format!("it is for `{}` and no other", above.environment)
        });
        beyond("not_before", self.not_before_ms < above.not_before_ms, &|| "it would begin before".to_owned());
        beyond("expires_at", self.expires_at_ms > above.expires_at_ms, &|| "it would outlive it".to_owned());
        beyond("idle_timeout", !is_less(self.idle_ms, above.idle_ms), &|| "it may be idle for less long".to_owned());
        beyond("max_rate", !is_less(self.max_rate.map(u64::from), above.max_rate.map(u64::from)), &|| "it is slower".to_owned());
        beyond("delegation_depth", self.delegation_depth >= above.delegation_depth, &|| match above.delegation_depth {
            0 => "it may not be handed on".to_owned(),
            levels => format!("at most {} further", levels.saturating_sub(1)),
        });
        let is_subset = |inner: &Option<BTreeSet<String>>, outer: &Option<BTreeSet<String>>| match (inner, outer) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner.is_subset(outer),
        };
        beyond("data_classes", !is_subset(&self.data_classes, &above.data_classes), &|| listed(above.data_classes.as_ref()));
        let is_sent_within = match (&self.destinations, &above.destinations) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner.iter().all(|domain| is_domain_within(outer, domain)),
        };
        beyond("destinations", !is_sent_within, &|| listed(above.destinations.as_ref()));
        beyond("may_request", self.may_request && !above.may_request, &|| "its agent may not ask for more".to_owned());
        beyond("may_complete", self.may_complete && !above.may_complete, &|| "its agent may not end the task".to_owned());
        for (axis, is_inside) in self.budget.axes_within(&above.budget) {
            beyond(axis, !is_inside, &|| "it has less".to_owned());
        }
        found
    }
}

fn listed(all: Option<&BTreeSet<String>>) -> String {
    let all = all.map(|all| all.iter().map(String::as_str).collect::<Vec<_>>().join(", ")).unwrap_or_default();
    format!("only {all}")
}

/// Whether a limit is no looser than another; none is no limit.
fn is_less(inner: Option<u64>, outer: Option<u64>) -> bool {
    outer.is_none_or(|outer| inner.is_some_and(|inner| inner <= outer))
}

impl Budget {
    /// Axis by axis, whether this budget is inside that one.
    fn axes_within<'b>(&'b self, outer: &'b Self) -> impl Iterator<Item = (&'static str, bool)> {
        // A limit on more tools holds those few as well.
        let is_counted = |(pattern, most): (&ToolPattern, &u64)| {
            self.tools.iter().any(|(own, limit)| own.covers_all(pattern) && limit <= most)
        };
        [
            ("budget.calls", is_less(self.calls, outer.calls)),
            ("budget.writes", is_less(self.writes, outer.writes)),
            ("budget.bytes_out", is_less(self.bytes_out, outer.bytes_out)),
            ("budget.cost", is_less(self.cost, outer.cost)),
            ("budget.tools", outer.tools.iter().all(is_counted)),
        ]
        .into_iter()
    }
}

impl ToolPattern {
    /// Whether everything that the other one means is meant by this one too.
    pub fn covers_all(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Tool(tool)) => self.covers(tool),
            (Self::Connector(own), Self::Connector(other)) => own == other,
            (Self::Tool(_), Self::Connector(_)) => false,
        }
    }
}

impl Capability {
    /// Whether every call that this right admits is admitted by that one.
    pub fn is_within(&self, wider: &Self) -> bool {
        let kinds = match (&self.kinds, &wider.kinds) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(wider)) => own.is_subset(wider),
        };
        let nothing = Bound::default();
        let is_bound = |(pointer, outer): (&String, &Bound)| self.args.get(pointer).unwrap_or(&nothing).is_within(outer);
        kinds && wider.tools.covers_all(&self.tools) && wider.args.iter().all(is_bound)
    }
}

#[cfg(test)]
mod tests;
