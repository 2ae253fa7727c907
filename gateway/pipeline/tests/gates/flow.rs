//! Where data flows: labels by fields and resources, to whom they go and when, and where a call sends what it has.

use std::sync::{Arc, Mutex};

use bailiwick_pipeline::{
    Inquiry,
    aside::{Aside, AsideKind, Herald},
    destination::{Destination, Inside},
    gates::RawReply,
    grant::{Grant, Labels, LiveGrant},
    marks::Marks,
    ports::Later,
    records::Outcome,
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{ALL, Asking, Bench, alive, catalogue::world_changed, terms};

const SENDS: &str = r#"@id("outside") @reason("because outside") forbid (principal, action == Bailiwick::Action::"tickets__close", resource)
    when { context.call.external && context.call.labels.contains("confidential") };
@id("elsewhere") @reason("because elsewhere") forbid (principal, action == Bailiwick::Action::"tickets__close", resource)
    when { context.call.destination_hosts.contains("never.example") || context.call.destination like "*@banned.example" };"#;

/// `tickets__close` sends to whom its `/id` names; `tickets__get` has fields.
fn bench(grants: impl IntoIterator<Item = Grant>) -> Bench {
    let bench = Bench::with(grants);
    let mut inside = Inside::default();
    inside.add("example.com").unwrap();
    let destination = Destination::new(vec!["/id".into()], Arc::new(inside));
    let fields = || Marks::of_tool(vec![("/customer/email".into(), Labels::CONFIDENTIAL)], Vec::new());
    let resources = || Marks::of_resources(vec![("doc://hr".into(), Labels::CONFIDENTIAL)]);
    let world = world_changed(SENDS, |tool| match tool.name.as_str() {
        "tickets__close" => tool.destination = Some(destination.clone()),
        "tickets__get" => tool.marks = fields(),
        "tickets/resource_read" => tool.marks = resources(),
        _ => {}
    });
    *bench.fakes.world.lock().unwrap() = Arc::new(world);
    bench
}

fn replies(bench: &Bench, result: &Value) {
    let text = Bytes::from(result.to_string());
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::result(text.clone())));
}

fn structured(value: &Value) -> Value {
    json!({"content": [{"type": "text", "text": value.to_string()}], "structuredContent": value})
}

fn labelled(bench: &Bench) -> Vec<Value> {
    let all = bench.fakes.all_records();
    let records = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["event"] == "labelled").collect()
}

/// Looks what a grant is marked with when it is told something.
struct Watching {
    grant: Arc<LiveGrant>,
    seen: Mutex<Vec<Labels>>,
}

impl Herald for Watching {
    fn tell(&self, _: Aside) -> bool {
        self.seen.lock().unwrap().push(labels(&self.grant));
        true
    }

    fn ask(&self, _: Inquiry) -> Later<'_, Option<Bytes>> {
        Box::pin(std::future::pending())
    }
}

fn labels(grant: &LiveGrant) -> Labels {
    grant.standing().labels
}

#[tokio::test]
async fn a_field_marks_the_task_its_ancestors_and_other_grants_before_the_result_is_told() {
    let root = alive(terms("root", &ALL), None);
    let child = alive(Grant { agent: "bot".parse().unwrap(), ..terms("child", &ALL) }, Some(&root));
    let other = alive(terms("other", &ALL), None);
    let bench = bench([]);
    *bench.fakes.grants.lock().unwrap() = vec![Arc::clone(&child), Arc::clone(&other)];
    let call = || bench.call_as("tickets__get", "{}", Asking { grant: Some("child".to_owned()), ..Asking::plain() });
    replies(&bench, &structured(&json!({"customer": {"id": 1}})));
    let heard = call().await;
    heard.ran();
    assert_eq!(labels(&child), Labels::NONE);
    assert_eq!(heard.outcome()["result"]["labels"], json!([]));
    // On record when it is not told yet, and on everybody by then.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (all, at) = ([&child, &root, &other].map(Arc::clone), Arc::clone(&seen));
    bench.fakes.at("labelled", move || at.lock().unwrap().extend(all.iter().map(|grant| labels(grant))));
    replies(&bench, &structured(&json!({"customer": {"email": "ada@example.com"}})));
    let heard = call().await;
    heard.ran();
    assert_eq!(*seen.lock().unwrap(), [Labels::CONFIDENTIAL; 3]);
    assert_eq!(heard.outcome()["result"]["labels"], json!(["confidential"]));
    assert_eq!(heard.intents()[0]["labels"], json!([]), "nobody knew at the intent");
    let record = labelled(&bench).remove(0);
    assert_eq!((&record["labels"], &record["chain"]), (&json!(["confidential"]), &json!(["child", "root"])), "{record}");
    // Once: who has it is not marked again.
    call().await.ran();
    assert_eq!(bench.fakes.count("labelled"), 1);
}

