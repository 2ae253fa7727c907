//! A rig: connectors over the hostile server, grants and tools to call it with.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bailiwick_pipeline::{
    aside::{Ear, Overheard, Wants},
    catalogue::{Connector, Listed, Mirror, Tool},
    grant::{Grant, Labels, LiveGrant, Standing},
    ports::{Access, ConnectFailure, Injection, Lease, LeaseTerms, Material, SendFailure},
};
use bailiwick_policy::{Band, ConnectorFacts, Kind};
use bailiwick_schemas::{
    canonical::Digest,
    definition::Definition,
    validate::{Undeclared, Validator},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio_util::sync::CancellationToken;

use crate::{
    channel::ToolCall,
    egress::Lookup,
    message::Answer,
    pool::Context,
    spec::{ConnectorSpec, ProcessSpec, Way},
    status::{ConnectorEvent, ConnectorStatus},
    stdio::Downstreams,
};

pub(crate) const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile-server");

/// Nothing in these tests takes that long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) connectors: Downstreams,
    pub(crate) events: Arc<Mutex<Vec<ConnectorEvent>>>,
}

/// Why a call came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Connect(ConnectFailure),
    Send(SendFailure),
}

/// A connector that runs the hostile server in a mode.
pub(crate) fn spec(id: &str, mode: &[&str]) -> ConnectorSpec {
    let command = std::iter::once(HOSTILE).chain(mode.iter().copied()).map(str::to_owned).collect();
    ConnectorSpec { call_timeout: Duration::from_secs(10), ..ConnectorSpec::process(id.parse().unwrap(), command) }
}

/// The child process of a spec.
pub(crate) fn process(spec: &mut ConnectorSpec) -> &mut ProcessSpec {
    match &mut spec.way {
        Way::Process(process) => process,
        Way::Http(_) => panic!("it is over HTTP"),
    }
}

/// The spec with other terms for its child process.
pub(crate) fn with(mut spec: ConnectorSpec, change: impl FnOnce(&mut ProcessSpec)) -> ConnectorSpec {
    change(process(&mut spec));
    spec
}

impl Rig {
    pub(crate) fn new(specs: Vec<ConnectorSpec>) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let connectors = Downstreams::new(specs, move |event| told.lock().unwrap().push(event)).unwrap();
        Self { connectors, events }
    }

    /// With names that resolve as a test says.
    pub(crate) fn resolving(specs: Vec<ConnectorSpec>, lookup: Arc<dyn Lookup>) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let context = Context::with_lookup(move |event| told.lock().unwrap().push(event), lookup);
        Self { connectors: Downstreams::of(specs, context).unwrap(), events }
    }

    pub(crate) fn of(mode: &[&str]) -> Self {
        Self::new(vec![spec("x", mode)])
    }

    /// Calls `echo` at a connector.
    pub(crate) async fn call(&self, connector: &str, grant: &Arc<LiveGrant>) -> Result<Answer, Failure> {
        self.call_with(connector, grant, None, Duration::from_secs(10), b"{}").await
    }

    pub(crate) async fn call_with(
        &self,
        connector: &str,
        grant: &Arc<LiveGrant>,
        lease: Option<&Arc<Lease>>,
        timeout: Duration,
        arguments: &[u8],
    ) -> Result<Answer, Failure> {
        self.call_tool(&tool(connector, "says it"), grant, lease, timeout, arguments).await
    }

    pub(crate) async fn call_tool(
        &self,
        tool: &Arc<Tool>,
        grant: &Arc<LiveGrant>,
        lease: Option<&Arc<Lease>>,
        timeout: Duration,
        arguments: &[u8],
    ) -> Result<Answer, Failure> {
        let channel = self.connectors.channel(tool, grant, lease, None).await.map_err(Failure::Connect)?;
        let cancelled: CancellationToken = grant.cancelled().clone();
        let call = ToolCall {
            method: "tools/call",
            takes_task: false,
            arguments,
            item: None,
            traceparent: Some("00-aa-bb-01"),
            timeout,
            cancelled: &cancelled,
            meta: b"",
            ear: None,
            capabilities: None,
            answers: None,
        };
        channel.call(call, || {}).await.map_err(Failure::Send)
    }

    /// Calls `echo` for an agent that wants to hear this, with metadata of its own: the answer, and what was heard before it.
    pub(crate) async fn call_hearing(
        &self,
        connector: &str,
        grant: &Arc<LiveGrant>,
        wants: &Wants,
        meta: &str,
    ) -> (Result<Answer, Failure>, Overheard) {
        let (ear, heard) = Ear::for_wants(wants);
        let channel = match self.connectors.channel(&tool(connector, "says it"), grant, None, None).await {
            Ok(channel) => channel,
            Err(failure) => return (Err(Failure::Connect(failure)), heard),
        };
        let (cancelled, meta) = (grant.cancelled().clone(), meta.as_bytes());
        let ear = wants.any().then_some(ear);
        let call = ToolCall {
            method: "tools/call",
            takes_task: false,
            arguments: b"{}",
            item: None,
            traceparent: None,
            timeout: PATIENCE,
            cancelled: &cancelled,
            meta,
            ear,
            capabilities: None,
            answers: None,
        };
        (channel.call(call, || {}).await.map_err(Failure::Send), heard)
    }

    /// The result of a call that must succeed.
    pub(crate) async fn result(&self, connector: &str, grant: &Arc<LiveGrant>) -> Value {
        value(&self.call(connector, grant).await.unwrap())
    }

    pub(crate) fn status(&self, connector: &str) -> ConnectorStatus {
        self.connectors.status().into_iter().find(|status| status.id.as_str() == connector).unwrap()
    }

    /// The process id of the only child.
    pub(crate) fn pid(&self, connector: &str) -> u32 {
        let children = self.status(connector).children;
        assert_eq!(children.len(), 1, "{children:?}");
        children[0].pid.unwrap()
    }

    pub(crate) fn events(&self) -> Vec<ConnectorEvent> {
        self.events.lock().unwrap().clone()
    }
}

