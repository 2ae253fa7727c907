//! Why a call stops: what the agent is told, and what the record keeps.

use std::ops::Deref;

use bailiwick_policy::{DenyCause, Rule};
use bailiwick_schemas::{names::Feature, validate::Place};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Body},
    constraint::Bound,
    detect,
    grant::GrantState,
    halts::Halt,
    ids::{AgentId, GrantId},
    ports::{AccessFailure, ApprovalFailure, ConnectFailure, IdentityFailure, LendFailure, SendFailure, Ticket, TrailLost},
    records::Outcome,
};

/// Several grants and none named. Our own codes are positive: the JSON-RPC range is taken.
pub const CODE_CHOOSE_GRANT: i64 = 1001;
/// The grant named or borne is not live, or not this agent's.
pub const CODE_GRANT_NOT_LIVE: i64 = 1002;
/// The gateway can't keep its record, and so does nothing.
pub const CODE_UNAVAILABLE: i64 = 1003;
/// Nobody is known by what was presented.
pub const CODE_UNAUTHENTICATED: i64 = 1004;

/// What was asked for is refused, or failed: what a tool's result would say, of a resource, a prompt or a suggestion.
pub const CODE_REFUSED: i64 = 1005;
/// A person has stopped this agent, connector or tool, or everything.
pub const CODE_HALTED: i64 = 1006;
/// It comes too fast: later it may go.
pub const CODE_TOO_FAST: i64 = 1007;
/// There is no such resource (MCP before 2026-07-28).
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// A client lacks a capability that the server needs (MCP 2026-07-28).
pub const MISSING_CAPABILITY: i64 = -32021;
/// An error of a server whose own code can't be passed on (JSON-RPC 2.0, 5.1: the range of servers).
pub const SERVER_ERROR: i64 = -32000;

/// Why a call is refused that a detection refuses, in one word.
pub(crate) const DETECTED: &str = "detected";

/// So much of a name that nothing has is said back in words, and so much as data.
const NAME_CHARS: usize = 256;
const DATA_CHARS: usize = 4096;

/// Why a call stopped.
#[derive(Debug, Clone)]
#[must_use = "a refusal that nobody hears refuses nothing"]
pub struct Refusal(Box<Why>);

/// What a [`Refusal`] says.
#[derive(Debug, Clone)]
pub struct Why {
    /// How the request ends by it.
    pub outcome: Outcome,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, for the operator: names what an agent may not know.
    pub detail: String,
    /// The policies that determined it.
    pub rules: Vec<String>,
    told: Body,
}

impl Deref for Refusal {
    type Target = Why;
    fn deref(&self) -> &Why {
        &self.0
    }
}

impl Refusal {
    fn tool_error(outcome: Outcome, reason: &'static str, text: impl Into<String>, detail: impl Into<String>) -> Self {
        let told = Body::ToolError { text: text.into(), meta: None };
        Self(Box::new(Why { outcome, reason, detail: detail.into(), rules: Vec::new(), told }))
    }

    fn error(
        outcome: Outcome,
        reason: &'static str,
        (code, http): (i64, u16),
        message: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let told = Body::Error { code, message: message.into(), data: None, http };
        Self(Box::new(Why { outcome, reason, detail: detail.into(), rules: Vec::new(), told }))
    }

    /// What the agent is told.
    pub fn into_answer(self) -> Answer {
        Answer { outcome: self.0.outcome, body: self.0.told }
    }

    /// Nobody is proven. One answer, whatever the cause.
    pub fn unauthenticated(failure: &IdentityFailure) -> Self {
        let message = "authentication is needed: present the agent's bearer token";
        Self::error(Outcome::Unauthenticated, "unauthenticated", (CODE_UNAUTHENTICATED, 401), message, failure.to_string())
    }

    /// The tool does not exist for this agent, for whatever cause: the same words for all.
    pub fn unknown_tool(name: &str, detail: impl Into<String>) -> Self {
        let name: String = name.chars().take(128).collect();
        Self::error(Outcome::Denied, "unknown_tool", (-32602, 200), format!("Unknown tool: {name}"), detail)
    }

    /// The tool that is to be described does not exist for this agent, for whatever cause: the same words for all.
    pub fn unknown_described(name: &str, detail: impl Into<String>) -> Self {
        let name: String = name.chars().take(128).collect();
        let text =
            format!("Unknown tool: {name}. Nothing that you may call has this name: search_tools finds what you may call.");
        Self::tool_error(Outcome::Denied, "unknown_tool", text, detail)
    }

