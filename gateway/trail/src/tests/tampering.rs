//! J144: whatever is changed in a trail is found, and the first bad record is named.

use proptest::prelude::*;

use super::*;
use crate::Wrong;

/// Changes the lines of the calls' only segment.
fn edited(edit: impl FnOnce(&mut Vec<String>)) -> Place {
    let place = Place::new();
    let trail = place.open();
    for n in 1..=10 {
        trail.append(Stream::Calls, NOW, &Sample { event: "seen", call_id: &format!("c{n}"), tool: "t" }).unwrap();
    }
    drop(trail);
    let path = place.segments(Stream::Calls).remove(0);
    let mut all = lines(&path);
    edit(&mut all);
    std::fs::write(path, all.concat()).unwrap();
    place
}

/// The verifier names it, and the gateway refuses to go on.
fn assert_found(place: &Place, line: u64, seq: u64, wrong: &Wrong) {
    let bad = place.bad();
    assert_eq!((bad.stream, bad.line, bad.seq, &bad.wrong), (Stream::Calls, line, seq, wrong), "{bad}");
    assert_eq!(bad.file, "calls-00000000000000000001.jsonl");
    match place.fault() {
        TrailFault::Corrupt(found) => assert_eq!(*found, bad),
        fault => panic!("{fault}"),
    }
}

#[test]
fn j144_edited_record() {
    let place = edited(|all| all[4] = all[4].replace("\"c5\"", "\"c6\""));
    assert_found(&place, 5, 5, &Wrong::HashMismatch);
}

#[test]
fn j144_edited_record_with_a_new_hash() {
    let place = edited(|all| {
        let changed = all[4].replace("\"c5\"", "\"c6\"");
        let covered = &changed[..changed.len() - 83];
        all[4] = format!("{covered},\"hash\":\"{}\"}}\n", crate::Digest::of(covered.as_bytes()));
    });
    assert_found(&place, 6, 6, &Wrong::PrevMismatch);
}

#[test]
fn j144_deleted_record() {
    assert_found(&edited(|all| drop(all.remove(4))), 5, 5, &Wrong::Gap { found: 6 });
}

#[test]
fn j144_reordered_records() {
    assert_found(&edited(|all| all.swap(4, 7)), 5, 5, &Wrong::Reordered { found: 8 });
}

#[test]
fn j144_duplicated_record() {
    assert_found(&edited(|all| all.insert(5, all[4].clone())), 6, 6, &Wrong::Duplicate { found: 5 });
}

#[test]
fn j144_inserted_line() {
    let place = edited(|all| all.insert(3, "{\"v\":1,\"stream\":\"calls\",\"seq\":4}\n".to_owned()));
    assert!(matches!(place.bad(), Finding { line: 4, seq: 4, wrong: Wrong::NotARecord(_), .. }));
    let place = edited(|all| all.insert(3, "\n".to_owned()));
    assert!(matches!(place.bad(), Finding { line: 4, seq: 4, wrong: Wrong::NotARecord(_), .. }));
}

#[test]
fn j144_a_line_without_end_does_not_fill_the_memory() {
    let place = edited(|all| all.insert(3, "x".repeat(crate::MAX_RECORD_BYTES * 3)));
    assert!(matches!(place.bad(), Finding { line: 4, seq: 4, wrong: Wrong::NotARecord(_), .. }));
    assert!(matches!(place.fault(), TrailFault::Corrupt(_)));
}

#[test]
fn j144_cut_tail() {
    assert_found(&edited(|all| all.truncate(7)), 8, 8, &Wrong::CutTail { synced: 10 });
    assert_found(&edited(Vec::clear), 1, 1, &Wrong::CutTail { synced: 10 });
}

#[test]
fn j144_cut_tail_in_the_middle_of_a_record() {
    let place = edited(|all| {
        all.truncate(9);
        all[8].truncate(40);
    });
    assert_eq!(place.bad().wrong, Wrong::Torn { bytes: 40 });
    // As of a trail that is being written it would pass for an unfinished record, were it not for the heads.
    let live = verify(&place.dir(), Liveness::Live).unwrap();
    assert_eq!(live.findings().next().unwrap().wrong, Wrong::CutTail { synced: 10 });
    assert!(matches!(place.fault(), TrailFault::Corrupt(_)));
    assert_eq!(lines(&place.segments(Stream::Calls)[0]).len(), 9, "a refused start changes nothing");
}

