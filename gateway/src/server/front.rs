//! What is looked at before a body is read: Host, Origin, the credential, the agent's load, the type of the body.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    Gateway, full_name,
    ids::{AgentId, CallId},
    ports::{Clock, IdentityFailure},
    principal::{ClientCertificate, Credential, Presented, Principal, Proof},
    records::{DecisionRecord, Outcome, OutcomeRecord},
};
use bailiwick_store::HANDLE;
use dashmap::DashMap;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    inbox::Notices,
    listen::Peer,
    load::{Loads, Place, TooMany, Unrecorded},
    seats::{Seat, Seats},
    sessions::Sessions,
};

/// So many resources one agent may subscribe to, and with so many requests it may listen at once.
pub(super) const SUBSCRIPTIONS: usize = 256;
pub(super) const STREAMS: usize = 32;

/// The header with the proof of a key (RFC 9449, section 4.1).
static DPOP: HeaderName = HeaderName::from_static("dpop");

/// Large bodies that one agent may send at once; further ones wait.
const LARGE_BODIES: usize = 8;

/// What an operator may set about the agents' side.
#[derive(Debug, Clone)]
pub struct FrontSettings {
    /// The URL by which agents reach `/mcp`, if it isn't that of the listener.
    pub public_url: Option<String>,
    /// Values of `Host` that are served, lower case, with port where it is not 80.
    pub hosts: BTreeSet<String>,
    /// Values of `Origin` that are served besides none at all.
    pub origins: BTreeSet<String>,
    /// The largest body, bytes.
    pub max_body: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// Requests of one agent at once.
    pub max_in_flight: usize,
    /// Requests of one agent in a second; 0 for no limit.
    pub max_rate: u32,
    /// Requests of all agents together in a second; 0 for no limit.
    pub max_rate_in_all: u32,
    /// Sessions at once.
    pub max_sessions: usize,
    /// How long a session may be idle.
    pub session_idle: Duration,
}

/// The agents' side of the gateway.
pub struct Front {
    /// The core.
    pub gateway: Gateway,
    /// The sessions of older protocol versions.
    pub(super) sessions: Sessions,
    /// What is served.
    settings: ArcSwap<FrontSettings>,
    loads: Loads,
    /// Refusals of strangers beyond their quota in the trail.
    strangers: Unrecorded,
    /// Turns to send a large body, by agent: what is not yet a request must not fill the memory either.
    reading: DashMap<AgentId, Arc<Semaphore>>,
    /// What agents are to be told unasked.
    notices: Arc<Notices>,
    /// Cancelled when the gateway ends: streams that stay open end with it.
    ends: CancellationToken,
    subscriptions: DashMap<AgentId, Arc<Seats>>,
    streams: DashMap<AgentId, Arc<Seats>>,
    /// The address it listens at, which `server.listen` may have left open (port 0); and the one with TLS.
    listens_at: OnceLock<SocketAddr>,
    tls_at: OnceLock<SocketAddr>,
}

/// Why a request is turned away before its message is handled.
#[derive(Debug, Clone)]
pub(crate) struct TurnedAway {
    pub(crate) status: StatusCode,
    pub(crate) outcome: Outcome,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) code: i64,
    /// What goes with the code, for programs.
    pub(crate) data: Option<Box<Value>>,
    /// What the operator reads on record, where it is more than the agent is told.
    pub(crate) detail: Option<String>,
    /// What a proof of a key has to bear, where that is what is missing.
    pub(crate) nonce: Option<Box<str>>,
}

impl TurnedAway {
    pub(super) fn new(status: StatusCode, outcome: Outcome, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, outcome, reason, message: message.into(), code: -32600, data: None, detail: None, nonce: None }
    }

    pub(super) fn with_code(mut self, code: i64) -> Self {
        self.code = code;
        self
    }

    pub(super) fn with_detail(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    pub(super) fn with_data(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }
}

