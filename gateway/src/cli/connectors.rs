//! `connectors`

use serde_json::json;

use super::{
    Session,
    args::{ConnectorsCommand, One, PinArgs},
    client::{Client, segment},
    fault::CliFault,
    offline::{self, Offline},
    screen::{Page, Table, lines, short, shown},
    units::{from_now, span},
};
use crate::{
    adapters::SystemClock,
    admin::api::{Accept, Accepted, ConnectorView, Proposal, ProposedTool, Trial},
};
use bailiwick_pipeline::ports::Clock as _;

/// Does it.
pub(super) async fn run(command: &ConnectorsCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        ConnectorsCommand::List(form) => {
            let connectors: Vec<ConnectorView> = session.client().await?.get("connectors").await?;
            session.list(
                &connectors,
                form.json,
                || table(&connectors),
                "no connector is registered: `[[connectors]]` in the configuration does that",
            )
        }
        ConnectorsCommand::Show(one) => {
            let connector: ConnectorView = session.client().await?.get(&format!("connectors/{}", segment(&one.id)?)).await?;
            session.one(&connector, one.form.json, || card(&connector))
        }
        ConnectorsCommand::Test(one) => test(one, session).await,
        ConnectorsCommand::Diff(one) => diff(one, session).await,
        ConnectorsCommand::Pin(pin) => accept(pin, session).await,
    }
}

fn table(connectors: &[ConnectorView]) -> Table {
    let mut table = Table::new(&["ID", "STATE", "TOOLS", "PROCESSES", "CALLS", "PROGRAM"]);
    for connector in connectors {
        let tools = connector.tools.len().to_string();
        let processes = connector.processes.len().to_string();
        let calls = connector.calls.to_string();
        table.row([&connector.id, &connector.state, &tools, &processes, &calls, &short(&connector.program, 50)]);
    }
    table
}

fn card(connector: &ConnectorView) -> String {
    let (place, kept) = if connector.over_http { ("address", "sessions") } else { ("program", "processes") };
    let mut text = Page::of(format!(
        "connector  {}  ({})\n{place:<9}  {}\n{kept:<9}  {}\ncalls      {}, {} failures\n",
        shown(&connector.id),
        shown(&connector.state),
        shown(&connector.program),
        if connector.shared { "one for all grants" } else { "one for each grant" },
        connector.calls,
        connector.failures,
    ));
    if let Some(failure) = &connector.last_failure {
        text.add(format_args!("failed     {} ago: {}\n", span(failure.ago_ms), shown(&failure.what)));
    }
    let mut processes = Table::new(&["PID", "STATE", "GRANT", "AGE", "CALLS"]);
    for process in &connector.processes {
        let (id, calls) = (process.id.to_string(), process.calls.to_string());
        processes.row([&id, &process.state, process.grant.as_deref().unwrap_or("(all)"), &span(process.age_ms), &calls]);
    }
    if !connector.oddities.is_empty() {
        let all = connector.oddities.iter().map(|(kind, count)| format!("{} {count}", shown(&kind.replace('_', " "))));
        text.add(format_args!("unasked    {}\n", all.collect::<Vec<_>>().join(", ")));
    }
    let now_ms = SystemClock.now_ms();
    let mut tools = Table::new(&["TOOL", "STATE", "KIND", "BAND", "ACCEPTED", "BY"]);
    for tool in &connector.tools {
        tools.row([
            &tool.id,
            &tool.state,
            tool.kind.as_str(),
            tool.band.as_str(),
            &from_now(tool.accepted_at_ms, now_ms),
            &tool.accepted_by,
        ]);
    }
    for table in [processes, tools] {
        if !table.is_empty() {
            text.add(format_args!("\n{table}"));
        }
    }
    let bare = connector.tools.iter().filter(|tool| !tool.exposed.is_empty() && tool.exposed != tool.id).count();
    if bare > 0 {
        text.add(format_args!("\nagents call {bare} of them by their bare names, without `{}__`\n", shown(&connector.id)));
    }
    for tool in &connector.tools {
        if let Some(why) = &tool.keeps_prefix {
            text.add(format_args!("\n{} keeps its prefix: {}\n", shown(&tool.id), shown(why)));
        }
    }
    for tool in connector.tools.iter().filter(|tool| tool.why.is_some()) {
        text.add(format_args!("\n{} can't be used: {}\n", shown(&tool.id), shown(tool.why.as_deref().unwrap_or_default())));
    }
    for warning in connector.tools.iter().filter_map(|tool| warning(&tool.id, &tool.refers_to)) {
        text.add(format_args!("\n{warning}"));
    }
    if !connector.stderr.is_empty() {
        text.add(format_args!("\nstandard error, the end of it:\n"));
        connector.stderr.iter().for_each(|line| text.add(format_args!("  {}\n", shown(line))));
    }
    text.into_text()
}

