//! `approvals`

use std::time::Duration;

use bailiwick_pipeline::ports::Clock as _;
use bailiwick_policy::Confirm;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{AllowanceWanted, ApprovalState, ApproverMethod, Verdict, batch_digest};

use super::{
    Session,
    args::{ApprovalsCommand, ApproveArgs, DenyArgs, EmergencyArgs, WaitingArgs},
    client::{Client, segment},
    fault::CliFault,
    habits::habits,
    screen::{Page, Table, laid_out, short, shown, visible_json},
    units::from_now,
};
use crate::{
    adapters::SystemClock,
    admin::api::{ApprovalView, BatchWanted, DecisionWanted, Status, Why},
};

/// How often it is looked whether something changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does it.
pub(super) async fn run(command: &ApprovalsCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        ApprovalsCommand::List(list) => show_list(*list, session).await,
        ApprovalsCommand::Show(one) => {
            let approval = find(&one.id, &session.client().await?).await?;
            session.one(&approval, one.form.json, || card(&approval))
        }
        ApprovalsCommand::Approve(approve) => allow(approve, session).await,
        ApprovalsCommand::Deny(deny) => refuse(deny, session).await,
        ApprovalsCommand::Revoke(about) => {
            let wanted = Why { reason: about.reason.clone() };
            let revoked = act(&about.id, "revoke", &wanted, session).await?;
            let rest = if revoked.allowance.is_some() { ", and what it allowed of its like has ended" } else { "" };
            session.screen.tell(&format!("{} is {}{rest}", shown(&revoked.code), revoked.state));
            Ok(())
        }
        ApprovalsCommand::Ack(one) => {
            let seen = act(&one.id, "ack", &Why::default(), session).await?;
            session.screen.tell(&format!("you are looking at {}: it is still {}", shown(&seen.code), seen.state));
            Ok(())
        }
        ApprovalsCommand::Habits(form) => habits(*form, session).await,
        ApprovalsCommand::BreakGlass(emergency) => break_glass(emergency, session).await,
        ApprovalsCommand::Review(about) => {
            let wanted = Why { reason: about.reason.clone() };
            let reviewed = act(&about.id, "review", &wanted, session).await?;
            session.screen.tell(&format!("{} is looked at", shown(&reviewed.code)));
            Ok(())
        }
    }
}

