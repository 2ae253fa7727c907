//! `grants`

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Budget, GrantState, ToolPattern},
    ports::Clock as _,
};

use serde_json::json;

use super::{
    Session,
    args::{CreateArgs, EndArgs, GrantsCommand},
    client::segment,
    fault::CliFault,
    screen::{Page, Table, short, shown},
    units::{Span, from_now, span},
};
use crate::{
    adapters::SystemClock,
    admin::api::{EndedView, GrantMade, GrantView, GrantWanted, HandleMade, Why},
};

/// Does it.
pub(super) async fn run(command: &GrantsCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        GrantsCommand::Create(create) => make(create, session).await,
        GrantsCommand::List(list) => {
            let path = if list.all { "grants?all=true" } else { "grants" };
            let grants: Vec<GrantView> = session.client().await?.get(path).await?;
            session.list(
                &grants,
                list.form.json,
                || table(&grants),
                "no grant is active: `bailiwick grants create` makes one, `grants list --all` shows the ended ones",
            )
        }
        GrantsCommand::Show(one) => {
            let grant: GrantView = session.client().await?.get(&format!("grants/{}", segment(&one.id)?)).await?;
            session.one(&grant, one.form.json, || card(&grant))
        }
        GrantsCommand::Suggest(wanted) => super::suggest::run(wanted, session).await,
        GrantsCommand::Handle(of) => make_handle(&of.id, session).await,
        GrantsCommand::Complete(end) => finish(end, "complete", session).await,
        GrantsCommand::Revoke(end) => finish(end, "revoke", session).await,
    }
}

fn table(grants: &[GrantView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["ID", "STATE", "AGENT", "TOOLS", "CALLS", "WRITES", "EXPIRES", "PURPOSE"]);
    for grant in grants {
        let tools = format!("{}{}", grant.tools.len(), if grant.tool_search { ", by search" } else { "" });
        let calls = used(grant.used.calls, grant.budget.calls);
        let writes = used(grant.used.writes, grant.budget.writes);
        let purpose = short(&grant.purpose, 40);
        table.row([
            &grant.id,
            grant.state.as_str(),
            &grant.agent,
            &tools,
            &calls,
            &writes,
            &from_now(grant.expires_at_ms, now_ms),
            &purpose,
        ]);
    }
    table
}

fn used(count: u64, limit: Option<u64>) -> String {
    limit.map_or_else(|| count.to_string(), |limit| format!("{count}/{limit}"))
}

fn card(grant: &GrantView) -> String {
    let now_ms = SystemClock.now_ms();
    let mut text = Page::of(format!(
        "grant        {}  ({}{}{})\nagent        {}\nowner        {}\npurpose      {}\nexpires      {}\nceiling      {}\nenvironment  {}\n",
        shown(&grant.id),
        grant.state.as_str(),
        if grant.default { ", the agent's default" } else { "" },
        if grant.from_config { ", from the configuration" } else { "" },
        shown(&grant.agent),
        shown(&grant.owner),
        shown(&grant.purpose),
        from_now(grant.expires_at_ms, now_ms),
        grant.ceiling,
        shown(&grant.environment),
    ));
    text.add(format_args!(
        "calls        {}\nwrites       {}\n",
        used(grant.used.calls, grant.budget.calls),
        used(grant.used.writes, grant.budget.writes)
    ));
    more(grant, now_ms, &mut text);
    let touched = grant
        .labels
        .names()
        .map(|label| if label == "untrusted" { "untrusted input".to_owned() } else { format!("{label} data") });
    let touched: Vec<String> = touched.collect();
    if !touched.is_empty() {
        text.add(format_args!("has touched  {}\n", touched.join(", ")));
    }
    if let Some(ending) = &grant.ending {
        let by = ending.by.as_deref().map(|by| format!(" by {}", shown(by))).unwrap_or_default();
        let why = ending.reason.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        text.add(format_args!("ended        {}{by}{why}\n", from_now(ending.at_ms, now_ms)));
    }
    text.add(format_args!("tools{}\n", if grant.tool_search { "        looked for with search_tools, not listed" } else { "" }));
    for capability in &grant.capabilities {
        text.add(format_args!("  {}\n", capability.tools));
        for (pointer, bound) in &capability.args {
            text.add(format_args!("    {} must be {}\n", shown(pointer), shown(&bound.describe())));
        }
    }
    for extension in &grant.extensions {
        let until =
            extension.until_ms.map_or_else(|| "for the task".to_owned(), |until| format!("until {}", from_now(until, now_ms)));
        let (tool, by, request) = (shown(&extension.tool), shown(&extension.by), shown(&extension.request));
        text.add(format_args!("  {tool}\n    added {until} by {by}, as {request} asked\n"));
    }
    if grant.state == GrantState::Active {
        let count = grant.tools.len();
        text.add(format_args!("callable now: {}\n", if count == 0 { "nothing".to_owned() } else { grant.tools.join(" ") }));
    }
    text.into_text()
}

