//! Tokens that are bound: to a key that is one lease's alone, and never taken unbound.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use bailiwick_pipeline::ports::{Access, Injection, Lease, LeaseTerms};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{tests::at, *};
use crate::stub::{Asked, Say, Stub, file, mint};

fn part(text: &str) -> Value {
    serde_json::from_slice(&B64.decode(text).unwrap()).unwrap()
}

/// What a strict server makes of a proof: its claims and the thumbprint of its key, or why not.
fn verified(proof: &str, method: &str, url: &str) -> Result<(Value, String), String> {
    let parts: Vec<&str> = proof.split('.').collect();
    let (header, claims) = (part(parts[0]), part(parts[1]));
    if header["typ"] != "dpop+jwt" || header["alg"] != "ES256" || header["jwk"].get("d").is_some() {
        return Err(format!("its header is {header}"));
    }
    let (x, y) = (header["jwk"]["x"].as_str().unwrap(), header["jwk"]["y"].as_str().unwrap());
    let point = [vec![4], B64.decode(x).unwrap(), B64.decode(y).unwrap()].concat();
    let signed = format!("{}.{}", parts[0], parts[1]);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &B64.decode(parts[2]).unwrap()).map_err(|_| "its signature is wrong")?;
    if claims["htm"] != method || claims["htu"] != url {
        return Err(format!("it is for another request: {claims}"));
    }
    let age = crate::stub::now_ms() / 1000 - claims["iat"].as_u64().unwrap().min(crate::stub::now_ms() / 1000);
    if age > 5 {
        return Err("it is old".to_owned());
    }
    let thumbprint = dpop::digest_of(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
    Ok((claims, thumbprint))
}

fn header<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    asked.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn bound(url: &Url, folder: &std::path::Path) -> OAuth {
    let mut provider = at(url, ClientAuthentication::Post(file(folder, "secret", "s3cret-of-ours")));
    provider.request.bound = Bound::Dpop;
    provider
}

/// An issuer that binds tokens to the key of their proof, each proof good once; it wants a nonce first where there is one.
async fn issuer(nonce: Option<&'static str>, token_type: &'static str) -> Stub {
    let used = Mutex::new(BTreeSet::new());
    let at = Arc::new(Mutex::new(String::new()));
    let place = Arc::clone(&at);
    let stub = Stub::new(move |asked| {
        if asked.line != "POST /token" {
            return Some(Say::ok(""));
        }
        let url = format!("{}token", place.lock().unwrap());
        let refused = |why: &str| Some(Say("400 Bad Request", "", json!({ "error": why }).to_string().into()));
        let Some(proof) = header(asked, "dpop") else { return refused("invalid_request") };
        let Ok((claims, jkt)) = verified(proof, "POST", &url) else { return refused("invalid_dpop_proof") };
        if !used.lock().unwrap().insert(claims["jti"].to_string()) || claims.get("ath").is_some() {
            return refused("invalid_dpop_proof");
        }
        if nonce.is_some_and(|nonce| claims["nonce"] != nonce) {
            let body = r#"{"error":"use_dpop_nonce"}"#;
            return Some(Say("400 Bad Request", "DPoP-Nonce: n-1\r\n", body.into()));
        }
        let claims = B64.encode(json!({ "cnf": { "jkt": jkt } }).to_string());
        let token = format!("eyJhbGciOiJFUzI1NiJ9.{claims}.canary-signature");
        Some(Say::ok(json!({ "access_token": token, "token_type": token_type, "expires_in": 600 }).to_string()))
    })
    .await;
    *at.lock().unwrap() = stub.url.to_string();
    stub
}

fn lease(minted: Minted) -> Lease {
    let injection = Injection::header("authorization", "DPoP ");
    let (id, reference, access) = ("lease-1".to_owned(), String::new(), Access::Read);
    Lease::new(LeaseTerms { id, provider: "oauth", reference, injection, expires_at_ms: u64::MAX, access }, minted.material)
        .unwrap()
}

#[tokio::test]
async fn each_lease_has_a_key_of_its_own_and_proves_each_request_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let stub = issuer(None, "DPoP").await;
    let provider = bound(&stub.url, folder.path());
    let mut keys = BTreeSet::new();
    for _ in 0..2 {
        let lease = lease(mint(&provider, Access::Read).await.0.unwrap());
        let prover = lease.prover().unwrap();
        let token = lease.secrets()[0].expose_secret().to_owned();
        let url = "https://tickets.example/mcp";
        let (first, second) = (prover.proof("POST", url).unwrap(), prover.proof("GET", url).unwrap());
        let (claims, jkt) = verified(first.expose_secret(), "POST", url).unwrap();
        assert_eq!(claims["ath"], dpop::digest_of(token.as_bytes()));
        assert_eq!(part(token.split('.').nth(1).unwrap())["cnf"]["jkt"], jkt.as_str());
        assert!(claims.get("nonce").is_none());
        let (other, same) = verified(second.expose_secret(), "GET", url).unwrap();
        assert!(other["jti"] != claims["jti"] && same == jkt);
        prover.heard("n-7");
        let third = prover.proof("DELETE", url).unwrap();
        assert_eq!(verified(third.expose_secret(), "DELETE", url).unwrap().0["nonce"], "n-7");
        assert!(!format!("{prover:?}").contains(&token));
        keys.insert(jkt);
    }
    assert_eq!(keys.len(), 2, "two tasks have two keys");
}

