//! A stream that stays open: of a session (GET), or of a request that listens (`subscriptions/listen`). A task of its own fills it, one
//! event at a time, as fast as its reader takes them; who may hear an event is asked as it leaves.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bailiwick_pipeline::{
    Gateway, Outlook,
    grant::LiveGrant,
    ports::{Interest, ListKind},
    principal::Presented,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    inbox::{Enlisted, Inbox, Item},
    parts::{Parts, Response, bare},
    render,
    seats::Seat,
    sessions::Session,
};

/// How often it is looked whether the agent's lists are what they were, and whether it still may hear of them.
const LOOK: Duration = Duration::from_millis(250);
/// How often a stream on which nothing is said shows that it is there: so it is noticed when its reader is gone.
const ALIVE: Duration = Duration::from_secs(15);
/// The key of a subscription in the `_meta` of what is said by it (MCP 2026-07-28).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What kind of stream it is.
pub(super) enum Form {
    /// The one of a session.
    Session(Arc<Session>),
    /// Of the request of this id, which listens to these lists.
    Listen(String, Vec<ListKind>),
}

/// What a stream is made of.
pub(super) struct Standing {
    pub(super) gateway: Gateway,
    pub(super) inbox: Arc<Inbox>,
    pub(super) form: Form,
    pub(super) presented: Presented,
    /// What the agent's lists showed when it was opened.
    pub(super) outlook: Arc<Outlook>,
    /// Each ends it: the end of its session, of the gateway, or that another one is in its place.
    pub(super) ends: [CancellationToken; 2],
    /// That it hears of lists.
    pub(super) interest: Option<Interest>,
}

/// What a stream keeps as long as it is open: its place among those that are told, and among its agent's.
pub(super) struct Kept {
    pub(super) _enlisted: Enlisted,
    pub(super) _seat: Option<Seat>,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Stood(mpsc::Receiver<Bytes>);

impl Stood {
    /// What comes next; nothing once it has ended.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(context)
    }
}

/// Why a stream ends.
#[derive(PartialEq, Eq)]
enum Over {
    /// Nobody reads it.
    Unread,
    /// It may not go on.
    Ended,
    /// Its grant has ended: what its agent's lists showed is gone.
    GrantEnded,
}

impl Standing {
    /// Opens it, with this as its first event.
    pub(super) fn open(self, first: Option<Bytes>, kept: Kept) -> Response {
        let (events, told) = mpsc::channel(1);
        tokio::spawn(async move {
            let _kept = kept;
            self.tell(events).await;
        });
        let mut response = bare(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        let first = first.unwrap_or_else(|| Bytes::from_static(b": open\n\n"));
        *response.body_mut() = Parts::standing(first, Stood(told));
        response
    }

    async fn tell(mut self, events: mpsc::Sender<Bytes>) {
        let over = self.fill(&events).await;
        // Nothing of it goes on for an agent that may hear no more of it.
        if matches!(self.form, Form::Listen(..)) {
            self.inbox.clear();
        }
        if over == Over::Unread {
            return;
        }
        // Where its reader is behind, it learns of it by the end.
        if over == Over::GrantEnded {
            for list in ListKind::ALL.into_iter().filter(|list| self.outlook.gives(*list) && self.wants(*list)) {
                let _behind = events.try_send(self.list_event(list));
                tokio::task::yield_now().await;
            }
        }
        if let Form::Listen(id, _) = &self.form {
            let last = tokio::time::timeout(ALIVE, events.send(last_event(id)));
            let _behind = last.await;
        }
    }

    async fn fill(&mut self, events: &mpsc::Sender<Bytes>) -> Over {
        let (mut looked, mut said) = (tokio::time::interval(LOOK), Instant::now());
        looked.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let [session_ends, gateway_ends] = self.ends.clone();
        loop {
            let grant = self.outlook.grant().cloned();
            let item = tokio::select! {
                biased;
                () = events.closed() => return Over::Unread,
                () = session_ends.cancelled() => return Over::Ended,
                () = gateway_ends.cancelled() => return Over::Ended,
                () = ended(grant.as_deref()) => return Over::GrantEnded,
                _ = looked.tick() => None,
                item = self.inbox.next() => Some(item),
            };
            let event = match item {
                None => {
                    if !self.look().await {
                        self.inbox.clear();
                        return Over::Ended;
                    }
                    self.inbox.look();
                    if let Form::Session(session) = &self.form {
                        session.touch(self.gateway.ports().clock.now_ms());
                    }
                    if said.elapsed() < ALIVE {
                        continue;
                    }
                    Some(Bytes::from_static(b": still open\n\n"))
                }
                Some(Item::List(list)) => self.wants(list).then(|| self.list_event(list)),
                Some(Item::Resource(number, uri)) => self.resource_event(number, &uri).await,
            };
            let Some(event) = event else { continue };
            said = Instant::now();
            tokio::select! {
                biased;
                () = session_ends.cancelled() => return Over::Ended,
                () = gateway_ends.cancelled() => return Over::Ended,
                () = ended(grant.as_deref()) => return Over::GrantEnded,
                sent = events.send(event) => if sent.is_err() { return Over::Unread },
            }
        }
    }

    /// Looks what the agent's lists show now; false where it may hear nothing any more.
    async fn look(&mut self) -> bool {
        let now = match self.gateway.outlook(&self.presented, Some(&self.outlook)).await {
            Ok(now) => now,
            // It has several grants by now and names none: it stays with the one it has.
            Err(refusal) if refusal.reason == "choose_grant" => return self.outlook.grant().is_some(),
            Err(_) => return false,
        };
        if Arc::ptr_eq(&now, &self.outlook) {
            return true;
        }
        let is_same = match (self.outlook.grant(), now.grant()) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.interest = match now.grant() {
                Some(grant) => Some(self.gateway.hear(grant).await),
                None => None,
            };
        }
        self.inbox.take_up(&now);
        self.outlook = now;
        true
    }

