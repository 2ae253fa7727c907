//! Sessions of the protocol versions that have a handshake: bound to the principal that opened them, counted, and closed when
//! idle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{ids::AgentId, received::Protocol};
use dashmap::{DashMap, mapref::entry::Entry};
use tokio_util::sync::CancellationToken;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    /// The agent that opened it: nobody else finds it.
    agent: AgentId,
    /// The version it was opened with.
    pub(super) protocol: Protocol,
    used_ms: AtomicU64,
    in_flight: DashMap<String, CancellationToken>,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    open: DashMap<String, Arc<Session>>,
    most: usize,
    most_per_agent: usize,
    idle_ms: u64,
}

impl Sessions {
    /// At most so many, each closed after `idle` without a request.
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        Self { open: DashMap::new(), most, most_per_agent: (most / 4).max(1), idle_ms }
    }

    /// Opens one under this id, or says no when there are too many.
    pub(super) fn open(&self, id: String, agent: AgentId, protocol: Protocol, now_ms: u64) -> bool {
        if self.open.len() >= self.most {
            self.sweep(now_ms);
        }
        let own = self.open.iter().filter(|session| session.agent == agent).take(self.most_per_agent).count();
        if self.open.len() >= self.most || own >= self.most_per_agent {
            return false;
        }
        let session = Session { agent, protocol, used_ms: AtomicU64::new(now_ms), in_flight: DashMap::new() };
        self.open.insert(id, Arc::new(session));
        true
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

    /// Closes what is idle and has nothing in flight.
    pub(super) fn sweep(&self, now_ms: u64) {
        self.open.retain(|_, session| {
            let idle_ms = now_ms.saturating_sub(session.used_ms.load(Ordering::Relaxed));
            idle_ms <= self.idle_ms || !session.in_flight.is_empty()
        });
    }
}

impl Session {
    /// Notes a request in flight; `None` if one with this id is in flight already.
    pub(super) fn begin(self: &Arc<Self>, request: &str) -> Option<InFlight> {
        match self.in_flight.entry(request.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let cancelled = CancellationToken::new();
                free.insert(cancelled.clone());
                Some(InFlight { session: Arc::clone(self), request: request.to_owned(), cancelled })
            }
        }
    }

    /// Cancels a request in flight (`notifications/cancelled`).
    pub(super) fn cancel(&self, request: &str) {
        if let Some(cancelled) = self.in_flight.get(request) {
            cancelled.cancel();
        }
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
        self.session.in_flight.remove(&self.request);
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
