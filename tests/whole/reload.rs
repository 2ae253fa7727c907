//! Another configuration in a running gateway: by signal, by file, by an operator.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Reply, Script, Setup, tool, tool_with};

const READS: &str = "tools.echo = { kind = \"read\", band = \"low\" }\ntools.hang = { kind = \"read\", band = \"low\" }\ntools.slow = { kind = \"read\", band = \"low\" }";
const NO_ECHO: &str = "@id(\"no-echo\") forbid (principal, action == Bailiwick::Action::\"s__echo\", resource);\n";
const HARMLESS: &str = "@id(\"never\") forbid (principal, action, resource) when { principal.ceiling > 7 };\n";
const PATIENCE: Duration = Duration::from_secs(40);

/// A connector `s` that echoes, hangs and is slow; agent `a` with the default grant `g` over all of it.
fn setup() -> (Setup, Script) {
    let setup = Setup::new();
    let script = Script::new(
        setup.folder(),
        "s",
        &[
            tool("echo", &["x"]),
            tool("hang", &["x"]),
            tool_with("slow", &json!({"type": "object", "properties": {"ms": {"type": "integer"}}})),
        ],
    );
    // How fast an agent may call is not what is tested here.
    let setup = setup.with("max_rate_per_agent = 0").agent("a").connector("s", &script, READS).grant("g", "a", &["s__*"], "");
    (setup, script)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reloads by an operator; what it came to. Where the files were seen to change before the operator came, what that came to.
fn reload(gateway: &Gateway) -> Value {
    let text = gateway.cli.ok(&["reload", "--json"]);
    let reloaded = serde_json::from_str::<Value>(&text).unwrap()[0].clone();
    let is_first = |record: &&Value| record["by"] == "a changed file" && record["with"]["digest"] == reloaded["digest"];
    let done =
        gateway.records("admin").into_iter().filter(|record| record["event"] == "config_reloaded" && record["result"] == "done");
    let done: Vec<Value> = done.collect();
    let before = done.len().checked_sub(2).and_then(|at| done.get(at)).filter(is_first);
    before.map_or(reloaded.clone(), |record| record["with"].clone())
}

/// The last record of a reload: its result and all of it.
fn last(gateway: &Gateway) -> Option<Value> {
    gateway.records("admin").into_iter().rfind(|record| record["event"] == "config_reloaded" && record["result"] != "begun")
}

fn by(gateway: &Gateway, by: &str, result: &str) -> bool {
    last(gateway).is_some_and(|record| record["by"] == by && record["result"] == result)
}

async fn metrics(gateway: &Gateway) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("{}/metrics", gateway.console)).send().await.unwrap().text().await.unwrap()
}

fn spawn_call(agent: &Agent, tool: &str, arguments: Value) -> tokio::task::JoinHandle<Reply> {
    let (agent, tool) = (agent.clone(), tool.to_owned());
    tokio::spawn(async move { agent.call(&tool, &arguments).await })
}

/// Waits until so many calls of the script's tools arrived.
async fn arrived(script: &Script, calls: usize) {
    until("the call arrives", || script.calls().len() >= calls).await;
}

