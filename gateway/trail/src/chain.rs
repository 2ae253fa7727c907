//! A stream's chain: which record must come next, and what is wrong when another one does.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};

use crate::fault::TrailFault;
use crate::folder::{Folder, Segment};
use crate::line::{Frame, MAX_RECORD_BYTES};
use crate::stream::{Digest, Stream};

/// The first bad place of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The stream.
    pub stream: Stream,
    /// The file's name in the trail's folder.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The record that should be there.
    pub seq: u64,
    /// What is there instead.
    pub wrong: Wrong,
}

/// What is wrong with a record, or with a place where one should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The line is no record: not JSON, or not in the form of a record.
    NotARecord(String),
    /// The record belongs to another stream.
    OtherStream(String),
    /// The bytes are not those that were hashed.
    HashMismatch,
    /// The record is linked to another one than that before it.
    PrevMismatch,
    /// One or more records are missing here: this one came instead.
    Gap {
        /// The seq that was found.
        found: u64,
    },
    /// The record was moved behind another one, which is here now.
    Reordered {
        /// The seq that was found.
        found: u64,
    },
    /// A record that was there before comes again.
    Duplicate {
        /// The seq that was found.
        found: u64,
    },
    /// The segment file with this record is missing.
    MissingSegment,
    /// Two segment files claim this record.
    Overlap,
    /// The stream ends before this record, although it had been synced.
    CutTail {
        /// The last record that had been synced.
        synced: u64,
    },
    /// This record is not the one that had been synced: the stream or the heads were replaced.
    Replaced,
    /// The last line has no end, and nobody is writing it.
    Torn {
        /// How many bytes it has.
        bytes: u64,
    },
    /// A second intent of a call, or an intent after its outcome.
    IntentAgain {
        /// The call.
        call_id: String,
    },
    /// A second outcome of a call.
    OutcomeAgain {
        /// The call.
        call_id: String,
    },
    /// `heads.json` is missing or unreadable, so that a cut tail can't be found.
    NoHeads(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, file, line, seq, wrong } = self;
        write!(f, "stream `{stream}`, file `{file}`, line {line}, record {seq}: {wrong}")
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord(why) => write!(f, "the line is no record: {why}"),
            Self::OtherStream(name) => write!(f, "it belongs to stream `{}`", name.escape_debug()),
            Self::HashMismatch => f.write_str("its hash is not that of its bytes: it was changed"),
            Self::PrevMismatch => f.write_str("it is not linked to the record before it: one of them was changed"),
            Self::Gap { found } => write!(f, "it is missing: record {found} comes instead"),
            Self::Reordered { found } => write!(f, "it was moved: record {found} comes first"),
            Self::Duplicate { found } => write!(f, "record {found} comes a second time"),
            Self::MissingSegment => f.write_str("its file is missing"),
            Self::Overlap => f.write_str("two files claim it"),
            Self::CutTail { synced } => write!(f, "it is missing: the stream ends early, it had {synced} records"),
            Self::Replaced => f.write_str("it is not the record that had been synced: the stream or its heads were replaced"),
            Self::Torn { bytes } => write!(f, "the line is torn after {bytes} bytes"),
            Self::IntentAgain { call_id } => write!(f, "an intent of call `{}` comes again", call_id.escape_debug()),
            Self::OutcomeAgain { call_id } => {
                write!(f, "call `{}` has a second outcome", call_id.escape_debug())
            }
            Self::NoHeads(why) => {
                write!(f, "`heads.json` {why}, so that a cut tail can't be found")
            }
        }
    }
}

/// A stream's chain up to some record.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) stream: Stream,
    /// The seq that comes next.
    pub(crate) next: u64,
    /// The hash of the record before; `None` where a reader began in the middle.
    pub(crate) prev: Option<Digest>,
}

impl Chain {
    /// The chain before its first record.
    pub(crate) fn genesis(stream: Stream) -> Self {
        Self { stream, next: 1, prev: Some(stream.genesis()) }
    }

