//! `receive`: one strict parse of what an agent sent. From here on the request is immutable, and what was parsed is what is
//! judged and sent.

use bailiwick_schemas::{
    json::{self, JsonFault, Limits, Outline},
    names::Feature,
};
use bytes::Bytes;
use serde_json::Value;

pub use self::{
    meta::{LEVELS, Meta, level},
    reply::Reply,
};
use crate::{answer::with_member, aside::Wants, ids::CallId, legs, ports::Listing, principal::Presented, trace::RemoteContext};

mod meta;
mod reply;

/// The longest JSON-RPC id that is accepted, in bytes as written.
const ID_BYTES: usize = 256;

/// The longest URI, and the longest name of a prompt: what servers list is no longer, either.
const ITEM_BYTES: usize = 4096;

/// A JSON-RPC message from an agent: a request, or a notification if it has no id.
#[derive(Debug)]
pub struct Message {
    id: Option<Bytes>,
    method: String,
    /// The members of `params`, in their order; none without params.
    params: Vec<(Box<str>, Bytes)>,
    size: usize,
    values: usize,
}

/// Why a message is refused as a whole (JSON-RPC 2.0, MCP `basic`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageFault {
    /// Not JSON, or not as strict as it must be.
    #[error("{0}")]
    Json(#[from] JsonFault),
    /// Several messages at once.
    #[error("a batch is refused: send one message at a time")]
    Batch,
    /// Not an object.
    #[error("a message must be a JSON object")]
    NoObject,
    /// A response, or what another parser might take for one.
    #[error("a response is refused: nothing was asked")]
    Response,
    /// A member is missing or not what it must be.
    #[error("member `{member}` must be {wanted}")]
    Member {
        /// Which.
        member: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A key that is nearly one that means something.
    #[error("key `{0}` is too like one that means something: write it exactly, or leave it out")]
    Lookalike(String),
}

impl MessageFault {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::Json(_) => -32700,
            Self::Member { member, .. } if member.starts_with("params") => -32602,
            _ => -32600,
        }
    }
}

impl Message {
    /// Parses one message, once and strictly.
    pub fn read(body: &Bytes, limits: Limits) -> Result<Self, MessageFault> {
        let outline = json::outline(body, limits, 2)?;
        match outline.text().trim_start().as_bytes().first() {
            Some(b'{') => {}
            Some(b'[') => return Err(MessageFault::Batch),
            _ => return Err(MessageFault::NoObject),
        }
        let keys = outline.members().map(|member| member.key.as_ref());
        refuse_lookalikes(keys, &["jsonrpc", "id", "method", "params", "result", "error"])?;
        let field = |name: &str| outline.member(name).map(|member| member.value);
        if field("jsonrpc") != Some("\"2.0\"") {
            return Err(MessageFault::Member { member: "jsonrpc", wanted: "the string \"2.0\"" });
        }
        if field("result").is_some() || field("error").is_some() {
            return Err(MessageFault::Response);
        }
        let method = string(field("method")).ok_or(MessageFault::Member { member: "method", wanted: "a string" })?;
        let id = field("id").map(|id| request_id(body, id)).transpose()?;
        let params = params_of(body, &outline)?;
        Ok(Self { id, method, params, size: body.len(), values: outline.values() })
    }

    /// The id as written: a string or an integer. None for a notification.
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|id| text_of(id))
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// One member of `params`, as written.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.part(name).map(|value| text_of(value))
    }

    fn part(&self, name: &str) -> Option<&Bytes> {
        self.params.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    /// How many JSON values it has, at all depths.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// How an agent reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// The agent socket, which `bailiwick stdio` bridges to.
    Stdio,
}

impl Transport {
    /// The word used in records and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Stdio => "stdio",
        }
    }

    /// The value of the attribute `network.transport` (OpenTelemetry's MCP conventions).
    pub fn network(self) -> &'static str {
        match self {
            Self::Http => "tcp",
            Self::Stdio => "pipe",
        }
    }
}

