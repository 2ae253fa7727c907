//! A link over HTTP: each message is a POST of its own, in both eras of the protocol (MCP, "Streamable HTTP").
//!
//! In the legacy era the server may give a session, which belongs to this link alone. The stream that a client may open by GET is opened
//! only while somebody wants to hear what comes on it: a change of tools is found by reading the list anew, too.

mod exchange;
mod headers;
mod payload;
mod proofs;
mod sse;
mod standing;

pub(crate) use payload::{Parcel, Payload};

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::ports::{Later, Lease, SendFailure};
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body_util::Either;
use hyper_util::client::legacy;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    child::{Purpose, any},
    egress::{self, Client},
    link::{self, Body, Changes, DISCOVER, End, INITIALIZE, Link, Request, Written},
    message::{self, Answer},
    over_http::{
        exchange::Exchange,
        payload::Hold,
        proofs::{Again, Head, NotSent},
    },
    pool::{LinkRecord, Opened, Pool, TAKEN_BACK},
    spec::HttpSpec,
    status::{ConnectorEvent, Counters},
    stderr::Redactor,
    version::Version,
};

/// The longest time that a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// A short message that nobody waits for is given up after this time.
const NOTE_PATIENCE: Duration = Duration::from_secs(5);

/// Makes a link. Nothing is sent by that.
pub(crate) async fn open(
    pool: &Arc<Pool>,
    spec: &HttpSpec,
    purpose: &Purpose,
    permit: OwnedSemaphorePermit,
) -> Result<Opened, String> {
    let client = pool.client(spec, pool.spec.handshake_timeout.min(CONNECT)).await?;
    let link = Arc::new(HttpLink {
        client,
        uri: spec.url.as_str().parse().map_err(|fault| format!("its `url` can't be sent to: {fault}"))?,
        head: ArcSwap::from_pointee(headers::of(purpose.lease.as_deref())?),
        session: OnceLock::new(),
        next: AtomicI64::new(1),
        changes: Changes::default(),
        retired: OnceLock::new(),
        ended: OnceLock::new(),
        ending: CancellationToken::new(),
        in_flight: TaskTracker::new(),
        max_message: Arc::clone(&pool.max_message),
        counters: Arc::clone(&pool.counters),
        redactor: Redactor::new(purpose.lease.as_ref()),
        tracker: pool.context.tracker.clone(),
    });
    let as_link: Arc<dyn Link> = Arc::<HttpLink>::clone(&link);
    let opened = pool.add(LinkRecord::new(purpose.grant.clone(), &as_link));
    pool.context.tell(ConnectorEvent::Started { connector: pool.spec.id.clone(), pid: None, grant: purpose.grant.clone() });
    // What is lent may be lent anew: only what the next message carries is kept.
    let (taken_back, purpose) = (purpose.taken_back(), Purpose { lease: None, ..purpose.clone() });
    let life = Life { pool: Arc::clone(pool), link, serial: opened.serial, purpose, taken_back };
    pool.context.tracker.spawn(life.supervise(permit));
    Ok(opened)
}

/// What is needed to see a link to its end.
struct Life {
    pool: Arc<Pool>,
    link: Arc<HttpLink>,
    serial: u64,
    purpose: Purpose,
    /// Of what was lent first.
    taken_back: CancellationToken,
}

impl Life {
    async fn supervise(self, permit: OwnedSemaphorePermit) {
        tokio::select! {
            biased;
            () = self.pool.context.root.cancelled() => self.link.end(End::wanted("the gateway ends")),
            () = any(&self.purpose.ends) => self.link.end(End::wanted("its grant has ended")),
            () = self.taken_back.cancelled() => self.link.end(End::wanted(TAKEN_BACK)),
            () = self.link.ending.cancelled() => {}
        }
        let end = self.link.ended().unwrap_or_else(|| End::failure("it has ended"));
        if !end.wanted {
            self.pool.failed(&end.why);
        }
        // What the server still works on is called off before its session is: afterwards it would not know what is meant.
        self.link.in_flight.close();
        let _ = tokio::time::timeout(self.pool.spec.kill_after / 2, self.link.in_flight.wait()).await;
        if !end.expired {
            let _ = tokio::time::timeout(self.pool.spec.kill_after, self.link.leave()).await;
        }
        self.pool.remove(self.serial, Vec::new());
        // Sessions may be kept for longer than they last; what was lent is not.
        self.link.head.store(Arc::default());
        self.link.redactor.let_go();
        drop(permit);
        let (connector, grant) = (self.pool.spec.id.clone(), self.purpose.grant);
        let (why, wanted, status) = (end.why, end.wanted, String::new());
        self.pool.context.tell(ConnectorEvent::Ended { connector, pid: None, grant, why, wanted, status });
    }
}

