//! What becomes of one request, and what that costs the others that go to the same server: nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    grant::{GrantState, LiveGrant},
    ports::{ConnectFailure, SendFailure},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    channel::ToolCall,
    kit::{Failure, PATIENCE, Rig, grant, spec, tool, until, value},
    message::Answer,
    server::{Reply, Seen, Server, Step, at, echo, legacy, modern, respond, result},
    spec::ConnectorSpec,
};

/// The first call is answered once this is cancelled; the others at once.
fn first_waits(told: &CancellationToken) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let (told, calls) = (told.clone(), AtomicUsize::new(0));
    move |seen| {
        let mut reply = echo(seen);
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.insert(0, Step::Until(told.clone()));
        }
        reply
    }
}

/// A shared connector: one session for all grants.
fn shared(server: &Server) -> ConnectorSpec {
    ConnectorSpec {
        shared: true,
        call_timeout: Duration::from_mins(1),
        backoff_first: Duration::from_mins(1),
        backoff_most: Duration::from_mins(1),
        ..at("x", &server.url())
    }
}

/// A call on its way, which the server has read.
async fn in_flight(rig: &Arc<Rig>, server: &Server, grant: &Arc<LiveGrant>) -> JoinHandle<Result<Answer, Failure>> {
    let (calling, grant) = (Arc::clone(rig), Arc::clone(grant));
    let call = tokio::spawn(async move { calling.call_with("x", &grant, None, Duration::from_mins(1), b"{}").await });
    until("the call arrived", || server.calls().len() == 1).await;
    call
}

#[tokio::test]
async fn a_request_that_finds_no_connection_breaks_off_no_other() {
    let told = CancellationToken::new();
    let server = Server::new(modern(first_waits(&told))).await;
    let spec = ConnectorSpec { backoff_first: Duration::from_secs(2), ..shared(&server) };
    let (rig, one, two) = (Arc::new(Rig::new(vec![spec])), grant("g-1"), grant("g-2"));
    let waits = in_flight(&rig, &server, &one).await;
    // The only connection is in use, and there is no other to be had.
    server.close().await;
    let failure = rig.call("x", &two).await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Unsent(why)) if why.contains("can't be reached")), "{failure:?}");
    // The server rests, as far as new calls go.
    let failure = rig.call("x", &two).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect(ConnectFailure::Resting { .. })), "{failure:?}");
    assert!(!waits.is_finished() && rig.status("x").children.len() == 1);
    told.cancel();
    assert_eq!(value(&waits.await.unwrap().unwrap())["said"], json!({}));
    until("its link has ended", || rig.status("x").children.is_empty()).await;
    assert_eq!(rig.status("x").counts.failures, 1);
    // And it recovers.
    let (port, _gone) = (server.port, server);
    let _back = Server::on(port, modern(echo)).await;
    let answered = async {
        while rig.call("x", &two).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
}

#[tokio::test]
async fn a_list_that_is_answered_with_a_failure_fails_one_call_and_no_session() {
    let (told, fails) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let (calls, failing) = (legacy(first_waits(&told)), Arc::clone(&fails));
    let server = Server::new(move |seen: &Seen| match seen.rpc().as_str() {
        "tools/list" if failing.load(Ordering::SeqCst) => respond(503, &[], "busy"),
        _ => calls(seen),
    })
    .await;
    let spec = ConnectorSpec { relist_after: Duration::ZERO, ..shared(&server) };
    let (rig, one, two) = (Arc::new(Rig::new(vec![spec])), grant("g-1"), grant("g-2"));
    let waits = in_flight(&rig, &server, &one).await;
    fails.store(true, Ordering::SeqCst);
    let failure = rig.call("x", &two).await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains("HTTP 503")), "{failure:?}");
    fails.store(false, Ordering::SeqCst);
    rig.result("x", &two).await;
    told.cancel();
    waits.await.unwrap().unwrap();
    assert_eq!((server.count("initialize"), rig.status("x").counts.failures), (1, 0));
}

