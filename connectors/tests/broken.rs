//! Servers over HTTP that break the protocol, the connection or the bounds: each a failure that says what happened.

use std::time::{Duration, Instant};

use bailiwick_pipeline::ports::{ConnectFailure, SendFailure};
use serde_json::json;

use crate::{
    discover::discover,
    kit::{Failure, PATIENCE, Rig, grant, lease_for, peak_memory, until, value},
    outward::bearer,
    server::{JSON, Reply, Seen, Server, Step, at, echo, events, legacy, listed, modern, respond, result},
    spec::ConnectorSpec,
};

/// What must be said, and how a call is answered.
type Case = (&'static str, fn(&Seen) -> Reply);

/// What comes of a call that is answered so.
async fn called(call: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> SendFailure {
    let server = Server::new(legacy(call)).await;
    let rig = Rig::new(vec![ConnectorSpec { max_message: 100_000, ..at("x", &server.url()) }]);
    let Failure::Send(failure) = rig.call("x", &grant("g-1")).await.unwrap_err() else { panic!("it was not sent") };
    assert_eq!(server.calls().len(), 1, "it is not sent again");
    failure
}

fn raw(text: &str) -> Reply {
    vec![Step::Send(text.as_bytes().to_vec())]
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none() {
    let cases: &[Case] = &[
        ("`text/html`, which is neither", |_| respond(200, &[("content-type", "text/html")], "<html>")),
        ("``, which is neither", |_| respond(200, &[], "{}")),
        ("which is neither", |seen| {
            let text = json!({"jsonrpc":"2.0","id":seen.id(),"result":{}}).to_string();
            respond(200, &[JSON, ("content-type", "text/html")], &text)
        }),
        ("gave no answer (HTTP 202)", |_| respond(202, &[], "")),
        ("gave no answer (HTTP 204)", |_| respond(204, &[], "")),
        ("HTTP 500: database down", |_| respond(500, &[("content-type", "text/plain")], "database down\n")),
        ("HTTP 503", |_| respond(503, &[], "")),
        ("HTTP 429: {\"retry\":1}", |_| respond(429, &[JSON], "{\"retry\":1}")),
        ("HTTP 418", |_| respond(418, &[("content-type", "image/png")], "\u{1}\u{2}")),
        ("the id of its answer is not", |seen| result(&json!(seen.id().to_string()), &json!({"forged":true}))),
        ("the id of its answer is not", |seen| {
            respond(200, &[JSON], &format!(r#"{{"jsonrpc":"2.0","id":{}.0,"result":{{}}}}"#, seen.id()))
        }),
        ("the id of its answer is not", |_| result(&json!(null), &json!({}))),
        ("answers another request", |_| result(&json!(1), &json!({"forged":true}))),
        ("answers another request", |_| result(&json!(99), &json!({"forged":true}))),
        ("a request of its own", |_| respond(200, &[JSON], r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)),
        ("a notification", |_| respond(200, &[JSON], r#"{"jsonrpc":"2.0","method":"notifications/x"}"#)),
        ("breaks the protocol", |_| respond(200, &[JSON], "")),
        ("breaks the protocol", |_| respond(200, &[JSON], "]garbage[")),
        ("both `result` and `error`", |seen| {
            respond(200, &[JSON], &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}},"error":{{}}}}"#, seen.id()))
        }),
        ("breaks the protocol", |seen| {
            respond(200, &[JSON], &format!(r#"[{{"jsonrpc":"2.0","id":{},"result":{{}}}}]"#, seen.id()))
        }),
        ("breaks the protocol", |seen| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"isError":true,"isError":false}}}}"#, seen.id());
            respond(200, &[JSON], &text)
        }),
        ("breaks the protocol", |seen| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{}{}}}"#, seen.id(), "[".repeat(10_000), "]".repeat(10_000));
            respond(200, &[JSON], &text)
        }),
        ("compressed", |seen| {
            let text = json!({"jsonrpc":"2.0","id":seen.id(),"result":{}}).to_string();
            respond(200, &[JSON, ("content-encoding", "gzip")], &text)
        }),
        ("its stream of events ended", |_| events(&[])),
        ("its stream of events ended", |_| events(&[r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#])),
        ("breaks the protocol", |_| events(&["]garbage["])),
        ("refuses access: HTTP 401, the credential is missing", |_| respond(401, &[], "")),
        ("refuses access: HTTP 403, the credential does not allow it: not you", |_| respond(403, &[], "not you")),
    ];
    for (expected, call) in cases {
        let failure = called(call).await.to_string();
        assert!(failure.contains(expected), "{expected}: {failure}");
    }
}

#[tokio::test]
async fn connections_that_end_too_early_are_told_apart_from_calls_that_never_went() {
    let cases: &[Case] = &[
        ("before an answer came", |_| vec![Step::Close]),
        ("before an answer came", |_| vec![Step::Send(b"HTTP/1.1 200 OK\r\nconte".to_vec()), Step::Close]),
        ("before an answer came", |_| raw("SSH-2.0-OpenSSH_9.9\r\n\r\n")),
        ("in the middle of its answer", |_| {
            vec![
                Step::Send(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"jsonrpc\"".to_vec(),
                ),
                Step::Close,
            ]
        }),
        ("in the middle of its answer", |_| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            vec![Step::Send(format!("{head}8\r\ndata: {{\"\r\n").into_bytes()), Step::Close]
        }),
        ("in the middle of its answer", |_| {
            raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}")
        }),
    ];
    for (expected, call) in cases {
        let failure = called(call).await;
        assert!(matches!(&failure, SendFailure::Closed(why) if why.contains(expected)), "{expected}: {failure:?}");
    }
    let server = Server::new(legacy(echo)).await;
    let url = server.url();
    drop(server);
    let failure = Rig::new(vec![at("x", &url)]).call("x", &grant("g-1")).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains("can't be reached")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn bodies_and_heads_are_bounded_however_they_come() {
    let before = peak_memory();
    let big = "x".repeat(100_001);
    let declared = called(move |_| respond(200, &[JSON], &big)).await.to_string();
    assert!(declared.contains("its answer has more than 100000 bytes"), "{declared}");
    // Says how long it is, and sends nothing of it: nobody waits for that.
    let declared =
        called(|_| raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000000000\r\n\r\n")).await;
    assert!(declared.to_string().contains("more than 100000 bytes"), "{declared}");
    for kind in ["application/json", "text/event-stream"] {
        let chunked = called(move |_| {
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            let mut steps = raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"));
            steps.push(Step::Flood(chunk.into_bytes(), 20_000));
            steps
        })
        .await;
        assert!(chunked.to_string().contains("more than 100000 bytes"), "{chunked}");
    }
    let notes = called(|_| {
        let note =
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}"#;
        events(&vec![note; 3000])
    })
    .await;
    assert!(notes.to_string().contains("before the answer"), "{notes}");
    let headers = called(|_| {
        let many: String = (0..150).map(|n| format!("x-{n}: y\r\n")).collect();
        raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n{many}\r\n{{}}"))
    })
    .await;
    assert!(headers.to_string().contains("before an answer came"), "{headers}");
    let long = "y".repeat(70_000);
    let headers = called(move |_| respond(200, &[JSON, ("x-long", &long)], "{}")).await;
    assert!(headers.to_string().contains("its headers have more than"), "{headers}");
    assert!(peak_memory() - before < 200 * 1024 * 1024);
}

