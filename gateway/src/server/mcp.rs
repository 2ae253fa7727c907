//! MCP over HTTP: which era a request speaks, its headers against its body, and the table of methods.

use std::{borrow::Cow, sync::Arc};

use bailiwick_pipeline::{
    Effect, Received,
    aside::Wants,
    ports::Listing,
    principal::{ClientCertificate, Presented, Principal},
    received::{LEVELS, Message, MessageFault, Meta, Origin, Protocol, Reply, TaskVerb, Transport, level},
    records::Outcome,
    refusal::{CODE_UNAVAILABLE, MISSING_CAPABILITY},
    tasks::{EXTENSION, NEEDED},
    trace::RemoteContext,
};
use bailiwick_schemas::{
    json::{self, Limits as JsonLimits},
    names::Feature,
};
use bailiwick_telemetry::parse_traceparent;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json, value::RawValue};

mod body;
mod mirrors;
mod opening;
mod subscriptions;

use self::{
    mirrors::check_mirrors,
    opening::{discovered, initialize_version},
};
use super::{
    delivery::Line,
    events::{self, Telling},
    front::{Front, Noted, TurnedAway, only},
    listen::{Answers, Peer},
    load::Place,
    parts::{Parts, Response, bare, plain},
    render,
    sessions::Session,
};
use crate::oauth::challenge;

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// What clients notify of, in any version that is served.
const NOTIFICATIONS: [&str; 4] =
    ["notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"];

/// The requests that go through the gates.
const WALKED: [&str; 8] = [
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
];

/// The longest answer to a question, bytes: many may wait to be brought together.
const ANSWER_BYTES: usize = 1024 * 1024;
/// Values in a message: each takes up to a hundred times its bytes once it is read.
const VALUES: usize = 100_000;

/// So much is said back of a version that is not served.
const VERSION_CHARS: usize = 64;

/// Agents reach it at one place only.
const PATH: &str = "/mcp";

impl Answers for Arc<Front> {
    type Body = Parts;

    async fn answer(&self, request: http::Request<Incoming>, peer: Option<Peer>) -> Response {
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "there is nothing here: MCP is at /mcp\n");
        }
        let (mut head, body) = request.into_parts();
        let certificate = head.extensions.remove::<Arc<ClientCertificate>>();
        let mut exchange = Exchange::new(self, peer, certificate, head.headers);
        let mut response = match exchange.run(&head.method, body).await {
            Ok(response) => response,
            Err(away) => exchange.turn_away(&away),
        };
        // A stream that stays open has bounds of its own.
        if let Some(place) = exchange.place.filter(|_| !response.body().is_standing()) {
            response.body_mut().keep(place);
        }
        response
    }

    fn on_line(response: &mut Response, line: &Arc<Line>) {
        response.body_mut().go_by(line);
    }
}

/// What is known about the request so far: for its record if it is turned away.
struct Exchange<'f> {
    front: &'f Front,
    peer: Option<Peer>,
    certificate: Option<Arc<ClientCertificate>>,
    transport: Transport,
    headers: HeaderMap,
    principal: Option<Principal>,
    place: Option<Place>,
    message: Option<Arc<Message>>,
    meta: Meta,
    protocol: Option<Protocol>,
    arrived_ns: u64,
}

impl<'f> Exchange<'f> {
    fn new(front: &'f Front, peer: Option<Peer>, certificate: Option<Arc<ClientCertificate>>, headers: HeaderMap) -> Self {
        Self {
            front,
            peer,
            certificate,
            transport: if peer.is_some() { Transport::Stdio } else { Transport::Http },
            headers,
            principal: None,
            place: None,
            message: None,
            meta: Meta::default(),
            protocol: None,
            arrived_ns: front.gateway.ports().clock.now_ns(),
        }
    }

