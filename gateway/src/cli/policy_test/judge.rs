//! What comes of a case: the gates themselves judge it as far as the arguments, and the rules of what it says of its circumstances.

use std::sync::Arc;

use bailiwick_config::nearest;
use bailiwick_pipeline::{
    catalogue::World,
    destination::Sending,
    detect::{Act, Rule as Detection},
    grant::{ANY_ENVIRONMENT, Grant, GrantState, LiveGrant, Spent, Standing},
    ports::{Clock, Worlds as _},
    principal::Agent,
    refusal::Refusal,
};
use bailiwick_policy::{Ask, AutoGrant, Band, CallFacts, Decision, Delegation, Rule};
use serde_json::Value;

use super::{
    file::{Asked, Case, Circumstances, Terms, Under},
    stage::Stage,
};
use crate::{
    admin::api::Foreseen,
    foresee::{self, Closed, DETECTION},
};

/// How the gates take it that an agent comes, where nobody says otherwise.
pub(super) const HTTP: &str = "http";

/// The version that they take it to speak then.
pub(super) const NEWEST: &str = "2026-07-28";

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Came {
    /// `allow`, `step_up` or `deny`.
    pub(in crate::cli) effect: &'static str,
    /// The rules that determined it.
    pub(in crate::cli) rules: Vec<String>,
    /// The approvals that are asked for.
    pub(in crate::cli) asks: Vec<String>,
    /// Why it is refused, in the word of the records.
    pub(in crate::cli) reason: Option<String>,
    /// The same, for people.
    pub(in crate::cli) detail: Option<String>,
}

impl Came {
    fn refused(reason: &str, detail: Option<String>) -> Self {
        Self { effect: "deny", rules: Vec::new(), asks: Vec::new(), reason: Some(reason.to_owned()), detail }
    }

    /// By the gates.
    fn foreseen(foreseen: Foreseen) -> Self {
        let effect = match foreseen.state.as_str() {
            "allow" => "allow",
            "step_up" => "step_up",
            _ => "deny",
        };
        let mut asks = foreseen.needs;
        asks.sort_unstable();
        asks.dedup();
        let reason = (effect == "deny").then(|| foreseen.reason.unwrap_or(foreseen.gate));
        Self { effect, rules: foreseen.rules, asks, reason, detail: foreseen.detail }
    }

    /// With what follows where this detection fires: nobody is asked about what is refused already.
    fn with(mut self, detection: &Detection, approvals: &[String]) -> Self {
        let is_held = approvals.iter().any(|held| held == DETECTION);
        match detection.act {
            Act::Deny if self.effect != "deny" => {
                Self::refused("detected", Some(format!("detection `{}` refuses it", detection.name)))
            }
            Act::StepUp if self.effect != "deny" && !is_held => {
                self.effect = "step_up";
                if !self.asks.iter().any(|label| label == DETECTION) {
                    self.asks.push(DETECTION.to_owned());
                    self.asks.sort_unstable();
                }
                self
            }
            Act::Deny | Act::StepUp | Act::Observe => self,
        }
    }

    fn of(decision: &Decision) -> Self {
        let ids = |rules: &[Rule]| rules.iter().map(|rule| rule.id.to_string()).collect();
        match decision {
            Decision::Allow { determining, .. } => {
                Self { effect: "allow", rules: ids(determining), asks: Vec::new(), reason: None, detail: None }
            }
            Decision::StepUp { labels, determining, .. } => {
                let mut asks: Vec<String> = labels.iter().map(|need| need.label.to_string()).collect();
                asks.sort_unstable();
                asks.dedup();
                Self { effect: "step_up", rules: ids(determining), asks, reason: None, detail: None }
            }
            Decision::Deny { determining, cause } => {
                let refusal = Refusal::denied(determining, cause);
                let detail = Some(refusal.detail.clone());
                Self { rules: ids(determining), ..Self::refused(refusal.reason, detail) }
            }
        }
    }
}

/// Who asks: a grant and its agent, as a case has them.
pub(in crate::cli) struct Subject {
    agent: Arc<Agent>,
    grant: Grant,
}

impl Subject {
    /// A grant, and its agent as it is registered; one that nobody registered may do whatever its grant may.
    pub(in crate::cli) fn new(grant: Grant, stage: &Stage) -> Self {
        let registered = stage.config.agent(grant.agent.as_str()).map(|registered| registered.agent.clone());
        let agent = registered.unwrap_or_else(|| Agent {
            id: grant.agent.clone(),
            owner: grant.owner.clone(),
            ceiling: grant.ceiling,
            disabled: false,
        });
        // No case is about the end of a lifetime: it lasts.
        Self { agent: Arc::new(agent), grant: Grant { not_before_ms: 0, expires_at_ms: u64::MAX, ..grant } }
    }