    /// A resource or a prompt does not exist for this agent, for whatever cause: the same words for all. Who speaks 2026-07-28 hears
    /// `-32602` for a resource too, which others know as `-32002`.
    pub fn unknown_item(of: Feature, name: &str, detail: impl Into<String>) -> Self {
        let shown: String = name.chars().take(NAME_CHARS).collect();
        let (reason, code, what) = match of {
            Feature::PromptGet => ("unknown_prompt", -32602, "prompt"),
            _ => ("unknown_resource", RESOURCE_NOT_FOUND, "resource"),
        };
        let mut refusal = Self::error(Outcome::Denied, reason, (code, 200), format!("Unknown {what}: {shown}"), detail);
        if what == "resource" {
            refusal.give(&json!({ "uri": said_back(name) }));
        }
        refusal
    }

    /// The same as an answer to what has no results that are errors: only tools have such.
    pub(crate) fn into_error(mut self) -> Self {
        if let Body::ToolError { text, meta } = &mut self.0.told {
            let code = if self.0.outcome == Outcome::Invalid { -32602 } else { CODE_REFUSED };
            self.0.told = Body::Error {
                code,
                message: std::mem::take(text),
                data: meta.take().map(|meta| Bytes::from(meta.to_string())),
                http: 200,
            };
        }
        self
    }

    /// A request for more is not what it must be.
    pub fn request_malformed(why: &str) -> Self {
        Self::tool_error(Outcome::Invalid, "request_malformed", format!("Not asked: {why}."), why)
    }

    /// A request for more is not taken.
    pub fn request_not_taken(failure: &AccessFailure) -> Self {
        let (outcome, reason) = match failure {
            AccessFailure::TooMany(_) => (Outcome::RateLimited, "too_many_requests"),
            AccessFailure::TooSoon(_) => (Outcome::RateLimited, "asked_too_soon"),
            AccessFailure::Ended => (Outcome::Cancelled, "grant_ended"),
            AccessFailure::Lost(why) => return Self::internal(format!("a request for more could not be kept: {why}")),
        };
        Self::tool_error(outcome, reason, format!("Not asked: {failure}."), failure.to_string())
    }

    /// Answers that were not asked for, or are not what was.
    pub fn answers_not_taken(why: impl Into<String>) -> Self {
        let why = why.into();
        Self::error(Outcome::Invalid, "answers_not_taken", (-32602, 200), why.clone(), why)
    }

    /// What says that an agent waits for a person, and is not what it was given, or not any more.
    pub fn waits_for_nothing() -> Self {
        let why = "`requestState` is not one that this agent waits with under this grant, or not any more: call again without it";
        Self::error(Outcome::Invalid, "answers_not_taken", (-32602, 200), why, why)
    }

    /// The cursor is of no page of this list: of another grant's, of one that has changed since, or made up.
    pub fn invalid_cursor() -> Self {
        let message = "the cursor leads nowhere in this list as it is now: list again from the beginning, without a cursor";
        Self::error(Outcome::Invalid, "invalid_cursor", (-32602, 400), message, message)
    }

    /// There is a choice of grants, and the request names none.
    pub fn choose_grant(ids: &[GrantId]) -> Self {
        let list = ids.iter().map(GrantId::as_str).collect::<Vec<_>>();
        let message = format!("which grant is not clear: name one in the header Bailiwick-Grant ({})", list.join(", "));
        let mut refusal = Self::error(Outcome::Denied, "choose_grant", (CODE_CHOOSE_GRANT, 200), message.clone(), message);
        refusal.give(&json!({ "grants": list }));
        refusal
    }

    /// The grant that the request names or bears is not live for this agent.
    pub fn grant_not_live(named: &str, detail: impl Into<String>) -> Self {
        let named: String = named.chars().take(64).collect();
        let message = format!("grant `{named}` is not live for this agent: ask its owner for a new one");
        Self::error(Outcome::Denied, "grant_not_live", (CODE_GRANT_NOT_LIVE, 200), message, detail)
    }

    /// The grant, or one above it, ended while the call was under way. `may` says what has become of the call.
    pub fn grant_ended((id, state): (&GrantId, GrantState), may: &str) -> Self {
        let text = format!("STOPPED: the task grant was {} while the call was under way. {may}", state.as_str());
        Self::tool_error(Outcome::Cancelled, "grant_ended", text, format!("grant `{id}` is {}", state.as_str()))
    }

