//! What persons say.

use std::{collections::BTreeSet, sync::Arc};

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId},
    ports::Delegator,
};
use bailiwick_policy::Confirm;
use bailiwick_schemas::canonical::Digest;
use tokio::sync::oneshot;

use super::{
    Approver, ApproverMethod, Decided, Decision, Happened, LiveApprovals, Settings, Verdict, allow, batch_digest,
    book::{Book, Entry},
    lock,
    record::{Approval, ApprovalState},
    rows::{self, Moved},
};
use crate::{fault::WriteFault, store};

/// What is to be told once decisions are on disk.
pub(super) type Told = oneshot::Receiver<Result<Vec<Approval>, DecideFault>>;

/// Why a decision does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideFault {
    /// There is none of this id or code.
    #[error("there is no approval `{0}`: `bailiwick approvals list` shows the open ones")]
    Unknown(String),
    /// It does not wait for a decision: somebody was first, or its time is over (HTTP 409).
    #[error("approval {code} is {state}: nothing is left to decide")]
    NotPending {
        /// Its code.
        code: String,
        /// Its present state.
        state: ApprovalState,
    },
    /// Somebody's decision is being stored (HTTP 409).
    #[error("approval {0} is being decided by somebody else: look again")]
    BeingDecided(String),
    /// The approver is the owner of the grant or of the agent.
    #[error("`{name}` owns the grant or its agent `{agent}` and can't approve for it: ask somebody else")]
    Owner {
        /// The approver.
        name: String,
        /// The agent.
        agent: AgentId,
    },
    /// The grant was handed on by an agent that the approver is, or whose grant the approver owns.
    #[error(
        "`{name}` owns the grant or the agent `{agent}` that handed this task on, so it would approve its own task: ask somebody else"
    )]
    Delegator {
        /// The approver.
        name: String,
        /// The agent that handed it on.
        agent: AgentId,
    },
    /// The agent, or one that handed its grant on, runs as the approver's user.
    #[error(
        "agent `{agent}` runs as your user (id {uid}), so it could approve for itself: use another user, or set `approvals.allow_same_user`"
    )]
    SameUser {
        /// The agent.
        agent: AgentId,
        /// The user.
        uid: u32,
    },
    /// Nobody can say any more who the agent is.
    #[error("agent `{0}` is no longer registered: its call can't run")]
    AgentGone(AgentId),
    /// Somebody who may be this person has approved already; another one is needed.
    #[error("somebody who may be you (by name, by user, or as root) has approved {code} already: {missing} more must")]
    AlreadyApproved {
        /// Its code.
        code: String,
        /// How many are missing.
        missing: usize,
    },
    /// What would be sent can't be read, so nobody can say yes to it.
    #[error("the arguments of {code} can't be read ({why}): deny it, and let the agent ask again")]
    Unreadable {
        /// Its code.
        code: String,
        /// Why.
        why: String,
    },
    /// How the approver was proven is not enough for this call.
    #[error("{code} {why}")]
    Method {
        /// Its code.
        code: String,
        /// What it takes.
        why: &'static str,
    },
    /// It is not what was shown to the approver.
    #[error("what was shown is not what would be decided now: look again, nothing was decided")]
    Changed,
    /// Only questions of one agent are decided at once.
    #[error("what is decided at once is one or more questions of one agent, each named once: `{0}` is not so")]
    NoBatch(String),
    /// Calls of its like can't be let go so.
    #[error("calls like {code} can't be allowed so: {why}")]
    NotAllowable {
        /// Its code.
        code: String,
        /// Why not.
        why: String,
    },
    /// There is nothing to take back.
    #[error("approval {code} is {state} and allows nothing: there is nothing to take back")]
    NothingToRevoke {
        /// Its code.
        code: String,
        /// Its present state.
        state: ApprovalState,
    },
    /// Nobody can tell whether it is another person.
    #[error(
        "`{0}` takes a second person, and root can be any user of this machine: review it in the console with a passkey, or as another \
         user than root where another than root let it go"
    )]
    NoSecondPerson(String),
    /// Whoever let it go could have made the passkey that looks at it.
    #[error(
        "{code} takes a second person, and {why}: review it with a passkey that was added by a link of another user of this machine \
         (`bailiwick console --person NAME --recover`, run as that user)"
    )]
    OwnPasskey {
        /// Its code.
        code: String,
        /// What is known of the passkey.
        why: &'static str,
    },
    /// Nobody may let calls go alone.
    #[error("nobody may let a call go alone here: `approvals.break_glass` says who may")]
    GlassIsShut,
    /// Whoever lets a call go alone says why.
    #[error("say why: a second person will read it")]
    NoReason,
    /// It was not let go in an emergency, or was looked at already.
    #[error("nothing of {0} waits for a second look")]
    NoReview(String),
    /// It could not be stored: it does not count.
    #[error(transparent)]
    Write(#[from] WriteFault),
}

