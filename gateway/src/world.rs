//! The catalogue and the policies in force: built from the pins and the configuration, swapped as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bailiwick_config::{Config, Way};
use bailiwick_pipeline::{
    catalogue::{Connector, Listed, Mirror, Shelf, Tool, World},
    ports::Worlds,
};
use bailiwick_policy::{Directory, KnownTool, Policies, PolicyFault, Source, ToolFacts};
use bailiwick_schemas::{
    canonical::{self, Digest},
    definition::Definition,
    exposure::ExposedNames,
    json as strict,
    names::{ConnectorId, Feature, QualifiedName, ToolName},
    validate::{SchemaFault, Validator},
};
use bailiwick_store::Pin;
use serde_json::{Value, json};

use crate::pinning::class_of;

/// A policy file, read.
#[derive(Debug, Clone)]
pub struct PolicyText {
    /// Its name in faults.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its file; none where it is part of the binary.
    pub path: Option<PathBuf>,
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
    building: Mutex<State>,
}

struct State {
    basis: Basis,
    drifted: BTreeSet<QualifiedName>,
}

/// What a world is made of. Copying it copies none of it.
#[derive(Clone)]
struct Basis {
    connectors: Arc<BTreeMap<ConnectorId, (bailiwick_config::Connector, Arc<Connector>)>>,
    pins: Arc<BTreeMap<ConnectorId, Vec<Pin>>>,
    policies: Arc<Vec<PolicyText>>,
    /// Policies that are only watched, or why they can't be.
    shadow: Option<Arc<Result<Vec<PolicyText>, String>>>,
    directory: Arc<Directory>,
    /// What comes of each connector's pins, for as long as they and its configuration stay what they are.
    compiled: BTreeMap<ConnectorId, Arc<Compiled>>,
}

/// What comes of one connector's pins: all its tools, drifted or not.
#[derive(Default)]
struct Compiled {
    shelf: Arc<Shelf>,
    known: Vec<KnownTool>,
    features: Vec<Arc<Tool>>,
    unusable: Vec<Unusable>,
}

/// Other pins of one connector, judged: everything compiles with them. They are in force once they are served.
#[must_use]
pub struct Judged {
    connector: ConnectorId,
    pins: Vec<Pin>,
    built: Built,
}

/// Another configuration, judged: everything compiles with it. It is in force once it is served.
#[must_use]
pub struct JudgedConfig {
    basis: Basis,
    built: Built,
}

impl JudgedConfig {
    /// How each connector is reached, as one digest.
    pub fn reached(&self) -> BTreeMap<ConnectorId, Digest> {
        self.basis.reached()
    }

    /// The digest of the policies.
    pub fn policy_digest(&self) -> String {
        self.built.policies.digest().to_string()
    }

    /// The tool of this name that is callable with it, if it does not drift.
    pub fn tool(&self, name: &QualifiedName) -> Option<&Arc<Tool>> {
        self.built.compiled.get(name.connector())?.shelf.tools().find(|tool| tool.name == *name)
    }

    /// The pins that it is judged with.
    pub fn pins(&self) -> &BTreeMap<ConnectorId, Vec<Pin>> {
        &self.basis.pins
    }
}

/// What comes of pins and policies.
struct Built {
    compiled: BTreeMap<ConnectorId, Arc<Compiled>>,
    names: Arc<ExposedNames>,
    policies: Arc<Policies>,
}

impl LiveWorlds {
    /// The first world: these connectors as configured, these pins, these policies.
    pub fn new(config: &Config, pins: BTreeMap<ConnectorId, Vec<Pin>>, policies: Vec<PolicyText>) -> Result<Self, WorldFault> {
        Self::watching(config, pins, policies, None)
    }

