//! Agents, connectors and grants as written.

use std::collections::BTreeMap;

use bailiwick_pipeline::ids::{AgentId, GrantId};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{exposure::Prefix, names::ConnectorId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    connector::{Pin, ProtocolChoice, Sensitivity},
    units::{Duration, Size},
};

/// `[[agents]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "owner"]))]
pub(crate) struct RawAgent {
    /// Its id: never shared.
    #[schemars(with = "Option<String>", extend("format" = "bailiwick-agent-id"))]
    pub(crate) id: Option<AgentId>,
    /// The person or team accountable for it.
    pub(crate) owner: Option<String>,
    /// The highest band it may ever reach.
    #[schemars(with = "String", extend("enum" = ["low", "medium", "high", "critical"]))]
    pub(crate) ceiling: Band,
    /// How it proves itself: by its user on the agent socket, by its certificate over TLS, or by tokens of an issuer. It may always bear a token
    /// of its own (`bailiwick agents token ID`).
    #[schemars(length(min = 1))]
    pub(crate) identity: Option<Vec<RawIdentity>>,
    /// Switches it off.
    pub(crate) disabled: bool,
    /// The environment of its grants that name none.
    pub(crate) environment: Option<String>,
    /// The only environments that it may have grants for; any when it is not set.
    #[schemars(length(min = 1))]
    pub(crate) environments: Option<Vec<String>>,
    /// What it is there for, in a person's words.
    pub(crate) purpose: Option<String>,
    /// How long a call of it is held open for an approver, instead of `approvals.hold`; `0s` answers at once that one is asked.
    pub(crate) hold: Option<Duration>,
    /// Whether its client comes back by itself with a `requestState` alone (MCP 2026-07-28), and so waits longer than one request.
    pub(crate) state_only_legs: bool,
    /// What becomes of its question when its call is cancelled or its client goes away, instead of `approvals.on_cancel`.
    #[schemars(extend("enum" = ["keep", "withdraw"]))]
    pub(crate) on_cancel: Option<String>,
    /// The groups it is in, each one of `policy.agent_groups`: policies know them as `Bailiwick::AgentGroup::"name"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
    /// The team it works for, one of `policy.teams`, beside those of its owner: `Bailiwick::Team::"name"`.
    pub(crate) team: Option<String>,
    /// How far it is trusted, 0 to 3: `principal.agent.trust` in policies.
    #[schemars(range(min = 0, max = 3))]
    pub(crate) trust: u8,
}

/// One way in which an agent proves itself: `uid`, or `issuer` and `subject`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawIdentity {
    /// The user id at the other end of the agent socket.
    #[schemars(range(min = 0, max = 4_294_967_294_u32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    /// The SPIFFE id in its certificate, over TLS. Its trust domain is one of `[[trust_domains]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe: Option<String>,
    /// The id of the issuer of its tokens.
    pub(crate) issuer: Option<String>,
    /// What that issuer calls it: exactly, or everything below a place: `repo:org/name:*`.
    pub(crate) subject: Option<String>,
}

/// `[[issuers]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub(crate) struct RawIssuer {
    /// Its id, by which agents name it.
    pub(crate) id: Option<String>,
    /// What its tokens say of their subjects.
    #[schemars(extend("enum" = ["oidc", "kubernetes", "github_actions", "spiffe_jwt"]))]
    pub(crate) profile: String,
    /// The `iss` of its tokens, exactly. With `spiffe_jwt` it may be left out, and with `github_actions` it is GitHub's own.
    pub(crate) issuer: Option<String>,
    /// Where its keys are, if not where its own description says (`ISSUER/.well-known/openid-configuration`).
    pub(crate) jwks_url: Option<String>,
    /// The file with its keys, instead of `jwks_url`; relative to this file. It is read again every five minutes.
    pub(crate) jwks_file: Option<String>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
    /// Whom its tokens must be for; the URL by which agents reach `/mcp` when it is not set.
    pub(crate) audience: Option<String>,
    /// The algorithms that it signs with.
    #[schemars(with = "Option<Vec<AlgorithmWord>>", length(min = 1))]
    pub(crate) algorithms: Option<Vec<String>>,
    /// How long its tokens live at most.
    pub(crate) max_lifetime: Duration,
    /// How long the keys that were read last are used while they can't be read again.
    pub(crate) max_stale: Duration,
    /// Whether its tokens are bound to a key that their bearer proves with each request, or to the client certificate of their connection.
    #[schemars(extend("enum" = ["none", "dpop", "mtls"]))]
    pub(crate) sender_constraint: String,
    /// With `oidc`: the claim with the subject.
    pub(crate) subject_claim: Option<String>,
    /// With `oidc`: the claim that tells running copies of an agent apart.
    pub(crate) instance_claim: Option<String>,
    /// With `spiffe_jwt`: the trust domain.
    pub(crate) trust_domain: Option<String>,
}

