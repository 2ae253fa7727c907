//! Requests worth trying: what rules look at, with the values around each literal that they compare it with.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::pst::{BinaryOp, Clause, EntityOrSlot, Expr, Literal, PatternElem, PrincipalConstraint, Template, UnaryOp};
use serde_json::{Map, Number, Value, json};

use crate::catalogue::{Tool, call_fields};
use crate::facts::GrantFacts;
use crate::kind::Band;
use crate::lint::literal;
use crate::number;
use crate::reads::{children, path_of, presence_checks};
use crate::shape::{Field, Shape};
use crate::slice::Rules;
use crate::snapshot::{Snapshot, empty};

/// The most values that are tried of one thing.
const MOST_VALUES: usize = 24;
/// The most grants that are tried for one tool.
const MOST_GRANTS: usize = 24;

/// A request that policies can be asked about, though nobody makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The tool.
    pub tool: String,
    /// The grant.
    pub grant: GrantFacts,
    /// The call.
    pub read: Snapshot,
    /// The call on record that it is; none for one that was made up.
    pub call_id: Option<String>,
}

/// One thing that rules look at, and the values that are worth trying; none is to leave it out.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// From its variable on: `["context", "input", "amount"]`.
    pub(crate) path: Vec<String>,
    pub(crate) values: Vec<Option<Value>>,
}

/// What rules look at and compare with.
#[derive(Default)]
struct Looks {
    paths: BTreeMap<Vec<String>, Compared>,
    /// Type and id of entities that a principal is compared with.
    entities: BTreeSet<(String, String)>,
}

#[derive(Default)]
struct Compared {
    longs: BTreeSet<i64>,
    texts: BTreeSet<String>,
    decimals: BTreeSet<String>,
}

/// The rules of a slice, as they are written.
pub(crate) fn bodies(rules: &Rules) -> Vec<Template> {
    rules.set.policies().filter_map(|policy| Some(policy.to_pst().ok()?.body().clone())).collect()
}

/// What these rules look at of a call, its arguments and its grant.
pub(crate) fn axes(tool: &Tool, bodies: &[Template]) -> Vec<Axis> {
    let looks = Looks::of(bodies);
    let facts = call_fields();
    let axis = |(path, compared): (&Vec<String>, &Compared)| {
        let (shape, may_lack) = match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["context", "call", "approvals" | "kind" | "band" | "opaque_fields", ..] => return None,
            ["context", "call", inner @ ..] => field(&facts, inner)?,
            ["context", "input", inner @ ..] => field(&tool.input, inner)?,
            ["principal", "ceiling" | "depth"] => (&Shape::Long, false),
            ["principal", "purpose" | "environment"] => (&Shape::Text, false),
            _ => return None,
        };
        let mut values: Vec<Option<Value>> = compared.values(shape, path).into_iter().map(Some).collect();
        if may_lack {
            values.insert(0, None);
        }
        values.truncate(MOST_VALUES);
        (!values.is_empty()).then(|| Axis { path: path.clone(), values })
    };
    looks.paths.iter().filter_map(axis).collect()
}

/// The grants that are worth asking for: these, and those that rules tell apart from them.
pub(crate) fn grants(bodies: &[Template], known: &[GrantFacts]) -> Vec<GrantFacts> {
    let looks = Looks::of(bodies);
    let mut found: Vec<GrantFacts> = known.iter().take(MOST_GRANTS / 2).cloned().collect();
    let plain = known.first().cloned().unwrap_or_else(somebody);
    if found.is_empty() {
        found.push(plain.clone());
    }
    for (kind, id) in looks.entities {
        let mut grant = plain.clone();
        match kind.as_str() {
            "Bailiwick::Agent" => grant.agent = id,
            "Bailiwick::Grant" => grant.id = id,
            "Bailiwick::User" => grant.owner = id,
            _ => continue,
        }
        found.push(grant);
    }
    let classes: Vec<String> = looks
        .paths
        .get(&owned(&["principal", "data_classes"]))
        .map(|compared| compared.texts.iter().cloned().collect())
        .unwrap_or_default();
    if !classes.is_empty() {
        found.push(GrantFacts { data_classes: classes, ..plain.clone() });
        found.push(GrantFacts { data_classes: Vec::new(), ..plain });
    }
    let mut seen = Vec::new();
    found.retain(|grant| {
        let is_new = !seen.contains(grant);
        seen.push(grant.clone());
        is_new
    });
    found.truncate(MOST_GRANTS);
    found
}

