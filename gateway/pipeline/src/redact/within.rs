//! What of a secret is secret by itself: a server that gets an address with a password in it shows the password alone.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{SHORTEST, decode::unquoted};

/// A part of this length is kept out; a shorter one only where it is no word.
const LONG: usize = 12;

/// So many parts of one secret are looked for.
const MOST: usize = 16;

/// A segment of a token has at least so many characters.
const SEGMENT: usize = 16;

/// What a key has in it whose value is secret.
const SECRET_KEYS: [&str; 7] = ["secret", "password", "passwd", "pwd", "token", "private_key", "credential"];

type Part = Zeroizing<String>;

/// The parts of this secret.
pub(super) fn parts_of(secret: &str) -> Vec<Part> {
    let mut parts = Parts { of: secret, all: Vec::new() };
    parts.read(secret);
    if let Some(text) = decoded(secret) {
        parts.add(&text);
        parts.read(&text);
    }
    parts.all
}

struct Parts<'s> {
    of: &'s str,
    all: Vec<Part>,
}

impl Parts<'_> {
    fn add(&mut self, part: &str) {
        let has = |is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
        let is_told_apart =
            part.len() >= LONG || (part.len() >= SHORTEST && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic));
        if is_told_apart && part != self.of && self.all.len() < MOST && !self.all.iter().any(|known| known.as_str() == part) {
            self.all.push(Zeroizing::new(part.to_owned()));
        }
    }

    /// What it stands for where it is percent-encoded.
    fn add_decoded(&mut self, part: &str) {
        if let Some(plain) = unquoted(part.as_bytes()).and_then(|plain| String::from_utf8(plain).ok()) {
            self.add(&Zeroizing::new(plain));
        }
    }

    fn read(&mut self, text: &str) {
        if let Ok(Value::Object(fields)) = serde_json::from_str(text) {
            fields.iter().for_each(|(key, value)| self.value(key, value));
            return;
        }
        if let Some((_, rest)) = text.split_once("://") {
            // What stands before the last `@` names a user: an unquoted password may have one in it.
            if let Some((_, password)) = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
                self.add(password);
                self.add_decoded(password);
            }
        } else if let Some((user, password)) = text.split_once(':')
            && !user.is_empty()
            && !text.contains(char::is_whitespace)
        {
            self.add(password);
        }
        for (key, value) in text.split([' ', ';', '&', '?', '\n']).filter_map(|pair| pair.split_once('=')) {
            if is_secret(key) {
                let value = value.trim().trim_matches(['"', '\'']);
                self.add(value);
                self.add_decoded(value);
            }
        }
        let segments: Vec<&str> = text.split('.').collect();
        let is_segment = |segment: &&str| {
            segment.len() >= SEGMENT && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // Whoever has the rest of a signed token, which is known, needs the signature.
        if let [_, _, signature] = segments.as_slice()
            && segments.iter().all(is_segment)
        {
            self.add(signature);
        }
    }

    fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text) if is_secret(key) => self.add(text),
            Value::Object(fields) => fields.iter().for_each(|(key, value)| self.value(key, value)),
            Value::Array(items) => items.iter().for_each(|item| self.value(key, item)),
            _ => {}
        }
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.trim().to_ascii_lowercase();
    // The id of a key, and where tokens are given, is none.
    !key.ends_with("_id")
        && !key.ends_with("_uri")
        && !key.ends_with("_url")
        && SECRET_KEYS.iter().any(|known| key.contains(known))
}

/// What it stands for in base64 of either alphabet, where that is a text.
fn decoded(secret: &str) -> Option<Part> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let read = |engine: &GeneralPurpose| engine.decode(secret.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = read(&GeneralPurpose::new(&STANDARD, config)).or_else(|| read(&GeneralPurpose::new(&URL_SAFE, config)))?;
    let text = Zeroizing::new(text);
    (!text.chars().any(|c| c.is_control() && !c.is_whitespace())).then_some(text)
}
