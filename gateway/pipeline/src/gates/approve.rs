//! Only where policy asks for it: has a person approved exactly this call?

use std::collections::BTreeSet;

use bailiwick_policy::{Band, Confirm};
use bailiwick_schemas::{
    canonical::{Digest, digest},
    json::{self, Limits},
};
use bytes::Bytes;
use serde_json::Value;

use super::{Permitted, Question, Stop, task};
use crate::{
    grant::LiveGrant,
    ids::ApprovalId,
    legs::{self, Leg},
    obliged::{masked_digest, masked_places},
    ports::{ApprovalRequest, Binding, Delegator, Ports, TicketState, need_of},
    refusal::Refusal,
    way::Way,
};

/// A call that nobody needs to be asked about any more.
pub struct Approved<'r> {
    permitted: Permitted<'r>,
    approval: Option<ApprovalId>,
    allowance: Option<ApprovalId>,
    arguments: Bytes,
}

impl<'r> Approved<'r> {
    /// The evidence before this.
    pub fn permitted(&self) -> &Permitted<'r> {
        &self.permitted
    }

    /// The approval whose one use this call wants to take.
    pub fn approval(&self) -> Option<&ApprovalId> {
        self.approval.as_ref()
    }

    /// The approval of another call under which this one wants to go, as one of its like.
    pub fn allowance(&self) -> Option<&ApprovalId> {
        self.allowance.as_ref()
    }

    /// Whether a person approved it, or one of its like, or the call that its task began with: what that person did not see goes with neither.
    pub(super) fn is_by_person(&self) -> bool {
        self.approval.is_some()
            || self.allowance.is_some()
            || (self.permitted.validated().granted().task().is_some() && !self.permitted.needs().is_empty())
    }

    /// The bytes to send: the approved ones where a person approved, else those received.
    pub(crate) fn arguments(&self) -> &Bytes {
        &self.arguments
    }
}

/// Looks for the approval, or asks for it and ends the walk.
pub async fn approve<'r>(call: Permitted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Approved<'r>, Stop> {
    if let Some(task) = call.validated().granted().task() {
        let arguments = task::approved(&call, &needs_of(&call), task)?;
        return Ok(Approved { permitted: call, approval: None, allowance: None, arguments });
    }
    if call.needs().is_empty() {
        let arguments = call.validated().granted().arguments().clone();
        brought(&call, ports, way, || binding_of(&call, ports).call_digest())?;
        // An earlier walk may have asked.
        way.seen.approval = None;
        return Ok(Approved { permitted: call, approval: None, allowance: None, arguments });
    }
    if call.validated().answered().is_some() {
        return Err(
            Refusal::answers_not_taken("a person has to approve this call, and approves no answers: call without them").into()
        );
    }
    if call.validated().granted().identified().received().is_watch() {
        return Err(
            Refusal::unwatchable("a person has to approve each read of it, and nobody can approve what is not read yet").into()
        );
    }
    let stage = way.enter("approve", "bailiwick.approval.check", ports);
    let binding = binding_of(&call, ports);
    let now_ms = ports.clock.now_ms();
    let brought = brought(&call, ports, way, || binding.call_digest())?;
    let found = ports.approvals.find(&binding, now_ms);
    // Whoever waits for one question is not put before another.
    if brought.as_ref().is_some_and(|leg| found.as_ref().is_none_or(|ticket| ticket.id != leg.approval)) {
        return Err(Refusal::approval_lapsed().into());
    }
    // A no to exactly this call is not undone by a yes to its like; one that still waits may be.
    let is_settled = found.as_ref().is_some_and(|ticket| ticket.state != TicketState::Pending);
    if !is_settled
        && may_be_remembered(&call)
        && let Some(parent) = ports.approvals.allowance(&binding, call.validated().arguments(), now_ms)
    {
        way.trace.important = true;
        way.trace.note(stage, "bailiwick.approval.id", parent.to_string());
        way.trace.note(stage, "bailiwick.approval.outcome", "allowed");
        way.seen.approval = Some(parent.clone());
        way.leave(stage, ports);
        // What was received, and judged: nobody has seen other bytes.
        let arguments = call.validated().granted().arguments().clone();
        return Ok(Approved { permitted: call, approval: None, allowance: Some(parent), arguments });
    }
    let ticket = match found {
        Some(ticket) => ticket,
        // Whoever was told of a task doesn't wait itself: nobody is asked twice for it.
        None if way.deferred().is_some() => return Err(Refusal::approval_lapsed().into()),
        None => ask(&call, &binding, now_ms, ports).await?,
    };
    way.trace.important = true;
    way.seen.approval = Some(ticket.id.clone());
    way.trace.note(stage, "bailiwick.approval.id", ticket.id.to_string());
    match ticket.state {
        TicketState::Approved => {
            let arguments = ports.approvals.arguments(&ticket.id).map_err(|failure| Refusal::approval_unavailable(&failure))?;
            if !says(&arguments, &binding.args_digest, &call, ports) {
                return Err(Refusal::internal(format!(
                    "what is kept for approval `{}` are not the arguments it is bound to",
                    ticket.id
                ))
                .into());
            }
            way.trace.note(stage, "bailiwick.approval.outcome", "approved");
            way.leave(stage, ports);
            Ok(Approved { permitted: call, approval: Some(ticket.id), allowance: None, arguments })
        }
        TicketState::Denied { ref reason } => {
            way.trace.note(stage, "bailiwick.approval.outcome", "denied");
            Err(Refusal::approval_denied(&ticket, reason.as_deref()).into())
        }
        TicketState::Pending => {
            way.trace.note(stage, "bailiwick.approval.outcome", "pending");
            way.leave(stage, ports);
            let (rules, bound) = (way.seen.rules.clone(), binding.call_digest());
            let leg = brought.map_or(0, |leg| leg.number);
            Err(Stop::Pending(Box::new(Question { ticket, rules, bound, leg })))
        }
    }
}

