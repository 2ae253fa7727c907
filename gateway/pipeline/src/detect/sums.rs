//! What an agent came to within a window, over all of its tasks: amounts that add up, and when it read what must not go out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ring::Unreadable;

/// A window is cut into so many parts; one whose beginning is past counts until its end is.
const PARTS: u64 = 64;
/// At any moment so many parts reach into the window, with the one that has just begun.
const SLOTS: usize = 66;

/// Amounts of a window. Counts too much for the length of a part, and never too little.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    width_ms: u64,
    /// The number of each part, and what it came to.
    parts: [(u64, u64); SLOTS],
}

impl Window {
    pub(crate) fn new(window_ms: u64) -> Self {
        Self { width_ms: window_ms.div_ceil(PARTS).max(1), parts: [(0, 0); SLOTS] }
    }

    /// Adds an amount.
    pub(crate) fn add(&mut self, at_ms: u64, amount: u64) {
        let number = at_ms / self.width_ms;
        let at = usize::try_from(number % SLOTS as u64).unwrap_or(0);
        if let Some((of, sum)) = self.parts.get_mut(at) {
            if *of < number {
                (*of, *sum) = (number, 0);
            }
            // What comes late counts for longer.
            *sum = sum.saturating_add(amount);
        }
    }

    /// What the window that ends now came to.
    pub(crate) fn sum(&self, now_ms: u64) -> u64 {
        let first = (now_ms / self.width_ms).saturating_sub(PARTS);
        self.parts.iter().filter(|(number, _)| *number >= first).fold(0, |sum, (_, part)| sum.saturating_add(*part))
    }

    /// The same over a window of another length: each part counts as if all of it had come at its end, which is not after `now_ms`.
    fn resized(&self, window_ms: u64, now_ms: u64) -> Self {
        let mut other = Self::new(window_ms);
        let mut parts: Vec<_> = self.parts.iter().filter(|(_, sum)| *sum > 0).collect();
        parts.sort_unstable();
        for (number, sum) in parts {
            let end_ms = number.saturating_add(1).saturating_mul(self.width_ms).saturating_sub(1);
            other.add(end_ms.min(now_ms), *sum);
        }
        other
    }
}

/// What is kept of an agent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sums: Mutex<Sums>,
    untrusted_ms: AtomicU64,
    confidential_ms: AtomicU64,
}

/// The windows of an agent, by the name of the detection.
#[derive(Debug, Default)]
pub(crate) struct Sums(BTreeMap<Arc<str>, Window>);

impl Sums {
    /// What the window that ends now came to.
    pub(crate) fn sum(&mut self, name: &Arc<str>, window_ms: u64, now_ms: u64) -> u64 {
        if !self.0.contains_key(name) {
            return 0;
        }
        self.window(name, window_ms, now_ms).sum(now_ms)
    }

    /// Adds an amount.
    pub(crate) fn add(&mut self, name: &Arc<str>, window_ms: u64, at_ms: u64, amount: u64) {
        self.window(name, window_ms, at_ms).add(at_ms, amount);
    }

    fn window(&mut self, name: &Arc<str>, window_ms: u64, now_ms: u64) -> &mut Window {
        let window = self.0.entry(Arc::clone(name)).or_insert_with(|| Window::new(window_ms));
        if window.width_ms != window_ms.div_ceil(PARTS).max(1) {
            *window = window.resized(window_ms, now_ms);
        }
        window
    }
}

impl Ledger {
    pub(crate) fn sums(&self) -> Result<MutexGuard<'_, Sums>, Unreadable> {
        self.sums.lock().map_err(|_| Unreadable)
    }

    /// It is about to read this.
    pub(crate) fn reads(&self, untrusted: bool, confidential: bool, now_ms: u64) {
        if untrusted {
            self.untrusted_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
        if confidential {
            self.confidential_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    /// When it last read such, if that is not before `from_ms`.
    pub(crate) fn has_read(&self, untrusted: bool, confidential: bool, from_ms: u64) -> Option<u64> {
        let last = |is_meant: bool, at: &AtomicU64| if is_meant { at.load(Ordering::Relaxed) } else { 0 };
        let last = last(untrusted, &self.untrusted_ms).max(last(confidential, &self.confidential_ms));
        (last > 0 && last >= from_ms).then_some(last)
    }
}
