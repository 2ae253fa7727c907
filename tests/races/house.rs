//! A gateway to race in: the embedded demo, with barriers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick::{
    adapters::SystemClock,
    data::DataFolder,
    runtime::{Runtime, Start},
};
use bailiwick_pipeline::{
    Gateway, Herald, Received, Settings,
    aside::{Aside, LogLevel, Wants},
    grant::{Capability, Grant, LiveGrant},
    ids::CallId,
    principal::{Credential, Presented},
    received::{Message, Origin, Protocol, Transport},
    records::Outcome,
};
use bailiwick_policy::Band;
use bailiwick_schemas::json::Limits;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::barriers::{Logged, PLAN, Plan, barred};

/// The instance that all calls are of.
pub const INSTANCE: &str = "pid-4711";

pub struct House {
    _folder: tempfile::TempDir,
    pub runtime: Arc<Runtime>,
    pub log: Arc<Logged>,
    gateway: Gateway,
    made: AtomicU64,
}

/// What came of a call, and when.
#[derive(Debug)]
pub struct Heard {
    pub outcome: Outcome,
    pub at: Instant,
}

/// Tells the agent, and notes when.
struct Teller(Arc<Logged>);

impl Herald for Teller {
    fn tell(&self, _: Aside) -> bool {
        self.0.forwarded(Instant::now());
        true
    }
}

impl House {
    pub async fn open() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let start = Start {
            config: bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap(),
            file: None,
            data: DataFolder::open(&folder.path().join("data")).unwrap(),
            clock: Arc::new(SystemClock),
            is_demo: true,
            own_binary: env!("CARGO_BIN_EXE_bailiwick").into(),
            environment: BTreeMap::new(),
        };
        let runtime = Runtime::start(start).await.unwrap();
        // As many questions as there are rounds, and as many denials.
        let settings = runtime.approvals.settings();
        let unbounded = bailiwick_store::Settings { max_asked_per_hour: usize::MAX, max_denied_in_row: u32::MAX, ..settings };
        runtime.approvals.set_settings(unbounded);
        let log = Arc::<Logged>::default();
        let settings = Settings { hold: Duration::from_mins(2), ..Settings::default() };
        let gateway = Gateway::new(barred(runtime.gateway.ports(), &log), settings);
        Arc::new(Self { _folder: folder, runtime, log, gateway, made: AtomicU64::new(0) })
    }

    /// A grant of everything that is called here.
    pub async fn grant(&self) -> Arc<LiveGrant> {
        let now_ms = self.runtime.clock.now_ms();
        let capability = |tools: &str| Capability { tools: tools.parse().unwrap(), kinds: None, args: BTreeMap::new() };
        let terms = Grant {
            owner: "demo@localhost".to_owned(),
            purpose: "to be revoked".to_owned(),
            ceiling: Band::High,
            ..Grant::bare(
                format!("race-{}", self.made.fetch_add(1, Ordering::SeqCst)).parse().unwrap(),
                "demo".parse().unwrap(),
                vec![capability("shop__*"), capability("tickets__*")],
                now_ms..now_ms + 24 * 60 * 60 * 1000,
            )
        };
        self.runtime.grants.create(terms, now_ms).await.unwrap()
    }

    /// A call in a task of its own.
    pub fn call(self: &Arc<Self>, tool: &str, arguments: &str, under: &LiveGrant, plan: Arc<Plan>) -> JoinHandle<Heard> {
        let received = self.received(tool, arguments, under.terms().id.as_str());
        let house = Arc::clone(self);
        tokio::spawn(PLAN.scope(plan, async move {
            let teller = Teller(Arc::clone(&house.log));
            let answer = house.gateway.handle_telling(&received, &teller).await;
            Heard { outcome: answer.outcome, at: Instant::now() }
        }))
    }

    /// Makes void what persons were asked: they may be asked so many things at once and no more.
    pub async fn forget_questions(&self) {
        self.runtime.approvals.invalidate("the round is over", self.runtime.clock.now_ms(), |_| true).await.unwrap();
    }

    fn received(&self, tool: &str, arguments: &str, grant: &str) -> Received {
        let arguments = arguments.replace('#', &(self.made.fetch_add(1, Ordering::SeqCst) + 1).to_string());
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#);
        let message = Message::read(&Bytes::from(text), Limits::MESSAGE).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let credential = Credential::Peer { uid, pid: Some(4711), agent: Some("demo".to_owned()) };
        let origin = Origin {
            transport: Transport::Http,
            protocol: Protocol::V20260728,
            presented: Presented { credential, grant: Some(grant.to_owned()) },
            links: Vec::new(),
            capabilities: Vec::new(),
            takes_tasks: false,
            mirrored: None,
            wants: Wants { progress: None, level: Some(LogLevel::Debug) },
            meta: Bytes::new(),
            reason: None,
        };
        let now_ns = self.runtime.clock.now_ns();
        let mut ten = [0; 10];
        ten.iter_mut().zip(self.runtime.clock.random()).for_each(|(to, from)| *to = from);
        Received::call(CallId::new(now_ns / 1_000_000, ten), &message, origin, now_ns).unwrap()
    }
}
