//! A schema as a graph: every place where a subschema stands, and which ones apply to the same value or to a part of
//! it. References are edges, so that cost can be counted without building anything.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::fault::{Bounds, SchemaFault};
use super::pointer::{escaped, percent_decoded};
use crate::text::shown;

/// The dialects we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Draft7,
    Draft202012,
}

impl Dialect {
    /// The dialect that `$schema` names at `place`, 2020-12 when there is none.
    fn named(schema: &Map<String, Value>, place: &str) -> Result<Option<Self>, SchemaFault> {
        let Some(dialect) = schema.get("$schema") else {
            return Ok(None);
        };
        match dialect.as_str().map(|uri| uri.trim_end_matches('#')) {
            Some("https://json-schema.org/draft/2020-12/schema") => Ok(Some(Self::Draft202012)),
            Some("http://json-schema.org/draft-07/schema" | "https://json-schema.org/draft-07/schema") => Ok(Some(Self::Draft7)),
            _ => Err(SchemaFault::Dialect { place: shown(place), dialect: shown(&dialect.to_string()) }),
        }
    }
}

/// How a subschema applies to the same value as the one it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    Branch,
    Negation,
    Reference,
}

/// To which parts of a value a subschema applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'s> {
    /// The property of this name.
    Property(&'s str),
    /// Any property, as far as we know: a pattern, or what was not evaluated.
    AnyProperty,
    /// Every property but these.
    OtherProperty(Option<&'s Map<String, Value>>),
    /// The names of properties.
    Name,
    /// The item at this index.
    Item(usize),
    /// The items from this index on.
    ItemsFrom(usize),
}

/// One place where a subschema stands.
#[derive(Debug)]
pub(super) struct Node<'s> {
    pub(super) pointer: String,
    pub(super) schema: &'s Value,
    /// Subschemas for the same value.
    pub(super) aside: Vec<(Aside, usize)>,
    /// Subschemas for parts of it.
    pub(super) parts: Vec<(Part<'s>, usize)>,
}

impl<'s> Node<'s> {
    /// Whether the branches are looked at a second time, to learn what they evaluated.
    pub(super) fn looks_twice(&self) -> bool {
        self.keyword("unevaluatedProperties").is_some() || self.keyword("unevaluatedItems").is_some()
    }

    pub(super) fn keyword(&self, name: &str) -> Option<&'s Value> {
        self.schema.get(name)
    }
}

/// All subschemas of one document; the first is the root.
#[derive(Debug)]
pub(super) struct Graph<'s> {
    pub(super) dialect: Dialect,
    pub(super) nodes: Vec<Node<'s>>,
}

impl<'s> Graph<'s> {
    /// Finds every subschema of `root`, and the target of every reference.
    pub(super) fn of(root: &'s Value, bounds: Bounds) -> Result<Self, SchemaFault> {
        let dialect = match root {
            Value::Object(schema) => Dialect::named(schema, "")?.unwrap_or(Dialect::Draft202012),
            Value::Bool(_) => Dialect::Draft202012,
            _ => {
                return Err(SchemaFault::NotASchema { expected: "an object or a boolean" });
            }
        };
        let mut walk = Walk {
            graph: Graph { dialect, nodes: Vec::new() },
            limit: bounds.subschemas,
            places: HashMap::new(),
            anchors: HashMap::new(),
        };
        walk.visit(root, "")?;
        walk.connect()?;
        Ok(walk.graph)
    }
}

struct Walk<'s> {
    graph: Graph<'s>,
    limit: usize,
    places: HashMap<String, usize>,
    anchors: HashMap<&'s str, usize>,
}

/// Keywords with one subschema for the same value.
const ASIDE: [&str; 3] = ["if", "then", "else"];
/// Keywords with a list of them.
const ASIDE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with subschemas by property name, for the same value.
const ASIDE_MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords with subschemas that apply only where something refers to them.
const HOLDERS: [&str; 2] = ["$defs", "definitions"];
/// Keywords with one subschema for any item, as far as we know.
const ANY_ITEM: [&str; 2] = ["contains", "unevaluatedItems"];

impl<'s> Walk<'s> {
    /// Adds the subschema at `pointer`, and all that it contains. The depth of the document was checked before.
    fn visit(&mut self, schema: &'s Value, pointer: &str) -> Result<usize, SchemaFault> {
        let id = self.graph.nodes.len();
        if id >= self.limit {
            return Err(SchemaFault::TooMany { limit: self.limit });
        }
        self.places.insert(pointer.to_owned(), id);
        self.graph.nodes.push(Node { pointer: pointer.to_owned(), schema, aside: Vec::new(), parts: Vec::new() });
        let Value::Object(map) = schema else {
            return Ok(id);
        };
        self.identify(map, id, pointer)?;
        let mut aside = Vec::new();
        self.visit_aside(map, pointer, &mut aside)?;
        let mut parts = Vec::new();
        self.visit_properties(map, pointer, &mut parts)?;
        self.visit_items(map, pointer, &mut parts)?;
        for keyword in HOLDERS {
            self.visit_map(map, keyword, pointer, |_, _| ())?;
        }
        if let Some(node) = self.graph.nodes.get_mut(id) {
            node.aside = aside;
            node.parts = parts;
        }
        Ok(id)
    }

