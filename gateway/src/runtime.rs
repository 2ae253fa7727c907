//! One running gateway: everything wired.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bailiwick_config::{Config, PolicyFile, Program};
use bailiwick_connectors::{ConnectorEvent, ConnectorSpec, Discovery, StdioConnectors, discover};
use bailiwick_credentials::{Broker, CredentialSpec, EnvSecrets, Provider};
use bailiwick_demo::Demo;
use bailiwick_pipeline::{
    Gateway, Settings,
    gates::ScreenLimits,
    ids::{ApprovalId, GrantId},
    ports::{Clock, ConnectFailure, Ports},
    records::{Outcome, OutcomeRecord},
    trace::hex,
};
use bailiwick_policy::DEFAULT_BUNDLE;
use bailiwick_schemas::{definition, names::ConnectorId};
use bailiwick_store::{AgentEntry, Agents, LiveApprovals, LiveGrants, LiveIdentities, Pin, Pins, ReplayedIntent, Store, StoreFault, Tokens, WriteFault};
use bailiwick_telemetry::Exporter;
use bailiwick_trail::{Options, Record, Stream, Trail, TrailFault};
use serde_json::{Value, json};

use crate::{
    adapters::{Recorder, Traces},
    data::{DataFault, DataFolder},
    server::{Front, FrontSettings},
    world::{LiveWorlds, PolicyText, WorldFault},
};

/// Where, in the store, the place in the trail is kept up to which every intent has its outcome.
const CLOSED_UNTIL: &str = "closed_until";

/// One running gateway.
pub struct Runtime {
    /// What it was started with.
    pub config: Config,
    /// Its data folder.
    pub data: DataFolder,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// The core.
    pub gateway: Gateway,
    /// The agents' side.
    pub front: Arc<Front>,
    /// The store.
    pub store: Store,
    /// The registered agents.
    pub agents: Arc<Agents>,
    /// Their tokens, and the grants'.
    pub tokens: Arc<Tokens>,
    /// The grants.
    pub grants: Arc<LiveGrants>,
    /// The approvals.
    pub approvals: Arc<LiveApprovals>,
    /// The pins, as stored.
    pub pins: Pins,
    /// The catalogue and the policies in force.
    pub worlds: Arc<LiveWorlds>,
    /// The children.
    pub connectors: Arc<StdioConnectors>,
    /// The lent credentials.
    pub broker: Arc<Broker>,
    /// The record.
    pub recorder: Arc<Recorder>,
    /// The traces' way out, where one is configured.
    pub exporter: Option<Exporter>,
    /// How its connectors are started.
    specs: BTreeMap<ConnectorId, ConnectorSpec>,
    /// The address that agents reach it at, once it listens.
    pub(crate) url: OnceLock<String>,
}

