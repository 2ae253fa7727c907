//! One question, with what is known around it.

use bailiwick_console::{
    Action, Role, Viewer,
    views::{ApprovalView, Arguments, Asked, Choices, Definition, Earlier, Fact, Likewise, Said, Settled},
};
use bailiwick_policy::Band;
use bailiwick_store::{Approval, ApprovalState, DecideFault, ShowFault, Verdict};

use super::{
    is_theirs,
    reviews::{broken, passkeys_of},
};
use crate::{admin, runtime::Runtime};

/// So many others are offered to be decided together with one.
const TOGETHER: usize = 49;

/// One question, but for what is compared with it and what is read from the trail.
pub(in crate::console) fn approval(runtime: &Runtime, viewer: &Viewer, handle: &str) -> Option<ApprovalView> {
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
    let arguments = match arguments {
        Arguments::Kept { text, masked } => {
            let text = runtime.recorder.masked_text(&text, &approval.masked);
            Arguments::Kept { text, masked }
        }
        other => other,
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
    let text = runtime.recorder.masked_text(&String::from_utf8(arguments.into()).ok()?, &before.masked);
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
    // To whom a passkey traces says nothing here, so any of theirs tells.
    let passkey = passkeys_of(runtime, viewer).into_iter().next();
    let counts = passkey.map_or(Ok(()), |passkey| runtime.approvals.may_say_yes(approval, &passkey));
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
