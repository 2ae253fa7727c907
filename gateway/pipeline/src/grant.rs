//! Task grants: what one agent may do for one task, and the live state that goes with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bailiwick_policy::{Band, GrantFacts, Kind};
use bailiwick_schemas::names::{ConnectorId, QualifiedName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::spending::Purse;
use crate::{
    catalogue::{Tool, World},
    constraint::Bound,
    detect::{Detections, Watched},
    halts::Writing,
    ids::{AgentId, GrantId},
    pace::Pace,
    prepared::Prepared,
};

pub use bailiwick_policy::Labels;

pub use self::{
    extension::{Extended, Extension, MOST_EXTENSIONS, Meant, Rights},
    spending::{Exhausted, Spend, Spent},
    within::Excess,
};

/// Which tools: one by its name, or all of one connector; or a feature by its name. Nothing else, so that "is this inside that" stays
/// decidable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ToolPattern {
    /// `connector__tool`, or `connector/resource_read` for a feature.
    Tool(QualifiedName),
    /// `connector__*`: all tools, and no feature.
    Connector(ConnectorId),
}

/// Why a text is no tool pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a tool pattern: write `connector__tool`, or `connector__*` for all tools of a connector, or a feature of it as \
     `connector/resource_read`, `connector/prompt_get` or `connector/complete`"
)]
pub struct PatternFault(String);

impl ToolPattern {
    /// Whether the tool of this name is meant.
    pub fn covers(&self, name: &QualifiedName) -> bool {
        match self {
            Self::Tool(tool) => tool == name,
            Self::Connector(connector) => connector == name.connector() && name.tool().is_some(),
        }
    }

    /// The connector that the pattern speaks of.
    pub fn connector(&self) -> &ConnectorId {
        match self {
            Self::Tool(tool) => tool.connector(),
            Self::Connector(connector) => connector,
        }
    }
}

impl FromStr for ToolPattern {
    type Err = PatternFault;
    fn from_str(given: &str) -> Result<Self, PatternFault> {
        let fault = || PatternFault(given.chars().take(80).collect());
        match given.strip_suffix("__*") {
            Some(connector) => connector.parse().map(Self::Connector).map_err(|_| fault()),
            None => given.parse().map(Self::Tool).map_err(|_| fault()),
        }
    }
}

impl TryFrom<String> for ToolPattern {
    type Error = PatternFault;
    fn try_from(given: String) -> Result<Self, PatternFault> {
        given.parse()
    }
}

impl From<ToolPattern> for String {
    fn from(pattern: ToolPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(tool) => write!(f, "{tool}"),
            Self::Connector(connector) => write!(f, "{connector}__*"),
        }
    }
}

/// One right inside a grant: tools, the kinds of them, and the bounds on their arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Which tools.
    pub tools: ToolPattern,
    /// Only tools of these kinds; not set means any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<Kind>>,
    /// Bounds by JSON pointer (RFC 6901) into the arguments; all must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Bound>,
}

impl Capability {
    /// Whether a tool of this name and kind is meant, whatever its arguments.
    pub fn covers(&self, name: &QualifiedName, kind: Kind) -> bool {
        self.tools.covers(name) && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// The bounds that these arguments break: pointer and bound of each.
    pub fn broken_by<'c>(&'c self, arguments: &Value) -> Vec<(&'c str, &'c Bound)> {
        let broken = |(pointer, bound): &(&'c String, &'c Bound)| !bound.admits(arguments.pointer(pointer));
        self.args.iter().filter(broken).map(|(pointer, bound)| (pointer.as_str(), bound)).collect()
    }
}

/// How much a grant may be used. A number that is not set is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Calls in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Calls of any kind but `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u64>,
    /// Bytes of arguments sent to servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// What calls cost, in the units that the admin priced tools in; a tool that nobody priced costs 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// Calls of some tools: by pattern, all that it means together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<ToolPattern, u64>,
}