/// A grant of nobody: where there is none to try with.
fn somebody() -> GrantFacts {
    GrantFacts {
        id: "any-grant".to_owned(),
        agent: "any-agent".to_owned(),
        owner: "owner@example.com".to_owned(),
        purpose: String::new(),
        environment: String::new(),
        ceiling: Band::Critical,
        depth: 0,
        delegators: Vec::new(),
        data_classes: Vec::new(),
    }
}

/// A call of this tool of which nothing is known but what has to be there.
pub(crate) fn plain(tool: &Tool, grant: &GrantFacts) -> Probe {
    let needed = tool.input.iter().filter(|(_, field)| field.required);
    let input = needed.map(|(name, field)| (name.clone(), empty(&field.shape))).collect();
    let read = Snapshot { input, ..Snapshot::plain(&grant.environment) };
    Probe { tool: tool.name.clone(), grant: grant.clone(), read, call_id: None }
}

impl Probe {
    /// The value that stands there now.
    pub(crate) fn value(&self, path: &[String]) -> Option<Value> {
        match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["context", "call", inner @ ..] => at(&self.read.call, inner).cloned(),
            ["context", "input", inner @ ..] => at(&self.read.input, inner).cloned(),
            ["principal", "ceiling"] => Some(json!(self.grant.ceiling.level())),
            ["principal", "depth"] => Some(json!(self.grant.depth)),
            ["principal", "purpose"] => Some(json!(self.grant.purpose)),
            ["principal", "environment"] => Some(json!(self.grant.environment)),
            ["principal", "data_classes"] => Some(json!(self.grant.data_classes)),
            ["principal", "delegators"] => Some(json!(self.grant.delegators)),
            ["principal", "agent"] => Some(json!(self.grant.agent)),
            ["principal", "owner"] => Some(json!(self.grant.owner)),
            _ => None,
        }
    }

    /// The same with another value there.
    pub(crate) fn with(&self, path: &[String], value: Option<&Value>) -> Self {
        let mut other = self.clone();
        match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["context", "call", inner @ ..] => put(&mut other.read.call, inner, value),
            ["context", "input", inner @ ..] => {
                let pointer: String =
                    inner.iter().flat_map(|name| ["/".to_owned(), name.replace('~', "~0").replace('/', "~1")]).collect();
                let is_other = |known: &String| *known != pointer;
                other.read.absent.retain(is_other);
                other.read.withheld.retain(is_other);
                if value.is_none() {
                    other.read.absent.push(pointer);
                }
                put(&mut other.read.input, inner, value);
            }
            ["principal", "ceiling"] => {
                let level = value.and_then(Value::as_i64);
                other.grant.ceiling =
                    Band::ALL.into_iter().find(|band| Some(band.level()) == level).unwrap_or(other.grant.ceiling);
            }
            ["principal", "depth"] => {
                other.grant.depth = value.and_then(Value::as_u64).and_then(|depth| depth.try_into().ok()).unwrap_or(0);
            }
            ["principal", "purpose"] => value.and_then(Value::as_str).unwrap_or_default().clone_into(&mut other.grant.purpose),
            ["principal", "environment"] => {
                value.and_then(Value::as_str).unwrap_or_default().clone_into(&mut other.grant.environment);
                other.read.call.insert("environment".to_owned(), json!(other.grant.environment));
            }
            _ => {}
        }
        other
    }
}

