//! What may come back: bounded, as declared, and without the lent secret. Its labels are the task's since the commit.

use std::sync::Arc;

use bailiwick_schemas::{
    json::{self, JsonFault, Limits, Member, Outline},
    names::Feature,
};
use bytes::Bytes;
use serde_json::Value;

use super::{
    Approved, Sent,
    arm::leak_on_record,
    asks::{Questions, questions},
    flow,
    others::{Others, Shown},
    relay::Put,
    send::{RawKind, RawReply},
    task::{self, Taking},
};
use crate::{
    answer::{Answer, Body, ToolResult, with_member},
    catalogue::{Tool, World},
    grant::LiveGrant,
    links, obliged,
    ports::{Lease, Ports},
    received::{Asked, ItemAsk},
    records::{Outcome, ResultRecord},
    redact::{Needles, Window},
    refusal::{self, MISSING_CAPABILITY, RESOURCE_NOT_FOUND, Refusal, SERVER_ERROR, said_back},
    rounds::{Of, Round},
    running::Running,
    way::Way,
};

/// The longest error message that is passed on, in characters.
const MESSAGE_CHARS: usize = 2048;

/// What has become of a call whose result came too late.
pub(super) const DISCARDED: &str = "It was executed; its result was discarded.";

/// Codes that are looked at (JSON-RPC 2.0, 5.1; MCP 2026-07-28 `basic`; MCP 2025-11-25 `client/elicitation`).
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;
const URL_ELICITATION: i64 = -32042;

/// How much may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScreenLimits {
    /// Bytes of a result.
    pub bytes: usize,
    /// Depth of a result.
    pub depth: usize,
    /// Content blocks of a result.
    pub blocks: usize,
}

impl Default for ScreenLimits {
    fn default() -> Self {
        Self { bytes: 16 * 1024 * 1024, depth: 100, blocks: 10_000 }
    }
}

/// A reply that may be read.
#[derive(Debug)]
pub struct Reply {
    pub(super) body: Body,
    pub(super) outcome: Outcome,
}

impl Reply {
    /// What the agent is told.
    pub fn into_answer(self) -> Answer {
        Answer { outcome: self.outcome, body: self.body }
    }
}

