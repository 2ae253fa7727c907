//! So many at once, and how many that is may change while they are taken.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// So many seats.
#[derive(Debug)]
pub(super) struct Seats {
    most: AtomicUsize,
    taken: AtomicUsize,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    of: Arc<Seats>,
}

impl Seats {
    /// So many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), taken: AtomicUsize::new(0) })
    }

    /// So many from here on. Whoever has one keeps it: where there are fewer, the next one is free when enough were given back.
    pub(super) fn set(&self, most: usize) {
        self.most.store(most, Ordering::SeqCst);
    }

    /// One, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        let most = self.most.load(Ordering::SeqCst);
        let step = |taken: usize| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).ok().map(|_| Seat { of: Arc::clone(self) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_seats_are_free_only_once_enough_were_given_back() {
        let seats = Seats::new(3);
        let mut taken: Vec<_> = (0..5).filter_map(|_| seats.take()).collect();
        assert_eq!(taken.len(), 3);
        seats.set(1);
        drop(taken.pop());
        drop(taken.pop());
        assert!(seats.take().is_none(), "one is still taken");
        drop(taken.pop());
        assert!(seats.take().is_some());
        seats.set(2);
        assert_eq!([seats.take(), seats.take(), seats.take()].iter().flatten().count(), 2);
    }
}
