//! Group C: batches, ids, and messages that are none.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Agent, Play, Stage, Wire, tool, tool_with};

const MODERN: [(&str, &str); 3] =
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "evil__echo")];

fn call(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"evil__echo","arguments":{{"text":"x"}},{}}}}}"#,
        Agent::meta()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a45_a_batch_is_refused_as_one() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let session = stage.a.session("2025-06-18").await;
    let one = call("1");
    let many = vec![one.clone(); 10_000].join(",");
    let bodies = [
        "[]".to_owned(),
        format!("[{one}]"),
        format!("[{one},{}]", call("2")),
        format!("[{many}]"),
        format!("[[{one}]]"),
        format!(" \t\r\n[{one}]"),
        format!("[{one},1,null]"),
        r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#.to_owned(),
    ];
    for body in &bodies {
        for agent in [&stage.a, &session] {
            let reply = agent.post(body, if agent.session_id().is_some() { &[] } else { &MODERN }).await;
            assert_eq!((reply.status, reply.error_code()), (400, -32600), "{}", reply.text);
            assert!(reply.json().is_object(), "one answer for all");
        }
    }
    let strays = [
        format!("{one}{one}"),
        format!("{one}\n{one}"),
        format!("{one},"),
        format!("\u{1e}{one}"),
        format!("\u{feff}{one}"),
        String::new(),
        " ".to_owned(),
    ];
    for body in &strays {
        let reply = stage.a.post(body, &MODERN).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32700), "{body}: {}", reply.text);
    }
    let scalars = ["1", "\"x\"", "null", "true"];
    for body in scalars {
        assert_eq!(stage.a.post(body, &MODERN).await.error_code(), -32600, "{body}");
    }
    stage.oracle(2 * bodies.len() + strays.len() + scalars.len(), 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a47_an_id_is_an_integer_or_a_short_string() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let long = format!("\"{}\"", "a".repeat(10 * 1024));
    let limit = format!("\"{}\"", "a".repeat(255));
    let wrong = [
        "null",
        "1.5",
        "1.0",
        "1e0",
        "-0",
        "true",
        "{}",
        "[]",
        "[1]",
        "9223372036854775808",
        "123456789012345678901234567890",
        long.as_str(),
        limit.as_str(),
    ];
    for id in wrong {
        let reply = stage.a.post(&call(id), &MODERN).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32600), "{id}: {}", reply.text);
        assert_eq!(reply.json()["id"], Value::Null, "what is no id isn't said back");
    }
    let right = [
        "0",
        "-1",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        r#""""#,
        r#""1""#,
        r#""\u001b[2J\n\r{\"event\":\"decided\"}""#,
        "\"\u{202e}\u{2028}\"",
        r#""\ud83d\ude00""#,
    ];
    for id in right {
        let reply = stage.a.post(&call(id), &MODERN).await;
        assert!(reply.text.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"#)), "{id}: {}", reply.text);
        assert!(!reply.text.contains('\u{1b}'));
        assert_eq!(reply.words(), r#"{"text":"x"}"#);
    }
    // The server never sees an agent's id.
    assert!(!stage.evil.received().iter().any(|line| line.contains("9007199254740993") || line.contains("[2J")));
    for arguments in [vec!["audit", "tail", "-n", "60"], vec!["explain", "--last"]] {
        let said = stage.gateway.cli.ok(&arguments);
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}') && !said.contains('\u{2028}'), "{said:?}");
    }
    let raw = [&b"\x1b[2J"[..], "\u{202e}".as_bytes()];
    let written = stage.gateway.stderr();
    assert!(!raw.iter().any(|bytes| written.as_bytes().windows(bytes.len()).any(|window| window == *bytes)), "{written:?}");
    stage.oracle(wrong.len() + right.len(), right.len(), right.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a47_an_id_is_in_flight_once_in_a_session() {
    let slow = tool_with("slow", &json!({"type": "object", "properties": {"ms": {"type": "integer"}}}));
    let mut stage = Stage::new(&[slow, tool("echo", &["text"])]).await;
    stage.a.call("evil__echo", &json!({"text": "warm"})).await.result();
    let (one, two) = (stage.a.session("2025-11-25").await, stage.a.session("2025-11-25").await);
    let slow = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"evil__slow","arguments":{{"ms":1500}}}}}}"#
        )
    };
    let echo = |id: &str, text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"evil__echo","arguments":{{"text":"{text}"}}}}}}"#
        )
    };
    let first = tokio::spawn({
        let (one, body) = (one.clone(), slow("7"));
        async move { one.post(&body, &[]).await }
    });
    while !stage.evil.calls().iter().any(|line| line.contains("slow")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The same id again in the same session, also for what would be answered at once.
    let again = one.post(&echo("7", "twin"), &[]).await;
    assert_eq!((again.status, again.error_code()), (400, -32600), "{}", again.text);
    // The same id in another session, and one that only reads alike, are their own requests.
    let (of_two, of_text) = (echo("7", "of two"), echo("\"7\"", "of text"));
    let (other, alike) = tokio::join!(two.post(&of_two, &[]), one.post(&of_text, &[]));
    assert_eq!(other.words(), r#"{"text":"of two"}"#);
    assert_eq!(alike.words(), r#"{"text":"of text"}"#);
    assert_eq!(first.await.unwrap().words(), "slow");
    assert_eq!(one.post(&echo("7", "free again"), &[]).await.words(), r#"{"text":"free again"}"#);
    stage.oracle(6, 5, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a47_another_session_cancels_nothing() {
    let slow = tool_with("slow", &json!({"type": "object", "properties": {"ms": {"type": "integer"}}}));
    let mut stage = Play::of(&[slow, tool("echo", &["text"])]).with_c().start().await;
    stage.a.call("evil__echo", &json!({"text": "warm"})).await.result();
    let (one, two) = (stage.a.session("2025-11-25").await, stage.a.session("2025-11-25").await);
    let stranger = stage.gateway.agent("c");
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"evil__slow","arguments":{"ms":1500}}}"#;
    let call = tokio::spawn({
        let one = one.clone();
        async move { one.post(body, &[]).await }
    });
    while !stage.evil.calls().iter().any(|line| line.contains("slow")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    assert_eq!(two.post(cancel, &[]).await.status, 202);
    let reply = stranger.post(cancel, &[("mcp-session-id", one.session_id().unwrap())]).await;
    assert_eq!(reply.status, 404, "another agent's session is none: {}", reply.text);
    assert_eq!(one.post(&cancel.replace('7', "\"7\""), &[]).await.status, 202);
    assert_eq!(call.await.unwrap().words(), "slow");
    stage.heard(&stranger.heard());
    stage.oracle(3, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a47_two_modern_requests_of_one_id_are_two_requests() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let calls = (0..40).map(|at| {
        let agent = stage.a.clone();
        tokio::spawn(async move {
            let reply = agent.call("evil__echo", &json!({"text": at.to_string()})).await;
            assert_eq!(reply.words(), format!(r#"{{"text":"{at}"}}"#), "each hears its own");
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    stage.oracle(40, 40, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a47_a_call_without_an_id_is_no_call() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let session = stage.a.session("2025-06-18").await;
    let modern = call("1").replace(r#""id":1,"#, "");
    let reply = stage.a.post(&modern, &MODERN).await;
    assert!(reply.status == 400 && !reply.text.contains("\"result\""), "{}", reply.text);
    let plain = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"evil__echo","arguments":{"text":"x"}}}"#;
    let reply = session.post(plain, &[]).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    let list = r#"{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
    assert_eq!(stage.a.post(list, &[]).await.status, 400);
    stage.oracle(3, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a47_requests_behind_one_another_on_a_connection_are_answered_in_turn() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let headers = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: evil__echo\r\n";
    let mut wire = Wire::open(&stage.a);
    let mut all = Vec::new();
    for at in 0..20 {
        let body = call(&at.to_string()).replace("\"x\"", &format!("\"{at}\""));
        all.extend(crate::harness::head(&stage.a, &format!("{headers}content-length: {}\r\n", body.len())).into_bytes());
        all.extend(body.into_bytes());
    }
    wire.say(&all);
    for at in 0..20 {
        let reply = wire.reply().unwrap();
        let json: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((&json["id"], &json["result"]["content"][0]["text"]), (&json!(at), &json!(format!(r#"{{"text":"{at}"}}"#))));
    }
    stage.oracle(20, 20, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a45_parts_of_another_form_are_refused() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let meta = Agent::meta();
    let params = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let wrong = [
        params("[]"),
        params(r#"["evil__echo",{"text":"x"}]"#),
        params("null"),
        params(r#""evil__echo""#),
        params(&format!(r#"{{"name":"evil__echo","arguments":[],{meta}}}"#)),
        params(&format!(r#"{{"name":"evil__echo","arguments":null,{meta}}}"#)),
        params(&format!(r#"{{"name":"evil__echo","arguments":"{{}}",{meta}}}"#)),
        params(&format!(r#"{{"name":["evil__echo"],{meta}}}"#)),
        params(&format!(r#"{{"name":null,{meta}}}"#)),
        params(&format!("{{{meta}}}")),
        call("1").replace("\"2.0\"", "\"1.0\""),
        call("1").replace("\"2.0\"", "2.0"),
        call("1").replace("\"2.0\"", "\"2.0\\u0000\""),
        call("1").replace(r#""jsonrpc":"2.0","#, ""),
        call("1").replace("\"tools/call\"", "[\"tools/call\"]"),
        call("1").replace(r#""method":"tools/call","#, r#""result":{},"#),
        call("1").replace(r#""method":"tools/call","#, r#""method":"tools/call","result":{},"#),
        call("1").replace(r#""method":"tools/call","#, r#""method":"tools/call","error":{"code":1,"message":""},"#),
    ];
    for body in &wrong {
        let reply = stage.a.post(body, &MODERN).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
    }
    stage.oracle(wrong.len(), 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a45_no_other_method_is_let_through() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let methods = [
        "tools/Call",
        "TOOLS/CALL",
        "tools/call ",
        "tools//call",
        "/tools/call",
        "tools",
        "resources/Read",
        "prompts/get ",
        "completion",
        "sampling/createMessage",
        "logging/setLevel",
        "rpc.discover",
        "tools/call\\u0000",
        "initialize",
        "ping",
        "connectors/add",
        "",
        "../tools/call",
    ];
    for method in methods {
        let body = call("1").replace("\"tools/call\"", &format!("\"{method}\""));
        let named = method.replace("\\u0000", "").trim().to_owned();
        let reply = stage
            .a
            .post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", &named), ("mcp-name", "evil__echo")])
            .await;
        assert!(reply.status >= 400 && [-32601, -32020].contains(&reply.error_code()), "{method}: {}", reply.text);
    }
    stage.oracle(methods.len(), 0, 0).await;
}
