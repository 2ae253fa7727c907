//! Halts: what is stopped until a person lets it go on, and the calls on their way out that a halt reaches.
//!
//! INVARIANT: a call enters its flight first and looks at the halts second; a halt is put in force first and looks at the flights second.
//! Both go through the lock of the flight's shard, so one of the two sees the other: a call that goes out either finds the halt, or is
//! found by it.

use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bailiwick_schemas::names::{ConnectorId, QualifiedName};
use tokio::sync::{Notify, watch};

use crate::{
    catalogue::Tool,
    grant::LiveGrant,
    ids::{AgentId, CallId, GrantId},
    principal::Principal,
};

/// The longest name of an instance, bytes.
const INSTANCE_BYTES: usize = 512;

/// What is stopped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Halt {
    /// Every call of every agent.
    Everything,
    /// Every call of this agent, and of others under grants that come from its own.
    Agent(AgentId),
    /// Every call of one running copy of an agent.
    Instance(AgentId, String),
    /// Every call to this connector.
    Connector(ConnectorId),
    /// Every call of this tool.
    Tool(QualifiedName),
}

/// A text that says of nothing that it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing that can be halted")]
pub struct HaltFault(String);

impl Halt {
    /// The word for what kind of thing it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Agent(_) => "agent",
            Self::Instance(..) => "instance",
            Self::Connector(_) => "connector",
            Self::Tool(_) => "tool",
        }
    }

    /// Whether it takes tools out of lists.
    pub fn hides_tools(&self) -> bool {
        matches!(self, Self::Connector(_) | Self::Tool(_))
    }

    /// Whether calls of this tool are stopped, whoever makes them.
    pub fn is_of_tool(&self, name: &QualifiedName) -> bool {
        match self {
            Self::Everything => true,
            Self::Connector(connector) => connector == name.connector(),
            Self::Tool(tool) => tool == name,
            Self::Agent(_) | Self::Instance(..) => false,
        }
    }

    /// Whether what this agent has is stopped.
    pub fn is_of_agent(&self, id: &AgentId, instance: Option<&str>) -> bool {
        match self {
            Self::Everything => true,
            Self::Agent(agent) => agent == id,
            // INVARIANT: whoever does not say which instance it is, may be the one: a halted one gains nothing by another credential.
            Self::Instance(agent, of) => agent == id && instance.is_none_or(|instance| is_named(instance, of)),
            Self::Connector(_) | Self::Tool(_) => false,
        }
    }

    /// Whether there are grants under which everything is stopped, and not only what somebody calls, or where.
    pub fn stops_grants(&self) -> bool {
        match self {
            Self::Everything | Self::Agent(_) => true,
            Self::Instance(..) | Self::Connector(_) | Self::Tool(_) => false,
        }
    }

    /// Whether what happens under this grant is stopped: it, or one above it, is of a halted agent.
    pub fn is_of_grant(&self, grant: &LiveGrant) -> bool {
        match self {
            Self::Everything => true,
            Self::Agent(agent) => grant.chain().any(|grant| grant.terms().agent == *agent),
            Self::Instance(..) | Self::Connector(_) | Self::Tool(_) => false,
        }
    }

    fn reaches(&self, subject: &Subject<'_>) -> bool {
        let Subject { principal, grant, tool } = subject;
        principal.is_some_and(|principal| self.is_of_agent(&principal.agent.id, principal.instance.as_deref()))
            || grant.is_some_and(|grant| self.is_of_grant(grant))
            || tool.is_some_and(|tool| self.is_of_tool(tool))
    }
}

/// Whether these words for an instance, one or several with `+` between, name this one.
fn is_named(instance: &str, of: &str) -> bool {
    instance == of || instance.split('+').any(|word| word == of)
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Agent(agent) => write!(f, "agent:{agent}"),
            Self::Instance(agent, instance) => write!(f, "instance:{agent}/{instance}"),
            Self::Connector(connector) => write!(f, "connector:{connector}"),
            Self::Tool(tool) => write!(f, "tool:{tool}"),
        }
    }
}

