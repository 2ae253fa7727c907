//! What tokens prove, with real keys and real servers of keys.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may fail by panicking"
)]

mod claims;
mod headers;
#[path = "../../../../tests/harness/issuer.rs"]
mod issuer;
mod keys;
mod profiles;
mod proofs;
mod replaced;
mod tls;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use self::issuer::{KeyServer, Signer};
use crate::{Algorithm, IssuerSpec, Issuers, KeySource, Profile, Proven, SenderConstraint, TokenFault};

/// The time of all tests, unix seconds and milliseconds.
const NOW_S: u64 = 1_790_000_000;
const NOW: u64 = NOW_S * 1000;

/// Whom tokens are for, and the issuer that they are by.
const US: &str = "https://gateway.example.com/mcp";
const ISS: &str = "https://login.example.com";

/// An issuer with keys at this server.
fn spec(server: &KeyServer) -> IssuerSpec {
    IssuerSpec {
        id: "corp".to_owned(),
        profile: Profile::Oidc { subject: "sub".to_owned(), instance: None },
        issuer: Some(ISS.to_owned()),
        source: KeySource::Url(server.keys_url().parse().unwrap()),
        roots: None,
        audience: None,
        algorithms: Algorithm::ALL.to_vec(),
        max_lifetime: Duration::from_hours(24),
        max_stale: Duration::from_hours(1),
        sender_constraint: SenderConstraint::None,
    }
}

/// At a gateway that started a while ago.
fn issuers(specs: &[IssuerSpec]) -> Issuers {
    let issuers = Issuers::new(US, NOW - 3_600_000);
    issuers.set(specs);
    issuers
}

/// What a good token says.
fn claims() -> Value {
    json!({"iss": ISS, "sub": "agent-a", "aud": US, "iat": NOW_S, "exp": NOW_S + 600})
}

/// The claims of a good token, with some of them replaced, or taken out by `null`.
fn but(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// One issuer with one key, and its server.
struct Desk {
    signer: Signer,
    server: KeyServer,
    issuers: Issuers,
}

impl Desk {
    fn new() -> Self {
        Self::of(Signer::new("k1"), |spec| spec)
    }

    fn of(signer: Signer, change: impl FnOnce(IssuerSpec) -> IssuerSpec) -> Self {
        let server = KeyServer::of(&[signer.jwk()]);
        let issuers = issuers(&[change(spec(&server))]);
        Self { signer, server, issuers }
    }

    async fn prove(&self, token: &str) -> Result<Arc<Proven>, TokenFault> {
        self.issuers.prove(token, NOW).await
    }

    async fn claim(&self, claims: &Value) -> Result<Arc<Proven>, TokenFault> {
        self.prove(&self.signer.token(claims)).await
    }
}
