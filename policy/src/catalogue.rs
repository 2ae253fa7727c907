//! The catalogue in Cedar: one action per tool, its groups, and the types that policies are checked against.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RequestEnv, Schema};
use serde_json::{Map, Value, json};

use crate::alike::Alike;
use crate::facts::{Directory, ToolFacts};
use crate::fault::PolicyFault;
use crate::kind::{Band, Kind};
use crate::shape::{Field, Shape, record_type};

/// The action group that every tool is in.
const ANY: &str = "call";

/// The action group of tools by which data can leave: of kind `exfiltrate` or `execute`, or with an argument that says where to.
const SENDS: &str = "sends";

/// The action by which a task is handed on to another agent. It is in no group, and its resource is that agent.
pub(crate) const DELEGATE: &str = "delegate";

/// The action by which an agent gets a grant of low-risk reads by itself. It is in no group, and its resource is that agent.
pub(crate) const AUTO_GRANT: &str = "auto_grant";

/// Whether a rule that names this action is about grants themselves, and not about a call.
pub(crate) fn is_about_grants(name: &str) -> bool {
    [DELEGATE, AUTO_GRANT].contains(&name)
}

/// A tool as rules may know it, read once for as long as it stays what it is.
#[derive(Clone, Debug)]
pub struct KnownTool {
    tool: Arc<Tool>,
    is_well_named: bool,
}

impl KnownTool {
    /// Reads these tools.
    ///
    /// # Errors
    /// None that a tool could cause: whatever its schema is, it has fewer readable arguments, or none.
    pub fn read(facts: &[ToolFacts]) -> Result<Vec<Self>, Vec<PolicyFault>> {
        let names = Names::new().map_err(|fault| vec![unusable(&fault)])?;
        let known = |fact| Self { tool: Arc::new(names.tool(fact)), is_well_named: well_named(fact) };
        Ok(facts.iter().map(known).collect())
    }
}

/// The tools that have an action.
#[derive(Clone)]
pub(crate) struct Catalogue {
    pub(crate) tools: Vec<Arc<Tool>>,
    /// Names that got no action, because they don't say their connector or are there twice.
    pub(crate) left_out: Vec<String>,
    /// Who stands above grants, where that is known.
    pub(crate) directory: Option<Arc<Directory>>,
}

/// One tool with its action.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) band: Band,
    pub(crate) action: EntityUid,
    pub(crate) groups: BTreeSet<EntityUid>,
    /// Whom it is asked of: the resource of a call.
    pub(crate) connector: EntityUid,
    /// The arguments and their places.
    pub(crate) input: BTreeMap<String, Field>,
}

impl Tool {
    /// The action as an entity, for the few rules that mention `action` outside their scope.
    pub(crate) fn action_entity(&self) -> Entity {
        Entity::new_no_attrs(self.action.clone(), self.groups.iter().cloned().collect())
    }
}

impl Catalogue {
    /// Gives every well-named tool an action.
    pub(crate) fn new<'k>(known: impl IntoIterator<Item = &'k KnownTool>) -> Self {
        let known: Vec<&KnownTool> = known.into_iter().collect();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for one in &known {
            *uses.entry(&one.tool.name).or_default() += 1;
        }
        let (mut tools, mut left_out) = (Vec::new(), BTreeSet::new());
        for one in &known {
            if uses.get(one.tool.name.as_str()) == Some(&1) && one.is_well_named {
                tools.push(Arc::clone(&one.tool));
            } else {
                left_out.insert(one.tool.name.clone());
            }
        }
        Self { tools, left_out: left_out.into_iter().collect(), directory: None }
    }

    /// What rules are checked against: the schema of the tools that stand for all. No tool can spoil the bundle: one whose arguments
    /// Cedar won't take (found by trying it alone) loses them, with all that are like it.
    pub(crate) fn schema(&mut self, alike: &mut Alike) -> Result<Schema, Vec<PolicyFault>> {
        let (schema, cleared) = schema_of(&mut alike.firsts).map_err(|fault| vec![unusable(&fault)])?;
        for (tool, place) in self.tools.iter_mut().zip(&alike.of) {
            if cleared.contains(place) {
                Arc::make_mut(tool).input.clear();
            }
        }
        Ok(schema)
    }

    /// The name of every action and group, as rules write them.
    pub(crate) fn actions(&self) -> BTreeSet<String> {
        let own = self.tools.iter().flat_map(|tool| tool.groups.iter().chain([&tool.action]).map(ToString::to_string));
        let fixed = fixed_groups().chain([DELEGATE, AUTO_GRANT].map(str::to_owned));
        own.chain(fixed.map(|name| format!("Bailiwick::Action::\"{name}\""))).collect()
    }
}

