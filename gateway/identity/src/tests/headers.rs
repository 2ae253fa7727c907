//! How tokens are signed and written.

use serde_json::{Value, json};

use super::{
    Desk, claims,
    issuer::{KeyServer, Signer, base64url, jwks},
    issuers, spec,
};
use crate::{Algorithm, IssuerSpec, TokenFault};

#[tokio::test]
async fn every_algorithm_that_is_taken_is_taken() {
    for signer in [Signer::new("k"), Signer::es384("k"), Signer::eddsa("k"), Signer::rsa("k")] {
        let desk = Desk::of(signer, |spec| spec);
        let proven = desk.claim(&claims()).await.unwrap();
        assert_eq!((proven.issuer(), proven.subject(), proven.instance()), ("corp", "agent-a", None));
    }
    let desk = Desk::of(Signer::rsa("k"), |spec| spec);
    let token = desk.signer.with_header(&json!({"alg": "PS256", "kid": "k"}), &claims());
    desk.prove(&token).await.unwrap();
}

/// Attack 55.
#[tokio::test]
async fn a55_a_token_that_nobody_signed_proves_nothing() {
    let desk = Desk::new();
    let body = base64url(claims().to_string());
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None", "kid": "k1"}),
        json!({"alg": "NONE"}),
        json!({"alg": "nOnE"}),
        json!({"alg": ""}),
        json!({"alg": null}),
        json!({"alg": ["ES256"]}),
        json!({"typ": "JWT"}),
        json!({}),
    ] {
        let head = base64url(header.to_string());
        for signature in ["", "AA"] {
            desk.prove(&format!("{head}.{body}.{signature}")).await.unwrap_err();
        }
        desk.prove(&desk.signer.with_header(&header, &claims())).await.unwrap_err();
    }
    let good = desk.signer.token(&claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    for empty in [format!("{signed}."), signed.to_owned(), format!("{signed}.."), format!("{good}.")] {
        desk.prove(&empty).await.unwrap_err();
    }
    assert_eq!(desk.server.count(), 0, "none of it has keys read");
    desk.prove(&good).await.unwrap();
}

/// Attack 56.
#[tokio::test]
async fn a56_a_public_key_is_no_secret_to_sign_with() {
    for signer in [Signer::new("k"), Signer::rsa("k")] {
        let desk = Desk::of(signer, |spec| spec);
        let jwk = desk.signer.jwk();
        let text = jwk.to_string();
        let modulus = jwk["n"].as_str().or(jwk["x"].as_str()).unwrap().to_owned();
        for (alg, secret) in
            [("HS256", text.as_str()), ("HS256", modulus.as_str()), ("HS384", "x"), ("HS512", "x"), ("hs256", "x")]
        {
            let head = base64url(json!({"alg": alg, "kid": "k"}).to_string());
            let signed = format!("{head}.{}", base64url(claims().to_string()));
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
            let token = format!("{signed}.{}", base64url(aws_lc_rs::hmac::sign(&key, signed.as_bytes())));
            let fault = desk.prove(&token).await.unwrap_err();
            assert!(matches!(fault, TokenFault::Algorithm(_)), "{alg}: {fault}");
        }
    }
    // A symmetric key in a document of keys is none, whatever it says of itself.
    let (server, signer) = (KeyServer::new(), Signer::new("k"));
    server.answer(
        "/keys",
        super::issuer::Answer::Json(jwks(&[json!({"kty": "oct", "kid": "k", "alg": "ES256", "k": base64url("secret")})])),
    );
    let fault = issuers(&[spec(&server)]).prove(&signer.token(&claims()), super::NOW).await.unwrap_err();
    assert!(matches!(fault, TokenFault::NoKey { .. }), "{fault}");
}

