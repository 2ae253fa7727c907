//! What is doubtful about a bundle that compiles: rules that change nothing, that nothing reaches, or that say something twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Effect, Expr, Literal, PrincipalConstraint, ResourceConstraint, Template, UnaryOp};
use cedar_policy::{ActionConstraint, PolicySet};
use serde::Serialize;

use crate::catalogue::{Catalogue, KnownTool, Tool};
use crate::fault::{PolicyFault, Source};
use crate::load::{applies, spans};
use crate::reads::{children, path_of};
use crate::rule::RuleFacts;

/// What kind of doubt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lint {
    /// A permit that a forbid without conditions takes back wherever it applies.
    Shadowed,
    /// A rule that changes nothing, because another without conditions says the same wherever it applies.
    Redundant,
    /// Two rules with the same scope and conditions.
    Duplicate,
    /// A condition that stands in a rule twice.
    DuplicateCondition,
    /// No accepted tool is in its scope.
    NoTool,
    /// Its conditions contradict one another, or what every tool in its scope is.
    NeverTrue,
    /// A condition that is true whatever the call.
    AlwaysTrue,
    /// An approval is looked for that no rule asks for.
    UnusedLabel,
    /// Something else that the compiler finds doubtful.
    Doubtful,
}

impl Lint {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::Redundant => "redundant",
            Self::Duplicate => "duplicate",
            Self::DuplicateCondition => "duplicate_condition",
            Self::NoTool => "no_tool",
            Self::NeverTrue => "never_true",
            Self::AlwaysTrue => "always_true",
            Self::UnusedLabel => "unused_label",
            Self::Doubtful => "doubtful",
        }
    }
}

/// One doubt, with its place and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub lint: Lint,
    /// The `@id` of the rule.
    pub rule: String,
    /// Where, what and what to do.
    pub fault: PolicyFault,
}

/// A rule, as it is linted.
struct Linted {
    source: usize,
    span: std::ops::Range<usize>,
    body: Template,
    facts: RuleFacts,
    /// The tools in its scope, as places in the catalogue.
    tools: BTreeSet<usize>,
}

/// Looks for what is doubtful in a bundle that compiles over these tools. Rules that can't be read are left to the compiler.
pub fn lint<'k>(sources: &[Source<'_>], tools: impl IntoIterator<Item = &'k KnownTool>) -> Vec<Finding> {
    let catalogue = Catalogue::new(tools);
    let rules: Vec<Linted> =
        sources.iter().enumerate().flat_map(|(index, source)| rules_of(index, *source, &catalogue.tools)).collect();
    let labels: BTreeSet<&str> =
        rules.iter().filter_map(|rule| rule.facts.approval.as_ref()).map(|approval| &*approval.label).collect();
    let mut linter = Linter { sources, tools: &catalogue.tools, findings: Vec::new() };
    for (at, rule) in rules.iter().enumerate() {
        linter.reach(rule);
        linter.conditions(rule);
        linter.labels(rule, &labels);
        linter.beside(rule, at, &rules);
    }
    let mut findings = linter.findings;
    findings.sort_by_key(|finding| (finding.fault.source, finding.fault.line, finding.fault.column, finding.lint));
    findings
}

fn rules_of(index: usize, source: Source<'_>, tools: &[Arc<Tool>]) -> Vec<Linted> {
    let Ok(set) = source.text.parse::<PolicySet>() else { return Vec::new() };
    let spans = spans(&set, source.text);
    let mut rules: Vec<Linted> = set
        .policies()
        .filter_map(|policy| {
            let body = policy.to_pst().ok()?.body().clone();
            let scope = policy.action_constraint();
            let facts = RuleFacts::read(&body).ok()?;
            let is_in = |(at, tool): (usize, &Arc<Tool>)| applies(&scope, tool).then_some(at);
            let tools =
                if is_of_grants(&scope) { [usize::MAX].into() } else { tools.iter().enumerate().filter_map(is_in).collect() };
            Some(Linted { source: index, span: spans.get(policy.id())?.clone(), body, facts, tools })
        })
        .collect();
    rules.sort_by_key(|rule| rule.span.start);
    rules
}

/// Whether a scope is one of the actions that are about grants themselves.
fn is_of_grants(scope: &ActionConstraint) -> bool {
    matches!(scope, ActionConstraint::Eq(action) if crate::catalogue::is_about_grants(action.id().unescaped()))
}