    async fn run(&mut self, method: &Method, body: Incoming) -> Result<Response, TurnedAway> {
        self.front.check_site(&self.headers, self.peer)?;
        let presented = Front::presented(method, &self.headers, self.peer, self.certificate.as_ref());
        let principal = self.front.authenticate(&presented).await?;
        self.principal = Some(principal.clone());
        let (place, full) = self.front.admit(&principal.agent.id)?;
        self.place = Some(place);
        match *method {
            Method::POST => {}
            ref method => {
                return match full.filter(|_| *method != Method::DELETE) {
                    Some(full) => Err(full),
                    None => self.without_message(method, &principal, presented).await,
                };
            }
        }
        Front::check_type(&self.headers)?;
        let body = self.body(body, &principal).await?;
        // It may have come slowly, and the gateway serve others by now.
        self.front.check_site(&self.headers, self.peer)?;
        let limits = JsonLimits { bytes: self.front.settings().max_body, depth: JsonLimits::MESSAGE.depth };
        let message = match Message::read(&body, limits) {
            Err(MessageFault::Response) => return self.answered(&body, limits, &principal),
            read => read.map_err(|fault| unreadable(&fault))?,
        };
        check_values(message.values())?;
        let message = Arc::new(message);
        self.message = Some(Arc::clone(&message));
        if let Some(full) = full.filter(|_| message.id().is_some()) {
            return Err(full);
        }
        self.meta = meta_of(&message)?;
        let era = self.era(&message, &principal)?;
        self.protocol = Some(era.protocol());
        check_mirrors(&self.headers, &message, era.protocol(), self.transport)?;
        self.dispatch(&era, &principal, presented).await
    }

    /// Which era the request speaks: by how it opens, not by who it says it is.
    fn era(&self, message: &Message, principal: &Principal) -> Result<Era, TurnedAway> {
        if let Some(named) = &self.meta.version {
            return self.modern(named);
        }
        if message.method() == "initialize" {
            return initialize_version(message).map(Era::Opening);
        }
        let in_header = self.version_header()?;
        if in_header == Some(Protocol::V20260728)
            || (message.method() == "server/discover" && !self.headers.contains_key(SESSION))
        {
            let message = format!(
                "a request of {} carries `_meta` with `{META_VERSION}` and `{META_CAPABILITIES}`",
                Protocol::V20260728.as_str()
            );
            return Err(bad("no_meta", message).with_code(-32602));
        }
        self.session(principal, in_header)
    }

    /// 2026-07-28: every request stands alone, and says so in `_meta` and in a header. Whether the two agree is asked before what they say is
    /// judged: a client whose transport and message disagree has another fault than one that speaks what nobody knows.
    fn modern(&self, named: &RawValue) -> Result<Era, TurnedAway> {
        let Some(named) = text_of(named) else {
            return Err(bad("no_version", format!("`{META_VERSION}` must be a string")).with_code(-32602));
        };
        let is_given = self.headers.contains_key(VERSION);
        let agrees = only(&self.headers, &VERSION) == Some(&*named) || (self.transport == Transport::Stdio && !is_given);
        if !agrees {
            return Err(
                bad("header_mismatch", "header MCP-Protocol-Version and `_meta` must name the same version").with_code(-32020)
            );
        }
        let Some(protocol) = Protocol::of(&named).filter(|protocol| protocol.is_modern()) else {
            return Err(unsupported(format!("`{META_VERSION}` names a version that is not served this way"), &named));
        };
        if !self.meta.capabilities.as_ref().is_some_and(|capabilities| capabilities.get().starts_with('{')) {
            return Err(bad("no_capabilities", format!("`_meta` must have the object `{META_CAPABILITIES}`")).with_code(-32602));
        }
        Ok(Era::Modern(protocol))
    }

    /// An older version: within a session, which is its opener's alone.
    fn session(&self, principal: &Principal, in_header: Option<Protocol>) -> Result<Era, TurnedAway> {
        let Some(id) = only(&self.headers, &SESSION) else {
            return Err(bad("no_session", "this request needs a session: send `initialize` first and then its Mcp-Session-Id"));
        };
        let now_ms = self.front.gateway.ports().clock.now_ms();
        let Some(session) = self.front.sessions.find(id, &principal.agent.id, now_ms) else {
            let message = "there is no such session: send `initialize` to open one";
            return Err(TurnedAway::new(StatusCode::NOT_FOUND, Outcome::Invalid, "unknown_session", message));
        };
        if in_header.is_some_and(|version| version != session.protocol) {
            return Err(bad(
                "header_mismatch",
                "header MCP-Protocol-Version names another version than the session was opened with",
            ));
        }
        Ok(Era::Session(session))
    }

