//! Passkeys (Web Authentication Level 3): what an authenticator says is read strictly, and held against what was asked.
//!
//! Nothing here keeps state: who asked what, and which keys are whose, is said by the caller.

mod authenticator_data;
mod client_data;
mod cose;
#[cfg(test)]
#[path = "../../../../tests/harness/authenticator.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shared with the tests of the whole gateway; tests fail by panicking"
)]
pub(crate) mod soft;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use bailiwick_schemas::json::{self, Limits};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::random::sha256;
use authenticator_data::{AuthenticatorData, attested};
pub(crate) use client_data::{Ceremony, challenge_of};
pub(crate) use cose::{ALGORITHMS, PublicKey};

/// The longest id of a credential (section 5.1, `rawId`): 1023 bytes.
const LONGEST_ID: usize = 1023;

/// The longest of what an authenticator sends, bytes.
const LONGEST: usize = 8 * 1024;

/// Why what an authenticator said does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasskeyFault {
    #[error("the browser's answer can't be read: {0}")]
    Unreadable(&'static str),
    #[error("the answer is of another kind of request")]
    Kind,
    #[error("the answer is to another question")]
    Challenge,
    #[error("the answer is from another site")]
    Origin,
    #[error("the answer is from inside a page of another site")]
    Framed,
    #[error("the passkey is of another site")]
    Party,
    #[error("nobody was there")]
    Presence,
    #[error("the passkey did not verify who uses it")]
    Verification,
    #[error("the passkey says that it is backed up, and that it can't be")]
    Backup,
    #[error("the passkey's kind of key is not taken")]
    Algorithm,
    #[error("the passkey's key is not one")]
    Key,
    #[error("the signature is not that of the passkey")]
    Signature,
}

/// What is expected of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) challenge: &'a [u8],
    pub(crate) origin: &'a str,
    /// The relying party id.
    pub(crate) party: &'a str,
}

/// What an authenticator says of itself with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) count: u32,
    pub(crate) is_backup_eligible: bool,
    pub(crate) is_backed_up: bool,
}

/// A key that an authenticator made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewKey {
    pub(crate) id: Vec<u8>,
    /// The public key, as it came (COSE).
    pub(crate) cose: Vec<u8>,
    pub(crate) said: Said,
}

/// An answer to [`Ceremony::Create`].
#[derive(Debug)]
pub(crate) struct Registration {
    id: Vec<u8>,
    client_data: Vec<u8>,
    attestation: Vec<u8>,
}

/// An answer to [`Ceremony::Get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assertion {
    pub(crate) id: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) authenticator_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) user: Option<Vec<u8>>,
}

impl Registration {
    /// Reads what the page's script sends.
    pub(crate) fn read(text: &str) -> Result<Self, PasskeyFault> {
        let parts = Parts::read(text)?;
        Ok(Self { id: parts.id()?, client_data: parts.need("clientDataJSON")?, attestation: parts.need("attestationObject")? })
    }

    /// What the answer says that it answers. Nothing of that is proven.
    pub(crate) fn challenge(&self) -> Result<Vec<u8>, PasskeyFault> {
        challenge_of(&self.client_data)
    }

    /// The new key, if all is as expected (section 7.1). What attests the authenticator's make is not asked for and not looked at.
    pub(crate) fn verify(&self, expected: Expected<'_>) -> Result<NewKey, PasskeyFault> {
        client_data::check(&self.client_data, Ceremony::Create, expected)?;
        let whole = attested(&self.attestation)?;
        let data = AuthenticatorData::read(whole)?;
        data.check(expected.party)?;
        let key = data.key.ok_or(PasskeyFault::Unreadable("it brings no key"))?;
        if key.id != self.id {
            return Err(PasskeyFault::Unreadable("it names another key than it brings"));
        }
        PublicKey::read(key.cose)?;
        Ok(NewKey { id: key.id.to_vec(), cose: key.cose.to_vec(), said: data.said })
    }
}

impl Assertion {
    /// Reads what the page's script sends.
    pub(crate) fn read(text: &str) -> Result<Self, PasskeyFault> {
        let parts = Parts::read(text)?;
        Ok(Self {
            id: parts.id()?,
            client_data: parts.need("clientDataJSON")?,
            authenticator_data: parts.need("authenticatorData")?,
            signature: parts.need("signature")?,
            user: parts.get("userHandle")?,
        })
    }

    /// What the answer says that it answers. Nothing of that is proven.
    pub(crate) fn challenge(&self) -> Result<Vec<u8>, PasskeyFault> {
        challenge_of(&self.client_data)
    }

    /// What the authenticator says, if this key has signed it and all is as expected (section 7.2).
    pub(crate) fn verify(&self, cose: &[u8], expected: Expected<'_>) -> Result<Said, PasskeyFault> {
        client_data::check(&self.client_data, Ceremony::Get, expected)?;
        let data = AuthenticatorData::read(&self.authenticator_data)?;
        data.check(expected.party)?;
        if data.key.is_some() {
            return Err(PasskeyFault::Unreadable("it brings a key that nobody asked for"));
        }
        let signed = [self.authenticator_data.as_slice(), &sha256(&self.client_data)].concat();
        PublicKey::read(cose)?.verify(&signed, &self.signature)?;
        Ok(data.said)
    }
}

/// What the page's script sends: a JSON object of texts in base64url.
struct Parts(Value);

impl Parts {
    fn read(text: &str) -> Result<Self, PasskeyFault> {
        let unreadable = PasskeyFault::Unreadable("it is no JSON object of the expected size");
        let value = json::parse(text.as_bytes(), Limits { bytes: 4 * LONGEST, depth: 2 }).map_err(|_| unreadable)?;
        if value.is_object() { Ok(Self(value)) } else { Err(unreadable) }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, PasskeyFault> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() <= LONGEST);
                bytes.map(Some).ok_or(PasskeyFault::Unreadable("a part is no base64url, or too long"))
            }
            Some(_) => Err(PasskeyFault::Unreadable("a part is no text")),
        }
    }

    fn need(&self, name: &str) -> Result<Vec<u8>, PasskeyFault> {
        self.get(name)?.filter(|bytes| !bytes.is_empty()).ok_or(PasskeyFault::Unreadable("a part is missing"))
    }

    fn id(&self) -> Result<Vec<u8>, PasskeyFault> {
        let id = self.need("id")?;
        if id.len() <= LONGEST_ID { Ok(id) } else { Err(PasskeyFault::Unreadable("the id of the passkey is too long")) }
    }
}
