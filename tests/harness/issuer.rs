//! An issuer of tokens whose keys we have, and a real server for the documents that issuers publish.
#![allow(dead_code, reason = "the tests of the crate that verifies tokens use it too, and another part of it")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Base64url without padding.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256, base64url.
pub fn sha256(text: &str) -> String {
    base64url(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// A key pair.
pub struct Signer {
    kid: String,
    pair: Pair,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    /// For `ES256`.
    pub fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::P256(pair) }
    }

    /// For `ES384`.
    pub fn es384(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::P384(pair) }
    }

    /// For `EdDSA`.
    pub fn eddsa(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()) }
    }

    /// For `RS256`, and `PS256` where it is asked for by a header.
    pub fn rsa(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())) }
    }

    /// Its usual algorithm.
    pub fn alg(&self) -> &'static str {
        match &self.pair {
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// Its public key, with nothing but what it has to have.
    pub fn bare_jwk(&self) -> Value {
        let point = |curve: &str, public: &[u8]| {
            let (x, y) = public[1..].split_at(public.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
        };
        match &self.pair {
            Pair::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())}),
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": base64url(public.n), "e": base64url(public.e)})
            }
        }
    }

    /// Its public key as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.bare_jwk();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The same for JWT-SVIDs.
    pub fn svid_jwk(&self) -> Value {
        let mut jwk = self.jwk();
        jwk["use"] = json!("jwt-svid");
        jwk
    }

    /// The thumbprint of its public key (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let jwk = self.bare_jwk();
        let members: BTreeMap<String, Value> = jwk.as_object().unwrap().clone().into_iter().collect();
        sha256(&serde_json::to_string(&members).unwrap())
    }

    /// A token with these claims, as issuers sign them.
    pub fn token(&self, claims: &Value) -> String {
        self.signed(&json!({"alg": self.alg(), "kid": self.kid, "typ": "JWT"}).to_string(), &claims.to_string())
    }

    /// A token with this header, whatever it says.
    pub fn with_header(&self, header: &Value, claims: &Value) -> String {
        self.signed(&header.to_string(), &claims.to_string())
    }

    /// Header and claims as written, signed.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", base64url(header), base64url(claims));
        let is_pss = header.contains("PS256");
        format!("{text}.{}", base64url(self.signature(text.as_bytes(), is_pss)))
    }

    fn signature(&self, text: &[u8], is_pss: bool) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(text).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = if is_pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, text, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A proof of this key for one request with this token (`DPoP`).
    pub fn proof(&self, claims: &Value) -> String {
        self.with_header(&json!({"typ": "dpop+jwt", "alg": self.alg(), "jwk": self.bare_jwk()}), claims)
    }
}

/// The document with these keys.
pub fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

/// What a server of documents answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This document.
    Json(String),
    /// This document, with a header of its own.
    With(&'static str, String),
    /// These bytes, status line and all.
    Raw(String),
    /// A document without an end.
    Endless,
    /// Nothing, for as long as it is waited for.
    Silent,
    /// This document, after a while.
    Late(Duration, String),
}

/// A server of documents, on a port of its own.
#[derive(Debug, Clone)]
pub struct KeyServer {
    /// Where it is.
    pub url: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl KeyServer {
    /// Serves these keys at `/keys`.
    pub fn of(keys: &[Value]) -> Self {
        let server = Self::new();
        server.answer("/keys", Answer::Json(jwks(keys)));
        server
    }

    /// Serves nothing yet.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, answers: Arc::default(), asked: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        server
    }

    /// Where its keys are.
    pub fn keys_url(&self) -> String {
        format!("{}/keys", self.url)
    }

    /// What it answers at this path from now on.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
        lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
        self.asked.lock().unwrap().push(path.clone());
        let answer = self.answers.lock().unwrap().get(&path).cloned();
        let json = |header: &str, text: &str| {
            let length = text.len();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{text}"
            )
        };
        let text = match answer {
            None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
            Some(Answer::Json(text)) => json("", &text),
            Some(Answer::With(header, text)) => json(&format!("{header}\r\n"), &text),
            Some(Answer::Raw(text)) => text,
            Some(Answer::Late(after, text)) => {
                std::thread::sleep(after);
                json("", &text)
            }
            Some(Answer::Endless) => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"keys\":[")
                    .ok()?;
                loop {
                    stream.write_all(&[b' '; 4096]).ok()?;
                }
            }
            Some(Answer::Silent) => {
                // Until the other side goes.
                lines.for_each(drop);
                return None;
            }
        };
        stream.write_all(text.as_bytes()).ok()
    }
}
