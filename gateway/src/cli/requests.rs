//! `requests`

use bailiwick_pipeline::ports::Clock as _;
use bailiwick_store::RequestState;

use super::{
    Session,
    args::RequestsCommand,
    client::segment,
    fault::CliFault,
    screen::{Page, Table, short, shown},
    units::{Span, from_now, span},
};
use crate::{
    adapters::SystemClock,
    admin::api::{GrantRequest, RequestView, Why},
};

/// Does it.
pub(super) async fn run(command: &RequestsCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        RequestsCommand::List(list) => {
            let path = if list.all { "requests?all=true" } else { "requests" };
            let requests: Vec<RequestView> = session.client().await?.get(path).await?;
            let nothing = "no agent asks for more; `bailiwick requests list --all` shows the past ones";
            session.list(&requests, list.form.json, || table(&requests), nothing)
        }
        RequestsCommand::Show(one) => {
            let request: RequestView = session.client().await?.get(&format!("requests/{}", segment(&one.id)?)).await?;
            session.one(&request, one.form.json, || card(&request))
        }
        RequestsCommand::Grant(grant) => {
            let path = format!("requests/{}/grant", segment(&grant.id)?);
            let for_ms = grant.time.map(Span::as_millis);
            let wanted = GrantRequest { for_ms, for_task: grant.for_task, reason: grant.reason.clone() };
            let granted: RequestView = session.client().await?.post(&path, &wanted).await?;
            let until = how_long(&granted);
            session.screen.tell(&format!("{} of grant {} is granted {until}", shown(&granted.id), shown(&granted.grant)));
            Ok(())
        }
        RequestsCommand::Deny(deny) => {
            let path = format!("requests/{}/deny", segment(&deny.id)?);
            let denied: RequestView = session.client().await?.post(&path, &Why { reason: Some(deny.reason.clone()) }).await?;
            session.screen.tell(&format!("{} is denied: the agent hears why", shown(&denied.id)));
            Ok(())
        }
    }
}

fn how_long(request: &RequestView) -> String {
    request.until_ms.map_or_else(|| "for the task".to_owned(), |until| format!("until {}", from_now(until, SystemClock.now_ms())))
}

fn names(request: &RequestView) -> String {
    request.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn table(requests: &[RequestView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["ID", "STATE", "AGENT", "GRANT", "TOOLS", "ASKED", "REASON"]);
    for request in requests {
        table.row([
            &request.id,
            request.state.as_str(),
            &request.agent,
            &request.grant,
            &short(&names(request), 60),
            &from_now(request.created_at_ms, now_ms),
            &short(&request.reason, 40),
        ]);
    }
    table
}

/// What whoever decides has to know: what it would mean, in what the admin holds the tools for, and what the task did last. The reason
/// is the agent's word, and may be what somebody told it to say.
fn card(request: &RequestView) -> String {
    let now_ms = SystemClock.now_ms();
    let asked = request.for_ms.map_or_else(|| "for the task".to_owned(), |for_ms| format!("for {}", span(for_ms)));
    let mut text = Page::of(format!(
        "request   {}   {}\nagent     {}\ngrant     {}, owned by {}\npurpose   {}\nasked     {}, {asked}\nit says   {}\n",
        shown(&request.id),
        request.state.as_str(),
        shown(&request.agent),
        shown(&request.grant),
        shown(&request.owner),
        shown(&request.purpose),
        from_now(request.created_at_ms, now_ms),
        shown(&request.reason),
    ));
    text.add(format_args!("tools\n"));
    for tool in &request.tools {
        let class = match (tool.kind, tool.band) {
            (Some(kind), Some(band)) => format!("   ({kind}, {band})"),
            _ => String::new(),
        };
        text.add(format_args!("  {}{class}\n", shown(&tool.name)));
        if let Some(why) = tool.obstacle.as_deref().filter(|_| request.state == RequestState::Pending) {
            text.add(format_args!("    can't be granted: {}\n", shown(why)));
        }
    }
    if let Some(at_ms) = request.decided_at_ms {
        let by = request.decided_by.as_deref().map(|by| format!(" by {}", shown(by))).unwrap_or_default();
        let why = request.note.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        let until = if request.state == RequestState::Granted { format!(", {}", how_long(request)) } else { String::new() };
        text.add(format_args!("{:<9} {}{by}{until}{why}\n", request.state.as_str(), from_now(at_ms, now_ms)));
    }
    if !request.last_calls.is_empty() {
        text.add(format_args!("last calls of the task, newest first\n"));
    }
    for call in &request.last_calls {
        text.add(format_args!(
            "  {}  {}  {}  {}\n",
            shown(&call.time),
            shown(&call.what),
            shown(&call.outcome),
            shown(&call.call)
        ));
    }
    text.into_text()
}