/// The terms of a grant: fixed when it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub struct Grant {
    /// Its id: public, what logs carry.
    pub id: GrantId,
    /// Counts reissues of the same id: an approval given under one revision is not good under another.
    pub revision: u64,
    /// The only agent that may act under it.
    pub agent: AgentId,
    /// The person or team accountable for it.
    pub owner: String,
    /// The task, in the owner's words.
    pub purpose: String,
    /// The rights.
    pub capabilities: Vec<Capability>,
    /// The highest band it reaches.
    pub ceiling: Band,
    /// The environment it is for.
    pub environment: String,
    /// From when, unix milliseconds.
    pub not_before_ms: u64,
    /// Until when, unix milliseconds.
    pub expires_at_ms: u64,
    /// How much.
    pub budget: Budget,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
    /// Whether its agent is listed two tools to look for the others by, instead of all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tool_search: bool,
    /// The grant that it was handed on from; none where an operator or the configuration made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<GrantId>,
    /// How many levels of grants may be handed on from it: 0 is none. At most [`DEEPEST`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delegation_depth: u8,
    /// The classes of data that it may touch: connectors' words (`sensitivity`) and what results are marked with. None is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_classes: Option<BTreeSet<String>>,
    /// The domains that it may send data to, each with those below it. None is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destinations: Option<BTreeSet<String>>,
    /// It ends when it was not used for so long, milliseconds. None is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Calls in a second, and twice as many at once. None is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<u32>,
    /// Where the task is written down: a ticket, a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Who made it: an operator, or the agent that handed it on. None where the configuration did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Whether its agent is listed a tool to say that the task is done by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_complete: bool,
    /// Whether its agent is listed a tool to ask for more tools by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_request: bool,
    /// Whether it comes from the configuration (and is reissued from there) or was created.
    pub from_config: bool,
}

impl Grant {
    /// The terms of a grant of these rights from then to then, in band `low`, and of nothing else: nobody is accountable, and there is no
    /// budget, no bound and no chain until somebody says so.
    pub fn bare(id: GrantId, agent: AgentId, capabilities: Vec<Capability>, lifetime_ms: Range<u64>) -> Self {
        Self {
            id,
            revision: 1,
            agent,
            owner: String::new(),
            purpose: String::new(),
            capabilities,
            ceiling: Band::Low,
            environment: ANY_ENVIRONMENT.to_owned(),
            not_before_ms: lifetime_ms.start,
            expires_at_ms: lifetime_ms.end,
            budget: Budget::default(),
            default: false,
            tool_search: false,
            parent: None,
            delegation_depth: 0,
            data_classes: None,
            destinations: None,
            idle_ms: None,
            max_rate: None,
            ticket: None,
            created_by: None,
            may_complete: false,
            may_request: false,
            from_config: false,
        }
    }

    /// Whether it covers this tool, whatever its arguments.
    pub fn covers(&self, tool: &Tool) -> bool {
        self.reaches(tool) && self.capabilities.iter().any(|capability| capability.covers(&tool.name, tool.kind))
    }

    /// Whether this tool is inside what bounds all of its rights: its ceiling, its environment, its data classes and destinations.
    pub fn reaches(&self, tool: &Tool) -> bool {
        let facts = &tool.connector.facts;
        tool.band <= self.ceiling
            && is_environment(&self.environment, &facts.environment)
            && self.data_classes.as_ref().is_none_or(|classes| classes.contains(&facts.sensitivity))
            && self.may_touch(tool.labels_of_any())
            && (self.destinations.is_none() || tool.destination.is_some() || tool.kind != Kind::Exfiltrate)
    }

    /// Whether it covers a call of this tool that sends its data where these arguments say. Where nothing says that, it is not covered.
    pub(crate) fn sends_within(&self, tool: &Tool, arguments: &Value) -> bool {
        let Some(allowed) = &self.destinations else { return true };
        let Some(destination) = &tool.destination else { return tool.kind != Kind::Exfiltrate };
        destination.is_within(allowed, arguments)
    }

    /// Whether it covers data with these labels.
    pub(crate) fn may_touch(&self, labels: Labels) -> bool {
        let Some(classes) = &self.data_classes else { return true };
        labels.of_data().names().all(|label| classes.contains(label))
    }
}

/// The environment of whatever names none.
pub const ANY_ENVIRONMENT: &str = "default";

/// Whether a connector of this environment is there for a grant of that one. One that names none is there for all.
fn is_environment(of_grant: &str, of_connector: &str) -> bool {
    of_connector == of_grant || of_connector == ANY_ENVIRONMENT || of_connector.is_empty()
}

/// No chain of grants is deeper: four hops from the first one.
pub const DEEPEST: u8 = 4;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// What becomes of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// It may be used, within its lifetime.
    Active,
    /// The task is done.
    Completed,
    /// Taken back.
    Revoked,
    /// Its lifetime is over.
    Expired,
}