/// What a gateway is started with.
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// The data folder.
    pub data: DataFolder,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The binary that children are started through.
    pub own_binary: PathBuf,
    /// The environment it was started with.
    pub environment: BTreeMap<String, String>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataFault),
    /// The trail.
    #[error(transparent)]
    Trail(#[from] TrailFault),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// A write to the store.
    #[error(transparent)]
    Write(#[from] WriteFault),
    /// The grants of the configuration.
    #[error(transparent)]
    Grant(#[from] bailiwick_store::GrantFault),
    /// The policies.
    #[error(transparent)]
    World(#[from] WorldFault),
    /// A policy file.
    #[error("policy `{path}` can't be read: {why}")]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The connectors.
    #[error("the connectors can't be started so:\n{}", .0.join("\n"))]
    Connectors(Vec<String>),
    /// A listener.
    #[error("`{what}` can't be listened on: {why}; another gateway may run there, or choose another address in `[server]`")]
    Listen {
        /// The address or path.
        what: String,
        /// Why.
        why: std::io::Error,
    },
}

impl Runtime {
    /// Wires a gateway: recovers the trail and the store first, then starts what serves.
    pub async fn start(start: Start) -> Result<Arc<Self>, StartFault> {
        let Start { config, data, clock, own_binary, environment } = start;
        let now_ms = clock.now_ms();
        let key = data.key("digest.key", || random_key(clock.as_ref()))?;
        data.key("operator.key", || random_key(clock.as_ref()))?;
        let (trail, recovery) = Trail::open(&data.trail(), Options { segment_bytes: config.trail.segment_size, ..Options::default() })?;
        let trail = Arc::new(trail);
        for torn in &recovery.torn {
            trail.append(Stream::Admin, now_ms, &json!({
                "event": "torn_record_put_aside", "of": torn.stream.name(), "at": torn.seq, "bytes": torn.bytes, "kept": torn.kept.display().to_string(),
            }))?;
        }
        let store = Store::open(data.path())?;
        let intents = intents_since(&trail, store.trail_cursor()?)?;
        close_unknown(&trail, &store, clock.as_ref()).await?;
        let recorder = Arc::new(Recorder::new(Arc::clone(&trail), &key));
        let agents = Arc::new(Agents::default());
        agents.set(config.agents.iter().map(|agent| AgentEntry { agent: agent.agent.clone(), uids: uids_of(agent, &config) }).collect());
        let tokens = Arc::new(Tokens::load(&store)?);
        let grants = Arc::new(LiveGrants::load(&store, &intents)?);
        let approvals = Arc::new(LiveApprovals::load(&store, Arc::clone(&agents), approval_settings(&config), &intents)?);
        grants.flush(trail.last_seq(Stream::Calls)).await?;
        grants.sync_config(config.grants.iter().map(|grant| grant.to_grant(now_ms, 1)).collect(), now_ms).await?;
        let pins = Pins::new(&store);
        let specs = specs_of(&config, &own_binary);
        let broker = Arc::new(Broker::new(credentials_of(&config, &data)?, env_secrets(&config, &environment)));
        let known = pin_at_start(&config, &pins, &specs, &broker, now_ms).await?;
        let worlds = Arc::new(LiveWorlds::new(&config, known, policies_of(&config)?)?);
        let events = on_event(Arc::clone(&worlds), Arc::clone(&recorder), Arc::clone(&clock));
        let connectors = Arc::new(StdioConnectors::new(specs.values().cloned().collect(), events).map_err(|faults| StartFault::Connectors(faults.iter().map(ToString::to_string).collect()))?);
        let exporter = exporter_of(&config, &environment);
        let identities = LiveIdentities::new(Arc::clone(&agents), Arc::clone(&tokens), Arc::clone(&grants), Arc::clone(&clock));
        let ports = Ports {
            clock: Arc::clone(&clock),
            identities: Arc::new(identities),
            grants: Arc::clone(&grants) as _,
            worlds: Arc::clone(&worlds) as _,
            approvals: Arc::clone(&approvals) as _,
            credentials: Arc::clone(&broker) as _,
            connectors: Arc::clone(&connectors) as _,
            trail: Arc::clone(&recorder) as _,
            tracer: Arc::new(Traces::new(exporter.clone())),
        };
        let gateway = Gateway::new(ports, settings_of(&config));
        let front = Arc::new(Front::new(gateway.clone(), front_settings(&config)));
        let url = OnceLock::new();
        Ok(Arc::new(Self { config, data, clock, gateway, front, store, agents, tokens, grants, approvals, pins, worlds, connectors, broker, recorder, exporter, specs, url }))
    }

    /// The address that agents reach it at; none before it listens.
    pub fn url(&self) -> Option<&str> {
        self.url.get().map(String::as_str)
    }

    /// Starts a connector's server for a moment, and lists what it offers. For admins: no agent can reach this.
    pub async fn discover(&self, connector: &ConnectorId) -> Result<Discovery, ConnectFailure> {
        let Some(spec) = self.specs.get(connector) else {
            return Err(ConnectFailure::Start(format!("no connector `{connector}` is configured")));
        };
        let lease = self.broker.for_discovery(connector).await.map_err(|failure| ConnectFailure::Start(failure.to_string()))?;
        discover(spec, lease.as_ref()).await
    }

    /// Puts other pins of a connector in force: judged first, then stored, then served. Approvals of what changed are void.
    pub async fn accept_pins(&self, connector: &ConnectorId, pins: Vec<Pin>) -> Result<(), StartFault> {
        let stored = pins.clone();
        self.worlds.accept(connector, pins)?;
        self.pins.accept(connector, stored).await?;
        self.void_approvals("another definition of the tool was accepted", |binding_connector| binding_connector == connector).await?;
        Ok(())
    }

    async fn void_approvals(&self, why: &str, concerned: impl Fn(&ConnectorId) -> bool) -> Result<(), WriteFault> {
        self.approvals.invalidate(why, self.clock.now_ms(), |binding| concerned(&binding.connector)).await.map(drop)
    }

    /// What has to be done every second: ends what is over, stores what was used.
    pub async fn tick(&self) -> Result<(), WriteFault> {
        let now_ms = self.clock.now_ms();
        for grant in self.grants.expire(now_ms).await? {
            self.after_end(&grant, "the grant has expired").await?;
        }
        self.approvals.expire(now_ms).await?;
        let drifted = self.worlds.drifted();
        if !drifted.is_empty() {
            let names: std::collections::BTreeSet<String> = drifted.iter().map(ToString::to_string).collect();
            self.approvals.invalidate("the tool differs from its pin", now_ms, |binding| names.contains(&binding.tool)).await?;
        }
        self.front.sweep();
        let is_known = |id: &GrantId, revision| self.grants.entry(id).is_some_and(|entry| entry.grant.terms().revision == revision);
        self.tokens.sweep(now_ms, is_known).await?;
        self.grants.flush(self.recorder.trail().last_seq(Stream::Calls)).await
    }

    /// What follows the end of a grant: its credentials are dropped, its approvals void.
    pub async fn after_end(&self, grant: &GrantId, why: &str) -> Result<(), WriteFault> {
        let now_ms = self.clock.now_ms();
        for lease in self.broker.returned(grant) {
            let record = json!({"event": "returned", "grant": grant, "lease": lease.id, "provider": lease.provider, "reference": lease.reference});
            if let Err(lost) = self.recorder.trail().append(Stream::Secrets, now_ms, &record) {
                tracing::error!(%lost, "a returned credential could not be put on record");
            }
        }
        self.approvals.invalidate(why, now_ms, |binding| binding.grant == *grant).await.map(drop)
    }

    /// Ends everything in order: children first, then what is not yet stored, then the traces.
    pub async fn stop(&self) {
        self.connectors.shutdown().await;
        if let Err(fault) = self.tick().await {
            tracing::error!(%fault, "the last usage could not be stored; the trail has it");
        }
        let trail = Arc::clone(self.recorder.trail());
        let flushed = tokio::task::spawn_blocking(move || trail.flush()).await;
        if let Ok(Err(fault)) = flushed {
            tracing::error!(%fault, "the trail could not be synced");
        }
        if let Some(exporter) = &self.exporter {
            let drain = exporter.shutdown(Duration::from_secs(3)).await;
            tracing::debug!(?drain, "traces handed over");
        }
    }
}

fn random_key(clock: &dyn Clock) -> [u8; 32] {
    let mut key = [0; 32];
    let random = clock.random().into_iter().chain(clock.random());
    key.iter_mut().zip(random).for_each(|(to, from)| *to = from);
    key
}

/// The intents that the store has not counted yet.
fn intents_since(trail: &Trail, cursor: u64) -> Result<Vec<ReplayedIntent>, TrailFault> {
    let mut intents = Vec::new();
    for record in trail.calls_since(cursor)? {
        let record = record?;
        if record.text("event") == Some("intent") {
            intents.extend(replayed(&record));
        }
    }
    Ok(intents)
}

fn replayed(record: &Record) -> Option<ReplayedIntent> {
    let body = &record.body;
    let debited = body.get("debited")?.as_array()?.iter().filter_map(|id| id.as_str()?.parse().ok());
    Some(ReplayedIntent {
        grant: record.text("grant")?.parse().ok()?,
        grant_revision: body.get("grant_revision")?.as_u64()?,
        debited: debited.collect(),
        has_effect: record.text("kind") != Some("read"),
        approval: record.text("approval").and_then(|id| id.parse::<ApprovalId>().ok()),
    })
}

/// Calls that were on their way when the gateway ended: they may have happened. Nothing is sent again.
async fn close_unknown(trail: &Trail, store: &Store, clock: &dyn Clock) -> Result<(), StartFault> {
    let from = store.meta(CLOSED_UNTIL)?.and_then(|seq| seq.parse().ok()).unwrap_or(0);
    for intent in trail.open_intents(from)? {
        let Some(call) = intent.text("call_id").and_then(|id| id.parse().ok()) else { continue };
        let agent = intent.text("agent").and_then(|id| id.parse().ok());
        let grant = intent.text("grant").and_then(|id| id.parse().ok());
        let approval = intent.text("approval").and_then(|id| id.parse().ok());
        let record = OutcomeRecord {
            event: "outcome",
            call_id: &call,
            method: "tools/call",
            jsonrpc_id: None,
            protocol: "",
            transport: "",
            size: 0,
            agent: agent.as_ref(),
            instance: intent.text("instance"),
            auth_method: None,
            grant: grant.as_ref(),
            tool: intent.text("tool"),
            outcome: Outcome::Unknown,
            reason: Some("gateway_ended"),
            detail: Some("the gateway ended between intent and outcome: it may have happened, and is not sent again"),
            approval: approval.as_ref(),
            duration_us: 0,
            held_us: 0,
            result: None,
            trace_id: intent.text("trace_id").unwrap_or_default(),
        };
        trail.append(Stream::Calls, clock.now_ms(), &record)?;
        tracing::warn!(%call, tool = intent.text("tool"), "a call was on its way when the gateway ended: it may have happened");
    }
    store.set_meta(CLOSED_UNTIL, Some(&trail.last_seq(Stream::Calls).to_string())).await?;
    Ok(())
}

/// In the demo (the only one with `allow_same_user` and connectors of the own binary) the agent is whoever runs the gateway.
fn uids_of(agent: &bailiwick_config::RegisteredAgent, config: &Config) -> Vec<u32> {
    let is_demo = config.connectors.iter().all(|connector| connector.program == Program::Own);
    if is_demo && agent.uids.is_empty() { vec![rustix::process::geteuid().as_raw()] } else { agent.uids.clone() }
}

fn approval_settings(config: &Config) -> bailiwick_store::Settings {
    let approvals = &config.approvals;
    bailiwick_store::Settings {
        approve_by_ms: millis(approvals.approve_by),
        execute_by_ms: millis(approvals.execute_by),
        deny_cooldown_ms: millis(approvals.deny_cooldown),
        max_pending_per_agent: usize::try_from(approvals.max_pending_per_agent).unwrap_or(usize::MAX),
        allow_same_user: approvals.allow_same_user,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn settings_of(config: &Config) -> Settings {
    Settings {
        hold: config.approvals.hold,
        screen: ScreenLimits { bytes: config.limits.max_result, depth: config.limits.max_depth, ..ScreenLimits::default() },
        ..Settings::default()
    }
}

fn front_settings(config: &Config) -> FrontSettings {
    let server = &config.server;
    let port = server.listen.port();
    let mut hosts: std::collections::BTreeSet<String> = server.allowed_hosts.iter().cloned().collect();
    hosts.extend(["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")));
    hosts.insert(server.listen.to_string());
    if let Some(url) = &server.public_url {
        let host = url.host_str().unwrap_or_default();
        hosts.insert(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")));
    }
    FrontSettings {
        hosts,
        origins: server.allowed_origins.iter().cloned().collect(),
        max_body: usize::try_from(server.max_body).unwrap_or(usize::MAX),
        body_timeout: server.header_timeout,
        max_in_flight: usize::try_from(server.max_calls_per_agent).unwrap_or(usize::MAX),
        max_sessions: usize::try_from(server.max_sessions).unwrap_or(usize::MAX),
        session_idle: server.session_idle,
    }
}

fn specs_of(config: &Config, own: &Path) -> BTreeMap<ConnectorId, ConnectorSpec> {
    let spec = |connector: &bailiwick_config::Connector| {
        let program = connector.program.path(own).display().to_string();
        let command = std::iter::once(program).chain(connector.arguments.iter().cloned()).collect();
        ConnectorSpec {
            launcher: vec![own.display().to_string(), "exec-child".to_owned(), "--".to_owned()],
            env: connector.env.clone(),
            cwd: connector.cwd.clone(),
            shared: connector.shared,
            call_timeout: connector.call_timeout,
            handshake_timeout: connector.handshake_timeout,
            max_message: config.limits.max_result,
            ..ConnectorSpec::new(connector.id.clone(), command)
        }
    };
    config.connectors.iter().map(|connector| (connector.id.clone(), spec(connector))).collect()
}

fn credentials_of(config: &Config, data: &DataFolder) -> Result<BTreeMap<ConnectorId, CredentialSpec>, StartFault> {
    let mut specs = BTreeMap::new();
    for connector in &config.connectors {
        let Some(credential) = &connector.credential else { continue };
        let provider = match &credential.source {
            bailiwick_config::SecretSource::Variable(name) => Provider::Env { name: name.clone() },
            bailiwick_config::SecretSource::File(path) => Provider::File { path: path.clone() },
            bailiwick_config::SecretSource::Data(name) => {
                // Only the embedded demo has these: a secret that means nothing elsewhere.
                let name = name.display().to_string();
                let fresh = hex(&random_key(&crate::adapters::SystemClock));
                Provider::File { path: data.write_once(&name, &format!("demo-{fresh}"))? }
            }
        };
        specs.insert(connector.id.clone(), CredentialSpec { provider, inject_env: credential.inject_env.clone() });
    }
    Ok(specs)
}

/// Of the environment, only the variables that connectors name as their secret.
fn env_secrets(config: &Config, environment: &BTreeMap<String, String>) -> EnvSecrets {
    let named = config.connectors.iter().filter_map(|connector| match &connector.credential.as_ref()?.source {
        bailiwick_config::SecretSource::Variable(name) => Some((name.clone(), environment.get(name)?.clone())),
        _ => None,
    });
    EnvSecrets::new(named)
}

/// The pins as stored; those of built-in demo connectors as they are in this binary; and, where an admin said so, the first
/// definitions that a server shows.
async fn pin_at_start(
    config: &Config,
    pins: &Pins,
    specs: &BTreeMap<ConnectorId, ConnectorSpec>,
    broker: &Broker,
    now_ms: u64,
) -> Result<BTreeMap<ConnectorId, Vec<Pin>>, StartFault> {
    let mut known = pins.list()?;
    for connector in &config.connectors {
        let listed = match (&connector.program, connector.pin) {
            (Program::Own, _) => built_in(connector),
            (Program::Path(_), bailiwick_config::Pin::FirstUse) if !known.contains_key(&connector.id) => first_use(connector, specs, broker).await,
            _ => continue,
        };
        let fresh = pins_of(connector, &listed, now_ms);
        let same = |old: &Vec<Pin>| {
            let digests = |pins: &[Pin]| pins.iter().map(|pin| (pin.tool.clone(), pin.digest)).collect::<BTreeMap<_, _>>();
            digests(old) == digests(&fresh)
        };
        if !fresh.is_empty() && !known.get(&connector.id).is_some_and(same) {
            pins.accept(&connector.id, fresh.clone()).await?;
            known.insert(connector.id.clone(), fresh);
        }
    }
    Ok(known)
}

fn built_in(connector: &bailiwick_config::Connector) -> Vec<Value> {
    let demo = connector.arguments.last().and_then(|name| name.parse::<Demo>().ok());
    let listed = demo.map(bailiwick_demo::definitions);
    listed.as_ref().and_then(Value::as_array).cloned().unwrap_or_default()
}

async fn first_use(connector: &bailiwick_config::Connector, specs: &BTreeMap<ConnectorId, ConnectorSpec>, broker: &Broker) -> Vec<Value> {
    let found = async {
        let spec = specs.get(&connector.id).ok_or_else(|| "it is not configured".to_owned())?;
        let lease = broker.for_discovery(&connector.id).await.map_err(|failure| failure.to_string())?;
        discover(spec, lease.as_ref()).await.map_err(|failure| failure.to_string())
    };
    match found.await {
        Ok(discovery) => discovery.tools,
        Err(why) => {
            tracing::warn!(connector = %connector.id, why, "a connector could not be listed: none of its tools is known");
            Vec::new()
        }
    }
}

/// Pins of these definitions, classed as the configuration says; what nobody classed is `execute` and `high`.
pub fn pins_of(connector: &bailiwick_config::Connector, listed: &[Value], now_ms: u64) -> Vec<Pin> {
    let reading = definition::read_list(listed);
    for finding in &reading.findings {
        tracing::warn!(connector = %connector.id, ?finding, "a tool definition is not acceptable");
    }
    let pin = |definition: &definition::Definition| {
        let terms = connector.terms_of(definition.name());
        Some(Pin {
            tool: definition.name().clone(),
            kind: terms.kind,
            band: terms.band,
            digest: definition.digest(),
            definition: serde_json::value::to_raw_value(definition.raw()).ok()?,
            labels: terms.labels,
            accepted_at_ms: now_ms,
            accepted_by: "start".to_owned(),
        })
    };
    reading.accepted.iter().filter_map(pin).collect()
}

/// The policies that the configuration names, read.
pub fn policies_of(config: &Config) -> Result<Vec<PolicyText>, StartFault> {
    let mut texts = Vec::new();
    if config.policy.include_default {
        texts.push(PolicyText { name: "default".to_owned(), text: DEFAULT_BUNDLE.to_owned() });
    }
    for file in &config.policy.files {
        let paths = match file {
            PolicyFile::One(path) => vec![path.clone()],
            PolicyFile::AllIn(folder) => cedar_files(folder).map_err(|why| StartFault::Policy { path: folder.clone(), why })?,
        };
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|why| StartFault::Policy { path: path.clone(), why })?;
            texts.push(PolicyText { name: path.display().to_string(), text });
        }
    }
    Ok(texts)
}

fn cedar_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "there is no .cedar file in it"));
    }
    Ok(paths)
}