    /// The same, with policies that decide nothing, or why those can't be read.
    pub fn watching(
        config: &Config,
        pins: BTreeMap<ConnectorId, Vec<Pin>>,
        policies: Vec<PolicyText>,
        shadow: Option<Result<Vec<PolicyText>, String>>,
    ) -> Result<Self, WorldFault> {
        let basis = Basis { shadow: shadow.map(Arc::new), ..Basis::of(config, pins, policies) };
        let built = basis.build(|_, _| None)?;
        let mut state = State { basis, drifted: BTreeSet::new() };
        let first = state.take_up(built, 1);
        Ok(Self { now: ArcSwap::from_pointee(first), building: Mutex::new(state) })
    }

    /// Judges another configuration, with these pins and policies. Nothing changes by that. What stays as it is is not compiled again.
    pub fn judge_config(
        &self,
        config: &Config,
        pins: BTreeMap<ConnectorId, Vec<Pin>>,
        policies: Vec<PolicyText>,
    ) -> Result<JudgedConfig, WorldFault> {
        self.judge_config_watching(config, pins, policies, None)
    }

    /// The same, with policies that decide nothing, or why those can't be read.
    pub fn judge_config_watching(
        &self,
        config: &Config,
        pins: BTreeMap<ConnectorId, Vec<Pin>>,
        policies: Vec<PolicyText>,
        shadow: Option<Result<Vec<PolicyText>, String>>,
    ) -> Result<JudgedConfig, WorldFault> {
        let before = self.state().basis.clone();
        let basis = Basis { shadow: shadow.map(Arc::new), ..Basis::of(config, pins, policies) };
        let built = basis.build(|id, pins| before.unchanged(id, basis.connectors.get(id).map(|(config, _)| config)?, pins))?;
        Ok(JudgedConfig { basis, built })
    }

    /// Puts a judged configuration in force: the one moment from which its connectors, tools and policies count, all together.
    /// As with [`serve`](Self::serve), whoever judges and serves does so one at a time.
    pub fn serve_config(&self, judged: JudgedConfig) {
        let JudgedConfig { basis, built } = judged;
        let mut state = self.state();
        // What drifted stays out, as long as its connector is what it was.
        let reached = |basis: &Basis, name: &QualifiedName| {
            basis.connectors.get(name.connector()).map(|(_, connector)| connector.fingerprint)
        };
        let is_as_before =
            |name: &&QualifiedName| reached(&state.basis, name).is_some() && reached(&state.basis, name) == reached(&basis, name);
        let drifted = state.drifted.iter().filter(is_as_before).cloned().collect();
        let mut next = State { basis, drifted };
        let world = next.take_up(built, self.now.load().epoch + 1);
        *state = next;
        self.now.store(Arc::new(world));
    }

    /// How each connector is reached, as one digest.
    pub fn reached(&self) -> BTreeMap<ConnectorId, Digest> {
        self.state().basis.reached()
    }

    /// Takes those of these tools out of every list and call that are not as pinned: their server offers another than was
    /// accepted, or (`None`) none that is acceptable. Returns the ones that are news. It is told at each call that finds it so, so
    /// nothing is compiled here: the other tools and the policies stay as they are.
    pub fn drift(&self, connector: &ConnectorId, found: &[(ToolName, Option<Digest>)]) -> Vec<(ToolName, Option<Digest>)> {
        let mut state = self.state();
        let pinned =
            |tool: &ToolName| state.basis.pins.get(connector)?.iter().find(|pin| pin.tool == *tool).map(|pin| pin.digest);
        let differs = |(tool, digest): &&(ToolName, Option<Digest>)| pinned(tool).is_some_and(|pinned| Some(pinned) != *digest);
        let mut news: Vec<_> = found.iter().filter(differs).cloned().collect();
        news.retain(|(tool, _)| state.drifted.insert(QualifiedName::new(connector.clone(), tool.clone())));
        if news.is_empty() {
            return news;
        }
        let now = self.now.load();
        let mut shelves = now.shelves.clone();
        if let Some(shelf) = shelves.get_mut(connector) {
            *shelf = Arc::new(shelf.without(|tool| news.iter().any(|(drifted, _)| drifted == tool)));
        }
        self.now.store(Arc::new(World {
            epoch: now.epoch + 1,
            shelves,
            features: Arc::clone(&now.features),
            names: Arc::clone(&now.names),
            policies: Arc::clone(&now.policies),
            policy_digest: now.policy_digest.clone(),
            connectors: now.connectors.clone(),
            directory: Arc::clone(&now.directory),
        }));
        news
    }

