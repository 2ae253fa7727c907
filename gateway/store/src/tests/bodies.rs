//! Bodies that rules have kept.

use bailiwick_pipeline::ids::CallId;
use bytes::Bytes;

use crate::{BODIES_KEPT_MS, Bodies, Store};

const NOW: u64 = 1_800_000_000_000;

fn call(number: u8) -> CallId {
    CallId::new(NOW, [number; 10])
}

#[tokio::test]
async fn a_body_is_sealed_and_opens_for_its_own_call_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let bodies = Bodies::new(&store);
    let body = Bytes::from_static(b"{\"hunter2\":1}");
    bodies.keep(&call(1), "arguments", &body, NOW).await.unwrap();
    bodies.keep(&call(1), "result", &Bytes::from_static(b"[]"), NOW).await.unwrap();
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
    let bodies = Bodies::new(&Store::open(folder.path()).unwrap());
    let body = Bytes::from(vec![b'x'; 100]);
    let keep = |number: u8, now_ms| {
        let (bodies, body) = (bodies.clone(), body.clone());
        async move { bodies.keep_within(&call(number), ("result", &body), now_ms, 300).await }
    };
    keep(1, NOW).await.unwrap();
    keep(2, NOW).await.unwrap();
    let refused = keep(3, NOW).await.unwrap_err().to_string();
    assert!(refused.contains("300 bytes in all"), "{refused}");
    // Once more, it stands for itself.
    keep(2, NOW).await.unwrap();
    assert!(bodies.open(call(1).as_str(), "result", NOW + BODIES_KEPT_MS).unwrap().is_some());
    assert!(bodies.open(call(1).as_str(), "result", NOW + BODIES_KEPT_MS + 1).unwrap().is_none());
    keep(3, NOW + BODIES_KEPT_MS + 1).await.unwrap();
    assert!(
        bodies.open(call(3).as_str(), "result", NOW + BODIES_KEPT_MS + 1).unwrap().is_some(),
        "what was refused cost nothing else"
    );
}
