//! Detections: what they find, what follows from it, and that neither another grant nor many calls at once go around them.

use std::sync::Arc;

use bailiwick_pipeline::{
    detect::{Act, Rule, Sort, opened_amounts},
    ports::{Approvals as _, TicketState},
    records::Outcome,
};
use serde_json::Value;

use crate::world::{ALL, Asking, Bench, Heard, Told, alive, catalogue, terms};

const WINDOW_MS: u64 = 60_000;

fn looking(sort: Sort, act: Act) -> Bench {
    let bench = Bench::new();
    bench.detections.set(vec![Rule::new("r", sort, act, WINDOW_MS)]);
    bench
}

fn fired(bench: &Bench) -> Vec<Value> {
    let records = bench.fakes.all_records();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["stream"] == "detections").collect()
}

fn sum(limit: Option<u64>, per_task: Option<u64>) -> Sort {
    Sort::Sum { amounts: [("tickets__overflow".parse().unwrap(), "/amount".to_owned())].into(), limit, per_task }
}

#[track_caller]
fn detected(heard: &Heard) {
    heard.refused("permit", Outcome::Denied, "detected");
}

#[tokio::test]
async fn with_none_configured_nothing_is_looked_for() {
    let bench = Bench::new();
    for _ in 0..50 {
        bench.call("tickets__get", "{}").await.ran();
    }
    assert_eq!(bench.fakes.count("detection"), 0);
}

