//! Both eras of the protocol, over both carriers, and how the right one is found.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::ports::{ConnectFailure, SendFailure};
use serde_json::json;

use crate::{
    discover::discover,
    kit::{Failure, PATIENCE, Rig, grant, spec, tool_of, until, value},
    server::{JSON, Server, at, echo, legacy, listed, modern, respond, result},
    spec::ConnectorSpec,
    version::Protocol,
};

#[tokio::test]
async fn a_legacy_server_is_called_within_its_session() {
    let server = Server::new(legacy(echo)).await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    let answer = rig.call_with("x", &grant, None, PATIENCE, br#"{"text" : "1e400"}"#).await.unwrap();
    assert_eq!(value(&answer)["said"], json!({"text":"1e400"}));
    rig.result("x", &grant).await;
    assert_eq!(
        server.methods(),
        ["server/discover", "initialize", "notifications/initialized", "tools/list", "tools/call", "tools/call"]
    );
    let seen = server.seen();
    assert_eq!((seen[1].header("mcp-session-id"), seen[1].header("mcp-protocol-version")), (None, None));
    for request in &seen[2..] {
        assert_eq!(request.header("mcp-session-id"), Some("session-1"));
        assert_eq!(request.header("mcp-protocol-version"), Some("2025-06-18"));
        assert_eq!(request.header("mcp-method"), None);
    }
    let call = &seen[4];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/mcp"));
    assert_eq!(call.header("accept"), Some("application/json, text/event-stream"));
    assert_eq!((call.header("content-type"), call.header("accept-encoding")), (Some("application/json"), None));
    assert_eq!(call.header("traceparent"), Some("00-aa-bb-01"));
    assert!(call.body.contains(r#""arguments":{"text" : "1e400"},"_meta":{"traceparent":"00-aa-bb-01"}"#), "{}", call.body);
    rig.connectors.shutdown().await;
    let last = server.seen().pop().unwrap();
    assert_eq!((last.method.as_str(), last.header("mcp-session-id")), ("DELETE", Some("session-1")));
}

#[tokio::test]
async fn a_modern_server_is_called_without_a_handshake() {
    let server = Server::new(modern(echo)).await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    rig.result("x", &grant).await;
    rig.connectors.shutdown().await;
    assert_eq!(server.methods(), ["server/discover", "tools/list", "tools/call"]);
    for request in server.seen() {
        let meta = request.message()["params"]["_meta"].clone();
        assert_eq!(request.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(request.header("mcp-method"), Some(request.rpc().as_str()));
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "bailiwick");
        assert_eq!(request.header("mcp-session-id"), None);
    }
    let call = &server.calls()[0];
    assert_eq!((call.header("mcp-name"), call.header("traceparent")), (Some("echo"), Some("00-aa-bb-01")));
    assert_eq!(call.message()["params"]["_meta"]["traceparent"], "00-aa-bb-01");
}

#[tokio::test]
async fn headers_mirror_arguments_as_the_pin_says() {
    let definition = json!([{"name":"get","inputSchema":{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"number","x-mcp-header":"N"},"text":{"type":"string"}}}}]);
    let list = definition.clone();
    let server = Server::new(move |seen: &crate::server::Seen| match seen.rpc().as_str() {
        "tools/list" => result(&seen.id(), &json!({"resultType":"complete","tools":list})),
        _ => modern(echo)(seen),
    })
    .await;
    let (rig, tool) = (Rig::new(vec![at("x", &server.url())]), tool_of("x", &definition[0]));
    let arguments = r#"{"region":"größe","n":1.50,"text":"x"}"#;
    rig.call_tool(&tool, &grant("g-1"), None, PATIENCE, arguments.as_bytes()).await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(call.header("mcp-param-region"), Some("=?base64?Z3LDtsOfZQ==?="));
    assert_eq!((call.header("mcp-param-n"), call.header("mcp-param-text")), (Some("1.50"), None));
    let long = format!(r#"{{"region":"{}"}}"#, "x".repeat(100_000));
    let failure = rig.call_tool(&tool, &grant("g-1"), None, PATIENCE, long.as_bytes()).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Send(SendFailure::Unsent(why)) if why.contains("argument `region` is too long")),
        "{failure:?}"
    );
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn the_era_is_asked_for_once_and_asked_again_when_it_fails() {
    let is_modern = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&is_modern);
    let server = Server::new(
        move |seen: &crate::server::Seen| {
            if now.load(Ordering::SeqCst) { modern(echo)(seen) } else { legacy(echo)(seen) }
        },
    )
    .await;
    let hasty = ConnectorSpec { backoff_first: Duration::ZERO, backoff_most: Duration::ZERO, ..at("x", &server.url()) };
    let rig = Rig::new(vec![hasty]);
    rig.result("x", &grant("g-1")).await;
    rig.result("x", &grant("g-2")).await;
    is_modern.store(false, Ordering::SeqCst);
    // What was modern is no longer: this fails, and is forgotten.
    let failure = rig.call("x", &grant("g-3")).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect(ConnectFailure::Handshake(_))), "{failure:?}");
    rig.result("x", &grant("g-4")).await;
    rig.result("x", &grant("g-5")).await;
    let asked = server.methods().into_iter().filter(|method| method == "server/discover").count();
    // g-1 asks, g-2 and g-3 open the modern way, g-4 asks again, g-5 knows.
    assert_eq!(asked, 4);
    assert_eq!(server.methods().into_iter().filter(|method| method == "initialize").count(), 2);
}

