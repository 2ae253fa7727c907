//! What agents hear of without asking each time: resources that they subscribed to, and that their lists changed.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, tool, until};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const UPDATED: &str = "notifications/resources/updated";
const LOW: &str = "features.resource_read = { kind = \"read\", band = \"low\" }\nfeatures.prompt_get = { kind = \"read\", band = \"low\" }\n\
                   tools.announce = { kind = \"read\", band = \"low\" }\ntools.hangup = { kind = \"read\", band = \"low\" }\n\
                   tools.crash = { kind = \"read\", band = \"low\" }\ntools.extra = { kind = \"read\", band = \"low\" }\n\
                   tools.forget = { kind = \"read\", band = \"low\" }";
const ALL: [&str; 3] = ["docs__*", "docs/resource_read", "docs/prompt_get"];
/// Long enough for any machine; whatever is expected comes much sooner.
const LONG: Duration = Duration::from_mins(1);

fn tools() -> Vec<Value> {
    vec![tool("announce", &["method", "params"]), tool("hangup", &[]), tool("crash", &[]), tool("extra", &[])]
}

fn offer(script: &Script, tools: &[Value], is_modern: bool, more: &Value) {
    let kind = if is_modern { r#""resultType":"complete","# } else { "" };
    let result = |members: &str| json!(format!(r#""result":{{{kind}{members}}}"#));
    let mut offered = json!({
        "era": if is_modern { "modern" } else { "legacy" },
        "stream": true,
        "deaf_to": ["docs:/deaf"],
        "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true}, "prompts": {"listChanged": true}},
        "answers": {
            "resources/list": result(r#""resources":[{"uri":"docs:/a","name":"a"}]"#),
            "resources/templates/list": result(r#""resourceTemplates":[]"#),
            "prompts/list": result(r#""prompts":[{"name":"greet"}]"#),
            "resources/read": result(r#""contents":[{"uri":"docs:/a","text":"a"}]"#),
            "resources/subscribe docs:/deaf": json!(r#""error":{"code":-32002,"message":"no such resource","data":{"uri":"docs:/deaf"}}"#),
            "resources/subscribe": result(""),
            "resources/unsubscribe": result(""),
        },
    });
    offered.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    script.offer_with(tools, &offered);
}

/// The server `docs`, over this carrier and in this era.
fn docs(setup: Setup, is_modern: bool, is_http: bool, more: &str) -> (Setup, Script, Option<HttpServer>) {
    let script = Script::new(setup.folder(), "docs", &[]);
    offer(&script, &tools(), is_modern, &json!({}));
    let http = is_http.then(|| script.serve_http());
    let more = format!("{LOW}\n{more}");
    let setup = match &http {
        Some(server) => setup.http_connector("docs", &server.url, &more),
        None => setup.connector("docs", &script, &more),
    };
    (setup, script, http)
}

/// The usual: agent `a` with all of `docs`.
fn start(is_modern: bool, is_http: bool) -> (Gateway, Script, Option<HttpServer>) {
    let (setup, script, http) = docs(Setup::new().agent("a"), is_modern, is_http, "");
    (setup.grant("g", "a", &ALL, "").start(), script, http)
}

async fn announce(agent: &Agent, method: &str, params: &Value) {
    let reply = agent.call("docs__announce", &json!({"method": method, "params": params.to_string()})).await;
    assert_eq!(reply.words(), "announced", "{}", reply.text);
}

async fn updated(agent: &Agent, uri: &str) {
    announce(agent, UPDATED, &json!({ "uri": uri })).await;
}

/// A stream that stays open.
pub(super) struct Stream {
    response: reqwest::Response,
    unread: String,
}

impl Stream {
    /// The stream of a session.
    pub(super) async fn of_session(agent: &Agent) -> Self {
        let response = get(agent).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, unread: String::new() };
        // It has begun once it says so.
        stream.until(": open\n\n").await;
        stream
    }

    /// That of a request that listens, and what it was agreed to.
    pub(super) async fn listening(agent: &Agent, id: &str, filter: &Value) -> (Self, Value) {
        let response = listen(agent, id, filter).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, unread: String::new() };
        let first = stream.next().await.unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["_meta"][SUBSCRIPTION].to_string(), id);
        (stream, first["params"]["notifications"].clone())
    }

    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some((before, after)) = self.unread.split_once(end) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.unread = after;
                return Some(before);
            }
            let chunk = tokio::time::timeout(LONG, self.response.chunk()).await.expect("something in a minute").ok()??;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next message; none once it has ended.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            let event = self.until("\n\n").await?;
            if let Some(data) = event.strip_prefix("event: message\ndata: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
            assert!(event.starts_with(':'), "{event}");
        }
    }

    pub(super) async fn expect(&mut self, message: &Value) {
        assert_eq!(self.next().await.as_ref(), Some(message));
    }
}

async fn get(agent: &Agent) -> reqwest::Response {
    let mut request = agent.request().build().unwrap();
    *request.method_mut() = reqwest::Method::GET;
    reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap()
}

fn listen(agent: &Agent, id: &str, filter: &Value) -> reqwest::RequestBuilder {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"notifications":{filter},{}}}}}"#,
        Agent::meta()
    );
    agent.request().header("mcp-protocol-version", "2026-07-28").header("mcp-method", "subscriptions/listen").body(body)
}

