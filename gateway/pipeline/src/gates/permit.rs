//! The organization's rules: Allow, allowed once a person approves, or Deny.

use std::sync::Arc;

use bailiwick_policy::{CallFacts, Decision, Obligations, Requirement, Rule};
use serde_json::Value;

use super::{Granted, Validated};
use crate::{
    catalogue::Tool,
    grant::{LiveGrant, Standing},
    ports::Ports,
    prepared::AskCall,
    received::Origin,
    refusal::Refusal,
    way::Way,
};

/// A call that policy allows, perhaps once a person approves.
pub struct Permitted<'r> {
    validated: Validated<'r>,
    needs: Vec<Requirement>,
    obligations: Obligations,
    moment: Moment,
}

/// What policies read of a task and of the clock, and what may be otherwise by the commit.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) standing: Standing,
    pub(super) hour: u8,
}

impl Moment {
    /// The task at this standing, at this time.
    pub(super) fn at(standing: Standing, now_ms: u64) -> Self {
        Self { standing, hour: hour_of_day(now_ms) }
    }
}

impl<'r> Permitted<'r> {
    /// The evidence before this.
    pub fn validated(&self) -> &Validated<'r> {
        &self.validated
    }

    /// What a person must approve first; empty if nothing.
    pub fn needs(&self) -> &[Requirement] {
        &self.needs
    }

    /// What the rules that let it go demand beside.
    pub fn obligations(&self) -> &Obligations {
        &self.obligations
    }

    /// What the decision read of the task and of the clock.
    pub(super) fn moment(&self) -> Moment {
        self.moment
    }
}

/// Asks the policies.
pub fn permit<'r>(call: Validated<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Permitted<'r>, Refusal> {
    let stage = way.enter("permit", "bailiwick.policy.evaluate", ports);
    let world = call.granted().world();
    let moment = Moment::at(call.granted().grant().glance(), ports.clock.now_ms());
    let decision = decide(&call, moment)?;
    way.seen.policy_digest = Some(world.policy_digest.clone());
    way.trace.note(stage, "bailiwick.policy.version", world.policy_digest.clone());
    let (needs, determining, obligations) = match decision.as_ref() {
        Decision::Allow { determining, obligations } => (Vec::new(), determining, obligations),
        Decision::StepUp { labels, determining, obligations } => (labels.clone(), determining, obligations),
        Decision::Deny { determining, cause } => {
            way.trace.note(stage, "bailiwick.decision", "deny");
            way.trace.note(stage, "bailiwick.policy.rule.id", ids(determining).join(","));
            return Err(Refusal::denied(determining, cause));
        }
    };
    way.trace.note(stage, "bailiwick.decision", if needs.is_empty() { "allow" } else { "escalate" });
    way.seen.rules = ids(determining);
    way.trace.note(stage, "bailiwick.policy.rule.id", way.seen.rules.join(","));
    way.seen.obligations = obligations.words();
    way.leave(stage, ports);
    let call = Permitted { validated: call, needs, obligations: obligations.clone(), moment };
    way.seen.needs = super::approve::needs_of(&call);
    Ok(call)
}

/// Whether the policies say the same of the call now: other calls may have counted, or another hour begun, since they were asked.
pub(super) fn still_permits(call: &Permitted<'_>, now: Moment) -> bool {
    match decide(&call.validated, now).as_deref() {
        Ok(Decision::Allow { obligations, .. }) => call.needs.is_empty() && *obligations == call.obligations,
        Ok(Decision::StepUp { labels, obligations, .. }) => *labels == call.needs && *obligations == call.obligations,
        Ok(Decision::Deny { .. }) | Err(_) => false,
    }
}

fn decide(call: &Validated<'_>, moment: Moment) -> Result<Arc<Decision>, Refusal> {
    let granted = call.granted();
    ask(granted, granted.tool(), call.arguments(), moment)
        .ok_or_else(|| Refusal::internal("the grant can't be put before the policies"))
}

