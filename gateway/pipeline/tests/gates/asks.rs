//! What a server asks before it can answer, and what comes back: as a call that walks every gate.

use std::sync::Arc;

use bailiwick_pipeline::{constraint::Bound, gates::RawReply, grant::Grant, ports::TicketState, records::Outcome};
use bailiwick_schemas::names::Feature;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, START_MS, Told, catalogue, terms};

const GRANTED: [&str; 5] = ["tickets__*", "tickets/elicitation", "tickets/sampling", "tickets/prompt_get", "vault__*"];

fn form(schema: &Value) -> Value {
    json!({"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": schema, "x": 1.50}})
}

fn name_form() -> Value {
    form(&json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]}))
}

fn asking(requests: &Value, state: Option<&str>) -> String {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    result.to_string().replace("\"x\":1.5", "\"x\":1.50")
}

fn bench(reply: String) -> Bench {
    let bench = Bench::with([terms("g", &GRANTED)]);
    says(&bench, reply);
    bench
}

fn says(bench: &Bench, reply: String) {
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::result(Bytes::from(reply.clone()))));
}

/// An agent that can be asked these.
fn takes(kinds: &[Feature]) -> Asking {
    Asking { capabilities: kinds.iter().map(|kind| (*kind, "{}".to_owned())).collect(), ..Asking::plain() }
}

async fn call(bench: &Bench, more: &str) -> Heard {
    call_as(bench, more, takes(&[Feature::Elicitation])).await
}

