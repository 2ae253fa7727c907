//! Approvals. Memory is the truth of a claim; the store follows, and catches up from the trail.
//!
//! There is one lock over all of them. Only calls that wait for a person take it, for a few look-ups; nothing is read, written
//! or awaited under it. While it is held, changes are queued for the store, so that the store follows in the same order.
//! INVARIANT: no grant is locked under it; a call claims its approval while it holds the lock of its grant.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId, CallId, GrantId},
    ports::{
        ApprovalFailure, ApprovalRequest, ApprovalStands, Approvals, Binding, BodyOf, ClaimEnd, Claimed, Later, Ticket,
        TicketState, UserWord,
    },
};
use bailiwick_policy::Confirm;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    bodies::{Bodies, BodyLimits, BodyPart},
    fault::{StoreFault, WriteFault},
    grants::ReplayedIntent,
    identities::Agents,
    random,
    store::{self, Store},
};

mod acts;
mod allow;
mod approver;
mod book;
mod caps;
mod compared;
mod decide;
mod decision;
mod events;
mod habits;
mod lanes;
mod moves;
mod record;
mod rows;
mod standing;
mod sweep;

pub use approver::{Approver, ApproverMethod, DecideBounds, MayNot};
use book::{Book, Entry, Stored};
pub use decide::DecideFault;
pub use decision::{AllowanceWanted, Decided, Decision, Evidence, Statement, Verdict, batch_digest, challenge};
pub use events::{ApprovalEvent, Happened};
pub use habits::{Habit, Habits, Tally};
pub use moves::MovedSince;
pub use record::{Allowance, Approval, ApprovalState, AskedFor, Said, Use};
pub use standing::{Standing, Waiting};

/// How approvals are asked for and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the configuration, of its own")]
pub struct Settings {
    /// How long a question waits for a decision, milliseconds; never longer than the grant lives.
    pub approve_by_ms: u64,
    /// How long an approval may be used where its rule doesn't say, milliseconds; never longer than the grant lives.
    pub execute_by_ms: u64,
    /// How long a no stands for the identical call, milliseconds.
    pub deny_cooldown_ms: u64,
    /// How many questions of one agent may wait at a time.
    pub max_pending_per_agent: usize,
    /// Whether the owner, and the user that the agent runs as, may approve: for one person on one laptop.
    pub allow_same_user: bool,
    /// How often approvers are asked within an hour; one agent takes at most half of it. Above that calls are denied, and nobody hears of them.
    pub max_asked_per_hour: usize,
    /// After how many denials in a row of one grant nobody is asked for it any more, as long as a no stands.
    pub max_denied_in_row: u32,
    /// Whether an approver may let calls like the approved one go, where its rules say so too.
    pub remember: bool,
    /// Whether somebody may let a call go alone in an emergency.
    pub break_glass: bool,
    /// Whether a question is taken back when the last call that waited for it is cancelled.
    pub withdraw_on_cancel: bool,
    /// Whether what happens is kept to be passed on.
    pub keep_events: bool,
    /// What is kept of calls, where rules demand that.
    pub bodies: BodyLimits,
}

impl Default for Settings {
    fn default() -> Self {
        const TEN_MINUTES_MS: u64 = 10 * 60 * 1000;
        Self {
            approve_by_ms: TEN_MINUTES_MS,
            execute_by_ms: TEN_MINUTES_MS,
            deny_cooldown_ms: TEN_MINUTES_MS,
            max_pending_per_agent: 5,
            allow_same_user: false,
            max_asked_per_hour: 120,
            max_denied_in_row: 3,
            remember: false,
            break_glass: false,
            withdraw_on_cancel: false,
            keep_events: false,
            bodies: BodyLimits::default(),
        }
    }
}

/// An approval as approvers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What is known of it.
    pub approval: Approval,
    /// The very bytes that would be sent; gone once nobody needs them any more.
    pub arguments: Option<Bytes>,
}

/// Why an approval can't be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShowFault {
    /// There is none of this id or code.
    #[error("there is no approval `{0}`: `bailiwick approvals list --all` shows them")]
    Unknown(String),
    /// Its arguments don't open.
    #[error("approval {code} can't be shown whole: {why}")]
    Unreadable {
        /// Its code.
        code: String,
        /// Why.
        why: String,
    },
}

/// How the word of an agent's user came.
const BY_FORM: &str = "a form at the agent's client";

