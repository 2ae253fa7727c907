//! Gives an answer the form of a protocol version.

use std::{fmt::Write as _, sync::LazyLock};

use bailiwick_pipeline::{Answer, Body, ToolResult, ports::Listing, received::Protocol, refusal::RESOURCE_NOT_FOUND};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::parts::{Parts, Response, bare};

/// Who we say we are: in `initialize` and `server/discover`, and in the `_meta` of results.
pub(super) fn server_info() -> Value {
    json!({"name": "bailiwick", "title": "Bailiwick", "version": env!("CARGO_PKG_VERSION")})
}

/// The `_meta` of a result that has none.
static NAMED: LazyLock<String> = LazyLock::new(|| json!({SERVER_INFO: server_info()}).to_string());

/// The key of [`server_info`] in the `_meta` of results (MCP 2026-07-28).
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// A whole HTTP response to the request of this id.
pub(super) fn respond(id: &str, protocol: Protocol, answer: &Answer) -> Response {
    match &answer.body {
        Body::Error { code, message, data, http } => {
            let code = code_for(protocol, *code);
            // What a modern client must see as a status, an older one must see as an ordinary answer.
            let status = if protocol.is_modern() || *http == 401 || *http == 503 { *http } else { 200 };
            error(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), id, code, message, data.as_ref())
        }
        Body::Result(result) => json_response(StatusCode::OK, stamped(id, result, protocol, false)),
        Body::Questions(result) => json_response(StatusCode::OK, asked(id, result)),
        Body::Content(result) => json_response(StatusCode::OK, stamped(id, result, protocol, true)),
        Body::ToolError { text, meta } => result(id, &tool_error(text, meta.as_ref(), protocol).to_string()),
        Body::Tools { page, ttl_ms } => {
            // A cursor has letters, digits and `-`.
            let next = page.next().map(|cursor| format!(r#","nextCursor":"{cursor}""#)).unwrap_or_default();
            list(id, protocol, "tools", page.definitions().clone(), &next, *ttl_ms)
        }
        Body::Offers { listing, items, ttl_ms } => {
            let member = match listing {
                Listing::Resources => "resources",
                Listing::Templates => "resourceTemplates",
                Listing::Prompts => "prompts",
            };
            list(id, protocol, member, items.clone(), "", *ttl_ms)
        }
    }
}

/// A page of a list. Who may keep it is its asker alone (MCP 2026-07-28, `server/utilities/caching`).
fn list(id: &str, protocol: Protocol, member: &str, items: Bytes, next: &str, ttl_ms: u64) -> Response {
    let after = if protocol.is_modern() {
        let meta = NAMED.as_str();
        format!(r#"{next},"resultType":"complete","ttlMs":{ttl_ms},"cacheScope":"private","_meta":{meta}}}}}"#)
    } else {
        format!("{next}}}}}")
    };
    let before = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"{member}":"#);
    json_response(StatusCode::OK, Parts::new([before.into(), items, after.into()]))
}

/// 2026-07-28 has no code of its own for a resource that is not there.
fn code_for(protocol: Protocol, code: i64) -> i64 {
    if protocol.is_modern() && code == RESOURCE_NOT_FOUND { -32602 } else { code }
}

/// A JSON-RPC result.
pub(super) fn result(id: &str, result: &str) -> Response {
    let mut text = String::with_capacity(result.len() + id.len() + 40);
    // Writing to a string can't fail.
    let _infallible = write!(text, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    json_response(StatusCode::OK, text)
}

/// A JSON-RPC error. Without an id (nothing that could be read) it is null.
pub(super) fn error(status: StatusCode, id: &str, code: i64, message: &str, data: Option<&Value>) -> Response {
    let mut error = json!({"code": code, "message": message});
    if let (Some(error), Some(data)) = (error.as_object_mut(), data) {
        error.insert("data".into(), data.clone());
    }
    json_response(status, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

fn json_response(status: StatusCode, body: impl Into<Parts>) -> Response {
    let mut response = bare(status);
    *response.body_mut() = body.into();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn tool_error(text: &str, meta: Option<&Value>, protocol: Protocol) -> Value {
    let mut result = json!({"content": [{"type": "text", "text": text}], "isError": true});
    let mut facts = meta.and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(result) = result.as_object_mut() {
        if protocol.is_modern() {
            result.insert("resultType".into(), json!("complete"));
            facts.insert(SERVER_INFO.into(), server_info());
        }
        if !facts.is_empty() {
            result.insert("_meta".into(), Value::Object(facts));
        }
    }
    result
}

/// A downstream's result as this version has it: every member as it was written, `resultType` and our name added for modern
/// agents, what only modern agents know taken away for others.
/// What a server asks first: only who speaks 2026-07-28 is asked so.
fn asked(id: &str, result: &ToolResult) -> Parts {
    let mut parts = vec![Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"#))];
    let mut comma = "";
    for (key, value) in result.members().iter().filter(|(key, _)| key.as_ref() != "_meta") {
        parts.push(format!("{comma}{}:", Value::from(key.as_ref())).into());
        parts.push(value.clone());
        comma = ",";
    }
    let meta = result.members().iter().find(|(key, _)| key.as_ref() == "_meta");
    let meta = meta.map_or_else(|| Bytes::from_static(NAMED.as_bytes()), |(_, meta)| with_server_info(meta).into());
    parts.push(format!("{comma}\"_meta\":").into());
    parts.push(meta);
    parts.push(Bytes::from_static(b"}}"));
    Parts::new(parts)
}

/// Content that may be kept says for how long (MCP 2026-07-28, `server/utilities/caching`): not at all, as the next read is judged anew.
fn stamped(id: &str, result: &ToolResult, protocol: Protocol, may_be_kept: bool) -> Parts {
    let is_modern = protocol.is_modern();
    let before = match (is_modern, may_be_kept) {
        (false, _) => "{",
        (true, false) => r#"{"resultType":"complete""#,
        (true, true) => r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private""#,
    };
    let before = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{before}"#);
    let is_plain = |(key, _): &(Box<str>, Bytes)| !matches!(key.as_ref(), "resultType" | "ttlMs" | "cacheScope" | "_meta");
    let mut parts = vec![Bytes::from(before)];
    if result.members().iter().all(is_plain) && !result.members().is_empty() {
        // Nothing is in the way: what stands between the braces goes as it is.
        let inner = result.text().trim_ascii();
        let inner = inner.get(1..inner.len().saturating_sub(1)).unwrap_or_default();
        parts.extend(is_modern.then_some(Bytes::from_static(b",")));
        parts.push(result.text().slice_ref(inner));
    } else {
        let mut comma = if is_modern { "," } else { "" };
        for (key, value) in result.members() {
            let value = match key.as_ref() {
                "resultType" | "ttlMs" | "cacheScope" => continue,
                "_meta" if is_modern => with_server_info(value).into(),
                _ => value.clone(),
            };
            parts.push(format!("{comma}{}:", Value::from(key.as_ref())).into());
            parts.push(value);
            comma = ",";
        }
    }
    if is_modern && result.members().iter().all(|(key, _)| key.as_ref() != "_meta") {
        parts.push(Bytes::from_static(br#","_meta":"#));
        parts.push(Bytes::from_static(NAMED.as_bytes()));
    }
    parts.push(Bytes::from_static(b"}}"));
    Parts::new(parts)
}

/// The `_meta` of a downstream, with our name in place of its own.
fn with_server_info(meta: &[u8]) -> String {
    let mut meta: serde_json::Map<String, Value> = serde_json::from_slice(meta).unwrap_or_default();
    meta.insert(SERVER_INFO.into(), server_info());
    Value::Object(meta).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &Bytes, protocol: Protocol) -> String {
        let result = ToolResult::read(text).unwrap_or_default();
        let response = stamped("7", &result, protocol, false).into_text();
        let inner = response.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"result":"#).and_then(|rest| rest.strip_suffix('}'));
        inner.unwrap_or_default().to_owned()
    }

    #[test]
    fn a_plain_result_goes_as_it_is() {
        for text in [r#"{"content":[],"n":1.50}"#, "\n{ \"content\" : [ ] }\t", r#"{"con\u0074ent":[]}"#] {
            let legacy = shown(&Bytes::copy_from_slice(text.as_bytes()), Protocol::V20251125);
            assert_eq!(legacy, text.trim(), "{text}");
            let modern = shown(&Bytes::copy_from_slice(text.as_bytes()), Protocol::V20260728);
            let modern: Value = serde_json::from_str(&modern).unwrap_or_default();
            assert_eq!(modern.get("content"), Some(&json!([])), "{text}");
            assert_eq!(modern.get("resultType"), Some(&json!("complete")));
            assert!(modern.pointer("/_meta/io.modelcontextprotocol~1serverInfo/name").is_some());
        }
        assert_eq!(shown(&Bytes::from_static(b"{}"), Protocol::V20251125), "{}");
        let modern: Value = serde_json::from_str(&shown(&Bytes::from_static(b"{}"), Protocol::V20260728)).unwrap_or_default();
        assert_eq!(modern.as_object().map(serde_json::Map::len), Some(2));
    }

    #[test]
    fn a_result_keeps_its_text_and_order() {
        let text =
            Bytes::from_static(br#"{"content":[],"n":1.50,"big":123456789012345678901234567890,"_meta":{"a":1},"z":1e400}"#);
        assert_eq!(shown(&text, Protocol::V20250618), std::str::from_utf8(&text).unwrap_or_default());
        let modern = shown(&text, Protocol::V20260728);
        assert!(
            modern.starts_with(
                r#"{"resultType":"complete","content":[],"n":1.50,"big":123456789012345678901234567890,"_meta":{"a":1,"io."#
            ),
            "{modern}"
        );
        assert!(modern.ends_with(r#"},"z":1e400}"#), "{modern}");
    }

    #[test]
    fn what_only_modern_agents_know_is_taken_away_for_others() {
        let text = Bytes::from_static(br#"{"resultType":"complete","content":[],"ttlMs":5,"cacheScope":"public"}"#);
        assert_eq!(shown(&text, Protocol::V20251125), r#"{"content":[]}"#);
        let modern = shown(&text, Protocol::V20260728);
        assert_eq!(modern.matches("resultType").count(), 1);
        assert!(!modern.contains("public"));
    }
}
