//! Whose word a call takes: the classes, and by what proof.

use std::collections::BTreeSet;

use bailiwick_pipeline::ports::Approvals as _;
use bailiwick_policy::{Band, Confirm, Requirement};
use bailiwick_schemas::canonical::Digest;

use super::{NOW, approvals, approver, ask_of, binding, folder, open, requirement};
use crate::{
    ApprovalState, Approver, ApproverMethod, DecideBounds, DecideFault, Decision, LiveApprovals, MayNot, Settings, Statement,
    Verdict, batch_digest, challenge,
};

fn by(name: &str, method: ApproverMethod) -> Approver {
    Approver { uid: None, name: name.to_owned(), method, owns: BTreeSet::new(), enrolled_by: None }
}

fn of_class(confirm: Confirm) -> Requirement {
    Requirement { confirm, ..requirement(1, None) }
}

async fn asked(live: &LiveApprovals, band: Band, confirm: Confirm, arguments: &str) -> String {
    let needs = [of_class(confirm)];
    ask_of(live, band, &[], &binding(arguments), (arguments, &needs), NOW).await.unwrap().id.to_string()
}

async fn yes(live: &LiveApprovals, id: &str, approver: Approver) -> Result<ApprovalState, DecideFault> {
    live.decide(id, Decision::approve(), approver, NOW).await.map(|approval| approval.state)
}

/// Attack 93: no rule makes a class weaker than the band takes.
#[tokio::test]
async fn f93_a_band_takes_no_less_than_its_own() {
    let data = folder();
    let live = approvals(&open(&data));
    for (band, asked_for, takes, persons) in [
        (Band::Low, Confirm::User, Confirm::User, 1),
        (Band::High, Confirm::User, Confirm::Approver, 1),
        (Band::Critical, Confirm::User, Confirm::TwoPerson, 2),
        (Band::Critical, Confirm::Approver, Confirm::TwoPerson, 2),
        (Band::Low, Confirm::TwoPerson, Confirm::TwoPerson, 2),
    ] {
        let live = if band == Band::High { &approvals(&open(&folder())) } else { &live };
        let id = asked(live, band, asked_for, &format!("{band}{asked_for:?}")).await;
        let approval = live.show(&id).unwrap().approval;
        assert_eq!((approval.confirm(), approval.quorum()), (takes, persons), "{band} {asked_for:?}");
    }
}

/// The client of the agent may answer by itself: it counts where policy asks for no more.
#[tokio::test]
async fn the_word_of_the_client_counts_for_its_own_class_only() {
    let data = folder();
    let live = approvals(&open(&data));
    let user = asked(&live, Band::Medium, Confirm::User, "u").await.parse().unwrap();
    let confirmed = live.confirm_by_user(&user, "elicitation", NOW).await.unwrap();
    assert_eq!(confirmed.state, ApprovalState::Approved);
    let said = &confirmed.decisions[0];
    assert_eq!((said.approver.method, said.reason.as_deref()), (ApproverMethod::ClientAsserted, Some("elicitation")));
    for (band, confirm) in [(Band::Low, Confirm::Approver), (Band::High, Confirm::User), (Band::Critical, Confirm::User)] {
        let id = asked(&live, band, confirm, &format!("{band}{confirm:?}")).await.parse().unwrap();
        let fault = live.confirm_by_user(&id, "elicitation", NOW).await.unwrap_err();
        assert!(matches!(fault, DecideFault::Method { .. }), "{band} {confirm:?}: {fault}");
        let no = live.refuse_by_user(&id, "elicitation", NOW).await.unwrap_err();
        assert!(matches!(no, DecideFault::Method { .. }), "{band} {confirm:?}: {no}");
        assert!(!live.claim(&id, NOW));
    }
    // Two rules, and one of them asks for more.
    let needs = [of_class(Confirm::User), Requirement { rule: "other".into(), ..of_class(Confirm::Approver) }];
    let both = ask_of(&live, Band::Low, &[], &binding("both"), ("both", &needs), NOW).await.unwrap();
    assert!(live.confirm_by_user(&both.id, "elicitation", NOW).await.is_err());
}

