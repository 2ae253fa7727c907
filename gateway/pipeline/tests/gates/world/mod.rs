//! A gateway over ports in memory, with real policies and real validators, and what to assert about every call.

pub mod approvals;
pub mod catalogue;
pub mod fakes;
mod heard;
mod herald;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    Gateway, Received, Rounds, Settings, Tasks,
    aside::Wants,
    detect::Detections,
    gates::RawReply,
    grant::{Capability, Grant, LiveGrant, Standing, ToolPattern},
    halts::Halts,
    ports::{Access, Injection, Lease, LeaseTerms, Listing, Loan, Material, Ports},
    principal::{Agent, AuthMethod, Credential, Presented, Principal},
    received::{Message, MessageFault, Origin, Protocol, TaskVerb, Transport},
};
use bailiwick_policy::Band;
use bailiwick_schemas::{json::Limits, names::Feature};
use bytes::Bytes;
use secrecy::SecretString;

pub use self::{
    fakes::{Fakes, START_MS},
    heard::{Heard, Told},
    herald::Recorded,
};

/// What a tool answers unless a test says otherwise.
pub const PLAIN: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;

/// The secret that connector `vault` is lent.
pub const SECRET: &str = "CANARY/Ab3+\"x\"-9f";

/// One agent `bot` with one grant `g` of every tool up to band `high`, under the rules of [`catalogue`].
pub struct Bench {
    pub fakes: Arc<Fakes>,
    pub settings: Settings,
    pub rounds: Arc<Rounds>,
    pub tasks: Arc<Tasks>,
    pub halts: Arc<Halts>,
    pub detections: Arc<Detections>,
    calls: Arc<AtomicU64>,
}

/// How a request comes in.
#[derive(Clone)]
pub struct Asking {
    pub cursor: Option<String>,
    pub grant: Option<String>,
    pub mirrored: Option<Vec<(String, String)>>,
    pub capabilities: Vec<(Feature, String)>,
    pub takes_tasks: bool,
    pub wants: Wants,
    pub meta: &'static str,
    pub protocol: Protocol,
}

impl Asking {
    /// Names no grant, has no headers.
    pub fn plain() -> Self {
        Self {
            cursor: None,
            grant: None,
            mirrored: None,
            capabilities: Vec::new(),
            takes_tasks: false,
            wants: Wants::default(),
            meta: "",
            protocol: Protocol::V20260728,
        }
    }

    /// Wants to hear of progress under this token, and log messages from this level on.
    pub fn wanting(progress: Option<&str>, level: Option<bailiwick_pipeline::aside::LogLevel>) -> Self {
        Self { wants: Wants { progress: progress.map(Into::into), level }, ..Self::plain() }
    }
}

pub fn bot() -> Principal {
    let agent = Agent { id: "bot".parse().unwrap(), owner: "owner@example.com".to_owned(), ceiling: Band::High, disabled: false };
    Principal { agent: Arc::new(agent), instance: Some("pod-1".to_owned()), method: AuthMethod::AgentToken, grant: None }
}

/// Terms of a grant of agent `bot` for these tool patterns.
pub fn terms(id: &str, patterns: &[&str]) -> Grant {
    Grant {
        owner: "owner@example.com".to_owned(),
        purpose: "test".to_owned(),
        ceiling: Band::High,
        environment: "production".to_owned(),
        ..Grant::bare(
            id.parse().unwrap(),
            "bot".parse().unwrap(),
            patterns.iter().map(|pattern| capability(pattern)).collect(),
            START_MS - 1_000..START_MS + 3_600_000,
        )
    }
}

pub fn capability(pattern: &str) -> Capability {
    Capability { tools: pattern.parse::<ToolPattern>().unwrap(), kinds: None, args: [].into() }
}

pub const ALL: [&str; 3] = ["tickets__*", "vault__*", "files__*"];

pub fn alive(terms: Grant, parent: Option<&Arc<LiveGrant>>) -> Arc<LiveGrant> {
    Arc::new(LiveGrant::new(terms, Standing::fresh(), parent.cloned()))
}

fn origin(asking: Asking) -> Origin {
    Origin {
        transport: Transport::Http,
        protocol: asking.protocol,
        presented: Presented { credential: Credential::Absent, grant: asking.grant },
        links: Vec::new(),
        capabilities: asking.capabilities,
        takes_tasks: asking.takes_tasks,
        mirrored: asking.mirrored,
        wants: asking.wants,
        meta: Bytes::from_static(asking.meta.as_bytes()),
        reason: None,
    }
}