/// Choices along these axes: all of them where those are few, else each alone, in pairs, and at random but always the same.
pub(crate) fn samples(plain: &Probe, axes: &[Axis], most: usize) -> Vec<Probe> {
    let all =
        axes.iter().try_fold(1_usize, |product, axis| product.checked_mul(axis.values.len()).filter(|product| *product <= most));
    let mut found = vec![plain.clone()];
    if all.is_some() {
        for axis in axes {
            found =
                found.iter().flat_map(|probe| axis.values.iter().map(|value| probe.with(&axis.path, value.as_ref()))).collect();
        }
        found.push(plain.clone());
        return found;
    }
    let alone = |probe: &Probe, axis: &Axis| -> Vec<Probe> {
        axis.values.iter().map(|value| probe.with(&axis.path, value.as_ref())).collect()
    };
    found.extend(axes.iter().flat_map(|axis| alone(plain, axis)));
    for (at, one) in axes.iter().enumerate() {
        for other in axes.iter().skip(at + 1) {
            if found.len() >= most {
                return found;
            }
            found.extend(alone(plain, one).iter().flat_map(|probe| alone(probe, other)));
        }
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while found.len() < most {
        let mut probe = plain.clone();
        for axis in axes {
            // xorshift: even enough for this, and the same each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state >> 33).unwrap_or(0) % axis.values.len().max(1);
            if let Some(value) = axis.values.get(at) {
                probe = probe.with(&axis.path, value.as_ref());
            }
        }
        found.push(probe);
    }
    found
}

/// What these rules look at, as paths: for telling which values mattered.
pub(crate) fn looked_at<'t>(bodies: impl IntoIterator<Item = &'t Template>) -> Vec<Vec<String>> {
    let bodies: Vec<Template> = bodies.into_iter().cloned().collect();
    Looks::of(&bodies).paths.into_keys().collect()
}

impl Looks {
    fn of(bodies: &[Template]) -> Self {
        let mut looks = Self::default();
        for body in bodies {
            if let PrincipalConstraint::Eq(EntityOrSlot::Entity(entity))
            | PrincipalConstraint::In(EntityOrSlot::Entity(entity))
            | PrincipalConstraint::IsIn(_, EntityOrSlot::Entity(entity)) = &body.principal
            {
                looks.entities.insert((entity.ty.to_string(), entity.eid.to_string()));
            }
            for (root, path) in presence_checks(body) {
                if root == cedar_policy::pst::Var::Context {
                    let path = std::iter::once("context".to_owned()).chain(path).collect();
                    looks.paths.entry(path).or_default();
                }
            }
            for clause in body.clauses() {
                let (Clause::When(condition) | Clause::Unless(condition)) = clause;
                looks.add(condition);
            }
        }
        looks
    }

    fn add(&mut self, expression: &Expr) {
        // Whose presence is looked at was found before.
        if matches!(expression, Expr::HasAttr { .. }) {
            return;
        }
        let is_comparison = match expression {
            Expr::BinaryOp { op, .. } => !matches!(op, BinaryOp::And | BinaryOp::Or),
            Expr::Like { .. } => true,
            _ => false,
        };
        if !is_comparison {
            if let Some(path) = path_of(expression).filter(|path| path.len() > 1) {
                self.paths.entry(owned(&path)).or_default();
                return;
            }
            children(expression).unwrap_or_default().into_iter().for_each(|child| self.add(child));
            return;
        }
        let (mut paths, mut compared) = (Vec::new(), Compared::default());
        let mut open = vec![expression];
        while let Some(part) = open.pop() {
            if let Some(path) = path_of(part) {
                paths.push(owned(&path));
                continue;
            }
            match part {
                Expr::UnaryOp { op: UnaryOp::Decimal, expr } => {
                    if let Expr::Literal(Literal::String(text)) = &**expr {
                        compared.decimals.insert(text.to_string());
                    }
                    continue;
                }
                Expr::HasAttr { .. } => continue,
                Expr::Like { pattern, .. } => compared.texts.extend(instances(pattern)),
                _ => {}
            }
            match literal(part) {
                Some(Literal::Long(value)) => drop(compared.longs.insert(value)),
                Some(Literal::String(text)) => drop(compared.texts.insert(text.to_string())),
                Some(Literal::EntityUID(entity)) => {
                    self.entities.insert((entity.ty.to_string(), entity.eid.to_string()));
                }
                Some(_) => {}
                None => open.extend(children(part).unwrap_or_default()),
            }
        }
        for path in paths.into_iter().filter(|path| path.len() > 1) {
            let known = self.paths.entry(path).or_default();
            known.longs.extend(&compared.longs);
            known.texts.extend(compared.texts.iter().cloned());
            known.decimals.extend(compared.decimals.iter().cloned());
        }
    }
}

