//! The live grants: in memory what counts now, in the store what survives a restart.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    grant::{DEEPEST, Excess, Extended, Grant, GrantState, Labels, LiveGrant, Spent, Standing},
    ids::{AgentId, GrantId},
    ports::Grants,
};
use dashmap::DashMap;

use crate::{
    fault::{StoreFault, WriteFault},
    store::Store,
};

mod config;
mod extend;
mod rows;
#[cfg(test)]
mod tests;
mod usage;

pub use config::{ConfigChange, ConfigSync};
pub use extend::Narrowed;
use rows::{Row, Usage};
pub use usage::ReplayedIntent;
use usage::Used;

/// How long [`LiveGrants::end`] waits for what is being written downstream.
const PATIENCE: Duration = Duration::from_secs(5);

/// An ended grant is listed for so long: 30 days. Those of the configuration are kept, so that a revoked one stays revoked.
const REMEMBERED_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// One that was handed on is listed for an hour after its end: agents make them, as many as they like one after the other. The trail has
/// what became of it.
const HANDED_ON_REMEMBERED_MS: u64 = 60 * 60 * 1000;

/// An ended grant is found by its agent for so long, in milliseconds: enough to tell the agent that it has ended. A default one is
/// found for as long as it is listed, so that its agent is moved to no other grant.
const FOUND_BY_AGENT_MS: u64 = 60 * 60 * 1000;

/// How a person or an agent ends a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndAs {
    /// The task is done.
    Completed,
    /// It is taken back.
    Revoked,
}

/// Grants that one may be handed on to directly, and all that stand below the first one of a chain.
pub(crate) const MOST_BELOW: usize = 100;
const MOST_IN_ALL: usize = 1000;

/// What each grant may say at most: each call looks at all of it.
const MOST_CAPABILITIES: usize = 1000;
const MOST_BUDGETED_TOOLS: usize = 100;

/// A grant with nothing left of its budget ends when it was not used for so long, milliseconds: what a call is still waiting for may come.
const USED_UP_MS: u64 = 10 * 60 * 1000;

/// Who ended a grant, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// By whom; nobody for an expiry or a change of the configuration.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Ending {
    /// Whether it counts in the place of that one. What somebody says counts over an expiry or a change of the configuration: after
    /// those a grant of the configuration is issued anew, after somebody's word it is not.
    fn replaces(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| other.by.is_none() && self.by.is_some())
    }
}

/// A grant, as lists show it.
#[derive(Debug, Clone)]
pub struct GrantEntry {
    /// The grant: its terms and its standing.
    pub grant: Arc<LiveGrant>,
    /// When it was made, unix milliseconds.
    pub created_at_ms: u64,
    /// Its end, if it has ended.
    pub ending: Option<Ending>,
}

/// What ending a grant came to. No call is authorized under it any more, whatever this says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether it was active until now.
    pub was_active: bool,
    /// Whether what was being written downstream has ended; if not, a write that began before is still under way.
    pub drained: bool,
    /// What had been handed on from it, at any depth, and ended with it.
    pub fell: Vec<GrantId>,
}

/// What a sweep of the grants came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Swept {
    /// The grants that ended now: nothing is authorized under them any more, whatever became of storing that.
    pub ended: Vec<GrantId>,
    /// Whether it is stored.
    pub stored: Result<(), WriteFault>,
}

