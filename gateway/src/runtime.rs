//! One running gateway: everything wired.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_config::{Config, KeepBodies};
use bailiwick_connectors::{ConnectorEvent, ConnectorSpec, Discovery, Downstreams, Look, SpecFault};
use bailiwick_console::Console;
use bailiwick_credentials::{Broker, Consents};
use bailiwick_identity::Issuers;
use bailiwick_pipeline::{
    Gateway, Patience, Settings,
    detect::Detections,
    gates::ScreenLimits,
    grant::{Grant, LiveGrant},
    halts::Halts,
    ids::{AgentId, GrantId},
    ports::{Binding, Clock, ConnectFailure, Grants as _, Ports},
};
use bailiwick_schemas::{
    canonical::Digest,
    names::{ConnectorId, ToolName},
};
use bailiwick_store::{
    AccessRequests, AgentEntry, Agents, Bodies, BodyLimits, DisabledAgents, EndAs, Ended, GrantFault, Handles, LiveApprovals,
    LiveGrants, LiveHalts, LiveIdentities, Pin, Pins, Store, StoreFault, Tokens, WriteFault,
};
use bailiwick_telemetry::Exporter;
use bailiwick_trail::{Options, Stream, Trail, TrailFault};
use serde_json::json;
use url::Url;

use crate::{
    adapters::{Recorder, Tethered, Traces},
    bundles::Bundles,
    completing::Completing,
    consenting,
    data::{DataFault, DataFolder},
    downstream::{credentials_of, specs_of},
    holders,
    lending::{LeaseBook, SecretsRecord},
    pinning::{self, Scout},
    policy_bundle,
    providers::Lenders,
    recent::Recent,
    recovery,
    reload::{Basis, Reloads},
    requesting::Requesting,
    server::{Front, FrontSettings, Handshakes, Notices},
    sources::{self, Origin, Sources},
    telling::Telling,
    world::{LiveWorlds, WorldFault},
};

pub use crate::sources::policies_of;

/// How long whoever ends a grant waits for issuers to take back what was lent for it.
const TAKEN_BACK: Duration = Duration::from_secs(3);

/// The same at the end of the gateway.
const GIVEN_BACK: Duration = Duration::from_secs(5);

/// How long a start waits for the bundles of trust domains. Without its bundle a domain is closed until it is there.
const BUNDLES_PATIENCE: Duration = Duration::from_secs(3);

/// One running gateway.
pub struct Runtime {
    /// What it is configured by now.
    pub(crate) config: ArcSwap<Config>,
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
    /// The one-shot handles of grants.
    pub handles: Arc<Handles>,
    /// The issuers of the tokens that agents bring along.
    pub issuers: Arc<Issuers>,
    /// The grants.
    pub grants: Arc<LiveGrants>,
    /// The halts in force.
    pub halts: LiveHalts,
    /// The agents that people disabled.
    pub disabled: DisabledAgents,
    /// The approvals.
    pub approvals: Arc<LiveApprovals>,
    /// How people hear of them.
    pub(crate) telling: Telling,
    /// What agents asked for beyond their grants.
    pub requests: AccessRequests,
    /// The pins, as stored.
    pub pins: Pins,
    /// The catalogue and the policies in force.
    pub worlds: Arc<LiveWorlds>,
    /// The ways out.
    pub connectors: Arc<Downstreams>,
    /// The lent credentials.
    pub broker: Arc<Broker>,
    /// When it began, unix milliseconds.
    pub started_at_ms: u64,
    /// What owners consented to.
    pub(crate) consents: Arc<Consents>,
    /// The trust domains whose certificates count.
    pub bundles: Bundles,
    /// TLS handshakes that came to nothing.
    pub handshakes: Arc<Handshakes>,
    /// The record.
    pub recorder: Arc<Recorder>,
    /// The traces' way out, where one is configured.
    pub exporter: Option<Exporter>,
    /// How the last calls went by.
    pub(crate) recent: Arc<Recent>,
    /// How its connectors are started.
    pub(crate) specs: ArcSwap<BTreeMap<ConnectorId, ConnectorSpec>>,
    /// What ties calls to the connectors that they were judged for.
    pub(crate) tether: Arc<Tethered>,
    /// Configurations are taken and pins accepted one after the other.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// How reloads went.
    pub(crate) reloads: Reloads,
    /// Where its configuration comes from.
    pub(crate) origin: Origin,
    /// Whether it is the embedded demo.
    pub(crate) is_demo: bool,
    /// The binary that children are started through.
    pub(crate) own_binary: PathBuf,
    /// When tokens that are over were looked for last, unix milliseconds.
    pub(crate) swept_ms: AtomicU64,
    /// Where it listens for agents, once it does.
    pub(crate) agents_at: OnceLock<SocketAddr>,
    /// Where it listens for people, once it does.
    pub(crate) console_at: OnceLock<SocketAddr>,
    /// The console, once it is opened.
    pub(crate) console: OnceLock<Arc<Console>>,
}

