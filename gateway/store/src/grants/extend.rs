//! What people add to grants while they live: tools that their agents asked for.

use std::sync::Arc;

use bailiwick_pipeline::{
    grant::{Extended, Extension, GrantState, LiveGrant, MOST_EXTENSIONS},
    ids::GrantId,
    ports::Grants as _,
};
use rusqlite::{Connection, params};

use super::{GrantFault, Held, LiveGrants};
use crate::{
    fault::{StoreFault, WriteFault},
    rows::{self, Place, column, to_json},
};

/// A grant, and what of its extensions has ended.
pub type Narrowed = (Arc<LiveGrant>, Vec<Extension>);

/// The extensions of a grant, as they are stored.
pub(super) struct ExtendedColumns {
    id: GrantId,
    issue: u64,
    extended: String,
}

impl ExtendedColumns {
    fn of(grant: &LiveGrant, extended: &Extended) -> Result<Self, WriteFault> {
        Ok(Self { id: grant.terms().id.clone(), issue: grant.terms().revision, extended: to_json(extended)? })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO grant_extensions (grant_id, issue, extended) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![self.id.as_str(), column(self.issue), self.extended]).map(drop)
    }
}

/// What is stored of extensions: of which grant, of which issue of it.
pub(super) fn load(connection: &Connection) -> Result<Vec<(GrantId, u64, Extended)>, StoreFault> {
    let sql = "SELECT grant_id, issue, extended FROM grant_extensions";
    let stored: Vec<(String, i64, String)> = rows::all(connection, sql, |row| row.try_into())?;
    let read = |(id, issue, extended): (String, i64, String)| {
        let place = Place { table: "grant_extensions", row: &id };
        Ok((place.parse(&id)?, place.number(issue)?, place.json(&extended)?))
    };
    stored.into_iter().map(read).collect()
}

/// Forgets the extensions of every issue of a grant.
pub(super) fn delete(connection: &Connection, id: &GrantId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM grant_extensions WHERE grant_id = ?1")?.execute([id.as_str()]).map(drop)
}

impl LiveGrants {
    /// Adds tools to a live grant: another revision of it; durable when it returns. Where that can't be stored it is taken back. Whether
    /// these tools may be added is for whoever calls this to know.
    pub async fn extend(&self, id: &GrantId, more: Vec<Extension>, now_ms: u64) -> Result<Arc<LiveGrant>, GrantFault> {
        self.extend_with(id, more, now_ms, |_| Ok(())).await
    }

    /// The same, and what else is to be stored with it: both or neither.
    pub(crate) async fn extend_with(
        &self,
        id: &GrantId,
        more: Vec<Extension>,
        now_ms: u64,
        also: impl Fn(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<Arc<LiveGrant>, GrantFault> {
        let (grant, before, stored) = {
            let _turn = self.turn();
            let grant = self.by_id(id).ok_or_else(|| GrantFault::Unknown(id.clone()))?;
            if !grant.is_live(now_ms) || grant.standing().state != GrantState::Active {
                return Err(GrantFault::NotExtendable(id.clone()));
            }
            grant.end_extensions(now_ms);
            let before = grant.extended();
            let number = before.with(&more).extensions.len();
            if number > MOST_EXTENSIONS {
                return Err(GrantFault::TooLong { id: id.clone(), what: "extensions", number, most: MOST_EXTENSIONS });
            }
            let extended = grant.change_extensions(|extended| extended.with(&more));
            let columns = ExtendedColumns::of(&grant, &extended)?;
            self.noted(&grant, &extended);
            let stored = self.store.write(move |connection| {
                columns.put(connection)?;
                also(connection)
            });
            (grant, before, stored)
        };
        if let Err(fault) = stored.await {
            let had = |extension: &Extension| before.extensions.contains(extension);
            grant.change_extensions(|extended| extended.keeping(had));
            self.changed();
            return Err(fault.into());
        }
        Ok(grant)
    }

    /// Ends those extensions of live grants that are not to stay, and those whose time is over. What ended now is told, whatever came of
    /// storing it: nothing is authorized by it any more when this returns.
    pub fn narrow(
        &self,
        now_ms: u64,
        stays: &dyn Fn(&LiveGrant, &Extension) -> bool,
    ) -> (Vec<Narrowed>, impl Future<Output = Result<(), WriteFault>> + Send + use<>) {
        let _turn = self.turn();
        let mut ended = Vec::new();
        let mut columns = Vec::new();
        let mut fault = None;
        let is_meant = |held: &Held| held.entry.ending.is_none() && held.entry.grant.has_been_extended();
        let extended: Vec<_> =
            self.grants.iter().filter(|held| is_meant(held)).map(|held| Arc::clone(&held.entry.grant)).collect();
        for grant in extended {
            let now = grant.change_extensions(|extended| {
                extended.keeping(|extension| !extension.is_over(now_ms) && stays(&grant, extension))
            });
            let stored = self.noted(&grant, &now);
            if now == stored {
                continue;
            }
            let is_gone = |extension: &&Extension| !now.extensions.contains(extension);
            let gone: Vec<Extension> = stored.extensions.iter().filter(is_gone).cloned().collect();
            match ExtendedColumns::of(&grant, &now) {
                Ok(row) => columns.push(row),
                Err(unstorable) => fault = Some(unstorable),
            }
            if !gone.is_empty() {
                ended.push((grant, gone));
            }
        }
        let stored = (!columns.is_empty())
            .then(|| self.store.write(move |connection| columns.iter().try_for_each(|row| row.put(connection))));
        let stored = async move {
            if let Some(stored) = stored {
                stored.await?;
            }
            fault.map_or(Ok(()), Err)
        };
        (ended, stored)
    }

    /// Notes which extensions the store gets, and says which it had.
    fn noted(&self, grant: &Arc<LiveGrant>, now: &Extended) -> Extended {
        let mut held = self.grants.get_mut(&grant.terms().id).filter(|held| Arc::ptr_eq(&held.entry.grant, grant));
        let had = held.as_mut().map(|held| std::mem::replace(&mut held.extended, now.clone())).unwrap_or_default();
        if had != *now {
            self.changed();
        }
        had
    }
}
