//! Connectors with real, hostile servers: child processes, and over HTTP.
//!
//! A call can only be made of what the pipeline's gates made, so these tests compile the crate's own modules and call
//! [`channel::ToolChannel`] one step behind that door; the door itself stays shut.
#![allow(
    dead_code,
    unreachable_pub,
    unnameable_types,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "the modules are the crate's, compiled for tests: not all of them is used here, and a fault fails a test"
)]

#[path = "../src/announcements.rs"]
mod announcements;
#[path = "../src/backoff.rs"]
mod backoff;
#[path = "../src/channel.rs"]
mod channel;
#[path = "../src/child.rs"]
mod child;
#[path = "../src/discover.rs"]
mod discover;
#[path = "../src/egress.rs"]
mod egress;
#[path = "../src/exec_child.rs"]
mod exec_child;
#[path = "../src/handshake.rs"]
mod handshake;
#[path = "../src/hearing.rs"]
mod hearing;
#[path = "../src/identity.rs"]
mod identity;
#[path = "../src/levels.rs"]
mod levels;
#[path = "../src/lines.rs"]
mod lines;
#[path = "../src/link.rs"]
mod link;
#[path = "../src/listing.rs"]
mod listing;
#[path = "../src/message.rs"]
mod message;
#[path = "../src/offers.rs"]
mod offers;
#[path = "../src/over_http/mod.rs"]
mod over_http;
#[path = "../src/ownership.rs"]
mod ownership;
#[path = "../src/pipe.rs"]
mod pipe;
#[path = "../src/pool.rs"]
mod pool;
#[path = "../src/processes.rs"]
mod processes;
#[path = "../src/session.rs"]
mod session;
#[path = "../src/spawner.rs"]
mod spawner;
#[path = "../src/spec.rs"]
mod spec;
#[path = "../src/status.rs"]
mod status;
#[path = "../src/stderr.rs"]
mod stderr;
#[path = "../src/stdio.rs"]
mod stdio;
#[path = "../src/subscriptions.rs"]
mod subscriptions;
#[path = "../src/unstalled.rs"]
mod unstalled;
#[path = "../src/variables.rs"]
mod variables;
#[path = "../src/version.rs"]
mod version;

mod answers;
mod asides;
mod bound;
mod broken;
mod certificates;
mod confinement;
mod ends;
mod eras;
mod failures;
mod kit;
mod links;
mod names;
mod outward;
mod pins;
mod server;
mod streams;
mod taken_back;