struct Linter<'l> {
    sources: &'l [Source<'l>],
    tools: &'l [Arc<Tool>],
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn find(&mut self, lint: Lint, rule: &Linted, part: Option<&str>, what: String, help: &str) {
        let Some(source) = self.sources.get(rule.source) else { return };
        let text = source.text.get(rule.span.clone()).unwrap_or_default();
        // The last place: a label stands in the annotation first.
        let place = part.and_then(|part| text.rfind(part).map(|at| rule.span.start + at..rule.span.start + at + part.len()));
        let fault =
            PolicyFault::at(rule.source, *source, Some(place.unwrap_or_else(|| rule.span.clone())), what, Some(help.to_owned()));
        self.findings.push(Finding { lint, rule: rule.facts.rule.id.to_string(), fault });
    }

    fn reach(&mut self, rule: &Linted) {
        if rule.tools.is_empty() {
            let what = format!("no accepted tool is in the scope of `{}`: it decides nothing today", rule.facts.rule.id);
            self.find(Lint::NoTool, rule, None, what, "accept the tools that it waits for, correct the action, or drop the rule");
        }
    }

    fn conditions(&mut self, rule: &Linted) {
        let parts = conjuncts(&rule.body);
        for (at, (part, is_true)) in parts.iter().enumerate() {
            if parts.iter().take(at).any(|(other, as_well)| other == part && as_well == is_true) {
                let text = part.to_string();
                let what = format!("`{}` stands in `{}` twice", short(&text), rule.facts.rule.id);
                self.find(Lint::DuplicateCondition, rule, Some(&text), what, "drop one of the two");
            }
            if let Expr::Literal(Literal::Bool(value)) = **part
                && value == *is_true
            {
                let what = format!("a condition of `{}` is true whatever the call", rule.facts.rule.id);
                self.find(Lint::AlwaysTrue, rule, None, what, "drop the condition, or say what it was meant to be");
            }
        }
        if rule.tools.is_empty() {
            return;
        }
        let tools = rule.tools.iter().map(|at| self.tools.get(*at).map(AsRef::as_ref));
        let mut why = None;
        for tool in tools {
            match contradiction(&parts, tool) {
                Some(found) => why = Some(found),
                None => return,
            }
        }
        if let Some(why) = why {
            let what = format!("`{}` can never apply: {why}", rule.facts.rule.id);
            self.find(
                Lint::NeverTrue,
                rule,
                None,
                what,
                "correct the conditions, or drop the rule: as a forbid it protects nothing",
            );
        }
    }

    fn labels(&mut self, rule: &Linted, asked_for: &BTreeSet<&str>) {
        let mut open: Vec<&Expr> = clauses(&rule.body).map(|(condition, _)| condition.as_ref()).collect();
        let mut told = BTreeSet::new();
        while let Some(expression) = open.pop() {
            if let Expr::BinaryOp { op: BinaryOp::Contains, left, right } = expression
                && path_of(left).is_some_and(|path| path == ["context", "call", "approvals"])
                && let Expr::Literal(Literal::String(label)) = &**right
                && !asked_for.contains(label.as_str())
                && told.insert(label.clone())
            {
                let what = format!("no rule asks for the approval `{label}`, so nobody is ever asked for it");
                let help = format!("annotate the forbid that it lifts with `@approval(\"{label}\")`, or correct the label");
                self.find(Lint::UnusedLabel, rule, Some(label), what, &help);
            }
            open.extend(children(expression).unwrap_or_default());
        }
    }

    /// The rule beside the others.
    fn beside(&mut self, rule: &Linted, at: usize, rules: &[Linted]) {
        if rule.tools.is_empty() || rule.facts.shadow {
            return;
        }
        for (other_at, other) in rules.iter().enumerate().filter(|(other_at, other)| *other_at != at && !other.facts.shadow) {
            let id = &other.facts.rule.id;
            let place = self.place(other);
            let is_same = rule.body.effect == other.body.effect
                && rule.body.principal == other.body.principal
                && rule.body.resource == other.body.resource
                && rule.tools == other.tools
                && conjuncts(&rule.body) == conjuncts(&other.body);
            if is_same
                && rule.facts.obligations == other.facts.obligations
                && rule.facts.approval
                    == other.facts.approval.clone().map(|mut approval| {
                        approval.rule = Arc::clone(&rule.facts.rule.id);
                        approval.reason.clone_from(&rule.facts.rule.reason);
                        approval
                    })
            {
                if other_at < at {
                    let what = format!("`{}` says the same as `{id}` ({place})", rule.facts.rule.id);
                    self.find(Lint::Duplicate, rule, None, what, "drop one of the two");
                }
                return;
            }
            if !covers(other, rule) {
                continue;
            }
            let is_forbid = |rule: &Linted| rule.body.effect == Effect::Forbid;
            if is_forbid(other) && !is_forbid(rule) {
                let what =
                    format!("`{}` permits nothing: `{id}` ({place}) forbids all of it, whatever the call", rule.facts.rule.id);
                self.find(Lint::Shadowed, rule, None, what, "narrow the forbid, or drop the permit");
                return;
            }
            // An approval that is asked for beside a plain forbid is never given; beside a plain permit nothing is added.
            if is_forbid(other) == is_forbid(rule) {
                let what =
                    format!("`{}` changes nothing: `{id}` ({place}) says so of all that is in its scope", rule.facts.rule.id);
                self.find(Lint::Redundant, rule, None, what, "drop it, or narrow the other");
                return;
            }
        }
    }

    fn place(&self, rule: &Linted) -> String {
        let Some(source) = self.sources.get(rule.source) else { return String::new() };
        let fault = PolicyFault::at(rule.source, *source, Some(rule.span.clone()), "", None);
        format!("{}:{}", fault.source_name, fault.line)
    }
}

