//! The JSON schema of the configuration, generated from [`crate::raw`]. What editors are given is also what
//! [`crate::shape`] judges by: one truth about which keys there are.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::raw::Raw;

/// The JSON schema (2020-12) of `config.toml`.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Raw>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: a key that may be left out is no key that may be null.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(other) = only_alternative(object) {
                object.remove("anyOf");
                // What is said beside it (the description of the key) stands above what it says of itself.
                for (key, value) in other {
                    object.entry(key).or_insert(value);
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// The one alternative to null, where there is one.
fn only_alternative(object: &Map<String, Value>) -> Option<Map<String, Value>> {
    let alternatives = object.get("anyOf")?.as_array()?;
    let mut others = alternatives.iter().filter(|one| one.get("type").is_none_or(|name| name != "null"));
    match (others.next(), others.next()) {
        (Some(Value::Object(only)), None) => Some(only.clone()),
        _ => None,
    }
}

/// A schema, as something that says what a value should look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'s>(&'s Value);

impl<'s> Shape<'s> {
    pub(crate) fn new(schema: &'s Value) -> Self {
        Self(schema)
    }

    /// The shape of what a key holds.
    pub(crate) fn of_key(self, key: &str) -> Option<Self> {
        let properties = self.0.get("properties").and_then(|properties| properties.get(key));
        properties.or_else(|| self.0.get("additionalProperties").filter(|shape| shape.is_object())).map(Shape)
    }

    /// The shape of what some keys, each under the one before, hold.
    pub(crate) fn at<'k>(self, keys: impl IntoIterator<Item = &'k str>) -> Option<Self> {
        keys.into_iter().try_fold(self, Self::of_key)
    }

    /// The shape of an item of a list.
    pub(crate) fn of_items(self) -> Option<Self> {
        self.0.get("items").map(Shape)
    }

    /// The keys that are known by name.
    pub(crate) fn keys(self) -> impl Iterator<Item = &'s str> {
        self.0.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// The keys that have to be there.
    pub(crate) fn required(self) -> impl Iterator<Item = &'s str> {
        self.texts("required")
    }

    /// The words it takes, if it takes only some.
    pub(crate) fn words(self) -> Vec<&'s str> {
        self.texts("enum").collect()
    }

    /// Its JSON type; nothing if any will do.
    pub(crate) fn type_name(self) -> Option<&'s str> {
        self.0.get("type").and_then(Value::as_str)
    }

    /// Its format, if it is a text of one.
    pub(crate) fn format(self) -> Option<&'s str> {
        self.0.get("format").and_then(Value::as_str)
    }

    /// A number that it says of itself, such as `minimum`.
    pub(crate) fn number(self, keyword: &str) -> Option<f64> {
        self.0.get(keyword).and_then(Value::as_f64)
    }

    /// What it is when nobody says.
    pub(crate) fn default_value(self) -> Option<&'s Value> {
        self.0.get("default")
    }

    pub(crate) fn is_text(self) -> bool {
        self.type_name() == Some("string")
    }

    pub(crate) fn is_table(self) -> bool {
        self.type_name() == Some("object")
    }

    fn texts(self, keyword: &str) -> impl Iterator<Item = &'s str> {
        self.0.get(keyword).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}
