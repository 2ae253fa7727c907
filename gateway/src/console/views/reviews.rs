//! What was let go in an emergency, and who may look at it.

use bailiwick_console::{
    Action, ProofMethod, Viewer,
    views::{Broken, ReviewRow},
};
use bailiwick_store::{Approval, Approver, DecideFault};

use crate::{console::house, runtime::Runtime};

pub(super) fn broken(approval: &Approval) -> Option<Broken> {
    let said = approval.broken_by.as_ref()?;
    let seen = |by: &bailiwick_store::Said| (by.approver.name.clone(), by.at_ms, by.reason.clone());
    Some(Broken {
        by: said.approver.name.clone(),
        at_ms: said.at_ms,
        reason: said.reason.clone(),
        reviewed: approval.reviewed_by.as_ref().map(seen),
    })
}

/// One that was let go in an emergency, if it was.
pub(in crate::console) fn review_row(runtime: &Runtime, viewer: &Viewer, approval: &Approval) -> Option<ReviewRow> {
    let decide = Action::Decide { connector: approval.binding.connector.as_str(), band: approval.band };
    // Which of their passkeys they will use, nobody knows before: here the best of them counts, and then the one that signs.
    let looks = passkeys_of(runtime, viewer).into_iter().map(|passkey| {
        let may = runtime.approvals.may_review(approval, &passkey);
        may.map(|()| runtime.approvals.doubt_of(approval, &passkey))
    });
    let fits = looks
        .min_by_key(|fits| fits.as_ref().map_or(2, |doubt| u8::from(doubt.is_some())))
        .unwrap_or(Err(DecideFault::NoReview(approval.code.clone())));
    let doubt = fits.as_ref().ok().copied().flatten().map(str::to_owned);
    let barred = match viewer.may(decide) {
        Err(forbidden) => Some(forbidden.to_string()),
        Ok(()) => match fits {
            Err(DecideFault::AlreadyApproved { .. }) => Some("You let it go yourself: somebody else looks at it.".to_owned()),
            Err(fault) => Some(fault.to_string()),
            Ok(_) => None,
        },
    };
    Some(ReviewRow {
        id: approval.id.to_string(),
        code: approval.code.clone(),
        tool: approval.binding.tool.clone(),
        band: approval.band,
        agent: approval.binding.agent.to_string(),
        state: approval.state.to_string(),
        binding_digest: approval.binding.digest().to_string(),
        broken: broken(approval)?,
        barred,
        doubt,
    })
}

/// Who this viewer would be who signs with a passkey: one for each that they have, and one that traces to nobody where they have none.
pub(super) fn passkeys_of(runtime: &Runtime, viewer: &Viewer) -> Vec<Approver> {
    let is_nobody_registered = runtime.config().people.is_empty();
    let known = runtime.console.get().map(|console| console.makers(&viewer.person.id)).filter(|known| !known.is_empty());
    let makers = known.unwrap_or_else(|| vec![None]).into_iter();
    makers.map(|maker| house::approver(is_nobody_registered, &viewer.person, (ProofMethod::Passkey, maker))).collect()
}