impl FromStr for Halt {
    type Err = HaltFault;
    fn from_str(given: &str) -> Result<Self, HaltFault> {
        let fault = || HaltFault(given.chars().take(80).collect());
        let Some((kind, what)) = given.split_once(':') else {
            return if given == "everything" { Ok(Self::Everything) } else { Err(fault()) };
        };
        match kind {
            "agent" => what.parse().map(Self::Agent).map_err(|_| fault()),
            "connector" => what.parse().map(Self::Connector).map_err(|_| fault()),
            "tool" => what.parse().map(Self::Tool).map_err(|_| fault()),
            // No id of an agent has a `/` in it.
            "instance" => match what.split_once('/').map(|(agent, instance)| (agent.parse(), instance)) {
                Some((Ok(agent), instance)) if is_instance(instance) => Ok(Self::Instance(agent, instance.to_owned())),
                _ => Err(fault()),
            },
            _ => Err(fault()),
        }
    }
}

/// Whether an instance may be called so.
fn is_instance(name: &str) -> bool {
    (1..=INSTANCE_BYTES).contains(&name.len()) && !name.chars().any(bailiwick_schemas::text::is_invisible)
}

/// What is asked about: as much of a call as is known.
#[derive(Clone, Copy, Default)]
pub(crate) struct Subject<'c> {
    pub(crate) principal: Option<&'c Principal>,
    pub(crate) grant: Option<&'c LiveGrant>,
    pub(crate) tool: Option<&'c QualifiedName>,
}

/// The halts in force.
#[derive(Default)]
struct InForce {
    halts: BTreeSet<Halt>,
    /// Which set of tools is taken out of lists. No number comes twice: what was made while one changed is taken for no other's.
    hidden: u64,
}

/// So many places for flights, so that calls on several threads don't wait for each other.
const SHARDS: usize = 16;

/// The halts in force, and the flights: the calls that are let out and not over.
///
/// Where no halt is in force, a call pays one atomic load for each look and one place in a shard of its own thread. What is in flight is
/// not made to listen to anything that all calls share: a halt goes through the shards and wakes those that it concerns, and no other.
pub struct Halts {
    /// Whether there is any. All that is read of the halts where there is none.
    any: AtomicBool,
    in_force: ArcSwap<InForce>,
    /// Counts the sets of hidden tools; held by whoever changes what is in force.
    changing: Mutex<u64>,
    /// Told of every change, for those few that wait for something else than an answer.
    changed: watch::Sender<u64>,
    shards: [Shard; SHARDS],
    /// Told when a write has ended that a halt waits for.
    landed: Notify,
}

#[derive(Default)]
struct Shard(Mutex<Places>);

#[derive(Default)]
struct Places {
    all: Vec<Option<Entry>>,
    free: Vec<usize>,
}

/// One call in flight.
struct Entry {
    grant: Arc<LiveGrant>,
    principal: Principal,
    tool: Option<Arc<Tool>>,
    /// Whether something may still be written downstream for it.
    writes: bool,
    /// Whether somebody waits for its answer.
    attended: bool,
    struck: Option<Halt>,
    waker: Option<Waker>,
    since: Instant,
    /// The call that it is, where it said so.
    call: Option<CallId>,
}

/// A call in flight, as operators see it.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// The call; none of a look at what a server offers.
    pub call: Option<CallId>,
    /// Whose.
    pub agent: AgentId,
    /// Of which copy of it.
    pub instance: Option<String>,
    /// Under which grant.
    pub grant: GrantId,
    /// The tool.
    pub tool: Option<QualifiedName>,
    /// For how long.
    pub age: Duration,
    /// Whether something may still be written downstream for it.
    pub writes: bool,
    /// Whether somebody waits for its answer.
    pub attended: bool,
    /// Whether a halt reached it.
    pub struck: bool,
}

impl Entry {
    fn seen(&self, now: Instant) -> InFlight {
        InFlight {
            call: self.call.clone(),
            agent: self.principal.agent.id.clone(),
            instance: self.principal.instance.as_deref().map(str::to_owned),
            grant: self.grant.terms().id.clone(),
            tool: self.tool.as_ref().map(|tool| tool.name.clone()),
            age: now.saturating_duration_since(self.since),
            writes: self.writes,
            attended: self.attended,
            struck: self.struck.is_some(),
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject { principal: Some(&self.principal), grant: Some(&self.grant), tool: self.tool.as_ref().map(|tool| &tool.name) }
    }
}

impl Default for Halts {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            in_force: ArcSwap::default(),
            changing: Mutex::default(),
            changed: watch::Sender::default(),
            shards: std::array::from_fn(|_| Shard::default()),
            landed: Notify::new(),
        }
    }
}