/// Whether a rule applies to every call that another may apply to, and no approval lifts it.
fn covers(general: &Linted, special: &Linted) -> bool {
    let is_plain = general.facts.approval.is_none() && clauses(&general.body).next().is_none();
    // What a rule demands beside is a reason for it of its own.
    let says_all = special.facts.obligations.is_empty() || special.facts.obligations == general.facts.obligations;
    let principal = general.body.principal == PrincipalConstraint::Any || general.body.principal == special.body.principal;
    let resource = general.body.resource == ResourceConstraint::Any || general.body.resource == special.body.resource;
    is_plain && says_all && principal && resource && special.tools.is_subset(&general.tools)
}

/// Each condition, and whether it has to be true.
fn clauses(body: &Template) -> impl Iterator<Item = (&Arc<Expr>, bool)> {
    body.clauses().iter().map(|clause| match clause {
        Clause::When(condition) => (condition, true),
        Clause::Unless(condition) => (condition, false),
    })
}

/// What all has to hold, part by part, each with whether it has to be true.
pub(crate) fn conjuncts(body: &Template) -> Vec<(Arc<Expr>, bool)> {
    let mut parts = Vec::new();
    for (condition, is_true) in clauses(body) {
        split(condition, is_true, &mut parts);
    }
    parts
}

