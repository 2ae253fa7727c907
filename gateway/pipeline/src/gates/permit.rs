//! The organization's rules: Allow, allowed once a person approves, or Deny.

use std::sync::Arc;

use bailiwick_policy::{Ask, CallFacts, Decision, Differs, Obligations, Requirement, Rule};
use serde_json::Value;

use super::{
    Granted, Validated,
    detect::{self, Noticed, Past},
};
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
    obligations: Obligations,
    moment: Moment,
    noticed: Option<Box<Noticed>>,
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

    /// What was found of its task.
    pub(super) fn noticed(&self) -> Option<&Noticed> {
        self.noticed.as_deref()
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
    let noticed = detect::notice(&call, ports, way)?;
    let by_policy = by_policy(&call, moment, noticed.as_deref())?;
    way.seen.flow = flow_of(call.granted().tool(), call.arguments(), moment.standing.labels);
    if let Some(flow) = &mut way.seen.flow
        && world.policies.keeps_back(call.granted().tool().name.as_str())
    {
        // Where data goes is an argument: what is masked is not on record by another name.
        flow.hosts.clear();
    }
    way.seen.policy_digest = Some(world.policy_digest.clone());
    way.seen.asked = asked(&call, moment, noticed.as_deref(), &by_policy);
    if world.policies.watches(call.granted().tool().name.as_str()) {
        way.seen.shadow = watched(&call, moment, noticed.as_deref(), &by_policy);
    }
    let decision = joined(&call, by_policy, noticed.as_deref());
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
    // Policy first: what it refuses, it refuses in its own words.
    if let Some(noticed) = &noticed {
        noticed.refuses()?;
    }
    way.trace.note(stage, "bailiwick.decision", if needs.is_empty() { "allow" } else { "escalate" });
    way.seen.rules = ids(determining);
    way.trace.note(stage, "bailiwick.policy.rule.id", way.seen.rules.join(","));
    way.seen.obligations = obligations.words();
    way.leave(stage, ports);
    let call = Permitted { validated: call, needs, obligations: obligations.clone(), moment, noticed };
    way.seen.needs = super::approve::needs_of(&call);
    Ok(call)
}

/// Whether the policies say the same of the call now: other calls may have counted, or another minute begun, since they were asked.
pub(super) fn still_permits(call: &Permitted<'_>, now: Moment) -> bool {
    match decide(&call.validated, now, call.noticed()).as_deref() {
        Ok(Decision::Allow { obligations, .. }) => call.needs.is_empty() && *obligations == call.obligations,
        Ok(Decision::StepUp { labels, obligations, .. }) => *labels == call.needs && *obligations == call.obligations,
        Ok(Decision::Deny { .. }) | Err(_) => false,
    }
}

fn decide(call: &Validated<'_>, moment: Moment, noticed: Option<&Noticed>) -> Result<Arc<Decision>, Refusal> {
    by_policy(call, moment, noticed).map(|decision| joined(call, decision, noticed))
}

fn by_policy(call: &Validated<'_>, moment: Moment, noticed: Option<&Noticed>) -> Result<Arc<Decision>, Refusal> {
    let granted = call.granted();
    ask(granted, granted.tool(), call.arguments(), moment, noticed)
        .ok_or_else(|| Refusal::internal("the grant can't be put before the policies"))
}

/// What policy decided, and what people have to approve beside that because of what stood out.
fn joined(call: &Validated<'_>, decision: Arc<Decision>, noticed: Option<&Noticed>) -> Arc<Decision> {
    match noticed {
        Some(noticed) => noticed.joined(decision, call.granted().tool()),
        None => decision,
    }
}

