//! The sync thread: one `fdatasync` for all who wait, and the heads file now and then.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::heads::{self, Head};
use crate::stream::{PerStream, Stream};
use crate::trail::Core;

/// Heads are written when this many records were synced since, but at most once a second.
const HEADS_RECORDS: u64 = 1024;
const HEADS_AT_MOST: Duration = Duration::from_secs(1);
/// Heads are written when they are this old.
const HEADS_AT_LEAST: Duration = Duration::from_secs(10);

/// What wakes the sync thread.
#[derive(Default)]
pub(crate) struct Bell {
    orders: Mutex<Orders>,
    rung: Condvar,
}

#[derive(Default)]
struct Orders {
    /// Streams with somebody waiting.
    wanted: PerStream<bool>,
    /// Whether a stream became dirty.
    touched: bool,
    stop: bool,
}

impl Bell {
    /// Somebody waits for `stream` to be synced.
    pub(crate) fn want(&self, stream: Stream) {
        *self.orders().wanted.of_mut(stream) = true;
        self.rung.notify_one();
    }

    /// A record was written that nobody may be waiting for.
    pub(crate) fn touch(&self) {
        self.orders().touched = true;
        self.rung.notify_one();
    }

    /// The thread is to sync everything and end.
    pub(crate) fn stop(&self) {
        self.orders().stop = true;
        self.rung.notify_one();
    }

    /// Waits for an order, or until `deadline`.
    fn next(&self, deadline: Option<Instant>) -> Orders {
        let mut orders = self.orders();
        loop {
            if orders.stop || orders.touched || orders.wanted.iter().any(|wanted| *wanted) {
                return std::mem::take(&mut orders);
            }
            orders = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Orders::default(),
                Some(left) => self.rung.wait_timeout(orders, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.rung.wait(orders).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sync thread's work, until it is told to stop.
pub(crate) fn run(core: &Arc<Core>) {
    let _guard = LostOnPanic(core);
    let mut sync_by = None;
    let mut heads_at = Instant::now();
    loop {
        let heads_by = core.is_ahead_of_heads(1).then(|| heads_at + HEADS_AT_LEAST);
        let orders = core.bell.next(sync_by.into_iter().chain(heads_by).min());
        let now = Instant::now();
        if orders.touched {
            sync_by.get_or_insert(now + core.options.linger);
        }
        let all = orders.stop || sync_by.is_some_and(|at| at <= now);
        if all {
            sync_by = None;
        }
        for stream in Stream::ALL {
            if *orders.wanted.of(stream) || (all && core.lanes.of(stream).is_dirty()) {
                core.sync(stream);
            }
        }
        let age = heads_at.elapsed();
        let due = age >= HEADS_AT_LEAST || (age >= HEADS_AT_MOST && core.is_ahead_of_heads(HEADS_RECORDS));
        if orders.stop || due {
            core.write_heads();
            heads_at = Instant::now();
        }
        if orders.stop {
            return;
        }
    }
}

impl Core {
    /// Syncs `stream`; a failure loses the trail.
    pub(crate) fn sync(&self, stream: Stream) {
        // A fault is kept in the core, where whoever waits or appends finds it.
        let _ = self.lanes.of(stream).sync(self);
    }

    /// Writes the heads, unless they are as they were; a failure loses the trail.
    pub(crate) fn write_heads(&self) {
        let mut written = self.written_heads.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.synced_heads();
        if now.iter().eq(written.iter()) {
            return;
        }
        match heads::write(&self.folder, &now) {
            Ok(()) => *written = now,
            Err(fault) => {
                self.lose(fault.to_string());
            }
        }
    }

    /// Whether `records` more are synced than the heads file says, over all streams.
    fn is_ahead_of_heads(&self, records: u64) -> bool {
        let written = self.written_heads.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = |stream| self.lanes.of(stream).progress().synced.seq.saturating_sub(written.of(stream).seq);
        Stream::ALL.into_iter().map(ahead).sum::<u64>() >= records
    }

    fn synced_heads(&self) -> PerStream<Head> {
        PerStream::new(|stream| self.lanes.of(stream).progress().synced)
    }
}

/// Nobody may wait for a thread that is gone.
struct LostOnPanic<'a>(&'a Core);

impl Drop for LostOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lose("the sync thread panicked".to_owned());
        }
    }
}
