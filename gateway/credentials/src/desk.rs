//! Takes back what issuers gave: at once where they can, again until they have, and for as long as it takes.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::ports::{Clock, Lease};
use futures_util::FutureExt as _;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{
    book::{Book, Entry, Event, Record},
    mint::within,
    provider::{Handle, Provider, RevokeFault},
};

/// How long an issuer may take to take one back.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many are taken back at once of one issuer.
const AT_ONCE: usize = 8;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// So long a lease that another one took the place of may be used by calls that had it already.
const LAST_CALLS: Duration = Duration::from_mins(1);

/// What is looked at again when calls may have ended.
const GLANCE: Duration = Duration::from_millis(200);

/// Past its end by so much, a credential is over by whoever's clock.
const SKEW_MS: u64 = 5_000;

/// So many of those that ended last are remembered; the record has all.
const REMEMBERED: usize = 50;

/// Where leases are given back.
pub(crate) struct Desk {
    pub(crate) book: Arc<dyn Book>,
    pub(crate) record: Arc<dyn Record>,
    pub(crate) clock: Arc<dyn Clock>,
    pending: Mutex<BTreeMap<String, Pending>>,
    wake: Arc<Notify>,
    /// What is being made just now.
    making: Mutex<BTreeMap<String, Entry>>,
    /// Nothing is made any more.
    is_closed: AtomicBool,
    /// Told of every change of what is pending, or being made.
    changed: watch::Sender<u64>,
    /// Those that ended last, the latest first.
    ended: Mutex<VecDeque<Ended>>,
    /// For each issuer its own: one that hangs delays no other.
    at_once: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// That one is being made, until this is dropped.
pub(crate) struct AtWork<'d> {
    desk: &'d Desk,
    lease: String,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        held(&self.desk.making).remove(&self.lease);
        self.desk.changed();
    }
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
    /// To how many calls it was handed.
    pub(crate) uses: u64,
}

struct Pending {
    returning: Arc<Returning>,
    since: Instant,
    due: Instant,
    tries: u32,
    fault: Option<String>,
    is_worked_on: bool,
    /// Whoever still uses it is waited for no more.
    is_hurried: bool,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// One whose turn it is, with leave to ask its issuer, where that can be asked.
type Turn = (Arc<Returning>, Option<OwnedSemaphorePermit>);

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
    /// To how many calls it was handed.
    pub uses: u64,
    /// Whether it can only end by itself.
    pub lapses: bool,
    /// In how long its issuer is asked again; none where it is being asked, or can't be.
    pub again: Option<Duration>,
}

/// A lease that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The lease.
    pub entry: Arc<Entry>,
    /// `revoked`: its issuer took it back; `expired`: it ended by itself; `returned`: it is not lent any more, and lives on.
    pub how: &'static str,
    /// Why it was not lent any more.
    pub why: String,
    /// To how many calls it was handed.
    pub uses: u64,
    /// When it was over, unix milliseconds.
    pub at_ms: u64,
}

impl Desk {
    pub(crate) fn new(book: Arc<dyn Book>, record: Arc<dyn Record>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (changed, _) = watch::channel(0);
        Arc::new(Self {
            book,
            record,
            clock,
            pending: Mutex::default(),
            wake: Arc::default(),
            making: Mutex::default(),
            is_closed: AtomicBool::new(false),
            changed,
            ended: Mutex::default(),
            at_once: Mutex::default(),
        })
    }

