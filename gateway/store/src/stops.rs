//! What people have stopped: halts, and agents that were disabled. In memory what counts now, in the store what survives a restart.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_pipeline::{
    halts::{Halt, Halts},
    ids::AgentId,
};
use rusqlite::params;

use crate::{
    fault::{StoreFault, WriteFault},
    identities::Agents,
    rows::{self, Place, column},
    store::Store,
};

/// Since when something is stopped, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Since when, unix milliseconds.
    pub since_ms: u64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

struct Held {
    stopped: Stopped,
    /// Counts how often it was stopped: whoever lets it go on lets go what there was when it began.
    times: u64,
}

/// Stops something in memory, or lets it go on.
type Apply<K> = Box<dyn Fn(&K, bool) + Send + Sync>;

/// Things that are stopped, by their names.
pub struct Stops<K> {
    store: Store,
    table: &'static str,
    held: Mutex<BTreeMap<K, Held>>,
    /// Moves when something is stopped, or goes on.
    changes: AtomicU64,
    /// Stops it in memory, or lets it go on.
    apply: Apply<K>,
}

/// The halts in force.
pub type LiveHalts = Stops<Halt>;

/// The agents that were disabled by people, beside those that the configuration disables.
pub type DisabledAgents = Stops<AgentId>;

impl LiveHalts {
    /// Reads the halts, and puts all of them in force.
    pub fn load(store: &Store, halts: Arc<Halts>) -> Result<Self, StoreFault> {
        let apply = move |halt: &Halt, is_stopped| _ = if is_stopped { halts.put(halt) } else { halts.lift(halt) };
        Self::read(store, "halts", Box::new(apply))
    }
}

impl DisabledAgents {
    /// Reads which agents are disabled, and disables all of them.
    pub fn load(store: &Store, agents: Arc<Agents>) -> Result<Self, StoreFault> {
        Self::read(store, "disabled_agents", Box::new(move |id: &AgentId, is_stopped| agents.switch_off(id, is_stopped)))
    }
}

impl<K: Ord + Clone + fmt::Display + FromStr<Err: ToString>> Stops<K> {
    fn read(store: &Store, table: &'static str, apply: Apply<K>) -> Result<Self, StoreFault> {
        let sql = format!("SELECT what, since_ms, stopped_by, reason FROM {table}");
        let stored: Vec<(String, i64, String, Option<String>)> = rows::all(&store.read(), &sql, |row| row.try_into())?;
        let mut held = BTreeMap::new();
        for (what, since_ms, by, reason) in stored {
            let place = Place { table, row: &what };
            let key: K = place.parse(&what)?;
            apply(&key, true);
            held.insert(key, Held { stopped: Stopped { since_ms: place.number(since_ms)?, by, reason }, times: 1 });
        }
        Ok(Self { store: store.clone(), table, held: Mutex::new(held), changes: AtomicU64::new(0), apply })
    }

    /// Stops it: in memory when this returns, whether it went on until now. Durable once what is returned beside that has ended.
    pub fn stop(&self, key: &K, stopped: Stopped) -> (bool, impl Future<Output = Result<(), WriteFault>> + use<K>) {
        let mut held = self.held();
        (self.apply)(key, true);
        let (what, sql) = (
            key.to_string(),
            self.sql("INSERT OR IGNORE INTO {table} (what, since_ms, stopped_by, reason) VALUES (?1, ?2, ?3, ?4)"),
        );
        let row = stopped.clone();
        let is_new = match held.entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(Held { stopped, times: 1 });
                self.changes.fetch_add(1, Ordering::Release);
                true
            }
            Entry::Occupied(mut before) => {
                before.get_mut().times += 1;
                false
            }
        };
        // Queued under the lock, and even if it was stopped before: that may still be on its way to the disk, or about to be taken back.
        let stored = self.store.write(move |connection| {
            connection.prepare_cached(&sql)?.execute(params![what, column(row.since_ms), row.by, row.reason]).map(drop)
        });
        (is_new, stored)
    }

    /// Lets it go on: on disk first, and then in memory. Says whether it was stopped; one that is stopped anew meanwhile stays so.
    pub async fn go_on(&self, key: &K) -> Result<bool, WriteFault> {
        let (times, stored) = {
            let held = self.held();
            let Some(times) = held.get(key).map(|held| held.times) else { return Ok(false) };
            let (what, sql) = (key.to_string(), self.sql("DELETE FROM {table} WHERE what = ?1"));
            (times, self.store.write(move |connection| connection.prepare_cached(&sql)?.execute([what]).map(drop)))
        };
        stored.await?;
        let mut held = self.held();
        if held.get(key).is_some_and(|held| held.times == times) {
            held.remove(key);
            (self.apply)(key, false);
            self.changes.fetch_add(1, Ordering::Release);
        }
        Ok(true)
    }

    /// All that is stopped.
    pub fn list(&self) -> Vec<(K, Stopped)> {
        self.held().iter().map(|(key, held)| (key.clone(), held.stopped.clone())).collect()
    }

    /// A number that is another one once something was stopped, or went on.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Since when this is stopped, if it is.
    pub fn get(&self, key: &K) -> Option<Stopped> {
        self.held().get(key).map(|held| held.stopped.clone())
    }

    fn sql(&self, text: &str) -> String {
        text.replace("{table}", self.table)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<K, Held>> {
        // A panic while it was held leaves a map that is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for Stops<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stops").field("table", &self.table).finish_non_exhaustive()
    }
}
