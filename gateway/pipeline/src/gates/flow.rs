//! What flows: the labels that a call gives its task, to whom they go, and what shows only in what comes back.

use serde_json::Value;

use super::{Granted, Reply, Validated, detect};
use crate::{
    answer::Body,
    catalogue::Tool,
    grant::{Labels, LiveGrant},
    ports::Ports,
    records::{LabelledRecord, Outcome},
    refusal::Refusal,
    way::Way,
};

/// What a call is known to be marked with before it is sent: what each result of its tool is, and the resource that it asks for.
pub(super) fn known(validated: &Validated<'_>) -> Labels {
    let tool = validated.granted().tool();
    let uri = validated.arguments().get("uri").and_then(Value::as_str);
    tool.labels.join(uri.map_or(Labels::NONE, |uri| tool.labels_of_item(uri)))
}

/// Joins labels to the other grants of the same agent, and of those above it in the chain: choosing another one washes nothing off.
pub(super) fn touch_others(grant: &LiveGrant, labels: Labels, ports: &Ports) {
    if labels.is_empty() || grant.has_spread(labels) {
        return;
    }
    let is_own = |other: &LiveGrant| grant.chain().any(|own| own.terms().id == other.terms().id);
    // Whoever handed the task on hears what comes of it.
    let of_agents = grant.chain().flat_map(|grant| ports.grants.of(&grant.terms().agent));
    for other in of_agents.filter(|other| !is_own(other)) {
        other.touch(labels);
    }
}

/// Joins what shows only now to the task, its ancestors and the others, and puts it on record: before anything of it leaves.
pub(super) fn join(granted: &Granted<'_>, labels: Labels, ports: &Ports, way: &mut Way<'_>) -> Result<(), Refusal> {
    mark(granted.grant(), Some(granted.tool()), labels.beyond(way.seen.labelled), ports, way)
}

/// The same for labels that come with no one tool.
pub(super) fn mark(
    grant: &LiveGrant,
    tool: Option<&Tool>,
    labels: Labels,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<(), Refusal> {
    if labels.is_empty() {
        return Ok(());
    }
    way.seen.labelled = way.seen.labelled.join(labels);
    detect::reads_these(grant, labels, ports, ports.clock.now_ms());
    // Whoever brought them to all has put them on record.
    if grant.has_spread(labels) {
        return Ok(());
    }
    grant.touch(labels);
    touch_others(grant, labels, ports);
    // Second: whatever is stored as of this record has them.
    on_record(grant, tool, labels, ports, way)?;
    // A grant that was made meanwhile may not carry them yet.
    touch_others(grant, labels, ports);
    grant.spread(labels);
    Ok(())
}

fn on_record(grant: &LiveGrant, tool: Option<&Tool>, labels: Labels, ports: &Ports, way: &Way<'_>) -> Result<(), Refusal> {
    let chain: Vec<_> = grant.chain().map(|grant| &grant.terms().id).collect();
    let record = LabelledRecord {
        event: "labelled",
        call_id: way.received().call_id(),
        agent: &grant.terms().agent,
        grant: &grant.terms().id,
        chain: &chain,
        tool: tool.map(|tool| tool.name.as_str()),
        labels,
        trace_id: &way.trace_id,
    };
    ports.trail.labelled(ports.clock.now_ms(), &record).map_err(|lost| Refusal::trail_lost(&lost))
}

/// What can't be told yet, or at all, is marked with all that it could be: an error, what is said before the result, a question.
pub(super) fn join_unknown(granted: &Granted<'_>, ports: &Ports, way: &mut Way<'_>) -> Result<(), Refusal> {
    match &granted.tool().marks {
        Some(marks) => join(granted, marks.of_unknown(), ports, way),
        None => Ok(()),
    }
}

/// Marks the task with what a reply turned out to have. Where a grant of the chain doesn't cover data of that class, its result goes no
/// further.
pub(super) fn join_reply(
    granted: &Granted<'_>,
    reply: Result<&Reply, &String>,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<(), Refusal> {
    let tool = granted.tool();
    let Some(marks) = &tool.marks else { return Ok(()) };
    let result = match reply {
        Ok(Reply { body: Body::Result(result) | Body::Content(result), outcome: Outcome::Success }) => result.text(),
        _ => return join(granted, marks.of_unknown(), ports, way),
    };
    let world = granted.world();
    let prefix = if world.is_bare(tool) { String::new() } else { format!("{}+", tool.connector.id) };
    let own = |uri: &str| uri.strip_prefix(&prefix).unwrap_or(uri).to_owned();
    let labels = match serde_json::from_slice(result) {
        Ok(result) => marks.of_result(&result, own),
        Err(_) => marks.of_unknown(),
    };
    join(granted, labels, ports, way)?;
    if granted.grant().chain().all(|grant| grant.terms().may_touch(labels)) {
        return Ok(());
    }
    let what = "it has data of a class that the grant's `data_classes` don't cover".to_owned();
    Err(Refusal::unscreened(tool.connector.id.as_str(), what))
}
