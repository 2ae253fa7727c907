//! Who is asking: the registered agents, and what proves that somebody is one of them.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bailiwick_identity::{Issuers, Method, Proven, SubjectPattern, TokenFault, looks_signed};
use bailiwick_pipeline::{
    grant::LiveGrant,
    ids::{AgentId, GrantId},
    ports::{Clock, Grants as _, Identities, IdentityFailure, Later},
    principal::{Agent, AuthMethod, ClientCertificate, Credential, Presented, Principal, Process, Proof},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    grants::LiveGrants,
    handles::{HANDLE, Handles},
    tokens::{Bearer, Tokens},
};

/// A registered agent, and how it proves itself beside its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    /// The agent.
    pub agent: Agent,
    /// The user ids by which it is believed on the agent socket.
    pub uids: Vec<u32>,
    /// The SPIFFE ids by which it is believed over TLS.
    pub spiffe: Vec<String>,
    /// What issuers call it, each by its id.
    pub subjects: Vec<(String, SubjectPattern)>,
}

#[derive(Clone)]
struct Registered {
    agent: Arc<Agent>,
    uids: BTreeSet<u32>,
    /// What the configuration says.
    is_disabled_there: bool,
}

/// The registered agents: replaced as a whole when the configuration changes.
#[derive(Default)]
pub struct Agents {
    registry: ArcSwap<Registry>,
    /// Those that a person disabled, registered or not: whatever is configured, they are. Held by whoever changes the agents.
    off: Mutex<BTreeSet<AgentId>>,
    /// Moves when any of them is another one.
    changes: AtomicU64,
}

#[derive(Clone, Default)]
struct Registry {
    by_id: HashMap<AgentId, Registered>,
    /// By the SPIFFE id in a certificate.
    workloads: HashMap<String, AgentId>,
    /// By issuer, then by subject: a subject alone is nobody.
    subjects: HashMap<String, Subjects>,
}

#[derive(Clone, Default)]
struct Subjects {
    exact: HashMap<String, AgentId>,
    below: Vec<(SubjectPattern, AgentId)>,
}

impl Agents {
    /// Replaces all of them.
    pub fn set(&self, entries: Vec<AgentEntry>) {
        let off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        let mut registry = Registry::default();
        for AgentEntry { mut agent, uids, spiffe, subjects } in entries {
            registry.workloads.extend(spiffe.into_iter().map(|spiffe| (spiffe, agent.id.clone())));
            for (issuer, pattern) in subjects {
                let of_issuer = registry.subjects.entry(issuer).or_default();
                match pattern {
                    SubjectPattern::Exact(subject) => {
                        of_issuer.exact.insert(subject, agent.id.clone());
                    }
                    below @ SubjectPattern::Below(_) => of_issuer.below.push((below, agent.id.clone())),
                }
            }
            let is_disabled_there = agent.disabled;
            agent.disabled |= off.contains(&agent.id);
            let uids = uids.into_iter().collect();
            registry.by_id.insert(agent.id.clone(), Registered { agent: Arc::new(agent), uids, is_disabled_there });
        }
        self.registry.store(Arc::new(registry));
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A number that is another one once any of them is.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Disables an agent whatever the configuration says, or leaves it to the configuration again.
    pub(crate) fn switch_off(&self, id: &AgentId, is_off: bool) {
        let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        if is_off {
            off.insert(id.clone());
        } else {
            off.remove(id);
        }
        let mut registry = Registry::clone(&self.registry.load());
        if let Some(entry) = registry.by_id.get_mut(id) {
            Arc::make_mut(&mut entry.agent).disabled = is_off || entry.is_disabled_there;
        }
        self.registry.store(Arc::new(registry));
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The agent of this id, disabled or not.
    pub fn agent(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.registry.load().by_id.get(id).map(|entry| Arc::clone(&entry.agent))
    }

    /// The agent that this issuer calls so, disabled or not.
    pub fn called(&self, issuer: &str, subject: &str) -> Option<Arc<Agent>> {
        let registry = self.registry.load();
        let subjects = registry.subjects.get(issuer)?;
        let below = || subjects.below.iter().find(|(pattern, _)| pattern.matches(subject)).map(|(_, id)| id);
        let id = subjects.exact.get(subject).or_else(below)?;
        registry.by_id.get(id).map(|entry| Arc::clone(&entry.agent))
    }

    /// Whether this agent may run as that user.
    pub fn is_run_by(&self, id: &AgentId, uid: u32) -> bool {
        self.registry.load().by_id.get(id).is_some_and(|entry| entry.uids.contains(&uid))
    }

    /// The agent that has this SPIFFE id.
    pub fn of_spiffe(&self, spiffe: &str) -> Option<AgentId> {
        self.registry.load().workloads.get(spiffe).cloned()
    }

    /// All agents, by id.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        let mut all: Vec<_> = self.registry.load().by_id.values().map(|entry| Arc::clone(&entry.agent)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.registry.load().by_id.keys()).finish()
    }
}

/// Proves identities by tokens, our own and those of issuers, by client certificates, and by the peer of the agent socket.
pub struct LiveIdentities {
    agents: Arc<Agents>,
    tokens: Arc<Tokens>,
    handles: Arc<Handles>,
    issuers: Arc<Issuers>,
    grants: Arc<LiveGrants>,
    clock: Arc<dyn Clock>,
}

impl LiveIdentities {
    /// Over these agents, tokens with handles, issuers and grants.
    pub fn new(
        agents: Arc<Agents>,
        (tokens, handles): (Arc<Tokens>, Arc<Handles>),
        issuers: Arc<Issuers>,
        grants: Arc<LiveGrants>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { agents, tokens, handles, issuers, grants, clock }
    }

