//! The rules that matter to one tool, and the part of them that is known before any call.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::pst::{self, ActionConstraint, Clause, Effect, PstConstructionError, StaticPolicy};
use cedar_policy::{Policy, PolicySet, PolicySetError};

use crate::bounds::{at_least, at_most, constant};
use crate::catalogue::{AUTO_GRANT, Tool};
use crate::load::{LoadedRule, applies, names};
use crate::reads::Reads;

/// Rules in the form that Cedar evaluates, with what they look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) set: PolicySet,
    pub(crate) reads: Reads,
}

/// The rules that can apply to a tool.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// The rules in force.
    pub(crate) enforced: Rules,
    /// The same and those in shadow; `None` when none is.
    pub(crate) shadow: Option<Rules>,
    /// What the rules in force say whatever the call: an upper bound of them.
    pub(crate) projected: Rules,
}

impl Slice {
    /// Whether a condition of any rule mentions `action`.
    pub(crate) fn mentions_action(&self) -> bool {
        let shadow = self.shadow.iter().map(|rules| &rules.reads);
        [&self.enforced.reads, &self.projected.reads].into_iter().chain(shadow).any(Reads::action)
    }
}

/// Why rules could not be put into the form that Cedar evaluates. Not seen on rules that passed validation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SliceError {
    #[error(transparent)]
    Construction(#[from] PstConstructionError),
    #[error(transparent)]
    Set(#[from] Box<PolicySetError>),
}

/// A rule prepared for slices.
struct Prepared {
    /// The rule without its action scope: within a slice it is known to be met, so no decision has to look up groups.
    full: Policy,
    full_body: pst::Template,
    projected: Option<(Policy, pst::Template)>,
    shadow: bool,
}

/// A slice for each tool, in their order. Tools with the same rules share one.
pub(crate) fn slices(rules: &[LoadedRule], tools: &[Tool]) -> Result<Vec<Arc<Slice>>, SliceError> {
    let prepared: Vec<Prepared> = rules.iter().map(prepare).collect::<Result<_, _>>()?;
    let scopes: Vec<_> = rules.iter().map(|rule| rule.policy.action_constraint()).collect();
    let mut made: HashMap<Vec<usize>, Arc<Slice>> = HashMap::new();
    let mut slices = Vec::with_capacity(tools.len());
    for tool in tools {
        // INVARIANT: no agent gets a grant by itself because a rule permits everything: a permit has to name that.
        let counts = |rule: &Prepared, scope: &cedar_policy::ActionConstraint| {
            applies(scope, tool) && (tool.name != AUTO_GRANT || rule.full_body.effect == Effect::Forbid || names(scope, tool))
        };
        let all = prepared.iter().enumerate().zip(&scopes);
        let matching: Vec<(usize, &Prepared)> =
            all.filter(|((_, rule), scope)| counts(rule, scope)).map(|(rule, _)| rule).collect();
        let key: Vec<usize> = matching.iter().map(|(index, _)| *index).collect();
        let slice = if let Some(slice) = made.get(&key) {
            Arc::clone(slice)
        } else {
            let candidates: Vec<&Prepared> = matching.iter().map(|(_, rule)| *rule).collect();
            let slice = Arc::new(slice_of(&candidates)?);
            made.insert(key, Arc::clone(&slice));
            slice
        };
        slices.push(slice);
    }
    Ok(slices)
}

fn prepare(rule: &LoadedRule) -> Result<Prepared, SliceError> {
    let mut body = rule.body.clone().with_id(rule.policy.id().clone().into());
    body.action = ActionConstraint::Any;
    let projected = match project(&body)? {
        Some(projection) => Some((policy_of(&projection)?, projection)),
        None => None,
    };
    Ok(Prepared { full: policy_of(&body)?, full_body: body, projected, shadow: rule.facts.shadow })
}

fn policy_of(body: &pst::Template) -> Result<Policy, SliceError> {
    let fixed = StaticPolicy::try_from(body.clone()).map_err(PstConstructionError::from)?;
    Ok(Policy::from_pst(fixed.into())?)
}

fn slice_of(rules: &[&Prepared]) -> Result<Slice, SliceError> {
    let full = |rule: &&Prepared| (rule.full.clone(), rule.full_body.clone());
    let in_force = || rules.iter().copied().filter(|rule| !rule.shadow);
    let shadow = if rules.iter().any(|rule| rule.shadow) { Some(rules_of(rules.iter().map(full))?) } else { None };
    Ok(Slice {
        enforced: rules_of(in_force().map(|rule| full(&rule)))?,
        shadow,
        projected: rules_of(in_force().filter_map(|rule| rule.projected.clone()))?,
    })
}

fn rules_of(rules: impl Iterator<Item = (Policy, pst::Template)>) -> Result<Rules, SliceError> {
    let mut made = Rules::default();
    for (policy, body) in rules {
        made.reads.add_rule(&body);
        made.set.add(policy).map_err(Box::new)?;
    }
    Ok(made)
}

/// What a rule says before anything is known about the call: a permit as much as it could ever permit, a forbid as little as it
/// forbids in any case. None where that is nothing. So the projection permits whatever the rules permit, and forbids no more: callable means
/// listed.
fn project(body: &pst::Template) -> Result<Option<pst::Template>, SliceError> {
    let is_permit = body.effect == Effect::Permit;
    let mut kept = Vec::new();
    for clause in body.clauses() {
        // What is in the way of a permit is least in its way, and the other way round.
        let (bound, met) = match clause {
            Clause::When(condition) if is_permit => (at_most(condition), true),
            Clause::When(condition) => (at_least(condition), true),
            Clause::Unless(condition) if is_permit => (at_least(condition), false),
            Clause::Unless(condition) => (at_most(condition), false),
        };
        match constant(&bound) {
            Some(value) if value == met => {}
            Some(_) => return Ok(None),
            None if met => kept.push(Clause::When(bound)),
            None => kept.push(Clause::Unless(bound)),
        }
    }
    Ok(Some(body.clone().try_with_clauses(kept)?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use cedar_policy::Policy;

    use super::{policy_of, project};

    fn projection(rule: &str) -> Option<String> {
        let policy = Policy::parse(None, format!("{rule};")).unwrap();
        let projected = project(policy.to_pst().unwrap().body()).unwrap()?;
        let text = policy_of(&projected).unwrap().to_string();
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_permit_keeps_what_is_known_before_the_call() {
        let scope = "(principal in Foo::\"a\", action == Action::\"b\", resource is Bar)";
        for (conditions, kept) in [
            ("", ""),
            ("when { principal.depth > -9223372036854775807 }", "when { principal.depth > (-9223372036854775807) }"),
            ("when { context.call.hour > 9 }", ""),
            ("when { principal.a && context.b && principal.c }", "when { principal.a && principal.c }"),
            ("when { (principal.a && context.b) && (context.c && principal.d) }", "when { principal.a && principal.d }"),
            ("when { principal.a || context.b }", ""),
            ("when { principal.a || principal.b }", "when { principal.a || principal.b }"),
            ("when { principal.a || (principal.b && context.c) }", "when { principal.a || principal.b }"),
            ("when { !(principal.a || context.b) }", "when { !principal.a }"),
            ("when { if principal.a then context.b else principal.c }", "when { if principal.a then true else principal.c }"),
            ("when { if context.a then principal.b else principal.c }", "when { principal.b || principal.c }"),
            ("unless { principal.a || context.b || principal.c }", "unless { principal.a || principal.c }"),
            ("unless { principal.a && context.b }", ""),
            ("unless { principal.a && principal.b }", "unless { principal.a && principal.b }"),
            ("when { context.a } unless { principal.b }", "unless { principal.b }"),
        ] {
            let found = projection(&format!("permit {scope} {conditions}")).unwrap();
            let found = found.replace("( ", "(").replace(" )", ")");
            assert_eq!(found, format!("permit{scope} {kept};").replace(" ;", ";"), "{conditions}");
        }
        assert_eq!(projection(&format!("permit {scope} when {{ false && context.a }}")), None);
        assert_eq!(projection(&format!("permit {scope} when {{ false }}")), None);
    }

    #[test]
    fn a_forbid_is_kept_as_far_as_no_call_lifts_it() {
        let scope = "(principal, action, resource)";
        for (conditions, kept) in [
            ("", Some("")),
            ("when { principal.a } unless { principal.b }", Some("when { principal.a } unless { principal.b }")),
            ("when { principal.a && context.b }", None),
            ("when { principal.a || context.b }", Some("when { principal.a }")),
            ("when { principal.a } unless { context.b }", None),
            ("when { principal.a } unless { principal.b && context.c }", Some("when { principal.a } unless { principal.b }")),
            ("when { if context.a then principal.b else principal.c }", Some("when { principal.b && principal.c }")),
        ] {
            let found = projection(&format!("forbid {scope} {conditions}"));
            let found = found.map(|found| found.replace("( ", "(").replace(" )", ")"));
            let kept = kept.map(|kept| format!("forbid{scope} {kept};").replace(" ;", ";"));
            assert_eq!(found, kept, "{conditions}");
        }
    }
}
