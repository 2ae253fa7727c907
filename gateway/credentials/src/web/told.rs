//! What is told of what an issuer said: one line, short, and nothing of what it was shown.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Ask, Body};

/// What is shorter than this, and not named as a secret, is a word of the protocol.
const SHORTEST: usize = 16;

/// The names under which secrets of any length are sent.
const SECRET: [&str; 9] =
    ["client_assertion", "client_secret", "code", "code_verifier", "jwt", "refresh_token", "secret_id", "subject_token", "token"];

/// What stands for a character that says nothing, or has others read in another order.
fn is_dark(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What an issuer was shown and nobody else is told.
#[derive(Default)]
pub(super) struct Shown(Vec<SecretString>);

impl Shown {
    /// The texts of what is asked that are secrets, or may be.
    pub(super) fn of(ask: &Ask<'_>) -> Self {
        let mut shown = Self::default();
        if let Some((_, secret)) = ask.secret {
            let whole = secret.expose_secret();
            shown.add("token", whole);
            // Without the word that says how it is borne, and as whoever reads it has it.
            if let Some((how, bare)) = whole.split_once(' ') {
                shown.add("token", bare);
                if how.eq_ignore_ascii_case("basic") {
                    shown.password_in(bare);
                }
            }
        }
        match &ask.body {
            Body::None => {}
            Body::Json(text) => {
                if let Ok(value) = serde_json::from_str(text) {
                    shown.all_in("", &value);
                }
            }
            Body::Form(text) => {
                for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
                    shown.add(&name, &Zeroizing::new(value.into_owned()));
                }
            }
        }
        shown
    }

    fn add(&mut self, name: &str, text: &str) {
        let is_secret = SECRET.contains(&name) && !text.is_empty();
        if is_secret || text.len() >= SHORTEST {
            self.0.push(text.into());
        }
    }

    /// The password of a pair as RFC 6749, section 2.3.1, has it.
    fn password_in(&mut self, pair: &str) {
        let Ok(pair) = STANDARD.decode(pair).map(Zeroizing::new) else { return };
        let Some(password) = pair.splitn(2, |byte| *byte == b':').nth(1) else { return };
        let form = Zeroizing::new([b"p=", password].concat());
        for (_, password) in url::form_urlencoded::parse(&form) {
            self.add("client_secret", &Zeroizing::new(password.into_owned()));
        }
    }

    fn all_in(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.add(name, text),
            Value::Array(items) => items.iter().for_each(|item| self.all_in(name, item)),
            Value::Object(members) => members.iter().for_each(|(name, member)| self.all_in(name, member)),
            _ => {}
        }
    }

    /// This text of the issuer's as it can be told: without what it was shown and without these, `most` characters of it.
    pub(super) fn clean(&self, text: &str, also: &[&SecretString], most: usize) -> String {
        // So much of it is looked at: what is told is short.
        let end = text.char_indices().map(|(at, _)| at).nth(most.saturating_mul(32)).unwrap_or(text.len());
        let text = text.get(..end).unwrap_or_default();
        let secrets: Vec<SecretString> = self.0.iter().chain(also.iter().copied()).cloned().collect();
        let text = bailiwick_pipeline::kept_out(&secrets, text);
        let clean: String = text.chars().map(|c| if is_dark(c) { ' ' } else { c }).take(most).collect();
        clean.trim().to_owned()
    }
}
