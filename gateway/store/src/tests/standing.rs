use std::sync::Arc;

use bailiwick_pipeline::ports::{Approvals as _, Binding, ClaimEnd, Ticket};
use bailiwick_policy::Band;

use super::{MINUTE, NOW, agents, approvals, approver, ask, ask_of, binding, folder, open, requirement};
use crate::{ApprovalState, Decision, LiveApprovals, MovedSince, Settings};

const MANY: u32 = 10_000;

fn roomy() -> Settings {
    Settings { max_pending_per_agent: usize::MAX, max_asked_per_hour: usize::MAX, ..Settings::default() }
}

#[tokio::test]
async fn the_most_risky_come_first_and_then_those_with_the_least_time() {
    let data = folder();
    let live = LiveApprovals::load(&open(&data), agents(), roomy(), &[]).unwrap();
    let asked = [(Band::High, 0), (Band::Critical, 5), (Band::Low, 1), (Band::Critical, 2), (Band::High, 3)];
    for (number, (band, minutes)) in asked.into_iter().enumerate() {
        let arguments = number.to_string();
        let needs = [requirement(1, None)];
        ask_of(&live, band, &[], &binding(&arguments), (&arguments, &needs), NOW + minutes * MINUTE).await.unwrap();
    }
    let waiting = live.waiting(NOW + 6 * MINUTE, 0, 3, |_, _| true);
    let order: Vec<_> = waiting.part.iter().map(|(approval, _)| (approval.band, approval.created_at_ms - NOW)).collect();
    assert_eq!(order, [(Band::Critical, 2 * MINUTE), (Band::Critical, 5 * MINUTE), (Band::High, 0)]);
    assert_eq!(waiting.total, 5);
    let rest = live.waiting(NOW + 6 * MINUTE, 3, 3, |_, _| true);
    assert_eq!(rest.part.iter().map(|(approval, _)| approval.band).collect::<Vec<_>>(), [Band::High, Band::Low]);
    assert_eq!(live.waiting(NOW + 6 * MINUTE, 0, 9, |_, band| band == Band::Low).total, 1);
    assert_eq!(live.waiting(NOW + 11 * MINUTE, 0, 9, |_, _| true).total, 3, "what nobody can decide any more does not wait");
}

