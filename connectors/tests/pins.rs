//! A tool is called only while its server lists it as it was pinned.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::ports::{ConnectFailure, SendFailure};
use bailiwick_schemas::canonical::Digest;
use tokio_util::sync::CancellationToken;

use crate::{
    channel::ToolCall,
    discover::discover,
    kit::{Failure, PATIENCE, Rig, grant, lease, lease_for, spec, tool, until},
    outward::bearer,
    server::{Server, at, echo, modern},
    spec::ConnectorSpec,
    status::{ConnectorEvent, Rejected},
};

fn drifted() -> Failure {
    Failure::Connect(ConnectFailure::Drifted { connector: "x".to_owned(), tool: "x__echo".to_owned() })
}

fn relisting(mode: &[&str]) -> Rig {
    Rig::new(vec![ConnectorSpec { relist_after: Duration::ZERO, ..spec("x", mode) }])
}

#[tokio::test]
async fn a_definition_that_differs_from_its_pin_is_not_called() {
    let rig = Rig::of(&["ok"]);
    let failure = rig.connectors.channel(&tool("x", "another description"), &grant("g-1"), None, None).await.err();
    assert_eq!(failure.map(Failure::Connect), Some(drifted()));
    let found = rig.events().into_iter().find_map(|event| match event {
        ConnectorEvent::Drifted { tool, found, .. } => Some((tool.to_string(), found)),
        _ => None,
    });
    assert_eq!(found, Some(("echo".to_owned(), Some(tool("x", "says it").digest))));
}

#[tokio::test]
async fn a_definition_that_changes_at_the_third_list_is_found_when_it_is_called() {
    let (rig, grant) = (relisting(&["drift", "3"]), grant("g-1"));
    rig.result("x", &grant).await;
    assert_eq!(rig.call("x", &grant).await.unwrap_err(), drifted());
    assert_eq!(rig.status("x").counts.calls, 1);
}

#[tokio::test]
async fn a_tool_that_vanishes_is_gone_with_the_next_call() {
    let (rig, grant) = (relisting(&["vanish", "3"]), grant("g-1"));
    rig.result("x", &grant).await;
    assert_eq!(rig.call("x", &grant).await.unwrap_err(), drifted());
    assert!(rig.events().iter().any(|event| matches!(event, ConnectorEvent::Drifted { found: None, .. })));
}

#[tokio::test]
async fn a_server_that_says_its_tools_changed_is_asked_again() {
    let (rig, grant) = (Rig::of(&["changes"]), grant("g-1"));
    rig.result("x", &grant).await;
    until("the change is told", || rig.status("x").counts.notifications == 1).await;
    assert_eq!(rig.call("x", &grant).await.unwrap_err(), drifted());
}

#[tokio::test]
async fn a_change_between_ready_and_send_stops_the_call() {
    let (rig, grant) = (Rig::of(&["changes"]), grant("g-1"));
    let channel = rig.connectors.channel(&tool("x", "says it"), &grant, None, None).await.unwrap();
    rig.result("x", &grant).await;
    until("the change is told", || rig.status("x").counts.notifications == 1).await;
    let (cancelled, written) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&written);
    let call = ToolCall {
        method: "tools/call",
        takes_task: false,
        arguments: b"{}",
        item: None,
        traceparent: None,
        timeout: Duration::from_secs(5),
        cancelled: &cancelled,
        meta: b"",
        ear: None,
        capabilities: None,
        answers: None,
    };
    let failure = channel.call(call, move || told.store(true, Ordering::Relaxed)).await.unwrap_err();
    assert!(matches!(failure, SendFailure::Unsent(_)), "{failure:?}");
    assert!(!written.load(Ordering::Relaxed) && rig.status("x").counts.calls == 1);
}

#[tokio::test]
async fn a_list_in_pages_is_read_to_its_end() {
    Rig::of(&["pages"]).result("x", &grant("g-1")).await;
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let failure = Rig::of(&["endless-pages"]).call("x", &grant("g-1")).await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains("64 pages")), "{failure:?}");
}

#[tokio::test]
async fn a_list_that_never_comes_is_given_up_and_the_child_with_it() {
    let hasty = ConnectorSpec {
        relist_after: Duration::ZERO,
        handshake_timeout: Duration::from_millis(800),
        ..spec("x", &["hang-list", "3"])
    };
    let (rig, grant) = (Rig::new(vec![hasty]), grant("g-1"));
    rig.result("x", &grant).await;
    let failure = rig.call("x", &grant).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect(ConnectFailure::Handshake(_))), "{failure:?}");
    until("the child is gone", || rig.status("x").children.is_empty()).await;
}

