//! The pipeline's port to downstream servers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    catalogue::Tool,
    grant::LiveGrant,
    ids::GrantId,
    ports::{Channel, ConnectFailure, Connectors, Interest, Later, Lease},
};
use bailiwick_schemas::names::ConnectorId;
use tokio_util::sync::CancellationToken;

use crate::{
    channel::{ToolChannel, Unready},
    child::Purpose,
    pool::{Context, HEARD_WITHIN, Pool, SlotKey, TAKEN_BACK},
    spec::{ConnectorSpec, SpecFault},
    status::{ConnectorEvent, ConnectorStatus},
    version::Era,
};

/// The pools by connector: swapped as a whole.
type Pools = HashMap<ConnectorId, Served>;

/// A pool, as long as it is served.
#[derive(Clone)]
struct Served {
    pool: Arc<Pool>,
    /// Cancelled when the pool is served no more: whoever still has it starts no child that lives.
    retired: CancellationToken,
}

/// What replacing the connectors came to: each id, old or new, is in exactly one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// New ones.
    pub added: Vec<ConnectorId>,
    /// Ones that are reached otherwise now: their children were ended.
    pub changed: Vec<ConnectorId>,
    /// Ones that are no longer there: their children were ended.
    pub removed: Vec<ConnectorId>,
    /// Ones that are as they were, with their children and counters.
    pub kept: Vec<ConnectorId>,
}

/// All connectors: child processes, and servers over HTTP.
pub struct Downstreams {
    pools: Arc<ArcSwap<Pools>>,
    context: Arc<Context>,
    is_swept: AtomicBool,
}

impl Downstreams {
    /// Connectors by these specs; nothing is started yet. `events` is told what happens: it must not block.
    pub fn new(
        specs: Vec<ConnectorSpec>,
        events: impl Fn(ConnectorEvent) + Send + Sync + 'static,
    ) -> Result<Self, Vec<SpecFault>> {
        Self::of(specs, Context::new(events))
    }

    pub(crate) fn of(specs: Vec<ConnectorSpec>, context: Arc<Context>) -> Result<Self, Vec<SpecFault>> {
        let connectors = Self { pools: Arc::default(), context, is_swept: AtomicBool::new(false) };
        connectors.replace(specs)?;
        Ok(connectors)
    }

