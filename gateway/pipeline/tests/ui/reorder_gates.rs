//! `record` comes after `arm`: an approved call can't be recorded.
use bailiwick_pipeline::gates::{Approved, Recorded, record};

async fn reorder<'r>(call: Approved<'r>) -> Recorded<'r> {
    record(call, any(), any()).await.unwrap()
}

fn any<T>() -> T {
    unimplemented!()
}

fn main() {}
