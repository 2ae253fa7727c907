//! Sessions of the protocol versions that have a handshake: bound to the principal that opened them, counted, and closed when
//! idle.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{ids::AgentId, received::Protocol};
use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How often idle sessions are looked for at most, milliseconds.
const SWEEP_EVERY_MS: u64 = 1000;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    /// The agent that opened it: nobody else finds it.
    agent: AgentId,
    /// The version it was opened with.
    pub(super) protocol: Protocol,
    used_ms: AtomicU64,
    in_flight: Mutex<HashMap<String, CancellationToken>>,
    _seat: Seat,
}

/// A seat among all sessions and among its agent's, until dropped.
#[derive(Debug)]
struct Seat {
    _of_all: OwnedSemaphorePermit,
    _of_agent: OwnedSemaphorePermit,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    open: DashMap<String, Arc<Session>>,
    seats: Arc<Semaphore>,
    /// What is left of each agent's share. Agents are as many as are registered.
    shares: DashMap<AgentId, Arc<Semaphore>>,
    share: usize,
    idle_ms: u64,
    swept_ms: AtomicU64,
}

impl Sessions {
    /// At most so many, a quarter of them one agent's, each closed after `idle` without a request.
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            open: DashMap::new(),
            seats: Arc::new(Semaphore::new(most)),
            shares: DashMap::new(),
            share: (most / 4).max(1),
            idle_ms,
            swept_ms: AtomicU64::new(0),
        }
    }

    /// Opens one under this id, or says no when there are too many.
    pub(super) fn open(&self, id: String, agent: AgentId, protocol: Protocol, now_ms: u64) -> bool {
        let seat = self.seat(&agent).or_else(|| {
            self.sweep(now_ms);
            self.seat(&agent)
        });
        let Some(seat) = seat else { return false };
        let session = Session { agent, protocol, used_ms: AtomicU64::new(now_ms), in_flight: Mutex::default(), _seat: seat };
        self.open.insert(id, Arc::new(session));
        true
    }

    fn seat(&self, agent: &AgentId) -> Option<Seat> {
        let share = || Arc::new(Semaphore::new(self.share));
        let share = Arc::clone(&self.shares.entry(agent.clone()).or_insert_with(share));
        let of_agent = share.try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        Some(Seat { _of_all: of_all, _of_agent: of_agent })
    }

    /// The session of this id, if it is this agent's and not idle for too long. One answer for all that it is not.
    pub(super) fn find(&self, id: &str, agent: &AgentId, now_ms: u64) -> Option<Arc<Session>> {
        let session = Arc::clone(self.open.get(id)?.value());
        let alive = now_ms.saturating_sub(session.used_ms.load(Ordering::Relaxed)) <= self.idle_ms;
        if session.agent != *agent || !alive {
            return None;
        }
        session.used_ms.store(now_ms, Ordering::Relaxed);
        Some(session)
    }

    /// Closes one, if it is this agent's.
    pub(super) fn close(&self, id: &str, agent: &AgentId, now_ms: u64) -> bool {
        let found = self.find(id, agent, now_ms).is_some();
        if found {
            self.open.remove(id);
        }
        found
    }

    /// Closes what is idle and has nothing in flight; not more often than it pays.
    pub(super) fn sweep(&self, now_ms: u64) {
        let swept_ms = self.swept_ms.load(Ordering::Relaxed);
        let is_due = now_ms.saturating_sub(swept_ms) >= SWEEP_EVERY_MS;
        if !is_due || self.swept_ms.compare_exchange(swept_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.open.retain(|_, session| {
            let idle_ms = now_ms.saturating_sub(session.used_ms.load(Ordering::Relaxed));
            idle_ms <= self.idle_ms || !session.in_flight().is_empty()
        });
    }
}

