//! Who is asking: what a request presents, and what an identity adapter makes of it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

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
    /// A bearer token (RFC 6750): an agent's or a grant's, or one that an issuer signed.
    Bearer(SecretString),
    /// A token that is bound to a key (RFC 9449), and what came with it to prove that key.
    Bound {
        /// The token.
        token: SecretString,
        /// The proof.
        proof: Arc<Proof>,
    },
    /// The peer of the agent socket, as the kernel tells it, and the agent it says it is.
    Peer {
        /// The peer's user id.
        uid: u32,
        /// The peer's process id.
        pid: Option<i32>,
        /// The agent it wants to be; believed only if registered with that user id.
        agent: Option<String>,
    },
    /// A one-shot handle, good in one process alone.
    Handle {
        /// The handle.
        handle: SecretString,
        /// The process that shows it, where that can be told.
        process: Option<Process>,
    },
    /// A client certificate that was verified (X.509-SVID), and the bearer token beside it, if there is one.
    Certificate {
        /// The certificate of the connection.
        certificate: Arc<ClientCertificate>,
        /// The token, which must be of the same agent.
        bearer: Option<SecretString>,
    },
}

/// A process, so that no other one is ever taken for it: ids come again, with another start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// The user that it runs as.
    pub uid: u32,
    /// Its id.
    pub pid: i32,
    /// When it started, in the kernel's ticks since the machine did.
    pub started: u64,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of user {}", self.pid, self.uid)
    }
}

/// The certificate that a connection was opened with.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The SPIFFE id in it.
    pub spiffe_id: String,
    /// The SHA-256 of its DER (`x5t#S256`, RFC 8705, section 3.1).
    pub thumbprint: [u8; 32],
    /// Whether it is good still: a connection lives longer than what opened it may.
    pub standing: Arc<dyn Standing>,
    instance: String,
}

impl ClientCertificate {
    /// The certificate of this thumbprint, which names this SPIFFE id.
    pub fn new(spiffe_id: String, thumbprint: [u8; 32], standing: Arc<dyn Standing>) -> Self {
        let hex = thumbprint.iter().take(16).map(|byte| format!("{byte:02x}"));
        let instance = format!("x509-{}", hex.collect::<String>());
        Self { spiffe_id, thumbprint, standing, instance }
    }

    /// Which running copy of the agent bears it, as far as a certificate tells.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// What can say whether something that was verified once is good still.
pub trait Standing: fmt::Debug + Send + Sync {
    /// Whether it is now, unix milliseconds; else why not.
    fn is_good(&self, now_ms: u64) -> Result<(), String>;
}

/// What one request shows to prove a key. It is good for that request alone, whose sender may be asked for more than once: it is checked the
/// first time, and known from then on.
pub struct Proof {
    text: String,
    method: String,
    is_checked: Mutex<bool>,
}

impl Proof {
    /// As it came with a request of this method.
    pub fn new(text: impl Into<String>, method: impl Into<String>) -> Self {
        Self { text: text.into(), method: method.into(), is_checked: Mutex::new(false) }
    }

    /// Has it checked, by its text and the request's method, if it was not found good before.
    pub fn check<F>(&self, check: impl FnOnce(&str, &str) -> Result<(), F>) -> Result<(), F> {
        let mut is_checked = self.is_checked.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_checked {
            check(&self.text, &self.method)?;
            *is_checked = true;
        }
        Ok(())
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("method", &self.method).finish_non_exhaustive()
    }
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
    /// A one-shot handle of one grant, in the process that holds it.
    Handle,
    /// The user id at the other end of the agent socket.
    Peer,
    /// A client certificate with a SPIFFE id.
    X509Svid,
    /// A token that an issuer signed.
    Jwt,
    /// A JWT-SVID of a SPIFFE trust domain.
    JwtSvid,
}

impl AuthMethod {
    /// The word used in records and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentToken => "agent_token",
            Self::GrantToken => "grant_token",
            Self::Handle => "handle",
            Self::Peer => "unix_peer",
            Self::X509Svid => "spiffe_x509",
            Self::Jwt => "jwt",
            Self::JwtSvid => "jwt_svid",
        }
    }

    /// What it is worth to policies: 1 for a secret that whoever has it can show, 2 for a token that an issuer signed, 3 for what the
    /// connection itself proves.
    pub fn strength(self) -> u8 {
        match self {
            Self::AgentToken | Self::GrantToken => 1,
            Self::Jwt | Self::JwtSvid => 2,
            Self::Handle | Self::Peer | Self::X509Svid => 3,
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
