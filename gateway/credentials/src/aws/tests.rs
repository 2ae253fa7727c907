//! Sessions of a role: as narrow and as short as asked for, or none.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::*;
use crate::stub::{Asked, Notes, Say, Stub, every_fault, file, mint, wish};

const NAME: &str = "bot-0123456789abcdef0123456789abcdef";

pub(crate) fn at(url: &Url, folder: &std::path::Path) -> Aws {
    Aws {
        web: Web { roots: None, identity: None },
        endpoint: url.clone(),
        region: "eu-central-1".to_owned(),
        keys: AwsKeys {
            id: "AKIDEXAMPLE".to_owned(),
            secret_file: file(folder, "secret", "secret-of-the-gateway"),
            session_token_file: None,
        },
        max_ttl: None,
        tags: false,
        role: "arn:aws:iam::123456789012:role/tickets".to_owned(),
        read_role: Some("arn:aws:iam::123456789012:role/readers".to_owned()),
        policy: None,
        read_policy: None,
        may_outlive: false,
    }
}

/// A session that ends so many seconds after the one that was asked for.
pub(crate) fn session(asked: &Asked, beyond: i64, name: &str) -> Say {
    let role = fields(asked)["RoleArn"].rsplit('/').next().unwrap().to_owned();
    named(asked, beyond, &format!("{role}/{name}"))
}

/// The same of whomever it is.
pub(crate) fn named(asked: &Asked, beyond: i64, name: &str) -> Say {
    let seconds: i64 = fields(asked)["DurationSeconds"].parse().unwrap();
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let ends = bailiwick_schemas::time::rfc3339(u64::try_from(now_ms + (seconds + beyond) * 1000).unwrap());
    Say::ok(format!(
        r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/{name}</Arn></AssumedRoleUser>
        <Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>canary-secret-1</SecretAccessKey>
        <SessionToken>canary-token-1</SessionToken><Expiration>{ends}</Expiration></Credentials>
        </AssumeRoleResult></AssumeRoleResponse>"#
    ))
}

