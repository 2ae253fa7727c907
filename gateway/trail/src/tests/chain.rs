//! What is written, and that it verifies.

use std::process::Command;

use super::*;
use crate::MAX_RECORD_BYTES;

#[test]
fn a_record_is_one_line_in_the_documented_form() {
    let place = Place::new();
    let trail = place.open();
    trail.append(Stream::Calls, NOW, &Sample { event: "intent", call_id: "c1", tool: "tickets__get" }).unwrap();
    let line = &lines(&place.file("calls-00000000000000000001.jsonl"))[0];
    let start = "{\"v\":1,\"stream\":\"calls\",\"seq\":1,\"time\":\"2026-11-21T23:19:39.042Z\",\
        \"event\":\"intent\",\"call_id\":\"c1\",\"tool\":\"tickets__get\",\"prev\":\"sha256:";
    assert!(line.starts_with(start), "{line}");
    assert!(line.contains(&format!(",\"prev\":\"{}\",\"hash\":\"sha256:", Stream::Calls.genesis())));
    assert!(line.ends_with("\"}\n"));
}

#[test]
fn what_was_appended_verifies_across_segments_and_restarts() {
    let place = Place::written(40);
    place.write_more(41..=60);
    assert!(place.segments(Stream::Calls).len() > 5);
    let report = place.intact();
    let counts: Vec<_> = report.streams.iter().map(|s| (s.stream.name(), s.records)).collect();
    assert_eq!(counts, [("calls", 120), ("decisions", 60), ("secrets", 0), ("admin", 0), ("detections", 0)]);
    assert_eq!(report.open, []);
    for path in place.segments(Stream::Calls) {
        assert!(std::fs::metadata(path).unwrap().len() <= 2048);
    }
}

/// J144 for somebody who doesn't trust us: the documented 20 lines agree with the verifier.
#[test]
fn j144_a_third_party_can_verify_with_the_script() {
    let place = Place::written(20);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/verify.py");
    let run = || Command::new("python3").arg(script).arg(place.dir()).output().expect("python3 runs");
    let good = run();
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(String::from_utf8_lossy(&good.stdout).starts_with("calls: chain OK, 40 records\n"));

    let path = &place.segments(Stream::Decisions)[0];
    std::fs::write(path, std::fs::read_to_string(path).unwrap().replacen("tickets__get", "tickets__gut", 1)).unwrap();
    let bad = run();
    assert!(String::from_utf8_lossy(&bad.stderr).contains(":1: record 1 of decisions"));
}

#[test]
fn open_intents_are_counted_and_are_no_failure() {
    let place = Place::written(2);
    let trail = place.open();
    for (event, call_id) in [("intent", "a"), ("intent", "b"), ("outcome", "a"), ("outcome", "refused")] {
        trail.append(Stream::Calls, NOW, &Sample { event, call_id, tool: "t" }).unwrap();
    }
    let found: Vec<_> = trail.open_intents(0).unwrap().iter().map(|record| record.seq).collect();
    assert_eq!(found, [6]);
    assert_eq!(trail.open_intents(6).unwrap(), []);
    drop(trail);
    let report = place.intact();
    assert_eq!(report.open, [crate::OpenIntent { seq: 6, call_id: "b".to_owned() }]);
}

#[test]
fn j144_a_second_outcome_or_intent_of_a_call_is_found() {
    for (again, wrong) in [("outcome", "has a second outcome"), ("intent", "an intent of call `call-2` comes again")] {
        let place = Place::written(2);
        place.open().append(Stream::Calls, NOW, &Sample { event: again, call_id: "call-2", tool: "t" }).unwrap();
        let bad = place.bad();
        assert_eq!((bad.stream, bad.seq), (Stream::Calls, 5));
        assert!(bad.to_string().contains(wrong), "{bad}");
    }
}

#[test]
fn a_record_that_cannot_be_one_does_not_lose_the_trail() {
    let place = Place::new();
    let trail = place.open();
    let refused = |record: &serde_json::Value| trail.append(Stream::Admin, NOW, record).unwrap_err();
    for field in ["v", "stream", "seq", "time", "prev", "hash"] {
        let fault = refused(&serde_json::json!({ "a": { field: 1 }, field: 1 }));
        assert!(matches!(fault, TrailFault::Reserved { field: f } if f == field), "{fault}");
    }
    assert!(matches!(refused(&serde_json::json!([1])), TrailFault::Unwritable { .. }));
    assert!(matches!(refused(&serde_json::json!("text")), TrailFault::Unwritable { .. }));
    assert!(matches!(refused(&serde_json::json!({ "a": "x".repeat(MAX_RECORD_BYTES) })), TrailFault::TooLarge));
    let raw = serde_json::value::RawValue::from_string("{\"seq\":9}".to_owned()).unwrap();
    assert!(matches!(trail.append(Stream::Admin, NOW, &raw), Err(TrailFault::Unwritable { .. })));
    assert!(matches!(trail.append(Stream::Admin, u64::MAX, &raw), Err(TrailFault::Time { .. })));

    assert!(!trail.is_lost());
    let nested = serde_json::json!({ "a": { "hash": 1 }, "hash\n": 1 });
    assert_eq!(trail.append(Stream::Admin, NOW, &nested).unwrap().seq(), 1);
    assert_eq!(trail.append(Stream::Admin, NOW, &serde_json::json!({})).unwrap().seq(), 2);
    drop(trail);
    assert_eq!(place.intact().streams[3].records, 2);
}

#[test]
fn the_longest_record_is_read_back() {
    let place = Place::new();
    let trail = place.open();
    let sized = |text: usize| serde_json::json!({ "a": "x".repeat(text) });
    let longest = (0..MAX_RECORD_BYTES).rev().find(|text| trail.append(Stream::Admin, NOW, &sized(*text)).is_ok()).unwrap();
    assert!(longest > MAX_RECORD_BYTES - 300);
    assert_eq!(std::fs::metadata(&place.segments(Stream::Admin)[0]).unwrap().len(), MAX_RECORD_BYTES as u64);
    trail.append(Stream::Admin, NOW, &sized(1)).unwrap();
    drop(trail);
    assert_eq!(place.intact().streams[3].records, 2);
    place.open();
}

struct Panics;

impl Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a record that panics")
    }
}

#[test]
fn a_record_that_panics_ends_one_call_only() {
    let place = Place::new();
    let trail = place.open();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trail.append(Stream::Calls, NOW, &serde_json::json!({ "event": "intent" })).unwrap();
        let _ = trail.append(Stream::Calls, NOW, &Panics);
    }));
    assert!(panicked.is_err());
    assert_eq!(trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap().seq(), 2);
    drop(trail);
    assert_eq!(place.intact().streams[0].records, 2);
}