impl GrantState {
    /// The word used in records and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// What changes about a grant while it lives. Held under its one lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: GrantState,
    /// Calls that happened under it.
    pub calls: u64,
    /// Calls of any kind but `read`.
    pub writes: u64,
    /// What it has touched.
    pub labels: Labels,
}

impl Standing {
    /// The standing of a grant nobody has used.
    pub fn fresh() -> Self {
        Self { state: GrantState::Active, calls: 0, writes: 0, labels: Labels::NONE }
    }
}

/// The standing of a grant, to be looked at without its lock.
#[derive(Default)]
struct Seen {
    is_active: AtomicBool,
    labels: AtomicU64,
    calls: AtomicU64,
    writes: AtomicU64,
}

impl Seen {
    fn publish(&self, standing: &Standing) {
        self.is_active.store(standing.state == GrantState::Active, Ordering::Release);
        self.labels.store(standing.labels.word(), Ordering::Release);
        self.calls.store(standing.calls, Ordering::Release);
        self.writes.store(standing.writes, Ordering::Release);
    }

    fn glance(&self) -> Standing {
        Standing {
            state: if self.is_active.load(Ordering::Acquire) { GrantState::Active } else { GrantState::Revoked },
            calls: self.calls.load(Ordering::Acquire),
            writes: self.writes.load(Ordering::Acquire),
            labels: self.labels(),
        }
    }

    fn labels(&self) -> Labels {
        Labels::of_word(self.labels.load(Ordering::Acquire))
    }
}

/// A grant in use: its terms, its standing, and the guard of its way out.
pub struct LiveGrant {
    terms: Grant,
    facts: GrantFacts,
    standing: Mutex<Standing>,
    seen: Seen,
    /// The labels that its calls have brought to all who must have them: word of a set.
    spread: AtomicU64,
    purse: Purse,
    /// Counts what may have changed its usage, each before it does.
    changes: AtomicU64,
    pace: Pace,
    guard: SendGuard,
    parent: Option<Arc<LiveGrant>>,
    extended: extension::Held,
    prepared: ArcSwapOption<Prepared>,
    /// What detections keep of it, from its first call on.
    watched: OnceLock<Box<Watched>>,
}

impl LiveGrant {
    /// Brings a grant to life with the standing it had, and nothing spent beside that.
    pub fn new(terms: Grant, standing: Standing, parent: Option<Arc<LiveGrant>>) -> Self {
        Self::with_spent(terms, standing, Spent::default(), parent)
    }

    /// The same, with what was spent of it.
    pub fn with_spent(terms: Grant, standing: Standing, spent: Spent, parent: Option<Arc<LiveGrant>>) -> Self {
        let facts = GrantFacts {
            id: terms.id.to_string(),
            agent: terms.agent.to_string(),
            owner: terms.owner.clone(),
            purpose: terms.purpose.clone(),
            environment: terms.environment.clone(),
            ceiling: terms.ceiling,
            depth: parent.as_ref().map_or(0, |parent| parent.facts.depth.saturating_add(1)),
            delegators: parent.iter().flat_map(|parent| parent.chain().map(|grant| grant.terms.agent.to_string())).collect(),
            data_classes: terms.data_classes.iter().flatten().cloned().collect(),
        };
        let cancel = parent.as_ref().map_or_else(CancellationToken::new, |parent| parent.guard.cancel.child_token());
        let guard = SendGuard { cancel, ..SendGuard::default() };
        if standing.state != GrantState::Active {
            guard.close();
        }
        let seen = Seen::default();
        seen.publish(&standing);
        let (standing, purse, prepared) = (Mutex::new(standing), Purse::of(spent), ArcSwapOption::empty());
        let spread = AtomicU64::new(Labels::NONE.word());
        let (changes, pace, extended) = (AtomicU64::new(0), Pace::default(), extension::Held::of(terms.revision));
        let watched = OnceLock::new();
        Self { terms, facts, standing, seen, spread, purse, changes, pace, guard, parent, extended, prepared, watched }
    }

    /// Its terms.
    pub fn terms(&self) -> &Grant {
        &self.terms
    }

    /// What policies may know about it.
    pub fn facts(&self) -> &GrantFacts {
        &self.facts
    }

