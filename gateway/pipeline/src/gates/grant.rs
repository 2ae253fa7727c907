//! Is this inside the live grant that the request acts under, inside all its ancestors, and could policy ever allow it? If
//! not, it does not exist.

use std::sync::Arc;

use bailiwick_policy::Band;
use bailiwick_schemas::names::{Feature, QualifiedName};
use bytes::Bytes;

use super::{Identified, halted};
use crate::{
    answer::ToolList,
    catalogue::{Tool, World},
    constraint::Bound,
    grant::{GrantState, LiveGrant},
    halts::Halts,
    ids::GrantId,
    ports::{Grants, Ports},
    prepared::Prepared,
    principal::{Agent, Principal},
    received::{Asked, ItemAsk, Received},
    records::TaskRecord,
    refusal::Refusal,
    tasks::{Of, Task},
    way::{Way, capped},
};

/// A call of a tool that its sender can see.
pub struct Granted<'r> {
    identified: Identified<'r>,
    grant: Arc<LiveGrant>,
    world: Arc<World>,
    tool: Arc<Tool>,
    arguments: Bytes,
    task: Option<Arc<Task>>,
    revision: u64,
}

impl<'r> Granted<'r> {
    /// The evidence before this.
    pub fn identified(&self) -> &Identified<'r> {
        &self.identified
    }

    /// The grant it acts under.
    pub fn grant(&self) -> &Arc<LiveGrant> {
        &self.grant
    }

    /// The catalogue and the policies it was judged in.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The tool.
    pub fn tool(&self) -> &Arc<Tool> {
        &self.tool
    }

    /// The arguments as they were received: of an item, with the name that its own server knows it by.
    pub(crate) fn arguments(&self) -> &Bytes {
        &self.arguments
    }

    /// The task that it is about; none where it is a call itself.
    pub(crate) fn task(&self) -> Option<&Arc<Task>> {
        self.task.as_ref()
    }

    /// Which revision of its chain it was judged under.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The MCP method that its server is asked by.
    pub(super) fn method(&self) -> &'static str {
        match self.identified.received().asked() {
            Asked::Task(ask) => ask.verb.method(),
            _ => self.tool.method(),
        }
    }
}

/// Finds the grant and the tool, or says that the tool does not exist.
pub fn grant<'r>(call: Identified<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Granted<'r>, Refusal> {
    let asked = call.received().asked();
    let unknown = |detail: String| match asked {
        Asked::Call { name, .. } => Refusal::unknown_tool(name, detail),
        Asked::Item(ask) => Refusal::unknown_item(ask.of, &ask.name, format!("`{}`: {detail}", asked_for(&ask.name))),
        Asked::Task(ask) => Refusal::unknown_task(&ask.id, detail),
        Asked::List { .. } | Asked::Offers { .. } => Refusal::internal("a list is no call"),
    };
    let stage = way.enter("grant", "bailiwick.grant.resolve", ports);
    let Some(grant) = chosen_grant(call.received(), call.principal(), ports)? else {
        return Err(unknown("the agent has no live grant; `bailiwick grants create` makes one".to_owned()));
    };
    way.seen.grant = Some(Arc::clone(&grant));
    way.trace.note(stage, "bailiwick.grant.id", grant.terms().id.to_string());
    // Before anything is looked for: what changes meanwhile is noticed at the commit.
    let revision = grant.chain_revision();
    let world = ports.worlds.now();
    let agent = &call.principal().agent;
    let mut task = None;
    let found = match asked {
        Asked::Call { name, arguments } => match world.called(name) {
            Some(tool) if visible(&world, &grant, agent, tool) => Ok((tool, arguments.clone())),
            _ => Err(not_to_be_called(&world, name, &grant)),
        },
        Asked::Item(ask) => item(ask, &world, &grant, agent),
        Asked::Task(ask) => ports.tasks.find(&ask.id, ports.clock.now_ms()).ok_or_else(no_task).and_then(|found| {
            let tool = of_task(&found, &world, &grant, agent)?;
            let arguments = found.arguments.clone();
            way.seen.task = Some(TaskRecord { of: found.call.clone(), status: None });
            task = Some(found);
            Ok((tool, arguments))
        }),
        Asked::List { .. } | Asked::Offers { .. } => Err(String::new()),
    };
    let (tool, arguments) = found.map_err(unknown)?;
    let tool = Arc::clone(tool);
    way.seen.tool = Some(Arc::clone(&tool));
    // Second: whoever may not see a tool hears of no halt of it either.
    halted::refuse_tool(&tool, ports)?;
    way.leave(stage, ports);
    Ok(Granted { identified: call, grant, world, tool, arguments, task, revision })
}

