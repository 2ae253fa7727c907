//! Arguments against the pinned schema, and inside the bounds of the grant.

use serde_json::Value;

use super::{
    Granted,
    asks::{self, Answered, Takes},
};
use crate::{
    constraint::Bound, destination::Destination, grant::LiveGrant, ports::Ports, refusal::Refusal, tasks::Room, way::Way,
};

/// A call whose arguments are what they may be.
pub struct Validated<'r> {
    granted: Granted<'r>,
    arguments: Value,
    takes: Takes,
    answered: Option<Answered>,
    room: Option<Room>,
    takes_task: bool,
}

impl<'r> Validated<'r> {
    /// The evidence before this.
    pub fn granted(&self) -> &Granted<'r> {
        &self.granted
    }

    /// The arguments.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// What its server may ask.
    pub(super) fn takes(&self) -> &Takes {
        &self.takes
    }

    /// Whether its server may answer later: the agent takes that, and there is room for it.
    pub(super) fn takes_task(&self) -> bool {
        self.takes_task
    }

    /// The room that is kept for a task.
    pub(super) fn room(&self) -> Option<&Room> {
        self.room.as_ref()
    }

    /// The answers that it brings.
    pub(super) fn answered(&self) -> Option<&Answered> {
        self.answered.as_ref()
    }

    /// Whether its agent answered questions of its server's with it.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered().is_some()
    }
}

/// Judges the arguments. The value made here of what was received is what policy reads, the text is what is sent.
pub fn validate<'r>(call: Granted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Validated<'r>, Refusal> {
    let stage = way.enter("validate", "bailiwick.schema.validate", ports);
    let arguments: Value =
        serde_json::from_slice(call.arguments()).map_err(|fault| Refusal::internal(format!("received arguments: {fault}")))?;
    let keeps_back = call.world().policies.keeps_back(call.tool().name.as_str());
    call.tool().input.check(&arguments).map_err(|places| Refusal::invalid_arguments(&places, keeps_back))?;
    if call.task().is_none() {
        mirrored(&call, &arguments)?;
    }
    for grant in call.grant().chain() {
        within(grant, &call, &arguments)?;
    }
    let takes = Takes::of(&call);
    let answered = match call.task() {
        None => asks::answered(&call, &arguments, &takes, ports)?,
        Some(task) => asks::answered_later(&call, task, &takes)?,
    };
    let may_be_task = call.identified().received().may_be_task();
    let of = (&call.grant().terms().agent, call.arguments().len(), ports.clock.now_ms());
    // What has become one already needs no more room.
    let room = if may_be_task && way.deferred().is_none() { ports.tasks.room(of.0, of.1, of.2) } else { None };
    let takes_task = may_be_task && (room.is_some() || way.deferred().is_some());
    way.trace.note(stage, "bailiwick.schema.valid", true);
    way.leave(stage, ports);
    Ok(Validated { granted: call, arguments, takes, answered, room, takes_task })
}

/// Headers never decide; one that disagrees is refused.
fn mirrored(call: &Granted<'_>, arguments: &Value) -> Result<(), Refusal> {
    let Some(headers) = &call.identified().received().origin().mirrored else { return Ok(()) };
    for mirror in &call.tool().mirrors {
        let mut given = headers.iter().filter(|(name, _)| *name == mirror.header).map(|(_, value)| value);
        let (first, second) = (given.next(), given.next());
        if second.is_some() || first.cloned() != mirror.expected(arguments) {
            return Err(Refusal::header_mismatch(&mirror.header));
        }
    }
    Ok(())
}

/// Some capability of this grant must cover the tool with these arguments. If none does, the one that comes nearest says why.
fn within(grant: &LiveGrant, call: &Granted<'_>, arguments: &Value) -> Result<(), Refusal> {
    let tool = call.tool();
    if call.task().is_none() && !grant.terms().sends_within(tool, arguments) {
        let domains = grant.terms().destinations.iter().flatten().cloned().collect();
        let bound = Bound { domain_in: Some(domains), ..Bound::default() };
        return Err(Refusal::out_of_bounds(
            &grant.terms().id,
            &[(tool.destination.as_ref().map_or("", Destination::pointer), &bound)],
        ));
    }
    let rights = grant.rights();
    let mut nearest: Option<Vec<(&str, &Bound)>> = None;
    for capability in rights.iter().filter(|right| right.covers(&tool.name, tool.kind)) {
        let broken = capability.broken_by(arguments);
        if broken.is_empty() {
            return Ok(());
        }
        if nearest.as_ref().is_none_or(|nearest| broken.len() < nearest.len()) {
            nearest = Some(broken);
        }
    }
    Err(Refusal::out_of_bounds(&grant.terms().id, &nearest.unwrap_or_default()))
}
