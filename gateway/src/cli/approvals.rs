//! `approvals`

use bailiwick_pipeline::ports::Clock as _;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{ApprovalState, Verdict};

use super::{
    Session,
    args::{ApprovalsCommand, ApproveArgs, DenyArgs},
    client::{Client, segment},
    fault::CliFault,
    screen::{Page, Table, laid_out, short, shown, visible_json},
    units::from_now,
};
use crate::{
    adapters::SystemClock,
    admin::api::{ApprovalView, DecisionWanted, Status},
};

/// Does it.
pub(super) async fn run(command: &ApprovalsCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        ApprovalsCommand::List(list) => {
            let path = if list.all { "approvals?all=true" } else { "approvals" };
            let approvals: Vec<ApprovalView> = session.client().await?.get(path).await?;
            let nothing = "no call waits for approval; `bailiwick approvals list --all` shows the past ones";
            session.list(&approvals, list.form.json, || table(&approvals), nothing)
        }
        ApprovalsCommand::Show(one) => {
            let approval = find(&one.id, &session.client().await?).await?;
            session.one(&approval, one.form.json, || card(&approval))
        }
        ApprovalsCommand::Approve(approve) => allow(approve, session).await,
        ApprovalsCommand::Deny(deny) => refuse(deny, session).await,
    }
}

async fn find(handle: &str, client: &Client) -> Result<ApprovalView, CliFault> {
    client.get(&format!("approvals/{}", segment(handle)?)).await
}

fn table(approvals: &[ApprovalView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["CODE", "STATE", "TOOL", "AGENT", "BAND", "TIME", "APPROVER", "ID"]);
    for approval in approvals {
        let time = match (approval.state, approval.execute_by_ms, approval.ended_at_ms) {
            (ApprovalState::Pending, ..) => format!("expires {}", from_now(approval.approve_by_ms, now_ms)),
            (ApprovalState::Approved, Some(until), _) => format!("to be used {}", from_now(until, now_ms)),
            (_, _, Some(ended)) => from_now(ended, now_ms),
            _ => String::new(),
        };
        let approver = approval.decisions.iter().map(|decided| decided.approver.name.as_str()).collect::<Vec<_>>().join(" ");
        table.row([
            &approval.code,
            approval.state.as_str(),
            &short(&approval.tool, 40),
            &approval.agent,
            approval.band.as_str(),
            &time,
            &approver,
            &approval.id,
        ]);
    }
    table
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
    for asked in &approval.requirements {
        let persons = if asked.quorum > 1 { format!(", {} persons", asked.quorum) } else { String::new() };
        let reason = asked.reason.as_deref().map(|reason| format!(": {}", shown(reason))).unwrap_or_default();
        text.add(format_args!("rule      {}{reason}{persons}\n", shown(&asked.rule)));
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
    if let Some(note) = &approval.note {
        text.add(format_args!("note      {}\n", shown(note)));
    }
    text.add(format_args!("id        {}\n", shown(&approval.id)));
    text.add(format_args!("{}", arguments(approval)));
    text.into_text()
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
    let mut text = Page::of(format!("arguments ({} bytes, {})\n", sent.len(), approval.args_digest));
    for line in visible_json(&laid_out(sent)).lines() {
        text.add(format_args!("  {line}\n"));
    }
    text.into_text()
}

/// Shows first, then decides.
async fn allow(approve: &ApproveArgs, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    let approval = find(&approve.id, &client).await?;
    let view = card(&approval);
    session.screen.tell(&view);
    if approval.arguments.is_none() || approval.state != ApprovalState::Pending {
        let what = format!("approval {} is {}: nothing is left to decide", approval.code, approval.state);
        return Err(CliFault::refused(&what, Some(&format!("`{} approvals list` shows what waits", session.places.again))));
    }
    let status: Status = client.get("status").await?;
    if status.allow_same_user {
        session.screen.tell("note: approvals.allow_same_user is on, so nothing makes sure that you are not the one who asks");
    }
    let question = "approve this exact call, once? [y/N]";
    if session.around.types && !approve.yes && !session.asks(question) {
        return Err(CliFault::refused("not approved", Some("nothing was changed: it still waits")));
    }
    let wanted = DecisionWanted { reason: approve.reason.clone(), view: Some(Digest::of(view.as_bytes())) };
    let decided: ApprovalView = client.post(&format!("approvals/{}/approve", segment(&approval.id)?), &wanted).await?;
    let until =
        decided.execute_by_ms.map(|until| format!(", to be used {}", from_now(until, SystemClock.now_ms()))).unwrap_or_default();
    session.screen.tell(&format!("{} is {}{until}", shown(&decided.code), decided.state));
    Ok(())
}

async fn refuse(deny: &DenyArgs, session: &Session) -> Result<(), CliFault> {
    let wanted = DecisionWanted { reason: deny.reason.clone(), view: None };
    let decided: ApprovalView = session.client().await?.post(&format!("approvals/{}/deny", segment(&deny.id)?), &wanted).await?;
    session.screen.tell(&format!("{} is {}: {} was not executed", shown(&decided.code), decided.state, shown(&decided.tool)));
    Ok(())
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