#[tokio::test]
async fn a_repeated_call_is_refused_and_told_what_to_do() {
    let bench = looking(Sort::Repeat { count: 3 }, Act::Deny);
    let same = r#"{"id":"7","n":[1,2]}"#;
    bench.call("tickets__get", same).await.ran();
    bench.call("tickets__get", r#"{"n":[1,2],"id":"7"}"#).await.ran();
    let heard = bench.call("tickets__get", same).await;
    detected(&heard);
    let Told::ToolError(text, meta) = heard.told() else { panic!("{:?}", heard.told()) };
    assert_eq!(
        text,
        "DENIED by detection r: the same call 3 times within 60 s. Not executed; do not retry unchanged. Repeating it changes nothing: \
         use what it answered before, or do something else."
    );
    assert_eq!(meta.unwrap()["dev.bailiwick/refusal"]["detection"], "r");
    // Something else is not kept from going; the same goes again later, however often it was tried meanwhile.
    bench.call("tickets__get", r#"{"id":"8"}"#).await.ran();
    for _ in 0..5 {
        detected(&bench.call("tickets__get", same).await);
    }
    bench.fakes.advance_ms(WINDOW_MS + 1);
    bench.call("tickets__get", same).await.ran();
    let records = fired(&bench);
    assert_eq!(records.len(), 1, "one record for as long as it goes on: {records:?}");
    let record = &records[0];
    let says = |key: &str| record[key].as_str().unwrap_or_default();
    assert_eq!((says("detection"), says("kind"), says("action"), says("tool")), ("r", "repeat", "deny", "tickets__get"));
    assert_eq!((says("call_id"), says("grant"), says("agent")), (heard.call.as_str(), "g", "bot"));
    assert_eq!((record["seen"].as_u64(), says("trace_id").len()), (Some(3), 32));
    assert_eq!(bench.detections.rules().iter().map(Rule::fired).collect::<Vec<_>>(), [6]);
}

#[tokio::test]
async fn what_is_only_observed_goes_on() {
    let bench = looking(Sort::Repeat { count: 3 }, Act::Observe);
    for _ in 0..20 {
        bench.call("tickets__get", "{}").await.ran();
    }
    assert_eq!(fired(&bench).len(), 1);
    assert_eq!(bench.detections.rules().iter().map(Rule::fired).collect::<Vec<_>>(), [18]);
}

#[tokio::test]
async fn many_at_once_are_counted_one_by_one() {
    let bench = looking(Sort::Repeat { count: 10 }, Act::Deny);
    let heard = bench.crowd(64, "tickets__close", r#"{"id":"7"}"#).await;
    let ran = heard.iter().filter(|heard| heard.answer.outcome == Outcome::Success).count();
    assert_eq!(ran, 9);
    heard.iter().filter(|heard| heard.answer.outcome != Outcome::Success).for_each(detected);
}

#[tokio::test]
async fn a_held_call_goes_once_a_person_approves_exactly_this_one() {
    let bench = looking(Sort::Repeat { count: 2 }, Act::StepUp);
    bench.call("tickets__close", "{}").await.ran();
    // Asking again for the word of a person is no loop.
    for _ in 0..5 {
        let heard = bench.call("tickets__close", "{}").await;
        assert_eq!(heard.answer.outcome, Outcome::ApprovalPending, "{:?}", heard.told());
        assert!(heard.text().contains("Repeat exactly the same call"), "{}", heard.text());
    }
    let questions = bench.fakes.questions();
    assert_eq!(questions.len(), 1);
    assert!(questions[0].needs[0].starts_with("detection/r"), "{:?}", questions[0].needs);
    bench.fakes.decide(&TicketState::Approved);
    bench.call("tickets__close", r#"{"id":"other"}"#).await.ran();
    bench.call("tickets__close", "{}").await.ran();
    assert!(bench.fakes.questions()[0].claimed);
    assert_eq!(bench.call("tickets__close", "{}").await.answer.outcome, Outcome::ApprovalPending, "a word is good once");
}

/// Nobody is asked to approve what policy refuses, and policy's own need stays beside the detection's.
#[tokio::test]
async fn policy_goes_first() {
    let bench = looking(Sort::Repeat { count: 1 }, Act::Deny);
    bench.call("tickets__overflow", r#"{"amount":501}"#).await.refused("permit", Outcome::Denied, "policy_forbids");
    let bench = looking(Sort::Repeat { count: 1 }, Act::StepUp);
    bench.call("tickets__overflow", r#"{"amount":501}"#).await.refused("permit", Outcome::Denied, "policy_forbids");
    bench.call("tickets__refund", "{}").await;
    assert_eq!(bench.fakes.questions()[0].needs.len(), 2);
}

#[tokio::test]
async fn calls_that_go_round_are_refused_until_the_round_is_left() {
    let bench = looking(Sort::Cycle { period: 3, turns: 2 }, Act::Deny);
    for tool in ["tickets__get", "tickets__close", "tickets__get"] {
        bench.call(tool, "{}").await.ran();
    }
    for _ in 0..3 {
        detected(&bench.call("tickets__close", "{}").await);
    }
    bench.call("vault__get", "{}").await.ran();
    bench.call("tickets__close", "{}").await.ran();
    assert_eq!(fired(&bench).len(), 1);
}

#[tokio::test]
async fn feeling_out_what_is_allowed_is_refused_for_a_while() {
    let bench = looking(Sort::Probe { refused: 3 }, Act::Deny);
    for _ in 0..10 {
        bench.call("tickets__overflow", r#"{"amount":501}"#).await.refused("permit", Outcome::Denied, "policy_forbids");
    }
    bench.call("tickets__get", "{}").await.ran();
    bench.call("admin__drop", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    bench.call("admin__list", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    for id in 0..5 {
        detected(&bench.call("tickets__get", &format!(r#"{{"id":"{id}"}}"#)).await);
    }
    bench.call("admin__last", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    assert_eq!(fired(&bench).len(), 1);
    // What a detection refuses is no refusal that counts: it ends by itself.
    bench.fakes.advance_ms(WINDOW_MS + 1);
    bench.call("tickets__get", "{}").await.ran();
}

#[tokio::test]
async fn scanning_for_tools_is_on_record_though_each_is_refused_anyway() {
    let bench = looking(Sort::Probe { refused: 5 }, Act::Observe);
    for number in 0..40 {
        bench.call(&format!("s{number}__x"), "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    }
    let records = fired(&bench);
    assert_eq!((records.len(), &records[0]["tool"]), (1, &Value::Null));
}

#[tokio::test]
async fn small_amounts_add_up_over_all_grants_of_an_agent() {
    let bench = Bench::with([terms("g", &ALL), terms("h", &ALL)]);
    bench.detections.set(vec![Rule::new("r", sum(Some(1000), None), Act::Deny, WINDOW_MS)]);
    let call = async |grant: &str, amount: u64| {
        let asking = Asking { grant: Some(grant.to_owned()), ..Asking::plain() };
        bench.call_as("tickets__overflow", &format!(r#"{{"amount":{amount}}}"#), asking).await
    };
    call("g", 400).await.ran();
    let heard = call("h", 400).await;
    let sums = &heard.ran().intents()[0]["sums"];
    assert_eq!(*sums, serde_json::json!({"agents": ["bot"], "amounts": {"r": 400}}));
    detected(&call("g", 201).await);
    detected(&call("h", 201).await);
    call("h", 200).await.ran();
    detected(&call("g", 1).await);
    assert!(heard.text().contains("done") && call("g", 5).await.text().contains("it would come to 1005 (1000 within 60 s"));
    bench.fakes.advance_ms(WINDOW_MS + WINDOW_MS / 32);
    call("g", 500).await.ran();
    assert_eq!(bench.grant().spent().sums.get("r"), Some(&900));
}

/// What a rule masks is on record by no sum of it: the next start opens what was sealed, and nobody else.
#[tokio::test]
async fn the_amounts_of_a_masked_argument_are_on_record_for_the_next_start_alone() {
    let bench = looking(sum(Some(701), None), Act::Deny);
    let mask = "@id(\"hidden\") @redact(\"args:/amount\") permit (principal, action == Bailiwick::Action::\"tickets__overflow\", resource);";
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &format!("{}{mask}", catalogue::rules())));
    let heard = bench.call("tickets__overflow", r#"{"amount":461}"#).await;
    let sums = heard.ran().intents()[0]["sums"].clone();
    assert_eq!(sums["amounts"], serde_json::json!({"r": null}));
    let call = heard.intents()[0]["call_id"].as_str().unwrap().to_owned();
    let opened = opened_amounts(&call, sums["sealed"].as_str().unwrap(), |about, sealed| bench.fakes.unseal(about, sealed));
    assert_eq!(opened.unwrap()["r"], 461);
    assert!(
        opened_amounts("another", sums["sealed"].as_str().unwrap(), |about, sealed| bench.fakes.unseal(about, sealed)).is_none()
    );
    let heard = bench.call("tickets__overflow", r#"{"amount":452}"#).await;
    detected(&heard);
    assert!(heard.text().contains("it would come to too much (701 within"), "{}", heard.text());
    let found = fired(&bench);
    assert_eq!((found.len(), &found[0]["seen"]), (1, &Value::Null));
    let all = bench.fakes.all_records();
    let numbers: Vec<&str> = all.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    assert!(["461", "452", "913"].iter().all(|amount| !numbers.contains(amount)), "{all}");
}

#[tokio::test]
async fn a_task_has_a_limit_of_its_own_that_no_time_lifts() {
    let bench = looking(sum(None, Some(900)), Act::Deny);
    bench.call("tickets__overflow", r#"{"amount":500}"#).await.ran();
    bench.fakes.advance_ms(10 * WINDOW_MS);
    detected(&bench.call("tickets__overflow", r#"{"amount":401}"#).await);
    bench.call("tickets__overflow", r#"{"amount":400}"#).await.ran();
}

#[tokio::test]
async fn an_amount_that_can_not_be_read_is_refused_unless_it_is_only_observed() {
    for (act, runs) in [(Act::Deny, false), (Act::StepUp, false), (Act::Observe, true)] {
        let bench = looking(sum(Some(1000), None), act);
        for arguments in [r#"{"amount":-1}"#, "{}"] {
            let heard = bench.call("tickets__overflow", arguments).await;
            if runs { _ = heard.ran() } else { detected(&heard) }
        }
        let pointer = [("tickets__refund".parse().unwrap(), "/amount_cents".to_owned())];
        let refund = Sort::Sum { amounts: pointer.into(), limit: Some(1000), per_task: None };
        bench.detections.set(vec![Rule::new("r", refund, act, WINDOW_MS)]);
        for amount in ["49.0", "4.9e1", "1e400"] {
            let heard = bench.call("tickets__refund", &format!(r#"{{"amount_cents":{amount}}}"#)).await;
            if runs { assert_eq!(heard.answer.outcome, Outcome::ApprovalPending) } else { detected(&heard) }
        }
    }
}

#[tokio::test]
async fn sixty_four_at_once_never_come_to_more_than_the_limit() {
    for act in [Act::Deny, Act::StepUp] {
        let bench = Bench::with([terms("g", &ALL), terms("h", &ALL)]);
        bench.detections.set(vec![Rule::new("r", sum(Some(100), None), act, WINDOW_MS)]);
        let of = |grant: &str| Asking { grant: Some(grant.to_owned()), ..Asking::plain() };
        let call =
            |number| bench.received(Some(("tickets__overflow", r#"{"amount":7}"#)), of(if number % 2 == 0 { "g" } else { "h" }));
        let all: Vec<_> = (0..64).map(|number| bench.spawn_received(call(number))).collect();
        let mut sent = 0;
        for one in all {
            let heard = one.await.unwrap();
            sent += heard.sent();
            if heard.sent() == 0 {
                let expected = if act == Act::Deny { Outcome::Denied } else { Outcome::ApprovalPending };
                assert_eq!(heard.answer.outcome, expected, "{:?}", heard.told());
            }
        }
        assert_eq!(sent, 14, "{act}: 14 times 7 is 98");
    }
}

/// The look at the commit decides, not the one before it.
#[tokio::test]
async fn what_was_added_since_it_was_decided_counts() {
    let bench = looking(sum(Some(100), None), Act::Deny);
    let other = Arc::new(bench.gateway());
    let received = bench.received(Some(("tickets__overflow", r#"{"amount":60}"#)), Asking::plain());
    bench.fakes.block("ready");
    let first = bench.spawn("tickets__overflow", r#"{"amount":60}"#);
    let second = tokio::spawn(async move { other.handle(&received).await.outcome });
    bench.fakes.reached("ready", 2).await;
    bench.fakes.unblock("ready");
    let ended = [first.await.unwrap().answer.outcome, second.await.unwrap()];
    assert!(ended.contains(&Outcome::Success) && ended.contains(&Outcome::Denied), "{ended:?}");
}

#[tokio::test]
async fn nothing_goes_out_soon_after_it_was_read() {
    let sort = || Sort::ReadThenSend { untrusted: true, confidential: true };
    let bench = Bench::with([terms("g", &ALL), terms("h", &ALL)]);
    bench.detections.set(vec![Rule::new("r", sort(), Act::Deny, WINDOW_MS)]);
    bench.call_under("g", "tickets__export").await.ran();
    bench.call_under("g", "tickets__search").await.ran();
    detected(&bench.call_under("g", "tickets__export").await);
    detected(&bench.call_under("h", "tickets__export").await);
    bench.call_under("h", "tickets__close").await.ran();
    bench.fakes.advance_ms(WINDOW_MS + 1000);
    bench.call_under("h", "tickets__export").await.ran();
    let bench = looking(Sort::ReadThenSend { untrusted: false, confidential: true }, Act::Deny);
    bench.call("tickets__search", "{}").await.ran();
    bench.call("tickets__export", "{}").await.ran();
}

#[tokio::test]
async fn a_task_reaches_out_to_few_at_a_time_whoever_calls_for_it() {
    let sort = Sort::FanOut { connectors: Some(3), destinations: None, grants: None };
    let bench = looking(sort, Act::Deny);
    bench.call("tickets__get", "{}").await.ran();
    bench.call("files__stat", "{}").await;
    detected(&bench.call("vault__get", "{}").await);
    bench.call("tickets__get", "{}").await.ran();
    // Handed on: what children do counts above them.
    let bench = Bench::new();
    let sort = Sort::FanOut { connectors: None, destinations: None, grants: Some(3) };
    bench.detections.set(vec![Rule::new("r", sort, Act::Deny, WINDOW_MS)]);
    let root = alive(terms("root", &ALL), None);
    let children = ["c1", "c2", "c3"].map(|id| alive(terms(id, &ALL), Some(&root)));
    *bench.fakes.grants.lock().unwrap() = [vec![root], children.to_vec()].concat();
    bench.call_under("c1", "tickets__get").await.ran();
    bench.call_under("c2", "tickets__get").await.ran();
    detected(&bench.call_under("c3", "tickets__get").await);
    bench.call_under("c1", "tickets__get").await.ran();
    assert_eq!(fired(&bench)[0]["root"], "root");
}

#[tokio::test]
async fn what_is_handed_on_is_still_the_same_sum_and_the_same_loop() {
    let bench = Bench::new();
    let rules = vec![
        Rule::new("sum", sum(None, Some(100)), Act::Deny, WINDOW_MS),
        Rule::new("loop", Sort::Repeat { count: 3 }, Act::Deny, WINDOW_MS),
    ];
    bench.detections.set(rules);
    let root = alive(terms("root", &ALL), None);
    let children = ["c1", "c2"].map(|id| alive(terms(id, &ALL), Some(&root)));
    *bench.fakes.grants.lock().unwrap() = [vec![root], children.to_vec()].concat();
    let spends = async |grant: &str, amount: u64| {
        let asking = Asking { grant: Some(grant.to_owned()), ..Asking::plain() };
        bench.call_as("tickets__overflow", &format!(r#"{{"amount":{amount}}}"#), asking).await
    };
    spends("c1", 60).await.ran();
    detected(&spends("c2", 41).await);
    spends("c2", 40).await.ran();
    bench.call_under("c1", "tickets__get").await.ran();
    bench.call_under("c2", "tickets__get").await.ran();
    detected(&bench.call_under("root", "tickets__get").await);
}

#[tokio::test]
async fn a_detection_is_about_its_tools_and_agents() {
    let bench = Bench::new();
    let of = |tools: &[&str], agents: &[&str]| {
        let tools = tools.iter().map(|tool| tool.parse().unwrap()).collect();
        let agents = agents.iter().map(|agent| agent.parse().unwrap()).collect();
        Rule::new("r", Sort::Repeat { count: 1 }, Act::Deny, WINDOW_MS).about(tools, agents)
    };
    bench.detections.set(vec![of(&["tickets__*"], &[])]);
    detected(&bench.call("tickets__get", "{}").await);
    bench.call("vault__get", "{}").await.ran();
    bench.detections.set(vec![of(&[], &["other"])]);
    bench.call("tickets__get", "{}").await.ran();
    bench.detections.set(vec![of(&[], &["bot"])]);
    detected(&bench.call("tickets__get", "{}").await);
}

#[tokio::test]
async fn what_can_not_go_on_record_does_not_go_on() {
    let bench = looking(Sort::Repeat { count: 1 }, Act::Observe);
    bench.fakes.lose("detection");
    let heard = bench.call("tickets__get", "{}").await;
    assert_eq!((heard.answer.outcome, heard.sent()), (Outcome::InternalError, 0));
}

#[tokio::test]
async fn policies_read_what_was_found_and_what_was_done_before() {
    let forbid = |id: &str, when: &str| {
        let action = "action == Bailiwick::Action::\"tickets__close\"";
        format!("{}\n@id(\"{id}\") forbid (principal, {action}, resource) when {{ {when} }};", catalogue::rules())
    };
    let under = |rules: &str| {
        let bench = Bench::new();
        *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, rules));
        bench
    };
    let is_forbidden = |heard: &Heard| _ = heard.refused("permit", Outcome::Denied, "policy_forbids");
    let bench = under(&forbid("loop", "context.call.detections.contains(\"r\")"));
    bench.detections.set(vec![Rule::new("r", Sort::Repeat { count: 2 }, Act::Observe, WINDOW_MS)]);
    bench.call("tickets__close", "{}").await.ran();
    is_forbidden(&bench.call("tickets__close", "{}").await);
    bench.call("tickets__get", "{}").await.ran();
    bench.call("tickets__get", "{}").await.ran();

    let bench = under(&forbid("fast", "context.call.calls_last_minute >= 3"));
    for _ in 0..3 {
        bench.call("tickets__get", "{}").await.ran();
    }
    is_forbidden(&bench.call("tickets__close", "{}").await);
    bench.fakes.advance_ms(61_000);
    bench.call("tickets__close", "{}").await.ran();

    let bench = under(&forbid("refused", "context.call.history.denied >= 1"));
    bench.call("tickets__close", "{}").await.ran();
    bench.call("tickets__nothing", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    is_forbidden(&bench.call("tickets__close", "{}").await);

    let history = "context.call.history.tools.contains(\"vault__get\") && context.call.history.connectors.contains(\"vault\") && \
                   context.call.history.kinds.contains(\"read\") && !context.call.history.read_sensitive";
    let bench = under(&forbid("after", history));
    bench.call("tickets__close", "{}").await.ran();
    bench.call("vault__get", "{}").await.ran();
    is_forbidden(&bench.call("tickets__close", "{}").await);
}
