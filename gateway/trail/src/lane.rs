//! One stream that is being written: its segment, its chain, and how far it is on disk.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::fault::TrailFault;
use crate::folder::Segment;
use crate::heads::Head;
use crate::line::{Envelope, write_line};
use crate::stream::Stream;
use crate::trail::Core;

/// A stream's writer, and what its waiters watch.
pub(crate) struct Lane {
    stream: Stream,
    writer: Mutex<Writer>,
    /// Held while a segment is synced: the system reports a failed write-back to one `fdatasync` only.
    syncing: Mutex<()>,
    progress: watch::Sender<Progress>,
    /// Whether a record was written since the last sync began.
    dirty: AtomicBool,
}

/// How far a stream is on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) synced: Head,
    pub(crate) lost: bool,
}

/// The end of a stream, where its next record goes.
pub(crate) struct Writer {
    pub(crate) file: Arc<File>,
    pub(crate) segment: Segment,
    /// Bytes in the segment.
    pub(crate) bytes: u64,
    /// Its last record.
    pub(crate) last: Head,
    /// Reused for every record.
    line: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(file: File, segment: Segment, bytes: u64, last: Head) -> Self {
        Self { file: Arc::new(file), segment, bytes, last, line: Vec::with_capacity(4096) }
    }
}

impl Lane {
    /// A lane that goes on where `writer` is; everything before is on disk.
    pub(crate) fn new(stream: Stream, writer: Writer) -> Self {
        let (progress, _) = watch::channel(Progress { synced: writer.last, lost: false });
        Self { stream, writer: Mutex::new(writer), syncing: Mutex::new(()), progress, dirty: AtomicBool::new(false) }
    }

    /// Writes one record, and returns its seq. A write that fails loses the trail before the next one can begin.
    pub(crate) fn append(&self, core: &Core, unix_ms: u64, record: &impl Serialize) -> Result<u64, TrailFault> {
        let mut writer = self.writer();
        core.alive()?;
        let Writer { line, last, .. } = &mut *writer;
        let seq = last.seq + 1;
        let envelope = Envelope { stream: self.stream, seq, unix_ms, prev: &last.hash };
        let hash = write_line(line, &envelope, record)?;
        let bytes = line.len() as u64;
        if writer.bytes > 0 && writer.bytes + bytes > core.options.segment_bytes {
            self.roll(core, &mut writer).map_err(|fault| core.lose(fault.to_string()))?;
        }
        store(core, &writer)?;
        writer.bytes += bytes;
        writer.last = Head { seq, hash };
        Ok(seq)
    }

    /// The last record written.
    pub(crate) fn last(&self) -> Head {
        self.writer().last
    }

    /// Notes that a record waits to be synced; whether it is the first.
    pub(crate) fn soil(&self) -> bool {
        // A plain load first: most records find it set, and needn't write to a line the sync thread reads.
        !self.dirty.load(Ordering::Acquire) && !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// Whether a record may wait to be synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Syncs every record written before this was called; a failure loses the trail.
    pub(crate) fn sync(&self, core: &Core) -> Result<(), TrailFault> {
        self.dirty.store(false, Ordering::Release);
        let (file, segment, last) = {
            let writer = self.writer();
            (Arc::clone(&writer.file), writer.segment.name.clone(), writer.last)
        };
        self.sync_to(core, &file, &segment, last)
    }

    /// The last record that is on disk, and whether the trail is lost.
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Watches how far the stream is on disk.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Tells all who wait that the trail is lost.
    pub(crate) fn lose(&self) {
        self.progress.send_modify(|progress| progress.lost = true);
    }

    fn sync_to(&self, core: &Core, file: &File, segment: &str, last: Head) -> Result<(), TrailFault> {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress().synced.seq >= last.seq {
            return Ok(());
        }
        // After a failed sync the system may call the next one a success although data is gone.
        core.alive()?;
        core.medium.sync(file).map_err(|fault| core.lose(format!("cannot sync `{segment}`: {fault}")))?;
        self.progress.send_modify(|progress| progress.synced = last);
        Ok(())
    }

    /// Closes the segment, synced, and begins the next one.
    fn roll(&self, core: &Core, writer: &mut Writer) -> Result<(), TrailFault> {
        self.sync_to(core, &writer.file, &writer.segment.name, writer.last)?;
        let segment = Segment::new(self.stream, writer.last.seq + 1);
        writer.file = Arc::new(core.folder.create(&segment.name)?);
        writer.segment = segment;
        writer.bytes = 0;
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A record whose `Serialize` panicked leaves only a worthless line behind.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One write of the whole line. What a failed write left is cut off again; if even that fails, the next start does it.
fn store(core: &Core, writer: &Writer) -> Result<(), TrailFault> {
    let Writer { file, segment, bytes, line, .. } = writer;
    let why = match core.medium.write(file, line) {
        Ok(written) if written == line.len() => return Ok(()),
        Ok(written) => format!("only {written} of {} bytes could be written", line.len()),
        Err(fault) => fault.to_string(),
    };
    let cut = match file.set_len(*bytes) {
        Ok(()) => String::new(),
        Err(fault) => format!(", nor cut off again ({fault})"),
    };
    Err(core.lose(format!("cannot write to `{}`: {why}{cut}", segment.name)))
}
