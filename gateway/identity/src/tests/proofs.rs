//! Proofs of a key, for one request each.

use serde_json::{Value, json};

use super::{
    Desk, NOW, NOW_S, US, but,
    issuer::{Signer, sha256},
};
use crate::{IssuerSpec, Issuers, Proven, SenderConstraint, TokenFault};

struct Bound {
    desk: Desk,
    holder: Signer,
    token: String,
    proven: std::sync::Arc<Proven>,
}

async fn bound(holder: Signer) -> Bound {
    let desk = Desk::of(Signer::new("k1"), |spec| IssuerSpec { sender_constraint: SenderConstraint::Dpop, ..spec });
    let token = desk.signer.token(&but(&json!({"cnf": {"jkt": holder.thumbprint()}})));
    let proven = desk.prove(&token).await.unwrap();
    Bound { desk, holder, token, proven }
}

impl Bound {
    fn good(&self, id: &str) -> Value {
        json!({"jti": id, "htm": "POST", "htu": US, "iat": NOW_S, "ath": sha256(&self.token)})
    }

    fn check(&self, proof: &str, method: &str) -> Result<(), TokenFault> {
        self.desk.issuers.check_proof(&self.proven, &self.token, (proof, method), NOW)
    }
}

/// Attack 67.
#[tokio::test]
async fn a67_a_proof_is_for_one_request_with_one_token_by_one_key() {
    for holder in [Signer::new(""), Signer::eddsa(""), Signer::rsa(""), Signer::es384("")] {
        let bound = bound(holder).await;
        bound.check(&bound.holder.proof(&bound.good("1")), "POST").unwrap();
        let again = bound.check(&bound.holder.proof(&bound.good("1")), "POST").unwrap_err();
        assert!(again.to_string().contains("shown before"), "{again}");
        bound.check(&bound.holder.proof(&bound.good("2")), "POST").unwrap();
    }
    let bound = bound(Signer::new("")).await;
    for (name, value) in [
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("htm", Value::Null),
        ("htu", json!("https://gateway.example.com/other")),
        ("htu", json!("https://evil.example.com/mcp")),
        ("htu", json!("http://gateway.example.com/mcp")),
        ("htu", json!(format!("{US}?x=1"))),
        ("htu", json!(format!("{US}#x"))),
        ("htu", Value::Null),
        ("ath", json!(sha256("another token"))),
        ("ath", json!(bound.token)),
        ("ath", Value::Null),
        ("jti", json!("")),
        ("jti", json!("x".repeat(300))),
        ("jti", json!(5)),
        ("jti", Value::Null),
        ("iat", json!(NOW_S + 6)),
        ("iat", json!(NOW_S - 61)),
        ("iat", json!(NOW_S.to_string())),
        ("iat", json!(1_790_000_000.5)),
        ("iat", Value::Null),
    ] {
        let mut claims = bound.good("x");
        claims[name] = value.clone();
        let fault = bound.check(&bound.holder.proof(&claims), "POST").unwrap_err();
        assert!(matches!(fault, TokenFault::Proof(_)), "{name} {value}");
    }
    bound.check(&bound.holder.proof(&bound.good("x")), "POST").expect("nothing of that was remembered as shown");
}