/// Screens a reply.
pub fn screen<'r>(call: Sent<'r>, limits: ScreenLimits, ports: &Ports, way: &mut Way<'r>) -> Result<Reply, Refusal> {
    let stage = way.enter("screen", "bailiwick.result.inspect", ports);
    let (approved, lease, RawReply(kind, recall), flight) = call.into_parts();
    let mut taking = Taking::new(recall, way.deferred().cloned());
    let granted = approved.permitted().validated().granted();
    let tool = granted.tool();
    let mut said = std::mem::take(&mut way.seen.asides.said);
    let mut cleaner = Cleaner::of(lease.as_deref(), (granted.grant(), &way.seen.shown), limits, ports);
    cleaner.said = Some(&mut said);
    let obligations = approved.permitted().obligations();
    // That a task is lost is said by us.
    let is_own = matches!(kind, RawKind::Error { code: INVALID_PARAMS, .. }) && task::only_asks(granted);
    let screened = match kind {
        RawKind::Result(text) => screen_result(&text, &approved, &mut taking, ports, &mut cleaner),
        RawKind::Error { code: INVALID_PARAMS, .. } if task::only_asks(granted) => Ok(task::lost(granted, ports)),
        RawKind::Error { code: MISSING_CAPABILITY, .. } if task::had_no_room(approved.permitted().validated()) => {
            return Err(Refusal::too_many_tasks());
        }
        RawKind::Asks(asks) => {
            let (put, running) = *asks;
            put_to_agent(put, running, &approved, ports)
        }
        RawKind::Error { code, message, data } => {
            screen_error((code, &message, data.as_ref()), granted.identified().received().asked(), &mut cleaner)
        }
    };
    let (own, others) = (cleaner.seen, std::mem::take(&mut cleaner.others));
    let redactions = own + others.seen();
    way.trace.note(stage, "bailiwick.redactions", redactions);
    if let Some(lease) = lease.as_ref().filter(|_| own > 0) {
        way.trace.important = true;
        leak_on_record(&approved, lease, own, ports, way)?;
    }
    others.on_record(&approved, ports, way)?;
    let flowed = flow::join_reply(granted, screened.as_ref(), ports, way);
    taking.give_up();
    flowed?;
    way.seen.task = taking.noted.or(way.seen.task.take());
    // What was found may be what is masked: then it is not on record either, but for what was looked for.
    let words = |why: String| match why.split_once(": ") {
        Some((what, _)) if !obligations.is_empty() => what.to_owned(),
        _ => why,
    };
    let refused = |why| Refusal::unscreened(tool.connector.id.as_str(), words(why));
    let mut screened = screened.map_err(refused)?;
    let mut done = obliged::Done::default();
    if !obligations.is_empty() && !is_own {
        (screened.body, done) = obliged::body(screened.body, obligations, limits).map_err(refused)?;
        way.trace.note(stage, "bailiwick.masked", done.masked);
    }
    let bytes = match &screened.body {
        Body::Result(result) | Body::Content(result) | Body::Questions(result) | Body::Task(result) => result.text().clone(),
        _ => Bytes::new(),
    };
    way.trace.note(stage, "bailiwick.result.size", bytes.len());
    let obliged::Done { masked, withheld, left_out } = done;
    let (mac, labels) = (ports.trail.keyed_digest(&bytes), way.seen.labelled);
    way.seen.result = Some(ResultRecord { size: bytes.len(), mac, redactions, masked, withheld, left_out, labels });
    if obligations.keep_bodies {
        way.seen.to_keep = Some(told_of(&screened.body));
    }
    // What came at the very moment is on record as any result, and goes no further.
    if granted.grant().cancelled().is_cancelled() {
        return Err(Refusal::grant_ended(granted.grant().end_of_chain(), DISCARDED));
    }
    if let Some(halt) = flight.halt() {
        return Err(Refusal::halted_under_way(&halt, DISCARDED));
    }
    way.leave(stage, ports);
    Ok(screened)
}