    /// The credential that the call goes out with was taken back. `may` says what has become of the call.
    pub fn credential_taken_back(connector: &str, lease: &str, may: &str) -> Self {
        let text = format!(
            "STOPPED: the credential that the call was made with was taken back while it was under way. {may} A further call gets another one."
        );
        let detail = format!("lease `{lease}` of connector `{connector}` was taken back");
        Self::tool_error(Outcome::Cancelled, "credential_taken_back", text, detail)
    }

    /// A person has stopped it, until a person lets it go on. Whoever asks hears that and no more: what else is halted, and why, is for
    /// operators.
    pub fn halted(halt: &Halt) -> Self {
        let message = format!(
            "FROZEN: {} by an operator. Not executed. This does not end by itself: do not retry until an operator says that it goes on.",
            stopped(halt)
        );
        let mut refusal =
            Self::error(Outcome::Denied, "halted", (CODE_HALTED, 200), message, format!("halt `{halt}` is in force"));
        refusal.give(&json!({ "halted": halt.kind(), "retryAfterMs": null }));
        refusal
    }

    /// The same where the call was under way. `may` says what has become of it.
    pub fn halted_under_way(halt: &Halt, may: &str) -> Self {
        let text = format!("STOPPED: {} by an operator while the call was under way. {may} Do not retry.", stopped(halt));
        let mut refusal = Self::tool_error(Outcome::Cancelled, "halted", text, format!("halt `{halt}` was put in force"));
        refusal.tell(json!({"dev.bailiwick/refusal": {"reason": "halted", "halted": halt.kind(), "retryAfterMs": null}}));
        refusal
    }

    /// The sender's token was revoked, or its agent changed, when the call was on record and not yet sent.
    pub fn no_longer_proven(agent: &AgentId) -> Self {
        let text = "STOPPED: the sender's token was revoked, or its agent changed, while the call was under way. Not executed.";
        let detail =
            format!("agent `{agent}` is no longer proven by the token that the call came with, or may not what it might");
        Self::tool_error(Outcome::Cancelled, "no_longer_proven", text, detail)
    }

    /// Arguments that the pinned schema does not allow.
    ///
    /// The agent knows what it sent. What rules have masked is not on record by these words either: then only the places are.
    pub fn invalid_arguments(places: &[Place], keeps_back: bool) -> Self {
        let list =
            places.iter().map(|place| format!("- {}: {}", shown(&place.pointer), place.message)).collect::<Vec<_>>().join("\n");
        let text = format!("INVALID ARGUMENTS: not executed. Correct these places and call again:\n{list}");
        let detail = if keeps_back {
            places.iter().map(|place| format!("- {}", shown(&place.pointer))).collect::<Vec<_>>().join("\n")
        } else {
            list
        };
        let mut refusal = Self::tool_error(Outcome::Invalid, "invalid_arguments", text, detail);
        refusal.tell(json!({"dev.bailiwick/refusal": {
            "reason": "invalid_arguments",
            "places": places.iter().map(|place| json!({"pointer": place.pointer, "message": place.message})).collect::<Vec<_>>(),
        }}));
        refusal
    }

    /// A header that mirrors an argument disagrees with it (MCP 2026-07-28, `-32020`).
    pub fn header_mismatch(header: &str) -> Self {
        let message = format!("header Mcp-Param-{header} and the argument it mirrors must agree");
        Self::error(Outcome::Invalid, "header_mismatch", (-32020, 400), message.clone(), message)
    }

    /// Arguments outside the grant's bounds.
    pub fn out_of_bounds(grant: &GrantId, broken: &[(&str, &Bound)]) -> Self {
        let list = broken
            .iter()
            .map(|(pointer, bound)| format!("- {}: must be {}", shown(pointer), bound.describe()))
            .collect::<Vec<_>>()
            .join("\n");
        let text = format!("DENIED: outside this task's grant, not executed. Allowed are:\n{list}");
        let mut refusal =
            Self::tool_error(Outcome::Denied, "argument_out_of_grant", text, format!("grant `{grant}` bounds it:\n{list}"));
        refusal.tell(json!({"dev.bailiwick/refusal": {
            "reason": "argument_out_of_grant",
            "places": broken.iter().map(|(pointer, bound)| json!({"pointer": pointer, "message": bound.describe()})).collect::<Vec<_>>(),
        }}));
        refusal
    }

