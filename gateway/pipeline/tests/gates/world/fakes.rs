//! Ports in memory. Each can be hooked, blocked and lost at a named point, and notes that the point was reached.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bailiwick_pipeline::{
    aside::Ear,
    catalogue::{Tool, World},
    gates::{Outgoing, RawReply, Watching},
    grant::LiveGrant,
    ids::{AgentId, GrantId},
    ports::{
        AccessFailure, AccessState, AccessTicket, AccessWanted, Channel, Clock, ConnectFailure, Connectors, Credentials, Endings,
        Grants, Identities, IdentityFailure, Later, Lease, LendFailure, Listing, Loan, Offers, Requests, SendFailure, Tracer,
        Trail, TrailLost, Wanted, Watch, Watched, Worlds,
    },
    principal::{Presented, Principal},
    records::{DecisionRecord, DetectionRecord, IntentRecord, LabelledRecord, OutcomeRecord, SecretRecord},
    trace::CallTrace,
};
use bailiwick_schemas::{canonical::Digest, names::ConnectorId};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::approvals::Question;

/// Where the clock stands at first: 14 h UTC.
pub const START_MS: u64 = 1_790_000_000_000;

/// A call as it went out.
#[derive(Debug, Clone)]
pub struct Sent {
    pub call: String,
    pub connector: String,
    pub tool: String,
    pub item: Option<String>,
    pub arguments: String,
    pub capabilities: Option<String>,
    pub answers: Option<(String, Option<String>)>,
    pub traceparent: Option<String>,
    pub meta: String,
    pub has_ear: bool,
    pub method: &'static str,
    pub takes_task: bool,
}

/// Tools, why, and for how long.
pub type Wish = (Vec<String>, String, Option<u64>);
type Hook = Box<dyn FnOnce() + Send>;
type Saying = Box<dyn Fn(&Ear) + Send>;
type Offering = Box<dyn Fn(Listing) -> Result<Arc<Offers>, SendFailure> + Send>;
type Replying = Box<dyn Fn(&Outgoing) -> Result<RawReply, SendFailure> + Send>;

pub struct Fakes {
    me: Weak<Fakes>,
    clock_ns: AtomicU64,
    hooks: Mutex<Vec<(&'static str, Hook)>>,
    reached: watch::Sender<Vec<&'static str>>,
    blocked: watch::Sender<BTreeSet<&'static str>>,
    lost: Mutex<BTreeSet<&'static str>>,
    pub principal: Mutex<Result<Principal, IdentityFailure>>,
    pub grants: Mutex<Vec<Arc<LiveGrant>>>,
    pub world: Mutex<Arc<World>>,
    pub questions: watch::Sender<Vec<Question>>,
    pub asking: Mutex<Result<(), bailiwick_pipeline::ports::ApprovalFailure>>,
    /// Whether questions are for the agent's own user.
    pub for_user: AtomicBool,
    /// The approval under which calls of its like may go, and how many.
    pub allowing: Mutex<Option<(bailiwick_pipeline::ids::ApprovalId, u32)>>,
    /// Which parts of a call can be kept, and what was.
    pub keeps: Mutex<Vec<&'static str>>,
    pub kept: Mutex<Vec<(&'static str, String)>>,
    pub loan: Mutex<Result<Option<Loan>, LendFailure>>,
    /// The leases that were in what servers sent.
    pub leaked: Mutex<Vec<String>>,
    /// What is lent under the grant for other connectors.
    pub others: Mutex<Vec<(ConnectorId, Arc<Lease>)>>,
    pub readiness: Mutex<Result<(), ConnectFailure>>,
    pub reply: Mutex<Replying>,
    /// What a server says before it answers.
    pub asides: Mutex<Saying>,
    /// What it asks then, by method and params, and what it was answered: none where that was refused.
    pub wonders: Mutex<Vec<(&'static str, String)>>,
    pub answered: Mutex<Vec<Option<String>>>,
    pub offers: Mutex<Offering>,
    pub sent: Mutex<Vec<Sent>>,
    /// What is watched: its server, and its name there.
    pub watched: Mutex<Vec<String>>,
    /// Why nothing is: what the server answers, or that it does not.
    pub unwatched: Mutex<Option<Result<(i64, String), SendFailure>>>,
    pub dropped_in_flight: AtomicU64,
    /// What the end of a task by its agent comes to: whether nothing is being written any more.
    pub drained: Mutex<Result<bool, String>>,
    /// What agents asked for beyond their grants: the tools, the reason, for how long.
    pub wishes: Mutex<Vec<Wish>>,
    /// What they are answered.
    pub wished: Mutex<Result<AccessState, AccessFailure>>,
    records: Mutex<Vec<Value>>,
    pub traces: Mutex<Vec<CallTrace>>,
    pub admits_strangers: AtomicBool,
}

impl Fakes {
    pub fn new(world: Arc<World>, principal: Principal) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            clock_ns: AtomicU64::new(START_MS * 1_000_000),
            hooks: Mutex::default(),
            reached: watch::Sender::default(),
            blocked: watch::Sender::default(),
            lost: Mutex::default(),
            principal: Mutex::new(Ok(principal)),
            grants: Mutex::default(),
            world: Mutex::new(world),
            questions: watch::Sender::default(),
            asking: Mutex::new(Ok(())),
            for_user: AtomicBool::new(false),
            allowing: Mutex::default(),
            keeps: Mutex::default(),
            kept: Mutex::default(),
            loan: Mutex::new(Ok(None)),
            leaked: Mutex::default(),
            others: Mutex::default(),
            readiness: Mutex::new(Ok(())),
            reply: Mutex::new(Box::new(|_| Ok(RawReply::result(Bytes::from_static(super::PLAIN.as_bytes()))))),
            asides: Mutex::new(Box::new(|_| ())),
            wonders: Mutex::default(),
            answered: Mutex::default(),
            offers: Mutex::new(Box::new(|_| Ok(Arc::default()))),
            sent: Mutex::default(),
            watched: Mutex::default(),
            unwatched: Mutex::default(),
            dropped_in_flight: AtomicU64::new(0),
            drained: Mutex::new(Ok(true)),
            wishes: Mutex::default(),
            wished: Mutex::new(Ok(AccessState::Pending)),
            records: Mutex::default(),
            traces: Mutex::default(),
            admits_strangers: AtomicBool::new(true),
        })
    }

