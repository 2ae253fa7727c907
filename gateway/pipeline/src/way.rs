//! One request on its way: what was seen of it, its trace, and the duty to close the trail once.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_policy::Differs;
use bailiwick_schemas::names::QualifiedName;
use bytes::Bytes;

use crate::{
    answer::Answer,
    aside::{Aside, AsideKind, Herald},
    catalogue::{Tool, World},
    defer::Deferral,
    gates,
    grant::{Labels, LiveGrant},
    ids::{ApprovalId, CallId},
    kept::Effect,
    ports::{ClaimEnd, Ports, Ticket, TrailLost},
    principal::Principal,
    received::{Asked, Received},
    records::{AsideRecord, Asked as AskedPolicy, DecisionRecord, FlowRecord, Outcome, OutcomeRecord, ResultRecord, TaskRecord},
    redact::Window,
    refusal::Refusal,
    tasks::Task,
    trace::CallTrace,
};

/// What was seen on the way: for the record and the trace only. No gate decides by it.
pub(crate) struct Seen {
    pub(crate) gate: &'static str,
    pub(crate) principal: Option<Principal>,
    pub(crate) grant: Option<Arc<LiveGrant>>,
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) rules: Vec<String>,
    /// What these demand beside a yes.
    pub(crate) obligations: Vec<String>,
    pub(crate) policy_digest: Option<String>,
    /// What the policies were asked.
    pub(crate) asked: Option<AskedPolicy>,
    /// What rules that are only watched would have decided otherwise.
    pub(crate) shadow: Vec<Differs>,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) claimed: Option<ApprovalId>,
    pub(crate) committed: bool,
    pub(crate) result: Option<ResultRecord>,
    /// What the agent is to be told, where a rule has it kept.
    pub(crate) to_keep: Option<Bytes>,
    /// Of a call that has no intent to say it.
    pub(crate) args_mac: Option<String>,
    pub(crate) task: Option<TaskRecord>,
    pub(crate) held_ns: u64,
    /// What people are asked for it, by policy.
    pub(crate) needs: BTreeSet<String>,
    /// What the agent has to be told, because it has happened.
    pub(crate) effect: Option<Box<Effect>>,
    /// The call whose outcome this one is answered with.
    pub(crate) outcome_of: Option<CallId>,
    pub(crate) asides: Asides,
    /// What the server has shown of what was lent.
    pub(crate) shown: gates::Shown,
    /// What the task was marked with for this call.
    pub(crate) labelled: Labels,
    /// What the decision read of where data flows.
    pub(crate) flow: Option<FlowRecord>,
    /// What was found of its task when it first came.
    pub(crate) noted: Option<Box<gates::Noted>>,
    /// The detections that fired on it: a bit for each.
    pub(crate) fired: u32,
    decided: bool,
    stepped_up: Option<ApprovalId>,
}

/// What became of what was said before the answer.
#[derive(Default)]
pub(crate) struct Asides {
    told: u64,
    /// What the agent may not hear, or could not.
    pub(crate) withheld: u64,
    /// What did not get as far as a gate.
    pub(crate) unheard: Option<Arc<AtomicU64>>,
    pub(crate) redactions: u64,
    /// The end of what was said, as far as a lent secret can have begun in it.
    pub(crate) said: Window,
    /// How far the agent was told that it is.
    pub(crate) last_progress: Option<f64>,
}

impl Asides {
    fn on_record(&self) -> Option<AsideRecord> {
        let unheard = self.unheard.as_ref().map_or(0, |unheard| unheard.load(Ordering::Relaxed));
        let record = AsideRecord { told: self.told, withheld: self.withheld + unheard, redactions: self.redactions };
        (record.told + record.withheld > 0).then_some(record)
    }
}

/// One request on its way: its trace, what was seen, and the duty to close the trail once.
#[expect(unnameable_types, reason = "gates take it, and only `handle` makes it")]
pub struct Way<'r> {
    pub(crate) trace: CallTrace,
    pub(crate) trace_id: String,
    pub(crate) seen: Seen,
    /// Who tells the agent what is said before the answer.
    pub(crate) herald: Option<&'r dyn Herald>,
    /// How the agent is told that it need not wait for a person.
    pub(crate) deferral: Option<&'r Deferral>,
    received: &'r Received,
    ports: &'r Ports,
    closed: bool,
    is_aside: bool,
}

