use std::collections::BTreeSet;

use bailiwick_pipeline::ports::{Approvals as _, Delegator, TicketState};

use super::{
    MINUTE, NOW, agent, agents, approvals, approver, ask, ask_below, ask_for, binding, crashed, entries, folder, open,
    requirement,
};
use crate::{ApprovalState, Approver, ApproverMethod, DecideFault, Decision, LiveApprovals, Settings, Verdict, Which};

#[tokio::test]
async fn a_yes_is_kept_with_who_said_it() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let view = bailiwick_schemas::canonical::Digest::of(b"page");
    let yes = Decision { view: Some(view), reason: Some("seen".to_owned()), ..Decision::approve() };
    let decided = live.decide(&ticket.code, yes, approver("ann", 3000), NOW + MINUTE).await.unwrap();
    assert_eq!((decided.state, decided.execute_by_ms), (ApprovalState::Approved, Some(NOW + 11 * MINUTE)));
    let again = approvals(&open(&crashed(&data))).show(ticket.id.as_str()).unwrap().approval;
    assert_eq!(again, decided);
    let decision = &again.decisions[0];
    assert_eq!((decision.approver.name.as_str(), decision.at_ms, decision.verdict), ("ann", NOW + MINUTE, Verdict::Approve));
    assert_eq!((decision.view, decision.reason.as_deref()), (Some(view), Some("seen")));
    assert_eq!(live.list(Which::Open).len(), 1);
}

#[tokio::test]
async fn a_no_stands_for_a_while() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let no = Decision::deny(Some("not today".to_owned()));
    live.decide(ticket.id.as_str(), no, approver("ann", 3000), NOW).await.unwrap();
    let denied = TicketState::Denied { reason: Some("not today".to_owned()) };
    let again = approvals(&open(&crashed(&data)));
    for approvals in [&live, &again] {
        assert_eq!(approvals.find(&binding("{}"), NOW + 10 * MINUTE - 1).unwrap().state, denied);
        assert_eq!(ask(approvals, "{}", NOW + 1).await.unwrap().state, denied);
        assert_eq!(approvals.find(&binding("{}"), NOW + 10 * MINUTE), None);
    }
    let anew = ask(&live, "{}", NOW + 10 * MINUTE).await.unwrap();
    assert_eq!(anew.state, TicketState::Pending);
    assert_ne!(anew.id, ticket.id);
}

#[tokio::test]
async fn only_what_is_pending_and_in_time_can_be_decided() {
    let data = folder();
    let live = approvals(&open(&data));
    let decide = |handle: String, decision, now_ms| {
        let live = &live;
        async move { live.decide(&handle, decision, approver("ann", 3000), now_ms).await.map(|approval| approval.state) }
    };
    assert_eq!(decide("K7-42".to_owned(), Decision::approve(), NOW).await, Err(DecideFault::Unknown("K7-42".to_owned())));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let gone = |state| Err(DecideFault::NotPending { code: ticket.code.clone(), state });
    assert_eq!(decide(ticket.code.clone(), Decision::approve(), NOW + 10 * MINUTE).await, gone(ApprovalState::Expired));
    assert_eq!(decide(ticket.code.clone(), Decision::approve(), NOW).await, Ok(ApprovalState::Approved));
    assert_eq!(decide(ticket.code.clone(), Decision::deny(None), NOW).await, gone(ApprovalState::Approved));
    assert!(live.claim(&ticket.id, NOW));
    assert_eq!(decide(ticket.code.clone(), Decision::deny(None), NOW).await, gone(ApprovalState::Executing));
    let fault = decide(ticket.code.clone(), Decision::approve(), NOW).await.unwrap_err();
    assert!(fault.to_string().contains("executing"), "{fault}");
}

#[tokio::test]
async fn nobody_approves_for_their_own_agent() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let attempt = |approver| live.decide(&ticket.code, Decision::approve(), approver, NOW);
    for name in ["olga", "Olga ", "team-lead", "bot"] {
        let fault = attempt(approver(name, 3000)).await.unwrap_err();
        assert!(matches!(fault, DecideFault::Owner { .. }), "{name}: {fault}");
    }
    let fault = attempt(approver("ann", 1000)).await.unwrap_err();
    assert!(matches!(fault, DecideFault::SameUser { uid: 1000, .. }), "{fault}");
    assert_eq!(live.show(&ticket.code).unwrap().approval.decisions, []);

    let empty = LiveApprovals::load(&store, std::sync::Arc::default(), Settings::default(), &[]).unwrap();
    let fault = empty.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap_err();
    assert!(matches!(fault, DecideFault::AgentGone(_)), "{fault}");

    live.set_settings(Settings { allow_same_user: true, ..Settings::default() });
    assert_eq!(attempt(approver("olga", 1000)).await.unwrap().state, ApprovalState::Approved);
}

