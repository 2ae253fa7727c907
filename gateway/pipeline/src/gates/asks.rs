//! What a server may ask of an agent while it works on a call, and what an agent may answer.
//!
//! A question is asked only where the agent can be asked it, its grant gives the connector the right to ask it, and policy allows it. The
//! answers come back as a new call that walks every gate.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use bailiwick_policy::{CallFacts, Decision};
use bailiwick_schemas::{
    canonical::digest,
    json,
    names::{Feature, QualifiedName},
    validate::{Bounds, Validator},
};
use bytes::Bytes;
use serde_json::{Value, json, value::RawValue};

use super::{Granted, grant::visible};
use crate::{
    answer::with_member,
    ports::Ports,
    prepared::AskCall,
    received::Answers,
    refusal::Refusal,
    rounds::{Asking, Round},
};

/// The most questions at once, the longest of a server's own states, and the longest question.
const QUESTIONS: usize = 16;
const STATE_BYTES: usize = 64 * 1024;
const QUESTION_BYTES: usize = 256 * 1024;
/// Names of fields that ask for what nobody should type into a form.
const SECRETIVE: [&str; 10] =
    ["password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "credential", "cvv", "pincode"];

/// The kinds of question that a server may ask during one call, as its agent declared that it takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Takes(Vec<(Feature, String)>);

impl Takes {
    /// What may be asked during this call: what the agent takes, its grant gives the connector, and some policy could allow. Nothing where
    /// the arguments of the tool are bounded, which answers would get round; nor where one process serves many grants.
    pub(super) fn of(call: &Granted<'_>) -> Self {
        let declared = &call.identified().received().origin().capabilities;
        let tool = call.tool();
        let is_bounded = |args: &BTreeMap<_, _>| !args.is_empty();
        let has_bounds = tool.name.tool().is_some()
            && call.grant().chain().any(|grant| {
                let covering = grant.terms().capabilities.iter().filter(|capability| capability.covers(&tool.name, tool.kind));
                covering.into_iter().any(|capability| is_bounded(&capability.args))
            });
        if declared.is_empty() || has_bounds || !tool.connector.may_ask {
            return Self::default();
        }
        let agent = &call.identified().principal().agent;
        let given = |feature: Feature| {
            let name = QualifiedName::of_feature(tool.connector.id.clone(), feature);
            call.world().features.get(&name).is_some_and(|asks| visible(call.world(), call.grant(), agent, asks))
        };
        let taken = declared.iter().filter(|(feature, _)| given(*feature)).filter_map(|(feature, text)| {
            let text = match feature {
                Feature::Elicitation => forms_only(text, tool.connector.elicitation_hosts.is_empty())?,
                _ => text.clone(),
            };
            Some((*feature, text))
        });
        Self(taken.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the capabilities of a client (MCP 2026-07-28): a JSON object.
    pub(super) fn declared(&self) -> String {
        let mut text = String::from("{");
        for (at, (feature, value)) in self.0.iter().enumerate() {
            // Writing to a string can't fail.
            let _infallible = write!(text, "{}\"{}\":{value}", if at == 0 { "" } else { "," }, feature.as_str());
        }
        text.push('}');
        text
    }

    fn has(&self, feature: Feature) -> bool {
        self.0.iter().any(|(taken, _)| *taken == feature)
    }
}

/// How an agent takes elicitation, without pages to be visited where no host of such is allowed; none where nothing is left.
fn forms_only(declared: &str, without_pages: bool) -> Option<String> {
    let fields = json::fields(declared).ok()?;
    let has = |key: &str| fields.iter().any(|(name, _)| name == key);
    match (has("url"), without_pages) {
        (true, true) if has("form") => Some("{\"form\":{}}".to_owned()),
        (true, true) => None,
        _ => Some(declared.to_owned()),
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
        // A server may take answers that it did not ask for; what they are is its own to judge.
        return Ok(Some(Answered { handle: None, state: None, responses: responses.clone() }));
    };
    let stranger =
        || Refusal::answers_not_taken("`requestState` is not one that waits for answers to this call: call again without it");
    let round = ports.rounds.find(handle, ports.clock.now_ms()).ok_or_else(stranger)?;
    let terms = call.grant().terms();
    let is_this = round.agent == terms.agent
        && round.grant == (terms.id.clone(), terms.revision)
        && round.tool == call.tool().name
        && round.arguments == digest(arguments);
    if !is_this {
        return Err(stranger());
    }
    let responses = kept(&round, responses)?;
    Ok(Some(Answered { handle: Some(handle.clone()), state: round.state.clone(), responses }))
}

/// The answers to what was asked, each as it was written. What was not asked for is left out, and a form is as it was asked for.
fn kept(round: &Round, responses: &Bytes) -> Result<Bytes, Refusal> {
    let unreadable = || Refusal::answers_not_taken("`inputResponses` can't be read");
    let fields = json::fields(std::str::from_utf8(responses).map_err(|_| unreadable())?).map_err(|_| unreadable())?;
    let mut text = String::from("{");
    for (key, response) in &fields {
        let Some(asking) = round.asked.get(key.as_ref()) else { continue };
        if let Asking::Form(schema) = asking {
            judge_form(key, response, schema.as_deref())?;
        }
        // Writing to a string can't fail.
        let _infallible =
            write!(text, "{}{}:{}", if text.len() == 1 { "" } else { "," }, Value::from(key.as_ref()), response.get());
    }
    text.push('}');
    Ok(Bytes::from(text))
}

fn judge_form(key: &str, response: &RawValue, schema: Option<&Validator>) -> Result<(), Refusal> {
    let wrong =
        |why: &str| Refusal::answers_not_taken(format!("the answer `{}` {why}", key.chars().take(64).collect::<String>()));
    let response: Value = serde_json::from_str(response.get()).map_err(|_| wrong("can't be read"))?;
    match (response.get("action").and_then(Value::as_str), response.get("content")) {
        (Some("decline" | "cancel"), None | Some(_)) => Ok(()),
        (Some("accept"), content) => {
            let schema = schema.ok_or_else(|| wrong("is to a form that can't be judged: decline it"))?;
            let places = schema.check(content.unwrap_or(&json!({}))).err();
            match places {
                None => Ok(()),
                Some(places) => {
                    let list: Vec<String> = places.iter().map(|place| format!("{}: {}", place.pointer, place.message)).collect();
                    Err(wrong(&format!("is not what was asked for: {}", list.join("; "))))
                }
            }
        }
        _ => Err(wrong("must have an `action`: accept, decline or cancel")),
    }
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
    if fields.len() > QUESTIONS {
        return Err(format!("it asks {} questions, at most {QUESTIONS} may pass", fields.len()));
    }
    let (mut asked, mut put) = (BTreeMap::new(), String::from("{"));
    for (key, request) in &fields {
        let (asking, request) = question(request.get(), call, takes, ports)?;
        let _infallible = write!(put, "{}{}:{request}", if put.len() == 1 { "" } else { "," }, Value::from(key.as_ref()));
        asked.insert(key.to_string(), asking);
    }
    put.push('}');
    Ok(Questions { asked, requests: put, state })
}

/// One question, as it is put to the agent.
fn question<'q>(request: &'q str, call: &Granted<'_>, takes: &Takes, ports: &Ports) -> Result<(Asking, Cow<'q, str>), String> {
    if request.len() > QUESTION_BYTES {
        return Err(format!("a question has more than {QUESTION_BYTES} bytes"));
    }
    let fields = json::fields(request).map_err(|_| "a question must be an object".to_owned())?;
    let field = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.get());
    let method: String = field("method").and_then(|method| serde_json::from_str(method).ok()).unwrap_or_default();
    let feature = match method.as_str() {
        "elicitation/create" => Feature::Elicitation,
        "sampling/createMessage" => Feature::Sampling,
        "roots/list" => Feature::Roots,
        _ => return Err("it asks what is no question of the protocol".to_owned()),
    };
    if !takes.has(feature) {
        return Err(format!("it asks by `{method}`, which was not offered for this call"));
    }
    if feature != Feature::Elicitation {
        allowed(feature, &json!({}), call, ports)?;
        return Ok((Asking::Other, Cow::Borrowed(request)));
    }
    let params = field("params").ok_or("an elicitation must have `params`")?;
    let params: Value = serde_json::from_str(params).map_err(|_| "the `params` of an elicitation can't be read".to_owned())?;
    let message = params.get("message").and_then(Value::as_str).ok_or("an elicitation must have a `message`")?;
    let mode = params.get("mode").and_then(Value::as_str).unwrap_or("form");
    let url = params.get("url").and_then(Value::as_str).unwrap_or_default();
    let asking = match mode {
        "form" => Asking::Form(form(params.get("requestedSchema"))?),
        "url" => page(url, &call.tool().connector.elicitation_hosts).map(|()| Asking::Other)?,
        _ => return Err("an elicitation has a `mode` that is not known".to_owned()),
    };
    allowed(feature, &json!({"mode": mode, "message": message, "url": url}), call, ports)?;
    // The agent sees us as who asks: it is told who does.
    let told = format!("[{}] {message}", call.tool().connector.id);
    let raw = field("params").unwrap_or("{}");
    let named = with_member(raw, "message", &told).ok_or("the `params` of an elicitation can't be read")?;
    let mut put = String::from("{");
    for (key, value) in &fields {
        let value = if key == "params" { named.as_str() } else { value.get() };
        let _infallible = write!(put, "{}{}:{value}", if put.len() == 1 { "" } else { "," }, Value::from(key.as_ref()));
    }
    put.push('}');
    Ok((asking, Cow::Owned(put)))
}

/// The schema of a form (MCP `client/elicitation`: flat), which asks for no secret.
fn form(schema: Option<&Value>) -> Result<Option<Box<Validator>>, String> {
    let schema = schema.ok_or("an elicitation by form must have a `requestedSchema`")?;
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let title = property.get("title").and_then(Value::as_str).unwrap_or_default();
        let is_secretive = [name.as_str(), title].iter().any(|text| {
            let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
            SECRETIVE.iter().any(|word| plain.contains(word))
        });
        if is_secretive || property.get("format").and_then(Value::as_str) == Some("password") {
            return Err("it asks for a secret by form, which no server may".to_owned());
        }
    }
    // What can't be judged can only be declined.
    Ok(Validator::compile(schema, Bounds::default()).ok().map(Box::new))
}