impl Halts {
    /// Puts a halt in force: from the first moment on nothing that it reaches is let out, and what is in flight is woken to end. Says
    /// whether it was not in force before. What is being written is waited for by [`Halts::drained`].
    pub fn put(&self, halt: &Halt) -> bool {
        let is_new = self.change(halt, |halts| halts.insert(halt.clone()));
        for shard in &self.shards {
            let mut woken = Vec::new();
            let mut places = shard.lock();
            for entry in places.all.iter_mut().flatten().filter(|entry| entry.struck.is_none()) {
                if halt.reaches(&entry.subject()) {
                    entry.struck = Some(halt.clone());
                    woken.extend(entry.waker.take());
                }
            }
            drop(places);
            woken.into_iter().for_each(Waker::wake);
        }
        is_new
    }

    /// Lifts a halt. Says whether it was in force. What it struck stays struck.
    pub fn lift(&self, halt: &Halt) -> bool {
        self.change(halt, |halts| halts.remove(halt))
    }

    /// Waits until nothing is being written downstream any more that this halt reaches; false if that took longer than `patience`.
    pub async fn drained(&self, halt: &Halt, patience: Duration) -> bool {
        let drained = async {
            loop {
                let landed = self.landed.notified();
                tokio::pin!(landed);
                landed.as_mut().enable();
                if !self.shards.iter().any(|shard| shard.writes(halt)) {
                    return;
                }
                landed.await;
            }
        };
        tokio::time::timeout(patience, drained).await.is_ok()
    }

    /// The halts in force.
    pub fn in_force(&self) -> Vec<Halt> {
        self.in_force.load().halts.iter().cloned().collect()
    }

    /// How many calls are in flight now.
    pub fn flights(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().all.iter().flatten().count()).sum()
    }

    /// The calls that are in flight now, the oldest first.
    pub fn in_flight(&self) -> Vec<InFlight> {
        let now = Instant::now();
        let mut all: Vec<InFlight> = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().all.iter().flatten().map(|entry| entry.seen(now)));
        }
        all.sort_by_key(|flight| std::cmp::Reverse(flight.age));
        all
    }

    /// What stops it, if anything does.
    pub(crate) fn stopping(&self, subject: &Subject<'_>) -> Option<Halt> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.in_force.load().halts.iter().find(|halt| halt.reaches(subject)).cloned()
    }

    /// Whether a tool is taken out of lists.
    pub(crate) fn hides(&self, name: &QualifiedName) -> bool {
        let is_it = |halt: &Halt| halt.hides_tools() && halt.is_of_tool(name);
        self.any.load(Ordering::Acquire) && self.in_force.load().halts.iter().any(is_it)
    }

    /// Which tools are taken out of lists: another number, other tools.
    pub(crate) fn hidden(&self) -> u64 {
        self.in_force.load().hidden
    }

    /// Returns once something stops it.
    pub(crate) async fn reached(&self, subject: &Subject<'_>) -> Halt {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(halt) = self.stopping(subject) {
                return halt;
            }
            if changed.changed().await.is_err() {
                // It ends with this, and never before.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Lets a call out: it is in flight until both are dropped that are returned. What is stopped is not let out.
    pub(crate) fn enter(
        self: &Arc<Self>,
        principal: &Principal,
        grant: &Arc<LiveGrant>,
        tool: Option<&Arc<Tool>>,
    ) -> Result<(Flight, Writing), Halt> {
        let entry = Entry {
            grant: Arc::clone(grant),
            principal: principal.clone(),
            tool: tool.map(Arc::clone),
            writes: true,
            attended: true,
            struck: None,
            waker: None,
            since: Instant::now(),
            call: None,
        };
        let shard = shard_of_thread();
        let place = Place { halts: Arc::clone(self), shard, at: self.shard(shard).map_or(0, |shard| shard.take(entry)) };
        let (flight, writing) = (Flight(place.clone()), Writing(place));
        let subject = Subject { principal: Some(principal), grant: Some(grant), tool: tool.map(|tool| &tool.name) };
        match self.stopping(&subject) {
            Some(halt) => Err(halt),
            None => Ok((flight, writing)),
        }
    }

    fn change(&self, halt: &Halt, change: impl FnOnce(&mut BTreeSet<Halt>) -> bool) -> bool {
        let mut count = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.in_force.load();
        let mut halts = before.halts.clone();
        if !change(&mut halts) {
            return false;
        }
        *count += 1;
        let hidden = if halt.hides_tools() { *count } else { before.hidden };
        // Of two that say when to look and what to see, the one that says less is last when something is lifted.
        let any = !halts.is_empty();
        self.in_force.store(Arc::new(InForce { halts, hidden }));
        self.any.store(any, Ordering::SeqCst);
        self.changed.send_replace(*count);
        true
    }

    fn shard(&self, at: usize) -> Option<&Shard> {
        self.shards.get(at)
    }
}

