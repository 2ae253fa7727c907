//! Several questions decided at once: all of them or none.

use bailiwick_pipeline::{
    ids::ApprovalId,
    ports::{Approvals as _, Binding},
};
use bailiwick_schemas::canonical::Digest;

use super::{NOW, approvals, approver, ask, ask_for, binding, crashed, folder, open, requirement};
use crate::{AllowanceWanted, Approval, ApprovalState, Approver, DecideFault, Decision, LiveApprovals, batch_digest};

fn shown(live: &LiveApprovals, ids: &[ApprovalId]) -> Digest {
    let digest = |id: &ApprovalId| live.show(id.as_str()).unwrap().approval.binding.digest();
    batch_digest(&ids.iter().map(digest).collect::<Vec<_>>())
}

async fn three(live: &LiveApprovals) -> Vec<ApprovalId> {
    let mut ids = Vec::new();
    for arguments in ["1", "2", "3"] {
        ids.push(ask(live, arguments, NOW).await.unwrap().id);
    }
    ids
}

fn states(live: &LiveApprovals, ids: &[ApprovalId]) -> Vec<ApprovalState> {
    ids.iter().map(|id| live.show(id.as_str()).unwrap().approval.state).collect()
}

async fn approve(live: &LiveApprovals, ids: &[ApprovalId], digest: &Digest, by: Approver) -> Result<Vec<Approval>, DecideFault> {
    live.decide_batch(ids, digest, Decision::approve(), by, NOW).await
}

#[tokio::test]
async fn a_batch_is_decided_whole_and_each_is_used_once() {
    let data = folder();
    let live = approvals(&open(&data));
    let ids = three(&live).await;
    let digest = shown(&live, &ids);
    let decided = live.decide_batch(&ids, &digest, Decision::approve(), approver("ann", 3000), NOW).await.unwrap();
    assert_eq!(decided.len(), 3);
    let again = approvals(&open(&crashed(&data)));
    for id in &ids {
        let approval = again.show(id.as_str()).unwrap().approval;
        // What was decided with it can be made again from each of them.
        assert_eq!((approval.state, batch_digest(&approval.decisions[0].batch)), (ApprovalState::Approved, digest));
        assert!(live.claim(id, NOW) && !live.claim(id, NOW));
    }
}

#[tokio::test]
async fn a_batch_that_is_not_what_was_shown_is_refused_whole() {
    let data = folder();
    let live = approvals(&open(&data));
    let ids = three(&live).await;
    let digest = shown(&live, &ids);
    let ann = || approver("ann", 3000);
    let mut turned = ids.clone();
    turned.reverse();
    assert_eq!(approve(&live, &turned, &digest, ann()).await, Err(DecideFault::Changed), "another order");
    assert_eq!(approve(&live, &ids[..2], &digest, ann()).await, Err(DecideFault::Changed), "some of them");
    let twice = [ids[0].clone(), ids[0].clone()];
    assert!(matches!(approve(&live, &twice, &digest, ann()).await, Err(DecideFault::NoBatch(_))));
    assert!(matches!(approve(&live, &[], &digest, ann()).await, Err(DecideFault::NoBatch(_))));
    let allow = Some(AllowanceWanted { any: [].into(), uses: 1, until_ms: NOW + 1 });
    let widened = live.decide_batch(&ids, &digest, Decision { allow, ..Decision::approve() }, ann(), NOW).await;
    assert!(matches!(widened, Err(DecideFault::NoBatch(_))));
    let own = approve(&live, &ids, &digest, approver("olga", 3000)).await;
    assert!(matches!(own, Err(DecideFault::Owner { .. })));
    let other = Binding { agent: "other".parse().unwrap(), ..binding("4") };
    let other = ask_for(&live, &other, "4", &[requirement(1, None)], NOW).await.unwrap().id;
    let mixed = [ids[0].clone(), other];
    assert!(matches!(approve(&live, &mixed, &shown(&live, &mixed), ann()).await, Err(DecideFault::NoBatch(_))));
    assert_eq!(states(&live, &ids), [ApprovalState::Pending; 3]);
    // One of them is over: nothing is decided about the others.
    live.withdraw(&ids[2], NOW).await.unwrap();
    let fault = approve(&live, &ids, &digest, ann()).await.unwrap_err();
    assert!(matches!(fault, DecideFault::NotPending { state: ApprovalState::Withdrawn, .. }));
    assert_eq!(states(&live, &ids), [ApprovalState::Pending, ApprovalState::Pending, ApprovalState::Withdrawn]);
}