    /// One is about to be made; none where nothing is made any more.
    pub(crate) fn begin(&self, entry: &Entry) -> Option<AtWork<'_>> {
        let mut making = held(&self.making);
        // Looked at under the lock: whoever closes sees what has begun.
        if self.is_closed.load(Ordering::SeqCst) {
            return None;
        }
        making.insert(entry.lease.clone(), entry.clone());
        Some(AtWork { desk: self, lease: entry.lease.clone() })
    }

    /// Nothing is made from here on.
    pub(crate) fn close(&self) {
        let _making = held(&self.making);
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Nobody who still uses these is waited for.
    pub(crate) fn hurry(&self, concerns: impl Fn(&Entry) -> bool) {
        for pending in self.lock().values_mut().filter(|pending| concerns(&pending.returning.entry)) {
            pending.is_hurried = true;
        }
        self.wake.notify_one();
    }

    /// Has each taken back by whoever can do that now: one that was configured before may know secrets that are not good any more.
    pub(crate) fn resolve(&self, provider_of: impl Fn(&Entry) -> Option<Arc<dyn Provider>>) {
        for pending in self.lock().values_mut() {
            let Returning { entry, handle, why, used, uses: count, .. } = pending.returning.as_ref();
            let Some(provider) = provider_of(entry) else { continue };
            let (entry, handle, why, used) = (Arc::clone(entry), handle.clone(), why.clone(), used.clone());
            pending.returning = Arc::new(Returning { entry, handle, provider: Some(provider), why, used, uses: *count });
            pending.due = Instant::now();
        }
        self.wake.notify_one();
    }

    /// What is lent, or not back yet, is not what it was.
    pub(crate) fn changed(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A number that is another one once that has changed.
    pub(crate) fn changes(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Those that ended last, the latest first.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        held(&self.ended).iter().cloned().collect()
    }

    /// It is over, for whoever looks.
    pub(crate) fn remember(&self, ended: Ended) {
        let mut all = held(&self.ended);
        all.push_front(ended);
        all.truncate(REMEMBERED);
    }

    /// Takes this one back, soon. Never waits.
    pub(crate) fn give_back(&self, returning: Returning) {
        let now = Instant::now();
        let id = returning.entry.lease.clone();
        let pending = Pending {
            returning: Arc::new(returning),
            since: now,
            due: now,
            tries: 0,
            fault: None,
            is_worked_on: false,
            is_hurried: false,
        };
        self.lock().entry(id).or_insert(pending);
        self.changed();
        self.wake.notify_one();
    }

    /// What is not back yet.
    pub(crate) fn standing(&self) -> Vec<Standstill> {
        let now = Instant::now();
        let shown = |pending: &Pending| Standstill {
            entry: Arc::clone(&pending.returning.entry),
            why: pending.returning.why.clone(),
            tries: pending.tries,
            fault: pending.fault.clone(),
            lapses: !pending.returning.can_be_asked(),
            uses: pending.returning.uses,
            again: (pending.is_waiting() && pending.returning.can_be_asked()).then(|| pending.due.saturating_duration_since(now)),
        };
        self.lock().values().map(shown).collect()
    }

    /// Waits until each of these is back, or was tried at least once and has to wait; not longer than `most`. Returns whether all are back.
    pub(crate) async fn settled(&self, concerns: impl Fn(&Entry) -> bool, most: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                let is_making = held(&self.making).values().any(&concerns);
                let left = self
                    .lock()
                    .values()
                    .filter(|pending| concerns(&pending.returning.entry))
                    .map(Pending::is_waiting)
                    .collect::<Vec<_>>();
                if left.is_empty() && !is_making {
                    return true;
                }
                if !is_making && left.iter().all(|is_waiting| *is_waiting) {
                    return false;
                }
                if changed.changed().await.is_err() {
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

    /// Those whose turn it is, the longest due first, and when the next one's is.
    fn due(&self, now: Instant) -> (Vec<Turn>, Option<Instant>) {
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        let mut all = self.lock();
        let mut idle: Vec<&mut Pending> = all.values_mut().filter(|pending| !pending.is_worked_on).collect();
        idle.sort_by_key(|pending| pending.due);
        for pending in idle {
            let is_used = pending.returning.used.as_ref().is_some_and(|lease| lease.strong_count() > 0);
            let waits = is_used && !pending.is_hurried && now < pending.since + LAST_CALLS;
            let at = if waits { now + GLANCE } else { pending.due };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            // What only time can end is looked at, and asks nobody.
            let permit = if pending.returning.can_be_asked() {
                // Whoever is done wakes us: then there is room again.
                let Some(permit) = self.permit(&pending.returning.entry) else { continue };
                Some(permit)
            } else {
                None
            };
            pending.is_worked_on = true;
            due.push((Arc::clone(&pending.returning), permit));
        }
        (due, next)
    }

    fn permit(&self, entry: &Entry) -> Option<OwnedSemaphorePermit> {
        let issuer = format!("{} {}", entry.provider, entry.issuer);
        let of_issuer = Arc::clone(held(&self.at_once).entry(issuer).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))));
        of_issuer.try_acquire_owned().ok()
    }

    async fn take_back(&self, returning: &Returning) {
        let ended = self.clock.now_ms() >= returning.entry.until_ms.saturating_add(SKEW_MS);
        let asked = match (&returning.provider, &returning.handle) {
            (Some(provider), Some(handle)) if returning.can_be_asked() => {
                let asked = AssertUnwindSafe(tokio::time::timeout(PATIENCE, provider.revoke(handle, self.clock.now_ms())))
                    .catch_unwind()
                    .await;
                Some(match asked {
                    Ok(Ok(asked)) => asked,
                    Ok(Err(_)) => Err(RevokeFault::new("its issuer did not answer in time")),
                    Err(_) => Err(RevokeFault::new("the provider broke off: look into the log, and report it")),
                })
            }
            _ => None,
        };
        match asked {
            Some(Ok(())) => self.over(returning, "revoked").await,
            // Confirmed by time alone.
            _ if ended && !(returning.entry.outlives && returning.handle.is_some()) => self.over(returning, "expired").await,
            Some(Err(fault)) => self.not_yet(returning, fault),
            None => self.lapses(returning),
        }
    }

    /// It is over: in the store first, so that what is on record as over is never taken back again.
    async fn over(&self, returning: &Returning, event: &'static str) {
        let closed = within(self.book.close(&returning.entry.lease)).await;
        if let Err(why) = closed {
            self.not_yet(returning, RevokeFault::new(format!("it is over, and that could not be stored: {why}")));
            return;
        }
        self.tell(event, &returning.entry, Some(returning.why.clone()));
        let (entry, why, uses) = (Arc::clone(&returning.entry), returning.why.clone(), returning.uses);
        self.remember(Ended { entry, how: event, why, uses, at_ms: self.clock.now_ms() });
        self.lock().remove(&returning.entry.lease);
        self.changed();
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
        drop(all);
        self.changed();
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
        drop(all);
        self.changed();
    }

    /// Puts it on record. What is over is over, whatever becomes of the record; that is said in the log.
    pub(crate) fn tell(&self, event: &'static str, entry: &Arc<Entry>, why: Option<String>) {
        let event = Event { event, entry: Arc::clone(entry), why };
        if let Err(lost) = self.record.put(&event, self.clock.now_ms()) {
            tracing::error!(%lost, event = event.event, lease = %entry.lease, "what became of a credential could not be put on record");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pending>> {
        held(&self.pending)
    }
}

/// A panic while it was held leaves what is whole.
fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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