    fn wants(&self, list: ListKind) -> bool {
        match &self.form {
            Form::Session(_) => true,
            Form::Listen(_, lists) => lists.contains(&list),
        }
    }

    fn list_event(&self, list: ListKind) -> Bytes {
        self.event(list.method(), None)
    }

    /// That a resource changed, where its subscriber may hear of it. A subscription to what it may not read any more has ended.
    async fn resource_event(&self, number: u64, uri: &str) -> Option<Bytes> {
        let (subscribed, subscription) = self.inbox.subscription(number)?;
        let Some(name) = self.gateway.heard(&subscription, uri).await else {
            if subscription.uri() == uri {
                self.inbox.unsubscribe(&subscribed);
            }
            return None;
        };
        Some(self.event("notifications/resources/updated", Some(&name)))
    }

    fn event(&self, method: &str, uri: Option<&str>) -> Bytes {
        let uri = uri.map(|uri| format!("\"uri\":{}", Value::from(uri)));
        let params = match (&self.form, uri) {
            (Form::Session(_), None) => String::new(),
            (Form::Session(_), Some(uri)) => format!(",\"params\":{{{uri}}}"),
            (Form::Listen(id, _), uri) => {
                let uri = uri.map(|uri| format!("{uri},")).unwrap_or_default();
                format!(",\"params\":{{{uri}\"_meta\":{{\"{SUBSCRIPTION}\":{id}}}}}")
            }
        };
        framed(&format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#))
    }
}

/// The first event of a request that listens: what of what it asked for it is told (MCP 2026-07-28).
pub(super) fn acknowledged(id: &str, lists: &[ListKind], uris: &[String]) -> Bytes {
    let mut honoured = serde_json::Map::new();
    for list in lists {
        let name = match list {
            ListKind::Tools => "toolsListChanged",
            ListKind::Resources => "resourcesListChanged",
            ListKind::Prompts => "promptsListChanged",
        };
        honoured.insert(name.to_owned(), json!(true));
    }
    if !uris.is_empty() {
        honoured.insert("resourceSubscriptions".to_owned(), json!(uris));
    }
    let honoured = Value::Object(honoured);
    let params = format!(r#"{{"notifications":{honoured},"_meta":{{"{SUBSCRIPTION}":{id}}}}}"#);
    framed(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{params}}}"#))
}

/// The last one: its answer.
fn last_event(id: &str) -> Bytes {
    let meta = format!(r#"{{"io.modelcontextprotocol/serverInfo":{},"{SUBSCRIPTION}":{id}}}"#, render::server_info());
    framed(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{meta}}}}}"#))
}

fn framed(message: &str) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}

/// Returns when a grant has ended; never without one.
async fn ended(grant: Option<&LiveGrant>) {
    match grant {
        Some(grant) => grant.cancelled().cancelled().await,
        None => std::future::pending().await,
    }
}
