//! The canonical form of a JSON value, and its digest: what a pin, an approval and the trail agree on.

use std::fmt::{self, Display, Formatter, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::text::shown;

const PREFIX: &str = "sha256:";

/// The lossless canonical form: keys sorted by code point, no white space, strings minimally escaped, numbers as
/// written. `1.0` is not `1`, and `9007199254740993` stays. (Of a number's text `serde_json` itself unifies one thing,
/// the exponent's sign and letter: `1E2` is read as `1e+2`.)
///
/// RFC 8785 is not used: it would round numbers to what a double holds.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write_value(value, &mut out);
    out.into_bytes()
}

/// The digest of the canonical form of `value`.
pub fn digest(value: &Value) -> Digest {
    Digest::of(&canonical(value))
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            // UTF-8 sorts as its code points do.
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_unstable_by_key(|&(key, _)| key);
            out.push('{');
            for (i, (key, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                // Writing to a `String` does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Written at once: it is on the way of every call, several times.
        let mut text = [0; PREFIX.len() + 64];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            let digit = |four: u8| b"0123456789abcdef".get(usize::from(four)).copied().unwrap_or(b'0');
            pair.iter_mut().zip([byte >> 4, byte & 15]).for_each(|(to, four)| *to = digit(four));
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// The text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: write `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestFault(String);

impl FromStr for Digest {
    type Err = DigestFault;

    fn from_str(text: &str) -> Result<Self, DigestFault> {
        let fault = || DigestFault(shown(text));
        let hex = text.strip_prefix(PREFIX).ok_or_else(fault)?;
        let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.bytes().all(is_lower_hex) {
            return Err(fault());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| fault())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| fault())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::json::{self, Limits};

    fn canonical_text(text: &str) -> String {
        String::from_utf8(canonical(&json::parse(text.as_bytes(), Limits::MESSAGE).unwrap())).unwrap()
    }

    #[test]
    fn numbers_stay_as_written() {
        for number in ["1.0", "1", "-0", "9007199254740993", "123456789012345678901234567890", "0.10", "1e+400"] {
            assert_eq!(canonical_text(number), number);
        }
        assert_eq!(canonical_text("1E400"), "1e+400");
    }

    #[test]
    fn keys_are_sorted_by_code_point_and_strings_escaped_least() {
        // By UTF-16 units the second would come first.
        assert_eq!(canonical_text("{\"\u{ff5e}\": 1, \"\u{1f600}\": 2}"), "{\"\u{ff5e}\":1,\"\u{1f600}\":2}");
        assert_eq!(
            canonical_text("{\"b\" : [ 1 , null ], \"a\": {\"d\":true, \"c\":false}}"),
            r#"{"a":{"c":false,"d":true},"b":[1,null]}"#
        );
        assert_eq!(canonical_text(r#""\u0001\u0008\/\u00e9\u2028\"\\\n""#), "\"\\u0001\\b/\u{e9}\u{2028}\\\"\\\\\\n\"");
    }

    #[test]
    fn canonical_text_reads_as_the_same_value() {
        let value = json::parse(br#"{"z":[1.50,{"y":"\u0000\ud834\udd1e"}],"a":-0.0}"#, Limits::MESSAGE).unwrap();
        let again = json::parse(&canonical(&value), Limits::MESSAGE).unwrap();
        assert_eq!(canonical(&again), canonical(&value));
        assert_eq!(again, value);
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert_eq!(serde_json::from_str::<Digest>(&serde_json::to_string(&digest).unwrap()).unwrap(), digest);
        for wrong in [
            "",
            "sha256:",
            &text.to_uppercase(),
            text.trim_start_matches("sha256:"),
            &format!("{text}0"),
            &text.replace("ba", "+a"),
        ] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
