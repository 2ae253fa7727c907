//! What issuers gave and have not taken back yet: what it is, and, sealed, by what it is taken back.

use rusqlite::params;

use crate::{
    fault::{StoreFault, WriteFault},
    store::Store,
};

/// The leases that are not over.
#[derive(Debug, Clone)]
pub struct Leases {
    store: Store,
}

/// One of them.
pub struct StoredLease {
    /// Its id.
    pub id: String,
    /// What it is, as JSON.
    pub record: String,
    /// By what it is taken back, where that was known.
    pub handle: Option<String>,
}

impl Leases {
    /// Those of this store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Writes one down before it is made; on disk when this is done.
    pub async fn open(&self, id: &str, record: String) -> Result<(), WriteFault> {
        let id = id.to_owned();
        let written = self.store.write(move |connection| {
            let sql = "INSERT INTO leases (id, record, handle) VALUES (?1, ?2, NULL)";
            connection.prepare_cached(sql)?.execute(params![id, record]).map(drop)
        });
        written.await
    }

    /// Writes down by what it is taken back, in place of what was written before; on disk when this is done.
    pub async fn keep(&self, id: &str, record: String, handle: &str) -> Result<(), WriteFault> {
        let sealed = self.store.seal().close_other(&about(id), handle.as_bytes()).map_err(|_| WriteFault::Randomness)?;
        let id = id.to_owned();
        let written = self.store.write(move |connection| {
            let sql = "UPDATE leases SET record = ?2, handle = ?3 WHERE id = ?1";
            let kept = connection.prepare_cached(sql)?.execute(params![id, record, sealed])?;
            if kept == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
        });
        written.await
    }

    /// It is over.
    pub async fn close(&self, id: &str) -> Result<(), WriteFault> {
        let id = id.to_owned();
        let written = self.store.write(move |connection| {
            connection.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute(params![id]).map(drop)
        });
        written.await
    }

    /// Those that are not over, the oldest first.
    pub fn all(&self) -> Result<Vec<StoredLease>, StoreFault> {
        let reader = self.store.read();
        let mut query = reader.prepare("SELECT id, record, handle FROM leases ORDER BY rowid")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let found: Vec<(String, String, Option<Vec<u8>>)> = rows.collect::<Result<_, _>>()?;
        let opened = found.into_iter().map(|(id, record, sealed)| {
            let fault = |why: String| StoreFault::Row { table: "leases", row: id.clone(), why };
            let handle = match sealed {
                None => None,
                Some(sealed) => {
                    let plain = self.store.seal().open_other(&about(&id), &sealed).map_err(|broken| fault(broken.to_string()))?;
                    Some(String::from_utf8(plain).map_err(|_| fault("it is no text".to_owned()))?)
                }
            };
            Ok(StoredLease { id: id.clone(), record, handle })
        });
        opened.collect()
    }
}

/// What the ciphertext is tied to: no lease can be taken back as another.
fn about(id: &str) -> Vec<u8> {
    format!("lease\0{id}").into_bytes()
}
