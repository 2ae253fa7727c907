//! A TOML file read key by key: what nobody asks for is unknown, and everything that is wrong is told at once, with its line.

use std::{collections::BTreeSet, ops::Range};

use bailiwick_config::nearest;
use serde_json::{Map, Value as Json};
use toml_edit::{ImDocument, Item, TableLike, Value};

/// A file that is read.
#[derive(Debug)]
pub(super) struct Reading<'t> {
    name: &'t str,
    text: &'t str,
    found: Vec<FileFault>,
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFault {
    /// The line, from 1.
    pub(super) line: usize,
    /// The file, line and column, what is wrong, and what to do.
    pub(super) text: String,
}

/// Something in the file, with where it stands.
pub(super) type At<T> = (T, usize);

impl<'t> Reading<'t> {
    /// Of this text.
    pub(super) fn of(name: &'t str, text: &'t str) -> Self {
        Self { name, text, found: Vec::new() }
    }

    /// The document; none where it is no TOML, which is told.
    pub(super) fn document(&mut self) -> Option<ImDocument<String>> {
        match ImDocument::parse(self.text.to_owned()) {
            Ok(document) => Some(document),
            Err(error) => {
                let why = error.message().lines().collect::<Vec<_>>().join("; ");
                self.fault(error.span(), &format!("this is not TOML: {why}"), None);
                None
            }
        }
    }

    /// Notes what is wrong.
    pub(super) fn fault(&mut self, span: Option<Range<usize>>, what: &str, help: Option<&str>) {
        let start = span.map_or(0, |span| span.start);
        let (line, column) = self.place(start);
        self.fault_at(line, column, what, help);
    }

    /// Notes what is wrong at a line and a column.
    pub(super) fn fault_at(&mut self, line: usize, column: usize, what: &str, help: Option<&str>) {
        let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
        self.found.push(FileFault { line, text: format!("{}:{line}:{column}: {what}{help}", self.name) });
    }

    /// The line of this span, from 1.
    pub(super) fn line(&self, span: Option<Range<usize>>) -> usize {
        self.place(span.map_or(0, |span| span.start)).0
    }

    /// Everything that is wrong, from top to bottom.
    pub(super) fn into_faults(mut self) -> Vec<FileFault> {
        self.found.sort_by_key(|fault| fault.line);
        self.found
    }

    fn place(&self, start: usize) -> (usize, usize) {
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before.get(begin..).unwrap_or_default().chars().count() + 1)
    }

    /// A value as JSON text: numbers as they are written, so that nothing is rounded before it is judged.
    pub(super) fn json(&mut self, item: &Item) -> Option<String> {
        if let Some(value) = item.as_value() {
            return self.json_of(value);
        }
        let table = item.as_table_like()?;
        self.json_object(table)
    }

    fn json_object(&mut self, table: &dyn TableLike) -> Option<String> {
        let mut parts = Vec::new();
        for (key, item) in table.iter() {
            parts.push(format!("{}:{}", Json::from(key), self.json(item)?));
        }
        Some(format!("{{{}}}", parts.join(",")))
    }

    fn json_of(&mut self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(Json::from(text.value().as_str()).to_string()),
            Value::Integer(number) => Some(number.value().to_string()),
            Value::Float(number) => {
                let written = value.span().and_then(|span| self.text.get(span)).unwrap_or_default();
                let plain: String = written.trim().trim_start_matches('+').chars().filter(|c| *c != '_').collect();
                if number.value().is_finite() && serde_json::from_str::<serde_json::Number>(&plain).is_ok() {
                    return Some(plain);
                }
                self.fault(
                    value.span(),
                    &format!("`{plain}` is no number of JSON"),
                    Some("write the arguments as a text of JSON"),
                );
                None
            }
            Value::Boolean(truth) => Some(truth.value().to_string()),
            Value::Datetime(_) => {
                self.fault(value.span(), "JSON has no dates", Some("write it in quotes, as the agent would send it"));
                None
            }
            Value::Array(items) => {
                let parts: Option<Vec<String>> = items.iter().map(|item| self.json_of(item)).collect();
                Some(format!("[{}]", parts?.join(",")))
            }
            Value::InlineTable(table) => self.json_object(table),
        }
    }
}

/// The keys of one table, as they are asked for.
pub(super) struct Fields<'d> {
    table: &'d dyn TableLike,
    /// How it is called in faults.
    of: &'static str,
    asked: BTreeSet<&'static str>,
}

impl<'d> Fields<'d> {
    /// Of this table.
    pub(super) fn of(table: &'d dyn TableLike, of: &'static str) -> Self {
        Self { table, of, asked: BTreeSet::new() }
    }

    /// What this key is set to.
    pub(super) fn item(&mut self, key: &'static str) -> Option<&'d Item> {
        self.asked.insert(key);
        self.table.get(key)
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<At<&'d str>> {
        let item = self.item(key)?;
        let line = reading.line(item.span());
        item.as_str().map(|text| (text, line)).or_else(|| wrong(item, key, "a text", reading))
    }

    /// Some texts.
    pub(super) fn texts(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<Vec<String>> {
        let item = self.item(key)?;
        let texts = item.as_array().map(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>());
        texts.flatten().or_else(|| wrong(item, key, "a list of texts", reading))
    }

    /// A number that counts something.
    pub(super) fn count(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<u64> {
        let item = self.item(key)?;
        let count = item.as_integer().and_then(|number| u64::try_from(number).ok());
        count.or_else(|| wrong(item, key, "a number from 0 on", reading))
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<bool> {
        let item = self.item(key)?;
        item.as_bool().or_else(|| wrong(item, key, "`true` or `false`", reading))
    }

    /// A table.
    pub(super) fn table(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<&'d dyn TableLike> {
        let item = self.item(key)?;
        item.as_table_like().or_else(|| wrong(item, key, "a table", reading))
    }

    /// Tables, each with its own span.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        reading: &mut Reading<'_>,
    ) -> Vec<(&'d dyn TableLike, Option<Range<usize>>)> {
        let Some(item) = self.item(key) else { return Vec::new() };
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|table| (table as &dyn TableLike, table.span())).collect();
        }
        let inline = item.as_array().and_then(|all| {
            all.iter().map(|one| Some((one.as_inline_table()? as &dyn TableLike, one.span()))).collect::<Option<Vec<_>>>()
        });
        inline.or_else(|| wrong(item, key, "a list of tables", reading)).unwrap_or_default()
    }

    /// Whatever nobody asked for is unknown.
    pub(super) fn end(self, reading: &mut Reading<'_>) {
        for (key, item) in self.table.iter().filter(|(key, _)| !self.asked.contains(key)) {
            let span = self.table.get_key_value(key).and_then(|(key, _)| key.span()).or_else(|| item.span());
            let help = match nearest(key, self.asked.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known are {}", self.asked.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")),
            };
            reading.fault(span, &format!("unknown key `{key}` in {}", self.of), Some(&help));
        }
    }
}

fn wrong<T>(item: &Item, key: &str, wanted: &str, reading: &mut Reading<'_>) -> Option<T> {
    reading.fault(item.span(), &format!("`{key}` must be {wanted}"), None);
    None
}

/// A JSON object of this text; what is no object is none.
pub(super) fn object(text: &str) -> Option<Map<String, Json>> {
    serde_json::from_str(text).ok()
}
