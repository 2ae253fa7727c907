//! How agents wait for a person: over HTTP in both eras and over stdio, each as it can; and what becomes of who goes away, and of an answer
//! that reaches nobody.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::Stdio,
    time::Duration,
};

use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Reply, Script, Setup, tool, until};

const CONSOLE: &str = "https://console.example";
const USER: &str = "@id(\"ask-user\") @approval(\"user\") @confirm(\"user\") forbid (principal, action == Bailiwick::Action::\"s__note\", resource)\n\
                    unless { context.call.approvals.contains(\"user\") };\n";

/// A server with a tool that an approver, and one that the agent's user decides; `more` is said of agent `a`, who can be shown pages.
fn house(approvals: &str, more: &str) -> (Gateway, Script) {
    let setup = Setup::new();
    std::fs::write(setup.folder().join("p.cedar"), USER).unwrap();
    let mut declared = tool("declared", &["x"]);
    declared["outputSchema"] = json!({"type": "object", "properties": {"paid": {"type": "boolean"}}, "required": ["paid"]});
    let script =
        Script::new(setup.folder(), "s", &[tool("pay", &["x"]), declared, tool("note", &["x"]), tool("raw", &["result"])]);
    let classes = "tools.pay = { kind = \"write\", band = \"high\" }\ntools.declared = { kind = \"write\", band = \"high\" }\ntools.note = { kind = \"write\", band = \"medium\" }\n\
                   tools.raw = { kind = \"write\", band = \"medium\" }";
    let setup = setup
        .with(&format!(
            "[console]\npublic_url = \"{CONSOLE}\"\n[policy]\nfiles = [\"p.cedar\"]\n[approvals]\nallow_same_user = true\n{approvals}"
        ))
        .connector("s", &script, classes)
        .agent("a")
        .with(more)
        .agent("b")
        .grant("g", "a", &["s__*"], "")
        .grant("h", "b", &["s__*"], "");
    (setup.start(), script)
}

fn open(gateway: &Gateway) -> Vec<Value> {
    let list: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
    list.into_iter().filter(|approval| approval["state"] == "pending").collect()
}

async fn asked(gateway: &Gateway) -> Value {
    until("a person is asked", || open(gateway).first().is_some_and(|approval| approval["waiting"] != 0)).await;
    open(gateway).remove(0)
}

fn approve(gateway: &Gateway, approval: &Value) {
    gateway.cli.ok(&["approvals", "approve", approval["code"].as_str().unwrap(), "--yes"]);
}

fn pending_code(reply: &Reply) -> String {
    let result = reply.result();
    assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(true), None), "{result}");
    result["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// The messages of a stream, one after the other.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn of(agent: &Agent, body: &Value) -> Self {
        Self { response: agent.request().body(body.to_string()).send().await.unwrap(), text: String::new() }
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let message = serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
                self.text = String::from(rest);
                return message;
            }
            let chunk = self.response.chunk().await.unwrap().unwrap_or_else(|| panic!("the stream ended: {}", self.text));
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn call(id: u64, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {"x": "1"}}})
}

async fn answer(agent: &Agent, question: &Value, result: Value) {
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
    assert_eq!(agent.post(&reply.to_string(), &[]).await.status, 202);
}

