//! Tries that failed, of strangers together and of each who is known by themselves: what is said to them after many in a minute, and how many are put on record one by one.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

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

impl Minute {
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= MINUTE_MS
    }

    /// Another one, where it is over.
    fn begin(&mut self, now_ms: u64) {
        if self.is_over(now_ms) {
            *self = Self { since_ms: now_ms, unrecorded: self.unrecorded, ..Self::default() };
        }
    }

    fn wait(&self, now_ms: u64) -> Refused {
        let left_ms = MINUTE_MS.saturating_sub(now_ms.saturating_sub(self.since_ms));
        Refused::too_often(left_ms.div_ceil(1000).max(1))
    }

    fn is_recorded(&mut self) -> bool {
        if self.recorded < RECORDED {
            self.recorded += 1;
            return true;
        }
        self.unrecorded += 1;
        false
    }
}

impl Tries {
    /// Whether there were not too many of them in this minute.
    pub(crate) fn admits(&self, now_ms: u64) -> Result<(), Refused> {
        let minute = self.minute(now_ms);
        if minute.failed < HEARD {
            return Ok(());
        }
        Err(minute.wait(now_ms))
    }

    /// One has failed.
    pub(crate) fn failed(&self, now_ms: u64) {
        let mut minute = self.minute(now_ms);
        minute.failed = minute.failed.saturating_add(1);
    }

    /// Whether a failure is put on record by itself; otherwise it is counted.
    pub(crate) fn is_recorded(&self, now_ms: u64) -> bool {
        self.minute(now_ms).is_recorded()
    }

    /// How many were only counted, told once.
    pub(crate) fn take_unrecorded(&self, now_ms: u64) -> u64 {
        std::mem::take(&mut self.minute(now_ms).unrecorded)
    }

    fn minute(&self, now_ms: u64) -> MutexGuard<'_, Minute> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        minute.begin(now_ms);
        minute
    }
}

/// The same for each of several by themselves: what one does keeps out, and hides, nobody else.
#[derive(Default)]
pub(crate) struct TriesOf(Mutex<HashMap<String, Minute>>);

impl TriesOf {
    /// This one has failed; the error is what they are told after too many.
    pub(crate) fn failed(&self, of: &str, now_ms: u64) -> Result<(), Refused> {
        self.with(of, now_ms, |minute| {
            if minute.failed >= HEARD {
                return Err(minute.wait(now_ms));
            }
            minute.failed += 1;
            Ok(())
        })
    }

    /// Whether a failure of this one is put on record by itself; otherwise it is counted.
    pub(crate) fn is_recorded(&self, of: &str, now_ms: u64) -> bool {
        self.with(of, now_ms, Minute::is_recorded)
    }

    /// How many were only counted, told once. What is over is forgotten.
    pub(crate) fn take_unrecorded(&self, now_ms: u64) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.values_mut().map(|minute| std::mem::take(&mut minute.unrecorded)).sum();
        all.retain(|_, minute| !minute.is_over(now_ms));
        count
    }

    fn with<T>(&self, of: &str, now_ms: u64, act: impl FnOnce(&mut Minute) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = all.entry(of.to_owned()).or_default();
        minute.begin(now_ms);
        act(minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_keeps_out_and_hides_nobody_else() {
        let tries = TriesOf::default();
        for _ in 0..HEARD {
            assert!(tries.failed("a", MINUTE_MS).is_ok());
        }
        assert!(tries.failed("a", MINUTE_MS).is_err() && tries.failed("b", MINUTE_MS).is_ok());
        assert!(tries.failed("a", 2 * MINUTE_MS).is_ok(), "the minute is over");
        assert_eq!((0..100).filter(|_| tries.is_recorded("a", 2 * MINUTE_MS)).count(), 30);
        assert!(tries.is_recorded("b", 2 * MINUTE_MS));
        assert_eq!((tries.take_unrecorded(3 * MINUTE_MS), tries.take_unrecorded(3 * MINUTE_MS)), (70, 0));
        assert!(tries.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty(), "nobody is remembered for ever");
    }

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