/// What a call brings that was answered before that a person is still to decide. What this agent was not given under this grant is refused.
fn brought(
    call: &Permitted<'_>,
    ports: &Ports,
    way: &mut Way<'_>,
    bound: impl FnOnce() -> Digest,
) -> Result<Option<Leg>, Refusal> {
    let granted = call.validated().granted();
    let Some(waited) = granted.identified().received().waited() else { return Ok(None) };
    way.seen.gate = "approve";
    let leg = legs::opened(waited.state, granted.grant().terms(), ports).ok_or_else(Refusal::waits_for_nothing)?;
    if leg.bound == bound() { Ok(Some(leg)) } else { Err(Refusal::approval_lapsed()) }
}

async fn ask(call: &Permitted<'_>, binding: &Binding, now_ms: u64, ports: &Ports) -> Result<crate::ports::Ticket, Stop> {
    let granted = call.validated().granted();
    let received = granted.identified().received();
    let terms = granted.grant().terms();
    let delegator = |above: &LiveGrant| Delegator { agent: above.terms().agent.clone(), owner: above.terms().owner.clone() };
    let delegators: Vec<Delegator> = granted.grant().chain().skip(1).map(delegator).collect();
    let masked = masked_places(call.obligations(), call.validated().arguments());
    let request = ApprovalRequest {
        binding,
        masked: &masked,
        arguments: granted.arguments(),
        requirements: call.needs(),
        owner: &terms.owner,
        delegators: &delegators,
        purpose: &terms.purpose,
        claim: received.origin().reason.as_deref(),
        tool: granted.tool(),
        call: received.call_id(),
        grant_expires_at_ms: terms.expires_at_ms,
        now_ms,
    };
    ports.approvals.request(request).await.map_err(|failure| Refusal::approval_unavailable(&failure).into())
}

fn binding_of(call: &Permitted<'_>, ports: &Ports) -> Binding {
    let granted = call.validated().granted();
    let (terms, tool) = (granted.grant().terms(), granted.tool());
    Binding {
        agent: terms.agent.clone(),
        grant: terms.id.clone(),
        grant_revision: granted.grant().revision(),
        connector: tool.connector.id.clone(),
        connector_fingerprint: tool.connector.fingerprint,
        tool: tool.name.to_string(),
        tool_digest: tool.digest,
        args_digest: bound(call.validated().arguments(), call, ports),
        policy_digest: granted.world().policy_digest.clone(),
        needs: needs_of(call),
        obligations: call.obligations().words(),
    }
}

/// Whether a yes to its like is enough for this call, by the rules as they are now.
fn may_be_remembered(call: &Permitted<'_>) -> bool {
    call.validated().granted().tool().band < Band::Critical
        && call.needs().iter().all(|need| need.remember && need.quorum == 1 && need.confirm < Confirm::TwoPerson)
}

/// What policy asks a person for.
pub(super) fn needs_of(call: &Permitted<'_>) -> BTreeSet<String> {
    call.needs().iter().map(need_of).collect()
}

/// Whether these bytes say what was judged: what is kept for an approval is sent, and so is not taken on trust. How large they
/// may be was asked when they were received.
fn says(arguments: &[u8], to: &Digest, call: &Permitted<'_>, ports: &Ports) -> bool {
    read(arguments).is_some_and(|value| bound(&value, call, ports) == *to)
}

fn read(arguments: &[u8]) -> Option<Value> {
    json::parse(arguments, Limits { bytes: usize::MAX, ..Limits::MESSAGE }).ok()
}

/// The digest of arguments that an approval of this call is bound to, and that people and records see. Where a rule masks some of the
/// call's it is keyed: nobody finds them by trying.
fn bound(arguments: &Value, call: &Permitted<'_>, ports: &Ports) -> Digest {
    let whole = digest(arguments);
    if masked_places(call.obligations(), call.validated().arguments()).is_empty() {
        return whole;
    }
    masked_digest(&whole, &|bytes| ports.trail.keyed_digest(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// How large a message may be is the operator's to say, and was asked when it came.
    #[test]
    fn what_was_received_is_no_larger_when_it_is_approved() {
        let value = json!({ "text": "x".repeat(Limits::MESSAGE.bytes) });
        assert!(read(value.to_string().as_bytes()).is_some_and(|read| digest(&read) == digest(&value)));
        assert!(read(b"{}").is_some_and(|read| digest(&read) != digest(&value)) && read(b"{").is_none());
    }
}
