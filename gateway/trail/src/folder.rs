//! The trail's folder: every file in it is opened relative to the folder, without following links.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};

use crate::fault::TrailFault;
use crate::stream::Stream;

const LOCK: &str = "lock";
const DIGITS: usize = 20;

/// An open trail folder.
#[derive(Debug)]
pub(crate) struct Folder {
    file: File,
    path: PathBuf,
    /// Whether files in it must be ours alone.
    private: bool,
}

/// A segment file: its name says its stream and the seq of its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) name: String,
}

impl Segment {
    /// The segment of `stream` that begins with record `first`.
    pub(crate) fn new(stream: Stream, first: u64) -> Self {
        Self { first, name: format!("{stream}-{first:020}.jsonl") }
    }

    /// The segment of `stream` in a file called `name`, if it is one.
    fn named(stream: Stream, name: &str) -> Option<Self> {
        let digits = name.strip_prefix(stream.name())?.strip_prefix('-')?.strip_suffix(".jsonl")?;
        let first = (digits.len() == DIGITS).then(|| digits.parse().ok())??;
        Some(Self { first, name: name.to_owned() })
    }
}

impl Folder {
    /// Opens the folder of a trail that is to be written; makes it when it isn't there. It must be ours alone.
    pub(crate) fn own(path: &Path) -> Result<Self, TrailFault> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|fault| TrailFault::io("make the audit folder", path, fault))?;
        let folder = Self::open(path, true)?;
        Self::check_private(&folder.file, path, 0o700)?;
        Ok(folder)
    }

    /// Opens the folder of a trail that is only read; it may be a copy that belongs to an auditor.
    pub(crate) fn look_at(path: &Path) -> Result<Self, TrailFault> {
        Self::open(path, false)
    }

    fn open(path: &Path, private: bool) -> Result<Self, TrailFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|fault| TrailFault::io("open the audit folder (links are not followed)", path, fault))?;
        Ok(Self { file: fd.into(), path: path.to_owned(), private })
    }

    /// The path of `name` in this folder, to be shown.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The segments of `stream`, in order.
    pub(crate) fn segments(&self, stream: Stream) -> Result<Vec<Segment>, TrailFault> {
        let fault = |fault| TrailFault::io("list the audit folder", &self.path, fault);
        let mut segments = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.file).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            segments.extend(entry.file_name().to_str().ok().and_then(|name| Segment::named(stream, name)));
        }
        segments.sort_by_key(|segment| segment.first);
        Ok(segments)
    }

    /// The segment that begins with record `next`, when the list goes on with a later one although it is there: a list
    /// of a folder that is being written may pass over a new file. Its name is known without the list.
    pub(crate) fn passed_over(&self, stream: Stream, next: u64, listed: &Segment) -> Result<Option<Segment>, TrailFault> {
        let passed_over = Segment::new(stream, next);
        let is_there = listed.first > next && self.read(&passed_over.name)?.is_some();
        Ok(is_there.then_some(passed_over))
    }

    /// Opens `name` to be read; `None` when it isn't there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<File>, TrailFault> {
        match self.open_file(name, OFlags::RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(TrailFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Opens `name` to be appended to.
    pub(crate) fn append(&self, name: &str) -> Result<File, TrailFault> {
        self.open_file(name, OFlags::WRONLY | OFlags::APPEND)
    }

    /// Makes `name`, which must not be there, to be appended to; its entry is on disk when this returns.
    pub(crate) fn create(&self, name: &str) -> Result<File, TrailFault> {
        let file = self.open_file(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL)?;
        self.sync()?;
        Ok(file)
    }

    /// Puts `bytes` into `name` at once: a reader finds the old content or the new one.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), TrailFault> {
        let draft = format!("{name}.tmp");
        let mut file = self.open_file(&draft, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        written.map_err(|fault| TrailFault::io("write", &self.path_of(&draft), fault))?;
        rustix::fs::renameat(&self.file, draft, &self.file, name)
            .map_err(|fault| TrailFault::io("replace", &self.path_of(name), fault))
    }

    /// Syncs the folder's entries to disk.
    pub(crate) fn sync(&self) -> Result<(), TrailFault> {
        self.file.sync_all().map_err(|fault| TrailFault::io("sync", &self.path, fault))
    }

    /// Takes the lock that keeps a second gateway off.
    pub(crate) fn lock(&self) -> Result<Lock, TrailFault> {
        let mut file = self.open_file(LOCK, OFlags::RDWR | OFlags::CREATE)?;
        let path = self.path_of(LOCK);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = (&file).take(20).read_to_string(&mut pid);
                let holder = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                return Err(TrailFault::Locked { path, holder });
            }
            Err(fault) => return Err(TrailFault::io("lock", &path, fault)),
        }
        let pid = format!("{}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
        written.map_err(|fault| TrailFault::io("write", &path, fault))?;
        Ok(Lock(file))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<File, TrailFault> {
        let path = self.path_of(name);
        // NONBLOCK: a named pipe in the place of a file must not hang us.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: File = match rustix::fs::openat(&self.file, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => fd.into(),
            Err(rustix::io::Errno::LOOP) => return Err(TrailFault::NotRegular { path }),
            Err(fault) => return Err(TrailFault::io("open", &path, fault)),
        };
        let stat = stat(&file, &path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(TrailFault::NotRegular { path });
        }
        if self.private {
            Self::check_private(&file, &path, 0o600)?;
        }
        Ok(file)
    }

    fn check_private(file: &File, path: &Path, wanted: u32) -> Result<(), TrailFault> {
        let stat = stat(file, path)?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(TrailFault::Foreign { path: path.to_owned(), owner: stat.st_uid, user });
        }
        let mode = stat.st_mode & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TrailFault::Exposed { path: path.to_owned(), mode, wanted });
        }
        Ok(())
    }
}

/// The lock on a trail; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone isn't enough: a child between its fork and its exec has the file open too.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

fn stat(file: &File, path: &Path) -> Result<Stat, TrailFault> {
    rustix::fs::fstat(file).map_err(|fault| TrailFault::io("examine", path, fault))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that stops at the first surprise is what we want")]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_let_go_although_a_forked_child_has_it_open() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::own(&place.path().join("trail")).unwrap();
        let lock = folder.lock().unwrap();
        let _of_the_child = lock.0.try_clone().unwrap();
        assert!(matches!(folder.lock(), Err(TrailFault::Locked { .. })));
        drop(lock);
        folder.lock().unwrap();
    }
}
