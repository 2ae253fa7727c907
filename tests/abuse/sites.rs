//! Group I, rows 129, 137 and 138: web pages, other methods, and sessions that are somebody else's.

use serde_json::json;

use crate::harness::{Agent, Play, Stage, Wire, bare_head, tool};

fn body() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__echo","arguments":{{"text":"x"}},{}}}}}"#,
        Agent::meta()
    )
}

/// A call with these headers beside the good ones: the status.
fn ask(stage: &Stage, more: &str) -> u16 {
    let mirrors = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: evil__echo\r\n";
    let reply = Wire::ask(&stage.a, &format!("{mirrors}{more}"), body().as_bytes());
    stage.heard(&reply.body);
    reply.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a129_no_origin_is_served_that_was_not_named() {
    for (named, served) in [("", false), ("allowed_origins = [\"https://app.example.com\"]", true)] {
        let mut stage = Play::of(&[tool("echo", &["text"])]).top(named).start().await;
        let own = stage.gateway.url.trim_end_matches("/mcp").to_owned();
        let foreign = [
            "http://evil.example",
            "https://evil.example",
            "null",
            "",
            "*",
            own.as_str(),
            "http://localhost",
            "http://127.0.0.1",
            "http://app.example.com",
            "https://app.example.com:443",
            "https://app.example.com:8443",
            "https://app.example.com/",
            "https://app.example.com.evil.example",
            "https://evil.app.example.com",
            "https://app.example.com@evil.example",
            "HTTPS://APP.EXAMPLE.COM",
            "https://app.example.com, https://app.example.com",
            "https://app.example.com null",
            "app.example.com",
            "file://",
            "chrome-extension://abc",
        ];
        let mut refused = 0;
        for origin in foreign {
            assert_eq!(ask(&stage, &format!("origin: {origin}\r\n")), 403, "{origin}");
            refused += 1;
        }
        let two = [
            "origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n",
            "origin: null\r\norigin: https://app.example.com\r\n",
        ];
        for headers in two {
            assert_eq!(ask(&stage, headers), 403, "{headers}");
            refused += 1;
        }
        let right = ask(&stage, "origin: https://app.example.com\r\n");
        assert_eq!(right, if served { 200 } else { 403 });
        assert_eq!(ask(&stage, ""), 200, "an agent is no web page");
        // Whoever sends it, it is refused before he is asked who he is, and the refusals of strangers are on record.
        let attempted = refused + 2;
        stage.oracle(attempted, 1 + usize::from(served), 1 + usize::from(served)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a129_a_name_that_was_made_to_point_here_is_not_served() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    let port = stage.gateway.url.trim_end_matches("/mcp").rsplit(':').next().unwrap().to_owned();
    let mut attempted = 0;
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1",
        "",
        &format!("127.0.0.1.evil.example:{port}"),
        "127.0.0.1:1",
        &format!("127.1:{port}"),
    ] {
        let mut wire = Wire::open(&stage.a);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\n\
             mcp-method: tools/call\r\nmcp-name: evil__echo\r\ncontent-length: {}\r\n\r\n",
            stage.a.token(),
            body().len()
        );
        wire.say(&[head.as_bytes(), body().as_bytes()].concat());
        let reply = wire.reply().unwrap();
        assert_eq!(reply.status, 403, "{host}");
        attempted += 1;
    }
    stage.oracle(attempted, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a137_a_page_may_neither_ask_first_nor_post_simply() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    let (url, a) = (stage.gateway.url.clone(), stage.a.clone());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |method: reqwest::Method| http.request(method, &url);
    let mut attempted = 0;
    let preflight = |origin: Option<&str>, token: bool| {
        let mut request = ask(reqwest::Method::OPTIONS).header("access-control-request-method", "POST");
        request = request.header("access-control-request-headers", "authorization,content-type,mcp-name");
        request = request.header("access-control-request-private-network", "true");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if token { request.bearer_auth(a.token()) } else { request }
    };
    for (request, status) in [
        (preflight(Some("http://evil.example"), false), 403),
        (preflight(Some("null"), false), 403),
        (preflight(None, false), 401),
        (preflight(None, true), 405),
    ] {
        let reply = a.exchange(request).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{:?}", reply.headers);
        attempted += 1;
    }
    // What a form can send without asking first: three types, no header of its own; a stolen token wouldn't help it.
    for kind in ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    {
        for (token, status) in [(true, 415), (false, 401)] {
            let mut request = ask(reqwest::Method::POST).header("content-type", kind).body(body());
            if token {
                request = request.bearer_auth(a.token());
            }
            let reply = a.exchange(request).await;
            assert_eq!(reply.status, status, "{kind}: {}", reply.text);
            assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{:?}", reply.headers);
            attempted += 1;
        }
    }
    // Nor is it allowed by what is served to an agent.
    let reply = a.call("evil__echo", &json!({"text": "x"})).await;
    assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{:?}", reply.headers);
    stage.oracle(attempted + 1, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a138_other_methods_and_older_endpoints_are_not_there() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut attempted = 0;
    let session = stage.a.session("2025-11-25").await;
    for method in ["GET", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "MCP"] {
        for session in [None, session.session_id()] {
            let mut request = http.request(method.parse().unwrap(), &stage.gateway.url).bearer_auth(stage.a.token());
            request = request.header("accept", "text/event-stream").header("last-event-id", "1");
            if let Some(id) = session {
                request = request.header("mcp-session-id", id);
            }
            if method == "GET" && session.is_some() {
                // The stream of a session, and no attempt. An id of an event opens none but that.
                let stream = request.send().await.unwrap();
                assert_eq!(
                    (stream.status().as_u16(), &stream.headers()["content-type"]),
                    (200, &"text/event-stream".parse().unwrap())
                );
                continue;
            }
            let reply = stage.a.exchange(request).await;
            assert_eq!(reply.status, 405, "{method}: {}", reply.text);
            attempted += 1;
        }
    }
    let base = stage.gateway.url.trim_end_matches("/mcp").to_owned();
    for path in ["/sse", "/messages", "/messages/?session_id=1", "/mcp/", "/mcp/sse", "/", "/mcp/message", "//mcp", "/%6dcp"] {
        for method in [reqwest::Method::GET, reqwest::Method::POST] {
            let request = http.request(method.clone(), format!("{base}{path}")).bearer_auth(stage.a.token()).body("{}");
            let reply = stage.a.exchange(request).await;
            assert!([403, 404].contains(&reply.status), "{method} {path}: {} {}", reply.status, reply.text);
        }
    }
    stage.oracle(attempted, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a138_a_session_is_good_for_whoever_opened_it_until_it_is_closed() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    let session = stage.a.session("2025-11-25").await;
    let others = stage.b.session("2025-11-25").await;
    let own = session.session_id().unwrap().to_owned();
    let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"evil__echo","arguments":{"text":"x"}}}"#;
    let mut attempted = 0;
    let flipped: String = own.chars().rev().collect();
    let guessed = [
        others.session_id().unwrap().to_owned(),
        flipped,
        own.split_at(own.len() - 1).0.to_owned(),
        format!("{own}0"),
        own.to_ascii_uppercase(),
        "1".to_owned(),
        "0".repeat(32),
        "x".repeat(5000),
        "../1".to_owned(),
        String::new(),
    ];
    for id in guessed.iter().filter(|id| **id != own) {
        let reply = stage.a.post(plain, &[("mcp-session-id", id)]).await;
        assert_eq!(reply.status, 404, "{id}: {}", reply.text);
        attempted += 1;
    }
    // Another agent's, by him who knows its id: for the call, and for closing it.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let close = |token: &str| http.delete(&stage.gateway.url).bearer_auth(token).header("mcp-session-id", &own);
    assert_eq!(stage.b.post(plain, &[("mcp-session-id", &own)]).await.status, 404);
    assert_eq!(Agent::send(close(stage.b.token())).await.status, 404);
    assert_eq!(session.call("evil__echo", &json!({"text": "mine"})).await.words(), r#"{"text":"mine"}"#);
    attempted += 1;
    // Twice over is none.
    let two = Wire::ask(&stage.a, &format!("mcp-session-id: {own}\r\nmcp-session-id: {own}\r\n"), plain.as_bytes());
    assert_eq!(two.status, 400, "{}", two.body);
    // A modern request has no session, and gets none by naming one.
    let headers = [
        ("mcp-session-id", own.as_str()),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "evil__echo"),
    ];
    let reply = stage.a.post(&body(), &headers).await;
    assert!(!reply.headers.contains_key("mcp-session-id"));
    attempted += 2;
    let modern_went = usize::from(reply.status == 200 && !reply.is_tool_error());
    // After it was closed it is nobody's.
    assert_eq!(Agent::send(close(stage.a.token())).await.status, 204);
    assert_eq!(session.call("evil__echo", &json!({"text": "late"})).await.status, 404);
    assert_eq!(Agent::send(close(stage.a.token())).await.status, 404);
    attempted += 1;
    // An agent whose token is gone is nobody in its session either.
    let session = stage.a.session("2025-06-18").await;
    let stranger = session.request().body(plain).bearer_auth("ba_wrong");
    assert_eq!(stage.a.exchange(stranger).await.status, 401);
    let bare = bare_head(
        &stage.a,
        &format!(
            "mcp-session-id: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            session.session_id().unwrap(),
            plain.len()
        ),
    );
    let mut wire = Wire::open(&stage.a);
    wire.say(&[bare.as_bytes(), plain.as_bytes()].concat());
    assert_eq!(wire.reply().unwrap().status, 401);
    attempted += 2;
    let denied = stage.decisions().iter().filter(|record| record["effect"] == json!("deny")).count();
    let deletes = stage.decisions().len() - attempted;
    // Closing what is not there may be on record as a refusal too, and is no call.
    assert!(deletes <= 2 && denied == attempted - 1 - modern_went + deletes, "{denied} denied, {deletes} of deletes");
    stage.oracle(attempted + deletes, 1 + modern_went, 1 + modern_went).await;
}
