//! The catalogue and the policies in force: built from the pins and the configuration, swapped as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bailiwick_config::{Config, Way};
use bailiwick_pipeline::{
    catalogue::{Connector, Listed, Mirror, Tool, World},
    ports::Worlds,
};
use bailiwick_policy::{Policies, PolicyFault, Source, ToolFacts};
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
    connectors: BTreeMap<ConnectorId, (bailiwick_config::Connector, Arc<Connector>)>,
    pins: BTreeMap<ConnectorId, Vec<Pin>>,
    policies: Vec<PolicyText>,
    drifted: BTreeSet<QualifiedName>,
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
    state: State,
    built: Built,
}

impl JudgedConfig {
    /// How each connector is reached, as one digest.
    pub fn reached(&self) -> BTreeMap<ConnectorId, Digest> {
        self.state.reached()
    }

    /// The digest of the policies.
    pub fn policy_digest(&self) -> String {
        self.built.policies.digest().to_string()
    }

    /// The tools that are callable with it, but for those that drift.
    pub fn tools(&self) -> &BTreeMap<QualifiedName, Arc<Tool>> {
        &self.built.tools
    }

    /// The pins that it is judged with.
    pub fn pins(&self) -> &BTreeMap<ConnectorId, Vec<Pin>> {
        &self.state.pins
    }
}

/// What comes of pins and policies: all tools, drifted or not.
struct Built {
    tools: BTreeMap<QualifiedName, Arc<Tool>>,
    features: BTreeMap<QualifiedName, Arc<Tool>>,
    names: Arc<ExposedNames>,
    unusable: Vec<Unusable>,
    policies: Arc<Policies>,
}

impl LiveWorlds {
    /// The first world: these connectors as configured, these pins, these policies.
    pub fn new(config: &Config, pins: BTreeMap<ConnectorId, Vec<Pin>>, policies: Vec<PolicyText>) -> Result<Self, WorldFault> {
        let JudgedConfig { mut state, built } = State::judged(config, pins, policies)?;
        let first = state.take_up(built, 1);
        Ok(Self { now: ArcSwap::from_pointee(first), building: Mutex::new(state) })
    }

    /// Judges another configuration, with these pins and policies. Nothing changes by that.
    pub fn judge_config(
        config: &Config,
        pins: BTreeMap<ConnectorId, Vec<Pin>>,
        policies: Vec<PolicyText>,
    ) -> Result<JudgedConfig, WorldFault> {
        State::judged(config, pins, policies)
    }

    /// Puts a judged configuration in force: the one moment from which its connectors, tools and policies count, all together.
    /// As with [`serve`](Self::serve), whoever judges and serves does so one at a time.
    pub fn serve_config(&self, judged: JudgedConfig) {
        let JudgedConfig { state: mut next, built } = judged;
        let mut state = self.state();
        // What drifted stays out, as long as its connector is what it was.
        let is_as_before = |name: &&QualifiedName| {
            let reached = |state: &State| state.connectors.get(name.connector()).map(|(_, connector)| connector.fingerprint);
            reached(&state).is_some() && reached(&state) == reached(&next)
        };
        next.drifted = state.drifted.iter().filter(is_as_before).cloned().collect();
        let world = next.take_up(built, self.now.load().epoch + 1);
        *state = next;
        self.now.store(Arc::new(world));
    }

    /// How each connector is reached, as one digest.
    pub fn reached(&self) -> BTreeMap<ConnectorId, Digest> {
        self.state().reached()
    }

    /// Takes those of these tools out of every list and call that are not as pinned: their server offers another than was
    /// accepted, or (`None`) none that is acceptable. Returns the ones that are news. It is told at each call that finds it so, so
    /// nothing is compiled here: the other tools and the policies stay as they are.
    pub fn drift(&self, connector: &ConnectorId, found: &[(ToolName, Option<Digest>)]) -> Vec<(ToolName, Option<Digest>)> {
        let mut state = self.state();
        let pinned = |tool: &ToolName| state.pins.get(connector)?.iter().find(|pin| pin.tool == *tool).map(|pin| pin.digest);
        let differs = |(tool, digest): &&(ToolName, Option<Digest>)| pinned(tool).is_some_and(|pinned| Some(pinned) != *digest);
        let qualified = |tool: &ToolName| QualifiedName::new(connector.clone(), tool.clone());
        let mut news: Vec<_> = found.iter().filter(differs).cloned().collect();
        news.retain(|(tool, _)| state.drifted.insert(qualified(tool)));
        if news.is_empty() {
            return news;
        }
        let now = self.now.load();
        let mut tools = now.tools.clone();
        for (tool, _) in &news {
            tools.remove(&qualified(tool).to_string());
        }
        self.now.store(Arc::new(World {
            epoch: now.epoch + 1,
            tools,
            features: now.features.clone(),
            names: Arc::clone(&now.names),
            policies: Arc::clone(&now.policies),
            policy_digest: now.policy_digest.clone(),
            connectors: now.connectors.clone(),
        }));
        news
    }

