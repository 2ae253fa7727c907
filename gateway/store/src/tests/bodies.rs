//! Bodies that rules have kept.

use bailiwick_pipeline::ids::{AgentId, CallId};
use bytes::Bytes;

use crate::{Bodies, BodyLimits, BodyPart, Store};

const NOW: u64 = 1_800_000_000_000;

fn call(number: u8) -> CallId {
    CallId::new(NOW, [number; 10])
}

async fn keep(bodies: &Bodies, agent: &str, (number, part): (u8, &'static str), size: usize, now_ms: u64) -> Result<(), String> {
    let (call, agent): (CallId, AgentId) = (call(number), agent.parse().unwrap());
    let body = Bytes::from(vec![b'x'; size]);
    bodies.keep(BodyPart { call: &call, agent: &agent, part }, &body, now_ms).await.map_err(|fault| fault.to_string())
}

#[tokio::test]
async fn a_body_is_sealed_and_opens_for_its_own_call_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let bodies = Bodies::new(&store, BodyLimits::default());
    let body = Bytes::from_static(b"{\"hunter2\":1}");
    let (own, agent) = (call(1), "a".parse().unwrap());
    let part = |part| BodyPart { call: &own, agent: &agent, part };
    bodies.keep(part("arguments"), &body, NOW).await.unwrap();
    bodies.keep(part("result"), &Bytes::from_static(b"[]"), NOW).await.unwrap();
    let id = call(1).to_string();
    assert_eq!(bodies.open(&id, "arguments", NOW).unwrap().unwrap(), body);
    assert_eq!(bodies.open(&id, "result", NOW).unwrap().unwrap(), b"[]");
    assert_eq!(bodies.open(call(2).as_str(), "result", NOW).unwrap(), None);
    assert_eq!(bodies.open(&id, "other", NOW).unwrap(), None);
    for name in ["state.db", "state.db-wal"] {
        let file = std::fs::read(folder.path().join(name)).unwrap_or_default();
        assert!(!file.windows(7).any(|part| part == b"hunter2"), "{name}");
    }
    // One that is put in the place of another does not open.
    let swap = |connection: &rusqlite::Connection| {
        connection.execute("UPDATE kept_bodies SET sealed = (SELECT sealed FROM kept_bodies WHERE part = 'result')", []).map(drop)
    };
    store.write(swap).await.unwrap();
    assert!(bodies.open(&id, "arguments", NOW).unwrap_err().to_string().contains("kept_bodies"));
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let kept_ms = 1000;
    let bodies = Bodies::new(&Store::open(folder.path()).unwrap(), BodyLimits { kept_ms, bytes: 300, bytes_per_agent: 300 });
    keep(&bodies, "a", (1, "arguments"), 100, NOW).await.unwrap();
    keep(&bodies, "a", (2, "arguments"), 100, NOW).await.unwrap();
    let refused = keep(&bodies, "a", (3, "arguments"), 100, NOW).await.unwrap_err();
    assert!(refused.contains("300 bytes in all") && refused.contains("trail.keep_bodies"), "{refused}");
    // Once more, it stands for itself.
    keep(&bodies, "a", (2, "arguments"), 100, NOW).await.unwrap();
    assert!(bodies.open(call(1).as_str(), "arguments", NOW + kept_ms).unwrap().is_some());
    assert!(bodies.open(call(1).as_str(), "arguments", NOW + kept_ms + 1).unwrap().is_none());
    keep(&bodies, "a", (3, "arguments"), 100, NOW + kept_ms + 1).await.unwrap();
    let again = bodies.open(call(3).as_str(), "arguments", NOW + kept_ms + 1);
    assert!(again.unwrap().is_some(), "what was refused cost nothing else");
}

/// Nothing else has to be kept for it: what is too old is deleted from the disk.
#[tokio::test]
async fn a_sweep_deletes_what_is_old_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let bodies = Bodies::new(&Store::open(folder.path()).unwrap(), BodyLimits { kept_ms: 1000, ..BodyLimits::default() });
    keep(&bodies, "a", (1, "arguments"), 5000, NOW).await.unwrap();
    keep(&bodies, "a", (2, "arguments"), 100, NOW + 500).await.unwrap();
    bodies.sweep(NOW + 1000).await.unwrap();
    assert!(bodies.size().unwrap() > 5000);
    bodies.sweep(NOW + 1001).await.unwrap();
    assert!((100..200).contains(&bodies.size().unwrap()));
    assert!(bodies.open(call(2).as_str(), "arguments", NOW + 1001).unwrap().is_some());
}

#[tokio::test]
async fn no_agent_fills_it_for_others_and_what_came_back_of_a_call_that_had_room_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let limits = BodyLimits { kept_ms: 1000, bytes: 1000, bytes_per_agent: 400 };
    let bodies = Bodies::new(&Store::open(folder.path()).unwrap(), limits);
    keep(&bodies, "greedy", (1, "arguments"), 200, NOW).await.unwrap();
    let refused = keep(&bodies, "greedy", (2, "arguments"), 200, NOW).await.unwrap_err();
    assert!(refused.contains("400 of one agent"), "{refused}");
    keep(&bodies, "other", (3, "arguments"), 200, NOW).await.unwrap();
    // The effect is there: twice the share is the end of it.
    keep(&bodies, "greedy", (1, "result"), 400, NOW).await.unwrap();
    assert!(keep(&bodies, "greedy", (2, "arguments"), 1, NOW).await.is_err());
    assert!(keep(&bodies, "greedy", (4, "result"), 400, NOW).await.is_err());
    keep(&bodies, "other", (4, "arguments"), 50, NOW).await.unwrap();
}

#[tokio::test]
async fn what_an_older_version_kept_counts_and_opens() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        || Bodies::new(&Store::open(folder.path()).unwrap(), BodyLimits { kept_ms: 1000, bytes: 400, bytes_per_agent: 400 });
    keep(&open(), "a", (1, "arguments"), 200, NOW).await.unwrap();
    let older = "DROP INDEX kept_bodies_by_agent; ALTER TABLE kept_bodies DROP COLUMN agent; ALTER TABLE kept_bodies DROP COLUMN size; PRAGMA user_version = 5";
    super::tamper(folder.path(), older);
    let bodies = open();
    assert!(bodies.size().unwrap() > 200 && bodies.open(call(1).as_str(), "arguments", NOW).unwrap().is_some());
    assert!(keep(&bodies, "b", (2, "arguments"), 200, NOW).await.is_err(), "there is no room beside it");
}