impl LiveApprovals {
    /// Decides the question of this id or code. The first valid decision counts; it is on disk when this returns, and then
    /// wakes whoever waits. A no ends it; a yes does when enough persons have said so.
    pub async fn decide(
        &self,
        handle: &str,
        decision: Decision,
        approver: Approver,
        now_ms: u64,
    ) -> Result<Approval, DecideFault> {
        let decided = self.begin(handle, decision, approver, now_ms)?;
        first(decided).await
    }

    /// Decides several questions of one agent at once: all of them or none. `shown` is the [digest](batch_digest) of their bindings, in
    /// this order.
    pub async fn decide_batch(
        &self,
        ids: &[ApprovalId],
        shown: &Digest,
        decision: Decision,
        approver: Approver,
        now_ms: u64,
    ) -> Result<Vec<Approval>, DecideFault> {
        let decided = self.begin_batch(ids, shown, &decision, &approver, now_ms)?;
        decided.await.unwrap_or_else(|_| Err(store::ended().into()))
    }

    /// Takes the word of the agent's own client that whoever drives it agrees; `how` says by what means. It counts only where policy asks
    /// for no more than that: the client may have answered by itself.
    pub async fn confirm_by_user(&self, id: &ApprovalId, how: &str, now_ms: u64) -> Result<Approval, DecideFault> {
        let decision = Decision { reason: Some(how.to_owned()), ..Decision::approve() };
        self.decide(id.as_str(), decision, self.user_of(id)?, now_ms).await
    }

    /// The same where they say no. It counts only where their yes would.
    pub async fn refuse_by_user(&self, id: &ApprovalId, how: &str, now_ms: u64) -> Result<Approval, DecideFault> {
        self.decide(id.as_str(), Decision::deny(Some(how.to_owned())), self.user_of(id)?, now_ms).await
    }

    fn user_of(&self, id: &ApprovalId) -> Result<Approver, DecideFault> {
        let owner = self.book().entry(id).map(|entry| entry.approval.owner.clone());
        let name = owner.ok_or_else(|| DecideFault::Unknown(id.to_string()))?;
        Ok(Approver { uid: None, name, method: ApproverMethod::ClientAsserted, owns: BTreeSet::new(), enrolled_by: None })
    }

    /// Judges the decision and queues it. It comes into force once it is on disk, even if nobody waits for that.
    fn begin(&self, handle: &str, decision: Decision, approver: Approver, now_ms: u64) -> Result<Told, DecideFault> {
        let mut book = self.book();
        // Read under the lock: whoever narrows the settings and then makes void what was decided under the old ones misses none.
        let settings = self.settings.load();
        let entry = stored(&book, handle)?;
        let after = self.judged(entry, decision, approver, &[], &settings, now_ms)?;
        Ok(self.queue(&mut book, vec![after], Happened::Decided, now_ms))
    }

