//! The two system calls on which the trail's promises rest, so that tests can make them fail.

use std::fs::File;
use std::io::{self, Write as _};

/// Writes and syncs segment files.
pub(crate) trait Medium: Send + Sync {
    /// One `write(2)`: how many of `bytes` were taken.
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize>;
    /// One `fdatasync(2)`.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The operating system.
pub(crate) struct Kernel;

impl Medium for Kernel {
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match file.write(bytes) {
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
