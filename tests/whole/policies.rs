//! Policies that are to change: what is doubtful about them, what they let go, and what they would have decided.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Gateway, Script, Setup, tool_with};

const WRITES: &str = "tools.pay = { kind = \"write\", band = \"low\" }\ntools.look = { kind = \"read\", band = \"low\" }";

fn large(limit: u64) -> String {
    format!(
        "@id(\"large\") @reason(\"too much\")\nforbid (principal, action == Bailiwick::Action::\"s__pay\", resource)\nwhen {{ context.input.amount > {limit} }};\n"
    )
}

fn bundle(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder.join(name)).unwrap();
    fs::write(folder.join(name).join("rules.cedar"), text).unwrap();
}

/// Agents `a` and `b` that pay and look; what is in force forbids to pay more than 500.
fn setup() -> Setup {
    let setup = Setup::new();
    let pay = json!({"type": "object", "properties": {"amount": {"type": "integer"}, "to": {"type": "string"}}, "required": ["amount"]});
    let look = json!({"type": "object", "properties": {}});
    let script = Script::new(setup.folder(), "s", &[tool_with("pay", &pay), tool_with("look", &look)]);
    for (name, limit) in [("current", 500), ("tighter", 100), ("wider", 501)] {
        bundle(setup.folder(), name, &large(limit));
    }
    setup
        .with("[approvals]\nhold = \"0s\"\n[policy]\nfiles = [\"current/\"]")
        .agent("a")
        .agent("b")
        .connector("s", &script, WRITES)
        .grant("g", "a", &["s__*"], "")
        .grant("h", "b", &["s__*"], "")
}

fn at(gateway: &Gateway, name: &str) -> String {
    gateway.folder().join(name).display().to_string()
}

