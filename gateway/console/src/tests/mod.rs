//! The console over real HTTP, with a real store and a software authenticator.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod desk;
mod doors;
mod people;
mod providers;
mod signing;
mod together;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{Passkeys, Store};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    Bounds, Console, ConsoleParts, House, Later, LinkMaker, NotRecorded, Note, Oidc, Person, Question, Refused, Role,
    SessionLimits, SignedBatch, SignedDecision, SignedReview, Site, router, webauthn::soft,
};

/// A day after the beginning, milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A gateway whose clock, record and questions a test sees.
#[derive(Default)]
struct TestHouse {
    now_ms: AtomicU64,
    notes: Mutex<Vec<Note>>,
    is_lost: std::sync::atomic::AtomicBool,
    /// Everybody is taken out of the configuration while a passkey that is added goes on record.
    vanish: Mutex<Option<Arc<Console>>>,
    decided: Mutex<Vec<SignedDecision>>,
    batches: Mutex<Vec<SignedBatch>>,
    reviewed: Mutex<Vec<SignedReview>>,
}

/// The user that the gateway runs as, and another one who makes links.
const OWN_UID: u32 = 990;
const MAKER: LinkMaker<'static> = LinkMaker { name: "test", uid: 1000 };

impl House for TestHouse {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn own_uid(&self) -> u32 {
        OWN_UID
    }

    fn note(&self, note: Note) -> Later<'_, Result<(), NotRecorded>> {
        let done = if self.is_lost.load(Ordering::Relaxed) {
            Err(NotRecorded("the disk is full".to_owned()))
        } else {
            self.notes.lock().unwrap().push(note.clone());
            Ok(())
        };
        let vanish = if note.event == "passkey_added" { self.vanish.lock().unwrap().take() } else { None };
        Box::pin(async move {
            if let Some(console) = vanish {
                console.set_people(Vec::new()).await.unwrap();
            }
            done
        })
    }

    fn operator_credential(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(vec![0xab; 32]))
    }

    fn question(&self, approval: &str) -> Option<Question> {
        let binding = binding(approval);
        let of = |connector: &str, band| Question { id: approval.to_owned(), binding, connector: connector.to_owned(), band };
        match approval {
            "apr_1" | "apr_2" => Some(of("tickets", Band::High)),
            "apr_shop" => Some(of("shop", Band::High)),
            "apr_critical" => Some(of("tickets", Band::Critical)),
            _ => None,
        }
    }

    fn decide(&self, decision: SignedDecision) -> Later<'_, Result<(), Refused>> {
        self.decided.lock().unwrap().push(decision);
        Box::pin(async { Ok(()) })
    }

    fn decide_batch(&self, decision: SignedBatch) -> Later<'_, Result<(), Refused>> {
        self.batches.lock().unwrap().push(decision);
        Box::pin(async { Ok(()) })
    }

    fn review(&self, review: SignedReview) -> Later<'_, Result<(), Refused>> {
        self.reviewed.lock().unwrap().push(review);
        Box::pin(async { Ok(()) })
    }
}

fn binding(approval: &str) -> Digest {
    Digest::of(approval.as_bytes())
}

/// A console that serves.
struct Stage {
    console: Arc<Console>,
    house: Arc<TestHouse>,
    port: u16,
    _folder: tempfile::TempDir,
}

fn person(id: &str, roles: &[Role], approves: Bounds) -> Person {
    Person { id: id.to_owned(), owns: BTreeSet::new(), roles: roles.iter().copied().collect(), approves }
}

fn people() -> Vec<Person> {
    let bounds = Bounds { connectors: ["tickets".to_owned()].into(), up_to: Some("high".to_owned()) };
    vec![
        person("ada", &[Role::Viewer, Role::Approver], bounds),
        person("bob", &[Role::Viewer], Bounds::default()),
        person("eve", &Role::ALL, Bounds::default()),
    ]
}

