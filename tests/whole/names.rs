//! Tools under their bare names: what agents see and send, what admins write and read, and what becomes of names that two have.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Gateway, Reply, Script, Setup, tool, until};

const VERSIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];
const NEVER: &str = "prefix = \"never\"\n";
const READS: &str = "tools.echo = { kind = \"read\", band = \"low\" }\ntools.only-a = { kind = \"read\", band = \"low\" }\n";

/// Two connectors that both have `echo`; `b` has a tool whose name reads like that of another connector, and one that is that of `a`.
fn setup(of_a: &str, of_b: &str) -> (Setup, Script) {
    let setup = Setup::new();
    let a = Script::new(setup.folder(), "a", &[tool("echo", &["x"]), tool("only-a", &["x"])]);
    let b = Script::new(
        setup.folder(),
        "b",
        &[tool("echo", &["x"]), tool("c__get", &["x"]), tool("a__only-a", &["x"]), tool("only-b", &["x"])],
    );
    let policy = "@id(\"ask\") @approval(\"approver\") forbid (principal, action == Bailiwick::Action::\"b__only-b\", resource)\n\
                  unless { context.call.approvals.contains(\"approver\") };\n";
    fs::write(setup.folder().join("p.cedar"), policy).unwrap();
    let more = "tools.echo = { kind = \"read\", band = \"low\" }\ntools.only-b = { kind = \"write\", band = \"medium\" }\n";
    let setup = setup
        .agent("bot")
        .with("[policy]\nfiles = [\"p.cedar\"]\n[approvals]\nallow_same_user = true\nhold = \"1s\"")
        .connector("a", &a, &format!("{of_a}{READS}"))
        .connector("b", &b, &format!("{of_b}{more}"))
        .grant("g", "bot", &["a__echo", "a__only-a", "b__only-b", "b__echo"], "args.a__only-a.\"/x\".eq = \"yes\"");
    (setup, a)
}

fn unknown(reply: &Reply, name: &str) -> String {
    assert_eq!(reply.error_code(), -32602, "{}", reply.text);
    reply.text.replace(name, "NAME")
}

fn of_tool(gateway: &Gateway, stream: &str, tool: &str) -> Vec<Value> {
    gateway.records(stream).into_iter().filter(|record| record["tool"] == tool).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_see_bare_names_and_admins_full_ones() {
    let (setup, a) = setup(NEVER, NEVER);
    let gateway = setup.start();
    let agent = gateway.agent("bot");
    for version in VERSIONS {
        let agent = if version == "2026-07-28" { agent.clone() } else { agent.session(version).await };
        assert_eq!(agent.tools().await, ["a__echo", "only-a", "b__echo", "only-b"], "{version}");
        assert_eq!(agent.call("only-a", &json!({"x": "yes"})).await.words(), r#"{"x":"yes"}"#);
        assert_eq!(agent.call("a__echo", &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
        // The full name of a tool with a bare one, the bare name that two have, a tool that is not granted: there are no such tools.
        let absent = unknown(&agent.call("nosuch", &json!({})).await, "nosuch");
        for name in ["a__only-a", "echo", "c__get", "b__c__get", "b__only-b", "a__nosuch"] {
            assert_eq!(unknown(&agent.call(name, &json!({"x": "yes"})).await, name), absent, "{name}");
        }
        // The bounds that the admin wrote for the full name hold.
        assert!(agent.call("only-a", &json!({"x": "no"})).await.is_tool_error());
    }
    assert!(a.calls().iter().all(|line| !line.contains("a__only-a")), "the server hears its own names");
    assert!(of_tool(&gateway, "calls", "a__only-a").iter().any(|record| record["event"] == "intent"));
    assert!(of_tool(&gateway, "calls", "only-a").is_empty() && of_tool(&gateway, "decisions", "only-a").is_empty());
    // A person is asked about the full name, the agent hears the one it sent.
    let pending = agent.call("only-b", &json!({"x": "1"})).await;
    assert!(pending.words().contains("asked to approve only-b."), "{}", pending.text);
    let open: Value = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
    assert_eq!(open[0]["tool"], "b__only-b");
    let explained = gateway.cli.ok(&["explain", "--agent", "bot", "--tool", "a__only-a", "--args", r#"{"x":"yes"}"#, "--json"]);
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!((&explained[0]["state"], &explained[0]["id"]), (&json!("allow"), &json!("a__only-a")));
    // Which keep their prefix is said at the start, by `check`, and by `connectors show`.
    let kept = "`b__echo` keeps its prefix: `echo` alone could not be told from `a__echo`";
    let alike = "`b__c__get` keeps its prefix: `c__get` alone could be taken for a tool of another connector";
    let check = gateway.cli.run(&["check"]);
    let check = String::from_utf8_lossy(&check.stderr).into_owned();
    for line in [kept, alike] {
        assert!(gateway.stderr().contains(line), "{}", gateway.stderr());
        assert!(check.contains(line), "{check}");
    }
    let shown = gateway.connector("b");
    // A name that is another connector's tool is not accepted by itself.
    assert!(shown["tools"].as_array().unwrap().iter().all(|tool| tool["id"] != "b__a__only-a"));
    let tool = |id: &str| shown["tools"].as_array().unwrap().iter().find(|tool| tool["id"] == id).unwrap().clone();
    assert_eq!((&tool("b__only-b")["exposed"], tool("b__only-b").get("keeps_prefix")), (&json!("only-b"), None));
    assert_eq!((&tool("b__echo")["exposed"], tool("b__echo")["keeps_prefix"].is_string()), (&json!("b__echo"), true));
    let card = gateway.cli.ok(&["connectors", "show", "b"]);
    assert!(card.contains("agents call 1 of them by their bare names") && card.contains("b__echo keeps its prefix"), "{card}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_names_and_says_which_keep_their_prefix() {
    let (setup, _a) = setup("", "");
    let mut gateway = setup.start();
    let agent = gateway.agent("bot");
    assert_eq!(agent.tools().await, ["a__echo", "a__only-a", "b__echo", "b__only-b"]);
    assert!(!gateway.stderr().contains("keeps its prefix"));
    assert_eq!(agent.call("a__echo", &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
    let processes = gateway.connector("a")["processes"][0]["id"].clone();
    gateway.reconfigure(|toml| toml.replace(READS, &format!("{NEVER}{READS}")));
    let reloaded = gateway.cli.ok(&["reload", "--json"]);
    assert!(!reloaded.contains("keeps its prefix"), "{reloaded}");
    assert_eq!(agent.tools().await, ["echo", "only-a", "b__echo", "b__only-b"]);
    assert_eq!(agent.call("echo", &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
    assert_eq!(agent.call("a__echo", &json!({"x": "1"})).await.error_code(), -32602);
    assert_eq!(gateway.connector("a")["processes"][0]["id"], processes, "it is the same server");
    gateway.reconfigure(|toml| toml.replace("id = \"b\"\n", &format!("id = \"b\"\n{NEVER}")));
    let reloaded: Value = serde_json::from_str(&gateway.cli.ok(&["reload", "--json"])).unwrap();
    assert_eq!(agent.tools().await, ["a__echo", "only-a", "b__echo", "only-b"]);
    // Where the files were seen to change first, that reload said it.
    until("it is told", || gateway.stderr().contains("`a__echo` keeps its prefix")).await;
    assert_eq!(reloaded[0]["keep_prefix"].as_array().map(Vec::len), Some(3), "{reloaded}");
}