    /// This grant before a world: put there once, for as long as that world stays; none if it can't be, which denies.
    pub(crate) fn prepared(&self, world: &Arc<World>) -> Option<Arc<Prepared>> {
        if let Some(ready) = self.prepared.load_full().filter(|ready| ready.is_of(world)) {
            return Some(ready);
        }
        let fresh = Arc::new(Prepared::new(&self.facts, world)?);
        self.prepared.store(Some(Arc::clone(&fresh)));
        Some(fresh)
    }

    /// The grant that it was handed on from.
    pub fn parent(&self) -> Option<&Arc<LiveGrant>> {
        self.parent.as_ref()
    }

    /// How many hops it is below the first one: 0 for one that no agent handed on.
    pub fn depth(&self) -> u32 {
        self.facts.depth
    }

    /// This grant and its ancestors, nearest first.
    pub fn chain(&self) -> impl Iterator<Item = &LiveGrant> {
        std::iter::successors(Some(self), |grant| grant.parent.as_deref())
    }

    /// Whether tools are looked for under it instead of listed: it says so itself, or one above it does.
    pub fn has_tool_search(&self) -> bool {
        self.chain().any(|grant| grant.terms.tool_search)
    }

    /// What was spent of it, beyond calls and writes.
    pub fn spent(&self) -> Spent {
        self.purse.spent()
    }

    /// The bytes that were sent under it, and what its calls have cost.
    pub(crate) fn sums(&self) -> (u64, u64) {
        self.purse.sums()
    }

    /// What is left of its budget.
    pub fn left(&self) -> Budget {
        self.terms.budget.left(&self.standing(), &self.spent())
    }

    /// Whether this tool was ever called under it.
    pub fn has_used(&self, tool: &QualifiedName) -> bool {
        self.purse.has_used(tool)
    }

    /// What the amounts of a detection have come to under it.
    pub(crate) fn summed(&self, detection: &str) -> u64 {
        self.purse.summed(detection)
    }

    /// What detections keep of it.
    pub(crate) fn watched(&self, detections: &Detections) -> &Watched {
        self.watched.get_or_init(|| Box::new(Watched::of(self, detections)))
    }

    /// When it was used last, unix milliseconds; 0 for never.
    pub fn last_used_ms(&self) -> u64 {
        self.purse.last_used_ms()
    }

    /// Whether nothing can be done under it any more, and nothing under way is being written.
    pub fn is_used_up(&self) -> bool {
        self.terms.budget.is_used_up(&self.standing(), &self.spent()) && self.guard.count.load(Ordering::SeqCst) == 0
    }

    /// Whether one more call comes in time, by its rate.
    pub(crate) fn admits_now(&self, now_ns: u64) -> bool {
        self.pace.admits(self.terms.max_rate, now_ns)
    }

    /// It is in use: it is not idle.
    pub(crate) fn used_at(&self, now_ms: u64) {
        for grant in self.chain() {
            grant.purse.used_at(now_ms);
        }
    }

    /// Whether its budget has room for this call. Its standing is locked meanwhile.
    pub(crate) fn has_room(&self, standing: &Standing, spend: &Spend<'_>) -> Result<(), Exhausted> {
        self.purse.admits(&self.terms.budget, standing, spend)
    }

    /// Takes what the call costs. Its standing is locked meanwhile.
    pub(crate) fn debit(&self, standing: &mut Standing, spend: &Spend<'_>) {
        standing.calls = standing.calls.saturating_add(1);
        standing.writes = standing.writes.saturating_add(u64::from(spend.has_effect));
        self.purse.debit(&self.terms.budget, spend);
    }

    /// Its standing now.
    pub fn standing(&self) -> Standing {
        *self.lock()
    }

    /// Its standing as of a moment ago, without a lock: a commit holds that while it writes. Counters may be of different moments. For
    /// whoever is asked again, under the lock, before it counts.
    pub(crate) fn glance(&self) -> Standing {
        self.seen.glance()
    }

    /// Makes a change of the standing known to [`LiveGrant::glance`]. Whoever changes it calls this before the lock goes.
    pub(crate) fn publish(&self, standing: &Standing) {
        self.seen.publish(standing);
    }

