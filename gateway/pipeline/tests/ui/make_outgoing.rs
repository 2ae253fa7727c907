//! What goes out is made by `send` alone: a channel can't be given anything else.
use bailiwick_pipeline::gates::Outgoing;

fn forge(other: Outgoing) -> Outgoing {
    Outgoing { ..other }
}

fn main() {}
