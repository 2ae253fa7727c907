//! Amounts that a rule masks: on record for the next start, and for nobody else.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use crate::ports::Approvals;

/// The amounts of a call by the name of the detection that limits their sum, sealed; none where nothing can be sealed.
pub fn sealed_amounts(call: &str, amounts: &BTreeMap<String, u64>, approvals: &dyn Approvals) -> Option<String> {
    let plain = serde_json::to_vec(amounts).ok()?;
    approvals.seal(&about(call), &plain).map(|sealed| STANDARD.encode(sealed))
}

/// What was sealed of this call; none where it was sealed by another key, or changed. `unseal` opens what was sealed about something.
pub fn opened_amounts(
    call: &str,
    sealed: &str,
    unseal: impl FnOnce(&[u8], &[u8]) -> Option<Bytes>,
) -> Option<BTreeMap<String, u64>> {
    let plain = unseal(&about(call), &STANDARD.decode(sealed).ok()?)?;
    serde_json::from_slice(&plain).ok()
}

fn about(call: &str) -> Vec<u8> {
    format!("bailiwick.sums.v1\0{call}").into_bytes()
}
