//! May this grant make this call?
//!
//! The rules of an organization, in Cedar, over tools that an admin accepted. Pure: no input or output, no clock,
//! no global. [`Policies::compile`] checks a bundle against the catalogue, with every fault at once;
//! [`Policies::decide`] answers [`Decision::Allow`], [`Decision::StepUp`] or [`Decision::Deny`];
//! [`Policies::could_allow`] answers before there is a call, so that what is callable is listed.
//!
//! INVARIANT: deny is the only default and the meaning of every error. No rule, an unknown tool, a rule that fails while it
//! is evaluated (Cedar itself would skip it), an argument that a rule reads and that can't be put before it: all are denials.

mod alike;
mod catalogue;
mod context;
mod decision;
mod facts;
mod fault;
mod grant;
mod kind;
mod load;
mod number;
mod obligation;
mod policies;
mod presence;
mod reads;
mod rule;
mod shape;
mod slice;
#[cfg(test)]
mod tests;

pub use catalogue::KnownTool;
pub use decision::{Confirm, Decision, DenyCause, Requirement, Rule};
pub use facts::{Ask, AutoGrant, CallFacts, ConnectorFacts, Delegation, GrantFacts, ToolFacts};
pub use fault::{PolicyFault, Source};
pub use grant::{PrepareError, PreparedGrant};
pub use kind::{Band, Kind, UnknownWord};
pub use obligation::{How, Limit, Obligations, Part, Pointer, Redaction, Shape, Step, What};
pub use policies::{BundleDigest, DEFAULT_BUNDLE, Policies};
pub use reads::{Reads, Want};
