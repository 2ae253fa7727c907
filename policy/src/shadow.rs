//! Rules that are only watched: what they would have decided, beside what was decided.

use serde::Serialize;

use crate::decision::Decision;
use crate::facts::Ask;
use crate::policies::Policies;

/// What rules that are only watched would have decided otherwise. Nothing follows from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Differs {
    /// The rules that would have decided: ids, joined by commas. Those of a whole bundle in shadow begin with `candidate:`.
    pub policy: String,
    /// What was decided: `allow`, `step_up` or `deny`.
    pub from: &'static str,
    /// What would have been.
    pub to: &'static str,
}

impl Policies {
    /// Whether rules that are only watched may have something to say about this tool.
    pub fn watches(&self, tool: &str) -> bool {
        self.shadows(tool) || self.candidate().is_some_and(|candidate| candidate.is_ok())
    }

    /// What rules that are only watched would have decided otherwise than was decided about this call: those in shadow, and those of
    /// the bundle in shadow, each by themselves.
    pub fn differs(&self, ask: &Ask<'_>, decided: &Decision) -> Vec<Differs> {
        let own = self.decide_with_shadow(ask).and_then(|would| {
            let is_shadow = |id: &str| self.rule_facts(id).is_some_and(|facts| facts.shadow);
            difference(decided, &would, "", is_shadow)
        });
        let candidate = self.candidate().and_then(Result::ok);
        let others = candidate.and_then(|candidate| difference(decided, &candidate.decide(ask), "candidate:", |_| true));
        own.into_iter().chain(others).collect()
    }
}

fn difference(decided: &Decision, would: &Decision, prefix: &str, counts: impl Fn(&str) -> bool) -> Option<Differs> {
    let (from, to) = (decided.effect(), would.effect());
    if from == to {
        return None;
    }
    let rules: Vec<&str> = would.determining().iter().map(|rule| &*rule.id).filter(|id| counts(id)).collect();
    // Where the silence of all rules decides, no rule is named.
    let policy = if rules.is_empty() { format!("{prefix}-") } else { format!("{prefix}{}", rules.join(",")) };
    Some(Differs { policy, from, to })
}
