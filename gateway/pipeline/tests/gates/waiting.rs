//! A server that asks while it works on a call, and waits: the call goes on with the answers, which walk every gate.

use std::time::Duration;

use bailiwick_pipeline::{constraint::Bound, records::Outcome};
use bailiwick_schemas::names::Feature;
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, SECRET, terms};

const GRANTED: [&str; 4] = ["tickets__*", "tickets/elicitation", "vault__*", "vault/elicitation"];

const ADA: &str = r#"{"action":"accept","content":{"name":"ada"}}"#;

fn bench(questions: &[(&'static str, Value)]) -> Bench {
    let bench = Bench::with([terms("g", &GRANTED)]);
    *bench.fakes.wonders.lock().unwrap() = questions.iter().map(|(method, params)| (*method, params.to_string())).collect();
    bench.replies(crate::world::PLAIN);
    bench
}

fn form(message: &str) -> (&'static str, Value) {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]});
    ("elicitation/create", json!({"message": message, "requestedSchema": schema}))
}

fn takes() -> Asking {
    let capabilities = [Feature::Elicitation, Feature::Sampling].map(|kind| (kind, "{}".to_owned()));
    Asking { capabilities: capabilities.into(), ..Asking::plain() }
}

async fn call(bench: &Bench, more: &str) -> Heard {
    bench
        .handle(bench.asked("tools/call", &format!(r#"{{"name":"tickets__get","arguments":{{"id":"1"}}{more}}}"#), takes()))
        .await
}

fn asked(heard: &Heard) -> (Value, String) {
    assert_eq!(heard.answer.outcome, Outcome::InputRequired, "{:?}", heard.told());
    let told: Value = serde_json::from_str(&heard.text()).unwrap();
    (told["inputRequests"].clone(), told["requestState"].as_str().unwrap().to_owned())
}

fn answers(state: &str, responses: &str) -> String {
    format!(r#","requestState":"{state}","inputResponses":{responses}"#)
}

fn answered(bench: &Bench) -> Vec<Option<String>> {
    bench.fakes.answered.lock().unwrap().clone()
}

fn sent(bench: &Bench) -> usize {
    bench.fakes.sent.lock().unwrap().len()
}

/// What was called off comes to know of it in its turn.
async fn until_dropped(bench: &Bench, count: u64) {
    for _ in 0..1000 {
        if bench.fakes.dropped_in_flight.load(std::sync::atomic::Ordering::SeqCst) == count {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?} were dropped", bench.fakes.dropped_in_flight);
}

#[tokio::test]
async fn a_call_goes_on_with_the_answers_and_is_sent_once() {
    let bench = bench(&[form("who?"), form("and who else?")]);
    let (requests, handle) = asked(&call(&bench, "").await);
    assert_eq!(requests["q1"]["params"]["message"], "[tickets] who?");
    assert_eq!(requests["q2"]["params"]["message"], "[tickets] and who else?");
    assert_eq!((answered(&bench), sent(&bench)), (vec![], 1));
    // What is no answer to this leaves it waiting.
    for wrong in [r#"{"q1":{"action":"accept","content":{"name":"much too long"}}}"#, r#"{"q1":{"action":"agreed"}}"#] {
        assert_eq!(call(&bench, &answers(&handle, wrong)).await.sent(), 0);
    }
    assert_eq!(answered(&bench), []);
    // The second has no answer, and nothing else was asked: it is asked again.
    let heard = call(&bench, &answers(&handle, &format!(r#"{{"q1":{ADA},"q3":{ADA}}}"#))).await;
    let (requests, handle) = asked(&heard);
    assert_eq!(requests.as_object().unwrap().keys().collect::<Vec<_>>(), ["q2"]);
    let heard = call(&bench, &answers(&handle, r#"{"q2":{"action":"decline"}}"#)).await;
    assert_eq!((heard.answer.outcome, heard.intents().len(), heard.sent()), (Outcome::Success, 1, 0));
    assert!(heard.intents()[0]["answers_mac"].is_string());
    assert_eq!(answered(&bench), [Some(ADA.to_owned()), Some(r#"{"action":"decline"}"#.to_owned())]);
    assert_eq!(call(&bench, &answers(&handle, "{}")).await.sent(), 0, "once");
}

#[tokio::test]
async fn what_may_not_be_asked_is_refused_and_the_call_goes_on() {
    let sampling = ("sampling/createMessage", json!({"messages": [], "maxTokens": 1}));
    let page = ("elicitation/create", json!({"mode": "url", "message": "go", "url": "https://pages.example/"}));
    for question in [sampling, page, form("your password?"), ("roots/list", json!({})), ("tools/call", json!({"name": "x"}))] {
        let bench = bench(std::slice::from_ref(&question));
        let heard = call(&bench, "").await;
        assert_eq!((heard.answer.outcome, answered(&bench)), (Outcome::Success, vec![None]), "{question:?}");
        assert!(!heard.text().contains("password"));
    }
    // Beside what may be asked.
    let bench = bench(&[form("your password?"), form("who?")]);
    let (requests, handle) = asked(&call(&bench, "").await);
    assert_eq!(requests.as_object().unwrap().len(), 1);
    call(&bench, &answers(&handle, &format!(r#"{{"q1":{ADA}}}"#))).await.outcome();
    assert_eq!(answered(&bench), [None, Some(ADA.to_owned())]);
}

#[tokio::test]
async fn more_questions_than_may_be_put_are_refused() {
    for (questions, put) in [(vec![form("who?"); 20], 16), (vec![form(&"?".repeat(30_000)); 5], 2)] {
        let bench = bench(&questions);
        let (requests, _) = asked(&call(&bench, "").await);
        assert_eq!(requests.as_object().unwrap().len(), put);
    }
}

#[tokio::test]
async fn a_question_tells_no_secret() {
    let bench = bench(&[form(&format!("is it {SECRET}?"))]);
    let heard = bench.handle(bench.asked("tools/call", r#"{"name":"vault__get"}"#, takes())).await;
    let (requests, _) = asked(&heard);
    assert!(!requests.to_string().contains(SECRET) && requests.to_string().contains("is it"), "{requests}");
}

#[tokio::test]
async fn a_call_that_nobody_takes_up_is_called_off() {
    let bench = bench(&[form("who?")]);
    asked(&call(&bench, "").await);
    // The same again.
    let (_, second) = asked(&call(&bench, "").await);
    until_dropped(&bench, 1).await;
    assert_eq!(sent(&bench), 2);
    bench.rounds.forget(&second);
    until_dropped(&bench, 2).await;
    assert_eq!(answered(&bench), []);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_ten_minutes() {
    let bench = bench(&[form("who?")]);
    asked(&call(&bench, "").await);
    tokio::time::sleep(Duration::from_secs(599)).await;
    until_dropped(&bench, 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    until_dropped(&bench, 1).await;
}

#[tokio::test]
async fn where_arguments_are_bounded_nothing_is_asked_and_nothing_goes_beside_them() {
    let mut bounded = terms("g", &GRANTED);
    bounded.capabilities[0].args.insert("/id".to_owned(), Bound { eq: Some("1".into()), ..Bound::default() });
    for (terms, meta) in [(bounded, ""), (terms("g", &GRANTED), r#""a":1"#)] {
        let bench = bench(&[form("who?")]);
        *bench.fakes.grants.lock().unwrap() = vec![crate::world::alive(terms, None)];
        let asking = Asking { meta: r#""a":1"#, ..if meta.is_empty() { takes() } else { Asking::plain() } };
        let heard = bench.handle(bench.asked("tools/call", r#"{"name":"tickets__get","arguments":{"id":"1"}}"#, asking)).await;
        heard.ran();
        assert_eq!(answered(&bench), [None]);
        let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
        assert_eq!((sent.meta.as_str(), sent.has_ear), (meta, false));
        assert_eq!(heard.intents()[0].get("meta_mac").is_some(), !meta.is_empty());
    }
}
