//! The passkeys of people: in memory what counts now, in the store what survives a restart.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::params;

use crate::{
    fault::{StoreFault, WriteFault},
    rows::{self, Place, column},
    store::Store,
};

const TABLE: &str = "passkeys";

/// A passkey: the public half of a key that a person's authenticator made for the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// The authenticator's id for it.
    pub id: Vec<u8>,
    /// Whose it is.
    pub person: String,
    /// What they call it.
    pub name: String,
    /// The public key (COSE).
    pub cose: Vec<u8>,
    /// How often it has signed, as it says; 0 where it doesn't count.
    pub count: u32,
    /// Whether it may be copied to other devices of its owner.
    pub is_backup_eligible: bool,
    /// Whether it is.
    pub is_backed_up: bool,
    /// When it was added, unix milliseconds.
    pub added_ms: u64,
    /// When it was used last, unix milliseconds.
    pub used_ms: Option<u64>,
    /// The user of this machine to whom it traces: who made the link by which it was added, or by which the passkey was that it was added
    /// with. None where nobody knows: it is older than this is kept.
    pub maker: Option<u32>,
}

/// Why a use of a passkey does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseFault {
    /// There is none of this id.
    #[error("this passkey is not registered")]
    Unknown,
    /// It has signed less often than it had before: there are two of it.
    #[error("this passkey says that it has signed {said} times, and it had {known} times before: there may be a copy of it")]
    Copied {
        /// What it says.
        said: u32,
        /// What it said before.
        known: u32,
    },
    /// It says something else of itself than before.
    #[error("this passkey says something else of its backups than when it was added")]
    Changed,
    /// It could not be stored: it does not count.
    #[error(transparent)]
    Write(#[from] WriteFault),
}

/// All passkeys.
pub struct Passkeys {
    store: Store,
    all: Mutex<BTreeMap<Vec<u8>, Passkey>>,
}

impl Passkeys {
    /// Reads all of them.
    pub fn load(store: &Store) -> Result<Self, StoreFault> {
        type Row = (Vec<u8>, String, String, Vec<u8>, i64, bool, bool, i64, Option<i64>, Option<u32>);
        let sql = "SELECT id, person, name, cose, count, backup_eligible, backed_up, added_ms, used_ms, uid \
                   FROM passkeys LEFT JOIN passkey_makers ON passkey = id";
        let stored: Vec<Row> = rows::all(&store.read(), sql, |row| row.try_into())?;
        let mut all = BTreeMap::new();
        for (id, person, name, cose, count, is_backup_eligible, is_backed_up, added, used, maker) in stored {
            let place = Place { table: TABLE, row: &person };
            let count = u32::try_from(count).map_err(|_| place.fault("its count is no count"))?;
            let (added_ms, used_ms) = (place.number(added)?, used.map(|used| place.number(used)).transpose()?);
            let passkey =
                Passkey { id: id.clone(), person, name, cose, count, is_backup_eligible, is_backed_up, added_ms, used_ms, maker };
            all.insert(id, passkey);
        }
        Ok(Self { store: store.clone(), all: Mutex::new(all) })
    }

    /// The passkey of this id.
    pub fn find(&self, id: &[u8]) -> Option<Passkey> {
        self.all().get(id).cloned()
    }

    /// Those of a person, the oldest first.
    pub fn of(&self, person: &str) -> Vec<Passkey> {
        let mut found: Vec<_> = self.all().values().filter(|passkey| passkey.person == person).cloned().collect();
        found.sort_by_key(|passkey| passkey.added_ms);
        found
    }

    /// Whose passkeys there are.
    pub fn people(&self) -> std::collections::BTreeSet<String> {
        self.all().values().map(|passkey| passkey.person.clone()).collect()
    }

    /// Adds one: stored first. One of the same id is never replaced.
    pub async fn add(&self, passkey: Passkey) -> Result<(), WriteFault> {
        let row = passkey.clone();
        let stored = self.store.write(move |connection| {
            let sql = "INSERT INTO passkeys (id, person, name, cose, count, backup_eligible, backed_up, added_ms, used_ms) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let Passkey { id, person, name, cose, count, is_backup_eligible, is_backed_up, added_ms, used_ms, maker } = row;
            let times = (column(added_ms), used_ms.map(column));
            let values = params![id, person, name, cose, count, is_backup_eligible, is_backed_up, times.0, times.1];
            connection.prepare_cached(sql)?.execute(values)?;
            let Some(uid) = maker else { return Ok(()) };
            connection
                .prepare_cached("INSERT INTO passkey_makers (passkey, uid) VALUES (?1, ?2)")?
                .execute(params![id, uid])
                .map(drop)
        });
        stored.await?;
        self.all().insert(passkey.id.clone(), passkey);
        Ok(())
    }

    /// Removes those of these ids: in memory when this returns; durable once what is returned has ended.
    pub fn remove(&self, ids: Vec<Vec<u8>>) -> impl Future<Output = Result<(), WriteFault>> + use<> {
        let mut all = self.all();
        for id in &ids {
            all.remove(id);
        }
        // Queued under the lock: nobody adds one of the same id in between.
        self.store.write(move |connection| {
            let mut remove = connection.prepare_cached("DELETE FROM passkeys WHERE id = ?1")?;
            let mut forget = connection.prepare_cached("DELETE FROM passkey_makers WHERE passkey = ?1")?;
            ids.into_iter().try_for_each(|id| remove.execute([&id]).and_then(|_| forget.execute([&id])).map(drop))
        })
    }

