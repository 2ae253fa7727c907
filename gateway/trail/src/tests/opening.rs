//! Opening a trail: who may, what a crash left, what is refused.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn tear(place: &Place, stream: Stream, bytes: &[u8]) {
    let path = place.segments(stream).pop().unwrap();
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_torn_last_line_is_put_aside_and_reported() {
    let place = Place::written(2);
    let torn = b"{\"v\":1,\"stream\":\"calls\",\"seq\":5,\"ti";
    tear(&place, Stream::Calls, torn);
    assert_eq!(place.bad().wrong, crate::Wrong::Torn { bytes: torn.len() as u64 });
    let live = verify(&place.dir(), Liveness::Live).unwrap();
    assert!(live.is_intact());
    assert_eq!(live.streams[0].unfinished_bytes, torn.len() as u64);

    let (trail, recovery) = Trail::open(&place.dir(), Options::default()).unwrap();
    let [found] = &recovery.torn[..] else { panic!("{recovery:?}") };
    assert_eq!((found.stream, found.seq, found.bytes), (Stream::Calls, 5, torn.len() as u64));
    assert_eq!(found.kept, place.file("calls-00000000000000000001.jsonl.torn-5"));
    assert_eq!(std::fs::read(&found.kept).unwrap(), torn);
    assert_eq!(trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap().seq(), 5);
    drop(trail);
    assert_eq!(place.intact().streams[0].records, 5);
    assert_eq!(Trail::open(&place.dir(), Options::default()).unwrap().1, crate::Recovery::default());
}

#[test]
fn two_tears_at_the_same_record_are_both_kept() {
    let place = Place::written(2);
    for torn in [b"one", b"two"] {
        tear(&place, Stream::Calls, torn);
        let (_, recovery) = Trail::open(&place.dir(), Options::default()).unwrap();
        assert_eq!(std::fs::read(&recovery.torn[0].kept).unwrap(), torn);
    }
    assert_eq!(std::fs::read(place.file("calls-00000000000000000001.jsonl.torn-5")).unwrap(), b"one");
}

#[test]
fn a_whole_last_line_that_is_no_record_is_refused() {
    let place = Place::written(2);
    tear(&place, Stream::Calls, b"torn\n");
    assert!(matches!(place.fault(), TrailFault::Corrupt(found) if found.line == 5 && found.seq == 5));
}

#[test]
fn a_second_gateway_is_refused_and_told_who_holds_the_lock() {
    let place = Place::new();
    let first = place.open();
    let fault = place.fault().to_string();
    assert!(fault.contains(&format!("(pid {})", std::process::id())), "{fault}");
    assert!(fault.contains("/trail/lock`"), "{fault}");
    drop(first);
    place.open();
}

#[test]
fn folder_and_files_are_ours_alone() {
    let place = Place::written(1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&place.dir()), 0o700);
    for entry in std::fs::read_dir(place.dir()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn what_others_can_open_is_refused_with_the_command_that_helps() {
    let place = Place::written(1);
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod(&place.dir(), 0o755);
    assert!(place.fault().to_string().contains("(mode 0755): run `chmod 700 /"));
    chmod(&place.dir(), 0o700);
    let segment = &place.segments(Stream::Calls)[0];
    chmod(segment, 0o640);
    assert!(place.fault().to_string().contains("(mode 0640): run `chmod 600 /"));
    chmod(segment, 0o600);
    place.open();
}

#[test]
fn links_are_not_followed() {
    let place = Place::written(1);
    let link = place.0.path().join("link");
    symlink(place.dir(), &link).unwrap();
    assert!(Trail::open(&link, Options::default()).is_err());

    for name in ["calls-00000000000000000001.jsonl", "heads.json", "lock"] {
        let (path, aside) = (place.file(name), place.0.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        assert!(matches!(place.fault(), TrailFault::NotRegular { .. }), "{name}");
        std::fs::rename(&aside, &path).unwrap();
    }
    place.open();
}

#[test]
fn a_killed_gateway_loses_no_record_it_had_appended() {
    if let Some(folder) = child_folder() {
        let (trail, _) = Trail::open(&folder, Options { segment_bytes: 8192, ..Options::default() }).unwrap();
        loop {
            let at = trail.append(Stream::Calls, NOW, &serde_json::json!({ "a": 1 })).unwrap();
            println!("appended {}", at.seq());
        }
    }
    let place = Place::new();
    let mut command = child("tests::opening::a_killed_gateway_loses_no_record_it_had_appended", &place.dir(), "");
    let mut process = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = std::io::BufReader::new(process.stdout.take().unwrap());
    let mut last = 0;
    for line in std::io::BufRead::lines(output).map_while(Result::ok) {
        if let Some(seq) = line.split_once("appended ").and_then(|(_, seq)| seq.parse::<u64>().ok()) {
            last = last.max(seq);
        }
        if last == 500 {
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    assert!(last >= 500);
    let (trail, _) = Trail::open(&place.dir(), Options::default()).unwrap();
    assert!(trail.last_seq(Stream::Calls) >= last);
    drop(trail);
    place.assert_intact();
}