    /// The grant that a case names. What it names wrongly is told.
    fn of(under: &Under, stage: &Stage) -> Result<Self, String> {
        let grants = &stage.config.grants;
        let ids = || grants.iter().map(|grant| grant.id.as_str());
        let known = || format!("the grants are {}", ids().collect::<Vec<_>>().join(", "));
        let terms = match under {
            Under::Inline(terms) => return Ok(Self::new(inline(terms, stage)?, stage)),
            Under::Id(id) => stage.config.grant(id).ok_or_else(|| match nearest(id, ids()) {
                Some(meant) => format!("there is no grant `{id}` (did you mean `{meant}`?)"),
                None => format!("there is no grant `{id}` ({})", known()),
            }),
            Under::AgentsOwn(agent) => {
                let own: Vec<_> = grants.iter().filter(|grant| grant.agent.as_str() == agent).collect();
                let default = own.iter().find(|grant| grant.default).or(own.first().filter(|_| own.len() == 1));
                default.copied().ok_or_else(|| format!("agent `{agent}` has no grant that is its default ({})", known()))
            }
            Under::Only => match grants.as_slice() {
                [only] => Ok(only),
                _ => Err(format!("say which `grant` it is about ({})", known())),
            },
        };
        Ok(Self::new(terms?.to_grant(0, 1), stage))
    }

    /// As it stands in these circumstances.
    fn standing_so(&self, context: &Circumstances) -> Arc<LiveGrant> {
        let standing = Standing {
            state: GrantState::Active,
            calls: context.calls_in_task,
            writes: context.writes_in_task,
            labels: context.touched(),
        };
        let spent = Spent { bytes_out: context.bytes_out, cost: context.cost, ..Spent::default() };
        Arc::new(LiveGrant::with_spent(self.grant.clone(), standing, spent, None))
    }

    /// Whether policy is what makes the tool not exist for it: all else would let it be seen.
    fn is_hidden_by_policy(&self, tool: &str, world: &World) -> bool {
        world.tool(tool).is_some_and(|tool| self.grant.covers(tool) && tool.band <= self.agent.ceiling)
    }

    /// Whether the tool is listed for it.
    #[cfg(test)]
    pub(in crate::cli) fn lists(&self, tool: &str, world: &Arc<World>) -> bool {
        let live = self.standing_so(&Circumstances::default());
        let prepared = world.policies.prepare(live.facts(), &world.connectors);
        self.is_hidden_by_policy(tool, world) && prepared.is_ok_and(|prepared| world.policies.could_allow(&prepared, tool))
    }
}

fn inline(terms: &Terms, stage: &Stage) -> Result<Grant, String> {
    let id = "inline".parse().map_err(|why| format!("the grant can't be named: {why}"))?;
    let registered = stage.config.agent(terms.agent.as_str()).map(|registered| &registered.agent);
    for bound in terms.args.values().flat_map(std::collections::BTreeMap::values) {
        bound.check().map_err(|why| format!("the grant's bound: {why}"))?;
    }
    if let Some(lost) = terms.args.keys().find(|pattern| !terms.tools.contains(pattern)) {
        return Err(format!("the grant bounds `{lost}`, which its `tools` do not name"));
    }
    let bare = Grant::bare(id, terms.agent.clone(), terms.capabilities(), 0..u64::MAX);
    Ok(Grant {
        owner: registered.map(|agent| agent.owner.clone()).unwrap_or_default(),
        purpose: terms.purpose.clone(),
        ceiling: terms.ceiling.or(registered.map(|agent| agent.ceiling)).unwrap_or(Band::Critical),
        environment: terms.environment.clone().unwrap_or_else(|| ANY_ENVIRONMENT.to_owned()),
        data_classes: terms.data_classes.clone(),
        budget: terms.budget.clone(),
        ..bare
    })
}

/// Judges a case; an error is a fault of the case.
pub(super) async fn judge(case: &Case, stage: &Stage) -> Result<Came, String> {
    let subject = Subject::of(&case.grant, stage)?;
    match &case.what {
        Asked::Call { tool, arguments } => Ok(call(&subject, (tool, arguments), &case.context, stage).await),
        what => about_grants(&subject, what, &case.context, stage),
    }
}

