//! What servers asked before they could answer, and wait to hear (MCP 2026-07-28, `basic/patterns/mrtr`).
//!
//! An agent is given a handle of ours in place of the server's own state: random, good once, for one agent, grant, tool and one set of
//! arguments, and for a short time. So no agent carries the state of one server to another, nor that of another agent anywhere.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bailiwick_schemas::{canonical::Digest, names::QualifiedName, validate::Validator};

use crate::{
    ids::{AgentId, GrantId},
    trace::hex,
};

/// So many may wait for one agent, and in all.
const PER_AGENT: usize = 64;
const IN_ALL: usize = 4096;
/// How long a question may wait, milliseconds.
const LIVES_MS: u64 = 10 * 60 * 1000;

/// The questions that wait.
#[derive(Default)]
pub struct Rounds {
    open: Mutex<HashMap<String, std::sync::Arc<Round>>>,
}

/// One call that its server could not answer yet.
pub(crate) struct Round {
    pub(crate) agent: AgentId,
    pub(crate) grant: (GrantId, u64),
    pub(crate) tool: QualifiedName,
    /// Of the arguments, in canonical form.
    pub(crate) arguments: Digest,
    /// The server's own state, where it gave one.
    pub(crate) state: Option<String>,
    /// What was asked, by the server's key.
    pub(crate) asked: BTreeMap<String, Asking>,
    expires_ms: u64,
}

/// One question.
pub(crate) enum Asking {
    /// A form, judged by what it asks for; none where that can't be judged, and then only a refusal is an answer.
    Form(Option<Box<Validator>>),
    /// A page to be visited, a completion of a model, or a list of roots.
    Other,
}

/// Too many wait already.
#[derive(Debug, thiserror::Error)]
#[error("too many questions wait for answers")]
pub(crate) struct TooMany;

impl Rounds {
    /// Keeps what a server asked, and returns the handle that its answers are to bring.
    pub(crate) fn open(&self, mut round: Round, now_ms: u64, random: [u8; 16]) -> Result<String, TooMany> {
        round.expires_ms = now_ms.saturating_add(LIVES_MS);
        let mut open = self.locked();
        open.retain(|_, other| other.expires_ms > now_ms);
        if open.len() >= IN_ALL || open.values().filter(|other| other.agent == round.agent).count() >= PER_AGENT {
            return Err(TooMany);
        }
        let handle = hex(&random);
        open.insert(handle.clone(), std::sync::Arc::new(round));
        Ok(handle)
    }

    /// What waits under this handle. It waits on.
    pub(crate) fn find(&self, handle: &str, now_ms: u64) -> Option<std::sync::Arc<Round>> {
        self.locked().get(handle).filter(|round| round.expires_ms > now_ms).cloned()
    }

    /// Takes what waits under this handle: once.
    pub(crate) fn claim(&self, handle: &str, now_ms: u64) -> bool {
        self.locked().remove(handle).is_some_and(|round| round.expires_ms > now_ms)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, std::sync::Arc<Round>>> {
        // A panic while it was held leaves a map that is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    /// A round, which lives from when it is opened.
    pub(crate) fn new(
        agent: AgentId,
        grant: (GrantId, u64),
        tool: QualifiedName,
        arguments: Digest,
        state: Option<String>,
        asked: BTreeMap<String, Asking>,
    ) -> Self {
        Self { agent, grant, tool, arguments, state, asked, expires_ms: 0 }
    }
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds").field("open", &self.locked().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn round(agent: &str) -> Round {
        let grant = ("g".parse().unwrap(), 1);
        Round::new(agent.parse().unwrap(), grant, "a__b".parse().unwrap(), Digest::of(b""), None, BTreeMap::new())
    }

    #[test]
    fn a_handle_is_good_once_and_for_a_time() {
        let rounds = Rounds::default();
        let handle = rounds.open(round("a"), 1000, [7; 16]).unwrap();
        assert_eq!(handle.len(), 32);
        assert!(rounds.find(&handle, 1000).is_some() && rounds.find("", 1000).is_none());
        assert!(rounds.find(&handle, 1000 + LIVES_MS).is_none());
        assert!(rounds.claim(&handle, 1001) && !rounds.claim(&handle, 1001) && rounds.find(&handle, 1001).is_none());
        let late = rounds.open(round("a"), 1000, [8; 16]).unwrap();
        assert!(!rounds.claim(&late, 1000 + LIVES_MS));
    }

    #[test]
    fn no_agent_fills_them_and_what_is_over_makes_room() {
        let rounds = Rounds::default();
        let open = |agent: &str, now_ms, at: usize| rounds.open(round(agent), now_ms, u128::try_from(at).unwrap().to_le_bytes());
        for at in 0..PER_AGENT {
            open("a", 1, at).unwrap();
        }
        assert!(open("a", 1, PER_AGENT).is_err());
        open("b", 1, PER_AGENT).unwrap();
        open("a", 1 + LIVES_MS, PER_AGENT + 1).unwrap();
        assert_eq!(rounds.locked().len(), 1);
    }
}
