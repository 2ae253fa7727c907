//! What rules have kept of calls, whole: sealed, for a time, and within a size, of which each agent has a share.

use std::time::Duration;

use bailiwick_pipeline::ids::{AgentId, CallId};
use bytes::Bytes;
use rusqlite::{OptionalExtension as _, params};

use crate::{
    fault::{StoreFault, WriteFault},
    store::Store,
};

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// For how long, milliseconds.
    pub kept_ms: u64,
    /// How many bytes in all, sealed. Beyond it calls that have to be kept are denied.
    pub bytes: u64,
    /// How many bytes of one agent, so that none fills it for others.
    pub bytes_per_agent: u64,
}

impl Default for BodyLimits {
    fn default() -> Self {
        let bytes = 256 * 1024 * 1024;
        Self {
            kept_ms: u64::try_from(Duration::from_hours(7 * 24).as_millis()).unwrap_or(u64::MAX),
            bytes,
            bytes_per_agent: bytes / 4,
        }
    }
}

/// A part of a call.
#[derive(Debug, Clone, Copy)]
pub struct BodyPart<'a> {
    /// Of which call.
    pub call: &'a CallId,
    /// Whose call.
    pub agent: &'a AgentId,
    /// `arguments` or `result`.
    pub part: &'static str,
}

/// The bodies of calls.
#[derive(Debug, Clone)]
pub struct Bodies {
    store: Store,
    limits: BodyLimits,
}

impl Bodies {
    /// Those of this store.
    pub fn new(store: &Store, limits: BodyLimits) -> Self {
        Self { store: store.clone(), limits }
    }

    /// Keeps a part of a call; on disk when this is done. What is too old goes first. Once more, it takes the place of what was kept.
    ///
    /// Whether there is room is judged where a call has no effect yet, by its arguments. What came back of a call that had room is kept even
    /// where it takes more, up to twice the size and the share: it is of no use to withhold what has been done.
    pub async fn keep(&self, of: BodyPart<'_>, body: &Bytes, now_ms: u64) -> Result<(), WriteFault> {
        let sealed = self.store.seal().close_other(&about(of.call.as_str(), of.part), body);
        let sealed = sealed.map_err(|_| WriteFault::Randomness)?;
        let BodyLimits { bytes, bytes_per_agent, .. } = self.limits;
        let times = if of.part == "result" { 2 } else { 1 };
        let (most, share) = (number(bytes.saturating_mul(times)), number(bytes_per_agent.saturating_mul(times)));
        let (call, agent, part) = (of.call.to_string(), of.agent.to_string(), of.part);
        let (at, old) = (number(now_ms), self.old(now_ms));
        let written = self.store.write(move |connection| {
            connection
                .prepare_cached("DELETE FROM kept_bodies WHERE at_ms < ?1 OR (call = ?2 AND part = ?3)")?
                .execute(params![old, call, part])?;
            let sql = "INSERT INTO kept_bodies (call, part, at_ms, sealed, agent, size) SELECT ?1, ?2, ?3, ?4, ?5, length(?4) \
                       WHERE (SELECT coalesce(sum(size), 0) FROM kept_bodies) + length(?4) <= ?6 \
                       AND (SELECT coalesce(sum(size), 0) FROM kept_bodies WHERE agent = ?5) + length(?4) <= ?7";
            let kept = connection.prepare_cached(sql)?.execute(params![call, part, at, sealed, agent, most, share])?;
            // Undone with what was deleted. It alone is refused: the store goes on.
            if kept == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
        });
        written.await.map_err(|fault| match fault {
            WriteFault::Lost(why) => WriteFault::Lost(why),
            fault => {
                let why =
                    format!("kept bodies may have {bytes} bytes in all, {bytes_per_agent} of one agent (`trail.keep_bodies`)");
                WriteFault::Conflict(format!("{fault}; {why}"))
            }
        })
    }

    /// Deletes what is older than it is kept; most often there is nothing.
    pub async fn sweep(&self, now_ms: u64) -> Result<(), WriteFault> {
        let old = self.old(now_ms);
        let any = "SELECT EXISTS (SELECT 1 FROM kept_bodies WHERE at_ms < ?1)";
        let is_any: bool = self.store.read().query_row(any, params![old], |row| row.get(0)).unwrap_or(true);
        if !is_any {
            return Ok(());
        }
        self.store
            .write(move |connection| connection.execute("DELETE FROM kept_bodies WHERE at_ms < ?1", params![old]).map(drop))
            .await
    }

    /// How many bytes are kept in all.
    pub fn size(&self) -> Result<u64, StoreFault> {
        let sum = "SELECT coalesce(sum(size), 0) FROM kept_bodies";
        let sum: i64 = self.store.read().query_row(sum, [], |row| row.get(0))?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    /// What is kept of a call: this part of it. None where nothing is, or no more.
    pub fn open(&self, call: &str, part: &str, now_ms: u64) -> Result<Option<Vec<u8>>, StoreFault> {
        let sql = "SELECT sealed FROM kept_bodies WHERE call = ?1 AND part = ?2 AND at_ms >= ?3";
        let old = self.old(now_ms);
        let sealed: Option<Vec<u8>> = self.store.read().query_row(sql, params![call, part, old], |row| row.get(0)).optional()?;
        let Some(sealed) = sealed else { return Ok(None) };
        let opened = self.store.seal().open_other(&about(call, part), &sealed);
        opened.map(Some).map_err(|broken| StoreFault::Row { table: "kept_bodies", row: call.to_owned(), why: broken.to_string() })
    }

    /// What came before this is too old.
    fn old(&self, now_ms: u64) -> i64 {
        number(now_ms.saturating_sub(self.limits.kept_ms))
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the ciphertext is tied to: no part can be shown as another, or as that of another call.
fn about(call: &str, part: &str) -> Vec<u8> {
    format!("body\0{part}\0{call}").into_bytes()
}
