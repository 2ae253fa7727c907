//! Approvals: what else one could be taken for, used twice, or given by whoever asks; and persons who are asked too often. `mNN` in a name
//! is a row of the matrix of approvals.

use std::{fs, process::Command, sync::Arc};

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Reply, Script, Setup, tool, tool_with, until};

const HIGH: &str = "tools.put = { kind = \"write\", band = \"high\" }\ntools.other = { kind = \"write\", band = \"high\" }";

/// A gateway where persons are asked about every call of two agents.
fn stage(approvals: &str, more: &str) -> (Gateway, Script) {
    let (setup, script) = setup(approvals);
    (setup.with(more).start(), script)
}

fn setup(approvals: &str) -> (Setup, Script) {
    let setup = Setup::new();
    // What is no text may be anything: the schema is to refuse nothing here.
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}, "n": {}, "more": {}}});
    let script = Script::new(setup.folder(), "s", &[tool_with("put", &schema), tool_with("other", &schema)]);
    let setup = setup
        .with(&format!("[approvals]\nhold = \"1ms\"\n{approvals}"))
        .agent("a")
        .agent("b")
        .connector("s", &script, HIGH)
        .grant("g", "a", &["s__*"], "")
        .grant("h", "b", &["s__*"], "");
    (setup, script)
}

/// What the agent is told of the question.
fn asked(reply: &Reply) -> Value {
    let told = reply.result()["_meta"]["dev.bailiwick/approval"].clone();
    assert_eq!(told["state"], "pending", "{}", reply.text);
    told
}

fn code(reply: &Reply) -> String {
    asked(reply)["code"].as_str().unwrap().to_owned()
}

fn approve(gateway: &Gateway, code: &str) {
    gateway.cli.ok(&["approvals", "approve", code, "--yes"]);
}

fn listed(gateway: &Gateway) -> Vec<Value> {
    let list: Value = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--all", "--json"])).unwrap();
    list.as_array().unwrap().clone()
}

