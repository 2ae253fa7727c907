//! Around the way: opens the trail, walks, holds for people, walks again, and closes the trail with exactly one outcome.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;

use crate::{
    answer::{Answer, Body},
    catalogue::Tool,
    gates::{self, Reply, ScreenLimits, Stop},
    grant::LiveGrant,
    ids::ApprovalId,
    ports::{ClaimEnd, Ports, Ticket, TrailLost},
    principal::Principal,
    received::{Asked, Received},
    records::{DecisionRecord, Outcome, OutcomeRecord, ResultRecord},
    refusal::Refusal,
    trace::CallTrace,
};

/// How often a call walks again because what it rested on changed, before it is refused.
const WALKS: usize = 8;

/// What an operator may set about the way.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a call is held for a person, before it is answered that one is to decide.
    pub hold: Duration,
    /// When a pending call is worth repeating.
    pub retry: Duration,
    /// How much may come back.
    pub screen: ScreenLimits,
    /// How long a list may be kept at most.
    pub list_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(45),
            retry: Duration::from_secs(15),
            screen: ScreenLimits::default(),
            list_ttl: Duration::from_secs(60),
        }
    }
}

/// The gateway's core: the one entrance for requests.
#[derive(Clone)]
pub struct Gateway {
    ports: Ports,
    settings: Settings,
}

impl Gateway {
    /// A gateway over these ports.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self { ports, settings }
    }

    /// Its ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Handles a request: exactly one answer, exactly one outcome on record, whatever happens. Dropping the future counts as
    /// the caller going away.
    pub async fn handle<'r>(&'r self, received: &'r Received) -> Answer {
        let mut way = Way::open(received, &self.ports);
        let walked = AssertUnwindSafe(self.settle(received, &mut way)).catch_unwind().await;
        let ended = walked.unwrap_or_else(|panic| {
            way.trace.root.error = Some("panic".to_owned());
            Err(Refusal::internal(format!("a panic in gate `{}`: {}", way.seen.gate, words_of(panic.as_ref()))))
        });
        way.close(ended, &self.ports)
    }

    /// Walks until there is an answer. Holding happens here, outside the way.
    async fn settle<'r>(&self, received: &'r Received, way: &mut Way<'r>) -> Result<Answer, Refusal> {
        let (name, arguments) = match received.asked() {
            Asked::Call { name, arguments } => (name, arguments),
            Asked::List => return self.list(received, way).await,
        };
        let until = tokio::time::Instant::now() + self.settings.hold;
        let mut stale = 0;
        loop {
            match self.walk(received, name, arguments, way).await {
                Ok(reply) => return Ok(reply.into_answer()),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                Err(Stop::Stale) if stale < WALKS => {
                    stale += 1;
                    tokio::task::yield_now().await;
                }
                Err(Stop::Stale) => return Err(Refusal::unsettled()),
                Err(Stop::Pending { ticket, rules, .. }) => self.hold(&ticket, rules, name, until, way).await?,
            }
        }
    }

    /// The way of a call.
    async fn walk<'r>(&self, received: &'r Received, name: &str, arguments: &[u8], way: &mut Way<'r>) -> Result<Reply, Stop> {
        let ports = &self.ports;
        let call = gates::identify(received, ports, way).await?;
        let call = gates::grant(call, name, ports, way)?;
        let call = gates::validate(call, arguments, ports, way)?;
        let call = gates::permit(call, ports, way)?;
        let call = gates::approve(call, ports, way).await?;
        let call = gates::arm(call, ports, way).await?;
        let call = gates::record(call, ports, way).await?;
        let call = gates::send(call, ports, way).await?;
        Ok(gates::screen(call, self.settings.screen, ports, way)?)
    }

    /// Waits for a person, as long as the caller may be kept; then says that one is still to decide.
    async fn hold(&self, ticket: &Ticket, rules: Vec<String>, tool: &str, until: tokio::time::Instant, way: &mut Way<'_>) -> Result<(), Refusal> {
        way.seen.rules = rules;
        way.step_up(ticket, &self.ports).map_err(|lost| Refusal::trail_lost(&lost))?;
        let stage = way.enter("hold", "bailiwick.approval.wait", &self.ports);
        way.trace.note(stage, "bailiwick.approval.id", ticket.id.to_string());
        let began = self.ports.clock.now_ns();
        let decided = tokio::time::timeout_at(until, self.ports.approvals.decided(&ticket.id)).await;
        way.seen.held_ns += self.ports.clock.now_ns().saturating_sub(began);
        way.trace.note(stage, "bailiwick.approval.outcome", if decided.is_ok() { "decided" } else { "pending" });
        way.leave(stage, &self.ports);
        let retry_ms = u64::try_from(self.settings.retry.as_millis()).unwrap_or(u64::MAX);
        decided.map_err(|_| Refusal::approval_pending(ticket, tool, retry_ms))
    }

    /// The tools of the grant that the request acts under: by the same decision as a call.
    async fn list<'r>(&self, received: &'r Received, way: &mut Way<'r>) -> Result<Answer, Refusal> {
        let call = gates::identify(received, &self.ports, way).await?;
        let stage = way.enter("grant", "bailiwick.grant.resolve", &self.ports);
        let grant = gates::chosen_grant(received, call.principal(), &self.ports)?;
        let (mut tools, mut ttl_ms) = (Vec::<Arc<Tool>>::new(), 0);
        if let Some(grant) = grant {
            let world = self.ports.worlds.now();
            let agent = &call.principal().agent;
            tools.extend(world.tools.values().filter(|tool| gates::visible(&world, &grant, agent, tool)).cloned());
            let left = grant.terms().expires_at_ms.saturating_sub(self.ports.clock.now_ms());
            ttl_ms = left.min(u64::try_from(self.settings.list_ttl.as_millis()).unwrap_or(u64::MAX));
            way.trace.note(stage, "bailiwick.grant.id", grant.terms().id.to_string());
            way.seen.grant = Some(grant);
        }
        way.decide_allow(&self.ports).map_err(|lost| Refusal::trail_lost(&lost))?;
        way.leave(stage, &self.ports);
        Ok(Answer { outcome: Outcome::Success, body: Body::Tools { tools, ttl_ms } })
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("no message").chars().take(200).collect()
}

