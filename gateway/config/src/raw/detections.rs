//! `[[detections]]`, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `[[detections]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "kind"]))]
pub(crate) struct RawDetection {
    /// Its name: in records, metrics, refusals and policies (`context.call.detections`).
    pub(crate) id: Option<String>,
    /// What it looks for.
    #[schemars(extend("enum" = ["repeat", "cycle", "probe", "sum", "read_then_send", "fan_out"]))]
    pub(crate) kind: Option<String>,
    /// What follows: it goes on record, the call waits for a person, or it is refused.
    #[schemars(extend("enum" = ["observe", "step_up", "deny"]))]
    pub(crate) action: String,
    /// How far it looks back. If not set `1m`; `10m` with `read_then_send`, `1h` with `sum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Duration>,
    /// The tools it is about, as in a grant; all when it is not set.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<String>>,
    /// The agents it is about, with whoever they hand tasks on to; all when it is not set.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agents: Option<Vec<String>>,
    /// With `repeat`: how often the same call may not come. With `probe`: after how many different refused calls another one is. If not set 10 and 5.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u32>,
    /// With `cycle`: how many calls make a round at most. If not set 4.
    #[schemars(range(min = 2, max = 8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) period: Option<u32>,
    /// With `cycle`: how many rounds. If not set 3.
    #[schemars(range(min = 2, max = 12))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turns: Option<u32>,
    /// With `sum`: where the amount stands in the arguments of each tool, as a JSON pointer. A whole number from 0 on.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sum: Option<BTreeMap<String, String>>,
    /// With `sum`: what an agent may come to within the window, over all of its grants and those that it handed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
    /// With `sum`: what a task may come to, with what was handed on from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_task: Option<u64>,
    /// With `read_then_send`: what was read, by its labels. If not set either.
    #[schemars(with = "Option<Vec<LabelWord>>", length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<String>>,
    /// With `fan_out`: so many connectors. If none of the three is set 5.
    #[schemars(range(min = 2, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connectors: Option<u32>,
    /// With `fan_out`: so many destinations of data. If none of the three is set 10.
    #[schemars(range(min = 2, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destinations: Option<u32>,
    /// With `fan_out`: calls under so many grants of one chain. If none of the three is set 5.
    #[schemars(range(min = 2, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grants: Option<u32>,
}

/// What a result may be marked with.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands only for its schema")]
#[serde(rename_all = "snake_case")]
enum LabelWord {
    Untrusted,
    Confidential,
}

impl Default for RawDetection {
    fn default() -> Self {
        Self {
            id: None,
            kind: None,
            action: "observe".to_owned(),
            window: None,
            tools: None,
            agents: None,
            count: None,
            period: None,
            turns: None,
            sum: None,
            limit: None,
            per_task: None,
            after: None,
            connectors: None,
            destinations: None,
            grants: None,
        }
    }
}