#[test]
fn j144_removed_stream_and_removed_segment() {
    let place = Place::written(20);
    let segments = place.segments(Stream::Calls);
    assert!(segments.len() > 3);
    std::fs::remove_file(&segments[1]).unwrap();
    let bad = place.bad();
    assert_eq!(bad.wrong, Wrong::MissingSegment);
    assert_eq!(segments[1].file_name().unwrap().to_str().unwrap(), format!("calls-{:020}.jsonl", bad.seq));
    for segment in place.segments(Stream::Calls) {
        std::fs::remove_file(segment).unwrap();
    }
    assert_eq!((place.bad().seq, place.bad().wrong), (1, Wrong::CutTail { synced: 40 }));
    assert!(matches!(place.fault(), TrailFault::Corrupt(_)));
}

#[test]
fn j144_swapped_files() {
    let place = Place::written(20);
    let (calls, decisions) = (place.segments(Stream::Calls), place.segments(Stream::Decisions));
    swap(&calls[0], &calls[1]);
    assert!(matches!(place.bad(), Finding { line: 1, seq: 1, wrong: Wrong::Gap { .. }, .. }), "{}", place.bad());
    swap(&calls[0], &calls[1]);
    place.assert_intact();
    swap(&calls[0], &decisions[0]);
    assert_eq!(place.bad().wrong, Wrong::OtherStream("decisions".to_owned()));
}

fn swap(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    std::fs::rename(one, &aside).unwrap();
    std::fs::rename(other, one).unwrap();
    std::fs::rename(aside, other).unwrap();
}

#[test]
fn j144_restored_old_file() {
    let place = Place::written(3);
    let last = place.segments(Stream::Calls).pop().unwrap();
    let old = std::fs::read(&last).unwrap();
    place.write_more(4..=4);
    std::fs::write(&last, old).unwrap();
    let bad = place.bad();
    assert!(matches!(bad.wrong, Wrong::CutTail { synced: 8 } | Wrong::MissingSegment), "{bad}");
    assert_eq!(bad.seq, 7);
}

#[test]
fn j144_replaced_stream() {
    let place = Place::written(3);
    let other = Place::new();
    other.write_more(100..=120);
    for segment in place.segments(Stream::Calls) {
        std::fs::remove_file(segment).unwrap();
    }
    for segment in other.segments(Stream::Calls) {
        std::fs::copy(&segment, place.file(segment.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    assert_eq!((place.bad().seq, place.bad().wrong), (6, Wrong::Replaced));
    assert!(matches!(place.fault(), TrailFault::Corrupt(_)));
}

#[test]
fn j144_removed_or_broken_heads() {
    let place = Place::written(3);
    std::fs::write(place.file("heads.json"), "{\"v\":1,\"streams\":{}}").unwrap();
    assert!(matches!(place.bad().wrong, Wrong::NoHeads(_)));
    assert!(matches!(place.fault(), TrailFault::Heads { .. }));
    std::fs::write(place.file("heads.json"), "").unwrap();
    assert!(matches!(place.bad().wrong, Wrong::NoHeads(_)));
    assert!(matches!(place.fault(), TrailFault::Heads { .. }));
    std::fs::remove_file(place.file("heads.json")).unwrap();
    assert!(matches!(place.bad().wrong, Wrong::NoHeads(_)));
    assert!(matches!(place.fault(), TrailFault::Heads { .. }));
}

#[test]
fn j144_a_bad_older_segment_is_found_by_the_verifier() {
    let place = Place::written(40);
    let path = &place.segments(Stream::Calls)[2];
    let mut all = lines(path);
    all[1] = all[1].replace("tickets__get", "tickets__got");
    std::fs::write(path, all.concat()).unwrap();
    let bad = place.bad();
    assert_eq!((bad.line, &bad.wrong), (2, &Wrong::HashMismatch));
    assert_eq!(bad.file, path.file_name().unwrap().to_str().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn j144_any_changed_byte_is_found_and_named(at in any::<proptest::sample::Index>(), flip in 1..=255_u8) {
        let place = edited(|_| {});
        let path = place.segments(Stream::Calls).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        let line = bytes[..at].split(|byte| *byte == b'\n').count() as u64;
        bytes[at] ^= flip;
        std::fs::write(&path, &bytes).unwrap();
        let bad = place.bad();
        prop_assert_eq!((bad.stream, bad.line, bad.seq), (Stream::Calls, line, line), "{}", bad);
        prop_assert!(Trail::open(&place.dir(), Options::default()).is_err());
    }
}
