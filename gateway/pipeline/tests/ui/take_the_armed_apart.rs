//! The channel and the bytes of an armed call are not to be had: neither to send, nor to change.
use bailiwick_pipeline::gates::{Approved, Armed, Recorded};

fn channel<'r>(call: Armed<'r>) {
    let _ = call.into_parts();
}

fn armed<'r>(call: Recorded<'r>) {
    let _ = call.into_armed();
}

fn bytes<'r>(call: &mut Approved<'r>) {
    call.arguments = Default::default();
}

fn main() {}
