//! `identify`: which agent, which instance, proved how.

use std::sync::atomic::Ordering;

use bailiwick_pipeline::{ports::IdentityFailure, records::Outcome};

use crate::world::{Bench, Told};

const WORDS: &str = "authentication is needed: present the agent's bearer token";

#[tokio::test]
async fn whoever_is_proven_is_on_record_with_the_instance_and_the_proof() {
    let bench = Bench::new();
    let heard = bench.call("tickets__get", "{}").await;
    let outcome = heard.ran().outcome();
    assert_eq!(
        (&outcome["agent"], &outcome["instance"], &outcome["auth_method"]),
        (&"bot".into(), &"pod-1".into(), &"agent_token".into())
    );
    assert_eq!(heard.intents()[0]["instance"], "pod-1");
}

#[tokio::test]
async fn every_failure_has_the_same_words_and_reaches_no_further_port() {
    for failure in [
        IdentityFailure::Absent,
        IdentityFailure::Unknown,
        IdentityFailure::Unregistered("x".to_owned()),
        IdentityFailure::Unavailable("the store is gone".to_owned()),
    ] {
        let bench = Bench::new();
        *bench.fakes.principal.lock().unwrap() = Err(failure.clone());
        let heard = bench.call("tickets__get", "{}").await;
        heard.refused("identify", Outcome::Unauthenticated, "unauthenticated");
        assert_eq!(heard.told(), Told::Error(1004, WORDS.to_owned(), None, 401));
        assert_eq!(heard.decision()["detail"], failure.to_string());
        assert_eq!(heard.decision().get("agent"), None);
        assert_eq!(bench.fakes.count("grants_of") + bench.fakes.count("world"), 0);
    }
}

#[tokio::test]
async fn a_disabled_agent_is_nobody() {
    let bench = Bench::new();
    bench.agent(|agent| agent.disabled = true);
    for heard in [bench.call("tickets__get", "{}").await, bench.list().await] {
        heard.refused("identify", Outcome::Unauthenticated, "unauthenticated");
        assert_eq!(heard.told(), Told::Error(1004, WORDS.to_owned(), None, 401));
        assert_eq!(heard.decision()["detail"], "agent `bot` is disabled");
    }
}

#[tokio::test]
async fn strangers_beyond_their_quota_leave_no_record_and_hear_the_same() {
    let bench = Bench::new();
    *bench.fakes.principal.lock().unwrap() = Err(IdentityFailure::Unknown);
    bench.fakes.admits_strangers.store(false, Ordering::SeqCst);
    let heard = bench.call("tickets__get", "{}").await;
    assert_eq!(heard.told(), Told::Error(1004, WORDS.to_owned(), None, 401));
    assert_eq!(bench.fakes.all_records(), "");
    // The quota is for strangers alone.
    bench.principal(|_| {});
    bench.call("tickets__get", "{}").await.ran();
    // Nor is it for what goes wrong before anybody is known.
    bench.fakes.at("identify", || panic!("boom"));
    let heard = bench.call("tickets__get", "{}").await;
    assert_eq!(heard.outcome()["outcome"], "internal_error");
    // Whoever was proven once is no stranger when the proof is gone.
    let fakes = std::sync::Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || *fakes.principal.lock().unwrap() = Err(IdentityFailure::Unknown));
    let heard = bench.call("tickets__get", "{}").await;
    assert_eq!((&heard.outcome()["outcome"], &heard.outcome()["agent"]), (&"unauthenticated".into(), &"bot".into()));
}
