//! Grants on their way into being: what was asked for is checked as the configuration checks its own, made, and given a token. And on
//! their way out of it.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{ANY_ENVIRONMENT, Budget, Capability, DEEPEST, Grant, LiveGrant, ToolPattern},
    ids::GrantId,
    ports::Grants as _,
    principal::Agent,
};
use bailiwick_policy::Band;
use bailiwick_schemas::names::QualifiedName;
use bailiwick_store::EndAs;
use secrecy::SecretString;

use crate::{
    admin::{agents::registered, api::GrantWanted, fault::ApiFault},
    runtime::Runtime,
};

/// A grant lives no longer than this: 30 days. It is for one task.
const LONGEST_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How long a grant lives of which nobody says it: 8 hours, and 15 minutes where it was handed on.
const USUAL_MS: u64 = 8 * 60 * 60 * 1000;
const USUAL_BELOW_MS: u64 = 15 * 60 * 1000;

/// Makes a grant of these terms, and its token; durable when it returns.
pub(crate) async fn issue(terms: &Grant, by: &str, of: &Runtime) -> Result<SecretString, ApiFault> {
    // Not while another configuration comes into force: its agents may be others.
    let in_turn = of.changing.lock().await;
    issue_in_turn(terms, by, of, &in_turn).await
}

/// The same for whoever holds what keeps the configuration as it is.
pub(crate) async fn issue_in_turn(
    terms: &Grant,
    by: &str,
    of: &Runtime,
    _in_turn: &tokio::sync::MutexGuard<'_, ()>,
) -> Result<SecretString, ApiFault> {
    if registered(terms.agent.as_str(), of)?.disabled {
        return Err(ApiFault::conflict(format!("agent `{}` is disabled", terms.agent)));
    }
    of.grants.create(terms.clone(), of.clock.now_ms()).await?;
    // Whoever was disabled meanwhile has none: what was revoked then didn't find this one.
    if registered(terms.agent.as_str(), of).is_ok_and(|agent| agent.disabled) {
        let _ended = of.end_grant(&terms.id, EndAs::Revoked, by, Some("its agent is disabled"), "its agent is disabled").await;
        return Err(ApiFault::conflict(format!("agent `{}` is disabled", terms.agent)));
    }
    match of.tokens.issue_grant(terms).await {
        Ok(token) => Ok(token),
        Err(fault) => {
            // Whoever wanted it hears that there is none: then there is none. What this comes to is second to why.
            let why = "its token could not be stored";
            let _ended = of.end_grant(&terms.id, EndAs::Revoked, by, Some(why), why).await;
            Err(fault.into())
        }
    }
}

