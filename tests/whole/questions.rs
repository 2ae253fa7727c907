//! What servers ask of agents while they work on a call, between all versions and over both carriers.

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, tool, until};

const CLASSES: &str = "tools.wonders = { kind = \"read\", band = \"low\" }\ntools.echo = { kind = \"read\", band = \"low\" }\n\
    tools.pay = { kind = \"write\", band = \"high\" }\n\
    features.elicitation = { kind = \"read\", band = \"low\" }\nfeatures.sampling = { kind = \"read\", band = \"low\" }\n\
    features.roots = { kind = \"read\", band = \"low\" }\nelicitation_hosts = [\"pages.example\"]\n";

const ALL: [&str; 4] = ["s__*", "s/elicitation", "s/sampling", "s/roots"];

/// A server of this era over this carrier, and an agent with this grant.
fn start(is_modern: bool, is_http: bool, granted: &[&str]) -> (Gateway, Script, Option<HttpServer>) {
    start_with("", is_modern, is_http, granted)
}

fn start_with(server: &str, is_modern: bool, is_http: bool, granted: &[&str]) -> (Gateway, Script, Option<HttpServer>) {
    let setup = Setup::new().with(server);
    let setup = setup.agent("a").agent("b");
    let tools = [tool("wonders", &["questions"]), tool("echo", &["x"]), tool("wonders_pay", &["questions"])];
    let script = Script::new(setup.folder(), "s", &tools);
    script.offer_with(&tools, &json!({"era": if is_modern { "modern" } else { "legacy" }}));
    let http = is_http.then(|| script.serve_http());
    let classes = CLASSES.replace("tools.pay", "tools.wonders_pay");
    let setup = match &http {
        Some(server) => setup.http_connector("s", &server.url, &classes),
        None => setup.connector("s", &script, &classes),
    };
    let gateway = setup.grant("g", "a", granted, "").grant("h", "b", granted, "").start();
    (gateway, script, http)
}

fn capabilities() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

/// An agent in each version, which can be asked everything.
async fn versions(gateway: &Gateway) -> [Agent; 3] {
    let agent = gateway.agent("a");
    let older = [agent.session_of("2025-06-18", &capabilities()).await, agent.session_of("2025-11-25", &capabilities()).await];
    let [first, second] = older;
    [agent, first, second]
}

fn form(message: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]});
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

fn sampling() -> Value {
    let messages = json!([{"role": "user", "content": {"type": "text", "text": "what now?"}}]);
    let more = json!({"messages": messages, "maxTokens": 10, "includeContext": "allServers", "tools": [{"name": "x"}], "systemPrompt": "obey"});
    json!({"method": "sampling/createMessage", "params": more})
}

fn accepted(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

/// A call, with what was asked on its way.
struct Called {
    asked: Vec<Value>,
    answer: Value,
}

impl Called {
    fn told(&self) -> Value {
        let text = self.answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{}", self.answer));
        serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
    }
}

/// Calls a tool, and answers what is asked by `answer`: as each version does it.
async fn call(agent: &Agent, tool: &str, questions: &[Value], answer: &(dyn Fn(&Value) -> Value + Sync)) -> Called {
    let arguments = json!({"questions": json!(questions).to_string()});
    if agent.session_id().is_some() {
        in_session(agent, tool, &arguments, answer).await
    } else {
        alone(agent, tool, &arguments, answer).await
    }
}

async fn alone(agent: &Agent, tool: &str, arguments: &Value, answer: &(dyn Fn(&Value) -> Value + Sync)) -> Called {
    let (mut asked, mut more) = (Vec::new(), String::new());
    loop {
        let reply = modern(agent, tool, arguments, &more).await;
        let result = reply.json()["result"].clone();
        if result["resultType"] != "input_required" {
            return Called { asked, answer: reply.json() };
        }
        let requests = result["inputRequests"].as_object().unwrap();
        let answers: serde_json::Map<String, Value> =
            requests.iter().map(|(key, request)| (key.clone(), answer(request))).collect();
        asked.extend(requests.values().cloned());
        more = format!(r#","requestState":{},"inputResponses":{}"#, result["requestState"], Value::Object(answers));
    }
}

/// One request of 2026-07-28.
async fn modern(agent: &Agent, tool: &str, arguments: &Value, more: &str) -> Reply {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": capabilities()});
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{meta}{more}}}}}"#
    );
    agent.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)]).await
}

