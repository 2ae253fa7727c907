//! An answer in several pieces, none of which is copied: what was kept is sent from where it is.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body as HttpBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The pieces, in order. Their length is known, so the answer has a `Content-Length`.
pub(super) struct Parts(VecDeque<Bytes>);

impl Parts {
    /// These pieces; empty ones are left out.
    pub(super) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        Self(parts.into_iter().filter(|part| !part.is_empty()).collect())
    }

    /// As the body of a response.
    pub(super) fn into_body(self) -> HttpBody {
        HttpBody::new(self)
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_pieces_come_in_order_and_their_length_is_known() {
        let kept = Bytes::from_static(b"[1,2]");
        let body = Parts::new([Bytes::from_static(b"{\"a\":"), Bytes::new(), kept.clone(), Bytes::from_static(b"}")]).into_body();
        assert_eq!(body.size_hint().exact(), Some(11));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{\"a\":[1,2]}");
        let mut whole = Parts::new([kept.clone()]).into_body();
        let first = whole.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.as_ptr(), kept.as_ptr(), "nothing is copied");
        assert!(whole.is_end_stream());
    }
}