/// What a gateway is started with.
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// Its file, which is read anew on a reload; none for an embedded one.
    pub file: Option<PathBuf>,
    /// The data folder.
    pub data: DataFolder,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether it is the embedded demo.
    pub is_demo: bool,
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
    /// What was lent before.
    #[error("what was lent before this start can't be read: {0}")]
    Leases(String),
    /// A write to the store.
    #[error(transparent)]
    Write(#[from] WriteFault),
    /// The grants of the configuration.
    #[error(transparent)]
    Grant(#[from] bailiwick_store::GrantFault),
    /// The policies.
    #[error(transparent)]
    World(#[from] WorldFault),
    /// What was to be accepted could not be judged to its end.
    #[error("the definitions could not be judged: nothing was accepted, and the log says why")]
    Judging,
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
    /// The record is from the future.
    #[error(
        "the last record of the trail is {ahead_s} s ahead of the system's clock: set the clock right and start again; where the clock was \
         wrong when that was recorded, put the data folder aside and start with a new one, or wait"
    )]
    Clock {
        /// By how much.
        ahead_s: u64,
    },
    /// The console.
    #[error("the console can't be opened: {0}")]
    Console(String),
    /// The certificate of the listener with TLS.
    #[error("`server.tls` can't be served: {0}; `bailiwick check` says what is wrong with its files")]
    Tls(String),
    /// A listener.
    #[error("`{what}` can't be listened on: {why}; another gateway may run there, or choose another address in `[server]`")]
    Listen {
        /// The address or path.
        what: String,
        /// Why.
        why: std::io::Error,
    },
}

/// Tokens that are over are looked for so often, milliseconds: they are good for nothing meanwhile.
const SWEEP_EVERY_MS: u64 = 60 * 1000;

