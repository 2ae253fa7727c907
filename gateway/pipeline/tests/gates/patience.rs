//! How an agent waits for a person: for how long, by which means its user is asked meanwhile, and what it means that it goes away.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    Gateway, OnCancel, Patience, Settings, ids::ApprovalId, ports::TicketState, received::Protocol, records::Outcome,
};
use bailiwick_schemas::names::Feature;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, Recorded};

const REFUND: &str = r#"{"id":"7","amount_cents":100}"#;

fn patient(patience: Patience) -> Bench {
    let mut bench = Bench::new();
    bench.settings = Settings {
        hold: Duration::from_secs(45),
        patience: Arc::new([("bot".parse().unwrap(), patience)].into()),
        console_url: Some("https://console.example/".into()),
        ..Settings::default()
    };
    bench
}

fn older(elicitation: &str) -> Asking {
    let capabilities = vec![(Feature::Elicitation, elicitation.to_owned())];
    Asking { capabilities, protocol: Protocol::V20251125, ..Asking::plain() }
}

fn first() -> ApprovalId {
    "apr-1".parse().unwrap()
}

/// A call in a task of its own, with what its herald is asked.
fn asking(bench: &Bench, gateway: &Gateway, asking: Asking, herald: &Arc<Recorded>) -> tokio::task::JoinHandle<Heard> {
    let received = bench.received(Some(("tickets__refund", REFUND)), asking);
    let (gateway, fakes, herald) = (gateway.clone(), Arc::clone(&bench.fakes), Arc::clone(herald));
    tokio::spawn(async move {
        let answer = gateway.handle_telling(&received, &*herald).await;
        Heard::new(received.call_id().to_string(), answer, fakes)
    })
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_held_as_long_as_is_set_for_it() {
    for (hold, seconds) in [(None, 45), (Some(Duration::from_secs(3)), 3), (Some(Duration::ZERO), 0)] {
        let bench = patient(Patience { hold, ..Patience::default() });
        let began = tokio::time::Instant::now();
        let heard = bench.call("tickets__refund", REFUND).await;
        heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
        assert_eq!(began.elapsed().as_secs(), seconds);
        assert!(heard.text().ends_with("Its status: https://console.example/a/apr-1"), "{}", heard.text());
        let crate::world::Told::ToolError(_, Some(meta)) = heard.told() else { panic!() };
        assert_eq!(meta["dev.bailiwick/approval"]["statusUrl"], "https://console.example/a/apr-1");
    }
}

/// A client counts from when it sent the call: so does the gateway, from when it came.
#[tokio::test(start_paused = true)]
async fn the_clock_of_the_hold_starts_when_the_request_came() {
    let bench = patient(Patience { hold: Some(Duration::from_secs(10)), ..Patience::default() });
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("request", move || fakes.advance_ms(7_000));
    let began = tokio::time::Instant::now();
    bench.call("tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn progress_says_how_long_there_is_and_rises() {
    let bench = patient(Patience { hold: Some(Duration::from_secs(11)), ..Patience::default() });
    let herald = Recorded::new();
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("decided", move || fakes.advance_ms(570_000));
    let received = bench.received(Some(("tickets__refund", REFUND)), Asking::wanting(Some("1"), None));
    bench.handle_telling(received, &herald).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    let said: Vec<Value> = herald.told().iter().map(|params| serde_json::from_str(params).unwrap()).collect();
    assert!(said.len() >= 2 && said.windows(2).all(|pair| pair[0]["progress"].as_f64() < pair[1]["progress"].as_f64()));
    assert_eq!(said.last().unwrap()["message"], "Waiting for approval CODE-apr-1, 30 s left");
}

/// 1.5: the user of an older agent is shown where it stands, once; to look at it approves nothing and takes nothing back.
#[tokio::test(start_paused = true)]
async fn who_opens_the_page_or_declines_to_has_decided_nothing() {
    for action in ["accept", "decline", "cancel"] {
        let bench = patient(Patience::default());
        let gateway = bench.gateway();
        let herald = Arc::new(Recorded::new());
        let answer = json!({"action": action, "content": {"approve": true, "code": "CODE-apr-1"}});
        *herald.answer.lock().unwrap() = Some(Bytes::from(answer.to_string()));
        let call = asking(&bench, &gateway, older(r#"{"url":{},"form":{}}"#), &herald);
        bench.fakes.reached("decided", 1).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(!call.is_finished() && bench.fakes.questions()[0].state == TicketState::Pending);
        assert_eq!((gateway.waiting(&first()), bench.fakes.count("confirm")), (1, 0));
        bench.fakes.decide(&TicketState::Approved);
        call.await.unwrap().ran();
        let asked = herald.asked.lock().unwrap().clone();
        assert_eq!((asked.len(), asked[0].is_page, asked[0].approval.clone()), (1, true, first()));
        assert_eq!(
            (&asked[0].params["mode"], &asked[0].params["url"]),
            (&json!("url"), &json!("https://console.example/a/apr-1"))
        );
        assert_eq!(gateway.waiting(&first()), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_who_did_not_say_that_he_can_be_or_where_there_is_no_page() {
    for (elicitation, console) in [("{}", true), (r#"{"form":{}}"#, true), (r#"{"url":{}}"#, false), (r#"{"url":true}"#, true)] {
        let mut bench = patient(Patience::default());
        bench.settings.console_url = bench.settings.console_url.filter(|_| console);
        let herald = Arc::new(Recorded::new());
        let heard = asking(&bench, &bench.gateway(), older(elicitation), &herald).await.unwrap();
        heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
        assert!(herald.asked.lock().unwrap().is_empty(), "{elicitation}");
        assert_eq!(heard.text().contains("https://"), console);
    }
    // And nothing is put to anybody of a call that is not held.
    let bench = patient(Patience { hold: Some(Duration::ZERO), ..Patience::default() });
    let herald = Arc::new(Recorded::new());
    asking(&bench, &bench.gateway(), older(r#"{"url":{}}"#), &herald).await.unwrap();
    assert!(herald.asked.lock().unwrap().is_empty());
}

/// The form is for questions that policy leaves to the agent's user, and for no other.
#[tokio::test(start_paused = true)]
async fn the_users_word_counts_where_policy_asks_for_no_more() {
    let yes = json!({"action": "accept", "content": {"approve": true, "code": "CODE-apr-1"}});
    let no = json!({"action": "accept", "content": {"approve": false}});
    for (answer, runs) in [(&yes, true), (&no, false)] {
        let bench = patient(Patience::default());
        bench.fakes.for_user.store(true, std::sync::atomic::Ordering::SeqCst);
        let herald = Arc::new(Recorded::new());
        *herald.answer.lock().unwrap() = Some(Bytes::from(answer.to_string()));
        let heard = asking(&bench, &bench.gateway(), older("{}"), &herald).await.unwrap();
        let asked = herald.asked.lock().unwrap().clone();
        let message = asked[0].params["message"].as_str().unwrap();
        assert!(message.contains("tickets__refund") && message.contains(r#""amount_cents":100"#), "{message}");
        assert!(asked[0].params["requestedSchema"]["properties"]["code"]["description"].to_string().contains("CODE-apr-1"));
        if runs {
            heard.ran()
        } else {
            heard.refused("approve", Outcome::ApprovalRejected, "approval_denied")
        };
    }
    // A client that answers by itself has said neither.
    for answer in [json!({"action": "decline"}), json!({"action": "accept", "content": {"approve": true}})] {
        let bench = patient(Patience::default());
        bench.fakes.for_user.store(true, std::sync::atomic::Ordering::SeqCst);
        let herald = Arc::new(Recorded::new());
        *herald.answer.lock().unwrap() = Some(Bytes::from(answer.to_string()));
        let heard = asking(&bench, &bench.gateway(), older("{}"), &herald).await.unwrap();
        heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
        assert_eq!(bench.fakes.questions()[0].state, TicketState::Pending);
    }
    // What can't be shown whole is nothing to decide there.
    let bench = patient(Patience::default());
    bench.fakes.for_user.store(true, std::sync::atomic::Ordering::SeqCst);
    let herald = Arc::new(Recorded::new());
    let long = format!(r#"{{"id":"{}","amount_cents":1}}"#, "x".repeat(1600));
    let received = bench.received(Some(("tickets__refund", &long)), older("{}"));
    bench.handle_telling(received, &herald).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert!(herald.asked.lock().unwrap().is_empty());
}

/// 0.2, row 10: a client that gives up leaves the question, and the identical call of another process takes it up.
#[tokio::test(start_paused = true)]
async fn who_goes_away_detaches_and_withdraws_nothing() {
    let bench = patient(Patience::default());
    let gateway = bench.gateway();
    let herald = Arc::new(Recorded::new());
    let (one, two) = (asking(&bench, &gateway, Asking::plain(), &herald), asking(&bench, &gateway, Asking::plain(), &herald));
    bench.fakes.reached("decided", 2).await;
    assert_eq!(gateway.waiting(&first()), 2);
    one.abort();
    assert!(one.await.is_err());
    assert_eq!(gateway.waiting(&first()), 1);
    two.abort();
    assert!(two.await.is_err());
    assert_eq!((gateway.waiting(&first()), bench.fakes.count("withdraw")), (0, 0));
    bench.principal(|principal| principal.instance = Some("pod-2".to_owned()));
    let again = asking(&bench, &gateway, Asking::plain(), &herald);
    bench.fakes.reached("decided", 3).await;
    bench.fakes.decide(&TicketState::Approved);
    again.await.unwrap().ran();
    assert_eq!(bench.fakes.questions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_set_to_withdraw_does_so_when_nobody_else_waits() {
    let bench = patient(Patience { on_cancel: Some(OnCancel::Withdraw), ..Patience::default() });
    let gateway = bench.gateway();
    let herald = Arc::new(Recorded::new());
    let (one, two) = (asking(&bench, &gateway, Asking::plain(), &herald), asking(&bench, &gateway, Asking::plain(), &herald));
    bench.fakes.reached("decided", 2).await;
    one.abort();
    assert!(one.await.is_err());
    assert_eq!(bench.fakes.count("withdraw"), 0);
    two.abort();
    assert!(two.await.is_err());
    assert_eq!((bench.fakes.count("withdraw"), bench.fakes.questions().len()), (1, 0));
    // To have waited long enough is not to go away.
    bench.call("tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    assert_eq!((bench.fakes.count("withdraw"), bench.fakes.questions().len()), (1, 1));
}

/// A task of the gateway's own ends when nobody decided, and says so.
#[tokio::test(start_paused = true)]
async fn a_task_for_which_nobody_decides_ends_with_that() {
    let bench = patient(Patience::default());
    let gateway = bench.gateway();
    let taking = || Asking { takes_tasks: true, ..Asking::plain() };
    let received = bench.received(Some(("tickets__refund", REFUND)), taking());
    let begun = gateway.handle_or_defer(received).await.answer;
    let told: Value = serde_json::from_str(&Heard::new(String::new(), begun, Arc::clone(&bench.fakes)).text()).unwrap();
    assert_eq!((&told["status"], &told["pollIntervalMs"]), (&json!("working"), &json!(3000)));
    assert!(told["statusMessage"].as_str().unwrap().contains("CODE-apr-1"));
    assert!(told["ttlMs"].as_u64().unwrap() >= 600_000);
    tokio::task::yield_now().await;
    assert_eq!(gateway.waiting(&first()), 1);
    // The clock of the world and that of the test are two.
    let get = format!(r#"{{"taskId":{}}}"#, told["taskId"]);
    tokio::time::sleep(Duration::from_secs(599)).await;
    let still = bench.handle(bench.asked("tasks/get", &get, taking())).await;
    assert!(still.text().contains("working"), "{}", still.text());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let over: Value = serde_json::from_str(&bench.handle(bench.asked("tasks/get", &get, taking())).await.text()).unwrap();
    assert_eq!((&over["status"], &over["result"]["isError"]), (&json!("completed"), &json!(true)));
    assert!(over["result"]["content"][0]["text"].as_str().unwrap().starts_with("DENIED: nobody decided in time"), "{over}");
    assert_eq!((gateway.waiting(&first()), bench.fakes.sent.lock().unwrap().len()), (0, 0));
}
