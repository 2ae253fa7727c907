use bailiwick_pipeline::ports::{Approvals as _, ClaimEnd};

use super::{MINUTE, NOW, approver, ask, folder, open};
use crate::{Decision, Habits, LiveApprovals, Settings};

/// Nobody is kept from asking.
fn live(data: &tempfile::TempDir) -> LiveApprovals {
    let settings =
        Settings { max_pending_per_agent: 1000, max_asked_per_hour: 10_000, max_denied_in_row: 1000, ..Settings::default() };
    LiveApprovals::load(&open(data), super::agents(), settings, &[]).unwrap()
}

/// Asks and decides: how often, about what, after how long.
async fn said(live: &LiveApprovals, rounds: std::ops::Range<u32>, decision: impl Fn() -> Decision, after_ms: u64) {
    for round in rounds {
        let ticket = ask(live, &format!("{{\"n\":{round}}}"), NOW).await.unwrap();
        live.decide(ticket.id.as_str(), decision(), approver("ann", 3000), NOW + after_ms).await.unwrap();
    }
}

#[tokio::test]
async fn a_habit_of_saying_yes_is_seen_and_so_is_a_hasty_one() {
    let data = folder();
    let live = live(&data);
    said(&live, 0..49, Decision::approve, 2000).await;
    assert_eq!(live.habits().warnings, Vec::<String>::new(), "too few to mean anything");
    said(&live, 49..50, Decision::approve, MINUTE).await;
    let habits = live.habits();
    assert_eq!((habits.asked, habits.approved, habits.denied, habits.unanswered), (50, 50, 0, 0));
    assert_eq!((habits.median_ms, habits.quick), (Some(2000), 49));
    assert_eq!(habits.warnings.len(), 2, "{:?}", habits.warnings);
    assert!(habits.warnings[0].starts_with("50 of 50 decisions were yes") && habits.warnings[1].contains("within 3 s"));
    let tally = live.tally();
    assert_eq!((tally.requested, tally.approved, tally.quick, tally.decided_ms), (50, 50, 49, 49 * 2000 + MINUTE));
    let habit = &habits.habits[0];
    assert_eq!(
        (habit.rule.as_str(), habit.agent.as_str(), habit.tool.as_str()),
        ("refund-needs-a-person", "bot", "tickets__refund")
    );
    let suggestion = habit.suggestion.as_deref().unwrap();
    assert!(
        suggestion.contains(r#"principal in Bailiwick::Agent::"bot" && action == Bailiwick::Action::"tickets__refund""#),
        "{suggestion}"
    );
    // Three that are refused, and it is no habit any more.
    said(&live, 50..53, || Decision::deny(None), 9000).await;
    let habits = live.habits();
    assert_eq!((habits.denied, habits.habits[0].denied, habits.habits[0].suggestion.clone()), (3, 3, None));
    assert!(habits.warnings.iter().all(|warning| warning.contains("within 3 s")), "{:?}", habits.warnings);
}

#[tokio::test]
async fn the_same_call_again_and_again_is_one_to_allow_for_a_task() {
    let data = folder();
    let live = live(&data);
    for round in 0..20 {
        let now_ms = NOW + round * MINUTE;
        let ticket = ask(&live, "{}", now_ms).await.unwrap();
        live.decide(ticket.id.as_str(), Decision::approve(), approver("ann", 3000), now_ms + 5000).await.unwrap();
        assert!(live.claim(&ticket.id, now_ms + 6000));
        live.finish(&ticket.id, ClaimEnd::Succeeded);
    }
    let habits = live.habits();
    assert_eq!((habits.habits[0].approved, habits.habits[0].alike), (20, 20));
    assert!(habits.habits[0].suggestion.as_deref().unwrap().contains("`@remember`"));
    assert_eq!(habits.quick, 0);
}

#[tokio::test]
async fn what_nobody_answers_is_counted_as_that() {
    let data = folder();
    let live = live(&data);
    ask(&live, "{}", NOW).await.unwrap();
    live.expire(NOW + 60 * MINUTE).await.unwrap();
    assert_eq!((live.habits().unanswered, live.habits().median_ms, live.tally().unanswered), (1, None, 1));
    assert_eq!(Habits::of(&[]), Habits::default());
}
