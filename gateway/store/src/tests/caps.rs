//! How often people are asked, and that ten thousand questions are as quick as ten.

use std::time::{Duration, Instant};

use bailiwick_pipeline::ports::{ApprovalFailure, Approvals as _, Binding};

use super::{HOUR, MINUTE, NOW, agents, approver, ask, ask_for, binding, crashed, folder, open, requirement};
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
        let began = Instant::now();
        for round in 0..200 {
            for (at, code) in codes.iter().enumerate() {
                assert!(live.find(&of(at), NOW).is_some());
                assert!(live.show(code).is_ok());
            }
            assert!(live.expire(NOW + round).await.unwrap().is_empty());
        }
        began.elapsed()
    };
    let (few, many) = (each(10).await, each(10_000).await);
    // A thousand times as many: walking over them would take hundreds of times as long.
    assert!(many < few * 20 + Duration::from_millis(200), "{few:?} {many:?}");
}
