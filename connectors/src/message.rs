//! JSON-RPC as a server writes it, strictly read, and as we write it, by hand: results and arguments stay the bytes they are.

use bailiwick_pipeline::aside::{AsideKind, Ear};
use bailiwick_schemas::json::{self, Limits};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    announcements::is_told,
    link::{Call, News},
    version::Version,
};

/// How deep a message may be nested: a result as deep as the wire allows, and what wraps it.
const DEPTH: usize = 128;
/// The longest id of a server's own request, as text.
const ID_BYTES: usize = 256;
/// The longest method name.
const METHOD_BYTES: usize = 256;

/// A message from a server.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// An answer to one of our ids.
    Answer {
        /// Which request.
        id: i64,
        /// What it says; an answer that is none keeps the reason.
        answer: Result<Answer, String>,
    },
    /// An answer to something that can't be ours: an id that is no integer.
    Stray,
    /// A question of the server's own.
    Request {
        /// Its id, as written.
        id: String,
        /// What it asks.
        method: String,
        /// With what, as written.
        params: Option<Bytes>,
    },
    /// News.
    Notification {
        /// Which.
        method: String,
        /// What it says, where that may be for an agent.
        news: Option<News>,
        /// Its `params`, where it is of a resource that changed or of what the server agreed to tell.
        told: Option<Bytes>,
    },
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The `result`, as written.
    Result(Bytes),
    /// The `error`.
    Error {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data, as written.
        data: Option<Bytes>,
    },
}

/// Reads one line. A fault means that the line is no message at all.
pub(crate) fn read(line: &Bytes, most: usize) -> Result<Incoming, String> {
    let outline = json::outline(line, Limits { bytes: most, depth: DEPTH }, 1).map_err(|fault| fault.to_string())?;
    if !outline.is_object() {
        return Err(json::JsonFault::NotAnObject.to_string());
    }
    let member = |key: &str| outline.member(key).map(|member| member.value);
    let (id, result, error) = (member("id"), member("result"), member("error"));
    if member("jsonrpc") != Some("\"2.0\"") {
        return Err("`jsonrpc` is not \"2.0\"".to_owned());
    }
    if let Some(method) = member("method") {
        let method: String = serde_json::from_str(method).map_err(|_| "`method` is not a string".to_owned())?;
        if method.len() > METHOD_BYTES {
            return Err("`method` is too long".to_owned());
        }
        return match id {
            None => {
                let params = member("params").map(|params| line.slice_ref(params.as_bytes()));
                let told = params.clone().filter(|_| is_told(&method));
                let news = AsideKind::of(&method).zip(params).map(|(kind, params)| News { kind, params });
                Ok(Incoming::Notification { method, news, told })
            }
            Some(id) if id.len() <= ID_BYTES && !id.starts_with(['{', '[', 'n', 't', 'f']) => {
                let params = member("params").map(|params| line.slice_ref(params.as_bytes()));
                Ok(Incoming::Request { id: id.to_owned(), method, params })
            }
            Some(_) => Err("the `id` of a request is neither a string nor a number".to_owned()),
        };
    }
    let answer = match (result, error) {
        (Some(result), None) => Ok(Answer::Result(line.slice_ref(result.as_bytes()))),
        (None, Some(error)) => read_error(line, error),
        (Some(_), Some(_)) => Err("it has both `result` and `error`".to_owned()),
        (None, None) => Err("it has neither `result` nor `error`".to_owned()),
    };
    match id {
        None => Err("neither a request nor an answer".to_owned()),
        Some(id) => Ok(exact_id(id).map_or(Incoming::Stray, |id| Incoming::Answer { id, answer })),
    }
}

/// An id in exactly the text that we write it in: not `"1"`, not `1.0`, not `01`.
pub(crate) fn exact_id(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|id| id.to_string() == text)
}

fn read_error(line: &Bytes, error: &str) -> Result<Answer, String> {
    let (mut code, mut message, mut data) = (None, None, None);
    for (key, value) in json::fields(error).map_err(|_| "`error` is not an object".to_owned())? {
        match key.as_ref() {
            "code" => code = value.get().parse::<i64>().ok(),
            "message" => message = serde_json::from_str::<String>(value.get()).ok(),
            "data" => data = Some(line.slice_ref(value.get().as_bytes())),
            _ => {}
        }
    }
    match (code, message) {
        (Some(code), Some(message)) => Ok(Answer::Error { code, message, data }),
        _ => Err("`error` lacks an integer `code` or a `message`".to_owned()),
    }
}

