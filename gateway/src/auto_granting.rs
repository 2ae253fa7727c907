//! Grants that agents get by themselves: for reads of band `low` by the admin's word, where a policy permits it, and never for long.
//! It is on record before the grant exists. What is refused is refused in the same words, whatever there is.

use std::{collections::BTreeSet, sync::Arc};

use bailiwick_pipeline::{
    catalogue::World,
    grant::{Grant, LiveGrant, ToolPattern},
    halts::Halt,
    ids::{AgentId, CallId},
    ports::{Grants as _, Worlds as _},
    principal::{Agent, Principal},
    received::Transport,
};
use bailiwick_policy::{Band, Decision, Kind, Rule};
use bailiwick_trail::Stream;
use serde::Serialize;

use crate::{
    admin::{Deed, api::GrantWanted, fault::ApiFault},
    delegating::{HandedOn, HopFault, told},
    issuing,
    runtime::{Runtime, millis},
};

/// Who asks for a grant of its own, and in which request.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// The agent, by an identity of its own.
    pub(crate) principal: Principal,
    /// The request, for the record.
    pub(crate) call: CallId,
    /// How it came.
    pub(crate) transport: Transport,
}

/// Stream `decisions`: an agent wants a grant of its own, and gets it or not. Written before the grant exists.
#[derive(Debug, Serialize)]
struct AutoGrantRecord<'a> {
    /// Always `auto_grant`.
    event: &'static str,
    call_id: &'a CallId,
    agent: &'a AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The grant that is to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
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
    purpose: &'a str,
    tools: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
}