fn no_task() -> String {
    "no task has this handle, or it is over".to_owned()
}

/// The tool of a task, where the task is of this agent under this grant, and the tool still the one that was called and to be seen.
fn of_task<'w>(task: &Task, world: &'w Arc<World>, grant: &Arc<LiveGrant>, agent: &Agent) -> Result<&'w Arc<Tool>, String> {
    let tool = world.tool(task.tool().as_str()).ok_or("its tool is not callable any more")?;
    if !task.is_of(&Of::this(grant, tool)) {
        return Err("it is a task of another agent or grant, or of a tool or connector that changed since".to_owned());
    }
    if visible(world, grant, agent, tool) { Ok(tool) } else { Err(invisible(grant)) }
}

/// The feature that an item is asked of, and the arguments with the item's own name. What it is suggested for must be given too.
fn item<'w>(
    ask: &ItemAsk,
    world: &'w Arc<World>,
    grant: &Arc<LiveGrant>,
    agent: &Agent,
) -> Result<(&'w Arc<Tool>, Bytes), String> {
    let nobodys = || format!("no connector offers anything under the name `{}`", capped(&ask.name));
    let (holder, own) = world.item(ask.of, &ask.name).ok_or_else(nobodys)?;
    let is_template = ask.feature == Feature::Complete && ask.of == Feature::ResourceRead;
    let is_given = |tool: &Tool| {
        visible(world, grant, agent, tool) && grant.chain().all(|grant| admits_item(grant, tool, &own, is_template))
    };
    let tool = match ask.feature {
        Feature::Complete => {
            let name = QualifiedName::of_feature(holder.connector.id.clone(), Feature::Complete);
            world.features.get(&name).filter(|tool| visible(world, grant, agent, tool))
        }
        _ => Some(holder),
    };
    match tool {
        Some(tool) if is_given(holder) => Ok((tool, ask.arguments(&own))),
        _ => Err(format!("{}: `{}`", invisible(grant), capped(&own))),
    }
}

/// Whether some right of this grant covers an item of this name, as far as that depends on its name. Of a template: all that it makes.
pub(super) fn admits_item(grant: &LiveGrant, tool: &Tool, own: &str, is_template: bool) -> bool {
    if !grant.terms().may_touch(tool.labels_of_item(own)) {
        return false;
    }
    let pointer = match tool.name.feature() {
        Some(Feature::ResourceRead) => "/uri",
        Some(Feature::PromptGet) => "/name",
        _ => return true,
    };
    let is_template = is_template && own.contains('{');
    let admits = |bound: &Bound| if is_template { bound.admits_template(own) } else { bound.admits(Some(&own.into())) };
    let rights = grant.rights();
    let mut covering = rights.iter().filter(|right| right.covers(&tool.name, tool.kind));
    covering.any(|right| right.args.get(pointer).is_none_or(admits))
}

/// A name as records bear it.
fn asked_for(name: &str) -> String {
    name.chars().take(256).flat_map(char::escape_debug).collect()
}

fn invisible(grant: &LiveGrant) -> String {
    let id = &grant.terms().id;
    format!("grant `{id}` does not cover it, its band is above a ceiling, or no policy could ever allow it")
}

/// Why there is no tool of this name under this grant: for operators alone.
pub(super) fn not_to_be_called(world: &World, name: &str, grant: &LiveGrant) -> String {
    if world.called(name).is_some() { invisible(grant) } else { not_called(world, name) }
}