/// A signature algorithm.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands only for its schema")]
enum AlgorithmWord {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// `[[connectors]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub(crate) struct RawConnector {
    /// Its id: the namespace of its tools, which are called `id__tool`.
    #[schemars(with = "Option<String>", extend("format" = "bailiwick-connector-id"))]
    pub(crate) id: Option<ConnectorId>,
    /// The server as a child process: the absolute path of its program, then its arguments. No shell reads them.
    #[schemars(length(min = 1))]
    pub(crate) command: Option<Vec<String>>,
    /// The server elsewhere: its MCP endpoint, with `https`. Instead of `command`.
    pub(crate) url: Option<String>,
    /// With `url`: networks that its name may resolve into though they are not public, such as `10.1.0.0/16`.
    #[schemars(length(min = 1))]
    pub(crate) networks: Option<Vec<String>>,
    /// With `url`: a PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
    /// With `url`: the PEM file with the client certificate that the gateway presents to it, those above it, and its private key; readable by
    /// the gateway only, relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// With `url`: allows `http`, so that calls and credentials travel in the clear. Needless for this machine itself.
    pub(crate) dangerous_plain_http: bool,
    /// Which protocol it is spoken to in: it is asked, or told.
    #[schemars(with = "String", extend("enum" = ["auto", "2026-07-28", "legacy"]))]
    pub(crate) protocol: ProtocolChoice,
    /// With `command`: its whole environment. It starts from an empty one; secrets belong to `credential`.
    pub(crate) env: BTreeMap<String, String>,
    /// With `command`: the folder it is started in.
    pub(crate) cwd: Option<String>,
    /// Whether one process, or one session, serves all grants. Only for a stateless server without a credential.
    pub(crate) shared: bool,
    /// Whether a person accepts its tools, or the first start does.
    #[schemars(with = "String", extend("enum" = ["manual", "first-use"]))]
    pub(crate) pin: Pin,
    /// Whether agents see its tools as `id__tool`, or under their own names where nothing else could be meant. Grants, policies and records
    /// say `id__tool` in any case.
    #[schemars(with = "String", extend("enum" = ["always", "never"]))]
    pub(crate) prefix: Prefix,
    /// How sensitive what it holds is.
    #[schemars(with = "String", extend("enum" = ["public", "internal", "confidential", "secret"]))]
    pub(crate) sensitivity: Sensitivity,
    /// The environment it belongs to.
    pub(crate) environment: String,
    /// How long one call may take.
    pub(crate) call_timeout: Duration,
    /// How long its start may take.
    pub(crate) handshake_timeout: Duration,
    /// Calls in a second by all agents together, and twice as many at once; no limit when it is not set.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_rate: Option<u32>,
    /// A list of its tools that is older than this is read again before a call, and held against what was accepted.
    pub(crate) relist_after: Duration,
    /// What its results are marked with, where a tool says nothing else: `untrusted` unless declared; `[]` is nothing.
    pub(crate) labels: Option<Vec<String>>,
    /// What its resources are marked with beside that: by the URI under which they are, such as `file:///srv/hr`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) label_resources: BTreeMap<String, Vec<String>>,
    /// A secret that is lent to it for each grant.
    pub(crate) credential: Option<RawCredential>,
    /// Hosts of pages that it may send agents to (elicitation by URL), where a grant lets it ask at all. None when it is not set.
    #[schemars(length(min = 1))]
    pub(crate) elicitation_hosts: Option<Vec<String>>,
    /// Its tools, as an admin classes them. A tool that is not classed is `execute` and `high`.
    pub(crate) tools: BTreeMap<String, RawTool>,
    /// What it offers besides tools, as an admin classes it: `resource_read`, `prompt_get`, `complete`; and what it may ask of agents: `elicitation`,
    /// `sampling`, `roots`. What is not classed is `read` and
    /// `high`.
    pub(crate) features: BTreeMap<String, RawFeature>,
}

