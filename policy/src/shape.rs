//! Where an argument goes: the Cedar type that a JSON Schema maps to, or none.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

/// How deep records may nest, and how many `$ref` may be followed on the way to one argument.
const MAX_DEPTH: usize = 8;
/// How many properties one tool may declare; records beyond that are opaque.
const MAX_PROPERTIES: usize = 512;

/// The place that a value has in Cedar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// An exact 64-bit integer.
    Long,
    /// A number of up to four fractional digits.
    Decimal,
    /// Text, enums included.
    Text,
    /// True or false.
    Flag,
    /// An array of scalars; order and repetition are lost.
    Set(Box<Shape>),
    /// An object with declared properties.
    Record(BTreeMap<String, Field>),
    /// No place: a policy can't read it, and a rule that tries makes the decision a denial.
    Opaque,
}

/// One declared property.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Field {
    /// Its place.
    pub(crate) shape: Shape,
    /// Whether the schema requires it.
    pub(crate) required: bool,
}

impl Shape {
    /// The record of a tool's arguments. Never fails: what can't be mapped is opaque, and a schema
    /// that isn't one of an object gives an empty record.
    pub(crate) fn of_input(schema: &Value) -> BTreeMap<String, Field> {
        let mut reader = Reader { root: schema, properties: 0 };
        match reader.shape(schema, 0) {
            Shape::Record(fields) => fields,
            _ => BTreeMap::new(),
        }
    }

    /// The type in Cedar's JSON schema format; `None` for what has no place.
    pub(crate) fn cedar_type(&self) -> Option<Value> {
        Some(match self {
            Self::Long => json!({ "type": "Long" }),
            Self::Decimal => json!({ "type": "Extension", "name": "decimal" }),
            Self::Text => json!({ "type": "String" }),
            Self::Flag => json!({ "type": "Boolean" }),
            Self::Set(element) => json!({ "type": "Set", "element": element.cedar_type()? }),
            Self::Record(fields) => record_type(fields),
            Self::Opaque => return None,
        })
    }
}

/// The Cedar record type of these fields, without the opaque ones.
pub(crate) fn record_type(fields: &BTreeMap<String, Field>) -> Value {
    let attributes: Map<String, Value> = fields
        .iter()
        .filter_map(|(name, field)| {
            let mut attribute = field.shape.cedar_type()?;
            if let Value::Object(members) = &mut attribute {
                members.insert("required".to_owned(), Value::Bool(field.required));
            }
            Some((name.clone(), attribute))
        })
        .collect();
    json!({ "type": "Record", "attributes": attributes })
}

struct Reader<'a> {
    root: &'a Value,
    properties: usize,
}

impl Reader<'_> {
    fn shape(&mut self, schema: &Value, depth: usize) -> Shape {
        let Value::Object(schema) = schema else {
            return Shape::Opaque;
        };
        if depth > MAX_DEPTH {
            return Shape::Opaque;
        }
        // What `type` says stays true whatever stands beside it: the other keywords only narrow.
        match type_name(schema) {
            Some("integer") => Shape::Long,
            Some("number") => Shape::Decimal,
            Some("string") => Shape::Text,
            Some("boolean") => Shape::Flag,
            Some("array") => self.set(schema, depth),
            Some("object") => self.record(schema, depth),
            Some(_) => Shape::Opaque,
            None => self.elsewhere(schema, depth),
        }
    }

    /// The shape of a schema that leaves its type to another one.
    fn elsewhere(&mut self, schema: &Map<String, Value>, depth: usize) -> Shape {
        if let Some(reference) = schema.get("$ref") {
            let target = reference
                .as_str()
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Shape::Opaque, |target| self.shape(target, depth + 1));
        }
        let branches = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|choice| schema.get(choice).and_then(Value::as_array));
        match branches.map(|branches| real_branches(branches)).as_deref() {
            Some([only]) => self.shape(only, depth + 1),
            _ => Shape::Opaque,
        }
    }

    fn set(&mut self, schema: &Map<String, Value>, depth: usize) -> Shape {
        let element = schema.get("items").map_or(Shape::Opaque, |items| self.shape(items, depth + 1));
        match element {
            Shape::Long | Shape::Decimal | Shape::Text | Shape::Flag => Shape::Set(Box::new(element)),
            Shape::Set(_) | Shape::Record(_) | Shape::Opaque => Shape::Opaque,
        }
    }

    fn record(&mut self, schema: &Map<String, Value>, depth: usize) -> Shape {
        let Some(Value::Object(properties)) = schema.get("properties") else {
            // An object of unknown properties has no place, except that a tool without arguments has an empty record.
            return if depth == 0 { Shape::Record(BTreeMap::new()) } else { Shape::Opaque };
        };
        self.properties += properties.len();
        if self.properties > MAX_PROPERTIES {
            return Shape::Opaque;
        }
        let required: HashSet<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let fields = properties.iter().map(|(name, schema)| {
            let field = Field { shape: self.shape(schema, depth + 1), required: required.contains(name.as_str()) };
            (name.clone(), field)
        });
        Shape::Record(fields.collect())
    }
}

