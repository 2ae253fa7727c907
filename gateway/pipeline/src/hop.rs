//! Handing a task on: under which grant its agent acts, and what the policies say of the hop.

use std::sync::Arc;

use bailiwick_policy::{Band, CallFacts, Decision, Delegation};

use crate::{
    gates,
    grant::LiveGrant,
    handle::Gateway,
    principal::{Agent, Principal},
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
        let hour = gates::hour_of_day(self.ports().clock.now_ms());
        let depth = above.depth().saturating_add(1);
        let decided = |grant: &LiveGrant| {
            let standing = grant.standing();
            let call = CallFacts {
                environment: &grant.terms().environment,
                calls_in_task: standing.calls,
                writes_in_task: standing.writes,
                untrusted_input: standing.labels.untrusted,
                confidential: standing.labels.confidential,
                approvals: &[],
                transport: hop.transport.as_str(),
                era: "",
                hour,
            };
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
}
