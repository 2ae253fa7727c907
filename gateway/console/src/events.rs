//! `GET /events`: what changed, told as it does. Ids and kinds alone: whoever wants to see it loads it, and sees what they may.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use bailiwick_policy::Band;
use http::{HeaderMap, StatusCode, header};
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use crate::{
    Viewer,
    desk::{Change, News},
    person::Action,
    refused::Refused,
    router::Console,
};

/// So many pages of one session listen at once.
const OF_SESSION: usize = 8;

/// So many of one person.
const OF_PERSON: usize = 64;

/// Whether the session is still open is asked so often, and something is said so often that a connection which is gone is noticed.
const LOOK: Duration = Duration::from_secs(5);

/// So many events wait for a browser that reads slowly; then everything is to be looked at anew.
const ROOM: usize = 64;

/// How many listen, by session and by person.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Counts);

type Counts = Arc<Mutex<HashMap<Of, usize>>>;

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Of {
    Session(String),
    Person(String),
}

impl Listeners {
    /// A place for one more, unless this session or this person has enough.
    fn enter(&self, session: &str, person: &str) -> Option<Place> {
        let of = [Of::Session(session.to_owned()), Of::Person(person.to_owned())];
        let mut listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |of: &Of| listening.get(of).copied().unwrap_or(0);
        let [in_session, by_person] = of.each_ref().map(count);
        if in_session >= OF_SESSION || by_person >= OF_PERSON {
            return None;
        }
        for one in &of {
            *listening.entry(one.clone()).or_insert(0) += 1;
        }
        drop(listening);
        Some(Place { listening: Arc::clone(&self.0), of })
    }
}

/// The place of one listener; dropped, it is free.
struct Place {
    listening: Counts,
    of: [Of; 2],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &self.of {
            let left = listening.get(one).map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                listening.remove(one);
            } else {
                listening.insert(one.clone(), left);
            }
        }
    }
}

/// Answers with a stream that ends with the session.
pub(crate) async fn listen(State(console): State<Arc<Console>>, viewer: Viewer, headers: HeaderMap) -> Result<Response, Refused> {
    viewer.may(Action::SeeApprovals)?;
    let place = console
        .listeners()
        .enter(&viewer.session, &viewer.person.id)
        .ok_or_else(|| Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many pages of yours listen", "close some of them"))?;
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    // Who comes for the first time looks once more as soon as this is open: nothing is lost in between.
    let after = known.unwrap_or_else(|| *console.desk().told().borrow());
    let (tell, mut told) = mpsc::channel::<Bytes>(ROOM);
    tokio::spawn(async move {
        let _place = place;
        follow(&console, &viewer, after, &tell).await;
    });
    let stream = futures_util::stream::poll_fn(move |context| {
        told.poll_recv(context).map(|next| next.map(|bytes| Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes))))
    });
    let body = Body::new(StreamBody::new(stream));
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Tells what changed until nobody listens or the session is over.
async fn follow(console: &Console, viewer: &Viewer, mut after: u64, tell: &mpsc::Sender<Bytes>) {
    let mut changed = console.desk().told();
    if tell.send(Bytes::from_static(b"retry: 2000\n\n")).await.is_err() {
        return;
    }
    let sees_registry = viewer.may(Action::SeeRegistry).is_ok();
    loop {
        if !console.is_open(viewer) {
            let _gone = tell.send(Bytes::from_static(b"event: ended\ndata: {}\n\n")).await;
            return;
        }
        let text = match console.desk().news(after) {
            News::Everything(now) => {
                after = now;
                format!("id: {now}\nevent: everything\ndata: {{}}\n\n")
            }
            News::These(all) => {
                let mut text = String::new();
                for (number, change) in all {
                    after = number;
                    if sees_registry || is_theirs(viewer, &change) {
                        let data = serde_json::to_string(&change).unwrap_or_default();
                        let _infallible = write!(text, "id: {number}\nevent: changed\ndata: {data}\n\n");
                    }
                }
                text
            }
        };
        if !text.is_empty() && tell.send(text.into()).await.is_err() {
            return;
        }
        let next = tokio::select! {
            // Whoever went to another page makes room at once.
            () = tell.closed() => return,
            next = tokio::time::timeout(LOOK, changed.changed()) => next,
        };
        match next {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                if tell.send(Bytes::from_static(b": still here\n\n")).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether somebody who only approves hears of this: of what they may decide.
fn is_theirs(viewer: &Viewer, change: &Change) -> bool {
    let may = |(connector, band): &(String, Band)| viewer.may(Action::Decide { connector, band: *band }).is_ok();
    change.of.as_ref().is_some_and(may)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn one_session_and_one_person_take_no_more_than_their_places() {
        let listeners = Listeners::default();
        let mut places: Vec<_> = (0..OF_SESSION).map(|_| listeners.enter("s", "ada").unwrap()).collect();
        assert!(listeners.enter("s", "ada").is_none() && listeners.enter("t", "ada").is_some());
        places.pop();
        assert!(listeners.enter("s", "ada").is_some());
        drop(places);
        assert!(listeners.0.lock().unwrap().is_empty());
        let all: Vec<_> = (0..OF_PERSON).map(|n| listeners.enter(&(n / OF_SESSION).to_string(), "ada").unwrap()).collect();
        assert!(listeners.enter("another", "ada").is_none() && listeners.enter("another", "bob").is_some());
        drop(all);
        assert!(listeners.0.lock().unwrap().is_empty());
    }

    #[test]
    fn who_only_approves_hears_of_what_they_may_decide() {
        use crate::{Bounds, Person, Role};
        let bounds = Bounds { connectors: ["tickets".to_owned()].into(), up_to: Some("high".to_owned()) };
        let person = Person { id: "ada".to_owned(), owns: [].into(), roles: [Role::Approver].into(), approves: bounds };
        let viewer = Viewer { person, session: "s".to_owned() };
        let change = |of: Option<(&str, Band)>| Change {
            kind: "approval",
            id: Some("apr-1".to_owned()),
            state: Some("pending".to_owned()),
            of: of.map(|(connector, band)| (connector.to_owned(), band)),
        };
        assert!(is_theirs(&viewer, &change(Some(("tickets", Band::High)))));
        for other in [Some(("tickets", Band::Critical)), Some(("shop", Band::Low)), None] {
            assert!(!is_theirs(&viewer, &change(other)), "{other:?}");
        }
        assert!(!serde_json::to_string(&change(Some(("shop", Band::Low)))).unwrap().contains("shop"), "ids and kinds alone");
    }
}
