#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

pub(crate) const CREATED: &str = r#"{"auth":{"client_token":"canary-child","accessor":"acc-1","policies":["ro"],"lease_duration":30,"renewable":true,"orphan":true}}"#;
const RENEWED: &str = r#"{"auth":{"client_token":"","accessor":"acc-1","lease_duration":600}}"#;
const SECRET: &str = r#"{"lease_id":"database/creds/ro/1","lease_duration":3600,"renewable":true,"data":{"username":"v-1","password":"canary-password"}}"#;
const SHORTENED: &str = r#"{"lease_id":"database/creds/ro/1","lease_duration":600,"renewable":true}"#;

/// An issuer that answers what it is told to, by the path: the last that fits.
struct Issuer {
    url: url::Url,
    asked: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Issuer {
    async fn answering(answers: &[(&'static str, u16, &str)]) -> Self {
        let usual = [
            ("auth/token/create", 200, CREATED),
            ("auth/token/renew-accessor", 200, RENEWED),
            ("database/creds/ro", 200, SECRET),
            ("sys/leases/renew", 200, SHORTENED),
            ("sys/leases/revoke", 204, ""),
            ("auth/token/revoke-accessor", 204, ""),
        ];
        let answers: Vec<(&str, u16, String)> =
            usual.iter().chain(answers).map(|(path, status, body)| (*path, *status, (*body).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut wire, _)) = listener.accept().await {
                let mut request = vec![0; 16 * 1024];
                let mut length = 0;
                loop {
                    let count = wire.read(&mut request[length..]).await.unwrap();
                    length += count;
                    let text = String::from_utf8_lossy(&request[..length]).to_lowercase();
                    let body = text.split_once("\r\n\r\n").map(|(head, body)| {
                        let wanted =
                            head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
                        body.len() >= wanted.unwrap_or(0)
                    });
                    if count == 0 || body == Some(true) {
                        break;
                    }
                }
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let found = answers
                    .iter()
                    .rev()
                    .find(|(path, ..)| text.lines().next().is_some_and(|line| line.contains(&format!("/v1/{path} "))));
                seen.lock().unwrap().push(text);
                let (_, status, body) = found.cloned().unwrap_or(("", 404, "{}".to_owned()));
                let more = if status == 429 { "retry-after: 7\r\n" } else { "" };
                let answer =
                    format!("HTTP/1.1 {status} X\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                let _ = wire.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, asked, folder: tempfile::tempdir().unwrap() }
    }

    fn provider(&self, is_kept: bool) -> OpenBao {
        at(&self.url, self.folder.path(), is_kept)
    }

    fn paths(&self) -> Vec<String> {
        let path = |text: &String| text.split(' ').nth(1).unwrap_or_default().trim_start_matches("/v1/").to_owned();
        self.asked.lock().unwrap().iter().map(path).collect()
    }
}

/// A provider of what is at this address.
pub(crate) fn at(url: &url::Url, folder: &std::path::Path, is_kept: bool) -> OpenBao {
    let file = folder.join("token");
    std::fs::write(&file, "canary-own").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = BaoServer {
        url: url.clone(),
        web: Web { roots: None, identity: None },
        namespace: Some("team".to_owned()),
        login: Login::Token { file },
        token_role: None,
    };
    let (path, policies) = ("database/creds/ro".to_owned(), vec!["ro".to_owned()]);
    let lent = LentByBao {
        path: "database/creds/rw".to_owned(),
        read_path: path,
        policies: vec!["rw".to_owned()],
        read_policies: policies,
        is_kept,
        longest: None,
    };
    OpenBao::new(server, lent)
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Journal for Notes {
    fn keep<'a>(&'a self, handle: &'a Handle) -> Later<'a, Result<(), MintFault>> {
        self.0.lock().unwrap().push(handle.expose().to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
}

fn wish() -> Wish {
    Wish {
        lease: "lease-1".to_owned(),
        grant: Some("g-1".parse().unwrap()),
        agent: Some("bot".parse().unwrap()),
        owner: "owner".to_owned(),
        connector: "db".parse().unwrap(),
        access: Access::Read,
        now_ms: 1_000,
        until_ms: 601_000,
    }
}

#[tokio::test]
async fn what_is_made_is_written_down_step_by_step_and_read_with_the_tasks_own_token() {
    let (issuer, notes) = (Issuer::answering(&[]).await, Notes::default());
    let provider = issuer.provider(false);
    let minted = provider.mint(&wish(), &notes).await.unwrap();
    assert_eq!(minted.reference, "database/creds/ro");
    let ends_ms = minted.expires_at_ms.unwrap();
    assert!((590_000..=601_000).contains(&ends_ms), "{ends_ms}");
    assert_eq!(
        issuer.paths(),
        ["auth/token/create", "auth/token/renew-accessor", "database/creds/ro", "sys/leases/renew"],
        "its own idea of an hour is made ours"
    );
    assert_eq!(
        *notes.0.lock().unwrap(),
        [r#"{"accessor":"acc-1","leases":[]}"#, r#"{"accessor":"acc-1","leases":["database/creds/ro/1"]}"#]
    );
    let asked = issuer.asked.lock().unwrap().clone();
    assert!(asked[2].contains("x-vault-token: canary-child") && asked[2].contains("x-vault-namespace: team"), "{}", asked[2]);
    for part in
        ["\"ttl\":\"30s\"", "\"explicit_max_ttl\":\"600s\"", "\"grant\":\"g-1\"", "\"no_default_policy\":true", "[\"ro\"]"]
    {
        assert!(asked[0].contains(part) && asked[0].contains("x-vault-token: canary-own"), "{part}: {}", asked[0]);
    }
    let shown = format!("{minted:?} {provider:?}");
    assert!(!shown.contains("canary"), "{shown}");
    provider.revoke(&minted.handle.unwrap(), crate::stub::now_ms()).await.unwrap();
    assert_eq!(issuer.paths()[4..], ["sys/leases/revoke", "auth/token/revoke-accessor"]);
}

#[tokio::test]
async fn what_makes_no_sense_or_is_too_much_is_refused_and_tells_no_secret() {
    use MintFaultKind as Kind;
    let forever = CREATED.replace("\"lease_duration\":30", "\"lease_duration\":0");
    let day = CREATED.replace("\"lease_duration\":30", "\"lease_duration\":86400");
    let more = CREATED.replace("[\"ro\"]", "[\"ro\",\"admin\"]");
    let long = RENEWED.replace("600", "6000");
    let lasting = SHORTENED.replace("600", "3600");
    let kept = r#"{"data":{"password":"canary-password"}}"#;
    let big = " ".repeat(10_000_000);
    let none = CREATED.replace("\"policies\":[\"ro\"],", "");
    let own = CREATED.replace("[\"ro\"]", "[\"ro\",\"canary-child\"]");
    let cases: [(&str, u16, &str, Kind, &str); 18] = [
        ("auth/token/create", 200, &none, Kind::Wrong, "which policies"),
        ("auth/token/create", 200, &own, Kind::Generous, "`[redacted]`"),
        ("auth/token/create", 200, "<html>canary</html>", Kind::Wrong, "not its JSON"),
        ("auth/token/create", 200, "", Kind::Wrong, "not its JSON"),
        ("auth/token/create", 200, "{\"auth\":{\"client_token\":\"canary", Kind::Wrong, "not its JSON"),
        ("auth/token/create", 200, "{}", Kind::Wrong, "without `auth`"),
        ("auth/token/create", 200, &big, Kind::Wrong, "more than"),
        ("auth/token/create", 200, &forever, Kind::Generous, "for ever"),
        ("auth/token/create", 200, &day, Kind::Generous, "86400 s"),
        ("auth/token/create", 200, &more, Kind::Generous, "`admin`"),
        ("auth/token/create", 429, "", Kind::Busy(Some(Duration::from_secs(7))), "429"),
        ("auth/token/create", 403, "{\"errors\":[\"permission denied\"]}", Kind::Refused, "permission denied"),
        ("auth/token/create", 500, "{\"errors\":[\"sealed\"]}", Kind::Down, "sealed"),
        ("auth/token/renew-accessor", 200, &long, Kind::Generous, "6000 s"),
        ("database/creds/ro", 404, "{\"errors\":[]}", Kind::Refused, "nothing at `database/creds/ro`"),
        ("database/creds/ro", 200, kept, Kind::Wrong, "kept"),
        ("sys/leases/renew", 200, &lasting, Kind::Generous, "3600 s"),
        ("database/creds/ro", 302, "", Kind::Wrong, "302"),
    ];
    for (path, status, body, kind, word) in cases {
        let (issuer, notes) = (Issuer::answering(&[(path, status, body)]).await, Notes::default());
        let fault = issuer.provider(false).mint(&wish(), &notes).await.unwrap_err();
        assert!(fault.kind == kind && fault.why.contains(word), "{path} {status}: {fault:?}");
        assert!(!fault.why.contains("canary"), "{fault:?}");
        // A token that was made is known, so that it can be given back.
        let is_made = status == 200 && (path != "auth/token/create" || kind == Kind::Generous || body == none);
        assert!(!is_made || !notes.0.lock().unwrap().is_empty(), "{path} {word}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_not_there_is_down() {
    let issuer = Issuer::answering(&[]).await;
    let mut provider = issuer.provider(false);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    provider.talk = Talk::new(BaoServer {
        url: format!("http://{nobody}").parse().unwrap(),
        web: Web { roots: None, identity: None },
        namespace: None,
        login: Login::Token { file: issuer.folder.path().join("token") },
        token_role: None,
    });
    let fault = provider.mint(&wish(), &Notes::default()).await.unwrap_err();
    assert_eq!(fault.kind, MintFaultKind::Down, "{fault:?}");
}

#[tokio::test]
async fn a_value_that_is_kept_is_marked_as_such() {
    let versioned = r#"{"data":{"data":{"username":"u","password":"canary-kept"},"metadata":{"version":3}}}"#;
    for body in [r#"{"data":{"username":"u","password":"canary-kept"},"lease_duration":2764800}"#, versioned] {
        let issuer = Issuer::answering(&[("database/creds/ro", 200, body)]).await;
        let minted = issuer.provider(true).mint(&wish(), &Notes::default()).await.unwrap();
        assert_eq!(minted.reference, "database/creds/ro (a standing value)");
        assert_eq!(minted.material.names().collect::<Vec<_>>(), ["password", "username"]);
        assert!(minted.expires_at_ms.is_some_and(|ends_ms| ends_ms <= 601_000));
    }
}

#[tokio::test]
async fn what_is_gone_is_taken_back_and_what_fails_is_not() {
    let handle = Handle::new(r#"{"accessor":"acc-1","leases":["database/creds/ro/1"]}"#);
    let gone = "{\"errors\":[\"1 error occurred:\\n\\t* invalid accessor\\n\\n\"]}";
    let issuer = Issuer::answering(&[("auth/token/revoke-accessor", 403, gone)]).await;
    issuer.provider(false).revoke(&handle, crate::stub::now_ms()).await.unwrap();
    for path in ["sys/leases/revoke", "auth/token/revoke-accessor"] {
        // What it has only begun to do is not done either.
        for (status, body) in [(403, "{\"errors\":[\"permission denied\"]}"), (500, "{}"), (202, ""), (307, "")] {
            let issuer = Issuer::answering(&[(path, status, body)]).await;
            issuer.provider(false).revoke(&handle, crate::stub::now_ms()).await.unwrap_err();
        }
    }
}
