//! What a large catalogue costs: 10,000 tools of 100 connectors. How long until it can be served, how long a list takes that nobody has
//! asked for before, how long it takes to accept one changed definition, and how much memory all of it stands in.
//!
//! Single occasions and no loops: what is measured is done once for each grant or change. The middle one of several is shown.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bailiwick::{
    adapters::SteadyClock,
    data::DataFolder,
    runtime::{Runtime, Start},
    world::{LiveWorlds, PolicyText},
};
use bailiwick_config::Config;
use bailiwick_pipeline::{
    Body, Gateway, Received, Settings, ToolPage,
    aside::Wants,
    grant::Labels,
    ids::CallId,
    ports::{Ports, Worlds as _},
    principal::{Credential, Presented},
    received::{Message, Origin, Protocol, Transport},
};
use bailiwick_policy::{Band, DEFAULT_BUNDLE, Kind};
use bailiwick_schemas::{canonical::digest, json::Limits, names::ConnectorId};
use bailiwick_store::{ClassedBy, Pin};
use bytes::Bytes;
use serde_json::{Value, json, value::to_raw_value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTORS: usize = 100;
const TOOLS: usize = 100;
/// How often each occasion is had.
const TIMES: usize = 5;

fn connector(number: usize) -> ConnectorId {
    format!("c{number:02}").parse().expect("an id")
}

fn config() -> Config {
    let mut text = "[[agents]]\nid = \"bench\"\nowner = \"bench@example.com\"\nceiling = \"high\"\n".to_owned();
    for number in 0..CONNECTORS {
        let id = connector(number);
        text.push_str(&format!("[[connectors]]\nid = \"{id}\"\ncommand = [\"@self\", \"demo-server\", \"files\"]\n"));
    }
    let all = (0..CONNECTORS).map(|number| format!("\"{}__*\"", connector(number))).collect::<Vec<_>>().join(", ");
    for time in 0..TIMES {
        let three = "\"c07__tool_3\", \"c50__tool_50\", \"c99__tool_99\"";
        for (id, tools, more) in [
            ("all", all.as_str(), ""),
            ("three", three, ""),
            ("search-all", all.as_str(), "tool_search = true\n"),
            ("search-one", "\"c50__*\"", "tool_search = true\n"),
            ("search-three", three, "tool_search = true\n"),
        ] {
            let grant = format!("id = \"{id}-{time}\"\nagent = \"bench\"\npurpose = \"be measured\"\ntools = [{tools}]\n{more}");
            text.push_str(&format!("[[grants]]\n{grant}"));
        }
    }
    bailiwick_config::embedded(&text, []).expect("the configuration is good")
}

/// A definition of the size that real ones have. Its first revision is 0.
fn definition(number: usize, revision: usize) -> Value {
    let property = |at: usize| {
        (format!("field_{at}"), json!({"type": "string", "maxLength": 200, "description": "what it is about, in a few words"}))
    };
    json!({
        "name": format!("tool_{number}"),
        "title": format!("Tool {number}, revision {revision}"),
        "description": "Does what tools do, and says so at some length, because models choose by what they read. ".repeat(3),
        "inputSchema": {"type": "object", "required": ["field_0"], "properties": (0..6).map(property).collect::<serde_json::Map<_, _>>()},
        "annotations": {"readOnlyHint": true},
    })
}

fn pins(revision: usize) -> Vec<Pin> {
    let pin = |number: usize| {
        let definition = definition(number, if number == 0 { revision } else { 0 });
        Pin {
            tool: format!("tool_{number}").parse().expect("a name"),
            kind: Kind::Read,
            band: Band::Low,
            classed_by: ClassedBy::Person,
            digest: digest(&definition),
            definition: to_raw_value(&definition).expect("a definition"),
            labels: Labels::default(),
            accepted_at_ms: 1,
            accepted_by: "bench".to_owned(),
        }
    };
    (0..TOOLS).map(pin).collect()
}

/// The rules that come with the product, and one for each connector.
fn policies() -> Vec<PolicyText> {
    let rule = |number: usize| {
        let id = connector(number);
        format!(
            "@id(\"r-{id}\") forbid (principal, action == Bailiwick::Action::\"{id}__tool_1\", resource) when {{ context.input.field_0 == \"x\" }};\n"
        )
    };
    let own: String = (0..CONNECTORS).map(rule).collect();
    [("default", DEFAULT_BUNDLE.to_owned()), ("own", own)]
        .map(|(name, text)| PolicyText { name: name.to_owned(), text, path: None })
        .into()
}

/// A line of `/proc/self/status`, in MiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a line of that name");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let most = times.last().copied().unwrap_or_default();
    println!("{what:<62} {:>10.3} ms   (at most {:.3})", millis(times[times.len() / 2]), millis(most));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn origin(presented: Presented) -> Origin {
    Origin {
        transport: Transport::Http,
        protocol: Protocol::V20260728,
        presented,
        links: Vec::new(),
        capabilities: Vec::new(),
        mirrored: None,
        wants: Wants::default(),
        meta: Bytes::new(),
    }
}

struct Bench {
    runtime: Arc<Runtime>,
    gateway: Gateway,
    worlds: Arc<LiveWorlds>,
    token: secrecy::SecretString,
}

impl Bench {
    /// Lists the tools of a grant, page by page: how many there are, and how long the first page took.
    async fn list(&self, grant: &str) -> (usize, Duration) {
        let began = Instant::now();
        let (mut listed, mut first, mut cursor) = (0, None, None);
        loop {
            let page = self.page(grant, cursor).await;
            first = first.or_else(|| Some(began.elapsed()));
            listed += page.definitions().windows(9).filter(|bytes| bytes == br#"{"name":""#).count();
            cursor = page.next().map(str::to_owned);
            if cursor.is_none() {
                return (listed, first.unwrap_or_default());
            }
        }
    }

    async fn page(&self, grant: &str, cursor: Option<String>) -> ToolPage {
        let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{params}}}"#);
        let message = Message::read(&Bytes::from(text), Limits::MESSAGE).expect("a message");
        let presented = Presented { credential: Credential::Bearer(self.token.clone()), grant: Some(grant.to_owned()) };
        let now_ns = self.runtime.clock.now_ns();
        let received =
            Received::list(CallId::new(now_ns / 1_000_000, [7; 10]), &message, origin(presented), now_ns).expect("a list");
        match self.gateway.handle(&received).await.body {
            Body::Tools { page, .. } => page,
            other => panic!("{other:?}"),
        }
    }

    /// A call of one of the gateway's own tools: what it told, and how long it took.
    async fn own(&self, grant: &str, tool: &str, arguments: Value) -> (Value, Duration) {
        let params = json!({"name": tool, "arguments": arguments});
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let message = Message::read(&Bytes::from(text), Limits::MESSAGE).expect("a message");
        let presented = Presented { credential: Credential::Bearer(self.token.clone()), grant: Some(grant.to_owned()) };
        let now_ns = self.runtime.clock.now_ns();
        let received =
            Received::call(CallId::new(now_ns / 1_000_000, [7; 10]), &message, origin(presented), now_ns).expect("a call");
        let began = Instant::now();
        let answer = self.gateway.handle(&received).await;
        let took = began.elapsed();
        let Body::Result(result) = answer.body else { panic!("{answer:?}") };
        let result: Value = serde_json::from_slice(result.text()).expect("a result");
        (result["structuredContent"].clone(), took)
    }

    /// Searches under grants that give so many tools: the first one, others, and one of as many words as count.
    async fn searches(&self, what: &str, tools: usize) {
        let (mut first, mut again, mut long, mut described) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let words: String = (0..24).map(|word| format!("tool field{word} ")).collect();
        for time in 0..TIMES {
            let grant = format!("{what}-{time}");
            let (found, took) = self.own(&grant, "search_tools", json!({"query": "what tools do"})).await;
            assert_eq!(found["total"], tools);
            first.push(took);
            for _ in 0..20 {
                again.push(self.own(&grant, "search_tools", json!({"query": "tools that say something"})).await.1);
                let query: String = words.chars().take(256).collect();
                long.push(self.own(&grant, "search_tools", json!({"query": query, "limit": 50})).await.1);
                let name = found["tools"][0]["name"].clone();
                described.push(self.own(&grant, "describe_tool", json!({"name": name})).await.1);
            }
        }
        say(&format!("search of {tools}, the first under its grant"), first);
        say("  another, of 4 words", again);
        say("  one of 256 characters, 50 results", long);
        say("  and a description", described);
    }

    /// The first list of each of these grants.
    async fn first_lists(&self, what: &str, tools: usize) {
        let mut times = Vec::new();
        for time in 0..TIMES {
            let (listed, took) = self.list(&format!("{what}-{time}")).await;
            times.push(took);
            assert_eq!(listed, tools);
        }
        say(&format!("first list, {tools} of {}: its first page", CONNECTORS * TOOLS), times);
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = config();
    let start = Start {
        config: config.clone(),
        file: None,
        data: DataFolder::open(&folder.path().join("data")).expect("a data folder"),
        clock: Arc::new(SteadyClock::not_before(0)),
        is_demo: true,
        own_binary: "/bin/false".into(),
        environment: BTreeMap::new(),
    };
    let runtime = Runtime::start(start).await.expect("it starts");
    let token =
        runtime.tokens.issue_agent(&"bench".parse().expect("an id"), 3_600_000, runtime.clock.now_ms()).await.expect("a token");
    let all: BTreeMap<ConnectorId, Vec<Pin>> = (0..CONNECTORS).map(|number| (connector(number), pins(0))).collect();
    let before = memory("VmRSS:");
    let (took, worlds) = timed(|| LiveWorlds::new(&config, all, policies()).expect("the policies are good"));
    say("judged at the start: 10000 tools, 106 rules", vec![took]);
    println!("{:<62} {:>10} MiB", "memory that the catalogue stands in", memory("VmRSS:") - before);
    let worlds = Arc::new(worlds);
    let ports = Ports { worlds: Arc::clone(&worlds) as _, ..runtime.gateway.ports().clone() };
    let gateway = Gateway::new(ports, Settings::default());
    let bench = Bench { runtime, gateway, worlds, token };
    bench.first_lists("three", 3).await;
    let before = memory("VmRSS:");
    bench.first_lists("all", CONNECTORS * TOOLS).await;
    println!("{:<62} {:>10} MiB", "memory that five large lists stand in", memory("VmRSS:").saturating_sub(before));
    let mut again = Vec::new();
    for _ in 0..TIMES {
        again.push(bench.list("all-0").await.1);
    }
    say("the same page again", again);
    let before = memory("VmRSS:");
    bench.searches("search-three", 3).await;
    bench.searches("search-one", TOOLS).await;
    bench.searches("search-all", CONNECTORS * TOOLS).await;
    println!("{:<62} {:>10} MiB", "memory that all of these searches stand in", memory("VmRSS:").saturating_sub(before));
    let (mut judged, mut served, mut small, mut large) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for time in 0..TIMES {
        let pins = pins(time + 1);
        let (took, fresh) = timed(|| bench.worlds.judge(&connector(time), pins).expect("the policies are good"));
        judged.push(took);
        let (took, ()) = timed(|| bench.worlds.serve(fresh));
        served.push(took);
        let (listed, took) = bench.list("three-0").await;
        assert_eq!(listed, 3);
        small.push(took);
        let (listed, took) = bench.list("all-0").await;
        assert_eq!(listed, CONNECTORS * TOOLS);
        large.push(took);
    }
    say("one changed definition of one connector, judged", judged);
    say("  and served", served);
    say("  then a list of 3", small);
    say("  then the first page of 10000", large);
    let found = bench.worlds.now().tools().next().map(|tool| (tool.name.tool().expect("a tool").clone(), None)).expect("a tool");
    let (took, news) = timed(|| bench.worlds.drift(&connector(0), &[found]));
    assert_eq!(news.len(), 1);
    say("one tool drifts", vec![took]);
    println!("{:<62} {:>10} MiB", "memory at most", memory("VmHWM:"));
}
