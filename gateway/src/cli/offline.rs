//! What commands do where no gateway runs: on its folder, under the lock of its store, which nobody else has then.

use std::{sync::Arc, time::Instant};

use bailiwick_config::{Config, nearest};
use bailiwick_credentials::Broker;
use bailiwick_pipeline::{
    grant::{LiveGrant, Standing},
    ports::{Clock as _, Grants as _},
};
use bailiwick_store::{LiveGrants, Pins, Store};
use bailiwick_trail::{Options, Stream, Trail};
use rustix::process::geteuid;
use serde_json::Value;

use super::{Session, fault::CliFault, screen::shown};
use crate::{
    adapters::SystemClock,
    admin::{
        AdminRecord, Stage,
        api::{Foreseen, Trial},
        change_id, name_of, trial,
    },
    data::DataFolder,
    foresee::{self, Closed},
    pinning::Scout,
    runtime::{credentials_of, env_secrets, policies_of, specs_of},
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
    let config = session.places.load(&session.around)?;
    let Some(connector) = config.connector(id) else { return Err(no_connector(id, Some(&config))) };
    let data = DataFolder::open(session.places.data.path())?;
    let (trail, _) = Trail::open(&data.trail(), Options { segment_bytes: config.trail.segment_size, ..Options::default() })?;
    let store = Store::open(data.path())?;
    let pins = Pins::new(&store).list()?.remove(&connector.id).unwrap_or_default();
    let specs = specs_of(&config, &session.around.own_binary);
    let broker = Broker::new(credentials_of(&config, &data)?, env_secrets(&config, &session.around.environment));
    let (uid, change) = (geteuid().as_raw(), change_id(&SystemClock));
    let by = name_of(uid);
    let with = serde_json::json!({"offline": true});
    let write = |result, with: &Value| {
        let record = AdminRecord { event: "connector_tested", change: &change, by: &by, uid, about: id, result, why: None, with };
        trail.append(Stream::Admin, SystemClock.now_ms(), &record)
    };
    write(Stage::Begun, &with)?;
    trail.flush()?;
    let began = Instant::now();
    let look = Scout { specs: &specs, broker: &broker, trail: &trail, clock: &SystemClock }.try_out(&connector.id).await;
    let tried = trial(connector, &pins, look, began.elapsed());
    write(Stage::Done, &with)?;
    trail.flush()?;
    Ok(tried)
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
fn grants(config: &Config, store: &Store) -> Result<Vec<Arc<LiveGrant>>, CliFault> {
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