    /// Runs `hook` the next time that `point` is reached.
    pub fn at(&self, point: &'static str, hook: impl FnOnce() + Send + 'static) {
        self.hooks.lock().unwrap().push((point, Box::new(hook)));
    }

    /// Whoever reaches this point waits there.
    pub fn block(&self, point: &'static str) {
        self.blocked.send_modify(|points| _ = points.insert(point));
    }

    pub fn unblock(&self, point: &'static str) {
        self.blocked.send_modify(|points| _ = points.remove(point));
    }

    /// From now on the trail is lost at this point.
    pub fn lose(&self, point: &'static str) {
        self.lost.lock().unwrap().insert(point);
    }

    pub fn find_again(&self) {
        self.lost.lock().unwrap().clear();
    }

    /// Every point reached so far, in order.
    pub fn points(&self) -> Vec<&'static str> {
        self.reached.borrow().clone()
    }

    pub fn count(&self, point: &str) -> usize {
        self.reached.borrow().iter().filter(|reached| **reached == point).count()
    }

    /// Waits until the point has been reached so often.
    pub async fn reached(&self, point: &'static str, times: usize) {
        let mut reached = self.reached.subscribe();
        let enough = |points: &Vec<&str>| points.iter().filter(|reached| **reached == point).count() >= times;
        let waiting = reached.wait_for(enough);
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.unwrap().unwrap();
    }

    pub fn set_ms(&self, ms: u64) {
        self.clock_ns.store(ms * 1_000_000, Ordering::SeqCst);
    }

    pub fn advance_ms(&self, ms: u64) {
        self.clock_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
    }

    /// All records of a stream that belong to a call.
    pub fn records(&self, stream: &str, call: &str) -> Vec<Value> {
        let of = |record: &&Value| record["stream"] == stream && record["call_id"] == call;
        self.records.lock().unwrap().iter().filter(of).cloned().collect()
    }

    /// All that was ever put on record, as text.
    pub fn all_records(&self) -> String {
        self.records.lock().unwrap().iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn reach(&self, point: &'static str) {
        self.reached.send_modify(|points| points.push(point));
        let hook = {
            let mut hooks = self.hooks.lock().unwrap();
            hooks.iter().position(|(at, _)| *at == point).map(|at| hooks.remove(at).1)
        };
        if let Some(hook) = hook {
            hook();
        }
    }

    pub(super) async fn pass(&self, point: &'static str) {
        self.reach(point);
        let mut blocked = self.blocked.subscribe();
        blocked.wait_for(|points| !points.contains(point)).await.unwrap();
    }

    fn keep<T: serde::Serialize>(&self, point: &'static str, stream: &str, now_ms: u64, record: &T) -> Result<(), TrailLost> {
        self.reach(point);
        if self.lost.lock().unwrap().contains(point) {
            return Err(TrailLost("no space left on device".to_owned()));
        }
        let mut value = serde_json::to_value(record).unwrap();
        value["stream"] = json!(stream);
        value["at_ms"] = json!(now_ms);
        self.records.lock().unwrap().push(value);
        Ok(())
    }
}

