//! Connectors whose first definitions count and that could not be listed: looked at again until they can, so that a server that starts
//! after the gateway, or an issuer that comes back, needs nobody's hand.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bailiwick_config::Config;
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::Pin;
use bailiwick_trail::Stream;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{AdminRecord, Stage, change_id},
    pinning,
    runtime::{Runtime, StartFault},
};

/// The pause before the second look; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// How long one look may take. Nobody waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks again until `stop`.
pub(crate) async fn look_again(runtime: Arc<Runtime>, stop: CancellationToken) {
    let mut every = tokio::time::interval(FIRST_PAUSE);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut of, mut pause) = (runtime.config(), FIRST_PAUSE);
    let mut next = Instant::now() + pause;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let config = runtime.config();
        if !Arc::ptr_eq(&config, &of) {
            (of, pause) = (config, FIRST_PAUSE);
            next = Instant::now() + pause;
        } else if Instant::now() >= next {
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = runtime.first_found(&config) => found,
            };
            // Seen through, each for itself: what is on record as begun has an end.
            for (connector, pins) in found {
                if let Err(fault) = runtime.accept_first(&config, &connector, pins).await {
                    tracing::warn!(%connector, %fault, "what a connector shows for the first time was not accepted");
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            next = Instant::now() + pause;
        }
    }
}

impl Runtime {
    /// What the connectors of this configuration show that nobody has seen yet, as far as it is acceptable without a person.
    async fn first_found(&self, config: &Config) -> Vec<(ConnectorId, Vec<Pin>)> {
        let (specs, known) = (self.specs.load_full(), self.worlds.pins());
        let found = pinning::first_definitions(config, &self.pins, &known, &self.scout(&specs), PATIENCE).await;
        found.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "connectors that could not be listed can't be looked at again");
            Vec::new()
        })
    }

    /// Unless somebody was faster: an admin who accepted something, or another configuration.
    async fn accept_first(&self, config: &Arc<Config>, connector: &ConnectorId, pins: Vec<Pin>) -> Result<(), StartFault> {
        let in_turn = self.changing.lock().await;
        let is_outrun = !Arc::ptr_eq(config, &self.config()) || self.pins.were_accepted(connector)?;
        if is_outrun {
            return Ok(());
        }
        let change = change_id(self.clock.as_ref());
        let tools: Vec<String> = pins.iter().map(|pin| pin.tool.to_string()).collect();
        let note = |result, why: Option<&str>| {
            let with = json!({"tools": pins.iter().map(|pin| (pin.tool.to_string(), pin.digest.to_string())).collect::<BTreeMap<_, _>>()});
            let record = AdminRecord {
                event: "pins_accepted",
                change: &change,
                by: "first use",
                uid: None,
                about: connector.as_str(),
                result,
                why,
                with: &with,
            };
            self.recorder.trail().append(Stream::Admin, self.clock.now_ms(), &record)
        };
        self.recorder.trail().synced(note(Stage::Begun, None)?).await?;
        let done = self.put_in_force(&in_turn, connector, pins.clone()).await;
        let why = done.as_ref().err().map(ToString::to_string);
        note(if why.is_none() { Stage::Done } else { Stage::Refused }, why.as_deref())?;
        if why.is_none() {
            tracing::info!(%connector, ?tools, "a connector could be listed by now: its tools are accepted as it shows them first");
        }
        done
    }
}
