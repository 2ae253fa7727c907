//! What commands do where no gateway runs: on its folder, under the lock of its store, which nobody else has then.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bailiwick_config::{Config, Connector, nearest};
use bailiwick_connectors::{ConnectorSpec, Look};
use bailiwick_credentials::Broker;
use bailiwick_pipeline::{
    grant::{LiveGrant, Standing},
    ports::{Clock, Grants as _},
};
use bailiwick_schemas::{canonical::Digest, definition::ListReading, names::ConnectorId};
use bailiwick_store::{LiveGrants, Pin, Pins, Store};
use bailiwick_trail::{Options, Stream, Trail};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{Session, fault::CliFault, screen::shown};
use crate::{
    adapters::SystemClock,
    admin::{
        AdminRecord, Stage,
        api::{Foreseen, Proposal, Trial},
        change_id, name_of, pins_of, proposal, trial,
    },
    consenting,
    data::DataFolder,
    downstream::{credentials_of, specs_of},
    foresee::{self, Closed},
    lending::{LeaseBook, SecretsRecord},
    pinning::Scout,
    providers::Lenders,
    runtime::policies_of,
    world::{LiveWorlds, WorldFault},
};

/// There is no such connector; perhaps one of nearly this id.
pub(super) fn no_connector(id: &str, config: Option<&Config>) -> CliFault {
    let ids: Vec<&str> = config.iter().flat_map(|config| &config.connectors).map(|connector| connector.id.as_str()).collect();
    let help = match (nearest(id, ids.iter().copied()), ids.as_slice()) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, []) => "`[[connectors]]` in the configuration registers one".to_owned(),
        (None, ids) => format!("there are: {}", ids.join(", ")),
    };
    CliFault::refused(&format!("there is no connector `{}`", shown(id)), Some(&help))
}

/// Starts a connector's server for a moment. On record before and after, as through the gateway.
pub(super) async fn try_out(id: &str, session: &Session) -> Result<Trial, CliFault> {
    let offline = Offline::open(session)?;
    let connector = offline.connector(id)?;
    let began = Instant::now();
    let look = offline.look("connector_tested", connector).await?;
    Ok(trial(connector, look, began.elapsed(), &offline.config, &Pins::new(&offline.store).list()?))
}

/// How long issuers may take to take back what a connector was lent while it was looked at.
const GIVEN_BACK: Duration = Duration::from_secs(20);

/// A gateway's folder, held while it is used: no gateway can start meanwhile.
pub(super) struct Offline {
    config: Config,
    trail: Arc<Trail>,
    store: Store,
    specs: BTreeMap<ConnectorId, ConnectorSpec>,
    broker: Broker,
    /// What was shown last, by connector: what is accepted is this and nothing else.
    shown: Mutex<BTreeMap<ConnectorId, ListReading>>,
}

impl Offline {
    /// Takes hold of it.
    pub(super) fn open(session: &Session) -> Result<Self, CliFault> {
        let config = session.places.load(&session.around)?;
        let data = DataFolder::open(session.places.data.path())?;
        let (trail, _) = Trail::open(&data.trail(), Options { segment_bytes: config.trail.segment_size, ..Options::default() })?;
        let store = Store::open(data.path())?;
        let specs = specs_of(&config, &session.around.own_binary);
        let trail = Arc::new(trail);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let consents = consenting::consents(&store, &clock);
        let lenders = Lenders { environment: &session.around.environment, consents: &consents };
        let credentials = credentials_of(&config, &data, lenders)?;
        let broker = Broker::new(credentials, LeaseBook::of(&store), SecretsRecord::of(&trail), Arc::new(SystemClock));
        tokio::spawn(broker.work());
        Ok(Self { config, trail, store, specs, broker, shown: Mutex::default() })
    }

    /// What a connector offers, held against what was accepted.
    pub(super) async fn propose(&self, id: &str) -> Result<Proposal, CliFault> {
        let connector = self.connector(id)?;
        let discovery = self.look("connector_discovered", connector).await?.found.map_err(|failure| {
            let help = format!("`bailiwick connectors test {id}` shows what it writes to standard error");
            CliFault::refused(&format!("connector `{id}`: {failure}"), Some(&help))
        })?;
        self.shown().insert(connector.id.clone(), discovery.reading());
        Ok(proposal(connector, &discovery, &self.config, &Pins::new(&self.store).list()?))
    }

    /// Accepts what was shown. The policies are judged over it at the next start.
    pub(super) async fn accept(
        &self,
        id: &str,
        tools: &BTreeMap<String, Digest>,
        refers_to: &BTreeMap<String, Vec<String>>,
    ) -> Result<usize, CliFault> {
        let connector = self.connector(id)?;
        let Some(reading) = self.shown().remove(&connector.id) else {
            return Err(CliFault::refused(&format!("nothing of `{id}` was shown"), None));
        };
        let by = name_of(geteuid().as_raw());
        let pins = pins_of(connector, &self.pins(connector)?, &reading, &by, SystemClock.now_ms());
        let (change, with) = (change_id(&SystemClock), json!({"tools": tools, "refers_to": refers_to, "offline": true}));
        self.note("pins_accepted", id, &change, Stage::Begun, &with)?;
        let count = pins.len();
        Pins::new(&self.store).accept(&connector.id, pins).await?;
        self.note("pins_accepted", id, &change, Stage::Done, &with)?;
        Ok(count)
    }

