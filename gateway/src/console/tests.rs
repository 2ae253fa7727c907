//! What is served at the console's listener, over real HTTP, with a real gateway behind it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bailiwick_pipeline::{
    ids::CallId,
    ports::{ApprovalRequest, Approvals as _, Binding, Worlds as _},
    trace::hex,
};
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::Settings;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{opened, site};
use crate::{
    adapters::SystemClock,
    admin::{ENDPOINTS, description},
    data::DataFolder,
    runtime::{Runtime, Start},
};

mod consents;

/// A gateway with its console, and a browser before it.
struct Stage {
    runtime: Arc<Runtime>,
    origin: String,
    http: reqwest::Client,
    cookies: Vec<String>,
}

impl Stage {
    async fn new(folder: &Path) -> Self {
        Self::of(folder, bailiwick_config::DEMO).await
    }

    async fn of(folder: &Path, config: &str) -> Self {
        let start = Start {
            config: bailiwick_config::embedded(config, []).unwrap(),
            data: DataFolder::open(&folder.join("data")).unwrap(),
            clock: Arc::new(SystemClock),
            file: None,
            is_demo: true,
            own_binary: "/bin/false".into(),
            environment: BTreeMap::new(),
        };
        let runtime = Runtime::start(start).await.unwrap();
        let console = opened(&runtime).await.unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        console.site().listens_at(at);
        let served = site(&runtime, &console, crate::run::health(Arc::clone(&runtime)));
        tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(reqwest::redirect::Policy::none());
        let origin = format!("http://127.0.0.1:{}", at.port());
        Self { runtime, origin, http: http.build().unwrap(), cookies: Vec::new() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.origin));
        if self.cookies.is_empty() { request } else { request.header("cookie", self.cookies.join("; ")) }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    fn take_cookies(&mut self, answer: &reqwest::Response) {
        for set in answer.headers().get_all("set-cookie") {
            self.cookies.push(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
    }

    /// The token of the form on this page that goes there.
    fn token(page: &str, action: &str) -> String {
        let form = page.split("<form").find(|form| form.contains(&format!("action=\"{action}\""))).unwrap();
        let after = form.split("name=\"token\" value=\"").nth(1).unwrap();
        after.split('"').next().unwrap().to_owned()
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> StatusCode {
        let posted = self.request(Method::POST, path).header("origin", &self.origin);
        let answer = form(posted, fields).send().await.unwrap();
        self.take_cookies(&answer);
        answer.status()
    }

    /// Logs in with a link, as `admin`, who has every role in the demo.
    async fn log_in(&mut self) {
        let console = Arc::clone(self.runtime.console.get().unwrap());
        let link = console.link(super::ADMIN, bailiwick_console::LinkMaker { name: "test", uid: 0 }).await.unwrap();
        let code = link.split_once('#').unwrap().1.to_owned();
        // Under the public name it would be another host than the one that is called here: the page is fetched with that name.
        let public = console.site().origin();
        let host = public.strip_prefix("http://").unwrap().to_owned();
        let page = self.http.get(format!("{}/login", self.origin)).header("host", &host).send().await.unwrap();
        self.take_cookies(&page);
        let token = Self::token(&page.text().await.unwrap(), "/login/link");
        let posted = self.request(Method::POST, "/login/link").header("host", &host).header("origin", &public);
        let answer = form(posted, &[("token", token.as_str()), ("code", &code)]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        self.take_cookies(&answer);
    }

    fn credential(&self) -> String {
        format!("Operator {}", hex(&std::fs::read(self.runtime.data.operator_credential()).unwrap()))
    }
}

/// A form; what is in it needs no escapes.
fn form(request: reqwest::RequestBuilder, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let body = fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

#[tokio::test]
async fn the_admin_api_takes_the_credential_and_lets_a_session_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path()).await;
    let good = stage.credential();
    for (method, path, changes) in ENDPOINTS {
        let path = path.replace("{id}", "nobody");
        let send = |credential: Option<&str>| {
            let request = stage.request(method.parse().unwrap(), &path);
            credential.map_or(request.try_clone().unwrap(), |shown| request.header("authorization", shown)).send()
        };
        let refused = send(None).await.unwrap().status();
        assert!(matches!(refused, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), "{method} {path}: {refused}");
        assert_eq!(send(Some(&format!("Operator {}", "0".repeat(64)))).await.unwrap().status(), StatusCode::UNAUTHORIZED);
        assert_eq!(send(Some("Bearer ba_x")).await.unwrap().status(), StatusCode::FORBIDDEN, "{method} {path}");
        if !changes {
            let let_in = send(Some(&good)).await.unwrap().status();
            assert!(
                matches!(let_in, StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST),
                "{method} {path}: {let_in}"
            );
        }
    }
    let frozen = stage.request(Method::POST, "/api/v1/halts").header("authorization", &good).body(r#"{"what":"agent:demo"}"#);
    assert_eq!(frozen.send().await.unwrap().status(), StatusCode::OK);
    stage.log_in().await;
    let (status, halts) = stage.get("/api/v1/halts").await;
    assert_eq!(status, StatusCode::OK);
    let halts: Value = serde_json::from_str(&halts).unwrap();
    assert_eq!(halts.pointer("/0/id").and_then(Value::as_str), Some("agent:demo"));
    let lift = stage.request(Method::POST, "/api/v1/halts/lift").header("origin", &stage.origin);
    let lifted = lift.body(r#"{"what":"agent:demo","reason":"x"}"#).send().await.unwrap().status();
    assert_eq!(lifted, StatusCode::UNAUTHORIZED, "a session only looks");
    let (status, told) = stage.get("/api/v1/openapi.json").await;
    assert_eq!((status, serde_json::from_str::<Value>(&told).unwrap()), (StatusCode::OK, description()));
    assert_eq!(stage.get("/api/v1/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_page_is_there_for_who_is_logged_in_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path()).await;
    let pages = [
        ("/", "Inbox"),
        ("/reviews", "Nothing waits for a second look"),
        ("/batch", "None of them can be decided so"),
        ("/people", "in memory alone"),
        ("/live", "Live calls"),
        ("/agents", "demo@localhost"),
        ("/grants", "demo-triage"),
        ("/grants?all=true", "demo-triage"),
        ("/grants/demo-triage", "tickets__refund"),
        ("/connectors", "tickets"),
        ("/connectors/tickets", "Pay money back"),
        ("/credentials", "Standing credentials"),
        ("/credentials?grant=demo-triage", "Nothing of this is lent"),
        ("/halts", "Nothing is frozen"),
        ("/detections", "Detections"),
        ("/audit", "Trail"),
        ("/audit?agent=demo&outcome=denied&from=2026-01-01&before=calls.5-admin.9", "Trail"),
    ];
    for (path, _) in pages {
        assert_eq!(stage.get(path).await.0, StatusCode::SEE_OTHER, "{path}");
    }
    stage.log_in().await;
    for (path, holds) in pages {
        let (status, page) = stage.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(page.contains(holds), "{path} lacks {holds}");
    }
    for path in ["/approvals/K7-42", "/grants/none", "/connectors/none", "/calls/c1", "/calls/c0123456789012345678901234"] {
        assert_eq!(stage.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for (path, kind) in
        [("/assets/console.css", "text/css"), ("/assets/console.js", "text/javascript"), ("/assets/mark.svg", "image/svg")]
    {
        let answer = stage.request(Method::GET, path).send().await.unwrap();
        assert!(answer.headers().get("content-type").unwrap().to_str().unwrap().starts_with(kind), "{path}");
    }
}

/// Asks about calls of these numbers, of many agents.
async fn asked(runtime: &Arc<Runtime>, numbers: std::ops::Range<u64>) {
    let tool = runtime.worlds.now().tool("tickets__refund").unwrap().clone();
    let asking: Vec<_> = numbers
        .map(|number| {
            let (runtime, tool) = (Arc::clone(runtime), Arc::clone(&tool));
            tokio::spawn(async move {
                let arguments = format!("{{\"id\":\"T-{number}\"}}");
                let binding = Binding {
                    agent: format!("a{}", number % 100).parse().unwrap(),
                    grant: "g".parse().unwrap(),
                    grant_revision: 1,
                    connector: "tickets".parse().unwrap(),
                    connector_fingerprint: tool.connector.fingerprint,
                    tool: tool.name.to_string(),
                    tool_digest: tool.digest,
                    args_digest: Digest::of(arguments.as_bytes()),
                    policy_digest: "policies".to_owned(),
                    needs: [].into(),
                    obligations: Vec::new(),
                };
                let now_ms = runtime.clock.now_ms();
                let request = ApprovalRequest {
                    binding: &binding,
                    arguments: arguments.as_bytes(),
                    requirements: &[],
                    owner: "olga",
                    delegators: &[],
                    purpose: "triage",
                    claim: None,
                    masked: &[],
                    tool: &tool,
                    call: &CallId::new(now_ms, [1; 10]),
                    grant_expires_at_ms: now_ms + 60 * 60 * 1000,
                    now_ms,
                };
                runtime.approvals.request(request).await.unwrap();
            })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap();
    }
}

/// A look at the inbox costs what is shown of it: not by the time it takes, but by how many records are looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_that_wait_cost_a_look_what_fifty_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path()).await;
    let no_end = 60 * 60 * 1000;
    let roomy = Settings {
        max_pending_per_agent: usize::MAX,
        max_asked_per_hour: usize::MAX,
        approve_by_ms: no_end,
        ..stage.runtime.approvals.settings()
    };
    stage.runtime.approvals.set_settings(roomy);
    stage.log_in().await;
    let mut costs = Vec::new();
    let mut before = 0;
    for pending in [10, 50, 10_000] {
        asked(&stage.runtime, before..pending).await;
        before = pending;
        let looked = stage.runtime.approvals.looked();
        let (status, page) = stage.get("/").await;
        costs.push(stage.runtime.approvals.looked() - looked);
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains(&format!("{pending} calls wait for a person")), "{page}");
        assert_eq!(u64::try_from(page.matches("class=\"row\"").count()).unwrap(), pending.min(50));
    }
    assert_eq!(costs, [costs[1] - 40, costs[1], costs[1]], "ten, a full page, and ten thousand");
    assert!(costs[1] < 60, "{costs:?}");
    let (_, last) = stage.get("/?page=200").await;
    assert!(last.contains("Page 200 of 200") && last.matches("class=\"row\"").count() == 50);
}

/// What a stream says until it says this.
async fn said_until(stream: &mut reqwest::Response, wanted: &str) -> String {
    let mut said = String::new();
    let reading = async {
        while !said.contains(wanted) {
            match stream.chunk().await.unwrap() {
                Some(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
                None => break,
            }
        }
    };
    let _late = tokio::time::timeout(Duration::from_mins(1), reading).await;
    said
}

#[tokio::test]
async fn what_changes_is_told_with_its_number_and_the_stream_ends_with_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path()).await;
    stage.log_in().await;
    let mut stream = stage.request(Method::GET, "/events").send().await.unwrap();
    assert_eq!(stream.headers().get("content-type").unwrap(), "text/event-stream");
    // No browser: it brings the credential, and no cookie.
    let plain = stage.http.post(format!("{}/api/v1/halts", stage.origin)).header("authorization", stage.credential());
    assert_eq!(plain.body(r#"{"what":"tool:tickets__get"}"#).send().await.unwrap().status(), StatusCode::OK);
    let said = said_until(&mut stream, r#""kind":"halts""#).await;
    assert!(said.contains("event: changed") && said.contains(r#"{"kind":"halts"}"#), "{said}");
    let number: u64 = said.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().parse().unwrap();
    // Who comes back hears what came after, and who was away too long, or knew another start, is to look at everything.
    let again = |id: String| stage.request(Method::GET, "/events").header("last-event-id", id).send();
    let mut behind = again((number - 1).to_string()).await.unwrap();
    assert!(said_until(&mut behind, "\"halts\"").await.contains(&format!("id: {number}")));
    let mut other = again("99999999".to_owned()).await.unwrap();
    assert!(said_until(&mut other, "everything").await.contains("event: everything"));
    let token = Stage::token(&stage.get("/").await.1, "/logout");
    assert_eq!(stage.post("/logout", &[("token", &token)]).await, StatusCode::SEE_OTHER);
    assert!(said_until(&mut stream, "event: ended").await.contains("event: ended"));
}
