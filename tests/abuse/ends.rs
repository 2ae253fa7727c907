//! Group H, rows 116, 125 and 127: servers that end, servers that don't, what they leave behind; and agents that go away.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Agent, Play, Stage, Tally, runs, tool, tool_with, until};

/// The processes of the hostile connector.
fn processes(stage: &Stage) -> Vec<u32> {
    let shown = stage.gateway.connector("evil");
    shown["processes"].as_array().unwrap().iter().map(|process| u32::try_from(process["id"].as_u64().unwrap()).unwrap()).collect()
}

fn numbered(name: &str) -> Value {
    tool_with(name, &json!({"type": "object", "properties": {"n": {"type": "integer"}, "how": {"type": "string"}}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a116_a_server_that_ends_fails_what_was_in_flight_once_and_is_started_again() {
    let tools = [numbered("exit"), tool("killed", &[]), numbered("answers"), tool("echo", &["text"])];
    let mut stage = Play::of(&tools).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for (name, arguments, status) in [
        ("evil__exit", json!({"n": 0}), "exit status: 0"),
        ("evil__exit", json!({"n": 3}), "exit status: 3"),
        ("evil__killed", json!({}), "signal: 9"),
    ] {
        let before = stage.evil.calls().len();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let agent = stage.a.clone();
                tokio::spawn(async move { agent.call("evil__answers", &json!({"how": "never"})).await })
            })
            .collect();
        until("they are in flight", || stage.evil.calls().len() == before + 4).await;
        let reply = tally.call(&stage.a, name, &arguments).await;
        assert!(reply.words().starts_with("FAILED") && reply.words().contains("may have been executed"), "{}", reply.text);
        for call in waiting {
            let reply = call.await.unwrap();
            assert!(reply.words().starts_with("FAILED") && reply.words().contains("may have been executed"), "{}", reply.text);
            tally.count(&reply);
        }
        let shown = stage.gateway.connector("evil");
        assert!(shown["last_failure"]["what"].as_str().unwrap().contains(status), "{shown:#}");
        tally.until_served(&stage.a, "evil__echo", &json!({"text": status})).await;
    }
    assert_eq!(stage.gateway.zombies(), [0; 0]);
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a116_a_server_that_ends_at_its_start_is_not_started_over_and_over() {
    let tools = [tool("echo", &["text"])];
    let mut stage = Play::of(&tools).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for behave in ["exit-0", "exit-3"] {
        stage.evil.offer_with(&tools, &json!({"behave": behave}));
        let before = stage.gateway.connector("evil")["failures"].as_u64().unwrap();
        for _ in 0..100 {
            let reply = tally.call(&stage.a, "evil__echo", &json!({"text": "x"})).await;
            assert!(reply.words().starts_with("UNAVAILABLE: connector evil"), "{behave}: {}", reply.text);
        }
        // Each pause is twice the one before: 100 calls meet a handful of starts.
        let starts = stage.gateway.connector("evil")["failures"].as_u64().unwrap() - before;
        assert!((1..=12).contains(&starts), "{starts} starts");
        stage.evil.offer(&tools);
        tally.until_served(&stage.a, "evil__echo", &json!({"text": "back"})).await;
        stage.gateway.cli.ok(&["connectors", "pin", "evil", "--yes"]);
    }
    assert_eq!(stage.gateway.zombies(), [0; 0]);
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a116_a_server_that_is_deaf_to_the_request_to_end_is_killed() {
    let tools = [tool("echo", &["text"])];
    let mut stage = Play::of(&tools).script(json!({"behave": "stubborn"})).start().await;
    let mut tally = Tally::default();
    tally.until_served(&stage.a, "evil__echo", &json!({"text": "x"})).await;
    let pid = processes(&stage)[0];
    stage.gateway.cli.ok(&["grants", "revoke", "grant-a"]);
    until("it is gone", || !runs(pid)).await;
    until("nothing is left of it", || stage.gateway.zombies().is_empty()).await;
    tally.settle(&mut stage).await;
}

/// The processes that noted themselves in this folder.
fn noted(folder: &Path) -> BTreeSet<u32> {
    let pid = |path: &Path| fs::read_to_string(path).ok()?.parse().ok();
    fs::read_dir(folder).unwrap().filter_map(|entry| pid(&entry.unwrap().path())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a116_everything_that_a_server_started_ends_with_it() {
    let tools = [numbered("family"), numbered("exit")];
    let mut stage = Play::of(&tools).start().await;
    let mut tally = Tally::default();
    let folder = tempfile::tempdir().unwrap();
    // One child in its group, one in a session of its own, and sixty whose parents are gone, each in a session of its own.
    let many = 60;
    let reply = tally.call(&stage.a, "evil__family", &json!({"how": folder.path(), "n": many})).await;
    assert_eq!(reply.words(), "begotten");
    until("all of them run", || noted(folder.path()).len() == many + 2).await;
    let all = noted(folder.path());
    assert!(all.iter().all(|pid| runs(*pid)));
    stage.gateway.cli.ok(&["grants", "revoke", "grant-a"]);
    until("all of them are gone", || !all.iter().any(|pid| runs(*pid))).await;
    until("nothing is left of them", || stage.gateway.zombies().is_empty()).await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a116_a_server_has_limits_of_its_own() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    let mut tally = Tally::default();
    tally.until_served(&stage.a, "evil__echo", &json!({"text": "x"})).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", processes(&stage)[0])).unwrap();
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line.strip_prefix(name).unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    assert!(hard("Max open files").parse::<u64>().unwrap() <= 4096, "{limits}");
    assert_eq!(hard("Max core file size"), "0", "{limits}");
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a125_one_principals_server_has_nothing_of_anothers() {
    let mut stage = Play::of(&[tool("remember", &["text"])]).with_c().start().await;
    let c = stage.gateway.agent("c");
    let mut tally = Tally::default();
    for (agent, other, text) in
        [(&stage.a, "of-c", "of-a"), (&c, "of-a", "of-c"), (&stage.a, "of-c", "of-a"), (&c, "of-a", "of-c")]
    {
        let session = agent.session("2025-11-25").await;
        for agent in [agent, &session] {
            let reply = tally.call(agent, "evil__remember", &json!({"text": text})).await;
            assert!(reply.words().contains(text) && !reply.words().contains(other), "{}", reply.text);
        }
    }
    // Two grants of one agent are two tasks: what one has said is not the other's either.
    stage.gateway.cli.ok(&[
        "grants",
        "create",
        "--agent",
        "a",
        "--tools",
        "evil__remember",
        "--purpose",
        "another",
        "--id",
        "second",
    ]);
    let reply = tally.call(&stage.a.under("second"), "evil__remember", &json!({"text": "alone"})).await;
    assert_eq!(reply.words(), r#"{"text":"alone"}"#);
    stage.heard(&c.heard());
    tally.settle(&mut stage).await;
}

/// The outcomes of the calls that are given up.
fn given_up(stage: &Stage) -> Vec<Value> {
    let of_tool = |record: &&Value| record["tool"] == json!("evil__answers");
    stage.outcomes().iter().filter(of_tool).map(|record| record["outcome"].clone()).collect()
}

/// How often the hostile server was told that a request is cancelled.
fn cancelled(stage: &Stage) -> usize {
    stage.evil.received().iter().filter(|line| line.contains("notifications/cancelled")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a127_an_agent_that_goes_away_has_cancelled_its_call() {
    let mut stage = Play::of(&[numbered("answers"), tool("echo", &["text"])]).start().await;
    let never = json!({"how": "never"});
    // Each era: the connection is gone.
    let session = stage.a.session("2025-06-18").await;
    for (at, agent) in [stage.a.clone(), session.clone()].into_iter().enumerate() {
        let arguments = never.clone();
        let call = tokio::spawn(async move { agent.call("evil__answers", &arguments).await });
        until("the call is in flight", || stage.evil.calls().len() == at + 1).await;
        call.abort();
        until("the server is told", || cancelled(&stage) == at + 1).await;
        until("it is on record", || given_up(&stage).len() == at + 1).await;
    }
    // And a session's own word for it.
    let (agent, arguments) = (session.clone(), never.clone());
    let call = tokio::spawn(async move { agent.call("evil__answers", &arguments).await });
    until("the call is in flight", || stage.evil.calls().len() == 3).await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(session.post(note, &[]).await.status, 202);
    assert_eq!(call.await.unwrap().status, 202);
    until("the server is told", || cancelled(&stage) == 3).await;
    assert_eq!(given_up(&stage), vec![json!("cancelled"); 3]);
    // It was one call's end, and nothing else's.
    assert_eq!(session.call("evil__echo", &json!({"text": "next"})).await.words(), r#"{"text":"next"}"#);
    stage.oracle(4, 4, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a127_an_agent_on_stdio_that_is_killed_has_cancelled_its_call() {
    use std::{io::Write as _, process::Stdio};
    let mut stage = Play::of(&[numbered("answers")]).start().await;
    let token = stage.gateway.cli.data().parent().unwrap().join("token");
    fs::write(&token, stage.a.token()).unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut bridge = stage.gateway.cli.command(&["stdio", "--grant-file", token.to_str().unwrap()]);
    let mut bridge = bridge.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__answers","arguments":{{"how":"never"}},{}}}}}"#,
        Agent::meta()
    );
    bridge.stdin.as_mut().unwrap().write_all(format!("{call}\n").as_bytes()).unwrap();
    until("the call is in flight", || stage.evil.calls().len() == 1).await;
    bridge.kill().unwrap();
    bridge.wait().unwrap();
    until("the server is told", || cancelled(&stage) == 1).await;
    until("it is on record", || given_up(&stage) == [json!("cancelled")]).await;
    stage.oracle(1, 1, 1).await;
}
