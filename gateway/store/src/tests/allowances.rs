//! Calls of the like of an approved one: how far they go, and what ends them.

use std::{collections::BTreeSet, sync::Arc};

use bailiwick_pipeline::{
    ids::{ApprovalId, CallId},
    ports::{Approvals as _, Binding, Claimed},
};
use bailiwick_policy::{Band, Confirm, Requirement};
use bailiwick_schemas::canonical::{Digest, digest};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{HOUR, MINUTE, NOW, agents, approver, ask_of, binding, claimed, crashed, folder, open, requirement};
use crate::{AllowanceWanted, ApprovalState, DecideFault, Decision, LiveApprovals, ReplayedIntent, Settings, Store, Use, Which};

const ON: fn() -> Settings = || Settings { remember: true, ..Settings::default() };

fn load(store: &Store) -> LiveApprovals {
    LiveApprovals::load(store, agents(), ON(), &[]).unwrap()
}

fn refund(id: &str, cents: u64) -> Value {
    json!({"id": id, "amount_cents": cents, "lines": [{"note": "x"}]})
}

fn bound(arguments: &Value) -> Binding {
    Binding { args_digest: digest(arguments), ..binding("") }
}

fn rememberable() -> Requirement {
    Requirement { remember: true, ..requirement(1, None) }
}

async fn asked(live: &LiveApprovals, band: Band, needs: &[Requirement]) -> ApprovalId {
    let arguments = refund("T-1", 100);
    ask_of(live, band, &[], &bound(&arguments), (&arguments.to_string(), needs), NOW).await.unwrap().id
}

fn wanted(any: &[&str], uses: u32) -> AllowanceWanted {
    AllowanceWanted { any: any.iter().map(|one| (*one).to_owned()).collect(), uses, until_ms: NOW + 30 * MINUTE }
}

async fn allow(live: &LiveApprovals, id: &ApprovalId, allow: AllowanceWanted) -> Result<(), DecideFault> {
    let decision = Decision { allow: Some(allow), ..Decision::approve() };
    live.decide(id.as_str(), decision, approver("ann", 3000), NOW).await.map(drop)
}

fn call(number: u64) -> CallId {
    CallId::new(number, [2; 10])
}

/// Whether a call with these arguments goes; where it does, its use is taken.
fn goes(live: &LiveApprovals, arguments: &Value, now_ms: u64) -> bool {
    let found = live.allowance(&bound(arguments), arguments, now_ms);
    found.is_some_and(|id| {
        let goes = live.claim_allowance(&id, &call(now_ms), now_ms);
        if goes {
            live.keep_claim(&id, Claimed::Allowance, now_ms);
        }
        goes
    })
}

#[tokio::test]
async fn only_calls_of_its_like_go_and_only_so_many() {
    let data = folder();
    let live = load(&open(&data));
    let id = asked(&live, Band::Medium, &[rememberable()]).await;
    assert!(!goes(&live, &refund("T-2", 100), NOW), "nobody has said so");
    allow(&live, &id, wanted(&["/id", "/lines/0/note"], 2)).await.unwrap();
    let mut other_note = refund("T-3", 100);
    other_note["lines"][0]["note"] = json!({"deep": [1]});
    for foreign in [
        refund("T-2", 101),
        json!({"amount_cents": 100, "lines": [{"note": "x"}]}),
        json!({"id": "T-2", "amount_cents": 100, "lines": [{"note": "x"}], "more": null}),
        json!({"id": "T-2", "amount_cents": 100, "lines": [{"note": "x"}, {"note": "x"}]}),
        json!({"id": "T-2", "amount_cents": 100, "lines": []}),
        json!({"id": "T-2", "amount_cents": 100.0, "lines": [{"note": "x"}]}),
        json!(null),
        json!([]),
    ] {
        assert!(!goes(&live, &foreign, NOW), "{foreign}");
    }
    let alike = refund("T-2", 100);
    for other in [
        Binding { agent: "other".parse().unwrap(), ..bound(&alike) },
        Binding { grant: "elsewhere".parse().unwrap(), ..bound(&alike) },
        Binding { grant_revision: 2, ..bound(&alike) },
        Binding { connector_fingerprint: Digest::of(b"x"), ..bound(&alike) },
        Binding { tool: "tickets__close".to_owned(), ..bound(&alike) },
        Binding { tool_digest: Digest::of(b"x"), ..bound(&alike) },
        Binding { needs: ["more\u{1f}x\u{1f}1\u{1f}-\u{1f}approver".to_owned()].into(), ..bound(&alike) },
    ] {
        assert_eq!(live.allowance(&other, &alike, NOW), None, "{other:?}");
    }
    assert!(goes(&live, &alike, NOW) && goes(&live, &other_note, NOW + 1));
    assert!(!goes(&live, &alike, NOW + 2), "two were allowed");
    // The call that was approved has its own use.
    assert!(live.claim(&id, NOW + 2));
    let uses = live.show(id.as_str()).unwrap().approval.allowance.unwrap().uses;
    assert_eq!(uses, [Use { call: call(NOW), at_ms: NOW }, Use { call: call(NOW + 1), at_ms: NOW + 1 }]);
}

