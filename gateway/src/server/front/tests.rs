//! What goes on record of refusals that come in great number.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_pipeline::ports::Clock;
use bailiwick_trail::{Start as From, Stream};

use super::*;
use crate::{
    data::DataFolder,
    runtime::{Runtime, Start},
};

/// Shows the time that it is set to.
struct Set {
    now_ns: AtomicU64,
    drawn: AtomicU64,
}

impl Clock for Set {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn random(&self) -> [u8; 16] {
        u128::from(self.drawn.fetch_add(1, Ordering::Relaxed)).to_le_bytes()
    }
}

async fn gateway(folder: &Path, clock: Arc<Set>) -> Arc<Runtime> {
    let start = Start {
        config: bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap(),
        data: DataFolder::open(&folder.join("data")).unwrap(),
        clock,
        file: None,
        is_demo: true,
        own_binary: "/bin/false".into(),
        environment: BTreeMap::new(),
    };
    Runtime::start(start).await.unwrap()
}

fn refused(agent: Option<&AgentId>, outcome: Outcome) -> Noted<'_> {
    Noted {
        call: None,
        method: "unread",
        tool: None,
        id: None,
        protocol: "",
        transport: "http",
        size: 0,
        agent,
        outcome,
        reason: Some("test"),
        detail: None,
        arrived_ns: 0,
        is_decided: false,
    }
}

/// The records of a stream, as agent, reason and detail.
fn recorded(runtime: &Runtime, stream: Stream) -> Vec<(String, String, String)> {
    let records = runtime.recorder.trail().reader().records(stream, From::First).unwrap().map(Result::unwrap);
    let text = |record: &bailiwick_trail::Record, name| record.text(name).unwrap_or_default().to_owned();
    records.map(|record| (text(&record, "agent"), text(&record, "reason"), text(&record, "detail"))).collect()
}

/// Review M1: refusals that anyone can cause as fast as he likes.
#[tokio::test]
async fn refusals_beyond_their_quotas_are_told_in_one_record_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Set { now_ns: AtomicU64::new(1_800_000_000_000_000_000), drawn: AtomicU64::new(0) });
    let runtime = gateway(folder.path(), Arc::clone(&clock)).await;
    let (front, demo) = (&runtime.front, "demo".parse::<AgentId>().unwrap());
    for _ in 0..100 {
        assert!(front.on_record(&refused(Some(&demo), Outcome::RateLimited)));
    }
    for _ in 0..700 {
        assert!(front.on_record(&refused(None, Outcome::Unauthenticated)));
    }
    // What is no flood by its nature has no such quota: every one goes on record.
    for _ in 0..100 {
        assert!(front.on_record(&refused(Some(&demo), Outcome::Invalid)));
    }
    front.sweep();
    for stream in [Stream::Calls, Stream::Decisions] {
        assert_eq!(recorded(&runtime, stream).len(), 60 + 600 + 100);
    }
    clock.now_ns.fetch_add(60_000_000_000, Ordering::Relaxed);
    front.sweep();
    front.sweep();
    let told = |agent: &str, detail: &str| (agent.to_owned(), "too_many".to_owned(), detail.to_owned());
    for stream in [Stream::Calls, Stream::Decisions] {
        let further = recorded(&runtime, stream).split_off(760);
        let strangers = "100 further requests were refused before it was known who sent them";
        assert_eq!(further, [told("", strangers), told("demo", "40 further requests were refused")]);
    }
}
