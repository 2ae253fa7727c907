//! The way to the gateway: its agent socket, who we are, and the session if there is one.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, RwLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    credential::{Identity, Shown},
    events::Events,
    message::{Message, UNREACHABLE},
};
use crate::cli::{client::over_socket, fault::CliFault};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// On a Unix socket the name means nothing.
const URL: &str = "http://bailiwick/mcp";
const REVOKE: &str = "http://bailiwick/oauth/revoke";

/// What shows who asks, and asks for nothing that anybody would have to be allowed.
const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// How long a message may take that nobody waits for.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// After a stream that ended: first, and at most.
const REST: Duration = Duration::from_millis(250);
const REST_MOST: Duration = Duration::from_secs(30);

/// The way to the gateway.
#[derive(Debug)]
pub(super) struct Link {
    http: reqwest::Client,
    headers: HeaderMap,
    session: RwLock<Option<Opened>>,
    /// What opened the session: sent again where the gateway has forgotten it. Locked while that is done.
    opening: tokio::sync::Mutex<Option<String>>,
    /// What is subscribed to in the session, each as it was asked for: asked for again in one that takes its place.
    subscribed: Mutex<BTreeMap<String, String>>,
    /// Woken when there is a session: its stream is to be opened.
    opened: Notify,
    start: String,
    /// What is given back at the end, where that is the end of the task.
    ends: Option<SecretString>,
    /// Whether it is a handle, which this process has to hold.
    is_handle: bool,
}

/// A session of an older protocol version.
#[derive(Debug, Clone)]
struct Opened {
    id: HeaderValue,
    version: Option<HeaderValue>,
}