#[tokio::test]
async fn a56_an_algorithm_must_be_that_of_the_key_and_of_the_issuer() {
    let desk = Desk::of(Signer::rsa("k"), |spec| IssuerSpec { algorithms: vec![Algorithm::Rs256], ..spec });
    desk.claim(&claims()).await.unwrap();
    let other = desk.signer.with_header(&json!({"alg": "PS256", "kid": "k"}), &claims());
    assert!(matches!(desk.prove(&other).await.unwrap_err(), TokenFault::NotOfIssuer { algorithm: Algorithm::Ps256, .. }));
    // Of another kind than the key, or than the key says.
    let ec = Signer::new("k");
    for (jwk, header) in [
        (ec.jwk(), json!({"alg": "RS256", "kid": "k"})),
        (ec.jwk(), json!({"alg": "ES384", "kid": "k"})),
        (ec.jwk(), json!({"alg": "EdDSA", "kid": "k"})),
        (with(ec.jwk(), "alg", &json!("ES384")), json!({"alg": "ES256", "kid": "k"})),
        (with(ec.jwk(), "use", &json!("enc")), json!({"alg": "ES256", "kid": "k"})),
        (with(ec.jwk(), "key_ops", &json!(["sign"])), json!({"alg": "ES256", "kid": "k"})),
        (with(ec.jwk(), "d", &json!("AAAA")), json!({"alg": "ES256", "kid": "k"})),
        (with(ec.jwk(), "crv", &json!("P-384")), json!({"alg": "ES256", "kid": "k"})),
        (with(ec.jwk(), "kty", &json!("RSA")), json!({"alg": "ES256", "kid": "k"})),
        (ec.jwk(), json!({"alg": "ES256", "kid": "K"})),
        (ec.jwk(), json!({"alg": "ES256", "kid": ""})),
        (ec.jwk(), json!({"alg": "ES256", "kid": 1})),
    ] {
        let issuers = issuers(&[spec(&KeyServer::of(std::slice::from_ref(&jwk)))]);
        assert!(issuers.prove(&ec.with_header(&header, &claims()), super::NOW).await.is_err(), "{jwk} {header}");
    }
}

#[tokio::test]
async fn without_a_kid_exactly_one_key_has_to_fit() {
    let (one, two, rsa) = (Signer::new("k1"), Signer::new("k2"), Signer::rsa("k3"));
    let token = one.with_header(&json!({"alg": "ES256"}), &claims());
    let alone = issuers(&[spec(&KeyServer::of(&[rsa.jwk(), one.jwk()]))]);
    alone.prove(&token, super::NOW).await.unwrap();
    let both = issuers(&[spec(&KeyServer::of(&[one.jwk(), two.jwk()]))]);
    assert!(both.prove(&token, super::NOW).await.unwrap_err().to_string().contains("several"));
    both.prove(&one.token(&claims()), super::NOW).await.unwrap();
    // Two keys of one name: nobody says which is meant.
    let twins = issuers(&[spec(&KeyServer::of(&[Signer::new("k1").jwk(), one.jwk()]))]);
    assert!(twins.prove(&one.token(&claims()), super::NOW).await.is_err());
}

#[test]
fn a_weak_or_broken_key_is_left_out_and_takes_no_other_with_it() {
    use crate::{
        compact::compact,
        keys::{KeySet, Usage},
    };
    let good = Signer::new("good");
    let weak = |bytes: usize| json!({"kty": "RSA", "kid": "weak", "e": "AQAB", "n": base64url(vec![0xff; bytes])});
    let odd = |n: &[u8], e: &[u8]| json!({"kty": "RSA", "kid": "weak", "n": base64url(n), "e": base64url(e)});
    let strong = vec![0xff; 256];
    let broken = [
        weak(128),
        weak(255),
        weak(1025),
        odd(&strong, &[1]),
        odd(&strong, &[2]),
        odd(&strong, &[]),
        odd(&[0xfe; 256], &[3]),
        json!({"kty": "EC", "kid": "weak", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "kid": "weak", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "AKP", "kid": "weak", "alg": "ML-DSA-44", "pub": "AA"}),
        json!({"kty": "OKP", "kid": "weak", "crv": "Ed448", "x": "AA"}),
        json!({"kid": "weak"}),
        json!(5),
        json!(null),
        json!({"kty": ["EC"], "kid": "weak"}),
        json!({"kty": "RSA", "kid": "weak", "e": "AQAB=", "n": base64url(&strong)}),
    ];
    let all: Vec<Value> = broken.iter().cloned().chain([good.jwk()]).collect();
    let keys = KeySet::read(jwks(&all).as_bytes(), Usage::Signature).unwrap();
    let token = |signer: &Signer| signer.token(&claims());
    assert!(keys.key_for(&compact(&token(&good)).unwrap()).is_ok());
    for alg in Algorithm::ALL {
        let text = good.with_header(&json!({"alg": alg.as_str(), "kid": "weak"}), &claims());
        assert!(keys.key_for(&compact(&text).unwrap()).is_err(), "{alg}");
    }
    assert!(KeySet::read(jwks(&[weak(256)]).as_bytes(), Usage::Signature).is_ok_and(|keys| {
        keys.key_for(&compact(&good.with_header(&json!({"alg": "RS256", "kid": "weak"}), &claims())).unwrap()).is_ok()
    }));
}