/// The connection to one server, for one grant.
pub(crate) struct HttpLink {
    client: Client,
    uri: Uri,
    /// Those of every message, what is lent just now included.
    head: ArcSwap<Head>,
    /// The session that the server gave, if it did.
    session: OnceLock<HeaderValue>,
    next: AtomicI64,
    changes: Changes,
    /// Why nothing new is begun.
    retired: OnceLock<End>,
    ended: OnceLock<End>,
    ending: CancellationToken,
    /// The requests of the legacy era that wait for an answer, and the messages that call them off.
    in_flight: TaskTracker,
    max_message: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    redactor: Redactor,
    tracker: TaskTracker,
}

impl HttpLink {
    async fn ask(&self, request: Request<'_>) -> Result<Answer, SendFailure> {
        let Request { body, version, timeout, cancelled, written, ear } = request;
        if let Some(end) = self.retired() {
            return Err(SendFailure::Unsent(end.why));
        }
        let deadline = Instant::now() + timeout;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (head, text) = match body {
            Body::Own { method, members } => (self.headers_for(method, version), message::request(id, method, members, version)),
            Body::Call(call) => {
                let mut head = self.headers_for(call.method, version);
                headers::for_call(&mut head.headers, &call, version).map_err(SendFailure::Unsent)?;
                (head, message::call(id, &call, ear.as_ref(), version))
            }
        };
        let text: bytes::Bytes = text.into();
        // Where its server may refuse it for want of a nonce, it is kept to be sent once more.
        let mut written = Some(written);
        let again = head.prover.is_some().then(|| Some(Again::new(head.clone(), text.clone(), written.take()?))).flatten();
        let written = again.as_ref().map(Again::written).or(written).unwrap_or_else(|| Box::new(|| {}));
        let (payload, hold) = Payload::new(text, written);
        let revocable = !version.is_modern() && !matches!(body, Body::Own { method: INITIALIZE | DISCOVER, .. });
        let _in_flight = revocable.then(|| self.in_flight.token());
        let mut unanswered = Unanswered { link: self, id, version, hold: revocable.then_some(&hold) };
        let opens = matches!(body, Body::Own { method: INITIALIZE, .. });
        let most = self.max_message.load(Ordering::Relaxed);
        let exchange = Exchange { link: self, id, version, hold: &hold, cancelled, most, opens, ear, again };
        let request = proofs::request(&self.uri, Method::POST, &head, Either::Left(payload)).map_err(SendFailure::Unsent)?;
        let work = exchange.run(request);
        let answer = tokio::select! {
            biased;
            answer = work => answer,
            () = cancelled.cancelled() => return Err(broken_off(&hold, "the call was cancelled")),
            () = self.ending.cancelled() => {
                return Err(broken_off(&hold, self.ended.get().map_or("it has ended", |end| end.why.as_str())));
            }
            () = tokio::time::sleep_until(deadline) => {
                if hold.withdraw() {
                    return Err(SendFailure::Unsent("the server could not be reached in time".to_owned()));
                }
                return Err(SendFailure::Timeout(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
            }
        };
        unanswered.hold = None;
        answer
    }

    /// The headers of a message: those of all, the session's, and the version's.
    fn headers_for(&self, method: &'static str, version: Version) -> Head {
        let mut head = Head::clone(&self.head.load());
        let headers = &mut head.headers;
        if method != INITIALIZE {
            headers.insert(headers::VERSION, HeaderValue::from_static(version.as_str()));
        }
        if version.is_modern() {
            headers.insert(headers::METHOD, HeaderValue::from_static(method));
        } else if let Some(session) = self.session.get() {
            headers.insert(headers::SESSION, session.clone());
        }
        head
    }

    /// Sends a message of which nobody has to know when it is written.
    fn send(
        &self,
        method: Method,
        head: Head,
        text: Vec<u8>,
    ) -> impl Future<Output = Result<http::Response<hyper::body::Incoming>, NotSent>> + Send + 'static {
        proofs::plain(self.client.clone(), self.uri.clone(), (method, head), text)
    }

    /// Sends a message that has no answer, and waits until the server took it.
    async fn tell(&self, method: &'static str, text: Vec<u8>, version: Version) -> Result<(), SendFailure> {
        let response =
            self.send(Method::POST, self.headers_for(method, version), text).await.map_err(|fault| self.not_sent(fault))?;
        let status = response.status();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(SendFailure::Denied(format!("it answers `{method}` with HTTP {}", status.as_u16())))
            }
            status if status.is_success() => Ok(()),
            status => Err(SendFailure::Protocol(format!("it answers `{method}` with HTTP {}", status.as_u16()))),
        }
    }

    fn not_sent(&self, fault: NotSent) -> SendFailure {
        match fault {
            NotSent::Unproved(why) => SendFailure::Unsent(why),
            NotSent::Lost(fault) => self.unsent(&fault),
        }
    }

    fn unsent(&self, fault: &legacy::Error) -> SendFailure {
        SendFailure::Unsent(format!("it can't be reached: {}", self.clean(&egress::words(fault))))
    }

    /// Sends a short message that nobody waits for.
    fn note(&self, method: &'static str, text: Vec<u8>, version: Version) {
        let sent = self.send(Method::POST, self.headers_for(method, version), text);
        let counters = Arc::clone(&self.counters);
        self.tracker.spawn(self.in_flight.track_future(async move {
            if !matches!(tokio::time::timeout(NOTE_PATIENCE, sent).await, Ok(Ok(_))) {
                counters.unsent_notes.rise();
            }
        }));
    }

    /// Whether the server has forgotten the session: it knows nothing any more of what was asked in it.
    fn is_expired(&self) -> bool {
        [&self.ended, &self.retired].into_iter().any(|end| end.get().is_some_and(|end| end.expired))
    }

    /// Tells the server that the session is over, where there is one.
    async fn leave(&self) {
        if let Some(session) = self.session.get() {
            let mut head = Head::clone(&self.head.load());
            head.headers.insert(headers::SESSION, session.clone());
            // Best effort: a server may have its own idea of when sessions end.
            let _ = self.send(Method::DELETE, head, Vec::new()).await;
        }
    }
}

