//! The file as text, and where in it each key stands.

use std::{fmt, ops::Range, sync::Arc};

use miette::NamedSource;
use toml_edit::{ImDocument, Item, Table, TableLike, TomlError, Value};

/// One step down into the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, counted from 0.
    Item(usize),
}

/// The way from the root of the configuration to one value, such as `connectors[1].tools.get.kind`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The path to a key under this one.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The path to an item under this one.
    pub(crate) fn item(&self, index: usize) -> Self {
        self.then(Step::Item(index))
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The steps, from the root.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether `other` is this path or leads to it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The last key on the way.
    pub(crate) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Item(_) => None,
        })
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if at == 0 { "" } else { "." };
                    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
                    if is_bare {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What of a key a fault points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The key itself.
    Key,
    /// What it is set to.
    Value,
}

/// A configuration file: its text, and its parsed document that knows where each part of it was.
#[derive(Clone)]
pub(crate) struct Source {
    text: Arc<NamedSource<String>>,
    document: Arc<ImDocument<String>>,
}

impl Source {
    /// Reads the text as TOML. In both cases the text is given back for faults to point into.
    pub(crate) fn parse(name: &str, text: String) -> Result<Self, (Arc<NamedSource<String>>, TomlError)> {
        let named = Arc::new(NamedSource::new(name, text.clone()).with_language("TOML"));
        match ImDocument::parse(text) {
            Ok(document) => Ok(Self { text: named, document: Arc::new(document) }),
            Err(error) => Err((named, error)),
        }
    }

    /// The text with its name.
    pub(crate) fn named(&self) -> &Arc<NamedSource<String>> {
        &self.text
    }

    /// Where `path` is written, or the nearest part of the way to it that is.
    pub(crate) fn span(&self, path: &KeyPath, part: Part) -> Range<usize> {
        let mut node = Node::Table(self.document.as_table());
        let mut found = None;
        for (at, step) in path.steps().iter().enumerate() {
            let Some((key, next)) = node.step(step) else {
                break;
            };
            let is_last = at + 1 == path.steps().len();
            let value = next.span();
            found = if is_last && part == Part::Value { value.or(key) } else { key.or(value) }.or(found);
            node = next;
        }
        self.first_line_of(found.unwrap_or(0..0))
    }

    /// Where exactly `path` is written, its key where it has one; nothing if it isn't.
    pub(crate) fn written(&self, path: &KeyPath) -> Option<Range<usize>> {
        let mut node = Node::Table(self.document.as_table());
        let mut found = None;
        for step in path.steps() {
            let (key, next) = node.step(step)?;
            found = key.or_else(|| next.span());
            node = next;
        }
        found
    }

    /// A span that covers many lines is shown by its first.
    fn first_line_of(&self, span: Range<usize>) -> Range<usize> {
        let covered = self.text.inner().get(span.clone()).unwrap_or_default();
        let length = covered.find(['\r', '\n']).unwrap_or(covered.len());
        span.start..span.start + length
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.text.name()).finish_non_exhaustive()
    }
}

/// A part of the document.
#[derive(Clone, Copy)]
enum Node<'d> {
    Table(&'d Table),
    Item(&'d Item),
    Value(&'d Value),
}

impl<'d> Node<'d> {
    /// What is one step below, and where its key stands.
    fn step(self, step: &Step) -> Option<(Option<Range<usize>>, Node<'d>)> {
        match step {
            Step::Key(key) => {
                let (key, item) = self.table()?.get_key_value(key)?;
                Some((key.span(), Node::Item(item)))
            }
            Step::Item(index) => Some((None, self.item(*index)?)),
        }
    }

    fn table(self) -> Option<&'d dyn TableLike> {
        match self {
            Self::Table(table) => Some(table),
            Self::Item(item) => item.as_table_like(),
            Self::Value(value) => value.as_inline_table().map(|table| table as &dyn TableLike),
        }
    }

    fn item(self, index: usize) -> Option<Node<'d>> {
        match self {
            Self::Item(Item::ArrayOfTables(tables)) => tables.get(index).map(Node::Table),
            Self::Item(Item::Value(Value::Array(items))) | Self::Value(Value::Array(items)) => items.get(index).map(Node::Value),
            _ => None,
        }
    }

    fn span(self) -> Option<Range<usize>> {
        match self {
            Self::Table(table) => table.span(),
            Self::Item(item) => item.span(),
            Self::Value(value) => value.span(),
        }
    }
}

/// Line and column of a byte, both counted from 1; the column in characters.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail by panicking")]

    use super::{KeyPath, Part, Source, line_and_column};

    const TEXT: &str = r#"top = 1
[server]
listen = "x"

[[connectors]]
id = "a"

[[connectors]]
id = "b"
tools.get = { kind = "read", labels = ["one", "two"] }
tools.put.kind = "write"
[connectors.env]
"A B" = "c"
[connectors.tools.del]
kind = "write"
args = [
  1,
]
"#;

    fn shown(path: &KeyPath, part: Part) -> String {
        TEXT[Source::parse("t", TEXT.into()).unwrap().span(path, part)].to_owned()
    }

    #[test]
    fn every_way_of_writing_a_key_is_found() {
        let connector = KeyPath::default().key("connectors").item(1);
        let tools = connector.key("tools");
        for (path, key, value) in [
            (KeyPath::default().key("top"), "top", "1"),
            (KeyPath::default().key("server").key("listen"), "listen", "\"x\""),
            (connector.key("id"), "id", "\"b\""),
            (tools.key("get").key("kind"), "kind", "\"read\""),
            (tools.key("put").key("kind"), "kind", "\"write\""),
            (connector.key("env").key("A B"), "\"A B\"", "\"c\""),
            (tools.key("del").key("kind"), "kind", "\"write\""),
            (tools.key("del").key("args"), "args", "["),
        ] {
            assert_eq!((shown(&path, Part::Key).as_str(), shown(&path, Part::Value).as_str()), (key, value), "{path}");
        }
        assert_eq!(shown(&tools.key("get").key("labels").item(1), Part::Value), "\"two\"");
    }

    #[test]
    fn what_is_missing_is_shown_where_it_should_be() {
        let connector = KeyPath::default().key("connectors").item(1);
        assert_eq!(shown(&connector.key("command"), Part::Key), "[[connectors]]");
        let span = Source::parse("t", TEXT.into()).unwrap().span(&connector.key("command"), Part::Key);
        assert_eq!(line_and_column(TEXT, span.start), (8, 1));
        assert_eq!(shown(&connector.key("tools").key("get").key("band"), Part::Key), "get");
        assert_eq!(shown(&KeyPath::default().key("grants"), Part::Key), "");
    }

    #[test]
    fn a_path_is_shown_as_it_would_be_written() {
        let path = KeyPath::default().key("grants").item(0).key("args").key("a__b").key("/x");
        assert_eq!(path.to_string(), "grants[0].args.a__b.\"/x\"");
        assert!(path.is_within(&KeyPath::default().key("grants")));
        assert_eq!(path.item(3).last_key(), Some("/x"));
    }
}
