//! Which properties a schema declares at its top level, wherever it does: in the schema itself or in anything that
//! applies to the same value.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use super::fault::SchemaFault;
use super::graph::{Aside, Graph, Part};
use super::pointer::escaped;
use super::{Place, engine};
use crate::text::shown;

/// Names longer than this are not compared to find the nearest.
const COMPARED_NAME: usize = 64;
/// At most so many declared names are compared.
const COMPARED_NAMES: usize = 256;

/// The declared properties.
#[derive(Debug)]
pub(super) struct Declared {
    /// Sorted.
    names: Vec<String>,
    /// Accepts the names that some top-level pattern matches.
    patterns: Option<jsonschema::Validator>,
}

impl Declared {
    /// Collects them from the root and from all beside it, but for what is negated. A `required` name is declared.
    pub(super) fn of(graph: &Graph<'_>) -> Result<Self, SchemaFault> {
        let mut names = BTreeSet::new();
        let mut patterns = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut todo = vec![0];
        while let Some(id) = todo.pop() {
            let Some(node) = graph.nodes.get(id).filter(|_| seen.insert(id)) else {
                continue;
            };
            for &(part, _) in &node.parts {
                if let Part::Property(name) = part {
                    names.insert(name.to_owned());
                }
            }
            let required = node.keyword("required").and_then(Value::as_array).into_iter().flatten();
            names.extend(required.filter_map(Value::as_str).map(str::to_owned));
            let by_pattern = node.keyword("patternProperties").and_then(Value::as_object);
            patterns.extend(by_pattern.into_iter().flat_map(Map::keys));
            let applied = node.aside.iter().filter(|(aside, _)| *aside != Aside::Negation);
            todo.extend(applied.map(|&(_, next)| next));
        }
        let any: Vec<Value> = patterns.into_iter().map(|pattern| json!({ "pattern": pattern })).collect();
        let patterns = if any.is_empty() { None } else { Some(engine(graph.dialect, &json!({ "anyOf": any }))?) };
        Ok(Self { names: names.into_iter().collect(), patterns })
    }

    /// Whether every property of `arguments` is declared.
    pub(super) fn covers(&self, arguments: &Value) -> bool {
        arguments.as_object().is_none_or(|arguments| arguments.keys().all(|name| self.has(name)))
    }

    /// The places of properties that are not declared.
    pub(super) fn places<'a>(&'a self, arguments: &'a Value) -> impl Iterator<Item = Place> + 'a {
        let names = arguments.as_object().into_iter().flat_map(Map::keys);
        names.filter(|name| !self.has(name)).map(|name| Place::new(&pointer_to(name), self.message(name)))
    }

    fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|declared| declared.as_str().cmp(name)).is_ok()
            || self.patterns.as_ref().is_some_and(|patterns| patterns.is_valid(&Value::String(name.to_owned())))
    }

    fn message(&self, name: &str) -> String {
        let undeclared = format!("`{}` is not an argument of this tool", shown(name));
        match self.nearest(name) {
            Some(nearest) => format!("{undeclared}: did you mean `{}`?", shown(nearest)),
            None => format!("{undeclared}: leave it out"),
        }
    }

    /// The declared name that is most like `name`, if any is alike.
    fn nearest(&self, name: &str) -> Option<&str> {
        if name.len() > COMPARED_NAME {
            return None;
        }
        let names = self.names.iter().filter(|declared| declared.len() <= COMPARED_NAME).take(COMPARED_NAMES);
        let closest = names.map(|declared| (distance(name, declared), declared)).min()?;
        (closest.0 <= 1 + name.chars().count() / 3).then_some(closest.1.as_str())
    }
}

fn pointer_to(name: &str) -> String {
    format!("/{}", escaped(name))
}

/// How many characters must be put in, taken out or replaced to get from `a` to `b`, case aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (&to, &above) in b.iter().zip(row.iter().skip(1)) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(from != to));
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
