//! `record`: the one commit point.

use std::sync::Arc;

use bailiwick_pipeline::{
    grant::{Budget, Grant, GrantState, Labels},
    ports::{ClaimEnd, IdentityFailure, TicketState},
    principal::Agent,
    records::Outcome,
};
use serde_json::json;

use crate::world::{ALL, Asking, Bench, START_MS, alive, catalogue, terms};

fn budgeted(calls: Option<u64>, writes: Option<u64>) -> Grant {
    Grant { budget: Budget { calls, writes, ..Budget::default() }, ..terms("g", &ALL) }
}

#[tokio::test]
async fn the_intent_says_everything_that_counts() {
    let bench = Bench::new();
    let heard = bench.call("tickets__close", r#"{"id":"7"}"#).await;
    let mut intent = heard.ran().intents()[0].clone();
    let tool = Arc::clone(bench.fakes.world.lock().unwrap().tool("tickets__close").unwrap());
    let (digest, policy) = (tool.digest.to_string(), bench.fakes.world.lock().unwrap().policy_digest.clone());
    intent.as_object_mut().unwrap().remove("at_ms");
    assert_eq!(
        intent,
        json!({
            "stream": "calls", "event": "intent", "call_id": heard.call, "agent": "bot", "instance": "pod-1", "grant": "g", "grant_revision": 1,
            "debited": ["g"], "tool": "tickets__close", "kind": "write", "band": "medium", "tool_digest": digest, "args_mac": "mac:10",
            "args_size": 10, "cost": 1, "policy_digest": policy, "trace_id": "07070707070707070707070707070707",
            "labels": [],
        })
    );
}

/// Invariant 6: the record comes first, and for what has an effect it is on disk first.
#[tokio::test]
async fn the_order_is_decision_intent_disk_send_answer_outcome() {
    let order = |bench: &Bench| {
        let interesting = ["claim", "decision", "intent", "secret", "sync", "synced", "send", "write", "outcome", "finish"];
        bench.fakes.points().into_iter().filter(|point| interesting.contains(point)).collect::<Vec<_>>()
    };
    let bench = Bench::new();
    bench.call("tickets__close", "{}").await.ran();
    assert_eq!(order(&bench), ["decision", "intent", "sync", "synced", "send", "write", "outcome"]);
    let bench = Bench::new();
    bench.call("tickets__get", "{}").await.ran();
    assert_eq!(order(&bench), ["decision", "intent", "send", "write", "outcome"]);
    let bench = Bench::new();
    bench.call("vault__put", "{}").await.ran();
    assert_eq!(order(&bench), ["secret", "decision", "intent", "secret", "sync", "synced", "send", "write", "outcome"]);
    let bench = Bench::new();
    bench.call("tickets__export", "{}").await.ran();
    assert_eq!(order(&bench), ["decision", "intent", "sync", "synced", "send", "write", "outcome"]);
}

#[tokio::test]
async fn a_write_waits_for_the_disk() {
    let bench = Bench::new();
    bench.fakes.block("sync");
    let call = bench.spawn("tickets__close", "{}");
    bench.fakes.reached("sync", 1).await;
    assert_eq!(bench.fakes.count("send"), 0);
    bench.call("tickets__get", "{}").await.ran();
    bench.fakes.unblock("sync");
    call.await.unwrap().ran();
}

#[tokio::test]
async fn budgets_are_kept_along_the_chain() {
    let bench = Bench::with([budgeted(Some(2), None)]);
    for _ in 0..2 {
        bench.call("tickets__get", "{}").await.ran();
    }
    let heard = bench.call("tickets__get", "{}").await;
    heard.refused("record", Outcome::Denied, "budget_exhausted");
    assert_eq!(heard.text(), "DENIED: this task's budget of 2 calls is used up. Not executed.");
    assert_eq!(heard.decision()["detail"], "grant `g`: 2 calls");
    assert_eq!(bench.grant().standing().calls, 2);

    let bench = Bench::with([budgeted(None, Some(1))]);
    bench.call("tickets__get", "{}").await.ran();
    bench.call("tickets__close", "{}").await.ran();
    let heard = bench.call("tickets__close", "{}").await;
    heard.refused("record", Outcome::Denied, "budget_exhausted");
    assert_eq!(heard.text(), "DENIED: this task's budget of 1 writes is used up. Not executed.");
    bench.call("tickets__get", "{}").await.ran();
    assert_eq!((bench.grant().standing().calls, bench.grant().standing().writes), (3, 1));

    let root = alive(Grant { id: "root".parse().unwrap(), ..budgeted(Some(1), None) }, None);
    let child = alive(budgeted(Some(9), Some(9)), Some(&root));
    let bench = Bench::new();
    *bench.fakes.grants.lock().unwrap() = vec![Arc::clone(&child)];
    let heard = bench.call("tickets__close", "{}").await;
    assert_eq!(heard.ran().intents()[0]["debited"], json!(["root", "g"]));
    let heard = bench.call("tickets__close", "{}").await;
    heard.refused("record", Outcome::Denied, "budget_exhausted");
    assert_eq!(heard.decision()["detail"], "grant `root`: 1 calls");
    for grant in [&root, &child] {
        assert_eq!((grant.standing().calls, grant.standing().writes), (1, 1));
    }
}

/// The grant ends after everything was decided and before the commit.
#[tokio::test]
async fn an_end_before_the_commit_stops_the_call() {
    for of_parent in [false, true] {
        let root = alive(terms("root", &ALL), None);
        let child = alive(terms("g", &ALL), Some(&root));
        let bench = Bench::new();
        *bench.fakes.grants.lock().unwrap() = vec![Arc::clone(&child)];
        let ending = Arc::clone(if of_parent { &root } else { &child });
        bench.fakes.at("ready", move || assert!(ending.end(GrantState::Revoked)));
        let heard = bench.call("tickets__get", "{}").await;
        heard.refused("record", Outcome::Cancelled, "grant_ended");
        assert_eq!(heard.text(), "STOPPED: the task grant was revoked while the call was under way. Not executed.");
        assert_eq!(heard.decision()["detail"], if of_parent { "grant `root` is revoked" } else { "grant `g` is revoked" });
        assert_eq!((root.standing().calls, child.standing().calls), (0, 0));
    }
}

#[tokio::test]
async fn a_lifetime_that_ends_before_the_commit_stops_the_call() {
    for (shift, runs) in [(3_599_999, true), (3_600_000, false)] {
        let bench = Bench::new();
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("ready", move || fakes.advance_ms(shift));
        let heard = bench.call("tickets__get", "{}").await;
        if runs {
            heard.ran();
        } else {
            heard.refused("record", Outcome::Cancelled, "grant_ended");
            assert_eq!(heard.decision()["detail"], "grant `g` is expired");
        }
    }
    // A clock that is set back before the lifetime began stops it too.
    let bench = Bench::with([Grant { not_before_ms: START_MS, ..terms("g", &ALL) }]);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || fakes.set_ms(START_MS - 1));
    bench.call("tickets__get", "{}").await.refused("record", Outcome::Cancelled, "grant_ended");
    let bench = Bench::with([Grant { not_before_ms: START_MS, ..terms("g", &ALL) }]);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || fakes.set_ms(START_MS));
    bench.call("tickets__get", "{}").await.ran();
}

