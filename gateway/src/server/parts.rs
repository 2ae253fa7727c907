//! An answer in several pieces, none of which is copied: what was kept is sent from where it is.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bailiwick_pipeline::Owed;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};

use super::{
    delivery::{Debt, Line},
    events::{Next, Telling},
    load::Place,
    standing::Stood,
};

/// What an agent is answered.
pub(crate) type Response = http::Response<Parts>;

/// Pieces that come to less are put together: one write of them costs less than several.
const SMALL: usize = 16 * 1024;

/// The pieces, in order. Their length is known, so the answer has a `Content-Length`; unless more are to come.
#[derive(Debug, Default)]
pub struct Parts {
    pieces: VecDeque<Bytes>,
    /// What says more, where an answer is a stream of events.
    more: Option<Box<Telling>>,
    /// What says more, where the stream stays open.
    stood: Option<Stood>,
    /// Kept until the last byte was handed to the kernel, or the connection has ended.
    place: Option<Arc<Place>>,
    /// What the agent has to hear by these pieces.
    debt: Option<Arc<Debt>>,
    /// The connection that they go out by, where more may come that the agent has to hear.
    line: Option<Arc<Line>>,
}

/// An answer without a body.
pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// An answer in words.
pub(super) fn plain(status: StatusCode, words: &'static str) -> Response {
    let mut response = bare(status);
    *response.body_mut() = Parts::new([Bytes::from_static(words.as_bytes())]);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl Parts {
    /// These pieces; empty ones are left out.
    pub(super) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let mut pieces: VecDeque<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if pieces.len() > 1 && length < SMALL {
            let mut whole = BytesMut::with_capacity(length);
            pieces.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
            pieces.push_back(whole.freeze());
        }
        Self { pieces, ..Self::default() }
    }

    /// A stream of events that began with this one.
    pub(super) fn told(first: Bytes, more: Telling) -> Self {
        Self { pieces: [first].into(), more: Some(Box::new(more)), ..Self::default() }
    }

    /// A stream that stays open and began with this.
    pub(super) fn standing(first: Bytes, stood: Stood) -> Self {
        Self { pieces: [first].into(), stood: Some(stood), ..Self::default() }
    }

    /// Whether it is a stream that stays open.
    pub(super) fn is_standing(&self) -> bool {
        self.stood.is_some()
    }

    /// The pieces of what is no stream.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        self.pieces.into_iter()
    }

    /// Keeps a place as long as the pieces are in memory: until the last byte was handed to the kernel, or the connection has
    /// ended. An agent that reads no answers so gets no further ones.
    pub(crate) fn keep(&mut self, place: Place) {
        self.place = Some(Arc::new(place));
    }

    /// The agent has to hear this, and does by these pieces.
    pub(super) fn owe(&mut self, owed: Option<Owed>) {
        self.debt = owed.map(Debt::new);
    }

    /// What the agent has to hear, for whoever says it otherwise.
    pub(super) fn take_debt(&mut self) -> Option<Arc<Debt>> {
        self.debt.take()
    }

    /// The same pieces, by which the agent hears this.
    pub(super) fn indebted(self, debt: Option<Arc<Debt>>) -> Self {
        Self { debt, ..self }
    }

    /// They go out by this connection.
    pub(crate) fn go_by(&mut self, line: &Arc<Line>) {
        if let Some(debt) = &self.debt {
            debt.goes_by(line);
        }
        if self.more.is_some() {
            self.line = Some(Arc::clone(line));
        }
    }

    /// All of them as one text.
    #[cfg(test)]
    pub(super) fn into_text(self) -> String {
        self.pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
    }
}

impl From<String> for Parts {
    fn from(text: String) -> Self {
        Self { pieces: [Bytes::from(text)].into(), ..Self::default() }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces.is_empty()
            && let Some(more) = &mut self.more
        {
            match ready!(more.poll_next(cx)) {
                Next::Event(event) => self.pieces.push_back(event),
                Next::Last(mut last) => {
                    self.more = None;
                    self.debt = last.debt.take();
                    self.pieces = std::mem::take(&mut last.pieces);
                    if let (Some(debt), Some(line)) = (&self.debt, &self.line) {
                        debt.goes_by(line);
                    }
                }
            }
        }
        if self.pieces.is_empty()
            && let Some(stood) = &mut self.stood
        {
            match ready!(stood.poll_next(cx)) {
                Some(event) => self.pieces.push_back(event),
                None => self.stood = None,
            }
        }
        let Some(bytes) = self.pieces.pop_front() else { return Poll::Ready(None) };
        // The server lets go of the body once it has its bytes, which may be long before they are written.
        let is_last = self.pieces.is_empty() && self.more.is_none();
        if let Some(debt) = self.debt.as_ref().filter(|_| is_last) {
            debt.is_out();
        }
        let bytes = match (&self.place, &self.debt) {
            (None, None) => bytes,
            (place, debt) => Bytes::from_owner(Held { bytes, _place: place.clone(), _debt: debt.clone() }),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.more.is_none() && self.stood.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.more.is_some() || self.stood.is_some() {
            return SizeHint::new();
        }
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// Bytes that keep a place, and that the agent has to hear.
struct Held {
    bytes: Bytes,
    _place: Option<Arc<Place>>,
    _debt: Option<Arc<Debt>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::server::load::Loads;

    #[tokio::test]
    async fn the_pieces_come_in_order_and_their_length_is_known() {
        for (kept, frames) in [(Bytes::from_static(b"[1,2]"), 1), (Bytes::from(vec![b'x'; SMALL]), 3)] {
            let parts = [Bytes::from_static(b"{\"a\":"), Bytes::new(), kept.clone(), Bytes::from_static(b"}")];
            let mut body = Parts::new(parts.clone());
            assert_eq!(body.size_hint().exact(), Some(6 + kept.len() as u64));
            let (mut seen, mut all) = (Vec::new(), Vec::new());
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                seen.push(data.as_ptr());
                all.extend_from_slice(&data);
            }
            assert!(body.is_end_stream());
            assert_eq!(all, parts.concat());
            assert_eq!(seen.len(), frames);
            assert_eq!(seen.contains(&kept.as_ptr()), frames > 1, "what is large is not copied");
        }
    }

    #[tokio::test]
    async fn a_place_is_held_until_the_last_byte_of_its_answer_is_gone() {
        let load = Loads::new(0, 0, 1).of(&"a".parse().unwrap());
        let mut body = Parts::from("hello".to_owned());
        body.keep(load.enter().unwrap());
        assert!(load.enter().is_none());
        assert_eq!(body.size_hint().exact(), Some(5));
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(body.is_end_stream());
        drop(body);
        assert!(load.enter().is_none(), "the bytes are still there");
        drop(bytes);
        assert!(load.enter().is_some());
    }

    #[tokio::test]
    async fn an_answer_that_is_never_sent_frees_its_place() {
        let load = Loads::new(0, 0, 1).of(&"a".parse().unwrap());
        let mut body = Parts::from("hello".to_owned());
        body.keep(load.enter().unwrap());
        drop(body);
        assert!(load.enter().is_some());
    }
}