/// Attack 59.
#[tokio::test]
async fn a59_a_token_does_not_say_where_its_key_is() {
    let (desk, theirs, listener) = (Desk::new(), Signer::new("k1"), KeyServer::of(&[]));
    listener.answer("/keys", super::issuer::Answer::Json(jwks(&[theirs.jwk()])));
    let base = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"});
    for (name, value) in [
        ("jku", json!(listener.keys_url())),
        ("x5u", json!(listener.keys_url())),
        ("jwk", theirs.bare_jwk()),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["x"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("secevent+jwt")),
        ("typ", json!(5)),
    ] {
        let header = with(base.clone(), name, &value);
        desk.prove(&theirs.with_header(&header, &claims())).await.unwrap_err();
        // What must be understood, or is of another kind, is refused even where the signature is good.
        let is_taken = desk.prove(&desk.signer.with_header(&header, &claims())).await.is_ok();
        assert_eq!(is_taken, ["jku", "x5u", "jwk", "x5c"].contains(&name), "{name}");
    }
    assert_eq!(listener.count(), 0, "nobody asked");
}

#[tokio::test]
async fn a_token_is_read_in_one_way_or_not_at_all() {
    let desk = Desk::new();
    let head = json!({"alg": "ES256", "kid": "k1"}).to_string();
    let body = claims().to_string();
    desk.prove(&desk.signer.signed(&head, &body)).await.unwrap();
    for (header, claims) in [
        (head.clone(), body.replace("\"sub\":\"agent-a\"", "\"sub\":\"agent-a\",\"sub\":\"agent-b\"")),
        (head.clone(), body.replace("\"sub\":\"agent-a\"", "\"sub\":\"agent-a\",\"s\\u0075b\":\"agent-b\"")),
        (head.replace("\"kid\":\"k1\"", "\"kid\":\"k1\",\"kid\":\"k1\""), body.clone()),
        (head.clone(), format!("{body} x")),
        (head.clone(), format!("[{body}]")),
        (head.clone(), "\"claims\"".to_owned()),
        (head.clone(), String::new()),
        (head.clone(), body.replace("agent-a", "\\ud800")),
        (head.clone(), body.replace("\"agent-a\"", &format!("{}{}", "[".repeat(40), "]".repeat(40)))),
        (head.clone(), body.replace("agent-a", &"a".repeat(17_000))),
        (format!("\u{feff}{head}"), body.clone()),
    ] {
        assert!(desk.prove(&desk.signer.signed(&header, &claims)).await.is_err(), "{header} {claims}");
    }
    let good = desk.signer.signed(&head, &body);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for token in [
        format!("{signed}.{signature}="),
        format!("{signed}.{signature}=="),
        format!("{signed}.{}", signature.replace(['-', '_'], "+")),
        format!("{signed}. {signature}"),
        format!("{signed}.{signature}\n"),
        format!("{signed}.{signature}A"),
        format!("{}.{signature}", signed.replace('.', "=.")),
    ] {
        // A signature without `-` and `_` is the same with `+` for them.
        if token != good {
            assert!(desk.prove(&token).await.is_err(), "{token}");
        }
    }
    // Bits that no byte is made of: another text of the same bytes (64 bytes leave 4 bits unused).
    let last = signature.chars().last().unwrap();
    for other in ('A'..='Z').chain('a'..='z').chain('0'..='9').filter(|other| *other != last) {
        let twisted = format!("{signed}.{}{other}", signature.strip_suffix(last).unwrap());
        assert!(desk.prove(&twisted).await.is_err(), "{other}");
    }
}

fn with(mut of: Value, name: &str, value: &Value) -> Value {
    of[name] = value.clone();
    of
}
