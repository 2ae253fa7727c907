//! An agent asks for tools beyond its grant. Nothing is looked up here: what is answered is the same for a tool that there isn't, one that
//! is not granted, one above a ceiling and one that the grant above does not have. A person decides, elsewhere.

use std::collections::BTreeSet;

use bailiwick_schemas::{names::QualifiedName, text::is_invisible};
use serde_json::{Value, json};

use super::search::{Admitted, told};
use crate::{
    answer::ToolResult,
    ports::{AccessState, AccessWanted, Ports},
    refusal::Refusal,
    way::Way,
};

/// Takes the request, and says where it stands.
pub(crate) async fn request<'r>(call: Admitted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<ToolResult, Refusal> {
    let stage = way.enter("request", "bailiwick.access.request", ports);
    let tools = tools(&call.arguments)?;
    let reason = call.arguments.get("reason").and_then(Value::as_str).unwrap_or_default();
    if reason.trim().is_empty() || reason.chars().any(|c| matches!(c, '\n' | '\t') || is_invisible(c)) {
        return Err(Refusal::request_malformed("the reason must be one line of visible characters"));
    }
    // The schema has bounded it; `60.0` is a whole number too.
    let whole = |given: f64| format!("{given:.0}").parse::<u64>().ok();
    let for_ms =
        call.arguments.get("duration_s").and_then(Value::as_f64).and_then(whole).map(|seconds| seconds.saturating_mul(1000));
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    let (grant, agent, call) = (&call.grant.terms().id, &call.agent.id, call.received.call_id());
    let wanted = AccessWanted { grant, agent, tools: &tools, reason, for_ms, call };
    let ticket = ports.requests.request(wanted).await.map_err(|failure| Refusal::request_not_taken(&failure))?;
    let left_s = |until_ms: u64| until_ms.saturating_sub(ports.clock.now_ms()).div_ceil(1000);
    let words = match ticket.state {
        AccessState::Pending => json!({"request": ticket.id, "state": "pending"}),
        AccessState::Granted { until_ms: None } => json!({"request": ticket.id, "state": "granted"}),
        AccessState::Granted { until_ms: Some(until_ms) } => {
            json!({"request": ticket.id, "state": "granted", "for_s": left_s(until_ms)})
        }
        AccessState::Denied { reason, again_ms } => {
            let mut words = json!({"request": ticket.id, "state": "denied", "retry_after_s": left_s(again_ms)});
            if let (Some(words), Some(reason)) = (words.as_object_mut(), reason) {
                words.insert("reason".to_owned(), reason.into());
            }
            words
        }
    };
    let result = told(&words, ports, way)?;
    way.leave(stage, ports);
    Ok(result)
}

/// The tools that are named, each once. Only how a name is written is judged.
fn tools(arguments: &Value) -> Result<BTreeSet<QualifiedName>, Refusal> {
    let given = arguments.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let read = |name: &Value| name.as_str()?.parse::<QualifiedName>().ok().filter(|name| name.tool().is_some());
    let words = "each of the tools must be the full name of one tool, as connector__tool: no patterns";
    given.iter().map(|name| read(name).ok_or_else(|| Refusal::request_malformed(words))).collect()
}