/// What is asked about grants themselves, as rules know it: a hop, and a grant that an agent gets by itself. Each with the schema that the
/// rules which name its action are checked against, and no others.
pub(crate) fn about_grants() -> Result<[(Tool, Schema); 2], Vec<PolicyFault>> {
    let names = Names::new().map_err(|fault| vec![unusable(&fault)])?;
    let with_schema = |tool: Tool| {
        let schema = Schema::from_json_value(schema_json(std::slice::from_ref(&tool))).map_err(|fault| vec![unusable(&fault)])?;
        Ok::<_, Vec<PolicyFault>>((tool, schema))
    };
    Ok([with_schema(names.delegate())?, with_schema(names.auto_grant())?])
}

/// The schema of one tool, and the one form that its requests have.
pub(crate) fn alone(tool: &Tool) -> Option<(Schema, RequestEnv)> {
    let schema = Schema::from_json_value(schema_json(std::slice::from_ref(tool))).ok()?;
    let resource = tool.connector.type_name().clone();
    Some((schema, RequestEnv::new(Names::new().ok()?.grant, tool.action.clone(), resource)))
}

/// Everything that rules may speak of over these tools, as the JSON of its schema, with what each of it is.
pub(crate) fn described(catalogue: &Catalogue) -> Result<(Vec<Tool>, Value), Vec<PolicyFault>> {
    let mut tools: Vec<Tool> = catalogue.tools.iter().map(|tool| Tool::clone(tool)).collect();
    schema_of(&mut tools).map_err(|fault| vec![unusable(&fault)])?;
    tools.extend(about_grants()?.map(|(tool, _)| tool));
    let json = schema_json(&tools);
    Ok((tools, json))
}

fn unusable(fault: &dyn std::fmt::Display) -> PolicyFault {
    let help = "no bundle can be checked against it; look at the names of connectors and tools";
    PolicyFault::of_bundle(format!("the catalogue makes no Cedar schema: {fault}"), Some(help.to_owned()))
}

/// INVARIANT: a tool's name can't be that of an action group, since none of those contains `__` or `/`
/// unless a connector's id does, and then no tool of it has an action.
fn well_named(fact: &ToolFacts) -> bool {
    let named_for_its_connector = fact
        .name
        .strip_prefix(fact.connector.as_str())
        .and_then(|rest| rest.strip_prefix("__").or_else(|| rest.strip_prefix('/')))
        .is_some_and(|tool| !tool.is_empty());
    named_for_its_connector
        && !fact.connector.is_empty()
        && !fact.connector.contains([':', '/'])
        && !fact.connector.contains("__")
}

/// The type names of the `Bailiwick` namespace.
pub(crate) struct Names {
    action: EntityTypeName,
    agent: EntityTypeName,
    connector: EntityTypeName,
    environment: EntityTypeName,
    grant: EntityTypeName,
    group: EntityTypeName,
    team: EntityTypeName,
    user: EntityTypeName,
}

impl Names {
    pub(crate) fn new() -> Result<Self, Box<cedar_policy::ParseErrors>> {
        Ok(Self {
            action: "Bailiwick::Action".parse().map_err(Box::new)?,
            agent: "Bailiwick::Agent".parse().map_err(Box::new)?,
            connector: "Bailiwick::Connector".parse().map_err(Box::new)?,
            environment: "Bailiwick::Environment".parse().map_err(Box::new)?,
            grant: "Bailiwick::Grant".parse().map_err(Box::new)?,
            group: "Bailiwick::AgentGroup".parse().map_err(Box::new)?,
            team: "Bailiwick::Team".parse().map_err(Box::new)?,
            user: "Bailiwick::User".parse().map_err(Box::new)?,
        })
    }

    pub(crate) fn action(&self, id: &str) -> EntityUid {
        uid(&self.action, id)
    }

    pub(crate) fn agent(&self, id: &str) -> EntityUid {
        uid(&self.agent, id)
    }

    pub(crate) fn connector(&self, id: &str) -> EntityUid {
        uid(&self.connector, id)
    }

    pub(crate) fn grant(&self, id: &str) -> EntityUid {
        uid(&self.grant, id)
    }

    pub(crate) fn environment(&self, id: &str) -> EntityUid {
        uid(&self.environment, id)
    }

    pub(crate) fn group(&self, id: &str) -> EntityUid {
        uid(&self.group, id)
    }

