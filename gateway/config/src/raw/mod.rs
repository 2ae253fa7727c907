//! The configuration as written. Every doc comment here is the description of a key in the generated schema.
//!
//! [`crate::shape`] takes out what does not fit before this is read, so that reading it does not fail; what is required is
//! therefore an `Option` here and `required` in the schema. What fits is judged by [`crate::check`].

mod channels;
mod detections;
mod entries;
mod people;
mod providers;
mod trust;

use std::collections::BTreeMap;

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use channels::RawChannel;
pub(crate) use detections::RawDetection;
pub(crate) use entries::{
    RawAgent, RawBound, RawBudget, RawConnector, RawCredential, RawFeature, RawGrant, RawIdentity, RawInject, RawIssuer,
    RawResourceServer, RawTool,
};
pub(crate) use people::{RawConsole, RawOidc, RawPerson};
pub(crate) use providers::{RawAws, RawExec, RawGitHub, RawMcp, RawOAuth, RawOpenBao, RawPostgres, RawProvider, RawSvidFile};
pub(crate) use trust::{RawTls, RawTrustDomain};

use crate::units::{Duration, Size};

/// Configuration of Bailiwick, the MCP gateway.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Bailiwick configuration")]
pub(crate) struct Raw {
    /// Where the gateway listens, and how much it takes.
    pub(crate) server: RawServer,
    /// Where people log in: how, and for how long.
    pub(crate) console: RawConsole,
    /// How long calls that need a person wait, and who may decide.
    pub(crate) approvals: RawApprovals,
    /// Grants of low-risk reads that agents get by themselves, where a policy permits it.
    pub(crate) auto_grants: RawAutoGrants,
    /// Which Cedar policies decide.
    pub(crate) policy: RawPolicy,
    /// The audit.
    pub(crate) trail: RawTrail,
    /// Traces, metrics and logs for others.
    pub(crate) telemetry: RawTelemetry,
    /// What the gateway takes from connectors.
    pub(crate) limits: RawLimits,
    /// The classes of data that are yours.
    pub(crate) data: RawData,
    /// Where data may go without leaving the house.
    pub(crate) destinations: RawDestinations,
    /// The trust domains whose X.509-SVIDs count.
    pub(crate) trust_domains: Vec<RawTrustDomain>,
    /// The issuers: whose tokens prove agents.
    pub(crate) issuers: Vec<RawIssuer>,
    /// The agents: registered non-human identities.
    pub(crate) agents: Vec<RawAgent>,
    /// The providers: who issues the credentials that connectors are lent for the time of a task.
    pub(crate) providers: Vec<RawProvider>,
    /// The connectors: registered downstream MCP servers.
    pub(crate) connectors: Vec<RawConnector>,
    /// The task grants: what one agent may do for one task.
    pub(crate) grants: Vec<RawGrant>,
    /// The people who use the console. With none, a one-time link lets in `admin`, with every role.
    pub(crate) people: Vec<RawPerson>,
    /// Servers of others that may ask what a token is good for (`/oauth/introspect`).
    pub(crate) resource_servers: Vec<RawResourceServer>,
    /// How people hear of approvals. None carries power: each links to the console.
    pub(crate) channels: Vec<RawChannel>,
    /// Loops, chains and small steps that add up: what to look for in what tasks do, and what follows.
    pub(crate) detections: Vec<RawDetection>,
}

/// `[data]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawData {
    /// Labels of your own, beside `untrusted`, `internal`, `confidential` and `secret`; 60 at most.
    #[schemars(length(max = 60))]
    pub(crate) classes: Vec<String>,
}

/// `[destinations]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDestinations {
    /// Hosts that are inside: each exactly, or `*.example.com` for all below a domain. Everything else is outside.
    pub(crate) internal: Vec<String>,
}

/// `[server]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawServer {
    /// Address and port for agents (MCP over HTTP).
    #[schemars(with = "String", extend("format" = "bailiwick-address"))]
    pub(crate) listen: SocketAddr,
    /// The URL by which agents reach `/mcp`; from `listen` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// Address and port for the console and the admin API.
    #[schemars(with = "String", extend("format" = "bailiwick-address"))]
    pub(crate) console: SocketAddr,
    /// Allows listening where other machines can connect. They have no TLS: `tls` has it, or put a proxy in front.
    pub(crate) allow_remote: bool,
    /// A listener with TLS for agents, where they prove themselves by X.509-SVIDs. Off when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<RawTls>,
    /// Host headers taken beside those of `listen` and `public_url`.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of web pages that may call. None by default.
    pub(crate) allowed_origins: Vec<String>,
    /// The largest request body.
    pub(crate) max_body: Size,
    /// Open connections at most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_connections: u32,
    /// How long the headers of a request may take to arrive, the next request of an open connection included.
    pub(crate) header_timeout: Duration,
    /// How long an answer may wait for its reader without getting on, before the connection is closed.
    pub(crate) idle_timeout: Duration,
    /// MCP sessions at most.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) max_sessions: u32,
    /// How long a session may be idle.
    pub(crate) session_idle: Duration,
    /// Requests that one agent may have in flight, answers that it has not read yet included.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) max_calls_per_agent: u32,
    /// Requests that one agent may send in a second, and twice as many at once. 0 for no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) max_rate_per_agent: u32,
    /// Requests that all agents together may send in a second, and twice as many at once; 0 for no limit. Each has its share of them.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) max_rate: u32,
}

