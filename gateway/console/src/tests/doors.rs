//! Who is let in, from where, and for how long.

use reqwest::{Method, StatusCode};

use super::{Browser, DAY_MS, MAKER, Stage, people, soft};
use crate::Role;

/// Every place that takes a form.
const FORMS: [&str; 12] = [
    "/login/link",
    "/login/passkey/options",
    "/login/passkey",
    "/logout",
    "/sign",
    "/passkeys/options",
    "/passkeys/add",
    "/passkeys/x/remove",
    "/sessions/x/end",
    "/approvals/apr_1/decision",
    "/credentials/x/revoke",
    "/nowhere",
];

#[tokio::test]
async fn every_answer_says_how_it_may_be_used() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    for path in ["/login", "/passkey.js", "/nowhere", "/passkeys", "/logout"] {
        let answer = browser.get(path).await;
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cache-control", if path == "/passkey.js" { "no-cache" } else { "no-store" }),
        ] {
            assert_eq!(header(name), value, "{path} {name}");
        }
        assert!(header("access-control-allow-origin").is_empty());
    }
    let page = browser.get("/login").await;
    let set = page.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Lax") && set.contains("; Path=/;"), "{set}");
    let text = page.text().await.unwrap();
    assert!(!text.contains("<script>") && !text.contains("style=") && !text.contains("onclick"), "nothing inline: {text}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test speaks as no client of ours would")]
