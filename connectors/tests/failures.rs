//! Servers that fail, in every way, and what that costs the others: nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick_pipeline::ports::{ConnectFailure, SendFailure};

use crate::{
    kit::{Failure, HOSTILE, Rig, grant, is_there, peak_memory, spec, tool, until, with},
    spec::ConnectorSpec,
    status::{ChildState, ConnectorEvent},
};

fn resting_at_first(mode: &str, ms: u64) -> Rig {
    let backoff_first = Duration::from_millis(ms);
    Rig::new(vec![ConnectorSpec { backoff_first, ..spec("x", &[mode]) }])
}

#[tokio::test]
async fn a_server_that_ends_at_once_fails_with_its_last_words() {
    let (rig, grant) = (resting_at_first("exit-at-start", 5000), grant("g-1"));
    let failure = rig.call("x", &grant).await.unwrap_err();
    let Failure::Connect(ConnectFailure::Start(why)) = &failure else { panic!("{failure:?}") };
    assert!(why.contains("exit status: 3") && why.contains("can't open the database"), "{why}");
    let resting = rig.call("x", &grant).await.unwrap_err();
    assert!(matches!(&resting, Failure::Connect(ConnectFailure::Resting { retry_ms, .. }) if *retry_ms <= 5000), "{resting:?}");
    until("it is gone", || rig.status("x").children.is_empty()).await;
    let status = rig.status("x");
    assert!(status.stderr.contains(&"can't open the database".to_owned()));
    assert_eq!((status.counts.starts, status.counts.failures), (1, 1));
}

