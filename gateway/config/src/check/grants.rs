//! `[[grants]]`

use std::collections::BTreeSet;

use bailiwick_pipeline::{
    grant::{Budget, Capability, DEEPEST, ToolPattern},
    ids::AgentId,
};
use bailiwick_schemas::names::ConnectorId;

use super::{
    args::{self, Bounds},
    duplicates,
    flow::Flow,
    sections::more_than_nothing,
    split, text,
};
use crate::{
    checked::GrantTerms,
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawAgent, RawBudget, RawGrant},
    source::KeyPath,
    suggest::{listed, nearest},
    units::{Duration, Size},
};

/// A grant lives no longer than this.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn grants(raw: &Raw, flow: &Flow<'_>, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<GrantTerms> {
    duplicates(raw.grants.iter().map(|grant| grant.id.as_ref()), "grant", path, findings);
    second_defaults(&raw.grants, path, findings);
    raw.grants.iter().enumerate().filter_map(|(index, grant)| terms(grant, (raw, flow), &path.item(index), findings)).collect()
}

fn terms(grant: &RawGrant, (raw, flow): (&Raw, &Flow<'_>), path: &KeyPath, findings: &mut Findings<'_>) -> Option<GrantTerms> {
    let agent = grant.agent.as_ref().and_then(|id| agent(id, raw, &path.key("agent"), findings));
    let purpose = text(grant.purpose.as_deref(), &path.key("purpose"), findings);
    text(grant.owner.as_deref(), &path.key("owner"), findings);
    text(grant.environment.as_deref(), &path.key("environment"), findings);
    let ttl = path.key("ttl");
    more_than_nothing(grant.ttl, &ttl, findings);
    if grant.ttl > LONGEST {
        let message = format!("`{}` is too long for a grant", grant.ttl);
        findings.value(&ttl, FaultCode::OutOfRange, message).help(format!("write at most `{LONGEST}`: a grant is for one task"));
    }
    if let (Some(agent), Some(ceiling)) = (agent, grant.ceiling)
        && ceiling > agent.ceiling
    {
        let message = format!("`{ceiling}` is above the ceiling of the agent, which is `{}`", agent.ceiling);
        let fault = findings.value(&path.key("ceiling"), FaultCode::CeilingExceeded, message);
        fault.help("lower it, or leave it out: it is the agent's then");
    }
    let capabilities = capabilities(grant, raw, path, findings);
    text(grant.ticket.as_deref(), &path.key("ticket"), findings);
    if let Some(idle) = grant.idle_timeout {
        more_than_nothing(idle, &path.key("idle_timeout"), findings);
    }
    if grant.delegation_depth > DEEPEST {
        let message = format!("`{}` is too deep", grant.delegation_depth);
        let fault = findings.value(&path.key("delegation_depth"), FaultCode::OutOfRange, message);
        fault.help(format!("write at most `{DEEPEST}`: each hop is one more agent to trust"));
    }
    let (budget, destinations) = (budget(&grant.budget, raw, &path.key("budget"), findings), destinations(grant, path, findings));
    let classes = grant.data_classes.as_deref();
    flow.data_classes(classes.unwrap_or_default(), &path.key("data_classes"), findings);
    let agent = agent?;
    let environment = grant.environment.as_deref().or(agent.environment.as_deref()).unwrap_or("default");
    if agent.environments.as_ref().is_some_and(|all| !all.iter().any(|one| one == environment)) {
        let message = format!("`{environment}` is none of the agent's environments");
        let here = if grant.environment.is_some() { path.key("environment") } else { path.key("agent") };
        findings.value(&here, FaultCode::Conflict, message).help("write one of the agent's `environments`, or add it there");
    }
    Some(GrantTerms {
        id: grant.id.clone()?,
        agent: agent.id.clone()?,
        owner: grant.owner.clone().or_else(|| agent.owner.clone())?,
        purpose,
        capabilities,
        ceiling: grant.ceiling.unwrap_or(agent.ceiling),
        environment: environment.to_owned(),
        ttl: grant.ttl.into(),
        budget,
        default: grant.default,
        tool_search: grant.tool_search,
        delegation_depth: grant.delegation_depth,
        data_classes: classes.map(|classes| classes.iter().cloned().collect()),
        destinations,
        idle_timeout: grant.idle_timeout.map(Into::into),
        max_rate: rate(grant.max_rate, &path.key("max_rate"), findings),
        ticket: grant.ticket.clone(),
        may_complete: grant.may_complete,
        may_request: grant.may_request,
    })
}

/// The budget, with the patterns of tools that it counts.
fn budget(given: &RawBudget, raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Budget {
    let path = path.key("tools");
    let counted = given.tools.iter().filter_map(|(tools, most)| Some((pattern(tools, raw, &path.key(tools), findings)?, *most)));
    let tools = counted.collect();
    Budget { calls: given.calls, writes: given.writes, bytes_out: given.bytes_out.map(Size::as_bytes), cost: given.cost, tools }
}

/// The domains that data may be sent to, in lower case.
fn destinations(grant: &RawGrant, path: &KeyPath, findings: &mut Findings<'_>) -> Option<BTreeSet<String>> {
    let path = path.key("destinations");
    let given = grant.destinations.as_ref()?;
    for (index, domain) in given.iter().enumerate().filter(|(_, domain)| !is_domain(domain)) {
        let fault = findings.value(&path.item(index), FaultCode::BadUrl, format!("`{domain}` is not a domain"));
        fault.help("write `example.com`: no scheme, port, path or `*`; what is below it is meant too");
    }
    Some(given.iter().map(|domain| domain.to_ascii_lowercase()).collect())
}

/// A rate is more than nothing: who may call nothing has no grant.
pub(super) fn rate(given: Option<u32>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<u32> {
    if given == Some(0) {
        let fault = findings.value(path, FaultCode::OutOfRange, "`0` lets nothing through");
        fault.help("write at least `1`, or leave it out for no limit");
    }
    given
}

fn is_domain(given: &str) -> bool {
    let is_label = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    given.split('.').all(is_label)
}

fn agent<'r>(id: &AgentId, raw: &'r Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Option<&'r RawAgent> {
    let known = || raw.agents.iter().filter_map(|agent| agent.id.as_ref()).map(AgentId::as_str);
    let agent = raw.agents.iter().find(|agent| agent.id.as_ref() == Some(id));
    if agent.is_none() {
        let fault = findings.value(path, FaultCode::UnknownAgent, format!("there is no agent `{id}`"));
        fault.suggest(nearest(id.as_str(), known())).help(match listed(known()) {
            none if none.is_empty() => {
                format!("register it: `[[agents]]` with `id = \"{id}\"`")
            }
            all => format!("the agents are {all}"),
        });
    }
    agent
}

fn second_defaults(grants: &[RawGrant], path: &KeyPath, findings: &mut Findings<'_>) {
    let defaults = || grants.iter().enumerate().filter(|(_, grant)| grant.default && grant.agent.is_some());
    for (index, grant) in defaults() {
        let Some((first, _)) = defaults().find(|(_, other)| other.agent == grant.agent).filter(|(first, _)| *first < index)
        else {
            continue;
        };
        let agent = grant.agent.as_ref().map(AgentId::as_str).unwrap_or_default();
        let other = path.item(first).key("default");
        let message = format!("the agent `{agent}` has a default grant already");
        let fault = findings.beside(&path.item(index).key("default"), FaultCode::SecondDefault, message, (&other, "this one"));
        fault.help("keep one: the agent names the others itself (`Bailiwick-Grant`)");
    }
}

fn capabilities(grant: &RawGrant, raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<Capability> {
    let mut patterns: Vec<(usize, ToolPattern)> = Vec::new();
    let list = path.key("tools");
    for (index, given) in grant.tools.iter().flatten().enumerate() {
        let here = list.item(index);
        let Some(pattern) = pattern(given, raw, &here, findings) else {
            continue;
        };
        if let Some((first, _)) = patterns.iter().find(|(_, earlier)| *earlier == pattern) {
            let message = format!("`{given}` is named twice");
            findings.beside(&here, FaultCode::Duplicate, message, (&list.item(*first), "first here")).help("name it once");
        }
        patterns.push((index, pattern));
    }
    let kinds: Option<BTreeSet<_>> = grant.kinds.as_ref().map(|kinds| kinds.iter().copied().collect());
    let mut bounds: Bounds = args::bounds(&grant.args, &path.key("args"), findings);
    // If the list itself was unfit, what stands in it isn't known.
    if grant.tools.is_some() {
        args::match_tools(&bounds, &patterns, path, findings);
    }
    let capability = |(_, tools): (usize, ToolPattern)| {
        let args = match &tools {
            ToolPattern::Tool(tool) => bounds.remove(tool).unwrap_or_default(),
            ToolPattern::Connector(_) => std::collections::BTreeMap::new(),
        };
        Capability { tools, kinds: kinds.clone(), args }
    };
    patterns.into_iter().map(capability).collect()
}

/// Reads a pattern; it must speak of a connector that is registered.
pub(super) fn pattern(given: &str, raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Option<ToolPattern> {
    let pattern: ToolPattern = match given.parse() {
        Ok(pattern) => pattern,
        Err(fault) => {
            let message = ToString::to_string(&fault);
            let (message, help) = split(&message);
            findings.value(path, FaultCode::BadPattern, message).help(help);
            return None;
        }
    };
    let known = || raw.connectors.iter().filter_map(|connector| connector.id.as_ref());
    if !known().any(|id| id == pattern.connector()) {
        let connector = pattern.connector();
        let meant = nearest(connector.as_str(), known().map(ConnectorId::as_str));
        let meant = meant.map(|meant| given.replacen(connector.as_str(), &meant, 1));
        let fault = findings.value(path, FaultCode::UnknownConnector, format!("`{given}`: there is no connector `{connector}`"));
        fault.suggest(meant).help(match listed(known().map(ConnectorId::as_str)) {
            none if none.is_empty() => {
                format!("register it: `[[connectors]]` with `id = \"{connector}\"`")
            }
            all => format!("the connectors are {all}"),
        });
    }
    Some(pattern)
}
