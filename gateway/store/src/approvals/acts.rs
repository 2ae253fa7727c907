//! What persons do about approvals besides deciding them.

use super::{
    Approver, ApproverMethod, Happened, LiveApprovals, Settings,
    approver::ROOT,
    book::Book,
    decide::{DecideFault, Told, first, is_decidable, lasts_ms, stored},
    record::{Approval, ApprovalState, Said},
    rows,
};
use crate::fault::WriteFault;

/// How long a call may be made that somebody let go alone: 15 minutes.
const GLASS_MS: u64 = 15 * 60 * 1000;

impl LiveApprovals {
    /// Takes back what was approved and not used yet, and what it allows of its like. In force when this is called, on disk when it
    /// returns; what has been sent is not undone by it.
    pub async fn revoke(
        &self,
        handle: &str,
        reason: Option<String>,
        approver: Approver,
        now_ms: u64,
    ) -> Result<Approval, DecideFault> {
        let (after, on_disk) = {
            let mut book = self.book();
            let approval = &stored(&book, handle)?.approval;
            let is_unused = approval.state == ApprovalState::Approved;
            let is_allowing = approval.allowance.as_ref().is_some_and(|allowance| allowance.ended_at_ms.is_none());
            if !is_unused && !is_allowing {
                return Err(DecideFault::NothingToRevoke { code: approval.code.clone(), state: approval.state });
            }
            let (id, said) = (approval.id.clone(), Said { approver, at_ms: now_ms, reason });
            let changed = book.change(&id, |approval| {
                if is_unused {
                    approval.state = ApprovalState::Revoked;
                    approval.ended_at_ms = Some(now_ms);
                }
                approval.end_allowance(now_ms);
                approval.revoked_by = Some(said);
            });
            self.keep(&book, changed, Happened::Revoked, now_ms)?
        };
        on_disk.await?;
        Ok(after)
    }

    /// Says that somebody is looking at a question: others need not be called. It stays pending.
    pub async fn acknowledge(&self, handle: &str, approver: Approver, now_ms: u64) -> Result<Approval, DecideFault> {
        let (after, on_disk) = {
            let mut book = self.book();
            let entry = stored(&book, handle)?;
            is_decidable(entry, now_ms)?;
            let id = entry.approval.id.clone();
            let said = Said { approver, at_ms: now_ms, reason: None };
            let changed = book.change(&id, |approval| approval.acknowledged_by = Some(said));
            self.keep(&book, changed, Happened::Acknowledged, now_ms)?
        };
        on_disk.await?;
        Ok(after)
    }

    /// Lets a call go in an emergency, by the word of one person, however many it takes else. It is good for 15 minutes at most; and a
    /// second person is to [look](Self::review) at it. That somebody may do that at all is the caller's to know.
    pub async fn break_glass(
        &self,
        handle: &str,
        reason: &str,
        approver: Approver,
        now_ms: u64,
    ) -> Result<Approval, DecideFault> {
        let told = self.begin_to_break(handle, reason, approver, now_ms)?;
        first(told).await
    }

    fn begin_to_break(&self, handle: &str, reason: &str, approver: Approver, now_ms: u64) -> Result<Told, DecideFault> {
        let mut book = self.book();
        let settings = self.settings.load();
        if !settings.break_glass {
            return Err(DecideFault::GlassIsShut);
        }
        if reason.trim().is_empty() {
            return Err(DecideFault::NoReason);
        }
        let entry = stored(&book, handle)?;
        is_decidable(entry, now_ms)?;
        let approval = &entry.approval;
        if approver.method != ApproverMethod::Operator {
            let why = "can be let go alone only with the operator credential";
            return Err(DecideFault::Method { code: approval.code.clone(), why });
        }
        self.is_somebody_else(approval, &approver, &settings)?;
        let unreadable = |why: String| DecideFault::Unreadable { code: approval.code.clone(), why };
        self.unseal(entry).map(drop).map_err(unreadable)?;
        let mut after = approval.clone();
        let lasts_ms = lasts_ms(&after, &settings).min(GLASS_MS);
        after.state = ApprovalState::Approved;
        after.execute_by_ms = Some(now_ms.saturating_add(lasts_ms).min(after.grant_expires_at_ms));
        after.broken_by = Some(Said { approver, at_ms: now_ms, reason: Some(reason.to_owned()) });
        Ok(self.queue(&mut book, vec![after], Happened::GlassBroken, now_ms))
    }

