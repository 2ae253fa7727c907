//! The live grants: in memory what counts now, in the store what survives a restart.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Labels, LiveGrant, Standing},
    ids::{AgentId, GrantId},
    ports::Grants,
};
use dashmap::DashMap;

use crate::{
    fault::{StoreFault, WriteFault},
    store::Store,
};

mod config;
mod rows;
mod usage;

pub use config::{ConfigChange, ConfigSync};
use rows::{Row, Usage};
pub use usage::ReplayedIntent;

/// How long [`LiveGrants::end`] waits for what is being written downstream.
const PATIENCE: Duration = Duration::from_secs(5);

/// An ended grant is listed for so long: 30 days. Those of the configuration are kept, so that a revoked one stays revoked.
const REMEMBERED_MS: u64 = 30 * 24 * 60 * 60 * 1000;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether it was active until now.
    pub was_active: bool,
    /// Whether what was being written downstream has ended; if not, a write that began before is still under way.
    pub drained: bool,
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
    /// Its usage as the store has it.
    stored: Usage,
    /// What was used under an issue that has been lost.
    used_later: Standing,
}

/// A grant that has ended in memory.
struct Closed {
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
    /// The trail's cursor as the store has it.
    cursor: AtomicU64,
    /// Whoever makes or ends grants holds it while memory changes and the change is queued: so the store follows in the same order.
    changing: Mutex<()>,
}

impl LiveGrants {
    /// Reads all grants, and debits the intents that the store hasn't counted yet.
    ///
    /// The intents must be those after [`Store::trail_cursor`]. A grant of a later revision than the intent's is not debited.
    /// [Flush](Self::flush) at once with the trail's last place: after a loss of power the stored cursor may be ahead of a trail whose
    /// last reads were not synced, and intents written at those places anew would not be counted.
    pub fn load(store: &Store, intents: &[ReplayedIntent]) -> Result<Self, StoreFault> {
        let grants = DashMap::new();
        let rows = rows::load(&store.read())?;
        let touched = usage::touched(&rows, intents);
        for row in rows {
            let stored = Usage::of(&row.standing);
            let mut standing = usage::caught_up(&row.terms, row.standing, intents);
            let used_later = usage::used_later(&row.terms, intents);
            if let Some(labels) = touched.get(&row.terms.agent).filter(|_| row.ending.is_none()) {
                standing.labels = standing.labels.join(*labels);
            }
            let id = row.terms.id.clone();
            let grant = Arc::new(LiveGrant::new(row.terms, standing, None));
            let entry = GrantEntry { grant, created_at_ms: row.created_at_ms, ending: row.ending };
            grants.insert(id, Held { entry, stored, used_later });
        }
        let live = Self {
            store: store.clone(),
            grants,
            by_agent: DashMap::new(),
            cursor: AtomicU64::new(store.trail_cursor()?),
            changing: Mutex::new(()),
        };
        let is_found = |held: &Held| held.entry.ending.is_none() || held.entry.grant.terms().default;
        live.grants.iter().filter(|held| is_found(held)).for_each(|held| live.index(held.entry.grant.terms()));
        Ok(live)
    }

