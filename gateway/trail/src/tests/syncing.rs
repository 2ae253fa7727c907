//! The sync thread: who waits shares, and who doesn't wait is synced soon.

use std::time::Instant;

use super::*;

#[test]
fn appends_from_many_threads_keep_order_and_chain() {
    let place = Place::new();
    let trail = place.open_with(Options { segment_bytes: 16 << 10, ..Options::default() });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let trail = &trail;
            scope.spawn(move || {
                let mut before = 0;
                for n in 0..250 {
                    let stream = Stream::ALL[n % 2];
                    let at = trail.append(stream, NOW, &serde_json::json!({ "thread": thread, "n": n })).unwrap();
                    if n % 2 == 0 {
                        assert!(at.seq() > before);
                        before = at.seq();
                    }
                }
            });
        }
    });
    drop(trail);
    let report = place.intact();
    assert_eq!((report.streams[0].records, report.streams[1].records), (1000, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_shares_a_sync() {
    let place = Place::new();
    let disk = Arc::new(Disk::default());
    disk.slow_ms.store(10, Ordering::SeqCst);
    let trail = Arc::new(place.open_on(&disk));
    let waiters: Vec<_> = (0..64)
        .map(|n| {
            let trail = Arc::clone(&trail);
            tokio::spawn(async move {
                let at = trail.append(Stream::Calls, NOW, &serde_json::json!({ "n": n })).unwrap();
                trail.synced(at).await.unwrap();
            })
        })
        .collect();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    let syncs = disk.syncs.load(Ordering::SeqCst);
    assert!((1..32).contains(&syncs), "{syncs} syncs for 64 waiters");
}

#[tokio::test]
async fn what_nobody_waits_for_is_synced_soon() {
    let place = Place::new();
    let disk = Arc::new(Disk::default());
    let trail = place.open_on(&disk);
    for stream in Stream::ALL {
        trail.append(stream, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while disk.syncs.load(Ordering::SeqCst) < 4 {
        assert!(Instant::now() < deadline, "not synced");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn heads_cover_only_what_is_synced_and_all_of_it_at_the_end() {
    let place = Place::new();
    let trail = place.open();
    let heads = || std::fs::read_to_string(place.file("heads.json")).unwrap();
    assert!(heads().contains("\"calls\":{\"seq\":0"));
    let at = trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    trail.synced(at).await.unwrap();
    trail.flush().unwrap();
    assert!(heads().contains("\"calls\":{\"seq\":1"));
    trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    drop(trail);
    assert!(heads().contains("\"calls\":{\"seq\":2"));
    place.assert_intact();
}

#[test]
fn a_live_trail_verifies_while_it_is_written() {
    let place = Place::new();
    let trail = place.open_with(Options { segment_bytes: 4096, ..Options::default() });
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..3000 {
                let record = serde_json::json!({ "event": "seen", "call_id": n.to_string() });
                trail.append(Stream::Calls, NOW, &record).unwrap();
                if n % 500 == 0 {
                    trail.flush().unwrap();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            let report = verify(&place.dir(), Liveness::Live).unwrap();
            assert!(report.is_intact(), "{:?}", report.findings().collect::<Vec<_>>());
        }
    });
}

#[tokio::test]
async fn nobody_waits_for_a_record_that_was_never_written() {
    let place = Place::new();
    let trail = place.open();
    trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    trail.synced_to(Stream::Calls, 1).await.unwrap();
    assert!(matches!(trail.synced_to(Stream::Calls, 2).await, Err(TrailFault::NotAppended { seq: 2, .. })));
}
