//! Reading records back.

use super::*;
use crate::{Reader, Start};

fn seqs(reader: &Reader, start: Start) -> Vec<u64> {
    reader.records(Stream::Calls, start).unwrap().map(|record| record.unwrap().seq).collect()
}

#[test]
fn records_are_read_from_any_start() {
    let place = Place::written(30);
    let reader = Reader::open(&place.dir()).unwrap();
    assert_eq!(seqs(&reader, Start::First), (1..=60).collect::<Vec<_>>());
    for from in [0, 1, 2, 17, 31, 59, 60, 61, 1000] {
        assert_eq!(seqs(&reader, Start::Seq(from)), (from.max(1)..=60).collect::<Vec<_>>(), "{from}");
    }
    assert!(seqs(&reader, Start::Last(0)).is_empty());
    assert_eq!(seqs(&reader, Start::Last(3)), [58, 59, 60]);
    assert_eq!(seqs(&reader, Start::Last(100)), (1..=60).collect::<Vec<_>>());
    assert_eq!(reader.record(Stream::Calls, 61).unwrap(), None);
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let place = Place::new();
    let trail = place.open();
    trail.append(Stream::Admin, NOW, &serde_json::json!({ "z": 1, "a": { "hash": [null] }, "n": 7 })).unwrap();
    let record = trail.reader().record(Stream::Admin, 1).unwrap().unwrap();
    assert_eq!((record.seq, record.unix_ms, record.time.as_str()), (1, NOW, "2026-11-21T23:19:39.042Z"));
    assert_eq!(serde_json::to_string(&record.body).unwrap(), r#"{"z":1,"a":{"hash":[null]},"n":7}"#);
    assert!(record.line.ends_with(&format!("\"hash\":\"{}\"}}", record.hash)));
}

#[test]
fn a_reader_follows_a_live_stream_across_segments() {
    let place = Place::new();
    let trail = place.open_with(Options { segment_bytes: 1024, ..Options::default() });
    let mut records = trail.calls_since(0).unwrap();
    for n in 1..=30 {
        assert!(records.next().is_none());
        trail.append(Stream::Calls, NOW, &serde_json::json!({ "n": n })).unwrap();
        assert_eq!(records.next().unwrap().unwrap().seq, n);
    }
    assert!(place.segments(Stream::Calls).len() > 3);
}

#[test]
fn a_reader_waits_for_the_end_of_a_line() {
    let place = Place::written(1);
    let path = place.segments(Stream::Calls).remove(0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let mut records = Reader::open(&place.dir()).unwrap().records(Stream::Calls, Start::First).unwrap();
    assert_eq!(records.next().unwrap().unwrap().seq, 1);
    assert!(records.next().is_none());
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(records.next().unwrap().unwrap().seq, 2);
    assert!(records.next().is_none());
}

#[test]
fn j144_a_reader_shows_no_record_that_was_changed() {
    let place = Place::written(2);
    let path = place.segments(Stream::Calls).remove(0);
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replacen("call-2", "call-3", 1)).unwrap();
    let mut records = Reader::open(&place.dir()).unwrap().records(Stream::Calls, Start::First).unwrap();
    assert!(records.next().unwrap().is_ok());
    assert!(records.next().unwrap().is_ok());
    let fault = records.next().unwrap().unwrap_err();
    assert!(matches!(fault, TrailFault::Corrupt(found) if found.seq == 3 && found.line == 3));
    assert!(records.next().is_none());
}

#[test]
fn a_reader_follows_while_many_segments_are_made() {
    let place = Place::new();
    let trail = place.open_with(Options { segment_bytes: 1024, ..Options::default() });
    let mut records = trail.calls_since(0).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=2000 {
                trail.append(Stream::Calls, NOW, &serde_json::json!({ "n": n })).unwrap();
            }
        });
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        let mut next = 1;
        while next <= 2000 {
            match records.next() {
                Some(record) => {
                    assert_eq!(record.unwrap().seq, next);
                    next += 1;
                }
                None => assert!(std::time::Instant::now() < deadline, "stuck before {next}"),
            }
        }
    });
}
