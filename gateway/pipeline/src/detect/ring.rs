//! What is kept of a task's recent calls, and what is found in it. All of it has a bound.

use std::sync::{Mutex, MutexGuard};

use super::rules::{Rule, Rules, Sort, bit};

/// So many calls are kept of a task. What is older is forgotten.
pub const KEPT: usize = 128;

/// What has become of a call, as far as it is a part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    /// It went on, or is on its way.
    Went,
    /// It was refused.
    Refused,
    /// It is a part of no pattern: it waits for a person, or a detection refused it. It will come again.
    Nothing,
}

/// What is kept of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When, unix milliseconds.
    pub(crate) at_ms: u64,
    /// The tool and its arguments, as a keyed digest.
    pub(crate) call: u64,
    /// Where its data goes, likewise; 0 for nowhere.
    pub(crate) place: u64,
    /// Its connector, likewise; 0 for one that nobody knows.
    pub(crate) connector: u32,
    /// The grant it was made under, likewise.
    pub(crate) grant: u32,
    /// The rules that are about it.
    pub(crate) rules: u32,
    /// What has become of it.
    pub(crate) became: Became,
}

/// The last calls of a task. It grows to its bound as calls come, and never beyond.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: Vec<Entry>,
    pushed: u64,
}

impl Ring {
    /// Puts a call in; the oldest goes. Returns its number.
    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        let number = self.pushed;
        match self.slot(number) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.pushed = number.wrapping_add(1);
        number
    }

    /// Says what has become of a call, if it is still here.
    pub(crate) fn became(&mut self, number: u64, became: Became) {
        if self.pushed.wrapping_sub(number) <= KEPT as u64
            && let Some(slot) = self.slot(number)
        {
            slot.became = became;
        }
    }

    fn slot(&mut self, number: u64) -> Option<&mut Entry> {
        let at = usize::try_from(number % KEPT as u64).ok()?;
        self.entries.get_mut(at)
    }

    /// The calls since then, the newest first.
    pub(crate) fn since(&self, from_ms: u64) -> impl Iterator<Item = &Entry> {
        let next = usize::try_from(self.pushed % KEPT as u64).unwrap_or(0).min(self.entries.len());
        let (newer, older) = self.entries.split_at_checked(next).unwrap_or((&self.entries, &[]));
        newer.iter().rev().chain(older.iter().rev()).take_while(move |entry| entry.at_ms >= from_ms)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What is found when `call` comes, which is not in the ring yet: how much of it, where that is enough. `own` is the rule's bit.
pub(crate) fn found(rule: &Rule, own: u32, ring: &Ring, call: &Entry) -> Option<u64> {
    let from_ms = call.at_ms.saturating_sub(rule.window_ms);
    let meant = || ring.since(from_ms).filter(move |entry| entry.rules & own != 0 && entry.became != Became::Nothing);
    match rule.sort {
        Sort::Repeat { count } => {
            let count = u64::from(count);
            let same = 1 + meant().filter(|entry| entry.call == call.call).count() as u64;
            (same >= count).then_some(same)
        }
        Sort::Cycle { period, turns } => {
            let mut calls = [call.call; KEPT];
            let (period, turns) = (usize::try_from(period).ok()?, usize::try_from(turns).ok()?);
            let wanted = period.checked_mul(turns)?.min(KEPT);
            let mut length = 1;
            for (slot, entry) in calls.iter_mut().skip(1).zip(meant()).take(wanted.saturating_sub(1)) {
                *slot = entry.call;
                length += 1;
            }
            let calls = calls.get(..length)?;
            (2..=period).find(|period| is_round(calls, *period, turns)).map(|period| period as u64)
        }
        Sort::Probe { refused } => {
            // Whatever they were of: what a refused call named may be no tool at all.
            let others = ring.since(from_ms).filter(|entry| entry.became == Became::Refused && entry.call != call.call);
            let mut different = Different::new(Some(refused));
            others.map(|entry| entry.call).find_map(|call| different.add(call))
        }
        Sort::FanOut { connectors, destinations, grants } => {
            let [mut of_connectors, mut of_places, mut of_grants] = [connectors, destinations, grants].map(Different::new);
            let mut add = |entry: &Entry| {
                let reached = of_connectors.add(entry.connector.into()).or_else(|| of_places.add(entry.place));
                reached.or_else(|| of_grants.add(entry.grant.into()))
            };
            add(call).or_else(|| meant().find_map(add))
        }
        // These are kept for an agent, over all of its tasks.
        Sort::Sum { .. } | Sort::ReadThenSend { .. } => None,
    }
}

/// Whether the newest calls are so many rounds of so many calls, and not all the same one.
fn is_round(calls: &[u64], period: usize, turns: usize) -> bool {
    let Some(rounds) = period.checked_mul(turns).and_then(|length| calls.get(..length)) else { return false };
    let Some((first, _)) = rounds.split_at_checked(period) else { return false };
    let is_varied = first.iter().any(|call| Some(call) != first.first());
    is_varied && rounds.iter().zip(rounds.iter().skip(period)).all(|(newer, older)| newer == older)
}

/// Different ones, until there are enough of them.
struct Different {
    seen: [u64; KEPT],
    count: usize,
    wanted: usize,
    last: u64,
}

impl Different {
    /// So many are enough; none is never enough.
    fn new(wanted: Option<u32>) -> Self {
        let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(usize::MAX);
        Self { seen: [0; KEPT], count: 0, wanted, last: 0 }
    }

    /// One more, 0 for nothing. How many there are, once they are enough.
    fn add(&mut self, one: u64) -> Option<u64> {
        if one == self.last || one == 0 || self.wanted == usize::MAX {
            return None;
        }
        self.last = one;
        if self.seen.get(..self.count).is_some_and(|seen| seen.contains(&one)) {
            return None;
        }
        *self.seen.get_mut(self.count)? = one;
        self.count += 1;
        (self.count >= self.wanted).then_some(self.count as u64)
    }
}

/// How many calls came in the last minute, by the second.
#[derive(Debug)]
struct Minute {
    slots: [u16; 60],
    second: u64,
}

impl Default for Minute {
    fn default() -> Self {
        Self { slots: [0; 60], second: 0 }
    }
}

impl Minute {
    /// How many there were before this one, which is counted.
    fn count(&mut self, now_ms: u64) -> u64 {
        let before = self.passed(now_ms);
        self.slot(now_ms / 1000, |slot| *slot = slot.saturating_add(1));
        before
    }

    /// How many there were in the minute before now.
    fn passed(&mut self, now_ms: u64) -> u64 {
        let second = now_ms / 1000;
        let passed = second.saturating_sub(self.second);
        if passed >= 60 {
            self.slots = [0; 60];
        } else {
            for back in 0..passed {
                self.slot(second - back, |slot| *slot = 0);
            }
        }
        self.second = self.second.max(second);
        self.slots.iter().map(|count| u64::from(*count)).sum()
    }

    fn slot(&mut self, second: u64, change: impl FnOnce(&mut u16)) {
        if let Some(slot) = usize::try_from(second % 60).ok().and_then(|at| self.slots.get_mut(at)) {
            change(slot);
        }
    }
}

/// What is kept of a task.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    generation: u64,
    ring: Ring,
    minute: Minute,
    refused: u64,
    /// Until when what each rule found is the same finding still, unix milliseconds.
    episodes: Vec<u64>,
}

