//! Proof of possession at the application layer (`DPoP`, RFC 9449): with each request its sender shows that it has the key which its token is
//! bound to. A proof is good for one request.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    compact,
    fault::TokenFault,
    keys::{Key, sha256},
    nonce::Nonces,
};

/// How old a proof may be, seconds.
const WINDOW_S: u64 = 60;

/// How far ahead of ours the clock of its sender may be, seconds. For so long after a start proofs are refused that could have been shown
/// before it, unless they bear a nonce of ours: nobody had that before.
const AHEAD_S: u64 = 5;

/// The longest id of a proof, bytes.
const LONGEST_ID: usize = 256;

/// Proofs of one key that are remembered. More within the time that a proof is good are refused.
const REMEMBERED: usize = 32 * 1024;

/// What a proof is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The method of the request, as it came.
    pub(crate) method: &'a str,
    /// The URL by which agents reach the gateway.
    pub(crate) url: &'a str,
    /// The token that came with it.
    pub(crate) token: &'a str,
    /// The thumbprint of the key that the token is bound to.
    pub(crate) bound_to: &'a str,
}

/// Proofs that were shown, as long as they could be shown again.
pub(crate) struct Shown {
    /// Nothing that was shown before is remembered, so nothing that could have been is good. Unix seconds.
    since_s: u64,
    by_key: Mutex<HashMap<String, HashMap<[u8; 32], u64>>>,
    nonces: Nonces,
}

/// What a proof that holds says.
struct Read {
    /// What it is known by.
    id: [u8; 32],
    /// Unix seconds.
    made_at_s: u64,
    nonce: Option<String>,
}

impl Shown {
    pub(crate) fn since(since_s: u64) -> Self {
        Self { since_s, by_key: Mutex::default(), nonces: Nonces::fresh() }
    }

    /// Checks a proof, and that it is shown for the first time.
    pub(crate) fn check(&self, proof: &str, asked: Asked<'_>, now_s: u64) -> Result<(), TokenFault> {
        let Read { id, made_at_s, nonce } = read(proof, asked, now_s)?;
        match nonce {
            Some(nonce) if self.nonces.is_ours(&nonce, now_s) => {}
            Some(_) => return Err(self.wants_nonce("bears a nonce that is not the gateway's, or an old one", now_s)),
            // INVARIANT: what was shown by then was at most so far ahead.
            None if made_at_s <= self.since_s.saturating_add(AHEAD_S) => {
                let why = "was made before the gateway started, or just then, so nobody can tell whether it is new";
                return Err(self.wants_nonce(why, now_s));
            }
            None => {}
        }
        let good_until_s = made_at_s.saturating_add(WINDOW_S);
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if !by_key.contains_key(asked.bound_to) {
            // Rare enough to look at all of them: keys that showed nothing lately are forgotten.
            by_key.retain(|_, shown| {
                shown.retain(|_, until_s| *until_s >= now_s);
                !shown.is_empty()
            });
        }
        let shown = by_key.entry(asked.bound_to.to_owned()).or_default();
        if shown.len() >= REMEMBERED {
            shown.retain(|_, until_s| *until_s >= now_s);
        }
        if shown.contains_key(&id) {
            return Err(TokenFault::proof("was shown before"));
        }
        if shown.len() >= REMEMBERED {
            return Err(TokenFault::proof("is one of more than can be remembered: send fewer requests"));
        }
        shown.insert(id, good_until_s);
        Ok(())
    }

    /// Its sender is to make another one, with a nonce of ours: without randomness there is none, and only time helps.
    fn wants_nonce(&self, why: &str, now_s: u64) -> TokenFault {
        match self.nonces.at(now_s) {
            Some(nonce) => TokenFault::Nonce { why: why.to_owned(), nonce },
            None => TokenFault::proof(format!("{why}: send a new one some seconds after the start")),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("since_s", &self.since_s).finish_non_exhaustive()
    }
}

/// What a proof that holds says (RFC 9449, section 4.3).
fn read(proof: &str, asked: Asked<'_>, now_s: u64) -> Result<Read, TokenFault> {
    let token = compact::read(proof, &["dpop+jwt"]).map_err(|fault| TokenFault::proof(fault.to_string()))?;
    let Some(Value::Object(jwk)) = token.signed.header.get("jwk") else {
        return Err(TokenFault::proof("has no key in its header"));
    };
    let key = Key::public(jwk).map_err(|why| TokenFault::proof(format!("has a key that is not taken: {why}")))?;
    if key.thumbprint() != asked.bound_to {
        return Err(TokenFault::proof("is by another key than the token is bound to"));
    }
    if !key.signed(&token.signed) {
        return Err(TokenFault::proof("is not signed by the key in its header"));
    }
    let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
    if text("htm") != Some(asked.method) {
        return Err(TokenFault::proof("is for another method (`htm`)"));
    }
    if text("htu") != Some(asked.url) {
        return Err(TokenFault::proof(format!("is for another URL than `{}` (`htu`)", asked.url)));
    }
    if text("ath") != Some(URL_SAFE_NO_PAD.encode(sha256(asked.token.as_bytes())).as_str()) {
        return Err(TokenFault::proof("is for another token, or for none (`ath`)"));
    }
    let made_at_s = token.claims.get("iat").and_then(Value::as_u64);
    let made_at_s = made_at_s.ok_or_else(|| TokenFault::proof("does not say when it was made (`iat`)"))?;
    if made_at_s > now_s.saturating_add(AHEAD_S) || now_s > made_at_s.saturating_add(WINDOW_S) {
        return Err(TokenFault::proof("is too old, or from the future (`iat`)"));
    }
    let id = text("jti").filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    let id = id.ok_or_else(|| TokenFault::proof("has no id (`jti`), or a long one"))?;
    // What is no text is no nonce of ours.
    let nonce = token.claims.get("nonce").map(|nonce| nonce.as_str().unwrap_or_default().to_owned());
    Ok(Read { id: sha256(id.as_bytes()), made_at_s, nonce })
}
