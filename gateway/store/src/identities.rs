//! Who is asking: the registered agents, and what proves that somebody is one of them.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    grant::LiveGrant,
    ids::AgentId,
    ports::{Clock, Grants as _, Identities, IdentityFailure, Later},
    principal::{Agent, AuthMethod, Credential, Presented, Principal},
};
use secrecy::SecretString;

use crate::{
    grants::LiveGrants,
    tokens::{Bearer, Tokens},
};

/// A registered agent, and the operating-system users it may run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    /// The agent.
    pub agent: Agent,
    /// The user ids by which it is believed on the agent socket.
    pub uids: Vec<u32>,
}

struct Registered {
    agent: Arc<Agent>,
    uids: BTreeSet<u32>,
    /// What the configuration says.
    is_disabled_there: bool,
}

/// The registered agents: replaced as a whole when the configuration changes.
#[derive(Default)]
pub struct Agents {
    by_id: ArcSwap<HashMap<AgentId, Registered>>,
    /// Those that a person disabled, registered or not: whatever is configured, they are. Held by whoever changes the agents.
    off: Mutex<BTreeSet<AgentId>>,
}

impl Agents {
    /// Replaces all of them.
    pub fn set(&self, entries: Vec<AgentEntry>) {
        let off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        let register = |AgentEntry { mut agent, uids }: AgentEntry| {
            let is_disabled_there = agent.disabled;
            agent.disabled |= off.contains(&agent.id);
            (agent.id.clone(), Registered { agent: Arc::new(agent), uids: uids.into_iter().collect(), is_disabled_there })
        };
        self.by_id.store(Arc::new(entries.into_iter().map(register).collect()));
    }

    /// Disables an agent whatever the configuration says, or leaves it to the configuration again.
    pub(crate) fn switch_off(&self, id: &AgentId, is_off: bool) {
        let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        if is_off {
            off.insert(id.clone());
        } else {
            off.remove(id);
        }
        let anew = |(of, entry): (&AgentId, &Registered)| {
            let mut agent = Arc::clone(&entry.agent);
            if of == id {
                Arc::make_mut(&mut agent).disabled = is_off || entry.is_disabled_there;
            }
            (of.clone(), Registered { agent, uids: entry.uids.clone(), is_disabled_there: entry.is_disabled_there })
        };
        self.by_id.store(Arc::new(self.by_id.load().iter().map(anew).collect()));
    }

    /// The agent of this id, disabled or not.
    pub fn agent(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.by_id.load().get(id).map(|entry| Arc::clone(&entry.agent))
    }

    /// Whether this agent may run as that user.
    pub fn is_run_by(&self, id: &AgentId, uid: u32) -> bool {
        self.by_id.load().get(id).is_some_and(|entry| entry.uids.contains(&uid))
    }

    /// All agents, by id.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        let mut all: Vec<_> = self.by_id.load().values().map(|entry| Arc::clone(&entry.agent)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.load().keys()).finish()
    }
}

/// Proves identities by bearer tokens and by the peer of the agent socket.
pub struct LiveIdentities {
    agents: Arc<Agents>,
    tokens: Arc<Tokens>,
    grants: Arc<LiveGrants>,
    clock: Arc<dyn Clock>,
}

impl LiveIdentities {
    /// Over these agents, tokens and grants.
    pub fn new(agents: Arc<Agents>, tokens: Arc<Tokens>, grants: Arc<LiveGrants>, clock: Arc<dyn Clock>) -> Self {
        Self { agents, tokens, grants, clock }
    }

    /// Replaces the registered agents.
    pub fn set_agents(&self, entries: Vec<AgentEntry>) {
        self.agents.set(entries);
    }

    fn prove(&self, presented: &Presented) -> Result<Principal, IdentityFailure> {
        match &presented.credential {
            Credential::Absent => Err(IdentityFailure::Absent),
            Credential::Bearer(token) => self.by_token(token),
            Credential::Peer { uid, pid, agent } => self.by_peer(*uid, *pid, agent.as_deref()),
        }
    }

    fn by_token(&self, token: &SecretString) -> Result<Principal, IdentityFailure> {
        let now_ms = self.clock.now_ms();
        match self.tokens.bearer(token, now_ms).ok_or(IdentityFailure::Unknown)? {
            Bearer::Agent(id) => {
                let agent = self.enabled(&id)?;
                Ok(Principal { agent, instance: None, method: AuthMethod::AgentToken, grant: None })
            }
            Bearer::Grant { id, revision } => {
                // INVARIANT: the token of a grant that is not live is nobody's: who has lost the grant has lost what it opened.
                let is_good = |grant: &LiveGrant| grant.terms().revision == revision && grant.is_live(now_ms);
                let grant = self.grants.by_id(&id).filter(|grant| is_good(grant)).ok_or(IdentityFailure::Unknown)?;
                let agent = self.enabled(&grant.terms().agent)?;
                Ok(Principal { agent, instance: None, method: AuthMethod::GrantToken, grant: Some(id) })
            }
        }
    }

    fn by_peer(&self, uid: u32, pid: Option<i32>, claimed: Option<&str>) -> Result<Principal, IdentityFailure> {
        let Some(claimed) = claimed else {
            return Err(IdentityFailure::Unregistered(format!("user {uid}, naming no agent,")));
        };
        let stranger =
            || IdentityFailure::Unregistered(format!("user {uid} as `{}`", claimed.chars().take(64).collect::<String>()));
        let id: AgentId = claimed.parse().map_err(|_| stranger())?;
        if !self.agents.is_run_by(&id, uid) {
            return Err(stranger());
        }
        let agent = self.enabled(&id)?;
        Ok(Principal { agent, instance: pid.map(|pid| format!("pid-{pid}")), method: AuthMethod::Peer, grant: None })
    }

    fn enabled(&self, id: &AgentId) -> Result<Arc<Agent>, IdentityFailure> {
        let agent = self.agents.agent(id).ok_or_else(|| IdentityFailure::Unregistered(format!("`{id}`")))?;
        if agent.disabled { Err(IdentityFailure::Disabled(id.clone())) } else { Ok(agent) }
    }
}

impl Identities for LiveIdentities {
    fn identify<'a>(&'a self, presented: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        Box::pin(std::future::ready(self.prove(presented)))
    }
}

impl fmt::Debug for LiveIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveIdentities").field("agents", &self.agents).finish_non_exhaustive()
    }
}
