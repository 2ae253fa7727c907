//! The tokens in forms: that a page of ours, shown in this session, sent them.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Makes and checks the tokens of forms. The key lives as long as the process, as sessions do.
pub(crate) struct FormTokens(hmac::Key);

impl FormTokens {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// The token for a form that goes to this path, in this session (by its public id) or before one (by its doorstep).
    pub(crate) fn make(&self, session: &str, path: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &message(session, path)))
    }

    pub(crate) fn is_good(&self, token: &str, session: &str, path: &str) -> bool {
        let decoded = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.0, &message(session, path), &decoded).is_ok()
    }
}

/// The length first, so that no two pairs make one message.
fn message(session: &str, path: &str) -> Vec<u8> {
    [b"bailiwick.form.v1\0", session.len().to_be_bytes().as_slice(), session.as_bytes(), path.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_form_of_one_session() {
        let tokens = FormTokens::new([7; 32]);
        let token = tokens.make("s1", "/a");
        assert!(tokens.is_good(&token, "s1", "/a"));
        for (given, session, path) in [
            (token.as_str(), "s2", "/a"),
            (token.as_str(), "s1", "/b"),
            (token.as_str(), "s1/", "a"),
            ("", "s1", "/a"),
            ("AAAA", "s1", "/a"),
            (&FormTokens::new([8; 32]).make("s1", "/a"), "s1", "/a"),
        ] {
            assert!(!tokens.is_good(given, session, path), "{given} {session} {path}");
        }
    }
}
