//! The configuration, checked: what the rest of the gateway is built from.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use bailiwick_channels::ChannelSpec;
use bailiwick_identity::{IssuerSpec, SpiffeId, SubjectPattern};
use bailiwick_pipeline::{
    Patience,
    detect::Rule,
    grant::{Budget, Capability, Grant},
    ids::{AgentId, GrantId},
    principal::Agent,
};
use bailiwick_policy::{AgentFacts, Band, Directory};
use serde_json::Value;
use url::Url;

use crate::{
    connector::Connector,
    layers::Variables,
    people::{ConsoleSettings, RegisteredPerson},
    provider::ProviderSpec,
    source::Source,
    trust::{Tls, TrustedDomain},
};

/// A configuration without a fault: made only by [`load`](crate::load) and [`embedded`](crate::embedded).
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the gateway listens, and how much it takes.
    pub server: Server,
    /// Where people log in.
    pub console: ConsoleSettings,
    /// How long calls that need a person wait, and who may decide.
    pub approvals: Approvals,
    /// Grants that agents get by themselves.
    pub auto_grants: AutoGrants,
    /// Which policies decide.
    pub policy: PolicyFiles,
    /// The audit.
    pub trail: Trail,
    /// Traces, metrics and logs for others.
    pub telemetry: Telemetry,
    /// What is taken from connectors.
    pub limits: Limits,
    /// The trust domains whose certificates count, in the order of the file.
    pub trust_domains: Vec<TrustedDomain>,
    /// The issuers, in the order of the file.
    pub issuers: Vec<IssuerSpec>,
    /// The agents, in the order of the file.
    pub agents: Vec<RegisteredAgent>,
    /// The issuers of credentials, in the order of the file.
    pub providers: Vec<ProviderSpec>,
    /// The connectors, in the order of the file.
    pub connectors: Vec<Connector>,
    /// The grants, in the order of the file.
    pub grants: Vec<GrantTerms>,
    /// The people who use the console, in the order of the file.
    pub people: Vec<RegisteredPerson>,
    /// The servers that may ask what a token is good for, in the order of the file.
    pub resource_servers: Vec<ResourceServer>,
    /// How people hear of approvals, in the order of the file.
    pub channels: Vec<ChannelSpec>,
    /// What is looked for in what tasks do, in the order of the file.
    pub detections: Vec<Rule>,
    pub(crate) source: Source,
    pub(crate) variables: Variables,
    pub(crate) effective: Value,
}

/// A configuration, but for where it comes from.
pub(crate) struct Parts {
    pub(crate) server: Server,
    pub(crate) console: ConsoleSettings,
    pub(crate) approvals: Approvals,
    pub(crate) auto_grants: AutoGrants,
    pub(crate) policy: PolicyFiles,
    pub(crate) trail: Trail,
    pub(crate) telemetry: Telemetry,
    pub(crate) limits: Limits,
    pub(crate) trust_domains: Vec<TrustedDomain>,
    pub(crate) issuers: Vec<IssuerSpec>,
    pub(crate) agents: Vec<RegisteredAgent>,
    pub(crate) providers: Vec<ProviderSpec>,
    pub(crate) connectors: Vec<Connector>,
    pub(crate) grants: Vec<GrantTerms>,
    pub(crate) people: Vec<RegisteredPerson>,
    pub(crate) resource_servers: Vec<ResourceServer>,
    pub(crate) channels: Vec<ChannelSpec>,
    pub(crate) detections: Vec<Rule>,
}

impl Parts {
    pub(crate) fn with_origin(self, source: Source, variables: Variables, effective: Value) -> Config {
        let Self { server, console, approvals, auto_grants, policy, trail, telemetry, limits, .. } = self;
        let Self { trust_domains, issuers, agents, providers, connectors, grants, people, .. } = self;
        let Self { resource_servers, channels, detections, .. } = self;
        Config {
            server,
            console,
            approvals,
            auto_grants,
            policy,
            trail,
            telemetry,
            limits,
            trust_domains,
            issuers,
            agents,
            providers,
            connectors,
            grants,
            people,
            resource_servers,
            channels,
            detections,
            source,
            variables,
            effective,
        }
    }
}

