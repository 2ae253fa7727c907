//! What a server says before its answer: to whom, in which form, how much of it, and until when.

use std::time::Duration;

use bailiwick_pipeline::{
    aside::{AsideKind, LogLevel},
    gates::RawReply,
    grant::GrantState,
    ports::TicketState,
    records::Outcome,
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, Recorded, SECRET, catalogue};

fn says(bench: &Bench, asides: Vec<(AsideKind, String)>) {
    *bench.fakes.asides.lock().unwrap() =
        Box::new(move |ear| asides.iter().for_each(|(kind, params)| ear.hear(*kind, params.as_bytes())));
}

fn progress(params: &str) -> (AsideKind, String) {
    (AsideKind::Progress, params.to_owned())
}

fn log(params: &str) -> (AsideKind, String) {
    (AsideKind::Log, params.to_owned())
}

async fn told(bench: &Bench, tool: &str, asking: Asking) -> (Heard, Vec<String>) {
    let herald = Recorded::new();
    let heard = bench.handle_telling(bench.received(Some((tool, "{}")), asking), &herald).await;
    (heard, herald.told())
}

fn counts(heard: &Heard) -> Value {
    heard.outcome()["asides"].clone()
}

fn all() -> Asking {
    Asking::wanting(Some("\"mine\""), Some(LogLevel::Debug))
}