async fn propose(id: &str, client: &Client) -> Result<Proposal, CliFault> {
    client.post(&format!("connectors/{}/discover", segment(id)?), &json!({})).await
}

/// Starts the server for a moment: through the running gateway, else under the lock of its store, which nobody else has then.
pub(super) async fn tried(id: &str, session: &Session) -> Result<Trial, CliFault> {
    let path = format!("connectors/{}/test", segment(id)?);
    match Client::find(&session.places).await? {
        Some(client) => client.post(&path, &json!({})).await.map_err(|fault| not_taken_up(id, fault, session)),
        None => offline::try_out(id, session).await,
    }
}

async fn test(one: &One, session: &Session) -> Result<(), CliFault> {
    let tried = tried(&one.id, session).await?;
    session.one(&tried, one.form.json, || trial(&tried))?;
    if tried.state == "failed" { Err(CliFault::Said) } else { Ok(()) }
}

/// A connector that the file has and the running gateway does not: the file was changed since it was read.
fn not_taken_up(id: &str, fault: CliFault, session: &Session) -> CliFault {
    let config = session.places.load(&session.around).ok();
    match (&fault, config.as_ref().and_then(|config| config.connector(id))) {
        (CliFault::Refused { what, .. }, Some(_)) if what.contains("there is no connector") => CliFault::refused(
            &format!("`{id}` is in {}, but the gateway runs without it", session.places.config_name()),
            Some("it has not taken the file up since that was written: `bailiwick reload` does, and says what is wrong with it"),
        ),
        (CliFault::Refused { what, .. }, None) if what.contains("there is no connector") => {
            offline::no_connector(id, config.as_ref())
        }
        _ => fault,
    }
}

/// How a server did.
pub(super) fn trial(tried: &Trial) -> String {
    let took = format!("{}.{:02} s", tried.took_ms / 1000, tried.took_ms % 1000 / 10);
    let mut text = Page::of(format!("connector  {}\n", shown(&tried.id)));
    match (&tried.offer, &tried.failure) {
        (Some(offer), _) => {
            let says = offer.server_info.as_ref().map_or_else(|| "nothing".to_owned(), said_of_itself);
            text.add(format_args!(
                "server     answers in MCP {}, and says of itself {}\ntook       {took}, from its start to its end\n",
                shown(&offer.protocol),
                shown(&short(&says, 70)),
            ));
            text.add(format_args!("{}", offered(offer)));
        }
        (None, failure) => {
            let failure = failure.as_deref().unwrap_or("it can't be told why");
            text.add(format_args!("FAILED     {}\ntook       {took}\n", lines(failure).replace('\n', "\n           ")));
        }
    }
    if tried.failure.is_some() || !tried.stderr.is_empty() {
        let last = tried.stderr.len().saturating_sub(LAST_LINES);
        let silent = if tried.stderr.is_empty() { " nothing" } else { "" };
        text.add(format_args!("stderr    {silent}\n"));
        tried.stderr.iter().skip(last).for_each(|line| text.add(format_args!("           {}\n", shown(line))));
    }
    text.into_text()
}

/// So many lines of standard error are shown.
const LAST_LINES: usize = 12;

/// Name and version, where it gives them.
fn said_of_itself(info: &serde_json::Value) -> String {
    let part = |key: &str| info.get(key).and_then(serde_json::Value::as_str);
    match (part("name"), part("version")) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        _ => info.to_string(),
    }
}

