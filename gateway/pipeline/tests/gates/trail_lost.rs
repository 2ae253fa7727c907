//! Losing the trail always stops a call (invariant 12).

use bailiwick_pipeline::{
    ports::{ClaimEnd, TicketState},
    records::Outcome,
};

use crate::world::{Bench, Heard, Told};

fn lost(heard: &Heard) {
    let words = "the gateway can't keep its record and does nothing until that is mended";
    assert_eq!(heard.told(), Told::Error(1003, words.to_owned(), None, 503));
    assert_eq!(heard.answer.outcome, Outcome::InternalError);
}

#[tokio::test]
async fn nothing_is_sent_without_decision_intent_secret_or_disk() {
    for (point, tool) in
        [("decision", "tickets__get"), ("intent", "tickets__get"), ("secret", "vault__get"), ("sync", "tickets__close")]
    {
        let bench = Bench::new();
        bench.fakes.lose(point);
        let heard = bench.call(tool, "{}").await;
        lost(&heard);
        assert_eq!(bench.fakes.count("send"), 0, "{point}");
        assert_eq!(heard.outcome()["reason"], "trail_lost", "{point}");
        bench.fakes.find_again();
        bench.call(tool, "{}").await.ran();
    }
}

/// For a read the disk is not waited for.
#[tokio::test]
async fn a_read_does_not_wait_for_the_disk() {
    let bench = Bench::new();
    bench.fakes.lose("sync");
    bench.call("tickets__get", "{}").await.ran();
    assert_eq!(bench.fakes.count("sync"), 0);
}

/// The tool has answered, and the agent must not hear it.
#[tokio::test]
async fn without_an_outcome_on_record_nothing_of_the_answer_is_told() {
    for tool in ["tickets__get", "tickets__close", "files__nosuch"] {
        let bench = Bench::new();
        bench.fakes.lose("outcome");
        let heard = bench.call(tool, "{}").await;
        lost(&heard);
        let trace = bench.fakes.traces.lock().unwrap().pop().unwrap();
        assert!(trace.root.attributes.contains(&("bailiwick.outcome", "internal_error".into())));
    }
    let bench = Bench::new();
    bench.fakes.lose("outcome");
    lost(&bench.list().await);
}

#[tokio::test]
async fn a_list_and_a_refusal_need_their_decision_too() {
    let bench = Bench::new();
    bench.fakes.lose("decision");
    lost(&bench.list().await);
    lost(&bench.call("tickets__nosuch", "{}").await);
    let held = bench.call("tickets__refund", "{}").await;
    lost(&held);
}

/// The intent was not written: the claimed approval is known not to have run. It was: nobody knows.
#[tokio::test]
async fn the_claim_ends_as_what_is_known() {
    for (point, end) in [("intent", ClaimEnd::Failed), ("decision", ClaimEnd::Unknown), ("sync", ClaimEnd::Unknown)] {
        let bench = Bench::new();
        bench.call("tickets__refund", "{}").await;
        bench.fakes.decide(&TicketState::Approved);
        bench.fakes.lose(point);
        lost(&bench.call("tickets__refund", "{}").await);
        assert_eq!(bench.fakes.questions()[0].ended, Some(end), "{point}");
        assert_eq!(bench.grant().standing().calls, u64::from(point != "intent"));
    }
}

/// What a credential is used for, when that can't be recorded, is committed and never sent.
#[tokio::test]
async fn a_use_that_can_not_be_recorded_is_not_sent() {
    let bench = Bench::new();
    let fakes = std::sync::Arc::clone(&bench.fakes);
    bench.fakes.at("intent", move || fakes.lose("secret"));
    let heard = bench.call("vault__get", "{}").await;
    lost(&heard);
    heard.failed(Outcome::InternalError, "trail_lost", 0);
}