    /// Refuses what would change the meaning of references below the root, and notes anchors.
    fn identify(&mut self, map: &'s Map<String, Value>, id: usize, pointer: &str) -> Result<(), SchemaFault> {
        let fault = |keyword| Err(SchemaFault::Identifier { place: shown(pointer), keyword });
        if id > 0 && map.contains_key("$id") {
            return fault("$id");
        }
        if let Some(dialect) = Dialect::named(map, pointer)?
            && dialect != self.graph.dialect
        {
            let dialect = shown(&map.get("$schema").map(Value::to_string).unwrap_or_default());
            return Err(SchemaFault::Dialect { place: shown(pointer), dialect });
        }
        if self.graph.dialect == Dialect::Draft202012 {
            for keyword in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = map.get(keyword).and_then(Value::as_str)
                    && self.anchors.insert(name, id).is_some()
                {
                    return fault(keyword);
                }
            }
        }
        Ok(())
    }

    fn visit_aside(
        &mut self,
        map: &'s Map<String, Value>,
        pointer: &str,
        aside: &mut Vec<(Aside, usize)>,
    ) -> Result<(), SchemaFault> {
        for keyword in ASIDE {
            if let Some(schema) = map.get(keyword) {
                aside.push((Aside::Branch, self.visit(schema, &format!("{pointer}/{keyword}"))?));
            }
        }
        if let Some(schema) = map.get("not") {
            aside.push((Aside::Negation, self.visit(schema, &format!("{pointer}/not"))?));
        }
        for keyword in ASIDE_LISTS {
            for (i, schema) in map.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                aside.push((Aside::Branch, self.visit(schema, &format!("{pointer}/{keyword}/{i}"))?));
            }
        }
        for keyword in ASIDE_MAPS {
            self.visit_map(map, keyword, pointer, |_, id| {
                aside.push((Aside::Branch, id));
            })?;
        }
        Ok(())
    }

    fn visit_properties(
        &mut self,
        map: &'s Map<String, Value>,
        pointer: &str,
        parts: &mut Vec<(Part<'s>, usize)>,
    ) -> Result<(), SchemaFault> {
        self.visit_map(map, "properties", pointer, |name, id| {
            parts.push((Part::Property(name), id));
        })?;
        self.visit_map(map, "patternProperties", pointer, |_, id| {
            parts.push((Part::AnyProperty, id));
        })?;
        let own = map.get("properties").and_then(Value::as_object);
        let rest = [
            ("additionalProperties", Part::OtherProperty(own)),
            ("unevaluatedProperties", Part::OtherProperty(own)),
            ("propertyNames", Part::Name),
        ];
        for (keyword, part) in rest {
            if let Some(schema) = map.get(keyword) {
                parts.push((part, self.visit(schema, &format!("{pointer}/{keyword}"))?));
            }
        }
        Ok(())
    }

    fn visit_items(
        &mut self,
        map: &'s Map<String, Value>,
        pointer: &str,
        parts: &mut Vec<(Part<'s>, usize)>,
    ) -> Result<(), SchemaFault> {
        let mut first = 0;
        for keyword in ["prefixItems", "items"] {
            for (i, schema) in map.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                parts.push((Part::Item(i), self.visit(schema, &format!("{pointer}/{keyword}/{i}"))?));
                first = first.max(i + 1);
            }
        }
        for keyword in ["items", "additionalItems"] {
            if let Some(schema) = map.get(keyword).filter(|schema| !schema.is_array()) {
                parts.push((Part::ItemsFrom(first), self.visit(schema, &format!("{pointer}/{keyword}"))?));
            }
        }
        for keyword in ANY_ITEM {
            if let Some(schema) = map.get(keyword) {
                parts.push((Part::ItemsFrom(0), self.visit(schema, &format!("{pointer}/{keyword}"))?));
            }
        }
        Ok(())
    }

    /// Visits the subschemas of a keyword that holds them by name. (`dependencies` may also hold lists of names.)
    fn visit_map(
        &mut self,
        map: &'s Map<String, Value>,
        keyword: &str,
        pointer: &str,
        mut found: impl FnMut(&'s str, usize),
    ) -> Result<(), SchemaFault> {
        for (name, schema) in map.get(keyword).and_then(Value::as_object).into_iter().flatten() {
            if !schema.is_array() {
                found(name, self.visit(schema, &format!("{pointer}/{keyword}/{}", escaped(name)))?);
            }
        }
        Ok(())
    }

    /// Adds an edge for every reference.
    fn connect(&mut self) -> Result<(), SchemaFault> {
        let keywords: &[&str] = match self.graph.dialect {
            Dialect::Draft7 => &["$ref"],
            Dialect::Draft202012 => &["$ref", "$dynamicRef"],
        };
        let Self { graph, places, anchors, .. } = self;
        for node in &mut graph.nodes {
            for keyword in keywords {
                let Some(reference) = node.schema.get(keyword) else {
                    continue;
                };
                let target = reference.as_str().and_then(|reference| target(reference, places, anchors));
                let fault = || SchemaFault::reference(&node.pointer, &reference.to_string());
                node.aside.push((Aside::Reference, target.ok_or_else(fault)?));
            }
        }
        Ok(())
    }
}

/// The subschema that `reference` names: the root, a pointer to a subschema, or an anchor. Nothing else is a reference
/// here: neither an absolute URL, nor a relative one, nor a pointer to something that is no subschema.
fn target(reference: &str, places: &HashMap<String, usize>, anchors: &HashMap<&str, usize>) -> Option<usize> {
    let fragment = reference.strip_prefix('#')?;
    if fragment.is_empty() || fragment.starts_with('/') {
        places.get(percent_decoded(fragment)?.as_ref()).copied()
    } else {
        anchors.get(fragment).copied()
    }
}
