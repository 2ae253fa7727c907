//! The organization's rules: Allow, allowed once a person approves, or Deny.

use std::sync::Arc;

use bailiwick_policy::{Ask, Decision, Differs, Requirement, Rule};
use serde_json::Value;

use super::{Granted, Validated};
use crate::{
    catalogue::Tool,
    circumstances::{Minute, Sender, facts},
    destination::{Sending, flow_of},
    grant::{LiveGrant, Standing},
    ports::Ports,
    prepared::AskCall,
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
    pub(super) minute: Minute,
}

impl Moment {
    /// The task at this standing, at this time.
    pub(super) fn at(standing: Standing, now_ms: u64) -> Self {
        Self { standing, minute: Minute::of(now_ms) }
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

/// Whether the policies say the same of the call now: other calls may have counted, or another minute begun, since they were asked.
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
    let (sender, sending) = (sender(granted), Sending::of(tool, arguments));
    let decided = |grant: &LiveGrant, moment: Moment| {
        let facts = facts(grant, sender, moment.standing, moment.minute, &sending);
        Some(grant.prepared(world)?.decide(world, tool, &AskCall { facts: &facts, arguments }))
    };
    let mut decision = decided(grant, moment)?;
    // INVARIANT: nobody gains by a hop what whoever handed the task on lacks: each of them is asked about as if it made the call.
    for above in grant.chain().skip(1) {
        decision = stricter(decision, decided(above, Moment { standing: above.glance(), ..moment })?);
    }
    Some(decision)
}

fn sender(granted: &Granted<'_>) -> Sender {
    let origin = granted.identified().received().origin();
    Sender { transport: origin.transport, era: origin.protocol.as_str(), method: granted.identified().principal().method }
}

/// What the policies were asked, for the record.
fn asked(call: &Validated<'_>, moment: Moment, decision: &Decision) -> Option<Asked> {
    let granted = call.granted();
    let (world, tool, input) = (granted.world(), granted.tool().name.as_str(), call.arguments());
    let (sender, sending) = (sender(granted), Sending::of(granted.tool(), input));
    let read = |grant: &LiveGrant, moment: Moment| {
        let prepared = grant.prepared(world)?;
        let call = facts(grant, sender, moment.standing, moment.minute, &sending);
        Some(world.policies.snapshot(&Ask { tool, grant: prepared.facts(), call: &call, input }))
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
    let differs = caught(|| {
        let prepared = grant.prepared(world)?;
        let sending = Sending::of(granted.tool(), input);
        let call = facts(grant, sender(granted), moment.standing, moment.minute, &sending);
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

fn ids(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.to_string()).collect()
}