    /// Says that a second person has looked at what was let go in an emergency.
    pub async fn review(
        &self,
        handle: &str,
        reason: Option<String>,
        approver: Approver,
        now_ms: u64,
    ) -> Result<Approval, DecideFault> {
        let (after, on_disk) = {
            let mut book = self.book();
            let settings = self.settings.load();
            let approval = &stored(&book, handle)?.approval;
            self.is_second(approval, &approver, &settings)?;
            let (id, said) = (approval.id.clone(), Said { approver, at_ms: now_ms, reason });
            let changed = book.change(&id, |approval| approval.reviewed_by = Some(said));
            self.keep(&book, changed, Happened::Reviewed, now_ms)?
        };
        on_disk.await?;
        Ok(after)
    }

    /// Whether they are a second person, who may look at what another let go in an emergency.
    pub(super) fn is_second(&self, approval: &Approval, approver: &Approver, settings: &Settings) -> Result<(), DecideFault> {
        let Some(broken) = approval.broken_by.as_ref().filter(|_| approval.is_review_due()) else {
            return Err(DecideFault::NoReview(approval.code.clone()));
        };
        if broken.approver.is_surely(approver) {
            return Err(DecideFault::AlreadyApproved { code: approval.code.clone(), missing: 1 });
        }
        // Root can be any user, but signs with nobody's passkey, unless root made it. Where duties are not separate anyway, all of these are
        // taken for somebody else.
        let is_apart = approver.method == ApproverMethod::Passkey && approver.uid.is_none();
        if !settings.allow_same_user {
            if is_apart {
                is_of_another(approval, &broken.approver, approver)?;
            } else if broken.approver.may_be(approver) {
                return Err(DecideFault::NoSecondPerson(approval.code.clone()));
            }
        }
        self.is_somebody_else(approval, approver, settings)
    }

    /// What speaks against this second person, though they count: root can be any user, also the one to whom a passkey traces.
    pub fn doubt_of(&self, approval: &Approval, approver: &Approver) -> Option<&'static str> {
        let broken = approval.broken_by.as_ref()?;
        let (breaker, maker) = (broken.approver.uid?, approver.enrolled_by?);
        (breaker != maker && (breaker == ROOT || maker == ROOT)).then_some(
            "root, who can be any user of this machine, either let it go or made the link of the passkey that looks at it: that these are \
             two persons, the gateway can't tell",
        )
    }

    /// Queued under the lock: the store follows in the same order.
    fn keep(
        &self,
        _book: &Book,
        changed: Option<Approval>,
        happened: Happened,
        now_ms: u64,
    ) -> Result<(Approval, impl Future<Output = Result<(), WriteFault>> + use<>), DecideFault> {
        let after = changed.ok_or_else(|| DecideFault::Unknown(String::new()))?;
        let moved = self.moved(after.clone(), happened, now_ms);
        Ok((after, self.store.write(move |connection| rows::update(connection, &moved))))
    }
}

/// Whether a passkey traces to somebody else than whoever let the call go: who makes a link can add a passkey by it under any name.
fn is_of_another(approval: &Approval, breaker: &Approver, looks: &Approver) -> Result<(), DecideFault> {
    let why = match (looks.enrolled_by, breaker.uid) {
        (Some(maker), Some(breaker)) if maker != breaker => return Ok(()),
        (Some(_), Some(_)) => "whoever let it go made the link by which this passkey was added",
        _ => "nobody knows by whose link this passkey was added",
    };
    Err(DecideFault::OwnPasskey { code: approval.code.clone(), why })
}