/// Why a grant could not be made or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantFault {
    /// There is one of this id already.
    #[error("there is a grant `{0}` already: choose another id")]
    Exists(GrantId),
    /// Its lifetime is over before it begins.
    #[error("grant `{0}` would have expired already: choose a later end")]
    Over(GrantId),
    /// It would reach beyond the grant that it is handed on from.
    #[error("grant `{parent}` can't be handed on so: {}", .excess.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Exceeds {
        /// The grant above.
        parent: GrantId,
        /// On which axes, and what would fit.
        excess: Vec<Excess>,
    },
    /// Nothing can be added to it.
    #[error("grant `{0}` can't be extended: it has ended, or is not live yet")]
    NotExtendable(GrantId),
    /// The grant above is not live.
    #[error("grant `{0}` can't be handed on: it has ended, or is not live yet")]
    NotLive(GrantId),
    /// There is no end of grants below one.
    #[error(
        "grant `{0}` can't be handed on: {MOST_BELOW} grants stand directly below it, or {MOST_IN_ALL} below the first of its chain; complete some"
    )]
    TooMany(GrantId),
    /// It says more than can be looked at for each call.
    #[error("grant `{id}` has {number} {what}, and may have {most}: say it in fewer patterns, such as `tickets__*`")]
    TooLong {
        /// The grant.
        id: GrantId,
        /// Of what.
        what: &'static str,
        /// How many it has.
        number: usize,
        /// How many it may have.
        most: usize,
    },
    /// The agent has the task already.
    #[error("grant `{parent}` can't be handed on to `{agent}`, who stands in its chain already")]
    Circle {
        /// The grant above.
        parent: GrantId,
        /// The agent.
        agent: AgentId,
    },
    /// None of this id.
    #[error("there is no grant `{0}`: `bailiwick grants list` shows them")]
    Unknown(GrantId),
    /// The configuration names one that was created at run time.
    #[error("grant `{0}` of the configuration was created already by `grants create`: choose another id for one of them")]
    Clash(GrantId),
    /// It could not be stored.
    #[error(transparent)]
    Write(#[from] WriteFault),
}

struct Held {
    entry: GrantEntry,
    /// How often its usage had changed when the store got it; none where the store may have another.
    flushed: Option<u64>,
    /// What was used under an issue that has been lost.
    used_later: Used,
    /// Its extensions as the store has them.
    extended: Extended,
}

/// A grant that has ended in memory.
pub(super) struct Closed {
    grant: Arc<LiveGrant>,
    was_active: bool,
    /// To be written.
    row: rows::Ended,
}

/// All grants: read by every call, changed by few.
pub struct LiveGrants {
    store: Store,
    grants: DashMap<GrantId, Held>,
    by_agent: DashMap<AgentId, BTreeSet<GrantId>>,
    /// What was handed on directly from a grant and has not ended.
    below: DashMap<GrantId, BTreeSet<GrantId>>,
    /// The trail's cursor as the store has it.
    cursor: AtomicU64,
    /// When what ended long ago was looked for last, unix milliseconds.
    forgot_ms: AtomicU64,
    /// Whoever makes or ends grants holds it while memory changes and the change is queued: so the store follows in the same order.
    changing: Mutex<()>,
    /// Moves when a grant is made, changed, ended or forgotten.
    changes: AtomicU64,
}