/// `[approvals]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawApprovals {
    /// How long a call is held open for an approver, before the agent is told to come back.
    pub(crate) hold: Duration,
    /// How long an approver has to decide.
    pub(crate) approve_by: Duration,
    /// How long an approval that was given can be used.
    pub(crate) execute_by: Duration,
    /// How long the same call is not asked for again after it was denied.
    pub(crate) deny_cooldown: Duration,
    /// How long the outcome of a call with an effect is kept for the identical call, where its agent could not be told of it; `0s` keeps none.
    pub(crate) keep_outcome: Duration,
    /// Open approvals that one agent may have.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_pending_per_agent: u32,
    /// How often approvers are asked within an hour; one agent takes at most half of it. Above that calls are denied, and nobody is told.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) max_asked_per_hour: u32,
    /// After how many denials in a row of one grant nobody is asked for it any more, as long as `deny_cooldown`.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_denied_in_row: u32,
    /// Lets approvers allow calls like an approved one for an hour at most, where the rule has `@remember`.
    pub(crate) remember: bool,
    /// Lets agents ask what became of a call that is held, by the tool `approval_status`, instead of repeating it.
    pub(crate) status_tool: bool,
    /// What becomes of a question when the call that waits for it is cancelled, or its client goes away.
    #[schemars(extend("enum" = ["keep", "withdraw"]))]
    pub(crate) on_cancel: String,
    /// Who may let a call go alone in an emergency. Nobody when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) break_glass: Option<RawBreakGlass>,
    /// Lets the operating-system user that the agents run as approve too. For one person on one laptop.
    pub(crate) allow_same_user: bool,
}

/// Who may let a call go alone in an emergency.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["group"]))]
pub(crate) struct RawBreakGlass {
    /// The group of this machine (`/etc/group`) whose users may.
    pub(crate) group: Option<String>,
}

/// `[auto_grants]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAutoGrants {
    /// How long one lives at most.
    pub(crate) max_ttl: Duration,
    /// How many of them one agent has at a time.
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) max_live_per_agent: u32,
}

/// `[policy]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawPolicy {
    /// Whether the default bundle, which is part of the binary, applies.
    pub(crate) include_default: bool,
    /// Further policies: `.cedar` files, or `folder/` for a bundle, all `.cedar` files of a folder; relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) files: Option<Vec<String>>,
    /// The public keys of which one must have signed each bundle: `ssh-ed25519 …`, as in a `.pub` file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) signed_by: Vec<String>,
    /// Whether a signed bundle may be older than one that was in force before.
    pub(crate) allow_older: bool,
    /// A bundle that decides nothing: what it would decide otherwise is recorded and counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<String>,
    /// The groups that agents may be in, so that a slip of the pen in a rule or at an agent is found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) agent_groups: Vec<String>,
    /// The teams, each with the owners of agents and grants that belong to it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) teams: BTreeMap<String, Vec<String>>,
}

/// `[trail]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTrail {
    /// The size at which a new audit segment is begun.
    pub(crate) segment_size: Size,
    /// What rules with `@log("full")` keep of calls, sealed.
    pub(crate) keep_bodies: RawKeepBodies,
}

/// `keep_bodies` of `[trail]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawKeepBodies {
    /// For how long.
    #[serde(rename = "for")]
    pub(crate) kept_for: Duration,
    /// How much in all. A call that has to be kept and has no room is denied.
    pub(crate) size: Size,
    /// How much of one agent; a quarter of `size` where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_agent: Option<Size>,
}

/// `[telemetry]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTelemetry {
    /// Base address of an OpenTelemetry collector (OTLP over HTTP). Off when neither this nor `OTEL_*` says where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// `service.name` of what is exported.
    pub(crate) service_name: String,
    /// The part of routine calls whose traces are kept, 0 to 1. What matters is always kept.
    #[schemars(range(min = 0, max = 1))]
    pub(crate) ratio: f64,
}

/// `[limits]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// The largest result of a call.
    pub(crate) max_result: Size,
    /// How deep a result may be nested.
    #[schemars(range(min = 1, max = 120))]
    pub(crate) max_depth: u32,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8931).into(),
            public_url: None,
            console: (Ipv4Addr::LOCALHOST, 8932).into(),
            allow_remote: false,
            tls: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_body: Size::from_mib(4),
            max_connections: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_sessions: 10_000,
            session_idle: Duration::from_secs(60 * 60),
            max_calls_per_agent: 64,
            max_rate_per_agent: 200,
            max_rate: 0,
        }
    }
}

impl Default for RawApprovals {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(45),
            approve_by: Duration::from_secs(10 * 60),
            execute_by: Duration::from_secs(10 * 60),
            deny_cooldown: Duration::from_secs(10 * 60),
            keep_outcome: Duration::from_secs(2 * 60),
            max_pending_per_agent: 5,
            max_asked_per_hour: 120,
            max_denied_in_row: 3,
            remember: false,
            status_tool: false,
            on_cancel: "keep".to_owned(),
            break_glass: None,
            allow_same_user: false,
        }
    }
}

impl Default for RawAutoGrants {
    fn default() -> Self {
        Self { max_ttl: Duration::from_secs(30 * 60), max_live_per_agent: 5 }
    }
}

impl Default for RawPolicy {
    fn default() -> Self {
        Self {
            include_default: true,
            files: None,
            signed_by: Vec::new(),
            allow_older: false,
            shadow: None,
            agent_groups: Vec::new(),
            teams: BTreeMap::new(),
        }
    }
}

impl Default for RawTrail {
    fn default() -> Self {
        Self { segment_size: Size::from_mib(64), keep_bodies: RawKeepBodies::default() }
    }
}

impl Default for RawKeepBodies {
    fn default() -> Self {
        Self { kept_for: Duration::from_secs(7 * 24 * 60 * 60), size: Size::from_mib(256), per_agent: None }
    }
}

impl Default for RawTelemetry {
    fn default() -> Self {
        Self { endpoint: None, service_name: "bailiwick".to_owned(), ratio: 1.0 }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        Self { max_result: Size::from_mib(16), max_depth: 64 }
    }
}
