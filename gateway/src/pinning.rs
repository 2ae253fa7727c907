//! What connectors offer, looked at: for pinning at a start, and for admins.

use std::{collections::BTreeMap, time::Duration};

use bailiwick_config::{Config, Connector, Pin as PinAt, Process, Program};
use bailiwick_connectors::{ConnectorSpec, Discovery, Look, Rejected, look};
use bailiwick_credentials::{Broker, Guest};
use bailiwick_demo::Demo;
use bailiwick_pipeline::ports::{Clock, ConnectFailure, Lease};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{definition, names::ConnectorId};
use bailiwick_store::{ClassedBy, Pin, Pins};
use bailiwick_trail::{Stream, Trail};
use futures_util::future::join_all;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{runtime::StartFault, shadowing};

/// So many rejected tools are named in a log line.
const NAMED: usize = 8;

/// Looks at connectors' servers: starts one for a moment, with its credential, and lists what it offers.
pub(crate) struct Scout<'a> {
    pub(crate) specs: &'a BTreeMap<ConnectorId, ConnectorSpec>,
    pub(crate) broker: &'a Broker,
    pub(crate) trail: &'a Trail,
    pub(crate) clock: &'a dyn Clock,
}

impl Scout<'_> {
    /// What this connector offers. What is lent for it is on record before it is used, and that it was given back is, after.
    pub(crate) async fn look_at(&self, connector: &ConnectorId) -> Result<Discovery, ConnectFailure> {
        self.try_out(connector).await.found
    }

    /// The same, with the end of what its server wrote to standard error.
    pub(crate) async fn try_out(&self, connector: &ConnectorId) -> Look {
        let looked = self.looked(connector).await;
        looked.unwrap_or_else(|failure| Look { found: Err(failure), stderr: Vec::new() })
    }

    async fn looked(&self, connector: &ConnectorId) -> Result<Look, ConnectFailure> {
        let spec = self.specs.get(connector);
        let spec = spec.ok_or_else(|| ConnectFailure::Start(format!("no connector `{connector}` is configured")))?;
        let lent = self.broker.for_discovery(connector).await.map_err(|failure| ConnectFailure::Start(failure.to_string()))?;
        if let Some(guest) = &lent {
            self.note("lent", connector, guest.lease())?;
        }
        let looked = look(spec, lent.as_ref().map(Guest::lease)).await;
        if let (Some(guest), Ok(Discovery { has_leaked: true, .. })) = (&lent, &looked.found) {
            tracing::warn!(%connector, "a connector shows what it was lent, in what it says of itself or of its tools");
            self.note("leaked", connector, guest.lease())?;
        }
        // That it was given back is on record by the broker.
        Ok(looked)
    }

    /// Leaves out, of what would be accepted by itself, the tools that speak of other connectors' tools: those are for a person.
    fn keep_unsuspicious(
        &self,
        config: &Config,
        connector: &Connector,
        all: &BTreeMap<ConnectorId, Vec<Pin>>,
        fresh: &mut Vec<Pin>,
    ) {
        let own: Vec<String> = fresh.iter().map(|pin| pin.tool.to_string()).collect();
        let others = shadowing::others(config, all, &connector.id, own.iter().map(String::as_str));
        fresh.retain(|pin| {
            let refers_to = others.named_in(&serde_json::from_str(pin.definition.get()).unwrap_or_default());
            if refers_to.is_empty() {
                return true;
            }
            let (connector, tool, help) = (&connector.id, &pin.tool, "`bailiwick connectors pin` shows it, and accepts it");
            tracing::warn!(%connector, %tool, ?refers_to, help, "a tool speaks of other connectors' tools and is not accepted by itself");
            let record = json!({"event": "not_accepted", "connector": connector, "tool": tool, "refers_to": refers_to});
            if let Err(lost) = self.trail.append(Stream::Admin, self.clock.now_ms(), &record) {
                tracing::error!(%lost, "a finding could not be put on record");
            }
            false
        });
    }

    fn note(&self, event: &str, connector: &ConnectorId, lease: &Lease) -> Result<(), ConnectFailure> {
        let record = json!({
            "event": event, "purpose": "discovery", "connector": connector, "lease": lease.id, "provider": lease.provider,
            "reference": lease.reference,
        });
        let noted = self.trail.append(Stream::Secrets, self.clock.now_ms(), &record);
        noted.map(drop).map_err(|lost| ConnectFailure::Start(format!("its credential can't be put on record: {lost}")))
    }
}

/// The pins as stored; those of built-in demo connectors as they are in this binary; and, where an admin said so, the first
/// definitions that a server shows.
pub(crate) async fn pin_at_start(
    config: &Config,
    pins: &Pins,
    scout: Scout<'_>,
) -> Result<BTreeMap<ConnectorId, Vec<Pin>>, StartFault> {
    let mut known = pins.list()?;
    let (mut all, mut offered) = (known.clone(), Vec::new());
    for connector in &config.connectors {
        let listed = match (own(connector), connector.pin) {
            (Some(own), _) => built_in(own),
            (None, PinAt::FirstUse) if !pins.were_accepted(&connector.id)? && !known.contains_key(&connector.id) => {
                first_use(connector, &scout).await
            }
            _ => continue,
        };
        let fresh = pins_of(connector, &listed, scout.clock.now_ms());
        all.insert(connector.id.clone(), fresh.clone());
        offered.push((connector, fresh));
    }
    // Only now is it known what all the others are called.
    for (connector, mut fresh) in offered {
        if own(connector).is_none() {
            scout.keep_unsuspicious(config, connector, &all, &mut fresh);
        }
        let same = |old: &Vec<Pin>| {
            let digests = |pins: &[Pin]| pins.iter().map(|pin| (pin.tool.clone(), pin.digest)).collect::<BTreeMap<_, _>>();
            digests(old) == digests(&fresh)
        };
        if !fresh.is_empty() && !known.get(&connector.id).is_some_and(same) {
            pins.accept(&connector.id, fresh.clone()).await?;
            known.insert(connector.id.clone(), fresh);
        }
    }
    Ok(known)
}