impl Clock for Fakes {
    fn now_ns(&self) -> u64 {
        self.reach("now");
        self.clock_ns.fetch_add(1_000, Ordering::SeqCst)
    }

    fn random(&self) -> [u8; 16] {
        // Never the same twice.
        let before = u32::try_from(self.count("random")).unwrap().to_be_bytes();
        self.reach("random");
        std::array::from_fn(|at| 7 ^ at.checked_sub(12).map_or(0, |at| before[at]))
    }
}

impl Identities for Fakes {
    fn identify<'a>(&'a self, _: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        Box::pin(async {
            self.pass("identify").await;
            self.principal.lock().unwrap().clone()
        })
    }
}

impl Grants for Fakes {
    fn by_id(&self, id: &GrantId) -> Option<Arc<LiveGrant>> {
        self.reach("by_id");
        self.grants.lock().unwrap().iter().find(|grant| grant.terms().id == *id).cloned()
    }

    /// All of them: that the agent gets only its own is the gate's duty too.
    fn of(&self, _: &AgentId) -> Vec<Arc<LiveGrant>> {
        self.reach("grants_of");
        self.grants.lock().unwrap().clone()
    }
}

impl Worlds for Fakes {
    fn now(&self) -> Arc<World> {
        self.reach("world");
        Arc::clone(&self.world.lock().unwrap())
    }
}

impl Credentials for Fakes {
    fn lend<'a>(&'a self, _: Wanted<'a>) -> Later<'a, Result<Option<Loan>, LendFailure>> {
        Box::pin(async {
            self.pass("lend").await;
            self.loan.lock().unwrap().clone()
        })
    }

    fn leaked(&self, _: &Arc<LiveGrant>, _: &ConnectorId, lease: &Lease) {
        self.leaked.lock().unwrap().push(lease.id.clone());
        // What was shown is lent no more.
        self.others.lock().unwrap().retain(|(_, other)| other.id != lease.id);
    }

    fn lent(&self, _: &LiveGrant) -> Vec<(ConnectorId, Arc<Lease>)> {
        self.others.lock().unwrap().clone()
    }
}

impl Connectors for Fakes {
    fn ready<'a>(
        &'a self,
        _: &'a Arc<Tool>,
        _: &'a Arc<LiveGrant>,
        _: Option<&'a Arc<Lease>>,
        _: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async {
            self.pass("ready").await;
            self.readiness.lock().unwrap().clone()?;
            Ok(Box::new(Line(self.me.upgrade().unwrap())) as Box<dyn Channel>)
        })
    }
}

/// A watch that is never lost.
struct Kept;

impl Watch for Kept {
    fn lost(&self) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
}

struct Line(Arc<Fakes>);

impl Channel for Line {
    fn send(self: Box<Self>, mut outgoing: Outgoing) -> Later<'static, Result<RawReply, SendFailure>> {
        Box::pin(async move {
            let fakes = Arc::clone(&self.0);
            let flight = Flight(Arc::clone(&self.0), false);
            let ear = outgoing.take_ear();
            fakes.pass("send").await;
            fakes.sent.lock().unwrap().push(Sent {
                call: outgoing.call().to_string(),
                connector: outgoing.name().connector().to_string(),
                tool: outgoing.name().tool().map_or_else(|| outgoing.method().to_owned(), ToString::to_string),
                item: outgoing.item().map(str::to_owned),
                arguments: String::from_utf8(outgoing.arguments().to_vec()).unwrap(),
                capabilities: outgoing.capabilities().map(str::to_owned),
                answers: outgoing
                    .answers()
                    .map(|(responses, state)| (String::from_utf8(responses.to_vec()).unwrap(), state.map(str::to_owned))),
                traceparent: outgoing.traceparent().map(str::to_owned),
                meta: String::from_utf8(outgoing.meta().to_vec()).unwrap(),
                has_ear: ear.is_some(),
                method: outgoing.method(),
                takes_task: outgoing.takes_task(),
            });
            fakes.pass("write").await;
            outgoing.when_written()();
            if let Some(ear) = &ear {
                (fakes.asides.lock().unwrap())(ear);
            }
            let wonders = fakes.wonders.lock().unwrap().clone();
            let asked: Vec<_> = wonders.iter().map(|(method, params)| ear.as_ref()?.ask(method, params.as_bytes())).collect();
            for answer in asked {
                let answer = match answer {
                    Some(answer) => answer.await.ok().map(|answer| String::from_utf8(answer.text().to_vec()).unwrap()),
                    None => None,
                };
                fakes.answered.lock().unwrap().push(answer);
            }
            fakes.pass("said").await;
            fakes.pass("answer").await;
            let reply = (fakes.reply.lock().unwrap())(&outgoing);
            flight.landed();
            reply
        })
    }

    fn watch(self: Box<Self>, mut watching: Watching) -> Later<'static, Result<Watched, SendFailure>> {
        Box::pin(async move {
            self.0.pass("watch").await;
            watching.when_written()();
            if let Some(said) = self.0.unwatched.lock().unwrap().clone() {
                return said.map(|(code, message)| Watched::Refused { code, message, data: None });
            }
            self.0.watched.lock().unwrap().push(format!("{} {}", watching.name().connector(), watching.uri()));
            Ok(Watched::Held(Box::new(Kept)))
        })
    }

    fn offers(&self, listing: Listing) -> Later<'_, Result<Arc<Offers>, SendFailure>> {
        Box::pin(async move {
            self.0.pass("offers").await;
            (self.0.offers.lock().unwrap())(listing)
        })
    }
}

