//! Grants whose agents look for tools: what is found, described and called, and that nothing else is there for them.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Agent, Reply, Script, Setup, raw, tool};

const VERSIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];
const READ: &str = "{ kind = \"read\", band = \"low\" }";

fn said(name: &str, description: &str, arguments: &[&str]) -> Value {
    let mut tool = tool(name, arguments);
    tool["description"] = description.into();
    tool
}

/// Two connectors; `searcher` looks for tools, `lister` has the same ones listed.
fn setup() -> (Setup, Script) {
    let setup = Setup::new();
    let mut odd = said("odd_result", "Gives a list", &["x"]);
    odd["outputSchema"] = json!({"type": "array"});
    let forge = Script::new(
        setup.folder(),
        "forge",
        &[
            said("create_issue", "Opens an issue in a repository", &["repository", "label"]),
            said("list_issues", "Lists the issues of a repository", &["repository"]),
            said("delete_repository", "Removes a repository and all of its issues", &["repository"]),
            said("hidden_issue", "No policy lets anybody call this about an issue", &["repository"]),
            odd,
        ],
    );
    let mail = Script::new(
        setup.folder(),
        "mail",
        &[said("send", "Sends a message", &["recipient"]), said("search_tools", "Is not what it is called", &["query"])],
    );
    let policy = "@id(\"no\") forbid (principal, action == Bailiwick::Action::\"forge__hidden_issue\", resource);\n";
    fs::write(setup.folder().join("p.cedar"), policy).unwrap();
    let classes = |names: &[&str]| names.iter().map(|name| format!("tools.{name} = {READ}")).collect::<Vec<_>>().join("\n");
    let granted = ["forge__create_issue", "forge__list_issues", "forge__hidden_issue", "forge__odd_result", "mail__search_tools"];
    let setup = setup
        .agent("searcher")
        .agent("lister")
        .with("[policy]\nfiles = [\"p.cedar\"]")
        .connector("forge", &forge, &classes(&["create_issue", "list_issues", "delete_repository", "hidden_issue", "odd_result"]))
        .connector("mail", &mail, &format!("prefix = \"never\"\n{}", classes(&["send", "search_tools"])))
        .grant("s", "searcher", &granted, "tool_search = true")
        .grant("l", "lister", &granted, "");
    (setup, forge)
}

async fn search(agent: &Agent, query: &str) -> Value {
    agent.call("search_tools", &json!({"query": query})).await.result()["structuredContent"].clone()
}

