//! The caller goes away: the future is dropped where it stands, and the record says so.

use std::sync::atomic::Ordering;

use bailiwick_pipeline::ports::{ClaimEnd, TicketState};

use crate::world::{Asking, Bench};

/// Drops a call of `tool` when it stands at `point`; returns its call id.
async fn dropped_at(bench: &Bench, point: &'static str, tool: &str) -> String {
    bench.fakes.block(point);
    let received = bench.received(Some((tool, "{}")), Asking::plain());
    let gateway = bench.gateway();
    {
        let handling = gateway.handle(&received);
        tokio::select! {
            biased;
            _ = handling => panic!("it was answered"),
            () = bench.fakes.reached(point, 1) => {}
        }
    }
    bench.fakes.unblock(point);
    received.call_id().to_string()
}

fn events(bench: &Bench, stream: &str, call: &str) -> Vec<String> {
    let word = |record: &serde_json::Value| match stream {
        "decisions" => format!("{} {}", record["event"].as_str().unwrap(), record["effect"].as_str().unwrap()),
        _ => format!("{} {}", record["event"].as_str().unwrap(), record["outcome"].as_str().unwrap_or_default()),
    };
    bench.fakes.records(stream, call).iter().map(word).collect()
}

#[tokio::test]
async fn before_the_commit_it_is_denied_and_cancelled() {
    for (point, tool) in
        [("identify", "tickets__get"), ("request", "tickets__refund"), ("lend", "vault__get"), ("ready", "tickets__get")]
    {
        let bench = Bench::new();
        let call = dropped_at(&bench, point, tool).await;
        assert_eq!(events(&bench, "decisions", &call), ["decided deny"], "{point}");
        assert_eq!(events(&bench, "calls", &call), ["outcome cancelled"], "{point}");
        assert_eq!((bench.fakes.sent.lock().unwrap().len(), bench.grant().standing().calls), (0, 0));
        assert_eq!(bench.fakes.traces.lock().unwrap().len(), 1);
        bench.call("tickets__get", "{}").await.ran();
    }
}

#[tokio::test(start_paused = true)]
async fn while_it_is_held_the_question_stays() {
    let mut bench = Bench::new();
    bench.settings.hold = std::time::Duration::from_secs(45);
    let call = dropped_at(&bench, "decided", "tickets__refund").await;
    assert_eq!(events(&bench, "decisions", &call), ["approval_awaited step_up", "decided deny"]);
    assert_eq!(events(&bench, "calls", &call), ["outcome cancelled"]);
    bench.fakes.decide(&TicketState::Approved);
    bench.call("tickets__refund", "{}").await.ran();
}

#[tokio::test]
async fn after_the_commit_it_counts_and_its_claim_ends_as_unknown() {
    for (point, in_flight) in [("sync", 0), ("send", 1), ("write", 1), ("answer", 1)] {
        let bench = Bench::new();
        bench.call("tickets__refund", "{}").await;
        bench.fakes.decide(&TicketState::Approved);
        let call = dropped_at(&bench, point, "tickets__refund").await;
        assert_eq!(events(&bench, "decisions", &call), ["decided allow"], "{point}");
        assert_eq!(events(&bench, "calls", &call), ["intent ", "outcome cancelled"], "{point}");
        assert_eq!(bench.fakes.questions()[0].ended, Some(ClaimEnd::Unknown), "{point}");
        assert_eq!(bench.fakes.dropped_in_flight.load(Ordering::SeqCst), in_flight, "{point}");
        assert_eq!(bench.grant().standing().calls, 1);
        assert!(bench.grant().drained(std::time::Duration::ZERO).await);
    }
}

/// A trail that fails in a drop must not take the process with it.
#[tokio::test]
async fn a_panic_while_it_is_dropped_goes_no_further() {
    let bench = Bench::new();
    bench.fakes.at("outcome", || panic!("boom"));
    dropped_at(&bench, "ready", "tickets__get").await;
    bench.call("tickets__get", "{}").await.ran();
}
