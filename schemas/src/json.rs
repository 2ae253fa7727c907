//! One strict reading of JSON, before any other parser sees the bytes.
//!
//! [`check`] accepts exactly RFC 8259 and then refuses what two parsers could read in two ways: duplicate keys
//! (compared decoded), keys containing NUL, lone surrogates, a byte order mark, and the two keys that `serde_json`
//! takes as its own. What it accepts, every parser behind it reads alike.

mod edits;
mod fault;
mod fields;
mod outline;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

pub use self::edits::{Edits, Written, written};
pub use self::fault::JsonFault;
pub use self::fields::fields;
pub use self::outline::{Items, Member, Outline};
use crate::text::shown;

/// Up to so many keys of one object are compared one by one; beyond, through a hash set.
const FEW_KEYS: usize = 16;

/// The longest number, in bytes of its text. Arithmetic on longer ones is a way to burn time, and no tool needs them.
pub const NUMBER_BYTES: usize = 1024;

/// Keys with which `serde_json` marks its own numbers and raw values: in input they would change its meaning.
const RESERVED: &[u8] = b"$serde_json::private::";

/// What one JSON text may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size in bytes.
    pub bytes: usize,
    /// Arrays and objects open at once.
    pub depth: usize,
}

impl Limits {
    /// For one message on the wire: 4 MiB, depth 64.
    pub const MESSAGE: Self = Self { bytes: 4 * 1024 * 1024, depth: 64 };
}

/// Checks `text` in one pass, without recursion and without building it.
pub fn check(text: &[u8], limits: Limits) -> Result<(), JsonFault> {
    outline(text, limits, 0).map(drop)
}

/// Checks `text` as [`check`] does, and notes the members of the outermost object (`levels` 1), of the objects that are their
/// values too (2), and so on.
pub fn outline(text: &[u8], limits: Limits, levels: usize) -> Result<Outline<'_>, JsonFault> {
    if text.len() > limits.bytes {
        return Err(JsonFault::TooLarge { size: text.len(), limit: limits.bytes });
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonFault::NotUtf8 { offset: 0 });
    }
    match std::str::from_utf8(text) {
        Ok(text) => Scan::new(text, limits.depth, levels).document(),
        Err(e) => Err(JsonFault::NotUtf8 { offset: e.valid_up_to() }),
    }
}

/// Checks `text`, then reads it. The one way from bytes to a [`Value`].
pub fn parse(text: &[u8], limits: Limits) -> Result<Value, JsonFault> {
    check(text, limits)?;
    serde_json::from_slice(text).map_err(|e| JsonFault::Syntax { offset: e.column(), expected: "a value of a readable depth" })
}

/// An array or object that is open.
struct Open<'a> {
    is_object: bool,
    /// Where its keys begin in [`Scan::keys`].
    keys_from: usize,
    /// Its keys, once there are more than [`FEW_KEYS`].
    many: Option<HashSet<Cow<'a, [u8]>>>,
    /// The noted member whose value it is, and where it begins.
    member: Option<usize>,
    from: usize,
    /// Whether its own members are noted.
    is_noted: bool,
}

/// What may come next.
enum Next {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    CommaOrClose,
}