fn not_called(world: &World, name: &str) -> String {
    match world.tool(name).map(|tool| world.exposed(tool)) {
        Some(exposed) => format!("agents call it `{exposed}`: its connector has `prefix = \"never\"`"),
        None => "no connector has a callable tool of this name".to_owned(),
    }
}

/// Whether this tool exists for this agent under this grant.
pub(crate) fn visible(world: &Arc<World>, grant: &Arc<LiveGrant>, agent: &Agent, tool: &Tool) -> bool {
    View::new(world, grant, agent).is_some_and(|view| view.shows(tool))
}

/// Under what a tool is looked at: a grant and its agent's ceiling, in one world.
struct View {
    world: Arc<World>,
    grant: Arc<LiveGrant>,
    ceiling: Band,
    prepared: Arc<Prepared>,
}

/// What a list shows: of what is seen, that which no halt hides.
struct Listing {
    view: View,
    halts: Arc<Halts>,
    /// Asked before the halts themselves: a list is kept under no later number than it was made by.
    hidden: u64,
    /// That of the chain; likewise.
    revision: u64,
}

impl View {
    /// None where the grant can't be put before the policies, which denies.
    fn new(world: &Arc<World>, grant: &Arc<LiveGrant>, agent: &Agent) -> Option<Self> {
        let prepared = grant.prepared(world)?;
        Some(Self { world: Arc::clone(world), grant: Arc::clone(grant), ceiling: agent.ceiling, prepared })
    }

    /// Whether this tool exists for this agent under this grant. The one decision behind list and call.
    fn shows(&self, tool: &Tool) -> bool {
        // INVARIANT: whoever handed the task on could do it. What policy forbids one of them, no one below may.
        let could = |grant: &LiveGrant| {
            grant.covers(tool) && grant.prepared(&self.world).is_some_and(|prepared| prepared.could_allow(&self.world, tool))
        };
        tool.band <= self.ceiling
            && self.grant.covers(tool)
            && self.prepared.could_allow(&self.world, tool)
            && self.grant.chain().skip(1).all(could)
    }
}

impl Listing {
    fn kept(&self) -> Option<Arc<ToolList>> {
        self.view.prepared.list((self.view.ceiling, self.hidden, self.revision))
    }

    /// How many tools have to be looked at for a list.
    fn weight(&self) -> usize {
        let View { world, grant, .. } = &self.view;
        grant.rights().iter().map(|right| world.count_of(&right.tools)).sum()
    }

    /// Makes the list, and keeps it. It looks at nothing but what the grant's own patterns mean, however many tools there are.
    fn list(&self) -> Arc<ToolList> {
        let View { world, grant, ceiling, prepared } = &self.view;
        let rights = grant.rights();
        let meant = rights.iter().flat_map(|right| world.meant_by(&right.tools));
        let mut tools: Vec<&Arc<Tool>> = meant.collect();
        tools.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        tools.dedup_by(|left, right| Arc::ptr_eq(left, right));
        tools.retain(|tool| self.view.shows(tool) && !self.halts.hides(&tool.name));
        let list = ToolList::new(tools.into_iter().cloned().collect(), world, grant.terms());
        prepared.keep((*ceiling, self.hidden, self.revision), list)
    }
}

/// More tools than these are looked at where no call waits meanwhile.
pub(super) const AT_ONCE: usize = 200;

/// The tools that exist for this agent under this grant. The list is kept for as long as grant and world stay what they are.
pub(crate) async fn list(
    world: &Arc<World>,
    grant: &Arc<LiveGrant>,
    agent: &Agent,
    halts: &Arc<Halts>,
) -> Result<Arc<ToolList>, Refusal> {
    let Some(view) = View::new(world, grant, agent) else { return Ok(Arc::default()) };
    let revision = grant.chain_revision();
    let listing = Listing { hidden: halts.hidden(), revision, halts: Arc::clone(halts), view };
    if let Some(list) = listing.kept() {
        return Ok(list);
    }
    if listing.weight() <= AT_ONCE {
        return Ok(listing.list());
    }
    let prepared = Arc::clone(&listing.view.prepared);
    let _turn = prepared.making.lock().await;
    if let Some(list) = listing.kept() {
        return Ok(list);
    }
    away(move || listing.list()).await
}