async fn works(agent: &Agent) -> bool {
    let reply = agent.call("s__echo", &json!({"x": "1"})).await;
    reply.status == 200 && reply.json().get("error").is_none() && !reply.is_tool_error()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_takes_other_policies_and_grants() {
    let (setup, script) = setup();
    fs::write(setup.folder().join("p.cedar"), HARMLESS).unwrap();
    let mut gateway = setup.with("[policy]\nfiles = [\"p.cedar\"]").start();
    let agent = gateway.agent("a");
    assert!(works(&agent).await);
    fs::write(gateway.folder().join("p.cedar"), NO_ECHO).unwrap();
    gateway.signal("HUP");
    until("the signal is heard", || by(&gateway, "SIGHUP", "done")).await;
    let refused = agent.call("s__echo", &json!({"x": "1"})).await;
    assert_eq!(refused.error_code(), -32602, "a tool that is forbidden whatever is asked of it does not exist");
    let changed = |record: &Value| record["result"] == "done" && record["with"]["policy"] != record["with"]["policy_before"];
    let records = gateway.records("admin");
    let record = records.iter().find(|record| changed(record)).unwrap();
    assert_eq!(record["with"]["grants"], json!({"added": [], "changed": [], "removed": []}));
    let begun = records.iter().find(|begun| begun["change"] == record["change"]).unwrap();
    assert_eq!(begun["result"], "begun", "it is on record before it is done");
    fs::write(gateway.folder().join("p.cedar"), HARMLESS).unwrap();
    gateway.reconfigure(|toml| toml.replace("tools = [\"s__*\"]", "tools = [\"s__echo\"]"));
    assert_eq!(reload(&gateway)["grants"]["changed"], json!(["g"]));
    assert!(works(&agent).await);
    assert_eq!(agent.tools().await, ["s__echo"]);
    assert_eq!(script.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_taken_by_themselves_however_they_are_written() {
    let (setup, _script) = setup();
    for (name, rules) in [("one", HARMLESS), ("two", NO_ECHO)] {
        fs::create_dir(setup.folder().join(name)).unwrap();
        fs::write(setup.folder().join(name).join("p.cedar"), rules).unwrap();
    }
    symlink("one", setup.folder().join("live")).unwrap();
    let mut gateway = setup.with("[policy]\nfiles = [\"live/*.cedar\"]").start();
    let agent = gateway.agent("a");
    assert!(works(&agent).await);
    // One link over the whole set is swapped.
    symlink("two", gateway.folder().join("fresh")).unwrap();
    fs::rename(gateway.folder().join("fresh"), gateway.folder().join("live")).unwrap();
    until("the swap is seen", || by(&gateway, "a changed file", "done")).await;
    assert!(!works(&agent).await);
    // Written in place, and one file less.
    fs::write(gateway.folder().join("two/q.cedar"), HARMLESS.replace("never", "never-either")).unwrap();
    fs::remove_file(gateway.folder().join("two/p.cedar")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !works(&agent).await {
        assert!(Instant::now() < deadline, "the folder is not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // An editor's rename.
    gateway.reconfigure(|toml| format!("{toml}[[agents]]\nid = \"b\"\nowner = \"b-owner@example.com\"\n"));
    until("the rename is seen", || last(&gateway).is_some_and(|record| record["with"]["agents"]["added"] == json!(["b"]))).await;
    assert!(gateway.stderr().contains("agents +b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_configuration_changes_nothing_and_says_so_everywhere() {
    let (setup, _script) = setup();
    fs::write(setup.folder().join("p.cedar"), HARMLESS).unwrap();
    let mut gateway = setup.with("[policy]\nfiles = [\"p.cedar\"]").start();
    let agent = gateway.agent("a");
    assert!(metrics(&gateway).await.contains("bailiwick_config_last_reload_successful 1\n"));
    let before = gateway.records("admin").len();
    // A fault in the configuration, beside what would have been fine: nothing of it counts.
    gateway.reconfigure(|toml| format!("{toml}[[agents]]\nid = \"b\"\nowner = \"b@example.com\"\ncieling = \"low\"\n"));
    let said = gateway.cli.fails(&["reload"]);
    assert!(said.contains("cieling") && said.contains("config.toml:"), "{said}");
    assert!(gateway.cli.run(&["agents", "token", "b"]).status.code() == Some(1));
    // A fault in a policy that would have forbidden what is allowed.
    gateway.reconfigure(|toml| toml.split("[[agents]]\nid = \"b\"").next().unwrap().to_owned());
    fs::write(
        gateway.folder().join("p.cedar"),
        format!("{NO_ECHO}@id(\"x\") forbid (principal, action, resource) when {{ context.no }};\n"),
    )
    .unwrap();
    gateway.signal("HUP");
    until("the signal is heard", || by(&gateway, "SIGHUP", "refused")).await;
    assert!(works(&agent).await);
    until("it is said on standard error", || gateway.stderr().contains("p.cedar:2:")).await;
    assert!(gateway.stderr().contains("what ran before runs on"));
    let faults = &last(&gateway).unwrap()["with"]["faults"];
    assert_eq!(faults[0]["line"], json!(2), "{faults}");
    assert!(gateway.records("admin").len() > before);
    let told = metrics(&gateway).await;
    assert!(told.contains("bailiwick_config_last_reload_successful 0\n"), "{told}");
    assert!(
        told.contains("bailiwick_config_epoch 1\n") && !told.contains("reloads_total{bailiwick_outcome=\"refused\"} 0\n"),
        "{told}"
    );
    fs::write(gateway.folder().join("p.cedar"), HARMLESS).unwrap();
    reload(&gateway);
    assert!(metrics(&gateway).await.contains("bailiwick_config_last_reload_successful 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_gone_or_disabled_is_refused_and_its_held_call_ends() {
    let (setup, script) = setup();
    let high = Script::new(setup.folder(), "h", &[tool("echo", &["x"])]);
    let mut gateway = setup
        .with("[approvals]\nhold = \"60s\"\nallow_same_user = true")
        .connector("h", &high, "tools.echo = { kind = \"write\", band = \"high\" }")
        .agent("b")
        .grant("gb", "b", &["h__*", "s__*"], "")
        .start();
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    let session = b.session("2025-06-18").await;
    let token = gateway.cli.ok(&[
        "grants",
        "create",
        "--id",
        "own",
        "--agent",
        "b",
        "--tools",
        "s__hang",
        "--purpose",
        "p",
        "--ttl",
        "10m",
    ]);
    let bearer = Agent::new(&gateway.url, &token);
    let held = spawn_call(&b, "h__echo", json!({"x": "1"}));
    let hanging = spawn_call(&bearer, "s__hang", json!({}));
    arrived(&script, 1).await;
    until("a person is asked", || gateway.records("decisions").iter().any(|record| record["event"] == "approval_awaited")).await;
    let with_b = fs::read_to_string(gateway.folder().join("config.toml")).unwrap();
    gateway.reconfigure(|toml| toml.replace("id = \"b\"\n", "id = \"b\"\ndisabled = true\n"));
    let reloaded = reload(&gateway);
    let returned = Instant::now();
    assert_eq!(reloaded["agents"]["changed"], json!(["b"]));
    let (held, hanging) = (held.await.unwrap(), hanging.await.unwrap());
    assert!(returned.elapsed() < Duration::from_secs(5), "{:?}", returned.elapsed());
    for reply in [&held, &hanging] {
        assert!(reply.json().get("error").is_some() || reply.is_tool_error(), "{}", reply.text);
    }
    assert_eq!(b.list().await.status, 401);
    assert_eq!(session.list().await.status, 401);
    assert_eq!(bearer.list().await.status, 401);
    assert!(works(&a).await, "nobody else notices");
    let open: Value = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
    assert_eq!(open, json!([]), "nobody is asked about it any more");
    // Switched on again it has its grant of the configuration anew, but not the one that was made by hand, nor its session.
    gateway.reconfigure(|_| with_b);
    reload(&gateway);
    assert!(works(&b).await);
    assert_eq!(bearer.list().await.status, 401);
    assert_eq!(session.list().await.status, 404);
    // Taken out altogether.
    let hanging = spawn_call(&b, "s__hang", json!({}));
    until("it is on its way", || script.calls().iter().filter(|call| call.contains("\"hang\"")).count() == 2).await;
    gateway.reconfigure(|toml| {
        let (before, rest) = toml.split_once("[[agents]]\nid = \"b\"").unwrap();
        assert!(rest.contains("id = \"gb\""));
        before.to_owned()
    });
    let reloaded = reload(&gateway);
    assert_eq!((&reloaded["agents"]["removed"], &reloaded["grants"]["removed"]), (&json!(["b"]), &json!(["gb"])));
    assert!(hanging.await.unwrap().is_tool_error());
    assert_eq!(b.list().await.status, 401);
    assert!(high.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_not_disturbed_by_what_does_not_concern_it() {
    let (setup, script) = setup();
    let other = Script::new(setup.folder(), "t", &[tool("echo", &["x"])]);
    fs::write(setup.folder().join("p.cedar"), HARMLESS).unwrap();
    let mut gateway = setup.with("[policy]\nfiles = [\"p.cedar\"]").start();
    let agent = gateway.agent("a");
    let call = spawn_call(&agent, "s__slow", json!({"ms": 4000}));
    arrived(&script, 1).await;
    let command: Vec<String> = other.command().iter().map(|part| format!("\"{part}\"")).collect();
    gateway.reconfigure(|toml| {
        format!(
            "{toml}[[connectors]]\nid = \"t\"\ncommand = [{}]\npin = \"first-use\"\ntools.echo = {{ kind = \"read\", band = \"low\" }}\n\
             [[grants]]\nid = \"g2\"\nagent = \"a\"\npurpose = \"more\"\ntools = [\"t__*\"]\nttl = \"1h\"\n",
            command.join(", ")
        )
    });
    fs::write(gateway.folder().join("p.cedar"), NO_ECHO).unwrap();
    let reloaded = reload(&gateway);
    assert!(!call.is_finished(), "it is still in flight");
    assert_eq!((&reloaded["connectors"]["added"], &reloaded["grants"]["added"]), (&json!(["t"]), &json!(["g2"])));
    assert_eq!(agent.call("s__echo", &json!({})).await.error_code(), -32602);
    // What is new is there at once: its tools were seen for the first time by the reload.
    assert!(!agent.under("g2").call("t__echo", &json!({"x": "1"})).await.is_tool_error());
    assert_eq!(call.await.unwrap().words(), "slow");
    let starts = script.received().iter().filter(|line| line.contains("\"initialize\"")).count();
    assert_eq!(starts, 2, "the child that looked at first, and the one that serves: none was started anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_class_of_a_tool_counts_at_once_and_voids_what_was_asked_before() {
    let (setup, script) = setup();
    let mut gateway = setup.with("[approvals]\nhold = \"1s\"\nallow_same_user = true").start();
    let agent = gateway.agent("a");
    assert!(works(&agent).await);
    gateway.reconfigure(|toml| {
        toml.replace("tools.echo = { kind = \"read\", band = \"low\" }", "tools.echo = { kind = \"write\", band = \"high\" }")
    });
    assert_eq!(reload(&gateway)["connectors"]["changed"], json!(["s"]));
    let pending = agent.call("s__echo", &json!({"x": "2"})).await.result();
    let code = pending["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap().to_owned();
    gateway.cli.ok(&["approvals", "approve", &code, "--yes"]);
    // Another class again: what was approved was approved of another call.
    gateway.reconfigure(|toml| {
        toml.replace("tools.echo = { kind = \"write\", band = \"high\" }", "tools.echo = { kind = \"execute\", band = \"high\" }")
    });
    reload(&gateway);
    let second = agent.call("s__echo", &json!({"x": "2"})).await.result();
    let other = second["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap().to_owned();
    assert_ne!(other, code, "it is asked anew");
    assert_eq!(script.calls().len(), 1);
    // And who may decide: a yes by one who may no longer say it is none.
    gateway.cli.ok(&["approvals", "approve", &other, "--yes"]);
    gateway.reconfigure(|toml| toml.replace("allow_same_user = true", "allow_same_user = false"));
    assert_eq!(reload(&gateway)["settings"], json!(["approvals.allow_same_user"]));
    let third = agent.call("s__echo", &json!({"x": "2"})).await.result();
    assert!(third["_meta"]["dev.bailiwick/approval"]["code"].as_str().is_some_and(|code| code != other), "{third}");
    assert_eq!(script.calls().len(), 1);
}

/// The tool is still the one that was accepted; that it is harmless was the configuration's word.
#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_is_taken_out_of_the_configuration_counts_no_more() {
    let (setup, script) = setup();
    let mut gateway = setup.with("[approvals]\nhold = \"1s\"").start();
    let agent = gateway.agent("a");
    assert!(works(&agent).await);
    gateway.reconfigure(|toml| toml.replace("tools.echo = { kind = \"read\", band = \"low\" }\n", ""));
    assert_eq!(reload(&gateway)["connectors"]["changed"], json!(["s"]));
    assert!(agent.call("s__echo", &json!({"x": "1"})).await.words().contains("APPROVAL PENDING"));
    let gateway = gateway.kill_and_restart();
    let agent = gateway.agent("a");
    assert!(agent.call("s__echo", &json!({"x": "2"})).await.words().contains("APPROVAL PENDING"));
    assert_eq!(script.calls().len(), 1);
    // What a person accepts as they are shown it counts, and is not taken for the word that is gone.
    let shown: Value = serde_json::from_str(&gateway.cli.ok(&["connectors", "diff", "s", "--json"])).unwrap();
    let echo = shown[0]["tools"].as_array().unwrap().iter().find(|tool| tool["id"] == "echo").unwrap().clone();
    assert_eq!((&echo["kind"], &echo["band"], &echo["from"]), (&json!("execute"), &json!("high"), &json!("unclassified")));
}

/// The processes of a connector.
fn processes(gateway: &Gateway, connector: &str) -> Vec<u64> {
    let shown: Value = serde_json::from_str(&gateway.cli.ok(&["connectors", "show", connector, "--json"])).unwrap();
    shown[0]["processes"].as_array().unwrap().iter().map(|process| process["id"].as_u64().unwrap()).collect()
}

fn is_there(process: u64) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_come_change_and_go_with_their_children() {
    let (setup, script) = setup();
    let mut gateway = setup.start();
    let agent = gateway.agent("a");
    assert!(works(&agent).await);
    let first = processes(&gateway, "s")[0];
    // Reached otherwise: its child is another one, and a call in flight hears why.
    let hanging = spawn_call(&agent, "s__hang", json!({}));
    arrived(&script, 2).await;
    gateway.reconfigure(|toml| toml.replace(READS, &format!("{READS}\nenv = {{ MODE = \"other\" }}")));
    assert_eq!(reload(&gateway)["connectors"]["changed"], json!(["s"]));
    let reply = hanging.await.unwrap();
    assert!(reply.is_tool_error(), "{}", reply.text);
    assert!(gateway.everything_written().windows(25).any(|bytes| bytes == b"its configuration changed"));
    until("the old child is gone", || !is_there(first)).await;
    assert!(works(&agent).await);
    let second = processes(&gateway, "s")[0];
    assert_ne!(first, second);
    // One that does not start, and one whose tools a person accepts: neither keeps the rest from being taken.
    gateway.reconfigure(|toml| {
        format!(
            "{toml}[[connectors]]\nid = \"broken\"\ncommand = [\"/bin/false\"]\npin = \"first-use\"\n\
             [[connectors]]\nid = \"manual\"\ncommand = [\"/bin/true\"]\n"
        )
    });
    let reloaded = reload(&gateway);
    assert_eq!(
        (&reloaded["connectors"]["added"], &reloaded["unpinned"]),
        (&json!(["broken", "manual"]), &json!(["broken", "manual"]))
    );
    assert!(gateway.cli.run(&["reload"]).stderr.windows(23).any(|bytes| bytes == b"connectors pin manual` "));
    assert_eq!(processes(&gateway, "s"), [second], "the others stay as they are");
    // Gone.
    gateway.reconfigure(|toml| {
        let (before, rest) = toml.split_once("[[connectors]]\nid = \"s\"").unwrap();
        let (_, after) = rest.split_once("[[connectors]]\nid = \"broken\"").unwrap();
        format!("{before}[[connectors]]\nid = \"broken\"{after}")
    });
    let reloaded = reload(&gateway);
    assert_eq!((&reloaded["connectors"]["removed"], &reloaded["grants"]["removed"]), (&json!(["s"]), &json!(["g"])));
    until("its child is gone", || !is_there(second)).await;
    assert_eq!(agent.call("s__echo", &json!({})).await.error_code(), -32602);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_come_change_and_go_and_a_revoked_one_never_comes_back() {
    let (setup, script) = setup();
    let mut gateway = setup.start();
    let agent = gateway.agent("a");
    let hanging = spawn_call(&agent, "s__hang", json!({}));
    arrived(&script, 1).await;
    let whole = fs::read_to_string(gateway.folder().join("config.toml")).unwrap();
    gateway.reconfigure(|toml| toml.split("[[grants]]").next().unwrap().to_owned());
    let reloaded = reload(&gateway);
    let returned = Instant::now();
    assert_eq!(reloaded["grants"]["removed"], json!(["g"]));
    let reply = hanging.await.unwrap();
    assert!(reply.is_tool_error() && returned.elapsed() < Duration::from_secs(5), "{}", reply.text);
    assert!(agent.tools().await.is_empty());
    // Back again: another revision, for which nothing of before is good.
    gateway.reconfigure(|_| whole);
    assert_eq!(reload(&gateway)["grants"]["added"], json!(["g"]));
    assert!(works(&agent).await);
    gateway.reconfigure(|toml| toml.replace("ttl = \"1h\"", "ttl = \"1h\"\nbudget = { calls = 2 }"));
    assert_eq!(reload(&gateway)["grants"]["changed"], json!(["g"]));
    let shown: Value = serde_json::from_str(&gateway.cli.ok(&["grants", "show", "g", "--json"])).unwrap();
    assert_eq!((&shown[0]["revision"], &shown[0]["used"]["calls"]), (&json!(3), &json!(1)), "what was used stays used");
    assert!(works(&agent).await && !works(&agent).await);
    gateway.cli.ok(&["grants", "revoke", "g"]);
    gateway.reconfigure(|toml| toml.replace("budget = { calls = 2 }", "budget = { calls = 200 }"));
    assert_eq!(reload(&gateway)["stay_ended"], json!(["g"]));
    assert!(!works(&agent).await && agent.tools().await.is_empty());
    let gateway = gateway.kill_and_restart();
    assert!(gateway.agent("a").tools().await.is_empty(), "nor by a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_gateway_can_not_change_is_said_and_stays() {
    let (setup, _script) = setup();
    let mut gateway = setup.start();
    let agent = gateway.agent("a");
    gateway.reconfigure(|toml| {
        toml.replace("max_rate_per_agent = 0", "max_rate_per_agent = 1")
            .replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:9\"\nallowed_origins = [\"https://app.example.com\"]")
    });
    let refused = agent.post("{}", &[("origin", "https://app.example.com")]).await;
    assert_eq!(refused.status, 403);
    let reloaded = reload(&gateway);
    assert_eq!(reloaded["needs_restart"], json!(["server.listen"]));
    assert_eq!(reloaded["settings"], json!(["server.allowed_origins", "server.max_rate_per_agent"]));
    assert_ne!(agent.post("{}", &[("origin", "https://app.example.com")]).await.status, 403);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(agent.list().await.status);
    }
    assert!(statuses.contains(&429), "one request a second, and two at once: {statuses:?}");
    let said = gateway.cli.run(&["reload"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("needs a restart: server.listen"), "it is said until it is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn ceilings_and_limits_count_at_once() {
    let (setup, _script) = setup();
    let mut gateway = setup.start();
    let agent = gateway.agent("a");
    let long = json!({"x": "y".repeat(3000)});
    assert!(!agent.call("s__echo", &long).await.is_tool_error());
    gateway.reconfigure(|toml| format!("{toml}[limits]\nmax_result = \"1KiB\"\n"));
    assert_eq!(reload(&gateway)["settings"], json!(["limits.max_result"]));
    let cut = agent.call("s__echo", &long).await;
    assert!(cut.is_tool_error() || cut.json().get("error").is_some(), "{}", cut.text);
    gateway
        .reconfigure(|toml| toml.replace("band = \"low\"", "band = \"medium\"").replace("[limits]\nmax_result = \"1KiB\"\n", ""));
    reload(&gateway);
    assert!(works(&agent).await);
    gateway.reconfigure(|toml| toml.replace("ceiling = \"high\"", "ceiling = \"low\""));
    assert_eq!(reload(&gateway)["agents"]["changed"], json!(["a"]));
    assert!(agent.tools().await.is_empty());
    assert_eq!(agent.call("s__echo", &json!({"x": "1"})).await.error_code(), -32602);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_call() {
    let (setup, script) = setup();
    fs::write(setup.folder().join("p.cedar"), HARMLESS).unwrap();
    let mut gateway = setup.with("[policy]\nfiles = [\"p.cedar\"]").start();
    let agent = gateway.agent("a");
    let (is_over, through) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (agent, is_over, through) = (agent.clone(), Arc::clone(&is_over), Arc::clone(&through));
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let reply = agent.call("s__echo", &json!({"x": "1"})).await;
                    assert!(
                        reply.status == 200 && !reply.is_tool_error() && reply.json().get("error").is_none(),
                        "{}",
                        reply.text
                    );
                    through.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..8 {
        fs::write(gateway.folder().join("p.cedar"), format!("{HARMLESS}// {round}\n")).unwrap();
        gateway.reconfigure(|toml| {
            let before = toml.split("[[agents]]\nid = \"extra").next().unwrap();
            format!("{before}[[agents]]\nid = \"extra-{round}\"\nowner = \"o@example.com\"\n")
        });
        let before = through.load(Ordering::SeqCst);
        assert_eq!(reload(&gateway)["agents"]["added"], json!([format!("extra-{round}")]));
        until("calls go on", || {
            through.load(Ordering::SeqCst) > before + 8 || callers.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
    }
    is_over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(script.calls().len(), through.load(Ordering::SeqCst), "each was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_reload_returns_nothing_that_it_forbids_is_authorized() {
    let (setup, _script) = setup();
    fs::write(setup.folder().join("p.cedar"), HARMLESS).unwrap();
    let gateway = setup.with("[policy]\nfiles = [\"p.cedar\"]").start();
    let agent = gateway.agent("a");
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (agent, is_over) = (agent.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    agent.call("s__echo", &json!({"x": "1"})).await;
                }
            })
        })
        .collect();
    let intents = || gateway.records("calls").iter().filter(|record| record["event"] == "intent").count();
    for _ in 0..4 {
        fs::write(gateway.folder().join("p.cedar"), HARMLESS).unwrap();
        reload(&gateway);
        let before = intents();
        until("calls go through", || intents() > before + 20).await;
        fs::write(gateway.folder().join("p.cedar"), NO_ECHO).unwrap();
        reload(&gateway);
        let (authorized, outcomes) = (intents(), gateway.records("calls").len());
        until("calls are refused", || gateway.records("calls").len() > outcomes + 40).await;
        assert_eq!(intents(), authorized);
    }
    is_over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
}