/// The id that a faulty line claims to answer. Good for one thing only: to fail that call now and not at its deadline.
pub(crate) fn claimed_id(line: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claim<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let claim: Claim<'_> = serde_json::from_slice(line).ok()?;
    exact_id(claim.id.get())
}

/// What every modern request says of us (MCP 2026-07-28): constant, because what a server lists may depend on it, and pins must hold.
const META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"bailiwick","title":"Bailiwick","version":"1"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":"#
);

/// A request. `members` are those of the object `params`, as JSON.
pub(crate) fn request(id: i64, method: &str, members: &str, version: Version) -> Vec<u8> {
    let meta = if version.is_modern() { format!("\"_meta\":{{{META}{{}}}}") } else { String::new() };
    let comma = if meta.is_empty() || members.is_empty() { "" } else { "," };
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{members}{comma}{meta}}}}}").into_bytes()
}

/// What an agent asked for. The arguments go out as they are; the tool and `traceparent` are quoted here.
pub(crate) fn call(id: i64, call: &Call<'_>, ear: Option<&Ear>, version: Version) -> Vec<u8> {
    let Call { method, tool, arguments, .. } = *call;
    let mut text = Vec::with_capacity(arguments.len() + call.meta.len() + tool.map_or(0, str::len) + 400);
    text.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    text.extend_from_slice(id.to_string().as_bytes());
    text.extend_from_slice(b",\"method\":\"");
    text.extend_from_slice(method.as_bytes());
    text.extend_from_slice(b"\",\"params\":{");
    let has_members = if let Some(tool) = tool {
        text.extend_from_slice(b"\"name\":");
        text.extend_from_slice(quoted(tool).as_bytes());
        text.extend_from_slice(b",\"arguments\":");
        text.extend_from_slice(arguments);
        true
    } else {
        let members = inside(arguments);
        text.extend_from_slice(members);
        !members.is_empty()
    };
    let has_members = match call.answers.filter(|_| version.is_modern()) {
        None => has_members,
        Some((responses, state)) => {
            text.extend_from_slice(if has_members { b",\"inputResponses\":" } else { b"\"inputResponses\":" });
            text.extend_from_slice(responses);
            if let Some(state) = state {
                text.extend_from_slice(b",\"requestState\":");
                text.extend_from_slice(quoted(state).as_bytes());
            }
            true
        }
    };
    // What stands before the next member of `_meta`.
    let mut before: &[u8] = if has_members { b",\"_meta\":{" } else { b"\"_meta\":{" };
    let mut member = |parts: &[&[u8]]| {
        text.extend_from_slice(before);
        for part in parts {
            text.extend_from_slice(part);
        }
        before = b",";
    };
    if version.is_modern() {
        member(&[META.as_bytes(), call.capabilities.unwrap_or("{}").as_bytes()]);
    }
    if !call.meta.is_empty() {
        member(&[call.meta]);
    }
    if let Some(traceparent) = call.traceparent {
        member(&[b"\"traceparent\":", quoted(traceparent).as_bytes()]);
    }
    if ear.is_some_and(Ear::hears_progress) {
        // A token of this hop: the agent's own stays between it and us.
        member(&[b"\"progressToken\":", id.to_string().as_bytes()]);
    }
    if let Some(level) = ear.and_then(Ear::level).filter(|_| version.is_modern()) {
        member(&[b"\"io.modelcontextprotocol/logLevel\":\"", level.as_str().as_bytes(), b"\""]);
    }
    text.extend_from_slice(if before == b"," { b"}}}" } else { b"}}" });
    text
}

/// The members of a JSON object.
fn inside(object: &[u8]) -> &[u8] {
    let inner = object.trim_ascii().strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    inner.unwrap_or_default().trim_ascii()
}

/// A notification. `params` is JSON.
pub(crate) fn notification(method: &str, params: Option<&str>) -> Vec<u8> {
    let params = params.map(|params| format!(",\"params\":{params}")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"{params}}}").into_bytes()
}