#[tokio::test]
async fn what_was_asked_before_about_the_same_call_is_found() {
    let data = folder();
    let live = LiveApprovals::load(&open(&data), agents(), roomy(), &[]).unwrap();
    let first = ask(&live, "1", NOW).await.unwrap();
    live.decide(first.id.as_str(), Decision::deny(None), approver("ann", 3000), NOW).await.unwrap();
    let second = ask(&live, "1", NOW + 30 * MINUTE).await.unwrap();
    ask(&live, "2", NOW + 30 * MINUTE).await.unwrap();
    assert_ne!(first.id, second.id);
    let now = live.show(second.id.as_str()).unwrap().approval;
    let alike: Vec<_> = live.alike(&now).into_iter().map(|other| (other.id, other.state)).collect();
    assert_eq!(alike, [(first.id.clone(), ApprovalState::Denied)]);
    assert_eq!(
        live.ended_last(9, |_, _| true).into_iter().map(|other| other.id).collect::<Vec<_>>(),
        std::slice::from_ref(&first.id)
    );
    assert_eq!(live.standing(&first.id).unwrap().state, ApprovalState::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_that_wait_are_looked_through_as_ten_are() {
    let data = folder();
    let live = Arc::new(LiveApprovals::load(&open(&data), agents(), roomy(), &[]).unwrap());
    let asking: Vec<_> = (0..MANY)
        .map(|number| {
            let live = Arc::clone(&live);
            tokio::spawn(async move {
                let arguments = number.to_string();
                let of = Binding { agent: format!("a{number}").parse().unwrap(), ..binding(&arguments) };
                ask_of(&live, Band::High, &[], &of, (&arguments, &[requirement(1, None)]), NOW + u64::from(number)).await
            })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap().unwrap();
    }
    // What is looked at is what is shown, however many there are: not by the time it takes, but by count.
    let looks = |page: usize| {
        let before = live.looked();
        let waiting = live.waiting(NOW + MINUTE, page * 50, 50, |_, _| true);
        assert_eq!((waiting.part.len(), waiting.total), (50, 10_000));
        assert_eq!(waiting.part[0].0.created_at_ms, NOW + u64::try_from(page).unwrap() * 50);
        live.looked() - before
    };
    assert_eq!((looks(0), looks(1)), (51, 101));
    let before = live.looked();
    assert_eq!(live.waiting(NOW + MINUTE, 0, 0, |_, _| true).total, 10_000);
    assert_eq!(
        live.waiting(NOW + MINUTE, 0, 50, |_, band| band < Band::High).total,
        0,
        "those of others are passed over as a whole"
    );
    assert_eq!(live.looked() - before, 1);
    assert!(live.ended_last(8, |_, _| true).is_empty());
}

#[tokio::test]
async fn what_was_approved_last_is_there_to_be_compared_with_however_it_ended() {
    let data = folder();
    let live = LiveApprovals::load(&open(&data), agents(), roomy(), &[]).unwrap();
    let first = ask(&live, "first", NOW).await.unwrap();
    let shown = |ticket: &Ticket| live.look_up(ticket.id.as_str()).unwrap();
    assert!(live.last_approved(&shown(&first)).is_none());
    live.decide(&first.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    assert!(live.last_approved(&shown(&first)).is_none(), "it is not compared with itself");
    assert!(live.claim(&first.id, NOW));
    live.finish(&first.id, ClaimEnd::Succeeded);
    assert_eq!(live.show(&first.code).unwrap().arguments, None, "nobody needs them to decide any more");
    let second = ask(&live, "second", NOW).await.unwrap();
    let (before, arguments) = live.last_approved(&shown(&second)).unwrap();
    assert_eq!((before.id, arguments.as_ref()), (first.id.clone(), b"first".as_slice()));
    live.decide(&second.code, Decision::deny(None), approver("ann", 3000), NOW).await.unwrap();
    let third = ask(&live, "third", NOW).await.unwrap();
    assert_eq!(live.last_approved(&shown(&third)).unwrap().0.id, first.id, "what was denied is none");
    let other = Binding { agent: "other".parse().unwrap(), ..binding("x") };
    let of_other = ask_of(&live, Band::High, &[], &other, ("x", &[requirement(1, None)]), NOW).await.unwrap();
    assert!(live.last_approved(&shown(&of_other)).is_none(), "each agent by itself");
}

#[tokio::test]
async fn what_moved_is_told_and_nothing_else_is_looked_at() {
    let data = folder();
    let live = LiveApprovals::load(&open(&data), agents(), roomy(), &[]).unwrap();
    let first = ask(&live, "1", NOW).await.unwrap();
    let seen = *live.moves().borrow();
    assert_eq!(live.moved_since(seen), MovedSince::These([].into()));
    let second = ask(&live, "2", NOW).await.unwrap();
    assert_eq!(live.moved_since(seen), MovedSince::These([second.id.clone()].into()));
    let seen = *live.moves().borrow();
    // Who begins to wait moves it, and who ceases to.
    let waits = live.decided(&first.id);
    assert_eq!((live.waiters(&first.id), live.moved_since(seen)), (1, MovedSince::These([first.id.clone()].into())));
    let seen = *live.moves().borrow();
    drop(waits);
    assert_eq!((live.waiters(&first.id), live.moved_since(seen)), (0, MovedSince::These([first.id.clone()].into())));
    // Whoever was away for long looks at everything.
    for _ in 0..3_000 {
        drop(live.decided(&second.id));
    }
    assert_eq!(live.moved_since(seen), MovedSince::Everything);
    assert_eq!(live.look_up(&first.code).unwrap().claim.as_deref(), Some("the customer asked"));
}

/// What an agent asks for is its own, under the grant that it acts under; and what is over is over before somebody takes note of it.
#[tokio::test]
async fn an_agent_finds_its_own_and_nobody_elses() {
    let data = folder();
    let live = approvals(&open(&data));
    let ticket = ask(&live, r#"{"id":1}"#, NOW).await.unwrap();
    let Binding { agent, grant, .. } = binding(r#"{"id":1}"#);
    let stands = |handle: &str, now_ms| live.stands(handle, &agent, &grant, now_ms);
    for handle in [ticket.id.as_str(), &ticket.code, &ticket.code.to_lowercase()] {
        let found = stands(handle, NOW).unwrap();
        assert_eq!((found.id, found.state, found.until_ms), (ticket.id.clone(), "pending", Some(ticket.approve_by_ms)));
    }
    for (agent, grant) in [("other", grant.as_str()), (agent.as_str(), "triage2")] {
        for handle in [ticket.id.as_str(), &ticket.code] {
            assert_eq!(live.stands(handle, &agent.parse().unwrap(), &grant.parse().unwrap(), NOW), None);
        }
    }
    assert_eq!((stands("Z9-99", NOW), stands("", NOW)), (None, None));
    assert_eq!(stands(&ticket.code, ticket.approve_by_ms).unwrap().state, "expired");
    live.decide(ticket.id.as_str(), Decision::deny(Some("not today".to_owned())), approver("ann", 3000), NOW + 1).await.unwrap();
    let denied = stands(&ticket.code, NOW + 2).unwrap();
    assert_eq!((denied.state, denied.reason.as_deref(), denied.until_ms), ("denied", Some("not today"), None));
}
