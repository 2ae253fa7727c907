//! What would become of a call that nobody makes: judged by the gates themselves, as an agent that is taken at the operator's word.

mod closed;

use std::sync::Arc;

use bailiwick_pipeline::{
    Body, Gateway, Received, Settings,
    aside::Wants,
    catalogue::{Tool, World},
    grant::LiveGrant,
    ids::CallId,
    ports::{Identities, IdentityFailure, Later, Ports},
    principal::{Agent, AuthMethod, Credential, Presented, Principal},
    received::{Message, MessageFault, Origin, Protocol, Transport},
    records::Asked,
    stricter,
};
use bailiwick_policy::{ConnectorFacts, Decision, Looked, Otherwise, Policies, Probe, Snapshot};
use bailiwick_schemas::json::Limits;
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(crate) use closed::Closed;

use crate::admin::api::{Foreseen, LookedAt, Used, WouldHaveTo};

/// The call that is thought of.
#[derive(Debug)]
pub(crate) struct Call {
    /// The tool.
    pub(crate) tool: String,
    /// The text of its arguments.
    pub(crate) arguments: String,
    /// The grant it names, if any.
    pub(crate) grant: Option<String>,
    /// The text of a JSON object: facts of `context.call` in the place of those that are so.
    pub(crate) context: Option<String>,
}

/// Why a call can't be thought of so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeseeFault {
    /// The arguments are no JSON object, or not as strict as an agent's must be.
    #[error("the arguments can't be read: {0}")]
    Arguments(#[from] MessageFault),
    /// The facts that are to be thought of are none.
    #[error("the context can't be read: {0}")]
    Context(String),
}

/// Walks the call as far as nobody is asked and nothing is sent. Nothing goes on record, and nothing counts.
pub(crate) async fn foresee(ports: Ports, agent: Arc<Agent>, call: &Call) -> Result<Foreseen, ForeseeFault> {
    let name = agent.id.to_string();
    let context = call.context.as_deref().map(facts_of).transpose()?;
    let world = ports.worlds.now();
    let asked = exposed(&call.tool, &world);
    let received = received(call, &asked, ports.clock.now_ns())?;
    let ports = Ports { identities: Arc::new(AtTheirWord(agent)), ..ports };
    let gateway = Gateway::new(ports, Settings::default());
    let judged = gateway.judge(&received).await;
    let grant = judged.grant.as_deref();
    let mut foreseen = Foreseen {
        id: judged.tool.as_ref().map_or_else(|| call.tool.clone(), |tool| tool.name.to_string()),
        state: "allow".to_owned(),
        agent: name,
        grant: grant.map(|grant| grant.terms().id.to_string()),
        kind: judged.tool.as_ref().map(|tool| tool.kind),
        band: judged.tool.as_ref().map(|tool| tool.band),
        gate: judged.gate.to_owned(),
        reason: None,
        detail: None,
        told: None,
        rules: judged.rules,
        policy_digest: judged.policy_digest,
        needs: Vec::new(),
        looked: Vec::new(),
        least: Vec::new(),
        then: None,
        used: grant.map(|grant| {
            let (standing, spent) = (grant.standing(), grant.spent());
            Used { calls: standing.calls, writes: standing.writes, bytes_out: spent.bytes_out, cost: spent.cost }
        }),
        budget: grant.map(|grant| grant.terms().budget.clone()),
    };
    let asked = judged.asked.as_ref().zip(grant).zip(judged.tool.as_ref());
    let mut probes: Vec<Probe> = asked.map(|((asked, grant), tool)| chain_of(asked, grant, tool)).unwrap_or_default();
    match judged.ended {
        Ok(needs) if needs.is_empty() => {}
        Ok(needs) => {
            "step_up".clone_into(&mut foreseen.state);
            foreseen.needs = needs.into_iter().map(|need| need.label.to_string()).collect();
        }
        Err(refusal) => {
            "deny".clone_into(&mut foreseen.state);
            foreseen.reason = Some(refusal.reason.to_owned());
            foreseen.detail = Some(refusal.detail.clone());
            foreseen.told = match refusal.into_answer().body {
                Body::ToolError { text, .. } => Some(text),
                Body::Error { message, .. } => Some(message),
                _ => None,
            };
        }
    }
    let policies = Arc::clone(&world.policies);
    if let Some(context) = context {
        // What no rule reads changes nothing.
        for probe in &mut probes {
            probe.read.call.extend(context.clone());
        }
        foreseen.in_other_circumstances(&policies, &probes, &world.connectors)?;
    }
    // The grant itself first: what would have to be otherwise is said of that.
    let Some(probe) = probes.into_iter().next() else { return Ok(foreseen) };
    let state = if foreseen.is_by_policy() { foreseen.state.clone() } else { "allow".to_owned() };
    let (rules, connectors) = (foreseen.rules.clone(), world.connectors.clone());
    // It tries what could be otherwise, which may take a while.
    let tried = tokio::task::spawn_blocking(move || why(&policies, &rules, &state, &probe, &connectors)).await;
    if let Ok(why) = tried {
        (foreseen.looked, foreseen.least, foreseen.then) = (why.looked, why.least, why.then);
    }
    Ok(foreseen)
}

