//! A call through every gate, as agents and people see it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Script, Setup, tool, tool_with};

const VERSIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// The agent in this version: with a session where the version has them.
async fn speaking(agent: &crate::harness::Agent, version: &str) -> crate::harness::Agent {
    if version == "2026-07-28" { agent.clone() } else { agent.session(version).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_lists_and_calls_what_is_granted_and_nothing_else() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("other", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.echo = { kind = \"read\", band = \"low\" }\ntools.other = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__echo"], "")
        .start();
    let agent = gateway.agent("a");
    for version in VERSIONS {
        let agent = speaking(&agent, version).await;
        assert_eq!(agent.tools().await, ["s__echo"], "{version}");
        let reply = agent.call_raw("s__echo", r#"{"x":"\u00e9 1.0"}"#).await;
        assert_eq!(reply.words(), r#"{"x":"\u00e9 1.0"}"#, "the very bytes, in {version}");
        assert_eq!(reply.result().get("resultType").is_some(), version == "2026-07-28");
        let ungranted = agent.call("s__other", &json!({})).await;
        let absent = agent.call("s__absent", &json!({})).await;
        assert_eq!(ungranted.error_code(), -32602);
        assert_eq!(
            (ungranted.status, ungranted.text.replace("s__other", "X")),
            (absent.status, absent.text.replace("s__absent", "X"))
        );
    }
    assert_eq!(script.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_named_by_pointer() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}, "s": {"type": "string"}}, "required": ["n"]});
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool_with("echo", &schema)]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("g", "a", &["s__echo"], "args = { s__echo = { \"/n\" = { int_range = { max = 10 } } } }")
        .start();
    let agent = gateway.agent("a");
    let wrong = agent.call("s__echo", &json!({"n": 0, "s": 5, "extra": 1})).await;
    assert!(wrong.is_tool_error());
    let words = wrong.words();
    assert!(words.contains("/n") && words.contains("/s") && words.contains("extra"), "{words}");
    let outside = agent.call("s__echo", &json!({"n": 11})).await;
    assert!(outside.is_tool_error() && outside.words().contains("at most 10"), "{}", outside.text);
    assert!(!agent.call("s__echo", &json!({"n": 10})).await.is_tool_error());
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_share_two_calls_of_budget() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("g", "a", &["s__echo"], "budget = { calls = 2 }")
        .start();
    let agent = gateway.agent("a");
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let agent = agent.clone();
            tokio::spawn(async move { agent.call("s__echo", &json!({"x": n.to_string()})).await.is_tool_error() })
        })
        .collect();
    let mut through = 0;
    for call in calls {
        through += usize::from(!call.await.unwrap());
    }
    assert_eq!((through, script.calls().len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_share_one_approval() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .with("[approvals]\nhold = \"20s\"\nallow_same_user = true")
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"write\", band = \"high\" }")
        .grant("g", "a", &["s__echo"], "")
        .start();
    let agent = gateway.agent("a");
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let agent = agent.clone();
            tokio::spawn(async move { agent.call("s__echo", &json!({"x": "same"})).await })
        })
        .collect();
    let first = code(&gateway.cli, None);
    gateway.cli.ok(&["approvals", "approve", &first, "--yes"]);
    // Whoever did not get the one use has asked again: all the others share one further question.
    let second = code(&gateway.cli, Some(&first));
    assert_eq!(script.calls().len(), 1, "one approval, one call");
    gateway.cli.ok(&["approvals", "deny", &second, "--reason", "once is enough"]);
    let mut through = 0;
    for call in calls {
        through += usize::from(!call.await.unwrap().is_tool_error());
    }
    assert_eq!((through, script.calls().len()), (1, 1));
}

/// The code of an open approval other than `not`.
fn code(cli: &crate::harness::Cli, not: Option<&str>) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let list: Value = serde_json::from_str(&cli.ok(&["approvals", "list", "--json"])).unwrap();
        let open: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .filter(|approval| approval["state"] == "pending")
            .filter_map(|approval| approval["code"].as_str())
            .collect();
        if let Some(code) = open.iter().find(|code| Some(**code) != not) {
            assert_eq!(open.len(), 1, "{list}");
            return (*code).to_owned();
        }
        assert!(Instant::now() < until, "nobody is asked: {list}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The millisecond of the day of a record. (At midnight it begins anew, which fails no test.)
fn millisecond(record: &Value) -> u64 {
    let time = record["time"].as_str().unwrap().split_once('T').unwrap().1.trim_end_matches('Z');
    let parts: Vec<f64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    std::time::Duration::from_secs_f64(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]).as_millis().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a80_a_revoked_grant_ends_at_once_even_in_flight() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("hang", &["x"]), tool("echo", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.hang = { kind = \"read\", band = \"low\" }\ntools.echo = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    let hanging = agent.clone();
    let call = tokio::spawn(async move { hanging.call("s__hang", &json!({})).await });
    let until = Instant::now() + Duration::from_secs(20);
    while script.calls().is_empty() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.cli.ok(&["grants", "revoke", "g"]);
    let reply = call.await.unwrap();
    // By the gateway's own record: how soon this test comes to know is another matter.
    let time = |stream: &str, is_it: &dyn Fn(&Value) -> bool| {
        millisecond(gateway.records(stream).iter().find(|record| is_it(record)).unwrap())
    };
    let revoked = time("admin", &|record| record["event"] == "grant_revoked" && record["result"] == "done");
    let ended = time("calls", &|record| record["event"] == "outcome" && record["tool"] == "s__hang");
    assert!(ended.saturating_sub(revoked) < 1000, "revoked at {revoked}, ended at {ended}");
    assert!(reply.is_tool_error() && reply.words().contains("revoked"), "{}", reply.text);
    assert!(agent.tools().await.is_empty());
    assert_eq!(agent.call("s__echo", &json!({})).await.error_code(), -32602);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_grant_has_a_token_that_works_for_it_alone() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("other", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.echo = { kind = \"read\", band = \"low\" }\ntools.other = { kind = \"read\", band = \"low\" }",
        )
        .start();
    let token =
        gateway.cli.ok(&["grants", "create", "--agent", "a", "--tools", "s__echo", "--purpose", "one tool", "--ttl", "10m"]);
    let bearer = crate::harness::Agent::new(&gateway.url, &token);
    assert_eq!(bearer.tools().await, ["s__echo"]);
    assert!(!bearer.call("s__echo", &json!({"x": "1"})).await.is_tool_error());
    let named = bearer.under("another");
    assert_eq!(named.call("s__echo", &json!({"x": "1"})).await.error_code(), 1002);
    let list: Value = serde_json::from_str(&gateway.cli.ok(&["grants", "list", "--json"])).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    gateway.cli.ok(&["grants", "complete", id]);
    assert_ne!(bearer.call("s__echo", &json!({"x": "1"})).await.status, 0);
    assert_eq!(script.calls().len(), 1);
}
