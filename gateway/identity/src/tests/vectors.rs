//! Signatures that nobody here made: Wycheproof's.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    compact,
    keys::{KeySet, Usage},
};

/// The vectors. Without them the test is skipped with a message, but under `CI=true` it fails.
fn vectors() -> Option<Value> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/jws/json_web_signature_test.json");
    if let Ok(text) = fs::read(&file) {
        return Some(serde_json::from_slice(&text).unwrap());
    }
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!is_ci, "test vectors are missing: {}", file.display());
    eprintln!("skipped: no test vectors at {}", file.display());
    None
}

/// Whether a signed text is taken, by the one key that its issuer publishes.
fn is_taken(jws: &str, key: &Value) -> bool {
    let Ok(token) = compact::compact(jws) else { return false };
    let keys = KeySet::read(json!({"keys": [key]}).to_string().as_bytes(), Usage::Signature).unwrap();
    keys.key_for(&token).is_ok_and(|key| key.signed(&token))
}

/// Attacks 55 and 56, as others made them: 401 of them.
#[test]
fn no_invalid_signature_is_taken_and_every_asymmetric_one_that_is_valid() {
    let Some(vectors) = vectors() else { return };
    let (mut taken, mut refused, mut not_ours) = (0, 0, Vec::new());
    for group in vectors["testGroups"].as_array().unwrap() {
        // A symmetric key has no public half: it is tried as if an issuer published it.
        let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        for test in group["tests"].as_array().unwrap() {
            // One of them is no text: JSON serialization.
            let jws = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let is_taken = is_taken(&jws, key);
            match (test["result"].as_str().unwrap(), is_taken) {
                ("valid", true) => taken += 1,
                ("invalid", false) => refused += 1,
                ("valid", false) => not_ours.push((test["tcId"].as_u64().unwrap(), key["kty"].as_str(), key["crv"].as_str())),
                (result, _) => panic!("{} is {result}, and taken: {is_taken}", test["tcId"]),
            }
        }
    }
    // Symmetric keys; P-521, which no issuer of ours signs with; and two whose key says that it is for another algorithm (PS256) than the
    // token names (PS384).
    let is_refused_by_us =
        |id: u64, kty: Option<&str>, crv: Option<&str>| kty == Some("oct") || crv == Some("P-521") || [346, 350].contains(&id);
    assert!(not_ours.iter().all(|(id, kty, crv)| is_refused_by_us(*id, *kty, *crv)), "{not_ours:?}");
    eprintln!("{taken} valid taken, {refused} invalid refused, {} valid that are none of ours", not_ours.len());
    assert_eq!(taken + refused + not_ours.len(), 401);
    assert!(taken >= 30 && refused >= 300);
}
