//! Handing a task on: an agent that acts under a grant gives part of it to another agent. Policy decides, the hop is on record before
//! the new grant exists, and what is made is inside the grant above it.

use std::sync::Arc;

use bailiwick_pipeline::{
    Hop,
    grant::{Grant, LiveGrant},
    halts::Halt,
    ids::{AgentId, CallId, GrantId},
    ports::Grants as _,
    principal::{Agent, Principal},
    received::Transport,
};
use bailiwick_policy::{Band, Decision, Rule};
use bailiwick_store::GrantFault;
use bailiwick_trail::Stream;
use http::StatusCode;
use secrecy::SecretString;
use serde::Serialize;

use crate::{
    admin::{Deed, api::GrantWanted, fault::ApiFault},
    issuing,
    runtime::Runtime,
};

/// Who asks for a hop, and in which request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    /// The agent that hands its task on.
    pub(crate) principal: &'a Principal,
    /// The grant that it acts under.
    pub(crate) above: &'a Arc<LiveGrant>,
    /// The request, for the record.
    pub(crate) call: &'a CallId,
    /// How it came.
    pub(crate) transport: Transport,
}

/// A task, handed on.
#[derive(Debug)]
pub(crate) struct HandedOn {
    /// The grant that was made.
    pub(crate) grant: Grant,
    /// Its token, told once.
    pub(crate) token: SecretString,
}

/// Why a task is not handed on.
#[derive(Debug)]
pub(crate) enum HopFault {
    /// Not to this agent, or not so: an agent that there isn't, one that is switched off, and one that policy refuses are told alike.
    Refused,
    /// An agent has its own task already.
    Oneself,
    /// What is wanted is not what it must be.
    Terms(String),
    /// What is wanted reaches beyond the grant above: the axes.
    Beyond(String),
    /// Not as things are: it has ended meanwhile, or too many stand below it.
    NotNow,
    /// It can't be put on record or stored.
    Unavailable(String),
}

/// Stream `decisions`: somebody wants to hand a task on, and may or may not. Written before the grant exists.
#[derive(Debug, Serialize)]
struct DelegationRecord<'a> {
    /// Always `delegation`.
    event: &'static str,
    call_id: &'a CallId,
    /// Who hands on.
    agent: &'a AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The grant that is handed on.
    grant: &'a GrantId,
    /// To whom, where that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a AgentId>,
    method: &'static str,
    /// `allow` or `deny`.
    effect: &'static str,
    gate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    rules: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_digest: Option<&'a str>,
    /// What was asked for.
    asked: Asked<'a>,
    /// The grant that is to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<&'a GrantId>,
}

/// What was asked for, as far as whoever reads the record needs it; the terms of what was made are in the stream `admin`.
#[derive(Debug, Serialize)]
struct Asked<'a> {
    purpose: &'a str,
    tools: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    delegation_depth: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<Band>,
}

/// What was decided about a hop.
#[derive(Debug, Default)]
struct Verdict<'a> {
    reason: Option<&'static str>,
    detail: Option<String>,
    rules: Vec<String>,
    policy_digest: Option<String>,
    child: Option<&'a GrantId>,
}

impl Verdict<'_> {
    fn deny(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason: Some(reason), detail: Some(detail.into()), ..Self::default() }
    }
}

/// Hands on to this agent what is wanted of the grant that the principal acts under. Seen through even if whoever asked goes away.
pub(crate) async fn hand_on(
    from: From<'_>,
    to: &Arc<Agent>,
    wanted: GrantWanted,
    of: &Arc<Runtime>,
) -> Result<HandedOn, HopFault> {
    let by = format!("agent:{}", from.principal.agent.id);
    let wanted =
        GrantWanted { agent: to.id.to_string(), parent: Some(from.above.terms().id.to_string()), default: false, ..wanted };
    let (whom, asked) = (&to.id, &wanted);
    let refuse = |verdict: Verdict<'static>, fault: HopFault| async move {
        note(from, Some(whom), asked, &verdict, of).await?;
        Err(fault)
    };
    if to.id == from.principal.agent.id {
        return refuse(Verdict::deny("circle", "an agent can't hand its task on to itself"), HopFault::Oneself).await;
    }
    if from.above.chain().any(|grant| grant.terms().agent == to.id) {
        return refuse(Verdict::deny("circle", "the agent stands in the chain already"), HopFault::Refused).await;
    }
    // A stopped agent makes no others go on for it, nor is it given anything.
    let stops = |halt: &Halt| {
        halt.is_of_agent(&from.principal.agent.id, from.principal.instance.as_deref()) || halt.is_of_grant(from.above)
    };
    let in_force = of.gateway.ports().halts.in_force();
    let frozen = |halt: &Halt| Verdict::deny("halted", format!("{halt} is frozen: `bailiwick thaw` lets it go on"));
    if let Some(halt) = in_force.iter().find(|halt| stops(halt)) {
        return refuse(frozen(halt), HopFault::NotNow).await;
    }
    // What is so of the other agent is not told: not that it is stopped, nor how far it may reach.
    if let Some(halt) = in_force.iter().find(|halt| halt.is_of_agent(&to.id, None)) {
        return refuse(frozen(halt), HopFault::Refused).await;
    }
    let environment = wanted.environment.as_deref().unwrap_or(&from.above.terms().environment);
    let may_be_there = of.config().agent(to.id.as_str()).is_none_or(|registered| registered.may_be_in(environment));
    let is_beyond_it = |ceiling| ceiling > to.ceiling && ceiling <= issuing::reach(from.above, of);
    if wanted.ceiling.is_some_and(is_beyond_it) || !may_be_there {
        let why = format!("agent `{}` may not reach so high, or not be in the environment `{environment}`", to.id);
        return refuse(Verdict::deny("terms", why), HopFault::Refused).await;
    }
    let terms = match issuing::terms(&wanted, &by, of) {
        Ok(terms) => terms,
        Err(fault) => return refuse(Verdict::deny("terms", &fault.message), told(fault)).await,
    };
    let above = Grant { budget: from.above.left(), ..from.above.effective() };
    let excess = terms.excess_over(&above);
    if !excess.is_empty() {
        let why = GrantFault::Exceeds { parent: above.id, excess }.to_string();
        return refuse(Verdict::deny("exceeds", &why), HopFault::Beyond(why)).await;
    }
    let verdict = decide(from, to, &wanted, &terms, of);
    if verdict.reason.is_some() {
        return refuse(verdict, HopFault::Refused).await;
    }
    note(from, Some(&to.id), &wanted, &Verdict { child: Some(&terms.id), ..verdict }, of).await?;
    let deed = Deed::new("grant_created", terms.id.as_str(), serde_json::to_value(&terms).unwrap_or_default());
    let (runtime, author) = (Arc::clone(of), by.clone());
    let (principal, above, call, to) = (from.principal.clone(), Arc::clone(from.above), from.call.clone(), Arc::clone(to));
    let transport = from.transport;
    let made = deed.done_by_agent(&by, of, async move {
        let in_turn = runtime.changing.lock().await;
        // Another configuration may have come into force since it was decided: then it is by that one, or not at all.
        let from = From { principal: &principal, above: &above, call: &call, transport };
        let is_same = runtime.grants.by_id(&above.terms().id).is_some_and(|now| Arc::ptr_eq(&now, &above));
        let decided = decide(from, &to, &wanted, &terms, &runtime);
        if !is_same || decided.reason.is_some() || terms.ceiling > issuing::reach(&above, &runtime) {
            return Err(ApiFault::conflict("the grant, or what may be done with it, changed meanwhile"));
        }
        let token = issuing::issue_in_turn(&terms, &author, &runtime, &in_turn).await?;
        Ok(HandedOn { grant: terms, token })
    });
    made.await.map_err(told)
}

