//! What one agent may ask of the gateway: so many requests a second, so many at once, and so many refusals on record.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::ids::AgentId;
use dashmap::DashMap;
use tokio::time::Instant;

use super::seats::{Seat, Seats};

/// How far an agent may run ahead of its rate.
const BURST: Duration = Duration::from_secs(2);

/// How many refusals of an agent that asks too much go on record in a minute.
const REFUSALS_PER_MINUTE: u64 = 60;

/// So many messages that are no requests an agent may send at once while its requests take all places.
const ASIDE: usize = 4;

/// The load of every agent. Only agents that have shown who they are have one, so they are as many as are registered.
#[derive(Debug)]
pub(super) struct Loads {
    agents: DashMap<AgentId, Arc<Load>>,
    /// Requests a second; 0 where there is no limit.
    rate: AtomicU32,
    /// Requests a second by all together; 0 where there is no limit.
    total: AtomicU32,
    all: Due,
    active: Active,
    most_at_once: AtomicUsize,
    since: Instant,
}

impl Loads {
    /// So many requests a second (0: without limit) for each agent and for all together, and so many at once for each agent.
    pub(super) fn new(rate: u32, total: u32, most_at_once: usize) -> Self {
        let (rate, total, most_at_once) = (AtomicU32::new(rate), AtomicU32::new(total), AtomicUsize::new(most_at_once));
        let (all, active) = (Due::default(), Active::default());
        Self { agents: DashMap::new(), rate, total, all, active, most_at_once, since: Instant::now() }
    }

    /// So many a second and so many at once from here on.
    pub(super) fn set(&self, rate: u32, total: u32, most_at_once: usize) {
        self.rate.store(rate, Ordering::SeqCst);
        self.total.store(total, Ordering::SeqCst);
        // Stored first: a load that is made while this goes through them is made with it, or found.
        self.most_at_once.store(most_at_once, Ordering::SeqCst);
        self.agents.iter().for_each(|load| load.at_once.set(most_at_once));
    }

    /// The load of this agent.
    pub(super) fn of(&self, agent: &AgentId) -> Arc<Load> {
        if let Some(load) = self.agents.get(agent) {
            return Arc::clone(&load);
        }
        let fresh = || Arc::new(Load::new(self.most_at_once.load(Ordering::SeqCst)));
        Arc::clone(&self.agents.entry(agent.clone()).or_insert_with(fresh))
    }

    /// Whether a request may come now, by its agent's rate, and by that of all. It takes a monotonic clock of its own: one that stands
    /// still while the system's is set back would keep everybody out.
    ///
    /// Where all together ask for more than they may, each has its share: who asks for no more than that is served, whatever the others do.
    pub(super) fn is_in_time(&self, load: &Load) -> Result<(), TooMany> {
        self.is_in_time_at(load, nanos(self.since.elapsed()))
    }

    fn is_in_time_at(&self, load: &Load, now_ns: u64) -> Result<(), TooMany> {
        // Between two requests at the full rate.
        let interval = |rate: &AtomicU32| 1_000_000_000_u64.checked_div(rate.load(Ordering::Relaxed).into());
        if interval(&self.rate).is_some_and(|interval| !load.own.admits(interval, now_ns)) {
            return Err(TooMany::OfAgent);
        }
        let Some(of_all) = interval(&self.total) else { return Ok(()) };
        load.asked_ns.store(now_ns, Ordering::Relaxed);
        let shares = self.active.count(now_ns, || self.agents.iter().filter(|load| load.is_active(now_ns)).count());
        if load.share.admits(of_all.saturating_mul(shares), now_ns) {
            self.all.takes(of_all, now_ns);
            return Ok(());
        }
        if self.all.admits(of_all, now_ns) { Ok(()) } else { Err(TooMany::InAll) }
    }

    /// The refusals of past minutes that were not recorded, by agent; each is told once.
    pub(super) fn unrecorded(&self, now_ms: u64) -> Vec<(AgentId, u64)> {
        let of = |load: &Load| load.unrecorded.take(now_ms);
        self.agents.iter().filter_map(|entry| Some((entry.key().clone(), of(entry.value())?))).collect()
    }
}