    fn begin_batch(
        &self,
        ids: &[ApprovalId],
        shown: &Digest,
        decision: &Decision,
        approver: &Approver,
        now_ms: u64,
    ) -> Result<Told, DecideFault> {
        let mut book = self.book();
        let settings = self.settings.load();
        let entries = ids.iter().map(|id| stored(&book, id.as_str())).collect::<Result<Vec<_>, _>>()?;
        let agents: BTreeSet<&AgentId> = entries.iter().map(|entry| &entry.approval.binding.agent).collect();
        let is_once = ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
        if agents.len() != 1 || !is_once || decision.allow.is_some() {
            return Err(DecideFault::NoBatch(ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
        }
        let bindings: Vec<Digest> = entries.iter().map(|entry| entry.bound).collect();
        if batch_digest(&bindings) != *shown {
            return Err(DecideFault::Changed);
        }
        let judged = entries
            .into_iter()
            .map(|entry| self.judged(entry, decision.clone(), approver.clone(), &bindings, &settings, now_ms))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(self.queue(&mut book, judged, Happened::Decided, now_ms))
    }

    /// The approval with the decision in it, where it counts.
    fn judged(
        &self,
        entry: &Entry,
        decision: Decision,
        approver: Approver,
        batch: &[Digest],
        settings: &Settings,
        now_ms: u64,
    ) -> Result<Approval, DecideFault> {
        is_decidable(entry, now_ms)?;
        if approver.method == ApproverMethod::ClientAsserted && !approver.method.is_enough_for(&entry.approval) {
            let why = "is not decided by what the agent's own client says, neither way";
            return Err(DecideFault::Method { code: entry.approval.code.clone(), why });
        }
        let mut allowance = None;
        if decision.verdict == Verdict::Approve {
            self.may_approve(entry, &approver, settings)?;
            if let Some(wanted) = &decision.allow {
                let code = || entry.approval.code.clone();
                let unreadable = |why: String| DecideFault::Unreadable { code: code(), why };
                let arguments = self.unseal(entry).map_err(unreadable)?;
                let made = allow::allowance(&entry.approval, wanted, &arguments, settings, now_ms);
                allowance = Some(made.map_err(|why| DecideFault::NotAllowable { code: code(), why })?);
            }
        }
        let mut after = applied(&entry.approval, decision, approver, settings, now_ms);
        if after.state == ApprovalState::Approved {
            after.allowance = allowance;
        }
        if let Some(decided) = after.decisions.last_mut() {
            decided.batch = batch.to_vec();
        }
        Ok(after)
    }

    /// Has them stored together, and then come into force.
    pub(super) fn queue(&self, book: &mut Book, afters: Vec<Approval>, happened: Happened, now_ms: u64) -> Told {
        for after in &afters {
            if let Some(entry) = book.entry_mut(&after.id) {
                entry.is_being_decided = true;
            }
        }
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&self.book);
        let moved: Vec<Moved> = afters.iter().map(|after| self.moved(after.clone(), happened, now_ms)).collect();
        self.store.write_then(
            move |connection| moved.iter().try_for_each(|moved| rows::update(connection, moved)),
            move |result| {
                let mut book = lock(&shared);
                let in_force: Vec<_> =
                    afters.into_iter().map(|after| come_into_force(&mut book, after, result.clone(), now_ms)).collect();
                // Nobody listens if the approver has gone away.
                let _ = tell.send(in_force.into_iter().collect());
            },
        );
        told
    }

    /// Whether a yes of this approver would count, as far as that can be known before they say it: so that nobody is asked in vain.
    pub fn may_say_yes(&self, approval: &Approval, approver: &Approver) -> Result<(), DecideFault> {
        self.is_fit(approval, approver, &self.settings.load())
    }

    /// Whether this approver may say that they have looked at it, where it was let go in an emergency.
    pub fn may_review(&self, approval: &Approval, approver: &Approver) -> Result<(), DecideFault> {
        self.is_second(approval, approver, &self.settings.load())
    }

    /// Somebody else than the agent and its owners, proven well enough, who has not spoken yet, about arguments that can be sent.
    fn may_approve(&self, entry: &Entry, approver: &Approver, settings: &Settings) -> Result<(), DecideFault> {
        let approval = &entry.approval;
        self.is_fit(approval, approver, settings)?;
        let unreadable = |why: String| DecideFault::Unreadable { code: approval.code.clone(), why };
        self.unseal(entry).map(drop).map_err(unreadable)
    }

    /// Whoever they are: proven well enough, somebody else, and not heard yet.
    fn is_fit(&self, approval: &Approval, approver: &Approver, settings: &Settings) -> Result<(), DecideFault> {
        is_proven_enough(approval, approver)?;
        // Where the word of whoever drives the agent is asked for, it is no fault to be that.
        if approval.confirm() > Confirm::User {
            self.is_somebody_else(approval, approver, settings)?;
        }
        if approval.decisions.iter().any(|decided| decided.approver.may_be(approver)) {
            let missing = approval.quorum().saturating_sub(approval.approvals());
            return Err(DecideFault::AlreadyApproved { code: approval.code.clone(), missing });
        }
        Ok(())
    }

    /// Whether the approver is none of those whose call it is.
    pub(super) fn is_somebody_else(
        &self,
        approval: &Approval,
        approver: &Approver,
        settings: &Settings,
    ) -> Result<(), DecideFault> {
        if settings.allow_same_user {
            return Ok(());
        }
        let agent = &approval.binding.agent;
        if self.is_own(agent, &approval.owner, approver)? {
            return Err(DecideFault::Owner { name: approver.name.clone(), agent: agent.clone() });
        }
        // Whoever hands a task on does not become another person by it.
        for Delegator { agent, owner } in &approval.delegators {
            if self.is_own(agent, owner, approver)? {
                return Err(DecideFault::Delegator { name: approver.name.clone(), agent: agent.clone() });
            }
        }
        Ok(())
    }

    /// Whether this agent's call under a grant of this owner is the approver's own, by name; that it runs as their user is a fault.
    fn is_own(&self, agent: &AgentId, owner: &str, approver: &Approver) -> Result<bool, DecideFault> {
        let registered = self.agents.agent(agent).ok_or_else(|| DecideFault::AgentGone(agent.clone()))?;
        let own = [owner, registered.owner.as_str(), agent.as_str()];
        if own.iter().any(|own| approver.is_or_owns(own)) {
            return Ok(true);
        }
        match approver.uid.filter(|uid| self.agents.is_run_by(agent, *uid)) {
            Some(uid) => Err(DecideFault::SameUser { agent: agent.clone(), uid }),
            None => Ok(false),
        }
    }
}

/// The one of this id or code that survives a crash.
pub(super) fn stored<'b>(book: &'b Book, handle: &str) -> Result<&'b Entry, DecideFault> {
    let unknown = || DecideFault::Unknown(handle.chars().take(80).collect());
    book.find(handle).filter(|entry| entry.is_stored()).ok_or_else(unknown)
}

