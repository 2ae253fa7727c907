//! Outcomes that reached nobody: each answers the identical call once, instead of a second effect.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{Gateway, Received, Settings, grant::GrantState, ports::TicketState, records::Outcome};
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, PLAIN};

const CLOSE: &str = r#"{"id":"7"}"#;

/// Handles a call whose answer is lost on its way.
async fn lost(gateway: &Gateway, received: &Received) {
    drop(gateway.handle_owing(received, None).await.effect.unwrap().owed());
}

async fn told(bench: &Bench, gateway: &Gateway, tool: &str, arguments: &str) -> Heard {
    let received = bench.received(Some((tool, arguments)), Asking::plain());
    let answer = gateway.handle(&received).await;
    Heard::new(received.call_id().to_string(), answer, Arc::clone(&bench.fakes))
}

fn close(bench: &Bench, arguments: &str) -> Received {
    bench.received(Some(("tickets__close", arguments)), Asking::plain())
}

fn sent(bench: &Bench) -> usize {
    bench.fakes.sent.lock().unwrap().len()
}

#[tokio::test]
async fn what_reached_nobody_answers_the_identical_call_once() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    let first = close(&bench, CLOSE);
    lost(&gateway, &first).await;
    let spent = bench.grant().standing();
    let again = told(&bench, &gateway, "tickets__close", r#"{ "id" : "\u0037" }"#).await;
    assert_eq!((again.answer.outcome, again.text().as_str(), sent(&bench)), (Outcome::Success, PLAIN, 1));
    // On record as its own outcome, of nothing that happened anew.
    let outcome = again.outcome();
    assert_eq!((&outcome["outcome"], &outcome["outcome_of"]), (&json!("success"), &json!(first.call_id())));
    assert_eq!((again.intents().len(), &again.decision()["effect"]), (0, &json!("allow")));
    assert_eq!((bench.grant().standing().calls, outcome["result"]["size"].as_u64()), (spent.calls, Some(PLAIN.len() as u64)));
    // Once.
    let third = told(&bench, &gateway, "tickets__close", CLOSE).await;
    third.ran();
    assert_eq!((third.outcome().get("outcome_of"), sent(&bench)), (None, 2));
}

#[tokio::test]
async fn what_was_heard_or_only_looked_is_not_kept() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    gateway.handle_owing(&close(&bench, CLOSE), None).await.effect.unwrap().owed().delivered();
    told(&bench, &gateway, "tickets__close", CLOSE).await.ran();
    assert_eq!(sent(&bench), 2);
    let read = bench.received(Some(("tickets__get", "{}")), Asking::plain());
    assert!(gateway.handle_owing(&read, None).await.effect.is_none());
    let refused = bench.received(Some(("tickets__refund", "{}")), Asking::plain());
    assert!(gateway.handle_owing(&refused, None).await.effect.is_none());
    let off = Gateway::new(gateway.ports().clone(), Settings { keep_outcome: Duration::ZERO, ..bench.settings.clone() });
    assert!(off.handle_owing(&close(&bench, CLOSE), None).await.effect.is_none());
}