    /// The table of methods. What is not in it is refused.
    async fn dispatch(&self, era: &Era, principal: &Principal, presented: Presented) -> Result<Response, TurnedAway> {
        let Some(message) = &self.message else { return Err(bad("no_message", "there is no message")) };
        let Some(id) = message.id() else { return self.notified(era, message) };
        match (message.method(), era) {
            ("initialize", Era::Opening(protocol)) => self.open_session(id, *protocol, principal),
            ("server/discover", Era::Modern(_)) => Ok(self.plain(id, &discovered(), message)),
            ("ping", Era::Session(_)) => Ok(self.plain(id, &json!({}), message)),
            ("logging/setLevel", Era::Session(session)) => {
                let Some(level) = message.param("level").and_then(level) else {
                    return Err(bad("level", format!("`level` must be {LEVELS}")).with_code(-32602));
                };
                session.set_level(level);
                Ok(self.plain(id, &json!({}), message))
            }
            ("resources/subscribe", Era::Session(session)) => self.subscribe(id, session, presented, message).await,
            ("resources/unsubscribe", Era::Session(session)) => self.unsubscribe(id, session, message),
            ("subscriptions/listen", Era::Modern(_)) => self.listen(id, presented, message).await,
            (method, Era::Modern(_) | Era::Session(_)) if WALKED.contains(&method) => {
                self.walk(id, era, presented, message).await
            }
            (method, Era::Modern(_)) if TaskVerb::of(method).is_some() => {
                if !self.takes_tasks() {
                    return Err(undeclared(format!("`{method}` is for clients that declare the extension `{EXTENSION}`")));
                }
                self.walk(id, era, presented, message).await
            }
            (method, _) => {
                let method: String = method.chars().take(80).collect();
                let status = if era.protocol().is_modern() { StatusCode::NOT_FOUND } else { StatusCode::OK };
                let away = TurnedAway::new(status, Outcome::Invalid, "unknown_method", format!("Method not found: {method}"));
                Err(away.with_code(-32601))
            }
        }
    }

    /// The answer to a question that was asked in this session. It goes on as a call of its own: to the one that waits for it.
    fn answered(&mut self, body: &Bytes, limits: JsonLimits, principal: &Principal) -> Result<Response, TurnedAway> {
        let reply = Reply::read(body, limits).map_err(|fault| unreadable(&fault))?;
        check_values(reply.values())?;
        if reply.size() > ANSWER_BYTES {
            let message = format!("the answer has more than {ANSWER_BYTES} bytes: say less, or decline");
            return Err(TurnedAway::new(StatusCode::PAYLOAD_TOO_LARGE, Outcome::Invalid, "too_large", message));
        }
        let session = self.version_header().and_then(|version| match self.session(principal, version)? {
            Era::Session(session) => Ok(session),
            _ => Err(unreadable(&MessageFault::Response)),
        })?;
        self.protocol = Some(session.protocol);
        let id = reply.id().to_owned();
        if !session.answered(&id, reply.into_result()) {
            return Err(bad("nothing_asked", "nothing is asked under this id in this session, or not any more"));
        }
        self.note("session/answer", Outcome::Success, None, None);
        Ok(bare(StatusCode::ACCEPTED))
    }

    /// A request that goes through the gates.
    async fn walk(&self, id: &str, era: &Era, presented: Presented, message: &Message) -> Result<Response, TurnedAway> {
        let in_flight = match era {
            Era::Session(session) => match session.begin(id) {
                Some(in_flight) => Some(in_flight),
                None => return Err(bad("id_in_flight", "a request with this id is in flight already in this session")),
            },
            _ => None,
        };
        let origin = Origin {
            transport: self.transport,
            protocol: era.protocol(),
            presented,
            links: self.links(),
            capabilities: self.askable(era),
            takes_tasks: era.protocol().is_modern() && self.takes_tasks(),
            mirrored: self.mirrored(era)?,
            wants: self.wants(era)?,
            meta: self.meta.own(),
            reason: self.meta.reason().map_err(|fault| unreadable(&fault))?,
        };
        let call = self.front.call_id();
        let received = match message.method() {
            "tools/list" => Received::list(call, message, origin, self.arrived_ns),
            "tools/call" => Received::call(call, message, origin, self.arrived_ns),
            "resources/list" => Received::offers(call, Listing::Resources, message, origin, self.arrived_ns),
            "resources/templates/list" => Received::offers(call, Listing::Templates, message, origin, self.arrived_ns),
            "prompts/list" => Received::offers(call, Listing::Prompts, message, origin, self.arrived_ns),
            method => match TaskVerb::of(method) {
                Some(verb) => Received::task(call, verb, message, origin, self.arrived_ns),
                None => Received::item(call, message, origin, self.arrived_ns),
            },
        };
        let received = received.map_err(|fault| unreadable(&fault))?;
        if received.may_hear() {
            let session = if let Era::Session(session) = era { Some(Arc::clone(session)) } else { None };
            return Ok(Telling::begin(self.front.gateway.clone(), received, in_flight, session, id).response().await);
        }
        let gateway = &self.front.gateway;
        let handled = match in_flight {
            None => gateway.handle_or_defer(received).await,
            Some(in_flight) => tokio::select! {
                handled = gateway.handle_owing(&received, None) => handled,
                // The call was dropped, and is on record as cancelled: its client expects no answer.
                () = in_flight.cancelled.cancelled() => return Ok(bare(StatusCode::ACCEPTED)),
            },
        };
        let owed = handled.effect.map(Effect::owed);
        let mut response = render::respond(id, era.protocol(), &handled.answer);
        response.body_mut().owe(owed);
        Ok(response)
    }

