//! `watch`: who wants to hear when a resource changes walks the way of who reads it, and what is heard later is judged anew each time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bailiwick_pipeline::{
    Subscription,
    constraint::Bound,
    grant::{Grant, GrantState},
    ports::{SendFailure, Watcher},
    records::Outcome,
};

use crate::world::{Asking, Bench, Heard, SECRET, Told, catalogue, terms};

const FEATURES: [&str; 3] = ["tickets/resource_read", "vault/resource_read", "tickets/prompt_get"];
const ASKS: &str = "@id(\"ask\") @approval(\"finance\") forbid (principal, action == Bailiwick::Action::\"tickets/resource_read\", resource)\n\
                    when { context.input.uri like \"doc://a/ask*\" } unless { context.call.approvals.contains(\"finance\") };";

#[derive(Default)]
struct Posted(Mutex<Vec<String>>);

impl Watcher for Posted {
    fn changed(&self, uri: &str) {
        self.0.lock().unwrap().push(uri.to_owned());
    }
}

fn bounded(under: &str) -> Grant {
    let mut terms = terms("g", &FEATURES);
    let bound = Bound { uri_under: Some(under.to_owned()), ..Bound::default() };
    for capability in &mut terms.capabilities {
        if capability.tools.to_string().ends_with("/resource_read") {
            capability.args.insert("/uri".to_owned(), bound.clone());
        }
    }
    terms
}

fn bench() -> Bench {
    Bench::with([bounded("doc://a")])
}

async fn subscribe(bench: &Bench, uri: &str) -> (Heard, Option<Subscription>) {
    let received = bench.watching(uri, Asking::plain());
    let call = received.call_id().to_string();
    let (answer, subscription) = bench.gateway().subscribe(received, Arc::<Posted>::default()).await;
    (Heard::new(call, answer, Arc::clone(&bench.fakes)), subscription)
}

fn spawn(bench: &Bench, uri: &'static str) -> tokio::task::JoinHandle<(Heard, Option<Subscription>)> {
    let (gateway, fakes, received) = (bench.gateway(), Arc::clone(&bench.fakes), bench.watching(uri, Asking::plain()));
    tokio::spawn(async move {
        let call = received.call_id().to_string();
        let (answer, subscription) = gateway.subscribe(received, Arc::<Posted>::default()).await;
        (Heard::new(call, answer, fakes), subscription)
    })
}

fn watched(bench: &Bench) -> Vec<String> {
    bench.fakes.watched.lock().unwrap().clone()
}

#[tokio::test]
async fn what_may_be_read_may_be_watched_by_its_servers_own_name_and_is_on_record() {
    let bench = bench();
    let (heard, subscription) = subscribe(&bench, "tickets+doc://a/x").await;
    assert_eq!(heard.told(), Told::Result("{}".to_owned()));
    assert_eq!((heard.decision()["effect"].as_str(), heard.intents().len()), (Some("allow"), 1));
    let outcome = heard.outcome();
    assert_eq!((&outcome["method"], &outcome["tool"]), (&"resources/subscribe".into(), &"tickets/resource_read".into()));
    assert_eq!(watched(&bench), ["tickets doc://a/x"]);
    let subscription = subscription.unwrap();
    assert_eq!((subscription.uri(), bench.grant().standing().calls), ("doc://a/x", 1));
    assert_eq!(bench.fakes.count("send"), 0, "it is no call");
}

#[tokio::test]
async fn what_may_not_be_read_may_not_be_watched() {
    let bench = bench();
    for (uri, gate, reason) in [
        ("tickets+doc://b/x", "grant", "unknown_resource"),
        ("vault2+doc://a/x", "grant", "unknown_resource"),
        ("files+doc://a/x", "grant", "unknown_resource"),
        ("doc://a/x", "grant", "unknown_resource"),
    ] {
        let (heard, subscription) = subscribe(&bench, uri).await;
        heard.refused(gate, Outcome::Denied, reason);
        assert!(subscription.is_none() && watched(&bench).is_empty(), "{uri}");
    }
    bench.grant().end(GrantState::Revoked);
    assert!(subscribe(&bench, "tickets+doc://a/x").await.1.is_none());
    assert!(watched(&bench).is_empty());
}

#[tokio::test]
async fn what_a_person_has_to_approve_is_not_watched_and_nobody_is_asked() {
    let bench = bench();
    let rules = format!("{}\n{ASKS}", catalogue::rules());
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(1, &rules));
    let (heard, subscription) = subscribe(&bench, "tickets+doc://a/ask").await;
    heard.refused("permit", Outcome::Denied, "unwatchable");
    assert!(subscription.is_none() && bench.fakes.questions().is_empty());
    assert!(subscribe(&bench, "tickets+doc://a/x").await.1.is_some());
}

/// Invariant 9, between the record and the door.
#[tokio::test]
async fn nothing_is_watched_once_the_grant_has_ended() {
    let bench = bench();
    bench.lends(SECRET);
    let (fakes, grant) = (Arc::clone(&bench.fakes), bench.grant());
    // That the secret was lent is on record before the commit, that it is used after it.
    bench.fakes.at("secret", move || fakes.at("secret", move || assert!(grant.end(GrantState::Revoked))));
    let (heard, subscription) = subscribe(&bench, "vault+doc://a/x").await;
    heard.failed(Outcome::Cancelled, "grant_ended", 0);
    assert!(subscription.is_none());
    assert_eq!((bench.fakes.count("watch"), bench.grant().standing().calls), (0, 1));
}

