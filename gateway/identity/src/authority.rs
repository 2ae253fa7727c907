//! Authorities and certificates, made when a test needs them.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "for tests of several crates, each of which uses a part"
)]

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey, date_time_ymd,
};

/// A key, made and used by the one provider of cryptography.
pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    /// As PKCS #8, in DER.
    pub fn der(&self) -> Vec<u8> {
        self.0.to_pkcs8v1().unwrap().as_ref().to_vec()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.0.sign(&SystemRandom::new(), text).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signed.as_ref().to_vec())
    }
}

/// Who signs.
pub struct Signer(CertifiedIssuer<'static, Key>);

/// What a certificate is to say.
#[derive(Clone)]
pub struct Wish {
    pub uris: Vec<String>,
    pub names: Vec<String>,
    pub is_authority: bool,
    pub usages: Vec<KeyUsagePurpose>,
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
    /// Unix seconds.
    pub good: (u64, u64),
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// In DER, and in PEM.
    pub certificate: Vec<u8>,
    pub pem: String,
    pub key: Vec<u8>,
}

impl Wish {
    /// Of a workload.
    pub fn workload(id: &str) -> Self {
        Self {
            uris: vec![id.to_owned()],
            names: Vec::new(),
            is_authority: false,
            usages: vec![KeyUsagePurpose::DigitalSignature],
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            good: (1_500_000_000, 4_000_000_000),
        }
    }

    /// Of a server of this name.
    pub fn server(name: &str) -> Self {
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Self { uris: Vec::new(), names: vec![name.to_owned()], purposes, ..Self::workload("") }
    }

    /// Of an authority.
    pub fn authority() -> Self {
        let usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { uris: Vec::new(), is_authority: true, usages, purposes: Vec::new(), ..Self::workload("") }
    }

    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names).unwrap();
        params.subject_alt_names.extend(self.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())));
        params.is_ca = if self.is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.key_usages = self.usages;
        params.extended_key_usages = self.purposes;
        let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        (params.not_before, params.not_after) = (at(self.good.0), at(self.good.1));
        let mut serial = [0; 8];
        aws_lc_rs::rand::fill(&mut serial).unwrap();
        serial[0] = 1;
        params.serial_number = Some(SerialNumber::from(serial.to_vec()));
        params.key_identifier_method = KeyIdMethod::PreSpecified(serial.to_vec());
        params
    }
}

impl Signer {
    /// An authority that stands for itself.
    pub fn root() -> Self {
        let good = Wish::authority().good;
        Self::root_good(good)
    }

    /// The same, good between these two, unix seconds.
    pub fn root_good(good: (u64, u64)) -> Self {
        Self(CertifiedIssuer::self_signed(Wish { good, ..Wish::authority() }.params(), Key::new()).unwrap())
    }

    /// One below this one that says what is wished.
    pub fn below(&self, wish: Wish) -> Self {
        Self(CertifiedIssuer::signed_by(wish.params(), Key::new(), &self.0).unwrap())
    }

    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, wish: Wish) -> Issued {
        let key = Key::new();
        let certificate = wish.params().signed_by(&key, &self.0).unwrap();
        Issued { certificate: certificate.der().to_vec(), pem: certificate.pem(), key: key.der() }
    }
}

impl Issued {
    /// The key in PEM.
    pub fn key_pem(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = STANDARD.encode(&self.key);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }
}
