//! Evidence has private fields: nobody but its gate builds it.
use bailiwick_pipeline::gates::{Approved, Identified, Permitted, Recorded};

fn identified<'r>(received: &'r bailiwick_pipeline::Received, principal: bailiwick_pipeline::principal::Principal) -> Identified<'r> {
    Identified { received, principal }
}

fn approved<'r>(permitted: Permitted<'r>) -> Approved<'r> {
    Approved { permitted, approval: None, allowance: None, arguments: Default::default() }
}

fn recorded<'r>(armed: bailiwick_pipeline::gates::Armed<'r>) -> Recorded<'r> {
    Recorded { armed }
}

fn main() {}
