//! One record as one line: how it is written, and how its frame is read back.

use std::io::{self, Write as _};

use bailiwick_schemas::time::{parse_rfc3339, write_rfc3339};
use serde::Serialize;

use crate::escape::OneLine;
use crate::fault::TrailFault;
use crate::stream::{Digest, Stream};

/// The longest line of a record, in bytes, its newline included.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

const PREV: &[u8] = b",\"prev\":\"sha256:";
const HASH: &[u8] = b",\"hash\":\"sha256:";
const HEX: usize = 64;
/// `,"prev":"sha256:…"`
const PREV_BYTES: usize = PREV.len() + HEX + 1;
/// `,"hash":"sha256:…"}`, the 82 bytes that the hash doesn't cover.
const HASH_BYTES: usize = HASH.len() + HEX + 2;

/// What the trail adds in front of a record's own fields, and the link to the record before.
pub(crate) struct Envelope<'a> {
    pub(crate) stream: Stream,
    pub(crate) seq: u64,
    pub(crate) unix_ms: u64,
    pub(crate) prev: &'a Digest,
}

/// Replaces `line` by the line of `record`, newline included, and returns its hash. On a fault `line` is worthless.
pub(crate) fn write_line(line: &mut Vec<u8>, envelope: &Envelope<'_>, record: &impl Serialize) -> Result<Digest, TrailFault> {
    let Envelope { stream, seq, unix_ms, prev } = *envelope;
    line.clear();
    line.extend_from_slice(b"{\"v\":1,\"stream\":\"");
    line.extend_from_slice(stream.name().as_bytes());
    line.extend_from_slice(b"\",\"seq\":");
    // Writing into a `Vec` can't fail.
    let _ = write!(line, "{seq}");
    line.extend_from_slice(b",\"time\":\"");
    write_rfc3339(line, unix_ms).ok_or(TrailFault::Time { unix_ms })?;
    line.push(b'"');
    write_fields(line, record)?;
    line.extend_from_slice(PREV);
    line.extend_from_slice(prev.hex());
    line.push(b'"');
    let hash = Digest::of(line);
    line.extend_from_slice(HASH);
    line.extend_from_slice(hash.hex());
    line.extend_from_slice(b"\"}\n");
    Ok(hash)
}

/// Appends the fields of `record`, a comma before each.
fn write_fields(line: &mut Vec<u8>, record: &impl Serialize) -> Result<(), TrailFault> {
    let start = line.len();
    let mut clash = None;
    let mut capped = Capped { line, overflowed: false };
    let mut serializer = serde_json::Serializer::with_formatter(&mut capped, OneLine::new(&mut clash));
    let written = record.serialize(&mut serializer);
    let overflowed = capped.overflowed;
    if let Some(field) = clash {
        return Err(TrailFault::Reserved { field });
    }
    if overflowed {
        return Err(TrailFault::TooLarge);
    }
    written.map_err(|fault| TrailFault::Unwritable { why: fault.to_string() })?;
    // `{…}` goes on an object that is already open: its first brace becomes a comma, its last one goes.
    match line.get_mut(start..) {
        Some([b'{', b'}']) => line.truncate(start),
        Some([first @ b'{', .., b'}']) => {
            *first = b',';
            line.pop();
        }
        _ => {
            return Err(TrailFault::Unwritable { why: "it has no named fields".to_owned() });
        }
    }
    Ok(())
}

/// Writes into a line until it would be too long with what comes after the fields.
struct Capped<'a> {
    line: &'a mut Vec<u8>,
    overflowed: bool,
}

impl io::Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The last brace goes again, and makes room for the newline.
        if self.line.len() + bytes.len() > MAX_RECORD_BYTES - PREV_BYTES - HASH_BYTES {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line of which the bytes are in the form of a record; not yet whether they are the right ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) stream: &'a str,
    pub(crate) seq: u64,
    pub(crate) unix_ms: u64,
    pub(crate) prev: Digest,
    pub(crate) hash: Digest,
    /// What the hash covers.
    covered: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame of `line`, which comes without its newline. The error says what is not as it must be.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, &'static str> {
        let split_tail = |bytes: &'a [u8], tail: usize| bytes.split_at_checked(bytes.len().checked_sub(tail)?);
        let hex = |bytes: &'a [u8], open: &[u8], close: &[u8]| Digest::from_hex(bytes.strip_prefix(open)?.strip_suffix(close)?);
        let (covered, tail) = split_tail(line, HASH_BYTES).ok_or("it is too short")?;
        let hash = hex(tail, HASH, b"\"}").ok_or("it does not end in its hash")?;
        let (head, tail) = split_tail(covered, PREV_BYTES).ok_or("it is too short")?;
        let prev = hex(tail, PREV, b"\"").ok_or("it has no `prev` before its hash")?;
        let (stream, seq, unix_ms) = parse_head(head).ok_or("it does not begin with `v`, `stream`, `seq` and `time`")?;
        Ok(Self { stream, seq, unix_ms, prev, hash, covered })
    }

    /// Whether the hash is that of the bytes.
    pub(crate) fn is_whole(&self) -> bool {
        Digest::of(self.covered) == self.hash
    }
}

/// Reads `{"v":1,"stream":"…","seq":…,"time":"…"`.
fn parse_head(head: &[u8]) -> Option<(&str, u64, u64)> {
    let head = str::from_utf8(head).ok()?.strip_prefix("{\"v\":1,\"stream\":\"")?;
    let (stream, head) = head.split_once("\",\"seq\":")?;
    let (seq, head) = head.split_once(",\"time\":\"")?;
    let (time, _) = head.split_once('"')?;
    let number: u64 = seq.parse().ok()?;
    (number.to_string() == seq).then_some(())?;
    Some((stream, number, parse_rfc3339(time)?))
}