    /// Makes a grant, with the labels that its agent's live grants carry; durable when it returns. One that can't be stored is ended again and unknown.
    pub async fn create(&self, terms: Grant, now_ms: u64) -> Result<Arc<LiveGrant>, GrantFault> {
        if terms.expires_at_ms <= now_ms {
            return Err(GrantFault::Over(terms.id));
        }
        let (grant, stored) = {
            let _turn = self.turn();
            if self.grants.contains_key(&terms.id) {
                return Err(GrantFault::Exists(terms.id));
            }
            let mut row = Row::fresh(terms, now_ms);
            let others = self.unended(now_ms);
            row.standing.labels = carried(&others, &row.terms.agent);
            let row = row.into_columns()?;
            let grant = self.adopt(&row.row, &others);
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
        let ending = Ending { at_ms: now_ms, by: Some(by.to_owned()), reason: reason.map(str::to_owned) };
        let (closed, stored) = {
            let _turn = self.turn();
            let closed = self.close(id, how.state(), ending).ok_or_else(|| GrantFault::Unknown(id.clone()))?;
            // Queued even if it had ended before: that ending may still be on its way to the disk.
            let ended = closed.row;
            ((closed.grant, closed.was_active), self.store.write(move |connection| ended.put(connection)))
        };
        let (grant, was_active) = closed;
        let (stored, drained) = tokio::join!(stored, grant.drained(PATIENCE));
        stored?;
        Ok(Ended { was_active, drained })
    }

    /// Ends the grants whose time is over, and forgets those that ended long ago. Memory first: the ones that ended now are told
    /// even where that can't be stored.
    pub async fn expire(&self, now_ms: u64) -> Swept {
        let (ended, stored) = {
            let _turn = self.turn();
            let is_over = |held: &Held| held.entry.ending.is_none() && held.entry.grant.terms().expires_at_ms <= now_ms;
            let due: Vec<(GrantId, u64)> = (self.grants.iter().filter(|held| is_over(held)))
                .map(|held| (held.key().clone(), held.entry.grant.terms().expires_at_ms))
                .collect();
            let mut over = Vec::new();
            let mut ended = Vec::new();
            for (id, at_ms) in due {
                let ending = Ending { at_ms, by: None, reason: None };
                if let Some(closed) = self.close(&id, GrantState::Expired, ending).filter(|closed| closed.was_active) {
                    ended.push(closed.row);
                    over.push(id);
                }
            }
            let forgotten = self.forget(now_ms);
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

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a grant in memory. The grant's own lock may be held by a call that is being recorded, so it is taken while no other is
    /// but that of whoever changes grants.
    fn close(&self, id: &GrantId, state: GrantState, ending: Ending) -> Option<Closed> {
        let grant = self.by_id(id)?;
        let was_active = grant.end(state);
        let mut held = self.grants.get_mut(id)?;
        if ending.replaces(held.entry.ending.as_ref()) {
            held.entry.ending = Some(ending);
        }
        let entry = held.entry.clone();
        drop(held);
        Some(Closed { grant, was_active, row: rows::Ended::of(&entry) })
    }

    /// The grants that have not ended. Their own locks are taken after the map's, as in [`close`](Self::close).
    fn unended(&self, now_ms: u64) -> Vec<Arc<LiveGrant>> {
        let mut all: Vec<_> = self.grants.iter().map(|held| Arc::clone(&held.entry.grant)).collect();
        all.retain(|grant| now_ms < grant.terms().expires_at_ms && grant.standing().state == GrantState::Active);
        all
    }

    /// Takes up what is being written as a new row, which has the labels of these others.
    fn adopt(&self, row: &Row, others: &[Arc<LiveGrant>]) -> Arc<LiveGrant> {
        let grant = Arc::new(LiveGrant::new(row.terms.clone(), row.standing, None));
        let entry = GrantEntry { grant: Arc::clone(&grant), created_at_ms: row.created_at_ms, ending: row.ending.clone() };
        self.grants.insert(row.terms.id.clone(), Held { entry, stored: Usage::of(&row.standing), used_later: Standing::fresh() });
        self.index(&row.terms);
        // Once more: what was touched since the row was made didn't find this grant. From here on it does.
        grant.touch(carried(others, &row.terms.agent));
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
    }

    fn index(&self, terms: &Grant) {
        self.by_agent.entry(terms.agent.clone()).or_default().insert(terms.id.clone());
    }

    /// Drops from memory what ended long ago, and returns which rows are to go too.
    fn forget(&self, now_ms: u64) -> Vec<GrantId> {
        let ended_before =
            |held: &Held, age: u64| held.entry.ending.as_ref().is_some_and(|ending| ending.at_ms.saturating_add(age) < now_ms);
        let is_old = |held: &Held| !held.entry.grant.terms().from_config && ended_before(held, REMEMBERED_MS);
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
        Self { terms, standing: Standing::fresh(), created_at_ms: now_ms, ending: None }
    }
}

impl fmt::Debug for LiveGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveGrants").field("grants", &self.grants.len()).finish_non_exhaustive()
    }
}
