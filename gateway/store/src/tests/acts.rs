//! What persons do besides deciding: take back, look, let go in an emergency, look at that; and what is told of all of it.

use bailiwick_pipeline::ports::{Approvals as _, Binding, ClaimEnd, Claimed, TicketState};

use super::{MINUTE, NOW, approvals, approver, ask, ask_for, binding, crashed, folder, open, requirement};
use crate::{
    ApprovalState, Approver, ApproverMethod, DecideFault, Decision, Happened, LiveApprovals, Positions, Settings, Which,
};

fn set(live: &LiveApprovals, change: impl FnOnce(&mut Settings)) {
    let mut settings = Settings::default();
    change(&mut settings);
    live.set_settings(settings);
}

#[tokio::test]
async fn what_is_taken_back_is_not_used() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let revoke = |at_ms| live.revoke(&ticket.code, Some("a slip".to_owned()), approver("bob", 3001), at_ms);
    assert!(matches!(revoke(NOW).await, Err(DecideFault::NothingToRevoke { state: ApprovalState::Pending, .. })));
    live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    let revoked = revoke(NOW + 1).await.unwrap();
    assert_eq!((revoked.state, revoked.ended_at_ms), (ApprovalState::Revoked, Some(NOW + 1)));
    assert!(!live.claim(&ticket.id, NOW + 1));
    assert_eq!(live.find(&binding("{}"), NOW + 1), None);
    let kept = approvals(&open(&crashed(&data))).show(ticket.id.as_str()).unwrap();
    let said = kept.approval.revoked_by.unwrap();
    assert_eq!((said.approver.name.as_str(), said.reason.as_deref()), ("bob", Some("a slip")));
    assert_eq!((kept.approval.state, kept.arguments), (ApprovalState::Revoked, None));
    assert!(matches!(revoke(NOW + 2).await, Err(DecideFault::NothingToRevoke { state: ApprovalState::Revoked, .. })));
    // What runs, runs.
    let used = ask(&live, "used", NOW).await.unwrap();
    live.decide(&used.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    assert!(live.claim(&used.id, NOW));
    let fault = live.revoke(&used.code, None, approver("bob", 3001), NOW).await.unwrap_err();
    assert!(matches!(fault, DecideFault::NothingToRevoke { state: ApprovalState::Executing, .. }));
}

#[tokio::test]
async fn whoever_looks_is_named_and_nothing_is_decided() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let seen = live.acknowledge(&ticket.code, approver("ann", 3000), NOW + 5).await.unwrap();
    assert_eq!((seen.state, seen.acknowledged_by.unwrap().at_ms), (ApprovalState::Pending, NOW + 5));
    let again = approvals(&open(&crashed(&data)));
    assert_eq!(again.show(&ticket.code).unwrap().approval.acknowledged_by.unwrap().approver.name, "ann");
    assert_eq!(again.find(&binding("{}"), NOW).unwrap().state, TicketState::Pending);
    live.decide(&ticket.code, Decision::deny(None), approver("bob", 3001), NOW).await.unwrap();
    let late = live.acknowledge(&ticket.code, approver("ann", 3000), NOW).await;
    assert!(matches!(late, Err(DecideFault::NotPending { .. })));
}

#[tokio::test]
async fn an_emergency_is_on_record_until_somebody_else_has_looked() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask_for(&live, &binding("{}"), "{}", &[requirement(2, None)], NOW).await.unwrap();
    let breaks = |why, by| live.break_glass(&ticket.code, why, by, NOW);
    assert_eq!(breaks("fire", approver("ann", 3000)).await, Err(DecideFault::GlassIsShut), "off by default");
    set(&live, |settings| (settings.break_glass, settings.execute_by_ms) = (true, 60 * MINUTE));
    assert_eq!(breaks(" ", approver("ann", 3000)).await, Err(DecideFault::NoReason));
    let passkey = Approver { method: ApproverMethod::Passkey, ..approver("ann", 3000) };
    assert!(matches!(breaks("fire", passkey).await, Err(DecideFault::Method { .. })));
    assert!(matches!(breaks("fire", approver("olga", 3000)).await, Err(DecideFault::Owner { .. })), "not for one's own task");
    assert!(matches!(breaks("fire", approver("ann", 1000)).await, Err(DecideFault::SameUser { .. })));
    let broken = breaks("fire", approver("ann", 3000)).await.unwrap();
    assert_eq!((broken.state, broken.execute_by_ms), (ApprovalState::Approved, Some(NOW + 15 * MINUTE)));
    assert!(broken.is_review_due() && broken.decisions.is_empty());
    assert!(live.claim(&ticket.id, NOW + 15 * MINUTE - 1));
    live.finish(&ticket.id, ClaimEnd::Succeeded);

    // Listed, and not forgotten, until a second person has looked.
    live.expire(NOW + 100 * 60 * MINUTE).await.unwrap();
    assert_eq!(live.list(Which::Open).len(), 1);
    let again = approvals(&open(&crashed(&data)));
    assert_eq!(again.list(Which::Open).len(), 1);
    let review = |by| live.review(ticket.id.as_str(), Some("fine".to_owned()), by, NOW + 5);
    for same in [approver("ann", 3001), approver("bob", 3000)] {
        assert!(matches!(review(same).await, Err(DecideFault::AlreadyApproved { .. })));
    }
    assert!(matches!(review(approver("root", 0)).await, Err(DecideFault::NoSecondPerson(_))), "root can be ann");
    assert!(matches!(review(approver("olga", 3002)).await, Err(DecideFault::Owner { .. })));
    assert!(!review(approver("bob", 3001)).await.unwrap().is_review_due());
    assert!(matches!(review(approver("eve", 3003)).await, Err(DecideFault::NoReview(_))));
    assert!(live.list(Which::Open).is_empty());
}

