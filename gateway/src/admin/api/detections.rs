//! What detections found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that a detection found: what was put on record when it fired first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DetectionView {
    /// Its place in the stream `detections`.
    pub id: String,
    /// What follows: `observe`, `step_up` or `deny`.
    pub state: String,
    /// The name of the detection.
    pub detection: String,
    /// What it looks for.
    pub kind: String,
    /// When it fired first.
    pub at_ms: u64,
    /// On which call.
    pub call: String,
    /// Whose call.
    pub agent: String,
    /// Under which grant.
    pub grant: String,
    /// Of which tool, where there is one.
    pub tool: Option<String>,
    /// What was found.
    pub why: String,
    /// The trace of the call.
    pub trace: String,
}