fn state(gateway: &Gateway, code: &str) -> String {
    let found = listed(gateway).into_iter().rfind(|one| one["code"] == code).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

/// Rows 88 (1 and 2 of the matrix): exactly what was approved runs, once, byte for byte; whatever differs is another question.
#[tokio::test(flavor = "multi_thread")]
async fn a88_m1_m2_only_the_very_call_that_was_approved_runs() {
    let (gateway, script) = stage("allow_same_user = true\nmax_pending_per_agent = 50", "");
    let agent = gateway.agent("a");
    let approved = r#"{"x":"caf\u00e9","n":9007199254740993}"#;
    let first = code(&agent.call_raw("s__put", approved).await);
    approve(&gateway, &first);
    for changed in [
        r#"{"x":"cafe","n":9007199254740993}"#,
        r#"{"x":"caf\u00e9 ","n":9007199254740993}"#,
        r#"{"x":"cafe\u0301","n":9007199254740993}"#,
        r#"{"x":"caf\u00e9","n":9007199254740992}"#,
        r#"{"x":"caf\u00e9","n":9007199254740993.0}"#,
        r#"{"x":"caf\u00e9","n":"9007199254740993"}"#,
        r#"{"x":"caf\u00e9","n":9007199254740993,"more":null}"#,
        r#"{"x":"caf\u00e9"}"#,
    ] {
        let reply = agent.call_raw("s__put", changed).await;
        assert_ne!(code(&reply), first, "{changed}");
    }
    // What two parsers could read in two ways is no call at all.
    let twice = agent.call_raw("s__put", r#"{"x":"caf\u00e9","n":9007199254740993,"n":9007199254740993}"#).await;
    assert!(twice.json().get("error").is_some() || twice.is_tool_error(), "{}", twice.text);
    assert!(script.calls().is_empty());
    // The same in another order is the same; what was approved is what goes.
    let reply = agent.call_raw("s__put", r#"{ "n": 9007199254740993, "x": "café" }"#).await;
    assert!(!reply.is_tool_error(), "{}", reply.text);
    assert_eq!(script.calls().len(), 1);
    assert!(script.calls()[0].contains(approved), "{}", script.calls()[0]);
}

/// Row 89 (6 and 7): an approval is used up by its use, and is nobody else's; nor does its id give any power.
#[tokio::test(flavor = "multi_thread")]
async fn a89_m6_m7_a_used_approval_is_used_and_nobody_elses() {
    let (gateway, script) = stage("allow_same_user = true\nmax_pending_per_agent = 50", "");
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    let call = json!({"x": "1"});
    let first = asked(&a.call("s__put", &call).await);
    let handle = first["code"].as_str().unwrap();
    approve(&gateway, handle);
    // Another agent, another tool; and with the id in its hands.
    assert_ne!(code(&b.call("s__put", &call).await), handle);
    assert_ne!(code(&a.call("s__other", &call).await), handle);
    let meta = format!(r#""dev.bailiwick/approval":{first},"#);
    assert_ne!(code(&b.call_with_meta("s__put", &call, &meta).await), handle);
    assert!(script.calls().is_empty());
    a.call("s__put", &call).await.result();
    assert_eq!(script.calls().len(), 1);
    let again = asked(&a.call("s__put", &call).await);
    assert_ne!((&again["id"], &again["code"]), (&first["id"], &first["code"]));
    assert_eq!((script.calls().len(), state(&gateway, handle).as_str()), (1, "succeeded"));
    // Another task of the same agent.
    let token = ["grants", "create", "--agent", "a", "--tools", "s__put", "--purpose", "p", "--ttl", "10m"];
    let other = Agent::new(&gateway.url, &gateway.cli.ok(&token));
    let of_other = code(&other.call("s__put", &json!({"x": "2"})).await);
    approve(&gateway, &of_other);
    assert_ne!(code(&a.call("s__put", &json!({"x": "2"})).await), of_other);
    assert_eq!(script.calls().len(), 1);
}

const TWO: &str = "@id(\"two\") @approval(\"finance\") @quorum(\"2\")\nforbid (principal, action == Bailiwick::Action::\"s__put\", resource)\n\
                   unless { context.call.approvals.contains(\"finance\") };\n";

/// Row 89 (3): policy that asks for more, and another class, void what was approved before, and say what differs; policy that asks for the same
/// keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a89_m3_an_approval_holds_as_long_as_no_more_is_asked_for() {
    let (setup, script) = setup("allow_same_user = true\nmax_pending_per_agent = 50");
    let harmless = "@id(\"nobody\") forbid (principal == Bailiwick::Grant::\"nobody\", action, resource);\n";
    fs::write(setup.folder().join("own.cedar"), harmless).unwrap();
    let mut gateway = setup.with("[policy]\nfiles = [\"own.cedar\"]").start();
    let agent = gateway.agent("a");
    let (one, two) = (json!({"x": "1"}), json!({"x": "2"}));
    let (kept, voided) = (code(&agent.call("s__put", &one).await), code(&agent.call("s__put", &two).await));
    approve(&gateway, &kept);
    approve(&gateway, &voided);
    fs::write(gateway.folder().join("own.cedar"), harmless.replace("nobody", "no-one")).unwrap();
    gateway.cli.ok(&["reload"]);
    agent.call("s__put", &one).await.result();
    assert_eq!(script.calls().len(), 1, "the policies are others, and ask for the same");
    fs::write(gateway.folder().join("own.cedar"), TWO).unwrap();
    gateway.cli.ok(&["reload"]);
    let anew = code(&agent.call("s__put", &two).await);
    assert_ne!(anew, voided);
    let before = listed(&gateway).into_iter().find(|one| one["code"] == voided).unwrap();
    assert_eq!(before["state"], "invalidated");
    assert_eq!(before["note"], "policy asks for more now: a need of rule `two` (approval `finance`)");
    // Another class of the tool, by the configuration.
    gateway.reconfigure(|toml| toml.replace("tools.put = { kind = \"write\"", "tools.put = { kind = \"execute\""));
    gateway.cli.ok(&["reload"]);
    let before = listed(&gateway).into_iter().find(|one| one["code"] == anew).unwrap();
    assert_eq!((&before["state"], &before["note"]), (&json!("invalidated"), &json!("the configuration changed: connector `s`")));
    assert_eq!(script.calls().len(), 1);
}

/// Row 4 of the matrix: silence is a no.
#[tokio::test(flavor = "multi_thread")]
async fn m4_silence_runs_nothing() {
    let (gateway, script) = stage("approve_by = \"1s\"\nallow_same_user = true", "");
    let agent = gateway.agent("a");
    let first = code(&agent.call("s__put", &json!({"x": "1"})).await);
    until("nobody decided", || state(&gateway, &first) == "expired").await;
    let late = gateway.cli.fails(&["approvals", "approve", &first, "--yes"]);
    assert!(late.contains("expired"), "{late}");
    assert_ne!(code(&agent.call("s__put", &json!({"x": "1"})).await), first);
    assert!(script.calls().is_empty());
}

/// Row 90 (5): fifty at once, after one yes.
#[tokio::test(flavor = "multi_thread")]
async fn a90_m5_fifty_at_once_use_one_approval_once() {
    let (gateway, script) = stage("allow_same_user = true", "");
    let agent = gateway.agent("a");
    approve(&gateway, &code(&agent.call("s__put", &json!({"x": "1"})).await));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let agent = agent.clone();
            tokio::spawn(async move { agent.call("s__put", &json!({"x": "1"})).await.is_tool_error() })
        })
        .collect();
    let mut through = 0;
    for call in calls {
        through += usize::from(!call.await.unwrap());
    }
    assert_eq!((through, script.calls().len()), (1, 1));
    assert_eq!(listed(&gateway).iter().filter(|one| one["state"] == "pending").count(), 1, "the others share one question");
}

/// Row 92: an agent that answers for the approver is no approver.
#[tokio::test(flavor = "multi_thread")]
async fn a92_an_agents_own_answer_approves_nothing() {
    let (gateway, script) = stage("allow_same_user = true", "");
    let agent = gateway.agent("a").declaring(r#"{"elicitation":{"form":{},"url":{}}}"#);
    let first = asked(&agent.call("s__put", &json!({"x": "1"})).await);
    for answers in [
        r#""inputResponses":{"approve":{"action":"accept"}}"#.to_owned(),
        r#""inputResponses":{"approve":{"action":"accept","content":{"approve":true}}},"requestState":"x""#.to_owned(),
        format!(r#""inputResponses":{{{}:{{"action":"accept"}}}},"requestState":{}"#, first["id"], first["id"]),
    ] {
        let params = format!(r#""name":"s__put","arguments":{{"x":"1"}},{answers}"#);
        let reply = agent.ask("tools/call", &params).await;
        assert!(reply.json().get("error").is_some() || reply.is_tool_error(), "{}", reply.text);
    }
    assert!(script.calls().is_empty());
    assert_eq!(state(&gateway, first["code"].as_str().unwrap()), "pending");
}

fn own_name() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

/// Row 93 (8): nobody approves their own task; and one person is not two.
#[tokio::test(flavor = "multi_thread")]
async fn a93_m8_nobody_approves_for_themselves_and_nobody_is_two() {
    let own = format!("[[agents]]\nid = \"c\"\nowner = \"{}\"\nceiling = \"high\"", own_name());
    let (gateway, script) = stage(
        "",
        &format!(
            "{own}\n[[grants]]\nid = \"i\"\nagent = \"c\"\npurpose = \"t\"\ntools = [\"s__*\"]\nttl = \"1h\"\ndefault = true"
        ),
    );
    let of_own = code(&gateway.agent("c").call("s__put", &json!({"x": "1"})).await);
    let refused = gateway.cli.fails(&["approvals", "approve", &of_own, "--yes"]);
    assert!(refused.contains("owns the grant or its agent"), "{refused}");
    assert_eq!(state(&gateway, &of_own), "pending");
    let refusals = |gateway: &Gateway| {
        gateway.records("admin").iter().filter(|one| one["event"] == "approval_decided" && one["result"] == "refused").count()
    };
    assert_eq!(refusals(&gateway), 1, "and that is on record");
    // A no of theirs counts: it lets nothing go.
    gateway.cli.ok(&["approvals", "deny", &of_own, "--reason", "no"]);
    drop(gateway);

    let (setup, other) = setup("allow_same_user = true");
    fs::write(setup.folder().join("own.cedar"), TWO).unwrap();
    let gateway = setup.with("[policy]\nfiles = [\"own.cedar\"]").start();
    let agent = gateway.agent("a");
    let two = code(&agent.call("s__put", &json!({"x": "1"})).await);
    if rustix::process::geteuid().is_root() {
        // Root could be both of them: it is not one of two.
        let alone = gateway.cli.fails(&["approvals", "approve", &two, "--yes"]);
        assert!(alone.contains("root could be both"), "{alone}");
    } else {
        approve(&gateway, &two);
        let again = gateway.cli.fails(&["approvals", "approve", &two, "--yes"]);
        assert!(again.contains("1 more must"), "{again}");
    }
    assert_eq!(code(&agent.call("s__put", &json!({"x": "1"})).await), two);
    assert!(script.calls().is_empty() && other.calls().is_empty());
}

/// Row 9 of the matrix: the gateway is killed while a call is pending, approved, and executing.
#[tokio::test(flavor = "multi_thread")]
async fn m9_a_kill_in_any_state_loses_nothing_and_repeats_nothing() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("put", &["x"]), tool("hang", &["x"])]);
    let gateway = setup
        .with("[approvals]\nhold = \"1ms\"\nallow_same_user = true")
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.put = { kind = \"write\", band = \"high\" }\ntools.hang = { kind = \"write\", band = \"high\" }",
        )
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    let pending = code(&agent.call("s__put", &json!({"x": "pending"})).await);
    let approved = code(&agent.call("s__put", &json!({"x": "approved"})).await);
    let executing = code(&agent.call("s__hang", &json!({})).await);
    approve(&gateway, &approved);
    approve(&gateway, &executing);
    let hanging = tokio::spawn({
        let agent = agent.clone();
        async move { agent.call("s__hang", &json!({})).await }
    });
    until("it is sent", || script.calls().len() == 1).await;
    let gateway = gateway.kill_and_restart();
    hanging.abort();
    let told = [&pending, &approved, &executing].map(|code| state(&gateway, code));
    assert_eq!(told, ["pending", "approved", "unknown"]);
    let agent = gateway.agent("a");
    agent.call("s__put", &json!({"x": "approved"})).await.result();
    assert_eq!(code(&agent.call("s__put", &json!({"x": "pending"})).await), pending);
    assert_ne!(code(&agent.call("s__hang", &json!({})).await), executing, "it is not sent again by itself");
    assert_eq!(script.calls().iter().filter(|call| call.contains("\"hang\"")).count(), 1);
}

/// Row 12 of the matrix: of two who decide at once, one does; the other hears that nothing is left to decide.
#[tokio::test(flavor = "multi_thread")]
async fn m12_of_two_approvers_at_once_one_decides() {
    let (gateway, script) = stage("allow_same_user = true", "");
    let agent = gateway.agent("a");
    let asked = code(&agent.call("s__put", &json!({"x": "1"})).await);
    let mut yes = gateway.cli.command(&["approvals", "approve", &asked, "--yes"]).spawn().unwrap();
    let mut no = gateway.cli.command(&["approvals", "deny", &asked, "--reason", "no"]).spawn().unwrap();
    let (yes, no) = (yes.wait().unwrap().success(), no.wait().unwrap().success());
    assert!(yes != no, "one of them: {yes} {no}");
    assert_eq!(state(&gateway, &asked), if yes { "approved" } else { "denied" });
    assert_eq!(agent.call("s__put", &json!({"x": "1"})).await.is_tool_error(), no);
    assert_eq!(script.calls().len(), usize::from(yes));
}

/// Row 13 of the matrix: a no stands for a while, and the agent hears why.
#[tokio::test(flavor = "multi_thread")]
async fn m13_a_no_stands_for_the_same_call() {
    let (gateway, script) = stage("allow_same_user = true", "");
    let agent = gateway.agent("a");
    let asked = code(&agent.call("s__put", &json!({"x": "1"})).await);
    gateway.cli.ok(&["approvals", "deny", &asked, "--reason", "use the test system"]);
    for _ in 0..3 {
        let reply = agent.call("s__put", &json!({"x": "1"})).await;
        assert!(reply.is_tool_error() && reply.words().contains("They say: use the test system"), "{}", reply.text);
    }
    assert_eq!((listed(&gateway).len(), script.calls().len()), (1, 0), "nobody was asked again");
}

/// Row 96: five hundred questions, near-identical and alternating; one yes lets one of them go; and after some denials in a row nobody is asked
/// for that grant any more, which is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a96_persons_are_not_worn_out() {
    let (gateway, script) = stage("allow_same_user = true\nmax_denied_in_row = 3", "");
    let agent = Arc::new(gateway.agent("a"));
    let mut codes = Vec::new();
    let mut refused = 0;
    for number in 0..500_u32 {
        let tool = if number % 2 == 0 { "s__put" } else { "s__other" };
        let reply = agent.call(tool, &json!({"x": format!("{}", number % 250)})).await;
        let text = reply.words();
        if text.contains("already wait for approval") {
            refused += 1;
        } else {
            codes.push(code(&reply));
        }
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 5, "no more than five wait at a time");
    assert!(refused > 480);
    let open = listed(&gateway);
    approve(&gateway, open[0]["code"].as_str().unwrap());
    let mut ran = 0;
    for number in 0..10 {
        for tool in ["s__put", "s__other"] {
            ran += usize::from(!agent.call(tool, &json!({"x": number.to_string()})).await.is_tool_error());
        }
    }
    assert_eq!((ran, script.calls().len()), (1, 1), "one yes, one call");
    // Three denials in a row.
    let pending: Vec<Value> = listed(&gateway).into_iter().filter(|one| one["state"] == "pending").collect();
    for one in pending.iter().take(3) {
        gateway.cli.ok(&["approvals", "deny", one["code"].as_str().unwrap(), "--reason", "no"]);
    }
    let unwanted = agent.call("s__put", &json!({"x": "something else"})).await;
    assert!(unwanted.is_tool_error() && unwanted.words().contains("were denied in a row"), "{}", unwanted.text);
    let decided = gateway.records("calls").into_iter().rfind(|one| one["event"] == "outcome").unwrap();
    assert_eq!(decided["reason"], "denied_in_a_row", "{decided}");
}