/// Shows them, once or whenever they change.
async fn show_list(list: WaitingArgs, session: &Session) -> Result<(), CliFault> {
    let path = if list.all { "approvals?all=true" } else { "approvals" };
    let nothing = "no call waits for approval; `bailiwick approvals list --all` shows the past ones";
    let client = session.client().await?;
    let mut before = None;
    loop {
        let approvals: Vec<ApprovalView> = client.get(path).await?;
        let now = serde_json::to_vec(&approvals).ok();
        if before != now {
            session.list(&approvals, list.form.json, || table(&approvals, list.all), nothing)?;
            before = now;
        }
        if !list.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn act(handle: &str, verb: &str, wanted: &Why, session: &Session) -> Result<ApprovalView, CliFault> {
    session.client().await?.post(&format!("approvals/{}/{verb}", segment(handle)?), wanted).await
}

/// Shows first; lets it go; and says who has to look at it.
async fn break_glass(emergency: &EmergencyArgs, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    let approval = find(&emergency.id, &client).await?;
    session.screen.tell(&card(&approval));
    let question = "let this call go by your word alone? It is on record, and a second person has to look at it [y/N]";
    if session.around.types && !emergency.yes && !session.asks(question) {
        return Err(CliFault::refused("not let go", Some("nothing was changed: it still waits")));
    }
    say_who_checks(&client, session).await?;
    let wanted = Why { reason: Some(emergency.reason.clone()) };
    let broken = act(&approval.id, "break-glass", &wanted, session).await?;
    session.screen.tell(&format!(
        "{} is {}{}. Somebody else has to look at it: `{} approvals review {}`",
        shown(&broken.code),
        broken.state,
        usable(&broken),
        session.places.again,
        shown(&broken.id)
    ));
    Ok(())
}

/// Until when it can be used.
fn usable(approval: &ApprovalView) -> String {
    let until = approval.execute_by_ms.map(|until| format!(", to be used {}", from_now(until, SystemClock.now_ms())));
    until.unwrap_or_default()
}

/// Says plainly where nobody makes sure that whoever approves is somebody else.
async fn say_who_checks(client: &Client, session: &Session) -> Result<(), CliFault> {
    let status: Status = client.get("status").await?;
    if status.allow_same_user {
        session.screen.tell("note: approvals.allow_same_user is on, so nothing makes sure that you are not the one who asks");
    }
    Ok(())
}

async fn find(handle: &str, client: &Client) -> Result<ApprovalView, CliFault> {
    client.get(&format!("approvals/{}", segment(handle)?)).await
}

/// What waits; and where all are listed, how those who decided were proven, and what was used of it.
fn table(approvals: &[ApprovalView], is_all: bool) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(if is_all {
        &["CODE", "STATE", "TOOL", "AGENT", "BAND", "TIME", "APPROVER", "METHOD", "USES", "ID"]
    } else {
        &["CODE", "STATE", "TOOL", "AGENT", "BAND", "TIME", "APPROVER", "ID"]
    });
    for approval in approvals {
        let time = match (approval.state, approval.execute_by_ms, approval.ended_at_ms) {
            (ApprovalState::Pending, ..) => format!("expires {}", from_now(approval.approve_by_ms, now_ms)),
            (ApprovalState::Approved, Some(until), _) => format!("to be used {}", from_now(until, now_ms)),
            (_, _, Some(ended)) => from_now(ended, now_ms),
            _ => String::new(),
        };
        let said = || approval.decisions.iter().map(|decided| &decided.approver);
        let approver = said().map(|approver| approver.name.as_str()).collect::<Vec<_>>().join(" ");
        let tool = short(&approval.tool, 40);
        let (code, state, band) = (&approval.code, approval.state.as_str(), approval.band.as_str());
        if is_all {
            let let_go = approval.broken_by.iter().map(|_| "emergency");
            let methods = said().map(|approver| method(approver.method)).chain(let_go).collect::<Vec<_>>().join(" ");
            let uses = uses(approval);
            table.row([code, state, &tool, &approval.agent, band, &time, &approver, &methods, &uses, &approval.id]);
        } else {
            table.row([code, state, &tool, &approval.agent, band, &time, &approver, &approval.id]);
        }
    }
    table
}

fn method(method: ApproverMethod) -> &'static str {
    match method {
        ApproverMethod::Operator => "operator",
        ApproverMethod::Passkey => "passkey",
        ApproverMethod::Login => "login",
        ApproverMethod::ClientAsserted => "client",
    }
}

/// How often it was used, of how often it may be; and the same of calls like it.
fn uses(approval: &ApprovalView) -> String {
    let own = match approval.state {
        ApprovalState::Executing | ApprovalState::Succeeded | ApprovalState::Failed | ApprovalState::Unknown => "1 of 1",
        ApprovalState::Approved | ApprovalState::Lapsed | ApprovalState::Revoked => "0 of 1",
        _ => "",
    };
    match &approval.allowance {
        Some(allowed) => format!("{own}, {} of {} like it", allowed.uses.len(), allowed.max_uses),
        None => own.to_owned(),
    }
}

