//! The grants of the configuration: they survive restarts as they are.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, MutexGuard},
};

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Labels, LiveGrant, Spent, Standing},
    ids::GrantId,
};

use super::{Closed, Ending, GrantFault, LiveGrants, Row, carried, rows, usage::Used};
use crate::fault::WriteFault;

/// What bringing the grants in line with the configuration came to. A grant is in exactly one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSync {
    /// New ones.
    pub issued: Vec<GrantId>,
    /// Expired ones, or ones that had left the configuration, under a new revision with nothing used.
    pub reissued: Vec<GrantId>,
    /// Ones whose terms changed: the old revision has ended; what was used and touched under it is carried over.
    pub replaced: Vec<GrantId>,
    /// Unchanged ones.
    pub kept: Vec<GrantId>,
    /// Ones that somebody revoked or completed: they stay so.
    pub stay_ended: Vec<GrantId>,
    /// Ones that are no longer in the configuration: they have ended.
    pub withdrawn: Vec<GrantId>,
}

/// What is to become of a grant that the configuration wants.
enum Step {
    Issue,
    Reissue { revision: u64, old: Arc<LiveGrant>, used: Used },
    Replace { revision: u64, old: Arc<LiveGrant> },
    Keep,
    StayEnded,
}

/// The grants of the configuration on their way to be others: nobody else makes or ends a grant meanwhile. What is narrower comes
/// first, what is wider last, and between the two whoever changes them changes what else belongs to it.
///
/// Dropped before it is widened it leaves the grants narrowed: no right comes of that.
#[must_use = "grants are changed by narrowing and widening them"]
pub struct ConfigChange<'g> {
    grants: &'g LiveGrants,
    _turn: MutexGuard<'g, ()>,
    wanted: Vec<Grant>,
    now_ms: u64,
    sync: ConfigSync,
    /// The live grants as they were, for the labels they carry.
    others: Vec<Arc<LiveGrant>>,
    steps: Vec<(Grant, Step)>,
    ended: Vec<rows::Ended>,
}

impl LiveGrants {
    /// Brings the grants of the configuration in line with these; durable when it returns. All of them or, at a clash of ids,
    /// none. Revisions are counted here, whatever these say. New revisions have the labels that live grants of their agent carry,
    /// those that end here among them.
    pub async fn sync_config(&self, wanted: Vec<Grant>, now_ms: u64) -> Result<ConfigSync, GrantFault> {
        let (sync, stored) = {
            let mut change = self.change_config(wanted, now_ms)?;
            drop(change.narrow());
            change.widen()
        };
        stored.await?;
        Ok(sync)
    }

    /// Begins to bring the grants of the configuration in line with these; nothing has changed when this returns, and after it
    /// nothing can fail but the store.
    pub fn change_config(&self, wanted: Vec<Grant>, now_ms: u64) -> Result<ConfigChange<'_>, GrantFault> {
        let turn = self.turn();
        if let Some(clash) = wanted.iter().find(|grant| self.is_created(&grant.id)) {
            return Err(GrantFault::Clash(clash.id.clone()));
        }
        for grant in &wanted {
            drop(Row::fresh(grant.clone(), now_ms).into_columns()?);
        }
        let others = self.unended(now_ms);
        let (sync, steps, ended) = (ConfigSync::default(), Vec::new(), Vec::new());
        Ok(ConfigChange { grants: self, _turn: turn, wanted, now_ms, sync, others, steps, ended })
    }

    fn is_created(&self, id: &GrantId) -> bool {
        self.grants.get(id).is_some_and(|held| !held.entry.grant.terms().from_config)
    }

    fn step(&self, grant: &Grant, now_ms: u64) -> Step {
        let Some(held) = self.grants.get(&grant.id) else {
            return Step::Issue;
        };
        let (old, used) = (Arc::clone(&held.entry.grant), held.used_later.clone());
        let is_ended_by_somebody = held.entry.ending.as_ref().is_some_and(|ending| ending.by.is_some());
        drop(held);
        // Beyond each revision that extensions have made of it: what was approved under one of them is good under no other.
        let revision = old.revision().saturating_add(1);
        let state = old.standing().state;
        if is_ended_by_somebody || state == GrantState::Completed {
            return Step::StayEnded;
        }
        if state != GrantState::Active || old.terms().expires_at_ms <= now_ms {
            old.end(GrantState::Expired);
            return Step::Reissue { revision, old, used };
        }
        if is_same(old.terms(), grant) {
            return Step::Keep;
        }
        old.end(GrantState::Revoked);
        Step::Replace { revision, old }
    }
}