/// Row 15: what a client is told that waits is fit for a tool that has an output schema.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_a_hold_of_its_own_is_told_at_once() {
    let (gateway, script) = house("hold = \"60s\"", "hold = \"0s\"");
    let pages = json!({"elicitation": {"url": {}, "form": {}}});
    let agent = gateway.agent("a").declaring(&pages.to_string());
    for one in [agent.clone(), agent.session_of("2025-11-25", &pages).await, agent.session_of("2025-06-18", &pages).await] {
        let reply = one.call("s__declared", &json!({"x": "1"})).await;
        let approval = open(&gateway).remove(0);
        assert_eq!(json!(pending_code(&reply)), approval["code"]);
        assert!(reply.words().contains(&format!("{CONSOLE}/a/{}", approval["id"].as_str().unwrap())), "{}", reply.words());
    }
    assert_eq!((open(&gateway).len(), script.calls().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_client_shows_the_page_once_while_its_call_is_held() {
    let (gateway, script) = house("hold = \"4s\"", "");
    let agent = gateway.agent("a").session_of("2025-11-25", &json!({"elicitation": {"url": {}}})).await;
    let mut events = Events::of(&agent, &call(1, "s__pay")).await;
    let question = events.next().await;
    let approval = asked(&gateway).await;
    let page = format!("{CONSOLE}/a/{}", approval["id"].as_str().unwrap());
    assert_eq!((&question["method"], &question["params"]["url"]), (&json!("elicitation/create"), &json!(page)));
    assert_eq!(question["params"]["mode"], "url");
    assert!(question["params"]["elicitationId"].is_string());
    answer(&agent, &question, json!({"action": "accept"})).await;
    // To look at it approves nothing: the call is held to its end.
    let last = events.next().await;
    assert_eq!(last["result"]["_meta"]["dev.bailiwick/approval"]["state"], "pending", "{last}");
    assert_eq!((open(&gateway).len(), script.calls().len()), (1, 0));
    // The same client is not asked to look once more; another one is, and what it shows is taken back when the call goes on.
    let mut again = Events::of(&agent, &call(2, "s__pay")).await;
    let other = gateway.agent("a").session_of("2025-11-25", &json!({"elicitation": {"url": {}}})).await;
    let mut others = Events::of(&other, &call(1, "s__pay")).await;
    let question = others.next().await;
    assert_eq!(question["method"], "elicitation/create");
    approve(&gateway, &approval);
    let taken_back = others.next().await;
    assert_eq!((&taken_back["method"], &taken_back["params"]["requestId"]), (&json!("notifications/cancelled"), &question["id"]));
    let text: String = again.response.text().await.unwrap();
    again.text.push_str(&text);
    assert!(!again.text.contains("elicitation/create"), "{}", again.text);
    until("it ran once", || script.calls().len() == 1).await;
}

async fn leg(agent: &Agent, more: &str) -> Reply {
    agent.ask("tools/call", &format!(r#""name":"s__pay","arguments":{{"x":"1"}}{more}"#)).await
}

async fn user_leg(agent: &Agent, more: &str) -> Reply {
    agent.ask("tools/call", &format!(r#""name":"s__note","arguments":{{"x":"9"}}{more}"#)).await
}

fn brought(state: &Value) -> String {
    format!(r#","requestState":{state},"inputResponses":{{"approval":{{"action":"accept"}}}}"#)
}

/// Rows 7 and 9: what an agent waits with is its own, and outlives the gateway's process.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_client_comes_back_with_what_it_was_given() {
    let (gateway, script) = house("hold = \"200ms\"", "");
    let declares = r#"{"elicitation":{"url":{}}}"#;
    let agent = gateway.agent("a").declaring(declares);
    let first = leg(&agent, "").await.result();
    assert_eq!(first["resultType"], "input_required", "{first}");
    assert_eq!(first["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "bailiwick");
    let approval = open(&gateway).remove(0);
    let page = format!("{CONSOLE}/a/{}", approval["id"].as_str().unwrap());
    assert_eq!(first["inputRequests"]["approval"]["params"]["url"], json!(page));
    let second = leg(&agent, &brought(&first["requestState"])).await.result();
    assert_ne!(first["requestState"], second["requestState"]);
    // Another agent's, and nobody's.
    let stranger = leg(&gateway.agent("b").declaring(declares), &brought(&second["requestState"])).await;
    assert_eq!(stranger.error_code(), -32602, "{}", stranger.text);
    assert_eq!(leg(&agent, &brought(&json!("wait.AAAA"))).await.error_code(), -32602);
    // Who declares nothing is given nothing.
    pending_code(&leg(&gateway.agent("a"), "").await);
    let gateway = gateway.kill_and_restart();
    let agent = gateway.agent("a").declaring(declares);
    let third = leg(&agent, &brought(&second["requestState"])).await.result();
    assert_eq!(third["resultType"], "input_required", "{third}");
    approve(&gateway, &approval);
    let done = leg(&agent, &brought(&third["requestState"])).await;
    assert_eq!((done.words(), script.calls().len()), (r#"{"x":"1"}"#.to_owned(), 1));
    let over = leg(&agent, &brought(&third["requestState"])).await;
    assert!(over.words().starts_with("DENIED: nobody decided"), "{}", over.text);
    assert_eq!((open(&gateway).len(), script.calls().len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_leaves_to_the_agents_user_is_asked_at_its_client() {
    let (gateway, script) = house("hold = \"30s\"", "");
    let forms = json!({"elicitation": {}});
    let older = gateway.agent("a").session_of("2025-06-18", &forms).await;
    for (says, ran) in [(json!({"approve": false}), 0), (json!({"approve": true}), 1)] {
        let mut body = call(1, "s__note");
        body["params"]["arguments"]["x"] = json!(format!("{ran}"));
        let mut events = Events::of(&older, &body).await;
        let question = events.next().await;
        let code = open(&gateway).remove(0)["code"].clone();
        let words = question["params"]["message"].as_str().unwrap();
        assert!(words.contains("s__note") && words.contains(&format!(r#"{{"x":"{ran}"}}"#)), "{words}");
        let mut content = says;
        content["code"] = code;
        answer(&older, &question, json!({"action": "accept", "content": content})).await;
        let last = events.next().await;
        assert_eq!(last["result"]["isError"].as_bool().unwrap_or(false), ran == 0, "{last}");
        assert_eq!(script.calls().len(), ran);
    }
    // In the newest version as well.
    let agent = gateway.agent("a").declaring(&forms.to_string());
    let first = user_leg(&agent, "").await.result();
    let code = open(&gateway).remove(0)["code"].clone();
    let word = json!({"approval": {"action": "accept", "content": {"approve": true, "code": code}}});
    let done = user_leg(&agent, &format!(r#","requestState":{},"inputResponses":{word}"#, first["requestState"])).await;
    assert_eq!((done.words(), script.calls().len()), (r#"{"x":"9"}"#.to_owned(), 2));
    gateway.cli.ok(&["audit", "verify"]);
}

/// Row 10: whoever gives up leaves the question; the identical call of another session takes it up, and nobody is asked twice.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_leaves_the_question_to_the_identical_call() {
    let (gateway, script) = house("hold = \"60s\"", "");
    let agent = gateway.agent("a");
    let waits = |count: usize| {
        let open = open(&gateway);
        open.len() == 1 && open[0]["waiting"] == count
    };
    // A client that is tired says so.
    let session = agent.session("2025-11-25").await;
    let tired = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call(7, "s__pay").to_string(), &[]).await }
    });
    let approval = asked(&gateway).await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"Request timed out after 60000 ms"}}"#;
    assert_eq!(session.post(note, &[]).await.status, 202);
    assert_eq!(tired.await.unwrap().status, 202);
    until("nobody waits", || waits(0)).await;
    // One that hangs up says nothing.
    let hasty = tokio::spawn({
        let agent = agent.clone();
        async move { agent.call("s__pay", &json!({"x": "1"})).await }
    });
    until("somebody waits", || waits(1)).await;
    hasty.abort();
    assert!(hasty.await.is_err());
    until("nobody waits", || waits(0)).await;
    // A bridge that is killed.
    let token = gateway.folder().join("token");
    std::fs::write(&token, agent.token()).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut bridge = gateway.cli.command(&["stdio", "--grant-file", token.to_str().unwrap()]);
    let mut bridge = bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut modern = call(1, "s__pay");
    modern["params"]["_meta"] =
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    writeln!(bridge.stdin.as_mut().unwrap(), "{modern}").unwrap();
    until("somebody waits", || waits(1)).await;
    bridge.kill().unwrap();
    bridge.wait().unwrap();
    until("nobody waits", || waits(0)).await;
    // A new session, and a new process.
    let fresh = tokio::spawn({
        let session = agent.session("2025-06-18").await;
        async move { session.call("s__pay", &json!({"x": "1"})).await }
    });
    until("somebody waits", || waits(1)).await;
    assert_eq!(open(&gateway)[0]["code"], approval["code"]);
    approve(&gateway, &approval);
    assert_eq!(fresh.await.unwrap().words(), r#"{"x":"1"}"#);
    assert_eq!(script.calls().len(), 1);
    let outcomes: Vec<Value> = gateway.records("calls").into_iter().filter(|record| record["event"] == "outcome").collect();
    let ended =
        |word: &str| outcomes.iter().filter(|record| record["outcome"] == word && record["method"] == "tools/call").count();
    assert_eq!((ended("cancelled"), ended("success")), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_set_to_takes_its_question_back() {
    let (gateway, script) = house("hold = \"60s\"", "on_cancel = \"withdraw\"");
    for (id, is_taken_back) in [("b", false), ("a", true)] {
        let agent = gateway.agent(id);
        let call = tokio::spawn(async move { agent.call("s__pay", &json!({"x": "1"})).await });
        let mine = || open(&gateway).into_iter().find(|approval| approval["agent"] == id);
        until("somebody waits", || mine().is_some_and(|approval| approval["waiting"] == 1)).await;
        call.abort();
        assert!(call.await.is_err());
        if is_taken_back {
            until("it is taken back", || mine().is_none()).await;
        } else {
            until("nobody waits", || mine().is_some_and(|approval| approval["waiting"] == 0)).await;
        }
    }
    assert!(script.calls().is_empty());
    let all: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--all", "--json"])).unwrap();
    assert!(all.iter().any(|approval| approval["agent"] == "a" && approval["state"] == "withdrawn"), "{all:?}");
}

/// A bridge waits as its client does.
#[tokio::test(flavor = "multi_thread")]
async fn on_stdio_a_client_is_told_and_goes_on() {
    let (gateway, script) = house("hold = \"60s\"", "");
    let token = gateway.folder().join("token");
    std::fs::write(&token, gateway.agent("a").token()).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut bridge = gateway.cli.command(&["stdio", "--grant-file", token.to_str().unwrap()]);
    let mut bridge = bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut to, mut from) = (bridge.stdin.take().unwrap(), BufReader::new(bridge.stdout.take().unwrap()).lines());
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"url": {}}}, "clientInfo": {"name": "t", "version": "1"},
    }});
    let mut held = call(1, "s__pay");
    held["params"]["_meta"] = json!({"progressToken": "w"});
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    writeln!(to, "{hello}\n{ready}\n{held}").unwrap();
    let mut next = || serde_json::from_str::<Value>(&from.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["id"], 0);
    let both = [next(), next()];
    let question = both.iter().find(|message| message["method"] == "elicitation/create").unwrap_or_else(|| panic!("{both:?}"));
    let progress =
        both.iter().find(|message| message["method"] == "notifications/progress").unwrap_or_else(|| panic!("{both:?}"));
    assert!(progress["params"]["message"].as_str().unwrap().ends_with(" min left"), "{progress}");
    assert!(question["params"]["url"].as_str().unwrap().starts_with(CONSOLE));
    writeln!(to, "{}", json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})).unwrap();
    let approval = asked(&gateway).await;
    approve(&gateway, &approval);
    let answer = loop {
        let message = next();
        if message["id"] == 1 {
            break message;
        }
    };
    assert_eq!((&answer["result"]["content"][0]["text"], script.calls().len()), (&json!(r#"{"x":"1"}"#), 1));
    // It was heard: the same once more is another question.
    held["id"] = json!(2);
    writeln!(to, "{held}").unwrap();
    let again = next();
    assert!(again["method"].is_string(), "{again}");
    bridge.kill().unwrap();
    bridge.wait().unwrap();
}

/// An answer that its agent never read: the identical call is answered with it, once, and nothing is done anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_reaches_nobody_answers_the_identical_call() {
    let (gateway, script) = house("", "");
    let agent = gateway.agent("a");
    // What is read is meant anew each time, over each carrier.
    let session = agent.session_of("2025-11-25", &json!({"elicitation": {}})).await;
    for (at, one) in [&agent, &agent, &session, &session].into_iter().enumerate() {
        one.call("s__raw", &json!({"result": r#"{"content":[]}"#})).await.result();
        assert_eq!(script.calls().len(), at + 1);
    }
    let large = json!({"content": [{"type": "text", "text": "x".repeat(900_000)}]}).to_string();
    let arguments = json!({"result": large});
    let mut body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "s__raw", "arguments": arguments}});
    body["params"]["_meta"] =
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let body = body.to_string();
    // On the agent socket as little waits for its reader as anywhere.
    let mut stream = UnixStream::connect(gateway.cli.data().join("agent.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: agent\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: s__raw\r\n\
         content-length: {}\r\n\r\n",
        agent.token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut begins = [0; 1024];
    assert!(
        stream.read(&mut begins).unwrap() > 12 && begins.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&begins)
    );
    drop(stream);
    let outcomes = || {
        let all: Vec<Value> = gateway.records("calls").into_iter().filter(|one| one["event"] == "outcome").collect();
        all.into_iter().filter(|one| one["tool"] == "s__raw").collect::<Vec<_>>()
    };
    // The connection's end is seen a moment later.
    until("the gateway sees that nobody read it", || gateway.stderr().contains("kept for the identical call")).await;
    let again = agent.call("s__raw", &arguments).await;
    assert_eq!((again.words().len(), script.calls().len()), (900_000, 5));
    let told = outcomes();
    assert_eq!((&told[4]["outcome"], &told[5]["outcome_of"]), (&json!("success"), &told[4]["call_id"]));
    // Once: then it is meant anew.
    assert_eq!((agent.call("s__raw", &arguments).await.words().len(), script.calls().len()), (900_000, 6));
    gateway.cli.ok(&["audit", "verify"]);
}
