//! `approve`: only what a person approved, exactly that, once.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    grant::{Grant, GrantState},
    ids::ApprovalId,
    ports::{ApprovalFailure, ClaimEnd, ConnectFailure, LendFailure, TicketState},
    records::Outcome,
};
use bytes::Bytes;
use serde_json::json;

use crate::world::{ALL, Bench, Heard, START_MS, Told, alive, catalogue, terms};

const REFUND: &str = r#"{"id":"7","amount_cents":100}"#;

fn holding() -> Bench {
    let mut bench = Bench::new();
    bench.settings.hold = Duration::from_secs(45);
    bench
}

fn pending(heard: &Heard, id: &str) {
    heard.refused("hold", Outcome::ApprovalPending, "approval_pending");
    let events: Vec<_> = heard.decisions().iter().map(|record| (record["event"].clone(), record["effect"].clone())).collect();
    assert_eq!(events, [("approval_awaited".into(), "step_up".into()), ("decided".into(), "step_up".into())]);
    let words = format!(
        "APPROVAL PENDING CODE-{id}. Not executed. A person was asked to approve tickets__refund. Repeat exactly the same call to wait \
         for the decision and then use it (next try in 15 s). Do not change the arguments."
    );
    let facts = json!({"id": id, "code": format!("CODE-{id}"), "state": "pending", "retryAfterMs": 15000, "approveByMs": START_MS + 600_000});
    assert_eq!(heard.told(), Told::ToolError(words, Some(json!({ "dev.bailiwick/approval": facts }))));
    assert_eq!((&heard.outcome()["approval"], &heard.decision()["rules"]), (&json!(id), &json!(["money"])));
}

#[tokio::test]
async fn what_policy_does_not_step_up_asks_nobody() {
    let bench = Bench::new();
    bench.call("tickets__close", "{}").await.ran();
    assert_eq!(bench.fakes.count("find") + bench.fakes.count("request") + bench.fakes.count("claim"), 0);
}

#[tokio::test]
async fn a_question_is_asked_once_with_all_that_an_approver_needs() {
    let bench = Bench::new();
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    let questions = bench.fakes.questions();
    assert_eq!(questions.len(), 1);
    assert_eq!((questions[0].labels.clone(), questions[0].tool.as_str()), (vec!["finance".to_owned()], "tickets__refund"));
    assert_eq!((questions[0].owner.as_str(), questions[0].arguments.clone()), ("owner@example.com", Bytes::from(REFUND)));
    // Bound to the whole need: its rule, its label, how many persons, and how long their word is good.
    assert_eq!(questions[0].needs, ["money\u{1f}finance\u{1f}1\u{1f}-\u{1f}approver"]);
    assert_eq!(bench.fakes.count("lend") + bench.fakes.count("ready"), 0);
}

/// Whoever handed the task on is no approver of it: the question says who that is.
#[tokio::test]
async fn a_question_says_who_handed_the_task_on() {
    let of = |agent: &str, owner: &str| Grant { owner: owner.to_owned(), agent: agent.parse().unwrap(), ..terms(agent, &ALL) };
    let boss = alive(of("boss", "boris"), None);
    let lead = alive(of("lead", "lena"), Some(&boss));
    let bench = Bench::new();
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms("g", &ALL), Some(&lead))];
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    let questions = bench.fakes.questions();
    let told: Vec<_> = questions[0].delegators.iter().map(|one| (one.agent.as_str(), one.owner.as_str())).collect();
    assert_eq!(told, [("lead", "lena"), ("boss", "boris")]);
    let bench = Bench::new();
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    assert_eq!(bench.fakes.questions()[0].delegators, []);
}

