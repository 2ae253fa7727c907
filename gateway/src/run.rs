//! `bailiwick run`: serves until it is told to stop.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, IsTerminal as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use bailiwick_config::Config;
use bailiwick_console::{Console, LinkMaker};
use bailiwick_pipeline::ports::{Clock as _, Worlds as _};
use bailiwick_trail::{Reader, Stream};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    adapters::{SteadyClock, SystemClock},
    admin::{self, credentials::standing_of},
    console,
    data::DataFolder,
    first_looks, oauth, pinning,
    reload::{self, By},
    runtime::{Runtime, Start, StartFault},
    server::{self, Limits, ServerCertificate, Tls},
};

/// What `run` serves.
#[derive(Debug)]
pub struct RunArgs {
    /// The configuration, checked.
    pub config: Config,
    /// Its file; none for the embedded demo.
    pub file: Option<PathBuf>,
    /// Whether it is the embedded demo.
    pub is_demo: bool,
    /// The data folder.
    pub data: PathBuf,
    /// This binary.
    pub own_binary: PathBuf,
    /// The environment it was started with.
    pub environment: BTreeMap<String, String>,
}

/// Serves until SIGINT or SIGTERM. What a person reads goes to standard error.
pub async fn run(args: RunArgs) -> Result<(), StartFault> {
    let data = DataFolder::open(&args.data)?;
    let command = command_of(&args);
    let clock = Arc::new(SteadyClock::not_before(believable(latest_on_record(&data))?));
    let start = Start {
        config: args.config,
        file: args.file,
        data,
        clock,
        is_demo: args.is_demo,
        own_binary: args.own_binary.clone(),
        environment: args.environment,
    };
    let listening = |what: &str, why| StartFault::Listen { what: what.to_owned(), why };
    // From here on it is no reason to end: whoever wants another configuration may not know that this one isn't served yet.
    let mut hangup = signal(SignalKind::hangup()).map_err(|why| listening("SIGHUP", why))?;
    let runtime = Runtime::start(start).await?;
    let stop = CancellationToken::new();
    let listeners = Listeners::bind(&runtime).await?;
    let console = console::opened(&runtime).await?;
    if let Some(console) = &console {
        console.site().listens_at(listeners.console_at);
    }
    let over_tls = listeners.tls.as_ref().map(|(_, at, _)| format!("https://{at}/mcp"));
    let url = runtime.config().server.public_url(*runtime.agents_at.get_or_init(|| listeners.agents_at));
    // Known only now: tokens and proofs are for this address.
    runtime.issuers.set_resource(&url);
    let console_at = *runtime.console_at.get_or_init(|| listeners.console_at);
    runtime.tell().await?;
    let servers = listeners.serve(&runtime, console.as_ref(), &stop)?;
    let entrance = entrance(console.as_deref(), &command).await;
    eprintln!("{}", banner(&runtime, (&url, over_tls.as_deref()), (console_at, &entrance), args.is_demo, &args.own_binary));
    let ticker = tokio::spawn(tick(Arc::clone(&runtime), stop.clone()));
    let watcher = tokio::spawn(reload::watch(Arc::clone(&runtime), stop.clone()));
    let looking = tokio::spawn(first_looks::look_again(Arc::clone(&runtime), stop.clone()));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|why| listening("SIGINT", why))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|why| listening("SIGTERM", why))?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => {
                let runtime = Arc::clone(&runtime);
                // What comes of it is told there. On a task of its own: whoever wants the end is heard meanwhile.
                tokio::spawn(async move { runtime.reload(By::Signal).await.map(drop) });
            }
        }
    }
    eprintln!("stopping: calls in flight have 5 s to end");
    // It is the gateway that goes away now, and not who waits: what was asked stays asked.
    runtime.approvals.keep_all();
    stop.cancel();
    runtime.front.end_streams();
    for server in servers {
        let _joined = server.await;
    }
    let _joined = ticker.await;
    let _joined = watcher.await;
    let _joined = looking.await;
    runtime.stop().await;
    for socket in [runtime.data.admin_socket(), runtime.data.agent_socket()] {
        let _gone = fs::remove_file(socket);
    }
    Ok(())
}

/// How far the record may be ahead of the system's clock, milliseconds, before one of the two must be wrong.
pub(crate) const AHEAD_MS: u64 = 5 * 60 * 1000;