    /// Judges other pins of a connector. Nothing changes by that, and nothing waits for it: it may take its time. Only the definitions
    /// of this connector are compiled.
    pub fn judge(&self, connector: &ConnectorId, pins: Vec<Pin>) -> Result<Judged, WorldFault> {
        let basis = self.state().basis.clone();
        let mut compiled = basis.compiled.clone();
        if let Some((config, live)) = basis.connectors.get(connector) {
            compiled.insert(connector.clone(), Arc::new(Compiled::of(config, live, &pins)?));
        }
        Ok(Judged { connector: connector.clone(), pins, built: basis.build_of(compiled)? })
    }

    /// Puts judged pins in force. Whoever judges and serves does so one at a time: what others accepted in between would be lost.
    pub fn serve(&self, judged: Judged) {
        let Judged { connector, pins, built } = judged;
        let mut state = self.state();
        state.drifted.retain(|name| *name.connector() != connector);
        Arc::make_mut(&mut state.basis.pins).insert(connector, pins);
        let epoch = self.now.load().epoch + 1;
        let world = state.take_up(built, epoch);
        self.now.store(Arc::new(world));
    }

    /// The pins in force.
    pub fn pins(&self) -> Arc<BTreeMap<ConnectorId, Vec<Pin>>> {
        Arc::clone(&self.state().basis.pins)
    }

    /// Where a rule is written, as far as its text tells: the source, and the line of its `@id`.
    pub fn place_of(&self, rule: &str) -> Option<String> {
        let policies = Arc::clone(&self.state().basis.policies);
        let marked = format!("@id(\"{rule}\")");
        policies.iter().find_map(|policy| {
            let line = policy.text.lines().position(|line| line.contains(&marked))?;
            Some(format!("{}:{}", policy.name, line + 1))
        })
    }

    /// The tools that were accepted, as rules may know them.
    pub fn known(&self) -> Vec<KnownTool> {
        self.state().basis.compiled.values().flat_map(|compiled| compiled.known.iter().cloned()).collect()
    }

    /// The names that agents see and send.
    pub fn names(&self) -> Arc<ExposedNames> {
        Arc::clone(&self.now.load().names)
    }

    /// The tools that drifted from their pins.
    pub fn drifted(&self) -> BTreeSet<QualifiedName> {
        self.state().drifted.clone()
    }

    /// The pinned tools that can't be used.
    pub fn unusable(&self) -> Vec<Unusable> {
        self.state().basis.compiled.values().flat_map(|compiled| compiled.unusable.iter().cloned()).collect()
    }

