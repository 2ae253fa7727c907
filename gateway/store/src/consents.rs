//! What owners consented to: who, where and when, and, sealed, what it takes to use that.

use rusqlite::params;

use crate::{
    fault::{StoreFault, WriteFault},
    store::Store,
};

/// The consents.
#[derive(Debug, Clone)]
pub struct ConsentRows {
    store: Store,
}

/// One of them.
pub struct StoredConsent {
    /// To which server, whose, and at which issuer: the three that it is found by.
    pub key: [String; 3],
    /// What it is, as JSON.
    pub record: String,
    /// What it takes to use it.
    pub secrets: String,
}

impl ConsentRows {
    /// Those of this store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Keeps this one in the place of the one before; on disk when this is done.
    pub async fn put(&self, key: [String; 3], record: String, secrets: &str) -> Result<(), WriteFault> {
        let sealed =
            self.store.seal().close_other(&about(&key, &record), secrets.as_bytes()).map_err(|_| WriteFault::Randomness)?;
        let written = self.store.write(move |connection| {
            let [resource, owner, issuer] = key;
            let sql = "INSERT OR REPLACE INTO consents (resource, owner, issuer, record, sealed) VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.prepare_cached(sql)?.execute(params![resource, owner, issuer, record, sealed]).map(drop)
        });
        written.await
    }

    /// It is over.
    pub async fn remove(&self, key: [String; 3]) -> Result<(), WriteFault> {
        let written = self.store.write(move |connection| {
            let [resource, owner, issuer] = key;
            let sql = "DELETE FROM consents WHERE resource = ?1 AND owner = ?2 AND issuer = ?3";
            connection.prepare_cached(sql)?.execute(params![resource, owner, issuer]).map(drop)
        });
        written.await
    }

    /// All of them.
    pub fn all(&self) -> Result<Vec<StoredConsent>, StoreFault> {
        let reader = self.store.read();
        let mut query =
            reader.prepare("SELECT resource, owner, issuer, record, sealed FROM consents ORDER BY resource, owner, issuer")?;
        let rows = query.query_map([], |row| Ok(([row.get(0)?, row.get(1)?, row.get(2)?], row.get(3)?, row.get(4)?)))?;
        let found: Vec<([String; 3], String, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        let opened = found.into_iter().map(|(key, record, sealed): ([String; 3], String, Vec<u8>)| {
            let fault = |why: String| StoreFault::Row { table: "consents", row: key.join(" "), why };
            let plain =
                self.store.seal().open_other(&about(&key, &record), &sealed).map_err(|broken| fault(broken.to_string()))?;
            let secrets = String::from_utf8(plain).map_err(|_| fault("it is no text".to_owned()))?;
            Ok(StoredConsent { key: key.clone(), record, secrets })
        });
        opened.collect()
    }
}

/// What the ciphertext is tied to: no consent can be used as another's, or with more than was consented to.
fn about(key: &[String; 3], record: &str) -> Vec<u8> {
    let mut about = b"consent".to_vec();
    for part in key.iter().map(String::as_str).chain([record]) {
        about.push(0);
        about.extend_from_slice(part.as_bytes());
    }
    about
}
