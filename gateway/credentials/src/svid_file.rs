//! JWT-SVIDs of SPIFFE that an agent of the machine writes to a file for the server's audience, as `spiffe-helper` does, and renews there.
//!
//! They can't be taken back: they end soon, by themselves. What is read is judged as far as it can be without the keys of the trust domain:
//! whom it is for, whose it is, and when it ends. Its signature is judged by whom it is shown to.

use std::{path::PathBuf, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    secret_file,
};

/// One that ends sooner is not lent: its file is read when the next one is there, milliseconds.
const SHORTEST_MS: u64 = 5_000;

/// A file with a JWT-SVID.
#[derive(Debug, Clone)]
pub struct SvidFile {
    /// Its path.
    pub path: PathBuf,
    /// The trust domain of its subject.
    pub trust_domain: String,
    /// The one audience that it is for.
    pub audience: String,
    /// For how long it may live at most.
    pub longest: Option<Duration>,
}

/// What a JWT-SVID says (SPIFFE, JWT-SVID, section 3).
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audience,
    exp: u64,
    #[serde(default)]
    nbf: u64,
}

/// How it is signed (section 2).
#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// How one may be signed (section 2.1): by a key that whoever it is shown to has the public half of.
const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// The longest SPIFFE ID, bytes (SPIFFE-ID, section 2.3).
const ID_BYTES: usize = 2048;

/// By so much the clock of whoever issued it may be ahead, milliseconds.
const SKEW_MS: u64 = 5_000;

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl SvidFile {
    async fn read(&self, wish: &Wish) -> Result<Minted, MintFault> {
        let (path, shown) = (self.path.clone(), self.path.display());
        let read = tokio::task::spawn_blocking(move || secret_file::read(&path)).await;
        let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
        let token = read.map_err(|why| MintFault::new(MintFaultKind::Own, format!("the JWT-SVID in `{shown}`: {why}")))?;
        let claims = claims(&token).ok_or_else(|| {
            MintFault::new(MintFaultKind::Wrong, format!("`{shown}` has no JWT-SVID: it takes one, as `spiffe-helper` writes it"))
        })?;
        let expires_at_ms = claims.exp.saturating_mul(1000);
        self.judge(&claims, expires_at_ms, wish)?;
        let reference = format!("{} for {}", claims.sub, self.audience);
        Ok(Minted { material: Material::of(token), reference, expires_at_ms: Some(expires_at_ms), handle: None })
    }

    fn judge(&self, claims: &Claims, expires_at_ms: u64, wish: &Wish) -> Result<(), MintFault> {
        let shown = self.path.display();
        let wrong = |what: String| Err(MintFault::new(MintFaultKind::Wrong, format!("the JWT-SVID in `{shown}` {what}")));
        let audiences = match &claims.aud {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Many(many) => many.as_slice(),
        };
        if !matches!(audiences, [only] if *only == self.audience) {
            return wrong(format!("is not for `{}` alone: have it written for this audience", self.audience));
        }
        let path = claims.sub.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(self.trust_domain.as_str()));
        let Some(path) = path.filter(|path| path.is_empty() || path.starts_with('/')) else {
            return wrong(format!("is not of the trust domain `{}`", self.trust_domain));
        };
        if claims.sub.len() > ID_BYTES || !is_workload(path) {
            return wrong("has no SPIFFE ID of a workload as its subject".to_owned());
        }
        if claims.nbf.saturating_mul(1000) > wish.now_ms.saturating_add(SKEW_MS) {
            return wrong("is not good yet: compare the clocks of this machine and of its issuer".to_owned());
        }
        if expires_at_ms < wish.now_ms.saturating_add(SHORTEST_MS) {
            return wrong("has ended, or is about to: see whether what writes it still runs".to_owned());
        }
        Ok(())
    }
}

/// Whether it is the path of a SPIFFE ID of a workload (SPIFFE-ID, section 2.2).
fn is_workload(path: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        is_plain && !matches!(segment, "" | "." | "..")
    };
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment))
}

/// What a token in the compact form says; none where it is no such.
fn claims(token: &SecretString) -> Option<Claims> {
    let mut parts = token.expose_secret().split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if signature.is_empty() || !ALGORITHMS.contains(&header.alg.as_str()) {
        return None;
    }
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    serde_json::from_slice(&payload).ok()
}

