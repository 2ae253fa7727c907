//! Every gate of a call, over ports in memory with real policies and real validators: what the agent hears, what is on
//! record, and that nothing is sent when a gate says no. One file for each gate: a gate that lets everything pass fails its
//! file.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    unreachable_pub,
    reason = "a test may fail by panicking, its modules are its own, and it need not be fast"
)]

mod around;
mod asides;
mod asks;
mod cancelled;
mod deferred;
mod features;
mod flow;
mod gate_approve;
mod gate_arm;
mod gate_detect;
mod gate_grant;
mod gate_identify;
mod gate_keep;
mod gate_pace;
mod gate_permit;
mod gate_record;
mod gate_screen;
mod gate_send;
mod gate_validate;
mod gate_watch;
mod halts;
mod items;
mod judged;
mod legs;
mod listing;
#[path = "../../../../tests/model/mod.rs"]
mod model;
mod names;
mod owed;
mod panics;
mod patience;
mod races;
mod redaction;
mod requests;
mod search;
mod status;
mod tasks;
mod trail_lost;
mod waiting;
mod world;
