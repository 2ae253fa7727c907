//! What agents hear of without asking each time: subscriptions of sessions, their streams, and requests that listen.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    Outlook, Received, Refusal,
    aside::Wants,
    ids::AgentId,
    ports::ListKind,
    principal::{Presented, Principal},
    received::{Message, Origin, Protocol},
    records::Outcome,
    refusal::CODE_REFUSED,
};
use bailiwick_schemas::json;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Exchange, bad, unreadable};
use crate::server::{
    events,
    front::TurnedAway,
    inbox::{Inbox, Renewal},
    parts::Response,
    render,
    seats::Seat,
    sessions::Session,
    standing::{Form, Kept, Standing, acknowledged},
};

/// So many resources may be subscribed to in one request that listens.
const URIS: usize = 256;
/// So many of them are asked for at a time, and so long it may take in all: what is not agreed to by then is left out.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

/// What a request wants to listen to.
struct Filter {
    lists: Vec<ListKind>,
    uris: Vec<String>,
}

impl Exchange<'_> {
    /// `resources/subscribe`: walks the gates that reading the resource would.
    pub(super) async fn subscribe(
        &self,
        id: &str,
        session: &Arc<Session>,
        presented: Presented,
        message: &Message,
    ) -> Result<Response, TurnedAway> {
        let uri = uri_of(message)?;
        let seat = self.subscription_seat()?;
        let origin = self.origin(session.protocol, presented);
        let received = Received::watch(self.front.call_id(), message, uri.clone(), origin, self.arrived_ns);
        let received = received.map_err(|fault| unreadable(&fault))?;
        let inbox = Arc::clone(session.inbox());
        let answer = inbox.subscribe(&uri, seat, self.renewal(), received).await;
        Ok(render::respond(id, session.protocol, &answer))
    }

    /// `resources/unsubscribe`: takes away what is there, and says nothing of what isn't.
    pub(super) fn unsubscribe(&self, id: &str, session: &Session, message: &Message) -> Result<Response, TurnedAway> {
        let uri = uri_of(message)?;
        session.inbox().unsubscribe(&uri);
        Ok(self.plain(id, &json!({}), message))
    }

    /// The stream of a session: one, and a later one takes its place.
    pub(super) async fn session_stream(&self, session: Arc<Session>, presented: Presented) -> Result<Response, TurnedAway> {
        if !events::are_accepted(&self.headers) {
            let message = "this is a stream of events: send `Accept: text/event-stream`";
            return Err(TurnedAway::new(StatusCode::NOT_ACCEPTABLE, Outcome::Invalid, "not_acceptable", message));
        }
        let outlook = match self.front.gateway.outlook(&presented, None).await {
            Ok(outlook) => outlook,
            Err(refusal) => return Err(turned_away(refusal)),
        };
        if !self.note("session/stream", Outcome::Success, None, None) {
            return Err(TurnedAway::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Outcome::InternalError,
                "trail_lost",
                "the gateway can't keep its record",
            ));
        }
        let (inbox, ends) = (Arc::clone(session.inbox()), session.take_stream());
        let kept = Kept { _enlisted: self.front.notices().enlist(&inbox), _seat: None };
        Ok(self.stand(Form::Session(session), inbox, presented, outlook, ends).await.open(None, kept))
    }

    /// `subscriptions/listen`: what of the filter is given is honoured, and the stream says first what that is.
    pub(super) async fn listen(&self, id: &str, presented: Presented, message: &Message) -> Result<Response, TurnedAway> {
        if !events::are_accepted(&self.headers) {
            let message = "the answer is a stream of events: send `Accept: application/json, text/event-stream`";
            return Err(TurnedAway::new(StatusCode::NOT_ACCEPTABLE, Outcome::Invalid, "not_acceptable", message));
        }
        let filter = filter_of(message)?;
        let stream_seat = self.stream_seat()?;
        let seats: Vec<Seat> = filter.uris.iter().map(|_| self.subscription_seat()).collect::<Result<_, _>>()?;
        let outlook = self.front.gateway.outlook(&presented, None).await.map_err(turned_away)?;
        if !self.note(message.method(), Outcome::Success, None, None) {
            return Err(TurnedAway::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Outcome::InternalError,
                "trail_lost",
                "the gateway can't keep its record",
            ));
        }
        let inbox = Inbox::new();
        let honoured = |list: &ListKind| *list == ListKind::Tools || outlook.gives(*list);
        let lists: Vec<ListKind> = filter.lists.iter().copied().filter(honoured).collect();
        let ends = CancellationToken::new();
        let form = Form::Listen(id.to_owned(), lists.clone());
        let kept = Kept { _enlisted: self.front.notices().enlist(&inbox), _seat: Some(stream_seat) };
        let standing = self.stand(form, Arc::clone(&inbox), presented.clone(), outlook, ends);
        // Both take their time, and neither waits for the other.
        let (standing, ()) = tokio::join!(standing, self.subscribe_all(&inbox, filter.uris, seats, &presented, message));
        let uris = inbox.subscribed();
        Ok(standing.open(Some(acknowledged(id, &lists, &uris)), kept))
    }

    async fn subscribe_all(
        &self,
        inbox: &Arc<Inbox>,
        uris: Vec<String>,
        seats: Vec<Seat>,
        presented: &Presented,
        message: &Message,
    ) {
        let wishes = uris.into_iter().zip(seats).map(|(uri, seat)| async move {
            let origin = self.origin(Protocol::V20260728, presented.clone());
            let received = Received::watch(self.front.call_id(), message, uri.clone(), origin, self.arrived_ns);
            let Ok(received) = received else { return };
            // What it came to is on record; the agent learns it by what is honoured.
            let _answer = inbox.subscribe(&uri, seat, self.renewal(), received).await;
        });
        let all = stream::iter(wishes).buffer_unordered(AT_ONCE).collect::<Vec<()>>();
        let _late = tokio::time::timeout(PATIENCE, all).await;
    }

    async fn stand(
        &self,
        form: Form,
        inbox: Arc<Inbox>,
        presented: Presented,
        outlook: Arc<Outlook>,
        ends: CancellationToken,
    ) -> Standing {
        // It is among those that are told by now: what changes from here on is.
        inbox.take_up(&outlook);
        let hears = match &form {
            Form::Session(_) => true,
            Form::Listen(_, lists) => !lists.is_empty(),
        };
        let interest = match outlook.grant().filter(|_| hears) {
            Some(grant) => Some(self.front.gateway.hear(grant).await),
            None => None,
        };
        let (gateway, ends) = (self.front.gateway.clone(), [ends, self.front.ends().clone()]);
        Standing { gateway, inbox, form, presented, outlook, ends, interest }
    }

    fn origin(&self, protocol: Protocol, presented: Presented) -> Origin {
        let (links, capabilities, mirrored) = (self.links(), Vec::new(), None);
        Origin {
            transport: self.transport,
            protocol,
            presented,
            links,
            capabilities,
            takes_tasks: false,
            mirrored,
            wants: Wants::default(),
            meta: Bytes::new(),
            reason: None,
        }
    }

    fn renewal(&self) -> Renewal {
        let clock = Arc::clone(&self.front.gateway.ports().clock);
        Renewal { gateway: self.front.gateway.clone(), call_id: Arc::new(move || crate::server::front::call_id(clock.as_ref())) }
    }

    fn agent(&self) -> Option<&AgentId> {
        self.principal.as_ref().map(|principal: &Principal| &principal.agent.id)
    }

    fn subscription_seat(&self) -> Result<Seat, TurnedAway> {
        self.agent().and_then(|agent| self.front.subscription_seat(agent)).ok_or_else(|| {
            let most = crate::server::front::SUBSCRIPTIONS;
            let message = format!("this agent has {most} subscriptions, and gets no more: end some that it does not need");
            TurnedAway::new(StatusCode::OK, Outcome::RateLimited, "too_many_subscriptions", message).with_code(CODE_REFUSED)
        })
    }

    fn stream_seat(&self) -> Result<Seat, TurnedAway> {
        self.agent().and_then(|agent| self.front.stream_seat(agent)).ok_or_else(|| {
            let most = crate::server::front::STREAMS;
            let message = format!("this agent listens with {most} requests already: end one, or listen to more with one");
            TurnedAway::new(StatusCode::TOO_MANY_REQUESTS, Outcome::RateLimited, "too_many_streams", message)
        })
    }
}

