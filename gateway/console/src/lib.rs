//! The console: where people see what agents do, and say yes or no to exactly one call.
//!
//! Pages are made on the server and work without a script. A cookie only lets somebody look; whatever changes something is signed by a
//! passkey, or carries the operator credential. This crate knows pages, sessions and passkeys; what is shown and done is asked for at a
//! [`Desk`], which the gateway fills.

mod desk;
pub mod pages;
mod person;
pub mod views;

pub use desk::{Change, Desk, News, Soon};
pub use person::{Bounds, Person, Role, Viewer};
