//! Installation tokens: for the repositories and with the permissions that were asked for, never more, and given back.
#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;

use super::*;
use crate::stub::{Say, Stub, every_fault, file, mint, rsa_pem};

const TOKEN: &str = "ghs_canary0123456789";

/// The shape that GitHub documents, with these in place of what was asked for.
pub(crate) fn answer(permissions: &str, repositories: &str, selection: &str) -> String {
    format!(
        r#"{{"token":"{TOKEN}","expires_at":"2099-07-11T22:14:10Z","permissions":{permissions},
        "repository_selection":"{selection}","repositories":[{repositories}]}}"#
    )
}

pub(crate) fn at(url: &Url, folder: &std::path::Path) -> GitHub {
    let of = |level| BTreeMap::from([("issues".to_owned(), level)]);
    GitHub {
        web: Web { roots: None, identity: None },
        api: url.join("api/v3").unwrap(),
        app: "Iv1.app".to_owned(),
        installation: 42,
        key: SigningKey { file: file(folder, "key", &rsa_pem()), key_id: None, algorithm: None },
        repositories: vec!["support".to_owned()],
        permissions: of(GitHubPermission::Write),
        read_permissions: Some(of(GitHubPermission::Read)),
    }
}

#[tokio::test]
async fn a_token_is_for_these_repositories_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::new(|asked| {
        Some(match asked.line.split(' ').next() {
            Some("DELETE") => Say("204 No Content", "", Vec::new()),
            _ => Say(
                "201 Created",
                "",
                answer(r#"{"issues":"read","metadata":"read"}"#, r#"{"name":"support"}"#, "selected").into(),
            ),
        })
    });
    let stub = stub.await;
    let provider = at(&stub.url, folder.path());
    let (minted, kept) = mint(&provider, Access::Read).await;
    let minted = minted.unwrap();
    assert_eq!((minted.reference.as_str(), kept.is_some()), ("support issues:read", true));
    assert_eq!(minted.expires_at_ms, moment::unix_ms("2099-07-11T22:14:10Z"));
    let asked = stub.asked().remove(0);
    assert_eq!(asked.line, "POST /api/v3/app/installations/42/access_tokens");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, json!({ "repositories": ["support"], "permissions": { "issues": "read" } }));
    assert!(asked.head.contains("user-agent: ") && asked.head.contains("authorization: Bearer ey"), "{}", asked.head);
    provider.revoke(&minted.handle.unwrap(), crate::stub::now_ms()).await.unwrap();
    let back = stub.asked().remove(1);
    assert_eq!(back.line, "DELETE /api/v3/installation/token");
    assert!(back.head.contains(&format!("authorization: Bearer {TOKEN}\n")), "{}", back.head);
}

#[tokio::test]
async fn what_is_more_than_was_asked_for_is_refused_and_written_down_to_be_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (fits, own) = (r#"{"issues":"read"}"#, r#"{"name":"support"}"#);
    for (text, kind, why) in [
        (answer(r#"{"issues":"write"}"#, own, "selected"), MintFaultKind::Generous, "permission `issues`"),
        (answer(r#"{"issues":"read","contents":"read"}"#, own, "selected"), MintFaultKind::Generous, "`contents`"),
        (answer(r#"{"metadata":"write"}"#, own, "selected"), MintFaultKind::Generous, "`metadata`"),
        (answer(fits, r#"{"name":"support"},{"name":"finance"}"#, "selected"), MintFaultKind::Generous, "`finance`"),
        (answer(fits, own, "all"), MintFaultKind::Generous, "all repositories"),
        (format!(r#"{{"token":"{TOKEN}","expires_at":"2099-07-11T22:14:10Z"}}"#), MintFaultKind::Wrong, "does not say"),
        (answer(fits, "", "selected"), MintFaultKind::Wrong, "does not say"),
        (answer(fits, own, "selected").replace("repository_selection", "else"), MintFaultKind::Wrong, "does not say"),
        (answer(fits, own, "some"), MintFaultKind::Generous, "all repositories"),
        (answer(&format!(r#"{{"{TOKEN}":"read"}}"#), own, "selected"), MintFaultKind::Generous, "`[redacted]`"),
        (answer(r#"{"issues":"maintain"}"#, own, "selected"), MintFaultKind::Wrong, "documentation"),
        (answer(fits, own, "selected").replace("2099-07-11T22:14:10Z", "soon"), MintFaultKind::Wrong, "when the token ends"),
    ] {
        let said = text.clone();
        let stub = Stub::new(move |asked| {
            let is_back = asked.line.starts_with("DELETE");
            let gone = br#"{"message":"Bad credentials","status":"401"}"#;
            Some(if is_back { Say("401 Unauthorized", "", gone.to_vec()) } else { Say("201 Created", "", said.clone().into()) })
        });
        let stub = stub.await;
        let provider = at(&stub.url, folder.path());
        let (minted, kept) = mint(&provider, Access::Read).await;
        let fault = minted.unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(why) && !fault.why.contains("canary"), "{text}: {fault:?}");
        // One that it does not know any more is taken back.
        provider.revoke(&kept.unwrap(), crate::stub::now_ms()).await.unwrap();
        assert_eq!(stub.count("DELETE"), 1);
    }
}

#[tokio::test]
async fn an_issuer_that_fails_lends_nothing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    every_fault(&|url| Box::new(at(&url, folder.path()))).await;
    // GitHub says 403 where it asks for patience too.
    for (more, kind) in [
        ("retry-after: 60\r\n", MintFaultKind::Busy(Some(Duration::from_mins(1)))),
        ("x-ratelimit-remaining: 0\r\n", MintFaultKind::Busy(None)),
        ("x-ratelimit-remaining: 7\r\n", MintFaultKind::Refused),
    ] {
        let stub = Stub::new(move |_| Some(Say("403 Forbidden", more, br#"{"message":"rate limit"}"#.to_vec()))).await;
        let provider = at(&stub.url, folder.path());
        let fault = mint(&provider, Access::Read).await.0.unwrap_err();
        assert_eq!(fault.kind, kind, "{more}");
        assert!(fault.why.contains("rate limit"), "{fault}");
        assert!(
            provider.revoke(&Handle::new(r#"{"token":"canary-1"}"#), crate::stub::now_ms()).await.is_err(),
            "it is tried again"
        );
    }
}

#[tokio::test]
async fn a_token_is_back_when_github_says_so_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    for (status, body) in [
        ("200 OK", "<html>log in to the network</html>"),
        ("202 Accepted", ""),
        ("401 Unauthorized", ""),
        ("401 Unauthorized", r#"{"message":"the proxy does not know you"}"#),
        ("404 Not Found", r#"{"message":"Bad credentials"}"#),
    ] {
        let stub = Stub::new(move |_| Some(Say(status, "", body.into()))).await;
        let handle = Handle::new(r#"{"token":"canary-1"}"#);
        let fault = at(&stub.url, folder.path()).revoke(&handle, crate::stub::now_ms()).await.unwrap_err();
        assert!(fault.why.contains("GitHub answers with") && !fault.why.contains("canary"), "{status} {body}: {fault}");
    }
}
