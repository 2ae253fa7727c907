//! What is agreed, and survives a restart: tokens, grants, approvals and pins, in one `SQLite` file of which one process is the
//! only writer.
//!
//! The trail is the truth of what happened, this store of what is agreed. While the gateway runs, memory is what counts: a claim,
//! a debit, the end of a grant take effect there at once, and the store follows in the same order. At a start it catches up
//! from the trail: read [`Store::trail_cursor`], collect the intents after it, and hand them to [`LiveGrants::load`] and
//! [`LiveApprovals::load`].
//!
//! A store that could not be written once is [lost](Store::lost) until a restart: whatever needs it is denied.

mod approvals;
mod bodies;
mod consents;
mod fault;
mod files;
mod grants;
mod handles;
mod identities;
mod leases;
mod people;
mod pins;
mod positions;
mod random;
mod requests;
mod rows;
mod schema;
mod seal;
mod stops;
mod store;
mod tokens;
mod writer;

pub use approvals::{
    Allowance, AllowanceWanted, Approval, ApprovalEvent, ApprovalState, Approver, ApproverMethod, AskedFor, DecideBounds,
    DecideFault, Decided, Decision, Evidence, Habit, Habits, Happened, LiveApprovals, MayNot, MovedSince, Said, Settings,
    ShowFault, Shown, Standing, Statement, Tally, Use, Verdict, Waiting, Which, batch_digest, challenge,
};
pub use bodies::{Bodies, BodyLimits, BodyPart};
pub use consents::{ConsentRows, StoredConsent};
pub use fault::{StoreFault, WriteFault};
pub use grants::{
    ConfigChange, ConfigSync, EndAs, Ended, Ending, GrantEntry, GrantFault, LiveGrants, Narrowed, ReplayedIntent, Swept,
};
pub use handles::{HANDLE, HandleEvent, HandleFault, Handles, UNBOUND_MS};
pub use identities::{AgentEntry, Agents, LiveIdentities};
pub use leases::{Leases, StoredLease};
pub use people::{Passkey, Passkeys, UseFault};
pub use pins::{ClassedBy, Pin, Pins};
pub use positions::Positions;
pub use requests::{AccessRequest, AccessRequests, GrantingFault, RequestEnd, RequestFault, RequestState, RequestWanted};
pub use stops::{DisabledAgents, LiveHalts, Stopped, Stops};
pub use store::Store;
pub use tokens::{AGENT_TOKEN_MS, AgentToken, CALL_TOKEN_MS, KnownToken, TokenId, TokenIdFault, Tokens};

#[cfg(test)]
mod tests;
