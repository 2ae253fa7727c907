//! Checking a whole trail offline: every record of every stream, the heads, and the calls against each other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::chain::{Chain, Finding, Wrong, walk};
use crate::fault::TrailFault;
use crate::folder::{Folder, Segment};
use crate::heads::{self, Head, Heads};
use crate::stream::{Digest, Stream};

/// Whether a gateway may be writing the trail while it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// One may: a last line without its end is being written.
    Live,
    /// None is: a last line without its end is torn.
    AtRest,
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Report {
    /// One for each stream, in the order of [`Stream::ALL`].
    pub streams: Vec<StreamReport>,
    /// Intents with no outcome, in order: calls in flight, or, of a trail at rest, calls whose outcome nobody knows.
    /// Not a failure of the trail: it says truly what it doesn't know.
    pub open: Vec<OpenIntent>,
}

/// What [`verify`] found in one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// The stream.
    pub stream: Stream,
    /// How many records are right, up to the first bad one.
    pub records: u64,
    /// The hash of the first record.
    pub first: Option<Digest>,
    /// The hash of the last record that is right.
    pub last: Option<Digest>,
    /// How many bytes of a record are being written, in a live trail.
    pub unfinished_bytes: u64,
    /// The first bad place, if there is one. Nothing behind it is checked.
    pub bad: Option<Finding>,
}

/// An intent with no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntent {
    /// Its record in `calls`.
    pub seq: u64,
    /// The call.
    pub call_id: String,
}

impl Report {
    /// Whether every record of every stream is there and as it was written.
    pub fn is_intact(&self) -> bool {
        self.findings().next().is_none()
    }

    /// The first bad place of each stream that has one.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.streams.iter().filter_map(|stream| stream.bad.as_ref())
    }
}

/// Checks the trail in `folder` from its first records on. The fault is for a folder that can't be read.
///
/// What a trail alone can't show: that somebody cut a tail, or wrote a whole stream anew, *and* changed the heads with
/// it. That takes the heads kept elsewhere.
pub fn verify(folder: &Path, liveness: Liveness) -> Result<Report, TrailFault> {
    let folder = Folder::look_at(folder)?;
    // The heads before the segments: a live trail only grows.
    let heads = match heads::read(&folder) {
        Ok(Some(heads)) => Ok(heads),
        Ok(None) => Err("is missing".to_owned()),
        Err(TrailFault::Heads { why, .. }) => Err(why),
        Err(fault) => return Err(fault),
    };
    let mut calls = Calls::default();
    let mut streams = Vec::new();
    for stream in Stream::ALL {
        streams.push(verify_stream(&folder, stream, &heads, liveness, &mut calls)?);
    }
    Ok(Report { streams, open: calls.open() })
}

fn verify_stream(
    folder: &Folder,
    stream: Stream,
    heads: &Result<Heads, String>,
    liveness: Liveness,
    calls: &mut Calls,
) -> Result<StreamReport, TrailFault> {
    let mut report = StreamReport { stream, records: 0, first: None, last: None, unfinished_bytes: 0, bad: None };
    match check(folder, heads, liveness, &mut report, calls) {
        Ok(()) => {}
        Err(TrailFault::Corrupt(finding)) => report.bad = Some(*finding),
        Err(fault) => return Err(fault),
    }
    Ok(report)
}