/// The terms that were asked for, checked as the configuration checks its own. What is not said of a grant that is handed on is as in the
/// grant above it, as far as the agent reaches. Whether it is inside that one is found where it is made.
pub(crate) fn terms(wanted: &GrantWanted, by: &str, runtime: &Runtime) -> Result<Grant, ApiFault> {
    let agent = registered(&wanted.agent, runtime)?;
    let now_ms = runtime.clock.now_ms();
    let id = match &wanted.id {
        Some(id) => id.parse()?,
        None => fresh_id(runtime),
    };
    let above = above(wanted, runtime)?;
    let above = above.as_deref();
    let of_above = above.map(LiveGrant::terms);
    // Nobody hands on what it may not reach itself by now.
    let reach = above.map_or(agent.ceiling, |above| reach(above, runtime));
    let ceiling = wanted.ceiling.unwrap_or_else(|| reach.min(agent.ceiling));
    if above.is_some() && ceiling > reach {
        return Err(ApiFault::invalid(format!("the ceiling `{ceiling}` is above `{reach}`, which is what can be handed on")));
    }
    if ceiling > agent.ceiling {
        return Err(ApiFault::invalid(format!(
            "the ceiling `{ceiling}` is above that of agent `{}`, which is `{}`",
            agent.id, agent.ceiling
        ))
        .help("lower it, or leave it out: it is the agent's then"));
    }
    if wanted.delegation_depth > DEEPEST {
        return Err(ApiFault::invalid(format!("a chain of grants is {DEEPEST} hops deep at most"))
            .help("give a smaller `delegation_depth`"));
    }
    let purpose = text("purpose", &wanted.purpose)?;
    let owner = wanted.owner.as_deref().or(of_above.map(|above| above.owner.as_str())).unwrap_or(&agent.owner);
    let owner = text("owner", owner)?;
    let environment = wanted.environment.as_deref().or(of_above.map(|above| above.environment.as_str()));
    let environment = text("environment", environment.unwrap_or(ANY_ENVIRONMENT))?;
    let registered = runtime.config().agent(agent.id.as_str()).is_none_or(|registered| registered.may_be_in(&environment));
    if !registered {
        return Err(ApiFault::invalid(format!("agent `{}` may have no grant for the environment `{environment}`", agent.id))
            .help("give another `--environment`, or add it to the agent's `environments`"));
    }
    let ticket = wanted.ticket.as_deref().map(|ticket| text("ticket", ticket)).transpose()?;
    if wanted.default {
        second_default(&agent, runtime, now_ms)?;
    }
    let budget = above.map_or_else(|| wanted.budget.clone(), |above| filled(&wanted.budget, above.left()));
    Ok(Grant {
        id,
        revision: 1,
        agent: agent.id.clone(),
        owner,
        purpose,
        capabilities: capabilities(wanted, runtime)?,
        ceiling,
        environment,
        not_before_ms: now_ms,
        expires_at_ms: expiry(wanted, of_above, now_ms)?,
        budget,
        default: wanted.default,
        tool_search: wanted.tool_search,
        parent: of_above.map(|above| above.id.clone()),
        delegation_depth: wanted.delegation_depth,
        data_classes: wanted.data_classes.clone().or_else(|| of_above.and_then(|above| above.data_classes.clone())),
        destinations: destinations(wanted)?.or_else(|| of_above.and_then(|above| above.destinations.clone())),
        idle_ms: wanted.idle_ms.or_else(|| of_above.and_then(|above| above.idle_ms)),
        max_rate: wanted.max_rate.or_else(|| of_above.and_then(|above| above.max_rate)),
        ticket: ticket.or_else(|| of_above.and_then(|above| above.ticket.clone())),
        created_by: Some(by.to_owned()),
        may_complete: wanted.may_complete,
        may_request: wanted.may_request,
        from_config: false,
    })
}

/// What is wrong with the words alone in which a grant is wanted: the same whatever there is here.
pub(crate) fn check_words(wanted: &GrantWanted) -> Result<(), ApiFault> {
    text("purpose", &wanted.purpose)?;
    for (what, given) in [("owner", &wanted.owner), ("environment", &wanted.environment), ("ticket", &wanted.ticket)] {
        given.as_deref().map(|given| text(what, given)).transpose()?;
    }
    expiry(wanted, None, 0)?;
    destinations(wanted)?;
    match bounds(&wanted.args)?.keys().find(|name| !wanted.tools.contains(&name.to_string())) {
        Some(name) => Err(unnamed(name)),
        None => Ok(()),
    }
}

fn unnamed(name: &QualifiedName) -> ApiFault {
    ApiFault::invalid(format!("there are bounds for `{name}`, which the grant does not name")).help("name it in `--tools` too")
}

/// The grant that this one is to be handed on from, if it is.
fn above(wanted: &GrantWanted, runtime: &Runtime) -> Result<Option<std::sync::Arc<LiveGrant>>, ApiFault> {
    let Some(parent) = &wanted.parent else { return Ok(None) };
    let id: GrantId = parent.parse()?;
    let unknown = || ApiFault::unknown(format!("there is no grant `{id}`"), "`bailiwick grants list --all` shows them");
    runtime.grants.by_id(&id).ok_or_else(unknown).map(Some)
}

