//! Halts: refused where it is seen, at the commit and at the door; what is in flight ends, and nobody else is disturbed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bailiwick_pipeline::{halts::Halt, ports::TicketState, records::Outcome, refusal::CODE_HALTED};
use serde_json::json;

use crate::world::{ALL, Asking, Bench, Heard, Told, alive, bot, terms};

/// Each reaches a call of `tickets__close` by `bot` on `pod-1`.
const REACHING: [(&str, &str); 5] = [
    ("everything", "every call is stopped"),
    ("agent:bot", "this agent is stopped"),
    ("instance:bot/pod-1", "this instance of the agent is stopped"),
    ("connector:tickets", "this connector is stopped"),
    ("tool:tickets__close", "this tool is stopped"),
];

/// None of them does.
const BESIDE: [&str; 5] = ["agent:other", "instance:bot/pod-2", "instance:other/pod-1", "connector:files", "tool:tickets__get"];

fn halt(text: &str) -> Halt {
    text.parse().unwrap()
}

#[track_caller]
fn is_frozen(heard: &Heard, text: &str, words: &str) {
    let Told::Error(code, message, data, http) = heard.told() else { panic!("{:?}", heard.told()) };
    let expected = format!(
        "FROZEN: {words} by an operator. Not executed. This does not end by itself: do not retry until an operator says that it goes on."
    );
    assert_eq!((code, message.as_str(), http), (CODE_HALTED, expected.as_str(), 200));
    assert_eq!(data, Some(json!({"halted": halt(text).kind(), "retryAfterMs": null})));
    heard.refused("grant", Outcome::Denied, "halted");
    assert_eq!(heard.outcome()["detail"], format!("halt `{text}` is in force"));
}

#[tokio::test]
async fn what_is_halted_is_refused_in_words_of_its_own_and_thawed_it_runs() {
    for (text, words) in REACHING {
        let bench = Bench::new();
        bench.halts.put(&halt(text));
        is_frozen(&bench.call("tickets__close", "{}").await, text, words);
        assert_eq!((bench.grant().standing().calls, bench.halts.flights()), (0, 0));
        bench.halts.lift(&halt(text));
        bench.call("tickets__close", "{}").await.ran();
        assert_eq!(bench.halts.flights(), 0);
    }
    for text in BESIDE {
        let bench = Bench::new();
        bench.halts.put(&halt(text));
        bench.call("tickets__close", "{}").await.ran();
    }
}

/// The grant of an agent that is halted is worth nothing to whom it was passed on.
#[tokio::test]
async fn what_comes_from_a_halted_agent_is_halted() {
    let bench = Bench::new();
    let mut above = terms("root", &ALL);
    above.agent = "lead".parse().unwrap();
    let root = alive(above, None);
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms("g", &ALL), Some(&root))];
    bench.call("tickets__close", "{}").await.ran();
    bench.halts.put(&halt("agent:lead"));
    is_frozen(&bench.call("tickets__close", "{}").await, "agent:lead", "this agent is stopped");
}

/// Invariants 3 and 4: what is halted is listed no more, and who never saw it hears of no halt.
#[tokio::test]
async fn a_halted_tool_is_not_listed_and_stays_unknown_to_others() {
    let bench = Bench::with([terms("g", &["tickets__get", "tickets__close", "files__*"])]);
    let Told::Tools(all) = bench.list().await.told() else { panic!("no list") };
    for (text, gone) in
        [("tool:tickets__close", "tickets__close"), ("connector:tickets", "tickets__"), ("connector:files", "files__")]
    {
        bench.halts.put(&halt(text));
        let Told::Tools(left) = bench.list().await.told() else { panic!("no list") };
        let expected: Vec<String> = all.iter().filter(|name| !name.starts_with(gone)).cloned().collect();
        assert!(expected.len() < all.len());
        assert_eq!(left, expected, "{text}");
        bench.halts.lift(&halt(text));
        assert_eq!(bench.list().await.told(), Told::Tools(all.clone()), "{text}");
    }
    bench.halts.put(&halt("connector:vault"));
    bench.halts.put(&halt("connector:nowhere"));
    let (ungranted, absent) = (bench.call("vault__get", "{}").await, bench.call("nowhere__get", "{}").await);
    ungranted.refused("grant", Outcome::Denied, "unknown_tool");
    assert_eq!(ungranted.text().replace("vault", "nowhere"), absent.text());
}