    /// INVARIANT: whoever swaps the world holds this lock: its epoch only rises. Nobody compiles anything while he holds it: calls that
    /// find a drift wait for it.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while it was held leaves a state that was built from before.
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tools that rules may speak of, by these connectors as configured and these pins. No rule is read.
pub(crate) fn known_tools(config: &Config, pins: &BTreeMap<ConnectorId, Vec<Pin>>) -> Result<Vec<KnownTool>, WorldFault> {
    let mut known = Vec::new();
    for connector in &config.connectors {
        let pins = pins.get(&connector.id).map_or(&[][..], Vec::as_slice);
        known.extend(Compiled::of(connector, &Arc::new(live(connector)), pins)?.known);
    }
    Ok(known)
}

impl Worlds for LiveWorlds {
    fn now(&self) -> Arc<World> {
        self.now.load_full()
    }
}

impl State {
    /// The world of what was built, without what drifted by now.
    fn take_up(&mut self, built: Built, epoch: u64) -> World {
        let Built { compiled, names, policies } = built;
        let as_pinned = |(id, compiled): (&ConnectorId, &Arc<Compiled>)| {
            let is_out = |tool: &ToolName| self.drifted.contains(&QualifiedName::new(id.clone(), tool.clone()));
            let has_drifted = self.drifted.iter().any(|name| name.connector() == id);
            let left = if has_drifted { Arc::new(compiled.shelf.without(is_out)) } else { Arc::clone(&compiled.shelf) };
            (id.clone(), left)
        };
        let shelves = compiled.iter().map(as_pinned).collect();
        let features = compiled.values().flat_map(|compiled| &compiled.features);
        let features = Arc::new(features.cloned().collect());
        self.basis.compiled = compiled;
        World {
            epoch,
            shelves,
            features,
            names,
            policy_digest: policies.digest().to_string(),
            policies,
            connectors: self.basis.connectors.values().map(|(_, connector)| connector.facts.clone()).collect(),
            directory: Arc::clone(&self.basis.directory),
        }
    }
}

impl Basis {
    /// Nothing of it is compiled yet.
    fn of(config: &Config, pins: BTreeMap<ConnectorId, Vec<Pin>>, policies: Vec<PolicyText>) -> Self {
        let connectors =
            config.connectors.iter().map(|connector| (connector.id.clone(), (connector.clone(), Arc::new(live(connector)))));
        Self {
            connectors: Arc::new(connectors.collect()),
            pins: Arc::new(pins),
            policies: Arc::new(policies),
            shadow: None,
            directory: Arc::new(config.directory()),
            compiled: BTreeMap::new(),
        }
    }

    fn reached(&self) -> BTreeMap<ConnectorId, Digest> {
        self.connectors.iter().map(|(id, (_, connector))| (id.clone(), connector.fingerprint)).collect()
    }

    /// What was compiled of this connector, where its configuration and its pins are what they were.
    fn unchanged(&self, id: &ConnectorId, config: &bailiwick_config::Connector, pins: &[Pin]) -> Option<Arc<Compiled>> {
        let (before, _) = self.connectors.get(id)?;
        let known = self.pins.get(id).map_or(&[][..], Vec::as_slice);
        let is_same = |(one, other): (&Pin, &Pin)| {
            let class = |pin: &Pin| (pin.kind, pin.band, pin.classed_by);
            one.tool == other.tool && one.digest == other.digest && class(one) == class(other)
        };
        let is_unchanged = before == config && known.len() == pins.len() && known.iter().zip(pins).all(is_same);
        self.compiled.get(id).filter(|_| is_unchanged).cloned()
    }

    /// What all of it comes to, where `known` knows of a connector what came of the same before.
    fn build(&self, known: impl Fn(&ConnectorId, &[Pin]) -> Option<Arc<Compiled>>) -> Result<Built, WorldFault> {
        let mut compiled = BTreeMap::new();
        for (id, (config, connector)) in self.connectors.iter() {
            let pins = self.pins.get(id).map_or(&[][..], Vec::as_slice);
            let one = match known(id, pins) {
                Some(known) => known,
                None => Arc::new(Compiled::of(config, connector, pins)?),
            };
            compiled.insert(id.clone(), one);
        }
        self.build_of(compiled)
    }

