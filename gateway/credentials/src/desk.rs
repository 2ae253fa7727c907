//! Takes back what issuers gave: at once where they can, again until they have, and for as long as it takes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bailiwick_pipeline::ports::{Clock, Lease};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{
    book::{Book, Entry, Event, Record},
    provider::{Handle, Provider, RevokeFault},
};

/// How long an issuer may take to take one back.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many are taken back at once.
const AT_ONCE: usize = 16;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So long a lease that another one took the place of may be used by calls that had it already.
const LAST_CALLS: Duration = Duration::from_secs(60);

/// What is looked at again when calls may have ended.
const GLANCE: Duration = Duration::from_millis(200);

/// Past its end by so much, a credential is over by whoever's clock.
const SKEW_MS: u64 = 5_000;

/// Where leases are given back.
pub(crate) struct Desk {
    pub(crate) book: Arc<dyn Book>,
    pub(crate) record: Arc<dyn Record>,
    pub(crate) clock: Arc<dyn Clock>,
    pending: Mutex<BTreeMap<String, Pending>>,
    wake: Arc<Notify>,
    count: watch::Sender<usize>,
    at_once: Arc<Semaphore>,
}

/// One that is to be taken back.
pub(crate) struct Returning {
    pub(crate) entry: Arc<Entry>,
    /// None where it never became known: then it can only end by itself.
    pub(crate) handle: Option<Handle>,
    /// None where nobody is configured that could.
    pub(crate) provider: Option<Arc<dyn Provider>>,
    pub(crate) why: String,
    /// Calls that still use it.
    pub(crate) used: Option<Weak<Lease>>,
}

struct Pending {
    returning: Arc<Returning>,
    since: Instant,
    due: Instant,
    tries: u32,
    fault: Option<String>,
    is_worked_on: bool,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// How a lease that is not lent any more stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standstill {
    /// The lease.
    pub entry: Arc<Entry>,
    /// Why it is not lent any more.
    pub why: String,
    /// How often its issuer was asked to take it back.
    pub tries: u32,
    /// What came of the last time.
    pub fault: Option<String>,
    /// Whether it can only end by itself.
    pub lapses: bool,
}

impl Desk {
    pub(crate) fn new(book: Arc<dyn Book>, record: Arc<dyn Record>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (count, _) = watch::channel(0);
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Arc::new(Self { book, record, clock, pending: Mutex::default(), wake: Arc::default(), count, at_once })
    }

    /// Takes this one back, soon. Never waits.
    pub(crate) fn give_back(&self, returning: Returning) {
        let now = Instant::now();
        let id = returning.entry.lease.clone();
        let pending =
            Pending { returning: Arc::new(returning), since: now, due: now, tries: 0, fault: None, is_worked_on: false };
        let mut all = self.lock();
        all.entry(id).or_insert(pending);
        self.count.send_replace(all.len());
        drop(all);
        self.wake.notify_one();
    }

    /// What is not back yet.
    pub(crate) fn standing(&self) -> Vec<Standstill> {
        let shown = |pending: &Pending| Standstill {
            entry: Arc::clone(&pending.returning.entry),
            why: pending.returning.why.clone(),
            tries: pending.tries,
            fault: pending.fault.clone(),
            lapses: !pending.returning.can_be_asked(),
        };
        self.lock().values().map(shown).collect()
    }

