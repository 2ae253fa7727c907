//! Grants as rows.

use std::collections::BTreeSet;

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Labels, LiveGrant, Spent, Standing},
    ids::GrantId,
};
use rusqlite::{Connection, params};

use super::{Ending, GrantEntry};
use crate::{
    fault::{StoreFault, WriteFault},
    rows::{self, Place, column, to_json},
};

/// A grant as it is stored.
pub(super) struct Row {
    pub(super) terms: Grant,
    pub(super) standing: Standing,
    pub(super) spent: Spent,
    pub(super) created_at_ms: u64,
    pub(super) ending: Option<Ending>,
}

/// A row whose JSON is made: writing it can fail only for the database's sake.
pub(super) struct RowColumns {
    pub(super) row: Row,
    terms: String,
    labels: String,
    spent: String,
}

/// What using a grant changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    calls: u64,
    writes: u64,
    labels: Labels,
    spent: Spent,
}

pub(super) struct UsageColumns {
    id: String,
    revision: u64,
    usage: Usage,
    labels: String,
    spent: String,
}

/// The end of a grant. Usage is not part of it: that is stored with the trail's cursor only, so that nothing counts twice.
pub(super) struct Ended {
    id: String,
    revision: u64,
    state: GrantState,
    ending: Option<Ending>,
}

type Stored = (String, i64, String, String, i64, i64, String, String, i64, Option<i64>, Option<String>, Option<String>);

pub(super) fn load(connection: &Connection) -> Result<Vec<Row>, StoreFault> {
    let sql = "SELECT id, revision, terms, state, calls, writes, labels, spent, created_ms, ended_ms, ended_by, \
         ended_reason FROM grants";
    rows::all(connection, sql, |row| row.try_into())?.into_iter().map(read).collect()
}

/// Puts each grant behind the one that it was handed on from. Rows that name each other stay behind, and find no grant above them.
pub(super) fn parents_first(rows: &mut Vec<Row>) {
    let mut rest = std::mem::take(rows);
    let mut placed = BTreeSet::new();
    loop {
        let (ready, waiting): (Vec<Row>, Vec<Row>) =
            rest.into_iter().partition(|row| row.terms.parent.as_ref().is_none_or(|parent| placed.contains(parent)));
        placed.extend(ready.iter().map(|row| row.terms.id.clone()));
        let is_done = ready.is_empty();
        rows.extend(ready);
        rest = waiting;
        if is_done {
            break;
        }
    }
    rows.extend(rest);
}

fn read(stored: Stored) -> Result<Row, StoreFault> {
    let (id, revision, terms, state, calls, writes, labels, spent, created, ended, by, reason) = stored;
    let place = Place { table: "grants", row: &id };
    let terms: Grant = place.json(&terms)?;
    if terms.id.as_str() != id || Ok(terms.revision) != place.number(revision).map_err(drop) {
        return Err(place.fault("its terms are those of another grant"));
    }
    let standing = Standing {
        state: place.word(&state)?,
        calls: place.number(calls)?,
        writes: place.number(writes)?,
        labels: place.json(&labels)?,
    };
    let ending = ended.map(|at| place.number(at).map(|at_ms| Ending { at_ms, by, reason })).transpose()?;
    if (standing.state == GrantState::Active) != ending.is_none() {
        return Err(place.fault("its state and its end contradict each other"));
    }
    let spent = place.json(&spent)?;
    Ok(Row { terms, standing, spent, created_at_ms: place.number(created)?, ending })
}

impl Row {
    pub(super) fn into_columns(self) -> Result<RowColumns, WriteFault> {
        let (terms, labels, spent) = (to_json(&self.terms)?, to_json(&self.standing.labels)?, to_json(&self.spent)?);
        Ok(RowColumns { row: self, terms, labels, spent })
    }
}

impl RowColumns {
    /// Puts the row in the place of any earlier issue, whose tokens go.
    pub(super) fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Row { terms, standing, created_at_ms, .. } = &self.row;
        let sql = "INSERT OR REPLACE INTO grants (id, revision, terms, state, calls, writes, labels, spent, created_ms) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        connection.prepare_cached(sql)?.execute(params![
            terms.id.as_str(),
            column(terms.revision),
            self.terms,
            standing.state.as_str(),
            column(standing.calls),
            column(standing.writes),
            self.labels,
            self.spent,
            column(*created_at_ms),
        ])?;
        // What was added to an earlier issue goes with it.
        super::extend::delete(connection, &terms.id)?;
        let sql = "DELETE FROM grant_tokens WHERE grant_id = ?1 AND revision < ?2";
        connection.prepare_cached(sql)?.execute(params![terms.id.as_str(), column(terms.revision)]).map(drop)
    }
}

impl Usage {
    pub(super) fn of(standing: &Standing, spent: Spent) -> Self {
        Self { calls: standing.calls, writes: standing.writes, labels: standing.labels, spent }
    }

    pub(super) fn of_live(grant: &LiveGrant) -> Self {
        Self::of(&grant.standing(), grant.spent())
    }

    pub(super) fn to_columns(&self, terms: &Grant) -> Result<UsageColumns, WriteFault> {
        let (labels, spent) = (to_json(&self.labels)?, to_json(&self.spent)?);
        Ok(UsageColumns { id: terms.id.to_string(), revision: terms.revision, usage: self.clone(), labels, spent })
    }
}

impl UsageColumns {
    pub(super) fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE grants SET calls = ?3, writes = ?4, labels = ?5, spent = ?6 WHERE id = ?1 AND revision = ?2";
        let (calls, writes) = (column(self.usage.calls), column(self.usage.writes));
        let columns = params![self.id, column(self.revision), calls, writes, self.labels, self.spent];
        connection.prepare_cached(sql)?.execute(columns).map(drop)
    }
}

impl Ended {
    pub(super) fn of(entry: &GrantEntry) -> Self {
        let terms = entry.grant.terms();
        Self {
            id: terms.id.to_string(),
            revision: terms.revision,
            state: entry.grant.standing().state,
            ending: entry.ending.clone(),
        }
    }

    /// What somebody has ended stays as they ended it; an ending by nobody gives way.
    pub(super) fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE grants SET state = ?3, ended_ms = ?4, ended_by = ?5, ended_reason = ?6 \
                   WHERE id = ?1 AND revision = ?2 AND (state = 'active' OR ended_by IS NULL)";
        let (at, by, reason) = match &self.ending {
            Some(ending) => (Some(column(ending.at_ms)), ending.by.as_deref(), ending.reason.as_deref()),
            None => (None, None, None),
        };
        connection
            .prepare_cached(sql)?
            .execute(params![self.id, column(self.revision), self.state.as_str(), at, by, reason])
            .map(drop)
    }
}

/// Forgets a grant that ended long ago, and its tokens.
pub(super) fn delete(connection: &Connection, id: &GrantId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM grants WHERE id = ?1 AND state <> 'active'")?.execute([id.as_str()])?;
    super::extend::delete(connection, id)?;
    connection.prepare_cached("DELETE FROM grant_tokens WHERE grant_id = ?1")?.execute([id.as_str()]).map(drop)
}