/// All approvals.
pub struct LiveApprovals {
    store: Store,
    agents: Arc<Agents>,
    settings: ArcSwap<Settings>,
    book: Arc<Mutex<Book>>,
    /// Whether the gateway itself goes away.
    keeps_all: AtomicBool,
    /// How many records were looked at to show a part of them.
    looked: AtomicU64,
}

impl LiveApprovals {
    /// Reads all approvals. One whose use had begun, by the store or by the trail's intents, may have run: it is `Unknown` from
    /// here on, and never sent again.
    pub fn load(store: &Store, agents: Arc<Agents>, settings: Settings, intents: &[ReplayedIntent]) -> Result<Self, StoreFault> {
        let mut book = Book::default();
        let rows = rows::load(&store.read())?;
        let claimed: HashSet<&ApprovalId> = intents.iter().filter_map(|intent| intent.approval.as_ref()).collect();
        let mut used: HashMap<&ApprovalId, Vec<Use>> = HashMap::new();
        for (of, taken) in intents.iter().filter_map(|intent| intent.allowance.as_ref()) {
            used.entry(of).or_default().push(taken.clone());
        }
        for (mut approval, sealed) in rows {
            let mut happened = None;
            if approval.state == ApprovalState::Executing || (approval.state.is_open() && claimed.contains(&approval.id)) {
                approval.state = ApprovalState::Unknown;
                approval.ended_at_ms = approval.ended_at_ms.or(Some(approval.created_at_ms));
                approval.note = Some("the gateway ended while it ran: it may have happened".to_owned());
                happened = Some(Happened::Executed);
            }
            if approval.take_uses(used.remove(&approval.id).unwrap_or_default()) {
                happened = happened.or(Some(Happened::AllowanceUsed));
            }
            if let Some(happened) = happened {
                let at_ms = approval.ended_at_ms.unwrap_or(approval.created_at_ms);
                let moved = rows::Moved { approval: approval.clone(), event: settings.keep_events.then_some((happened, at_ms)) };
                store.follow(move |connection| rows::update(connection, &moved));
            }
            let (_, stored) = watch::channel(Some(Ok(())));
            let bound = approval.binding.digest();
            book.insert(Entry::new(approval, bound, sealed, stored));
        }
        count_again(&mut book);
        let settings = ArcSwap::from_pointee(settings);
        let book = Arc::new(Mutex::new(book));
        Ok(Self { store: store.clone(), agents, settings, book, keeps_all: AtomicBool::new(false), looked: AtomicU64::new(0) })
    }