/// What the policies say of this tool, or of a question asked by this right, during a call. None where they can't be asked, which denies.
pub(super) fn ask(
    granted: &Granted<'_>,
    tool: &Tool,
    arguments: &Value,
    moment: Moment,
    noticed: Option<&Noticed>,
) -> Option<Arc<Decision>> {
    let (grant, world) = (granted.grant(), granted.world());
    let sending = Sending::of(tool, arguments);
    let decided = |hop: usize, grant: &LiveGrant, moment: Moment| {
        with_facts((granted, tool), (hop, grant), moment, (&sending, noticed), |facts| {
            Some(grant.prepared(world)?.decide(world, tool, &AskCall { facts, arguments }))
        })
    };
    let mut decision = decided(0, grant, moment)?;
    // INVARIANT: nobody gains by a hop what whoever handed the task on lacks: each of them is asked about as if it made the call.
    for (hop, above) in grant.chain().enumerate().skip(1) {
        decision = stricter(decision, decided(hop, above, Moment { standing: above.glance(), ..moment })?);
    }
    Some(decision)
}

fn sender(granted: &Granted<'_>) -> Sender {
    let origin = granted.identified().received().origin();
    Sender { transport: origin.transport, era: origin.protocol.as_str(), method: granted.identified().principal().method }
}

/// Has somebody look at what policies may know of a call of this tool under this grant of the chain: so many hops up.
fn with_facts<R>(
    (granted, tool): (&Granted<'_>, &Tool),
    (hop, grant): (usize, &LiveGrant),
    moment: Moment,
    (sending, noticed): (&Sending, Option<&Noticed>),
    look: impl FnOnce(&CallFacts<'_>) -> R,
) -> R {
    let past = Past::of(grant, granted.world(), tool);
    let (calls_last_minute, denied) = noticed.map_or((0, 0), |noticed| noticed.counts(hop));
    let facts = facts(grant, sender(granted), moment.standing, moment.minute, sending);
    let history = past.facts(denied, facts.confidential);
    look(&CallFacts { detections: noticed.map_or(&[], Noticed::names), calls_last_minute, history, ..facts })
}

/// What the policies were asked, for the record.
fn asked(call: &Validated<'_>, moment: Moment, noticed: Option<&Noticed>, decision: &Decision) -> Option<Asked> {
    let (granted, input) = (call.granted(), call.arguments());
    let (world, tool) = (granted.world(), granted.tool());
    let sending = Sending::of(tool, input);
    let read = |hop: usize, grant: &LiveGrant, moment: Moment| {
        let prepared = grant.prepared(world)?;
        Some(with_facts((granted, tool), (hop, grant), moment, (&sending, noticed), |call| {
            world.policies.snapshot(&Ask { tool: tool.name.as_str(), grant: prepared.facts(), call, input })
        }))
    };
    let grant = granted.grant();
    let above = grant.chain().enumerate().skip(1).map(|(hop, above)| {
        let read = read(hop, above, Moment { standing: above.glance(), ..moment })?;
        Some(AskedAbove { grant: above.terms().id.to_string(), call: read.call })
    });
    let above = above.collect::<Option<Vec<_>>>()?;
    Some(Asked { policy: decision.effect().to_owned(), read: read(0, grant, moment)?, above })
}

/// What rules that are only watched would have decided otherwise, of the grant itself. Nothing follows from it: not even a panic of theirs
/// touches the call.
fn watched(call: &Validated<'_>, moment: Moment, noticed: Option<&Noticed>, decision: &Decision) -> Vec<Differs> {
    let (granted, input) = (call.granted(), call.arguments());
    let (world, grant, tool) = (granted.world(), granted.grant(), granted.tool());
    let differs = caught(|| {
        let prepared = grant.prepared(world)?;
        let sending = Sending::of(tool, input);
        with_facts((granted, tool), (0, grant), moment, (&sending, noticed), |call| {
            let ask = Ask { tool: tool.name.as_str(), grant: prepared.facts(), call, input };
            Some(world.policies.differs(&ask, decision))
        })
    });
    differs.ok().flatten().unwrap_or_default()
}

/// What two decisions come to where both must hold.
pub fn stricter(one: Arc<Decision>, other: Arc<Decision>) -> Arc<Decision> {
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

fn ids(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.to_string()).collect()
}
