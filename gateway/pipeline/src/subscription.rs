//! What agents hear of without asking each time: resources that they subscribed to, and that their lists changed. Whether they may is
//! asked each time anew.

use std::{fmt::Write as _, panic::AssertUnwindSafe, sync::Arc};

use bailiwick_schemas::{
    canonical::Digest,
    names::{ConnectorId, Feature},
};
use futures_util::FutureExt;

use crate::{
    answer::{Answer, Body, ToolList, ToolResult},
    catalogue::{Tool, World},
    gates::{self, Held, Stop},
    grant::LiveGrant,
    handle::Gateway,
    ids::CallId,
    ports::{Interest, ListKind, Ports, Watcher},
    principal::{Agent, Presented, Principal},
    received::{Asked, Received},
    records::Outcome,
    refusal::Refusal,
    way::{Way, words_of},
};

/// How often a wish to subscribe walks the way, because what it rested on changed, before it is refused.
const WALKS: usize = 9;

/// How fast a wish to subscribe may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As fast as calls of the task and of the connector.
    Task,
    /// As fast as it comes: it was asked already, or comes from the gateway itself.
    Own,
}

/// A resource that an agent hears of when it changes, until dropped. It was authorized as reading it is.
pub struct Subscription {
    received: Arc<Received>,
    held: Held,
}

/// What is needed to subscribe once more to what was lost.
pub struct Wish(Arc<Received>);

impl Subscription {
    /// The grant that it is under.
    pub fn grant(&self) -> &Arc<LiveGrant> {
        &self.held.grant
    }

    /// The resource, by its server's own name.
    pub fn uri(&self) -> &str {
        &self.held.uri
    }

    /// What is needed to subscribe once more.
    pub fn wish(&self) -> Wish {
        Wish(Arc::clone(&self.received))
    }

    /// Returns once nothing is heard by it any more: it has to be asked for anew.
    pub async fn lost(&self) {
        self.held.watch.lost().await;
    }
}

/// What the lists of an agent show now.
pub struct Outlook {
    agent: Option<Arc<Agent>>,
    epoch: u64,
    /// Which tools are halted.
    hidden: u64,
    /// Of the chain of its grant.
    revision: u64,
    grant: Option<Arc<LiveGrant>>,
    tools: Arc<ToolList>,
    resources: Vec<ConnectorId>,
    prompts: Vec<ConnectorId>,
    digests: [Digest; 3],
}

impl Outlook {
    /// The grant that they are of.
    pub fn grant(&self) -> Option<&Arc<LiveGrant>> {
        self.grant.as_ref()
    }

    /// What makes a list another one.
    pub fn digest(&self, list: ListKind) -> Digest {
        let [tools, resources, prompts] = self.digests;
        match list {
            ListKind::Tools => tools,
            ListKind::Resources => resources,
            ListKind::Prompts => prompts,
        }
    }

    /// Whether anything of this kind is given at all.
    pub fn gives(&self, list: ListKind) -> bool {
        match list {
            ListKind::Tools => !self.tools.tools().is_empty(),
            ListKind::Resources => !self.resources.is_empty(),
            ListKind::Prompts => !self.prompts.is_empty(),
        }
    }

    /// Whether a list shows anything of this connector; of tools, any of these by their own names.
    pub fn shows(&self, list: ListKind, connector: &ConnectorId, tools: &[String]) -> bool {
        let is_one = |tool: &Arc<Tool>| {
            *tool.name.connector() == *connector
                && tool.name.tool().is_some_and(|name| tools.iter().any(|one| one == name.as_str()))
        };
        match list {
            ListKind::Tools => self.tools.tools().iter().any(is_one),
            ListKind::Resources => self.resources.contains(connector),
            ListKind::Prompts => self.prompts.contains(connector),
        }
    }
}

impl Gateway {
    /// Subscribes to a resource: the way that a wish to read it would walk, on record as every call is. `watcher` is told when it changes.
    pub async fn subscribe(&self, received: Received, watcher: Arc<dyn Watcher>) -> (Answer, Option<Subscription>) {
        self.subscribe_at(Pace::Task, received, watcher).await
    }