    /// Replaces the settings; what was asked before keeps its times.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The open approvals, or all that are remembered; oldest first. Those that still allow something, or that somebody is to look at,
    /// are open.
    pub fn list(&self, filter: Which) -> Vec<Approval> {
        let book = self.book();
        let meant: Vec<&Entry> = if filter == Which::All { book.entries().collect() } else { book.to_list().collect() };
        let stored = meant.into_iter().filter(|entry| entry.is_stored());
        let mut all: Vec<Approval> = stored.map(|entry| entry.approval.clone()).collect();
        drop(book);
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// How many calls wait for this at the moment.
    pub fn waiters(&self, id: &ApprovalId) -> usize {
        self.book().entry(id).map_or(0, Entry::waiters)
    }

    /// How approvals are asked for and given now.
    pub fn settings(&self) -> Settings {
        **self.settings.load()
    }

    /// The approval of this id or code, with its arguments.
    pub fn show(&self, handle: &str) -> Result<Shown, ShowFault> {
        let book = self.book();
        let unknown = || ShowFault::Unknown(handle.chars().take(80).collect());
        let entry = book.find(handle).filter(|entry| entry.is_stored()).ok_or_else(unknown)?;
        let unreadable = |why| ShowFault::Unreadable { code: entry.approval.code.clone(), why };
        let arguments = entry.sealed.is_some().then(|| self.unseal(entry).map_err(unreadable)).transpose()?;
        Ok(Shown { approval: entry.approval.clone(), arguments })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    fn unseal(&self, entry: &Entry) -> Result<Bytes, String> {
        let sealed = entry.sealed.as_deref().ok_or("its arguments are no longer kept")?;
        let opened = self.store.seal().open(&entry.approval.id, &entry.bound, sealed);
        opened.map(Bytes::from).map_err(|broken| broken.to_string())
    }

    /// Joins the open question about this call, or asks a new one. Returns what tells whether it is on disk.
    fn ask(&self, request: &ApprovalRequest<'_>) -> Result<(Ticket, Stored), ApprovalFailure> {
        let settings = self.settings.load();
        let bound = request.binding.digest();
        let joined = |book: &Book| {
            let found = book.of_use(request.binding, request.now_ms, settings.deny_cooldown_ms);
            found.map(|(ticket, entry)| (ticket, entry.stored.clone()))
        };
        if let Some(found) = joined(&self.book()) {
            return Ok(found);
        }
        let lost = |why: &dyn fmt::Display| ApprovalFailure::Lost(why.to_string());
        let random = random::bytes().map_err(|_| lost(&WriteFault::Randomness))?;
        let id = ApprovalId::new(request.now_ms, random);
        let sealed = self.store.seal().close(&id, &bound, request.arguments).map_err(|broken| lost(&broken))?;
        let mut book = self.book();
        // Somebody may have asked while it was sealed.
        if let Some(found) = joined(&book) {
            return Ok(found);
        }
        let pending = book.pending_of(&request.binding.agent, request.now_ms);
        if pending >= settings.max_pending_per_agent {
            return Err(ApprovalFailure::TooMany(pending));
        }
        let confirm = confirm_of(request);
        book.caps.admit(&request.binding.agent, &request.binding.grant, confirm, &settings, request.now_ms)?;
        let code = book.free_code().map_err(|_| lost(&WriteFault::Randomness))?;
        let code = code.ok_or_else(|| lost(&"no code is free: too many calls wait for approval"))?;
        self.void_weaker(&mut book, request.binding, request.now_ms);
        book.caps.asked(&request.binding.agent, confirm, request.now_ms);
        book.tally.requested += 1;
        let approval = asked(request, id, code, &settings);
        let ticket = approval.ticket(TicketState::Pending);
        let (tell, stored) = watch::channel(None);
        book.insert(Entry::new(approval.clone(), bound, Some(sealed.clone()), stored.clone()));
        let (shared, id) = (Arc::clone(&self.book), approval.id.clone());
        let moved = self.moved(approval, Happened::Requested, request.now_ms);
        self.store.write_then(
            move |connection| rows::insert(connection, &moved, &sealed),
            move |result| {
                let is_stored = result.is_ok();
                // Under the lock: whoever was waiting for that finds it in every list.
                let mut book = lock(&shared);
                tell.send_replace(Some(result));
                if is_stored {
                    book.is_on_disk(&id);
                } else {
                    book.remove(&id);
                }
            },
        );
        Ok((ticket, stored))
    }

    /// What was asked or approved about this call when policy asked for less is of no use any more.
    fn void_weaker(&self, book: &mut Book, binding: &Binding, now_ms: u64) {
        let weaker: Vec<(ApprovalId, String)> = book
            .about(binding)
            .filter(|entry| entry.approval.state.is_open())
            .filter_map(|entry| {
                binding.asks_no_more_than(&entry.approval.binding).err().map(|why| (entry.approval.id.clone(), why))
            })
            .collect();
        for (id, why) in weaker {
            self.follow(book.advance(&id, ApprovalState::Invalidated, Some(now_ms), Some(&why)), Happened::Invalidated, now_ms);
        }
    }
}

/// Which approvals are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that can still lead to a call.
    Open,
    /// All that are remembered.
    All,
}

impl Approvals for LiveApprovals {
    fn find(&self, binding: &Binding, now_ms: u64) -> Option<Ticket> {
        let cooldown = self.settings.load().deny_cooldown_ms;
        self.book().of_use(binding, now_ms, cooldown).filter(|(_, entry)| entry.is_stored()).map(|(ticket, _)| ticket)
    }

    fn stands(&self, handle: &str, agent: &AgentId, grant: &GrantId, now_ms: u64) -> Option<ApprovalStands> {
        self.own_of(handle, agent, grant, now_ms)
    }

    fn allowance(&self, binding: &Binding, arguments: &Value, now_ms: u64) -> Option<ApprovalId> {
        self.allowing(binding, arguments, now_ms)
    }

    fn claim_allowance(&self, id: &ApprovalId, call: &CallId, now_ms: u64) -> bool {
        self.take_use(id, call, now_ms)
    }

    fn left(&self, id: &ApprovalId, now_ms: u64) {
        if self.settings.load().withdraw_on_cancel {
            self.withdraw_left(id, now_ms);
        }
    }