/// Everything an approver has to know, and nothing that could deceive: the arguments whole, what is invisible in them written out.
fn card(approval: &ApprovalView) -> String {
    let now_ms = SystemClock.now_ms();
    let verb = approval
        .tool
        .split_once("__")
        .map_or_else(|| shown(&approval.tool), |(connector, tool)| format!("{} on {}", shown(tool), shown(connector)));
    let mut text = Page::of(format!(
        "{verb}   ({}, {})\ntool      {}\ncode      {}   {}\nagent     {}\n{}grant     {}, owned by {}\npurpose   {}\n",
        approval.kind,
        approval.band,
        shown(&approval.tool),
        shown(&approval.code),
        approval.state,
        shown(&approval.agent),
        handed_on(approval),
        shown(&approval.grant),
        shown(&approval.owner),
        shown(&approval.purpose),
    ));
    if let Some(claim) = &approval.claim {
        text.add(format_args!("claimed   {} (by the agent: nobody has checked it)\n", shown(claim)));
    }
    for asked in &approval.requirements {
        let persons = if asked.quorum > 1 { format!(", {} persons", asked.quorum) } else { String::new() };
        let reason = asked.reason.as_deref().map(|reason| format!(": {}", shown(reason))).unwrap_or_default();
        text.add(format_args!("rule      {}{reason}{persons}\n", shown(&asked.rule)));
    }
    if let Some(flow) = &approval.flow {
        text.add(format_args!("data      {}\n", shown(&flow.words())));
    }
    if approval.confirm != Confirm::Approver {
        text.add(format_args!("takes     {}\n", takes(approval.confirm)));
    }
    text.add(format_args!("asked     {}\n", from_now(approval.created_at_ms, now_ms)));
    match (approval.state, approval.execute_by_ms) {
        (ApprovalState::Pending, _) => text.add(format_args!("expires   {}\n", from_now(approval.approve_by_ms, now_ms))),
        (ApprovalState::Approved, Some(until)) => text.add(format_args!("to be used {}\n", from_now(until, now_ms))),
        _ => {}
    }
    for decided in &approval.decisions {
        let word = if decided.verdict == Verdict::Approve { "approved" } else { "denied" };
        let why = decided.reason.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        text.add(format_args!("{word:<9} {} by {}{why}\n", from_now(decided.at_ms, now_ms), shown(&decided.approver.name)));
    }
    let said = [
        ("looking", &approval.acknowledged_by),
        ("revoked", &approval.revoked_by),
        ("emergency", &approval.broken_by),
        ("reviewed", &approval.reviewed_by),
    ];
    for (word, said) in said.into_iter().filter_map(|(word, said)| Some((word, said.as_ref()?))) {
        let why = said.reason.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        text.add(format_args!("{word:<9} {} by {}{why}\n", from_now(said.at_ms, now_ms), shown(&said.approver.name)));
    }
    if approval.broken_by.is_some() && approval.reviewed_by.is_none() {
        text.add(format_args!("          review due: somebody else has to look at it\n"));
    }
    if let Some(allowed) = &approval.allowance {
        let any: Vec<String> = allowed.any.iter().map(|pointer| shown(pointer)).collect();
        let ended = if allowed.ended_at_ms.is_some() { ", ended" } else { "" };
        let (used, most, until) = (allowed.uses.len(), allowed.max_uses, from_now(allowed.until_ms, now_ms));
        text.add(format_args!("allows    {used} of {most} used, any of [{}], until {until}{ended}\n", any.join(" ")));
    }
    if let Some(note) = &approval.note {
        text.add(format_args!("note      {}\n", shown(note)));
    }
    text.add(format_args!("id        {}\n", shown(&approval.id)));
    text.add(format_args!("{}", arguments(approval)));
    text.into_text()
}

/// Whose word it takes, in words.
fn takes(confirm: Confirm) -> &'static str {
    match confirm {
        Confirm::User => "the word of whoever drives the agent",
        Confirm::Approver => "the word of an approver",
        Confirm::TwoPerson => "two persons, each by a passkey or as a user of this machine",
    }
}

/// Whose task it is a part of, where the grant was handed on: nearest first.
fn handed_on(approval: &ApprovalView) -> String {
    if approval.delegators.is_empty() {
        return String::new();
    }
    let chain: Vec<String> = approval.delegators.iter().map(|agent| shown(agent)).collect();
    format!("          handed on by {}\n", chain.join(" < "))
}

