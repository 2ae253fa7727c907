//! The stage of the abuse cases, and the oracle that is asked after each: an error alone proves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::{Value, json};

use super::{Agent, Gateway, HttpServer, Script, Setup, tool};

/// The secret that must never be seen outside: lent to both connectors.
pub const CANARY: &str = "canary-7f3a9b52-c0ffee";

/// What the gateway may ever have resident. A child's memory is its own.
const MEMORY: u64 = 400 * 1024 * 1024;

/// Two agents, a benign server and a hostile one, and a secret.
pub struct Stage {
    /// The gateway.
    pub gateway: Gateway,
    /// The agent that attacks.
    pub a: Agent,
    /// The agent that must not notice.
    pub b: Agent,
    /// The benign server's script.
    pub benign: Script,
    /// The hostile server's script.
    pub evil: Script,
    /// The hostile server itself, where it is one over HTTP.
    pub http: Option<HttpServer>,
    /// What it cost the gateway to start, its tools pinned: the time of processors.
    pub started_in: Duration,
    pid: u32,
    usual: Duration,
    replies: Mutex<Vec<String>>,
    traces: Arc<Mutex<Vec<u8>>>,
}

/// What a stage is set up with.
#[derive(Debug)]
pub struct Play {
    tools: Vec<Value>,
    script: Value,
    connector: String,
    top: String,
    limits: String,
    data: Option<PathBuf>,
    is_http: bool,
    files: Vec<(String, String)>,
}

impl Play {
    /// A hostile server with these tools, each of a plain name a low read that is granted to agent `a`.
    pub fn of(tools: &[Value]) -> Self {
        Self {
            tools: tools.to_vec(),
            script: json!({}),
            connector: String::new(),
            top: String::new(),
            limits: String::new(),
            data: None,
            is_http: false,
            files: Vec::new(),
        }
    }

    /// Further members of the hostile server's script.
    pub fn script(self, script: Value) -> Self {
        Self { script, ..self }
    }

    /// Further TOML for the hostile connector. A tool that it classes isn't classed as a low read.
    pub fn connector(self, toml: &str) -> Self {
        Self { connector: toml.to_owned(), ..self }
    }

    /// Further TOML at the top; its first keys are those of `[server]`.
    pub fn top(mut self, toml: &str) -> Self {
        self.top.push_str(toml);
        self.top.push('\n');
        self
    }

    /// What a shell does before it becomes the gateway, such as `ulimit -n 64`.
    pub fn limits(self, limits: &str) -> Self {
        Self { limits: limits.to_owned(), ..self }
    }

    /// Another data folder than the one beside the configuration.
    pub fn data(self, data: &Path) -> Self {
        Self { data: Some(data.to_owned()), ..self }
    }

    /// The hostile server is one over HTTP (`tests/servers/scripted_http.rs`).
    pub fn http(self) -> Self {
        Self { is_http: true, ..self }
    }

    /// A file beside the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A third agent, `c`, with a grant of its own for all of the hostile server.
    pub fn with_c(self) -> Self {
        self.top(
            "[[agents]]\nid = \"c\"\nowner = \"c-owner@example.com\"\nceiling = \"high\"\n[[grants]]\nid = \"grant-c\"\nagent = \"c\"\npurpose = \"test\"\ntools = [\"evil__*\"]\ndefault = true\nttl = \"1h\"",
        )
    }

