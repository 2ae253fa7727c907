//! Keeps a lent secret out of what comes back: as it is, in the encodings that a server might put it in, one within the other, with other
//! characters between its own, and in pieces that only make it up together. What of it is secret by itself, such as the password in an
//! address, is kept out too.
//!
//! What comes back is looked at in two steps. A quick one goes once over its bytes for a piece of any form (and undoes what long runs of
//! digits, escapes and the like stand for); nearly everything ends there. Only what has such a piece is taken apart.

use std::{fmt, sync::OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use self::{
    decode::{Budget, runs, unescaped, unquoted},
    forms::{Form, forms_of, spelled},
    squeezed::Squeezed,
    within::parts_of,
};
pub(crate) use pieces::Window;

mod decode;
#[cfg(test)]
mod evading;
mod forms;
mod pieces;
mod squeezed;
#[cfg(test)]
mod tests;
mod within;

/// What stands where a secret stood.
const MARK: &str = "[redacted]";

/// The same where bytes stand in base64.
const MARK_64: &str = "W3JlZGFjdGVkXQ==";

/// The shortest secret that can be told from ordinary text, in bytes.
const SHORTEST: usize = 8;

/// The quick step knows a form by pieces of it, so many, of so many bytes: what is cut into no more pieces has one of them whole.
const PIECES: usize = 4;
const PIECE_LEAST: usize = 4;
const PIECE_MOST: usize = 8;

/// So many encodings within each other are undone.
const DEPTH: usize = 4;

/// Why a secret can't be kept out of results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it has {0} bytes, fewer than 8: so short a secret can't be told from ordinary text in a result; use a longer one")]
pub struct NeedleFault(usize);

/// The text without these secrets, in any form that is looked for. Those of fewer than 8 bytes are looked for as they are.
pub fn kept_out(secrets: &[SecretString], text: &str) -> String {
    let (short, long): (Vec<&SecretString>, Vec<&SecretString>) = secrets
        .iter()
        .filter(|secret| !secret.expose_secret().is_empty())
        .partition(|secret| secret.expose_secret().len() < SHORTEST);
    let long: Vec<SecretString> = long.into_iter().cloned().collect();
    let clean = match Needles::of(&long) {
        _ if long.is_empty() => text.to_owned(),
        Ok(needles) => needles.redact(text).0,
        Err(_) => MARK.to_owned(),
    };
    short.iter().fold(clean, |clean, secret| clean.replace(secret.expose_secret(), MARK))
}

/// The forms of one secret to look for.
pub(crate) struct Needles {
    forms: Vec<Form>,
    /// Pieces of each form: the quick step.
    pieces: AhoCorasick,
    /// Each form as a whole; made when there is reason to.
    whole: OnceLock<Option<AhoCorasick>>,
    /// The letters and digits of each form, and of what spells it out.
    squeezed: Squeezed,
    /// So many digits of base64 a secret has at least.
    least_run: usize,
    /// The longest form, bytes.
    longest: usize,
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Needles")
    }
}

impl Needles {
    /// The secret itself, reversed, escaped as in JSON, in hex, percent-encoded, in base32 and base64 at each of its alignments, and in
    /// UTF-16; in upper or lower case, as servers change that, and with whatever between its characters. The same of what of it is secret by
    /// itself.
    pub(crate) fn of(secrets: &[SecretString]) -> Result<Self, NeedleFault> {
        let (mut forms, mut spelled_out, mut shortest) = (Vec::new(), Vec::new(), usize::MAX);
        for secret in secrets {
            let secret = secret.expose_secret();
            if secret.len() < SHORTEST {
                return Err(NeedleFault(secret.len()));
            }
            for part in parts_of(secret).iter().map(|part| part.as_str()).chain([secret]) {
                shortest = shortest.min(part.len());
                forms.extend(forms_of(part));
                spelled_out.extend(spelled(part));
            }
        }
        let squeezed = Squeezed::of(forms.iter().chain(&spelled_out)).ok_or(NeedleFault(forms.len()))?;
        let pieces = automaton(forms.iter().flat_map(|form| pieces_of(form))).ok_or(NeedleFault(forms.len()))?;
        let longest = forms.iter().map(|form| form.len()).max().unwrap_or_default();
        Ok(Self { forms, pieces, whole: OnceLock::new(), squeezed, least_run: shortest.saturating_mul(4) / 3, longest })
    }