#[tokio::test]
async fn what_is_no_modern_answer_means_an_older_server() {
    for (status, headers, body) in [
        (400, vec![JSON], r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Missing session ID"}}"#),
        (404, vec![], "not found"),
        (405, vec![("allow", "GET")], ""),
        (406, vec![("content-type", "text/plain")], "not acceptable"),
        (415, vec![], ""),
        (500, vec![], "oops"),
        (200, vec![("content-type", "text/html")], "<html>"),
        (200, vec![JSON], r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#),
        (200, vec![JSON], r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","supportedVersions":["2025-11-25"]}}"#),
        (202, vec![], ""),
        (302, vec![("location", "/login")], ""),
    ] {
        let (given, text) = (headers.clone(), body.to_owned());
        let server = Server::new(move |seen: &crate::server::Seen| match seen.rpc().as_str() {
            "server/discover" => respond(status, &given, &text),
            _ => legacy(echo)(seen),
        })
        .await;
        let rig = Rig::new(vec![at("x", &server.url())]);
        assert!(rig.call("x", &grant("g-1")).await.is_ok(), "{status} {body}");
    }
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_so_and_tries_no_other_way() {
    for status in [401, 403] {
        let server = Server::new(move |_: &crate::server::Seen| {
            respond(status, &[("www-authenticate", "Bearer resource_metadata=\"http://169.254.169.254/latest\"")], "no")
        })
        .await;
        let failure = Rig::new(vec![at("x", &server.url())]).call("x", &grant("g-1")).await.unwrap_err();
        let Failure::Connect(ConnectFailure::Handshake(why)) = &failure else { panic!("{failure:?}") };
        assert!(why.contains(&format!("refuses access: HTTP {status}")), "{why}");
        assert_eq!(server.methods(), ["server/discover"]);
    }
}

#[tokio::test]
async fn an_admin_who_knows_the_protocol_is_believed() {
    let server = Server::new(legacy(echo)).await;
    let told = ConnectorSpec { protocol: Protocol::Legacy, ..at("x", &server.url()) };
    Rig::new(vec![told]).result("x", &grant("g-1")).await;
    assert_eq!(server.methods()[0], "initialize");
    let told = ConnectorSpec { protocol: Protocol::Modern, ..at("x", &server.url()) };
    let failure = Rig::new(vec![told]).call("x", &grant("g-1")).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Connect(ConnectFailure::Handshake(why)) if why.contains("server/discover")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_opened_anew_and_no_call_is_sent_twice() {
    let forgotten = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&forgotten);
    let server = Server::new(move |seen: &crate::server::Seen| {
        let takes = |method: &str| seen.rpc() == method && now.load(Ordering::SeqCst) > 0;
        if takes("tools/call") || takes("tools/list") {
            now.fetch_sub(1, Ordering::SeqCst);
            return respond(404, &[], "");
        }
        legacy(echo)(seen)
    })
    .await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    rig.result("x", &grant).await;
    forgotten.store(1, Ordering::SeqCst);
    let failure = rig.call("x", &grant).await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Closed(why)) if why.contains("ended the session")), "{failure:?}");
    assert_eq!(server.calls().len(), 2);
    // The next call begins a new session at once, without a pause.
    rig.result("x", &grant).await;
    assert_eq!(server.methods().into_iter().filter(|method| method == "initialize").count(), 2);
    assert_eq!(rig.status("x").counts.failures, 0);
}

/// By the book that is 404; many servers know nothing of the session and answer 400.
#[tokio::test]
async fn a_forgotten_session_that_only_the_list_meets_costs_no_call() {
    for status in [404, 400] {
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lists);
        let server = Server::new(move |seen: &crate::server::Seen| match seen.rpc().as_str() {
            "tools/list" if counted.fetch_add(1, Ordering::SeqCst) == 1 => respond(status, &[], ""),
            _ => legacy(echo)(seen),
        })
        .await;
        let rig = Rig::new(vec![ConnectorSpec { relist_after: Duration::ZERO, ..at("x", &server.url()) }]);
        // The handshake lists once; the call lists again, is told that the session is gone, and begins a new one.
        rig.result("x", &grant("g-1")).await;
        assert_eq!(server.calls().len(), 1, "{status}");
        assert_eq!(server.methods().into_iter().filter(|method| method == "initialize").count(), 2, "{status}");
    }
}

