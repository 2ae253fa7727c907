//! Sessions of the protocol versions that have a handshake: bound to the principal that opened them, counted, and closed when
//! idle.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    aside::LogLevel,
    ids::{AgentId, ApprovalId},
    received::Protocol,
};
use bailiwick_schemas::names::Feature;
use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    inbox::Inbox,
    seats::{Seat, Seats},
};

/// How often idle sessions are looked for at most, milliseconds.
const SWEEP_EVERY_MS: u64 = 1000;

/// So many questions may wait for the answers of one client.
const QUESTIONS: usize = 16;

/// So many of the gateway's own questions are remembered that a client has seen.
const SHOWN: usize = 64;

/// No place of any level.
const NO_LEVEL: usize = usize::MAX;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    /// The agent that opened it: nobody else finds it.
    agent: AgentId,
    /// The version it was opened with.
    pub(super) protocol: Protocol,
    used_ms: AtomicU64,
    in_flight: Mutex<HashMap<String, CancellationToken>>,
    /// What its client said that it can be asked, each as declared.
    pub(super) askable: Vec<(Feature, String)>,
    /// What takes the answers of its client, by the ids of the questions as written.
    questions: Mutex<HashMap<String, oneshot::Sender<Option<Bytes>>>>,
    /// The approvals that its client was asked about, the last ones.
    shown: Mutex<VecDeque<ApprovalId>>,
    /// The log messages that its client wants: none, until it says which.
    level: AtomicUsize,
    /// What its client is to be told.
    inbox: Arc<Inbox>,
    /// Cancelled when it is closed.
    ended: CancellationToken,
    /// Ends its stream.
    stream: Mutex<CancellationToken>,
    /// Among all sessions, and among its agent's.
    _seats: [Seat; 2],
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    open: DashMap<String, Arc<Session>>,
    seats: Arc<Seats>,
    /// Each agent's share. Agents are as many as are registered.
    shares: DashMap<AgentId, Arc<Seats>>,
    share: AtomicUsize,
    idle_ms: AtomicU64,
    swept_ms: AtomicU64,
}

impl Sessions {
    /// At most so many, a quarter of them one agent's, each closed after `idle` without a request.
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self {
            open: DashMap::new(),
            seats: Seats::new(most),
            shares: DashMap::new(),
            share: AtomicUsize::new(share_of(most)),
            idle_ms: AtomicU64::new(millis(idle)),
            swept_ms: AtomicU64::new(0),
        }
    }

    /// So many and so long from here on: none that is open is closed for it.
    pub(super) fn set(&self, most: usize, idle: Duration) {
        self.idle_ms.store(millis(idle), Ordering::SeqCst);
        self.seats.set(most);
        // Stored first: a share that is made while this goes through them is made with it, or found.
        self.share.store(share_of(most), Ordering::SeqCst);
        self.shares.iter().for_each(|share| share.set(share_of(most)));
    }

    /// Closes those of agents that are no more.
    pub(super) fn close_of(&self, is_gone: impl Fn(&AgentId) -> bool) {
        self.open.retain(|_, session| !is_gone(&session.agent) || session.end());
    }

    /// Opens one under this id, or says no when there are too many.
    pub(super) fn open(
        &self,
        id: String,
        agent: AgentId,
        protocol: Protocol,
        askable: Vec<(Feature, String)>,
        now_ms: u64,
    ) -> bool {
        let seats = self.seats(&agent).or_else(|| {
            self.sweep(now_ms);
            self.seats(&agent)
        });
        let Some(seats) = seats else { return false };
        let session = Session {
            agent,
            protocol,
            used_ms: AtomicU64::new(now_ms),
            in_flight: Mutex::default(),
            askable,
            questions: Mutex::default(),
            shown: Mutex::default(),
            level: AtomicUsize::new(NO_LEVEL),
            inbox: Inbox::new(),
            ended: CancellationToken::new(),
            stream: Mutex::default(),
            _seats: seats,
        };
        self.open.insert(id, Arc::new(session));
        true
    }

    fn seats(&self, agent: &AgentId) -> Option<[Seat; 2]> {
        let share = || Seats::new(self.share.load(Ordering::SeqCst));
        let share = Arc::clone(&self.shares.entry(agent.clone()).or_insert_with(share));
        Some([share.take()?, self.seats.take()?])
    }

    /// The session of this id, if it is this agent's and not idle for too long. One answer for all that it is not.
    pub(super) fn find(&self, id: &str, agent: &AgentId, now_ms: u64) -> Option<Arc<Session>> {
        let session = Arc::clone(self.open.get(id)?.value());
        let alive = now_ms.saturating_sub(session.used_ms.load(Ordering::Relaxed)) <= self.idle_ms.load(Ordering::Relaxed);
        if session.agent != *agent || !alive {
            return None;
        }
        session.used_ms.store(now_ms, Ordering::Relaxed);
        Some(session)
    }

    /// Closes one, if it is this agent's.
    pub(super) fn close(&self, id: &str, agent: &AgentId, now_ms: u64) -> bool {
        let found = self.find(id, agent, now_ms).is_some();
        if found && let Some((_, session)) = self.open.remove(id) {
            session.end();
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
        let most_ms = self.idle_ms.load(Ordering::Relaxed);
        self.open.retain(|_, session| {
            let idle_ms = now_ms.saturating_sub(session.used_ms.load(Ordering::Relaxed));
            idle_ms <= most_ms || !session.in_flight().is_empty() || session.end()
        });
    }
}

