//! Issuers and servers that are slow, gone, wrong or sly.

use super::*;

const METADATA: &str = "/.well-known/oauth-authorization-server";

fn changed(issuer: &Issuer, change: impl FnOnce(&mut Value)) {
    let mut metadata = issuer.metadata();
    change(&mut metadata);
    issuer.says(METADATA, 200, metadata);
}

fn fields(body: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn refresh_of(of: &Consented) -> String {
    of.consents.to(of).unwrap()[0].secrets.refresh.as_ref().unwrap().expose_secret().to_owned()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What an issuer can do wrong, with what comes of it.
fn faults() -> Vec<(u16, String, MintFaultKind, &'static str)> {
    vec![
        (200, "<html>hello</html>".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, String::new(), MintFaultKind::Wrong, "can't be used"),
        (200, "{\"access_token\": \"secret-of-somebody".to_owned(), MintFaultKind::Wrong, "can't be used"),
        (200, "x".repeat(10 * 1024 * 1024), MintFaultKind::Wrong, "more than"),
        (302, String::new(), MintFaultKind::Wrong, "302"),
        (403, json!({"error": "access_denied"}).to_string(), MintFaultKind::Refused, "access_denied"),
        (429, String::new(), MintFaultKind::Busy(Some(Duration::from_secs(7))), "429"),
        (500, String::new(), MintFaultKind::Down, "500"),
    ]
}

#[tokio::test]
async fn an_issuer_that_fails_when_a_consent_begins_sends_nobody_anywhere() {
    for (status, body, kind, why) in faults() {
        let issuer = Issuer::start().await;
        issuer.says(METADATA, status, &body);
        issuer.says("/.well-known/openid-configuration", status, &body);
        let fault = begun(&consented(&issuer)).await.map(drop).unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(why) && !fault.why.contains("secret-of-somebody"), "{}", fault.why);
        let issuer = Issuer::start().await;
        issuer.says("/register", status, &body);
        let fault = begun(&consented(&issuer)).await.map(drop).unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(why), "{}", fault.why);
    }
}

#[tokio::test]
async fn an_issuer_that_fails_when_a_consent_comes_back_leaves_none() {
    for (status, body, kind, why) in faults() {
        let issuer = Issuer::start().await;
        let of = consented(&issuer);
        let (_, asked) = begun(&of).await.unwrap();
        issuer.says("/token", status, &body);
        let fault = came(&of, back(&asked, &issuer.at), "s1").await.map(drop).unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(why) && !fault.why.contains("secret-of-somebody"), "{}", fault.why);
        assert!(of.consents.to(&of).unwrap().is_empty());
        // The code is not tried again.
        assert!(came(&of, back(&asked, &issuer.at), "s1").await.is_err());
        assert_eq!(issuer.came("/token").len(), 1);
    }
}

#[tokio::test]
async fn more_scopes_than_a_person_was_asked_for_are_given_back() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let (_, asked) = begun(&of).await.unwrap();
    let generous = json!({"access_token": "access-token-0", "refresh_token": "refresh-token-0", "token_type": "Bearer",
        "expires_in": 600, "scope": "read write admin"});
    issuer.says("/token", 200, generous);
    let fault = came(&of, back(&asked, &issuer.at), "s1").await.map(drop).unwrap_err();
    assert!(fault.kind == MintFaultKind::Generous && fault.why.contains("`admin`"), "{}", fault.why);
    assert!(issuer.came("/revoke")[0].contains("refresh-token-0") && of.consents.to(&of).unwrap().is_empty());
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_in_time_is_a_refusal_at_every_step() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    issuer.hold("/token");
    let fault = of.mint(&wish(300), &Kept::default()).await.unwrap_err();
    assert_eq!(fault.kind, MintFaultKind::Slow, "{}", fault.why);
    assert_eq!(of.consents.to(&of).unwrap().len(), 1, "the consent stands");
    let (_, asked) = begun(&of).await.unwrap();
    let fault = came(&of, back(&asked, &issuer.at), "s1").await.map(drop).unwrap_err();
    assert_eq!(fault.kind, MintFaultKind::Slow, "{}", fault.why);
    for path in [METADATA, "/.well-known/openid-configuration"] {
        issuer.hold(path);
    }
    assert_eq!(begun(&of).await.map(drop).unwrap_err().kind, MintFaultKind::Slow);
}

/// A task that ends while its token is made must not cost its owner the consent.
#[tokio::test]
async fn whoever_stops_waiting_loses_no_refresh_token() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    issuer.hold("/token");
    let waiting = of.clone();
    let task = tokio::spawn(async move { waiting.mint(&wish(300), &Kept::default()).await.map(drop) });
    until("it is asked", || issuer.came("/token").len() == 2).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    issuer.held.lock().unwrap().clear();
    issuer.let_go.notify_waiters();
    until("what replaces it is kept", || refresh_of(&of) == "refresh-token-1").await;
    until("it is given back", || issuer.came("/revoke").iter().any(|body| body.contains("access-token-1"))).await;
    of.mint(&wish(300), &Kept::default()).await.unwrap();
}

/// Nothing can be written down.
struct Full;

impl Journal for Full {
    fn keep<'a>(&'a self, _: &'a Handle) -> Later<'a, Result<(), MintFault>> {
        Box::pin(std::future::ready(Err(MintFault::new(MintFaultKind::Own, "full"))))
    }
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_lent_and_the_consent_stands() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    assert!(of.mint(&wish(300), &Full).await.is_err());
    assert_eq!(refresh_of(&of), "refresh-token-1");
}

