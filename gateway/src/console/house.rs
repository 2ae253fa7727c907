//! What the console's door asks of the gateway.

use std::{
    fs,
    sync::{Arc, Weak},
};

use bailiwick_console::{
    Action, House, Later, NotRecorded, Note, Person, ProofMethod, Question, Refused, SignedBatch, SignedDecision, SignedReview,
};
use bailiwick_pipeline::ports::Clock;
use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{
    AllowanceWanted, Approval, Approver, ApproverMethod, DecideBounds, Decided, Decision, MayNot, Verdict, batch_digest,
};
use bailiwick_trail::Stream;
use serde_json::json;
use zeroize::Zeroizing;

use super::people_of;
use crate::{
    adapters::Recorder,
    admin::{self, AdminRecord, Deed, Stage, change_id, fault::ApiFault},
    data::DataFolder,
    runtime::Runtime,
};

/// The bytes of the operator credential.
const KEY_BYTES: usize = 32;

/// The gateway, as far as the door needs it.
pub(super) struct Gatehouse {
    clock: Arc<dyn Clock>,
    recorder: Arc<Recorder>,
    data: DataFolder,
    /// The gateway has the console, and so not the other way round.
    runtime: Weak<Runtime>,
}

impl Gatehouse {
    pub(super) fn of(runtime: &Arc<Runtime>) -> Self {
        Self {
            clock: Arc::clone(&runtime.clock),
            recorder: Arc::clone(&runtime.recorder),
            data: runtime.data.clone(),
            runtime: Arc::downgrade(runtime),
        }
    }

    async fn write(&self, note: Note) -> Result<(), NotRecorded> {
        let lost = |fault: &dyn std::fmt::Display| NotRecorded(fault.to_string());
        let Note { event, by, about, why, with } = note;
        let result = if event.ends_with("_refused") { Stage::Refused } else { Stage::Done };
        let by = if by.is_empty() { "nobody known" } else { &by };
        let change = change_id(self.clock.as_ref());
        let record =
            AdminRecord { event, change: &change, by, uid: None, about: &about, result, why: why.as_deref(), with: &with };
        let trail = self.recorder.trail();
        let written = trail.append(Stream::Admin, self.clock.now_ms(), &record).map_err(|fault| lost(&fault))?;
        trail.synced(written).await.map_err(|fault| lost(&fault))
    }
}

impl House for Gatehouse {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn note(&self, note: Note) -> Later<'_, Result<(), NotRecorded>> {
        Box::pin(self.write(note))
    }

    fn own_uid(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn operator_credential(&self) -> Option<Zeroizing<Vec<u8>>> {
        fs::read(self.data.operator_credential()).ok().map(Zeroizing::new).filter(|key| key.len() == KEY_BYTES)
    }

    fn question(&self, approval: &str) -> Option<Question> {
        let found = self.runtime.upgrade()?.approvals.look_up(approval).filter(|known| known.id.as_str() == approval)?;
        Some(Question {
            id: found.id.to_string(),
            binding: found.binding.digest(),
            connector: found.binding.connector.to_string(),
            band: found.band,
        })
    }

    fn decide(&self, decision: SignedDecision) -> Later<'_, Result<(), Refused>> {
        Box::pin(async move {
            let gone = || Refused::unavailable("the gateway is ending");
            let runtime = self.runtime.upgrade().ok_or_else(gone)?;
            decided(&runtime, decision).await.map_err(|fault| refused(&fault))
        })
    }

    fn decide_batch(&self, decision: SignedBatch) -> Later<'_, Result<(), Refused>> {
        Box::pin(async move {
            let gone = || Refused::unavailable("the gateway is ending");
            let runtime = self.runtime.upgrade().ok_or_else(gone)?;
            decided_together(&runtime, decision).await.map_err(|fault| refused(&fault))
        })
    }

    fn review(&self, review: SignedReview) -> Later<'_, Result<(), Refused>> {
        Box::pin(async move {
            let gone = || Refused::unavailable("the gateway is ending");
            let runtime = self.runtime.upgrade().ok_or_else(gone)?;
            reviewed(&runtime, review).await.map_err(|fault| refused(&fault))
        })
    }
}