    fn connector(&self, id: &str) -> Result<&Connector, CliFault> {
        self.config.connector(id).ok_or_else(|| no_connector(id, Some(&self.config)))
    }

    fn pins(&self, connector: &Connector) -> Result<Vec<Pin>, CliFault> {
        Ok(Pins::new(&self.store).list()?.remove(&connector.id).unwrap_or_default())
    }

    async fn look(&self, event: &str, connector: &Connector) -> Result<Look, CliFault> {
        let (id, change, with) = (connector.id.as_str(), change_id(&SystemClock), json!({"offline": true}));
        self.note(event, id, &change, Stage::Begun, &with)?;
        let scout = Scout { specs: &self.specs, broker: &self.broker, trail: &self.trail, clock: &SystemClock };
        let look = scout.try_out(&connector.id).await;
        if !self.broker.guests_settled(GIVEN_BACK).await {
            tracing::warn!("what the connector was lent is not taken back yet: the next start of the gateway tries again");
        }
        self.note(event, id, &change, Stage::Done, &with)?;
        Ok(look)
    }

    /// Puts it on record, durably.
    fn note(&self, event: &str, about: &str, change: &str, result: Stage, with: &Value) -> Result<(), CliFault> {
        let uid = geteuid().as_raw();
        let by = name_of(uid);
        let record = AdminRecord { event, change, by: &by, uid: Some(uid), about, result, why: None, with };
        self.trail.append(Stream::Admin, SystemClock.now_ms(), &record)?;
        Ok(self.trail.flush()?)
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<ConnectorId, ListReading>> {
        // A panic while it was held leaves a map that is whole.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What would become of a call, by the configuration, the accepted tools and the stored grants. Nothing is written.
pub(super) async fn foresee(agent: &str, call: &foresee::Call, session: &Session) -> Result<Foreseen, CliFault> {
    let config = session.places.load(&session.around)?;
    let Some(registered) = config.agent(agent) else {
        let meant = nearest(agent, config.agents.iter().map(|agent| agent.agent.id.as_str()));
        let what = format!("there is no agent `{}` in the configuration ({})", shown(agent), session.places.config_name());
        return Err(CliFault::refused(&what, meant.map(|meant| format!("did you mean `{meant}`?")).as_deref()));
    };
    let data = session.places.data.path();
    if !data.join("state.db").is_file() {
        return Err(CliFault::refused(
            "no tool was accepted yet, so there is none to call",
            Some(&format!("start the gateway once: {}", session.places.start)),
        ));
    }
    let store = Store::open(data)?;
    let texts = policies_of(&config)?;
    let worlds = LiveWorlds::new(&config, Pins::new(&store).list()?, texts.clone())
        .map_err(|WorldFault::Policies(faults)| CliFault::Policies(Box::new(super::PolicyFaults::new(faults, &texts))))?;
    let grants = grants(&config, &store)?;
    let ports = Closed::ports(grants, Arc::new(worlds), Arc::new(SystemClock));
    let foreseen = foresee::foresee(ports, Arc::new(registered.agent.clone()), call).await;
    foreseen.map_err(|fault| CliFault::usage(fault.to_string(), "give `--args` a JSON object, as in --args '{\"id\": \"T-17\"}'"))
}

/// The grants that a start would find: those of the store, and those of the configuration that it would issue anew.
pub(super) fn grants(config: &Config, store: &Store) -> Result<Vec<Arc<LiveGrant>>, CliFault> {
    let now_ms = SystemClock.now_ms();
    let stored = LiveGrants::load(store, &[])?;
    let mut grants: Vec<Arc<LiveGrant>> = Vec::new();
    for agent in &config.agents {
        let created = stored.of(&agent.agent.id).into_iter().filter(|grant| !grant.terms().from_config);
        grants.extend(created);
    }
    for terms in &config.grants {
        let wanted = terms.to_grant(now_ms, 1);
        let known = stored.entry(&terms.id).filter(|entry| entry.grant.terms().from_config);
        let grant = match known {
            // What somebody ended stays so; what lives goes on with what was used of it, under the terms as they are written now.
            Some(entry) if entry.ending.as_ref().is_some_and(|ending| ending.by.is_some()) => entry.grant,
            Some(entry) if entry.grant.is_live(now_ms) => Arc::new(LiveGrant::new(wanted, entry.grant.standing(), None)),
            _ => Arc::new(LiveGrant::new(wanted, Standing::fresh(), None)),
        };
        grants.push(grant);
    }
    Ok(grants)
}