fn parsed(text: &[u8]) -> Vec<Value> {
    serde_json::from_slice(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn doubts_have_a_place_and_an_exit_code() {
    let gateway = setup().start();
    let cli = &gateway.cli;
    assert!(cli.run(&["policy", "check", "--strict"]).status.success(), "nothing is doubtful about it");
    let odd = "@id(\"stop\")\nforbid (principal, action == Bailiwick::Action::\"s__pay\", resource)\nwhen { context.call.kind == \"read\" };\n\
               @id(\"wait\")\nforbid (principal, action == Bailiwick::Action::\"s__look\", resource)\nunless { context.call.approvals.contains(\"nobody\") };\n";
    bundle(gateway.folder(), "odd", odd);
    let found = cli.run(&["policy", "check", "--policy", &at(&gateway, "odd"), "--json"]);
    assert!(found.status.success(), "doubts alone are no faults");
    let lints: Vec<_> = parsed(&found.stdout)
        .into_iter()
        .filter(|entry| entry["state"] == "warning")
        .map(|entry| (entry["lint"].clone(), entry["id"].clone(), entry["line"].clone(), entry["column"].clone()))
        .collect();
    assert_eq!(
        lints,
        [(json!("never_true"), json!("stop"), json!(1), json!(1)), (json!("unused_label"), json!("wait"), json!(6), json!(43))]
    );
    let strict = cli.run(&["policy", "check", "--policy", &at(&gateway, "odd"), "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    let said = String::from_utf8_lossy(&strict.stderr).into_owned();
    assert!(said.contains("rules.cedar:6:43") && said.contains("@approval(\"nobody\")"), "{said}");
    let (_setup, cli) = gateway.stop();
    assert!(cli.run(&["policy", "check", "--strict"]).status.success(), "no gateway has to run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_widening_is_named_by_a_request() {
    let gateway = setup().start();
    let cli = &gateway.cli;
    let widened = cli.run(&["policy", "diff", &at(&gateway, "current"), &at(&gateway, "wider"), "--json"]);
    assert_eq!(widened.status.code(), Some(3), "{widened:?}");
    // Where a solver is installed, it adds what it proves.
    let changes: Vec<Value> = parsed(&widened.stdout).into_iter().filter(|row| row["state"] != "proved").collect();
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(
        (&change["state"], &change["id"], &change["arguments"]),
        (&json!("widens"), &json!("s__pay"), &json!({"amount": 501}))
    );
    assert_eq!((&change["from"], &change["to"], &change["method"]), (&json!("deny"), &json!("allow"), &json!("sampling")));
    assert_eq!((&change["agent"], &change["grant"]), (&json!("a"), &json!("g")));
    // What it names is so: neither more nor less.
    let agent = gateway.agent("a");
    assert!(agent.call("s__pay", &json!({"amount": 501})).await.is_tool_error());
    fs::write(gateway.folder().join("current/rules.cedar"), large(501)).unwrap();
    cli.ok(&["reload"]);
    assert!(!agent.call("s__pay", &json!({"amount": 501})).await.is_tool_error());
    assert!(agent.call("s__pay", &json!({"amount": 502})).await.is_tool_error());
    // The other way round nothing widens, and one bundle alone is held against what is configured.
    let narrowed = cli.run(&["policy", "diff", &at(&gateway, "tighter")]);
    let said = String::from_utf8_lossy(&narrowed.stdout).into_owned();
    assert!(narrowed.status.success() && said.contains("NARROWS  s__pay: allowed → denied"), "{narrowed:?}");
    assert!(String::from_utf8_lossy(&narrowed.stderr).contains("by sampling"));
    let same = cli.run(&["policy", "diff", &at(&gateway, "tighter"), &at(&gateway, "tighter"), "--json"]);
    assert_eq!((same.status.code(), parsed(&same.stdout)), (Some(0), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_day_is_replayed_against_other_policies() {
    let gateway = setup().start();
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    for amount in [50, 150, 400, 600] {
        a.call("s__pay", &json!({"amount": amount, "to": "x"})).await;
    }
    b.call("s__pay", &json!({"amount": 101})).await;
    b.call("s__look", &json!({})).await;
    b.call("s__none", &json!({})).await;
    let replay = |name: &str| {
        parsed(&gateway.cli.run(&["policy", "replay", "--since", "24h", "--policy", &at(&gateway, name), "--json"]).stdout)
    };
    let entries =
        |found: &[Value], state: &str| found.iter().filter(|entry| entry["state"] == state).cloned().collect::<Vec<_>>();
    let found = replay("tighter");
    let changed: Vec<_> = entries(&found, "changed")
        .into_iter()
        .map(|entry| {
            (entry["agent"].clone(), entry["id"].clone(), entry["from"].clone(), entry["to"].clone(), entry["count"].clone())
        })
        .collect();
    let pay = |agent: &str, count: u64| (json!(agent), json!("s__pay"), json!("allow"), json!("deny"), json!(count));
    assert_eq!(changed, [pay("a", 2), pay("b", 1)], "{found:?}");
    let named: Vec<String> =
        entries(&found, "changed")[0]["calls"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let outcomes = gateway.records("calls");
    for id in &named {
        let outcome = outcomes.iter().find(|record| record["event"] == "outcome" && record["call_id"] == id.as_str()).unwrap();
        assert_eq!((&outcome["agent"], &outcome["outcome"]), (&json!("a"), &json!("success")));
    }
    assert_eq!(entries(&found, "same")[0]["count"], 3);
    assert_eq!(entries(&found, "unasked")[0]["count"], 1, "the tool that there is not");
    assert_eq!(entries(&found, "unreplayed"), Vec::<Value>::new());
    // Of what nothing read, nothing is on record: it is said.
    bundle(
        gateway.folder(),
        "other",
        "@id(\"to\") forbid (principal, action == Bailiwick::Action::\"s__pay\", resource) when { context.input has to && context.input.to == \"x\" };",
    );
    let found = replay("other");
    let unknown = &entries(&found, "unreplayed")[0];
    assert_eq!((&unknown["id"], &unknown["count"]), (&json!("`context.input.to` is not on record"), &json!(5)));
    // The same yes with something demanded beside it is another decision.
    let mask = "@id(\"mask\") @redact(\"result:/iban\") permit (principal, action == Bailiwick::Action::\"s__pay\", resource);";
    bundle(gateway.folder(), "masked", &format!("{}\n{mask}", large(500)));
    let found = replay("masked");
    let masked: Vec<_> =
        entries(&found, "changed").into_iter().map(|entry| (entry["agent"].clone(), entry["turn"].clone())).collect();
    assert_eq!(masked, [(json!("a"), json!("narrows")), (json!("b"), json!("narrows"))], "{found:?}");
    let one = &entries(&found, "changed")[0];
    assert_eq!((&one["from"], &one["to"], &one["count"]), (&json!("allow"), &json!("allow"), &json!(3)));
    assert_eq!((&one["from_demands"], &one["to_demands"]), (&json!([]), &json!(["redact result:/iban mask"])));
    // And without the gateway.
    let folder = at(&gateway, "tighter");
    let (_setup, cli) = gateway.stop();
    let found = parsed(&cli.run(&["policy", "replay", "--policy", &folder, "--json"]).stdout);
    assert_eq!(entries(&found, "changed").len(), 2, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_explained_by_values_and_the_least_change() {
    let gateway = setup().start();
    let agent = gateway.agent("a");
    agent.call("s__pay", &json!({"amount": 700})).await;
    let explain = |more: &[&str]| {
        let arguments: Vec<&str> = ["explain", "--json"].iter().chain(more).copied().collect();
        serde_json::from_str::<Vec<Value>>(&gateway.cli.ok(&arguments)).unwrap().remove(0)
    };
    let last = explain(&["--last"]);
    assert_eq!(last["looked"], json!([{"path": "context.input.amount", "value": 700}]));
    assert_eq!(last["least"], json!([{"path": "context.input.amount", "from": 700, "to": 500}]));
    assert_eq!((&last["then"], &last["gate"], &last["rules"][0]["id"]), (&json!("allow"), &json!("permit"), &json!("large")));
    assert!(last["rules"][0]["at"].as_str().unwrap().ends_with("rules.cedar:1"));
    let past = explain(&["--call", last["id"].as_str().unwrap()]);
    assert_eq!(past["least"], last["least"]);
    let thought = explain(&["--agent", "a", "--tool", "s__pay", "--args", "{\"amount\": 501}"]);
    assert_eq!((&thought["state"], &thought["least"][0]["to"]), (&json!("deny"), &json!(500)));
    let text = gateway.cli.ok(&["explain", "--last"]);
    assert!(
        text.contains("context.input.amount is 700") && text.contains("it would be allowed if context.input.amount were 500"),
        "{text}"
    );
    // In a context that is thought of, too.
    fs::write(
        gateway.folder().join("current/rules.cedar"),
        "@id(\"night\") forbid (principal, action == Bailiwick::Action::\"s__pay\", resource) when { context.call.hour < 6 };",
    )
    .unwrap();
    gateway.cli.ok(&["reload"]);
    let at_hour = |hour: u8| {
        explain(&[
            "--agent",
            "a",
            "--tool",
            "s__pay",
            "--args",
            "{\"amount\": 1}",
            "--context",
            &json!({"hour": hour}).to_string(),
        ])
    };
    assert_eq!((&at_hour(3)["state"], &at_hour(9)["state"]), (&json!("deny"), &json!("allow")));
    assert_eq!(at_hour(3)["least"], json!([{"path": "context.call.hour", "from": 3, "to": 6}]));
    let odd = gateway.cli.run(&[
        "explain",
        "--agent",
        "a",
        "--tool",
        "s__pay",
        "--args",
        "{\"amount\": 1}",
        "--context",
        "{\"huor\": 1}",
    ]);
    assert!(!odd.status.success() && String::from_utf8_lossy(&odd.stderr).contains("hour"), "{odd:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_shadow_is_recorded_and_decides_nothing() {
    let setup = setup();
    bundle(
        setup.folder(),
        "candidate",
        "@id(\"open\") permit (principal, action, resource);\n@id(\"no-look\") forbid (principal, action == Bailiwick::Action::\"s__look\", resource);\n",
    );
    bundle(
        setup.folder(),
        "current",
        &format!(
            "{}@id(\"careful\") @mode(\"shadow\")\nforbid (principal, action == Bailiwick::Action::\"s__pay\", resource)\nwhen {{ context.input.amount > 100 }};\n",
            large(500)
        ),
    );
    let mut gateway = setup.start();
    gateway.reconfigure(|toml| toml.replace("files = [\"current/\"]", "files = [\"current/\"]\nshadow = \"candidate/\""));
    gateway.cli.ok(&["reload"]);
    let agent = gateway.agent("a");
    let goes = async |tool: &str, arguments: Value| !agent.call(tool, &arguments).await.is_tool_error();
    assert!(goes("s__pay", json!({"amount": 200})).await, "a rule in shadow forbids nothing");
    assert!(!goes("s__pay", json!({"amount": 600})).await, "a bundle in shadow allows nothing");
    assert!(goes("s__look", json!({})).await, "nor forbids anything");
    let shadows: Vec<Value> =
        gateway.records("decisions").into_iter().filter_map(|record| record.get("shadow").cloned()).collect();
    let differs = |policy: &str, from: &str, to: &str| json!({"policy": policy, "from": from, "to": to});
    assert_eq!(
        shadows,
        [
            json!([differs("careful", "allow", "deny")]),
            json!([differs("candidate:open", "deny", "allow")]),
            json!([differs("candidate:no-look", "allow", "deny")]),
        ]
    );
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let told = client.get(format!("{}/metrics", gateway.console)).send().await.unwrap().text().await.unwrap();
    let row = "bailiwick_policy_shadow_diff_total{policy=\"candidate:no-look\",from=\"allow\",to=\"deny\"} 1\n";
    assert!(told.contains(row), "{told}");
    // It was listed, and refused.
    assert!(told.contains("bailiwick_policy_overlisted_total{tool=\"s__pay\"} 1\n"), "{told}");
    assert!(told.contains("\nbailiwick_policy_overlisted_tools 1\n"), "{told}");
    // One that does not compile is told of, and touches nothing.
    bundle(gateway.folder(), "candidate", "@id(\"x\") forbid (principal, action, resource) when { context.no };\n");
    gateway.cli.ok(&["reload"]);
    assert!(goes("s__pay", json!({"amount": 200})).await && !goes("s__pay", json!({"amount": 600})).await);
    assert!(
        String::from_utf8_lossy(&gateway.cli.run(&["doctor", "--json"]).stdout)
            .contains("the policies in shadow are not watched")
    );
}