fn fields(asked: &Asked) -> BTreeMap<String, String> {
    form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn a_session_is_for_the_role_and_the_policy_of_the_task_and_named_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::new(|asked| Some(session(asked, 0, NAME))).await;
    let mut provider = at(&stub.url, folder.path());
    provider.read_policy = Some(file(folder.path(), "policy", "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": []\n}\n"));
    provider.tags = true;
    provider.keys.session_token_file = Some(file(folder.path(), "token", "token-of-the-gateway"));
    let (minted, kept) = mint(&provider, Access::Read).await;
    let minted = minted.unwrap();
    assert!(kept.is_none() && minted.handle.is_none() && !provider.is_revocable(), "nobody can take it back");
    let parts: Vec<_> = minted.material.names().collect();
    assert_eq!(parts, ["access_key_id", "secret_access_key", "session_token"]);
    let asked = stub.asked().remove(0);
    let sent = fields(&asked);
    assert_eq!((sent["RoleArn"].as_str(), sent["RoleSessionName"].as_str()), ("arn:aws:iam::123456789012:role/readers", NAME));
    assert_eq!(sent["Policy"], r#"{"Version":"2012-10-17","Statement":[]}"#);
    assert_eq!((sent["Tags.member.1.Key"].as_str(), sent["Tags.member.2.Value"].as_str()), ("bailiwick:agent", "g-1"));
    assert_eq!(sent["DurationSeconds"], "3600");
    for part in ["Credential=AKIDEXAMPLE/", "/eu-central-1/sts/aws4_request", "x-amz-security-token,", "x-amz-date: "] {
        assert!(asked.head.contains(part) || part.ends_with(',') && asked.head.contains("x-amz-security-token"), "{part}");
    }
    assert!(!asked.body.contains("secret-of-the-gateway") && !asked.head.contains("secret-of-the-gateway"));
}

#[tokio::test]
async fn a_task_that_is_shorter_than_a_session_is_lent_none_unless_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::new(|asked| Some(session(asked, 0, NAME))).await;
    let mut provider = at(&stub.url, folder.path());
    let fault = provider.mint(&wish(Access::Write, 899), &Notes::default()).await.unwrap_err();
    assert!(fault.kind == MintFaultKind::Own && fault.why.contains("`may_outlive = true`"), "{fault}");
    assert!(stub.asked().is_empty() && !provider.decides_lifetime());
    provider.may_outlive = true;
    provider.mint(&wish(Access::Write, 60), &Notes::default()).await.unwrap();
    assert_eq!(fields(&stub.asked()[0])["DurationSeconds"], "900");
    assert!(provider.decides_lifetime());
}

#[tokio::test]
async fn a_session_that_lives_longer_or_is_of_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (beyond, name, kind, why) in [
        (60, NAME, MintFaultKind::Generous, "longer than was asked for"),
        (0, "bot-of-another-lease", MintFaultKind::Wrong, "somebody else"),
    ] {
        let stub = Stub::new(move |asked| Some(session(asked, beyond, name))).await;
        let fault = mint(&at(&stub.url, folder.path()), Access::Write).await.0.unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(why) && !fault.why.contains("canary"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_session_of_another_role_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (role, other) in [
        ("arn:aws:iam::123456789012:role/tickets", "admins"),
        ("arn:aws:iam::123456789012:role/tickets", "tickets/deeper"),
        ("arn:aws:iam::999999999999:role/tickets", "tickets"),
        ("tickets", "tickets"),
    ] {
        let stub = Stub::new(move |asked| Some(named(asked, 0, &format!("{other}/{NAME}")))).await;
        let mut provider = at(&stub.url, folder.path());
        provider.role = role.to_owned();
        let fault = mint(&provider, Access::Write).await.0.unwrap_err();
        assert!(fault.kind == MintFaultKind::Wrong && fault.why.contains("another role"), "{role} {other}: {fault:?}");
    }
    // The path of a role is not in the name of its sessions.
    let stub = Stub::new(|asked| Some(named(asked, 0, &format!("tickets/{NAME}")))).await;
    let mut provider = at(&stub.url, folder.path());
    provider.role = "arn:aws:iam::123456789012:role/teams/support/tickets".to_owned();
    mint(&provider, Access::Write).await.0.unwrap();
}

#[tokio::test]
async fn a_signature_that_does_not_fit_tells_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::new(|asked| {
        let token = asked.head.lines().find(|line| line.starts_with("x-amz-security-token")).unwrap().to_owned();
        let error =
            format!("<Error><Code>SignatureDoesNotMatch</Code><Message>should have been 'POST / {token}'</Message></Error>");
        Some(Say("403 Forbidden", "", format!("<ErrorResponse>{error}</ErrorResponse>").into()))
    });
    let stub = stub.await;
    let mut provider = at(&stub.url, folder.path());
    provider.keys.session_token_file = Some(file(folder.path(), "token", "canary-of-the-gateway"));
    let fault = mint(&provider, Access::Write).await.0.unwrap_err();
    assert!(fault.why.contains("SignatureDoesNotMatch") && !fault.why.contains("canary"), "{fault}");
}

#[tokio::test]
async fn a_policy_that_can_not_narrow_lends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::new(|asked| Some(session(asked, 0, NAME))).await;
    let long = format!(r#"{{"Version":"{}"}}"#, "x".repeat(2048));
    for (text, why) in [(long.as_str(), "more than 2048"), ("[]", "no JSON object"), ("{", "is no JSON"), ("", "is no JSON")] {
        let mut provider = at(&stub.url, folder.path());
        provider.policy = Some(file(folder.path(), "policy", text));
        let fault = mint(&provider, Access::Read).await.0.unwrap_err();
        assert!(fault.kind == MintFaultKind::Own && fault.why.contains(why), "{fault}");
    }
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn an_issuer_that_fails_lends_nothing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    every_fault(&|url| Box::new(at(&url, folder.path()))).await;
    let error =
        |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code><Message>not you</Message></Error></ErrorResponse>");
    for (code, kind) in [("AccessDenied", MintFaultKind::Refused), ("Throttling", MintFaultKind::Busy(None))] {
        let body = error(code);
        let stub = Stub::new(move |_| Some(Say("403 Forbidden", "", body.clone().into()))).await;
        let fault = mint(&at(&stub.url, folder.path()), Access::Write).await.0.unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(&format!("{code}: not you")), "{fault:?}");
    }
}