impl LiveGrants {
    /// Reads all grants, and debits the intents that the store hasn't counted yet.
    ///
    /// The intents must be those after [`Store::trail_cursor`]. A grant of a later revision than the intent's is not debited.
    /// [Flush](Self::flush) at once with the trail's last place: after a loss of power the stored cursor may be ahead of a trail whose
    /// last reads were not synced, and intents written at those places anew would not be counted.
    pub fn load(store: &Store, intents: &[ReplayedIntent]) -> Result<Self, StoreFault> {
        let grants: DashMap<GrantId, Held> = DashMap::new();
        let mut rows = rows::load(&store.read())?;
        rows::parents_first(&mut rows);
        let touched = usage::touched(&rows, intents);
        let extensions = extend::load(&store.read())?;
        for mut row in rows {
            let stored = Usage::of(&row.standing, row.spent.clone());
            let parent = row.terms.parent.as_ref().and_then(|id| grants.get(id).map(|held| Arc::clone(&held.entry.grant)));
            if row.terms.parent.is_some() && parent.is_none() && row.ending.is_none() {
                // Whatever became of the grant above: nobody vouches for this one.
                row.standing.state = GrantState::Revoked;
                row.ending =
                    Some(Ending { at_ms: row.created_at_ms, by: None, reason: Some("the grant above it is gone".to_owned()) });
            }
            let (mut standing, spent) = usage::caught_up(&row.terms, (row.standing, row.spent), intents);
            let used_later = usage::used_later(&row.terms, intents);
            if let Some(labels) = touched.get(&row.terms.agent).filter(|_| row.ending.is_none()) {
                standing.labels = standing.labels.join(*labels);
            }
            if let Some(above) = parent.as_ref().filter(|_| row.ending.is_none()) {
                standing.labels = standing.labels.join(above.standing().labels);
            }
            let id = row.terms.id.clone();
            let grant = Arc::new(LiveGrant::with_spent(row.terms, standing, spent, parent));
            let entry = GrantEntry { grant, created_at_ms: row.created_at_ms, ending: row.ending };
            let is_stored = stored == Usage::of_live(&entry.grant);
            let of_issue = |(of, issue, _): &&(GrantId, u64, Extended)| *of == id && *issue == entry.grant.terms().revision;
            let extended = extensions.iter().find(of_issue).map(|(_, _, extended)| extended.clone()).unwrap_or_default();
            if extended != Extended::default() {
                entry.grant.change_extensions(|_| extended.clone());
            }
            grants.insert(id, Held { flushed: is_stored.then(|| entry.grant.changes()), entry, used_later, extended });
        }
        let live = Self {
            store: store.clone(),
            grants,
            by_agent: DashMap::new(),
            below: DashMap::new(),
            cursor: AtomicU64::new(store.trail_cursor()?),
            forgot_ms: AtomicU64::new(0),
            changing: Mutex::new(()),
            changes: AtomicU64::new(0),
        };
        let is_found = |held: &Held| held.entry.ending.is_none() || held.entry.grant.terms().default;
        live.grants.iter().filter(|held| is_found(held)).for_each(|held| live.index(held.entry.grant.terms()));
        live.grants.iter().filter(|held| held.entry.ending.is_none()).for_each(|held| live.index_below(held.entry.grant.terms()));
        Ok(live)
    }

    /// Makes a grant, with the labels that its agent's live grants carry, and those of the grant that it is handed on from; durable when it
    /// returns. One that can't be stored is ended again and unknown. One that is handed on is inside the grant above it, whose budget has at
    /// least so much left.
    pub async fn create(&self, terms: Grant, now_ms: u64) -> Result<Arc<LiveGrant>, GrantFault> {
        if terms.expires_at_ms <= now_ms {
            return Err(GrantFault::Over(terms.id));
        }
        is_short(&terms)?;
        let (grant, stored) = {
            let _turn = self.turn();
            if self.grants.contains_key(&terms.id) {
                return Err(GrantFault::Exists(terms.id));
            }
            let parent = self.above(&terms, now_ms)?;
            let mut row = Row::fresh(terms, now_ms);
            let others = unended(self.of(&row.terms.agent), now_ms);
            let from_above = parent.as_ref().map_or_else(Labels::default, |above| above.standing().labels);
            row.standing.labels = carried(&others, &row.terms.agent).join(from_above);
            let row = row.into_columns()?;
            let grant = self.adopt(&row.row, &others, parent);
            (grant, self.store.write(move |connection| row.put(connection)))
        };
        match stored.await {
            Ok(()) => Ok(grant),
            Err(fault) => {
                self.disown(&grant);
                Err(fault.into())
            }
        }
    }

    /// Ends a grant. Memory first: from the first moment on no call is authorized under it, and calls in flight are cancelled.
    /// Returns when that is durable, and nothing is being written downstream any more or five seconds have passed.
    pub async fn end(&self, id: &GrantId, how: EndAs, by: &str, reason: Option<&str>, now_ms: u64) -> Result<Ended, GrantFault> {
        let (_, done) = self.end_now(id, how, by, reason, now_ms)?;
        Ok(done.await?)
    }

