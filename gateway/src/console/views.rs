//! From the gateway to what is shown: the same values as on the admin socket, in the shape of pages.

use std::collections::BTreeSet;

use bailiwick_console::{
    Action, ProofMethod, Role, Viewer,
    views::{
        Aged, AgentRow, ApprovalView, Arguments, Asked, Broken, Child, Choices, ConnectorRow, Definition, Detection, Earlier,
        Fact, GrantRow, GrantView, HaltRow, InboxRow, Likewise, LiveCall, Notice, PinRow, ReviewRow, Said, Settled, Spent,
    },
};
use bailiwick_pipeline::{grant::GrantState, ports::Worlds as _};
use bailiwick_policy::Band;
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::{Approval, ApprovalState, Approver, DecideFault, ShowFault, Verdict};
use bailiwick_trail::Stream;

use super::desk::marks_of;
use crate::{
    admin::{self, api},
    runtime::Runtime,
};

/// So many others are offered to be decided together with one.
const TOGETHER: usize = 49;

/// What everybody should know.
pub(super) fn notices(runtime: &Runtime) -> Vec<Notice> {
    let mut all = Vec::new();
    let mut say = |grave, text: String| all.push(Notice { grave, text });
    if runtime.recorder.trail().is_lost() {
        say(true, "Nothing can be put on record any more, so every call is refused. The gateway's log says why.".to_owned());
    }
    if let Some(why) = runtime.store.lost() {
        say(true, format!("Nothing can be stored any more: {why}"));
    }
    let halts = runtime.halts.list();
    if halts.iter().any(|(halt, _)| halt.to_string() == "everything") {
        say(true, "Everything is frozen: no call goes out until somebody thaws it.".to_owned());
    } else if !halts.is_empty() {
        let what: Vec<String> = halts.iter().map(|(halt, _)| halt.to_string()).collect();
        say(false, format!("Frozen: {}", what.join(", ")));
    }
    if runtime.config().approvals.allow_same_user {
        say(
            false,
            "Whoever runs an agent may approve its calls here (approvals.allow_same_user): duties are not separate.".to_owned(),
        );
    }
    all
}