/// Something panicked while it changed what is kept of a task: that tells nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// What was found in a task when a call came.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The call's number in the ring.
    pub(crate) number: u64,
    /// By place of the rule: how much, and whether it is a new finding.
    pub(crate) found: Vec<(usize, u64, bool)>,
    /// Calls in the minute before.
    pub(crate) last_minute: u64,
    /// Calls that were refused.
    pub(crate) refused: u64,
}

impl History {
    /// Looks at a call that comes, and keeps it: at once, so that of many that come together each is one more.
    pub(crate) fn look(&self, rules: &Rules, entry: Entry) -> Result<Looked, Unreadable> {
        let mut kept = self.kept(rules)?;
        let entry = if kept.generation == rules.generation { entry } else { Entry { rules: 0, ..entry } };
        let mut looked = Looked { last_minute: kept.minute.count(entry.at_ms), refused: kept.refused, ..Looked::default() };
        for (place, rule) in rules.iter().enumerate() {
            let own = bit(place);
            if entry.rules & own == 0 {
                continue;
            }
            if let Some(seen) = found(rule, own, &kept.ring, &entry) {
                looked.found.push((place, seen, kept.is_new(place, rule, entry.at_ms)));
            }
        }
        if entry.became == Became::Refused {
            kept.refused = kept.refused.saturating_add(1);
        }
        looked.number = kept.ring.push(entry);
        Ok(looked)
    }

    /// What would be found if this call came: nothing is kept of it.
    pub(crate) fn peek(&self, rules: &Rules, entry: Entry) -> Result<Looked, Unreadable> {
        let mut kept = self.kept(rules)?;
        let refused = kept.refused;
        let mut looked = Looked { last_minute: kept.minute.passed(entry.at_ms), refused, ..Looked::default() };
        if kept.generation == rules.generation {
            let meant = rules.iter().enumerate().filter(|(place, _)| entry.rules & bit(*place) != 0);
            let found = meant.filter_map(|(place, rule)| Some((place, found(rule, bit(place), &kept.ring, &entry)?, false)));
            looked.found = found.collect();
        }
        Ok(looked)
    }

    /// Whether what a rule found elsewhere is new for this task.
    pub(crate) fn is_new(&self, rules: &Rules, place: usize, now_ms: u64) -> Result<bool, Unreadable> {
        let Some(rule) = rules.at(place) else { return Ok(false) };
        Ok(self.kept(rules)?.is_new(place, rule, now_ms))
    }

    /// Says what has become of a call.
    pub(crate) fn became(&self, rules: &Rules, number: u64, became: Became) -> Result<(), Unreadable> {
        let mut kept = self.kept(rules)?;
        if kept.generation == rules.generation {
            kept.ring.became(number, became);
        }
        if became == Became::Refused {
            kept.refused = kept.refused.saturating_add(1);
        }
        Ok(())
    }

    /// What is kept by other rules says nothing to these: it is forgotten. A call that came before these is not found in it any more.
    fn kept(&self, rules: &Rules) -> Result<MutexGuard<'_, Kept>, Unreadable> {
        let mut kept = self.0.lock().map_err(|_| Unreadable)?;
        if kept.generation < rules.generation {
            let refused = kept.refused;
            *kept = Kept { generation: rules.generation, refused, ..Kept::default() };
        }
        Ok(kept)
    }

    #[cfg(test)]
    pub(crate) fn while_it_changes(&self, work: impl FnOnce()) {
        let _held = self.0.lock();
        work();
    }
}

impl Kept {
    fn is_new(&mut self, place: usize, rule: &Rule, now_ms: u64) -> bool {
        if self.episodes.len() <= place {
            self.episodes.resize(place + 1, 0);
        }
        let Some(until) = self.episodes.get_mut(place) else { return false };
        let is_new = *until < now_ms || *until == 0;
        *until = now_ms.saturating_add(rule.window_ms);
        is_new
    }
}
