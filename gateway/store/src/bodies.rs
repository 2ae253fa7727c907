//! What rules have kept of calls, whole: sealed, for a time, and within a size.

use bailiwick_pipeline::ids::CallId;
use bytes::Bytes;
use rusqlite::{OptionalExtension as _, params};

use crate::{
    fault::{StoreFault, WriteFault},
    store::Store,
};

/// How long a body is kept: seven days.
pub const BODIES_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// How much is kept in all, sealed: 256 MiB. Beyond it nothing more is kept, and calls that have to be are denied.
pub const BODIES_BYTES: u64 = 256 * 1024 * 1024;

/// The bodies of calls.
#[derive(Debug, Clone)]
pub struct Bodies {
    store: Store,
}

impl Bodies {
    /// Those of this store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Keeps a part of a call; on disk when this is done. What is too old goes first. Once more, it takes the place of what was kept.
    pub async fn keep(&self, call: &CallId, part: &'static str, body: &Bytes, now_ms: u64) -> Result<(), WriteFault> {
        self.keep_within(call, (part, body), now_ms, BODIES_BYTES).await
    }

    pub(crate) async fn keep_within(
        &self,
        call: &CallId,
        (part, body): (&'static str, &Bytes),
        now_ms: u64,
        most: u64,
    ) -> Result<(), WriteFault> {
        let sealed = self.store.seal().close_other(&about(call.as_str(), part), body);
        let sealed = sealed.map_err(|_| WriteFault::Randomness)?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (call, at, old, most) =
            (call.to_string(), number(now_ms), number(now_ms.saturating_sub(BODIES_KEPT_MS)), number(most));
        let written = self.store.write(move |connection| {
            connection
                .prepare_cached("DELETE FROM kept_bodies WHERE at_ms < ?1 OR (call = ?2 AND part = ?3)")?
                .execute(params![old, call, part])?;
            let sql = "INSERT INTO kept_bodies (call, part, at_ms, sealed) SELECT ?1, ?2, ?3, ?4 \
                       WHERE (SELECT coalesce(sum(length(sealed)), 0) FROM kept_bodies) + length(?4) <= ?5";
            let kept = connection.prepare_cached(sql)?.execute(params![call, part, at, sealed, most])?;
            // Undone with what was deleted. It alone is refused: the store goes on.
            if kept == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
        });
        written.await.map_err(|fault| match fault {
            WriteFault::Lost(why) => WriteFault::Lost(why),
            fault => WriteFault::Conflict(format!("{fault}; kept bodies may have {most} bytes in all, for seven days")),
        })
    }

    /// What is kept of a call: this part of it. None where nothing is, or no more.
    pub fn open(&self, call: &str, part: &str, now_ms: u64) -> Result<Option<Vec<u8>>, StoreFault> {
        let sql = "SELECT sealed FROM kept_bodies WHERE call = ?1 AND part = ?2 AND at_ms >= ?3";
        let old = i64::try_from(now_ms.saturating_sub(BODIES_KEPT_MS)).unwrap_or(i64::MAX);
        let sealed: Option<Vec<u8>> = self.store.read().query_row(sql, params![call, part, old], |row| row.get(0)).optional()?;
        let Some(sealed) = sealed else { return Ok(None) };
        let opened = self.store.seal().open_other(&about(call, part), &sealed);
        opened.map(Some).map_err(|broken| StoreFault::Row { table: "kept_bodies", row: call.to_owned(), why: broken.to_string() })
    }
}

/// What the ciphertext is tied to: no part can be shown as another, or as that of another call.
fn about(call: &str, part: &str) -> Vec<u8> {
    format!("body\0{part}\0{call}").into_bytes()
}