impl ConfigChange<'_> {
    /// Ends what the configuration no longer has, and the old revisions of what it has otherwise: from here on nothing is
    /// authorized under them, and calls in flight are cancelled. Returns those revisions.
    pub fn narrow(&mut self) -> Vec<Arc<LiveGrant>> {
        let ids: BTreeSet<GrantId> = self.wanted.iter().map(|grant| grant.id.clone()).collect();
        let mut ended = self.withdraw(&ids);
        for mut grant in std::mem::take(&mut self.wanted) {
            grant.from_config = true;
            let step = self.grants.step(&grant, self.now_ms);
            if let Step::Reissue { old, .. } | Step::Replace { old, .. } = &step {
                ended.push(Arc::clone(old));
                // What was handed on from it was cut from terms that are no more.
                let why = Ending {
                    at_ms: self.now_ms,
                    by: None,
                    reason: Some(format!("grant `{}` above it was issued anew", grant.id)),
                };
                let below = self.grants.fall(&grant.id, GrantState::Revoked, &why);
                self.take(below, &mut ended);
            }
            self.steps.push((grant, step));
        }
        ended
    }

    /// Issues what is new and what changed. Returns what it all came to, and what tells when it is durable.
    pub fn widen(mut self) -> (ConfigSync, impl Future<Output = Result<(), WriteFault>> + use<>) {
        let mut rows = Vec::new();
        for (grant, step) in std::mem::take(&mut self.steps) {
            let Some(mut row) = self.row(grant, &step) else { continue };
            row.standing.labels = row.standing.labels.join(carried(&self.others, &row.terms.agent));
            // Tried when the change began: a row that can't be written is left out, which gives no right.
            let Ok(row) = row.into_columns() else { continue };
            self.others.push(self.grants.adopt(&row.row, &self.others, None));
            rows.push(row);
        }
        let ended = std::mem::take(&mut self.ended);
        let stored = self.grants.store.write(move |connection| {
            ended.iter().try_for_each(|ended| ended.put(connection))?;
            rows.iter().try_for_each(|row| row.put(connection))
        });
        (self.sync, stored)
    }

    /// Ends what the configuration no longer has.
    fn withdraw(&mut self, wanted: &BTreeSet<GrantId>) -> Vec<Arc<LiveGrant>> {
        let has_left = |grant: &Grant| grant.from_config && !wanted.contains(&grant.id);
        let held = self.grants.grants.iter().filter(|held| has_left(held.entry.grant.terms()));
        let left: Vec<GrantId> = held.map(|held| held.key().clone()).collect();
        let mut gone = Vec::new();
        for id in left {
            let reason = Some("no longer in the configuration".to_owned());
            let ending = Ending { at_ms: self.now_ms, by: None, reason };
            if let Some(closed) = self
                .grants
                .close(&id, GrantState::Revoked, ending)
                .filter(|closed| closed.first().is_some_and(|first| first.was_active))
            {
                self.sync.withdrawn.push(id);
                self.take(closed, &mut gone);
            }
        }
        gone
    }

    fn take(&mut self, closed: Vec<Closed>, gone: &mut Vec<Arc<LiveGrant>>) {
        for one in closed {
            self.ended.push(one.row);
            gone.push(one.grant);
        }
    }

    /// The row to write for one grant of the configuration, if any.
    fn row(&mut self, mut grant: Grant, step: &Step) -> Option<Row> {
        let id = grant.id.clone();
        let (list, issued) = match step {
            Step::Keep => (&mut self.sync.kept, None),
            Step::StayEnded => (&mut self.sync.stay_ended, None),
            Step::Issue => (&mut self.sync.issued, Some((1, (Standing::fresh(), Spent::default())))),
            Step::Reissue { revision, old, used } => {
                // Taken out and put back within its lifetime it is still the same task: what that has touched stays on it.
                let is_same_task = self.now_ms < old.terms().expires_at_ms;
                let labels = if is_same_task { old.standing().labels } else { Labels::default() };
                let standing = Standing { labels: labels.join(used.0.labels), ..used.0 };
                (&mut self.sync.reissued, Some((*revision, (standing, used.1.clone()))))
            }
            // It has ended: nothing is debited any more.
            Step::Replace { revision, old } => (
                &mut self.sync.replaced,
                Some((*revision, (Standing { state: GrantState::Active, ..old.standing() }, old.spent()))),
            ),
        };
        list.push(id);
        let (revision, (standing, spent)) = issued?;
        grant.revision = revision;
        Some(Row { terms: grant, standing, spent, created_at_ms: self.now_ms, ending: None })
    }
}

impl fmt::Debug for ConfigChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigChange").field("sync", &self.sync).finish_non_exhaustive()
    }
}

/// Whether the configuration says what it said: the times follow from when it was read, so only the length counts.
fn is_same(old: &Grant, new: &Grant) -> bool {
    let lifetime = |grant: &Grant| grant.expires_at_ms.saturating_sub(grant.not_before_ms);
    let mut like_old = new.clone();
    like_old.revision = old.revision;
    like_old.not_before_ms = old.not_before_ms;
    like_old.expires_at_ms = old.expires_at_ms;
    lifetime(old) == lifetime(new) && like_old == *old
}