#[tokio::test]
async fn a_list_that_never_comes_rests_the_server_and_leaves_what_is_in_flight() {
    let (told, hangs) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let (calls, hanging) = (legacy(first_waits(&told)), Arc::clone(&hangs));
    let server = Server::new(move |seen: &Seen| match seen.rpc().as_str() {
        "tools/list" if hanging.load(Ordering::SeqCst) => vec![Step::Hang],
        _ => calls(seen),
    })
    .await;
    let spec = ConnectorSpec { relist_after: Duration::ZERO, handshake_timeout: Duration::from_secs(3), ..shared(&server) };
    let (rig, one, two) = (Arc::new(Rig::new(vec![spec])), grant("g-1"), grant("g-2"));
    let waits = in_flight(&rig, &server, &one).await;
    let lists = server.count("tools/list");
    hangs.store(true, Ordering::SeqCst);
    let failures = futures_util::future::join_all((0..10).map(|_| rig.call("x", &two))).await;
    assert!(failures.iter().all(|failure| matches!(failure, Err(Failure::Connect(_)))), "{failures:?}");
    assert_eq!(server.count("tools/list"), lists + 1, "they wait together, not one after the other");
    assert!(matches!(rig.call("x", &two).await, Err(Failure::Connect(ConnectFailure::Resting { .. }))));
    told.cancel();
    waits.await.unwrap().unwrap();
    until("its link has ended", || rig.status("x").children.is_empty()).await;
}

#[tokio::test]
async fn a_session_that_is_forgotten_for_one_call_leaves_the_others_their_answers() {
    let (told, forgets) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let (calls, forgetting) = (first_waits(&told), Arc::clone(&forgets));
    let server = Server::new(legacy(
        move |seen| {
            if forgetting.swap(false, Ordering::SeqCst) { respond(404, &[], "") } else { calls(seen) }
        },
    ))
    .await;
    let (rig, one, two) = (Arc::new(Rig::new(vec![shared(&server)])), grant("g-1"), grant("g-2"));
    let waits = in_flight(&rig, &server, &one).await;
    forgets.store(true, Ordering::SeqCst);
    let failure = rig.call("x", &two).await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Closed(why)) if why.contains("ended the session")), "{failure:?}");
    rig.result("x", &two).await;
    assert_eq!((server.count("initialize"), waits.is_finished()), (2, false));
    told.cancel();
    waits.await.unwrap().unwrap();
    until("the old link has ended", || rig.status("x").children.len() == 1).await;
    assert_eq!((rig.status("x").counts.failures, server.count("DELETE")), (0, 0));
}

#[tokio::test]
async fn a_session_that_is_forgotten_before_it_is_open_is_a_failure_and_rests() {
    let server = Server::new(|seen: &Seen| match seen.rpc().as_str() {
        "tools/list" => respond(404, &[], ""),
        _ => legacy(echo)(seen),
    })
    .await;
    let slow =
        ConnectorSpec { backoff_first: Duration::from_mins(1), backoff_most: Duration::from_mins(1), ..at("x", &server.url()) };
    let (rig, grant) = (Rig::new(vec![slow]), grant("g-1"));
    let failure = rig.call("x", &grant).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains("ended the session")),
        "{failure:?}"
    );
    assert!(matches!(rig.call("x", &grant).await, Err(Failure::Connect(ConnectFailure::Resting { .. }))));
    until("the link is gone", || rig.status("x").children.is_empty()).await;
    assert_eq!((server.count("initialize"), server.count("DELETE"), rig.status("x").counts.failures), (1, 0, 1));
}

#[tokio::test]
async fn what_a_legacy_server_works_on_is_called_off_before_its_session_ends() {
    for has_session in [true, false] {
        for ends in ["grant", "connector", "renewal"] {
            let script = legacy(|_| vec![Step::Hang]);
            let server = Server::new(move |seen: &Seen| match seen.rpc().as_str() {
                "initialize" if !has_session => result(&seen.id(), &json!({"protocolVersion":"2025-06-18","capabilities":{}})),
                // A server that takes its time.
                "notifications/cancelled" => {
                    std::thread::sleep(Duration::from_millis(50));
                    respond(202, &[], "")
                }
                _ => script(seen),
            })
            .await;
            let (rig, grant) = (Arc::new(Rig::new(vec![at("x", &server.url())])), grant("g-1"));
            let call = in_flight(&rig, &server, &grant).await;
            match ends {
                "grant" => assert!(grant.end(GrantState::Revoked)),
                "connector" => drop(rig.connectors.replace(Vec::new()).unwrap()),
                _ => rig.connectors.renew(&"x".parse().unwrap()),
            }
            let failure = call.await.unwrap().unwrap_err();
            assert!(matches!(failure, Failure::Send(SendFailure::Closed(_))), "{failure:?}");
            until("the server is told", || server.count("notifications/cancelled") == 1).await;
            rig.connectors.shutdown().await;
            let told = server.seen().into_iter().find(|seen| seen.rpc() == "notifications/cancelled").unwrap();
            assert_eq!(told.message()["params"]["requestId"], server.calls()[0].id());
            assert_eq!(told.header("mcp-session-id"), has_session.then_some("session-1"));
            let last: Vec<String> = server.methods().into_iter().skip_while(|method| method != "tools/call").skip(1).collect();
            let expected: &[&str] =
                if has_session { &["notifications/cancelled", "DELETE"] } else { &["notifications/cancelled"] };
            assert_eq!(last, expected, "{ends}");
        }
    }
}