/// A protocol version that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// 2025-06-18: with a handshake.
    V20250618,
    /// 2025-11-25: with a handshake.
    V20251125,
    /// 2026-07-28: every request stands alone.
    V20260728,
}

impl Protocol {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V20250618, Self::V20251125, Self::V20260728];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V20250618 => "2025-06-18",
            Self::V20251125 => "2025-11-25",
            Self::V20260728 => "2026-07-28",
        }
    }

    /// The version of this name, if it is served.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == name)
    }

    /// Whether it has no handshake.
    pub fn is_modern(self) -> bool {
        self == Self::V20260728
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// `tools/call`.
    Call {
        /// The tool, as the agent names it.
        name: String,
        /// The arguments: a JSON object, the very bytes that were parsed.
        arguments: Bytes,
    },
    /// `tools/list`.
    List {
        /// Where the last page said that this one begins.
        cursor: Option<String>,
    },
    /// `resources/read`, `prompts/get` or `completion/complete`.
    Item(ItemAsk),
    /// `resources/list`, `resources/templates/list` or `prompts/list`.
    Offers {
        /// Which.
        listing: Listing,
        /// Where the last page said that this one begins.
        cursor: Option<String>,
    },
    /// `tasks/get`, `tasks/update` or `tasks/cancel`.
    Task(TaskAsk),
}

/// What is asked of a call that is answered later (MCP extension `io.modelcontextprotocol/tasks`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskAsk {
    /// What.
    pub verb: TaskVerb,
    /// The handle, as the agent sends it.
    pub id: String,
}

/// What can be asked of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskVerb {
    /// Where it stands.
    Get,
    /// That it goes on, with answers to what its server asked.
    Update,
    /// That it is given up.
    Cancel,
}

impl TaskVerb {
    /// The MCP method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Get => "tasks/get",
            Self::Update => "tasks/update",
            Self::Cancel => "tasks/cancel",
        }
    }

    /// What is asked by this method.
    pub fn of(method: &str) -> Option<Self> {
        [Self::Get, Self::Update, Self::Cancel].into_iter().find(|verb| verb.method() == method)
    }
}

/// What is asked of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemAsk {
    /// Which feature.
    pub feature: Feature,
    /// Whose items the name is one of: for a suggestion, those of prompts or resources.
    pub of: Feature,
    /// The name, as the agent sends it: a URI, the name of a prompt.
    pub name: String,
    /// Whether it is asked to be told when the item changes, and not for the item itself.
    pub is_watch: bool,
    /// The members of `params`, but for `_meta`.
    members: Vec<(Box<str>, Bytes)>,
}

impl ItemAsk {
    /// The wish to hear when this resource changes.
    fn watching(uri: String) -> Self {
        let members = vec![("uri".into(), Bytes::from(Value::from(uri.as_str()).to_string()))];
        Self { feature: Feature::ResourceRead, of: Feature::ResourceRead, name: uri, is_watch: true, members }
    }

    /// What is asked for under this name, as the arguments of a tool: a JSON object, the very bytes that were received where the name
    /// is as received.
    pub fn arguments(&self, name: &str) -> Bytes {
        let mut text = String::from("{");
        for (at, (key, value)) in self.members.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "," });
            text.push_str(&Value::from(key.as_ref()).to_string());
            text.push(':');
            let value = text_of(value);
            match (self.feature, key.as_ref()) {
                _ if name == self.name => text.push_str(value),
                (Feature::ResourceRead, "uri") | (Feature::PromptGet, "name") => text.push_str(&Value::from(name).to_string()),
                (Feature::Complete, "ref") => {
                    let member = if self.of == Feature::PromptGet { "name" } else { "uri" };
                    text.push_str(with_member(value, member, name).as_deref().unwrap_or(value));
                }
                _ => text.push_str(value),
            }
        }
        text.push('}');
        Bytes::from(text)
    }
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// How it came.
    pub transport: Transport,
    /// In which protocol version.
    pub protocol: Protocol,
    /// What it shows to prove its sender.
    pub presented: Presented,
    /// What the caller says it is part of.
    pub links: Vec<RemoteContext>,
    /// What its sender can be asked (MCP client capabilities `elicitation`, `sampling` and `roots`), each as declared.
    pub capabilities: Vec<(Feature, String)>,
    /// Whether its sender takes a task for an answer, as this request declares it.
    pub takes_tasks: bool,
    /// The headers `Mcp-Param-*`, by the rest of their names in lower case, decoded; none where the protocol version or the
    /// transport has no such headers.
    pub mirrored: Option<Vec<(String, String)>>,
    /// What its sender wants to hear before the answer.
    pub wants: Wants,
    /// The members of `_meta` that are its sender's own, as they were written (see [`Meta::own`]).
    pub meta: Bytes,
    /// Why its sender makes this call, as it says (see [`Meta::reason`]).
    pub reason: Option<Box<str>>,
}

