//! Arguments against the pinned schema, and inside the bounds of the grant.

use serde_json::Value;

use super::{
    Granted,
    asks::{self, Answered, Takes},
};
use crate::{constraint::Bound, grant::LiveGrant, ports::Ports, refusal::Refusal, way::Way};

/// A call whose arguments are what they may be.
pub struct Validated<'r> {
    granted: Granted<'r>,
    arguments: Value,
    takes: Takes,
    answered: Option<Answered>,
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

    /// The answers that it brings.
    pub(super) fn answered(&self) -> Option<&Answered> {
        self.answered.as_ref()
    }
}

/// Judges the arguments. The value made here of what was received is what policy reads, the text is what is sent.
pub fn validate<'r>(call: Granted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Validated<'r>, Refusal> {
    let stage = way.enter("validate", "bailiwick.schema.validate", ports);
    let arguments: Value =
        serde_json::from_slice(call.arguments()).map_err(|fault| Refusal::internal(format!("received arguments: {fault}")))?;
    call.tool().input.check(&arguments).map_err(|places| Refusal::invalid_arguments(&places))?;
    mirrored(&call, &arguments)?;
    for grant in call.grant().chain() {
        within(grant, &call, &arguments)?;
    }
    let takes = Takes::of(&call);
    let answered = asks::answered(&call, &arguments, &takes, ports)?;
    way.trace.note(stage, "bailiwick.schema.valid", true);
    way.leave(stage, ports);
    Ok(Validated { granted: call, arguments, takes, answered })
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
    let mut nearest: Option<Vec<(&str, &Bound)>> = None;
    for capability in grant.terms().capabilities.iter().filter(|capability| capability.covers(&tool.name, tool.kind)) {
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
