//! Says with a private key who the gateway is: signed tokens (RFC 7519) with the key of a file.

use std::path::PathBuf;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{
    provider::{MintFault, MintFaultKind},
    secret_file,
};

/// The smallest key of RSA that is taken, bits.
const RSA_BITS: usize = 2048;

/// How a token is signed (RFC 7518 section 3, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSA with PKCS#1 v1.5 and SHA-256.
    Rs256,
    /// RSA with PSS and SHA-256.
    Ps256,
    /// The curve P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SignatureAlgorithm {
    /// The word for it in a token's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The private key of a file, read again for each use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The PEM file with the private key, readable by its owner only.
    pub file: PathBuf,
    /// By what name its issuer knows it.
    pub key_id: Option<String>,
    /// How it signs; what its kind says where there is none: `RS256`, `ES256` or `EdDSA`.
    pub algorithm: Option<SignatureAlgorithm>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    /// These claims, signed.
    pub(crate) async fn sign(&self, claims: &Value) -> Result<SecretString, MintFault> {
        let (of, claims) = (self.clone(), claims.to_string());
        let signed = tokio::task::spawn_blocking(move || of.sign_now(&claims)).await;
        let signed = signed.unwrap_or_else(|_| Err("signing with it failed".to_owned()));
        let shown = self.file.display();
        signed.map_err(|why| MintFault::new(MintFaultKind::Own, format!("the private key `{shown}`: {why}")))
    }

    fn sign_now(&self, claims: &str) -> Result<SecretString, String> {
        let pem = secret_file::read(&self.file)?;
        let key = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes())
            .map_err(|_| "it is no PEM file with a private key that has no passphrase".to_owned())?;
        let pair = Pair::of(&key)?;
        let algorithm = self.algorithm.unwrap_or_else(|| pair.usual());
        let mut header = json!({ "alg": algorithm.as_str(), "typ": "JWT" });
        if let (Some(id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(id));
        }
        let mut text = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims));
        let signature = pair.sign(algorithm, text.as_bytes())?;
        text.push('.');
        B64.encode_string(signature, &mut text);
        Ok(SecretString::from(text))
    }
}

impl Pair {
    fn of(key: &PrivateKeyDer<'_>) -> Result<Self, String> {
        let der = key.secret_der();
        let is_rsa_alone = matches!(key, PrivateKeyDer::Pkcs1(_));
        let rsa = if is_rsa_alone { RsaKeyPair::from_der(der) } else { RsaKeyPair::from_pkcs8(der) };
        if let Ok(pair) = rsa {
            if pair.public_modulus_len() * 8 < RSA_BITS {
                return Err(format!("a key of RSA has to have {RSA_BITS} bits: make a longer one"));
            }
            return Ok(Self::Rsa(pair));
        }
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self::Ec(pair));
        }
        let ed = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        ed.map(Self::Ed).map_err(|_| "it is none of RSA, P-256 and Ed25519: make one of these".to_owned())
    }

    const fn usual(&self) -> SignatureAlgorithm {
        match self {
            Self::Rsa(_) => SignatureAlgorithm::Rs256,
            Self::Ec(_) => SignatureAlgorithm::Es256,
            Self::Ed(_) => SignatureAlgorithm::EdDsa,
        }
    }

    fn sign(&self, algorithm: SignatureAlgorithm, text: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "signing with it failed".to_owned();
        let rsa = |pair: &RsaKeyPair, padding: &'static dyn signature::RsaEncoding| {
            let mut signed = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), text, &mut signed).map_err(failed)?;
            Ok(signed)
        };
        match (self, algorithm) {
            (Self::Rsa(pair), SignatureAlgorithm::Rs256) => rsa(pair, &signature::RSA_PKCS1_SHA256),
            (Self::Rsa(pair), SignatureAlgorithm::Ps256) => rsa(pair, &signature::RSA_PSS_SHA256),
            (Self::Ec(pair), SignatureAlgorithm::Es256) => {
                pair.sign(&SystemRandom::new(), text).map(|signed| signed.as_ref().to_vec()).map_err(failed)
            }
            (Self::Ed(pair), SignatureAlgorithm::EdDsa) => Ok(pair.sign(text).as_ref().to_vec()),
            _ => Err(format!("it can't sign with `{}`: correct `algorithm`, or leave it out", algorithm.as_str())),
        }
    }
}

/// A number that nobody can guess, as text.
pub(crate) fn nonce() -> Result<String, MintFault> {
    let mut random = [0_u8; 16];
    let filled = aws_lc_rs::rand::fill(&mut random);
    filled.map_err(|_| MintFault::new(MintFaultKind::Own, "there is no randomness for its assertion"))?;
    Ok(B64.encode(random))
}
