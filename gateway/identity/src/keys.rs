//! Public keys as issuers publish them (JWK and JWK sets, RFC 7517), and what each of them is good for.

use aws_lc_rs::digest::{SHA256, digest};
use bailiwick_schemas::json::{self, Limits};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};
use serde_json::{Map, Value};

use crate::{
    algorithm::{Algorithm, KeyKind},
    compact::{Compact, LONGEST_TEXT, decoded, shown},
};

/// The largest document of keys, bytes.
pub(crate) const DOCUMENT: usize = 256 * 1024;

/// So many keys of a document are kept.
const MOST: usize = 64;

/// The modulus of an RSA key, bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Members of a key that nobody but its owner may have.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Which keys of a document are for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Those of `use` `sig`, and those that don't say.
    Signature,
    /// Those of `use` `jwt-svid` (SPIFFE trust domain and bundle, section 4.2.2).
    JwtSvid,
}

/// A public key.
#[derive(Debug)]
pub(crate) struct Key {
    kid: Option<String>,
    kind: KeyKind,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    public: DecodingKey,
    thumbprint: String,
}

/// The keys of an issuer.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    digest: [u8; 32],
}

impl KeySet {
    /// Reads a JWK set. A key that is broken, too weak, of an unknown kind or for something else is left out: it must not take the
    /// others with it.
    pub(crate) fn read(document: &[u8], usage: Usage) -> Result<Self, String> {
        let read = json::parse(document, Limits { bytes: DOCUMENT, depth: 16 });
        let read = read.map_err(|fault| format!("what they are is no JSON that is taken: {fault}"))?;
        let Some(Value::Array(entries)) = read.get("keys") else {
            return Err("what they are has no list `keys`".to_owned());
        };
        let mut keys = Vec::new();
        for entry in entries {
            match Key::of_set(entry, usage) {
                Ok(key) if keys.len() < MOST => keys.push(key),
                Ok(_) => {
                    tracing::warn!(most = MOST, "an issuer has more keys than are kept: the rest is left out");
                    break;
                }
                Err(why) => tracing::debug!(why, "a key of an issuer is left out"),
            }
        }
        Ok(Self { keys, digest: sha256(document) })
    }

    /// Whether both are of one and the same document.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The one key that a token can be by.
    pub(crate) fn key_for(&self, token: &Compact<'_>) -> Result<&Key, NoKey> {
        let is_named = |key: &&Key| token.kid.is_none() || token.kid == key.kid;
        if let Some(kid) = token.kid.as_ref().filter(|kid| !self.keys.iter().any(|key| key.kid.as_ref() == Some(*kid))) {
            return Err(NoKey::UnknownKid(shown(kid)));
        }
        let mut fitting = self.keys.iter().filter(is_named).filter(|key| key.fits(token.algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(NoKey::NoneFits),
            (Some(_), Some(_)) => Err(NoKey::SeveralFit),
        }
    }
}

/// Why no key is the one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKey {
    #[error("none is called `{0}`")]
    UnknownKid(String),
    #[error("none is for this algorithm")]
    NoneFits,
    #[error("several are for this algorithm, and the token does not say by which it is")]
    SeveralFit,
}

impl Key {
    fn of_set(entry: &Value, usage: Usage) -> Result<Self, String> {
        let Value::Object(jwk) = entry else { return Err("it is no object".to_owned()) };
        let used = text(jwk, "use")?;
        let is_meant = match usage {
            Usage::Signature => matches!(used, None | Some("sig")),
            Usage::JwtSvid => used == Some("jwt-svid"),
        };
        if !is_meant {
            return Err("its `use` is another one".to_owned());
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Value::Array(allowed)) if allowed.iter().any(|op| op == "verify") => {}
            Some(_) => return Err("its `key_ops` don't have `verify`".to_owned()),
        }
        Self::public(jwk)
    }

    /// Reads a public key. One with a private member is no key to trust any more.
    pub(crate) fn public(jwk: &Map<String, Value>) -> Result<Self, String> {
        if let Some(private) = PRIVATE.iter().find(|name| jwk.contains_key(**name)) {
            return Err(format!("it has the private member `{private}`"));
        }
        let required = |name| text(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"));
        let bytes = |name| decoded(required(name)?).ok_or_else(|| format!("its `{name}` is no base64url"));
        let (kind, public, canonical) = match (required("kty")?, text(jwk, "crv")?) {
            ("RSA", _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                check_rsa(&n, &e)?;
                let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, required("e")?, required("n")?);
                (KeyKind::Rsa, DecodingKey::from_rsa_raw_components(without_zeros(&n), without_zeros(&e)), canonical)
            }
            ("EC", Some(curve @ ("P-256" | "P-384"))) => {
                let (kind, length) = if curve == "P-256" { (KeyKind::P256, 32) } else { (KeyKind::P384, 48) };
                let (x, y) = (bytes("x")?, bytes("y")?);
                if (x.len(), y.len()) != (length, length) {
                    return Err("its point is of another length than its curve's".to_owned());
                }
                let (as_x, as_y) = (required("x")?, required("y")?);
                let canonical = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{as_x}","y":"{as_y}"}}"#);
                // The library takes an uncompressed point (SEC 1, section 2.3.3) under this name.
                (kind, DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()), canonical)
            }
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 {
                    return Err("its point is of another length than its curve's".to_owned());
                }
                let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, required("x")?);
                (KeyKind::Ed25519, DecodingKey::from_ed_der(&x), canonical)
            }
            _ => return Err("it is of a kind that is not taken".to_owned()),
        };
        let algorithm = match text(jwk, "alg")? {
            None => None,
            Some(name) => Some(name.parse::<Algorithm>().map_err(|fault| fault.to_string())?),
        };
        if algorithm.is_some_and(|algorithm| algorithm.kind() != kind) {
            return Err("its `alg` is for another kind of key".to_owned());
        }
        let thumbprint = URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()));
        Ok(Self { kid: text(jwk, "kid")?.map(str::to_owned), kind, algorithm, public, thumbprint })
    }

    /// SHA-256 over its canonical form (RFC 7638), base64url.
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind() && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether this key signed the token, by the algorithm that the token names.
    pub(crate) fn signed(&self, token: &Compact<'_>) -> bool {
        // The provider is named: the library's own choice of one panics where its features name none, or two.
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&token.algorithm.of_library(), &self.public);
        self.fits(token.algorithm) && verifier.is_ok_and(|verifier| verifier.verify(token.signed, &token.signature).is_ok())
    }
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, String> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= LONGEST_TEXT => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is no text, or a long one")),
    }
}

fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), String> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = n.first().map_or(0, |first| n.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0));
    if !RSA_BITS.contains(&bits) {
        return Err(format!("it has {bits} bits: RSA keys have {} at least", RSA_BITS.start()));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > 4 {
        return Err("its exponent or its modulus is none of RSA".to_owned());
    }
    Ok(())
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
