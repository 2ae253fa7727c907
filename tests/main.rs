//! The whole gateway from outside: the real binary, real child processes, real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking, and read the environment and the clock as a user would"
)]

mod abuse;
mod harness;
mod whole;
