//! The tools and the rules of the tests: each tool stands for one way to be decided about.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use bailiwick_pipeline::{
    catalogue::{Connector, Listed, Mirror, Shelf, Tool, World},
    grant::Labels,
};
use bailiwick_policy::{Band, ConnectorFacts, Kind, Policies, Source, ToolFacts};
use bailiwick_schemas::{
    canonical::digest,
    exposure::{ExposedNames, Prefix},
    names::{ConnectorId, Feature, QualifiedName},
    validate::{Bounds, Undeclared, Validator},
};
use serde_json::{Value, json};

/// What is special about a tool.
struct Spec {
    name: &'static str,
    kind: Kind,
    band: Band,
    arguments: Value,
    output: Option<Value>,
    labels: Labels,
}

fn spec(name: &'static str, kind: Kind, band: Band, arguments: Value) -> Spec {
    Spec { name, kind, band, arguments, output: None, labels: Labels::default() }
}

fn specs() -> Vec<Spec> {
    let untrusted = Labels::UNTRUSTED;
    let size = json!({"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]});
    vec![
        spec("tickets__get", Kind::Read, Band::Low, json!({"id": {"type": "string"}, "n": {}})),
        Spec {
            labels: untrusted,
            ..spec("tickets__search", Kind::Read, Band::Low, json!({"project": {"type": "string"}, "text": {"type": "string"}}))
        },
        spec("tickets__close", Kind::Write, Band::Medium, json!({"id": {"type": "string"}})),
        spec(
            "tickets__refund",
            Kind::Write,
            Band::High,
            json!({"id": {"type": "string"}, "amount_cents": {"type": "number"}, "note": {}}),
        ),
        spec("tickets__export", Kind::Exfiltrate, Band::Medium, json!({"to": {"type": "string"}})),
        spec("tickets__overflow", Kind::Write, Band::Medium, json!({"amount": {"type": "integer"}})),
        spec("tickets__banned", Kind::Read, Band::Low, json!({})),
        spec("tickets__unruled", Kind::Read, Band::Low, json!({})),
        spec("tickets__daily", Kind::Read, Band::Low, json!({})),
        spec("tickets__counted", Kind::Write, Band::Medium, json!({})),
        spec("tickets__clean", Kind::Write, Band::Medium, json!({})),
        spec("vault__get", Kind::Read, Band::Low, json!({})),
        spec("vault__put", Kind::Write, Band::Medium, json!({})),
        Spec {
            output: Some(size),
            ..spec("files__stat", Kind::Read, Band::Low, json!({"path": {"type": "string", "x-mcp-header": "Path"}}))
        },
        spec("files__delete", Kind::Write, Band::High, json!({"path": {"type": "string"}})),
        spec("files__wipe", Kind::Admin, Band::Critical, json!({})),
    ]
}

/// The rules. `tickets__unruled` is the only tool that none of them permits.
pub fn rules() -> String {
    let permitted: Vec<String> = specs()
        .iter()
        .filter(|spec| spec.name != "tickets__unruled")
        .map(|spec| spec.name.to_owned())
        .chain(feature_names().map(|name| name.to_string()).filter(|name| name != "files/prompt_get"))
        .map(|name| format!("Bailiwick::Action::\"{name}\""))
        .collect();
    let forbid = |id: &str, tool: &str, when: &str| {
        format!(
            "@id(\"{id}\") @reason(\"because {id}\") forbid (principal, action == Bailiwick::Action::\"{tool}\", resource) {when};"
        )
    };
    [
        format!("@id(\"base\") permit (principal, action in [{}], resource);", permitted.join(", ")),
        format!(
            "@approval(\"finance\") {}",
            forbid("money", "tickets__refund", "unless { context.call.approvals.contains(\"finance\") }")
        ),
        forbid("never", "tickets__banned", ""),
        forbid("overflows", "tickets__overflow", "when { context.input has amount && context.input.amount * 2 > 1000 }"),
        forbid("by-day", "tickets__daily", "when { context.call.hour < 6 }"),
        forbid("thrice", "tickets__counted", "when { context.call.calls_in_task >= 3 }"),
        forbid("tainted", "tickets__clean", "when { context.call.untrusted_input }"),
    ]
    .join("\n")
}

/// All tools under these rules.
pub fn world(epoch: u64, rules: &str) -> World {
    world_without(&[], epoch, rules)
}

/// The same, where these connectors are to have no prefix.
pub fn world_without(prefix_of: &[&str], epoch: u64, rules: &str) -> World {
    let names = ExposedNames::over(specs().into_iter().map(|spec| {
        let name: QualifiedName = spec.name.parse().unwrap();
        let is_bare = prefix_of.contains(&name.connector().as_str());
        (name, if is_bare { Prefix::Never } else { Prefix::Always })
    }));
    let policies = compiled(rules);
    let features = feature_names().map(|name| {
        let is_bare = prefix_of.contains(&name.connector().as_str());
        Arc::new(offered(name, if is_bare { Prefix::Never } else { Prefix::Always }))
    });
    let features = Arc::new(features.collect());
    World {
        epoch,
        shelves: shelves(specs().into_iter().map(|spec| Arc::new(tool(spec)))),
        features,
        names: Arc::new(names),
        policy_digest: policies.digest().to_string(),
        policies,
        connectors: ["tickets", "vault", "files"].map(connector_facts).into(),
        directory: Arc::default(),
    }
}

/// All tools and features, each changed so, under these rules beside the others.
pub fn world_changed(further: &str, change: impl Fn(&mut Tool)) -> World {
    let changed = |mut tool: Tool| {
        change(&mut tool);
        Arc::new(tool)
    };
    let features = feature_names().map(|name| changed(offered(name, Prefix::Always)));
    World {
        shelves: shelves(specs().into_iter().map(|spec| changed(tool(spec)))),
        features: Arc::new(features.collect()),
        ..world(2, &format!("{}\n{further}", rules()))
    }
}

/// A world in which this connector may be called so often a second.
pub fn world_of_pace(connector: &str, rate: u32) -> World {
    let features = feature_names().map(|name| {
        let mut tool = offered(name, Prefix::Always);
        if tool.connector.id.as_str() == connector {
            Arc::get_mut(&mut tool.connector).unwrap().max_rate = Some(rate);
        }
        Arc::new(tool)
    });
    World { features: Arc::new(features.collect()), ..world(2, &rules()) }
}

/// The tools, each with its connector's.
pub fn shelves(tools: impl Iterator<Item = Arc<Tool>>) -> BTreeMap<ConnectorId, Arc<Shelf>> {
    let mut sorted: BTreeMap<ConnectorId, Vec<Arc<Tool>>> = BTreeMap::new();
    for tool in tools {
        sorted.entry(tool.connector.id.clone()).or_default().push(tool);
    }
    sorted.into_iter().map(|(id, tools)| (id, Arc::new(tools.into_iter().collect()))).collect()
}

/// Compiled once for all tests: it takes longer than most of them.
fn compiled(rules: &str) -> Arc<Policies> {
    static DONE: LazyLock<Mutex<BTreeMap<String, Arc<Policies>>>> = LazyLock::new(Mutex::default);
    let mut done = DONE.lock().unwrap();
    let compile = || {
        let offered = feature_names().map(|name| ToolFacts {
            connector: name.connector().to_string(),
            kind: Kind::Read,
            band: Band::Low,
            sends: false,
            input_schema: parameters_of(name.feature().unwrap()),
            name: name.to_string(),
        });
        let facts: Vec<ToolFacts> = specs().iter().map(facts_of).chain(offered).collect();
        let source = Source { name: "test.cedar", text: rules };
        Arc::new(Policies::compile(&[source], &facts).unwrap_or_else(|faults| panic!("{faults:?}")))
    };
    Arc::clone(done.entry(rules.to_owned()).or_insert_with(compile))
}

fn facts_of(spec: &Spec) -> ToolFacts {
    let connector = spec.name.split("__").next().unwrap().to_owned();
    ToolFacts {
        name: spec.name.to_owned(),
        connector,
        kind: spec.kind,
        band: spec.band,
        sends: false,
        input_schema: schema_of(spec),
    }
}

fn schema_of(spec: &Spec) -> Value {
    json!({"type": "object", "properties": spec.arguments})
}

fn connector_facts(id: &str) -> ConnectorFacts {
    ConnectorFacts {
        id: id.to_owned(),
        sensitivity: "internal".to_owned(),
        environment: "production".to_owned(),
        credential: "none",
    }
}

/// What connectors offer besides tools. No rule permits the prompts of `files`.
fn feature_names() -> impl Iterator<Item = QualifiedName> {
    let of = |connector: &'static str| Feature::ALL.map(|feature| QualifiedName::of_feature(connector.parse().unwrap(), feature));
    ["tickets", "vault", "files"].into_iter().flat_map(of)
}

fn parameters_of(feature: Feature) -> Value {
    let text = json!({"type": "string"});
    match feature {
        Feature::ResourceRead => json!({"type": "object", "properties": {"uri": text}, "required": ["uri"]}),
        Feature::PromptGet => {
            json!({"type": "object", "properties": {"name": text, "arguments": {"type": "object"}}, "required": ["name"]})
        }
        Feature::Complete => json!({"type": "object", "properties": {"ref": {"type": "object"}, "argument": {"type": "object"}}}),
        Feature::Elicitation => json!({"type": "object", "properties": {"mode": text, "message": text, "url": text}}),
        Feature::Sampling | Feature::Roots => json!({"type": "object"}),
    }
}

fn offered(name: QualifiedName, prefix: Prefix) -> Tool {
    let schema = parameters_of(name.feature().unwrap());
    Tool {
        connector: Arc::new(connector(name.connector().clone(), prefix)),
        kind: Kind::Read,
        band: Band::Low,
        digest: digest(&schema),
        listed: Listed::new(&schema.to_string()),
        input: Validator::compile_input(&schema, Undeclared::Refuse).unwrap(),
        output: None,
        labels: if name.connector().as_str() == "tickets" { Labels::UNTRUSTED } else { Labels::NONE },
        mirrors: Vec::new(),
        cost: 1,
        marks: None,
        destination: None,
        name,
    }
}

fn connector(id: ConnectorId, prefix: Prefix) -> Connector {
    Connector {
        fingerprint: digest(&json!(id.as_str())),
        facts: connector_facts(id.as_str()),
        prefix,
        may_ask: true,
        elicitation_hosts: vec!["pay.example.com".to_owned()],
        transport: "pipe",
        needs_credential: id.as_str() == "vault",
        call_timeout: Duration::from_secs(30),
        max_rate: None,
        pace: Arc::default(),
        id,
    }
}

/// A world of these tools, each of which may be called by whoever is granted it.
pub fn plain_world(epoch: u64, names: &[String]) -> World {
    let facts = |name: &String| {
        let (connector, _) = name.split_once("__").unwrap();
        ToolFacts {
            name: name.clone(),
            connector: connector.to_owned(),
            kind: Kind::Read,
            band: Band::Low,
            sends: false,
            input_schema: json!({}),
        }
    };
    let text = "@id(\"p\") permit (principal, action, resource);";
    let facts: Vec<ToolFacts> = names.iter().map(facts).collect();
    let policies = Arc::new(Policies::compile(&[Source { name: "t", text }], &facts).unwrap());
    let connectors: BTreeSet<&str> = facts.iter().map(|facts| facts.connector.as_str()).collect();
    World {
        epoch,
        shelves: shelves(names.iter().map(|name| plain_tool(name))),
        features: Arc::default(),
        names: Arc::default(),
        policy_digest: policies.digest().to_string(),
        policies,
        connectors: connectors.into_iter().map(connector_facts).collect(),
        directory: Arc::default(),
    }
}

/// A world of tools with these definitions beside their names, under these rules; those of connectors whose id begins with `bare` are to have
/// no prefix.
pub fn described_world(epoch: u64, tools: &[(&str, Value)], rules: &str) -> World {
    let prefix =
        |name: &QualifiedName| if name.connector().as_str().starts_with("bare") { Prefix::Never } else { Prefix::Always };
    let tool = |(full, definition): &(&str, Value)| {
        let mut definition = definition.clone();
        let spec = Spec { output: definition.get("outputSchema").cloned(), ..spec("", Kind::Read, Band::Low, json!({})) };
        definition["name"] = full.split_once("__").unwrap().1.into();
        let schema = definition.get("inputSchema").cloned().unwrap_or_else(|| json!({"type": "object"}));
        let input = Validator::compile_input(&schema, Undeclared::Refuse).unwrap();
        Arc::new(Tool { listed: Listed::new(&definition.to_string()), digest: digest(&definition), input, ..tool_of(full, spec) })
    };
    let tools: Vec<Arc<Tool>> = tools.iter().map(tool).collect();
    let facts = |tool: &Arc<Tool>| ToolFacts {
        name: tool.name.to_string(),
        connector: tool.connector.id.to_string(),
        kind: tool.kind,
        band: tool.band,
        sends: false,
        input_schema: json!({"type": "object", "properties": {"id": {"type": "string"}}}),
    };
    let facts: Vec<ToolFacts> = tools.iter().map(facts).collect();
    let policies =
        Arc::new(Policies::compile(&[Source { name: "t", text: rules }], &facts).unwrap_or_else(|faults| panic!("{faults:?}")));
    let connectors: BTreeSet<&str> = facts.iter().map(|facts| facts.connector.as_str()).collect();
    World {
        epoch,
        names: Arc::new(ExposedNames::over(tools.iter().map(|tool| (tool.name.clone(), prefix(&tool.name))))),
        connectors: connectors.into_iter().map(connector_facts).collect(),
        directory: Arc::default(),
        shelves: shelves(tools.into_iter()),
        features: Arc::default(),
        policy_digest: policies.digest().to_string(),
        policies,
    }
}

/// Made once for all tests.
fn plain_tool(name: &str) -> Arc<Tool> {
    static DONE: LazyLock<Mutex<BTreeMap<String, Arc<Tool>>>> = LazyLock::new(Mutex::default);
    let make = || Arc::new(tool_of(name, spec("", Kind::Read, Band::Low, json!({}))));
    Arc::clone(DONE.lock().unwrap().entry(name.to_owned()).or_insert_with(make))
}

/// A tool of the catalogue, once more.
pub fn again(tool: &Tool) -> Tool {
    let spec = specs().into_iter().find(|spec| spec.name == tool.name.as_str()).unwrap();
    self::tool(spec)
}

fn tool(spec: Spec) -> Tool {
    tool_of(spec.name, spec)
}

fn tool_of(full: &str, spec: Spec) -> Tool {
    let name: QualifiedName = full.parse().unwrap();
    let schema = schema_of(&spec);
    let definition = json!({"name": full, "inputSchema": schema});
    Tool {
        connector: Arc::new(connector(name.connector().clone(), Prefix::Always)),
        name,
        kind: spec.kind,
        band: spec.band,
        digest: digest(&definition),
        listed: Listed::new(&definition.to_string()),
        input: Validator::compile_input(&schema, Undeclared::Refuse).unwrap(),
        output: spec.output.map(|schema| Validator::compile(&schema, Bounds::default()).unwrap()),
        labels: spec.labels,
        mirrors: Mirror::declared_by(&schema),
        cost: 1,
        marks: None,
        destination: None,
    }
}
