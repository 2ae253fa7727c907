//! Tasks: servers that never end one or make it large, and handles that are tried after their time.

use serde_json::{Value, json};

use crate::{
    harness::{Gateway, Script, Setup, tool},
    whole::tasks::{TAKES, ask, begin, working},
};

fn start(script: &Value, more: &str) -> (Gateway, Script) {
    let setup = Setup::new();
    let tools = [tool("slow", &["x"]), tool("echo", &["x"])];
    let own = Script::new(setup.folder(), "s", &tools);
    own.offer_with(&tools, script);
    let connector = "call_timeout = \"5s\"\ntools.slow = { kind = \"read\", band = \"low\" }\ntools.echo = { kind = \"read\", band = \"low\" }";
    let setup = setup.agent("a").agent("b").connector("s", &own, connector);
    let setup = setup.grant("g", "a", &["s__*"], "").grant("h", "b", &["s__*"], "").with(more);
    (setup.start(), own)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_says_where_a_task_stands_holds_nobody() {
    let mut script = working("working", "");
    script["behave"] = json!("hang-task");
    script["answers"].as_object_mut().unwrap().remove("tasks/get");
    let (gateway, _script) = start(&script, "");
    let agent = gateway.agent("a").declaring(TAKES);
    let id = begin(&agent, "s__slow").await;
    let arguments = json!({"x": "1"});
    let (silent, other) = tokio::join!(ask(&agent, "get", &id), agent.call("s__echo", &arguments));
    assert_eq!(silent.error_code(), 1005, "{}", silent.text);
    assert!(silent.text.contains("did not answer in time"), "{}", silent.text);
    assert!(!other.is_tool_error(), "{}", other.text);
    // It may be given up all the same.
    ask(&agent, "cancel", &id).await.result();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_giant_end_of_a_task_passes_to_nobody_and_costs_others_nothing() {
    let giant = format!(r#","result":{{"content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(3 * 1024 * 1024));
    let (gateway, script) = start(&working("completed", &giant), "[limits]\nmax_result = \"1MiB\"");
    let agent = gateway.agent("a").declaring(TAKES);
    let id = begin(&agent, "s__slow").await;
    let before = gateway.memory();
    for _ in 0..3 {
        let reply = ask(&agent, "get", &id).await;
        assert!(reply.json().get("error").is_some() && reply.text.len() < 1000, "{:.300}", reply.text);
    }
    assert!(gateway.memory() < before + 30 * 1024 * 1024);
    // A line that long ends the server of this grant, and no other's.
    script.offer_with(&[tool("slow", &["x"]), tool("echo", &["x"])], &working("working", ""));
    let other = gateway.agent("b").call("s__echo", &json!({"x": "1"})).await;
    assert!(!other.is_tool_error(), "{}", other.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_handle_outlives_its_grant_or_its_gateway() {
    let (gateway, script) = start(&working("working", ""), "");
    let agent = gateway.agent("a").declaring(TAKES);
    let id = begin(&agent, "s__slow").await;
    ask(&agent, "get", &id).await.result();
    let token = agent.token().to_owned();
    let gateway = gateway.kill_and_restart();
    let agent = crate::harness::Agent::new(&gateway.url, &token).declaring(TAKES);
    assert_eq!(ask(&agent, "get", &id).await.error_code(), -32602);
    let id = begin(&agent, "s__slow").await;
    gateway.cli.ok(&["grants", "revoke", "g"]);
    let asked = script.received().len();
    for verb in ["get", "update", "cancel"] {
        let reply = ask(&agent, verb, &id).await;
        assert_eq!(reply.json()["error"], json!({"code": -32602, "message": format!("Unknown task: {id}")}));
    }
    assert_eq!(script.received().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_collects_tasks_is_stopped_and_others_are_not() {
    let (gateway, script) = start(&working("working", ""), "");
    let agent = gateway.agent("a").declaring(TAKES);
    for _ in 0..64 {
        begin(&agent, "s__slow").await;
    }
    let reply = agent.ask("tools/call", r#""name":"s__slow","arguments":{}"#).await;
    assert!(reply.is_tool_error(), "{}", reply.text);
    let last: Value = serde_json::from_str(&script.calls().pop().unwrap()).unwrap();
    assert_eq!(last["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"], json!({}), "it is offered no more");
    assert!(!agent.call("s__echo", &json!({"x": "1"})).await.is_tool_error());
}