    /// Replaces the registered agents.
    pub fn set_agents(&self, entries: Vec<AgentEntry>) {
        self.agents.set(entries);
    }

    fn by_token(&self, token: &SecretString) -> Result<Principal, IdentityFailure> {
        let now_ms = self.clock.now_ms();
        if token.expose_secret().starts_with(HANDLE) {
            return Err(IdentityFailure::Handle("came where it proves nothing: it is good on the agent socket alone".to_owned()));
        }
        match self.tokens.bearer(token, now_ms).ok_or(IdentityFailure::Unknown)? {
            Bearer::Agent(id) => {
                let agent = self.enabled(&id)?;
                Ok(Principal { agent, instance: None, method: AuthMethod::AgentToken, grant: None })
            }
            Bearer::Grant { id, revision } => {
                // INVARIANT: the token of a grant that is not live is nobody's: who has lost the grant has lost what it opened.
                let grant = self.live(&id, revision, now_ms).ok_or(IdentityFailure::Unknown)?;
                let agent = self.enabled(&grant.terms().agent)?;
                Ok(Principal { agent, instance: None, method: AuthMethod::GrantToken, grant: Some(id) })
            }
        }
    }

    /// Good in the process that showed it first, as long as its grant.
    fn by_handle(&self, handle: &SecretString, process: Option<Process>) -> Result<Principal, IdentityFailure> {
        let foreign = "is good on the agent socket alone, from a process that the system names";
        let process = process.ok_or_else(|| IdentityFailure::Handle(foreign.to_owned()))?;
        let now_ms = self.clock.now_ms();
        let is_live = |id: &GrantId, revision: u64| self.live(id, revision, now_ms).is_some();
        let id = self.handles.shown(handle, process, now_ms, is_live)?;
        let grant = self.grants.by_id(&id).ok_or(IdentityFailure::Unknown)?;
        let agent = self.enabled(&grant.terms().agent)?;
        Ok(Principal { agent, instance: Some(instance_of(process.pid)), method: AuthMethod::Handle, grant: Some(id) })
    }

    /// This issue of a grant, if it is live.
    fn live(&self, id: &GrantId, revision: u64, now_ms: u64) -> Option<Arc<LiveGrant>> {
        self.grants.by_id(id).filter(|grant| grant.terms().revision == revision && grant.is_live(now_ms))
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
        Ok(Principal { agent, instance: pid.map(instance_of), method: AuthMethod::Peer, grant: None })
    }