/// A record from the future means that a clock is or was wrong: nobody can say then what has ended, so nothing is served.
fn believable(latest_ms: u64) -> Result<u64, StartFault> {
    let ahead_ms = latest_ms.saturating_sub(SystemClock.now_ms());
    if ahead_ms > AHEAD_MS { Err(StartFault::Clock { ahead_s: ahead_ms / 1000 }) } else { Ok(latest_ms) }
}

/// The time of the last record, unix milliseconds: time has come at least that far. 0 where there is none that can be read; what
/// is wrong with the trail is told when it is opened.
pub(crate) fn latest_on_record(data: &DataFolder) -> u64 {
    let Ok(reader) = Reader::open(&data.trail()) else { return 0 };
    let last = |stream| reader.records(stream, bailiwick_trail::Start::Last(1)).ok()?.next()?.ok();
    Stream::ALL.into_iter().filter_map(last).map(|record| record.unix_ms).max().unwrap_or(0)
}

async fn tick(runtime: Arc<Runtime>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Err(fault) = runtime.tick().await {
            tracing::error!(%fault, "the store can't be written: approvals and grants can't be changed until it is mended");
        }
    }
}

struct Listeners {
    agents: TcpListener,
    agents_at: SocketAddr,
    console: TcpListener,
    console_at: SocketAddr,
    /// With TLS: and the certificate that it shows.
    tls: Option<(TcpListener, SocketAddr, Arc<ServerCertificate>)>,
    agent_socket: UnixListener,
    admin_socket: UnixListener,
}

impl Listeners {
    async fn bind(runtime: &Runtime) -> Result<Self, StartFault> {
        let server = &runtime.config().server;
        let (agents, agents_at) = tcp(server.listen).await?;
        let (console, console_at) = tcp(server.console).await?;
        let tls = match server.tls.clone() {
            None => None,
            Some(settings) => {
                let (listener, at) = tcp(settings.listen).await?;
                let read = tokio::task::spawn_blocking(move || ServerCertificate::read(&settings)).await;
                let certificate = read.unwrap_or_else(|_| Err("its files can't be read".to_owned())).map_err(StartFault::Tls)?;
                Some((listener, at, Arc::new(certificate)))
            }
        };
        Ok(Self {
            agents,
            agents_at,
            console,
            console_at,
            tls,
            agent_socket: unix(&runtime.data.agent_socket())?,
            admin_socket: unix(&runtime.data.admin_socket())?,
        })
    }

    fn serve(
        self,
        runtime: &Arc<Runtime>,
        console: Option<&Arc<Console>>,
        stop: &CancellationToken,
    ) -> Result<Vec<JoinHandle<()>>, StartFault> {
        let server = &runtime.config().server;
        let connections = usize::try_from(server.max_connections).unwrap_or(usize::MAX);
        let limits = Limits { connections, headers: server.header_timeout, unread: server.idle_timeout };
        let few = Limits { connections: 64, ..limits };
        // Each page that is open listens for news.
        // Nobody types the head of a request: who is slow at it only takes a place.
        let people = Limits { connections: 1024, headers: server.header_timeout.min(Duration::from_secs(5)), ..limits };
        let health = health(Arc::clone(runtime));
        let site = console.map_or(health.clone(), |console| console::site(runtime, console, health));
        runtime.front.also_at(self.agents_at);
        let agents = oauth::Site::new(runtime);
        let mut servers = Vec::new();
        if let (Some((listener, at, certificate)), Some(settings)) = (self.tls, &server.tls) {
            runtime.front.also_at_tls(at);
            let (trust, clock) = (Arc::clone(runtime.bundles.trust()), Arc::clone(&runtime.clock));
            let handshakes = Arc::clone(&runtime.handshakes);
            let tls = Tls::new(Arc::clone(&certificate), trust, settings.client_auth, clock, handshakes);
            let tls = Arc::new(tls.map_err(|fault| StartFault::Tls(fault.to_string()))?);
            servers.push(tokio::spawn(server::serve_tls(listener, agents.clone(), tls, limits, stop.clone())));
            servers.push(tokio::spawn(certificate.watch(stop.clone())));
        }
        servers.extend([
            tokio::spawn(server::serve_tcp(self.agents, agents.clone(), limits, stop.clone())),
            tokio::spawn(server::serve_tcp(self.console, site, people, stop.clone())),
            tokio::spawn(server::serve_unix(self.agent_socket, agents, limits, stop.clone())),
            tokio::spawn(server::serve_unix(self.admin_socket, admin::router(Arc::clone(runtime)), few, stop.clone())),
        ]);
        Ok(servers)
    }
}

