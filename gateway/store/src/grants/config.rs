//! The grants of the configuration: they survive restarts as they are.

use std::{collections::BTreeSet, sync::Arc};

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Standing},
    ids::GrantId,
};

use super::{Ending, GrantFault, LiveGrants, Row, carried, rows};

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
    Reissue { revision: u64 },
    Replace { revision: u64, standing: Standing },
    Keep,
    StayEnded,
}

impl LiveGrants {
    /// Brings the grants of the configuration in line with these; durable when it returns. All of them or, at a clash of ids,
    /// none. Revisions are counted here, whatever these say. New revisions have the labels that live grants of their agent carry,
    /// those that end here among them.
    pub async fn sync_config(&self, wanted: Vec<Grant>, now_ms: u64) -> Result<ConfigSync, GrantFault> {
        let (sync, stored) = {
            let _turn = self.turn();
            if let Some(clash) = wanted.iter().find(|grant| self.is_created(&grant.id)) {
                return Err(GrantFault::Clash(clash.id.clone()));
            }
            let mut sync = ConfigSync::default();
            let ids: BTreeSet<GrantId> = wanted.iter().map(|grant| grant.id.clone()).collect();
            let mut others = self.unended(now_ms);
            let ended = self.withdraw(&ids, now_ms, &mut sync);
            let mut rows = Vec::new();
            for grant in wanted {
                if let Some(mut row) = self.bring_in(grant, now_ms, &mut sync) {
                    row.standing.labels = row.standing.labels.join(carried(&others, &row.terms.agent));
                    let row = row.into_columns()?;
                    others.push(self.adopt(&row.row, &others));
                    rows.push(row);
                }
            }
            let stored = self.store.write(move |connection| {
                ended.iter().try_for_each(|ended| ended.put(connection))?;
                rows.iter().try_for_each(|row| row.put(connection))
            });
            (sync, stored)
        };
        stored.await?;
        Ok(sync)
    }

    fn is_created(&self, id: &GrantId) -> bool {
        self.grants.get(id).is_some_and(|held| !held.entry.grant.terms().from_config)
    }

    /// Ends what the configuration no longer has.
    fn withdraw(&self, wanted: &BTreeSet<GrantId>, now_ms: u64, sync: &mut ConfigSync) -> Vec<rows::Ended> {
        let has_left = |grant: &Grant| grant.from_config && !wanted.contains(&grant.id);
        let left: Vec<GrantId> =
            (self.grants.iter().filter(|held| has_left(held.entry.grant.terms()))).map(|held| held.key().clone()).collect();
        let mut ended = Vec::new();
        for id in left {
            let reason = Some("no longer in the configuration".to_owned());
            let ending = Ending { at_ms: now_ms, by: None, reason };
            if let Some(closed) = self.close(&id, GrantState::Revoked, ending).filter(|closed| closed.was_active) {
                ended.push(closed.row);
                sync.withdrawn.push(id);
            }
        }
        ended
    }

    /// The row to write for one grant of the configuration, if any. Its old revision has ended when this returns.
    fn bring_in(&self, mut grant: Grant, now_ms: u64, sync: &mut ConfigSync) -> Option<Row> {
        let id = grant.id.clone();
        grant.from_config = true;
        let (revision, standing) = match self.step(&grant, now_ms) {
            Step::Keep => {
                sync.kept.push(id);
                return None;
            }
            Step::StayEnded => {
                sync.stay_ended.push(id);
                return None;
            }
            Step::Issue => {
                sync.issued.push(id);
                (1, Standing::fresh())
            }
            Step::Reissue { revision } => {
                sync.reissued.push(id);
                (revision, Standing::fresh())
            }
            Step::Replace { revision, standing } => {
                sync.replaced.push(id);
                (revision, standing)
            }
        };
        grant.revision = revision;
        Some(Row { terms: grant, standing, created_at_ms: now_ms, ending: None })
    }

    fn step(&self, grant: &Grant, now_ms: u64) -> Step {
        let Some(held) = self.grants.get(&grant.id) else {
            return Step::Issue;
        };
        let old = Arc::clone(&held.entry.grant);
        let is_ended_by_somebody = held.entry.ending.as_ref().is_some_and(|ending| ending.by.is_some());
        drop(held);
        let revision = old.terms().revision.saturating_add(1);
        let state = old.standing().state;
        if is_ended_by_somebody || state == GrantState::Completed {
            return Step::StayEnded;
        }
        if state != GrantState::Active || old.terms().expires_at_ms <= now_ms {
            old.end(GrantState::Expired);
            return Step::Reissue { revision };
        }
        if is_same(old.terms(), grant) {
            return Step::Keep;
        }
        // Ended first, read then: nothing is debited after that.
        old.end(GrantState::Revoked);
        Step::Replace { revision, standing: Standing { state: GrantState::Active, ..old.standing() } }
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
