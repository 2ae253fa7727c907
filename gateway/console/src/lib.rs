//! The console: where people see what agents do, and say yes or no to exactly one call.
//!
//! Pages are made on the server and work without a script. A cookie only lets somebody look; whatever changes something is signed by a
//! passkey, or carries the operator credential. This crate knows pages, sessions and passkeys; what is shown and done is asked for at a
//! [`Desk`], and the time, the record and decisions at a [`House`]. The gateway fills both.
//!
//! What a page's handler takes says what it needs: a [`Viewer`] to show something, a [`Posted`] form for what is one's own, a [`Signed`] one for
//! whatever changes anything else. Each has one birthplace.

mod challenge;
mod connections;
mod decide;
mod desk;
mod events;
mod fields;
mod guard;
mod house;
mod link;
mod login;
mod login_state;
mod oidc;
pub mod pages;
mod passkey;
mod people;
mod person;
mod posted;
mod random;
mod refused;
mod router;
mod session;
mod sign;
mod site;
#[cfg(test)]
mod tests;
mod token;
mod tries;
pub mod views;
mod webauthn;

pub use connections::{ConnectionRow, Connections, Given, Onward, Returned, Which};
pub use desk::{Change, Desk, News, Soon, Wanted};
pub use fields::Fields;
pub use house::{House, Later, NotRecorded, Note, Question, SignedBatch, SignedDecision, SignedReview};
pub use link::LinkMaker;
pub use oidc::{ClaimedRoles, Oidc};
pub use person::{Action, Bounds, Forbidden, Person, Role, Viewer};
pub use posted::{Posted, Signed, TOKEN, proof_fields, token_field};
pub use refused::Refused;
pub use router::{Console, ConsoleParts, router};
pub use session::{LoginMethod, Session, SessionLimits};
pub use sign::{ASSERTION, Allow, OPERATOR, ProofMethod, Signature, TO};
pub use site::Site;
