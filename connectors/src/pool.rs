//! The children of one connector, or its sessions over HTTP: one for each grant, or one for all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick_pipeline::{
    ids::GrantId,
    ports::{ConnectFailure, Lease},
};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backoff::Backoff,
    child::{self, Purpose},
    egress::{self, Client, Lookup, SystemLookup},
    handshake::Failed,
    hearing::{Changed, Listeners},
    link::{End, Link},
    listing::{Keep, ListCache, Reading},
    over_http,
    session::{InUse, Opening, Session},
    spawner::Spawner,
    spec::{ConnectorSpec, HttpSpec, Way},
    status::{ChildState, ChildStatus, ConnectorEvent, ConnectorStatus, Counter, Counters, Rejected},
    stderr::Tail,
    version::{Era, Protocol},
};

/// Why a connection ends whose credential somebody took back.
pub(crate) const TAKEN_BACK: &str = "its credential was taken back";

/// How long a new session may be kept back until what its server says unasked is heard.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// What all connectors share.
pub(crate) struct Context {
    pub(crate) events: Box<dyn Fn(ConnectorEvent) + Send + Sync>,
    pub(crate) spawner: Spawner,
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) tracker: TaskTracker,
    /// Who wants to hear of lists that change.
    pub(crate) listeners: Arc<Listeners>,
    /// Cancelled when all children are to end.
    pub(crate) root: CancellationToken,
    /// Cancelled when they have had their time: nothing is read any more.
    pub(crate) dead: CancellationToken,
}

impl Context {
    pub(crate) fn new(events: impl Fn(ConnectorEvent) + Send + Sync + 'static) -> Arc<Self> {
        Self::with_lookup(events, Arc::new(SystemLookup))
    }

