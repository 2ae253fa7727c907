//! Questions of servers to agents of the versions that have a handshake: asked on the stream of the call that they belong to, and answered by
//! a message of their own (MCP 2025-11-25 `client/elicitation`, `client/sampling`, `client/roots`).
//!
//! Behind this, every version asks alike: in a result, with a handle, answered by the call made again, which walks every gate.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    Answer, Body, Gateway, Handled, Inquiry, Received, ToolResult,
    aside::{Aside, Herald},
    ports::Later,
    received::{Answers, Protocol},
    records::Outcome,
    refusal::SERVER_ERROR,
    trace::hex,
};
use bailiwick_schemas::json;
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{front::call_id, sessions::Session};

/// So often a server may ask before it answers one call.
const ROUNDS: usize = 10;
/// How long an agent may take to answer. A handle lives a little longer.
const PATIENCE: Duration = Duration::from_mins(9);

/// Puts a message into the stream of a call.
pub(super) trait Stream: Herald {
    /// False where it has no room, or nobody reads it.
    fn put(&self, message: &str) -> bool;
}

/// Handles a request, and asks its agent what its server wants to know, as often as it does.
pub(super) async fn conversed(
    gateway: &Gateway,
    mut received: Received,
    stream: &impl Stream,
    session: Option<&Arc<Session>>,
) -> Handled {
    let mut asking: Option<Forgotten> = None;
    for round in 0..=ROUNDS {
        let conversation = Conversation { gateway, stream, session, protocol: received.origin().protocol };
        let handled = gateway.handle_owing(&received, Some(&conversation)).await;
        let (Body::Questions(questions), Some(session)) = (&handled.answer.body, session) else { return handled };
        let Some((state, questions)) = asked(questions) else { break };
        if round == ROUNDS {
            gateway.ports().rounds.forget(&state);
            break;
        }
        // Whoever goes away leaves nothing waiting at the server.
        asking.replace(Forgotten { gateway: gateway.clone(), handle: state.clone() });
        let protocol = received.origin().protocol;
        let put = questions.into_iter().map(|question| question.put(session, stream, protocol, gateway));
        let answers: Vec<String> = join_all(put).await.into_iter().flatten().collect();
        let responses = Bytes::from(format!("{{{}}}", answers.join(",")));
        let clock = &gateway.ports().clock;
        let answers = Answers { state: Some(state), responses };
        received = received.answering(answers, call_id(clock.as_ref()), clock.now_ns());
    }
    let message = format!("its server asked more than {ROUNDS} times before it answered, and is not asked again");
    let body = Body::Error { code: SERVER_ERROR, message, data: None, http: 200 };
    Handled { answer: Answer { outcome: Outcome::DownstreamError, body }, effect: None }
}

/// The stream of a call, and the session that it belongs to, where it does to one.
struct Conversation<'c, S> {
    gateway: &'c Gateway,
    stream: &'c S,
    session: Option<&'c Arc<Session>>,
    protocol: Protocol,
}

impl<S: Stream> Herald for Conversation<'_, S> {
    fn tell(&self, aside: Aside) -> bool {
        self.stream.tell(aside)
    }

    fn ask(&self, inquiry: Inquiry) -> Later<'_, Option<Bytes>> {
        Box::pin(async move {
            let session = self.session?;
            if session.was_shown(&inquiry.approval) {
                return None;
            }
            if inquiry.is_page {
                session.shows(inquiry.approval.clone());
            }
            let question =
                Question { key: String::new(), method: "elicitation/create".to_owned(), params: inquiry.params.clone() };
            let answer = question.asked(session, self.stream, self.protocol, self.gateway).await;
            if answer.is_some() {
                session.shows(inquiry.approval);
            }
            answer
        })
    }
}

/// The handle, and what is asked.
fn asked(questions: &ToolResult) -> Option<(String, Vec<Question>)> {
    let value = |key: &str| questions.members().iter().find(|part| part.key.as_ref() == key).map(|part| &part.value);
    let state = serde_json::from_slice::<String>(value("requestState")?).ok()?;
    let requests = json::fields(std::str::from_utf8(value("inputRequests")?).ok()?).ok()?;
    let question = |(key, request): (std::borrow::Cow<'_, str>, &serde_json::value::RawValue)| {
        let mut request: Value = serde_json::from_str(request.get()).ok()?;
        let method = request.get("method")?.as_str()?.to_owned();
        Some(Question { key: key.into_owned(), method, params: request.get_mut("params").map(Value::take).unwrap_or_default() })
    };
    Some((state, requests.into_iter().map(question).collect::<Option<_>>()?))
}

/// One question, as the newest version has it.
struct Question {
    key: String,
    method: String,
    params: Value,
}

impl Question {
    /// Asks it, and waits for the answer: a member of the answers. None where there is none.
    async fn put(self, session: &Arc<Session>, stream: &impl Stream, protocol: Protocol, gateway: &Gateway) -> Option<String> {
        let (key, is_for_person) = (Value::from(self.key.as_str()), self.method == "elicitation/create");
        let answered = self.asked(session, stream, protocol, gateway).await;
        let text = match answered.as_ref().and_then(|answer| std::str::from_utf8(answer).ok()) {
            Some(text) => text,
            // Whoever asked a person hears that there was no answer; a model or a list of places is not there.
            None if is_for_person => r#"{"action":"cancel"}"#,
            None => return None,
        };
        Some(format!("{key}:{text}"))
    }

    /// Asks it, and waits for the answer. Dropped, or after too long, it is taken back.
    async fn asked(
        mut self,
        session: &Arc<Session>,
        stream: &impl Stream,
        protocol: Protocol,
        gateway: &Gateway,
    ) -> Option<Bytes> {
        self.in_words_of(protocol, gateway);
        let id = json!(format!("bailiwick-{}", hex(&gateway.ports().clock.random()))).to_string();
        let (open, answer) = session.ask(&id)?;
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{},"params":{}}}"#, Value::from(self.method.as_str()), self.params);
        if !stream.put(&message) {
            return None;
        }
        let mut put = Asked { stream, id: &id, is_over: false };
        let answered = tokio::time::timeout(PATIENCE, answer).await;
        put.is_over = answered.is_ok();
        drop(open);
        answered.ok()?.ok().flatten()
    }

    /// Older versions have forms alone, and say nothing of it, or know pages by an id.
    fn in_words_of(&mut self, protocol: Protocol, gateway: &Gateway) {
        let is_page = self.params.get("mode").is_some_and(|mode| mode == "url");
        let Some(params) = self.params.as_object_mut().filter(|_| self.method == "elicitation/create") else { return };
        if is_page {
            params.insert("elicitationId".to_owned(), hex(&gateway.ports().clock.random()).into());
        } else if protocol == Protocol::V20250618 {
            params.remove("mode");
        }
    }
}

/// A handle that is forgotten when nobody brings it any more.
struct Forgotten {
    gateway: Gateway,
    handle: String,
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        self.gateway.ports().rounds.forget(&self.handle);
    }
}

/// A question that a client has before it, until it was answered.
struct Asked<'q, S: Stream> {
    stream: &'q S,
    id: &'q str,
    is_over: bool,
}

impl<S: Stream> Drop for Asked<'_, S> {
    /// Nobody waits for the answer any more: the client may close what it shows.
    fn drop(&mut self) {
        if !self.is_over {
            let id = self.id;
            let params = format!(r#"{{"requestId":{id},"reason":"the call goes on, or is over"}}"#);
            let _unheard =
                self.stream.put(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#));
        }
    }
}
