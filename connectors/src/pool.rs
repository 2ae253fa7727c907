//! The children of one connector: one for each grant, or one for all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bailiwick_pipeline::{ids::GrantId, ports::ConnectFailure};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backoff::Backoff,
    child::{self, Purpose},
    link::{End, Link},
    pipe::Pipe,
    session::{InUse, ListCache, Session},
    spawner::Spawner,
    spec::ConnectorSpec,
    status::{ChildState, ChildStatus, ConnectorEvent, ConnectorStatus, Counters, Rejected},
    stderr::Redactor,
};

/// What all connectors share.
pub(crate) struct Context {
    pub(crate) events: Box<dyn Fn(ConnectorEvent) + Send + Sync>,
    pub(crate) spawner: Spawner,
    pub(crate) tracker: TaskTracker,
    /// Cancelled when all children are to end.
    pub(crate) root: CancellationToken,
    /// Cancelled when they have had their time: nothing is read any more.
    pub(crate) dead: CancellationToken,
}

impl Context {
    pub(crate) fn new(events: impl Fn(ConnectorEvent) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            events: Box::new(events),
            spawner: Spawner::new(),
            tracker: TaskTracker::new(),
            root: CancellationToken::new(),
            dead: CancellationToken::new(),
        })
    }

    pub(crate) fn tell(&self, event: ConnectorEvent) {
        (self.events)(event);
    }

    /// Ends all children and waits until they are gone, but not for ever.
    pub(crate) async fn shutdown(&self, patience: Duration) {
        self.root.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(patience, self.tracker.wait()).await;
        self.dead.cancel();
    }
}

/// For whom a slot is: a grant in one revision, or everybody.
pub(crate) type SlotKey = Option<(GrantId, u64)>;

/// The children of one connector.
pub(crate) struct Pool {
    pub(crate) spec: Arc<ConnectorSpec>,
    pub(crate) context: Arc<Context>,
    pub(crate) counters: Arc<Counters>,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    permits: Arc<Semaphore>,
    cache: ListCache,
    children: Mutex<BTreeMap<u32, ChildRecord>>,
    last_failure: Mutex<Option<(Instant, String)>>,
    last_stderr: Mutex<Vec<String>>,
}

/// The place of one child, and what is remembered of those before it.
struct Slot {
    state: Arc<tokio::sync::Mutex<SlotState>>,
    ends: Vec<CancellationToken>,
}

#[derive(Default)]
struct SlotState {
    current: Option<Current>,
    backoff: Backoff,
    /// It is no longer in the pool: look again.
    gone: bool,
}

struct Current {
    session: Arc<Session>,
    /// Which lease it was started with.
    lease: Option<String>,
}

/// A child, for the status.
pub(crate) struct ChildRecord {
    grant: Option<GrantId>,
    pipe: Arc<Pipe>,
    session: Option<Arc<Session>>,
    started: Instant,
}

impl ChildRecord {
    pub(crate) fn new(grant: Option<GrantId>, pipe: &Arc<Pipe>) -> Self {
        Self { grant, pipe: Arc::clone(pipe), session: None, started: Instant::now() }
    }
}

