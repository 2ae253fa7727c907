//! One record, one sending: `send` takes the recorded call away.
use bailiwick_pipeline::gates::{Recorded, send};

async fn twice<'r>(call: Recorded<'r>) {
    let _ = send(call, todo!(), todo!()).await;
    let _ = send(call, todo!(), todo!()).await;
}

fn main() {}