/// Why a call is not allowed, in values.
#[derive(Debug, Default)]
pub(crate) struct Why {
    /// What the rules that determine it looked at.
    pub(crate) looked: Vec<LookedAt>,
    /// The least that would have to be otherwise.
    pub(crate) least: Vec<WouldHaveTo>,
    /// What would become of it then.
    pub(crate) then: Option<String>,
}

/// What these rules looked at of a call that these policies decided about so, and what would have to be otherwise.
pub(crate) fn why(policies: &Policies, rules: &[String], state: &str, probe: &Probe, connectors: &[ConnectorFacts]) -> Why {
    let looked = policies.looked_at(rules, probe).into_iter().map(|Looked { path, value }| LookedAt { path, value }).collect();
    let least = if state == "deny" { policies.least_change(probe, connectors) } else { None };
    let (least, then) = least.map_or_else(Default::default, |(steps, decision)| (steps, Some(decision.effect().to_owned())));
    let least = least.into_iter().map(|Otherwise { path, from, to }| WouldHaveTo { path, from, to }).collect();
    Why { looked, least, then }
}

/// What is asked of a person because of a detection.
pub(crate) const DETECTION: &str = bailiwick_pipeline::detect::LABEL;

/// Why a call is refused where policy let it go.
const BESIDE_POLICY: [&str; 2] = ["detected", "budget_exhausted"];

/// What was asked about a call: under its grant, and under each of those above it.
fn chain_of(asked: &Asked, grant: &LiveGrant, tool: &Tool) -> Vec<Probe> {
    let of = |grant: &LiveGrant, read: Snapshot| Probe {
        tool: tool.name.to_string(),
        grant: grant.facts().clone(),
        read,
        call_id: None,
    };
    let above = grant.chain().skip(1).zip(&asked.above);
    let above = above.map(|(grant, above)| of(grant, Snapshot { call: above.call.clone(), ..asked.read.clone() }));
    std::iter::once(of(grant, asked.read.clone())).chain(above).collect()
}

/// What policies say under all of these; none where nothing was asked.
fn strictest(policies: &Policies, probes: &[Probe], connectors: &[ConnectorFacts]) -> Result<Option<Arc<Decision>>, ()> {
    let mut all: Option<Arc<Decision>> = None;
    for probe in probes {
        let one = Arc::new(decided(policies, probe, connectors)?);
        all = Some(match all {
            None => one,
            Some(before) => stricter(before, one),
        });
    }
    Ok(all)
}

fn decided(policies: &Policies, probe: &Probe, connectors: &[ConnectorFacts]) -> Result<Decision, ()> {
    let grant = policies.prepare(&probe.grant, connectors).map_err(drop)?;
    policies.decide_again(&grant, &probe.tool, &probe.read).map_err(drop)
}