/// Puts on record that a task was to be handed on to somebody whom nothing proved to be an agent.
pub(crate) async fn to_nobody(from: From<'_>, wanted: &GrantWanted, why: &str, of: &Runtime) -> HopFault {
    let verdict = Verdict::deny("unknown_agent", why);
    note(from, None, wanted, &verdict, of).await.err().unwrap_or(HopFault::Refused)
}

/// What policy says of it. A step-up counts as a refusal: nobody is asked about a hop, but an operator can make the grant.
fn decide(from: From<'_>, to: &Agent, wanted: &GrantWanted, terms: &Grant, of: &Runtime) -> Verdict<'static> {
    let hop = Hop {
        to,
        tools: &wanted.tools,
        ttl_s: terms.expires_at_ms.saturating_sub(terms.not_before_ms) / 1000,
        ceiling: terms.ceiling,
        purpose: &terms.purpose,
        transport: from.transport,
        method: from.principal.method,
    };
    let Some(decided) = of.gateway.decide_hop(from.above, &hop) else {
        return Verdict::deny("internal", "the grant can't be put before the policies");
    };
    let ids = |rules: &[Rule]| rules.iter().map(|rule| rule.id.to_string()).collect();
    let verdict = match decided.decision.as_ref() {
        Decision::Allow { determining, .. } => Verdict { rules: ids(determining), ..Verdict::default() },
        Decision::StepUp { determining, .. } => {
            let detail = "a person would have to approve it, and nobody is asked about a hop: an operator can make the grant \
                          (`bailiwick grants create --parent`)";
            Verdict { rules: ids(determining), ..Verdict::deny("step_up", detail) }
        }
        Decision::Deny { determining, cause } => {
            Verdict { rules: ids(determining), ..Verdict::deny("policy", format!("policy refuses it: {cause:?}")) }
        }
    };
    Verdict { policy_digest: Some(decided.policy_digest), ..verdict }
}

/// Puts what was decided on record, on disk when this returns.
async fn note(
    from: From<'_>,
    to: Option<&AgentId>,
    wanted: &GrantWanted,
    verdict: &Verdict<'_>,
    of: &Runtime,
) -> Result<(), HopFault> {
    let record = DelegationRecord {
        event: "delegation",
        call_id: from.call,
        agent: &from.principal.agent.id,
        instance: from.principal.instance.as_deref(),
        grant: &from.above.terms().id,
        to,
        method: "oauth/token",
        effect: if verdict.reason.is_some() { "deny" } else { "allow" },
        gate: "delegate",
        reason: verdict.reason,
        detail: verdict.detail.as_deref(),
        rules: &verdict.rules,
        policy_digest: verdict.policy_digest.as_deref(),
        asked: Asked {
            purpose: &wanted.purpose,
            tools: &wanted.tools,
            ttl_ms: wanted.ttl_ms,
            delegation_depth: wanted.delegation_depth,
            ceiling: wanted.ceiling,
        },
        child: verdict.child,
    };
    let trail = of.recorder.trail();
    let lost = |why: bailiwick_trail::TrailFault| HopFault::Unavailable(format!("it can't be put on record: {why}"));
    let written = trail.append(Stream::Decisions, of.clock.now_ms(), &record).map_err(lost)?;
    trail.synced(written).await.map_err(lost)
}

/// What an agent is told of a fault that operators would read.
pub(crate) fn told(fault: ApiFault) -> HopFault {
    match fault.status() {
        StatusCode::BAD_REQUEST => HopFault::Terms(fault.message),
        StatusCode::SERVICE_UNAVAILABLE => HopFault::Unavailable(fault.message),
        _ => HopFault::NotNow,
    }
}
