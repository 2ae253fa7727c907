//! The one commit point: before it nothing is spent; after it the call counts as happened.

use std::sync::{Arc, MutexGuard};

use super::{
    Approved, Armed, Permitted, Stop,
    arm::secret_on_record,
    detect, flow, halted,
    identify::is_still_proven,
    keep,
    permit::{Moment, still_permits},
    send::meta_of,
    task,
};
use crate::{
    grant::{GrantState, LiveGrant, Spend, Standing},
    ids::GrantId,
    ports::{Claimed, Ports},
    received::{Asked, Received},
    records::{IntentRecord, SumsRecord},
    refusal::Refusal,
    running::Running,
    way::Way,
};

/// A call that is on record. It can be sent once.
pub struct Recorded<'r> {
    armed: Armed<'r>,
    running: Option<Running>,
}

impl<'r> Recorded<'r> {
    /// With the call that it goes on with, where it brings the answers that this waits for.
    pub(crate) fn into_parts(self) -> (Armed<'r>, Option<Running>) {
        (self.armed, self.running)
    }
}

/// Keyed digests of what is sent.
struct Macs {
    arguments: String,
    /// Of the answers, where it brings such.
    answers: Option<String>,
    /// Of the agent's own metadata, where it goes with the call.
    meta: Option<String>,
    /// Of what is kept of the arguments.
    kept: Option<String>,
}

impl Macs {
    fn of(approved: &Approved<'_>, ports: &Ports) -> Self {
        let meta = meta_of(approved);
        Self {
            arguments: ports.trail.keyed_digest(approved.arguments()),
            answers: approved.permitted().validated().answered().map(|answered| ports.trail.keyed_digest(&answered.responses)),
            meta: (!meta.is_empty()).then(|| ports.trail.keyed_digest(&meta)),
            kept: None,
        }
    }
}

/// Commits the call: nothing changed since it was decided, the approval claimed, the budget debited, the intent written; and
/// for anything but a read, the intent on disk.
pub async fn record<'r>(call: Armed<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Recorded<'r>, Stop> {
    let stage = way.enter("record", "bailiwick.record", ports);
    let granted = call.approved().permitted().validated().granted();
    let has_effect = granted.tool().kind.has_effect() && !task::only_asks(granted);
    if !is_still_proven(granted.identified(), ports).await {
        return Err(Stop::Stale);
    }
    let labels = flow::known(call.approved().permitted().validated());
    // Before the intent is written, so that whatever is stored as of that intent has them.
    flow::touch_others(granted.grant(), labels, ports);
    // Before the locks: it reads all of the arguments.
    let mut macs = Macs::of(call.approved(), ports);
    macs.kept = keep::keep_arguments(call.approved(), ports, way).await?;
    let (intent, running) = commit(&call, &macs, has_effect, ports, way)?;
    // Once more: a grant that was made since then didn't carry them yet, for the commit had not put them on this one.
    flow::touch_others(granted.grant(), labels, ports);
    granted.grant().spread(labels);
    way.seen.labelled = labels;
    if let Some(lease) = call.lease() {
        secret_on_record("used", call.approved(), lease, 0, ports, way)?;
    }
    if has_effect {
        ports.trail.synced(intent).await.map_err(|lost| Refusal::trail_lost(&lost))?;
        // The disk may have taken long. It is on record by now, so it isn't walked again: it ends here, and was not sent.
        let is_proven = is_still_proven(granted.identified(), ports).await;
        if !is_proven {
            return Err(Refusal::no_longer_proven(&granted.grant().terms().agent).into());
        }
        if let Some(halt) = halted::of(granted, ports) {
            return Err(Refusal::halted_under_way(&halt, "Not executed.").into());
        }
    }
    way.leave(stage, ports);
    Ok(Recorded { armed: call, running })
}

