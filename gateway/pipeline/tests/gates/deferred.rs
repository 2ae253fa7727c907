//! Calls that wait for a person while their agent does not: it is told of a task, and the very same call runs once.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{gates::RawReply, grant::GrantState, ports::TicketState, records::Outcome};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, Told, catalogue};

const REFUND: &str = r#"{"id":"7","amount_cents":100}"#;

fn taking() -> Asking {
    Asking { takes_tasks: true, ..Asking::plain() }
}

fn said(heard: &Heard) -> Value {
    serde_json::from_str(&heard.text()).unwrap_or_else(|_| panic!("{:?}", heard.told()))
}

async fn begin(bench: &Bench) -> (Heard, String) {
    let heard = bench.handle_or_defer(bench.received(Some(("tickets__refund", REFUND)), taking())).await;
    let told = said(&heard);
    assert_eq!(
        (&told["resultType"], &told["status"], &told["pollIntervalMs"]),
        (&json!("task"), &json!("working"), &json!(3000))
    );
    let words = told["statusMessage"].as_str().unwrap();
    assert!(words.contains("tickets__refund") && words.contains("CODE-apr-1"), "{words}");
    let id = told["taskId"].as_str().unwrap().to_owned();
    (heard, id)
}

async fn ask(bench: &Bench, verb: &str, id: &str) -> Heard {
    let more = if verb == "update" { r#","inputResponses":{}"# } else { "" };
    bench.handle(bench.asked(&format!("tasks/{verb}"), &format!(r#"{{"taskId":"{id}"{more}}}"#), taking())).await
}

/// What is told of a task once it is over.
async fn over(bench: &Bench, id: &str) -> Value {
    for _ in 0..2000 {
        let told = said(&ask(bench, "get", id).await);
        if told["status"] != "working" {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never ends");
}

/// Waits until this call's one outcome is on record.
async fn outcome(bench: &Bench, call: &str) -> Value {
    for _ in 0..2000 {
        let found = bench.fakes.records("calls", call).into_iter().find(|record| record["event"] == "outcome");
        if let Some(found) = found {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no outcome");
}

#[tokio::test]
async fn a_call_that_waits_for_a_person_is_a_task_and_runs_once() {
    let bench = Bench::new();
    bench.replies(r#"{ "content":[],"n":1.50}"#);
    let (first, id) = begin(&bench).await;
    for _ in 0..3 {
        let heard = ask(&bench, "get", &id).await;
        assert_eq!((&said(&heard)["status"], heard.sent(), heard.intents().len()), (&json!("working"), 0, 0));
        assert_eq!((&heard.decision()["effect"], &heard.outcome()["task"]["of"]), (&json!("allow"), &json!(first.call)));
    }
    assert_eq!(ask(&bench, "update", &id).await.text(), r#"{"resultType":"complete"}"#);
    bench.fakes.decide(&TicketState::Approved);
    let told = over(&bench, &id).await;
    assert_eq!((&told["status"], told["result"]["n"].to_string().as_str()), (&json!("completed"), "1.50"));
    let again = ask(&bench, "get", &id).await;
    assert!(again.text().ends_with(r#","result":{ "content":[],"n":1.50}}"#), "{}", again.text());
    assert_eq!(bench.fakes.sent.lock().unwrap().len(), 1);
    assert_eq!((bench.fakes.questions().len(), bench.fakes.questions()[0].claimed), (1, true));
    let outcome = outcome(&bench, &first.call).await;
    assert_eq!(
        (&outcome["outcome"], &outcome["approval"], &outcome["task"]["of"]),
        (&json!("success"), &json!("apr-1"), &json!(first.call))
    );
    let events: Vec<Value> = first.decisions().iter().map(|record| record["event"].clone()).collect();
    assert_eq!(events, ["approval_awaited", "decided"]);
}

#[tokio::test]
async fn a_no_ends_the_task_as_it_ends_the_call() {
    let bench = Bench::new();
    let (first, id) = begin(&bench).await;
    bench.fakes.decide(&TicketState::Denied { reason: Some("too much".to_owned()) });
    let told = over(&bench, &id).await;
    assert_eq!((&told["status"], &told["result"]["isError"]), (&json!("completed"), &json!(true)));
    assert!(told["result"]["content"][0]["text"].as_str().unwrap().contains("too much"), "{told}");
    assert_eq!(outcome(&bench, &first.call).await["outcome"], "approval_rejected");
    assert_eq!(bench.fakes.sent.lock().unwrap().len(), 0);
}

/// Attack: an agent that leaves does not take back what a person was asked.
#[tokio::test]
async fn who_cancels_is_told_so_and_the_question_stands() {
    let bench = Bench::new();
    let (first, id) = begin(&bench).await;
    assert_eq!(ask(&bench, "cancel", &id).await.text(), r#"{"resultType":"complete"}"#);
    assert_eq!(outcome(&bench, &first.call).await["outcome"], "cancelled");
    assert_eq!(over(&bench, &id).await["status"], "cancelled");
    assert_eq!(ask(&bench, "cancel", &id).await.text(), r#"{"resultType":"complete"}"#);
    assert_eq!(bench.fakes.questions()[0].state, TicketState::Pending);
    bench.fakes.decide(&TicketState::Approved);
    assert_eq!((over(&bench, &id).await["status"].clone(), bench.fakes.sent.lock().unwrap().len()), (json!("cancelled"), 0));
    // The identical call uses it.
    bench.call("tickets__refund", REFUND).await.ran();
}

#[tokio::test]
async fn the_identical_call_and_the_task_use_one_word_once() {
    let bench = Bench::new();
    let (_, id) = begin(&bench).await;
    bench.call("tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert_eq!(bench.fakes.questions().len(), 1);
    bench.fakes.decide(&TicketState::Approved);
    let retry = bench.call("tickets__refund", REFUND).await;
    let told = over(&bench, &id).await;
    let sent = bench.fakes.sent.lock().unwrap().len();
    assert_eq!(sent, 1, "{:?} {told}", retry.told());
    // Whichever came second asked nobody by itself, where it was the task.
    assert!(bench.fakes.questions().len() <= 2);
}

#[tokio::test]
async fn the_end_of_the_grant_ends_the_waiting() {
    let bench = Bench::new();
    let (first, id) = begin(&bench).await;
    bench.grant().end(GrantState::Revoked);
    ask(&bench, "get", &id).await.refused("grant", Outcome::Denied, "unknown_task");
    assert_eq!(outcome(&bench, &first.call).await["outcome"], "denied");
    bench.fakes.decide(&TicketState::Approved);
    assert_eq!(bench.fakes.sent.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn nobody_is_asked_again_for_an_agent_that_does_not_wait() {
    let bench = Bench::new();
    let (first, id) = begin(&bench).await;
    // Other rules: what was asked under the old ones stands no more.
    let rules = catalogue::rules().replace("finance", "treasury");
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &rules));
    bench.fakes.decide(&TicketState::Approved);
    let told = over(&bench, &id).await;
    assert!(told["result"]["content"][0]["text"].as_str().unwrap().starts_with("DENIED: nobody decided"), "{told}");
    assert_eq!(outcome(&bench, &first.call).await["reason"], "approval_lapsed");
    assert_eq!((bench.fakes.questions().len(), bench.fakes.sent.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn an_approved_call_may_become_a_task_of_its_server_under_the_same_handle() {
    let bench = Bench::new();
    let moments = r#""createdAt":"2026-07-28T00:00:00Z","lastUpdatedAt":"2026-07-28T00:00:01Z","ttlMs":null"#;
    *bench.fakes.reply.lock().unwrap() = Box::new(move |outgoing| {
        let text = match outgoing.method() {
            "tools/call" => format!(r#"{{"resultType":"task","taskId":"inner","status":"working",{moments}}}"#),
            _ => format!(
                r#"{{"resultType":"complete","taskId":"inner","status":"completed",{moments},"result":{{"content":[]}}}}"#
            ),
        };
        Ok(RawReply::result(Bytes::from(text)))
    });
    let (first, id) = begin(&bench).await;
    bench.fakes.decide(&TicketState::Approved);
    assert_eq!(over(&bench, &id).await["status"], "completed");
    let outcome = outcome(&bench, &first.call).await;
    assert_eq!((&outcome["outcome"], &outcome["task"]), (&json!("success"), &json!({"of": first.call, "status": "working"})));
    let sent: Vec<&str> = bench.fakes.sent.lock().unwrap().iter().map(|sent| sent.method).collect();
    assert_eq!(sent.iter().filter(|method| **method == "tools/call").count(), 1);
    assert!(sent.contains(&"tasks/get"));
    // A person saw the call, and nothing that would go beside it.
    assert!(bench.fakes.sent.lock().unwrap().iter().all(|sent| sent.capabilities.is_none() && sent.meta.is_empty()));
    assert_eq!(bench.fakes.questions().len(), 1);
}

#[tokio::test]
async fn without_room_the_call_is_held_as_any() {
    let bench = Bench::new();
    for at in 0..64 {
        let arguments: &'static str = Box::leak(format!(r#"{{"id":"{at}","amount_cents":100}}"#).into_boxed_str());
        let heard = bench.handle_or_defer(bench.received(Some(("tickets__refund", arguments)), taking())).await;
        assert_eq!(said(&heard)["resultType"], "task");
    }
    let heard = bench.handle_or_defer(bench.received(Some(("tickets__refund", REFUND)), taking())).await;
    heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert!(matches!(heard.told(), Told::ToolError(..)));
}

#[tokio::test]
async fn who_goes_away_before_is_gone_and_who_does_not_take_tasks_waits() {
    let bench = Bench::new();
    let plain = bench.handle_or_defer(bench.received(Some(("tickets__refund", REFUND)), Asking::plain())).await;
    plain.refused("hold", Outcome::ApprovalPending, "approval_pending");
    bench.fakes.block("request");
    let bench = Arc::new(bench);
    let received = bench.received(Some(("tickets__refund", r#"{"id":"8","amount_cents":1}"#)), taking());
    let (call, own) = (received.call_id().to_string(), Arc::clone(&bench));
    let going = tokio::spawn(async move { own.handle_or_defer(received).await.answer.outcome });
    bench.fakes.reached("request", 2).await;
    going.abort();
    assert_eq!(outcome(&bench, &call).await["outcome"], "cancelled");
    assert_eq!(bench.tasks.count(), 0);
}
