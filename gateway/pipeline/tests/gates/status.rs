//! An agent asks what became of a call that was held for a person.

use bailiwick_pipeline::{ports::TicketState, records::Outcome};
use serde_json::{Value, json};

use crate::world::{Bench, Told, terms};

const REFUND: &str = r#"{"id":"7","amount_cents":100}"#;

fn bench(patterns: &[&str]) -> Bench {
    let mut bench = Bench::with([terms("g", patterns)]);
    bench.settings.status_tool = true;
    bench
}

async fn tools(bench: &Bench) -> Vec<String> {
    match bench.list().await.told() {
        Told::Tools(tools) => tools,
        other => panic!("{other:?}"),
    }
}

async fn status(bench: &Bench, handle: &str) -> Value {
    let heard = bench.call("approval_status", &json!({"approval": handle}).to_string()).await;
    assert_eq!(
        (&heard.decision()["effect"], &heard.decision()["gate"]),
        (&json!("allow"), &json!("status")),
        "{:?}",
        heard.told()
    );
    assert_eq!(heard.outcome()["outcome"], "success");
    let result: Value = serde_json::from_str(&heard.text()).unwrap();
    result["structuredContent"].clone()
}

#[tokio::test]
async fn it_is_listed_where_a_call_could_be_held_and_unknown_elsewhere() {
    assert_eq!(tools(&bench(&["tickets__get", "tickets__refund"])).await.last().unwrap(), "approval_status");
    let nothing_held = bench(&["tickets__get"]);
    let mut off = bench(&["tickets__get", "tickets__refund"]);
    off.settings.status_tool = false;
    for bench in [nothing_held, off] {
        assert!(!tools(&bench).await.contains(&"approval_status".to_owned()));
        let arguments = r#"{"approval":"K7-42"}"#;
        let (own, absent) = (bench.call("approval_status", arguments).await, bench.call("nosuch", arguments).await);
        own.refused("grant", Outcome::Denied, "unknown_tool");
        assert_eq!(format!("{:?}", own.told()).replace("approval_status", "nosuch"), format!("{:?}", absent.told()));
        assert_eq!(bench.fakes.count("stands"), 0);
    }
}

#[tokio::test]
async fn it_says_where_a_call_stands_and_runs_nothing() {
    let bench = bench(&["tickets__*"]);
    bench.call("tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    let asked = bench.fakes.count("request");
    for handle in ["apr-1", "CODE-apr-1"] {
        let told = status(&bench, handle).await;
        assert_eq!((&told["state"], &told["left_s"], &told["tool"]), (&json!("pending"), &json!(600), &json!("tickets__refund")));
        assert_eq!((&told["approval"], &told["code"]), (&json!("apr-1"), &json!("CODE-apr-1")));
    }
    bench.fakes.decide(&TicketState::Approved);
    assert!(status(&bench, "apr-1").await["next"].as_str().unwrap().contains("Repeat exactly the same call"));
    assert_eq!((bench.fakes.count("claim"), bench.fakes.count("request"), bench.fakes.sent.lock().unwrap().len()), (0, asked, 0));
    assert_eq!(bench.grant().standing().calls, 0, "it costs nothing");
    bench.call("tickets__refund", REFUND).await.ran();
}

#[tokio::test]
async fn who_was_denied_hears_why_and_is_told_not_to_nag() {
    let bench = bench(&["tickets__*"]);
    bench.call("tickets__refund", REFUND).await;
    bench.fakes.decide(&TicketState::Denied { reason: Some("paid already".to_owned()) });
    let told = status(&bench, "apr-1").await;
    assert_eq!(
        (&told["state"], &told["reason"], &told["next"]),
        (&json!("denied"), &json!("paid already"), &json!("Do not retry."))
    );
    assert_eq!(told.get("left_s"), None);
}

/// Somebody else's, another task's, one that there never was: one answer.
#[tokio::test]
async fn what_is_not_theirs_is_like_what_is_not_there() {
    let mut bench = Bench::with([terms("g", &["tickets__*"]), terms("h", &["tickets__*"])]);
    bench.settings.status_tool = true;
    bench.call_under("g", "tickets__refund").await;
    let mut told = Vec::new();
    for handle in ["apr-1", "CODE-apr-1", "apr-9", "K7-42"] {
        let asking = crate::world::Asking { grant: Some("h".to_owned()), ..crate::world::Asking::plain() };
        let heard = bench.call_as("approval_status", &json!({"approval": handle}).to_string(), asking).await;
        assert_eq!((&heard.outcome()["outcome"], &heard.outcome()["reason"]), (&json!("denied"), &json!("unknown_approval")));
        told.push(format!("{:?}", heard.told()).replace(handle, "H"));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
}

#[tokio::test]
async fn what_is_asked_for_is_bounded() {
    let bench = bench(&["tickets__*"]);
    for wrong in ["{}", r#"{"approval":""}"#, r#"{"approval":7}"#, r#"{"approval":"K7-42","agent":"other"}"#] {
        bench.call("approval_status", wrong).await.refused("validate", Outcome::Invalid, "invalid_arguments");
    }
    let long = json!({"approval": "x".repeat(65)}).to_string();
    bench.call("approval_status", &long).await.refused("validate", Outcome::Invalid, "invalid_arguments");
    assert_eq!(bench.fakes.count("stands"), 0);
}