async fn in_session(agent: &Agent, tool: &str, arguments: &Value, answer: &(dyn Fn(&Value) -> Value + Sync)) -> Called {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let mut response = agent.request().body(body.to_string()).send().await.unwrap();
    if response.headers()["content-type"] == "application/json" {
        return Called { asked: Vec::new(), answer: serde_json::from_str(&response.text().await.unwrap()).unwrap() };
    }
    let (mut text, mut asked) = (String::new(), Vec::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let message: Value = serde_json::from_str(event.strip_prefix("event: message\ndata: ").unwrap()).unwrap();
            text = rest.to_owned();
            if message["method"].is_null() {
                return Called { asked, answer: message };
            }
            let mut reply = json!({"jsonrpc": "2.0", "id": message["id"]});
            let said = answer(&message);
            let member = if said["code"].is_null() { "result" } else { "error" };
            reply[member] = said;
            let taken = agent.post(&reply.to_string(), &[]).await;
            assert_eq!((taken.status, taken.text.as_str()), (202, ""), "{message}");
            asked.push(message);
        }
    }
    panic!("the stream ended: {text}");
}

fn is_refused(reply: &Reply) -> bool {
    reply.json()["error"].is_object() || reply.is_tool_error()
}

fn outcomes(gateway: &Gateway) -> Vec<String> {
    let records = gateway.records("calls");
    let calls = records.iter().filter(|record| record["event"] == "outcome" && record["method"] == "tools/call");
    calls.map(|record| record["outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_cross_all_versions_and_their_answers_walk_the_gates() {
    for (is_modern, is_http) in [(false, false), (true, false), (false, true), (true, true)] {
        let (gateway, script, _http) = start(is_modern, is_http, &ALL);
        for agent in versions(&gateway).await {
            let cell = format!("modern {is_modern}, http {is_http}, agent {:?}", agent.session_id().is_some());
            let before = outcomes(&gateway).len();
            let called = call(&agent, "s__wonders", &[form("who?")], &|_| accepted("ada")).await;
            assert_eq!(called.told(), json!([accepted("ada")]), "{cell}");
            let asked = &called.asked[0];
            assert_eq!(
                (asked["method"].as_str(), &asked["params"]["message"]),
                (Some("elicitation/create"), &json!("[s] who?")),
                "{cell}"
            );
            // The question and its answer are each a call on record.
            assert_eq!(outcomes(&gateway)[before..], ["input_required", "success"], "{cell}");
            let called = call(&agent, "s__wonders", &[form("who?")], &|_| json!({"action": "decline"})).await;
            assert_eq!(called.told(), json!([{"action": "decline"}]), "{cell}");
            // Several at once, of all kinds.
            let questions = [form("who?"), sampling(), json!({"method": "roots/list"})];
            let model = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "this"}});
            let roots = json!({"roots": [{"uri": "file:///w", "name": "w"}]});
            let called = call(&agent, "s__wonders", &questions, &|request| match request["method"].as_str().unwrap() {
                "elicitation/create" => accepted("bob"),
                "sampling/createMessage" => {
                    assert_eq!(request["params"]["messages"][0]["content"]["text"], "what now?");
                    assert_eq!(request["params"]["systemPrompt"], "[s] obey");
                    assert_eq!(request["params"].as_object().unwrap().len(), 3, "of no other server: {request}");
                    model.clone()
                }
                _ => roots.clone(),
            })
            .await;
            assert_eq!(called.told(), json!([accepted("bob"), model, roots]), "{cell}");
        }
        if !is_modern {
            // A session says what may be asked in it, and one for looking at definitions that nothing may be.
            let hello = |line: &String| line.contains(r#""method":"initialize""#);
            let declared: Vec<Value> = script
                .received()
                .iter()
                .filter(|line| hello(line))
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["params"]["capabilities"].clone())
                .collect();
            assert!(declared.contains(&json!({})) && declared.contains(&capabilities()), "{declared:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_or_not_declared_or_secretive_is_not_asked() {
    for (is_modern, is_http) in [(false, false), (true, false), (false, true)] {
        let (gateway, script, _http) = start(is_modern, is_http, &["s__*", "s/elicitation"]);
        let nobody = |request: &Value| -> Value { panic!("asked: {request}") };
        for agent in versions(&gateway).await {
            let refused = [
                sampling(),
                json!({"method": "roots/list"}),
                form("your password?"),
                json!({"method": "tools/call", "params": {"name": "s__echo"}}),
            ];
            for question in refused {
                let called = call(&agent, "s__wonders", std::slice::from_ref(&question), &nobody).await;
                if is_modern {
                    // A result that asks what it may not is none.
                    assert_eq!(called.answer["result"]["isError"], true, "{question}: {}", called.answer);
                } else {
                    // The server hears that it is refused, and the call goes on.
                    assert!(called.told()[0]["code"].is_number(), "{question}: {}", called.answer);
                }
            }
        }
        // Who has not said that it can be asked is not.
        let agent = gateway.agent("a");
        for agent in [agent.clone(), agent.session("2025-11-25").await] {
            let reply = agent.call("s__wonders", &json!({"questions": json!([form("who?")]).to_string()})).await;
            assert!(!reply.is_stream() && !reply.text.contains("who?"), "{}", reply.text);
        }
        assert!(!script.received().iter().any(|line| line.contains("\"ada\"")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_taken_once_from_who_was_asked_and_nobody_else() {
    let (gateway, script, _http) = start(false, false, &ALL);
    let agent = gateway.agent("a");
    // In a session: nothing is asked under other ids, nor in other sessions.
    let session = agent.session_of("2025-11-25", &capabilities()).await;
    let (other, stranger) =
        (agent.session_of("2025-11-25", &capabilities()).await, gateway.agent("b").session("2025-11-25").await);
    let (answer_to, ids) = tokio::sync::mpsc::unbounded_channel::<String>();
    let mut ids = ids;
    let call_it = {
        let session = session.clone();
        tokio::spawn(async move {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "s__wonders", "arguments": {"questions": json!([form("who?")]).to_string()}}});
            let mut response = session.request().body(body.to_string()).send().await.unwrap();
            let mut text = String::new();
            while let Some(chunk) = response.chunk().await.unwrap() {
                text.push_str(std::str::from_utf8(&chunk).unwrap());
                if text.matches("\n\n").count() == 1 {
                    let message: Value =
                        serde_json::from_str(text.trim().strip_prefix("event: message\ndata: ").unwrap()).unwrap();
                    answer_to.send(message["id"].to_string()).unwrap();
                }
            }
            text
        })
    };
    let id = ids.recv().await.unwrap();
    let reply = |id: &str, name: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, accepted(name));
    for (from, id) in [(&other, id.as_str()), (&stranger, id.as_str()), (&session, "\"bailiwick-0\""), (&session, "1")] {
        let refused = from.post(&reply(id, "mallory"), &[]).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
    }
    let nowhere = agent.post(&reply(&id, "mallory"), &[]).await;
    assert_eq!(nowhere.status, 400, "no session, no answer");
    assert_eq!(session.post(&reply(&id, "ada"), &[]).await.status, 202);
    assert_eq!(session.post(&reply(&id, "oscar"), &[]).await.status, 400, "once");
    let text = call_it.await.unwrap();
    assert!(text.contains("ada") && !text.contains("mallory") && !text.contains("oscar"), "{text}");
    // Where each request stands alone: the handle is good for this agent and this call alone.
    let asked = modern(&agent, "s__wonders", &json!({"questions": json!([form("who?")]).to_string()}), "").await.result();
    let state = asked["requestState"].clone();
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let more = |name: &str| format!(r#","requestState":{state},"inputResponses":{{"{key}":{}}}"#, accepted(name));
    let arguments = json!({"questions": json!([form("who?")]).to_string()});
    assert!(is_refused(&modern(&gateway.agent("b"), "s__wonders", &arguments, &more("mallory")).await));
    assert!(is_refused(&modern(&agent, "s__wonders", &json!({"questions": "[]"}), &more("mallory")).await));
    assert!(is_refused(&modern(&agent, "s__wonders", &arguments, &more("much too long")).await), "not what was asked for");
    assert!(modern(&agent, "s__wonders", &arguments, &more("ada")).await.words().contains("ada"));
    assert!(is_refused(&modern(&agent, "s__wonders", &arguments, &more("ada")).await), "once");
    assert!(!script.received().iter().any(|line| line.contains("mallory") || line.contains("much too long")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_an_answer_ends_with_its_grant_its_client_and_its_turn() {
    let (gateway, script, _http) = start(false, false, &ALL);
    let agent = gateway.agent("a");
    let arguments = |n: u32| json!({"questions": json!([form(&format!("who {n}?"))]).to_string()});
    let is_called_off =
        |script: &Script| script.received().iter().filter(|line| line.contains("notifications/cancelled")).count();
    // Asked the same again, the server is told that the first is over.
    for _ in 0..2 {
        assert_eq!(modern(&agent, "s__wonders", &arguments(1), "").await.result()["resultType"], "input_required");
    }
    until("the first is called off", || is_called_off(&script) == 1).await;
    let asked = modern(&agent, "s__wonders", &arguments(1), "").await.result();
    until("the second is called off", || is_called_off(&script) == 2).await;
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap();
    let more = format!(r#","requestState":{},"inputResponses":{{"{key}":{{"action":"cancel"}}}}"#, asked["requestState"]);
    assert!(modern(&agent, "s__wonders", &arguments(1), &more).await.words().contains("cancel"));
    // A client that goes away.
    let session = agent.session_of("2025-11-25", &capabilities()).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "s__echo", "arguments": {"x": "1"}}});
    assert!(session.post(&body.to_string(), &[]).await.text.contains('1'));
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "s__wonders", "arguments": arguments(2)}});
    let mut response = session.request().body(body.to_string()).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some_and(|chunk| String::from_utf8_lossy(&chunk).contains("who 2?")));
    drop(response);
    until("the third is called off", || is_called_off(&script) == 3).await;
    // The end of the grant.
    assert_eq!(modern(&agent, "s__wonders", &arguments(3), "").await.result()["resultType"], "input_required");
    gateway.cli.ok(&["grants", "revoke", "g", "--reason", "test"]);
    let asked_of = |n: u32| script.received().iter().filter(|line| line.contains(&format!("who {n}?"))).count();
    assert_eq!(asked_of(3), 1);
    until("its server is gone", || gateway.connector("s")["children"].as_array().is_none_or(Vec::is_empty)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_approved_is_asked_nothing_more() {
    for (is_modern, is_http) in [(false, false), (true, false), (false, true)] {
        let (gateway, _script, _http) = start(is_modern, is_http, &ALL);
        let nobody = |request: &Value| -> Value { panic!("asked: {request}") };
        for agent in versions(&gateway).await {
            let decide = async {
                let mut code = String::new();
                until("it waits", || {
                    let listed = gateway.cli.ok(&["approvals", "list", "--json"]);
                    let list: Value = serde_json::from_str(&listed).unwrap_or_default();
                    let pending = list.as_array().and_then(|all| all.iter().find(|one| one["state"] == "pending").cloned());
                    code = pending.and_then(|one| one["code"].as_str().map(str::to_owned)).unwrap_or_default();
                    !code.is_empty()
                })
                .await;
                gateway.cli.ok(&["approvals", "approve", &code]);
            };
            let asks = [form("who?")];
            let (called, ()) = tokio::join!(call(&agent, "s__wonders_pay", &asks, &nobody), decide);
            let answer = called.answer.to_string();
            if is_modern {
                assert_eq!(called.answer["result"]["isError"], true, "{answer}");
            } else {
                assert!(called.told()[0]["code"].is_number(), "{answer}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_can_answer_while_its_calls_take_all_its_places() {
    let (gateway, _script, _http) = start_with("max_calls_per_agent = 1", false, false, &ALL);
    let session = gateway.agent("a").session_of("2025-11-25", &capabilities()).await;
    let called = call(&session, "s__wonders", &[form("who?"), form("who else?")], &|_| accepted("ada")).await;
    assert_eq!(called.told(), json!([accepted("ada"), accepted("ada")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_lists_to_one_who_can_be_asked_is_nobody_elses_news() {
    let (gateway, script, _http) = start(false, false, &ALL);
    let mut other = tool("echo", &["x"]);
    other["description"] = json!("another one");
    script.offer_with(
        &[tool("wonders", &["questions"]), tool("echo", &["x"]), tool("wonders_pay", &["questions"])],
        &json!({"tools_for_askable": [tool("wonders", &["questions"]), other]}),
    );
    let (agent, plain) = (gateway.agent("a"), gateway.agent("b"));
    assert!(plain.call("s__echo", &json!({"x": "1"})).await.words().contains('1'));
    let refused = modern(&agent, "s__echo", &json!({"x": "1"}), "").await;
    assert!(is_refused(&refused), "it is another one: {}", refused.text);
    // Who can be asked nothing has what was pinned, as before.
    assert!(plain.call("s__echo", &json!({"x": "2"})).await.words().contains('2'));
    assert_eq!(plain.tools().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_ends_its_questions() {
    let (gateway, _script, _http) = start(true, false, &ALL);
    let session = gateway.agent("a").session_of("2025-11-25", &capabilities()).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "s__wonders", "arguments": {"questions": json!([form("who?")]).to_string()}}});
    let mut response = session.request().body(body.to_string()).send().await.unwrap();
    let mut text = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(text.contains("who?"), "{text}");
    let ended = reqwest::Client::builder().no_proxy().build().unwrap().delete(session.url()).bearer_auth(session.token());
    assert_eq!(ended.header("mcp-session-id", session.session_id().unwrap()).send().await.unwrap().status(), 204);
    // At once, and not when nobody answered for nine minutes.
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.ends_with("\n\n"), "{text}");
}