/// What the agent is told, as a text.
fn told_of(body: &Body) -> Bytes {
    match body {
        Body::Result(result) | Body::Content(result) | Body::Questions(result) | Body::Task(result) => result.text().clone(),
        Body::Error { code, message, data, .. } => {
            let data = data.as_ref().map_or_else(|| "null".into(), |data| String::from_utf8_lossy(data));
            Bytes::from(format!(r#"{{"error":{{"code":{code},"message":{},"data":{data}}}}}"#, Value::from(message.as_str())))
        }
        Body::ToolError { text, .. } => Bytes::from(Value::from(text.as_str()).to_string()),
        Body::Tools { .. } | Body::Offers { .. } => Bytes::new(),
    }
}

/// Screens the error with which a server refuses to tell of a resource.
pub(super) fn screen_refusal(
    error: (i64, &str, Option<&Bytes>),
    approved: &Approved<'_>,
    lease: Option<&Arc<Lease>>,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<Reply, Refusal> {
    let stage = way.enter("screen", "bailiwick.result.inspect", ports);
    let granted = approved.permitted().validated().granted();
    let limits = ScreenLimits::default();
    let mut cleaner = Cleaner::of(lease.map(AsRef::as_ref), (granted.grant(), &way.seen.shown), limits, ports);
    let screened = screen_error(error, granted.identified().received().asked(), &mut cleaner);
    let obligations = approved.permitted().obligations();
    let screened = screened.and_then(|reply| {
        let (body, _) = if obligations.is_empty() {
            (reply.body, obliged::Done::default())
        } else {
            obliged::body(reply.body, obligations, limits)?
        };
        Ok(Reply { body, ..reply })
    });
    if let Some(lease) = lease.filter(|_| cleaner.seen > 0) {
        way.trace.important = true;
        leak_on_record(approved, lease, cleaner.seen, ports, way)?;
    }
    cleaner.others.on_record(approved, ports, way)?;
    flow::join_unknown(granted, ports, way)?;
    way.leave(stage, ports);
    screened.map_err(|why| Refusal::unscreened(granted.tool().connector.id.as_str(), why))
}

/// A result: cleaned first, then an object of a type that is known, as what was asked for has it.
fn screen_result(
    text: &Bytes,
    call: &Approved<'_>,
    taking: &mut Taking,
    ports: &Ports,
    cleaner: &mut Cleaner<'_>,
) -> Result<Reply, String> {
    let limits = cleaner.limits;
    let outline = strictly_read(text, limits)?;
    taking.begun(&outline);
    match cleaner.without_secret(text)? {
        None => judge((text, &outline), call, taking, ports, limits),
        Some(clean) => judge((&clean, &strictly_read(&clean, limits)?), call, taking, ports, limits),
    }
}

fn judge(
    (text, outline): (&Bytes, &Outline<'_>),
    call: &Approved<'_>,
    taking: &mut Taking,
    ports: &Ports,
    limits: ScreenLimits,
) -> Result<Reply, String> {
    if !outline.is_object() {
        return Err("a result must be an object".to_owned());
    }
    let granted = call.permitted().validated().granted();
    let (tool, world) = (granted.tool(), granted.world());
    if let Some(task) = granted.task() {
        return task::judge((text, outline), call, task, taking, ports, limits);
    }
    match outline.member("resultType").map(|kind| kind.value) {
        None | Some("\"complete\"") => {}
        Some("\"input_required\"") => return ask(outline, call, ports),
        Some("\"task\"") if call.permitted().validated().takes_task() => return task::begin(outline, call, taking, ports),
        Some(_) => return Err("a result of another type than `complete` was not asked for".to_owned()),
    }
    match tool.name.feature() {
        None => judge_tool(text, outline, tool, world, limits),
        Some(feature) => judge_item(text, outline, feature, tool, world, limits),
    }
}

/// A result that asks something first (MCP 2026-07-28, `basic/patterns/mrtr`): put to the agent with a handle of ours in place of the
/// server's own state.
fn ask(outline: &Outline<'_>, call: &Approved<'_>, ports: &Ports) -> Result<Reply, String> {
    let validated = call.permitted().validated();
    let granted = validated.granted();
    if call.approval().is_some() || call.allowance().is_some() {
        return Err("it asks for input after a person approved the call, which that person did not see".to_owned());
    }
    let member = |key: &str| outline.member(key).map(|member| member.value);
    let Questions { asked, requests, state } =
        questions(member("inputRequests"), member("requestState"), granted, validated.takes(), ports)?;
    asked_of_agent(Round::new(Of::this(granted, validated.arguments()), state, asked), &requests, ports)
}

/// The questions of a server that waits for their answers: they were judged as they came.
fn put_to_agent(put: Put, running: Running, call: &Approved<'_>, ports: &Ports) -> Result<Reply, String> {
    let validated = call.permitted().validated();
    let (asked, requests) = put.into_parts();
    let round = Round::new(Of::this(validated.granted(), validated.arguments()), None, asked).of_running(running);
    asked_of_agent(round, &requests, ports)
}

/// Keeps what was asked until it is answered, and puts it to the agent.
fn asked_of_agent(round: Round, requests: &str, ports: &Ports) -> Result<Reply, String> {
    let handle = ports.rounds.open(round, ports.clock.now_ms(), ports.clock.random()).map_err(|full| full.to_string())?;
    // Nothing else goes on: it would be for nobody's eyes but the agent's, and was not looked at.
    let put = format!(r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":"{handle}"}}"#);
    let text = Bytes::from(put);
    let result = ToolResult::read(&text).ok_or("its questions can't be read")?;
    Ok(Reply { body: Body::Questions(result), outcome: Outcome::InputRequired })
}

/// What a resource, a prompt or a suggestion is answered with (MCP `server/resources`, `server/prompts`,
/// `server/utilities/completion`).
fn judge_item(
    text: &Bytes,
    outline: &Outline<'_>,
    feature: Feature,
    tool: &Tool,
    world: &World,
    limits: ScreenLimits,
) -> Result<Reply, String> {
    let renamed = match feature {
        Feature::ResourceRead => {
            check_blocks("contents", outline.member("contents"), limits)?;
            links::of_contents(outline, tool, world)?
        }
        Feature::PromptGet => {
            check_blocks("messages", outline.member("messages"), limits)?;
            links::of_messages(outline, tool, world)?
        }
        Feature::Complete => match outline.member("completion") {
            Some(completion) if completion.is_object() => None,
            _ => return Err("a result must have the object `completion`".to_owned()),
        },
        Feature::Elicitation | Feature::Sampling | Feature::Roots => return Err("nobody can ask for this".to_owned()),
    };
    let result = renamed_or(renamed, text, outline, limits)?;
    let body = if feature == Feature::ResourceRead { Body::Content(result) } else { Body::Result(result) };
    Ok(Reply { body, outcome: Outcome::Success })
}

/// The result with the names that agents know, where it was renamed.
fn renamed_or(renamed: Option<String>, text: &Bytes, outline: &Outline<'_>, limits: ScreenLimits) -> Result<ToolResult, String> {
    let Some(renamed) = renamed.map(Bytes::from) else { return Ok(ToolResult::new(text, outline)) };
    Ok(ToolResult::new(&renamed, &strictly_read(&renamed, limits)?))
}

/// A `tools/call` result (MCP `server/tools`): an object with content, as its tool declared.
pub(super) fn judge_tool(
    text: &Bytes,
    outline: &Outline<'_>,
    tool: &Tool,
    world: &World,
    limits: ScreenLimits,
) -> Result<Reply, String> {
    let outcome = match outline.member("isError").map(|member| member.value) {
        None | Some("false") => Outcome::Success,
        Some("true") => Outcome::ToolError,
        Some(_) => return Err("`isError` must be true or false".to_owned()),
    };
    check_blocks("content", outline.member("content"), limits)?;
    check_structured(outline.member("structuredContent"), outcome == Outcome::ToolError, tool)?;
    let result = renamed_or(links::of_content(outline, tool, world)?, text, outline, limits)?;
    Ok(Reply { body: Body::Result(result), outcome })
}

/// A list of objects, which are so many at most.
fn check_blocks(name: &str, blocks: Option<&Member<'_>>, limits: ScreenLimits) -> Result<(), String> {
    let blocks = match blocks {
        None => return Err(format!("a result must have `{name}`")),
        Some(blocks) if !blocks.is_array() => return Err(format!("`{name}` must be an array")),
        Some(blocks) => blocks.items,
    };
    if blocks.count > limits.blocks {
        return Err(format!("{} in `{name}`, at most {} may pass", blocks.count, limits.blocks));
    }
    if blocks.objects == blocks.count { Ok(()) } else { Err(format!("each of `{name}` must be an object")) }
}

/// A tool that declares an output schema must keep to it, unless it reports an error.
fn check_structured(structured: Option<&Member<'_>>, is_error: bool, tool: &Tool) -> Result<(), String> {
    let Some(schema) = tool.output.as_ref().filter(|_| !is_error) else { return Ok(()) };
    let Some(structured) = structured else {
        return Err("the tool declares an output schema, and the result has no `structuredContent`".to_owned());
    };
    let value: Value = serde_json::from_str(structured.value).map_err(|fault| fault.to_string())?;
    schema.check(&value).map_err(|places| {
        let list = places.iter().map(|place| format!("{}: {}", place.pointer, place.message)).collect::<Vec<_>>().join("; ");
        format!("structured content breaks the declared output schema: {list}")
    })
}

/// A JSON-RPC error of the server: its code where it can't be mistaken for ours, a bounded message, and data, all without the
/// secret.
pub(super) fn screen_error(
    (code, message, data): (i64, &str, Option<&Bytes>),
    asked: &Asked,
    cleaner: &mut Cleaner<'_>,
) -> Result<Reply, String> {
    let (message, data) = cleaner.clean_error(code, message, data)?;
    let (code, data, http) = match code {
        // All that is wrong with what was asked can be its URI: the server has no such resource (MCP `server/resources`), whatever its
        // version calls that. One that has none at all has no such one, either, and no such prompt.
        METHOD_NOT_FOUND | INVALID_PARAMS | RESOURCE_NOT_FOUND
            if let Asked::Item(ItemAsk { feature: Feature::ResourceRead, name, .. }) = asked =>
        {
            (RESOURCE_NOT_FOUND, Some(about(name, data.as_ref())), 200)
        }
        METHOD_NOT_FOUND if matches!(asked, Asked::Item(ItemAsk { feature: Feature::PromptGet, .. })) => {
            (INVALID_PARAMS, data, 200)
        }
        MISSING_CAPABILITY if names_capabilities(data.as_ref()) => (code, data, 400),
        // What they say is of the way between the server and us, or asks for what is not relayed: from us, it would be about the gateway.
        METHOD_NOT_FOUND | HEADER_MISMATCH | UNSUPPORTED_VERSION | MISSING_CAPABILITY | URL_ELICITATION => {
            with_code(code, data.as_ref())
        }
        // Our own refusals have positive codes: a server's code must not be taken for one of them.
        code if (i64::from(i32::MIN)..=0).contains(&code) => (code, data, 200),
        code => with_code(code, data.as_ref()),
    };
    Ok(Reply { body: Body::Error { code, message, data, http }, outcome: Outcome::DownstreamError })
}

/// The data of an error about a resource: what came with it, and the URI as the agent named it.
fn about(name: &str, data: Option<&Bytes>) -> Bytes {
    let text = data.and_then(|data| std::str::from_utf8(data).ok()).unwrap_or_default();
    Bytes::from(with_member(text, "uri", &said_back(name)).unwrap_or_else(|| {
        let others = json::written(text).unwrap_or_default();
        let others = others.iter().map(|member| format!(",{}", member.text));
        format!("{{\"uri\":{}{}}}", Value::from(said_back(name)), others.collect::<String>())
    }))
}

/// Whether the data of an error says which capabilities a client would need (MCP 2026-07-28, `-32021`).
fn names_capabilities(data: Option<&Bytes>) -> bool {
    let fields = data.and_then(|data| json::fields(std::str::from_utf8(data).ok()?).ok()).unwrap_or_default();
    fields.iter().any(|(key, value)| key == "requiredCapabilities" && value.get().starts_with('{'))
}

/// An error whose code is not passed on: the code as it was, and the data that came with it.
fn with_code(code: i64, data: Option<&Bytes>) -> (i64, Option<Bytes>, u16) {
    (SERVER_ERROR, Some(refusal::with_code(code, data)), 200)
}

/// Takes the lent secret out, before anything else is made of a reply: neither what passes nor what is put on record about it
/// then has it.
pub(super) struct Cleaner<'n> {
    needles: Option<&'n Needles>,
    limits: ScreenLimits,
    /// How often the secret was seen.
    seen: usize,
    /// What was said before the reply.
    said: Option<&'n mut Window>,
    /// What the same task was lent for other connectors.
    others: Others,
}

impl<'n> Cleaner<'n> {
    fn of(lease: Option<&'n Lease>, (grant, shown): (&LiveGrant, &Shown), limits: ScreenLimits, ports: &Ports) -> Self {
        let others = Others::of(grant, lease, shown, ports);
        Self { needles: lease.map(Lease::needles), limits, seen: 0, said: None, others }
    }

    /// Of what is clean already.
    pub(super) fn of_clean(limits: ScreenLimits) -> Self {
        Self { needles: None, limits, seen: 0, said: None, others: Others::default() }
    }

    /// The message and the data of an error without any form of the secret. What is no strict JSON, or can't be cleaned, does not pass.
    fn clean_error(&mut self, code: i64, message: &str, data: Option<&Bytes>) -> Result<(String, Option<Bytes>), String> {
        if let Some(data) = data {
            strictly_read(data, self.limits)?;
        }
        let cut = |message: &str| message.chars().take(MESSAGE_CHARS).collect::<String>();
        // Together: they can be two halves of it.
        let data_text = data.map_or(Ok("null"), |data| std::str::from_utf8(data)).map_err(|fault| fault.to_string())?;
        let whole = Bytes::from(format!(r#"{{"message":{},"data":{data_text},"code":{code}}}"#, Value::from(message)));
        let Some(clean) = self.without_secret(&whole)? else { return Ok((cut(message), data.cloned())) };
        let hidden = "it contains the lent credential where it can't be taken out";
        let mut clean: serde_json::Map<String, Value> = serde_json::from_slice(&clean).map_err(|_| hidden)?;
        if clean.get("code") != Some(&Value::from(code)) {
            return Err(hidden.to_owned());
        }
        let said = clean.get("message").and_then(Value::as_str).map(cut).ok_or(hidden)?;
        Ok((said, data.and(clean.remove("data")).map(|data| Bytes::from(data.to_string()))))
    }

    /// See [`without_secret`].
    fn without_secret(&mut self, text: &Bytes) -> Result<Option<Bytes>, String> {
        let said = self.said.as_deref_mut().filter(|said| !said.is_empty());
        let clean = without_secret(text, self.needles, said, &mut self.seen)?;
        self.others.taken_out(text, clean)
    }
}

/// The JSON text, which was strictly read, without any form of the secret; none where there is none in it. `said` is what was said before
/// it, if that is to be looked at too. `seen` counts how often it was.
pub(super) fn without_secret(
    text: &Bytes,
    needles: Option<&Needles>,
    said: Option<&mut Window>,
    seen: &mut usize,
) -> Result<Option<Bytes>, String> {
    let Some(needles) = needles else { return Ok(None) };
    let mut said = said;
    let is_clean = match said.as_deref_mut() {
        Some(said) => said.lets_pass(text, needles),
        None => !needles.may_be_in(text),
    };
    if is_clean {
        return Ok(None);
    }
    let mut value: Value = serde_json::from_slice(text).map_err(|_| "it is nested too deep to be cleaned")?;
    let found = match said {
        Some(said) => needles.redact_after(&mut value, said),
        None => needles.redact_value(&mut value),
    };
    *seen += found;
    let clean = (found > 0).then(|| Bytes::from(value.to_string()));
    if needles.found_in(clean.as_ref().unwrap_or(text)) {
        *seen += 1;
        return Err("it contains the lent credential where it can't be taken out".to_owned());
    }
    Ok(clean)
}

/// The text read strictly, within its limits.
pub(super) fn strictly_read(text: &Bytes, limits: ScreenLimits) -> Result<Outline<'_>, String> {
    let ScreenLimits { bytes, depth, .. } = limits;
    json::outline(text, Limits { bytes, depth }, 1).map_err(|fault| unquoted(&fault))
}

/// A fault without the words of the server: they are not clean yet.
fn unquoted(fault: &JsonFault) -> String {
    match fault {
        JsonFault::DuplicateKey { offset, .. } => format!("a key stands twice in one object, again at byte {offset}"),
        JsonFault::ForbiddenKey { offset, .. } => format!("a key is not allowed, at byte {offset}"),
        fault => fault.to_string(),
    }
}
