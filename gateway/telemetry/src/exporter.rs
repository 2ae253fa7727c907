//! The end of a call's trace, seen from the call: hand over the tree and go on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    Fault, Settings, SpanTree,
    encode::{self, EncodedTree},
    sampling::Sampler,
    setup, worker,
};

/// Exports trees of spans in the background. Clones share one queue and one thread.
#[derive(Clone)]
pub struct Exporter {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<EncodedTree>,
    stop: watch::Sender<Option<Instant>>,
    stopped: watch::Receiver<bool>,
}

impl Exporter {
    /// Starts what the `OTEL_*` variables (asked through `env`) and the configuration say; the variables win.
    ///
    /// `None` when nothing says where to export to, or something says not to. An empty variable counts as absent.
    pub fn from_env(env: impl Fn(&str) -> Option<String>, settings: &Settings) -> Result<Option<Self>, Fault> {
        match setup::read(&env, settings)? {
            Some(plan) => Self::start(plan).map(Some),
            None => Ok(None),
        }
    }

    fn start(plan: setup::Plan) -> Result<Self, Fault> {
        let (queue, incoming) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(None);
        let (done, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(plan.limits, plan.sampler));
        worker::spawn(Arc::clone(&shared), plan.destination, plan.envelope, worker::Ends { incoming, stopping, done })?;
        Ok(Self { shared, queue, stop, stopped })
    }

    /// Hands over the spans of a call that has ended. Never blocks: when the queue is full, the tree is dropped and counted.
    #[expect(clippy::needless_pass_by_value, reason = "the tree of a call that has ended is nobody else's")]
    pub fn finish(&self, tree: SpanTree) {
        let shared = &self.shared;
        let spans = tree.spans.len() as u64;
        if !shared.sampler.keeps(&tree) {
            shared.totals.sampled_out.fetch_add(spans, Ordering::Relaxed);
            return;
        }
        if !shared.reserve_spans(spans) {
            return shared.drop_spans(spans);
        }
        let encoded = encode::tree(&tree, shared.limits.attribute_length);
        let size = encoded.bytes.capacity();
        if !shared.reserve_bytes(size) {
            shared.queued_spans.fetch_sub(spans, Ordering::Relaxed);
            return shared.drop_spans(spans);
        }
        if let Err(mpsc::error::SendError(refused)) = self.queue.send(encoded) {
            shared.release(&refused);
            shared.drop_spans(spans);
        }
    }

    /// What became of all spans so far.
    pub fn counts(&self) -> Counts {
        let totals = &self.shared.totals;
        Counts {
            exported: totals.exported.load(Ordering::Relaxed),
            dropped: totals.dropped.load(Ordering::Relaxed),
            failed: totals.failed.load(Ordering::Relaxed),
            sampled_out: totals.sampled_out.load(Ordering::Relaxed),
        }
    }

    /// Spans waiting in the queue now.
    pub fn queued(&self) -> u64 {
        self.shared.queued_spans.load(Ordering::Relaxed)
    }

    /// Sends what is queued and ends the background thread, for all clones. Spans that can't be sent within `limit`, and
    /// spans that come later, are dropped and counted.
    pub async fn shutdown(&self, limit: Duration) -> Drain {
        let lost_before = self.counts().lost();
        // A second call doesn't move the first one's deadline.
        let now = Instant::now();
        let deadline = now.checked_add(limit).unwrap_or(now);
        self.stop.send_modify(|stop| *stop = Some(stop.unwrap_or(deadline)));
        let mut stopped = self.stopped.clone();
        // The thread keeps the limit by itself; the slack is for a machine too busy to run it.
        let _ended = timeout(limit.saturating_add(Duration::from_secs(1)), stopped.wait_for(|stopped| *stopped)).await;
        match self.counts().lost() - lost_before {
            0 => Drain::Complete,
            spans => Drain::Lost { spans },
        }
    }
}

/// Shows nothing of the destination: its headers are secret.
impl fmt::Debug for Exporter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Exporter").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// What became of the spans: monotonic totals since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub exported: u64,
    /// Not sent: the queue was full, or the exporter had been shut down.
    pub dropped: u64,
    /// Sent in vain: no answer, an error, or refused by the collector.
    pub failed: u64,
    /// Left out by the sampler, as the operator asked.
    pub sampled_out: u64,
}

impl Counts {
    /// Spans that should have arrived and didn't.
    pub fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

/// How a shutdown went.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Everything that was queued has been delivered.
    Complete,
    /// So many spans were lost while shutting down.
    Lost {
        /// How many.
        spans: u64,
    },
}

/// What bounds the queue and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Spans that may wait.
    pub(crate) queue_spans: u64,
    /// Bytes that may wait.
    pub(crate) queue_bytes: usize,
    /// Spans in one request, except that a tree isn't cut.
    pub(crate) batch_spans: u64,
    /// The longest a span waits for others to go with.
    pub(crate) delay: Duration,
    /// Characters of an attribute's text.
    pub(crate) attribute_length: usize,
}

/// What the calls and the background thread both touch.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    sampler: Sampler,
    queued_spans: AtomicU64,
    queued_bytes: AtomicUsize,
    pub(crate) totals: Totals,
    /// Whether spans are being lost at present.
    pub(crate) losing: AtomicBool,
    /// Rings when a loss begins on a call's thread, which leaves the logging to the background.
    pub(crate) loss_began: Notify,
    /// Rings when a whole batch waits.
    pub(crate) batch_waits: Notify,
}

#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    sampled_out: AtomicU64,
}

impl Totals {
    pub(crate) fn lost(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn new(limits: Limits, sampler: Sampler) -> Self {
        Self {
            limits,
            sampler,
            queued_spans: AtomicU64::new(0),
            queued_bytes: AtomicUsize::new(0),
            totals: Totals::default(),
            losing: AtomicBool::new(false),
            loss_began: Notify::new(),
            batch_waits: Notify::new(),
        }
    }

    /// INVARIANT: what is in the queue has been reserved here first, so the unbounded channel behind it is bounded.
    fn reserve_spans(&self, spans: u64) -> bool {
        let before = self.queued_spans.fetch_add(spans, Ordering::Relaxed);
        let after = before + spans;
        if after > self.limits.queue_spans {
            self.queued_spans.fetch_sub(spans, Ordering::Relaxed);
            return false;
        }
        if before < self.limits.batch_spans && after >= self.limits.batch_spans {
            self.batch_waits.notify_one();
        }
        true
    }

    fn reserve_bytes(&self, size: usize) -> bool {
        let fits = self.queued_bytes.fetch_add(size, Ordering::Relaxed) + size <= self.limits.queue_bytes;
        if !fits {
            self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back the place of a tree that left the queue.
    pub(crate) fn release(&self, tree: &EncodedTree) {
        self.queued_spans.fetch_sub(tree.spans, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(tree.bytes.capacity(), Ordering::Relaxed);
    }

    fn drop_spans(&self, spans: u64) {
        self.totals.dropped.fetch_add(spans, Ordering::Relaxed);
        if !self.losing.swap(true, Ordering::Relaxed) {
            self.loss_began.notify_one();
        }
    }

    /// Spans that wait now.
    pub(crate) fn waiting(&self) -> u64 {
        self.queued_spans.load(Ordering::Relaxed)
    }
}