/// The world is swapped after the decision: everything is decided anew in the new one.
#[tokio::test]
async fn a_new_world_before_the_commit_decides_anew() {
    let bench = Bench::new();
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || *fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &catalogue::rules())));
    bench.call("tickets__close", "{}").await.ran();
    assert_eq!((bench.fakes.count("identify"), bench.fakes.count("ready")), (5, 2));

    let bench = Bench::new();
    let fakes = Arc::clone(&bench.fakes);
    let rules = "@id(\"p\") permit (principal, action == Bailiwick::Action::\"vault__get\", resource);";
    bench.fakes.at("ready", move || *fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, rules)));
    bench.call("tickets__close", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    assert_eq!(bench.grant().standing().calls, 0);
}

/// A token that is revoked, or an agent that is disabled, while a server was slow to start.
#[tokio::test]
async fn who_is_no_longer_proven_at_the_commit_is_nobody() {
    for is_gone in [true, false] {
        let bench = Bench::new();
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("ready", move || {
            fakes.advance_ms(1_500);
            let mut principal = fakes.principal.lock().unwrap();
            if is_gone {
                *principal = Err(IdentityFailure::Unknown);
            } else if let Ok(principal) = principal.as_mut() {
                principal.agent = Arc::new(Agent { disabled: true, ..(*principal.agent).clone() });
            }
        });
        bench.call("tickets__close", "{}").await.refused("identify", Outcome::Unauthenticated, "unauthenticated");
        assert_eq!(bench.grant().standing().calls, 0);
    }
    let bench = Bench::new();
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || fakes.advance_ms(1_500));
    bench.call("tickets__get", "{}").await.ran();
    assert_eq!((bench.fakes.count("identify"), bench.fakes.count("ready")), (2, 1), "asked again, and still the same");
}

