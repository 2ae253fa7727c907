//! Resources, prompts and suggestions: the same gates, the same decision, the same record.

use std::sync::Arc;

use bailiwick_pipeline::{
    Body, Received,
    constraint::Bound,
    gates::RawReply,
    grant::Grant,
    ports::{ConnectFailure, Listing, Offer, Offers, SendFailure},
    records::Outcome,
};
use bytes::Bytes;
use serde_json::json;

use crate::world::{Asking, Bench, Heard, Told, alive, catalogue, terms};

const CONTENTS: &str = r#"{"contents":[{"uri":"doc://a/x","text":"hello","n":1.50},{"text":"no uri"}],"x":1e2}"#;
const MESSAGES: &str = r#"{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}]}"#;
const EVERYTHING: [&str; 6] = [
    "tickets/resource_read",
    "tickets/prompt_get",
    "tickets/complete",
    "vault/resource_read",
    "files/resource_read",
    "files/prompt_get",
];

/// A grant of these features, whose resources are bounded.
fn bounded(features: &[&str], under: &str) -> Grant {
    let mut terms = terms("g", features);
    let bound = Bound { uri_under: Some(under.to_owned()), ..Bound::default() };
    for capability in &mut terms.capabilities {
        if capability.tools.to_string().ends_with("/resource_read") {
            capability.args.insert("/uri".to_owned(), bound.clone());
        }
    }
    terms
}

fn bench(terms: Grant, reply: &'static str) -> Bench {
    let bench = Bench::with([terms]);
    bench.replies(reply);
    bench
}

async fn ask(bench: &Bench, method: &str, params: &str) -> Heard {
    bench.handle(received(bench, method, params)).await
}

fn received(bench: &Bench, method: &str, params: &str) -> Received {
    bench.asked(method, params, Asking::plain())
}

fn offers(items: &[&str], id: &str) -> Arc<Offers> {
    let item = |text: &&str| {
        let id = serde_json::from_str::<serde_json::Value>(text).unwrap()[id].as_str().unwrap().to_owned();
        Offer { id, text: Bytes::copy_from_slice(text.as_bytes()) }
    };
    Arc::new(Offers { items: items.iter().map(item).collect(), left_out: 0 })
}