    /// The same: in memory it has ended when this returns. Says what had been handed on from it, at any depth, and fell with it now, whatever
    /// comes of storing that; and when that is done, what it came to.
    pub fn end_now(
        &self,
        id: &GrantId,
        how: EndAs,
        by: &str,
        reason: Option<&str>,
        now_ms: u64,
    ) -> Result<(Vec<GrantId>, impl Future<Output = Result<Ended, WriteFault>> + Send + use<>), GrantFault> {
        let ending = Ending { at_ms: now_ms, by: Some(by.to_owned()), reason: reason.map(str::to_owned) };
        let (closed, stored) = {
            let _turn = self.turn();
            let closed = self.close(id, how.state(), ending).ok_or_else(|| GrantFault::Unknown(id.clone()))?;
            // Queued even if it had ended before: that ending may still be on its way to the disk.
            let (closed, ended): (Vec<_>, Vec<_>) = closed.into_iter().map(|one| ((one.grant, one.was_active), one.row)).unzip();
            (closed, self.store.write(move |connection| ended.iter().try_for_each(|ended| ended.put(connection))))
        };
        let was_active = closed.first().is_some_and(|(_, was_active)| *was_active);
        let fell: Vec<GrantId> = closed.iter().skip(1).map(|(grant, _)| grant.terms().id.clone()).collect();
        let told = fell.clone();
        let done = async move {
            // What is written under a grant below is counted by each one above it.
            let drained = async {
                match closed.first() {
                    Some((grant, _)) => grant.drained(PATIENCE).await,
                    None => true,
                }
            };
            let (stored, drained) = tokio::join!(stored, drained);
            stored?;
            Ok(Ended { was_active, drained, fell: told })
        };
        Ok((fell, done))
    }

    /// Ends the grants whose time is over, and forgets those that ended long ago. Memory first: the ones that ended now are told
    /// even where that can't be stored.
    pub async fn expire(&self, now_ms: u64) -> Swept {
        let (ended, stored) = {
            let _turn = self.turn();
            // Their own locks are taken after the map's, and only of few.
            let may_be = |held: &Held| held.entry.ending.is_none() && may_be_over(&held.entry.grant, now_ms);
            let all: Vec<_> = self.grants.iter().filter(|held| may_be(held)).map(|held| Arc::clone(&held.entry.grant)).collect();
            let due: Vec<_> = all.iter().filter_map(|grant| Some((grant.terms().id.clone(), over(grant, now_ms)?))).collect();
            let (mut over, mut ended) = (Vec::new(), Vec::new());
            for (id, (state, ending)) in due {
                for closed in self.close(&id, state, ending).into_iter().flatten().filter(|closed| closed.was_active) {
                    over.push(closed.grant.terms().id.clone());
                    ended.push(closed.row);
                }
            }
            let is_time = now_ms.saturating_sub(self.forgot_ms.load(Ordering::Relaxed)) >= FORGET_EVERY_MS;
            let forgotten = if is_time { self.forget(now_ms) } else { Vec::new() };
            if ended.is_empty() && forgotten.is_empty() {
                return Swept { ended: over, stored: Ok(()) };
            }
            let stored = self.store.write(move |connection| {
                ended.iter().try_for_each(|ended| ended.put(connection))?;
                forgotten.iter().try_for_each(|id| rows::delete(connection, id))
            });
            (over, stored)
        };
        Swept { ended, stored: stored.await }
    }

    /// All grants, live and ended, in the order they were made.
    pub fn list(&self) -> Vec<GrantEntry> {
        let mut all: Vec<_> = self.grants.iter().map(|held| held.entry.clone()).collect();
        all.sort_by(|a, b| (a.created_at_ms, &a.grant.terms().id).cmp(&(b.created_at_ms, &b.grant.terms().id)));
        all
    }

    /// The grants that have not ended, of which this is so, in no order.
    pub fn unended_of(&self, is_meant: impl Fn(&LiveGrant) -> bool) -> Vec<GrantId> {
        let unended = self.grants.iter().filter(|held| held.entry.ending.is_none() && is_meant(&held.entry.grant));
        unended.map(|held| held.key().clone()).collect()
    }

    /// The grant of this id, as lists show it.
    pub fn entry(&self, id: &GrantId) -> Option<GrantEntry> {
        self.grants.get(id).map(|held| held.entry.clone())
    }

    /// Waits until no call is being committed that looked at what else it rests on before this: a commit holds its grant's lock
    /// from that look to the intent on record.
    pub fn settle(&self) {
        let all: Vec<_> = self.grants.iter().map(|held| Arc::clone(&held.entry.grant)).collect();
        for grant in all {
            let _unlocked = grant.standing();
        }
    }

