//! Issuers, servers, people and configurations that would have more than they may.

use super::*;

/// What is said of whoever comes back.
type Judged<'a> = dyn Fn(Who, &ConnectorId) -> Result<(Who, Consented), MintFault> + 'a;

/// An issuer whose metadata is otherwise.
async fn issuer_with(change: impl FnOnce(&mut Value)) -> Arc<Issuer> {
    let issuer = Issuer::start().await;
    let mut metadata = issuer.metadata();
    change(&mut metadata);
    issuer.says("/.well-known/oauth-authorization-server", 200, metadata);
    issuer
}

fn refresh_of(of: &Consented) -> String {
    let consent = of.consents.to(of).unwrap().remove(0);
    consent.secrets.refresh.map(|refresh| refresh.expose_secret().to_owned()).unwrap_or_default()
}

async fn until(is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_answer_of_one_issuer_is_never_taken_for_that_of_another() {
    // Its answers do not say whose they are: the place that they come to does.
    let issuer = issuer_with(|all| all["authorization_response_iss_parameter_supported"] = json!(false)).await;
    let of = consented(&issuer);
    for place in [None, Some("AAAAAAAAAAAAAAAAAAAAAA".to_owned())] {
        let (_, asked) = begun(&of).await.unwrap();
        let astray = Returned { iss: None, place, ..back(&asked, "") };
        let fault = came(&of, astray, "s1").await.unwrap_err();
        assert!(fault.why.contains("another issuer"), "{}", fault.why);
        assert!(issuer.came("/token").is_empty(), "a code of somebody else's is shown to nobody");
    }
    let (_, asked) = begun(&of).await.unwrap();
    came(&of, Returned { iss: None, ..back(&asked, "") }, "s1").await.unwrap();
    // With an id that is the same everywhere there is one place for all: whoever is not listed has to say who answers.
    let issuer = issuer_with(|all| {
        all["authorization_response_iss_parameter_supported"] = json!(false);
        all["client_id_metadata_document_supported"] = json!(true);
    });
    let issuer = issuer.await;
    let mut of = consented(&issuer);
    of.client.metadata_url = Some("https://gateway.example/client.json".parse().unwrap());
    let fault = begun(&of).await.map(drop).unwrap_err();
    assert!(fault.why.contains("RFC 9207") && fault.why.contains("`issuers`"), "{}", fault.why);
    of.client.issuers = vec![issuer.at.clone()];
    assert_eq!(begun(&of).await.unwrap().1["redirect_uri"], BACK);
}

#[tokio::test]
async fn a_registration_is_used_again_where_it_was_made_for() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    begun(&of).await.unwrap();
    assert_eq!(issuer.came("/register").len(), 1);
    of.consents.begin(&of, who(true), "https://moved.example/connections/callback").await.unwrap();
    assert!(issuer.came("/register")[1].contains("https://moved.example/connections/callback/"));
}

#[tokio::test]
async fn a_secret_for_one_issuer_is_shown_to_no_other() {
    let issuer = issuer_with(|all| all["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"])).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "first-secret").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let by_hand = |id: &str, issuer: &str| OAuthClient {
        id: Some(id.to_owned()),
        secret_file: Some(file.clone()),
        issuers: vec![issuer.to_owned()],
        revocable: true,
        ..OAuthClient::default()
    };
    let of = Consented { client: by_hand("gateway", &issuer.at), ..consented(&issuer) };
    let (_, asked) = begun(&of).await.unwrap();
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    let minted = of.mint(&wish(300), &Kept::default()).await.unwrap();
    // The provider is of another issuer now, with a secret for that one. What is left of the one before is taken back, as far as that can.
    std::fs::write(&file, "second-secret").unwrap();
    for client in [by_hand("gateway", "https://other.example"), by_hand("other", &issuer.at)] {
        let moved = Consented { client, ..of.clone() };
        let before = issuer.asked.lock().unwrap().len();
        let fault = moved.revoke(minted.handle.as_ref().unwrap(), 0).await.unwrap_err();
        assert!(fault.why.contains("is configured no more"), "{}", fault.why);
        assert_eq!(issuer.asked.lock().unwrap().len(), before, "it is not even asked");
    }
    let moved = Consented { client: by_hand("gateway", "https://other.example"), ..of };
    assert!(!moved.consents.end(&moved, &wish(0).owner).await.unwrap());
    let asked = issuer.asked.lock().unwrap();
    let shown = URL_SAFE_NO_PAD.encode("gateway:second-secret");
    assert!(asked.iter().all(|(_, head, _)| !head.contains(shown.trim_end_matches('='))), "{asked:?}");
}

