//! What a server says before its answer, as agents hear it: progress, log messages, and that a call waits for a person.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Reply, Script, Setup, tool, until};

const LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// A gateway with agent `a` and a server that tells things.
fn gateway(more: &str) -> (Gateway, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("tells", &["how"]), tool("echo", &["x"]), tool("pay", &["x"])]);
    let classes = "tools.tells = { kind = \"read\", band = \"low\" }\ntools.echo = { kind = \"read\", band = \"low\" }\n\
                   tools.pay = { kind = \"write\", band = \"high\" }";
    let gateway = setup.with(more).agent("a").connector("s", &script, classes).grant("g", "a", &["s__*"], "").start();
    (gateway, script)
}

async fn tells(agent: &Agent, meta: &str) -> Reply {
    agent.call_with_meta("s__tells", &json!({"how": "plain"}), meta).await
}

/// The `params` of all messages of a method.
fn said(reply: &Reply, method: &str) -> Vec<Value> {
    reply.messages().iter().filter(|message| message["method"] == method).map(|message| message["params"].clone()).collect()
}

fn progress(token: &Value) -> Vec<Value> {
    (1..=3).map(|n| json!({"progressToken": token, "progress": n, "total": 3, "message": "on my way"})).collect()
}

fn log(level: &str, data: &str) -> Value {
    json!({"level": level, "logger": "scripted", "data": data})
}