/// What was seen on the way: for the record and the trace only. No gate decides by it.
pub(crate) struct Seen {
    pub(crate) gate: &'static str,
    pub(crate) principal: Option<Principal>,
    pub(crate) grant: Option<Arc<LiveGrant>>,
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) rules: Vec<String>,
    pub(crate) policy_digest: Option<String>,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) claimed: Option<ApprovalId>,
    pub(crate) committed: bool,
    pub(crate) result: Option<ResultRecord>,
    pub(crate) held_ns: u64,
    decided: bool,
    stepped_up: Option<ApprovalId>,
}

/// One request on its way: its trace, what was seen, and the duty to close the trail once.
#[expect(unnameable_types, reason = "gates take it, and only `handle` makes it")]
pub struct Way<'r> {
    pub(crate) trace: CallTrace,
    pub(crate) trace_id: String,
    pub(crate) seen: Seen,
    received: &'r Received,
    ports: &'r Ports,
    closed: bool,
}

impl<'r> Way<'r> {
    fn open(received: &'r Received, ports: &'r Ports) -> Self {
        let name = received.method();
        let trace = CallTrace::begin(name.into(), received.arrived_ns(), ports.clock.random(), received.origin().links.clone());
        Self {
            trace_id: trace.trace_id_hex(),
            trace,
            seen: Seen {
                gate: "receive",
                principal: None,
                grant: None,
                tool: None,
                rules: Vec::new(),
                policy_digest: None,
                approval: None,
                claimed: None,
                committed: false,
                result: None,
                held_ns: 0,
                decided: false,
                stepped_up: None,
            },
            received,
            ports,
            closed: false,
        }
    }

    pub(crate) fn enter(&mut self, gate: &'static str, span: &'static str, ports: &Ports) -> usize {
        self.seen.gate = gate;
        self.trace.start(span, false, ports.clock.now_ns())
    }

