//! Approvals as rows, and what is still to be told of them.

use std::collections::BTreeSet;

use bailiwick_pipeline::ids::ApprovalId;
use rusqlite::{Connection, params};

use super::{
    events::{ApprovalEvent, Happened},
    record::{Approval, ApprovalState},
};
use crate::{
    fault::StoreFault,
    rows::{self, Place, column},
};

/// An approval, and its sealed arguments while they are kept.
type Kept = (Approval, Option<Vec<u8>>);

/// What became of an approval, as it is to be stored.
#[derive(Clone)]
pub(super) struct Moved {
    pub(super) approval: Approval,
    /// What is to be told of it, and since when, where anybody listens.
    pub(super) event: Option<(Happened, u64)>,
}

/// All approvals, with their sealed arguments.
pub(super) fn load(connection: &Connection) -> Result<Vec<Kept>, StoreFault> {
    let stored = rows::all(connection, "SELECT id, state, record, sealed FROM approvals", |row| {
        let stored: (String, String, String, Option<Vec<u8>>) = row.try_into()?;
        Ok(stored)
    })?;
    let read = |(id, state, record, sealed): (String, String, String, Option<Vec<u8>>)| {
        let place = Place { table: "approvals", row: &id };
        let approval: Approval = place.json(&record)?;
        let state: ApprovalState = place.word(&state)?;
        if approval.id.as_str() != id || approval.state != state {
            return Err(place.fault("its record is that of another approval or state"));
        }
        Ok((approval, sealed))
    };
    stored.into_iter().map(read).collect()
}

pub(super) fn insert(connection: &Connection, moved: &Moved, sealed: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO approvals (id, state, record, sealed) VALUES (?1, ?2, ?3, ?4)";
    let (approval, record) = (&moved.approval, to_json(&moved.approval)?);
    connection.prepare_cached(sql)?.execute(params![approval.id.as_str(), approval.state.as_str(), record, sealed])?;
    tell(connection, moved)
}

/// Writes what became of it. Arguments that nobody needs any more go.
pub(super) fn update(connection: &Connection, moved: &Moved) -> rusqlite::Result<()> {
    let sql = "UPDATE approvals SET state = ?2, record = ?3, sealed = CASE WHEN ?4 THEN sealed ELSE NULL END WHERE id = ?1";
    let approval = &moved.approval;
    let (record, keep) = (to_json(approval)?, approval.state.needs_arguments());
    connection.prepare_cached(sql)?.execute(params![approval.id.as_str(), approval.state.as_str(), record, keep])?;
    tell(connection, moved)
}

pub(super) fn delete(connection: &Connection, ids: &BTreeSet<ApprovalId>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM approvals WHERE id = ?1")?;
    ids.iter().try_for_each(|id| statement.execute([id.as_str()]).map(drop))
}

/// What is still to be told, the oldest first.
pub(super) fn events(connection: &Connection, after: u64, most: usize) -> Result<Vec<ApprovalEvent>, StoreFault> {
    let sql = "SELECT seq, approval, event, state, at_ms FROM approval_events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let stored = statement.query_map(params![column(after), most], |row| {
        let stored: (i64, String, String, String, i64) = row.try_into()?;
        Ok(stored)
    })?;
    let read = |(seq, approval, event, state, at_ms): (i64, String, String, String, i64)| {
        let row = seq.to_string();
        let place = Place { table: "approval_events", row: &row };
        Ok(ApprovalEvent {
            seq: place.number(seq)?,
            approval: place.parse(&approval)?,
            event: place.word(&event)?,
            state: place.word(&state)?,
            at_ms: place.number(at_ms)?,
        })
    };
    stored.map(|row| read(row?)).collect()
}

/// What was told need not be told again.
pub(super) fn delivered(connection: &Connection, up_to: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM approval_events WHERE seq <= ?1")?.execute([column(up_to)]).map(drop)
}

/// What nobody took in time is not told any more.
pub(super) fn drop_events(connection: &Connection, before_ms: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM approval_events WHERE at_ms < ?1")?.execute([column(before_ms)]).map(drop)
}

fn tell(connection: &Connection, moved: &Moved) -> rusqlite::Result<()> {
    let Some((event, at_ms)) = moved.event else {
        return Ok(());
    };
    let sql = "INSERT INTO approval_events (approval, event, state, at_ms) VALUES (?1, ?2, ?3, ?4)";
    let (id, state) = (moved.approval.id.as_str(), moved.approval.state.as_str());
    connection.prepare_cached(sql)?.execute(params![id, event.as_str(), state, column(at_ms)]).map(drop)
}

fn to_json(approval: &Approval) -> rusqlite::Result<String> {
    serde_json::to_string(approval).map_err(|fault| rusqlite::Error::ToSqlConversionFailure(fault.into()))
}
