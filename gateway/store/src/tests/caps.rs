//! How often people are asked, and that ten thousand questions are as quick as ten.

use std::time::{Duration, Instant};

use bailiwick_pipeline::ports::{ApprovalFailure, Approvals as _, Binding, TicketState};
use bailiwick_policy::{Band, Confirm, Requirement};

use super::{HOUR, MINUTE, NOW, agents, approver, ask, ask_for, ask_of, binding, crashed, folder, open, requirement};
use crate::{Decision, LiveApprovals, Settings, Which};

fn with(store: &crate::Store, settings: Settings) -> LiveApprovals {
    LiveApprovals::load(store, agents(), settings, &[]).unwrap()
}

/// Attack 96: five hundred questions, and one agent leaves room for the others.
#[tokio::test]
async fn f96_people_are_asked_so_often_and_one_agent_takes_half_of_it() {
    let data = folder();
    let settings = Settings { max_asked_per_hour: 20, max_pending_per_agent: 1000, ..Settings::default() };
    let live = with(&open(&data), settings);
    let mut asked = 0;
    for number in 0..500_u64 {
        match ask(&live, &number.to_string(), NOW + number * 100).await {
            Ok(_) => asked += 1,
            Err(fault) => assert_eq!(fault, ApprovalFailure::TooManyAsked(10)),
        }
    }
    assert_eq!(asked, 10);
    let of_other = |at: usize, now_ms| {
        let (other, live) = (Binding { agent: "other".parse().unwrap(), ..binding(&at.to_string()) }, &live);
        async move { ask_for(live, &other, "{}", &[requirement(1, None)], now_ms).await }
    };
    for at in 0..10 {
        of_other(at, NOW + MINUTE).await.unwrap();
    }
    assert_eq!(of_other(10, NOW + MINUTE).await, Err(ApprovalFailure::TooManyAsked(20)));
    // A restart forgets none of them; an hour does.
    let again = with(&open(&crashed(&data)), settings);
    assert_eq!(ask(&again, "more", NOW + MINUTE).await, Err(ApprovalFailure::TooManyAsked(20)));
    assert!(ask(&again, "more", NOW + HOUR).await.is_ok());
    assert!(ask(&live, "1", NOW + MINUTE).await.is_ok(), "joining asks nobody");
}

/// Attack 96: after some denials in a row nobody is asked for that grant.
#[tokio::test]
async fn f96_nobody_is_asked_for_a_grant_that_is_denied_again_and_again() {
    let data = folder();
    let live = with(&open(&data), Settings::default());
    for at in 0..3_u64 {
        let ticket = ask(&live, &at.to_string(), NOW + at).await.unwrap();
        live.decide(&ticket.code, Decision::deny(None), approver("ann", 3000), NOW + at).await.unwrap();
    }
    let last = NOW + 2;
    let unwanted = |retry_ms| Err(ApprovalFailure::Unwanted { grant: "triage".parse().unwrap(), in_a_row: 3, retry_ms });
    assert_eq!(ask(&live, "again", last + 1).await, unwanted(10 * MINUTE - 1));
    let again = with(&open(&crashed(&data)), Settings::default());
    assert_eq!(ask(&again, "again", last + MINUTE).await, unwanted(9 * MINUTE));
    let other = Binding { grant: "elsewhere".parse().unwrap(), ..binding("again") };
    assert!(ask_for(&live, &other, "{}", &[requirement(1, None)], last + 1).await.is_ok(), "another grant is another matter");
    // Later it may ask once more: a no shuts the door again at once, and a yes opens it.
    let late = ask(&live, "late", last + 10 * MINUTE).await.unwrap();
    live.decide(&late.code, Decision::deny(None), approver("ann", 3000), last + 10 * MINUTE).await.unwrap();
    assert!(matches!(ask(&live, "later", last + 11 * MINUTE).await, Err(ApprovalFailure::Unwanted { in_a_row: 4, .. })));
    let fine = ask(&live, "fine", last + 20 * MINUTE).await.unwrap();
    live.decide(&fine.code, Decision::approve(), approver("ann", 3000), last + 20 * MINUTE).await.unwrap();
    for at in 0..2 {
        let ticket = ask(&live, &format!("next {at}"), last + 20 * MINUTE).await.unwrap();
        live.decide(&ticket.code, Decision::deny(None), approver("ann", 3000), last + 20 * MINUTE).await.unwrap();
    }
    assert!(ask(&live, "third", last + 20 * MINUTE).await.is_ok(), "two in a row since the yes");
}

