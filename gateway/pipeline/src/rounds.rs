//! What servers asked before they could answer, and wait to hear (MCP 2026-07-28, `basic/patterns/mrtr`).
//!
//! An agent is given a handle of ours in place of the server's own state: random, good once, for one agent, grant, tool and one set of
//! arguments, and for a short time. So no agent carries the state of one server to another, nor that of another agent anywhere.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bailiwick_schemas::{
    canonical::{Digest, digest},
    names::{Feature, QualifiedName},
};
use serde_json::Value;

use crate::{
    gates::Granted,
    halts::Halt,
    ids::{AgentId, CallId, GrantId},
    running::Running,
    trace::hex,
};

/// So many may wait of one connector for one agent, and in all.
const OF_EACH: usize = 16;
const IN_ALL: usize = 1024;
/// How long a question may wait, milliseconds.
pub(crate) const LIVES_MS: u64 = 10 * 60 * 1000;

/// The questions that wait.
#[derive(Default)]
pub struct Rounds {
    open: Mutex<HashMap<String, Arc<Round>>>,
}

/// One call that its server could not answer yet.
pub(crate) struct Round {
    pub(crate) of: Of,
    /// The server's own state, where it gave one.
    pub(crate) state: Option<String>,
    /// What was asked, by the server's key.
    pub(crate) asked: BTreeMap<String, Asking>,
    /// The call itself, where its server works on it and waits: it goes on with the answers, and ends with the round.
    running: Mutex<Option<Running>>,
    expires_ms: u64,
}

/// The call that a round belongs to, with all that it was decided by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Of {
    agent: AgentId,
    instance: Option<String>,
    /// The agents whose grants its own comes from.
    delegators: Vec<AgentId>,
    /// The call that it began with, where its agent is asked while that goes on.
    conversation: Option<CallId>,
    grant: (GrantId, u64),
    tool: QualifiedName,
    tool_digest: Digest,
    connector_fingerprint: Digest,
    policy_digest: String,
    /// Of the arguments, in canonical form.
    arguments: Digest,
}

impl Of {
    /// This call, with these arguments.
    pub(crate) fn this(call: &Granted<'_>, arguments: &Value) -> Self {
        let (terms, tool) = (call.grant().terms(), call.tool());
        Self {
            agent: terms.agent.clone(),
            instance: call.identified().principal().instance.clone(),
            delegators: call.grant().chain().skip(1).map(|grant| grant.terms().agent.clone()).collect(),
            conversation: call.identified().received().conversation().cloned(),
            grant: (terms.id.clone(), terms.revision),
            tool: tool.name.clone(),
            tool_digest: tool.digest,
            connector_fingerprint: tool.connector.fingerprint,
            policy_digest: call.world().policy_digest.clone(),
            arguments: digest(arguments),
        }
    }
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) enum Asking {
    /// A form, by its schema.
    Form(Value),
    /// A page to be visited.
    Page,
    /// A completion of a model, or a list of roots.
    Other(Feature),
}