#[tokio::test]
async fn what_can_t_be_told_is_marked_with_all() {
    for reply in [
        json!({"content": [{"type": "text", "text": "ada@example.com"}]}),
        json!({"content": [], "isError": true}),
        json!({"resultType": "input_required", "inputRequests": {}}),
        json!("no result"),
    ] {
        let bench = bench([terms("g", &ALL)]);
        replies(&bench, &reply);
        bench.call("tickets__get", "{}").await;
        assert_eq!(labels(&bench.grant()), Labels::CONFIDENTIAL, "{reply}");
    }
    let bench = bench([terms("g", &ALL)]);
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| Ok(RawReply::error(-32000, "ada@example.com".to_owned(), None)));
    bench.call("tickets__get", "{}").await;
    assert_eq!(labels(&bench.grant()), Labels::CONFIDENTIAL);
}

#[tokio::test]
async fn without_a_record_nothing_leaves() {
    let bench = bench([terms("g", &ALL)]);
    replies(&bench, &structured(&json!({"customer": {"email": "ada@example.com"}})));
    bench.fakes.lose("labelled");
    let heard = bench.call("tickets__get", "{}").await;
    assert_eq!(heard.answer.outcome, Outcome::InternalError);
    assert!(!heard.text().contains("ada@"), "{}", heard.text());
}

#[tokio::test]
async fn a_resource_marks_by_its_uri_and_a_grant_must_cover_it() {
    let classes = |classes: &[&str]| Some(classes.iter().map(|class| (*class).to_owned()).collect());
    let patterns = ["tickets/resource_read"];
    let read = |uri: &str| json!({"uri": format!("tickets+{uri}")}).to_string();
    let contents = |uri: &str| json!({"contents": [{"uri": uri, "text": "hello"}]});
    let bench = bench([Grant { data_classes: classes(&["internal"]), ..terms("g", &patterns) }]);
    let ask = |uri: &str| bench.handle(bench.asked("resources/read", &read(uri), Asking::plain()));
    replies(&bench, &contents("doc://pub/a"));
    ask("doc://pub/a").await.ran();
    assert_eq!(labels(&bench.grant()), Labels::UNTRUSTED);
    // It is unknown where its class is not covered, and so is what could be read in two ways.
    for uri in ["doc://hr/a", "doc://pub/../hr/a"] {
        ask(uri).await.refused("grant", Outcome::Denied, "unknown_resource");
    }
    // A server that brings another one than it was asked for is not passed on.
    replies(&bench, &contents("doc://hr/a"));
    let heard = ask("doc://pub/a").await;
    assert_eq!(heard.outcome()["reason"], "result_refused");
    assert!(!heard.text().contains("hello"));
    *bench.fakes.grants.lock().unwrap() =
        vec![alive(Grant { data_classes: classes(&["internal", "confidential"]), ..terms("g", &patterns) }, None)];
    let heard = ask("doc://hr/a").await;
    assert_eq!(heard.ran().intents()[0]["labels"], json!(["untrusted", "confidential"]), "known before it is sent");
}