#[tokio::test]
async fn a_name_listed_twice_is_no_tool() {
    assert_eq!(Rig::of(&["twins"]).call("x", &grant("g-1")).await.unwrap_err(), drifted());
}

#[tokio::test]
async fn one_bad_definition_leaves_the_others_and_is_reported() {
    let rig = Rig::of(&["bad-tool"]);
    rig.result("x", &grant("g-1")).await;
    let listed = rig.events().into_iter().find_map(|event| match event {
        ConnectorEvent::Listed { tools, rejected, .. } => Some((tools, rejected)),
        _ => None,
    });
    let rejected = Rejected { tool: "b\u{430}d".to_owned(), fault: "no fit name" };
    assert_eq!(listed, Some((1, vec![rejected])));
}

/// What is wrong with a list is told in words that may be logged: the server's own are cut after they were cleaned.
#[tokio::test]
async fn what_is_told_of_a_list_is_without_what_was_lent() {
    for secret in ["canary-0123456789".to_owned(), format!("canary-{}", "0123456789abcdef".repeat(8))] {
        let rig = Rig::of(&["leak"]);
        let lent = lease("lease-1", &secret);
        rig.call_with("x", &grant("g-1"), Some(&lent), Duration::from_secs(10), b"{}").await.unwrap();
        let told = format!("{:?} {:?}", rig.events(), rig.connectors.status());
        assert!(!told.contains("canary") && told.contains("leak [redacted]"), "{told}");
        let found = discover(&spec("x", &["leak"]), Some(&lent)).await.unwrap();
        let told = format!("{found:?} {:?}", found.reading().findings);
        assert!(!told.contains("canary"), "{told}");
        assert_eq!(found.server_info.unwrap()["version"], "[redacted]");
        assert_eq!((found.instructions.unwrap().as_str(), found.tools.len()), ("obey [redacted]", 1));
        for mode in ["leak-version", "leak-key"] {
            let failure = discover(&spec("x", &[mode]), Some(&lent)).await.unwrap_err();
            assert!(!failure.to_string().contains("canary"), "{mode}: {failure}");
        }
    }
}

#[tokio::test]
async fn discovery_lists_once_and_leaves_nothing() {
    let found = discover(&spec("x", &["ok"]), Some(&lease("lease-1", "canary-0123456789"))).await.unwrap();
    assert_eq!(found.protocol, "2025-06-18");
    assert_eq!(found.server_info.unwrap()["name"], "hostile");
    assert_eq!(found.tools.len(), 2);
    let failure = discover(&spec("x", &["exit-at-start"]), None).await.unwrap_err();
    assert!(failure.to_string().contains("can't open the database"), "{failure}");
}

#[tokio::test]
async fn versions_are_those_we_understand() {
    for version in ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
        assert_eq!(discover(&spec("x", &["version", version]), None).await.unwrap().protocol, version);
    }
    let failure = discover(&spec("x", &["version", "1999-01-01"]), None).await.unwrap_err();
    assert!(failure.to_string().contains("`1999-01-01`"), "{failure}");
}

/// At a reload the tools and the connectors change one after the other: in between, a tool may meet another server under its name.
#[tokio::test]
async fn a_tool_of_another_connector_of_the_same_name_is_not_called_and_lends_it_nothing() {
    let server = Server::new(modern(echo)).await;
    let other = ConnectorSpec { fingerprint: Digest::of(b"another"), ..at("x", &server.url()) };
    let rig = Rig::new(vec![other.clone()]);
    let (grant, lent) = (grant("g-1"), lease_for("lease-1", "canary-0123456789", bearer()));
    let failure = rig.call_with("x", &grant, Some(&lent), PATIENCE, b"{}").await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("configured otherwise") && why.contains("`x__echo`")),
        "{failure:?}"
    );
    assert!(server.seen().is_empty() && rig.status("x").counts.starts == 0);
    // What is lent, and how, is part of what a connector is: its sessions end with it.
    let replaced = rig.connectors.replace(vec![at("x", &server.url())]).unwrap();
    assert_eq!(replaced.changed, ["x".parse().unwrap()]);
    rig.call_with("x", &grant, Some(&lent), PATIENCE, b"{}").await.unwrap();
}