    /// A number that is another one once grants were made, changed, ended or forgotten. What calls use of them does not move it.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Says that something has changed; to be called when it has.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grant that this one is handed on from, if any: it must be live, and reach as far.
    fn above(&self, terms: &Grant, now_ms: u64) -> Result<Option<Arc<LiveGrant>>, GrantFault> {
        let Some(id) = &terms.parent else { return Ok(None) };
        let above = self.by_id(id).ok_or_else(|| GrantFault::Unknown(id.clone()))?;
        if !above.is_live(now_ms) {
            return Err(GrantFault::NotLive(id.clone()));
        }
        if above.chain().any(|grant| grant.terms().agent == terms.agent) {
            return Err(GrantFault::Circle { parent: id.clone(), agent: terms.agent.clone() });
        }
        let root = above.chain().last().map_or_else(|| id.clone(), |root| root.terms().id.clone());
        let is_live = |id: &GrantId| self.by_id(id).is_some_and(|grant| grant.is_live(now_ms));
        let count = |all: Vec<GrantId>| all.iter().filter(|id| is_live(id)).count();
        if above.depth() >= DEEPEST.into()
            || count(self.children(id)) >= MOST_BELOW
            || count(self.all_below(&root)) >= MOST_IN_ALL
        {
            return Err(GrantFault::TooMany(id.clone()));
        }
        let excess = terms.excess_over(&Grant { budget: above.left(), ..above.effective() });
        if excess.is_empty() { Ok(Some(above)) } else { Err(GrantFault::Exceeds { parent: id.clone(), excess }) }
    }

    fn children(&self, id: &GrantId) -> Vec<GrantId> {
        self.below.get(id).map(|below| below.iter().cloned().collect()).unwrap_or_default()
    }

    /// What was handed on from a grant, at any depth.
    fn all_below(&self, id: &GrantId) -> Vec<GrantId> {
        let mut all = self.children(id);
        let mut next = 0;
        while let Some(id) = all.get(next).cloned() {
            all.extend(self.children(&id));
            next += 1;
        }
        all
    }

    /// How many grants are met by who walks down from this one.
    #[cfg(test)]
    pub(crate) fn below_in_all(&self, id: &GrantId) -> usize {
        self.all_below(id).len()
    }

    /// Ends a grant in memory, and all that was handed on from it: itself first.
    fn close(&self, id: &GrantId, state: GrantState, ending: Ending) -> Option<Vec<Closed>> {
        let reason = Some(format!("grant `{id}` above it was {}", state.as_str()));
        let why = Ending { reason, ..ending.clone() };
        let mut closed = vec![self.close_one(id, state, ending)?];
        closed.extend(self.fall(id, state, &why));
        Some(closed)
    }

    /// Ends what was handed on from a grant, at any depth.
    fn fall(&self, id: &GrantId, state: GrantState, why: &Ending) -> Vec<Closed> {
        let below = self.all_below(id);
        let closed = below.iter().filter_map(|id| self.close_one(id, state, why.clone()));
        closed.filter(|closed| closed.was_active).collect()
    }

    /// Ends a grant in memory. The grant's own lock may be held by a call that is being recorded, so it is taken while no other is
    /// but that of whoever changes grants.
    fn close_one(&self, id: &GrantId, state: GrantState, ending: Ending) -> Option<Closed> {
        let grant = self.by_id(id)?;
        let was_active = grant.end(state);
        let mut held = self.grants.get_mut(id)?;
        if ending.replaces(held.entry.ending.as_ref()) {
            held.entry.ending = Some(ending);
        }
        let entry = held.entry.clone();
        drop(held);
        // Who walks down from a grant meets the live ones alone.
        self.forget_below(grant.terms());
        self.changed();
        Some(Closed { grant, was_active, row: rows::Ended::of(&entry) })
    }