/// One feature of a connector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawFeature {
    /// What it does.
    #[schemars(with = "String", extend("enum" = ["read", "write", "execute", "exfiltrate", "admin"]))]
    pub(crate) kind: Kind,
    /// How risky it is.
    #[schemars(with = "String", extend("enum" = ["low", "medium", "high", "critical"]))]
    pub(crate) band: Band,
    /// What its results are marked with; as the connector says when it is not set.
    pub(crate) labels: Option<Vec<String>>,
}

/// A secret, and how it reaches the connector.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["provider", "inject"]))]
pub(crate) struct RawCredential {
    /// Where it comes from: a `file`, a variable of the gateway's own environment (`env`), or the id of one of `[[providers]]`, which makes
    /// one for each task and takes it back. What is in a file or a variable lives on when the task is over.
    pub(crate) provider: Option<String>,
    /// For `file`: the file with the secret; relative to this file. For an `openbao`: where a value is kept, such as `secret/data/tickets`.
    pub(crate) path: Option<String>,
    /// For `env`: the variable with the secret.
    pub(crate) name: Option<String>,
    /// With a provider that has roles: the role that is lent. For an `openbao`: the path of what makes one, such as
    /// `database/creds/tickets-rw`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// The same for tasks whose grant gives only tools that read; `role` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_role: Option<String>,
    /// For an `openbao`: the policies of the token that is made for the task, which reads what is lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_policies: Option<Vec<String>>,
    /// The same for tasks whose grant gives only tools that read; `token_policies` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_token_policies: Option<Vec<String>>,
    /// With `oauth` or `mcp`: the scopes of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) scopes: Option<Vec<String>>,
    /// The same for tasks whose grant gives only tools that read; `scopes` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) read_scopes: Option<Vec<String>>,
    /// With `oauth`, `exec` or `svid_file`: for whom the credential is, as its issuer calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    /// With `oauth`: for whom the token is, a URL (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    /// With `github`: the repositories, by their names without the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) repositories: Option<Vec<String>>,
    /// With `github`: what may be done there, each permission `read`, `write` or `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permissions: Option<BTreeMap<String, String>>,
    /// The same for tasks whose grant gives only tools that read; `permissions` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_permissions: Option<BTreeMap<String, String>>,
    /// With `aws`: the file with the policy (JSON) that narrows a session; relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_policy: Option<String>,
    /// The same for tasks whose grant gives only tools that read; `session_policy` when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_session_policy: Option<String>,
    /// With `aws`: allows sessions that live on when a task is over that is shorter than a session can be (15 minutes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) may_outlive: Option<bool>,
    /// With `oauth` and a server over HTTP: what the token is bound to, so that it is of no use to whoever steals it: a key that is the
    /// task's alone (`dpop`, RFC 9449), or the certificate that the connector presents (`mtls`, RFC 8705). A token that is not is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["dpop", "mtls"]))]
    pub(crate) bound: Option<String>,
    /// How long it lives at most, at its issuer too; as long as the grant when it is not set. While its task uses it, it is renewed, or made
    /// anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Duration>,
    /// How the connector receives it.
    pub(crate) inject: Option<RawInject>,
}

/// How a connector receives a secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawInject {
    /// With `command`: the variable of the connector's environment that is set to the secret.
    pub(crate) env: Option<String>,
    /// With `command`: variables, each with a text that has the parts of the credential in braces:
    /// `postgresql://{username}:{password}@localhost/app`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) variables: BTreeMap<String, String>,
    /// With `command`: the same, but each variable is set to the path of a file in memory that holds the text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, String>,
    /// With `url`: the header of each request that carries the secret.
    pub(crate) header: Option<String>,
    /// What stands before the secret in the header, such as `Bearer ` with its space.
    pub(crate) prefix: Option<String>,
    /// All that stands in the header, with the parts of the credential in braces; instead of `prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

/// One tool of a connector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTool {
    /// What it does.
    #[schemars(with = "String", extend("enum" = ["read", "write", "execute", "exfiltrate", "admin"]))]
    pub(crate) kind: Kind,
    /// How risky it is.
    #[schemars(with = "String", extend("enum" = ["low", "medium", "high", "critical"]))]
    pub(crate) band: Band,
    /// What its results are marked with; as the connector says when it is not set.
    pub(crate) labels: Option<Vec<String>>,
    /// What becomes of arguments that its schema does not declare: refused, or left for the schema to decide.
    #[schemars(extend("enum" = ["refuse", "allow"]))]
    pub(crate) undeclared: String,
    /// What a call of it costs, in units of your own: grants may have a budget of them.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub(crate) cost: u64,
    /// The argument that says where its data goes, as a JSON pointer (RFC 6901), or a list of such: URLs, e-mail addresses or host names, or
    /// lists of them.
    #[schemars(with = "Option<Pointers>")]
    pub(crate) destination: Option<Value>,
    /// What its results are marked with beside that where a field is present in their structured content: by JSON pointer, in which `*`
    /// stands for each item or member.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) label_fields: BTreeMap<String, Vec<String>>,
}