/// Whose rate a request is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMany {
    /// Its agent's own.
    OfAgent,
    /// That of all together, of which its agent has had its share.
    InAll,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// When all that was asked would have been due at the full rate, nanoseconds (the generic cell rate algorithm).
#[derive(Debug, Default)]
struct Due(AtomicU64);

impl Due {
    fn admits(&self, interval_ns: u64, now_ns: u64) -> bool {
        let burst = nanos(BURST);
        let step = |due: u64| Some(due.max(now_ns).saturating_add(interval_ns)).filter(|due| due.saturating_sub(now_ns) <= burst);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }

    /// Counts one that goes in any case.
    fn takes(&self, interval_ns: u64, now_ns: u64) {
        // However far ahead that is: what is served by shares, others wait for.
        let step = |due: u64| Some(due.max(now_ns).saturating_add(interval_ns));
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

/// How many agents ask for something, counted now and then.
#[derive(Debug, Default)]
struct Active {
    counted_ns: AtomicU64,
    count: AtomicUsize,
}

/// Agents are counted again after so many nanoseconds.
const COUNT_AGAIN_NS: u64 = 100_000_000;

impl Active {
    fn count(&self, now_ns: u64, count: impl FnOnce() -> usize) -> u64 {
        let counted = self.counted_ns.load(Ordering::Relaxed);
        let is_old = now_ns.saturating_sub(counted) >= COUNT_AGAIN_NS || self.count.load(Ordering::Relaxed) == 0;
        let exchange = |next| self.counted_ns.compare_exchange(counted, next, Ordering::Relaxed, Ordering::Relaxed);
        if is_old && exchange(now_ns).is_ok() {
            self.count.store(count().max(1), Ordering::Relaxed);
        }
        u64::try_from(self.count.load(Ordering::Relaxed).max(1)).unwrap_or(u64::MAX)
    }
}

/// The load of one agent.
#[derive(Debug)]
pub(super) struct Load {
    at_once: Arc<Seats>,
    /// For what is no request, while all others are taken.
    aside: Arc<Seats>,
    own: Due,
    /// Of what all together may ask.
    share: Due,
    /// When it asked last, nanoseconds.
    asked_ns: AtomicU64,
    refusals: Quota,
    unrecorded: Unrecorded,
}

impl Load {
    fn new(most_at_once: usize) -> Self {
        let refusals = Quota { most: REFUSALS_PER_MINUTE, used: Mutex::default() };
        Self {
            at_once: Seats::new(most_at_once),
            aside: Seats::new(ASIDE),
            own: Due::default(),
            share: Due::default(),
            asked_ns: AtomicU64::new(0),
            refusals,
            unrecorded: Unrecorded::default(),
        }
    }

    fn is_active(&self, now_ns: u64) -> bool {
        let asked = self.asked_ns.load(Ordering::Relaxed);
        asked > 0 && now_ns.saturating_sub(asked) <= nanos(BURST)
    }

    /// A place among the agent's requests in flight.
    pub(super) fn enter(&self) -> Option<Place> {
        self.at_once.take().map(|seat| Place { _seat: seat })
    }

    /// A place for what is no request.
    pub(super) fn enter_aside(&self) -> Option<Place> {
        self.aside.take().map(|seat| Place { _seat: seat })
    }

    /// Whether a refusal of this agent for asking too much goes on record; else it is counted.
    pub(super) fn records_refusal(&self, now_ms: u64) -> bool {
        let recorded = self.refusals.admits(now_ms);
        if !recorded {
            self.unrecorded.add(now_ms);
        }
        recorded
    }
}

/// So many a minute.
#[derive(Debug)]
struct Quota {
    most: u64,
    /// The minute, and how many it has had.
    used: Mutex<(u64, u64)>,
}

impl Quota {
    fn admits(&self, now_ms: u64) -> bool {
        let mut used = locked(&self.used);
        if used.0 != minute(now_ms) {
            *used = (minute(now_ms), 0);
        }
        let admitted = used.1 < self.most;
        used.1 += u64::from(admitted);
        admitted
    }
}

/// What was counted instead of recorded.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    /// The minute of the first, and how many.
    count: Mutex<(u64, u64)>,
}

impl Unrecorded {
    /// One more.
    pub(super) fn add(&self, now_ms: u64) {
        let mut count = locked(&self.count);
        if count.1 == 0 {
            count.0 = minute(now_ms);
        }
        count.1 += 1;
    }

