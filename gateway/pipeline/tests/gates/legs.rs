//! A call of 2026-07-28 that waits longer than one request: it comes back with what it was given, and that is good for this agent, this grant,
//! this question and this exact call, and gives no power.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bailiwick_pipeline::{Patience, Settings, grant::Grant, ports::TicketState, received::Protocol, records::Outcome};
use bailiwick_schemas::names::Feature;
use serde_json::{Value, json};

use crate::world::{ALL, Asking, Bench, Heard, alive, terms};

const REFUND: &str = r#"{"id":"7","amount_cents":100}"#;

fn bench(state_only_legs: bool) -> Bench {
    let mut bench = Bench::new();
    let patience = Patience { state_only_legs, ..Patience::default() };
    bench.settings = Settings {
        hold: Duration::from_secs(45),
        patience: Arc::new([("bot".parse().unwrap(), patience)].into()),
        console_url: Some("https://console.example".into()),
        ..Settings::default()
    };
    bench
}

fn pages() -> Asking {
    Asking { capabilities: vec![(Feature::Elicitation, r#"{"url":{}}"#.to_owned())], ..Asking::plain() }
}

async fn call(bench: &Bench, arguments: &str, state: Option<(&str, Value)>, asking: Asking) -> Heard {
    let mut params = json!({"name": "tickets__refund", "arguments": serde_json::from_str::<Value>(arguments).unwrap()});
    if let Some((state, responses)) = state {
        params["requestState"] = state.into();
        params["inputResponses"] = responses;
    }
    bench.handle(bench.asked("tools/call", &params.to_string(), asking)).await
}

/// The state, and what is asked with it.
fn leg(heard: &Heard) -> (String, Value) {
    assert_eq!(heard.answer.outcome, Outcome::ApprovalPending, "{:?}", heard.told());
    let told: Value = serde_json::from_str(&heard.text()).unwrap();
    assert_eq!((&told["resultType"], heard.sent()), (&json!("input_required"), 0));
    assert_eq!(told["_meta"]["dev.bailiwick/approval"]["code"], "CODE-apr-1");
    assert_eq!(
        (heard.outcome()["outcome"].clone(), heard.outcome()["approval"].clone()),
        (json!("approval_pending"), json!("apr-1"))
    );
    (told["requestState"].as_str().unwrap().to_owned(), told["inputRequests"].clone())
}

fn accepted() -> Value {
    json!({"approval": {"action": "accept"}})
}

#[tokio::test(start_paused = true)]
async fn an_agent_comes_back_eight_times_each_with_another_state_and_is_held_each_time() {
    let bench = bench(false);
    let began = tokio::time::Instant::now();
    let (mut state, asked) = leg(&call(&bench, REFUND, None, pages()).await);
    let page = &asked["approval"];
    assert_eq!(page["method"], "elicitation/create");
    assert_eq!((&page["params"]["mode"], &page["params"]["url"]), (&json!("url"), &json!("https://console.example/a/apr-1")));
    let mut seen = BTreeSet::from([state.clone()]);
    for number in 2..=8_u64 {
        state = leg(&call(&bench, REFUND, Some((&state, accepted())), pages()).await).0;
        assert!(seen.insert(state.clone()), "each is another");
        assert_eq!(began.elapsed().as_secs(), 45 * number);
    }
    let last = call(&bench, REFUND, Some((&state, accepted())), pages()).await;
    last.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert_eq!(bench.fakes.questions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_finds_what_was_decided_and_the_call_runs_once() {
    let bench = bench(false);
    let (state, _) = leg(&call(&bench, REFUND, None, pages()).await);
    bench.fakes.decide(&TicketState::Approved);
    call(&bench, REFUND, Some((&state, accepted())), pages()).await.ran();
    // What it waited for is over: it does not ask anew in the name of that.
    let again = call(&bench, REFUND, Some((&state, accepted())), pages()).await;
    again.refused("approve", Outcome::ApprovalRejected, "approval_lapsed");
    assert_eq!((bench.fakes.questions().len(), bench.fakes.sent.lock().unwrap().len()), (1, 1));
    let bench = self::bench(false);
    let (state, _) = leg(&call(&bench, REFUND, None, pages()).await);
    bench.fakes.decide(&TicketState::Denied { reason: Some("no".to_owned()) });
    call(&bench, REFUND, Some((&state, accepted())), pages()).await.refused(
        "approve",
        Outcome::ApprovalRejected,
        "approval_denied",
    );
}

/// Row 14, undeclared: who can be asked nothing is given nothing to come back with.
#[tokio::test(start_paused = true)]
async fn what_was_not_declared_is_never_sent() {
    let form = Asking { capabilities: vec![(Feature::Elicitation, r#"{"form":{}}"#.to_owned())], ..Asking::plain() };
    let older = Asking { protocol: Protocol::V20251125, ..pages() };
    for asking in [Asking::plain(), form, older] {
        let bench = bench(false);
        call(&bench, REFUND, None, asking).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    }
    let mut nowhere = bench(false);
    nowhere.settings.console_url = None;
    call(&nowhere, REFUND, None, pages()).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    let mut hasty = bench(false);
    hasty.settings.hold = Duration::ZERO;
    call(&hasty, REFUND, None, pages()).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_set_to_comes_back_with_the_state_alone() {
    let bench = bench(true);
    let (mut state, asked) = leg(&call(&bench, REFUND, None, Asking::plain()).await);
    assert_eq!(asked, Value::Null);
    for _ in 2..=8 {
        let (next, asked) = leg(&call(&bench, REFUND, Some((&state, json!({}))), Asking::plain()).await);
        assert_eq!(asked, Value::Null);
        assert_ne!(next, state);
        state = next;
    }
    bench.fakes.decide(&TicketState::Approved);
    call(&bench, REFUND, Some((&state, json!({}))), Asking::plain()).await.ran();
    // One whose user can look at a page is shown it once.
    let bench = self::bench(true);
    let (state, asked) = leg(&call(&bench, REFUND, None, pages()).await);
    assert!(asked.is_object());
    let (_, asked) = leg(&call(&bench, REFUND, Some((&state, accepted())), pages()).await);
    assert_eq!(asked, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn who_declines_the_page_is_held_once_more_and_then_pending() {
    for responses in [json!({"approval": {"action": "decline"}}), json!({"approval": {"action": "cancel"}}), json!({})] {
        let bench = bench(false);
        let (state, _) = leg(&call(&bench, REFUND, None, pages()).await);
        let began = tokio::time::Instant::now();
        let heard = call(&bench, REFUND, Some((&state, responses)), pages()).await;
        heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
        assert_eq!(began.elapsed().as_secs(), 45);
        assert_eq!(bench.fakes.questions()[0].state, TicketState::Pending);
    }
}

/// Rows 7 and 2: another agent, another grant, another issue of it, a changed or made-up state; and other arguments.
#[tokio::test(start_paused = true)]
async fn a_state_is_of_no_use_to_anybody_else_nor_for_anything_else() {
    let bench = bench(false);
    let (state, _) = leg(&call(&bench, REFUND, None, pages()).await);
    bench.fakes.decide(&TicketState::Approved);
    let mut forged = state.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in [forged.as_str(), "wait.", "wait.AAAA", "wait.\u{e4}", state.split_at(20).0] {
        let heard = call(&bench, REFUND, Some((wrong, accepted())), pages()).await;
        heard.refused("approve", Outcome::Invalid, "answers_not_taken");
    }
    let other = call(&bench, r#"{"id":"7","amount_cents":101}"#, Some((&state, accepted())), pages()).await;
    other.refused("approve", Outcome::ApprovalRejected, "approval_lapsed");
    let own = bench.grant();
    let (terms, other) = (own.terms().clone(), terms("h", &ALL));
    for terms in [Grant { revision: 2, ..terms }, other] {
        *bench.fakes.grants.lock().unwrap() = vec![alive(terms, None)];
        let heard = call(&bench, REFUND, Some((&state, accepted())), pages()).await;
        heard.refused("approve", Outcome::Invalid, "answers_not_taken");
    }
    *bench.fakes.grants.lock().unwrap() = vec![own];
    assert_eq!((bench.fakes.questions().len(), bench.fakes.sent.lock().unwrap().len()), (1, 0));
    call(&bench, REFUND, Some((&state, accepted())), pages()).await.ran();
}

/// It is good as long as there may be something to find, and no longer.
#[tokio::test(start_paused = true)]
async fn a_state_grows_old() {
    let bench = bench(false);
    let (state, _) = leg(&call(&bench, REFUND, None, pages()).await);
    bench.fakes.advance_ms(1_200_000);
    let heard = call(&bench, REFUND, Some((&state, accepted())), pages()).await;
    heard.refused("approve", Outcome::Invalid, "answers_not_taken");
}

/// Attack 92: what the agent's client answers is nobody's approval, however it is put.
#[tokio::test(start_paused = true)]
async fn no_answer_of_the_agents_own_approves_what_an_approver_decides() {
    let both = || Asking { capabilities: vec![(Feature::Elicitation, r#"{"url":{},"form":{}}"#.to_owned())], ..Asking::plain() };
    let word = json!({"action": "accept", "content": {"approve": true, "code": "CODE-apr-1"}});
    for responses in [
        json!({"approval": word}),
        json!({"approval": {"action": "accept"}, "apr-1": word, "code": word}),
        json!({"approval": {"action": "accept", "content": {"state": "approved"}, "approved": true}}),
    ] {
        let bench = bench(false);
        let (state, asked) = leg(&call(&bench, REFUND, None, both()).await);
        assert_eq!(asked["approval"]["params"]["mode"], "url");
        leg(&call(&bench, REFUND, Some((&state, responses.clone())), both()).await);
        assert_eq!((bench.fakes.questions()[0].state.clone(), bench.fakes.count("confirm")), (TicketState::Pending, 0));
        // Without anything that it was given.
        let bench = self::bench(false);
        let mut params = json!({"name": "tickets__refund", "arguments": serde_json::from_str::<Value>(REFUND).unwrap()});
        params["inputResponses"] = responses;
        let heard = bench.handle(bench.asked("tools/call", &params.to_string(), both())).await;
        heard.refused("validate", Outcome::Invalid, "answers_not_taken");
        assert!(bench.fakes.questions().is_empty());
    }
}

/// Where policy leaves it to the agent's user, the form is asked at once, and its answer is that.
#[tokio::test(start_paused = true)]
async fn the_agents_user_is_asked_at_once_what_is_for_them() {
    let forms = || Asking { capabilities: vec![(Feature::Elicitation, "{}".to_owned())], ..Asking::plain() };
    let bench = bench(false);
    bench.fakes.for_user.store(true, std::sync::atomic::Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    let (state, asked) = leg(&call(&bench, REFUND, None, forms()).await);
    assert_eq!((&asked["approval"]["params"]["mode"], began.elapsed()), (&json!("form"), Duration::ZERO));
    let word = json!({"approval": {"action": "accept", "content": {"approve": true, "code": "CODE-apr-1"}}});
    call(&bench, REFUND, Some((&state, word)), forms()).await.ran();
    assert_eq!(bench.fakes.count("confirm"), 1);
}

/// What is the gateway's own is no handle of a server's question, and goes to none.
#[tokio::test(start_paused = true)]
async fn a_state_goes_to_no_server() {
    let bench = bench(false);
    let (state, _) = leg(&call(&bench, REFUND, None, pages()).await);
    let params = json!({"name": "tickets__get", "arguments": {"id": "1"}, "requestState": state, "inputResponses": accepted()});
    let heard = bench.handle(bench.asked("tools/call", &params.to_string(), pages())).await;
    heard.refused("approve", Outcome::ApprovalRejected, "approval_lapsed");
    assert!(bench.fakes.sent.lock().unwrap().is_empty());
}
