//! The catalogue: the tools that admins accepted, as they were pinned, and the policies compiled against them.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bailiwick_policy::{Band, ConnectorFacts, Directory, Kind, Policies};
use bailiwick_schemas::{
    canonical::Digest,
    exposure::{ExposedNames, Prefix},
    json,
    names::{ConnectorId, Feature, QualifiedName, ToolName},
    validate::Validator,
};
use serde_json::Value;

pub use crate::features::Features;
use crate::{
    grant::{Labels, ToolPattern},
    pace::Pace,
    search::ShelfWords,
};

/// A registered downstream server, as far as the gates need it.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Its id: the namespace of its tools.
    pub id: ConnectorId,
    /// What it is and how it is reached, as one digest: an approval is bound to it.
    pub fingerprint: Digest,
    /// What policies may know about it.
    pub facts: ConnectorFacts,
    /// Whether agents see its tools, prompts and resources behind its id.
    pub prefix: Prefix,
    /// What carries its messages, as traces name it (`network.transport`): `pipe` or `tcp`.
    pub transport: &'static str,
    /// Whether it may ask agents anything: not where one process serves many grants, and could not say whom it asks.
    pub may_ask: bool,
    /// Hosts of pages that it may send agents to.
    pub elicitation_hosts: Vec<String>,
    /// Whether it needs a credential lent to it.
    pub needs_credential: bool,
    /// How long one call may take in all.
    pub call_timeout: Duration,
    /// Calls in a second by all together, and twice as many at once. None is no limit.
    pub max_rate: Option<u32>,
    /// How it keeps to that.
    pub pace: Arc<Pace>,
}

/// A tool as an admin accepted it. This, not what the server says today, is what is listed, judged and validated.
pub struct Tool {
    /// Its full name. What agents call it is for the world to say ([`World::exposed`]).
    pub name: QualifiedName,
    /// Where it lives.
    pub connector: Arc<Connector>,
    /// What it does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// The pin: the digest of its whole definition.
    pub digest: Digest,
    /// The definition as agents see it: the pinned one, for the name that it is exposed under.
    pub listed: Listed,
    /// Judges arguments.
    pub input: Validator,
    /// Judges structured results, where the definition declares a schema for them.
    pub output: Option<Validator>,
    /// What its results are marked with.
    pub labels: Labels,
    /// The arguments that HTTP headers mirror.
    pub mirrors: Vec<Mirror>,
    /// What a call of it costs, in the admin's own units; 1 where nobody priced it.
    pub cost: u64,
    /// The argument that says where its data goes, as a JSON pointer (RFC 6901); none where nobody said.
    pub destination: Option<Box<str>>,
}

impl Tool {
    /// The MCP method that it is asked for by.
    pub fn method(&self) -> &'static str {
        match self.name.feature() {
            None => "tools/call",
            Some(Feature::ResourceRead) => "resources/read",
            Some(Feature::PromptGet) => "prompts/get",
            Some(Feature::Complete) => "completion/complete",
            Some(Feature::Elicitation) => "elicitation/create",
            Some(Feature::Sampling) => "sampling/createMessage",
            Some(Feature::Roots) => "roots/list",
        }
    }
}

/// A tool's definition but for its name, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its members before the name, each with a comma behind it.
    before: Box<str>,
    /// Those after it, each with a comma before it.
    after: Box<str>,
    /// Whether its results are declared to be other than objects, which only 2026-07-28 knows.
    is_odd: bool,
    /// Whether it says that it is always answered later (`execution.taskSupport`).
    is_task_only: bool,
}

impl Listed {
    /// Of this definition, a JSON object that was strictly read: every member as it was written, without its name and without what speaks
    /// of a protocol feature that is not relayed.
    pub fn new(definition: &str) -> Self {
        Self::without(definition, &["execution"])
    }

    fn without(definition: &str, left_out: &[&str]) -> Self {
        let (mut before, mut after, mut is_before) = (String::new(), String::new(), true);
        let (mut is_odd, mut is_task_only) = (false, false);
        for member in json::written(definition).unwrap_or_default() {
            match member.key.as_ref() {
                "name" => is_before = false,
                key if left_out.contains(&key) => is_task_only |= key == "execution" && needs_task(member.value.get()),
                key => {
                    is_odd |= key == "outputSchema" && !is_of_objects(member.value.get());
                    if is_before { before.extend([member.text, ","]) } else { after.extend([",", member.text]) }
                }
            }
        }
        Self { before: before.into(), after: after.into(), is_odd, is_task_only }
    }

    pub(crate) fn is_odd(&self) -> bool {
        self.is_odd
    }

    /// Whether only agents that take tasks have any use for it.
    pub(crate) fn is_task_only(&self) -> bool {
        self.is_task_only
    }