/// The approval of this id, which is of exactly this call.
fn known(runtime: &Runtime, approval: &str, binding: &Digest) -> Result<Approval, ApiFault> {
    let unknown = || ApiFault::unknown("there is no such approval", "the list of approvals shows what waits");
    let known = runtime.approvals.look_up(approval).filter(|known| known.id.as_str() == approval).ok_or_else(unknown)?;
    if known.binding.digest() != *binding {
        return Err(ApiFault::conflict(format!("{} is of another call than the one that was signed", known.code)));
    }
    Ok(known)
}

async fn decided(runtime: &Arc<Runtime>, signed: SignedDecision) -> Result<(), ApiFault> {
    let SignedDecision { approval, binding, verdict, reason, view, allow, signature } = signed;
    let known = known(runtime, &approval, &binding)?;
    let approver = approver(runtime.config().people.is_empty(), signature.person(), (signature.method(), signature.maker()));
    let bounds = bounds(signature.person());
    approver.may_decide(&known, verdict, &bounds).map_err(|why: MayNot| ApiFault::forbidden(why.to_string()))?;
    let with = on_record(
        &known,
        &json!({"verdict": verdict, "reason": reason, "view": view, "allow": allow, "proof": signature.on_record()}),
    );
    let evidence = signature.evidence().cloned();
    let by = format!("person:{}", signature.person().id);
    let of = Arc::clone(runtime);
    let deed = Deed::new("approval_decided", &approval, with);
    let decider = signature.person().id.clone();
    deed.done_by_person(&by, runtime, async move {
        // Once more, by what is in force now: they may have been taken out of the configuration since they signed.
        if !may_decide(&people_of(&of.config()), &decider, (known.binding.connector.as_str(), known.band)) {
            return Err(ApiFault::forbidden(format!("`{decider}` may not decide this any more")));
        }
        let now_ms = of.clock.now_ms();
        let allow = allow.map(|allow| AllowanceWanted {
            any: allow.any,
            uses: allow.uses,
            until_ms: now_ms.saturating_add(u64::from(allow.minutes) * 60 * 1000),
        });
        let decision = Decision { verdict, reason, view, evidence, allow };
        of.approvals.decide(known.id.as_str(), decision, approver, now_ms).await?;
        Ok(())
    })
    .await
}

/// Several at once: all of them or none. Beside the record of the whole, each has one of its own.
async fn decided_together(runtime: &Arc<Runtime>, signed: SignedBatch) -> Result<(), ApiFault> {
    let SignedBatch { approvals, verdict, reason, view, signature } = signed;
    let all = approvals.iter().map(|(id, binding)| known(runtime, id, binding)).collect::<Result<Vec<_>, _>>()?;
    let approver = approver(runtime.config().people.is_empty(), signature.person(), (signature.method(), signature.maker()));
    let bounds = bounds(signature.person());
    for one in &all {
        if one.band == Band::Critical && verdict == Verdict::Approve {
            return Err(ApiFault::invalid(format!("{} is critical: it is approved alone, with its code", one.code)));
        }
        let may = approver.may_decide(one, verdict, &bounds);
        may.map_err(|why: MayNot| ApiFault::forbidden(format!("{}: {why}", one.code)))?;
    }
    let bindings: Vec<Digest> = approvals.iter().map(|(_, binding)| *binding).collect();
    let batch = batch_digest(&bindings);
    let each: Vec<_> = all.iter().map(|one| on_record(one, &serde_json::Value::Null)).collect();
    let with = json!({
        "batch": batch, "verdict": verdict, "reason": reason, "view": view, "approvals": each, "proof": signature.on_record(),
    });
    let (evidence, decider) = (signature.evidence().cloned(), signature.person().id.clone());
    let (by, of) = (format!("person:{decider}"), Arc::clone(runtime));
    let about = all.first().map_or_else(String::new, |one| one.id.to_string());
    let who = by.clone();
    Deed::new("approvals_decided", &about, with)
        .done_by_person(&by, runtime, async move {
            let people = people_of(&of.config());
            if let Some(one) = all.iter().find(|one| !may_decide(&people, &decider, (one.binding.connector.as_str(), one.band))) {
                return Err(ApiFault::forbidden(format!("`{decider}` may not decide {} any more", one.code)));
            }
            let ids: Vec<_> = all.iter().map(|one| one.id.clone()).collect();
            let decision = Decision { verdict, reason: reason.clone(), view, evidence, allow: None };
            let afterwards = of.approvals.decide_batch(&ids, &batch, decision, approver, of.clock.now_ms()).await?;
            admin::approvals::note_each(&of, &who, None, &afterwards, (batch, verdict, reason.as_deref()));
            Ok(())
        })
        .await
}

