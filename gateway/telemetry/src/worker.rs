//! The background thread: collects trees to batches, sends them, counts what became of them, says when traces are lost.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use tokio::{
    runtime,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Fault, Problem,
    encode::{EncodedTree, Envelope},
    exporter::Shared,
    post::{Delivery, Destination},
};

/// The thread's ends of the channels.
pub(crate) struct Ends {
    pub(crate) incoming: mpsc::UnboundedReceiver<EncodedTree>,
    pub(crate) stopping: watch::Receiver<Option<Instant>>,
    pub(crate) done: watch::Sender<bool>,
}

/// Starts the thread. It has a small runtime of its own, so that it neither waits for the calls' nor depends on one.
pub(crate) fn spawn(shared: Arc<Shared>, destination: Destination, envelope: Envelope, ends: Ends) -> Result<(), Fault> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::from(Problem::Start(error.to_string())))?;
    let Ends { incoming, stopping, done } = ends;
    let worker = Worker { shared, destination, envelope, incoming, held: None, in_flight: AtomicU64::new(0) };
    thread::Builder::new()
        .name("otlp-export".to_owned())
        .spawn(move || {
            runtime.block_on(worker.run(stopping));
            let _nobody_waits = done.send(true);
        })
        .map_err(|error| Fault::from(Problem::Start(error.to_string())))?;
    Ok(())
}

struct Worker {
    shared: Arc<Shared>,
    destination: Destination,
    envelope: Envelope,
    incoming: mpsc::UnboundedReceiver<EncodedTree>,
    /// A tree that didn't fit into the last batch.
    held: Option<EncodedTree>,
    /// Spans being sent.
    in_flight: AtomicU64,
}

impl Worker {
    async fn run(mut self, mut stopping: watch::Receiver<Option<Instant>>) {
        let losses = report_losses(Arc::clone(&self.shared), self.destination.shown());
        let mut deadline = stopping.clone();
        tokio::select! {
            () = self.work(&mut stopping) => {}
            () = losses => {}
            () = past_deadline(&mut deadline) => {}
        }
        self.abandon();
    }

    /// Sends batch after batch, until the queue is closed and empty.
    async fn work(&mut self, stopping: &mut watch::Receiver<Option<Instant>>) {
        let mut lost_at_last_success = 0;
        loop {
            let stop = stopping.borrow_and_update().is_some();
            if stop {
                self.incoming.close();
            }
            if self.held.is_none() {
                tokio::select! {
                    tree = self.incoming.recv() => match tree {
                        Some(tree) => self.held = Some(tree),
                        None => return,
                    },
                    changed = stopping.changed(), if !stop => {
                        if changed.is_err() { self.incoming.close(); }
                        continue;
                    }
                }
            }
            if !stop {
                self.wait_for_company(stopping).await;
            }
            let batch = self.collect();
            self.send(&batch, &mut lost_at_last_success).await;
        }
    }

    /// Lets spans gather. The queue isn't polled meanwhile, so that a call that ends needn't wake this thread.
    async fn wait_for_company(&self, stopping: &mut watch::Receiver<Option<Instant>>) {
        let limits = &self.shared.limits;
        if self.shared.waiting() >= limits.batch_spans {
            return;
        }
        tokio::select! {
            () = sleep(limits.delay) => {}
            () = self.shared.batch_waits.notified() => {}
            _ = stopping.changed() => stopping.mark_changed(),
        }
    }

    fn collect(&mut self) -> Vec<EncodedTree> {
        let mut batch: Vec<EncodedTree> = Vec::new();
        let mut spans = 0;
        while let Some(tree) = self.held.take().or_else(|| self.incoming.try_recv().ok()) {
            spans += tree.spans;
            if spans > self.shared.limits.batch_spans && !batch.is_empty() {
                self.held = Some(tree);
                break;
            }
            self.shared.release(&tree);
            batch.push(tree);
        }
        batch
    }

    async fn send(&self, batch: &[EncodedTree], lost_at_last_success: &mut u64) {
        let spans = batch.iter().map(|tree| tree.spans).sum::<u64>();
        let body = Bytes::from(self.envelope.seal(batch));
        self.in_flight.store(spans, Ordering::Relaxed);
        let delivery = self.destination.deliver(body).await;
        self.in_flight.store(0, Ordering::Relaxed);
        let totals = &self.shared.totals;
        match delivery {
            Delivery::Lost { reason } => {
                totals.failed.fetch_add(spans, Ordering::Relaxed);
                self.warn_of_failure(&reason);
            }
            Delivery::Taken { rejected, reason } if rejected > 0 => {
                let rejected = rejected.min(spans);
                totals.exported.fetch_add(spans - rejected, Ordering::Relaxed);
                totals.failed.fetch_add(rejected, Ordering::Relaxed);
                self.warn_of_failure(&format!("the collector refused {rejected} of {spans} spans: {reason:?}"));
            }
            Delivery::Taken { .. } => {
                totals.exported.fetch_add(spans, Ordering::Relaxed);
                // Recovered means: nothing was lost since the success before this one.
                let lost = totals.lost();
                if mem::replace(lost_at_last_success, lost) == lost && self.shared.losing.swap(false, Ordering::Relaxed) {
                    let endpoint = self.destination.shown();
                    tracing::warn!(endpoint, lost_spans = lost, "traces are exported again");
                }
            }
        }
    }

    fn warn_of_failure(&self, reason: &str) {
        if !self.shared.losing.swap(true, Ordering::Relaxed) {
            let endpoint = self.destination.shown();
            tracing::warn!(endpoint, reason, "traces are being lost; calls go on");
        }
    }

    /// Counts what is left when the time is over.
    fn abandon(mut self) {
        self.incoming.close();
        self.shared.totals.failed.fetch_add(self.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
        while let Some(tree) = self.held.take().or_else(|| self.incoming.try_recv().ok()) {
            self.shared.release(&tree);
            self.shared.totals.dropped.fetch_add(tree.spans, Ordering::Relaxed);
        }
    }
}

/// Says that spans are dropped when the queue has become full, also while a request hangs. Never ends.
async fn report_losses(shared: Arc<Shared>, endpoint: String) {
    loop {
        shared.loss_began.notified().await;
        tracing::warn!(endpoint, reason = "the queue is full", "traces are being lost; calls go on");
    }
}

/// Waits until a shutdown was asked for and its time is over.
async fn past_deadline(stopping: &mut watch::Receiver<Option<Instant>>) {
    let deadline = stopping.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        // The last exporter is gone without a shutdown: the rest is sent at its own pace.
        None => std::future::pending().await,
    }
}
