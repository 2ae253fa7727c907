//! What is lent, and what stands for ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A credential that one grant was lent for one connector. Never what it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeaseView {
    /// The lease.
    pub id: String,
    /// `lent`; `ending` while its issuer is asked to take it back; `overdue` where that failed and is tried again; `lapsing` where it can
    /// only end by itself; `ended`.
    pub state: String,
    /// For which connector.
    pub connector: String,
    /// Where it comes from.
    pub provider: String,
    /// What was lent: a role, a variable, a path.
    pub reference: String,
    /// What it is good for: `read` or `write`.
    pub access: String,
    /// Under which grant; none for the moment in which an admin looks at the connector.
    pub grant: Option<String>,
    /// For which task, as its grant says; none where there is no such grant any more.
    pub task: Option<String>,
    /// Who is accountable, likewise.
    pub owner: Option<String>,
    /// To which agent.
    pub agent: Option<String>,
    /// Whether what was lent lives on when the task is over.
    pub standing: bool,
    /// Whether its issuer takes it back; else it only ends by itself.
    pub revocable: bool,
    /// To how many calls it was handed; nought where it was lent before the gateway began.
    pub uses: u64,
    /// Since when.
    pub since_ms: u64,
    /// Until when it can live.
    pub until_ms: u64,
    /// Why it is not lent any more.
    pub why: Option<String>,
    /// How often its issuer was asked to take it back.
    pub tries: u32,
    /// What came of the last time.
    pub fault: Option<String>,
    /// When it is asked again; none where it is being asked, or can't be.
    pub next_ms: Option<u64>,
    /// How it ended: `revoked`, by its issuer; `expired`, by itself; `returned`, and lives on.
    pub how: Option<String>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
}

/// A credential that a connector is lent and that lives on when tasks are over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StandingView {
    /// The connector.
    pub id: String,
    /// `standing`.
    pub state: String,
    /// Where it comes from.
    pub provider: String,
    /// The variable, or the path.
    pub reference: String,
    /// Since when it is what it is: when its file was changed last, or the gateway began; none where that can't be told.
    pub since_ms: Option<u64>,
    /// Whether it is what it is for so long, 90 days, that it should be changed.
    pub old: bool,
}
