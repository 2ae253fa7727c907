//! What ends a question besides a decision or its use.

use std::collections::BTreeSet;

use bailiwick_pipeline::{ids::ApprovalId, ports::Binding};

use super::{
    LiveApprovals,
    book::Book,
    record::{Approval, ApprovalState},
    rows,
};
use crate::fault::WriteFault;

/// An approval that is over is listed for so long: three days. What happened is in the trail.
const REMEMBERED_MS: u64 = 3 * 24 * 60 * 60 * 1000;

impl LiveApprovals {
    /// Makes void what waits or is approved for calls that can't be any more: of an ended grant, a drifted tool, a changed
    /// connector. Memory first; durable when it returns. Returns what was made void.
    pub async fn invalidate(
        &self,
        why: &str,
        now_ms: u64,
        is_concerned: impl Fn(&Binding) -> bool,
    ) -> Result<Vec<Approval>, WriteFault> {
        // Not over an await: whoever judges need not be `Send`.
        let voided = self.void(why, now_ms, &is_concerned);
        drop(is_concerned);
        voided.await
    }

    /// The same, in memory when this returns; durable once what is returned has ended.
    pub fn void(
        &self,
        why: &str,
        now_ms: u64,
        is_concerned: &dyn Fn(&Binding) -> bool,
    ) -> impl Future<Output = Result<Vec<Approval>, WriteFault>> + use<> {
        let mut book = self.book();
        let concerned = ids(&book, |approval| is_concerned(&approval.binding));
        let changed = close(&mut book, &concerned, ApprovalState::Invalidated, now_ms, Some(why));
        // Queued under the lock: the store follows in the same order.
        let stored = (!changed.is_empty()).then(|| self.put(changed.clone(), BTreeSet::new()));
        drop(book);
        async move {
            if let Some(stored) = stored {
                stored.await?;
            }
            Ok(changed)
        }
    }

    /// Takes back a question that is still pending. Says whether there was one.
    pub async fn withdraw(&self, id: &ApprovalId, now_ms: u64) -> Result<bool, WriteFault> {
        let (changed, stored) = {
            let mut book = self.book();
            let concerned = ids(&book, |approval| approval.id == *id && approval.state == ApprovalState::Pending);
            let changed = close(&mut book, &concerned, ApprovalState::Withdrawn, now_ms, None);
            (!changed.is_empty(), self.put(changed, BTreeSet::new()))
        };
        stored.await?;
        Ok(changed)
    }

    /// Closes what nobody decided or used in time, wakes who waits for it, and forgets what was over long ago. Returns what was
    /// closed.
    pub async fn expire(&self, now_ms: u64) -> Result<Vec<Approval>, WriteFault> {
        let (changed, stored) = {
            let mut book = self.book();
            let is_over = |until: Option<u64>| until.is_none_or(|until| until <= now_ms);
            let expired = ids(&book, |approval| {
                approval.state == ApprovalState::Pending
                    && is_over(Some(approval.approve_by_ms))
                    && !is_being_decided(&book, approval)
            });
            let lapsed = ids(&book, |approval| approval.state == ApprovalState::Approved && is_over(approval.execute_by_ms));
            let mut changed = close(&mut book, &expired, ApprovalState::Expired, now_ms, None);
            changed.extend(close(&mut book, &lapsed, ApprovalState::Lapsed, now_ms, None));
            let forgotten = forget(&mut book, now_ms);
            if changed.is_empty() && forgotten.is_empty() {
                return Ok(changed);
            }
            (changed.clone(), self.put(changed, forgotten))
        };
        stored.await?;
        Ok(changed)
    }

    fn put(
        &self,
        changed: Vec<Approval>,
        forgotten: BTreeSet<ApprovalId>,
    ) -> impl Future<Output = Result<(), WriteFault>> + use<> {
        self.store.write(move |connection| {
            changed.iter().try_for_each(|approval| rows::update(connection, approval))?;
            rows::delete(connection, &forgotten)
        })
    }
}

/// The open ones that are meant.
fn ids(book: &Book, is_meant: impl Fn(&Approval) -> bool) -> Vec<ApprovalId> {
    book.open().filter(|entry| is_meant(&entry.approval)).map(|entry| entry.approval.id.clone()).collect()
}

/// A decision that was made in time and is on its way to the disk counts.
fn is_being_decided(book: &Book, approval: &Approval) -> bool {
    book.entry(&approval.id).is_some_and(|entry| entry.is_being_decided)
}

fn close(book: &mut Book, ids: &[ApprovalId], state: ApprovalState, now_ms: u64, note: Option<&str>) -> Vec<Approval> {
    ids.iter().filter_map(|id| book.advance(id, state, Some(now_ms), note)).collect()
}

fn forget(book: &mut Book, now_ms: u64) -> BTreeSet<ApprovalId> {
    // One that is executing is still to be finished.
    let is_old = |approval: &Approval| {
        approval.state != ApprovalState::Executing
            && approval.ended_at_ms.is_some_and(|at| at.saturating_add(REMEMBERED_MS) < now_ms)
    };
    let old: BTreeSet<ApprovalId> =
        book.entries().filter(|entry| is_old(&entry.approval)).map(|entry| entry.approval.id.clone()).collect();
    for id in &old {
        book.remove(id);
    }
    old
}