impl fmt::Debug for Halts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Halts").field("in_force", &self.in_force()).field("flights", &self.flights()).finish()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Places> {
        // A panic while it was held leaves places that are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, entry: Entry) -> usize {
        let mut places = self.lock();
        let at = places.free.pop().unwrap_or(places.all.len());
        match places.all.get_mut(at) {
            Some(place) => *place = Some(entry),
            None => places.all.push(Some(entry)),
        }
        at
    }

    fn writes(&self, halt: &Halt) -> bool {
        self.lock().all.iter().flatten().any(|entry| entry.writes && halt.reaches(&entry.subject()))
    }
}

impl Places {
    /// Changes an entry; nobody needs it any more once it is neither attended nor written.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Entry)) -> Option<Entry> {
        let place = self.all.get_mut(at)?;
        let entry = place.as_mut()?;
        change(entry);
        if entry.writes || entry.attended {
            return None;
        }
        let over = place.take();
        self.free.push(at);
        over
    }
}

/// The place of a flight.
#[derive(Clone)]
struct Place {
    halts: Arc<Halts>,
    shard: usize,
    at: usize,
}

impl Place {
    fn with<T>(&self, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut places = self.halts.shard(self.shard)?.lock();
        places.all.get_mut(self.at)?.as_mut().map(look)
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let over = self.halts.shard(self.shard).and_then(|shard| shard.lock().change(self.at, change));
        // What it held goes without the lock.
        drop(over);
    }
}

/// A call in flight, for whoever waits for its answer. Dropped, nobody does any more.
pub(crate) struct Flight(Place);

impl Flight {
    /// Says which call it is.
    pub(crate) fn is_of(&self, call: &CallId) {
        self.0.with(|entry| entry.call = Some(call.clone()));
    }

    /// The halt that reached it, if one did.
    pub(crate) fn halt(&self) -> Option<Halt> {
        self.0.with(|entry| entry.struck.clone()).flatten()
    }

    /// Returns once a halt reaches it. For one waiter at a time.
    pub(crate) fn struck(&self) -> impl Future<Output = Halt> + Send {
        std::future::poll_fn(|context| self.poll_struck(context))
    }

    fn poll_struck(&self, context: &mut Context<'_>) -> Poll<Halt> {
        let looked = self.0.with(|entry| {
            if entry.struck.is_none() && !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                entry.waker = Some(context.waker().clone());
            }
            entry.struck.clone()
        });
        looked.flatten().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.change(|entry| {
            entry.attended = false;
            entry.waker = None;
        });
    }
}

/// That something may still be written downstream, until dropped.
pub(crate) struct Writing(Place);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.change(|entry| entry.writes = false);
        // Whoever waits for it has put a halt in force first.
        if self.0.halts.any.load(Ordering::Acquire) {
            self.0.halts.landed.notify_waiters();
        }
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("shard", &self.0.shard).field("at", &self.0.at).finish()
    }
}

/// The shard that calls on this thread are in.
fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}

#[cfg(test)]
mod tests;
