//! Group B: nesting, in schemas, in arguments and in results.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Agent, Play, Stage, tool, tool_with};

/// So many arrays, one in the other.
fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[tokio::test(flavor = "multi_thread")]
async fn a30_a_deep_schema_is_refused_or_costs_its_connector_and_nobody_else() {
    let schema = |depth: usize| {
        format!(r#"{}{{"type":"object"}}{}"#, r#"{"type":"object","properties":{"x":"#.repeat(depth / 2), "}}".repeat(depth / 2))
    };
    for depth in [60, 64, 66, 127, 128, 129, 2_000, 100_000] {
        let good = tool("good", &["text"]);
        let text = format!(r#"{{"tools":[{good},{{"name":"deep","inputSchema":{}}}]}}"#, schema(depth));
        let mut stage = Play::of(&[good, tool("deep", &[])]).script(json!({"list_text": text})).start().await;
        assert!(stage.started_in < Duration::from_secs(12), "depth {depth}: the start took {:?}", stage.started_in);
        let tools = stage.a.tools().await;
        assert_eq!(tools.contains(&"evil__deep".to_owned()), depth <= 60, "depth {depth}: {tools:?}");
        // Deeper than a message may be, the list is no message; below, only the tool is dropped.
        assert_eq!(tools.contains(&"evil__good".to_owned()), depth < 124, "depth {depth}: {tools:?}");
        stage.oracle(0, 0, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a30_deep_arguments_are_refused_before_they_are_built() {
    let mut stage = Stage::new(&[tool_with("echo", &json!({"type": "object", "properties": {"x": {}}}))]).await;
    // Message, params and arguments are three levels of the 64.
    let deepest = stage.a.call_raw("evil__echo", &format!(r#"{{"x":{}}}"#, nested(61))).await;
    assert!(deepest.words().contains("[[["), "{}", deepest.text);
    let depths = [62, 64, 127, 128, 129, 2_000, 100_000, 1_500_000];
    for depth in depths {
        let reply = stage.a.call_raw("evil__echo", &format!(r#"{{"x":{}}}"#, nested(depth))).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32700), "depth {depth}: {}", reply.text);
    }
    // Beside the arguments, in what is not relayed, and unbalanced.
    let elsewhere = [
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__echo","arguments":{{}},"x":{},{}}}}}"#,
            nested(100_000),
            Agent::meta()
        ),
        format!(r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call"}}"#, nested(100_000)),
        format!(
            r#"{{"x":{},"jsonrpc":"2.0","id":1,"method":"tools/list"}}"#,
            r#"{"a":"#.repeat(100_000) + "1" + &"}".repeat(100_000)
        ),
        nested(100_000),
        "[".repeat(4_000_000),
        r#"{"a":"#.repeat(600_000),
    ];
    for body in &elsewhere {
        let reply = stage
            .a
            .post(body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "evil__echo")])
            .await;
        assert_eq!((reply.status, reply.error_code()), (400, -32700));
    }
    stage.oracle(1 + depths.len() + elsewhere.len(), 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a30_deep_results_do_not_pass() {
    let mut structured = tool("raw_structured", &["result"]);
    structured["outputSchema"] = json!({"type": "object", "properties": {"x": {}}});
    let mut stage = Stage::new(&[tool("raw", &["result"]), structured]).await;
    let result =
        |depth: usize| format!(r#"{{"content":[{{"type":"text","text":"ok"}}],"structuredContent":{{"x":{}}}}}"#, nested(depth));
    let ok = stage.a.call("evil__raw", &json!({"result": result(62)})).await;
    assert!(ok.text.contains("[[["), "{}", ok.text);
    let depths = [63, 64, 127, 128, 129, 2_000, 100_000];
    for depth in depths {
        for tool in ["evil__raw", "evil__raw_structured"] {
            let reply = stage.a.call(tool, &json!({"result": result(depth)})).await;
            assert!(reply.words().starts_with("FAILED: connector evil"), "depth {depth}: {}", reply.text);
        }
        // The same with an escape, so that redaction has to read it.
        let escaped = result(depth).replace("\"ok\"", r#""\u006fk""#);
        assert!(stage.a.call("evil__raw", &json!({"result": escaped})).await.words().starts_with("FAILED"), "depth {depth}");
    }
    let calls = 1 + 3 * depths.len();
    stage.oracle(calls, calls, calls).await;
}