#[tokio::test]
async fn who_wants_nothing_is_told_nothing_and_its_server_is_not_asked() {
    let bench = Bench::new();
    says(&bench, vec![progress(r#"{"progress":1}"#), log(r#"{"level":"info","data":1}"#)]);
    let (heard, said) = told(&bench, "tickets__get", Asking::plain()).await;
    assert!(said.is_empty() && !bench.fakes.sent.lock().unwrap()[0].has_ear);
    assert_eq!(counts(heard.ran()), Value::Null);
    // Who wants to hear and has nobody who could tell it.
    bench.call_as("tickets__get", "{}", all()).await.ran();
    assert!(!bench.fakes.sent.lock().unwrap()[1].has_ear);
}

#[tokio::test]
async fn progress_is_told_under_the_agents_own_token_as_it_was_written() {
    for token in ["\"mine\"", "7"] {
        let bench = Bench::new();
        says(
            &bench,
            vec![
                progress(r#"{"progressToken":99,"progress":0.50, "total":1e2,"message":"half","x":{"n":1.0}}"#),
                progress(r#"{"progress":1,"progressToken":99}"#),
            ],
        );
        let (heard, said) = told(&bench, "tickets__get", Asking::wanting(Some(token), None)).await;
        assert_eq!(
            said,
            [
                format!(r#"{{"progressToken":{token},"progress":0.50,"total":1e2,"message":"half","x":{{"n":1.0}}}}"#),
                format!(r#"{{"progress":1,"progressToken":{token}}}"#)
            ]
        );
        assert_eq!(counts(heard.ran()), json!({"told":2,"withheld":0,"redactions":0}));
        let trace = bench.fakes.traces.lock().unwrap()[0].clone();
        assert!(trace.root.attributes.contains(&("bailiwick.asides.told", 2_u64.into())));
    }
}

#[tokio::test]
async fn progress_only_rises_and_is_what_it_must_be() {
    let bench = Bench::new();
    let said = ["1", "1", "0.5", "-3", "\"2\"", "null", "1e400", "1.5"];
    let mut asides: Vec<_> = said.iter().map(|n| progress(&format!(r#"{{"progressToken":1,"progress":{n}}}"#))).collect();
    for broken in [
        "{}",
        "[]",
        "7",
        "{",
        r#"{"progressToken":1}"#,
        r#"{"progressToken":1,"progress":5,"progress":6}"#,
        r#"{"progressToken":1,"progress":5,"total":"6"}"#,
        r#"{"progressToken":1,"progress":5,"message":{}}"#,
        r#"{"progressToken":1,"progress":5,"_meta":{"io.modelcontextprotocol/subscriptionId":1}}"#,
        r#"{"progressToken":1,"progress":5,"_meta":[]}"#,
    ] {
        asides.push(progress(broken));
    }
    let sent = asides.len();
    says(&bench, asides);
    let (heard, said) = told(&bench, "tickets__get", all()).await;
    assert_eq!(said, [r#"{"progressToken":"mine","progress":1}"#, r#"{"progressToken":"mine","progress":1.5}"#]);
    assert_eq!(counts(heard.ran()), json!({"told":2,"withheld":sent - 2,"redactions":0}));
}

#[tokio::test]
async fn log_messages_are_told_from_the_wanted_level_on() {
    let bench = Bench::new();
    let levels = LogLevel::ALL.map(|level| log(&format!(r#"{{"level":"{}","data":1}}"#, level.as_str())));
    let broken =
        [r#"{"level":"loud","data":1}"#, r#"{"level":"alert"}"#, r#"{"data":1}"#, r#"{"level":"alert","data":1,"logger":7}"#];
    says(&bench, levels.into_iter().chain(broken.map(log)).collect());
    let (heard, said) = told(&bench, "tickets__get", Asking::wanting(None, Some(LogLevel::Critical))).await;
    assert_eq!(said, [r#"{"level":"critical","data":1}"#, r#"{"level":"alert","data":1}"#, r#"{"level":"emergency","data":1}"#]);
    assert_eq!(counts(heard.ran())["withheld"], 9);
}

/// What may come back is limited: then nothing of it comes before the answer.
#[tokio::test]
async fn where_a_rule_limits_what_may_come_back_progress_has_no_words_and_no_log_is_told() {
    let bench = Bench::new();
    let limit = "@id(\"few\") @limit(\"rows=2, at=/items\") permit (principal, action, resource);";
    *bench.fakes.world.lock().unwrap() = std::sync::Arc::new(catalogue::world(2, &format!("{}{limit}", catalogue::rules())));
    let says_rows = r#"{"progress":0.50,"total":2,"message":"row 1, row 2, row 3","rows":[1,2,3]}"#;
    says(&bench, vec![progress(says_rows), log(r#"{"level":"info","data":{"items":[1,2,3]}}"#)]);
    let (heard, said) = told(&bench, "tickets__get", all()).await;
    assert_eq!(said, [r#"{"progressToken":"mine","progress":0.5,"total":2.0}"#]);
    assert_eq!(heard.outcome()["asides"], json!({"told":1,"withheld":1,"redactions":0}));
}

#[tokio::test]
async fn the_lent_secret_is_taken_out_and_on_record_once_however_often_it_is_said() {
    let bench = Bench::new();
    let leak = json!({"level":"info","data":{"token":format!("<{SECRET}>")}}).to_string();
    says(&bench, vec![log(&leak), log(&leak), log(&leak)]);
    let (heard, said) = told(&bench, "vault__get", all()).await;
    assert_eq!(said, [r#"{"level":"info","data":{"token":"<[redacted]>"}}"#; 3]);
    assert_eq!(counts(heard.ran()), json!({"told":3,"withheld":0,"redactions":3}));
    assert_eq!(heard.secrets().iter().filter(|event| *event == "leaked").count(), 1);
    // Where it can't be taken out, the whole is not told: here it is a number.
    let bench = Bench::new();
    bench.lends("1234567890123");
    says(&bench, vec![log(r#"{"level":"info","data":1234567890123}"#)]);
    let (heard, said) = told(&bench, "vault__get", all()).await;
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(counts(heard.ran()), json!({"told":0,"withheld":1,"redactions":1}));
    assert!(!bench.fakes.all_records().contains("CANARY"));
}

/// What was shown once is lent no more, and may still be good: it passes no second time, nor in the answer; and each is on record, whichever
/// was shown first.
#[tokio::test]
async fn what_was_lent_for_another_connector_is_taken_out_whenever_it_is_said() {
    let other = "other-0123456789-other";
    let (own, others) = (json!({"level":"info","data":SECRET}).to_string(), json!({"level":"info","data":other}).to_string());
    for order in [[&own, &others, &others], [&others, &own, &others]] {
        let bench = Bench::new();
        bench.has_lent("tickets", other);
        says(&bench, order.map(|text| log(text)).into());
        let answer = json!({"content": [{"type": "text", "text": other}]}).to_string();
        *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::result(Bytes::from(answer.clone()))));
        let (heard, said) = told(&bench, "vault__get", all()).await;
        assert_eq!(said, [r#"{"level":"info","data":"[redacted]"}"#; 3]);
        assert_eq!(heard.text(), r#"{"content":[{"type":"text","text":"[redacted]"}]}"#);
        let mut leaked: Vec<Value> =
            bench.fakes.records("secrets", &heard.call).into_iter().filter(|record| record["event"] == "leaked").collect();
        leaked.sort_by_key(|record| record["lease"].to_string());
        let of: Vec<_> = leaked.iter().map(|record| (record["connector"].as_str(), record["lease"].as_str())).collect();
        assert_eq!(of, [(Some("vault"), Some("lease-1")), (Some("tickets"), Some("lease-2"))]);
        assert!(!bench.fakes.all_records().contains(other));
    }
}

#[tokio::test]
async fn once_the_grant_has_ended_nothing_more_is_told() {
    // The answer is not there yet, or comes at the same moment.
    for is_there in [false, true] {
        let bench = Bench::new();
        let grant = bench.grant();
        *bench.fakes.asides.lock().unwrap() = Box::new(move |ear| {
            assert!(grant.end(GrantState::Revoked));
            ear.hear(AsideKind::Log, br#"{"level":"info","data":"late"}"#);
        });
        if !is_there {
            bench.fakes.block("said");
        }
        let (heard, said) = told(&bench, "tickets__get", all()).await;
        assert!(said.is_empty(), "{said:?}");
        if is_there {
            assert_eq!(counts(&heard)["withheld"], 1);
        } else {
            heard.failed(Outcome::Cancelled, "grant_ended", 1);
        }
    }
}

#[tokio::test]
async fn an_agent_that_does_not_listen_delays_nothing_and_what_it_missed_is_counted() {
    let bench = Bench::new();
    says(&bench, (1..=100).map(|n| progress(&format!(r#"{{"progressToken":1,"progress":{n}}}"#))).collect());
    let herald = Recorded::with_room(3);
    let heard = bench.handle_telling(bench.received(Some(("tickets__get", "{}")), all()), &herald).await;
    assert_eq!(counts(heard.ran()), json!({"told":3,"withheld":97,"redactions":0}));
    assert_eq!(herald.told().len(), 3);
}

#[tokio::test]
async fn a_flood_is_cut_off_and_the_call_goes_on() {
    let bench = Bench::new();
    *bench.fakes.asides.lock().unwrap() = Box::new(|ear| {
        let large = format!(r#"{{"level":"info","data":"{}"}}"#, "x".repeat(100_000));
        ear.hear(AsideKind::Log, large.as_bytes());
        (0..50_000).for_each(|_| ear.hear(AsideKind::Log, br#"{"level":"info","data":"x"}"#));
    });
    let (heard, said) = told(&bench, "tickets__get", all()).await;
    let (told, withheld) = (counts(heard.ran())["told"].as_u64().unwrap(), counts(&heard)["withheld"].as_u64().unwrap());
    assert_eq!((told, told + withheld), (said.len() as u64, 50_001));
    assert!((1..=256).contains(&told), "{told}");
}

#[tokio::test]
async fn what_was_told_is_on_record_when_the_agent_goes_away() {
    let bench = Bench::new();
    says(&bench, vec![log(r#"{"level":"info","data":"x"}"#)]);
    bench.fakes.block("answer");
    let (herald, received, gateway) = (Recorded::new(), bench.received(Some(("tickets__get", "{}")), all()), bench.gateway());
    {
        let handling = gateway.handle_telling(&received, &herald);
        let is_told = async {
            while herald.told().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = handling => panic!("it was answered"),
            () = is_told => {}
        }
    }
    let calls = bench.fakes.records("calls", received.call_id().as_str());
    let outcomes: Vec<_> = calls.iter().filter(|record| record["event"] == "outcome").collect();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert_eq!((&outcomes[0]["outcome"], &outcomes[0]["asides"]["told"]), (&json!("cancelled"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_person_is_told_so_every_five_seconds() {
    let mut bench = Bench::new();
    bench.settings.hold = Duration::from_secs(12);
    let (heard, said) = told(&bench, "tickets__refund", Asking::wanting(Some("7"), None)).await;
    heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
    let said: Vec<Value> = said.iter().map(|params| serde_json::from_str(params).unwrap()).collect();
    let words = "Waiting for approval CODE-apr-1, 10 min left";
    let of = |progress| json!({"progressToken":7,"progress":progress,"message":words});
    assert_eq!(said, [of(0.001), of(0.002), of(0.003)]);
    assert_eq!(counts(&heard)["told"], 3);
    // Who gave no token hears nothing of it.
    let (_, said) = told(&bench, "tickets__refund", Asking::wanting(None, Some(LogLevel::Debug))).await;
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_goes_on_rising_once_a_person_has_approved() {
    let mut bench = Bench::new();
    bench.settings.hold = Duration::from_secs(45);
    says(&bench, vec![progress(r#"{"progressToken":1,"progress":0}"#), progress(r#"{"progressToken":1,"progress":1}"#)]);
    let received = bench.received(Some(("tickets__refund", "{}")), Asking { meta: "\"a\":1", ..all() });
    let herald = Recorded::new();
    let deciding = async {
        bench.fakes.reached("request", 1).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        bench.fakes.decide(&TicketState::Approved);
    };
    let (heard, ()) = tokio::join!(bench.handle_telling(received, &herald), deciding);
    heard.ran();
    let values: Vec<f64> =
        herald.told().iter().map(|told| serde_json::from_str::<Value>(told).unwrap()["progress"].as_f64().unwrap()).collect();
    assert_eq!(values, [0.001, 0.002, 1.0]);
    // What nobody was shown does not go with what was approved.
    assert_eq!(bench.fakes.sent.lock().unwrap()[0].meta, "");
    assert_eq!(heard.intents()[0].get("meta_mac"), None);
}

#[tokio::test]
async fn the_agents_own_metadata_goes_with_the_call_and_is_on_record() {
    let bench = Bench::new();
    let meta = r#""b":1.50,"a":{"n":1e400}"#;
    let heard = bench.call_as("tickets__get", "{}", Asking { meta, ..Asking::plain() }).await;
    heard.ran();
    assert_eq!(bench.fakes.sent.lock().unwrap()[0].meta, meta);
    assert_eq!(heard.intents()[0]["meta_mac"], format!("mac:{}", meta.len()));
    assert_eq!(bench.call("tickets__get", "{}").await.intents()[0].get("meta_mac"), None);
}
