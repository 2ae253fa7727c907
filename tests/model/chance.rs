//! Random houses, grants and calls.

use std::collections::BTreeMap;

use bailiwick_policy::{Band, Kind};
use serde_json::{Value, json};

use super::decision::{Argument, Condition, GrantSpec, House, Limit, Right, Rule, Scope, ToolSpec};
use crate::world::START_MS;

const HOUR: u64 = 3_600_000;

/// Small numbers without a pattern (xorshift64*), the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn of<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }

    pub fn word(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len())]
    }

    fn number(&mut self, bound: i64) -> i64 {
        i64::try_from(self.below(usize::try_from(bound).unwrap())).unwrap()
    }
}

/// The tools of the bench, as far as they need no secret and no header.
pub fn tools() -> Vec<ToolSpec> {
    use Argument::{Anything, Integer, Number, Text};
    let tool = |name, kind, band, arguments| ToolSpec { name, kind, band, untrusted: name == "tickets__search", arguments };
    vec![
        tool("tickets__get", Kind::Read, Band::Low, &[("id", Text), ("n", Anything)]),
        tool("tickets__search", Kind::Read, Band::Low, &[("project", Text), ("text", Text)]),
        tool("tickets__close", Kind::Write, Band::Medium, &[("id", Text)]),
        tool("tickets__refund", Kind::Write, Band::High, &[("id", Text), ("amount_cents", Number), ("note", Anything)]),
        tool("tickets__export", Kind::Exfiltrate, Band::Medium, &[("to", Text)]),
        tool("tickets__overflow", Kind::Write, Band::Medium, &[("amount", Integer)]),
        tool("files__delete", Kind::Write, Band::High, &[("path", Text)]),
        tool("files__wipe", Kind::Admin, Band::Critical, &[]),
    ]
}

const PATTERNS: [&str; 10] = [
    "tickets__*",
    "files__*",
    "tickets__get",
    "tickets__search",
    "tickets__close",
    "tickets__refund",
    "tickets__export",
    "tickets__overflow",
    "files__delete",
    "files__wipe",
];

pub fn house(dice: &mut Dice) -> House {
    let tools = tools();
    let open = Rule { id: "r0".into(), permits: true, scope: Scope::Any, when: Vec::new(), unless: Vec::new(), approval: None };
    let mut rules: Vec<Rule> = (1..=3 + dice.below(8)).map(|at| rule(at, &tools, dice)).collect();
    if !dice.one_in(4) {
        rules.push(open);
    }
    House {
        tools,
        rules,
        groups: [("bot", vec!["support"]), ("lead", vec!["support", "batch"])].into(),
        teams_of_owners: [("owner@example.com", vec!["payments"])].into(),
        team_of_agent: [("lead", "night")].into(),
        trust: [("bot", 1), ("lead", 3)].into(),
        environment: "production",
        sensitivity: "internal",
    }
}

fn rule(at: usize, tools: &[ToolSpec], dice: &mut Dice) -> Rule {
    let of = dice.of(tools);
    let (scope, arguments) = match dice.below(6) {
        0 => (Scope::Any, &[][..]),
        1 => (Scope::Kind(*dice.of(&[Kind::Read, Kind::Write, Kind::Exfiltrate, Kind::Admin])), &[][..]),
        2 => (Scope::Band(*dice.of(&Band::ALL)), &[][..]),
        3 => (Scope::Connector(of.connector()), &[][..]),
        _ => (Scope::Tool(of.name), of.arguments),
    };
    let mut some = |most: usize| (0..dice.below(most + 1)).map(|_| condition(arguments, dice, 2)).collect::<Vec<_>>();
    let (when, unless) = (some(2), some(1));
    let permits = dice.one_in(3);
    let approval = (!permits && dice.one_in(2)).then(|| dice.word(&["finance", "security"]));
    Rule { id: format!("r{at}"), permits, scope, when, unless, approval }
}

