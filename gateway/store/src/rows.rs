//! From columns to values and back.

use std::str::FromStr;

use rusqlite::{Connection, Row};
use serde::{Serialize, de::DeserializeOwned};

use crate::fault::{StoreFault, WriteFault};

/// Where a value was read from, for the fault that names it.
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
}

impl Place<'_> {
    pub(crate) fn fault(&self, why: &(impl ToString + ?Sized)) -> StoreFault {
        StoreFault::Row { table: self.table, row: self.row.to_owned(), why: why.to_string() }
    }

    /// An id or name.
    pub(crate) fn parse<T: FromStr<Err: ToString>>(&self, text: &str) -> Result<T, StoreFault> {
        text.parse().map_err(|fault: T::Err| self.fault(&fault))
    }

    /// A value stored as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreFault> {
        serde_json::from_str(text).map_err(|fault| self.fault(&fault))
    }

    /// A value that is one word in JSON, and stored without its quotation marks.
    pub(crate) fn word<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreFault> {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|fault| self.fault(&fault))
    }

    /// A time or count: never negative.
    pub(crate) fn number(&self, stored: i64) -> Result<u64, StoreFault> {
        u64::try_from(stored).map_err(|_| self.fault(&format!("{stored} is negative")))
    }

    /// A SHA-256.
    pub(crate) fn hash(&self, stored: Vec<u8>) -> Result<[u8; 32], StoreFault> {
        stored.try_into().map_err(|stored: Vec<u8>| self.fault(&format!("a hash of {} bytes", stored.len())))
    }
}

/// All rows of a query.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreFault> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

/// A value as JSON, for a column.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, WriteFault> {
    serde_json::to_string(value).map_err(|fault| WriteFault::Unstorable(fault.to_string()))
}

/// A time or count as `SQLite` has it: what doesn't fit is far beyond any use.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