#[tokio::test(start_paused = true)]
async fn a_held_call_runs_once_approved_and_says_how_long_it_was_held() {
    let bench = holding();
    let call = bench.spawn("tickets__refund", REFUND);
    bench.fakes.reached("decided", 1).await;
    bench.fakes.advance_ms(2_000);
    bench.fakes.decide(&TicketState::Approved);
    let heard = call.await.unwrap();
    let outcome = heard.ran().outcome();
    assert_eq!((&heard.intents()[0]["approval"], &outcome["approval"]), (&json!("apr-1"), &json!("apr-1")));
    let (held, all) = (outcome["held_us"].as_u64().unwrap(), outcome["duration_us"].as_u64().unwrap());
    assert!((2_000_000..2_001_000).contains(&held) && (held..held + 1_000).contains(&all), "{outcome}");
    assert_eq!(bench.fakes.questions()[0].ended, Some(ClaimEnd::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn the_hold_ends_and_then_the_call_is_pending() {
    let bench = holding();
    let began = tokio::time::Instant::now();
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    assert_eq!(began.elapsed().as_secs(), 45);
}

/// The approved bytes go out: not those of the retry, though both say the same.
#[tokio::test]
async fn the_bytes_approved_are_the_bytes_sent() {
    let bench = Bench::new();
    bench.call("tickets__refund", REFUND).await;
    bench.fakes.decide(&TicketState::Approved);
    let retry = r#"{ "amount_cents":100, "id":"\u0037" }"#;
    bench.call("tickets__refund", retry).await.ran();
    assert_eq!(bench.fakes.sent.lock().unwrap()[0].arguments, REFUND);
}

#[tokio::test]
async fn other_bytes_than_the_approved_ones_are_never_sent() {
    for kept in [r#"{"id":"7","amount_cents":999}"#, "", "{", "null"] {
        let bench = Bench::new();
        bench.call("tickets__refund", REFUND).await;
        bench.fakes.decide(&TicketState::Approved);
        bench.fakes.questions.send_modify(|all| all[0].arguments = Bytes::from(kept));
        let heard = bench.call("tickets__refund", REFUND).await;
        heard.refused("approve", Outcome::InternalError, "internal");
        assert_eq!(heard.text(), "internal error: the call was stopped");
        assert_eq!(heard.decision()["detail"], "what is kept for approval `apr-1` are not the arguments it is bound to");
        assert_eq!(bench.fakes.questions()[0].ended, None);
    }
}

#[tokio::test]
async fn an_approval_is_used_once() {
    let bench = Bench::new();
    bench.call("tickets__refund", REFUND).await;
    bench.fakes.decide(&TicketState::Approved);
    bench.call("tickets__refund", REFUND).await.ran();
    pending(&bench.call("tickets__refund", REFUND).await, "apr-2");
    assert_eq!(bench.fakes.sent.lock().unwrap().len(), 1);
}

/// Attack 88: one byte of difference is another call.
#[tokio::test]
async fn a_changed_call_asks_anew() {
    let bench = Bench::new();
    bench.call("tickets__refund", REFUND).await;
    bench.fakes.decide(&TicketState::Approved);
    for changed in [
        r#"{"id":"7","amount_cents":101}"#,
        r#"{"id":"7 ","amount_cents":100}"#,
        r#"{"id":"7","amount_cents":100.0}"#,
        r#"{"id":"7","amount_cents":1e2}"#,
        r#"{"id":"7","amount_cents":100,"note":null}"#,
        r#"{"id":"7"}"#,
    ] {
        let heard = bench.call("tickets__refund", changed).await;
        // A number that the rules can't read is denied at once; all others ask.
        assert_eq!(heard.answer.outcome, Outcome::ApprovalPending, "{changed} {:?}", heard.told());
    }
    assert_eq!(bench.fakes.questions().len(), 7);
    bench.call("tickets__refund", REFUND).await.ran();
}

#[tokio::test]
async fn an_approval_is_not_good_under_other_circumstances() {
    let bench = Bench::new();
    bench.call("tickets__refund", REFUND).await;
    bench.fakes.decide(&TicketState::Approved);
    let asked = |bench: &Bench| bench.fakes.questions().len();
    // A later issue of the grant, another grant.
    let terms = bench.grant().terms().clone();
    for terms in [Grant { revision: 2, ..terms.clone() }, Grant { id: "h".parse().unwrap(), ..terms.clone() }] {
        *bench.fakes.grants.lock().unwrap() = vec![alive(terms, None)];
        let before = asked(&bench);
        bench.call("tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
        assert_eq!(asked(&bench), before + 1);
    }
    // Other policies.
    *bench.fakes.grants.lock().unwrap() = vec![alive(terms, None)];
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &format!("{} ", catalogue::rules())));
    bench.call("tickets__refund", REFUND).await.refused("hold", Outcome::ApprovalPending, "approval_pending");
    // The first circumstances again.
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(3, &catalogue::rules()));
    bench.call("tickets__refund", REFUND).await.ran();
}

#[tokio::test]
async fn a_denial_is_told_with_the_approvers_words() {
    for (reason, words) in [(None, ""), (Some("too much".to_owned()), " They say: too much")] {
        let bench = Bench::new();
        bench.call("tickets__refund", REFUND).await;
        bench.fakes.decide(&TicketState::Denied { reason });
        let heard = bench.call("tickets__refund", REFUND).await;
        heard.refused("approve", Outcome::ApprovalRejected, "approval_denied");
        let facts = json!({"id": "apr-1", "code": "CODE-apr-1", "state": "denied"});
        let text = format!("DENIED by the approver (CODE-apr-1). Not executed; do not retry.{words}");
        assert_eq!(heard.told(), Told::ToolError(text, Some(json!({ "dev.bailiwick/approval": facts }))));
        assert_eq!(heard.outcome()["approval"], "apr-1");
    }
}

#[tokio::test]
async fn where_nobody_can_be_asked_nothing_runs() {
    let bench = Bench::new();
    *bench.fakes.asking.lock().unwrap() = Err(ApprovalFailure::TooMany(5));
    let heard = bench.call("tickets__refund", REFUND).await;
    heard.refused("approve", Outcome::RateLimited, "too_many_pending");
    assert_eq!(
        heard.text(),
        "DENIED: 5 calls of this agent already wait for approval. Not executed; wait for a decision on those first."
    );
    *bench.fakes.asking.lock().unwrap() = Err(ApprovalFailure::Lost("disk".to_owned()));
    let heard = bench.call("tickets__refund", REFUND).await;
    heard.refused("approve", Outcome::InternalError, "approvals_lost");
    assert_eq!(heard.text(), "DENIED: approvals can't be kept now. Not executed.");
}

/// A walk that no longer needs the approval it asked for puts none on record.
#[tokio::test(start_paused = true)]
async fn a_rule_that_goes_while_the_call_is_held_takes_its_question_with_it() {
    let bench = holding();
    let call = bench.spawn("tickets__refund", REFUND);
    bench.fakes.reached("decided", 1).await;
    let rules = "@id(\"all\") permit (principal, action, resource);";
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, rules));
    bench.fakes.decide(&TicketState::Approved);
    let heard = call.await.unwrap();
    heard.ran();
    assert_eq!((heard.decision().get("approval"), heard.intents()[0].get("approval")), (None, None));
    assert_eq!(bench.fakes.count("claim"), 0);
}

