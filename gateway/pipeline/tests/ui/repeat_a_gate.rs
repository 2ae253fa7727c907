//! An approval is looked for once: `approve` takes the permitted call away.
use bailiwick_pipeline::gates::{Permitted, approve};

async fn repeat<'r>(call: Permitted<'r>) {
    let _ = approve(call, any(), any()).await;
    let _ = approve(call, any(), any()).await;
}

fn any<T>() -> T {
    unimplemented!()
}

fn main() {}