impl Runtime {
    /// Wires a gateway: recovers the trail and the store first, then starts what serves.
    #[expect(clippy::too_many_lines, reason = "all parts once, in the order in which they are recovered and wired")]
    pub async fn start(start: Start) -> Result<Arc<Self>, StartFault> {
        let Start { config, file, data, clock, is_demo, own_binary, environment } = start;
        let now_ms = clock.now_ms();
        let key = data.key("digest.key", || random_key(clock.as_ref()))?;
        data.key("operator.key", || random_key(clock.as_ref()))?;
        let trail = Arc::new(opened_trail(&data, &config, now_ms)?);
        let store = Store::open(data.path())?;
        let intents = recovery::intents_since(&trail, &store, store.trail_cursor()?)?;
        recovery::close_open(&trail, &store, clock.as_ref()).await?;
        let recorder = Arc::new(Recorder::new(Arc::clone(&trail), &key));
        let agents = Arc::new(Agents::default());
        agents.set(entries_of(&config, is_demo));
        // Before anything is served, and before a grant is looked at: what can't be read keeps the gateway from starting.
        let (in_force, notices) = (Arc::<Halts>::default(), Arc::<Notices>::default());
        let halts = LiveHalts::load(&store, Arc::clone(&in_force))?;
        let disabled = DisabledAgents::load(&store, Arc::clone(&agents))?;
        let tokens = Arc::new(Tokens::load(&store)?);
        let (handles, of_handles) = Handles::new();
        let grants = Arc::new(LiveGrants::load(&store, &intents)?);
        let approvals = Arc::new(LiveApprovals::load(&store, Arc::clone(&agents), approval_settings(&config), &intents)?);
        Basis::of(&config).take_up(&store, &approvals, &trail, now_ms).await?;
        grants.flush(trail.last_seq(Stream::Calls)).await?;
        grants.sync_config(grants_of(&config, now_ms), now_ms).await?;
        let telling = Telling::new(&store, &approvals, &recorder, &clock)?;
        let requests = AccessRequests::load(&store)?;
        let pins = Pins::new(&store);
        let specs = specs_of(&config, &own_binary);
        let (book, record) = (LeaseBook::of(&store), SecretsRecord::of(&trail));
        let consents = consenting::consents(&store, &clock);
        let lenders = Lenders { environment: &environment, consents: &consents };
        let broker = Arc::new(Broker::new(credentials_of(&config, &data, lenders)?, book, record, Arc::clone(&clock)));
        broker.recover().map_err(StartFault::Leases)?;
        tokio::spawn(broker.work());
        let scout = Scout { specs: &specs, broker: &broker, trail: &trail, clock: clock.as_ref() };
        let known = pinning::pin_at_start(&config, &pins, scout).await?;
        let (Sources { policies, bundles: titles, shadow, .. }, files) = sources::policies_at_once(&config)?;
        let origin = Origin { file, environment };
        let reloads = Reloads::begin(files.with(&origin, &config), config.policy.files.clone(), now_ms);
        policy_bundle::versions::judge(&titles, &store, config.policy.allow_older)?;
        reloads.name_bundles(titles.iter().map(ToString::to_string).collect());
        let worlds = Arc::new(LiveWorlds::watching(&config, known, policies, shadow)?);
        worlds.names().remarks().iter().for_each(|remark| tracing::warn!("{remark}"));
        let events = on_event(Arc::clone(&worlds), Arc::clone(&recorder), Arc::clone(&clock), Arc::clone(&notices));
        let connectors = Arc::new(Downstreams::new(specs.values().cloned().collect(), events).map_err(not_started)?);
        let exporter = exporter_of(&config, &origin.environment);
        let tether = Arc::new(Tethered::new(Arc::clone(&connectors) as _, worlds.reached()));
        let issuers = issuers_of(&config, now_ms);
        let own = (Arc::clone(&tokens), Arc::clone(&handles));
        let proofs = (Arc::clone(&agents), own, Arc::clone(&issuers), Arc::clone(&grants));
        let identities = LiveIdentities::new(proofs.0, proofs.1, proofs.2, proofs.3, Arc::clone(&clock));
        let (completing, requesting) = (Arc::<Completing>::default(), Arc::<Requesting>::default());
        let recent = Arc::<Recent>::default();
        let detections = Arc::<Detections>::default();
        detections.set(config.detections.clone());
        recovery::sums_of_windows(&trail, &store, &detections, now_ms)?;
        let ports = Ports {
            clock: Arc::clone(&clock),
            identities: Arc::new(identities),
            grants: Arc::clone(&grants) as _,
            worlds: Arc::clone(&worlds) as _,
            approvals: Arc::clone(&approvals) as _,
            credentials: Arc::clone(&broker) as _,
            connectors: Arc::clone(&tether) as _,
            trail: Arc::clone(&recorder) as _,
            tracer: Arc::new(Traces::new(exporter.clone(), Arc::clone(&recent))),
            rounds: Arc::default(),
            tasks: Arc::default(),
            halts: in_force,
            detections,
            endings: Arc::clone(&completing) as _,
            requests: Arc::clone(&requesting) as _,
        };
        let bundles = bundles_of(&config, &clock).await;
        let gateway = Gateway::new(ports, settings_of(&config));
        let front = Arc::new(Front::new(gateway.clone(), front_settings(&config), notices));
        let runtime = Arc::new(Self {
            config: ArcSwap::from_pointee(config),
            data,
            clock,
            gateway,
            front,
            store,
            agents,
            tokens,
            handles,
            issuers,
            grants,
            halts,
            disabled,
            approvals,
            telling,
            requests,
            pins,
            worlds,
            connectors,
            broker,
            started_at_ms: now_ms,
            consents,
            bundles,
            handshakes: Arc::default(),
            recorder,
            exporter,
            recent,
            specs: ArcSwap::from_pointee(specs),
            tether,
            changing: tokio::sync::Mutex::new(()),
            reloads,
            origin,
            is_demo,
            own_binary,
            swept_ms: AtomicU64::new(0),
            agents_at: OnceLock::new(),
            console_at: OnceLock::new(),
            console: OnceLock::new(),
        });
        completing.of(&runtime);
        holders::watch(&runtime, of_handles);
        requesting.of(&runtime);
        runtime.end_what_is_gone().await?;
        runtime.end_extensions().await?;
        runtime.end_what_is_disabled().await?;
        policy_bundle::versions::remember(&titles, &runtime.store).await?;
        Ok(runtime)
    }

