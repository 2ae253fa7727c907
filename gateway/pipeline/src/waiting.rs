//! Waiting for a person: how long a call is held, what its agent is told and asked meanwhile, and who waits for what.

use std::{
    future::{Future, pending},
    time::Duration,
};

use bailiwick_schemas::canonical::Digest;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    answer::{Answer, Body, ToolResult},
    aside::Herald,
    gates::{self, Question},
    handle::Gateway,
    ids::ApprovalId,
    inquiry::{Inquiry, KEY, Ways, word_of},
    legs::{self, LEGS},
    patience::{OnCancel, Patience},
    ports::Ticket,
    received::{Asked, Received},
    records::Outcome,
    refusal::{Refusal, pending_facts},
    way::Way,
};

/// How often an agent is told that its call waits for a person.
const SAY_EVERY: Duration = Duration::from_secs(5);

impl Gateway {
    /// How many calls wait for this question at this moment: held for their agents, or as tasks that go on by themselves.
    pub fn waiting(&self, approval: &ApprovalId) -> usize {
        self.ports.approvals.waiting(approval)
    }

    /// Waits for a person, as long as the caller may be kept; then says that one is still to decide. An answer is one that has the agent
    /// come back; none means that the call walks again.
    pub(crate) async fn hold(
        &self,
        question: Question,
        tool: &str,
        until: &mut Option<Instant>,
        way: &mut Way<'_>,
    ) -> Result<Option<Answer>, Refusal> {
        let Question { ticket, rules, bound, leg } = question;
        way.seen.rules = rules;
        // A call that is held is in flight: the end of its grant ends the waiting, and the next walk says so.
        let grant_ends = way.seen.grant.as_ref().map(|grant| grant.cancelled().clone()).unwrap_or_default();
        way.step_up(&ticket, &self.ports).map_err(|lost| Refusal::trail_lost(&lost))?;
        let patience = self.patience_with(way);
        let until = *until.get_or_insert_with(|| self.held_until(patience, way.received()));
        let put = self.put(&ticket, tool, leg, until, way);
        let is_form = matches!(put, Put::Leg { form: true, .. });
        if is_form && self.was_answered(&ticket, way.received()).await {
            return Ok(None);
        }
        // Who is to say something is asked at once.
        let until = if is_form && leg == 0 { Instant::now() } else { until };
        let until = way.deferral.and_then(|deferral| deferral.begin(&ticket, way, &self.ports)).unwrap_or(until);
        let stage = way.enter("hold", "bailiwick.approval.wait", &self.ports);
        way.trace.note(stage, "bailiwick.approval.id", ticket.id.to_string());
        let began = self.ports.clock.now_ns();
        let seen = gates::Reached::of(&way.seen);
        let waiter = Waiter::begin(self, &ticket.id, patience.on_cancel);
        let asking = put.asking().zip(way.herald).map(|(inquiry, herald)| self.asking(inquiry, herald, &ticket));
        let decided = async {
            let asking = async { if let Some(asking) = asking { asking.await } else { pending().await } };
            tokio::select! {
                () = grant_ends.cancelled() => {}
                () = gates::halted_on_way(&seen, &self.ports) => {}
                () = self.ports.approvals.decided(&ticket.id) => {}
                () = asking => {}
            }
        };
        let decided = tokio::time::timeout_at(until, self.telling(&ticket, decided, way)).await;
        waiter.waited();
        way.seen.held_ns += self.ports.clock.now_ns().saturating_sub(began);
        way.trace.note(stage, "bailiwick.approval.outcome", if decided.is_ok() { "decided" } else { "pending" });
        way.leave(stage, &self.ports);
        if let Some(task) = way.deferred() {
            let words = format!("A person decided about {}: the call goes on", ticket.code);
            task.waits_for(words, self.ports.clock.now_ms());
            return if decided.is_ok() { Ok(None) } else { Err(Refusal::approval_lapsed()) };
        }
        if decided.is_ok() {
            return Ok(None);
        }
        let answer = if let Put::Leg { inquiry, .. } = put { self.comes_back(&ticket, bound, leg, inquiry, way) } else { None };
        answer.map(Some).ok_or_else(|| {
            let retry_ms = u64::try_from(self.settings.load().retry.as_millis()).unwrap_or(u64::MAX);
            Refusal::approval_pending(&ticket, tool, retry_ms, &way.seen.rules, self.page_of(&ticket.id).as_deref())
        })
    }

