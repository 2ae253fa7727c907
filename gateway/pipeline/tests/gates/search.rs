//! Tool search: what a list would show is what is found and described, to the byte, and nothing else is.

use std::sync::Arc;

use bailiwick_pipeline::{
    Body,
    catalogue::World,
    grant::{Budget, Grant, GrantState, Labels},
    received::Protocol,
    records::Outcome,
};
use bailiwick_policy::Band;
use bailiwick_schemas::names::QualifiedName;
use proptest::{collection::vec, prelude::ProptestConfig, prop_assert, prop_assert_eq, proptest, sample::select};
use serde_json::{Value, json};

use crate::world::{ALL, Asking, Bench, Heard, Told, alive, catalogue, terms};

const ANYTHING: &str = "@id(\"p\") permit (principal, action, resource);";
const OWN: [&str; 2] = ["search_tools", "describe_tool"];

fn searching(id: &str, patterns: &[&str]) -> Grant {
    Grant { tool_search: true, ..terms(id, patterns) }
}

fn swap(bench: &Bench, world: World) {
    *bench.fakes.world.lock().unwrap() = Arc::new(world);
}

/// A bench of these tools: names and descriptions.
fn bench(grants: impl IntoIterator<Item = Grant>, tools: &[(&str, Value)]) -> Bench {
    let bench = Bench::with(grants);
    swap(&bench, catalogue::described_world(2, tools, ANYTHING));
    bench
}

fn says(description: &str) -> Value {
    json!({"description": description})
}

fn forge() -> Vec<(&'static str, Value)> {
    let arguments = |names: &[&str]| {
        let properties: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        json!({"type": "object", "properties": properties})
    };
    vec![
        (
            "forge__create_issue",
            json!({"title": "New issue", "description": "Opens an issue in a repository.", "inputSchema": arguments(&["repository", "label"])}),
        ),
        (
            "forge__list_issues",
            json!({"description": "Lists the issues of a repository", "inputSchema": arguments(&["repository"])}),
        ),
        ("forge__mergePullRequest", json!({"annotations": {"title": "Merge"}, "description": "Merges what was reviewed"})),
        (
            "mail__send",
            json!({"description": "Sends a message to somebody", "inputSchema": arguments(&["recipient", "subject"])}),
        ),
        ("mail__search", says("Durchsucht das Postfach nach Größe und Absender")),
        ("mail__archive", says("Moves a message out of the way; it has no issue with that")),
    ]
}

async fn own(bench: &Bench, tool: &str, arguments: &Value) -> Heard {
    bench.call(tool, &arguments.to_string()).await
}

async fn look(bench: &Bench, query: &str) -> Heard {
    own(bench, "search_tools", &json!({"query": query, "limit": 50})).await
}

/// What an own tool told: the same, structured and as text.
fn told(heard: &Heard) -> (String, Value) {
    let Told::Result(text) = heard.told() else { panic!("{:?}", heard.told()) };
    let result: Value = serde_json::from_str(&text).unwrap();
    let as_text = result["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with(&format!("\"structuredContent\":{as_text}}}")), "{text}");
    (as_text, result["structuredContent"].clone())
}