    /// The address that people reach the console at; none before it listens.
    pub fn console_url(&self) -> Option<Url> {
        let at = self.console_at.get()?;
        let local = || Url::parse(&format!("http://localhost:{}", at.port())).ok();
        self.config().console.public_url.clone().or_else(local)
    }

    /// Has people told by the channels of the configuration in force, once there is a console that they can be led to.
    pub(crate) async fn tell(&self) -> Result<(), WriteFault> {
        let Some(page) = self.console_url() else { return Ok(()) };
        self.telling.set(&self.config().channels, &page).await
    }

    /// The address that agents reach it at; none before it listens.
    pub fn url(&self) -> Option<String> {
        self.agents_at.get().map(|at| self.config().server.public_url(*at))
    }

    /// What it is configured by now. A reload puts another one in its place: to be asked each time.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Where its configuration comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Starts a connector's server for a moment, and lists what it offers. For admins: no agent can reach this.
    pub async fn discover(&self, connector: &ConnectorId) -> Result<Discovery, ConnectFailure> {
        self.scout(&self.specs.load_full()).look_at(connector).await
    }

    /// The same, with the end of what the server wrote to standard error.
    pub async fn try_out(&self, connector: &ConnectorId) -> Look {
        self.scout(&self.specs.load_full()).try_out(connector).await
    }

    pub(crate) fn scout<'a>(&'a self, specs: &'a BTreeMap<ConnectorId, ConnectorSpec>) -> Scout<'a> {
        let (broker, trail, clock) = (&self.broker, self.recorder.trail(), self.clock.as_ref());
        Scout { specs, broker, trail, clock }
    }

    /// Puts other pins of a connector in force: judged first, then stored, then served. Approvals of what changed are void.
    pub async fn accept_pins(&self, connector: &ConnectorId, pins: Vec<Pin>) -> Result<(), StartFault> {
        let in_turn = self.changing.lock().await;
        self.put_in_force(&in_turn, connector, pins).await
    }

    /// The same, for who has looked at what is in force since it is their turn.
    pub(crate) async fn put_in_force(
        &self,
        _in_turn: &tokio::sync::MutexGuard<'_, ()>,
        connector: &ConnectorId,
        pins: Vec<Pin>,
    ) -> Result<(), StartFault> {
        let (worlds, of, wanted) = (Arc::clone(&self.worlds), connector.clone(), pins.clone());
        let judging = tokio::task::spawn_blocking(move || worlds.judge(&of, wanted));
        let judged = judging.await.map_err(|_| StartFault::Judging)??;
        self.pins.accept(connector, pins).await?;
        let why = "another definition of the tool was accepted";
        let is_concerned = |binding: &Binding| binding.connector == *connector;
        self.approvals.invalidate(why, self.clock.now_ms(), is_concerned).await?;
        let before = self.worlds.names();
        self.worlds.serve(judged);
        let is_news = |remark: &String| !before.remarks().contains(remark);
        self.worlds.names().remarks().into_iter().filter(is_news).for_each(|remark| tracing::warn!("{remark}"));
        // Whoever still shows the old definitions would be taken for changed.
        self.connectors.renew(connector);
        // And what was asked or approved meanwhile.
        self.approvals.invalidate(why, self.clock.now_ms(), is_concerned).await?;
        // What was added to grants was another tool.
        self.end_extensions().await?;
        Ok(())
    }