    /// The names and the policies over these tools.
    fn build_of(&self, compiled: BTreeMap<ConnectorId, Arc<Compiled>>) -> Result<Built, WorldFault> {
        let accepted = self.connectors.iter().flat_map(|(id, (config, _))| {
            let names = compiled.get(id).into_iter().flat_map(|compiled| compiled.accepted());
            names.map(|name| (name.clone(), config.prefix))
        });
        let names = Arc::new(ExposedNames::over(accepted));
        let (known, directory) = (|| compiled.values().flat_map(|compiled| &compiled.known), &self.directory);
        let policies = Policies::compile_among(&sources_of(&self.policies), known(), directory).map_err(WorldFault::Policies)?;
        // What is only watched keeps nothing from being in force.
        let policies = match self.shadow.as_deref() {
            None => policies,
            Some(Err(why)) => policies.with_candidate(Err(why.clone())),
            Some(Ok(texts)) => policies.with_candidate(candidate(texts, known(), directory)),
        };
        let policies = Arc::new(policies);
        Ok(Built { compiled, names, policies })
    }
}

/// The policies that are only watched, or why they can't be: a fault of them, and nothing that happens in the compiler, is anybody else's.
fn candidate<'k>(
    texts: &[PolicyText],
    known: impl Iterator<Item = &'k KnownTool>,
    directory: &Arc<Directory>,
) -> Result<Policies, String> {
    let compiled = std::panic::catch_unwind(AssertUnwindSafe(|| Policies::compile_among(&sources_of(texts), known, directory)));
    let faults = |faults: Vec<PolicyFault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    compiled.unwrap_or_else(|_| Err(Vec::new())).map_err(faults)
}

/// These policies, as they are compiled.
pub(crate) fn sources_of(texts: &[PolicyText]) -> Vec<Source<'_>> {
    texts.iter().map(|policy| Source { name: &policy.name, text: &policy.text }).collect()
}

impl Compiled {
    fn of(config: &bailiwick_config::Connector, connector: &Arc<Connector>, pins: &[Pin]) -> Result<Self, WorldFault> {
        let (mut tools, mut facts, mut unusable) = (Vec::new(), Vec::new(), Vec::new());
        for pin in pins {
            let name = config.qualified(&pin.tool);
            match usable(config, connector, pin, &name) {
                Ok((tool, tool_facts)) => {
                    facts.push(tool_facts);
                    tools.push(Arc::new(tool));
                }
                Err(why) => unusable.push(Unusable { tool: name, why }),
            }
        }
        let mut features = Vec::new();
        for feature in Feature::ALL {
            match offered(config, connector, feature) {
                Ok((tool, tool_facts)) => {
                    facts.push(tool_facts);
                    features.push(Arc::new(tool));
                }
                // It does not exist then, which denies.
                Err((name, fault)) => tracing::error!(%name, %fault, "a feature can't be judged"),
            }
        }
        let known = KnownTool::read(&facts).map_err(WorldFault::Policies)?;
        Ok(Self { shelf: Arc::new(tools.into_iter().collect()), known, features, unusable })
    }

    /// The tools that were accepted, whether they can be used or not.
    fn accepted(&self) -> impl Iterator<Item = &QualifiedName> {
        self.shelf.tools().map(|tool| &tool.name).chain(self.unusable.iter().map(|unusable| &unusable.tool))
    }
}

/// A connector, as the gates need it.
fn live(connector: &bailiwick_config::Connector) -> Connector {
    Connector {
        id: connector.id.clone(),
        fingerprint: fingerprint(connector),
        facts: connector.facts(),
        prefix: connector.prefix,
        may_ask: !connector.shared,
        elicitation_hosts: connector.elicitation_hosts.clone(),
        transport: match connector.way {
            Way::Process(_) => "pipe",
            Way::Http(_) => "tcp",
        },
        needs_credential: connector.credential.is_some(),
        call_timeout: connector.call_timeout,
        max_rate: connector.max_rate,
        pace: Arc::default(),
    }
}

/// What the connector is and how it is reached: the whole way to it, the protocol, the credential and how it gets there. An approval is
/// bound to it.
pub(crate) fn fingerprint(connector: &bailiwick_config::Connector) -> Digest {
    let bailiwick_config::Connector { way, protocol, credential, shared, relist_after, .. } = connector;
    let parts = format!("{way:?}\n{protocol:?}\n{credential:?}\n{shared}\n{relist_after:?}");
    Digest::of(parts.as_bytes())
}

