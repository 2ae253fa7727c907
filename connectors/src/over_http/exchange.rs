//! One message and what comes back for it. All of it is bounded, and believed in nothing.

use std::future::Future;

use bailiwick_pipeline::{
    aside::{AsideKind, Ear, Spoken},
    ports::SendFailure,
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Either};
use hyper::body::{Body as _, Incoming as Body};
use hyper_util::client::legacy;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

use super::{
    HttpLink,
    headers::SESSION,
    payload::{Hold, Payload, Stage},
    proofs::{self, Again},
    sse::Events,
};
use crate::{
    egress,
    link::{End, Link as _, News},
    message::{self, Answer, Incoming},
    unstalled::Breaker,
    version::Version,
};

/// So much of the body of a failure is read, and so much of that is told.
const FAILURE_BYTES: usize = 64 * 1024;
const FAILURE_CHARS: usize = 300;
/// So many messages that are not the answer may come before it, and so many questions may wait to be answered.
const UNASKED: usize = 10_000;
const QUESTIONS: usize = 16;
/// So much room is made at once for an answer that says how long it is.
const ROOM: usize = 2 * 1024 * 1024;
/// The longest id of a session.
const SESSION_BYTES: usize = 1024;
/// How long a request may still be written after it was answered.
const UNWRITTEN: Duration = Duration::from_secs(10);
/// So many pieces that are there already are read after the answer, so that the connection can be used again.
const AFTERWARDS: usize = 8;

type Response = http::Response<Body>;

/// One message on its way, and its answer.
pub(super) struct Exchange<'a> {
    pub(super) link: &'a HttpLink,
    pub(super) id: i64,
    pub(super) version: Version,
    pub(super) hold: &'a Hold,
    /// Cancelled when the call is not wanted any more.
    pub(super) cancelled: &'a CancellationToken,
    /// The longest answer that is taken, bytes.
    pub(super) most: usize,
    /// Whether it may open a session.
    pub(super) opens: bool,
    /// Where what comes before the answer goes.
    pub(super) ear: Option<Ear>,
    /// By which it may be sent once more, where its server may want a nonce first.
    pub(super) again: Option<Again>,
}

/// What a body says it is.
pub(super) enum Kind {
    Json,
    Events,
    Other(String),
}

