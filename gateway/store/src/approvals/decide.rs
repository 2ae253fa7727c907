//! What persons say.

use std::sync::Arc;

use bailiwick_pipeline::{ids::AgentId, ports::Delegator};
use tokio::sync::oneshot;

use super::{
    LiveApprovals, Settings,
    book::Entry,
    lock,
    record::{Approval, ApprovalState, Approver, Decided, Decision, Verdict},
    rows,
};
use crate::{fault::WriteFault, store};

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
        decided.await.unwrap_or_else(|_| Err(store::ended().into()))
    }

    /// Judges the decision and queues it. It comes into force once it is on disk, even if nobody waits for that.
    fn begin(
        &self,
        handle: &str,
        decision: Decision,
        approver: Approver,
        now_ms: u64,
    ) -> Result<oneshot::Receiver<Result<Approval, DecideFault>>, DecideFault> {
        let mut book = self.book();
        // Read under the lock: whoever narrows the settings and then makes void what was decided under the old ones misses none.
        let settings = self.settings.load();
        let unknown = || DecideFault::Unknown(handle.chars().take(80).collect());
        let entry = book.find(handle).filter(|entry| entry.is_stored()).ok_or_else(unknown)?;
        is_decidable(entry, now_ms)?;
        if decision.verdict == Verdict::Approve {
            self.may_approve(entry, &approver, &settings)?;
        }
        let after = applied(&entry.approval, decision, approver, &settings, now_ms);
        let id = after.id.clone();
        if let Some(entry) = book.entry_mut(&id) {
            entry.is_being_decided = true;
        }
        let (tell, told) = oneshot::channel();
        let (shared, stored) = (Arc::clone(&self.book), after.clone());
        self.store.write_then(
            move |connection| rows::update(connection, &stored),
            move |result| {
                let mut book = lock(&shared);
                // Nobody listens if the approver has gone away.
                let _ = tell.send(come_into_force(&mut book, after, result));
            },
        );
        Ok(told)
    }

    /// Somebody else than the agent and its owners, who has not spoken yet, about arguments that can be sent.
    fn may_approve(&self, entry: &Entry, approver: &Approver, settings: &Settings) -> Result<(), DecideFault> {
        let approval = &entry.approval;
        if !settings.allow_same_user {
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
        }
        if approval.decisions.iter().any(|decided| decided.approver.may_be(approver)) {
            let missing = approval.quorum().saturating_sub(approval.approvals());
            return Err(DecideFault::AlreadyApproved { code: approval.code.clone(), missing });
        }
        let unreadable = |why: String| DecideFault::Unreadable { code: approval.code.clone(), why };
        self.unseal(entry).map(drop).map_err(unreadable)
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

fn is_decidable(entry: &Entry, now_ms: u64) -> Result<(), DecideFault> {
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
        after.state = ApprovalState::Approved;
        let shortest = after.requirements.iter().filter_map(|asked| asked.ttl_ms).min().unwrap_or(settings.execute_by_ms);
        after.execute_by_ms = Some(now_ms.saturating_add(shortest).min(after.grant_expires_at_ms));
    }
    after
}

/// On the writer's thread, after the commit.
fn come_into_force(
    book: &mut super::book::Book,
    after: Approval,
    stored: Result<(), WriteFault>,
) -> Result<Approval, DecideFault> {
    let entry = book.entry_mut(&after.id).ok_or_else(|| DecideFault::Unknown(after.code.clone()))?;
    entry.is_being_decided = false;
    stored?;
    if entry.approval.state != ApprovalState::Pending {
        // It was invalidated or withdrawn meanwhile; on disk that came after the decision too.
        return Err(DecideFault::NotPending { code: after.code, state: entry.approval.state });
    }
    book.replace(after.clone());
    Ok(after)
}
