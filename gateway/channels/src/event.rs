//! What is told: that something happened to an approval, or that something stood out, and the facts of it.

use std::fmt;

use bailiwick_pipeline::ids::ApprovalId;
use bailiwick_policy::{Band, Kind};
use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its place in the order of all events.
    pub seq: u64,
    /// When, unix milliseconds.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// To which approval, as it was then; or what stood out.
    pub about: About,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum About {
    /// An approval.
    Question(Box<Question>),
    /// What a detection found.
    Finding(Box<Finding>),
}

impl About {
    /// The approval that it is about; none where it is about none.
    pub fn question(&self) -> Option<&Question> {
        match self {
            Self::Question(question) => Some(question),
            Self::Finding(_) => None,
        }
    }

    /// How risky, or how grave, it is.
    pub fn band(&self) -> Band {
        match self {
            Self::Question(question) => question.band,
            Self::Finding(finding) => finding.band,
        }
    }
}

/// What a detection found: what is on record of it. Arguments and amounts that a rule masks are not among it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its place in the trail: `detections-12`.
    pub id: String,
    /// The name of the detection.
    pub detection: String,
    /// What it looks for.
    pub looks_for: String,
    /// What follows: `observe`, `step_up` or `deny`.
    pub action: String,
    /// How grave that is: `high` where calls are refused, else `medium`.
    pub band: Band,
    /// The call that it fired on first.
    pub call: String,
    /// Of which tool, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Of which agent.
    pub agent: String,
    /// Under which grant.
    pub grant: String,
    /// What was found, in words.
    pub why: String,
}

impl Event {
    /// Its id: the same at every try, and that of no other event.
    pub fn id(&self) -> String {
        match &self.about {
            About::Question(question) => format!("evt_{}_{}", question.id, self.seq),
            About::Finding(finding) => format!("evt_{}", finding.id),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// A call waits for a person.
    #[serde(rename = "approval.requested")]
    Requested,
    /// Somebody looks at it.
    #[serde(rename = "approval.acknowledged")]
    Acknowledged,
    /// Approved or denied; of several who must approve, the last.
    #[serde(rename = "approval.decided")]
    Decided,
    /// Nobody decided, or nobody used it, in time.
    #[serde(rename = "approval.expired")]
    Expired,
    /// Its one use is over.
    #[serde(rename = "approval.executed")]
    Executed,
    /// It became void, or was taken back.
    #[serde(rename = "approval.invalidated")]
    Invalidated,
    /// A detection fired: once for as long as it goes on.
    #[serde(rename = "detection.fired")]
    Detected,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Requested, Self::Acknowledged, Self::Decided, Self::Expired, Self::Executed, Self::Invalidated, Self::Detected];

    /// The word for it in configuration and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "approval.requested",
            Self::Acknowledged => "approval.acknowledged",
            Self::Decided => "approval.decided",
            Self::Expired => "approval.expired",
            Self::Executed => "approval.executed",
            Self::Invalidated => "approval.invalidated",
            Self::Detected => "detection.fired",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The facts of an approval that may be told to whoever a channel reaches. The arguments are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its id: a handle, it gives no power.
    pub id: ApprovalId,
    /// The code that the agent sees too.
    pub code: String,
    /// Its state, as its word.
    pub state: String,
    /// The tool, with its connector.
    pub tool: String,
    /// What the tool does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// Which agent asks.
    pub agent: String,
    /// Under which grant.
    pub grant: String,
    /// Who owns the grant.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// The rules that ask for a person.
    pub rules: Vec<String>,
    /// How many persons must approve.
    pub quorum: usize,
    /// The digest of the arguments.
    pub args_digest: String,
    /// The digest of the exact call that an approval would be bound to.
    pub binding: String,
    /// Until when it waits for a decision, unix milliseconds.
    pub approve_by_ms: u64,
    /// Until when it may be used once approved, unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute_by_ms: Option<u64>,
    /// Who decided, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided_by: Vec<String>,
    /// What was said with the decision, or why it is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::EventKind;

    #[test]
    fn each_kind_has_one_word() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).ok(), Some(kind.as_str().into()));
        }
    }
}