    pub(crate) fn with_lookup(events: impl Fn(ConnectorEvent) + Send + Sync + 'static, lookup: Arc<dyn Lookup>) -> Arc<Self> {
        Arc::new(Self {
            events: Box::new(events),
            spawner: Spawner::new(),
            lookup,
            tracker: TaskTracker::new(),
            listeners: Arc::default(),
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

/// So many sets of capabilities one grant's sessions may declare.
const DECLARED: usize = 3;

/// For whom a slot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    /// A grant in one revision; none where it is for everybody.
    pub(crate) grant: Option<(GrantId, u64)>,
    /// What the server may ask, as its session declares it: none where it may ask nothing, or where each request says so itself.
    pub(crate) asks: Option<String>,
}

/// The children of one connector, or its sessions over HTTP.
pub(crate) struct Pool {
    pub(crate) spec: Arc<ConnectorSpec>,
    pub(crate) context: Arc<Context>,
    pub(crate) counters: Arc<Counters>,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    permits: Arc<Semaphore>,
    cache: ListCache,
    keep: Keep,
    /// How the server is spoken to, for as long as that works.
    era: Mutex<Option<Era>>,
    /// What all sessions over HTTP send through.
    client: tokio::sync::Mutex<Option<Client>>,
    /// The longest message that is taken from the server, by all sessions from their next message on.
    pub(crate) max_message: Arc<AtomicUsize>,
    links: Mutex<BTreeMap<u64, LinkRecord>>,
    serial: AtomicU64,
    last_failure: Mutex<Option<(Instant, String)>>,
    last_stderr: Mutex<Vec<String>>,
    /// Moves when a child, or a session, begins, is ready, is to end, or is gone.
    stirs: Counter,
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
    /// Which lease it goes with.
    lease: Option<String>,
}

impl Current {
    /// Whether it can be used with this lease.
    fn goes_on_with(&mut self, lease: Option<&Arc<Lease>>) -> Result<bool, ConnectFailure> {
        let Some(lease) = lease.filter(|lease| self.lease.as_ref() != Some(&lease.id)) else {
            return Ok(self.lease.is_some() == lease.is_some());
        };
        // What was opened without one is not what would be opened with it.
        let is_relent = self.lease.is_some() && self.session.link().relend(lease).map_err(ConnectFailure::Start)?;
        if is_relent {
            self.lease = Some(lease.id.clone());
            // INVARIANT: looked at after it is in use. Whoever takes it back says so first, and ends the connections second.
            if lease.taken_back().is_cancelled() {
                self.session.link().end(End::wanted(TAKEN_BACK));
                return Err(ConnectFailure::Start(TAKEN_BACK.to_owned()));
            }
        }
        Ok(is_relent)
    }
}

/// A child, or a session over HTTP, for the status.
pub(crate) struct LinkRecord {
    child: Option<(u32, Arc<Tail>)>,
    grant: Option<GrantId>,
    link: Arc<dyn Link>,
    session: Option<Arc<Session>>,
    started: Instant,
}

impl LinkRecord {
    pub(crate) fn new(grant: Option<GrantId>, link: &Arc<dyn Link>) -> Self {
        Self { child: None, grant, link: Arc::clone(link), session: None, started: Instant::now() }
    }

    /// With its process id, and what it writes to standard error.
    pub(crate) fn of_child(self, pid: u32, stderr: Arc<Tail>) -> Self {
        Self { child: Some((pid, stderr)), ..self }
    }
}

/// A link, freshly opened.
pub(crate) struct Opened {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) pid: Option<u32>,
    /// Its number in the pool.
    pub(crate) serial: u64,
}

impl Pool {
    /// For calls.
    pub(crate) fn new(spec: ConnectorSpec, context: Arc<Context>) -> Arc<Self> {
        Self::keeping(Keep::Digests, spec, context)
    }

    /// For one look.
    pub(crate) fn to_look(spec: ConnectorSpec, context: Arc<Context>) -> Arc<Self> {
        Self::keeping(Keep::Definitions, spec, context)
    }

    fn keeping(keep: Keep, spec: ConnectorSpec, context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(spec.max_children.clamp(1, Semaphore::MAX_PERMITS))),
            max_message: Arc::new(AtomicUsize::new(spec.max_message)),
            spec: Arc::new(spec),
            context,
            counters: Arc::default(),
            slots: Mutex::default(),
            cache: Arc::default(),
            keep,
            era: Mutex::default(),
            client: tokio::sync::Mutex::default(),
            links: Mutex::default(),
            serial: AtomicU64::new(0),
            last_failure: Mutex::default(),
            last_stderr: Mutex::default(),
            stirs: Counter::default(),
        })
    }

    /// A session for this purpose: the one there is, or a new one. Started once, however many ask.
    pub(crate) async fn session(self: &Arc<Self>, key: &SlotKey, purpose: &Purpose) -> Result<InUse, ConnectFailure> {
        let lease = purpose.lease.as_ref().map(|lease| lease.id.as_str());
        let mut state = self.slot_state(key, purpose).await?;
        // Another took its place while this one was on its way: it is no reason to end what that one has begun.
        if purpose.lease.as_ref().is_some_and(|lease| lease.is_over()) {
            return Err(ConnectFailure::Start("its credential was given back meanwhile".to_owned()));
        }
        if let Some(current) = &mut state.current {
            match current.session.link().retired() {
                None if current.goes_on_with(purpose.lease.as_ref())? => return Ok(InUse::of(&current.session)),
                // Those that are under way with what was lent before go on: it is good until they are done.
                None => current.session.leave(End::wanted("its credential was lent anew")),
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
        let start = self.context.tracker.spawn(Arc::clone(self).start(state, purpose.clone(), lease.map(str::to_owned)));
        start.await.unwrap_or_else(|fault| Err(ConnectFailure::Start(fault.to_string())))
    }

    /// What the sessions of a grant may declare: a few sets, so that no agent has ever more sessions. Further ones may ask nothing.
    pub(crate) fn few(&self, grant: &(GrantId, u64), asks: String) -> Option<String> {
        let slots = lock(&self.slots);
        let of_grant = || slots.keys().filter(|key| key.grant.as_ref() == Some(grant)).filter_map(|key| key.asks.as_ref());
        (of_grant().any(|other| *other == asks) || of_grant().count() < DECLARED).then_some(asks)
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
        let failure = match self.open(&purpose, permit).await {
            Ok(session) => {
                let used = InUse::of(&session);
                state.current = Some(Current { session, lease });
                return Ok(used);
            }
            Err(failure) => failure,
        };
        if failure.counts() {
            state.backoff.failed(&self.spec, Duration::ZERO, failure.why().to_owned(), Instant::now());
        }
        Err(failure.into())
    }

    /// Opens a link and a session on it. A server that ends when it is asked which protocol it speaks knows only older ones: it is
    /// started once more, and not asked.
    async fn open(self: &Arc<Self>, purpose: &Purpose, permit: OwnedSemaphorePermit) -> Result<Arc<Session>, Failed> {
        let known = self.known_era();
        match self.open_once(purpose, permit, known).await {
            Err(Failed::WhenAsked(_)) if known.is_none() => {
                let permit = self.permit().await.map_err(Failed::Unstarted)?;
                self.open_once(purpose, permit, Some(Era::Legacy)).await
            }
            Err(Failed::WhenAsked(why)) => {
                self.failed(&why);
                Err(Failed::Ended(why))
            }
            other => other,
        }
    }

    async fn open_once(
        self: &Arc<Self>,
        purpose: &Purpose,
        permit: OwnedSemaphorePermit,
        known: Option<Era>,
    ) -> Result<Arc<Session>, Failed> {
        let opened = self.open_link(purpose, permit).await?;
        let (redactor, pid) = (opened.link.redactor(), opened.pid);
        // Not the pool: it has the session, and neither would ever be gone.
        let (context, connector) = (Arc::clone(&self.context), self.spec.id.clone());
        // What is listed to whoever may be asked is compared with the pins, and else is nobody's news.
        let is_news = purpose.asks.is_none();
        let listed = Box::new(move |reading: &Reading| {
            if !is_news {
                return;
            }
            let rejected = reading.dropped.iter().map(|dropped| Rejected::in_list(dropped, &redactor)).collect();
            let (connector, digests) = (connector.clone(), reading.digests());
            context.tell(ConnectorEvent::Listed { connector, pid, tools: digests.len(), digests, rejected });
        });
        let (patience, relist_after) = (self.spec.handshake_timeout, self.spec.relist_after);
        let (context, connector, grant) = (Arc::clone(&self.context), self.spec.id.clone(), purpose.grant.clone());
        let changed = Box::new(move |changed: Changed| {
            let (connector, grant) = (connector.clone(), grant.clone());
            context.tell(ConnectorEvent::ListChanged { connector, grant, list: changed });
        });
        let (listeners, grant) = (Arc::clone(&self.context.listeners), purpose.grant.clone());
        let (cache, asks) = (Arc::clone(&self.cache), purpose.asks.clone());
        let opening = Opening { patience, relist_after, known, asks, cache, keep: self.keep, listed, changed, listeners, grant };
        match Session::open(Arc::clone(&opened.link), opening).await {
            Ok(session) => {
                let session = Arc::new(session);
                if self.context.listeners.any(purpose.grant.as_ref()) {
                    // Before it is used: what the first call changes is told, too.
                    session.hear(HEARD_WITHIN).await;
                }
                self.remember_era(Some(session.hello().version.era()));
                if let Some(record) = lock(&self.links).get_mut(&opened.serial) {
                    record.session = Some(Arc::clone(&session));
                }
                self.stirs.rise();
                Ok(session)
            }
            Err(unopened) => {
                self.remember_era(None);
                if pid.is_none() && unopened.hung(opened.link.as_ref()) {
                    // Its connections may be dead: the next session gets one of its own. The sessions that there are keep theirs.
                    *self.client.lock().await = None;
                }
                Err(Failed::of(&unopened, &opened))
            }
        }
    }

    async fn open_link(self: &Arc<Self>, purpose: &Purpose, permit: OwnedSemaphorePermit) -> Result<Opened, Failed> {
        let opened = match &self.spec.way {
            Way::Process(process) => child::start(self, process, purpose, permit).await,
            Way::Http(http) => over_http::open(self, http, purpose, permit).await,
        };
        opened.map_err(|why| {
            self.failed(&why);
            Failed::Unstarted(why)
        })
    }

    /// What the next session over HTTP sends through: what the others do, as long as that works.
    pub(crate) async fn client(&self, spec: &HttpSpec, patience: Duration) -> Result<Client, String> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let made = egress::client(spec, Arc::clone(&self.context.lookup), patience).await?;
        Ok(client.insert(made).clone())
    }

    /// How the server is spoken to, if that is configured or has been seen to work.
    pub(crate) fn known_era(&self) -> Option<Era> {
        match self.spec.protocol {
            Protocol::Auto => *lock(&self.era),
            Protocol::Modern => Some(Era::Modern),
            Protocol::Legacy => Some(Era::Legacy),
        }
    }

    fn remember_era(&self, era: Option<Era>) {
        *lock(&self.era) = era;
    }

    /// Leave to start a child: at the cap, the idle one that was used longest ago has to go.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, String> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let busy = || {
            let (most, id) = (self.spec.max_children, &self.spec.id);
            match self.spec.way {
                Way::Process(_) => format!(
                    "all {most} children of connector `{id}` are busy, and it gets no more: try again later, end grants that are done, or \
                     set `shared = true` where one child may serve all grants"
                ),
                Way::Http(_) => format!(
                    "all {most} sessions of connector `{id}` are busy, and it gets no more: try again later, end grants that are done, or \
                     set `shared = true` where one session may serve all grants"
                ),
            }
        };
        // One that ends already gives its place back in a moment.
        let ends = lock(&self.links).values().any(|record| record.link.ended().is_some());
        if !ends && !self.evict() && !self.cut_short() {
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

    /// Ends a child that is only kept until its last calls are done; false if there is none.
    fn cut_short(&self) -> bool {
        let links = lock(&self.links);
        let leaving = links.values().find(|record| record.session.as_ref().is_some_and(|session| session.is_leaving()));
        leaving.inspect(|record| record.link.end(End::wanted("its credential was lent anew, and its place was needed"))).is_some()
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

    /// Sets the longest message that is taken, from the next one on. What failed may have failed of the limit there was: it is not left alone
    /// for that any longer.
    pub(crate) fn limit(&self, max_message: usize) {
        if self.max_message.swap(max_message, Ordering::Relaxed) == max_message {
            return;
        }
        for slot in lock(&self.slots).values() {
            // One that is being opened now is opened under the new limit.
            let Ok(mut state) = slot.state.try_lock() else { continue };
            state.backoff = Backoff::default();
            state.current.take_if(|current| current.session.link().retired().is_some());
        }
    }

    /// Ends the children, or sessions, of these grants. What serves everybody stays.
    pub(crate) fn end_of(&self, is_meant: &dyn Fn(&GrantId) -> bool, why: &str) {
        let is_of = |record: &&LinkRecord| record.grant.as_ref().is_some_and(is_meant);
        let links: Vec<Arc<dyn Link>> = lock(&self.links).values().filter(is_of).map(|record| Arc::clone(&record.link)).collect();
        for link in links {
            link.end(End::wanted(why));
        }
        self.stirs.rise();
    }

    /// Ends every child, or session, there is.
    pub(crate) fn end_all(&self, why: &str) {
        let links: Vec<Arc<dyn Link>> = lock(&self.links).values().map(|record| Arc::clone(&record.link)).collect();
        for link in links {
            link.end(End::wanted(why));
        }
        self.stirs.rise();
    }

    /// A number that is another one once its children or sessions are.
    pub(crate) fn stirred(&self) -> u64 {
        self.stirs.now()
    }

    pub(crate) fn add(&self, record: LinkRecord) -> Opened {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let opened = Opened { link: Arc::clone(&record.link), pid: record.child.as_ref().map(|(pid, _)| *pid), serial };
        lock(&self.links).insert(serial, record);
        self.stirs.rise();
        opened
    }

    pub(crate) fn remove(&self, serial: u64, stderr: Vec<String>) {
        let is_last = {
            let mut links = lock(&self.links);
            links.remove(&serial);
            links.is_empty()
        };
        if is_last && let Ok(mut client) = self.client.try_lock() {
            // With its connections, once no session has it any more: what they sent last is in their buffers.
            *client = None;
        }
        self.stirs.rise();
        *lock(&self.last_stderr) = stderr;
    }

    /// The sessions for this grant, and those for everybody.
    pub(crate) fn sessions_of(&self, grant: &GrantId) -> Vec<Arc<Session>> {
        let links = lock(&self.links);
        let is_for = |record: &&LinkRecord| record.grant.as_ref().is_none_or(|of| of == grant);
        links.values().filter(is_for).filter_map(|record| record.session.clone()).collect()
    }

    pub(crate) fn failed(&self, why: &str) {
        self.counters.failures.rise();
        *lock(&self.last_failure) = Some((Instant::now(), why.to_owned()));
    }

    pub(crate) fn status(&self) -> ConnectorStatus {
        let links = lock(&self.links);
        let state = |record: &LinkRecord| match (record.link.retired(), &record.session) {
            (Some(_), _) => ChildState::Ending,
            (None, Some(session)) if session.is_leaving() => ChildState::Ending,
            (None, None) => ChildState::Starting,
            (None, Some(_)) => ChildState::Ready,
        };
        let status = |record: &LinkRecord| ChildStatus {
            pid: record.child.as_ref().map(|(pid, _)| *pid),
            grant: record.grant.clone(),
            state: state(record),
            age: record.started.elapsed(),
            calls: record.session.as_ref().map_or(0, |session| session.users()),
        };
        let mut stderr = lock(&self.last_stderr).clone();
        stderr.extend(links.values().filter_map(|record| record.child.as_ref()).flat_map(|(_, tail)| tail.lines()));
        ConnectorStatus {
            id: self.spec.id.clone(),
            children: links.values().map(status).collect(),
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