    fn request<'a>(&'a self, request: ApprovalRequest<'a>) -> Later<'a, Result<Ticket, ApprovalFailure>> {
        Box::pin(async move {
            let (ticket, stored) = self.ask(&request)?;
            on_disk(stored).await.map_err(|fault| ApprovalFailure::Lost(fault.to_string()))?;
            Ok(ticket)
        })
    }

    fn arguments(&self, id: &ApprovalId) -> Result<Bytes, ApprovalFailure> {
        let book = self.book();
        let entry = book.entry(id).ok_or_else(|| ApprovalFailure::Lost(format!("there is no approval `{id}`")))?;
        self.unseal(entry).map_err(ApprovalFailure::Lost)
    }

    fn claim(&self, id: &ApprovalId, now_ms: u64) -> bool {
        let mut book = self.book();
        let is_usable = |approval: &Approval| {
            approval.state == ApprovalState::Approved && approval.execute_by_ms.is_some_and(|until| now_ms < until)
        };
        if self.store.lost().is_some() || !book.entry(id).is_some_and(|entry| is_usable(&entry.approval)) {
            return false;
        }
        book.advance(id, ApprovalState::Executing, Some(now_ms), None);
        true
    }

    fn keep_claim(&self, id: &ApprovalId, of: Claimed, now_ms: u64) {
        let happened = match of {
            Claimed::Approval => Happened::Executed,
            Claimed::Allowance => Happened::AllowanceUsed,
        };
        let book = self.book();
        self.follow(book.entry(id).map(|entry| entry.approval.clone()), happened, now_ms);
    }

    fn finish(&self, id: &ApprovalId, end: ClaimEnd) {
        let state = match end {
            ClaimEnd::Succeeded => ApprovalState::Succeeded,
            ClaimEnd::Failed => ApprovalState::Failed,
            ClaimEnd::Unknown => ApprovalState::Unknown,
        };
        let mut book = self.book();
        let executing = book.entry(id).filter(|entry| entry.approval.state == ApprovalState::Executing);
        if let Some(at_ms) = executing.map(|entry| entry.approval.ended_at_ms.unwrap_or(entry.approval.created_at_ms)) {
            self.follow(book.advance(id, state, None, None), Happened::Executed, at_ms);
        }
    }

    fn decided<'a>(&'a self, id: &'a ApprovalId) -> Later<'a, ()> {
        let waiter = self.waiter(id);
        Box::pin(async move {
            let mut waiter = waiter;
            if let Some(settled) = waiter.as_mut().and_then(|waiter| waiter.settled.as_mut()) {
                // It fails when the approval is forgotten: then nobody will decide it.
                let _ = settled.wait_for(|is_settled| *is_settled).await;
            }
        })
    }

    fn waiting(&self, id: &ApprovalId) -> usize {
        self.waiters(id)
    }

    fn is_for_user(&self, id: &ApprovalId) -> bool {
        self.book().entry(id).is_some_and(|entry| entry.approval.confirm() == Confirm::User)
    }

    fn confirm_by_user<'a>(&'a self, id: &'a ApprovalId, word: UserWord, now_ms: u64) -> Later<'a, bool> {
        Box::pin(async move {
            let decided = match word {
                UserWord::Approves => self.confirm_by_user(id, BY_FORM, now_ms).await,
                UserWord::Refuses => self.refuse_by_user(id, BY_FORM, now_ms).await,
            };
            decided.is_ok()
        })
    }

    fn take_back(&self, id: &ApprovalId, now_ms: u64) {
        self.withdraw_left(id, now_ms);
    }

    fn seal(&self, about: &[u8], plain: &[u8]) -> Option<Bytes> {
        self.store.seal().close_other(about, plain).ok().map(Bytes::from)
    }

    fn keep_body<'a>(&'a self, of: BodyOf<'a>, body: Bytes, now_ms: u64) -> Later<'a, Result<(), String>> {
        let bodies = Bodies::new(&self.store, self.settings.load().bodies);
        let BodyOf { call, agent, part } = of;
        Box::pin(
            async move { bodies.keep(BodyPart { call, agent, part }, &body, now_ms).await.map_err(|fault| fault.to_string()) },
        )
    }

    fn unseal(&self, about: &[u8], sealed: &[u8]) -> Option<Bytes> {
        self.store.unseal(about, sealed)
    }
}

impl LiveApprovals {
    /// The gateway goes away, and not who waits: what was asked stays asked, whatever the configuration says of who leaves.
    pub fn keep_all(&self) {
        self.keeps_all.store(true, Ordering::SeqCst);
    }