    /// Policy says no.
    pub fn denied(determining: &[Rule], cause: &DenyCause) -> Self {
        let told = |rule: &Rule| match &rule.reason {
            Some(reason) => format!("{} ({reason})", rule.id),
            None => rule.id.to_string(),
        };
        let (reason, why) = match cause {
            DenyCause::Forbidden => ("policy_forbids", determining.iter().map(told).collect::<Vec<_>>().join(", ")),
            DenyCause::NoPermit => ("no_policy_permits", "no rule permits it".to_owned()),
            DenyCause::EvaluationError => ("policy_error", "a rule could not be evaluated".to_owned()),
            DenyCause::OpaqueArgument { pointer } => {
                ("opaque_argument", format!("a rule reads {pointer}, whose value it can't represent"))
            }
            DenyCause::UnknownTool => ("policy_error", "the policies do not know it".to_owned()),
        };
        let mut refusal = Self::tool_error(
            Outcome::Denied,
            reason,
            format!("DENIED by policy: {why}. Not executed; do not retry unchanged."),
            why,
        );
        refusal.0.rules = determining.iter().map(|rule| rule.id.to_string()).collect();
        refusal
    }

    /// A detection says no.
    pub fn detected(rule: &detect::Rule, why: &str) -> Self {
        let (name, advice) = (&rule.name, rule.sort.advice());
        let text = format!("DENIED by detection {name}: {why}. Not executed; do not retry unchanged. {advice}");
        let mut refusal =
            Self::tool_error(Outcome::Denied, DETECTED, text, format!("detection `{name}` ({}): {why}", rule.sort.as_str()));
        refusal.tell(json!({"dev.bailiwick/refusal": {
            "reason": DETECTED, "detection": name, "kind": rule.sort.as_str(), "windowMs": rule.window_ms,
        }}));
        refusal
    }

    /// A person said no.
    pub fn approval_denied(ticket: &Ticket, words: Option<&str>) -> Self {
        let words = words.map_or_else(String::new, |words| format!(" They say: {words}"));
        let text = format!("DENIED by the approver ({}). Not executed; do not retry.{words}", ticket.code);
        let mut refusal =
            Self::tool_error(Outcome::ApprovalRejected, "approval_denied", text, format!("approval `{}` was denied", ticket.id));
        refusal.tell(json!({"dev.bailiwick/approval": {"id": ticket.id, "code": ticket.code, "state": "denied"}}));
        refusal
    }