impl Exchange<'_> {
    pub(super) async fn run(mut self, request: http::Request<egress::Sent>) -> Result<Answer, SendFailure> {
        let mut response = self.link.client.request(request).await.map_err(|fault| self.unanswered(&fault))?;
        // Dropped with the exchange.
        let mut _unwritten = Unwritten::of(&response, self.hold);
        let mut _second = None;
        if let Some(again) = self.again.take()
            && again.head.heard(&response)
        {
            // Refused before anything was done, for want of the nonce that came with the refusal. A second refusal stands. Whoever ends the
            // call, or the session, meanwhile wants no second try.
            if self.cancelled.is_cancelled() || self.link.ending.is_cancelled() {
                return Err(SendFailure::Closed("it ended before it was sent with the nonce that its server wanted".to_owned()));
            }
            self.hold.repeat();
            let (payload, hold) = Payload::new(again.text.clone(), again.written());
            let request =
                proofs::request(&self.link.uri, Method::POST, &again.head, Either::Left(payload)).map_err(SendFailure::Closed)?;
            response = self.link.client.request(request).await.map_err(|fault| self.unanswered(&fault))?;
            again.head.heard(&response);
            _unwritten = Unwritten::of(&response, &hold);
            _second = Some(hold);
        }
        check_head(&response)?;
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.denied(&mut response).await),
            StatusCode::NOT_FOUND if !self.version.is_modern() && self.link.session.get().is_some() => {
                // The others that wait for an answer in it hear for themselves what has become of them.
                self.link.retire(End::expired());
                let why = "it has ended the session (HTTP 404): the request is not sent again, as it may have been executed";
                return Err(SendFailure::Closed(why.to_owned()));
            }
            // What many servers answer to a session that they know nothing of; then another one helps, and else it does no harm.
            StatusCode::BAD_REQUEST if !self.version.is_modern() && self.link.session.get().is_some() => {
                self.link.retire(End::expired());
                return self.failed(&mut response).await;
            }
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                let status = status.as_u16();
                return Err(SendFailure::Protocol(format!("it took the request and gave no answer (HTTP {status})")));
            }
            status if status.is_redirection() => return Err(self.redirected(&response)),
            status if status.is_success() => {}
            _ => return self.failed(&mut response).await,
        }
        let answer = match kind(response.headers()) {
            Kind::Json => {
                let body = self.whole(&mut response, self.most).await?;
                self.settle(&body)
            }
            Kind::Events => self.listen(&mut response).await,
            Kind::Other(kind) => {
                let kind = self.link.clean(&kind);
                Err(SendFailure::Protocol(format!("it answers with `{kind}`, which is neither JSON nor a stream of events")))
            }
        }?;
        if self.opens {
            self.take_session(response.headers())?;
        }
        Ok(answer)
    }

    /// A request without so much as a head in return.
    fn unanswered(&self, fault: &legacy::Error) -> SendFailure {
        if self.hold.withdraw() {
            let failure = self.link.unsent(fault);
            // Nothing was lost, and the next session waits for a while before it tries. The others that wait for an answer go on.
            self.link.retire(End::failure(match &failure {
                SendFailure::Unsent(why) => why.clone(),
                other => other.to_string(),
            }));
            return failure;
        }
        let words = self.link.clean(&egress::words(fault));
        SendFailure::Closed(format!("the connection ended before an answer came: {words}"))
    }

    async fn denied(&self, response: &mut Response) -> SendFailure {
        let status = response.status().as_u16();
        let advice = match status {
            401 => "the credential is missing, wrong or no longer good",
            _ => "the credential does not allow it",
        };
        SendFailure::Denied(format!("HTTP {status}, {advice}{}", self.excerpt(response).await))
    }

    fn redirected(&self, response: &Response) -> SendFailure {
        let status = response.status().as_u16();
        let to = response.headers().get(header::LOCATION).map(|to| self.link.clean(&String::from_utf8_lossy(to.as_bytes())));
        let to: String = to.unwrap_or_default().chars().take(FAILURE_CHARS).collect();
        SendFailure::Protocol(format!(
            "it redirects to `{to}` (HTTP {status}), which is not followed: if that is right, write it as `url` of the connector"
        ))
    }

    /// A failure by its status. Its body may still be the error that answers the request.
    async fn failed(&self, response: &mut Response) -> Result<Answer, SendFailure> {
        let status = response.status().as_u16();
        if matches!(kind(response.headers()), Kind::Json) {
            let body = self.whole(response, FAILURE_BYTES).await?;
            if let Ok(Incoming::Answer { id, answer: Ok(error @ Answer::Error { .. }) }) = message::read(&body, FAILURE_BYTES)
                && id == self.id
            {
                return Ok(error);
            }
            return Err(SendFailure::Protocol(format!("it answers with HTTP {status}{}", self.quoted(&body))));
        }
        let excerpt = self.excerpt(response).await;
        Err(SendFailure::Protocol(format!("it answers with HTTP {status}{excerpt}")))
    }

    /// What it says to a failure, for people; nothing where that is no text, or too long to know that no secret was cut.
    async fn excerpt(&self, response: &mut Response) -> String {
        match self.whole(response, FAILURE_BYTES).await {
            Ok(body) => self.quoted(&body),
            Err(_) => String::new(),
        }
    }

    fn quoted(&self, body: &[u8]) -> String {
        let Ok(text) = std::str::from_utf8(body) else { return String::new() };
        let text = self.link.clean(text.trim());
        if text.is_empty() {
            return String::new();
        }
        let cut: String = text.chars().take(FAILURE_CHARS).collect();
        format!(": {cut}")
    }

    /// All of the body, as long as it is not too long.
    async fn whole(&self, response: &mut Response, most: usize) -> Result<Bytes, SendFailure> {
        let too_long = || SendFailure::Protocol(format!("its answer has more than {most} bytes"));
        let length = response.body().size_hint().exact();
        if length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > most)) {
            return Err(too_long());
        }
        let Some(first) = self.chunk(response).await? else { return Ok(Bytes::new()) };
        let mut whole = first;
        // It is not longer than it may be, and so may say at once how much room it wants.
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(ROOM.min(most));
        let mut gathered: Option<BytesMut> = None;
        while let Some(chunk) = self.chunk(response).await? {
            let gathered = gathered.get_or_insert_with(|| {
                let mut room = BytesMut::with_capacity(length.max(whole.len()));
                room.extend_from_slice(&std::mem::take(&mut whole));
                room
            });
            if gathered.len().saturating_add(chunk.len()) > most {
                return Err(too_long());
            }
            gathered.extend_from_slice(&chunk);
        }
        let whole = gathered.map_or(whole, BytesMut::freeze);
        if whole.len() > most { Err(too_long()) } else { Ok(whole) }
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, SendFailure> {
        chunk_of(response).await.map_err(|fault| {
            let words = self.link.clean(&egress::words(&fault));
            SendFailure::Closed(format!("the connection ended in the middle of its answer: {words}"))
        })
    }

    /// A body that must be the answer.
    fn settle(&self, body: &Bytes) -> Result<Answer, SendFailure> {
        match self.read(body)? {
            Read::Answer(answer) => Ok(answer),
            Read::Other(what) => Err(SendFailure::Protocol(what.to_owned())),
            Read::Question { .. } => Err(SendFailure::Protocol("it answers with a request of its own".to_owned())),
        }
    }

    /// One message, counted if it is not the answer.
    fn read(&self, text: &Bytes) -> Result<Read, SendFailure> {
        let counters = &self.link.counters;
        let broken = |fault: &str| SendFailure::Protocol(self.link.clean(fault));
        match message::read(text, self.most) {
            Ok(Incoming::Answer { id, answer }) if id == self.id => answer.map(Read::Answer).map_err(|fault| broken(&fault)),
            Ok(Incoming::Answer { id, .. }) => {
                let given = id >= 1 && id < self.link.next.load(Ordering::Relaxed);
                if given { &counters.second_answers } else { &counters.unknown_ids }.rise();
                Ok(Read::Other("it answers another request than the one it was sent"))
            }
            Ok(Incoming::Stray) => {
                counters.unknown_ids.rise();
                Ok(Read::Other("the id of its answer is not the one that it was sent"))
            }
            Ok(Incoming::Request { id, method, params }) => {
                counters.server_requests.rise();
                Ok(Read::Question { id, method, params })
            }
            Ok(Incoming::Notification { method, news, told }) => {
                counters.notifications.rise();
                self.link.changes.heard(&method, told.as_ref());
                if let Some(news) = news
                    && !self.hear(&news)
                {
                    counters.stray_news.rise();
                }
                Ok(Read::Other("it answers with a notification"))
            }
            Err(fault) => {
                counters.garbage_lines.rise();
                Err(broken(&self.link.redactor.unquoted(&fault)))
            }
        }
    }

    /// Hears what comes on the stream of the answer, which is this call's alone; false where it is not about this call, or not wanted.
    fn hear(&self, news: &News) -> bool {
        let wanted = self.ear.as_ref().filter(|ear| match news.kind {
            AsideKind::Progress => ear.hears_progress() && news.token() == Some(self.id),
            AsideKind::Log => ear.level().is_some(),
        });
        wanted.map(|ear| ear.hear(news.kind, &news.params)).is_some()
    }

    /// Reads a stream up to the answer. Questions that come before it are answered while it goes on.
    async fn listen(&self, response: &mut Response) -> Result<Answer, SendFailure> {
        // What comes beside the answer has as much room again.
        let most = self.most.saturating_mul(2);
        let mut events = Events::new(self.most);
        let (mut bytes, mut unasked, mut replies) = (0_usize, 0_usize, FuturesUnordered::new());
        let too_long = |_| SendFailure::Protocol(format!("its answer has more than {} bytes", self.most));
        loop {
            while let Some(event) = events.next().map_err(too_long)? {
                match self.read(&event)? {
                    Read::Answer(answer) => {
                        self.count_the_rest(&mut events, response);
                        return Ok(answer);
                    }
                    Read::Question { id, method, params } if !self.version.is_modern() && replies.len() < QUESTIONS => {
                        replies.push(self.reply(id, &method, params.as_ref()));
                    }
                    Read::Question { .. } => self.link.counters.unsent_notes.rise(),
                    Read::Other(_) => {}
                }
                unasked += 1;
                if unasked > UNASKED {
                    return Err(SendFailure::Protocol(format!("it says more than {UNASKED} things before it answers")));
                }
            }
            let chunk = tokio::select! {
                biased;
                chunk = self.chunk(response) => chunk?,
                Some(()) = replies.next() => continue,
            };
            let Some(chunk) = chunk else {
                return Err(SendFailure::Closed("its stream of events ended before the answer".to_owned()));
            };
            bytes = bytes.saturating_add(chunk.len());
            if bytes > most {
                return Err(SendFailure::Protocol(format!("its stream of events has more than {most} bytes before the answer")));
            }
            events.feed(chunk);
        }
    }

    /// The answer to a question of the server: what the agent says to it, where it may be asked. What comes on the stream of an answer
    /// belongs to that call.
    fn reply(&self, id: String, method: &str, params: Option<&Bytes>) -> impl Future<Output = ()> + use<'_> {
        let ear = self.ear.as_ref().filter(|_| message::is_for_agent(method));
        let answer = ear.and_then(|ear| ear.ask(method, params.map_or(b"{}", |params| params)));
        let now = message::reply(&id, method);
        let (uri, counters) = (self.link.uri.clone(), Arc::clone(&self.link.counters));
        let (link, client, version) = (self.link, self.link.client.clone(), self.version);
        async move {
            // Held until it is written, and what ends its grant waits for that.
            let spoken;
            let text = match answer {
                None => now,
                Some(answer) => {
                    spoken = answer.await.ok();
                    message::answered(&id, spoken.as_ref().map(Spoken::text))
                }
            };
            // With what is lent by now: people take their time.
            let sent = proofs::plain(client, uri, (Method::POST, link.headers_for("reply", version)), text);
            if !matches!(tokio::time::timeout(super::NOTE_PATIENCE, sent).await, Ok(Ok(_))) {
                counters.unsent_notes.rise();
            }
        }
    }

    /// What is there already after the answer is counted, and changes nothing. Whoever reads a stream to its end can use its
    /// connection again.
    fn count_the_rest(&self, events: &mut Events, response: &mut Response) {
        for _ in 0..AFTERWARDS {
            while let Ok(Some(event)) = events.next() {
                match message::read(&event, self.most) {
                    Ok(Incoming::Answer { id, .. }) if id == self.id => self.link.counters.second_answers.rise(),
                    _ => drop(self.read(&event)),
                }
            }
            match chunk_of(response).now_or_never() {
                Some(Ok(Some(chunk))) => events.feed(chunk),
                _ => return,
            }
        }
    }

    /// The session that the server gives with the first answer, if it does.
    fn take_session(&self, headers: &HeaderMap) -> Result<(), SendFailure> {
        let mut given = headers.get_all(SESSION).iter();
        let Some(session) = given.next() else { return Ok(()) };
        let is_plain = session.as_bytes().iter().all(|byte| (0x21..0x7f).contains(byte));
        if given.next().is_some() || session.is_empty() || session.len() > SESSION_BYTES || !is_plain {
            return Err(SendFailure::Protocol("it gives a session whose id is none".to_owned()));
        }
        let mut session = session.clone();
        // Whoever has it has the session.
        session.set_sensitive(true);
        let _ = self.link.session.set(session);
        Ok(())
    }
}