#[tokio::test]
async fn pauses_between_starts_grow() {
    let (rig, grant) = (resting_at_first("exit-at-start", 500), grant("g-1"));
    let mut longest = Vec::new();
    while longest.len() < 3 {
        match rig.call("x", &grant).await.unwrap_err() {
            Failure::Connect(ConnectFailure::Start(_)) => longest.push(0),
            Failure::Connect(ConnectFailure::Resting { retry_ms, .. }) => {
                let last = longest.last_mut().unwrap();
                *last = retry_ms.max(*last);
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(longest[0] > 0 && longest[0] <= 500 && longest[1] > 500 && longest[1] <= 1000, "{longest:?}");
}

#[tokio::test]
async fn a_crash_fails_the_calls_in_flight_once_and_the_next_child_serves() {
    let (rig, grant) = (resting_at_first("crash", 1000), grant("g-1"));
    let failure = rig.call("x", &grant).await.unwrap_err();
    let Failure::Send(SendFailure::Closed(why)) = &failure else { panic!("{failure:?}") };
    assert!(why.contains("exit status: 7") && why.contains("boom \\u{1b}[31m at line 7"), "{why}");
    assert!(matches!(rig.call("x", &grant).await, Err(Failure::Connect(ConnectFailure::Resting { .. }))));
    let again = loop {
        match rig.call("x", &grant).await.unwrap_err() {
            Failure::Connect(ConnectFailure::Resting { retry_ms, .. }) => {
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
            }
            other => break other,
        }
    };
    assert!(matches!(again, Failure::Send(SendFailure::Closed(_))), "{again:?}");
    assert_eq!(rig.status("x").counts.restarts, 1);
    until("its end is told", || {
        rig.events().iter().filter(|event| matches!(event, ConnectorEvent::Ended { wanted: false, .. })).count() == 2
    })
    .await;
}

#[tokio::test]
async fn the_last_answer_of_a_dying_server_still_counts() {
    for _ in 0..10 {
        Rig::of(&["crash-after-answer"]).result("x", &grant("g-1")).await;
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up_in_time() {
    for mode in ["hang-handshake", "drip"] {
        let hasty = ConnectorSpec { handshake_timeout: Duration::from_millis(300), ..spec("x", &[mode]) };
        let (rig, begun) = (Rig::new(vec![hasty]), Instant::now());
        let failure = rig.call("x", &grant("g-1")).await.unwrap_err();
        assert!(matches!(failure, Failure::Connect(ConnectFailure::Handshake(_))), "{mode}: {failure:?}");
        // Far less than the usual twenty seconds.
        assert!(begun.elapsed() < Duration::from_secs(15), "{mode}");
        until("the child is gone", || rig.status("x").children.is_empty()).await;
    }
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_the_server_told() {
    let dir = tempfile::tempdir().unwrap();
    let noted = dir.path().join("cancelled");
    let (rig, grant) = (Rig::of(&["hang-call", noted.to_str().unwrap()]), grant("g-1"));
    let failure = rig.call_with("x", &grant, None, Duration::from_millis(200), b"{}").await.unwrap_err();
    assert_eq!(failure, Failure::Send(SendFailure::Timeout(200)));
    until("the server is told", || std::fs::read_to_string(&noted).is_ok_and(|id| id == "4")).await;
    assert_eq!(rig.status("x").children[0].state, ChildState::Ready);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled_at_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let noted = dir.path().join("cancelled");
    let (rig, grant) = (Arc::new(Rig::of(&["hang-call", noted.to_str().unwrap()])), grant("g-1"));
    let task = tokio::spawn({
        let (rig, grant) = (Arc::clone(&rig), Arc::clone(&grant));
        async move { rig.call("x", &grant).await }
    });
    until("the call is written", || rig.status("x").counts.calls == 1).await;
    task.abort();
    until("the server is told", || std::fs::read_to_string(&noted).is_ok_and(|id| id == "4")).await;
}

#[tokio::test]
async fn garbage_without_end_ends_the_child() {
    let failure = Rig::of(&["garbage"]).call("x", &grant("g-1")).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("no JSON-RPC message")),
        "{failure:?}"
    );
    let rig = Rig::of(&["garbage-on-call"]);
    let failure = rig.call("x", &grant("g-1")).await.unwrap_err();
    assert!(matches!(failure, Failure::Send(SendFailure::Closed(_))), "{failure:?}");
    until("the child is gone", || rig.status("x").children.is_empty()).await;
}

#[tokio::test]
async fn a_line_without_end_is_bounded_in_memory() {
    let (rig, before) = (Rig::of(&["flood"]), peak_memory());
    let failure = rig.call("x", &grant("g-1")).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Send(SendFailure::Closed(why)) if why.contains("a line of more than 16777216 bytes")),
        "{failure:?}"
    );
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < 200 * 1024 * 1024, "{grown} bytes");
    until("the child is gone", || rig.status("x").children.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_nobody_and_dies_of_half_a_call() {
    let rig = Rig::new(vec![spec("deaf", &["deaf"]), spec("x", &["ok"])]);
    let grant = grant("g-1");
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    let (begun, written) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let channel = rig.connectors.channel(&tool("deaf", "says it"), &grant, None, None).await.unwrap();
    let cancelled = grant.cancelled();
    let call = crate::channel::ToolCall {
        method: "tools/call",
        takes_task: false,
        arguments: large.as_bytes(),
        item: None,
        capabilities: None,
        answers: None,
        traceparent: None,
        timeout: Duration::from_millis(300),
        cancelled,
        meta: b"",
        ear: None,
    };
    let told = Arc::clone(&written);
    let note = move || told.store(true, Ordering::Relaxed);
    let (failure, other) = tokio::join!(channel.call(call, note), rig.result("x", &grant));
    assert!(matches!(failure, Err(SendFailure::Unsent(_))), "{failure:?}");
    assert!(other["line"].is_string() && begun.elapsed() < Duration::from_secs(30));
    drop(channel);
    assert!(!written.load(Ordering::Relaxed));
    until("the child is gone", || rig.status("deaf").children.is_empty()).await;
    assert_eq!(rig.status("x").children.len(), 1);
}

#[tokio::test]
async fn a_flood_on_standard_error_is_cut_and_escaped() {
    let (rig, grant) = (Rig::of(&["stderr-flood"]), grant("g-1"));
    for _ in 0..10 {
        rig.result("x", &grant).await;
    }
    until("lines arrive", || !rig.status("x").stderr.is_empty()).await;
    let lines = rig.status("x").stderr;
    assert!(lines.len() <= 64 && lines.iter().all(|line| line.len() < 1100 && !line.contains('\u{1b}')));
}

#[tokio::test]
async fn one_slow_server_does_not_slow_another() {
    let rig = Arc::new(Rig::new(vec![spec("slow", &["slow", "120000"]), spec("x", &["ok"])]));
    let grant = grant("g-1");
    let slow = tokio::spawn({
        let (rig, grant) = (Arc::clone(&rig), Arc::clone(&grant));
        async move { rig.call("slow", &grant).await }
    });
    until("the slow call is written", || rig.status("slow").counts.calls == 1).await;
    rig.result("x", &grant).await;
    let begun = Instant::now();
    for _ in 0..50 {
        rig.result("x", &grant).await;
    }
    assert!(begun.elapsed() < Duration::from_mins(1) && !slow.is_finished());
    slow.abort();
}

#[tokio::test]
async fn beyond_the_cap_the_idle_go_and_the_busy_stay() {
    let capped = ConnectorSpec { max_children: 2, ..spec("x", &["ok"]) };
    let rig = Rig::new(vec![capped]);
    let grants = [grant("g-1"), grant("g-2"), grant("g-3")];
    rig.result("x", &grants[0]).await;
    let first = rig.pid("x");
    rig.result("x", &grants[1]).await;
    rig.result("x", &grants[2]).await;
    assert!(!is_there(first) && rig.status("x").children.len() == 2);
    let held = tool("x", "says it");
    let _busy = (
        rig.connectors.channel(&held, &grants[1], None, None).await.unwrap(),
        rig.connectors.channel(&held, &grants[2], None, None).await.unwrap(),
    );
    let failure = rig.call("x", &grants[0]).await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("all 2 children")), "{failure:?}");
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_undo_the_start() {
    let command = ["/bin/sh", "-c", &format!("sleep 0.5; exec {HOSTILE} ok")].map(str::to_owned).to_vec();
    let late = with(ConnectorSpec::process("x".parse().unwrap(), command), |child| {
        child.env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
    });
    let (rig, grant) = (Rig::new(vec![late]), grant("g-1"));
    assert!(tokio::time::timeout(Duration::from_millis(50), rig.call("x", &grant)).await.is_err());
    rig.result("x", &grant).await;
    assert_eq!(rig.status("x").counts.starts, 1);
}