#[tokio::test]
async fn deadlines_hold_against_whoever_hangs_or_drips() {
    let cases: &[fn(&Seen) -> Reply] = &[
        |_| vec![Step::Hang],
        |_| vec![Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()), Step::Hang],
        |_| vec![Step::Drip(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_vec())],
        |_| {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
            vec![Step::Send(head.to_vec()), Step::Drip(vec![b' '; 100])]
        },
        |_| {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: on my way\n\n";
            vec![Step::Send(head.to_vec()), Step::Drip(b": still\n".repeat(20))]
        },
    ];
    for call in cases {
        let server = Server::new(legacy(call)).await;
        let (rig, begun) = (Rig::new(vec![at("x", &server.url())]), Instant::now());
        let failure = rig.call_with("x", &grant("g-1"), None, Duration::from_millis(700), b"{}").await.unwrap_err();
        assert_eq!(failure, Failure::Send(SendFailure::Timeout(700)));
        assert!(begun.elapsed() < Duration::from_secs(10));
        // A legacy server takes a closed connection for nothing: it is told.
        until("the server is told", || server.methods().contains(&"notifications/cancelled".to_owned())).await;
        let told = server.seen().into_iter().find(|seen| seen.rpc() == "notifications/cancelled").unwrap();
        assert_eq!(told.message()["params"]["requestId"], server.calls()[0].id());
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up_in_time() {
    let server = Server::new(|_: &Seen| vec![Step::Hang]).await;
    let hasty = ConnectorSpec { handshake_timeout: Duration::from_millis(600), ..at("x", &server.url()) };
    let (rig, begun) = (Rig::new(vec![hasty]), Instant::now());
    let failure = rig.call("x", &grant("g-1")).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect(ConnectFailure::Handshake(_))), "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    until("the link is gone", || rig.status("x").children.is_empty()).await;
    assert_eq!(rig.status("x").counts.failures, 1);
    assert!(matches!(
        rig.call("x", &grant("g-1")).await,
        Err(Failure::Connect(ConnectFailure::Resting { .. } | ConnectFailure::Handshake(_)))
    ));
}

