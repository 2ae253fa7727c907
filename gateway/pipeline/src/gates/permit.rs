//! The organization's rules: Allow, allowed once a person approves, or Deny.

use std::sync::Arc;

use bailiwick_policy::{Ask, CallFacts, Decision, Differs, Requirement, Rule};
use serde_json::Value;

use super::{Granted, Validated};
use crate::{
    catalogue::Tool,
    destination::{Sending, flow_of},
    grant::{LiveGrant, Standing},
    ports::Ports,
    prepared::AskCall,
    received::Origin,
    records::{Asked, AskedAbove},
    refusal::Refusal,
    way::{Way, caught},
};

/// A call that policy allows, perhaps once a person approves.
pub struct Permitted<'r> {
    validated: Validated<'r>,
    needs: Vec<Requirement>,
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
    way.seen.flow = flow_of(call.granted().tool(), call.arguments(), moment.standing.labels);
    way.seen.policy_digest = Some(world.policy_digest.clone());
    way.seen.asked = asked(&call, moment, &decision);
    if world.policies.watches(call.granted().tool().name.as_str()) {
        way.seen.shadow = watched(&call, moment, &decision);
    }
    way.trace.note(stage, "bailiwick.policy.version", world.policy_digest.clone());
    let (needs, determining) = match decision.as_ref() {
        Decision::Allow { determining } => (Vec::new(), determining),
        Decision::StepUp { labels, determining } => (labels.clone(), determining),
        Decision::Deny { determining, cause } => {
            way.trace.note(stage, "bailiwick.decision", "deny");
            way.trace.note(stage, "bailiwick.policy.rule.id", ids(determining).join(","));
            return Err(Refusal::denied(determining, cause));
        }
    };
    way.trace.note(stage, "bailiwick.decision", if needs.is_empty() { "allow" } else { "escalate" });
    way.seen.rules = ids(determining);
    way.trace.note(stage, "bailiwick.policy.rule.id", way.seen.rules.join(","));
    way.leave(stage, ports);
    let call = Permitted { validated: call, needs, moment };
    way.seen.needs = super::approve::needs_of(&call);
    Ok(call)
}

/// Whether the policies say the same of the call now: other calls may have counted, or another hour begun, since they were asked.
pub(super) fn still_permits(call: &Permitted<'_>, now: Moment) -> bool {
    match decide(&call.validated, now).as_deref() {
        Ok(Decision::Allow { .. }) => call.needs.is_empty(),
        Ok(Decision::StepUp { labels, .. }) => *labels == call.needs,
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
    let sending = Sending::of(tool, arguments);
    let decided = |grant: &LiveGrant, moment| {
        let facts = facts(grant, granted.identified().received().origin(), moment, &sending);
        Some(grant.prepared(world)?.decide(world, tool, &AskCall { facts: &facts, arguments }))
    };
    let mut decision = decided(grant, moment)?;
    // INVARIANT: nobody gains by a hop what whoever handed the task on lacks: each of them is asked about as if it made the call.
    for above in grant.chain().skip(1) {
        decision = stricter(decision, decided(above, Moment { standing: above.glance(), ..moment })?);
    }
    Some(decision)
}

/// What the policies were asked, for the record.
fn asked(call: &Validated<'_>, moment: Moment, decision: &Decision) -> Option<Asked> {
    let granted = call.granted();
    let (world, tool, input) = (granted.world(), granted.tool().name.as_str(), call.arguments());
    let origin = granted.identified().received().origin();
    let read = |grant: &LiveGrant, moment| {
        let prepared = grant.prepared(world)?;
        let ask = Ask { tool, grant: prepared.facts(), call: &facts(grant, origin, moment), input };
        Some(world.policies.snapshot(&ask))
    };
    let grant = granted.grant();
    let above = grant.chain().skip(1).map(|above| {
        let read = read(above, Moment { standing: above.glance(), ..moment })?;
        Some(AskedAbove { grant: above.terms().id.to_string(), call: read.call })
    });
    let above = above.collect::<Option<Vec<_>>>()?;
    Some(Asked { policy: decision.effect().to_owned(), read: read(grant, moment)?, above })
}

/// What rules that are only watched would have decided otherwise, of the grant itself. Nothing follows from it: not even a panic of theirs
/// touches the call.
fn watched(call: &Validated<'_>, moment: Moment, decision: &Decision) -> Vec<Differs> {
    let granted = call.granted();
    let (world, grant, input) = (granted.world(), granted.grant(), call.arguments());
    let origin = granted.identified().received().origin();
    let differs = caught(|| {
        let prepared = grant.prepared(world)?;
        let call = facts(grant, origin, moment);
        let ask = Ask { tool: granted.tool().name.as_str(), grant: prepared.facts(), call: &call, input };
        Some(world.policies.differs(&ask, decision))
    });
    differs.ok().flatten().unwrap_or_default()
}

/// What two decisions come to where both must hold.
pub(crate) fn stricter(one: Arc<Decision>, other: Arc<Decision>) -> Arc<Decision> {
    match (one.as_ref(), other.as_ref()) {
        (Decision::Deny { .. }, _) | (_, Decision::Allow { .. }) => one,
        (_, Decision::Deny { .. }) | (Decision::Allow { .. }, Decision::StepUp { .. }) => other,
        (Decision::StepUp { labels, determining }, Decision::StepUp { labels: more, determining: others }) => {
            let union = |own: &[Requirement], others: &[Requirement]| {
                let new = others.iter().filter(|need| !own.contains(need));
                own.iter().chain(new).cloned().collect::<Vec<_>>()
            };
            let rules = determining.iter().chain(others.iter().filter(|rule| !determining.iter().any(|own| own.id == rule.id)));
            Arc::new(Decision::StepUp { labels: union(labels, more), determining: rules.cloned().collect() })
        }
    }
}

/// What policies may know of a call under this grant, beside its arguments.
pub(super) fn facts<'a>(
    grant: &'a LiveGrant,
    origin: &Origin,
    Moment { standing, hour }: Moment,
    sending: &'a Sending,
) -> CallFacts<'a> {
    CallFacts {
        environment: &grant.terms().environment,
        calls_in_task: standing.calls,
        writes_in_task: standing.writes,
        untrusted_input: standing.labels.is_untrusted(),
        confidential: standing.labels.is_confidential(),
        labels: standing.labels,
        destination: &sending.text,
        destination_host: &sending.host,
        destination_hosts: &sending.hosts,
        external: sending.is_external,
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
