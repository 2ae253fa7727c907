//! What servers say, and what is made of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bailiwick_pipeline::ports::SendFailure;
use serde_json::{Value, json};

use crate::{
    kit::{Failure, Rig, grant, spec, value},
    message::Answer,
};

#[tokio::test]
async fn arguments_and_results_pass_as_the_bytes_they_are() {
    let rig = Rig::of(&["ok"]);
    let answer = rig
        .call_with("x", &grant("g-1"), None, Duration::from_secs(10), br#"{"b" : 1e400,"a":1.0,"text":"\u00e4"}"#)
        .await
        .unwrap();
    let Answer::Result(raw) = &answer else { panic!("{answer:?}") };
    assert!(raw.starts_with(br#"{"z":1e400,"a":1.0 ,"line":"#), "{raw:?}");
    let sent = r#"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","arguments":{"b" : 1e400,"a":1.0,"text":"\u00e4"},"_meta":{"traceparent":"00-aa-bb-01"}}}"#;
    assert_eq!(value(&answer)["line"], sent);
    rig.connectors.shutdown().await;
}

#[tokio::test]
async fn errors_pass_with_their_data_as_written() {
    let answer = Rig::of(&["error"]).call("x", &grant("g-1")).await.unwrap();
    assert_eq!(answer, Answer::Error { code: -32001, message: "no".to_owned(), data: Some(r#"{"n":1e400}"#.into()) });
}

#[tokio::test]
async fn an_answer_with_another_form_of_the_id_is_no_answer() {
    for mode in ["string-id", "float-id"] {
        let rig = Rig::of(&[mode]);
        let failure = rig.call_with("x", &grant("g-1"), None, Duration::from_millis(300), b"{}").await.unwrap_err();
        assert_eq!(failure, Failure::Send(SendFailure::Timeout(300)), "{mode}");
        assert_eq!(rig.status("x").counts.unknown_ids, 1, "{mode}");
    }
}

#[tokio::test]
async fn answers_to_other_ids_are_dropped_and_counted() {
    let rig = Rig::of(&["stray"]);
    let result = rig.result("x", &grant("g-1")).await;
    assert_eq!(result["forged"], Value::Null);
    let counts = rig.status("x").counts;
    assert_eq!((counts.unknown_ids, counts.second_answers), (1, 1));
}

#[tokio::test]
async fn the_first_answer_counts() {
    let (rig, grant) = (Rig::of(&["double"]), grant("g-1"));
    for calls in 1..=3 {
        assert_eq!(rig.result("x", &grant).await["second"], Value::Null);
        assert!(rig.status("x").counts.second_answers >= calls - 1);
    }
}

#[tokio::test]
async fn questions_of_a_server_are_refused_and_counted() {
    let rig = Rig::of(&["asks"]);
    let result = rig.result("x", &grant("g-1")).await;
    let refused = |id: &str| json!({"jsonrpc":"2.0","id":id,"error":{"code":-32601,"message":"method not found"}});
    assert_eq!(result["answers"], json!([refused("q0"), refused("q1"), refused("q2"), {"jsonrpc":"2.0","id":"q3","result":{}}]));
    assert_eq!(rig.status("x").counts.server_requests, 4);
}

#[tokio::test]
async fn answers_that_break_the_protocol_fail_their_call_at_once() {
    for mode in ["deep", "twice-a-key", "neither"] {
        // At its deadline it would be `Timeout`.
        let failure = Rig::of(&[mode]).call("x", &grant("g-1")).await.unwrap_err();
        assert!(matches!(failure, Failure::Send(SendFailure::Protocol(_))), "{mode}: {failure:?}");
    }
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let result = Rig::of(&["big"]).result("x", &grant("g-1")).await;
    assert_eq!(result["text"].as_str().map(str::len), Some(5_000_000));
}

#[tokio::test]
async fn some_lines_of_log_on_standard_output_are_forgiven() {
    for mode in ["some-garbage", "own-output"] {
        let (rig, grant) = (Rig::of(&[mode]), grant("g-1"));
        for _ in 0..3 {
            rig.result("x", &grant).await;
        }
        assert!(rig.status("x").counts.garbage_lines > 0, "{mode}");
    }
}

#[tokio::test]
async fn two_hundred_calls_at_once_get_each_its_own_answer() {
    let (rig, grant) = (Arc::new(Rig::of(&["ok"])), grant("g-1"));
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (rig, grant) = (Arc::clone(&rig), Arc::clone(&grant));
            tokio::spawn(async move {
                let arguments = format!(r#"{{"text":"call-{n}-"}}"#);
                let answer = rig.call_with("x", &grant, None, Duration::from_secs(10), arguments.as_bytes()).await.unwrap();
                assert!(value(&answer)["line"].as_str().unwrap().contains(&format!("call-{n}-")));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let status = rig.status("x");
    assert_eq!((status.children.len(), status.counts.starts, status.counts.calls), (1, 1, 200));
}

#[tokio::test]
async fn a_flood_of_notifications_slows_only_who_sends_it() {
    let rig = Rig::new(vec![spec("loud", &["notification-flood"]), spec("x", &["ok"])]);
    let grant = grant("g-1");
    let _ = rig.call_with("loud", &grant, None, Duration::from_millis(200), b"{}").await;
    let begun = Instant::now();
    for _ in 0..20 {
        rig.result("x", &grant).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let noted = rig.status("loud").counts.notifications;
    assert!(noted < 100_000, "{noted} notifications were taken");
}