/// What was decided.
#[derive(Debug, Default)]
struct Verdict {
    /// Why not, in one word and for operators.
    refused: Option<(&'static str, String)>,
    rules: Vec<String>,
    policy_digest: Option<String>,
}

impl Verdict {
    fn deny(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { refused: Some((reason, detail.into())), ..Self::default() }
    }
}

/// Gives an agent the grant that it wants, or says why not. Seen through even if whoever asked goes away.
pub(crate) async fn give(asking: &Asking, wanted: GrantWanted, of: &Arc<Runtime>) -> Result<HandedOn, HopFault> {
    let agent = Arc::clone(&asking.principal.agent);
    let longest_ms = millis(of.config().auto_grants.max_ttl);
    if wanted.ttl_ms.is_some_and(|ttl_ms| ttl_ms > longest_ms) {
        let words = format!("`expires_in` is {} at most for a grant that nobody else gives", longest_ms / 1000);
        note(asking, &wanted, &Verdict::deny("terms", words.clone()), None, of).await?;
        return Err(HopFault::Terms(words));
    }
    if let Some(words) = malformed(&wanted) {
        note(asking, &wanted, &Verdict::deny("terms", words.as_str()), None, of).await?;
        return Err(HopFault::Terms(words));
    }
    let wanted = GrantWanted {
        agent: agent.id.to_string(),
        parent: None,
        default: false,
        // Structural, and asked at each call: whatever becomes of a tool, this grant reaches nothing else.
        kinds: Some(BTreeSet::from([Kind::Read])),
        ceiling: Some(Band::Low),
        ttl_ms: Some(wanted.ttl_ms.unwrap_or(longest_ms)),
        ..wanted
    };
    // What can be said of its own words alone is told; what there is, is not.
    if let Some(why) = out_of_reach(&wanted, &agent, &of.worlds.now(), of) {
        note(asking, &wanted, &Verdict::deny("not_low_reads", why), None, of).await?;
        return Err(HopFault::Refused);
    }
    let by = format!("agent:{}", agent.id);
    let terms = match issuing::terms(&wanted, &by, of) {
        Ok(terms) => terms,
        // Its words were judged: what else there is to say is of what there is.
        Err(fault) => {
            note(asking, &wanted, &Verdict::deny("terms", &fault.message), None, of).await?;
            return Err(HopFault::Refused);
        }
    };
    let verdict = decide(asking, &wanted, &terms, of);
    if verdict.refused.is_some() {
        note(asking, &wanted, &verdict, None, of).await?;
        return Err(HopFault::Refused);
    }
    note(asking, &wanted, &verdict, Some(terms.id.as_str()), of).await?;
    let deed = Deed::new("grant_created", terms.id.as_str(), serde_json::to_value(&terms).unwrap_or_default());
    let (runtime, author, asking) = (Arc::clone(of), by.clone(), asking.clone());
    let made = deed.done_by_agent(&by, of, async move {
        let in_turn = runtime.changing.lock().await;
        // Another configuration may have come into force since it was decided, or another grant been made.
        let is_out = out_of_reach(&wanted, &agent, &runtime.worlds.now(), &runtime).is_some();
        if is_out || decide(&asking, &wanted, &terms, &runtime).refused.is_some() {
            return Err(ApiFault::conflict("what the agent may get by itself changed meanwhile"));
        }
        let token = issuing::issue_in_turn(&terms, &author, &runtime, &in_turn).await?;
        Ok(HandedOn { grant: terms, token })
    });
    made.await.map_err(|fault| match told(fault) {
        HopFault::Unavailable(why) => HopFault::Unavailable(why),
        _ => HopFault::Refused,
    })
}

/// What is wrong with what is wanted, whatever there is.
fn malformed(wanted: &GrantWanted) -> Option<String> {
    excessive(wanted).map(str::to_owned).or_else(|| issuing::check_words(wanted).err().map(|fault| fault.message))
}

/// What no agent gets by itself, whatever there is.
fn excessive(wanted: &GrantWanted) -> Option<&'static str> {
    let is_exact = |tool: &String| matches!(tool.parse(), Ok(ToolPattern::Tool(name)) if name.tool().is_some());
    if wanted.tools.is_empty() || !wanted.tools.iter().all(is_exact) {
        return Some("name each tool exactly, as `connector__tool`: an agent gets no patterns by itself");
    }
    if wanted.delegation_depth > 0 {
        return Some("what an agent gets by itself can't be handed on: leave out `delegation_depth`");
    }
    if wanted.may_request || wanted.may_complete {
        return Some(
            "what an agent gets by itself is not extended, and not ended as done: leave out `may_request` and `may_complete`",
        );
    }
    if wanted.ceiling.is_some_and(|ceiling| ceiling != Band::Low) {
        return Some("what an agent gets by itself reaches `low` and no higher: leave out `ceiling`");
    }
    wanted
        .kinds
        .as_ref()
        .is_some_and(|kinds| *kinds != BTreeSet::from([Kind::Read]))
        .then_some("what an agent gets by itself is for reads alone: leave out `kinds`")
}

/// Why one of the tools is none that an agent could get by itself, for operators: each must be a read of band `low` by the admin's word, of
/// a connector that is there in this environment.
fn out_of_reach(wanted: &GrantWanted, agent: &Agent, world: &World, of: &Runtime) -> Option<String> {
    let environment = wanted.environment.as_deref().unwrap_or(bailiwick_pipeline::grant::ANY_ENVIRONMENT);
    let may_be_there = of.config().agent(agent.id.as_str()).is_some_and(|registered| registered.may_be_in(environment));
    if !may_be_there {
        return Some(format!("agent `{}` may have no grant for the environment `{environment}`", agent.id));
    }
    let bounds = Grant {
        environment: environment.to_owned(),
        data_classes: wanted.data_classes.clone(),
        ..Grant::bare(bailiwick_pipeline::ids::GrantId::new(0, [0; 10]), agent.id.clone(), Vec::new(), 0..0)
    };
    wanted.tools.iter().find_map(|name| match world.tool(name) {
        None => Some(format!("no connector has a callable tool `{name}`")),
        Some(tool) if tool.kind != Kind::Read || tool.band != Band::Low => {
            Some(format!("`{name}` is `{}` and `{}`, and only reads of band `low` are given so", tool.kind, tool.band))
        }
        Some(tool) if !bounds.reaches(tool) => Some(format!("`{name}` is of another environment or data class")),
        Some(_) => None,
    })
}

