//! Rows 102, 114, 123 and 127 for what a server says before its answer.

use serde_json::{Value, json};

use crate::harness::{Agent, Play, Reply, Tally, Wire, head, tool, until};

const META: &str = r#""progressToken":"agents-own","io.modelcontextprotocol/logLevel":"debug","#;

/// A call, as a plain reply to be counted: the answer, whatever was said before it.
fn answer_of(reply: &Reply) -> Reply {
    Reply { text: reply.messages().last().unwrap().to_string(), ..reply.clone() }
}

async fn tells(agent: &Agent, tally: &mut Tally, how: &str) -> Reply {
    let reply = agent.call_with_meta("evil__tells", &json!({"how": how}), META).await;
    tally.count(&answer_of(&reply));
    reply
}

fn messages(reply: &Reply, method: &str) -> Vec<Value> {
    reply.messages().into_iter().filter(|message| message["method"] == method).map(|message| message["params"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a102_a_secret_in_progress_or_a_log_message_is_taken_out() {
    let mut stage = Play::of(&[tool("tells", &["how"])]).start().await;
    let mut tally = Tally::default();
    let reply = tells(&stage.a, &mut tally, "leak").await;
    assert_eq!(messages(&reply, "notifications/progress")[0]["message"], "with [redacted]");
    assert_eq!(messages(&reply, "notifications/message")[0]["data"], "using [redacted]");
    assert_eq!(stage.outcomes()[0]["asides"], json!({"told": 2, "withheld": 0, "redactions": 2}));
    let redacted = stage.gateway.records("secrets").into_iter().filter(|record| record["event"] == "leaked").count();
    assert_eq!(redacted, 1);
    tally.settle(&mut stage).await;
}

/// Said in two messages, the second one is not told: together they would be the secret.
#[tokio::test(flavor = "multi_thread")]
async fn a102_a_secret_that_is_said_in_two_messages_is_not_told_whole() {
    let mut stage = Play::of(&[tool("tells", &["how"])]).start().await;
    let mut tally = Tally::default();
    let reply = tells(&stage.a, &mut tally, "leak-split").await;
    let told: Vec<Value> = messages(&reply, "notifications/message").iter().map(|told| told["data"].clone()).collect();
    assert_eq!(told, ["using canary-7f3a", "[redacted]"]);
    assert_eq!(messages(&reply, "notifications/progress")[0]["message"], "on my way", "what is harmless goes on");
    let leaked = stage.gateway.records("secrets").into_iter().filter(|record| record["event"] == "leaked").count();
    assert_eq!(leaked, 1);
    tally.settle(&mut stage).await;
}

/// Progress is heard by the call that it names, in the process of that call alone: no guess reaches another.
#[tokio::test(flavor = "multi_thread")]
async fn a125_no_call_hears_of_the_progress_of_another() {
    let mut stage = Play::of(&[tool("tells", &["how"])]).with_c().start().await;
    let mut tally = Tally::default();
    let c = stage.gateway.agent("c");
    let mut open = c.request_with_meta("evil__tells", &json!({"how": "open"}), META).send().await.unwrap();
    let begun = String::from_utf8(open.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(begun.contains("begun") && begun.contains("agents-own"), "{begun}");
    let reply = tells(&stage.a, &mut tally, "guess").await;
    let heard: Vec<Value> = messages(&reply, "notifications/progress").iter().map(|told| told["message"].clone()).collect();
    assert_eq!(heard, ["my own"]);
    assert!(stage.gateway.connector("evil")["oddities"]["stray_news"].as_u64().unwrap() >= 100);
    let more = tokio::time::timeout(std::time::Duration::from_millis(300), open.chunk()).await;
    assert!(more.is_err(), "the other call hears nothing of it: {more:?}");
    drop(open);
    until("it is on record", || stage.outcomes().len() == 2).await;
    (tally.attempted, tally.allowed, tally.sent) = (2, 2, 2);
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a123_what_nobody_asked_for_or_is_too_large_is_not_told() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let mut stage = Play::of(&[tool("tells", &["how"]), crate::harness::tool_with("notify", &schema)]).start().await;
    let mut tally = Tally::default();
    // Log messages for an agent that wants progress alone, and for one that wants nothing.
    for meta in [r#""progressToken":1,"#, ""] {
        let reply = stage.a.call_with_meta("evil__notify", &json!({"n": 50}), meta).await;
        assert!(!reply.is_stream() && reply.words() == "told", "{}", reply.text);
        tally.count(&reply);
    }
    let reply = tells(&stage.a, &mut tally, "large").await;
    let data: Vec<Value> = messages(&reply, "notifications/message").iter().map(|told| told["data"].clone()).collect();
    assert_eq!(data, ["small"]);
    assert_eq!(stage.outcomes()[2]["asides"], json!({"told": 1, "withheld": 1, "redactions": 0}));
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a123_a_flood_of_progress_slows_only_who_sends_it_and_is_counted() {
    let mut stage = Play::of(&[tool("tells", &["how"])]).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    let reply = tells(&stage.a, &mut tally, "flood").await;
    let told = messages(&reply, "notifications/progress");
    assert!(told.windows(2).all(|two| two[0]["progress"].as_u64() < two[1]["progress"].as_u64()));
    let asides = stage.outcomes()[0]["asides"].clone();
    assert_eq!(asides["told"].as_u64().unwrap(), told.len() as u64);
    assert_eq!(asides["told"].as_u64().unwrap() + asides["withheld"].as_u64().unwrap(), 3000);
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

/// An agent that asks for a stream and does not read it: its call goes on, others are served, and nothing piles up.
#[tokio::test(flavor = "multi_thread")]
async fn a123_an_agent_that_does_not_read_its_stream_delays_nothing() {
    let mut stage =
        Play::of(&[tool("web", &["how"]), tool("echo", &["text"])]).http().script(json!({"era": "modern"})).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__web","arguments":{{"how":"event-tells"}},"_meta":{{{META}"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let headers = format!(
        "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: evil__web\r\ncontent-length: {}\r\n",
        body.len()
    );
    let unread: Vec<Wire> = (0..4)
        .map(|_| {
            let mut wire = Wire::open(&stage.a);
            assert!(wire.say(format!("{}{body}", head(&stage.a, &headers)).as_bytes()));
            wire
        })
        .collect();
    // Each is answered by its server and on record, though nobody has read a byte of it.
    let answered = || stage.outcomes().iter().filter(|record| record["outcome"] == "success").count();
    until("all are answered", || answered() == unread.len()).await;
    for record in stage.outcomes() {
        let asides = &record["asides"];
        assert_eq!(asides["told"].as_u64().unwrap() + asides["withheld"].as_u64().unwrap(), 8999, "{record}");
    }
    assert!(stage.gateway.memory() < 200 * 1024 * 1024, "{}", stage.gateway.memory());
    tally.call(&stage.a, "evil__echo", &json!({"text": "meanwhile"})).await;
    drop(unread);
    neighbour.was_served().await;
    (tally.attempted, tally.allowed, tally.sent) = (5, 5, 5);
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a127_a_stream_that_its_agent_closes_has_cancelled_its_call_once() {
    let mut stage = Play::of(&[tool("tells", &["how"]), tool("echo", &["text"])]).start().await;
    for n in 1..=5 {
        let call = stage.a.request_with_meta("evil__tells", &json!({"how": "open"}), META);
        let mut response = call.send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        drop(response);
        until("it is on record", || stage.outcomes().len() == n).await;
    }
    let told = |line: &String| line.contains("notifications/cancelled");
    until("the server is told", || stage.evil.received().iter().filter(|line| told(line)).count() == 5).await;
    assert!(stage.outcomes().iter().all(|record| record["outcome"] == "cancelled"));
    assert!(!stage.a.call("evil__echo", &json!({"text": "next"})).await.is_tool_error());
    stage.oracle(6, 6, 6).await;
}
