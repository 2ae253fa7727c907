use std::time::Duration;

use bailiwick_pipeline::{
    ids::ApprovalId,
    ports::{ApprovalFailure, Approvals as _, Binding, ClaimEnd, Claimed, TicketState},
};
use bailiwick_schemas::canonical::Digest;

use super::{HOUR, MINUTE, NOW, agents, approvals, approver, ask, ask_for, binding, claimed, crashed, folder, open, requirement};
use crate::{ApprovalState, Decision, LiveApprovals, Settings, ShowFault, Which};

fn state(approvals: &LiveApprovals, id: &ApprovalId) -> ApprovalState {
    approvals.show(id.as_str()).unwrap().approval.state
}

async fn approve(approvals: &LiveApprovals, id: &ApprovalId, now_ms: u64) {
    approvals.decide(id.as_str(), Decision::approve(), approver("ann", 3000), now_ms).await.unwrap();
}

#[tokio::test]
async fn a_question_is_durable_and_joined_by_its_like() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    let ticket = ask(&live, r#"{"id":1}"#, NOW).await.unwrap();
    assert_eq!((ticket.state.clone(), ticket.approve_by_ms), (TicketState::Pending, NOW + 10 * MINUTE));
    let code = ticket.code.as_bytes();
    assert!(matches!(code, [b'A'..=b'Z', b'0'..=b'9', b'-', b'0'..=b'9', b'0'..=b'9']), "{}", ticket.code);
    assert_eq!(ask(&live, r#"{"id":1}"#, NOW + 1).await.unwrap(), ticket);
    assert_eq!(live.find(&binding(r#"{"id":1}"#), NOW), Some(ticket.clone()));

    let again = approvals(&open(&crashed(&data)));
    assert_eq!(again.find(&binding(r#"{"id":1}"#), NOW + 1), Some(ticket.clone()));
    assert_eq!(again.arguments(&ticket.id).unwrap(), r#"{"id":1}"#);
    let shown = again.show(&ticket.code.to_lowercase()).unwrap();
    assert_eq!(shown.arguments.as_deref(), Some(br#"{"id":1}"#.as_slice()));
    assert_eq!((shown.approval.owner.as_str(), shown.approval.requirements[0].label.as_str()), ("olga", "refunds"));
    assert_eq!(shown.approval.binding, binding(r#"{"id":1}"#));
}

#[tokio::test]
async fn one_byte_of_difference_is_another_question() {
    let data = folder();
    let live =
        LiveApprovals::load(&open(&data), agents(), Settings { max_pending_per_agent: 50, ..Settings::default() }, &[]).unwrap();
    let base = binding("9007199254740993");
    let ticket = ask_for(&live, &base, "9007199254740993", &[requirement(1, None)], NOW).await.unwrap();
    approve(&live, &ticket.id, NOW).await;
    let others = [
        binding("9007199254740992"),
        Binding { agent: "other".parse().unwrap(), ..base.clone() },
        Binding { grant: "triage2".parse().unwrap(), ..base.clone() },
        Binding { grant_revision: 2, ..base.clone() },
        Binding { connector: "files".parse().unwrap(), ..base.clone() },
        Binding { connector_fingerprint: Digest::of(b"x"), ..base.clone() },
        Binding { tool: "tickets__get".to_owned(), ..base.clone() },
        Binding { tool_digest: Digest::of(b"x"), ..base.clone() },
    ];
    for other in others {
        assert_eq!(live.find(&other, NOW), None, "{other:?}");
        let asked = ask_for(&live, &other, "{}", &[requirement(1, None)], NOW).await.unwrap();
        assert_eq!(asked.state, TicketState::Pending);
        assert!(!live.claim(&asked.id, NOW));
    }
    assert_eq!(live.find(&base, NOW).unwrap().state, TicketState::Approved);
}

#[tokio::test]
async fn an_agent_may_ask_only_so_much_at_a_time() {
    let data = folder();
    let live = approvals(&open(&data));
    for number in 0..5 {
        ask(&live, &number.to_string(), NOW).await.unwrap();
    }
    assert_eq!(ask(&live, "5", NOW).await, Err(ApprovalFailure::TooMany(5)));
    assert!(ask(&live, "4", NOW).await.is_ok(), "joining is no new question");
    let other = Binding { agent: "other".parse().unwrap(), ..binding("5") };
    assert!(ask_for(&live, &other, "5", &[requirement(1, None)], NOW).await.is_ok());
    assert!(ask(&live, "5", NOW + 10 * MINUTE).await.is_ok(), "those whose time is over don't count");
}

#[tokio::test]
async fn approved_claimed_and_finished() {
    for (end, after) in [
        (ClaimEnd::Succeeded, ApprovalState::Succeeded),
        (ClaimEnd::Failed, ApprovalState::Failed),
        (ClaimEnd::Unknown, ApprovalState::Unknown),
    ] {
        let data = folder();
        let store = open(&data);
        let live = approvals(&store);
        let ticket = ask(&live, "{}", NOW).await.unwrap();
        assert!(!live.claim(&ticket.id, NOW), "not yet approved");
        approve(&live, &ticket.id, NOW).await;
        assert_eq!(state(&live, &ticket.id), ApprovalState::Approved);
        assert!(live.claim(&ticket.id, NOW + 10 * MINUTE - 1));
        assert!(!live.claim(&ticket.id, NOW));
        assert_eq!((live.find(&binding("{}"), NOW), state(&live, &ticket.id)), (None, ApprovalState::Executing));
        assert_eq!(live.arguments(&ticket.id).unwrap(), "{}");
        live.finish(&ticket.id, end);
        live.finish(&ticket.id, ClaimEnd::Failed);
        assert_eq!(state(&live, &ticket.id), after);
        assert_ne!(ask(&live, "{}", NOW).await.unwrap().id, ticket.id, "a used approval is used");
        let again = approvals(&open(&crashed(&data)));
        assert_eq!(state(&again, &ticket.id), after);
        // Who finds out what happened needs to see what was sent; else nobody does.
        assert_eq!(again.show(ticket.id.as_str()).unwrap().arguments.is_some(), end == ClaimEnd::Unknown);
    }
}

#[tokio::test]
async fn both_clocks_run_out() {
    let data = folder();
    let live = approvals(&open(&data));
    let silent = ask(&live, "silent", NOW).await.unwrap();
    let unused = ask(&live, "unused", NOW).await.unwrap();
    approve(&live, &unused.id, NOW + 5 * MINUTE).await;
    assert!(live.expire(NOW + 10 * MINUTE - 1).await.unwrap().is_empty());
    assert_eq!(live.find(&binding("silent"), NOW + 10 * MINUTE), None, "over without a sweep");
    assert!(!live.claim(&unused.id, NOW + 15 * MINUTE), "over without a sweep");
    let closed = live.expire(NOW + 15 * MINUTE).await.unwrap();
    assert_eq!(closed.len(), 2);
    assert_eq!((state(&live, &silent.id), state(&live, &unused.id)), (ApprovalState::Expired, ApprovalState::Lapsed));
    assert!(live.list(Which::Open).is_empty());
    let again = approvals(&open(&crashed(&data)));
    assert_eq!(again.list(Which::All).len(), 2);
    live.expire(NOW + 80 * HOUR).await.unwrap();
    assert!(live.list(Which::All).is_empty());
    assert_eq!(live.show(&silent.code), Err(ShowFault::Unknown(silent.code)));
    assert!(approvals(&open(&crashed(&data))).list(Which::All).is_empty());
}

#[tokio::test]
async fn no_approval_outlives_its_grant_or_its_rule() {
    let data = folder();
    let live = approvals(&open(&data));
    let late = NOW + 8 * HOUR - 2 * MINUTE;
    let ticket = ask(&live, "late", late).await.unwrap();
    assert_eq!(ticket.approve_by_ms, NOW + 8 * HOUR);
    approve(&live, &ticket.id, late + MINUTE).await;
    assert!(!live.claim(&ticket.id, NOW + 8 * HOUR));
    let short = [requirement(1, Some(Duration::from_secs(30))), requirement(1, None)];
    let ticket = ask_for(&live, &binding("short"), "short", &short, NOW).await.unwrap();
    approve(&live, &ticket.id, NOW).await;
    assert!(!live.claim(&ticket.id, NOW + 30_000));
    assert!(live.claim(&ticket.id, NOW + 29_999));
}

#[tokio::test]
async fn what_the_question_was_about_may_end() {
    let data = folder();
    let live = approvals(&open(&data));
    let pending = ask(&live, "pending", NOW).await.unwrap();
    let approved = ask(&live, "approved", NOW).await.unwrap();
    approve(&live, &approved.id, NOW).await;
    let elsewhere = Binding { grant: "elsewhere".parse().unwrap(), ..binding("elsewhere") };
    let kept = ask_for(&live, &elsewhere, "{}", &[requirement(1, None)], NOW).await.unwrap();
    let void = live.invalidate("grant `triage` ended", NOW + 1, |binding| binding.grant.as_str() == "triage").await.unwrap();
    assert_eq!(void.len(), 2);
    for id in [&pending.id, &approved.id] {
        assert!(!live.claim(id, NOW + 1));
        let shown = approvals(&open(&crashed(&data))).show(id.as_str()).unwrap();
        assert_eq!(shown.approval.state, ApprovalState::Invalidated);
        assert_eq!((shown.approval.note.as_deref(), shown.arguments), (Some("grant `triage` ended"), None));
    }
    assert_eq!(state(&live, &kept.id), ApprovalState::Pending);
    assert!(live.withdraw(&kept.id, NOW + 1).await.unwrap());
    assert!(!live.withdraw(&kept.id, NOW + 1).await.unwrap());
    assert_eq!(state(&approvals(&open(&crashed(&data))), &kept.id), ApprovalState::Withdrawn);
}

#[tokio::test]
async fn what_ran_when_the_gateway_ended_is_unknown_and_never_sent_again() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    let executing = ask(&live, "executing", NOW).await.unwrap();
    approve(&live, &executing.id, NOW).await;
    assert!(live.claim(&executing.id, NOW));
    live.keep_claim(&executing.id, Claimed::Approval, NOW);
    let in_trail = ask(&live, "in the trail only", NOW).await.unwrap();
    approve(&live, &in_trail.id, NOW).await;
    let untouched = ask(&live, "approved", NOW).await.unwrap();
    approve(&live, &untouched.id, NOW).await;
    // The gateway ends before the intent is on record: nothing was sent, and so nothing is used up.
    let without_intent = ask(&live, "claimed", NOW).await.unwrap();
    approve(&live, &without_intent.id, NOW).await;
    assert!(live.claim(&without_intent.id, NOW));
    assert_eq!(state(&live, &without_intent.id), ApprovalState::Executing);
    store.set_meta("barrier", Some("")).await.unwrap();

    let copy = crashed(&data);
    let store = open(&copy);
    let load = |intents: &[_]| LiveApprovals::load(&store, agents(), Settings::default(), intents).unwrap();
    let again = load(&[claimed(&in_trail.id)]);
    for id in [&executing.id, &in_trail.id] {
        assert_eq!(state(&again, id), ApprovalState::Unknown);
        assert!(!again.claim(id, NOW));
    }
    assert!(again.claim(&untouched.id, NOW));
    assert!(again.claim(&without_intent.id, NOW) && !again.claim(&without_intent.id, NOW));
    store.set_meta("barrier", Some("")).await.unwrap();
    assert_eq!(state(&load(&[]), &in_trail.id), ApprovalState::Unknown, "and that is stored");
}

#[tokio::test]
async fn a_lost_store_neither_asks_nor_claims() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let open_one = ask(&live, "open", NOW).await.unwrap();
    approve(&live, &ticket.id, NOW).await;
    store.follow(|connection| connection.execute("INSERT INTO meta VALUES (NULL, NULL)", []).map(drop));
    assert!(store.set_meta("after", None).await.is_err());
    assert!(!live.claim(&ticket.id, NOW));
    assert!(matches!(ask(&live, "new", NOW).await, Err(ApprovalFailure::Lost(_))));
    assert_eq!(live.find(&binding("new"), NOW), None);
    assert!(live.decide(&open_one.code, Decision::approve(), approver("ann", 3000), NOW).await.is_err());
    assert_eq!(state(&live, &open_one.id), ApprovalState::Pending, "a decision that isn't stored doesn't count");
}
