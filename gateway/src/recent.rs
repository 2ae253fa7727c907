//! How the last calls went by, in memory: for whoever looks at one, and nobody else. What must not be lost is in the trail.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Mutex, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bailiwick_pipeline::trace::{CallTrace, hex};

/// So many shelves, so that calls on several threads don't wait for each other.
const SHELVES: usize = 8;

/// So many calls on each.
const DEEP: usize = 256;

/// The last calls. Whoever finds a shelf in use passes on: a picture is not worth that a call waits.
#[derive(Default)]
pub struct Recent {
    shelves: [Mutex<VecDeque<Passed>>; SHELVES],
    next: AtomicUsize,
}

/// How one call went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    trace: [u8; 16],
    /// How long it took, nanoseconds.
    pub total_ns: u64,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// One part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// When it began, nanoseconds after the call.
    pub start_ns: u64,
    /// How long it took, nanoseconds.
    pub length_ns: u64,
    /// Whether it is a call to another server.
    pub outward: bool,
    /// Whether it failed.
    pub failed: bool,
}

impl Recent {
    /// Keeps a call, and forgets the oldest for it.
    pub fn keep(&self, trace: &CallTrace) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % SHELVES;
        let mut last = match self.shelves.get(at).map(Mutex::try_lock) {
            Some(Ok(last)) => last,
            Some(Err(TryLockError::Poisoned(poisoned))) => poisoned.into_inner(),
            Some(Err(TryLockError::WouldBlock)) | None => return,
        };
        if last.len() >= DEEP {
            last.pop_front();
        }
        last.push_back(passed(trace));
    }

    /// The call of this trace, its id in hex, if it is still remembered.
    pub fn of(&self, trace: &str) -> Option<Passed> {
        self.shelves.iter().find_map(|one| {
            let last = one.lock().unwrap_or_else(PoisonError::into_inner);
            last.iter().rfind(|passed| hex(&passed.trace) == trace).cloned()
        })
    }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recent")
    }
}

fn passed(trace: &CallTrace) -> Passed {
    let root = &trace.root;
    let parts = trace.stages.iter().map(|stage| Part {
        name: stage.name.clone(),
        start_ns: stage.start_ns.saturating_sub(root.start_ns),
        length_ns: stage.end_ns.saturating_sub(stage.start_ns),
        outward: stage.outward,
        failed: stage.error.is_some(),
    });
    Passed { trace: trace.trace_id, total_ns: root.end_ns.saturating_sub(root.start_ns), parts: parts.collect() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn the_last_calls_are_remembered_and_older_ones_forgotten() {
        let recent = Recent::default();
        let most = SHELVES * DEEP;
        for number in 0..u128::try_from(most + 1).unwrap() {
            let mut trace = CallTrace::begin("tools/call".into(), 1_000, number.to_be_bytes(), Vec::new());
            let stage = trace.start("bailiwick.policy.evaluate", false, 1_500);
            trace.end(stage, 2_500);
            trace.root.end_ns = 9_000;
            recent.keep(&trace);
        }
        let of = |number: usize| recent.of(&format!("{number:032x}"));
        assert_eq!(of(0), None);
        let last = of(most).unwrap();
        let part = last.parts.first().unwrap();
        assert_eq!((last.total_ns, part.start_ns, part.length_ns, part.failed), (8_000, 500, 1_000, false));
        assert!(of(1).is_some());
    }
}