    /// What the caller wants to hear before the answer: nothing where there is no way to tell it.
    fn wants(&self, era: &Era) -> Result<Wants, TurnedAway> {
        let mut wants = self.meta.wants(era.protocol()).map_err(|fault| unreadable(&fault))?;
        if let Era::Session(session) = era {
            wants.level = session.level();
        }
        if wants.any() && !events::are_accepted(&self.headers) {
            return Ok(Wants::default());
        }
        Ok(wants)
    }

    /// What the caller says it is part of: linked to, not obeyed. `_meta` first, as it works on every transport.
    fn links(&self) -> Vec<RemoteContext> {
        let in_meta = self.meta.traceparent.as_deref().and_then(text_of).as_deref().and_then(parse_traceparent);
        let in_header = only(&self.headers, &HeaderName::from_static("traceparent")).and_then(parse_traceparent);
        let mut links: Vec<RemoteContext> = Vec::new();
        for parent in [in_meta, in_header].into_iter().flatten() {
            let context = RemoteContext { trace_id: *parent.trace_id.as_bytes(), span_id: *parent.span_id.as_bytes() };
            if !links.contains(&context) {
                links.push(context);
            }
        }
        links
    }

    /// What the agent can be asked, as this request declares it, or its session did: on the stream of its answer, which it must take.
    fn askable(&self, era: &Era) -> Vec<(Feature, String)> {
        match era {
            Era::Session(session) if events::are_accepted(&self.headers) => session.askable.clone(),
            Era::Modern(_) => self.meta.capabilities.as_ref().map(|declared| askable_by(declared.get())).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Whether the agent takes a task for an answer, as this request declares it.
    fn takes_tasks(&self) -> bool {
        let Some(declared) = &self.meta.capabilities else { return false };
        let member = |object: &str, name: &str| {
            let fields = json::fields(object).unwrap_or_default();
            fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.get().to_owned())
        };
        let tasks = member(declared.get(), "extensions").and_then(|extensions| member(&extensions, EXTENSION));
        tasks.is_some_and(|tasks| tasks.starts_with('{'))
    }

    /// A notification: one that clients send is accepted, and one of those means something. A request that lacks its id is none.
    fn notified(&self, era: &Era, message: &Message) -> Result<Response, TurnedAway> {
        if !message.method().starts_with("notifications/") {
            return Err(bad("no_id", "a request has an `id`: without one nobody would hear its answer, and nothing is done"));
        }
        if !NOTIFICATIONS.contains(&message.method()) {
            // Nothing answers a notification (JSON-RPC 2.0, 4.1), and what it calls itself is no name for records.
            self.note("notifications/_other", Outcome::Invalid, Some("unknown_notification"), None);
            return Ok(bare(StatusCode::ACCEPTED));
        }
        if let ("notifications/cancelled", Era::Session(session)) = (message.method(), era)
            && let Some(request) = message.param("requestId")
        {
            session.cancel(request);
        }
        self.note(message.method(), Outcome::Success, None, None);
        Ok(bare(StatusCode::ACCEPTED))
    }

    /// An answer that takes no gate.
    fn plain(&self, id: &str, result: &Value, message: &Message) -> Response {
        if self.note(message.method(), Outcome::Success, None, None) {
            return render::result(id, &result.to_string());
        }
        render::error(StatusCode::SERVICE_UNAVAILABLE, id, CODE_UNAVAILABLE, "the gateway can't keep its record", None)
    }

    fn note(&self, method: &str, outcome: Outcome, reason: Option<&str>, detail: Option<&str>) -> bool {
        let method: String = method.chars().take(80).collect();
        let message = self.message.as_deref();
        let tool = message.filter(|message| message.method() == "tools/call").and_then(|message| message.param("name"));
        let tool: Option<String> =
            tool.and_then(|name| serde_json::from_str::<String>(name).ok()).map(|name| name.chars().take(128).collect());
        self.front.on_record(&Noted {
            call: None,
            method: &method,
            tool: tool.as_deref(),
            id: message.and_then(Message::id),
            protocol: self.protocol.map_or("", Protocol::as_str),
            transport: self.transport.as_str(),
            size: message.map_or(0, Message::size),
            agent: self.principal.as_ref().map(|principal| &principal.agent.id),
            outcome,
            reason,
            detail,
            arrived_ns: self.arrived_ns,
            is_decided: false,
        })
    }

    fn turn_away(&self, away: &TurnedAway) -> Response {
        let method = self.message.as_deref().map_or("unread", Message::method);
        self.note(method, away.outcome, Some(away.reason), Some(away.detail.as_deref().unwrap_or(&away.message)));
        let id = self.message.as_deref().and_then(Message::id).unwrap_or("null");
        let data = away.data.as_ref().map(ToString::to_string);
        let mut response = render::error(away.status, id, away.code, &away.message, data.as_deref());
        let headers = response.headers_mut();
        match away.status {
            StatusCode::UNAUTHORIZED => challenge(self.front, self.peer, away.nonce.as_deref()).put(headers),
            StatusCode::TOO_MANY_REQUESTS => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => {}
        }
        response
    }
}

/// The text, where it is one.
fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    // Most have no escape.
    match value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(value.get()).ok().map(Cow::Owned),
    }
}

