//! What the browser says of a request (section 5.8.1): its kind, its question, and which page asked.

use bailiwick_schemas::json::{self, Limits};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{Expected, LONGEST, PasskeyFault};
use crate::random::are_equal;

/// What an authenticator is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ceremony {
    /// A new key.
    Create,
    /// A signature.
    Get,
}

impl Ceremony {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// What the answer says that it answers.
pub(crate) fn challenge_of(bytes: &[u8]) -> Result<Vec<u8>, PasskeyFault> {
    let object = object(bytes)?;
    let text = object.get("challenge").and_then(Value::as_str).ok_or(PasskeyFault::Challenge)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| PasskeyFault::Challenge)
}

pub(super) fn check(bytes: &[u8], ceremony: Ceremony, expected: Expected<'_>) -> Result<(), PasskeyFault> {
    let object = object(bytes)?;
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    if text("type") != Some(ceremony.word()) {
        return Err(PasskeyFault::Kind);
    }
    if !are_equal(&challenge_of(bytes)?, expected.challenge) {
        return Err(PasskeyFault::Challenge);
    }
    if text("origin") != Some(expected.origin) {
        return Err(PasskeyFault::Origin);
    }
    // Nobody shows us inside another page, so no honest answer comes from there.
    match object.get("crossOrigin") {
        None | Some(Value::Bool(false)) if !object.contains_key("topOrigin") => Ok(()),
        _ => Err(PasskeyFault::Framed),
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, PasskeyFault> {
    let unreadable = PasskeyFault::Unreadable("its client data are no JSON object");
    match json::parse(bytes, Limits { bytes: LONGEST, depth: 8 }) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(unreadable),
    }
}