    pub(crate) fn team(&self, id: &str) -> EntityUid {
        uid(&self.team, id)
    }

    pub(crate) fn user(&self, id: &str) -> EntityUid {
        uid(&self.user, id)
    }

    /// What rules may know of a hop: as if it were a tool, whose arguments say what is handed on.
    fn delegate(&self) -> Tool {
        let input = [
            ("tools", Shape::Set(Box::new(Shape::Text))),
            ("depth", Shape::Long),
            ("ttl_s", Shape::Long),
            ("ceiling", Shape::Long),
            ("purpose", Shape::Text),
        ];
        self.of_grants(DELEGATE, input)
    }

    /// What rules may know of a grant that an agent is to get by itself; `live` is how many of that kind it has.
    fn auto_grant(&self) -> Tool {
        let input = [
            ("tools", Shape::Set(Box::new(Shape::Text))),
            ("ttl_s", Shape::Long),
            ("purpose", Shape::Text),
            ("live", Shape::Long),
        ];
        self.of_grants(AUTO_GRANT, input)
    }

    fn of_grants<const N: usize>(&self, name: &str, input: [(&str, Shape); N]) -> Tool {
        Tool {
            name: name.to_owned(),
            kind: Kind::Admin,
            band: Band::Low,
            action: self.action(name),
            groups: BTreeSet::new(),
            connector: self.agent(""),
            input: input.into_iter().map(|(name, shape)| (name.to_owned(), Field { shape, required: true })).collect(),
        }
    }

    fn tool(&self, fact: &ToolFacts) -> Tool {
        let groups = [ANY.to_owned(), fact.kind.to_string(), band_group(fact.band), connector_group(&fact.connector)];
        // What runs something may send as well, and nobody says where to.
        let sends = fact.sends || matches!(fact.kind, Kind::Exfiltrate | Kind::Execute);
        let sends = sends.then(|| SENDS.to_owned());
        Tool {
            name: fact.name.clone(),
            kind: fact.kind,
            band: fact.band,
            action: self.action(&fact.name),
            groups: groups.iter().chain(&sends).map(|group| self.action(group)).collect(),
            connector: self.connector(&fact.connector),
            input: Shape::of_input(&fact.input_schema),
        }
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn band_group(band: Band) -> String {
    format!("band:{band}")
}

fn connector_group(connector: &str) -> String {
    format!("connector:{connector}")
}

/// The schema of these tools. A tool whose arguments Cedar won't take (found by trying it alone) loses them.
/// Says which did.
fn schema_of(tools: &mut [Tool]) -> Result<(Schema, BTreeSet<usize>), Box<cedar_policy::SchemaError>> {
    let mut cleared = BTreeSet::new();
    if let Ok(schema) = Schema::from_json_value(schema_json(tools)) {
        return Ok((schema, cleared));
    }
    for (place, tool) in tools.iter_mut().enumerate() {
        if Schema::from_json_value(schema_json(std::slice::from_ref(tool))).is_err() {
            tool.input.clear();
            cleared.insert(place);
        }
    }
    Ok((Schema::from_json_value(schema_json(tools)).map_err(Box::new)?, cleared))
}

/// The groups that there are whatever the tools.
fn fixed_groups() -> impl Iterator<Item = String> {
    let flat = Kind::ALL.iter().map(Kind::to_string);
    [ANY, SENDS].map(str::to_owned).into_iter().chain(flat).chain(Band::ALL.into_iter().map(band_group))
}

fn schema_json(tools: &[Tool]) -> Value {
    let mut actions = Map::new();
    for group in fixed_groups() {
        actions.insert(group, json!({}));
    }
    for tool in tools.iter().filter(|tool| !is_about_grants(&tool.name)) {
        let connector: &str = tool.connector.id().unescaped();
        actions.insert(connector_group(connector), json!({}));
    }
    for tool in tools {
        let parents: Vec<Value> = tool.groups.iter().map(|group| json!({ "id": group.id().unescaped() })).collect();
        let context = json!({ "type": "Record", "attributes": {
            "call": { "type": "Call" },
            "input": record_type(&tool.input),
        } });
        let resource = if is_about_grants(&tool.name) { "Agent" } else { "Connector" };
        let action = json!({ "memberOf": parents, "appliesTo": {
            "principalTypes": ["Grant"],
            "resourceTypes": [resource],
            "context": context,
        } });
        actions.insert(tool.name.clone(), action);
    }
    json!({ "Bailiwick": {
        "commonTypes": { "Call": record_type(&call_fields()) },
        "entityTypes": {
            "Team": {},
            "User": { "memberOfTypes": ["Team"] },
            "AgentGroup": {},
            "Agent": { "memberOfTypes": ["AgentGroup", "Team", "User"], "shape": attributes(&AGENT) },
            "Grant": { "memberOfTypes": ["Agent"], "shape": attributes(&GRANT) },
            "Environment": {},
            "Connector": { "memberOfTypes": ["Environment"], "shape": attributes(&CONNECTOR) },
        },
        "actions": actions,
    } })
}

/// The attributes of a principal, by name and Cedar type.
const GRANT: [(&str, &str); 8] = [
    ("agent", "Agent"),
    ("owner", "User"),
    ("purpose", "String"),
    ("environment", "String"),
    ("ceiling", "Long"),
    ("depth", "Long"),
    ("delegators", "Set<Agent>"),
    ("data_classes", "Set<String>"),
];

/// The attributes of a resource.
const CONNECTOR: [(&str, &str); 3] = [("sensitivity", "String"), ("environment", "String"), ("credential", "String")];

/// The attributes of an agent: those of a connector too, as a rule for any action whatever reads those of both.
const AGENT: [(&str, &str); 4] =
    [("sensitivity", "String"), ("environment", "String"), ("credential", "String"), ("trust", "Long")];

/// The names that `principal has …` may ask for.
pub(crate) fn grant_attributes() -> impl Iterator<Item = &'static str> {
    GRANT.iter().map(|(name, _)| *name)
}

/// The names that `resource has …` may ask for: of a connector, and of an agent where grants themselves are asked about.
pub(crate) fn resource_attributes(of_agent: bool) -> impl Iterator<Item = &'static str> {
    let list = if of_agent { &AGENT[..] } else { &CONNECTOR[..] };
    list.iter().map(|(name, _)| *name)
}