async fn another_name_is_not_served() {
    let stage = Stage::new().await;
    for host in ["evil.example", "localhost", "localhost:1", "127.0.0.1", "localhost.evil.example:80", "[::2]:80"] {
        let mut browser = Browser { origin: format!("http://{host}"), ..stage.browser() };
        assert_eq!(browser.get("/login").await.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert_eq!(browser.post("/logout", &[]).await.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    let mut by_address = Browser { origin: format!("http://127.0.0.1:{}", stage.port), ..stage.browser() };
    let answer = by_address.get("/login?next=/x").await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT, "passkeys need the name");
    assert_eq!(answer.headers()["location"], format!("{}/login?next=/x", stage.origin()));
    let mut raw = tokio::net::TcpStream::connect(("127.0.0.1", stage.port)).await.unwrap();
    let twice =
        format!("GET /login HTTP/1.1\r\nHost: localhost:{0}\r\nHost: localhost:{0}\r\nConnection: close\r\n\r\n", stage.port);
    tokio::io::AsyncWriteExt::write_all(&mut raw, twice.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut raw, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn another_site_may_link_here_and_nothing_else() {
    let stage = Stage::new().await;
    let browser = stage.by_link("ada").await;
    let token = browser.clone().token("/passkeys", "/logout").await;
    let post = |origin: Option<&str>, site: Option<&str>| {
        let mut request = browser.posting("/logout", &[("token", &token)]).build().unwrap();
        request.headers_mut().remove("origin");
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        if let Some(site) = site {
            request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        }
        browser.http.execute(request)
    };
    let own = stage.origin();
    let by_address = format!("http://127.0.0.1:{}", stage.port);
    let other_port = format!("http://localhost:{}", stage.port - 1);
    for (origin, site) in [
        (None, None),
        (Some("null"), None),
        (Some("null"), Some("cross-site")),
        (Some("https://evil.example"), None),
        (Some(by_address.as_str()), None),
        (Some(other_port.as_str()), Some("same-site")),
        (Some(&own), Some("cross-site")),
        (Some(&own), Some("same-site")),
        (None, Some("none")),
        (None, Some("cross-site")),
    ] {
        let answer = post(origin, site).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{origin:?} {site:?}");
    }
    let get = |site: &'static str, mode: &'static str, dest: &'static str| {
        let request = browser.request(Method::GET, "/passkeys").header("sec-fetch-site", site);
        request.header("sec-fetch-mode", mode).header("sec-fetch-dest", dest).send()
    };
    for (mode, dest) in
        [("navigate", "iframe"), ("no-cors", "image"), ("cors", "empty"), ("no-cors", "script"), ("navigate", "embed")]
    {
        assert_eq!(get("cross-site", mode, dest).await.unwrap().status(), StatusCode::FORBIDDEN, "{mode} {dest}");
    }
    assert_eq!(get("cross-site", "navigate", "document").await.unwrap().status(), StatusCode::OK);
    assert_eq!(stage.console.sessions().of("ada").len(), 1, "nobody was logged out");
    // The form of a page without a referrer has the origin `null`.
    assert_eq!(post(Some("null"), Some("same-origin")).await.unwrap().status(), StatusCode::SEE_OTHER);
    assert!(stage.console.sessions().of("ada").is_empty());
}

#[tokio::test]
async fn what_agents_carry_is_refused() {
    let stage = Stage::new().await;
    let browser = stage.by_link("ada").await;
    for (name, value) in [
        ("authorization", "Bearer bw_at_0123"),
        ("authorization", "bearer x"),
        ("authorization", "DPoP x"),
        ("authorization", "Basic YTpi"),
        ("dpop", "x"),
        ("bailiwick-grant", "triage"),
        ("bailiwick-agent", "demo"),
        ("mcp-session-id", "x"),
    ] {
        for method in [Method::GET, Method::POST] {
            let request = browser.request(method, "/passkeys").header("origin", stage.origin()).header(name, value);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn a_form_is_sent_and_is_of_this_session() {
    let stage = Stage::new().await;
    let mut browser = stage.by_link("ada").await;
    let mut other = stage.by_link("ada").await;
    for path in FORMS {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH] {
            let request = browser.request(method.clone(), path).header("origin", stage.origin());
            let status = request.send().await.unwrap().status();
            assert!(matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND), "{method} {path}: {status}");
        }
        let options = browser.request(Method::OPTIONS, path).send().await.unwrap().status();
        assert_eq!(options, StatusCode::METHOD_NOT_ALLOWED);
        for token in [None, Some(""), Some("AAAA"), Some(other.token("/passkeys", "/logout").await.as_str())] {
            let fields: Vec<_> = token.into_iter().map(|token| ("token", token)).collect();
            let status = browser.post(path, &fields).await.status();
            assert!(matches!(status.as_u16(), 400 | 403 | 404), "{path} {token:?}: {status}");
        }
    }
    let token = browser.token("/passkeys", "/logout").await;
    let json =
        browser.request(Method::POST, "/logout").header("origin", stage.origin()).header("content-type", "application/json");
    let answer = json.body(format!("{{\"token\":\"{token}\"}}")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let twice = browser.post("/logout", &[("token", &token), ("token", &token)]).await;
    assert_eq!(twice.status(), StatusCode::BAD_REQUEST);
    let large = browser.post("/logout", &[("token", &token), ("more", &"x".repeat(70_000))]).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let long = browser.get(&format!("/login?next=/{}", "x".repeat(5000))).await;
    assert_eq!(long.status(), StatusCode::URI_TOO_LONG);
    let packed = browser.posting("/logout", &[("token", &token)]).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(stage.console.sessions().of("ada").len(), 2, "nobody was logged out");
    assert_eq!(browser.post("/logout", &[("token", &token)]).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(stage.console.sessions().of("ada").len(), 1);
}

#[tokio::test]
async fn a_link_lets_in_once_and_a_passkey_from_then_on() {
    let stage = Stage::new().await;
    let link = stage.console.link("ada", MAKER).await.unwrap();
    assert!(link.starts_with(&format!("{}/login#one-time-", stage.origin())), "{link}");
    let code = link.split_once('#').unwrap().1;
    assert!(!format!("{:?}", stage.house.notes.lock().unwrap()).contains(code), "it is nowhere on record");
    assert_eq!(stage.noted("login_link_made"), 1);
    assert!(stage.console.link("mallory", MAKER).await.is_err());
    let mut browser = stage.browser();
    let token = browser.token("/login", "/login/link").await;
    let mut stranger = stage.browser();
    let unseen = stranger.post("/login/link", &[("token", &token), ("code", code)]).await;
    assert_eq!(unseen.status(), StatusCode::FORBIDDEN, "a browser that was not shown the page");
    let wrong = browser.post("/login/link", &[("token", &token), ("code", "one-time-x")]).await;
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    let right = browser.post("/login/link", &[("token", &token), ("code", code), ("next", "/passkeys")]).await;
    let to = right.headers()["location"].to_str().unwrap();
    assert!(right.status() == StatusCode::SEE_OTHER && to.starts_with("/passkeys#enrol-"), "{to}");
    browser.ticket = to.split_once("#enrol-").map(|(_, ticket)| ticket.to_owned());
    let again = stage.browser().token("/login", "/login/link").await;
    assert_eq!(browser.post("/login/link", &[("token", &again), ("code", code)]).await.status(), StatusCode::FORBIDDEN);

    let mut passkey = soft::Authenticator::new(soft::Key::es256(), b"laptop");
    assert_eq!(browser.add_passkey(&mut passkey, &[]).await.status(), StatusCode::SEE_OTHER);
    let second = browser.add_passkey(&mut soft::Authenticator::new(soft::Key::es256(), b"phone"), &[]).await;
    assert_eq!(second.status(), StatusCode::FORBIDDEN, "a link is for one passkey");

    let mut fresh = stage.browser();
    let inside = fresh.login(&mut passkey).await;
    assert_eq!((inside.status(), inside.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/passkeys?x=1"));
    assert!(fresh.get("/passkeys").await.text().await.unwrap().contains("passkeys of ada"));
    let (logins, refused, added) = (stage.noted("login"), stage.noted("login_refused"), stage.noted("passkey_added"));
    assert_eq!((logins, refused, added), (2, 1, 1), "{:?}", stage.house.notes.lock().unwrap());
}

#[tokio::test]
async fn a_login_that_is_not_of_this_browser_or_this_passkey_is_refused() {
    let stage = Stage::new().await;
    let (_, mut passkey) = stage.with_passkey("ada").await;
    let mut browser = stage.browser();
    let token = browser.token("/login", "/login/passkey").await;
    let asked = browser.post("/login/passkey/options", &[("token", &token)]).await.text().await.unwrap();
    let options: serde_json::Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(options["allowCredentials"], serde_json::json!([]), "nobody learns who is registered");
    let answer = passkey.get(&options, &stage.origin()).to_string();
    let mut other = stage.browser();
    let of_other = other.token("/login", "/login/passkey").await;
    let elsewhere = other.post("/login/passkey", &[("token", &of_other), ("credential", &answer)]).await;
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN, "a question of another browser");
    let right = browser.post("/login/passkey", &[("token", &token), ("credential", &answer)]).await;
    assert_eq!(right.status(), StatusCode::SEE_OTHER, "what another browser did keeps nobody out");
    let used = browser.post("/login/passkey", &[("token", &token), ("credential", &answer)]).await;
    assert_eq!(used.status(), StatusCode::FORBIDDEN, "it let somebody in once");

    let mut unknown = soft::Authenticator::new(soft::Key::eddsa(), b"unknown");
    unknown.user = passkey.user.clone();
    assert_eq!(browser.login(&mut unknown).await.status(), StatusCode::FORBIDDEN);
    let mut forged = soft::Authenticator::new(soft::Key::eddsa(), &passkey.id);
    (forged.user, forged.count) = (passkey.user.clone(), 100);
    assert_eq!(browser.login(&mut forged).await.status(), StatusCode::FORBIDDEN);
    let handle = std::mem::take(&mut passkey.user);
    assert_eq!(browser.login(&mut passkey).await.status(), StatusCode::FORBIDDEN, "it does not say whose it is");
    passkey.user = vec![7; 32];
    assert_eq!(browser.login(&mut passkey).await.status(), StatusCode::FORBIDDEN, "it says another person");
    passkey.user = handle;
    let there = browser.login(&mut passkey).await;
    assert_eq!(there.status(), StatusCode::SEE_OTHER);
    passkey.count = 1;
    assert_eq!(stage.browser().login(&mut passkey).await.status(), StatusCode::FORBIDDEN, "a copy");
    assert_eq!(stage.noted("passkey_copied"), 1);
    assert_eq!(stage.noted("login"), 3);
}

#[tokio::test]
async fn failures_are_bounded_and_what_can_not_be_recorded_does_not_happen() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let token = browser.token("/login", "/login/link").await;
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(browser.post("/login/link", &[("token", &token), ("code", "one-time-x")]).await.status().as_u16());
    }
    assert_eq!((statuses[19], statuses[20]), (403, 429), "{statuses:?}");
    stage.by_link("bob").await;
    assert_eq!(stage.console.sessions().of("bob").len(), 1, "nobody is kept out by a stranger's failures");
    stage.pass(60_000);
    let mut code = stage.console.link("ada", MAKER).await.unwrap();
    stage.house.is_lost.store(true, std::sync::atomic::Ordering::Relaxed);
    let lost = browser.post("/login/link", &[("token", &token), ("code", &code.split_off(code.find('#').unwrap() + 1))]).await;
    assert_eq!(lost.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(stage.console.sessions().of("ada").is_empty());
}

#[tokio::test]
async fn sessions_end_with_their_time_and_with_their_people() {
    let stage = Stage::new().await;
    let (mut browser, _) = stage.with_passkey("ada").await;
    let mut bob = stage.by_link("bob").await;
    stage.pass(29 * 60 * 1000);
    assert_eq!(browser.get("/passkeys").await.status(), StatusCode::OK);
    stage.pass(29 * 60 * 1000);
    assert_eq!(browser.get("/passkeys").await.status(), StatusCode::OK, "it was used");
    let gone = bob.get("/passkeys?a=1&b=2").await;
    assert_eq!(
        (gone.status(), gone.headers()["location"].to_str().unwrap()),
        (StatusCode::SEE_OTHER, "/login?next=%2Fpasskeys%3Fa%3D1%26b%3D2")
    );
    assert_eq!(stage.noted("session_ended"), 1);
    stage.pass(DAY_MS);
    stage.console.sweep().await;
    assert_eq!(stage.noted("session_ended"), 2);

    let (mut browser, mut eve) = stage.with_passkey("eve").await;
    let mut ada = stage.by_link("ada").await;
    let viewer = stage.console.sessions().of("eve");
    assert_eq!(viewer.len(), 1);
    let mut changed = people();
    changed[2].roles = [Role::Viewer].into();
    stage.console.set_people(changed).await.unwrap();
    assert_eq!(browser.get("/passkeys").await.status(), StatusCode::SEE_OTHER, "another entry, another login");
    assert_eq!(ada.get("/passkeys").await.status(), StatusCode::OK, "ada is as she was");
    assert_eq!(stage.browser().login(&mut eve).await.status(), StatusCode::SEE_OTHER);
    let code = stage.console.link("eve", MAKER).await.unwrap();
    stage.console.set_people(people()[..2].to_vec()).await.unwrap();
    assert_eq!(stage.noted("passkeys_removed"), 1);
    stage.console.set_people(people()).await.unwrap();
    assert_eq!(stage.browser().login(&mut eve).await.status(), StatusCode::FORBIDDEN, "somebody else of the same name");
    let mut browser = stage.browser();
    let token = browser.token("/login", "/login/link").await;
    let by_link = browser.post("/login/link", &[("token", &token), ("code", code.split_once('#').unwrap().1)]).await;
    assert_eq!(by_link.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn one_ends_sessions_of_ones_own() {
    let stage = Stage::new().await;
    let mut browser = stage.by_link("ada").await;
    stage.pass(1);
    let mut second = stage.by_link("ada").await;
    let mut bob = stage.by_link("bob").await;
    let own = stage.console.sessions().of("ada");
    let of_bob = stage.console.sessions().of("bob")[0].id.clone();
    let to = format!("/sessions/{}/end", own[1].id);
    let token = browser.token("/passkeys", &to).await;
    let foreign = format!("/sessions/{of_bob}/end");
    let forged = stage.console.tokens().make(&own[0].id, &foreign);
    assert_eq!(browser.post(&foreign, &[("token", &forged)]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(browser.post(&to, &[("token", &token)]).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(stage.console.sessions().of("ada").len(), 1);
    assert_eq!(browser.get("/passkeys").await.status(), StatusCode::OK);
    assert_eq!(second.get("/passkeys").await.status(), StatusCode::SEE_OTHER, "it has ended");
    assert_eq!(bob.get("/passkeys").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_alone_adds_no_passkey() {
    let stage = Stage::new().await;
    let ada = stage.by_link("ada").await;
    assert!(ada.ticket.is_some());
    // A thief of the cookie reads every page, and the tokens of its forms.
    let mut thief = Browser { ticket: None, ..ada.clone() };
    let page = thief.get("/passkeys").await.text().await.unwrap();
    assert!(!page.contains(ada.ticket.as_deref().unwrap()), "the ticket is on no page");
    let mut of_thief = soft::Authenticator::new(soft::Key::eddsa(), b"thief");
    assert_eq!(thief.add_passkey(&mut of_thief, &[]).await.status(), StatusCode::FORBIDDEN);
    for wrong in ["x", &"A".repeat(43)] {
        let mut guessing = Browser { ticket: Some(wrong.to_owned()), ..thief.clone() };
        assert_eq!(guessing.add_passkey(&mut of_thief, &[]).await.status(), StatusCode::FORBIDDEN, "{wrong}");
    }
    let mut bob = stage.by_link("bob").await;
    let of_bob = bob.ticket.replace(ada.ticket.clone().unwrap());
    assert_eq!(bob.add_passkey(&mut of_thief, &[]).await.status(), StatusCode::FORBIDDEN, "the ticket of another session");
    bob.ticket = of_bob;
    assert!(stage.console.passkeys().of("ada").is_empty() && stage.noted("passkey_added") == 0);
    stage.pass(10 * 60 * 1000);
    let mut late = soft::Authenticator::new(soft::Key::eddsa(), b"late");
    assert_eq!(bob.add_passkey(&mut late, &[]).await.status(), StatusCode::FORBIDDEN, "its time is over");
    let mut ada = stage.by_link("ada").await;
    // Two questions by one ticket make one passkey.
    let ask = value_of_options(&mut ada).await;
    let ticket = ada.ticket.clone().unwrap();
    let fields = [("token", ask.as_str()), ("name", "second"), ("ticket", ticket.as_str())];
    let second: serde_json::Value =
        serde_json::from_str(&ada.post("/passkeys/options", &fields).await.text().await.unwrap()).unwrap();
    let mut first = soft::Authenticator::new(soft::Key::eddsa(), b"first");
    assert_eq!(ada.add_passkey(&mut first, &[]).await.status(), StatusCode::SEE_OTHER);
    let made = soft::Authenticator::new(soft::Key::eddsa(), b"second").create(&second, &stage.origin()).to_string();
    let add = ada.token("/passkeys", "/passkeys/add").await;
    let answer = ada.post("/passkeys/add", &[("token", &add), ("credential", &made)]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(stage.console.passkeys().of("ada").len(), 1);
}

/// The token for a question that makes a passkey.
async fn value_of_options(browser: &mut Browser) -> String {
    let page = browser.get("/passkeys").await.text().await.unwrap();
    super::value_of(page.split("<form").find(|form| form.contains("action=\"/passkeys/add\"")).unwrap(), "options-token")
}

#[tokio::test]
async fn a_link_adds_a_passkey_to_who_has_some_only_where_it_says_so() {
    let stage = Stage::new().await;
    let (_, mut first) = stage.with_passkey("ada").await;
    let mut browser = stage.by_link("ada").await;
    assert_eq!(browser.ticket, None, "she has one");
    let mut second = soft::Authenticator::new(soft::Key::eddsa(), b"second");
    assert_eq!(browser.add_passkey(&mut second, &[]).await.status(), StatusCode::FORBIDDEN);
    let link = stage.console.recovery_link("ada", MAKER).await.unwrap();
    let mut browser = stage.with_link(&link).await;
    assert_eq!(browser.add_passkey(&mut second, &[]).await.status(), StatusCode::SEE_OTHER);
    let mut third = soft::Authenticator::new(soft::Key::eddsa(), b"third");
    assert_eq!(browser.add_passkey(&mut third, &[]).await.status(), StatusCode::FORBIDDEN, "once");
    assert_eq!(stage.browser().login(&mut first).await.status(), StatusCode::SEE_OTHER);
    let notes = stage.house.notes.lock().unwrap();
    let of = |event: &str| notes.iter().rfind(|note| note.event == event).unwrap().with.clone();
    assert_eq!((&of("login_link_made")["recovers"], &of("passkey_added")["by"]), (&true.into(), &"recovery link".into()));
}

#[tokio::test]
async fn a_passkey_that_is_added_while_its_person_goes_is_not_kept() {
    let stage = Stage::new().await;
    let mut browser = stage.by_link("ada").await;
    *stage.house.vanish.lock().unwrap() = Some(std::sync::Arc::clone(&stage.console));
    let mut passkey = soft::Authenticator::new(soft::Key::eddsa(), b"late");
    assert_eq!(browser.add_passkey(&mut passkey, &[]).await.status(), StatusCode::FORBIDDEN);
    assert!(stage.console.passkeys().people().is_empty(), "nobody of her name has it later");
}

#[tokio::test]
async fn who_has_no_role_hears_nothing() {
    let stage = Stage::new().await;
    let mut changed = people();
    changed[0].roles = [].into();
    stage.console.set_people(changed).await.unwrap();
    let mut ada = stage.by_link("ada").await;
    assert_eq!(ada.get("/events").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(stage.by_link("bob").await.get("/events").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn strangers_hide_nothing_that_people_do() {
    let stage = Stage::new().await;
    let mut stranger = stage.browser();
    let token = stranger.token("/login", "/login/link").await;
    for _ in 0..40 {
        stranger.post("/login/link", &[("token", &token), ("code", "one-time-x")]).await;
    }
    let mut ada = stage.by_link("ada").await;
    let to = "/passkeys/x/remove";
    let mine = stage.console.tokens().make(&stage.console.sessions().of("ada")[0].id, to);
    assert_eq!(ada.post(to, &[("token", &mine), ("operator", "00")]).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(stage.noted("signature_refused"), 1);
}