#[tokio::test]
async fn the_end_of_a_grant_ends_the_asking_and_waits_for_the_write() {
    let bench = bench();
    let grant = bench.grant();
    bench.fakes.block("watch");
    let call = spawn(&bench, "tickets+doc://a/x");
    bench.fakes.reached("watch", 1).await;
    assert!(!grant.drained(Duration::ZERO).await, "it may be on its way to the server");
    grant.end(GrantState::Revoked);
    let (heard, subscription) = call.await.unwrap();
    heard.failed(Outcome::Cancelled, "grant_ended", 0);
    assert!(subscription.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_agree_in_time_is_given_up() {
    let bench = bench();
    bench.fakes.block("watch");
    let began = tokio::time::Instant::now();
    let (heard, _) = subscribe(&bench, "tickets+doc://a/x").await;
    heard.failed(Outcome::Timeout, "timeout", 0);
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn what_a_server_says_against_it_is_told_without_what_was_lent() {
    let bench = bench();
    bench.lends(SECRET);
    let fakes = &bench.fakes;
    *fakes.unwatched.lock().unwrap() = Some(Ok((-32002, format!("no {SECRET}"))));
    let (heard, subscription) = subscribe(&bench, "vault+doc://a/x").await;
    assert_eq!(heard.outcome()["outcome"], "downstream_error");
    assert!(subscription.is_none() && !format!("{:?}", heard.told()).contains("CANARY"), "{:?}", heard.told());
    *fakes.unwatched.lock().unwrap() = Some(Err(SendFailure::Closed(format!("said {SECRET}"))));
    let (heard, _) = subscribe(&bench, "vault+doc://a/x").await;
    heard.failed(Outcome::DownstreamError, "connector_closed", 0);
    assert!(!heard.outcome().to_string().contains("CANARY"), "{}", heard.outcome());
}

#[tokio::test]
async fn what_changed_is_told_under_its_name_to_who_could_read_it_now() {
    let bench = bench();
    let gateway = bench.gateway();
    let (_, subscription) = subscribe(&bench, "tickets+doc://a/x").await;
    let subscription = subscription.unwrap();
    let told = async |uri: &str| gateway.heard(&subscription, uri).await;
    assert_eq!(told("doc://a/x").await.as_deref(), Some("tickets+doc://a/x"));
    assert_eq!(told("doc://a/x/part").await.as_deref(), Some("tickets+doc://a/x/part"));
    assert_eq!(told("doc://b/x").await, None, "not what it may read");
    // Nothing of it counts or is on record.
    assert_eq!((bench.grant().standing().calls, bench.fakes.count("outcome")), (1, 1));
    // Policy may say otherwise by now, or ask a person.
    for rule in [
        ASKS.to_owned(),
        "@id(\"no\") forbid (principal, action == Bailiwick::Action::\"tickets/resource_read\", resource);".to_owned(),
    ] {
        let rules = format!("{}\n{}", catalogue::rules(), rule.replace("doc://a/ask*", "doc://a/x*"));
        *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &rules));
        assert_eq!(told("doc://a/x").await, None);
    }
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(3, &catalogue::rules()));
    assert!(told("doc://a/x").await.is_some());
    bench.agent(|agent| agent.disabled = true);
    assert_eq!(told("doc://a/x").await, None);
    bench.agent(|agent| agent.disabled = false);
    bench.grant().end(GrantState::Revoked);
    assert_eq!(told("doc://a/x").await, None);
}

#[tokio::test]
async fn the_lent_secret_is_in_no_name_that_is_told() {
    let bench = bench();
    bench.lends("CANARY-0123456789");
    let (_, subscription) = subscribe(&bench, "vault+doc://a/x").await;
    let subscription = subscription.unwrap();
    assert!(bench.gateway().heard(&subscription, "doc://a/x/1").await.is_some());
    assert_eq!(bench.gateway().heard(&subscription, "doc://a/x/CANARY-0123456789").await, None);
}

/// Subscriptions come as fast as calls may, once for each wish; what was lost is not asked for by the agent.
#[tokio::test]
async fn subscriptions_have_the_pace_of_calls() {
    let bench = Bench::with([Grant { max_rate: Some(1), ..bounded("doc://a") }]);
    let (mut taken, mut refused, mut wish) = (0, 0, None);
    for number in 0..10 {
        let (heard, subscription) = subscribe(&bench, &format!("tickets+doc://a/{number}")).await;
        if let Some(subscription) = subscription {
            taken += 1;
            wish = Some(subscription.wish());
        } else {
            heard.refused("grant", Outcome::RateLimited, "too_many_requests");
            refused += 1;
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    assert_eq!(watched(&bench).len(), taken);
    let again = bench.gateway().resubscribe(&wish.unwrap(), "call-90".parse().unwrap(), Arc::<Posted>::default()).await;
    assert!(again.1.is_some());
}

#[tokio::test]
async fn what_was_lost_walks_the_whole_way_again() {
    let bench = bench();
    let (_, subscription) = subscribe(&bench, "tickets+doc://a/x").await;
    let wish = subscription.unwrap().wish();
    let again = async |call: &str| bench.gateway().resubscribe(&wish, call.parse().unwrap(), Arc::<Posted>::default()).await;
    assert!(again("call-90").await.1.is_some());
    assert_eq!((watched(&bench).len(), bench.grant().standing().calls), (2, 2));
    bench.grant().end(GrantState::Completed);
    assert!(again("call-91").await.1.is_none());
    assert_eq!(watched(&bench).len(), 2);
}