impl Front {
    /// An agents' side over this core. By `notices` it hears what servers say of their lists.
    pub fn new(gateway: Gateway, settings: FrontSettings, notices: Arc<Notices>) -> Self {
        let sessions = Sessions::new(settings.max_sessions, settings.session_idle);
        let loads = Loads::new(settings.max_rate, settings.max_rate_in_all, settings.max_in_flight);
        let (strangers, reading) = (Unrecorded::default(), DashMap::new());
        let settings = ArcSwap::from_pointee(settings);
        let (subscriptions, streams) = (DashMap::new(), DashMap::new());
        let (ends, listens_at, tls_at) = (CancellationToken::new(), OnceLock::new(), OnceLock::new());
        Self { gateway, sessions, settings, loads, strangers, reading, notices, ends, subscriptions, streams, listens_at, tls_at }
    }

    /// Ends the streams that stay open: nothing is served any more.
    pub fn end_streams(&self) {
        self.ends.cancel();
    }

    pub(super) fn ends(&self) -> &CancellationToken {
        &self.ends
    }

    pub(super) fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// A place among the subscriptions of this agent.
    pub(super) fn subscription_seat(&self, agent: &AgentId) -> Option<Seat> {
        Arc::clone(&self.subscriptions.entry(agent.clone()).or_insert_with(|| Seats::new(SUBSCRIPTIONS))).take()
    }

    /// A place among the requests by which this agent listens.
    pub(super) fn stream_seat(&self, agent: &AgentId) -> Option<Seat> {
        Arc::clone(&self.streams.entry(agent.clone()).or_insert_with(|| Seats::new(STREAMS))).take()
    }

    /// Replaces what is served. No session is closed for it, and no request in flight is disturbed.
    pub fn set_settings(&self, settings: FrontSettings) {
        self.sessions.set(settings.max_sessions, settings.session_idle);
        self.loads.set(settings.max_rate, settings.max_rate_in_all, settings.max_in_flight);
        self.settings.store(Arc::new(settings));
    }

    /// What is served now.
    pub(crate) fn settings(&self) -> Arc<FrontSettings> {
        self.settings.load_full()
    }

    /// Closes the sessions of agents that are no more.
    pub fn close_sessions_of(&self, is_gone: impl Fn(&AgentId) -> bool) {
        self.sessions.close_of(is_gone);
    }

    /// Serves the address that its listener got, too.
    pub fn also_at(&self, address: SocketAddr) {
        self.listens_at.get_or_init(|| address);
    }

    /// Serves the address that its listener with TLS got, too.
    pub fn also_at_tls(&self, address: SocketAddr) {
        self.tls_at.get_or_init(|| address);
    }

    /// The URL by which agents reach `/mcp`; none before it listens, where nobody says it.
    pub(crate) fn url(&self) -> Option<String> {
        let own = || self.listens_at.get().map(|at| format!("http://{at}/mcp"));
        self.settings.load().public_url.clone().or_else(own)
    }

