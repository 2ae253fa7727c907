//! Tools whose definitions speak of tools of other connectors: an admin has to see that before one is accepted.

use std::collections::BTreeMap;

use bailiwick_config::Config;
use bailiwick_schemas::{crossing::Others, definition::ListReading, exposure::Prefix, names::ConnectorId};
use bailiwick_store::Pin;

/// What the definitions of this connector have no reason to speak of: the other connectors, and their tools as far as they are
/// known, accepted or classed. `own` are the names that the connector itself offers.
pub(crate) fn others<'a>(
    config: &Config,
    pins: &BTreeMap<ConnectorId, Vec<Pin>>,
    connector: &ConnectorId,
    own: impl IntoIterator<Item = &'a str>,
) -> Others {
    let mut others = Others::apart_from(own);
    if config.connector(connector.as_str()).is_some_and(|connector| connector.prefix == Prefix::Never) {
        others = others.with_names();
    }
    for other in config.connectors.iter().filter(|other| other.id != *connector) {
        others.connector(other.id.as_str());
        let accepted = pins.get(&other.id).into_iter().flatten().map(|pin| &pin.tool);
        for tool in other.tools.keys().chain(accepted) {
            others.tool(other.id.as_str(), tool.as_str());
        }
    }
    others
}

/// The names of the tools that a list offers.
pub(crate) fn names_in(reading: &ListReading) -> impl Iterator<Item = &str> {
    reading.accepted.iter().map(|definition| definition.name().as_str())
}
