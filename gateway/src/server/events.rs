//! An answer that something is said before: a stream of events, of which the last is the answer (MCP "Streamable HTTP").

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bailiwick_pipeline::{
    Answer, Effect, Gateway, Handled, Owed, Received,
    aside::{Aside, Herald},
    received::Protocol,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinError, JoinHandle},
};

use super::{
    asking::{Stream, conversed},
    parts::{Parts, Response, bare},
    render,
    sessions::{InFlight, Session},
};

/// So many events may wait for their reader, and so many bytes of them together. What comes then is lost to him; the answer is not.
const WAITING: usize = 256;
const WAITING_BYTES: usize = 256 * 1024;

const BEFORE: &[u8] = b"event: message\ndata: ";
const AFTER: &[u8] = b"\n\n";

/// Whether a client takes a stream of events for an answer.
pub(super) fn are_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32)));
        !is_refused && matches!(kind.as_str(), "text/event-stream" | "text/*" | "*/*")
    })
}

/// An event on its way, with its room among those that wait.
struct Event {
    text: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Puts what an agent is told into its stream.
struct Teller {
    events: mpsc::Sender<Event>,
    room: Arc<Semaphore>,
}

impl Herald for Teller {
    fn tell(&self, aside: Aside) -> bool {
        self.put(&aside.message())
    }
}

impl Stream for Teller {
    fn put(&self, message: &str) -> bool {
        let text = [BEFORE, message.as_bytes(), AFTER].concat();
        let bytes = u32::try_from(text.len()).ok().and_then(NonZeroU32::new);
        let room = bytes.and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes.get()).ok());
        room.is_some_and(|room| self.events.try_send(Event { text: text.into(), _room: room }).is_ok())
    }
}

/// A call that may say something before its answer. It goes on by itself: an agent that reads slowly does not delay it. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Telling {
    told: mpsc::Receiver<Event>,
    call: JoinHandle<Option<Spoken>>,
    id: String,
    protocol: Protocol,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Telling {
    /// Begins to handle a request.
    pub(super) fn begin(
        gateway: Gateway,
        received: Received,
        in_flight: Option<InFlight>,
        session: Option<Arc<Session>>,
        id: &str,
    ) -> Self {
        let (events, told) = mpsc::channel(WAITING);
        let teller = Teller { events, room: Arc::new(Semaphore::new(WAITING_BYTES)) };
        let protocol = received.origin().protocol;
        let call = tokio::spawn(async move {
            let handled = conversed(&gateway, received, &teller, session.as_ref());
            match in_flight {
                None => Some(handled.await.into()),
                Some(in_flight) => tokio::select! {
                    answer = handled => Some(answer.into()),
                    // The call was dropped, and is on record as cancelled: its client expects no answer.
                    () = in_flight.cancelled.cancelled() => None,
                },
            }
        });
        Self { told, call, id: id.to_owned(), protocol }
    }

    /// The response: a plain one where nothing is said before the answer, else a stream that began.
    pub(super) async fn response(mut self) -> Response {
        let Some(first) = self.told.recv().await else {
            let answered = (&mut self.call).await;
            return self.answer(answered).unwrap_or_else(|| bare(StatusCode::ACCEPTED));
        };
        let mut response = bare(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A proxy that gathers a response before it passes it on would keep all of it back.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        *response.body_mut() = Parts::told(first.text, self);
        response
    }

    /// What comes next: an event, or the pieces of the last one, after which nothing comes.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(event) = ready!(self.told.poll_recv(context)) {
            return Poll::Ready(Next::Event(event.text));
        }
        // All was told: the call is over.
        let answered = ready!(Pin::new(&mut self.call).poll(context));
        Poll::Ready(match self.answer(answered) {
            Some(answer) => Next::Last(framed(answer.into_body())),
            None => Next::Last(Parts::default()),
        })
    }

    /// None where the call was called off by who asked for it.
    fn answer(&self, answered: Result<Option<Spoken>, JoinError>) -> Option<Response> {
        match answered {
            Ok(spoken) => spoken.map(|spoken| {
                let mut response = render::respond(&self.id, self.protocol, &spoken.answer);
                response.body_mut().owe(spoken.owed);
                response
            }),
            Err(failure) => {
                tracing::error!(%failure, "a call ended without an answer");
                Some(render::error(StatusCode::INTERNAL_SERVER_ERROR, &self.id, -32603, "the gateway failed", None))
            }
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.call.abort();
    }
}

/// What a call came to, which its agent has yet to hear.
#[derive(Debug)]
struct Spoken {
    answer: Answer,
    owed: Option<Owed>,
}

impl From<Handled> for Spoken {
    fn from(Handled { answer, effect }: Handled) -> Self {
        Self { answer, owed: effect.map(Effect::owed) }
    }
}

/// What comes next in a stream.
pub(super) enum Next {
    /// An event.
    Event(Bytes),
    /// The last one, in pieces.
    Last(Parts),
}

/// A message as an event. Between the tokens of JSON a line break is nothing but space; within them there is none.
fn framed(mut message: Parts) -> Parts {
    let debt = message.take_debt();
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let in_line = |piece: Bytes| {
        if piece.iter().any(is_break) {
            piece.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect::<Vec<_>>().into()
        } else {
            piece
        }
    };
    let pieces = message.into_pieces().map(in_line);
    let pieces = std::iter::once(Bytes::from_static(BEFORE)).chain(pieces).chain([Bytes::from_static(AFTER)]);
    Parts::new(pieces).indebted(debt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&'static str]) -> bool {
        let value = |value: &&'static str| (header::ACCEPT, HeaderValue::from_static(value));
        are_accepted(&values.iter().map(value).collect())
    }

    #[test]
    fn a_stream_is_for_those_who_say_so() {
        for values in [
            &["application/json, text/event-stream"][..],
            &["application/json", "text/event-stream;q=0.5"],
            &["Text/Event-Stream"],
            &["*/*"],
            &["text/*; q=0.1"],
        ] {
            assert!(accepts(values), "{values:?}");
        }
        for values in [&[][..], &["application/json"], &["text/event-stream;q=0, application/json"], &["text/plain"]] {
            assert!(!accepts(values), "{values:?}");
        }
    }

    #[test]
    fn an_answer_is_one_line_of_data() {
        let large = Bytes::from(vec![b'x'; 20_000]);
        let parts = Parts::new([Bytes::from_static(b"{\n\"a\":\r\n1"), large.clone(), Bytes::from_static(b"}")]);
        let text = framed(parts).into_text();
        assert_eq!(text, format!("event: message\ndata: {{ \"a\":  1{}}}\n\n", "x".repeat(20_000)));
    }

    #[test]
    fn what_nobody_reads_is_bounded() {
        let (events, mut told) = mpsc::channel(WAITING);
        let teller = Teller { events, room: Arc::new(Semaphore::new(WAITING_BYTES)) };
        let aside = |bytes: usize| Aside {
            kind: bailiwick_pipeline::aside::AsideKind::Log,
            params: format!("{{\"data\":\"{}\"}}", "x".repeat(bytes)),
        };
        let count = (0..10_000).filter(|_| teller.tell(aside(10))).count();
        assert_eq!(count, WAITING);
        while told.try_recv().is_ok() {}
        let count = (0..100).filter(|_| teller.tell(aside(60_000))).count();
        assert_eq!(count, 4);
        while told.try_recv().is_ok() {}
        assert!(teller.tell(aside(10)));
        drop(told);
        assert!(!teller.tell(aside(10)), "nobody hears it");
    }
}
