//! Consents at a real HTTP issuer that does what it is told.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::needless_pass_by_value, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_pipeline::ports::Clock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

use crate::exec::tests::{Kept, wish};

mod faults;
mod hostile;
mod steps;

/// The status of what is never answered.
const SILENT: u16 = 0;

/// A server with its issuer, on one address of this machine. What it says is in `says`, by path; else it is as it should be.
struct Issuer {
    at: String,
    says: Mutex<BTreeMap<String, (u16, String)>>,
    asked: Mutex<Vec<(String, String, String)>>,
    issued: AtomicU64,
    /// Whoever holds this lets no answer out of `/token`.
    gate: tokio::sync::Mutex<()>,
    /// What is asked at these paths is answered when it is let go.
    held: Mutex<Vec<String>>,
    let_go: tokio::sync::Notify,
}

impl Issuer {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Arc::new(Self {
            at,
            says: Mutex::default(),
            asked: Mutex::default(),
            issued: AtomicU64::new(0),
            gate: tokio::sync::Mutex::default(),
            held: Mutex::default(),
            let_go: tokio::sync::Notify::new(),
        });
        let of = Arc::clone(&issuer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let of = Arc::clone(&of);
                tokio::spawn(async move {
                    let (mut read, mut chunk) = (Vec::new(), [0_u8; 4096]);
                    let (head, length) = loop {
                        let count = stream.read(&mut chunk).await.unwrap_or(0);
                        read.extend_from_slice(&chunk[..count]);
                        let text = String::from_utf8_lossy(&read).into_owned();
                        if let Some((head, _)) = text.split_once("\r\n\r\n") {
                            let length = head
                                .lines()
                                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                            break (head.to_owned(), length.unwrap_or(0_usize));
                        }
                        if count == 0 {
                            return;
                        }
                    };
                    while read.len() < head.len() + 4 + length {
                        let count = stream.read(&mut chunk).await.unwrap_or(0);
                        read.extend_from_slice(&chunk[..count]);
                    }
                    let body = String::from_utf8_lossy(&read[head.len() + 4..]).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let (status, more, body) = of.answer(&path, &head, &body);
                    if path == "/token" {
                        let _passed = of.gate.lock().await;
                    }
                    if status == SILENT {
                        return std::future::pending().await;
                    }
                    if of.held.lock().unwrap().contains(&path) {
                        of.let_go.notified().await;
                    }
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{more}connection: close\r\n\r\n{body}");
                    let _gone = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        issuer
    }

    fn answer(&self, path: &str, head: &str, body: &str) -> (u16, String, String) {
        self.asked.lock().unwrap().push((path.to_owned(), head.to_owned(), body.to_owned()));
        if let Some((status, body)) = self.says.lock().unwrap().get(path) {
            let more = if *status == 429 { "retry-after: 7\r\n" } else { "" };
            return (*status, more.to_owned(), body.clone());
        }
        let at = &self.at;
        let ok = |value: Value| (200, String::new(), value.to_string());
        match path {
            "/mcp" => {
                (401, format!("www-authenticate: Bearer resource_metadata=\"{at}/prm\", scope=\"read write\"\r\n"), String::new())
            }
            "/prm" => ok(json!({"resource": format!("{at}/mcp"), "authorization_servers": [at]})),
            "/.well-known/oauth-authorization-server" => ok(self.metadata()),
            "/register" => ok(json!({"client_id": "registered", "token_endpoint_auth_method": "none"})),
            "/token" => {
                let number = self.issued.fetch_add(1, Ordering::SeqCst);
                ok(
                    json!({"access_token": format!("access-token-{number}"), "token_type": "Bearer", "expires_in": 600, "refresh_token": format!("refresh-token-{number}")}),
                )
            }
            "/revoke" => ok(json!({})),
            _ => (404, String::new(), String::new()),
        }
    }

    fn metadata(&self) -> Value {
        let at = &self.at;
        json!({
            "issuer": at, "authorization_endpoint": format!("{at}/authorize"), "token_endpoint": format!("{at}/token"),
            "registration_endpoint": format!("{at}/register"), "revocation_endpoint": format!("{at}/revoke"),
            "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn says(&self, path: &str, status: u16, body: impl ToString) {
        self.says.lock().unwrap().insert(path.to_owned(), (status, body.to_string()));
    }

    fn hold(&self, path: &str) {
        self.held.lock().unwrap().push(path.to_owned());
    }

    /// The bodies that came to this path.
    fn came(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(to, ..)| to == path).map(|(_, _, body)| body.clone()).collect()
    }
}

#[derive(Default)]
struct Books(Mutex<Vec<Consent>>);

impl ConsentBook for Books {
    fn put<'a>(&'a self, consent: &'a Consent) -> Later<'a, Result<(), String>> {
        // As a store does it: written, and read again.
        let text = serde_json::to_string(consent).unwrap();
        assert!(!text.contains("-token-"), "{text}");
        let kept: Consent = serde_json::from_str(&text).unwrap();
        let kept = Consent { secrets: Secrets::read(consent.secrets.write().expose_secret()).unwrap(), ..kept };
        let mut all = self.0.lock().unwrap();
        all.retain(|one| (&one.resource, &one.owner, &one.issuer) != (&kept.resource, &kept.owner, &kept.issuer));
        all.push(kept);
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove<'a>(&'a self, consent: &'a Consent) -> Later<'a, Result<(), String>> {
        self.0.lock().unwrap().retain(|one| one.owner != consent.owner);
        Box::pin(std::future::ready(Ok(())))
    }

    fn all(&self) -> Result<Vec<Consent>, String> {
        Ok(self.0.lock().unwrap().clone())
    }
}

struct Still;

impl Clock for Still {
    fn now_ns(&self) -> u64 {
        wish(0).now_ms * 1_000_000
    }

    fn random(&self) -> [u8; 16] {
        [7; 16]
    }
}

/// Lets through what is at this port alone.
struct Only(u16);

impl Egress for Only {
    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> Later<'a, Result<Vec<IpAddr>, String>> {
        let judged =
            if port == self.0 { Ok(vec![host.parse().unwrap()]) } else { Err(format!("`{host}` may not be connected to")) };
        Box::pin(std::future::ready(judged))
    }
}

fn consented(issuer: &Issuer) -> Consented {
    let url: Url = format!("{}/mcp", issuer.at).parse().unwrap();
    Consented {
        client: OAuthClient { register: true, revocable: true, ..OAuthClient::default() },
        egress: Arc::new(Only(url.port().unwrap())),
        of: Protected {
            connector: "tickets".parse().unwrap(),
            url,
            scopes: Some(vec!["read".to_owned(), "write".to_owned()]),
            read_scopes: Some(vec!["read".to_owned()]),
            longest: None,
        },
        web: Web { roots: None, identity: None },
        consents: Consents::new(Arc::new(Books::default()), Arc::new(Still)),
        page: "https://console.example.com/connections".to_owned(),
    }
}

fn who(is_admin: bool) -> Who {
    Who { owner: wish(0).owner, person: "ada".to_owned(), is_admin, session: "s1".to_owned() }
}

const BACK: &str = "http://localhost:8932/connections/callback";

async fn begun(of: &Consented) -> Result<(Begun, BTreeMap<String, String>), MintFault> {
    let begun = of.consents.begin(of, who(true), BACK).await?;
    let asked = Url::parse(&begun.url).unwrap().query_pairs().into_owned().collect();
    Ok((begun, asked))
}

fn back(asked: &BTreeMap<String, String>, iss: &str) -> Returned {
    let place = asked["redirect_uri"].strip_prefix(&format!("{BACK}/")).map(str::to_owned);
    Returned { code: Some("code-1".to_owned()), state: asked["state"].clone(), iss: Some(iss.to_owned()), error: None, place }
}

/// Comes back where nothing has changed meanwhile.
async fn came(of: &Consented, returned: Returned, session: &str) -> Result<(Consent, Consented), MintFault> {
    of.consents.come_back(returned, session, |who, _| Ok((who, of.clone()))).await
}

async fn connected(issuer: &Issuer) -> Consented {
    let of = consented(issuer);
    let (_, asked) = begun(&of).await.unwrap();
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    of
}

#[tokio::test]
async fn a_consent_is_asked_for_as_the_specification_says() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let (begun, asked) = begun(&of).await.unwrap();
    assert_eq!(begun.issuer, issuer.at);
    let resource = format!("{}/mcp", issuer.at);
    for (key, value) in [
        ("response_type", "code"),
        ("client_id", "registered"),
        ("scope", "read write"),
        ("code_challenge_method", "S256"),
        ("resource", resource.as_str()),
    ] {
        assert_eq!(asked.get(key).map(String::as_str), Some(value), "{key}");
    }
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    let redeemed: BTreeMap<String, String> =
        url::form_urlencoded::parse(issuer.came("/token")[0].as_bytes()).into_owned().collect();
    assert_eq!(redeemed["resource"], resource);
    // Where its issuer alone sends its answers, and where it let the gateway register itself for.
    assert!(asked["redirect_uri"].starts_with(&format!("{BACK}/")), "{asked:?}");
    assert_eq!(redeemed["redirect_uri"], asked["redirect_uri"]);
    assert!(issuer.came("/register")[0].contains(&format!("[\"{}\"]", asked["redirect_uri"])));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, redeemed["code_verifier"].as_bytes());
    assert_eq!(asked["code_challenge"], URL_SAFE_NO_PAD.encode(digest.as_ref()));
}

#[tokio::test]
async fn what_the_browser_brings_counts_once_in_its_session_and_of_its_issuer() {
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    let refused = async |returned: Returned, session: &str| came(&of, returned, session).await.unwrap_err().why;
    let (_, asked) = begun(&of).await.unwrap();
    assert!(refused(back(&asked, &issuer.at), "s2").await.contains("this session began no such consent"));
    assert!(refused(Returned { state: "guess".to_owned(), ..back(&asked, &issuer.at) }, "s1").await.contains("no such consent"));
    assert!(issuer.came("/token").is_empty());
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    assert!(refused(back(&asked, &issuer.at), "s1").await.contains("came back before"));
    let (_, asked) = begun(&of).await.unwrap();
    assert!(refused(back(&asked, "https://evil.example"), "s1").await.contains("another issuer"));
    assert!(refused(back(&asked, &issuer.at), "s1").await.contains("came back before"), "it was good once");
    let (_, asked) = begun(&of).await.unwrap();
    assert!(refused(Returned { iss: None, ..back(&asked, "") }, "s1").await.contains("does not say whose it is"));
    let (_, asked) = begun(&of).await.unwrap();
    let no = Returned { error: Some("access_denied".to_owned()), code: None, ..back(&asked, &issuer.at) };
    assert!(refused(no, "s1").await.contains("`access_denied`"));
    assert_eq!(issuer.came("/token").len(), 1);
}

#[tokio::test]
async fn each_task_has_a_narrowed_token_of_its_own_that_is_taken_back() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let kept = Kept::default();
    let read = of.mint(&wish(300), &kept).await.unwrap();
    assert_eq!(read.expires_at_ms, Some(wish(600).until_ms));
    let write = of.mint(&Wish { access: Access::Write, ..wish(300) }, &kept).await.unwrap();
    let asked: Vec<BTreeMap<String, String>> =
        issuer.came("/token").iter().map(|body| url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()).collect();
    assert_eq!((asked[1]["scope"].as_str(), asked[2]["scope"].as_str()), ("read", "read write"));
    // The refresh token is replaced each time, and the one that replaces it is used the next time.
    assert_eq!((asked[1]["refresh_token"].as_str(), asked[2]["refresh_token"].as_str()), ("refresh-token-0", "refresh-token-1"));
    of.revoke(&write.handle.unwrap(), crate::stub::now_ms()).await.unwrap();
    assert!(issuer.came("/revoke")[0].contains("token=access-token-2"));
    of.revoke(&read.handle.unwrap(), crate::stub::now_ms()).await.unwrap();
    assert!(of.consents.end(&of, &wish(0).owner).await.unwrap());
    assert!(issuer.came("/revoke")[2].contains("token=refresh-token-2"));
    let none = of.mint(&wish(300), &kept).await.unwrap_err();
    assert!(
        none.why.contains("has not consented to `tickets`: connect at https://console.example.com/connections"),
        "{}",
        none.why
    );
}

