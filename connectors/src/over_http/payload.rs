//! The body of one request: told when it is taken to be written, and not taken any more once nobody waits for the answer.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// A body that can be withdrawn until it is taken.
pub(crate) struct Payload {
    bytes: Option<Bytes>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// INVARIANT: changes once, away from `WAITING`.
    stage: AtomicU8,
    waker: AtomicWaker,
}

/// The sender's end of a body. Dropped, it withdraws the body.
pub(crate) struct Hold(Arc<State>);

/// The body was withdrawn.
#[derive(Debug, thiserror::Error)]
#[error("the call is no longer wanted")]
pub(crate) struct Withdrawn;

impl Payload {
    pub(crate) fn new(bytes: Bytes) -> (Self, Hold) {
        let state = Arc::new(State::default());
        (Self { bytes: Some(bytes), state: Arc::clone(&state) }, Hold(state))
    }
}

impl Hold {
    /// Whether the body is on its way.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == TAKEN
    }

    /// Does the work, and calls `written` once, as soon as the body is on its way.
    pub(crate) async fn watch<T>(&self, work: impl Future<Output = T>, written: &mut (dyn FnMut() + Send)) -> T {
        let mut work = std::pin::pin!(work);
        let mut told = false;
        std::future::poll_fn(|context| {
            if !told {
                self.0.waker.register(context.waker());
                if self.is_taken() {
                    told = true;
                    written();
                }
            }
            let done = work.as_mut().poll(context);
            if done.is_ready() && !told && self.is_taken() {
                written();
            }
            done
        })
        .await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.0.stage.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let taken = self.state.stage.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire);
        self.state.waker.wake();
        Poll::Ready(Some(taken.map(|_| Frame::data(bytes)).map_err(|_| Withdrawn)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}