fn condition(arguments: &'static [(&'static str, Argument)], dice: &mut Dice, depth: usize) -> Condition {
    if depth > 0 && dice.one_in(5) {
        let mut inner = || Box::new(condition(arguments, dice, depth - 1));
        return Condition::Either(inner(), inner());
    }
    if depth > 0 && dice.one_in(5) {
        return Condition::Not(Box::new(condition(arguments, dice, depth - 1)));
    }
    let readable: Vec<_> = arguments.iter().filter(|(_, kind)| *kind != Argument::Anything).collect();
    if !readable.is_empty() && dice.one_in(2) {
        let (name, kind) = **dice.of(&readable);
        return match kind {
            Argument::Integer if dice.one_in(2) => Condition::TwiceAbove(name, dice.number(1000)),
            Argument::Integer => Condition::IntegerAbove(name, dice.number(1000)),
            Argument::Number => Condition::NumberAbove(name, dice.number(10_000_000)),
            _ => Condition::TextIs(name, dice.word(&["a", "b"])),
        };
    }
    match dice.below(14) {
        0 => Condition::CeilingBelow(dice.number(4)),
        1 => Condition::DepthAbove(dice.number(3)),
        2 => Condition::InGroup(dice.word(&["support", "batch"])),
        3 => Condition::InTeam(dice.word(&["payments", "night"])),
        4 => Condition::AgentIs(dice.word(&["bot", "lead"])),
        5 => Condition::TrustAbove(dice.number(4)),
        6 => Condition::ConnectorIs(dice.word(&["tickets", "files"])),
        7 => Condition::InEnvironment(dice.word(&["production", "staging"])),
        8 => Condition::HourBelow(dice.number(24)),
        9 => Condition::WeekdayAbove(dice.number(8)),
        10 => Condition::CallsAbove(dice.number(6)),
        11 => Condition::WritesAbove(dice.number(4)),
        12 if dice.one_in(2) => Condition::FewCallsLeft(dice.number(6)),
        12 => Condition::StrengthBelow(dice.number(4)),
        _ => Condition::Untrusted,
    }
}

/// Of a chain: the bot's at its end, those of others above.
pub fn grant(at: usize, dice: &mut Dice) -> GrantSpec {
    let rights = (0..=dice.below(4)).map(|_| right(dice)).collect();
    let agent = if at == 0 { "bot" } else { "lead" };
    GrantSpec {
        id: format!("g{at}"),
        agent,
        owner: dice.word(&["owner@example.com", "other@example.com"]),
        rights,
        ceiling: *dice.of(&[Band::Critical, Band::Critical, Band::High, Band::Medium, Band::Low]),
        environment: if dice.one_in(15) { "staging" } else { "production" },
        data_classes: dice.one_in(8).then(|| if dice.one_in(3) { ["public"].into() } else { ["public", "internal"].into() }),
        has_destinations: dice.one_in(10),
        from_ms: if dice.one_in(20) { START_MS + 2 * HOUR } else { START_MS - HOUR },
        until_ms: START_MS + HOUR * u64::try_from(dice.below(40) + 1).unwrap(),
        calls: dice.one_in(3).then(|| u64::try_from(dice.below(8)).unwrap()),
        writes: dice.one_in(4).then(|| u64::try_from(dice.below(4)).unwrap()),
    }
}

fn right(dice: &mut Dice) -> Right {
    let tools = if dice.one_in(2) { "tickets__*" } else { dice.word(&PATTERNS) };
    let kinds = dice.one_in(6).then(|| vec![Kind::Read, *dice.of(&[Kind::Write, Kind::Exfiltrate])]);
    let mut bounds = BTreeMap::new();
    if dice.one_in(4) {
        let bound = match dice.below(5) {
            0 => ("id", Limit::Eq(json!("a"))),
            1 => ("id", Limit::OneOf(vec![json!("a"), json!("b")])),
            2 => ("amount", Limit::Between(-5, 600)),
            3 => ("text", Limit::LengthAtMost(3)),
            _ => ("note", Limit::Absent),
        };
        bounds.insert(bound.0, bound.1);
    }
    Right { tools, kinds, bounds }
}

/// A call: a tool that there may be, and arguments that may fit.
pub fn call(dice: &mut Dice) -> (&'static str, String) {
    let tools = tools();
    if dice.one_in(40) {
        return ("tickets__nothing", "{}".to_owned());
    }
    let tool = dice.of(&tools);
    let mut arguments: Vec<String> = Vec::new();
    for (name, kind) in tool.arguments {
        if dice.one_in(3) {
            continue;
        }
        let value = match kind {
            Argument::Text => dice.word(&["\"a\"", "\"b\"", "\"abcdef\"", "\"a\"", "7"]),
            Argument::Integer => dice.word(&["5", "501", "-3", "9223372036854775807", "9223372036854775808", "\"x\""]),
            Argument::Number => dice.word(&["5", "12.5", "999.9999", "500.00001", "-1", "true"]),
            Argument::Anything => dice.word(&["{\"x\":1}", "null", "\"a\""]),
        };
        arguments.push(format!("\"{name}\":{value}"));
    }
    if dice.one_in(30) {
        arguments.push("\"undeclared\":1".to_owned());
    }
    (tool.name, format!("{{{}}}", arguments.join(",")))
}

pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