impl Link {
    /// The way to this socket. `start` is how a gateway is started, for when it is gone.
    pub(super) fn new(socket: &Path, identity: Identity, grant: Option<&str>, start: String) -> Result<Self, CliFault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let Identity { shown, ends } = identity;
        let is_handle = matches!(shown, Shown::Handle(_));
        match shown {
            Shown::Agent(agent) => headers.insert(HeaderName::from_static("bailiwick-agent"), agent),
            Shown::Token(bearer) | Shown::Handle(bearer) => headers.insert(header::AUTHORIZATION, bearer),
        };
        if let Some(grant) = grant {
            let named = HeaderValue::from_str(grant)
                .map_err(|_| CliFault::usage("the grant's id has other than ASCII characters", "`grants list` shows the ids"))?;
            headers.insert(HeaderName::from_static("bailiwick-grant"), named);
        }
        let silent = |why: reqwest::Error| CliFault::Silent { at: socket.display().to_string(), why: why.to_string() };
        let http = over_socket(socket).build().map_err(silent)?;
        Ok(Self {
            http,
            headers,
            session: RwLock::new(None),
            opening: tokio::sync::Mutex::new(None),
            subscribed: Mutex::default(),
            opened: Notify::new(),
            start,
            ends,
            is_handle,
        })
    }

    /// Has this process hold its handle, before anybody else might: the client may not say anything for long.
    pub(super) async fn take_up(&self) -> Result<(), CliFault> {
        if !self.is_handle {
            return Ok(());
        }
        let silent = |why: &dyn std::fmt::Display| CliFault::Silent { at: "the agent socket".to_owned(), why: why.to_string() };
        let told = tokio::time::timeout(SHORT, self.post(&Message::read(HELLO.to_owned()))).await;
        match told.map_err(|late| silent(&late))? {
            Ok((StatusCode::UNAUTHORIZED, ..)) => Err(CliFault::refused(
                "the gateway does not take this handle: another process holds it, it waited for more than five minutes, or its grant or \
                 gateway has ended",
                Some("`bailiwick audit tail` says which; `bailiwick grants handle ID` makes another one"),
            )),
            // Whatever else is the matter, it is known who asks.
            Ok(_) => Ok(()),
            Err(why) => Err(silent(&why)),
        }
    }

    /// Whether the end of the stream is the end of the task.
    pub(super) fn is_task(&self) -> bool {
        self.ends.is_some()
    }

    /// Tells the gateway that the task is done, where it is: its grant ends.
    pub(super) async fn end_task(&self) -> Result<(), CliFault> {
        let Some(secret) = &self.ends else { return Ok(()) };
        let body = format!("reason=stream_ended&token={}", secret.expose_secret());
        let until = Instant::now() + SHORT;
        loop {
            let mut headers = self.headers.clone();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            if !self.is_handle {
                // Whoever has it may give it back: nothing else is to be proven.
                headers.remove(header::AUTHORIZATION);
            }
            let told = self.http.post(REVOKE).headers(headers).timeout(SHORT).body(body.clone()).send().await;
            let is_gone = told.as_ref().is_err_and(reqwest::Error::is_connect);
            let why = match told {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                // It has ended before.
                Ok(answer) if self.is_handle && answer.status() == StatusCode::UNAUTHORIZED => return Ok(()),
                Ok(answer) => format!("it answered HTTP {}", answer.status().as_u16()),
                Err(why) => why.to_string(),
            };
            if is_gone || Instant::now() >= until {
                return Err(CliFault::refused(
                    &format!("the gateway could not be told that the task is done: {why}"),
                    Some(if self.is_handle {
                        "a gateway that runs ends the grant when this process is gone"
                    } else {
                        "`bailiwick grants complete ID` ends the grant"
                    }),
                ));
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Carries a message, and returns the line that answers it, if any does. What comes before the answer goes to `out`.
    pub(super) async fn send(&self, message: &Message, out: &mpsc::Sender<String>) -> Option<String> {
        let session = self.session().filter(|_| message.version().is_none() && !message.opens());
        let mut answered = self.exchange(message, out).await;
        // A session that the gateway has forgotten (it was restarted, or the session was idle) is opened anew. The message had not
        // reached a gate: it can be sent once more.
        if let (Some(session), Ok((StatusCode::NOT_FOUND, ..))) = (&session, &answered)
            && self.reopen(session).await
        {
            answered = self.exchange(message, out).await;
        }
        let (status, headers, body) = match answered {
            Ok(answered) => answered,
            Err(_) if !message.wants_answer() => return None,
            Err(_) => return Some(message.error(UNREACHABLE, &format!("the gateway is gone; start one: {}", self.start))),
        };
        if message.opens() && status.is_success() {
            self.opened(&headers, &body);
            *self.opening.lock().await = Some(message.line().to_owned());
        }
        if status.is_success() {
            self.remember(message, &body);
        }
        let is_nothing = status.as_u16() == 202 || (status.is_success() && body.is_empty());
        (message.wants_answer() && !is_nothing).then(|| message.answer(status.as_u16(), &body))
    }

    /// The answer to a message: a response of its own, or the last event of a stream.
    async fn exchange(
        &self,
        message: &Message,
        out: &mpsc::Sender<String>,
    ) -> Result<(StatusCode, HeaderMap, String), reqwest::Error> {
        let mut response = self.ask(message).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Ok((status, headers, response.text().await?));
        }
        let mut events = Events::default();
        while let Some(chunk) = response.chunk().await? {
            events.feed(&chunk);
            while let Some(line) = events.next() {
                if Message::is_answer(&line) {
                    return Ok((status, headers, line));
                }
                // Nobody reads any more: whoever ends the bridge then ends this too.
                let _unread = out.send(line).await;
            }
        }
        // It ended without an answer: what that means is told where a body is no answer.
        Ok((status, headers, "the stream ended".to_owned()))
    }

    async fn post(&self, message: &Message) -> Result<(StatusCode, HeaderMap, String), reqwest::Error> {
        let response = self.ask(message).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, response.text().await?))
    }

    async fn ask(&self, message: &Message) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.http.post(URL).headers(self.headers_of(message)).body(message.line().to_owned());
        let request = if message.wants_answer() { request } else { request.timeout(SHORT) };
        request.send().await
    }

    /// Opens a session in place of the one that is lost, once for all who miss it. Says whether there is another now.
    async fn reopen(&self, lost: &Opened) -> bool {
        let opening = self.opening.lock().await;
        if self.session().is_some_and(|now| now.id != lost.id) {
            return true;
        }
        let Some(line) = opening.as_ref() else { return false };
        let hello = Message::read(line.clone());
        let Ok((status, headers, body)) = self.post(&hello).await else { return false };
        if !status.is_success() {
            return false;
        }
        self.opened(&headers, &body);
        let ready = Message::read(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned());
        if self.post(&ready).await.is_err() {
            return false;
        }
        let subscribed: Vec<String> = self.subscribed.lock().map(|all| all.values().cloned().collect()).unwrap_or_default();
        for line in subscribed {
            // What is refused by now is told no more.
            let _refused = self.post(&Message::read(line)).await;
        }
        true
    }

    /// Takes note of what is subscribed to.
    fn remember(&self, message: &Message, answer: &str) {
        let Some((begins, uri)) = message.subscribes() else { return };
        let is_taken = serde_json::from_str::<Value>(answer).is_ok_and(|answer| answer.get("result").is_some());
        if let Ok(mut subscribed) = self.subscribed.lock()
            && is_taken
        {
            if begins {
                subscribed.insert(uri, message.line().to_owned())
            } else {
                subscribed.remove(&uri)
            };
        }
    }

    /// Carries what the gateway says in the session unasked, for as long as there is one. Where the stream ends it is opened anew.
    pub(super) async fn hear(&self, out: &mpsc::Sender<String>) {
        let mut rest = REST;
        loop {
            let opened = self.opened.notified();
            let Some(session) = self.session() else {
                opened.await;
                continue;
            };
            let since = Instant::now();
            let is_there = self.hear_once(&session, out).await;
            rest = if since.elapsed() >= REST_MOST { REST } else { rest };
            if !is_there {
                // The gateway knows nothing of the session: it is opened anew, as a message would.
                self.reopen(&session).await;
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(REST_MOST);
        }
    }

    /// Carries one stream to its end; false where there is none to be opened.
    async fn hear_once(&self, session: &Opened, out: &mpsc::Sender<String>) -> bool {
        let mut headers = self.headers.clone();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(SESSION, session.id.clone());
        headers.extend(session.version.clone().map(|version| (VERSION, version)));
        let Ok(mut response) = self.http.get(URL).headers(headers).send().await else { return true };
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return false;
        }
        if !response.status().is_success() {
            return true;
        }
        let mut events = Events::default();
        while let Ok(Some(chunk)) = response.chunk().await {
            events.feed(&chunk);
            while let Some(line) = events.next() {
                if out.send(line).await.is_err() {
                    return true;
                }
            }
        }
        true
    }

    /// Whether there is a session.
    pub(super) fn is_open(&self) -> bool {
        self.session().is_some()
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self, patience: Duration) {
        if let Some(session) = self.session() {
            let mut headers = self.headers.clone();
            headers.insert(SESSION, session.id);
            // If it fails, the gateway ends the session when it is idle.
            let _ended = self.http.delete(URL).headers(headers).timeout(patience).send().await;
        }
    }

    /// A message that names its version stands alone; any other is part of the session.
    fn headers_of(&self, message: &Message) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(version) = message.version() {
            headers.extend(HeaderValue::from_str(version).ok().map(|version| (VERSION, version)));
        } else if let Some(session) = self.session().filter(|_| !message.opens()) {
            headers.insert(SESSION, session.id);
            headers.extend(session.version.map(|version| (VERSION, version)));
        }
        headers
    }

    fn session(&self) -> Option<Opened> {
        self.session.read().ok().and_then(|session| session.clone())
    }

    fn opened(&self, headers: &HeaderMap, body: &str) {
        let answer: Value = serde_json::from_str(body).unwrap_or_default();
        let version = answer.pointer("/result/protocolVersion").and_then(Value::as_str);
        let version = version.and_then(|version| HeaderValue::from_str(version).ok());
        if let (Some(id), Ok(mut session)) = (headers.get(SESSION), self.session.write()) {
            *session = Some(Opened { id: id.clone(), version });
        }
        self.opened.notify_one();
    }
}
