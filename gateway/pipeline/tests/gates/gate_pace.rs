//! `pace`: no faster than the grant, those above it, and the connector say.

use std::sync::Arc;

use bailiwick_pipeline::{grant::Grant, records::Outcome};

use crate::world::{ALL, Asking, Bench, alive, catalogue, terms};

/// How many of ten calls went.
async fn of_ten(bench: &Bench) -> usize {
    let mut ran = 0;
    for _ in 0..10 {
        let heard = bench.call("tickets__get", "{}").await;
        if heard.answer.outcome == Outcome::Success {
            ran += 1;
        } else {
            heard.refused("grant", Outcome::RateLimited, "too_many_requests");
            assert!(heard.intents().is_empty());
        }
    }
    ran
}

#[tokio::test]
async fn a_task_is_called_no_faster_than_its_grant_and_those_above_it_say() {
    assert_eq!(of_ten(&Bench::new()).await, 10);
    let slow = || Grant { max_rate: Some(1), ..terms("slow", &ALL) };
    for of_parent in [false, true] {
        let root = alive(slow(), None);
        let grant = if of_parent { alive(terms("g", &ALL), Some(&root)) } else { root };
        let bench = Bench::new();
        *bench.fakes.grants.lock().unwrap() = vec![grant];
        let ran = of_ten(&bench).await;
        assert!((2..10).contains(&ran), "{ran}");
    }
}

#[tokio::test]
async fn a_connector_is_called_no_faster_than_all_together_may() {
    let bench = Bench::with([terms("g", &["tickets/resource_read"])]);
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world_of_pace("tickets", 1));
    let (mut went, mut refused) = (0, 0);
    for _ in 0..10 {
        let heard = bench.handle(bench.asked("resources/read", r#"{"uri":"tickets+a:1"}"#, Asking::plain())).await;
        if heard.answer.outcome == Outcome::RateLimited {
            heard.refused("grant", Outcome::RateLimited, "too_many_requests");
            refused += 1;
        } else {
            went += 1;
        }
    }
    assert!(went >= 2 && refused > 0, "{went} went, {refused} were refused");
}