#[tokio::test]
async fn what_may_not_be_allowed() {
    let data = folder();
    let live = load(&open(&data));
    let refused = |fault: Result<(), DecideFault>| matches!(fault, Err(DecideFault::NotAllowable { .. }));
    let two = Requirement { confirm: Confirm::TwoPerson, ..rememberable() };
    let quorum = Requirement { remember: true, ..requirement(2, None) };
    for (band, needs, what) in [
        (Band::Low, vec![requirement(1, None)], "no rule says so"),
        (Band::Low, vec![rememberable(), Requirement { rule: "other".into(), ..requirement(1, None) }], "one rule doesn't"),
        (Band::Low, vec![two], "two persons"),
        (Band::Low, vec![quorum], "a quorum"),
        (Band::Critical, vec![rememberable()], "critical"),
    ] {
        let live = load(&open(&folder()));
        let id = asked(&live, band, &needs).await;
        assert!(refused(allow(&live, &id, wanted(&["/id"], 1)).await), "{what}");
        assert_eq!(live.show(id.as_str()).unwrap().approval.decisions, [], "{what}");
    }
    let id = asked(&live, Band::Low, &[rememberable()]).await;
    let base = wanted(&["/id"], 1);
    for (wrong, what) in [
        (AllowanceWanted { uses: 0, ..base.clone() }, "none"),
        (AllowanceWanted { uses: 101, ..base.clone() }, "too many"),
        (AllowanceWanted { until_ms: NOW, ..base.clone() }, "over"),
        (AllowanceWanted { until_ms: NOW + HOUR + 1, ..base.clone() }, "too long"),
        (wanted(&[""], 1), "everything"),
        (wanted(&["/nothing"], 1), "not there"),
        (wanted(&["id"], 1), "no pointer"),
        (wanted(&["/lines", "/lines/0"], 1), "one inside another"),
    ] {
        assert!(refused(allow(&live, &id, wrong).await), "{what}");
    }
    live.set_settings(Settings::default());
    assert!(refused(allow(&live, &id, base.clone()).await), "off by default");
    live.set_settings(ON());
    allow(&live, &id, base).await.unwrap();
    live.set_settings(Settings::default());
    assert!(!goes(&live, &refund("T-2", 100), NOW), "switched off since");
    live.set_settings(ON());
    assert!(goes(&live, &refund("T-2", 100), NOW));
}

