//! Around the way: opens the trail, walks, holds for people, walks again, and closes the trail with exactly one outcome.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::{
    answer::{Answer, Body, ToolList, ToolPage},
    aside::Herald,
    catalogue::Tool,
    defer::Deferral,
    gates::{self, ScreenLimits, Stop},
    grant::LiveGrant,
    ids::{AgentId, GrantId},
    kept::{Handled, Kept},
    pages::Place,
    patience::Patience,
    ports::{Listing, Ports},
    received::{Asked, Received},
    records::Outcome,
    refusal::Refusal,
    search::{COMPLETING, DEFINITIONS, OwnTool, REQUESTING, STATUS},
    way::{Way, words_of},
};

/// How often a call walks the way, because what it rested on changed or a person decided, before it is refused.
const WALKS: usize = 9;

/// What an operator may set about the way.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a call is held for a person, before it is answered that one is to decide.
    pub hold: Duration,
    /// When a pending call is worth repeating.
    pub retry: Duration,
    /// How much may come back.
    pub screen: ScreenLimits,
    /// How long a list may be kept at most.
    pub list_ttl: Duration,
    /// How long the outcome of a call with an effect is kept that its agent could not be told of; nought keeps none.
    pub keep_outcome: Duration,
    /// Whether agents may ask what became of a call that is held for a person.
    pub status_tool: bool,
    /// How agents wait, where that is set for one alone.
    pub patience: Arc<BTreeMap<AgentId, Patience>>,
    /// Where people find the console: questions have a page there.
    pub console_url: Option<Arc<str>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(45),
            retry: Duration::from_secs(15),
            screen: ScreenLimits::default(),
            list_ttl: Duration::from_mins(1),
            keep_outcome: Duration::from_mins(2),
            status_tool: false,
            patience: Arc::default(),
            console_url: None,
        }
    }
}

/// What the first walk of a call took it for: the tool, and the grant that it acts under.
#[derive(Default)]
struct Meant(Option<(Arc<Tool>, GrantId)>);

impl Meant {
    /// A name may get another meaning between two walks, and another grant be the one that an agent acts under: the call was never meant for
    /// that tool, and whoever waits for a person under one grant does not go on under another.
    fn stays(&mut self, tool: &Arc<Tool>, grant: &LiveGrant) -> Result<(), Refusal> {
        let id = &grant.terms().id;
        match &self.0 {
            Some((before, under)) if before.name != tool.name || under != id => Err(Refusal::unsettled()),
            Some(_) => Ok(()),
            None => {
                self.0 = Some((Arc::clone(tool), id.clone()));
                Ok(())
            }
        }
    }
}

/// The gateway's core: the one entrance for requests.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) ports: Ports,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) kept: Arc<Kept>,
}