/// One JSON pointer or several.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it stands only for its schema")]
enum Pointers {
    One(String),
    Many(Vec<String>),
}

/// `[[grants]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "agent", "purpose", "tools"]))]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub(crate) struct RawGrant {
    /// Its id: public, what logs carry.
    #[schemars(with = "Option<String>", extend("format" = "bailiwick-grant-id"))]
    pub(crate) id: Option<GrantId>,
    /// The only agent that may act under it.
    #[schemars(with = "Option<String>", extend("format" = "bailiwick-agent-id"))]
    pub(crate) agent: Option<AgentId>,
    /// The task, in a person's words.
    pub(crate) purpose: Option<String>,
    /// The person or team accountable for it; the agent's owner when it is not set.
    pub(crate) owner: Option<String>,
    /// The tools: `connector__tool`, or `connector__*` for all of a connector.
    #[schemars(length(min = 1))]
    pub(crate) tools: Option<Vec<String>>,
    /// Only tools of these kinds; any kind when it is not set.
    #[schemars(with = "Option<Vec<KindWord>>", length(min = 1))]
    pub(crate) kinds: Option<Vec<Kind>>,
    /// Bounds on arguments: by tool, then by JSON pointer (RFC 6901) into its arguments. All must hold.
    pub(crate) args: BTreeMap<String, BTreeMap<String, RawBound>>,
    /// How long it lives from when it is issued; 30 days at most.
    pub(crate) ttl: Duration,
    /// How much it may be used.
    pub(crate) budget: RawBudget,
    /// The highest band it reaches; the agent's when it is not set.
    #[schemars(with = "Option<String>", extend("enum" = ["low", "medium", "high", "critical"]))]
    pub(crate) ceiling: Option<Band>,
    /// Whether its agent acts under it when it names no grant. One per agent.
    pub(crate) default: bool,
    /// Whether its agent is listed two tools to look for the others by (`search_tools`, `describe_tool`), instead of all of them.
    pub(crate) tool_search: bool,
    /// The environment it is for; the agent's when it is not set. It reaches connectors of this environment, and those that name none.
    pub(crate) environment: Option<String>,
    /// How many levels of grants its agent may hand on from it: 0 is none.
    #[schemars(range(min = 0, max = 4))]
    pub(crate) delegation_depth: u8,
    /// It touches only data of these classes: what connectors are (`sensitivity`) and what results are marked with; any when it is not set.
    #[schemars(length(min = 1))]
    pub(crate) data_classes: Option<Vec<String>>,
    /// The domains that it may send data to, each with those below it: by the `destination` of tools. Any when it is not set.
    #[schemars(length(min = 1))]
    pub(crate) destinations: Option<Vec<String>>,
    /// It ends when it was not used for so long.
    pub(crate) idle_timeout: Option<Duration>,
    /// Calls in a second, and twice as many at once; no limit when it is not set.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_rate: Option<u32>,
    /// Where the task is written down: a ticket, a run.
    pub(crate) ticket: Option<String>,
    /// Whether its agent is listed a tool of the gateway's own to say that the task is done by (`complete_task`).
    pub(crate) may_complete: bool,
    /// Whether its agent is listed a tool of the gateway's own to ask for more tools by (`request_access`).
    pub(crate) may_request: bool,
}

/// What a tool does.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands only for its schema")]
enum KindWord {
    Read,
    Write,
    Execute,
    Exfiltrate,
    Admin,
}

/// How much a grant may be used. A number that is not set is no limit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawBudget {
    /// Calls in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub(crate) calls: Option<u64>,
    /// Calls of any kind but `read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub(crate) writes: Option<u64>,
    /// How much is sent to servers as arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_out: Option<Size>,
    /// What the calls cost, in the units that tools are priced in (`cost`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub(crate) cost: Option<u64>,
    /// Calls of some tools: by `connector__tool` or `connector__*`, all that it means together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tools: BTreeMap<String, u64>,
}

