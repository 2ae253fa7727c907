//! The configuration itself: its faults, its policies, its agents, connectors and grants against what was accepted.

use std::collections::BTreeMap;

use bailiwick_config::Pin;
use bailiwick_pipeline::{
    catalogue::World,
    ports::{Clock as _, Worlds as _},
};
use bailiwick_store::{AgentToken, CALL_TOKEN_MS, Store, Tokens};

use super::{Findings, Places};
use crate::{
    adapters::SystemClock,
    admin::api::{AgentView, TokenView, Trial},
    cli::{
        Session,
        client::Client,
        connectors,
        fault::CliFault,
        policy::{Accepted, accepted, with_what_to_accept},
        units::from_now,
    },
    runtime::policies_of,
    world::{LiveWorlds, WorldFault},
};

/// A token that ends so soon is told of: three days, in milliseconds.
const SOON_MS: u64 = 3 * 24 * 60 * 60 * 1000;

/// The configuration can't be read: everything that is wrong with it.
pub(super) fn unreadable(fault: CliFault, session: &Session, findings: &mut Findings) {
    let CliFault::ConfigFaults(faults) = fault else {
        let remedy = "name another with `--config FILE`, or write a first one: `bailiwick init`";
        findings.fault("config", session.places.config_name(), fault.to_string(), remedy);
        return;
    };
    for fault in faults.faults() {
        let line = fault.line_and_column().map(|(line, _)| format!("{}:{line}", session.places.config_name()));
        let place = line.or_else(|| fault.variable().map(str::to_owned)).unwrap_or_else(|| session.places.config_name());
        let meant = fault.suggestion().map(|meant| format!("did you mean `{meant}`?"));
        let remedy =
            meant.or_else(|| fault.advice().map(str::to_owned)).unwrap_or_else(|| "`bailiwick check` shows the place".to_owned());
        findings.fault("config", place, fault.to_string(), remedy);
    }
}

pub(super) async fn look(places: &Places<'_>, client: Option<&Client>, session: &Session, findings: &mut Findings) {
    tokens(places, client, session, findings).await;
    let pins = match accepted(session).await {
        Ok(pins) => pins.unwrap_or_default(),
        Err(fault) => {
            let at = session.places.data.path().display().to_string();
            findings.fault("store", at, fault.to_string(), "mend that first: what was accepted can't be told");
            return;
        }
    };
    unpinned(places, &pins, findings);
    standing(places, findings);
    if let Some(world) = world(places, pins, findings) {
        grants(places, &world, findings);
    }
}

/// Whose tools nobody accepted.
fn unpinned(places: &Places<'_>, pins: &Accepted, findings: &mut Findings) {
    for connector in &places.config.connectors {
        let is_pinned = pins.get(&connector.id).is_some_and(|pins| !pins.is_empty());
        let at = places.entry("connectors", connector.id.as_str());
        match connector.pin {
            _ if is_pinned => {}
            Pin::Manual => {
                let what = format!("no tool of connector `{}` was accepted, so none is callable", connector.id);
                findings.warning("unpinned", at, what, format!("bailiwick connectors pin {}", connector.id));
            }
            Pin::FirstUse => {
                let what = format!("the first start accepts whatever connector `{}` offers then", connector.id);
                findings.note("first_use", at, what, "fit for trying out; elsewhere `pin = \"manual\"`");
            }
        }
    }
}

/// Whose credentials live on when tasks are over.
fn standing(places: &Places<'_>, findings: &mut Findings) {
    let lives_on = places.config.connectors.iter().filter(|connector| connector.facts().credential == "standing");
    for connector in lives_on {
        let at = places.entry("connectors", connector.id.as_str());
        let what = format!("what connector `{}` is lent lives on when a task is over: nobody can take it back", connector.id);
        findings.note(
            "standing",
            at,
            what,
            "have an issuer make it for each task, or forbid it: `resource.credential == \"standing\"`",
        );
    }
}

/// The policies, compiled over what was accepted.
fn world(places: &Places<'_>, pins: Accepted, findings: &mut Findings) -> Option<std::sync::Arc<World>> {
    // What can't be read is told with the files that are missing.
    let texts = policies_of(places.config).ok()?;
    match LiveWorlds::new(places.config, pins, texts) {
        Ok(worlds) => {
            for tool in worlds.unusable() {
                let at = places.entry("connectors", tool.tool.connector().as_str());
                let what = format!("`{}` was accepted and can't be used: {}", tool.tool, tool.why);
                findings.warning("unusable", at, what, format!("bailiwick connectors pin {}", tool.tool.connector()));
            }
            for (name, kept) in worlds.names().kept() {
                let at = places.entry("connectors", name.connector().as_str());
                let what = format!("agents call `{name}` so, with its prefix: {}", kept.why(name));
                findings.note("keeps_prefix", at, what, "fine as it is; where the bare name is wanted, one of the two has to go");
            }
            Some(worlds.now())
        }
        Err(WorldFault::Policies(faults)) => {
            for fault in faults.into_iter().map(with_what_to_accept) {
                let place =
                    if fault.line > 0 { format!("{}:{}", fault.source_name, fault.line) } else { fault.source_name.clone() };
                let remedy = fault.help.clone().unwrap_or_else(|| "`bailiwick policy check` shows the place".to_owned());
                findings.fault("policy", place, fault.what.clone(), remedy);
            }
            None
        }
    }
}

