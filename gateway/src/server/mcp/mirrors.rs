//! Headers that say what the body says: they never decide, and one that disagrees is refused.

use std::borrow::Cow;

use bailiwick_pipeline::received::{Message, Protocol, TaskVerb, Transport};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};

use super::{Era, Exchange, VERSION, bad, unsupported};
use crate::server::front::{TurnedAway, only};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

impl Exchange<'_> {
    /// The version that the header names; none without one.
    pub(super) fn version_header(&self) -> Result<Option<Protocol>, TurnedAway> {
        if !self.headers.contains_key(VERSION) {
            return Ok(None);
        }
        let Some(named) = only(&self.headers, &VERSION) else {
            return Err(bad("header_mismatch", "header MCP-Protocol-Version must be given once, as plain text"));
        };
        match Protocol::of(named) {
            Some(protocol) => Ok(Some(protocol)),
            None => Err(unsupported("header MCP-Protocol-Version names a version that is not served", named)),
        }
    }

    /// The headers `Mcp-Param-*`, where there are such.
    pub(super) fn mirrored(&self, era: &Era) -> Result<Option<Vec<(String, String)>>, TurnedAway> {
        if !era.protocol().is_modern() || self.transport == Transport::Stdio {
            return Ok(None);
        }
        let params = self.headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("mcp-param-")?, value)));
        let decoded = params.map(|(name, value)| {
            let value = value.to_str().ok().and_then(decode_sentinel);
            value.map(|value| (name.to_owned(), value.into_owned())).ok_or_else(|| {
                let name: String = name.chars().take(80).collect();
                bad("header_mismatch", format!("header Mcp-Param-{name} can't be decoded")).with_code(-32020)
            })
        });
        decoded.collect::<Result<_, _>>().map(Some)
    }
}

/// Headers never decide; one that disagrees with the body is refused (MCP 2026-07-28, `-32020`).
pub(super) fn check_mirrors(
    headers: &HeaderMap,
    message: &Message,
    protocol: Protocol,
    transport: Transport,
) -> Result<(), TurnedAway> {
    let needed = protocol.is_modern() && transport == Transport::Http;
    let mismatch = |name: &str| bad("header_mismatch", format!("header {name} and the body must agree")).with_code(-32020);
    let agrees = |name: &HeaderName, body: &str| match (headers.contains_key(name), only(headers, name)) {
        (false, _) => !needed,
        (true, None) => false,
        (true, Some(value)) => decode_sentinel(value).is_some_and(|value| value == body),
    };
    if !agrees(&METHOD, message.method()) {
        return Err(mismatch("Mcp-Method"));
    }
    let named = match message.method() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        method if TaskVerb::of(method).is_some() => "taskId",
        _ => return Ok(()),
    };
    match message.param(named).and_then(|name| serde_json::from_str::<String>(name).ok()) {
        Some(name) if !agrees(&NAME, &name) => Err(mismatch("Mcp-Name")),
        None if headers.contains_key(&NAME) => Err(mismatch("Mcp-Name")),
        _ => Ok(()),
    }
}

/// A header value, which may be wrapped as `=?base64?…?=`.
fn decode_sentinel(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(Cow::Borrowed(value)),
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok().map(Cow::Owned),
    }
}