/// What a message of the server is to one that waits for its answer.
enum Read {
    Answer(Answer),
    Question { id: String, method: String, params: Option<Bytes> },
    Other(&'static str),
}

/// A request that is answered before it is written, which is the server's to say: the rest may wait in the client for room that the server
/// gives when it likes. Once nobody waits for the answer any more, its connection is broken, unless it is written soon.
struct Unwritten {
    stage: Arc<Stage>,
    breaker: Breaker,
}

impl Unwritten {
    fn of(response: &Response, hold: &Hold) -> Option<Self> {
        let breaker = hold.stage.is_on_its_way().then(|| response.extensions().get::<Breaker>().cloned())??;
        Some(Self { stage: Arc::clone(&hold.stage), breaker })
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        if !self.stage.is_on_its_way() {
            return;
        }
        let (stage, breaker) = (Arc::clone(&self.stage), self.breaker.clone());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(UNWRITTEN).await;
                if stage.is_on_its_way() {
                    breaker.break_off();
                }
            })),
            Err(_) => breaker.break_off(),
        }
    }
}

/// What comes next of a body; trailers mean nothing here.
pub(super) async fn chunk_of(response: &mut Response) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// What is wrong before anything of the body is read.
pub(super) fn check_head(response: &Response) -> Result<(), SendFailure> {
    let headers = response.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > egress::most_header_bytes() {
        return Err(SendFailure::Protocol(format!("its headers have more than {} bytes", egress::most_header_bytes())));
    }
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.into_iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(SendFailure::Protocol("its answer is compressed, which it was not asked for".to_owned()));
    }
    Ok(())
}

pub(super) fn kind(headers: &HeaderMap) -> Kind {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (given.next().map(header::HeaderValue::as_bytes).unwrap_or_default(), given.next());
    let text = String::from_utf8_lossy(first);
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" if second.is_none() => Kind::Json,
        "text/event-stream" if second.is_none() => Kind::Events,
        _ => Kind::Other(text.chars().take(80).collect()),
    }
}