#[tokio::test]
async fn each_grant_has_a_session_of_its_own_unless_the_connector_is_shared() {
    for (shared, sessions) in [(false, 2), (true, 1)] {
        let server = Server::new(legacy(echo)).await;
        let rig = Rig::new(vec![ConnectorSpec { shared, ..at("x", &server.url()) }]);
        let (one, two) = (grant("g-1"), grant("g-2"));
        rig.result("x", &one).await;
        rig.result("x", &two).await;
        assert_eq!(server.methods().into_iter().filter(|method| method == "initialize").count(), sessions);
        assert_eq!(rig.status("x").children.len(), sessions);
        one.end(bailiwick_pipeline::grant::GrantState::Revoked);
        if !shared {
            until("its session is ended", || server.methods().contains(&"DELETE".to_owned())).await;
            until("it is gone", || rig.status("x").children.len() == 1).await;
        }
        rig.result("x", &two).await;
    }
}

#[tokio::test]
async fn a_modern_result_says_of_which_kind_it_is_and_the_gates_judge_it() {
    for kind in ["input_required", "task", "other"] {
        let answer = json!({"resultType":kind,"content":[]});
        let server = Server::new(modern(move |seen| result(&seen.id(), &answer))).await;
        let over_http = Rig::new(vec![at("x", &server.url())]).call("x", &grant("g-1")).await.unwrap();
        let over_lines = Rig::of(&["modern", kind]).call("x", &grant("g-1")).await.unwrap();
        for answer in [over_http, over_lines] {
            assert!(
                matches!(&answer, crate::message::Answer::Result(text) if String::from_utf8_lossy(text).contains(kind)),
                "{answer:?}"
            );
        }
    }
    let server = Server::new(modern(|seen| result(&seen.id(), &json!({"content":[]})))).await;
    let failure = Rig::new(vec![at("x", &server.url())]).call("x", &grant("g-1")).await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Protocol(why)) if why.contains("no `resultType`")), "{failure:?}");
}

