//! How often people are asked: by all, by one agent, and for a grant whose calls they keep denying.

use std::collections::{HashMap, VecDeque};

use bailiwick_pipeline::{
    ids::{AgentId, GrantId},
    ports::ApprovalFailure,
};
use bailiwick_policy::Confirm;

use super::{Settings, record::ApprovalState};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// What was asked within the last hour, and what was denied in a row.
#[derive(Default)]
pub(super) struct Caps {
    asked: VecDeque<(u64, AgentId)>,
    by_agent: HashMap<AgentId, usize>,
    denied: HashMap<GrantId, Denied>,
    denied_to: HashMap<AgentId, Denied>,
}

/// An agent gets as many noes in a row as so many of its grants may: with another grant it does not begin anew.
const GRANTS_OF_AGENT: u32 = 2;

/// No after no, for one grant or one agent.
#[derive(Clone, Copy)]
struct Denied {
    in_a_row: u32,
    last_ms: u64,
}

/// Whether such a question goes to anybody but whoever drives the agent.
fn is_of_people(confirm: Confirm) -> bool {
    confirm > Confirm::User
}

impl Caps {
    /// Whether people may be asked once more. One agent takes no more than half of what they are asked at most, so that it leaves room
    /// for the others.
    pub(super) fn admit(
        &mut self,
        agent: &AgentId,
        grant: &GrantId,
        confirm: Confirm,
        settings: &Settings,
        now_ms: u64,
    ) -> Result<(), ApprovalFailure> {
        self.forget(now_ms);
        let most = settings.max_denied_in_row;
        let of_grant = self.denied.get(grant).filter(|denied| denied.in_a_row >= most);
        let of_agent = self.denied_to.get(agent).filter(|denied| denied.in_a_row >= most.saturating_mul(GRANTS_OF_AGENT));
        for denied in of_grant.into_iter().chain(of_agent) {
            let until_ms = denied.last_ms.saturating_add(settings.deny_cooldown_ms);
            if now_ms < until_ms {
                let (grant, in_a_row, retry_ms) = (grant.clone(), denied.in_a_row, until_ms - now_ms);
                return Err(ApprovalFailure::Unwanted { grant, in_a_row, retry_ms });
            }
        }
        if !is_of_people(confirm) {
            return Ok(());
        }
        let own = self.by_agent.get(agent).copied().unwrap_or(0);
        if self.asked.len() >= settings.max_asked_per_hour || own >= settings.max_asked_per_hour.div_ceil(2) {
            return Err(ApprovalFailure::TooManyAsked(self.asked.len()));
        }
        Ok(())
    }

    /// People are asked. Of questions of an earlier run, in the order in which they were asked.
    /// What whoever drives the agent is asked by its own client takes nothing of what is left for others.
    pub(super) fn asked(&mut self, agent: &AgentId, confirm: Confirm, at_ms: u64) {
        if !is_of_people(confirm) {
            return;
        }
        self.asked.push_back((at_ms, agent.clone()));
        *self.by_agent.entry(agent.clone()).or_default() += 1;
    }

    /// People have decided: a no counts on, a yes ends the row.
    pub(super) fn decided(&mut self, grant: &GrantId, agent: &AgentId, state: ApprovalState, at_ms: u64) {
        let none = Denied { in_a_row: 0, last_ms: at_ms };
        match state {
            ApprovalState::Denied => {
                let of_grant = self.denied.entry(grant.clone()).or_insert(none);
                let of_agent = self.denied_to.entry(agent.clone()).or_insert(none);
                for denied in [of_grant, of_agent] {
                    *denied = Denied { in_a_row: denied.in_a_row.saturating_add(1), last_ms: at_ms };
                }
            }
            ApprovalState::Approved => {
                self.denied.remove(grant);
                self.denied_to.remove(agent);
            }
            _ => {}
        }
    }

    /// What is said of a grant that has ended is of no use any more.
    pub(super) fn forget_denied_before(&mut self, at_ms: u64) {
        self.denied.retain(|_, denied| denied.last_ms >= at_ms);
        self.denied_to.retain(|_, denied| denied.last_ms >= at_ms);
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((at_ms, agent)) = self.asked.front() {
            if at_ms.saturating_add(HOUR_MS) > now_ms {
                return;
            }
            if let Some(count) = self.by_agent.get_mut(agent) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.by_agent.remove(agent);
                }
            }
            self.asked.pop_front();
        }
    }
}