fn names(heard: &Heard) -> Vec<String> {
    let found = told(heard).1;
    found["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

async fn found(bench: &Bench, query: &str) -> Vec<String> {
    names(&look(bench, query).await)
}

/// What the grant's list is without search: the definitions by name, as they are written in it.
async fn listed(bench: &Bench, older: bool) -> Vec<(String, String)> {
    let with_search = bench.grant();
    let without = Grant { tool_search: false, ..with_search.terms().clone() };
    *bench.fakes.grants.lock().unwrap() = vec![alive(without, None)];
    let Body::Tools { page, .. } = bench.list().await.answer.body else { panic!() };
    *bench.fakes.grants.lock().unwrap() = vec![with_search];
    let definitions = if older { page.older() } else { page.definitions().clone() };
    let texts: Vec<Box<serde_json::value::RawValue>> = serde_json::from_slice(&definitions).unwrap();
    let name = |text: &str| serde_json::from_str::<Value>(text).unwrap()["name"].as_str().unwrap().to_owned();
    texts.iter().map(|text| (name(text.get()), text.get().to_owned())).collect()
}

#[tokio::test]
async fn a_list_is_two_tools_and_every_granted_one_is_called_by_its_name() {
    let bench = Bench::with([searching("g", &ALL)]);
    assert_eq!(bench.list().await.told(), Told::Tools(OWN.map(str::to_owned).to_vec()));
    let heard = bench.list_from(Some("3e8-0")).await;
    heard.refused("grant", Outcome::Invalid, "invalid_cursor");
    bench.call("tickets__get", r#"{"id":"T-1"}"#).await.ran();
    let pending = bench.call("tickets__refund", r#"{"id":"T-1"}"#).await;
    pending.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert!(found(&bench, "refund").await.contains(&"tickets__refund".to_owned()));
}

#[tokio::test]
async fn tools_are_found_by_what_they_say_of_themselves() {
    let bench = bench([searching("g", &["forge__*", "mail__*"])], &forge());
    for (query, best) in [
        ("create issue", "forge__create_issue"),
        ("creates new issues", "forge__create_issue"),
        ("list issue", "forge__list_issues"),
        ("mergePullRequest", "forge__mergePullRequest"),
        ("pull request", "forge__mergePullRequest"),
        ("forge__list_issues", "forge__list_issues"),
        ("SEND", "mail__send"),
        ("recipients", "mail__send"),
        ("archiv", "mail__archive"),
        ("GRÖSSE größe", "mail__search"),
        ("label", "forge__create_issue"),
        ("mail: archive a message", "mail__archive"),
    ] {
        assert_eq!(found(&bench, query).await.first().map(String::as_str), Some(best), "{query}");
    }
    assert_eq!(found(&bench, "zebra ?!").await, [""; 0]);
    assert_eq!(found(&bench, "?!").await, [""; 0]);
    let shown = told(&look(&bench, "create").await).1;
    let expected = json!({
        "tools": [{"name": "forge__create_issue", "title": "New issue", "description": "Opens an issue in a repository.", "kind": "read", "band": "low"}],
        "total": 1,
    });
    assert_eq!(shown, expected);
    // The name beats the description, and the number shown is as asked.
    let first = own(&bench, "search_tools", &json!({"query": "issue", "limit": 1})).await;
    assert_eq!((names(&first).len(), told(&first).1["total"].clone()), (1, json!(3)));
    assert_eq!(found(&bench, "issue").await, ["forge__create_issue", "forge__list_issues", "mail__archive"]);
}

/// Nobody puts his tool first by saying one thing over and over, nor makes an answer long.
#[tokio::test]
async fn what_is_said_over_and_over_counts_twice_and_is_cut() {
    let loud = says(&"delete file ".repeat(5_000));
    let many: Vec<(String, Value)> = (0..60).map(|number| (format!("loud__tool-{number:02}"), loud.clone())).collect();
    let mut tools: Vec<(&str, Value)> = many.iter().map(|(name, says)| (name.as_str(), says.clone())).collect();
    tools.push(("plain__delete_file", says("Removes it")));
    let bench = bench([searching("g", &["loud__*", "plain__*"])], &tools);
    let heard = look(&bench, "delete file").await;
    assert_eq!((names(&heard).len(), names(&heard)[0].as_str()), (50, "plain__delete_file"));
    assert_eq!(names(&heard)[1..3], ["loud__tool-00", "loud__tool-01"], "what is equally good is in order of names");
    assert!(told(&heard).0.len() < 50 * 400, "{}", told(&heard).0.len());
}

#[tokio::test]
async fn a_description_is_what_the_list_has_to_the_byte() {
    let odd = json!({"description": "a\u{7f}\"b", "outputSchema": {"type": "array"}, "x": [1.50, {"z": 1, "a": 2}]});
    let mut tools = forge();
    tools.push(("bare__odd", odd));
    let bench = bench([searching("g", &["forge__*", "bare__odd"])], &tools);
    for (protocol, older) in [(Protocol::V20251125, true), (Protocol::V20250618, true), (Protocol::V20260728, false)] {
        let list = listed(&bench, older).await;
        assert_eq!(list.len(), 4);
        for (name, definition) in list {
            let arguments = json!({"name": name}).to_string();
            let received = bench.received(Some(("describe_tool", &arguments)), Asking { protocol, ..Asking::plain() });
            let (text, described) = told(&bench.handle(received).await);
            assert_eq!(text, format!(r#"{{"tool":{definition},"call":"allowed"}}"#));
            assert_eq!(described["tool"]["name"], name);
        }
    }
    assert!(listed(&bench, true).await.iter().all(|(_, text)| !text.contains("outputSchema")));
    assert_eq!(listed(&bench, false).await[0].0, "odd");
}

/// The same answers, to the byte and in the same order, whatever else its connectors have.
#[tokio::test]
async fn what_is_not_granted_is_not_found_nor_counted_nor_ranked_against() {
    let granted = ["forge__create_issue", "forge__list_issues", "mail__send"];
    let mut more: Vec<(String, Value)> = Vec::new();
    for number in 0..40 {
        more.push((
            format!("forge__issue_{number:02}"),
            says("repository issue label secretword, at some length, and longer yet"),
        ));
        more.push((format!("other__send_{number:02}"), says("secretword")));
    }
    let few: Vec<(&str, Value)> = forge().into_iter().filter(|(name, _)| granted.contains(name)).collect();
    let mut all = forge();
    all.extend(more.iter().map(|(name, says)| (name.as_str(), says.clone())));
    let (alone, among) = (bench([searching("g", &granted)], &few), bench([searching("g", &granted)], &all));
    for query in ["issue", "issues repository", "send message", "secretword", "secret", "forge", "other", "label create", "a"] {
        let (alone, among) = (look(&alone, query).await, look(&among, query).await);
        assert_eq!(told(&alone).0, told(&among).0, "{query}");
        assert_eq!(alone.outcome()["result"], among.outcome()["result"]);
    }
    assert_eq!(told(&look(&among, "secretword").await).1, json!({"tools": [], "total": 0}));
}

#[tokio::test]
async fn what_is_not_granted_is_described_like_what_nothing_has() {
    let bench =
        bench([searching("g", &["forge__list_issues", "bare__open"])], &[forge(), vec![("bare__open", says("x"))]].concat());
    let unknown = async |name: &str| {
        let heard = own(&bench, "describe_tool", &json!({"name": name})).await;
        heard.refused("search", Outcome::Denied, "unknown_tool");
        (format!("{:?}", heard.told()).replacen(name, "NAME", 1), heard.decision()["detail"].clone())
    };
    let (absent, _) = unknown("nobody__nothing").await;
    for name in
        ["forge__create_issue", "mail__send", "search_tools", "describe_tool", "bare__open", "forge/prompt_get", "x y", "__"]
    {
        assert_eq!(unknown(name).await.0, absent, "{name}");
    }
    // The operator reads why.
    let why = unknown("mail__send").await.1;
    assert!(why.as_str().unwrap().starts_with("grant `g` does not cover it"), "{why}");
    assert_eq!(unknown("bare__open").await.1, "agents call it `open`: its connector has `prefix = \"never\"`");
    told(&own(&bench, "describe_tool", &json!({"name": "open"})).await);
}

/// Without it the names are those of no tool: the same words as for any other.
#[tokio::test]
async fn without_tool_search_there_is_none() {
    let bench = Bench::with([terms("g", &ALL)]);
    let absent = bench.call("nosuch", "{}").await;
    for name in OWN {
        for arguments in ["{}", r#"{"query":"x"}"#, r#"{"name":"tickets__get"}"#] {
            let heard = bench.call(name, arguments).await;
            heard.refused("grant", Outcome::Denied, "unknown_tool");
            assert_eq!(format!("{:?}", heard.told()).replace(name, "nosuch"), format!("{:?}", absent.told()));
            assert_eq!((&heard.outcome()["tool"], heard.outcome().get("args_mac")), (&json!(name), None));
        }
    }
    let detail = bench.call("search_tools", "{}").await.decision()["detail"].clone();
    assert_eq!(detail, "grant `g` has no tool search: `tool_search = true` gives it");
    *bench.fakes.grants.lock().unwrap() = vec![];
    bench.call("search_tools", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
}

#[tokio::test]
async fn a_search_is_on_record_without_its_words_and_costs_no_budget() {
    let budget = Budget { calls: Some(0), writes: Some(0), ..Budget::default() };
    let bench = bench([Grant { budget, ..searching("g", &["forge__*"]) }], &forge());
    let heard = own(&bench, "search_tools", &json!({"query": "create confidential-plan"})).await;
    let (decision, outcome) = (heard.decision(), heard.outcome());
    assert_eq!((&decision["effect"], &decision["gate"], &decision["grant"]), (&json!("allow"), &json!("search"), &json!("g")));
    assert_eq!(
        (&decision["tool"], &outcome["tool"], &outcome["method"]),
        (&json!("search_tools"), &json!("search_tools"), &json!("tools/call"))
    );
    assert_eq!(outcome["args_mac"], format!("mac:{}", json!({"query": "create confidential-plan"}).to_string().len()));
    assert_eq!(outcome["result"]["size"], heard.text().len());
    assert_eq!((heard.intents().len(), heard.sent(), heard.answer.outcome), (0, 0, Outcome::Success));
    for record in [decision, outcome] {
        assert!(!record.to_string().contains("confidential-plan"), "{record}");
    }
    let standing = bench.grant().standing();
    assert_eq!((standing.calls, standing.labels), (0, Labels::default()), "it read what a list shows");
}

#[tokio::test]
async fn arguments_are_judged_like_those_of_any_tool() {
    let bench = bench([searching("g", &["forge__*"])], &forge());
    for (tool, arguments) in [
        ("search_tools", json!({})),
        ("search_tools", json!({"query": ""})),
        ("search_tools", json!({"query": "x".repeat(257)})),
        ("search_tools", json!({"query": "x", "limit": 51})),
        ("search_tools", json!({"query": "x", "grant": "h"})),
        ("describe_tool", json!({"name": 7})),
    ] {
        let heard = own(&bench, tool, &arguments).await;
        heard.refused("validate", Outcome::Invalid, "invalid_arguments");
    }
    let long = own(&bench, "search_tools", &json!({"query": "x".repeat(257)})).await;
    assert!(long.text().contains("/query") && long.text().contains("256"), "{}", long.text());
    let params = r#"{"name":"search_tools","arguments":{"query":"x"},"requestState":"s","inputResponses":{}}"#;
    let answered = bench.handle(bench.asked("tools/call", params, Asking::plain())).await;
    answered.refused("validate", Outcome::Invalid, "answers_not_taken");
    // Numbers are numbers however they are written.
    let heard = bench.call("search_tools", r#"{"query":"issue","limit":1.0}"#).await;
    assert_eq!(names(&heard).len(), 1);
}

#[tokio::test]
async fn a_description_says_what_policy_says_of_a_call() {
    let bench = Bench::with([searching("g", &ALL)]);
    let call = async |name: &str| told(&own(&bench, "describe_tool", &json!({"name": name})).await).1["call"].clone();
    for (name, word) in [
        ("tickets__get", "allowed"),
        ("tickets__refund", "held"),
        ("tickets__overflow", "depends"),
        ("tickets__clean", "allowed"),
        ("tickets__counted", "allowed"),
    ] {
        assert_eq!(call(name).await, word, "{name}");
    }
    bench.grant().touch(Labels::UNTRUSTED);
    assert_eq!(call("tickets__clean").await, "refused");
    // What it foresees is what becomes of the call, and a call is decided by its own arguments after that.
    bench.call("tickets__get", r#"{"id":"T-1"}"#).await.ran();
    bench.call("tickets__refund", "{}").await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    bench.call("tickets__clean", "{}").await.refused("permit", Outcome::Denied, "policy_forbids");
}

/// Hidden by policy, by a ceiling, by kind, by an ancestor: as in lists.
#[tokio::test]
async fn what_a_list_hides_is_hidden() {
    let bench = Bench::with([searching("g", &ALL)]);
    bench.agent(|agent| agent.ceiling = Band::Medium);
    let all = found(&bench, "tickets vault files").await;
    for hidden in ["tickets__unruled", "tickets__banned", "tickets__refund", "files__delete", "files__wipe"] {
        assert!(!all.iter().any(|name| name == hidden), "{all:?}");
        own(&bench, "describe_tool", &json!({"name": hidden})).await.refused("search", Outcome::Denied, "unknown_tool");
    }
    let mut sorted = all.clone();
    sorted.sort();
    let mut list: Vec<String> = listed(&bench, false).await.into_iter().map(|(name, _)| name).collect();
    list.sort();
    assert_eq!(sorted, list);
    // A child has the search of its parent, and no more than it gives.
    let root = alive(searching("root", &["tickets__get", "vault__*"]), None);
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms("g", &ALL), Some(&root))];
    assert_eq!(bench.list().await.told(), Told::Tools(OWN.map(str::to_owned).to_vec()));
    assert_eq!(found(&bench, "get search").await, ["vault__get", "tickets__get"]);
    root.end(GrantState::Revoked);
    bench.call("search_tools", r#"{"query":"get"}"#).await.refused("grant", Outcome::Denied, "unknown_tool");
    let asking = Asking { grant: Some("g".to_owned()), ..Asking::plain() };
    let heard = bench.call_as("describe_tool", r#"{"name":"tickets__get"}"#, asking).await;
    heard.refused("grant", Outcome::Denied, "grant_not_live");
}

/// When the one who revokes hears that it is done, nothing more is shown.
#[tokio::test]
async fn under_a_grant_that_ends_meanwhile_nothing_is_shown() {
    for (tool, arguments) in [("search_tools", r#"{"query":"get"}"#), ("describe_tool", r#"{"name":"tickets__get"}"#)] {
        let bench = Bench::with([searching("g", &ALL)]);
        let grant = bench.grant();
        bench.fakes.at("world", move || _ = grant.end(GrantState::Revoked));
        let heard = bench.call(tool, arguments).await;
        heard.refused("search", Outcome::Cancelled, "grant_ended");
        assert!(!heard.text().contains("tickets"), "{}", heard.text());
    }
}

#[tokio::test]
async fn another_world_is_another_search() {
    let bench = bench([searching("g", &["forge__*", "bare__*"])], &forge());
    assert_eq!(found(&bench, "issue").await.len(), 2);
    swap(
        &bench,
        catalogue::described_world(3, &[("forge__close_issue", says("x")), ("bare__search_tools", says("issue"))], ANYTHING),
    );
    // A tool of that name keeps its prefix, and its name is not taken for the gateway's.
    assert_eq!(found(&bench, "issue").await, ["forge__close_issue", "bare__search_tools"]);
    bench.call("bare__search_tools", "{}").await.ran();
    // What drifted is gone from what is found, without its connector being compiled again.
    let world = bench.fakes.world.lock().unwrap().clone();
    let shelf = world.shelves["forge"].without(|tool| tool.as_str() == "close_issue");
    let mut left = catalogue::described_world(4, &[("forge__close_issue", says("x"))], ANYTHING);
    left.shelves.insert("forge".parse().unwrap(), Arc::new(shelf));
    swap(&bench, left);
    assert_eq!(found(&bench, "issue").await, [""; 0]);
}

/// So many that they are looked at beside the calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_list_is_searched_like_a_small_one() {
    let every: Vec<String> =
        (0..2_500).map(|number| format!("{}__tool-{number:04}", if number < 1_300 { "left" } else { "right" })).collect();
    let bench = Bench::with([searching("g", &["left__*", "right__*"])]);
    swap(&bench, catalogue::plain_world(2, &every));
    let heard = look(&bench, "tool-2222").await;
    assert_eq!((names(&heard)[0].as_str(), told(&heard).1["total"].clone()), ("right__tool-2222", json!(2_500)));
    let heard = look(&bench, "right").await;
    assert_eq!(
        (names(&heard).len(), names(&heard)[0].as_str(), told(&heard).1["total"].clone()),
        (50, "right__tool-1300", json!(1_200))
    );
}

const NAMES: [&str; 12] = [
    "a__get",
    "a__get_all",
    "a__put",
    "a__search_tools",
    "bare-b__get",
    "bare-b__open",
    "bare-b__x__y",
    "c__get",
    "c__Get",
    "c__drop_all",
    "bare-d__open",
    "bare-d__describe_tool",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is granted, hidden by policy and asked for: what is found and described is in the list without search, to the byte.
    #[test]
    fn what_is_found_and_described_is_in_the_list(
        patterns in vec(select(vec!["a__*", "bare-b__*", "c__*", "bare-d__*", "a__get", "bare-b__open", "bare-b__x__y", "c__Get", "a__search_tools", "bare-d__describe_tool"]), 1..5),
        hidden in vec(select(NAMES.to_vec()), 0..4),
        query in vec(select(vec!["get", "g", "all", "open", "search", "tools", "drop", "describe", "a", "bare-b__open", "x", "everything"]), 1..4),
        limit in 1..50_u8,
    ) {
        let tools: Vec<(&str, Value)> = NAMES.iter().map(|name| (*name, says("does everything"))).collect();
        let forbid = |name: &&str| format!("@id(\"no-{name}\") forbid (principal, action == Bailiwick::Action::\"{name}\", resource);\n");
        let mut unique = hidden.clone();
        unique.sort_unstable();
        unique.dedup();
        let rules = format!("{ANYTHING}\n{}", unique.iter().map(forbid).collect::<String>());
        let bench = Bench::with([searching("g", &patterns)]);
        swap(&bench, catalogue::described_world(2, &tools, &rules));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let list = listed(&bench, false).await;
            let heard = own(&bench, "search_tools", &json!({"query": query.join(" "), "limit": limit})).await;
            let found = names(&heard);
            prop_assert!(found.iter().all(|name| list.iter().any(|(listed, _)| listed == name)), "{found:?} {list:?}");
            prop_assert!(told(&heard).1["total"].as_u64().unwrap() <= list.len() as u64);
            let world = bench.fakes.world.lock().unwrap().clone();
            let every = NAMES.iter().map(|full| full.parse::<QualifiedName>().unwrap());
            let every: Vec<String> = every.flat_map(|name| [name.to_string(), name.own().to_owned()]).collect();
            for name in every {
                let heard = own(&bench, "describe_tool", &json!({"name": name})).await;
                let reason = heard.outcome()["reason"].clone();
                if let Some((_, text)) = list.iter().find(|(listed, _)| *listed == name) {
                    prop_assert_eq!(told(&heard).0, format!(r#"{{"tool":{text},"call":"allowed"}}"#));
                } else {
                    prop_assert_eq!(reason, json!("unknown_tool"), "{}", name);
                }
                let is_known = world.called(&name).is_some();
                prop_assert!(is_known || !list.iter().any(|(listed, _)| *listed == name));
            }
            Ok(())
        })?;
    }
}
