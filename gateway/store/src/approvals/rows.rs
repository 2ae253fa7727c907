//! Approvals as rows.

use std::collections::BTreeSet;

use bailiwick_pipeline::ids::ApprovalId;
use rusqlite::{Connection, params};

use super::record::{Approval, ApprovalState};
use crate::{
    fault::StoreFault,
    rows::{self, Place},
};

/// An approval, and its sealed arguments while they are kept.
type Kept = (Approval, Option<Vec<u8>>);

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

pub(super) fn insert(connection: &Connection, approval: &Approval, sealed: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO approvals (id, state, record, sealed) VALUES (?1, ?2, ?3, ?4)";
    let record = to_json(approval)?;
    connection.prepare_cached(sql)?.execute(params![approval.id.as_str(), approval.state.as_str(), record, sealed]).map(drop)
}

/// Writes what became of it. Arguments that nobody needs any more go.
pub(super) fn update(connection: &Connection, approval: &Approval) -> rusqlite::Result<()> {
    let sql = "UPDATE approvals SET state = ?2, record = ?3, sealed = CASE WHEN ?4 THEN sealed ELSE NULL END WHERE id = ?1";
    let (record, keep) = (to_json(approval)?, approval.state.needs_arguments());
    connection.prepare_cached(sql)?.execute(params![approval.id.as_str(), approval.state.as_str(), record, keep]).map(drop)
}

pub(super) fn delete(connection: &Connection, ids: &BTreeSet<ApprovalId>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM approvals WHERE id = ?1")?;
    ids.iter().try_for_each(|id| statement.execute([id.as_str()]).map(drop))
}

fn to_json(approval: &Approval) -> rusqlite::Result<String> {
    serde_json::to_string(approval).map_err(|fault| rusqlite::Error::ToSqlConversionFailure(fault.into()))
}