    pub(crate) fn enter_outward(&mut self, span: &str, ports: &Ports) -> usize {
        self.seen.gate = "send";
        self.trace.start(span.to_owned(), true, ports.clock.now_ns())
    }

    pub(crate) fn leave(&mut self, stage: usize, ports: &Ports) {
        self.trace.end(stage, ports.clock.now_ns());
    }

    /// Puts on record that the request is allowed.
    pub(crate) fn decide_allow(&mut self, ports: &Ports) -> Result<(), TrailLost> {
        self.decide("decided", "allow", None, ports)
    }

    /// Puts on record that a person is asked: once for each question.
    fn step_up(&mut self, ticket: &Ticket, ports: &Ports) -> Result<(), TrailLost> {
        if self.seen.stepped_up.as_ref() == Some(&ticket.id) {
            return Ok(());
        }
        self.seen.stepped_up = Some(ticket.id.clone());
        self.decide("approval_awaited", "step_up", None, ports)?;
        self.seen.decided = false;
        Ok(())
    }

    fn decide(&mut self, event: &'static str, effect: &'static str, refusal: Option<&Refusal>, ports: &Ports) -> Result<(), TrailLost> {
        self.seen.decided = true;
        let record = DecisionRecord {
            event,
            call_id: self.received.call_id(),
            agent: self.seen.principal.as_ref().map(|principal| &principal.agent.id),
            grant: self.seen.grant.as_ref().map(|grant| &grant.terms().id),
            method: self.received.method(),
            tool: self.received.tool().map(capped),
            effect,
            gate: self.seen.gate,
            reason: refusal.map(|refusal| refusal.reason),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            rules: refusal.map_or(&self.seen.rules, |refusal| &refusal.rules),
            policy_digest: self.seen.policy_digest.as_deref(),
            approval: self.seen.approval.as_ref(),
            trace_id: &self.trace_id,
        };
        ports.trail.decision(ports.clock.now_ms(), &record)
    }

    /// Closes the trail with the one outcome, hands over the trace, and says what the agent is told.
    fn close(mut self, ended: Result<Answer, Refusal>, ports: &Ports) -> Answer {
        let (answer, refusal) = match ended {
            Ok(answer) => (answer, None),
            Err(refusal) => (refusal.clone().into_answer(), Some(refusal)),
        };
        match self.on_record(answer.outcome, refusal.as_ref(), ports) {
            Ok(()) => answer,
            Err(lost) => Refusal::trail_lost(&lost).into_answer(),
        }
    }

    fn on_record(&mut self, outcome: Outcome, refusal: Option<&Refusal>, ports: &Ports) -> Result<(), TrailLost> {
        self.closed = true;
        self.end_claim(outcome, ports);
        self.finish_trace(outcome, refusal, ports);
        let now_ms = ports.clock.now_ms();
        if outcome == Outcome::Unauthenticated && !ports.trail.admits_stranger(now_ms) {
            return Ok(());
        }
        if !self.seen.decided {
            let effect = if outcome == Outcome::ApprovalPending { "step_up" } else { "deny" };
            self.decide("decided", effect, refusal, ports)?;
        }
        let record = OutcomeRecord {
            event: "outcome",
            call_id: self.received.call_id(),
            method: self.received.method(),
            jsonrpc_id: self.received.request_id(),
            protocol: self.received.origin().protocol.as_str(),
            transport: self.received.origin().transport.as_str(),
            size: self.received.size(),
            agent: self.seen.principal.as_ref().map(|principal| &principal.agent.id),
            instance: self.seen.principal.as_ref().and_then(|principal| principal.instance.as_deref()),
            auth_method: self.seen.principal.as_ref().map(|principal| principal.method.as_str()),
            grant: self.seen.grant.as_ref().map(|grant| &grant.terms().id),
            tool: self.received.tool().map(capped),
            outcome,
            reason: refusal.map(|refusal| refusal.reason),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            approval: self.seen.approval.as_ref(),
            duration_us: ports.clock.now_ns().saturating_sub(self.received.arrived_ns()) / 1000,
            held_us: self.seen.held_ns / 1000,
            result: self.seen.result.take(),
            trace_id: &self.trace_id,
        };
        ports.trail.outcome(now_ms, &record)
    }