    /// Whoever waited for it goes away, and by the configuration that takes back what nobody has decided.
    fn withdraw_left(&self, id: &ApprovalId, now_ms: u64) {
        if self.keeps_all.load(Ordering::SeqCst) {
            return;
        }
        let mut book = self.book();
        let is_left =
            |entry: &Entry| entry.approval.state == ApprovalState::Pending && !entry.is_being_decided && entry.waiters() == 0;
        if book.entry(id).is_some_and(is_left) {
            let note = Some("the call that waited for it was cancelled");
            self.follow(book.advance(id, ApprovalState::Withdrawn, Some(now_ms), note), Happened::Withdrawn, now_ms);
        }
    }

    /// Has the store follow what memory has done.
    fn follow(&self, approval: Option<Approval>, happened: Happened, at_ms: u64) {
        if let Some(approval) = approval {
            let moved = self.moved(approval, happened, at_ms);
            self.store.follow(move |connection| rows::update(connection, &moved));
        }
    }

    /// What became of one, as it is to be stored, and told where anybody listens.
    fn moved(&self, approval: Approval, happened: Happened, at_ms: u64) -> rows::Moved {
        rows::Moved { approval, event: self.settings.load().keep_events.then_some((happened, at_ms)) }
    }
}

impl fmt::Debug for LiveApprovals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveApprovals").field("settings", &self.settings.load()).finish_non_exhaustive()
    }
}

/// Counts what people were asked, and said, before a restart.
fn count_again(book: &mut Book) {
    let asked = |entry: &Entry| {
        let approval = &entry.approval;
        (approval.created_at_ms, approval.binding.agent.clone(), approval.confirm())
    };
    let mut asked: Vec<(u64, AgentId, Confirm)> = book.entries().map(asked).collect();
    asked.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    for (at_ms, agent, confirm) in &asked {
        book.caps.asked(agent, *confirm, *at_ms);
    }
    let said = |entry: &Entry| {
        let approval = &entry.approval;
        let last = approval.decisions.last()?;
        let is_no = last.verdict == Verdict::Deny;
        let is_yes = !is_no && approval.approvals() >= approval.quorum();
        let state = if is_no { ApprovalState::Denied } else { ApprovalState::Approved };
        (is_no || is_yes).then(|| (last.at_ms, approval.clone(), state))
    };
    let mut said: Vec<_> = book.entries().filter_map(said).collect();
    said.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    for (at_ms, approval, state) in said {
        book.count_verdict(&approval, state, at_ms);
    }
}

/// Whose word a new question takes, as it will say itself.
fn confirm_of(request: &ApprovalRequest<'_>) -> Confirm {
    let asked = request.requirements.iter().map(|need| need.confirm).max().unwrap_or_default();
    asked.max(Confirm::least_of(request.tool.band))
}

/// A new question.
fn asked(request: &ApprovalRequest<'_>, id: ApprovalId, code: String, settings: &Settings) -> Approval {
    Approval {
        id,
        code,
        state: ApprovalState::Pending,
        binding: request.binding.clone(),
        kind: request.tool.kind,
        band: request.tool.band,
        requirements: request.requirements.iter().map(AskedFor::from).collect(),
        owner: request.owner.to_owned(),
        delegators: request.delegators.to_vec(),
        purpose: request.purpose.to_owned(),
        claim: request.claim.map(str::to_owned),
        masked: request.masked.to_vec(),
        call: request.call.clone(),
        created_at_ms: request.now_ms,
        approve_by_ms: request.now_ms.saturating_add(settings.approve_by_ms).min(request.grant_expires_at_ms),
        execute_by_ms: None,
        grant_expires_at_ms: request.grant_expires_at_ms,
        decisions: Vec::new(),
        ended_at_ms: None,
        note: None,
        acknowledged_by: None,
        revoked_by: None,
        broken_by: None,
        reviewed_by: None,
        allowance: None,
    }
}

async fn on_disk(mut stored: Stored) -> Result<(), WriteFault> {
    match stored.wait_for(Option::is_some).await {
        Ok(told) => told.clone().unwrap_or_else(|| Err(store::ended())),
        Err(_) => Err(store::ended()),
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // Each change under it is whole before anything in it could panic.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
