//! Group C: headers that say other than the body. What is decided is decided on the body.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::harness::{Agent, Play, Stage, Wire, tool, tool_with};

const VERSION: &str = "mcp-protocol-version: 2026-07-28\r\n";

fn body(tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"x"}},{}}}}}"#,
        Agent::meta()
    )
}

/// The sentinel that wraps a header value which no header can carry as it is.
fn wrapped(value: &str) -> String {
    format!("=?base64?{}?=", STANDARD.encode(value))
}

#[tokio::test(flavor = "multi_thread")]
async fn a41_a_header_that_disagrees_with_the_body_is_refused() {
    let mut stage = Stage::new(&[tool("echo", &["text"]), tool("denied", &["text"])]).await;
    let (right, other) = (wrapped("evil__denied"), wrapped("evil__echo"));
    let method = "mcp-method: tools/call\r\n";
    let name = "mcp-name: evil__denied\r\n";
    let cases = [
        format!("{method}Mcp-Name: evil__echo\r\n"),
        format!("Mcp-Name: evil__echo\r\n{method}"),
        format!("{method}mcp-name: evil__echo\r\n"),
        format!("{method}MCP-NAME: evil__echo\r\n"),
        format!("{method}mcp-name: evil__echo\r\n{name}"),
        format!("{method}{name}mcp-name: evil__echo\r\n"),
        format!("{method}{name}{name}"),
        format!("{method}mcp-name: evil__denied, evil__denied\r\n"),
        format!("{method}mcp-name: {other}\r\n"),
        format!("{method}mcp-name: {right}\r\nmcp-name: {right}\r\n"),
        format!("{method}mcp-name: =?base64?!!!?=\r\n"),
        format!("{method}mcp-name: =?base64??=\r\n"),
        format!("{method}mcp-name: {}\r\n", right.replace("base64", "BASE64")),
        format!("{method}mcp-name: {}\r\n", right.trim_end_matches("?=")),
        format!("{method}mcp-name: {}\r\n", wrapped(&right)),
        format!("{method}mcp-name: =?base64?//79?=\r\n"),
        format!("{method}mcp-name: EVIL__DENIED\r\n"),
        format!("{method}mcp-name:\r\n"),
        format!("{method}mcp-name: evil__denied\u{e9}\r\n"),
        format!("{method}mcp-name: \"evil__denied\"\r\n"),
        format!("mcp-method: tools/list\r\n{name}"),
        format!("{name}mcp-method: tools/list\r\n"),
        format!("{method}mcp-method: tools/list\r\n{name}"),
        format!("mcp-method: tools/list\r\n{method}{name}"),
        format!("{method}{method}{name}"),
        format!("mcp-method: TOOLS/CALL\r\n{name}"),
        format!("mcp-method: {}\r\n{name}", wrapped("tools/list")),
        name.to_owned(),
        method.to_owned(),
        String::new(),
    ];
    for headers in &cases {
        let reply = Wire::ask(&stage.a, &format!("{VERSION}{headers}"), body("evil__denied").as_bytes());
        assert_eq!((reply.status, reply.error_code()), (400, Some(-32020)), "{headers}: {}", reply.body);
        stage.heard(&reply.body);
    }
    // What agrees passes, as it is or wrapped.
    for headers in [
        format!("{method}{name}"),
        format!("{name}{method}"),
        format!("{method}mcp-name: {right}\r\n"),
        "MCP-METHOD: tools/call\r\nMCP-Name: evil__denied\r\n".to_owned(),
    ] {
        let reply = Wire::ask(&stage.a, &format!("{VERSION}{headers}"), body("evil__denied").as_bytes());
        assert_eq!(reply.status, 200, "{headers}: {}", reply.body);
    }
    stage.oracle(cases.len() + 4, 4, 4).await;
    assert!(stage.evil.calls().iter().all(|line| line.contains("\"denied\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a41_escapes_in_the_body_are_read_before_they_are_compared() {
    let mut stage = Stage::new(&[tool("echo", &["text"]), tool("denied", &["text"])]).await;
    let escaped =
        body("evil__denied").replace("evil__denied", r"evil\u005f\u005fdenied").replace("tools/call", r"tools\/\u0063all");
    let ask = |method: &str, name: &str| {
        Wire::ask(&stage.a, &format!("{VERSION}mcp-method: {method}\r\nmcp-name: {name}\r\n"), escaped.as_bytes())
    };
    for (method, name) in [
        ("tools/call", "evil__echo"),
        ("tools/list", "evil__denied"),
        ("tools/call", r"evil\u005f\u005fdenied"),
        (r"tools\/\u0063all", "evil__denied"),
    ] {
        let reply = ask(method, name);
        assert_eq!((reply.status, reply.error_code()), (400, Some(-32020)), "{method} {name}: {}", reply.body);
    }
    assert_eq!(ask("tools/call", "evil__denied").status, 200);
    assert!(stage.evil.calls()[0].contains("\"denied\""));
    stage.oracle(5, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a41_an_older_version_takes_no_disagreeing_header_either() {
    let mut stage = Stage::new(&[tool("echo", &["text"]), tool("denied", &["text"])]).await;
    let session = stage.a.session("2025-11-25").await;
    let id = session.session_id().unwrap().to_owned();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"evil__denied","arguments":{"text":"x"}}}"#;
    let cases = [
        "mcp-name: evil__echo\r\n",
        "mcp-method: tools/list\r\n",
        "mcp-name: evil__denied\r\nmcp-name: evil__denied\r\n",
        "mcp-method: tools/call\r\nmcp-method: tools/list\r\n",
    ];
    for headers in cases {
        let reply = Wire::ask(&stage.a, &format!("mcp-session-id: {id}\r\n{headers}"), body.as_bytes());
        assert_eq!((reply.status, reply.error_code()), (400, Some(-32020)), "{headers}: {}", reply.body);
    }
    stage.oracle(cases.len(), 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a41_what_says_who_and_where_stands_once() {
    let mut stage = Stage::new(&[tool("echo", &["text"])]).await;
    let mirrors = format!("{VERSION}mcp-method: tools/call\r\nmcp-name: s1__echo\r\n");
    let (a, b) = (stage.a.token().to_owned(), stage.b.token().to_owned());
    let ask = |headers: &str| {
        let mut wire = Wire::open(&stage.a);
        let body = body("s1__echo");
        let common = format!("content-type: application/json\r\n{mirrors}content-length: {}\r\n", body.len());
        wire.say(&[crate::harness::bare_head(&stage.a, &format!("{headers}{common}")).as_bytes(), body.as_bytes()].concat());
        wire.reply().unwrap()
    };
    let authorizations = [
        format!("authorization: Bearer {a}\r\nauthorization: Bearer {b}\r\n"),
        format!("authorization: Bearer {b}\r\nauthorization: Bearer {a}\r\n"),
        format!("authorization: Bearer {a}\r\nauthorization: Bearer {a}\r\n"),
        format!("authorization: Bearer {a}, Bearer {b}\r\n"),
        format!("authorization: Basic {a}\r\n"),
        format!("authorization: Bearer\r\nx: {a}\r\n"),
        format!("authorization: Bearer {a}x\r\n"),
        format!("x-authorization: Bearer {a}\r\n"),
        "bailiwick-agent: b\r\n".to_owned(),
        String::new(),
    ];
    for headers in &authorizations {
        assert_eq!(ask(headers).status, 401, "{headers}");
    }
    // A grant that is named unclearly is not the default grant.
    let own = format!("authorization: Bearer {a}\r\n");
    let grants = [
        "bailiwick-grant: grant-a\r\nbailiwick-grant: grant-a\r\n",
        "bailiwick-grant: grant-b\r\nbailiwick-grant: grant-a\r\n",
        "bailiwick-grant: grant-b\r\n",
        "bailiwick-grant: \u{e9}\r\n",
        "bailiwick-grant:\r\n",
        "bailiwick-grant: grant-a, grant-b\r\n",
    ];
    for headers in grants {
        let reply = ask(&format!("{own}{headers}"));
        assert!(reply.error_code().is_some_and(|code| code > 1000), "{headers}: {}", reply.body);
    }
    assert_eq!(ask(&format!("{own}host: evil.example\r\n")).status, 403);
    assert_eq!(ask(&format!("{own}origin: http://evil.example\r\n")).status, 403);
    assert_eq!(ask(&format!("{own}origin: null\r\n")).status, 403);
    stage.oracle(authorizations.len() + grants.len() + 3, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a42_a_parameter_header_agrees_with_the_argument_or_the_call_is_refused() {
    let schema = json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"}, "n": {"type": "number", "x-mcp-header": "N"},
        "to": {"type": "object", "properties": {"zone": {"type": "string", "x-mcp-header": "Zone"}}},
    }});
    let mut stage = Stage::new(&[tool_with("echo", &schema)]).await;
    let mirrors = format!("{VERSION}mcp-method: tools/call\r\nmcp-name: evil__echo\r\n");
    let ask = |headers: &str, arguments: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__echo","arguments":{arguments},{}}}}}"#,
            Agent::meta()
        );
        Wire::ask(&stage.a, &format!("{mirrors}{headers}"), body.as_bytes())
    };
    let us = r#"{"region":"us"}"#;
    let wrong = [
        ("mcp-param-region: eu\r\n".to_owned(), us),
        (String::new(), us),
        ("mcp-param-region: us\r\n".to_owned(), "{}"),
        ("mcp-param-region: us\r\nmcp-param-region: us\r\n".to_owned(), us),
        ("mcp-param-region: eu\r\nmcp-param-region: us\r\n".to_owned(), us),
        ("mcp-param-region: us\r\nMcp-Param-Region: eu\r\n".to_owned(), us),
        ("mcp-param-region: US\r\n".to_owned(), us),
        (format!("mcp-param-region: {}\r\n", wrapped("eu")), us),
        ("mcp-param-region: =?base64?%%?=\r\n".to_owned(), us),
        ("mcp-param-region: us\r\nmcp-param-n: 2\r\n".to_owned(), r#"{"region":"us","n":1}"#),
        ("mcp-param-n: 1\r\n".to_owned(), r#"{"n":1.0}"#),
        ("mcp-param-zone: b\r\n".to_owned(), r#"{"to":{"zone":"a"}}"#),
        (String::new(), r#"{"to":{"zone":"a"}}"#),
    ];
    for (headers, arguments) in &wrong {
        let reply = ask(headers, arguments);
        assert_eq!((reply.status, reply.error_code()), (400, Some(-32020)), "{headers}{arguments}: {}", reply.body);
    }
    let right = [
        ("mcp-param-region: us\r\n".to_owned(), us),
        (format!("mcp-param-region: {}\r\n", wrapped("us")), us),
        ("Mcp-Param-Region: us\r\nmcp-param-n: 1.50\r\n".to_owned(), r#"{"region":"us","n":1.50}"#),
        ("mcp-param-zone: a\r\n".to_owned(), r#"{"to":{"zone":"a"}}"#),
        (String::new(), "{}"),
        ("mcp-param-unheard: x\r\n".to_owned(), "{}"),
    ];
    for (headers, arguments) in &right {
        let reply = ask(headers, arguments);
        assert_eq!(reply.status, 200, "{headers}{arguments}: {}", reply.body);
    }
    stage.oracle(wrong.len() + right.len(), right.len(), right.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a44_the_version_in_the_header_is_the_version_in_the_body() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    let session = stage.a.session("2025-11-25").await;
    let id = session.session_id().unwrap().to_owned();
    let mirrors = "mcp-method: tools/call\r\nmcp-name: evil__echo\r\n";
    let modern = body("evil__echo");
    let cases = [
        "mcp-protocol-version: 2025-11-25\r\n".to_owned(),
        "mcp-protocol-version: 2025-06-18\r\n".to_owned(),
        "mcp-protocol-version: 2026-07-29\r\n".to_owned(),
        String::new(),
        "mcp-protocol-version:\r\n".to_owned(),
        format!("{VERSION}{VERSION}"),
        format!("{VERSION}mcp-protocol-version: 2025-11-25\r\n"),
        format!("mcp-protocol-version: 2025-11-25\r\n{VERSION}"),
        format!("mcp-protocol-version: 2025-11-25\r\nmcp-session-id: {id}\r\n"),
        format!("mcp-session-id: {id}\r\n"),
    ];
    for headers in &cases {
        let reply = Wire::ask(&stage.a, &format!("{mirrors}{headers}"), modern.as_bytes());
        assert_eq!((reply.status, reply.error_code()), (400, Some(-32020)), "{headers}: {}", reply.body);
    }
    // A session has the version that it was opened with, and no other.
    let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"evil__echo","arguments":{"text":"x"}}}"#;
    let within = [
        "mcp-protocol-version: 2025-06-18\r\n",
        VERSION,
        "mcp-protocol-version: 1\r\n",
        "mcp-protocol-version: 2025-11-25\r\nmcp-protocol-version: 2025-11-25\r\n",
    ];
    for headers in within {
        let reply = Wire::ask(&stage.a, &format!("mcp-session-id: {id}\r\n{headers}"), plain.as_bytes());
        assert_eq!(reply.status, 400, "{headers}: {}", reply.body);
    }
    stage.oracle(cases.len() + within.len(), 0, 0).await;
}
