//! Row 102, everywhere else: what a server says that is no result. Of itself and its tools, in questions and tasks, in what is no message,
//! and in the parts of HTTP that are none. The oracle looks for it in all that agents heard and all that the gateway wrote.

use serde_json::{Value, json};

use crate::{
    harness::{Agent, CANARY, Play, Stage, tool},
    whole::tasks::{TAKES, working},
};

const ERAS: [&str; 2] = ["legacy", "modern"];

/// With the secret where `SECRET!` is, in a script.
fn filled(script: &Value) -> Value {
    serde_json::from_str(&script.to_string().replace("SECRET!", CANARY)).unwrap()
}

/// Whatever an operator is told of the hostile server, for the oracle to look through.
async fn look_at_it_all(stage: &Stage) {
    let commands: [&[&str]; 8] = [
        &["connectors", "show", "evil", "--json"],
        &["connectors", "show", "evil"],
        &["connectors", "diff", "evil"],
        &["connectors", "diff", "evil", "--json"],
        &["credentials", "list", "--json"],
        &["credentials", "ended", "--json"],
        &["audit", "tail"],
        &["approvals", "list", "--json"],
    ];
    for command in commands {
        let told = stage.gateway.cli.run(command);
        for text in [&told.stdout, &told.stderr] {
            stage.heard(&String::from_utf8_lossy(text));
        }
    }
    for page in ["/healthz", "/readyz", "/metrics"] {
        stage.heard(&reqwest::get(format!("{}{page}", stage.gateway.console)).await.unwrap().text().await.unwrap());
    }
}

