//! The gates want a `Way`, and only `handle` makes one: nobody outside can even name it.
use bailiwick_pipeline::way::Way;

fn main() {}
