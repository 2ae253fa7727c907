//! What survives the death of the gateway.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Gateway, Script, Setup, tool};

/// Waits until a record like this is there.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_on_its_way_is_unknown_and_is_not_sent_again() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("hang", &["x"]), tool("echo", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.hang = { kind = \"write\", band = \"medium\" }\ntools.echo = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__*"], "budget = { calls = 3 }")
        .start();
    let agent = gateway.agent("a");
    let hanging = agent.clone();
    let call =
        tokio::spawn(
            async move { hanging.request().send().await.is_ok() && hanging.call("s__hang", &json!({})).await.status == 0 },
        );
    wait_for("the call downstream", || script.calls().len() == 1);
    let intents = gateway.records("calls").into_iter().filter(|record| record["event"] == "intent").count();
    assert_eq!(intents, 1, "the intent was written before the call left");
    let gateway = gateway.kill_and_restart();
    let _ended = call.await;
    let unknown: Vec<_> = gateway.records("calls").into_iter().filter(|record| record["outcome"] == "unknown").collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0]["tool"], "s__hang");
    let again = gateway.agent("a");
    assert_eq!(again.call("s__echo", &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
    assert_eq!(script.calls().len(), 2, "nothing was sent again");
    // What was on its way was paid for: of three calls two are gone.
    assert!(!again.call("s__echo", &json!({"x": "2"})).await.is_tool_error());
    let spent = again.call("s__echo", &json!({"x": "3"})).await;
    assert!(spent.is_tool_error() && spent.words().contains("budget"), "{}", spent.text);
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_survives_a_restart_and_a_used_one_stays_used() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .with("[approvals]\nhold = \"1s\"\nallow_same_user = true")
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"write\", band = \"high\" }")
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    let pending = agent.call("s__echo", &json!({"x": "1"})).await;
    assert!(pending.is_tool_error() && pending.words().contains("APPROVAL PENDING"), "{}", pending.text);
    assert!(pending.result().get("structuredContent").is_none());
    let code = pending.result()["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap().to_owned();
    let gateway = gateway.kill_and_restart();
    gateway.cli.ok(&["approvals", "approve", &code, "--yes"]);
    let gateway = Gateway::again(gateway.stop());
    let agent = gateway.agent("a");
    assert_eq!(agent.call("s__echo", &json!({"x": "1"})).await.words(), r#"{"x":"1"}"#);
    let gateway = gateway.kill_and_restart();
    let agent = gateway.agent("a");
    let third = agent.call("s__echo", &json!({"x": "1"})).await;
    assert!(third.words().contains("APPROVAL PENDING") && !third.words().contains(&code), "{}", third.text);
    assert_eq!(script.calls().len(), 1);
}

/// What changed while nothing ran makes void what a reload would have made void.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_by_one_who_may_no_longer_decide_does_not_survive_a_restart() {
    let (strict, loose) = ("allow_same_user = false", "allow_same_user = true");
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let mut gateway = setup
        .with(&format!("[approvals]\nhold = \"1s\"\n{strict}"))
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"write\", band = \"high\" }")
        .grant("g", "a", &["s__*"], "")
        .start();
    // By a reload: what approvals rest on is kept at each, not only at a start.
    gateway.reconfigure(|toml| toml.replace(strict, loose));
    gateway.cli.ok(&["reload"]);
    let code =
        |reply: &crate::harness::Reply| reply.result()["_meta"]["dev.bailiwick/approval"]["code"].as_str().map(str::to_owned);
    let asked = code(&gateway.agent("a").call("s__echo", &json!({"x": "1"})).await).unwrap();
    gateway.cli.ok(&["approvals", "approve", &asked, "--yes"]);
    gateway.reconfigure_at_rest(|toml| toml.replace(loose, strict));
    let anew = code(&gateway.agent("a").call("s__echo", &json!({"x": "1"})).await).unwrap();
    assert_ne!(anew, asked, "it is asked anew");
    assert!(script.calls().is_empty());
    let voided: Vec<_> = gateway.records("admin").into_iter().filter(|record| record["event"] == "approvals_voided").collect();
    assert_eq!((voided.len(), voided[0]["approvals"].as_array().map(Vec::len)), (1, Some(1)), "{voided:?}");
    // Another class of the tool, as well; and what stays as it was voids nothing.
    gateway.reconfigure_at_rest(|toml| toml.replace("\"write\"", "\"execute\""));
    let third = code(&gateway.agent("a").call("s__echo", &json!({"x": "1"})).await).unwrap();
    assert_ne!(third, anew);
    gateway.reconfigure_at_rest(str::to_owned);
    assert_eq!(code(&gateway.agent("a").call("s__echo", &json!({"x": "1"})).await).as_ref(), Some(&third));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_folder_are_one_too_many() {
    let gateway = Setup::new().start();
    let said = gateway.cli.fails(&["run"]);
    assert!(said.contains("lock") || said.contains("another"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waited_for_a_person_has_its_outcome_after_the_gateway_died() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .with("[approvals]\nallow_same_user = true")
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"write\", band = \"high\" }")
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    let held = tokio::spawn(async move {
        agent.request().send().await.is_ok() && agent.call("s__echo", &json!({"x": "1"})).await.status == 0
    });
    wait_for("the question", || gateway.records("decisions").iter().any(|record| record["event"] == "approval_awaited"));
    let call =
        gateway.records("decisions").into_iter().find(|record| record["event"] == "approval_awaited").unwrap()["call_id"].clone();
    let mut gateway = gateway.kill_and_restart();
    let _ended = held.await;
    for _ in 0..2 {
        let outcomes: Vec<_> = gateway.records("calls").into_iter().filter(|record| record["call_id"] == call).collect();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        assert_eq!((&outcomes[0]["event"], &outcomes[0]["outcome"]), (&json!("outcome"), &json!("cancelled")));
        assert_eq!((&outcomes[0]["reason"], &outcomes[0]["tool"]), (&json!("gateway_ended"), &json!("s__echo")));
        gateway = gateway.kill_and_restart();
    }
    assert!(script.calls().is_empty());
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_gateway_washes_nothing_off() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("hang", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.hang = { kind = \"read\", band = \"low\", labels = [\"untrusted\"] }")
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    // It may have been read, or not: the gateway dies before it knows.
    let call =
        tokio::spawn(async move { agent.request().send().await.is_ok() && agent.call("s__hang", &json!({})).await.status == 0 });
    wait_for("the call downstream", || script.calls().len() == 1);
    let gateway = gateway.kill_and_restart();
    let _ended = call.await;
    let grant: serde_json::Value = serde_json::from_str(&gateway.cli.ok(&["grants", "show", "g", "--json"])).unwrap();
    let grant = grant.get(0).unwrap_or(&grant);
    assert_eq!(grant["labels"], json!(["untrusted", "internal"]), "{grant}");
}
