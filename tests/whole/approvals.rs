//! What persons do about calls that wait for them, on the command line; and what agents notice of it.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::harness::{Gateway, Reply, Script, Setup, tool, until};

/// A gateway where persons are asked about every call of an agent.
fn setup(approvals: &str) -> (Setup, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("put", &["x", "n"])]);
    let setup = setup
        .with(&format!("[approvals]\n{approvals}"))
        .agent("a")
        .connector("s", &script, "tools.put = { kind = \"write\", band = \"high\" }")
        .grant("g", "a", &["s__*"], "");
    (setup, script)
}

fn stage(approvals: &str) -> (Gateway, Script) {
    let (setup, script) = setup(&format!("hold = \"1ms\"\n{approvals}"));
    (setup.start(), script)
}

fn code(reply: &Reply) -> String {
    let told = reply.result()["_meta"]["dev.bailiwick/approval"].clone();
    assert_eq!(told["state"], "pending", "{}", reply.text);
    told["code"].as_str().unwrap().to_owned()
}

fn listed(gateway: &Gateway) -> Vec<Value> {
    let list: Value = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--all", "--json"])).unwrap();
    list.as_array().unwrap().clone()
}

fn state(gateway: &Gateway, code: &str) -> String {
    let found = listed(gateway).into_iter().rfind(|one| one["code"] == code).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

/// Several questions of one agent: all of them, or none.
#[tokio::test(flavor = "multi_thread")]
async fn several_are_decided_together_or_not_at_all() {
    let (gateway, script) = stage("allow_same_user = true");
    let agent = gateway.agent("a");
    let mut codes = Vec::new();
    for x in ["1", "2", "3"] {
        codes.push(code(&agent.call("s__put", &json!({"x": x})).await));
    }
    let [one, two, three] = codes.as_slice() else { panic!("three were asked") };
    let seen = gateway.cli.run(&["approvals", "ack", two]);
    assert!(seen.status.success());
    let acknowledged = listed(&gateway).into_iter().find(|approval| approval["code"] == two.as_str()).unwrap();
    assert!(acknowledged["acknowledged_by"]["approver"]["uid"].is_u64() && acknowledged["state"] == "pending", "{acknowledged}");
    gateway.cli.ok(&["approvals", "deny", three, "--reason", "no"]);
    let late = gateway.cli.fails(&["approvals", "approve", one, three, "--yes"]);
    assert!(late.contains("is denied"), "{late}");
    assert_eq!(state(&gateway, one), "pending", "none of them");
    gateway.cli.ok(&["approvals", "approve", one, two, "--yes"]);
    for x in ["1", "2"] {
        agent.call("s__put", &json!({"x": x})).await.result();
    }
    assert_eq!(script.calls().len(), 2);
    let decided = gateway.records("admin").into_iter().rfind(|one| one["event"] == "approvals_decided").unwrap();
    assert_eq!((&decided["result"], decided["with"]["approvals"].as_array().map(Vec::len)), (&json!("done"), Some(2)));
    // And each by itself, with what was decided at once with it.
    let of_batch = |one: &Value| one["event"] == "approval_decided" && one["with"]["batch"] == decided["with"]["shown"];
    let each: Vec<Value> = gateway.records("admin").into_iter().filter(of_batch).collect();
    let codes_of: Vec<&str> = each.iter().filter_map(|one| one["with"]["code"].as_str()).collect();
    assert!(codes_of.len() == 2 && codes_of.contains(&one.as_str()) && codes_of.contains(&two.as_str()), "{each:?}");
    let all = gateway.cli.ok(&["approvals", "list", "--all"]);
    let of_one = all.lines().find(|line| line.starts_with(one.as_str())).unwrap();
    assert!(all.contains("METHOD") && of_one.contains("operator") && of_one.contains("1 of 1"), "{all}");
    // What is approved and not used is taken back by one word; and the wrong code is no slip of the hand.
    let again = code(&agent.call("s__put", &json!({"x": "4"})).await);
    let wrong = gateway.cli.fails(&["approvals", "approve", &again, "--code", "A0-00", "--yes"]);
    assert!(again == "A0-00" || wrong.contains("another approval"), "{wrong}");
    gateway.cli.ok(&["approvals", "approve", &again, "--code", &again, "--yes"]);
    gateway.cli.ok(&["approvals", "revoke", &again, "--reason", "too soon"]);
    assert_eq!(state(&gateway, &again), "revoked");
    assert_ne!(code(&agent.call("s__put", &json!({"x": "4"})).await), again);
    assert_eq!(script.calls().len(), 2);
}

/// A cancelled call leaves its question, unless the operator wants it otherwise; the end of the gateway is no cancel.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_takes_its_question_along_where_that_is_asked_for() {
    for on_cancel in ["keep", "withdraw"] {
        let (setup, script) = setup(&format!("hold = \"60s\"\nallow_same_user = true\non_cancel = \"{on_cancel}\""));
        let gateway = setup.start();
        let agent = gateway.agent("a");
        let call = |x: &'static str| {
            let agent = agent.clone();
            tokio::spawn(async move { agent.call("s__put", &json!({"x": x})).await })
        };
        let waiting = call("1");
        until("a person is asked", || listed(&gateway).len() == 1 && listed(&gateway)[0]["waiting"] == 1).await;
        let asked = listed(&gateway)[0]["code"].as_str().unwrap().to_owned();
        waiting.abort();
        until("nobody waits", || listed(&gateway)[0]["waiting"] == 0).await;
        let after = if on_cancel == "keep" { "pending" } else { "withdrawn" };
        until("that is seen", || state(&gateway, &asked) == after).await;
        let waiting = call("2");
        until("another is asked", || listed(&gateway).iter().any(|one| one["waiting"] == 1)).await;
        let kept = listed(&gateway).into_iter().find(|one| one["waiting"] == 1).unwrap()["code"].as_str().unwrap().to_owned();
        let gateway = Gateway::again(gateway.stop());
        waiting.abort();
        assert_eq!(state(&gateway, &kept), "pending", "{on_cancel}");
        assert!(script.calls().is_empty());
    }
}