/// A hop lifts nothing: whoever may not approve for an agent may not for those that it handed its task on to.
#[tokio::test]
async fn nobody_approves_what_their_own_agents_handed_on() {
    let data = folder();
    let store = open(&data);
    let agents = agents();
    let run = |id: &str, owner: &str, uid: u32| {
        let mut entry = agent(id, &[uid]);
        entry.agent.owner = owner.to_owned();
        entry
    };
    agents.set([entries(), vec![run("lead", "lena", 4000), run("boss", "boris", 5000)]].concat());
    let live = LiveApprovals::load(&store, agents.clone(), Settings::default(), &[]).unwrap();
    let delegator = |agent: &str, owner: &str| Delegator { agent: agent.parse().unwrap(), owner: owner.to_owned() };
    let chain = [delegator("lead", "grace"), delegator("boss", "gustav")];
    let ticket = ask_below(&live, &chain, &binding("{}"), ("{}", &[requirement(1, None)]), NOW).await.unwrap();
    // It survives a restart too.
    let again = LiveApprovals::load(&open(&crashed(&data)), agents.clone(), Settings::default(), &[]).unwrap();
    assert_eq!(again.show(&ticket.code).unwrap().approval.delegators, chain);
    for live in [&live, &again] {
        let attempt = |approver| live.decide(&ticket.code, Decision::approve(), approver, NOW);
        for (name, of) in
            [("lead", "lead"), ("Lena ", "lead"), ("grace", "lead"), ("boss", "boss"), ("boris", "boss"), ("GUSTAV", "boss")]
        {
            let fault = attempt(approver(name, 3000)).await.unwrap_err();
            assert!(matches!(&fault, DecideFault::Delegator { agent, .. } if agent.as_str() == of), "{name}: {fault}");
        }
        for (uid, of) in [(4000, "lead"), (5000, "boss")] {
            let fault = attempt(approver("ann", uid)).await.unwrap_err();
            assert!(matches!(&fault, DecideFault::SameUser { agent, .. } if agent.as_str() == of), "{uid}: {fault}");
        }
        assert!(matches!(attempt(approver("olga", 3000)).await.unwrap_err(), DecideFault::Owner { .. }));
        assert_eq!(live.show(&ticket.code).unwrap().approval.decisions, []);
    }
    // Who one of them is, can't be said any more: nobody knows whom to keep out.
    agents.set([entries(), vec![run("lead", "lena", 4000)]].concat());
    let fault = live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap_err();
    assert!(matches!(&fault, DecideFault::AgentGone(agent) if agent.as_str() == "boss"), "{fault}");
    agents.set([entries(), vec![run("lead", "lena", 4000), run("boss", "boris", 5000)]].concat());
    let decided = live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    assert_eq!(decided.state, ApprovalState::Approved);
}

/// What was stored before calls said who handed them on.
#[tokio::test]
async fn an_approval_without_a_chain_is_read_and_written_as_ever() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let approval = live.show(&ticket.code).unwrap().approval;
    let text = serde_json::to_string(&approval).unwrap();
    assert!(!text.contains("delegators"), "{text}");
    assert_eq!(serde_json::from_str::<crate::Approval>(&text).unwrap(), approval);
}

#[tokio::test]
async fn an_owner_may_say_no() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let denied = live.decide(&ticket.code, Decision::deny(None), approver("olga", 1000), NOW).await.unwrap();
    assert_eq!(denied.state, ApprovalState::Denied);
}

