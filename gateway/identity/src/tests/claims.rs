//! What tokens say, and when it counts.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{Desk, NOW, NOW_S, US, but, claims, issuer::Signer};
use crate::{IssuerSpec, SenderConstraint, TokenFault};

#[tokio::test]
async fn a_token_is_for_us_or_for_nobody() {
    let desk = Desk::new();
    for aud in [json!(US), json!([US]), json!(["https://other.example.com", US])] {
        desk.claim(&but(&json!({"aud": aud}))).await.unwrap();
    }
    for aud in [
        Value::Null,
        json!(""),
        json!([]),
        json!("https://other.example.com"),
        json!(["https://other.example.com"]),
        json!(format!("{US}/")),
        json!("https://gateway.example.com"),
        json!("HTTPS://gateway.example.com/mcp"),
        json!({"aud": US}),
        json!([[US]]),
        json!([US, 5]),
        json!(5),
    ] {
        let fault = desk.claim(&but(&json!({"aud": aud}))).await.unwrap_err();
        assert!(matches!(fault, TokenFault::Audience(_)), "{aud}: {fault}");
    }
    let desk = Desk::of(Signer::new("k1"), |spec| IssuerSpec { audience: Some("agents".to_owned()), ..spec });
    desk.claim(&but(&json!({"aud": "agents"}))).await.unwrap();
    assert!(desk.claim(&claims()).await.is_err(), "then our address is another audience");
}

#[tokio::test]
async fn an_issuer_is_the_one_that_is_written_to_the_letter() {
    let desk = Desk::new();
    for iss in [
        Value::Null,
        json!("https://login.example.com/"),
        json!("HTTPS://login.example.com"),
        json!("https://login.example.com:443"),
        json!("https://login.example.org"),
        json!(["https://login.example.com"]),
        json!(""),
    ] {
        let fault = desk.claim(&but(&json!({"iss": iss}))).await.unwrap_err();
        assert!(matches!(fault, TokenFault::Issuer(_)), "{iss}: {fault}");
    }
    assert_eq!(desk.server.count(), 0);
}

#[tokio::test]
async fn a_subject_is_a_plain_text() {
    let desk = Desk::new();
    for sub in
        [Value::Null, json!(""), json!(" a"), json!("a\n"), json!("a\u{0}b"), json!(5), json!(["a"]), json!("a".repeat(3000))]
    {
        let fault = desk.claim(&but(&json!({"sub": sub}))).await.unwrap_err();
        assert!(matches!(fault, TokenFault::Claim { claim: "sub", .. }), "{sub}: {fault}");
    }
}

/// Attack 64.
#[tokio::test]
async fn a64_time_counts_to_the_second() {
    let desk = Desk::new();
    let day = 24 * 3600;
    for (changes, is_good) in [
        (json!({"exp": NOW_S + 1}), true),
        (json!({"exp": NOW_S - 29, "iat": NOW_S - 600}), true),
        (json!({"exp": NOW_S - 30, "iat": NOW_S - 600}), false),
        (json!({"exp": NOW_S - 31, "iat": NOW_S - 600}), false),
        (json!({"exp": 0}), false),
        (json!({"exp": null}), false),
        (json!({"exp": (NOW_S + 600).to_string()}), false),
        (json!({"exp": 1_790_000_600.5}), false),
        (json!({"exp": [NOW_S + 600]}), false),
        (json!({"exp": -1}), false),
        (json!({"exp": true}), false),
        (json!({"exp": u64::MAX}), false),
        (json!({"nbf": NOW_S + 30}), true),
        (json!({"nbf": NOW_S + 31}), false),
        (json!({"nbf": "0"}), false),
        (json!({"iat": NOW_S + 30}), true),
        (json!({"iat": NOW_S + 31}), false),
        (json!({"iat": 1.0}), false),
        (json!({"iat": null}), true),
        (json!({"exp": NOW_S + day}), true),
        (json!({"exp": NOW_S + day + 1}), false),
        (json!({"exp": NOW_S + day + 30, "iat": NOW_S + 30}), true),
        (json!({"exp": NOW_S + day + 31, "iat": NOW_S + 30}), false),
        (json!({"exp": NOW_S + 600, "iat": NOW_S - day}), false),
        (json!({"exp": NOW_S + day + 1, "iat": null}), false),
        (json!({"exp": 4_070_908_800_u64}), false),
    ] {
        let proven = desk.claim(&but(&changes)).await;
        assert_eq!(proven.is_ok(), is_good, "{changes}: {proven:?}");
    }
    // As written: what only looks like a whole number is none, and what is none of ours is not rounded.
    for exp in ["1.790000600e9", "1790000600.0", "17900006000000000000000", "1e400", "-0"] {
        let body = claims().to_string().replace(&(NOW_S + 600).to_string(), exp);
        assert!(body.contains(exp));
        let token = desk.signer.signed(&json!({"alg": "ES256", "kid": "k1"}).to_string(), &body);
        assert!(desk.prove(&token).await.is_err(), "{exp}");
    }
}

