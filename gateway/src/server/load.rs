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
    most_at_once: AtomicUsize,
    since: Instant,
}

impl Loads {
    /// So many requests a second (0: without limit) and so many at once for each agent.
    pub(super) fn new(rate: u32, most_at_once: usize) -> Self {
        let (rate, most_at_once) = (AtomicU32::new(rate), AtomicUsize::new(most_at_once));
        Self { agents: DashMap::new(), rate, most_at_once, since: Instant::now() }
    }

    /// So many a second and so many at once from here on.
    pub(super) fn set(&self, rate: u32, most_at_once: usize) {
        self.rate.store(rate, Ordering::SeqCst);
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

    /// Whether a request may come now, by its agent's rate. It takes a monotonic clock of its own: one that stands still while
    /// the system's is set back would keep everybody out.
    pub(super) fn is_in_time(&self, load: &Load) -> bool {
        // Between two requests at the full rate.
        let interval = Duration::from_secs(1).checked_div(self.rate.load(Ordering::Relaxed));
        interval.is_none_or(|interval| load.is_in_time(interval, self.since.elapsed()))
    }

    /// The refusals of past minutes that were not recorded, by agent; each is told once.
    pub(super) fn unrecorded(&self, now_ms: u64) -> Vec<(AgentId, u64)> {
        let of = |load: &Load| load.unrecorded.take(now_ms);
        self.agents.iter().filter_map(|entry| Some((entry.key().clone(), of(entry.value())?))).collect()
    }
}

/// The load of one agent.
#[derive(Debug)]
pub(super) struct Load {
    at_once: Arc<Seats>,
    /// For what is no request, while all others are taken.
    aside: Arc<Seats>,
    /// When all that was asked would have been due at the full rate, nanoseconds (the generic cell rate algorithm).
    due_ns: AtomicU64,
    refusals: Quota,
    unrecorded: Unrecorded,
}

impl Load {
    fn new(most_at_once: usize) -> Self {
        let refusals = Quota { most: REFUSALS_PER_MINUTE, used: Mutex::default() };
        Self {
            at_once: Seats::new(most_at_once),
            aside: Seats::new(ASIDE),
            due_ns: AtomicU64::new(0),
            refusals,
            unrecorded: Unrecorded::default(),
        }
    }

    fn is_in_time(&self, interval: Duration, now: Duration) -> bool {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (interval, now, burst) = (nanos(interval), nanos(now), nanos(BURST));
        let step = |due: u64| Some(due.max(now).saturating_add(interval)).filter(|due| due.saturating_sub(now) <= burst);
        self.due_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
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
        let load = Load::new(1);
        let interval = Duration::from_secs(1).checked_div(200).unwrap();
        let passes = |at_ms: u64| (0..1000).filter(|_| load.is_in_time(interval, Duration::from_millis(at_ms))).count();
        assert_eq!(passes(0), 400);
        assert_eq!(passes(0), 0);
        assert_eq!(passes(5), 1);
        assert_eq!(passes(1005), 200);
        assert_eq!(passes(60_000), 400, "what was not used is not saved up");
    }

    #[test]
    fn every_rate_passes_as_many_as_it_says() {
        for (rate, burst) in [(1, 2), (3, 6), (1_000_000, 2_000_000)] {
            let (load, interval) = (Load::new(1), Duration::from_secs(1).checked_div(rate).unwrap());
            let passed = (0..=burst).filter(|_| load.is_in_time(interval, Duration::ZERO)).count();
            assert_eq!(passed, burst);
        }
        let unlimited = Loads::new(0, 1);
        let load = unlimited.of(&agent());
        assert!((0..10_000).all(|_| unlimited.is_in_time(&load)));
    }

    #[test]
    fn other_limits_hold_for_agents_that_are_known_and_for_new_ones() {
        let loads = Loads::new(0, 1);
        let (known, place) = (loads.of(&agent()), loads.of(&agent()).enter());
        assert!(place.is_some() && known.enter().is_none());
        loads.set(1, 2);
        assert!(known.enter().is_some());
        let new = loads.of(&"b".parse().unwrap());
        assert_eq!([new.enter(), new.enter(), new.enter()].iter().flatten().count(), 2);
        assert_eq!((0..10).filter(|_| loads.is_in_time(&known)).count(), 2);
    }

    #[test]
    fn refusals_beyond_the_quota_are_counted_and_told_once_the_minute_is_over() {
        let loads = Loads::new(1, 1);
        let load = loads.of(&agent());
        let recorded = (0..1000).filter(|_| load.records_refusal(61_000)).count();
        assert_eq!(recorded, 60);
        assert_eq!(loads.unrecorded(119_999), []);
        assert_eq!(loads.unrecorded(120_000), [(agent(), 940)]);
        assert_eq!(loads.unrecorded(180_000), []);
        assert!(load.records_refusal(120_000));
    }
}