#[tokio::test]
async fn whoever_is_halted_has_no_lists() {
    for (text, words) in REACHING.into_iter().take(3) {
        let bench = Bench::new();
        bench.halts.put(&halt(text));
        is_frozen(&bench.list().await, text, words);
        *bench.fakes.grants.lock().unwrap() = Vec::new();
        is_frozen(&bench.list().await, text, words);
        let offers = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
        is_frozen(&offers, text, words);
    }
}

/// Between the walk and the commit: refused there, and nothing is spent.
#[tokio::test]
async fn a_halt_before_the_commit_spends_nothing() {
    for (text, _) in REACHING {
        let bench = Bench::new();
        let halts = Arc::clone(&bench.halts);
        bench.fakes.at("mac", move || _ = halts.put(&halt(text)));
        let heard = bench.call("tickets__close", "{}").await;
        heard.refused("record", Outcome::Denied, "halted");
        assert_eq!(bench.grant().standing().calls, 0, "{text}");
    }
}

/// A claimed approval is none that was used, where the halt comes first.
#[tokio::test]
async fn a_halt_before_the_commit_uses_no_approval() {
    let bench = Bench::new();
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    let halts = Arc::clone(&bench.halts);
    bench.fakes.at("mac", move || _ = halts.put(&Halt::Everything));
    bench.call("tickets__refund", "{}").await.refused("record", Outcome::Denied, "halted");
    bench.halts.lift(&Halt::Everything);
    bench.call("tickets__refund", "{}").await.ran();
}

/// Between the record and the door.
#[tokio::test]
async fn no_write_begins_once_it_is_halted() {
    for (text, words) in REACHING {
        let bench = Bench::new();
        bench.fakes.block("sync");
        let call = bench.spawn("tickets__close", "{}");
        bench.fakes.reached("sync", 1).await;
        bench.halts.put(&halt(text));
        assert!(bench.halts.drained(&halt(text), Duration::ZERO).await);
        bench.fakes.unblock("sync");
        let heard = call.await.unwrap();
        heard.failed(Outcome::Cancelled, "halted", 0);
        assert_eq!(
            heard.text(),
            format!("STOPPED: {words} by an operator while the call was under way. Not executed. Do not retry.")
        );
        assert_eq!(bench.fakes.count("send"), 0);
    }
}

/// The commit was past, and nothing waits for the disk: the door itself is shut.
#[tokio::test]
async fn the_door_itself_is_shut() {
    let bench = Bench::new();
    let halts = Arc::clone(&bench.halts);
    // A read is not synced: after its intent nothing is asked before the door.
    bench.fakes.at("intent", move || _ = halts.put(&Halt::Everything));
    bench.call("tickets__get", "{}").await.failed(Outcome::Cancelled, "halted", 0);
    assert_eq!((bench.fakes.count("send"), bench.halts.flights()), (0, 0));
}

#[tokio::test]
async fn what_is_in_flight_ends_and_a_neighbour_goes_on() {
    for (text, words) in REACHING {
        let bench = Bench::new();
        bench.fakes.block("answer");
        let call = bench.spawn("tickets__close", "{}");
        bench.fakes.reached("answer", 1).await;
        for beside in BESIDE {
            bench.halts.put(&halt(beside));
        }
        assert!(!call.is_finished() && bench.fakes.dropped_in_flight.load(Ordering::SeqCst) == 0);
        bench.halts.put(&halt(text));
        let heard = call.await.unwrap();
        heard.failed(Outcome::Cancelled, "halted", 1);
        assert_eq!(
            heard.text(),
            format!("STOPPED: {words} by an operator while the call was under way. It may have been executed. Do not retry.")
        );
        assert_eq!(bench.fakes.dropped_in_flight.load(Ordering::SeqCst), 1);
        assert_eq!(bench.halts.flights(), 0);
    }
}

/// A result that is there when the halt comes is put on record and goes no further.
#[tokio::test]
async fn a_result_at_the_moment_of_a_halt_is_discarded() {
    let bench = Bench::new();
    let halts = Arc::clone(&bench.halts);
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| {
        halts.put(&halt("tool:tickets__close"));
        Ok(bailiwick_pipeline::gates::RawReply::result(bytes::Bytes::from_static(crate::world::PLAIN.as_bytes())))
    });
    let heard = bench.call("tickets__close", "{}").await;
    heard.failed(Outcome::Cancelled, "halted", 1);
    assert!(heard.text().contains("It was executed; its result was discarded."), "{}", heard.text());
    assert_eq!(heard.outcome()["result"]["size"], crate::world::PLAIN.len());
}