#[tokio::test]
async fn what_was_not_consented_to_is_lent_to_nobody_whatever_is_configured_later() {
    let issuer = Issuer::start().await;
    let mut of = connected(&issuer).await;
    of.of.scopes = Some(vec!["read".to_owned(), "write".to_owned(), "admin".to_owned()]);
    let before = issuer.came("/token").len();
    let fault = of.mint(&Wish { access: Access::Write, ..wish(300) }, &Kept::default()).await.unwrap_err();
    assert!(
        fault.why.contains("the consent of `support@example.com` to `tickets` is not for the scope `admin`: connect again at")
    );
    assert_eq!(issuer.came("/token").len(), before, "its issuer is not even asked");
    assert!(of.mint(&wish(300), &Kept::default()).await.is_ok(), "reading was consented to");
}

#[tokio::test]
async fn the_refresh_token_that_follows_is_kept_whatever_comes_of_the_access_token() {
    struct Full;
    impl Journal for Full {
        fn keep<'a>(&'a self, _: &'a Handle) -> Later<'a, Result<(), MintFault>> {
            Box::pin(std::future::ready(Err(MintFault::new(MintFaultKind::Own, "the disk is full"))))
        }
    }
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    of.mint(&wish(300), &Full).await.unwrap_err();
    assert_eq!(refresh_of(&of), "refresh-token-1");
    issuer.says(
        "/token",
        200,
        json!({"access_token": "of-no-use-012345", "token_type": "mac", "refresh_token": "refresh-token-next"}),
    );
    let kept = Kept::default();
    assert!(of.mint(&wish(300), &kept).await.unwrap_err().why.contains("no bearer token"));
    assert!(kept.last().contains("of-no-use-012345"), "it is to be given back");
    assert_eq!(refresh_of(&of), "refresh-token-next");
}

#[tokio::test]
async fn whoever_gives_up_half_way_loses_no_consent_and_leaves_no_token() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let held = issuer.gate.lock().await;
    let minting = of.clone();
    let minting = tokio::spawn(async move { minting.mint(&wish(300), &Kept::default()).await.map(drop) });
    until(|| issuer.came("/token").len() == 2).await;
    minting.abort();
    assert!(minting.await.unwrap_err().is_cancelled());
    drop(held);
    until(|| issuer.came("/revoke").iter().any(|body| body.contains("token=access-token-1"))).await;
    assert_eq!(refresh_of(&of), "refresh-token-1");
    assert!(of.mint(&wish(300), &Kept::default()).await.is_ok());
}

#[tokio::test]
async fn all_of_a_refused_consent_is_given_back() {
    for (given, kind, back_too) in [
        (
            json!({"token_type": "bearer", "refresh_token": "refresh-token-x", "scope": "read admin"}),
            MintFaultKind::Generous,
            true,
        ),
        (json!({"token_type": "mac", "refresh_token": "refresh-token-x"}), MintFaultKind::Wrong, true),
        (json!({"token_type": "bearer"}), MintFaultKind::Refused, false),
        (json!({"token_type": "bearer", "expires_in": 60, "scope": "read\u{202e} admin"}), MintFaultKind::Generous, false),
    ] {
        let issuer = Issuer::start().await;
        let of = consented(&issuer);
        let (_, asked) = begun(&of).await.unwrap();
        let mut given = given;
        given["access_token"] = json!("access-token-x");
        issuer.says("/token", 200, given);
        let fault = came(&of, back(&asked, &issuer.at), "s1").await.unwrap_err();
        assert_eq!(fault.kind, kind, "{}", fault.why);
        assert!(!fault.why.contains('\u{202e}'), "{}", fault.why);
        let revoked = issuer.came("/revoke").join(" ");
        assert!(revoked.contains("access-token-x") && revoked.contains("refresh-token-x") == back_too, "{revoked}");
        assert!(of.consents.to(&of).unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_consent_that_is_given_again_leaves_nothing_of_the_one_before() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let (_, asked) = begun(&of).await.unwrap();
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    assert!(issuer.came("/revoke").iter().any(|body| body.contains("token=refresh-token-0")));
    assert_eq!(refresh_of(&of), "refresh-token-1");
    // An issuer that ends more than it is told to is told nothing.
    let kept = Consented { client: OAuthClient { revocable: false, ..of.client.clone() }, ..of };
    let (_, asked) = begun(&kept).await.unwrap();
    came(&kept, back(&asked, &issuer.at), "s1").await.unwrap();
    assert_eq!(issuer.came("/revoke").len(), 1);
}

#[tokio::test]
async fn whoever_may_no_more_when_they_come_back_consents_to_nothing() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let none = |_: Who, _: &ConnectorId| Err(MintFault::new(MintFaultKind::Refused, "not yours"));
    let no_admin = |who: Who, _: &ConnectorId| Ok((Who { is_admin: false, ..who }, of.clone()));
    let moved = |who: Who, _: &ConnectorId| {
        let mut moved = of.clone();
        moved.of.url = "https://elsewhere.example/mcp".parse().unwrap();
        Ok((who, moved))
    };
    let unlisted = |who: Who, _: &ConnectorId| {
        let client = OAuthClient { issuers: vec!["https://corp.example".to_owned()], ..of.client.clone() };
        Ok((who, Consented { client, ..of.clone() }))
    };
    let refused = async |asked: BTreeMap<String, String>, judged: &Judged<'_>| {
        let fault = of.consents.come_back(back(&asked, &issuer.at), "s1", judged).await.unwrap_err();
        assert_eq!(fault.kind, MintFaultKind::Refused, "{}", fault.why);
        assert!(issuer.came("/token").is_empty(), "{}", fault.why);
    };
    refused(begun(&of).await.unwrap().1, &none).await;
    refused(begun(&of).await.unwrap().1, &no_admin).await;
    refused(begun(&of).await.unwrap().1, &moved).await;
    refused(begun(&of).await.unwrap().1, &unlisted).await;
}