    /// A person is still to decide. Not a success, so that no model takes it for done; no structured content, which an output
    /// schema would have to allow.
    pub fn approval_pending(ticket: &Ticket, tool: &str, retry_ms: u64, rules: &[String], page: Option<&str>) -> Self {
        let tool: String = tool.chars().take(NAME_CHARS).collect();
        let shown = page.map(|page| format!(" Its status: {page}")).unwrap_or_default();
        let text = format!(
            "APPROVAL PENDING {}. Not executed. A person was asked to approve {tool}. Repeat exactly the same call to wait for \
             the decision and then use it (next try in {} s). Do not change the arguments.{shown}",
            ticket.code,
            retry_ms / 1000
        );
        let mut refusal =
            Self::tool_error(Outcome::ApprovalPending, "approval_pending", text, format!("approval `{}` is pending", ticket.id));
        let mut facts = pending_facts(ticket, page);
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("retryAfterMs".to_owned(), retry_ms.into());
        }
        refusal.tell(json!({ "dev.bailiwick/approval": facts }));
        refusal.0.rules = rules.to_vec();
        refusal
    }

    /// There is no such question about a call of this agent under this grant, for whatever cause: the same words for all.
    pub fn unknown_approval(handle: &str) -> Self {
        let handle: String = handle.chars().take(64).collect();
        let text = format!("UNKNOWN APPROVAL: no call of this task waits, or waited of late, under {handle:?}.");
        Self::tool_error(Outcome::Denied, "unknown_approval", text, "no such approval of this agent and grant".to_owned())
    }

    /// Nobody decided in time, or what was asked does not stand any more; and the agent does not wait itself, so that nobody is asked again.
    pub fn approval_lapsed() -> Self {
        let text = "DENIED: nobody decided in time, or what a person was asked for changed meanwhile. Not executed; call again where it is \
                    still wanted.";
        Self::tool_error(Outcome::ApprovalRejected, "approval_lapsed", text, "what a person was asked came to nothing")
    }

    /// There is no such task for this agent, for whatever cause: the same words for all.
    pub fn unknown_task(id: &str, detail: impl Into<String>) -> Self {
        let id: String = id.chars().take(64).collect();
        Self::error(Outcome::Denied, "unknown_task", (-32602, 200), format!("Unknown task: {id}"), detail)
    }

    /// The task was begun without a person's word, and policy asks for one by now.
    pub fn task_needs_approval() -> Self {
        let text = "DENIED by policy: a person has to approve this tool by now, and was not asked when the task began. Cancel the task, \
                    and call again.";
        Self::tool_error(
            Outcome::Denied,
            "task_not_approved",
            text,
            "policy asks for an approval that the first call did not have",
        )
    }

    /// What a call came to that its agent did not wait for, and that is not kept.
    pub fn too_large_to_keep(outcome: Outcome) -> Self {
        let text = format!(
            "LOST: the call ended ({}), and what it answered was too large to be kept with the others.",
            outcome.as_str()
        );
        Self::tool_error(outcome, "too_large_to_keep", text.clone(), text)
    }

    /// The server would make a task of the call, and its agent has as many as it may have.
    pub fn too_many_tasks() -> Self {
        let text = "DENIED: too many tasks are open. Not executed; wait until some are done, or cancel them.";
        Self::tool_error(
            Outcome::RateLimited,
            "too_many_tasks",
            text,
            "the agent, or all together, have as many tasks as may be kept",
        )
    }

    /// No approval could be asked for.
    pub fn approval_unavailable(failure: &ApprovalFailure) -> Self {
        let (outcome, reason) = match failure {
            ApprovalFailure::TooMany(_) => (Outcome::RateLimited, "too_many_pending"),
            ApprovalFailure::TooManyAsked(_) => (Outcome::RateLimited, "too_many_asked"),
            ApprovalFailure::Unwanted { .. } => (Outcome::RateLimited, "denied_in_a_row"),
            ApprovalFailure::Lost(_) => (Outcome::InternalError, "approvals_lost"),
        };
        let text = match failure {
            ApprovalFailure::TooMany(_) => format!("DENIED: {failure}. Not executed; wait for a decision on those first."),
            ApprovalFailure::TooManyAsked(_) => format!("DENIED: {failure}. Not executed, and nobody was asked."),
            ApprovalFailure::Unwanted { .. } => {
                format!("DENIED: {failure}. Not executed, and nobody was asked; do something else meanwhile.")
            }
            ApprovalFailure::Lost(_) => "DENIED: approvals can't be kept now. Not executed.".to_owned(),
        };
        Self::tool_error(outcome, reason, text, failure.to_string())
    }

    /// It comes too fast, by the rate of its grant or of its connector.
    pub fn too_fast(what: &str, rate: u32, detail: impl Into<String>) -> Self {
        let message = format!("{what} may be called {rate} times a second: wait. Not executed.");
        Self::error(Outcome::RateLimited, "too_many_requests", (CODE_TOO_FAST, 429), message, detail)
    }

    /// The grant is used up.
    pub fn budget(grant: &GrantId, what: &str, limit: u64) -> Self {
        let text = format!("DENIED: this task's budget of {limit} {what} is used up. Not executed.");
        Self::tool_error(Outcome::Denied, "budget_exhausted", text, format!("grant `{grant}`: {limit} {what}"))
    }

    /// Nothing could be lent.
    pub fn lend(failure: &LendFailure) -> Self {
        let text = format!("UNAVAILABLE: connector {} has no credential now. Not executed.", failure.connector);
        Self::tool_error(Outcome::Denied, "credential_unavailable", text, failure.to_string())
    }

    /// The server can't be reached, or offers another tool than was accepted. `detail` is the failure without the lent secret.
    pub fn connect(connector: &str, failure: &ConnectFailure, detail: &str) -> Self {
        let (outcome, reason) = match failure {
            ConnectFailure::Drifted { .. } => (Outcome::Denied, "tool_drifted"),
            ConnectFailure::Start(_) | ConnectFailure::Resting { .. } | ConnectFailure::Handshake(_) => {
                (Outcome::DownstreamError, "connector_unavailable")
            }
        };
        let text = format!("UNAVAILABLE: connector {connector} does not answer now. Not executed.");
        Self::tool_error(outcome, reason, text, format!("connector `{connector}`: {detail}"))
    }

    /// No reply came. `detail` is the failure without the lent secret.
    pub fn send(connector: &str, failure: &SendFailure, detail: &str) -> Self {
        let (outcome, reason, may) = match failure {
            SendFailure::Unsent(_) => (Outcome::DownstreamError, "unsent", "Not executed."),
            SendFailure::Closed(_) => (Outcome::DownstreamError, "connector_closed", "It may have been executed."),
            SendFailure::Timeout(_) => (Outcome::Timeout, "timeout", "It may have been executed."),
            SendFailure::Protocol(_) => (Outcome::DownstreamError, "protocol", "It may have been executed."),
            // An honest server has not executed it; this one's word is no proof.
            SendFailure::Denied(_) => (Outcome::DownstreamError, "access_denied", "It may have been executed."),
        };
        let told = match failure {
            SendFailure::Timeout(_) => "did not answer in time",
            _ => "failed",
        };
        Self::tool_error(
            outcome,
            reason,
            format!("FAILED: connector {connector} {told}. {may}"),
            format!("connector `{connector}`: {detail}"),
        )
    }

    /// A reply that may not pass.
    pub fn unscreened(connector: &str, why: impl Into<String>) -> Self {
        let text = format!("FAILED: connector {connector} answered what may not pass. It was executed.");
        Self::tool_error(Outcome::DownstreamError, "result_refused", text, format!("connector `{connector}`: {}", why.into()))
    }

    /// A rule has the call kept whole, and it can't be.
    pub fn not_kept(why: &str) -> Self {
        let text =
            "DENIED: a rule has this call kept on record whole, and that can't be done now. Not executed; try again later.";
        Self::tool_error(Outcome::Denied, "not_kept", text, format!("the arguments can't be kept: {why}"))
    }

    /// A rule has the result kept, and it can't be.
    pub fn result_not_kept(why: &str) -> Self {
        let text =
            "FAILED: a rule has this result kept on record, and that can't be done now. It was executed; its result is withheld.";
        Self::tool_error(Outcome::InternalError, "not_kept", text, format!("the result can't be kept: {why}"))
    }

    /// The record can't be written, so nothing may happen.
    pub fn trail_lost(lost: &TrailLost) -> Self {
        let message = "the gateway can't keep its record and does nothing until that is mended";
        Self::error(Outcome::InternalError, "trail_lost", (CODE_UNAVAILABLE, 503), message, lost.to_string())
    }

    /// Nobody may hear of it when this resource changes, though it may be read.
    pub fn unwatchable(why: &str) -> Self {
        let text = format!("DENIED: this resource can't be subscribed to: {why}. Read it when it is needed.");
        Self::tool_error(Outcome::Denied, "unwatchable", text, why)
    }

    /// What the call rests on kept changing.
    pub fn unsettled() -> Self {
        let text = "DENIED: what this call rests on kept changing. Not executed; call again.";
        Self::tool_error(Outcome::Denied, "unsettled", text, "the grant, the catalogue or the policies changed during every walk")
    }

    /// A fault of the gateway.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::error(Outcome::InternalError, "internal", (-32603, 500), "internal error: the call was stopped", detail)
    }

    fn give(&mut self, facts: &Value) {
        if let Body::Error { data, .. } = &mut self.0.told {
            *data = Some(Bytes::from(facts.to_string()));
        }
    }

    fn tell(&mut self, facts: Value) {
        if let Body::ToolError { meta, .. } = &mut self.0.told {
            *meta = Some(facts);
        }
    }
}