/// The one that was decided.
pub(super) async fn first(told: Told) -> Result<Approval, DecideFault> {
    let decided = told.await.unwrap_or_else(|_| Err(store::ended().into()))?;
    decided.into_iter().next().ok_or_else(|| store::ended().into())
}

/// Where more than one must approve, they are told apart by their passkeys, or by their users. One by this and one by that could be one person under two names; and
/// root can be any user.
fn is_proven_enough(approval: &Approval, approver: &Approver) -> Result<(), DecideFault> {
    let weak = |why| Err(DecideFault::Method { code: approval.code.clone(), why });
    if !approver.method.is_enough_for(approval) {
        return weak("takes more than that to be approved: a passkey, or the operator credential");
    }
    if approval.quorum() < 2 {
        return Ok(());
    }
    if approver.method == ApproverMethod::Operator && (approver.uid.is_none() || approver.is_root()) {
        return weak("takes two persons who can be told apart: root could be both. Use a passkey, or users of their own");
    }
    if approval.decisions.iter().any(|decided| decided.approver.method != approver.method) {
        return weak("takes two persons who prove themselves alike: both by a passkey, or both as users of this machine");
    }
    Ok(())
}

pub(super) fn is_decidable(entry: &Entry, now_ms: u64) -> Result<(), DecideFault> {
    let approval = &entry.approval;
    let state = match approval.state {
        ApprovalState::Pending if approval.approve_by_ms <= now_ms => ApprovalState::Expired,
        ApprovalState::Pending if entry.is_being_decided => {
            return Err(DecideFault::BeingDecided(approval.code.clone()));
        }
        ApprovalState::Pending => return Ok(()),
        other => other,
    };
    Err(DecideFault::NotPending { code: approval.code.clone(), state })
}

/// The approval with the decision in it.
fn applied(before: &Approval, decision: Decision, approver: Approver, settings: &Settings, now_ms: u64) -> Approval {
    let mut after = before.clone();
    let Decision { verdict, reason, view, evidence, allow: _ } = decision;
    after.decisions.push(Decided { approver, at_ms: now_ms, verdict, reason, view, evidence, batch: Vec::new() });
    if verdict == Verdict::Deny {
        after.state = ApprovalState::Denied;
        after.ended_at_ms = Some(now_ms);
    } else if after.approvals() >= after.quorum() {
        let lasts_ms = lasts_ms(&after, settings);
        after.state = ApprovalState::Approved;
        after.execute_by_ms = Some(now_ms.saturating_add(lasts_ms).min(after.grant_expires_at_ms));
    }
    after
}

/// How long it may be used once approved.
pub(super) fn lasts_ms(approval: &Approval, settings: &Settings) -> u64 {
    approval.requirements.iter().filter_map(|asked| asked.ttl_ms).min().unwrap_or(settings.execute_by_ms)
}

/// On the writer's thread, after the commit.
fn come_into_force(
    book: &mut Book,
    after: Approval,
    stored: Result<(), WriteFault>,
    now_ms: u64,
) -> Result<Approval, DecideFault> {
    let entry = book.entry_mut(&after.id).ok_or_else(|| DecideFault::Unknown(after.code.clone()))?;
    entry.is_being_decided = false;
    stored?;
    if entry.approval.state != ApprovalState::Pending {
        // It was invalidated or withdrawn meanwhile; on disk that came after the decision too.
        return Err(DecideFault::NotPending { code: after.code, state: entry.approval.state });
    }
    book.count_verdict(&after, after.state, now_ms);
    book.tally.decided(after.state, now_ms.saturating_sub(after.created_at_ms));
    if let Some(entry) = book.entry(&after.id) {
        let (bound, sealed) = (entry.bound, entry.sealed.clone());
        book.compared.keep(&after, bound, sealed.as_ref());
    }
    book.change(&after.id, |approval| *approval = after.clone());
    Ok(after)
}
