//! Freeze and thaw, agents disabled and enabled: what is stopped, what it says, and who is left alone.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::subscriptions::{Stream, changed};
use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, runs, tool, until};

const LOW: &str = "tools.hang = { kind = \"read\", band = \"low\" }\ntools.echo = { kind = \"read\", band = \"low\" }\n\
                   tools.web = { kind = \"write\", band = \"medium\" }\ntools.risky = { kind = \"write\", band = \"high\" }";
const HALTED: i64 = 1006;

/// What reaches a call of `s__hang` by agent `a`, as it is typed; how it is listed; and what its agent hears.
const KINDS: [(&[&str], &str, &str); 4] = [
    (&["--agent", "a"], "agent:a", "this agent is stopped"),
    (&["--connector", "s"], "connector:s", "this connector is stopped"),
    (&["--tool", "s__hang"], "tool:s__hang", "this tool is stopped"),
    (&[], "everything", "every call is stopped"),
];

/// Agent `a` with connector `s`, and its neighbour `b` with connectors `t` and `u`: the server of one does one thing after the other.
struct House {
    gateway: Gateway,
    s: Script,
    t: Script,
    _http: Option<HttpServer>,
}

fn house(is_http: bool) -> House {
    let setup = Setup::new();
    let tools = [tool("hang", &["x"]), tool("echo", &["x"]), tool("web", &["how"]), tool("risky", &["x"])];
    let (s, t) = (Script::new(setup.folder(), "s", &tools), Script::new(setup.folder(), "t", &tools));
    let http = is_http.then(|| s.serve_http());
    let own = rustix::process::geteuid().as_raw();
    let setup = setup.agent("a").with(&format!("identity = [{{ uid = {own} }}]")).agent("b");
    let setup = match &http {
        Some(server) => setup.http_connector("s", &server.url, LOW),
        None => setup.connector("s", &s, LOW),
    };
    let u = Script::new(setup.folder(), "u", &tools);
    let setup = setup.connector("t", &t, LOW).connector("u", &u, LOW);
    let gateway = setup.grant("g", "a", &["s__*"], "").grant("h", "b", &["t__*", "u__echo"], "").start();
    House { gateway, s, t, _http: http }
}

impl House {
    fn freeze(&self, what: &[&str]) {
        let mut typed = vec!["freeze", "--reason", "it went wild"];
        typed.extend(what);
        self.gateway.cli.ok(&typed);
    }

    fn thaw(&self, what: &[&str]) {
        let mut typed = vec!["thaw", "--reason", "it is mended"];
        typed.extend(what);
        self.gateway.cli.ok(&typed);
    }

    fn frozen(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.gateway.cli.ok(&["freeze", "--list", "--json"])).unwrap();
        list.as_array().unwrap().iter().map(|halt| halt["id"].as_str().unwrap().to_owned()).collect()
    }

    fn outcomes(&self, tool: &str) -> Vec<Value> {
        let is_it = |record: &Value| record["event"] == "outcome" && record["tool"] == tool;
        self.gateway.records("calls").into_iter().filter(is_it).collect()
    }
}

/// Calls a tool that does not answer, and waits until its server has it.
async fn hanging(agent: &Agent, tool: &'static str, script: &Script) -> JoinHandle<Reply> {
    let (agent, before) = (agent.clone(), script.calls().len());
    // Over HTTP it is its arguments that say so.
    let arguments = if tool.ends_with("web") { json!({"how": "hang"}) } else { json!({}) };
    let call = tokio::spawn(async move { agent.call(tool, &arguments).await });
    until("its server has the call", || script.calls().len() > before).await;
    call
}

#[track_caller]
fn is_frozen(reply: &Reply, kind: &str, words: &str) {
    let error = reply.json()["error"].clone();
    assert_eq!((reply.status, error["code"].as_i64()), (200, Some(HALTED)), "{}", reply.text);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("FROZEN: ") && message.contains(words) && message.contains("does not end by itself"),
        "{message}"
    );
    assert_eq!(error["data"], json!({"halted": kind, "retryAfterMs": null}));
}