/// What programs are told of a question that nobody has decided.
pub(crate) fn pending_facts(ticket: &Ticket, page: Option<&str>) -> Value {
    let mut facts = json!({"id": ticket.id, "code": ticket.code, "state": "pending", "approveByMs": ticket.approve_by_ms});
    if let (Some(page), Some(facts)) = (page, facts.as_object_mut()) {
        facts.insert("statusUrl".to_owned(), page.into());
    }
    facts
}

/// The data of an error that is told under another code than its own: that code, and the data that came with it.
pub fn with_code(code: i64, data: Option<&Bytes>) -> Bytes {
    let data = data.and_then(|data| std::str::from_utf8(data).ok()).map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    Bytes::from(format!("{{\"code\":{code}{data}}}"))
}

/// A name as data says it back: whole, where it is none of those that are only long.
pub(crate) fn said_back(name: &str) -> String {
    name.chars().take(DATA_CHARS).collect()
}

/// What is stopped, in words that say no more than whoever asks knows.
fn stopped(halt: &Halt) -> &'static str {
    match halt {
        Halt::Everything => "every call is stopped",
        Halt::Agent(_) => "this agent is stopped",
        Halt::Instance(..) => "this instance of the agent is stopped",
        Halt::Connector(_) => "this connector is stopped",
        Halt::Tool(_) => "this tool is stopped",
    }
}

/// The whole of the arguments has an empty pointer: say so.
fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "(arguments)" } else { pointer }
}
