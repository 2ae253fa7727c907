//! The catalogue and the policies in force: built from the pins and the configuration, swapped as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bailiwick_config::Config;
use bailiwick_pipeline::{
    catalogue::{Connector, Mirror, Tool, World},
    ports::Worlds,
};
use bailiwick_policy::{Policies, PolicyFault, Source, ToolFacts};
use bailiwick_schemas::{
    canonical::{self, Digest},
    definition::Definition,
    names::{ConnectorId, QualifiedName, ToolName},
    validate::{SchemaFault, Validator},
};
use bailiwick_store::Pin;
use serde_json::Value;

/// A policy file, read.
#[derive(Debug, Clone)]
pub struct PolicyText {
    /// Its name in faults.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Why no catalogue and policies can be put in force.
#[derive(Debug, thiserror::Error)]
pub enum WorldFault {
    /// The policies have faults.
    #[error("the policies can't be put in force:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Policies(Vec<PolicyFault>),
}

/// A pinned tool that can't be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The tool.
    pub tool: QualifiedName,
    /// Why.
    pub why: String,
}

/// The worlds, one at a time.
pub struct LiveWorlds {
    now: ArcSwap<World>,
    epoch: AtomicU64,
    building: Mutex<State>,
}

struct State {
    connectors: BTreeMap<ConnectorId, (bailiwick_config::Connector, Arc<Connector>)>,
    pins: BTreeMap<ConnectorId, Vec<Pin>>,
    policies: Vec<PolicyText>,
    drifted: BTreeSet<QualifiedName>,
    unusable: Vec<Unusable>,
}

impl LiveWorlds {
    /// The first world: these connectors as configured, these pins, these policies.
    pub fn new(config: &Config, pins: BTreeMap<ConnectorId, Vec<Pin>>, policies: Vec<PolicyText>) -> Result<Self, WorldFault> {
        let connectors = config.connectors.iter().map(|connector| (connector.id.clone(), (connector.clone(), Arc::new(live(connector)))));
        let mut state = State { connectors: connectors.collect(), pins, policies, drifted: BTreeSet::new(), unusable: Vec::new() };
        let first = state.build(1)?;
        Ok(Self { now: ArcSwap::from_pointee(first), epoch: AtomicU64::new(1), building: Mutex::new(state) })
    }

    /// Takes a tool out of every list and call: its server offers another than was accepted. Says whether that is news.
    pub fn drift(&self, connector: &ConnectorId, tool: &ToolName) -> bool {
        let name = QualifiedName::new(connector.clone(), tool.clone());
        let is_news = self.change(|state| Ok(state.drifted.insert(name)));
        is_news.unwrap_or(false)
    }

    /// Puts other pins of a connector in force. On a fault nothing changes.
    pub fn accept(&self, connector: &ConnectorId, pins: Vec<Pin>) -> Result<(), WorldFault> {
        self.change(|state| {
            let before = (state.pins.insert(connector.clone(), pins), state.drifted.clone());
            state.drifted.retain(|name| name.connector() != connector);
            if let Err(fault) = state.build(0) {
                match before.0 {
                    Some(pins) => drop(state.pins.insert(connector.clone(), pins)),
                    None => drop(state.pins.remove(connector)),
                }
                state.drifted = before.1;
                return Err(fault);
            }
            Ok(())
        })
    }

    /// The pins in force.
    pub fn pins(&self) -> BTreeMap<ConnectorId, Vec<Pin>> {
        self.state().pins.clone()
    }

    /// The tools that drifted from their pins.
    pub fn drifted(&self) -> BTreeSet<QualifiedName> {
        self.state().drifted.clone()
    }