/// A quarter of all may be one agent's.
fn share_of(most: usize) -> usize {
    (most / 4).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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

    /// What its client is to be told.
    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// What ends its stream: the one that is opened now takes the place of the one before.
    pub(super) fn take_stream(&self) -> CancellationToken {
        let stream = self.ended.child_token();
        let before = std::mem::replace(&mut *self.stream.lock().unwrap_or_else(PoisonError::into_inner), stream.clone());
        before.cancel();
        stream
    }

    /// It is in use.
    pub(super) fn touch(&self, now_ms: u64) {
        self.used_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Ends its stream and its subscriptions. It stays no longer.
    fn end(&self) -> bool {
        // Nobody answers in it any more.
        self.questions().clear();
        self.ended.cancel();
        self.inbox.clear();
        false
    }

    /// The log messages that its client wants.
    pub(super) fn level(&self) -> Option<LogLevel> {
        LogLevel::ALL.get(self.level.load(Ordering::Relaxed)).copied()
    }

    /// From now on its client wants these (`logging/setLevel`).
    pub(super) fn set_level(&self, level: LogLevel) {
        let place = LogLevel::ALL.iter().position(|other| *other == level);
        self.level.store(place.unwrap_or(NO_LEVEL), Ordering::Relaxed);
    }

    /// Cancels a request in flight (`notifications/cancelled`).
    pub(super) fn cancel(&self, request: &str) {
        let cancelled = self.in_flight().get(request).cloned();
        if let Some(cancelled) = cancelled {
            cancelled.cancel();
        }
    }

    /// Opens a question under this id, as written; none where too many wait already.
    pub(super) fn ask(self: &Arc<Self>, id: &str) -> Option<(Open, oneshot::Receiver<Option<Bytes>>)> {
        let mut questions = self.questions();
        if questions.len() >= QUESTIONS {
            return None;
        }
        let (take, answer) = oneshot::channel();
        questions.insert(id.to_owned(), take);
        Some((Open { session: Arc::clone(self), id: id.to_owned() }, answer))
    }

    /// Whether its client was asked about this approval.
    pub(super) fn was_shown(&self, approval: &ApprovalId) -> bool {
        self.shown().contains(approval)
    }

    /// Its client was asked about this approval: once is enough.
    pub(super) fn shows(&self, approval: ApprovalId) {
        let mut shown = self.shown();
        if !shown.contains(&approval) {
            if shown.len() >= SHOWN {
                shown.pop_front();
            }
            shown.push_back(approval);
        }
    }

    fn shown(&self) -> MutexGuard<'_, VecDeque<ApprovalId>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what its client answers to the question of this id: none where it refuses. False where nobody waits for it.
    pub(super) fn answered(&self, id: &str, answer: Option<Bytes>) -> bool {
        let take = self.questions().remove(id);
        take.is_some_and(|take| take.send(answer).is_ok())
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Option<Bytes>>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that waits for its answer, until dropped.
#[derive(Debug)]
pub(super) struct Open {
    session: Arc<Session>,
    id: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.session.questions().remove(&self.id);
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
        assert!(sessions.open("s".into(), agent("a"), Protocol::V20250618, Vec::new(), 0));
        assert!(sessions.find("s", &agent("b"), 1).is_none());
        assert!(!sessions.close("s", &agent("b"), 1));
        assert_eq!(sessions.find("s", &agent("a"), 1).unwrap().protocol, Protocol::V20250618);
        assert!(sessions.close("s", &agent("a"), 1));
        assert!(sessions.find("s", &agent("a"), 1).is_none());
    }

    #[test]
    fn an_idle_session_ends_and_use_keeps_it() {
        let sessions = Sessions::new(10, Duration::from_secs(1));
        sessions.open("s".into(), agent("a"), Protocol::V20250618, Vec::new(), 0);
        assert!(sessions.find("s", &agent("a"), 1000).is_some());
        assert!(sessions.find("s", &agent("a"), 2000).is_some());
        assert!(sessions.find("s", &agent("a"), 3001).is_none());
        sessions.sweep(3001);
        assert_eq!(sessions.open.len(), 0);
    }

    #[test]
    fn other_limits_close_nothing_and_the_end_of_an_agent_closes_its_own() {
        let sessions = Sessions::new(8, Duration::from_secs(1));
        let open = |id: &str, of: &str| sessions.open(id.to_owned(), agent(of), Protocol::V20250618, Vec::new(), 0);
        assert!(open("1", "a") && open("2", "a") && open("3", "b"));
        sessions.set(16, Duration::from_secs(5));
        assert!(open("4", "a") && open("5", "a") && !open("6", "a"));
        assert!(sessions.find("3", &agent("b"), 4000).is_some());
        sessions.set(4, Duration::from_secs(5));
        assert!(!open("7", "b") && sessions.open.len() == 5);
        sessions.close_of(|gone| *gone == agent("a"));
        assert!(sessions.find("1", &agent("a"), 1).is_none() && sessions.find("3", &agent("b"), 4000).is_some());
        assert!(open("8", "c"));
    }

    #[test]
    fn a_session_wants_no_log_messages_until_it_says_which() {
        let sessions = Sessions::new(10, Duration::from_secs(1));
        sessions.open("s".into(), agent("a"), Protocol::V20250618, Vec::new(), 0);
        let session = sessions.find("s", &agent("a"), 1).unwrap();
        assert_eq!(session.level(), None);
        for level in LogLevel::ALL {
            session.set_level(level);
            assert_eq!(session.level(), Some(level));
        }
    }

    #[test]
    fn there_is_room_for_others() {
        let sessions = Sessions::new(8, Duration::from_secs(1));
        let opened = (0..8).filter(|at| sessions.open(format!("a{at}"), agent("a"), Protocol::V20250618, Vec::new(), 0)).count();
        assert_eq!(opened, 2);
        assert!(sessions.open("b".into(), agent("b"), Protocol::V20250618, Vec::new(), 0));
    }

    #[test]
    fn a_session_that_ends_frees_its_seat() {
        let sessions = Sessions::new(4, Duration::from_secs(1));
        let open = |id: &str, now_ms| sessions.open(id.to_owned(), agent("a"), Protocol::V20250618, Vec::new(), now_ms);
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
            let open = |at: usize| sessions.open(format!("{by}-{at}"), agent("a"), Protocol::V20250618, Vec::new(), 0);
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
        sessions.open("s".into(), agent("a"), Protocol::V20250618, Vec::new(), 0);
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
