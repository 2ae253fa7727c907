//! Randomness, and what is made of it.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::refused::Refused;

/// 256 bits that nobody can guess.
pub(crate) fn bytes() -> Result<[u8; 32], Refused> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Refused::unavailable("the system gives no randomness"))?;
    Ok(bytes)
}

/// The same as text for a cookie or a link.
pub(crate) fn token() -> Result<String, Refused> {
    Ok(URL_SAFE_NO_PAD.encode(bytes()?))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Whether two are the same; how much of it is the same is nobody's business.
pub(crate) fn are_equal(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
