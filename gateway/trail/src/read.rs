//! Reading records back: offline, or while a gateway writes.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::chain::{Chain, Finding, Line, Lines, Wrong};
use crate::fault::TrailFault;
use crate::folder::{Folder, Segment};
use crate::line::Frame;
use crate::stream::{Digest, Stream};

/// Reads a trail's folder; needs no lock.
#[derive(Debug, Clone)]
pub struct Reader {
    folder: Arc<Folder>,
}

/// Where reading a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At its first record.
    First,
    /// At the record with this seq.
    Seq(u64),
    /// At the last so many records.
    Last(u64),
}

/// One record, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its stream.
    pub stream: Stream,
    /// Its place in the stream, from 1.
    pub seq: u64,
    /// Its time, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Its time, as it is written: RFC 3339 in UTC.
    pub time: String,
    /// Its own fields, in order, without those of the trail.
    pub body: Map<String, Value>,
    /// Its hash.
    pub hash: Digest,
    /// The line it was read from, without its newline: what an export forwards.
    pub line: String,
}

impl Record {
    /// The text in field `name` of the record, if there is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }
}

impl Reader {
    /// Opens the trail in `folder`.
    pub fn open(folder: &Path) -> Result<Self, TrailFault> {
        Ok(Self { folder: Arc::new(Folder::look_at(folder)?) })
    }

    /// The records of `stream` from `start` on.
    pub fn records(&self, stream: Stream, start: Start) -> Result<Records, TrailFault> {
        let first = match start {
            Start::First => 1,
            Start::Seq(seq) => seq.max(1),
            Start::Last(count) => self.next_seq(stream)?.saturating_sub(count).max(1),
        };
        let segments = self.folder.segments(stream)?;
        // Segments wholly before the start are skipped by their names.
        let at = segments.iter().rposition(|segment| segment.first <= first).unwrap_or(0);
        let segments: VecDeque<_> = segments.into_iter().skip(at).collect();
        let next = segments.front().map_or(1, |segment| segment.first);
        let prev = (next == 1).then(|| stream.genesis());
        let chain = Chain { stream, next, prev };
        Ok(Records { folder: Arc::clone(&self.folder), chain, first, segments, current: None, failed: false })
    }

    /// The record `seq` of `stream`, if it is there.
    pub fn record(&self, stream: Stream, seq: u64) -> Result<Option<Record>, TrailFault> {
        self.records(stream, Start::Seq(seq))?.next().transpose()
    }

    /// The intents after record `seq` of `calls` that have no outcome, in order.
    pub fn open_intents(&self, seq: u64) -> Result<Vec<Record>, TrailFault> {
        let mut open = HashMap::new();
        for record in self.records(Stream::Calls, Start::Seq(seq.saturating_add(1)))? {
            let record = record?;
            let Some(call_id) = record.text("call_id").map(str::to_owned) else {
                continue;
            };
            match record.text("event") {
                Some("intent") => drop(open.insert(call_id, record)),
                Some("outcome") => drop(open.remove(&call_id)),
                _ => {}
            }
        }
        let mut open: Vec<_> = open.into_values().collect();
        open.sort_by_key(|record| record.seq);
        Ok(open)
    }

    /// The seq that the next record of `stream` will have, as far as whole lines tell.
    fn next_seq(&self, stream: Stream) -> Result<u64, TrailFault> {
        let Some(last) = self.folder.segments(stream)?.pop() else {
            return Ok(1);
        };
        let Some(file) = self.folder.read(&last.name)? else {
            return Ok(last.first);
        };
        let mut lines = Lines::new(file);
        while let Line::Whole(_) =
            lines.next().map_err(|fault| TrailFault::io("read", &self.folder.path_of(&last.name), fault))?
        {}
        Ok(last.first + lines.number - 1)
    }
}