    fn patience_with(&self, way: &Way<'_>) -> Patience {
        let agent = way.seen.principal.as_ref().map(|principal| &principal.agent.id);
        agent.and_then(|agent| self.settings.load().patience.get(agent).copied()).unwrap_or_default()
    }

    /// Until when a call is held: from when it was received, as its client counts.
    fn held_until(&self, patience: Patience, received: &Received) -> Instant {
        let hold = patience.hold.unwrap_or_else(|| self.settings.load().hold);
        let on_its_way_ms = self.ports.clock.now_ns().saturating_sub(received.arrived_ns()) / 1_000_000;
        Instant::now() + hold.saturating_sub(Duration::from_millis(on_its_way_ms))
    }

    /// Where people see how this question stands, where there is such a page.
    fn page_of(&self, approval: &ApprovalId) -> Option<String> {
        self.settings.load().console_url.as_ref().map(|console| format!("{}/a/{approval}", console.trim_end_matches('/')))
    }

    /// What is put to whoever is at the client, and how.
    fn put(&self, ticket: &Ticket, tool: &str, leg: u8, until: Instant, way: &Way<'_>) -> Put {
        let received = way.received();
        // Nothing is held for this agent, or it does not wait itself: it is asked nothing.
        if until <= Instant::now() || way.deferral.is_some() || !comes_again(received) {
            return Put::Nothing;
        }
        let ways = Ways::of(received);
        let form =
            (ways.form && self.ports.approvals.is_for_user(&ticket.id)).then(|| Inquiry::form(ticket, tool, received)).flatten();
        let is_form = form.is_some();
        let page = || self.page_of(&ticket.id).filter(|_| ways.page).map(|url| Inquiry::page(ticket, tool, &url));
        let inquiry = form.or_else(page);
        if !received.origin().protocol.is_modern() {
            return inquiry.map_or(Put::Nothing, Put::OnStream);
        }
        let state_only = self.patience_with(way).state_only_legs;
        // Whoever declined to look at the page is not asked to once more, nor one who comes back by itself.
        let is_over = leg > 0 && !is_form && (state_only || !was_accepted(received));
        match inquiry.filter(|_| !is_over) {
            Some(inquiry) => Put::Leg { inquiry: Some(inquiry), form: is_form },
            None if state_only => Put::Leg { inquiry: None, form: false },
            None => Put::Nothing,
        }
    }

    /// Takes the word of the agent's user that a call brings. True where it counted: then somebody has decided.
    async fn was_answered(&self, ticket: &Ticket, received: &Received) -> bool {
        let Some(waited) = received.waited() else { return false };
        let responses: Value = serde_json::from_slice(waited.responses).unwrap_or_default();
        self.take_word(ticket, responses.get(KEY).unwrap_or(&Value::Null)).await
    }

    async fn take_word(&self, ticket: &Ticket, answer: &Value) -> bool {
        let Some(word) = word_of(answer, &ticket.code) else { return false };
        self.ports.approvals.confirm_by_user(&ticket.id, word, self.ports.clock.now_ms()).await
    }

    /// Asks on the stream of the call. It returns when the question is decided by that: who looks at a page decides nothing.
    async fn asking(&self, inquiry: Inquiry, herald: &dyn Herald, ticket: &Ticket) {
        let is_page = inquiry.is_page;
        let answer = herald.ask(inquiry).await;
        let answer: Option<Value> = answer.filter(|_| !is_page).and_then(|answer| serde_json::from_slice(&answer).ok());
        let is_decided = match answer {
            Some(answer) => self.take_word(ticket, &answer).await,
            None => false,
        };
        if !is_decided {
            pending::<()>().await;
        }
    }

