//! The body of one request: told when it is taken to be written, and not taken any more once nobody waits for the answer.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::link::Written;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// A body that can be withdrawn until it is taken.
pub(crate) struct Payload {
    bytes: Option<Bytes>,
    state: Arc<State>,
}

struct State {
    /// INVARIANT: changes once, away from `WAITING`.
    stage: AtomicU8,
    /// INVARIANT: taken by whoever changes the stage, and by nobody else.
    written: Mutex<Option<Written>>,
}

impl State {
    /// Whether this was the one that changed it.
    fn becomes(&self, stage: u8) -> Option<Written> {
        self.stage.compare_exchange(WAITING, stage, Ordering::AcqRel, Ordering::Acquire).ok()?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The sender's end of a body. Dropped, it withdraws the body.
pub(crate) struct Hold(Arc<State>);

/// The body was withdrawn.
#[derive(Debug, thiserror::Error)]
#[error("the call is no longer wanted")]
pub(crate) struct Withdrawn;

impl Payload {
    /// A body. `written` is called from wherever it is written, as soon as it is on its way: nobody has to be woken for that.
    pub(crate) fn new(bytes: Bytes, written: Written) -> (Self, Hold) {
        let state = Arc::new(State { stage: AtomicU8::new(WAITING), written: Mutex::new(Some(written)) });
        (Self { bytes: Some(bytes), state: Arc::clone(&state) }, Hold(state))
    }
}

impl Hold {
    /// Whether the body is on its way.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == TAKEN
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.0.becomes(WITHDRAWN));
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let Some(written) = self.state.becomes(TAKEN) else { return Poll::Ready(Some(Err(Withdrawn))) };
        written();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}
