//! What the console asks of the gateway.

/// What is shown and done. The gateway fills it; each answer is made for who asks, and holds nothing they may not see.
pub trait Desk: Send + Sync + 'static {}
