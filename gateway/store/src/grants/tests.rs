#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{sync::mpsc, thread, time::Duration};

use bailiwick_pipeline::{grant::Labels, ids::GrantId};

use super::{LiveGrants, Row};
use crate::tests::{NOW, crashed, folder, open, terms};

fn done<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// What a grant has touched in the moment in which it is made is on disk with it, whenever usage is stored.
#[test]
fn usage_is_not_taken_for_stored_before_its_row_is_queued() {
    let data = folder();
    let grants = LiveGrants::load(&open(&data), &[]).unwrap();
    let touched = Labels::UNTRUSTED.join(Labels::CONFIDENTIAL);
    let id: GrantId = "a".parse().unwrap();
    thread::scope(|scope| {
        let turn = grants.turn();
        let row = Row::fresh(terms("a", "bot"), NOW).into_columns().unwrap();
        grants.adopt(&row.row, &[], None).touch(touched);
        let (tell, told) = mpsc::channel();
        let flushing = scope.spawn({
            let grants = &grants;
            move || {
                done(grants.flush(7)).unwrap();
                let _ = tell.send(());
            }
        });
        // Time for one that doesn't wait to do it wrong; one that waits is right however short this is.
        let _ = told.recv_timeout(Duration::from_millis(300));
        let stored = grants.store.write(move |connection| row.put(connection));
        drop(turn);
        done(stored).unwrap();
        flushing.join().unwrap();
    });
    done(grants.flush(8)).unwrap();
    let again = LiveGrants::load(&open(&crashed(&data)), &[]).unwrap();
    assert_eq!(again.entry(&id).unwrap().grant.standing().labels, touched);
}
