//! A message of the client, as far as the bridge looks into it: its id, its method, and the version it names.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// Too much at once. Our own codes are positive.
pub(super) const BUSY: i64 = 1010;
/// The gateway can't be reached.
pub(super) const UNREACHABLE: i64 = 1011;
/// The gateway answered what is no answer.
pub(super) const NO_ANSWER: i64 = 1012;

/// The key in `_meta` under which a modern request names its version.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// One message. What can't be read is carried as it is: the gateway says what is wrong with it.
#[derive(Debug)]
pub(super) struct Message {
    line: String,
    id: Option<String>,
    method: Option<String>,
    version: Option<String>,
    cancels: Option<String>,
    is_readable: bool,
    /// Whether it answers a question of the gateway's.
    answers: bool,
}

#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow)]
    id: Option<&'m RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<Params<'m>>,
    #[serde(borrow)]
    result: Option<&'m RawValue>,
    #[serde(borrow)]
    error: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct Params<'m> {
    #[serde(rename = "_meta")]
    meta: Option<serde_json::Map<String, Value>>,
    #[serde(rename = "requestId", borrow)]
    request_id: Option<&'m RawValue>,
}

impl Message {
    /// Looks into a line.
    pub(super) fn read(line: String) -> Self {
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(&line) else {
            return Self { line, id: None, method: None, version: None, cancels: None, is_readable: false, answers: false };
        };
        let (meta, request) = envelope.params.map_or((None, None), |params| (params.meta, params.request_id));
        let version = meta.as_ref().and_then(|meta| meta.get(META_VERSION)).and_then(Value::as_str).map(str::to_owned);
        let owned = |raw: &RawValue| raw.get().to_owned();
        let cancels = request.filter(|_| envelope.method.as_deref() == Some("notifications/cancelled")).map(owned);
        let answers = envelope.method.is_none() && (envelope.result.is_some() || envelope.error.is_some());
        let (id, method) = (envelope.id.map(owned), envelope.method);
        Self { line, id, method, version, cancels, is_readable: true, answers }
    }

    /// Its id, as written.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The id of the request that it cancels, as written.
    pub(super) fn cancels(&self) -> Option<&str> {
        self.cancels.as_deref()
    }

    /// As it is carried.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// The version that it names itself, if it stands alone (MCP 2026-07-28).
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether it stays open until it is called off (MCP 2026-07-28).
    pub(super) fn listens(&self) -> bool {
        self.method.as_deref() == Some("subscriptions/listen")
    }

    /// The resource that it begins to subscribe to in a session (true), or ends to.
    pub(super) fn subscribes(&self) -> Option<(bool, String)> {
        let begins = match self.method.as_deref()? {
            "resources/subscribe" => true,
            "resources/unsubscribe" => false,
            _ => return None,
        };
        let message: Value = serde_json::from_str(&self.line).ok()?;
        Some((begins, message.pointer("/params/uri")?.as_str()?.to_owned()))
    }

    /// Whether it opens a session.
    pub(super) fn opens(&self) -> bool {
        self.method.as_deref() == Some("initialize")
    }

    /// Whether a line from the gateway answers a request: it names no method.
    pub(super) fn is_answer(line: &str) -> bool {
        serde_json::from_str::<Envelope<'_>>(line).is_ok_and(|envelope| envelope.method.is_none())
    }

    /// Whether somebody waits for an answer. Of what can't be read, somebody may; of what answers a question itself, nobody does.
    pub(super) fn wants_answer(&self) -> bool {
        (self.id.is_some() && !self.answers) || !self.is_readable
    }

    /// An error as the answer to it.
    pub(super) fn error(&self, code: i64, words: &str) -> String {
        error(self.id.as_deref().unwrap_or("null"), code, words)
    }

    /// What the gateway answered, in one line, with this message's id where the gateway could not read one.
    pub(super) fn answer(&self, status: u16, body: &str) -> String {
        let parsed = serde_json::from_str::<Value>(body).ok().filter(|value| value.get("jsonrpc").is_some());
        match (parsed, &self.id) {
            (None, _) => self.error(NO_ANSWER, &format!("the gateway answered HTTP {status}")),
            (Some(answer), Some(id)) if answer.get("id").is_none_or(Value::is_null) => {
                let code = answer.pointer("/error/code").and_then(Value::as_i64).unwrap_or(NO_ANSWER);
                error(id, code, answer.pointer("/error/message").and_then(Value::as_str).unwrap_or_default())
            }
            // Between the tokens of JSON a line break is nothing but space; within them there is none.
            _ => body.replace(['\n', '\r'], " "),
        }
    }
}

/// A line was too long to be read at all.
pub(super) fn too_long(most: usize) -> String {
    error("null", -32600, &format!("the line is longer than {most} bytes and was not read"))
}

/// A line was no text: nothing in it can be told for certain.
pub(super) fn not_text() -> String {
    error("null", -32700, "the line is not UTF-8 and was not carried")
}

fn error(id: &str, code: i64, words: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, json!({"code": code, "message": words}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> Message {
        Message::read(line.to_owned())
    }

    #[test]
    fn ids_are_kept_as_they_are_written() {
        let request = message(
            r#"{"jsonrpc":"2.0","id":12345678901234567890,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        );
        assert_eq!(request.version(), Some("2026-07-28"));
        assert!(request.wants_answer() && !request.opens());
        assert_eq!(request.error(1, "no"), r#"{"jsonrpc":"2.0","id":12345678901234567890,"error":{"code":1,"message":"no"}}"#);
    }

    #[test]
    fn notifications_want_no_answer_and_riddles_do() {
        assert!(!message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).wants_answer());
        assert!(message("{").wants_answer());
        assert!(message("[]").wants_answer());
        assert!(message(r#"{"id":1,"method":"initialize","params":{}}"#).opens());
    }

    #[test]
    fn an_answer_names_no_method() {
        assert!(Message::is_answer(r#"{"jsonrpc":"2.0","id":1,"result":{"method":"x"}}"#));
        assert!(Message::is_answer(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#));
        for other in [r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#, "", "{", "[]"] {
            assert!(!Message::is_answer(other), "{other}");
        }
    }

    #[test]
    fn an_answer_is_one_line_with_the_right_id() {
        let request = message(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#);
        assert_eq!(
            request.answer(200, "{\"jsonrpc\":\"2.0\",\n\"id\":\"a\",\"result\":{\"n\":1.50}}"),
            r#"{"jsonrpc":"2.0", "id":"a","result":{"n":1.50}}"#
        );
        let refused = r#"{"jsonrpc":"2.0","id":null,"error":{"code":1004,"message":"authentication is needed"}}"#;
        assert_eq!(
            request.answer(401, refused),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":1004,"message":"authentication is needed"}}"#
        );
        assert_eq!(
            request.answer(502, "<html>"),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":1012,"message":"the gateway answered HTTP 502"}}"#
        );
        assert_eq!(message("{").answer(400, refused), refused);
    }
}
