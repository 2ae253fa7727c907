//! A call of 2026-07-28 that waits for a person longer than one request may take: it is answered that input is required, and comes back with
//! what it was given (MCP `basic/patterns/mrtr`).
//!
//! What it is given says which question it waits for, of which agent under which grant, about which exact call, for the how manieth time and
//! until when. It is sealed, so that no agent reads or makes one; it is another one each time; and it gives no power: the question is found by
//! the call itself, and a person decides it elsewhere.

use bailiwick_schemas::canonical::Digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    grant::Grant,
    ids::ApprovalId,
    ports::{Ports, Ticket},
};

/// So often one call is answered so; then it is pending, as any.
pub(crate) const LEGS: u8 = 8;
/// What it begins with: no handle of a server's question does.
const PREFIX: &str = "wait.";
/// It is good so long after the person had to decide, milliseconds: whoever sits at the client may take a while to look at a page.
const LIVES_ON_MS: u64 = 10 * 60 * 1000;

/// What an agent brings that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leg {
    /// The question.
    pub(crate) approval: ApprovalId,
    /// The exact call.
    pub(crate) bound: Digest,
    /// For the how manieth time.
    pub(crate) number: u8,
    until_ms: u64,
}

/// Whether it is one of these, or means to be.
pub(crate) fn is_own(state: &str) -> bool {
    state.starts_with(PREFIX)
}

/// What an agent is given that waits for this question. None where nothing can be sealed.
pub(crate) fn sealed(ticket: &Ticket, bound: Digest, number: u8, grant: &Grant, ports: &Ports) -> Option<String> {
    let until_ms = ticket.approve_by_ms.saturating_add(LIVES_ON_MS);
    let leg = Leg { approval: ticket.id.clone(), bound, number, until_ms };
    let sealed = ports.approvals.seal(&about(grant), &serde_json::to_vec(&leg).ok()?)?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed)))
}

/// What this agent was given under this grant; none where it was not, or too long ago.
pub(crate) fn opened(state: &str, grant: &Grant, ports: &Ports) -> Option<Leg> {
    let sealed = URL_SAFE_NO_PAD.decode(state.strip_prefix(PREFIX)?).ok()?;
    let leg: Leg = serde_json::from_slice(&ports.approvals.unseal(&about(grant), &sealed)?).ok()?;
    (ports.clock.now_ms() < leg.until_ms).then_some(leg)
}

/// Whose it is. No id has a line break in it.
fn about(grant: &Grant) -> Vec<u8> {
    format!("bailiwick.waiting.v1\n{}\n{}\n{}", grant.agent, grant.id, grant.revision).into_bytes()
}
