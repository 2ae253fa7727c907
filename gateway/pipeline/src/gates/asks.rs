//! What a server may ask of an agent while it works on a call, and what an agent may answer.
//!
//! A question is asked only where the agent can be asked it, its grant gives the connector the right to ask it, and policy allows it. The
//! answers come back as a new call that walks every gate.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use bailiwick_policy::Decision;
use bailiwick_schemas::{
    json,
    names::{Feature, QualifiedName},
    validate::{Bounds, Validator},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Granted, Identified,
    grant::visible,
    permit::{self, Moment},
};
use crate::{
    catalogue::{Tool, World},
    grant::LiveGrant,
    ports::Ports,
    received::Answers,
    refusal::Refusal,
    rounds::{Asking, Of},
    tasks::{State, Task},
};

/// The most questions at once, the longest of a server's own states, and how long they may be together.
pub(super) const QUESTIONS: usize = 16;
const STATE_BYTES: usize = 64 * 1024;
pub(super) const QUESTIONS_BYTES: usize = 64 * 1024;
/// The longest key of a question, and the longest words of one, in characters.
const KEY_BYTES: usize = 128;
const WORDS: usize = 2000;
/// Words in a form that ask for what nobody should type into one.
const SECRETIVE: [&str; 16] = [
    "password",
    "passwd",
    "passwort",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "credential",
    "cvv",
    "cvc",
    "pincode",
    "onetimecode",
    "otp",
    "recoverycode",
];

/// The kinds of question that a server may ask during one call, as its agent declared that it takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Takes(Vec<(Feature, &'static str)>);

impl Takes {
    /// What may be asked during this call. Nothing where a rule reads the arguments of the tool or the grant bounds them, which answers would
    /// get round.
    pub(super) fn of(call: &Granted<'_>) -> Self {
        if call.identified().received().origin().capabilities.is_empty() || is_bounded(call) {
            return Self::default();
        }
        Self::at_all(call.identified(), call.tool(), call.grant(), call.world())
    }