    /// Judges other pins of a connector. Nothing changes by that.
    pub fn judge(&self, connector: &ConnectorId, pins: Vec<Pin>) -> Result<Judged, WorldFault> {
        let state = self.state();
        let mut all = state.pins.clone();
        all.insert(connector.clone(), pins.clone());
        let built = state.build(&all)?;
        Ok(Judged { connector: connector.clone(), pins, built })
    }

    /// Puts judged pins in force. Whoever judges and serves does so one at a time: what others accepted in between would be lost.
    pub fn serve(&self, judged: Judged) {
        let Judged { connector, pins, built } = judged;
        let mut state = self.state();
        state.drifted.retain(|name| *name.connector() != connector);
        state.pins.insert(connector, pins);
        let epoch = self.now.load().epoch + 1;
        let world = state.take_up(built, epoch);
        self.now.store(Arc::new(world));
    }

    /// The pins in force.
    pub fn pins(&self) -> BTreeMap<ConnectorId, Vec<Pin>> {
        self.state().pins.clone()
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
        self.state().unusable.clone()
    }

    /// INVARIANT: whoever swaps the world holds this lock: its epoch only rises.
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
    fn judged(
        config: &Config,
        pins: BTreeMap<ConnectorId, Vec<Pin>>,
        policies: Vec<PolicyText>,
    ) -> Result<JudgedConfig, WorldFault> {
        let connectors =
            config.connectors.iter().map(|connector| (connector.id.clone(), (connector.clone(), Arc::new(live(connector)))));
        let state = Self { connectors: connectors.collect(), pins, policies, drifted: BTreeSet::new(), unusable: Vec::new() };
        let built = state.build(&state.pins)?;
        Ok(JudgedConfig { state, built })
    }

    fn reached(&self) -> BTreeMap<ConnectorId, Digest> {
        self.connectors.iter().map(|(id, (_, connector))| (id.clone(), connector.fingerprint)).collect()
    }

    /// What these pins come to.
    fn build(&self, pins: &BTreeMap<ConnectorId, Vec<Pin>>) -> Result<Built, WorldFault> {
        let (mut tools, mut facts, mut unusable) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (id, (config, connector)) in &self.connectors {
            for pin in pins.get(id).into_iter().flatten() {
                let name = QualifiedName::new(id.clone(), pin.tool.clone());
                match usable(config, connector, pin, &name) {
                    Ok((tool, tool_facts)) => {
                        facts.push(tool_facts);
                        tools.insert(name, Arc::new(tool));
                    }
                    Err(why) => unusable.push(Unusable { tool: name, why }),
                }
            }
        }
        let mut features = BTreeMap::new();
        for (config, connector) in self.connectors.values() {
            for feature in Feature::ALL {
                match offered(config, connector, feature) {
                    Ok((tool, tool_facts)) => {
                        facts.push(tool_facts);
                        features.insert(tool.name.clone(), Arc::new(tool));
                    }
                    Err((tool, fault)) => unusable.push(Unusable { tool, why: fault.to_string() }),
                }
            }
        }
        let sources: Vec<Source<'_>> =
            self.policies.iter().map(|policy| Source { name: &policy.name, text: &policy.text }).collect();
        let policies = Arc::new(Policies::compile(&sources, &facts).map_err(WorldFault::Policies)?);
        let configs = self.connectors.values().map(|(config, _)| config);
        Ok(Built { tools, features, names: Arc::new(exposed_names(configs, pins)), unusable, policies })
    }

    /// The world of what was built, without what drifted by now.
    fn take_up(&mut self, built: Built, epoch: u64) -> World {
        let Built { mut tools, features, names, unusable, policies } = built;
        tools.retain(|name, _| !self.drifted.contains(name));
        self.unusable = unusable;
        World {
            epoch,
            tools: tools.into_iter().map(|(name, tool)| (name.to_string(), tool)).collect(),
            features,
            names,
            policy_digest: policies.digest().to_string(),
            policies,
            connectors: self.connectors.values().map(|(_, connector)| connector.facts.clone()).collect(),
        }
    }
}

