//! Redacts a JSON text in one pass over it. What is not redacted stays as it was written: number text, the order of keys, escapes, spaces.

use std::{borrow::Cow, collections::BTreeSet};

use bailiwick_policy::{How, Obligations, Part, Step, What};
use bailiwick_schemas::json::{self, Limits};
use serde_json::Value;

use super::{
    documents::Documents,
    shapes::{MARK, Shapes},
};

/// How deep JSON texts may be in strings of one another.
const NESTED: usize = 4;
/// How deep one of them may be nested in itself.
const DEPTH: usize = 100;

/// What stands for a text that can't be looked at.
pub(crate) const WITHHELD: &str = "[withheld: a rule redacts parts of it, and it is no JSON in which they could be found]";

/// What is redacted in one part of a call, and how often it was.
#[derive(Debug)]
pub(crate) struct Redactor<'o> {
    pointers: Left<'o>,
    shapes: Shapes,
    documents: Documents,
    /// How often something was masked or left out.
    pub(crate) masked: usize,
    /// How many texts and files were withheld because they can't be looked at.
    pub(crate) withheld: usize,
}

/// It can't be redacted: it is no strict JSON, or too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// What a value is to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A result, an error, or what is said before one.
    Root,
    /// Content: blocks, messages, contents of resources.
    Block,
    /// Where pointers begin.
    Entry,
    /// The same, and a document of the result.
    Structured,
    /// Words, or JSON as a text.
    Text,
    /// A file in base64.
    File,
    /// Anything else.
    Plain,
}

impl Place {
    fn of(self, key: &str) -> Self {
        match (self, key) {
            (Self::Root, "content" | "contents" | "messages") | (Self::Block, "content" | "resource") => Self::Block,
            (Self::Root, "result" | "error") => Self::Root,
            (Self::Root, "message" | "statusMessage") | (Self::Block, "text") => Self::Text,
            (Self::Block, "data" | "blob") => Self::File,
            (Self::Root | Self::Block, "structuredContent") => Self::Structured,
            (Self::Root, "data" | "_meta") | (Self::Block, "_meta") => Self::Entry,
            _ => Self::Plain,
        }
    }
}

/// A pointer, as far as it is not walked yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lead<'o> {
    pub(crate) steps: &'o [Step],
    how: How,
    /// Which of the pointers it is.
    of: usize,
}

impl<'o> Lead<'o> {
    /// With these steps left.
    pub(crate) fn along(self, steps: &'o [Step]) -> Self {
        Self { steps, ..self }
    }
}

/// Pointers, as far as they are not walked yet.
pub(crate) type Left<'o> = Vec<Lead<'o>>;

impl<'o> Redactor<'o> {
    /// For what is demanded of this part; none where nothing is.
    pub(crate) fn of(obligations: &'o Obligations, part: Part) -> Option<Self> {
        let mut pointers = Vec::new();
        let mut shapes = Vec::new();
        for redaction in obligations.of(part) {
            match &redaction.what {
                What::At(pointer) => {
                    pointers.push(Lead { steps: pointer.steps(), how: redaction.how, of: pointers.len() });
                }
                What::Shape(shape) => shapes.push(*shape),
            }
        }
        let is_any = !pointers.is_empty() || !shapes.is_empty();
        is_any.then(|| Self {
            pointers,
            shapes: Shapes::of(shapes.into_iter()),
            documents: Documents::default(),
            masked: 0,
            withheld: 0,
        })
    }

    /// What is named by its place.
    pub(crate) fn pointers(&self) -> &[Lead<'o>] {
        &self.pointers
    }

    /// Whether words, a key or a number would be masked for how they look.
    pub(crate) fn matches(&mut self, words: &str) -> bool {
        self.shapes.is_number(words) || self.of_text(words, false, 0).is_some()
    }

    /// A result, or what is said before one, redacted. It must have been strictly read.
    ///
    /// A pointer is about each document of it. One that lacks what another has tells the same in another form, or nobody knows what it
    /// tells: it is withheld.
    pub(crate) fn result(&mut self, text: &str) -> Result<String, Unreadable> {
        let before = (self.masked, self.withheld);
        self.documents = Documents::default();
        let clean = self.walk(text, Place::Root, 0)?;
        if !self.documents.compare() {
            return Ok(clean);
        }
        (self.masked, self.withheld) = before;
        self.documents.begun = 0;
        self.walk(text, Place::Root, 0)
    }

