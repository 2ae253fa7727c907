//! What a server answered is read by `screen` alone.
use bailiwick_pipeline::gates::{RawReply, Sent};

fn peek<'r>(call: Sent<'r>) -> RawReply {
    call.reply
}

fn open(reply: RawReply) -> String {
    format!("{:?}", reply.0)
}

fn take<'r>(call: Sent<'r>) {
    let _ = call.into_parts();
}

fn main() {}