    /// How many, once the minute of the first is over; then it begins anew.
    pub(super) fn take(&self, now_ms: u64) -> Option<u64> {
        let mut count = locked(&self.count);
        if count.1 == 0 || minute(now_ms) <= count.0 {
            return None;
        }
        Some(std::mem::take(&mut *count).1)
    }
}

fn minute(now_ms: u64) -> u64 {
    now_ms / 60_000
}

fn locked(pair: &Mutex<(u64, u64)>) -> MutexGuard<'_, (u64, u64)> {
    pair.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place among an agent's requests in flight, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _seat: Seat,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn agent() -> AgentId {
        "a".parse().unwrap()
    }

    #[test]
    fn an_agent_has_a_rate_and_a_burst_of_two_seconds() {
        let due = Due::default();
        let passes = |at_ms: u64| (0..1000).filter(|_| due.admits(5_000_000, at_ms * 1_000_000)).count();
        assert_eq!(passes(0), 400);
        assert_eq!(passes(0), 0);
        assert_eq!(passes(5), 1);
        assert_eq!(passes(1005), 200);
        assert_eq!(passes(60_000), 400, "what was not used is not saved up");
    }

    #[test]
    fn every_rate_passes_as_many_as_it_says() {
        for (rate, burst) in [(1, 2), (3, 6), (1_000_000, 2_000_000)] {
            let (due, interval) = (Due::default(), 1_000_000_000 / rate);
            let passed = (0..=burst).filter(|_| due.admits(interval, 0)).count();
            assert_eq!(passed, burst);
        }
        let unlimited = Loads::new(0, 0, 1);
        let load = unlimited.of(&agent());
        assert!((0..10_000).all(|_| unlimited.is_in_time(&load).is_ok()));
    }

    #[test]
    fn other_limits_hold_for_agents_that_are_known_and_for_new_ones() {
        let loads = Loads::new(0, 0, 1);
        let (known, place) = (loads.of(&agent()), loads.of(&agent()).enter());
        assert!(place.is_some() && known.enter().is_none());
        loads.set(1, 0, 2);
        assert!(known.enter().is_some());
        let new = loads.of(&"b".parse().unwrap());
        assert_eq!([new.enter(), new.enter(), new.enter()].iter().flatten().count(), 2);
        assert_eq!((0..10).filter(|_| loads.is_in_time(&known).is_ok()).count(), 2);
    }

    /// Attack 134: one agent asks for everything there is, and the others are served all the same.
    #[test]
    fn who_asks_for_no_more_than_its_share_is_served_whatever_others_do() {
        let loads = Loads::new(0, 100, 1);
        let (greedy, modest) = (loads.of(&agent()), loads.of(&"b".parse().unwrap()));
        let (mut of_greedy, mut of_modest) = (0, 0);
        for tick in 0..1000 {
            let now_ns = 1_000_000 + tick * 50_000_000;
            of_greedy += (0..20).filter(|_| loads.is_in_time_at(&greedy, now_ns).is_ok()).count();
            // Eight a second: its share is fifty.
            if tick % 5 == 0 {
                of_modest += (0..2).filter(|_| loads.is_in_time_at(&modest, now_ns).is_ok()).count();
            }
        }
        // Fifty seconds.
        assert_eq!(of_modest, 400, "not one of them was refused");
        let most = 100 * 50 + 2 * 200;
        assert!(of_greedy + of_modest <= most && of_greedy >= 4_000, "{of_greedy} and {of_modest}");
        assert_eq!(loads.is_in_time_at(&greedy, 1_000_000 + 999 * 50_000_000), Err(TooMany::InAll));
    }

    #[test]
    fn refusals_beyond_the_quota_are_counted_and_told_once_the_minute_is_over() {
        let loads = Loads::new(1, 0, 1);
        let load = loads.of(&agent());
        let recorded = (0..1000).filter(|_| load.records_refusal(61_000)).count();
        assert_eq!(recorded, 60);
        assert_eq!(loads.unrecorded(119_999), []);
        assert_eq!(loads.unrecorded(120_000), [(agent(), 940)]);
        assert_eq!(loads.unrecorded(180_000), []);
        assert!(load.records_refusal(120_000));
    }
}
