//! Another configuration for a running gateway: read whole, judged whole, and then put in force in an order in which nothing is
//! allowed at any moment that neither the old nor the new one allows.

mod basis;
mod change;
mod fault;
mod gone;
mod state;
mod switch;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bailiwick_config::Config;
use bailiwick_connectors::ConnectorSpec;
use bailiwick_credentials::Specs;
use bailiwick_pipeline::{grant::Grant, ports::Worlds as _};
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::Pin;
use bailiwick_trail::{Stream, TrailFault};
use serde_json::{Value, json};

use crate::{
    admin::{AdminRecord, Stage, api::Reloaded, change_id},
    cli::PolicyFaults,
    downstream::{credentials_of, specs_of},
    pinning::{self, Scout},
    policy_bundle::{self, Titled},
    providers::Lenders,
    runtime::{Runtime, StartFault, grants_of},
    sources::{self, Sources},
    world::{JudgedConfig, PolicyText, WorldFault},
};

pub(crate) use basis::Basis;
use change::Changes;
pub use fault::ReloadFault;
pub use state::{Last, Reloads, Standing};
pub use watch::watch;

/// How long a connector that is new may take to show its tools where its first definitions count. The reload waits for it: policies
/// may speak of those tools.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Who wants another configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Who may signal the process.
    Signal,
    /// Who may write its files.
    File,
    /// An operator.
    Operator {
        /// Their name.
        name: String,
        /// Their user id.
        uid: u32,
    },
}

impl By {
    fn name(&self) -> &str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File => "a changed file",
            Self::Operator { name, .. } => name,
        }
    }

    fn uid(&self) -> u32 {
        match self {
            Self::Signal | Self::File => rustix::process::geteuid().as_raw(),
            Self::Operator { uid, .. } => *uid,
        }
    }
}

/// Another configuration, judged: it can be put in force.
struct Next {
    config: Config,
    specs: BTreeMap<ConnectorId, ConnectorSpec>,
    credentials: Specs,
    grants: Vec<Grant>,
    /// What connectors showed that were not seen before.
    first: Vec<(ConnectorId, Vec<Pin>)>,
    judged: JudgedConfig,
    changes: Changes,
    digest: String,
    /// What its bundles call themselves.
    bundles: Vec<Titled>,
}

/// What of a configuration is made before its policies are judged.
struct Parts {
    config: Config,
    policies: Vec<PolicyText>,
    shadow: Option<Result<Vec<PolicyText>, String>>,
    bundles: Vec<Titled>,
    specs: BTreeMap<ConnectorId, ConnectorSpec>,
    credentials: Specs,
    grants: Vec<Grant>,
    needs_restart: Vec<String>,
    digest: String,
}

impl Runtime {
    /// Reads the configuration anew and puts it in force: all of it, or at any fault nothing. When it returns, nothing is authorized
    /// any more that the new one forbids. To be awaited to its end: on a task of its own where somebody may go away.
    pub async fn reload(self: &Arc<Self>, by: By) -> Result<Reloaded, ReloadFault> {
        let _in_turn = self.changing.lock().await;
        let change = change_id(self.clock.as_ref());
        let done = self.take_up(&by, &change).await;
        let (at_ms, name) = (self.clock.now_ms(), by.name());
        match &done {
            Ok(reloaded) => {
                let with = serde_json::to_value(reloaded).unwrap_or_default();
                self.note(&by, &change, Stage::Done, None, &with)?;
                let (policy, epoch) = (&reloaded.policy, reloaded.epoch);
                tracing::info!(by = name, epoch, %policy, "another configuration is in force: {}", reloaded.summary());
                if let Some(Err(why)) = self.worlds.now().policies.candidate() {
                    tracing::warn!(%why, "the policies in shadow are not watched");
                }
                reloaded.notes().iter().for_each(|note| tracing::warn!("{note}"));
            }
            Err(fault) => {
                self.reloads.refused(fault.lines(), at_ms, name);
                let why = format!("{fault}: {}", fault.lines().join("; "));
                // A trail that is lost refuses every call by itself.
                let _lost = self.note(&by, &change, Stage::Refused, Some(&why), &json!({"faults": fault.faults()}));
                eprintln!("{}\nthe configuration was not taken ({name}): what ran before runs on", fault.report());
            }
        }
        done
    }

    /// How reloads went.
    pub fn reloads(&self) -> Standing {
        self.reloads.standing()
    }