    /// What may be asked during any call of this agent: what it takes, its grant gives the connector, and some policy could allow. Nothing
    /// where one process serves many grants.
    pub(super) fn at_all(by: &Identified<'_>, tool: &Tool, grant: &Arc<LiveGrant>, world: &Arc<World>) -> Self {
        let declared = &by.received().origin().capabilities;
        if declared.is_empty() || !tool.connector.may_ask {
            return Self::default();
        }
        let given = |feature: Feature| {
            let name = QualifiedName::of_feature(tool.connector.id.clone(), feature);
            world.features.get(&name).is_some_and(|asks| visible(world, grant, &by.principal().agent, asks))
        };
        let taken = declared.iter().filter(|(feature, _)| given(*feature)).filter_map(|(feature, text)| {
            let text = match feature {
                Feature::Elicitation => modes(text, !tool.connector.elicitation_hosts.is_empty())?,
                // What else an agent writes there is nobody's to read.
                _ => "{}",
            };
            Some((*feature, text))
        });
        Self(taken.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the capabilities of a client: a JSON object. None where it takes nothing.
    pub(super) fn declared(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut text = String::from("{");
        for (at, (feature, value)) in self.0.iter().enumerate() {
            // Writing to a string can't fail.
            let _infallible = write!(text, "{}\"{}\":{value}", if at == 0 { "" } else { "," }, feature.as_str());
        }
        text.push('}');
        Some(text)
    }

    fn has(&self, feature: Feature) -> bool {
        self.0.iter().any(|(taken, _)| *taken == feature)
    }

    /// Whether elicitation is taken in this mode.
    fn has_mode(&self, mode: &str) -> bool {
        self.0.iter().any(|(taken, modes)| *taken == Feature::Elicitation && modes.contains(&format!("\"{mode}\"")))
    }
}

/// Whether something is decided by the arguments of this call: a rule that reads them, or a bound of its grant. What an item is called is
/// no argument that an answer could stand for.
pub(super) fn is_bounded(call: &Granted<'_>) -> bool {
    let tool = call.tool();
    let is_name = |pointer: &str| tool.name.tool().is_none() && matches!(pointer, "/uri" | "/name");
    let is_read =
        call.world().policies.reads(tool.name.as_str()).is_none_or(|reads| reads.arguments() || !reads.input().is_nothing());
    is_read
        || call.grant().chain().any(|grant| {
            let rights = grant.rights();
            let mut covering = rights.iter().filter(|right| right.covers(&tool.name, tool.kind));
            covering.any(|right| right.args.keys().any(|pointer| !is_name(pointer)))
        })
}

/// In which ways an agent takes elicitation (MCP 2026-07-28, `client/elicitation`; older agents say `{}` and mean forms). None where
/// nothing is left without pages.
fn modes(declared: &str, with_pages: bool) -> Option<&'static str> {
    let fields = json::fields(declared).ok()?;
    let has = |key: &str| fields.iter().any(|(name, value)| name == key && value.get().starts_with('{'));
    match (has("form") || !has("url"), has("url") && with_pages) {
        (true, true) => Some(r#"{"form":{},"url":{}}"#),
        (true, false) => Some(r#"{"form":{}}"#),
        (false, true) => Some(r#"{"url":{}}"#),
        (false, false) => None,
    }
}

/// Answers that may be sent, and the round that they end.
pub(super) struct Answered {
    /// The handle that they came with; it is taken at the commit.
    pub(super) handle: Option<String>,
    /// The server's own state.
    pub(super) state: Option<String>,
    /// The answers, by the server's keys: a JSON object.
    pub(super) responses: Bytes,
}

/// Judges the answers that a call brings: by what was asked, where it brings a handle of ours.
pub(super) fn answered(call: &Granted<'_>, arguments: &Value, takes: &Takes, ports: &Ports) -> Result<Option<Answered>, Refusal> {
    let Some(Answers { state, responses }) = call.identified().received().answers() else { return Ok(None) };
    if takes.is_empty() {
        return Err(Refusal::answers_not_taken("nothing can be asked during this call, and so nothing is to be answered"));
    }
    let Some(handle) = state else {
        // A server may take answers that it did not ask for: of these it gets the form alone, and nothing is decided by arguments here.
        let responses = rebuilt(responses, |_, response| plain_answer(response))?;
        return Ok(Some(Answered { handle: None, state: None, responses }));
    };
    let stranger =
        || Refusal::answers_not_taken("`requestState` is not one that waits for answers to this call: call again without it");
    let round = ports.rounds.find(handle, ports.clock.now_ms()).ok_or_else(stranger)?;
    if round.of != Of::this(call, arguments) {
        return Err(stranger());
    }
    let responses = rebuilt(responses, |key, response| asked_answer(round.asked.get(key), response, takes))?;
    Ok(Some(Answered { handle: Some(handle.clone()), state: round.state.clone(), responses }))
}

/// Judges the answers that go to a task: by what it asks.
pub(super) fn answered_later(call: &Granted<'_>, task: &Task, takes: &Takes) -> Result<Option<Answered>, Refusal> {
    let Some(Answers { responses, .. }) = call.identified().received().answers() else { return Ok(None) };
    // Judging takes its time: nobody is to wait for the task meanwhile.
    let asked = if let State::Remote(remote) = &*task.state() { remote.asked.clone() } else { BTreeMap::new() };
    let responses = rebuilt(responses, |key, response| asked_answer(asked.get(key), response, takes))?;
    Ok(Some(Answered { handle: None, state: None, responses }))
}

/// The answer to a question; none, where it was not asked: what was not asked for is left out.
fn asked_answer(asking: Option<&Asking>, response: &Value, takes: &Takes) -> Result<Option<Value>, String> {
    match asking {
        None => Ok(None),
        Some(asking) if !takes.has(asking.feature()) => Err("is to a question that may not be asked any more".to_owned()),
        Some(Asking::Form(schema)) => form_answer(response, schema).map(Some),
        Some(Asking::Page) => form_answer(response, &json!({"type": "object", "maxProperties": 0})).map(Some),
        Some(Asking::Other(_)) => plain_answer(response),
    }
}

/// Answers, each made anew of what it may say: nothing goes on that was not looked at.
fn rebuilt(responses: &Bytes, answer: impl Fn(&str, &Value) -> Result<Option<Value>, String>) -> Result<Bytes, Refusal> {
    let fault = |key: &str, why: &str| {
        Refusal::answers_not_taken(format!("the answer `{}` {why}", key.chars().take(64).collect::<String>()))
    };
    let read: Value = serde_json::from_slice(responses).map_err(|_| fault("", "can't be read"))?;
    let mut kept = serde_json::Map::new();
    for (key, response) in read.as_object().into_iter().flatten() {
        if key.len() > KEY_BYTES {
            return Err(fault(key, "has too long a key"));
        }
        if let Some(response) = answer(key, response).map_err(|why| fault(key, &why))? {
            kept.insert(key.clone(), response);
        }
    }
    Ok(Bytes::from(Value::Object(kept).to_string()))
}

/// The answer to a form: what it was asked for, or that it isn't given.
fn form_answer(response: &Value, schema: &Value) -> Result<Value, String> {
    match response.get("action").and_then(Value::as_str) {
        Some(action @ ("decline" | "cancel")) => Ok(json!({ "action": action })),
        Some("accept") => {
            let validator = Validator::compile(schema, Bounds::default())
                .map_err(|_| "is to a form that can't be judged: decline it".to_owned())?;
            let content = response.get("content").cloned();
            let places = validator.check(content.as_ref().unwrap_or(&json!({}))).err();
            match places {
                None => Ok(content
                    .map_or_else(|| json!({"action": "accept"}), |content| json!({"action": "accept", "content": content}))),
                Some(places) => {
                    let list: Vec<String> = places.iter().map(|place| format!("{}: {}", place.pointer, place.message)).collect();
                    Err(format!("is not what was asked for: {}", list.join("; ")))
                }
            }
        }
        _ => Err("must have an `action`: accept, decline or cancel".to_owned()),
    }
}

/// The members that an answer of any kind may have (MCP `client/elicitation`, `client/sampling`, `client/roots`).
fn plain_answer(response: &Value) -> Result<Option<Value>, String> {
    const KNOWN: [&str; 7] = ["action", "content", "role", "model", "stopReason", "roots", "_meta"];
    let members = response.as_object().ok_or("must be an object")?;
    if let Some(strange) = members.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("has a member `{}` that no answer has", strange.chars().take(40).collect::<String>()));
    }
    Ok(Some(response.clone()))
}

/// What a server asks, screened: under which keys, and how it is put to the agent.
pub(super) struct Questions {
    pub(super) asked: BTreeMap<String, Asking>,
    /// A JSON object.
    pub(super) requests: String,
    pub(super) state: Option<String>,
}

/// Judges a result that asks (`input_required`).
pub(super) fn questions(
    requests: Option<&str>,
    state: Option<&str>,
    call: &Granted<'_>,
    takes: &Takes,
    ports: &Ports,
) -> Result<Questions, String> {
    if takes.is_empty() {
        return Err("it asks for input, which was not offered for this call".to_owned());
    }
    let state = state
        .map(|state| serde_json::from_str::<String>(state).map_err(|_| "`requestState` must be a string".to_owned()))
        .transpose()?;
    if state.as_ref().is_some_and(|state| state.len() > STATE_BYTES) {
        return Err(format!("`requestState` has more than {STATE_BYTES} bytes"));
    }
    let fields = requests.map_or(Ok(Vec::new()), json::fields).map_err(|_| "`inputRequests` must be an object".to_owned())?;
    if fields.is_empty() && state.is_none() {
        return Err("it asks for input and does not say which".to_owned());
    }
    if fields.len() > QUESTIONS || requests.map_or(0, str::len) > QUESTIONS_BYTES {
        return Err(format!(
            "it asks {} questions: at most {QUESTIONS} of {QUESTIONS_BYTES} bytes together may pass",
            fields.len()
        ));
    }
    let (mut asked, mut put) = (BTreeMap::new(), serde_json::Map::new());
    for (key, request) in &fields {
        if key.len() > KEY_BYTES || key.chars().any(is_hidden) {
            return Err("a question has a key that may not pass".to_owned());
        }
        let (asking, request) = question(request.get(), call, takes, ports)?;
        put.insert(key.to_string(), request);
        asked.insert(key.to_string(), asking);
    }
    Ok(Questions { asked, requests: Value::Object(put).to_string(), state })
}

/// One question, as it is put to the agent: made anew of what was looked at.
pub(super) fn question(request: &str, call: &Granted<'_>, takes: &Takes, ports: &Ports) -> Result<(Asking, Value), String> {
    let request: Value = serde_json::from_str(request).map_err(|_| "a question can't be read".to_owned())?;
    let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
    let feature = match method {
        "elicitation/create" => Feature::Elicitation,
        "sampling/createMessage" => Feature::Sampling,
        "roots/list" => Feature::Roots,
        _ => return Err("it asks what is no question of the protocol".to_owned()),
    };
    if !takes.has(feature) {
        return Err(format!("it asks by `{method}`, which was not offered for this call"));
    }
    let params = request.get("params").cloned().unwrap_or_else(|| json!({}));
    if feature != Feature::Elicitation {
        let params = params.as_object().ok_or("a question's `params` must be an object")?;
        allowed(feature, &json!({}), call, ports)?;
        let params = if feature == Feature::Sampling { sampling(params, &call.tool().connector.id) } else { json!({}) };
        return Ok((Asking::Other(feature), json!({"method": method, "params": params})));
    }
    let message = params.get("message").and_then(Value::as_str).ok_or("an elicitation must have a `message`")?;
    let mode = params.get("mode").map_or(Some("form"), Value::as_str).ok_or("the `mode` of an elicitation must be a string")?;
    if !takes.has_mode(mode) {
        return Err("it asks in a mode that was not offered for this call".to_owned());
    }
    // The agent sees us as who asks: it is told who does, in words that can't hide that.
    let told = json!(format!("[{}] {}", call.tool().connector.id, plain_words(message)));
    let (asking, url, put) = if mode == "form" {
        let schema = form(params.get("requestedSchema"), message)?;
        (Asking::Form(schema.clone()), "", json!({"mode": "form", "message": told, "requestedSchema": plainly(&schema)}))
    } else {
        let url = page(params.get("url"), &call.tool().connector.elicitation_hosts)?;
        (Asking::Page, url, json!({"mode": "url", "message": told, "url": url}))
    };
    allowed(feature, &json!({"mode": mode, "message": message, "url": url}), call, ports)?;
    Ok((asking, json!({"method": method, "params": put})))
}

/// What a server asks a model (MCP `client/sampling`): its own messages, and no more. To the agent this gateway is one server: what it may
/// be asked of "this server" is another's.
fn sampling(params: &serde_json::Map<String, Value>, connector: &bailiwick_schemas::names::ConnectorId) -> Value {
    const KNOWN: [&str; 5] = ["messages", "modelPreferences", "maxTokens", "temperature", "stopSequences"];
    let mut kept: serde_json::Map<String, Value> =
        params.iter().filter(|(key, _)| KNOWN.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())).collect();
    let system = params.get("systemPrompt").and_then(Value::as_str).unwrap_or_default();
    // Who reads it knows whose words these are.
    kept.insert("systemPrompt".to_owned(), format!("[{connector}] {system}").trim_end().into());
    Value::Object(kept)
}

/// Words without what could hide others: no controls, no line ends, no marks that turn or join text, and not too many of them.
pub(super) fn plain_words(text: &str) -> String {
    text.chars().take(WORDS).map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A form as the specification has it (`client/elicitation`): what some servers' libraries write besides, as a title for all of it, some
/// clients take for no form at all.
fn plainly(schema: &Value) -> Value {
    let members = schema.as_object().into_iter().flatten();
    let plain = members.filter(|(key, _)| matches!(key.as_str(), "$schema" | "type" | "properties" | "required"));
    Value::Object(plain.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// What a field of a form may say of itself.
const FIELD: [&str; 21] = [
    "type",
    "title",
    "description",
    "default",
    "minLength",
    "maxLength",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "enum",
    "enumNames",
    "const",
    "items",
    "oneOf",
    "anyOf",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// Whether this is a list of plain values to choose from, or how the items of one are: each a value with its title, and nothing deeper.
fn is_choice(choice: &Value) -> bool {
    let is_value = |value: &Value| !value.is_object() && !value.is_array();
    let is_one = |one: &Value| {
        one.as_object().is_some_and(|one| {
            one.iter().all(|(key, value)| matches!(key.as_str(), "const" | "title" | "description" | "type") && is_value(value))
        })
    };
    match choice {
        Value::Array(all) => all.iter().all(is_one),
        Value::Object(items) => items.iter().all(|(key, value)| match key.as_str() {
            "enum" => value.as_array().is_some_and(|all| all.iter().all(is_value)),
            "oneOf" | "anyOf" => value.is_array() && is_choice(value),
            "type" | "title" | "description" | "format" | "minLength" | "maxLength" => is_value(value),
            _ => false,
        }),
        _ => false,
    }
}

/// All texts in a value, the names of its members too.
fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(all) => all.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.push(key);
            texts(value, found);
        }),
        _ => {}
    }
}

/// The schema of a form (MCP `client/elicitation`): one level of plain fields, which ask for no secret.
fn form(schema: Option<&Value>, message: &str) -> Result<Value, String> {
    const TOP: [&str; 7] = ["type", "properties", "required", "title", "description", "$schema", "additionalProperties"];
    let schema = schema.and_then(Value::as_object).ok_or("an elicitation by form must have a `requestedSchema`")?;
    let not_flat = || "its form is not one level of plain fields".to_owned();
    if schema.keys().any(|key| !TOP.contains(&key.as_str())) || schema.get("type").is_some_and(|kind| kind != "object") {
        return Err(not_flat());
    }
    if is_secretive(message) {
        return Err("it asks for a secret by form, which no server may".to_owned());
    }
    let properties = schema.get("properties").map(|properties| properties.as_object().ok_or_else(not_flat)).transpose()?;
    for (name, property) in properties.into_iter().flatten() {
        let property = property.as_object().ok_or_else(not_flat)?;
        let kind = property.get("type").and_then(Value::as_str);
        let is_plain = matches!(kind, Some("string" | "number" | "integer" | "boolean" | "array"));
        if !is_plain || property.keys().any(|key| !FIELD.contains(&key.as_str())) || !name.is_ascii() || name.len() > KEY_BYTES {
            return Err(not_flat());
        }
        let mut choices = ["items", "oneOf", "anyOf"].iter().filter_map(|key| property.get(*key));
        if choices.any(|choice| !is_choice(choice)) {
            return Err(not_flat());
        }
        if is_secretive(name) || property.get("format").is_some_and(|format| format == "password") {
            return Err("it asks for a secret by form, which no server may".to_owned());
        }
    }
    let mut words = Vec::new();
    for (key, value) in schema.iter().filter(|(key, _)| *key != "$schema") {
        words.push(key.as_str());
        texts(value, &mut words);
    }
    if words.iter().any(|text| is_secretive(text)) {
        return Err("it asks for a secret by form, which no server may".to_owned());
    }
    if words.iter().any(|text| text.chars().count() > WORDS || text.chars().any(is_hidden)) {
        return Err("its form has words that may not pass".to_owned());
    }
    Ok(Value::Object(schema.clone()))
}

fn is_secretive(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    SECRETIVE.iter().any(|word| plain.contains(word))
}

/// A page at a host that may be visited, over TLS, written so that every reader finds the same host in it.
fn page<'q>(url: Option<&'q Value>, hosts: &[String]) -> Result<&'q str, String> {
    let text = url.and_then(Value::as_str).unwrap_or_default();
    let is_fit =
        url::Url::parse(text).is_ok_and(|read| read.scheme() == "https" && read.port().is_none() && read.as_str() == text);
    let host = url.and_then(crate::constraint::url_host);
    match host {
        Some(host) if is_fit && text.len() <= WORDS && hosts.contains(&host) => Ok(text),
        _ => Err("it sends the agent to a page that is not at one of the connector's `elicitation_hosts`, or not plainly so"
            .to_owned()),
    }
}

/// Whether the policies allow this question now. A person's approval can't be asked for it.
fn allowed(feature: Feature, input: &Value, call: &Granted<'_>, ports: &Ports) -> Result<(), String> {
    let world = call.world();
    if !Arc::ptr_eq(&ports.worlds.now(), world) {
        return Err("what it may ask changed while it worked".to_owned());
    }
    let name = QualifiedName::of_feature(call.tool().connector.id.clone(), feature);
    let asks = world.features.get(&name).ok_or("its connector may not ask that")?;
    let moment = Moment::at(call.grant().standing(), ports.clock.now_ms());
    let decision = permit::ask(call, asks, input, moment, None).ok_or("the grant can't be put before the policies")?;
    match decision.as_ref() {
        Decision::Allow { obligations, .. } if obligations.is_empty() => Ok(()),
        // It would have to be done to a question, and to what is answered.
        Decision::Allow { .. } => Err(format!("a rule about `{name}` demands what can't be done to a question")),
        _ => Err(format!("no policy lets it ask by `{name}`")),
    }
}
