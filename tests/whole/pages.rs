//! Long lists, page by page.

use serde_json::{Value, json};

use crate::harness::{Agent, Reply, Script, Setup, tool};

/// So many tools, of one server: two pages of them.
const TOOLS: usize = 1_100;

async fn page(agent: &Agent, cursor: &Value) -> Reply {
    let cursor = if cursor.is_null() { String::new() } else { format!("\"cursor\":{cursor}") };
    if agent.session_id().is_some() {
        return agent.post(&format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{cursor}}}}}"#), &[]).await;
    }
    let comma = if cursor.is_empty() { "" } else { "," };
    let body = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{cursor}{comma}{}}}}}"#, Agent::meta());
    agent.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")]).await
}

fn names(page: &Value) -> Vec<String> {
    page["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_in_pages_in_every_version() {
    let setup = Setup::new();
    let tools: Vec<Value> = (0..TOOLS).map(|number| tool(&format!("tool-{number:04}"), &["x"])).collect();
    let script = Script::new(setup.folder(), "s", &tools);
    let gateway = setup
        .agent("a")
        .agent("b")
        .connector("s", &script, "")
        .grant("g", "a", &["s__*"], "")
        .grant("h", "b", &["s__*"], "")
        .start();
    let (agent, other) = (gateway.agent("a"), gateway.agent("b"));
    let expected: Vec<String> = (0..TOOLS).map(|number| format!("s__tool-{number:04}")).collect();
    let mut cursors = Vec::new();
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let is_modern = version == "2026-07-28";
        let agent = if is_modern { agent.clone() } else { agent.session(version).await };
        let first = page(&agent, &Value::Null).await.result();
        let second = page(&agent, &first["nextCursor"]).await.result();
        assert_eq!([names(&first), names(&second)].concat(), expected, "{version}");
        assert_eq!((names(&first).len(), second.get("nextCursor")), (1_000, None));
        for page in [&first, &second] {
            assert_eq!(page.get("cacheScope"), is_modern.then_some(&json!("private")));
            assert_eq!(page.get("ttlMs").is_some(), is_modern);
        }
        cursors.push(first["nextCursor"].clone());
        for wrong in [json!("1"), json!(""), json!(7), Value::Bool(true)] {
            assert_eq!(page(&agent, &wrong).await.error_code(), -32602, "{wrong}");
        }
    }
    assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "{cursors:?}");
    // The same tools under another grant: another list.
    let refused = page(&other, &cursors[0]).await;
    assert_eq!((refused.status, refused.error_code()), (400, -32602));
    let listed: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["call", "--agent", "a", "--list", "--json"])).unwrap();
    assert_eq!(listed.iter().map(|tool| tool["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    // One changed definition makes it another list: the old cursor leads nowhere.
    let mut changed = tools.clone();
    changed[3]["description"] = json!("another one");
    script.offer(&changed);
    gateway.cli.ok(&["connectors", "pin", "s", "--yes"]);
    assert_eq!(page(&agent, &cursors[0]).await.error_code(), -32602);
    let first = page(&agent, &Value::Null).await.result();
    assert_eq!(first["tools"][3]["description"], "another one");
    assert_ne!(first["nextCursor"], cursors[0]);
    assert_eq!(names(&page(&agent, &first["nextCursor"]).await.result()).len(), 100);
    // On record: what was refused, and why.
    let refused = gateway.records("calls").into_iter().filter(|record| record["reason"] == "invalid_cursor");
    assert!(refused.count() >= 8);
}

/// Resources, templates and prompts, of one server: as many as fit no page.
#[tokio::test(flavor = "multi_thread")]
async fn long_lists_of_resources_and_prompts_come_in_pages_in_every_version() {
    let setup = Setup::new();
    let tools = [tool("echo", &["x"])];
    let script = Script::new(setup.folder(), "docs", &tools);
    let list = |member: &str, key: &str| {
        let items: Vec<Value> =
            (0..TOOLS).map(|number| json!({key: format!("a:{number:04}"), "name": format!("n{number:04}")})).collect();
        json!(format!("\"result\":{{\"{member}\":{}}}", json!(items)))
    };
    let answers = json!({
        "era": "legacy",
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
        "answers": {
            "resources/list": list("resources", "uri"),
            "resources/templates/list": list("resourceTemplates", "uriTemplate"),
            "prompts/list": list("prompts", "name"),
        },
    });
    script.offer_with(&tools, &answers);
    let low = "{ kind = \"read\", band = \"low\" }";
    let features = format!("features.resource_read = {low}\nfeatures.prompt_get = {low}\n");
    let gateway = setup
        .agent("a")
        .connector("docs", &script, &features)
        .grant("g", "a", &["docs/resource_read", "docs/prompt_get"], "")
        .start();
    let agent = gateway.agent("a");
    for (method, member) in
        [("resources/list", "resources"), ("resources/templates/list", "resourceTemplates"), ("prompts/list", "prompts")]
    {
        let mut cursors = Vec::new();
        for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
            let agent = if version == "2026-07-28" { agent.clone() } else { agent.session(version).await };
            let first = agent.ask(method, "").await.result();
            let cursor = first["nextCursor"].clone();
            let second = agent.ask(method, &format!("\"cursor\":{cursor}")).await.result();
            let count = |page: &Value| page[member].as_array().unwrap().len();
            assert_eq!(
                (count(&first), count(&second), second.get("nextCursor")),
                (1_000, TOOLS - 1_000, None),
                "{version} {method}"
            );
            assert_ne!(first[member][0], second[member][0]);
            assert_eq!(agent.ask(method, "\"cursor\":\"1\"").await.error_code(), -32602);
            assert_eq!(agent.ask(method, "\"cursor\":7").await.error_code(), -32602);
            cursors.push(cursor);
        }
        assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "{cursors:?}");
        let other = if method == "prompts/list" { "resources/list" } else { "prompts/list" };
        assert_eq!(agent.ask(other, &format!("\"cursor\":{}", cursors[0])).await.error_code(), -32602);
    }
}