/// What is looked at for changes besides approvals, and a mark of each that is another one when it changed. All of it are counters: nothing
/// is listed where none moved.
pub(super) fn marks(runtime: &Runtime) -> [(&'static str, u64); 6] {
    // Each call writes here when it begins and when it has ended.
    let calls = runtime.recorder.trail().last_seq(Stream::Calls);
    let (halts, grants) = (runtime.halts.changes(), runtime.grants.changes());
    let connectors = marks_of([runtime.worlds.now().epoch, runtime.connectors.stirred(), calls]);
    [
        ("halts", halts),
        ("connectors", connectors),
        ("detections", marks_of([connectors, runtime.recorder.trail().last_seq(Stream::Detections)])),
        ("grants", marks_of([grants, calls])),
        ("agents", marks_of([runtime.agents.changes(), grants])),
        ("calls", calls),
    ]
}

/// Whether this waits for them: an approver has those that they may decide before them, and who sees everything has all.
pub(crate) fn is_theirs(viewer: &Viewer, approval: &Approval) -> bool {
    seen_by(viewer)(&approval.binding.connector, approval.band)
}

/// The same, by what it is judged by: the connector and the band.
pub(super) fn seen_by(viewer: &Viewer) -> impl Fn(&ConnectorId, Band) -> bool {
    let sees_all = viewer.may(Action::SeeRegistry).is_ok();
    move |connector, band| sees_all || viewer.may(Action::Decide { connector: connector.as_str(), band }).is_ok()
}

pub(super) fn inbox_row(viewer: &Viewer, approval: &Approval, waiters: usize) -> InboxRow {
    let binding = &approval.binding;
    let decide = Action::Decide { connector: binding.connector.as_str(), band: approval.band };
    InboxRow {
        id: approval.id.to_string(),
        code: approval.code.clone(),
        tool: binding.tool.clone(),
        connector: binding.connector.to_string(),
        kind: approval.kind.to_string(),
        band: approval.band,
        agent: binding.agent.to_string(),
        owner: approval.owner.clone(),
        purpose: approval.purpose.clone(),
        asked_at_ms: approval.created_at_ms,
        approve_by_ms: approval.approve_by_ms,
        waiting: waiters > 0,
        yes: (approval.approvals(), approval.quorum()),
        purpose_is_claimed: !approval.delegators.is_empty(),
        choosable: approval.band < Band::Critical && viewer.may(decide).is_ok(),
    }
}

pub(super) fn aged(approval: &Approval) -> Aged {
    Aged {
        id: approval.id.to_string(),
        code: approval.code.clone(),
        tool: approval.binding.tool.clone(),
        agent: approval.binding.agent.to_string(),
        state: approval.state.to_string(),
        by: approval.decisions.last().map(|decided| decided.approver.name.clone()),
        at_ms: approval.ended_at_ms.unwrap_or(approval.created_at_ms),
    }
}

/// One question, but for what is compared with it and what is read from the trail.
pub(super) fn approval(runtime: &Runtime, viewer: &Viewer, handle: &str) -> Option<ApprovalView> {
    let (approval, arguments) = found(runtime, handle).filter(|(approval, _)| is_theirs(viewer, approval))?;
    let binding = &approval.binding;
    let waiters = runtime.approvals.waiters(&approval.id);
    let config = runtime.config();
    let connector = config.connector(binding.connector.as_str());
    let prefix = format!("{}__", binding.connector);
    let flow = match &arguments {
        Arguments::Kept { text, .. } => admin::approvals::flow(runtime, &approval, text),
        _ => None,
    };
    Some(ApprovalView {
        id: approval.id.to_string(),
        code: approval.code.clone(),
        state: approval.state.to_string(),
        settled: settled(&approval, runtime.clock.now_ms()),
        tool: binding.tool.clone(),
        name: binding.tool.strip_prefix(&prefix).unwrap_or(&binding.tool).to_owned(),
        connector: binding.connector.to_string(),
        place: connector.map_or_else(|| "(no longer configured)".to_owned(), admin::connectors::place),
        kind: approval.kind.to_string(),
        band: approval.band,
        asked: approval.requirements.iter().map(|asked| rule(asked, runtime)).collect(),
        agent: binding.agent.to_string(),
        grant: binding.grant.to_string(),
        purpose: approval.purpose.clone(),
        purpose_is_claimed: !approval.delegators.is_empty(),
        owner: approval.owner.clone(),
        delegators: approval.delegators.iter().map(|one| (one.agent.to_string(), one.owner.clone())).collect(),
        flow: flow.map(|flow| flow.words()),
        asked_at_ms: approval.created_at_ms,
        approve_by_ms: approval.approve_by_ms,
        waiting: waiters > 0,
        arguments,
        args_digest: binding.args_digest.to_string(),
        binding_digest: binding.digest().to_string(),
        earlier: earlier(runtime, viewer, &approval),
        likewise: likewise(runtime, viewer, &approval),
        definition: definition(runtime, &approval),
        claim: approval.claim.clone(),
        ahead: Vec::new(),
        said: said(&approval),
        quorum: approval.quorum(),
        siblings: siblings(runtime, viewer, &approval),
        broken: broken(&approval),
        choices: choices(runtime, viewer, &approval),
    })
}

/// The approval of this id or code, even where its arguments don't open any more.
fn found(runtime: &Runtime, handle: &str) -> Option<(Approval, Arguments)> {
    match runtime.approvals.show(handle) {
        Ok(shown) => {
            let arguments = match shown.arguments.map(|bytes| String::from_utf8(bytes.into())) {
                Some(Ok(text)) => Arguments::Kept { text, masked: shown.approval.masked.iter().cloned().collect() },
                Some(Err(_)) => Arguments::Unreadable("they are no text".to_owned()),
                None => Arguments::Gone,
            };
            Some((shown.approval, arguments))
        }
        Err(ShowFault::Unreadable { code, why }) => {
            let found = runtime.approvals.look_up(handle).or_else(|| runtime.approvals.look_up(&code))?;
            Some((found, Arguments::Unreadable(why)))
        }
        Err(ShowFault::Unknown(_)) => None,
    }
}

fn rule(asked: &bailiwick_store::AskedFor, runtime: &Runtime) -> Asked {
    Asked {
        rule: asked.rule.clone(),
        place: runtime.worlds.place_of(&asked.rule),
        reason: asked.reason.clone(),
        label: asked.label.clone(),
        quorum: usize::try_from(asked.quorum).unwrap_or(usize::MAX),
    }
}

/// What became of it, in one sentence.
fn settled(approval: &Approval, now_ms: u64) -> Option<Settled> {
    let last = approval.decisions.last();
    let denied_by = last.map_or("somebody", |decided| decided.approver.name.as_str());
    let by = approvers(approval);
    let what = match approval.state {
        ApprovalState::Pending if now_ms < approval.approve_by_ms => return None,
        ApprovalState::Pending | ApprovalState::Expired => "Nobody decided in time.".to_owned(),
        ApprovalState::Denied => format!("Denied by {denied_by}."),
        ApprovalState::Approved => format!("Approved by {by}; it may run once."),
        ApprovalState::Executing => format!("Approved by {by}; it runs now."),
        ApprovalState::Succeeded => format!("Approved by {by}; it ran."),
        ApprovalState::Failed => format!("Approved by {by}; it failed."),
        ApprovalState::Unknown => format!("Approved by {by}; it may have run, and nobody knows."),
        ApprovalState::Lapsed => format!("Approved by {by}, but not used in time."),
        ApprovalState::Invalidated => "Void: what it was about is no longer so.".to_owned(),
        ApprovalState::Withdrawn => "Withdrawn by whoever asked.".to_owned(),
        ApprovalState::Revoked => {
            let by = approval.revoked_by.as_ref().map_or("somebody", |said| said.approver.name.as_str());
            format!("Taken back by {by}.")
        }
    };
    let at_ms = last.map(|decided| decided.at_ms).or(approval.ended_at_ms);
    let why = approval.note.clone().or_else(|| last.and_then(|decided| decided.reason.clone()));
    Some(Settled { what, at_ms, why })
}

/// All who said yes, in order; or who let it go alone.
fn approvers(approval: &Approval) -> String {
    let yes = approval.decisions.iter().filter(|decided| decided.verdict == Verdict::Approve);
    let mut names: Vec<&str> = yes.map(|decided| decided.approver.name.as_str()).collect();
    if let Some(said) = &approval.broken_by {
        return format!("{} alone, in an emergency", said.approver.name);
    }
    match (names.pop(), names.as_slice()) {
        (None, _) => "somebody".to_owned(),
        (Some(only), []) => only.to_owned(),
        (Some(last), others) => format!("{} and {last}", others.join(", ")),
    }
}

/// How many other calls of this tool wait for the same task, of those that this viewer may see; only where this one waits too.
fn siblings(runtime: &Runtime, viewer: &Viewer, approval: &Approval) -> usize {
    if approval.state != ApprovalState::Pending {
        return 0;
    }
    let others = runtime.approvals.siblings(approval, runtime.clock.now_ms(), TOGETHER);
    others.iter().filter(|other| is_theirs(viewer, other)).count()
}

fn broken(approval: &Approval) -> Option<Broken> {
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
pub(super) fn review_row(runtime: &Runtime, viewer: &Viewer, approval: &Approval) -> Option<ReviewRow> {
    let decide = Action::Decide { connector: approval.binding.connector.as_str(), band: approval.band };
    let barred = match viewer.may(decide) {
        Err(forbidden) => Some(forbidden.to_string()),
        Ok(()) => match runtime.approvals.may_review(approval, &passkey_of(runtime, viewer)) {
            Err(DecideFault::AlreadyApproved { .. }) => Some("You let it go yourself: somebody else looks at it.".to_owned()),
            Err(fault) => Some(fault.to_string()),
            Ok(()) => None,
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
    })
}

/// Who this viewer would be who signs with a passkey.
fn passkey_of(runtime: &Runtime, viewer: &Viewer) -> Approver {
    super::house::approver(runtime.config().people.is_empty(), &viewer.person, ProofMethod::Passkey)
}

fn said(approval: &Approval) -> Vec<Said> {
    let said = |decided: &bailiwick_store::Decided| Said {
        by: decided.approver.name.clone(),
        how: format!("{:?}", decided.approver.method).to_lowercase(),
        yes: decided.verdict == Verdict::Approve,
        at_ms: decided.at_ms,
        reason: decided.reason.clone(),
        view: decided.view.map(|view| view.to_string()),
        batch: (decided.batch.len() > 1)
            .then(|| (decided.batch.len(), bailiwick_store::batch_digest(&decided.batch).to_string())),
    };
    approval.decisions.iter().map(said).collect()
}

/// The last call of the same tool by the same agent that was approved, of those that this viewer may see.
fn earlier(runtime: &Runtime, viewer: &Viewer, approval: &Approval) -> Option<Earlier> {
    let (before, arguments) = runtime.approvals.last_approved(approval)?;
    let yes = before.decisions.iter().rev().find(|decided| decided.verdict == Verdict::Approve)?;
    let (by, at_ms, code) = (yes.approver.name.clone(), yes.at_ms, before.code.clone());
    // What people are not shown is not shown by a comparison either.
    let text = bailiwick_pipeline::masked_text(&String::from_utf8(arguments.into()).ok()?, &before.masked);
    is_theirs(viewer, &before).then_some(Earlier { code, by, at_ms, text })
}

/// The same call, run or let go lately.
fn likewise(runtime: &Runtime, viewer: &Viewer, approval: &Approval) -> Option<Likewise> {
    let has_run = |state: ApprovalState| {
        matches!(
            state,
            ApprovalState::Approved
                | ApprovalState::Executing
                | ApprovalState::Succeeded
                | ApprovalState::Failed
                | ApprovalState::Unknown
        )
    };
    let others = runtime.approvals.alike(approval).into_iter();
    let found = others.filter(|other| is_theirs(viewer, other)).find(|other| has_run(other.state))?;
    Some(Likewise {
        id: found.id.to_string(),
        code: found.code,
        state: found.state.to_string(),
        at_ms: found.ended_at_ms.unwrap_or(found.created_at_ms),
        run: None,
    })
}

/// The tool's definition as it was accepted.
fn definition(runtime: &Runtime, approval: &Approval) -> Option<Definition> {
    let binding = &approval.binding;
    let name = binding.tool.strip_prefix(&format!("{}__", binding.connector))?;
    let pins = runtime.worlds.pins();
    let pin = pins.get(&binding.connector)?.iter().find(|pin| pin.tool.as_str() == name)?;
    Some(Definition {
        text: pin.definition.get().to_owned(),
        digest: pin.digest.to_string(),
        accepted_by: pin.accepted_by.clone(),
        accepted_at_ms: pin.accepted_at_ms,
        drifted: runtime.worlds.drifted().iter().any(|drifted| drifted.to_string() == binding.tool),
        same: pin.digest == binding.tool_digest,
    })
}

/// What this viewer may do about it, as far as it can be known before they prove themselves.
fn choices(runtime: &Runtime, viewer: &Viewer, approval: &Approval) -> Choices {
    let decide = Action::Decide { connector: approval.binding.connector.as_str(), band: approval.band };
    let has_approved = approval.decisions.iter().any(|decided| decided.approver.name.eq_ignore_ascii_case(&viewer.person.id));
    let barred = match viewer.may(decide) {
        Err(_) if !viewer.is(Role::Approver) => Some("You may look at it. To decide takes the role `approver`.".to_owned()),
        Err(forbidden) => Some(forbidden.to_string()),
        Ok(()) if has_approved => Some("You have approved it. Somebody else must, too.".to_owned()),
        Ok(()) => None,
    };
    let counts = runtime.approvals.may_say_yes(approval, &passkey_of(runtime, viewer));
    let no_yes = counts.err().filter(|_| barred.is_none()).map(|fault| {
        let same = matches!(fault, DecideFault::Owner { .. } | DecideFault::Delegator { .. });
        let help =
            if same { ". Where one person is to do both, `approvals.allow_same_user` says so; here it is off" } else { "" };
        format!("{fault}{help}.")
    });
    let may_remember = runtime.approvals.settings().remember && approval.may_be_remembered();
    let for_task = may_remember.then(|| {
        vec![Fact::new("agent", approval.binding.agent.to_string()), Fact::new("grant", approval.binding.grant.to_string())]
    });
    Choices { barred, no_yes, type_code: approval.band == Band::Critical, for_task }
}

pub(super) fn agents(runtime: &Runtime) -> Vec<AgentRow> {
    let row = |view: api::AgentView| AgentRow {
        disabled: view.disabled.map(|by| {
            let why = by.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("Disabled by {}{why}", by.by)
        }),
        id: view.id,
        state: view.state,
        owner: view.owner,
        ceiling: view.ceiling,
        purpose: view.purpose,
        grants: view.grants,
        tokens: view.tokens.len(),
        last_used_ms: view.last_used_ms,
        never_used: view.never_used,
    };
    runtime.agents.all().iter().map(|agent| row(admin::agents::view(agent, runtime))).collect()
}

pub(super) fn grants(runtime: &Runtime, ended_too: bool) -> Vec<GrantRow> {
    let all = runtime.grants.list();
    let meant = all.iter().filter(|entry| ended_too || entry.grant.standing().state == GrantState::Active);
    meant.map(|entry| grant_row(&admin::grants::view(entry, runtime))).collect()
}

fn grant_row(view: &api::GrantView) -> GrantRow {
    let (used, budget) = (view.used, &view.budget);
    let limits = [
        ("calls", used.calls, budget.calls),
        ("writes", used.writes, budget.writes),
        ("bytes sent", used.bytes_out, budget.bytes_out),
        ("cost", used.cost, budget.cost),
    ];
    let spent = |(name, used, limit): (&str, u64, Option<u64>)| {
        (limit.is_some() || name == "calls").then(|| Spent { name: name.to_owned(), used, limit })
    };
    GrantRow {
        id: view.id.clone(),
        state: view.state.as_str().to_owned(),
        agent: view.agent.clone(),
        owner: view.owner.clone(),
        purpose: view.purpose.clone(),
        ceiling: view.ceiling,
        chain: view.chain.clone(),
        budget: limits.into_iter().filter_map(spent).collect(),
        expires_at_ms: view.expires_at_ms,
        last_used_ms: view.last_used_ms,
        tools: view.tools.len(),
    }
}

pub(super) fn grant(runtime: &Runtime, id: &str) -> Option<GrantView> {
    let entry = admin::grants::known(id, runtime).ok()?;
    let view = admin::grants::view(&entry, runtime);
    let below = runtime
        .grants
        .list()
        .into_iter()
        .filter(|other| other.grant.chain().nth(1).is_some_and(|above| above.terms().id.as_str() == view.id));
    let mut terms = vec![Fact::new("Environment", view.environment.clone())];
    let joined = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
    let optional = [
        ("Data classes", view.data_classes.as_ref().map(joined)),
        ("Destinations", view.destinations.as_ref().map(joined)),
        ("Ends when idle for", view.idle_ms.map(|ms| format!("{} s", ms / 1000))),
        ("Calls in a second", view.max_rate.map(|rate| rate.to_string())),
        ("Written down at", view.ticket.clone()),
        ("Made by", view.created_by.clone()),
    ];
    terms.extend(optional.into_iter().filter_map(|(name, value)| Some(Fact::new(name, value?))));
    if let Some(ending) = &view.ending {
        let why = ending.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        terms.push(Fact::new("Ended by", format!("{}{why}", ending.by.as_deref().unwrap_or("itself"))));
    }
    let bounds = view.capabilities.iter().filter_map(|capability| {
        let text = serde_json::to_value(capability).ok()?;
        let args = text.get("args").filter(|args| args.as_object().is_some_and(|args| !args.is_empty()))?;
        Some(Fact::new(capability.tools.to_string(), args.to_string()))
    });
    Some(GrantView {
        row: grant_row(&view),
        tools: view.tools.iter().map(|tool| (tool.clone(), !view.never_used.contains(tool))).collect(),
        terms,
        bounds: bounds.collect(),
        below: below.map(|entry| entry.grant.terms().id.to_string()).collect(),
    })
}

pub(super) fn connectors(runtime: &Runtime) -> Vec<ConnectorRow> {
    let config = runtime.config();
    let mut rows: Vec<ConnectorRow> =
        config.connectors.iter().map(|one| connector_row(admin::connectors::view(one, runtime))).collect();
    rows.iter_mut().flat_map(|row| &mut row.tools).for_each(|tool| tool.definition = None);
    rows
}

pub(super) fn connector(runtime: &Runtime, id: &str) -> Option<ConnectorRow> {
    let config = runtime.config();
    config.connector(id).map(|one| connector_row(admin::connectors::view(one, runtime)))
}

fn connector_row(view: api::ConnectorView) -> ConnectorRow {
    let child = |process: api::ProcessView| Child {
        pid: process.id,
        state: process.state,
        grant: process.grant,
        age_ms: process.age_ms,
        calls: process.calls,
    };
    let pin = |tool: api::ToolView| PinRow {
        id: tool.id,
        state: tool.state,
        kind: tool.kind.to_string(),
        band: tool.band,
        digest: tool.digest.to_string(),
        accepted_by: tool.accepted_by,
        accepted_at_ms: tool.accepted_at_ms,
        why: tool.why,
        definition: Some(tool.definition.get().to_owned()),
    };
    ConnectorRow {
        id: view.id,
        state: view.state,
        place: view.program,
        shared: view.shared,
        calls: view.calls,
        failures: view.failures,
        last_failure: view.last_failure.map(|failure| format!("{} ({} s ago)", failure.what, failure.ago_ms / 1000)),
        children: view.processes.into_iter().map(child).collect(),
        tools: view.tools.into_iter().map(pin).collect(),
        oddities: view.oddities.into_iter().map(|(kind, count)| Fact::new(kind.replace('_', " "), count.to_string())).collect(),
    }
}

pub(super) fn live_calls(runtime: &Runtime) -> Vec<LiveCall> {
    let now_ms = runtime.clock.now_ms();
    let call = |flight: bailiwick_pipeline::halts::InFlight| {
        let age_ms = u64::try_from(flight.age.as_millis()).unwrap_or(u64::MAX);
        // What has no call is a look at what a server offers, for one.
        let id = flight.call?.to_string();
        let state = match (flight.struck, flight.writes, flight.attended) {
            (true, ..) => "being cancelled",
            (_, true, _) => "being sent",
            (_, _, true) => "waits for its answer",
            _ => "nobody waits for its answer",
        };
        Some(LiveCall {
            id,
            agent: flight.agent.to_string(),
            instance: flight.instance,
            grant: flight.grant.to_string(),
            tool: flight.tool.map(|tool| tool.to_string()),
            since_ms: now_ms.saturating_sub(age_ms),
            state: state.to_owned(),
        })
    };
    runtime.gateway.ports().halts.in_flight().into_iter().filter_map(call).collect()
}

pub(super) fn halts(runtime: &Runtime) -> Vec<HaltRow> {
    let row = |(halt, stopped): (bailiwick_pipeline::halts::Halt, bailiwick_store::Stopped)| HaltRow {
        what: halt.to_string(),
        since_ms: stopped.since_ms,
        by: stopped.by,
        reason: stopped.reason,
    };
    runtime.halts.list().into_iter().map(row).collect()
}

/// What stands out of what is in memory.
pub(super) fn detections(runtime: &Runtime) -> Vec<Detection> {
    let mut found = Vec::new();
    for tool in runtime.worlds.drifted() {
        found.push(Detection {
            what: format!("{tool} differs from what was accepted"),
            about: tool.connector().to_string(),
            href: Some(format!("/connectors/{}", tool.connector())),
            at_ms: None,
            band: Band::High,
            help: format!("Nobody can call it. `bailiwick connectors diff {}` shows what changed.", tool.connector()),
        });
    }
    for status in runtime.connectors.status() {
        let counts = status.counts;
        let odd = counts.server_requests + counts.garbage_lines + counts.unknown_ids + counts.second_answers;
        if odd > 0 {
            found.push(Detection {
                what: format!("{} said {odd} things that it should not have", status.id),
                about: status.id.to_string(),
                href: Some(format!("/connectors/{}", status.id)),
                at_ms: None,
                band: Band::Medium,
                help: "Answers to no request, questions unasked, lines that are no messages: nothing of it was passed on."
                    .to_owned(),
            });
        }
    }
    for approval in runtime.approvals.uncertain() {
        found.push(Detection {
            what: format!("{} may have run, and nobody knows", approval.binding.tool),
            about: approval.code.clone(),
            href: Some(format!("/approvals/{}", approval.id)),
            at_ms: approval.ended_at_ms,
            band: Band::High,
            help: "Its answer never came. It is never sent again: look at the server itself.".to_owned(),
        });
    }
    found
}