/// A request, received. Immutable: every walk of it sees the same.
#[derive(Debug)]
pub struct Received {
    call: CallId,
    asked: Asked,
    origin: Origin,
    id: Option<String>,
    size: usize,
    arrived_ns: u64,
    answers: Option<Answers>,
    /// The call that asked first, where this one brings the answers for it.
    began: Option<CallId>,
    /// What it brings because it was answered before that a person is still to decide.
    waited: Option<Box<Answers>>,
}

/// Answers to what a server asked before it could answer (MCP 2026-07-28, `basic/patterns/mrtr`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The handle that came with the questions.
    pub state: Option<String>,
    /// The answers by key: a JSON object of objects.
    pub responses: Bytes,
}

/// The same, to what the gateway asked itself while a person is to decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited<'r> {
    /// What its sender was given.
    pub(crate) state: &'r str,
    /// The answers by key: a JSON object of objects.
    pub(crate) responses: &'r [u8],
}

impl Answers {
    fn of(message: &Message) -> Result<Option<Self>, MessageFault> {
        let (state, responses) = (message.part("requestState"), message.part("inputResponses"));
        if state.is_none() && responses.is_none() {
            return Ok(None);
        }
        let wanted = |member: &'static str, wanted: &'static str| MessageFault::Member { member, wanted };
        let state = match state {
            None => None,
            Some(state) => Some(string(Some(text_of(state))).ok_or_else(|| wanted("params.requestState", "a string"))?),
        };
        let objects = "an object of objects";
        let responses = responses.cloned().unwrap_or_else(|| Bytes::from_static(b"{}"));
        let fields = json::fields(text_of(&responses)).map_err(|_| wanted("params.inputResponses", objects))?;
        if fields.iter().any(|(_, value)| !value.get().starts_with('{')) {
            return Err(wanted("params.inputResponses", objects));
        }
        Ok(Some(Self { state, responses }))
    }
}

impl Received {
    /// Receives a `tools/call`.
    pub fn call(call: CallId, message: &Message, origin: Origin, arrived_ns: u64) -> Result<Self, MessageFault> {
        refuse_lookalikes(
            message.params.iter().map(|(key, _)| key.as_ref()),
            &["name", "arguments", "_meta", "inputResponses", "requestState"],
        )?;
        let name = string(message.param("name")).ok_or(MessageFault::Member { member: "params.name", wanted: "a string" })?;
        let arguments = match message.part("arguments") {
            Some(arguments) if arguments.starts_with(b"{") => arguments.clone(),
            Some(_) => return Err(MessageFault::Member { member: "params.arguments", wanted: "an object" }),
            None => Bytes::from_static(b"{}"),
        };
        Self::new(call, Asked::Call { name, arguments }, message, origin, arrived_ns)
    }

    /// Receives a `tools/list`.
    pub fn list(call: CallId, message: &Message, origin: Origin, arrived_ns: u64) -> Result<Self, MessageFault> {
        refuse_lookalikes(message.params.iter().map(|(key, _)| key.as_ref()), &["cursor", "_meta"])?;
        Self::new(call, Asked::List { cursor: cursor(message)? }, message, origin, arrived_ns)
    }