/// What is offered against what was accepted: counted, then place by place.
fn offered(offer: &Proposal) -> String {
    let count = |state: &str| offer.tools.iter().filter(|tool| tool.state == state).count();
    let (new, changed, gone) = (count("new"), count("changed"), count("gone"));
    let mut text = Page::of(format!(
        "tools      {} acceptable, {} rejected\n",
        offer.tools.len() - gone,
        if offer.findings.is_empty() { "none".to_owned() } else { offer.findings.len().to_string() }
    ));
    for finding in &offer.findings {
        let name = if finding.id.is_empty() { "(no name)".to_owned() } else { shown(&finding.id) };
        text.add(format_args!("           rejected {name}: {}\n", shown(&finding.why)));
    }
    let names = offer.tools.iter().filter(|tool| tool.state != "gone").map(|tool| shown(&tool.id)).collect::<Vec<_>>().join("  ");
    if !names.is_empty() {
        text.add(format_args!("           {}\n", short(&names, 100)));
    }
    let accept = format!("`bailiwick connectors pin {}`", shown(&offer.id));
    match (new, changed, gone) {
        (0, 0, 0) => text.add(format_args!("pins       all as they were accepted\n")),
        (new, 0, 0) if new == offer.tools.len() => {
            text.add(format_args!("pins       nothing was accepted yet: {accept} shows and accepts them\n"));
        }
        _ => {
            text.add(format_args!("pins       {new} new, {changed} changed, {gone} gone: {accept} shows and accepts them\n"));
            for tool in offer.tools.iter().filter(|tool| tool.state != "same" && tool.state != "new") {
                difference(tool).lines().for_each(|line| text.add(format_args!("           {line}\n")));
            }
        }
    }
    text.into_text()
}

async fn diff(one: &One, session: &Session) -> Result<(), CliFault> {
    let proposal = propose(&one.id, &session.client().await?).await?;
    session.one(&proposal, one.form.json, || differences(&proposal))?;
    if proposal.state == "same" { Ok(()) } else { Err(CliFault::Said) }
}

/// Where tools are accepted: at the running gateway, or under the lock of its store. A policy that names a tool lets a gateway start
/// only once that tool is accepted, so the second must do.
enum Desk {
    Gateway(Client),
    Offline(Box<Offline>),
}

async fn accept(pin: &PinArgs, session: &Session) -> Result<(), CliFault> {
    let desk = match Client::find(&session.places).await? {
        Some(client) => Desk::Gateway(client),
        None => Desk::Offline(Box::new(Offline::open(session)?)),
    };
    let proposal = match &desk {
        Desk::Gateway(client) => propose(&pin.id, client).await?,
        Desk::Offline(offline) => offline.propose(&pin.id).await?,
    };
    if pin.form.json {
        session.screen.json(&serde_json::to_value([&proposal]).unwrap_or_default())?;
    } else {
        session.screen.tell(&offer(&proposal));
        // New tools are in the table already.
        let known = proposal.tools.iter().filter(|tool| tool.state != "new").cloned().collect();
        session.screen.tell(&differences(&Proposal { tools: known, ..proposal.clone() }));
    }
    let tools: std::collections::BTreeMap<_, _> =
        proposal.tools.iter().filter(|tool| tool.state != "gone").map(|tool| (tool.id.clone(), tool.digest)).collect();
    let suspicious = proposal.tools.iter().filter(|tool| !tool.refers_to.is_empty());
    let refers_to = suspicious.map(|tool| (tool.id.clone(), tool.refers_to.clone())).collect();
    if tools.is_empty() {
        return Err(CliFault::refused(
            &format!("`{}` offers no tool that can be accepted", pin.id),
            Some("what it offers has to be mended first"),
        ));
    }
    let question = format!("accept these {} tools of {}, with these kinds and bands? [y/N]", tools.len(), shown(&pin.id));
    if !pin.yes && !session.asks(&question) {
        let help = format!("nothing was changed; `{} connectors pin {} --yes` accepts them", session.places.again, pin.id);
        return Err(CliFault::refused("not accepted", Some(&help)));
    }
    let path = format!("connectors/{}/pins", segment(&pin.id)?);
    let accepted = match &desk {
        Desk::Gateway(client) => client.post::<Accepted>(&path, &Accept { tools, refers_to }).await?.tools,
        Desk::Offline(offline) => offline.accept(&pin.id, &tools, &refers_to).await?,
    };
    session.screen.tell(&format!("accepted {accepted} tools of {}", shown(&pin.id)));
    Ok(())
}

/// The table of what would be accepted.
fn offer(proposal: &Proposal) -> String {
    let says = proposal.server_info.as_ref().map_or_else(|| "nothing".to_owned(), |info| short(&info.to_string(), 70));
    let mut table = Table::new(&["TOOL", "STATE", "KIND", "BAND", "FROM", "IT SAYS"]);
    for tool in &proposal.tools {
        let description = short(tool.description.lines().next().unwrap_or_default(), 44);
        table.row([&tool.id, &tool.state, tool.kind.as_str(), tool.band.as_str(), &tool.from, &description]);
    }
    let warnings: String = proposal.tools.iter().filter_map(|tool| warning(&tool.id, &tool.refers_to)).collect();
    format!(
        "{} speaks {} and says of itself {}\n\n{table}\n{warnings}what nobody classified is `execute` and `high`; `tools.NAME = {{ kind = …, band = … }}` in the configuration decides",
        shown(&proposal.id),
        shown(&proposal.protocol),
        shown(&says),
    )
}

