//! Tool search: the gateway's own tools, under grants that have it. They answer from the list that the grant would have without it, made
//! by the one decision behind lists and calls, and from nothing else: what is not in that list is not found, counted or described, and a
//! name that is not granted is answered like one that nothing has. As a list does, they debit no budget and need no person; the text they
//! show is that of definitions which a person accepted, so that no label comes of it.

use std::sync::Arc;

use bailiwick_policy::{Decision, Reads};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Identified,
    grant::{AT_ONCE, away, chosen_grant, list, not_to_be_called},
};
use crate::{
    answer::{ToolList, ToolResult},
    catalogue::{Tool, World},
    circumstances::{Minute, Sender, facts},
    destination::Sending,
    grant::{Labels, LiveGrant},
    ports::Ports,
    prepared::AskCall,
    principal::{Agent, AuthMethod},
    received::Received,
    records::ResultRecord,
    refusal::Refusal,
    search::OwnTool,
    way::Way,
};

/// A call of one of the gateway's own tools by an agent for which they exist, with arguments that they take.
pub(crate) struct Admitted<'r> {
    pub(super) received: &'r Received,
    pub(super) agent: Arc<Agent>,
    method: AuthMethod,
    pub(super) grant: Arc<LiveGrant>,
    own: OwnTool,
    pub(super) arguments: Value,
}

/// Whether the grant has tool search, and the arguments are what they may be. Without it these tools are unknown like any other.
pub(crate) fn admit<'r>(
    call: &Identified<'r>,
    own: OwnTool,
    arguments: &Bytes,
    ports: &Ports,
    way: &mut Way<'r>,
) -> Result<Admitted<'r>, Refusal> {
    let received = call.received();
    let stage = way.enter("grant", "bailiwick.grant.resolve", ports);
    let Some(grant) = chosen_grant(received, call.principal(), ports)? else {
        return Err(Refusal::unknown_tool(own.name(), "the agent has no live grant; `bailiwick grants create` makes one"));
    };
    way.seen.grant = Some(Arc::clone(&grant));
    way.trace.note(stage, "bailiwick.grant.id", grant.terms().id.to_string());
    if !own.is_of(&grant, &ports.worlds.now()) {
        let detail = format!("grant `{}` {}", grant.terms().id, own.given_by());
        return Err(Refusal::unknown_tool(own.name(), detail));
    }
    way.leave(stage, ports);
    way.trace.root.name = format!("tools/call {}", own.name()).into();
    way.seen.args_mac = Some(ports.trail.keyed_digest(arguments));
    let stage = way.enter("validate", "bailiwick.schema.validate", ports);
    let arguments: Value =
        serde_json::from_slice(arguments).map_err(|fault| Refusal::internal(format!("received arguments: {fault}")))?;
    own.check(&arguments)?;
    if received.answers().is_some() || received.waited().is_some() {
        return Err(Refusal::answers_not_taken("this tool asks nothing: call it without answers"));
    }
    way.trace.note(stage, "bailiwick.schema.valid", true);
    way.leave(stage, ports);
    let principal = call.principal();
    Ok(Admitted { received, agent: Arc::clone(&principal.agent), method: principal.method, grant, own, arguments })
}

/// Answers it.
pub(crate) async fn search<'r>(call: Admitted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<ToolResult, Refusal> {
    let stage = way.enter("search", "bailiwick.tools.search", ports);
    let world = ports.worlds.now();
    let tools = list(&world, &call.grant, &call.agent, &ports.halts).await?;
    let told = match call.own {
        OwnTool::Search => found(&call.arguments, tools, world).await?,
        OwnTool::Describe => described(&call, &tools, &world, ports)?,
        OwnTool::Complete | OwnTool::Request | OwnTool::Status => return Err(Refusal::internal("this is no search")),
    };
    // It may have taken its time: under a grant that has ended nothing is shown any more.
    if call.grant.cancelled().is_cancelled() {
        return Err(Refusal::grant_ended(call.grant.end_of_chain(), "Nothing was looked for."));
    }
    let result = result_of(&told).ok_or_else(|| Refusal::internal("what was found makes no result"))?;
    let text = result.text();
    way.seen.result = Some(ResultRecord {
        size: text.len(),
        mac: ports.trail.keyed_digest(text),
        redactions: 0,
        masked: 0,
        withheld: 0,
        left_out: 0,
        labels: Labels::default(),
    });
    way.trace.note(stage, "bailiwick.result.size", text.len());
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    way.leave(stage, ports);
    Ok(result)
}

