//! What comes of each fault that an issuer can have, with each provider: the call is refused and says why, nothing else is used in its
//! place, and what was given beyond what was asked for is given back.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{any::Any, path::Path};

use bailiwick_schemas::time::rfc3339;
use url::Url;

use super::{kit::*, *};
use crate::{
    cluster::{Cluster, provider_at},
    exec::tests::{answer as exec_answer, plugin},
    oauth::ClientAuthentication,
    provider::Provider,
    stub::{Asked, Say, Stub, file, now_ms},
    svid_file::SvidFile,
};

const TABLE: [(&str, &str, &str); 35] = [
    ("openbao", "down", "can't be reached"),
    ("openbao", "slow", "does not answer in time"),
    ("openbao", "wrong", "not its JSON"),
    ("openbao", "generous", "live 86400 s"),
    ("openbao", "busy", "429"),
    ("postgres", "down", "can't be reached"),
    ("postgres", "slow", "does not answer in time"),
    ("postgres", "wrong", "the connection to PostgreSQL failed"),
    ("postgres", "generous", "more than rights to data"),
    ("postgres", "busy", "too many connections"),
    ("oauth", "down", "can't be reached"),
    ("oauth", "slow", "does not answer in time"),
    ("oauth", "wrong", "not in JSON"),
    ("oauth", "generous", "`admin` beyond"),
    ("oauth", "busy", "429"),
    ("github", "down", "can't be reached"),
    ("github", "slow", "does not answer in time"),
    ("github", "wrong", "not in JSON"),
    ("github", "generous", "`finance` beyond"),
    ("github", "busy", "429"),
    ("aws", "down", "can't be reached"),
    ("aws", "slow", "does not answer in time"),
    ("aws", "wrong", "does not answer in XML"),
    ("aws", "generous", "longer than was asked for"),
    ("aws", "busy", "429"),
    ("exec", "down", "can't be started"),
    ("exec", "slow", "did not end within 10 s, and was killed"),
    ("exec", "wrong", "no `ExecCredential`"),
    ("exec", "generous", "longer than was asked for"),
    ("exec", "busy", "exit code 75"),
    ("svid_file", "down", "does not exist"),
    ("svid_file", "slow", "not a regular file"),
    ("svid_file", "wrong", "no JWT-SVID"),
    ("svid_file", "generous", "longer than was asked for"),
    ("svid_file", "busy", "is empty"),
];

/// A provider with its fault, what keeps that alive, and how often it was asked to take something back.
struct Staged {
    provider: Arc<dyn Provider>,
    stage: Box<dyn Any>,
    asked_back: Box<dyn Fn() -> usize>,
}

impl Staged {
    fn of(provider: impl Provider + 'static, stage: impl Any) -> Self {
        Self { provider: Arc::new(provider), stage: Box::new(stage), asked_back: Box::new(|| 0) }
    }
}

/// An address at which nobody is.
async fn nobody() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// One that hears everybody and says this, or nothing.
async fn says(text: Option<&'static str>) -> (u16, Box<dyn Any>) {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut wire, _)) = listener.accept().await {
            if let Some(text) = text {
                wire.write_all(text.as_bytes()).await.ok();
            } else {
                open.push(wire);
            }
        }
    });
    (port, Box::new(Ends(task)))
}

/// Ends a task when it is dropped.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An issuer over HTTP with this fault.
async fn over_http(
    fault: &'static str,
    back: &'static str,
    generous: impl Fn(&Asked) -> Say + Send + Sync + 'static,
    at: impl Fn(&Url, &Path) -> Arc<dyn Provider>,
) -> Staged {
    let folder = tempfile::tempdir().unwrap();
    if fault == "down" {
        let url = format!("http://127.0.0.1:{}/", nobody().await).parse().unwrap();
        return Staged { provider: at(&url, folder.path()), stage: Box::new(folder), asked_back: Box::new(|| 0) };
    }
    let stub = Stub::new(move |asked| match fault {
        _ if asked.line.starts_with(back) => Some(Say("204 No Content", "", Vec::new())),
        "slow" => None,
        "wrong" => Some(Say::ok("<!doctype html>canary")),
        "busy" => Some(Say("429 Too Many Requests", "retry-after: 7\r\n", Vec::new())),
        _ => Some(generous(asked)),
    });
    let stub = Arc::new(stub.await);
    let provider = at(&stub.url, folder.path());
    let heard = Arc::clone(&stub);
    Staged { provider, stage: Box::new((stub, folder)), asked_back: Box::new(move || heard.count(back)) }
}