struct Scan<'a> {
    whole: &'a str,
    text: &'a [u8],
    at: usize,
    depth: usize,
    open: Vec<Open<'a>>,
    /// The keys of all open objects, one after the other.
    keys: Vec<Cow<'a, [u8]>>,
    /// How many levels of objects are noted.
    levels: usize,
    noted: Vec<Member<'a>>,
    /// The noted member whose value comes next.
    awaited: Option<usize>,
    values: usize,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, depth: usize, levels: usize) -> Self {
        Self {
            whole: text,
            text: text.as_bytes(),
            at: 0,
            depth,
            open: Vec::with_capacity(8),
            keys: Vec::with_capacity(16),
            levels,
            noted: Vec::with_capacity(if levels > 0 { 8 } else { 0 }),
            awaited: None,
            values: 0,
        }
    }

    fn document(mut self) -> Result<Outline<'a>, JsonFault> {
        let mut next = Next::Value;
        loop {
            self.space();
            next = match next {
                Next::ValueOrClose if self.peek() == Some(b']') => self.close(),
                Next::Value | Next::ValueOrClose => self.value()?,
                Next::KeyOrClose if self.peek() == Some(b'}') => self.close(),
                Next::Key | Next::KeyOrClose => self.key()?,
                Next::CommaOrClose => match (self.open.last(), self.peek()) {
                    (None, None) => return Ok(Outline { text: self.whole, members: self.noted, values: self.values }),
                    (None, Some(_)) => return Err(self.expected("the end of the text")),
                    (Some(Open { is_object: true, .. }), Some(b'}')) | (Some(Open { is_object: false, .. }), Some(b']')) => {
                        self.close()
                    }
                    (Some(open), Some(b',')) => {
                        let is_object = open.is_object;
                        self.at += 1;
                        if is_object { Next::Key } else { Next::Value }
                    }
                    _ => return Err(self.expected("a comma or the end of the array or object")),
                },
            };
        }
    }

    fn value(&mut self) -> Result<Next, JsonFault> {
        self.values += 1;
        let (from, member) = (self.at, self.awaited.take());
        self.count_item();
        match self.peek() {
            Some(b'{') => return self.open(true, member),
            Some(b'[') => return self.open(false, member),
            Some(b'"') => {
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            _ => return Err(self.expected("a value")),
        }
        self.note_value(member, from);
        Ok(Next::CommaOrClose)
    }

    /// Counts the value that begins here among the items of a noted array.
    fn count_item(&mut self) {
        let is_object = self.peek() == Some(b'{');
        let array = self.open.last().filter(|open| !open.is_object).and_then(|open| open.member);
        if let Some(member) = array.and_then(|array| self.noted.get_mut(array)) {
            member.items.count += 1;
            member.items.objects += usize::from(is_object);
        }
    }

    /// The value of a noted member ends here.
    fn note_value(&mut self, member: Option<usize>, from: usize) {
        if let Some(member) = member.and_then(|member| self.noted.get_mut(member)) {
            member.value = self.whole.get(from..self.at).unwrap_or_default();
            member.written = self.whole.get(member.at..self.at).unwrap_or_default();
        }
    }

    fn open(&mut self, is_object: bool, member: Option<usize>) -> Result<Next, JsonFault> {
        if self.open.len() >= self.depth {
            return Err(JsonFault::TooDeep { offset: self.at, limit: self.depth });
        }
        // Objects all the way: what is in an array is no member of anything that is noted.
        let is_noted = is_object && self.open.len() < self.levels && (self.open.is_empty() || member.is_some());
        self.open.push(Open { is_object, keys_from: self.keys.len(), many: None, member, from: self.at, is_noted });
        self.at += 1;
        Ok(if is_object { Next::KeyOrClose } else { Next::ValueOrClose })
    }

    fn close(&mut self) -> Next {
        self.at += 1;
        if let Some(open) = self.open.pop() {
            self.keys.truncate(open.keys_from);
            self.note_value(open.member, open.from);
        }
        Next::CommaOrClose
    }

    fn key(&mut self) -> Result<Next, JsonFault> {
        let offset = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        let (from, to, has_escapes) = self.string()?;
        let raw = self.text.get(from..to).unwrap_or_default();
        let key = if has_escapes { Cow::Owned(self.decoded(offset)?) } else { Cow::Borrowed(raw) };
        if key.contains(&0) || key.starts_with(RESERVED) {
            return Err(JsonFault::ForbiddenKey { offset, key: shown(&String::from_utf8_lossy(&key)) });
        }
        self.note_key(key.clone(), offset);
        if let Some(key) = self.remember(key) {
            return Err(JsonFault::DuplicateKey { offset, key: shown(&String::from_utf8_lossy(&key)) });
        }
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.expected("a colon"));
        }
        self.at += 1;
        Ok(Next::Value)
    }

    /// Notes a member, if those of the innermost object are noted.
    fn note_key(&mut self, key: Cow<'a, [u8]>, at: usize) {
        let Some(open) = self.open.last().filter(|open| open.is_noted) else { return };
        // Keys are parts of a text that is UTF-8, or what their valid escapes stand for.
        let key = match key {
            Cow::Borrowed(key) => Cow::Borrowed(std::str::from_utf8(key).unwrap_or_default()),
            Cow::Owned(key) => Cow::Owned(String::from_utf8(key).unwrap_or_default()),
        };
        let (parent, place) = (open.member, self.noted.len());
        self.noted.push(Member { key, written: "", value: "", items: Items::default(), at, parent, place });
        self.awaited = Some(place);
    }

    /// Adds a key to those of the innermost object. Gives it back when it is there already.
    fn remember(&mut self, key: Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
        let open = self.open.last_mut()?;
        if let Some(many) = &mut open.many {
            return if many.contains(&key) {
                Some(key)
            } else {
                many.insert(key);
                None
            };
        }
        let own = self.keys.get(open.keys_from..).unwrap_or_default();
        if own.contains(&key) {
            return Some(key);
        }
        if own.len() >= FEW_KEYS {
            let mut many: HashSet<_> = self.keys.drain(open.keys_from..).collect();
            many.insert(key);
            open.many = Some(many);
        } else {
            self.keys.push(key);
        }
        None
    }

    /// The key whose opening quote is at `offset`, with its escapes resolved. They are valid: `string` was here.
    fn decoded(&self, offset: usize) -> Result<Vec<u8>, JsonFault> {
        let quoted = self.text.get(offset..self.at).unwrap_or_default();
        let key: String =
            serde_json::from_slice(quoted).map_err(|_| JsonFault::Syntax { offset, expected: "a key with valid escapes" })?;
        Ok(key.into_bytes())
    }

    /// Passes a string; says where its content starts and ends, and whether it has escapes.
    fn string(&mut self) -> Result<(usize, usize, bool), JsonFault> {
        self.at += 1;
        let from = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            self.at += plain_run(rest);
            match self.peek() {
                Some(b'"') => {
                    let to = self.at;
                    self.at += 1;
                    return Ok((from, to, has_escapes));
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("control characters to be escaped")),
                None => return Err(self.expected("a closing quote")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonFault> {
        let offset = self.at;
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xDC00..=0xDFFF => Err(JsonFault::LoneSurrogate { offset }),
                0xD800..=0xDBFF => {
                    let paired =
                        self.text.get(self.at..self.at + 2) == Some(br"\u".as_slice()) && matches!(self.unit()?, 0xDC00..=0xDFFF);
                    if paired { Ok(()) } else { Err(JsonFault::LoneSurrogate { offset }) }
                }
                _ => Ok(()),
            },
            _ => Err(self.expected("a valid escape")),
        }
    }

    /// Passes one `\uXXXX` and reads it.
    fn unit(&mut self) -> Result<u32, JsonFault> {
        let digits = self.text.get(self.at + 2..self.at + 6).unwrap_or_default();
        if digits.len() != 4 {
            return Err(self.expected("four hexadecimal digits"));
        }
        let mut unit = 0;
        for &digit in digits {
            let Some(digit) = char::from(digit).to_digit(16) else {
                return Err(self.expected("four hexadecimal digits"));
            };
            unit = unit * 16 + digit;
        }
        self.at += 6;
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), JsonFault> {
        let offset = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.at - offset > NUMBER_BYTES {
            return Err(JsonFault::LongNumber { offset });
        }
        Ok(())
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Result<(), JsonFault> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), JsonFault> {
        if self.text.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.expected("`true`, `false` or `null`"));
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> JsonFault {
        JsonFault::Syntax { offset: self.at, expected }
    }
}

/// How many bytes stand before the first that ends a string or needs a look. Most strings are short; in long ones the end is searched
/// for first, and what stands before it is looked through in blocks, which the compiler makes vector instructions of.
fn plain_run(text: &[u8]) -> usize {
    const NEAR: usize = 32;
    const BLOCK: usize = 128;
    let near = text.get(..NEAR).unwrap_or(text);
    if let Some(at) = near.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20) {
        return at;
    }
    let rest = text.get(near.len()..).unwrap_or_default();
    let before = rest.get(..memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len())).unwrap_or_default();
    let is_clean = |block: &&[u8]| block.iter().fold(0, |found, &byte| found | u8::from(byte < 0x20)) == 0;
    let clean = before.chunks(BLOCK).take_while(is_clean).map(<[u8]>::len).sum::<usize>();
    let tail = before.get(clean..).unwrap_or_default();
    near.len() + clean + tail.iter().position(|&byte| byte < 0x20).unwrap_or(tail.len())
}