    async fn take_up(self: &Arc<Self>, by: &By, change: &str) -> Result<Reloaded, ReloadFault> {
        let next = self.judge_next().await?;
        let before = self.worlds.now().policy_digest.clone();
        let begun = self.note(by, change, Stage::Begun, None, &record_of(&next, &before))?;
        self.recorder.trail().synced(begun).await?;
        for (connector, pins) in &next.first {
            self.pins.accept(connector, pins.clone()).await?;
        }
        let (changes, digest, bundles) = (next.changes.clone(), next.digest.clone(), next.bundles.clone());
        let unpinned = unpinned(&next);
        let switched = self.switch(next)?;
        let (reissued, stay_ended) = switched.grants();
        let not_stored = self.see_through(switched).await;
        let at_ms = self.clock.now_ms();
        // Not remembered, it could be gone back from: said as what else could not be stored.
        let not_stored = not_stored.or(policy_bundle::versions::remember(&bundles, &self.store).await.err());
        self.reloads.name_bundles(bundles.iter().map(ToString::to_string).collect());
        let epoch = self.reloads.applied(&digest, &changes.needs_restart, at_ms, by.name());
        let Changes { agents, connectors, grants, settings, needs_restart } = changes;
        Ok(Reloaded {
            id: epoch.to_string(),
            state: "applied".to_owned(),
            epoch,
            digest,
            policy_before: before,
            policy: self.worlds.now().policy_digest.clone(),
            agents,
            connectors,
            grants,
            settings,
            needs_restart,
            reissued,
            stay_ended,
            unpinned,
            keep_prefix: self.worlds.names().remarks(),
            not_stored: not_stored.map(|fault| fault.to_string()),
        })
    }

    /// Reads and judges the configuration. Nothing changes by that.
    async fn judge_next(self: &Arc<Self>) -> Result<Next, ReloadFault> {
        let of = Arc::clone(self);
        let parts = tokio::task::spawn_blocking(move || of.read_parts()).await.map_err(|_| ReloadFault::Failed)??;
        let mut known = self.pins.list()?;
        let lender = self.broker.beside(parts.credentials.clone());
        let scout = Scout { specs: &parts.specs, broker: &lender, trail: self.recorder.trail(), clock: self.clock.as_ref() };
        let first = pinning::first_definitions(&parts.config, &self.pins, &known, &scout, FIRST_LOOK).await?;
        known.extend(first.iter().cloned());
        let of = Arc::clone(self);
        let judged = tokio::task::spawn_blocking(move || {
            let Parts { config, policies, shadow, bundles, specs, credentials, grants, needs_restart, digest } = parts;
            let judged = of.worlds.judge_config_watching(&config, known, policies.clone(), shadow);
            let judged = judged
                .map_err(|WorldFault::Policies(faults)| ReloadFault::Policies(Box::new(PolicyFaults::new(faults, &policies))))?;
            let changes = Changes::between(&of.config(), &config, needs_restart);
            Ok(Next { config, specs, credentials, grants, first, judged, changes, digest, bundles })
        });
        judged.await.map_err(|_| ReloadFault::Failed)?
    }

    fn read_parts(&self) -> Result<Parts, ReloadFault> {
        let (_, watched) = self.reloads.tried();
        let reading = sources::read(&self.origin, &watched);
        self.reloads.try_out(&reading.snapshot, &reading.watched);
        let Sources { config, policies, shadow, bundles } = reading.sources?;
        policy_bundle::versions::judge(&bundles, &self.store, config.policy.allow_older)?;
        let (config, needs_restart) = change::takeable(config, &self.config());
        let specs = specs_of(&config, &self.own_binary);
        let faults: Vec<String> = specs.values().flat_map(ConnectorSpec::faults).map(|fault| fault.to_string()).collect();
        if !faults.is_empty() {
            return Err(StartFault::Connectors(faults).into());
        }
        let credentials =
            credentials_of(&config, &self.data, Lenders { environment: &self.origin.environment, consents: &self.consents })?;
        let now_ms = self.clock.now_ms();
        let grants = grants_of(&config, now_ms);
        // Tried, and let go of again.
        drop(self.grants.change_config(grants.clone(), now_ms)?);
        let digest = reading.snapshot.digest().to_string();
        Ok(Parts { config, policies, shadow, bundles, specs, credentials, grants, needs_restart, digest })
    }

    fn note(
        &self,
        by: &By,
        change: &str,
        result: Stage,
        why: Option<&str>,
        with: &Value,
    ) -> Result<bailiwick_trail::Appended, TrailFault> {
        let about = self.config().file().to_owned();
        let (event, uid, about) = ("config_reloaded", by.uid(), about.as_str());
        let record = AdminRecord { event, change, by: by.name(), uid: Some(uid), about, result, why, with };
        self.recorder.trail().append(Stream::Admin, self.clock.now_ms(), &record)
    }
}

/// What is about to be done.
fn record_of(next: &Next, policy_before: &str) -> Value {
    let Changes { agents, connectors, grants, settings, needs_restart } = &next.changes;
    json!({
        "digest": next.digest, "policy_before": policy_before, "policy": next.judged.policy_digest(), "agents": agents,
        "connectors": connectors, "grants": grants, "settings": settings, "needs_restart": needs_restart,
        "bundles": next.bundles.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// The connectors of which no tool was accepted.
fn unpinned(next: &Next) -> Vec<String> {
    let pins = next.judged.pins();
    let is_unpinned = |connector: &&bailiwick_config::Connector| pins.get(&connector.id).is_none_or(Vec::is_empty);
    next.config.connectors.iter().filter(is_unpinned).map(|connector| connector.id.to_string()).collect()
}

#[cfg(test)]
mod tests;