pub(crate) fn value(answer: &Answer) -> Value {
    match answer {
        Answer::Result(raw) => serde_json::from_slice(raw).unwrap(),
        Answer::Error { .. } => panic!("{answer:?}"),
    }
}

/// The tool `echo` with this description as its pin.
pub(crate) fn tool(connector: &str, description: &str) -> Arc<Tool> {
    tool_of(
        connector,
        &json!({"name":"echo","description":description,"inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}),
    )
}

/// The tool with this definition as its pin.
pub(crate) fn tool_of(connector: &str, raw: &Value) -> Arc<Tool> {
    let definition = Definition::read(&to_raw_value(raw).unwrap()).unwrap();
    let id: bailiwick_schemas::names::ConnectorId = connector.parse().unwrap();
    Arc::new(Tool {
        name: format!("{connector}__{}", definition.name()).parse().unwrap(),
        connector: Arc::new(Connector {
            id,
            fingerprint: Digest::of(b""),
            facts: ConnectorFacts {
                id: connector.to_owned(),
                sensitivity: String::new(),
                environment: String::new(),
                credential: "none",
            },
            prefix: bailiwick_schemas::exposure::Prefix::Always,
            may_ask: true,
            elicitation_hosts: Vec::new(),
            transport: "pipe",
            needs_credential: false,
            call_timeout: Duration::from_secs(10),
            max_rate: None,
            pace: Arc::default(),
        }),
        kind: Kind::Read,
        band: Band::Low,
        digest: definition.digest(),
        input: Validator::compile_input(definition.input_schema(), Undeclared::Refuse).unwrap(),
        mirrors: Mirror::declared_by(definition.input_schema()),
        cost: 1,
        marks: None,
        destination: None,
        listed: Listed::new(&raw.to_string()),
        output: None,
        labels: Labels::default(),
    })
}

pub(crate) fn grant(id: &str) -> Arc<LiveGrant> {
    grant_under(id, None)
}

pub(crate) fn grant_under(id: &str, parent: Option<Arc<LiveGrant>>) -> Arc<LiveGrant> {
    let terms = Grant {
        owner: "owner".to_owned(),
        purpose: "test".to_owned(),
        environment: String::new(),
        ..Grant::bare(id.parse().unwrap(), "bot".parse().unwrap(), Vec::new(), 0..u64::MAX)
    };
    Arc::new(LiveGrant::new(terms, Standing::fresh(), parent))
}

pub(crate) fn lease(id: &str, secret: &str) -> Arc<Lease> {
    lease_for(id, secret, Injection::env("TOKEN"))
}

pub(crate) fn lease_for(id: &str, secret: &str, injection: Injection) -> Arc<Lease> {
    let (id, reference, access) = (id.to_owned(), "T".to_owned(), Access::Write);
    let terms = LeaseTerms { id, provider: "env", reference, injection, expires_at_ms: u64::MAX, access };
    Arc::new(Lease::new(terms, Material::of(secret.to_owned().into())).unwrap())
}

/// Waits for a state, with a deadline.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

/// Whether a process is there in any form, a zombie's included.
pub(crate) fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a process runs: what init has not yet reaped does not.
pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

/// The most memory this process ever had, bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