/// Notes when a call is dropped before it was answered.
struct Flight(Arc<Fakes>, bool);

impl Flight {
    fn landed(mut self) {
        self.1 = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped_in_flight.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Trail for Fakes {
    fn decision(&self, now_ms: u64, record: &DecisionRecord<'_>) -> Result<(), TrailLost> {
        self.keep("decision", "decisions", now_ms, record)
    }

    fn intent(&self, now_ms: u64, record: &IntentRecord<'_>) -> Result<u64, TrailLost> {
        self.keep("intent", "calls", now_ms, record).map(|()| 77)
    }

    fn labelled(&self, now_ms: u64, record: &LabelledRecord<'_>) -> Result<(), TrailLost> {
        self.keep("labelled", "calls", now_ms, record)
    }

    fn outcome(&self, now_ms: u64, record: &OutcomeRecord<'_>) -> Result<(), TrailLost> {
        self.keep("outcome", "calls", now_ms, record)
    }

    fn secret(&self, now_ms: u64, record: &SecretRecord<'_>) -> Result<(), TrailLost> {
        self.keep("secret", "secrets", now_ms, record)
    }

    fn detection(&self, now_ms: u64, record: &DetectionRecord<'_>) -> Result<(), TrailLost> {
        self.keep("detection", "detections", now_ms, record)
    }

    fn synced(&self, intent: u64) -> Later<'_, Result<(), TrailLost>> {
        Box::pin(async move {
            assert_eq!(intent, 77);
            self.pass("sync").await;
            if self.lost.lock().unwrap().contains("sync") {
                return Err(TrailLost("input/output error".to_owned()));
            }
            self.reach("synced");
            Ok(())
        })
    }

    fn keyed_digest(&self, bytes: &[u8]) -> String {
        self.reach("mac");
        // What stands for masked arguments is compared; of everything else the length tells enough.
        if bytes.starts_with(b"bailiwick.masked") {
            return format!("mac:{}", Digest::of(&[b"a key", bytes].concat()));
        }
        format!("mac:{}", String::from_utf8_lossy(bytes).len())
    }

    fn admits_stranger(&self, _: u64) -> bool {
        self.admits_strangers.load(Ordering::SeqCst)
    }
}

impl Endings for Fakes {
    fn complete<'a>(&'a self, _: &'a GrantId, _: &'a AgentId, _: &'a str) -> Later<'a, Result<bool, String>> {
        Box::pin(std::future::ready(self.drained.lock().unwrap().clone()))
    }
}

impl Requests for Fakes {
    fn request<'a>(&'a self, wanted: AccessWanted<'a>) -> Later<'a, Result<AccessTicket, AccessFailure>> {
        Box::pin(async move {
            self.pass("wish").await;
            let tools = wanted.tools.iter().map(ToString::to_string).collect();
            self.wishes.lock().unwrap().push((tools, wanted.reason.to_owned(), wanted.for_ms));
            let state = self.wished.lock().unwrap().clone()?;
            Ok(AccessTicket { id: "req-1".parse().unwrap(), state })
        })
    }
}

impl Tracer for Fakes {
    fn finish(&self, trace: CallTrace) {
        self.reach("trace");
        self.traces.lock().unwrap().push(trace);
    }
}