/// What one argument must satisfy. Every bound that is set must hold; the argument must be given, unless it must be `absent`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawBound {
    /// Exactly this value.
    pub(crate) eq: Option<Value>,
    /// One of these values.
    #[serde(rename = "in")]
    #[schemars(length(min = 1))]
    pub(crate) one_of: Option<Vec<Value>>,
    /// A whole number within this range, ends included.
    pub(crate) int_range: Option<RawIntRange>,
    /// An absolute path at or below this one.
    pub(crate) path_under: Option<String>,
    /// A URI of the same scheme and authority as this one, at or below its path, such as `file:///srv/docs`.
    pub(crate) uri_under: Option<String>,
    /// A URL whose host is one of these.
    #[schemars(length(min = 1))]
    pub(crate) host_in: Option<Vec<String>>,
    /// A URL or e-mail address whose domain is one of these or below one.
    #[schemars(length(min = 1))]
    pub(crate) domain_in: Option<Vec<String>>,
    /// At most so many characters, or items.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub(crate) len_max: Option<usize>,
    /// The argument must not be given.
    pub(crate) absent: bool,
}

/// A range of whole numbers; an end that is not set is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawIntRange {
    /// The least value.
    pub(crate) min: Option<i64>,
    /// The greatest value.
    pub(crate) max: Option<i64>,
}

impl Default for RawAgent {
    fn default() -> Self {
        Self {
            id: None,
            owner: None,
            ceiling: Band::High,
            identity: None,
            disabled: false,
            environment: None,
            environments: None,
            purpose: None,
            hold: None,
            state_only_legs: false,
            on_cancel: None,
            groups: Vec::new(),
            team: None,
            trust: 0,
        }
    }
}

impl Default for RawIssuer {
    fn default() -> Self {
        Self {
            id: None,
            profile: "oidc".to_owned(),
            issuer: None,
            jwks_url: None,
            jwks_file: None,
            roots: None,
            audience: None,
            algorithms: None,
            max_lifetime: Duration::from_secs(24 * 60 * 60),
            max_stale: Duration::from_secs(60 * 60),
            sender_constraint: "none".to_owned(),
            subject_claim: None,
            instance_claim: None,
            trust_domain: None,
        }
    }
}

impl Default for RawConnector {
    fn default() -> Self {
        Self {
            id: None,
            command: None,
            url: None,
            networks: None,
            roots: None,
            identity: None,
            dangerous_plain_http: false,
            protocol: ProtocolChoice::Auto,
            env: BTreeMap::new(),
            cwd: None,
            shared: false,
            pin: Pin::Manual,
            prefix: Prefix::Always,
            sensitivity: Sensitivity::Internal,
            environment: "default".to_owned(),
            call_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(20),
            max_rate: None,
            relist_after: Duration::from_secs(30),
            labels: None,
            label_resources: BTreeMap::new(),
            credential: None,
            elicitation_hosts: None,
            tools: BTreeMap::new(),
            features: BTreeMap::new(),
        }
    }
}

impl Default for RawFeature {
    fn default() -> Self {
        Self { kind: Kind::Read, band: Band::High, labels: None }
    }
}

impl Default for RawTool {
    fn default() -> Self {
        Self {
            kind: Kind::Execute,
            band: Band::High,
            labels: None,
            undeclared: "refuse".to_owned(),
            cost: 1,
            destination: None,
            label_fields: BTreeMap::new(),
        }
    }
}

impl Default for RawGrant {
    fn default() -> Self {
        Self {
            id: None,
            agent: None,
            purpose: None,
            owner: None,
            tools: None,
            kinds: None,
            args: BTreeMap::new(),
            ttl: Duration::from_secs(8 * 60 * 60),
            budget: RawBudget::default(),
            ceiling: None,
            default: false,
            tool_search: false,
            environment: None,
            delegation_depth: 0,
            data_classes: None,
            destinations: None,
            idle_timeout: None,
            max_rate: None,
            ticket: None,
            may_complete: false,
            may_request: false,
        }
    }
}

/// `[[resource_servers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "secret_sha256"]))]
pub(crate) struct RawResourceServer {
    /// Its id: the user name it shows (HTTP Basic).
    pub(crate) id: Option<String>,
    /// The SHA-256 of its secret, in hex. The secret itself stands nowhere here: make it of 256 random bits.
    pub(crate) secret_sha256: Option<String>,
}
