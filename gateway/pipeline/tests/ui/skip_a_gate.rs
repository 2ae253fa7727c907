//! `permit` wants what `validate` returns: what `grant` returns is not enough.
use bailiwick_pipeline::gates::{Granted, Permitted, permit};

fn skip<'r>(call: Granted<'r>) {
    let _: fn(Granted<'r>, _, _) -> Result<Permitted<'r>, _> = permit;
    drop(call);
}

fn main() {}