#[tokio::test]
async fn a67_a_proof_is_by_the_key_that_the_token_is_bound_to() {
    let bound = bound(Signer::new("")).await;
    let (mine, theirs) = (&bound.holder, Signer::new(""));
    let header = |jwk: &Value| json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let claims = bound.good("x");
    let mut with_private = mine.bare_jwk();
    with_private["d"] = json!("AAAA");
    for proof in [
        theirs.proof(&claims),
        theirs.with_header(&header(&mine.bare_jwk()), &claims),
        mine.with_header(&header(&theirs.bare_jwk()), &claims),
        mine.with_header(&header(&with_private), &claims),
        mine.with_header(&json!({"typ": "JWT", "alg": "ES256", "jwk": mine.bare_jwk()}), &claims),
        mine.with_header(&json!({"alg": "ES256", "jwk": mine.bare_jwk()}), &claims),
        mine.with_header(&json!({"typ": "dpop+jwt", "alg": "none", "jwk": mine.bare_jwk()}), &claims),
        mine.with_header(&json!({"typ": "dpop+jwt", "alg": "HS256", "jwk": mine.bare_jwk()}), &claims),
        mine.with_header(&json!({"typ": "dpop+jwt", "alg": "ES384", "jwk": mine.bare_jwk()}), &claims),
        mine.with_header(&json!({"typ": "dpop+jwt", "alg": "ES256"}), &claims),
        mine.with_header(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": "x"}), &claims),
        mine.with_header(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": mine.bare_jwk(), "crit": ["x"]}), &claims),
        bound.token.clone(),
        String::new(),
        "a.b.c".to_owned(),
    ] {
        assert!(matches!(bound.check(&proof, "POST"), Err(TokenFault::Proof(_))), "{proof}");
    }
    bound.check(&mine.proof(&claims), "POST").unwrap();
    // A token that is bound to nothing has nothing to prove, and one that is bound is no bearer token.
    assert!(bound.desk.issuers.check_bearer(&bound.proven, None).is_err());
    assert!(matches!(bound.desk.claim(&super::claims()).await.unwrap_err(), TokenFault::Bound(_)));
}

#[tokio::test]
async fn a67_proofs_that_end_are_forgotten_and_never_before() {
    let bound = bound(Signer::new("")).await;
    let show = |id: &str, made_s: u64, now_s: u64| {
        let mut claims = bound.good(id);
        claims["iat"] = json!(made_s);
        bound.desk.issuers.check_proof(&bound.proven, &bound.token, (&bound.holder.proof(&claims), "POST"), now_s * 1000)
    };
    show("a", NOW_S + 5, NOW_S).unwrap();
    for now_s in [NOW_S, NOW_S + 1, NOW_S + 64, NOW_S + 65] {
        let fault = show("a", NOW_S + 5, now_s).unwrap_err();
        assert!(fault.to_string().contains("shown before"), "{now_s}: {fault}");
    }
    show("b", NOW_S + 5, NOW_S + 65).unwrap();
    assert!(show("c", NOW_S + 5, NOW_S + 66).is_err(), "too old by then");
    let other = Signer::new("");
    let claims = json!({"jti": "a", "htm": "POST", "htu": US, "iat": NOW_S, "ath": sha256("t")});
    let proven = Proven { bound_to: Some(crate::issuer::Binding::Key(other.thumbprint())), ..plain() };
    bound.desk.issuers.check_proof(&proven, "t", (&other.proof(&claims), "POST"), NOW).expect("another key has ids of its own");
}

/// A gateway that was started again remembers nothing: what the one before may have been shown is not good.
#[tokio::test]
async fn a67_no_proof_is_good_before_and_after_a_restart() {
    let bound = bound(Signer::new("")).await;
    for ahead in 0..=5 {
        let mut claims = bound.good(&format!("{ahead}"));
        claims["iat"] = json!(NOW_S + ahead);
        let proof = bound.holder.proof(&claims);
        bound.check(&proof, "POST").unwrap();
        let again = Issuers::new(US, NOW);
        for later in [0, ahead, 6, 60] {
            let now = NOW + later * 1000;
            let fault = again.check_proof(&bound.proven, &bound.token, (&proof, "POST"), now).unwrap_err();
            let is_proof = matches!(fault, TokenFault::Proof(_) | TokenFault::Nonce { .. });
            assert!(is_proof, "{ahead} ahead, {later} later: {fault}");
        }
    }
    let mut claims = bound.good("new");
    claims["iat"] = json!(NOW_S + 6);
    let proof = bound.holder.proof(&claims);
    Issuers::new(US, NOW).check_proof(&bound.proven, &bound.token, (&proof, "POST"), NOW + 6000).unwrap();
}

/// Who is told a nonce right after the start is let in with it: it was told to nobody before.
#[tokio::test]
async fn a67_a_proof_with_a_nonce_of_ours_is_good_right_after_the_start() {
    let bound = bound(Signer::new("")).await;
    let again = Issuers::new(US, NOW);
    let check = |claims: &Value, now_ms: u64| {
        again.check_proof(&bound.proven, &bound.token, (&bound.holder.proof(claims), "POST"), now_ms)
    };
    let with = |id: &str, made_s: u64, nonce: &Value| {
        let mut claims = bound.good(id);
        (claims["iat"], claims["nonce"]) = (json!(made_s), nonce.clone());
        claims
    };
    let nonce_of = |refused: Result<(), TokenFault>| match refused.unwrap_err() {
        TokenFault::Nonce { nonce, .. } => json!(nonce),
        other => panic!("{other}"),
    };
    let nonce = nonce_of(check(&bound.good("1"), NOW));
    check(&with("1", NOW_S, &nonce), NOW).unwrap();
    assert!(check(&with("1", NOW_S, &nonce), NOW).unwrap_err().to_string().contains("shown before"), "good once, as ever");
    check(&with("2", NOW_S, &nonce), NOW + 1000).expect("a nonce is for more than one proof");
    // What is not ours, or old, is answered with another one, whenever it is shown.
    let other = nonce_of(Issuers::new(US, NOW).check_proof(
        &bound.proven,
        &bound.token,
        (&bound.holder.proof(&bound.good("x")), "POST"),
        NOW,
    ));
    for bad in [json!(""), json!("x"), json!(5), Value::Null, other] {
        nonce_of(check(&with("3", NOW_S + 60, &bad), NOW + 60_000));
    }
    let late_s = NOW_S + 301;
    let fresh = nonce_of(check(&with("3", late_s, &nonce), late_s * 1000));
    check(&with("3", late_s, &fresh), late_s * 1000).unwrap();
    check(&with("4", late_s - 1, &nonce), (late_s - 1) * 1000).expect("just not too old");
    // By then one without is good as well; nothing else is forgiven for a nonce.
    let mut without = bound.good("5");
    without["iat"] = json!(late_s);
    check(&without, late_s * 1000).unwrap();
    for (name, value) in [("htm", json!("GET")), ("iat", json!(NOW_S - 61)), ("ath", json!("x"))] {
        let mut claims = with("6", NOW_S, &nonce);
        claims[name] = value;
        assert!(matches!(check(&claims, NOW).unwrap_err(), TokenFault::Proof(_)), "{name}");
    }
}

fn plain() -> Proven {
    Proven {
        issuer: "corp".to_owned(),
        subject: "agent-a".to_owned(),
        instance: None,
        method: crate::Method::Jwt,
        expires_at_s: NOW_S + 600,
        bound_to: None,
    }
}