/// Grants under which nothing can be called.
fn grants(places: &Places<'_>, world: &World, findings: &mut Findings) {
    for grant in &places.config.grants {
        let covers = |tool: &bailiwick_pipeline::catalogue::Tool| {
            tool.band <= grant.ceiling && grant.capabilities.iter().any(|capability| capability.covers(&tool.name, tool.kind))
        };
        if !world.tools().any(|tool| covers(tool)) {
            let what = format!("grant `{}` covers no callable tool: its agent sees an empty list", grant.id);
            let remedy =
                "accept the tools it names (`bailiwick connectors pin ID`), or correct its `tools`, `kinds` and `ceiling`";
            findings.warning("empty_grant", places.entry("grants", grant.id.as_str()), what, remedy);
        }
    }
}

/// Agents that can't prove themselves, or won't be able to soon.
async fn tokens(places: &Places<'_>, client: Option<&Client>, session: &Session, findings: &mut Findings) {
    let known = match client {
        Some(client) => client.get::<Vec<AgentView>>("agents").await.ok().map(|agents| {
            let lasts = |token: &&TokenView| token.expires_at_ms.saturating_sub(token.created_at_ms) > CALL_TOKEN_MS;
            let ends = |agent: &AgentView| agent.tokens.iter().filter(lasts).map(|token| token.expires_at_ms).max();
            agents.iter().map(|agent| (agent.id.clone(), ends(agent))).collect::<BTreeMap<_, _>>()
        }),
        None => stored(session),
    };
    let Some(known) = known else { return };
    let now_ms = SystemClock.now_ms();
    for agent in
        places.config.agents.iter().filter(|agent| !agent.agent.disabled && agent.uids.is_empty() && agent.spiffe.is_empty())
    {
        let id = &agent.agent.id;
        let at = places.entry("agents", id.as_str());
        let remedy = format!("bailiwick agents token {id}");
        match known.get(id.as_str()).copied().flatten() {
            Some(ends) if ends > now_ms.saturating_add(SOON_MS) => {}
            Some(ends) if ends > now_ms => {
                let what = format!("the last token of agent `{id}` ends {}", from_now(ends, now_ms));
                findings.note("token", at, what, remedy);
            }
            Some(ended) => {
                let what = format!("the last token of agent `{id}` ended {}: it can't prove itself", from_now(ended, now_ms));
                findings.warning("token", at, what, remedy);
            }
            None => {
                let what =
                    format!("agent `{id}` has no token that is good, no user and no SPIFFE id of its own: it can't prove itself");
                findings.note("token", at, what, remedy);
            }
        }
    }
}

/// The end of each agent's last token, as the store has it.
fn stored(session: &Session) -> Option<BTreeMap<String, Option<u64>>> {
    let data = session.places.data.path();
    if !data.join("state.db").is_file() {
        return None;
    }
    let tokens = Tokens::load(&Store::open(data).ok()?).ok()?;
    let mut ends = BTreeMap::new();
    // Those that `call` makes for itself are no agent's.
    let lasts = |token: &AgentToken| token.expires_at_ms.saturating_sub(token.created_at_ms) > CALL_TOKEN_MS;
    for token in tokens.list(None).into_iter().filter(|token| token.revoked_at_ms.is_none() && lasts(token)) {
        let last: &mut Option<u64> = ends.entry(token.agent.to_string()).or_default();
        *last = (*last).max(Some(token.expires_at_ms));
    }
    Some(ends)
}

/// Starts each connector for a moment.
pub(super) async fn online(places: &Places<'_>, session: &Session, findings: &mut Findings) {
    for connector in &places.config.connectors {
        let id = connector.id.as_str();
        let at = places.entry("connectors", id);
        match connectors::tried(id, session).await {
            Err(fault) => {
                let remedy = format!("bailiwick connectors test {id}");
                findings.fault("connector", at, format!("connector `{id}` can't be tried: {fault}"), remedy);
            }
            Ok(tried) => trial(&tried, &at, findings),
        }
    }
}

fn trial(tried: &Trial, at: &str, findings: &mut Findings) {
    let id = &tried.id;
    let look = format!("bailiwick connectors test {id}");
    if let Some(failure) = &tried.failure {
        findings.fault("connector", at, format!("connector `{id}` fails: {failure}"), format!("{look}   shows what it wrote"));
        return;
    }
    let Some(offer) = &tried.offer else { return };
    let changed = offer.tools.iter().filter(|tool| matches!(tool.state.as_str(), "changed" | "gone")).count();
    if changed > 0 {
        let what = format!("{changed} tools of connector `{id}` are not as they were accepted, and not callable");
        findings.warning("drift", at, what, format!("bailiwick connectors diff {id}"));
    }
    if !offer.findings.is_empty() {
        let what = format!("connector `{id}` offers {} tools that are not acceptable", offer.findings.len());
        findings.warning("rejected", at, what, look);
    }
    if changed == 0 && offer.findings.is_empty() {
        let what = format!("connector `{id}` answers, with {} tools, in {} ms", offer.tools.len(), tried.took_ms);
        findings.note("connector", at, what, "nothing to do");
    }
}
