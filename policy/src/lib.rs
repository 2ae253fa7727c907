//! May this grant make this call?
//!
//! The rules of an organization, in Cedar, over tools that an admin accepted. Pure: no input or output, no clock,
//! no global but the names of [labels](Labels). [`Policies::compile`] checks a bundle against the catalogue, with every fault at once;
//! [`Policies::decide`] answers [`Decision::Allow`], [`Decision::StepUp`] or [`Decision::Deny`];
//! [`Policies::could_allow`] answers before there is a call, so that what is callable is listed. [`Memory`] keeps what stays the same.
//!
//! INVARIANT: deny is the only default and the meaning of every error. No rule, an unknown tool, a rule that fails while it
//! is evaluated (Cedar itself would skip it), an argument that a rule reads and that can't be put before it: all are denials.

mod alike;
mod bounds;
mod catalogue;
mod context;
mod decision;
mod describe;
mod difference;
mod dispute;
mod extent;
mod facts;
mod fault;
mod grant;
mod kind;
mod labels;
mod least;
mod lint;
mod load;
mod memory;
mod number;
mod obligation;
mod policies;
mod presence;
mod probe;
mod reads;
mod rule;
mod shadow;
mod shape;
mod slice;
mod snapshot;
mod templates;
#[cfg(test)]
mod tests;

pub use catalogue::KnownTool;
pub use catalogue::fact_names;
pub use decision::{Confirm, Decision, DenyCause, Requirement, Rule};
pub use describe::RuleSchema;
pub use difference::{Changed, Difference, Turn};
pub use dispute::Dispute;
pub use facts::{
    AgentFacts, Ask, AutoGrant, CallFacts, ConnectorFacts, Delegation, Directory, GrantFacts, HistoryFacts, ToolFacts,
};
pub use fault::{PolicyFault, Source};
pub use grant::{PrepareError, PreparedGrant};
pub use kind::{Band, Kind, UnknownWord};
pub use labels::{Labels, MOST_CLASSES, is_class};
pub use least::{Looked, Otherwise};
pub use lint::{Finding, Lint, lint};
pub use memory::Memory;
pub use obligation::{How, Limit, Obligations, Part, Pointer, Redaction, Shape, Step, What};
pub use policies::{BundleDigest, DEFAULT_BUNDLE, Policies};
pub use probe::Probe;
pub use reads::{Reads, Want};
pub use shadow::Differs;
pub use snapshot::{Keep, Snapshot, Unread};
pub use templates::{TEMPLATES, Template};