impl Provider for SvidFile {
    fn name(&self) -> &'static str {
        "svid_file"
    }

    fn reference(&self, _: Access) -> String {
        format!("{} for {}", self.path.display(), self.audience)
    }

    fn is_revocable(&self) -> bool {
        false
    }

    fn longest(&self) -> Option<Duration> {
        self.longest
    }

    /// Its end is the issuer's to say: it is short, and bounded by [`Self::longest`].
    fn decides_lifetime(&self) -> bool {
        true
    }

    fn mint<'a>(&'a self, wish: &'a Wish, _: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.read(wish))
    }

    fn revoke<'a>(&'a self, _: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(std::future::ready(Err(RevokeFault::new("a JWT-SVID can't be taken back: it ends by itself"))))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::exec::tests::{Kept, wish};

    const AUDIENCE: &str = "https://tickets.example.org/mcp";

    fn svid(payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{}", part(&json!({"alg": "ES256", "kid": "k"})), part(payload), URL_SAFE_NO_PAD.encode([7; 64]))
    }

    /// One that nobody signed with a key of the trust domain, by what it says itself.
    fn unsigned(sub: &str, exp: u64, alg: &str) -> String {
        let (_, rest) = svid(&json!({"sub": sub, "aud": AUDIENCE, "exp": exp}))
            .split_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string()))
    }

    async fn minted(text: &str, mode: u32) -> Result<Minted, MintFault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt_svid.token");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (trust_domain, audience) = ("example.org".to_owned(), AUDIENCE.to_owned());
        SvidFile { path, trust_domain, audience, longest: None }.mint(&wish(300), &Kept::default()).await
    }

    #[tokio::test]
    async fn it_is_lent_until_it_ends() {
        let ends_s = wish(0).now_ms / 1000 + 200;
        for aud in [json!(AUDIENCE), json!([AUDIENCE])] {
            let token = svid(&json!({"sub": "spiffe://example.org/gateway", "aud": aud, "exp": ends_s}));
            let minted = minted(&token, 0o600).await.unwrap();
            assert_eq!(minted.expires_at_ms, Some(ends_s * 1000));
            assert!(minted.handle.is_none());
            assert_eq!(minted.reference, format!("spiffe://example.org/gateway for {AUDIENCE}"));
        }
    }

    #[tokio::test]
    async fn one_for_others_or_of_others_or_at_its_end_is_not() {
        let ends_s = wish(0).now_ms / 1000 + 200;
        let of = |sub: &str, aud: Value, exp: u64| svid(&json!({"sub": sub, "aud": aud, "exp": exp}));
        let own = "spiffe://example.org/gateway";
        for (token, mode, why) in [
            (of(own, json!("https://other.example.org"), ends_s), 0o600, "is not for"),
            (of(own, json!([AUDIENCE, "https://other.example.org"]), ends_s), 0o600, "alone"),
            (of(own, json!([]), ends_s), 0o600, "is not for"),
            (of("spiffe://example.org.evil/gateway", json!(AUDIENCE), ends_s), 0o600, "trust domain"),
            (of("example.org", json!(AUDIENCE), ends_s), 0o600, "trust domain"),
            (of(own, json!(AUDIENCE), ends_s - 200), 0o600, "ended"),
            (of(own, json!(AUDIENCE), ends_s), 0o644, "chmod 600"),
            (of("spiffe://example.org", json!(AUDIENCE), ends_s), 0o600, "no SPIFFE ID"),
            (of("spiffe://example.org/a/../gateway", json!(AUDIENCE), ends_s), 0o600, "no SPIFFE ID"),
            (of("spiffe://example.org/a\nb", json!(AUDIENCE), ends_s), 0o600, "no SPIFFE ID"),
            (of(&format!("{own}{}", "x".repeat(3000)), json!(AUDIENCE), ends_s), 0o600, "no SPIFFE ID"),
            (svid(&json!({"sub": own, "aud": AUDIENCE, "exp": ends_s, "nbf": ends_s - 100})), 0o600, "not good yet"),
            (unsigned(own, ends_s, "none"), 0o600, "no JWT-SVID"),
            (unsigned(own, ends_s, "HS256"), 0o600, "no JWT-SVID"),
            ("not a token".to_owned(), 0o600, "no JWT-SVID"),
            (svid(&json!({"sub": own, "aud": AUDIENCE})), 0o600, "no JWT-SVID"),
            (
                svid(&json!({"sub": own, "aud": AUDIENCE, "exp": ends_s})).rsplit_once('.').unwrap().0.to_owned(),
                0o600,
                "no JWT-SVID",
            ),
        ] {
            let fault = minted(&token, mode).await.unwrap_err();
            assert!(fault.why.contains(why), "{}", fault.why);
            assert!(!fault.why.contains(&token), "{}", fault.why);
        }
    }
}
