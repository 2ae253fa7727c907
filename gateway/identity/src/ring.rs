//! The keys of one issuer, kept: read again when they are old or when a token names another one, by one reader at a time, and used no longer
//! than is said while they can't be read.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::{
    fetch::{Document, KeySource, ReadKeys},
    keys::{KeySet, Usage},
};

/// How long keys are good when nobody says, and how long at most. Milliseconds.
const GOOD_FOR_MS: u64 = 5 * 60 * 1000;
const GOOD_FOR_AT_MOST_MS: u64 = 60 * 60 * 1000;

/// How long it takes at least until an unknown key has them read again, or a reading that failed is tried again: nobody who sends us tokens can
/// use us to hammer an issuer. Milliseconds.
pub(crate) const COOL_DOWN_MS: u64 = 15 * 1000;

/// How long one reading may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keys of one issuer.
pub(crate) struct KeyRing {
    source: KeySource,
    usage: Usage,
    max_stale_ms: u64,
    reader: Box<dyn ReadKeys>,
    held: ArcSwapOption<Held>,
    reading: Mutex<Reading>,
}

/// Keys as they were read last.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) keys: Arc<KeySet>,
    /// Another number means other keys.
    pub(crate) generation: u64,
    read_at_ms: u64,
    good_for_ms: u64,
}

/// How readings go.
#[derive(Debug, Default)]
struct Reading {
    /// Turns true when the one that is under way has ended.
    running: Option<watch::Receiver<bool>>,
    /// When the last one began, where it failed, and why.
    failed: Option<(u64, String)>,
    /// When an unknown key last had them read.
    unknown_at_ms: Option<u64>,
}

impl KeyRing {
    pub(crate) fn new(source: KeySource, usage: Usage, max_stale: Duration, reader: Box<dyn ReadKeys>) -> Arc<Self> {
        let max_stale_ms = u64::try_from(max_stale.as_millis()).unwrap_or(u64::MAX);
        Arc::new(Self { source, usage, max_stale_ms, reader, held: ArcSwapOption::empty(), reading: Mutex::default() })
    }

    /// The keys, where they are not so old that they have to be read again first.
    pub(crate) fn at_hand(self: &Arc<Self>, now_ms: u64) -> Option<Arc<Held>> {
        let held = self.held.load_full()?;
        let age_ms = now_ms.saturating_sub(held.read_at_ms);
        if age_ms >= held.good_for_ms {
            return None;
        }
        // Read again in good time: so nobody waits for it.
        if age_ms >= held.good_for_ms / 4 * 3 {
            let _beside = self.read_again(now_ms);
        }
        Some(held)
    }

    /// The keys, read again if they are old.
    pub(crate) async fn keys(self: &Arc<Self>, now_ms: u64) -> Result<Arc<Held>, String> {
        if let Some(held) = self.at_hand(now_ms) {
            return Ok(held);
        }
        let is_down = self.reading().failed.is_some();
        let running = self.read_again(now_ms);
        // Who is known not to answer is waited for only where nothing goes without.
        if let Some(running) = running.filter(|_| !is_down || self.usable(now_ms).is_none()) {
            ended(running).await;
        }
        self.usable(now_ms).ok_or_else(|| {
            let failed = self.reading().failed.as_ref().map(|(_, why)| why.clone());
            failed.unwrap_or_else(|| "they are too old".to_owned())
        })
    }

    /// Other keys than these, where a token names one that is not among them: those that were read meanwhile, or are read for it now.
    pub(crate) async fn others(self: &Arc<Self>, than: &Held, now_ms: u64) -> Option<Arc<Held>> {
        // A reading that was under way may have begun too early: then it is worth one of its own.
        for _ in 0..2 {
            let is_other = |held: &Arc<Held>| held.generation != than.generation;
            let running = {
                let mut reading = self.reading();
                // Looked at under the lock: a reading that has just ended for somebody else was for this one too.
                if let Some(held) = self.usable(now_ms).filter(is_other) {
                    return Some(held);
                }
                match reading.running.clone().filter(|running| running.has_changed().is_ok()) {
                    Some(running) => running,
                    None if reading.unknown_at_ms.is_some_and(|at| now_ms < at.saturating_add(COOL_DOWN_MS)) => return None,
                    None => {
                        reading.unknown_at_ms = Some(now_ms);
                        self.begin(&mut reading, now_ms)
                    }
                }
            };
            ended(running).await;
        }
        self.usable(now_ms).filter(|held| held.generation != than.generation)
    }

    /// What was read last, if that is not too long ago.
    fn usable(&self, now_ms: u64) -> Option<Arc<Held>> {
        let held = self.held.load_full()?;
        let age_ms = now_ms.saturating_sub(held.read_at_ms);
        (age_ms < held.good_for_ms.max(self.max_stale_ms)).then_some(held)
    }

    /// The reading that is under way, or a new one; none so soon after one that failed.
    fn read_again(self: &Arc<Self>, now_ms: u64) -> Option<watch::Receiver<bool>> {
        let mut reading = self.reading();
        if let Some(running) = reading.running.clone().filter(|running| running.has_changed().is_ok()) {
            return Some(running);
        }
        // One may have ended since it was found that they are old.
        let is_new = |held: &Held| now_ms.saturating_sub(held.read_at_ms) < held.good_for_ms / 4 * 3;
        if self.held.load().as_deref().is_some_and(is_new) {
            return None;
        }
        if reading.failed.as_ref().is_some_and(|(at, _)| now_ms < at.saturating_add(COOL_DOWN_MS)) {
            return None;
        }
        Some(self.begin(&mut reading, now_ms))
    }

    /// Begins a reading, on a task of its own: whoever asked for it may go away.
    fn begin(self: &Arc<Self>, reading: &mut Reading, now_ms: u64) -> watch::Receiver<bool> {
        let (done, running) = watch::channel(false);
        reading.running = Some(running.clone());
        let ring = Arc::clone(self);
        tokio::spawn(async move {
            let read = tokio::time::timeout(PATIENCE, ring.reader.read(&ring.source)).await;
            let read = read.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
            let read = read.and_then(|document| Ok((KeySet::read(&document.bytes, ring.usage)?, document)));
            ring.take(read, now_ms);
            done.send_replace(true);
        });
        running
    }

    fn take(&self, read: Result<(KeySet, Document), String>, began_ms: u64) {
        let mut reading = self.reading();
        reading.running = None;
        match read {
            Ok((keys, document)) => {
                reading.failed = None;
                let good_for_ms = document.max_age.map_or(GOOD_FOR_MS, |age| {
                    u64::try_from(age.as_millis()).unwrap_or(u64::MAX).clamp(COOL_DOWN_MS, GOOD_FOR_AT_MOST_MS)
                });
                let (keys, generation) = match self.held.load_full() {
                    Some(before) if before.keys.is_same(&keys) => (Arc::clone(&before.keys), before.generation),
                    before => (Arc::new(keys), before.map_or(0, |before| before.generation + 1)),
                };
                self.held.store(Some(Arc::new(Held { keys, generation, read_at_ms: began_ms, good_for_ms })));
            }
            Err(why) => {
                tracing::warn!(source = ?self.source, why, "the keys of an issuer can't be read");
                reading.failed = Some((began_ms, why));
            }
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("source", &self.source).field("held", &self.held).finish_non_exhaustive()
    }
}

/// Returns when a reading has ended, however.
async fn ended(mut running: watch::Receiver<bool>) {
    let _ended = running.wait_for(|is_done| *is_done).await;
}