/// What is to be told of a tool whose definition speaks of tools of other connectors.
fn warning(tool: &str, refers_to: &[String]) -> Option<String> {
    let named = refers_to.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    let advice = "agents may be led to use it for them; read its definition with care";
    (!refers_to.is_empty()).then(|| format!("warning   {} speaks of {named}, of other connectors: {advice}\n", shown(tool)))
}

/// What differs from what was accepted, place by place.
fn differences(proposal: &Proposal) -> String {
    if proposal.state == "same" {
        return format!("{}: {} tools, all as they were accepted\n", shown(&proposal.id), proposal.tools.len());
    }
    let mut text = Page::default();
    for tool in proposal.tools.iter().filter(|tool| tool.state != "same") {
        text.add(format_args!("{}", difference(tool)));
        text.add(format_args!("{}", warning(&tool.id, &tool.refers_to).unwrap_or_default()));
    }
    for finding in &proposal.findings {
        text.add(format_args!(
            "rejected  {}: {}\n",
            if finding.id.is_empty() { "(no name)".to_owned() } else { shown(&finding.id) },
            shown(&finding.why)
        ));
    }
    text.into_text()
}

fn difference(tool: &ProposedTool) -> String {
    let mut text = Page::of(format!("{:<8}  {}\n", shown(&tool.state), shown(&tool.id)));
    let value = |value: Option<&serde_json::Value>| {
        value.map_or_else(|| "(nothing)".to_owned(), |value| shown(&short(&value.to_string(), 300)))
    };
    for change in &tool.changes {
        text.add(format_args!(
            "          {}\n            - {}\n            + {}\n",
            shown(&change.at),
            value(change.before.as_ref()),
            value(change.now.as_ref())
        ));
    }
    text.into_text()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_connector_over_http_has_sessions_and_no_processes() {
        let of = |over_http: bool, shared: bool| {
            let view = json!({
                "id": "s", "state": "idle", "program": "p", "over_http": over_http, "shared": shared, "tools": [], "processes": [],
                "calls": 0, "failures": 0, "last_failure": null, "stderr": [],
            });
            card(&serde_json::from_value(view).unwrap()).lines().skip(1).take(2).collect::<Vec<_>>().join("|")
        };
        assert_eq!(of(false, false), "program    p|processes  one for each grant");
        assert_eq!(of(true, false), "address    p|sessions   one for each grant");
        assert_eq!(of(true, true), "address    p|sessions   one for all grants");
    }

    fn proposal() -> Proposal {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(json!({
            "id": "mail", "state": "different", "protocol": "2025-11-25", "server_info": {"name": "mail\u{1b}[2J"},
            "tools": [
                {"id": "get", "state": "same", "kind": "read", "band": "low", "from": "config", "digest": digest, "changes": [], "description": "Reads."},
                {"id": "send", "state": "changed", "kind": "exfiltrate", "band": "high", "from": "name: send", "digest": digest,
                 "changes": [{"at": "/description", "before": "Sends.", "now": "Sends\u{202e}."}], "description": "Sends"},
                {"id": "old", "state": "gone", "kind": "read", "band": "low", "from": "accepted before", "digest": digest, "changes": [], "description": ""},
            ],
            "findings": [{"id": "", "state": "rejected", "why": "a tool definition needs a `name`: correct the server"}],
        }))
        .unwrap()
    }

    #[test]
    fn differences_are_shown_place_by_place() {
        assert_eq!(
            differences(&proposal()),
            "changed   send\n          /description\n            - \"Sends.\"\n            + \"Sends\\u{202e}.\"\n\
             gone      old\n\
             rejected  (no name): a tool definition needs a `name`: correct the server\n"
        );
    }

    #[test]
    fn an_offer_is_a_table_that_steers_nothing() {
        let text = offer(&proposal());
        assert!(text.contains("TOOL  STATE    KIND        BAND  FROM             IT SAYS\nget   same     read        low   config           Reads.\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