/// A listener, and the address it got.
async fn tcp(at: SocketAddr) -> Result<(TcpListener, SocketAddr), StartFault> {
    let fault = |why| StartFault::Listen { what: at.to_string(), why };
    let listener = TcpListener::bind(at).await.map_err(fault)?;
    let got = listener.local_addr().map_err(fault)?;
    Ok((listener, got))
}

/// A socket for this user alone. One that a dead gateway left behind is replaced: the store's lock says that it is dead.
fn unix(at: &Path) -> Result<UnixListener, StartFault> {
    let fault = |why: io::Error| StartFault::Listen { what: at.display().to_string(), why };
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let listener = UnixListener::bind(at).map_err(fault)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(listener)
}

/// What observability stacks ask for. Counters and digests only: nothing here names an agent, a task or an argument.
pub(crate) fn health(runtime: Arc<Runtime>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(runtime)
}

async fn ready(State(runtime): State<Arc<Runtime>>) -> (StatusCode, &'static str) {
    if runtime.recorder.trail().is_lost() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the trail can't be written\n");
    }
    match runtime.store.lost() {
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store can't be written\n"),
        None => (StatusCode::OK, "ready\n"),
    }
}

async fn metrics(State(runtime): State<Arc<Runtime>>) -> String {
    let mut text = String::new();
    let mut counter = |name: &str, help: &str, rows: &[(&str, u64)]| {
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (labels, value) in rows {
            let _infallible = writeln!(text, "{name}{labels} {value}");
        }
    };
    let spans = runtime.exporter.as_ref().map(bailiwick_telemetry::Exporter::counts);
    let spans = |pick: fn(bailiwick_telemetry::Counts) -> u64| spans.map_or(0, pick);
    counter(
        "bailiwick_telemetry_items_total",
        "Spans handed to the exporter, by what became of them.",
        &[
            ("{bailiwick_outcome=\"exported\"}", spans(|counts| counts.exported)),
            ("{bailiwick_outcome=\"dropped\"}", spans(|counts| counts.dropped)),
            ("{bailiwick_outcome=\"failed\"}", spans(|counts| counts.failed)),
        ],
    );
    let trail = runtime.recorder.trail();
    counter(
        "bailiwick_audit_records_total",
        "Records in the trail, by stream.",
        &[
            ("{bailiwick_audit_stream=\"calls\"}", trail.last_seq(Stream::Calls)),
            ("{bailiwick_audit_stream=\"decisions\"}", trail.last_seq(Stream::Decisions)),
            ("{bailiwick_audit_stream=\"secrets\"}", trail.last_seq(Stream::Secrets)),
            ("{bailiwick_audit_stream=\"admin\"}", trail.last_seq(Stream::Admin)),
            ("{bailiwick_audit_stream=\"detections\"}", trail.last_seq(Stream::Detections)),
        ],
    );
    counter(
        "bailiwick_strangers_unrecorded_total",
        "Refusals of unauthenticated requests beyond their quota in the trail.",
        &[("", runtime.recorder.strangers_unrecorded())],
    );
    counter(
        "bailiwick_tls_handshakes_failed_total",
        "TLS handshakes with agents that came to nothing, by why.",
        &[
            ("{bailiwick_outcome=\"refused\"}", runtime.handshakes.refused()),
            ("{bailiwick_outcome=\"timed_out\"}", runtime.handshakes.timed_out()),
        ],
    );
    let detections = runtime.gateway.ports().detections.rules();
    let fired: Vec<(String, u64)> = detections
        .iter()
        .map(|rule| {
            let labels = format!("{{bailiwick_detection_rule=\"{}\",bailiwick_detection_action=\"{}\"}}", rule.name, rule.act);
            (labels, rule.fired())
        })
        .collect();
    let fired: Vec<(&str, u64)> = fired.iter().map(|(labels, count)| (labels.as_str(), *count)).collect();
    counter("bailiwick_detections_total", "Calls on which a detection fired, by its name and what follows.", &fired);
    let told = runtime.approvals.tally();
    counter(
        "bailiwick_approvals_total",
        "Approvals since the start, by what became of them.",
        &[
            ("{bailiwick_outcome=\"requested\"}", told.requested),
            ("{bailiwick_outcome=\"approved\"}", told.approved),
            ("{bailiwick_outcome=\"denied\"}", told.denied),
            ("{bailiwick_outcome=\"unanswered\"}", told.unanswered),
        ],
    );
    counter(
        "bailiwick_approval_decision_seconds_total",
        "How long people took to decide, all decisions together, in whole seconds.",
        &[("", told.decided_ms / 1000)],
    );
    counter("bailiwick_approvals_quick_total", "Approvals within three seconds of being asked.", &[("", told.quick)]);
    count_policy(&runtime, &mut counter);
    let reloads = runtime.reloads();
    counter(
        "bailiwick_config_reloads_total",
        "Attempts to take another configuration, by what became of them.",
        &[("{bailiwick_outcome=\"applied\"}", reloads.applied), ("{bailiwick_outcome=\"refused\"}", reloads.refused)],
    );
    let is_successful = reloads.last.as_ref().is_none_or(|last| last.why.is_empty());
    let digest = format!("{{digest=\"{}\",policy=\"{}\"}}", reloads.digest, runtime.worlds.now().policy_digest);
    let mut gauge = |name: &str, help: &str, labels: &str, value: u64| {
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}");
    };
    let help = "Whether the last attempt to take another configuration was successful.";
    let never = runtime.recorder.overlisted().never_let_go();
    let of_never = "Listed tools of which policy refused every call since the first that it refused.";
    gauge("bailiwick_policy_overlisted_tools", of_never, "", never);
    gauge("bailiwick_config_last_reload_successful", help, "", u64::from(is_successful));
    gauge("bailiwick_config_epoch", "Counts the configurations in force since the start.", "", reloads.epoch);
    gauge("bailiwick_config_info", "The digests of the configuration in force and of its policies.", &digest, 1);
    text.push_str(&crate::lending::metrics(&runtime));
    text
}