fn usable(
    config: &bailiwick_config::Connector,
    connector: &Arc<Connector>,
    pin: &Pin,
    name: &QualifiedName,
) -> Result<(Tool, ToolFacts), String> {
    // It is served as it is written, so it must read in one way only.
    let limits = strict::Limits { bytes: usize::MAX, depth: strict::Limits::MESSAGE.depth };
    strict::check(pin.definition.get().as_bytes(), limits).map_err(|fault| fault.to_string())?;
    let definition = Definition::read(&pin.definition).map_err(|fault| fault.to_string())?;
    if definition.digest() != pin.digest {
        return Err("its stored definition is not the one that was accepted: accept it again".to_owned());
    }
    let terms = config.terms_of(&pin.tool);
    let (kind, band) = class_of(config, pin);
    let schema = |fault: SchemaFault| format!("its schema: {fault}");
    let input = Validator::compile_input(definition.input_schema(), terms.undeclared).map_err(schema)?;
    let output =
        definition.output_schema().map(|output| Validator::compile(output, bailiwick_schemas::validate::Bounds::default()));
    let facts = ToolFacts {
        name: name.to_string(),
        connector: connector.id.to_string(),
        kind,
        band,
        sends: terms.destination.is_some(),
        input_schema: definition.input_schema().clone(),
    };
    let tool = Tool {
        name: name.clone(),
        connector: Arc::clone(connector),
        kind,
        band,
        digest: pin.digest,
        listed: Listed::new(definition.text().get()),
        input,
        output: output.transpose().map_err(schema)?,
        labels: terms.labels,
        marks: terms.marks.clone(),
        mirrors: Mirror::declared_by(definition.input_schema()),
        cost: terms.cost,
        destination: terms.destination.clone(),
    };
    Ok((tool, facts))
}

/// A feature of a connector, as a tool whose arguments are the protocol's parameters.
fn offered(
    config: &bailiwick_config::Connector,
    connector: &Arc<Connector>,
    feature: Feature,
) -> Result<(Tool, ToolFacts), (QualifiedName, SchemaFault)> {
    let name = QualifiedName::of_feature(connector.id.clone(), feature);
    let schema = parameters_of(feature);
    let terms = config.terms_of_feature(feature);
    let input = Validator::compile_input(&schema, terms.undeclared).map_err(|fault| (name.clone(), fault))?;
    let facts = ToolFacts {
        name: name.to_string(),
        connector: connector.id.to_string(),
        kind: terms.kind,
        band: terms.band,
        sends: false,
        input_schema: schema.clone(),
    };
    let tool = Tool {
        connector: Arc::clone(connector),
        kind: terms.kind,
        band: terms.band,
        digest: canonical::digest(&schema),
        listed: Listed::new(&schema.to_string()),
        input,
        output: None,
        labels: terms.labels,
        marks: terms.marks,
        mirrors: Vec::new(),
        cost: terms.cost,
        destination: None,
        name,
    };
    Ok((tool, facts))
}

/// The parameters of a feature's method but for `_meta` (MCP `server/resources`, `server/prompts`, `server/utilities/completion`).
fn parameters_of(feature: Feature) -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "object", "additionalProperties": text()});
    match feature {
        Feature::ResourceRead => json!({"type": "object", "properties": {"uri": text()}, "required": ["uri"]}),
        Feature::PromptGet => {
            json!({"type": "object", "properties": {"name": text(), "arguments": texts()}, "required": ["name"]})
        }
        Feature::Complete => json!({
            "type": "object",
            "properties": {
                "ref": {"type": "object", "properties": {"type": text(), "name": text(), "title": text(), "uri": text()}, "required": ["type"]},
                "argument": {"type": "object", "properties": {"name": text(), "value": text()}, "required": ["name", "value"]},
                "context": {"type": "object", "properties": {"arguments": texts()}},
            },
            "required": ["ref", "argument"],
        }),
        Feature::Elicitation => {
            json!({"type": "object", "properties": {"mode": text(), "message": text(), "url": text()}, "required": ["mode", "message"]})
        }
        Feature::Sampling | Feature::Roots => json!({"type": "object"}),
    }
}

#[cfg(test)]
mod tests;