/// Under the locks of the grant and its ancestors, root first: all of it or nothing. Returns the place of the intent, and the call that
/// waits for the answers that this one brings.
fn commit(
    call: &Armed<'_>,
    macs: &Macs,
    has_effect: bool,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<(u64, Option<Running>), Stop> {
    let permitted = call.approved().permitted();
    let granted = permitted.validated().granted();
    let mut spend = Spend {
        tool: &granted.tool().name,
        has_effect,
        bytes_out: u64::try_from(call.approved().arguments().len()).unwrap_or(u64::MAX),
        cost: granted.tool().cost,
        sums: &[],
    };
    let mut chain: Vec<&LiveGrant> = granted.grant().chain().collect();
    chain.reverse();
    let mut locked: Vec<MutexGuard<'_, Standing>> = chain.iter().map(|grant| grant.lock()).collect();
    let now_ms = ports.clock.now_ms();
    for (grant, standing) in chain.iter().zip(&locked) {
        still_live(grant, standing, now_ms)?;
    }
    // Under the lock: whoever puts a halt in force takes each lock after that, and so no commit is later than its return.
    if let Some(halt) = halted::of(granted, ports) {
        return Err(Refusal::halted(&halt).into());
    }
    if !Arc::ptr_eq(&ports.worlds.now(), granted.world()) || has_moved(call, locked.last().map(|own| Moment::at(**own, now_ms))) {
        return Err(Stop::Stale);
    }
    // Extensions change under these locks alone.
    if granted.grant().chain_revision() != granted.revision() || granted.grant().has_over(now_ms) {
        return Err(Stop::Stale);
    }
    for (grant, standing) in chain.iter().zip(&locked) {
        // What is asked of a task was paid for when it began.
        if granted.task().is_none() {
            let room = grant.has_room(standing, &spend);
            room.map_err(|full| Refusal::budget(&grant.terms().id, &full.what, full.limit))?;
        }
    }
    let counted = match permitted.noticed() {
        Some(noticed) => detect::count(permitted, noticed, ports, now_ms)?,
        None => None,
    };
    for grant in &chain {
        grant.will_change();
    }
    let handle = permitted.validated().answered().and_then(|answered| answered.handle.as_deref());
    let running = match handle {
        None => None,
        Some(handle) => ports.rounds.claim(handle, now_ms).ok_or(Stop::Stale)?.take_running(),
    };
    if let (Some(task), Some(answered)) = (granted.task(), permitted.validated().answered())
        && !task::claim(task, &answered.responses)
    {
        return Err(Stop::Stale);
    }
    if let Some(approval) = call.approved().approval() {
        if !ports.approvals.claim(approval, now_ms) {
            return Err(Stop::Stale);
        }
        way.seen.claimed = Some(approval.clone());
    }
    if let Some(parent) = call.approved().allowance()
        && !ports.approvals.claim_allowance(parent, granted.identified().received().call_id(), now_ms)
    {
        return Err(Stop::Stale);
    }
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    let paying = if granted.task().is_none() { chain.as_slice() } else { &[] };
    let debited: Vec<&GrantId> = paying.iter().map(|grant| &grant.terms().id).collect();
    let intent = write_intent(call, macs, (&debited, counted.as_ref().map(detect::Counted::record)), now_ms, ports, way)?;
    // A use that is stored has its intent: a gateway that ends between the two has used nothing up.
    let used = [(call.approved().approval(), Claimed::Approval), (call.approved().allowance(), Claimed::Allowance)];
    for (id, of) in used {
        if let Some(id) = id {
            ports.approvals.keep_claim(id, of, now_ms);
        }
    }
    let sums = counted.map(detect::Counted::debit).unwrap_or_default();
    spend.sums = &sums;
    for (grant, standing) in chain.iter().zip(&mut locked) {
        if granted.task().is_none() {
            grant.debit(standing, &spend);
        }
        // Before anything comes back: the agent may learn from a refusal too.
        standing.labels = standing.labels.join(flow::known(permitted.validated()));
        grant.publish(standing);
    }
    detect::reads(granted, flow::known(permitted.validated()), ports, now_ms);
    granted.grant().used_at(now_ms);
    Ok((intent, running))
}

/// Whether the budgets of its chain have room for a call that is only judged, as they stand.
pub(crate) fn has_room(call: &Permitted<'_>, received: &Received) -> Result<(), Refusal> {
    let granted = call.validated().granted();
    let bytes_out = match received.asked() {
        Asked::Call { arguments, .. } => u64::try_from(arguments.len()).unwrap_or(u64::MAX),
        _ => 0,
    };
    let (tool, has_effect) = (granted.tool(), granted.tool().kind.has_effect());
    let spend = Spend { tool: &tool.name, has_effect, bytes_out, cost: tool.cost, sums: &[] };
    for grant in granted.grant().chain() {
        let room = grant.has_room(&grant.standing(), &spend);
        room.map_err(|full| Refusal::budget(&grant.terms().id, &full.what, full.limit))?;
    }
    Ok(())
}

fn still_live(grant: &LiveGrant, standing: &Standing, now_ms: u64) -> Result<(), Refusal> {
    let terms = grant.terms();
    if standing.state != GrantState::Active {
        return Err(Refusal::grant_ended((&terms.id, standing.state), "Not executed."));
    }
    if now_ms < terms.not_before_ms || terms.expires_at_ms <= now_ms {
        return Err(Refusal::grant_ended((&terms.id, GrantState::Expired), "Not executed."));
    }
    Ok(())
}

/// Whether the decision no longer stands, because of what it read of the task and of the clock. Labels send the call back to the
/// beginning of the way; counters move with every call of a busy task, and so the rules that read them are asked once more here, where
/// nothing moves. So are all rules where another minute has begun, which is rare.
fn has_moved(call: &Armed<'_>, now: Option<Moment>) -> bool {
    let permitted = call.approved().permitted();
    let (then, granted) = (permitted.moment(), permitted.validated().granted());
    let Some(now) = now else { return true };
    let counts = |moment: Moment| (moment.standing.calls, moment.standing.writes);
    // Rules that read no counters say what they said.
    let has_counted = if counts(now) == counts(then) { false } else { granted.world().reads_counters(granted.tool()) };
    // What those above it have counted and touched moves without it.
    let is_to_be_asked = has_counted || now.minute != then.minute || granted.grant().parent().is_some();
    now.standing.labels != then.standing.labels || (is_to_be_asked && !still_permits(permitted, now))
}

fn write_intent(
    call: &Armed<'_>,
    macs: &Macs,
    (debited, sums): (&[&GrantId], Option<SumsRecord<'_>>),
    now_ms: u64,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<u64, Stop> {
    let approved = call.approved();
    let granted = approved.permitted().validated().granted();
    let (terms, tool) = (granted.grant().terms(), granted.tool());
    let arguments = approved.arguments();
    let record = IntentRecord {
        event: "intent",
        call_id: granted.identified().received().call_id(),
        agent: &terms.agent,
        instance: granted.identified().principal().instance.as_deref(),
        grant: &terms.id,
        grant_revision: terms.revision,
        debited,
        tool: tool.name.as_str(),
        kind: tool.kind,
        band: tool.band,
        tool_digest: &tool.digest.to_string(),
        args_mac: &macs.arguments,
        answers_mac: macs.answers.as_deref(),
        kept_mac: macs.kept.as_deref(),
        args_size: arguments.len(),
        cost: tool.cost,
        meta_mac: macs.meta.as_deref(),
        policy_digest: &granted.world().policy_digest,
        labels: flow::known(approved.permitted().validated()),
        approval: approved.approval(),
        allowance: approved.allowance(),
        task_of: granted.task().map(|task| &task.call),
        lease: call.lease().map(|lease| lease.id.as_str()),
        sums,
        trace_id: &way.trace_id,
    };
    let place = ports.trail.intent(now_ms, &record).map_err(|lost| Refusal::trail_lost(&lost))?;
    way.seen.committed = true;
    Ok(place)
}
