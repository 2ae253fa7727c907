//! Agents, grants, connectors, and what runs and is stopped.

use bailiwick_policy::Band;

/// A name and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// What is said of it.
    pub value: String,
}

impl Fact {
    /// This is said of that.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Short words in a row.
pub type Chips = Vec<String>;

/// What can be stopped, as a freeze names it: `agent:ID`, `connector:ID`, `tool:NAME`, `instance:ID/NAME` or `everything`.
pub type StopTarget = String;

/// An agent.
#[derive(Debug, Clone)]
pub struct AgentRow {
    /// Its id.
    pub id: String,
    /// `active`, `halted` or `disabled`.
    pub state: String,
    /// Who is accountable.
    pub owner: String,
    /// The highest band it may reach.
    pub ceiling: Band,
    /// What it is there for.
    pub purpose: Option<String>,
    /// Its active grants.
    pub grants: Chips,
    /// How many tokens of it are good.
    pub tokens: usize,
    /// When it acted last.
    pub last_used_ms: Option<u64>,
    /// Tools of its active grants that were never called.
    pub never_used: Chips,
    /// Who disabled it, when and why.
    pub disabled: Option<String>,
}

/// A grant in the list.
#[derive(Debug, Clone)]
pub struct GrantRow {
    /// Its id.
    pub id: String,
    /// Its state, as a word.
    pub state: String,
    /// Its agent.
    pub agent: String,
    /// Who is accountable.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// The highest band.
    pub ceiling: Band,
    /// The grants above it, nearest first.
    pub chain: Chips,
    /// What is left of its budget.
    pub budget: Vec<Spent>,
    /// Until when it lives.
    pub expires_at_ms: u64,
    /// When it was used last.
    pub last_used_ms: Option<u64>,
    /// How many tools it covers.
    pub tools: usize,
}

/// A grant, whole.
#[derive(Debug, Clone)]
pub struct GrantView {
    /// As in the list.
    pub row: GrantRow,
    /// Its tools, and whether each was ever called.
    pub tools: Vec<(String, bool)>,
    /// Its further terms.
    pub terms: Vec<Fact>,
    /// Its bounds on arguments, as they are written.
    pub bounds: Vec<Fact>,
    /// The grants handed on from it.
    pub below: Chips,
}

/// A limit, and how much of it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// Of what.
    pub name: String,
    /// So much is gone.
    pub used: u64,
    /// Of so much; none without a limit.
    pub limit: Option<u64>,
}

/// A connector.
#[derive(Debug, Clone)]
pub struct ConnectorRow {
    /// Its id.
    pub id: String,
    /// `ready`, `idle`, `failing`, `drifted` or `unpinned`.
    pub state: String,
    /// Its program, or its address.
    pub place: String,
    /// Whether one process or session serves all grants.
    pub shared: bool,
    /// Calls and failures since the start.
    pub calls: u64,
    /// Failures since the start.
    pub failures: u64,
    /// The last failure, and how long ago.
    pub last_failure: Option<String>,
    /// Its processes.
    pub children: Vec<Child>,
    /// The tools that were accepted.
    pub tools: Vec<PinRow>,
    /// What its servers said that they should not have, and how often.
    pub oddities: Vec<Fact>,
}

/// A process of a connector.
#[derive(Debug, Clone)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// `starting`, `ready` or `ending`.
    pub state: String,
    /// For which grant.
    pub grant: Option<String>,
    /// How long it runs.
    pub age_ms: u64,
    /// Calls under way.
    pub calls: usize,
}

/// An accepted tool.
#[derive(Debug, Clone)]
pub struct PinRow {
    /// `connector__tool`.
    pub id: String,
    /// `callable`, `drifted` or `unusable`.
    pub state: String,
    /// What it does, as a word.
    pub kind: String,
    /// How risky it is.
    pub band: Band,
    /// The digest of its definition.
    pub digest: String,
    /// By whom it was accepted.
    pub accepted_by: String,
    /// When.
    pub accepted_at_ms: u64,
    /// Why it can't be called.
    pub why: Option<String>,
    /// Its definition, JSON; only where one connector is shown.
    pub definition: Option<String>,
}

/// A call that is on its way.
#[derive(Debug, Clone)]
pub struct LiveCall {
    /// The call.
    pub id: String,
    /// The agent.
    pub agent: String,
    /// Which copy of it.
    pub instance: Option<String>,
    /// The grant.
    pub grant: String,
    /// The tool.
    pub tool: Option<String>,
    /// Since when.
    pub since_ms: u64,
    /// `being sent`, `waits for its answer`, or `nobody waits`.
    pub state: String,
}

/// What is stopped.
#[derive(Debug, Clone)]
pub struct HaltRow {
    /// What, as one text.
    pub what: StopTarget,
    /// Since when.
    pub since_ms: u64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Something that the gateway noticed and that a person should look at.
#[derive(Debug, Clone)]
pub struct Detection {
    /// What, in one sentence.
    pub what: String,
    /// What it is about.
    pub about: String,
    /// Where to look.
    pub href: Option<String>,
    /// When, where that is one moment.
    pub at_ms: Option<u64>,
    /// How grave it may be.
    pub band: Band,
    /// What to do.
    pub help: String,
}