/// What the last call's outcome says of it.
fn counts(gateway: &Gateway) -> Value {
    let calls = gateway.records("calls");
    calls.iter().rfind(|record| record["event"] == "outcome").unwrap()["asides"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_and_log_messages_come_before_the_answer_on_its_stream() {
    let (gateway, script) = gateway("");
    let agent = gateway.agent("a");
    let reply = tells(&agent, &format!(r#""progressToken":"p-1","{LEVEL}":"debug","#)).await;
    assert!(reply.is_stream() && reply.status == 200, "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.headers["x-accel-buffering"], "no");
    let messages = reply.messages();
    assert_eq!(said(&reply, "notifications/progress"), progress(&json!("p-1")));
    assert_eq!(said(&reply, "notifications/message"), [log("debug", "details"), log("error", "trouble")]);
    let last = messages.last().unwrap();
    assert_eq!((messages.len(), &last["id"], &last["result"]["content"][0]["text"]), (6, &json!(1), &json!("told")));
    assert_eq!(last["result"]["resultType"], "complete");
    until("it is on record", || counts(&gateway) == json!({"told":5,"withheld":0,"redactions":0})).await;
    // The server heard no word of the agent's token.
    assert!(!script.received().iter().any(|line| line.contains("p-1")));
    // Each alone.
    let reply = tells(&agent, r#""progressToken":7,"#).await;
    assert_eq!((said(&reply, "notifications/progress"), said(&reply, "notifications/message")), (progress(&json!(7)), vec![]));
    let reply = tells(&agent, &format!(r#""{LEVEL}":"warning","#)).await;
    assert_eq!(said(&reply, "notifications/message"), [log("error", "trouble")]);
    assert!(said(&reply, "notifications/progress").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_plain_where_nothing_is_said_before_it_or_nobody_could_hear_it() {
    let (gateway, script) = gateway("");
    let agent = gateway.agent("a");
    let both = format!(r#""progressToken":1,"{LEVEL}":"debug","#);
    for reply in [agent.call_with_meta("s__echo", &json!({"x": "1"}), &both).await, tells(&agent, "").await] {
        assert!(!reply.is_stream() && reply.headers.contains_key("content-length"), "{}", reply.text);
        assert!(!reply.is_tool_error());
    }
    let mut request = agent.request_with_meta("s__tells", &json!({"how": "plain"}), &both).build().unwrap();
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let response = reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.text().await.unwrap().contains("told"));
    // A server is not asked for what nobody could hear.
    assert!(!script.calls().pop().unwrap().contains("progressToken"));
    for bad in [r#""progressToken":1.5,"#, r#""progressToken":{},"#, &format!(r#""{LEVEL}":"loud","#)] {
        let reply = tells(&agent, bad).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32602), "{bad}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_once_which_log_messages_it_wants() {
    let (gateway, script) = gateway("");
    let agent = gateway.agent("a");
    for version in ["2025-06-18", "2025-11-25"] {
        let session = agent.session(version).await;
        let set = async |level: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"logging/setLevel","params":{{"level":{level}}}}}"#);
            session.post(&body, &[]).await
        };
        assert!(said(&tells(&session, "").await, "notifications/message").is_empty());
        assert_eq!(set("\"error\"").await.text, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
        let reply = tells(&session, r#""progressToken":"x","#).await;
        assert_eq!(said(&reply, "notifications/message"), [log("error", "trouble")]);
        assert_eq!(said(&reply, "notifications/progress"), progress(&json!("x")));
        assert!(reply.messages().last().unwrap()["result"].get("resultType").is_none());
        set("\"debug\"").await.result();
        assert_eq!(said(&tells(&session, "").await, "notifications/message").len(), 2);
        for bad in ["\"loud\"", "7", "null"] {
            assert_eq!(set(bad).await.error_code(), -32602, "{bad}");
        }
        assert_eq!(said(&tells(&session, "").await, "notifications/message").len(), 2, "the last good one stays");
    }
    assert_eq!(gateway.records("calls").iter().filter(|record| record["method"] == "logging/setLevel").count(), 10);
    // The server is asked before the call, and only where that is something else than before.
    let asked: Vec<Value> = script.received().iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let levels: Vec<&Value> =
        asked.iter().filter(|line| line["method"] == "logging/setLevel").map(|line| &line["params"]["level"]).collect();
    assert_eq!(levels, ["error", "debug", "error", "debug"]);
    // Where each request stands alone there is no such method.
    let body = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"logging/setLevel","params":{{"level":"info",{}}}}}"#, Agent::meta());
    let reply = agent.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "logging/setLevel")]).await;
    assert_eq!((reply.status, reply.error_code()), (404, -32601));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_metadata_goes_with_its_call_as_it_was_written() {
    let (gateway, script) = gateway("");
    let agent = gateway.agent("a");
    let own = r#""z.example/b":1.50,"a":{"n":1e400,"y":[ 1 ]}"#;
    agent.call_with_meta("s__echo", &json!({}), &format!(r#"{own},"baggage":"k=v","tracestate":"x=1","#)).await.result();
    let call = script.calls().pop().unwrap();
    assert!(call.contains(&format!("\"_meta\":{{{own},\"traceparent\":\"00-")), "{call}");
    assert!(!call.contains("baggage") && !call.contains("tracestate"), "{call}");
    let intents: Vec<Value> = gateway.records("calls").into_iter().filter(|record| record["event"] == "intent").collect();
    assert!(intents[0]["meta_mac"].as_str().unwrap().starts_with("blake3-keyed:"), "{intents:?}");
    agent.call("s__echo", &json!({})).await.result();
    assert!(!script.calls().pop().unwrap().contains("z.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_person_is_told_so_on_the_stream() {
    let (gateway, _) = gateway("[approvals]\nallow_same_user = true\nhold = \"60s\"");
    let agent = gateway.agent("a");
    let mut response = agent.request_with_meta("s__pay", &json!({"x": "1"}), r#""progressToken":"w","#).send().await.unwrap();
    let first = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let first: Value = serde_json::from_str(first.trim().split_once("data: ").unwrap().1).unwrap();
    let words = first["params"]["message"].as_str().unwrap();
    assert_eq!((&first["method"], &first["params"]["progressToken"]), (&json!("notifications/progress"), &json!("w")));
    let (code, left) = words.strip_prefix("Waiting for approval ").unwrap().split_once(", ").unwrap();
    assert!(left.ends_with(" min left"), "{words}");
    gateway.cli.ok(&["approvals", "approve", code, "--yes"]);
    let rest = response.text().await.unwrap();
    let last: Value = serde_json::from_str(rest.trim().rsplit_once("data: ").unwrap().1).unwrap();
    assert_eq!(last["result"]["content"][0]["text"], r#"{"x":"1"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_stdio_what_is_said_before_an_answer_is_lines_before_it() {
    let (gateway, _) = gateway("");
    let token = gateway.folder().join("token");
    std::fs::write(&token, gateway.agent("a").token()).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut bridge = gateway.cli.command(&["stdio", "--grant-file", token.to_str().unwrap()]);
    let mut bridge = bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut to, mut from) = (bridge.stdin.take().unwrap(), BufReader::new(bridge.stdout.take().unwrap()).lines());
    let meta = format!(
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"progressToken":"t","{LEVEL}":"error""#
    );
    for round in 1..=2 {
        let call = json!({"jsonrpc": "2.0", "id": round, "method": "tools/call"}).to_string();
        let params = format!(r#","params":{{"name":"s__tells","arguments":{{"how":"plain"}},"_meta":{{{meta}}}}}}}"#);
        writeln!(to, "{}{params}", call.trim_end_matches('}')).unwrap();
        let lines: Vec<Value> = (0..5).map(|_| serde_json::from_str(&from.next().unwrap().unwrap()).unwrap()).collect();
        let progressed: Vec<Value> = lines[..3].iter().map(|line| line["params"].clone()).collect();
        assert_eq!(progressed, progress(&json!("t")));
        assert_eq!(lines[3]["params"], log("error", "trouble"));
        assert_eq!((&lines[4]["id"], &lines[4]["result"]["content"][0]["text"]), (&json!(round), &json!("told")));
    }
    // A session there, too.
    let hello = r#"{"jsonrpc":"2.0","id":10,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let rest = [
        hello,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":11,"method":"logging/setLevel","params":{"level":"debug"}}"#,
    ];
    writeln!(to, "{}", rest.join("\n")).unwrap();
    let mut answer = || serde_json::from_str::<Value>(&from.next().unwrap().unwrap()).unwrap();
    assert!(answer()["result"]["capabilities"]["logging"].is_object());
    assert_eq!(answer(), json!({"jsonrpc": "2.0", "id": 11, "result": {}}));
    writeln!(
        to,
        r#"{{"jsonrpc":"2.0","id":12,"method":"tools/call","params":{{"name":"s__tells","arguments":{{"how":"plain"}}}}}}"#
    )
    .unwrap();
    assert_eq!((answer()["params"].clone(), answer()["params"].clone()), (log("debug", "details"), log("error", "trouble")));
    assert_eq!(answer()["id"], 12);
    drop(to);
    assert!(bridge.wait().unwrap().success());
}

/// What is answered before anything is said is not delayed by it, and what streams is ended by who closes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_closed_in_the_middle_cancels_its_call_once() {
    let (gateway, script) = gateway("");
    let agent = gateway.agent("a");
    let mut response =
        agent.request_with_meta("s__tells", &json!({"how": "open"}), r#""progressToken":"c","#).send().await.unwrap();
    assert!(response.chunk().await.unwrap().unwrap().starts_with(b"event: message\ndata: "));
    let outcomes = || -> Vec<Value> {
        let calls = gateway.records("calls");
        calls.into_iter().filter(|record| record["event"] == "outcome" && record["tool"] == "s__tells").collect()
    };
    assert!(outcomes().is_empty());
    drop(response);
    until("the server is told", || script.received().iter().any(|line| line.contains("notifications/cancelled"))).await;
    until("it is on record", || outcomes().len() == 1).await;
    assert_eq!((&outcomes()[0]["outcome"], &outcomes()[0]["asides"]["told"]), (&json!("cancelled"), &json!(1)));
    // A session cancels by saying so: its stream ends without an answer.
    let session = agent.session("2025-11-25").await;
    let call = session.request_with_meta("s__tells", &json!({"how": "open"}), r#""progressToken":"c""#);
    let mut response = call.send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    session.post(cancelled, &[]).await;
    let rest = tokio::time::timeout(Duration::from_mins(1), response.text()).await.unwrap().unwrap();
    assert_eq!(rest, "");
    until("it is on record", || outcomes().len() == 2).await;
    assert_eq!(outcomes()[1]["outcome"], "cancelled");
    assert!(!session.call("s__echo", &json!({"x": "next"})).await.is_tool_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shared_server_logs_is_nobodys() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("tells", &["how"]), tool("slow", &["ms"])]);
    let more =
        "shared = true\ntools.tells = { kind = \"read\", band = \"low\" }\ntools.slow = { kind = \"read\", band = \"low\" }";
    let setup = setup.agent("a").agent("b").connector("s", &script, more);
    let gateway = setup.grant("g", "a", &["s__*"], "").grant("h", "b", &["s__*"], "").start();
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    // Its own call is all that is in flight: still it may be about another's that went before.
    let reply = b.call_with_meta("s__tells", &json!({"how": "plain"}), &format!(r#""progressToken":1,"{LEVEL}":"debug","#)).await;
    assert_eq!((said(&reply, "notifications/progress").len(), said(&reply, "notifications/message").len()), (3, 0));
    let (slowly, plainly, level) = (json!({"ms": 300}), json!({"how": "plain"}), format!(r#""{LEVEL}":"debug","#));
    let (slow, _) = tokio::join!(b.call_with_meta("s__slow", &slowly, &level), a.call("s__tells", &plainly));
    assert!(!slow.text.contains("trouble"), "{}", slow.text);
}
