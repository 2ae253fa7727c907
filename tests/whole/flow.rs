//! What was read somewhere decides what may be sent elsewhere: over two connectors, with the rules that a gateway starts with.

use serde_json::{Value, json};

use crate::harness::{
    Agent, Gateway, Reply, Script, Setup,
    oauth::{handed_on, task},
    tool,
};

struct Stage {
    gateway: Gateway,
    mail: Script,
}

/// `hr` holds what stays with few, and nobody else writes there; `mail` sends it on.
fn stage(more: &str) -> Stage {
    let setup = Setup::new();
    let hr = Script::new(setup.folder(), "hr", &[tool("echo_salaries", &["x"]), tool("raw_customer", &["result"])]);
    let mail = Script::new(setup.folder(), "mail", &[tool("echo_send", &["to", "cc", "body"]), tool("echo_look", &["x"])]);
    let gateway = setup
        .with(&format!(
            "[approvals]\nhold = \"1ms\"\nmax_pending_per_agent = 20\n[data]\nclasses = [\"personal\"]\n[destinations]\n\
             internal = [\"example.com\", \"*.corp.example.com\"]\n{more}"
        ))
        .agent("a")
        .agent("scout")
        .connector(
            "hr",
            &hr,
            "labels = []\ntools.echo_salaries = { kind = \"read\", band = \"low\", labels = [\"confidential\"] }\n\
             tools.raw_customer = { kind = \"read\", band = \"low\", label_fields = { \"/customer/email\" = [\"confidential\", \"personal\"] } }",
        )
        .connector(
            "mail",
            &mail,
            "labels = []\ntools.echo_send = { kind = \"exfiltrate\", band = \"medium\", destination = [\"/to\", \"/cc\"] }\n\
             tools.echo_look = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["hr__*", "mail__*"], "delegation_depth = 1")
        .start();
    Stage { gateway, mail }
}

async fn send(agent: &Agent, to: &str) -> Reply {
    agent.call("mail__echo_send", &json!({"to": to, "body": "hello"})).await
}

fn went(reply: &Reply) -> bool {
    reply.result()["_meta"]["dev.bailiwick/approval"].is_null() && !reply.is_tool_error()
}

fn waits(reply: &Reply) -> bool {
    reply.result()["_meta"]["dev.bailiwick/approval"]["state"] == "pending"
}

fn labels(gateway: &Gateway, grant: &str) -> Value {
    let shown: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["grants", "show", grant, "--json"])).unwrap();
    shown[0]["labels"].clone()
}

const OUT: &str = "eve@elsewhere.example";
const IN: &str = "ada@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_with_few_is_sent_inside_and_outside_only_once_a_person_approves() {
    let Stage { gateway, mail } = stage("");
    let agent = gateway.agent("a");
    assert!(went(&send(&agent, OUT).await), "nothing was read yet");
    agent.call("hr__echo_salaries", &json!({"x": "all"})).await.result();
    for outside in
        [OUT, "ada@example.com.elsewhere.example", "https://example.com@elsewhere.example/", "nowhere", "EXAMPLE.com:25"]
    {
        assert!(waits(&send(&agent, outside).await), "{outside}");
    }
    let both = agent.call("mail__echo_send", &json!({"to": IN, "cc": OUT, "body": "hello"})).await;
    assert!(waits(&both), "{}", both.text);
    for inside in [IN, "ADA@Example.COM", "https://files.corp.example.com:8443/x"] {
        assert!(went(&send(&agent, inside).await), "{inside}");
    }
    agent.call("mail__echo_look", &json!({"x": "1"})).await.result();
    assert_eq!(mail.calls().len(), 5, "what waits was not sent: {:?}", mail.calls());
    let decided = gateway.records("decisions").into_iter().rfind(|one| one["tool"] == "mail__echo_send").unwrap();
    let flow = json!({"touched": ["internal", "confidential"], "hosts": ["files.corp.example.com"], "external": false});
    assert_eq!(decided["flow"], flow);
    // The approver sees what is at stake, and so does whoever asks why.
    let asked = gateway.cli.ok(&["approvals", "list", "--json"]);
    assert!(asked.contains("mail__echo_send"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_marks_only_where_it_is_and_for_good() {
    let Stage { gateway, mail } = stage("");
    let agent = gateway.agent("a");
    let customer = |customer: Value| {
        let structured = json!({ "customer": customer });
        let result = json!({"content": [{"type": "text", "text": structured.to_string()}], "structuredContent": structured});
        json!({"result": result.to_string()})
    };
    agent.call("hr__raw_customer", &customer(json!({"id": 1}))).await.result();
    assert_eq!(labels(&gateway, "g"), json!(["internal"]));
    assert!(went(&send(&agent, OUT).await));
    agent.call("hr__raw_customer", &customer(json!({"id": 1, "email": "ada@example.com"}))).await.result();
    assert_eq!(labels(&gateway, "g"), json!(["internal", "confidential", "personal"]));
    // The record is there before the result was: a gateway that dies now comes back with it.
    let gateway = gateway.kill_and_restart();
    assert_eq!(labels(&gateway, "g"), json!(["internal", "confidential", "personal"]));
    let agent = gateway.agent("a");
    assert!(waits(&send(&agent, OUT).await));
    assert!(went(&send(&agent, IN).await));
    assert_eq!(mail.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_grant_a_child_and_a_parent_wash_nothing_off() {
    let Stage { gateway, mail } = stage("");
    let create = ["grants", "create", "--agent", "a", "--purpose", "another task", "--tools", "mail__echo_send", "--id", "other"];
    let other = Agent::new(&gateway.url, &gateway.cli.ok(&create));
    let create =
        ["grants", "create", "--agent", "a", "--purpose", "the task", "--tools", "hr__*,mail__*", "--delegation-depth", "1"];
    let root = gateway.cli.ok(&create);
    let parent = Agent::new(&gateway.url, &root);
    let scout = gateway.agent("scout");
    let (child, _) = handed_on(&gateway, &root, &scout, &task(&["hr__echo_salaries", "mail__echo_send"], &json!({}))).await;
    for (who, agent) in [("other", &other), ("parent", &parent), ("child", &child)] {
        assert!(went(&send(agent, OUT).await), "{who}");
    }
    child.call("hr__echo_salaries", &json!({"x": "all"})).await.result();
    let (younger, _) = handed_on(&gateway, &root, &scout, &task(&["mail__echo_send"], &json!({}))).await;
    let fresh = ["grants", "create", "--agent", "a", "--purpose", "a third task", "--tools", "mail__echo_send"];
    let fresh = Agent::new(&gateway.url, &gateway.cli.ok(&fresh));
    for (who, agent) in [("other", &other), ("parent", &parent), ("child", &child), ("younger", &younger), ("fresh", &fresh)] {
        assert!(waits(&send(agent, OUT).await), "{who}");
    }
    assert_eq!(mail.calls().len(), 3);
}
