//! How often people are asked: by all, by one agent, and for a grant whose calls they keep denying.

use std::collections::{HashMap, VecDeque};

use bailiwick_pipeline::{
    ids::{AgentId, GrantId},
    ports::ApprovalFailure,
};

use super::{Settings, record::ApprovalState};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// What was asked within the last hour, and what was denied in a row.
#[derive(Default)]
pub(super) struct Caps {
    asked: VecDeque<(u64, AgentId)>,
    by_agent: HashMap<AgentId, usize>,
    denied: HashMap<GrantId, Denied>,
}

/// No after no, for one grant.
#[derive(Clone, Copy)]
struct Denied {
    in_a_row: u32,
    last_ms: u64,
}

impl Caps {
    /// Whether people may be asked once more. One agent takes no more than half of what they are asked at most, so that it leaves room
    /// for the others.
    pub(super) fn admit(
        &mut self,
        agent: &AgentId,
        grant: &GrantId,
        settings: &Settings,
        now_ms: u64,
    ) -> Result<(), ApprovalFailure> {
        self.forget(now_ms);
        if let Some(denied) = self.denied.get(grant).filter(|denied| denied.in_a_row >= settings.max_denied_in_row) {
            let until_ms = denied.last_ms.saturating_add(settings.deny_cooldown_ms);
            if now_ms < until_ms {
                let (grant, in_a_row, retry_ms) = (grant.clone(), denied.in_a_row, until_ms - now_ms);
                return Err(ApprovalFailure::Unwanted { grant, in_a_row, retry_ms });
            }
        }
        let own = self.by_agent.get(agent).copied().unwrap_or(0);
        if self.asked.len() >= settings.max_asked_per_hour || own >= settings.max_asked_per_hour.div_ceil(2) {
            return Err(ApprovalFailure::TooManyAsked(self.asked.len()));
        }
        Ok(())
    }

    /// People are asked. Of questions of an earlier run, in the order in which they were asked.
    pub(super) fn asked(&mut self, agent: &AgentId, at_ms: u64) {
        self.asked.push_back((at_ms, agent.clone()));
        *self.by_agent.entry(agent.clone()).or_default() += 1;
    }

    /// People have decided: a no counts on, a yes ends the row.
    pub(super) fn decided(&mut self, grant: &GrantId, state: ApprovalState, at_ms: u64) {
        match state {
            ApprovalState::Denied => {
                let denied = self.denied.entry(grant.clone()).or_insert(Denied { in_a_row: 0, last_ms: at_ms });
                *denied = Denied { in_a_row: denied.in_a_row.saturating_add(1), last_ms: at_ms };
            }
            ApprovalState::Approved => drop(self.denied.remove(grant)),
            _ => {}
        }
    }

    /// What is said of a grant that has ended is of no use any more.
    pub(super) fn forget_denied_before(&mut self, at_ms: u64) {
        self.denied.retain(|_, denied| denied.last_ms >= at_ms);
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