#[tokio::test]
async fn a_resource_is_read_by_its_servers_own_name_and_comes_under_ours() {
    let bench = bench(terms("g", &EVERYTHING), CONTENTS);
    let heard = ask(&bench, "resources/read", r#"{"uri":"tickets+doc://a/x"}"#).await;
    heard.ran();
    assert_eq!(
        heard.told(),
        Told::Result(
            r#"{"contents":[{"uri":"tickets+doc://a/x","text":"hello","n":1.50},{"text":"no uri"}],"x":1e2}"#.to_owned()
        )
    );
    let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
    assert_eq!(
        (sent.connector.as_str(), sent.tool.as_str(), sent.item.as_deref()),
        ("tickets", "resources/read", Some("doc://a/x"))
    );
    assert_eq!(sent.arguments, r#"{"uri":"doc://a/x"}"#);
    let (intent, outcome) = (heard.intents().remove(0), heard.outcome());
    assert_eq!((&intent["tool"], &intent["kind"]), (&"tickets/resource_read".into(), &"read".into()));
    assert_eq!((&outcome["method"], &outcome["tool"]), (&"resources/read".into(), &"tickets/resource_read".into()));
    assert!(bench.grant().standing().labels.is_untrusted(), "what it read is not trusted");
}

#[tokio::test]
async fn without_a_prefix_names_are_the_servers_own() {
    let bench = bench(terms("g", &EVERYTHING), CONTENTS);
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world_without(&["tickets"], 1, &catalogue::rules()));
    let heard = ask(&bench, "resources/read", r#"{"uri":"doc://a/x"}"#).await;
    heard.ran();
    assert_eq!(heard.told(), Told::Result(CONTENTS.to_owned()));
    // The other name of the same thing is none, nor is any that reads as another connector's, be that there or not.
    for uri in ["tickets+doc://a/x", "nobody+doc://a/x"] {
        let heard = ask(&bench, "resources/read", &json!({"uri": uri}).to_string()).await;
        heard.refused("grant", Outcome::Denied, "unknown_resource");
    }
    // Two without a prefix: a name alone would not say which is meant.
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world_without(&["tickets", "files"], 2, &catalogue::rules()));
    ask(&bench, "resources/read", r#"{"uri":"doc://a/x"}"#).await.refused("grant", Outcome::Denied, "unknown_resource");
    ask(&bench, "resources/read", r#"{"uri":"files+doc://a/x"}"#).await.ran();
}

#[tokio::test]
async fn what_is_not_granted_is_not_there() {
    let bench = bench(bounded(&["tickets/resource_read", "tickets__*"], "doc://a"), CONTENTS);
    let mut told = Vec::new();
    for uri in ["tickets+doc://b/x", "vault+doc://a/x", "nobody+doc://a/x", "doc://a/x", "tickets+doc://a/../b", "tickets+", ""] {
        let heard = ask(&bench, "resources/read", &json!({"uri": uri}).to_string()).await;
        heard.refused("grant", Outcome::Denied, "unknown_resource");
        let Told::Error(code, message, data, http) = heard.told() else { panic!("{uri}") };
        assert_eq!((code, message, data, http), (-32002, format!("Unknown resource: {uri}"), Some(json!({"uri": uri})), 200));
        told.push(heard.outcome()["tool"].clone());
    }
    // An operator reads which feature was meant, as of a tool that is not granted: where the name means one.
    let (tickets, vault, nobodys) = (json!("tickets/resource_read"), json!("vault/resource_read"), json!(null));
    assert_eq!(told, [tickets.clone(), vault, nobodys.clone(), nobodys.clone(), tickets.clone(), tickets, nobodys]);
    ask(&bench, "resources/read", r#"{"uri":"tickets+doc://a/x"}"#).await.ran();
    // A wildcard is of tools.
    ask(&bench, "prompts/get", r#"{"name":"tickets__greet"}"#).await.refused("grant", Outcome::Denied, "unknown_prompt");
}

#[tokio::test]
async fn a_feature_is_no_tool_and_a_tool_no_feature() {
    let bench = bench(terms("g", &["tickets__*", "tickets/resource_read"]), CONTENTS);
    bench.call("tickets/resource_read", r#"{"uri":"doc://a/x"}"#).await.refused("grant", Outcome::Denied, "unknown_tool");
    let Told::Tools(names) = bench.list().await.told() else { panic!() };
    assert!(names.iter().all(|name| !name.contains('/')), "{names:?}");
}

#[tokio::test]
async fn no_rule_no_prompt() {
    let bench = bench(terms("g", &EVERYTHING), MESSAGES);
    ask(&bench, "prompts/get", r#"{"name":"tickets__greet","arguments":{"who":"you"}}"#).await.ran();
    assert_eq!(bench.fakes.sent.lock().unwrap().pop().unwrap().arguments, r#"{"name":"greet","arguments":{"who":"you"}}"#);
    ask(&bench, "prompts/get", r#"{"name":"files__greet"}"#).await.refused("grant", Outcome::Denied, "unknown_prompt");
}

#[tokio::test]
async fn a_suggestion_needs_what_it_is_for() {
    let reply = r#"{"completion":{"values":["a"]}}"#;
    let params =
        |name: &str| json!({"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": "who", "value": "y"}}).to_string();
    let bench_of = |features: &[&str]| bench(terms("g", features), reply);
    let bench = bench_of(&["tickets/complete", "tickets/prompt_get"]);
    ask(&bench, "completion/complete", &params("tickets__greet")).await.ran();
    let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
    assert_eq!(sent.arguments, r#"{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"y"}}"#);
    for features in [&["tickets/complete"][..], &["tickets/prompt_get"], &["tickets/complete", "tickets/resource_read"]] {
        let heard = ask(&bench_of(features), "completion/complete", &params("tickets__greet")).await;
        heard.refused("grant", Outcome::Denied, "unknown_prompt");
    }
    let template =
        json!({"ref": {"type": "ref/resource", "uri": "tickets+doc://a/{id}"}, "argument": {"name": "id", "value": ""}});
    let within = Bench::with([bounded(&["tickets/complete", "tickets/resource_read"], "doc://a")]);
    within.replies(reply);
    ask(&within, "completion/complete", &template.to_string()).await.ran();
    let outside = Bench::with([bounded(&["tickets/complete", "tickets/resource_read"], "doc://b")]);
    ask(&outside, "completion/complete", &template.to_string()).await.refused("grant", Outcome::Denied, "unknown_resource");
}

#[tokio::test]
async fn arguments_that_are_not_declared_are_refused_as_an_error() {
    let bench = bench(terms("g", &EVERYTHING), CONTENTS);
    let heard = ask(&bench, "resources/read", r#"{"uri":"tickets+doc://a/x","as":"root"}"#).await;
    heard.refused("validate", Outcome::Invalid, "invalid_arguments");
    assert!(matches!(heard.told(), Told::Error(-32602, ..)), "{:?}", heard.told());
}

#[tokio::test]
async fn what_is_no_answer_does_not_pass() {
    for (method, params, reply) in [
        ("resources/read", r#"{"uri":"tickets+doc://a/x"}"#, r#"{"content":[]}"#),
        ("resources/read", r#"{"uri":"tickets+doc://a/x"}"#, r#"{"contents":["x"]}"#),
        ("resources/read", r#"{"uri":"tickets+doc://a/x"}"#, r#"{"contents":[],"resultType":"input_required"}"#),
        ("prompts/get", r#"{"name":"tickets__greet"}"#, r#"{"messages":{}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"tickets__greet"},"argument":{}}"#, r#"{"completion":[]}"#),
    ] {
        let heard = ask(&bench(terms("g", &EVERYTHING), reply), method, params).await;
        heard.failed(Outcome::DownstreamError, "result_refused", 1);
        assert!(matches!(heard.told(), Told::Error(1005, ..)), "{:?}", heard.told());
    }
}

#[tokio::test]
async fn a_lent_secret_comes_back_in_no_resource() {
    let bench = Bench::with([terms("g", &["vault/resource_read"])]);
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| {
        let text = json!({"contents": [{"uri": "doc://a/x", "text": format!("it is {}", crate::world::SECRET)}]}).to_string();
        Ok(RawReply::result(Bytes::from(text)))
    });
    let heard = ask(&bench, "resources/read", r#"{"uri":"vault+doc://a/x"}"#).await;
    heard.ran();
    assert!(!heard.text().contains("CANARY") && heard.text().contains("vault+doc://a/x"), "{}", heard.text());
    assert_eq!(heard.secrets(), ["lent", "used", "leaked"]);
}

#[tokio::test]
async fn a_list_is_of_what_is_given_under_our_names() {
    let bench = Bench::with([bounded(&["tickets/resource_read", "vault/resource_read"], "doc://a")]);
    *bench.fakes.offers.lock().unwrap() = Box::new(|listing| {
        assert_eq!(listing, Listing::Resources);
        Ok(offers(
            &[
                r#"{"name":"x", "uri":"doc://a/x","size":1.0}"#,
                r#"{"uri":"doc://b/x","name":"outside"}"#,
                r#"{"uri":"doc://a/s","name":"CANARY\/Ab3+\"x\"-9f"}"#,
            ],
            "uri",
        ))
    });
    let heard = ask(&bench, "resources/list", "{}").await;
    // `tickets` was lent nothing: it can't tell what it doesn't know.
    let Told::Offers(told) = heard.told() else { panic!("{:?}", heard.told()) };
    assert_eq!(
        told,
        concat!(
            r#"[{"name":"x", "uri":"tickets+doc://a/x","size":1.0},{"uri":"tickets+doc://a/s","name":"CANARY\/Ab3+\"x\"-9f"},"#,
            r#"{"name":"x", "uri":"vault+doc://a/x","size":1.0}]"#
        )
    );
    assert_eq!(
        (heard.decision()["effect"].clone(), heard.intents().len(), heard.secrets()),
        ("allow".into(), 0, vec!["lent".to_owned(), "leaked".to_owned()])
    );
    assert_eq!(bench.fakes.leaked.lock().unwrap().len(), 1, "it is taken back");
    assert!(bench.grant().standing().labels.is_untrusted(), "its words reached the agent");
}

#[tokio::test]
async fn a_template_is_listed_where_it_could_make_something_that_is_given() {
    for (under, template, listed) in [
        ("doc://a", "doc://a/b/{id}", true),
        ("doc://a/b", "doc://a/b/{id}", true),
        ("doc://a", "doc://a/{id}", true),
        ("doc://a/b/c", "doc://a/b/{id}", false),
        ("doc://b", "doc://a/b/{id}", false),
        ("doc://a/b", "doc://a/b-secret/{id}", false),
        ("doc://a/b", "doc://a/b{id}", false),
        ("doc://a/b", "doc://a/b/../c/{id}", false),
        ("doc://a/b", "{uri}", false),
        ("doc://a/b", "doc://a/b-secret/plain", false),
    ] {
        let bench = Bench::with([bounded(&["tickets/resource_read"], under)]);
        *bench.fakes.offers.lock().unwrap() =
            Box::new(move |_| Ok(offers(&[&json!({"uriTemplate": template, "name": "t"}).to_string()], "uriTemplate")));
        let Told::Offers(told) = ask(&bench, "resources/templates/list", "{}").await.told() else { panic!() };
        assert_eq!(told.contains(template), listed, "{under} {template}");
    }
}

#[tokio::test]
async fn a_connector_that_fails_costs_its_own_part() {
    let bench = Bench::with([terms("g", &["tickets/prompt_get", "vault/prompt_get"])]);
    *bench.fakes.offers.lock().unwrap() = Box::new(|_| Ok(offers(&[r#"{"name":"greet"}"#, r#"{"name":"vault__x"}"#], "name")));
    let Told::Offers(told) = ask(&bench, "prompts/list", "{}").await.told() else { panic!() };
    assert_eq!(
        told,
        r#"[{"name":"tickets__greet"},{"name":"tickets__vault__x"},{"name":"vault__greet"},{"name":"vault__vault__x"}]"#
    );
    *bench.fakes.offers.lock().unwrap() = Box::new(|_| Err(SendFailure::Timeout(1)));
    assert_eq!(ask(&bench, "prompts/list", "{}").await.told(), Told::Offers("[]".to_owned()));
    *bench.fakes.readiness.lock().unwrap() = Err(ConnectFailure::Start("no".to_owned()));
    assert_eq!(ask(&bench, "prompts/list", "{}").await.told(), Told::Offers("[]".to_owned()));
    *bench.fakes.grants.lock().unwrap() = vec![];
    assert_eq!(ask(&bench, "prompts/list", "{}").await.told(), Told::Offers("[]".to_owned()));
}

#[tokio::test]
async fn a_name_that_means_something_else_is_not_listed() {
    let bench = Bench::with([terms("g", &["tickets/prompt_get", "vault/prompt_get"])]);
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world_without(&["tickets"], 1, &catalogue::rules()));
    *bench.fakes.offers.lock().unwrap() = Box::new(|_| Ok(offers(&[r#"{"name":"vault__x"}"#, r#"{"name":"greet"}"#], "name")));
    let Told::Offers(told) = ask(&bench, "prompts/list", "{}").await.told() else { panic!() };
    // What `tickets` calls `vault__x` would be taken for a prompt of `vault`.
    assert_eq!(told, r#"[{"name":"greet"},{"name":"vault__vault__x"},{"name":"vault__greet"}]"#);
}

#[tokio::test]
async fn every_ancestor_bounds_an_item() {
    let bench = Bench::new();
    let root = alive(bounded(&["tickets/resource_read"], "doc://a"), None);
    let child = terms("child", &["tickets/resource_read"]);
    *bench.fakes.grants.lock().unwrap() = vec![alive(child, Some(&root))];
    bench.replies(CONTENTS);
    ask(&bench, "resources/read", r#"{"uri":"tickets+doc://a/x"}"#).await.ran();
    ask(&bench, "resources/read", r#"{"uri":"tickets+doc://b/x"}"#).await.refused("grant", Outcome::Denied, "unknown_resource");
}

/// A list of so many is told in pages, as that of tools is, and a cursor is good for one list as long as it is what it was.
#[tokio::test]
async fn long_lists_come_in_pages() {
    let bench = bench(terms("g", &EVERYTHING), CONTENTS);
    let offer_of = |changed: usize| {
        move |listing: Listing| {
            let id = if listing == Listing::Prompts { "name" } else { "uri" };
            let item = |number: usize| {
                let text = json!({id: format!("a:{number}"), "size": i32::from(number == changed)}).to_string();
                Offer { id: format!("a:{number}"), text: Bytes::from(text) }
            };
            Ok(Arc::new(Offers { items: (0..700).map(item).collect(), left_out: 0 }))
        }
    };
    *bench.fakes.offers.lock().unwrap() = Box::new(offer_of(usize::MAX));
    let page = async |method: &str, cursor: Option<&str>| {
        let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
        ask(&bench, method, &params.to_string()).await
    };
    let told = |heard: &Heard| {
        let Body::Offers { items, next, .. } = &heard.answer.body else { panic!("{:?}", heard.told()) };
        (serde_json::from_slice::<Vec<serde_json::Value>>(items).unwrap(), next.clone())
    };
    // Three connectors have resources, two have prompts.
    let (first, next) = told(&page("resources/list", None).await);
    let next = next.unwrap();
    let (second, end) = told(&page("resources/list", Some(&next)).await);
    let (third, last) = told(&page("resources/list", end.as_deref()).await);
    assert_eq!((first.len(), second.len(), third.len(), last), (1_000, 1_000, 100, None));
    let all: Vec<String> = [first, second, third].concat().iter().map(|item| item["uri"].as_str().unwrap().to_owned()).collect();
    let unique: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), unique.len(), all[0].as_str()), (2_100, 2_100, "files+a:0"));
    // Of another list, of no page, of a list that is another one by now.
    let refused = |heard: &Heard| {
        let Told::Error(code, _, _, status) = heard.told() else { panic!("{:?}", heard.told()) };
        assert_eq!((code, status, &heard.outcome()["reason"]), (-32602, 400, &json!("invalid_cursor")));
    };
    refused(&page("prompts/list", Some(&next)).await);
    refused(&page("resources/templates/list", Some(&next)).await);
    for wrong in ["", "x", "3e8", &next.to_uppercase(), &next.replacen("3e8", "7d0", 1)] {
        refused(&page("resources/list", Some(wrong)).await);
    }
    *bench.fakes.offers.lock().unwrap() = Box::new(offer_of(699));
    refused(&page("resources/list", Some(&next)).await);
    *bench.fakes.offers.lock().unwrap() = Box::new(offer_of(usize::MAX));
    assert_eq!(told(&page("resources/list", Some(&next)).await).0.len(), 1_000);
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms("h", &EVERYTHING), None)];
    refused(&page("resources/list", Some(&next)).await);
    *bench.fakes.grants.lock().unwrap() = vec![];
    refused(&page("resources/list", Some(&next)).await);
    assert_eq!(told(&page("resources/list", None).await), (vec![], None));
}