impl Link for HttpLink {
    fn request<'a>(&'a self, request: Request<'a>) -> Later<'a, Result<Answer, SendFailure>> {
        Box::pin(self.ask(request))
    }

    fn notify(&self, method: &'static str, version: Version, patience: Duration) -> Later<'_, Result<(), SendFailure>> {
        Box::pin(async move {
            let late = |_| SendFailure::Unsent("the server did not take it in time".to_owned());
            let text = message::notification(method, None);
            tokio::time::timeout(patience, self.tell(method, text, version)).await.map_err(late)?
        })
    }

    fn stream(&self, version: Version, opened: Written) -> Later<'_, Result<(), SendFailure>> {
        Box::pin(self.stand(version, opened))
    }

    /// A message of its own, which the end of the link does not keep back.
    fn call_off<'a>(&'a self, task: &'a str, version: Version, patience: Duration) -> Later<'a, ()> {
        Box::pin(async move {
            let (id, arguments) = (self.next.fetch_add(1, Ordering::Relaxed), link::giving_up(task));
            let call = link::cancelling(task, &arguments);
            let mut head = self.headers_for(call.method, version);
            if headers::for_call(&mut head.headers, &call, version).is_err() {
                return;
            }
            let sent = self.send(Method::POST, head, message::call(id, &call, None, version));
            let told = self.in_flight.track_future(sent);
            if !matches!(tokio::time::timeout(patience, told).await, Ok(Ok(_))) {
                self.counters.unsent_notes.rise();
            }
        })
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn ended(&self) -> Option<End> {
        self.ended.get().cloned()
    }

    fn end(&self, end: End) {
        let end = match self.retired.get() {
            // Why nothing new was begun is why it ends.
            Some(first) if !end.wanted && !first.wanted => first.clone(),
            Some(first) => End { expired: end.expired || first.expired, ..end },
            None => end,
        };
        if self.ended.set(end).is_ok() {
            self.ending.cancel();
        }
    }

    fn retire(&self, end: End) {
        // Only the first reason counts.
        let _ = self.retired.set(end);
    }

    fn retired(&self) -> Option<End> {
        self.ended.get().or_else(|| self.retired.get()).cloned()
    }

    fn unused(&self) {
        if let Some(end) = self.retired.get() {
            self.end(end.clone());
        }
    }

    fn relend(&self, lease: &Arc<Lease>) -> Result<bool, String> {
        if self.ended.get().is_some() {
            return Ok(false);
        }
        let head = headers::of(Some(lease))?;
        // Hidden first: it may come back at once.
        self.redactor.relent(lease);
        self.head.store(Arc::new(head));
        Ok(true)
    }

    fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }
}

/// A request that nobody waits for any more.
fn broken_off(hold: &Hold, why: &str) -> SendFailure {
    if hold.withdraw() { SendFailure::Unsent(why.to_owned()) } else { SendFailure::Closed(why.to_owned()) }
}

/// A legacy request without its answer. Dropped, it tells the server, to which a closed connection means nothing.
struct Unanswered<'a> {
    link: &'a HttpLink,
    id: i64,
    version: Version,
    hold: Option<&'a Hold>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.hold.is_some_and(|hold| !hold.withdraw())
            && !self.link.is_expired()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.link.note("notifications/cancelled", message::cancelled(self.id), self.version);
        }
    }
}