    /// What has to be done every second: ends what is over, stores what was used. What fails keeps nothing else from being done;
    /// the first failure is told.
    pub async fn tick(&self) -> Result<(), WriteFault> {
        let now_ms = self.clock.now_ms();
        let swept = self.grants.expire(now_ms).await;
        let mut done = swept.stored;
        for grant in swept.ended {
            done = done.and(self.after_end(&grant, "the grant has expired").await);
        }
        done = done.and(self.approvals.expire(now_ms).await.map(drop));
        let drifted = self.worlds.drifted();
        if !drifted.is_empty() {
            let names: std::collections::BTreeSet<String> = drifted.iter().map(ToString::to_string).collect();
            let is_concerned = |binding: &Binding| names.contains(&binding.tool);
            done = done.and(self.approvals.invalidate("the tool differs from its pin", now_ms, is_concerned).await.map(drop));
        }
        done = done.and(self.void_outdated().await);
        done = done.and(self.end_extensions().await);
        self.front.sweep();
        self.gateway.ports().tasks.sweep(now_ms);
        self.end_what_is_halted();
        if let Some(console) = self.console.get() {
            console.sweep().await;
        }
        if now_ms.saturating_sub(self.swept_ms.load(Ordering::Relaxed)) >= SWEEP_EVERY_MS {
            self.swept_ms.store(now_ms, Ordering::Relaxed);
            let is_live = |grant: &LiveGrant, revision| grant.terms().revision == revision && grant.is_live(now_ms);
            self.handles.sweep(now_ms, |id, revision| self.grants.by_id(id).is_some_and(|grant| is_live(&grant, revision)));
            let is_known = |id: &GrantId, revision| self.grants.by_id(id).is_some_and(|grant| grant.terms().revision == revision);
            done = done.and(self.tokens.sweep(now_ms, is_known).await);
            done = done.and(self.bodies().sweep(now_ms).await);
        }
        done.and(self.grants.flush(self.recorder.trail().last_seq(Stream::Calls)).await)
    }

    /// What rules have kept of calls.
    pub(crate) fn bodies(&self) -> Bodies {
        Bodies::new(&self.store, body_limits(&self.config()))
    }

    /// Ends a grant, and what was handed on from it, with all that follows; `why` is what is said of its approvals. Memory first: whatever
    /// this returns, nothing is authorized under any of them any more.
    pub async fn end_grant(
        &self,
        id: &GrantId,
        how: EndAs,
        by: &str,
        reason: Option<&str>,
        why: &str,
    ) -> Result<Ended, GrantFault> {
        let (fell, ended) = self.grants.end_now(id, how, by, reason, self.clock.now_ms())?;
        // Before anything is waited for.
        std::iter::once(id).chain(&fell).for_each(|grant| self.broker.returned(grant, why));
        let ended = ended.await;
        // In memory they have ended even where that could not be stored.
        let mut followed = self.after_end(id, why).await;
        for below in &fell {
            followed = followed.and(self.after_end(below, "the grant above it ended").await);
        }
        // Mostly issuers take back what was lent at once, and whoever ends a task may count on it. What takes longer is tried on.
        futures_util::future::join_all(std::iter::once(id).chain(&fell).map(|grant| self.broker.settled(grant, TAKEN_BACK)))
            .await;
        let ended = ended?;
        followed?;
        Ok(ended)
    }

    /// What follows the end of a grant, be that stored or not: its credentials are dropped, its approvals void.
    pub async fn after_end(&self, grant: &GrantId, why: &str) -> Result<(), WriteFault> {
        let now_ms = self.clock.now_ms();
        self.broker.returned(grant, why);
        self.approvals.invalidate(why, now_ms, |binding| binding.grant == *grant).await.map(drop)
    }

