//! An authenticator made of software: real keys and real signatures, as a browser would bring them. It also says what no honest one would.

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub const PRESENT: u8 = 1;
pub const VERIFIED: u8 = 4;
pub const BACKUP_ELIGIBLE: u8 = 8;
pub const BACKED_UP: u8 = 16;
pub const BRINGS_KEY: u8 = 64;
pub const BRINGS_EXTENSIONS: u8 = 128;

/// A key pair of one of the kinds that are taken.
pub enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    pub fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub fn eddsa() -> Self {
        Self::EdDsa(Ed25519KeyPair::generate().unwrap())
    }

    pub fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The public key, as authenticators write it (COSE).
    pub fn cose(&self) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..]);
                // {1: 2, 3: -7, -1: 1, -2: x, -3: y}
                [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32], x, &[0x22, 0x58, 32], y].concat()
            }
            // {1: 1, 3: -8, -1: 6, -2: x}
            Self::EdDsa(key) => [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32], key.public_key().as_ref()].concat(),
            Self::Rs256(key) => {
                let n = key.public_key().modulus().big_endian_without_leading_zero().to_vec();
                // {1: 3, 3: -257, -1: n, -2: e}
                [&[0xa4, 1, 3, 3, 0x39, 1, 0, 0x20, 0x59, 1, 0], n.as_slice(), &[0x21, 0x43, 1, 0, 1]].concat()
            }
        }
    }
}

/// One passkey in it.
pub struct Authenticator {
    pub key: Key,
    pub id: Vec<u8>,
    pub user: Vec<u8>,
    pub count: u32,
    pub flags: u8,
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

pub fn client_data(kind: &str, challenge: &str, origin: &str) -> Vec<u8> {
    // As browsers write it: with a key that is not there for good.
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false,"other_keys_can_be_added_here":"do not compare"}}"#)
        .into_bytes()
}

pub fn authenticator_data(party: &str, flags: u8, count: u32, rest: &[u8]) -> Vec<u8> {
    [sha256(party.as_bytes()).as_slice(), &[flags], &count.to_be_bytes(), rest].concat()
}

pub fn attested(id: &[u8], cose: &[u8]) -> Vec<u8> {
    [[0; 16].as_slice(), &u16::try_from(id.len()).unwrap().to_be_bytes(), id, cose].concat()
}

/// `{"fmt": "none", "attStmt": {}, "authData": …}`
pub fn attestation(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [b"\xa3cfmtdnonegattStmt\xa0hauthData\x59".as_slice(), &length, data].concat()
}

impl Authenticator {
    pub fn new(key: Key, id: &[u8]) -> Self {
        Self { key, id: id.to_vec(), user: Vec::new(), count: 0, flags: PRESENT | VERIFIED }
    }

    /// What a browser sends for `navigator.credentials.create` with these options, on a page of this origin.
    pub fn create(&mut self, options: &Value, origin: &str) -> Value {
        self.user = bytes(options["user"]["id"].as_str().unwrap());
        let client = client_data("webauthn.create", options["challenge"].as_str().unwrap(), origin);
        let party = options["rp"]["id"].as_str().unwrap();
        let rest = attested(&self.id, &self.key.cose());
        let data = authenticator_data(party, self.flags | BRINGS_KEY, self.count, &rest);
        json!({"id": text(&self.id), "clientDataJSON": text(&client), "attestationObject": text(&attestation(&data))})
    }

    /// What a browser sends for `navigator.credentials.get` with these options.
    pub fn get(&mut self, options: &Value, origin: &str) -> Value {
        self.count += 1;
        let client = client_data("webauthn.get", options["challenge"].as_str().unwrap(), origin);
        let data = authenticator_data(options["rpId"].as_str().unwrap(), self.flags, self.count, &[]);
        self.signed(&client, &data)
    }

    /// These, signed.
    pub fn signed(&self, client: &[u8], data: &[u8]) -> Value {
        let signature = self.key.sign(&[data, &sha256(client)].concat());
        json!({
            "id": text(&self.id), "clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(&signature),
            "userHandle": if self.user.is_empty() { Value::Null } else { text(&self.user).into() },
        })
    }
}
