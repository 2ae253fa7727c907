//! More than a grant gives: asked for by its agent, given by a person, and taken back when its time is over or the configuration no longer
//! allows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock, Weak},
};

use bailiwick_pipeline::{
    catalogue::World,
    grant::{Capability, Extension, LiveGrant, Meant, ToolPattern},
    ports::{AccessFailure, AccessState, AccessTicket, AccessWanted, Binding, Grants as _, Later, Requests, Worlds as _},
};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::names::QualifiedName;
use bailiwick_store::{AccessRequest, Pin, RequestEnd, RequestFault, RequestState, RequestWanted, WriteFault};
use bailiwick_trail::Stream;
use serde_json::json;

use crate::{
    admin::{deed::Deed, fault::ApiFault},
    auto_granting,
    runtime::{Runtime, approval_settings},
};

/// Takes what agents ask for, on record before they are answered.
#[derive(Default)]
pub(crate) struct Requesting {
    /// Set once it is there: the pipeline is part of it.
    runtime: OnceLock<Weak<Runtime>>,
}

impl Requesting {
    /// From here on it takes requests of this gateway's agents.
    pub(crate) fn of(&self, runtime: &Arc<Runtime>) {
        self.runtime.get_or_init(|| Arc::downgrade(runtime));
    }
}

impl Requests for Requesting {
    fn request<'a>(&'a self, wanted: AccessWanted<'a>) -> Later<'a, Result<AccessTicket, AccessFailure>> {
        Box::pin(async move {
            let lost = || AccessFailure::Lost("the gateway does not serve yet".to_owned());
            let runtime = self.runtime.get().and_then(Weak::upgrade).ok_or_else(lost)?;
            take(wanted, &runtime).await
        })
    }
}

/// Takes a request, or says where the one for the same tools stands.
async fn take(wanted: AccessWanted<'_>, runtime: &Arc<Runtime>) -> Result<AccessTicket, AccessFailure> {
    let grant = runtime.grants.by_id(wanted.grant).ok_or(AccessFailure::Ended)?;
    let (revision, now_ms) = (grant.terms().revision, runtime.clock.now_ms());
    let cool_down_ms = approval_settings(&runtime.config()).deny_cooldown_ms;
    if let Some(ticket) = runtime
        .requests
        .same((wanted.grant, revision), wanted.tools)
        .and_then(|known| stands(&known, &grant, cool_down_ms, now_ms))
    {
        return Ok(ticket);
    }
    runtime.requests.may_ask(wanted.grant, cool_down_ms, now_ms).map_err(failure)?;
    let with = json!({
        "agent": wanted.agent, "tools": wanted.tools, "reason": wanted.reason, "for_ms": wanted.for_ms, "call_id": wanted.call,
    });
    let deed = Deed::new("access_requested", wanted.grant.as_str(), with);
    let asked = RequestWanted {
        grant: wanted.grant.clone(),
        grant_revision: revision,
        agent: wanted.agent.clone(),
        tools: wanted.tools.clone(),
        reason: wanted.reason.to_owned(),
        for_ms: wanted.for_ms,
        call: wanted.call.clone(),
    };
    let (of, by) = (Arc::clone(runtime), format!("agent:{}", wanted.agent));
    // What it comes to beside that is no fault of the gateway's, and said to the agent in its own words.
    let taken = deed.done_by_agent(&by, runtime, async move {
        match of.requests.ask(asked, cool_down_ms, now_ms).await {
            Err(RequestFault::Write(fault)) => Err(fault.into()),
            taken => Ok(taken),
        }
    });
    let request = taken.await.map_err(|fault| AccessFailure::Lost(fault.message))?.map_err(failure)?;
    Ok(AccessTicket { id: request.id, state: AccessState::Pending })
}

/// Where a request stands that was made before; none where another one is to be made.
fn stands(known: &AccessRequest, grant: &LiveGrant, cool_down_ms: u64, now_ms: u64) -> Option<AccessTicket> {
    let state = match (known.state, &known.end) {
        (RequestState::Pending, _) => AccessState::Pending,
        (RequestState::Granted, Some(end)) => {
            let extended = grant.extended();
            let is_there = |tool: &QualifiedName| {
                extended.extensions.iter().any(|extension| extension.tool == *tool && !extension.is_over(now_ms))
            };
            if !known.tools.iter().all(is_there) {
                return None;
            }
            AccessState::Granted { until_ms: end.until_ms }
        }
        (RequestState::Denied, Some(end)) => {
            let again_ms = end.at_ms.saturating_add(cool_down_ms);
            if again_ms <= now_ms {
                return None;
            }
            AccessState::Denied { reason: end.reason.clone(), again_ms }
        }
        _ => return None,
    };
    Some(AccessTicket { id: known.id.clone(), state })
}

