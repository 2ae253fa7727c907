//! Whether an answer has reached its agent, as far as a server can see: its last byte was taken by the kernel while the connection stood.
//! What lies on the wire then, and is lost there, looks delivered.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bailiwick_pipeline::Owed;

/// A connection that answers go out by.
#[derive(Debug, Default)]
pub struct Line {
    is_broken: AtomicBool,
}

impl Line {
    /// It ended before it was to.
    pub(super) fn broke(&self) {
        self.is_broken.store(true, Ordering::Release);
    }
}

/// What an agent has to hear by an answer. It lives as long as a piece of that is in memory.
#[derive(Debug)]
pub(super) struct Debt {
    owed: Mutex<Option<Owed>>,
    line: OnceLock<Arc<Line>>,
    is_out: AtomicBool,
}

impl Debt {
    pub(super) fn new(owed: Owed) -> Arc<Self> {
        Arc::new(Self { owed: Mutex::new(Some(owed)), line: OnceLock::new(), is_out: AtomicBool::new(false) })
    }

    /// The answer goes out by this connection: by one.
    pub(super) fn goes_by(&self, line: &Arc<Line>) {
        let _first = self.line.set(Arc::clone(line));
    }

    /// The last piece was handed to the connection.
    pub(super) fn is_out(&self) {
        self.is_out.store(true, Ordering::Release);
    }
}

impl Drop for Debt {
    /// No piece is left: they were written, or will not be.
    fn drop(&mut self) {
        let is_whole = self.line.get().is_some_and(|line| !line.is_broken.load(Ordering::Acquire));
        let owed = self.owed.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(owed) = owed else { return };
        if is_whole && self.is_out.load(Ordering::Acquire) {
            owed.delivered();
        } else if let Some(call) = owed.call().cloned() {
            drop(owed);
            tracing::info!(%call, "an answer reached nobody, and is kept for the identical call");
        }
    }
}