    /// The grants that have not ended. Their own locks are taken after the map's, as in [`close`](Self::close).
    fn unended(&self, now_ms: u64) -> Vec<Arc<LiveGrant>> {
        unended(self.grants.iter().map(|held| Arc::clone(&held.entry.grant)).collect(), now_ms)
    }

    /// Takes up what is being written as a new row, which has the labels of these others.
    fn adopt(&self, row: &Row, others: &[Arc<LiveGrant>], parent: Option<Arc<LiveGrant>>) -> Arc<LiveGrant> {
        let above = parent.clone();
        let grant = Arc::new(LiveGrant::with_spent(row.terms.clone(), row.standing, row.spent.clone(), parent));
        let entry = GrantEntry { grant: Arc::clone(&grant), created_at_ms: row.created_at_ms, ending: row.ending.clone() };
        self.grants.insert(
            row.terms.id.clone(),
            Held {
                entry,
                flushed: Some(grant.changes()),
                used_later: (Standing::fresh(), Spent::default()),
                extended: Extended::default(),
            },
        );
        self.index(&row.terms);
        self.index_below(&row.terms);
        // Once more: what was touched since the row was made didn't find this grant. From here on it does.
        let from_above = above.map_or_else(Labels::default, |above| above.standing().labels);
        grant.touch(carried(others, &row.terms.agent).join(from_above));
        self.changed();
        grant
    }

    /// Ends and forgets a grant that could not be stored: nobody was told of it, and after a restart it would not be there.
    fn disown(&self, grant: &Arc<LiveGrant>) {
        let _turn = self.turn();
        grant.end(GrantState::Revoked);
        let id = &grant.terms().id;
        self.grants.remove_if(id, |_, held| Arc::ptr_eq(&held.entry.grant, grant));
        if let Some(mut of_agent) = self.by_agent.get_mut(&grant.terms().agent) {
            of_agent.remove(id);
        }
        self.forget_below(grant.terms());
        self.changed();
    }

    fn index(&self, terms: &Grant) {
        self.by_agent.entry(terms.agent.clone()).or_default().insert(terms.id.clone());
    }

    fn index_below(&self, terms: &Grant) {
        if let Some(parent) = &terms.parent {
            self.below.entry(parent.clone()).or_default().insert(terms.id.clone());
        }
    }

    fn forget_below(&self, terms: &Grant) {
        let Some(parent) = &terms.parent else { return };
        if let Some(mut below) = self.below.get_mut(parent) {
            below.remove(&terms.id);
        }
        self.below.remove_if(parent, |_, below| below.is_empty());
    }

    /// Drops from memory what ended long ago, and returns which rows are to go too.
    fn forget(&self, now_ms: u64) -> Vec<GrantId> {
        self.forgot_ms.store(now_ms, Ordering::Relaxed);
        let ended_before =
            |held: &Held, age: u64| held.entry.ending.as_ref().is_some_and(|ending| ending.at_ms.saturating_add(age) < now_ms);
        let is_old = |held: &Held| {
            let terms = held.entry.grant.terms();
            // Those that agents make are many.
            let is_by_agent = terms.created_by.as_deref().is_some_and(|by| by.starts_with("agent:"));
            let age = if terms.parent.is_some() || is_by_agent { HANDED_ON_REMEMBERED_MS } else { REMEMBERED_MS };
            !terms.from_config && ended_before(held, age)
        };
        let old: Vec<GrantId> = self.grants.iter().filter(|held| is_old(held)).map(|held| held.key().clone()).collect();
        for id in &old {
            self.grants.remove(id);
        }
        // By id, so only the newest revision counts, and only for the agent it is for.
        let is_found = |held: &Held, agent: &AgentId| {
            let terms = held.entry.grant.terms();
            terms.agent == *agent && (terms.default || !ended_before(held, FOUND_BY_AGENT_MS))
        };
        for mut of_agent in self.by_agent.iter_mut() {
            let (agent, ids) = of_agent.pair_mut();
            ids.retain(|id| self.grants.get(id).is_some_and(|held| is_found(&held, agent)));
        }
        self.by_agent.retain(|_, of_agent| !of_agent.is_empty());
        if !old.is_empty() {
            self.changed();
        }
        old
    }
}

