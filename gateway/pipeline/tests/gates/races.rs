//! Many at once: what may happen once happens once.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    grant::{Budget, Grant, GrantState},
    ports::TicketState,
    records::Outcome,
};

use crate::world::{ALL, Bench, Heard, alive, terms};

fn of_outcome(heard: &[Heard], outcome: Outcome) -> usize {
    heard.iter().filter(|heard| heard.answer.outcome == outcome).count()
}

/// Attack 82: 2 calls left, 50 at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a82_two_calls_left_and_fifty_at_once() {
    let tight = || Grant { budget: Budget { calls: Some(2), writes: None, ..Budget::default() }, ..terms("root", &ALL) };
    for of_parent in [false, true] {
        let root = alive(tight(), None);
        let grant = if of_parent { alive(terms("g", &ALL), Some(&root)) } else { root };
        let bench = Bench::new();
        *bench.fakes.grants.lock().unwrap() = vec![Arc::clone(&grant)];
        let heard = bench.crowd(50, "tickets__close", "{}").await;
        assert_eq!((of_outcome(&heard, Outcome::Success), bench.fakes.sent.lock().unwrap().len()), (2, 2));
        assert_eq!(grant.standing().calls, 2);
        for heard in heard.iter().filter(|heard| heard.answer.outcome != Outcome::Success) {
            heard.refused("record", Outcome::Denied, "budget_exhausted");
        }
    }
}

/// Attack 90: one approval, 50 at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a90_one_approval_and_fifty_at_once() {
    let bench = Bench::new();
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    let heard = bench.crowd(50, "tickets__refund", "{}").await;
    assert_eq!((of_outcome(&heard, Outcome::Success), bench.fakes.sent.lock().unwrap().len()), (1, 1));
    for heard in heard.iter().filter(|heard| heard.answer.outcome != Outcome::Success) {
        heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
    }
    // All the others ask one question.
    assert_eq!((bench.fakes.questions().len(), bench.grant().standing().calls), (2, 1));
}

/// Attack 80: when `end` has returned and the way out is drained, no write begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a80_no_write_begins_after_the_end() {
    for round in 0..30 {
        let bench = Bench::new();
        let grant = bench.grant();
        let calls: Vec<_> = (0..20).map(|_| bench.spawn("tickets__close", "{}")).collect();
        bench.fakes.reached("identify", round % 20 + 1).await;
        grant.end(GrantState::Revoked);
        assert!(grant.drained(Duration::from_secs(20)).await);
        let begun = bench.fakes.sent.lock().unwrap().len();
        for call in calls {
            let heard = call.await.unwrap();
            assert!(
                [Outcome::Success, Outcome::Cancelled, Outcome::Denied].contains(&heard.answer.outcome),
                "{:?}",
                heard.told()
            );
            heard.outcome();
            heard.decision();
        }
        assert_eq!(bench.fakes.sent.lock().unwrap().len(), begun);
    }
}

/// A rule that counts calls sees all of them, however many come at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rule_that_counts_can_not_be_outrun() {
    let bench = Bench::new();
    let heard = bench.crowd(50, "tickets__counted", "{}").await;
    assert_eq!((of_outcome(&heard, Outcome::Success), bench.fakes.sent.lock().unwrap().len()), (3, 3));
    assert_eq!(bench.grant().standing().calls, 3);
    assert_eq!(of_outcome(&heard, Outcome::Denied), 47);
}