    /// Starts it.
    pub async fn start(self) -> Stage {
        let mut setup = Setup::new();
        if let Some(data) = &self.data {
            setup = setup.data(data);
        }
        for (name, text) in &self.files {
            fs::write(setup.folder().join(name), text).unwrap();
        }
        let benign = Script::new(setup.folder(), "benign", &[tool("echo", &["text"])]);
        let evil = Script::new(setup.folder(), "evil", &self.tools);
        evil.offer_with(&self.tools, &self.script);
        let credential = format!("{CREDENTIAL}{{ env = \"SECRET\" }} }}\n");
        let is_plain = |name: &&str| {
            !name.is_empty() && name.len() < 100 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        let names: BTreeSet<&str> = self.tools.iter().filter_map(|tool| tool["name"].as_str()).filter(is_plain).collect();
        let low = names.iter().filter(|name| !self.connector.contains(&format!("tools.{name} ")));
        let reads = low
            .map(|name| format!("tools.{name} = {{ kind = \"read\", band = \"low\", labels = [] }}\n"))
            .collect::<Vec<_>>()
            .concat();
        let traces = Arc::default();
        let http = self.is_http.then(|| evil.serve_http());
        let gateway = setup
            .limits(&self.limits)
            .with(&self.top)
            .environment("CANARY", CANARY)
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &collector(Arc::clone(&traces)))
            .environment("OTEL_BSP_SCHEDULE_DELAY", "100")
            .agent("a")
            .agent("b")
            .connector("s1", &benign, &format!("{credential}tools.echo = {{ kind = \"read\", band = \"low\", labels = [] }}"))
            .evil(&evil, http.as_ref(), &format!("{reads}{}", self.connector))
            .grant("grant-a", "a", &["s1__*", "evil__*"], "")
            .grant("grant-b", "b", &["s1__*"], "")
            .start();
        let started_in = gateway.cpu_time();
        let (a, b) = (gateway.agent("a"), gateway.agent("b"));
        // Warm, so that the benign call's usual time is that of a call and not of a start.
        b.call("s1__echo", &json!({"text": "warm"})).await.result();
        let began = Instant::now();
        b.call("s1__echo", &json!({"text": "usual"})).await.result();
        let usual = began.elapsed();
        let pid = gateway.pid();
        Stage { gateway, a, b, benign, evil, http, started_in, pid, usual, replies: Mutex::default(), traces }
    }
}

/// What both connectors are lent.
const CREDENTIAL: &str = "credential = { provider = \"env\", name = \"CANARY\", inject = ";

impl Setup {
    /// The hostile connector: a child process, or over HTTP.
    fn evil(self, script: &Script, http: Option<&HttpServer>, more: &str) -> Self {
        match http {
            None => self.connector("evil", script, &format!("{CREDENTIAL}{{ env = \"SECRET\" }} }}\n{more}")),
            Some(server) => {
                let inject = "{ header = \"Authorization\", prefix = \"Bearer \" } }";
                self.http_connector("evil", &server.url, &format!("{CREDENTIAL}{inject}\n{more}"))
            }
        }
    }
}

impl Stage {
    /// A stage whose hostile server offers these tools, all of them low reads granted to agent `a`.
    pub async fn new(tools: &[Value]) -> Self {
        Play::of(tools).start().await
    }

    /// A neighbour that agent `b` is from now on.
    pub fn neighbour(&self) -> super::Neighbour {
        super::Neighbour::of(&self.b)
    }

    /// The same for a stage where nobody may call often.
    pub fn neighbour_at_leisure(&self) -> super::Neighbour {
        super::Neighbour::every(&self.b, Duration::from_millis(150))
    }

    /// Keeps what was heard otherwise than by the stage's own agents, for the oracle to look through.
    pub fn heard(&self, text: &str) {
        self.replies.lock().unwrap().push(text.to_owned());
    }

    /// The decision records of agent `a`'s calls, and of strangers.
    pub fn decisions(&self) -> Vec<Value> {
        let not_b = |record: &Value| record["agent"] != json!("b") && record["method"] != json!("tools/list");
        self.gateway
            .records("decisions")
            .into_iter()
            .filter(|record| record["event"] == json!("decided") && not_b(record))
            .collect()
    }

    /// The outcome records of calls by others than agent `b`, in order.
    pub fn outcomes(&self) -> Vec<Value> {
        let own = |record: &Value| {
            record["event"] == json!("outcome") && record["agent"] != json!("b") && record["method"] != json!("tools/list")
        };
        self.gateway.records("calls").into_iter().filter(own).collect()
    }

    /// What an operator is told of the hostile server's tools that can't be accepted: `{id, state, why}` each.
    pub fn findings(&self) -> Vec<Value> {
        let output = self.gateway.cli.run(&["connectors", "diff", "evil", "--json"]);
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let proposal = said.as_array().map_or(&said, |one| &one[0]);
        proposal["findings"].as_array().unwrap().clone()
    }

