//! Opening a stream where it ended: its last segment is checked, and a torn last line is put aside.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use crate::chain::{Chain, Finding, Tail, Wrong, walk};
use crate::fault::TrailFault;
use crate::folder::{Folder, Segment};
use crate::heads::Head;
use crate::lane::Writer;
use crate::line::{Frame, MAX_RECORD_BYTES};
use crate::stream::{Digest, Stream};

/// What opening a trail found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Torn last lines that were put aside. Whoever opens the trail records them in `admin`.
    pub torn: Vec<Torn>,
}

/// A last line without an end: the process or the machine died while it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The stream.
    pub stream: Stream,
    /// The seq the record had, which its successor has now.
    pub seq: u64,
    /// How many bytes of it had been written.
    pub bytes: u64,
    /// The segment file it was cut from.
    pub segment: PathBuf,
    /// The file in which the bytes are kept.
    pub kept: PathBuf,
}

/// Opens the end of `stream`, or begins it.
pub(crate) fn open_end(folder: &Folder, stream: Stream, head: Head, recovery: &mut Recovery) -> Result<Writer, TrailFault> {
    let segments = folder.segments(stream)?;
    let Some(last) = segments.last() else {
        let segment = Segment::new(stream, 1);
        if head.seq > 0 {
            return Err(finding(stream, &segment, 1, 1, Wrong::CutTail { synced: head.seq }).into());
        }
        let file = folder.create(&segment.name)?;
        return Ok(Writer::new(file, segment, 0, head));
    };
    let mut chain = Chain::genesis(stream);
    let mut tail = None;
    for segment in from_head(&segments, head, folder, &mut chain)? {
        tail = walk(folder, segment, &mut chain, |frame, _| head.check(frame))?;
        if let Some(Tail { line, bytes, .. }) = tail.filter(|_| segment != last) {
            return Err(finding(stream, segment, line, chain.next, Wrong::Torn { bytes }).into());
        }
    }
    if chain.next <= head.seq {
        let line = chain.next.saturating_sub(last.first) + 1;
        return Err(finding(stream, last, line, chain.next, Wrong::CutTail { synced: head.seq }).into());
    }
    let file = folder.append(&last.name)?;
    if let Some(tail) = tail {
        recovery.torn.push(put_aside(folder, last, &chain, tail, &file)?);
    }
    let io = |fault| TrailFault::io("sync", &folder.path_of(&last.name), fault);
    // What the last process wrote but didn't sync must not be lost after records that build on it are.
    file.sync_data().map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let hash = chain.prev.unwrap_or(stream.genesis());
    Ok(Writer::new(file, last.clone(), bytes, Head { seq: chain.next - 1, hash }))
}

/// The segments from that with the head's record on, with `chain` set to where they begin.
fn from_head<'a>(segments: &'a [Segment], head: Head, folder: &Folder, chain: &mut Chain) -> Result<&'a [Segment], TrailFault> {
    let at = segments.iter().rposition(|segment| segment.first <= head.seq);
    let start = at.unwrap_or(if head.seq == 0 { segments.len().saturating_sub(1) } else { 0 });
    let (before, from) = segments.split_at_checked(start).unwrap_or((&[], segments));
    if let (Some(before), Some(first)) = (before.last(), from.first()) {
        chain.prev = Some(last_hash(folder, chain.stream, before, first.first)?);
        chain.next = first.first;
    }
    Ok(from)
}

/// The hash of the last record of `segment`, behind which a segment with first seq `next` begins.
fn last_hash(folder: &Folder, stream: Stream, segment: &Segment, next: u64) -> Result<Digest, TrailFault> {
    let line = (next.saturating_sub(1)).saturating_sub(segment.first) + 1;
    let bad = |wrong| finding(stream, segment, line, next.saturating_sub(1), wrong);
    let mut file = folder.read(&segment.name)?.ok_or_else(|| bad(Wrong::MissingSegment))?;
    let mut end = Vec::new();
    let read = file.metadata().and_then(|meta| {
        file.seek(SeekFrom::Start(meta.len().saturating_sub(MAX_RECORD_BYTES as u64)))?;
        file.take(MAX_RECORD_BYTES as u64).read_to_end(&mut end)
    });
    read.map_err(|fault| TrailFault::io("read", &folder.path_of(&segment.name), fault))?;
    let end = end.strip_suffix(b"\n").ok_or_else(|| bad(Wrong::NotARecord("it has no end".to_owned())))?;
    let last = end.rsplit(|byte| *byte == b'\n').next().unwrap_or(end);
    let frame = Frame::parse(last).map_err(|why| bad(Wrong::NotARecord(why.to_owned())))?;
    if !frame.is_whole() {
        return Err(bad(Wrong::HashMismatch).into());
    }
    if frame.stream != stream.name() || frame.seq + 1 != next {
        return Err(bad(Wrong::Gap { found: frame.seq }).into());
    }
    Ok(frame.hash)
}

/// Keeps a torn last line in a file of its own, then cuts it from the segment.
fn put_aside(folder: &Folder, segment: &Segment, chain: &Chain, tail: Tail, end: &File) -> Result<Torn, TrailFault> {
    let path = folder.path_of(&segment.name);
    let io = |fault| TrailFault::io("put aside the torn last line of", &path, fault);
    let mut torn = Vec::new();
    let mut file = folder.read(&segment.name)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
    file.seek(SeekFrom::Start(tail.offset)).map_err(io)?;
    file.take(tail.bytes).read_to_end(&mut torn).map_err(io)?;

    let (kept, mut file) = fresh_file(folder, &format!("{}.torn-{}", segment.name, chain.next))?;
    file.write_all(&torn).and_then(|()| file.sync_all()).map_err(io)?;
    end.set_len(tail.offset).and_then(|()| end.sync_all()).map_err(io)?;
    Ok(Torn { stream: chain.stream, seq: chain.next, bytes: tail.bytes, segment: path, kept: folder.path_of(&kept) })
}

/// Makes a file called `name`, or `name.2` and so on when a crash while putting aside left one.
fn fresh_file(folder: &Folder, name: &str) -> Result<(String, File), TrailFault> {
    let mut names = std::iter::once(name.to_owned()).chain((2..100).map(|n| format!("{name}.{n}")));
    loop {
        let name = names.next().unwrap_or_else(|| name.to_owned());
        let exhausted = names.size_hint().1 == Some(0);
        match folder.create(&name) {
            Ok(file) => return Ok((name, file)),
            Err(TrailFault::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists && !exhausted => {}
            Err(fault) => return Err(fault),
        }
    }
}

fn finding(stream: Stream, segment: &Segment, line: u64, seq: u64, wrong: Wrong) -> Finding {
    Finding { stream, file: segment.name.clone(), line, seq, wrong }
}