/// What policies that are only watched would have decided otherwise, and what was listed and refused.
fn count_policy(runtime: &Runtime, counter: &mut impl FnMut(&str, &str, &[(&str, u64)])) {
    let differences: Vec<(String, u64)> = runtime
        .recorder
        .shadow_differences()
        .into_iter()
        .map(|(differs, count)| {
            let labels = format!("{{policy=\"{}\",from=\"{}\",to=\"{}\"}}", differs.policy, differs.from, differs.to);
            (labels, count)
        })
        .collect();
    let rows: Vec<(&str, u64)> = differences.iter().map(|(labels, count)| (labels.as_str(), *count)).collect();
    counter("bailiwick_policy_shadow_diff_total", "Calls that policies in shadow would have decided otherwise.", &rows);
    let overlisted = runtime.recorder.overlisted();
    let refused: Vec<_> = overlisted.refused().into_iter().map(|(tool, count)| (format!("{{tool=\"{tool}\"}}"), count)).collect();
    let rows: Vec<(&str, u64)> = refused.iter().map(|(labels, count)| (labels.as_str(), *count)).collect();
    counter("bailiwick_policy_overlisted_total", "Calls of listed tools that policy refused, by tool.", &rows);
}

/// How people get in. A link is good for whoever reads it, so where nobody sits at the screen none is written: it would stay in a log.
async fn entrance(console: Option<&Console>, command: &str) -> String {
    let Some(console) = console else { return "off (`enabled` in `[console]`)".to_owned() };
    let people = console.people();
    let origin = console.site().origin();
    match people.as_slice() {
        [only] if !console.has_passkeys() && io::stderr().is_terminal() => match console.link(only, at_start()).await {
            Ok(link) => format!("{link}   (as {only}, once, within 10 minutes; `{command} console` makes another)"),
            Err(refused) => format!("{origin}   (no link could be made: {})", refused.message()),
        },
        _ => format!("{origin}   (`{command} console` prints a link that lets somebody in)"),
    }
}

