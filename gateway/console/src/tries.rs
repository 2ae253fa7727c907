//! Tries that failed: what is said to them after many in a minute, and how many are put on record one by one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::refused::Refused;

const MINUTE_MS: u64 = 60 * 1000;

/// Failures in a minute after which further ones are told to wait until it is over.
const HEARD: u32 = 20;

/// Failures in a minute that are put on record one by one; the rest is counted.
const RECORDED: u32 = 30;

/// What failed in this minute.
#[derive(Default)]
pub(crate) struct Tries(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    since_ms: u64,
    failed: u32,
    recorded: u32,
    unrecorded: u64,
}

impl Tries {
    /// Whether there were not too many of them in this minute.
    pub(crate) fn admits(&self, now_ms: u64) -> Result<(), Refused> {
        let minute = self.minute(now_ms);
        if minute.failed < HEARD {
            return Ok(());
        }
        let left_ms = MINUTE_MS.saturating_sub(now_ms.saturating_sub(minute.since_ms));
        Err(Refused::too_often(left_ms.div_ceil(1000).max(1)))
    }

    /// One has failed.
    pub(crate) fn failed(&self, now_ms: u64) {
        let mut minute = self.minute(now_ms);
        minute.failed = minute.failed.saturating_add(1);
    }

    /// Whether a failure is put on record by itself; otherwise it is counted.
    pub(crate) fn is_recorded(&self, now_ms: u64) -> bool {
        let mut minute = self.minute(now_ms);
        if minute.recorded < RECORDED {
            minute.recorded += 1;
            return true;
        }
        minute.unrecorded += 1;
        false
    }

    /// How many were only counted, told once.
    pub(crate) fn take_unrecorded(&self, now_ms: u64) -> u64 {
        std::mem::take(&mut self.minute(now_ms).unrecorded)
    }

    fn minute(&self, now_ms: u64) -> MutexGuard<'_, Minute> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(minute.since_ms) >= MINUTE_MS {
            *minute = Minute { since_ms: now_ms, unrecorded: minute.unrecorded, ..Minute::default() };
        }
        minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_many_failures_nobody_is_heard_for_the_rest_of_the_minute() {
        let tries = Tries::default();
        let start = MINUTE_MS;
        for _ in 0..HEARD {
            assert!(tries.admits(start).is_ok());
            tries.failed(start);
        }
        assert_eq!(tries.admits(start + 1).map_err(|refused| refused.status().as_u16()), Err(429));
        assert!(tries.admits(start + MINUTE_MS).is_ok());
    }

    #[test]
    fn strangers_do_not_fill_the_record() {
        let tries = Tries::default();
        let recorded = (0..100).filter(|_| tries.is_recorded(MINUTE_MS)).count();
        assert_eq!(recorded, 30);
        assert_eq!((tries.take_unrecorded(MINUTE_MS), tries.take_unrecorded(MINUTE_MS)), (70, 0));
    }
}