#[tokio::test]
async fn another_limit_of_results_counts_from_the_next_message_on_and_ends_nothing() {
    let told = CancellationToken::new();
    let server = Server::new(legacy(first_waits(&told))).await;
    let specs = |max_message| {
        vec![ConnectorSpec { max_message, ..at("x", &server.url()) }, ConnectorSpec { max_message, ..spec("y", &["big"]) }]
    };
    let (rig, grant) = (Arc::new(Rig::new(specs(16 << 20))), grant("g-1"));
    rig.result("y", &grant).await;
    let child = rig.pid("y");
    let waits = in_flight(&rig, &server, &grant).await;
    let replaced = rig.connectors.replace(specs(100)).unwrap();
    assert_eq!((replaced.kept.len(), replaced.changed.len()), (2, 0));
    told.cancel();
    waits.await.unwrap().unwrap();
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(100));
    let call = || rig.call_with("x", &grant, None, PATIENCE, long.as_bytes());
    let failure = call().await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Protocol(why)) if why.contains("more than 100 bytes")), "{failure:?}");
    rig.connectors.replace(specs(16 << 20)).unwrap();
    call().await.unwrap();
    rig.result("y", &grant).await;
    assert_eq!((server.count("initialize"), rig.pid("y")), (1, child));
    rig.connectors.replace(specs(1_000_000)).unwrap();
    let failure = rig.call("y", &grant).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Send(SendFailure::Closed(why)) if why.contains("more than 1000000 bytes")),
        "{failure:?}"
    );
    // What ended of the limit does not rest once there is another.
    rig.connectors.replace(specs(16 << 20)).unwrap();
    rig.result("y", &grant).await;
}

#[tokio::test]
async fn a_connector_over_http_has_room_for_many_sessions_and_says_what_to_do_when_it_is_full() {
    let server = Server::new(modern(echo)).await;
    assert_eq!(at("x", &server.url()).max_children, 4096);
    let rig = Rig::new(vec![ConnectorSpec { max_children: 1, ..at("x", &server.url()) }]);
    let (one, two) = (grant("g-1"), grant("g-2"));
    let _busy = rig.connectors.channel(&tool("x", "says it"), &one, None, None).await.unwrap();
    let failure = rig.call("x", &two).await.unwrap_err();
    let Failure::Connect(ConnectFailure::Start(why)) = &failure else { panic!("{failure:?}") };
    assert!(why.contains("all 1 sessions") && why.contains("`shared = true`") && !why.contains("limit"), "{why}");
}

#[tokio::test]
async fn a_call_that_a_server_does_not_read_is_let_go_of_when_its_grant_ends() {
    let server = Server::deaf_to("tools/call", modern(echo)).await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    let channel = rig.connectors.channel(&tool("x", "says it"), &grant, None, None).await.unwrap();
    let written = Arc::new(AtomicBool::new(false));
    let (telling, cancelled) = (Arc::clone(&written), grant.cancelled());
    // More than the buffers between the two of us hold.
    let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat(32 << 20));
    let call = ToolCall {
        method: "tools/call",
        takes_task: false,
        arguments: arguments.as_bytes(),
        item: None,
        traceparent: None,
        timeout: PATIENCE,
        cancelled,
        meta: b"",
        ear: None,
        capabilities: None,
        answers: None,
    };
    let calling = channel.call(call, move || telling.store(true, Ordering::SeqCst));
    let ending = async {
        until("its head arrived", || server.seen().len() == 3).await;
        assert!(!written.load(Ordering::SeqCst), "most of it is still here");
        assert!(grant.end(GrantState::Revoked));
    };
    let (failure, ()) = tokio::join!(calling, ending);
    assert!(matches!(failure, Err(SendFailure::Closed(_))), "{failure:?}");
    // It is on its way, in part: but nothing of it goes out any more once the server has not read for a while.
    until("nobody writes it any more", || Arc::strong_count(&written) == 1).await;
}