    /// Puts these specs in the place of those before: all of them, or at any fault none. A connector whose spec is as it was keeps
    /// its children and counters, and so does one that differs in `max_message` alone, which counts from the next message on. One that changed or is gone serves no new call, and its children are ended; calls that wait for
    /// an answer of theirs hear why.
    pub fn replace(&self, specs: Vec<ConnectorSpec>) -> Result<Replaced, Vec<SpecFault>> {
        let mut faults: Vec<SpecFault> = specs.iter().flat_map(ConnectorSpec::faults).collect();
        let before = self.pools.load_full();
        let (mut pools, mut replaced, mut retired) = (Pools::new(), Replaced::default(), Vec::new());
        let mut limits = Vec::new();
        for spec in specs {
            let id = spec.id.clone();
            let (list, served) = match before.get(&id) {
                Some(served) if served.pool.spec.serves(&spec) => {
                    limits.push((Arc::clone(&served.pool), spec.max_message));
                    (&mut replaced.kept, served.clone())
                }
                Some(served) => {
                    retired.push((served.clone(), "its configuration changed"));
                    (&mut replaced.changed, Served::new(spec, &self.context))
                }
                None => (&mut replaced.added, Served::new(spec, &self.context)),
            };
            list.push(id.clone());
            if pools.insert(id.clone(), served).is_some() {
                faults.push(SpecFault::Twice(id));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for (id, served) in before.iter().filter(|(id, _)| !pools.contains_key(*id)) {
            replaced.removed.push(id.clone());
            retired.push((served.clone(), "it is no longer configured"));
        }
        self.pools.store(Arc::new(pools));
        for (pool, max_message) in limits {
            pool.limit(max_message);
        }
        // INVARIANT: swapped first, ended second: a child that is started in between is started for a purpose that is over.
        for (served, why) in retired {
            served.pool.end_all(why);
            served.retired.cancel();
        }
        Ok(replaced)
    }

    /// A number that is another one once the children or sessions of any connector are. Calls alone don't move it.
    pub fn stirred(&self) -> u64 {
        self.pools.load().values().fold(0, |sum, served| sum.wrapping_add(served.pool.stirred()))
    }

    /// How all connectors are, by id.
    pub fn status(&self) -> Vec<ConnectorStatus> {
        let by_id: BTreeMap<_, _> = self.pools.load().iter().map(|(id, served)| (id.clone(), served.pool.status())).collect();
        by_id.into_values().collect()
    }

    /// Ends the children, or sessions, of one connector: the next call starts anew. For when other definitions were accepted, or
    /// another credential is lent.
    pub fn renew(&self, connector: &ConnectorId) {
        if let Some(served) = self.pools.load().get(connector) {
            served.pool.end_all("its tools or its credential are others now");
        }
    }

    /// Ends the children, or sessions, of one connector because a person stopped it. None is started until somebody calls again.
    pub fn halt(&self, connector: &ConnectorId) {
        if let Some(served) = self.pools.load().get(connector) {
            served.pool.end_all("it was halted");
        }
    }

    /// Ends the children, or sessions, that belong to these grants, of every connector. Those that serve everybody stay.
    pub fn halt_grants(&self, is_meant: &dyn Fn(&GrantId) -> bool) {
        for served in self.pools.load().values() {
            served.pool.end_of(is_meant, "it was halted");
        }
    }

    /// Ends the children, or sessions, of this connector that belong to this grant, and with them what is under way there: what they were
    /// lent was taken back. The next call starts anew, with what it is lent then.
    pub fn take_back(&self, connector: &ConnectorId, grant: &GrantId) {
        if let Some(served) = self.pools.load().get(connector) {
            served.pool.end_of(&|of| of == grant, TAKEN_BACK);
        }
    }

    /// Ends all children, with everything they started, and all sessions over HTTP. Returns when they are gone. Nothing is started afterwards.
    pub async fn shutdown(&self) {
        let longest = self.pools.load().values().map(|served| served.pool.spec.kill_after).max().unwrap_or_default();
        self.context.shutdown(longest + Duration::from_secs(3)).await;
    }

    pub(crate) async fn channel(
        &self,
        tool: &Arc<Tool>,
        grant: &Arc<LiveGrant>,
        lease: Option<&Arc<Lease>>,
        asks: Option<&str>,
    ) -> Result<ToolChannel, ConnectFailure> {
        self.sweep_from_now_on();
        let id = &tool.connector.id;
        let served = self.pools.load().get(id).cloned();
        let Served { pool, retired } =
            served.ok_or_else(|| ConnectFailure::Start(format!("connector `{id}` is not configured")))?;
        // Where the configuration changes, the tools and the connectors are not swapped in one step: what is lent for one server is
        // shown to no other.
        if pool.spec.fingerprint != tool.connector.fingerprint {
            return Err(ConnectFailure::Start(format!(
                "connector `{id}` is configured otherwise than when tool `{}` was looked up: call it again",
                tool.name
            )));
        }
        // Cancelled with those of the ancestors.
        let grant_ends = grant.cancelled();
        if grant_ends.is_cancelled() {
            return Err(ConnectFailure::Start("its grant has ended".to_owned()));
        }
        let (key, purpose) = if pool.spec.shared {
            if lease.is_some() {
                return Err(ConnectFailure::Start(format!(
                    "connector `{id}` is shared and can't be lent a credential: remove one of the two"
                )));
            }
            (SlotKey::default(), Purpose { grant: None, ends: vec![retired], lease: None, asks: None })
        } else {
            let terms = grant.terms();
            // Where each request stands alone, each says for itself what may be asked.
            let key = (terms.id.clone(), terms.revision);
            let asks = asks.filter(|_| pool.known_era() != Some(Era::Modern)).and_then(|asks| pool.few(&key, asks.to_owned()));
            let ends = vec![grant_ends.clone(), retired];
            let purpose = Purpose { grant: Some(terms.id.clone()), ends, lease: lease.cloned(), asks: asks.clone() };
            (SlotKey { grant: Some(key), asks }, purpose)
        };
        let session = pool.session(&key, &purpose).await?;
        match ToolChannel::open(&pool, session, tool).await {
            // The server forgot the session, and nothing but the list was asked of it: a new one is begun.
            Err(Unready::Expired(_)) => {
                let session = pool.session(&key, &purpose).await?;
                Ok(ToolChannel::open(&pool, session, tool).await?)
            }
            other => Ok(other?),
        }
    }

    fn sweep_from_now_on(&self) {
        if self.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let idle = self.pools.load().values().map(|served| served.pool.spec.idle_after).min().unwrap_or(Duration::from_secs(10));
        let every = (idle / 4).clamp(Duration::from_millis(20), Duration::from_secs(10));
        let (pools, root) = (Arc::downgrade(&self.pools), self.context.root.clone());
        self.context.tracker.spawn(async move {
            root.run_until_cancelled(sweep(pools, every)).await;
        });
    }
}

async fn sweep(pools: Weak<ArcSwap<Pools>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pools) = pools.upgrade() else { return };
        pools.load().values().for_each(|served| served.pool.sweep());
    }
}

impl Served {
    fn new(spec: ConnectorSpec, context: &Arc<Context>) -> Self {
        Self { pool: Pool::new(spec, Arc::clone(context)), retired: CancellationToken::new() }
    }
}

impl Connectors for Downstreams {
    fn ready<'a>(
        &'a self,
        tool: &'a Arc<Tool>,
        grant: &'a Arc<LiveGrant>,
        lease: Option<&'a Arc<Lease>>,
        asks: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async move {
            let channel = self.channel(tool, grant, lease, asks).await?;
            Ok(Box::new(channel) as Box<dyn Channel>)
        })
    }

    fn hear<'a>(&'a self, grant: &'a Arc<LiveGrant>) -> Later<'a, Interest> {
        Box::pin(async move {
            let id = &grant.terms().id;
            // First: a session that begins from here on is heard by itself.
            let listener = self.context.listeners.add(id.clone());
            let pools: Vec<Arc<Pool>> = self.pools.load().values().map(|served| Arc::clone(&served.pool)).collect();
            let sessions =
                pools.iter().flat_map(|pool| pool.sessions_of(id)).filter(|session| session.link().retired().is_none());
            let sessions: Vec<_> = sessions.collect();
            futures_util::future::join_all(sessions.iter().map(|session| session.hear(HEARD_WITHIN))).await;
            Interest::of(listener)
        })
    }
}

impl Drop for Downstreams {
    fn drop(&mut self) {
        self.context.root.cancel();
    }
}
