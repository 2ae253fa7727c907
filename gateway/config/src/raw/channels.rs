//! `[[channels]]`, as written.

use bailiwick_policy::Band;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `[[channels]]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "kind"]))]
pub(crate) struct RawChannel {
    /// Its id.
    pub(crate) id: Option<String>,
    /// How its messages go: a signed webhook for programs, or a message for persons.
    #[schemars(extend("enum" = ["webhook", "slack", "teams", "ntfy", "mail"]))]
    pub(crate) kind: Option<String>,
    /// Where to. The URL of a chat's webhook is a secret: `url_file` is for those.
    pub(crate) url: Option<String>,
    /// The file with the URL, instead of `url`; relative to this file. It is read again for each message.
    pub(crate) url_file: Option<String>,
    /// With `webhook`: the file with the secrets that sign (Standard Webhooks): a line `whsec_…`, and a second one while they are changed.
    pub(crate) secret_file: Option<String>,
    /// With `ntfy`: its topic.
    pub(crate) topic: Option<String>,
    /// With `ntfy`: the file with its token.
    pub(crate) token_file: Option<String>,
    /// With `mail`: the program that takes a message on standard input, its recipients included, and its arguments.
    #[schemars(length(min = 1))]
    pub(crate) command: Option<Vec<String>>,
    /// With `mail`: from whom.
    pub(crate) from: Option<String>,
    /// With `mail`: to whom.
    #[schemars(length(min = 1))]
    pub(crate) to: Option<Vec<String>>,
    /// What it hears of: `approval.requested` alone when it is not set, and all of it with `webhook`.
    #[schemars(with = "Option<Vec<EventWord>>", length(min = 1))]
    pub(crate) events: Option<Vec<String>>,
    /// The lowest band it hears of.
    #[schemars(with = "String", extend("enum" = ["low", "medium", "high", "critical"]))]
    pub(crate) from_band: Band,
    /// It hears of a question only once nobody has decided or acknowledged it for so long: escalation.
    pub(crate) after: Duration,
    /// With `webhook`: whether the arguments of the call go with the message, whole.
    pub(crate) include_args: bool,
    /// Networks that the name in its URL may resolve into though they are not public.
    #[schemars(length(min = 1))]
    pub(crate) networks: Option<Vec<String>>,
    /// A PEM file with the only certificate authorities that are trusted for it; those of the system when it is not set.
    pub(crate) roots: Option<String>,
    /// Allows a URL without TLS where others can listen.
    pub(crate) dangerous_plain_http: bool,
}

/// What a channel may hear of.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands only for its schema")]
enum EventWord {
    #[serde(rename = "approval.requested")]
    Requested,
    #[serde(rename = "approval.acknowledged")]
    Acknowledged,
    #[serde(rename = "approval.decided")]
    Decided,
    #[serde(rename = "approval.expired")]
    Expired,
    #[serde(rename = "approval.executed")]
    Executed,
    #[serde(rename = "approval.invalidated")]
    Invalidated,
    #[serde(rename = "detection.fired")]
    Detected,
}

impl Default for RawChannel {
    fn default() -> Self {
        Self {
            id: None,
            kind: None,
            url: None,
            url_file: None,
            secret_file: None,
            topic: None,
            token_file: None,
            command: None,
            from: None,
            to: None,
            events: None,
            from_band: Band::Low,
            after: Duration::from_secs(0),
            include_args: false,
            networks: None,
            roots: None,
            dangerous_plain_http: false,
        }
    }
}
