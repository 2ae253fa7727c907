//! Tokens of an authorization server: asked for as the standards say, never more than was asked for, and given back.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aws_lc_rs::{rand::SystemRandom, signature};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::*;
use crate::{
    signing::{SignatureAlgorithm, SigningKey},
    stub::{Asked, Say, Stub, every_fault, file, mint, pem, rsa_pem},
};

const TOKEN: &str = "canary-token-0123456789";

pub(crate) fn good(more: &str) -> String {
    format!(r#"{{"access_token":"{TOKEN}","token_type":"bearer","expires_in":600{more}}}"#)
}

pub(crate) fn at(url: &Url, authentication: ClientAuthentication) -> OAuth {
    let server = OAuthServer {
        web: Web { roots: None, identity: None },
        place: OAuthPlace::Endpoints { token: url.join("token").unwrap(), revocation: Some(url.join("revoke").unwrap()) },
        client_id: "gate way".to_owned(),
        authentication,
        on_behalf: None,
        max_ttl: None,
        is_revocable: true,
    };
    let request = OAuthRequest {
        scopes: vec!["tickets.read".to_owned(), "tickets.write".to_owned()],
        read_scopes: Some(vec!["tickets.read".to_owned()]),
        audience: Some("tickets".to_owned()),
        resource: Some("https://tickets.example/mcp".parse().unwrap()),
        bound: Bound::None,
        identity: None,
    };
    OAuth { server, request }
}

fn fields(asked: &Asked) -> BTreeMap<String, String> {
    form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_scopes_of_the_task_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cr&t: of ours\n");
    let stub = Stub::new(|_| Some(Say::ok(good("")))).await;
    let provider = at(&stub.url, ClientAuthentication::Basic(secret));
    let (minted, kept) = mint(&provider, Access::Read).await;
    let minted = minted.unwrap();
    assert_eq!(minted.reference, "tickets.read");
    assert!(kept.unwrap().expose().contains(TOKEN), "by what it is taken back is written down before it is used");
    let asked = stub.asked().remove(0);
    // RFC 6749 section 2.3.1: each part is encoded as in a form, and both together in base64.
    assert!(asked.head.contains("authorization: Basic Z2F0ZSt3YXk6czNjciUyNnQlM0Erb2Yrb3Vycw==\n"), "{}", asked.head);
    let sent = fields(&asked);
    let expected = [
        ("audience", "tickets"),
        ("grant_type", "client_credentials"),
        ("resource", "https://tickets.example/mcp"),
        ("scope", "tickets.read"),
    ];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    provider.revoke(&minted.handle.unwrap(), crate::stub::now_ms()).await.unwrap();
    let back = stub.asked().remove(1);
    assert_eq!((back.line.as_str(), fields(&back).get("token").unwrap().as_str()), ("POST /revoke", TOKEN));
}

#[tokio::test]
async fn what_is_more_than_was_asked_for_is_refused_and_written_down_to_be_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    for (more, kind, why) in [
        (r#","scope":"tickets.read admin""#, MintFaultKind::Generous, "gives `admin` beyond"),
        (r#","scope":"TICKETS.READ""#, MintFaultKind::Generous, "beyond"),
        (r#","refresh_token":"canary-refresh""#, MintFaultKind::Generous, "refresh token"),
    ] {
        let answer = good(more);
        let stub = Stub::new(move |_| Some(Say::ok(answer.clone()))).await;
        let provider = at(&stub.url, ClientAuthentication::Post(secret.clone()));
        let (minted, kept) = mint(&provider, Access::Read).await;
        let fault = minted.unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(why) && !fault.why.contains("canary"), "{fault:?}");
        provider.revoke(&kept.unwrap(), crate::stub::now_ms()).await.unwrap();
        let refresh = usize::from(more.contains("refresh"));
        assert_eq!(stub.count("POST /revoke"), 1 + refresh);
        assert!(fields(&stub.asked()[0]).get("client_secret").unwrap() == "s3cret-of-ours");
    }
    for (answer, why) in [
        (format!(r#"{{"access_token":"{TOKEN}","token_type":"DPoP","expires_in":9}}"#), "type `DPoP`"),
        (format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer"}}"#), "how long it lives"),
    ] {
        let stub = Stub::new(move |_| Some(Say::ok(answer.clone()))).await;
        let (minted, kept) = mint(&at(&stub.url, ClientAuthentication::Post(secret.clone())), Access::Read).await;
        assert!(minted.unwrap_err().why.contains(why) && kept.is_some(), "{why}");
    }
}

#[tokio::test]
async fn what_is_live_is_taken_back_whatever_else_is_said_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    for answer in [
        good("").replace("600", "\"600\""),
        good(r#","scope":["tickets.read"]"#),
        good("").replace(r#""bearer""#, "7"),
        good("").replace(TOKEN, "canary token"),
        good(r#","refresh_token":"canary-refresh","scope":7"#),
    ] {
        let said = answer.clone();
        let stub = Stub::new(move |asked| {
            // A refresh token is none of what it takes back: it takes the other one back all the same.
            let is_refresh = asked.body.contains("refresh_token");
            Some(if is_refresh { Say("400 Bad Request", "", Vec::new()) } else { Say::ok(said.clone()) })
        });
        let stub = stub.await;
        let provider = at(&stub.url, ClientAuthentication::Post(secret.clone()));
        let (minted, kept) = mint(&provider, Access::Read).await;
        let fault = minted.unwrap_err();
        assert!(fault.kind == MintFaultKind::Wrong && !fault.why.contains("canary"), "{answer}: {fault}");
        let back = provider.revoke(&kept.unwrap(), crate::stub::now_ms()).await;
        assert_eq!(back.is_err(), answer.contains("refresh"), "{answer}");
        let asked = stub.asked();
        let last = fields(asked.last().unwrap());
        assert_eq!(last["token_type_hint"], "access_token", "{answer}");
        assert!(answer.contains(&last["token"]), "{answer}");
    }
}

#[tokio::test]
async fn what_it_was_shown_and_what_it_gave_is_in_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "pa:s w%rd");
    for authentication in [ClientAuthentication::Basic(secret.clone()), ClientAuthentication::Post(secret)] {
        // As it is, and as it may be written down.
        for said in ["pa:s w%rd", "pa%3As%20w%25rd", "cGE6cyB3JXJk"] {
            let body = format!(r#"{{"error":"invalid_client","error_description":"not the secret '{said}' of gate way"}}"#);
            let stub = Stub::new(move |_| Some(Say("401 Unauthorized", "", body.clone().into()))).await;
            let fault = mint(&at(&stub.url, authentication.clone()), Access::Read).await.0.unwrap_err();
            assert!(fault.why.contains("invalid_client") && !fault.why.contains(said), "{fault}");
        }
    }
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    let long = "x".repeat(100_000);
    for more in [format!(r#","scope":"{TOKEN} s3cret-of-ours""#), format!(r#","scope":"{long}""#)] {
        let answer = good(&more);
        let stub = Stub::new(move |_| Some(Say::ok(answer.clone()))).await;
        let fault = mint(&at(&stub.url, ClientAuthentication::Post(secret.clone())), Access::Read).await.0.unwrap_err();
        assert_eq!(fault.kind, MintFaultKind::Generous, "{fault}");
        assert!(!fault.why.contains(TOKEN) && !fault.why.contains("s3cret") && fault.why.len() < 500, "{fault}");
    }
    let answer = good("").replace("bearer", TOKEN);
    let stub = Stub::new(move |_| Some(Say::ok(answer.clone()))).await;
    let fault = mint(&at(&stub.url, ClientAuthentication::Post(secret)), Access::Read).await.0.unwrap_err();
    assert!(fault.why.contains("type `[redacted]`"), "{fault}");
}

#[tokio::test]
async fn a_private_key_that_others_can_read_is_shown_to_nobody() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let identity = file(folder.path(), "identity", "-----BEGIN PRIVATE KEY-----\n");
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o640)).unwrap();
    let stub = Stub::new(|_| Some(Say::ok(good("")))).await;
    let mut provider = at(&stub.url, ClientAuthentication::Mtls);
    provider.server.web.identity = Some(identity);
    let fault = mint(&provider, Access::Read).await.0.unwrap_err();
    assert!(fault.kind == MintFaultKind::Own && fault.why.contains("chmod 600") && stub.asked().is_empty(), "{fault}");
}

#[tokio::test]
async fn an_assertion_is_signed_with_the_key_for_this_server_and_this_minute() {
    let folder = tempfile::tempdir().unwrap();
    let (curve, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let ec = pem(signature::EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap().as_ref());
    let ed = pem(signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref());
    let rsa = rsa_pem();
    for (name, pem, algorithm) in
        [("RS256", rsa.clone(), None), ("PS256", rsa, Some(SignatureAlgorithm::Ps256)), ("ES256", ec, None), ("EdDSA", ed, None)]
    {
        let key = SigningKey { file: file(folder.path(), name, &pem), key_id: Some("k-1".to_owned()), algorithm };
        let stub = Stub::new(|_| Some(Say::ok(good("")))).await;
        let provider = at(&stub.url, ClientAuthentication::PrivateKeyJwt(key));
        mint(&provider, Access::Write).await.0.unwrap();
        mint(&provider, Access::Write).await.0.unwrap();
        let part = |asked: &Asked, index: usize| -> Value {
            let assertion = fields(asked).remove("client_assertion").unwrap();
            let part = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(index).unwrap()).unwrap();
            serde_json::from_slice(&part).unwrap()
        };
        let all = stub.asked();
        let (head, claims) = (part(&all[0], 0), part(&all[0], 1));
        assert_eq!((head["alg"].as_str(), head["kid"].as_str()), (Some(name), Some("k-1")));
        assert_eq!((&claims["iss"], &claims["sub"]), (&Value::from("gate way"), &Value::from("gate way")));
        assert_eq!(claims["aud"], stub.url.join("token").unwrap().as_str());
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
        assert_ne!(claims["jti"], part(&all[1], 1)["jti"], "each is good once");
    }
    let key = SigningKey { file: folder.path().join("EdDSA"), key_id: None, algorithm: Some(SignatureAlgorithm::Rs256) };
    let stub = Stub::new(|_| Some(Say::ok(good("")))).await;
    let fault = mint(&at(&stub.url, ClientAuthentication::PrivateKeyJwt(key)), Access::Write).await.0.unwrap_err();
    assert!(fault.why.contains("can't sign with `RS256`") && stub.asked().is_empty(), "{fault}");
}

#[tokio::test]
async fn a_token_on_behalf_of_the_owner_needs_what_stands_for_that_owner() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    let ada = file(folder.path(), "ada", "subject-of-ada\n");
    let exchanged = good(&format!(r#","issued_token_type":"{}""#, answer::ACCESS_TOKEN));
    let stub = Stub::new(move |_| Some(Say::ok(exchanged.clone()))).await;
    let mut provider = at(&stub.url, ClientAuthentication::Basic(secret));
    let kind = "urn:ietf:params:oauth:token-type:jwt".to_owned();
    provider.server.on_behalf = Some(OnBehalf { files: BTreeMap::from([("ada@example.com".to_owned(), ada)]), kind });
    mint(&provider, Access::Read).await.0.unwrap();
    let sent = fields(&stub.asked()[0]);
    assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!((sent["subject_token"].as_str(), sent["scope"].as_str()), ("subject-of-ada", "tickets.read"));
    provider.server.on_behalf.as_mut().unwrap().files.clear();
    let fault = mint(&provider, Access::Read).await.0.unwrap_err();
    assert_eq!((fault.kind, stub.asked().len()), (MintFaultKind::Refused, 1), "nobody is asked: {fault}");
    assert!(fault.why.contains("`ada@example.com`"), "{fault}");
}

#[tokio::test]
async fn the_metadata_has_to_be_that_of_the_issuer_and_its_endpoints_safe() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    let serve = |issuer: &'static str, token: &'static str, revocation: &'static str| {
        Stub::new(move |asked| {
            if asked.line.starts_with("POST") {
                return Some(Say::ok(good("")));
            }
            if !asked.line.contains("oauth-authorization-server/realm") {
                return Some(Say("404 Not Found", "", Vec::new()));
            }
            let host = asked.head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            let text = format!(r#"{{"issuer":"{issuer}","token_endpoint":"{token}"{revocation}}}"#);
            Some(Say::ok(text.replace("HERE", &format!("http://{host}"))))
        })
    };
    let revoke = r#","revocation_endpoint":"HERE/gone""#;
    for (issuer, token, revocation, why) in [
        ("HERE/realm", "HERE/t", revoke, ""),
        ("HERE/other", "HERE/t", revoke, "correct `issuer`"),
        ("HERE/realm/", "HERE/t", revoke, "correct `issuer`"),
        ("HERE/realm", "http://127.0.0.1:9/t", revoke, "no URL with TLS"),
        ("HERE/realm", "HERE/t", "", "`revocable = false`"),
    ] {
        let stub = serve(issuer, token, revocation).await;
        let mut provider = at(&stub.url, ClientAuthentication::Basic(secret.clone()));
        provider.server.place = OAuthPlace::Issuer(stub.url.join("realm").unwrap());
        let (minted, _) = mint(&provider, Access::Read).await;
        if why.is_empty() {
            provider.revoke(&minted.unwrap().handle.unwrap(), crate::stub::now_ms()).await.unwrap();
            assert_eq!(stub.count("POST /gone"), 1);
            continue;
        }
        let fault = minted.unwrap_err();
        assert!(fault.kind == MintFaultKind::Wrong && fault.why.contains(why), "{fault}");
        assert_eq!(stub.count("POST"), 0);
    }
}

#[tokio::test]
async fn an_issuer_that_fails_lends_nothing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "secret", "s3cret-of-ours");
    every_fault(&|url| Box::new(at(&url, ClientAuthentication::Basic(secret.clone())))).await;
    let stub = Stub::new(|_| {
        let body = r#"{"error":"invalid_client","error_description":"no such client"}"#;
        Some(Say("401 Unauthorized", "", body.into()))
    });
    let stub = stub.await;
    let provider = at(&stub.url, ClientAuthentication::Basic(folder.path().join("absent")));
    let fault = mint(&provider, Access::Read).await.0.unwrap_err();
    assert!(fault.kind == MintFaultKind::Own && fault.why.contains("does not exist") && stub.asked().is_empty(), "{fault}");
    let provider = at(&stub.url, ClientAuthentication::Basic(secret));
    let fault = mint(&provider, Access::Read).await.0.unwrap_err();
    assert!(fault.why.contains("invalid_client: no such client"), "{fault}");
    let fault = provider.revoke(&Handle::new(r#"{"token":"canary-1"}"#), crate::stub::now_ms()).await.unwrap_err();
    assert!(fault.why.contains("invalid_client") && !fault.why.contains("canary"), "{fault}");
}
