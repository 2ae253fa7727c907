//! One record, one sending: `send` takes the recorded call away.
use bailiwick_pipeline::gates::{Recorded, send};

async fn twice<'r>(call: Recorded<'r>) {
    let _ = send(call, any(), any()).await;
    let _ = send(call, any(), any()).await;
}

fn any<T>() -> T {
    unimplemented!()
}

fn main() {}
