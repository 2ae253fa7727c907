//! The pipeline's port to downstream servers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    catalogue::Tool,
    grant::LiveGrant,
    ports::{Channel, ConnectFailure, Connectors, Later, Lease},
};
use bailiwick_schemas::names::ConnectorId;

use crate::{
    channel::{ToolChannel, Unready},
    child::Purpose,
    pool::{Context, Pool},
    spec::{ConnectorSpec, SpecFault},
    status::{ConnectorEvent, ConnectorStatus},
};

/// All connectors: child processes, and servers over HTTP.
pub struct Downstreams {
    pools: Arc<HashMap<ConnectorId, Arc<Pool>>>,
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
        let mut faults: Vec<SpecFault> = specs.iter().flat_map(ConnectorSpec::faults).collect();
        let mut pools = HashMap::new();
        for spec in specs {
            let id = spec.id.clone();
            if pools.insert(id.clone(), Pool::new(spec, Arc::clone(&context))).is_some() {
                faults.push(SpecFault::Twice(id));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { pools: Arc::new(pools), context, is_swept: AtomicBool::new(false) })
    }

    /// How all connectors are, by id.
    pub fn status(&self) -> Vec<ConnectorStatus> {
        let by_id: BTreeMap<_, _> = self.pools.iter().map(|(id, pool)| (id, pool.status())).collect();
        by_id.into_values().collect()
    }

    /// Ends the children, or sessions, of one connector: the next call starts anew. For when other definitions were accepted.
    pub fn renew(&self, connector: &ConnectorId) {
        if let Some(pool) = self.pool(connector) {
            pool.end_all("other definitions of its tools were accepted");
        }
    }

    /// Ends all children, with everything they started, and all sessions over HTTP. Returns when they are gone. Nothing is started afterwards.
    pub async fn shutdown(&self) {
        let longest = self.pools.values().map(|pool| pool.spec.kill_after).max().unwrap_or_default();
        self.context.shutdown(longest + Duration::from_secs(3)).await;
    }

    pub(crate) async fn channel(
        &self,
        tool: &Arc<Tool>,
        grant: &Arc<LiveGrant>,
        lease: Option<&Arc<Lease>>,
    ) -> Result<ToolChannel, ConnectFailure> {
        self.sweep_from_now_on();
        let id = &tool.connector.id;
        let pool = self.pool(id).ok_or_else(|| ConnectFailure::Start(format!("connector `{id}` is not configured")))?;
        let ended = || ConnectFailure::Start("its grant has ended".to_owned());
        if grant.chain().any(|grant| grant.cancelled().is_cancelled()) {
            return Err(ended());
        }
        let (key, purpose) = if pool.spec.shared {
            if lease.is_some() {
                return Err(ConnectFailure::Start(format!(
                    "connector `{id}` is shared and can't be lent a credential: remove one of the two"
                )));
            }
            (None, Purpose { grant: None, ends: Vec::new(), lease: None })
        } else {
            let terms = grant.terms();
            let ends = grant.chain().map(LiveGrant::cancelled).collect();
            (Some((terms.id.clone(), terms.revision)), Purpose { grant: Some(terms.id.clone()), ends, lease: lease.cloned() })
        };
        let session = pool.session(&key, purpose.clone()).await?;
        match ToolChannel::open(&pool, session, tool).await {
            // The server forgot the session, and nothing but the list was asked of it: a new one is begun.
            Err(Unready::Expired(_)) => {
                let session = pool.session(&key, purpose).await?;
                Ok(ToolChannel::open(&pool, session, tool).await?)
            }
            other => Ok(other?),
        }
    }

    /// The connector of this id, as it is configured now.
    fn pool(&self, id: &ConnectorId) -> Option<Arc<Pool>> {
        self.pools.get(id).cloned()
    }

    fn sweep_from_now_on(&self) {
        if self.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let idle = self.pools.values().map(|pool| pool.spec.idle_after).min().unwrap_or(Duration::from_secs(10));
        let every = (idle / 4).clamp(Duration::from_millis(20), Duration::from_secs(10));
        let (pools, root) = (Arc::downgrade(&self.pools), self.context.root.clone());
        self.context.tracker.spawn(async move {
            root.run_until_cancelled(sweep(pools, every)).await;
        });
    }
}

async fn sweep(pools: Weak<HashMap<ConnectorId, Arc<Pool>>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pools) = pools.upgrade() else { return };
        pools.values().for_each(|pool| pool.sweep());
    }
}

impl Connectors for Downstreams {
    fn ready<'a>(
        &'a self,
        tool: &'a Arc<Tool>,
        grant: &'a Arc<LiveGrant>,
        lease: Option<&'a Arc<Lease>>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async move {
            let channel = self.channel(tool, grant, lease).await?;
            Ok(Box::new(channel) as Box<dyn Channel>)
        })
    }
}

impl Drop for Downstreams {
    fn drop(&mut self) {
        self.context.root.cancel();
    }
}