    /// Takes the next record's line, without its newline.
    pub(crate) fn take<'a>(&mut self, line: &'a [u8]) -> Result<Frame<'a>, Wrong> {
        let frame = Frame::parse(line).map_err(|why| Wrong::NotARecord(why.to_owned()))?;
        if frame.stream != self.stream.name() {
            return Err(Wrong::OtherStream(frame.stream.to_owned()));
        }
        if !frame.is_whole() {
            return Err(Wrong::HashMismatch);
        }
        if frame.seq > self.next {
            return Err(Wrong::Gap { found: frame.seq });
        }
        if frame.seq < self.next {
            return Err(Wrong::Duplicate { found: frame.seq });
        }
        if self.prev.is_some_and(|prev| prev != frame.prev) {
            return Err(Wrong::PrevMismatch);
        }
        self.next += 1;
        self.prev = Some(frame.hash);
        Ok(frame)
    }
}

/// The bytes behind the last newline of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    pub(crate) line: u64,
    /// How many bytes come before it.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Takes every record of `segment` into `chain`, and shows it to `seen`. Returns a torn last line.
pub(crate) fn walk(
    folder: &Folder,
    segment: &Segment,
    chain: &mut Chain,
    mut seen: impl FnMut(&Frame<'_>, &[u8]) -> Result<(), Wrong>,
) -> Result<Option<Tail>, TrailFault> {
    let stream = chain.stream;
    let at = |line, seq, wrong| Finding { stream, file: segment.name.clone(), line, seq, wrong };
    if segment.first != chain.next {
        let wrong = if segment.first > chain.next { Wrong::MissingSegment } else { Wrong::Overlap };
        return Err(at(1, chain.next, wrong).into());
    }
    let path = folder.path_of(&segment.name);
    let file = folder.read(&segment.name)?.ok_or_else(|| at(1, chain.next, Wrong::MissingSegment))?;
    let mut lines = Lines::new(file);
    loop {
        let (number, offset) = (lines.number, lines.offset);
        match lines.next().map_err(|fault| TrailFault::io("read", &path, fault))? {
            Line::Whole(line) => {
                let seq = chain.next;
                let taken = chain.take(line).and_then(|frame| seen(&frame, line));
                if let Err(wrong) = taken {
                    let wrong = moved(wrong, seq, &mut lines).map_err(|fault| TrailFault::io("read", &path, fault))?;
                    return Err(at(number, seq, wrong).into());
                }
            }
            Line::End => return Ok(None),
            Line::Torn(bytes) => {
                return Ok(Some(Tail { line: number, offset, bytes }));
            }
            Line::TooLong => {
                return Err(at(number, chain.next, Wrong::NotARecord("it is too long".to_owned())).into());
            }
        }
    }
}

/// A gap whose record comes later in the same file is a move.
fn moved(wrong: Wrong, seq: u64, lines: &mut Lines) -> io::Result<Wrong> {
    let Wrong::Gap { found } = wrong else {
        return Ok(wrong);
    };
    while let Line::Whole(line) = lines.next()? {
        if Frame::parse(line).is_ok_and(|frame| frame.seq == seq) {
            return Ok(Wrong::Reordered { found });
        }
    }
    Ok(Wrong::Gap { found })
}

/// Reads a segment line by line, in bounded memory, while it may be growing.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Whether `line` waits for its end.
    partial: bool,
    /// The number of the line that comes next, from 1.
    pub(crate) number: u64,
    /// Where it begins.
    pub(crate) offset: u64,
}

/// What [`Lines::next`] found.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    /// A line, without its newline.
    Whole(&'a [u8]),
    /// Nothing more, now.
    End,
    /// So many bytes of a line that has no end yet.
    Torn(u64),
    /// More bytes than any record has.
    TooLong,
}

impl Lines {
    pub(crate) fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, file), line: Vec::new(), partial: false, number: 1, offset: 0 }
    }

    /// The next line. After `End` or `Torn` it can be asked again, when the file may have grown.
    pub(crate) fn next(&mut self) -> io::Result<Line<'_>> {
        if !self.partial {
            self.line.clear();
        }
        let room = (MAX_RECORD_BYTES + 1).saturating_sub(self.line.len());
        self.reader.by_ref().take(room as u64).read_until(b'\n', &mut self.line)?;
        self.partial = self.line.last() != Some(&b'\n');
        let bytes = self.line.len() as u64;
        match self.line.strip_suffix(b"\n") {
            _ if self.line.len() > MAX_RECORD_BYTES => Ok(Line::TooLong),
            Some(whole) => {
                self.number += 1;
                self.offset += bytes;
                Ok(Line::Whole(whole))
            }
            None if bytes == 0 => Ok(Line::End),
            None => Ok(Line::Torn(bytes)),
        }
    }
}