/// The second effect that it saves would take a second yes.
#[tokio::test]
async fn an_approved_call_that_was_not_heard_of_asks_nobody_again() {
    const REFUND: &str = r#"{"id":"7","amount_cents":100}"#;
    let bench = Bench::new();
    let gateway = bench.gateway();
    let refund = || bench.received(Some(("tickets__refund", REFUND)), Asking::plain());
    gateway.handle(&refund()).await;
    bench.fakes.decide(&TicketState::Approved);
    lost(&gateway, &refund()).await;
    let again = told(&bench, &gateway, "tickets__refund", REFUND).await;
    assert_eq!((again.answer.outcome, sent(&bench), bench.fakes.questions().len()), (Outcome::Success, 1, 1));
    told(&bench, &gateway, "tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
}

#[tokio::test]
async fn it_is_for_the_same_agent_grant_tool_and_arguments_and_for_a_time() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    lost(&gateway, &close(&bench, CLOSE)).await;
    for (tool, arguments) in [("tickets__close", r#"{"id":"8"}"#), ("tickets__close", "{}"), ("tickets__clean", "{}")] {
        told(&bench, &gateway, tool, arguments).await.ran();
    }
    let own = bench.grant();
    let other = bailiwick_pipeline::grant::Grant { revision: 2, ..own.terms().clone() };
    *bench.fakes.grants.lock().unwrap() = vec![crate::world::alive(other, None)];
    told(&bench, &gateway, "tickets__close", CLOSE).await.ran();
    *bench.fakes.grants.lock().unwrap() = vec![own];
    bench.fakes.advance_ms(119_000);
    assert_eq!(told(&bench, &gateway, "tickets__close", CLOSE).await.sent(), 0);
    lost(&gateway, &close(&bench, CLOSE)).await;
    bench.fakes.advance_ms(121_000);
    told(&bench, &gateway, "tickets__close", CLOSE).await.ran();
}

/// Whoever may not make the call by now is not told what it came to.
#[tokio::test]
async fn who_may_not_call_any_more_is_told_nothing() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    lost(&gateway, &close(&bench, CLOSE)).await;
    let rules = "@id(\"never\") forbid (principal, action, resource);".to_owned();
    *bench.fakes.world.lock().unwrap() = Arc::new(crate::world::catalogue::world(2, &rules));
    let heard = told(&bench, &gateway, "tickets__close", CLOSE).await;
    assert_eq!((heard.answer.outcome, heard.sent()), (Outcome::Denied, 0));
    bench.grant().end(GrantState::Revoked);
    told(&bench, &gateway, "tickets__close", CLOSE).await.refused("grant", Outcome::Denied, "unknown_tool");
}

#[tokio::test]
async fn the_oldest_of_an_agent_gives_way() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    for at in 0..20 {
        bench.fakes.advance_ms(1);
        lost(&gateway, &close(&bench, &format!(r#"{{"id":"{at}"}}"#))).await;
    }
    let mut kept = Vec::new();
    for at in 0..20 {
        kept.push(told(&bench, &gateway, "tickets__close", &format!(r#"{{"id":"{at}"}}"#)).await.sent() == 0);
    }
    assert_eq!(kept, [[false; 4].as_slice(), &[true; 16]].concat());
}

/// A result that says it failed is what happened too.
#[tokio::test]
async fn a_failure_is_kept_as_such() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    bench.replies(r#"{"content":[],"isError":true}"#);
    lost(&gateway, &close(&bench, CLOSE)).await;
    bench.replies(PLAIN);
    let again = told(&bench, &gateway, "tickets__close", CLOSE).await;
    let text: Value = serde_json::from_str(&again.text()).unwrap();
    assert_eq!((again.answer.outcome, &text["isError"], sent(&bench)), (Outcome::ToolError, &json!(true), 1));
}

/// Given out, and lost once more: it is owed again.
#[tokio::test]
async fn what_is_given_out_and_reaches_nobody_is_owed_again() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    let first = close(&bench, CLOSE);
    lost(&gateway, &first).await;
    for _ in 0..3 {
        let owed = gateway.handle_owing(&close(&bench, CLOSE), None).await.effect.unwrap().owed();
        assert_eq!(owed.call(), Some(first.call_id()));
    }
    assert_eq!(sent(&bench), 1);
    gateway.handle_owing(&close(&bench, CLOSE), None).await.effect.unwrap().owed().delivered();
    told(&bench, &gateway, "tickets__close", CLOSE).await.ran();
    assert_eq!(sent(&bench), 2);
}

/// Where policy asks for a person by now, what was done without one answers nothing.
#[tokio::test]
async fn what_takes_a_person_now_is_not_answered_by_what_took_none() {
    let bench = Bench::new();
    let gateway = bench.gateway();
    lost(&gateway, &close(&bench, CLOSE)).await;
    let before = Arc::clone(&bench.fakes.world.lock().unwrap());
    let rules = format!(
        "{} @id(\"now\") @approval(\"somebody\") forbid (principal, action, resource) unless {{ context.call.approvals.contains(\"somebody\") }};",
        "@id(\"all\") permit (principal, action, resource);"
    );
    *bench.fakes.world.lock().unwrap() = Arc::new(crate::world::catalogue::world(2, &rules));
    told(&bench, &gateway, "tickets__close", CLOSE).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    // It is still there for the call that takes nobody.
    *bench.fakes.world.lock().unwrap() = before;
    assert_eq!(told(&bench, &gateway, "tickets__close", CLOSE).await.sent(), 0);
}
