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
use http::{HeaderMap, StatusCode, header};
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use crate::{Viewer, desk::News, person::Action, refused::Refused, router::Console};

/// So many pages of one session listen at once.
const MOST: usize = 16;

/// Whether the session is still open is asked so often, and something is said so often that a connection which is gone is noticed.
const LOOK: Duration = Duration::from_secs(5);

/// So many events wait for a browser that reads slowly; then everything is to be looked at anew.
const ROOM: usize = 64;

/// How many listen, by session.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<HashMap<String, usize>>>);

impl Listeners {
    /// A place for one more, unless this session has enough.
    fn enter(&self, session: &str) -> Option<Place> {
        let mut listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = listening.entry(session.to_owned()).or_insert(0);
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Place { listening: Arc::clone(&self.0), session: session.to_owned() })
    }
}

/// The place of one listener; dropped, it is free.
struct Place {
    listening: Arc<Mutex<HashMap<String, usize>>>,
    session: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = listening.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                listening.remove(&self.session);
            }
        }
    }
}

/// Answers with a stream that ends with the session.
pub(crate) async fn listen(State(console): State<Arc<Console>>, viewer: Viewer, headers: HeaderMap) -> Result<Response, Refused> {
    let place = console.listeners().enter(&viewer.session).ok_or_else(|| {
        Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many pages of this session listen", "close some of them")
    })?;
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    // Who comes for the first time has a page that was just made.
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
                    // Approvals concern every role.
                    if sees_registry || change.kind == "approval" {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn one_session_takes_no_more_than_its_places() {
        let listeners = Listeners::default();
        let mut places: Vec<_> = (0..MOST).map(|_| listeners.enter("s").unwrap()).collect();
        assert!(listeners.enter("s").is_none() && listeners.enter("t").is_some());
        places.pop();
        assert!(listeners.enter("s").is_some());
        drop(places);
        assert!(listeners.0.lock().unwrap().is_empty());
    }
}
