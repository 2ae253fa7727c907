//! Randomness from the system's generator.

use aws_lc_rs::rand;

/// The system gives no randomness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoRandomness;

/// Unpredictable bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

impl From<NoRandomness> for crate::fault::WriteFault {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::Randomness
    }
}
