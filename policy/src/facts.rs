//! What the gateway knows when it asks: about tools, grants, connectors and the call.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::grant::PreparedGrant;
use crate::kind::{Band, Kind};
use crate::labels::Labels;

/// One tool of the catalogue, as an admin accepted it. The Cedar schema is generated from these.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolFacts {
    /// The full name: `connector__tool`, or `connector/resource_read` for a feature.
    pub name: String,
    /// The id of the connector that serves it.
    pub connector: String,
    /// What it does, by the admin's word.
    pub kind: Kind,
    /// How risky it is, by the admin's word.
    pub band: Band,
    /// Whether an argument of it says where data is sent: it is in the group `sends` then, as all of kind `exfiltrate` and `execute` are.
    pub sends: bool,
    /// The pinned `inputSchema`: its arguments become `context.input` as far as Cedar has a place for them.
    pub input_schema: Value,
}

/// A grant, as policies see it: the principal of every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantFacts {
    /// The grant's id: `Bailiwick::Grant::"id"`.
    pub id: String,
    /// The agent that acts under it; the grant is `in` it.
    pub agent: String,
    /// Who is accountable; the agent is `in` this `Bailiwick::User`.
    pub owner: String,
    /// What the grant is for, in the words of who made it.
    pub purpose: String,
    /// The environment it is for, such as `production`. Empty when none was named.
    pub environment: String,
    /// The highest band it reaches.
    pub ceiling: Band,
    /// How many grants stand above it: 0 for one that no agent delegated.
    pub depth: u32,
    /// The agents above it in the chain.
    pub delegators: Vec<String>,
    /// The data classes it may touch.
    pub data_classes: Vec<String>,
}

/// A connector, as policies see it: the resource of every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorFacts {
    /// The connector's id: `Bailiwick::Connector::"id"`.
    pub id: String,
    /// How sensitive what it holds is, such as `internal`. Empty when nobody said.
    pub sensitivity: String,
    /// The environment it belongs to. Empty when none was named.
    pub environment: String,
    /// What it is lent: `none`, `standing` (which lives on when tasks are over) or `minted` (made for each task).
    pub credential: &'static str,
}

/// Who stands above grants, by the admin's word: what agents belong to, and to which teams those who answer for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// The groups that agents may be in: `Bailiwick::AgentGroup::"name"`.
    pub groups: BTreeSet<String>,
    /// The teams, each with the owners in it: `Bailiwick::Team::"name"`.
    pub teams: BTreeMap<String, BTreeSet<String>>,
    /// The agents of which anything is said, by id.
    pub agents: BTreeMap<String, AgentFacts>,
}

/// What an admin says of an agent, beside its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// The groups it is in.
    pub groups: BTreeSet<String>,
    /// The team it works for, beside those of its owner.
    pub team: Option<String>,
    /// How far it is trusted: 0, which is what nobody says anything about, to 3.
    pub trust: u8,
}