impl Session {
    /// Notes a request in flight; `None` if one with this id is in flight already.
    pub(super) fn begin(self: &Arc<Self>, request: &str) -> Option<InFlight> {
        match self.in_flight().entry(request.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let cancelled = free.insert(CancellationToken::new()).clone();
                Some(InFlight { session: Arc::clone(self), request: request.to_owned(), cancelled })
            }
        }
    }

    /// Cancels a request in flight (`notifications/cancelled`).
    pub(super) fn cancel(&self, request: &str) {
        let cancelled = self.in_flight().get(request).cloned();
        if let Some(cancelled) = cancelled {
            cancelled.cancel();
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight, until dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    session: Arc<Session>,
    request: String,
    /// Cancelled when the client says so.
    pub(super) cancelled: CancellationToken,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.session.in_flight().remove(&self.request);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    #[test]
    fn a_session_is_its_agents_alone() {
        let sessions = Sessions::new(10, Duration::from_secs(1));
        assert!(sessions.open("s".into(), agent("a"), Protocol::V20250618, 0));
        assert!(sessions.find("s", &agent("b"), 1).is_none());
        assert!(!sessions.close("s", &agent("b"), 1));
        assert_eq!(sessions.find("s", &agent("a"), 1).unwrap().protocol, Protocol::V20250618);
        assert!(sessions.close("s", &agent("a"), 1));
        assert!(sessions.find("s", &agent("a"), 1).is_none());
    }

    #[test]
    fn an_idle_session_ends_and_use_keeps_it() {
        let sessions = Sessions::new(10, Duration::from_secs(1));
        sessions.open("s".into(), agent("a"), Protocol::V20250618, 0);
        assert!(sessions.find("s", &agent("a"), 1000).is_some());
        assert!(sessions.find("s", &agent("a"), 2000).is_some());
        assert!(sessions.find("s", &agent("a"), 3001).is_none());
        sessions.sweep(3001);
        assert_eq!(sessions.open.len(), 0);
    }

    #[test]
    fn there_is_room_for_others() {
        let sessions = Sessions::new(8, Duration::from_secs(1));
        let opened = (0..8).filter(|at| sessions.open(format!("a{at}"), agent("a"), Protocol::V20250618, 0)).count();
        assert_eq!(opened, 2);
        assert!(sessions.open("b".into(), agent("b"), Protocol::V20250618, 0));
    }

    #[test]
    fn a_session_that_ends_frees_its_seat() {
        let sessions = Sessions::new(4, Duration::from_secs(1));
        let open = |id: &str, now_ms| sessions.open(id.to_owned(), agent("a"), Protocol::V20250618, now_ms);
        assert!(open("1", 5000));
        assert!(!open("2", 5000));
        assert!(sessions.close("1", &agent("a"), 5000));
        assert!(open("2", 5000));
        // Idle for too long: it makes room by itself.
        assert!(open("3", 7000));
        assert!(sessions.find("2", &agent("a"), 7000).is_none());
        assert_eq!(sessions.open.len(), 1);
    }

    #[test]
    fn many_at_once_open_no_more_than_there_is_room_for() {
        let sessions = Sessions::new(400, Duration::from_secs(1));
        let opened = |by: usize| {
            let open = |at: usize| sessions.open(format!("{by}-{at}"), agent("a"), Protocol::V20250618, 0);
            (0..100).filter(|at| open(*at)).count()
        };
        let opened: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|by| scope.spawn(move || opened(by))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(opened, 100);
    }

    #[test]
    fn an_id_is_in_flight_once_and_can_be_cancelled() {
        let sessions = Sessions::new(1, Duration::from_secs(1));
        sessions.open("s".into(), agent("a"), Protocol::V20250618, 0);
        let session = sessions.find("s", &agent("a"), 0).unwrap();
        let first = session.begin("1").unwrap();
        assert!(session.begin("1").is_none());
        session.cancel("2");
        assert!(!first.cancelled.is_cancelled());
        session.cancel("1");
        assert!(first.cancelled.is_cancelled());
        drop(first);
        assert!(session.begin("1").is_some());
    }
}