/// A refusal before anything was begun, as an answer to a request that has none of its own.
fn turned_away(refusal: Refusal) -> TurnedAway {
    let (outcome, reason) = (refusal.outcome, refusal.reason);
    let answer = refusal.into_answer();
    match answer.body {
        bailiwick_pipeline::Body::Error { code, message, http, .. } => {
            let status = StatusCode::from_u16(http).unwrap_or(StatusCode::FORBIDDEN);
            let status = if status == StatusCode::OK { StatusCode::FORBIDDEN } else { status };
            TurnedAway::new(status, outcome, reason, message).with_code(code)
        }
        _ => TurnedAway::new(StatusCode::FORBIDDEN, outcome, reason, "refused").with_code(CODE_REFUSED),
    }
}

fn uri_of(message: &Message) -> Result<String, TurnedAway> {
    let uri = message.param("uri").and_then(|uri| serde_json::from_str::<String>(uri).ok());
    uri.ok_or_else(|| bad("uri", "member `params.uri` must be a string").with_code(-32602))
}

fn filter_of(message: &Message) -> Result<Filter, TurnedAway> {
    let wrong = |what: &str| bad("filter", what.to_owned()).with_code(-32602);
    let filter = message.param("notifications").ok_or_else(|| wrong("`params.notifications` must say what to listen to"))?;
    let fields = json::fields(filter).map_err(|_| wrong("`params.notifications` must be an object"))?;
    let (mut lists, mut uris) = (Vec::new(), Vec::new());
    for (key, value) in &fields {
        let list = match key.as_ref() {
            "toolsListChanged" => ListKind::Tools,
            "resourcesListChanged" => ListKind::Resources,
            "promptsListChanged" => ListKind::Prompts,
            "resourceSubscriptions" => {
                uris = serde_json::from_str::<Vec<String>>(value.get())
                    .map_err(|_| wrong("`resourceSubscriptions` must be an array of strings"))?;
                continue;
            }
            _ => continue,
        };
        match value.get() {
            "true" => lists.push(list),
            "false" => {}
            _ => return Err(wrong(&format!("`{key}` must be true or false"))),
        }
    }
    uris.sort_unstable();
    uris.dedup();
    if uris.len() > URIS {
        return Err(wrong(&format!("`resourceSubscriptions` has more than {URIS} resources: subscribe to fewer")));
    }
    Ok(Filter { lists, uris })
}