#[tokio::test]
async fn nobody_uses_what_another_one_consented_to() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    let other = Wish { owner: "sales@example.com".to_owned(), ..wish(300) };
    assert!(of.mint(&other, &Kept::default()).await.unwrap_err().why.contains("`sales@example.com` has not consented"));
    // An admin who looks at the connector uses what an admin consented to.
    assert!(of.mint(&Wish { grant: None, owner: String::new(), ..wish(300) }, &Kept::default()).await.is_ok());
    // What is not listed any more is not used, whoever consented.
    let strict =
        Consented { client: OAuthClient { issuers: vec!["https://corp.example".to_owned()], ..of.client.clone() }, ..of.clone() };
    assert!(strict.mint(&wish(300), &Kept::default()).await.unwrap_err().why.contains("has not consented"));
}

#[tokio::test]
async fn more_than_was_asked_for_is_refused_and_what_is_over_is_forgotten() {
    let issuer = Issuer::start().await;
    let of = connected(&issuer).await;
    issuer.says(
        "/token",
        200,
        json!({"access_token": "too-much-0123", "token_type": "bearer", "expires_in": 60, "scope": "read admin"}),
    );
    let kept = Kept::default();
    let fault = of.mint(&wish(300), &kept).await.unwrap_err();
    assert_eq!(fault.kind, MintFaultKind::Generous);
    assert!(kept.last().contains("too-much-0123"), "it is to be given back");
    issuer.says("/token", 400, json!({"error": "invalid_grant"}));
    let fault = of.mint(&wish(300), &Kept::default()).await.unwrap_err();
    assert!(fault.why.contains("is over at its issuer: connect again"), "{}", fault.why);
    assert!(of.consents.to(&of).unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_leads_elsewhere_leads_nowhere() {
    let prm = |issuer: &Issuer, resource: &str, server: &str| {
        issuer.says("/prm", 200, json!({"resource": resource, "authorization_servers": [server]}));
    };
    let refused = async |spoil: &dyn Fn(&Issuer)| {
        let issuer = Issuer::start().await;
        spoil(&issuer);
        let fault = begun(&consented(&issuer)).await.map(drop).unwrap_err();
        assert!(issuer.came("/register").is_empty(), "{}", fault.why);
        fault.why
    };
    let of = |issuer: &Issuer, change: fn(&mut Value)| {
        let mut metadata = issuer.metadata();
        change(&mut metadata);
        issuer.says("/.well-known/oauth-authorization-server", 200, metadata);
    };
    assert!(refused(&|issuer| prm(issuer, "https://other.example/mcp", &issuer.at)).await.contains("no token is asked for it"));
    assert!(
        refused(&|issuer| prm(issuer, &format!("{}/mcpx", issuer.at), &issuer.at)).await.contains("no token is asked for it")
    );
    assert!(refused(&|issuer| prm(issuer, &format!("{}/mcp", issuer.at), "http://169.254.169.254")).await.contains("TLS"));
    assert!(
        refused(&|issuer| prm(issuer, &format!("{}/mcp", issuer.at), "https://10.0.0.1"))
            .await
            .contains("may not be connected to")
    );
    assert!(
        refused(&|issuer| issuer.says("/prm", 200, json!({"resource": format!("{}/mcp", issuer.at)})))
            .await
            .contains("no issuer")
    );
    assert!(refused(&|issuer| of(issuer, |all| all["issuer"] = json!("https://evil.example"))).await.contains("it is not used"));
    assert!(
        refused(&|issuer| of(issuer, |all| all["code_challenge_methods_supported"] = json!(["plain"]))).await.contains("`S256`")
    );
    assert!(refused(&|issuer| of(issuer, |all| all["code_challenge_methods_supported"] = json!([]))).await.contains("`S256`"));
    assert!(refused(&|issuer| of(issuer, |all| all["token_endpoint"] = json!("http://evil.example/t"))).await.contains("TLS"));
    // Whoever is no admin consents at none that is not listed, and that no admin chose.
    let issuer = Issuer::start().await;
    let of = consented(&issuer);
    assert!(of.consents.begin(&of, who(false), BACK).await.unwrap_err().why.contains("is not trusted"));
    let of = connected(&issuer).await;
    assert!(of.consents.begin(&of, who(false), BACK).await.is_ok());
}

#[tokio::test]
async fn the_gateway_is_known_by_its_own_id_its_document_or_a_secret() {
    let issuer = Issuer::start().await;
    let mut metadata = issuer.metadata();
    metadata["client_id_metadata_document_supported"] = json!(true);
    metadata["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
    issuer.says("/.well-known/oauth-authorization-server", 200, metadata);
    let mut of = consented(&issuer);
    of.client.metadata_url = Some("https://gateway.example/client.json".parse().unwrap());
    let (_, asked) = begun(&of).await.unwrap();
    assert_eq!(asked["client_id"], "https://gateway.example/client.json");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret+/%").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    of.client = OAuthClient {
        id: Some("by hand".to_owned()),
        secret_file: Some(file),
        issuers: vec![issuer.at.clone()],
        revocable: true,
        ..OAuthClient::default()
    };
    let (_, asked) = begun(&of).await.unwrap();
    assert_eq!(asked["client_id"], "by hand");
    came(&of, back(&asked, &issuer.at), "s1").await.unwrap();
    let asked = issuer.asked.lock().unwrap();
    let (_, head, body) = asked.iter().find(|(path, ..)| path == "/token").unwrap();
    // RFC 6749, section 2.3.1: each of the two in the way of a form.
    assert!(
        head.to_ascii_lowercase().contains("authorization: basic ") && head.contains("YnkraGFuZDpzM2NyZXQlMkIlMkYlMjU="),
        "{head}"
    );
    assert!(!body.contains("s3cret"), "{body}");
    assert!(asked.iter().all(|(path, ..)| path != "/register"));
}
