//! How one agent waits for persons, where that is set for it.

use std::time::Duration;

/// How one agent waits. By default as all agents do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    /// How long a call of it is held; nothing is held where it is nought. None for what is set for all.
    pub hold: Option<Duration>,
    /// Whether its client comes back by itself with what it is given, though it is asked nothing (MCP 2026-07-28).
    pub state_only_legs: bool,
    /// What it means that it goes away while its call is held. None for what is set for all.
    pub on_cancel: Option<OnCancel>,
}

/// What it means that an agent goes away while its call waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    /// It waits no longer, and the question stands: a client's timeout is no change of mind, and the identical call takes it up.
    Keep,
    /// It takes the question back, unless somebody else waits for it.
    Withdraw,
}
