//! The decision, once more: plain and slow, from the design's words alone and with nothing of the product in it but names of kinds and
//! bands. A call goes where the grant, each grant above it, the rules, a person where rules ask for one, the budget and the time all let it.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_policy::{Band, Kind};
use serde_json::Value;

/// A tool as an admin accepted it.
pub struct ToolSpec {
    pub name: &'static str,
    pub kind: Kind,
    pub band: Band,
    /// Whether its results are what a stranger may have written.
    pub untrusted: bool,
    pub arguments: &'static [(&'static str, Argument)],
}

/// What an argument may be.
#[derive(Clone, Copy, PartialEq)]
pub enum Argument {
    Text,
    Integer,
    Number,
    Anything,
}

impl ToolSpec {
    pub fn connector(&self) -> &'static str {
        self.name.split_once("__").unwrap().0
    }
}

/// A rule, in a form of its own: what it means stands in [`Condition::holds`], and what Cedar is told in `text.rs`.
#[derive(Clone, Debug)]
pub struct Rule {
    pub id: String,
    pub permits: bool,
    pub scope: Scope,
    pub when: Vec<Condition>,
    pub unless: Vec<Condition>,
    /// The label of the approval that lifts it.
    pub approval: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub enum Scope {
    Any,
    Tool(&'static str),
    Kind(Kind),
    Band(Band),
    Connector(&'static str),
}

#[derive(Clone, Debug)]
pub enum Condition {
    CeilingBelow(i64),
    DepthAbove(i64),
    InGroup(&'static str),
    InTeam(&'static str),
    AgentIs(&'static str),
    TrustAbove(i64),
    ConnectorIs(&'static str),
    InEnvironment(&'static str),
    HourBelow(i64),
    WeekdayAbove(i64),
    CallsAbove(i64),
    WritesAbove(i64),
    Untrusted,
    FewCallsLeft(i64),
    StrengthBelow(i64),
    /// The argument is there, is an integer, and is above that.
    IntegerAbove(&'static str, i64),
    /// Twice the argument, if it is there, is above nothing: which fails where twice that is no number of 64 bits.
    TwiceAbove(&'static str, i64),
    /// The argument is there, and above that many ten-thousandths.
    NumberAbove(&'static str, i64),
    TextIs(&'static str, &'static str),
    Not(Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
}

/// A grant: what is inside it.
#[derive(Clone, Debug)]
pub struct GrantSpec {
    pub id: String,
    pub agent: &'static str,
    pub owner: &'static str,
    pub rights: Vec<Right>,
    pub ceiling: Band,
    pub environment: &'static str,
    pub data_classes: Option<BTreeSet<&'static str>>,
    pub has_destinations: bool,
    pub from_ms: u64,
    pub until_ms: u64,
    pub calls: Option<u64>,
    pub writes: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Right {
    /// `connector__tool` or `connector__*`.
    pub tools: &'static str,
    pub kinds: Option<Vec<Kind>>,
    pub bounds: BTreeMap<&'static str, Limit>,
}

#[derive(Clone, Debug)]
pub enum Limit {
    Eq(Value),
    OneOf(Vec<Value>),
    Between(i64, i64),
    LengthAtMost(usize),
    Absent,
}

/// What changes about a grant while it is used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub calls: u64,
    pub writes: u64,
    pub untrusted: bool,
}

/// What is the same for all calls of one house.
pub struct House {
    pub tools: Vec<ToolSpec>,
    pub rules: Vec<Rule>,
    pub groups: BTreeMap<&'static str, Vec<&'static str>>,
    pub teams_of_owners: BTreeMap<&'static str, Vec<&'static str>>,
    pub team_of_agent: BTreeMap<&'static str, &'static str>,
    pub trust: BTreeMap<&'static str, i64>,
    /// Every connector's, as the connectors of the bench have it.
    pub environment: &'static str,
    pub sensitivity: &'static str,
}

/// A grant with those above it, nearest first, and a person's word.
pub struct State {
    pub chain: Vec<(GrantSpec, Usage)>,
    /// What a person said yes to and nobody has used yet: tool, arguments, and the rules that asked.
    pub approved: BTreeSet<(String, String, Vec<String>)>,
    pub agent_ceiling: Band,
    pub strength: i64,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Not in the grant, or nothing is: it does not exist.
    NotGranted,
    /// The arguments are not what the tool takes, or what the grant bounds them to.
    Refused,
    /// The rules say no, whoever approves.
    Forbidden,
    /// It waits for a person, by these rules.
    Waits(Vec<String>),
    /// The budget of a grant in the chain has no room.
    Exhausted,
    /// It goes, by a person's word where these rules asked for one.
    Runs(Vec<String>),
}

/// A rule that fails while it is looked at, or an argument that can't be put before rules.
pub struct Fails;

impl Condition {
    fn holds(&self, of: &Asked<'_>) -> Result<bool, Fails> {
        let (grant, usage, arguments) = (of.grant, of.usage, of.arguments);
        Ok(match self {
            Self::CeilingBelow(level) => grant.ceiling.level() < *level,
            Self::DepthAbove(depth) => of.depth > *depth,
            Self::InGroup(group) => of.house.groups.get(grant.agent).is_some_and(|groups| groups.contains(group)),
            Self::InTeam(team) => {
                of.house.team_of_agent.get(grant.agent) == Some(team)
                    || of.house.teams_of_owners.get(grant.owner).is_some_and(|teams| teams.contains(team))
            }
            Self::AgentIs(agent) => grant.agent == *agent,
            Self::TrustAbove(trust) => of.house.trust.get(grant.agent).copied().unwrap_or(0) > *trust,
            Self::ConnectorIs(connector) => of.tool.connector() == *connector,
            Self::InEnvironment(environment) => of.house.environment == *environment,
            Self::HourBelow(hour) => i64::try_from(of.now_ms / 3_600_000 % 24).unwrap() < *hour,
            // 1970 began on a Thursday, the fourth day of its week.
            Self::WeekdayAbove(day) => i64::try_from((of.now_ms / 86_400_000 + 3) % 7 + 1).unwrap() > *day,
            Self::CallsAbove(calls) => i64::try_from(usage.calls).unwrap() > *calls,
            Self::WritesAbove(writes) => i64::try_from(usage.writes).unwrap() > *writes,
            Self::Untrusted => usage.untrusted,
            Self::FewCallsLeft(few) => {
                grant.calls.is_some_and(|most| i64::try_from(most.saturating_sub(usage.calls)).unwrap() < *few)
            }
            Self::StrengthBelow(strength) => of.strength < *strength,
            Self::IntegerAbove(name, limit) => match arguments.get(*name) {
                None => false,
                Some(value) => value.as_i64().ok_or(Fails)? > *limit,
            },
            Self::TwiceAbove(name, limit) => match arguments.get(*name) {
                None => false,
                Some(value) => value.as_i64().and_then(|number| number.checked_mul(2)).ok_or(Fails)? > *limit,
            },
            Self::NumberAbove(name, limit) => match arguments.get(*name) {
                None => false,
                Some(value) => ten_thousandths(value).ok_or(Fails)? > *limit,
            },
            Self::TextIs(name, text) => match arguments.get(*name) {
                None => false,
                Some(value) => value.as_str().ok_or(Fails)? == *text,
            },
            Self::Not(inner) => !inner.holds(of)?,
            Self::Either(left, right) => left.holds(of)? || right.holds(of)?,
        })
    }

    /// The arguments that it looks at, whatever comes of it.
    fn looks_at(&self, found: &mut BTreeSet<&'static str>) {
        match self {
            Self::IntegerAbove(name, _) | Self::TwiceAbove(name, _) | Self::NumberAbove(name, _) | Self::TextIs(name, _) => {
                found.insert(name);
            }
            Self::Not(inner) => inner.looks_at(found),
            Self::Either(left, right) => {
                left.looks_at(found);
                right.looks_at(found);
            }
            _ => {}
        }
    }
}

/// A number of four digits behind its point at most, as that many ten-thousandths.
fn ten_thousandths(value: &Value) -> Option<i64> {
    let text = value.as_number()?.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    if part.len() > 4 || text.contains(['e', 'E']) {
        return None;
    }
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let part: i64 = format!("{part:0<4}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(10_000)?.checked_add(sign * part)
}

/// One grant of the chain, asked about one call as if it made the call itself.
struct Asked<'a> {
    house: &'a House,
    tool: &'a ToolSpec,
    grant: &'a GrantSpec,
    usage: &'a Usage,
    arguments: &'a Value,
    depth: i64,
    strength: i64,
    now_ms: u64,
}

impl Asked<'_> {
    fn matters(&self, rule: &Rule) -> bool {
        match &rule.scope {
            Scope::Any => true,
            Scope::Tool(name) => *name == self.tool.name,
            Scope::Kind(kind) => *kind == self.tool.kind,
            Scope::Band(band) => *band == self.tool.band,
            Scope::Connector(connector) => *connector == self.tool.connector(),
        }
    }

    /// What the rules say: the ids of those that ask a person, none if nobody has to be asked; an error is a no.
    fn judged(&self) -> Result<Vec<String>, Fails> {
        let rules: Vec<&Rule> = self.house.rules.iter().filter(|rule| self.matters(rule)).collect();
        self.can_be_read(&rules)?;
        let mut is_permitted = false;
        let mut asks = Vec::new();
        let mut is_forbidden = false;
        for rule in rules {
            // A rule that an approval lifts is not in the way of whoever has it: that is asked last.
            let mut applies = true;
            for condition in &rule.when {
                applies = applies && condition.holds(self)?;
            }
            for condition in &rule.unless {
                applies = applies && !condition.holds(self)?;
            }
            match (applies, rule.permits, rule.approval) {
                (false, ..) => {}
                (true, true, _) => is_permitted = true,
                (true, false, Some(_)) => asks.push(rule.id.clone()),
                (true, false, None) => is_forbidden = true,
            }
        }
        if is_forbidden || !is_permitted {
            return Err(Fails);
        }
        Ok(asks)
    }

    /// Whether every argument that is there and that any of these rules looks at can be put before them.
    fn can_be_read(&self, rules: &[&Rule]) -> Result<(), Fails> {
        let mut read = BTreeSet::new();
        for rule in rules {
            rule.when.iter().chain(&rule.unless).for_each(|condition| condition.looks_at(&mut read));
        }
        for (name, kind) in self.tool.arguments {
            let Some(value) = self.arguments.get(*name).filter(|_| read.contains(name)) else { continue };
            let is_readable = match kind {
                Argument::Text => value.is_string(),
                Argument::Integer => value.as_i64().is_some(),
                Argument::Number => ten_thousandths(value).is_some(),
                Argument::Anything => false,
            };
            if !is_readable {
                return Err(Fails);
            }
        }
        Ok(())
    }
}

impl GrantSpec {
    fn rights_to(&self, tool: &ToolSpec) -> impl Iterator<Item = &Right> {
        self.rights.iter().filter(|right| {
            let is_named = match right.tools.strip_suffix("__*") {
                Some(connector) => connector == tool.connector(),
                None => right.tools == tool.name,
            };
            is_named && right.kinds.as_ref().is_none_or(|kinds| kinds.contains(&tool.kind))
        })
    }

    fn covers(&self, house: &House, tool: &ToolSpec) -> bool {
        self.rights_to(tool).next().is_some()
            && tool.band <= self.ceiling
            && (self.environment == house.environment || house.environment == "default")
            && self.data_classes.as_ref().is_none_or(|classes| classes.contains(house.sensitivity))
            // Where a grant says where data may go, a tool that sends data out must say where it does; none of these does.
            && (!self.has_destinations || tool.kind != Kind::Exfiltrate)
    }

    fn admits(&self, tool: &ToolSpec, arguments: &Value) -> bool {
        self.rights_to(tool).any(|right| {
            right.bounds.iter().all(|(name, limit)| match (limit, arguments.get(*name)) {
                (Limit::Absent, value) => value.is_none(),
                (_, None) => false,
                (Limit::Eq(wanted), Some(value)) => wanted == value,
                (Limit::OneOf(all), Some(value)) => all.contains(value),
                (Limit::Between(least, most), Some(value)) => {
                    value.as_i64().is_some_and(|number| (*least..=*most).contains(&number))
                }
                (Limit::LengthAtMost(most), Some(value)) => value.as_str().is_some_and(|text| text.chars().count() <= *most),
            })
        })
    }

    fn is_live(&self, now_ms: u64) -> bool {
        self.from_ms <= now_ms && now_ms < self.until_ms
    }
}

fn fits(tool: &ToolSpec, arguments: &Value) -> bool {
    arguments.as_object().unwrap().iter().all(|(name, value)| {
        let declared = tool.arguments.iter().find(|(known, _)| known == name);
        declared.is_some_and(|(_, kind)| match kind {
            Argument::Text => value.is_string(),
            Argument::Integer => value.is_i64() || value.is_u64(),
            Argument::Number => value.is_number(),
            Argument::Anything => true,
        })
    })
}

/// What has to become of this call.
pub fn expected(house: &House, state: &State, tool: &str, arguments: &Value, text: &str) -> Expected {
    let Some(tool) = house.tools.iter().find(|known| known.name == tool) else { return Expected::NotGranted };
    let chain = &state.chain;
    if tool.band > state.agent_ceiling
        || chain.iter().any(|(grant, _)| !grant.is_live(state.now_ms) || !grant.covers(house, tool))
    {
        return Expected::NotGranted;
    }
    if !fits(tool, arguments) || chain.iter().any(|(grant, _)| !grant.admits(tool, arguments)) {
        return Expected::Refused;
    }
    let mut asks = BTreeSet::new();
    for (at, (grant, usage)) in chain.iter().enumerate() {
        let depth = i64::try_from(chain.len() - 1 - at).unwrap();
        let asked = Asked { house, tool, grant, usage, arguments, depth, strength: state.strength, now_ms: state.now_ms };
        match asked.judged() {
            Ok(by) => asks.extend(by),
            Err(Fails) => return Expected::Forbidden,
        }
    }
    let asks: Vec<String> = asks.into_iter().collect();
    if !asks.is_empty() && !state.approved.contains(&(tool.name.to_owned(), text.to_owned(), asks.clone())) {
        return Expected::Waits(asks);
    }
    let is_full = |(grant, usage): &(GrantSpec, Usage)| {
        grant.calls.is_some_and(|most| usage.calls >= most)
            || (tool.kind != Kind::Read && grant.writes.is_some_and(|most| usage.writes >= most))
    };
    if chain.iter().any(is_full) { Expected::Exhausted } else { Expected::Runs(asks) }
}

/// What a call that ran leaves behind: the whole chain pays, what it read is on all of it, and a person's word is used up.
pub fn happened(house: &House, state: &mut State, tool: &str, text: &str, asks: Vec<String>) {
    let tool = house.tools.iter().find(|known| known.name == tool).unwrap();
    state.approved.remove(&(tool.name.to_owned(), text.to_owned(), asks));
    for (_, usage) in &mut state.chain {
        usage.calls += 1;
        usage.writes += u64::from(tool.kind != Kind::Read);
        usage.untrusted |= tool.untrusted;
    }
}
