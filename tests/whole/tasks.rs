//! Calls that are answered later: relayed under handles of the gateway's own, called off with their grant, and made of what waits for a person.

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, HttpServer, Reply, Script, Setup, tool, until};

/// The extension, as a client declares it, with a kind of question that it takes.
pub const TAKES: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"elicitation":{}}"#;
const MOMENTS: &str =
    r#""createdAt":"2026-07-28T00:00:00Z","lastUpdatedAt":"2026-07-28T00:00:01Z","ttlMs":600000,"pollIntervalMs":100"#;

/// What a server answers: that it makes a task of each call, and this about it.
pub fn working(status: &str, more: &str) -> Value {
    let made = format!(r#""result":{{"resultType":"task","taskId":"inner-7","status":"working",{MOMENTS}}}"#);
    let told = format!(r#""result":{{"resultType":"complete","taskId":"inner-7","status":"{status}",{MOMENTS}{more}}}"#);
    let noted = r#""result":{"resultType":"complete"}"#;
    let echoed = r#""result":{"resultType":"complete","content":[]}"#;
    json!({
        "era": "modern",
        "capabilities": {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}},
        "answers": {"tools/call slow": made, "tools/call pay": made, "tools/call echo": echoed, "tasks/get": told, "tasks/update": noted, "tasks/cancel": noted},
    })
}

struct Stand {
    gateway: Gateway,
    script: Script,
    http: Option<HttpServer>,
}

impl Stand {
    fn start(is_http: bool, more: &str) -> Self {
        let setup = Setup::new();
        let script = Script::new(setup.folder(), "s", &Self::tools());
        script.offer_with(&Self::tools(), &working("working", ""));
        let of_tools = "tools.slow = { kind = \"read\", band = \"low\" }\ntools.pay = { kind = \"write\", band = \"high\" }\n\
            tools.echo = { kind = \"read\", band = \"low\" }\nfeatures.elicitation = { kind = \"read\", band = \"low\" }";
        let http = is_http.then(|| script.serve_http());
        let setup = match &http {
            Some(server) => setup.http_connector("s", &server.url, &format!("dangerous_plain_http = true\n{of_tools}")),
            None => setup.connector("s", &script, of_tools),
        };
        let setup = setup.agent("a").agent("b").with(more);
        let granted = ["s__*", "s/elicitation"];
        let gateway = setup.grant("g", "a", &granted, "").grant("h", "b", &granted, "").start();
        Self { gateway, script, http }
    }

    fn tools() -> [Value; 3] {
        [tool("slow", &["x"]), tool("pay", &["x"]), tool("echo", &["x"])]
    }

    fn says(&self, status: &str, more: &str) {
        self.script.offer_with(&Self::tools(), &working(status, more));
    }

    fn agent(&self, id: &str) -> Agent {
        self.gateway.agent(id).declaring(TAKES)
    }

    fn asked(&self, method: &str) -> Vec<Value> {
        let lines = self.script.received().into_iter().filter(|line| line.contains(&format!("\"{method}\"")));
        lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
    }
}

pub async fn begin(agent: &Agent, tool: &str) -> String {
    let told = agent.ask("tools/call", &format!(r#""name":"{tool}","arguments":{{"x":"1"}}"#)).await.result();
    assert_eq!(told["resultType"], "task", "{told}");
    assert_eq!(told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "bailiwick");
    told["taskId"].as_str().unwrap().to_owned()
}

pub async fn ask(agent: &Agent, verb: &str, id: &str) -> Reply {
    let more = if verb == "update" { r#","inputResponses":{}"# } else { "" };
    agent.ask(&format!("tasks/{verb}"), &format!(r#""taskId":{}{more}"#, json!(id))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_asked_about_answered_and_ends() {
    for is_http in [false, true] {
        let stand = Stand::start(is_http, "");
        let agent = stand.agent("a");
        assert!(
            agent.ask("server/discover", "").await.result()["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"]
                .is_object()
        );
        let id = begin(&agent, "s__slow").await;
        let declared = &stand.asked("tools/call")[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        assert_eq!(declared, &json!({"elicitation": {"form": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}}));
        assert_eq!(ask(&agent, "get", &id).await.result()["status"], "working");
        let form = r#"{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}}"#;
        stand.says("input_required", &format!(r#","inputRequests":{{"who":{form}}}"#));
        let told = ask(&agent, "get", &id).await.result();
        assert_eq!(told["inputRequests"]["who"]["params"]["message"], "[s] who?");
        let answers = r#""inputResponses":{"who":{"action":"accept","content":{"name":"ada"}},"z":{}}"#;
        let noted = agent.ask("tasks/update", &format!(r#""taskId":"{id}",{answers}"#)).await.result();
        assert_eq!((noted["resultType"].as_str(), noted.get("status")), (Some("complete"), None));
        let sent = &stand.asked("tasks/update")[0]["params"];
        assert_eq!((&sent["taskId"], &sent["inputResponses"]["who"]["content"]["name"]), (&json!("inner-7"), &json!("ada")));
        assert_eq!(sent["inputResponses"].as_object().unwrap().len(), 1);
        stand.says("completed", r#","result":{"content":[],"n":1.50}"#);
        let reply = ask(&agent, "get", &id).await;
        assert_eq!(
            (reply.raw(&["result", "result", "n"]), reply.result()["resultType"].as_str()),
            ("1.50".to_owned(), Some("complete"))
        );
        ask(&agent, "cancel", &id).await.result();
        assert_eq!(stand.asked("tasks/cancel")[0]["params"]["taskId"], "inner-7");
        assert!(!agent.heard().contains("inner-7"), "a server's own id is nobody's to know");
        let calls = stand.gateway.records("calls");
        let first = calls.iter().find(|record| record["event"] == "outcome" && record["method"] == "tools/call").unwrap();
        let of: Vec<&Value> =
            calls.iter().filter(|record| record["method"] == "tasks/get").map(|record| &record["task"]["of"]).collect();
        assert!(of.len() == 3 && of.iter().all(|of| **of == first["call_id"]), "{of:?}");
        stand.gateway.cli.ok(&["audit", "verify"]);
        let explained = stand.gateway.cli.ok(&["explain", "--call", first["call_id"].as_str().unwrap()]);
        assert!(explained.contains("s__slow"), "{explained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_nobody_elses() {
    let stand = Stand::start(false, "");
    let (agent, other) = (stand.agent("a"), stand.agent("b"));
    let id = begin(&agent, "s__slow").await;
    let guesses = ["inner-7".to_owned(), String::new(), id.to_uppercase(), "0".repeat(32)];
    for verb in ["get", "update", "cancel"] {
        let stranger = |reply: Reply, id: &str| {
            let told = reply.json();
            assert_eq!((reply.status, &told["error"]), (200, &json!({"code": -32602, "message": format!("Unknown task: {id}")})));
        };
        stranger(ask(&other, verb, &id).await, &id);
        for guess in &guesses {
            stranger(ask(&agent, verb, guess).await, guess);
        }
        // Who does not declare it can't ask.
        let plain = ask(&stand.gateway.agent("a"), verb, &id).await;
        assert_eq!((plain.status, plain.error_code()), (400, -32021));
        assert_eq!(
            plain.json()["error"]["data"]["requiredCapabilities"],
            json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
        );
        for version in ["2025-06-18", "2025-11-25"] {
            let older = agent.session(version).await;
            assert_eq!(ask(&older, verb, &id).await.error_code(), -32601);
        }
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tasks/{verb}","params":{{"taskId":"{id}","inputResponses":{{}},{}}}}}"#,
            Agent::meta().replace("{}", TAKES)
        );
        let method = format!("tasks/{verb}");
        for name in [None, Some("inner-7"), Some("")] {
            let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method.as_str())];
            headers.extend(name.map(|name| ("mcp-name", name)));
            assert_eq!(agent.post(&body, &headers).await.error_code(), -32020, "{name:?}");
        }
    }
    assert!(["tasks/get", "tasks/update", "tasks/cancel"].iter().all(|method| stand.asked(method).is_empty()));
    ask(&agent, "get", &id).await.result();
    // Who speaks an older version, or declares nothing, is answered no task, and the server's is called off.
    let older = agent.session("2025-11-25").await;
    assert!(older.ask("tools/call", r#""name":"s__slow","arguments":{}"#).await.is_tool_error());
    assert!(stand.gateway.agent("a").ask("tools/call", r#""name":"s__slow","arguments":{}"#).await.is_tool_error());
    until("both were called off", || stand.asked("tasks/cancel").len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_grant_calls_its_tasks_off() {
    let stand = Stand::start(true, "");
    let agent = stand.agent("a");
    let id = begin(&agent, "s__slow").await;
    let other = begin(&stand.agent("b"), "s__slow").await;
    stand.gateway.cli.ok(&["grants", "revoke", "g"]);
    // It waited for that.
    let cancelled = stand.asked("tasks/cancel");
    assert_eq!(cancelled.len(), 1, "{cancelled:?}");
    assert_eq!(cancelled[0]["params"]["taskId"], "inner-7");
    let meta = &cancelled[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert!(meta["extensions"]["io.modelcontextprotocol/tasks"].is_object());
    assert_eq!(ask(&agent, "get", &id).await.error_code(), -32602);
    ask(&stand.agent("b"), "get", &other).await.result();
    drop(stand.http);
}

fn code_in(told: &Value) -> String {
    let words = told["statusMessage"].as_str().unwrap();
    words.split("s__pay: ").nth(1).unwrap_or_else(|| panic!("{words}")).split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_a_person_is_a_task_and_runs_once_when_that_says_yes() {
    let stand = Stand::start(false, "[approvals]\nallow_same_user = true\nhold = \"60s\"");
    let agent = stand.agent("a");
    stand.script.offer_with(
        &Stand::tools(),
        &json!({"era": "modern", "answers": {"tools/call pay": r#""result":{"resultType":"complete","content":[]}"#}}),
    );
    let pay = r#""name":"s__pay","arguments":{"x":"1"}"#;
    let told = agent.ask("tools/call", pay).await.result();
    let id = told["taskId"].as_str().unwrap().to_owned();
    assert_eq!((&told["resultType"], &told["status"]), (&json!("task"), &json!("working")));
    assert_eq!(ask(&agent, "get", &id).await.result()["status"], "working");
    assert_eq!(ask(&stand.agent("b"), "get", &id).await.error_code(), -32602);
    stand.gateway.cli.ok(&["approvals", "approve", &code_in(&told), "--yes"]);
    let mut last = json!({});
    for _ in 0..600 {
        last = ask(&agent, "get", &id).await.result();
        if last["status"] != "working" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!((&last["status"], &last["result"]["content"]), (&json!("completed"), &json!([])), "{last}");
    assert_eq!(stand.script.calls().len(), 1);
    // Detached, the question stands, and the identical call takes it up.
    let told = agent.ask("tools/call", pay).await.result();
    let id = told["taskId"].as_str().unwrap().to_owned();
    ask(&agent, "cancel", &id).await.result();
    assert_eq!(ask(&agent, "get", &id).await.result()["status"], "cancelled");
    stand.gateway.cli.ok(&["approvals", "approve", &code_in(&told), "--yes"]);
    assert_eq!(agent.ask("tools/call", pay).await.result()["content"], json!([]));
    assert_eq!(stand.script.calls().len(), 2);
    assert!(stand.gateway.records("calls").iter().any(|record| record["outcome"] == "cancelled" && record["task"].is_object()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_always_a_task_is_listed_to_those_who_take_tasks() {
    let setup = Setup::new();
    let mut always = tool("always", &["x"]);
    always["execution"] = json!({"taskSupport": "required"});
    let mut never = tool("never", &["x"]);
    never["execution"] = json!({"taskSupport": "forbidden"});
    let script = Script::new(setup.folder(), "s", &[always, never]);
    let gateway = setup.agent("a").connector("s", &script, "").grant("g", "a", &["s__*"], "").start();
    let agent = gateway.agent("a");
    let listed = async |agent: &Agent| -> Vec<String> {
        let list = agent.ask("tools/list", "").await.result();
        list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&agent.declaring(TAKES)).await, ["s__always", "s__never"]);
    assert_eq!(listed(&agent).await, ["s__never"]);
    for version in ["2025-06-18", "2025-11-25"] {
        assert_eq!(listed(&agent.session(version).await).await, ["s__never"]);
    }
}
