//! The catalogue and the policies in force: built from the pins and the configuration, swapped as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bailiwick_config::{Config, Way};
use bailiwick_pipeline::{
    catalogue::{Connector, Listed, Mirror, Shelf, Tool, World},
    ports::Worlds,
};
use bailiwick_policy::{KnownTool, Policies, PolicyFault, Source, ToolFacts};
use bailiwick_schemas::{
    canonical::{self, Digest},
    definition::Definition,
    exposure::ExposedNames,
    names::{ConnectorId, QualifiedName, ToolName},
    validate::{SchemaFault, Validator},
};
use bailiwick_store::Pin;
use serde_json::Value;

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
    /// What comes of each connector's pins, for as long as they and its configuration stay what they are.
    compiled: BTreeMap<ConnectorId, Arc<Compiled>>,
}

/// What comes of one connector's pins: all its tools, drifted or not.
#[derive(Default)]
struct Compiled {
    shelf: Arc<Shelf>,
    known: Vec<KnownTool>,
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
        let basis = Basis::of(config, pins, policies);
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
        let before = self.state().basis.clone();
        let basis = Basis::of(config, pins, policies);
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
            names: Arc::clone(&now.names),
            policies: Arc::clone(&now.policies),
            policy_digest: now.policy_digest.clone(),
            connectors: now.connectors.clone(),
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
        self.basis.compiled = compiled;
        World {
            epoch,
            shelves,
            names,
            policy_digest: policies.digest().to_string(),
            policies,
            connectors: self.basis.connectors.values().map(|(_, connector)| connector.facts.clone()).collect(),
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
        let sources: Vec<Source<'_>> =
            self.policies.iter().map(|policy| Source { name: &policy.name, text: &policy.text }).collect();
        let known = compiled.values().flat_map(|compiled| &compiled.known);
        let policies = Arc::new(Policies::compile_for(&sources, known).map_err(WorldFault::Policies)?);
        Ok(Built { compiled, names, policies })
    }
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
        let known = KnownTool::read(&facts).map_err(WorldFault::Policies)?;
        Ok(Self { shelf: Arc::new(tools.into_iter().collect()), known, unusable })
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
    let raw: Value = serde_json::from_str(pin.definition.get()).map_err(|fault| fault.to_string())?;
    if canonical::digest(&raw) != pin.digest {
        return Err("its stored definition is not the one that was accepted: accept it again".to_owned());
    }
    let definition = Definition::read(&raw).map_err(|fault| fault.to_string())?;
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
        downstream_name: pin.tool.clone(),
        connector: Arc::clone(connector),
        kind,
        band,
        digest: pin.digest,
        listed: Listed::new(&raw),
        input,
        output: output.transpose().map_err(schema)?,
        labels: terms.labels,
        mirrors: Mirror::declared_by(definition.input_schema()),
    };
    Ok((tool, facts))
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
        crate::pinning::pins_of(connector, bailiwick_demo::definitions(demo).as_array().unwrap(), 1)
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
        assert_eq!((after.epoch, after.count()), (before.epoch + 1, before.count() - 1));
        assert!(after.tool("tickets__get").is_none());
        assert!(Arc::ptr_eq(&before.policies, &after.policies));
        for tool in after.tools() {
            assert!(Arc::ptr_eq(tool, before.tool(tool.name.as_str()).unwrap()), "{tool:?}");
        }
        // Each further call that finds it so tells it again: the world stays the same one.
        assert_eq!(worlds.drift(&tickets(), &[(get.clone(), None)]), []);
        assert!(Arc::ptr_eq(&worlds.now(), &after));
    }

    /// One changed definition: the tools of the other connectors are the very same, compiled once.
    #[test]
    fn what_stays_as_it_is_is_not_compiled_again() {
        let worlds = worlds();
        let before = worlds.now();
        let mut pins = worlds.pins()[&tickets()].clone();
        pins.truncate(3);
        let judged = worlds.judge(&tickets(), pins).unwrap();
        worlds.serve(judged);
        let is_same = |tool: &Arc<Tool>| before.tool(tool.name.as_str()).is_some_and(|old| Arc::ptr_eq(old, tool));
        let of_others = |tool: &Arc<Tool>| tool.connector.id != tickets();
        let now = worlds.now();
        assert_eq!(now.count(), before.tools().filter(|tool| of_others(tool)).count() + 3);
        assert!(now.tools().all(|tool| is_same(tool) == of_others(tool)));
        // So it is with another configuration: one connector is otherwise now, and one of the pins.
        let mut config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
        config.connectors.iter_mut().find(|connector| connector.id.as_str() == "files").unwrap().sensitivity =
            bailiwick_config::Sensitivity::Confidential;
        let mut pins = BTreeMap::clone(&worlds.pins());
        pins.get_mut("shop").unwrap().pop();
        let before = worlds.now();
        let judged = worlds.judge_config(&config, pins, Vec::new()).unwrap();
        worlds.serve_config(judged);
        let is_same = |tool: &Arc<Tool>| before.tool(tool.name.as_str()).is_some_and(|old| Arc::ptr_eq(old, tool));
        assert!(worlds.now().tools().all(|tool| is_same(tool) == (tool.connector.id == tickets())));
    }

    /// A drift takes a tool out, and gives no other one its name.
    #[test]
    fn names_change_by_what_an_admin_does_alone() {
        let text = bailiwick_config::DEMO.replace("[[connectors]]\n", "[[connectors]]\nprefix = \"never\"\n");
        let config = bailiwick_config::embedded(&text, []).unwrap();
        let pins: BTreeMap<ConnectorId, Vec<Pin>> =
            config.connectors.iter().map(|connector| (connector.id.clone(), pins(connector))).collect();
        let worlds = LiveWorlds::new(&config, pins.clone(), Vec::new()).unwrap();
        let exposed = |worlds: &LiveWorlds, name: &str| worlds.now().tool(name).map(|tool| worlds.now().exposed(tool).to_owned());
        // Two of the demo's connectors can search.
        assert_eq!(exposed(&worlds, "tickets__search").as_deref(), Some("tickets__search"));
        assert_eq!(exposed(&worlds, "files__search").as_deref(), Some("files__search"));
        assert_eq!(worlds.drift(&tickets(), &[("search".parse().unwrap(), None)]).len(), 1);
        assert_eq!(exposed(&worlds, "files__search").as_deref(), Some("files__search"));
        assert!(worlds.now().called("search").is_none());
        // Whoever accepts the connector's tools without that one gives the other its bare name.
        let left = pins[&tickets()].iter().filter(|pin| pin.tool.as_str() != "search").cloned().collect();
        let judged = worlds.judge(&tickets(), left).unwrap();
        worlds.serve(judged);
        assert_eq!(exposed(&worlds, "files__search").as_deref(), Some("search"));
        assert_eq!(worlds.now().called("search").map(|tool| tool.name.to_string()).as_deref(), Some("files__search"));
        assert!(worlds.now().called("files__search").is_none());
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
        let mut pins = BTreeMap::clone(&before.pins());
        let of = |config: &Config, pins: &BTreeMap<ConnectorId, Vec<Pin>>| {
            class(before.judge_config(config, pins.clone(), Vec::new()).unwrap().tool(&name).unwrap())
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
        let mut other = worlds.pins()[&tickets()].clone();
        other.retain(|pin| pin.tool == get);
        let judged = worlds.judge(&tickets(), other).unwrap();
        assert!(Arc::ptr_eq(&worlds.now(), &before) && worlds.pins()[&tickets()].len() > 1);
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
        let judged = worlds.judge_config(&config, BTreeMap::clone(&worlds.pins()), policies.clone()).unwrap();
        assert!(Arc::ptr_eq(&worlds.now(), &before), "judging changes nothing");
        let digest = judged.policy_digest();
        worlds.serve_config(judged);
        let after = worlds.now();
        assert_eq!((after.epoch, &after.policy_digest), (before.epoch + 1, &digest));
        assert!(after.tools().all(|tool| tool.connector.id.as_str() != "files") && after.tool("tickets__get").is_none());
        // A connector that is another program by now shows its tools anew.
        let moved = config.connectors.iter_mut().find(|connector| connector.id == tickets()).unwrap();
        let bailiwick_config::Way::Process(process) = &mut moved.way else { unreachable!() };
        process.env.insert("A".to_owned(), "b".to_owned());
        let moved = worlds.judge_config(&config, BTreeMap::clone(&worlds.pins()), policies).unwrap();
        worlds.serve_config(moved);
        assert!(worlds.now().tool("tickets__get").is_some());
    }

    #[test]
    fn a_definition_that_does_not_read_is_unusable_and_said_so() {
        let worlds = worlds();
        let mut bad = worlds.pins()[&tickets()].clone();
        bad.truncate(1);
        for pin in &mut bad {
            pin.definition = to_raw_value(&serde_json::json!({"name": "get"})).unwrap();
        }
        let judged = worlds.judge(&tickets(), bad).unwrap();
        worlds.serve(judged);
        assert_eq!(worlds.unusable().len(), 1);
        assert!(worlds.now().tools().all(|tool| tool.connector.id != tickets()));
    }
}