    /// Receives a request for an item of a feature: `resources/read`, `prompts/get` or `completion/complete`.
    pub fn item(call: CallId, message: &Message, origin: Origin, arrived_ns: u64) -> Result<Self, MessageFault> {
        let (feature, known): (_, &[&str]) = match message.method() {
            "resources/read" => (Feature::ResourceRead, &["uri", "_meta", "inputResponses", "requestState"]),
            "prompts/get" => (Feature::PromptGet, &["name", "arguments", "_meta", "inputResponses", "requestState"]),
            _ => (Feature::Complete, &["ref", "argument", "context", "_meta"]),
        };
        refuse_lookalikes(message.params.iter().map(|(key, _)| key.as_ref()), known)?;
        let text = |member: &'static str, raw: Option<&str>| {
            let wanted = "a string of at most 4096 bytes";
            string(raw).filter(|name| name.len() <= ITEM_BYTES).ok_or(MessageFault::Member { member, wanted })
        };
        let (of, name) = match feature {
            Feature::ResourceRead => (feature, text("params.uri", message.param("uri"))?),
            Feature::PromptGet => (feature, text("params.name", message.param("name"))?),
            _ => referenced(message)?,
        };
        let is_own = |key: &str| !matches!(key, "_meta" | "inputResponses" | "requestState");
        let members = message.params.iter().filter(|(key, _)| is_own(key)).cloned().collect();
        Self::new(call, Asked::Item(ItemAsk { feature, of, name, is_watch: false, members }), message, origin, arrived_ns)
    }

    /// Receives the wish to hear when a resource changes: `resources/subscribe`, or one resource of `subscriptions/listen`. It is judged as a
    /// wish to read that resource is.
    pub fn watch(call: CallId, message: &Message, uri: String, origin: Origin, arrived_ns: u64) -> Result<Self, MessageFault> {
        if uri.len() > ITEM_BYTES {
            return Err(MessageFault::Member { member: "params.uri", wanted: "a string of at most 4096 bytes" });
        }
        let (asked, id) = (Asked::Item(ItemAsk::watching(uri)), message.id().map(str::to_owned));
        Ok(Self { call, asked, origin, id, size: message.size(), arrived_ns, answers: None, began: None, waited: None })
    }

    /// The same wish about this resource, under another call id.
    pub(crate) fn about(&self, uri: String, call: CallId, arrived_ns: u64) -> Self {
        let (origin, id) = (self.origin.clone(), self.id.clone());
        Self {
            call,
            asked: Asked::Item(ItemAsk::watching(uri)),
            origin,
            id,
            size: self.size,
            arrived_ns,
            answers: None,
            began: None,
            waited: None,
        }
    }

    /// Receives a request for a list of resources, resource templates or prompts.
    pub fn offers(
        call: CallId,
        listing: Listing,
        message: &Message,
        origin: Origin,
        arrived_ns: u64,
    ) -> Result<Self, MessageFault> {
        refuse_lookalikes(message.params.iter().map(|(key, _)| key.as_ref()), &["cursor", "_meta"])?;
        Self::new(call, Asked::Offers { listing, cursor: cursor(message)? }, message, origin, arrived_ns)
    }

    /// Receives what is asked of a task: `tasks/get`, `tasks/update` or `tasks/cancel`.
    pub fn task(call: CallId, verb: TaskVerb, message: &Message, origin: Origin, arrived_ns: u64) -> Result<Self, MessageFault> {
        refuse_lookalikes(message.params.iter().map(|(key, _)| key.as_ref()), &["taskId", "inputResponses", "_meta"])?;
        let id = string(message.param("taskId")).filter(|id| id.len() <= ITEM_BYTES);
        let id = id.ok_or(MessageFault::Member { member: "params.taskId", wanted: "a string of at most 4096 bytes" })?;
        if verb == TaskVerb::Update && message.param("inputResponses").is_none() {
            return Err(MessageFault::Member { member: "params.inputResponses", wanted: "an object of objects" });
        }
        let mut received = Self::new(call, Asked::Task(TaskAsk { verb, id }), message, origin, arrived_ns)?;
        if verb == TaskVerb::Update {
            received.answers = Answers::of(message)?.map(|answers| Answers { state: None, ..answers });
        }
        Ok(received)
    }

    /// A notification asks for nothing: there would be nobody to hear the answer.
    fn new(call: CallId, asked: Asked, message: &Message, origin: Origin, arrived_ns: u64) -> Result<Self, MessageFault> {
        let Some(id) = message.id() else {
            return Err(MessageFault::Member { member: "id", wanted: "given: a notification can't ask for this" });
        };
        // Older versions know no such thing: there they are members like any other that means nothing.
        let is_call = matches!(asked, Asked::Call { .. } | Asked::Item(_)) && origin.protocol.is_modern();
        let answers = if is_call { Answers::of(message)? } else { None };
        // What is the gateway's own goes to no server, and is no answer to one.
        let is_own = |answers: &Answers| answers.state.as_deref().is_some_and(legs::is_own);
        let (waited, answers) = match answers {
            Some(answers) if is_own(&answers) => (Some(Box::new(answers)), None),
            answers => (None, answers),
        };
        Ok(Self { call, asked, origin, id: Some(id.to_owned()), size: message.size(), arrived_ns, answers, began: None, waited })
    }

    /// The call id it was given on arrival.
    pub fn call_id(&self) -> &CallId {
        &self.call
    }

    /// What it asks for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The MCP method.
    pub fn method(&self) -> &'static str {
        match &self.asked {
            Asked::Call { .. } => "tools/call",
            Asked::List { .. } => "tools/list",
            Asked::Item(ask) if ask.is_watch && self.origin.protocol.is_modern() => "subscriptions/listen",
            Asked::Item(ask) if ask.is_watch => "resources/subscribe",
            Asked::Item(ask) => match ask.feature {
                Feature::ResourceRead => "resources/read",
                Feature::PromptGet => "prompts/get",
                _ => "completion/complete",
            },
            Asked::Offers { listing, .. } => listing.method(),
            Asked::Task(ask) => ask.verb.method(),
        }
    }

    /// Whether it is the wish to hear when a resource changes.
    pub fn is_watch(&self) -> bool {
        matches!(&self.asked, Asked::Item(ask) if ask.is_watch)
    }

    /// The tool as asked for; none when anything else is asked for.
    pub fn tool(&self) -> Option<&str> {
        match &self.asked {
            Asked::Call { name, .. } => Some(name),
            Asked::List { .. } | Asked::Item(_) | Asked::Offers { .. } | Asked::Task(_) => None,
        }
    }

    /// The answers that it brings.
    pub fn answers(&self) -> Option<&Answers> {
        self.answers.as_ref()
    }

    /// What it brings because its sender was answered before that a person is still to decide.
    pub(crate) fn waited(&self) -> Option<Waited<'_>> {
        let waited = self.waited.as_deref()?;
        Some(Waited { state: waited.state.as_deref().unwrap_or_default(), responses: &waited.responses })
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The same request once more, with the answers that its sender gave meanwhile.
    #[must_use]
    pub fn answering(self, answers: Answers, call: CallId, arrived_ns: u64) -> Self {
        let began = self.began.or(Some(self.call));
        Self { call, answers: Some(answers), arrived_ns, began, ..self }
    }

    /// The call that it began with, where its sender is asked while that goes on: it is not mixed up with the same call of another session.
    pub(crate) fn conversation(&self) -> Option<&CallId> {
        if self.origin.protocol.is_modern() { None } else { self.began.as_ref().or(Some(&self.call)) }
    }

    /// Whether anything may be said to its sender before the answer: he wants it, or is asked so, and it is a call.
    pub fn may_hear(&self) -> bool {
        let is_asked_so = !self.origin.capabilities.is_empty() && !self.origin.protocol.is_modern();
        (self.origin.wants.any() || is_asked_so) && matches!(self.asked, Asked::Call { .. } | Asked::Item(_))
    }

    /// Whether it may be answered with a task: it is a call of a tool, and its sender takes one.
    pub fn may_be_task(&self) -> bool {
        self.origin.takes_tasks && matches!(self.asked, Asked::Call { .. })
    }

    /// Its JSON-RPC id, as written.
    pub fn request_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// When it arrived, unix nanoseconds.
    pub fn arrived_ns(&self) -> u64 {
        self.arrived_ns
    }
}

