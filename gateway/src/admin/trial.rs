//! How a connector's server did when it was started for a moment.

use std::{collections::BTreeMap, time::Duration};

use bailiwick_config::{Config, Connector};
use bailiwick_connectors::Look;
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::Pin;

use super::{api::Trial, proposal::proposal};

/// What to tell of a look that took so long, held against what was accepted.
pub(crate) fn trial(
    connector: &Connector,
    look: Look,
    took: Duration,
    config: &Config,
    accepted: &BTreeMap<ConnectorId, Vec<Pin>>,
) -> Trial {
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let Look { found, stderr } = look;
    match found {
        Ok(discovery) => {
            let offer = proposal(connector, &discovery, config, accepted);
            Trial { id: connector.id.to_string(), state: offer.state.clone(), took_ms, offer: Some(offer), failure: None, stderr }
        }
        Err(failure) => Trial {
            id: connector.id.to_string(),
            state: "failed".to_owned(),
            took_ms,
            offer: None,
            failure: Some(failure.to_string()),
            stderr,
        },
    }
}
