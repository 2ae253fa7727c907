//! The trail: Bailiwick's tamper-evident audit record.
//!
//! Each [`Stream`] is a hash chain of its own, kept in append-only segment files
//! `DIR/<stream>-<first seq, 20 digits>.jsonl`, one JSON object a line:
//!
//! ```text
//! {"v":1,"stream":"calls","seq":7,"time":"2026-11-21T23:19:39.042Z",…,"prev":"sha256:…","hash":"sha256:…"}
//! ```
//!
//! **The hash.** A line ends in a newline. Without it, the last 82 bytes are always
//! `,"hash":"sha256:` + 64 lower-case hex digits + `"}`. The hash is the SHA-256 of all bytes before those 82,
//! as they are in the file: nothing is parsed, reordered or canonicalized first.
//!
//! **The chain.** `prev` is the `hash` of the record before it in the same stream; `seq` counts from 1. The first
//! record's `prev` is the SHA-256 of the ASCII text `bailiwick-trail v1 genesis ` + the stream's name.
//!
//! **The heads.** `heads.json` names the last synced record of each stream, so that a cut tail is found. It covers
//! synced records only, and is replaced atomically. Whoever can rewrite both a stream and the heads is not found by
//! this crate alone: that takes a signed checkpoint kept elsewhere.
//!
//! `gateway/trail/verify.py` is the whole check in 20 lines, for someone who does not trust this crate.
//!
//! # The way of a record
//!
//! [`Trail::append`] serializes, hashes and writes a record with one `write(2)`: from then on it survives the death
//! of the process. [`Trail::synced`] waits until it survives the death of the machine; one thread syncs for all who
//! wait, and syncs what nobody waits for within 50 ms.
//!
//! INVARIANT: a write or a sync that failed makes the trail [lost](Trail::is_lost) for good, on every stream. A gap
//! is never written over.
//!
//! INVARIANT: one record is one line of valid JSON whose bytes can be shown on a terminal, whatever is in its strings.

mod chain;
mod escape;
mod fault;
mod folder;
mod heads;
mod lane;
mod line;
mod medium;
mod read;
mod recover;
mod stream;
mod sync;
mod trail;
mod verify;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_imports,
    reason = "a test that stops at the first surprise is what we want"
)]
mod tests;

pub use chain::{Finding, Wrong};
pub use fault::TrailFault;
pub use line::MAX_RECORD_BYTES;
pub use read::{Reader, Record, Records, Start};
pub use recover::{Recovery, Torn};
pub use stream::{Digest, Stream};
pub use trail::{Appended, Options, Trail};
pub use verify::{Liveness, OpenIntent, Report, StreamReport, verify};