/// The same at the end of a grant.
#[tokio::test]
async fn a_result_at_the_moment_of_the_end_of_its_grant_is_discarded() {
    let bench = Bench::new();
    let grant = bench.grant();
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| {
        grant.end(bailiwick_pipeline::grant::GrantState::Revoked);
        Ok(bailiwick_pipeline::gates::RawReply::result(bytes::Bytes::from_static(crate::world::PLAIN.as_bytes())))
    });
    let heard = bench.call("tickets__close", "{}").await;
    heard.failed(Outcome::Cancelled, "grant_ended", 1);
    assert!(heard.text().contains("It was executed; its result was discarded."), "{}", heard.text());
}

#[tokio::test]
async fn a_halt_waits_for_the_write_under_way() {
    let bench = Bench::new();
    bench.fakes.block("write");
    let call = bench.spawn("tickets__close", "{}");
    bench.fakes.reached("write", 1).await;
    assert!(!bench.halts.drained(&Halt::Everything, Duration::ZERO).await);
    assert!(bench.halts.drained(&halt("connector:files"), Duration::ZERO).await);
    bench.fakes.unblock("write");
    call.await.unwrap().ran();
    assert!(bench.halts.drained(&Halt::Everything, Duration::ZERO).await);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_person_ends() {
    for (text, words) in REACHING.into_iter().take(4).chain([("tool:tickets__refund", "this tool is stopped")]) {
        let mut bench = Bench::new();
        bench.settings.hold = Duration::from_secs(45);
        bench.fakes.block("decided");
        let call = bench.spawn("tickets__refund", "{}");
        bench.fakes.reached("decided", 1).await;
        bench.halts.put(&halt(text));
        let heard = call.await.unwrap();
        let Told::Error(code, message, ..) = heard.told() else { panic!("{:?}", heard.told()) };
        assert!(code == CODE_HALTED && message.contains(words), "{message}");
        assert_eq!((heard.outcome()["reason"].as_str(), heard.sent()), (Some("halted"), 0));
    }
}

/// To start a server may take long: nobody waits for that.
#[tokio::test]
async fn a_call_that_is_being_armed_ends() {
    for (text, words) in REACHING {
        let bench = Bench::new();
        bench.fakes.block("ready");
        let call = bench.spawn("tickets__close", "{}");
        bench.fakes.reached("ready", 1).await;
        bench.halts.put(&halt(text));
        is_frozen(&call.await.unwrap(), text, words);
    }
}

#[tokio::test]
async fn a_halted_connector_is_not_asked_for_its_part_of_a_list() {
    let bench = Bench::with([terms("g", &["tickets/resource_read", "files/resource_read"])]);
    bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    let asked = bench.fakes.count("offers");
    assert!(asked > 0);
    bench.halts.put(&halt("connector:tickets"));
    bench.halts.put(&halt("connector:files"));
    let heard = bench.handle(bench.asked("resources/list", "{}", Asking::plain())).await;
    assert_eq!((heard.text().as_str(), bench.fakes.count("offers")), ("[]", asked));
}

/// What is in flight is woken where it stands, and nobody else of the same grant.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_halted_tool_leaves_the_other_tools_of_a_grant_in_flight() {
    let bench = Bench::new();
    bench.fakes.block("answer");
    let halted: Vec<_> = (0..20).map(|_| bench.spawn("tickets__close", "{}")).collect();
    let others: Vec<_> = (0..20).map(|_| bench.spawn("tickets__get", "{}")).collect();
    bench.fakes.reached("answer", 40).await;
    assert_eq!(bench.halts.flights(), 40);
    bench.halts.put(&halt("tool:tickets__close"));
    for call in halted {
        call.await.unwrap().failed(Outcome::Cancelled, "halted", 1);
    }
    assert!(others.iter().all(|call| !call.is_finished()));
    bench.fakes.unblock("answer");
    for call in others {
        call.await.unwrap().ran();
    }
    assert_eq!(bench.halts.flights(), 0);
}

/// Whoever says of no instance that it is the one may be the one that is halted; of several words each counts.
#[tokio::test]
async fn a_caller_without_an_instance_may_be_the_halted_one() {
    for (instance, is_stopped) in [(None, true), (Some("pod-1"), true), (Some("pod-1+x509-a"), true), (Some("pod-2"), false)] {
        let bench = Bench::new();
        let instance = instance.map(str::to_owned);
        *bench.fakes.principal.lock().unwrap() = Ok(bailiwick_pipeline::principal::Principal { instance, ..bot() });
        bench.halts.put(&halt("instance:bot/pod-1"));
        bench.call("tickets__close", "{}").await;
        assert_eq!(bench.fakes.sent.lock().unwrap().is_empty(), is_stopped);
    }
}
