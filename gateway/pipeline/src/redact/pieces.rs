//! A secret in pieces: in texts that stand beside each other, in a key and its value, or in things said one after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{MARK, Needles};

/// A secret is put together over so many messages.
const MESSAGES: usize = 8;
/// So many keys are remembered of what was said before.
const KEYS: usize = 64;
/// A piece of a deeply encoded secret has at least so many characters.
const PIECE: usize = 4;

/// What a server said before, as far as a secret can have begun in it: the last of it, under each key.
#[derive(Default)]
pub(crate) struct Window {
    by_key: BTreeMap<String, Zeroizing<String>>,
    values: Zeroizing<String>,
    /// The last that had no piece of a secret by itself: read only where what comes after has one.
    unread: VecDeque<Bytes>,
    /// So many more are taken apart, whatever they have: one before them had a piece.
    watched: usize,
}

impl Window {
    /// How much is kept, bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.values.len() + self.by_key.iter().map(|(key, text)| key.len() + text.len()).sum::<usize>()
    }

    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.unread.is_empty()
    }

    /// Whether what is said now need not be taken apart: it has no piece of a secret, nor had what was said before. Then it is kept, as it can
    /// be the rest of one.
    pub(crate) fn lets_pass(&mut self, text: &Bytes, needles: &Needles) -> bool {
        let has_piece = needles.may_be_in(text);
        if has_piece {
            self.watched = MESSAGES;
        } else if let Some(left) = self.watched.checked_sub(1) {
            self.watched = left;
        } else {
            if self.unread.len() >= MESSAGES {
                self.unread.pop_front();
            }
            self.unread.push_back(text.clone());
            return true;
        }
        for text in std::mem::take(&mut self.unread) {
            if let Ok(mut value) = serde_json::from_slice(&text) {
                redact(needles, &mut value, Some(self));
            }
        }
        false
    }
}

/// Strings in a row, and where each of them begins.
#[derive(Default)]
struct Row {
    text: Zeroizing<String>,
    /// Where it begins, and its number; those of a window have none.
    begins: Vec<(usize, usize)>,
}

impl Row {
    fn after(before: Option<&Zeroizing<String>>) -> Self {
        Self { text: before.cloned().unwrap_or_default(), begins: Vec::new() }
    }

    fn add(&mut self, text: &str, number: usize) {
        if !text.is_empty() {
            self.begins.push((self.text.len(), number));
            self.text.push_str(text);
        }
    }

    /// The numbers of those that make up a secret together.
    fn found(&self, needles: &Needles, found: &mut BTreeSet<usize>) -> usize {
        if self.begins.is_empty() || !needles.is_in(self.text.as_bytes()) {
            return 0;
        }
        let direct: Vec<_> = needles.whole().into_iter().flat_map(|whole| whole.find_iter(self.text.as_str())).collect();
        let before = found.len();
        for (at, (begin, number)) in self.begins.iter().enumerate() {
            let end = self.begins.get(at + 1).map_or(self.text.len(), |(next, _)| *next);
            // Where it is encoded once more, nobody can tell which of them it is.
            let is_in = if direct.is_empty() {
                end - begin >= PIECE
            } else {
                direct.iter().any(|hit| hit.start() < end && hit.end() > *begin)
            };
            if is_in {
                found.insert(*number);
            }
        }
        if direct.is_empty() { usize::from(found.len() > before) } else { direct.len() }
    }
}

/// All strings of a value, in three orders in which they can be read.
struct Rows {
    all: Row,
    values: Row,
    by_key: BTreeMap<String, Row>,
    count: usize,
}

impl Rows {
    fn of(value: &Value, before: Option<&Window>) -> Self {
        let by_key = before.into_iter().flat_map(|window| &window.by_key);
        let mut rows = Self {
            all: Row::default(),
            values: Row::after(before.map(|window| &window.values)),
            by_key: by_key.map(|(key, text)| (key.clone(), Row::after(Some(text)))).collect(),
            count: 0,
        };
        rows.read(value, "");
        rows
    }

    fn read(&mut self, value: &Value, key: &str) {
        match value {
            Value::String(text) => self.leaf(text, key),
            Value::Array(items) => items.iter().for_each(|item| self.read(item, key)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    let number = self.next();
                    self.all.add(key, number);
                    self.read(value, key);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn leaf(&mut self, text: &str, key: &str) {
        let number = self.next();
        self.all.add(text, number);
        self.values.add(text, number);
        match self.by_key.get_mut(key) {
            Some(row) => row.add(text, number),
            None => self.by_key.entry(key.to_owned()).or_default().add(text, number),
        }
    }

    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }
}

/// Replaces what makes up a secret together; returns how often one was. What was said before can't be taken back: what completes it is not
/// said.
pub(super) fn redact(needles: &Needles, value: &mut Value, window: Option<&mut Window>) -> usize {
    let rows = Rows::of(value, window.as_deref());
    let (mut numbers, mut seen) = (BTreeSet::new(), 0);
    for row in [&rows.all, &rows.values].into_iter().chain(rows.by_key.values()) {
        seen = row.found(needles, &mut numbers).max(seen);
    }
    if !numbers.is_empty() {
        blank(value, &numbers, &mut 0);
    }
    if let Some(window) = window {
        if seen > 0 {
            // What was completed begins no other one.
            *window = Window { watched: window.watched, ..Window::default() };
            return seen;
        }
        window.values = last(&rows.values.text, needles.longest);
        for (key, row) in &rows.by_key {
            if window.by_key.len() < KEYS || window.by_key.contains_key(key) {
                window.by_key.insert(key.clone(), last(&row.text, needles.longest));
            }
        }
    }
    seen
}

/// Replaces the strings of these numbers. In the order of [`Rows::read`].
fn blank(value: &mut Value, numbers: &BTreeSet<usize>, count: &mut usize) {
    match value {
        Value::String(_) => {
            *count += 1;
            if numbers.contains(count) {
                *value = Value::from(MARK);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| blank(item, numbers, count)),
        Value::Object(fields) => {
            let renamed = std::mem::take(fields).into_iter().map(|(key, mut value)| {
                *count += 1;
                let key = if numbers.contains(count) { MARK.to_owned() } else { key };
                blank(&mut value, numbers, count);
                (key, value)
            });
            *fields = renamed.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The end of a text, this long and no longer.
fn last(text: &str, bytes: usize) -> Zeroizing<String> {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    Zeroizing::new(text.get(from..).unwrap_or_default().to_owned())
}
