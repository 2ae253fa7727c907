//! The store as a whole: one file, one writer, one lock.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use tokio::sync::oneshot;

use crate::{
    fault::{StoreFault, WriteFault},
    files, schema,
    seal::Seal,
    writer::{Job, Refused, Writer},
};

const TRAIL_CURSOR: &str = "trail_cursor";

/// What is agreed: tokens, grants, approvals and pins, in `DATA/state.db`. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Dropped from top to bottom: the writer finishes after the reader, for the last to close the file merges the write-ahead log into it,
/// and before the lock is let go.
struct Inner {
    reader: Mutex<Connection>,
    writer: Writer,
    seal: Seal,
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the store in this folder, and makes it if there is none. Blocks on the disk: for the start.
    pub fn open(data: &Path) -> Result<Self, StoreFault> {
        let folder = files::folder(data)?;
        let lock = files::lock(&folder.join("state.lock"))?;
        let path = folder.join("state.db");
        let is_made = files::private(&path)?;
        // To begin anew here would bring back what was revoked. The key is made last: where it is, there was a store.
        if !is_made && files::is_cut_off(&path)? && folder.join("seal.key").exists() {
            return Err(StoreFault::Damaged { path, why: "it is cut off".to_owned() });
        }
        files::examine(&folder.join("state.db-wal"))?;
        files::examine(&folder.join("state.db-shm"))?;
        let mut connection = Connection::open_with_flags(&path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
        schema::prepare(&mut connection, &path)?;
        let reader = Connection::open_with_flags(&path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        let key = files::key(&folder.join("seal.key"))?;
        let seal = Seal::new(&key)?;
        let writer = Writer::start(connection, path.clone())?;
        Ok(Self { inner: Arc::new(Inner { writer, reader: Mutex::new(reader), seal, path, _lock: lock }) })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Why nothing can be written any more, if so. It stays so until a restart: whatever needs the store is denied.
    pub fn lost(&self) -> Option<&str> {
        self.inner.writer.lost()
    }

    /// A small durable setting.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreFault> {
        let value = self.read().query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?;
        Ok(value)
    }

    /// Sets a small durable setting; `None` forgets it.
    pub async fn set_meta(&self, key: &str, value: Option<&str>) -> Result<(), WriteFault> {
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        self.write(move |connection| match value {
            Some(value) => put_meta(connection, &key, &value),
            None => connection.execute("DELETE FROM meta WHERE key = ?1", [key]).map(drop),
        })
        .await
    }

    /// The place in the trail up to which intents are counted in the stored usage of the grants.
    pub fn trail_cursor(&self) -> Result<u64, StoreFault> {
        let Some(text) = self.meta(TRAIL_CURSOR)? else {
            return Ok(0);
        };
        text.parse().map_err(|_| StoreFault::Row {
            table: "meta",
            row: TRAIL_CURSOR.to_owned(),
            why: format!("`{text}` is no number"),
        })
    }

    /// For loads and rare look-ups: blocks for the length of one query.
    pub(crate) fn read(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held leaves a connection that nothing was changed through.
        self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sealed about this with the key of this folder; none where it was not, or was changed.
    pub fn unseal(&self, about: &[u8], sealed: &[u8]) -> Option<Bytes> {
        self.seal().open_other(about, sealed).ok().map(Bytes::from)
    }

    pub(crate) fn seal(&self) -> &Seal {
        &self.inner.seal
    }

    /// Queues a change at once, in the order of the calls; durable when the future returns. It is made even if nobody awaits it.
    pub(crate) fn write<F>(&self, change: F) -> impl Future<Output = Result<(), WriteFault>> + Send + use<F>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        let (told, wait) = oneshot::channel();
        self.write_then(change, move |result| {
            // Nobody listens if the caller has gone away.
            let _ = told.send(result);
        });
        async move { wait.await.unwrap_or_else(|_| Err(ended())) }
    }

    /// Queues a change, and has `done` told what became of it, on the writer's thread.
    ///
    /// INVARIANT: `done` holds no `Store`: the writer's thread must not be the one that closes the store.
    pub(crate) fn write_then<F, D>(&self, change: F, done: D)
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
        D: FnOnce(Result<(), WriteFault>) + Send + 'static,
    {
        self.inner.writer.queue(Job { change: Box::new(change), done: Box::new(done), refused: Refused::Tell });
    }

    /// Queues a change that memory has already made. If it is refused, the store is lost.
    pub(crate) fn follow<F>(&self, change: F)
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        self.inner.writer.queue(Job { change: Box::new(change), done: Box::new(drop), refused: Refused::Lose });
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// What to say when the writer's thread ended without an answer.
pub(crate) fn ended() -> WriteFault {
    WriteFault::Lost("its thread has ended".to_owned())
}

pub(crate) fn put_meta(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![key, value]).map(drop)
}

pub(crate) fn put_cursor(connection: &Connection, cursor: u64) -> rusqlite::Result<()> {
    put_meta(connection, TRAIL_CURSOR, &cursor.to_string())
}

fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW
}
