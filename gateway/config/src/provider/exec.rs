use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// A program that makes credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Its path, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The variables of the gateway's own environment that it gets.
    pub env: BTreeSet<String>,
    /// Whether it takes back what it made.
    pub revocable: bool,
    /// How long what it makes may live where it alone decides that; none where it makes them as long-lived as it is asked to.
    pub max_ttl: Option<Duration>,
}
