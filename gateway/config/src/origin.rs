//! What is in force, value by value, and where each comes from.

use serde::Serialize;
use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table};

use crate::{
    checked::Config,
    source::{KeyPath, line_and_column},
};

/// One value that is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its key, such as `server.listen` or `connectors[1].tools.get.kind`.
    pub key: String,
    /// What it is set to.
    pub value: Value,
    /// Who says so.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody says anything: it is as it is without being set.
    Default,
    /// The file, on this line, counted from 1.
    File {
        /// The line.
        line: usize,
    },
    /// A variable of the environment, by name.
    Variable(String),
}

impl Config {
    /// Every value that is in force, in the order of the sections. Entries of lists such as `connectors` show their defaults too.
    pub fn settings(&self) -> Vec<Setting> {
        let mut found = Vec::new();
        self.collect(&KeyPath::default(), &self.effective, &mut found);
        found
    }

    /// What is in force, as a file that says the same: with every default, and what variables set. Relative paths are as written.
    pub fn to_toml(&self) -> String {
        let mut document = DocumentMut::new();
        for (key, value) in self.effective.as_object().into_iter().flatten() {
            let item = match value {
                Value::Object(section) => Item::Table(section_of(section)),
                Value::Array(entries) if entries.is_empty() => continue,
                Value::Array(entries) => {
                    let tables = entries.iter().filter_map(Value::as_object).map(section_of);
                    Item::ArrayOfTables(tables.collect::<ArrayOfTables>())
                }
                other => value_of(other).map_or(Item::None, Item::Value),
            };
            document.insert(key, item);
        }
        document.to_string()
    }

    /// Where the agent, connector or grant (`list`) of this id is written: its line, counted from 1.
    pub fn line_of(&self, list: &str, id: &str) -> Option<usize> {
        let entries = self.effective.get(list)?.as_array()?;
        let at = entries.iter().position(|entry| entry.get("id").and_then(Value::as_str) == Some(id))?;
        self.line(&KeyPath::default().key(list).item(at).key("id"))
    }

    /// Where a key of a section is set: the line, or the variable.
    pub fn origin_of(&self, section: &str, key: &str) -> Origin {
        self.origin(&KeyPath::default().key(section).key(key))
    }

    fn collect(&self, path: &KeyPath, value: &Value, found: &mut Vec<Setting>) {
        match value {
            Value::Object(table) if !table.is_empty() || path.steps().is_empty() => {
                table.iter().for_each(|(key, value)| self.collect(&path.key(key), value, found));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                items.iter().enumerate().for_each(|(at, value)| self.collect(&path.item(at), value, found));
            }
            _ => found.push(Setting { key: path.to_string(), value: value.clone(), origin: self.origin(path) }),
        }
    }

    fn origin(&self, path: &KeyPath) -> Origin {
        if let Some(variable) = self.variables.covering(path) {
            return Origin::Variable(variable.to_owned());
        }
        self.line(path).map_or(Origin::Default, |line| Origin::File { line })
    }

    fn line(&self, path: &KeyPath) -> Option<usize> {
        let start = self.source.written(path)?.start;
        Some(line_and_column(self.source.named().inner(), start).0)
    }
}

/// What the layers come to, with the defaults of list entries, without what is not set.
pub(crate) fn effective(raw: &impl Serialize) -> Value {
    let mut tree = serde_json::to_value(raw).unwrap_or_default();
    without_null(&mut tree);
    tree
}

fn without_null(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// A section, or an entry of a list: each key on a line of its own. A table of named tables (`tools`, `args`) has a line for each.
fn section_of(table: &Map<String, Value>) -> Table {
    let mut out = Table::new();
    for (key, value) in table {
        match value {
            Value::Object(named) if named.is_empty() => {}
            Value::Object(named) if named.values().all(Value::is_object) => {
                let mut dotted = Table::new();
                dotted.set_dotted(true);
                for (name, value) in named {
                    put(&mut dotted, name, value);
                }
                out.insert(key, Item::Table(dotted));
            }
            value => put(&mut out, key, value),
        }
    }
    out
}

fn put(table: &mut Table, key: &str, value: &Value) {
    if let Some(value) = value_of(value) {
        table.insert_formatted(&Key::new(key), Item::Value(value));
    }
}

/// TOML has no null, and no number beyond 64 bits: neither gets through the checks.
fn value_of(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(yes) => (*yes).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => toml_edit::Value::Array(items.iter().filter_map(value_of).collect::<Array>()),
        Value::Object(table) => {
            let pairs = table.iter().filter_map(|(key, value)| Some((key.as_str(), value_of(value)?)));
            toml_edit::Value::InlineTable(pairs.collect::<InlineTable>())
        }
    })
}
