//! The approvals in memory: here they are claimed, and here it is known which question is open.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId},
    ports::{Ticket, TicketState},
};
use bailiwick_schemas::canonical::Digest;
use tokio::sync::watch;

use super::record::{Approval, ApprovalState};
use crate::{
    fault::WriteFault,
    random::{self, NoRandomness},
};

/// Whether a question is on disk: not known yet, yes, or why not.
pub(super) type Stored = watch::Receiver<Option<Result<(), WriteFault>>>;

/// One approval.
pub(super) struct Entry {
    pub(super) approval: Approval,
    pub(super) bound: Digest,
    pub(super) sealed: Option<Arc<[u8]>>,
    pub(super) stored: Stored,
    /// Whether a decision is on its way to the disk.
    pub(super) is_being_decided: bool,
    /// Whether it is no longer pending: what waiting calls watch.
    settled: watch::Sender<bool>,
}

/// All approvals that are remembered.
#[derive(Default)]
pub(super) struct Book {
    entries: HashMap<ApprovalId, Entry>,
    by_binding: HashMap<Digest, Vec<ApprovalId>>,
    open: BTreeSet<ApprovalId>,
}

impl Entry {
    pub(super) fn new(approval: Approval, bound: Digest, sealed: Option<Vec<u8>>, stored: Stored) -> Self {
        let settled = watch::Sender::new(approval.state != ApprovalState::Pending);
        Self { approval, bound, sealed: sealed.map(Into::into), stored, is_being_decided: false, settled }
    }

    /// Whether it survives a crash. Before that nobody hears of it.
    pub(super) fn is_stored(&self) -> bool {
        matches!(*self.stored.borrow(), Some(Ok(())))
    }

    pub(super) fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// Where it stands at this time, if it is still of use to a call.
    fn ticket(&self, now_ms: u64, deny_cooldown_ms: u64) -> Option<Ticket> {
        let approval = &self.approval;
        let state = match approval.state {
            ApprovalState::Pending if now_ms < approval.approve_by_ms => TicketState::Pending,
            ApprovalState::Approved if approval.execute_by_ms.is_some_and(|until| now_ms < until) => TicketState::Approved,
            ApprovalState::Denied if approval.ended_at_ms.is_some_and(|at| now_ms < at.saturating_add(deny_cooldown_ms)) => {
                TicketState::Denied { reason: approval.refusal() }
            }
            _ => return None,
        };
        Some(approval.ticket(state))
    }
}

impl Book {
    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.approval.id.clone();
        if entry.approval.state.is_open() {
            self.open.insert(id.clone());
        }
        self.by_binding.entry(entry.bound).or_default().push(id.clone());
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: &ApprovalId) {
        self.open.remove(id);
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        entry.settled.send_replace(true);
        if let Some(alike) = self.by_binding.get_mut(&entry.bound) {
            alike.retain(|other| other != id);
            if alike.is_empty() {
                self.by_binding.remove(&entry.bound);
            }
        }
    }

    pub(super) fn entry(&self, id: &ApprovalId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn entry_mut(&mut self, id: &ApprovalId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The open ones.
    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        self.open.iter().filter_map(|id| self.entries.get(id))
    }

    /// The question about exactly this call that is of most use: approved before pending before denied, the newest first.
    pub(super) fn of_use(&self, bound: &Digest, now_ms: u64, deny_cooldown_ms: u64) -> Option<(Ticket, &Entry)> {
        let rank = |ticket: &Ticket| match ticket.state {
            TicketState::Approved => 2,
            TicketState::Pending => 1,
            TicketState::Denied { .. } => 0,
        };
        let alike = self.by_binding.get(bound)?.iter().filter_map(|id| self.entries.get(id));
        let of_use = alike.filter_map(|entry| entry.ticket(now_ms, deny_cooldown_ms).map(|ticket| (ticket, entry)));
        of_use.max_by(|(a, _), (b, _)| (rank(a), &a.id).cmp(&(rank(b), &b.id)))
    }

    /// How many questions of this agent wait for somebody.
    pub(super) fn pending_of(&self, agent: &AgentId, now_ms: u64) -> usize {
        let waits = |approval: &Approval| {
            approval.state == ApprovalState::Pending && approval.binding.agent == *agent && now_ms < approval.approve_by_ms
        };
        self.open().filter(|entry| waits(&entry.approval)).count()
    }

    /// What a person calls it: its id, or its code. Of several with one code it is the open one, else the newest.
    pub(super) fn find(&self, handle: &str) -> Option<&Entry> {
        if let Some(entry) = handle.parse().ok().and_then(|id| self.entries.get(&id)) {
            return Some(entry);
        }
        let named = self.entries.values().filter(|entry| entry.approval.code.eq_ignore_ascii_case(handle.trim()));
        named.max_by_key(|entry| (entry.approval.state.is_open(), &entry.approval.id))
    }

    /// Moves an approval on, and returns it as it is to be stored.
    pub(super) fn advance(
        &mut self,
        id: &ApprovalId,
        state: ApprovalState,
        at_ms: Option<u64>,
        note: Option<&str>,
    ) -> Option<Approval> {
        let entry = self.entries.get_mut(id)?;
        entry.approval.state = state;
        entry.approval.ended_at_ms = at_ms.or(entry.approval.ended_at_ms);
        entry.approval.note = note.map(str::to_owned).or(entry.approval.note.take());
        let approval = entry.approval.clone();
        self.settle(id);
        Some(approval)
    }

    /// Takes over a decision that is on disk.
    pub(super) fn replace(&mut self, approval: Approval) {
        let id = approval.id.clone();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.approval = approval;
            self.settle(&id);
        }
    }

    /// Brings in line with its state what depends on it.
    fn settle(&mut self, id: &ApprovalId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let state = entry.approval.state;
        if !state.is_open() {
            self.open.remove(id);
        }
        if !state.needs_arguments() {
            entry.sealed = None;
        }
        if state != ApprovalState::Pending {
            entry.settled.send_replace(true);
        }
    }

    /// A code such as `K7-42` that no open question has; nothing if that can't be found by chance.
    pub(super) fn free_code(&self) -> Result<Option<String>, NoRandomness> {
        for _ in 0..64 {
            let code = code(random::bytes()?);
            if !self.open().any(|entry| entry.approval.code == code) {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }
}

/// A letter, a digit, and two digits. I and O are left out: they look like digits.
fn code(random: [u8; 8]) -> String {
    const LETTERS: &[u8; 24] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
    let number = u64::from_be_bytes(random);
    let letter = usize::try_from(number % 24).ok().and_then(|at| LETTERS.get(at)).copied().map_or('A', char::from);
    let digits = number / 24;
    format!("{letter}{}-{:02}", digits % 10, digits / 10 % 100)
}
