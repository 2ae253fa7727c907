//! An answer in several pieces, none of which is copied: what was kept is sent from where it is.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body as HttpBody;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

/// Pieces that come to less are put together: one write of them costs less than several.
const SMALL: usize = 16 * 1024;

/// The pieces, in order. Their length is known, so the answer has a `Content-Length`.
pub(super) struct Parts(VecDeque<Bytes>);

impl Parts {
    /// These pieces; empty ones are left out.
    pub(super) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts: VecDeque<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let length: usize = parts.iter().map(Bytes::len).sum();
        if parts.len() < 2 || length >= SMALL {
            return Self(parts);
        }
        let mut whole = BytesMut::with_capacity(length);
        for part in &parts {
            whole.extend_from_slice(part);
        }
        Self([whole.freeze()].into())
    }

    /// All of them as one text.
    #[cfg(test)]
    pub(super) fn into_text(self) -> String {
        self.0.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect()
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
        for (kept, frames) in [(Bytes::from_static(b"[1,2]"), 1), (Bytes::from(vec![b'x'; SMALL]), 3)] {
            let parts = [Bytes::from_static(b"{\"a\":"), Bytes::new(), kept.clone(), Bytes::from_static(b"}")];
            let mut body = Parts::new(parts.clone()).into_body();
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
}
