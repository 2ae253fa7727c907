//! Public keys as authenticators write them (RFC 9052, section 7; RFC 8230 for RSA). Three kinds are taken.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use minicbor::{Decoder, data::Type};

use super::PasskeyFault;

const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// The algorithms that authenticators may choose from, in the order in which we like them.
pub(crate) const ALGORITHMS: [i64; 3] = [EDDSA, ES256, RS256];

/// The usual exponent. No authenticator has another, and small ones are weak.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// ECDSA over P-256 with SHA-256: an uncompressed point.
    Es256(Vec<u8>),
    /// Ed25519.
    EdDsa(Vec<u8>),
    /// RSA PKCS #1 v1.5 with SHA-256: the modulus.
    Rs256(Vec<u8>),
}

/// The parts of a key, by their labels; each at most once, and no others.
#[derive(Default)]
struct Labels<'b> {
    kind: Option<i64>,
    algorithm: Option<i64>,
    curve: Option<i64>,
    /// -1 where it is bytes, -2, -3.
    bytes: [Option<&'b [u8]>; 3],
}

impl PublicKey {
    /// Reads a key that is written in the one way there is for it, to its last byte.
    pub(crate) fn read(cose: &[u8]) -> Result<Self, PasskeyFault> {
        let labels = Labels::read(cose).ok_or(PasskeyFault::Key)?;
        let key = match (labels.kind, labels.algorithm, labels.curve, labels.bytes) {
            (Some(2), Some(ES256), Some(1), [None, Some(x), Some(y)]) if x.len() == 32 && y.len() == 32 => {
                Self::Es256([&[4], x, y].concat())
            }
            (Some(1), Some(EDDSA), Some(6), [None, Some(x), None]) if x.len() == 32 => Self::EdDsa(x.to_vec()),
            (Some(3), Some(RS256), None, [Some(n), Some(e), None]) if e == EXPONENT => Self::Rs256(n.to_vec()),
            (_, Some(ES256 | EDDSA | RS256), ..) => return Err(PasskeyFault::Key),
            _ => return Err(PasskeyFault::Algorithm),
        };
        if key.is_one() { Ok(key) } else { Err(PasskeyFault::Key) }
    }

    /// Whether the point is on its curve, and the modulus of a length that is taken.
    fn is_one(&self) -> bool {
        match self {
            Self::Es256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).is_ok(),
            Self::EdDsa(point) => ParsedPublicKey::new(&ED25519, point).is_ok(),
            Self::Rs256(n) => {
                let is_odd = n.last().is_some_and(|last| last & 1 == 1);
                // No zeros at its front (RFC 8230, section 4), and 2048 bits at least; more need not be a whole number of bytes.
                let least = if n.len() == 256 { 0x80 } else { 1 };
                (256..=1024).contains(&n.len()) && n.first().is_some_and(|first| *first >= least) && is_odd
            }
        }
    }

    /// Whether the key signed this.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), PasskeyFault> {
        let verified = match self {
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature),
            Self::EdDsa(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
            Self::Rs256(n) => {
                let key = RsaPublicKeyComponents { n: n.as_slice(), e: EXPONENT.as_slice() };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.map_err(|_| PasskeyFault::Signature)
    }
}

impl<'b> Labels<'b> {
    fn read(cose: &'b [u8]) -> Option<Self> {
        let mut decoder = Decoder::new(cose);
        let entries = decoder.map().ok()??;
        let mut labels = Self::default();
        for _ in 0..entries {
            let label = decoder.i64().ok()?;
            let is_bytes = decoder.datatype().ok()? == Type::Bytes;
            match (label, is_bytes) {
                (1, false) => set(&mut labels.kind, decoder.i64().ok()?)?,
                (3, false) => set(&mut labels.algorithm, decoder.i64().ok()?)?,
                (-1, false) => set(&mut labels.curve, decoder.i64().ok()?)?,
                (-3..=-1, true) => {
                    let place = usize::try_from(-1 - label).ok()?;
                    set(labels.bytes.get_mut(place)?, decoder.bytes().ok()?)?;
                }
                _ => return None,
            }
        }
        (decoder.position() == cose.len()).then_some(labels)
    }
}

/// Sets what was not set before.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    if place.is_some() {
        None
    } else {
        *place = Some(value);
        Some(())
    }
}
