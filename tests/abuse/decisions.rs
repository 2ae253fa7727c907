//! Rules that fail, decisions by what was so a moment ago, and budgets that many would have at once.

use std::{fs, sync::Arc};

use serde_json::{Value, json};

use crate::harness::{Gateway, Script, Setup, tool};

const READ: &str = "tools.get = { kind = \"read\", band = \"low\" }\ntools.put = { kind = \"write\", band = \"low\" }";

/// A rule that says nothing of anybody here.
const HARMLESS: &str = "@id(\"nobody\") forbid (principal == Bailiwick::Grant::\"nobody\", action, resource);\n";

fn setup(policy: &str, more: &str) -> (Gateway, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("get", &["x"]), tool("put", &["x"])]);
    fs::write(setup.folder().join("own.cedar"), policy).unwrap();
    let gateway = setup
        .with("[policy]\nfiles = [\"own.cedar\"]")
        .agent("a")
        .connector("s", &script, READ)
        .grant("g", "a", &["s__get", "s__put"], more)
        .start();
    (gateway, script)
}

fn decisions(gateway: &Gateway) -> Vec<Value> {
    gateway.records("decisions").into_iter().filter(|record| record["tool"] == "s__get").collect()
}

/// Row 86: a rule that overflows passes validation, and fails when it is asked. Whatever the other rules say, that denies, and is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a86_a_rule_that_fails_denies_and_is_on_record() {
    let fails = "@id(\"too-much\") forbid (principal, action == Bailiwick::Action::\"s__get\", resource)\n\
                 when { (context.call.hour + 1) * 9223372036854775807 * 2 > 0 };\n";
    let (gateway, script) = setup(fails, "");
    let agent = gateway.agent("a");
    let refused = agent.call("s__get", &json!({"x": "1"})).await;
    assert!(refused.is_tool_error(), "{}", refused.text);
    let decided = decisions(&gateway).remove(0);
    assert_eq!((&decided["effect"], &decided["rules"]), (&json!("deny"), &json!(["too-much"])), "{decided}");
    assert!(script.calls().is_empty());
    // A rule that fails for one tool is none of another's.
    agent.call("s__put", &json!({"x": "2"})).await.result();
}

/// Row 87: what is decided is by what is in force, and the record says by which rules: their digest changes with them, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a87_a_decision_says_by_which_rules_it_was_made() {
    let (gateway, script) = setup(HARMLESS, "");
    let agent = gateway.agent("a");
    agent.call("s__get", &json!({"x": "1"})).await.result();
    let forbids = "@id(\"no\") forbid (principal, action == Bailiwick::Action::\"s__get\", resource);\n";
    fs::write(gateway.folder().join("own.cedar"), forbids).unwrap();
    gateway.cli.ok(&["reload"]);
    assert_eq!(agent.call("s__get", &json!({"x": "2"})).await.error_code(), -32602);
    fs::write(gateway.folder().join("own.cedar"), HARMLESS).unwrap();
    gateway.cli.ok(&["reload"]);
    agent.call("s__get", &json!({"x": "3"})).await.result();
    let digests: Vec<Value> = decisions(&gateway)
        .into_iter()
        .filter(|record| record["effect"] == "allow")
        .map(|record| record["policy_digest"].clone())
        .collect();
    assert_eq!(digests.len(), 2);
    assert_eq!(digests[0], digests[1], "the same rules, the same digest");
    let intents: Vec<Value> = gateway.records("calls").into_iter().filter(|record| record["event"] == "intent").collect();
    assert!(intents.iter().all(|intent| intent["policy_digest"] == digests[0] && intent["grant_revision"] == 1), "{intents:?}");
    assert_eq!(script.calls().len(), 2);
}

/// Row 82: two calls are left, and fifty come at once.
#[tokio::test(flavor = "multi_thread")]
async fn a82_two_calls_left_and_fifty_at_once() {
    let (gateway, script) = setup(HARMLESS, "budget = { calls = 2 }");
    let agent = Arc::new(gateway.agent("a"));
    let calls = (0..50).map(|number| {
        let agent = Arc::clone(&agent);
        tokio::spawn(async move { agent.call("s__put", &json!({"x": number.to_string()})).await.is_tool_error() })
    });
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        refused += usize::from(call.await.unwrap());
    }
    assert_eq!((refused, script.calls().len()), (48, 2));
}
