//! So many calls a second, and twice as many at once: of a grant, of a connector.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far it may run ahead of its rate, nanoseconds.
const BURST_NS: u64 = 2_000_000_000;

/// When all that was let through would have been due at the full rate, nanoseconds (the generic cell rate algorithm).
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    /// Whether one more may go now, at so many a second; none is no limit.
    pub fn admits(&self, rate: Option<u32>, now_ns: u64) -> bool {
        let Some(rate) = rate else { return true };
        // Not one in a second is none at all.
        let Some(interval) = 1_000_000_000_u64.checked_div(rate.into()) else { return false };
        let step = |due: u64| Some(due.max(now_ns).saturating_add(interval)).filter(|due| due.saturating_sub(now_ns) <= BURST_NS);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_burst_of_two_seconds() {
        let pace = Pace::default();
        let passes = |rate, at_ms: u64| (0..1000).filter(|_| pace.admits(rate, at_ms * 1_000_000)).count();
        assert_eq!(passes(Some(10), 5), 20);
        assert_eq!(passes(Some(10), 5), 0);
        assert_eq!(passes(Some(10), 105), 1);
        assert_eq!(passes(Some(10), 60_000), 20, "what was not used is not saved up");
        assert_eq!(passes(None, 60_000), 1000);
        assert_eq!(passes(Some(0), 120_000), 0, "nothing is no limit but none");
    }
}