/// What is known about this one call beyond its arguments: `context.call`.
///
/// Kind and band aren't here: they come from the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFacts<'a> {
    /// The environment that the call acts in.
    pub environment: &'a str,
    /// Calls already made in this task.
    pub calls_in_task: u64,
    /// Calls with an effect already made in this task.
    pub writes_in_task: u64,
    /// Whether the task has touched untrusted input.
    pub untrusted_input: bool,
    /// Whether the task has touched confidential data.
    pub confidential: bool,
    /// All that the task has touched.
    pub labels: Labels,
    /// Where the call sends data, as its argument has it: of several the first that is outside. Empty where nothing says that.
    pub destination: &'a str,
    /// The host of that, lower case; empty where it has none that every reader would find.
    pub destination_host: &'a str,
    /// The hosts of all destinations, as far as they have one.
    pub destination_hosts: &'a [String],
    /// Whether data may leave the house by this call: not where all its destinations are known to be inside.
    pub external: bool,
    /// The labels of the approvals held for exactly this call.
    pub approvals: &'a [String],
    /// How the agent reached us: `stdio`, `http` or `unix`.
    pub transport: &'a str,
    /// The MCP revision the agent speaks.
    pub era: &'a str,
    /// The hour of the day in UTC, 0 to 23.
    pub hour: u8,
    /// The minute of the hour, 0 to 59.
    pub minute: u8,
    /// The day of the week in UTC: 1 is Monday, 7 is Sunday (ISO 8601).
    pub weekday: u8,
    /// How many hops the grant is below the first one.
    pub hop_depth: u32,
    /// How the agent proved itself, such as `agent_token`; empty where nobody knows.
    pub authn: &'a str,
    /// What that is worth: 0 where nobody knows, 1 for a secret that whoever has it can show, 2 for a token that an issuer signed,
    /// 3 for what the connection itself proves.
    pub authn_strength: u8,
    /// Bytes of arguments already sent in this task.
    pub bytes_out: u64,
    /// What the calls of this task have cost already.
    pub cost: u64,
    /// Calls that its budget has left; none where it has no limit.
    pub calls_left: Option<u64>,
    /// Calls with an effect that its budget has left; none where it has no limit.
    pub writes_left: Option<u64>,
    /// The names of the detections that fire on the call.
    pub detections: &'a [String],
    /// Calls that the task tried in the minute before this one.
    pub calls_last_minute: u64,
    /// What the task did before.
    pub history: HistoryFacts<'a>,
}

/// What a task did before this call: `context.call.history`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryFacts<'a> {
    /// The tools that were called, by their full names.
    pub tools: &'a [String],
    /// The connectors of those.
    pub connectors: &'a [String],
    /// The kinds of those.
    pub kinds: &'a [String],
    /// How many of its calls were refused since the gateway started.
    pub denied: u64,
    /// Whether it has read confidential data.
    pub read_sensitive: bool,
}

/// The other question: may this task be handed on to that agent?
#[derive(Clone, Copy, Debug)]
pub struct Delegation<'a> {
    /// Whose task it is.
    pub grant: &'a PreparedGrant,
    /// The agent that is to have it: `Bailiwick::Agent::"id"`, the resource.
    pub to: &'a str,
    /// Who is accountable for that agent.
    pub owner: &'a str,
    /// The circumstances.
    pub call: &'a CallFacts<'a>,
    /// The tools that are handed on, as patterns.
    pub tools: &'a [String],
    /// How many hops the new grant is below the first one.
    pub depth: u32,
    /// How long it is to live, seconds.
    pub ttl_s: u64,
    /// The highest band that it reaches.
    pub ceiling: Band,
    /// What it is for.
    pub purpose: &'a str,
}

/// The third question: may this agent get this grant by itself?
#[derive(Clone, Copy, Debug)]
pub struct AutoGrant<'a> {
    /// The grant that it would get.
    pub grant: &'a PreparedGrant,
    /// The agent: `Bailiwick::Agent::"id"`, the resource.
    pub agent: &'a str,
    /// Who is accountable for that agent.
    pub owner: &'a str,
    /// The circumstances.
    pub call: &'a CallFacts<'a>,
    /// The tools.
    pub tools: &'a [String],
    /// How long it is to live, seconds.
    pub ttl_s: u64,
    /// What it is for.
    pub purpose: &'a str,
    /// How many such grants the agent has.
    pub live: u64,
}

/// One question: may this grant make this call?
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The name of the tool, `connector__tool`.
    pub tool: &'a str,
    /// Who asks.
    pub grant: &'a PreparedGrant,
    /// The circumstances.
    pub call: &'a CallFacts<'a>,
    /// The arguments, an object (`{}` when there are none). Only looked at when
    /// [`Reads::arguments`](crate::Reads::arguments) says so; else anything may stand here.
    pub input: &'a Value,
}