impl Stage {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// With this identity provider.
    async fn with(oidc: Option<Oidc>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let house = Arc::new(TestHouse::default());
        house.now_ms.store(DAY_MS, Ordering::Relaxed);
        let parts = ConsoleParts {
            desk: Arc::new(desk::Questions),
            house: Arc::clone(&house) as _,
            passkeys: Arc::new(Passkeys::load(&store).unwrap()),
            people: people(),
            site: Site::new(None),
            limits: SessionLimits { whole: Duration::from_hours(8), idle: Duration::from_mins(30) },
            oidc,
        };
        let console = Console::new(parts).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        console.site().listens_at(at);
        let site = router(Arc::clone(&console), axum::Router::new());
        tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });
        Self { console, house, port: at.port(), _folder: folder }
    }

    fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    fn pass(&self, milliseconds: u64) {
        self.house.now_ms.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// How often this was put on record.
    fn noted(&self, event: &str) -> usize {
        self.house.notes.lock().unwrap().iter().filter(|note| note.event == event).count()
    }

    fn browser(&self) -> Browser {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(reqwest::redirect::Policy::none());
        Browser {
            http: http.build().unwrap(),
            base: format!("http://127.0.0.1:{}", self.port),
            origin: self.origin(),
            cookies: Vec::new(),
            ticket: None,
        }
    }

    /// A browser in which this person has come in by a link.
    async fn by_link(&self, person: &str) -> Browser {
        let link = self.console.link(person, MAKER).await.unwrap();
        self.with_link(&link).await
    }

    /// The same, with this link.
    async fn with_link(&self, link: &str) -> Browser {
        let code = link.split_once('#').unwrap().1;
        let mut browser = self.browser();
        let token = browser.token("/login", "/login/link").await;
        let answer = browser.post("/login/link", &[("token", &token), ("code", code)]).await;
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{}", answer.text().await.unwrap());
        browser.ticket = to.split_once("#enrol-").map(|(_, ticket)| ticket.to_owned());
        browser
    }

    /// The same, with a passkey.
    async fn with_passkey(&self, person: &str) -> (Browser, soft::Authenticator) {
        let mut browser = self.by_link(person).await;
        let mut passkey = soft::Authenticator::new(soft::Key::eddsa(), format!("passkey of {person}").as_bytes());
        let added = browser.add_passkey(&mut passkey, &[]).await;
        assert_eq!(added.status(), StatusCode::SEE_OTHER, "{}", added.text().await.unwrap());
        (browser, passkey)
    }
}

/// A browser, as far as the console sees one.
#[derive(Clone)]
struct Browser {
    http: reqwest::Client,
    base: String,
    origin: String,
    cookies: Vec<(String, String)>,
    /// What its tab keeps of the answer to a link.
    ticket: Option<String>,
}

impl Browser {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let host = self.origin.strip_prefix("http://").unwrap();
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = self.http.request(method, format!("{}{path}", self.base)).header("host", host);
        if cookies.is_empty() { request } else { request.header("cookie", cookies) }
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        for set in response.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        response
    }

    async fn get(&mut self, path: &str) -> Response {
        self.send(self.request(Method::GET, path)).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.send(self.posting(path, fields)).await
    }

    fn posting(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        request.header("origin", &self.origin).body(body)
    }

    /// The token in the form on this page that goes to this place.
    async fn token(&mut self, page: &str, to: &str) -> String {
        let text = self.get(page).await.text().await.unwrap();
        let form =
            text.split("<form").find(|form| form.contains(&format!("action=\"{to}\""))).unwrap_or_else(|| panic!("{text}"));
        value_of(form, "token")
    }

    /// The question for what these fields want.
    async fn question(&mut self, to: &str, fields: &[(&str, &str)]) -> Value {
        let answer = self.post("/sign", &[fields, &[("to", to)]].concat()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Sends these fields, signed by this passkey.
    async fn signed(&mut self, to: &str, fields: &[(&str, &str)], passkey: &mut soft::Authenticator) -> Response {
        let question = self.question(to, fields).await;
        let answer = passkey.get(&question, &self.origin).to_string();
        self.post(to, &[fields, &[("assertion", &answer)]].concat()).await
    }

    async fn add_passkey(&mut self, passkey: &mut soft::Authenticator, proof: &[(&str, &str)]) -> Response {
        let page = self.get("/passkeys").await.text().await.unwrap();
        let form = page.split("<form").find(|form| form.contains("action=\"/passkeys/add\"")).unwrap();
        let (add, ask) = (value_of(form, "token"), value_of(form, "options-token"));
        let ticket = self.ticket.clone().filter(|_| proof.is_empty());
        let ticket: Vec<_> = ticket.iter().map(|ticket| ("ticket", ticket.as_str())).collect();
        let fields = [&[("token", ask.as_str()), ("name", "laptop")], proof, &ticket].concat();
        let asked = self.post("/passkeys/options", &fields).await;
        if asked.status() != StatusCode::OK {
            return asked;
        }
        let options: Value = serde_json::from_str(&asked.text().await.unwrap()).unwrap();
        let made = passkey.create(&options, &self.origin).to_string();
        self.post("/passkeys/add", &[("token", &add), ("credential", &made)]).await
    }

    /// Logs in with this passkey.
    async fn login(&mut self, passkey: &mut soft::Authenticator) -> Response {
        let token = self.token("/login", "/login/passkey").await;
        let asked = self.post("/login/passkey/options", &[("token", &token)]).await;
        let options: Value = serde_json::from_str(&asked.text().await.unwrap()).unwrap();
        let answer = passkey.get(&options, &self.origin).to_string();
        self.post("/login/passkey", &[("token", &token), ("credential", &answer), ("next", "/passkeys?x=1")]).await
    }
}

fn value_of(form: &str, name: &str) -> String {
    let rest = form.split_once(&format!("name=\"{name}\" value=\"")).unwrap().1;
    rest.split('"').next().unwrap().to_owned()
}
