//! Where keys come from, how long they count, and what a server of keys can do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Desk, ISS, NOW, NOW_S, US, claims,
    issuer::{Answer, KeyServer, Signer, jwks},
    issuers, spec,
    tls::{authority, tls_server},
};
use crate::{IssuerSpec, Issuers, KeySource, TokenFault, ring::COOL_DOWN_MS};

const MINUTE: u64 = 60_000;

/// A token that was not shown before.
fn fresh(signer: &Signer, id: u64, now: u64) -> String {
    let mut claims = claims();
    claims["jti"] = json!(id);
    claims["iat"] = json!(now / 1000);
    claims["exp"] = json!(now / 1000 + 600);
    signer.token(&claims)
}

/// Waits until the server was asked so often.
async fn asked(server: &KeyServer, times: usize) {
    let until = Instant::now() + Duration::from_mins(1);
    while server.count() < times {
        assert!(Instant::now() < until, "asked {} times, not {times}", server.count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Attack 60.
#[tokio::test(flavor = "multi_thread")]
async fn a60_whatever_a_server_of_keys_does_the_last_good_ones_count_for_a_while() {
    let elsewhere = KeyServer::new();
    let signer = Signer::new("k1");
    elsewhere.answer("/keys", Answer::Json(jwks(&[signer.jwk()])));
    let redirect =
        |to: &str| Answer::Raw(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let status = |status: &str| Answer::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let evils = [
        redirect(&elsewhere.keys_url()),
        redirect("http://169.254.169.254/latest/meta-data/"),
        status("500 Internal Server Error"),
        status("204 No Content"),
        Answer::Json("<!doctype html><title>log in</title>".to_owned()),
        Answer::Json("{}".to_owned()),
        Answer::Json("{\"keys\":{}}".to_owned()),
        Answer::Json("{\"keys\":[],\"keys\":[]}".to_owned()),
        Answer::Json(jwks(&vec![json!({"kty": "unknown", "pad": "x".repeat(40)}); 10_000])),
        Answer::Json(" ".repeat(100 * 1024 * 1024)),
        Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":[]".to_owned()),
        Answer::Raw("nonsense\r\n\r\n".to_owned()),
        Answer::Endless,
    ];
    for evil in evils {
        let desk = Desk::of(Signer::new("k1"), |spec| spec);
        let shown = format!("{evil:?}").chars().take(120).collect::<String>();
        desk.issuers.prove(&fresh(&desk.signer, 1, NOW), NOW).await.unwrap();
        desk.server.answer("/keys", evil.clone());
        // Old keys are read again, which fails: they go on until they are too old, and then nothing does.
        let late = NOW + 6 * MINUTE;
        desk.issuers.prove(&fresh(&desk.signer, 2, late), late).await.unwrap_or_else(|fault| panic!("{shown}: {fault}"));
        let count = desk.server.count();
        assert!(count >= 2, "{shown}");
        desk.issuers.prove(&fresh(&desk.signer, 3, late + 1000), late + 1000).await.unwrap();
        assert_eq!(desk.server.count(), count, "{shown}: not asked again so soon");
        let too_late = NOW + 60 * MINUTE;
        let fault = desk.issuers.prove(&fresh(&desk.signer, 4, too_late), too_late).await.unwrap_err();
        assert!(matches!(fault, TokenFault::Unavailable { .. }), "{shown}: {fault}");
        // Nor do they count that somebody had from elsewhere, or where nothing was read before.
        let without = issuers(&[spec(&desk.server)]);
        assert!(without.prove(&fresh(&signer, 5, NOW), NOW).await.is_err(), "{shown}");
        // And when it is well again, so is everything.
        desk.server.answer("/keys", Answer::Json(jwks(&[desk.signer.jwk()])));
        let well = too_late + COOL_DOWN_MS;
        desk.issuers.prove(&fresh(&desk.signer, 6, well), well).await.unwrap_or_else(|fault| panic!("{shown}: {fault}"));
    }
    assert_eq!(elsewhere.count(), 0, "no redirect is followed");
}

/// Attack 60: one that never answers costs a bounded time, and only where nothing goes without it.
#[tokio::test(flavor = "multi_thread")]
async fn a60_a_silent_server_is_given_up() {
    let desk = Desk::new();
    desk.server.answer("/keys", Answer::Silent);
    let before = Instant::now();
    let fault = desk.prove(&desk.signer.token(&claims())).await.unwrap_err();
    assert!(fault.to_string().contains("no answer within 5 s"), "{fault}");
    assert!(before.elapsed() >= Duration::from_secs(4));
    let fault = desk.prove(&fresh(&desk.signer, 2, NOW)).await.unwrap_err();
    assert!(matches!(fault, TokenFault::Unavailable { .. }), "{fault}");
    assert_eq!(desk.server.count(), 1, "and not asked again so soon");
}

/// Attack 61.
#[tokio::test(flavor = "multi_thread")]
async fn a61_unknown_keys_have_an_issuer_asked_once_in_a_while() {
    let desk = Arc::new(Desk::new());
    desk.claim(&claims()).await.unwrap();
    let stranger = Signer::new("k1");
    let flood: Vec<String> =
        (0..10_000).map(|id| stranger.with_header(&json!({"alg": "ES256", "kid": format!("random-{id}")}), &claims())).collect();
    for token in &flood {
        let fault = desk.prove(token).await.unwrap_err();
        assert!(matches!(fault, TokenFault::NoKey { .. }), "{fault}");
    }
    assert_eq!(desk.server.count(), 2, "at the first use, and for the first unknown key");
    desk.issuers.prove(&flood[0], NOW + COOL_DOWN_MS - 1).await.unwrap_err();
    assert_eq!(desk.server.count(), 2);
    desk.issuers.prove(&flood[0], NOW + COOL_DOWN_MS).await.unwrap_err();
    assert_eq!(desk.server.count(), 3);
    desk.claim(&claims()).await.unwrap();
    // All at once: one asks, for all of them.
    let at = NOW + 2 * COOL_DOWN_MS;
    let many: Vec<_> = flood
        .into_iter()
        .take(500)
        .map(|token| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.issuers.prove(&token, at).await.is_err() })
        })
        .collect();
    for one in many {
        assert!(one.await.unwrap());
    }
    assert_eq!(desk.server.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_for_keys_wait_for_one_reading() {
    let desk = Arc::new(Desk::new());
    desk.server.answer("/keys", Answer::Late(Duration::from_millis(300), jwks(&[desk.signer.jwk()])));
    let many: Vec<_> = (0..200)
        .map(|id| {
            let (desk, token) = (Arc::clone(&desk), fresh(&desk.signer, id, NOW));
            tokio::spawn(async move { desk.prove(&token).await.map(drop) })
        })
        .collect();
    // Who began it goes away: the others are not left with nothing.
    many[0].abort();
    for one in many.into_iter().skip(1) {
        one.await.unwrap().unwrap();
    }
    assert_eq!(desk.server.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_again_in_good_time_and_as_who_serves_them_says() {
    let desk = Desk::new();
    let prove = |id: u64, at: u64| {
        let token = fresh(&desk.signer, id, at);
        let issuers = &desk.issuers;
        async move { issuers.prove(&token, at).await.map(drop) }
    };
    prove(1, NOW).await.unwrap();
    prove(2, NOW + 3 * MINUTE).await.unwrap();
    assert_eq!(desk.server.count(), 1);
    prove(3, NOW + 4 * MINUTE).await.unwrap();
    asked(&desk.server, 2).await;
    for (header, good_for) in [
        ("cache-control: public, max-age=600", 10 * MINUTE),
        ("Cache-Control: max-age=999999", 60 * MINUTE),
        ("cache-control: max-age=1", COOL_DOWN_MS),
        ("cache-control: no-store", COOL_DOWN_MS),
    ] {
        let desk = Desk::new();
        desk.server.answer("/keys", Answer::With(header, jwks(&[desk.signer.jwk()])));
        desk.issuers.prove(&fresh(&desk.signer, 1, NOW), NOW).await.unwrap();
        let before = NOW + good_for / 4 * 3 - 1;
        desk.issuers.prove(&fresh(&desk.signer, 2, before), before).await.unwrap();
        assert_eq!(desk.server.count(), 1, "{header}");
        let after = NOW + good_for;
        desk.issuers.prove(&fresh(&desk.signer, 3, after), after).await.unwrap();
        assert_eq!(desk.server.count(), 2, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_proves_nothing_from_the_next_reading_on() {
    let desk = Desk::new();
    let token = desk.signer.token(&claims());
    desk.prove(&token).await.unwrap();
    let next = Signer::new("k2");
    desk.server.answer("/keys", Answer::Json(jwks(&[next.jwk()])));
    desk.prove(&token).await.unwrap();
    // A token by the new key has them read: what the old one proved is forgotten with it.
    desk.claim(&claims()).await.unwrap();
    desk.prove(&next.token(&claims())).await.unwrap();
    assert!(matches!(desk.prove(&token).await.unwrap_err(), TokenFault::NoKey { .. }));
    // And at the latest when they are old.
    let desk = Desk::new();
    let token = desk.signer.token(&claims());
    desk.prove(&token).await.unwrap();
    desk.server.answer("/keys", Answer::Json(jwks(&[])));
    let late = NOW + 5 * MINUTE;
    assert!(matches!(desk.issuers.prove(&token, late).await.unwrap_err(), TokenFault::NoKey { .. }));
}

/// An issuer that publishes a key as it begins to sign with it, and takes the one before away a while later, again and again: what is good is
/// never refused, and nothing is taken by a key that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_may_be_rotated_under_load() {
    const ROUNDS: u64 = 12;
    let server = KeyServer::new();
    let first = Arc::new(Signer::new("k0"));
    server.answer("/keys", Answer::Json(jwks(&[first.jwk()])));
    let issuers = Arc::new(issuers(&[spec(&server)]));
    let (clock, stop) = (Arc::new(AtomicU64::new(NOW)), Arc::new(AtomicBool::new(false)));
    let (signs, proven) = (Arc::new(tokio::sync::RwLock::new(Arc::clone(&first))), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (issuers, clock, stop) = (Arc::clone(&issuers), Arc::clone(&clock), Arc::clone(&stop));
            let (signs, proven) = (Arc::clone(&signs), Arc::clone(&proven));
            tokio::spawn(async move {
                let mut id = caller * 1_000_000;
                while !stop.load(Ordering::SeqCst) {
                    id += 1;
                    // Held until it is proven: a token that was made before its key was taken away is shown before, too.
                    let signer = signs.read().await;
                    let now = clock.load(Ordering::SeqCst);
                    issuers.prove(&fresh(&signer, id, now), now).await.unwrap_or_else(|fault| panic!("a good token: {fault}"));
                    proven.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut before = first;
    for round in 1..=ROUNDS {
        let seen = proven.load(Ordering::SeqCst);
        let next = Arc::new(Signer::new(&format!("k{round}")));
        // No more often than an unknown key may have keys read.
        clock.fetch_add(COOL_DOWN_MS, Ordering::SeqCst);
        server.answer("/keys", Answer::Json(jwks(&[before.jwk(), next.jwk()])));
        *signs.write().await = Arc::clone(&next);
        while proven.load(Ordering::SeqCst) < seen + 200 {
            assert!(callers.iter().all(|caller| !caller.is_finished()), "a caller was refused");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The old one is taken away; whoever asks after the keys are old has them read.
        let old = std::mem::replace(&mut before, next);
        server.answer("/keys", Answer::Json(jwks(&[before.jwk()])));
        let now = clock.fetch_add(5 * MINUTE, Ordering::SeqCst) + 5 * MINUTE;
        let fault = issuers.prove(&fresh(&old, round, now), now).await.expect_err("a key that is gone");
        assert!(matches!(fault, TokenFault::NoKey { .. }), "{fault}");
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let count = server.count();
    eprintln!("{} tokens proven over {ROUNDS} rotations, {count} readings", proven.load(Ordering::SeqCst));
    assert!(u64::try_from(count).unwrap() <= 1 + 4 * ROUNDS, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_by_the_issuers_own_description() {
    let signer = Signer::new("k1");
    let server = KeyServer::of(&[signer.jwk()]);
    let at = |path: &str| format!("{}{path}", server.url);
    let discovered = |issuer: &str| {
        let source = KeySource::Discovery(issuer.parse().unwrap());
        issuers(&[IssuerSpec { issuer: Some(issuer.to_owned()), source, ..spec(&server) }])
    };
    let prove = async |issuers: &Issuers, issuer: &str| {
        let mut claims = claims();
        claims["iss"] = json!(issuer);
        issuers.prove(&signer.token(&claims), NOW).await.map(drop)
    };
    let described = |issuer: &str, keys: &Value| Answer::Json(json!({"issuer": issuer, "jwks_uri": keys}).to_string());
    for (issuer, path) in [
        (at(""), "/.well-known/openid-configuration"),
        (at("/realms/a"), "/realms/a/.well-known/openid-configuration"),
        (at("/realms/b/"), "/realms/b/.well-known/openid-configuration"),
    ] {
        server.answer(path, described(&issuer, &json!(server.keys_url())));
        prove(&discovered(&issuer), &issuer).await.unwrap_or_else(|fault| panic!("{issuer}: {fault}"));
        for (says, keys) in [
            (ISS.to_owned(), json!(server.keys_url())),
            (format!("{issuer}/x"), json!(server.keys_url())),
            (issuer.to_uppercase(), json!(server.keys_url())),
            (issuer.clone(), json!("http://login.example.com/keys")),
            (issuer.clone(), json!("file:///etc/passwd")),
            (issuer.clone(), json!("keys")),
            (issuer.clone(), json!(5)),
            (issuer.clone(), json!(at("/nothing"))),
        ] {
            server.answer(path, described(&says, &keys));
            let fault = prove(&discovered(&issuer), &issuer).await.unwrap_err();
            assert!(matches!(fault, TokenFault::Unavailable { .. }), "{says} {keys}: {fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_in_a_file() {
    let signer = Signer::new("k1");
    let folder = std::env::temp_dir().join(format!("bailiwick-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.json");
    let from_file = |server: &KeyServer| IssuerSpec { source: KeySource::File(file.clone()), ..spec(server) };
    let issuers = issuers(&[from_file(&KeyServer::new())]);
    let token = signer.token(&claims());
    let fault = issuers.prove(&token, NOW).await.unwrap_err();
    assert!(fault.to_string().contains("keys.json"), "{fault}");
    std::fs::write(&file, " ".repeat(300 * 1024)).unwrap();
    let fault = issuers.prove(&token, NOW + COOL_DOWN_MS).await.unwrap_err();
    assert!(fault.to_string().contains("bytes"), "{fault}");
    std::fs::write(&file, jwks(&[signer.jwk()])).unwrap();
    issuers.prove(&token, NOW + 2 * COOL_DOWN_MS).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((NOW_S, US.len()), (NOW / 1000, 31));
}

/// TLS: by the authority that is configured, and by no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_known_by_its_authority() {
    let signer = Signer::new("k1");
    let (ours, theirs) = (authority(), authority());
    let url = tls_server(&ours, &jwks(&[signer.jwk()])).await;
    let folder = std::env::temp_dir().join(format!("bailiwick-roots-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (right, wrong) = (folder.join("right.pem"), folder.join("wrong.pem"));
    std::fs::write(&right, ours.pem()).unwrap();
    std::fs::write(&wrong, theirs.pem()).unwrap();
    for (roots, is_good) in [(Some(right), true), (Some(wrong), false), (None, false), (Some(folder.join("none.pem")), false)] {
        let source = KeySource::Url(url.parse().unwrap());
        let issuers = issuers(&[IssuerSpec { source, roots: roots.clone(), ..spec(&KeyServer::new()) }]);
        let proven = issuers.prove(&signer.token(&claims()), NOW).await;
        assert_eq!(proven.is_ok(), is_good, "{roots:?}: {proven:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
