//! Group C, row 43: every version that is served has the same gates, and no other version is served.

use serde_json::json;

use crate::harness::{Agent, Play, Stage, tool, tool_with};

const POLICY: &str = r#"
@id("no-big-amounts")
@reason("amounts above 100 are refused")
forbid (principal, action == Bailiwick::Action::"evil__pay", resource)
when { context.input has amount && context.input.amount > 100 };
"#;

/// The core of what holds for a call, in one version: authentication, grant, validation, policy, approval. Returns how many
/// calls it attempted, and how many of these went to the server.
async fn core(stage: &Stage, version: &str) -> (usize, usize) {
    let speaking = |agent: Agent| async move { if version == "2026-07-28" { agent } else { agent.session(version).await } };
    let agent = speaking(stage.a.clone()).await;
    // Authentication: another token, in this agent's session where there is one.
    let mut stranger = agent.request().body("{}");
    stranger = stranger.bearer_auth("wrong");
    assert_eq!(Agent::send(stranger).await.status, 401, "{version}");
    // Grant: what is not granted is not there, for calls and lists.
    let other = speaking(stage.b.clone()).await;
    assert_eq!(other.tools().await, ["s1__echo"], "{version}");
    let ungranted = agent.call("s1__nothing", &json!({})).await;
    assert_eq!(ungranted.error_code(), -32602, "{version}");
    // Validation.
    let invalid = agent.call("evil__pay", &json!({"amount": "1"})).await;
    assert!(invalid.words().starts_with("INVALID ARGUMENTS"), "{version}: {}", invalid.text);
    let undeclared = agent.call("evil__pay", &json!({"amount": 1, "as_user": "root"})).await;
    assert!(undeclared.words().starts_with("INVALID ARGUMENTS"), "{version}: {}", undeclared.text);
    // Policy, and the grant's bounds by ceiling and approval.
    let denied = agent.call("evil__pay", &json!({"amount": 101})).await;
    assert!(denied.words().contains("no-big-amounts"), "{version}: {}", denied.text);
    let pending = agent.call("evil__wipe", &json!({"text": version})).await;
    assert!(pending.words().starts_with("APPROVAL PENDING"), "{version}: {}", pending.text);
    // And what is allowed is done, once.
    let done = agent.call("evil__pay", &json!({"amount": 100})).await;
    assert_eq!(done.words(), r#"{"amount":100}"#, "{version}");
    (7, 1)
}

async fn stage() -> Stage {
    let pay = tool_with("pay", &json!({"type": "object", "properties": {"amount": {"type": "integer"}}}));
    Play::of(&[pay, tool("wipe", &["text"])])
        .connector("tools.wipe = { kind = \"write\", band = \"high\" }")
        .top("[approvals]\nhold = \"200ms\"\n[policy]\nfiles = [\"mine.cedar\"]")
        .file("mine.cedar", POLICY)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a43_every_version_has_the_same_gates() {
    let mut stage = stage().await;
    let (mut attempted, mut sent) = (0, 0);
    for version in ["2026-07-28", "2025-11-25", "2025-06-18"] {
        let (more, went) = core(&stage, version).await;
        attempted += more;
        sent += went;
    }
    stage.oracle(attempted, sent, sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a43_no_other_version_is_served_nor_none() {
    let mut stage = stage().await;
    let call = |meta: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__pay","arguments":{{"amount":1}}{meta}}}}}"#
        )
    };
    let session = stage.a.session("2025-06-18").await;
    let id = session.session_id().unwrap().to_owned();
    let mut attempted = 0;
    // In the header: with a session, without one.
    for version in
        ["2025-03-26", "2024-11-05", "2024-10-07", "2025-11-24", "2026-07-28 ", "2026-07-28x", "9999-99-99", "latest", "", "0"]
    {
        for with_session in [true, false] {
            let mut headers = vec![("mcp-protocol-version", version)];
            if with_session {
                headers.push(("mcp-session-id", &id));
            }
            let reply = stage.a.post(&call(""), &headers).await;
            assert_eq!(reply.status, 400, "{version}, {with_session}: {}", reply.text);
            attempted += 1;
        }
    }
    // In the body.
    for version in ["2025-03-26", "2025-06-18", "2025-11-25", "2024-11-05", "2099-01-01", "draft", ""] {
        let meta = format!(
            r#","_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        );
        let reply = stage
            .a
            .post(&call(&meta), &[("mcp-protocol-version", version), ("mcp-method", "tools/call"), ("mcp-name", "evil__pay")])
            .await;
        assert_eq!((reply.status, reply.error_code()), (400, -32022), "{version}: {}", reply.text);
        let supported = json!(["2025-06-18", "2025-11-25", "2026-07-28"]);
        assert_eq!(reply.json()["error"]["data"], json!({"supported": supported, "requested": version}));
        // A header that says something else is another fault, whatever both are worth; and so is none.
        for header in ["2026-07-28", "2025-11-24", "2099-01-02", "x"] {
            let reply = stage.a.post(&call(&meta), &[("mcp-protocol-version", header), ("mcp-method", "tools/call")]).await;
            assert_eq!((reply.status, reply.error_code()), (400, -32020), "{version}, {header}: {}", reply.text);
            assert_eq!(reply.json()["error"].get("data"), None);
        }
        assert_eq!(stage.a.post(&call(&meta), &[]).await.error_code(), -32020, "{version}");
        attempted += 6;
    }
    // What nobody could mean is not said back whole; what is no text is no version.
    let long = "9".repeat(5000);
    let meta = |version: &str| {
        format!(
            r#","_meta":{{"io.modelcontextprotocol/protocolVersion":{version},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        )
    };
    let reply = stage.a.post(&call(&meta(&format!("\"{long}\""))), &[("mcp-protocol-version", &long)]).await;
    assert_eq!((reply.status, reply.error_code()), (400, -32022));
    assert_eq!(reply.json()["error"]["data"]["requested"], json!("9".repeat(64)));
    for version in ["20260728", "null", "[]", "{\"a\":1}"] {
        let reply = stage.a.post(&call(&meta(version)), &[("mcp-protocol-version", "2026-07-28")]).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32602), "{version}");
    }
    // Without a version in the body, one in the header that nobody serves is said back, too.
    let reply = stage.a.post(&call(""), &[("mcp-protocol-version", "2099-01-01")]).await;
    assert_eq!((reply.error_code(), &reply.json()["error"]["data"]["requested"]), (-32022, &json!("2099-01-01")));
    attempted += 6;
    // Nowhere at all, or half.
    let modern = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "evil__pay")];
    let halves = [
        (call(""), &modern[..0]),
        (call(""), &modern[..]),
        (call(r#","_meta":{}"#), &modern[..]),
        (call(r#","_meta":null"#), &modern[..]),
        (call(r#","_meta":[]"#), &modern[..]),
        (call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#), &modern[..]),
        (
            call(
                r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":null}"#,
            ),
            &modern[..],
        ),
        (
            call(
                r#","_meta":{"io.modelcontextprotocol/protocolVersion":20260728,"io.modelcontextprotocol/clientCapabilities":{}}"#,
            ),
            &modern[..],
        ),
        (
            call(
                r#","_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#,
            ),
            &modern[..],
        ),
        (call(&format!(",{}", Agent::meta())), &modern[..0]),
        (call(&format!(",{}", Agent::meta())), &modern[..1]),
    ];
    for (body, headers) in halves {
        let reply = stage.a.post(&body, headers).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        attempted += 1;
    }
    stage.oracle(attempted, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a43_an_older_initialize_is_offered_what_is_served() {
    let mut stage = stage().await;
    let hello = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"admin","version":"1"}}}}}}"#
        )
    };
    for (asked, offered) in [
        ("2024-11-05", "2025-06-18"),
        ("2025-03-26", "2025-06-18"),
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        ("", "2025-06-18"),
    ] {
        assert_eq!(stage.a.post(&hello(asked), &[]).await.result()["protocolVersion"], json!(offered), "{asked}");
    }
    stage.oracle(0, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a43_one_approval_asked_in_one_version_is_not_asked_again_in_another() {
    let mut stage = stage().await;
    let mut codes = Vec::new();
    for version in ["2026-07-28", "2025-11-25", "2025-06-18"] {
        let agent = if version == "2026-07-28" { stage.a.clone() } else { stage.a.session(version).await };
        let reply = agent.call("evil__wipe", &json!({"text": "same"})).await;
        codes.push(reply.json()["result"]["_meta"]["dev.bailiwick/approval"]["code"].clone());
    }
    codes.dedup();
    assert!(codes.len() == 1 && codes[0].is_string(), "{codes:?}");
    stage.oracle(3, 0, 0).await;
}
