//! Revocation against calls at every step of their way: whatever is revoked, no write downstream begins once that has returned.
//!
//! A real gateway, with its real store, trail, grants and policies; only its ways out are replaced by one that notes the instant of each
//! write. Around the ports there are barriers, one before each gate and one while the answer streams in: the calls of a round stand at them
//! when the revocation begins. Some are let go while it works, the others once it has returned.
//!
//! `cargo test` makes some rounds of each kind; `RACES_ROUNDS` says how many (`tests/races/run` makes 10,000).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking, and read the environment and the clock as a user would"
)]

mod barriers;
mod house;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bailiwick_pipeline::{grant::LiveGrant, records::Outcome};
use bailiwick_store::EndAs;
use tokio::task::JoinHandle;

use self::{
    barriers::{Log, Plan, Point},
    house::{Heard, House, INSTANCE},
};

/// Calls of a round.
const CALLS: usize = 4;
/// Long enough for any machine.
const LONG: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grant,
    Agent,
    Instance,
    Connector,
    Tool,
    Everything,
}

/// What is called, with what, and where such a call can stand.
const TOOLS: [(&str, &str, &[Point]); 4] = [
    ("shop__get_product", r#"{"sku":"MUG-1"}"#, &Point::OF_ALL),
    ("shop__restock", r#"{"sku":"MUG-1","quantity":1}"#, &Point::OF_WRITES),
    ("tickets__get", r#"{"id":"T-17"}"#, &Point::OF_LENT),
    // Each asks a question of its own: `#` stands for a number that no other call has.
    ("shop__set_price", r#"{"sku":"MUG-1","price_cents":#}"#, &Point::OF_HELD),
];

/// Small numbers without a pattern (xorshift64*), the same in each run of the same rounds.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }
}

fn rounds() -> usize {
    std::env::var("RACES_ROUNDS").map_or(100, |given| given.parse().unwrap())
}

/// A call of a round.
struct Runner {
    plan: Arc<Plan>,
    call: JoinHandle<Heard>,
    /// Let go only once the revocation has returned.
    is_late: bool,
}

/// What is revoked in a round, and brought back after it.
struct Target {
    kind: Kind,
    grant: Arc<LiveGrant>,
    tool: usize,
}

impl Target {
    fn halt(&self) -> String {
        let (name, ..) = TOOLS[self.tool];
        match self.kind {
            Kind::Instance => format!("instance:demo/{INSTANCE}"),
            Kind::Connector => format!("connector:{}", name.split_once("__").unwrap().0),
            Kind::Tool => format!("tool:{name}"),
            _ => "everything".to_owned(),
        }
    }

    async fn revoke(&self, house: &House) -> bool {
        let runtime = &house.runtime;
        match self.kind {
            Kind::Grant => {
                let id = &self.grant.terms().id;
                let ended = runtime.grants.end(id, EndAs::Revoked, "races", None, runtime.clock.now_ms()).await.unwrap();
                runtime.after_end(id, "races").await.unwrap();
                ended.was_active && ended.drained
            }
            Kind::Agent => {
                let disabled = runtime.disable(&"demo".parse().unwrap(), "races", None).await.unwrap();
                assert!(disabled.grants.contains(&self.grant.terms().id));
                disabled.was_new && disabled.drained
            }
            _ => {
                let halted = runtime.halt(&self.halt().parse().unwrap(), "races", None).await.unwrap();
                halted.was_new && halted.drained
            }
        }
    }

    async fn bring_back(self, house: &House) -> Arc<LiveGrant> {
        match self.kind {
            Kind::Grant => house.grant().await,
            Kind::Agent => {
                assert!(house.runtime.enable(&"demo".parse().unwrap()).await.unwrap());
                house.grant().await
            }
            _ => {
                assert!(house.runtime.thaw(&self.halt().parse().unwrap()).await.unwrap());
                self.grant
            }
        }
    }
}

/// Sends the calls of a round to where they are to stand. One that stands in the commit holds the lock of its grant: it goes last.
async fn line_up(target: &Target, house: &Arc<House>, dice: &mut Dice) -> Vec<Runner> {
    let mut wanted: Vec<(usize, Point)> = (0..CALLS)
        .map(|_| {
            let is_of_tool = matches!(target.kind, Kind::Connector | Kind::Tool);
            let tool = if is_of_tool { target.tool } else { dice.below(TOOLS.len()) };
            let points = TOOLS[tool].2;
            (tool, points[dice.below(points.len())])
        })
        .collect();
    wanted.sort_by_key(|(_, point)| *point == Point::Intent);
    while wanted.iter().filter(|(_, point)| *point == Point::Intent).count() > 1 {
        wanted.pop();
    }
    let mut runners = Vec::new();
    for (tool, point) in wanted {
        let (name, arguments, _) = TOOLS[tool];
        let plan = Plan::new(point);
        let call = house.call(name, arguments, &target.grant, Arc::clone(&plan));
        plan.reached(LONG).await;
        // What can't be interrupted is waited for.
        let is_late = !matches!(point, Point::Intent | Point::Write) && dice.below(2) == 0;
        runners.push(Runner { plan, call, is_late });
    }
    runners
}

struct Round {
    late_writes: usize,
    last_byte: Duration,
}

async fn round(target: &Target, house: &Arc<House>, dice: &mut Dice) -> Round {
    let runners = line_up(target, house, dice).await;
    let delays: Vec<usize> = runners.iter().map(|_| dice.below(400)).collect();
    let early: Vec<(Arc<Plan>, usize)> = runners
        .iter()
        .zip(delays)
        .filter(|(runner, _)| !runner.is_late)
        .map(|(runner, delay)| (Arc::clone(&runner.plan), delay))
        .collect();
    let letting_go = std::thread::spawn(move || {
        for (plan, delay) in early {
            let until = Instant::now() + Duration::from_micros(u64::try_from(delay).unwrap());
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            plan.let_go();
        }
    });
    let began = Instant::now();
    let done = tokio::time::timeout(LONG, target.revoke(house)).await.unwrap();
    let returned = Instant::now();
    assert!(done, "{:?}: not all that was being written had ended", target.kind);
    letting_go.join().unwrap();
    for runner in &runners {
        runner.plan.let_go();
    }
    for runner in runners {
        let heard = tokio::time::timeout(LONG, runner.call).await.unwrap().unwrap();
        let fits = [Outcome::ToolError, Outcome::Cancelled, Outcome::Denied, Outcome::Unauthenticated, Outcome::ApprovalPending];
        assert!(fits.contains(&heard.outcome), "{:?} at {:?}: {heard:?}", target.kind, runner.plan.point());
        if heard.outcome == Outcome::ToolError {
            house.log.forwarded(heard.at);
        }
    }
    // And none is authorized anew.
    let (name, arguments, _) = TOOLS[target.tool];
    let heard = house.call(name, arguments, &target.grant, Plan::free()).await.unwrap();
    assert!(matches!(heard.outcome, Outcome::Denied | Outcome::Unauthenticated), "{:?}: {heard:?}", target.kind);
    let Log { writes, forwarded } = house.log.take();
    let late_writes = writes.iter().filter(|begun| **begun > returned).count();
    let last = writes.into_iter().chain(forwarded).max().filter(|last| *last > began);
    assert_eq!(house.runtime.gateway.ports().halts.flights(), 0, "{:?}: something is still in flight", target.kind);
    Round { late_writes, last_byte: last.map_or(Duration::ZERO, |last| last - began) }
}

async fn race(kind: Kind) {
    let (house, mut dice) = (House::open().await, Dice(0x9E37_79B9_7F4A_7C15 ^ (kind as u64 + 1)));
    let (mut grant, mut late_writes, mut last_bytes) = (house.grant().await, 0, Vec::new());
    for _ in 0..rounds() {
        let target = Target { kind, grant, tool: dice.below(TOOLS.len()) };
        let round = round(&target, &house, &mut dice).await;
        late_writes += round.late_writes;
        last_bytes.push(round.last_byte);
        grant = target.bring_back(&house).await;
        house.forget_questions().await;
    }
    last_bytes.sort();
    let at = |share: usize| last_bytes[(last_bytes.len() - 1) * share / 100].as_micros();
    // For whoever runs it: from the beginning of the revocation to the last byte that was written downstream or told to the agent.
    println!(
        "\nrevoked={kind:?} rounds={} late_writes={late_writes} p50={}us p99={}us max={}us",
        last_bytes.len(),
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(late_writes, 0, "{kind:?}");
    assert!(last_bytes.last().unwrap() < &Duration::from_secs(10), "{kind:?}: {last_bytes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_write_begins_once_a_grant_is_revoked() {
    race(Kind::Grant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_write_begins_once_an_agent_is_disabled() {
    race(Kind::Agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_write_begins_once_an_instance_is_frozen() {
    race(Kind::Instance).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_write_begins_once_a_connector_is_frozen() {
    race(Kind::Connector).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_write_begins_once_a_tool_is_frozen() {
    race(Kind::Tool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn no_write_begins_once_everything_is_frozen() {
    race(Kind::Everything).await;
}
