//! Which approvals moved of late: whoever shows them looks at those, and not at all of them once more. Who begins and who ceases to wait for
//! one moves it too.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use bailiwick_pipeline::ids::ApprovalId;
use tokio::sync::watch;

use super::{LiveApprovals, book::Book, lock};

/// So many moves are remembered. Whoever has missed more looks at everything.
const REMEMBERED: usize = 4096;

/// What moved, in order.
#[derive(Default)]
pub(super) struct Moves {
    kept: VecDeque<ApprovalId>,
    /// How many there were since the start.
    count: watch::Sender<u64>,
}

/// What moved since somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MovedSince {
    /// These, each once.
    These(BTreeSet<ApprovalId>),
    /// More than is remembered.
    Everything,
}

impl Moves {
    pub(super) fn add(&mut self, id: &ApprovalId) {
        if self.kept.len() == REMEMBERED {
            self.kept.pop_front();
        }
        self.kept.push_back(id.clone());
        self.count.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn after(&self, count: u64) -> MovedSince {
        let missed = usize::try_from(self.count.borrow().wrapping_sub(count)).unwrap_or(usize::MAX);
        if missed > self.kept.len() {
            return MovedSince::Everything;
        }
        MovedSince::These(self.kept.iter().rev().take(missed).cloned().collect())
    }
}

/// Somebody who waits for an approval. When they cease to, it has moved.
pub(super) struct Waiter {
    pub(super) settled: Option<watch::Receiver<bool>>,
    id: ApprovalId,
    book: Arc<Mutex<Book>>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // First it waits no more, and then that is told.
        if self.settled.take().is_some() {
            lock(&self.book).moves.add(&self.id);
        }
    }
}

impl LiveApprovals {
    /// A counter that moves with each approval that does.
    pub fn moves(&self) -> watch::Receiver<u64> {
        self.book().moves.count.subscribe()
    }

    /// What moved since the counter stood there.
    pub fn moved_since(&self, count: u64) -> MovedSince {
        self.book().moves.after(count)
    }

    pub(super) fn waiter(&self, id: &ApprovalId) -> Option<Waiter> {
        let mut book = self.book();
        let settled = book.entry(id)?.settled();
        book.moves.add(id);
        Some(Waiter { settled: Some(settled), id: id.clone(), book: Arc::clone(&self.book) })
    }
}