    fn serves(&self, host: &str) -> bool {
        let own = |at: &SocketAddr| {
            host == at.to_string()
                || ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| *host == format!("{name}:{}", at.port()))
        };
        let mut listeners = [&self.listens_at, &self.tls_at].into_iter().filter_map(OnceLock::get);
        self.settings.load().hosts.contains(host) || listeners.any(own)
    }

    /// Forgets idle sessions, and puts on record how many refusals of the minutes before were only counted.
    pub fn sweep(&self) {
        let now_ms = self.gateway.ports().clock.now_ms();
        self.sessions.sweep(now_ms);
        self.gateway.ports().rounds.sweep(now_ms);
        if let Some(count) = self.strangers.take(now_ms) {
            let detail = format!("{count} further requests were refused before it was known who sent them");
            self.summarize(None, Outcome::Unauthenticated, &detail);
        }
        for (agent, count) in self.loads.unrecorded(now_ms) {
            self.summarize(Some(&agent), Outcome::RateLimited, &format!("{count} further requests were refused"));
        }
    }

    /// One record for many refusals.
    fn summarize(&self, agent: Option<&AgentId>, outcome: Outcome, detail: &str) {
        let written = self.write(&Noted {
            call: None,
            method: "unread",
            tool: None,
            id: None,
            protocol: "",
            transport: "",
            size: 0,
            agent,
            outcome,
            reason: Some("too_many"),
            detail: Some(detail),
            arrived_ns: self.gateway.ports().clock.now_ns(),
            is_decided: false,
        });
        if !written {
            tracing::error!(detail, "refusals that were counted could not be put on record");
        }
    }

    /// Host and Origin: a page in a browser must not reach us by another name (DNS rebinding) or from another site.
    pub(crate) fn check_site(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<(), TurnedAway> {
        let refuse = |what: &str| Err(TurnedAway::new(StatusCode::FORBIDDEN, Outcome::Denied, "foreign_site", what.to_owned()));
        if peer.is_none() {
            let host = only(headers, &header::HOST).map(str::to_ascii_lowercase);
            if !host.is_some_and(|host| self.serves(&host)) {
                return refuse("this Host is not served: use the gateway's own address, or add it to `server.allowed_hosts`");
            }
        }
        match headers.get_all(header::ORIGIN).iter().count() {
            0 => Ok(()),
            1 if only(headers, &header::ORIGIN).is_some_and(|origin| self.settings.load().origins.contains(origin)) => Ok(()),
            _ => refuse("this Origin is not served: add it to `server.allowed_origins` if a web page is to call"),
        }
    }

    /// What the headers present as identity, or the kernel, or the certificate of the connection.
    pub(crate) fn presented(
        method: &Method,
        headers: &HeaderMap,
        peer: Option<Peer>,
        certificate: Option<&Arc<ClientCertificate>>,
    ) -> Presented {
        // A grant that is named unclearly is no grant, rather than the default one.
        let name = HeaderName::from_static("bailiwick-grant");
        let grant = headers.contains_key(&name).then(|| only(headers, &name).unwrap_or_default().to_owned());
        let authorization = only(headers, &header::AUTHORIZATION);
        let bearer = authorization.and_then(|value| token_of(value, "bearer"));
        let bearer = bearer.map(|token| SecretString::from(token.to_owned()));
        let credential = match (bearer, peer, certificate) {
            // Over TLS a key is proven by the certificate: a proof of another one beside it is not taken for none.
            (None, _, None) if headers.contains_key(&DPOP) => bound(method, headers).unwrap_or(Credential::Absent),
            // What can't be read as a token is not taken for none.
            (None, ..) if headers.contains_key(header::AUTHORIZATION) => Credential::Absent,
            (bearer, _, Some(certificate)) => Credential::Certificate { certificate: Arc::clone(certificate), bearer },
            (Some(handle), Some(peer), None) if handle.expose_secret().starts_with(HANDLE) => {
                Credential::Handle { handle, process: peer.process }
            }
            (Some(token), ..) => Credential::Bearer(token),
            (None, Some(peer), None) => {
                let agent = only(headers, &HeaderName::from_static("bailiwick-agent")).map(str::to_owned);
                Credential::Peer { uid: peer.uid, pid: peer.pid, agent }
            }
            (None, None, None) => Credential::Absent,
        };
        Presented { credential, grant }
    }

    /// Who sends this; asked before the body is read.
    pub(crate) async fn authenticate(&self, presented: &Presented) -> Result<Principal, TurnedAway> {
        let failed = |failure: &dyn std::fmt::Display| {
            tracing::debug!(%failure, "a request was not authenticated");
            let message = match &presented.credential {
                // Whoever holds the certificate's key may know what is wrong with it; of a token beside it nobody is told anything.
                Credential::Certificate { bearer: None, .. } => {
                    format!("the client certificate does not authenticate this request: {failure}")
                }
                _ => "authentication is needed: present the agent's bearer token".to_owned(),
            };
            TurnedAway::new(StatusCode::UNAUTHORIZED, Outcome::Unauthenticated, "unauthenticated", message)
                .with_code(bailiwick_pipeline::refusal::CODE_UNAUTHENTICATED)
                .with_detail(failure.to_string())
        };
        let turned_away = |failure: IdentityFailure| match &failure {
            IdentityFailure::Nonce { nonce, .. } => {
                let message =
                    "the DPoP proof has to bear the nonce of this answer's `DPoP-Nonce`: send the request again with another one";
                TurnedAway { message: message.to_owned(), nonce: Some(nonce.as_str().into()), ..failed(&failure) }
            }
            _ => failed(&failure),
        };
        let principal = self.gateway.ports().identities.identify(presented).await.map_err(turned_away)?;
        if principal.agent.disabled { Err(failed(&"the agent is disabled")) } else { Ok(principal) }
    }

    /// The body must be plain JSON in UTF-8.
    pub(super) fn check_type(headers: &HeaderMap) -> Result<(), TurnedAway> {
        let unsupported = |what: &str| {
            Err(TurnedAway::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Outcome::Invalid, "media_type", what.to_owned()))
        };
        if headers.contains_key(header::CONTENT_ENCODING) {
            return unsupported("a Content-Encoding is refused: send the body as it is");
        }
        // The server below takes `gzip, chunked` for chunked: a proxy before us might unpack what we would read packed.
        let is_chunked = only(headers, &header::TRANSFER_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if headers.contains_key(header::TRANSFER_ENCODING) && !is_chunked {
            return unsupported("a Transfer-Encoding other than `chunked` is refused: send the body as it is");
        }
        let kind = only(headers, &header::CONTENT_TYPE).map(|kind| kind.to_ascii_lowercase().replace([' ', '"'], ""));
        match kind.as_deref() {
            Some("application/json" | "application/json;charset=utf-8") => Ok(()),
            _ => unsupported("Content-Type must be application/json"),
        }
    }

    /// Waits for the agent's turn to send a large body.
    pub(super) async fn turn_to_read(&self, agent: &AgentId) -> Option<OwnedSemaphorePermit> {
        let turns = Arc::clone(&self.reading.entry(agent.clone()).or_insert_with(|| Arc::new(Semaphore::new(LARGE_BODIES))));
        // It is never closed.
        turns.acquire_owned().await.ok()
    }

    /// A place among the agent's requests in flight; asked before the body is read.
    /// Where all are taken, there are some for what is no request: calls may wait for the very answer that comes. Then it is also said what
    /// a request is turned away with.
    pub(crate) fn admit(&self, agent: &AgentId) -> Result<(Place, Option<TurnedAway>), TurnedAway> {
        let too_many = |reason, message| TurnedAway::new(StatusCode::TOO_MANY_REQUESTS, Outcome::RateLimited, reason, message);
        let load = self.loads.of(agent);
        self.loads.is_in_time(&load).map_err(|whose| {
            let settings = self.settings.load();
            let message = match whose {
                TooMany::OfAgent => format!("this agent may send {} requests a second: wait", settings.max_rate),
                TooMany::InAll => format!("all agents together may send {} requests a second: wait", settings.max_rate_in_all),
            };
            too_many("too_many_requests", message)
        })?;
        if let Some(place) = load.enter() {
            return Ok((place, None));
        }
        let full = too_many(
            "too_many_in_flight",
            format!("{} requests of this agent are in flight: wait for one to end", self.settings.load().max_in_flight),
        );
        match load.enter_aside() {
            Some(place) => Ok((place, Some(full))),
            None => Err(full),
        }
    }

    /// Puts a request on record that never reached a gate, or needed none. False if the record is lost. Refusals that anyone
    /// can cause as fast as he likes have a quota, so that nobody fills the trail; the rest is counted, and told by the minute.
    pub(crate) fn on_record(&self, noted: &Noted<'_>) -> bool {
        let now_ms = self.gateway.ports().clock.now_ms();
        let is_recorded = match noted.agent {
            None => {
                let admitted = self.gateway.ports().trail.admits_stranger(now_ms);
                if !admitted {
                    self.strangers.add(now_ms);
                }
                admitted
            }
            Some(agent) if noted.outcome == Outcome::RateLimited => self.loads.of(agent).records_refusal(now_ms),
            Some(_) => true,
        };
        !is_recorded || self.write(noted)
    }

    /// The same without a quota.
    pub(crate) fn write(&self, noted: &Noted<'_>) -> bool {
        let ports = self.gateway.ports();
        let ended_ns = ports.clock.now_ns();
        let now_ms = ended_ns / 1_000_000;
        let call = noted.call.cloned().unwrap_or_else(|| self.call_id());
        let no_trace = String::new();
        let world = noted.agent.map(|_| ports.worlds.now());
        let tool = noted.tool.map(|name| world.as_ref().map_or(Cow::Borrowed(name), |world| full_name(name, world)));
        let record = OutcomeRecord {
            event: "outcome",
            call_id: &call,
            method: noted.method,
            jsonrpc_id: noted.id,
            protocol: noted.protocol,
            transport: noted.transport,
            size: noted.size,
            agent: noted.agent,
            instance: None,
            auth_method: None,
            grant: None,
            tool: tool.as_deref(),
            args_mac: None,
            outcome: noted.outcome,
            reason: noted.reason,
            detail: noted.detail,
            approval: None,
            duration_us: ended_ns.saturating_sub(noted.arrived_ns) / 1000,
            held_us: 0,
            outcome_of: None,
            result: None,
            asides: None,
            task: None,
            trace_id: &no_trace,
        };
        let decision = DecisionRecord {
            event: "decided",
            call_id: &call,
            agent: noted.agent,
            grant: None,
            method: noted.method,
            tool: tool.as_deref(),
            effect: if noted.outcome == Outcome::Success { "allow" } else { "deny" },
            gate: "receive",
            reason: noted.reason,
            detail: noted.detail,
            obligations: &[],
            rules: &[],
            policy_digest: None,
            asked: None,
            shadow: &[],
            approval: None,
            flow: None,
            trace_id: &no_trace,
        };
        let is_said = noted.is_decided || noted.outcome == Outcome::Success;
        let decided = is_said || ports.trail.decision(now_ms, &decision).is_ok();
        decided && ports.trail.outcome(now_ms, &record).is_ok()
    }

    /// A fresh call id.
    pub(crate) fn call_id(&self) -> CallId {
        call_id(self.gateway.ports().clock.as_ref())
    }
}