fn leaked(stage: &Stage) -> usize {
    stage.gateway.records("secrets").into_iter().filter(|record| record["event"] == "leaked").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a102_what_a_server_says_of_itself_and_its_tools() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string", "description": "like SECRET!"}}});
    let tools = filled(&json!([
        {"name": "described", "description": "use SECRET! for it", "inputSchema": {"type": "object"}},
        {"name": "titled", "title": "SECRET!", "inputSchema": {"type": "object"}},
        {"name": "hinted", "annotations": {"title": "SECRET!"}, "inputSchema": {"type": "object"}},
        {"name": "shaped", "inputSchema": schema},
        {"name": "noted", "inputSchema": {"type": "object"}, "_meta": {"evil.example/k": "SECRET!"}},
        {"name": "SECRET!", "inputSchema": {"type": "object"}},
        {"name": "echo", "inputSchema": {"type": "object"}},
    ]));
    for (is_http, era) in [(false, "legacy"), (false, "modern"), (true, "legacy"), (true, "modern")] {
        let said = filled(&json!({
            "era": era, "name": "SECRET!", "list_more": {"_meta": {"evil.example/k": "SECRET!"}}, "capabilities": {"tools": {}, "experimental": {"SECRET!": {}}},
        }));
        let play = Play::of(tools.as_array().unwrap()).script(said);
        let mut stage = if is_http { play.http() } else { play }.start().await;
        let older = stage.a.session("2025-11-25").await;
        for agent in [&stage.a, &older] {
            assert_eq!(agent.tools().await, ["evil__echo", "s1__echo"]);
        }
        let findings = stage.findings();
        let telling = findings.iter().filter(|found| found["why"].as_str().unwrap().contains("shows what was lent"));
        let telling: Vec<&str> = telling.map(|found| found["id"].as_str().unwrap()).collect();
        assert_eq!(telling, ["described", "titled", "hinted", "shaped", "noted", "[redacted]"], "{findings:?}");
        assert!(leaked(&stage) >= 2, "at the start, and when an admin looked");
        look_at_it_all(&stage).await;
        // Its tools change, and with them what it shows.
        stage.evil.offer_with(
            &[
                tool("echo", &["text"]),
                filled(&json!({"name": "late", "description": "SECRET!", "inputSchema": {"type": "object"}})),
            ],
            &json!({"era": era}),
        );
        look_at_it_all(&stage).await;
        stage.oracle(0, 0, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a102_what_a_server_asks() {
    let question = |message: &str| {
        json!([{"method": "elicitation/create", "params": {"message": message, "requestedSchema": {"type": "object", "properties": {
            "name": {"type": "string", "title": "SECRET!", "description": "SECRET!"}}}}}])
        .to_string()
    };
    let url = json!([{"method": "elicitation/create", "params": {"mode": "url", "url": "https://pages.example/?t=SECRET!", "message": "go",
        "elicitationId": "SECRET!"}}])
    .to_string();
    let sampled = json!([{"method": "sampling/createMessage", "params": {"maxTokens": 9, "systemPrompt": "SECRET!", "messages": [
        {"role": "user", "content": {"type": "text", "text": "what is SECRET!?"}}]}}])
    .to_string();
    let marked = json!([{"method": "roots/list", "params": {"_meta": {"evil.example/k": "SECRET!"}}}]).to_string();
    let connector = "call_timeout = \"2s\"\nelicitation_hosts = [\"pages.example\"]\nfeatures.elicitation = { kind = \"read\", band = \"low\" }\n\
        features.sampling = { kind = \"read\", band = \"low\" }\nfeatures.roots = { kind = \"read\", band = \"low\" }";
    let grant = "[[grants]]\nid = \"asked\"\nagent = \"a\"\npurpose = \"test\"\ntools = [\"evil__*\", \"evil/elicitation\", \
        \"evil/sampling\", \"evil/roots\"]\nttl = \"1h\"\n";
    for (is_http, era) in [(false, "legacy"), (false, "modern"), (true, "legacy"), (true, "modern")] {
        let play = Play::of(&[tool("wonders", &["questions"])]);
        let play = play.script(json!({"era": era, "secret": CANARY})).connector(connector).top(grant);
        let stage = if is_http { play.http() } else { play }.start().await;
        let capabilities = json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}});
        let agent = stage.a.under("asked").declaring(&capabilities.to_string());
        let agents = [agent.clone(), agent.session_of("2025-11-25", &capabilities).await];
        let mut calls = 0;
        for agent in &agents {
            for questions in [&question("say SECRET!"), &url, &sampled, &marked] {
                let heard = asked(agent, calls + 10, questions).await;
                let is_left_out = questions == &marked && !heard.contains("evil.example/k");
                assert!(heard.contains("redacted") || heard.contains("isError") || is_left_out, "{era} {questions}: {heard}");
                stage.heard(&heard);
                calls += 1;
            }
        }
        look_at_it_all(&stage).await;
        assert!(leaked(&stage) > 0, "{era}");
        assert_eq!(stage.decisions().len(), calls);
        // Those that nobody answers are still open: the rest of what the oracle asks is for calls that are over.
        stage.canary_is_nowhere().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a102_how_a_task_stands() {
    let mores = [
        ("working", r#","statusMessage":"now with SECRET!""#),
        (
            "input_required",
            r#","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"SECRET!?","requestedSchema":{"type":"object","properties":{}}}}}"#,
        ),
        ("completed", r#","result":{"content":[{"type":"text","text":"SECRET!"}],"_meta":{"SECRET!":1}}"#),
        ("failed", r#","error":{"code":-32000,"message":"SECRET!","data":"SECRET!"}"#),
    ];
    for is_http in [false, true] {
        let tools = [tool("slow", &["x"]), tool("echo", &["x"])];
        let grant = "[[grants]]\nid = \"asked\"\nagent = \"a\"\npurpose = \"test\"\ntools = [\"evil__*\", \"evil/elicitation\"]\nttl = \"1h\"\n";
        let play = Play::of(&tools).script(filled(&working("working", ""))).top(grant);
        let play = play.connector("features.elicitation = { kind = \"read\", band = \"low\" }");
        let stage = if is_http { play.http() } else { play }.start().await;
        let agent = stage.a.under("asked").declaring(TAKES);
        for (status, more) in mores {
            stage.evil.offer_with(&tools, &working("working", ""));
            let id = crate::whole::tasks::begin(&agent, "evil__slow").await;
            stage.evil.offer_with(&tools, &filled(&working(status, more)));
            let told = crate::whole::tasks::ask(&agent, "get", &id).await;
            assert!(told.text.contains("redacted") || told.json().get("error").is_some(), "{status}: {}", told.text);
            stage.evil.offer_with(&tools, &working("working", ""));
            crate::whole::tasks::ask(&agent, "cancel", &id).await;
        }
        look_at_it_all(&stage).await;
        stage.canary_is_nowhere().await;
    }
}

/// What an agent hears of these questions. Nobody answers them: it is what is asked that counts.
async fn asked(agent: &Agent, id: usize, questions: &str) -> String {
    let arguments = json!({"questions": questions}).to_string();
    let params = format!(r#""name":"evil__wonders","arguments":{arguments}"#);
    if agent.session_id().is_none() {
        return agent.ask("tools/call", &params).await.text;
    }
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{{params}}}}}"#);
    let mut stream = agent.request().body(body).send().await.unwrap();
    let mut heard = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        heard.push_str(&String::from_utf8_lossy(&chunk));
        if heard.contains("\"method\"") {
            break;
        }
    }
    agent.post(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#), &[]).await;
    heard
}

/// Said beside an answer, on standard output or standard error, in no form that a message has.
#[tokio::test(flavor = "multi_thread")]
async fn a102_what_is_no_message() {
    let lines = [
        "SECRET! is no message",
        r#"{"jsonrpc":"2.0","id":"SECRET!","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"ID","error":{"code":"SECRET!","message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":"ID","error":{"code":-1,"message":{"SECRET!":1}}}"#,
        r#"{"jsonrpc":"2.0","id":"ID","result":"SECRET!"}"#,
        r#"{"jsonrpc":"2.0","id":"ID","result":{"resultType":"SECRET!","content":[]}}"#,
        r#"{"jsonrpc":"SECRET!","id":"ID","result":{"content":[]}}"#,
        r#"{"jsonrpc":"2.0","method":"SECRET!"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/SECRET!","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"SECRET!","params":{"SECRET!":"SECRET!"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"SECRET!","logger":"SECRET!","data":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"SECRET!","data":{"SECRET!":["SECRET!"]}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"ID","progress":1,"message":"SECRET!","_meta":{"SECRET!":1}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"ID","reason":"SECRET!"}}"#,
        r#"{"jsonrpc":"2.0","id":"ID","result":{"content":[{"type":"SECRET!","text":"x"}]}}"#,
        r#"{"jsonrpc":"2.0","id":"ID","result":{"content":[{"type":"resource","resource":{"uri":"SECRET!"}}]}}"#,
        r#"{"jsonrpc":"2.0","id":"ID","result":{"content":[{"type":"image","data":"SECRET!","mimeType":"SECRET!"}]}}"#,
    ];
    let tell = r#""progressToken":"own","io.modelcontextprotocol/logLevel":"debug","#;
    for era in ERAS {
        let play = Play::of(&[tool("says", &["line", "stderr"])]).script(json!({"era": era, "secret": CANARY}));
        let mut stage = play.start().await;
        let older = stage.a.session("2025-11-25").await;
        let mut calls = 0;
        for agent in [&stage.a, &older] {
            for line in lines {
                agent
                    .call_with_meta(
                        "evil__says",
                        &json!({"line": line, "stderr": "using SECRET!\nERROR \u{1b}[1mSECRET!SECRET!"}),
                        tell,
                    )
                    .await;
                calls += 1;
            }
        }
        look_at_it_all(&stage).await;
        let sent = stage.evil.calls().len();
        assert_eq!(sent, calls);
        stage.oracle(calls, calls, sent).await;
    }
}

/// In a status line, a header, a body that is none, and between the events of a stream.
#[tokio::test(flavor = "multi_thread")]
async fn a102_over_http_what_is_no_body() {
    let with_body = |head: &str, body: &str| {
        let length = body.replace("SECRET!", CANARY).len();
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let events = |of: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{of}");
    let done = r#"data: {"jsonrpc":"2.0","id":"ID","result":{"resultType":"complete","content":[]}}"#;
    let all = [
        with_body("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"SECRET!\", error=\"SECRET!\"", "SECRET!"),
        with_body(
            "403 Forbidden\r\ncontent-type: application/json",
            r#"{"jsonrpc":"2.0","id":"ID","error":{"code":-32001,"message":"SECRET!"}}"#,
        ),
        with_body("404 Not Found\r\ncontent-type: text/plain", "no SECRET!"),
        with_body("500 SECRET!\r\ncontent-type: text/html", "<html>SECRET!</html>"),
        with_body("302 Found\r\nlocation: https://evil.example/?t=SECRET!", ""),
        with_body("200 OK\r\ncontent-type: text/SECRET!", "{}"),
        with_body(
            "200 OK\r\ncontent-type: application/json\r\nx-echo: SECRET!\r\nmcp-session-id: SECRET!\r\nset-cookie: t=SECRET!",
            r#"{"jsonrpc":"2.0","id":"ID","result":{"resultType":"complete","content":[]}}"#,
        ),
        with_body("200 OK\r\ncontent-type: application/json", r#"{"jsonrpc":"2.0","id":"SECRET!","result":{}}"#),
        with_body("200 OK\r\ncontent-type: application/json", r#"{"jsonrpc":"2.0" SECRET!"#),
        with_body("200 OK\r\ncontent-type: application/json\r\ncontent-encoding: SECRET!", "x"),
        "SECRET! is no HTTP\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nSECRET!\r\n".to_owned(),
        events(&format!(": SECRET!\n\nevent: SECRET!\nid: SECRET!\nretry: SECRET!\n{done}\n\n")),
        events(&format!("data: SECRET!\n\n{done}\n\n")),
        events(&format!("SECRET!: SECRET!\n{done}\n\n")),
        events(&format!(
            "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"info\",\ndata: \"data\":\"SECRET!\"}}}}\n\n{done}\n\n"
        )),
        events("data: {\"jsonrpc\":\"2.0\",\"id\":\"SECRET!\",\"method\":\"ping\"}\n\n"),
    ];
    let tell = r#""progressToken":"own","io.modelcontextprotocol/logLevel":"debug","#;
    for era in ERAS {
        let play = Play::of(&[tool("bytes", &["all"]), tool("echo", &["text"])]);
        let mut stage =
            play.http().script(json!({"era": era, "secret": CANARY})).connector("call_timeout = \"2s\"").start().await;
        let older = stage.a.session("2025-11-25").await;
        let mut calls = 0;
        for agent in [&stage.a, &older] {
            for bytes in &all {
                agent.call_with_meta("evil__bytes", &json!({"all": bytes}), tell).await;
                calls += 1;
                // What it answered is over: the next call is served.
                for left in (0..20).rev() {
                    calls += 1;
                    if !agent.call("evil__echo", &json!({"text": "next"})).await.is_tool_error() {
                        break;
                    }
                    assert!(left > 0, "{bytes}");
                }
            }
        }
        look_at_it_all(&stage).await;
        let sent = stage.evil.calls().len();
        stage.oracle(calls, calls, sent).await;
    }
}
