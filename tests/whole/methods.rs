//! The table of methods, as README has it: whole, true, and with a test for the refusal of each.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::harness::{Agent, Gateway, Script, Setup, tool};

/// The methods of MCP 2025-06-18 and 2025-11-25, by the specification's own list (`schema.ts`).
const OLDER: [&str; 31] = [
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/prompts/list_changed",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
];

/// The methods of MCP 2026-07-28 (`schema.ts`), and of its extension for tasks.
const NEWEST: [&str; 25] = [
    "server/discover",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "subscriptions/listen",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/prompts/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
];

/// One method, as README says what becomes of it.
struct Row {
    method: String,
    is_older: bool,
    is_newest: bool,
    /// Whether older versions have it, and it is served to none that speaks them.
    is_newest_alone: bool,
    /// `gates`, `gateway`, `noted`, `counted` or `refused`.
    answer: String,
    test: String,
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

fn rows() -> Vec<Row> {
    let readme = readme();
    let section = readme.split_once("\n## Methods\n").unwrap().1.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{line}");
            let plain = |cell: &str| cell.replace('`', "");
            Row {
                method: plain(cells[0]),
                is_older: cells[1].contains("2025"),
                is_newest: cells[1].contains("2026"),
                is_newest_alone: cells[2].ends_with("of 2026 alone"),
                answer: cells[2].split(':').next().unwrap().to_owned(),
                test: plain(cells[4]),
            }
        })
        .collect()
}

#[test]
fn every_method_of_every_version_is_a_row_and_every_row_a_method() {
    let rows = rows();
    let of = |is_in: &dyn Fn(&Row) -> bool| -> BTreeSet<String> {
        rows.iter().filter(|row| is_in(row)).map(|row| row.method.clone()).collect()
    };
    let known = |methods: &[&str]| methods.iter().map(|method| (*method).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(of(&|row| row.is_older), known(&OLDER));
    assert_eq!(of(&|row| row.is_newest), known(&NEWEST));
    assert_eq!(of(&|_| true).len(), rows.len(), "a method has one row");
    let answers: BTreeSet<&str> = rows.iter().map(|row| row.answer.as_str()).collect();
    assert_eq!(answers, ["counted", "gates", "gateway", "noted", "refused"].into());
    for row in &rows {
        let is_notification = row.method.starts_with("notifications/");
        assert_eq!(is_notification, ["counted", "noted"].contains(&row.answer.as_str()), "{}", row.method);
    }
}

#[test]
fn every_row_names_a_test_of_its_refusal_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for row in rows() {
        let (file, name) = row.test.split_once(": ").unwrap_or_else(|| panic!("{}: `{}` names no test", row.method, row.test));
        let text =
            fs::read_to_string(root.join("tests").join(file)).unwrap_or_else(|fault| panic!("{}: {file}: {fault}", row.method));
        let is_there = text.split("#[test]\n").chain(text.split("#[tokio::test(flavor = \"multi_thread\")]\n"));
        let begins = |part: &str| part.trim_start_matches("async ").starts_with(&format!("fn {name}("));
        assert!(is_there.skip(1).any(begins), "{}: there is no test `{name}` in {file}", row.method);
    }
}

fn start() -> Gateway {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let more = "tools.echo = { kind = \"read\", band = \"low\" }\nfeatures.resource_read = { kind = \"read\", band = \"low\" }";
    setup.agent("a").connector("s", &script, more).grant("g", "a", &["s__*", "s/resource_read"], "").start()
}

/// What a request of this method needs besides, so that it is read at all.
fn params(method: &str) -> &'static str {
    match method {
        "initialize" => r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}"#,
        "tools/call" => r#""name":"s__echo","arguments":{}"#,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => r#""uri":"s+docs:/a""#,
        "prompts/get" => r#""name":"s__p""#,
        "completion/complete" => r#""ref":{"type":"ref/prompt","name":"s__p"},"argument":{"name":"n","value":""}"#,
        "logging/setLevel" => r#""level":"info""#,
        // Not as it must be: what it is answered by does not stay open.
        "subscriptions/listen" => r#""notifications":7"#,
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_says_is_what_happens() {
    let gateway = start();
    let newest = gateway.agent("a");
    let older = [newest.session("2025-06-18").await, newest.session("2025-11-25").await];
    let requests: Vec<Row> = rows().into_iter().filter(|row| !row.method.starts_with("notifications/")).collect();
    let strange = ["tools/Call", "nothing", "tools/call/", "Tools/list", "admin/please", "resources/write", "notifications"];
    let strange = strange.map(|method| Row {
        method: method.to_owned(),
        is_older: false,
        is_newest: false,
        is_newest_alone: false,
        answer: "refused".to_owned(),
        test: String::new(),
    });
    for Row { method, is_older, is_newest, is_newest_alone, answer, .. } in requests.iter().chain(&strange) {
        let is_served = |is_in_version: bool| is_in_version && answer != "refused";
        let reply = newest.ask(method, params(method)).await;
        let code = reply.json()["error"]["code"].as_i64();
        assert_eq!((reply.status, code) == (404, Some(-32601)), !is_served(*is_newest), "{method}: {}", reply.text);
        for older in &older {
            let reply = older.ask(method, params(method)).await;
            let code = reply.json()["error"]["code"].as_i64();
            assert_eq!(
                (reply.status, code) == (200, Some(-32601)),
                !is_served(*is_older && !is_newest_alone),
                "{method}: {}",
                reply.text
            );
        }
    }
    // Nothing of what is refused has reached the server, and no notification is one of its own name unless the table has it.
    let script = fs::read_to_string(gateway.folder().join("s.log")).unwrap_or_default();
    for Row { method, answer, .. } in &requests {
        let is_sent = script.contains(&format!("\"method\":\"{method}\""));
        assert!(
            !is_sent || answer == "gates" || ["initialize", "server/discover"].contains(&method.as_str()),
            "{method}: {script}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_noted_under_its_name_only_where_the_table_has_it() {
    let gateway = start();
    let newest = gateway.agent("a");
    let older = newest.session("2025-11-25").await;
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.method.starts_with("notifications/")).collect();
    for Row { method, .. } in &rows {
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{}}}}}"#, Agent::meta());
        let reply = newest.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]).await;
        assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{method}");
        assert_eq!(older.post(&format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#), &[]).await.status, 202, "{method}");
    }
    let records = gateway.records("calls");
    let of = |name: &str, outcome: &str| -> usize {
        records.iter().filter(|record| record["method"] == name && record["outcome"] == outcome).count()
    };
    for Row { method, answer, .. } in &rows {
        let opening = usize::from(method == "notifications/initialized");
        assert_eq!(of(method, "success"), if answer == "noted" { 2 + opening } else { 0 }, "{method}");
    }
    let strange = rows.iter().filter(|row| row.answer == "counted").count();
    assert_eq!(of("notifications/_other", "invalid"), 2 * strange);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_unknown_is_answered_whatever_he_asks() {
    let gateway = start();
    let stranger = Agent::new(&gateway.url, "nobody");
    let methods: Vec<String> = rows().into_iter().map(|row| row.method).collect();
    for method in &methods {
        let reply = stranger.ask(method, params(method)).await;
        assert_eq!((reply.status, reply.error_code()), (401, 1004), "{method}");
    }
    let refused = |record: &&Value| record["outcome"] == "unauthenticated" && record["method"] == "unread";
    assert_eq!(gateway.records("calls").iter().filter(refused).count(), methods.len());
}
