//! Gives an answer the form of a protocol version.

use std::{fmt::Write as _, sync::LazyLock};

use bailiwick_pipeline::{
    Answer, Body, Part, ToolResult,
    ports::Listing,
    received::Protocol,
    refusal::{MISSING_CAPABILITY, RESOURCE_NOT_FOUND, SERVER_ERROR, with_code},
};
use bailiwick_schemas::json;
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
            let (code, data) = told_in(protocol, *code, data.as_ref());
            // What a modern client must see as a status, an older one must see as an ordinary answer.
            let status = if protocol.is_modern() || matches!(http, 401 | 429 | 503) { *http } else { 200 };
            let mut response = error(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), id, code, message, data.as_deref());
            if *http == 429 {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
        Body::Result(result) => json_response(StatusCode::OK, stamped(id, result, protocol, false)),
        Body::Questions(result) | Body::Task(result) => json_response(StatusCode::OK, asked(id, result)),
        Body::Content(result) => json_response(StatusCode::OK, stamped(id, result, protocol, true)),
        Body::ToolError { text, meta } => result(id, &tool_error(text, meta.as_ref(), protocol).to_string()),
        Body::Tools { page, ttl_ms } => {
            let next = next_cursor(page.next());
            let definitions = if protocol.is_modern() { page.definitions().clone() } else { page.older() };
            list(id, protocol, "tools", definitions, &next, *ttl_ms)
        }
        Body::Offers { listing, items, next, ttl_ms } => {
            let member = match listing {
                Listing::Resources => "resources",
                Listing::Templates => "resourceTemplates",
                Listing::Prompts => "prompts",
            };
            list(id, protocol, member, items.clone(), &next_cursor(next.as_deref()), *ttl_ms)
        }
    }
}

