//! `key=value` and `key:=json`, and the types that a tool's schema gives them.

use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::cli::{fault::CliFault, screen::shown};

/// One argument as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    key: String,
    value: String,
    is_json: bool,
}

/// Arguments as they are sent: the text of each value is kept.
pub(super) type Typed = Vec<(String, Box<RawValue>)>;

/// Reads what was typed.
pub(super) fn parse(typed: &[String]) -> Result<Vec<Given>, CliFault> {
    let mut given: Vec<Given> = Vec::new();
    for text in typed {
        let help = "write `key=value`, or `key:=json` for a value as it is, such as `ids:='[1, 2]'`";
        let Some((key, value)) = text.split_once('=') else {
            return Err(CliFault::usage(format!("`{}` is no argument", shown(text)), help));
        };
        let (key, is_json) = key.strip_suffix(':').map_or((key, false), |key| (key, true));
        if key.is_empty() {
            return Err(CliFault::usage(format!("`{}` has no key", shown(text)), help));
        }
        if given.iter().any(|other| other.key == key) {
            return Err(CliFault::usage(
                format!("`{}` is given twice", shown(key)),
                "give each argument once; a list is written as JSON: `key:='[…]'`",
            ));
        }
        given.push(Given { key: key.to_owned(), value: value.to_owned(), is_json });
    }
    Ok(given)
}

impl Given {
    /// Gives each the type that the schema says; without a schema, text.
    pub(super) fn typed(given: &[Self], schema: Option<&Value>) -> Result<Typed, CliFault> {
        given.iter().map(|given| Ok((given.key.clone(), given.value_for(schema)?))).collect()
    }

    fn value_for(&self, schema: Option<&Value>) -> Result<Box<RawValue>, CliFault> {
        let key = shown(&self.key);
        if self.is_json {
            return json(&self.value).ok_or_else(|| {
                CliFault::usage(
                    format!("the value of `{key}` is no JSON: `{}`", shown(&self.value)),
                    format!("write `{key}={}` for a text", shown(&self.value)),
                )
            });
        }
        let property = schema.and_then(|schema| schema.get("properties")).and_then(|properties| properties.get(&self.key));
        let types = property.map(types_of).unwrap_or_default();
        if types.is_empty() || types.contains(&"string") {
            return text(&self.value);
        }
        // What the schema wants is read as JSON; whether it is within the schema's bounds is for the gateway to say.
        json(&self.value).filter(|value| types.iter().any(|name| is_of(value.get(), name))).ok_or_else(|| {
            CliFault::usage(
                format!("`{key}` takes {}, and `{}` is none", types.join(" or "), shown(&self.value)),
                format!("to send the text all the same: `{key}:='{}'`", Value::from(shown(&self.value))),
            )
        })
    }
}

fn text(value: &str) -> Result<Box<RawValue>, CliFault> {
    to_raw_value(value).map_err(|why| CliFault::refused(&why.to_string(), None))
}

fn json(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str(text).ok()
}

/// The types that a property may have, as far as it says so itself or in plain alternatives.
fn types_of(property: &Value) -> Vec<&str> {
    let mut types: Vec<&str> = match property.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for alternatives in ["anyOf", "oneOf"] {
        let alternatives = property.get(alternatives).and_then(Value::as_array);
        types.extend(alternatives.into_iter().flatten().flat_map(types_of));
    }
    for value in property.get("enum").and_then(Value::as_array).into_iter().flatten().chain(property.get("const")) {
        types.extend(type_of(value));
    }
    types
}

fn type_of(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// Whether this JSON text is of this type of JSON Schema, by its first character.
fn is_of(json: &str, name: &str) -> bool {
    match json.trim_start().as_bytes().first() {
        Some(b'"') => name == "string",
        Some(b'{') => name == "object",
        Some(b'[') => name == "array",
        Some(b't' | b'f') => name == "boolean",
        Some(b'n') => name == "null",
        Some(_) => matches!(name, "number" | "integer"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use serde_json::json;

    use super::*;

    fn typed(text: &str, schema: &Value) -> Result<String, CliFault> {
        let given = parse(&[text.to_owned()])?;
        let schema = json!({"properties": {"k": schema}});
        Ok(Given::typed(&given, Some(&schema))?.first().unwrap().1.get().to_owned())
    }

    #[test]
    fn values_are_typed_by_the_schema() {
        for (text, schema, sent) in [
            ("k=17", json!({"type": "string"}), "\"17\""),
            ("k=17", json!({"type": "integer"}), "17"),
            ("k=12345678901234567890123", json!({"type": "integer"}), "12345678901234567890123"),
            ("k=1e400", json!({"type": "number"}), "1e400"),
            ("k=true", json!({"type": "boolean"}), "true"),
            ("k=true", json!({"type": ["boolean", "string"]}), "\"true\""),
            ("k=null", json!({"type": ["integer", "null"]}), "null"),
            ("k=[1, 2]", json!({"type": "array"}), "[1, 2]"),
            ("k=5", json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), "5"),
            ("k=a", json!({"enum": ["a", "b"]}), "\"a\""),
            ("k=x", json!({}), "\"x\""),
            ("k=a=b", json!({"type": "string"}), "\"a=b\""),
            ("k=", json!({"type": "string"}), "\"\""),
            ("k:=17", json!({"type": "string"}), "17"),
            ("k:={\"a\":1,\"a\":2}", json!({"type": "string"}), "{\"a\":1,\"a\":2}"),
        ] {
            assert_eq!(typed(text, &schema).ok().as_deref(), Some(sent), "{text} {schema}");
        }
    }

    #[test]
    fn what_fits_no_type_is_a_usage_error() {
        for (text, schema) in [
            ("k=abc", json!({"type": "integer"})),
            ("k=\"1\"", json!({"type": "integer"})),
            ("k=1", json!({"type": "boolean"})),
            ("k:=abc", json!({})),
            ("k:=1 2", json!({})),
            ("=1", json!({})),
            (":=1", json!({})),
            ("k", json!({})),
        ] {
            assert!(matches!(typed(text, &schema), Err(CliFault::Usage { .. })), "{text}");
        }
        assert!(parse(&["a=1".to_owned(), "a:=2".to_owned()]).is_err());
    }

    #[test]
    fn without_a_schema_everything_is_text() {
        let given = parse(&["a=1".to_owned(), "b:=1".to_owned()]).unwrap();
        let sent = Given::typed(&given, None).unwrap();
        assert_eq!(sent.iter().map(|(key, value)| format!("{key} {}", value.get())).collect::<Vec<_>>(), ["a \"1\"", "b 1"]);
    }
}
