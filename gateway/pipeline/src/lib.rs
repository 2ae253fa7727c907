//! The way of a call: the gates, their order, and the ports the outside fills.
//!
//! This crate is the trusted core of Bailiwick. A request is [`received`](Received) once; [`Gateway::handle`] walks it through
//! the gates of [`gates`], each of which takes the call with the evidence so far and returns it with one more piece, or a
//! [`Refusal`]. Evidence has private fields and one birthplace, so that the compiler refuses a call that skipped, forged,
//! repeated or reordered a gate.

pub mod aside;
pub mod catalogue;
pub mod constraint;
pub mod destination;
pub mod detect;
pub mod gates;
pub mod grant;
pub mod halts;
pub mod ids;
pub mod marks;
pub mod ports;
pub mod principal;
pub mod received;
pub mod records;
pub mod refusal;
pub mod tasks;
pub mod trace;

mod answer;
mod circumstances;
mod defer;
mod features;
mod handle;
mod hop;
mod inquiry;
mod judge;
mod kept;
mod lease;
mod legs;
mod links;
mod obliged;
pub mod pace;
mod pages;
mod patience;
mod pointed;
mod prepared;
mod redact;
mod rounds;
mod running;
mod search;
mod subscription;
mod waiting;
mod way;

pub use answer::{Answer, Body, Part, ToolList, ToolPage, ToolResult};
pub use aside::Herald;
pub use gates::stricter;
pub use handle::{Gateway, Settings};
pub use hop::{Hop, HopDecided};
pub use inquiry::Inquiry;
pub use judge::Judged;
pub use kept::{Effect, Handled, Owed};
pub use obliged::{Mac, masked_text};
pub use pages::PAGE;
pub use patience::{OnCancel, Patience};
pub use received::Received;
pub use redact::{NeedleFault, kept_out};
pub use refusal::Refusal;
pub use rounds::Rounds;
pub use subscription::{Outlook, Subscription, Wish};
pub use tasks::Tasks;
pub use way::full_name;