    async fn subscribe_at(&self, pace: Pace, received: Received, watcher: Arc<dyn Watcher>) -> (Answer, Option<Subscription>) {
        let ports = self.ports();
        let mut way = Way::open(&received, None, ports);
        let walked = AssertUnwindSafe(self.settle_watch(pace, &received, watcher, &mut way)).catch_unwind().await;
        let ended = walked.unwrap_or_else(|panic| {
            way.trace.root.error = Some("panic".to_owned());
            Err(Refusal::internal(format!("a panic in gate `{}`: {}", way.seen.gate, words_of(panic.as_ref()))))
        });
        let (ended, held) = match ended {
            Ok(Ok(held)) => (Ok(taken()), Some(held)),
            Ok(Err(answer)) => (Ok(answer), None),
            Err(refusal) => (Err(refusal), None),
        };
        let answer = way.close(ended, ports);
        // What is not on record is not held.
        let held = held.filter(|_| answer.outcome == Outcome::Success);
        (answer, held.map(|held| Subscription { received: Arc::new(received), held }))
    }

    /// Subscribes once more to what was lost: the whole way anew. It has no pace: no agent asks for it, and whoever does waits in between.
    pub async fn resubscribe(&self, lost: &Wish, call: CallId, watcher: Arc<dyn Watcher>) -> (Answer, Option<Subscription>) {
        let Asked::Item(ask) = lost.0.asked() else { return (Refusal::internal("it is no subscription").into_answer(), None) };
        let again = lost.0.about(ask.name.clone(), call, self.ports().clock.now_ns());
        self.subscribe_at(Pace::Own, again, watcher).await
    }

