//! What is said over the admin API: the one truth for the gateway, which writes it, and the command line, which reads it.
//! Times are unix milliseconds. Whatever can be listed has an `id` and a `state`.

mod agents;
mod approvals;
mod bodies;
mod channels;
mod connectors;
mod console;
mod credentials;
mod detections;
mod foreseen;
mod grants;
mod halts;
mod proposal;
mod reload;
mod requests;
mod shape;
mod status;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agents::{AgentView, TokenMade, TokenView, TokenWanted};
pub use approvals::{ApprovalView, BatchWanted, DecisionWanted};
pub use bodies::CallBodies;
pub use channels::ChannelView;
pub use connectors::{ConnectorView, FailureView, ProcessView, ToolView};
pub use console::{LinkMade, LinkWanted};
pub use credentials::{LeaseView, StandingView};
pub use detections::DetectionView;
pub use foreseen::{Foreseen, LookedAt, WouldHaveTo};
pub use grants::{EndedView, EndingView, ExtensionView, GrantMade, GrantView, GrantWanted, HandleMade, Used};
pub use halts::{DisabledView, EnabledView, FrozenView, HaltView, HaltWanted};
pub use proposal::{Accept, Accepted, Change, Proposal, ProposedTool, RejectedTool, Trial};
pub use reload::{Changed, Reloaded};
pub use requests::{AskedTool, GrantRequest, LastCall, RequestView};
pub(crate) use shape::HabitsShape;
pub use status::{ConfigStatus, LastReload, Status};

/// Words with a change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Why something was not done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApiError {
    /// One word for programs.
    pub error: String,
    /// What, for people.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}
