//! A real gateway, with the embedded demo's configuration and a clock that the test sets.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use bailiwick_pipeline::{
    grant::Grant,
    grant::LiveGrant,
    ports::{Access, Credentials as _, Loan, Wanted, Worlds as _},
};
use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::Stopped;
use serde_json::Value;

use super::*;

const NOW: u64 = 1_790_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

struct StoppedClock(AtomicU64);

impl Clock for StoppedClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst) * 1_000_000
    }

    fn random(&self) -> [u8; 16] {
        crate::adapters::SystemClock.random()
    }
}

struct House {
    folder: tempfile::TempDir,
    clock: Arc<StoppedClock>,
    runtime: Arc<Runtime>,
}

async fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(StoppedClock(AtomicU64::new(NOW)));
    let start = Start {
        config: bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap(),
        data: DataFolder::open(&folder.path().join("data")).unwrap(),
        clock: Arc::clone(&clock) as _,
        file: None,
        is_demo: true,
        own_binary: "/bin/false".into(),
        environment: BTreeMap::new(),
    };
    let runtime = Runtime::start(start).await.unwrap();
    House { folder, clock, runtime }
}

impl House {
    /// Changes the store as somebody would who can write the file.
    fn tamper(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.path().join("data/state.db")).unwrap().execute_batch(sql).unwrap();
    }

    /// The records of the stream `secrets`: event and purpose or grant.
    fn secrets(&self) -> Vec<(String, String)> {
        let reader = self.runtime.recorder.trail().reader();
        let records = reader.records(Stream::Secrets, bailiwick_trail::Start::First).unwrap().map(Result::unwrap);
        let text = |record: &bailiwick_trail::Record, name: &str| record.text(name).map(str::to_owned);
        records
            .map(|record| (text(&record, "event").unwrap(), text(&record, "purpose").or(text(&record, "grant")).unwrap()))
            .collect()
    }
}

/// What connector `tickets` is lent for this grant.
async fn lend(runtime: &Runtime, grant: &Arc<LiveGrant>) -> Loan {
    let (connector, most) = (tickets(), || Access::Write);
    let wanted = Wanted { grant, connector: &connector, access: Access::Write, most: &most, now_ms: NOW };
    runtime.broker.lend(wanted).await.unwrap().unwrap()
}

fn tickets() -> ConnectorId {
    "tickets".parse().unwrap()
}

