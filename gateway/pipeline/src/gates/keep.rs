//! What a rule with `@log("full")` has kept of a call, sealed: its arguments before it has any effect, and what its agent was told.

use bytes::Bytes;

use super::{Approved, screen::DISCARDED};
use crate::{
    obliged::{masked_places, masked_text},
    ports::{BodyOf, Ports},
    refusal::Refusal,
    way::Way,
};

/// Keeps the arguments, where a rule demands that, without what people and records are not to see. Returns a keyed digest of what is kept.
pub(super) async fn keep_arguments(call: &Approved<'_>, ports: &Ports, way: &Way<'_>) -> Result<Option<String>, Refusal> {
    let permitted = call.permitted();
    if !permitted.obligations().keep_bodies {
        return Ok(None);
    }
    let places = masked_places(permitted.obligations(), permitted.validated().arguments());
    let body = match std::str::from_utf8(call.arguments()) {
        Ok(text) if !places.is_empty() => Bytes::from(masked_text(text, &places, &|bytes| ports.trail.keyed_digest(bytes))),
        _ => call.arguments().clone(),
    };
    let digest = ports.trail.keyed_digest(&body);
    let agent = &permitted.validated().granted().grant().terms().agent;
    let of = BodyOf { call: way.received().call_id(), agent, part: "arguments" };
    let kept = ports.approvals.keep_body(of, body, ports.clock.now_ms()).await;
    kept.map_err(|why| Refusal::not_kept(&why))?;
    Ok(Some(digest))
}

/// Keeps what the agent is to be told, where a rule demands that. What can't be kept isn't told.
pub(crate) async fn keep_result(ports: &Ports, way: &mut Way<'_>) -> Result<(), Refusal> {
    let Some(body) = way.seen.to_keep.take() else { return Ok(()) };
    // What has a result has a grant.
    let Some(grant) = way.seen.grant.clone() else { return Err(Refusal::result_not_kept("nobody knows whose it is")) };
    let of = BodyOf { call: way.received().call_id(), agent: &grant.terms().agent, part: "result" };
    let kept = ports.approvals.keep_body(of, body, ports.clock.now_ms()).await;
    kept.map_err(|why| Refusal::result_not_kept(&why))?;
    // The disk may have taken long.
    match way.seen.grant.as_ref().filter(|grant| grant.cancelled().is_cancelled()) {
        Some(grant) => Err(Refusal::grant_ended(grant.end_of_chain(), DISCARDED)),
        None => Ok(()),
    }
}