    /// Its standing, locked: for the commit and for what ends or labels a grant.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Standing> {
        // A panic while it was held leaves plain numbers and flags: they stay true.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be used at this time, and so may every ancestor.
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.chain().all(|grant| {
            grant.seen.is_active.load(Ordering::Acquire)
                && grant.terms.not_before_ms <= now_ms
                && now_ms < grant.terms.expires_at_ms
                && !grant.is_idle(now_ms)
        })
    }

    /// Whether it was idle for too long.
    pub fn is_idle(&self, now_ms: u64) -> bool {
        self.terms.idle_ms.is_some() && self.terms.is_idle(self.purse.last_used_ms(), now_ms)
    }

    /// How often its usage may have changed: whoever stored that reads this first, and finds by it whether there is more to store.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Its usage is about to change. Said under its lock, before anything is on record that the change follows from.
    pub(crate) fn will_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Joins labels to this task and to its ancestors, at once. Who has them already is not waited for.
    pub fn touch(&self, labels: Labels) {
        // Labels are never taken back: what is seen without the lock is still so.
        for grant in self.chain().filter(|grant| !grant.seen.labels().contains(labels)) {
            let mut standing = grant.lock();
            grant.will_change();
            standing.labels = standing.labels.join(labels);
            grant.publish(&standing);
        }
    }

    /// Whether these labels were brought to all other grants that must have them: those that were there then. Later ones began with them.
    pub(crate) fn has_spread(&self, labels: Labels) -> bool {
        Labels::of_word(self.spread.load(Ordering::Acquire)).contains(labels)
    }

    /// They were: it has them itself, and all others that were there when it got them.
    pub(crate) fn spread(&self, labels: Labels) {
        self.spread.fetch_or(labels.word(), Ordering::AcqRel);
    }

    /// What has ended it: the nearest of itself and its ancestors that is no longer active, and how.
    pub(crate) fn end_of_chain(&self) -> (&GrantId, GrantState) {
        let ended =
            self.chain().map(|grant| (&grant.terms.id, grant.standing().state)).find(|(_, state)| *state != GrantState::Active);
        ended.unwrap_or((&self.terms.id, GrantState::Expired))
    }

    /// Ends the grant: from here on nothing is authorized under it, and calls in flight are cancelled. Says whether it was
    /// active. What has begun to be written downstream is waited for by [`LiveGrant::drained`].
    pub fn end(&self, state: GrantState) -> bool {
        let mut standing = self.lock();
        let was_active = standing.state == GrantState::Active;
        if was_active {
            standing.state = state;
            self.publish(&standing);
        }
        drop(standing);
        self.guard.close();
        was_active
    }

    /// Waits until no write under this grant is under way; false if that took longer than `patience`.
    pub async fn drained(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.guard.drained()).await.is_ok()
    }

    /// Cancelled when the grant ends.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.guard.cancel
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Option<SendPass> {
        for grant in self.chain() {
            grant.guard.count.fetch_add(1, Ordering::SeqCst);
        }
        let pass = SendPass { grant: Arc::clone(self), writing: None };
        // Counted first, asked second: `end` closes first and waits for the count second, so one of the two sees the other.
        // The token of a child is cancelled with its parent's.
        (!self.guard.cancel.is_cancelled()).then_some(pass)
    }
}

impl fmt::Debug for LiveGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveGrant").field("id", &self.terms.id).field("standing", &self.standing()).finish_non_exhaustive()
    }
}

/// Closed by the end of a grant, and drained: after that no write downstream begins under it.
#[derive(Default)]
struct SendGuard {
    count: AtomicUsize,
    idle: Notify,
    cancel: CancellationToken,
}

impl SendGuard {
    fn close(&self) {
        self.cancel.cancel();
    }

    async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// Leave to write one call downstream. Dropped when the write is done.
#[derive(Debug)]
pub struct SendPass {
    grant: Arc<LiveGrant>,
    /// What halts wait for.
    writing: Option<Writing>,
}

impl SendPass {
    /// The same, and halts wait for it too.
    pub(crate) fn in_flight(mut self, writing: Writing) -> Self {
        self.writing = Some(writing);
        self
    }
}

impl Drop for SendPass {
    fn drop(&mut self) {
        // First: what waits for the grant finds nothing in flight any more.
        drop(self.writing.take());
        for grant in self.grant.chain() {
            if grant.guard.count.fetch_sub(1, Ordering::SeqCst) == 1 {
                grant.guard.idle.notify_waiters();
            }
        }
    }
}

mod extension;
mod spending;
#[cfg(test)]
mod tests;
mod within;