    /// A JSON text that pointers are about as a whole: arguments, the data of an error.
    pub(crate) fn document(&mut self, text: &str) -> Result<String, Unreadable> {
        self.walk(text, Place::Entry, 0)
    }

    /// Words that come beside JSON.
    pub(crate) fn words(&mut self, words: &str) -> String {
        self.of_text(words, true, 0).unwrap_or_else(|| words.to_owned())
    }

    fn walk(&mut self, text: &str, place: Place, nested: usize) -> Result<String, Unreadable> {
        let mut walk = Walk { text, at: 0, out: String::with_capacity(text.len() + 16), redactor: self, nested };
        walk.space();
        walk.value(place, &Vec::new(), 0)?;
        walk.space();
        if walk.at == text.len() { Ok(walk.out) } else { Err(Unreadable) }
    }

    /// Another text for this one, where it has to be another. `is_document` where pointers are about what is in it.
    fn of_text(&mut self, text: &str, is_document: bool, nested: usize) -> Option<String> {
        let has_pointers = is_document && !self.pointers.is_empty();
        if !has_pointers && self.shapes.is_empty() {
            return None;
        }
        let is_json = match text.trim_start().as_bytes().first() {
            Some(b'{' | b'[') => json::check(text.as_bytes(), Limits { bytes: usize::MAX, depth: DEPTH }).is_ok(),
            Some(b'"') if !has_pointers => serde_json::from_str::<String>(text).is_ok(),
            _ => false,
        };
        if is_json {
            let place = if is_document { Place::Entry } else { Place::Plain };
            let begun = has_pointers.then(|| self.documents.begin());
            let is_lacking = begun.is_some_and(|(_, is_lacking)| is_lacking);
            let clean = if nested < NESTED && !is_lacking { self.walk(text, place, nested + 1).ok() } else { None };
            if let Some((before, _)) = begun {
                self.documents.open = before;
            }
            let clean = clean.unwrap_or_else(|| self.withhold());
            return (clean != text).then_some(clean);
        }
        if has_pointers && !text.is_empty() {
            return (text != WITHHELD).then(|| self.withhold());
        }
        if let Some((clean, count)) = self.shapes.masked(text) {
            self.masked += count;
            return Some(clean);
        }
        // What is nearly JSON can spell its letters.
        if text.contains("\\u00") && self.shapes.masked(&spelled(text)).is_some() {
            self.masked += 1;
            return Some(MARK.to_owned());
        }
        None
    }

    fn withhold(&mut self) -> String {
        self.withheld += 1;
        WITHHELD.to_owned()
    }
}

/// The text with each `\u00xx` as its letter.
fn spelled(text: &str) -> String {
    let mut parts = text.split("\\u00");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let letter = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
        match letter {
            Some(letter) => {
                clean.push(char::from(letter));
                clean.push_str(part.get(2..).unwrap_or_default());
            }
            None => clean.push_str(part),
        }
    }
    clean
}

struct Walk<'w, 'o, 't> {
    text: &'t str,
    at: usize,
    out: String,
    redactor: &'w mut Redactor<'o>,
    nested: usize,
}