/// Who makes the link that is written at the start: whoever runs the gateway.
fn at_start() -> LinkMaker<'static> {
    LinkMaker { name: "start", uid: rustix::process::geteuid().as_raw() }
}

fn command_of(args: &RunArgs) -> String {
    if args.is_demo { format!("{} --data {}", args.own_binary.display(), args.data.display()) } else { "bailiwick".to_owned() }
}

/// What is served, and what to type next.
fn banner(
    runtime: &Runtime,
    (url, over_tls): (&str, Option<&str>),
    (console_at, entrance): (SocketAddr, &str),
    is_demo: bool,
    own: &Path,
) -> String {
    let world = runtime.worlds.now();
    let tools = |connector: &str| world.shelves.get(connector).map_or(0, |shelf| shelf.tools().count());
    let mut text = format!(
        "bailiwick {}   config: {}   data: {}\n",
        env!("CARGO_PKG_VERSION"),
        if is_demo { "embedded demo (no ./config.toml)" } else { "as given" },
        runtime.data.path().display()
    );
    let config = runtime.config();
    let connectors: Vec<String> =
        config.connectors.iter().map(|connector| format!("{} {} tools", connector.id, tools(connector.id.as_str()))).collect();
    let _infallible = writeln!(text, "connectors  {}   ({} tools callable)", connectors.join("   "), world.count());
    for connector in config.connectors.iter().filter(|connector| tools(connector.id.as_str()) == 0) {
        let _infallible = writeln!(text, "            {}", pinning::without_tools(connector));
    }
    for grant in &config.grants {
        let covered = world
            .tools()
            .filter(|tool| grant.capabilities.iter().any(|capability| capability.covers(&tool.name, tool.kind)))
            .count();
        let _infallible =
            writeln!(text, "grants      {} for agent {}: {covered} of {} tools", grant.id, grant.agent, world.count());
    }
    let standing: Vec<String> = standing_of(runtime).into_iter().map(|one| one.id).collect();
    if !standing.is_empty() {
        let _infallible =
            writeln!(text, "credentials {} standing, which live on when tasks are over: {}", standing.len(), standing.join(" "));
    }
    let _infallible = writeln!(text, "agents      MCP at {url}   (2025-06-18, 2025-11-25, 2026-07-28)");
    if let Some(url) = over_tls {
        let _infallible = writeln!(text, "            MCP over TLS, by X.509-SVID, at {url}");
    }
    let sockets = (runtime.data.agent_socket(), runtime.data.admin_socket());
    let _infallible = writeln!(text, "            agent socket {}   admin socket {}", sockets.0.display(), sockets.1.display());
    let _infallible = writeln!(text, "console     {entrance}");
    let _infallible = writeln!(
        text,
        "health      http://{console_at}/metrics   traces: {}",
        if runtime.exporter.is_some() { "OTLP" } else { "off (set OTEL_EXPORTER_OTLP_ENDPOINT)" }
    );
    if config.approvals.allow_same_user {
        text.push_str(
            "note        approvals.allow_same_user is on: whoever runs the agent may approve its calls. Fit for one person trying this\n            \
             out; elsewhere turn it off and run agents as users of their own.\n",
        );
    }
    if is_demo {
        text.push_str(&tour(own, runtime.data.path()));
    }
    text
}

/// Commands to type in another terminal, as they are.
fn tour(own: &Path, data: &Path) -> String {
    let command = format!("{} --data {}", own.display(), data.display());
    format!(
        "\nnext, in another terminal:\n  \
         {command} call --list                                           # the agent sees 3 of 30 tools\n  \
         {command} call tickets__get id=T-17                             # and may call them\n  \
         {command} call files__delete path=/readme.txt                   # not granted: it does not exist\n  \
         {command} call tickets__search project=finance text=invoice     # outside the grant's bounds\n  \
         {command} explain --last                                        # why, for you\n  \
         {command} call tickets__refund id=T-17 amount_cents=4900        # held: a person must approve\n  \
         {command} approvals list                                        # (in a third terminal, within 45 s)\n  \
         {command} approvals approve CODE                                # and the held call goes on\n  \
         {command} call tickets__refund id=T-17 amount_cents=490000      # another amount asks again\n  \
         {command} audit tail\n  \
         {command} audit verify\n"
    )
}
