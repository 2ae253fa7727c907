//! Evidence is neither cloned, nor made from nothing, nor read from a text.
use bailiwick_pipeline::gates::{Approved, Armed, Granted, Identified, Outgoing, Permitted, Recorded, Reply, Sent, Validated};

fn clone<T: Clone>() {}
fn default<T: Default>() {}
fn read<T: serde::de::DeserializeOwned>() {}

fn main() {
    clone::<Identified<'static>>();
    clone::<Granted<'static>>();
    clone::<Validated<'static>>();
    clone::<Permitted<'static>>();
    clone::<Approved<'static>>();
    clone::<Armed<'static>>();
    clone::<Recorded<'static>>();
    clone::<Sent<'static>>();
    clone::<Reply>();
    clone::<Outgoing>();
    default::<Recorded<'static>>();
    default::<Approved<'static>>();
    read::<Permitted<'static>>();
    read::<Recorded<'static>>();
}