/// Does what takes a while where no call waits meanwhile.
pub(super) async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|lost| match lost.try_into_panic() {
        // It goes on here, so that it is told like any other.
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(lost) => Refusal::internal(format!("what takes a while was not done: {lost}")),
    })
}

/// The grant that a request acts under: the one whose token it bears, or the one it names, or the agent's default, or its
/// only one. `None` where the agent has no live grant at all. It moves to no other grant by itself: where the default has
/// ended, or there are two, the request is refused with the choice.
pub(crate) fn chosen_grant(received: &Received, principal: &Principal, ports: &Ports) -> Result<Option<Arc<LiveGrant>>, Refusal> {
    chosen_among(received.origin().presented.grant.as_deref(), principal, ports)
}

/// The same for who names this grant, or none.
pub(crate) fn chosen_among(named: Option<&str>, principal: &Principal, ports: &Ports) -> Result<Option<Arc<LiveGrant>>, Refusal> {
    halted::refuse_caller(principal, ports)?;
    let chosen = chosen_of(named, principal, ports)?;
    if let Some(grant) = &chosen {
        halted::refuse_grant(grant, ports)?;
        grant.end_extensions(ports.clock.now_ms());
    }
    Ok(chosen)
}

fn chosen_of(named: Option<&str>, principal: &Principal, ports: &Ports) -> Result<Option<Arc<LiveGrant>>, Refusal> {
    let now_ms = ports.clock.now_ms();
    if let Some(borne) = &principal.grant {
        if named.is_some_and(|named| named != borne.as_str()) {
            return Err(Refusal::grant_not_live(
                named.unwrap_or_default(),
                "the request bears the token of another grant than it names",
            ));
        }
        return own(ports.grants.as_ref(), borne, principal, now_ms).map(Some);
    }
    if let Some(named) = named {
        let id = named.parse().map_err(|_| Refusal::grant_not_live(named, "it is no grant id"))?;
        return own(ports.grants.as_ref(), &id, principal, now_ms).map(Some);
    }
    let all: Vec<_> = ports.grants.of(&principal.agent.id).into_iter().filter(|grant| is_own(grant, principal)).collect();
    let live: Vec<_> = all.iter().filter(|grant| grant.is_live(now_ms)).collect();
    let live_defaults: Vec<_> = live.iter().filter(|grant| grant.terms().default).collect();
    match (live_defaults.as_slice(), live.as_slice()) {
        (_, []) => Ok(None),
        ([default], _) => Ok(Some(Arc::clone(default))),
        ([], [only]) if all.iter().all(|grant| !grant.terms().default) => Ok(Some(Arc::clone(only))),
        _ => {
            let mut ids: Vec<GrantId> = live.iter().map(|grant| grant.terms().id.clone()).collect();
            ids.sort();
            Err(Refusal::choose_grant(&ids))
        }
    }
}

/// The grant of this id, if it is live and this agent's. One answer for all that it is not.
fn own(grants: &dyn Grants, id: &GrantId, principal: &Principal, now_ms: u64) -> Result<Arc<LiveGrant>, Refusal> {
    let Some(grant) = grants.by_id(id) else {
        return Err(Refusal::grant_not_live(id.as_str(), "there is no such grant"));
    };
    if !is_own(&grant, principal) {
        return Err(Refusal::grant_not_live(id.as_str(), format!("it is a grant of agent `{}`", grant.terms().agent)));
    }
    if !grant.is_live(now_ms) {
        let state = match grant.standing().state {
            GrantState::Active => "outside its lifetime, or an ancestor has ended",
            ended => ended.as_str(),
        };
        return Err(Refusal::grant_not_live(id.as_str(), format!("it is {state}")));
    }
    Ok(grant)
}

fn is_own(grant: &LiveGrant, principal: &Principal) -> bool {
    grant.terms().agent == principal.agent.id
}