impl<'r> Way<'r> {
    /// Takes up a request. Asks no port, so that nothing can go wrong before there is somebody to close the trail.
    pub(crate) fn open(received: &'r Received, herald: Option<&'r dyn Herald>, ports: &'r Ports) -> Self {
        Self {
            trace_id: String::new(),
            trace: CallTrace::begin("".into(), 0, [0; 16], Vec::new()),
            seen: Seen {
                gate: "receive",
                principal: None,
                grant: None,
                tool: None,
                rules: Vec::new(),
                obligations: Vec::new(),
                policy_digest: None,
                asked: None,
                shadow: Vec::new(),
                approval: None,
                claimed: None,
                committed: false,
                result: None,
                to_keep: None,
                args_mac: None,
                task: None,
                held_ns: 0,
                needs: BTreeSet::new(),
                effect: None,
                outcome_of: None,
                asides: Asides::default(),
                shown: gates::Shown::default(),
                labelled: Labels::NONE,
                flow: None,
                noted: None,
                fired: 0,
                decided: false,
                stepped_up: None,
            },
            herald,
            deferral: None,
            received,
            ports,
            closed: false,
            is_aside: false,
        }
    }

    /// A way beside the record, for a call that is only judged: it has no trail to close. The gates that write to the trail are
    /// not on it.
    pub(crate) fn aside(received: &'r Received, ports: &'r Ports) -> Self {
        let mut way = Self::open(received, None, ports);
        way.closed = true;
        way.is_aside = true;
        way
    }

    /// Whether nothing of it goes on record.
    pub(crate) fn is_beside_record(&self) -> bool {
        self.is_aside
    }

    /// Begins its trace.
    pub(crate) fn begin(&mut self, ports: &Ports) {
        let (name, links) = (self.received.method(), self.received.origin().links.clone());
        self.trace = CallTrace::begin(name.into(), self.received.arrived_ns(), ports.clock.random(), links);
        self.trace_id = self.trace.trace_id_hex();
    }