fn kind_of(id: &str) -> &str {
    id.split(':').next().unwrap()
}

/// The millisecond of the day of a record. (At midnight it begins anew, which fails no test.)
fn millisecond(record: &Value) -> u128 {
    let time = record["time"].as_str().unwrap().split_once('T').unwrap().1.trim_end_matches('Z');
    let parts: Vec<f64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    Duration::from_secs_f64(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]).as_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn a84_each_kind_stops_what_is_in_flight_and_nobody_else() {
    for is_http in [false, true] {
        let house = house(is_http);
        let (a, b) = (house.gateway.agent("a"), house.gateway.agent("b"));
        let neighbours = hanging(&b, "t__hang", &house.t).await;
        let hangs = if is_http { "s__web" } else { "s__hang" };
        for (what, id, words) in KINDS {
            let what = what.iter().map(|part| part.replace("s__hang", hangs)).collect::<Vec<_>>();
            let what = &what.iter().map(String::as_str).collect::<Vec<_>>();
            let id = &id.replace("s__hang", hangs);
            let call = hanging(&a, hangs, &house.s).await;
            house.freeze(what);
            let reply = call.await.unwrap();
            assert!(reply.is_tool_error(), "{}", reply.text);
            let told = reply.words();
            assert!(
                told.starts_with("STOPPED: ") && told.contains(words) && told.contains("It may have been executed."),
                "{told}"
            );
            assert_eq!(&house.frozen().join(" "), id);
            // By the gateway's own record: how soon this test comes to know is another matter.
            let ended = house.outcomes(hangs).pop().unwrap();
            assert_eq!((&ended["outcome"], &ended["reason"]), (&json!("cancelled"), &json!("halted")), "{ended}");
            let admin = house.gateway.records("admin");
            let done = admin.iter().rfind(|record| record["event"] == "frozen" && record["result"] == "done").unwrap();
            assert_eq!((&done["about"], &done["with"]["reason"]), (&json!(id), &json!("it went wild")));
            assert!(millisecond(&ended).saturating_sub(millisecond(done)) < 1000, "{ended} {done}");
            let calls = house.s.calls().len();
            is_frozen(&a.call(hangs, &json!({})).await, kind_of(id), words);
            assert_eq!(house.s.calls().len(), calls);
            assert_eq!(house.outcomes(hangs).last().unwrap()["detail"], format!("halt `{id}` is in force"));
            if id == "everything" {
                is_frozen(&b.call("u__echo", &json!({})).await, "everything", words);
            } else {
                assert!(!neighbours.is_finished(), "{id}");
                assert!(!b.call("u__echo", &json!({"x": id})).await.is_tool_error());
            }
            house.thaw(what);
            assert!(house.frozen().is_empty());
            if kind_of(id) == "tool" {
                // Its server was told that the call is over, and does not listen: other tools of it wait, until it is ended.
                house.freeze(&["--connector", "s"]);
                house.thaw(&["--connector", "s"]);
            }
            assert!(!a.call("s__echo", &json!({})).await.is_tool_error(), "{id}");
        }
        assert!(neighbours.await.unwrap().words().contains("every call is stopped"));
    }
}

