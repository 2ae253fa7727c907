//! Nonces for proofs of possession (RFC 9449, sections 8 and 9): who bears one has made its proof since the gateway started, and lately.
//! None is remembered: each is its time under a key that was made at the start.

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// How long a nonce is good, seconds. Then its bearer is given another one.
const GOOD_S: u64 = 300;

/// How far back the gateway's own clock may be set while nonces are on their way, seconds.
const BACK_S: u64 = 5;

/// So much of the tag is in a nonce, bytes.
const TAG: usize = 16;

/// Makes nonces, and knows its own.
pub(crate) struct Nonces {
    /// None where the system gave no randomness: then there are no nonces, and what bears one is refused.
    key: Option<hmac::Key>,
}

impl Nonces {
    /// With a key that nobody had before.
    pub(crate) fn fresh() -> Self {
        let mut key = [0; 32];
        let is_random = rand::fill(&mut key).is_ok();
        Self { key: is_random.then(|| hmac::Key::new(hmac::HMAC_SHA256, &key)) }
    }

    /// The nonce of this time, unix seconds.
    pub(crate) fn at(&self, now_s: u64) -> Option<String> {
        let time = now_s.to_be_bytes();
        let tag = hmac::sign(self.key.as_ref()?, &time);
        let nonce: Vec<u8> = time.into_iter().chain(tag.as_ref().iter().copied().take(TAG)).collect();
        Some(URL_SAFE_NO_PAD.encode(nonce))
    }

    /// Whether this is one of ours that is good at this time, unix seconds.
    pub(crate) fn is_ours(&self, nonce: &str, now_s: u64) -> bool {
        let made_at_s = URL_SAFE_NO_PAD.decode(nonce).ok().and_then(|bytes| {
            let (time, _) = bytes.split_first_chunk::<8>()?;
            Some(u64::from_be_bytes(*time))
        });
        let Some(made_at_s) = made_at_s else { return false };
        let is_in_time = made_at_s <= now_s.saturating_add(BACK_S) && now_s <= made_at_s.saturating_add(GOOD_S);
        // What it would be is told to anybody who asks, in its time: how fast they are found to differ tells nothing about another time's.
        is_in_time && self.at(made_at_s).is_some_and(|own| is_same(own.as_bytes(), nonce.as_bytes()))
    }
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "a test may fail by panicking")]

    use super::*;

    const NOW_S: u64 = 1_790_000_000;

    #[test]
    fn a_nonce_is_good_for_its_time_and_where_it_was_made() {
        let nonces = Nonces::fresh();
        let nonce = nonces.at(NOW_S).unwrap();
        for now_s in [NOW_S - BACK_S, NOW_S, NOW_S + GOOD_S] {
            assert!(nonces.is_ours(&nonce, now_s), "{now_s}");
        }
        for now_s in [NOW_S - BACK_S - 1, NOW_S + GOOD_S + 1, 0, u64::MAX] {
            assert!(!nonces.is_ours(&nonce, now_s), "{now_s}");
        }
        assert!(!Nonces::fresh().is_ours(&nonce, NOW_S), "another start, another key");
    }

    #[test]
    fn what_is_not_made_here_is_no_nonce() {
        let nonces = Nonces::fresh();
        let nonce = nonces.at(NOW_S).unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(&nonce).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(!nonces.is_ours(&URL_SAFE_NO_PAD.encode(&bytes), NOW_S), "byte {at}");
            bytes[at] ^= 1;
        }
        assert!(nonces.is_ours(&URL_SAFE_NO_PAD.encode(&bytes), NOW_S));
        let cut = URL_SAFE_NO_PAD.encode(&bytes[..8]);
        for bad in ["", "x", "\u{e9}", cut.as_str(), &format!("{nonce}="), &format!("{nonce}AA"), &nonce[1..]] {
            assert!(!nonces.is_ours(bad, NOW_S), "{bad}");
        }
    }
}