    /// The definition as versions before 2026-07-28 have it, where that differs: one that declares results which are no objects declares none.
    pub fn older(&self) -> Option<Self> {
        let whole = || format!("{{{}\"name\":\"\"{}}}", self.before, self.after);
        self.is_odd.then(|| Self::without(&whole(), &["outputSchema"]))
    }

    /// The definition under this name: a JSON object, written behind what `text` has.
    pub fn write(&self, name: &str, text: &mut String) {
        text.push('{');
        text.push_str(&self.before);
        text.push_str("\"name\":");
        text.push_str(&Value::from(name).to_string());
        text.push_str(&self.after);
        text.push('}');
    }

    /// How many bytes that are, but for the name.
    pub(crate) fn size(&self) -> usize {
        self.before.len() + self.after.len() + r#"{"name":""}"#.len()
    }
}

/// Whether an `execution` says that its tool can't be called but as a task (MCP 2025-11-25, `server/tools`).
fn needs_task(execution: &str) -> bool {
    let fields = json::fields(execution).unwrap_or_default();
    fields.iter().any(|(key, value)| key == "taskSupport" && value.get() == "\"required\"")
}

/// Whether what a schema describes is an object, as it says itself.
fn is_of_objects(schema: &str) -> bool {
    let fields = json::fields(schema).unwrap_or_default();
    fields.iter().any(|(key, value)| key == "type" && value.get() == "\"object\"")
}

/// An argument that a header `Mcp-Param-*` mirrors (`x-mcp-header`, MCP 2026-07-28): a middlebox may have routed by it, so it
/// must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The property names from the root of the arguments.
    pub path: Vec<String>,
    /// The header's name after `Mcp-Param-`, lower case.
    pub header: String,
}

