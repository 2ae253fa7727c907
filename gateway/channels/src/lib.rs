//! Channels: how people hear that a call waits for them, and what became of it.
//!
//! ```text
//! Source ── Worker (one for each channel) ── message ── door ── a webhook, a chat, a phone, a mail program
//!  events    order, position, retries,        no power,   checked addresses, no redirect, a deadline
//!  in order  escalation                       one link
//! ```
//!
//! INVARIANT: no message carries power. It says what waits and links to the page where somebody proves who they are; whoever reads or
//! forwards it has gained nothing but the link. What agents and servers wrote is plain text in it, never markup.

mod courier;
mod event;
mod message;
mod sign;
mod spec;
mod worker;

pub use courier::{Courier, CourierFault, Delivered, ReadSecret};
pub use event::{About, Event, EventKind, Finding, Question};
pub use sign::{SecretFault, Secrets};
pub use spec::{ChannelSpec, Place, Target, Way};
pub use worker::{Batch, ChannelState, ChannelStatus, Channels, Source};

#[cfg(test)]
mod tests;