/// Root can be any user of the machine, and signs with nobody's passkey.
#[tokio::test]
async fn a_passkey_looks_at_what_root_let_go() {
    let data = folder();
    let live = approvals(&open(&data));
    set(&live, |settings| settings.break_glass = true);
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    live.break_glass(&ticket.code, "fire", approver("root", 0), NOW).await.unwrap();
    let person =
        |name: &str, uid, method| Approver { uid, name: name.to_owned(), method, owns: [].into(), enrolled_by: Some(3000) };
    let review = |by| live.review(&ticket.code, Some("fine".to_owned()), by, NOW);
    let typed = person("ada", Some(0), ApproverMethod::Operator);
    assert!(matches!(review(typed).await, Err(DecideFault::AlreadyApproved { .. })));
    assert!(matches!(review(person("root", None, ApproverMethod::Passkey)).await, Err(DecideFault::AlreadyApproved { .. })));
    assert!(matches!(review(person("olga", None, ApproverMethod::Passkey)).await, Err(DecideFault::Owner { .. })));
    let due = live.to_review();
    assert_eq!(due.iter().map(|one| &one.id).collect::<Vec<_>>(), [&ticket.id]);
    // Who makes a link can add a passkey by it under any name: one that traces to root, or to nobody knows whom, may be root's own.
    let ada = person("ada", None, ApproverMethod::Passkey);
    for (maker, words) in [(Some(0), "whoever let it go made the link"), (None, "nobody knows by whose link")] {
        let by = Approver { enrolled_by: maker, ..ada.clone() };
        assert!(matches!(live.may_review(&due[0], &by), Err(DecideFault::OwnPasskey { .. })));
        let said = review(by).await.unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("--recover"), "{said}");
    }
    assert!(live.may_review(&due[0], &ada).is_ok());
    assert!(live.doubt_of(&due[0], &ada).unwrap().contains("root"), "who can be 3000");
    assert_eq!(live.doubt_of(&due[0], &Approver { enrolled_by: Some(0), ..ada.clone() }), None, "that is no doubt, but refused");
    let reviewed = review(ada).await.unwrap();
    assert_eq!(reviewed.reviewed_by.as_ref().unwrap().approver.enrolled_by, Some(3000), "kept with it");
    assert!(!reviewed.is_review_due() && live.to_review().is_empty());
}

/// On the socket there are the gateway's user and root, and no others: where duties are not separate, each is somebody else than the other.
#[tokio::test]
async fn root_looks_at_what_another_let_go_where_duties_are_not_separate() {
    let data = folder();
    let live = approvals(&open(&data));
    set(&live, |settings| (settings.break_glass, settings.allow_same_user) = (true, true));
    for (breaks, looks) in [(approver("ann", 3000), approver("root", 0)), (approver("root", 0), approver("ann", 3000))] {
        let arguments = breaks.name.clone();
        let ticket = ask(&live, &arguments, NOW).await.unwrap();
        live.break_glass(&ticket.code, "fire", breaks.clone(), NOW).await.unwrap();
        let own = live.review(&ticket.code, None, breaks, NOW).await;
        assert!(matches!(own, Err(DecideFault::AlreadyApproved { .. })), "{own:?}");
        assert!(!live.review(&ticket.code, None, looks, NOW).await.unwrap().is_review_due());
    }
}

/// `on_cancel = "withdraw"` is asked for; and as long as another call waits, the question stays.
#[tokio::test]
async fn a_question_is_taken_back_where_that_is_asked_for() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    live.left(&ticket.id, NOW);
    assert_eq!(live.show(&ticket.code).unwrap().approval.state, ApprovalState::Pending);
    set(&live, |settings| settings.withdraw_on_cancel = true);
    let other = live.decided(&ticket.id);
    assert_eq!(live.waiters(&ticket.id), 1);
    live.left(&ticket.id, NOW);
    assert_eq!(live.show(&ticket.code).unwrap().approval.state, ApprovalState::Pending);
    drop(other);
    live.left(&ticket.id, NOW);
    assert_eq!(live.show(&ticket.code).unwrap().approval.state, ApprovalState::Withdrawn);
    let approved = ask(&live, "other", NOW).await.unwrap();
    live.decide(&approved.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    live.left(&approved.id, NOW);
    assert!(live.claim(&approved.id, NOW), "what was decided stays");
}

