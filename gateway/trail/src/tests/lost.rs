//! A write or a sync that fails loses the trail: nothing more is recorded, and nobody is told otherwise.

use super::*;

fn assert_lost(trail: &Trail) {
    assert!(trail.is_lost());
    for stream in Stream::ALL {
        let fault = trail.append(stream, NOW, &serde_json::json!({ "a": 1 })).unwrap_err();
        assert!(fault.is_lost(), "{fault}");
    }
    assert!(trail.flush().unwrap_err().is_lost());
}

/// A real file that may not grow: the write that reaches the limit is short.
#[test]
fn a_full_disk_loses_the_trail_and_keeps_what_was_written() {
    if let Some(folder) = child_folder() {
        let (trail, _) = Trail::open(&folder, Options::default()).unwrap();
        let fault = loop {
            match trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": "x".repeat(100) })) {
                Ok(at) => println!("appended {}", at.seq()),
                Err(fault) => break fault,
            }
        };
        assert!(fault.to_string().contains("bytes could be written"), "{fault}");
        assert_lost(&trail);
        return;
    }
    let place = Place::new();
    let name = "tests::lost::a_full_disk_loses_the_trail_and_keeps_what_was_written";
    let output = child(name, &place.dir(), "trap '' XFSZ; ulimit -f 8;").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let appended = text.lines().filter(|line| line.contains("appended ")).count() as u64;
    assert!(appended > 5);
    assert_eq!(place.intact().streams[0].records, appended, "the short write was cut off again");
    let (trail, recovery) = Trail::open(&place.dir(), Options::default()).unwrap();
    assert_eq!((recovery, trail.last_seq(Stream::Calls)), (crate::Recovery::default(), appended));
}

#[test]
fn failed_and_short_writes_lose_the_trail() {
    for short in [0, 1, 50] {
        let place = Place::new();
        let disk = Arc::new(Disk::default());
        let trail = place.open_on(&disk);
        trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
        disk.short_write.store(short, Ordering::SeqCst);
        disk.write_fails.store(true, Ordering::SeqCst);
        assert!(trail.append(Stream::Secrets, NOW, &serde_json::json!({ "a": 1 })).unwrap_err().is_lost());
        // For good: also when the disk has room again.
        disk.write_fails.store(false, Ordering::SeqCst);
        assert_lost(&trail);
        drop(trail);
        let report = place.intact();
        assert_eq!((report.streams[0].records, report.streams[2].records), (1, 0));
        assert!(!place.open().is_lost());
    }
}

#[tokio::test]
async fn a_failed_sync_loses_the_trail_and_tells_who_waits() {
    let place = Place::new();
    let disk = Arc::new(Disk::default());
    let trail = place.open_on(&disk);
    let first = trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    trail.synced(first).await.unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    let second = trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    let fault = trail.synced(second).await.unwrap_err();
    assert!(fault.to_string().contains("cannot sync `calls-"), "{fault}");
    // The system reports it once: a later success means nothing.
    disk.sync_fails.store(false, Ordering::SeqCst);
    assert!(trail.synced(second).await.unwrap_err().is_lost());
    assert_lost(&trail);
}

#[test]
fn heads_that_cannot_be_written_lose_the_trail() {
    let place = Place::new();
    let trail = place.open();
    trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
    std::fs::create_dir(place.file("heads.json.tmp")).unwrap();
    assert!(trail.flush().unwrap_err().is_lost());
    assert_lost(&trail);
}
