//! What each gate costs: the time of its span in real calls. Identities, grants, policies, approvals, credentials and trail are the real
//! ones, on a real data folder; only the server behind the tool is one that answers at once.

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{Arc, Mutex},
    time::Duration,
};

use bailiwick::{
    adapters::SteadyClock,
    data::DataFolder,
    runtime::{Runtime, Start},
};
use bailiwick_pipeline::{
    Gateway, Received, Settings,
    aside::Wants,
    catalogue::Tool,
    gates::{Outgoing, RawReply},
    grant::LiveGrant,
    ids::CallId,
    ports::{Channel, ConnectFailure, Connectors, Later, Lease, Listing, Offers, Ports, SendFailure, Tracer},
    principal::{Credential, Presented},
    received::{Message, Origin, Protocol, Transport},
    records::Outcome,
    trace::CallTrace,
};
use bailiwick_schemas::json::Limits;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONFIG: &str = r#"
[[agents]]
id = "bench"
owner = "bench@example.com"
ceiling = "high"

[[connectors]]
id = "files"
command = ["@self", "demo-server", "files"]
tools.read = { kind = "read", band = "low" }

[[grants]]
id = "bench"
agent = "bench"
purpose = "be measured"
tools = ["files__*"]
default = true
"#;

/// A request as an agent of today sends it.
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"files__read","arguments":{"path":"/notes/today.md"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

const RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"what is there to be done today"}],"structuredContent":{"path":"notes/today.md","text":"what is there to be done today"}}"#;

/// The sums of the spans by name, nanoseconds.
#[derive(Default)]
struct Stopwatch(Mutex<BTreeMap<String, u64>>);

impl Stopwatch {
    fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.0.lock().expect("no measurement panicked"))
    }
}

impl Tracer for Stopwatch {
    fn finish(&self, trace: CallTrace) {
        let mut sums = self.0.lock().expect("no measurement panicked");
        for (at, stage) in trace.stages.iter().enumerate() {
            *sums.entry(format!("{at} {}", stage.name)).or_default() += stage.end_ns - stage.start_ns;
        }
        *sums.entry("whole call".to_owned()).or_default() += trace.root.end_ns - trace.root.start_ns;
    }
}

/// Servers that answer at once.
struct AtOnce;

impl Connectors for AtOnce {
    fn ready<'a>(
        &'a self,
        _: &'a Arc<Tool>,
        _: &'a Arc<LiveGrant>,
        _: Option<&'a Arc<Lease>>,
        _: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Channel>) })
    }
}

impl Channel for AtOnce {
    fn send(self: Box<Self>, mut outgoing: Outgoing) -> Later<'static, Result<RawReply, SendFailure>> {
        outgoing.when_written()();
        Box::pin(async { Ok(RawReply::result(Bytes::from_static(RESULT.as_bytes()))) })
    }

    fn offers(&self, _: Listing) -> Later<'_, Result<Arc<Offers>, SendFailure>> {
        Box::pin(async { Ok(Arc::default()) })
    }
}

/// A gateway on a data folder of its own, and a token for its agent.
struct Bench {
    runtime: Arc<Runtime>,
    gateway: Gateway,
    watch: Arc<Stopwatch>,
    presented: Presented,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = Runtime::start(Start {
            config: bailiwick_config::embedded(CONFIG, []).expect("the configuration is good"),
            file: None,
            data: DataFolder::open(&folder.path().join("data")).expect("a data folder"),
            clock: Arc::new(SteadyClock::not_before(0)),
            is_demo: true,
            own_binary: "/bin/false".into(),
            environment: BTreeMap::new(),
        })
        .await
        .expect("it starts");
        let agent = "bench".parse().expect("an id");
        let token = runtime.tokens.issue_agent(&agent, 3_600_000, runtime.clock.now_ms()).await.expect("a token");
        let watch = Arc::new(Stopwatch::default());
        let ports = Ports {
            connectors: Arc::new(AtOnce),
            tracer: Arc::<Stopwatch>::clone(&watch),
            ..runtime.gateway.ports().clone()
        };
        let gateway = Gateway::new(ports, Settings::default());
        let presented = Presented { credential: Credential::Bearer(token), grant: None };
        Self { runtime, gateway, watch, presented, _folder: folder }
    }

    /// One call, from the bytes of its message to its answer.
    async fn call(&self) {
        let clock = &self.runtime.clock;
        let message = Message::read(&Bytes::from_static(CALL.as_bytes()), Limits::MESSAGE).expect("a message");
        let origin = Origin {
            transport: Transport::Http,
            protocol: Protocol::V20260728,
            presented: self.presented.clone(),
            links: Vec::new(),
            capabilities: Vec::new(),
            takes_tasks: false,
            mirrored: None,
            wants: Wants::default(),
            meta: Bytes::new(),
        };
        let arrived_ns = clock.now_ns();
        let id = CallId::new(arrived_ns / 1_000_000, [7; 10]);
        let received = Received::call(id, &message, origin, arrived_ns).expect("a call");
        let answer = self.gateway.handle(&received).await;
        assert_eq!(answer.outcome, Outcome::Success, "{:?}", black_box(&answer).body);
    }
}

fn gates(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bench = runtime.block_on(Bench::start());
    runtime.block_on(bench.call());
    let mut group = criterion.benchmark_group("gates");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for span in bench.watch.take().into_keys() {
        group.bench_function(&span, |bencher| {
            bencher.iter_custom(|times| {
                bench.watch.take();
                runtime.block_on(async {
                    for _ in 0..times {
                        bench.call().await;
                    }
                });
                Duration::from_nanos(bench.watch.take().remove(&span).unwrap_or_default())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gates);
criterion_main!(benches);