/// That a call is no longer wanted.
pub(crate) fn cancelled(id: i64) -> Vec<u8> {
    notification("notifications/cancelled", Some(&format!("{{\"requestId\":{id},\"reason\":\"no longer wanted\"}}")))
}

/// What we answer a server's own request with. `id` is JSON.
pub(crate) fn reply(id: &str, method: &str) -> Vec<u8> {
    if method == "ping" {
        return format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}").into_bytes();
    }
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"method not found\"}}}}").into_bytes()
}

/// What we answer a question with that an agent has answered: `result` is a JSON object. Without one it was refused.
pub(crate) fn answered(id: &str, result: Option<&Bytes>) -> Vec<u8> {
    match result {
        Some(result) => [b"{\"jsonrpc\":\"2.0\",\"id\":", id.as_bytes(), b",\"result\":", result, b"}"].concat(),
        None => format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-1,\"message\":\"the question was refused, or not answered\"}}}}"
        )
        .into_bytes(),
    }
}

/// Whether this is a question to whoever a call is for (MCP `client/elicitation`, `client/sampling`, `client/roots`).
pub(crate) fn is_for_agent(method: &str) -> bool {
    matches!(method, "elicitation/create" | "sampling/createMessage" | "roots/list")
}

/// A modern result must say of which kind it is (MCP 2026-07-28, `basic`).
pub(crate) fn check_kind(result: &Bytes) -> Result<(), String> {
    let outline = json::outline(result, Limits { bytes: usize::MAX, depth: DEPTH }, 1).map_err(|fault| fault.to_string())?;
    match outline.member("resultType") {
        Some(_) => Ok(()),
        None => Err("its result has no `resultType`, which MCP 2026-07-28 asks for".to_owned()),
    }
}

/// Whether a result says that the answer comes later (MCP extension `io.modelcontextprotocol/tasks`).
pub(crate) fn is_task(result: &Bytes) -> bool {
    is_kind(result, &["\"task\""])
}

/// Whether a result asks for input, or says that it comes later (MCP 2026-07-28), which no older server may.
pub(crate) fn is_question(result: &Bytes) -> bool {
    is_kind(result, &["\"input_required\"", "\"task\""])
}

fn is_kind(result: &Bytes, kinds: &[&str]) -> bool {
    let outline = || json::outline(result, Limits { bytes: usize::MAX, depth: DEPTH }, 1).ok();
    memchr::memmem::find(result, b"resultType").is_some()
        && outline().is_some_and(|outline| outline.member("resultType").is_some_and(|kind| kinds.contains(&kind.value)))
}