/// Where the gateway listens, and how much it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// For agents.
    pub listen: SocketAddr,
    /// For the console and the admin API.
    pub console: SocketAddr,
    /// For agents over TLS.
    pub tls: Option<Tls>,
    /// The URL by which agents reach `/mcp`, if it isn't that of `listen`.
    pub public_url: Option<Url>,
    /// Host headers taken beside those of `listen` and `public_url`: lower case, with a port where one was written.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call: `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Open connections at most.
    pub max_connections: u32,
    /// How long the headers of a request may take to arrive, the next request of an open connection included.
    pub header_timeout: Duration,
    /// How long an answer may wait for its reader without getting on, before the connection is closed.
    pub idle_timeout: Duration,
    /// MCP sessions at most.
    pub max_sessions: u32,
    /// How long a session may be idle.
    pub session_idle: Duration,
    /// Requests that one agent may have in flight, answers that it has not read yet included.
    pub max_calls_per_agent: u32,
    /// Requests that one agent may send in a second, and twice as many at once. 0 for no limit.
    pub max_rate_per_agent: u32,
    /// Requests of all agents together in a second; 0 for no limit.
    pub max_rate: u32,
}

impl Server {
    /// The URL by which agents reach `/mcp`, where `bound` is the address that the listener got (`listen` may say port 0).
    pub fn public_url(&self, bound: SocketAddr) -> String {
        self.public_url.as_ref().map_or_else(|| format!("http://{bound}/mcp"), Url::to_string)
    }
}

/// How long calls that need a person wait, and who may decide.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub struct Approvals {
    /// How long a call is held open for an approver.
    pub hold: Duration,
    /// How long an approver has to decide.
    pub approve_by: Duration,
    /// How long an approval that was given can be used.
    pub execute_by: Duration,
    /// How long the same call isn't asked for again after it was denied.
    pub deny_cooldown: Duration,
    /// How long the outcome of a call is kept that its agent could not be told of; nought keeps none.
    pub keep_outcome: Duration,
    /// Open approvals that one agent may have.
    pub max_pending_per_agent: u32,
    /// How often approvers are asked within an hour.
    pub max_asked_per_hour: u32,
    /// After how many denials in a row of one grant nobody is asked for it any more.
    pub max_denied_in_row: u32,
    /// Whether approvers may allow calls like an approved one.
    pub remember: bool,
    /// Whether agents may ask what became of a call that is held.
    pub status_tool: bool,
    /// Whether a question is taken back when the call that waits for it is cancelled.
    pub withdraw_on_cancel: bool,
    /// The group of this machine whose users may let a call go alone in an emergency.
    pub break_glass: Option<String>,
    /// Whether the operating-system user that the agents run as may approve too.
    pub allow_same_user: bool,
}

/// Grants of low-risk reads that agents get by themselves, where a policy permits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoGrants {
    /// How long one lives at most.
    pub max_ttl: Duration,
    /// How many of them one agent has at a time.
    pub max_live_per_agent: u32,
}

/// Which policies decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFiles {
    /// Whether the default bundle applies, which is part of the binary.
    pub include_default: bool,
    /// Further policies, in the order of the file, and what is only watched.
    pub files: Vec<PolicyFile>,
    /// Who must have signed each bundle, as OpenSSH writes a public key; anybody may have where it is empty.
    pub signed_by: Vec<String>,
    /// Whether a signed bundle may be older than one that was in force before.
    pub allow_older: bool,
    /// The groups that agents may be in.
    pub agent_groups: BTreeSet<String>,
    /// The teams, each with the owners in it.
    pub teams: BTreeMap<String, BTreeSet<String>>,
}

/// Policies outside the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyFile {
    /// One file.
    One(PathBuf),
    /// Every `.cedar` file right in this folder: a bundle.
    AllIn(PathBuf),
    /// The same, which decides nothing: what it would decide is recorded beside what is in force.
    Shadow(PathBuf),
}

/// The audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trail {
    /// The size in bytes at which a new segment is begun.
    pub segment_size: u64,
    /// What rules with `@log("full")` keep of calls.
    pub keep_bodies: KeepBodies,
}

/// What rules with `@log("full")` keep of calls, sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepBodies {
    /// For how long.
    pub kept_for: Duration,
    /// How many bytes in all.
    pub bytes: u64,
    /// How many bytes of one agent.
    pub bytes_per_agent: u64,
}

/// Traces, metrics and logs for others.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Base address of an OpenTelemetry collector.
    pub endpoint: Option<Url>,
    /// `service.name`
    pub service_name: String,
    /// The part of routine calls whose traces are kept, 0 to 1.
    pub ratio: f64,
}

/// What is taken from connectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest result, in bytes.
    pub max_result: usize,
    /// How deep a result may be nested.
    pub max_depth: usize,
}

