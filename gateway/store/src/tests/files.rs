//! The files: whose they are, and what is refused.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::{NOW, crashed, folder, open, tamper};
use crate::{Store, StoreFault, Tokens, WriteFault};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn all_files_are_private_from_the_start() {
    let data = folder();
    let store = Store::open(&data.path().join("deep/er")).unwrap();
    assert_eq!(mode(&data.path().join("deep/er")), 0o700);
    for name in ["state.db", "state.db-wal", "state.db-shm", "state.lock", "seal.key"] {
        assert_eq!(mode(&data.path().join("deep/er").join(name)), 0o600, "{name}");
    }
    drop(store);
}

#[test]
fn a_file_open_to_others_is_refused_and_says_what_to_do() {
    for name in ["state.db", "seal.key", "state.lock"] {
        let data = folder();
        drop(open(&data));
        let path = data.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let fault = Store::open(data.path()).unwrap_err();
        assert!(matches!(fault, StoreFault::Exposed { mode: 0o640, wanted: 0o600, .. }), "{name}: {fault}");
        assert!(fault.to_string().contains(&format!("chmod 600 {}", path.canonicalize().unwrap().display())), "{fault}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        open(&data);
    }
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let data = folder();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(data.path()), Err(StoreFault::Exposed { wanted: 0o700, .. })));
}

#[test]
fn links_are_refused() {
    let data = folder();
    let elsewhere = folder();
    drop(open(&elsewhere));
    symlink(elsewhere.path().join("state.db"), data.path().join("state.db")).unwrap();
    assert!(matches!(Store::open(data.path()), Err(StoreFault::NotPlain { wanted: "file", .. })));
}

#[test]
fn a_store_is_opened_once_at_a_time() {
    let data = folder();
    let first = open(&data);
    assert!(matches!(Store::open(data.path()), Err(StoreFault::Held { .. })));
    drop(first);
    open(&data);
}

#[test]
fn damage_is_refused_loudly() {
    let data = folder();
    fs::write(data.path().join("state.db"), "this is no database, although it is long enough to look like one").unwrap();
    fs::set_permissions(data.path().join("state.db"), fs::Permissions::from_mode(0o600)).unwrap();
    let fault = Store::open(data.path()).unwrap_err();
    assert!(matches!(fault, StoreFault::Damaged { .. }), "{fault}");
    assert!(fault.to_string().contains("restore it from a backup"), "{fault}");
}

#[tokio::test]
async fn damage_inside_is_refused_too() {
    let data = folder();
    let store = open(&data);
    for number in 0..200 {
        store.set_meta(&format!("key-{number}"), Some(&"x".repeat(200))).await.unwrap();
    }
    drop(store);
    let path = data.path().join("state.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    let length = bytes.len();
    bytes[middle..length.min(middle + 8192)].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Store::open(data.path()), Err(StoreFault::Damaged { .. })));
}

#[test]
fn a_newer_schema_and_a_foreign_database_are_refused() {
    let data = folder();
    drop(open(&data));
    tamper(data.path(), "PRAGMA user_version = 99");
    let fault = Store::open(data.path()).unwrap_err();
    assert!(matches!(fault, StoreFault::Newer { found: 99, known: 6, .. }), "{fault}");
    assert!(fault.to_string().contains("run that version"), "{fault}");
    tamper(data.path(), "PRAGMA user_version = 6; PRAGMA application_id = 5");
    assert!(matches!(Store::open(data.path()), Err(StoreFault::Foreign { .. })));
}

#[test]
fn a_key_of_another_length_is_refused() {
    let data = folder();
    drop(open(&data));
    fs::write(data.path().join("seal.key"), [0; 31]).unwrap();
    assert!(matches!(Store::open(data.path()), Err(StoreFault::Key { .. })));
}

#[tokio::test]
async fn settings_and_the_cursor_survive() {
    let data = folder();
    let store = open(&data);
    assert_eq!(store.trail_cursor().unwrap(), 0);
    store.set_meta("frozen", Some("yes")).await.unwrap();
    store.set_meta("frozen", Some("no")).await.unwrap();
    store.set_meta("gone", Some("x")).await.unwrap();
    store.set_meta("gone", None).await.unwrap();
    let after = crashed(&data);
    let store = open(&after);
    assert_eq!(store.meta("frozen").unwrap().as_deref(), Some("no"));
    assert_eq!(store.meta("gone").unwrap(), None);
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_crash() {
    let data = folder();
    let store = open(&data);
    let writes = (0..300).map(|number| store.write(move |connection| crate::store::put_cursor(connection, number)));
    let writes: Vec<_> = writes.collect();
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(open(&crashed(&data)).trail_cursor().unwrap(), 299);
}

#[tokio::test]
async fn one_refused_change_does_not_take_its_batch_with_it() {
    let data = folder();
    let store = open(&data);
    let insert = |key: &'static str| {
        store.write(move |connection| {
            connection.execute("INSERT INTO meta VALUES (?1 || '-half', '')", [key])?;
            connection.execute("INSERT INTO meta VALUES (?1, '')", [key]).map(drop)
        })
    };
    let (first, again, other) = (insert("a"), insert("a"), insert("b"));
    assert_eq!(first.await, Ok(()));
    assert!(matches!(again.await, Err(WriteFault::Conflict(_))));
    assert_eq!(other.await, Ok(()));
    assert_eq!(store.lost(), None);
}

#[tokio::test]
async fn a_failed_commit_loses_the_store_for_good() {
    let data = folder();
    let store = open(&data);
    let tokens = Tokens::load(&store).unwrap();
    // A deferred foreign key is judged at the commit: so the commit is what fails.
    let broken = store.write(|connection| {
        connection.execute_batch(
            "PRAGMA defer_foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (id INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (1);",
        )
    });
    let beside = store.set_meta("beside", Some("x"));
    assert!(matches!(broken.await, Err(WriteFault::Lost(_))));
    let _ = beside.await;
    assert!(store.lost().is_some());
    assert!(matches!(store.set_meta("after", Some("x")).await, Err(WriteFault::Lost(_))));
    assert!(tokens.issue_agent(&"bot".parse().unwrap(), 1000, NOW).await.is_err());
    assert_eq!(tokens.list(None), []);
    assert_eq!(store.meta("after").unwrap(), None);
    drop((store, tokens));
    assert_eq!(open(&data).lost(), None);
}

#[tokio::test]
async fn a_failed_follower_loses_the_store() {
    let data = folder();
    let store = open(&data);
    store.follow(|connection| connection.execute("INSERT INTO meta VALUES (NULL, NULL)", []).map(drop));
    assert!(matches!(store.set_meta("after", Some("x")).await, Err(WriteFault::Lost(_))));
}