/// What is asked for by ourselves is answered at once: other kinds of result ask for something first.
pub(crate) fn check_complete(result: &Bytes) -> Result<(), String> {
    let outline = json::outline(result, Limits { bytes: usize::MAX, depth: DEPTH }, 1).map_err(|fault| fault.to_string())?;
    if !outline.is_object() {
        return Err("its result is not an object".to_owned());
    }
    match outline.member("resultType").map(|kind| kind.value) {
        Some("\"complete\"") => Ok(()),
        None => Err("its result has no `resultType`, which MCP 2026-07-28 asks for".to_owned()),
        Some("\"input_required\"") => {
            Err("it asks for input before it answers, which is not relayed: nothing was answered".to_owned())
        }
        Some("\"task\"") => Err("it made a task of the call, which is not relayed: nothing was answered".to_owned()),
        Some(_) => Err("its result has a `resultType` that is not known".to_owned()),
    }
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read_text(text: &'static str) -> Result<Incoming, String> {
        read(&Bytes::from_static(text.as_bytes()), 1 << 20)
    }

    #[test]
    fn results_stay_the_bytes_they_are() {
        let text = r#"{"jsonrpc":"2.0","id":7,"result": {"b":1e400,"a":1.0, "z":123456789012345678901234567890}}"#;
        match read_text(text) {
            Ok(Incoming::Answer { id: 7, answer: Ok(Answer::Result(raw)) }) => {
                assert_eq!(raw, r#"{"b":1e400,"a":1.0, "z":123456789012345678901234567890}"#);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_exact_id_is_an_id() {
        for id in ["\"1\"", "1.0", "1e0", "null", "{}", "99999999999999999999", "-0"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            assert!(matches!(read(&Bytes::from(text), 1 << 20), Ok(Incoming::Stray)), "{id}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "hello",
            "[]",
            "{}",
            "1",
            r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}} {}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":2}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#,
            "\u{feff}{}",
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_none_fails_its_own_call() {
        for text in [
            r#"{"jsonrpc":"2.0","id":3}"#,
            r#"{"jsonrpc":"2.0","id":3,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":"x","message":""}}"#,
            r#"{"jsonrpc":"2.0","id":3,"error":7}"#,
        ] {
            assert!(matches!(read_text(text), Ok(Incoming::Answer { id: 3, answer: Err(_) })), "{text}");
        }
        assert_eq!(claimed_id(br#"{"jsonrpc":"2.0","id":3,"result":{"a":1,"a":2}}"#), Some(3));
        assert_eq!(claimed_id(br#"{"id":"3"}"#), None);
        assert_eq!(claimed_id(br#"{"id":3,"id":4}"#), None);
        assert_eq!(claimed_id(b"log: 3"), None);
    }

    fn call_of<'a>(method: &'static str, tool: Option<&'a str>, arguments: &'a [u8], traceparent: Option<&'a str>) -> Call<'a> {
        Call { method, tool, arguments, name: None, mirrors: &[], traceparent, capabilities: None, answers: None, meta: b"" }
    }

    #[test]
    fn the_arguments_of_what_is_no_tool_are_its_params() {
        for (arguments, traceparent, version, expected) in [
            (r#" {"uri": "a:\u0062"} "#, None, Version::V20251125, r#"{"uri": "a:\u0062"}"#),
            ("{}", None, Version::V20251125, "{}"),
            ("{}", Some("00-aa-bb-01"), Version::V20251125, r#"{"_meta":{"traceparent":"00-aa-bb-01"}}"#),
            (
                r#"{"uri":"a:b"}"#,
                Some("00-aa-bb-01"),
                Version::V20250618,
                r#"{"uri":"a:b","_meta":{"traceparent":"00-aa-bb-01"}}"#,
            ),
        ] {
            let text = call(5, &call_of("resources/read", None, arguments.as_bytes(), traceparent), None, version);
            let before = r#"{"jsonrpc":"2.0","id":5,"method":"resources/read","params":"#;
            assert_eq!(String::from_utf8(text).unwrap(), format!("{before}{expected}}}"));
        }
    }

    #[test]
    fn a_call_carries_the_arguments_as_they_are() {
        let asked = call_of("tools/call", Some("get"), b"{\"b\" : 1e400,\n\"a\":\"\\n\"}", Some("00-aa-bb-01"));
        let text = call(5, &asked, None, Version::V20251125);
        let expected = "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":{\"name\":\"get\",\"arguments\":{\"b\" : 1e400,\n\"a\":\"\\n\"},\"_meta\":{\"traceparent\":\"00-aa-bb-01\"}}}";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_modern_request_says_who_asks_and_in_which_version() {
        for (traceparent, keys) in [(None, 3), (Some("00-aa-bb-01"), 4)] {
            let text = call(5, &call_of("tools/call", Some("get"), b"{}", traceparent), None, Version::V20260728);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let meta = value.pointer("/params/_meta").and_then(serde_json::Value::as_object).unwrap();
            assert_eq!((meta.len(), meta.get("traceparent").and_then(|it| it.as_str())), (keys, traceparent));
        }
        for members in ["", "\"cursor\":\"a\""] {
            let value: serde_json::Value =
                serde_json::from_slice(&request(1, "tools/list", members, Version::V20260728)).unwrap();
            assert_eq!(value.pointer("/params/_meta/io.modelcontextprotocol~1protocolVersion").unwrap(), "2026-07-28");
        }
    }

    #[test]
    fn a_modern_result_must_be_complete() {
        let told = |text: &'static str| check_complete(&Bytes::from_static(text.as_bytes())).err().unwrap_or_default();
        assert_eq!(told(r#"{"content":[],"resultType":"complete"}"#), "");
        assert!(told(r#"{"content":[]}"#).contains("no `resultType`"));
        assert!(told(r#"{"resultType":"input_required"}"#).contains("asks for input"));
        assert!(told(r#"{"resultType":"task"}"#).contains("a task"));
        assert!(told(r#"{"resultType":"Complete"}"#).contains("not known"));
        assert!(told("[]").contains("not an object"));
    }
}
