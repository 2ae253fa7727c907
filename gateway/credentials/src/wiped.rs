//! Secrets that are read from JSON.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

/// A secret of an answer, or of what was kept.
pub(crate) struct Wiped(pub(crate) SecretString);

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(text.into()))
    }
}
