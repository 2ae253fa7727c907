//! Which agent, which instance, proved how.

use crate::{ports::Ports, principal::Principal, received::Received, refusal::Refusal, way::Way};

/// A call whose sender is proven.
pub struct Identified<'r> {
    received: &'r Received,
    principal: Principal,
}

impl<'r> Identified<'r> {
    /// The request.
    pub fn received(&self) -> &'r Received {
        self.received
    }

    /// Who sent it.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

/// Proves the sender of a request.
pub async fn identify<'r>(received: &'r Received, ports: &Ports, way: &mut Way<'r>) -> Result<Identified<'r>, Refusal> {
    let stage = way.enter("identify", "bailiwick.authenticate", ports);
    let principal =
        ports.identities.identify(&received.origin().presented).await.map_err(|failure| Refusal::unauthenticated(&failure))?;
    if principal.agent.disabled {
        let failure = crate::ports::IdentityFailure::Disabled(principal.agent.id.clone());
        return Err(Refusal::unauthenticated(&failure));
    }
    way.trace.note(stage, "bailiwick.auth.method", principal.method.as_str());
    way.trace.note_root("gen_ai.agent.id", principal.agent.id.to_string());
    way.seen.principal = Some(principal.clone());
    way.leave(stage, ports);
    Ok(Identified { received, principal })
}

/// Whether the sender is still who was proven, and may still what it might. Arming a call may take long: a token may have been
/// revoked meanwhile, the agent disabled, or its ceiling lowered.
pub(super) async fn is_still_proven(call: &Identified<'_>, ports: &Ports) -> bool {
    let now = ports.identities.identify(&call.received.origin().presented).await;
    now.is_ok_and(|now| now.agent == call.principal.agent && !now.agent.disabled)
}
