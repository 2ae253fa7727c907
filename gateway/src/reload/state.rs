//! How the last reload went: for status, metrics, and whoever looks whether files changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bailiwick_config::PolicyFile;

use crate::sources::Snapshot;

/// How reloads went, and what is in force.
#[derive(Debug)]
pub struct Reloads {
    now: Mutex<Standing>,
}

/// How reloads went, and what is in force.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Counts the configurations since the start, from 1.
    pub epoch: u64,
    /// The digest of the files in force.
    pub digest: String,
    /// Since when they are, unix milliseconds.
    pub since_ms: u64,
    /// Reloads that were taken.
    pub applied: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// The last one, if there was one.
    pub last: Option<Last>,
    /// The keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
    /// What the last attempt read, taken or not.
    /// What the bundles in force call themselves: name and version.
    pub bundles: Vec<String>,
    tried: Snapshot,
    watched: Vec<PolicyFile>,
}

/// The last reload.
#[derive(Debug, Clone)]
pub struct Last {
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
    /// Why it was refused, line by line; empty if it was taken.
    pub why: Vec<String>,
}

impl Reloads {
    /// What a start has put in force.
    pub(crate) fn begin(files: Snapshot, watched: Vec<PolicyFile>, now_ms: u64) -> Self {
        let digest = files.digest().to_string();
        let now = Standing {
            epoch: 1,
            digest,
            since_ms: now_ms,
            applied: 0,
            refused: 0,
            last: None,
            needs_restart: Vec::new(),
            bundles: Vec::new(),
            tried: files,
            watched,
        };
        Self { now: Mutex::new(now) }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    /// What was read last, and the policy files that belong to it.
    pub(crate) fn tried(&self) -> (Snapshot, Vec<PolicyFile>) {
        let now = self.lock();
        (now.tried.clone(), now.watched.clone())
    }

    /// Something was read: it is not worth reading again before it changes.
    pub(super) fn try_out(&self, files: &Snapshot, watched: &[PolicyFile]) {
        let mut now = self.lock();
        now.tried = files.clone();
        now.watched = watched.to_vec();
    }

    /// The bundles in force call themselves so.
    pub(crate) fn name_bundles(&self, titles: Vec<String>) {
        self.lock().bundles = titles;
    }

    /// It was taken. Returns the new epoch.
    pub(super) fn applied(&self, digest: &str, needs_restart: &[String], at_ms: u64, by: &str) -> u64 {
        let mut now = self.lock();
        now.epoch += 1;
        digest.clone_into(&mut now.digest);
        now.since_ms = at_ms;
        now.needs_restart = needs_restart.to_vec();
        now.applied += 1;
        now.last = Some(Last { at_ms, by: by.to_owned(), why: Vec::new() });
        now.epoch
    }

    /// It was refused.
    pub(super) fn refused(&self, why: Vec<String>, at_ms: u64, by: &str) {
        let mut now = self.lock();
        now.refused += 1;
        now.last = Some(Last { at_ms, by: by.to_owned(), why });
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Plain values: they are whole after a panic elsewhere.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