#[tokio::test]
async fn nothing_is_asked_for_that_was_not_consented_to() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let (_, asked) = begun(&of).await.unwrap();
    let less = json!({"access_token": "a-0123456789", "refresh_token": "r-0123456789", "token_type": "Bearer", "expires_in": 600, "scope": "read"});
    issuer.says("/token", 200, less);
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    issuer.says.lock().unwrap().remove("/token");
    let write = of.mint(&Wish { access: Access::Write, ..wish(300) }, &Kept::default()).await.unwrap_err();
    assert!(write.why.contains("is not for the scope `write`: connect again at"), "{}", write.why);
    assert_eq!(issuer.came("/token").len(), 1);
    of.mint(&wish(300), &Kept::default()).await.unwrap();
}

#[tokio::test]
async fn a_person_is_asked_for_the_scopes_of_every_task() {
    let issuer = Issuer::start().await;
    let mut of = consented(&issuer);
    of.of.read_scopes = Some(vec!["look".to_owned()]);
    let (_, asked) = begun(&of).await.unwrap();
    assert_eq!(asked["scope"], "read write look");
}

#[tokio::test]
async fn tokens_are_asked_for_what_was_consented_to() {
    let issuer = Issuer::start().await;
    issuer.says("/prm", 200, json!({"resource": issuer.at, "authorization_servers": [issuer.at]}));
    let of = connected(&issuer).await;
    of.mint(&wish(300), &Kept::default()).await.unwrap();
    let asked: Vec<_> = issuer.came("/token").iter().map(|body| fields(body)["resource"].clone()).collect();
    assert_eq!(asked, [issuer.at.clone(), issuer.at.clone()]);
}

#[tokio::test]
async fn that_a_refresh_token_may_be_used_later_is_no_right_of_a_token() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let told = json!({"access_token": "a-0123456789", "token_type": "Bearer", "expires_in": 600, "scope": "read offline_access"});
    issuer.says("/token", 200, told);
    of.mint(&wish(300), &Kept::default()).await.unwrap();
}

/// RFC 9207, section 1: it would get the code that the other one gives.
#[tokio::test]
async fn an_issuer_that_sends_people_to_another_one_has_to_promise_to_say_whose_answer_it_is() {
    let issuer = Issuer::start().await;
    changed(&issuer, |all| {
        all["authorization_endpoint"] = json!("https://honest.example/authorize");
        all["authorization_response_iss_parameter_supported"] = json!(false);
    });
    let mut of = consented(&issuer);
    let fault = begun(&of).await.map(drop).unwrap_err();
    assert!(fault.why.contains("`https://honest.example/authorize`") && issuer.came("/register").is_empty(), "{}", fault.why);
    // Whoever runs the gateway knows better.
    of.client.issuers = vec![issuer.at.clone()];
    assert!(begun(&of).await.is_ok());
    of.client.issuers.clear();
    changed(&issuer, |all| all["authorization_endpoint"] = json!("https://honest.example/authorize"));
    let (_, asked) = begun(&of).await.unwrap();
    let fault = came(&of, back(&asked, "https://honest.example"), "s1").await.map(drop).unwrap_err();
    assert!(fault.why.contains("another issuer") && issuer.came("/token").is_empty(), "{}", fault.why);
}

#[tokio::test]
async fn what_a_person_reads_has_plain_letters() {
    for (resource, server, scopes, why) in [
        ("/mcp", "https://good.example\u{202e}/moc.live", json!(["read"]), "plain letters"),
        ("/mcp", "https://g\u{43e}od.example", json!(["read"]), "plain letters"),
        ("/mcp", "https://good.example/?x=1", json!(["read"]), "has a query"),
        ("/mcp", "", json!(["re\u{202e}ad"]), "are no scopes"),
        ("/mcp", "", json!(vec!["x"; 101]), "more than 100"),
    ] {
        let issuer = Issuer::start().await;
        let server = if server.is_empty() { issuer.at.clone() } else { server.to_owned() };
        let says = json!({"resource": format!("{}{resource}", issuer.at), "authorization_servers": [server], "scopes_supported": scopes});
        issuer.says("/mcp", 200, "{}");
        issuer.says("/.well-known/oauth-protected-resource/mcp", 200, says);
        let fault = begun(&consented(&issuer)).await.map(drop).unwrap_err();
        assert!(fault.why.contains(why) && !fault.why.contains('\u{202e}'), "{}", fault.why);
    }
}

#[tokio::test]
async fn an_issuer_that_repeats_the_gateways_secret_tells_it_nobody() {
    let issuer = Issuer::start().await;
    changed(&issuer, |all| all["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret+/%of-the-gateway").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut of = consented(&issuer);
    of.client = OAuthClient {
        id: Some("by hand".to_owned()),
        secret_file: Some(file),
        issuers: vec![issuer.at.clone()],
        revocable: true,
        ..OAuthClient::default()
    };
    let (_, asked) = begun(&of).await.unwrap();
    let quoted = json!({"error": "invalid_client", "error_description": "no client has s3cret+/%of-the-gateway"});
    issuer.says("/token", 401, quoted);
    let fault = came(&of, back(&asked, &issuer.at), "s1").await.map(drop).unwrap_err();
    assert!(fault.why.contains("invalid_client") && !fault.why.contains("s3cret"), "{}", fault.why);
}

#[tokio::test]
async fn no_print_shows_a_code() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let (_, asked) = begun(&of).await.unwrap();
    let shown = format!("{:?}", back(&asked, &issuer.at));
    assert!(!shown.contains("code-1") && !shown.contains(&asked["state"]), "{shown}");
}
