//! What is kept of a call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The bodies of a call, as a rule had them kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CallBodies {
    /// The call.
    pub id: String,
    /// Its arguments, as they were sent but for what is masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What its agent was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}
