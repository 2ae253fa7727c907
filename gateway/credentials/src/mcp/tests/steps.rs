//! Issuers that are down, slow, wrong or busy, at each step at which they are asked.

use super::*;

#[tokio::test]
async fn whatever_an_issuer_does_wrong_is_a_clear_refusal_and_lends_nothing() {
    let long = "x".repeat(10 * 1024 * 1024);
    for (status, body, kind, why) in [
        (200, "<html>hello</html>".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, String::new(), MintFaultKind::Wrong, "can't be used"),
        (200, "{\"access_token\": \"secret-of-somebody".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, json!({"token_type": "Bearer"}).to_string(), MintFaultKind::Wrong, "can't be used"),
        (200, json!({"access_token": "x", "token_type": "mac"}).to_string(), MintFaultKind::Wrong, "no bearer token"),
        (200, long, MintFaultKind::Wrong, "more than"),
        (429, json!({"error": "slow_down"}).to_string(), MintFaultKind::Busy(Some(Duration::from_secs(7))), "slow_down"),
        (403, json!({"error": "access_denied"}).to_string(), MintFaultKind::Refused, "access_denied"),
        (503, String::new(), MintFaultKind::Down, "503"),
    ] {
        let issuer = Issuer::start().await;
        let of = connected(&issuer).await;
        issuer.says("/token", status, &body);
        let fault = of.mint(&wish(300), &Kept::default()).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{}", fault.why);
        assert!(fault.why.contains(why) && !fault.why.contains("secret-of-somebody"), "{}", fault.why);
        assert_eq!(of.consents.to(&of).unwrap().len(), 1, "the consent stands");
    }
    // Down: nobody is there any more.
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut consent = of.consents.to(&of).unwrap().remove(0);
    consent.secrets.authority.token_endpoint = format!("http://127.0.0.1:{gone}/token");
    of.consents.rotated(consent, SecretString::from("refresh-token-x")).await.unwrap();
    let away = Consented { egress: Arc::new(Only(gone)), ..of };
    assert_eq!(away.mint(&wish(300), &Kept::default()).await.unwrap_err().kind, MintFaultKind::Down);
}

/// What each of these says, when it is asked at this path.
fn wrongs() -> Vec<(u16, String, MintFaultKind, &'static str)> {
    vec![
        (SILENT, String::new(), MintFaultKind::Slow, "does not answer in time"),
        (200, "<html>hello</html>".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, String::new(), MintFaultKind::Wrong, "can't be used"),
        (200, "{\"access_token\": \"secret-of-somebody".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, "{}".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, "x".repeat(10 * 1024 * 1024), MintFaultKind::Wrong, "more than"),
        (302, String::new(), MintFaultKind::Wrong, "302"),
        (429, json!({"error": "slow_down"}).to_string(), MintFaultKind::Busy(Some(Duration::from_secs(7))), "slow_down"),
        (403, json!({"error": "access_denied"}).to_string(), MintFaultKind::Refused, "access_denied"),
        (503, String::new(), MintFaultKind::Down, "503"),
    ]
}

#[tokio::test]
async fn nobody_is_sent_to_an_issuer_that_does_not_say_how_it_is_asked() {
    let tried = async |path: &'static str, (status, body, kind, why): (u16, String, MintFaultKind, &str)| {
        let issuer = Issuer::start().await;
        issuer.says(path, status, &body);
        let of = consented(&issuer);
        let fault = begun(&of).await.map(drop).unwrap_err();
        assert_eq!(fault.kind, kind, "{path}: {}", fault.why);
        assert!(fault.why.contains(why) && !fault.why.contains("secret-of-somebody"), "{path}: {}", fault.why);
        assert!(issuer.came("/token").is_empty() && of.consents.pending().is_empty(), "nothing is under way");
    };
    for path in ["/prm", "/.well-known/oauth-authorization-server", "/register"] {
        futures_util::future::join_all(wrongs().into_iter().map(|wrong| tried(path, wrong))).await;
    }
}

#[tokio::test]
async fn a_code_that_is_not_redeemed_leaves_no_consent() {
    let tried = async |(status, body, kind, why): (u16, String, MintFaultKind, &str)| {
        let issuer = Issuer::start().await;
        let of = consented(&issuer);
        let (_, asked) = begun(&of).await.unwrap();
        issuer.says("/token", status, &body);
        let fault = came(&of, back(&asked, &issuer.at), "s1").await.map(drop).unwrap_err();
        assert_eq!(fault.kind, kind, "{}", fault.why);
        assert!(fault.why.contains(why) && !fault.why.contains("secret-of-somebody"), "{}", fault.why);
        assert!(of.consents.to(&of).unwrap().is_empty());
        let none = of.mint(&wish(300), &Kept::default()).await.unwrap_err();
        assert!(none.why.contains("has not consented"), "{}", none.why);
    };
    futures_util::future::join_all(wrongs().into_iter().map(tried)).await;
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_lends_nothing_and_one_that_takes_nothing_back_is_asked_again() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let minted = of.mint(&wish(300), &Kept::default()).await.unwrap();
    issuer.says("/token", SILENT, "");
    let fault = of.mint(&wish(300), &Kept::default()).await.unwrap_err();
    assert_eq!(fault.kind, MintFaultKind::Slow, "{}", fault.why);
    assert!(of.consents.to(&of).unwrap().len() == 1, "the consent stands");
    let handle = minted.handle.unwrap();
    for (status, wait) in [(SILENT, None), (503, None), (403, None), (429, Some(Duration::from_secs(7)))] {
        issuer.says("/revoke", status, "");
        let fault = of.revoke(&handle, crate::stub::now_ms()).await.unwrap_err();
        assert_eq!(fault.wait, wait, "{}", fault.why);
    }
    // Whatever it says, the consent is over here.
    assert!(!of.consents.end(&of, &wish(0).owner).await.unwrap());
    assert!(of.consents.to(&of).unwrap().is_empty());
}