impl Grants for LiveGrants {
    fn by_id(&self, id: &GrantId) -> Option<Arc<LiveGrant>> {
        self.grants.get(id).map(|held| Arc::clone(&held.entry.grant))
    }

    /// Those that are live or ended within the last hour, and the default ones that have ended.
    fn of(&self, agent: &AgentId) -> Vec<Arc<LiveGrant>> {
        let ids: Vec<GrantId> = self.by_agent.get(agent).map(|ids| ids.iter().cloned().collect()).unwrap_or_default();
        // A reissue may have gone to another agent.
        ids.iter().filter_map(|id| self.by_id(id)).filter(|grant| grant.terms().agent == *agent).collect()
    }
}

/// Whether each call can look at all that a grant says.
fn is_short(terms: &Grant) -> Result<(), GrantFault> {
    let counts = [
        ("capabilities", terms.capabilities.len(), MOST_CAPABILITIES),
        ("budgets of tools", terms.budget.tools.len(), MOST_BUDGETED_TOOLS),
    ];
    match counts.into_iter().find(|(_, number, most)| number > most) {
        Some((what, number, most)) => Err(GrantFault::TooLong { id: terms.id.clone(), what, number, most }),
        None => Ok(()),
    }
}

/// What ended long ago is looked for so often, milliseconds.
const FORGET_EVERY_MS: u64 = 60 * 1000;

/// Whether a grant may have to end by itself now: asked of all of them each second, and without a lock.
fn may_be_over(grant: &LiveGrant, now_ms: u64) -> bool {
    let (terms, last_used_ms) = (grant.terms(), grant.last_used_ms());
    let is_long_unused = last_used_ms > 0 && last_used_ms.saturating_add(USED_UP_MS) <= now_ms;
    terms.expires_at_ms <= now_ms || grant.is_idle(now_ms) || (!terms.from_config && is_long_unused)
}

/// Whether a grant is to end by itself now, how, and when it did.
fn over(grant: &LiveGrant, now_ms: u64) -> Option<(GrantState, Ending)> {
    let terms = grant.terms();
    let ending = |at_ms, reason: Option<&str>| Ending { at_ms, by: None, reason: reason.map(str::to_owned) };
    if terms.expires_at_ms <= now_ms {
        return Some((GrantState::Expired, ending(terms.expires_at_ms, None)));
    }
    if grant.is_idle(now_ms) {
        return Some((GrantState::Expired, ending(now_ms, Some("it was not used for too long"))));
    }
    // One of the configuration stays, so that whoever reads that file finds what it says.
    let last_used_ms = grant.last_used_ms();
    let is_done =
        !terms.from_config && last_used_ms > 0 && last_used_ms.saturating_add(USED_UP_MS) <= now_ms && grant.is_used_up();
    is_done.then(|| (GrantState::Completed, ending(now_ms, Some("its budget is used up"))))
}

/// Those of these grants that have not ended.
fn unended(mut all: Vec<Arc<LiveGrant>>, now_ms: u64) -> Vec<Arc<LiveGrant>> {
    all.retain(|grant| now_ms < grant.terms().expires_at_ms && grant.standing().state == GrantState::Active);
    all
}

/// The labels that these grants of the agent carry: another grant of the same agent washes nothing off.
fn carried(grants: &[Arc<LiveGrant>], agent: &AgentId) -> Labels {
    let of_agent = grants.iter().filter(|grant| grant.terms().agent == *agent);
    of_agent.fold(Labels::default(), |labels, grant| labels.join(grant.standing().labels))
}

impl EndAs {
    fn state(self) -> GrantState {
        match self {
            Self::Completed => GrantState::Completed,
            Self::Revoked => GrantState::Revoked,
        }
    }
}

impl Row {
    fn fresh(terms: Grant, now_ms: u64) -> Self {
        Self { terms, standing: Standing::fresh(), spent: Spent::default(), created_at_ms: now_ms, ending: None }
    }
}

impl fmt::Debug for LiveGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveGrants").field("grants", &self.grants.len()).finish_non_exhaustive()
    }
}
