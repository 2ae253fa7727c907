//! The body of one request: told when it is written, and not taken any more once nobody waits for the answer.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::link::Written;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;
const WRITTEN: u8 = 3;

/// A body that can be withdrawn until it is taken.
///
/// What was withdrawn is told by nothing but the drop of its `written`: once the client has let go of the whole request, its head included.
pub(crate) struct Payload {
    waits: Option<(Bytes, Written)>,
    stage: Arc<Stage>,
}

/// INVARIANT: changes once away from `WAITING`, and then at most from `TAKEN` to `WRITTEN`.
pub(super) struct Stage(AtomicU8);

impl Stage {
    /// Whether it is what it was to become: if not, the other side was faster.
    fn becomes(&self, stage: u8) -> bool {
        match self.0.compare_exchange(WAITING, stage, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(found) => found == stage,
        }
    }

    /// Whether it was taken and still waits to be written.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.0.load(Ordering::Acquire) == TAKEN
    }
}

/// The sender's end of a body. Dropped, it withdraws the body.
pub(crate) struct Hold {
    pub(super) stage: Arc<Stage>,
    /// The same is on its way once more.
    is_repeated: AtomicBool,
}

/// The body was withdrawn.
#[derive(Debug, thiserror::Error)]
#[error("the call is no longer wanted")]
pub(crate) struct Withdrawn;

/// Bytes on their way. A client keeps them until they are written, or never will be: then it drops them, and that is told.
pub(crate) struct Parcel {
    bytes: Bytes,
    /// Who is told, and what becomes of the stage.
    tells: Option<(Written, Arc<Stage>)>,
}

impl Payload {
    /// A body. `written` is called from wherever it is dropped once it was taken: nobody has to be woken for that.
    pub(crate) fn new(bytes: Bytes, written: Written) -> (Self, Hold) {
        let stage = Arc::new(Stage(AtomicU8::new(WAITING)));
        (Self { waits: Some((bytes, written)), stage: Arc::clone(&stage) }, Hold { stage, is_repeated: AtomicBool::new(false) })
    }
}

impl Hold {
    /// Takes the body back; false if it is on its way already. What this says stays true.
    pub(crate) fn withdraw(&self) -> bool {
        self.stage.becomes(WITHDRAWN) && !self.is_repeated.load(Ordering::Acquire)
    }

    /// The same is about to be sent once more, by another body: this one is not taken any more, and nobody hears from here on that nothing
    /// was sent.
    pub(crate) fn repeat(&self) {
        self.is_repeated.store(true, Ordering::Release);
        self.stage.becomes(WITHDRAWN);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Body for Payload {
    type Data = Parcel;
    type Error = Withdrawn;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Parcel>, Withdrawn>>> {
        let Some((bytes, written)) = self.waits.take() else { return Poll::Ready(None) };
        if !self.stage.becomes(TAKEN) {
            // It stays with the rest of the request, which is still here.
            self.waits = Some((bytes, written));
            return Poll::Ready(Some(Err(Withdrawn)));
        }
        Poll::Ready(Some(Ok(Frame::data(Parcel { bytes, tells: Some((written, Arc::clone(&self.stage))) }))))
    }

    fn is_end_stream(&self) -> bool {
        self.waits.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.waits.as_ref().map_or(0, |(bytes, _)| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}

impl Parcel {
    /// Bytes of which nobody wants to know when they are written.
    pub(crate) fn plain(bytes: Bytes) -> Self {
        Self { bytes, tells: None }
    }
}

impl Buf for Parcel {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some((written, stage)) = self.tells.take() {
            stage.0.store(WRITTEN, Ordering::Release);
            written();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::sync::atomic::AtomicBool;

    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    /// What is known of a request: whether it was told to be written, and whether what waits for that may go on.
    #[derive(Clone)]
    struct Told(Arc<AtomicBool>);

    fn payload() -> (Payload, Hold, Told) {
        let told = Told(Arc::default());
        let telling = told.clone();
        let (payload, hold) = Payload::new(Bytes::from_static(b"{}"), Box::new(move || telling.0.store(true, Ordering::SeqCst)));
        (payload, hold, told)
    }

    impl Told {
        fn is_written(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }

        /// Nobody is left who could tell it.
        fn is_released(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }
    }

    #[test]
    fn what_is_taken_is_told_once_it_is_let_go_of_and_can_not_be_withdrawn() {
        let (mut payload, hold, told) = payload();
        let frame = payload.frame().now_or_never().unwrap().unwrap().unwrap();
        assert!(payload.is_end_stream() && !hold.withdraw() && !hold.withdraw());
        drop((payload, hold));
        assert!(!told.is_written() && !told.is_released(), "it waits in the client");
        let Ok(mut parcel) = frame.into_data() else { panic!("it is no data") };
        assert_eq!((parcel.remaining(), parcel.chunk()), (2, b"{}".as_slice()));
        parcel.advance(2);
        assert!(!told.is_written());
        drop(parcel);
        assert!(told.is_written() && told.is_released());
    }

    /// What is sent once more may have been executed: nobody is told that nothing was sent, and the first body is not taken any more.
    #[test]
    fn what_is_repeated_is_not_sent_twice_and_never_called_unsent() {
        let (payload, hold) = Payload::new("call".into(), Box::new(|| {}));
        hold.repeat();
        assert!(!hold.withdraw(), "the second try may be on its way");
        let mut payload = payload;
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(Pin::new(&mut payload).poll_frame(&mut context), Poll::Ready(Some(Err(Withdrawn)))));
        assert!(!hold.withdraw());
    }

    #[test]
    fn what_is_withdrawn_is_released_with_its_request_and_never_told() {
        for by_drop in [true, false] {
            let (mut payload, hold, told) = payload();
            if by_drop {
                drop(hold);
            } else {
                assert!(hold.withdraw() && hold.withdraw(), "it stays withdrawn");
            }
            assert!(payload.frame().now_or_never().unwrap().unwrap().is_err());
            assert!(payload.frame().now_or_never().unwrap().unwrap().is_err());
            assert!(!told.is_released(), "the head of the request may still wait");
            drop(payload);
            assert!(!told.is_written() && told.is_released());
        }
    }

    #[test]
    fn a_request_that_is_dropped_before_it_is_taken_is_released() {
        let (payload, hold, told) = payload();
        drop(payload);
        assert!(!told.is_written() && told.is_released());
        assert!(hold.withdraw());
    }

    #[test]
    fn either_it_is_taken_or_it_is_withdrawn() {
        for _ in 0..2000 {
            let (mut payload, hold, told) = payload();
            let taking = std::thread::spawn(move || payload.frame().now_or_never().unwrap().unwrap().is_ok());
            let withdrawn = hold.withdraw();
            let taken = taking.join().unwrap();
            assert!(taken != withdrawn && told.is_written() == taken);
        }
    }
}
