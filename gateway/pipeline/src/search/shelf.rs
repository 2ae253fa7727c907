//! The words of one connector's tools, taken apart once when the connector is compiled: as long as its tools stay what they are, every
//! world has the same.

use std::{collections::BTreeMap, ops::Range};

use bailiwick_schemas::{
    json,
    names::{QualifiedName, ToolName},
};
use serde_json::{Value, value::RawValue};

use super::words::{Word, words_of};
use crate::catalogue::Tool;

/// So many characters of a title, and of a description as one line.
const TITLE_CHARS: usize = 100;
const SUMMARY_CHARS: usize = 200;
/// So many bytes of a description are looked into, and so many argument names, down to so many levels.
const DESCRIPTION_BYTES: usize = 8 * 1024;
const ARGUMENTS: usize = 256;

/// What a word counts by where it stands. However often it stands there, it counts once, and in a description twice: whoever writes a
/// definition can't put it first by saying one thing over and over.
const IN_NAME: u16 = 6;
const IN_TITLE: u16 = 3;
const OF_CONNECTOR: u16 = 2;
const IN_DESCRIPTION: u16 = 1;
const IN_DESCRIPTION_AT_MOST: u16 = 2;
const OF_ARGUMENT: u16 = 1;

/// The words of one connector's tools.
#[derive(Debug, Default)]
pub(crate) struct ShelfWords {
    /// Every word, sorted, so that those which begin alike stand together. The number of a word is its place.
    vocabulary: Box<[Box<str>]>,
    /// The tools, sorted by name.
    tools: Box<[ToolWords]>,
}

/// What is known of one tool.
#[derive(Debug)]
pub(crate) struct ToolWords {
    name: ToolName,
    /// Its title, if it has one.
    pub(super) title: Option<Box<str>>,
    /// Its description as one line, cut.
    pub(super) summary: Box<str>,
    /// Its words by number, and what each counts.
    words: Box<[(u32, u16)]>,
    /// What all of them count together.
    pub(super) length: u32,
}

/// Where a word of a query stands in a vocabulary: itself, and all that begin with it.
#[derive(Debug, Clone)]
pub(super) struct Sought {
    exact: Option<u32>,
    beginning: Range<u32>,
}

impl ShelfWords {
    /// The words of these tools, which are of one connector.
    pub(crate) fn of<'t>(tools: impl Iterator<Item = &'t Tool>) -> Self {
        let mut read: Vec<(ToolName, Read)> =
            tools.filter_map(|tool| Some((tool.name.tool()?.clone(), Read::of(tool)))).collect();
        read.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut numbers: BTreeMap<Box<str>, u32> =
            read.iter().flat_map(|(_, read)| read.words.keys()).map(|word| (word.as_str().into(), 0)).collect();
        numbers.values_mut().zip(0..).for_each(|(number, place)| *number = place);
        let tools = read.into_iter().map(|(name, read)| ToolWords {
            name,
            title: read.title,
            summary: read.summary,
            length: read.words.values().map(|counts| u32::from(*counts)).sum(),
            // Both are sorted by the words themselves.
            words: read.words.iter().filter_map(|(word, counts)| Some((*numbers.get(word.as_str())?, *counts))).collect(),
        });
        Self { tools: tools.collect(), vocabulary: numbers.into_keys().collect() }
    }

    /// Where this tool stands.
    pub(super) fn place(&self, name: &QualifiedName) -> Option<usize> {
        self.tools.binary_search_by(|tool| Some(&tool.name).cmp(&name.tool())).ok()
    }

    /// The tool at this place.
    pub(super) fn tool(&self, place: usize) -> Option<&ToolWords> {
        self.tools.get(place)
    }

    /// Where a word stands. What it costs says nothing about which words there are.
    pub(super) fn sought(&self, word: &Word, shortest: usize) -> Sought {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let exact = self.vocabulary.binary_search_by(|known| known.as_ref().cmp(&word.stem)).ok().map(number);
        let from = self.vocabulary.partition_point(|known| known.as_ref() < word.raw.as_str());
        let to = self.vocabulary.partition_point(|known| known.as_ref() < word.raw.as_str() || known.starts_with(&word.raw));
        let beginning = if word.raw.chars().count() < shortest { 0..0 } else { number(from)..number(to) };
        Sought { exact, beginning }
    }
}

