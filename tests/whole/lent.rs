//! What connectors are lent by a program of the operator's: seen, taken back, and gone where it came from; and what became of held calls.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, runs, tool, until};

/// Makes what is asked for: it is there for as long as its file is.
const MINT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" && read -r asked
lease=$(printf %s "$asked" | sed 's/.*"lease":"\([^"]*\)".*/\1/')
case "$asked" in
*'"verb":"revoke"'*) rm -f "issued/$lease" ;;
*) echo x >"issued/$lease"
   ttl=$(printf %s "$asked" | sed 's/.*"ttlSeconds":\([0-9]*\).*/\1/')
   printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"made-for-%s","expirationTimestamp":"%s"}}' "$lease" "$(date -u -d "+$ttl seconds" +%Y-%m-%dT%H:%M:%SZ)" ;;
esac
"#;

struct House {
    gateway: Gateway,
    script: Script,
    issued: PathBuf,
    _http: Option<HttpServer>,
}

/// One connector that is lent what the program makes, and two grants under which it is called.
fn house(is_http: bool) -> House {
    let setup = Setup::new();
    let (mint, issued) = (setup.folder().join("mint"), setup.folder().join("issued"));
    fs::write(&mint, MINT).unwrap();
    fs::set_permissions(&mint, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(&issued).unwrap();
    let script = Script::new(setup.folder(), "s", &[tool("hang", &["x"]), tool("web", &["how"]), tool("echo", &["text"])]);
    let http = is_http.then(|| script.serve_http());
    let inject = if is_http { "header = \"authorization\"" } else { "env = \"SECRET\"" };
    let more = format!(
        "credential = {{ provider = \"house\", role = \"s-ro\", inject = {{ {inject} }} }}\ntools.echo = {{ kind = \"read\", band = \"low\", labels = [] }}\n\
         tools.hang = {{ kind = \"read\", band = \"low\", labels = [] }}\ntools.web = {{ kind = \"read\", band = \"low\", labels = [] }}\n"
    );
    let setup = setup
        .with(&format!("[[providers]]\nid = \"house\"\nexec = {{ command = [\"{}\"], revocable = true }}", mint.display()))
        .agent("a");
    let setup = match &http {
        Some(server) => setup.http_connector("s", &server.url, &more),
        None => setup.connector("s", &script, &more),
    };
    let setup = ["one", "two"].iter().fold(setup, |setup, grant| {
        setup.with(&format!(
            "[[grants]]\nid = \"{grant}\"\nagent = \"a\"\npurpose = \"task {grant}\"\ntools = [\"s__*\"]\nttl = \"2h\""
        ))
    });
    House { gateway: setup.start(), script, issued, _http: http }
}

fn issued(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect()
}

fn leases(gateway: &Gateway) -> Vec<Value> {
    serde_json::from_str(&gateway.cli.ok(&["credentials", "list", "--json"])).unwrap()
}

impl House {
    /// What there is at the issuer.
    fn issued(&self) -> Vec<String> {
        issued(&self.issued)
    }

    fn lease_of(&self, grant: &str) -> String {
        let leases = leases(&self.gateway);
        let lease = leases.iter().find(|lease| lease["grant"] == grant && lease["state"] == "lent");
        lease.unwrap()["id"].as_str().unwrap().to_owned()
    }

    fn processes(&self, grant: &str) -> Vec<u32> {
        let shown = self.gateway.connector("s");
        let own = shown["processes"].as_array().unwrap().iter().filter(|one| one["grant"] == grant);
        own.map(|one| u32::try_from(one["id"].as_u64().unwrap()).unwrap()).collect()
    }
}

/// A call whose server has it and does not answer.
async fn hanging(house: &House, agent: &Agent, name: &'static str) -> JoinHandle<Reply> {
    let before = house.script.calls().len();
    let agent = agent.clone();
    // Over HTTP it is its arguments that say so.
    let arguments = if name.ends_with("web") { json!({"how": "hang"}) } else { json!({}) };
    let call = tokio::spawn(async move { agent.call(name, &arguments).await });
    until("the call is there", || house.script.calls().len() > before).await;
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_ends_its_calls_and_its_child_at_once_and_the_next_call_is_lent_another_one() {
    let house = house(false);
    let agent = house.gateway.agent("a");
    let (one, two) = (agent.under("one"), agent.under("two"));
    let neighbour = hanging(&house, &two, "s__hang").await;
    let call = hanging(&house, &one, "s__hang").await;
    let (lease, pid) = (house.lease_of("one"), house.processes("one")[0]);
    assert_eq!(house.issued().len(), 2);
    let shown: [Value; 1] = serde_json::from_str(&house.gateway.cli.ok(&["credentials", "show", &lease, "--json"])).unwrap();
    let says = |key: &str| shown[0][key].as_str().unwrap().to_owned();
    assert_eq!(["task", "owner", "agent", "access"].map(says), ["task one", "a-owner@example.com", "a", "read"]);
    assert!(says("reference").ends_with("/mint s-ro"));
    assert_eq!((&shown[0]["uses"], &shown[0]["revocable"]), (&json!(1), &json!(true)));
    house.gateway.cli.ok(&["credentials", "revoke", &lease, "--reason", "looked odd"]);
    let reply = call.await.unwrap();
    assert!(
        reply.is_tool_error() && reply.words().contains("credential that the call was made with was taken back"),
        "{}",
        reply.text
    );
    assert!(!reply.text.contains(&lease) && !reply.text.contains("looked odd"), "{}", reply.text);
    until("its child is gone", || !runs(pid)).await;
    assert!(!house.issued().contains(&lease), "it is gone where it came from");
    let ended = house.gateway.records("calls").into_iter().rfind(|record| record["event"] == "outcome").unwrap();
    assert_eq!((&ended["outcome"], &ended["reason"]), (&json!("cancelled"), &json!("credential_taken_back")));
    let over: Vec<Value> = serde_json::from_str(&house.gateway.cli.ok(&["credentials", "ended", "--json"])).unwrap();
    assert_eq!((over[0]["id"].as_str(), &over[0]["how"]), (Some(lease.as_str()), &json!("revoked")));
    assert!(
        over[0]["why"].as_str().unwrap().contains("looked odd")
            && !house.gateway.cli.ok(&["credentials", "ended"]).contains("made-for-")
    );
    assert!(house.gateway.cli.fails(&["credentials", "revoke", &lease]).contains("not lent any more"));
    // Nobody else's ends, and this one's task goes on with another one.
    assert!(!neighbour.is_finished());
    assert!(one.call("s__echo", &json!({"text": "again"})).await.words().contains("again"));
    assert_ne!(house.lease_of("one"), lease);
    // Where the task is over, there is no other one.
    let lease = house.lease_of("one");
    house.gateway.cli.ok(&["grants", "revoke", "one"]);
    assert!(!house.issued().contains(&lease));
    assert!(one.call("s__echo", &json!({"text": "late"})).await.text.contains("not live"), "its grant is revoked");
    assert!(!neighbour.is_finished());
    neighbour.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_over_http_ends_the_calls_that_it_went_out_with() {
    let house = house(true);
    let one = house.gateway.agent("a").under("one");
    assert!(one.call("s__echo", &json!({"text": "first"})).await.words().contains("first"));
    let call = hanging(&house, &one, "s__web").await;
    let lease = house.lease_of("one");
    house.gateway.cli.ok(&["credentials", "revoke", &lease]);
    let reply = call.await.unwrap();
    assert!(reply.words().contains("taken back while it was under way"), "{}", reply.text);
    assert!(house.issued().is_empty());
    assert!(one.call("s__echo", &json!({"text": "again"})).await.words().contains("again"));
    assert_eq!(house.issued(), [house.lease_of("one")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_asks_what_became_of_a_call_that_is_held() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("get", &["x"]), tool("put", &["x"])]);
    let rule = "@id(\"ask\") @approval(\"one\") @reason(\"somebody should know\")\nforbid (principal, action == \
                Bailiwick::Action::\"s__put\", resource) unless { context.call.approvals.contains(\"one\") };\n";
    fs::write(setup.folder().join("ask.cedar"), rule).unwrap();
    let classes =
        "labels = []\ntools.get = { kind = \"read\", band = \"low\" }\ntools.put = { kind = \"write\", band = \"medium\" }";
    let gateway = setup
        .with("[policy]\nfiles = [\"ask.cedar\"]\n[approvals]\nhold = \"0s\"\nstatus_tool = true\nallow_same_user = true")
        .agent("a")
        .agent("b")
        .connector("s", &script, classes)
        .grant("ga", "a", &["s__*"], "")
        .grant("gb", "b", &["s__get"], "")
        .start();
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    assert_eq!(a.tools().await, ["s__get", "s__put", "approval_status"]);
    assert_eq!(b.tools().await, ["s__get"], "nothing of it could be held");
    let held = a.call("s__put", &json!({"x": "1"})).await;
    assert!(held.words().contains("APPROVAL PENDING"), "{}", held.text);
    let open: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
    let (id, code) = (open[0]["id"].as_str().unwrap(), open[0]["code"].as_str().unwrap());
    let asks = async |agent: &Agent, handle: &str| agent.call("approval_status", &json!({"approval": handle})).await;
    let told = asks(&a, code).await.result()["structuredContent"].clone();
    assert_eq!((&told["approval"], &told["state"], &told["tool"]), (&json!(id), &json!("pending"), &json!("s__put")));
    gateway.cli.ok(&["approvals", "approve", id]);
    assert_eq!(asks(&a, id).await.result()["structuredContent"]["state"], "approved");
    assert!(script.calls().is_empty(), "to ask runs nothing");
    a.call("s__put", &json!({"x": "1"})).await.result();
    assert_eq!(asks(&a, code).await.result()["structuredContent"]["state"], "succeeded");
    // Nobody else's, and for who has nothing that could be held there is no such tool.
    assert!(asks(&a, "Z9-99").await.words().contains("UNKNOWN APPROVAL"));
    assert_eq!(asks(&b, id).await.error_code(), -32602);
    assert_eq!(script.calls().len(), 1);
}

/// At the start the program makes what lives longer than it is asked for; then it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_can_be_listed_only_later_needs_nobodys_hand() {
    let setup = Setup::new();
    let (mint, issued_in) = (setup.folder().join("mint"), setup.folder().join("issued"));
    let generous = MINT.replace("+$ttl seconds", "+5 hours");
    fs::create_dir(&issued_in).unwrap();
    fs::write(&mint, &generous).unwrap();
    fs::set_permissions(&mint, fs::Permissions::from_mode(0o700)).unwrap();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["text"])]);
    let more = "credential = { provider = \"house\", inject = { env = \"SECRET\" } }\ntools.echo = { kind = \"read\", band = \"low\", labels = [] }\n";
    let mut gateway = setup
        .with(&format!("[[providers]]\nid = \"house\"\nexec = {{ command = [\"{}\"], revocable = true }}", mint.display()))
        .agent("a")
        .connector("s", &script, more)
        .grant("g", "a", &["s__*"], "")
        .start();
    let agent = gateway.agent("a");
    assert_eq!(agent.call("s__echo", &json!({"text": "x"})).await.error_code(), -32602);
    let said = gateway.stderr();
    assert!(said.contains("it is looked at again by itself") && said.contains("or say with `max_ttl` of the provider"), "{said}");
    until("it is given back", || issued(&issued_in).is_empty()).await;
    fs::write(&mint, MINT).unwrap();
    let accepted = |gateway: &Gateway| {
        let records = gateway.records("admin").into_iter().filter(|record| record["event"] == "pins_accepted");
        records.map(|record| (record["by"].clone(), record["result"].clone(), record["about"].clone())).collect::<Vec<_>>()
    };
    until("its tools are accepted", || accepted(&gateway).len() == 2).await;
    let by = |result: &str| (json!("first use"), json!(result), json!("s"));
    assert_eq!(accepted(&gateway), [by("begun"), by("done")]);
    assert!(agent.call("s__echo", &json!({"text": "there by now"})).await.words().contains("there by now"));
    // Or it is said how long one may live that the program alone decides about: it still ends with the task.
    fs::write(&mint, &generous).unwrap();
    let lease = leases(&gateway).into_iter().find(|lease| lease["grant"] == "g").unwrap();
    gateway.cli.ok(&["credentials", "revoke", lease["id"].as_str().unwrap()]);
    let refused = agent.call("s__echo", &json!({"text": "x"})).await;
    assert!(refused.is_tool_error(), "{}", refused.text);
    gateway.reconfigure(|toml| toml.replace("revocable = true }", "revocable = true, max_ttl = \"6h\" }"));
    gateway.cli.ok(&["reload"]);
    let until = Instant::now() + Duration::from_secs(20);
    while agent.call("s__echo", &json!({"text": "for longer"})).await.is_tool_error() {
        assert!(Instant::now() < until, "{}", gateway.stderr());
    }
    assert_eq!(issued(&issued_in).len(), 1);
    gateway.cli.ok(&["grants", "revoke", "g"]);
    assert!(issued(&issued_in).is_empty());
}