/// Facts to be thought of, each one that there is.
fn facts_of(text: &str) -> Result<Map<String, Value>, ForeseeFault> {
    let facts: Map<String, Value> = serde_json::from_str(text).map_err(|fault| ForeseeFault::Context(fault.to_string()))?;
    let known = bailiwick_policy::fact_names();
    match facts.keys().find(|name| !known.contains(*name)) {
        Some(odd) => Err(ForeseeFault::Context(format!("there is no `context.call.{odd}`: there are {}", known.join(", ")))),
        None => Ok(facts),
    }
}

impl Foreseen {
    /// Whether it is policy that refuses it, if it is refused.
    fn is_by_policy(&self) -> bool {
        self.reason.as_deref().is_none_or(|reason| !BESIDE_POLICY.contains(&reason))
    }

    /// What would become of it under the grant and each of those above it, in these circumstances. What stops it beside policy is not lifted
    /// by others.
    fn in_other_circumstances(
        &mut self,
        policies: &Policies,
        probes: &[Probe],
        connectors: &[ConnectorFacts],
    ) -> Result<(), ForeseeFault> {
        const UNREAD: &str = "a value is of another type than that fact has, or the rules read what is not known of this call";
        let decision = strictest(policies, probes, connectors).map_err(|()| ForeseeFault::Context(UNREAD.to_owned()))?;
        let is_open = self.is_by_policy() && ["permit", "approve"].contains(&self.gate.as_str());
        let Some(decision) = decision.filter(|_| is_open) else { return Ok(()) };
        let noticed: Vec<String> = self.needs.iter().filter(|label| *label == DETECTION).cloned().collect();
        self.decided_anew(&decision);
        if self.state != "deny" && !noticed.is_empty() {
            "step_up".clone_into(&mut self.state);
            self.needs.extend(noticed);
        }
        Ok(())
    }

    /// Policy says so of it, where the context is another.
    fn decided_anew(&mut self, decision: &Decision) {
        decision.effect().clone_into(&mut self.state);
        self.rules = decision.determining().iter().map(|rule| rule.id.to_string()).collect();
        "permit".clone_into(&mut self.gate);
        (self.reason, self.detail, self.told) = (None, None, None);
        self.needs = match decision {
            Decision::StepUp { labels, .. } => labels.iter().map(|label| label.label.to_string()).collect(),
            Decision::Allow { .. } | Decision::Deny { .. } => Vec::new(),
        };
        if let Decision::Deny { determining, .. } = decision {
            self.reason = Some(if determining.is_empty() { "no_policy_permits" } else { "policy_forbids" }.to_owned());
        }
    }
}

/// The name that an agent would send: operators say the full one.
fn exposed(tool: &str, world: &World) -> String {
    world.tool(tool).map_or(tool, |tool| world.exposed(tool)).to_owned()
}

/// The request that an agent would have sent, over HTTP and in the newest protocol version.
fn received(call: &Call, name: &str, now_ns: u64) -> Result<Received, MessageFault> {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{{"name":{},"arguments":{}}}}}"#,
        json!(name),
        call.arguments
    );
    let message = Message::read(&Bytes::from(text), Limits::MESSAGE)?;
    let origin = Origin {
        transport: Transport::Http,
        protocol: Protocol::V20260728,
        presented: Presented { credential: Credential::Absent, grant: call.grant.clone() },
        links: Vec::new(),
        capabilities: Vec::new(),
        takes_tasks: false,
        mirrored: None,
        wants: Wants::default(),
        meta: Bytes::new(),
        reason: None,
    };
    Received::call(CallId::new(now_ns / 1_000_000, [0; 10]), &message, origin, now_ns)
}

/// The agent, because an operator says so. Only what is never sent is judged by it.
struct AtTheirWord(Arc<Agent>);

impl Identities for AtTheirWord {
    fn identify<'a>(&'a self, _: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        let (agent, method) = (Arc::clone(&self.0), AuthMethod::AgentToken);
        Box::pin(async move { Ok(Principal { agent, instance: None, method, grant: None }) })
    }
}
