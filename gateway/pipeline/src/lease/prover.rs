//! What proves with each request that a lent token is used by whom it was lent to.

use std::fmt;

use secrecy::SecretString;

/// Holds the key that a token is bound to, for as long as its lease is in use.
pub trait Prover: Send + Sync + fmt::Debug {
    /// A proof for one request with this method to this URL, good once (RFC 9449, section 4.2). Fails where nothing can be signed: then
    /// nothing may be sent.
    fn proof(&self, method: &str, url: &str) -> Result<SecretString, String>;

    /// Its server wants this in each proof from here on (section 9).
    fn heard(&self, nonce: &str);
}