    /// The pinned tools that can't be used.
    pub fn unusable(&self) -> Vec<Unusable> {
        self.state().unusable.clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, WorldFault>) -> Result<T, WorldFault> {
        let mut state = self.state();
        let changed = change(&mut state)?;
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        self.now.store(Arc::new(state.build(epoch)?));
        Ok(changed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while it was held leaves a state that was built from before.
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worlds for LiveWorlds {
    fn now(&self) -> Arc<World> {
        self.now.load_full()
    }
}

impl State {
    fn build(&mut self, epoch: u64) -> Result<World, WorldFault> {
        let mut tools = BTreeMap::new();
        let mut facts = Vec::new();
        self.unusable.clear();
        for (id, (config, connector)) in &self.connectors {
            for pin in self.pins.get(id).into_iter().flatten() {
                let name = QualifiedName::new(id.clone(), pin.tool.clone());
                match usable(config, connector, pin, &name) {
                    Ok((tool, tool_facts)) => {
                        facts.push(tool_facts);
                        if !self.drifted.contains(&name) {
                            tools.insert(name.to_string(), Arc::new(tool));
                        }
                    }
                    Err(why) => self.unusable.push(Unusable { tool: name, why }),
                }
            }
        }
        let sources: Vec<Source<'_>> = self.policies.iter().map(|policy| Source { name: &policy.name, text: &policy.text }).collect();
        let policies = Policies::compile(&sources, &facts).map_err(WorldFault::Policies)?;
        Ok(World {
            epoch,
            tools,
            policy_digest: policies.digest().to_string(),
            policies: Arc::new(policies),
            connectors: self.connectors.values().map(|(_, connector)| connector.facts.clone()).collect(),
        })
    }
}

/// A connector, as the gates need it.
fn live(connector: &bailiwick_config::Connector) -> Connector {
    Connector {
        id: connector.id.clone(),
        fingerprint: fingerprint(connector),
        facts: connector.facts(),
        needs_credential: connector.credential.is_some(),
        call_timeout: connector.call_timeout,
    }
}

/// What the connector is and how it is reached: program, arguments, environment, folder, credential. An approval is bound to it.
fn fingerprint(connector: &bailiwick_config::Connector) -> Digest {
    let parts = format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{}",
        connector.program, connector.arguments, connector.env, connector.cwd, connector.credential, connector.shared
    );
    Digest::of(parts.as_bytes())
}

fn usable(config: &bailiwick_config::Connector, connector: &Arc<Connector>, pin: &Pin, name: &QualifiedName) -> Result<(Tool, ToolFacts), String> {
    let raw: Value = serde_json::from_str(pin.definition.get()).map_err(|fault| fault.to_string())?;
    if canonical::digest(&raw) != pin.digest {
        return Err("its stored definition is not the one that was accepted: accept it again".to_owned());
    }
    let definition = Definition::read(&raw).map_err(|fault| fault.to_string())?;
    let terms = config.terms_of(&pin.tool);
    let (kind, band) = if config.tools.contains_key(&pin.tool) { (terms.kind, terms.band) } else { (pin.kind, pin.band) };
    let schema = |fault: SchemaFault| format!("its schema: {fault}");
    let input = Validator::compile_input(definition.input_schema(), terms.undeclared).map_err(schema)?;
    let output = definition.output_schema().map(|output| Validator::compile(output, bailiwick_schemas::validate::Bounds::default()));
    let facts = ToolFacts {
        name: name.to_string(),
        connector: connector.id.to_string(),
        kind,
        band,
        input_schema: definition.input_schema().clone(),
    };
    let tool = Tool {
        name: name.clone(),
        downstream_name: pin.tool.clone(),
        connector: Arc::clone(connector),
        kind,
        band,
        digest: pin.digest,
        listed: listed(&raw, name),
        input,
        output: output.transpose().map_err(schema)?,
        labels: terms.labels,
        mirrors: Mirror::declared_by(definition.input_schema()),
    };
    Ok((tool, facts))
}

/// The pinned definition under the gateway's name. What speaks of a protocol feature that is not relayed is left out.
fn listed(raw: &Value, name: &QualifiedName) -> Value {
    let mut listed = raw.clone();
    if let Some(listed) = listed.as_object_mut() {
        listed.insert("name".to_owned(), Value::String(name.to_string()));
        listed.shift_remove("execution");
    }
    listed
}