fn split(expression: &Arc<Expr>, is_true: bool, parts: &mut Vec<(Arc<Expr>, bool)>) {
    match &**expression {
        Expr::BinaryOp { op: BinaryOp::And, left, right } if is_true => {
            split(left, true, parts);
            split(right, true, parts);
        }
        Expr::BinaryOp { op: BinaryOp::Or, left, right } if !is_true => {
            split(left, false, parts);
            split(right, false, parts);
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => split(expr, !is_true, parts),
        _ => parts.push((Arc::clone(expression), is_true)),
    }
}

/// What is known of one value, by the parts that have to hold together.
#[derive(Default)]
struct Known {
    least: Option<i64>,
    most: Option<i64>,
    text: Option<String>,
    other_than: BTreeSet<String>,
    flag: Option<bool>,
}

/// Why these parts can't hold together for this tool. Only what can be told from a path and a literal is looked at.
fn contradiction(parts: &[(Arc<Expr>, bool)], tool: Option<&Tool>) -> Option<String> {
    let mut known: BTreeMap<Vec<String>, Known> = BTreeMap::new();
    if let Some(tool) = tool {
        let path = |name: &str| ["context", "call", name].map(str::to_owned).to_vec();
        known.insert(path("kind"), Known { text: Some(tool.kind.as_str().to_owned()), ..Known::default() });
        let level = Some(tool.band.level());
        known.insert(path("band"), Known { least: level, most: level, ..Known::default() });
        known.insert(path("hour"), Known { least: Some(0), most: Some(23), ..Known::default() });
        known.insert(
            ["principal", "ceiling"].map(str::to_owned).to_vec(),
            Known { least: Some(0), most: Some(3), ..Known::default() },
        );
        for count in ["calls_in_task", "writes_in_task"] {
            known.insert(path(count), Known { least: Some(0), ..Known::default() });
        }
    }
    for (part, is_true) in parts {
        if let Expr::Literal(Literal::Bool(value)) = **part
            && value != *is_true
        {
            return Some(format!("a condition is `{value}` whatever the call"));
        }
        let Some((path, clash)) = take(part, *is_true, &mut known) else { continue };
        if clash {
            return Some(format!("nothing that `{}` may be there meets all of its conditions", path.join(".")));
        }
    }
    None
}

/// Takes up what a part says of a value; whether no value is left.
fn take(part: &Expr, is_true: bool, known: &mut BTreeMap<Vec<String>, Known>) -> Option<(Vec<String>, bool)> {
    let owned = |path: Vec<&str>| path.into_iter().map(str::to_owned).collect::<Vec<_>>();
    if let Some(path) = path_of(part) {
        let path = owned(path);
        let before = known.entry(path.clone()).or_default().flag.replace(is_true);
        return Some((path, before.is_some_and(|before| before != is_true)));
    }
    let Expr::BinaryOp { op, left, right } = part else { return None };
    let (path, op, literal) = match (path_of(left), literal(right), path_of(right), literal(left)) {
        (Some(path), Some(literal), ..) => (owned(path), *op, literal),
        (_, _, Some(path), Some(literal)) => (owned(path), turned(*op)?, literal),
        _ => return None,
    };
    let op = if is_true { op } else { negated(op)? };
    let one = known.entry(path.clone()).or_default();
    match literal {
        Literal::Long(value) => {
            let (least, most) = match op {
                BinaryOp::Eq => (Some(value), Some(value)),
                BinaryOp::Less => (None, value.checked_sub(1)),
                BinaryOp::LessEq => (None, Some(value)),
                BinaryOp::Greater => (value.checked_add(1), None),
                BinaryOp::GreaterEq => (Some(value), None),
                _ => return None,
            };
            one.least = one.least.max(least);
            one.most = one.most.into_iter().chain(most).min();
            Some((path, matches!((one.least, one.most), (Some(least), Some(most)) if least > most)))
        }
        Literal::String(text) => {
            let text = text.to_string();
            let clash = match op {
                BinaryOp::Eq => {
                    let clash = one.text.as_ref().is_some_and(|before| *before != text) || one.other_than.contains(&text);
                    one.text = Some(text);
                    clash
                }
                BinaryOp::NotEq => {
                    let clash = one.text.as_ref() == Some(&text);
                    one.other_than.insert(text);
                    clash
                }
                _ => return None,
            };
            Some((path, clash))
        }
        _ => None,
    }
}

/// A literal, a negative number too.
pub(crate) fn literal(expression: &Expr) -> Option<Literal> {
    match expression {
        Expr::Literal(literal) => Some(literal.clone()),
        Expr::UnaryOp { op: UnaryOp::Neg, expr } => match &**expr {
            Expr::Literal(Literal::Long(value)) => Some(Literal::Long(value.checked_neg()?)),
            _ => None,
        },
        _ => None,
    }
}

/// The operator that says the same with its sides exchanged.
fn turned(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Eq | BinaryOp::NotEq => op,
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEq => BinaryOp::GreaterEq,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEq => BinaryOp::LessEq,
        _ => return None,
    })
}

fn negated(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Eq => BinaryOp::NotEq,
        BinaryOp::NotEq => BinaryOp::Eq,
        BinaryOp::Less => BinaryOp::GreaterEq,
        BinaryOp::LessEq => BinaryOp::Greater,
        BinaryOp::Greater => BinaryOp::LessEq,
        BinaryOp::GreaterEq => BinaryOp::Less,
        _ => return None,
    })
}

fn short(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { format!("{}…", text.chars().take(60).collect::<String>()) }
}