/// What halts, the number of such grants and the policies say. A step-up counts as a refusal: nobody is asked.
fn decide(asking: &Asking, wanted: &GrantWanted, terms: &Grant, of: &Runtime) -> Verdict {
    let agent = &asking.principal.agent;
    let stops = |halt: &&Halt| halt.is_of_agent(&agent.id, asking.principal.instance.as_deref());
    let in_force = of.gateway.ports().halts.in_force();
    if let Some(halt) = in_force.iter().find(stops) {
        return Verdict::deny("halted", format!("{halt} is frozen: `bailiwick thaw` lets it go on"));
    }
    let (now_ms, most) = (of.clock.now_ms(), of.config().auto_grants.max_live_per_agent);
    let is_own = |grant: &Arc<LiveGrant>| is_auto(grant.terms()) && grant.is_live(now_ms);
    let live = of.grants.of(&agent.id).iter().filter(|grant| is_own(grant)).count();
    if live >= usize::try_from(most).unwrap_or(usize::MAX) {
        return Verdict::deny(
            "too_many",
            format!("agent `{}` has {live} of them already (`auto_grants.max_live_per_agent`)", agent.id),
        );
    }
    let live = u64::try_from(live).unwrap_or(u64::MAX);
    let way = (asking.transport, asking.principal.method);
    let Some(decided) = of.gateway.decide_auto_grant(terms, agent, (&wanted.tools, live), way) else {
        return Verdict::deny("internal", "the grant can't be put before the policies");
    };
    let ids = |rules: &[Rule]| rules.iter().map(|rule| rule.id.to_string()).collect();
    let verdict = match decided.decision.as_ref() {
        Decision::Allow { determining, .. } => Verdict { rules: ids(determining), ..Verdict::default() },
        Decision::StepUp { determining, .. } => {
            let detail = "a person would have to approve it, and nobody is asked about it: an operator can make the grant \
                          (`bailiwick grants create`)";
            Verdict { rules: ids(determining), ..Verdict::deny("step_up", detail) }
        }
        Decision::Deny { determining, cause } => {
            Verdict { rules: ids(determining), ..Verdict::deny("policy", format!("policy refuses it: {cause:?}")) }
        }
    };
    Verdict { policy_digest: Some(decided.policy_digest), ..verdict }
}

/// Whether an agent got this grant by itself: it made it, and of no other.
pub(crate) fn is_auto(terms: &Grant) -> bool {
    let by = terms.created_by.as_deref().and_then(|by| by.strip_prefix("agent:"));
    terms.parent.is_none() && by == Some(terms.agent.as_str())
}

/// Puts what was decided on record, on disk when this returns.
async fn note(
    asking: &Asking,
    wanted: &GrantWanted,
    verdict: &Verdict,
    grant: Option<&str>,
    of: &Runtime,
) -> Result<(), HopFault> {
    let refused = verdict.refused.as_ref();
    let record = AutoGrantRecord {
        event: "auto_grant",
        call_id: &asking.call,
        agent: &asking.principal.agent.id,
        instance: asking.principal.instance.as_deref(),
        grant,
        method: "oauth/token",
        effect: if refused.is_some() { "deny" } else { "allow" },
        gate: "auto_grant",
        reason: refused.map(|(reason, _)| *reason),
        detail: refused.map(|(_, detail)| detail.as_str()),
        rules: &verdict.rules,
        policy_digest: verdict.policy_digest.as_deref(),
        purpose: &wanted.purpose,
        tools: &wanted.tools,
        ttl_ms: wanted.ttl_ms,
    };
    let trail = of.recorder.trail();
    let lost = |why: bailiwick_trail::TrailFault| HopFault::Unavailable(format!("it can't be put on record: {why}"));
    let written = trail.append(Stream::Decisions, of.clock.now_ms(), &record).map_err(lost)?;
    trail.synced(written).await.map_err(lost)
}