fn failure(fault: RequestFault) -> AccessFailure {
    match fault {
        RequestFault::TooMany(open) => AccessFailure::TooMany(open),
        RequestFault::TooSoon { left_ms } => AccessFailure::TooSoon(left_ms.div_ceil(1000)),
        other => AccessFailure::Lost(other.to_string()),
    }
}

/// Why this tool can't be added to this grant now, if so: for operators. The grant above it bounds it, and so do its own ceiling,
/// environment, data classes and destinations, and how far each agent of its chain may reach by now.
pub(crate) fn obstacle(name: &QualifiedName, grant: &LiveGrant, world: &World, runtime: &Runtime) -> Option<String> {
    let Some(tool) = world.tool(name.as_str()) else {
        return Some("no connector has a callable tool of this name".to_owned());
    };
    let terms = grant.terms();
    let beyond = |grant: &LiveGrant| {
        let (id, agent) = (&grant.terms().id, &grant.terms().agent);
        let registered = runtime.agents.agent(agent);
        if registered.as_ref().is_none_or(|registered| tool.band > registered.ceiling) {
            return Some(format!("its band `{}` is above the ceiling of agent `{agent}`", tool.band));
        }
        (!grant.terms().reaches(tool)).then(|| {
            format!("grant `{id}` is bounded otherwise: by its ceiling, its environment, its data classes or its destinations")
        })
    };
    if let Some(why) = grant.chain().find_map(beyond) {
        return Some(why);
    }
    if auto_granting::is_auto(terms) && (tool.kind != Kind::Read || tool.band != Band::Low) {
        return Some(
            "the agent got this grant by itself, which is for reads of band `low` alone: make another grant instead".to_owned(),
        );
    }
    let kinds = Some(BTreeSet::from([tool.kind]));
    let right = Capability { tools: ToolPattern::Tool(name.clone()), kinds, args: BTreeMap::new() };
    let has_whole = |grant: &LiveGrant| grant.rights().iter().any(|wider| right.is_within(wider));
    if let Some(above) = grant.chain().skip(1).find(|above| !has_whole(above)) {
        let (id, owner) = (&above.terms().id, &above.terms().owner);
        return Some(format!("grant `{id}` above it, of which {owner} is the owner, does not give it without bounds"));
    }
    let own = &terms.capabilities;
    let bounded = own.iter().any(|capability| capability.covers(name, tool.kind) && !capability.args.is_empty());
    bounded.then(|| "the grant has it already, with bounds on its arguments: make another grant instead".to_owned())
}

/// Adds what was asked for to the grant, until then or for as long as it lives.
pub(crate) async fn grant(
    request: &AccessRequest,
    for_ms: Option<u64>,
    by: &str,
    reason: Option<String>,
    of: &Arc<Runtime>,
) -> Result<AccessRequest, ApiFault> {
    // Not while another configuration comes into force: what bounds the grant may be other by it.
    let _in_turn = of.changing.lock().await;
    let now_ms = of.clock.now_ms();
    let known = of.requests.get(request.id.as_str())?;
    if known.state != RequestState::Pending {
        return Err(RequestFault::Decided { id: known.id, state: known.state }.into());
    }
    let gone = || ApiFault::conflict(format!("grant `{}` has ended, or was issued anew since it was asked for", request.grant));
    let live = of.grants.by_id(&request.grant).filter(|live| live.is_live(now_ms)).ok_or_else(gone)?;
    if live.terms().revision != request.grant_revision {
        return Err(gone());
    }
    let world = of.worlds.now();
    let obstacles: Vec<String> =
        request.tools.iter().filter_map(|name| obstacle(name, &live, &world, of).map(|why| format!("`{name}`: {why}"))).collect();
    if !obstacles.is_empty() {
        return Err(ApiFault::conflict(format!("it can't be granted: {}", obstacles.join("; ")))
            .help("`bailiwick requests deny` says no; `bailiwick grants create` makes another grant"));
    }
    let until_ms = for_ms.map(|for_ms| now_ms.saturating_add(for_ms)).filter(|until| *until < live.terms().expires_at_ms);
    let extension = |tool: &QualifiedName| Extension {
        tool: tool.clone(),
        until_ms,
        request: request.id.clone(),
        by: by.to_owned(),
        at_ms: now_ms,
        meant: world.tool(tool.as_str()).map(|tool| Meant::of(tool)),
    };
    let end = RequestEnd { by: Some(by.to_owned()), at_ms: now_ms, reason, until_ms };
    let more = request.tools.iter().map(extension).collect();
    let (granted, extended) = of.requests.grant(&request.id, end, more, &of.grants).await?;
    // What was approved before was approved of another revision of the grant.
    of.void_approvals_of(&extended).await?;
    Ok(granted)
}