    /// Whether any form is in these bytes, in whatever it is written down in.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> bool {
        self.may_be_in(bytes) && self.is_in(bytes)
    }

    /// Whether there is reason to take these bytes apart. Where it says no, no form is in them, whole or in up to four pieces.
    pub(crate) fn may_be_in(&self, bytes: &[u8]) -> bool {
        self.deep(bytes, &|bytes| self.pieces.is_match(bytes), DEPTH, &mut Budget::of(bytes.len()))
    }

    /// Whether a whole form is in these bytes, in whatever it is written down in.
    fn is_in(&self, bytes: &[u8]) -> bool {
        self.deep(bytes, &|bytes| self.has_form(bytes), DEPTH, &mut Budget::of(bytes.len()))
    }

    fn has_form(&self, bytes: &[u8]) -> bool {
        // What can't be looked for counts as found.
        self.whole().is_none_or(|whole| whole.is_match(bytes))
    }

    fn whole(&self) -> Option<&AhoCorasick> {
        self.whole.get_or_init(|| automaton(self.forms.iter().map(|form| form.as_slice()))).as_ref()
    }

    /// Whether `has` says yes to the bytes, or to what they stand for.
    fn deep(&self, bytes: &[u8], has: &dyn Fn(&[u8]) -> bool, depth: usize, budget: &mut Budget) -> bool {
        if has(bytes) {
            return true;
        }
        // What a server sent is text, whatever it begins with.
        let is_binary = depth < DEPTH && is_binary(bytes);
        if !is_binary && self.squeezed.is_in(bytes) {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        // What was made of it is wiped: it may hold the secret.
        let within = |made: Vec<u8>, budget: &mut Budget| {
            let made = Zeroizing::new(made);
            !budget.takes(made.len()) || self.deep(&made, has, depth, budget)
        };
        for run in runs(bytes, self.least_run) {
            if run.as_hex(self.least_run).chain(run.read()).any(|made| within(made, budget)) {
                return true;
            }
        }
        if is_binary {
            return false;
        }
        [unescaped(bytes), unquoted(bytes)].into_iter().flatten().any(|made| within(made, budget))
    }

    /// The text with every form replaced, and how many there were.
    pub(crate) fn redact(&self, text: &str) -> (String, usize) {
        self.redact_with(text, MARK)
    }

    fn redact_with(&self, text: &str, mark: &str) -> (String, usize) {
        if !self.may_be_in(text.as_bytes()) {
            return (text.to_owned(), 0);
        }
        let Some(whole) = self.whole() else { return (mark.to_owned(), 1) };
        let found = whole.find_iter(text).count();
        let mut clean = String::with_capacity(text.len());
        if found > 0 && mark == MARK {
            whole.replace_all_with(text, &mut clean, |_, _, clean| {
                clean.push_str(mark);
                true
            });
        } else {
            text.clone_into(&mut clean);
        }
        // Where it is written down in something else, nobody can tell which part of the text that is.
        if self.is_in(clean.as_bytes()) { (mark.to_owned(), found.max(1)) } else { (clean, found) }
    }

    /// Replaces every form in every string and key of this value, and what makes up one together; returns how many there were.
    pub(crate) fn redact_value(&self, value: &mut Value) -> usize {
        self.redact_part(value, MARK) + pieces::redact(self, value, None)
    }

    /// The same for what is said after something else: `before` is what was said before, and comes to have this too.
    pub(crate) fn redact_after(&self, value: &mut Value, before: &mut Window) -> usize {
        self.redact_part(value, MARK) + pieces::redact(self, value, Some(before))
    }

    fn redact_part(&self, value: &mut Value, mark: &str) -> usize {
        match value {
            Value::String(text) => {
                let (clean, found) = self.redact_with(text, mark);
                *text = clean;
                found
            }
            Value::Array(items) => items.iter_mut().map(|item| self.redact_part(item, mark)).sum(),
            Value::Object(fields) => self.redact_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }

    fn redact_fields(&self, fields: &mut Map<String, Value>) -> usize {
        let mark_of = |key: &str, value: &Value| {
            // What is bytes in base64 (MCP: `blob` of a resource, `data` of an image or a sound) stays that.
            let is_bytes = value.as_str().is_some_and(|text| !text.contains(char::is_whitespace) && text.len() % 4 == 0);
            if matches!(key, "blob" | "data") && is_bytes { MARK_64 } else { MARK }
        };
        let mut found: usize = fields.iter_mut().map(|(key, value)| self.redact_part(value, mark_of(key, value))).sum();
        if fields.keys().any(|key| self.found_in(key.as_bytes())) {
            let renamed = std::mem::take(fields).into_iter().map(|(key, value)| {
                let (clean, in_key) = self.redact(&key);
                found += in_key;
                (clean, value)
            });
            *fields = renamed.collect();
        }
        found
    }
}

/// Whether these bytes are no text in any language, by how they begin: then nothing in them is escaped.
fn is_binary(bytes: &[u8]) -> bool {
    let sample = bytes.get(..4096).unwrap_or(bytes);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    let is_text = sample.utf8_chunks().take(2).map(|chunk| chunk.valid().len()).max().unwrap_or_default() + 3 >= sample.len();
    let odd = sample.iter().filter(|byte| !is_plain(byte) && (byte.is_ascii() || !is_text)).count();
    odd > sample.len() / 4 + 4
}

/// The pieces by which the quick step knows this form.
fn pieces_of(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = (form.len() / PIECE_LEAST).clamp(1, PIECES);
    let each = form.len() / count;
    form.chunks_exact(each.max(1)).take(count).filter_map(|piece| piece.get(..piece.len().min(PIECE_MOST)))
}

/// Looks for any of these, whatever the case of their letters. Of long secrets there is much to look for: in a shape that takes little room.
fn automaton<'f>(of: impl Iterator<Item = &'f [u8]>) -> Option<AhoCorasick> {
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .match_kind(MatchKind::LeftmostLongest)
        .ascii_case_insensitive(true)
        .build(of)
        .ok()
}