    /// Says what became of a claimed approval. What was recorded but not answered may have run.
    fn end_claim(&mut self, outcome: Outcome, ports: &Ports) {
        let Some(claimed) = self.seen.claimed.take() else { return };
        let end = match outcome {
            Outcome::Success => ClaimEnd::Succeeded,
            Outcome::ToolError => ClaimEnd::Failed,
            _ if !self.seen.committed => ClaimEnd::Failed,
            _ => ClaimEnd::Unknown,
        };
        ports.approvals.finish(&claimed, end);
    }

    fn finish_trace(&mut self, outcome: Outcome, refusal: Option<&Refusal>, ports: &Ports) {
        let now_ns = ports.clock.now_ns();
        let trace = &mut self.trace;
        // A name that the caller chose is no name for a span; only one that the catalogue knows is.
        if let Some(tool) = &self.seen.tool {
            let name = tool.name.to_string();
            trace.root.name = format!("tools/call {name}").into();
            trace.note_root("gen_ai.operation.name", "execute_tool");
            trace.note_root("gen_ai.tool.name", name);
            trace.note_root("bailiwick.server.name", tool.connector.id.to_string());
            trace.note_root("bailiwick.tool.risk", tool.band.as_str());
            trace.note_root("bailiwick.tool.digest", tool.digest.to_string());
        }
        trace.note_root("mcp.method.name", self.received.method());
        trace.note_root("mcp.protocol.version", self.received.origin().protocol.as_str());
        trace.note_root("network.transport", self.received.origin().transport.network());
        if let Some(id) = self.received.request_id() {
            trace.note_root("jsonrpc.request.id", id.trim_matches('"').chars().take(64).collect::<String>());
        }
        trace.note_root("bailiwick.call.id", self.received.call_id().to_string());
        if let Some(grant) = &self.seen.grant {
            trace.note_root("bailiwick.task.id", grant.terms().id.to_string());
        }
        trace.note_root("bailiwick.outcome", outcome.as_str());
        trace.note_root("bailiwick.request.size", self.received.size());
        if let Some(refusal) = refusal {
            trace.important = true;
            trace.note_root("bailiwick.decision.reason", refusal.reason);
            trace.note_root("bailiwick.gate", self.seen.gate);
        }
        match outcome {
            Outcome::ToolError => trace.note_root("error.type", "tool_error"),
            Outcome::Timeout => trace.note_root("error.type", "timeout"),
            _ => {}
        }
        let failed = matches!(outcome, Outcome::DownstreamError | Outcome::Timeout | Outcome::InternalError);
        if failed && trace.root.error.is_none() {
            trace.root.error = Some(refusal.map_or("downstream_error", |refusal| refusal.reason).to_owned());
        }
        trace.root.end_ns = now_ns.max(trace.root.start_ns);
        // A stage that was never left was stopped in: it ends here.
        for stage in &mut trace.stages {
            if stage.end_ns == stage.start_ns {
                stage.end_ns = now_ns.max(stage.start_ns);
            }
        }
        let empty = CallTrace::begin("".into(), 0, [0; 16], Vec::new());
        ports.tracer.finish(std::mem::replace(trace, empty));
    }
}

impl Drop for Way<'_> {
    /// The caller went away: the call was dropped where it stood.
    fn drop(&mut self) {
        if !self.closed {
            let ports = self.ports;
            // A trail that is lost by now refuses every further call; there is nobody left to tell here.
            let _lost = self.on_record(Outcome::Cancelled, None, ports);
        }
    }
}

/// The name that an agent asked for, at a length that records bear.
fn capped(name: &str) -> &str {
    let end = name.char_indices().map(|(at, _)| at).nth(128).unwrap_or(name.len());
    name.get(..end).unwrap_or_default()
}
