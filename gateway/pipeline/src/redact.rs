//! Keeps a lent secret out of what comes back: as it is, and in the encodings that a server might put it in.

use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::trace::hex;

/// What stands where a secret stood.
const MARK: &str = "[redacted]";

/// The shortest secret that can be told from ordinary text, in bytes.
const SHORTEST: usize = 8;

/// Why a secret can't be kept out of results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it has {0} bytes, fewer than 8: so short a secret can't be told from ordinary text in a result; use a longer one")]
pub struct NeedleFault(usize);

/// The forms of one secret to look for.
pub(crate) struct Needles {
    automaton: AhoCorasick,
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Needles")
    }
}

impl Needles {
    /// The secret itself, reversed, escaped as in JSON, in hex, percent-encoded, and in base64 at each of its three
    /// alignments; in upper or lower case, as servers change that.
    pub(crate) fn of(secrets: &[SecretString]) -> Result<Self, NeedleFault> {
        let mut forms = Vec::new();
        for secret in secrets {
            let secret = secret.expose_secret();
            if secret.len() < SHORTEST {
                return Err(NeedleFault(secret.len()));
            }
            forms_of(secret, &mut forms);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(forms.iter().map(|form| form.as_bytes()))
            .map_err(|_| NeedleFault(forms.len()))?;
        Ok(Self { automaton })
    }

    /// Whether any form is in these bytes.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> bool {
        self.automaton.is_match(bytes)
    }

    /// The text with every form replaced, and how many there were.
    pub(crate) fn redact(&self, text: &str) -> (String, usize) {
        let found = self.automaton.find_iter(text).count();
        if found == 0 {
            return (text.to_owned(), 0);
        }
        let mut clean = String::with_capacity(text.len());
        self.automaton.replace_all_with(text, &mut clean, |_, _, clean| {
            clean.push_str(MARK);
            true
        });
        (clean, found)
    }