/// A page at a host that may be visited, over TLS or on this machine.
fn page(text: &str, hosts: &[String]) -> Result<(), String> {
    let url = url::Url::parse(text).map_err(|_| "an elicitation by page must have a `url`".to_owned())?;
    let host = url.host_str().unwrap_or_default();
    let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let is_fit = url.username().is_empty()
        && url.password().is_none()
        && (url.scheme() == "https" || (url.scheme() == "http" && is_local));
    if is_fit && hosts.iter().any(|allowed| allowed == host) {
        Ok(())
    } else {
        Err("it sends the agent to a page that is not at one of the connector's `elicitation_hosts`".to_owned())
    }
}

/// Whether the policies allow this question now. A person's approval can't be asked for it.
fn allowed(feature: Feature, input: &Value, call: &Granted<'_>, ports: &Ports) -> Result<(), String> {
    let (grant, world, origin) = (call.grant(), call.world(), call.identified().received().origin());
    let standing = grant.standing();
    let facts = CallFacts {
        environment: &grant.terms().environment,
        calls_in_task: standing.calls,
        writes_in_task: standing.writes,
        untrusted_input: standing.labels.untrusted,
        confidential: standing.labels.confidential,
        approvals: &[],
        transport: origin.transport.as_str(),
        era: origin.protocol.as_str(),
        hour: super::permit::hour_of_day(ports.clock.now_ms()),
    };
    let name = QualifiedName::of_feature(call.tool().connector.id.clone(), feature);
    let asks = world.features.get(&name).ok_or("its connector may not ask that")?;
    let prepared = grant.prepared(world).ok_or("the grant can't be put before the policies")?;
    match prepared.decide(world, asks, &AskCall { facts: &facts, arguments: input }).as_ref() {
        Decision::Allow { .. } => Ok(()),
        _ => Err(format!("no policy lets it ask by `{name}`")),
    }
}