fn attributes(list: &[(&str, &str)]) -> Value {
    let attributes: Map<String, Value> = list
        .iter()
        .map(|(name, kind)| {
            let element = kind.strip_prefix("Set<").and_then(|kind| kind.strip_suffix('>'));
            let place = match element {
                Some(element) => json!({ "type": "Set", "element": plain(element) }),
                None => plain(kind),
            };
            ((*name).to_owned(), place)
        })
        .collect();
    json!({ "type": "Record", "attributes": attributes })
}

fn plain(kind: &str) -> Value {
    match kind {
        "Agent" | "User" => json!({ "type": "Entity", "name": kind }),
        _ => json!({ "type": kind }),
    }
}

/// The names of the facts of a call, as rules write them after `context.call.`.
pub fn fact_names() -> Vec<String> {
    call_fields().into_keys().collect()
}

/// `context.call`: every attribute is always there, so that rules need no `has`; but a budget may have no limit, and so nothing left of it.
pub(crate) fn call_fields() -> BTreeMap<String, Field> {
    let set = || Shape::Set(Box::new(Shape::Text));
    let maybe = || Field { shape: Shape::Long, required: false };
    let field = |shape| Field { shape, required: true };
    let history =
        [("tools", set()), ("connectors", set()), ("kinds", set()), ("denied", Shape::Long), ("read_sensitive", Shape::Flag)];
    let history = history.into_iter().map(|(name, shape)| (name.to_owned(), field(shape))).collect();
    [
        ("kind", Shape::Text),
        ("band", Shape::Long),
        ("environment", Shape::Text),
        ("calls_in_task", Shape::Long),
        ("writes_in_task", Shape::Long),
        ("untrusted_input", Shape::Flag),
        ("confidential", Shape::Flag),
        ("labels", set()),
        ("destination", Shape::Text),
        ("destination_host", Shape::Text),
        ("destination_hosts", set()),
        ("external", Shape::Flag),
        ("approvals", set()),
        ("transport", Shape::Text),
        ("era", Shape::Text),
        ("hour", Shape::Long),
        ("minute", Shape::Long),
        ("weekday", Shape::Long),
        ("hop_depth", Shape::Long),
        ("authn", Shape::Text),
        ("authn_strength", Shape::Long),
        ("bytes_out", Shape::Long),
        ("cost", Shape::Long),
        ("budget", Shape::Record(["calls_left", "writes_left"].map(|name| (name.to_owned(), maybe())).into())),
        ("opaque_fields", set()),
        ("detections", set()),
        ("calls_last_minute", Shape::Long),
        ("history", Shape::Record(history)),
    ]
    .into_iter()
    .map(|(name, shape)| (name.to_owned(), field(shape)))
    .collect()
}