/// The arguments, as exactly those bytes would be sent; laid out for reading where that is possible.
fn arguments(approval: &ApprovalView) -> String {
    let Some(sent) = &approval.arguments else {
        return "arguments are no longer kept\n".to_owned();
    };
    // Of what is masked, a digest is shown: two can be compared.
    let size = if approval.masked.is_empty() {
        format!("{} bytes", sent.len())
    } else {
        format!("masked by a rule: {}", shown(&approval.masked.join(", ")))
    };
    let mut text = Page::of(format!("arguments ({size}, {})\n", approval.args_digest));
    for line in visible_json(&laid_out(sent)).lines() {
        text.add(format_args!("  {line}\n"));
    }
    text.into_text()
}

/// Shows first, then decides.
async fn allow(approve: &ApproveArgs, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    let [id] = approve.ids.as_slice() else { return allow_all(approve, &client, session).await };
    let approval = find(id, &client).await?;
    let view = card(&approval);
    session.screen.tell(&view);
    is_to_decide(&approval, session)?;
    say_who_checks(&client, session).await?;
    let question = match approve.uses {
        None => "approve this exact call, once? [y/N]".to_owned(),
        Some(uses) => {
            let any: Vec<String> = approve.any.iter().map(|pointer| shown(pointer)).collect();
            let any = if any.is_empty() { "the same arguments".to_owned() } else { format!("any {}", any.join(", ")) };
            format!("approve this exact call, and {uses} more with {any}? [y/N]")
        }
    };
    if session.around.types && !approve.yes && !session.asks(&question) {
        return Err(CliFault::refused("not approved", Some("nothing was changed: it still waits")));
    }
    // Whoever named it by its code has typed that.
    let typed = approve.code.clone().or_else(|| Some(id.clone()).filter(|id| id.eq_ignore_ascii_case(&approval.code)));
    let until_ms = approve.for_.map(|span| SystemClock.now_ms().saturating_add(span.as_millis()));
    let allow = approve.uses.zip(until_ms).map(|(uses, until_ms)| {
        let any = approve.any.iter().cloned().collect();
        AllowanceWanted { any, uses, until_ms }
    });
    let (reason, view) = (approve.reason.clone(), Some(Digest::of(view.as_bytes())));
    let wanted = DecisionWanted { reason, view, code: typed, allow };
    let decided: ApprovalView = client.post(&format!("approvals/{}/approve", segment(&approval.id)?), &wanted).await?;
    let given = decided.decisions.iter().filter(|said| said.verdict == Verdict::Approve).count();
    let missing = decided.quorum.saturating_sub(given);
    let more =
        if decided.state == ApprovalState::Pending { format!(": {missing} more must approve it") } else { usable(&decided) };
    session.screen.tell(&format!("{} is {}{more}", shown(&decided.code), decided.state));
    Ok(())
}

/// Shows all, then decides all of them or none.
async fn allow_all(approve: &ApproveArgs, client: &Client, session: &Session) -> Result<(), CliFault> {
    if approve.code.is_some() || approve.uses.is_some() {
        return Err(CliFault::usage(
            "`--code` and `--uses` are of one approval".to_owned(),
            "approve it alone: several are approved as they are",
        ));
    }
    let approvals = all(&approve.ids, client).await?;
    for approval in &approvals {
        session.screen.tell(&card(approval));
        is_to_decide(approval, session)?;
    }
    say_who_checks(client, session).await?;
    let question = format!("approve these {} exact calls, each once? [y/N]", approvals.len());
    if session.around.types && !approve.yes && !session.asks(&question) {
        return Err(CliFault::refused("not approved", Some("nothing was changed: they still wait")));
    }
    decide_all(&approvals, Verdict::Approve, approve.reason.clone(), client, session).await
}

async fn refuse(deny: &DenyArgs, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    let [id] = deny.ids.as_slice() else {
        let approvals = all(&deny.ids, &client).await?;
        return decide_all(&approvals, Verdict::Deny, deny.reason.clone(), &client, session).await;
    };
    let wanted = DecisionWanted { reason: deny.reason.clone(), ..DecisionWanted::default() };
    let decided: ApprovalView = client.post(&format!("approvals/{}/deny", segment(id)?), &wanted).await?;
    session.screen.tell(&format!("{} is {}: {} was not executed", shown(&decided.code), decided.state, shown(&decided.tool)));
    Ok(())
}

