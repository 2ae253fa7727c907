//! The data folder: whose it is, what is in it, whether there is room, and whether its sockets and its time can be.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bailiwick_pipeline::ports::Clock as _;
use bailiwick_trail::{Reader, Stream};
use rustix::{fs::statvfs, process::geteuid};

use super::Findings;
use crate::{
    adapters::SystemClock,
    cli::{Session, places::quoted},
    run::{AHEAD_MS, latest_on_record},
};

/// A path of a socket has at most so many bytes (`sun_path` of unix(7) has 108, one of them NUL).
const SOCKET_BYTES: usize = 107;
/// Below this nothing is recorded for long, bytes.
const LEAST_ROOM: u64 = 64 << 20;
/// Below this somebody should look, bytes.
const LITTLE_ROOM: u64 = 1 << 30;
/// A clock that shows less was never set: 2025, unix milliseconds.
const UNSET_MS: u64 = 1_735_689_600_000;

pub(super) fn look(session: &Session, findings: &mut Findings) {
    let data = &session.places.data;
    for socket in [data.admin_socket(), data.agent_socket()] {
        let length = socket.as_os_str().len();
        if length > SOCKET_BYTES {
            let what = format!("the path of this socket has {length} bytes, and the system takes {SOCKET_BYTES}");
            findings.fault(
                "socket_path",
                socket.display().to_string(),
                what,
                "choose a folder with a shorter path: `--data DIR`",
            );
        }
    }
    clock(session, findings);
    let path = data.path();
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let at = path.display().to_string();
            findings.note("data", at, "the data folder is not there yet", "the first start makes it, for its own user alone");
            room(nearest_folder(path), findings);
        }
        Err(why) => {
            findings.fault(
                "data",
                path.display().to_string(),
                format!("it can't be looked at: {why}"),
                "name another: `--data DIR`",
            );
        }
        Ok(_) => {
            contents(path, findings);
            room(path, findings);
        }
    }
}

/// The folder that is there on the way to one that isn't.
fn nearest_folder(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.is_dir()).unwrap_or(path)
}

/// Everything in it belongs to its user alone, and is no link: a link could lead what is written elsewhere.
fn contents(path: &Path, findings: &mut Findings) {
    let us = geteuid().as_raw();
    let mut open: Vec<PathBuf> = vec![path.to_owned()];
    let mut looked = 0_u32;
    while let Some(path) = open.pop() {
        looked += 1;
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let at = path.display().to_string();
        if found.is_symlink() && looked > 1 {
            findings.fault(
                "link",
                at,
                "this is a link, and what the gateway keeps must be where it seems to be",
                "put the file itself there",
            );
            continue;
        }
        let found = fs::metadata(&path).unwrap_or(found);
        if found.uid() != us {
            let what = format!("it belongs to user {}, and this is user {us}", found.uid());
            findings.fault("owner", at, what, "run the gateway, and this, as the user that owns its data folder");
        } else if found.mode() & 0o077 != 0 {
            let what = format!("others may open it (mode {:o}), and it holds secrets", found.mode() & 0o777);
            let mode = if found.is_dir() { "700" } else { "600" };
            findings.fault("mode", at, what, format!("chmod {mode} {}", quoted(&path)));
        }
        // A folder of one's own that is this large is not looked through to its end.
        if found.is_dir() && looked < 2000 {
            open.extend(fs::read_dir(&path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())));
        }
    }
}

fn room(path: &Path, findings: &mut Findings) {
    let Ok(space) = statvfs(path) else { return };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let (at, mib) = (path.display().to_string(), free >> 20);
    let remedy = "make room: a record that can't be written stops every call";
    if free < LEAST_ROOM {
        findings.fault("space", at, format!("{mib} MiB are free on this file system"), remedy);
    } else if free < LITTLE_ROOM {
        findings.warning("space", at, format!("{mib} MiB are free on this file system"), remedy);
    } else if space.f_files > 0 && space.f_favail < 1000 {
        findings.warning("space", at, format!("{} more files may be made on this file system", space.f_favail), remedy);
    }
}

/// The clock against the last record: a gateway does not start where the record is from the future.
fn clock(session: &Session, findings: &mut Findings) {
    let now_ms = SystemClock.now_ms();
    if now_ms < UNSET_MS {
        let what = "the system's clock shows a time before 2025: nothing would expire when it should";
        findings.fault("clock", "the system's clock", what, "set it, best by NTP");
    }
    let trail = session.places.data.trail();
    if !trail.is_dir() {
        return;
    }
    let at = trail.display().to_string();
    let readable = Reader::open(&trail).and_then(|reader| {
        for stream in Stream::ALL {
            if let Some(record) = reader.records(stream, bailiwick_trail::Start::Last(1))?.next() {
                record?;
            }
        }
        Ok(())
    });
    if let Err(fault) = readable {
        findings.fault("trail", at, format!("the trail can't be read: {fault}"), "`bailiwick audit verify` says what is damaged");
        return;
    }
    let ahead_ms = latest_on_record(&session.places.data).saturating_sub(now_ms);
    if ahead_ms > AHEAD_MS {
        let what = format!("the last record is {} s ahead of the system's clock: a gateway does not start so", ahead_ms / 1000);
        findings.fault(
            "clock",
            at,
            what,
            "set the clock right; where it was wrong when that was recorded, put the data folder aside",
        );
    } else if ahead_ms > 2000 {
        let what = format!("the last record is {} s ahead of the system's clock", ahead_ms / 1000);
        findings.warning(
            "clock",
            at,
            what,
            "set the clock, best by NTP: a gateway takes the later time and waits until the clock is there",
        );
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_others_could_open_or_turn_elsewhere_is_found() {
        let base = tempfile::tempdir().unwrap();
        let data = base.path().join("d");
        fs::create_dir_all(data.join("trail")).unwrap();
        for (path, mode) in [(data.clone(), 0o700), (data.join("trail"), 0o700)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut findings = Findings::default();
        contents(&data, &mut findings);
        assert!(findings.0.is_empty(), "{findings:?}");
        fs::write(data.join("open"), "").unwrap();
        fs::set_permissions(data.join("open"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", data.join("trail/calls")).unwrap();
        contents(&data, &mut findings);
        let mut ids: Vec<&str> = findings.0.iter().map(|finding| finding.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["link", "mode"], "{findings:?}");
    }
}