/// Checks the stream of `report`, and counts what is right in it. A bad place is [`TrailFault::Corrupt`].
fn check(
    folder: &Folder,
    heads: &Result<Heads, String>,
    liveness: Liveness,
    report: &mut StreamReport,
    calls: &mut Calls,
) -> Result<(), TrailFault> {
    let stream = report.stream;
    let head = heads.as_ref().ok().and_then(|heads| *heads.of(stream)).unwrap_or(Head::genesis(stream));
    let mut chain = Chain::genesis(stream);
    let mut segments = VecDeque::from(folder.segments(stream)?);
    let mut end = (Segment::new(stream, 1), 1);
    while let Some(listed) = segments.pop_front() {
        let segment = match folder.passed_over(stream, chain.next, &listed)? {
            Some(segment) => {
                segments.push_front(listed);
                segment
            }
            None => listed,
        };
        let tail = walk(folder, &segment, &mut chain, |frame, line| {
            head.check(frame)?;
            let fields = Fields::read(line)?;
            if stream == Stream::Calls {
                calls.take(frame.seq, &fields)?;
            }
            report.records += 1;
            report.first.get_or_insert(frame.hash);
            report.last = Some(frame.hash);
            Ok(())
        })?;
        let line = chain.next - segment.first + 1;
        if let Some(tail) = tail {
            if liveness == Liveness::AtRest || !segments.is_empty() {
                let wrong = Wrong::Torn { bytes: tail.bytes };
                return Err(Finding { stream, file: segment.name, line, seq: chain.next, wrong }.into());
            }
            report.unfinished_bytes = tail.bytes;
        }
        end = (segment, line);
    }
    let (segment, line) = end;
    check_end(heads, head, &chain).map_err(|wrong| Finding { stream, file: segment.name, line, seq: chain.next, wrong }.into())
}

/// Whether the stream that ends with `chain` goes as far as its head, and has one.
fn check_end(heads: &Result<Heads, String>, head: Head, chain: &Chain) -> Result<(), Wrong> {
    if chain.next <= head.seq {
        return Err(Wrong::CutTail { synced: head.seq });
    }
    match heads {
        _ if chain.next == 1 => Ok(()),
        Ok(heads) if heads.of(chain.stream).is_some() => Ok(()),
        Ok(_) => Err(Wrong::NoHeads("doesn't name this stream".to_owned())),
        Err(why) => Err(Wrong::NoHeads(why.clone())),
    }
}

/// What is checked in a record's own fields. Whatever else it has must be JSON.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    event: Value,
    #[serde(default)]
    call_id: Value,
}

impl Fields {
    fn read(line: &[u8]) -> Result<Self, Wrong> {
        serde_json::from_slice(line).map_err(|fault| Wrong::NotARecord(fault.to_string()))
    }
}

/// Calls by their id: each has at most one intent, then at most one outcome.
#[derive(Default)]
struct Calls {
    open: HashMap<Box<str>, u64>,
    /// Digests, not ids: a trail may have millions.
    closed: HashSet<u128>,
}

impl Calls {
    fn take(&mut self, seq: u64, fields: &Fields) -> Result<(), Wrong> {
        let (Some(event), Some(call_id)) = (fields.event.as_str(), fields.call_id.as_str()) else {
            return Ok(());
        };
        match event {
            "intent" if self.closed.contains(&short(call_id)) || self.open.contains_key(call_id) => {
                Err(Wrong::IntentAgain { call_id: call_id.to_owned() })
            }
            "intent" => {
                self.open.insert(call_id.into(), seq);
                Ok(())
            }
            "outcome" => {
                self.open.remove(call_id);
                let fresh = self.closed.insert(short(call_id));
                if fresh { Ok(()) } else { Err(Wrong::OutcomeAgain { call_id: call_id.to_owned() }) }
            }
            _ => Ok(()),
        }
    }

    fn open(self) -> Vec<OpenIntent> {
        let mut open: Vec<_> = self.open.into_iter().map(|(call_id, seq)| OpenIntent { seq, call_id: call_id.into() }).collect();
        open.sort_by_key(|intent| intent.seq);
        open
    }
}

/// Half a SHA-256 of a call's id: two ids don't meet by chance, nor by somebody's work.
fn short(call_id: &str) -> u128 {
    let digest = Digest::of(call_id.as_bytes());
    let half = digest.hex().get(..32).and_then(|hex| str::from_utf8(hex).ok());
    half.and_then(|hex| u128::from_str_radix(hex, 16).ok()).unwrap_or_default()
}