#[tokio::test]
async fn errors_of_a_modern_server_come_with_a_status_and_pass_all_the_same() {
    let server = Server::new(modern(|seen| {
        let error = json!({"jsonrpc":"2.0","id":seen.id(),"error":{"code":-32602,"message":"Unknown tool","data":{"n":1}}});
        respond(400, &[JSON], &error.to_string())
    }))
    .await;
    let answer = Rig::new(vec![at("x", &server.url())]).call("x", &grant("g-1")).await.unwrap();
    let expected =
        crate::message::Answer::Error { code: -32602, message: "Unknown tool".to_owned(), data: Some(r#"{"n":1}"#.into()) };
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_modern_child_process_gets_modern_requests() {
    let rig = Rig::of(&["modern"]);
    let result = rig.result("x", &grant("g-1")).await;
    let line: serde_json::Value = serde_json::from_str(result["line"].as_str().unwrap()).unwrap();
    let meta = &line["params"]["_meta"];
    assert_eq!(
        (&meta["io.modelcontextprotocol/protocolVersion"], &meta["traceparent"]),
        (&json!("2026-07-28"), &json!("00-aa-bb-01"))
    );
    assert_eq!(discover(&spec("x", &["modern"]), None).await.unwrap().protocol, "2026-07-28");
}

#[tokio::test]
async fn a_child_that_dies_of_the_question_is_started_once_more_and_never_asked_again() {
    let rig = Rig::of(&["dies-when-asked"]);
    rig.result("x", &grant("g-1")).await;
    assert_eq!((rig.status("x").counts.starts, rig.status("x").counts.failures), (1, 0));
    rig.result("x", &grant("g-2")).await;
    assert_eq!((rig.status("x").counts.starts, rig.status("x").counts.failures), (2, 0));
    until("the first is gone", || rig.status("x").children.len() == 2).await;
    assert_eq!(discover(&spec("x", &["dies-when-asked"]), None).await.unwrap().protocol, "2025-06-18");
}

#[tokio::test]
async fn a_child_that_does_not_answer_the_question_gets_the_older_handshake_in_time() {
    let silent = ConnectorSpec { handshake_timeout: Duration::from_secs(6), ..spec("x", &["silent-when-asked"]) };
    let rig = Rig::new(vec![silent]);
    rig.result("x", &grant("g-1")).await;
}

/// How often the child of this connector was asked which protocol it speaks, in all that it wrote.
fn asked(rig: &Rig) -> usize {
    rig.status("x").stderr.iter().filter(|line| line.contains("asked")).count()
}

#[tokio::test]
async fn a_modern_child_that_answers_too_late_is_asked_once_more_when_it_refuses_the_older_handshake() {
    let slow = |mode: &[&str]| ConnectorSpec { handshake_timeout: Duration::from_secs(6), ..spec("x", mode) };
    let rig = Rig::new(vec![slow(&["late"])]);
    let line = rig.result("x", &grant("g-1")).await["line"].as_str().unwrap().to_owned();
    assert!(line.contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#), "{line}");
    assert_eq!((rig.status("x").counts.starts, rig.status("x").counts.failures), (1, 0));
    assert_eq!(discover(&slow(&["late"]), None).await.unwrap().protocol, "2026-07-28");
    // Once, and not for ever.
    let rig = Rig::new(vec![slow(&["late", "always"])]);
    let failure = rig.call("x", &grant("g-1")).await.unwrap_err();
    let Failure::Connect(ConnectFailure::Handshake(why)) = &failure else { panic!("{failure:?}") };
    assert!(why.contains("`server/discover` is answered with error -32603: still starting"), "{why}");
    until("what it wrote is read", || asked(&rig) == 2).await;
}

#[tokio::test]
async fn a_modern_server_over_http_that_was_slow_is_asked_once_more_too() {
    let times = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&times);
    let server = Server::new(move |seen: &crate::server::Seen| match seen.rpc().as_str() {
        "server/discover" if counted.fetch_add(1, Ordering::SeqCst) == 0 => respond(503, &[], "starting"),
        "initialize" => {
            let error =
                json!({"code":-32022,"message":"unsupported","data":{"supported":["2026-07-28"],"requested":"2025-11-25"}});
            respond(400, &[JSON], &json!({"jsonrpc":"2.0","id":seen.id(),"error":error}).to_string())
        }
        _ => modern(echo)(seen),
    })
    .await;
    Rig::new(vec![at("x", &server.url())]).result("x", &grant("g-1")).await;
    assert_eq!(server.methods(), ["server/discover", "initialize", "server/discover", "tools/list", "tools/call"]);
}

#[tokio::test]
async fn what_a_server_offers_is_looked_at_over_http_too() {
    for (server, protocol, name) in
        [(Server::new(legacy(echo)).await, "2025-06-18", "old"), (Server::new(modern(echo)).await, "2026-07-28", "new")]
    {
        let found = discover(&at("x", &server.url()), None).await.unwrap();
        assert_eq!((found.protocol.as_str(), found.server_info.unwrap()["name"].as_str()), (protocol, Some(name)));
        assert_eq!(json!(found.tools), listed());
        let is_legacy = protocol == "2025-06-18";
        assert_eq!(server.methods().last().map(String::as_str) == Some("DELETE"), is_legacy);
    }
}