/// Whoever drives the agent is its owner most often: where their word is asked for, that is no fault.
#[tokio::test]
async fn an_owner_confirms_what_takes_the_word_of_a_user() {
    let data = folder();
    let live = approvals(&open(&data));
    let user = asked(&live, Band::Low, Confirm::User, "u").await;
    assert_eq!(yes(&live, &user, by("olga", ApproverMethod::Login)).await, Ok(ApprovalState::Approved));
    let approver_s = asked(&live, Band::Low, Confirm::Approver, "a").await;
    assert!(matches!(yes(&live, &approver_s, by("olga", ApproverMethod::Login)).await, Err(DecideFault::Owner { .. })));
}

/// Attack 93: a login alone is not enough for what is risky.
#[tokio::test]
async fn f93_a_login_is_not_enough_for_what_is_risky() {
    let data = folder();
    let live = approvals(&open(&data));
    for (band, is_enough) in [(Band::Low, true), (Band::Medium, true), (Band::High, false), (Band::Critical, false)] {
        let id = asked(&live, band, Confirm::Approver, band.as_str()).await;
        let login = by("ann", ApproverMethod::Login);
        let approval = live.show(&id).unwrap().approval;
        let bounds = DecideBounds::default();
        assert_eq!(login.may_decide(&approval, Verdict::Approve, &bounds).is_ok(), is_enough, "{band}");
        assert_eq!(login.may_decide(&approval, Verdict::Deny, &bounds), Ok(()), "{band}");
        assert_eq!(yes(&live, &id, login).await.is_ok(), is_enough, "{band}");
    }
    let two = asked(&live, Band::Low, Confirm::TwoPerson, "two").await;
    assert!(matches!(yes(&live, &two, by("ann", ApproverMethod::Login)).await, Err(DecideFault::Method { .. })));
}

/// Attack 93: two persons are two by passkeys or two by users of the machine, and never root and somebody.
#[tokio::test]
async fn f93_two_persons_are_two_who_can_be_told_apart() {
    let data = folder();
    let live = approvals(&open(&data));
    let id = asked(&live, Band::Critical, Confirm::Approver, "{}").await;
    let key = |name| by(name, ApproverMethod::Passkey);
    let method = |fault| matches!(fault, Err(DecideFault::Method { .. }));
    assert!(method(yes(&live, &id, approver("root", 0)).await), "root could be both");
    assert!(method(yes(&live, &id, by("x", ApproverMethod::Operator)).await), "nobody knows which user");
    assert_eq!(yes(&live, &id, key("ann")).await, Ok(ApprovalState::Pending));
    assert!(method(yes(&live, &id, approver("bob", 3001)).await), "bob may be ann by another name");
    let again = DecideFault::AlreadyApproved { code: live.show(&id).unwrap().approval.code, missing: 1 };
    assert_eq!(yes(&live, &id, key(" Ann")).await, Err(again));
    assert!(!live.claim(&id.parse().unwrap(), NOW));
    assert_eq!(yes(&live, &id, key("bob")).await, Ok(ApprovalState::Approved));
    // The same by users; and one no ends it, whatever was said before.
    let id = asked(&live, Band::Critical, Confirm::Approver, "other").await;
    assert_eq!(yes(&live, &id, approver("ann", 3000)).await, Ok(ApprovalState::Pending));
    let no = live.decide(&id, Decision::deny(None), by("eve", ApproverMethod::Login), NOW).await.unwrap();
    assert_eq!(no.state, ApprovalState::Denied);
    assert!(matches!(yes(&live, &id, approver("bob", 3001)).await, Err(DecideFault::NotPending { .. })));
}

/// Attack 93: whoever belongs to an owner is no other person than the owner.
#[tokio::test]
async fn f93_who_belongs_to_an_owner_does_not_approve_for_it() {
    let data = folder();
    let live = approvals(&open(&data));
    let id = asked(&live, Band::High, Confirm::Approver, "{}").await;
    for own in ["olga", " OLGA", "team-lead", "bot"] {
        let owner = Approver { owns: [own.to_owned()].into(), ..by("ann", ApproverMethod::Passkey) };
        assert!(matches!(yes(&live, &id, owner).await, Err(DecideFault::Owner { .. })), "{own}");
    }
    let stranger = Approver { owns: ["somebody".to_owned()].into(), ..by("ann", ApproverMethod::Passkey) };
    assert_eq!(yes(&live, &id, stranger.clone()).await, Ok(ApprovalState::Approved));
    let kept = live.show(&id).unwrap().approval.decisions.remove(0).approver;
    assert_eq!(kept, stranger);
    // Unless it is allowed in words.
    live.set_settings(Settings { allow_same_user: true, ..Settings::default() });
    let id = asked(&live, Band::High, Confirm::Approver, "own").await;
    assert_eq!(yes(&live, &id, by("olga", ApproverMethod::Passkey)).await, Ok(ApprovalState::Approved));
}