/// Calls like an approved one, end to end: as many as an approver allowed, byte for byte as they came, on record under the approval, until it is
/// taken back.
#[tokio::test(flavor = "multi_thread")]
async fn like_calls_go_as_far_as_an_approver_allowed() {
    let (setup, script) = setup("hold = \"1ms\"\nallow_same_user = true\nremember = true\nmax_pending_per_agent = 50");
    let rule = "@id(\"puts\") @approval(\"notes\") @remember\nforbid (principal, action == Bailiwick::Action::\"s__put\", resource)\n\
                unless { context.call.approvals.contains(\"notes\") };\n";
    fs::write(setup.folder().join("own.cedar"), rule).unwrap();
    let gateway = setup.with("[policy]\nfiles = [\"own.cedar\"]\ninclude_default = true").start();
    let agent = gateway.agent("a");
    // The default rule for what is risky says nothing of remembering: then nothing may be.
    let first = code(&agent.call("s__put", &json!({"x": "1", "n": "same"})).await);
    let widen = ["approvals", "approve", &first, "--yes", "--uses", "2", "--for", "5m", "--any", "/x"];
    let refused = gateway.cli.fails(&widen);
    assert!(refused.contains("`@remember`"), "{refused}");
    let all = format!("{rule}@id(\"go\") permit (principal, action in Bailiwick::Action::\"call\", resource);\n");
    fs::write(gateway.folder().join("own.cedar"), all).unwrap();
    let mut gateway = gateway;
    gateway.reconfigure(|toml| toml.replace("include_default = true", "include_default = false"));
    gateway.cli.ok(&["reload"]);
    // Less is asked for now, and so the question is the same; but what was asked then was not to be remembered.
    gateway.cli.ok(&["approvals", "deny", &first, "--reason", "no"]);
    let first = code(&agent.call("s__put", &json!({"x": "2", "n": "same"})).await);
    let widen = ["approvals", "approve", &first, "--yes", "--uses", "2", "--for", "5m", "--any", "/x"];
    gateway.cli.ok(&widen);
    agent.call_raw("s__put", r#"{ "x" : "\u0033", "n":"same" }"#).await.result();
    assert!(script.calls()[0].contains(r#"{ "x" : "\u0033", "n":"same" }"#), "{}", script.calls()[0]);
    assert_ne!(code(&agent.call("s__put", &json!({"x": "3", "n": "other"})).await), first);
    let approval = listed(&gateway).into_iter().rfind(|one| one["code"] == first).unwrap();
    let intent = gateway.records("calls").into_iter().rfind(|one| one["event"] == "intent").unwrap();
    assert_eq!((&intent["allowance"], intent.get("approval")), (&approval["id"], None));
    assert_eq!(approval["allowance"]["uses"][0]["call"], intent["call_id"]);
    // It survives a restart, and ends by one word.
    let gateway = gateway.kill_and_restart();
    let agent = gateway.agent("a");
    gateway.cli.ok(&["approvals", "revoke", &first, "--reason", "enough"]);
    assert_ne!(code(&agent.call("s__put", &json!({"x": "4", "n": "same"})).await), first);
    assert_eq!(script.calls().len(), 1);
}

/// An emergency: off unless a group is named, and on record until somebody else has looked.
#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_takes_a_group_and_a_reason() {
    let (gateway, script) = stage("allow_same_user = true");
    let agent = gateway.agent("a");
    let asked = code(&agent.call("s__put", &json!({"x": "1"})).await);
    let shut = gateway.cli.fails(&["approvals", "break-glass", &asked, "--reason", "fire", "--yes"]);
    assert!(shut.contains("approvals.break_glass"), "{shut}");
    let mut gateway = gateway;
    gateway.reconfigure(|toml| {
        toml.replace("allow_same_user = true", "allow_same_user = true\nbreak_glass = { group = \"no-such-group\" }")
    });
    gateway.cli.ok(&["reload"]);
    let stranger = gateway.cli.fails(&["approvals", "break-glass", &asked, "--reason", "fire", "--yes"]);
    assert!(stranger.contains("is not in the group"), "{stranger}");
    let group = String::from_utf8(Command::new("id").arg("-gn").output().unwrap().stdout).unwrap();
    gateway.reconfigure(|toml| toml.replace("no-such-group", group.trim()));
    gateway.cli.ok(&["reload"]);
    gateway.cli.ok(&["approvals", "break-glass", &asked, "--reason", "fire", "--yes"]);
    agent.call("s__put", &json!({"x": "1"})).await.result();
    assert_eq!(script.calls().len(), 1);
    let list: Value = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
    assert_eq!((&list[0]["code"], &list[0]["broken_by"]["reason"]), (&json!(asked), &json!("fire")), "review is due");
    let own = gateway.cli.fails(&["approvals", "review", &asked]);
    assert!(own.contains("somebody who may be you"), "{own}");
    let broken: Vec<Value> = gateway.records("admin").into_iter().filter(|one| one["event"] == "approval_glass_broken").collect();
    assert!(broken.iter().any(|one| one["result"] == "done" && one["with"]["reason"] == "fire"), "{broken:?}");
}