#[tokio::test]
async fn a_nonce_that_the_issuer_wants_is_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let stub = issuer(Some("n-1"), "dpop").await;
    mint(&bound(&stub.url, folder.path()), Access::Read).await.0.unwrap();
    assert_eq!(stub.count("POST /token"), 2);
    let stub = issuer(Some("another"), "DPoP").await;
    let fault = mint(&bound(&stub.url, folder.path()), Access::Read).await.0.unwrap_err();
    assert!(fault.kind == MintFaultKind::Refused && fault.why.contains("use_dpop_nonce"), "{fault}");
    assert_eq!(stub.count("POST /token"), 2, "once more, and no more than that");
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_refused_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let stub = issuer(None, "Bearer").await;
    let provider = bound(&stub.url, folder.path());
    let (minted, kept) = mint(&provider, Access::Read).await;
    let fault = minted.unwrap_err();
    assert!(fault.kind == MintFaultKind::Wrong && fault.why.contains("`Bearer`, and `DPoP` was asked for"), "{fault}");
    provider.revoke(&kept.unwrap(), crate::stub::now_ms()).await.unwrap();
    assert_eq!(stub.count("POST /revoke"), 1);
    for (cnf, kind, why) in [
        (json!({}), "DPoP", "bound to no key"),
        (json!({ "cnf": { "jkt": "another" } }), "DPoP", "another key"),
        (json!({ "cnf": { "x5t#S256": "c" } }), "DPoP", "another key"),
        (json!({ "cnf": { "kid": "k" } }), "DPoP", "can't show"),
        (json!({ "cnf": 7 }), "DPoP", "RFC 7800"),
    ] {
        let token = format!("e30.{}.canary-signature", B64.encode(cnf.to_string()));
        let said = json!({ "access_token": token, "token_type": kind, "expires_in": 600 }).to_string();
        let stub = Stub::new(move |_| Some(Say::ok(said.clone()))).await;
        let (minted, kept) = mint(&bound(&stub.url, folder.path()), Access::Read).await;
        let fault = minted.unwrap_err();
        assert!(fault.why.contains(why) && !fault.why.contains("canary") && kept.is_some(), "{cnf}: {fault}");
    }
}

#[tokio::test]
async fn what_a_token_is_bound_to_and_the_connector_does_not_present_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    let made = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()]).unwrap();
    let own = dpop::digest_of(made.cert.der());
    let identity = file(folder.path(), "identity.pem", &format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()));
    for (kind, presents, cnf, why) in [
        (Bound::Mtls, true, json!({ "cnf": { "x5t#S256": own } }), None),
        (Bound::Mtls, true, json!({ "cnf": { "x5t#S256": "other" } }), Some("another certificate")),
        (Bound::Mtls, true, json!({ "sub": "x" }), Some("bound to no certificate")),
        (Bound::None, true, json!({ "cnf": { "x5t#S256": own } }), None),
        (Bound::None, false, json!({ "cnf": { "x5t#S256": own } }), Some("presents none")),
        (Bound::None, false, json!({ "cnf": { "jkt": "k" } }), Some("another key than")),
        (Bound::None, false, json!({ "sub": "x" }), None),
    ] {
        let token = format!("e30.{}.canary-signature", B64.encode(cnf.to_string()));
        let said = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 }).to_string();
        let stub = Stub::new(move |_| Some(Say::ok(said.clone()))).await;
        let mut provider = at(&stub.url, ClientAuthentication::Post(secret.clone()));
        provider.request.bound = kind;
        provider.request.identity = presents.then(|| identity.clone());
        let (minted, kept) = mint(&provider, Access::Read).await;
        assert!(kept.is_some());
        match why {
            None => assert!(minted.is_ok(), "{kind:?} {cnf}: {minted:?}"),
            Some(why) => assert!(minted.unwrap_err().why.contains(why), "{kind:?} {cnf}"),
        }
    }
}

#[tokio::test]
async fn an_issuer_that_takes_no_such_proof_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let place = Arc::new(Mutex::new(String::new()));
    let at = Arc::clone(&place);
    let stub = Stub::new(move |_| {
        let issuer = at.lock().unwrap().clone();
        let base = issuer.trim_end_matches('/');
        let metadata = json!({ "issuer": issuer, "token_endpoint": format!("{base}/token"),
            "revocation_endpoint": format!("{base}/revoke"), "dpop_signing_alg_values_supported": ["EdDSA"] });
        Some(Say::ok(metadata.to_string()))
    })
    .await;
    *place.lock().unwrap() = stub.url.to_string();
    let mut provider = bound(&stub.url, folder.path());
    provider.server.place = OAuthPlace::Issuer(stub.url.clone());
    let fault = mint(&provider, Access::Read).await.0.unwrap_err();
    assert!(fault.kind == MintFaultKind::Unsupported && fault.why.contains("`ES256`"), "{fault}");
    assert_eq!(stub.count("POST"), 0);
}

#[test]
fn a_proof_costs_little() {
    let key = ProofKey::new(1).unwrap();
    let prover = TokenProver::of(key, &SecretString::from("canary-token".to_owned()));
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        bailiwick_pipeline::ports::Prover::proof(prover.as_ref(), "POST", "https://tickets.example/mcp").unwrap();
    }
    let each = begun.elapsed() / 200;
    eprintln!("a proof: {each:?}");
    assert!(each < Duration::from_millis(20), "{each:?}");
}