impl Gateway {
    /// A gateway over these ports.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let kept = Arc::new(Kept::new(Arc::clone(&ports.approvals), Arc::clone(&ports.clock), settings.keep_outcome));
        Self { ports, settings: Arc::new(ArcSwap::from_pointee(settings)), kept }
    }

    /// Replaces the settings, for this gateway and all its clones: calls that are held by now are held as long as they were to be.
    pub fn set_settings(&self, settings: Settings) {
        self.kept.keep_for(settings.keep_outcome);
        self.settings.store(Arc::new(settings));
    }

    /// Its ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Handles a request: exactly one answer, exactly one outcome on record, whatever happens. Dropping the future counts as
    /// the caller going away.
    pub fn handle<'r>(&'r self, received: &'r Received) -> impl Future<Output = Answer> + Send + 'r {
        self.attend(received, None, None).map(|handled| handled.answer)
    }

    /// The same, and `herald` is told what the agent wants to hear before the answer: progress and log messages.
    pub fn handle_telling<'r>(
        &'r self,
        received: &'r Received,
        herald: &'r dyn Herald,
    ) -> impl Future<Output = Answer> + Send + 'r {
        self.attend(received, Some(herald), None).map(|handled| handled.answer)
    }

    /// The same for whoever sees to it that the agent hears the answer, and says where it did not.
    pub fn handle_owing<'r>(
        &'r self,
        received: &'r Received,
        herald: Option<&'r dyn Herald>,
    ) -> impl Future<Output = Handled> + Send + 'r {
        self.attend(received, herald, None)
    }

    /// The same, and `deferral` is told when its agent need not wait for a person.
    pub(crate) async fn attend<'r>(
        &'r self,
        received: &'r Received,
        herald: Option<&'r dyn Herald>,
        deferral: Option<&'r Deferral>,
    ) -> Handled {
        let mut way = Way::open(received, herald, &self.ports);
        way.deferral = deferral;
        let walked = AssertUnwindSafe(self.settle(received, &mut way)).catch_unwind().await;
        let ended = walked.unwrap_or_else(|panic| {
            way.trace.root.error = Some("panic".to_owned());
            Err(Refusal::internal(format!("a panic in gate `{}`: {}", way.seen.gate, words_of(panic.as_ref()))))
        });
        let effect = way.seen.effect.take();
        let answer = way.close(ended, &self.ports);
        Handled { effect: effect.filter(|_| matches!(answer.body, Body::Result(_))), answer }
    }

    /// Walks until there is an answer. Holding happens here, outside the way.
    async fn settle<'r>(&self, received: &'r Received, way: &mut Way<'r>) -> Result<Answer, Refusal> {
        way.begin(&self.ports);
        let name = match received.asked() {
            Asked::Call { name, arguments } => match self.own_tool(name) {
                Some(own) => return self.search(received, own, arguments, way).await,
                None => name,
            },
            Asked::Item(ask) => &ask.name,
            Asked::Task(ask) => &ask.id,
            Asked::List { cursor } => return self.list(received, cursor.as_deref(), way).await,
            Asked::Offers { listing, cursor } => return self.offers(received, *listing, cursor.as_deref(), way).await,
        };
        let mut meant = Meant::default();
        let mut until = None;
        for _ in 0..WALKS {
            match self.walk(received, &mut meant, way).await {
                Ok(answer) => return Ok(answer),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                Err(Stop::Stale) => tokio::task::yield_now().await,
                // Apart, as it is rare: what every call waits in stays small.
                Err(Stop::Pending(question)) => {
                    if let Some(answer) = Box::pin(self.hold(*question, name, &mut until, way)).await? {
                        return Ok(answer);
                    }
                }
            }
        }
        Err(Refusal::unsettled())
    }

    /// The way of a call.
    async fn walk<'r>(&self, received: &'r Received, meant: &mut Meant, way: &mut Way<'r>) -> Result<Answer, Stop> {
        let ports = &self.ports;
        let call = gates::identify(received, ports, way).await?;
        let call = gates::grant(call, ports, way)?;
        if meant.0.is_none() {
            gates::pace(&call, ports)?;
        }
        meant.stays(call.tool(), call.grant())?;
        let call = gates::validate(call, ports, way)?;
        let call = gates::permit(call, ports, way)?;
        if let Some(answer) = gates::own_task(&call, ports, way)? {
            return Ok(answer);
        }
        if let Some(answer) = gates::kept(&call, &self.kept, ports, way)? {
            // It may reach nobody again.
            way.seen.effect = self.kept.effect_of(&answer, &way.seen, received);
            return Ok(answer);
        }
        // One that its agent answered questions for is another than the call that begins anew.
        let is_answered = call.validated().is_answered();
        let call = gates::approve(call, ports, way).await?;
        let call = gates::arm(call, ports, way).await?;
        let call = gates::record(call, ports, way).await?;
        let call = gates::send(call, ports, way).await?;
        let answer = gates::screen(call, self.settings.load().screen, ports, way)?.into_answer();
        gates::keep_result(ports, way).await?;
        way.seen.effect = if is_answered { None } else { self.kept.effect_of(&answer, &way.seen, received) };
        Ok(answer)
    }

    /// The tools of the grant that the request acts under: by the same decision as a call.
    async fn list<'r>(&self, received: &'r Received, cursor: Option<&str>, way: &mut Way<'r>) -> Result<Answer, Refusal> {
        let call = gates::identify(received, &self.ports, way).await?;
        let stage = way.enter("grant", "bailiwick.grant.resolve", &self.ports);
        let grant = gates::chosen_grant(received, call.principal(), &self.ports)?;
        let (mut list, mut ttl_ms, mut is_searched) = (Arc::<ToolList>::default(), 0, false);
        if let Some(grant) = grant {
            let world = self.ports.worlds.now();
            ttl_ms = self.kept_for(&grant);
            way.trace.note(stage, "bailiwick.grant.id", grant.terms().id.to_string());
            way.seen.grant = Some(Arc::clone(&grant));
            is_searched = grant.has_tool_search();
            if !is_searched {
                list = gates::list(&world, &grant, &call.principal().agent, &self.ports.halts).await?;
            }
        }
        let gives = |own: OwnTool| {
            let grant = way.seen.grant.as_ref().filter(|_| self.own_tool(own.name()).is_some());
            grant.is_some_and(|grant| own.is_of(grant, &self.ports.worlds.now()))
        };
        let ends = [(OwnTool::Complete, &COMPLETING), (OwnTool::Request, &REQUESTING), (OwnTool::Status, &STATUS)];
        let ends: Vec<&str> = ends.into_iter().filter(|(own, _)| gives(*own)).map(|(_, text)| text.as_str()).collect();
        let page = match cursor {
            None if is_searched => ToolPage::of_own(&DEFINITIONS),
            cursor => {
                let page = list.page(cursor).ok_or_else(Refusal::invalid_cursor)?;
                if received.origin().takes_tasks { page } else { page.without_tasks() }
            }
        };
        let page = ends.into_iter().fold(page, ToolPage::ending_with);
        way.decide_allow(&self.ports).map_err(|lost| Refusal::trail_lost(&lost))?;
        way.leave(stage, &self.ports);
        Ok(Answer { outcome: Outcome::Success, body: Body::Tools { page, ttl_ms } })
    }

    /// The gateway's own tool of this name, where there is one.
    pub(crate) fn own_tool(&self, name: &str) -> Option<OwnTool> {
        OwnTool::of(name).filter(|own| *own != OwnTool::Status || self.settings.load().status_tool)
    }

    /// One of the gateway's own tools: it is answered from the list that the grant has.
    async fn search<'r>(
        &self,
        received: &'r Received,
        own: OwnTool,
        arguments: &Bytes,
        way: &mut Way<'r>,
    ) -> Result<Answer, Refusal> {
        let call = gates::identify(received, &self.ports, way).await?;
        let call = gates::admit(&call, own, arguments, &self.ports, way)?;
        let result = match own {
            OwnTool::Complete => gates::complete(call, &self.ports, way).await?,
            OwnTool::Request => gates::request(call, &self.ports, way).await?,
            OwnTool::Status => gates::status(call, &self.ports, way).await?,
            OwnTool::Search | OwnTool::Describe => gates::search(call, &self.ports, way).await?,
        };
        Ok(Answer { outcome: Outcome::Success, body: Body::Result(result) })
    }

    /// What the connectors of the grant offer besides tools.
    async fn offers<'r>(
        &self,
        received: &'r Received,
        listing: Listing,
        cursor: Option<&str>,
        way: &mut Way<'r>,
    ) -> Result<Answer, Refusal> {
        let call = gates::identify(received, &self.ports, way).await?;
        let stage = way.enter("grant", "bailiwick.grant.resolve", &self.ports);
        let grant = gates::chosen_grant(received, call.principal(), &self.ports)?;
        let (mut items, mut ttl_ms, mut place) = (Vec::new(), 0, Place::of(cursor, 0, None));
        if let Some(grant) = grant {
            way.trace.note(stage, "bailiwick.grant.id", grant.terms().id.to_string());
            way.seen.grant = Some(Arc::clone(&grant));
            gates::pace_of_task(&grant, &self.ports)?;
            way.leave(stage, &self.ports);
            // Before any server hears of it.
            way.decide_allow(&self.ports).map_err(|lost| Refusal::trail_lost(&lost))?;
            items = gates::offers(&call, &grant, listing, &self.ports, way).await?;
            ttl_ms = self.kept_for(&grant);
            place = gates::page_of(&items, cursor, listing, &grant);
        } else {
            way.decide_allow(&self.ports).map_err(|lost| Refusal::trail_lost(&lost))?;
        }
        let Place { range, next } = place.ok_or_else(Refusal::invalid_cursor)?;
        let page = items.get(range).unwrap_or_default();
        let items = gates::array_of(page).ok_or_else(|| Refusal::internal("what is offered makes no list"))?;
        Ok(Answer { outcome: Outcome::Success, body: Body::Offers { listing, items, next, ttl_ms } })
    }

    /// How long a list may be kept, milliseconds: never longer than the grant and those above it live.
    fn kept_for(&self, grant: &LiveGrant) -> u64 {
        let ends = grant.chain().map(|grant| grant.terms().expires_at_ms).min().unwrap_or(0);
        let left = ends.saturating_sub(self.ports.clock.now_ms());
        left.min(u64::try_from(self.settings.load().list_ttl.as_millis()).unwrap_or(u64::MAX))
    }
}