/// The first definitions of connectors that a running gateway has not seen, where an admin said that those count. They are looked
/// at side by side, and for so long at most: one that is slow or broken has none, and keeps nobody waiting for longer. Nothing is
/// accepted by that.
pub(crate) async fn first_definitions(
    config: &Config,
    pins: &Pins,
    known: &BTreeMap<ConnectorId, Vec<Pin>>,
    scout: &Scout<'_>,
    patience: Duration,
) -> Result<Vec<(ConnectorId, Vec<Pin>)>, StartFault> {
    let mut unseen = Vec::new();
    for connector in config.connectors.iter().filter(|connector| !known.contains_key(&connector.id)) {
        let is_wanted = connector.pin == PinAt::FirstUse && !pins.were_accepted(&connector.id)?;
        if is_wanted || own(connector).is_some() {
            unseen.push(connector);
        }
    }
    let look = |connector: &'_ Connector| {
        let connector = connector.clone();
        async move {
            let listed = if let Some(own) = own(&connector) {
                built_in(own)
            } else {
                let listed = tokio::time::timeout(patience, first_use(&connector, scout)).await;
                listed.unwrap_or_else(|_| {
                    tracing::warn!(connector = %connector.id, "a connector took too long to be listed: none of its tools is known, and it is looked at again");
                    Vec::new()
                })
            };
            (connector.id.clone(), pins_of(&connector, &listed, scout.clock.now_ms()))
        }
    };
    let mut found: Vec<_> = join_all(unseen.into_iter().map(look)).await;
    let mut all = known.clone();
    all.extend(found.iter().cloned());
    for (id, fresh) in &mut found {
        if let Some(connector) = config.connector(id.as_str()).filter(|connector| own(connector).is_none()) {
            scout.keep_unsuspicious(config, connector, &all, fresh);
        }
    }
    found.retain(|(_, pins)| !pins.is_empty());
    Ok(found)
}

/// What there is to do about a connector of which no tool is accepted.
pub(crate) fn without_tools(connector: &Connector) -> String {
    let id = &connector.id;
    match connector.pin {
        PinAt::FirstUse => {
            format!("`{id}` has no tool: it is looked at again by itself, and `bailiwick connectors pin {id}` says what is wrong")
        }
        PinAt::Manual => format!("`{id}` has no accepted tool: `bailiwick connectors pin {id}` shows and accepts them"),
    }
}

/// The process of a connector that is a part of this binary.
fn own(connector: &Connector) -> Option<&Process> {
    connector.process().filter(|process| process.program == Program::Own)
}

fn built_in(own: &Process) -> Vec<Box<RawValue>> {
    let demo = own.arguments.last().and_then(|name| name.parse::<Demo>().ok());
    let listed = demo.map(bailiwick_demo::definitions);
    as_text(listed.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default())
}

/// Definitions as text. A value always has one.
pub(crate) fn as_text(definitions: &[Value]) -> Vec<Box<RawValue>> {
    definitions.iter().filter_map(|definition| to_raw_value(definition).ok()).collect()
}

async fn first_use(connector: &Connector, scout: &Scout<'_>) -> Vec<Box<RawValue>> {
    match scout.look_at(&connector.id).await {
        Ok(discovery) => discovery.tools,
        Err(why) => {
            tracing::warn!(connector = %connector.id, %why, "a connector could not be listed: none of its tools is known, and it is looked at again");
            Vec::new()
        }
    }
}

/// Pins of these definitions, classed as the configuration says; what nobody classed is `execute` and `high`.
pub(crate) fn pins_of(connector: &Connector, listed: &[Box<RawValue>], now_ms: u64) -> Vec<Pin> {
    let reading = definition::read_list(listed);
    warn_of(&connector.id, &reading.findings.iter().map(Rejected::of).collect::<Vec<_>>());
    let pin = |definition: &definition::Definition| {
        let terms = connector.terms_of(definition.name());
        Pin {
            tool: definition.name().clone(),
            kind: terms.kind,
            band: terms.band,
            classed_by: ClassedBy::Config,
            digest: definition.digest(),
            definition: definition.text().to_owned(),
            labels: terms.labels,
            accepted_at_ms: now_ms,
            accepted_by: "start".to_owned(),
        }
    };
    reading.accepted.iter().map(pin).collect()
}

/// What a pinned tool counts as by this configuration: as its line says; without one as a person accepted it; and else as what nobody
/// classed. A class that the configuration gave once is gone with its line.
pub(crate) fn class_of(connector: &Connector, pin: &Pin) -> (Kind, Band) {
    if pin.classed_by == ClassedBy::Person && !connector.tools.contains_key(&pin.tool) {
        return (pin.kind, pin.band);
    }
    let terms = connector.terms_of(&pin.tool);
    (terms.kind, terms.band)
}

/// Logs how many tools of a connector are not acceptable, and names the first few.
pub(crate) fn warn_of(connector: &ConnectorId, rejected: &[Rejected]) {
    if !rejected.is_empty() {
        let named = rejected.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(%connector, count = rejected.len(), named, "a connector offers tools that are not acceptable");
    }
}