/// The highest band that can be handed on from a grant: by its terms and those above it, and by what their agents may reach now.
pub(crate) fn reach(above: &LiveGrant, runtime: &Runtime) -> Band {
    let of_agent = |grant: &LiveGrant| runtime.agents.agent(&grant.terms().agent).map_or(Band::Low, |agent| agent.ceiling);
    above.chain().map(|grant| grant.terms().ceiling.min(of_agent(grant))).min().unwrap_or(Band::Low)
}

fn expiry(wanted: &GrantWanted, above: Option<&Grant>, now_ms: u64) -> Result<u64, ApiFault> {
    if wanted.ttl_ms.is_some_and(|ttl_ms| ttl_ms == 0 || ttl_ms > LONGEST_MS) {
        return Err(ApiFault::invalid("a grant lives 30 days at most: it is for one task").help("give a shorter `--ttl`"));
    }
    let usual = if above.is_some() { USUAL_BELOW_MS } else { USUAL_MS };
    let until = now_ms.saturating_add(wanted.ttl_ms.unwrap_or(usual));
    // What nobody said gives way.
    Ok(match above {
        Some(above) if wanted.ttl_ms.is_none() => until.min(above.expires_at_ms),
        _ => until,
    })
}

/// A budget with what it leaves open as in the one above it.
fn filled(wanted: &Budget, above: Budget) -> Budget {
    let mut tools = wanted.tools.clone();
    for (pattern, most) in above.tools {
        if !tools.keys().any(|own| own.covers_all(&pattern)) {
            tools.insert(pattern, most);
        }
    }
    Budget {
        calls: wanted.calls.or(above.calls),
        writes: wanted.writes.or(above.writes),
        bytes_out: wanted.bytes_out.or(above.bytes_out),
        cost: wanted.cost.or(above.cost),
        tools,
    }
}

/// The domains, in lower case.
fn destinations(wanted: &GrantWanted) -> Result<Option<BTreeSet<String>>, ApiFault> {
    let Some(given) = &wanted.destinations else { return Ok(None) };
    let is_label = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if let Some(bad) = given.iter().find(|domain| !domain.split('.').all(is_label)) {
        return Err(
            ApiFault::invalid(format!("`{bad}` is not a domain")).help("write `example.com`: what is below it is meant too")
        );
    }
    Ok(Some(given.iter().map(|domain| domain.to_ascii_lowercase()).collect()))
}

fn fresh_id(runtime: &Runtime) -> GrantId {
    let mut random = [0; 10];
    random.iter_mut().zip(runtime.clock.random()).for_each(|(to, from)| *to = from);
    GrantId::new(runtime.clock.now_ms(), random)
}

fn second_default(agent: &Agent, runtime: &Runtime, now_ms: u64) -> Result<(), ApiFault> {
    let other = runtime.grants.of(&agent.id).into_iter().find(|grant| grant.terms().default && grant.is_live(now_ms));
    match other {
        None => Ok(()),
        Some(other) => {
            Err(ApiFault::conflict(format!("agent `{}` has a default grant already: `{}`", agent.id, other.terms().id))
                .help("leave out `--default`: its token, or the header Bailiwick-Grant, chooses the grant"))
        }
    }
}

fn text(what: &str, given: &str) -> Result<String, ApiFault> {
    let is_fit = !given.trim().is_empty()
        && given.chars().count() <= 500
        && !given.chars().any(|c| c == '\n' || bailiwick_schemas::text::is_invisible(c));
    if is_fit {
        Ok(given.to_owned())
    } else {
        Err(ApiFault::invalid(format!("the {what} must be one line of at most 500 visible characters")))
    }
}

