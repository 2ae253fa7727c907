//! The trail as the gateway writes it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::fault::TrailFault;
use crate::folder::{Folder, Lock};
use crate::heads::{self, Head};
use crate::lane::Lane;
use crate::medium::{Kernel, Medium};
use crate::read::{Reader, Record, Records, Start};
use crate::recover::{Recovery, open_end};
use crate::stream::{PerStream, Stream};
use crate::sync::{self, Bell};

/// How a trail is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment is closed before it would grow beyond this many bytes.
    pub segment_bytes: u64,
    /// How long a record that nobody waits for may wait to be synced.
    pub linger: Duration,
}

impl Default for Options {
    /// 64 MiB, and 25 ms: with the sync itself, records are on disk within 50 ms.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, linger: Duration::from_millis(25) }
    }
}

/// The trail of a running gateway. Dropping it syncs everything, writes the heads and lets go of the folder.
pub struct Trail {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
    reader: Reader,
    _lock: Lock,
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    stream: Stream,
    seq: u64,
}

impl Appended {
    /// The stream it was written to.
    pub fn stream(self) -> Stream {
        self.stream
    }

    /// Its place in the stream, from 1.
    pub fn seq(self) -> u64 {
        self.seq
    }
}

/// What the writers and the sync thread share.
pub(crate) struct Core {
    pub(crate) folder: Folder,
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) options: Options,
    pub(crate) lanes: PerStream<Lane>,
    pub(crate) bell: Bell,
    pub(crate) written_heads: Mutex<PerStream<Head>>,
    /// Why the trail is lost, once it is.
    lost: OnceLock<Arc<str>>,
}

impl Trail {
    /// Opens the trail in `folder` (made with mode 0700 when it isn't there), and locks it.
    ///
    /// Checks the end of every stream. A torn last line is put aside and reported; anything else that is wrong is a
    /// fault, and nothing is changed.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Recovery), TrailFault> {
        Self::open_on(folder, options, Arc::new(Kernel))
    }

    pub(crate) fn open_on(folder: &Path, options: Options, medium: Arc<dyn Medium>) -> Result<(Self, Recovery), TrailFault> {
        let path = folder;
        let folder = Folder::own(path)?;
        let reader = Reader::open(path)?;
        let lock = folder.lock()?;
        let heads = heads_at_start(&folder)?;
        let mut recovery = Recovery::default();
        let lanes = PerStream::try_new(|stream| {
            open_end(&folder, stream, *heads.of(stream), &mut recovery).map(|end| Lane::new(stream, end))
        })?;
        let core = Arc::new(Core {
            folder,
            medium,
            options,
            lanes,
            bell: Bell::default(),
            written_heads: Mutex::new(heads),
            lost: OnceLock::new(),
        });
        let work = Arc::clone(&core);
        let thread = std::thread::Builder::new()
            .name("trail-sync".to_owned())
            .spawn(move || sync::run(&work))
            .map_err(|fault| TrailFault::io("start the sync thread of", path, fault))?;
        Ok((Self { core, thread: Some(thread), reader, _lock: lock }, recovery))
    }

    /// Writes `record` (a struct or map with named fields) to `stream`, with `unix_ms` as its time.
    ///
    /// Returns once the record survives the death of this process; [`Trail::synced`] waits until it survives that of
    /// the machine. It does not block but for the write itself, and for the syncs between two segments.
    ///
    /// [`TrailFault::Lost`] means that nothing more will ever be recorded, and so nothing more may happen; any other
    /// fault is this record's own, which was not written.
    pub fn append(&self, stream: Stream, unix_ms: u64, record: &impl Serialize) -> Result<Appended, TrailFault> {
        let lane = self.core.lanes.of(stream);
        let seq = lane.append(&self.core, unix_ms, record)?;
        if lane.soil() {
            self.core.bell.touch();
        }
        Ok(Appended { stream, seq })
    }

    /// Waits until `record` is on disk. All who wait at the same time share one `fdatasync`.
    pub async fn synced(&self, record: Appended) -> Result<(), TrailFault> {
        self.synced_to(record.stream, record.seq).await
    }

    /// Waits until `stream` is on disk up to record `seq`.
    pub async fn synced_to(&self, stream: Stream, seq: u64) -> Result<(), TrailFault> {
        let lane = self.core.lanes.of(stream);
        if lane.progress().synced.seq < seq {
            if lane.last().seq < seq {
                return Err(TrailFault::NotAppended { stream, seq });
            }
            let mut progress = lane.watch();
            self.core.bell.want(stream);
            // It can't be closed: we hold the lane.
            let _ = progress.wait_for(|progress| progress.lost || progress.synced.seq >= seq).await;
        }
        self.core.alive()
    }

    /// Syncs every stream and writes the heads; blocks until it is done.
    pub fn flush(&self) -> Result<(), TrailFault> {
        for stream in Stream::ALL {
            self.core.sync(stream);
        }
        self.core.write_heads();
        self.core.alive()
    }

    /// Whether nothing more can be recorded, so that every call must be denied.
    pub fn is_lost(&self) -> bool {
        self.core.alive().is_err()
    }

    /// The seq of the last record of `stream`; 0 when there is none.
    pub fn last_seq(&self, stream: Stream) -> u64 {
        self.core.lanes.of(stream).last().seq
    }

    /// Reads what was written, also while more is written.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The records of `calls` after record `seq`: what a store that has seen records up to `seq` has yet to see.
    pub fn calls_since(&self, seq: u64) -> Result<Records, TrailFault> {
        self.reader.records(Stream::Calls, Start::Seq(seq.saturating_add(1)))
    }

    /// The intents after record `seq` of `calls` that have no outcome, in order.
    pub fn open_intents(&self, seq: u64) -> Result<Vec<Record>, TrailFault> {
        self.reader.open_intents(seq)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.core.bell.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("folder", &self.core.folder).field("lost", &self.core.lost).finish_non_exhaustive()
    }
}

impl Core {
    /// Whether records can still be written.
    pub(crate) fn alive(&self) -> Result<(), TrailFault> {
        self.lost.get().map_or(Ok(()), |why| Err(TrailFault::Lost { why: Arc::clone(why) }))
    }

    /// The trail is lost from here on. The first reason stays.
    pub(crate) fn lose(&self, why: String) -> TrailFault {
        let why = Arc::clone(self.lost.get_or_init(|| why.into()));
        self.lanes.iter().for_each(Lane::lose);
        TrailFault::Lost { why }
    }
}

/// The heads as they were written. A stream without a head is new, or somebody took the heads away.
fn heads_at_start(folder: &Folder) -> Result<PerStream<Head>, TrailFault> {
    let known = heads::read(folder)?.unwrap_or_default();
    for stream in Stream::ALL {
        if known.of(stream).is_none() && !folder.segments(stream)?.is_empty() {
            let why = format!("is missing or has no head of `{stream}`, although there are records");
            return Err(TrailFault::Heads { path: folder.path_of(heads::NAME), why });
        }
    }
    let heads = PerStream::new(|stream| known.of(stream).unwrap_or(Head::genesis(stream)));
    // Before the first segment is made, so that a crash between the two can't look like heads taken away.
    if known.iter().any(Option::is_none) {
        heads::write(folder, &heads)?;
        folder.sync()?;
    }
    Ok(heads)
}
