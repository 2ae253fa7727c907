//! A small server over real HTTP, for what no issuer does on demand: each request is answered by a function, and remembered.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bailiwick_pipeline::ports::{Access, Later};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, Wish};

/// What it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) line: String,
    /// Header lines, lower case names.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What it says: the status line's rest, more header lines, the body.
pub(crate) struct Say(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Vec<u8>);

impl Say {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self("200 OK", "", body.into())
    }
}

/// The server; gone when it is dropped.
pub(crate) struct Stub {
    pub(crate) url: url::Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    /// One that answers so; where it says nothing, it never answers.
    pub(crate) async fn new(answer: impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, all) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                tokio::spawn(async move {
                    let Some(asked) = read(&mut stream).await else { return };
                    let said = answer(&asked);
                    all.lock().unwrap().push(asked);
                    let Some(Say(status, more, body)) = said else { return std::future::pending().await };
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n", body.len());
                    // Whoever has heard enough may be gone.
                    stream.write_all(head.as_bytes()).await.ok();
                    stream.write_all(&body).await.ok();
                });
            }
        });
        Self { url, asked, task }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked something that starts so.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line.starts_with(line)).count()
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (line, head) = head.split_once("\r\n")?;
            let head: String = head
                .lines()
                .filter_map(|line| line.split_once(':').map(|(name, value)| format!("{}:{value}\n", name.to_lowercase())))
                .collect();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                return Some(Asked { line, head, body: body.to_owned() });
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(chunk.get(..count)?);
    }
}

/// What is written down.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<Handle>>);

impl Notes {
    /// The last that was written down.
    pub(crate) fn last(&self) -> Option<Handle> {
        self.0.lock().unwrap().last().cloned()
    }
}

impl Journal for Notes {
    fn keep<'a>(&'a self, handle: &'a Handle) -> Later<'a, Result<(), MintFault>> {
        self.0.lock().unwrap().push(handle.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The clock of this machine, unix milliseconds: issuers judge by it when a proof was made.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// A wish for so many seconds.
pub(crate) fn wish(access: Access, seconds: u64) -> Wish {
    let now_ms = now_ms();
    Wish {
        lease: "lease-0123456789abcdef0123456789abcdef".to_owned(),
        grant: Some("g-1".parse().unwrap()),
        agent: Some("bot".parse().unwrap()),
        owner: "ada@example.com".to_owned(),
        connector: "tickets".parse().unwrap(),
        access,
        now_ms,
        until_ms: now_ms + seconds * 1000,
    }
}

/// Mints for an hour, whatever comes of it; and what was written down.
pub(crate) async fn mint(provider: &dyn Provider, access: Access) -> (Result<Minted, MintFault>, Option<Handle>) {
    let notes = Notes::default();
    let minted = provider.mint(&wish(access, 3600), &notes).await;
    (minted, notes.last())
}

/// A file for its owner only.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A fresh RSA key as PEM, of PKCS#8.
pub(crate) fn rsa_pem() -> String {
    use aws_lc_rs::{encoding::AsDer as _, rsa};
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    pem(der.as_ref())
}

/// A private key of PKCS#8 as PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// What every issuer can do wrong, and what comes of it; `at` makes the provider for an address. Nothing is ever lent, and no secret told.
pub(crate) async fn every_fault(at: &(dyn Fn(url::Url) -> Box<dyn Provider> + Sync)) {
    let says = |status: &'static str, more: &'static str, body: Vec<u8>| (status, more, body);
    let cases = [
        (MintFaultKind::Wrong, says("200 OK", "", b"<!doctype html><html>canary</html>".to_vec())),
        (MintFaultKind::Wrong, says("200 OK", "", Vec::new())),
        (MintFaultKind::Wrong, says("200 OK", "", vec![b' '; 10 * 1024 * 1024])),
        (MintFaultKind::Wrong, says("200 OK", "", br#"{"access_token":"canary","token":"canary"#.to_vec())),
        (MintFaultKind::Wrong, says("200 OK", "", br#"{"token_type":"Bearer","expires_in":60}"#.to_vec())),
        (MintFaultKind::Wrong, says("302 Found", "location: http://127.0.0.1:1/\r\n", Vec::new())),
        (MintFaultKind::Busy(Some(Duration::from_secs(7))), says("429 Too Many Requests", "retry-after: 7\r\n", Vec::new())),
        (MintFaultKind::Busy(Some(Duration::from_secs(7))), says("503 Busy", "retry-after: 7\r\n", Vec::new())),
        (MintFaultKind::Refused, says("403 Forbidden", "", Vec::new())),
        (MintFaultKind::Down, says("500 Oh", "", b"canary".to_vec())),
    ];
    for (kind, (status, more, body)) in cases {
        let shown = format!("{status} {}", String::from_utf8_lossy(body.get(..body.len().min(60)).unwrap_or_default()));
        let stub = Stub::new(move |_| Some(Say(status, more, body.clone()))).await;
        let (minted, _) = mint(at(stub.url.clone()).as_ref(), Access::Write).await;
        let fault = minted.expect_err(&shown);
        assert_eq!(fault.kind, kind, "{shown}: {fault}");
        assert!(!fault.why.contains("canary"), "{shown}: {fault}");
        assert_eq!(stub.asked().len(), 1, "{shown}: it asks once");
    }
    // Nobody is there; and somebody who never answers.
    let gone = Stub::new(|_| None).await.url.clone();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        // The port is free when the server's task is gone.
        let fault = mint(at(gone.clone()).as_ref(), Access::Write).await.0.expect_err("nobody is there");
        if fault.kind == MintFaultKind::Down {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{fault}");
    }
    let silent = Stub::new(|_| None).await;
    let fault = mint(at(silent.url.clone()).as_ref(), Access::Write).await.0.expect_err("nobody answers");
    assert_eq!(fault.kind, MintFaultKind::Slow, "{fault}");
}
