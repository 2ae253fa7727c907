//! The gates, in the order of the way. Each takes the call with the evidence so far and returns it with one more piece, or
//! says why it stops. The types between them are the evidence: private fields, one birthplace, no `Clone`, `Default` or
//! `Deserialize`.

mod approve;
mod arm;
mod asks;
mod detect;
mod flow;
mod grant;
mod halted;
mod identify;
mod keep;
mod kept;
mod offer;
mod others;
mod pace;
mod permit;
mod record;
mod relay;
mod request;
mod screen;
mod search;
mod send;
mod status;
mod task;
mod validate;
mod watch;

pub(crate) use others::Shown;

pub use approve::{Approved, approve};
pub use arm::{Armed, arm};
pub use grant::{Granted, grant};
pub use identify::{Identified, identify};
pub use permit::{Permitted, permit, stricter};
pub use record::{Recorded, record};
pub use screen::{Reply, ScreenLimits, screen};
pub use send::{Outgoing, RawReply, Sent, send};
pub use validate::{Validated, validate};
pub use watch::Watching;

pub(crate) use asks::is_hidden;
pub(crate) use detect::{Noted, ended};
pub(crate) use grant::{chosen_among, chosen_grant, list, visible};
pub(crate) use halted::{Reached, on_way as halted_on_way};
pub(crate) use keep::keep_result;
pub(crate) use kept::kept;
pub(crate) use offer::{array_of, offers, page_of};
pub(crate) use pace::{pace, pace_of_task};
pub(crate) use record::has_room;
pub(crate) use request::request;
pub(crate) use search::{admit, complete, search};
pub(crate) use status::status;
pub(crate) use task::{own_begun, own_task};
pub(crate) use watch::{Held, watch};

use bailiwick_schemas::canonical::Digest;

use crate::{ports::Ticket, refusal::Refusal};

/// Why a walk ends before its last gate.
#[derive(Debug)]
#[must_use = "a walk that ended must be answered"]
pub enum Stop {
    /// A gate said no.
    Refused(Refusal),
    /// A person has to decide first. The walk never waits: the call is held outside the way, and then walks again.
    Pending(Box<Question>),
    /// What the decision rested on changed before the commit: everything is to be asked again.
    Stale,
}

/// What a person is asked.
#[derive(Debug)]
pub struct Question {
    /// The question, as agent and approver see it.
    pub ticket: Ticket,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// The digest of the exact call, whatever policies ask for.
    pub bound: Digest,
    /// How often the agent was answered that it is still open, and asked again with what it was given then.
    pub leg: u8,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