async fn all(handles: &[String], client: &Client) -> Result<Vec<ApprovalView>, CliFault> {
    let mut all = Vec::with_capacity(handles.len());
    for handle in handles {
        all.push(find(handle, client).await?);
    }
    Ok(all)
}

/// Decides what was shown: if any of it is another by now, nothing is decided.
async fn decide_all(
    approvals: &[ApprovalView],
    verdict: Verdict,
    reason: Option<String>,
    client: &Client,
    session: &Session,
) -> Result<(), CliFault> {
    let ids = approvals.iter().map(|approval| approval.id.clone()).collect();
    let bindings: Vec<Digest> = approvals.iter().filter_map(|approval| approval.binding).collect();
    let wanted = BatchWanted { ids, shown: batch_digest(&bindings), verdict, reason };
    let decided: Vec<ApprovalView> = client.post("approvals/decide", &wanted).await?;
    for approval in &decided {
        session.screen.tell(&format!("{} is {}{}", shown(&approval.code), approval.state, usable(approval)));
    }
    Ok(())
}

/// Whether there is something to say yes to.
fn is_to_decide(approval: &ApprovalView, session: &Session) -> Result<(), CliFault> {
    if approval.arguments.is_some() && approval.state == ApprovalState::Pending {
        return Ok(());
    }
    let what = format!("approval {} is {}: nothing is left to decide", approval.code, approval.state);
    Err(CliFault::refused(&what, Some(&format!("`{} approvals list` shows what waits", session.places.again))))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use serde_json::json;

    use super::*;

    fn approval(arguments: &str) -> ApprovalView {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(json!({
            "id": "apr-1", "state": "pending", "code": "K7-42", "tool": "tickets__refund", "agent": "demo", "grant": "g", "owner": "o",
            "purpose": "triage\u{1b}[1A", "kind": "write", "band": "high",
            "requirements": [{"label": "approver", "quorum": 1, "ttl_ms": null, "rule": "high-needs-approver", "reason": "high-risk calls need an approver"}],
            "call": "c1", "args_digest": digest, "tool_digest": digest, "created_at_ms": 0, "approve_by_ms": 0, "execute_by_ms": null,
            "decisions": [], "ended_at_ms": null, "note": null, "arguments": arguments,
        }))
        .unwrap()
    }

    #[test]
    fn an_approver_sees_every_character() {
        let text = card(&approval("{\"id\":\"T\u{202e}17\",\"amount_cents\":4900.00,\"n\":9007199254740993}"));
        assert!(
            text.starts_with("refund on tickets   (write, high)\ntool      tickets__refund\ncode      K7-42   pending\n"),
            "{text}"
        );
        assert!(text.contains("rule      high-needs-approver: high-risk calls need an approver\n"), "{text}");
        assert!(
            text.contains("  \"id\": \"T\\u202e17\",\n    \"amount_cents\": 4900.00,\n    \"n\": 9007199254740993\n"),
            "{text}"
        );
        assert!(text.contains("purpose   triage\\u{1b}[1A\n"), "{text}");
    }

    #[test]
    fn an_approver_sees_who_handed_the_task_on() {
        let delegators = ["lead\u{202e}", "boss"].map(str::to_owned).to_vec();
        let text = card(&ApprovalView { delegators, ..approval("{}") });
        assert!(
            text.contains("agent     demo\n          handed on by lead\\u{202e} < boss\ngrant     g, owned by o\n"),
            "{text}"
        );
        assert!(!card(&approval("{}")).contains("handed on"));
    }

    #[test]
    fn arguments_that_are_gone_are_not_made_up() {
        let gone = ApprovalView { arguments: None, ..approval("{}") };
        assert!(card(&gone).ends_with("arguments are no longer kept\n"));
    }
}
