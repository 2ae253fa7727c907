//! Lists of resources and prompts, and what is asked of them: while the grant lives, as the newest catalogue has them.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    gates::RawReply,
    grant::{Grant, GrantState},
    ports::{Offer, Offers},
    records::Outcome,
};
use bytes::Bytes;

use crate::world::{Asking, Bench, Told, alive, catalogue, terms};

/// A grant of these, where each connector offers one resource, `a:1`.
fn bench(granted: &[&str]) -> Bench {
    let bench = Bench::with([terms("g", granted)]);
    let offer = Offer { id: "a:1".to_owned(), text: Bytes::from_static(br#"{"uri":"a:1","name":"a","n":1e2}"#) };
    let offers = Arc::new(Offers { items: vec![offer], left_out: 0 });
    *bench.fakes.offers.lock().unwrap() = Box::new(move |_| Ok(Arc::clone(&offers)));
    bench
}

const BOTH: [&str; 2] = ["tickets/resource_read", "files/resource_read"];

fn item(name: &str) -> String {
    format!(r#"{{"uri":"{name}","name":"a","n":1e2}}"#)
}

#[tokio::test]
async fn a_list_has_what_is_granted_as_it_was_written() {
    let bench = bench(&BOTH);
    let heard = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    assert_eq!(heard.told(), Told::Offers(format!("[{},{}]", item("files+a:1"), item("tickets+a:1"))));
    let (decision, outcome) = (heard.decision(), heard.outcome());
    assert_eq!((&decision["effect"], &decision["grant"], &outcome["outcome"]), (&"allow".into(), &"g".into(), &"success".into()));
    assert_eq!((heard.intents().len(), heard.sent()), (0, 0));
}

/// What the catalogue no longer has when the servers have answered is not shown.
#[tokio::test]
async fn a_list_shows_nothing_of_a_world_that_went_while_it_was_read() {
    let bench = bench(&BOTH);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("offers", move || {
        let rules = "@id(\"p\") permit (principal, action == Bailiwick::Action::\"files/resource_read\", resource);";
        *fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, rules));
    });
    let heard = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    assert_eq!(heard.told(), Told::Offers(format!("[{}]", item("files+a:1"))));
    // Under another name it would be another.
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("offers", move || {
        *fakes.world.lock().unwrap() = Arc::new(catalogue::world_without(&["files"], 3, &catalogue::rules()));
    });
    let heard = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    assert_eq!(heard.told(), Told::Offers("[]".to_owned()));
    let heard = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    assert_eq!(heard.told(), Told::Offers(format!("[{},{}]", item("a:1"), item("tickets+a:1"))));
}

/// Servers are asked for their lists as fast as they may be called, for the task and for each server.
#[tokio::test]
async fn lists_have_the_pace_of_calls() {
    let list = async |bench: &Bench| bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    let bench = bench(&BOTH);
    *bench.fakes.grants.lock().unwrap() = vec![alive(Grant { max_rate: Some(1), ..terms("g", &BOTH) }, None)];
    let mut read = 0;
    for _ in 0..10 {
        let heard = list(&bench).await;
        match heard.answer.outcome {
            Outcome::Success => read += 1,
            _ => {
                heard.refused("grant", Outcome::RateLimited, "too_many_requests");
            }
        }
    }
    assert_eq!((read, bench.fakes.count("offers")), (2, 4));
    // One server that is asked too often costs its own part.
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms("g", &BOTH), None)];
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world_of_pace("tickets", 1));
    let told = [list(&bench).await.told(), list(&bench).await.told(), list(&bench).await.told()];
    let whole = Told::Offers(format!("[{},{}]", item("files+a:1"), item("tickets+a:1")));
    assert_eq!(told, [whole.clone(), whole, Told::Offers(format!("[{}]", item("files+a:1")))]);
    assert_eq!(bench.fakes.count("offers"), 4 + 5);
}

/// When `end` has returned and the way out is drained, no server is asked for anything more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_a_grant_ends_its_lists() {
    let bench = bench(&BOTH);
    let grant = bench.grant();
    bench.fakes.block("offers");
    let listing = bench.spawn_received(bench.asked("resources/list", "{}", Asking::plain()));
    bench.fakes.reached("offers", 2).await;
    assert!(!grant.drained(Duration::from_millis(1)).await, "it is being read");
    grant.end(GrantState::Revoked);
    assert!(grant.drained(Duration::from_secs(20)).await);
    bench.fakes.unblock("offers");
    let heard = listing.await.unwrap();
    assert_eq!((heard.answer.outcome, heard.text().starts_with("STOPPED")), (Outcome::Cancelled, true));
    // From here on there is nothing to list.
    let heard = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    assert_eq!((heard.told(), bench.fakes.count("offers")), (Told::Offers("[]".to_owned()), 2));
}

/// What a server says of the way to it, or of what it lacks, is none of what the gateway says of itself.
#[tokio::test]
async fn errors_about_an_item_name_it_as_the_agent_did() {
    let bench = bench(&BOTH);
    for (code, data, told, uri) in [
        (-32602, Some(r#"{"uri":"a:9"}"#), -32002, Some("tickets+a:9")),
        (-32002, None, -32002, Some("tickets+a:9")),
        (-32601, Some("7"), -32002, Some("tickets+a:9")),
        (-32022, None, -32000, None),
        (-32050, Some(r#"{"uri":"a:9"}"#), -32050, Some("a:9")),
        (1005, None, -32000, None),
    ] {
        *bench.fakes.reply.lock().unwrap() =
            Box::new(move |_| Ok(RawReply::error(code, "no".to_owned(), data.map(|data| Bytes::from_static(data.as_bytes())))));
        let heard = bench.handle(bench.asked("resources/read", r#"{"uri":"tickets+a:9"}"#, Asking::plain())).await;
        let Told::Error(heard_code, _, heard_data, 200) = heard.told() else { panic!("{:?}", heard.told()) };
        let named = heard_data.as_ref().and_then(|data| data["uri"].as_str());
        assert_eq!((heard_code, named), (told, uri), "{code}: {heard_data:?}");
        assert_eq!(bench.fakes.sent.lock().unwrap().last().unwrap().item.as_deref(), Some("a:9"));
    }
}
