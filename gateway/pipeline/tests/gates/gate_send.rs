//! `send`: the only door out. It opens for a recorded call, once, while its grant lives.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bailiwick_pipeline::{
    gates::RawReply,
    grant::GrantState,
    ports::{ClaimEnd, SendFailure, TicketState},
    records::Outcome,
};
use bytes::Bytes;

use crate::world::{ALL, Bench, SECRET, alive, terms};

const MAYBE: &str = "STOPPED: the task grant was revoked while the call was under way. It may have been executed.";
const NOT: &str = "STOPPED: the task grant was revoked while the call was under way. Not executed.";

#[tokio::test]
async fn what_goes_out_is_the_call_by_the_servers_own_names() {
    let bench = Bench::new();
    bench.call("tickets__get", r#"{"id":"7"}"#).await.ran();
    let sent = bench.fakes.sent.lock().unwrap()[0].clone();
    assert_eq!((sent.connector.as_str(), sent.tool.as_str(), sent.arguments.as_str()), ("tickets", "get", r#"{"id":"7"}"#));
    let trace = bench.fakes.traces.lock().unwrap()[0].clone();
    let stage = trace.stages.iter().position(|stage| stage.outward).unwrap();
    assert_eq!(sent.traceparent, trace.traceparent(stage));
    assert!(sent.traceparent.is_some());
}

/// Invariant 9, between the record and the door.
#[tokio::test]
async fn no_write_begins_once_the_grant_has_ended() {
    for of_parent in [false, true] {
        let root = alive(terms("root", &ALL), None);
        let child = alive(terms("g", &ALL), Some(&root));
        let bench = Bench::new();
        *bench.fakes.grants.lock().unwrap() = vec![Arc::clone(&child)];
        bench.fakes.block("sync");
        let call = bench.spawn("tickets__close", "{}");
        bench.fakes.reached("sync", 1).await;
        let ending = if of_parent { &root } else { &child };
        ending.end(GrantState::Revoked);
        assert!(ending.drained(Duration::ZERO).await);
        bench.fakes.unblock("sync");
        let heard = call.await.unwrap();
        heard.failed(Outcome::Cancelled, "grant_ended", 0);
        assert_eq!(heard.text(), NOT);
        assert_eq!(heard.outcome()["detail"], if of_parent { "grant `root` is revoked" } else { "grant `g` is revoked" });
        assert_eq!(bench.fakes.count("send"), 0);
        assert_eq!((root.standing().calls, child.standing().calls), (1, 1));
    }
}

/// Invariant 9, in flight: the call is dropped and answered at once.
#[tokio::test]
async fn the_end_of_a_grant_cancels_what_is_in_flight() {
    for of_parent in [false, true] {
        let root = alive(terms("root", &ALL), None);
        let child = alive(terms("g", &ALL), Some(&root));
        let bench = Bench::new();
        *bench.fakes.grants.lock().unwrap() = vec![Arc::clone(&child)];
        bench.fakes.block("answer");
        let call = bench.spawn("tickets__close", "{}");
        bench.fakes.reached("answer", 1).await;
        if of_parent { &root } else { &child }.end(GrantState::Revoked);
        let heard = call.await.unwrap();
        heard.failed(Outcome::Cancelled, "grant_ended", 1);
        assert_eq!(heard.text(), MAYBE);
        assert_eq!(bench.fakes.dropped_in_flight.load(Ordering::SeqCst), 1);
    }
}

/// What somebody took back is used for nothing more: before the door, and beyond it.
#[tokio::test]
async fn what_is_taken_back_ends_the_calls_that_are_made_with_it_and_no_other() {
    for (point, sent, may) in [("sync", 0, "Not executed."), ("answer", 1, "It may have been executed.")] {
        let bench = Bench::new();
        bench.fakes.block(point);
        let lease = bench.fakes.loan.lock().unwrap().clone().unwrap().unwrap().lease;
        let (with, without) = (bench.spawn("vault__put", "{}"), bench.spawn("tickets__close", "{}"));
        bench.fakes.reached(point, 2).await;
        lease.take_back();
        if point == "sync" {
            bench.fakes.unblock(point);
        }
        let heard = with.await.unwrap();
        assert_eq!(
            (&heard.outcome()["outcome"], &heard.outcome()["reason"]),
            (&"cancelled".into(), &"credential_taken_back".into())
        );
        assert_eq!(
            heard.text(),
            format!(
                "STOPPED: the credential that the call was made with was taken back while it was under way. {may} A further call gets \
                 another one."
            )
        );
        assert_eq!(
            (heard.sent(), &heard.outcome()["detail"]),
            (sent, &"lease `lease-1` of connector `vault` was taken back".into())
        );
        bench.fakes.unblock(point);
        without.await.unwrap().ran();
        // The next one is made with what is lent then.
        bench.lends(SECRET);
        bench.call("vault__get", "{}").await.ran();
    }
}

/// One that merely ended, as another took its place, is good for the calls that have it.
#[tokio::test]
async fn what_another_took_the_place_of_is_used_to_the_end() {
    let bench = Bench::new();
    bench.fakes.block("answer");
    let lease = bench.fakes.loan.lock().unwrap().clone().unwrap().unwrap().lease;
    let call = bench.spawn("vault__get", "{}");
    bench.fakes.reached("answer", 1).await;
    lease.end();
    bench.fakes.unblock("answer");
    call.await.unwrap().ran();
}

/// An answer that is there when the grant ends is not passed on.
#[tokio::test]
async fn an_answer_at_the_moment_of_the_end_is_not_passed_on() {
    let bench = Bench::new();
    bench.fakes.block("answer");
    let call = bench.spawn("tickets__get", "{}");
    bench.fakes.reached("answer", 1).await;
    bench.grant().end(GrantState::Revoked);
    bench.fakes.unblock("answer");
    call.await.unwrap().failed(Outcome::Cancelled, "grant_ended", 1);
}

#[tokio::test]
async fn an_end_waits_for_the_write_under_way() {
    let bench = Bench::new();
    let grant = bench.grant();
    bench.fakes.block("write");
    let call = bench.spawn("tickets__close", "{}");
    bench.fakes.reached("write", 1).await;
    assert!(!grant.drained(Duration::ZERO).await);
    bench.fakes.unblock("write");
    call.await.unwrap().ran();
    assert!(grant.drained(Duration::ZERO).await);
    // Once it is written the answer is not waited for.
    bench.fakes.block("answer");
    let call = bench.spawn("tickets__close", "{}");
    bench.fakes.reached("answer", 2).await;
    assert!(grant.drained(Duration::ZERO).await);
    grant.end(GrantState::Completed);
    call.await.unwrap().failed(Outcome::Cancelled, "grant_ended", 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let bench = Bench::new();
    bench.fakes.block("answer");
    let began = tokio::time::Instant::now();
    let heard = bench.call("tickets__get", "{}").await;
    heard.failed(Outcome::Timeout, "timeout", 1);
    assert_eq!(heard.text(), "FAILED: connector tickets did not answer in time. It may have been executed.");
    assert_eq!(heard.outcome()["detail"], "connector `tickets`: no answer within 30000 ms");
    assert_eq!((began.elapsed().as_secs(), bench.fakes.dropped_in_flight.load(Ordering::SeqCst)), (30, 1));
}

#[tokio::test]
async fn failures_say_whether_it_may_have_been_executed() {
    for (failure, outcome, reason, told) in [
        (SendFailure::Unsent("pipe".to_owned()), Outcome::DownstreamError, "unsent", "failed. Not executed."),
        (
            SendFailure::Closed("exit 1".to_owned()),
            Outcome::DownstreamError,
            "connector_closed",
            "failed. It may have been executed.",
        ),
        (SendFailure::Timeout(5), Outcome::Timeout, "timeout", "did not answer in time. It may have been executed."),
        (SendFailure::Protocol("no id".to_owned()), Outcome::DownstreamError, "protocol", "failed. It may have been executed."),
        (SendFailure::Denied("401".to_owned()), Outcome::DownstreamError, "access_denied", "failed. It may have been executed."),
    ] {
        let bench = Bench::new();
        let given = failure.clone();
        *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Err(given.clone()));
        let heard = bench.call("tickets__close", "{}").await;
        heard.failed(outcome, reason, 1);
        assert_eq!(heard.text(), format!("FAILED: connector tickets {told}"));
        assert_eq!(heard.outcome()["detail"], format!("connector `tickets`: {failure}"));
    }
}

#[tokio::test]
async fn the_secret_in_a_failure_stays_out_of_record_and_trace() {
    let bench = Bench::new();
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| Err(SendFailure::Closed(format!("bad {SECRET}"))));
    let heard = bench.call("vault__put", "{}").await;
    heard.failed(Outcome::DownstreamError, "connector_closed", 1);
    assert_eq!(heard.outcome()["detail"], "connector `vault`: the server ended before it answered: bad [redacted]");
    let trace = bench.fakes.traces.lock().unwrap()[0].clone();
    assert!(format!("{trace:?}").contains("bad [redacted]") && !format!("{trace:?}").contains("CANARY"));
    assert!(!bench.fakes.all_records().contains("CANARY"));
}

#[tokio::test]
async fn an_approved_call_that_was_not_answered_may_have_run() {
    let bench = Bench::new();
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| Err(SendFailure::Timeout(1)));
    bench.call("tickets__refund", "{}").await.failed(Outcome::Timeout, "timeout", 1);
    assert_eq!(bench.fakes.questions()[0].ended, Some(ClaimEnd::Unknown));
}

#[tokio::test]
async fn the_outgoing_call_knows_its_deadline_and_its_end() {
    let bench = Bench::new();
    *bench.fakes.reply.lock().unwrap() = Box::new(|outgoing| {
        assert_eq!((outgoing.timeout(), outgoing.cancelled().is_cancelled()), (Duration::from_secs(30), false));
        Ok(RawReply::result(Bytes::from_static(crate::world::PLAIN.as_bytes())))
    });
    bench.call("tickets__get", "{}").await.ran();
}

/// A connector may watch for the end by itself.
#[tokio::test]
async fn the_end_of_the_grant_reaches_whoever_holds_the_outgoing_call() {
    let bench = Bench::new();
    let held = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&held);
    *bench.fakes.reply.lock().unwrap() = Box::new(move |outgoing| {
        *keep.lock().unwrap() = Some(outgoing.cancelled().clone());
        Ok(RawReply::result(Bytes::from_static(crate::world::PLAIN.as_bytes())))
    });
    bench.call("tickets__get", "{}").await.ran();
    let token = held.lock().unwrap().take().unwrap();
    assert!(!token.is_cancelled());
    bench.grant().end(GrantState::Completed);
    assert!(token.is_cancelled());
}