async fn subscribe(agent: &Agent, uri: &str) -> Reply {
    agent.ask("resources/subscribe", &format!(r#""uri":"{uri}""#)).await
}

fn update(uri: &str, id: Option<&str>) -> Value {
    let mut params = json!({ "uri": uri });
    if let Some(id) = id {
        params["_meta"] = json!({SUBSCRIPTION: serde_json::from_str::<Value>(id).unwrap()});
    }
    json!({"jsonrpc": "2.0", "method": UPDATED, "params": params})
}

pub(super) fn changed(list: &str, id: Option<&str>) -> Value {
    let mut message = json!({"jsonrpc": "2.0", "method": format!("notifications/{list}/list_changed")});
    if let Some(id) = id {
        message["params"] = json!({"_meta": {SUBSCRIPTION: serde_json::from_str::<Value>(id).unwrap()}});
    }
    message
}

fn asked(script: &Script, method: &str) -> usize {
    script.received().iter().filter(|line| line.contains(&format!("\"method\":\"{method}\""))).count()
}

/// The outcomes on record of a method.
fn outcomes(gateway: &Gateway, method: &str) -> Vec<Value> {
    let calls = gateway.records("calls");
    calls.into_iter().filter(|record| record["event"] == "outcome" && record["method"] == method).collect()
}

const CELLS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_of_what_it_subscribed_to_and_of_nothing_else() {
    for (is_modern, is_http) in CELLS {
        let (gateway, script, _http) = start(is_modern, is_http);
        let newest = gateway.agent("a");
        for version in ["2025-06-18", "2025-11-25"] {
            let agent = newest.session(version).await;
            let mut stream = Stream::of_session(&agent).await;
            let reply = subscribe(&agent, "docs+docs:/a").await;
            assert_eq!(reply.text, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#, "{is_modern} {is_http}");
            // Another resource, one whose name only begins so, and a part of it.
            for uri in ["docs:/b", "docs:/ab", "docs:/a/part"] {
                updated(&newest, uri).await;
            }
            stream.expect(&update("docs+docs:/a/part", None)).await;
            updated(&newest, "docs:/a").await;
            stream.expect(&update("docs+docs:/a", None)).await;
            assert_eq!(agent.ask("resources/unsubscribe", r#""uri":"docs+docs:/a""#).await.result(), json!({}));
            updated(&newest, "docs:/a").await;
            announce(&newest, "notifications/prompts/list_changed", &Value::Null).await;
            stream.expect(&changed("prompts", None)).await;
        }
        // By its own name the server knows it, and hears when nobody watches any more.
        let method = if is_modern { "subscriptions/listen" } else { "resources/unsubscribe" };
        until("it is called off", || asked(&script, method) >= 2).await;
        assert!(!script.received().concat().contains("docs+docs"));
        if !is_modern {
            assert_eq!((asked(&script, "resources/subscribe"), asked(&script, "resources/unsubscribe")), (2, 2));
        }
        let on_record = outcomes(&gateway, "resources/subscribe");
        assert_eq!(on_record.len(), 2);
        assert_eq!((&on_record[0]["outcome"], &on_record[0]["tool"]), (&json!("success"), &json!("docs/resource_read")));
        assert_eq!(outcomes(&gateway, "resources/unsubscribe").len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_hears_first_what_is_honoured_and_each_message_names_the_request() {
    for (is_modern, is_http) in CELLS {
        let (gateway, _script, _http) = start(is_modern, is_http);
        let agent = gateway.agent("a");
        let filter = json!({
            "toolsListChanged": true, "promptsListChanged": true,
            "resourceSubscriptions": ["docs+docs:/a", "docs+docs:/deaf", "nobody+docs:/a", "docs:/a", "docs+docs:/b"],
        });
        let (mut stream, honoured) = Stream::listening(&agent, "17", &filter).await;
        let expected = json!({
            "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["docs+docs:/a", "docs+docs:/b"],
        });
        assert_eq!(honoured, expected, "{is_modern} {is_http}");
        let (mut other, honoured) = Stream::listening(&agent, r#""o\"1""#, &json!({"resourcesListChanged": true})).await;
        assert_eq!(honoured, json!({"resourcesListChanged": true}));
        updated(&agent, "docs:/a").await;
        stream.expect(&update("docs+docs:/a", Some("17"))).await;
        announce(&agent, "notifications/resources/list_changed", &Value::Null).await;
        other.expect(&changed("resources", Some(r#""o\"1""#))).await;
        announce(&agent, "notifications/prompts/list_changed", &Value::Null).await;
        stream.expect(&changed("prompts", Some("17"))).await;
        assert_eq!(outcomes(&gateway, "subscriptions/listen").iter().filter(|record| record["outcome"] == "success").count(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_goes_and_comes_is_told_to_who_sees_it() {
    for (is_modern, is_http) in CELLS {
        let (setup, script, _http) = docs(Setup::new().agent("a").agent("b"), is_modern, is_http, "shared = true");
        let gateway = setup.grant("g", "a", &ALL, "").grant("h", "b", &["docs__announce", "docs__hangup"], "").start();
        let (agent, other) = (gateway.agent("a"), gateway.agent("b"));
        let (mut stream, _) = Stream::listening(&agent, "1", &json!({"toolsListChanged": true})).await;
        let (mut unconcerned, honoured) =
            Stream::listening(&other, "2", &json!({"toolsListChanged": true, "promptsListChanged": true})).await;
        assert_eq!(honoured, json!({"toolsListChanged": true}), "no prompt is given to it");
        // Its server runs, and has said what it offers.
        announce(&agent, "notifications/nothing", &Value::Null).await;
        for left in [3, 4] {
            offer(&script, &tools()[..left], is_modern, &json!({}));
            announce(&agent, "notifications/tools/list_changed", &Value::Null).await;
            stream.expect(&changed("tools", Some("1"))).await;
        }
        // What it sees did not change: it hears of the next thing only.
        offer(&script, &tools()[1..], is_modern, &json!({}));
        announce(&agent, "notifications/tools/list_changed", &Value::Null).await;
        unconcerned.expect(&changed("tools", Some("2"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_itself_changes_is_told() {
    let (mut gateway, _script, _http) = start(false, false);
    let agent = gateway.agent("a");
    let session = agent.session("2025-11-25").await;
    let mut stream = Stream::of_session(&session).await;
    let (mut listening, _) =
        Stream::listening(&agent, "1", &json!({"toolsListChanged": true, "resourcesListChanged": true})).await;
    // A policy that takes one tool away concerns the tools, and nothing else.
    std::fs::write(
        gateway.folder().join("no.cedar"),
        "@id(\"no\") forbid (principal, action == Bailiwick::Action::\"docs__extra\", resource);",
    )
    .unwrap();
    gateway.reconfigure(|toml| format!("{toml}\n[policy]\nfiles = [\"no.cedar\"]\n"));
    stream.expect(&changed("tools", None)).await;
    listening.expect(&changed("tools", Some("1"))).await;
    assert!(!agent.tools().await.contains(&"docs__extra".to_owned()));
    // A grant that ends takes all of it away, and the streams with it.
    gateway.cli.ok(&["grants", "revoke", "g"]);
    listening.expect(&changed("tools", Some("1"))).await;
    let rest: Vec<Value> = [listening.next().await, listening.next().await].into_iter().flatten().collect();
    let last = rest.last().unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(1), &json!("complete")));
    assert_eq!(last["result"]["_meta"][SUBSCRIPTION], 1);
    assert!(listening.next().await.is_none());
    while let Some(message) = stream.next().await {
        assert!(message["method"].as_str().unwrap().ends_with("list_changed"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_grant_hears_when_it_gets_one() {
    let (setup, _script, _http) = docs(Setup::new().agent("a").agent("b"), false, false, "");
    let gateway = setup.grant("g", "a", &ALL, "").start();
    let agent = gateway.agent("b");
    let (mut stream, honoured) =
        Stream::listening(&agent, "1", &json!({"toolsListChanged": true, "promptsListChanged": true})).await;
    assert_eq!(honoured, json!({"toolsListChanged": true}));
    gateway.cli.ok(&["grants", "create", "--agent", "b", "--purpose", "t", "--tools", "docs__announce", "--ttl", "1h"]);
    stream.expect(&changed("tools", Some("1"))).await;
    assert_eq!(agent.tools().await, ["docs__announce"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a140_what_is_not_given_can_not_be_subscribed_to() {
    let (setup, script, _http) = docs(Setup::new().agent("a").agent("b"), false, false, "");
    let policy = setup.folder().join("p.cedar");
    std::fs::write(
        &policy,
        "@id(\"person\") @approval(\"approver\") forbid (principal, action == Bailiwick::Action::\"docs/resource_read\", resource)\n\
         when { context.input.uri like \"docs:///pub/ask*\" } unless { context.call.approvals.contains(\"approver\") };\n\
         @id(\"never\") forbid (principal, action == Bailiwick::Action::\"docs/resource_read\", resource)\n\
         when { context.input.uri like \"docs:///pub/secret*\" };",
    )
    .unwrap();
    let gateway = setup
        .with(&format!("[policy]\nfiles = [\"{}\"]", policy.display()))
        .grant("g", "a", &ALL, "args.\"docs/resource_read\".\"/uri\".uri_under = \"docs:///pub\"\n")
        .grant("h", "b", &["docs__announce"], "")
        .start();
    let (newest, stranger) = (gateway.agent("a"), gateway.agent("b"));
    let agent = newest.session("2025-11-25").await;
    let other = stranger.session("2025-11-25").await;
    for (agent, uri, code) in [
        (&agent, "docs+docs:///hidden", -32002),
        (&agent, "nobody+docs:///pub/a", -32002),
        (&agent, "docs:///pub/a", -32002),
        (&agent, "docs+docs:///pub/secret", 1005),
        (&agent, "docs+docs:///pub/ask", 1005),
        (&other, "docs+docs:///pub/a", -32002),
    ] {
        let reply = subscribe(agent, uri).await;
        assert_eq!((reply.status, reply.error_code()), (200, code), "{uri}: {}", reply.text);
    }
    let words = subscribe(&agent, "docs+docs:///pub/ask").await.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(words.contains("can't be subscribed to") && words.contains("a person has to approve"), "{words}");
    assert_eq!(subscribe(&agent, "").await.error_code(), -32002);
    for bad in ["\"uri\":7", ""] {
        assert_eq!(agent.ask("resources/subscribe", bad).await.error_code(), -32602);
    }
    // The server has heard of none of it, and no person is asked.
    assert_eq!(asked(&script, "resources/subscribe"), 0);
    assert!(gateway.cli.ok(&["approvals", "list", "--json"]).contains("[]"));
    let filter = json!({"promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["docs+docs:///pub/a", "docs+docs:///hidden", "docs+docs:///pub/ask"]});
    let (_stream, honoured) = Stream::listening(&newest, "1", &filter).await;
    assert_eq!(honoured["resourceSubscriptions"], json!(["docs+docs:///pub/a"]));
    let (_stream, honoured) = Stream::listening(&stranger, "1", &filter).await;
    assert_eq!(honoured, json!({}));
    // What is unsubscribed tells nothing of what there is.
    for uri in ["docs+docs:///hidden", "docs+docs:///pub/a"] {
        assert_eq!(other.ask("resources/unsubscribe", &format!(r#""uri":"{uri}""#)).await.result(), json!({}));
    }
    for bad in ["7", r#"{"toolsListChanged":1}"#, r#"{"resourceSubscriptions":[7]}"#] {
        let reply = Agent::send(listen(&newest, "1", &serde_json::from_str(bad).unwrap())).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32602), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_for_many_is_asked_once_and_each_hears_what_is_its_own() {
    for (is_modern, is_http) in CELLS {
        let (setup, script, _http) = docs(Setup::new().agent("a").agent("b").agent("c"), is_modern, is_http, "shared = true");
        let under = |uri: &str| format!("args.\"docs/resource_read\".\"/uri\".uri_under = \"{uri}\"\n");
        let gateway = setup
            .grant("g", "a", &ALL, "")
            .grant("h", "b", &ALL, &under("docs:///b"))
            .grant("i", "c", &["docs/resource_read"], "")
            .start();
        let (agent, other) = (gateway.agent("a"), gateway.agent("b"));
        let mut streams = Vec::new();
        for (at, agent) in [&agent, &agent, &other, &gateway.agent("c")].into_iter().enumerate() {
            let filter = json!({"resourceSubscriptions": ["docs+docs:///a", "docs+docs:///b"]});
            streams.push(Stream::listening(agent, &at.to_string(), &filter).await.0);
        }
        updated(&agent, "docs:///a").await;
        updated(&agent, "docs:///b").await;
        for (at, stream) in streams.iter_mut().enumerate() {
            let id = at.to_string();
            if at != 2 {
                stream.expect(&update("docs+docs:///a", Some(&id))).await;
            }
            stream.expect(&update("docs+docs:///b", Some(&id))).await;
        }
        if !is_modern {
            assert_eq!(asked(&script, "resources/subscribe"), 2);
        }
        // The last one that goes ends it, and not one before.
        let last = streams.pop().unwrap();
        drop(streams);
        updated(&agent, "docs:///b").await;
        let mut last = last;
        last.expect(&update("docs+docs:///b", Some("3"))).await;
        assert_eq!(asked(&script, "resources/unsubscribe"), 0);
        drop(last);
        if is_modern {
            return;
        }
        until("it is called off", || asked(&script, "resources/unsubscribe") == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a140_a_revoked_grant_ends_what_is_heard_by_it_at_once() {
    let (setup, script, _http) = docs(Setup::new().agent("a").agent("b"), false, false, "shared = true");
    let gateway = setup.grant("g", "a", &ALL, "").grant("h", "b", &ALL, "").start();
    let (agent, other) = (gateway.agent("a"), gateway.agent("b"));
    let session = agent.session("2025-11-25").await;
    let mut stream = Stream::of_session(&session).await;
    subscribe(&session, "docs+docs:/a").await.result();
    let (mut listening, _) = Stream::listening(&agent, "1", &json!({"resourceSubscriptions": ["docs+docs:/a"]})).await;
    gateway.cli.ok(&["grants", "revoke", "g"]);
    updated(&other, "docs:/a").await;
    assert_eq!(listening.next().await.unwrap()["id"], 1);
    assert!(listening.next().await.is_none());
    while let Some(message) = stream.next().await {
        assert_ne!(message["method"], UPDATED);
    }
    until("nobody watches it any more", || asked(&script, "resources/unsubscribe") == 1).await;
    // So does a token that is revoked, and a session that is closed.
    let session = other.session("2025-11-25").await;
    let mut stream = Stream::of_session(&session).await;
    let mut request = session.request().build().unwrap();
    *request.method_mut() = reqwest::Method::DELETE;
    assert_eq!(reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap().status().as_u16(), 204);
    assert!(stream.next().await.is_none());
    let session = other.session("2025-11-25").await;
    let mut stream = Stream::of_session(&session).await;
    let shown: Value = serde_json::from_str(&gateway.cli.ok(&["agents", "show", "b", "--json"])).unwrap();
    let tokens = shown[0]["tokens"].as_array().unwrap();
    assert!(!tokens.is_empty());
    for token in tokens {
        gateway.cli.ok(&["agents", "token", token["id"].as_str().unwrap(), "--revoke"]);
    }
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_stream_and_nobody_elses() {
    let (setup, _script, _http) = docs(Setup::new().agent("a").agent("b"), false, false, "");
    let gateway = setup.grant("g", "a", &ALL, "").grant("h", "b", &ALL, "").start();
    let session = gateway.agent("a").session("2025-11-25").await;
    let mut first = Stream::of_session(&session).await;
    let mut second = Stream::of_session(&session).await;
    assert!(first.next().await.is_none(), "the later one takes its place");
    subscribe(&session, "docs+docs:/a").await.result();
    updated(&session, "docs:/a").await;
    second.expect(&update("docs+docs:/a", None)).await;
    // Who has the id of a session has nothing by it.
    let mut request = gateway.agent("b").request().build().unwrap();
    *request.method_mut() = reqwest::Method::GET;
    request.headers_mut().insert("mcp-session-id", session.session_id().unwrap().parse().unwrap());
    assert_eq!(reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap().status().as_u16(), 405);
    // What came while nobody read is told to who reads next.
    drop(second);
    updated(&session, "docs:/a").await;
    Stream::of_session(&session).await.expect(&update("docs+docs:/a", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_is_asked_for_again() {
    for (is_modern, is_http) in CELLS {
        let (gateway, script, _http) = start(is_modern, is_http);
        let agent = gateway.agent("a");
        let (mut stream, _) = Stream::listening(&agent, "1", &json!({"resourceSubscriptions": ["docs+docs:/a"]})).await;
        // Its stream ends; over stdio a whole process does.
        let ends = if is_http { "docs__hangup" } else { "docs__crash" };
        agent.call(ends, &json!({})).await;
        // Nobody heard for a while: it may have changed.
        stream.expect(&update("docs+docs:/a", Some("1"))).await;
        updated(&agent, "docs:/a").await;
        stream.expect(&update("docs+docs:/a", Some("1"))).await;
        let method = if is_modern {
            "subscriptions/listen"
        } else if is_http {
            "initialize"
        } else {
            "resources/subscribe"
        };
        assert!(asked(&script, method) >= if method == "initialize" { 1 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_delays_nobody_and_is_told_once_of_what_changed_often() {
    let (gateway, _script, _http) = start(false, true);
    let agent = gateway.agent("a");
    let filter = json!({"resourceSubscriptions": ["docs+docs:/a", "docs+docs:/b"]});
    let (mut slow, _) = Stream::listening(&agent, "1", &filter).await;
    let (mut quick, _) = Stream::listening(&agent, "2", &filter).await;
    // As many parts as would fill any queue, to an end that nobody reads.
    let long = "x".repeat(3000);
    for at in 0..600 {
        updated(&agent, &format!("docs:/a/{at}{long}")).await;
        let heard = quick.next().await.unwrap();
        assert_eq!(heard["params"]["uri"], format!("docs+docs:/a/{at}{long}"));
    }
    updated(&agent, "docs:/b").await;
    quick.expect(&update("docs+docs:/b", Some("2"))).await;
    let mut heard = 0;
    while slow.next().await.unwrap() != update("docs+docs:/b", Some("1")) {
        heard += 1;
        assert!(heard <= 601);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_and_streams_have_bounds() {
    let (gateway, _script, _http) = start(true, false);
    let agent = gateway.agent("a");
    let many: Vec<String> = (0..200).map(|at| format!("docs+docs:/{at}")).collect();
    let (_first, honoured) = Stream::listening(&agent, "1", &json!({"resourceSubscriptions": many})).await;
    assert_eq!(honoured["resourceSubscriptions"].as_array().unwrap().len(), 200);
    let others: Vec<String> = (200..300).map(|at| format!("docs+docs:/{at}")).collect();
    let reply = Agent::send(listen(&agent, "2", &json!({"resourceSubscriptions": others}))).await;
    assert_eq!((reply.status, reply.error_code()), (200, 1005));
    assert!(reply.text.contains("256 subscriptions"), "{}", reply.text);
    let more: Vec<String> = (0..257).map(|at| format!("docs+docs:/{at}")).collect();
    let reply = Agent::send(listen(&agent, "2", &json!({"resourceSubscriptions": more}))).await;
    assert_eq!((reply.status, reply.error_code()), (400, -32602));
    let mut streams = Vec::new();
    for at in 0..31 {
        streams.push(Stream::listening(&agent, &at.to_string(), &json!({"toolsListChanged": true})).await);
    }
    let reply = Agent::send(listen(&agent, "2", &json!({"toolsListChanged": true}))).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    // What an agent listens with takes nothing from what it calls with, and is free again when it goes.
    agent.call("docs__announce", &json!({"method": "x", "params": "null"})).await.result();
    streams.pop();
    let mut again = Agent::send(listen(&agent, "2", &json!(7))).await.status;
    assert_eq!(again, 400);
    for _ in 0..600 {
        let response = listen(&agent, "2", &json!({"toolsListChanged": true})).send().await.unwrap();
        again = response.status().as_u16();
        if again == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(again, 200);
}

/// A client over standard input and output.
struct Bridge {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
}

impl Bridge {
    fn start(gateway: &Gateway, agent: &Agent) -> Self {
        let token = gateway.folder().join("token");
        std::fs::write(&token, agent.token()).unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut command = gateway.cli.command(&["stdio", "--grant-file", token.to_str().unwrap()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (lines, from) = channel();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            out.map_while(Result::ok).for_each(|line| drop(lines.send(serde_json::from_str(&line).unwrap())));
        });
        Self { to: child.stdin.take(), child, from }
    }

    fn say(&mut self, message: &str) {
        writeln!(self.to.as_mut().unwrap(), "{message}").unwrap();
    }

    fn next(&self) -> Value {
        self.from.recv_timeout(LONG).unwrap()
    }

    fn call(&mut self, id: u64, method: &str, params: &Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        loop {
            let answer = self.next();
            if answer["id"] == json!(id) {
                return answer;
            }
        }
    }

    fn end(mut self) {
        self.to = None;
        assert!(self.child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_standard_input_and_output_all_of_it_is_lines() {
    for (is_modern, is_http) in [(false, false), (true, true)] {
        let (gateway, _script, _http) = start(is_modern, is_http);
        let agent = gateway.agent("a");
        let mut bridge = Bridge::start(&gateway, &agent);
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let capabilities = bridge.call(1, "initialize", &hello)["result"]["capabilities"].clone();
        assert_eq!(capabilities["resources"], json!({"subscribe": true, "listChanged": true}));
        bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(bridge.call(2, "resources/subscribe", &json!({"uri": "docs+docs:/a"}))["result"], json!({}));
        updated(&agent, "docs:/a").await;
        assert_eq!(bridge.next(), update("docs+docs:/a", None));
        bridge.end();
        // Where every request stands alone.
        let mut bridge = Bridge::start(&gateway, &agent);
        let meta: Value = serde_json::from_str(&format!("{{{}}}", Agent::meta())).unwrap();
        let listen = |id: u64| {
            let filter = json!({"resourceSubscriptions": ["docs+docs:/a"]});
            json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": {"notifications": filter, "_meta": meta["_meta"]}})
        };
        bridge.say(&listen(5).to_string());
        let first = bridge.next();
        assert_eq!(first["params"]["notifications"], json!({"resourceSubscriptions": ["docs+docs:/a"]}));
        updated(&agent, "docs:/a").await;
        assert_eq!(bridge.next(), update("docs+docs:/a", Some("5")));
        bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#);
        bridge.say(&listen(6).to_string());
        assert_eq!(bridge.next()["params"]["_meta"][SUBSCRIPTION], 6);
        updated(&agent, "docs:/a").await;
        assert_eq!(bridge.next(), update("docs+docs:/a", Some("6")));
        // What stays open does not keep the bridge.
        bridge.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_whose_gateway_was_restarted_hears_on() {
    let (gateway, _script, _http) = start(false, false);
    let agent = gateway.agent("a");
    let mut bridge = Bridge::start(&gateway, &agent);
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    bridge.call(1, "initialize", &hello);
    bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    bridge.call(2, "resources/subscribe", &json!({"uri": "docs+docs:/a"}));
    let gateway = gateway.kill_and_restart();
    let agent = Agent::new(&gateway.url, agent.token());
    until("it has subscribed again", || {
        !outcomes(&gateway, "resources/subscribe").is_empty() && { outcomes(&gateway, "resources/subscribe").len() >= 2 }
    })
    .await;
    updated(&agent, "docs:/a").await;
    assert_eq!(bridge.next(), update("docs+docs:/a", None));
    bridge.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_says_so_to_who_listens() {
    let (gateway, _script, _http) = start(false, false);
    let agent = gateway.agent("a");
    let (mut stream, _) = Stream::listening(&agent, "9", &json!({"toolsListChanged": true})).await;
    let began = std::time::Instant::now();
    let stopping = tokio::task::spawn_blocking(move || gateway.stop());
    assert_eq!(stream.next().await.unwrap()["id"], 9);
    assert!(stream.next().await.is_none());
    drop(stopping.await.unwrap());
    assert!(began.elapsed() < LONG);
}