    /// The task that it has become already, while a person is asked.
    pub(crate) fn deferred(&self) -> Option<&'r Arc<Task>> {
        self.deferral.and_then(Deferral::task)
    }

    pub(crate) fn received(&self) -> &'r Received {
        self.received
    }

    /// Tells the agent something before its answer; `progress` is how far it says that the call is.
    pub(crate) fn tell(&mut self, aside: Aside, progress: Option<f64>) {
        if self.herald.is_some_and(|herald| herald.tell(aside)) {
            self.seen.asides.told += 1;
            self.seen.asides.last_progress = progress.or(self.seen.asides.last_progress);
        } else {
            self.seen.asides.withheld += 1;
        }
    }

    /// Tells the agent that its call waits for a person, where it wants to hear how far its call is.
    pub(crate) fn tell_waiting(&mut self, words: &str) {
        let Some(token) = self.received.origin().wants.progress.as_deref() else { return };
        // Little by little: what a server says later begins at nought or one, and must rise above this.
        let progress = self.seen.asides.last_progress.unwrap_or(0.0) + 0.001;
        let message = serde_json::Value::from(words);
        let params = format!(r#"{{"progressToken":{token},"progress":{progress:.3},"message":{message}}}"#);
        self.tell(Aside { kind: AsideKind::Progress, params }, Some(progress));
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
    pub(crate) fn step_up(&mut self, ticket: &Ticket, ports: &Ports) -> Result<(), TrailLost> {
        if self.seen.stepped_up.as_ref() == Some(&ticket.id) {
            return Ok(());
        }
        self.seen.stepped_up = Some(ticket.id.clone());
        self.decide("approval_awaited", "step_up", None, ports)?;
        self.seen.decided = false;
        Ok(())
    }

    fn decide(
        &mut self,
        event: &'static str,
        effect: &'static str,
        refusal: Option<&Refusal>,
        ports: &Ports,
    ) -> Result<(), TrailLost> {
        let tool = self.tool_on_record(ports);
        let record = DecisionRecord {
            event,
            call_id: self.received.call_id(),
            agent: self.seen.principal.as_ref().map(|principal| &principal.agent.id),
            grant: self.seen.grant.as_ref().map(|grant| &grant.terms().id),
            method: self.received.method(),
            tool: tool.as_deref(),
            effect,
            gate: self.seen.gate,
            reason: refusal.map(|refusal| refusal.reason),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            rules: refusal.map_or(&self.seen.rules, |refusal| &refusal.rules),
            obligations: &self.seen.obligations,
            policy_digest: self.seen.policy_digest.as_deref(),
            asked: self.seen.asked.as_ref(),
            // Once for a call, however often a person is asked about it.
            shadow: if event == "decided" { &self.seen.shadow } else { &[] },
            approval: self.seen.approval.as_ref(),
            flow: self.seen.flow.as_ref(),
            trace_id: &self.trace_id,
        };
        ports.trail.decision(ports.clock.now_ms(), &record)?;
        self.seen.decided = true;
        Ok(())
    }

    /// Closes the trail with the one outcome, hands over the trace, and says what the agent is told.
    pub(crate) fn close(mut self, ended: Result<Answer, Refusal>, ports: &Ports) -> Answer {
        let has_no_errors = matches!(self.received.asked(), Asked::Item(_) | Asked::Task(_));
        let (answer, refusal) = match ended.map_err(|refusal| if has_no_errors { refusal.into_error() } else { refusal }) {
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
        // What is not known of it is not found in what comes after it; its own record stands without that.
        let _unkept = caught(|| gates::ended(self, outcome, refusal, ports));
        let written =
            caught(|| self.write(outcome, refusal, ports)).unwrap_or_else(|words| Err(TrailLost(format!("a panic: {words}"))));
        // The record stands, or its loss is known: what comes now may fail without changing the answer.
        let _unsaid = caught(|| self.end_claim(outcome, ports));
        let heard = if written.is_ok() { outcome } else { Outcome::InternalError };
        let _untold = caught(|| self.finish_trace(heard, refusal, ports));
        written
    }

    /// The decision, if none is on record yet, and the outcome: the second also where the first is lost.
    fn write(&mut self, outcome: Outcome, refusal: Option<&Refusal>, ports: &Ports) -> Result<(), TrailLost> {
        let now_ms = ports.clock.now_ms();
        // Whoever was proven once is no stranger: what began on record ends on record.
        let is_stranger = outcome == Outcome::Unauthenticated && self.seen.principal.is_none();
        if is_stranger && !ports.trail.admits_stranger(now_ms) {
            return Ok(());
        }
        let decided = match (self.seen.decided, outcome) {
            (true, _) => Ok(()),
            (false, Outcome::ApprovalPending) => self.decide("decided", "step_up", refusal, ports),
            (false, _) => self.decide("decided", "deny", refusal, ports),
        };
        let result = self.seen.result.take();
        let args_mac = self.seen.args_mac.take();
        let tool = self.tool_on_record(ports);
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
            tool: tool.as_deref(),
            args_mac: args_mac.as_deref(),
            outcome,
            reason: refusal.map(|refusal| refusal.reason),
            detail: refusal.map(|refusal| refusal.detail.as_str()),
            approval: self.seen.approval.as_ref(),
            duration_us: ports.clock.now_ns().saturating_sub(self.received.arrived_ns()) / 1000,
            held_us: self.seen.held_ns / 1000,
            outcome_of: self.seen.outcome_of.as_ref(),
            result,
            asides: self.seen.asides.on_record(),
            task: self.seen.task.clone(),
            trace_id: &self.trace_id,
        };
        let ended = ports.trail.outcome(now_ms, &record);
        decided.and(ended)
    }

    /// The full name of the tool that is asked for, so that every record of it says the same; where there is none, or nobody is proven
    /// to ask, what was asked for.
    fn tool_on_record(&self, ports: &Ports) -> Option<Cow<'_, str>> {
        if let Some(tool) = &self.seen.tool {
            return Some(Cow::Borrowed(tool.name.as_str()));
        }
        // The record is kept even where the catalogue can't be asked.
        let world = self.seen.principal.as_ref().and_then(|_| caught(|| ports.worlds.now()).ok());
        if let Asked::Item(ask) = self.received.asked() {
            let (holder, _) = world.as_ref()?.item(ask.of, &ask.name)?;
            return Some(Cow::Owned(QualifiedName::of_feature(holder.connector.id.clone(), ask.feature).to_string()));
        }
        let name = self.received.tool()?;
        Some(world.map_or(Cow::Borrowed(capped(name)), |world| full_name(name, &world)))
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
            if tool.name.tool().is_some() {
                let name = tool.name.to_string();
                trace.root.name = format!("{} {name}", self.received.method()).into();
                trace.note_root("gen_ai.operation.name", "execute_tool");
                trace.note_root("gen_ai.tool.name", name);
            }
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
        if let Some(asides) = self.seen.asides.on_record() {
            trace.note_root("bailiwick.asides.told", asides.told);
            trace.note_root("bailiwick.asides.withheld", asides.withheld);
        }
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

/// Runs `work`; a panic in it becomes its words.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| words_of(panic.as_ref()))
}

/// The full name of the tool that agents call so; where there is none, what it is called, at a length that records bear.
pub fn full_name<'n>(name: &'n str, world: &World) -> Cow<'n, str> {
    match world.called(name) {
        Some(tool) if tool.name.as_str() != name => Cow::Owned(tool.name.to_string()),
        _ => Cow::Borrowed(capped(name)),
    }
}

pub(crate) fn capped(name: &str) -> &str {
    let end = name.char_indices().map(|(at, _)| at).nth(128).unwrap_or(name.len());
    name.get(..end).unwrap_or_default()
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("no message").chars().take(200).collect()
}
