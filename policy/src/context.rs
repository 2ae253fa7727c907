//! `context`: what the rules of a slice look at, of the call and of its arguments.

use std::collections::BTreeMap;

use cedar_policy::{Context, RestrictedExpression};
use serde_json::{Map, Value};

use crate::catalogue::{Tool, call_fields};
use crate::decision::DenyCause;
use crate::facts::{Ask, CallFacts, HistoryFacts};
use crate::number;
use crate::reads::{Reads, Want};
use crate::shape::{Field, Shape};

type Record = Vec<(String, RestrictedExpression)>;

/// A context under construction: the arguments are put in once, the facts of the call for each pass.
#[derive(Default)]
pub(crate) struct Arguments {
    input: Option<RestrictedExpression>,
    opaque: Vec<String>,
}

impl Arguments {
    /// Puts the arguments that are read into their places; says which one has none.
    pub(crate) fn new(tool: &Tool, reads: &Reads, input: &Value) -> Result<Self, DenyCause> {
        if !reads.arguments() {
            return Ok(Self::default());
        }
        let Value::Object(input) = input else {
            let pointer = String::new();
            return Err(DenyCause::OpaqueArgument { pointer });
        };
        let mut arguments = Self::default();
        if !reads.call().field("opaque_fields").is_nothing() {
            arguments.opaque = opaque_fields(&tool.input, input);
        }
        if !reads.input().is_nothing() {
            let mut pointer = String::new();
            match record(&tool.input, input, reads.input(), &mut pointer) {
                Ok(record) => arguments.input = Some(record),
                Err(NoPlace) => return Err(DenyCause::OpaqueArgument { pointer }),
            }
        }
        Ok(arguments)
    }

    /// The context of one pass, in which these approvals are held.
    pub(crate) fn context(&self, tool: &Tool, reads: &Reads, call: &CallFacts<'_>, approvals: &[&str]) -> Option<Context> {
        if !reads.context() {
            return Some(Context::empty());
        }
        let mut pairs = Record::new();
        let every;
        let names: Vec<&String> = match reads.call() {
            Want::Nothing => Vec::new(),
            Want::Fields(fields) => fields.keys().collect(),
            Want::Everything => {
                every = call_fields();
                every.keys().collect()
            }
        };
        if !reads.call().is_nothing() {
            let facts = names.into_iter().filter_map(|name| {
                let value = match name.as_str() {
                    "history" => history(&call.history, reads.call().field("history")),
                    _ => self.fact(name, tool, call, approvals)?,
                };
                Some((name.clone(), value.expression()?))
            });
            let call = RestrictedExpression::new_record(facts).ok()?;
            pairs.push(("call".to_owned(), call));
        }
        if let Some(input) = &self.input {
            pairs.push(("input".to_owned(), input.clone()));
        }
        Context::from_pairs(pairs).ok()
    }

    /// The arguments in their places; none where none is read.
    pub(crate) fn input(&self) -> Option<&RestrictedExpression> {
        self.input.as_ref()
    }

    /// The facts of a call that are read, as JSON: for the record. Approvals are not among them: nobody holds any when policy is asked.
    pub(crate) fn facts(tool: &Tool, reads: &Reads, ask: &Ask<'_>) -> Vec<(String, Value)> {
        let mut facts = Self::default();
        if let (false, Value::Object(input)) = (reads.call().field("opaque_fields").is_nothing(), ask.input) {
            facts.opaque = opaque_fields(&tool.input, input);
        }
        let names: Vec<String> = match reads.call() {
            Want::Nothing => Vec::new(),
            Want::Fields(fields) => fields.keys().cloned().collect(),
            Want::Everything => call_fields().into_keys().collect(),
        };
        let pairs = names.into_iter().filter(|name| !["approvals", "kind", "band"].contains(&name.as_str())).filter_map(|name| {
            let value = match name.as_str() {
                "history" => history(&ask.call.history, reads.call().field("history")),
                _ => facts.fact(&name, tool, ask.call, &[])?,
            };
            Some((name, value.json()))
        });
        pairs.collect()
    }

    fn fact<'f>(&'f self, name: &str, tool: &Tool, call: &CallFacts<'f>, approvals: &[&'f str]) -> Option<Fact<'f>> {
        let opaque = || self.opaque.iter().map(String::as_str);
        Some(match name {
            "kind" => Fact::Text(tool.kind.as_str()),
            "band" => Fact::Long(tool.band.level()),
            "environment" => Fact::Text(call.environment),
            "calls_in_task" => count(call.calls_in_task),
            "writes_in_task" => count(call.writes_in_task),
            "untrusted_input" => Fact::Flag(call.untrusted_input),
            "confidential" => Fact::Flag(call.confidential),
            "labels" => Fact::Texts(call.labels.names().collect()),
            "destination" => Fact::Text(call.destination),
            "destination_host" => Fact::Text(call.destination_host),
            "destination_hosts" => Fact::Texts(call.destination_hosts.iter().map(String::as_str).collect()),
            "external" => Fact::Flag(call.external),
            "approvals" => Fact::Texts(approvals.to_vec()),
            "transport" => Fact::Text(call.transport),
            "era" => Fact::Text(call.era),
            "hour" => Fact::Long(call.hour.into()),
            "minute" => Fact::Long(call.minute.into()),
            "weekday" => Fact::Long(call.weekday.into()),
            "hop_depth" => Fact::Long(call.hop_depth.into()),
            "authn" => Fact::Text(call.authn),
            "authn_strength" => Fact::Long(call.authn_strength.into()),
            "bytes_out" => count(call.bytes_out),
            "cost" => count(call.cost),
            "budget" => budget(call),
            "detections" => Fact::Texts(call.detections.iter().map(String::as_str).collect()),
            "calls_last_minute" => count(call.calls_last_minute),
            "opaque_fields" => Fact::Texts(opaque().collect()),
            _ => return None,
        })
    }
}

