//! Channels.

use bailiwick_channels::ChannelStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A channel.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChannelView {
    /// Its id.
    pub id: String,
    /// How its messages go: `webhook`, `slack`, `teams`, `ntfy` or `mail`.
    pub kind: String,
    /// `working`, `failing`, or `gone` where its place says that it is gone for good.
    pub state: String,
    /// How many messages have arrived since the start.
    pub told: u64,
    /// When the last one did.
    pub told_at_ms: Option<u64>,
    /// How many were given up since the start: refused each time, or not taken for a day.
    pub passed_by: u64,
    /// How many events it has yet to look at.
    pub behind: u64,
    /// Since when it fails.
    pub failing_since_ms: Option<u64>,
    /// Why.
    pub why: Option<String>,
}

impl From<ChannelStatus> for ChannelView {
    fn from(status: ChannelStatus) -> Self {
        let ChannelStatus { id, way, state, told, told_at_ms, passed_by, behind, failing_since_ms, why } = status;
        Self {
            id,
            kind: way.to_owned(),
            state: state.as_str().to_owned(),
            told,
            told_at_ms,
            passed_by,
            behind,
            failing_since_ms,
            why,
        }
    }
}