#[tokio::test]
async fn bounds_are_connectors_and_the_highest_band() {
    let data = folder();
    let live = approvals(&open(&data));
    let id = asked(&live, Band::High, Confirm::Approver, "{}").await;
    let approval = live.show(&id).unwrap().approval;
    let ann = by("ann", ApproverMethod::Passkey);
    let may = |connectors: &[&str], up_to| {
        let connectors = connectors.iter().map(|id| (*id).to_owned()).collect();
        ann.may_decide(&approval, Verdict::Approve, &DecideBounds { connectors, up_to })
    };
    assert_eq!(may(&[], None), Ok(()));
    assert_eq!(may(&["tickets", "files"], Some(Band::High)), Ok(()));
    assert_eq!(may(&["files"], None), Err(MayNot::Connector));
    assert_eq!(may(&["tickets"], Some(Band::Medium)), Err(MayNot::Band));
}

/// Whoever checks a signature later can make the challenge again, and no two decisions have the same.
#[test]
fn a_challenge_is_of_one_decision() {
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let plain = Statement { verdict: Verdict::Approve, reason: None, view: None, allow: None };
    let said = r#"{"allow":null,"reason":null,"verdict":"approve","view":null}"#;
    assert_eq!(plain.text(), said);
    let made = challenge(&one, said, b"nonce");
    let mut bytes = b"bailiwick.approval.v2\0".to_vec();
    bytes.extend_from_slice(one.as_bytes());
    bytes.extend_from_slice(Digest::of(said.as_bytes()).as_bytes());
    bytes.extend_from_slice(b"nonce");
    assert_eq!(made, Digest::of(&bytes));
    for another in [
        challenge(&other, said, b"nonce"),
        challenge(&one, &Statement { verdict: Verdict::Deny, ..plain }.text(), b"nonce"),
        challenge(&one, &Statement { reason: Some("x"), ..plain }.text(), b"nonce"),
        challenge(&one, &Statement { view: Some(&other), ..plain }.text(), b"nonce"),
        challenge(&one, &Statement { allow: Some((&[].into(), 1, 1)), ..plain }.text(), b"nonce"),
        challenge(&one, &Statement { allow: Some((&["/a".to_owned()].into(), 1, 1)), ..plain }.text(), b"nonce"),
        challenge(&one, said, b"Nonce"),
        challenge(&batch_digest(&[one]), said, b"nonce"),
    ] {
        assert_ne!(another, made);
    }
    assert_ne!(batch_digest(&[one, other]), batch_digest(&[other, one]));
}

/// Whoever is gone has no word any more: what they asked nobody else about, and what their yes allowed, is void.
#[tokio::test]
async fn what_rests_on_a_yes_is_void_with_it() {
    let data = folder();
    let live = approvals(&open(&data));
    let of_ann = asked(&live, Band::High, Confirm::Approver, "1").await;
    let of_bob = asked(&live, Band::High, Confirm::Approver, "2").await;
    assert_eq!(yes(&live, &of_ann, by("ann", ApproverMethod::Passkey)).await, Ok(ApprovalState::Approved));
    assert_eq!(yes(&live, &of_bob, by("bob", ApproverMethod::Passkey)).await, Ok(ApprovalState::Approved));
    let half = asked(&live, Band::Critical, Confirm::TwoPerson, "3").await;
    assert_eq!(yes(&live, &half, by("ann", ApproverMethod::Passkey)).await, Ok(ApprovalState::Pending));
    let is_ann = |approval: &crate::Approval| {
        approval.decisions.iter().any(|decided| decided.approver.name == "ann").then(|| "ann is gone".to_owned())
    };
    assert_eq!(live.void_those(NOW, &is_ann).await.unwrap().len(), 2);
    let state = |id: &str| live.show(id).unwrap().approval.state;
    assert_eq!((state(&of_ann), state(&half)), (ApprovalState::Invalidated, ApprovalState::Invalidated));
    assert_eq!(state(&of_bob), ApprovalState::Approved);
}