fn remembering(bench: &Bench, uses: u32) {
    let rules = catalogue::rules().replace("@approval(\"finance\")", "@approval(\"finance\") @remember");
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &rules));
    *bench.fakes.allowing.lock().unwrap() = Some(("apr-parent".parse().unwrap(), uses));
}

/// A call of the like of an approved one: what was received goes, and the record says under which approval.
#[tokio::test]
async fn a_call_like_an_approved_one_goes_as_it_came() {
    let bench = Bench::new();
    remembering(&bench, 1);
    let like = r#"{ "amount_cents":100, "id":"\u0037" }"#;
    let heard = bench.call("tickets__refund", like).await;
    let (intent, outcome) = (&heard.ran().intents()[0], heard.outcome());
    assert_eq!((&intent["allowance"], intent.get("approval")), (&json!("apr-parent"), None));
    assert_eq!((&outcome["approval"], &heard.decision()["approval"]), (&json!("apr-parent"), &json!("apr-parent")));
    assert_eq!(bench.fakes.sent.lock().unwrap()[0].arguments, like);
    assert_eq!(bench.fakes.count("request") + bench.fakes.count("claim") + bench.fakes.count("finish"), 0);
    // None is left: a person is asked.
    pending(&bench.call("tickets__refund", like).await, "apr-1");
}

