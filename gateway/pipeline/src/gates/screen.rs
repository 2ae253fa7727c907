//! What may come back: bounded, as declared, without the lent secret, and its labels joined to the task.

use bailiwick_schemas::json::{self, Limits};
use bytes::Bytes;
use serde_json::{Value, value::RawValue};

use super::{Approved, Sent, arm::secret_on_record, send::RawKind};
use crate::{
    answer::{Answer, Body},
    catalogue::Tool,
    handle::Way,
    ports::{Lease, Ports},
    records::{Outcome, ResultRecord},
    redact::Needles,
    refusal::Refusal,
};

/// The longest error message that is passed on, in characters.
const MESSAGE_CHARS: usize = 2048;

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
    body: Body,
    outcome: Outcome,
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
    let (approved, lease, reply) = call.into_parts();
    let granted = approved.permitted().validated().granted();
    let tool = granted.tool();
    // First of all, and whatever comes of the rest: the agent may learn from a refusal too.
    granted.grant().touch(tool.labels);
    let needles = lease.as_ref().map(|lease| lease.needles());
    let screened = match reply.0 {
        RawKind::Result(text) => screen_result(&text, tool, limits, needles),
        RawKind::Error { code, message, data } => screen_error(code, &message, data.as_ref(), limits, needles),
    };
    let screened = screened.map_err(|why| Refusal::unscreened(tool.connector.id.as_str(), why))?;
    if let Some(lease) = lease.as_ref().filter(|_| screened.redactions > 0) {
        redacted_on_record(&approved, lease, screened.redactions, ports, way)?;
    }
    let bytes = match &screened.body {
        Body::Result(bytes) => bytes.clone(),
        _ => Bytes::new(),
    };
    way.trace.note(stage, "bailiwick.result.size", bytes.len());
    way.trace.note(stage, "bailiwick.redactions", screened.redactions);
    way.seen.result = Some(ResultRecord {
        size: bytes.len(),
        hmac: ports.trail.keyed_digest(&bytes),
        redactions: screened.redactions,
        labels: tool.labels,
    });
    way.leave(stage, ports);
    Ok(Reply { body: screened.body, outcome: screened.outcome })
}

fn redacted_on_record(approved: &Approved<'_>, lease: &Lease, redactions: usize, ports: &Ports, way: &mut Way<'_>) -> Result<(), Refusal> {
    way.trace.important = true;
    secret_on_record("redacted", approved, lease, redactions, ports, way)
}

struct Screened {
    body: Body,
    outcome: Outcome,
    redactions: usize,
}

/// `tools/call` result (MCP `server/tools`): an object with content, of a type that is known, as its tool declared.
fn screen_result(text: &Bytes, tool: &Tool, limits: ScreenLimits, needles: Option<&Needles>) -> Result<Screened, String> {
    json::check(text, Limits { bytes: limits.bytes, depth: limits.depth }).map_err(|fault| fault.to_string())?;
    let text = std::str::from_utf8(text).map_err(|fault| fault.to_string())?;
    if !text.trim_start().starts_with('{') {
        return Err("a result must be an object".to_owned());
    }
    let fields = json::fields(text).map_err(|fault| fault.to_string())?;
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    if field("resultType").is_some_and(|kind| kind.get() != "\"complete\"") {
        return Err("a result of another type than `complete` was not asked for".to_owned());
    }
    let is_error = match field("isError").map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("`isError` must be true or false".to_owned()),
    };
    check_content(field("content"), limits)?;
    check_structured(field("structuredContent"), is_error, tool)?;
    let (body, redactions) = clean(text, needles)?;
    let outcome = if is_error { Outcome::ToolError } else { Outcome::Success };
    Ok(Screened { body: Body::Result(body), outcome, redactions })
}

fn check_content(content: Option<&RawValue>, limits: ScreenLimits) -> Result<(), String> {
    let blocks: Vec<&RawValue> = match content {
        None => return Err("a result must have `content`".to_owned()),
        Some(content) => serde_json::from_str(content.get()).map_err(|_| "`content` must be an array".to_owned())?,
    };
    if blocks.len() > limits.blocks {
        return Err(format!("{} content blocks, at most {} may pass", blocks.len(), limits.blocks));
    }
    match blocks.iter().all(|block| block.get().starts_with('{')) {
        true => Ok(()),
        false => Err("a content block must be an object".to_owned()),
    }
}

/// A tool that declares an output schema must keep to it, unless it reports an error.
fn check_structured(structured: Option<&RawValue>, is_error: bool, tool: &Tool) -> Result<(), String> {
    let Some(schema) = tool.output.as_ref().filter(|_| !is_error) else { return Ok(()) };
    let Some(structured) = structured else {
        return Err("the tool declares an output schema, and the result has no `structuredContent`".to_owned());
    };
    let value: Value = serde_json::from_str(structured.get()).map_err(|fault| fault.to_string())?;
    schema.check(&value).map_err(|places| {
        let list = places.iter().map(|place| format!("{}: {}", place.pointer, place.message)).collect::<Vec<_>>().join("; ");
        format!("structured content breaks the declared output schema: {list}")
    })
}

/// The text without any form of the secret, and how many there were. What can't be cleaned does not pass.
fn clean(text: &str, needles: Option<&Needles>) -> Result<(Bytes, usize), String> {
    let as_is = || Bytes::copy_from_slice(text.as_bytes());
    let Some(needles) = needles else { return Ok((as_is(), 0)) };
    // Without an escape, what is in the text is what is in the strings.
    if !text.contains('\\') && !needles.found_in(text.as_bytes()) {
        return Ok((as_is(), 0));
    }
    let mut value: Value = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
    let redactions = needles.redact_value(&mut value);
    let clean = if redactions > 0 { Bytes::from(value.to_string()) } else { as_is() };
    match needles.found_in(&clean) {
        true => Err("it contains the lent credential where it can't be taken out".to_owned()),
        false => Ok((clean, redactions)),
    }
}

/// A JSON-RPC error of the server: its code, a bounded message, and data, all without the secret.
fn screen_error(code: i64, message: &str, data: Option<&Bytes>, limits: ScreenLimits, needles: Option<&Needles>) -> Result<Screened, String> {
    let (message, in_message) = needles.map_or_else(|| (message.to_owned(), 0), |needles| needles.redact(message));
    let message: String = message.chars().take(MESSAGE_CHARS).collect();
    let (data, in_data) = match data {
        None => (None, 0),
        Some(data) => {
            json::check(data, Limits { bytes: limits.bytes, depth: limits.depth }).map_err(|fault| fault.to_string())?;
            let text = std::str::from_utf8(data).map_err(|fault| fault.to_string())?;
            let (data, redactions) = clean(text, needles)?;
            (Some(serde_json::from_slice(&data).map_err(|fault| fault.to_string())?), redactions)
        }
    };
    let redactions = in_message + in_data;
    Ok(Screened { body: Body::Error { code, message, data, http: 200 }, outcome: Outcome::DownstreamError, redactions })
}