/// Says no to what was asked for: whatever it had added is gone when this returns.
pub(crate) async fn deny(
    request: &AccessRequest,
    by: &str,
    reason: Option<String>,
    of: &Runtime,
) -> Result<AccessRequest, ApiFault> {
    // A yes that is on its way comes to its end first: then it is the one that counts.
    let _in_turn = of.changing.lock().await;
    let end = RequestEnd { by: Some(by.to_owned()), at_ms: of.clock.now_ms(), reason, until_ms: None };
    let denied = of.requests.decide(&request.id, RequestState::Denied, end).await;
    // In memory it is denied even where that could not be stored.
    let ended = of.end_extensions().await;
    let denied = denied?;
    ended?;
    Ok(denied)
}

impl Runtime {
    /// Ends what was added to grants and is over, or may no longer be: the configuration, a pin or the grant above forbids it now. Requests
    /// end with their grants.
    pub(crate) async fn end_extensions(&self) -> Result<(), WriteFault> {
        let (now_ms, world) = (self.clock.now_ms(), self.worlds.now());
        let stays = |grant: &LiveGrant, extension: &Extension| self.may_stay(grant, extension, &world);
        let (ended, stored) = self.grants.narrow(now_ms, &stays);
        let mut done = stored.await;
        for (grant, extensions) in ended {
            for extension in &extensions {
                let why = if extension.is_over(now_ms) { "its time is over" } else { "it may not be granted any more" };
                let record = json!({
                    "event": "extension_ended", "grant": grant.terms().id, "tool": extension.tool, "request": extension.request, "why": why,
                });
                if let Err(lost) = self.recorder.trail().append(Stream::Admin, now_ms, &record) {
                    tracing::error!(%lost, "the end of an extension could not be put on record");
                }
            }
            done = done.and(self.void_approvals_of(&grant).await);
        }
        let is_live =
            |id: &_, issue| self.grants.by_id(id).is_some_and(|grant| grant.terms().revision == issue && grant.is_live(now_ms));
        done.and(self.requests.sweep(now_ms, is_live).await)
    }

    /// A tool that is only not callable now (its server shows another definition) may be again; one that is not accepted is gone, and so
    /// is one that is another than was granted. Nothing stays of a request that nobody granted.
    fn may_stay(&self, grant: &LiveGrant, extension: &Extension, world: &World) -> bool {
        let (name, Some(meant)) = (&extension.tool, extension.meant) else { return false };
        // One that is no longer remembered was granted: what is denied takes along what it added.
        let request = self.requests.get(extension.request.as_str());
        if request.is_ok_and(|request| request.state != RequestState::Granted) {
            return false;
        }
        if let Some(tool) = world.tool(name.as_str()) {
            return meant.still_is(&Meant::of(tool)) && obstacle(name, grant, world, self).is_none();
        }
        let is_same = |pin: &Pin| Some(&pin.tool) == name.tool() && pin.digest == meant.pin;
        let is_known = self.config().connector(name.connector().as_str()).is_some();
        is_known && self.worlds.pins().get(name.connector()).is_some_and(|pins| pins.iter().any(is_same))
    }

    /// Makes void what is asked or approved under an earlier revision of this grant.
    async fn void_approvals_of(&self, grant: &LiveGrant) -> Result<(), WriteFault> {
        let (id, revision) = (&grant.terms().id, grant.revision());
        let is_earlier = |binding: &Binding| binding.grant == *id && binding.grant_revision != revision;
        let why = "what the grant gives changed";
        self.approvals.invalidate(why, self.clock.now_ms(), is_earlier).await.map(drop)
    }
}