#[tokio::test]
async fn a_quorum_is_of_distinct_persons() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask_for(&live, &binding("{}"), "{}", &[requirement(1, None), requirement(2, None)], NOW).await.unwrap();
    let yes = |approver| live.decide(&ticket.code, Decision::approve(), approver, NOW);
    assert_eq!(yes(approver("ann", 3000)).await.unwrap().state, ApprovalState::Pending);
    assert!(!live.claim(&ticket.id, NOW));
    let passkey =
        Approver { uid: None, name: "ANN".to_owned(), method: ApproverMethod::Passkey, owns: BTreeSet::new(), enrolled_by: None };
    for same in [approver("ann", 3001), approver(" ann ", 3001), approver("bob", 3000)] {
        let fault = yes(same.clone()).await.unwrap_err();
        assert_eq!(fault, DecideFault::AlreadyApproved { code: ticket.code.clone(), missing: 1 }, "{same:?}");
    }
    for unlike in [approver("root", 0), passkey] {
        assert!(matches!(yes(unlike.clone()).await, Err(DecideFault::Method { .. })), "{unlike:?}");
    }
    let again = approvals(&open(&crashed(&data)));
    let decided = again.decide(&ticket.code, Decision::approve(), approver("bob", 3001), NOW).await.unwrap();
    assert_eq!((decided.state, decided.decisions.len()), (ApprovalState::Approved, 2));
    let denied = live.decide(&ticket.code, Decision::deny(None), approver("ann", 3000), NOW).await.unwrap();
    assert_eq!(denied.state, ApprovalState::Denied, "one no ends it");
}

/// Root can act as any user, so nobody is told apart from it; and no user counts twice, whatever names it goes by.
#[tokio::test]
async fn root_and_anybody_are_one_person() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask_for(&live, &binding("{}"), "{}", &[requirement(2, None)], NOW).await.unwrap();
    let yes = |approver| live.decide(&ticket.code, Decision::approve(), approver, NOW);
    for first in [approver("root", 0), approver("toor", 0), Approver { uid: None, ..approver("bob", 1) }] {
        assert!(matches!(yes(first.clone()).await, Err(DecideFault::Method { .. })), "{first:?}");
    }
    assert_eq!(yes(approver("ann", 3000)).await.unwrap().state, ApprovalState::Pending);
    assert!(matches!(yes(approver("root", 0)).await, Err(DecideFault::Method { .. })));
    assert!(!live.claim(&ticket.id, NOW));
}

#[tokio::test]
async fn a_decision_of_a_question_made_void_meanwhile_does_not_count() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let yes = live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW);
    let (decided, void) = tokio::join!(yes, live.invalidate("drift", NOW, |_| true));
    // Whichever the writer's thread took first: it can't be used.
    assert_eq!(void.unwrap().len(), 1);
    if let Err(fault) = decided {
        assert_eq!(fault, DecideFault::NotPending { code: ticket.code.clone(), state: ApprovalState::Invalidated });
    }
    assert!(!live.claim(&ticket.id, NOW));
    let again = LiveApprovals::load(&open(&crashed(&data)), agents(), Settings::default(), &[]).unwrap();
    assert_eq!(again.show(ticket.id.as_str()).unwrap().approval.state, ApprovalState::Invalidated);
}

/// Two are two persons whatever the class: the same rules tell them apart.
#[tokio::test]
async fn a_quorum_of_two_is_two_persons_whatever_the_class() {
    let data = folder();
    let live = approvals(&open(&data));
    let passkey = |name: &str| Approver { uid: None, method: ApproverMethod::Passkey, ..approver(name, 1) };
    let nobodys = |name: &str| Approver { uid: None, ..approver(name, 1) };
    // One credential typed by two names, a passkey and a user, and root with anybody: each could be one person.
    for (arguments, first, second) in [
        ("[1]", nobodys("ann"), nobodys("bob")),
        ("[2]", passkey("ann"), approver("bob", 3001)),
        ("[3]", approver("ann", 3000), passkey("bob")),
        ("[4]", approver("root", 0), approver("bob", 3001)),
        ("[5]", passkey("ann"), passkey("Ann ")),
    ] {
        let ticket = ask_for(&live, &binding(arguments), arguments, &[requirement(2, None)], NOW).await.unwrap();
        let one = live.decide(ticket.id.as_str(), Decision::approve(), first, NOW).await;
        let two = live.decide(ticket.id.as_str(), Decision::approve(), second, NOW).await;
        assert!(one.is_err() || two.is_err(), "{arguments}: {two:?}");
        assert_eq!(live.show(ticket.id.as_str()).unwrap().approval.state, ApprovalState::Pending, "{arguments}");
    }
}
