//! What ends a question besides a decision or its use.

use std::collections::BTreeSet;

use bailiwick_pipeline::{ids::ApprovalId, ports::Binding};

use super::{
    Happened, LiveApprovals,
    book::Book,
    record::{Approval, ApprovalState},
    rows::{self, Moved},
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
        self.void_by(now_ms, &|binding| is_concerned(binding).then(|| why.to_owned()))
    }

    /// The same, where it differs why.
    pub fn void_by(
        &self,
        now_ms: u64,
        why: &dyn Fn(&Binding) -> Option<String>,
    ) -> impl Future<Output = Result<Vec<Approval>, WriteFault>> + use<> {
        self.void_those(now_ms, &|approval| why(&approval.binding))
    }

    /// The same, by what was said about it too: of persons whose word is worth nothing any more.
    pub fn void_those(
        &self,
        now_ms: u64,
        why: &dyn Fn(&Approval) -> Option<String>,
    ) -> impl Future<Output = Result<Vec<Approval>, WriteFault>> + use<> {
        let mut book = self.book();
        let live = book.live().map(|entry| &entry.approval);
        let concerned: Vec<(ApprovalId, String)> =
            live.filter_map(|approval| why(approval).map(|why| (approval.id.clone(), why))).collect();
        let changed: Vec<Approval> = concerned.iter().filter_map(|(id, why)| void(&mut book, id, why, now_ms)).collect();
        // Queued under the lock: the store follows in the same order.
        let stored = (!changed.is_empty()).then(|| self.put(changed.clone(), Happened::Invalidated, now_ms));
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
        let stored = {
            let mut book = self.book();
            if book.entry(id).is_none_or(|entry| entry.approval.state != ApprovalState::Pending) {
                return Ok(false);
            }
            let changed = book.advance(id, ApprovalState::Withdrawn, Some(now_ms), None);
            self.put(changed.into_iter().collect(), Happened::Withdrawn, now_ms)
        };
        stored.await?;
        Ok(true)
    }

    /// Closes what nobody decided or used in time, wakes who waits for it, and forgets what was over long ago. Returns what was
    /// closed.
    pub async fn expire(&self, now_ms: u64) -> Result<Vec<Approval>, WriteFault> {
        let (changed, stored) = {
            let mut book = self.book();
            let due = book.due(now_ms);
            let changed: Vec<Approval> = due.iter().filter_map(|id| run_out(&mut book, id, now_ms)).collect();
            book.tally.expired(&changed);
            let before_ms = now_ms.saturating_sub(REMEMBERED_MS);
            let forgotten: BTreeSet<ApprovalId> = book.over_before(before_ms).into_iter().collect();
            for id in &forgotten {
                book.remove(id);
            }
            book.caps.forget_denied_before(before_ms);
            if changed.is_empty() && forgotten.is_empty() {
                return Ok(changed);
            }
            let stored = self.put(changed.clone(), Happened::Expired, now_ms);
            let forgotten = self.store.write(move |connection| {
                rows::delete(connection, &forgotten)?;
                rows::drop_events(connection, before_ms)
            });
            (changed, async move {
                stored.await?;
                forgotten.await
            })
        };
        stored.await?;
        Ok(changed)
    }

    fn put(
        &self,
        changed: Vec<Approval>,
        happened: Happened,
        now_ms: u64,
    ) -> impl Future<Output = Result<(), WriteFault>> + use<> {
        let moved: Vec<Moved> = changed.into_iter().map(|approval| self.moved(approval, happened, now_ms)).collect();
        self.store.write(move |connection| moved.iter().try_for_each(|moved| rows::update(connection, moved)))
    }
}

/// Ends what it can still lead to: itself while it is open, and what it allows.
fn void(book: &mut Book, id: &ApprovalId, why: &str, now_ms: u64) -> Option<Approval> {
    book.change(id, |approval| {
        if approval.state.is_open() {
            approval.state = ApprovalState::Invalidated;
            approval.ended_at_ms = Some(now_ms);
        }
        approval.end_allowance(now_ms);
        approval.note = Some(why.to_owned());
    })
}

/// Closes what ran out: itself, or what it allows. A decision that was made in time and is on its way to the disk counts.
fn run_out(book: &mut Book, id: &ApprovalId, now_ms: u64) -> Option<Approval> {
    let entry = book.entry(id)?;
    let approval = &entry.approval;
    let is_over = |until: Option<u64>| until.is_none_or(|until| until <= now_ms);
    let ended = match approval.state {
        ApprovalState::Pending if !entry.is_being_decided && is_over(Some(approval.approve_by_ms)) => {
            Some(ApprovalState::Expired)
        }
        ApprovalState::Approved if is_over(approval.execute_by_ms) => Some(ApprovalState::Lapsed),
        _ => None,
    };
    let is_spent = approval.allowance.as_ref().is_some_and(|allowed| allowed.ended_at_ms.is_none() && allowed.until_ms <= now_ms);
    if ended.is_none() && !is_spent {
        return None;
    }
    book.change(id, |approval| {
        if let Some(state) = ended {
            approval.state = state;
            approval.ended_at_ms = Some(now_ms);
        }
        if is_spent {
            approval.end_allowance(now_ms);
        }
    })
}