/// A connector, as the gates need it.
fn live(connector: &bailiwick_config::Connector) -> Connector {
    Connector {
        id: connector.id.clone(),
        fingerprint: fingerprint(connector),
        facts: connector.facts(),
        prefix: connector.prefix,
        transport: match connector.way {
            Way::Process(_) => "pipe",
            Way::Http(_) => "tcp",
        },
        needs_credential: connector.credential.is_some(),
        call_timeout: connector.call_timeout,
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
        mirrors: Mirror::declared_by(definition.input_schema()),
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
        mirrors: Vec::new(),
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
    }
}

/// What agents call the tools that were accepted, whether they can be used or not.
pub(crate) fn exposed_names<'c>(
    connectors: impl IntoIterator<Item = &'c bailiwick_config::Connector>,
    pins: &BTreeMap<ConnectorId, Vec<Pin>>,
) -> ExposedNames {
    let accepted = connectors.into_iter().flat_map(|connector| {
        let pins = pins.get(&connector.id).into_iter().flatten();
        pins.map(|pin| (connector.qualified(&pin.tool), connector.prefix))
    });
    ExposedNames::over(accepted)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

    use bailiwick_policy::{Band, Kind};
    use bailiwick_store::ClassedBy;
    use serde_json::value::to_raw_value;

    use super::*;

    /// The demo's configuration with its tools pinned.
    fn worlds() -> LiveWorlds {
        let config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
        let pins = config.connectors.iter().map(|connector| (connector.id.clone(), pins(connector)));
        let policies =
            vec![PolicyText { name: "default".to_owned(), text: bailiwick_policy::DEFAULT_BUNDLE.to_owned(), path: None }];
        LiveWorlds::new(&config, pins.collect(), policies).unwrap()
    }

    fn pins(connector: &bailiwick_config::Connector) -> Vec<Pin> {
        let demo: bailiwick_demo::Demo = connector.process().unwrap().arguments.last().unwrap().parse().unwrap();
        crate::pinning::pins_of(connector, &crate::pinning::as_text(bailiwick_demo::definitions(demo).as_array().unwrap()), 1)
    }

    fn tickets() -> ConnectorId {
        "tickets".parse().unwrap()
    }

    #[test]
    fn a_drifted_tool_goes_once_and_nothing_else_is_made_anew() {
        let worlds = worlds();
        let before = worlds.now();
        let get: ToolName = "get".parse().unwrap();
        assert_eq!(worlds.drift(&tickets(), &[(get.clone(), None)]).len(), 1);
        let after = worlds.now();
        assert_eq!((after.epoch, after.tools.len()), (before.epoch + 1, before.tools.len() - 1));
        assert!(after.tool("tickets__get").is_none());
        assert!(Arc::ptr_eq(&before.policies, &after.policies));
        for (name, tool) in &after.tools {
            assert!(Arc::ptr_eq(tool, before.tool(name).unwrap()), "{name}");
        }
        // Each further call that finds it so tells it again: the world stays the same one.
        assert_eq!(worlds.drift(&tickets(), &[(get.clone(), None)]), []);
        assert!(Arc::ptr_eq(&worlds.now(), &after));
    }

    /// Whether its stored pin was made anew since or not: what the configuration said counts for as long as it says so.
    #[test]
    fn a_class_that_left_the_configuration_is_none() {
        let mut config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
        let before = worlds();
        let (get, name): (ToolName, QualifiedName) = ("get".parse().unwrap(), "tickets__get".parse().unwrap());
        let class = |tool: &Tool| (tool.kind, tool.band);
        assert_eq!(class(before.now().tool("tickets__get").unwrap()), (Kind::Read, Band::Low));
        let connector = config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap();
        let line = connector.tools.remove(&get).unwrap();
        let mut pins = before.pins();
        let of = |config: &Config, pins: &BTreeMap<ConnectorId, Vec<Pin>>| {
            class(&LiveWorlds::judge_config(config, pins.clone(), Vec::new()).unwrap().tools()[&name])
        };
        assert_eq!(of(&config, &pins), (Kind::Execute, Band::High));
        // What a person was shown and has accepted counts where the configuration is silent, and nowhere else.
        let pin = pins.get_mut(&tickets()).unwrap().iter_mut().find(|pin| pin.tool == get).unwrap();
        (pin.kind, pin.band, pin.classed_by) = (Kind::Write, Band::Medium, ClassedBy::Person);
        assert_eq!(of(&config, &pins), (Kind::Write, Band::Medium));
        config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap().tools.insert(get, line);
        assert_eq!(of(&config, &pins), (Kind::Read, Band::Low));
    }

    #[test]
    fn another_way_to_a_server_is_another_connector() {
        let credential =
            "credential = { provider = \"file\", path = \"/t\", inject = { header = \"Authorization\", prefix = \"Bearer \" } }";
        let ways = [
            "command = [\"/bin/t\"]".to_owned(),
            "command = [\"/bin/t\", \"x\"]".to_owned(),
            "url = \"https://t.example/mcp\"".to_owned(),
            "url = \"https://t.example/mcp/\"".to_owned(),
            "url = \"https://t.example/mcp\"\nnetworks = [\"10.1.0.0/16\"]".to_owned(),
            "url = \"https://t.example/mcp\"\nroots = \"/ca.pem\"".to_owned(),
            "url = \"https://t.example/mcp\"\nprotocol = \"legacy\"".to_owned(),
            "url = \"https://t.example/mcp\"\ndangerous_plain_http = true".to_owned(),
            "url = \"https://t.example/mcp\"\nshared = true".to_owned(),
            format!("url = \"https://t.example/mcp\"\n{credential}"),
            format!("url = \"https://t.example/mcp\"\n{}", credential.replace("Authorization", "X-Key")),
            format!("url = \"https://t.example/mcp\"\n{}", credential.replace("Bearer ", "")),
        ];
        let fingerprints = ways.iter().map(|way| {
            let config = bailiwick_config::embedded(&format!("[[connectors]]\nid = \"t\"\n{way}\n"), []).unwrap();
            fingerprint(&config.connectors[0]).to_string()
        });
        assert_eq!(fingerprints.collect::<BTreeSet<_>>().len(), ways.len());
    }

    #[test]
    fn judging_changes_nothing_and_serving_takes_back_what_drifted() {
        let worlds = worlds();
        let (get, files): (ToolName, ConnectorId) = ("get".parse().unwrap(), "files".parse().unwrap());
        worlds.drift(&tickets(), &[(get.clone(), None)]);
        let before = worlds.now();
        let mut other = worlds.pins().remove(&tickets()).unwrap();
        other.retain(|pin| pin.tool == get);
        let judged = worlds.judge(&tickets(), other).unwrap();
        assert!(Arc::ptr_eq(&worlds.now(), &before) && worlds.pins().remove(&tickets()).unwrap().len() > 1);
        // What drifts elsewhere meanwhile stays out.
        worlds.drift(&files, &[("read".parse().unwrap(), None)]);
        worlds.serve(judged);
        let after = worlds.now();
        assert!(after.epoch > before.epoch + 1);
        assert!(after.tool("tickets__get").is_some() && after.tool("tickets__search").is_none());
        assert!(after.tool("files__read").is_none());
        assert_eq!(worlds.drifted().len(), 1);
    }

    #[test]
    fn another_configuration_is_in_force_as_a_whole_and_what_drifted_stays_out() {
        let worlds = worlds();
        worlds.drift(&tickets(), &[("get".parse().unwrap(), None)]);
        let before = worlds.now();
        let mut config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
        config.connectors.retain(|connector| connector.id != "files".parse().unwrap());
        let text = "@id(\"none\") forbid (principal, action, resource);".to_owned();
        let policies = vec![PolicyText { name: "p".to_owned(), text, path: None }];
        let judged = LiveWorlds::judge_config(&config, worlds.pins(), policies.clone()).unwrap();
        assert!(Arc::ptr_eq(&worlds.now(), &before), "judging changes nothing");
        let digest = judged.policy_digest();
        worlds.serve_config(judged);
        let after = worlds.now();
        assert_eq!((after.epoch, &after.policy_digest), (before.epoch + 1, &digest));
        assert!(after.tools.keys().all(|name| !name.starts_with("files__")) && after.tool("tickets__get").is_none());
        // A connector that is another program by now shows its tools anew.
        let moved = config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap();
        let bailiwick_config::Way::Process(process) = &mut moved.way else { unreachable!() };
        process.env.insert("A".to_owned(), "b".to_owned());
        worlds.serve_config(LiveWorlds::judge_config(&config, worlds.pins(), policies).unwrap());
        assert!(worlds.now().tool("tickets__get").is_some());
    }

    #[test]
    fn a_definition_that_does_not_read_is_unusable_and_said_so() {
        let worlds = worlds();
        let mut bad = worlds.pins().remove(&tickets()).unwrap();
        bad.truncate(1);
        for pin in &mut bad {
            pin.definition = to_raw_value(&serde_json::json!({"name": "get"})).unwrap();
        }
        let judged = worlds.judge(&tickets(), bad).unwrap();
        worlds.serve(judged);
        assert_eq!(worlds.unusable().len(), 1);
        assert!(worlds.now().tools.keys().all(|name| !name.starts_with("tickets__")));
    }
}