impl Pool {
    pub(crate) fn new(spec: ConnectorSpec, context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(spec.max_children.clamp(1, 4096))),
            spec: Arc::new(spec),
            context,
            counters: Arc::default(),
            slots: Mutex::default(),
            cache: Arc::default(),
            children: Mutex::default(),
            last_failure: Mutex::default(),
            last_stderr: Mutex::default(),
        })
    }

    /// A session for this purpose: the one there is, or a new one. Started once, however many ask.
    pub(crate) async fn session(self: &Arc<Self>, key: &SlotKey, purpose: Purpose) -> Result<InUse, ConnectFailure> {
        let lease = purpose.lease.as_ref().map(|lease| lease.id.clone());
        let mut state = self.slot_state(key, &purpose).await?;
        if let Some(current) = &state.current {
            match current.session.link().ended() {
                None if current.lease == lease => return Ok(InUse::of(&current.session)),
                None => current.session.link().end(End::wanted("its credential was lent anew")),
                Some(end) if end.wanted => {}
                Some(end) => {
                    let lived = current.session.age();
                    state.backoff.failed(&self.spec, lived, end.why, Instant::now());
                }
            }
            state.current = None;
        }
        if let Some((left, why)) = state.backoff.resting(Instant::now()) {
            let retry_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
            return Err(ConnectFailure::Resting { why: why.to_owned(), retry_ms });
        }
        // On a task of its own: a caller that gives up must not undo what the next one needs.
        let start = self.context.tracker.spawn(Arc::clone(self).start(state, purpose, lease));
        start.await.unwrap_or_else(|fault| Err(ConnectFailure::Start(fault.to_string())))
    }

    /// The state of the slot for this purpose, locked.
    async fn slot_state(&self, key: &SlotKey, purpose: &Purpose) -> Result<OwnedMutexGuard<SlotState>, ConnectFailure> {
        loop {
            if self.context.root.is_cancelled() || is_over(&purpose.ends) {
                return Err(ConnectFailure::Start("its grant, or the gateway, has ended".to_owned()));
            }
            let new = || Arc::new(Slot::new(purpose));
            let slot = Arc::clone(lock(&self.slots).entry(key.clone()).or_insert_with(new));
            let mut state = Arc::clone(&slot.state).lock_owned().await;
            // A slot of an earlier grant with the same name is of no use to this one: its child ends by itself.
            if is_over(&slot.ends) && !state.gone {
                state.gone = true;
                lock(&self.slots).remove(key);
            }
            if !state.gone {
                return Ok(state);
            }
        }
    }

    async fn start(
        self: Arc<Self>,
        mut state: OwnedMutexGuard<SlotState>,
        purpose: Purpose,
        lease: Option<String>,
    ) -> Result<InUse, ConnectFailure> {
        let permit = self.permit().await.map_err(ConnectFailure::Start)?;
        self.counters.starts.rise();
        if state.backoff.failures() > 0 {
            self.counters.restarts.rise();
        }
        let (pipe, pid) = match child::start(&self, &purpose, permit).await {
            Ok(started) => started,
            Err(why) => {
                self.failed(&why);
                state.backoff.failed(&self.spec, Duration::ZERO, why.clone(), Instant::now());
                return Err(ConnectFailure::Start(why));
            }
        };
        let (told, redactor) = (Arc::clone(&self), Redactor::new(purpose.lease.as_ref()));
        let listed = Box::new(move |reading: &crate::session::Reading| {
            let rejected = reading.findings.iter().map(|finding| Rejected::in_list(finding, &reading.raw, &redactor)).collect();
            let (connector, digests) = (told.spec.id.clone(), reading.digests());
            told.context.tell(ConnectorEvent::Listed { connector, pid, tools: digests.len(), digests, rejected });
        });
        let link: Arc<dyn Link> = Arc::<Pipe>::clone(&pipe);
        let (patience, relist) = (self.spec.handshake_timeout, self.spec.relist_after);
        match Session::open(link, patience, relist, Arc::clone(&self.cache), listed).await {
            Ok(session) => {
                let session = Arc::new(session);
                if let Some(record) = lock(&self.children).get_mut(&pid) {
                    record.session = Some(Arc::clone(&session));
                }
                let used = InUse::of(&session);
                state.current = Some(Current { session, lease });
                Ok(used)
            }
            Err(why) => {
                // What is wrong with an answer may be said in the server's words.
                let why = pipe.clean(&why);
                let died = pipe.ended();
                pipe.end(End::failure(format!("the handshake failed: {why}")));
                if died.as_ref().is_none_or(|end| !end.wanted) {
                    state.backoff.failed(&self.spec, Duration::ZERO, why.clone(), Instant::now());
                }
                Err(if died.is_some() { ConnectFailure::Start(why) } else { ConnectFailure::Handshake(why) })
            }
        }
    }

    /// Leave to start a child: at the cap, the idle one that was used longest ago has to go.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, String> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let busy = || {
            format!(
                "all {} children of connector `{}` are busy: try again later, or raise its limit",
                self.spec.max_children, self.spec.id
            )
        };
        if !self.evict() {
            return Err(busy());
        }
        let patience = self.spec.kill_after + Duration::from_secs(2);
        let permit = tokio::time::timeout(patience, Arc::clone(&self.permits).acquire_owned()).await;
        permit.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// Ends the idle child that was used longest ago; false if none is idle.
    fn evict(&self) -> bool {
        let slots: Vec<Arc<Slot>> = lock(&self.slots).values().cloned().collect();
        let idle = |slot: &Arc<Slot>| {
            let state = Arc::clone(&slot.state).try_lock_owned().ok()?;
            let session = &state.current.as_ref()?.session;
            (session.users() == 0).then(|| (session.used(), Arc::clone(slot)))
        };
        let Some((_, slot)) = slots.iter().filter_map(idle).min_by_key(|(used, _)| *used) else {
            return false;
        };
        let Ok(mut state) = slot.state.try_lock() else {
            return false;
        };
        let idle = state.current.take_if(|current| current.session.users() == 0);
        idle.is_some_and(|current| {
            current.session.link().end(End::wanted("another grant needed its place"));
            true
        })
    }

    /// Ends children that nobody used for long, and forgets slots that are of no use any more.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        lock(&self.slots).retain(|_, slot| {
            let Ok(mut state) = slot.state.try_lock() else {
                return true;
            };
            let is_idle = |current: &mut Current| {
                let unused =
                    current.session.users() == 0 && now.saturating_duration_since(current.session.used()) >= self.spec.idle_after;
                unused && current.session.link().ended().is_none()
            };
            if let Some(current) = state.current.take_if(is_idle) {
                current.session.link().end(End::wanted("nobody used it"));
            }
            let is_over = is_over(&slot.ends);
            state.gone = is_over || (state.current.is_none() && state.backoff.resting(now).is_none());
            !state.gone
        });
    }

    /// Ends every child there is.
    pub(crate) fn end_all(&self, why: &str) {
        let pipes: Vec<Arc<Pipe>> = lock(&self.children).values().map(|child| Arc::clone(&child.pipe)).collect();
        for pipe in pipes {
            pipe.end(End::wanted(why));
        }
    }

    pub(crate) fn add(&self, pid: u32, child: ChildRecord) {
        lock(&self.children).insert(pid, child);
    }

    pub(crate) fn remove(&self, pid: u32, stderr: Vec<String>) {
        lock(&self.children).remove(&pid);
        *lock(&self.last_stderr) = stderr;
    }

    pub(crate) fn failed(&self, why: &str) {
        self.counters.failures.rise();
        *lock(&self.last_failure) = Some((Instant::now(), why.to_owned()));
    }

    pub(crate) fn status(&self) -> ConnectorStatus {
        let children = lock(&self.children);
        let state = |child: &ChildRecord| match (child.pipe.ended(), &child.session) {
            (Some(_), _) => ChildState::Ending,
            (None, None) => ChildState::Starting,
            (None, Some(_)) => ChildState::Ready,
        };
        let status = |(pid, child): (&u32, &ChildRecord)| ChildStatus {
            pid: *pid,
            grant: child.grant.clone(),
            state: state(child),
            age: child.started.elapsed(),
            calls: child.session.as_ref().map_or(0, |session| session.users()),
        };
        let mut stderr = lock(&self.last_stderr).clone();
        stderr.extend(children.values().flat_map(|child| child.pipe.tail().lines()));
        ConnectorStatus {
            id: self.spec.id.clone(),
            children: children.iter().map(status).collect(),
            counts: self.counters.now(),
            last_failure: lock(&self.last_failure).as_ref().map(|(at, why)| (at.elapsed(), why.clone())),
            stderr,
        }
    }
}

impl Slot {
    fn new(purpose: &Purpose) -> Self {
        Self { state: Arc::default(), ends: purpose.ends.clone() }
    }
}

fn is_over(ends: &[CancellationToken]) -> bool {
    ends.iter().any(CancellationToken::is_cancelled)
}

/// What is behind these locks is changed in one step: a panic elsewhere leaves it true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
