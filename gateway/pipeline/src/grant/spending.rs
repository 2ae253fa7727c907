//! What using a grant costs it, beyond calls and writes; and when it was used last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
};

use bailiwick_schemas::names::QualifiedName;
use serde::{Deserialize, Serialize};

use super::{Budget, Grant, Standing, ToolPattern};

/// What one call takes of a budget.
#[derive(Debug, Clone, Copy)]
pub struct Spend<'a> {
    /// Which tool.
    pub tool: &'a QualifiedName,
    /// Whether it counts as a write: any kind but `read`.
    pub has_effect: bool,
    /// Bytes of its arguments.
    pub bytes_out: u64,
    /// What it costs, in the units that the admin priced tools in.
    pub cost: u64,
    /// What it adds to sums, by the name of the detection that limits them.
    pub sums: &'a [(Arc<str>, u64)],
}

/// A budget that has no room for a call: which part of it, and its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Which part: `calls`, `writes`, `bytes out`, `cost`, or `calls of` some tools.
    pub what: String,
    /// The limit.
    pub limit: u64,
}

/// What was spent of a budget beyond calls and writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Bytes of arguments.
    #[serde(default)]
    pub bytes_out: u64,
    /// Cost.
    #[serde(default)]
    pub cost: u64,
    /// Calls, by pattern of the budget.
    #[serde(default)]
    pub tools: BTreeMap<ToolPattern, u64>,
    /// Amounts that add up, by the name of the detection that limits them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sums: BTreeMap<Arc<str>, u64>,
    /// When it was used last, unix milliseconds; 0 for never.
    #[serde(default)]
    pub last_used_ms: u64,
    /// The tools that were called under it.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub used: Arc<BTreeSet<String>>,
}

fn is_empty(used: &Arc<BTreeSet<String>>) -> bool {
    used.is_empty()
}

/// The same of a live grant. It changes under the lock of the grant's standing alone; its own is there to be read by.
#[derive(Debug, Default)]
pub(super) struct Purse {
    spent: Mutex<Spent>,
    last_used_ms: AtomicU64,
}

impl Purse {
    pub(super) fn of(spent: Spent) -> Self {
        let last_used_ms = AtomicU64::new(spent.last_used_ms);
        Self { spent: Mutex::new(spent), last_used_ms }
    }

    pub(super) fn spent(&self) -> Spent {
        Spent { last_used_ms: self.last_used_ms(), ..self.lock().clone() }
    }

    /// Bytes sent and cost alone: nothing is copied.
    pub(super) fn sums(&self) -> (u64, u64) {
        let spent = self.lock();
        (spent.bytes_out, spent.cost)
    }

    pub(super) fn last_used_ms(&self) -> u64 {
        self.last_used_ms.load(Ordering::Relaxed)
    }

    pub(super) fn used_at(&self, now_ms: u64) {
        self.last_used_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Whether there is room for this call.
    pub(super) fn admits(&self, budget: &Budget, standing: &Standing, spend: &Spend<'_>) -> Result<(), Exhausted> {
        let full = |what: &str, limit| Err(Exhausted { what: what.to_owned(), limit });
        if let Some(limit) = budget.calls.filter(|limit| standing.calls >= *limit) {
            return full("calls", limit);
        }
        if let Some(limit) = budget.writes.filter(|limit| spend.has_effect && standing.writes >= *limit) {
            return full("writes", limit);
        }
        if !budget.counts_more() {
            return Ok(());
        }
        let used = self.lock();
        let is_over = |so_far: u64, more: u64, limit: &u64| so_far.saturating_add(more) > *limit;
        if let Some(limit) = budget.bytes_out.filter(|limit| is_over(used.bytes_out, spend.bytes_out, limit)) {
            return full("bytes out", limit);
        }
        if let Some(limit) = budget.cost.filter(|limit| is_over(used.cost, spend.cost, limit)) {
            return full("cost", limit);
        }
        let mut counted = budget.tools.iter().filter(|(pattern, _)| pattern.covers(spend.tool));
        match counted.find(|(pattern, limit)| is_over(used.tools.get(pattern).copied().unwrap_or(0), 1, limit)) {
            None => Ok(()),
            Some((pattern, limit)) => full(&format!("calls of {pattern}"), *limit),
        }
    }

    /// Takes what the call costs.
    pub(super) fn debit(&self, budget: &Budget, spend: &Spend<'_>) {
        self.lock().debit(budget, spend);
    }

    /// Whether this tool was ever called.
    pub(super) fn has_used(&self, tool: &QualifiedName) -> bool {
        self.lock().used.contains(tool.as_str())
    }

    /// What the amounts of a detection have come to.
    pub(super) fn summed(&self, name: &str) -> u64 {
        self.lock().sums.get(name).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        // A panic while it was held leaves plain numbers.
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    /// Takes what the call costs.
    pub fn debit(&mut self, budget: &Budget, spend: &Spend<'_>) {
        self.bytes_out = self.bytes_out.saturating_add(spend.bytes_out);
        self.cost = self.cost.saturating_add(spend.cost);
        for pattern in budget.tools.keys().filter(|pattern| pattern.covers(spend.tool)) {
            let count = self.tools.entry(pattern.clone()).or_default();
            *count = count.saturating_add(1);
        }
        for (name, amount) in spend.sums {
            let sum = self.sums.entry(Arc::clone(name)).or_default();
            *sum = sum.saturating_add(*amount);
        }
        if !self.used.contains(spend.tool.as_str()) {
            Arc::make_mut(&mut self.used).insert(spend.tool.to_string());
        }
    }
}

impl Budget {
    /// Whether it limits more than calls and writes.
    fn counts_more(&self) -> bool {
        self.bytes_out.is_some() || self.cost.is_some() || !self.tools.is_empty()
    }

    /// Whether nothing can be done under it any more.
    pub fn is_used_up(&self, standing: &Standing, spent: &Spent) -> bool {
        self.calls.is_some_and(|limit| standing.calls >= limit)
            || self.cost.is_some_and(|limit| spent.cost >= limit)
            || self.bytes_out.is_some_and(|limit| spent.bytes_out >= limit)
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self, standing: &Standing, spent: &Spent) -> Self {
        let less = |limit: Option<u64>, used: u64| limit.map(|limit| limit.saturating_sub(used));
        let of_tool = |(pattern, limit): (&ToolPattern, &u64)| {
            (pattern.clone(), limit.saturating_sub(spent.tools.get(pattern).copied().unwrap_or(0)))
        };
        Self {
            calls: less(self.calls, standing.calls),
            writes: less(self.writes, standing.writes),
            bytes_out: less(self.bytes_out, spent.bytes_out),
            cost: less(self.cost, spent.cost),
            tools: self.tools.iter().map(of_tool).collect(),
        }
    }
}

impl Grant {
    /// Whether it was idle for too long at this time, when it was last used then.
    pub fn is_idle(&self, last_used_ms: u64, now_ms: u64) -> bool {
        let since = last_used_ms.max(self.not_before_ms);
        self.idle_ms.is_some_and(|idle| now_ms.saturating_sub(since) >= idle)
    }
}