#[tokio::test]
async fn a_call_that_nobody_wants_any_more_is_closed_at_a_modern_server() {
    let server = Server::new(modern(|_| vec![Step::Hang])).await;
    let (rig, one) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    let ending = async {
        until("the call arrived", || server.calls().len() == 1).await;
        one.end(bailiwick_pipeline::grant::GrantState::Revoked);
    };
    let (failure, ()) = tokio::join!(rig.call("x", &one), ending);
    assert!(matches!(failure, Err(Failure::Send(SendFailure::Closed(_)))), "{failure:?}");
    until("its session is gone", || rig.status("x").children.is_empty()).await;
    // Nothing is said of it: the closed connection says it all.
    assert_eq!(server.methods(), ["server/discover", "tools/list", "tools/call"]);
}

#[tokio::test]
async fn a_stream_may_say_other_things_before_the_answer() {
    let server = Server::new(legacy(|seen| {
        let answer = json!({"jsonrpc":"2.0","id":seen.id(),"result":{"n":1}}).to_string();
        let forged = json!({"jsonrpc":"2.0","id":seen.id().to_string(),"result":{"forged":1}}).to_string();
        let other = json!({"jsonrpc":"2.0","id":1,"result":{"forged":2}}).to_string();
        let second = json!({"jsonrpc":"2.0","id":seen.id(),"result":{"n":2}}).to_string();
        events(&[r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#, &forged, &other, &answer, &second])
    }))
    .await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    for _ in 0..2 {
        assert_eq!(value(&rig.call("x", &grant).await.unwrap()), json!({"n":1}));
    }
    let counts = rig.status("x").counts;
    assert_eq!((counts.notifications, counts.unknown_ids, counts.calls), (2, 2, 2));
    assert!(counts.second_answers >= 2, "{counts:?}");
}

#[tokio::test]
async fn a_change_that_a_stream_tells_is_looked_at_before_the_next_call() {
    let server = Server::new(legacy(|seen| {
        let answer = json!({"jsonrpc":"2.0","id":seen.id(),"result":{}}).to_string();
        events(&[r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#, &answer])
    }))
    .await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    rig.result("x", &grant).await;
    rig.result("x", &grant).await;
    assert_eq!(server.methods().into_iter().filter(|method| method == "tools/list").count(), 2);
}

#[tokio::test]
async fn questions_of_a_legacy_server_are_answered_and_granted_nothing() {
    let waiting = std::sync::Arc::new(std::sync::Mutex::new(Vec::<serde_json::Value>::new()));
    let answers = std::sync::Arc::clone(&waiting);
    let server = Server::new(move |seen: &Seen| {
        if seen.rpc().is_empty() && seen.method == "POST" {
            answers.lock().unwrap().push(seen.message());
            return respond(202, &[], "");
        }
        legacy(|seen| {
            let questions = ["ping", "sampling/createMessage", "roots/list", "elicitation/create"];
            let asked: String = questions
                .iter()
                .map(|method| format!("data: {}\n\n", json!({"jsonrpc":"2.0","id":format!("q-{method}"),"method":method})))
                .collect();
            let answer = json!({"jsonrpc":"2.0","id":seen.id(),"result":{"done":true}});
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            // The answer comes a byte at a time, a second each, so that the questions are answered first.
            let slowly = Step::Drip(b"\n\n\n".to_vec());
            vec![
                Step::Send(format!("{head}{asked}").into_bytes()),
                slowly,
                Step::Send(format!("data: {answer}\n\n").into_bytes()),
                Step::Close,
            ]
        })(seen)
    })
    .await;
    let rig = Rig::new(vec![at("x", &server.url())]);
    assert_eq!(value(&rig.call("x", &grant("g-1")).await.unwrap()), json!({"done":true}));
    let mut given = waiting.lock().unwrap().clone();
    given.sort_by_key(|answer| answer["id"].to_string());
    assert_eq!(given.len(), 4, "{given:?}");
    for answer in &given {
        let is_ping = answer["id"] == "q-ping";
        assert_eq!((answer["result"] == json!({}), answer["error"]["code"] == -32601), (is_ping, !is_ping), "{answer}");
    }
    assert_eq!(rig.status("x").counts.server_requests, 4);
}

#[tokio::test]
async fn what_a_server_says_of_its_failure_tells_no_secret_and_moves_no_terminal() {
    let lent = lease_for("lease-1", "canary-0123456789", bearer());
    for (status, headers) in
        [(500, vec![]), (403, vec![]), (307, vec![("location", "https://evil.example/?t=canary-0123456789")]), (500, vec![JSON])]
    {
        let server =
            Server::new(legacy(move |_| respond(status, &headers, "bad canary-0123456789 \u{1b}[31m{\"canary-0123456789\"")))
                .await;
        let rig = Rig::new(vec![at("x", &server.url())]);
        let failure = rig.call_with("x", &grant("g-1"), Some(&lent), PATIENCE, b"{}").await.unwrap_err();
        let told = format!("{failure:?} {:?} {:?}", rig.events(), rig.status("x"));
        assert!(!told.contains("canary") && !told.contains('\u{1b}'), "{told}");
        assert!(told.contains("[redacted]") || status == 500, "{status}: {told}");
    }
    // More than is looked at may end within a secret: then nothing of it is told.
    let server = Server::new(legacy(|_| respond(500, &[], &format!("{}canary-0123456789", "x".repeat(65_536 - 6))))).await;
    let failure =
        Rig::new(vec![at("x", &server.url())]).call_with("x", &grant("g-1"), Some(&lent), PATIENCE, b"{}").await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Protocol(why)) if why == "it answers with HTTP 500"), "{failure:?}");
}

#[tokio::test]
async fn what_stands_beside_the_tools_of_a_list_counts_as_part_of_it() {
    let beside = "x".repeat(5 * 1024 * 1024);
    let server = Server::new(move |seen: &Seen| match seen.rpc().as_str() {
        "tools/list" => {
            let page = json!({"resultType":"complete","tools":[],"nextCursor":"more","_meta":{"beside":beside}});
            result(&seen.id(), &page)
        }
        _ => modern(echo)(seen),
    })
    .await;
    let failure = Rig::new(vec![at("x", &server.url())]).call("x", &grant("g-1")).await.unwrap_err();
    let told = "the tool list has more than 8388608 bytes";
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains(told)), "{failure:?}");
    assert_eq!(server.count("tools/list"), 2);
}