impl Walk<'_, '_, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes over so many bytes as they are.
    fn copy(&mut self, end: usize) {
        self.out.push_str(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    fn space(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.copy(self.at + length);
    }

    fn mark(&self, byte: u8) -> Result<(), Unreadable> {
        if self.peek() == Some(byte) { Ok(()) } else { Err(Unreadable) }
    }

    fn end_of_scalar(&self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
        length.map_or(self.text.len(), |length| self.at + length)
    }

    /// Where the value ends that begins here.
    fn end_of_value(&self) -> Result<usize, Unreadable> {
        if !matches!(self.peek(), Some(b'{' | b'[' | b'"')) {
            return Ok(self.end_of_scalar());
        }
        let (mut at, mut depth) = (self.at, 0_usize);
        loop {
            match self.text.as_bytes().get(at).ok_or(Unreadable)? {
                b'"' => at = end_of_string(self.text, at)?,
                b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
                b'}' | b']' => (depth, at) = (depth.checked_sub(1).ok_or(Unreadable)?, at + 1),
                _ => at += 1,
            }
            if depth == 0 {
                return Ok(at);
            }
        }
    }

    fn value(&mut self, place: Place, left: &Left<'_>, depth: usize) -> Result<(), Unreadable> {
        if depth > DEPTH {
            return Err(Unreadable);
        }
        let first = self.peek().ok_or(Unreadable)?;
        let entered: Left<'_>;
        if place == Place::Structured {
            return self.structured(left, depth);
        }
        let (place, left) = match (place, first) {
            (Place::Entry, b'"') => (Place::Text, left),
            (Place::Entry, _) => {
                entered = left.iter().chain(&self.redactor.pointers).copied().collect();
                (Place::Plain, &entered)
            }
            _ => (place, left),
        };
        match first {
            b'{' => self.object(place, left, depth),
            b'[' => self.array(place, left, depth),
            b'"' => self.string(place),
            _ => {
                let end = self.end_of_scalar();
                let number = self.text.get(self.at..end).ok_or(Unreadable)?;
                if number.is_empty() {
                    return Err(Unreadable);
                }
                if self.redactor.shapes.is_number(number) {
                    self.at = end;
                    self.redactor.masked += 1;
                    self.out.push_str("\"[masked:cards]\"");
                } else {
                    self.copy(end);
                }
                Ok(())
            }
        }
    }

    /// Structured content: a text is one already. What is withheld of it leaves an object, as it has to be one.
    fn structured(&mut self, left: &Left<'_>, depth: usize) -> Result<(), Unreadable> {
        if self.redactor.pointers.is_empty() || self.peek() == Some(b'"') {
            return self.value(Place::Entry, left, depth);
        }
        let (before, is_lacking) = self.redactor.documents.begin();
        let walked = if is_lacking {
            self.at = self.end_of_value()?;
            self.redactor.withheld += 1;
            self.out.push_str("{}");
            Ok(())
        } else {
            self.value(Place::Entry, left, depth)
        };
        self.redactor.documents.open = before;
        walked
    }

    fn object(&mut self, place: Place, left: &Left<'_>, depth: usize) -> Result<(), Unreadable> {
        self.copy(self.at + 1);
        let mut is_first = true;
        let mut renamed: BTreeSet<String> = BTreeSet::new();
        loop {
            let chunk = self.out.len();
            if !is_first {
                self.out.push(',');
            }
            self.space();
            if self.peek() == Some(b'}') {
                break;
            }
            let end = end_of_string(self.text, self.at)?;
            let raw = self.text.get(self.at..end).ok_or(Unreadable)?;
            let key = unquoted(raw)?;
            self.at = end;
            match self.redactor.shapes.masked(&key) {
                None => self.out.push_str(raw),
                Some((clean, count)) => {
                    self.redactor.masked += count;
                    self.key(clean, &mut renamed);
                }
            }
            self.space();
            self.mark(b':')?;
            self.copy(self.at + 1);
            self.space();
            // What nobody knows beside a result may be the same once more. What is words there is of the protocol.
            let inner = match place.of(&key) {
                Place::Plain if place == Place::Root && self.peek() != Some(b'"') => Place::Entry,
                inner => inner,
            };
            let (how, rest) =
                self.stepped(left, |step| matches!(step, Step::Each) || matches!(step, Step::Key(wanted) if *wanted == key));
            let stays = self.item(how, inner, &rest, depth)?;
            let is_last = self.next(b'}')?;
            if stays {
                is_first = false;
            } else {
                self.out.truncate(chunk);
            }
            if is_last {
                break;
            }
        }
        self.mark(b'}')?;
        self.copy(self.at + 1);
        Ok(())
    }

    /// What becomes of what this step leads to, and which pointers go on from there.
    fn stepped<'l>(&mut self, left: &Left<'l>, leads: impl Fn(&Step) -> bool) -> (Option<How>, Left<'l>) {
        let (mut how, mut rest) = (None, Vec::new());
        for lead in left {
            match lead.steps.split_first() {
                Some((first, [])) if leads(first) => {
                    how = how.max(Some(lead.how));
                    self.redactor.documents.meets(lead.of);
                }
                Some((first, others)) if leads(first) => rest.push(lead.along(others)),
                _ => {}
            }
        }
        (how, rest)
    }

    /// Writes a key that is masked: no two of one object may be the same.
    fn key(&mut self, clean: String, renamed: &mut BTreeSet<String>) {
        let key = if renamed.contains(&clean) { format!("{clean} {}", renamed.len() + 1) } else { clean };
        self.out.push_str(&Value::from(key.as_str()).to_string());
        renamed.insert(key);
    }

    fn array(&mut self, place: Place, left: &Left<'_>, depth: usize) -> Result<(), Unreadable> {
        self.copy(self.at + 1);
        let mut is_first = true;
        for index in 0_usize.. {
            let chunk = self.out.len();
            if !is_first {
                self.out.push(',');
            }
            self.space();
            if self.peek() == Some(b']') {
                break;
            }
            let number = if left.is_empty() { String::new() } else { index.to_string() };
            let (how, rest) =
                self.stepped(left, |step| matches!(step, Step::Each) || matches!(step, Step::Key(wanted) if *wanted == number));
            let stays = self.item(how, place, &rest, depth)?;
            let is_last = self.next(b']')?;
            if stays {
                is_first = false;
            } else {
                self.out.truncate(chunk);
            }
            if is_last {
                break;
            }
        }
        self.mark(b']')?;
        self.copy(self.at + 1);
        Ok(())
    }

    /// A member's value or an item. Whether anything of it stays.
    fn item(&mut self, how: Option<How>, place: Place, rest: &Left<'_>, depth: usize) -> Result<bool, Unreadable> {
        match how {
            None => self.value(place, rest, depth + 1)?,
            Some(how) => {
                self.at = self.end_of_value()?;
                self.redactor.masked += 1;
                if how == How::Remove {
                    return Ok(false);
                }
                self.out.push('"');
                self.out.push_str(MARK);
                self.out.push('"');
            }
        }
        Ok(true)
    }

    /// Goes on behind a value: whether it was the last.
    fn next(&mut self, close: u8) -> Result<bool, Unreadable> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => Ok(true),
            _ => Err(Unreadable),
        }
    }

    fn string(&mut self, place: Place) -> Result<(), Unreadable> {
        let end = end_of_string(self.text, self.at)?;
        let raw = self.text.get(self.at..end).ok_or(Unreadable)?;
        if place == Place::File && raw.len() > 2 {
            self.redactor.withheld += 1;
            self.at = end;
            self.out.push_str("\"\"");
            return Ok(());
        }
        let words = unquoted(raw)?;
        match self.redactor.of_text(&words, place == Place::Text, self.nested) {
            None => self.copy(end),
            Some(clean) => {
                self.at = end;
                self.out.push_str(&Value::from(clean).to_string());
            }
        }
        Ok(())
    }
}

/// Where the string ends that begins at this place, behind its quote.
fn end_of_string(text: &str, from: usize) -> Result<usize, Unreadable> {
    let bytes = text.as_bytes();
    if bytes.get(from) != Some(&b'"') {
        return Err(Unreadable);
    }
    let mut at = from + 1;
    loop {
        let rest = bytes.get(at..).ok_or(Unreadable)?;
        at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Unreadable)?;
        if bytes.get(at) == Some(&b'"') {
            return Ok(at + 1);
        }
        at += 2;
    }
}

/// What a string says.
fn unquoted(raw: &str) -> Result<Cow<'_, str>, Unreadable> {
    if raw.contains('\\') {
        return serde_json::from_str(raw).map(Cow::Owned).map_err(|_| Unreadable);
    }
    raw.get(1..raw.len().saturating_sub(1)).map(Cow::Borrowed).ok_or(Unreadable)
}

#[cfg(test)]
mod tests;
