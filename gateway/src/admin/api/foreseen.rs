//! What would become of a call.

use bailiwick_pipeline::grant::Budget;
use bailiwick_policy::{Band, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Used, shape};

/// What would become of a call.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Foreseen {
    /// The tool, as it was asked for.
    pub id: String,
    /// `allow`, `step_up` or `deny`.
    pub state: String,
    /// The agent.
    pub agent: String,
    /// The grant it would act under.
    pub grant: Option<String>,
    /// What the tool does.
    #[schemars(with = "Option<shape::Kind>")]
    pub kind: Option<Kind>,
    /// How risky it is.
    #[schemars(with = "Option<shape::Band>")]
    pub band: Option<Band>,
    /// The gate that refuses, or `permit`.
    pub gate: String,
    /// Why it would be refused, in one word.
    pub reason: Option<String>,
    /// Why, for the operator.
    pub detail: Option<String>,
    /// What the agent would be told.
    pub told: Option<String>,
    /// The rules that determine it.
    pub rules: Vec<String>,
    /// The policies they are from.
    pub policy_digest: Option<String>,
    /// What a person would have to approve first.
    pub needs: Vec<String>,
    /// What the rules that determine it looked at.
    #[serde(default)]
    pub looked: Vec<LookedAt>,
    /// The least that would have to be otherwise for it to go; nothing where it goes, or where nothing was found.
    #[serde(default)]
    pub least: Vec<WouldHaveTo>,
    /// What would become of it then.
    #[serde(default)]
    pub then: Option<String>,
    /// How much of the grant is used.
    pub used: Option<Used>,
    /// How much of it may be.
    #[schemars(with = "Option<shape::Budget>")]
    pub budget: Option<Budget>,
}

/// Something that a rule looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LookedAt {
    /// What, as rules write it, such as `context.input.amount`.
    pub path: String,
    /// What stood there; none where nothing did, or where it is not on record.
    pub value: Option<Value>,
}

/// Something that would have to be otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WouldHaveTo {
    /// What, as rules write it.
    pub path: String,
    /// What stands there.
    pub from: Option<Value>,
    /// What would have to; none where it would have to be left out.
    pub to: Option<Value>,
}