#[tokio::test]
async fn what_people_are_shown_is_what_is_used() {
    let refused = async |issuer: &Issuer| begun(&consented(issuer)).await.map(drop).unwrap_err().why;
    // Letters that look like others, and what turns a line around.
    for server in ["https://\u{430}ccounts.example", "https://a.example/\u{202e}gpj", "https://a.exa\nmple", " https://a.example"]
    {
        let issuer = Issuer::start().await;
        issuer.says("/prm", 200, json!({"resource": format!("{}/mcp", issuer.at), "authorization_servers": [server]}));
        let why = refused(&issuer).await;
        assert!(why.contains("plain letters") && why.is_ascii() && !why.contains('\n'), "{why:?}");
    }
    for (key, value) in [
        ("revocation_endpoint", "http://evil.example/revoke"),
        ("registration_endpoint", "file:///etc/passwd"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "https://user@evil.example/authorize"),
    ] {
        let why = refused(&*issuer_with(|all| all[key] = json!(value)).await).await;
        assert!(why.contains(value), "{why}");
    }
    for scopes in [json!(["a b"]), json!(["a\u{202e}"]), json!([""]), json!(vec!["x"; 101]), json!(["x".repeat(300)])] {
        let issuer = Issuer::start().await;
        issuer.says("/mcp", 401, "");
        let own =
            json!({"resource": format!("{}/mcp", issuer.at), "authorization_servers": [issuer.at], "scopes_supported": scopes});
        issuer.says("/.well-known/oauth-protected-resource/mcp", 200, own);
        let why = refused(&issuer).await;
        assert!(why.contains("are no scopes, or for more than 100"), "{why}");
    }
    let issuer = Issuer::start().await;
    issuer.says(
        "/prm",
        200,
        json!({"resource": format!("{}/mcp", issuer.at), "authorization_servers": vec!["https://evil.example/".repeat(500); 9]}),
    );
    let of = consented(&issuer);
    let why = of.consents.begin(&of, who(false), BACK).await.unwrap_err().why;
    assert!(why.len() < 1200, "{why}");
}

#[tokio::test]
async fn one_person_takes_up_no_more_room_in_many_sessions_than_in_one() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let begin = async |person: &str, session: &str| {
        let who = Who { person: person.to_owned(), session: session.to_owned(), ..who(true) };
        let begun = of.consents.begin(&of, who, BACK).await.unwrap();
        Url::parse(&begun.url).unwrap().query_pairs().into_owned().collect::<BTreeMap<String, String>>()
    };
    let of_other = begin("bob", "b1").await;
    for session in 0..20 {
        begin("ada", &format!("s{session}")).await;
    }
    assert_eq!(of.consents.pending().len(), 9);
    assert!(came(&of, back(&of_other, &issuer.at), "b1").await.is_ok());
}

#[tokio::test]
async fn a_token_is_always_for_what_the_server_calls_itself() {
    let issuer = Issuer::start().await;
    issuer.says("/prm", 200, json!({"resource": issuer.at, "authorization_servers": [issuer.at]}));
    let of = connected(&issuer).await;
    of.mint(&wish(300), &Kept::default()).await.unwrap();
    for body in issuer.came("/token") {
        let asked: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        assert_eq!(asked["resource"], issuer.at, "{body}");
    }
    // An issuer that says that nothing but the right to do so again came with it has not given more.
    issuer.says(
        "/token",
        200,
        json!({"access_token": "access-token-x", "token_type": "bearer", "expires_in": 60, "scope": "read offline_access"}),
    );
    assert!(of.mint(&wish(300), &Kept::default()).await.is_ok());
}