/// How a request opens.
enum Era {
    /// It opens a session.
    Opening(Protocol),
    /// It is within one.
    Session(Arc<Session>),
    /// It stands alone.
    Modern(Protocol),
}

impl Era {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Opening(protocol) | Self::Modern(protocol) => *protocol,
            Self::Session(session) => session.protocol,
        }
    }
}

/// What a client declares that it can be asked.
fn askable_by(declared: &str) -> Vec<(Feature, String)> {
    let fields = json::fields(declared).unwrap_or_default();
    let askable = [Feature::Elicitation, Feature::Sampling, Feature::Roots].into_iter().filter_map(|feature| {
        let (_, value) = fields.iter().find(|(key, _)| key == feature.as_str())?;
        value.get().starts_with('{').then(|| (feature, value.get().to_owned()))
    });
    askable.collect()
}

fn check_values(values: usize) -> Result<(), TurnedAway> {
    if values <= VALUES {
        return Ok(());
    }
    let message = format!("the message has more than {VALUES} values: send less at once");
    Err(TurnedAway::new(StatusCode::PAYLOAD_TOO_LARGE, Outcome::Invalid, "too_many_values", message))
}

fn meta_of(message: &Message) -> Result<Meta, TurnedAway> {
    Meta::read(message).map_err(|fault| bad("meta", fault.to_string()).with_code(fault.code()))
}

fn bad(reason: &'static str, message: impl Into<String>) -> TurnedAway {
    TurnedAway::new(StatusCode::BAD_REQUEST, Outcome::Invalid, reason, message)
}

/// A version that is not served: which are, and which was asked for (MCP 2026-07-28, `-32022`).
fn unsupported(message: impl Into<String>, named: &str) -> TurnedAway {
    let requested: String = named.chars().take(VERSION_CHARS).collect();
    let data = json!({"supported": Protocol::ALL.map(Protocol::as_str), "requested": requested});
    bad("unsupported_version", message).with_code(-32022).with_data(data)
}

/// A request that needs what its sender does not declare (MCP 2026-07-28, `-32021`).
fn undeclared(message: impl Into<String>) -> TurnedAway {
    let needed = serde_json::from_str(NEEDED).unwrap_or_default();
    bad("undeclared", message).with_code(MISSING_CAPABILITY).with_data(needed)
}

fn unreadable(fault: &MessageFault) -> TurnedAway {
    bad("unreadable", fault.to_string()).with_code(fault.code())
}