/// What connectors report: on record where it is about a person's decision or a child's end; and a drifted tool is taken out.
fn on_event(worlds: Arc<LiveWorlds>, recorder: Arc<Recorder>, clock: Arc<dyn Clock>) -> impl Fn(ConnectorEvent) + Send + Sync + 'static {
    move |event| match &event {
        ConnectorEvent::Drifted { connector, tool, found } => {
            if worlds.drift(connector, tool) {
                tracing::warn!(%connector, %tool, "a tool differs from its pin and is not callable until it is accepted again");
                let record = json!({"event": "drifted", "connector": connector, "tool": tool, "found": found});
                if let Err(lost) = recorder.trail().append(Stream::Admin, clock.now_ms(), &record) {
                    tracing::error!(%lost, "a drift could not be put on record");
                }
            }
        }
        ConnectorEvent::Ended { connector, pid, why, wanted: false, status, .. } => {
            tracing::warn!(%connector, pid, why, status, "a connector's server ended");
        }
        ConnectorEvent::Listed { connector, findings, .. } if !findings.is_empty() => {
            tracing::warn!(%connector, ?findings, "a connector offers tools that are not acceptable");
        }
        _ => tracing::debug!(?event, "connector"),
    }
}

/// The traces' way out. A fault in its settings is told and costs the traces, never the calls.
fn exporter_of(config: &Config, environment: &BTreeMap<String, String>) -> Option<Exporter> {
    let settings = bailiwick_telemetry::Settings {
        endpoint: config.telemetry.endpoint.as_ref().map(ToString::to_string),
        service_name: Some(config.telemetry.service_name.clone()),
        service_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ratio: Some(config.telemetry.ratio),
        ..bailiwick_telemetry::Settings::default()
    };
    Exporter::from_env(|name| environment.get(name).cloned(), &settings).unwrap_or_else(|fault| {
        tracing::warn!(%fault, "traces are off: mend these settings and start again");
        None
    })
}