impl Compared {
    /// Values of this shape: around each number, each text and another one.
    fn values(&self, shape: &Shape, path: &[String]) -> Vec<Value> {
        match shape {
            Shape::Long => {
                let (least, most) = match path.last().map(String::as_str) {
                    Some("hour") => (0, 23),
                    Some("ceiling") => (0, 3),
                    _ if path.first().is_some_and(|root| root == "principal") => (0, i64::from(u32::MAX)),
                    _ if path.get(1).is_some_and(|part| part == "call") => (0, i64::MAX),
                    _ => (i64::MIN, i64::MAX),
                };
                let around = self.longs.iter().flat_map(|value| [value.saturating_sub(1), *value, value.saturating_add(1)]);
                let values: BTreeSet<i64> = around.chain([0]).filter(|value| (least..=most).contains(value)).collect();
                values.into_iter().map(Value::from).collect()
            }
            Shape::Decimal => {
                let exact = self.decimals.iter().filter_map(|text| number::decimal(text)).filter_map(|text| units(&text));
                let values: BTreeSet<i64> = exact.flat_map(|units| [units - 1, units, units + 1]).chain([0]).collect();
                values.into_iter().filter_map(decimal).collect()
            }
            Shape::Text => {
                let other = (!self.texts.contains("other")).then(|| json!("other"));
                self.texts.iter().map(|text| json!(text)).chain(other).collect()
            }
            Shape::Flag => vec![json!(false), json!(true)],
            Shape::Set(element) if **element == Shape::Text => {
                let each = self.texts.iter().map(|text| json!([text]));
                let all = (self.texts.len() > 1).then(|| json!(self.texts));
                std::iter::once(json!([])).chain(each).chain(all).collect()
            }
            Shape::Set(_) => vec![json!([])],
            Shape::Record(_) => vec![empty(shape)],
            Shape::Opaque => Vec::new(),
        }
    }
}

/// Of `12.3400` the ten-thousandths.
fn units(text: &str) -> Option<i64> {
    number::long(&format!("{text}e4"))
}

fn decimal(units: i64) -> Option<Value> {
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:04}", units.unsigned_abs() / 10_000, units.unsigned_abs() % 10_000);
    text.parse::<Number>().ok().map(Value::Number)
}

/// Texts that a pattern matches: with nothing and with something in the place of each `*`.
fn instances(pattern: &[PatternElem]) -> [String; 2] {
    ["", "x"].map(|filling| {
        pattern.iter().fold(String::new(), |mut text, element| {
            match element {
                PatternElem::Char(letter) => text.push(*letter),
                PatternElem::Wildcard => text.push_str(filling),
            }
            text
        })
    })
}

/// The shape of what a path leads to, and whether it may be left out.
fn field<'f>(fields: &'f BTreeMap<String, Field>, path: &[&str]) -> Option<(&'f Shape, bool)> {
    let (first, rest) = path.split_first()?;
    let field = fields.get(*first)?;
    match (&field.shape, rest) {
        (shape, []) => Some((shape, !field.required)),
        (Shape::Record(inner), rest) => self::field(inner, rest),
        _ => None,
    }
}

fn at<'v>(map: &'v Map<String, Value>, path: &[&str]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    let value = map.get(*first)?;
    if rest.is_empty() { Some(value) } else { at(value.as_object()?, rest) }
}

fn put(map: &mut Map<String, Value>, path: &[&str], value: Option<&Value>) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        match value {
            Some(value) => drop(map.insert((*first).to_owned(), value.clone())),
            None => drop(map.remove(*first)),
        }
        return;
    }
    if value.is_none() && !map.contains_key(*first) {
        return;
    }
    let inner = map.entry((*first).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|part| (*part).to_owned()).collect()
}