/// The member that leads to the next page. A cursor has letters, digits and `-`.
fn next_cursor(next: Option<&str>) -> String {
    next.map(|cursor| format!(r#","nextCursor":"{cursor}""#)).unwrap_or_default()
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

/// Code and data of an error as this version has them. What a version has no code for is told as an error of a server, with the code that it
/// has elsewhere in the data: so its client takes it for nothing else, neither for a fault in its own request nor for one of the gateway.
fn told_in(protocol: Protocol, code: i64, data: Option<&Bytes>) -> (i64, Option<String>) {
    let text = data.and_then(|data| std::str::from_utf8(data).ok());
    let is_about_a_resource = || {
        let fields = text.and_then(|text| json::fields(text).ok()).unwrap_or_default();
        fields.iter().any(|(key, value)| key == "uri" && value.get().starts_with('"'))
    };
    match (protocol.is_modern(), code) {
        // 2026-07-28 has no code of its own for a resource that is not there.
        (true, RESOURCE_NOT_FOUND) if is_about_a_resource() => (-32602, text.map(str::to_owned)),
        // Only 2026-07-28 knows capabilities that a single request lacks.
        (true, RESOURCE_NOT_FOUND) | (false, MISSING_CAPABILITY) => {
            (SERVER_ERROR, String::from_utf8(with_code(code, data).to_vec()).ok())
        }
        _ => (code, text.map(str::to_owned)),
    }
}

/// A JSON-RPC result.
pub(super) fn result(id: &str, result: &str) -> Response {
    let mut text = String::with_capacity(result.len() + id.len() + 40);
    // Writing to a string can't fail.
    let _infallible = write!(text, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    json_response(StatusCode::OK, text)
}

/// A JSON-RPC error. Without an id (nothing that could be read) it is null. `data` is JSON.
pub(super) fn error(status: StatusCode, id: &str, code: i64, message: &str, data: Option<&str>) -> Response {
    let message = Value::from(message);
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    json_response(status, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#))
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

/// What a server asks first, or what is said of a task: only who speaks 2026-07-28 is told so. It says itself of which type it is.
fn asked(id: &str, result: &ToolResult) -> Parts {
    let mut parts = vec![Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"#))];
    let (meta, others): (Vec<&Part>, Vec<&Part>) = result.members().iter().partition(|part| part.key.as_ref() == "_meta");
    for part in others {
        parts.push(part.text.clone());
        parts.push(Bytes::from_static(b","));
    }
    let meta = meta.first().map_or_else(|| format!("\"_meta\":{}", *NAMED), |meta| with_server_info(&meta.value));
    parts.push(meta.into());
    parts.push(Bytes::from_static(b"}}"));
    Parts::new(parts)
}

/// A downstream's result as this version has it: every member as it was written, `resultType` and our name added for modern
/// agents, what only modern agents know taken away for others.
/// Content that may be kept says for how long (MCP 2026-07-28, `server/utilities/caching`): not at all, as the next read is judged anew.
fn stamped(id: &str, result: &ToolResult, protocol: Protocol, may_be_kept: bool) -> Parts {
    let is_modern = protocol.is_modern();
    let before = match (is_modern, may_be_kept) {
        (false, _) => "{",
        (true, false) => r#"{"resultType":"complete""#,
        (true, true) => r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private""#,
    };
    let before = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{before}"#);
    // Only modern agents take structured content that is no object for a result at all.
    let is_odd = |part: &Part| !is_modern && part.key.as_ref() == "structuredContent" && !part.value.starts_with(b"{");
    let is_plain = |part: &Part| !matches!(part.key.as_ref(), "resultType" | "ttlMs" | "cacheScope" | "_meta") && !is_odd(part);
    let mut parts = vec![Bytes::from(before)];
    if result.members().iter().all(is_plain) && !result.members().is_empty() {
        // Nothing is in the way: what stands between the braces goes as it is.
        let inner = result.text().trim_ascii();
        let inner = inner.get(1..inner.len().saturating_sub(1)).unwrap_or_default();
        parts.extend(is_modern.then_some(Bytes::from_static(b",")));
        parts.push(result.text().slice_ref(inner));
    } else {
        let mut comma = is_modern;
        for part in result.members() {
            let text = match part.key.as_ref() {
                "resultType" | "ttlMs" | "cacheScope" => continue,
                _ if is_odd(part) => continue,
                "_meta" if is_modern => with_server_info(&part.value).into(),
                _ => part.text.clone(),
            };
            parts.extend(comma.then_some(Bytes::from_static(b",")));
            parts.push(text);
            comma = true;
        }
    }
    if is_modern && result.members().iter().all(|part| part.key.as_ref() != "_meta") {
        parts.push(Bytes::from_static(br#","_meta":"#));
        parts.push(Bytes::from_static(NAMED.as_bytes()));
    }
    parts.push(Bytes::from_static(b"}}"));
    Parts::new(parts)
}

/// The member `_meta` of a downstream, with our name in place of its own.
fn with_server_info(meta: &[u8]) -> String {
    let text = std::str::from_utf8(meta).unwrap_or_default();
    let Ok(members) = json::written(text) else { return format!("\"_meta\":{}", *NAMED) };
    let others = members.iter().filter(|member| member.key != SERVER_INFO).map(|member| format!("{},", member.text));
    format!("\"_meta\":{{{}\"{SERVER_INFO}\":{}}}", others.collect::<String>(), server_info())
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
    fn an_error_has_the_code_that_its_version_has() {
        let about = Bytes::from_static(br#"{"uri":"a:b","n":1e2}"#);
        let needed = Bytes::from_static(br#"{"requiredCapabilities":{"sampling":{}}}"#);
        let told = |protocol, code, data: &Bytes| {
            let (code, data) = told_in(protocol, code, Some(data));
            (code, data.unwrap_or_default())
        };
        let as_is = |data: &Bytes| String::from_utf8_lossy(data).into_owned();
        for legacy in [Protocol::V20250618, Protocol::V20251125] {
            assert_eq!(told(legacy, -32002, &about), (-32002, as_is(&about)));
            let wrapped = r#"{"code":-32021,"data":{"requiredCapabilities":{"sampling":{}}}}"#;
            assert_eq!(told(legacy, -32021, &needed), (-32000, wrapped.to_owned()));
            assert_eq!(told(legacy, -32602, &about), (-32602, as_is(&about)));
        }
        let modern = Protocol::V20260728;
        assert_eq!(told(modern, -32002, &about), (-32602, as_is(&about)));
        assert_eq!(told(modern, -32021, &needed), (-32021, as_is(&needed)));
        // Of a tool it means whatever its server means by it.
        assert_eq!(told(modern, -32002, &Bytes::from_static(b"7")), (-32000, r#"{"code":-32002,"data":7}"#.to_owned()));
        assert_eq!(told_in(modern, -32002, None), (-32000, Some(r#"{"code":-32002}"#.to_owned())));
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

    #[test]
    fn what_is_added_changes_nothing_beside_it() {
        let text = Bytes::from_static(
            br#"{ "\u0061" : 1e2, "resultType":"complete" ,"_meta": { "x\u002fy" : [1e2, 1.50] ,"io.modelcontextprotocol/serverInfo":{"name":"S"} }, "":{"z":1,"b":-0}}"#,
        );
        let modern = shown(&text, Protocol::V20260728);
        let begins = r#"{"resultType":"complete","\u0061" : 1e2,"_meta":{"x\u002fy" : [1e2, 1.50],"io.modelcontextprotocol/serverInfo":{"name":"bailiwick","#;
        assert!(modern.starts_with(begins) && modern.ends_with(r#"},"":{"z":1,"b":-0}}"#), "{modern}");
        assert!(!modern.contains(r#""S""#));
        let legacy = shown(&text, Protocol::V20251125);
        assert!(legacy.starts_with(r#"{"\u0061" : 1e2,"_meta": { "x\u002fy" : [1e2, 1.50] ,"#), "{legacy}");
        for meta in ["7", "null", "[]", "{}"] {
            let text = Bytes::from(format!(r#"{{"content":[],"_meta":{meta}}}"#));
            let modern: Value = serde_json::from_str(&shown(&text, Protocol::V20260728)).unwrap_or_default();
            assert!(modern.pointer("/_meta/io.modelcontextprotocol~1serverInfo/name").is_some(), "{meta}");
        }
    }
}