    /// Asks the oracle: (a) alive, same process, memory never above its cap; (b) a benign call by the other agent answers in its
    /// usual time; (c) exactly one decision for each of `attempted` calls, `allowed` of them allow, each has its one outcome, and
    /// the record's chain holds; (d) the canary, in any form, is nowhere; (e) the hostile server saw `sent` calls.
    pub async fn oracle(&mut self, attempted: usize, allowed: usize, sent: usize) {
        assert!(self.gateway.is_alive(), "the gateway is gone");
        assert_eq!(self.gateway.pid(), self.pid);
        assert!(self.gateway.peak_memory() < MEMORY, "{} bytes were resident", self.gateway.peak_memory());
        self.others_are_served().await;
        let decisions = self.decisions();
        let allows = decisions.iter().filter(|record| record["effect"] == json!("allow")).count();
        assert_eq!((decisions.len(), allows), (attempted, allowed), "decisions: {decisions:#?}");
        self.outcomes_match(&decisions);
        let calls = self.evil.calls();
        assert_eq!(calls.len(), sent, "the hostile server saw {calls:#?}");
        self.canary_is_nowhere().await;
        assert!(self.gateway.cli.ok(&["audit", "verify"]).contains("OK"));
    }

    async fn others_are_served(&self) {
        let allowance = self.usual * 10 + Duration::from_millis(500);
        // Whatever lasts is seen in every one of them; a machine that was busy for a moment is not.
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let began = Instant::now();
            let reply = self.b.call("s1__echo", &json!({"text": "still there"})).await;
            assert!(reply.words().contains("still there"), "{}", reply.text);
            least = least.min(began.elapsed());
            if least < allowance {
                return;
            }
        }
        panic!("benign calls take {least:?} and more, usually {:?}", self.usual);
    }

    /// One outcome for each decision; an intent only where the decision allows, and a success only where there is an intent.
    fn outcomes_match(&self, decisions: &[Value]) {
        let mut of_call: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in self.gateway.records("calls") {
            of_call.entry(record["call_id"].as_str().unwrap().to_owned()).or_default().push(record);
        }
        for decision in decisions {
            let of_call = of_call.get(decision["call_id"].as_str().unwrap()).map(Vec::as_slice).unwrap_or_default();
            let count = |event: &str| of_call.iter().filter(|record| record["event"] == json!(event)).count();
            assert_eq!(count("outcome"), 1, "outcomes of {decision:#}: {of_call:#?}");
            assert!(
                count("intent") <= usize::from(decision["effect"] == json!("allow")),
                "intents of {decision:#}: {of_call:#?}"
            );
        }
        for records in of_call.values() {
            let is = |event: &str| records.iter().any(|record| record["event"] == json!(event));
            // One that is answered with what was done before does nothing itself.
            let is_done = |record: &&Value| record["outcome"] == json!("success") && record.get("outcome_of").is_none();
            let succeeded = records.iter().filter(is_done).any(|record| record["method"] == json!("tools/call"));
            assert!(!succeeded || is("intent"), "a success without an intent: {records:#?}");
        }
    }

    /// The secret is in nothing that anybody heard, and in nothing that the gateway wrote.
    pub async fn canary_is_nowhere(&self) {
        let metrics = reqwest::get(format!("{}/metrics", self.gateway.console)).await.unwrap().text().await.unwrap();
        let traces = self.traces.lock().unwrap().clone();
        let replies = self.replies.lock().unwrap().join("\n");
        let heard = self.a.heard() + &self.b.heard() + &replies;
        let places: [(&str, Vec<u8>); 4] = [
            ("files", self.gateway.everything_written()),
            ("metrics", metrics.into_bytes()),
            ("traces", traces),
            ("replies", heard.into_bytes()),
        ];
        let forms = [
            CANARY.to_owned(),
            CANARY.chars().rev().collect(),
            CANARY.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
            STANDARD_NO_PAD.encode(CANARY).chars().take(24).collect(),
        ];
        for (place, bytes) in places {
            for form in &forms {
                let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
                assert!(!found, "the canary is in the {place}, as {form}");
            }
        }
    }
}

/// An OpenTelemetry collector that keeps what it gets: its address.
fn collector(kept: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                let (mut buffer, mut pending) = (vec![0; 64 * 1024], Vec::new());
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    kept.lock().unwrap().extend(&buffer[..read]);
                    pending.extend(&buffer[..read]);
                    while let Some(whole) = whole_request(&pending) {
                        pending.drain(..whole);
                        let _gone = stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    address
}

/// The length of the HTTP request that these bytes begin with, once it is complete.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length =
        head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok()).unwrap_or(0);
    (bytes.len() >= end + length).then_some(end + length)
}
