//! What can go wrong with a trail, as the operator reads it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::Finding;
use crate::line::MAX_RECORD_BYTES;
use crate::stream::Stream;

/// Why the trail could not be opened, written or read. For operators: an agent hears none of it.
#[derive(Debug, thiserror::Error)]
pub enum TrailFault {
    /// The folder or a file in it can be opened by others.
    #[error("`{path}` can be opened by others (mode {mode:04o}): run `chmod {wanted:o} {path}`", path = path.display())]
    Exposed {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits it must have.
        wanted: u32,
    },
    /// The folder or a file in it belongs to another user.
    #[error("`{path}` belongs to user {owner}, and this is user {user}: run as its owner, or name another folder", path = path.display())]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// Something that must be a regular file is none; symbolic links are never followed.
    #[error("`{path}` is not a regular file: the trail follows no links; remove it, or name another folder", path = path.display())]
    NotRegular {
        /// What was found.
        path: PathBuf,
    },
    /// Another process has this trail open.
    #[error("another gateway{holder} uses this trail: it holds `{path}`; stop it, or name another data folder", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// ` (pid N)`, or nothing when the holder didn't say.
        holder: String,
    },
    /// The trail on disk is not what was written. Nothing is repaired: it is evidence.
    #[error("the audit trail is damaged: {0}; keep the folder as evidence, and start with another one")]
    Corrupt(Box<Finding>),
    /// `heads.json` is missing or unreadable although records exist.
    #[error("`{path}` {why}; keep the folder as evidence, and start with another one", path = path.display())]
    Heads {
        /// The heads file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system refused something while the trail was opened or read.
    #[error("cannot {doing} `{path}`: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This record was not written: one of its fields has a name that the trail uses itself.
    #[error("a record must not have a field `{field}` of its own: rename it")]
    Reserved {
        /// The name.
        field: &'static str,
    },
    /// This record was not written: it is longer than [`MAX_RECORD_BYTES`].
    #[error("a record is longer than {MAX_RECORD_BYTES} bytes: store a digest instead of the content")]
    TooLarge,
    /// This record was not written: it is no object with named fields, or can't be written as JSON.
    #[error("a record cannot be written as a JSON object: {why}")]
    Unwritable {
        /// What the serializer said.
        why: String,
    },
    /// This record was not written: its time is after the year 9999.
    #[error("`{unix_ms}` ms after 1970 is no time of a record: it is after the year 9999")]
    Time {
        /// The time given.
        unix_ms: u64,
    },
    /// Somebody waits for a record that was never written.
    #[error("stream `{stream}` has no record {seq} to wait for: only what was appended is synced")]
    NotAppended {
        /// The stream.
        stream: Stream,
        /// The record.
        seq: u64,
    },
    /// A write or a sync failed: nothing more is recorded until the gateway is started again, so nothing may happen.
    #[error("the audit trail is lost, and calls are refused until the gateway is started again: {why}")]
    Lost {
        /// The first failure.
        why: Arc<str>,
    },
}

impl TrailFault {
    /// Makes an [`TrailFault::Io`] from what the system said about `path`.
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    /// Whether the trail can't be written any more; other faults concern one record, or the opening.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

impl From<Finding> for TrailFault {
    fn from(finding: Finding) -> Self {
        Self::Corrupt(Box::new(finding))
    }
}
