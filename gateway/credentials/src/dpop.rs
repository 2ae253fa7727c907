//! Tokens that are bound to a key (RFC 9449): a key for each lease, which is in memory alone and is gone with it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use bailiwick_pipeline::ports::Prover;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    provider::{MintFault, MintFaultKind},
    signing::nonce,
    web::Answer,
};

/// The one algorithm that is used.
pub(crate) const ALGORITHM: &str = "ES256";

/// The longest nonce that is taken, bytes.
const NONCE_BYTES: usize = 1024;

/// A fresh key on P-256. Its private half is never written anywhere; the library wipes it when it is dropped.
pub(crate) struct ProofKey {
    pair: EcdsaKeyPair,
    /// The header of each proof with the public half, in base64.
    header: String,
    /// The digest of the public half (RFC 7638): what tokens are bound to.
    thumbprint: String,
    /// When it was made: unix milliseconds, and by a clock that only goes forward.
    made: (u64, Instant),
}

impl ProofKey {
    /// One that nobody has had before.
    pub(crate) fn new(now_ms: u64) -> Result<Arc<Self>, MintFault> {
        let own = |why: &str| MintFault::new(MintFaultKind::Own, why);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = pair.map_err(|_| own("no key can be made to bind its token to"))?;
        // An uncompressed point: 4, x, y.
        let point = pair.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err(own("the key that its token would be bound to is none of P-256"));
        };
        let (x, y) = (B64.encode(x), B64.encode(y));
        let thumbprint = digest_of(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        let header = B64.encode(json!({ "typ": "dpop+jwt", "alg": ALGORITHM, "jwk": jwk }).to_string());
        Ok(Arc::new(Self { pair, header, thumbprint, made: (now_ms, Instant::now()) }))
    }

    /// The digest of its public half.
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// A proof for one request (section 4.2): with the digest of a token where there is one, and with a nonce where one was given.
    pub(crate) fn proof(
        &self,
        (method, url): (&str, &str),
        ath: Option<&str>,
        given: Option<&str>,
    ) -> Result<SecretString, String> {
        let (made_ms, at) = self.made;
        let now_ms = made_ms.saturating_add(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        let id = nonce().map_err(|fault| fault.why)?;
        let mut claims = json!({ "jti": id, "htm": method, "htu": url, "iat": now_ms / 1000 });
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(ath.map(|ath| ("ath".to_owned(), json!(ath))));
            claims.extend(given.map(|nonce| ("nonce".to_owned(), json!(nonce))));
        }
        let mut text = format!("{}.{}", self.header, B64.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).map_err(|_| "signing a proof failed".to_owned())?;
        text.push('.');
        B64.encode_string(signature, &mut text);
        Ok(SecretString::from(text))
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

/// Proves with each request that a token is its lease's.
#[derive(Debug)]
pub(crate) struct TokenProver {
    key: Arc<ProofKey>,
    /// The digest of the token.
    ath: String,
    /// The latest that its server gave.
    nonce: Mutex<Option<String>>,
}

impl TokenProver {
    /// For this token, which is bound to this key.
    pub(crate) fn of(key: Arc<ProofKey>, token: &SecretString) -> Arc<Self> {
        Arc::new(Self { key, ath: digest_of(token.expose_secret().as_bytes()), nonce: Mutex::default() })
    }
}

impl Prover for TokenProver {
    fn proof(&self, method: &str, url: &str) -> Result<SecretString, String> {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.key.proof((method, url), Some(&self.ath), nonce.as_deref())
    }

    fn heard(&self, nonce: &str) {
        let mut latest = self.nonce.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.as_deref() != Some(nonce) {
            *latest = Some(nonce.to_owned());
        }
    }
}

/// The nonce that an issuer wants in a proof before it answers (section 8); none where its answer is anything else.
pub(crate) fn wanted_nonce(answer: &Answer) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let is_wanted = answer.status == reqwest::StatusCode::BAD_REQUEST && body.get("error")?.as_str()? == "use_dpop_nonce";
    let nonce = answer.headers.get("dpop-nonce").filter(|_| is_wanted)?.to_str().ok()?;
    let is_plain = nonce.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    (!nonce.is_empty() && nonce.len() <= NONCE_BYTES && is_plain).then(|| nonce.to_owned())
}

/// SHA-256 in base64.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    B64.encode(digest::digest(&digest::SHA256, bytes))
}