/// Only rules that say so are asked less often; and an approval or a no of exactly this call comes first.
#[tokio::test]
async fn what_was_said_of_exactly_this_call_counts_more() {
    let bench = Bench::new();
    *bench.fakes.allowing.lock().unwrap() = Some(("apr-parent".parse().unwrap(), 9));
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    assert_eq!(bench.fakes.count("allowance"), 0, "the rule does not say so");
    remembering(&bench, 9);
    bench.call("tickets__refund", REFUND).await.ran();
    bench.call("tickets__refund", r#"{"id":"8","amount_cents":1}"#).await.ran();
    let bench = Bench::new();
    remembering(&bench, 0);
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    bench.fakes.decide(&TicketState::Denied { reason: None });
    remembering(&bench, 9);
    bench.call("tickets__refund", REFUND).await.refused("approve", Outcome::ApprovalRejected, "approval_denied");
}

/// The last use goes to another call between the look and the commit: it is asked about like any other.
#[tokio::test]
async fn a_use_that_is_gone_by_the_commit_is_not_taken_twice() {
    let bench = Bench::new();
    remembering(&bench, 1);
    let fakes = Arc::clone(&bench.fakes);
    bench.fakes.at("claim_allowance", move || *fakes.allowing.lock().unwrap() = None);
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    assert!(bench.fakes.sent.lock().unwrap().is_empty());
}

/// What fails before the commit takes no approval: it is there for the next call.
#[tokio::test]
async fn what_fails_before_the_commit_takes_no_approval() {
    let bench = Bench::new();
    let asks = "@id(\"vaulted\") @approval(\"finance\") forbid (principal, action == Bailiwick::Action::\"vault__get\", resource)
                unless { context.call.approvals.contains(\"finance\") };";
    *bench.fakes.world.lock().unwrap() = Arc::new(catalogue::world(2, &format!("{}{asks}", catalogue::rules())));
    bench.call("vault__get", "{}").await;
    bench.fakes.decide(&TicketState::Approved);
    let failure = LendFailure { connector: "vault".parse().unwrap(), reference: "f".to_owned(), why: "gone".to_owned() };
    *bench.fakes.loan.lock().unwrap() = Err(failure);
    bench.call("vault__get", "{}").await.refused("arm", Outcome::Denied, "credential_unavailable");
    *bench.fakes.loan.lock().unwrap() = Ok(None);
    *bench.fakes.readiness.lock().unwrap() = Err(ConnectFailure::Start("gone".to_owned()));
    assert_ne!(bench.call("vault__get", "{}").await.answer.outcome, Outcome::Success);
    *bench.fakes.readiness.lock().unwrap() = Ok(());
    let question = bench.fakes.questions().remove(0);
    assert!(!question.claimed && question.ended.is_none());
    assert_eq!(bench.fakes.count("claim"), 0);
}

/// What is stored as used has its intent on record: a gateway that ends between the two, or can't write, has used nothing up.
#[tokio::test]
async fn a_use_is_kept_after_its_intent_and_only_then() {
    for (is_like, claim) in [(false, "claim"), (true, "claim_allowance")] {
        for is_lost in [false, true] {
            let bench = Bench::new();
            if is_like {
                remembering(&bench, 1);
            } else {
                pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
                bench.fakes.decide(&TicketState::Approved);
            }
            let fakes = Arc::clone(&bench.fakes);
            bench.fakes.at("intent", move || assert_eq!((fakes.count(claim), fakes.count("keep_claim")), (1, 0)));
            if is_lost {
                bench.fakes.lose("intent");
            }
            let heard = bench.call("tickets__refund", REFUND).await;
            assert_eq!(heard.answer.outcome == Outcome::Success, !is_lost, "{claim}");
            assert_eq!(bench.fakes.count("keep_claim"), usize::from(!is_lost), "{claim}");
        }
    }
}

/// Whoever keeps the questions hears that nobody waits any more: of a caller that went away, and of no other.
#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_told_of() {
    let bench = holding();
    let call = bench.spawn("tickets__refund", REFUND);
    bench.fakes.reached("decided", 1).await;
    call.abort();
    assert!(call.await.is_err());
    assert_eq!(bench.fakes.count("left"), 1);
    pending(&bench.call("tickets__refund", REFUND).await, "apr-1");
    assert_eq!(bench.fakes.count("left"), 1, "the end of the hold is no going away");
}

/// Invariant 9: a held call is in flight.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_grant_ends_the_waiting() {
    let bench = holding();
    let call = bench.spawn("tickets__refund", REFUND);
    bench.fakes.reached("decided", 1).await;
    let began = tokio::time::Instant::now();
    bench.grant().end(GrantState::Revoked);
    call.await.unwrap().refused("grant", Outcome::Denied, "unknown_tool");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// A port that says "decided" of what it still calls pending must not keep a call walking for ever.
#[tokio::test]
async fn a_contradiction_between_pending_and_decided_ends() {
    let bench = holding();
    for _ in 0..50 {
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("find", move || {
            fakes.questions.send_modify(|all| all.iter_mut().for_each(|question| question.state = TicketState::Pending));
        });
        let fakes = Arc::clone(&bench.fakes);
        bench.fakes.at("decided", move || fakes.decide(&TicketState::Approved));
    }
    let heard = bench.call("tickets__refund", REFUND).await;
    heard.refused("hold", Outcome::Denied, "unsettled");
    assert_eq!((bench.fakes.count("find"), bench.fakes.questions().len()), (9, 1));
    let id: ApprovalId = "apr-1".parse().unwrap();
    assert_eq!(heard.outcome()["approval"], id.as_str());
}
