//! Calls that their servers answer later: relayed under handles of ours, and each question about one walks every gate.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bailiwick_pipeline::{
    gates::{Outgoing, RawReply},
    grant::{Budget, Grant, GrantState},
    ports::{Later, Recall},
    records::Outcome,
};
use bailiwick_schemas::{canonical::digest, names::Feature};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, START_MS, Told, alive, catalogue, terms};

const GRANTED: [&str; 4] = ["tickets__*", "tickets/elicitation", "vault__*", "files__*"];
const MADE: &str =
    r#""createdAt":"2026-07-28T00:00:00Z","lastUpdatedAt":"2026-07-28T00:00:01Z","ttlMs":60000,"pollIntervalMs":100"#;

/// A server that makes a task of every call, and says this of it; and which tasks it was told to give up.
struct Server {
    says: Mutex<String>,
    given_up: Mutex<Vec<String>>,
}

struct Off(Arc<Server>);

impl Recall for Off {
    fn call_off(self: Box<Self>, task: String) -> Later<'static, ()> {
        Box::pin(async move { self.0.given_up.lock().unwrap().push(task) })
    }
}

impl Server {
    fn at(bench: &Bench) -> Arc<Self> {
        let server = Arc::new(Self { says: Mutex::new(of_task("working", "")), given_up: Mutex::default() });
        let own = Arc::clone(&server);
        *bench.fakes.reply.lock().unwrap() = Box::new(move |outgoing| Ok(own.answer(outgoing)));
        server
    }

