//! Whether this call has been done already, and its agent could not be told so.

use super::Permitted;
use crate::{
    answer::{Answer, Body, ToolResult},
    kept::{Kept, Taken},
    obliged,
    ports::Ports,
    received::Asked,
    records::ResultRecord,
    refusal::Refusal,
    way::Way,
};

/// The outcome of the identical call before, where it reached nobody. It is told once, nothing is done anew and nothing debited.
pub(crate) fn kept(call: &Permitted<'_>, kept: &Kept, ports: &Ports, way: &mut Way<'_>) -> Result<Option<Answer>, Refusal> {
    let validated = call.validated();
    let granted = validated.granted();
    let may_be = kept.is_any() && granted.tool().kind.has_effect() && validated.answered().is_none();
    if !may_be || !matches!(granted.identified().received().asked(), Asked::Call { .. }) {
        return Ok(None);
    }
    // What is held for a person goes on as what the person was asked.
    if way.deferred().is_some() {
        return Ok(None);
    }
    let exactly = (validated.arguments(), granted.identified().received());
    let taken = kept.take(granted.grant(), granted.tool(), exactly, &way.seen.needs);
    let Some(Taken { call: of, outcome, result: text, obligations: was }) = taken else { return Ok(None) };
    let stage = way.enter("kept", "bailiwick.outcome.kept", ports);
    // It was screened as rules had it then: they may demand more by now.
    let text = match call.obligations() {
        obligations if obligations.is_empty() => text,
        obligations => obliged::told_again(&text, &was, obligations)
            .map_err(|why| Refusal::unscreened(granted.tool().connector.id.as_str(), why))?,
    };
    let result = ToolResult::read(&text).ok_or_else(|| Refusal::internal("a kept outcome can't be read"))?;
    way.trace.note(stage, "bailiwick.outcome.of", of.to_string());
    way.seen.outcome_of = Some(of);
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    if granted.grant().cancelled().is_cancelled() {
        return Err(Refusal::grant_ended(granted.grant().end_of_chain(), "Nothing was told."));
    }
    let (mac, labels) = (ports.trail.keyed_digest(&text), granted.tool().labels);
    way.seen.result = Some(ResultRecord { size: text.len(), mac, redactions: 0, masked: 0, withheld: 0, left_out: 0, labels });
    way.leave(stage, ports);
    Ok(Some(Answer { outcome, body: Body::Result(result) }))
}