    /// Asked for each request anew: the certificate must still be good, and a token beside it of the same agent.
    async fn by_certificate(
        &self,
        certificate: &ClientCertificate,
        bearer: Option<&SecretString>,
    ) -> Result<Principal, IdentityFailure> {
        let id = &certificate.spiffe_id;
        certificate.standing.is_good(self.clock.now_ms()).map_err(|why| IdentityFailure::Outlived { id: id.clone(), why })?;
        let agent = self.agents.of_spiffe(id).ok_or_else(|| IdentityFailure::Unregistered(format!("`{id}`")))?;
        let agent = self.enabled(&agent)?;
        let own = certificate.instance();
        let borne = match bearer {
            None => {
                let instance = Some(own.to_owned());
                return Ok(Principal { agent, instance, method: AuthMethod::X509Svid, grant: None });
            }
            Some(token) if is_signed(token) => self.by_signed(token, None, Some(certificate)).await?,
            Some(token) => self.by_token(token)?,
        };
        if borne.agent.id != agent.id {
            return Err(IdentityFailure::Mixed(agent.id.clone()));
        }
        // Both words are its: whoever stops one of them stops it.
        let instance = borne.instance.as_deref().map_or_else(|| own.to_owned(), |told| format!("{told}+{own}"));
        Ok(Principal { instance: Some(instance), ..borne })
    }

    /// A token that an issuer signed. Authentic is not enough: its subject has to be a registered agent.
    async fn by_signed(
        &self,
        token: &SecretString,
        proof: Option<&Proof>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Principal, IdentityFailure> {
        let now_ms = self.clock.now_ms();
        let token = token.expose_secret();
        let proven = self.issuers.prove(token, now_ms).await.map_err(refused)?;
        let stranger = || IdentityFailure::Unregistered(format!("`{}` of issuer `{}`", proven.subject(), proven.issuer()));
        let agent = enabled(self.agents.called(proven.issuer(), proven.subject()).ok_or_else(stranger)?)?;
        // Last: only what a registered agent shows is remembered.
        match proof {
            None => self.issuers.check_bearer(&proven, certificate.map(|certificate| &certificate.thumbprint)),
            Some(proof) => {
                proof.check(|text, method| self.issuers.check_proof(&proven, token, (text, method), self.clock.now_ms()))
            }
        }
        .map_err(refused)?;
        Ok(Principal { agent, instance: proven.instance().map(str::to_owned), method: method_of(&proven), grant: None })
    }

    fn enabled(&self, id: &AgentId) -> Result<Arc<Agent>, IdentityFailure> {
        enabled(self.agents.agent(id).ok_or_else(|| IdentityFailure::Unregistered(format!("`{id}`")))?)
    }
}

impl Identities for LiveIdentities {
    fn identify<'a>(&'a self, presented: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        let known = match &presented.credential {
            Credential::Absent => Err(IdentityFailure::Absent),
            Credential::Bearer(token) if is_signed(token) => return Box::pin(self.by_signed(token, None, None)),
            Credential::Bearer(token) => self.by_token(token),
            Credential::Bound { token, proof } => return Box::pin(self.by_signed(token, Some(proof), None)),
            Credential::Handle { handle, process } => self.by_handle(handle, *process),
            Credential::Certificate { certificate, bearer } => {
                return Box::pin(self.by_certificate(certificate, bearer.as_ref()));
            }
            Credential::Peer { uid, pid, agent } => self.by_peer(*uid, *pid, agent.as_deref()),
        };
        Box::pin(std::future::ready(known))
    }
}

/// Whether a token is one that an issuer may have signed. Our own have no dots.
fn is_signed(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !["ba_", "tg_", HANDLE].iter().any(|own| token.starts_with(own)) && looks_signed(token)
}

/// What records call a process.
fn instance_of(pid: i32) -> String {
    format!("pid-{pid}")
}

fn enabled(agent: Arc<Agent>) -> Result<Arc<Agent>, IdentityFailure> {
    if agent.disabled { Err(IdentityFailure::Disabled(agent.id.clone())) } else { Ok(agent) }
}

fn method_of(proven: &Proven) -> AuthMethod {
    match proven.method() {
        Method::Jwt => AuthMethod::Jwt,
        Method::JwtSvid => AuthMethod::JwtSvid,
    }
}

fn refused(fault: TokenFault) -> IdentityFailure {
    match fault {
        TokenFault::Unavailable { .. } => IdentityFailure::Unavailable(fault.to_string()),
        TokenFault::Nonce { ref nonce, .. } => IdentityFailure::Nonce { nonce: nonce.clone(), why: fault.to_string() },
        fault => IdentityFailure::Refused(fault.to_string()),
    }
}

impl fmt::Debug for LiveIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveIdentities").field("agents", &self.agents).finish_non_exhaustive()
    }
}