/// What the policies say of this tool, or of a question asked by this right, during a call. None where they can't be asked, which denies.
pub(super) fn ask(granted: &Granted<'_>, tool: &Tool, arguments: &Value, moment: Moment) -> Option<Arc<Decision>> {
    let (grant, world) = (granted.grant(), granted.world());
    let decided = |grant: &LiveGrant, moment| {
        let facts = facts(grant, granted.identified().received().origin(), moment);
        Some(grant.prepared(world)?.decide(world, tool, &AskCall { facts: &facts, arguments }))
    };
    let mut decision = decided(grant, moment)?;
    // INVARIANT: nobody gains by a hop what whoever handed the task on lacks: each of them is asked about as if it made the call.
    for above in grant.chain().skip(1) {
        decision = stricter(decision, decided(above, Moment { standing: above.glance(), ..moment })?);
    }
    Some(decision)
}

/// What two decisions come to where both must hold.
pub(crate) fn stricter(one: Arc<Decision>, other: Arc<Decision>) -> Arc<Decision> {
    let both = |own: &Obligations, others: &Obligations| {
        let mut all = own.clone();
        all.join(others);
        all
    };
    match (one.as_ref(), other.as_ref()) {
        (Decision::Deny { .. }, _) => one,
        (_, Decision::Deny { .. }) => other,
        (_, Decision::Allow { obligations, .. }) if obligations.is_empty() => one,
        (Decision::Allow { obligations, .. }, Decision::StepUp { .. }) if obligations.is_empty() => other,
        (Decision::Allow { determining, obligations }, Decision::Allow { obligations: more, .. }) => {
            Arc::new(Decision::Allow { determining: determining.clone(), obligations: both(obligations, more) })
        }
        (Decision::Allow { obligations: own, .. }, Decision::StepUp { labels, determining, obligations })
        | (Decision::StepUp { labels, determining, obligations }, Decision::Allow { obligations: own, .. }) => {
            let obligations = both(obligations, own);
            Arc::new(Decision::StepUp { labels: labels.clone(), determining: determining.clone(), obligations })
        }
        (
            Decision::StepUp { labels, determining, obligations },
            Decision::StepUp { labels: more, determining: others, obligations: further },
        ) => {
            let union = |own: &[Requirement], others: &[Requirement]| {
                let new = others.iter().filter(|need| !own.contains(need));
                own.iter().chain(new).cloned().collect::<Vec<_>>()
            };
            let rules = determining.iter().chain(others.iter().filter(|rule| !determining.iter().any(|own| own.id == rule.id)));
            Arc::new(Decision::StepUp {
                labels: union(labels, more),
                determining: rules.cloned().collect(),
                obligations: both(obligations, further),
            })
        }
    }
}

/// What policies may know of a call under this grant, beside its arguments.
pub(super) fn facts<'a>(grant: &'a LiveGrant, origin: &Origin, Moment { standing, hour }: Moment) -> CallFacts<'a> {
    CallFacts {
        environment: &grant.terms().environment,
        calls_in_task: standing.calls,
        writes_in_task: standing.writes,
        untrusted_input: standing.labels.untrusted,
        confidential: standing.labels.confidential,
        approvals: &[],
        transport: origin.transport.as_str(),
        era: origin.protocol.as_str(),
        hour,
    }
}

fn ids(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.to_string()).collect()
}

/// 0 to 23, UTC.
pub(crate) fn hour_of_day(now_ms: u64) -> u8 {
    u8::try_from(now_ms / 3_600_000 % 24).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::hour_of_day;

    #[test]
    fn the_hour_is_utc() {
        assert_eq!(hour_of_day(0), 0);
        assert_eq!(hour_of_day(3_599_999), 0);
        assert_eq!(hour_of_day(3_600_000 * 23), 23);
        assert_eq!(hour_of_day(86_400_000 * 20_000 + 3_600_000 * 5 + 1), 5);
    }
}
