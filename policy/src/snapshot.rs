//! What a decision looked at, as it goes on record, and the same question put to other rules.

use std::collections::BTreeMap;

use cedar_policy::{Context, RestrictedExpression};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::catalogue::{Tool, call_fields};
use crate::context::{Arguments, place, with_approvals};
use crate::decision::{Decision, DenyCause};
use crate::facts::Ask;
use crate::grant::PreparedGrant;
use crate::policies::Policies;
use crate::reads::{Reads, Want};
use crate::shape::{Field, Shape};

/// The longest text of an argument that is kept, bytes.
const LONGEST: usize = 256;

/// What rules looked at of a call: enough to ask others that look at no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The facts of the call (`context.call`) that were read.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub call: Map<String, Value>,
    /// The arguments (`context.input`) that were read, and are kept.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// Arguments that were looked for and not there, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Arguments that were there, and whose value is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// Objects of which only what was read is here; the arguments as a whole are the empty pointer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<String>,
}

/// Other rules look at something that a snapshot does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("`{0}` is not on record")]
pub struct Unread(pub String);

/// How much of the arguments is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What rules read.
    Read,
    /// That they were there, and nothing of them.
    Presence,
}

impl Policies {
    /// What the rules of this tool, those in shadow too, look at of this call. Where one of them has `@redact`, no argument is kept.
    pub fn snapshot(&self, ask: &Ask<'_>) -> Snapshot {
        let (mut snapshot, mut reads_input) = (Snapshot::default(), false);
        let all = || std::iter::once(self).chain(self.candidate().and_then(Result::ok));
        // Whatever other rules read: what is masked by some is kept by none.
        let keep = if all().any(|policies| policies.keeps_back(ask.tool)) { Keep::Presence } else { Keep::Read };
        for policies in all() {
            let Some(entry) = policies.entry(ask.grant, ask.tool) else { continue };
            for rules in std::iter::once(&entry.slice.enforced).chain(&entry.slice.shadow) {
                reads_input |= !rules.reads.input().is_nothing();
                snapshot.add(&entry.tool, &rules.reads, ask, keep);
            }
        }
        // Whoever reads it on record must not take what nobody looked at for what was not there.
        if !reads_input && ask.input.as_object().is_none_or(|input| !input.is_empty()) {
            note(&mut snapshot.partial, "");
        }
        snapshot
    }

    /// Decides about a call of which this is on record, as if it were made now.
    ///
    /// # Errors
    /// When these rules look at something that is not on record.
    pub fn decide_again(&self, grant: &PreparedGrant, tool: &str, snapshot: &Snapshot) -> Result<Decision, Unread> {
        let Some(entry) = self.entry(grant, tool) else {
            return Ok(Decision::deny(DenyCause::UnknownTool));
        };
        let rules = &entry.slice.enforced;
        let call = snapshot.facts(&entry.tool, &rules.reads)?;
        let input = snapshot.arguments(&entry.tool, &rules.reads)?;
        let arguments = match Arguments::new(&entry.tool, &rules.reads, &input) {
            Ok(arguments) => arguments,
            Err(cause) => return Ok(Decision::deny(cause)),
        };
        let held: Vec<&str> =
            snapshot.call.get("approvals").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        Ok(self.settle(held, |approvals| {
            if !rules.reads.context() {
                return self.ask(rules, entry, grant, Context::empty());
            }
            let mut pairs = Vec::new();
            if !rules.reads.call().is_nothing() {
                let facts = call.iter().map(|(name, value)| (name.clone(), value.clone()));
                let facts = with_approvals(facts.collect(), &rules.reads, approvals);
                pairs.push(("call".to_owned(), RestrictedExpression::new_record(facts).ok()?));
            }
            pairs.extend(arguments.input().map(|input| ("input".to_owned(), input.clone())));
            self.ask(rules, entry, grant, Context::from_pairs(pairs).ok()?)
        }))
    }
}

impl Snapshot {
    /// All facts of a call that may be: to be changed where something is to be tried.
    pub(crate) fn plain(environment: &str) -> Self {
        let fact = |(name, field): (String, Field)| {
            let value = match name.as_str() {
                "environment" => json!(environment),
                "transport" => json!("http"),
                "era" => json!("2026-07-28"),
                "hour" => json!(12),
                _ => empty(&field.shape),
            };
            (name, value)
        };
        Self { call: call_fields().into_iter().map(fact).collect(), ..Self::default() }
    }

    /// Takes up what these rules look at, too.
    fn add(&mut self, tool: &Tool, reads: &Reads, ask: &Ask<'_>, keep: Keep) {
        if !reads.call().is_nothing() {
            let facts = Arguments::facts(tool, reads, ask).into_iter();
            // Where data is sent is an argument, too.
            let is_kept = |name: &str| keep == Keep::Read || !name.starts_with("destination");
            self.call.extend(facts.filter(|(name, _)| is_kept(name)));
        }
        let Value::Object(input) = ask.input else { return };
        if !reads.input().is_nothing() {
            let mut kept = std::mem::take(&mut self.input);
            self.take(&mut kept, input, reads.input(), "", keep);
            self.input = kept;
        }
    }