impl Asking {
    /// By which right it was asked.
    pub(crate) fn feature(&self) -> Feature {
        match self {
            Self::Form(_) | Self::Page => Feature::Elicitation,
            Self::Other(feature) => *feature,
        }
    }
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
        // Whoever is asked the same again has only the last to answer.
        open.retain(|_, other| other.expires_ms > now_ms && other.of != round.of);
        let is_alike =
            |other: &&Arc<Round>| other.of.agent == round.of.agent && other.of.tool.connector() == round.of.tool.connector();
        if open.len() >= IN_ALL || open.values().filter(is_alike).count() >= OF_EACH {
            return Err(TooMany);
        }
        let handle = hex(&random);
        open.insert(handle.clone(), Arc::new(round));
        Ok(handle)
    }

    /// What waits under this handle. It waits on.
    pub(crate) fn find(&self, handle: &str, now_ms: u64) -> Option<Arc<Round>> {
        self.locked().get(handle).filter(|round| round.expires_ms > now_ms).cloned()
    }

    /// Takes what waits under this handle: once.
    pub(crate) fn claim(&self, handle: &str, now_ms: u64) -> Option<Arc<Round>> {
        self.locked().remove(handle).filter(|round| round.expires_ms > now_ms)
    }

    /// Forgets what waits of this very call: it is made again.
    pub(crate) fn supersede(&self, of: &Of) {
        self.locked().retain(|_, round| round.of != *of);
    }

    /// Forgets what waited too long.
    pub fn sweep(&self, now_ms: u64) {
        self.locked().retain(|_, round| round.expires_ms > now_ms);
    }

    /// Forgets what waits and a halt reaches: calls that their servers work on are called off.
    pub fn forget_halted(&self, halt: &Halt) {
        let is_reached = |of: &Of| {
            halt.is_of_agent(&of.agent, of.instance.as_deref())
                || of.delegators.iter().any(|id| halt.is_of_agent(id, None))
                || halt.is_of_tool(&of.tool)
        };
        self.locked().retain(|_, round| !is_reached(&round.of));
    }

    /// Forgets what waits under this handle: nobody will bring it.
    pub fn forget(&self, handle: &str) {
        self.locked().remove(handle);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Arc<Round>>> {
        // A panic while it was held leaves a map that is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    /// A round, which lives from when it is opened.
    pub(crate) fn new(of: Of, state: Option<String>, asked: BTreeMap<String, Asking>) -> Self {
        Self { of, state, asked, running: Mutex::default(), expires_ms: 0 }
    }

    /// The same, of a call that waits at its server.
    pub(crate) fn of_running(self, running: Running) -> Self {
        Self { running: Mutex::new(Some(running)), ..self }
    }

    /// The call that waits, for whoever claimed the round.
    pub(crate) fn take_running(&self) -> Option<Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
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

    fn round(agent: &str, tool: &str, arguments: u32) -> Round {
        let nothing = Digest::of(b"");
        let of = Of {
            agent: agent.parse().unwrap(),
            instance: None,
            delegators: Vec::new(),
            conversation: None,
            grant: ("g".parse().unwrap(), 1),
            tool: tool.parse().unwrap(),
            tool_digest: nothing,
            connector_fingerprint: nothing,
            policy_digest: String::new(),
            arguments: Digest::of(&arguments.to_le_bytes()),
        };
        Round::new(of, None, BTreeMap::new())
    }

    #[test]
    fn a_handle_is_good_once_and_for_a_time() {
        let rounds = Rounds::default();
        let handle = rounds.open(round("a", "x__y", 0), 1000, [7; 16]).unwrap();
        assert_eq!(handle.len(), 32);
        assert!(rounds.find(&handle, 1000).is_some() && rounds.find("", 1000).is_none());
        assert!(rounds.find(&handle, 1000 + LIVES_MS).is_none());
        assert!(rounds.claim(&handle, 1001).is_some() && rounds.claim(&handle, 1001).is_none());
        assert!(rounds.find(&handle, 1001).is_none());
        let late = rounds.open(round("a", "x__y", 0), 1000, [8; 16]).unwrap();
        assert!(rounds.claim(&late, 1000 + LIVES_MS).is_none());
    }

    #[test]
    fn no_server_fills_them_for_others_and_what_is_over_makes_room() {
        let rounds = Rounds::default();
        let open = |agent: &str, tool: &str, now_ms, at: u32| {
            rounds.open(round(agent, tool, at), now_ms, u128::from(at).to_le_bytes()).is_ok()
        };
        for at in 0..u32::try_from(OF_EACH).unwrap() {
            assert!(open("a", "x__y", 1, at));
        }
        assert!(!open("a", "x__z", 1, 100), "the connector has asked enough");
        assert!(open("a", "x__y", 1, 3), "the same again takes the place of the last");
        assert!(open("a", "w__y", 1, 101) && open("b", "x__y", 1, 102));
        assert!(open("a", "x__y", 1 + LIVES_MS, 103));
        assert_eq!(rounds.locked().len(), 1);
    }
}
