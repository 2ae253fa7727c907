//! Races, with real threads.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{Approvals as _, Claimed};
use tokio::task::JoinSet;

use super::{NOW, approvals, approver, ask, crashed, folder, open};
use crate::{ApprovalState, DecideFault, Decision, Which};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_who_ask_at_once_ask_one_question() {
    let data = folder();
    let live = Arc::new(approvals(&open(&data)));
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let live = Arc::clone(&live);
        asking.spawn(async move { ask(&live, "{}", NOW).await.unwrap().id });
    }
    let ids: BTreeSet<_> = asking.join_all().await.into_iter().collect();
    assert_eq!((ids.len(), live.list(Which::All).len()), (1, 1));
    assert_eq!(approvals(&open(&crashed(&data))).list(Which::All).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_claims_one_wins() {
    let data = folder();
    let store = open(&data);
    let live = Arc::new(approvals(&store));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    let mut claiming = JoinSet::new();
    for _ in 0..50 {
        let (live, id) = (Arc::clone(&live), ticket.id.clone());
        claiming.spawn(async move {
            let is_mine = live.claim(&id, NOW);
            if is_mine {
                live.keep_claim(&id, Claimed::Approval, NOW);
            }
            is_mine
        });
    }
    let won = claiming.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    store.set_meta("barrier", Some("")).await.unwrap();
    let again = approvals(&open(&crashed(&data)));
    assert_eq!(again.show(ticket.id.as_str()).unwrap().approval.state, ApprovalState::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_approvers_who_race_one_decides() {
    let data = folder();
    let live = Arc::new(approvals(&open(&data)));
    let ticket = ask(&live, "{}", NOW).await.unwrap();
    let mut deciding = JoinSet::new();
    for number in 0..20 {
        let (live, code) = (Arc::clone(&live), ticket.code.clone());
        let decision = if number % 2 == 0 { Decision::approve() } else { Decision::deny(None) };
        deciding.spawn(async move { live.decide(&code, decision, approver(&format!("p{number}"), 3000 + number), NOW).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = deciding.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 19));
    for fault in lost.into_iter().filter_map(Result::err) {
        assert!(matches!(fault, DecideFault::NotPending { .. } | DecideFault::BeingDecided(_)), "{fault}");
    }
    assert_eq!(live.show(&ticket.code).unwrap().approval.decisions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_is_woken_by_whatever_ends_the_question() {
    let data = folder();
    let live = Arc::new(approvals(&open(&data)));
    for ending in 0..4 {
        let arguments = ending.to_string();
        let ticket = ask(&live, &arguments, NOW).await.unwrap();
        let waiting = tokio::spawn({
            let (live, id) = (Arc::clone(&live), ticket.id.clone());
            async move { live.decided(&id).await }
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), live.decided(&ticket.id)).await.is_err());
        match ending {
            0 => drop(live.decide(&ticket.code, Decision::approve(), approver("ann", 3000), NOW).await.unwrap()),
            1 => drop(live.decide(&ticket.code, Decision::deny(None), approver("ann", 3000), NOW).await.unwrap()),
            2 => drop(live.invalidate("drift", NOW, |_| true).await.unwrap()),
            _ => drop(live.expire(ticket.approve_by_ms).await.unwrap()),
        }
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        live.decided(&ticket.id).await;
    }
    live.decided(&"apr-unknown".parse().unwrap()).await;
}

#[tokio::test]
async fn a_question_whose_asker_goes_away_stays() {
    let data = folder();
    let store = open(&data);
    let live = approvals(&store);
    {
        let mut asking = Box::pin(ask(&live, "{}", NOW));
        let _ = tokio::time::timeout(Duration::ZERO, &mut asking).await;
    }
    store.set_meta("barrier", Some("")).await.unwrap();
    assert_eq!(live.list(Which::Open).len(), 1);
    assert_eq!(approvals(&open(&crashed(&data))).list(Which::Open).len(), 1);
}
