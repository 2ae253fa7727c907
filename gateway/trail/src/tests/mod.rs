//! Tests over real files; only a failing disk is made up, where the system has no way to make one.

mod chain;
mod forging;
mod lost;
mod opening;
mod reading;
mod syncing;
mod tampering;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::medium::{Kernel, Medium};
use crate::{Finding, Liveness, Options, Report, Stream, Trail, TrailFault, verify};

const NOW: u64 = 1_795_303_179_042;

#[derive(Serialize)]
struct Sample<'a> {
    event: &'a str,
    call_id: &'a str,
    tool: &'a str,
}

/// A trail folder that goes when the test ends.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("trail")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn open(&self) -> Trail {
        self.open_with(Options::default())
    }

    fn open_with(&self, options: Options) -> Trail {
        Trail::open(&self.dir(), options).unwrap().0
    }

    fn open_on(&self, medium: &Arc<Disk>) -> Trail {
        let medium = Arc::clone(medium) as Arc<dyn Medium>;
        Trail::open_on(&self.dir(), Options::default(), medium).unwrap().0
    }

    fn fault(&self) -> TrailFault {
        Trail::open(&self.dir(), Options::default()).unwrap_err()
    }

    /// A trail that was written and closed: `calls` calls with intent, decision and outcome, in small segments.
    fn written(calls: u64) -> Self {
        let place = Self::new();
        place.write_more(1..=calls);
        place
    }

    fn write_more(&self, calls: impl IntoIterator<Item = u64>) {
        let trail = self.open_with(Options { segment_bytes: 2048, ..Options::default() });
        for call in calls {
            let call_id = format!("call-{call}");
            let record = |event| Sample { event, call_id: &call_id, tool: "tickets__get" };
            trail.append(Stream::Decisions, NOW + call, &record("allow")).unwrap();
            trail.append(Stream::Calls, NOW + call, &record("intent")).unwrap();
            trail.append(Stream::Calls, NOW + call, &record("outcome")).unwrap();
        }
    }

    fn report(&self) -> Report {
        verify(&self.dir(), Liveness::AtRest).unwrap()
    }

    fn intact(&self) -> Report {
        let report = self.report();
        assert!(report.is_intact(), "{:?}", report.findings().collect::<Vec<_>>());
        report
    }

    fn assert_intact(&self) {
        assert!(self.intact().is_intact());
    }

    /// The first bad place; neither the verifier nor the next start may miss it.
    fn bad(&self) -> Finding {
        let report = self.report();
        report.findings().next().expect("a finding").clone()
    }

    /// The segment files of `stream`, in order.
    fn segments(&self, stream: Stream) -> Vec<PathBuf> {
        let mut paths: Vec<_> = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(stream.name()) && path.extension().is_some_and(|it| it == "jsonl")
        });
        paths.sort();
        paths
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

/// A disk that counts its syncs, may be slow, and fails when told.
#[derive(Default)]
struct Disk {
    syncs: AtomicU64,
    slow_ms: AtomicU64,
    sync_fails: AtomicBool,
    /// The next write takes only this many bytes; `usize::MAX` stands for an error.
    short_write: AtomicUsize,
    write_fails: AtomicBool,
}

impl Medium for Disk {
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        if !self.write_fails.load(Ordering::SeqCst) {
            return Kernel.write(file, bytes);
        }
        match self.short_write.load(Ordering::SeqCst) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            some => Kernel.write(file, &bytes[..some]),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst)));
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Kernel.sync(file)
    }
}

/// This test, run as a process of its own with `CHILD_FOLDER` set, behind the shell commands `before`.
fn child(test: &str, folder: &Path, before: &str) -> std::process::Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("{before} exec \"$0\" --exact \"$1\" --nocapture")).arg(exe).arg(test);
    command.env("CHILD_FOLDER", folder);
    command
}

fn child_folder() -> Option<PathBuf> {
    std::env::var_os("CHILD_FOLDER").map(PathBuf::from)
}
