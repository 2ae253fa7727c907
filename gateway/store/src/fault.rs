//! What can go wrong with the store, as the operator reads it.

use std::{io, path::PathBuf};

/// Why the store could not be opened or read. For operators: an agent hears none of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreFault {
    /// A file can be opened, or a folder be written, by others.
    #[error("`{path}` is open to others (mode {mode:04o}): run `chmod {wanted:o} {path}`", path = path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// A file that belongs to another user.
    #[error("`{path}` belongs to user {owner}, and this is user {us}: run as the user that owns the data folder", path = path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Not a plain file, or not a folder.
    #[error("`{path}` is not a plain {wanted}: move it away", path = path.display())]
    NotPlain {
        /// Where.
        path: PathBuf,
        /// `file` or `folder`.
        wanted: &'static str,
    },
    /// Another process, or another part of this one, has it open.
    #[error("`{path}` is held by another gateway: stop that one, or use another folder with `--data`", path = path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("`{path}` can't be used: {fault}", path = path.display())]
    Files {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        fault: io::Error,
    },
    /// It is no database, or a damaged one.
    #[error(
        "`{path}` is damaged ({why}): restore it from a backup, or move it away to start without grants, tokens, approvals and pins",
        path = path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A database, but not one of ours.
    #[error("`{path}` is a database of another program: use another folder with `--data`", path = path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error(
        "`{path}` was written by a newer bailiwick (schema {found}; this one knows {known}): run that version, or restore a backup \
         made before the upgrade",
        path = path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// The key that seals approved arguments is not one.
    #[error("`{path}` is not a key of 32 bytes: restore it from a backup, or move it away (open approvals are then void)", path = path.display())]
    Key {
        /// The key file.
        path: PathBuf,
    },
    /// A row can't be read as what it must be.
    #[error("the {table} row `{row}` can't be read ({why}): restore a backup, or delete that row")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database could not be read.
    #[error("the store can't be read: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// Why something was not written. Nothing of it is in the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteFault {
    /// The store can't be written any more: everything that needs it is denied until a restart.
    #[error("the store can't be written any more ({0}): mend the cause, then restart")]
    Lost(String),
    /// This one change is at odds with what is stored; others are not touched by it.
    #[error("the store refuses this change: {0}")]
    Conflict(String),
    /// It could not be put into the form in which it is stored.
    #[error("it can't be stored: {0}")]
    Unstorable(String),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}