/// Row 98: what is split into many small calls is counted together.
#[tokio::test(flavor = "multi_thread")]
async fn a98_many_small_calls_are_counted_together() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("pay", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.pay = { kind = \"write\", band = \"low\", cost = 99 }")
        .grant("g", "a", &["s__pay"], "budget = { cost = 500 }")
        .start();
    let agent = gateway.agent("a");
    let mut through = 0;
    for number in 0..100 {
        through += usize::from(!agent.call("s__pay", &json!({"x": number.to_string()})).await.is_tool_error());
    }
    assert_eq!((through, script.calls().len()), (5, 5));
    let refused = agent.call("s__pay", &json!({"x": "more"})).await;
    assert!(refused.words().contains("budget of 500 cost"), "{}", refused.text);
}

/// Row 99: no agent's credential decides, wherever agents are.
#[tokio::test(flavor = "multi_thread")]
async fn a99_no_agent_reaches_what_decides() {
    let (gateway, script) = stage("allow_same_user = true", "");
    let agent = gateway.agent("a");
    let first = asked(&agent.call("s__put", &json!({"x": "1"})).await);
    let id = first["id"].as_str().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let socket = |name: &str| reqwest::Client::builder().no_proxy().unix_socket(gateway.cli.data().join(name)).build().unwrap();
    let places = [
        (http.clone(), gateway.url.trim_end_matches("/mcp").to_owned()),
        (http, gateway.console.clone()),
        (socket("agent.sock"), "http://agent".to_owned()),
        (socket("admin.sock"), "http://admin".to_owned()),
    ];
    for (http, base) in places {
        for verb in ["approve", "deny", "revoke", "ack", "break-glass", "review"] {
            for credential in [format!("Bearer {}", agent.token()), format!("Operator {}", agent.token())] {
                let request = http.post(format!("{base}/api/v1/approvals/{id}/{verb}")).header("authorization", credential);
                let reply = agent.exchange(request.header("content-type", "application/json").body("{}")).await;
                assert!([401, 403, 404, 405].contains(&reply.status), "{base} {verb}: {} {}", reply.status, reply.text);
            }
        }
    }
    assert_eq!(state(&gateway, first["code"].as_str().unwrap()), "pending");
    assert!(script.calls().is_empty());
}