    fn take(&mut self, kept: &mut Map<String, Value>, object: &Map<String, Value>, want: &Want, pointer: &str, keep: Keep) {
        let every;
        let wanted: Vec<(&String, &Want)> = if let Want::Fields(fields) = want {
            note(&mut self.partial, pointer);
            fields.iter().collect()
        } else {
            every = Want::Everything;
            object.keys().map(|name| (name, &every)).collect()
        };
        for (name, want) in wanted {
            let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            match (object.get(name), want) {
                (None, _) => note(&mut self.absent, &at),
                (Some(Value::Object(inner)), Want::Fields(fields)) if !fields.is_empty() => {
                    let mut below = match kept.remove(name) {
                        Some(Value::Object(below)) => below,
                        _ => Map::new(),
                    };
                    self.take(&mut below, inner, want, &at, keep);
                    kept.insert(name.clone(), Value::Object(below));
                }
                (Some(value), Want::Everything) if keep == Keep::Read && is_short(value) => {
                    kept.insert(name.clone(), value.clone());
                }
                (Some(_), _) => note(&mut self.withheld, &at),
            }
        }
    }

    /// The facts that these rules look at, each in its place.
    fn facts(&self, tool: &Tool, reads: &Reads) -> Result<BTreeMap<String, RestrictedExpression>, Unread> {
        let known = call_fields();
        let wanted: Vec<&String> = match reads.call() {
            Want::Nothing => Vec::new(),
            Want::Fields(fields) => fields.keys().collect(),
            Want::Everything => known.keys().collect(),
        };
        let mut facts = BTreeMap::new();
        for name in wanted.into_iter().filter(|name| *name != "approvals") {
            let unread = || Unread(format!("context.call.{name}"));
            let value = match name.as_str() {
                // These are the tool's, and not the call's.
                "kind" => RestrictedExpression::new_string(tool.kind.as_str().to_owned()),
                "band" => RestrictedExpression::new_long(tool.band.level()),
                _ => {
                    let shape = &known.get(name).ok_or_else(unread)?.shape;
                    let value = self.call.get(name).ok_or_else(unread)?;
                    place(shape, value, &Want::Everything, &mut String::new()).map_err(|_| unread())?
                }
            };
            facts.insert(name.clone(), value);
        }
        Ok(facts)
    }

    /// The arguments that these rules look at.
    fn arguments(&self, tool: &Tool, reads: &Reads) -> Result<Value, Unread> {
        match reads.input() {
            Want::Nothing => Ok(json!({})),
            want => self.part(Some(&tool.input), &self.input, want, "").map(Value::Object),
        }
    }

    fn part(
        &self,
        fields: Option<&BTreeMap<String, Field>>,
        kept: &Map<String, Value>,
        want: &Want,
        pointer: &str,
    ) -> Result<Map<String, Value>, Unread> {
        let unread = |at: &str| Unread(format!("context.input{}", at.replace('/', ".")));
        let is_partial = self.partial.iter().any(|partial| partial == pointer);
        let Want::Fields(wanted) = want else {
            let below = format!("{pointer}/");
            if is_partial || self.withheld.iter().any(|at| at.starts_with(&below)) {
                return Err(unread(pointer));
            }
            return Ok(kept.clone());
        };
        let mut part = Map::new();
        for (name, want) in wanted {
            let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            let shape = fields.and_then(|fields| fields.get(name)).map(|field| &field.shape);
            match kept.get(name) {
                Some(Value::Object(inner)) if !matches!(want, Want::Fields(fields) if fields.is_empty()) => {
                    let fields = match shape {
                        Some(Shape::Record(fields)) => Some(fields),
                        _ => None,
                    };
                    part.insert(name.clone(), Value::Object(self.part(fields, inner, want, &at)?));
                }
                Some(value) => drop(part.insert(name.clone(), value.clone())),
                None if self.withheld.contains(&at) => match want {
                    Want::Fields(fields) if fields.is_empty() => {
                        part.insert(name.clone(), shape.map_or(Value::Null, empty));
                    }
                    _ => return Err(unread(&at)),
                },
                None if is_partial && !self.absent.contains(&at) => return Err(unread(&at)),
                None => {}
            }
        }
        Ok(part)
    }
}

fn note(list: &mut Vec<String>, at: &str) {
    if !list.iter().any(|known| known == at) {
        list.push(at.to_owned());
    }
}

/// Whether a value is worth its place on record.
fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= LONGEST,
        Value::Array(items) => items.len() <= 32 && items.iter().all(is_short),
        Value::Object(fields) => fields.len() <= 32 && fields.values().all(is_short),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A value of this shape that says nothing.
pub(crate) fn empty(shape: &Shape) -> Value {
    match shape {
        Shape::Long | Shape::Decimal => json!(0),
        Shape::Text => json!(""),
        Shape::Flag => json!(false),
        Shape::Set(_) => json!([]),
        Shape::Record(fields) => {
            let needed = fields.iter().filter(|(_, field)| field.required);
            Value::Object(needed.map(|(name, field)| (name.clone(), empty(&field.shape))).collect())
        }
        Shape::Opaque => Value::Null,
    }
}