impl ToolWords {
    /// What a word counts here: itself, and of those that begin with it the one that counts most.
    pub(super) fn counts(&self, sought: &Sought) -> (u16, u16) {
        let own = |number: u32| {
            let place = self.words.binary_search_by_key(&number, |(word, _)| *word).ok()?;
            self.words.get(place).map(|(_, counts)| *counts)
        };
        let from = self.words.partition_point(|(word, _)| *word < sought.beginning.start);
        let begins = self.words.iter().skip(from).take_while(|(word, _)| *word < sought.beginning.end);
        let beginning = begins.filter(|(word, _)| Some(*word) != sought.exact).map(|(_, counts)| *counts).max();
        (sought.exact.and_then(own).unwrap_or(0), beginning.unwrap_or(0))
    }
}

/// What a definition says, for search.
#[derive(Default)]
struct Read {
    title: Option<Box<str>>,
    summary: Box<str>,
    /// Sorted by the words.
    words: BTreeMap<String, u16>,
}

impl Read {
    fn of(tool: &Tool) -> Self {
        let mut text = String::new();
        tool.listed.write(tool.name.own(), &mut text);
        let fields = json::fields(&text).unwrap_or_default();
        let field = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
        let annotations = field("annotations").and_then(|annotations| json::fields(annotations.get()).ok()).unwrap_or_default();
        let annotated = annotations.iter().find(|(name, _)| name == "title").map(|(_, value)| *value);
        let title = field("title").and_then(string).or_else(|| annotated.and_then(string));
        let description = field("description").and_then(string).unwrap_or_default();
        let mut read = Self {
            title: title.as_deref().map(|title| one_line(title, TITLE_CHARS).into()),
            summary: one_line(&description, SUMMARY_CHARS).into(),
            words: BTreeMap::new(),
        };
        let described = head(&description, DESCRIPTION_BYTES);
        read.count(tool.name.own(), IN_NAME, IN_NAME);
        read.count(tool.name.connector().as_str(), OF_CONNECTOR, OF_CONNECTOR);
        read.count(title.as_deref().unwrap_or_default(), IN_TITLE, IN_TITLE);
        read.count(described, IN_DESCRIPTION, IN_DESCRIPTION_AT_MOST);
        let schema = field("inputSchema").and_then(|schema| serde_json::from_str::<Value>(schema.get()).ok()).unwrap_or_default();
        read.count(&arguments(&schema).join(" "), OF_ARGUMENT, OF_ARGUMENT);
        read
    }

    fn count(&mut self, text: &str, each: u16, at_most: u16) {
        let mut here: BTreeMap<String, u16> = BTreeMap::new();
        for word in words_of(text) {
            let counts = here.entry(word.stem).or_default();
            *counts = at_most.min(*counts + each);
        }
        for (word, counts) in here {
            *self.words.entry(word).or_default() += counts;
        }
    }
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The beginning of a text, of so many bytes at most.
fn head(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// A text as one line of so many characters at most.
fn one_line(text: &str, chars: usize) -> String {
    let mut line = String::new();
    let mut left = chars;
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        let size = word.chars().count() + gap;
        if size > left {
            line.extend(std::iter::repeat_n(' ', gap).chain(word.chars()).take(left.saturating_sub(1)));
            line.push('…');
            return line;
        }
        left -= size;
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(word);
    }
    line
}

/// The names of the arguments that a schema declares, along `properties` and `items`.
fn arguments(schema: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open = vec![schema];
    while let Some(schema) = open.pop() {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if found.len() >= ARGUMENTS {
                return found;
            }
            found.push(name.as_str());
            open.push(property);
        }
        open.extend(schema.get("items"));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_cut_where_it_is_too_long() {
        assert_eq!(one_line("  a\n b\t c ", 10), "a b c");
        assert_eq!(one_line("abc def", 7), "abc def");
        assert_eq!(one_line("abc defg", 7), "abc de…");
        assert_eq!(one_line("abc d", 4), "abc…");
        assert_eq!(one_line("äöüß", 3), "äö…");
        assert_eq!(one_line(&"long ".repeat(100), 200).chars().count(), 200);
        assert_eq!((head("aä", 2), head("aä", 3), head("", 5)), ("a", "aä", ""));
    }

    #[test]
    fn arguments_are_found_at_every_level() {
        let schema =
            json!({"properties": {"a": {"properties": {"b": {}}}, "c": {"items": {"properties": {"d": {}}}}, "e": true}});
        let mut names = arguments(&schema);
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        let many: serde_json::Map<String, Value> = (0..1000).map(|number| (number.to_string(), json!({}))).collect();
        assert_eq!(arguments(&json!({"properties": many})).len(), ARGUMENTS);
    }
}