fn terms() -> Grant {
    Grant {
        owner: "o".to_owned(),
        purpose: "p".to_owned(),
        ceiling: Band::High,
        environment: "dev".to_owned(),
        ..Grant::bare("g".parse().unwrap(), "demo".parse().unwrap(), Vec::new(), NOW..NOW + DAY)
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[tokio::test]
async fn what_fails_in_a_tick_keeps_nothing_else_from_being_done() {
    let house = house().await;
    let runtime = &house.runtime;
    let grant = runtime.grants.create(terms(), NOW).await.unwrap();
    lend(runtime, &grant).await;
    runtime.tokens.issue_agent(&"demo".parse().unwrap(), 1, NOW).await.unwrap();
    house.tamper("CREATE TRIGGER no BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'full'); END");
    house.clock.0.store(NOW + 3 * DAY, Ordering::SeqCst);
    assert!(matches!(runtime.tick().await, Err(WriteFault::Conflict(_))));
    assert_eq!(house.secrets(), [pair("returned", "g")], "what was lent for the grant is taken back");
    assert!(runtime.tokens.list(None).is_empty(), "the old token is forgotten");
}

/// One that may be handed on.
fn above() -> Grant {
    let tools = bailiwick_pipeline::grant::Capability { tools: "tickets__*".parse().unwrap(), kinds: None, args: [].into() };
    Grant { delegation_depth: 1, capabilities: vec![tools], ..terms() }
}

fn below() -> Grant {
    let (id, agent) = ("below".parse().unwrap(), "other".parse().unwrap());
    Grant { id, agent, parent: Some("g".parse().unwrap()), delegation_depth: 0, ..above() }
}

/// In memory they have ended: nothing of what was lent to them stays lent.
#[tokio::test]
async fn what_follows_the_end_of_a_grant_follows_for_what_fell_with_it_though_it_can_not_be_stored() {
    let house = house().await;
    let runtime = &house.runtime;
    for terms in [above(), below()] {
        let grant = runtime.grants.create(terms, NOW).await.unwrap();
        lend(runtime, &grant).await;
    }
    house.tamper("CREATE TRIGGER no BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'full'); END");
    let ended = runtime.end_grant(&"g".parse().unwrap(), EndAs::Revoked, "ann", None, "enough").await;
    assert!(matches!(ended, Err(GrantFault::Write(_))));
    assert_eq!(house.secrets(), [pair("returned", "g"), pair("returned", "below")]);
}

/// Every second: what was lent in the very moment of a halt is taken back, from whom the halt is of and from nobody else.
#[tokio::test]
async fn what_is_lent_to_a_halted_agent_is_taken_back() {
    let house = house().await;
    let runtime = &house.runtime;
    let own = Grant { id: "own".parse().unwrap(), agent: "third".parse().unwrap(), ..terms() };
    let halts = ["tool:tickets__get", "instance:demo/pod-1", "connector:nobodys", "agent:nobody"];
    for halt in halts {
        runtime.halt(&halt.parse().unwrap(), "ann", None).await.unwrap();
    }
    for terms in [above(), below(), own] {
        let grant = runtime.grants.create(terms, NOW).await.unwrap();
        lend(runtime, &grant).await;
    }
    runtime.end_what_is_halted();
    assert_eq!(house.secrets(), [], "none of these is of a grant");
    let (_, stored) =
        runtime.halts.stop(&"agent:demo".parse().unwrap(), Stopped { since_ms: NOW, by: "ann".to_owned(), reason: None });
    stored.await.unwrap();
    runtime.end_what_is_halted();
    let mut taken = house.secrets();
    taken.sort();
    assert_eq!(taken, [pair("returned", "below"), pair("returned", "g")], "its own, and what was handed on from that");
}

#[tokio::test]
async fn pins_that_can_not_be_stored_are_not_served() {
    let house = house().await;
    let runtime = &house.runtime;
    let before = runtime.worlds.now();
    let mut pins = runtime.worlds.pins().get(&tickets()).cloned().unwrap();
    pins.truncate(1);
    let good = pins.clone();
    for pin in &mut pins {
        pin.digest = Digest::of(b"another");
    }
    assert!(matches!(runtime.accept_pins(&tickets(), pins).await, Err(StartFault::Write(_))));
    assert!(Arc::ptr_eq(&before, &runtime.worlds.now()));
    assert!(runtime.worlds.unusable().is_empty());
    let stored = runtime.pins.list().unwrap();
    let digests = |pins: &BTreeMap<ConnectorId, Vec<Pin>>| pins.values().flatten().map(|pin| pin.digest).collect::<Vec<_>>();
    assert_eq!(digests(&stored), digests(&runtime.worlds.pins()));
    runtime.accept_pins(&tickets(), good).await.unwrap();
    assert_eq!(runtime.worlds.now().tools().filter(|tool| tool.connector.id == tickets()).count(), 1);
}

#[tokio::test]
async fn what_is_lent_to_look_at_a_connector_is_on_record() {
    let house = house().await;
    assert!(house.runtime.discover(&tickets()).await.is_err(), "its program is `false`");
    assert_eq!(house.secrets(), [pair("lent", "discovery"), pair("returned", "discovery")]);
    let nothing_to_lend = "files".parse().unwrap();
    assert!(house.runtime.discover(&nothing_to_lend).await.is_err());
    assert_eq!(house.secrets().len(), 2);
}

/// A configuration without connectors is not the demo: whoever runs the gateway is no agent of it.
#[test]
fn only_the_demos_agent_runs_as_who_runs_the_gateway() {
    let config = bailiwick_config::embedded("[[agents]]\nid = \"a\"\nowner = \"o@example.com\"\n", []).unwrap();
    let agent = config.agents.first().unwrap();
    assert!(uids_of(agent, false).is_empty());
    assert_eq!(uids_of(agent, true), [rustix::process::geteuid().as_raw()]);
}

/// What the trail says of it, `audit` shows: a record that a reader can't take is a fault here, not there.
#[tokio::test]
async fn what_is_put_on_record_about_lending_names_no_secret() {
    let house = house().await;
    let _failed = house.runtime.discover(&tickets()).await;
    let secret = fs::read_to_string(house.folder.path().join("data/demo-tickets.token")).unwrap();
    let reader = house.runtime.recorder.trail().reader();
    for record in reader.records(Stream::Secrets, bailiwick_trail::Start::First).unwrap().map(Result::unwrap) {
        assert!(!record.line.contains(secret.trim()));
        assert_eq!(record.body.get("connector"), Some(&Value::from("tickets")));
    }
}
