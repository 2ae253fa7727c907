//! The agents' side: what is looked at before a message is.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Agent, Gateway, Script, Setup, tool};

fn start() -> Gateway {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    setup
        .agent("a")
        .agent("b")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("ga", "a", &["s__*"], "")
        .grant("gb", "b", &["s__*"], "")
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_good_token() {
    let gateway = start();
    let good = gateway.agent("a");
    for token in ["", "x", "ba_x_y", &good.token()[1..], &format!("{}x", good.token())] {
        let reply = Agent::new(&gateway.url, token).list().await;
        assert_eq!(reply.status, 401, "{token}");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    assert_eq!(good.list().await.status, 200);
    let refused = gateway.records("calls").into_iter().filter(|record| record["outcome"] == "unauthenticated").count();
    assert_eq!(refused, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_hosts_and_origins_are_refused() {
    let gateway = start();
    let agent = gateway.agent("a");
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example"), ("host", "evil.example:8931")] {
        let reply = agent.post("{}", &[(name, value)]).await;
        assert_eq!(reply.status, 403, "{name}: {value}");
    }
    assert_eq!(agent.list().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_openers_alone() {
    let gateway = start();
    let a = gateway.agent("a").session("2025-11-25").await;
    let id = a.session_id().unwrap().to_owned();
    let thief = gateway.agent("b");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(thief.post(list, &[("mcp-session-id", &id)]).await.status, 404);
    assert_eq!(thief.post(list, &[("mcp-session-id", "0123")]).await.status, 404);
    let delete = |agent: &Agent| agent.request().header("mcp-session-id", &id);
    let stolen = delete(&thief).build().unwrap();
    assert_eq!(*stolen.method(), Method::POST);
    assert_eq!(a.tools().await, ["s__echo"]);
    assert_eq!(gateway.agent("a").post(list, &[]).await.status, 400, "no session, no version");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_table_of_methods_is_refused() {
    let gateway = start();
    let modern = gateway.agent("a");
    let older = modern.session("2025-06-18").await;
    for method in ["resources/list", "prompts/list", "completion/complete", "logging/setLevel", "tools/Call", "nothing", "sampling/createMessage"] {
        let body = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        }}});
        let reply = modern.post(&body.to_string(), &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]).await;
        assert_eq!((reply.status, reply.error_code()), (404, -32601), "{method}");
        let reply = older.post(&json!({"jsonrpc": "2.0", "id": 9, "method": method}).to_string(), &[]).await;
        assert_eq!((reply.status, reply.error_code()), (200, -32601), "{method}");
    }
    let discover = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    }}});
    let reply = modern.post(&discover.to_string(), &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")]).await;
    assert_eq!(reply.result()["supportedVersions"], json!(["2025-06-18", "2025-11-25", "2026-07-28"]));
}