fn names(found: &Value) -> Vec<&str> {
    found["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

fn unknown(reply: &Reply, name: &str) -> (u16, String) {
    (reply.status, reply.text.replacen(name, "NAME", 1))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_is_found_described_and_called_in_every_version() {
    let (setup, forge) = setup();
    let gateway = setup.start();
    let (agent, lister) = (gateway.agent("searcher"), gateway.agent("lister"));
    for version in VERSIONS {
        let is_modern = version == "2026-07-28";
        let (agent, lister) = if is_modern {
            (agent.clone(), lister.clone())
        } else {
            (agent.session(version).await, lister.session(version).await)
        };
        assert_eq!(agent.tools().await, ["search_tools", "describe_tool"], "{version}");
        let found = search(&agent, "create an issue").await;
        assert_eq!(names(&found), ["forge__create_issue", "forge__list_issues"]);
        let expected = json!({"name": "forge__create_issue", "description": "Opens an issue in a repository", "kind": "read", "band": "low"});
        assert_eq!((&found["tools"][0], &found["total"]), (&expected, &json!(2)));
        assert_eq!(search(&agent, "delete repository hidden message send").await["total"], 2, "they say `repository`");
        assert_eq!(
            names(&search(&agent, "search_tools").await),
            ["mail__search_tools"],
            "that connector's name is not the gateway's"
        );
        // What is described is what a list has, to the byte.
        let list = lister.list().await;
        let definitions: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(&list.raw(&["result", "tools"])).unwrap();
        assert_eq!(definitions.len(), 4);
        for definition in definitions {
            let name = serde_json::from_str::<Value>(definition.get()).unwrap()["name"].as_str().unwrap().to_owned();
            let described = agent.call("describe_tool", &json!({"name": name})).await;
            assert_eq!(described.raw(&["result", "structuredContent", "tool"]), definition.get(), "{version} {name}");
            assert_eq!(described.result()["structuredContent"]["call"], "allowed");
            let text = described.result()["content"][0]["text"].as_str().unwrap().to_owned();
            assert_eq!(raw(&text, &["tool"]), Some(definition.get()));
            assert_eq!(definition.get().contains("outputSchema"), is_modern && name == "forge__odd_result");
        }
        // Listed or not, a tool is called by its name.
        let arguments = json!({"repository": version, "label": "x"});
        assert_eq!(agent.call("forge__create_issue", &arguments).await.words(), arguments.to_string());
        assert!(agent.call("forge__create_issue", &json!({"nosuch": 1})).await.is_tool_error());
        assert!(agent.call("mail__search_tools", &json!({"query": "x"})).await.words().contains("query"));
        // What is not granted, what policy hides, and what nothing has: the same words for all.
        let absent = unknown(&agent.call("describe_tool", &json!({"name": "forge__nothing"})).await, "forge__nothing");
        for name in ["forge__delete_repository", "forge__hidden_issue", "send", "mail__send", "forge/resource_read"] {
            assert_eq!(unknown(&agent.call("describe_tool", &json!({"name": name})).await, name), absent, "{name}");
            assert_eq!(agent.call(name, &json!({})).await.error_code(), -32602);
        }
        assert_eq!(agent.call("search_tools", &json!({"query": "x".repeat(257)})).await.result()["isError"], true);
        assert_eq!(lister.call("search_tools", &json!({"query": "x"})).await.error_code(), -32602);
    }
    let sent = forge.calls();
    assert!(sent.iter().all(|line| line.contains("\"create_issue\"")), "only calls reach a server: {sent:?}");
    // On record: who asked, and no word of what was asked.
    let mut searches =
        gateway.records("calls").into_iter().filter(|record| record["tool"] == "search_tools" && record["agent"] == "searcher");
    let first = searches.next().unwrap();
    assert_eq!((&first["event"], &first["outcome"], &first["grant"]), (&json!("outcome"), &json!("success"), &json!("s")));
    assert!(first["args_mac"].as_str().is_some_and(|mac| mac.len() >= 32), "{first}");
    let written = gateway.everything_written();
    assert!(!written.windows(15).any(|part| part == b"create an issue"));
    gateway.cli.ok(&["audit", "verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_give_it_see_it_and_are_told_about_it() {
    let (setup, _forge) = setup();
    let mut gateway = setup.start();
    let grants: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["grants", "list", "--json"])).unwrap();
    let of = |id: &str| grants.iter().find(|grant| grant["id"] == id).unwrap()["tool_search"].clone();
    assert_eq!((of("s"), of("l")), (json!(true), json!(false)));
    assert!(gateway.cli.ok(&["grants", "list"]).contains("by search"));
    let card = gateway.cli.ok(&["grants", "show", "s"]);
    assert!(card.contains("looked for with search_tools, not listed") && card.contains("forge__create_issue"), "{card}");
    assert!(!gateway.cli.ok(&["grants", "show", "l"]).contains("search_tools, not"));
    // Made at run time, with a token of its own; and gone with its grant.
    let token = gateway.cli.ok(&[
        "grants",
        "create",
        "--agent",
        "lister",
        "--purpose",
        "find things",
        "--tools",
        "forge__*",
        "--id",
        "made",
        "--tool-search",
    ]);
    let made = Agent::new(&gateway.url, &token);
    assert_eq!(made.tools().await, ["search_tools", "describe_tool"]);
    assert_eq!(names(&search(&made, "delete").await), ["forge__delete_repository"]);
    gateway.cli.ok(&["grants", "revoke", "made"]);
    assert!(made.call("search_tools", &json!({"query": "delete"})).await.text.contains("error"));
    // The command line types arguments by what is described.
    let call = |more: &[&str]| gateway.cli.run(&[&["call", "--agent", "searcher"], more].concat());
    assert!(call(&["forge__list_issues", "repository=r"]).status.success());
    let found = call(&["search_tools", "query=issues", "limit=1"]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("forge__list_issues"), "{found:?}");
    // A tool that has the name of the gateway's own keeps its prefix, and whoever asks hears why.
    let why = "`mail__search_tools` keeps its prefix: `search_tools` alone could not be told from the gateway's own tool `search_tools`";
    assert!(gateway.stderr().contains(why), "{}", gateway.stderr());
    // `explain` knows them.
    let explain = |agent: &str, tool: &str, arguments: &str| {
        let told = gateway.cli.run(&["explain", "--agent", agent, "--tool", tool, "--args", arguments, "--json"]);
        serde_json::from_slice::<Value>(&told.stdout).unwrap()[0].clone()
    };
    assert_eq!(explain("searcher", "search_tools", r#"{"query":"x"}"#)["state"], "allow");
    assert_eq!(explain("searcher", "search_tools", "{}")["reason"], "invalid_arguments");
    assert_eq!(explain("lister", "search_tools", r#"{"query":"x"}"#)["reason"], "unknown_tool");
    let lister = gateway.agent("lister");
    assert_eq!(lister.call("search_tools", &json!({"query": "x"})).await.error_code(), -32602);
    assert!(gateway.cli.ok(&["explain", "--last"]).contains("tool_search = true"));
    // A reload that gives or takes it counts at once.
    assert_eq!(lister.tools().await.len(), 4);
    gateway.reconfigure(|toml| toml.replace("tool_search = true", "tool_search = false"));
    gateway.cli.ok(&["reload"]);
    assert_eq!(gateway.agent("searcher").tools().await.len(), 4);
    // And it is kept over a restart.
    gateway.reconfigure(|toml| toml.replace("tool_search = false", "tool_search = true"));
    let gateway = gateway.kill_and_restart();
    assert_eq!(gateway.agent("searcher").tools().await, ["search_tools", "describe_tool"]);
}