/// Ends the task: its grant is given back, and what was handed on from it falls.
pub(crate) async fn complete<'r>(call: Admitted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<ToolResult, Refusal> {
    let stage = way.enter("complete", "bailiwick.task.complete", ports);
    // On record first: after it there is no grant to speak of.
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    let outcome = call.arguments.get("outcome").and_then(Value::as_str).unwrap_or("done");
    let note = call.arguments.get("note").and_then(Value::as_str).unwrap_or_default();
    let reason = if note.is_empty() { outcome.to_owned() } else { format!("{outcome}: {note}") };
    let done = ports.endings.complete(&call.grant.terms().id, &call.agent.id, &reason).await;
    let drained = done.map_err(|why| Refusal::internal(format!("the task could not be ended: {why}")))?;
    let result = told(&json!({"completed": true, "drained": drained}), ports, way)?;
    way.leave(stage, ports);
    Ok(result)
}

/// What one of these tools tells, put on record.
pub(super) fn told(told: &Value, ports: &Ports, way: &mut Way<'_>) -> Result<ToolResult, Refusal> {
    let result = result_of(&told.to_string()).ok_or_else(|| Refusal::internal("what is told makes no result"))?;
    let text = result.text();
    way.seen.result = Some(ResultRecord {
        size: text.len(),
        mac: ports.trail.keyed_digest(text),
        redactions: 0,
        masked: 0,
        withheld: 0,
        left_out: 0,
        labels: Labels::default(),
    });
    Ok(result)
}

/// What was looked for: the best of the list, and how many there are.
async fn found(arguments: &Value, tools: Arc<ToolList>, world: Arc<World>) -> Result<String, Refusal> {
    let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default().to_owned();
    let limit = OwnTool::limit(arguments);
    let is_short = tools.tools().len() <= AT_ONCE;
    let look = move || {
        let index = tools.index(&world);
        let found = index.search(&query, limit, tools.tools(), tools.names());
        let shown = found.best.iter().filter_map(|at| Some(shown(tools.tools().get(*at)?, &tools, index.shown(*at)?)));
        json!({"tools": shown.collect::<Vec<_>>(), "total": found.total}).to_string()
    };
    if is_short { Ok(look()) } else { away(look).await }
}

/// A tool that was found. What it says of itself is cut, so that an answer is bounded whatever servers say.
fn shown(tool: &Tool, tools: &ToolList, (title, summary): (Option<&str>, &str)) -> Value {
    let mut shown = json!({"name": tools.names().of(&tool.name)});
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(title.map(|title| ("title".to_owned(), title.into())));
        shown.insert("description".to_owned(), summary.into());
        shown.insert("kind".to_owned(), tool.kind.as_str().into());
        shown.insert("band".to_owned(), tool.band.as_str().into());
    }
    shown
}

/// The definition of a tool in the list, as the list has it, and what policy says of a call of it.
fn described(call: &Admitted<'_>, tools: &ToolList, world: &Arc<World>, ports: &Ports) -> Result<String, Refusal> {
    let name = call.arguments.get("name").and_then(Value::as_str).unwrap_or_default();
    let Some(tool) = tools.called(name) else {
        return Err(Refusal::unknown_described(name, not_to_be_called(world, name, &call.grant)));
    };
    let definition = tools.definition(tool, call.received.origin().protocol.is_modern());
    let foreseen = foreseen(tool, call, world, ports);
    Ok(format!(r#"{{"tool":{definition},"call":"{foreseen}"}}"#))
}

/// What policy says now of any call of this tool; where it reads the arguments, that it depends on them.
fn foreseen(tool: &Tool, call: &Admitted<'_>, world: &Arc<World>, ports: &Ports) -> &'static str {
    let Admitted { received, method, grant, .. } = call;
    let reads_destination = |reads: &Reads| {
        let facts = ["external", "destination", "destination_host", "destination_hosts"];
        tool.destination.is_some() && facts.iter().any(|fact| !reads.call().field(fact).is_nothing())
    };
    if world.policies.reads(tool.name.as_str()).is_none_or(|reads| reads.arguments() || reads_destination(reads)) {
        return "depends";
    }
    let (origin, none) = (received.origin(), json!({}));
    let sender = Sender { transport: origin.transport, era: origin.protocol.as_str(), method: *method };
    let sending = Sending::of(tool, &none);
    let facts = facts(grant, sender, grant.glance(), Minute::of(ports.clock.now_ms()), &sending);
    let ask = AskCall { facts: &facts, arguments: &none };
    match grant.prepared(world).map(|prepared| prepared.decide(world, tool, &ask)).as_deref() {
        Some(Decision::Allow { .. }) => "allowed",
        Some(Decision::StepUp { .. }) => "held",
        Some(Decision::Deny { .. }) | None => "refused",
    }
}

/// A result that says this JSON, structured and as text (MCP `server/tools`: a structured result is given as text too).
fn result_of(told: &str) -> Option<ToolResult> {
    let text = Value::from(told);
    let result = format!(r#"{{"content":[{{"type":"text","text":{text}}}],"structuredContent":{told}}}"#);
    ToolResult::read(&Bytes::from(result))
}
