//! What is looked for, as an operator configured it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_schemas::names::QualifiedName;
use serde::Serialize;

use crate::{grant::ToolPattern, ids::AgentId};

/// So many detections at most: each has a bit in what is kept of a call.
pub const MOST_RULES: usize = 32;

/// What follows where a detection fires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It goes on record.
    #[default]
    Observe,
    /// The call waits for a person.
    StepUp,
    /// The call is refused.
    Deny,
}

impl Act {
    /// The word used in configurations, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::StepUp => "step_up",
            Self::Deny => "deny",
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    /// The same call, so often within the window.
    Repeat {
        /// How often, the call itself included.
        count: u32,
    },
    /// Calls that go round: the same few, in the same order.
    Cycle {
        /// So many calls make a round at most.
        period: u32,
        /// So many rounds.
        turns: u32,
    },
    /// Another call after so many different ones were refused: what is allowed is felt out.
    Probe {
        /// So many.
        refused: u32,
    },
    /// Small amounts that add up to a large one.
    Sum {
        /// Where the amount stands in the arguments of each tool: a JSON pointer.
        amounts: BTreeMap<QualifiedName, String>,
        /// As much as an agent may come to within the window, over all of its tasks and those that it handed on.
        limit: Option<u64>,
        /// As much as a task may come to.
        per_task: Option<u64>,
    },
    /// Data goes out after something was read.
    ReadThenSend {
        /// What nobody vouches for was read.
        untrusted: bool,
        /// Confidential data was read.
        confidential: bool,
    },
    /// A task reaches out to many at once.
    FanOut {
        /// To so many connectors.
        connectors: Option<u32>,
        /// To so many destinations.
        destinations: Option<u32>,
        /// Under so many grants: the task's own, and those handed on from it.
        grants: Option<u32>,
    },
}

impl Sort {
    /// The word used in configurations and records.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Repeat { .. } => "repeat",
            Self::Cycle { .. } => "cycle",
            Self::Probe { .. } => "probe",
            Self::Sum { .. } => "sum",
            Self::ReadThenSend { .. } => "read_then_send",
            Self::FanOut { .. } => "fan_out",
        }
    }

    /// What may be done instead, for the agent.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Repeat { .. } => "Repeating it changes nothing: use what it answered before, or do something else.",
            Self::Cycle { .. } => "These calls go round in circles: leave the circle, or ask the person whose task it is.",
            Self::Probe { .. } => {
                "Too many different calls were refused: keep to what is listed and what the refusals said, and wait before the next."
            }
            Self::Sum { .. } => "Smaller steps do not help: ask the person whose task it is for what is left to be done.",
            Self::ReadThenSend { .. } => "Nothing goes out so soon after what was read: go on without sending.",
            Self::FanOut { .. } => "Too many are reached at once: go on with those that were reached, and more slowly.",
        }
    }
}

/// One detection.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// What is looked for.
    pub sort: Sort,
    /// What follows.
    pub act: Act,
    /// How far it looks back, milliseconds.
    pub window_ms: u64,
    /// The tools it is about; none named means all.
    pub tools: Vec<ToolPattern>,
    /// The agents it is about, with whoever acts for them; none named means all.
    pub agents: BTreeSet<AgentId>,
    /// On how many calls it fired.
    fired: Arc<AtomicU64>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let meant = |rule: &Self| (rule.name.clone(), rule.sort.clone(), rule.act, rule.window_ms);
        meant(self) == meant(other) && self.tools == other.tools && self.agents == other.agents
    }
}

impl Rule {
    /// A detection of all tools and agents.
    pub fn new(name: &str, sort: Sort, act: Act, window_ms: u64) -> Self {
        Self { name: name.into(), sort, act, window_ms, tools: Vec::new(), agents: BTreeSet::new(), fired: Arc::default() }
    }

    /// The same, of these tools and agents alone; none named means all.
    #[must_use]
    pub fn about(self, tools: Vec<ToolPattern>, agents: BTreeSet<AgentId>) -> Self {
        Self { tools, agents, ..self }
    }

    /// Whether it is about a call of this tool by one of these agents: who calls, and those whose task it is a part of.
    pub(crate) fn is_about<'a>(&self, mut agents: impl Iterator<Item = &'a AgentId>, tool: Option<&QualifiedName>) -> bool {
        let is_tool = self.tools.is_empty() || tool.is_some_and(|tool| self.tools.iter().any(|pattern| pattern.covers(tool)));
        is_tool && (self.agents.is_empty() || agents.any(|agent| self.agents.contains(agent)))
    }

    pub(crate) fn count_one(&self) {
        self.fired.fetch_add(1, Ordering::Relaxed);
    }

    /// On how many calls it fired since the start.
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }
}

/// The detections in force.
#[derive(Debug, Default)]
pub struct Rules {
    list: Vec<Rule>,
    /// Which of them look at what is kept of each call.
    pub(crate) generation: u64,
}

impl Rules {
    /// These, after those that were in force: what they counted goes on.
    pub(crate) fn after(before: &Self, mut list: Vec<Rule>) -> Self {
        list.truncate(MOST_RULES);
        for rule in &mut list {
            let was = before.list.iter().find(|was| was.name == rule.name && was.act == rule.act);
            rule.fired = was.map_or_else(Arc::default, |was| Arc::clone(&was.fired));
        }
        let is_same = list == before.list;
        Self { list, generation: if is_same { before.generation } else { before.generation.wrapping_add(1) } }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The one at this place.
    pub(crate) fn at(&self, place: usize) -> Option<&Rule> {
        self.list.get(place)
    }

    /// Those that are about a call of this tool by one of these agents: a bit for each.
    pub(crate) fn about<'a, A: Iterator<Item = &'a AgentId>>(&self, agents: impl Fn() -> A, tool: Option<&QualifiedName>) -> u32 {
        let meant = self.list.iter().enumerate().filter(|(_, rule)| rule.is_about(agents(), tool));
        meant.fold(0, |bits, (place, _)| bits | bit(place))
    }
}

/// The bit of the rule at this place.
pub(crate) fn bit(place: usize) -> u32 {
    u32::try_from(place).ok().and_then(|place| 1_u32.checked_shl(place)).unwrap_or(0)
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
