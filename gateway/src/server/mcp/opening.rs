//! What an agent is told before it asks for anything, and sessions: how they begin and end.

use bailiwick_pipeline::{
    principal::{Presented, Principal},
    received::{Message, Protocol},
    records::Outcome,
    tasks::EXTENSION,
    trace::hex,
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Exchange, SESSION, askable_by, bad};
use crate::server::{
    front::{TurnedAway, only},
    parts::{Response, bare},
    render,
};

impl Exchange<'_> {
    /// Opens a session for an agent of an older version.
    pub(super) fn open_session(&self, id: &str, protocol: Protocol, principal: &Principal) -> Result<Response, TurnedAway> {
        let clock = &self.front.gateway.ports().clock;
        let session = hex(&clock.random());
        let declared = self.message.as_ref().and_then(|message| message.param("capabilities"));
        let askable = declared.map(askable_by).unwrap_or_default();
        if !self.front.sessions.open(session.clone(), principal.agent.id.clone(), protocol, askable, clock.now_ms()) {
            let message = "too many sessions are open: end some, or wait until they are idle";
            return Err(TurnedAway::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::RateLimited, "too_many_sessions", message));
        }
        let result = json!({
            "protocolVersion": protocol.as_str(),
            "capabilities": capabilities(),
            "serverInfo": render::server_info(),
            "instructions": INSTRUCTIONS,
        });
        let mut response = match &self.message {
            Some(message) => self.plain(id, &result, message),
            None => render::result(id, &result.to_string()),
        };
        if let Ok(session) = HeaderValue::from_str(&session) {
            response.headers_mut().insert(SESSION, session);
        }
        Ok(response)
    }

    /// A request that carries no message: it is of its session's version, where it has a session.
    pub(super) async fn without_message(
        &mut self,
        method: &Method,
        principal: &Principal,
        presented: Presented,
    ) -> Result<Response, TurnedAway> {
        let now_ms = self.front.gateway.ports().clock.now_ms();
        let named = only(&self.headers, &SESSION);
        let session = named.and_then(|id| self.front.sessions.find(id, &principal.agent.id, now_ms));
        self.protocol = session.as_ref().map(|session| session.protocol);
        match (method, session) {
            (&Method::DELETE, _) => Ok(self.close_session(principal)),
            (&Method::GET, Some(session)) => self.session_stream(session, presented).await,
            _ => Ok(self.not_allowed("http", Outcome::Invalid, "method_not_allowed")),
        }
    }

    fn close_session(&self, principal: &Principal) -> Response {
        let now_ms = self.front.gateway.ports().clock.now_ms();
        let closed = only(&self.headers, &SESSION).is_some_and(|id| self.front.sessions.close(id, &principal.agent.id, now_ms));
        self.note("session/close", if closed { Outcome::Success } else { Outcome::Invalid }, None, None);
        bare(if closed { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
    }

    fn not_allowed(&self, method: &str, outcome: Outcome, reason: &str) -> Response {
        self.note(method, outcome, Some(reason), None);
        let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        response
    }
}

/// The answer to `server/discover` (MCP 2026-07-28).
pub(super) fn discovered() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": Protocol::ALL.map(Protocol::as_str),
        "capabilities": with_tasks(capabilities()),
        "instructions": INSTRUCTIONS,
        "ttlMs": 60_000,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": render::server_info()},
    })
}

/// What is served at all; what of it is granted, the lists say.
fn capabilities() -> Value {
    json!({
        "tools": {"listChanged": true},
        "resources": {"subscribe": true, "listChanged": true},
        "prompts": {"listChanged": true},
        "completions": {},
        "logging": {},
    })
}

/// The same with what only 2026-07-28 has: calls that are answered later (SEP-2663).
fn with_tasks(mut capabilities: Value) -> Value {
    if let Some(capabilities) = capabilities.as_object_mut() {
        capabilities.insert("extensions".to_owned(), json!({EXTENSION: {}}));
    }
    capabilities
}

const INSTRUCTIONS: &str = "Call a tool by the name that it is listed under. What is not listed is not granted. A result that begins with APPROVAL PENDING \
    means that nothing was executed yet: repeat exactly the same call later.";

/// The version that an `initialize` is answered with: the one it asks for if it is served, 2025-06-18 to older ones, else the
/// newest that has a handshake.
pub(super) fn initialize_version(message: &Message) -> Result<Protocol, TurnedAway> {
    let Some(asked) = message.param("protocolVersion").and_then(|asked| serde_json::from_str::<String>(asked).ok()) else {
        return Err(bad("no_version", "`initialize` must name a `protocolVersion`").with_code(-32602));
    };
    Ok(match Protocol::of(&asked) {
        Some(protocol) if !protocol.is_modern() => protocol,
        None if asked.as_str() < Protocol::V20250618.as_str() => Protocol::V20250618,
        _ => Protocol::V20251125,
    })
}
