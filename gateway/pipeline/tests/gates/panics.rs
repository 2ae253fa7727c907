//! A panic in any port, and so in any gate, ends one call: refused, on record, and the next one works.

use bailiwick_pipeline::{
    ports::{ClaimEnd, TicketState},
    records::Outcome,
};

use crate::world::{Bench, Told};

async fn approved() -> Bench {
    let bench = Bench::new();
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    bench
}

#[tokio::test]
async fn a_panic_is_an_internal_error_on_record_and_the_next_call_works() {
    // The point, the tool, the gate it happens in, whether the call was committed and sent by then.
    for (point, tool, gate, committed, sent) in [
        ("random", "tickets__get", "receive", 0, 0),
        ("now", "tickets__get", "identify", 0, 0),
        ("identify", "tickets__get", "identify", 0, 0),
        ("grants_of", "tickets__get", "grant", 0, 0),
        ("world", "tickets__get", "grant", 0, 0),
        ("find", "tickets__refund", "approve", 0, 0),
        ("arguments", "tickets__refund", "approve", 0, 0),
        ("lend", "vault__get", "arm", 0, 0),
        ("ready", "tickets__get", "arm", 0, 0),
        ("secret", "vault__get", "arm", 0, 0),
        ("claim", "tickets__refund", "record", 0, 0),
        ("hmac", "tickets__get", "record", 0, 0),
        ("intent", "tickets__get", "record", 0, 0),
        ("decision", "tickets__get", "record", 1, 0),
        ("sync", "tickets__close", "record", 1, 0),
        ("send", "tickets__get", "send", 1, 0),
        ("answer", "tickets__get", "send", 1, 1),
    ] {
        let bench = approved().await;
        bench.fakes.at(point, || panic!("boom"));
        let heard = bench.call(tool, "{}").await;
        assert_eq!(heard.told(), Told::Error(-32603, "internal error: the call was stopped".to_owned(), None, 500), "{point}");
        assert_eq!(heard.answer.outcome, Outcome::InternalError);
        let outcome = heard.outcome();
        assert_eq!(
            (&outcome["reason"], &outcome["detail"]),
            (&"internal".into(), &format!("a panic in gate `{gate}`: boom").into()),
            "{point}"
        );
        heard.decision();
        assert_eq!((heard.intents().len(), heard.sent()), (committed, sent), "{point}");
        let trace = bench.fakes.traces.lock().unwrap().pop().unwrap();
        assert_eq!((trace.root.error.as_deref(), trace.important), (Some("panic"), true), "{point}");
        bench.call(tool, "{}").await;
        bench.call("tickets__close", "{}").await.ran();
    }
}

/// A question that could not be asked because asking panicked.
#[tokio::test]
async fn a_panic_while_a_person_is_asked() {
    for point in ["request", "decided"] {
        let bench = Bench::new();
        bench.fakes.at(point, || panic!("{}", "x".repeat(1_000)));
        let heard = bench.call("tickets__refund", "{}").await;
        assert_eq!((heard.answer.outcome, heard.sent()), (Outcome::InternalError, 0), "{point}");
        assert!(heard.outcome()["detail"].as_str().unwrap().ends_with(&format!("`: {}", "x".repeat(200))));
        heard.decision();
    }
}

#[tokio::test]
async fn a_panic_without_words() {
    let bench = Bench::new();
    bench.fakes.at("ready", || std::panic::panic_any(7));
    assert_eq!(bench.call("tickets__get", "{}").await.outcome()["detail"], "a panic in gate `arm`: no message");
}

#[tokio::test]
async fn a_panic_ends_the_claim() {
    for (point, end) in [("intent", ClaimEnd::Failed), ("sync", ClaimEnd::Unknown), ("answer", ClaimEnd::Unknown)] {
        let bench = approved().await;
        bench.fakes.at(point, || panic!("boom"));
        bench.call("tickets__refund", "{}").await;
        assert_eq!(bench.fakes.questions()[0].ended, Some(end), "{point}");
    }
}

/// What comes after the answer is decided changes it no more: telemetry and bookkeeping stop no call (invariant 12).
#[tokio::test]
async fn a_panic_in_telemetry_or_bookkeeping_stops_nothing() {
    let bench = Bench::new();
    bench.fakes.at("trace", || panic!("boom"));
    bench.call("tickets__get", "{}").await.ran();
    let bench = approved().await;
    bench.fakes.at("finish", || panic!("boom"));
    bench.call("tickets__refund", "{}").await.ran();
}

/// But the record must stand.
#[tokio::test]
async fn a_panic_while_the_outcome_is_recorded_is_a_lost_trail() {
    let bench = approved().await;
    bench.fakes.at("outcome", || panic!("boom"));
    let heard = bench.call("tickets__refund", "{}").await;
    let words = "the gateway can't keep its record and does nothing until that is mended";
    assert_eq!(heard.told(), Told::Error(1003, words.to_owned(), None, 503));
    assert_eq!(bench.fakes.questions()[0].ended, Some(ClaimEnd::Succeeded));
}