/// A fresh call id.
pub(super) fn call_id(clock: &dyn Clock) -> CallId {
    let random = clock.random();
    let mut ten = [0; 10];
    ten.iter_mut().zip(random).for_each(|(to, from)| *to = from);
    CallId::new(clock.now_ms(), ten)
}

/// A request that is put on record by the front itself.
pub(crate) struct Noted<'a> {
    /// The call, where one is known; else it gets an id here.
    pub(crate) call: Option<&'a CallId>,
    pub(crate) method: &'a str,
    pub(crate) tool: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) protocol: &'a str,
    pub(crate) transport: &'a str,
    pub(crate) size: usize,
    pub(crate) agent: Option<&'a AgentId>,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<&'a str>,
    pub(crate) detail: Option<&'a str>,
    pub(crate) arrived_ns: u64,
    /// What was decided about it is on record already.
    pub(crate) is_decided: bool,
}

/// The one value of a header; none where it is absent, twice there, or no plain text.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// The token of `Authorization: SCHEME …` (RFC 6750, RFC 9449; the scheme's case does not matter, RFC 9110).
fn token_of<'h>(value: &'h str, wanted: &str) -> Option<&'h str> {
    let (scheme, token) = value.split_once(' ')?;
    let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case(wanted) && plain).then_some(token)
}

/// A token that is bound to a key, with exactly one proof (RFC 9449, section 7.1).
fn bound(method: &Method, headers: &HeaderMap) -> Option<Credential> {
    let token = only(headers, &header::AUTHORIZATION).and_then(|value| token_of(value, "dpop"))?;
    let proof = Arc::new(Proof::new(only(headers, &DPOP)?, method.as_str()));
    Some(Credential::Bound { token: SecretString::from(token.to_owned()), proof })
}

#[cfg(test)]
mod tests;
