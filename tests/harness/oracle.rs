//! The stage of the abuse cases, and the oracle that is asked after each: an error alone proves nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Agent, Gateway, Script, Setup, tool};

/// The secret that must never be seen outside: lent to both connectors.
pub const CANARY: &str = "canary-7f3a9b52-c0ffee";

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
    pid: u32,
    usual: Duration,
    replies: std::sync::Mutex<Vec<String>>,
}

impl Stage {
    /// A stage whose hostile server offers these tools, all of them low reads granted to agent `a`.
    pub async fn new(tools: &[Value]) -> Self {
        Self::with(tools, "", "").await
    }

    /// The same, with further TOML for the hostile connector and at the top.
    pub async fn with(tools: &[Value], connector: &str, top: &str) -> Self {
        let setup = Setup::new();
        let benign = Script::new(setup.folder(), "benign", &[tool("echo", &["text"])]);
        let evil = Script::new(setup.folder(), "evil", tools);
        let credential = "credential = { provider = \"env\", name = \"CANARY\", inject = { env = \"SECRET\" } }\n";
        let reads: String = tools
            .iter()
            .filter_map(|tool| tool["name"].as_str())
            .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') && !connector.contains(&format!("tools.{name} ")))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|name| format!("tools.{name} = {{ kind = \"read\", band = \"low\", labels = [] }}\n"))
            .collect();
        let gateway = setup
            .with(top)
            .environment("CANARY", CANARY)
            .agent("a")
            .agent("b")
            .connector("s1", &benign, &format!("{credential}tools.echo = {{ kind = \"read\", band = \"low\", labels = [] }}"))
            .connector("evil", &evil, &format!("{credential}{reads}{connector}"))
            .grant("grant-a", "a", &["s1__*", "evil__*"], "")
            .grant("grant-b", "b", &["s1__*"], "")
            .start();
        let (a, b) = (gateway.agent("a"), gateway.agent("b"));
        // Warm, so that the benign call's usual time is that of a call and not of a start.
        b.call("s1__echo", &json!({"text": "warm"})).await.result();
        let began = Instant::now();
        b.call("s1__echo", &json!({"text": "usual"})).await.result();
        let usual = began.elapsed();
        let pid = gateway.pid();
        Self { gateway, a, b, benign, evil, pid, usual, replies: std::sync::Mutex::default() }
    }

    /// Keeps what an agent heard, for the oracle to look through.
    pub fn heard(&self, text: &str) {
        self.replies.lock().unwrap().push(text.to_owned());
    }

    /// The decision records of agent `a`'s calls, and of strangers.
    pub fn decisions(&self) -> Vec<Value> {
        let not_b = |record: &Value| record["agent"] != json!("b") && record["method"] != json!("tools/list");
        self.gateway.records("decisions").into_iter().filter(|record| record["event"] == json!("decided") && not_b(record)).collect()
    }

    /// Asks the oracle: (a) alive, same process, memory below its cap; (b) a benign call by the other agent answers in its usual
    /// time; (c) exactly one decision for each of `attempted` calls, and `allowed` of them allow; (d) the canary is nowhere; (e)
    /// the hostile server saw `sent` calls.
    pub async fn oracle(&mut self, attempted: usize, allowed: usize, sent: usize) {
        assert!(self.gateway.is_alive(), "the gateway is gone");
        assert_eq!(self.gateway.pid(), self.pid);
        assert!(self.gateway.memory() < 400 * 1024 * 1024, "{} bytes resident", self.gateway.memory());
        let began = Instant::now();
        let reply = self.b.call("s1__echo", &json!({"text": "still there"})).await;
        assert!(reply.words().contains("still there"), "{}", reply.text);
        let allowance = self.usual * 10 + Duration::from_millis(500);
        assert!(began.elapsed() < allowance, "a benign call took {:?}, usually {:?}", began.elapsed(), self.usual);
        let decisions = self.decisions();
        let allows = decisions.iter().filter(|record| record["effect"] == json!("allow")).count();
        assert_eq!((decisions.len(), allows), (attempted, allowed), "decisions: {decisions:#?}");
        let calls = self.evil.calls();
        assert_eq!(calls.len(), sent, "the hostile server saw {calls:#?}");
        let canary = CANARY.as_bytes();
        let is_there = |bytes: &[u8]| bytes.windows(canary.len()).any(|window| window == canary);
        assert!(!is_there(&self.gateway.everything_written()), "the canary is in what the gateway wrote");
        assert!(!self.replies.lock().unwrap().iter().any(|text| is_there(text.as_bytes())), "the canary is in a reply");
        assert!(self.gateway.cli.ok(&["audit", "verify"]).contains("OK"));
    }
}