/// Attack 64: a token that was good is looked at again each time.
#[tokio::test]
async fn a64_what_was_proven_ends_when_its_time_does() {
    let desk = Desk::new();
    let token = desk.signer.token(&claims());
    let proven = desk.prove(&token).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&proven, &desk.prove(&token).await.unwrap()), "it is remembered");
    let ends = NOW + (600 + 30) * 1000;
    desk.issuers.prove(&token, ends - 1).await.unwrap();
    assert_eq!(desk.issuers.prove(&token, ends).await.unwrap_err(), TokenFault::Expired);
    // The clock an hour on, and back.
    assert_eq!(desk.issuers.prove(&token, NOW + 3_600_000).await.unwrap_err(), TokenFault::Expired);
    assert!(desk.issuers.prove(&desk.signer.token(&but(&json!({"jti": "2"}))), NOW - 3_600_000).await.is_err());
}

#[tokio::test]
async fn what_was_proven_counts_no_more_when_the_issuers_change() {
    let desk = Desk::new();
    let token = desk.signer.token(&claims());
    desk.prove(&token).await.unwrap();
    let same = super::spec(&desk.server);
    desk.issuers.set(std::slice::from_ref(&same));
    desk.prove(&token).await.unwrap();
    assert_eq!(desk.server.count(), 1, "an issuer that is what it was keeps its keys");
    desk.issuers.set_resource("https://elsewhere.example.com/mcp");
    assert!(matches!(desk.prove(&token).await.unwrap_err(), TokenFault::Audience(_)));
    desk.issuers.set_resource(US);
    desk.prove(&token).await.unwrap();
    desk.issuers.set(&[IssuerSpec { algorithms: vec![crate::Algorithm::Rs256], ..same }]);
    assert!(matches!(desk.prove(&token).await.unwrap_err(), TokenFault::NotOfIssuer { .. }));
    desk.issuers.set(&[]);
    assert!(matches!(desk.prove(&token).await.unwrap_err(), TokenFault::Issuer(_)));
}

#[tokio::test]
async fn a_token_that_is_bound_is_no_bearer_token() {
    let desk = Desk::new();
    let proven = desk.claim(&claims()).await.unwrap();
    desk.issuers.check_bearer(&proven, None).unwrap();
    desk.issuers.check_bearer(&proven, Some(&[7; 32])).unwrap();
    let bound = desk.claim(&but(&json!({"cnf": {"jkt": "x"}}))).await.unwrap();
    for certificate in [None, Some(&[7; 32])] {
        assert!(matches!(desk.issuers.check_bearer(&bound, certificate).unwrap_err(), TokenFault::Bound(_)));
    }
    for cnf in [
        json!({"x5t#S256": "x"}),
        json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 31])}),
        json!({"x5t#S256": STANDARD.encode([7; 32])}),
        json!({"x5t#S256": 7}),
        json!({"x5t": URL_SAFE_NO_PAD.encode([7; 32])}),
        json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32]), "kid": "k"}),
        json!({"jkt": "x", "x5t#S256": "x"}),
        json!({"jkt": 5}),
        json!({}),
        json!("x"),
        json!({"jwk": {}}),
    ] {
        assert!(matches!(desk.claim(&but(&json!({"cnf": cnf}))).await.unwrap_err(), TokenFault::Bound(_)), "{cnf}");
    }
}

/// RFC 8705, section 3: it counts over the connection of that certificate, and nowhere else.
#[tokio::test]
async fn a_token_of_a_certificate_counts_over_its_connection_alone() {
    let cnf = json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])});
    let strict = Desk::of(Signer::new("k1"), |spec| IssuerSpec { sender_constraint: SenderConstraint::Mtls, ..spec });
    for desk in [Desk::new(), strict] {
        let bound = desk.claim(&but(&json!({"cnf": cnf}))).await.unwrap();
        desk.issuers.check_bearer(&bound, Some(&[7; 32])).unwrap();
        for other in [None, Some(&[8; 32])] {
            assert!(matches!(desk.issuers.check_bearer(&bound, other).unwrap_err(), TokenFault::Bound(_)), "{other:?}");
        }
    }
    // Where the issuer has to bind its tokens so, one that is bound otherwise, or not at all, proves nothing.
    let strict = Desk::of(Signer::new("k1"), |spec| IssuerSpec { sender_constraint: SenderConstraint::Mtls, ..spec });
    for claims in [claims(), but(&json!({"cnf": {"jkt": "x"}}))] {
        assert!(matches!(strict.claim(&claims).await.unwrap_err(), TokenFault::Bound(_)));
    }
    let dpop = Desk::of(Signer::new("k1"), |spec| IssuerSpec { sender_constraint: SenderConstraint::Dpop, ..spec });
    assert!(matches!(dpop.claim(&but(&json!({"cnf": cnf}))).await.unwrap_err(), TokenFault::Bound(_)));
}