    fn answer(self: &Arc<Self>, outgoing: &Outgoing) -> RawReply {
        match outgoing.method() {
            "tools/call" => {
                let text = format!(
                    r#"{{"resultType":"task","taskId":"inner-1","status":"working","statusMessage":"on\u202e it",{MADE},"x":1}}"#
                );
                RawReply::result(text.into()).recalled_by(Box::new(Off(Arc::clone(self))))
            }
            "tasks/get" => RawReply::result(Bytes::from(self.says.lock().unwrap().clone())),
            _ => RawReply::result(Bytes::from_static(br#"{"resultType":"complete","taskId":"inner-1","result":{}}"#)),
        }
    }

    fn says(&self, text: impl Into<String>) {
        *self.says.lock().unwrap() = text.into();
    }

    /// Waits until it was told to give up so many.
    async fn gave_up(&self, many: usize) -> Vec<String> {
        for _ in 0..2000 {
            if self.given_up.lock().unwrap().len() >= many {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.given_up.lock().unwrap().clone()
    }
}

fn of_task(status: &str, more: &str) -> String {
    format!(r#"{{"resultType":"complete","taskId":"inner-1","status":"{status}",{MADE}{more}}}"#)
}

fn taking() -> Asking {
    Asking { takes_tasks: true, capabilities: vec![(Feature::Elicitation, "{}".to_owned())], ..Asking::plain() }
}

fn bench() -> (Bench, Arc<Server>) {
    let bench = Bench::with([terms("g", &GRANTED)]);
    let server = Server::at(&bench);
    (bench, server)
}

async fn begin(bench: &Bench, tool: &str, arguments: &str) -> String {
    let heard = bench.call_as(tool, arguments, taking()).await;
    let told = said(&heard);
    assert_eq!((&told["resultType"], heard.answer.outcome), (&json!("task"), Outcome::Success), "{told}");
    told["taskId"].as_str().unwrap().to_owned()
}

async fn ask(bench: &Bench, verb: &str, id: &str, more: &str) -> Heard {
    ask_as(bench, verb, id, more, taking()).await
}

async fn ask_as(bench: &Bench, verb: &str, id: &str, more: &str, asking: Asking) -> Heard {
    bench.handle(bench.asked(&format!("tasks/{verb}"), &format!(r#"{{"taskId":{}{more}}}"#, json!(id)), asking)).await
}

fn said(heard: &Heard) -> Value {
    serde_json::from_str(&heard.text()).unwrap_or_else(|_| panic!("{:?}", heard.told()))
}

fn unknown(heard: &Heard, id: &str) {
    heard.refused("grant", Outcome::Denied, "unknown_task");
    assert_eq!(heard.told(), Told::Error(-32602, format!("Unknown task: {id}"), None, 200));
}

#[tokio::test]
async fn a_task_has_a_handle_of_ours_and_all_that_is_asked_of_it_is_on_record() {
    let (bench, server) = bench();
    let first = bench.call_as("tickets__close", r#"{"id":"7"}"#, taking()).await;
    let told = said(&first);
    let id = told["taskId"].as_str().unwrap();
    assert_eq!((id.len(), &told["statusMessage"], &told["ttlMs"]), (32, &json!("on  it"), &json!(60000)));
    assert!(!first.text().contains("inner") && told.get("x").is_none(), "{told}");
    assert_eq!(first.outcome()["task"], json!({"of": first.call, "status": "working"}));
    assert_eq!(first.intents()[0]["debited"], json!(["g"]));
    let heard = ask(&bench, "get", id, "").await;
    heard.ran();
    assert_eq!((&said(&heard)["status"], &said(&heard)["taskId"]), (&json!("working"), &json!(id)));
    let sent = bench.fakes.sent.lock().unwrap().pop().unwrap();
    assert_eq!(
        (sent.method, sent.item.as_deref(), sent.arguments.as_str()),
        ("tasks/get", Some("inner-1"), r#"{"taskId":"inner-1"}"#)
    );
    assert!(sent.takes_task && sent.capabilities.is_some());
    let intent = &heard.intents()[0];
    assert_eq!(
        (&intent["task_of"], &intent["debited"], &intent["tool"]),
        (&json!(first.call), &json!([]), &json!("tickets__close"))
    );
    assert_eq!(heard.outcome()["task"], json!({"of": first.call, "status": "working"}));
    assert_eq!((&heard.decision()["method"], &heard.outcome()["method"]), (&json!("tasks/get"), &json!("tasks/get")));
    server.says(of_task("completed", r#","result":{ "n" : 1.50,"content":[] },"secret":"x""#));
    let heard = ask(&bench, "get", id, "").await;
    assert!(heard.ran().text().ends_with(r#","result":{ "n" : 1.50,"content":[] }}"#), "{}", heard.text());
    assert_eq!(heard.outcome()["task"]["status"], "completed");
    for verb in ["update", "cancel"] {
        let heard = ask(&bench, verb, id, r#","inputResponses":{}"#).await;
        assert_eq!(heard.ran().text(), r#"{"resultType":"complete"}"#);
    }
    assert_eq!(bench.grant().standing().calls, 1, "what is asked of a task was paid for when it began");
    assert_eq!(server.given_up.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn only_who_declares_it_gets_a_task_and_nobody_is_left_with_one_that_was_not_wanted() {
    let (bench, server) = bench();
    let asked = |asking: Asking| bench.call_as("tickets__get", "{}", asking);
    let plain = Asking { takes_tasks: false, ..taking() };
    asked(plain).await.failed(Outcome::DownstreamError, "result_refused", 1);
    assert!(!bench.fakes.sent.lock().unwrap().pop().unwrap().takes_task);
    assert_eq!(server.gave_up(1).await, ["inner-1"]);
    asked(taking()).await.ran();
    assert!(bench.fakes.sent.lock().unwrap().pop().unwrap().takes_task);
    // Only tools are tasks.
    let prompt = Bench::with([terms("g", &["tickets/prompt_get"])]);
    let _server = Server::at(&prompt);
    let heard = prompt.handle(prompt.asked("prompts/get", r#"{"name":"tickets__p"}"#, taking())).await;
    assert_eq!(heard.answer.outcome, Outcome::DownstreamError, "{:?}", heard.told());
    assert!(!prompt.fakes.sent.lock().unwrap().pop().unwrap().takes_task);
}

#[tokio::test]
async fn a_task_is_its_agents_under_its_grant_and_nobody_elses() {
    let (bench, _server) = bench();
    let id = begin(&bench, "tickets__get", r#"{"id":"1"}"#).await;
    let all = std::mem::take(&mut *bench.fakes.grants.lock().unwrap());
    let with = |terms: Grant| *bench.fakes.grants.lock().unwrap() = vec![alive(terms, None)];
    for verb in ["get", "update", "cancel"] {
        let more = r#","inputResponses":{}"#;
        // Another grant, a later issue of the same, and another agent's of the same name.
        with(terms("h", &GRANTED));
        unknown(&ask(&bench, verb, &id, more).await, &id);
        with(Grant { revision: 2, ..terms("g", &GRANTED) });
        unknown(&ask(&bench, verb, &id, more).await, &id);
        bench.agent(|agent| agent.id = "other".parse().unwrap());
        with(Grant { agent: "other".parse().unwrap(), ..terms("g", &GRANTED) });
        unknown(&ask(&bench, verb, &id, more).await, &id);
        bench.agent(|_| {});
        bench.fakes.grants.lock().unwrap().clone_from(&all);
        for guess in ["", "inner-1", &id.chars().skip(1).collect::<String>(), &format!("A{id}"), &"0".repeat(32), "ä"] {
            unknown(&ask(&bench, verb, guess, more).await, guess);
        }
    }
    assert_eq!(bench.fakes.sent.lock().unwrap().len(), 1);
    ask(&bench, "get", &id, "").await.ran();
}

#[tokio::test]
async fn a_task_ends_with_its_time_and_with_what_its_tool_was() {
    let (bench, _server) = bench();
    let id = begin(&bench, "tickets__get", "{}").await;
    bench.fakes.set_ms(START_MS + 59_999);
    ask(&bench, "get", &id, "").await.ran();
    bench.fakes.set_ms(START_MS + 60_000);
    unknown(&ask(&bench, "get", &id, "").await, &id);
    let id = begin(&bench, "tickets__get", "{}").await;
    let mut changed = catalogue::world(2, &catalogue::rules());
    let tools = changed.shelves["tickets"].tools().map(|tool| {
        let mut fresh = catalogue::again(tool);
        fresh.digest = digest(&json!("another"));
        Arc::new(fresh)
    });
    let tools = Arc::new(tools.collect());
    changed.shelves.insert("tickets".parse().unwrap(), tools);
    *bench.fakes.world.lock().unwrap() = Arc::new(changed);
    unknown(&ask(&bench, "get", &id, "").await, &id);
}

#[tokio::test]
async fn policies_are_asked_again_about_what_was_called() {
    let (bench, _server) = bench();
    let id = begin(&bench, "tickets__overflow", r#"{"amount":3}"#).await;
    ask(&bench, "get", &id, "").await.ran();
    let rules = catalogue::rules().replace("context.input.amount * 2 > 1000", "context.input.amount * 2 > 5");
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &rules));
    for verb in ["get", "update", "cancel"] {
        let heard = ask(&bench, verb, &id, r#","inputResponses":{}"#).await;
        heard.refused("permit", Outcome::Denied, "policy_forbids");
        assert!(matches!(heard.told(), Told::Error(1005, ..)), "{:?}", heard.told());
    }
    // What needs a person's word by now, and had none, is not told; to give it up needs none.
    let rules = catalogue::rules().replace("\"tickets__refund\", resource) unless", "\"tickets__overflow\", resource) unless");
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(3, &rules));
    ask(&bench, "get", &id, "").await.refused("permit", Outcome::Denied, "task_not_approved");
    ask(&bench, "cancel", &id, "").await.ran();
    assert_eq!(bench.fakes.questions().len(), 0);
}

#[tokio::test]
async fn a_used_up_budget_keeps_nobody_from_what_was_paid_for() {
    let mut once = terms("g", &GRANTED);
    once.budget = Budget { calls: Some(1), writes: Some(1), ..Budget::default() };
    let bench = Bench::with([once]);
    let _server = Server::at(&bench);
    let id = begin(&bench, "tickets__close", "{}").await;
    for _ in 0..3 {
        ask(&bench, "get", &id, "").await.ran();
    }
    ask(&bench, "update", &id, r#","inputResponses":{}"#).await.ran();
    bench.call_as("tickets__close", "{}", taking()).await.refused("record", Outcome::Denied, "budget_exhausted");
}

fn form() -> Value {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]});
    json!({"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": schema}})
}

#[tokio::test]
async fn what_a_task_asks_and_is_answered_is_looked_at() {
    let (bench, server) = bench();
    let id = begin(&bench, "tickets__get", "{}").await;
    server.says(of_task("input_required", &format!(r#","inputRequests":{}"#, json!({"who": form(), "else": form()}))));
    let heard = ask(&bench, "get", &id, "").await;
    assert_eq!(heard.answer.outcome, Outcome::InputRequired, "{:?}", heard.told());
    assert_eq!(said(&heard)["inputRequests"]["who"]["params"]["message"], "[tickets] who?");
    let answer = |responses: Value| format!(r#","inputResponses":{responses}"#);
    let accepted = |name: &str| json!({"action": "accept", "content": {"name": name}});
    for wrong in [json!({"who": accepted("far too long")}), json!({"who": {"action": "ok"}}), json!({"who": {}})] {
        let heard = ask(&bench, "update", &id, &answer(wrong)).await;
        heard.refused("validate", Outcome::Invalid, "answers_not_taken");
    }
    let sent = |bench: &Bench| bench.fakes.sent.lock().unwrap().pop().unwrap().answers.unwrap();
    let heard = ask(&bench, "update", &id, &answer(json!({"who": accepted("ada"), "nobody": {"x": 1}}))).await;
    heard.ran();
    assert!(heard.intents()[0]["answers_mac"].is_string());
    assert_eq!(sent(&bench), (r#"{"who":{"action":"accept","content":{"name":"ada"}}}"#.to_owned(), None));
    // Each question is answered once, until its server asks again.
    ask(&bench, "update", &id, &answer(json!({"who": accepted("eve")}))).await.ran();
    assert_eq!(sent(&bench).0, "{}");
    ask(&bench, "update", &id, &answer(json!({"else": accepted("eve")}))).await.ran();
    assert_eq!(sent(&bench).0, r#"{"else":{"action":"accept","content":{"name":"eve"}}}"#);
    // Who can't be asked is asked nothing.
    let mute = Asking { capabilities: Vec::new(), ..taking() };
    ask_as(&bench, "get", &id, "", mute).await.failed(Outcome::DownstreamError, "result_refused", 1);
    let secret = json!({"k": {"method": "elicitation/create", "params": {"message": "your password?", "requestedSchema": {"type": "object"}}}});
    server.says(of_task("input_required", &format!(r#","inputRequests":{secret}"#)));
    ask(&bench, "get", &id, "").await.failed(Outcome::DownstreamError, "result_refused", 1);
}

#[tokio::test]
async fn fifty_answers_at_once_are_one() {
    let (bench, server) = bench();
    let id = begin(&bench, "tickets__get", "{}").await;
    server.says(of_task("input_required", &format!(r#","inputRequests":{}"#, json!({"who": form()}))));
    ask(&bench, "get", &id, "").await;
    // All of them are judged before the first is on record.
    let before = bench.fakes.count("ready");
    bench.fakes.block("ready");
    let bench = Arc::new(bench);
    let calls = (0..50).map(|_| {
        let (bench, id) = (Arc::clone(&bench), id.clone());
        tokio::spawn(async move {
            ask(&bench, "update", &id, r#","inputResponses":{"who":{"action":"decline"}}"#).await.answer.outcome
        })
    });
    let calls = calls.collect::<Vec<_>>();
    bench.fakes.reached("ready", before + 50).await;
    bench.fakes.unblock("ready");
    for call in calls {
        assert_eq!(call.await.unwrap(), Outcome::Success);
    }
    let sent = bench.fakes.sent.lock().unwrap();
    let answers = |sent: &&crate::world::fakes::Sent| sent.answers.as_ref().is_some_and(|(text, _)| text != "{}");
    assert_eq!(sent.iter().filter(answers).count(), 1);
}

#[tokio::test]
async fn what_a_task_comes_to_is_screened_like_any_result() {
    let (bench, server) = bench();
    let id = begin(&bench, "files__stat", "{}").await;
    let good = r#","result":{"content":[],"structuredContent":{"size":1}}"#;
    for (says, passes) in [
        (of_task("completed", good), true),
        (of_task("completed", r#","result":{"content":[],"structuredContent":{"size":"1"}}"#), false),
        (of_task("completed", r#","result":{"content":[]}"#), false),
        (of_task("completed", r#","result":[]"#), false),
        (of_task("completed", r#","result":{"isError":true}"#), false),
        (of_task("completed", ""), false),
        (of_task("failed", ""), false),
        (of_task("failed", r#","error":{"code":"x","message":"m"}"#), false),
        (of_task("input_required", ""), false),
        (of_task("done", ""), false),
        (of_task("working", "").replace("inner-1", "inner-2"), false),
        (of_task("working", "").replace(r#""taskId":"inner-1","#, ""), false),
        (of_task("working", "").replace("complete", "task"), false),
        (of_task("working", &format!(r#","statusMessage":"{}""#, "x".repeat(17 * 1024 * 1024))), false),
        ("[]".to_owned(), false),
    ] {
        server.says(says.clone());
        let heard = ask(&bench, "get", &id, "").await;
        if passes {
            heard.ran();
        } else {
            heard.failed(Outcome::DownstreamError, "result_refused", 1);
            assert!(matches!(heard.told(), Told::Error(1005, ..)), "{says:.200}: {:?}", heard.told());
        }
    }
    server.says(of_task("completed", r#","result":{"content":[],"isError":true}"#));
    assert_eq!(ask(&bench, "get", &id, "").await.answer.outcome, Outcome::ToolError);
    server.says(of_task("failed", r#","error":{"code":1004,"message":"broke","data":{"n":1.50}}"#));
    let heard = ask(&bench, "get", &id, "").await;
    assert_eq!(heard.answer.outcome, Outcome::DownstreamError);
    let told = r#","error":{"code":-32000,"message":"broke","data":{"code":1004,"data":{"n":1.50}}}}"#;
    assert!(heard.text().ends_with(told), "{}", heard.text());
}

#[tokio::test]
async fn a_lent_secret_is_in_nothing_that_is_told_of_a_task() {
    let (bench, server) = bench();
    bench.lends("swordfish-123456");
    let id = begin(&bench, "vault__get", "{}").await;
    for (says, what) in [
        (of_task("working", r#","statusMessage":"with swordfish-123456""#), "statusMessage"),
        (of_task("completed", r#","result":{"content":[{"type":"text","text":"swordfish-123456"}]}"#), "result"),
        (of_task("failed", r#","error":{"code":-1,"message":"swordfish-123456"}"#), "error"),
    ] {
        server.says(says);
        let heard = ask(&bench, "get", &id, "").await;
        assert!(said(&heard).get(what).is_some() && !heard.text().contains("swordfish"), "{}", heard.text());
        assert!(heard.secrets().contains(&"leaked".to_owned()));
    }
}

#[tokio::test]
async fn a_task_that_its_server_does_not_know_is_known_to_nobody() {
    let (bench, _server) = bench();
    let id = begin(&bench, "tickets__get", "{}").await;
    let lost = |_: &Outgoing| Ok(RawReply::error(-32602, "no task inner-1".to_owned(), Some(Bytes::from_static(b"\"inner-1\""))));
    *bench.fakes.reply.lock().unwrap() = Box::new(lost);
    let heard = ask(&bench, "get", &id, "").await;
    assert_eq!(heard.told(), Told::Error(-32602, format!("Unknown task: {id}"), None, 200));
    assert_eq!((heard.sent(), bench.tasks.count()), (1, 0));
    unknown(&ask(&bench, "get", &id, "").await, &id);
}

#[tokio::test]
async fn the_end_of_a_grant_gives_its_tasks_up_and_waits_for_that() {
    let (bench, server) = bench();
    let (one, two) = (begin(&bench, "tickets__get", "{}").await, begin(&bench, "tickets__get", "{}").await);
    server.says(of_task("completed", r#","result":{"content":[]}"#));
    ask(&bench, "get", &two, "").await.ran();
    let grant = bench.grant();
    grant.end(GrantState::Revoked);
    assert!(grant.drained(Duration::from_secs(20)).await);
    assert_eq!(*server.given_up.lock().unwrap(), ["inner-1"], "what is over needs no giving up");
    for id in [one, two] {
        let heard = ask(&bench, "get", &id, "").await;
        heard.refused("grant", Outcome::Denied, "unknown_task");
        assert_eq!(heard.sent(), 0);
    }
    bench.tasks.sweep(START_MS);
    assert_eq!(bench.tasks.count(), 0);
}

#[tokio::test]
async fn an_agent_has_so_many_tasks_and_is_offered_no_more() {
    let (bench, server) = bench();
    let mut first = String::new();
    for at in 0..64 {
        let id = begin(&bench, "tickets__get", "{}").await;
        if at == 0 {
            first = id;
        }
    }
    bench.call_as("tickets__get", "{}", taking()).await.failed(Outcome::DownstreamError, "result_refused", 1);
    assert!(!bench.fakes.sent.lock().unwrap().pop().unwrap().takes_task);
    assert_eq!(server.gave_up(1).await, ["inner-1"]);
    let needs = r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
    let before = std::mem::replace(
        &mut *bench.fakes.reply.lock().unwrap(),
        Box::new(move |_| Ok(RawReply::error(-32021, "tasks are needed".to_owned(), Some(Bytes::from_static(needs.as_bytes()))))),
    );
    bench.call_as("tickets__get", "{}", taking()).await.failed(Outcome::RateLimited, "too_many_tasks", 1);
    *bench.fakes.reply.lock().unwrap() = before;
    // What is over gives way.
    server.says(of_task("cancelled", ""));
    ask(&bench, "get", &first, "").await.ran();
    let fresh = begin(&bench, "tickets__get", "{}").await;
    unknown(&ask(&bench, "get", &first, "").await, &first);
    ask(&bench, "get", &fresh, "").await.ran();
}

#[tokio::test]
async fn what_is_asked_of_a_task_is_well_formed() {
    let bench = Bench::new();
    for (method, params) in [
        ("tasks/get", "{}"),
        ("tasks/get", r#"{"taskId":7}"#),
        ("tasks/get", r#"{"taskid":"x"}"#),
        ("tasks/update", r#"{"taskId":"x"}"#),
        ("tasks/update", r#"{"taskId":"x","inputResponses":null}"#),
        ("tasks/update", r#"{"taskId":"x","inputResponses":{"k":7}}"#),
    ] {
        assert!(bench.try_asked(method, params, taking()).is_err(), "{method} {params}");
    }
    unknown(&ask(&bench, "get", "x", "").await, "x");
}
