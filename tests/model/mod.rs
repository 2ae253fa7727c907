//! The decision of the product against a plain model of it that was written from the design: the real gates, the real policies and grants,
//! with approvals, budgets and the clock in memory, over many random calls.
//!
//! `MODEL_CASES` says how many calls (`tests/policy/run` makes 1,000,000); some hundreds otherwise.

mod chance;
mod decision;
mod text;

use std::{collections::BTreeSet, sync::Arc};

use bailiwick_pipeline::{
    catalogue::World,
    constraint::{Bound, IntRange},
    grant::{Budget, Capability, Grant, LiveGrant, Standing},
    ports::TicketState,
    principal::AuthMethod,
    records::Outcome,
};
use bailiwick_policy::{AgentFacts, Band, Directory};

use self::{
    chance::Dice,
    decision::{Expected, GrantSpec, House, Limit, State, Usage, expected, happened},
};
use crate::world::{Bench, Heard, START_MS, Told, catalogue};

/// Calls of one task, one after the other.
const CALLS: usize = 20;
/// Tasks under one bundle: compiling one takes longer than a task.
const TASKS: usize = 100;

fn cases() -> usize {
    std::env::var("MODEL_CASES").map_or(1_000, |given| given.replace('_', "").parse().unwrap())
}

fn world(number: u64, house: &House) -> Arc<World> {
    let rules: Vec<String> = house.rules.iter().map(text::of).collect();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let agent = |id: &'static str| {
        let facts = AgentFacts {
            groups: names(&house.groups[id]),
            team: house.team_of_agent.get(id).map(|team| (*team).to_owned()),
            trust: u8::try_from(house.trust[id]).unwrap(),
        };
        (id.to_owned(), facts)
    };
    let teams = [("payments".to_owned(), names(&["owner@example.com"])), ("night".to_owned(), names(&[]))];
    let directory =
        Directory { groups: names(&["support", "batch"]), teams: teams.into(), agents: ["bot", "lead"].map(agent).into() };
    Arc::new(World { directory: Arc::new(directory), ..catalogue::world(number, &rules.join("\n")) })
}

fn terms(spec: &GrantSpec) -> Grant {
    let bound = |limit: &Limit| match limit {
        Limit::Eq(value) => Bound { eq: Some(value.clone()), ..Bound::default() },
        Limit::OneOf(values) => Bound { one_of: Some(values.clone()), ..Bound::default() },
        Limit::Between(min, max) => Bound { int_range: Some(IntRange { min: Some(*min), max: Some(*max) }), ..Bound::default() },
        Limit::LengthAtMost(most) => Bound { len_max: Some(*most), ..Bound::default() },
        Limit::Absent => Bound { absent: true, ..Bound::default() },
    };
    let rights = spec.rights.iter().map(|right| Capability {
        tools: right.tools.parse().unwrap(),
        kinds: right.kinds.as_ref().map(|kinds| kinds.iter().copied().collect()),
        args: right.bounds.iter().map(|(name, limit)| (format!("/{name}"), bound(limit))).collect(),
    });
    let words = |words: &BTreeSet<&str>| words.iter().map(|word| (*word).to_owned()).collect();
    Grant {
        owner: spec.owner.to_owned(),
        purpose: "model".to_owned(),
        ceiling: spec.ceiling,
        environment: spec.environment.to_owned(),
        data_classes: spec.data_classes.as_ref().map(words),
        destinations: spec.has_destinations.then(|| ["example.com".to_owned()].into()),
        budget: Budget { calls: spec.calls, writes: spec.writes, ..Budget::default() },
        ..Grant::bare(spec.id.parse().unwrap(), spec.agent.parse().unwrap(), rights.collect(), spec.from_ms..spec.until_ms)
    }
}

/// What the product did, against what the model says: none where they agree.
fn difference(wanted: &Expected, heard: &Heard) -> Option<String> {
    let is_unknown = matches!(heard.told(), Told::Error(-32602, text, ..) if text.starts_with("Unknown tool"));
    let outcome = heard.answer.outcome;
    let stopped = heard.sent() == 0 && !matches!(outcome, Outcome::Success | Outcome::ApprovalPending);
    let agree = match wanted {
        Expected::NotGranted => is_unknown && stopped,
        Expected::Refused | Expected::Forbidden => stopped,
        Expected::Exhausted => stopped && !is_unknown && heard.text().contains("budget"),
        Expected::Waits(rules) => {
            let mut named: Vec<String> = serde_json::from_value(heard.decision()["rules"].clone()).unwrap_or_default();
            named.sort();
            outcome == Outcome::ApprovalPending && heard.sent() == 0 && named == *rules
        }
        Expected::Runs(_) => outcome == Outcome::Success && heard.sent() == 1,
    };
    (!agree).then(|| format!("wanted {wanted:?}, was {outcome:?}, {:?}\n{}", heard.told(), heard.decision()))
}