impl Bench {
    pub fn new() -> Self {
        let fakes = Fakes::new(Arc::new(catalogue::world(1, &catalogue::rules())), bot());
        fakes.grants.lock().unwrap().push(alive(terms("g", &ALL), None));
        let settings = Settings { hold: Duration::ZERO, ..Settings::default() };
        let bench = Self {
            fakes,
            settings,
            rounds: Arc::default(),
            tasks: Arc::default(),
            halts: Arc::default(),
            detections: Arc::default(),
            calls: Arc::default(),
        };
        bench.lends(SECRET);
        bench
    }

    /// In a world that was made before, with these grants.
    pub fn over(world: Arc<bailiwick_pipeline::catalogue::World>, grants: Vec<Arc<LiveGrant>>) -> Self {
        let fakes = Fakes::new(world, bot());
        *fakes.grants.lock().unwrap() = grants;
        let settings = Settings { hold: Duration::ZERO, ..Settings::default() };
        Self {
            fakes,
            settings,
            rounds: Arc::default(),
            tasks: Arc::default(),
            halts: Arc::default(),
            calls: Arc::default(),
            detections: Arc::default(),
        }
    }

    /// What connector `vault` is lent.
    pub fn lends(&self, secret: &str) {
        *self.fakes.loan.lock().unwrap() = Ok(Some(Loan { lease: Self::lease("lease-1", secret), fresh: true }));
    }

    /// With this lent to the same task for this connector too.
    pub fn has_lent(&self, connector: &str, secret: &str) {
        self.fakes.others.lock().unwrap().push((connector.parse().unwrap(), Self::lease("lease-2", secret)));
    }

    fn lease(id: &str, secret: &str) -> Arc<Lease> {
        let lease = LeaseTerms {
            id: id.to_owned(),
            provider: "file",
            reference: "vault-token".to_owned(),
            injection: Injection::env("TOKEN"),
            expires_at_ms: START_MS + 60_000,
            access: Access::Write,
        };
        Arc::new(Lease::new(lease, Material::of(SecretString::from(secret))).unwrap())
    }

    /// With these grants instead of `g`.
    pub fn with(grants: impl IntoIterator<Item = Grant>) -> Self {
        let bench = Self::new();
        *bench.fakes.grants.lock().unwrap() = grants.into_iter().map(|terms| alive(terms, None)).collect();
        bench
    }

    /// The first grant.
    pub fn grant(&self) -> Arc<LiveGrant> {
        Arc::clone(&self.fakes.grants.lock().unwrap()[0])
    }

    pub fn principal(&self, change: impl FnOnce(&mut Principal)) {
        let mut principal = bot();
        change(&mut principal);
        *self.fakes.principal.lock().unwrap() = Ok(principal);
    }

    pub fn agent(&self, change: impl FnOnce(&mut Agent)) {
        self.principal(|principal| change(Arc::make_mut(&mut principal.agent)));
    }

