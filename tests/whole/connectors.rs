//! Children: what they are given, what they do to themselves, and what the others notice of it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Script, Setup, tool};

const SECRET: &str = "very-secret-value-1234";

fn reads(names: &[&str]) -> String {
    names
        .iter()
        .fold(String::new(), |toml, name| toml + &format!("tools.{name} = {{ kind = \"read\", band = \"low\", labels = [] }}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_given_what_was_listed_and_lent_and_nothing_else() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("environment", &[])]);
    let more = format!(
        "env = {{ MODE = \"test\" }}\ncredential = {{ provider = \"env\", name = \"GIVEN\", inject = {{ env = \"SECRET\" }} }}\n{}",
        reads(&["environment"])
    );
    let gateway = setup
        .environment("GIVEN", SECRET)
        .environment("OTHER", "must not be seen")
        .agent("a")
        .connector("s", &script, &more)
        .grant("g", "a", &["s__*"], "")
        .start();
    let reply = gateway.agent("a").call("s__environment", &json!({})).await;
    let mut seen: Vec<String> = reply.words().lines().map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, ["MODE=test", "SECRET=[redacted]"]);
    // Pinning at first use lends it too, for no call.
    let (discovery, secrets): (Vec<_>, Vec<_>) =
        gateway.records("secrets").into_iter().partition(|record| record["purpose"] == "discovery");
    let events: Vec<&str> = discovery.iter().filter_map(|record| record["event"].as_str()).collect();
    assert_eq!(events, ["lent", "returned"]);
    assert!(discovery.iter().all(|record| record["connector"] == "s" && record["reference"] == "GIVEN"), "{discovery:?}");
    let events: Vec<&str> = secrets.iter().filter_map(|record| record["event"].as_str()).collect();
    assert_eq!(events, ["lent", "used", "leaked"]);
    let call = &gateway.records("calls")[1]["call_id"];
    assert!(secrets.iter().all(|record| record["call_id"] == *call), "{secrets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lent_secret_never_comes_back() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("leak", &["how"])]);
    let more =
        format!("credential = {{ provider = \"env\", name = \"GIVEN\", inject = {{ env = \"SECRET\" }} }}\n{}", reads(&["leak"]));
    let gateway =
        setup.environment("GIVEN", SECRET).agent("a").connector("s", &script, &more).grant("g", "a", &["s__*"], "").start();
    let agent = gateway.agent("a");
    for how in ["plain", "hex", "reversed", "escaped", "key", "error", "stderr"] {
        let reply = agent.call("s__leak", &json!({"how": how})).await;
        assert!(!reply.text.contains(SECRET), "{how}: {}", reply.text);
        let hidden = reply.text.contains("[redacted]");
        assert_eq!(hidden, how != "stderr", "{how}: {}", reply.text);
    }
    assert!(!String::from_utf8_lossy(&gateway.everything_written()).contains(SECRET));
    let redacted = gateway.records("secrets").into_iter().filter(|record| record["event"] == "leaked").count();
    assert_eq!(redacted, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_servers_leave_the_others_working() {
    let setup = Setup::new().with("");
    let good = Script::new(setup.folder(), "good", &[tool("echo", &["x"])]);
    let bad = Script::new(setup.folder(), "bad", &[tool("crash", &[]), tool("hang", &[]), tool("echo", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector("good", &good, &reads(&["echo"]))
        .connector("bad", &bad, &format!("call_timeout = \"1s\"\n{}", reads(&["crash", "hang", "echo"])))
        .with("[[connectors]]\nid = \"missing\"\ncommand = [\"/nowhere/server\"]\npin = \"first-use\"")
        .grant("g", "a", &["good__*", "bad__*"], "")
        .start();
    let agent = gateway.agent("a");
    let crashed = agent.call("bad__crash", &json!({})).await;
    assert!(crashed.is_tool_error() && crashed.words().contains("may have been executed"), "{}", crashed.text);
    let began = Instant::now();
    let hung = agent.call("bad__hang", &json!({})).await;
    // Either it is still resting after the crash, or it hangs until its deadline; never longer.
    assert!(hung.is_tool_error() && began.elapsed() < Duration::from_secs(30), "{}", hung.text);
    assert_eq!(agent.call("good__echo", &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
    let until = Instant::now() + Duration::from_secs(20);
    while agent.call("bad__echo", &json!({"x": "back"})).await.is_tool_error() {
        assert!(Instant::now() < until, "it never came back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let failures: Vec<_> = gateway
        .records("calls")
        .into_iter()
        .filter(|record| record["outcome"] == "downstream_error" || record["outcome"] == "timeout")
        .collect();
    assert!(failures.len() >= 2, "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_grant_has_a_child_of_its_own_and_it_ends_with_the_grant() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("count", &[])]);
    let gateway = setup
        .agent("a")
        .agent("b")
        .connector("s", &script, &reads(&["count"]))
        .grant("ga", "a", &["s__*"], "")
        .grant("gb", "b", &["s__*"], "")
        .start();
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    assert_eq!(a.call("s__count", &json!({})).await.words(), "1");
    assert_eq!(a.call("s__count", &json!({})).await.words(), "2");
    assert_eq!(b.call("s__count", &json!({})).await.words(), "1", "another process");
    // The kernel lists a process's children by the thread that started them.
    let children = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
        let of = |thread: std::path::PathBuf| std::fs::read_to_string(thread.join("children")).unwrap_or_default();
        threads.map(|thread| of(thread.unwrap().path()).split_whitespace().count()).sum::<usize>()
    };
    assert_eq!(children(), 2);
    gateway.cli.ok(&["grants", "revoke", "ga"]);
    let until = Instant::now() + Duration::from_secs(5);
    while children() != 1 {
        assert!(Instant::now() < until, "its child is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(b.call("s__count", &json!({})).await.words(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_definitions_are_those_of_a_server_started_anew() {
    let old = tool("echo", &["x"]);
    let mut new = tool("echo", &["x"]);
    new["description"] = json!("does echo, better");
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", std::slice::from_ref(&old));
    let gateway = setup
        .agent("a")
        .connector("s", &script, &format!("shared = true\n{}", reads(&["echo"])))
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    assert!(!agent.call("s__echo", &json!({"x": "1"})).await.is_tool_error());
    script.offer(std::slice::from_ref(&new));
    gateway.cli.ok(&["connectors", "pin", "s", "--yes"]);
    // The process that was started before showed the old definition: nobody is sent to it any more.
    for n in 0..3 {
        assert_eq!(agent.call("s__echo", &json!({"x": n.to_string()})).await.words(), format!(r#"{{"x":"{n}"}}"#));
    }
    assert_eq!(agent.list().await.result()["tools"][0]["description"], json!("does echo, better"));
}