/// What only some grants have.
fn more(grant: &GrantView, now_ms: u64, text: &mut Page) {
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.add(format_args!("{name:<13}{}\n", shown(&value)));
        }
    };
    row("bytes out", grant.budget.bytes_out.map(|limit| used(grant.used.bytes_out, Some(limit))));
    row("cost", grant.budget.cost.map(|limit| used(grant.used.cost, Some(limit))));
    for (tools, most) in &grant.budget.tools {
        row("calls of", Some(format!("{tools}: at most {most}")));
    }
    row("ticket", grant.ticket.clone());
    row("made by", grant.created_by.clone());
    row("above it", Some(grant.chain.join(" < ")).filter(|chain| !chain.is_empty()));
    row("hand on", Some(grant.delegation_depth).filter(|depth| *depth > 0).map(|depth| format!("{depth} levels")));
    let listed = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
    row("data", grant.data_classes.as_ref().map(listed));
    row("sends to", grant.destinations.as_ref().map(listed));
    row("rate", grant.max_rate.map(|rate| format!("{rate} calls a second")));
    row("idle for", grant.idle_ms.map(span));
    row("last used", grant.last_used_ms.map(|at| from_now(at, now_ms)));
}

/// Prints the token and nothing else.
async fn make(create: &CreateArgs, session: &Session) -> Result<(), CliFault> {
    let wanted = GrantWanted {
        id: create.id.clone(),
        agent: create.agent.clone(),
        owner: create.owner.clone(),
        purpose: create.purpose.clone(),
        tools: create.tools.clone(),
        args: bounds(&create.bounds)?,
        ceiling: create.ceiling,
        kinds: None,
        environment: create.environment.clone(),
        ttl_ms: create.ttl.map(Span::as_millis),
        budget: Budget {
            calls: create.calls,
            writes: create.writes,
            bytes_out: create.bytes_out,
            cost: create.cost,
            tools: counted(&create.tool_calls)?,
        },
        default: create.default,
        tool_search: create.tool_search,
        parent: create.parent.clone(),
        delegation_depth: create.delegation_depth,
        data_classes: (!create.data_classes.is_empty()).then(|| create.data_classes.iter().cloned().collect()),
        destinations: (!create.destinations.is_empty()).then(|| create.destinations.iter().cloned().collect()),
        max_rate: create.max_rate,
        idle_ms: create.idle_timeout.map(Span::as_millis),
        ticket: create.ticket.clone(),
        may_complete: create.may_complete,
        may_request: create.may_request,
    };
    let made: GrantMade = session.client().await?.post("grants", &wanted).await?;
    let GrantView { id, tools, expires_at_ms, .. } = &made.grant;
    let expires = from_now(*expires_at_ms, SystemClock.now_ms());
    session.screen.tell(&format!(
        "grant {} for agent {}: {} callable tools, expires {expires}",
        shown(id),
        shown(&made.grant.agent),
        tools.len()
    ));
    session.screen.answer(&made.token)
}