/// That somebody else has looked at what was let go in an emergency.
async fn reviewed(runtime: &Arc<Runtime>, signed: SignedReview) -> Result<(), ApiFault> {
    let SignedReview { approval, binding, note, signature } = signed;
    let known = known(runtime, &approval, &binding)?;
    let approver = approver(runtime.config().people.is_empty(), signature.person(), (signature.method(), signature.maker()));
    let doubt = runtime.approvals.doubt_of(&known, &approver);
    let with = on_record(&known, &json!({"reason": note, "proof": signature.on_record(), "doubt": doubt}));
    let decider = signature.person().id.clone();
    let (by, of) = (format!("person:{decider}"), Arc::clone(runtime));
    Deed::new("approval_reviewed", &approval, with)
        .done_by_person(&by, runtime, async move {
            if !may_decide(&people_of(&of.config()), &decider, (known.binding.connector.as_str(), known.band)) {
                return Err(ApiFault::forbidden(format!("`{decider}` may not look at this any more")));
            }
            of.approvals.review(known.id.as_str(), Some(note), approver, of.clock.now_ms()).await?;
            Ok(())
        })
        .await
}

/// Whether this person is one of these, and may decide this.
fn may_decide(people: &[Person], id: &str, (connector, band): (&str, Band)) -> bool {
    let wanted = Action::Decide { connector, band };
    people.iter().any(|person| person.id == id && person.may(wanted).is_ok())
}

/// Why an approval rests on the yes of a person whose word is worth nothing any more: of one who was among these before, or whose passkey
/// signed it, and who may not decide it as the others are now.
pub(crate) fn unbacked(before: &[Person], now: &[Person], approval: &Approval) -> Option<String> {
    unbacked_yes(before, now, &approval.decisions, (approval.binding.connector.as_str(), approval.band))
}

fn unbacked_yes(before: &[Person], now: &[Person], decisions: &[Decided], about: (&str, Band)) -> Option<String> {
    let yes = decisions.iter().filter(|decided| decided.verdict == Verdict::Approve);
    let mut of_people = yes
        .map(|decided| &decided.approver)
        .filter(|approver| approver.method == ApproverMethod::Passkey || before.iter().any(|person| person.id == approver.name));
    let gone = of_people.find(|approver| !may_decide(now, &approver.name, about))?;
    Some(format!("`{}`, who said yes, may not decide it any more", gone.name))
}

/// What is decided about, for the record.
fn on_record(known: &Approval, said: &serde_json::Value) -> serde_json::Value {
    json!({
        "code": known.code, "tool": known.binding.tool, "agent": known.binding.agent, "grant": known.binding.grant,
        "args_digest": known.binding.args_digest, "binding": known.binding.digest(), "said": said,
    })
}

