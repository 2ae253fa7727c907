//! The names that agents see and send, where connectors are to have no prefix: one for each tool, and records say the full one.

use std::sync::Arc;

use bailiwick_pipeline::{catalogue::World, records::Outcome};
use bailiwick_policy::Band;

use crate::world::{ALL, Bench, Heard, Told, catalogue, terms};

/// `tickets` and `vault` have no prefix but where they have a name in common: both have a tool `get`.
fn bare(bench: &Bench) {
    swap(bench, catalogue::world_without(&["tickets", "vault"], 2, &catalogue::rules()));
}

fn swap(bench: &Bench, world: World) {
    *bench.fakes.world.lock().unwrap() = Arc::new(world);
}

async fn listed(bench: &Bench) -> Vec<String> {
    match bench.list().await.told() {
        Told::Tools(names) => names,
        other => panic!("{other:?}"),
    }
}

fn unknown(heard: &Heard, name: &str) -> String {
    heard.refused("grant", Outcome::Denied, "unknown_tool");
    format!("{:?}", heard.told()).replace(name, "NAME")
}

#[tokio::test]
async fn a_tool_is_listed_and_called_by_its_bare_name_and_on_record_by_its_full_one() {
    let bench = Bench::with([terms("g", &["tickets__get", "tickets__close", "files__stat"])]);
    bare(&bench);
    assert_eq!(listed(&bench).await, ["files__stat", "close", "tickets__get"]);
    let heard = bench.call("close", r#"{"id":"T-1"}"#).await;
    heard.ran();
    assert_eq!(bench.fakes.sent.lock().unwrap()[0].tool, "close");
    for record in [heard.decision(), heard.outcome(), heard.intents()[0].clone()] {
        assert_eq!(record["tool"], "tickets__close", "{record}");
    }
    bench.call("tickets__get", "{}").await.ran();
}

#[tokio::test]
async fn a_tool_has_no_other_name_than_the_one_it_is_listed_by() {
    let bench = Bench::with([terms("g", &ALL)]);
    bare(&bench);
    let absent = unknown(&bench.call("nosuch", "{}").await, "nosuch");
    for (name, recorded) in
        [("tickets__close", "tickets__close"), ("get", "get"), ("stat", "stat"), ("Close", "Close"), ("__close", "__close")]
    {
        let heard = bench.call(name, "{}").await;
        assert_eq!(unknown(&heard, name), absent, "{name}");
        assert_eq!(heard.outcome()["tool"], recorded);
    }
    let detail = bench.call("tickets__close", "{}").await.decision()["detail"].clone();
    assert_eq!(detail, "agents call it `close`: its connector has `prefix = \"never\"`");
}

/// Names are decided over the whole catalogue: neither a grant nor a drift gives one another meaning.
#[tokio::test]
async fn a_name_means_the_same_under_every_grant_and_whatever_drifts() {
    for pattern in ["tickets__get", "vault__get"] {
        let bench = Bench::with([terms("g", &[pattern])]);
        bare(&bench);
        assert_eq!(listed(&bench).await, [pattern]);
        bench.call("get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
        bench.call(pattern, "{}").await.ran();
    }
    let bench = Bench::with([terms("g", &["vault__get"])]);
    let mut world = catalogue::world_without(&["tickets", "vault"], 2, &catalogue::rules());
    let left = world.tools().filter(|tool| tool.name.as_str() != "tickets__get").cloned().collect::<Vec<_>>();
    world.shelves = catalogue::shelves(left.into_iter());
    swap(&bench, world);
    assert_eq!(listed(&bench).await, ["vault__get"]);
    bench.call("get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
}

/// Invariants 3 and 4 hold for bare names too.
#[tokio::test]
async fn what_is_not_granted_has_no_name_and_callable_means_listed() {
    let bench = Bench::with([terms("g", &["tickets__close", "vault__*"])]);
    bare(&bench);
    bench.agent(|agent| agent.ceiling = Band::Medium);
    let absent = unknown(&bench.call("nosuch", "{}").await, "nosuch");
    let heard = bench.call("search", "{}").await;
    assert_eq!(unknown(&heard, "search"), absent);
    // The operator reads what was asked for, and why it was refused.
    assert_eq!((&heard.decision()["tool"], &heard.outcome()["tool"]), (&"tickets__search".into(), &"tickets__search".into()));
    assert_eq!(
        heard.decision()["detail"],
        "grant `g` does not cover it, its band is above a ceiling, or no policy could ever allow it"
    );
    let list = listed(&bench).await;
    assert_eq!(list, ["close", "vault__get", "put"]);
    let full: Vec<String> = bench.fakes.world.lock().unwrap().tools().map(|tool| tool.name.to_string()).collect();
    let every = full.iter().flat_map(|name| [name.as_str(), name.split_once("__").unwrap().1]);
    for name in every {
        let is_callable = bench.call(name, "{}").await.outcome()["reason"] != "unknown_tool";
        assert_eq!(is_callable, list.iter().any(|listed| listed == name), "{name}");
    }
}

#[tokio::test]
async fn whoever_waits_for_a_person_hears_the_name_that_he_sent() {
    let bench = Bench::new();
    bare(&bench);
    let heard = bench.call("refund", r#"{"id":"T-1"}"#).await;
    heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert!(heard.text().contains("asked to approve refund."), "{}", heard.text());
    assert_eq!((&heard.decision()["tool"], &heard.outcome()["tool"]), (&"tickets__refund".into(), &"tickets__refund".into()));
    assert_eq!(bench.fakes.questions()[0].tool, "tickets__refund");
}

/// Between two walks `get` comes to be a tool of another connector: the call was not meant for that one.
#[tokio::test]
async fn a_call_whose_name_gets_another_meaning_under_way_is_refused() {
    let bench = Bench::new();
    let first = catalogue::world_without(&["tickets"], 2, &catalogue::rules());
    assert_eq!(first.called("get").unwrap().name.as_str(), "tickets__get");
    swap(&bench, first);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || {
        *fakes.world.lock().unwrap() = Arc::new(catalogue::world_without(&["vault"], 3, &catalogue::rules()));
    });
    let heard = bench.call("get", "{}").await;
    heard.refused("grant", Outcome::Denied, "unsettled");
    assert!(heard.text().contains("Not executed"), "{}", heard.text());
    // Sent again it is what it says by then.
    let heard = bench.call("get", "{}").await;
    assert_eq!(heard.ran().outcome()["tool"], "vault__get");
}