/// Prints the handle and nothing else.
async fn make_handle(id: &str, session: &Session) -> Result<(), CliFault> {
    let path = format!("grants/{}/handle", segment(id)?);
    let made: HandleMade = session.client().await?.post(&path, &json!({})).await?;
    session.screen.tell(&format!(
        "a handle of grant {} for agent {}, for the first process that shows it (the handle expires {}): the grant ends with that process",
        shown(&made.grant),
        shown(&made.agent),
        from_now(made.bind_by_ms, SystemClock.now_ms())
    ));
    session.screen.answer(&made.handle)
}

/// `tool=count`
fn counted(given: &[String]) -> Result<BTreeMap<ToolPattern, u64>, CliFault> {
    let read = |text: &String| {
        let (tool, most) = text.split_once('=')?;
        Some((tool.parse::<ToolPattern>().ok()?, most.parse().ok()?))
    };
    let fault = |text: &String| {
        CliFault::usage(
            format!("`--tool-calls {}` can't be read", shown(text)),
            "write TOOL=NUMBER, as in `--tool-calls tickets__refund=3`",
        )
    };
    given.iter().map(|text| read(text).ok_or_else(|| fault(text))).collect()
}

/// `tool/pointer=bound`: the tool's name has no `/`, the pointer begins with it.
fn bounds(given: &[String]) -> Result<BTreeMap<String, BTreeMap<String, Bound>>, CliFault> {
    let mut bounds: BTreeMap<String, BTreeMap<String, Bound>> = BTreeMap::new();
    for text in given {
        let fault = |what: &str| {
            CliFault::usage(
                format!("`--arg {}`: {what}", shown(text)),
                r#"write TOOL/POINTER=BOUND, as in `--arg 'tickets__search/project={"eq": "support"}'`"#,
            )
        };
        let (place, bound) = text.split_once('=').ok_or_else(|| fault("there is no `=`"))?;
        let (tool, pointer) = place.split_once('/').ok_or_else(|| fault("there is no `/`"))?;
        let bound: Bound = serde_json::from_str(bound).map_err(|why| fault(&format!("the bound can't be read: {why}")))?;
        if bounds.entry(tool.to_owned()).or_default().insert(format!("/{pointer}"), bound).is_some() {
            return Err(fault("the argument has a bound already"));
        }
    }
    Ok(bounds)
}

async fn finish(end: &EndArgs, how: &str, session: &Session) -> Result<(), CliFault> {
    let path = format!("grants/{}/{how}", segment(&end.id)?);
    let ended: EndedView = session.client().await?.post(&path, &Why { reason: end.reason.clone() }).await?;
    let id = shown(&end.id);
    match (ended.was_active, ended.drained) {
        (false, _) => session.screen.tell(&format!("grant {id} had ended before")),
        (true, true) => {
            let fell = match ended.fell.len() {
                0 => String::new(),
                count => format!(", nor under the {count} that were handed on from it"),
            };
            session.screen.tell(&format!("grant {id} has ended: nothing more is called under it{fell}"));
        }
        (true, false) => {
            let text = format!(
                "grant {id} has ended, but a call that was being written before is still under way: look at `audit tail`"
            );
            session.screen.tell(&text);
            return Err(CliFault::Said);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        let given = [r#"a__b/project={"eq": "x=y"}"#, r#"a__b/items/0={"len_max": 3}"#].map(str::to_owned);
        let read = bounds(&given).unwrap_or_default();
        let of_tool = read.get("a__b").cloned().unwrap_or_default();
        assert_eq!(of_tool.keys().collect::<Vec<_>>(), ["/items/0", "/project"]);
        assert_eq!(of_tool.get("/project").map(Bound::describe).as_deref(), Some("\"x=y\""));
        for bad in ["a__b/p", "a__b={}", "a__b/p=x", r#"a__b/p={"prefix": 1}"#] {
            assert!(matches!(bounds(&[bad.to_owned()]), Err(CliFault::Usage { .. })), "{bad}");
        }
        let twice = [r#"a__b/p={"eq":1}"#, r#"a__b/p={"eq":2}"#].map(str::to_owned);
        assert!(bounds(&twice).is_err());
    }
}
