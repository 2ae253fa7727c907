//! `keep`: what a rule has kept of a call is kept, or the call does not go, and its result is not told.

use std::sync::Arc;

use bailiwick_pipeline::records::Outcome;

use crate::world::{Bench, catalogue};

const ARGUMENTS: &str = r#"{"id":"7"}"#;

fn keeping(parts: &[&'static str]) -> Bench {
    let bench = Bench::new();
    let kept = "@id(\"kept\") @log(\"full\") permit (principal, action == Bailiwick::Action::\"tickets__get\", resource);";
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &format!("{}{kept}", catalogue::rules())));
    *bench.fakes.keeps.lock().unwrap() = parts.to_vec();
    bench
}

#[tokio::test]
async fn what_can_not_be_kept_is_not_executed() {
    let bench = keeping(&["result"]);
    bench.call("tickets__get", ARGUMENTS).await.refused("record", Outcome::Denied, "not_kept");
    assert!(bench.fakes.sent.lock().unwrap().is_empty());
    // No rule has that one kept.
    bench.call("tickets__close", "{}").await.ran();
}

#[tokio::test]
async fn a_result_that_can_not_be_kept_is_not_told() {
    let bench = keeping(&["arguments"]);
    let heard = bench.call("tickets__get", ARGUMENTS).await;
    assert_eq!(bench.fakes.sent.lock().unwrap().len(), 1);
    assert_eq!((heard.answer.outcome, heard.outcome()["reason"].as_str()), (Outcome::InternalError, Some("not_kept")));
    assert!(heard.text().contains("its result is withheld"), "{}", heard.text());
}

#[tokio::test]
async fn what_is_kept_is_what_was_sent_and_what_was_told() {
    let bench = keeping(&["arguments", "result"]);
    bench.call("tickets__get", ARGUMENTS).await.ran();
    let kept = bench.fakes.kept.lock().unwrap().clone();
    let parts: Vec<_> = kept.iter().map(|(part, _)| *part).collect();
    assert_eq!(parts, ["arguments", "result"]);
    assert_eq!(kept[0].1, ARGUMENTS);
}