/// A token that is revoked, or an agent that is disabled, while the disk was slow. What has no effect doesn't wait for the disk.
#[tokio::test]
async fn who_is_no_longer_proven_after_the_disk_sends_nothing() {
    for is_gone in [true, false] {
        let bench = Bench::new();
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("synced", move || {
            let mut principal = fakes.principal.lock().unwrap();
            if is_gone {
                *principal = Err(IdentityFailure::Unknown);
            } else if let Ok(principal) = principal.as_mut() {
                principal.agent = Arc::new(Agent { disabled: true, ..(*principal.agent).clone() });
            }
        });
        let heard = bench.call("tickets__close", "{}").await;
        heard.failed(Outcome::Cancelled, "no_longer_proven", 0);
        let words = "STOPPED: the sender's token was revoked, or its agent changed, while the call was under way. Not executed.";
        assert_eq!(heard.text(), words);
        assert!(heard.outcome()["detail"].as_str().unwrap().contains("agent `bot`"));
        assert_eq!((bench.fakes.count("ready"), bench.grant().standing().calls), (1, 1), "it is on record, and not walked again");
    }
    for (tool, asked) in [("tickets__close", 3), ("tickets__get", 2)] {
        let bench = Bench::new();
        bench.call(tool, "{}").await.ran();
        assert_eq!(bench.fakes.count("identify"), asked, "{tool}");
    }
}

/// An agent may less by now: what was seen with more is not done.
#[tokio::test]
async fn a_ceiling_that_was_lowered_meanwhile_counts() {
    let bench = Bench::new();
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || {
        if let Ok(principal) = fakes.principal.lock().unwrap().as_mut() {
            principal.agent = Arc::new(Agent { ceiling: bailiwick_policy::Band::Low, ..(*principal.agent).clone() });
        }
    });
    bench.call("tickets__close", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    assert_eq!(bench.grant().standing().calls, 0);
}

#[tokio::test]
async fn a_world_that_never_rests_is_refused() {
    let bench = Bench::new();
    for epoch in 2..40 {
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("ready", move || *fakes.world.lock().unwrap() = Arc::new(catalogue::world(epoch, &catalogue::rules())));
    }
    let heard = bench.call("tickets__get", "{}").await;
    heard.refused("record", Outcome::Denied, "unsettled");
    assert_eq!(heard.text(), "DENIED: what this call rests on kept changing. Not executed; call again.");
    assert_eq!(bench.fakes.count("ready"), 9);
}

#[tokio::test]
async fn labels_that_change_after_the_decision_decide_anew() {
    let bench = Bench::new();
    let grant = bench.grant();
    bench.fakes.at("ready", move || grant.touch(Labels::UNTRUSTED));
    bench.call("tickets__clean", "{}").await.refused("permit", Outcome::Denied, "policy_forbids");
    // A tool whose rules do not look at them is decided anew too, and runs.
    let bench = Bench::new();
    let grant = bench.grant();
    bench.fakes.at("ready", move || grant.touch(Labels::CONFIDENTIAL));
    bench.call("tickets__close", "{}").await.ran();
    assert_eq!(bench.fakes.count("ready"), 2);
}

/// Whoever made it while the call was being committed read the labels of this one before they were on it.
#[tokio::test]
async fn a_grant_that_is_made_during_the_commit_has_the_labels_before_anything_is_sent() {
    let bench = Bench::new();
    let fresh = alive(terms("fresh", &ALL), None);
    let (fakes, made) = (Arc::clone(&bench.fakes), Arc::clone(&fresh));
    bench.fakes.at("intent", move || fakes.grants.lock().unwrap().push(made));
    let (sent, of) = (Arc::new(std::sync::Mutex::new(Labels::default())), Arc::clone(&fresh));
    let seen = Arc::clone(&sent);
    bench.fakes.at("send", move || *seen.lock().unwrap() = of.standing().labels);
    bench.call_under("g", "tickets__search").await.ran();
    assert_eq!(*sent.lock().unwrap(), Labels::UNTRUSTED);
}