#[tokio::test]
async fn a_tool_whose_data_the_grant_does_not_cover_is_none() {
    let internal = |id: &str, more: &[&str]| Grant {
        data_classes: Some(["internal"].iter().chain(more).map(|class| (*class).to_owned()).collect()),
        ..terms(id, &ALL)
    };
    let bench = bench([internal("g", &[])]);
    replies(&bench, &structured(&json!({})));
    bench.call("tickets__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    bench.call("tickets__search", "{}").await.ran();
    let bench = self::bench([internal("g", &["confidential"])]);
    replies(&bench, &structured(&json!({})));
    bench.call("tickets__get", "{}").await.ran();
}

#[tokio::test]
async fn policies_read_where_a_call_sends_and_what_its_task_has_touched() {
    let bench = bench([terms("g", &ALL)]);
    let to = |id: Value| json!({ "id": id }).to_string();
    let (outside, inside) = (to(json!("eve@evil.example")), to(json!("https://example.com/x")));
    bench.call("tickets__close", &outside).await.ran();
    bench.grant().touch(Labels::CONFIDENTIAL);
    for outside in [outside, to(json!("https://example.com@evil.example/")), "{}".to_owned()] {
        bench.call("tickets__close", &outside).await.refused("permit", Outcome::Denied, "policy_forbids");
    }
    let heard = bench.call("tickets__close", &inside).await;
    heard.ran();
    assert_eq!(heard.decision()["flow"], json!({"touched": ["confidential"], "hosts": ["example.com"], "external": false}));
    // A rule on one destination isn't passed by adding another.
    let clean = self::bench([terms("g", &ALL)]);
    clean.call("tickets__close", &to(json!("https://never.example./"))).await.refused(
        "permit",
        Outcome::Denied,
        "policy_forbids",
    );
    clean.call("tickets__close", &to(json!("x@banned.example"))).await.refused("permit", Outcome::Denied, "policy_forbids");
}

#[tokio::test]
async fn progress_is_marked_before_it_is_told() {
    let bench = bench([terms("g", &ALL)]);
    let grant = bench.grant();
    *bench.fakes.asides.lock().unwrap() =
        Box::new(|ear| ear.hear(AsideKind::Progress, br#"{"progress":1,"message":"ada@example.com"}"#));
    replies(&bench, &structured(&json!({"customer": {"id": 1}})));
    let herald = Watching { grant, seen: Mutex::default() };
    let received = bench.received(Some(("tickets__get", "{}")), Asking::wanting(Some("1"), None));
    bench.gateway().handle_telling(&received, &herald).await;
    assert_eq!(*herald.seen.lock().unwrap(), [Labels::CONFIDENTIAL]);
}

proptest! {
    /// Whatever is joined where, and in which order: who stands above has at once what is below, and nothing is ever lost.
    #[test]
    fn ancestors_are_a_superset_at_once(steps in proptest::collection::vec((0..4_usize, any::<u64>()), 0..12)) {
        let root = alive(terms("root", &ALL), None);
        let left = alive(terms("left", &ALL), Some(&root));
        let right = alive(terms("right", &ALL), Some(&root));
        let leaf = alive(terms("leaf", &ALL), Some(&left));
        let all = [&root, &left, &right, &leaf];
        let mut before = all.map(|grant| labels(grant));
        for (at, word) in steps {
            all[at].touch(Labels::of_word(word));
            prop_assert!(labels(all[at]).contains(Labels::of_word(word)));
            for grant in all {
                prop_assert!(grant.chain().all(|above| labels(above).contains(labels(grant))));
            }
            let now = all.map(|grant| labels(grant));
            prop_assert!(now.iter().zip(before).all(|(now, before)| now.contains(before)));
            before = now;
        }
    }
}

/// From many threads at once, without a lock where there is nothing new.
#[test]
fn joins_from_many_threads_lose_nothing() {
    let root = alive(terms("root", &ALL), None);
    let leaves: Vec<_> = (0..4).map(|at| alive(terms(&format!("leaf-{at}"), &ALL), Some(&root))).collect();
    std::thread::scope(|scope| {
        for (at, leaf) in leaves.iter().enumerate() {
            scope.spawn(move || (0..16).for_each(|bit| leaf.touch(Labels::of_word(1 << (at * 16 + bit)))));
        }
    });
    assert_eq!(labels(&root), Labels::ALL);
    assert!(leaves.iter().enumerate().all(|(at, leaf)| labels(leaf) == Labels::of_word(0xffff << (at * 16))));
}