/// An agent, and how it proves itself beside its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredAgent {
    /// The agent, as the pipeline knows it.
    pub agent: Agent,
    /// The user ids that it may have on the agent socket.
    pub uids: Vec<u32>,
    /// The SPIFFE ids that it may have in its certificate.
    pub spiffe: Vec<SpiffeId>,
    /// What issuers call it.
    pub subjects: Vec<SubjectOf>,
    /// The only environments that it may have grants for; none is no bound.
    pub environments: Option<BTreeSet<String>>,
    /// What it is there for.
    pub purpose: Option<String>,
    /// How it waits for approvers.
    pub patience: Patience,
    /// What policies know of it beside its owner.
    pub facts: AgentFacts,
}

impl RegisteredAgent {
    /// Whether it may have a grant for this environment.
    pub fn may_be_in(&self, environment: &str) -> bool {
        self.environments.as_ref().is_none_or(|all| all.contains(environment))
    }
}

/// What an issuer calls an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectOf {
    /// The issuer's id.
    pub issuer: String,
    /// Which of its subjects are meant.
    pub subject: SubjectPattern,
}

/// A server of others that may ask what a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceServer {
    /// Its id.
    pub id: String,
    /// The SHA-256 of its secret.
    pub secret_sha256: [u8; 32],
}

/// A grant as configured: it becomes a [`Grant`] when it is issued.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub struct GrantTerms {
    /// Its id.
    pub id: GrantId,
    /// The only agent that may act under it.
    pub agent: AgentId,
    /// The person or team accountable for it.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// The rights: no two of them cover the same tool with different bounds.
    pub capabilities: Vec<Capability>,
    /// The highest band it reaches.
    pub ceiling: Band,
    /// The environment it is for.
    pub environment: String,
    /// How long it lives from when it is issued.
    pub ttl: Duration,
    /// How much it may be used.
    pub budget: Budget,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
    /// Whether its agent is listed two tools to look for the others by, instead of all of them.
    pub tool_search: bool,
    /// How many levels of grants may be handed on from it.
    pub delegation_depth: u8,
    /// How sensitive what it reaches may be; none is no bound.
    pub data_classes: Option<BTreeSet<String>>,
    /// The domains that it may send data to; none is no bound.
    pub destinations: Option<BTreeSet<String>>,
    /// It ends when it was not used for so long; none is never.
    pub idle_timeout: Option<Duration>,
    /// Calls in a second; none is no limit.
    pub max_rate: Option<u32>,
    /// Where the task is written down.
    pub ticket: Option<String>,
    /// Whether its agent is listed a tool to say that the task is done by.
    pub may_complete: bool,
    /// Whether its agent is listed a tool to ask for more tools by.
    pub may_request: bool,
}

impl GrantTerms {
    /// The grant, issued at `now_ms` (unix milliseconds) as this revision of its id.
    pub fn to_grant(&self, now_ms: u64, revision: u64) -> Grant {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Grant {
            id: self.id.clone(),
            revision,
            agent: self.agent.clone(),
            owner: self.owner.clone(),
            purpose: self.purpose.clone(),
            capabilities: self.capabilities.clone(),
            ceiling: self.ceiling,
            environment: self.environment.clone(),
            not_before_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(millis(self.ttl)),
            budget: self.budget.clone(),
            default: self.default,
            tool_search: self.tool_search,
            parent: None,
            delegation_depth: self.delegation_depth,
            data_classes: self.data_classes.clone(),
            destinations: self.destinations.clone(),
            idle_ms: self.idle_timeout.map(millis),
            max_rate: self.max_rate,
            ticket: self.ticket.clone(),
            created_by: None,
            may_complete: self.may_complete,
            may_request: self.may_request,
            from_config: true,
        }
    }
}

impl Config {
    /// The name of its file, as faults show it.
    pub fn file(&self) -> &str {
        self.source.named().name()
    }

    /// Its text, as it was read.
    pub fn text(&self) -> &str {
        self.source.named().inner()
    }

    /// Who stands above grants: groups, teams, and what is said of each agent.
    pub fn directory(&self) -> Directory {
        let agents = self.agents.iter().map(|registered| (registered.agent.id.to_string(), registered.facts.clone()));
        Directory { groups: self.policy.agent_groups.clone(), teams: self.policy.teams.clone(), agents: agents.collect() }
    }

    /// The agent of this id.
    pub fn agent(&self, id: &str) -> Option<&RegisteredAgent> {
        self.agents.iter().find(|registered| registered.agent.id.as_str() == id)
    }

    /// The connector of this id.
    pub fn connector(&self, id: &str) -> Option<&Connector> {
        self.connectors.iter().find(|connector| connector.id.as_str() == id)
    }

    /// The grant of this id.
    pub fn grant(&self, id: &str) -> Option<&GrantTerms> {
        self.grants.iter().find(|grant| grant.id.as_str() == id)
    }
}
