//! Handing a task on: under which grant its agent acts, and what the policies say of the hop.

use std::sync::Arc;

use bailiwick_policy::{AutoGrant, Band, Decision, Delegation, PreparedGrant};

use crate::{
    circumstances::{Minute, Sender, facts},
    destination::Sending,
    gates,
    grant::{Grant, Labels, LiveGrant, Standing},
    handle::Gateway,
    principal::{Agent, AuthMethod, Principal},
    received::Transport,
    refusal::Refusal,
};

/// A hop that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The agent that is to have the task.
    pub to: &'a Agent,
    /// The tools that are handed on, as patterns.
    pub tools: &'a [String],
    /// How long the new grant is to live, seconds.
    pub ttl_s: u64,
    /// The highest band that it reaches.
    pub ceiling: Band,
    /// What it is for.
    pub purpose: &'a str,
    /// How the agent that hands on reached us.
    pub transport: Transport,
    /// How it proved itself.
    pub method: AuthMethod,
}

/// What the policies say of a hop.
#[derive(Debug)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub struct HopDecided {
    /// The decision.
    pub decision: Arc<Decision>,
    /// The policies it is from.
    pub policy_digest: String,
}

impl Gateway {
    /// The grant that this principal acts under, if it names this one beside its identity or none: as every call finds it.
    ///
    /// # Errors
    /// Where the named one is not live and its own, or there is a choice.
    pub fn acting_under(&self, named: Option<&str>, principal: &Principal) -> Result<Option<Arc<LiveGrant>>, Refusal> {
        gates::chosen_among(named, principal, self.ports())
    }

    /// Whether this grant may be handed on so, by the policies. None where they can't be asked, which denies.
    pub fn decide_hop(&self, above: &Arc<LiveGrant>, hop: &Hop<'_>) -> Option<HopDecided> {
        let world = self.ports().worlds.now();
        let minute = Minute::of(self.ports().clock.now_ms());
        let (sender, nowhere) = (Sender { transport: hop.transport, era: "", method: hop.method }, Sending::default());
        let depth = above.depth().saturating_add(1);
        let decided = |grant: &LiveGrant| {
            let call = facts(grant, sender, grant.standing(), minute, &nowhere);
            let prepared = grant.prepared(&world)?;
            Some(Arc::new(world.policies.decide_delegation(&Delegation {
                grant: prepared.facts(),
                to: hop.to.id.as_str(),
                owner: &hop.to.owner,
                call: &call,
                tools: hop.tools,
                depth,
                ttl_s: hop.ttl_s,
                ceiling: hop.ceiling,
                purpose: hop.purpose,
            })))
        };
        let mut decision = decided(above)?;
        // INVARIANT: nobody hands on what whoever handed it to them may not hand on: each of them is asked about as if it made the hop.
        for grant in above.chain().skip(1) {
            decision = gates::stricter(decision, decided(grant)?);
        }
        Some(HopDecided { decision, policy_digest: world.policy_digest.clone() })
    }

    /// Whether an agent may get this grant by itself, by the policies; `live` is how many of that kind it has. None where they can't be
    /// asked, which denies.
    pub fn decide_auto_grant(
        &self,
        terms: &Grant,
        agent: &Agent,
        (tools, live): (&[String], u64),
        (transport, method): (Transport, AuthMethod),
    ) -> Option<HopDecided> {
        let ports = self.ports();
        let world = ports.worlds.now();
        // What its other grants have touched, this one has from its first moment on.
        let others = ports.grants.of(&agent.id);
        let labels = others.iter().fold(Labels::default(), |labels, grant| labels.join(grant.standing().labels));
        let wanted = LiveGrant::new(terms.clone(), Standing { labels, ..Standing::fresh() }, None);
        let (sender, nowhere) = (Sender { transport, era: "", method }, Sending::default());
        let call = facts(&wanted, sender, wanted.standing(), Minute::of(ports.clock.now_ms()), &nowhere);
        let grant = PreparedGrant::among(wanted.facts(), &world.connectors, &world.directory).ok()?;
        let decision = world.policies.decide_auto_grant(&AutoGrant {
            grant: &grant,
            agent: agent.id.as_str(),
            owner: &agent.owner,
            call: &call,
            tools,
            ttl_s: terms.expires_at_ms.saturating_sub(terms.not_before_ms) / 1000,
            purpose: &terms.purpose,
            live,
        });
        Some(HopDecided { decision: Arc::new(decision), policy_digest: world.policy_digest.clone() })
    }
}
