//! Gives an answer the form of a protocol version.

use std::fmt::Write as _;

use axum::{
    body::Body as HttpBody,
    response::{IntoResponse, Response},
};
use bailiwick_pipeline::{Answer, Body, received::Protocol};
use bailiwick_schemas::json;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::parts::Parts;

/// Who we say we are: in `initialize` and `server/discover`, and in the `_meta` of results.
pub(super) fn server_info() -> Value {
    json!({"name": "bailiwick", "title": "Bailiwick", "version": env!("CARGO_PKG_VERSION")})
}

/// The key of [`server_info`] in the `_meta` of results (MCP 2026-07-28).
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// A whole HTTP response to the request of this id.
pub(super) fn respond(id: &str, protocol: Protocol, answer: &Answer) -> Response {
    match &answer.body {
        Body::Error { code, message, data, http } => {
            // What a modern client must see as a status, an older one must see as an ordinary answer.
            let status = if protocol.is_modern() || *http == 401 || *http == 503 { *http } else { 200 };
            error(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), id, *code, message, data.as_ref())
        }
        Body::Result(text) => result(id, &stamped(text, protocol)),
        Body::ToolError { text, meta } => result(id, &tool_error(text, meta.as_ref(), protocol).to_string()),
        Body::Tools { list, ttl_ms } => {
            let after = if protocol.is_modern() {
                let meta = json!({SERVER_INFO: server_info()});
                format!(r#","resultType":"complete","ttlMs":{ttl_ms},"cacheScope":"private","_meta":{meta}}}}}"#)
            } else {
                "}}".to_owned()
            };
            let before = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":"#);
            let parts = Parts::new([before.into(), list.definitions().clone(), after.into()]);
            json_response(StatusCode::OK, parts.into_body())
        }
    }
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

fn json_response(status: StatusCode, body: impl Into<HttpBody>) -> Response {
    let mut response = (status, body.into()).into_response();
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

/// A downstream's result as this version has it: every field as it was written, `resultType` and our name added for modern
/// agents, what only modern agents know taken away for others.
fn stamped(text: &Bytes, protocol: Protocol) -> String {
    let text = std::str::from_utf8(text).unwrap_or("{}");
    let fields = json::fields(text).unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 128);
    out.push('{');
    let mut field = |key: &str, value: &str| {
        if out.len() > 1 {
            out.push(',');
        }
        let _infallible = write!(out, "{}:{value}", Value::from(key));
    };
    let mut named = false;
    if protocol.is_modern() {
        field("resultType", "\"complete\"");
    }
    for (key, value) in &fields {
        match key.as_ref() {
            "resultType" | "ttlMs" | "cacheScope" => {}
            "_meta" if protocol.is_modern() => {
                named = true;
                field("_meta", &with_server_info(value.get()));
            }
            key => field(key, value.get()),
        }
    }
    if protocol.is_modern() && !named {
        field("_meta", &json!({SERVER_INFO: server_info()}).to_string());
    }
    out.push('}');
    out
}

/// The `_meta` of a downstream, with our name in place of its own.
fn with_server_info(meta: &str) -> String {
    let mut meta: serde_json::Map<String, Value> = serde_json::from_str(meta).unwrap_or_default();
    meta.insert(SERVER_INFO.into(), server_info());
    Value::Object(meta).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_keeps_its_text_and_order() {
        let text =
            Bytes::from_static(br#"{"content":[],"n":1.50,"big":123456789012345678901234567890,"_meta":{"a":1},"z":1e400}"#);
        assert_eq!(stamped(&text, Protocol::V20250618), std::str::from_utf8(&text).unwrap_or_default());
        let modern = stamped(&text, Protocol::V20260728);
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
        assert_eq!(stamped(&text, Protocol::V20251125), r#"{"content":[]}"#);
        let modern = stamped(&text, Protocol::V20260728);
        assert_eq!(modern.matches("resultType").count(), 1);
        assert!(!modern.contains("public"));
    }
}
