//! What people added to a grant while it lives: single tools that its agent asked for. The terms stay what they are; each change makes
//! another revision of the grant, so that nothing that was judged under one of them is committed under another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{canonical::Digest, names::QualifiedName};
use serde::{Deserialize, Serialize};

use super::{Capability, Grant, LiveGrant, ToolPattern};
use crate::{catalogue::Tool, ids::RequestId};

/// No grant is extended by more tools than these.
pub const MOST_EXTENSIONS: usize = 100;

/// One tool that a person added to a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The tool.
    pub tool: QualifiedName,
    /// Until when, unix milliseconds; not set means for as long as the grant lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// The request that asked for it.
    pub request: RequestId,
    /// Who granted it.
    pub by: String,
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// What the tool was when they did; not known of those that an earlier version stored, which give nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant: Option<Meant>,
}

/// What a tool was when a person added it. What it becomes later was not in front of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meant {
    /// What it did.
    pub kind: Kind,
    /// How risky it was.
    pub band: Band,
    /// The digest of its accepted definition.
    pub pin: Digest,
}

impl Meant {
    /// What a tool is now.
    pub fn of(tool: &Tool) -> Self {
        Self { kind: tool.kind, band: tool.band, pin: tool.digest }
    }

    /// Whether what it is now is what it was, or less risky.
    pub fn still_is(&self, now: &Self) -> bool {
        self.kind == now.kind && self.band >= now.band && self.pin == now.pin
    }
}

impl Extension {
    /// The right that it gives: the tool as what it was, and as nothing else. None at all where that is not known.
    fn right(&self) -> Capability {
        let kinds: BTreeSet<Kind> = self.meant.iter().map(|meant| meant.kind).collect();
        Capability { tools: ToolPattern::Tool(self.tool.clone()), kinds: Some(kinds), args: BTreeMap::new() }
    }

    /// Whether its time is over.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until_ms| until_ms <= now_ms)
    }
}

/// The extensions of a grant, and which revision of it they make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extended {
    /// Each change of it counts one on; never less than that of the terms.
    pub revision: u64,
    /// In the order in which they were granted, each tool once.
    pub extensions: Vec<Extension>,
}

impl Extended {
    /// The same, and what this person granted; what was there of a tool gives way.
    #[must_use]
    pub fn with(&self, more: &[Extension]) -> Self {
        let is_kept = |extension: &&Extension| !more.iter().any(|one| one.tool == extension.tool);
        let extensions = self.extensions.iter().filter(is_kept).cloned().chain(more.iter().cloned()).collect();
        Self { revision: self.revision.saturating_add(1), extensions }
    }

    /// The same without those that are not to stay; as it was where all are. Each that goes counts one on: how many went is how many
    /// revisions there were, whoever counts them and when.
    #[must_use]
    pub fn keeping(&self, stays: impl Fn(&Extension) -> bool) -> Self {
        let extensions: Vec<Extension> = self.extensions.iter().filter(|extension| stays(extension)).cloned().collect();
        let gone = u64::try_from(self.extensions.len().saturating_sub(extensions.len())).unwrap_or(u64::MAX);
        Self { revision: self.revision.saturating_add(gone), extensions }
    }
}

/// The extensions as the live grant holds them.
#[derive(Debug)]
pub(super) struct Held {
    now: ArcSwapOption<(Extended, Vec<Capability>)>,
    revision: AtomicU64,
    /// When the first of them is over; the end of time where none ever is.
    ends_ms: AtomicU64,
}

impl Held {
    /// None yet, of terms of this revision.
    pub(super) fn of(revision: u64) -> Self {
        Self { now: ArcSwapOption::empty(), revision: AtomicU64::new(revision), ends_ms: AtomicU64::new(u64::MAX) }
    }

    fn set(&self, extended: Extended) {
        let (revision, ends) = (extended.revision, extended.extensions.iter().filter_map(|extension| extension.until_ms).min());
        let rights = extended.extensions.iter().map(Extension::right).collect();
        self.now.store(Some(Arc::new((extended, rights))));
        self.ends_ms.store(ends.unwrap_or(u64::MAX), Ordering::Release);
        // Last: whoever finds this revision finds these rights.
        self.revision.store(revision, Ordering::Release);
    }
}

/// The rights of a grant: those of its terms, and those of its extensions.
#[derive(Debug)]
pub struct Rights<'g> {
    terms: &'g [Capability],
    more: Option<Arc<(Extended, Vec<Capability>)>>,
}

impl Rights<'_> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Capability> {
        self.terms.iter().chain(self.more.iter().flat_map(|more| more.1.iter()))
    }
}

impl LiveGrant {
    /// Its rights now.
    pub fn rights(&self) -> Rights<'_> {
        Rights { terms: &self.terms.capabilities, more: self.extended.now.load_full() }
    }

    /// Whether it covers this tool now, whatever its arguments. What bounds the terms bounds the extensions too.
    pub fn covers(&self, tool: &Tool) -> bool {
        self.terms.reaches(tool) && self.rights().iter().any(|right| right.covers(&tool.name, tool.kind))
    }

    /// Which revision of the grant it is now: that of its terms, and one more for each change of its extensions.
    pub fn revision(&self) -> u64 {
        self.extended.revision.load(Ordering::Acquire)
    }

    /// The same over the chain: another number where any of it was changed.
    pub fn chain_revision(&self) -> u64 {
        self.chain().map(LiveGrant::revision).fold(0, u64::wrapping_add)
    }

    /// Whether it was ever extended.
    pub fn has_been_extended(&self) -> bool {
        self.revision() != self.terms.revision
    }

    /// Its extensions now.
    pub fn extended(&self) -> Extended {
        let none = || Extended { revision: self.terms.revision, extensions: Vec::new() };
        self.extended.now.load_full().map_or_else(none, |now| now.0.clone())
    }

    /// The terms with what its extensions add to the rights.
    pub fn effective(&self) -> Grant {
        Grant { capabilities: self.rights().iter().cloned().collect(), ..self.terms.clone() }
    }

    /// Puts other extensions in force, made of those that there are. Under the lock that commits hold: no call that was judged before is
    /// committed after.
    pub fn change_extensions(&self, change: impl FnOnce(&Extended) -> Extended) -> Extended {
        let _standing = self.lock();
        let (before, now) = (self.extended(), change(&self.extended()));
        if now != before {
            self.extended.set(now.clone());
        }
        now
    }

    /// Whether an extension of it, or of one above it, is over and still in force.
    pub(crate) fn has_over(&self, now_ms: u64) -> bool {
        self.chain().any(|grant| grant.extended.ends_ms.load(Ordering::Acquire) <= now_ms)
    }

    /// Ends the extensions whose time is over, of this grant and those above it.
    pub fn end_extensions(&self, now_ms: u64) {
        for grant in self.chain().filter(|grant| grant.extended.ends_ms.load(Ordering::Acquire) <= now_ms) {
            grant.change_extensions(|extended| extended.keeping(|extension| !extension.is_over(now_ms)));
        }
    }
}