    /// The answer that has an agent of 2026-07-28 come back and wait on. None where it has done so often enough.
    fn comes_back(&self, ticket: &Ticket, bound: Digest, leg: u8, inquiry: Option<Inquiry>, way: &Way<'_>) -> Option<Answer> {
        if leg >= LEGS {
            return None;
        }
        let state = legs::sealed(ticket, bound, leg + 1, way.seen.grant.as_ref()?.terms(), &self.ports)?;
        let facts = pending_facts(ticket, self.page_of(&ticket.id).as_deref());
        let mut told = json!({"resultType": "input_required", "requestState": state, "_meta": {"dev.bailiwick/approval": facts}});
        if let (Some(inquiry), Some(told)) = (inquiry, told.as_object_mut()) {
            told.insert("inputRequests".to_owned(), inquiry.requests());
        }
        let result = ToolResult::read(&Bytes::from(told.to_string()))?;
        Some(Answer { outcome: Outcome::ApprovalPending, body: Body::Questions(result) })
    }

    /// Waits, and tells the agent now and then that its call does, where it wants to hear of it.
    async fn telling(&self, ticket: &Ticket, waited_for: impl Future<Output = ()>, way: &mut Way<'_>) {
        if way.herald.is_none() || way.received().origin().wants.progress.is_none() {
            return waited_for.await;
        }
        tokio::pin!(waited_for);
        let mut every = tokio::time::interval(SAY_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut waited_for => return,
                _ = every.tick() => {
                    let left_ms = ticket.approve_by_ms.saturating_sub(self.ports.clock.now_ms());
                    way.tell_waiting(&format!("Waiting for approval {}, {} left", ticket.code, left(left_ms)));
                }
            }
        }
    }
}

/// What is put to whoever is at the client of a call that waits.
enum Put {
    /// Nothing: it is held, and then pending.
    Nothing,
    /// A question on the stream of the call, which is held meanwhile.
    OnStream(Inquiry),
    /// An answer, with which the agent comes back: with a question, or none.
    Leg { inquiry: Option<Inquiry>, form: bool },
}

impl Put {
    fn asking(&self) -> Option<Inquiry> {
        if let Self::OnStream(inquiry) = self { Some(inquiry.clone()) } else { None }
    }
}

/// Whether it is a request that can come back with what it was given.
fn comes_again(received: &Received) -> bool {
    match received.asked() {
        Asked::Call { .. } => true,
        Asked::Item(ask) => !ask.is_watch && ask.feature == ask.of,
        Asked::List { .. } | Asked::Offers { .. } | Asked::Task(_) => false,
    }
}

/// Whether the last page was looked at, as far as the client says.
fn was_accepted(received: &Received) -> bool {
    let responses = received.waited().and_then(|waited| serde_json::from_slice::<Value>(waited.responses).ok());
    responses.is_some_and(|responses| responses.pointer("/approval/action").is_some_and(|action| action == "accept"))
}

/// How long that is, for a person.
fn left(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// One call that waits. Dropped before it has waited long enough, its agent has gone away.
struct Waiter<'g> {
    gateway: &'g Gateway,
    approval: &'g ApprovalId,
    on_cancel: Option<OnCancel>,
}

impl<'g> Waiter<'g> {
    fn begin(gateway: &'g Gateway, approval: &'g ApprovalId, on_cancel: Option<OnCancel>) -> Self {
        Self { gateway, approval, on_cancel }
    }

    /// It waited as long as it was to: nobody went away.
    fn waited(mut self) {
        self.on_cancel = Some(OnCancel::Keep);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let (approvals, clock) = (&self.gateway.ports().approvals, &self.gateway.ports().clock);
        match self.on_cancel {
            // Somebody else does.
            _ if approvals.waiting(self.approval) > 0 => {}
            None => approvals.left(self.approval, clock.now_ms()),
            Some(OnCancel::Withdraw) => approvals.take_back(self.approval, clock.now_ms()),
            Some(OnCancel::Keep) => {}
        }
    }
}
