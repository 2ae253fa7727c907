//! `tools/list`: the same gates, the same decision.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{Body, PAGE, ToolList, catalogue::World, grant::Grant, records::Outcome};
use bailiwick_policy::Band;

use crate::world::{ALL, Bench, START_MS, Told, alive, catalogue, terms};

fn ttl(heard: &crate::world::Heard) -> u64 {
    match heard.answer.body {
        Body::Tools { ttl_ms, .. } => ttl_ms,
        _ => panic!("{:?}", heard.told()),
    }
}

fn listed(heard: &crate::world::Heard) -> Arc<ToolList> {
    match &heard.answer.body {
        Body::Tools { page, .. } => Arc::clone(page.list()),
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
    let definitions: Vec<serde_json::Value> = serde_json::from_slice(first.page(None).unwrap().definitions()).unwrap();
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

/// A world of 2,500 tools of two connectors, under one rule that allows all.
fn large(epoch: u64, is_out: impl Fn(&str) -> bool) -> World {
    let names = (0..2_500).map(|number| format!("{}__tool-{number:04}", if number < 1_300 { "left" } else { "right" }));
    catalogue::plain_world(epoch, &names.filter(|name| !is_out(name)).collect::<Vec<_>>())
}

fn swap(bench: &Bench, world: World) {
    *bench.fakes.world.lock().unwrap() = Arc::new(world);
}

/// The names on this page, and the cursor to the next.
fn page(heard: &crate::world::Heard) -> (Vec<String>, Option<String>) {
    let Body::Tools { page, .. } = &heard.answer.body else { panic!("{:?}", heard.told()) };
    let Told::Tools(names) = heard.told() else { panic!("{:?}", heard.told()) };
    (names, page.next().map(str::to_owned))
}

fn refused(heard: &crate::world::Heard) {
    heard.refused("grant", Outcome::Invalid, "invalid_cursor");
    let words = "the cursor leads nowhere in this list as it is now: list again from the beginning, without a cursor";
    assert_eq!(heard.told(), Told::Error(-32602, words.to_owned(), None, 400));
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_every_tool_once() {
    let bench = Bench::with([terms("g", &["right__*", "left__*", "left__tool-0003"])]);
    swap(&bench, large(2, |_| false));
    let (mut all, mut sizes, mut cursor) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let heard = bench.list_from(cursor.as_deref()).await;
        assert_eq!((heard.decision()["effect"].clone(), heard.outcome()["grant"].clone()), ("allow".into(), "g".into()));
        assert!(ttl(&heard) > 0);
        let (names, next) = page(&heard);
        sizes.push(names.len());
        all.extend(names);
        match next {
            Some(next) => assert_ne!(cursor.replace(next.clone()), Some(next)),
            None => break,
        }
    }
    assert_eq!(sizes, [PAGE, PAGE, 500]);
    let expected: Vec<String> = large(2, |_| false).tools().map(|tool| tool.name.to_string()).collect();
    assert_eq!(all, expected);
    // What fits on one page has no other.
    let bench = Bench::with([terms("g", &["left__tool-0003"])]);
    swap(&bench, large(2, |_| false));
    assert_eq!(page(&bench.list().await), (vec!["left__tool-0003".to_owned()], None));
}

#[tokio::test]
async fn a_cursor_leads_on_in_the_list_that_gave_it_and_in_no_other() {
    let all = ["left__*", "right__*"];
    let bench = Bench::with([terms("g", &all), terms("h", &all)]);
    swap(&bench, large(2, |_| false));
    let of = async |grant: &str, cursor: Option<&str>| bench.list_under(grant, cursor).await;
    let cursor = page(&of("g", None).await).1.unwrap();
    let other = page(&of("h", None).await).1.unwrap();
    assert_ne!(cursor, other);
    refused(&of("h", Some(&cursor)).await);
    assert_eq!(page(&of("g", Some(&cursor)).await).0[0], "left__tool-1000");
    // Made up, cut, or of a place where no page begins.
    let (place, mark) = cursor.split_once('-').unwrap();
    for wrong in
        ["", "-", "1", place, mark, &format!("7d0-{mark}"), &format!("3e9-{mark}"), &format!("0-{mark}"), &cursor.to_uppercase()]
    {
        refused(&of("g", Some(wrong)).await);
    }
    // Another world with the same list: it goes on. With another list: it begins anew.
    swap(&bench, large(3, |_| false));
    assert_eq!(page(&of("g", Some(&cursor)).await).0[0], "left__tool-1000");
    swap(&bench, large(4, |name| name == "right__tool-2000"));
    refused(&of("g", Some(&cursor)).await);
    // Under a grant that needs one page, and without any.
    swap(&bench, large(5, |_| false));
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms("g", &["left__tool-0003"]), None)];
    refused(&of("g", Some(&cursor)).await);
    *bench.fakes.grants.lock().unwrap() = vec![];
    let heard = bench.list_from(Some(&cursor)).await;
    heard.refused("grant", Outcome::Invalid, "invalid_cursor");
}

/// Many ask for a large list at once: it is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_list_is_made_once_for_all_who_ask() {
    let bench = Bench::with([terms("g", &["left__*", "right__*"])]);
    swap(&bench, large(2, |_| false));
    let asking = (0..20).map(|_| async {
        let heard = bench.list().await;
        listed(&heard)
    });
    let lists = futures_util::future::join_all(asking).await;
    assert!(lists.iter().all(|list| Arc::ptr_eq(list, &lists[0])));
    assert_eq!(lists[0].tools().len(), 2_500);
}
