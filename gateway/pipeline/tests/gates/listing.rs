//! `tools/list`: the same gates, the same decision.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{Body, ToolList, grant::Grant, records::Outcome};
use bailiwick_policy::Band;

use crate::world::{ALL, Bench, START_MS, Told, alive, terms};

fn ttl(heard: &crate::world::Heard) -> u64 {
    match heard.answer.body {
        Body::Tools { ttl_ms, .. } => ttl_ms,
        _ => panic!("{:?}", heard.told()),
    }
}

fn listed(heard: &crate::world::Heard) -> Arc<ToolList> {
    match &heard.answer.body {
        Body::Tools { list, .. } => Arc::clone(list),
        _ => panic!("{:?}", heard.told()),
    }
}

#[tokio::test]
async fn a_list_is_on_record_with_its_grant() {
    let bench = Bench::with([terms("g", &["tickets__get", "files__delete"])]);
    let heard = bench.list().await;
    assert_eq!(heard.told(), Told::Tools(vec!["files__delete".to_owned(), "tickets__get".to_owned()]));
    let (decision, outcome) = (heard.decision(), heard.outcome());
    assert_eq!((&decision["effect"], &decision["gate"], &decision["grant"]), (&"allow".into(), &"grant".into(), &"g".into()));
    assert_eq!((&outcome["method"], &outcome["grant"], outcome.get("tool")), (&"tools/list".into(), &"g".into(), None));
    assert_eq!((heard.answer.outcome, heard.intents().len(), heard.sent()), (Outcome::Success, 0, 0));
}

#[tokio::test]
async fn a_list_is_kept_no_longer_than_the_grant_and_its_ancestors_live() {
    let until = |id: &str, ms: u64| Grant { expires_at_ms: START_MS + ms, ..terms(id, &ALL) };
    let mut bench = Bench::with([until("g", 10_000)]);
    let left = ttl(&bench.list().await);
    assert!((9_990..=10_000).contains(&left), "{left}");
    let root = alive(until("root", 5_000), None);
    *bench.fakes.grants.lock().unwrap() = vec![alive(until("g", 10_000), Some(&root))];
    let left = ttl(&bench.list().await);
    assert!((4_990..=5_000).contains(&left), "{left}");
    bench.settings.list_ttl = Duration::from_secs(1);
    assert_eq!(ttl(&bench.list().await), 1_000);
    *bench.fakes.grants.lock().unwrap() = vec![];
    assert_eq!(ttl(&bench.list().await), 0);
}

#[tokio::test]
async fn a_list_names_no_tool_of_a_world_that_went() {
    let bench = Bench::new();
    let rules = "@id(\"p\") permit (principal, action == Bailiwick::Action::\"tickets__get\", resource);";
    *bench.fakes.world.lock().unwrap() = std::sync::Arc::new(crate::world::catalogue::world(2, rules));
    assert_eq!(bench.list().await.told(), Told::Tools(vec!["tickets__get".to_owned()]));
}

/// It is made once for a grant, a world and a ceiling, and for no other.
#[tokio::test]
async fn a_list_is_kept_until_something_that_it_rests_on_changes() {
    let grant = Grant { ceiling: Band::Critical, ..terms("g", &["tickets__get", "vault__*"]) };
    let bench = Bench::with([grant]);
    bench.agent(|agent| agent.ceiling = Band::High);
    let first = listed(&bench.list().await);
    assert!(Arc::ptr_eq(&first, &listed(&bench.list().await)));
    assert!(first.tools().len() > 1, "{first:?}");
    let definitions: Vec<serde_json::Value> = serde_json::from_slice(first.definitions()).unwrap();
    let names: Vec<_> = definitions.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, first.tools().iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>());
    bench.agent(|agent| agent.ceiling = Band::Low);
    let lower = listed(&bench.list().await);
    assert!(lower.tools().iter().all(|tool| tool.band == Band::Low) && lower.tools().len() < first.tools().len());
    bench.agent(|agent| agent.ceiling = Band::High);
    assert_eq!(listed(&bench.list().await).tools().len(), first.tools().len());
    *bench.fakes.world.lock().unwrap() = Arc::new(crate::world::catalogue::world(1, ""));
    assert_eq!(listed(&bench.list().await).tools().len(), 0, "the same epoch, and yet another world");
}
