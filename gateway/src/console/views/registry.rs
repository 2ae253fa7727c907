//! What is registered: agents, grants and connectors.

use std::collections::BTreeSet;

use bailiwick_console::views::{AgentRow, Child, ConnectorRow, Fact, GrantRow, GrantView, PinRow, Spent};
use bailiwick_pipeline::grant::GrantState;

use crate::{
    admin::{self, api},
    runtime::Runtime,
};

pub(in crate::console) fn agents(runtime: &Runtime) -> Vec<AgentRow> {
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

pub(in crate::console) fn grants(runtime: &Runtime, ended_too: bool) -> Vec<GrantRow> {
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

pub(in crate::console) fn grant(runtime: &Runtime, id: &str) -> Option<GrantView> {
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

pub(in crate::console) fn connectors(runtime: &Runtime) -> Vec<ConnectorRow> {
    let config = runtime.config();
    let mut rows: Vec<ConnectorRow> =
        config.connectors.iter().map(|one| connector_row(admin::connectors::view(one, runtime))).collect();
    rows.iter_mut().flat_map(|row| &mut row.tools).for_each(|tool| tool.definition = None);
    rows
}

pub(in crate::console) fn connector(runtime: &Runtime, id: &str) -> Option<ConnectorRow> {
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
