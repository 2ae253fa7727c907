//! `heads.json`: the last synced record of each stream, so that a cut tail is found.

use std::io::Read as _;

use serde::Deserialize;

use crate::chain::Wrong;
use crate::fault::TrailFault;
use crate::folder::Folder;
use crate::line::Frame;
use crate::stream::{Digest, PerStream, Stream};

/// The file's name.
pub(crate) const NAME: &str = "heads.json";
const MAX_BYTES: u64 = 64 * 1024;

/// A stream's last synced record; seq 0 and the genesis value before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
}

impl Head {
    /// The head of a stream with no record.
    pub(crate) fn genesis(stream: Stream) -> Self {
        Self { seq: 0, hash: stream.genesis() }
    }

    /// Whether `frame`, if it is the record this head names, is as it was.
    pub(crate) fn check(&self, frame: &Frame<'_>) -> Result<(), Wrong> {
        if frame.seq == self.seq && frame.hash != self.hash { Err(Wrong::Replaced) } else { Ok(()) }
    }
}

/// The heads of all streams; none for a stream that didn't exist when they were written.
pub(crate) type Heads = PerStream<Option<Head>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeads {
    v: u64,
    streams: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHead {
    seq: u64,
    hash: String,
}

/// Reads the heads; `None` when there is no such file.
pub(crate) fn read(folder: &Folder) -> Result<Option<Heads>, TrailFault> {
    let path = folder.path_of(NAME);
    let Some(file) = folder.read(NAME)? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(|fault| TrailFault::io("read", &path, fault))?;
    parse(&text).map(Some).map_err(|why| TrailFault::Heads { path, why })
}

/// Replaces the heads.
pub(crate) fn write(folder: &Folder, heads: &PerStream<Head>) -> Result<(), TrailFault> {
    let line = |stream| {
        let Head { seq, hash } = heads.of(stream);
        format!("  \"{stream}\":{{\"seq\":{seq},\"hash\":\"{hash}\"}}")
    };
    let streams = Stream::ALL.map(line).join(",\n");
    folder.replace(NAME, format!("{{\"v\":1,\"streams\":{{\n{streams}\n}}}}\n").as_bytes())
}

fn parse(text: &[u8]) -> Result<Heads, String> {
    let raw: RawHeads = serde_json::from_slice(text).map_err(|fault| format!("is not a heads file ({fault})"))?;
    if raw.v != 1 {
        return Err(format!("has version {}, and this gateway reads version 1", raw.v));
    }
    let mut heads = Heads::default();
    for (name, head) in raw.streams {
        let stream = Stream::named(&name).ok_or_else(|| format!("names an unknown stream `{}`", name.escape_debug()))?;
        let head: RawHead = serde_json::from_value(head).map_err(|fault| format!("has no head of `{name}` ({fault})"))?;
        let hash = Digest::parse(&head.hash).ok_or_else(|| format!("has no digest as the head of `{name}`"))?;
        *heads.of_mut(stream) = Some(Head { seq: head.seq, hash });
    }
    Ok(heads)
}