    /// What the tool answers from now on.
    pub fn replies(&self, text: &'static str) {
        *self.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::result(Bytes::from_static(text.as_bytes()))));
    }

    pub fn gateway(&self) -> Gateway {
        let fakes = || Arc::clone(&self.fakes);
        let ports = Ports {
            clock: fakes(),
            identities: fakes(),
            grants: fakes(),
            worlds: fakes(),
            approvals: fakes(),
            credentials: fakes(),
            connectors: fakes(),
            trail: fakes(),
            tracer: fakes(),
            rounds: Arc::clone(&self.rounds),
            tasks: Arc::clone(&self.tasks),
            halts: Arc::clone(&self.halts),
            detections: Arc::clone(&self.detections),
            endings: fakes(),
            requests: fakes(),
        };
        Gateway::new(ports, self.settings.clone())
    }

    /// A request for `tool`, received.
    pub fn received(&self, tool: Option<(&str, &str)>, asking: Asking) -> Received {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let (method, params) = match tool {
            Some((name, arguments)) => {
                ("tools/call", format!(r#"{{"name":{},"arguments":{arguments}}}"#, serde_json::json!(name)))
            }
            None => (
                "tools/list",
                asking
                    .cursor
                    .as_ref()
                    .map_or_else(|| "{}".to_owned(), |cursor| serde_json::json!({"cursor": cursor}).to_string()),
            ),
        };
        let text = format!(r#"{{"jsonrpc":"2.0","id":"id-{number}","method":"{method}","params":{params}}}"#);
        let message = Message::read(&Bytes::from(text), Limits::MESSAGE).unwrap();
        let (call, origin, arrived) = (format!("call-{number}").parse().unwrap(), origin(asking), START_MS * 1_000_000);
        let received = if tool.is_some() {
            Received::call(call, &message, origin, arrived)
        } else {
            Received::list(call, &message, origin, arrived)
        };
        received.unwrap()
    }

    /// A request for an item or a list of a feature, received.
    pub fn asked(&self, method: &str, params: &str, asking: Asking) -> Received {
        self.try_asked(method, params, asking).unwrap()
    }

    /// The same, where it may be none.
    pub fn try_asked(&self, method: &str, params: &str, asking: Asking) -> Result<Received, MessageFault> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!(r#"{{"jsonrpc":"2.0","id":"id-{number}","method":"{method}","params":{params}}}"#);
        let message = Message::read(&Bytes::from(text), Limits::MESSAGE).unwrap();
        let (call, origin, arrived) = (format!("call-{number}").parse().unwrap(), origin(asking), START_MS * 1_000_000);
        match method {
            "tools/call" => Received::call(call, &message, origin, arrived),
            "resources/list" => Received::offers(call, Listing::Resources, &message, origin, arrived),
            "resources/templates/list" => Received::offers(call, Listing::Templates, &message, origin, arrived),
            "prompts/list" => Received::offers(call, Listing::Prompts, &message, origin, arrived),
            "tasks/get" => Received::task(call, TaskVerb::Get, &message, origin, arrived),
            "tasks/update" => Received::task(call, TaskVerb::Update, &message, origin, arrived),
            "tasks/cancel" => Received::task(call, TaskVerb::Cancel, &message, origin, arrived),
            _ => Received::item(call, &message, origin, arrived),
        }
    }

    /// The wish of an agent of an older version to hear when this resource changes.
    pub fn watching(&self, uri: &str, asking: Asking) -> Received {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!(r#"{{"jsonrpc":"2.0","id":"id-{number}","method":"resources/subscribe"}}"#);
        let message = Message::read(&Bytes::from(text), Limits::MESSAGE).unwrap();
        let call = format!("call-{number}").parse().unwrap();
        let origin = Origin { protocol: Protocol::V20251125, ..origin(asking) };
        Received::watch(call, &message, uri.to_owned(), origin, START_MS * 1_000_000).unwrap()
    }

    pub async fn call(&self, tool: &str, arguments: &str) -> Heard {
        self.call_as(tool, arguments, Asking::plain()).await
    }

    /// A call that names its grant.
    pub async fn call_under(&self, grant: &str, tool: &str) -> Heard {
        self.call_as(tool, "{}", Asking { grant: Some(grant.to_owned()), ..Asking::plain() }).await
    }

    pub async fn call_as(&self, tool: &str, arguments: &str, asking: Asking) -> Heard {
        self.handle(self.received(Some((tool, arguments)), asking)).await
    }

    pub async fn list(&self) -> Heard {
        self.handle(self.received(None, Asking::plain())).await
    }

    /// The page of the list that this cursor leads to.
    pub async fn list_from(&self, cursor: Option<&str>) -> Heard {
        self.handle(self.received(None, Asking { cursor: cursor.map(str::to_owned), ..Asking::plain() })).await
    }

    /// The same under a grant that it names.
    pub async fn list_under(&self, grant: &str, cursor: Option<&str>) -> Heard {
        let asking = Asking { grant: Some(grant.to_owned()), cursor: cursor.map(str::to_owned), ..Asking::plain() };
        self.handle(self.received(None, asking)).await
    }

    pub async fn handle(&self, received: Received) -> Heard {
        let answer = self.gateway().handle(&received).await;
        Heard::new(received.call_id().to_string(), answer, Arc::clone(&self.fakes))
    }

    /// The same, and what the herald is told on the way.
    pub async fn handle_telling(&self, received: Received, herald: &Recorded) -> Heard {
        let answer = self.gateway().handle_telling(&received, herald).await;
        Heard::new(received.call_id().to_string(), answer, Arc::clone(&self.fakes))
    }

    /// The same, as agents are handled that take tasks.
    pub async fn handle_or_defer(&self, received: Received) -> Heard {
        let call = received.call_id().to_string();
        let answer = self.gateway().handle_or_defer(received).await.answer;
        Heard::new(call, answer, Arc::clone(&self.fakes))
    }

    /// A call in a task of its own.
    pub fn spawn(&self, tool: &'static str, arguments: &'static str) -> tokio::task::JoinHandle<Heard> {
        self.spawn_received(self.received(Some((tool, arguments)), Asking::plain()))
    }

    pub fn spawn_received(&self, received: Received) -> tokio::task::JoinHandle<Heard> {
        let (gateway, fakes) = (self.gateway(), Arc::clone(&self.fakes));
        tokio::spawn(async move {
            let answer = gateway.handle(&received).await;
            Heard::new(received.call_id().to_string(), answer, fakes)
        })
    }

    /// So many calls at once.
    pub async fn crowd(&self, count: usize, tool: &'static str, arguments: &'static str) -> Vec<Heard> {
        let all: Vec<_> = (0..count).map(|_| self.spawn(tool, arguments)).collect();
        let mut heard = Vec::new();
        for one in all {
            heard.push(one.await.unwrap());
        }
        heard
    }
}