    /// Waits until each of these is back, or was tried at least once and has to wait; not longer than `most`. Returns whether all are back.
    pub(crate) async fn settled(&self, concerns: impl Fn(&Entry) -> bool, most: Duration) -> bool {
        let mut count = self.count.subscribe();
        let wait = async {
            loop {
                count.borrow_and_update();
                let left = self
                    .lock()
                    .values()
                    .filter(|pending| concerns(&pending.returning.entry))
                    .map(Pending::is_waiting)
                    .collect::<Vec<_>>();
                if left.is_empty() {
                    return true;
                }
                if left.iter().all(|is_waiting| *is_waiting) {
                    return false;
                }
                if count.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(most, wait).await.unwrap_or(false)
    }

    /// Works as long as somebody has the desk.
    pub(crate) fn work(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let (desk, wake) = (Arc::downgrade(self), Arc::clone(&self.wake));
        async move {
            loop {
                let Some(next) = desk.upgrade().map(|desk| desk.look()) else { return };
                let pause = next.map_or(LONGEST_PAUSE, |next| next.saturating_duration_since(Instant::now()));
                let _ = tokio::time::timeout(pause, wake.notified()).await;
            }
        }
    }

    /// Begins to take back those whose turn it is, as many as there is room for; returned is when the next one's turn is.
    fn look(self: &Arc<Self>) -> Option<Instant> {
        let (due, next) = self.due(Instant::now());
        for (returning, permit) in due {
            let desk = Arc::clone(self);
            tokio::spawn(async move {
                desk.take_back(&returning).await;
                drop(permit);
                desk.wake.notify_one();
            });
        }
        next
    }

    /// Those whose turn it is, and when the next one's is.
    fn due(&self, now: Instant) -> (Vec<(Arc<Returning>, OwnedSemaphorePermit)>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for pending in self.lock().values_mut().filter(|pending| !pending.is_worked_on) {
            let is_used = pending.returning.used.as_ref().is_some_and(|lease| lease.strong_count() > 0);
            let at = match is_used && now < pending.since + LAST_CALLS {
                true => now + GLANCE,
                false => pending.due,
            };
            if at <= now {
                // Whoever is done wakes us: then there is room again.
                let Ok(permit) = Arc::clone(&self.at_once).try_acquire_owned() else { break };
                pending.is_worked_on = true;
                due.push((Arc::clone(&pending.returning), permit));
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        (due, next)
    }

    async fn take_back(&self, returning: &Returning) {
        let ended = self.clock.now_ms() >= returning.entry.until_ms.saturating_add(SKEW_MS);
        let asked = match (&returning.provider, &returning.handle) {
            (Some(provider), Some(handle)) if returning.can_be_asked() => {
                let asked = tokio::time::timeout(PATIENCE, provider.revoke(handle)).await;
                Some(asked.unwrap_or_else(|_| Err(RevokeFault::new("its issuer did not answer in time"))))
            }
            _ => None,
        };
        let outlives = returning.provider.as_ref().is_some_and(|provider| provider.outlives_itself());
        match asked {
            Some(Ok(())) => self.over(returning, "revoked").await,
            // Confirmed by time alone.
            _ if ended && !(outlives && returning.can_be_asked()) => self.over(returning, "expired").await,
            Some(Err(fault)) => self.not_yet(returning, fault),
            None => self.lapses(returning),
        }
    }

    /// It is over: in the store first, so that what is on record as over is never taken back again.
    async fn over(&self, returning: &Returning, event: &'static str) {
        let closed = self.book.close(&returning.entry.lease).await;
        if let Err(why) = closed {
            self.not_yet(returning, RevokeFault::new(format!("it is over, and that could not be stored: {why}")));
            return;
        }
        self.tell(event, &returning.entry, Some(returning.why.clone()));
        let mut all = self.lock();
        all.remove(&returning.entry.lease);
        self.count.send_replace(all.len());
    }

    fn not_yet(&self, returning: &Returning, fault: RevokeFault) {
        let lease = &returning.entry.lease;
        let mut all = self.lock();
        let Some(pending) = all.get_mut(lease) else { return };
        let pause = Duration::from_millis(500).saturating_mul(1 << pending.tries.min(10)).min(LONGEST_PAUSE);
        pending.tries = pending.tries.saturating_add(1);
        pending.due = Instant::now() + fault.wait.map_or(pause, |wait| wait.clamp(pause, LONGEST_PAUSE));
        pending.is_worked_on = false;
        let is_first = pending.fault.replace(fault.why.clone()).is_none();
        self.count.send_replace(all.len());
        drop(all);
        tracing::warn!(%lease, connector = %returning.entry.connector, why = %fault.why, "a credential could not be taken back yet: it is tried again");
        if is_first {
            self.tell("overdue", &returning.entry, Some(fault.why));
        }
    }

    fn lapses(&self, returning: &Returning) {
        let left = returning.entry.until_ms.saturating_add(SKEW_MS).saturating_sub(self.clock.now_ms());
        let mut all = self.lock();
        let Some(pending) = all.get_mut(&returning.entry.lease) else { return };
        pending.tries = pending.tries.max(1);
        // Looked at again now and then: clocks are set.
        pending.due = Instant::now() + Duration::from_millis(left).clamp(GLANCE, LONGEST_PAUSE);
        pending.is_worked_on = false;
        self.count.send_replace(all.len());
    }

    /// Puts it on record. What is over is over, whatever becomes of the record; that is said in the log.
    pub(crate) fn tell(&self, event: &'static str, entry: &Arc<Entry>, why: Option<String>) {
        let event = Event { event, entry: Arc::clone(entry), why };
        if let Err(lost) = self.record.put(&event, self.clock.now_ms()) {
            tracing::error!(%lost, event = event.event, lease = %entry.lease, "what became of a credential could not be put on record");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pending>> {
        // A panic while it was held leaves a map that is whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// Whether nothing more can be done for it just now.
    fn is_waiting(&self) -> bool {
        !self.is_worked_on && self.tries > 0
    }
}

impl Returning {
    fn can_be_asked(&self) -> bool {
        self.handle.is_some() && self.provider.as_ref().is_some_and(|provider| provider.is_revocable())
    }
}
