//! The arguments of the last approved call of each agent and tool: what a later one is held against. They stay sealed, in memory alone; the
//! store keeps none of what nobody needs any more.

use std::{collections::VecDeque, sync::Arc};

use bailiwick_pipeline::ids::{AgentId, ApprovalId};
use bailiwick_schemas::canonical::Digest;
use bytes::Bytes;

use super::{
    LiveApprovals,
    decision::Verdict,
    record::{Approval, ApprovalState},
};

/// So many are kept.
const MOST: usize = 512;

/// No longer arguments than these are kept, bytes.
const LONGEST: usize = 256 * 1024;

/// So much is kept in all, bytes.
const IN_ALL: usize = 8 * 1024 * 1024;

/// What is kept, the latest last.
#[derive(Default)]
pub(super) struct Compared {
    kept: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    agent: AgentId,
    tool: String,
    id: ApprovalId,
    bound: Digest,
    sealed: Arc<[u8]>,
}

impl Compared {
    /// Keeps what was just approved, in the place of what was before it. The oldest make room.
    pub(super) fn keep(&mut self, approval: &Approval, bound: Digest, sealed: Option<&Arc<[u8]>>) {
        let is_yes = approval.decisions.last().is_some_and(|last| last.verdict == Verdict::Approve);
        let Some(sealed) = sealed.filter(|sealed| is_yes && sealed.len() <= LONGEST) else { return };
        if approval.state != ApprovalState::Approved {
            return;
        }
        let (agent, tool) = (approval.binding.agent.clone(), approval.binding.tool.clone());
        if let Some(at) = self.kept.iter().position(|kept| kept.agent == agent && kept.tool == tool) {
            self.bytes -= self.kept.remove(at).map_or(0, |old| old.sealed.len());
        }
        self.bytes += sealed.len();
        self.kept.push_back(Kept { agent, tool, id: approval.id.clone(), bound, sealed: Arc::clone(sealed) });
        while self.kept.len() > MOST || self.bytes > IN_ALL {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.sealed.len();
        }
    }

    fn of(&self, agent: &AgentId, tool: &str) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.agent == *agent && kept.tool == tool)
    }
}

impl LiveApprovals {
    /// The last call of the same tool by the same agent that persons approved since the start, if it is another one, and its arguments.
    pub fn last_approved(&self, approval: &Approval) -> Option<(Approval, Bytes)> {
        let book = self.book();
        let kept = book.compared.of(&approval.binding.agent, &approval.binding.tool).filter(|kept| kept.id != approval.id)?;
        let opened = self.store.seal().open(&kept.id, &kept.bound, &kept.sealed).ok()?;
        Some((book.entry(&kept.id)?.approval.clone(), Bytes::from(opened)))
    }
}