    /// Replaces every form in every string and key of this value; returns how many there were.
    pub(crate) fn redact_value(&self, value: &mut Value) -> usize {
        match value {
            Value::String(text) => {
                let (clean, found) = self.redact(text);
                *text = clean;
                found
            }
            Value::Array(items) => items.iter_mut().map(|item| self.redact_value(item)).sum(),
            Value::Object(fields) => self.redact_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }

    fn redact_fields(&self, fields: &mut Map<String, Value>) -> usize {
        let mut found: usize = fields.values_mut().map(|value| self.redact_value(value)).sum();
        if fields.keys().any(|key| self.automaton.is_match(key)) {
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

/// Each form of this secret.
fn forms_of(secret: &str, forms: &mut Vec<Zeroizing<String>>) {
    let bytes = secret.as_bytes();
    let hex = hex(bytes);
    let percent = |plain: fn(u8) -> bool| {
        let written = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
        bytes.iter().map(written).collect::<String>()
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    // A string within a JSON text that is itself a string.
    let escaped = Value::from(secret).to_string();
    let escaped = escaped.get(1..escaped.len().saturating_sub(1)).unwrap_or_default().to_owned();
    // Other writers of JSON escape more than must be.
    let slashed = escaped.replace('/', "\\/");
    let unicode: String = secret.chars().fold(String::new(), |text, c| match c {
        c if c.is_ascii_alphanumeric() => text + c.encode_utf8(&mut [0; 4]),
        c => text + &format!("\\u{:04x}", u32::from(c)),
    });
    let reversed = secret.chars().rev().collect();
    forms.extend(
        [secret.to_owned(), reversed, hex, percent(unreserved), percent(|_| false), escaped, slashed, unicode]
            .map(Zeroizing::new),
    );
    for shift in 0..3 {
        forms.push(Zeroizing::new(aligned(&STANDARD_NO_PAD, bytes, shift)));
        forms.push(Zeroizing::new(aligned(&URL_SAFE_NO_PAD, bytes, shift)));
    }
}

/// What of the base64 of `bytes` does not depend on its neighbours, when `shift` bytes (modulo 3) stand before it.
fn aligned(engine: &impl Engine, bytes: &[u8], shift: usize) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(bytes);
    let text = engine.encode(&padded);
    let skip = (shift * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    text.get(skip..whole).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail by panicking, and need not be fast")]

    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    const SECRET: &str = "s3cr3t/+value-42";

    fn needles() -> Needles {
        Needles::of(&[SecretString::from(SECRET)]).unwrap()
    }

    #[test]
    fn every_form_is_found() {
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            SECRET.to_owned(),
            SECRET.chars().rev().collect(),
            hex.to_uppercase(),
            hex,
            "s3cr3t%2F%2Bvalue-42".to_owned(),
            "s3cr3t%2f%2bvalue-42".to_owned(),
            SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            r"s3cr3t\u002f\u002bvalue\u002d42".to_owned(),
            r"s3cr3t\/+value-42".to_owned(),
        ];
        for form in forms {
            assert_eq!(needles().redact(&format!("<{form}>")), ("<[redacted]>".to_owned(), 1), "{form}");
            assert!(needles().found_in(form.as_bytes()));
        }
    }

    /// Of base64 stays what belongs to the neighbours, and no digit more.
    #[test]
    fn base64_is_taken_out_to_the_last_digit() {
        for before in ["", "a", "ab", "abc"] {
            for after in ["", "x", "xy"] {
                let whole = format!("{before}{SECRET}{after}");
                let own = (before.len() * 8).div_ceil(6)..(before.len() + SECRET.len()) * 8 / 6;
                for form in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                    let (head, tail) = (form.get(..own.start).unwrap(), form.get(own.end..).unwrap());
                    assert_eq!(needles().redact(&form), (format!("{head}[redacted]{tail}"), 1), "{form}");
                }
            }
        }
    }

    /// Servers change the case of headers and of hex digits: no form depends on it.
    #[test]
    fn case_hides_nothing() {
        let needles = Needles::of(&[SecretString::from("Ab/Cd\"Ef-9")]).unwrap();
        for form in [
            "Ab/Cd\"Ef-9",
            "AB/CD\"EF-9",
            "Ab%2FCd%22Ef-9",
            "Ab%2fCd%22Ef-9",
            r#"Ab/Cd\"Ef-9"#,
            "41622f43642245662d39",
            "41622F43642245662D39",
        ] {
            assert_eq!(needles.redact(form), ("[redacted]".to_owned(), 1), "{form}");
        }
    }

    proptest! {
        /// Whatever stands before and after the secret, its base64 is found.
        #[test]
        fn base64_is_found_wherever_the_secret_stands(secret in "[ -~]{8,30}", before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
            let needles = Needles::of(&[SecretString::from(secret.as_str())]).unwrap();
            let whole = format!("{before}{secret}{after}");
            for text in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                prop_assert!(needles.found_in(text.as_bytes()));
                let (clean, found) = needles.redact(&text);
                prop_assert!(found >= 1 && !needles.found_in(clean.as_bytes()));
            }
            prop_assert_eq!(needles.redact(&whole).0.contains(&secret), false);
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        assert_eq!(needles().redact("s3cr3t value"), ("s3cr3t value".to_owned(), 0));
    }

    #[test]
    fn values_are_cleaned_in_strings_and_keys_and_keep_the_rest() {
        let mut value = json!({"a": [format!("x{SECRET}y{SECRET}")], SECRET: 1, "n": 1.50, "ok": true});
        assert_eq!(needles().redact_value(&mut value), 3);
        assert_eq!(value.to_string(), r#"{"a":["x[redacted]y[redacted]"],"[redacted]":1,"n":1.5,"ok":true}"#);
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(Needles::of(&[SecretString::from("1234567")]).unwrap_err(), NeedleFault(7));
        assert!(Needles::of(&[SecretString::from("12345678")]).is_ok());
    }

    #[test]
    fn a_debug_print_shows_nothing() {
        assert_eq!(format!("{:?}", needles()), "Needles");
    }
}