/// Records of one stream, in order; each is checked against its hash and the record before it.
///
/// At the end of what is written it returns `None`, and may be asked again later: a tail that follows a live stream.
/// After a fault it stays at its end.
#[derive(Debug)]
pub struct Records {
    folder: Arc<Folder>,
    chain: Chain,
    /// The first record that is wanted.
    first: u64,
    segments: VecDeque<Segment>,
    current: Option<(Segment, Lines)>,
    failed: bool,
}

impl Iterator for Records {
    type Item = Result<Record, TrailFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Records {
    fn advance(&mut self) -> Result<Option<Record>, TrailFault> {
        loop {
            if let Some(record) = self.read_on()? {
                return Ok(Some(record));
            }
            if self.segments.is_empty() {
                let done = self.current.as_ref().map_or(0, |(segment, _)| segment.first);
                let newer = self.folder.segments(self.chain.stream)?.into_iter().filter(|segment| segment.first > done);
                self.segments.extend(newer);
                // A segment that is there is closed off by the next one: read its last lines first.
                if let Some(record) = self.read_on()? {
                    return Ok(Some(record));
                }
            }
            let Some(listed) = self.segments.pop_front() else {
                return Ok(None);
            };
            let segment = match self.folder.passed_over(self.chain.stream, self.chain.next, &listed)? {
                Some(segment) => {
                    self.segments.push_front(listed);
                    segment
                }
                None => listed,
            };
            if segment.first != self.chain.next {
                let wrong = if segment.first > self.chain.next { Wrong::MissingSegment } else { Wrong::Overlap };
                return Err(self.finding(&segment, 1, wrong));
            }
            let file = self.folder.read(&segment.name)?;
            let file = file.ok_or_else(|| self.finding(&segment, 1, Wrong::MissingSegment))?;
            self.current = Some((segment, Lines::new(file)));
        }
    }

    /// The next wanted record of the current segment.
    fn read_on(&mut self) -> Result<Option<Record>, TrailFault> {
        let Some((segment, mut lines)) = self.current.take() else {
            return Ok(None);
        };
        let record = self.read_segment(&segment, &mut lines);
        self.current = Some((segment, lines));
        record
    }

    fn read_segment(&mut self, segment: &Segment, lines: &mut Lines) -> Result<Option<Record>, TrailFault> {
        loop {
            let number = lines.number;
            let line = lines.next().map_err(|fault| TrailFault::io("read", &self.folder.path_of(&segment.name), fault))?;
            let line = match line {
                Line::Whole(line) => line,
                Line::End | Line::Torn(_) => return Ok(None),
                Line::TooLong => {
                    return Err(self.finding(segment, number, Wrong::NotARecord("it is too long".to_owned())));
                }
            };
            if self.chain.next < self.first {
                // Not wanted: counted, not read.
                self.chain.next += 1;
                self.chain.prev = None;
                continue;
            }
            let seq = self.chain.next;
            let taken = self.chain.take(line).and_then(|frame| parse(self.chain.stream, &frame, line));
            return taken.map(Some).map_err(|wrong| {
                self.chain.next = seq;
                self.finding(segment, number, wrong)
            });
        }
    }

    fn finding(&self, segment: &Segment, line: u64, wrong: Wrong) -> TrailFault {
        let Chain { stream, next: seq, .. } = self.chain;
        Finding { stream, file: segment.name.clone(), line, seq, wrong }.into()
    }
}

fn parse(stream: Stream, frame: &Frame<'_>, line: &[u8]) -> Result<Record, Wrong> {
    let not_json = |why: String| Wrong::NotARecord(why);
    let line = str::from_utf8(line).map_err(|fault| not_json(fault.to_string()))?;
    let mut body: Map<String, Value> = serde_json::from_str(line).map_err(|fault| not_json(fault.to_string()))?;
    let time = match body.get("time") {
        Some(Value::String(time)) => time.clone(),
        _ => String::new(),
    };
    body.retain(|name, _| !crate::escape::RESERVED.contains(&name.as_str()));
    let &Frame { seq, unix_ms, hash, .. } = frame;
    Ok(Record { stream, seq, unix_ms, time, body, hash, line: line.to_owned() })
}