/// These facts and, where the rules look at them, the approvals.
pub(crate) fn with_approvals(mut facts: Record, reads: &Reads, approvals: &[&str]) -> Record {
    if !reads.call().field("approvals").is_nothing() {
        facts.push(("approvals".to_owned(), texts(approvals.iter().copied())));
    }
    facts
}

/// What the task did before, as far as it is looked at.
fn history<'f>(history: &HistoryFacts<'f>, want: &Want) -> Fact<'f> {
    let set = |list: &'f [String]| Fact::Texts(list.iter().map(String::as_str).collect());
    let all: [(&'static str, &dyn Fn() -> Fact<'f>); 5] = [
        ("tools", &|| set(history.tools)),
        ("connectors", &|| set(history.connectors)),
        ("kinds", &|| set(history.kinds)),
        ("denied", &|| count(history.denied)),
        ("read_sensitive", &|| Fact::Flag(history.read_sensitive)),
    ];
    let wanted = all.into_iter().filter(|(name, _)| !want.field(name).is_nothing());
    Fact::Record(wanted.map(|(name, value)| (name, value())).collect())
}

/// A fact of a call: for Cedar, and for the record.
enum Fact<'f> {
    Text(&'f str),
    Texts(Vec<&'f str>),
    Long(i64),
    Flag(bool),
    Record(Vec<(&'static str, Fact<'f>)>),
}

impl Fact<'_> {
    fn expression(self) -> Option<RestrictedExpression> {
        Some(match self {
            Self::Text(value) => text(value),
            Self::Texts(values) => texts(values.into_iter()),
            Self::Long(value) => RestrictedExpression::new_long(value),
            Self::Flag(value) => RestrictedExpression::new_bool(value),
            Self::Record(fields) => {
                let fields: Option<Record> =
                    fields.into_iter().map(|(name, value)| Some((name.to_owned(), value.expression()?))).collect();
                RestrictedExpression::new_record(fields?).ok()?
            }
        })
    }

    fn json(self) -> Value {
        match self {
            Self::Text(value) => value.into(),
            Self::Texts(values) => values.into(),
            Self::Long(value) => value.into(),
            Self::Flag(value) => value.into(),
            Self::Record(fields) => fields.into_iter().map(|(name, value)| (name.to_owned(), value.json())).collect(),
        }
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.map(text))
}

/// What is left of a budget, as far as it has limits.
fn budget<'f>(call: &CallFacts<'f>) -> Fact<'f> {
    let left = [("calls_left", call.calls_left), ("writes_left", call.writes_left)];
    Fact::Record(left.into_iter().filter_map(|(name, left)| Some((name, count(left?)))).collect())
}

/// A count beyond 63 bits is as many as there can be.
fn count<'f>(value: u64) -> Fact<'f> {
    Fact::Long(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A value that has no place in Cedar.
#[derive(Debug)]
pub(crate) struct NoPlace;

/// The fields of an object that are looked at. On failure `pointer` leads to the one without a place.
fn record(
    fields: &BTreeMap<String, Field>,
    object: &Map<String, Value>,
    want: &Want,
    pointer: &mut String,
) -> Result<RestrictedExpression, NoPlace> {
    let mut pairs = Record::new();
    for (name, value) in object {
        let want = want.field(name);
        if want.is_nothing() {
            continue;
        }
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let shape = fields.get(name).map_or(&Shape::Opaque, |field| &field.shape);
        pairs.push((name.clone(), place(shape, value, want, pointer)?));
        pointer.truncate(length);
    }
    RestrictedExpression::new_record(pairs).map_err(|_| NoPlace)
}

pub(crate) fn place(shape: &Shape, value: &Value, want: &Want, pointer: &mut String) -> Result<RestrictedExpression, NoPlace> {
    match (shape, value) {
        (Shape::Long, Value::Number(number)) => {
            let exact = number::long(number.as_str()).ok_or(NoPlace)?;
            Ok(RestrictedExpression::new_long(exact))
        }
        (Shape::Decimal, Value::Number(number)) => {
            let exact = number::decimal(number.as_str()).ok_or(NoPlace)?;
            Ok(RestrictedExpression::new_decimal(exact))
        }
        (Shape::Text, Value::String(value)) => Ok(text(value)),
        (Shape::Flag, Value::Bool(value)) => Ok(RestrictedExpression::new_bool(*value)),
        (Shape::Set(element), Value::Array(values)) => {
            let elements: Result<Vec<_>, NoPlace> =
                values.iter().map(|value| place(element, value, &Want::Everything, pointer)).collect();
            Ok(RestrictedExpression::new_set(elements?))
        }
        (Shape::Record(fields), Value::Object(object)) => record(fields, object, want, pointer),
        _ => Err(NoPlace),
    }
}

/// The names of the arguments that have no place, for rules that ask for them.
fn opaque_fields(fields: &BTreeMap<String, Field>, input: &Map<String, Value>) -> Vec<String> {
    let placeless = |(name, value): &(&String, &Value)| {
        let shape = fields.get(*name).map_or(&Shape::Opaque, |field| &field.shape);
        place(shape, value, &Want::Everything, &mut String::new()).is_err()
    };
    let found = input.iter().filter(placeless);
    found.map(|(name, _)| name.clone()).collect()
}