    async fn settle_watch<'r>(
        &self,
        mut pace: Pace,
        received: &'r Received,
        watcher: Arc<dyn Watcher>,
        way: &mut Way<'r>,
    ) -> Result<Result<Held, Answer>, Refusal> {
        way.begin(self.ports());
        for _ in 0..WALKS {
            match self.walk_watch(&mut pace, received, Arc::clone(&watcher), way).await {
                Ok(walked) => return Ok(walked.map_err(gates::Reply::into_answer)),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                Err(Stop::Stale) => tokio::task::yield_now().await,
                Err(Stop::Pending(_)) => return Err(Refusal::unwatchable("a person has to approve each read of it")),
            }
        }
        Err(Refusal::unsettled())
    }

    /// The way of a wish to hear of a resource.
    async fn walk_watch<'r>(
        &self,
        pace: &mut Pace,
        received: &'r Received,
        watcher: Arc<dyn Watcher>,
        way: &mut Way<'r>,
    ) -> Result<Result<Held, gates::Reply>, Stop> {
        let ports = self.ports();
        let call = gates::identify(received, ports, way).await?;
        let call = gates::grant(call, ports, way)?;
        // Once for the wish, however often it walks.
        if std::mem::replace(pace, Pace::Own) == Pace::Task {
            gates::pace(&call, ports)?;
        }
        let call = gates::validate(call, ports, way)?;
        let call = gates::permit(call, ports, way)?;
        let call = gates::approve(call, ports, way).await?;
        let call = gates::arm(call, ports, way).await?;
        let call = gates::record(call, ports, way).await?;
        Ok(gates::watch(call, watcher, ports, way).await?)
    }

    /// The name by which its subscriber may hear that this resource changed; `uri` is its server's own. None where it may not, or no more:
    /// it is asked whether it could read it now.
    pub async fn heard(&self, subscription: &Subscription, uri: &str) -> Option<String> {
        let held = &subscription.held;
        if held.grant.cancelled().is_cancelled() || held.lease.as_ref().is_some_and(|lease| lease.is_in(uri.as_bytes())) {
            return None;
        }
        let Asked::Item(asked) = subscription.received.asked() else { return None };
        let world = self.ports().worlds.now();
        let (tool, _) = world.item(Feature::ResourceRead, &asked.name)?;
        let name = world.exposed_item(tool, uri).into_owned();
        // What it is called must mean it, and nothing else.
        let is_it = world.item(Feature::ResourceRead, &name).is_some_and(|(of, own)| of.name == tool.name && own == uri);
        if !is_it {
            return None;
        }
        let call = subscription.received.call_id().clone();
        let wish = subscription.received.about(name.clone(), call, self.ports().clock.now_ns());
        let judged = self.judge(&wish).await;
        let is_same = judged.grant.is_some_and(|grant| Arc::ptr_eq(&grant, &held.grant));
        (is_same && judged.ended.is_ok_and(|needs| needs.is_empty())).then_some(name)
    }

    /// What the lists of whoever presents this show now: what they showed `before`, where nothing of it can be otherwise.
    pub async fn outlook(&self, presented: &Presented, before: Option<&Arc<Outlook>>) -> Result<Arc<Outlook>, Refusal> {
        let ports = self.ports();
        let proven = ports.identities.identify(presented).await;
        let principal = proven.map_err(|failure| Refusal::unauthenticated(&failure))?;
        if principal.agent.disabled {
            let failure = crate::ports::IdentityFailure::Disabled(principal.agent.id.clone());
            return Err(Refusal::unauthenticated(&failure));
        }
        let grant = gates::chosen_among(presented.grant.as_deref(), &principal, ports)?;
        // Before it is looked what is seen: what changes meanwhile is looked at again.
        let hidden = ports.halts.hidden();
        let revision = grant.as_ref().map_or(0, |grant| grant.chain_revision());
        let world = ports.worlds.now();
        let is_as_before = |before: &&Arc<Outlook>| {
            let is_same = match (&before.grant, &grant) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (None, None) => true,
                _ => false,
            };
            is_same
                && before.revision == revision
                && before.epoch == world.epoch
                && before.hidden == hidden
                && before.agent.as_ref() == Some(&principal.agent)
        };
        if let Some(before) = before.filter(is_as_before) {
            return Ok(Arc::clone(before));
        }
        let (agent, epoch) = (Some(Arc::clone(&principal.agent)), world.epoch);
        let Some(grant) = grant else {
            let nothing = Digest::of(b"");
            let (tools, resources, prompts) = (Arc::<ToolList>::default(), Vec::new(), Vec::new());
            let digests = [tools.digest(), nothing, nothing];
            return Ok(Arc::new(Outlook { agent, epoch, hidden, revision, grant: None, digests, tools, resources, prompts }));
        };
        let tools = gates::list(&world, &grant, &principal.agent, &ports.halts).await?;
        let (resources, of_resources) = given((&world, ports), &grant, &principal, Feature::ResourceRead);
        let (prompts, of_prompts) = given((&world, ports), &grant, &principal, Feature::PromptGet);
        let digests = [tools.digest(), of_resources, of_prompts];
        Ok(Arc::new(Outlook { agent, epoch, hidden, revision, grant: Some(grant), tools, resources, prompts, digests }))
    }

    /// From here on, and as long as what is returned lives, servers are heard that say of their lists that they changed.
    pub async fn hear(&self, grant: &Arc<LiveGrant>) -> Interest {
        self.ports().connectors.hear(grant).await
    }
}

/// The connectors of which this feature exists under this grant, and what makes the lists of it others.
fn given(
    (world, ports): (&Arc<World>, &Ports),
    grant: &Arc<LiveGrant>,
    principal: &Principal,
    feature: Feature,
) -> (Vec<ConnectorId>, Digest) {
    let (mut connectors, mut text) = (Vec::new(), String::new());
    let of_feature = world.features.values().filter(|tool| tool.name.feature() == Some(feature));
    let is_shown = |tool: &&Arc<Tool>| gates::visible(world, grant, &principal.agent, tool) && !ports.halts.hides(&tool.name);
    for tool in of_feature.filter(is_shown) {
        let connector = &tool.connector;
        connectors.push(connector.id.clone());
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "{} {} {}", connector.id, connector.fingerprint, world.is_bare(tool));
    }
    if !connectors.is_empty() {
        // Its bounds are its own, and say what of them is listed.
        let _infallible = write!(text, "{} {}", grant.terms().id, grant.terms().revision);
    }
    (connectors, Digest::of(text.as_bytes()))
}

/// What an agent of an older version is answered: nothing, and that is all.
fn taken() -> Answer {
    let result = ToolResult::read(&bytes::Bytes::from_static(b"{}")).unwrap_or_default();
    Answer { outcome: Outcome::Success, body: Body::Result(result) }
}