/// What becomes of a call.
pub(in crate::cli) async fn call(
    subject: &Subject,
    (tool, arguments): (&str, &str),
    context: &Circumstances,
    stage: &Stage,
) -> Came {
    let live = subject.standing_so(context);
    let world = stage.worlds.now();
    let ports = Closed::ports(vec![Arc::clone(&live)], Arc::clone(&stage.worlds) as _, Arc::new(AtHour(context.hour)));
    let (tool_name, grant) = (tool.to_owned(), Some(subject.grant.id.to_string()));
    let thought = foresee::Call { tool: tool_name, arguments: arguments.to_owned(), grant, context: None };
    let foreseen = match foresee::foresee(ports, Arc::clone(&subject.agent), &thought).await {
        Ok(foreseen) => foreseen,
        Err(fault) => return Came::refused("malformed", Some(fault.to_string())),
    };
    // What is full is full, whoever came how.
    if foreseen.reason.as_deref() == Some(BUDGET) {
        return Came::foreseen(foreseen);
    }
    // What comes of a call by the gates alone. They say of a tool that policy hides what they say of one that is not there.
    let is_hidden = foreseen.gate == "grant" && subject.is_hidden_by_policy(tool, &world);
    let is_as_the_gates_have_it = context.is_as_the_gates_have_it();
    if !is_hidden && (foreseen.gate != "permit" || is_as_the_gates_have_it && context.approvals.is_empty()) {
        return Came::foreseen(foreseen);
    }
    // A case may say more than they know: who has approved, and how the agent came. That is put before the same rules.
    let decided = serde_json::from_str::<Value>(arguments).ok().zip(world.policies.prepare(live.facts(), &world.connectors).ok());
    let Some((input, grant)) = decided else { return Came::refused("policy_error", None) };
    let sending = world.tool(tool).map(|tool| Sending::of(tool, &input)).unwrap_or_default();
    let facts = facts(&subject.grant, context, &sending);
    let came = Came::of(&world.policies.decide(&Ask { tool, grant: &grant, call: &facts, input: &input }));
    // What the gates do not list is not callable, whatever the rules would say of a single call; and an approval lifts what asks for it, and
    // nothing else.
    let is_refused = foreseen.state == "deny" && is_as_the_gates_have_it;
    let came = if is_refused && came.effect != "deny" { Came::foreseen(foreseen) } else { came };
    let fired = stage.config.detections.iter().filter(|rule| context.detections.iter().any(|name| **name == *rule.name));
    fired.fold(came, |came, rule| came.with(rule, &context.approvals))
}

/// The word of a refusal because a budget is used up.
const BUDGET: &str = "budget_exhausted";

/// The circumstances, as rules see them. What a case can't say yet is as where nothing has happened.
fn facts<'a>(grant: &'a Grant, context: &'a Circumstances, sending: &'a Sending) -> CallFacts<'a> {
    let left = |limit: Option<u64>, used: u64| limit.map(|limit| limit.saturating_sub(used));
    let touched = context.touched();
    CallFacts {
        environment: &grant.environment,
        bytes_out: context.bytes_out,
        cost: context.cost,
        calls_left: left(grant.budget.calls, context.calls_in_task),
        writes_left: left(grant.budget.writes, context.writes_in_task),
        calls_in_task: context.calls_in_task,
        writes_in_task: context.writes_in_task,
        untrusted_input: touched.is_untrusted(),
        confidential: touched.is_confidential(),
        labels: touched,
        destination: sending.text(),
        destination_host: sending.host(),
        destination_hosts: sending.hosts(),
        external: sending.is_external(),
        detections: &context.detections,
        calls_last_minute: context.calls_last_minute,
        minute: context.minute,
        weekday: context.weekday,
        authn: &context.authn,
        authn_strength: context.authn_strength,
        approvals: &context.approvals,
        transport: &context.transport,
        era: &context.era,
        hour: context.hour,
        ..CallFacts::default()
    }
}

/// What becomes of a task that is handed on, and of a grant that an agent wants by itself.
fn about_grants(subject: &Subject, what: &Asked, context: &Circumstances, stage: &Stage) -> Result<Came, String> {
    let (live, world) = (subject.standing_so(context), stage.worlds.now());
    let grant = world.policies.prepare(live.facts(), &world.connectors).map_err(|why| why.to_string())?;
    let nowhere = Sending::default();
    let call = &facts(&subject.grant, context, &nowhere);
    let decision = match what {
        Asked::HandOn { to, tools, ttl_s, ceiling, purpose } => {
            let owner = stage.config.agent(to).map(|agent| agent.agent.owner.as_str()).unwrap_or_default();
            let hop = Delegation {
                grant: &grant,
                to,
                owner,
                call,
                tools,
                depth: live.depth().saturating_add(1),
                ttl_s: *ttl_s,
                ceiling: *ceiling,
                purpose,
            };
            world.policies.decide_delegation(&hop)
        }
        Asked::AutoGrant { tools, ttl_s, purpose, live } => {
            let (agent, owner) = (subject.agent.id.as_str(), subject.agent.owner.as_str());
            let wanted = AutoGrant { grant: &grant, agent, owner, call, tools, ttl_s: *ttl_s, purpose, live: *live };
            world.policies.decide_auto_grant(&wanted)
        }
        Asked::Call { .. } => return Err("a call is judged by its gates".to_owned()),
    };
    let came = Came::of(&decision);
    // Nobody is asked to approve one: where an approval would lift the rule, it is refused.
    Ok(if came.effect == "step_up" { Came { effect: "deny", asks: Vec::new(), ..came } } else { came })
}

/// A clock that stands still, on a Monday.
struct AtHour(u8);

impl Clock for AtHour {
    fn now_ns(&self) -> u64 {
        const MONDAY_H: u64 = 20_458 * 24;
        (MONDAY_H + u64::from(self.0)) * 3_600 * 1_000_000_000
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}
