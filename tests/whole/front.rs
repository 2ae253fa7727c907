//! The agents' side: what is looked at before a message is.

use reqwest::{Client, Method, RequestBuilder, header::HeaderName};
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
    for token in ["", "x", "ba_x_y", good.token().get(1..).unwrap(), &format!("{}x", good.token())] {
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
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example"), ("host", "evil.example:8931")]
    {
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

/// The `calls` records that are about a method, as method, outcome and reason.
fn of_method(gateway: &Gateway, method: &str) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let records = gateway.records("calls").into_iter().filter(|record| record["method"] == method);
    records.map(|record| (text(&record["outcome"]), text(&record["reason"]))).collect()
}

/// A request of this agent's with no message.
async fn without_message(agent: &Agent, method: Method, headers: &[(&str, &str)]) -> u16 {
    let mut request = agent.request().build().unwrap();
    *request.method_mut() = method;
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let http = Client::builder().no_proxy().build().unwrap();
    Agent::send(RequestBuilder::from_parts(http, request)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_session_is_an_answer_and_no_refusal() {
    let gateway = start();
    let older = gateway.agent("a").session("2025-11-25").await;
    assert_eq!(older.call("s__nothing", &json!({})).await.error_code(), -32602);
    let mut request = older.request().build().unwrap();
    *request.method_mut() = Method::GET;
    let stream = Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap();
    assert_eq!((stream.status().as_u16(), &stream.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    assert_eq!(of_method(&gateway, "session/stream"), [("success".to_owned(), String::new())]);
    assert_eq!(of_method(&gateway, "http"), []);
    assert!(gateway.cli.ok(&["explain", "--last"]).contains("s__nothing"));

    let id = older.session_id().unwrap();
    assert_eq!(without_message(&gateway.agent("a"), Method::GET, &[]).await, 405, "no session");
    assert_eq!(without_message(&gateway.agent("b"), Method::GET, &[("mcp-session-id", id)]).await, 405, "not its session");
    assert_eq!(without_message(&older, Method::PUT, &[]).await, 405, "nothing that anybody asks");
    assert_eq!(of_method(&gateway, "http"), vec![("invalid".to_owned(), "method_not_allowed".to_owned()); 3]);
    assert_eq!(of_method(&gateway, "session/stream").len(), 1);

    assert_eq!(without_message(&older, Method::DELETE, &[]).await, 204);
    let records = gateway.records("calls");
    let versions = records.iter().filter(|record| record["method"].as_str().is_some_and(|method| method.starts_with("session/")));
    assert_eq!(versions.map(|record| record["protocol"].as_str().unwrap()).collect::<Vec<_>>(), ["2025-11-25"; 2]);
}

/// A modern message without an id.
fn without_id(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{params}{}}}}}"#, Agent::meta())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_not_choose_what_a_notification_is_called_on_record() {
    let gateway = start();
    let modern = gateway.agent("a");
    let older = modern.session("2025-06-18").await;
    let known =
        ["notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"];
    let unknown = ["notifications/tools/call", "notifications/", "notifications/success/of/s__echo", "notifications/Cancelled"];
    for method in known.iter().chain(&unknown) {
        let reply = modern.post(&without_id(method, ""), &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]).await;
        assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{method}");
        let reply = older.post(&json!({"jsonrpc": "2.0", "method": method}).to_string(), &[]).await;
        assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{method}");
    }
    for method in known {
        let sessions = usize::from(method == "notifications/initialized");
        assert_eq!(of_method(&gateway, method), vec![("success".to_owned(), String::new()); 2 + sessions], "{method}");
    }
    for method in unknown {
        assert_eq!(of_method(&gateway, method), [], "{method}");
    }
    let invalid = ("invalid".to_owned(), "unknown_notification".to_owned());
    assert_eq!(of_method(&gateway, "notifications/_other"), vec![invalid; 8]);
}

/// A request without an id is no notification: it is refused, recorded as such, and never sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_id_is_refused_and_never_sent() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("ga", "a", &["s__*"], "")
        .start();
    let modern = gateway.agent("a");
    let older = modern.session("2025-11-25").await;
    let called = without_id("tools/call", r#""name":"s__echo","arguments":{},"#);
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "s__echo")];
    assert_eq!(modern.post(&called, &headers).await.status, 400);
    let plain = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"s__echo","arguments":{}}}"#;
    assert_eq!(older.post(plain, &[]).await.status, 400);
    let nothing = without_id("admin/please", "");
    assert_eq!(
        modern.post(&nothing, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "admin/please")]).await.status,
        400
    );
    let refused = ("invalid".to_owned(), "no_id".to_owned());
    assert_eq!(of_method(&gateway, "tools/call"), vec![refused.clone(); 2]);
    assert_eq!(of_method(&gateway, "admin/please"), [refused]);
    assert_eq!(script.calls(), [""; 0]);
}

/// A grant that is named unclearly is no grant, rather than the default one.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_named_unclearly_is_not_the_default_one() {
    let gateway = start();
    let agent = gateway.agent("a");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"s__echo","arguments":{{}},{}}}}}"#,
        Agent::meta()
    );
    let call = |grants: &[&[u8]]| {
        let mut request = agent.request().body(body.clone()).header("mcp-protocol-version", "2026-07-28");
        request = request.header("mcp-method", "tools/call").header("mcp-name", "s__echo");
        for grant in grants {
            request = request.header("bailiwick-grant", *grant);
        }
        agent.exchange(request)
    };
    let (named, unnamed) = (call(&[b"ga"]).await, call(&[]).await);
    assert!(!named.is_tool_error() && named.result() == unnamed.result(), "{}", named.text);
    let unknown = call(&[b"nonsense"]).await;
    for grants in [&[b"ga".as_slice(), b"ga"][..], &[b"ga", b"gb"], &[b"nonsense", b"ga"], &[b"g\xe9"], &[b""]] {
        let reply = call(grants).await;
        assert_eq!((reply.status, reply.error_code()), (unknown.status, unknown.error_code()), "{grants:?}: {}", reply.text);
    }
    let sent = gateway.records("calls").into_iter().filter(|record| record["event"] == "intent").count();
    assert_eq!(sent, 2);
}
