//! The approvals in memory: here they are claimed, and here it is known which question is open. Whatever is asked of them by a call or
//! a decision has an index: nothing walks over all of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId, GrantId},
    ports::{Binding, Ticket, TicketState},
};
use bailiwick_schemas::canonical::Digest;
use tokio::sync::watch;

use super::{
    approver::ApproverMethod,
    caps::Caps,
    compared::Compared,
    habits::Tally,
    lanes::Lanes,
    moves::Moves,
    record::{Approval, ApprovalState},
};
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
    /// The call, whatever policies ask for it.
    call: Digest,
    /// The calls of its like.
    like: Digest,
    /// What the agent wants done, under whichever grant.
    wish: Digest,
}

/// All approvals that are remembered.
#[derive(Default)]
pub(super) struct Book {
    entries: HashMap<ApprovalId, Entry>,
    by_call: HashMap<Digest, BTreeSet<ApprovalId>>,
    by_wish: HashMap<Digest, BTreeSet<ApprovalId>>,
    by_code: HashMap<String, BTreeSet<ApprovalId>>,
    open: BTreeSet<ApprovalId>,
    pending: HashMap<AgentId, BTreeSet<ApprovalId>>,
    /// Those under which calls of their like may go, by that like.
    allowing: HashMap<Digest, BTreeSet<ApprovalId>>,
    /// Those that were let go in an emergency, and that nobody has looked at since.
    to_review: BTreeSet<ApprovalId>,
    /// When an open one runs out, unix milliseconds.
    due: BTreeSet<(u64, ApprovalId)>,
    /// When one was over, unix milliseconds.
    over: BTreeSet<(u64, ApprovalId)>,
    /// Those of which nobody knows whether they ran.
    uncertain: BTreeSet<ApprovalId>,
    pub(super) lanes: Lanes,
    pub(super) compared: Compared,
    pub(super) moves: Moves,
    pub(super) caps: Caps,
    pub(super) tally: Tally,
    /// Moves at each change.
    changes: watch::Sender<u64>,
}

impl Entry {
    pub(super) fn new(approval: Approval, bound: Digest, sealed: Option<Vec<u8>>, stored: Stored) -> Self {
        let settled = watch::Sender::new(approval.state != ApprovalState::Pending);
        let (call, like, wish) = (approval.binding.call_digest(), approval.binding.like_digest(), approval.binding.wish_digest());
        Self { approval, bound, sealed: sealed.map(Into::into), stored, is_being_decided: false, settled, call, like, wish }
    }

    /// Whether it survives a crash. Before that nobody hears of it.
    pub(super) fn is_stored(&self) -> bool {
        matches!(*self.stored.borrow(), Some(Ok(())))
    }

    pub(super) fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// How many calls wait for it now.
    pub(super) fn waiters(&self) -> usize {
        self.settled.receiver_count()
    }

    /// Where it stands at this time, if it is still of use to this call.
    fn ticket(&self, binding: &Binding, now_ms: u64, deny_cooldown_ms: u64) -> Option<Ticket> {
        let approval = &self.approval;
        let is_enough = || binding.asks_no_more_than(&approval.binding).is_ok();
        let state = match approval.state {
            ApprovalState::Pending if now_ms < approval.approve_by_ms && is_enough() => TicketState::Pending,
            ApprovalState::Approved if approval.execute_by_ms.is_some_and(|until| now_ms < until) && is_enough() => {
                TicketState::Approved
            }
            ApprovalState::Denied if approval.ended_at_ms.is_some_and(|at| now_ms < at.saturating_add(deny_cooldown_ms)) => {
                TicketState::Denied { reason: approval.refusal() }
            }
            _ => return None,
        };
        Some(approval.ticket(state))
    }

    /// When it runs out, and what it allows, if they do.
    fn due_ms(&self) -> impl Iterator<Item = u64> + use<> {
        let own = match self.approval.state {
            ApprovalState::Pending => Some(self.approval.approve_by_ms),
            ApprovalState::Approved => Some(self.approval.execute_by_ms.unwrap_or(0)),
            _ => None,
        };
        let allowance = self.approval.allowance.as_ref().filter(|_| self.is_allowing());
        own.into_iter().chain(allowance.map(|allowance| allowance.until_ms))
    }

    /// Since when it need not be remembered for what it is itself. One that is executing is still to be finished.
    fn over_ms(&self) -> Option<u64> {
        let approval = &self.approval;
        let is_to_be_kept = approval.state == ApprovalState::Executing || approval.is_review_due();
        approval.ended_at_ms.filter(|_| !is_to_be_kept)
    }

    fn is_allowing(&self) -> bool {
        self.approval.allowance.as_ref().is_some_and(|allowance| allowance.ended_at_ms.is_none() && allowance.uses_left() > 0)
    }
}