/// Where nobody is registered, the one who is there is whoever runs the gateway. So is whoever has the operator credential, which is a file of
/// that user: agents of theirs are not approved by it, and two persons it is not. Beside the method stands to whom the proof traces.
pub(super) fn approver(is_nobody_registered: bool, person: &Person, (method, maker): (ProofMethod, Option<u32>)) -> Approver {
    let is_operator = is_nobody_registered || method == ProofMethod::Operator;
    Approver {
        uid: is_operator.then(|| rustix::process::geteuid().as_raw()),
        name: person.id.clone(),
        method: match method {
            ProofMethod::Passkey => ApproverMethod::Passkey,
            ProofMethod::Operator => ApproverMethod::Operator,
        },
        owns: person.owns.clone(),
        enrolled_by: maker.filter(|_| !is_operator),
    }
}

fn bounds(person: &Person) -> DecideBounds {
    DecideBounds {
        connectors: person.approves.connectors.clone(),
        up_to: person.approves.up_to.as_deref().and_then(|band| band.parse().ok()),
    }
}

fn refused(fault: &ApiFault) -> Refused {
    let help = fault.advice().unwrap_or("the list of approvals shows what waits");
    Refused::new(fault.status(), fault.message.clone(), help)
}

#[cfg(test)]
mod tests {
    use bailiwick_console::{Bounds, Role};

    use super::*;

    fn said(name: &str, method: ApproverMethod, verdict: Verdict) -> Decided {
        let approver = Approver { uid: None, name: name.to_owned(), method, owns: [].into(), enrolled_by: None };
        Decided { approver, at_ms: 0, verdict, reason: None, view: None, evidence: None, batch: Vec::new() }
    }

    #[test]
    fn a_yes_is_worth_what_its_person_may_decide_now() {
        let person = |id: &str, role, connectors: &[&str], up_to: Option<&str>| Person {
            id: id.to_owned(),
            owns: [].into(),
            roles: [role].into(),
            approves: Bounds {
                connectors: connectors.iter().map(|&id| id.to_owned()).collect(),
                up_to: up_to.map(str::to_owned),
            },
        };
        let before = [person("ada", Role::Approver, &[], None)];
        let about = ("tickets", Band::High);
        let yes = [said("ada", ApproverMethod::Passkey, Verdict::Approve)];
        assert_eq!(unbacked_yes(&before, &before, &yes, about), None);
        for now in [
            vec![],
            vec![person("ada", Role::Admin, &[], None)],
            vec![person("ada", Role::Approver, &["shop"], None)],
            vec![person("ada", Role::Approver, &[], Some("medium"))],
        ] {
            assert!(unbacked_yes(&before, &now, &yes, about).is_some(), "{now:?}");
            assert!(unbacked_yes(&[], &now, &yes, about).is_some(), "at a start, too");
            let typed = [said("ada", ApproverMethod::Operator, Verdict::Approve)];
            assert!(unbacked_yes(&before, &now, &typed, about).is_some(), "with the credential, under her name");
            let others =
                [said("ada", ApproverMethod::Passkey, Verdict::Deny), said("root", ApproverMethod::Operator, Verdict::Approve)];
            assert_eq!(unbacked_yes(&before, &now, &others, about), None);
        }
    }

    #[test]
    fn the_operator_credential_is_the_gateways_own_user() {
        let person =
            Person { id: "ada".to_owned(), owns: [].into(), roles: [Role::Approver].into(), approves: Bounds::default() };
        let uid = Some(rustix::process::geteuid().as_raw());
        assert_eq!(approver(false, &person, (ProofMethod::Operator, uid)).uid, uid, "whoever types it, under whatever name");
        let passkey = approver(false, &person, (ProofMethod::Passkey, Some(7)));
        assert_eq!((passkey.uid, passkey.enrolled_by), (None, Some(7)));
        assert_eq!(approver(true, &person, (ProofMethod::Passkey, Some(7))).uid, uid);
    }
}