async fn http(kind: &str, fault: &'static str) -> Staged {
    match kind {
        "openbao" => {
            let day =
                |_: &Asked| Say::ok(crate::openbao::tests::CREATED.replace("\"lease_duration\":30", "\"lease_duration\":86400"));
            over_http(fault, "POST /v1/auth/token/revoke-accessor", day, |url, folder| {
                Arc::new(crate::openbao::tests::at(url, folder, false))
            })
            .await
        }
        "oauth" => {
            let more = |_: &Asked| Say::ok(crate::oauth::tests::good(r#","scope":"tickets.read admin""#));
            over_http(fault, "POST /revoke", more, |url, folder| {
                let secret = file(folder, "secret", "s3cret-of-ours");
                Arc::new(crate::oauth::tests::at(url, ClientAuthentication::Post(secret)))
            })
            .await
        }
        "github" => {
            let more = |_: &Asked| {
                let names = r#"{"name":"support"},{"name":"finance"}"#;
                Say::ok(crate::github::tests::answer(r#"{"issues":"read"}"#, names, "selected"))
            };
            over_http(fault, "DELETE /api/v3/installation/token", more, |url, folder| {
                Arc::new(crate::github::tests::at(url, folder))
            })
            .await
        }
        _ => {
            let longer = |asked: &Asked| {
                let name = asked.body.split("RoleSessionName=").nth(1).unwrap().split('&').next().unwrap().to_owned();
                crate::aws::tests::session(asked, 3600, &name)
            };
            over_http(fault, "nothing", longer, |url, folder| Arc::new(crate::aws::tests::at(url, folder))).await
        }
    }
}

/// None where there is no PostgreSQL to try.
async fn postgres(fault: &str) -> Option<Staged> {
    let folder = tempfile::tempdir().unwrap();
    let (port, stage): (u16, Box<dyn Any>) = match fault {
        "down" => (nobody().await, Box::new(())),
        "slow" => says(None).await,
        "wrong" => says(Some("HTTP/1.1 200 OK\r\n\r\n<html>canary</html>")).await,
        _ => {
            let cluster = Cluster::new().await?;
            let much =
                if fault == "busy" { "ALTER ROLE bailiwick CONNECTION LIMIT 0" } else { "ALTER ROLE tickets_ro SUPERUSER" };
            cluster.admin().await.batch_execute(much).await.unwrap();
            (cluster.port, Box::new(cluster))
        }
    };
    Some(Staged::of(provider_at(folder.path(), port), (folder, stage)))
}

fn exec(fault: &str) -> Staged {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked");
    let day = rfc3339(now_ms() + 86_400_000);
    let generous = exec_answer(&format!(r#""token":"canary-0123456789","expirationTimestamp":"{day}""#));
    let act = match fault {
        "slow" => "sleep 600".to_owned(),
        "wrong" => "echo '<html>canary</html>'".to_owned(),
        "busy" => "echo 'too many, wait' >&2; exit 75".to_owned(),
        _ => format!("echo '{generous}'"),
    };
    let script = format!("asked=$(cat); echo \"$asked\" >>'{}'; case $asked in *revoke*) exit 0;; esac; {act}", asked.display());
    let mut program = plugin(&script, true);
    if fault == "down" {
        program.program.path = "/nowhere/plugin".into();
    }
    let heard = move || std::fs::read_to_string(&asked).unwrap_or_default().matches(r#""verb":"revoke""#).count();
    Staged { asked_back: Box::new(heard), ..Staged::of(program, folder) }
}

fn svid_file(fault: &str) -> Staged {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("svid");
    match fault {
        "down" => {}
        "slow" => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap(),
        "wrong" => drop(file(folder.path(), "svid", "canary")),
        "busy" => drop(file(folder.path(), "svid", "")),
        _ => {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
            let exp = now_ms() / 1000 + 86_400;
            let claims = format!(r#"{{"sub":"spiffe://example.org/gateway","aud":"tickets","exp":{exp}}}"#);
            let token = format!("{}.{}.{}", B64.encode(r#"{"alg":"ES256"}"#), B64.encode(claims), B64.encode([7; 64]));
            file(folder.path(), "svid", &token);
        }
    }
    let longest = Some(Duration::from_hours(1));
    let provider = SvidFile { path, trust_domain: "example.org".to_owned(), audience: "tickets".to_owned(), longest };
    Staged::of(provider, folder)
}

/// Every row of this provider: what its connector's server would be given, and what is there afterwards.
async fn rows(kind: &str) {
    let mut count = 0;
    for (_, fault, says) in TABLE.iter().filter(|(of, ..)| *of == kind) {
        count += 1;
        let row = format!("{kind} {fault}");
        let staged = match kind {
            "postgres" => match postgres(fault).await {
                Some(staged) => staged,
                None => continue,
            },
            "exec" => exec(fault),
            "svid_file" => svid_file(fault),
            _ => http(kind, fault).await,
        };
        let spec = of(Arc::clone(&staged.provider), "");
        let house = House::of([("tickets", spec)]).at_work();
        house.books.later_ms.store(now_ms(), Ordering::SeqCst);
        let grant = grant("g-1", 1, now_ms() + 3_600_000, None);
        let why = house.denied(&grant, "tickets").await;
        assert!(why.contains(says) && !why.contains("canary") && !why.contains('\n'), "{row}: {why}");
        assert!(house.broker.leases().iter().all(|listed| listed.ending.is_some()), "{row}: nothing is lent");
        assert_eq!(house.books.words().first().map(String::as_str), Some("refused"), "{row}");
        assert!(!house.books.words().contains(&"minted".to_owned()), "{row}");
        let is_back = *fault == "generous" && !matches!(kind, "aws" | "svid_file" | "postgres");
        if is_back {
            let until = Instant::now() + Duration::from_secs(20);
            while (staged.asked_back)() == 0 || house.books.open() > 0 {
                assert!(Instant::now() < until, "{row}: it is not given back");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if let (true, Some((_, cluster))) = (kind == "postgres", staged.stage.downcast_ref::<(tempfile::TempDir, Box<dyn Any>)>())
            && let Some(cluster) = cluster.downcast_ref::<Cluster>()
        {
            assert_eq!(cluster.made().await, 0, "{row}");
        }
    }
    assert_eq!(count, 5, "{kind}: down, slow, wrong, generous, busy");
}

#[tokio::test]
async fn openbao_with_each_fault() {
    rows("openbao").await;
}

#[tokio::test]
async fn postgres_with_each_fault() {
    rows("postgres").await;
}

#[tokio::test]
async fn oauth_with_each_fault() {
    rows("oauth").await;
}

#[tokio::test]
async fn github_with_each_fault() {
    rows("github").await;
}

#[tokio::test]
async fn aws_with_each_fault() {
    rows("aws").await;
}

#[tokio::test]
async fn exec_with_each_fault() {
    rows("exec").await;
}

#[tokio::test]
async fn a_file_with_each_fault() {
    rows("svid_file").await;
}