/// The cursor of a request for a list.
fn cursor(message: &Message) -> Result<Option<String>, MessageFault> {
    match message.param("cursor") {
        None => Ok(None),
        given => string(given).map(Some).ok_or(MessageFault::Member { member: "params.cursor", wanted: "a string" }),
    }
}

/// What a request for suggestions refers to (MCP `server/utilities/completion`).
fn referenced(message: &Message) -> Result<(Feature, String), MessageFault> {
    let wanted = "`{\"type\":\"ref/prompt\",\"name\":…}` or `{\"type\":\"ref/resource\",\"uri\":…}`";
    let fault = || MessageFault::Member { member: "params.ref", wanted };
    let fields = json::fields(message.param("ref").ok_or_else(fault)?).map_err(|_| fault())?;
    refuse_lookalikes(fields.iter().map(|(key, _)| key.as_ref()), &["type", "name", "uri"])?;
    let text = |key: &str| fields.iter().find(|(name, _)| name == key).and_then(|(_, value)| string(Some(value.get())));
    let text = |key: &str| text(key).filter(|name| name.len() <= ITEM_BYTES);
    match (text("type").as_deref(), text("name"), text("uri")) {
        (Some("ref/prompt"), Some(name), None) => Ok((Feature::PromptGet, name)),
        (Some("ref/resource"), None, Some(uri)) => Ok((Feature::ResourceRead, uri)),
        _ => Err(fault()),
    }
}

