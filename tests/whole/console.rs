//! The console of a running gateway: from the first link to a call that a passkey let go.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::harness::{
    Agent, Gateway, Setup,
    authenticator::{Authenticator, Key},
};

/// A browser, as far as the console sees one.
struct Browser {
    http: reqwest::Client,
    /// Where it connects to, and what it calls that.
    base: String,
    origin: String,
    cookies: Vec<(String, String)>,
    /// What its tab keeps of the answer to a link.
    ticket: Option<String>,
}

impl Browser {
    /// At the console on this port of this machine.
    fn new(port: u16) -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(reqwest::redirect::Policy::none());
        let (base, origin) = (format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}"));
        Self { http: http.build().unwrap(), base, origin, cookies: Vec::new(), ticket: None }
    }

    fn of(gateway: &Gateway) -> Self {
        Self::new(gateway.console.rsplit(':').next().unwrap().parse().unwrap())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let host = self.origin.strip_prefix("http://").unwrap();
        self.http.request(method, format!("{}{path}", self.base)).header("host", host).header("cookie", cookies)
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        for set in response.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        response
    }

    async fn page(&mut self, path: &str) -> String {
        let answer = self.send(self.request(Method::GET, path)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    fn posting(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let mut url = reqwest::Url::parse("http://x/").unwrap();
        url.query_pairs_mut().extend_pairs(fields);
        let request = self.request(Method::POST, path).header("origin", &self.origin);
        request.header("content-type", "application/x-www-form-urlencoded").body(url.query().unwrap_or_default().to_owned())
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.send(self.posting(path, fields)).await
    }

    async fn json(&mut self, path: &str, fields: &[(&str, &str)]) -> Value {
        let answer = self.post(path, fields).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The value of this hidden field of the form that goes to this place.
    async fn field(&mut self, page: &str, to: &str, name: &str) -> String {
        let text = self.page(page).await;
        let form =
            text.split("<form").find(|form| form.contains(&format!("action=\"{to}\""))).unwrap_or_else(|| panic!("{text}"));
        let rest = form.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {form}")).1;
        rest.split('"').next().unwrap().to_owned()
    }

    async fn by_link(&mut self, link: &str) {
        let code = link.trim().split_once('#').unwrap().1;
        let token = self.field("/login", "/login/link", "token").await;
        let answer = self.post("/login/link", &[("token", &token), ("code", code)]).await;
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
        self.ticket = to.split_once("#enrol-").map(|(_, ticket)| ticket.to_owned());
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{}", answer.text().await.unwrap());
    }

    async fn enrol(&mut self) -> Authenticator {
        let mut passkey = Authenticator::new(Key::es256(), b"an authenticator of software");
        let token = self.field("/passkeys", "/passkeys/add", "token").await;
        let ask = self.field("/passkeys", "/passkeys/add", "options-token").await;
        let ticket = self.ticket.take().unwrap();
        let options = self.json("/passkeys/options", &[("token", &ask), ("name", "laptop"), ("ticket", &ticket)]).await;
        let made = passkey.create(&options, &self.origin).to_string();
        let added = self.post("/passkeys/add", &[("token", &token), ("credential", &made)]).await;
        assert_eq!(added.status(), StatusCode::SEE_OTHER, "{}", added.text().await.unwrap());
        passkey
    }

    async fn login(&mut self, passkey: &mut Authenticator) -> StatusCode {
        let token = self.field("/login", "/login/passkey", "token").await;
        let options = self.json("/login/passkey/options", &[("token", &token)]).await;
        let answer = passkey.get(&options, &self.origin).to_string();
        self.post("/login/passkey", &[("token", &token), ("credential", &answer)]).await.status()
    }

    /// What the page of an approval has in its form, for a yes.
    async fn yes(&mut self, id: &str) -> (String, Vec<(String, String)>) {
        let to = format!("/approvals/{id}/decision");
        let mut fields = vec![("verdict".to_owned(), "approve".to_owned())];
        for name in ["token", "binding", "view"] {
            fields.push((name.to_owned(), self.field(&format!("/approvals/{id}"), &to, name).await));
        }
        (to, fields)
    }
}

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The embedded demo, with nobody at its screen.
struct Demo {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Demo {
    fn start() -> Self {
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (folder, agents, port) = (tempfile::tempdir().unwrap(), port(), port());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command.env_clear().env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).current_dir(folder.path());
        command.env("BAILIWICK_SERVER__LISTEN", format!("127.0.0.1:{agents}"));
        command.env("BAILIWICK_SERVER__CONSOLE", format!("127.0.0.1:{port}"));
        let child = command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let demo = Self { child, folder, port };
        let until = Instant::now() + Duration::from_mins(1);
        while !demo.run(&["agents", "list"]).1 {
            assert!(Instant::now() < until, "the demo does not start: {}", demo.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        demo
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command.env_clear().env("HOME", self.folder.path()).arg("--data").arg(self.folder.path().join("bailiwick/demo"));
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> (String, bool) {
        let output = self.command(arguments).output().unwrap();
        let success = output.status.success();
        (String::from_utf8(if success { output.stdout } else { output.stderr }).unwrap(), success)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (said, success) = self.run(arguments);
        assert!(success, "{arguments:?}: {said}");
        said
    }

    /// A refund that waits for somebody, and its approval.
    #[expect(clippy::zombie_processes, reason = "whoever asked for it waits for it")]
    fn held(&self, amount: &str) -> (Child, String) {
        let call = self.command(&["call", "tickets__refund", "id=T-17", amount]).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let list: Value = serde_json::from_str(&self.ok(&["approvals", "list", "--json"])).unwrap();
            if let Some(open) = list.as_array().unwrap().iter().find(|approval| approval["state"] == "pending") {
                return (call, open["id"].as_str().unwrap().to_owned());
            }
            assert!(Instant::now() < until, "nobody is asked: {list}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn everything_written(&self) -> Vec<u8> {
        fn read(folder: &Path, into: &mut Vec<u8>) {
            for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => read(&entry.path(), into),
                    Ok(kind) if kind.is_file() => into.extend(fs::read(entry.path()).unwrap_or_default()),
                    _ => {}
                }
            }
        }
        let mut all = Vec::new();
        read(self.folder.path(), &mut all);
        all
    }
}

#[tokio::test]
async fn a_passkey_lets_exactly_one_call_go() {
    let demo = Demo::start();
    let mut browser = Browser::new(demo.port);
    let link = demo.ok(&["console"]);
    assert!(link.starts_with(&format!("http://localhost:{}/login#one-time-", demo.port)), "{link}");
    browser.by_link(&link).await;
    let mut passkey = browser.enrol().await;
    let mut browser = Browser::new(demo.port);
    assert_eq!(browser.login(&mut passkey).await, StatusCode::SEE_OTHER);

    let (call, id) = demo.held("amount_cents=4900");
    let (to, fields) = browser.yes(&id).await;
    // Forged: by a key that nobody knows. It is asked for anew each time: a question is answered once.
    let mut asking = pairs(&fields);
    asking.push(("to", &to));
    let question = browser.json("/sign", &asking).await;
    let mut stranger = Authenticator::new(Key::es256(), &passkey.id);
    (stranger.user, stranger.count) = (passkey.user.clone(), 50);
    let forged = stranger.get(&question, &browser.origin).to_string();
    let sent = browser.post(&to, &[pairs(&fields), vec![("assertion", forged.as_str())]].concat()).await;
    assert_eq!(sent.status(), StatusCode::FORBIDDEN);
    // A session alone, and a page of another site.
    assert_eq!(browser.post(&to, &pairs(&fields)).await.status(), StatusCode::FORBIDDEN);
    let elsewhere = browser.posting(&to, &pairs(&fields)).header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    let got = browser.request(Method::GET, &to).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
    let other_name = browser.request(Method::GET, "/").header("host", "evil.example").send().await;
    assert!(other_name.is_err() || other_name.is_ok_and(|answer| answer.status().is_client_error()));

    let question = browser.json("/sign", &asking).await;
    let answer = passkey.get(&question, &browser.origin).to_string();
    let signed = [pairs(&fields), vec![("assertion", answer.as_str())]].concat();
    let taken = browser.post(&to, &signed).await;
    assert_eq!(taken.status(), StatusCode::SEE_OTHER, "{}", taken.text().await.unwrap());
    let output = call.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("4900"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(browser.post(&to, &signed).await.status().is_client_error(), "a replay");

    // The signature for the first is none for the second.
    let (mut second, other) = demo.held("amount_cents=490000");
    let (to, fields) = browser.yes(&other).await;
    let crossed = browser.post(&to, &[pairs(&fields), vec![("assertion", answer.as_str())]].concat()).await;
    assert_eq!(crossed.status(), StatusCode::FORBIDDEN);
    assert!(second.try_wait().unwrap().is_none(), "it is still held");
    second.kill().unwrap();
    second.wait().unwrap();

    let approval: Value = serde_json::from_str(&demo.ok(&["approvals", "show", &id, "--json"])).unwrap();
    let decided = &approval[0]["decisions"][0];
    assert_eq!((decided["approver"]["name"].as_str(), decided["approver"]["method"].as_str()), (Some("admin"), Some("passkey")));
    assert!(decided["evidence"]["signature"].is_string(), "{decided}");
    let trail = demo.ok(&["audit", "tail", "-n", "200", "--json", "--stream", "admin"]);
    for event in ["login_link_made", "login", "passkey_added", "approval_decided", "signature_refused"] {
        assert!(trail.contains(&format!("\"{event}\"")), "{event}: {trail}");
    }
    assert!(trail.contains("\"person:admin\""), "{trail}");
    demo.ok(&["audit", "verify"]);
    // The link, the session and the operator credential are written nowhere.
    let written = demo.everything_written();
    let code = link.trim().split_once('#').unwrap().1;
    let session = &browser.cookies.iter().find(|(name, _)| name.contains("session")).unwrap().1;
    let credential = demo.ok(&["console", "--credential"]);
    for secret in [code, session.as_str(), credential.trim()] {
        assert!(secret.len() > 40 && !written.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test]
async fn agents_have_nothing_to_do_at_the_console_nor_people_where_agents_are() {
    let gateway = Setup::new().agent("bot").start();
    let token = gateway.cli.ok(&["agents", "token", "bot"]);
    let browser = Browser::of(&gateway);
    for path in ["/", "/login", "/approvals", "/api/v1/approvals", "/sign"] {
        for method in [Method::GET, Method::POST] {
            let request = browser.request(method, path).header("authorization", format!("Bearer {}", token.trim()));
            assert_eq!(request.header("origin", &browser.origin).send().await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
        }
    }
    let mut browser = browser;
    browser.by_link(&gateway.cli.ok(&["console"])).await;
    let session = browser.cookies.iter().find(|(name, _)| name.contains("session")).unwrap().1.clone();
    let cookies = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let agent = Agent::new(&gateway.url, &session);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    assert_eq!(agent.post(list, &[]).await.status, 401, "a session is no agent's token");
    let by_cookie = browser.http.post(&gateway.url).header("cookie", cookies).header("content-type", "application/json");
    assert_eq!(by_cookie.body(list).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // What is asked of health is answered without a login.
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = browser.http.get(format!("{}{path}", gateway.console)).send().await.unwrap();
        assert_eq!((answer.status(), answer.headers()["x-frame-options"].to_str().unwrap()), (StatusCode::OK, "DENY"));
        let page = browser.http.get(format!("{}{path}", gateway.console)).header("host", "evil.example").send().await.unwrap();
        assert_eq!(page.status(), StatusCode::MISDIRECTED_REQUEST, "no page of another name reads it: {path}");
        let fetched = browser.http.get(format!("{}{path}", gateway.console)).header("sec-fetch-site", "cross-site").send().await;
        assert_eq!(fetched.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_link_adds_to_who_has_passkeys_only_where_it_recovers() {
    let people = "[[people]]\nid = \"ada\"\nroles = [\"viewer\", \"approver\"]\n[[people]]\nid = \"bob\"\nroles = [\"viewer\"]\n";
    let gateway = Setup::new().with(people).agent("bot").start();
    let mut browser = Browser::of(&gateway);
    browser.by_link(&gateway.cli.ok(&["console", "--person", "ada"])).await;
    let mut passkey = browser.enrol().await;
    let mut again = Browser::of(&gateway);
    again.by_link(&gateway.cli.ok(&["console", "--person", "ada"])).await;
    assert_eq!(again.ticket, None, "she has a passkey, and shows it to add another");
    again.by_link(&gateway.cli.ok(&["console", "--person", "ada", "--recover"])).await;
    assert!(again.ticket.is_some());
    let is_on_record = |record: &Value| record["event"] == "login_link_made" && record.to_string().contains("\"recovers\":true");
    assert!(gateway.records("admin").iter().any(is_on_record));
    assert_eq!(Browser::of(&gateway).login(&mut passkey).await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn people_change_with_the_configuration_and_passkeys_survive_a_restart() {
    let people = "[[people]]\nid = \"ada\"\nroles = [\"viewer\", \"approver\"]\n[[people]]\nid = \"bob\"\nroles = [\"viewer\"]\n";
    let gateway = Setup::new().with(people).agent("bot").start();
    let several = gateway.cli.fails(&["console"]);
    assert!(several.contains("--person") && several.contains("ada"), "{several}");
    assert!(gateway.cli.fails(&["console", "--person", "mallory"]).contains("there is no person `mallory`"));
    let mut browser = Browser::of(&gateway);
    browser.by_link(&gateway.cli.ok(&["console", "--person", "ada"])).await;
    let mut passkey = browser.enrol().await;
    let mut gateway = gateway.kill_and_restart();
    let mut browser = Browser::of(&gateway);
    // Its port is another one now, and so is its origin; the name that passkeys are bound to is not.
    assert_eq!(browser.login(&mut passkey).await, StatusCode::SEE_OTHER);
    gateway.reconfigure(|toml| toml.replace("id = \"ada\"", "id = \"eve\""));
    gateway.cli.ok(&["reload"]);
    let shut = browser.send(browser.request(Method::GET, "/passkeys")).await;
    assert_eq!(shut.status(), StatusCode::SEE_OTHER, "she is nobody any more");
    gateway.reconfigure(|toml| toml.replace("id = \"eve\"", "id = \"ada\""));
    gateway.cli.ok(&["reload"]);
    assert_eq!(Browser::of(&gateway).login(&mut passkey).await, StatusCode::FORBIDDEN, "somebody else of the same name");
    let events: Vec<_> =
        gateway.records("admin").iter().filter_map(|record| record["event"].as_str().map(str::to_owned)).collect();
    assert!(events.iter().any(|event| event == "passkeys_removed") && events.iter().any(|event| event == "session_ended"));
}
