//! What is wrong with a bundle, each fault with its place.

use std::fmt;
use std::ops::Range;

/// One policy file of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// How the file is called in messages, such as its path.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// One thing that is wrong with a bundle, or (from [`Policies::warnings`](crate::Policies::warnings)) doubtful about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// Which of the sources given to [`Policies::compile`](crate::Policies::compile) it is in; `None` when it is in none.
    pub source: Option<usize>,
    /// The name of that source.
    pub source_name: String,
    /// The bytes of the source that it is about.
    pub span: Option<Range<usize>>,
    /// Line, from 1; 0 without a span.
    pub line: usize,
    /// Column in characters, from 1; 0 without a span.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl PolicyFault {
    /// A fault in the source with this index.
    pub(crate) fn at(
        index: usize,
        source: Source<'_>,
        span: Option<Range<usize>>,
        what: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        let (line, column) = span.as_ref().map_or((0, 0), |span| line_and_column(source.text, span.start));
        Self { source: Some(index), source_name: source.name.to_owned(), span, line, column, what: what.into(), help }
    }

    /// A fault of the bundle as a whole.
    pub(crate) fn of_bundle(what: impl Into<String>, help: Option<String>) -> Self {
        Self { source: None, source_name: "bundle".to_owned(), span: None, line: 0, column: 0, what: what.into(), help }
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source_name)?;
        if self.span.is_some() {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.what)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyFault {}

/// Line and column, both from 1, of a byte offset.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The known word nearest to a given one, when it is near enough to be a slip of the pen.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (distance(given, word), word))
        .filter(|(far, word)| *far <= word.chars().count().div_ceil(3))
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.chars().enumerate() {
        let mut beside = row + 1;
        let mut current = vec![beside];
        for (to, pair) in right.iter().zip(above.windows(2)) {
            let [diagonal, over] = pair else { continue };
            let swap = diagonal + usize::from(from != *to);
            beside = swap.min(over + 1).min(beside + 1);
            current.push(beside);
        }
        above = current;
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{PolicyFault, Source, distance, nearest};

    #[test]
    fn a_fault_points_at_line_and_column() {
        let source = Source { name: "a.cedar", text: "é1\nü2 x\n" };
        let fault = PolicyFault::at(0, source, Some(8..9), "bad `x`", Some("drop it".into()));
        assert_eq!(fault.to_string(), "a.cedar:2:4: bad `x` (help: drop it)");
        let first = PolicyFault::at(0, source, Some(0..1), "bad", None);
        assert_eq!(first.to_string(), "a.cedar:1:1: bad");
        let whole = PolicyFault::at(0, source, None, "bad", None);
        assert_eq!(whole.to_string(), "a.cedar: bad");
        assert_eq!(PolicyFault::of_bundle("bad", None).to_string(), "bundle: bad");
    }

    #[test]
    fn distances_are_levenshtein_s() {
        for (left, right, far) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("amuont", "amount", 2),
            ("tail", "il", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(left, right), far, "{left} {right}");
        }
    }

    #[test]
    fn only_near_words_are_named() {
        assert_eq!(nearest("amuont", ["id", "amount"]), Some("amount"));
        assert_eq!(nearest("zzzzzz", ["id", "amount"]), None);
        assert_eq!(nearest("abz", ["abc", "abd"]), Some("abc"));
    }
}
