//! More than a grant gives: how an agent asks for it, and what becomes of a call when what was added goes.

use bailiwick_pipeline::{
    grant::{Extended, Extension, Grant, Meant},
    ports::{AccessFailure, AccessState},
    records::Outcome,
};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::canonical::Digest;
use serde_json::json;

use crate::world::{Bench, START_MS, Told, alive, capability, terms};

const ASK: &str = r#"{"tools":["files__write"],"reason":"to note it down"}"#;

fn asking(patterns: &[&str]) -> Bench {
    Bench::with([Grant { may_request: true, ..terms("g", patterns) }])
}

fn added(tool: &str, until_ms: Option<u64>) -> Extension {
    let request = "req-1".parse().unwrap();
    let kind = if tool.ends_with("get") { Kind::Read } else { Kind::Write };
    let meant = Some(Meant { kind, band: Band::Low, pin: Digest::of(b"definition") });
    Extension { tool: tool.parse().unwrap(), until_ms, request, by: "ann".to_owned(), at_ms: START_MS, meant }
}

fn extend(bench: &Bench, tool: &str, until_ms: Option<u64>) -> Extended {
    bench.grant().change_extensions(|extended| extended.with(&[added(tool, until_ms)]))
}

async fn tools(bench: &Bench) -> Vec<String> {
    match bench.list().await.told() {
        Told::Tools(tools) => tools,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_is_listed_where_it_is_given_and_unknown_elsewhere() {
    assert_eq!(tools(&asking(&["tickets__get"])).await, ["tickets__get", "request_access"]);
    let bench = Bench::with([terms("g", &["tickets__get"])]);
    assert_eq!(tools(&bench).await, ["tickets__get"]);
    let (own, absent) = (bench.call("request_access", ASK).await, bench.call("nosuch", ASK).await);
    own.refused("grant", Outcome::Denied, "unknown_tool");
    assert_eq!(format!("{:?}", own.told()).replace("request_access", "nosuch"), format!("{:?}", absent.told()));
    assert!(bench.fakes.wishes.lock().unwrap().is_empty());
    // Beside the others, in the order in which they are given.
    let all = Bench::with([Grant { may_request: true, may_complete: true, tool_search: true, ..terms("g", &["tickets__get"]) }]);
    assert_eq!(tools(&all).await, ["search_tools", "describe_tool", "complete_task", "request_access"]);
}

/// A tool that there isn't, one that is not granted, one above the ceiling, one that the agent has: one answer.
#[tokio::test]
async fn the_answer_is_the_same_whatever_there_is() {
    let bench = Bench::with([Grant { may_request: true, ceiling: Band::Low, ..terms("g", &["tickets__get"]) }]);
    let mut told = Vec::new();
    for tool in ["tickets__get", "tickets__refund", "vault__get", "files__nosuch", "nobody__nothing"] {
        let heard = bench.call("request_access", &json!({"tools": [tool], "reason": "why"}).to_string()).await;
        assert_eq!((&heard.decision()["effect"], &heard.decision()["gate"]), (&json!("allow"), &json!("request")));
        told.push(format!("{:?}", heard.told()));
    }
    assert!(told.iter().all(|one| *one == told[0] && one.contains("pending")), "{told:?}");
    assert_eq!(bench.fakes.wishes.lock().unwrap().len(), 5);
    assert!(bench.fakes.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_asked_is_bounded_and_named_exactly() {
    let bench = asking(&["tickets__get"]);
    for (arguments, reason) in [
        (r#"{"tools":["files__*"],"reason":"all"}"#, "request_malformed"),
        (r#"{"tools":["files/resource_read"],"reason":"a feature"}"#, "request_malformed"),
        (r#"{"tools":["write"],"reason":"no connector"}"#, "request_malformed"),
        (r#"{"tools":["files__write"],"reason":"two\nlines"}"#, "request_malformed"),
        ("{\"tools\":[\"files__write\"],\"reason\":\"hid\u{202e}den\"}", "request_malformed"),
        (r#"{"tools":["files__write"],"reason":"  "}"#, "request_malformed"),
        (r#"{"tools":[],"reason":"nothing"}"#, "invalid_arguments"),
        (r#"{"tools":["files__write"]}"#, "invalid_arguments"),
        (r#"{"tools":["files__write"],"reason":"x","duration_s":0}"#, "invalid_arguments"),
        (r#"{"tools":["files__write"],"reason":"x","grant":"other"}"#, "invalid_arguments"),
    ] {
        let heard = bench.call("request_access", arguments).await;
        let outcome = heard.outcome();
        assert_eq!((&outcome["outcome"], &outcome["reason"]), (&json!("invalid"), &json!(reason)), "{arguments}");
    }
    assert!(bench.fakes.wishes.lock().unwrap().is_empty());
    bench.call("request_access", r#"{"tools":["files__write","files__write"],"reason":"why","duration_s":60.0}"#).await;
    let wished = bench.fakes.wishes.lock().unwrap().pop().unwrap();
    assert_eq!(wished, (vec!["files__write".to_owned()], "why".to_owned(), Some(60_000)));
}

#[tokio::test]
async fn where_it_stands_is_said() {
    let bench = asking(&["tickets__get"]);
    let says = async |state: Result<AccessState, AccessFailure>| {
        *bench.fakes.wished.lock().unwrap() = state;
        format!("{:?}", bench.call("request_access", ASK).await.told())
    };
    assert!(says(Ok(AccessState::Granted { until_ms: None })).await.contains("granted"));
    let for_a_time = says(Ok(AccessState::Granted { until_ms: Some(START_MS + 1_500) })).await;
    assert!(for_a_time.contains("for_s") && for_a_time.contains('2'), "{for_a_time}");
    let denied = says(Ok(AccessState::Denied { reason: Some("not today".to_owned()), again_ms: START_MS + 60_000 })).await;
    assert!(denied.contains("not today") && denied.contains("60"), "{denied}");
    assert!(says(Err(AccessFailure::TooMany(3))).await.contains("3 requests"));
    assert!(says(Err(AccessFailure::TooSoon(9))).await.contains("9 s"));
    let lost = says(Err(AccessFailure::Lost("disk full".to_owned()))).await;
    assert!(!lost.contains("disk full"), "{lost}");
}

#[tokio::test]
async fn what_was_added_is_listed_and_callable_and_goes_again() {
    let bench = asking(&["tickets__get"]);
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    let before = bench.grant().revision();
    extend(&bench, "vault__get", None);
    assert_eq!(bench.grant().revision(), before + 1);
    assert_eq!(tools(&bench).await, ["tickets__get", "vault__get", "request_access"]);
    bench.call("vault__get", "{}").await.ran();
    bench.grant().change_extensions(|extended| extended.keeping(|_| false));
    assert_eq!(bench.grant().revision(), before + 2);
    assert_eq!(tools(&bench).await, ["tickets__get", "request_access"]);
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
}

/// A yes to a read is none to what becomes of it; and one of which nobody knows what it was to is none.
#[tokio::test]
async fn what_was_added_is_what_the_tool_was_then() {
    let bench = asking(&["tickets__get"]);
    let own = added("vault__get", None);
    let write = Meant { kind: Kind::Write, ..own.meant.unwrap() };
    for meant in [Some(write), None] {
        bench.grant().change_extensions(|extended| extended.with(&[Extension { meant, ..own.clone() }]));
        assert_eq!(tools(&bench).await, ["tickets__get", "request_access"]);
        bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    }
    bench.grant().change_extensions(|extended| extended.with(&[own]));
    bench.call("vault__get", "{}").await.ran();
    let (was, pin) = (write, Digest::of(b"other"));
    assert!(was.still_is(&was) && Meant { band: Band::High, ..was }.still_is(&was));
    for other in [Meant { kind: Kind::Read, ..was }, Meant { band: Band::Medium, ..was }, Meant { pin, ..was }] {
        assert!(!was.still_is(&other), "{other:?}");
    }
}

#[tokio::test]
async fn what_was_added_for_a_time_ends_by_itself() {
    let bench = asking(&["tickets__get"]);
    extend(&bench, "vault__get", Some(START_MS + 1_000));
    bench.call("vault__get", "{}").await.ran();
    bench.fakes.set_ms(START_MS + 1_000);
    assert_eq!(tools(&bench).await, ["tickets__get", "request_access"]);
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    assert!(bench.grant().extended().extensions.is_empty());
}

/// Ceilings, and the grant above, bound what was added as they bound the rest.
#[tokio::test]
async fn what_was_added_reaches_nowhere_beyond() {
    let low = Bench::with([Grant { ceiling: Band::Low, ..terms("g", &["tickets__get"]) }]);
    extend(&low, "tickets__refund", None);
    low.call("tickets__refund", r#"{"id":"1"}"#).await.refused("grant", Outcome::Denied, "unknown_tool");
    let bench = asking(&["tickets__get"]);
    let above = alive(Grant { agent: "lead".parse().unwrap(), ..terms("above", &["tickets__get"]) }, None);
    let child = alive(terms("g", &["tickets__get"]), Some(&above));
    *bench.fakes.grants.lock().unwrap() = vec![child];
    extend(&bench, "vault__get", None);
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    above.change_extensions(|extended| extended.with(&[added("vault__get", None)]));
    bench.call("vault__get", "{}").await.ran();
    // The one above loses it: so do those below, and their lists.
    above.change_extensions(|extended| extended.keeping(|_| false));
    assert_eq!(tools(&bench).await, ["tickets__get"]);
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
}

/// Between the decision and the commit it goes, or its time ends: nothing is sent.
#[tokio::test]
async fn nothing_is_committed_under_what_has_gone() {
    let bench = asking(&["tickets__get"]);
    extend(&bench, "vault__get", None);
    let grant = bench.grant();
    bench.fakes.at("lend", move || drop(grant.change_extensions(|extended| extended.keeping(|_| false))));
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    assert!(bench.fakes.sent.lock().unwrap().is_empty());
    extend(&bench, "vault__get", Some(START_MS + 1_000));
    let fakes = std::sync::Arc::clone(&bench.fakes);
    bench.fakes.at("lend", move || fakes.set_ms(START_MS + 1_000));
    bench.call("vault__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    assert!(bench.fakes.sent.lock().unwrap().is_empty());
    assert_eq!(bench.grant().standing().calls, 0);
}

/// A tool that the grant has with bounds keeps them: another right of the same tool is no business of an extension of others.
#[tokio::test]
async fn bounds_of_other_rights_stay() {
    let mut bounded = terms("g", &["tickets__get"]);
    let bound = serde_json::from_value(json!({"eq": "1"})).unwrap();
    bounded.capabilities =
        vec![bailiwick_pipeline::grant::Capability { args: [("/id".to_owned(), bound)].into(), ..capability("tickets__get") }];
    let bench = Bench::with([bounded]);
    extend(&bench, "vault__get", None);
    let outside = bench.call("tickets__get", r#"{"id":"2"}"#).await;
    assert_eq!(outside.outcome()["outcome"], "denied");
    bench.call("tickets__get", r#"{"id":"1"}"#).await.ran();
}

/// The end of a task says what it came to: a write that had begun before may still be under way.
#[tokio::test]
async fn the_end_of_a_task_says_whether_anything_is_still_written() {
    let bench = Bench::with([Grant { may_complete: true, ..terms("g", &["tickets__get"]) }]);
    for drained in [true, false] {
        *bench.fakes.drained.lock().unwrap() = Ok(drained);
        let told = format!("{:?}", bench.call("complete_task", "{}").await.told());
        assert!(told.contains(&format!("drained\\\":{drained}")) || told.contains(&format!("drained\":{drained}")), "{told}");
    }
    *bench.fakes.drained.lock().unwrap() = Err("disk full".to_owned());
    let failed = bench.call("complete_task", "{}").await;
    assert_eq!(failed.outcome()["outcome"], "internal_error");
    assert!(!format!("{:?}", failed.told()).contains("disk full"));
}
