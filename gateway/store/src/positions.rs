//! How far each channel has told the events of approvals. What every channel has told is forgotten.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::params;

use crate::{
    fault::{StoreFault, WriteFault},
    rows::{self, Place, column},
    store::Store,
};

/// How far channels are, by their ids.
pub struct Positions {
    store: Store,
    reached: Mutex<BTreeMap<String, u64>>,
}

impl Positions {
    /// Reads them.
    pub fn load(store: &Store) -> Result<Self, StoreFault> {
        let stored = rows::all(&store.read(), "SELECT channel, seq FROM channel_positions", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })?;
        let read = |(channel, seq): (String, i64)| {
            let seq = Place { table: "channel_positions", row: &channel }.number(seq)?;
            Ok::<_, StoreFault>((channel, seq))
        };
        let reached = stored.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { store: store.clone(), reached: Mutex::new(reached) })
    }

    /// How far this channel is; nothing for one that was never there.
    pub fn of(&self, channel: &str) -> Option<u64> {
        self.lock().get(channel).copied()
    }

    /// The number of the newest event that is on disk, one that is forgotten by now included; 0 where there never was one. Blocks for one
    /// query.
    pub fn newest(&self) -> Result<u64, StoreFault> {
        let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'approval_events'";
        let seq = self.store.read().query_row(sql, [], |row| row.get::<_, i64>(0))?;
        Place { table: "sqlite_sequence", row: "approval_events" }.number(seq)
    }

    /// Waits until what memory has done by now is on disk.
    pub async fn caught_up(&self) -> Result<(), WriteFault> {
        self.store.write(|_| Ok(())).await
    }

    /// Keeps how far this channel is, and forgets the events that all are past. On disk when this is done.
    pub async fn advance(&self, channel: &str, seq: u64) -> Result<(), WriteFault> {
        let stored = {
            let mut reached = self.lock();
            let at = reached.entry(channel.to_owned()).or_insert(seq);
            *at = seq.max(*at);
            let (channel, seq) = (channel.to_owned(), *at);
            let past = reached.values().min().copied().unwrap_or(0);
            // Queued under the lock: the store follows in the same order.
            self.store.write(move |connection| {
                let sql =
                    "INSERT INTO channel_positions (channel, seq) VALUES (?1, ?2) ON CONFLICT (channel) DO UPDATE SET seq = ?2";
                connection.prepare_cached(sql)?.execute(params![channel, column(seq)])?;
                connection.prepare_cached("DELETE FROM approval_events WHERE seq <= ?1")?.execute([column(past)]).map(drop)
            })
        };
        stored.await
    }

    /// Forgets the channels that are no more: nothing is kept for them.
    pub async fn retain(&self, is_there: impl Fn(&str) -> bool) -> Result<(), WriteFault> {
        let stored = {
            let mut reached = self.lock();
            let gone: Vec<String> = reached.keys().filter(|channel| !is_there(channel)).cloned().collect();
            if gone.is_empty() {
                return Ok(());
            }
            reached.retain(|channel, _| !gone.contains(channel));
            self.store.write(move |connection| {
                let mut statement = connection.prepare_cached("DELETE FROM channel_positions WHERE channel = ?1")?;
                gone.iter().try_for_each(|channel| statement.execute([channel]).map(drop))
            })
        };
        drop(is_there);
        stored.await
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions").field("reached", &*self.lock()).finish_non_exhaustive()
    }
}