/// 14 h at the decision, 2 h at the commit.
#[tokio::test]
async fn another_hour_at_the_commit_asks_the_rules_again() {
    let long = || Grant { expires_at_ms: u64::MAX, ..terms("g", &ALL) };
    let bench = Bench::with([long()]);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || fakes.advance_ms(12 * 3_600_000));
    bench.call("tickets__daily", "{}").await.refused("permit", Outcome::Denied, "policy_forbids");
    assert_eq!(bench.grant().standing().calls, 0);
    // Where they say the same at that hour, nobody is held up.
    for (tool, hours) in [("tickets__daily", 1), ("tickets__daily", 24), ("tickets__close", 12)] {
        let bench = Bench::with([long()]);
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("ready", move || fakes.advance_ms(hours * 3_600_000));
        bench.call(tool, "{}").await.ran();
        assert_eq!(bench.fakes.count("ready"), 1, "{tool} {hours}");
    }
    // What a person approved first is still what the rules ask for.
    let bench = Bench::with([long()]);
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("ready", move || fakes.advance_ms(3_600_000));
    bench.call("tickets__refund", "{}").await.ran();
    assert_eq!(bench.fakes.count("ready"), 1);
}

/// Has another call of the same task happen between the decision and the commit of the next one.
fn meanwhile(bench: &Bench, tool: &str) {
    let (gateway, received) = (bench.gateway(), bench.received(Some((tool, "{}")), Asking::plain()));
    bench.fakes.at("ready", move || {
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(gateway.handle(&received)).outcome
        });
        assert_eq!(other.join().unwrap(), Outcome::Success);
    });
}

#[tokio::test]
async fn counters_that_change_after_the_decision_hold_nobody_up_as_long_as_the_rules_say_the_same() {
    for tool in ["tickets__counted", "tickets__close", "tickets__get"] {
        for other in ["tickets__get", "tickets__close"] {
            let bench = Bench::new();
            meanwhile(&bench, other);
            bench.call(tool, "{}").await.ran();
            assert_eq!((bench.fakes.count("ready"), bench.grant().standing().calls), (2, 2), "{tool}");
        }
    }
}

#[tokio::test]
async fn counters_that_change_after_the_decision_decide_anew_where_a_rule_now_says_no() {
    let bench = Bench::new();
    bench.call("tickets__get", "{}").await.ran();
    let counted = "tickets__counted";
    bench.call(counted, "{}").await.ran();
    meanwhile(&bench, "tickets__get");
    bench.call(counted, "{}").await.refused("permit", Outcome::Denied, "policy_forbids");
    assert_eq!(bench.grant().standing().calls, 3, "the call that came in between counts, and the one that was too late does not");
}

#[tokio::test]
async fn a_claim_that_is_lost_asks_anew_and_spends_nothing() {
    let bench = Bench::new();
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("claim", move || fakes.questions.send_modify(|all| all[0].claimed = true));
    bench.call("tickets__refund", "{}").await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert_eq!((bench.fakes.questions().len(), bench.grant().standing().calls), (2, 0));
    assert_eq!(bench.fakes.questions()[0].ended, None);
}

/// A budget that is used up keeps the approval for later.
#[tokio::test]
async fn a_used_up_budget_takes_no_approval() {
    let bench = Bench::with([budgeted(Some(0), None)]);
    bench.call("tickets__refund", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    bench.call("tickets__refund", "{}").await.refused("record", Outcome::Denied, "budget_exhausted");
    assert_eq!(bench.fakes.count("claim"), 0);
}

#[tokio::test]
async fn the_end_of_a_claim_is_what_the_tool_said() {
    for (reply, end) in [
        (r#"{"content":[]}"#, ClaimEnd::Succeeded),
        (r#"{"content":[],"isError":true}"#, ClaimEnd::Failed),
        (r#"{"content":7}"#, ClaimEnd::Unknown),
    ] {
        let bench = Bench::new();
        bench.call("tickets__refund", "{}").await;
        bench.fakes.decide(&TicketState::Approved);
        bench.replies(reply);
        bench.call("tickets__refund", "{}").await;
        assert_eq!(bench.fakes.questions()[0].ended, Some(end), "{reply}");
    }
}
