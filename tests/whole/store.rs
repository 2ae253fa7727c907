//! What cannot be stored, and what is no longer so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Agent, Cli, Gateway, Script, Setup, tool};

const SECRET: &str = "very-secret-value-1234";

/// Changes the store as somebody would who can write the file.
fn tamper(cli: &Cli, sql: &str) {
    let store = rusqlite::Connection::open(cli.data().join("state.db")).unwrap();
    store.busy_timeout(Duration::from_secs(5)).unwrap();
    store.execute_batch(sql).unwrap();
}

fn grants(cli: &Cli) -> Vec<(String, String)> {
    let list: Value = serde_json::from_str(&cli.ok(&["grants", "list", "--all", "--json"])).unwrap();
    let text = |grant: &Value, name: &str| grant[name].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|grant| (text(grant, "id"), text(grant, "state"))).collect()
}

fn create(id: &str) -> [&str; 9] {
    ["grants", "create", "--agent", "a", "--tools", "s__echo", "--purpose=one tool", "--id", id]
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_can_not_be_stored_never_was_and_one_without_a_token_ends() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup.agent("a").connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }").start();
    let agent = gateway.agent("a");
    // Its row is written, and its token is not.
    tamper(&gateway.cli, "CREATE TRIGGER no_token BEFORE INSERT ON grant_tokens BEGIN SELECT RAISE(ABORT, 'full'); END");
    gateway.cli.fails(&create("untold"));
    assert_eq!(grants(&gateway.cli), [pair("untold", "revoked")]);
    // Its row is not written either.
    tamper(&gateway.cli, "CREATE TRIGGER no_grant BEFORE INSERT ON grants BEGIN SELECT RAISE(ABORT, 'full'); END");
    gateway.cli.fails(&create("unstored"));
    assert_eq!(grants(&gateway.cli), [pair("untold", "revoked")]);
    for grant in ["untold", "unstored"] {
        let reply = agent.under(grant).call("s__echo", &json!({"x": "1"})).await;
        assert!(reply.json().get("error").is_some(), "{grant}: {}", reply.text);
    }
    assert!(script.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_that_can_not_be_stored_takes_back_what_was_lent() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .environment("GIVEN", SECRET)
        .agent("a")
        .connector(
            "s",
            &script,
            "credential = { provider = \"env\", name = \"GIVEN\", inject = { env = \"SECRET\" } }\ntools.echo = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    assert!(!agent.call("s__echo", &json!({"x": "1"})).await.is_tool_error());
    tamper(&gateway.cli, "CREATE TRIGGER no BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'full'); END");
    gateway.cli.fails(&["grants", "revoke", "g"]);
    let returned =
        gateway.records("secrets").into_iter().filter(|record| record["event"] == "returned" && record["grant"] == "g").count();
    assert_eq!(returned, 1);
    assert!(agent.tools().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_an_ended_grant_opens_nothing() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup.agent("a").connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }").start();
    let bearer = Agent::new(&gateway.url, &gateway.cli.ok(&create("g")));
    let session = bearer.session("2025-11-25").await;
    assert_eq!(bearer.tools().await, ["s__echo"]);
    gateway.cli.ok(&["grants", "revoke", "g"]);
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let replies = [
        bearer.list().await,
        session.list().await,
        bearer.call("s__echo", &json!({"x": "1"})).await,
        session.call("s__echo", &json!({"x": "1"})).await,
        bearer.post(hello, &[]).await,
    ];
    for (at, reply) in replies.iter().enumerate() {
        assert_eq!(reply.status, 401, "{at}: {}", reply.text);
    }
    assert!(script.calls().is_empty());
}

/// Accepts a connector's tools as they were shown, through the operators' API: the command line asks for at least one.
async fn accept(gateway: &Gateway, connector: &str, tools: &Value) {
    let key = bailiwick_pipeline::trace::hex(&std::fs::read(gateway.cli.data().join("operator.key")).unwrap());
    let http = reqwest::Client::builder().no_proxy().unix_socket(gateway.cli.data().join("admin.sock")).build().unwrap();
    let request =
        http.post(format!("http://admin/api/v1/connectors/{connector}/pins")).header("authorization", format!("Operator {key}"));
    let response =
        request.header("content-type", "application/json").body(json!({"tools": tools}).to_string()).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_use_is_over_once_an_admin_has_accepted_nothing() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("g", "a", &["s__*"], "")
        .start();
    assert_eq!(gateway.agent("a").tools().await, ["s__echo"]);
    script.offer(&[]);
    accept(&gateway, "s", &json!({})).await;
    assert!(gateway.agent("a").tools().await.is_empty());
    script.offer(&[tool("echo", &["x"]), tool("other", &["x"])]);
    let gateway = gateway.kill_and_restart();
    assert!(gateway.agent("a").tools().await.is_empty());
}

/// What a server calls its tools, and itself, is what it says: it may say what was lent to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_tools_name_reaches_no_log() {
    let setup = Setup::new();
    let long = format!("{SECRET}{}", "-and-so-on".repeat(10));
    let leak = tool(&format!("leak {long}"), &["x"]);
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("bad name", &["x"]), leak.clone()]);
    script.offer_with(&[tool("echo", &["x"]), tool("bad name", &["x"]), leak], &json!({"name": long}));
    let gateway = setup
        .environment("GIVEN", &long)
        .agent("a")
        .connector(
            "s",
            &script,
            "credential = { provider = \"env\", name = \"GIVEN\", inject = { env = \"SECRET\" } }\ntools.echo = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__*"], "")
        .start();
    assert!(!gateway.agent("a").call("s__echo", &json!({"x": "1"})).await.is_tool_error());
    let shown = gateway.cli.run(&["connectors", "diff", "s", "--json"]);
    let shown = String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned();
    assert!(shown.contains("[redacted]") && !shown.contains(SECRET), "{shown}");
    let said = gateway.stderr();
    assert!(said.contains("`bad name`: no fit name") && said.contains("`leak [redacted]`"), "{said}");
    assert!(!String::from_utf8_lossy(&gateway.everything_written()).contains(SECRET), "{said}");
}
