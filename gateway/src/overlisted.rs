//! Tools that are listed and that policy refuses all the same: lists go by what of a rule does not depend on the call, so that nothing that
//! could be called is hidden. What that lists too much is counted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// So many tools are counted apart; what comes after is counted together.
const TOOLS: usize = 1000;

/// What stands for the rest.
const OTHERS: &str = "others";

/// Calls of listed tools that policy refused, since the start.
#[derive(Debug, Default)]
pub(crate) struct Overlisted {
    /// Whether there is any: else no call that goes meets the lock.
    is_any: AtomicBool,
    tools: Mutex<BTreeMap<String, Counted>>,
}

/// How policy decided of one tool.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    refused: u64,
    /// Whether it let a call go since it refused the first one.
    has_gone: bool,
}

impl Overlisted {
    /// Policy said this of a call of a listed tool: `allow`, `step_up` or `deny`.
    pub(crate) fn decided(&self, tool: &str, effect: &str) {
        let is_refused = effect == "deny";
        if !is_refused && !self.is_any.load(Ordering::Relaxed) {
            return;
        }
        // A panic while it was held leaves counts that are true.
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_refused {
            if let Some(counted) = tools.get_mut(tool) {
                counted.has_gone = true;
            }
            return;
        }
        self.is_any.store(true, Ordering::Relaxed);
        let name = if tools.len() < TOOLS || tools.contains_key(tool) { tool } else { OTHERS };
        tools.entry(name.to_owned()).or_default().refused += 1;
    }

    /// By tool, how many of its calls were refused.
    pub(crate) fn refused(&self) -> Vec<(String, u64)> {
        let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        tools.iter().map(|(tool, counted)| (tool.clone(), counted.refused)).collect()
    }

    /// Of how many tools every call was refused since the first that was.
    pub(crate) fn never_let_go(&self) -> u64 {
        let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        tools.iter().filter(|(tool, counted)| !counted.has_gone && *tool != OTHERS).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_counted_by_tool_and_what_is_never_let_go_apart() {
        let overlisted = Overlisted::default();
        for (tool, effect) in [("s__a", "allow"), ("s__a", "deny"), ("s__b", "deny"), ("s__b", "deny"), ("s__c", "allow")] {
            overlisted.decided(tool, effect);
        }
        assert_eq!(overlisted.refused(), [("s__a".to_owned(), 1), ("s__b".to_owned(), 2)]);
        assert_eq!(overlisted.never_let_go(), 2);
        overlisted.decided("s__a", "step_up");
        assert_eq!(overlisted.never_let_go(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let overlisted = Overlisted::default();
        (0..TOOLS + 7).for_each(|number| overlisted.decided(&format!("s__{number}"), "deny"));
        let found = overlisted.refused();
        assert_eq!((found.len(), found.first()), (TOOLS + 1, Some(&(OTHERS.to_owned(), 7))));
        assert_eq!(overlisted.never_let_go(), TOOLS as u64);
    }
}