/// How often each came out.
#[derive(Default, Debug)]
struct Tally {
    not_granted: usize,
    refused: usize,
    forbidden: usize,
    waits: usize,
    exhausted: usize,
    ran: usize,
    by_approval: usize,
    listed: usize,
}

impl Tally {
    fn count(&mut self, expected: &Expected) {
        match expected {
            Expected::NotGranted => self.not_granted += 1,
            Expected::Refused => self.refused += 1,
            Expected::Forbidden => self.forbidden += 1,
            Expected::Waits(_) => self.waits += 1,
            Expected::Exhausted => self.exhausted += 1,
            Expected::Runs(asks) => {
                self.ran += 1;
                self.by_approval += usize::from(!asks.is_empty());
            }
        }
    }
}

/// One task from its first call to its last.
async fn task(house: &House, world: &Arc<World>, dice: &mut Dice, tally: &mut Tally) {
    let specs: Vec<GrantSpec> = (0..=dice.below(3).saturating_sub(dice.below(2))).map(|at| chance::grant(at, dice)).collect();
    let mut above: Option<Arc<LiveGrant>> = None;
    for spec in specs.iter().rev() {
        above = Some(Arc::new(LiveGrant::new(terms(spec), Standing::fresh(), above)));
    }
    let bench = Bench::over(Arc::clone(world), above.into_iter().collect());
    let method = *dice.of(&[AuthMethod::AgentToken, AuthMethod::Jwt, AuthMethod::Peer]);
    let agent_ceiling = *dice.of(&[Band::Critical, Band::Critical, Band::High, Band::Medium]);
    bench.principal(|principal| {
        principal.method = method;
        Arc::make_mut(&mut principal.agent).ceiling = agent_ceiling;
    });
    let strength = match method {
        AuthMethod::AgentToken => 1,
        AuthMethod::Jwt => 2,
        _ => 3,
    };
    let chain = specs.into_iter().map(|spec| (spec, Usage::default())).collect();
    let mut state = State { chain, approved: BTreeSet::new(), agent_ceiling, strength, now_ms: START_MS + 500 };
    let mut asked = BTreeSet::new();
    let mut last = chance::call(dice);
    for _ in 0..CALLS {
        if dice.one_in(6) {
            state.now_ms += 3_600_000 * u64::try_from(dice.below(5)).unwrap();
        }
        bench.fakes.set_ms(state.now_ms);
        if dice.one_in(2) {
            bench.fakes.decide(&TicketState::Approved);
            state.approved.append(&mut asked);
        }
        if dice.one_in(2) {
            last = chance::call(dice);
        }
        let (tool, arguments) = &last;
        let wanted = expected(house, &state, tool, &chance::parsed(arguments), arguments);
        let is_open = matches!(wanted, Expected::Runs(_) | Expected::Waits(_));
        if is_open && dice.one_in(10) {
            let Told::Tools(listed) = bench.list().await.told() else { panic!("no list") };
            assert!(
                listed.iter().any(|name| name == tool),
                "callable, and not listed: {tool} {:?} {:?}",
                house.rules,
                state.chain
            );
            tally.listed += 1;
        }
        let heard = bench.call(tool, arguments).await;
        if let Some(difference) = difference(&wanted, &heard) {
            let rules: Vec<String> = house.rules.iter().map(text::of).collect();
            panic!(
                "{tool} {arguments} at {} by {method:?}: {difference}\n{}\n{:#?}\n{:?}",
                state.now_ms,
                rules.join("\n"),
                state.chain,
                state.approved
            );
        }
        tally.count(&wanted);
        match wanted {
            Expected::Runs(asks) => happened(house, &mut state, tool, arguments, asks),
            Expected::Waits(rules) => _ = asked.insert(((*tool).to_owned(), arguments.clone(), rules)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_product_decides_as_the_model_does() {
    let (mut dice, mut tally, mut made, mut houses) = (Dice(0x5EED_0001), Tally::default(), 0, 0);
    let tasks = TASKS.min(cases().div_ceil(4 * CALLS));
    while made < cases() {
        houses += 1;
        let house = chance::house(&mut dice);
        let world = world(houses, &house);
        for _ in 0..tasks {
            task(&house, &world, &mut dice, &mut tally).await;
            made += CALLS;
        }
    }
    println!("model=product requests={made} bundles={houses} {tally:?} differences=0");
    let each = [tally.not_granted, tally.refused, tally.forbidden, tally.waits, tally.exhausted, tally.ran, tally.by_approval];
    assert!(each.iter().all(|count| *count >= made / 500), "an outcome is too rare: {tally:?}");
}
