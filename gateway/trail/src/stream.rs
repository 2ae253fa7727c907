//! The streams of the trail, and the digests that chain their records.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// One append-only stream of the trail, with a hash chain of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// What happened: intents and outcomes of calls.
    Calls,
    /// What was decided: every decision of policy, grants and approvals.
    Decisions,
    /// What was lent: credentials minted, used, renewed and revoked; never their material.
    Secrets,
    /// What operators and the gateway itself changed.
    Admin,
    /// What stood out in what tasks did: loops, chains and small steps that add up.
    Detections,
}

impl Stream {
    /// Every stream, in the order reports show them.
    pub const ALL: [Self; 5] = [Self::Calls, Self::Decisions, Self::Secrets, Self::Admin, Self::Detections];

    /// The name in records and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Decisions => "decisions",
            Self::Secrets => "secrets",
            Self::Admin => "admin",
            Self::Detections => "detections",
        }
    }

    /// The stream called `name`, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// What the first record of this stream has as its `prev`.
    pub fn genesis(self) -> Digest {
        Digest::of(format!("bailiwick-trail v1 genesis {}", self.name()).as_bytes())
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A SHA-256 as records carry it; shown as `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 64]);

impl Digest {
    /// The digest of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha256::digest(bytes)) {
            if let [high, low] = pair {
                *high = digit(byte >> 4);
                *low = digit(byte & 15);
            }
        }
        Self(hex)
    }

    /// Reads 64 lower-case hex digits.
    pub(crate) fn from_hex(hex: &[u8]) -> Option<Self> {
        let hex: [u8; 64] = hex.try_into().ok()?;
        let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        hex.iter().all(lower).then_some(Self(hex))
    }

    /// Reads `sha256:` and 64 lower-case hex digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::from_hex(text.strip_prefix("sha256:")?.as_bytes())
    }

    /// The 64 hex digits.
    pub(crate) fn hex(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        f.write_str(std::str::from_utf8(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One thing for each stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct PerStream<T>([T; 5]);

impl<T> PerStream<T> {
    /// Makes one for each stream; the first fault ends it.
    pub(crate) fn try_new<E>(mut make: impl FnMut(Stream) -> Result<T, E>) -> Result<Self, E> {
        let [calls, decisions, secrets, admin, detections] = Stream::ALL;
        Ok(Self([make(calls)?, make(decisions)?, make(secrets)?, make(admin)?, make(detections)?]))
    }

    /// Makes one for each stream.
    pub(crate) fn new(make: impl FnMut(Stream) -> T) -> Self {
        Self(Stream::ALL.map(make))
    }

    /// The one of `stream`.
    pub(crate) fn of(&self, stream: Stream) -> &T {
        let [calls, decisions, secrets, admin, detections] = &self.0;
        match stream {
            Stream::Calls => calls,
            Stream::Decisions => decisions,
            Stream::Secrets => secrets,
            Stream::Admin => admin,
            Stream::Detections => detections,
        }
    }

    /// The one of `stream`, to be changed.
    pub(crate) fn of_mut(&mut self, stream: Stream) -> &mut T {
        let [calls, decisions, secrets, admin, detections] = &mut self.0;
        match stream {
            Stream::Calls => calls,
            Stream::Decisions => decisions,
            Stream::Secrets => secrets,
            Stream::Admin => admin,
            Stream::Detections => detections,
        }
    }

    /// All of them, in the order of [`Stream::ALL`].
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}
