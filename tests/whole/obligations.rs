//! What rules demand beside a yes: parts of results and arguments that are masked, and results that are held to a size.

use std::fs;

use bailiwick_schemas::canonical::{Digest, digest};
use serde_json::{Value, json};

use crate::harness::{Gateway, Script, Setup, tool};

const PERMIT: &str = "permit (principal, action in Bailiwick::Action::\"call\", resource);\n";

/// A gateway with these rules, over a server whose tool `raw` answers with the result that it is given.
fn stage(rules: &str, approvals: &str) -> (Gateway, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("get", &["x", "note"]), tool("raw", &["result"])]);
    fs::write(setup.folder().join("own.cedar"), rules).unwrap();
    let gateway = setup
        .with(&format!("[policy]\nfiles = [\"own.cedar\"]\ninclude_default = false\n[approvals]\nhold = \"1ms\"\n{approvals}"))
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.get = { kind = \"write\", band = \"low\" }\ntools.raw = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__*"], "")
        .start();
    (gateway, script)
}

fn decided(gateway: &Gateway) -> Value {
    gateway.records("decisions").into_iter().rfind(|one| one["effect"] == "allow" && one["tool"] == "s__raw").unwrap()
}

fn outcome(gateway: &Gateway) -> Value {
    gateway.records("calls").into_iter().rfind(|one| one["event"] == "outcome" && one["tool"] == "s__raw").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_names_and_what_looks_like_it_never_reaches_the_agent() {
    let customer = json!({"customer": {"email": "ada@example.com", "id": 7.0}, "note": "card 4111 1111 1111 1111"});
    let result = json!({
        "content": [{"type": "text", "text": customer.to_string()}, {"type": "text", "text": "mail ada@example.com"}],
        "structuredContent": customer, "x-own": [1.50]
    });
    let rules = format!("@id(\"go\") @redact(\"result:/customer/email, result:detect(cards)\")\n{PERMIT}");
    let (gateway, _) = stage(&rules, "");
    let reply = gateway.agent("a").call("s__raw", &json!({"result": result.to_string()})).await;
    let told = reply.result();
    assert!(!reply.text.contains("ada@") && !reply.text.contains("4111"), "{}", reply.text);
    assert_eq!(told["structuredContent"]["customer"]["email"], "[masked]");
    assert_eq!(told["structuredContent"]["note"], "card [masked:cards]");
    assert!(reply.text.contains("\"id\":7.0") && reply.text.contains("[1.5"), "{}", reply.text);
    assert!(told["content"][1]["text"].as_str().unwrap().starts_with("[withheld"), "{}", reply.text);
    assert_eq!(
        decided(&gateway)["obligations"],
        json!(["redact result:/customer/email mask", "redact result:detect(cards) mask"])
    );
    let ended = outcome(&gateway)["result"].clone();
    assert_eq!((&ended["masked"], &ended["withheld"]), (&json!(4), &json!(1)), "{ended}");
    let listed = gateway.cli.ok(&["policy", "check", "--json"]);
    assert!(listed.contains("redact result:/customer/email mask"), "{listed}");
    let explained = gateway.cli.ok(&["explain", "--call", outcome(&gateway)["call_id"].as_str().unwrap()]);
    assert!(explained.contains("demands") && explained.contains("result:detect(cards)"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_are_not_to_see_is_sent_all_the_same() {
    let rules = format!(
        "@id(\"go\")\n{PERMIT}@id(\"ask\") @approval(\"it\") @redact(\"args:/note\")\n\
         forbid (principal, action == Bailiwick::Action::\"s__get\", resource)\n\
         unless {{ context.call.approvals.contains(\"it\") }};\n"
    );
    let (gateway, script) = stage(&rules, "allow_same_user = true");
    let agent = gateway.agent("a");
    let arguments = json!({"x": "seen", "note": "hunter2-hunter2"});
    let asked = agent.call("s__get", &arguments).await;
    let code = asked.result()["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap().to_owned();
    let guesses = &[digest(&arguments), Digest::of(arguments.to_string().as_bytes()), Digest::of(b"hunter2-hunter2")]
        .map(|digest| digest.to_string().chars().skip("sha256:".len()).take(8).collect::<String>());
    let (card, data) = (gateway.cli.ok(&["approvals", "show", &code]), gateway.cli.ok(&["approvals", "show", &code, "--json"]));
    for shown in [&card, &data] {
        assert!(!shown.contains("hunter2") && shown.contains("seen") && shown.contains("•••• (mac:"), "{shown}");
    }
    assert!(card.contains("masked by a rule: /note"), "{card}");
    gateway.cli.ok(&["approvals", "approve", &code, "--yes"]);
    // Other obligations are another call: what was approved was to be masked.
    fs::write(gateway.folder().join("own.cedar"), rules.replace("@redact(\"args:/note\")", "")).unwrap();
    gateway.cli.ok(&["reload"]);
    let other = agent.call("s__get", &arguments).await;
    assert_eq!(other.result()["_meta"]["dev.bailiwick/approval"]["state"], "pending", "{}", other.text);
    assert!(script.calls().is_empty());
    fs::write(gateway.folder().join("own.cedar"), &rules).unwrap();
    gateway.cli.ok(&["reload"]);
    let again = agent.call("s__get", &arguments).await;
    if again.result()["_meta"]["dev.bailiwick/approval"]["state"] == "pending" {
        let code = again.result()["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap().to_owned();
        gateway.cli.ok(&["approvals", "approve", &code, "--yes"]);
        agent.call("s__get", &arguments).await.result();
    }
    let sent = script.calls().concat();
    assert_eq!(script.calls().len(), 1, "{sent}");
    assert!(sent.contains("hunter2-hunter2"), "what is sent is what was judged: {sent}");
    for stream in ["calls", "decisions", "admin"] {
        let all = Value::from(gateway.records(stream)).to_string();
        assert!(!all.contains("hunter2"), "{stream}");
        // Nor a digest by which somebody finds it who tries all that it may be: not of the whole, not of the value.
        for guess in guesses {
            assert!(!all.contains(guess) && !card.contains(guess) && !data.contains(guess), "{stream}: {guess}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_cut_to_its_rows_or_refused() {
    let document = json!({"items": (0..9).map(|at| json!({"n": at})).collect::<Vec<_>>()});
    let result = json!({"content": [{"type": "text", "text": document.to_string()}], "structuredContent": document});
    let (gateway, script) = stage(&format!("@id(\"go\") @limit(\"rows=3, at=/items\")\n{PERMIT}"), "");
    let agent = gateway.agent("a");
    let told = agent.call("s__raw", &json!({"result": result.to_string()})).await.result();
    assert_eq!(told["structuredContent"]["items"], json!([{"n": 0}, {"n": 1}, {"n": 2}]));
    assert!(told["content"][1]["text"].as_str().unwrap().contains("the first 3 of 9 items of /items"), "{told}");
    assert_eq!(outcome(&gateway)["result"]["left_out"], 6);
    let refuses = format!("@id(\"go\") @limit(\"bytes=64, over=refuse\")\n{PERMIT}");
    fs::write(gateway.folder().join("own.cedar"), refuses).unwrap();
    gateway.cli.ok(&["reload"]);
    let over = agent.call("s__raw", &json!({"result": result.to_string()})).await;
    assert!(over.text.contains("answered what may not pass") && !over.text.contains("structuredContent"), "{}", over.text);
    let ended = outcome(&gateway);
    assert!(ended["detail"].as_str().unwrap().contains("a rule lets 64 pass"), "{ended}");
    assert_eq!(script.calls().len(), 2);
}

/// A wrong word is a fault with its place, before anything runs by it.
#[test]
fn what_a_rule_demands_is_read_before_it_is_in_force() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("get", &["x"])]);
    let folder = setup.folder().to_path_buf();
    fs::write(folder.join("own.cedar"), format!("@id(\"go\")\n{PERMIT}")).unwrap();
    let gateway = setup
        .with("[policy]\nfiles = [\"own.cedar\"]\ninclude_default = false")
        .agent("a")
        .connector("s", &script, "")
        .grant("g", "a", &["s__*"], "")
        .start();
    fs::write(folder.join("own.cedar"), format!("@id(\"go\") @redact(\"result:detect(card)\")\n{PERMIT}")).unwrap();
    let told = gateway.cli.fails(&["policy", "check"]);
    assert!(
        told.contains("unknown detector `card`") && told.contains("did you mean `cards`?") && told.contains("own.cedar:1"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_has_kept_is_sealed_and_opened_on_record() {
    let rules = format!("@id(\"go\") @log(\"full\") @redact(\"args:/note, result:detect(emails)\")\n{PERMIT}");
    let (gateway, script) = stage(&rules, "");
    let agent = gateway.agent("a");
    let result = json!({"content": [{"type": "text", "text": "to ada@example.com, 4711-kept"}]});
    agent.call("s__raw", &json!({"result": result.to_string()})).await.result();
    let call = outcome(&gateway)["call_id"].as_str().unwrap().to_owned();
    let intent = gateway.records("calls").into_iter().rfind(|one| one["event"] == "intent").unwrap();
    assert_eq!((&intent["call_id"], &intent["kept_mac"]), (&json!(call), &intent["args_mac"]), "{intent}");
    let shown = gateway.cli.ok(&["audit", "show", &call, "--bodies", "--json"]);
    let opened: Value = serde_json::from_str(&shown).unwrap();
    assert!(opened["arguments"].as_str().unwrap().contains("ada@example.com"), "what was sent: {opened}");
    assert!(opened["result"].as_str().unwrap().contains("[masked:emails], 4711-kept"), "what was told: {opened}");
    assert!(gateway.cli.ok(&["audit", "show", &call, "--bodies"]).contains("4711-kept"));
    let looked: Vec<Value> = gateway.records("admin").into_iter().filter(|one| one["event"] == "bodies_opened").collect();
    assert_eq!(looked.iter().map(|one| one["result"].as_str().unwrap()).collect::<Vec<_>>(), ["begun", "done", "begun", "done"]);
    assert!(looked.iter().all(|one| one["about"] == call.as_str()));
    // What people are not to see is not kept either.
    agent.call("s__get", &json!({"x": "1", "note": "hunter2-hunter2"})).await.result();
    let call = gateway.records("calls").into_iter().rfind(|one| one["event"] == "intent").unwrap()["call_id"].clone();
    let shown = gateway.cli.ok(&["audit", "show", call.as_str().unwrap(), "--bodies", "--json"]);
    let opened: Value = serde_json::from_str(&shown).unwrap();
    // The server says it again: of the result, no rule masks it.
    let arguments = opened["arguments"].as_str().unwrap();
    assert!(!arguments.contains("hunter2") && arguments.contains("mac:"), "{opened}");
    assert!(script.calls().concat().contains("hunter2-hunter2"));
    for name in ["state.db", "state.db-wal"] {
        let file = fs::read(gateway.cli.data().join(name)).unwrap_or_default();
        assert!(!file.windows(9).any(|part| part == b"4711-kept"), "{name}");
    }
    let gone = gateway.cli.fails(&["audit", "show", "no-such-call", "--bodies"]);
    assert!(gone.contains("nothing is kept"), "{gone}");
}