/// On the agent socket the kernel says which process calls.
fn over_socket(gateway: &Gateway, tool: &str) -> Value {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}},{}}}}}"#,
        Agent::meta()
    );
    let mut stream = UnixStream::connect(gateway.cli.data().join("agent.sock")).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: agent\r\nbailiwick-agent: a\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_stopped_and_the_others_of_its_agent_go_on() {
    let house = house(false);
    let by_token = house.gateway.agent("a");
    assert!(over_socket(&house.gateway, "s__echo").get("result").is_some());
    let instance = house.outcomes("s__echo").pop().unwrap()["instance"].as_str().unwrap().to_owned();
    assert_eq!(instance, format!("pid-{}", std::process::id()));
    house.freeze(&["--agent", "a", "--instance", &instance]);
    let refused = over_socket(&house.gateway, "s__echo");
    assert_eq!((refused["error"]["code"].as_i64(), &refused["error"]["data"]["halted"]), (Some(HALTED), &json!("instance")));
    assert!(!by_token.call("s__echo", &json!({})).await.is_tool_error());
    house.freeze(&["--agent", "a", "--instance", "pid-1"]);
    house.thaw(&["--agent", "a", "--instance", &instance]);
    assert!(over_socket(&house.gateway, "s__echo").get("result").is_some(), "another instance is still frozen");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_frozen_stays_so_over_a_restart_and_to_thaw_it_needs_a_reason() {
    let mut house = house(false);
    let token = house.gateway.agent("a").token().to_owned();
    for (what, id, words) in KINDS {
        house.freeze(what);
        house.gateway = house.gateway.kill_and_restart();
        let a = Agent::new(&house.gateway.url, &token);
        is_frozen(&a.call("s__hang", &json!({})).await, kind_of(id), words);
        let shown = house.gateway.cli.ok(&["freeze", "--list"]);
        assert!(shown.contains(id) && shown.contains("it went wild"), "{shown}");
        let doctor = house.gateway.cli.run(&["doctor"]);
        assert!(String::from_utf8_lossy(&doctor.stdout).contains(&format!("a person has frozen: {id}")));
        let mut unreasoned = vec!["thaw"];
        unreasoned.extend(what);
        assert_eq!(house.gateway.cli.run(&unreasoned).status.code(), Some(2), "{id}");
        unreasoned.extend(["--reason", " "]);
        assert!(house.gateway.cli.fails(&unreasoned).contains("needs a reason"), "{id}");
        is_frozen(&a.call("s__hang", &json!({})).await, kind_of(id), words);
        house.thaw(what);
        house.gateway = house.gateway.kill_and_restart();
        assert!(house.frozen().is_empty());
        let a = Agent::new(&house.gateway.url, &token);
        assert!(!a.call("s__echo", &json!({})).await.is_tool_error(), "{id}");
        let admin = house.gateway.records("admin");
        let thawed = admin.iter().rfind(|record| record["event"] == "thawed" && record["result"] == "done").unwrap();
        assert_eq!((&thawed["about"], &thawed["with"]["reason"]), (&json!(id), &json!("it is mended")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_name_stops_nothing_and_says_so() {
    let house = house(false);
    for (what, says) in [
        (vec!["--agent", "nobody"], "there is no agent"),
        (vec!["--agent", "nobody", "--instance", "i"], "there is no agent"),
        (vec!["--connector", "nowhere"], "there is no connector"),
        (vec!["--tool", "nowhere__echo"], "there is no connector"),
        (vec!["--tool", "s__nothing"], "no accepted tool"),
        (vec!["--tool", "s/elicitation"], "halt the connector"),
        (vec!["--tool", "s"], "nothing that can be halted"),
        (vec!["--agent", "a", "--instance", "\u{202e}"], "nothing that can be halted"),
    ] {
        let mut typed = vec!["freeze"];
        typed.extend(&what);
        let told = house.gateway.cli.fails(&typed);
        assert!(told.contains(says), "{what:?}: {told}");
        let mut typed = vec!["thaw", "--reason", "r"];
        typed.extend(&what);
        house.gateway.cli.fails(&typed);
    }
    assert!(house.frozen().is_empty());
    house.gateway.cli.fails(&["agents", "disable", "nobody"]);
    assert!(house.gateway.cli.fails(&["agents", "enable", "a"]).contains("was disabled by nobody"));
}

/// A store whose halts can't be read may have any: nothing is served from it.
#[test]
fn halts_that_can_not_be_read_keep_the_gateway_from_starting() {
    let setup = Setup::new();
    let gateway = setup.agent("a").start();
    let (_setup, cli) = gateway.stop();
    let store = rusqlite::Connection::open(cli.data().join("state.db")).unwrap();
    store.execute_batch("INSERT INTO halts VALUES ('planet:earth', 1, 'x', NULL)").unwrap();
    drop(store);
    let said = cli.refuses_to_start();
    assert!(said.contains("planet:earth"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_tool_or_connector_is_not_listed_and_who_listens_is_told() {
    let house = house(false);
    let (a, b) = (house.gateway.agent("a"), house.gateway.agent("b"));
    let session = a.session("2025-11-25").await;
    let mut of_session = Stream::of_session(&session).await;
    let (mut listening, _) = Stream::listening(&a, "1", &json!({"toolsListChanged": true})).await;
    let (mut unconcerned, _) = Stream::listening(&b, "2", &json!({"toolsListChanged": true})).await;
    let all = ["s__echo", "s__hang", "s__risky", "s__web"];
    for (what, left) in [(["--tool", "s__hang"], &["s__echo", "s__risky", "s__web"][..]), (["--connector", "s"], &[][..])] {
        assert_eq!(a.tools().await, all);
        house.freeze(&what);
        assert_eq!(a.tools().await, left);
        of_session.expect(&changed("tools", None)).await;
        listening.expect(&changed("tools", Some("1"))).await;
        house.thaw(&what);
        of_session.expect(&changed("tools", None)).await;
        listening.expect(&changed("tools", Some("1"))).await;
    }
    // What its neighbour hears first is about itself.
    house.freeze(&["--tool", "t__hang"]);
    unconcerned.expect(&changed("tools", Some("2"))).await;
    // Who never had a tool hears of no halt of it.
    let (foreign, absent) = (b.call("s__hang", &json!({})).await, b.call("x__hang", &json!({})).await);
    assert_eq!((foreign.error_code(), foreign.text.replace("s__hang", "X")), (-32602, absent.text.replace("x__hang", "X")));
    assert_eq!(house.outcomes("s__hang").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_a_frozen_agent_end_and_those_of_others_stay() {
    let house = house(false);
    let (a, b) = (house.gateway.agent("a"), house.gateway.agent("b"));
    let session = a.session("2025-11-25").await;
    let neighbour = b.session("2025-11-25").await;
    let mut of_session = Stream::of_session(&session).await;
    let (mut listening, _) = Stream::listening(&a, "1", &json!({"toolsListChanged": true})).await;
    let mut others = Stream::of_session(&neighbour).await;
    house.freeze(&["--agent", "a"]);
    assert_eq!(of_session.next().await, None);
    let last = listening.next().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(1), &json!("complete")));
    assert_eq!(listening.next().await, None);
    assert_eq!(session.list().await.status, 404, "its session is closed");
    is_frozen(&a.list().await, "agent", "this agent is stopped");
    // None begins either.
    let (mut again, honoured) = Stream::listening(&b, "3", &json!({"toolsListChanged": true})).await;
    assert_eq!(honoured, json!({"toolsListChanged": true}));
    assert_eq!(neighbour.tools().await.len(), 5);
    house.freeze(&["--tool", "t__hang"]);
    others.expect(&changed("tools", None)).await;
    again.expect(&changed("tools", Some("3"))).await;
    house.freeze(&[]);
    assert_eq!(others.next().await, None);
    is_frozen(&b.list().await, "everything", "every call is stopped");
}

fn children(gateway: &Gateway, connector: &str) -> Vec<u32> {
    let shown = gateway.connector(connector);
    shown["processes"].as_array().unwrap().iter().map(|process| u32::try_from(process["id"].as_u64().unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_what_is_frozen_end_with_it() {
    let house = house(false);
    let (a, b) = (house.gateway.agent("a"), house.gateway.agent("b"));
    for (what, id, _) in KINDS.into_iter().filter(|(_, id, _)| kind_of(id) != "tool") {
        assert!(!a.call("s__echo", &json!({})).await.is_tool_error());
        assert!(!b.call("t__echo", &json!({})).await.is_tool_error());
        let (own, others) = (children(&house.gateway, "s"), children(&house.gateway, "t"));
        assert_eq!((own.len(), others.len()), (1, 1));
        house.freeze(what);
        until("its child ends", || !runs(own[0])).await;
        if id == "everything" {
            until("every child ends", || !runs(others[0])).await;
        } else {
            assert_eq!(children(&house.gateway, "t"), others);
            assert!(runs(others[0]));
        }
        house.thaw(what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_a_person_ends_and_its_question_stays() {
    let house = house(false);
    let a = house.gateway.agent("a");
    let waiting = a.clone();
    let call = tokio::spawn(async move { waiting.call("s__risky", &json!({"x": "1"})).await });
    let pending = || -> Vec<Value> {
        let list: Value = serde_json::from_str(&house.gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
        list.as_array().unwrap().clone()
    };
    until("a person is asked", || !pending().is_empty()).await;
    house.freeze(&["--tool", "s__risky"]);
    is_frozen(&call.await.unwrap(), "tool", "this tool is stopped");
    assert_eq!((house.s.calls().len(), pending().len()), (0, 1), "the question stays: who thaws it may want it answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_agent_is_nobody_until_it_is_enabled_and_gets_nothing_back() {
    let mut house = house(false);
    let (a, b) = (house.gateway.agent("a"), house.gateway.agent("b"));
    let of_grant =
        house.gateway.cli.ok(&["grants", "create", "--agent", "a", "--tools", "s__echo", "--purpose", "x", "--id", "made"]);
    let bearer = Agent::new(&house.gateway.url, &of_grant);
    let session = a.session("2025-11-25").await;
    let mut stream = Stream::of_session(&session).await;
    let neighbours = hanging(&b, "t__hang", &house.t).await;
    let call = hanging(&a.under("g"), "s__hang", &house.s).await;
    let child = children(&house.gateway, "s")[0];
    let told = house.gateway.cli.run(&["agents", "disable", "a", "--reason", "it leaks"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("agent a is disabled") && told.contains("grants revoked: 2, tokens revoked: 1"), "{told}");
    let reply = call.await.unwrap();
    assert!(reply.is_tool_error() && reply.words().contains("revoked"), "{}", reply.text);
    while stream.next().await.is_some() {}
    until("its child ends", || !runs(child)).await;
    assert!(!neighbours.is_finished() && !b.call("u__echo", &json!({})).await.is_tool_error());
    for agent in [&a, &bearer, &session] {
        assert_eq!(agent.call("s__echo", &json!({})).await.status, 401);
    }
    assert_eq!(over_socket(&house.gateway, "s__echo")["error"]["code"], 1004);
    let shown: Value = serde_json::from_str(&house.gateway.cli.ok(&["agents", "show", "a", "--json"])).unwrap();
    let shown = shown.as_array().map_or(shown.clone(), |one| one[0].clone());
    assert_eq!(
        (&shown["state"], &shown["disabled"]["reason"], &shown["grants"]),
        (&json!("disabled"), &json!("it leaks"), &json!([]))
    );
    assert!(house.gateway.cli.ok(&["agents", "list"]).contains("disabled"));
    house.gateway.cli.fails(&["grants", "create", "--agent", "a", "--tools", "s__echo", "--purpose", "x"]);
    // Neither a reload nor a restart enables it.
    house.gateway.reconfigure(|toml| toml.replace("a-owner@example.com", "other@example.com"));
    house.gateway.cli.ok(&["reload"]);
    assert_eq!(a.list().await.status, 401);
    house.gateway = house.gateway.kill_and_restart();
    assert_eq!(over_socket(&house.gateway, "s__echo")["error"]["code"], 1004);
    house.gateway.cli.ok(&["agents", "enable", "a"]);
    let old = Agent::new(&house.gateway.url, a.token());
    assert_eq!(old.list().await.status, 401, "its token stays revoked");
    let fresh = house.gateway.agent("a");
    assert!(fresh.tools().await.is_empty(), "its grants stay ended");
    let token = house.gateway.cli.ok(&["grants", "create", "--agent", "a", "--tools", "s__echo", "--purpose", "again"]);
    assert!(!Agent::new(&house.gateway.url, &token).call("s__echo", &json!({})).await.is_tool_error());
    let admin = house.gateway.records("admin");
    for event in ["agent_disabled", "agent_enabled"] {
        let stages: Vec<&Value> =
            admin.iter().filter(|record| record["event"] == event).map(|record| &record["result"]).collect();
        assert_eq!(stages, ["begun", "done"], "{event}");
    }
}