#[tokio::test]
async fn whatever_ends_an_approval_ends_what_it_allows() {
    for ending in ["revoked", "invalidated", "time", "invalidated after use"] {
        let data = folder();
        let live = load(&open(&data));
        let id = asked(&live, Band::Medium, &[rememberable()]).await;
        allow(&live, &id, wanted(&["/id"], 9)).await.unwrap();
        let mut now_ms = NOW;
        match ending {
            "revoked" => drop(live.revoke(id.as_str(), None, approver("bob", 3001), NOW).await.unwrap()),
            "invalidated" => drop(live.invalidate("drift", NOW, |_| true).await.unwrap()),
            "time" => now_ms = NOW + 30 * MINUTE,
            _ => {
                assert!(live.claim(&id, NOW));
                live.finish(&id, bailiwick_pipeline::ports::ClaimEnd::Succeeded);
                assert!(goes(&live, &refund("T-2", 100), NOW), "used itself, it allows on");
                assert_eq!(live.list(Which::Open).len(), 1, "and is listed");
                assert_eq!(live.invalidate("drift", NOW, |_| true).await.unwrap().len(), 1);
                assert_eq!(live.show(id.as_str()).unwrap().approval.state, ApprovalState::Succeeded);
            }
        }
        for live in [&live, &load(&open(&crashed(&data)))] {
            assert!(!goes(live, &refund("T-2", 100), now_ms), "{ending}");
        }
        live.expire(now_ms).await.unwrap();
        assert!(live.list(Which::Open).is_empty(), "{ending}");
    }
    // Used, and taken back: one word for both.
    let data = folder();
    let live = load(&open(&data));
    let id = asked(&live, Band::Medium, &[rememberable()]).await;
    allow(&live, &id, wanted(&["/id"], 9)).await.unwrap();
    assert!(live.claim(&id, NOW));
    let revoked = live.revoke(id.as_str(), None, approver("bob", 3001), NOW).await.unwrap();
    assert_eq!(revoked.state, ApprovalState::Executing, "what runs, runs");
    assert!(!goes(&live, &refund("T-2", 100), NOW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_at_once_as_many_go_as_are_allowed() {
    let data = folder();
    let store = open(&data);
    let live = Arc::new(load(&store));
    let id = asked(&live, Band::Medium, &[rememberable()]).await;
    allow(&live, &id, wanted(&["/id"], 7)).await.unwrap();
    let mut calling = JoinSet::new();
    for number in 0..50 {
        let (live, id) = (Arc::clone(&live), id.clone());
        calling.spawn(async move {
            let goes = live.claim_allowance(&id, &call(number), NOW);
            live.keep_claim(&id, Claimed::Allowance, NOW);
            goes
        });
    }
    assert_eq!(calling.join_all().await.into_iter().filter(|went| *went).count(), 7);
    store.set_meta("barrier", Some("")).await.unwrap();
    assert!(!goes(&load(&open(&crashed(&data))), &refund("T-2", 100), NOW));
}

/// A use that is in the trail only was taken; one that is in both is one.
#[tokio::test]
async fn a_use_that_only_the_trail_knows_is_taken() {
    let data = folder();
    let store = open(&data);
    let live = load(&store);
    let id = asked(&live, Band::Medium, &[rememberable()]).await;
    allow(&live, &id, wanted(&["/id"], 3)).await.unwrap();
    assert!(goes(&live, &refund("T-2", 100), NOW));
    store.set_meta("barrier", Some("")).await.unwrap();
    let intent = |number| ReplayedIntent {
        sums: Vec::new(),
        approval: None,
        allowance: Some((id.clone(), Use { call: call(number), at_ms: number })),
        ..claimed(&id)
    };
    let copy = crashed(&data);
    let store = open(&copy);
    let again = LiveApprovals::load(&store, agents(), ON(), &[intent(NOW), intent(NOW + 1)]).unwrap();
    let known = |live: &LiveApprovals| -> BTreeSet<CallId> {
        live.show(id.as_str()).unwrap().approval.allowance.unwrap().uses.into_iter().map(|taken| taken.call).collect()
    };
    assert_eq!(known(&again), [call(NOW), call(NOW + 1)].into());
    assert_eq!(again.show(id.as_str()).unwrap().approval.state, ApprovalState::Approved, "its own use is not taken by that");
    assert!(goes(&again, &refund("T-2", 100), NOW + 2) && !goes(&again, &refund("T-2", 100), NOW + 3));
    store.set_meta("barrier", Some("")).await.unwrap();
    assert_eq!(known(&load(&store)).len(), 3, "and that is stored");
}
