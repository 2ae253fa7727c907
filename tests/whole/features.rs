//! Resources, prompts and suggestions through a grant: what is given is listed and answered, what is not is not there.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Agent, Cli, Gateway, HttpServer, Reply, Script, Setup, tool};

const LOW: &str = "features.resource_read = { kind = \"read\", band = \"low\" }\n\
    features.prompt_get = { kind = \"read\", band = \"low\" }\n\
    features.complete = { kind = \"read\", band = \"low\" }\n";

/// What a grant of a part of `docs` bounds.
const BOUNDS: &str =
    "args.\"docs/resource_read\".\"/uri\".uri_under = \"docs:///public\"\nargs.\"docs/prompt_get\".\"/name\".in = [\"greet\"]\n";

const ALL: [&str; 3] = ["docs/resource_read", "docs/prompt_get", "docs/complete"];

/// A server with resources, templates and prompts, half of which no test grants.
fn library(is_modern: bool) -> Value {
    let result = |members: &str| {
        let kind = if is_modern { r#""resultType":"complete","# } else { "" };
        json!(format!(r#""result":{{{kind}{members}}}"#))
    };
    let read = |uri: &str, text: &str| result(&format!(r#""contents":[{{"uri":"{uri}","text":"{text}"}}]"#));
    let missing = if is_modern { -32602 } else { -32002 };
    json!({
        "era": if is_modern { "modern" } else { "legacy" },
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
        "answers": {
            "resources/list": result(r#""resources":[{"uri":"docs:///public/a","name":"a"},{"uri":"docs:///hidden/b","name":"b"},{"uri":"other:/c","name":"c"}]"#),
            "resources/templates/list": result(r#""resourceTemplates":[{"uriTemplate":"docs:///public/{p}","name":"p"},{"uriTemplate":"docs:///hidden/{p}","name":"h"},{"uriTemplate":"docs:///{+all}","name":"all"}]"#),
            "prompts/list": result(r#""prompts":[{"name":"greet","description":"d"},{"name":"plot"}]"#),
            "resources/read docs:///public/a": read("docs:///public/a", "text of a"),
            "resources/read docs:///public/from/template": read("docs:///public/from/template", "made by a template"),
            "resources/read docs:///hidden/b": read("docs:///hidden/b", "text of b"),
            "resources/read": json!(format!(r#""error":{{"code":{missing},"message":"no such resource","data":{{"uri":"x"}}}}"#)),
            "prompts/get greet": result(r#""messages":[{"role":"user","content":{"type":"text","text":"hello"}}]"#),
            "prompts/get plot": result(r#""messages":[{"role":"user","content":{"type":"text","text":"plot"}}]"#),
            "completion/complete": result(r#""completion":{"values":["one","two"]}"#),
        },
    })
}

/// The server `docs`, over this carrier.
fn docs(setup: Setup, is_modern: bool, is_http: bool, more: &str) -> (Setup, Script, Option<HttpServer>) {
    let tools = [tool("echo", &["x"])];
    let script = Script::new(setup.folder(), "docs", &tools);
    script.offer_with(&tools, &library(is_modern));
    let http = is_http.then(|| script.serve_http());
    let setup = match &http {
        Some(server) => setup.http_connector("docs", &server.url, more),
        None => setup.connector("docs", &script, more),
    };
    (setup, script, http)
}

async fn versions(agent: &Agent) -> [Agent; 3] {
    [agent.clone(), agent.session("2025-11-25").await, agent.session("2025-06-18").await]
}

async fn named(agent: &Agent, method: &str, member: &str, name: &str) -> Vec<String> {
    let list = agent.ask(method, "").await.result();
    list[member].as_array().unwrap().iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
}

async fn read(agent: &Agent, uri: &str) -> Reply {
    agent.ask("resources/read", &format!(r#""uri":{}"#, Value::from(uri))).await
}

async fn get(agent: &Agent, name: &str) -> Reply {
    agent.ask("prompts/get", &format!(r#""name":{}"#, Value::from(name))).await
}

async fn complete(agent: &Agent, kind: &str, key: &str, name: &str) -> Reply {
    let name = Value::from(name);
    let params = format!(r#""ref":{{"type":"ref/{kind}","{key}":{name}}},"argument":{{"name":"p","value":"o"}}"#);
    agent.ask("completion/complete", &params).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_is_listed_and_answered_over_both_carriers_between_all_versions() {
    for (is_modern, is_http) in [(false, false), (true, false), (false, true), (true, true)] {
        let (setup, script, _http) = docs(Setup::new().agent("a"), is_modern, is_http, LOW);
        let gateway = setup.grant("g", "a", &ALL, BOUNDS).start();
        for agent in versions(&gateway.agent("a")).await {
            assert_eq!(named(&agent, "resources/list", "resources", "uri").await, ["docs+docs:///public/a"]);
            let templates = named(&agent, "resources/templates/list", "resourceTemplates", "uriTemplate").await;
            // One that could make what is not given is not.
            assert_eq!(templates, ["docs+docs:///public/{p}"]);
            assert_eq!(named(&agent, "prompts/list", "prompts", "name").await, ["docs__greet"]);
            let reply = read(&agent, "docs+docs:///public/a").await.result();
            assert_eq!(reply["contents"], json!([{"uri": "docs+docs:///public/a", "text": "text of a"}]));
            let reply = read(&agent, "docs+docs:///public/from/template").await.result();
            assert_eq!(reply["contents"][0]["text"], "made by a template");
            assert_eq!(get(&agent, "docs__greet").await.result()["messages"][0]["content"]["text"], "hello");
            for (kind, key, name) in [("prompt", "name", "docs__greet"), ("resource", "uri", "docs+docs:///public/{p}")] {
                let reply = complete(&agent, kind, key, name).await.result();
                assert_eq!(reply["completion"]["values"], json!(["one", "two"]), "{name}");
            }
            assert!(agent.tools().await.is_empty());
        }
        // What the server was asked for it knows by its own names.
        let asked = script.received().concat();
        assert!(
            asked.contains(r#""uri":"docs:///public/a""#) && !asked.contains("docs+") && !asked.contains("docs__"),
            "{asked}"
        );
    }
}

/// The answer but for the name in it.
fn faceless(reply: &Reply, name: &str) -> (u16, String) {
    assert!(reply.text.contains(name), "{}", reply.text);
    (reply.status, reply.text.replace(name, "NAME"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_not_there() {
    let (setup, script, _http) = docs(Setup::new().agent("a").agent("b").agent("c"), true, true, LOW);
    // `a` has a part, `b` all tools and no feature, `c` suggestions alone.
    let gateway =
        setup.grant("ga", "a", &ALL, BOUNDS).grant("gb", "b", &["docs__*"], "").grant("gc", "c", &["docs/complete"], "").start();
    let hidden =
        ["docs:///hidden/b", "other:/c", "docs:///public/../hidden/b", "docs:///public/%2e%2e/hidden/b", "docs:///publicity"];
    for id in ["a", "b", "c"] {
        for agent in versions(&gateway.agent(id)).await {
            let absent = faceless(&read(&agent, "nobody+docs:///x").await, "nobody+docs:///x");
            for uri in hidden {
                let uri = format!("docs+{uri}");
                assert_eq!(faceless(&read(&agent, &uri).await, &uri), absent, "{id}");
                // Asked for by the server's own name, it is nobody's.
                let own = uri.trim_start_matches("docs+");
                assert_eq!(faceless(&read(&agent, own).await, own), absent, "{id}");
            }
            let absent = faceless(&get(&agent, "nobody__plot").await, "nobody__plot");
            for name in ["docs__plot", "docs__absent", "plot", "docs__", "docs__greet ", "docs__Greet"] {
                assert_eq!(faceless(&get(&agent, name).await, name), absent, "{id} {name}");
            }
            let absent = faceless(&complete(&agent, "prompt", "name", "nobody__x").await, "nobody__x");
            assert_eq!(faceless(&complete(&agent, "prompt", "name", "docs__plot").await, "docs__plot"), absent, "{id}");
            let absent = faceless(&complete(&agent, "resource", "uri", "nobody+x:/{p}").await, "nobody+x:/{p}");
            let template = "docs+docs:///hidden/{p}";
            assert_eq!(faceless(&complete(&agent, "resource", "uri", template).await, template), absent, "{id}");
            if id != "a" {
                for (method, member) in [
                    ("resources/list", "resources"),
                    ("resources/templates/list", "resourceTemplates"),
                    ("prompts/list", "prompts"),
                ] {
                    assert_eq!(agent.ask(method, "").await.result()[member], json!([]), "{id} {method}");
                }
                let uri = "docs+docs:///public/a";
                assert!(faceless(&read(&agent, uri).await, uri).1.contains("Unknown resource: NAME"), "{id}");
            }
        }
    }
    let asked = script.received().concat();
    assert!(!asked.contains("resources/read") && !asked.contains("prompts/get") && !asked.contains("completion/"), "{asked}");
    // On record it has the name that an operator grants it by, and why it is not there has the name that was asked for.
    let refused = |record: &&Value| record["method"] == "resources/read" && record["event"] == "decided";
    let decisions = gateway.records("decisions");
    let decision =
        decisions.iter().filter(refused).find(|record| record["detail"].as_str().unwrap().contains("hidden/b")).unwrap();
    assert_eq!((&decision["tool"], &decision["effect"]), (&json!("docs/resource_read"), &json!("deny")), "{decision}");
}

fn policy(setup: &Setup, text: &str) -> &'static str {
    fs::write(setup.folder().join("p.cedar"), text).unwrap();
    "[policy]\nfiles = [\"p.cedar\"]\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_judges_what_is_asked_of_a_feature() {
    let setup = Setup::new();
    let rules = r#"@id("no-b") @reason("b is private")
        forbid (principal, action == Bailiwick::Action::"docs/resource_read", resource) when { context.input.uri like "*hidden*" };
        @id("no-plots") forbid (principal, action == Bailiwick::Action::"docs/prompt_get", resource) when { context.input.name == "plot" };
        @id("no-completion") forbid (principal, action == Bailiwick::Action::"docs/complete", resource);"#;
    let files = policy(&setup, rules);
    let (setup, script, _http) = docs(setup.with(files).agent("a"), false, false, LOW);
    let gateway = setup.grant("g", "a", &ALL, "").start();
    for agent in versions(&gateway.agent("a")).await {
        // What only its context can forbid stays listed.
        assert_eq!(named(&agent, "resources/list", "resources", "uri").await.len(), 3);
        let denied = read(&agent, "docs+docs:///hidden/b").await;
        assert_eq!((denied.status, denied.error_code()), (200, 1005), "{}", denied.text);
        let words = denied.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(words, "DENIED by policy: no-b (b is private). Not executed; do not retry unchanged.");
        assert_eq!(get(&agent, "docs__plot").await.error_code(), 1005);
        assert_eq!(read(&agent, "docs+docs:///public/a").await.result()["contents"][0]["text"], "text of a");
        // What no rule could ever allow does not exist.
        assert_eq!(complete(&agent, "prompt", "name", "docs__greet").await.error_code(), -32602);
    }
    let asked = script.received().concat();
    assert!(
        !asked.contains(r#""uri":"docs:///hidden/b""#) && !asked.contains("plot") && !asked.contains("completion/"),
        "{asked}"
    );
}

/// The code of the approval that waits.
fn waiting(cli: &Cli) -> (String, Value) {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let list: Value = serde_json::from_str(&cli.ok(&["approvals", "list", "--json"])).unwrap();
        if let Some(pending) = list.as_array().unwrap().iter().find(|approval| approval["state"] == "pending") {
            return (pending["code"].as_str().unwrap().to_owned(), pending.clone());
        }
        assert!(Instant::now() < until, "nobody is asked: {list}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risky_read_waits_for_a_person_and_says_so_as_an_error() {
    let high = LOW
        .replace("resource_read = { kind = \"read\", band = \"low\" }", "resource_read = { kind = \"read\", band = \"high\" }");
    let (setup, script, _http) =
        docs(Setup::new().with("[approvals]\nhold = \"100ms\"\nallow_same_user = true").agent("a"), true, true, &high);
    let gateway = setup.grant("g", "a", &ALL, "").start();
    let uri = "docs+docs:///hidden/b";
    let agents = versions(&gateway.agent("a")).await;
    for agent in &agents {
        // A list is none of what is risky: nobody is asked for it.
        assert_eq!(named(agent, "resources/list", "resources", "uri").await.len(), 3);
        let reply = read(agent, uri).await;
        assert_eq!((reply.status, reply.error_code()), (200, 1005), "{}", reply.text);
        let error = reply.json()["error"].clone();
        let words = error["message"].as_str().unwrap();
        assert!(words.starts_with("APPROVAL PENDING") && words.contains(&format!("approve {uri}.")), "{words}");
        let (code, approval) = waiting(&gateway.cli);
        assert_eq!(approval["tool"], "docs/resource_read");
        let told = &error["data"]["dev.bailiwick/approval"];
        assert_eq!((&told["code"], &told["state"]), (&json!(code), &json!("pending")), "{error}");
        let card = gateway.cli.ok(&["approvals", "show", &code]);
        assert!(card.contains(r#""uri": "docs:///hidden/b""#), "{card}");
        gateway.cli.ok(&["approvals", "approve", &code, "--yes"]);
        assert_eq!(read(agent, uri).await.result()["contents"][0]["text"], "text of b");
    }
    // It was good for one read in each version; what is denied is denied in all of them.
    assert_eq!(read(&agents[0], uri).await.error_code(), 1005);
    let (code, _) = waiting(&gateway.cli);
    gateway.cli.ok(&["approvals", "deny", &code, "--reason", "not today"]);
    for agent in &agents {
        let denied = read(agent, uri).await;
        let words = denied.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(denied.error_code() == 1005 && words.contains("not today"), "{words}");
    }
    let reads = script.received().iter().filter(|line| line.contains("resources/read")).count();
    assert_eq!(reads, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_decision_and_one_outcome_on_record() {
    let (setup, _script, _http) = docs(Setup::new().agent("a"), false, false, LOW);
    let gateway = setup.grant("g", "a", &ALL, BOUNDS).start();
    let agent = gateway.agent("a");
    agent.ask("resources/list", "").await.result();
    agent.ask("prompts/list", "").await.result();
    read(&agent, "docs+docs:///public/a").await.result();
    assert_eq!(read(&agent, "docs+docs:///public/none").await.error_code(), -32602);
    get(&agent, "docs__greet").await.result();
    complete(&agent, "prompt", "name", "docs__greet").await.result();
    assert_eq!(get(&agent, "docs__plot").await.error_code(), -32602);
    let (calls, decisions) = (gateway.records("calls"), gateway.records("decisions"));
    let of = |records: &[Value], event: &str| -> Vec<[String; 3]> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let matching = records.iter().filter(|record| record["event"] == event && record["agent"] == "a");
        let kind = if event == "outcome" { "outcome" } else { "effect" };
        matching.map(|record| [text(&record["method"]), text(&record["tool"]), text(&record[kind])]).collect()
    };
    let row = |method: &str, tool: &str, end: &str| [method.to_owned(), tool.to_owned(), end.to_owned()];
    assert_eq!(
        of(&calls, "outcome"),
        [
            row("resources/list", "-", "success"),
            row("prompts/list", "-", "success"),
            row("resources/read", "docs/resource_read", "success"),
            row("resources/read", "docs/resource_read", "downstream_error"),
            row("prompts/get", "docs/prompt_get", "success"),
            row("completion/complete", "docs/complete", "success"),
            row("prompts/get", "docs/prompt_get", "denied"),
        ]
    );
    assert_eq!(
        of(&decisions, "decided"),
        [
            row("resources/list", "-", "allow"),
            row("prompts/list", "-", "allow"),
            row("resources/read", "docs/resource_read", "allow"),
            row("resources/read", "docs/resource_read", "allow"),
            row("prompts/get", "docs/prompt_get", "allow"),
            row("completion/complete", "docs/complete", "allow"),
            row("prompts/get", "docs/prompt_get", "deny"),
        ]
    );
    let intents: Vec<&Value> = calls.iter().filter(|record| record["event"] == "intent").map(|record| &record["tool"]).collect();
    assert_eq!(intents, ["docs/resource_read", "docs/resource_read", "docs/prompt_get", "docs/complete"]);
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
    let told = gateway.cli.ok(&["explain", "--last"]);
    assert!(told.contains("docs/prompt_get") && told.contains("`plot`"), "{told}");
}

/// Connectors beside `docs` that can't be listed, each in its own way.
fn with_broken(mut setup: Setup) -> (Setup, Vec<HttpServer>) {
    let mut servers = Vec::new();
    let endless = r#""result":{"resultType":"complete","resources":[],"resourceTemplates":[],"prompts":[],"nextCursor":"again"}"#;
    for (id, list) in [
        ("error", r#""error":{"code":-32603,"message":"broken"}"#),
        ("none", r#""error":{"code":-32601,"message":"Method not found"}"#),
        ("nonsense", r#""result":{"resultType":"complete","resources":{},"resourceTemplates":7,"prompts":null}"#),
        ("endless", endless),
        ("asks", r#""result":{"resultType":"input_required","inputRequests":{}}"#),
    ] {
        let script = Script::new(setup.folder(), id, &[]);
        let answers = json!({"resources/list": list, "resources/templates/list": list, "prompts/list": list});
        script.offer_with(&[], &json!({"answers": answers}));
        let server = script.serve_http();
        setup = setup.http_connector(id, &server.url, LOW);
        servers.push(server);
    }
    // One that is not there at all, and one that takes no end.
    setup = setup.http_connector("absent", "http://127.0.0.1:9/mcp", LOW);
    let script = Script::new(setup.folder(), "hangs", &[]);
    script.offer_with(&[], &json!({"behave": "hang-handshake"}));
    setup = setup.connector("hangs", &script, &format!("handshake_timeout = \"2s\"\ncall_timeout = \"3s\"\n{LOW}"));
    (setup, servers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_can_not_be_listed_costs_its_own_part_alone() {
    let (setup, _script, _http) = docs(Setup::new().agent("a"), true, true, LOW);
    let (setup, servers) = with_broken(setup);
    let ids = ["docs", "error", "none", "nonsense", "endless", "asks", "absent", "hangs"];
    let granted: Vec<String> = ids.iter().flat_map(|id| [format!("{id}/resource_read"), format!("{id}/prompt_get")]).collect();
    let granted: Vec<&str> = granted.iter().map(String::as_str).collect();
    let gateway: Gateway = setup.grant("g", "a", &granted, "").start();
    for agent in versions(&gateway.agent("a")).await {
        let began = Instant::now();
        assert_eq!(named(&agent, "resources/list", "resources", "uri").await.len(), 3);
        assert_eq!(named(&agent, "resources/templates/list", "resourceTemplates", "uriTemplate").await.len(), 3);
        assert_eq!(named(&agent, "prompts/list", "prompts", "name").await, ["docs__greet", "docs__plot"]);
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
        assert_eq!(read(&agent, "error+x:/a").await.status, 200);
    }
    assert_eq!(servers.len(), 5);
}
