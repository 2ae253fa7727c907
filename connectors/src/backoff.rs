//! Pauses after failures: each twice as long as the one before, until something lived long enough.

use std::time::{Duration, Instant};

use crate::spec::ConnectorSpec;

/// What is known about the failures of one slot.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    why: String,
}

impl Backoff {
    /// Notes a failure of something that lived this long.
    pub(crate) fn failed(&mut self, spec: &ConnectorSpec, lived: Duration, why: String, now: Instant) {
        if lived >= spec.stable_after {
            self.failures = 0;
        }
        let factor = 2_u32.saturating_pow(self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        self.until = now.checked_add(spec.backoff_first.saturating_mul(factor).min(spec.backoff_most));
        self.why = why;
    }

    /// How long there is still to wait, and why.
    pub(crate) fn resting(&self, now: Instant) -> Option<(Duration, &str)> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some((left, self.why.as_str()))
    }

    /// How many failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_stable_time() {
        let spec = ConnectorSpec::process("x".parse().unwrap(), vec!["/bin/true".to_owned()]);
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            backoff.failed(&spec, Duration::ZERO, "it broke".to_owned(), now);
            pauses.push(backoff.resting(now).unwrap().0.as_millis());
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(backoff.resting(now + Duration::from_secs(31)), None);
        backoff.failed(&spec, Duration::from_mins(1), "again".to_owned(), now);
        assert_eq!(backoff.resting(now), Some((Duration::from_millis(200), "again")));
    }
}