    /// Ends everything in order: children first, then what is not yet stored, then the traces.
    pub async fn stop(&self) {
        self.telling.stop().await;
        self.connectors.shutdown().await;
        if !self.broker.close_all(GIVEN_BACK).await {
            tracing::warn!("some credentials are not taken back yet: the next start tries again");
        }
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

/// The trail, recovered. What was torn off it by the end of the machine is put aside, and that is on record.
fn opened_trail(data: &DataFolder, config: &Config, now_ms: u64) -> Result<Trail, StartFault> {
    let options = Options { segment_bytes: config.trail.segment_size, ..Options::default() };
    let (trail, recovery) = Trail::open(&data.trail(), options)?;
    for torn in &recovery.torn {
        let kept = torn.kept.display().to_string();
        let (of, at, bytes) = (torn.stream.name(), torn.seq, torn.bytes);
        let record = json!({"event": "torn_record_put_aside", "of": of, "at": at, "bytes": bytes, "kept": kept});
        trail.append(Stream::Admin, now_ms, &record)?;
    }
    Ok(trail)
}

fn not_started(faults: Vec<SpecFault>) -> StartFault {
    StartFault::Connectors(faults.into_iter().map(|fault| fault.to_string()).collect())
}

/// The issuers of this configuration.
fn issuers_of(config: &Config, now_ms: u64) -> Arc<Issuers> {
    let issuers = Arc::new(Issuers::new(&config.server.public_url(config.server.listen), now_ms));
    issuers.set(&config.issuers);
    issuers
}

/// The bundles of this configuration, once they were tried to be read.
async fn bundles_of(config: &Config, clock: &Arc<dyn Clock>) -> Bundles {
    let bundles = Bundles::new(Arc::clone(clock));
    bundles.keep(&config.trust_domains);
    bundles.tried(BUNDLES_PATIENCE).await;
    bundles
}

pub(crate) fn random_key(clock: &dyn Clock) -> [u8; 32] {
    let mut key = [0; 32];
    let random = clock.random().into_iter().chain(clock.random());
    key.iter_mut().zip(random).for_each(|(to, from)| *to = from);
    key
}

/// In the embedded demo the agent is whoever runs the gateway; elsewhere an agent runs as the users that its entry names.
fn uids_of(agent: &bailiwick_config::RegisteredAgent, is_demo: bool) -> Vec<u32> {
    if is_demo && agent.uids.is_empty() { vec![rustix::process::geteuid().as_raw()] } else { agent.uids.clone() }
}

/// The agents of this configuration.
pub(crate) fn entries_of(config: &Config, is_demo: bool) -> Vec<AgentEntry> {
    let entry = |registered: &bailiwick_config::RegisteredAgent| AgentEntry {
        agent: registered.agent.clone(),
        uids: uids_of(registered, is_demo),
        spiffe: registered.spiffe.iter().map(ToString::to_string).collect(),
        subjects: registered.subjects.iter().map(|of| (of.issuer.clone(), of.subject.clone())).collect(),
    };
    config.agents.iter().map(entry).collect()
}

/// The grants of this configuration, issued now. An agent that is switched off has none: what it had in flight ends with them, and
/// it gets others when it is switched on again.
pub(crate) fn grants_of(config: &Config, now_ms: u64) -> Vec<Grant> {
    let is_enabled = |id: &str| config.agent(id).is_some_and(|registered| !registered.agent.disabled);
    let grants = config.grants.iter().filter(|grant| is_enabled(grant.agent.as_str()));
    grants.map(|grant| grant.to_grant(now_ms, 1)).collect()
}

fn body_limits(config: &Config) -> BodyLimits {
    let KeepBodies { kept_for, bytes, bytes_per_agent } = config.trail.keep_bodies;
    BodyLimits { kept_ms: millis(kept_for), bytes, bytes_per_agent }
}

pub(crate) fn approval_settings(config: &Config) -> bailiwick_store::Settings {
    let approvals = &config.approvals;
    bailiwick_store::Settings {
        approve_by_ms: millis(approvals.approve_by),
        execute_by_ms: millis(approvals.execute_by),
        deny_cooldown_ms: millis(approvals.deny_cooldown),
        max_pending_per_agent: usize::try_from(approvals.max_pending_per_agent).unwrap_or(usize::MAX),
        allow_same_user: approvals.allow_same_user,
        max_asked_per_hour: usize::try_from(approvals.max_asked_per_hour).unwrap_or(usize::MAX),
        max_denied_in_row: approvals.max_denied_in_row,
        remember: approvals.remember,
        break_glass: approvals.break_glass.is_some(),
        withdraw_on_cancel: approvals.withdraw_on_cancel,
        keep_events: !config.channels.is_empty(),
        bodies: body_limits(config),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn settings_of(config: &Config) -> Settings {
    Settings {
        hold: config.approvals.hold,
        keep_outcome: config.approvals.keep_outcome,
        status_tool: config.approvals.status_tool,
        patience: Arc::new(patience_of(config)),
        console_url: page_for_agents(config),
        screen: ScreenLimits { bytes: config.limits.max_result, depth: config.limits.max_depth, ..ScreenLimits::default() },
        ..Settings::default()
    }
}

/// How the agents wait for approvers that do not wait as all do.
fn patience_of(config: &Config) -> BTreeMap<AgentId, Patience> {
    let own = config.agents.iter().filter(|registered| registered.patience != Patience::default());
    own.map(|registered| (registered.agent.id.clone(), registered.patience)).collect()
}

/// Where people find the console, if that is said; then agents' clients can be shown where an approval stands. An agent's user may sit at
/// another machine, where `localhost` is something else: what is only assumed is not shown to them.
fn page_for_agents(config: &Config) -> Option<Arc<str>> {
    config.console.public_url.as_ref().filter(|_| config.console.enabled).map(|url| url.as_str().into())
}

pub(crate) fn front_settings(config: &Config) -> FrontSettings {
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
        public_url: server.public_url.as_ref().map(ToString::to_string),
        hosts,
        origins: server.allowed_origins.iter().cloned().collect(),
        max_body: usize::try_from(server.max_body).unwrap_or(usize::MAX),
        body_timeout: server.header_timeout,
        max_in_flight: usize::try_from(server.max_calls_per_agent).unwrap_or(usize::MAX),
        max_rate: server.max_rate_per_agent,
        max_rate_in_all: server.max_rate,
        max_sessions: usize::try_from(server.max_sessions).unwrap_or(usize::MAX),
        session_idle: server.session_idle,
    }
}

/// What connectors report: on record where it is about a person's decision or a child's end; and a drifted tool is taken out.
fn on_event(
    worlds: Arc<LiveWorlds>,
    recorder: Arc<Recorder>,
    clock: Arc<dyn Clock>,
    notices: Arc<Notices>,
) -> impl Fn(ConnectorEvent) + Send + Sync + 'static {
    move |event| match &event {
        ConnectorEvent::Drifted { connector, tool, found } => {
            drifted(connector, &[(tool.clone(), *found)], &worlds, &recorder, clock.as_ref());
        }
        ConnectorEvent::Ended { connector, pid, why, wanted: false, status, .. } => {
            tracing::warn!(%connector, pid, why, status, "a connector's server ended");
        }
        ConnectorEvent::Listed { connector, digests, rejected, .. } => {
            if !rejected.is_empty() {
                pinning::warn_of(connector, rejected);
            }
            // Whoever reads a list sees every tool: one that is not called now is taken out as well. One that is missing may
            // only not be ready, and can't be called anyway.
            let others = digests
                .iter()
                .filter_map(|(name, digest)| Some((name.parse::<ToolName>().ok()?, Some(*digest))))
                .collect::<Vec<_>>();
            drifted(connector, &others, &worlds, &recorder, clock.as_ref());
        }
        ConnectorEvent::ListChanged { connector, grant, list } => notices.list_changed(connector, grant.as_ref(), list),
        _ => tracing::debug!(?event, "connector"),
    }
}

/// Takes tools out that are not what was accepted, and puts that on record once.
fn drifted(
    connector: &ConnectorId,
    found: &[(ToolName, Option<Digest>)],
    worlds: &LiveWorlds,
    recorder: &Recorder,
    clock: &dyn Clock,
) {
    for (tool, found) in worlds.drift(connector, found) {
        tracing::warn!(%connector, %tool, "a tool differs from its pin and is not callable until it is accepted again");
        let record = json!({"event": "drifted", "connector": connector, "tool": tool, "found": found});
        if let Err(lost) = recorder.trail().append(Stream::Admin, clock.now_ms(), &record) {
            tracing::error!(%lost, "a drift could not be put on record");
        }
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

#[cfg(test)]
mod tests;