/// What whoever drives the agent is asked by its own client is no question to people, and a yes that the client asserts is none of theirs.
#[tokio::test]
async fn what_the_client_of_an_agent_says_moves_no_brake() {
    let data = folder();
    let store = open(&data);
    let live = with(&store, Settings { max_asked_per_hour: 8, max_pending_per_agent: 1000, ..Settings::default() });
    let of_user = [Requirement { confirm: Confirm::User, ..requirement(1, None) }];
    let user = |at: u64| {
        let (live, of_user, arguments) = (&live, &of_user, format!("user {at}"));
        async move { ask_of(live, Band::Low, &[], &binding(&arguments), (&arguments, of_user), NOW + at).await }
    };
    for at in 0..20 {
        let ticket = user(at).await.unwrap();
        live.confirm_by_user(&ticket.id, "form", NOW).await.unwrap();
    }
    for at in 0..3_u64 {
        let ticket = ask(&live, &at.to_string(), NOW + at).await.unwrap();
        live.decide(&ticket.code, Decision::deny(None), approver("ann", 3000), NOW + at).await.unwrap();
        // Between two noes.
        if at < 2 {
            let yes = user(100 + at).await.unwrap();
            live.confirm_by_user(&yes.id, "form", NOW + at).await.unwrap();
        }
    }
    let unwanted = |asked| matches!(asked, Err(ApprovalFailure::Unwanted { in_a_row: 3, .. }));
    assert!(unwanted(ask(&live, "again", NOW + 3).await));
    let again = with(&open(&crashed(&data)), Settings { max_asked_per_hour: 4, ..Settings::default() });
    assert!(unwanted(ask(&again, "again", NOW + 3).await), "nor after a restart");
}

/// With another grant an agent does not begin anew.
#[tokio::test]
async fn a_no_is_one_under_every_grant_of_its_agent() {
    let data = folder();
    let live = with(&open(&data), Settings::default());
    let under = |grant: &str, arguments: &str| Binding { grant: grant.parse().unwrap(), ..binding(arguments) };
    let needs = [requirement(1, None)];
    let ask_under = |grant: &'static str, arguments: &'static str, now_ms| {
        let (live, needs) = (&live, &needs);
        async move { ask_for(live, &under(grant, arguments), arguments, needs, now_ms).await }
    };
    let deny = |code: String| {
        let live = &live;
        async move { live.decide(&code, Decision::deny(Some("no".to_owned())), approver("ann", 3000), NOW).await.unwrap() }
    };
    deny(ask_under("g1", "wish", NOW).await.unwrap().code).await;
    let state = ask_under("g2", "wish", NOW + 1).await.unwrap().state;
    assert!(matches!(state, TicketState::Denied { .. }), "{state:?}");
    let other = Binding { agent: "other".parse().unwrap(), ..under("g2", "wish") };
    let of_other = ask_for(&live, &other, "wish", &needs, NOW + 1).await.unwrap();
    assert_eq!(of_other.state, TicketState::Pending);
    for (grant, arguments) in [("g2", "b"), ("g3", "c"), ("g4", "d"), ("g5", "e"), ("g6", "f")] {
        deny(ask_under(grant, arguments, NOW).await.unwrap().code).await;
    }
    assert!(matches!(ask_under("g7", "g", NOW + 1).await, Err(ApprovalFailure::Unwanted { in_a_row: 6, .. })));
    assert_eq!(ask_under("g8", "wish", NOW + 10 * MINUTE).await.unwrap().state, TicketState::Pending);
}

/// What is done to one question does not walk over all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_wait_are_as_quick_as_ten() {
    let settings =
        Settings { max_asked_per_hour: 1_000_000, max_pending_per_agent: 3, max_denied_in_row: u32::MAX, ..Settings::default() };
    let each = |count: usize| async move {
        let data = folder();
        let live = with(&open(&data), settings);
        let of = |at: usize| Binding { agent: format!("a{}", at / 2).parse().unwrap(), ..binding(&at.to_string()) };
        let ask_at = |at: usize| {
            let (binding, live) = (of(at), &live);
            async move { ask_for(live, &binding, "{}", &[requirement(1, None)], NOW).await.unwrap() }
        };
        for begin in (0..count).step_by(256) {
            futures_util::future::join_all((begin..count.min(begin + 256)).map(&ask_at)).await;
        }
        assert_eq!(live.list(Which::Open).len(), count);
        // In memory only: what waits for the disk says nothing of the number.
        let codes: Vec<String> = live.list(Which::Open).iter().take(10).map(|one| one.code.clone()).collect();
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let began = Instant::now();
            for round in 0..100 {
                for (at, code) in codes.iter().enumerate() {
                    assert!(live.find(&of(at), NOW).is_some());
                    assert!(live.show(code).is_ok());
                }
                assert!(live.expire(NOW + round).await.unwrap().is_empty());
            }
            best = best.min(began.elapsed());
        }
        best
    };
    let (few, many) = (each(10).await, each(10_000).await);
    // A thousand times as many: walking over them would take hundreds of times as long. The machine may be busy meanwhile.
    assert!(many < few * 40 + Duration::from_millis(300), "{few:?} {many:?}");
}