/// Row 3 of the matrix: policy that asks for the same or for less keeps what was approved; policy that asks for more makes it void, and
/// says what differs.
#[tokio::test]
async fn only_stricter_policy_voids_an_approval() {
    let need =
        |rule: &str, quorum: &str, ttl: &str, class: &str| format!("{rule}\u{1f}finance\u{1f}{quorum}\u{1f}{ttl}\u{1f}{class}");
    let under = |policy: &str, needs: &[String]| Binding {
        policy_digest: policy.to_owned(),
        needs: needs.iter().cloned().collect(),
        ..binding("{}")
    };
    let was = under("old", &[need("money", "2", "600", "approver"), need("eu", "1", "-", "user")]);
    let asked = [requirement(1, None)];
    for weaker in [
        vec![need("money", "2", "600", "approver"), need("eu", "1", "-", "user")],
        vec![need("money", "1", "900", "user")],
        vec![need("eu", "1", "-", "user")],
    ] {
        let data = folder();
        let live = approvals(&open(&data));
        let ticket = ask_for(&live, &was, "{}", &asked, NOW).await.unwrap();
        live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
        let now = under("new", &weaker);
        assert_eq!(live.find(&now, NOW).map(|found| found.id), Some(ticket.id.clone()), "{weaker:?}");
        assert_eq!(ask_for(&live, &now, "{}", &asked, NOW).await.unwrap().state, TicketState::Approved);
        assert!(live.claim(&ticket.id, NOW));
    }
    for (stricter, what) in [
        (vec![need("money", "3", "600", "approver")], "the quorum of rule `money`"),
        (vec![need("money", "2", "600", "two-person")], "the class of rule `money`"),
        (vec![need("money", "2", "300", "approver")], "the lifetime of rule `money`"),
        (vec![need("money", "2", "-", "approver")], "the lifetime of rule `money`"),
        (vec![need("new", "1", "-", "user")], "a need of rule `new`"),
    ] {
        let data = folder();
        let live = approvals(&open(&data));
        let ticket = ask_for(&live, &was, "{}", &asked, NOW).await.unwrap();
        live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
        let now = under("new", &stricter);
        assert_eq!(live.find(&now, NOW), None, "{stricter:?}");
        let anew = ask_for(&live, &now, "{}", &asked, NOW).await.unwrap();
        assert!(anew.state == TicketState::Pending && anew.id != ticket.id);
        let before = live.show(ticket.id.as_str()).unwrap().approval;
        assert_eq!(before.state, ApprovalState::Invalidated);
        assert_eq!(before.note, Some(format!("policy asks for more now: {what} (approval `finance`)")));
        assert!(!live.claim(&ticket.id, NOW));
    }
}

/// What happens is told in order, once, and survives a crash together with what it tells of.
#[tokio::test]
async fn what_happens_is_told_in_order_and_across_a_crash() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    ask(&live, "nobody listens", NOW).await.unwrap();
    assert!(live.events(0, 10).unwrap().is_empty());
    set(&live, |settings| settings.keep_events = true);
    let mut changes = live.changes();
    changes.borrow_and_update();
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    assert!(changes.has_changed().unwrap());
    live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW + 1).await.unwrap();
    assert!(live.claim(&ticket.id, NOW + 2));
    live.keep_claim(&ticket.id, Claimed::Approval, NOW + 2);
    live.finish(&ticket.id, ClaimEnd::Succeeded);
    live.expire(NOW + 10 * MINUTE).await.unwrap();
    let again = approvals(&open(&crashed(&data)));
    let told = again.events(0, 10).unwrap();
    let what: Vec<_> = told.iter().map(|event| (event.event, event.state)).collect();
    assert_eq!(
        what,
        [
            (Happened::Requested, ApprovalState::Pending),
            (Happened::Decided, ApprovalState::Approved),
            (Happened::Executed, ApprovalState::Executing),
            (Happened::Executed, ApprovalState::Succeeded),
            (Happened::Expired, ApprovalState::Expired),
        ]
    );
    assert!(told.windows(2).all(|two| two[0].seq < two[1].seq) && told[..4].iter().all(|event| event.approval == ticket.id));
    assert_eq!(live.events(told[0].seq, 2).unwrap(), told[1..3]);
    // No place is used twice, though all was told.
    Positions::load(&store).unwrap().advance("books", told[4].seq).await.unwrap();
    assert!(live.events(0, 10).unwrap().is_empty());
    ask(&live, "later", NOW + 10 * MINUTE).await.unwrap();
    assert!(live.events(0, 10).unwrap()[0].seq > told[4].seq);
    // Nobody took it for three days: it is not told any more.
    live.expire(NOW + 90 * 60 * MINUTE).await.unwrap();
    live.expire(NOW + 180 * 60 * MINUTE).await.unwrap();
    assert!(live.events(0, 10).unwrap().iter().all(|event| event.event == Happened::Expired));
}