#[tokio::test]
async fn a_server_that_says_too_much_of_itself_is_not_listened_to() {
    for method in ["server/discover", "initialize"] {
        let long = "x".repeat(300_000);
        let server = Server::new(move |seen: &Seen| match (seen.rpc().as_str(), method) {
            ("server/discover", "server/discover") => {
                let hello = json!({"resultType":"complete","supportedVersions":["2026-07-28"],"instructions":long});
                result(&seen.id(), &hello)
            }
            ("initialize", _) => {
                result(&seen.id(), &json!({"protocolVersion":"2025-06-18","serverInfo":{"name":long},"capabilities":{}}))
            }
            _ => legacy(echo)(seen),
        })
        .await;
        let failure = Rig::new(vec![at("x", &server.url())]).call("x", &grant("g-1")).await.unwrap_err();
        let told = "the answer to `initialize` has more than 262144 bytes";
        assert!(
            matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains(told)),
            "{method}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn a_look_keeps_no_more_of_a_server_than_people_read() {
    let server = Server::new(|seen: &Seen| match seen.rpc().as_str() {
        "initialize" => {
            let info = json!({"name":"x".repeat(100_000)});
            result(&seen.id(), &json!({"protocolVersion":"2025-06-18","serverInfo":info,"instructions":"y".repeat(100_000)}))
        }
        "tools/list" => {
            let wide = json!({"name":"wide","inputSchema":{"type":"object"},"description":"z".repeat(600_000)});
            result(&seen.id(), &json!({"tools":[wide, listed()[0]]}))
        }
        _ => legacy(echo)(seen),
    })
    .await;
    let found = discover(&at("x", &server.url()), None).await.unwrap();
    assert_eq!((found.server_info.as_ref(), found.instructions.as_ref().unwrap().len()), (None, 16 * 1024));
    assert_eq!(json!(found.tools), listed());
    let reading = found.reading();
    assert_eq!((reading.accepted.len(), reading.findings.len()), (1, 1));
    assert_eq!((reading.findings[0].tool.as_str(), reading.findings[0].index), ("wide", 0));
    assert!(reading.findings[0].fault.to_string().contains("at most 262144 are accepted"));
}