impl Book {
    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.approval.id.clone();
        self.by_call.entry(entry.call).or_default().insert(id.clone());
        self.by_wish.entry(entry.wish).or_default().insert(id.clone());
        self.by_code.entry(entry.approval.code.to_ascii_uppercase()).or_default().insert(id.clone());
        self.entries.insert(id.clone(), entry);
        self.index(&id);
        self.told(&id);
    }

    /// It is on disk now: from here on people see it.
    pub(super) fn is_on_disk(&mut self, id: &ApprovalId) {
        if let Some(entry) = self.entries.get(id) {
            self.lanes.put(&entry.approval);
        }
        self.told(id);
    }

    pub(super) fn remove(&mut self, id: &ApprovalId) {
        self.unindex(id);
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        entry.settled.send_replace(true);
        take(&mut self.by_call, &entry.call, id);
        take(&mut self.by_wish, &entry.wish, id);
        take(&mut self.by_code, &entry.approval.code.to_ascii_uppercase(), id);
        self.told(id);
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

    /// Those that can still lead to a call, and those that somebody is to look at.
    pub(super) fn to_list(&self) -> impl Iterator<Item = &Entry> {
        let allowing = self.allowing.values().flatten();
        let ids: BTreeSet<&ApprovalId> = self.open.iter().chain(&self.to_review).chain(allowing).collect();
        ids.into_iter().filter_map(|id| self.entries.get(id))
    }

    /// Those that can still lead to a call, of their own or of their like.
    pub(super) fn live(&self) -> impl Iterator<Item = &Entry> {
        let allowing = self.allowing.values().flatten().filter(|id| !self.open.contains(*id));
        self.open.iter().chain(allowing).filter_map(|id| self.entries.get(id))
    }

    /// Those that were let go in an emergency, and that nobody has looked at since, the oldest first.
    pub(super) fn to_review(&self) -> impl Iterator<Item = &Entry> {
        self.to_review.iter().filter_map(|id| self.entries.get(id))
    }

    /// Those of which nobody knows whether they ran, the oldest first.
    pub(super) fn uncertain(&self) -> impl Iterator<Item = &Entry> {
        self.uncertain.iter().filter_map(|id| self.entries.get(id))
    }

    /// The questions of this agent that wait for somebody, the oldest first.
    pub(super) fn asked_by(&self, agent: &AgentId) -> impl Iterator<Item = &Entry> {
        self.pending.get(agent).into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// Those whose time, or the time of what they allow, is over.
    pub(super) fn due(&self, now_ms: u64) -> Vec<ApprovalId> {
        self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).map(|(_, id)| id.clone()).collect()
    }

    /// Those that were over before this time.
    pub(super) fn over_before(&self, at_ms: u64) -> Vec<ApprovalId> {
        self.over.iter().take_while(|(over_ms, _)| *over_ms < at_ms).map(|(_, id)| id.clone()).collect()
    }

    /// The question about exactly this call that is of most use: approved before pending before denied, the newest first. A no is one under
    /// every grant of the agent.
    pub(super) fn of_use(&self, binding: &Binding, now_ms: u64, deny_cooldown_ms: u64) -> Option<(Ticket, &Entry)> {
        let rank = |ticket: &Ticket| match ticket.state {
            TicketState::Approved => 2,
            TicketState::Pending => 1,
            TicketState::Denied { .. } => 0,
        };
        let of_use = self.about(binding);
        let of_use = of_use.filter_map(|entry| entry.ticket(binding, now_ms, deny_cooldown_ms).map(|ticket| (ticket, entry)));
        let best =
            |one: &(Ticket, &Entry), other: &(Ticket, &Entry)| (rank(&one.0), &one.0.id).cmp(&(rank(&other.0), &other.0.id));
        of_use.max_by(best).or_else(|| {
            let wished = self.by_wish.get(&binding.wish_digest()).into_iter().flatten().filter_map(|id| self.entries.get(id));
            let denied = wished.filter(|entry| entry.approval.state == ApprovalState::Denied);
            denied.filter_map(|entry| Some((entry.ticket(binding, now_ms, deny_cooldown_ms)?, entry))).max_by(best)
        })
    }

    /// All that was asked about exactly this call.
    pub(super) fn about(&self, binding: &Binding) -> impl Iterator<Item = &Entry> {
        let alike = self.by_call.get(&binding.call_digest());
        alike.into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// Those that allow calls of the like of this one, the oldest first.
    pub(super) fn allowing(&self, binding: &Binding) -> impl Iterator<Item = &Entry> {
        let allowing = self.allowing.get(&binding.like_digest());
        allowing.into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// How many questions of this agent wait for somebody.
    pub(super) fn pending_of(&self, agent: &AgentId, now_ms: u64) -> usize {
        self.asked_by(agent).filter(|entry| now_ms < entry.approval.approve_by_ms).count()
    }

    /// What a person calls it: its id, or its code. Of several with one code it is the open one, else the newest.
    pub(super) fn find(&self, handle: &str) -> Option<&Entry> {
        if let Some(entry) = handle.parse().ok().and_then(|id| self.entries.get(&id)) {
            return Some(entry);
        }
        let named = self.by_code.get(&handle.trim().to_ascii_uppercase())?;
        let named = named.iter().filter_map(|id| self.entries.get(id));
        named.max_by_key(|entry| (entry.approval.state.is_open(), &entry.approval.id))
    }

    /// The same among those of this agent under this grant.
    pub(super) fn find_of(&self, handle: &str, agent: &AgentId, grant: &GrantId) -> Option<&Entry> {
        let is_theirs = |entry: &&Entry| entry.approval.binding.agent == *agent && entry.approval.binding.grant == *grant;
        if let Some(entry) = handle.parse().ok().and_then(|id| self.entries.get(&id)) {
            return Some(entry).filter(is_theirs);
        }
        let named = self.by_code.get(&handle.trim().to_ascii_uppercase())?;
        let named = named.iter().filter_map(|id| self.entries.get(id)).filter(is_theirs);
        named.max_by_key(|entry| (entry.approval.state.is_open(), &entry.approval.id))
    }

    /// Changes an approval with all that depends on it, and returns it as it is to be stored. Its grant, agent, call and code never change.
    pub(super) fn change(&mut self, id: &ApprovalId, change: impl FnOnce(&mut Approval)) -> Option<Approval> {
        self.unindex(id);
        let entry = self.entries.get_mut(id)?;
        change(&mut entry.approval);
        let approval = entry.approval.clone();
        if !approval.state.needs_arguments() {
            entry.sealed = None;
        }
        if approval.state != ApprovalState::Pending {
            entry.settled.send_replace(true);
        }
        self.index(id);
        self.told(id);
        Some(approval)
    }

    /// Moves an approval on, and returns it as it is to be stored.
    pub(super) fn advance(
        &mut self,
        id: &ApprovalId,
        state: ApprovalState,
        at_ms: Option<u64>,
        note: Option<&str>,
    ) -> Option<Approval> {
        self.change(id, |approval| {
            approval.state = state;
            approval.ended_at_ms = at_ms.or(approval.ended_at_ms);
            approval.note = note.map(str::to_owned).or(approval.note.take());
        })
    }

    /// Says that this one changed.
    fn told(&mut self, id: &ApprovalId) {
        self.moves.add(id);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What says so.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn index(&mut self, id: &ApprovalId) {
        let Some(entry) = self.entries.get(id) else {
            return;
        };
        let approval = &entry.approval;
        if approval.state.is_open() {
            self.open.insert(id.clone());
        }
        if approval.state == ApprovalState::Pending {
            self.pending.entry(approval.binding.agent.clone()).or_default().insert(id.clone());
        }
        if entry.is_allowing() {
            self.allowing.entry(entry.like).or_default().insert(id.clone());
        }
        if approval.is_review_due() {
            self.to_review.insert(id.clone());
        }
        self.due.extend(entry.due_ms().map(|due_ms| (due_ms, id.clone())));
        self.over.extend(entry.over_ms().map(|over_ms| (over_ms, id.clone())));
        if approval.state == ApprovalState::Unknown {
            self.uncertain.insert(id.clone());
        }
        if entry.is_stored() {
            self.lanes.put(approval);
        }
    }

    fn unindex(&mut self, id: &ApprovalId) {
        let Some(entry) = self.entries.get(id) else {
            return;
        };
        self.open.remove(id);
        self.to_review.remove(id);
        self.uncertain.remove(id);
        self.lanes.take(&entry.approval);
        take(&mut self.pending, &entry.approval.binding.agent, id);
        take(&mut self.allowing, &entry.like, id);
        for due_ms in entry.due_ms() {
            self.due.remove(&(due_ms, id.clone()));
        }
        if let Some(over_ms) = entry.over_ms() {
            self.over.remove(&(over_ms, id.clone()));
        }
    }

    /// A code such as `K7-42` that no open question has; nothing if that can't be found by chance.
    pub(super) fn free_code(&self) -> Result<Option<String>, NoRandomness> {
        for _ in 0..64 {
            let code = code(random::bytes()?);
            let is_taken = self.by_code.get(&code).is_some_and(|ids| ids.iter().any(|id| self.open.contains(id)));
            if !is_taken {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    /// That a person has decided so about a call. A yes that the agent's own client asserts ends no row of noes: the client may be the
    /// agent.
    pub(super) fn count_verdict(&mut self, approval: &Approval, state: ApprovalState, now_ms: u64) {
        let is_asserted = approval.decisions.last().is_some_and(|last| last.approver.method == ApproverMethod::ClientAsserted);
        if state == ApprovalState::Denied || !is_asserted {
            self.caps.decided(&approval.binding.grant, &approval.binding.agent, state, now_ms);
        }
    }
}

/// Takes it out of the set of this key.
fn take<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<ApprovalId>>, key: &K, id: &ApprovalId) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            sets.remove(key);
        }
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
