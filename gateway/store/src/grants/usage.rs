//! How much the grants have been used: counted in memory, stored together with the trail's cursor, caught up at a start.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bailiwick_pipeline::{
    grant::{Grant, Labels, LiveGrant, Spend, Spent, Standing},
    ids::{AgentId, ApprovalId, GrantId},
};
use bailiwick_schemas::names::QualifiedName;

use super::{
    Held, LiveGrants,
    rows::{Row, Usage},
};
use crate::{approvals::Use, fault::WriteFault, store::put_cursor};

/// An intent of the trail that is not counted in the store yet (after [`Store::trail_cursor`](crate::Store::trail_cursor)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedIntent {
    /// The grant of the call.
    pub grant: GrantId,
    /// Which issue of it.
    pub grant_revision: u64,
    /// The grants it debits: that one and its ancestors.
    pub debited: Vec<GrantId>,
    /// The tool; none where the record names none that could be one.
    pub tool: Option<QualifiedName>,
    /// When it was written, unix milliseconds.
    pub at_ms: u64,
    /// Whether it counts as a write: any kind but `read`.
    pub has_effect: bool,
    /// Bytes of its arguments.
    pub bytes_out: u64,
    /// What it costs.
    pub cost: u64,
    /// What its result is marked with: the debited grants have touched it.
    pub labels: Labels,
    /// What it adds to sums, by the name of the detection that limits them.
    pub sums: Vec<(Arc<str>, u64)>,
    /// The approval whose use it took.
    pub approval: Option<ApprovalId>,
    /// The approval of another call under which it went, as one of its like.
    pub allowance: Option<(ApprovalId, Use)>,
}

impl LiveGrants {
    /// Stores the usage of the grants, together with the place in the trail up to which it is complete.
    ///
    /// `cursor` must be read *before* this is called: the place of an intent that is already written. An intent and its debit
    /// happen under the lock of its grant, and this takes that lock to look: so every intent up to `cursor` is in what is
    /// stored. An intent between the reading of `cursor` and the look is in it too, and after a crash is debited once more: a
    /// grant may count too much then, never too little.
    pub async fn flush(&self, cursor: u64) -> Result<(), WriteFault> {
        // A grant is found before its row is queued: what was used of it would be written where there is no row yet. While nobody makes any,
        // the row of each that is found stands in the queue before this.
        let grants: Vec<_> = {
            let _turn = self.turn();
            let has_changed = |held: &Held| held.flushed != Some(held.entry.grant.changes());
            let changed = self.grants.iter().filter(|held| has_changed(held));
            changed.map(|held| Arc::clone(&held.entry.grant)).collect()
        };
        // How often it changed is read before its usage is looked at, under its lock: what changes meanwhile is found the next time.
        let dirty: Vec<(Arc<LiveGrant>, u64, Usage)> = grants
            .into_iter()
            .map(|grant: Arc<LiveGrant>| (grant.changes(), Usage::of_live(&grant), grant))
            .map(|(at, usage, grant)| (grant, at, usage))
            .collect();
        if dirty.is_empty() && self.cursor.load(Ordering::Relaxed) == cursor {
            return Ok(());
        }
        let columns = dirty.iter().map(|(grant, _, usage)| usage.to_columns(grant.terms())).collect::<Result<Vec<_>, _>>()?;
        self.store
            .write(move |connection| {
                columns.iter().try_for_each(|usage| usage.put(connection))?;
                put_cursor(connection, cursor)
            })
            .await?;
        self.cursor.store(cursor, Ordering::Relaxed);
        for (grant, at, _) in dirty {
            if let Some(mut held) = self.grants.get_mut(&grant.terms().id).filter(|held| Arc::ptr_eq(&held.entry.grant, &grant)) {
                held.flushed = Some(at);
            }
        }
        Ok(())
    }
}

/// What a grant has come to with the intents that the store hasn't counted yet.
pub(super) fn caught_up(terms: &Grant, (mut standing, mut spent): Used, intents: &[ReplayedIntent]) -> Used {
    for intent in intents.iter().filter(|intent| intent.debits(terms)) {
        spent.last_used_ms = spent.last_used_ms.max(intent.at_ms);
        match &intent.tool {
            Some(tool) => {
                let ReplayedIntent { has_effect, bytes_out, cost, ref sums, .. } = *intent;
                spent.debit(&terms.budget, &Spend { tool, has_effect, bytes_out, cost, sums });
            }
            // No tool is known by that name: nothing else to count it by.
            None => spent.cost = spent.cost.saturating_add(intent.cost),
        }
        standing.calls = standing.calls.saturating_add(1);
        standing.writes = standing.writes.saturating_add(u64::from(intent.has_effect));
        // Whether the result came back before the gateway ended, nobody knows: it counts as read.
        standing.labels = standing.labels.join(intent.labels);
    }
    (standing, spent)
}

/// What a grant has been used and touched, and spent beside that.
pub(super) type Used = (Standing, Spent);

/// What was used under later issues than this one, of which no row has reached the disk: whoever issues the grant anew begins with that.
pub(super) fn used_later(terms: &Grant, intents: &[ReplayedIntent]) -> Used {
    let of_later = |intent: &&ReplayedIntent| intent.grant == terms.id && intent.grant_revision > terms.revision;
    caught_up(terms, (Standing::fresh(), Spent::default()), &intents.iter().filter(of_later).cloned().collect::<Vec<_>>())
}

/// What each agent has touched by the intents that the store hasn't counted yet, under whatever issue of its grants: every grant of
/// it that has not ended is marked with that.
pub(super) fn touched(rows: &[Row], intents: &[ReplayedIntent]) -> HashMap<AgentId, Labels> {
    let agents: HashMap<&GrantId, &AgentId> = rows.iter().map(|row| (&row.terms.id, &row.terms.agent)).collect();
    let mut touched: HashMap<AgentId, Labels> = HashMap::new();
    for intent in intents.iter().filter(|intent| intent.labels != Labels::default()) {
        for agent in intent.debited.iter().chain([&intent.grant]).filter_map(|grant| agents.get(grant)) {
            let labels = touched.entry((*agent).clone()).or_default();
            *labels = labels.join(intent.labels);
        }
    }
    touched
}

impl ReplayedIntent {
    /// An older issue has been paid for by its own row. A newer one is debited to this row: its own had not reached the disk, and the
    /// task would get back what it has used.
    fn debits(&self, terms: &Grant) -> bool {
        self.debited.contains(&terms.id) && (self.grant != terms.id || self.grant_revision >= terms.revision)
    }
}
