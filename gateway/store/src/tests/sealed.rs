//! What somebody can't do who reads or writes the file.

use bailiwick_pipeline::ports::{ApprovalFailure, Approvals as _};

use rusqlite::Connection;

use super::{NOW, agents, approvals, approver, ask, folder, open, tamper};
use crate::{Decision, LiveApprovals, Settings, ShowFault, StoreFault, rows};

#[tokio::test]
async fn sealed_arguments_are_neither_read_nor_changed_in_the_file() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    let one = ask(&live, r#"{"to":"one"}"#, NOW).await.unwrap();
    let two = ask(&live, r#"{"to":"two"}"#, NOW).await.unwrap();
    let bytes = [std::fs::read(data.path().join("state.db")).unwrap(), std::fs::read(data.path().join("state.db-wal")).unwrap()];
    assert!(!bytes.iter().any(|file| file.windows(12).any(|window| window == br#"{"to":"one"}"#)));
    drop((live, store));

    let swap = "CREATE TEMP TABLE was AS SELECT id, sealed FROM approvals;
                UPDATE approvals SET sealed = (SELECT sealed FROM was WHERE was.id <> approvals.id)";
    let cut = "UPDATE approvals SET sealed = x'00'";
    let rebind = "UPDATE approvals SET record = replace(record, '\"grant_revision\":1', '\"grant_revision\":2')";
    for sql in [swap, cut, rebind, FLIP] {
        let copy = folder();
        for name in ["state.db", "seal.key"] {
            std::fs::copy(data.path().join(name), copy.path().join(name)).unwrap();
        }
        if sql == FLIP {
            flip_a_bit(copy.path());
        } else {
            tamper(copy.path(), sql);
        }
        let live = approvals(&open(&copy));
        for ticket in [&one, &two] {
            assert!(matches!(live.arguments(&ticket.id), Err(ApprovalFailure::Lost(_))), "{sql}");
            assert!(matches!(live.show(&ticket.code), Err(ShowFault::Unreadable { .. })), "{sql}");
            let refused = live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await;
            assert!(refused.is_err(), "{sql}");
        }
    }
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let data = folder();
    let store = open(&data);
    let ticket = ask(&approvals(&store), "{}", NOW).await.unwrap();
    drop(store);
    std::fs::remove_file(data.path().join("seal.key")).unwrap();
    let live = approvals(&open(&data));
    assert!(matches!(live.arguments(&ticket.id), Err(ApprovalFailure::Lost(_))));
    assert!(live.decide(&ticket.code, Decision::deny(None), approver("ann", 3000), NOW).await.is_ok());
}

#[tokio::test]
async fn a_record_of_another_state_is_refused() {
    let data = folder();
    let store = open(&data);
    ask(&approvals(&store), "{}", NOW).await.unwrap();
    tamper(data.path(), "UPDATE approvals SET state = 'approved'");
    let fault = LiveApprovals::load(&store, agents(), Settings::default(), &[]).unwrap_err();
    assert!(matches!(fault, StoreFault::Row { table: "approvals", .. }), "{fault}");
}

/// Stands for a change that SQL can't make well.
const FLIP: &str = "one bit flipped";

fn flip_a_bit(data: &std::path::Path) {
    let connection = Connection::open(data.join("state.db")).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let rows: Vec<(String, Vec<u8>)> = rows::all(&connection, "SELECT id, sealed FROM approvals", read).unwrap();
    for (id, mut sealed) in rows {
        *sealed.last_mut().unwrap() ^= 1;
        let update = "UPDATE approvals SET sealed = ?2 WHERE id = ?1";
        connection.execute(update, rusqlite::params![id, sealed]).unwrap();
    }
}
