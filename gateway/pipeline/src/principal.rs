//! Who is asking: what a request presents, and what an identity adapter makes of it.

use std::{fmt, sync::Arc};

use bailiwick_policy::Band;
use secrecy::SecretString;

use crate::ids::{AgentId, GrantId};

/// A registered agent, as the rest of the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The person or team accountable for it.
    pub owner: String,
    /// The highest band it may ever reach.
    pub ceiling: Band,
    /// Whether an admin has switched it off.
    pub disabled: bool,
}

/// What a request shows to prove who sends it. Never logged: tokens are masked.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The credential.
    pub credential: Credential,
    /// The grant named beside the identity (`Bailiwick-Grant`), as written.
    pub grant: Option<String>,
}

/// A credential as presented.
#[derive(Debug, Clone)]
pub enum Credential {
    /// None at all.
    Absent,
    /// A bearer token (RFC 6750): an agent's or a grant's.
    Bearer(SecretString),
    /// The peer of the agent socket, as the kernel tells it, and the agent it says it is.
    Peer {
        /// The peer's user id.
        uid: u32,
        /// The peer's process id.
        pid: Option<i32>,
        /// The agent it wants to be; believed only if registered with that user id.
        agent: Option<String>,
    },
}

/// A proven identity: facts for the `identify` gate.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Which running copy of it, where known (process, pod, run).
    pub instance: Option<String>,
    /// How it was proven.
    pub method: AuthMethod,
    /// The grant whose token was borne: the request acts under it and no other.
    pub grant: Option<GrantId>,
}

/// How an identity was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// A bearer token of the agent.
    AgentToken,
    /// A bearer token of one grant.
    GrantToken,
    /// The user id at the other end of the agent socket.
    Peer,
}

impl AuthMethod {
    /// The word used in records and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentToken => "agent_token",
            Self::GrantToken => "grant_token",
            Self::Peer => "unix_peer",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