impl Mirror {
    /// The mirrors that a tool's input schema declares, along `properties` alone.
    pub fn declared_by(schema: &Value) -> Vec<Self> {
        let mut found = Vec::new();
        let mut open: Vec<(Vec<String>, &Value)> = vec![(Vec::new(), schema)];
        while let Some((path, schema)) = open.pop() {
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let mut path = path.clone();
                path.push(name.clone());
                if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str).filter(|header| !header.is_empty()) {
                    found.push(Self { path: path.clone(), header: header.to_ascii_lowercase() });
                }
                open.push((path, property));
            }
        }
        found
    }

    /// What the header must say: nothing where the argument is absent, null or no scalar.
    pub fn expected(&self, arguments: &Value) -> Option<String> {
        match self.path.iter().try_fold(arguments, |value, key| value.get(key))? {
            Value::String(text) => Some(text.clone()),
            Value::Bool(yes) => Some(yes.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The callable tools of one connector, and their words.
#[derive(Debug, Default)]
pub struct Shelf {
    tools: BTreeMap<ToolName, Arc<Tool>>,
    /// Those of more tools, perhaps, than there are. Made when somebody first searches.
    words: Arc<OnceLock<Arc<ShelfWords>>>,
}

impl Shelf {
    /// Its tools, in order of their names.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values()
    }

    /// The same without these.
    #[must_use]
    pub fn without(&self, is_out: impl Fn(&ToolName) -> bool) -> Self {
        let left = self.tools.iter().filter(|(name, _)| !is_out(name));
        // Words of more tools will do, but not those of fewer for this one.
        let words = if self.words.get().is_some() { Arc::clone(&self.words) } else { Arc::default() };
        Self { tools: left.map(|(name, tool)| (name.clone(), Arc::clone(tool))).collect(), words }
    }
}

impl FromIterator<Arc<Tool>> for Shelf {
    fn from_iter<T: IntoIterator<Item = Arc<Tool>>>(tools: T) -> Self {
        let tools: BTreeMap<_, _> = tools.into_iter().filter_map(|tool| Some((tool.name.tool()?.clone(), tool))).collect();
        Self { tools, words: Arc::default() }
    }
}

/// Everything a decision rests on besides the call and its grant: swapped as a whole.
pub struct World {
    /// Rises with every change: a call decided in one epoch is not committed in another.
    pub epoch: u64,
    /// The callable tools, by connector. A tool whose definition drifted from its pin is not here.
    pub shelves: BTreeMap<ConnectorId, Arc<Shelf>>,
    /// What connectors offer besides tools, each as a tool whose arguments say what is wanted; and what they may ask of agents.
    pub features: Arc<Features>,
    /// The names that agents see and send. Over all accepted tools, whichever is callable now and whoever asks: a name does not change
    /// its meaning with a grant or a drift.
    pub names: Arc<ExposedNames>,
    /// The policies, compiled against these tools.
    pub policies: Arc<Policies>,
    /// The digest of the policies as text.
    pub policy_digest: String,
    /// What policies may know about each connector.
    pub connectors: Vec<ConnectorFacts>,
    /// What agents belong to, and to which teams those who answer for them.
    pub directory: Arc<Directory>,
}

impl World {
    /// The tool of this full name.
    pub fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        // A connector's id has no underscore: there is one way to split.
        let (connector, tool) = name.split_once("__")?;
        self.shelves.get(connector)?.tools.get(tool)
    }

    /// The callable tools, in order of their connectors and names.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.shelves.values().flat_map(|shelf| shelf.tools())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.tools.len()).sum()
    }

    /// Those that a pattern means, in order of their names.
    pub fn meant_by(&self, pattern: &ToolPattern) -> impl Iterator<Item = &Arc<Tool>> {
        let (one, all) = match pattern {
            ToolPattern::Tool(name) => (self.tool(name.as_str()), None),
            ToolPattern::Connector(connector) => (None, self.shelves.get(connector)),
        };
        one.into_iter().chain(all.into_iter().flat_map(|shelf| shelf.tools()))
    }

    /// How many that are.
    pub(crate) fn count_of(&self, pattern: &ToolPattern) -> usize {
        match pattern {
            ToolPattern::Tool(_) => 1,
            ToolPattern::Connector(connector) => self.shelves.get(connector).map_or(0, |shelf| shelf.tools.len()),
        }
    }

    /// The tool that agents call by this name. A tool that is exposed under its bare name has no other.
    pub fn called(&self, name: &str) -> Option<&Arc<Tool>> {
        let full = self.names.bare(name).map_or(name, QualifiedName::as_str);
        self.tool(full).filter(|tool| self.exposed(tool) == name)
    }

    /// The one name by which agents call this tool.
    pub fn exposed<'t>(&self, tool: &'t Tool) -> &'t str {
        self.names.of(&tool.name)
    }

    /// The feature that agents mean by the name of one of its items, and that item's own name. Behind its connector's id a prompt is
    /// `connector__prompt`, and a resource is `connector+scheme:…`, which is a URI too.
    pub fn item(&self, feature: Feature, name: &str) -> Option<(&Arc<Tool>, String)> {
        let behind = |(connector, own): (&str, &str)| {
            let connector: ConnectorId = connector.parse().ok()?;
            let tool = self.features.get(&QualifiedName::of_feature(connector, feature)).filter(|tool| !self.is_bare(tool))?;
            Some((tool, own.to_owned()))
        };
        let parts = match feature {
            Feature::PromptGet => name.split_once("__"),
            _ => name.split_once('+'),
        };
        match parts {
            // What reads as the name of another connector's item is never taken for one without a prefix, whether that connector is there
            // or not: names would tell which are.
            Some((connector, _)) if connector.parse::<ConnectorId>().is_ok() => parts.and_then(behind),
            _ => Some((self.features.bare(feature)?, name.to_owned())),
        }
    }

    /// The name by which agents ask for an item of this feature.
    pub fn exposed_item<'n>(&self, tool: &Tool, own: &'n str) -> Cow<'n, str> {
        if self.is_bare(tool) {
            return Cow::Borrowed(own);
        }
        let connector = &tool.connector.id;
        Cow::Owned(match tool.name.feature() {
            Some(Feature::PromptGet) => format!("{connector}__{own}"),
            _ => format!("{connector}+{own}"),
        })
    }

    /// Whether this feature's items have their own names alone: where its connector is to have no prefix, and is the only such one with
    /// this feature. By configuration alone, so that a name does not change its meaning with what servers say.
    pub fn is_bare(&self, tool: &Tool) -> bool {
        tool.name.feature().and_then(|feature| self.features.bare(feature)).is_some_and(|bare| bare.name == tool.name)
    }

    /// The words of a connector's tools.
    pub(crate) fn words_of(&self, connector: &ConnectorId) -> Option<&Arc<ShelfWords>> {
        let words = |shelf: &Shelf| Arc::new(ShelfWords::of(shelf.tools.values().map(AsRef::as_ref)));
        self.shelves.get(connector).map(|shelf| shelf.words.get_or_init(|| words(shelf)))
    }

    /// Whether a rule that matters to this tool reads how often its task has called, what that cost, or what its budget has left.
    pub(crate) fn reads_counters(&self, tool: &Tool) -> bool {
        self.policies.reads(tool.name.as_str()).is_none_or(|reads| {
            ["calls_in_task", "writes_in_task", "bytes_out", "cost", "budget"]
                .iter()
                .any(|counter| !reads.call().field(counter).is_nothing())
        })
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("epoch", &self.epoch).field("tools", &self.count()).finish_non_exhaustive()
    }
}
