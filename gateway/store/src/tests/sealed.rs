//! What somebody can't do who reads or writes the file.

use bailiwick_pipeline::ports::{ApprovalFailure, Approvals as _};

use super::{NOW, agents, approvals, approver, ask, folder, open, tamper};
use crate::{Decision, LiveApprovals, Settings, ShowFault, StoreFault};

#[tokio::test]
async fn sealed_arguments_are_neither_read_nor_changed_in_the_file() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    let one = ask(&live, r#"{"to":"one"}"#, NOW).await.unwrap();
    let two = ask(&live, r#"{"to":"two"}"#, NOW).await.unwrap();
    let bytes = [
        std::fs::read(data.path().join("state.db")).unwrap(),
        std::fs::read(data.path().join("state.db-wal")).unwrap(),
    ];
    assert!(
        !bytes
            .iter()
            .any(|file| file.windows(12).any(|window| window == br#"{"to":"one"}"#))
    );
    drop((live, store));

    let swap = "CREATE TEMP TABLE was AS SELECT id, sealed FROM approvals;
                UPDATE approvals SET sealed = (SELECT sealed FROM was WHERE was.id <> approvals.id)";
    let flip = "UPDATE approvals SET sealed = substr(sealed, 1, length(sealed) - 1) || x'00'";
    let cut = "UPDATE approvals SET sealed = x'00'";
    let rebind = "UPDATE approvals SET record = replace(record, '\"grant_revision\":1', '\"grant_revision\":2')";
    for sql in [swap, flip, cut, rebind] {
        let copy = folder();
        for name in ["state.db", "seal.key"] {
            std::fs::copy(data.path().join(name), copy.path().join(name)).unwrap();
        }
        tamper(copy.path(), sql);
        let live = approvals(&open(&copy));
        for ticket in [&one, &two] {
            assert!(
                matches!(live.arguments(&ticket.id), Err(ApprovalFailure::Lost(_))),
                "{sql}"
            );
            assert!(
                matches!(live.show(&ticket.code), Err(ShowFault::Unreadable { .. })),
                "{sql}"
            );
            let refused = live
                .decide(
                    &ticket.code,
                    Decision::approve(),
                    approver("ann", 3000),
                    NOW,
                )
                .await;
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
    assert!(matches!(
        live.arguments(&ticket.id),
        Err(ApprovalFailure::Lost(_))
    ));
    assert!(
        live.decide(
            &ticket.code,
            Decision::deny(None),
            approver("ann", 3000),
            NOW
        )
        .await
        .is_ok()
    );
}

#[tokio::test]
async fn a_record_of_another_state_is_refused() {
    let data = folder();
    let store = open(&data);
    ask(&approvals(&store), "{}", NOW).await.unwrap();
    tamper(data.path(), "UPDATE approvals SET state = 'approved'");
    let fault = LiveApprovals::load(&store, agents(), Settings::default(), &[]).unwrap_err();
    assert!(
        matches!(
            fault,
            StoreFault::Row {
                table: "approvals",
                ..
            }
        ),
        "{fault}"
    );
}
