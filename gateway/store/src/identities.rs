//! Who is asking: the registered agents, and what proves that somebody is one of them.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    grant::LiveGrant,
    ids::AgentId,
    ports::{Clock, Grants as _, Identities, IdentityFailure, Later},
    principal::{Agent, AuthMethod, ClientCertificate, Credential, Presented, Principal},
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
    /// The SPIFFE ids by which it is believed over TLS.
    pub spiffe: Vec<String>,
}

struct Registered {
    agent: Arc<Agent>,
    uids: BTreeSet<u32>,
    spiffe: BTreeSet<String>,
}

/// The registered agents: replaced as a whole when the configuration changes.
#[derive(Default)]
pub struct Agents {
    by_id: ArcSwap<HashMap<AgentId, Registered>>,
    /// Only a hint: whether an agent has a SPIFFE id, `by_id` says.
    by_spiffe: ArcSwap<HashMap<String, AgentId>>,
}

impl Agents {
    /// Replaces all of them.
    pub fn set(&self, entries: Vec<AgentEntry>) {
        let workloads =
            entries.iter().flat_map(|entry| entry.spiffe.iter().map(|spiffe| (spiffe.clone(), entry.agent.id.clone())));
        let by_spiffe = Arc::new(workloads.collect());
        let register = |entry: AgentEntry| {
            let AgentEntry { agent, uids, spiffe } = entry;
            let (uids, spiffe) = (uids.into_iter().collect(), spiffe.into_iter().collect());
            (agent.id.clone(), Registered { agent: Arc::new(agent), uids, spiffe })
        };
        self.by_id.store(Arc::new(entries.into_iter().map(register).collect()));
        self.by_spiffe.store(by_spiffe);
    }

    /// The agent of this id, disabled or not.
    pub fn agent(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.by_id.load().get(id).map(|entry| Arc::clone(&entry.agent))
    }

    /// Whether this agent may run as that user.
    pub fn is_run_by(&self, id: &AgentId, uid: u32) -> bool {
        self.by_id.load().get(id).is_some_and(|entry| entry.uids.contains(&uid))
    }

    /// The agent that has this SPIFFE id.
    pub fn of_spiffe(&self, spiffe: &str) -> Option<AgentId> {
        let id = self.by_spiffe.load().get(spiffe).cloned()?;
        let has = self.by_id.load().get(&id).is_some_and(|entry| entry.spiffe.contains(spiffe));
        has.then_some(id)
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

/// Proves identities by bearer tokens, by the peer of the agent socket and by client certificates.
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
            Credential::Certificate { certificate, bearer } => self.by_certificate(certificate, bearer.as_ref()),
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

    /// Asked for each request anew: the certificate must still be good, and a token beside it of the same agent.
    fn by_certificate(
        &self,
        certificate: &ClientCertificate,
        bearer: Option<&SecretString>,
    ) -> Result<Principal, IdentityFailure> {
        let id = &certificate.spiffe_id;
        certificate.standing.is_good(self.clock.now_ms()).map_err(|why| IdentityFailure::Outlived { id: id.clone(), why })?;
        let agent = self.agents.of_spiffe(id).ok_or_else(|| IdentityFailure::Unregistered(format!("`{id}`")))?;
        let agent = self.enabled(&agent)?;
        let instance = Some(certificate.instance().to_owned());
        let Some(bearer) = bearer else {
            return Ok(Principal { agent, instance, method: AuthMethod::X509Svid, grant: None });
        };
        let borne = self.by_token(bearer)?;
        if borne.agent.id != agent.id {
            return Err(IdentityFailure::Mixed(agent.id.clone()));
        }
        Ok(Principal { instance, ..borne })
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