/// The alternatives that aren't `null`: an optional value is what many generators write as `anyOf: [X, null]`.
/// A `null` itself has no place, whatever the schema.
fn real_branches(branches: &[Value]) -> Vec<&Value> {
    branches.iter().filter(|branch| branch.get("type").and_then(Value::as_str) != Some("null")).collect()
}

/// The one JSON type that a schema admits beside `null`, said by `type`, or by the values of `enum` or `const`.
fn type_name(schema: &Map<String, Value>) -> Option<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => return Some(name),
        Some(Value::Array(names)) => {
            let mut beside_null = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            let only = beside_null.next()?;
            return beside_null.next().is_none().then_some(only);
        }
        Some(_) => return None,
        None => {}
    }
    let values = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(values)), _) => values.as_slice(),
        (None, Some(value)) => std::slice::from_ref(value),
        _ if schema.contains_key("properties") => return Some("object"),
        _ => return None,
    };
    let mut types = values.iter().map(|value| match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("boolean"),
        _ => None,
    });
    let first = types.next()??;
    types.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{Field, MAX_DEPTH, MAX_PROPERTIES, Shape, record_type};

    fn only(schema: &Value) -> Shape {
        let root = json!({
            "type": "object",
            "properties": { "it": schema },
            "$defs": {
                "colour": { "enum": ["red", "green"] },
                "loop": { "$ref": "#/$defs/loop" },
            },
        });
        Shape::of_input(&root).remove("it").map_or(Shape::Opaque, |field| field.shape)
    }

    #[test]
    fn json_schema_types_have_their_places() {
        let text = || Box::new(Shape::Text);
        for (schema, shape) in [
            (json!({ "type": "integer" }), Shape::Long),
            (json!({ "type": "number" }), Shape::Decimal),
            (json!({ "type": "string" }), Shape::Text),
            (json!({ "type": "boolean" }), Shape::Flag),
            (json!({ "type": ["string", "null"] }), Shape::Text),
            (json!({ "type": ["string", "integer"] }), Shape::Opaque),
            (json!({ "type": ["null"] }), Shape::Opaque),
            (json!({ "type": 5 }), Shape::Opaque),
            (json!({ "type": "null" }), Shape::Opaque),
            (json!({ "enum": ["a", "b"] }), Shape::Text),
            (json!({ "enum": ["a", true] }), Shape::Opaque),
            (json!({ "enum": [true, false] }), Shape::Flag),
            (json!({ "enum": [1, 2] }), Shape::Opaque),
            (json!({ "enum": [] }), Shape::Opaque),
            (json!({ "const": "a" }), Shape::Text),
            (json!({ "const": {} }), Shape::Opaque),
            (json!({ "anyOf": [{ "type": "null" }, { "type": "integer" }] }), Shape::Long),
            (json!({ "oneOf": [{ "type": "integer" }] }), Shape::Long),
            (json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }), Shape::Opaque),
            (json!({ "anyOf": [{ "type": "null" }] }), Shape::Opaque),
            (json!({ "allOf": [{ "$ref": "#/$defs/colour" }] }), Shape::Text),
            (json!({ "type": "string", "anyOf": [{ "minLength": 1 }, { "pattern": "x" }] }), Shape::Text),
            (json!({ "type": "string", "$ref": "#/$defs/nowhere" }), Shape::Text),
            (json!({ "$ref": "#/$defs/colour" }), Shape::Text),
            (json!({ "$ref": "#/$defs/loop" }), Shape::Opaque),
            (json!({ "$ref": "#/$defs/nowhere" }), Shape::Opaque),
            (json!({ "$ref": "https://example.com/x" }), Shape::Opaque),
            (json!({ "$ref": 5 }), Shape::Opaque),
            (json!({ "type": "array", "items": { "type": "string" } }), Shape::Set(text())),
            (json!({ "type": "array", "items": { "$ref": "#/$defs/colour" } }), Shape::Set(text())),
            (json!({ "type": "array" }), Shape::Opaque),
            (json!({ "type": "array", "items": { "type": "array", "items": { "type": "string" } } }), Shape::Opaque),
            (json!({ "type": "array", "items": { "type": "object", "properties": {} } }), Shape::Opaque),
            (json!({ "type": "object" }), Shape::Opaque),
            (json!({ "type": "object", "properties": {} }), Shape::Record(BTreeMap::new())),
            (json!({ "properties": {} }), Shape::Record(BTreeMap::new())),
            (json!({ "properties": 7 }), Shape::Opaque),
            (json!({}), Shape::Opaque),
            (json!(true), Shape::Opaque),
        ] {
            assert_eq!(only(&schema), shape, "{schema}");
        }
    }

    #[test]
    fn required_is_taken_over_at_every_level() {
        let schema = json!({
            "type": "object",
            "required": ["id", 5],
            "properties": {
                "id": { "type": "string" },
                "to": { "type": "object", "required": ["zip"], "properties": { "zip": { "type": "integer" }, "misc": {} } },
            },
        });
        let leaf = |shape, required| Field { shape, required };
        let to = BTreeMap::from([("misc".to_owned(), leaf(Shape::Opaque, false)), ("zip".to_owned(), leaf(Shape::Long, true))]);
        let fields = Shape::of_input(&schema);
        assert_eq!(
            fields,
            BTreeMap::from([("id".to_owned(), leaf(Shape::Text, true)), ("to".to_owned(), leaf(Shape::Record(to), false)),])
        );
        assert_eq!(
            record_type(&fields),
            json!({ "type": "Record", "attributes": {
                "id": { "type": "String", "required": true },
                "to": { "type": "Record", "required": false, "attributes": {
                    "zip": { "type": "Long", "required": true },
                } },
            } })
        );
    }

    #[test]
    fn what_is_no_object_schema_gives_an_empty_record() {
        for schema in [
            json!(null),
            json!([]),
            json!(true),
            json!("x"),
            json!({ "type": "object" }),
            json!({ "type": "string" }),
            json!({ "properties": 5 }),
            json!({ "$ref": "#" }),
        ] {
            assert_eq!(Shape::of_input(&schema), BTreeMap::new(), "{schema}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut schema = json!({ "type": "string" });
        for _ in 0..MAX_DEPTH {
            schema = json!({ "type": "object", "properties": { "in": schema } });
        }
        let deepest = |schema: &Value| {
            let mut fields = Shape::of_input(schema);
            let mut levels = 0;
            loop {
                match fields.remove("in").map(|field| field.shape) {
                    Some(Shape::Record(inner)) => fields = inner,
                    Some(other) => return (levels, other),
                    None => return (levels, Shape::Opaque),
                }
                levels += 1;
            }
        };
        assert_eq!(deepest(&schema), (MAX_DEPTH - 1, Shape::Text));
        schema = json!({ "type": "object", "properties": { "in": schema } });
        assert_eq!(deepest(&schema), (MAX_DEPTH, Shape::Opaque));

        // A step into an array or an alternative counts as one, too.
        let under = |leaf: Value, levels: usize| {
            deepest(&(0..levels).fold(leaf, |inner, _| json!({ "type": "object", "properties": { "in": inner } }))).1
        };
        let texts = json!({ "type": "array", "items": { "type": "string" } });
        assert_eq!(under(texts.clone(), MAX_DEPTH - 1), Shape::Set(Box::new(Shape::Text)));
        assert_eq!(under(texts, MAX_DEPTH), Shape::Opaque);
        let nested = |levels: usize| (0..levels).fold(json!({ "type": "string" }), |inner, _| json!({ "anyOf": [inner] }));
        assert_eq!(only(&nested(MAX_DEPTH - 1)), Shape::Text);
        assert_eq!(only(&nested(MAX_DEPTH)), Shape::Opaque);

        let wide = |count: usize| {
            let properties: serde_json::Map<_, _> =
                (0..count).map(|index| (format!("p{index}"), json!({ "type": "string" }))).collect();
            Shape::of_input(&json!({ "type": "object", "properties": properties })).len()
        };
        assert_eq!(wide(MAX_PROPERTIES), MAX_PROPERTIES);
        assert_eq!(wide(MAX_PROPERTIES + 1), 0);
        let nested = json!({ "type": "object", "properties": {
            "a": { "type": "object", "properties": (0..MAX_PROPERTIES).map(|i| (format!("p{i}"), json!({}))).collect::<serde_json::Map<_, _>>() },
        } });
        let kept = Shape::of_input(&nested);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept.get("a").map(|field| &field.shape), Some(&Shape::Opaque));
    }
}