async fn call_as(bench: &Bench, more: &str, asking: Asking) -> Heard {
    bench.handle(bench.asked("tools/call", &format!(r#"{{"name":"tickets__get","arguments":{{"id":"1"}}{more}}}"#), asking)).await
}

/// What was asked, and the handle for the answers.
fn asked(heard: &Heard) -> (Value, String) {
    assert_eq!(heard.answer.outcome, Outcome::InputRequired, "{:?}", heard.told());
    let told: Value = serde_json::from_str(&heard.text()).unwrap();
    (told["inputRequests"].clone(), told["requestState"].as_str().unwrap().to_owned())
}

fn answers(state: &str, responses: &Value) -> String {
    format!(r#","requestState":{},"inputResponses":{responses}"#, Value::from(state))
}

fn accepted(name: &str) -> Value {
    json!({"who": {"action": "accept", "content": {"name": name}}})
}

#[tokio::test]
async fn a_question_is_put_in_its_servers_name_and_its_answer_goes_back_with_its_state() {
    let bench = bench(asking(&json!({"who": name_form()}), Some("inner state")));
    let heard = call(&bench, "").await;
    let (requests, handle) = asked(&heard);
    assert_eq!(requests["who"]["params"]["message"], "[tickets] who?");
    assert!(!heard.text().contains("inner state") && !heard.text().contains("1.50"), "{}", heard.text());
    assert_eq!((heard.intents().len(), heard.sent(), heard.outcome()["outcome"].clone()), (1, 1, "input_required".into()));
    bench.replies(crate::world::PLAIN);
    let heard = call(&bench, &answers(&handle, &accepted("ada"))).await;
    heard.ran();
    assert!(heard.intents()[0]["answers_mac"].is_string());
    let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
    assert_eq!(
        sent.answers,
        Some((r#"{"who":{"action":"accept","content":{"name":"ada"}}}"#.to_owned(), Some("inner state".to_owned())))
    );
    // It was good once.
    let again = call(&bench, &answers(&handle, &accepted("ada"))).await;
    again.refused("validate", Outcome::Invalid, "answers_not_taken");
    assert!(matches!(again.told(), Told::Error(-32602, ..)));
}

#[tokio::test]
async fn only_what_the_agent_takes_and_the_grant_gives_is_offered() {
    let offered = async |grant: &[&str], kinds: &[Feature]| {
        let bench = Bench::with([terms("g", grant)]);
        call_as(&bench, "", takes(kinds)).await.ran();
        let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
        sent.capabilities
    };
    let both = [Feature::Elicitation, Feature::Sampling];
    assert_eq!(offered(&GRANTED, &both).await.as_deref(), Some(r#"{"elicitation":{"form":{}},"sampling":{}}"#));
    assert_eq!(offered(&GRANTED, &[Feature::Sampling, Feature::Roots]).await.as_deref(), Some(r#"{"sampling":{}}"#));
    assert_eq!(offered(&["tickets__*"], &both).await, None);
    assert_eq!(offered(&["tickets__*", "vault/elicitation"], &both).await, None);
    assert_eq!(offered(&GRANTED, &[]).await, None);
}

#[tokio::test]
async fn what_was_not_offered_is_not_asked() {
    let sampling = json!({"s": {"method": "sampling/createMessage", "params": {"messages": []}}});
    for (reply, kinds) in [
        (asking(&sampling, None), &[Feature::Elicitation][..]),
        (asking(&json!({"r": {"method": "roots/list"}}), None), &[Feature::Elicitation, Feature::Roots]),
        (asking(&json!({"t": {"method": "tools/call", "params": {}}}), None), &[Feature::Elicitation]),
        (asking(&json!({"who": name_form()}), None), &[]),
        (asking(&json!({}), None), &[Feature::Elicitation]),
        (json!({"resultType": "input_required"}).to_string(), &[Feature::Elicitation]),
        (json!({"resultType": "input_required", "inputRequests": []}).to_string(), &[Feature::Elicitation]),
        (json!({"resultType": "input_required", "requestState": 7}).to_string(), &[Feature::Elicitation]),
        (json!({"resultType": "input_required", "requestState": "x".repeat(70_000)}).to_string(), &[Feature::Elicitation]),
        (json!({"resultType": "task", "taskId": "1"}).to_string(), &[Feature::Elicitation]),
    ] {
        let bench = bench(reply.clone());
        call_as(&bench, "", takes(kinds)).await.failed(Outcome::DownstreamError, "result_refused", 1);
    }
}

#[tokio::test]
async fn no_form_asks_for_a_secret_and_no_page_is_anywhere() {
    let secret = |name: &str, more: Value| {
        let mut property = json!({"type": "string"});
        property.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        form(&json!({"type": "object", "properties": {name: property}}))
    };
    let page = |url: &str| json!({"method": "elicitation/create", "params": {"mode": "url", "message": "pay", "url": url}});
    for (question, passes) in [
        (secret("name", json!({})), true),
        (secret("API-Key", json!({})), false),
        (secret("x", json!({"title": "Your pass phrase"})), false),
        (secret("x", json!({"format": "password"})), false),
        (secret("x", json!({"oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]})), true),
        (secret("x", json!({"oneOf": [{"const": "a", "title": "your password"}]})), false),
        (secret("x", json!({"oneOf": [{"const": "a", "properties": {"y": {}}}]})), false),
        (secret("x", json!({"enum": ["one", "two"], "enumNames": ["One", "Two"], "default": "one"})), true),
        (secret("x", json!({"default": "api key"})), false),
        (secret("x", json!({"x-more": "api"})), false),
        (secret("x", json!({"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 2})), true),
        (secret("x", json!({"type": "array", "items": {"type": "object", "properties": {"y": {"type": "string"}}}})), false),
        (form(&json!({"type": "object", "title": "Enter your PASSWORD", "properties": {"x": {"type": "string"}}})), false),
        (form(&json!({"type": "object", "description": "plain\u{202e}", "properties": {"x": {"type": "string"}}})), false),
        (page("https://pay.example.com/x"), true),
        (page("https://pay.example.com.evil.example/x"), false),
        (page("https://pay.example.com@evil.example/"), false),
        (page("http://pay.example.com/"), false),
        (page("javascript:alert(1)"), false),
        (page(""), false),
        (json!({"method": "elicitation/create", "params": {"mode": "call", "message": "x"}}), false),
        (json!({"method": "elicitation/create", "params": {"requestedSchema": {}}}), false),
        (json!({"method": "elicitation/create"}), false),
    ] {
        let bench = bench(asking(&json!({"q": question}), None));
        let heard = call_as(
            &bench,
            "",
            Asking { capabilities: vec![(Feature::Elicitation, r#"{"form":{},"url":{}}"#.to_owned())], ..Asking::plain() },
        )
        .await;
        assert_eq!(heard.answer.outcome == Outcome::InputRequired, passes, "{question}: {:?}", heard.outcome());
    }
}

#[tokio::test]
async fn an_answer_is_what_was_asked_for() {
    let bench = bench(asking(&json!({"who": name_form()}), Some("s")));
    for (responses, passes) in [
        (json!({"who": {"action": "accept", "content": {"name": "ada"}}}), true),
        (json!({"who": {"action": "decline"}}), true),
        (json!({"who": {"action": "cancel"}}), true),
        (json!({}), true),
        (json!({"who": {"action": "accept", "content": {"name": "far too long"}}}), false),
        (json!({"who": {"action": "accept", "content": {"name": 7}}}), false),
        (json!({"who": {"action": "accept"}}), false),
        (json!({"who": {"action": "ok", "content": {"name": "ada"}}}), false),
        (json!({"who": {}}), false),
    ] {
        let (_, handle) = asked(&call(&bench, "").await);
        let heard = call(&bench, &answers(&handle, &responses)).await;
        if passes {
            assert_eq!(heard.answer.outcome, Outcome::InputRequired, "{responses}");
        } else {
            heard.refused("validate", Outcome::Invalid, "answers_not_taken");
        }
    }
    // What nobody asked for does not go out.
    let (_, handle) = asked(&call(&bench, "").await);
    call(&bench, &answers(&handle, &json!({"who": {"action": "decline"}, "x": {"action": "accept"}}))).await;
    let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
    assert_eq!(sent.answers.unwrap().0, r#"{"who":{"action":"decline"}}"#);
}

#[tokio::test]
async fn a_handle_is_good_for_the_same_call_of_the_same_agent_alone() {
    let bench = bench(asking(&json!({"who": name_form()}), None));
    let (_, handle) = asked(&call(&bench, "").await);
    let more = answers(&handle, &accepted("ada"));
    let refused = async |params: String, asking: Asking| {
        let heard = bench.handle(bench.asked("tools/call", &params, asking)).await;
        heard.refused("validate", Outcome::Invalid, "answers_not_taken");
    };
    let both = takes(&[Feature::Elicitation]);
    refused(format!(r#"{{"name":"tickets__get","arguments":{{"id":"2"}}{more}}}"#), both.clone()).await;
    refused(format!(r#"{{"name":"tickets__clean","arguments":{{}}{more}}}"#), both.clone()).await;
    refused(
        format!(r#"{{"name":"tickets__get","arguments":{{"id":"1"}},"requestState":"{handle}0","inputResponses":{{}}}}"#),
        both.clone(),
    )
    .await;
    // Who can't be asked now has nothing to answer.
    refused(format!(r#"{{"name":"tickets__get","arguments":{{"id":"1"}}{more}}}"#), Asking::plain()).await;
    let again = Grant { revision: 2, ..terms("g", &GRANTED) };
    let before = std::mem::replace(&mut *bench.fakes.grants.lock().unwrap(), vec![crate::world::alive(again, None)]);
    refused(format!(r#"{{"name":"tickets__get","arguments":{{"id":"1"}}{more}}}"#), both.clone()).await;
    *bench.fakes.grants.lock().unwrap() = before;
    // None of that used it up.
    assert_eq!(call(&bench, &more).await.answer.outcome, Outcome::InputRequired);
}

#[tokio::test]
async fn fifty_at_once_answer_once() {
    let bench = Arc::new(bench(asking(&json!({"who": name_form()}), None)));
    let (_, handle) = asked(&call(&bench, "").await);
    bench.replies(crate::world::PLAIN);
    let more = answers(&handle, &accepted("ada"));
    let calls = (0..50).map(|_| {
        let (bench, more) = (Arc::clone(&bench), more.clone());
        tokio::spawn(async move { call(&bench, &more).await.answer.outcome })
    });
    let mut ran = 0;
    for call in calls.collect::<Vec<_>>() {
        ran += usize::from(call.await.unwrap() == Outcome::Success);
    }
    assert_eq!(ran, 1);
}

#[tokio::test]
async fn a_question_waits_for_ten_minutes() {
    let bench = bench(asking(&json!({"who": name_form()}), None));
    let (_, handle) = asked(&call(&bench, "").await);
    bench.fakes.set_ms(START_MS + 601_000);
    call(&bench, &answers(&handle, &accepted("ada"))).await.refused("validate", Outcome::Invalid, "answers_not_taken");
}

#[tokio::test]
async fn what_a_person_approves_asks_nothing_and_takes_no_answers() {
    let bench = bench(asking(&json!({"who": name_form()}), None));
    let refund = r#"{"name":"tickets__refund","arguments":{"id":"7","amount_cents":100}"#;
    let more = format!(r#"{refund},"inputResponses":{{"who":{{"action":"decline"}}}}}}"#);
    let heard = bench.handle(bench.asked("tools/call", &more, takes(&[Feature::Elicitation]))).await;
    heard.refused("permit", Outcome::Invalid, "answers_not_taken");
    let pending = bench.handle(bench.asked("tools/call", &format!("{refund}}}"), takes(&[Feature::Elicitation]))).await;
    assert_eq!(pending.answer.outcome, Outcome::ApprovalPending);
    bench.fakes.decide(&TicketState::Approved);
    let heard = bench.handle(bench.asked("tools/call", &format!("{refund}}}"), takes(&[Feature::Elicitation]))).await;
    heard.failed(Outcome::DownstreamError, "result_refused", 1);
    assert_eq!(bench.fakes.sent.lock().unwrap().pop().unwrap().capabilities, None);
}

#[tokio::test]
async fn bounded_arguments_are_not_got_round_by_answers() {
    let mut bounded = terms("g", &GRANTED);
    bounded.capabilities[0].args.insert("/id".to_owned(), Bound { eq: Some("1".into()), ..Bound::default() });
    let bench = Bench::with([bounded]);
    says(&bench, asking(&json!({"who": name_form()}), None));
    call(&bench, "").await.failed(Outcome::DownstreamError, "result_refused", 1);
    call(&bench, r#","inputResponses":{}"#).await.refused("validate", Outcome::Invalid, "answers_not_taken");
}

#[tokio::test]
async fn what_an_agent_declares_beside_is_for_nobody() {
    let bench = bench(crate::world::PLAIN.to_owned());
    for (declared, offered) in [
        (r#"{"form":{},"exfil":"swordfish"}"#, Some(r#"{"elicitation":{"form":{}}}"#)),
        (r#"{"exfil":"swordfish"}"#, Some(r#"{"elicitation":{"form":{}}}"#)),
        (r#"{"url":{"exfil":"swordfish"}}"#, Some(r#"{"elicitation":{"url":{}}}"#)),
        (r#"{"form":{},"url":{}}"#, Some(r#"{"elicitation":{"form":{},"url":{}}}"#)),
    ] {
        let asking = Asking { capabilities: vec![(Feature::Elicitation, declared.to_owned())], ..Asking::plain() };
        call_as(&bench, "", asking).await.ran();
        assert_eq!(bench.fakes.sent.lock().unwrap().pop().unwrap().capabilities.as_deref(), offered, "{declared}");
    }
}

/// Where a rule reads the arguments, an answer could say what the arguments may not.
#[tokio::test]
async fn a_tool_that_is_judged_by_its_arguments_asks_nothing() {
    let bench = bench(asking(&json!({"who": name_form()}), None));
    let read = r#"{"name":"tickets__overflow","arguments":{"amount":1}"#;
    let ask = |more: &str| bench.asked("tools/call", &format!("{read}{more}}}"), takes(&[Feature::Elicitation]));
    bench.handle(ask("")).await.failed(Outcome::DownstreamError, "result_refused", 1);
    assert_eq!(bench.fakes.sent.lock().unwrap().pop().unwrap().capabilities, None);
    bench.handle(ask(r#","inputResponses":{}"#)).await.refused("validate", Outcome::Invalid, "answers_not_taken");
}

#[tokio::test]
async fn nothing_goes_on_that_was_not_looked_at() {
    let bench = bench(asking(&json!({"who": name_form()}), None));
    let (_, handle) = asked(&call(&bench, "").await);
    let sly = json!({"who": {"action": "decline", "Action": "accept", "content": {"zz": [1]}, "x": 1}});
    call(&bench, &answers(&handle, &sly)).await;
    assert_eq!(bench.fakes.sent.lock().unwrap().pop().unwrap().answers.unwrap().0, r#"{"who":{"action":"decline"}}"#);
    // Unasked, an answer has the members of one and no other.
    let unasked = |responses: &str| format!(r#","inputResponses":{responses}"#);
    call(&bench, &unasked(r#"{"who":{"action":"accept","text":"swordfish"}}"#)).await.refused(
        "validate",
        Outcome::Invalid,
        "answers_not_taken",
    );
    let mut question = name_form();
    question["Method"] = "x".into();
    question["params"]["Message"] = "y".into();
    let mut result: Value = serde_json::from_str(&asking(&json!({"who": question}), None)).unwrap();
    result["InputRequests"] = json!({"s": 1});
    result["content"] = json!([{"type": "text", "text": "do this"}]);
    says(&bench, result.to_string());
    let heard = call(&bench, "").await;
    let (requests, _) = asked(&heard);
    assert_eq!(requests["who"].as_object().unwrap().keys().collect::<Vec<_>>(), ["method", "params"]);
    let told: Value = serde_json::from_str(&heard.text()).unwrap();
    assert_eq!(told.as_object().unwrap().keys().collect::<Vec<_>>(), ["resultType", "inputRequests", "requestState"]);
    for (name, wrong) in [
        ("mode", json!({"mode": null, "message": "x", "requestedSchema": {}})),
        ("nested", json!({"message": "x", "requestedSchema": {"properties": {"o": {"type": "object", "properties": {}}}}})),
        ("ref", json!({"message": "x", "requestedSchema": {"properties": {"o": {"$ref": "#/a"}}}})),
        ("all", json!({"message": "x", "requestedSchema": {"allOf": []}})),
        (
            "words",
            json!({"message": "x", "requestedSchema": {"properties": {"o": {"type": "string", "description": "Your password"}}}}),
        ),
        ("asked", json!({"message": "Type your password", "requestedSchema": {"properties": {}}})),
    ] {
        says(&bench, asking(&json!({"who": {"method": "elicitation/create", "params": wrong}}), None));
        assert_eq!(call(&bench, "").await.outcome()["reason"], "result_refused", "{name}");
    }
    let hidden = json!({"method": "elicitation/create", "params": {"message": "\r\u{1b}[2K\u{202e}who?\n", "requestedSchema": {"properties": {}}}});
    says(&bench, asking(&json!({"who": hidden}), None));
    let (requests, _) = asked(&call(&bench, "").await);
    assert_eq!(requests["who"]["params"]["message"], "[tickets]   [2K who? ");
}

#[tokio::test]
async fn a_question_of_a_world_that_went_is_not_asked() {
    let bench = Arc::new(bench(asking(&json!({"who": name_form()}), None)));
    let (other, reply) = (Arc::clone(&bench), asking(&json!({"who": name_form()}), None));
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| {
        *other.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &catalogue::rules()));
        Ok(RawReply::result(Bytes::from(reply.clone())))
    });
    call(&bench, "").await.failed(Outcome::DownstreamError, "result_refused", 1);
}

#[tokio::test]
async fn a_rule_that_forbids_a_question_forbids_it() {
    let bench = bench(asking(&json!({"who": name_form()}), None));
    let forbid = "@id(\"no-who\") forbid (principal, action == Bailiwick::Action::\"tickets/elicitation\", resource) \
                  when { context.input has message && context.input.message like \"*who*\" };";
    let rules = format!("{}\n{forbid}", catalogue::rules());
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &rules));
    call(&bench, "").await.failed(Outcome::DownstreamError, "result_refused", 1);
}

#[tokio::test]
async fn a_prompt_may_ask_too() {
    let bench = bench(asking(&json!({"who": name_form()}), Some("s")));
    let params = r#"{"name":"tickets__greet"}"#;
    let heard = bench.handle(bench.asked("prompts/get", params, takes(&[Feature::Elicitation]))).await;
    let (_, handle) = asked(&heard);
    bench.replies(r#"{"messages":[]}"#);
    let more = format!(r#"{{"name":"tickets__greet"{}}}"#, answers(&handle, &accepted("ada")));
    bench.handle(bench.asked("prompts/get", &more, takes(&[Feature::Elicitation]))).await.ran();
    let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
    assert_eq!((sent.arguments.as_str(), sent.answers.unwrap().1.as_deref()), (r#"{"name":"greet"}"#, Some("s")));
}
