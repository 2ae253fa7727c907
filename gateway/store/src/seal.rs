//! Seals the arguments of a call that waits for approval, so that the file alone doesn't tell or change them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use bailiwick_pipeline::ids::ApprovalId;
use bailiwick_schemas::canonical::Digest;

use crate::fault::StoreFault;

/// AES-256-GCM under the key of `DATA/seal.key`, with a random nonce before each ciphertext. One key seals far fewer than the
/// 2^32 messages that random nonces allow (NIST SP 800-38D, 8.3).
pub(crate) struct Seal {
    key: RandomizedNonceKey,
}

/// It was not sealed by this key for this approval, or is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed arguments don't open: they were changed, belong to another approval, or `seal.key` is another one")]
pub(crate) struct Broken;

impl Seal {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, StoreFault> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| StoreFault::Randomness)?;
        Ok(Self { key })
    }

    pub(crate) fn close(&self, id: &ApprovalId, binding: &Digest, plain: &[u8]) -> Result<Vec<u8>, Broken> {
        self.close_about(about(id, binding), plain)
    }

    pub(crate) fn open(&self, id: &ApprovalId, binding: &Digest, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        self.open_about(about(id, binding), sealed)
    }

    /// Seals what is no argument of a call, tied to what the caller says that it is about.
    pub(crate) fn close_other(&self, of: &[u8], plain: &[u8]) -> Result<Vec<u8>, Broken> {
        self.close_about(about_other(of), plain)
    }

    pub(crate) fn open_other(&self, of: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        self.open_about(about_other(of), sealed)
    }

    fn close_about(&self, about: Aad<Vec<u8>>, plain: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut body = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(about, &mut body).map_err(|_| Broken)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut body);
        Ok(sealed)
    }

    fn open_about(&self, about: Aad<Vec<u8>>, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken)?;
        let mut body = body.to_vec();
        let length = self.key.open_in_place(nonce, about, &mut body).map_err(|_| Broken)?.len();
        body.truncate(length);
        Ok(body)
    }
}

/// What the ciphertext is tied to: the call and this one question about it. The digest has a fixed length, so the two can't run
/// into each other.
fn about(id: &ApprovalId, binding: &Digest) -> Aad<Vec<u8>> {
    let mut bytes = b"bailiwick.sealed-arguments.v1\0".to_vec();
    bytes.extend_from_slice(binding.as_bytes());
    bytes.extend_from_slice(id.as_str().as_bytes());
    Aad::from(bytes)
}

/// The same for all else: nothing that is sealed as one can be opened as the other.
fn about_other(of: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([b"bailiwick.sealed.v1\0".as_slice(), of].concat())
}
