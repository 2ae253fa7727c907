//! JSON Schema validation whose cost is bounded, for schemas and values that others wrote.
//!
//! Dialects: 2020-12 by default, draft-07 where `$schema` says so. `format` is an annotation: it is **not** asserted,
//! and no policy may depend on it. Patterns are linear-time (the `regex` crate): look-around and back-references are
//! refused.
//!
//! A schema is judged as it stands, before anything is built from it. Refused are: what exceeds [`Bounds`]; any
//! reference but `#`, `#/…` to a subschema, and `#anchor` (so nothing is ever fetched); `$id` below the root, twice the
//! same anchor, another dialect inside (they change what references mean); references that come back to the same value
//! without going deeper; keywords that contradict each other; and schemas of which one value could meet too many
//! subschemas at any depth a value may have. `$id` and `$schema` at the root are not passed on to the engine: with
//! references of these forms they mean nothing.

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod checks;
mod conflict;
mod cost;
mod declared;
mod fault;
mod graph;
mod load;
mod patterns;
mod places;
mod pointer;
#[cfg(test)]
mod suite;

use jsonschema::Draft;
use serde_json::Value;

pub use self::fault::{Bounds, SchemaFault};
pub use self::places::Place;

use self::declared::Declared;
use self::graph::{Dialect, Graph};
use self::load::Scale;
use self::places::PLACES;
use crate::canonical::canonical;
use crate::definition::is_deeper;
use crate::text::{cut, shown};

/// Up to so much work is done again to say what is wrong; beyond, only that something is.
const EXPLAINED: u64 = 50_000;

/// What happens to arguments that the schema does not declare at its top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Undeclared {
    /// They are refused, whatever `additionalProperties` says.
    #[default]
    Refuse,
    /// The schema decides.
    Allow,
}

/// A schema, ready to check values. Costly to make, cheap to use, shared by reference.
#[derive(Debug)]
pub struct Validator {
    engine: jsonschema::Validator,
    scale: Scale,
    /// Units of work per unit of a value's weight.
    weight: u64,
    work: u64,
    declared: Option<Declared>,
}

impl Validator {
    /// Judges `schema` against `bounds`, then compiles it.
    pub fn compile(schema: &Value, bounds: Bounds) -> Result<Self, SchemaFault> {
        Self::build(schema, bounds, Undeclared::Allow)
    }

    /// Compiles the input schema of a tool, with the default bounds. It must say `"type": "object"` at its top. With
    /// [`Undeclared::Refuse`], only properties that are declared there are accepted: by `properties`,
    /// `patternProperties` or `required`, in the schema itself or in what it applies to the same value (`$ref`, `allOf`,
    /// `anyOf`, `oneOf`, `if`, `then`, `else`, `dependentSchemas`). Deeper down the schema decides.
    pub fn compile_input(schema: &Value, undeclared: Undeclared) -> Result<Self, SchemaFault> {
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(SchemaFault::NotASchema { expected: "an object schema" });
        }
        Self::build(schema, Bounds::default(), undeclared)
    }

    fn build(schema: &Value, bounds: Bounds, undeclared: Undeclared) -> Result<Self, SchemaFault> {
        if is_deeper(schema, bounds.depth) {
            return Err(SchemaFault::TooDeep { limit: bounds.depth });
        }
        let size = canonical(schema).len();
        if size > bounds.bytes {
            return Err(SchemaFault::TooLarge { size, limit: bounds.bytes });
        }
        let graph = Graph::of(schema, bounds)?;
        let weight = cost::weigh(&graph, bounds)?;
        conflict::refuse(&graph)?;
        patterns::refuse(&graph)?;
        let declared = match undeclared {
            Undeclared::Refuse => Some(Declared::of(&graph)?),
            Undeclared::Allow => None,
        };
        let has = |keyword| graph.nodes.iter().any(|node| node.keyword(keyword).is_some());
        let scale = Scale { has_unique_items: has("uniqueItems"), has_patterns: has("pattern") || has("patternProperties") };
        Ok(Self { engine: engine(graph.dialect, schema)?, scale, weight, work: bounds.work, declared })
    }

    /// Checks `instance`. On failure names up to ten places.
    ///
    /// The work is bounded: a value is first weighed, and refused when its weight times the most subschemas that one
    /// value can meet exceeds [`Bounds::work`]. One that is nested deeper than 64 is refused too.
    pub fn check(&self, instance: &Value) -> Result<(), Vec<Place>> {
        let Some(weight) = self.scale.weigh(instance, cost::VALUE_DEPTH) else {
            return Err(vec![Place::new("", format!("nested deeper than {}: flatten it", cost::VALUE_DEPTH))]);
        };
        let work = weight.saturating_mul(self.weight);
        if work > self.work {
            return Err(vec![Place::new("", "too large to be checked against this schema: send less at once")]);
        }
        let is_valid = self.engine.is_valid(instance);
        if is_valid && self.declared.as_ref().is_none_or(|declared| declared.covers(instance)) {
            return Ok(());
        }
        Err(self.places(instance, is_valid, work))
    }

    #[cold]
    fn places(&self, instance: &Value, is_valid: bool, work: u64) -> Vec<Place> {
        let undeclared = self.declared.iter().flat_map(|declared| declared.places(instance));
        let mut places: Vec<Place> = undeclared.take(PLACES).collect();
        if !is_valid && work <= EXPLAINED {
            let rest = PLACES - places.len();
            places.extend(self.engine.iter_errors(instance).take(rest).map(|error| Place::of(&error)));
        } else if !is_valid {
            places.push(Place::new("", "does not fit the schema: send less at once to learn where"));
        }
        places
    }
}

/// The engine for a schema that has been judged.
fn engine(dialect: Dialect, schema: &Value) -> Result<jsonschema::Validator, SchemaFault> {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        map.shift_remove("$id");
        map.shift_remove("$schema");
    }
    let draft = match dialect {
        Dialect::Draft7 => Draft::Draft7,
        Dialect::Draft202012 => Draft::Draft202012,
    };
    let built = jsonschema::options()
        .with_draft(draft)
        .with_pattern_options(patterns::engine(patterns::LARGE))
        .should_validate_formats(false)
        .offline()
        .build(&schema);
    built.map_err(|error| SchemaFault::Invalid {
        place: shown(error.instance_path().as_str()),
        reason: cut(&error.masked().to_string(), 200),
    })
}