/// A checked body is UTF-8: the strict parse saw to that.
fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn string(raw: Option<&str>) -> Option<String> {
    serde_json::from_str(raw?).ok()
}

/// A part of `whole` as its own handle on the same bytes.
fn slice(whole: &Bytes, part: &str) -> Bytes {
    whole.slice_ref(part.as_bytes())
}

/// The members of `params`, each as its own handle on the same bytes.
fn params_of(body: &Bytes, outline: &Outline<'_>) -> Result<Vec<(Box<str>, Bytes)>, MessageFault> {
    let Some(params) = outline.member("params") else { return Ok(Vec::new()) };
    if !params.is_object() {
        return Err(MessageFault::Member { member: "params", wanted: "an object" });
    }
    Ok(outline.members_of(params).map(|member| (member.key.as_ref().into(), slice(body, member.value))).collect())
}

fn request_id(whole: &Bytes, raw: &str) -> Result<Bytes, MessageFault> {
    let integer = raw.parse::<i64>().is_ok() && raw != "-0";
    if (raw.starts_with('"') || integer) && raw.len() <= ID_BYTES {
        Ok(slice(whole, raw))
    } else {
        Err(MessageFault::Member { member: "id", wanted: "a 64-bit integer or a string of at most 256 bytes" })
    }
}

/// Refuses keys that differ from a known one only by case or by a letter that folds to the same: another parser might take
/// one for the other.
fn refuse_lookalikes<'k>(keys: impl Iterator<Item = &'k str>, known: &[&str]) -> Result<(), MessageFault> {
    for key in keys {
        if !known.contains(&key) && known.iter().any(|known| fold(known) == fold(key)) {
            return Err(MessageFault::Lookalike(key.chars().take(40).collect()));
        }
    }
    Ok(())
}

fn fold(key: &str) -> String {
    key.trim().to_uppercase().to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests;