    /// It has signed: what it says of itself now. Stored when this returns; only then does what it signed count.
    pub async fn used(&self, id: &[u8], count: u32, backup: (bool, bool), now_ms: u64) -> Result<Passkey, UseFault> {
        let (passkey, stored) = {
            let mut all = self.all();
            let passkey = all.get_mut(id).ok_or(UseFault::Unknown)?;
            // Both 0: it does not count at all (Web Authentication, section 6.1.1).
            if count <= passkey.count && (count, passkey.count) != (0, 0) {
                return Err(UseFault::Copied { said: count, known: passkey.count });
            }
            if backup.0 != passkey.is_backup_eligible {
                return Err(UseFault::Changed);
            }
            // In memory at once: of two uses with one count, one counts.
            (passkey.count, passkey.is_backed_up, passkey.used_ms) = (count, backup.1, Some(now_ms));
            let (row, is_backed_up) = (id.to_vec(), backup.1);
            let stored = self.store.write(move |connection| {
                let sql = "UPDATE passkeys SET count = ?2, backed_up = ?3, used_ms = ?4 WHERE id = ?1";
                connection.prepare_cached(sql)?.execute(params![row, count, is_backed_up, column(now_ms)]).map(drop)
            });
            (passkey.clone(), stored)
        };
        stored.await?;
        Ok(passkey)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Passkey>> {
        // A panic while it was held leaves a map that is whole.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Passkeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passkeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn passkey(id: u8, person: &str) -> Passkey {
        Passkey {
            id: vec![id],
            person: person.to_owned(),
            name: "key".to_owned(),
            cose: vec![1, 2],
            count: 3,
            is_backup_eligible: true,
            is_backed_up: false,
            added_ms: u64::from(id),
            used_ms: None,
            maker: (id != 2).then_some(1000 + u32::from(id)),
        }
    }

    #[tokio::test]
    async fn passkeys_survive_a_restart_with_their_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let passkeys = Passkeys::load(&store).unwrap();
        passkeys.add(passkey(1, "ada")).await.unwrap();
        passkeys.add(passkey(2, "ada")).await.unwrap();
        passkeys.add(passkey(3, "bob")).await.unwrap();
        assert!(passkeys.add(passkey(1, "bob")).await.is_err(), "no id is given twice");
        assert_eq!(passkeys.find(&[1]).unwrap().person, "ada");
        passkeys.used(&[1], 9, (true, true), 77).await.unwrap();
        passkeys.remove(vec![vec![3]]).await.unwrap();
        drop((passkeys, store));
        let passkeys = Passkeys::load(&Store::open(folder.path()).unwrap()).unwrap();
        let of_ada = passkeys.of("ada");
        assert_eq!(of_ada.len(), 2);
        let first = of_ada.first().unwrap();
        assert_eq!((first.count, first.is_backed_up, first.used_ms), (9, true, Some(77)));
        assert_eq!(of_ada.iter().map(|passkey| passkey.maker).collect::<Vec<_>>(), [Some(1001), None]);
        assert!(passkeys.of("bob").is_empty() && passkeys.people().contains("ada"));
        drop(passkeys);
        // In a store of the version before, nobody knows to whom they trace.
        let older = "DROP TABLE passkey_makers; PRAGMA user_version = 5";
        rusqlite::Connection::open(folder.path().join("state.db")).unwrap().execute_batch(older).unwrap();
        let raised = Passkeys::load(&Store::open(folder.path()).unwrap()).unwrap();
        assert!(raised.of("ada").iter().all(|passkey| passkey.maker.is_none()));
        raised.add(passkey(4, "ada")).await.unwrap();
        assert_eq!(raised.find(&[4]).unwrap().maker, Some(1004));
    }

    #[tokio::test]
    async fn a_copy_of_a_passkey_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let passkeys = Passkeys::load(&Store::open(folder.path()).unwrap()).unwrap();
        passkeys.add(passkey(1, "ada")).await.unwrap();
        for count in [0, 2, 3] {
            let used = passkeys.used(&[1], count, (true, false), 1).await;
            assert_eq!(used, Err(UseFault::Copied { said: count, known: 3 }));
        }
        passkeys.used(&[1], 4, (true, false), 1).await.unwrap();
        assert_eq!(passkeys.used(&[1], 5, (false, false), 1).await, Err(UseFault::Changed));
        assert_eq!(passkeys.used(&[2], 5, (true, false), 1).await, Err(UseFault::Unknown));
        passkeys.add(Passkey { count: 0, ..passkey(2, "ada") }).await.unwrap();
        for _ in 0..2 {
            passkeys.used(&[2], 0, (true, false), 1).await.unwrap();
        }
        let (one, other) = tokio::join!(passkeys.used(&[1], 7, (true, false), 1), passkeys.used(&[1], 7, (true, false), 1));
        assert!(one.is_ok() != other.is_ok(), "of two with one count, one counts");
    }
}