fn capabilities(wanted: &GrantWanted, runtime: &Runtime) -> Result<Vec<Capability>, ApiFault> {
    let mut bounds = bounds(&wanted.args)?;
    let patterns: BTreeSet<ToolPattern> =
        wanted.tools.iter().map(|given| pattern(given, wanted.parent.is_some(), runtime)).collect::<Result<_, _>>()?;
    if patterns.is_empty() {
        return Err(ApiFault::invalid("a grant without tools allows nothing").help("name some: `--tools connector__tool`"));
    }
    let capability = |tools: ToolPattern| {
        let args = match &tools {
            ToolPattern::Tool(name) => bounds.remove(name).unwrap_or_default(),
            ToolPattern::Connector(_) => BTreeMap::new(),
        };
        Capability { tools, kinds: wanted.kinds.clone(), args }
    };
    let wildcards: Vec<_> = patterns.iter().filter(|pattern| matches!(pattern, ToolPattern::Connector(_))).cloned().collect();
    let capabilities: Vec<Capability> = patterns.into_iter().map(capability).collect();
    if let Some(name) = bounds.keys().next() {
        return Err(unnamed(name));
    }
    // A call needs to satisfy one capability only: a wildcard beside bounds would lift them.
    let lifted =
        capabilities.iter().filter(|capability| !capability.args.is_empty()).find_map(|capability| match &capability.tools {
            ToolPattern::Tool(name) => wildcards.iter().find(|wildcard| wildcard.covers(name)).map(|wildcard| (name, wildcard)),
            ToolPattern::Connector(_) => None,
        });
    match lifted {
        None => Ok(capabilities),
        Some((name, wildcard)) => {
            Err(ApiFault::invalid(format!("`{wildcard}` would lift the bounds of `{name}`")).help("name the tools one by one"))
        }
    }
}

/// A pattern that speaks of something there is.
fn pattern(given: &str, is_below: bool, runtime: &Runtime) -> Result<ToolPattern, ApiFault> {
    let pattern: ToolPattern =
        given.parse().map_err(|fault: bailiwick_pipeline::grant::PatternFault| ApiFault::invalid(fault.to_string()))?;
    let connector = pattern.connector();
    // Of what is handed on, the grant above says what there is: an agent must not learn here what else there might be.
    if is_below {
        return Ok(pattern);
    }
    if runtime.config().connector(connector.as_str()).is_none() {
        return Err(ApiFault::invalid(format!("`{pattern}`: there is no connector `{connector}`"))
            .help("`bailiwick connectors list` shows them"));
    }
    let pins = runtime.worlds.pins();
    let accepted = pins.get(connector);
    match &pattern {
        ToolPattern::Tool(name) => match name.tool() {
            Some(tool) if accepted.is_some_and(|pins| !pins.iter().any(|pin| pin.tool == *tool)) => {
                Err(ApiFault::invalid(format!("connector `{connector}` has no accepted tool `{tool}`"))
                    .help(format!("`bailiwick connectors show {connector}` lists its tools")))
            }
            _ => Ok(pattern),
        },
        ToolPattern::Connector(_) => Ok(pattern),
    }
}

fn bounds(
    given: &BTreeMap<String, BTreeMap<String, Bound>>,
) -> Result<BTreeMap<QualifiedName, BTreeMap<String, Bound>>, ApiFault> {
    let mut bounds = BTreeMap::new();
    for (tool, by_pointer) in given {
        let name: QualifiedName = tool.parse().map_err(|_| ApiFault::invalid(format!("`{tool}` is not the name of one tool")))?;
        for (pointer, bound) in by_pointer {
            let escapes_are_whole = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            if !pointer.starts_with('/') || !escapes_are_whole {
                return Err(ApiFault::invalid(format!("`{pointer}` is not a JSON pointer to an argument"))
                    .help("begin with `/`, as in `/project` (RFC 6901)"));
            }
            bound.check().map_err(|fault| ApiFault::invalid(format!("{pointer} of `{tool}`: {fault}")))?;
        }
        bounds.insert(name, by_pointer.clone());
    }
    Ok(bounds)
}
