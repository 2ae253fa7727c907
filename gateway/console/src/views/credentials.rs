//! What connectors were lent. Never what it is.

/// Everything that is known of what is lent, for who may see it.
#[derive(Debug, Clone, Default)]
pub struct CredentialsView {
    /// What is lent, and what is not back yet: the oldest first.
    pub leases: Vec<LeaseRow>,
    /// The connectors whose credential lives on when tasks are over.
    pub standing: Vec<StandingRow>,
    /// Those that ended last since the start, the latest first.
    pub ended: Vec<LeaseRow>,
}

/// A credential that one grant was lent for one connector.
#[derive(Debug, Clone, Default)]
pub struct LeaseRow {
    /// The lease.
    pub id: String,
    /// `lent`, `ending`, `overdue`, `lapsing` or `ended`.
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
    /// For which task, as its grant says.
    pub task: Option<String>,
    /// Who is accountable.
    pub owner: Option<String>,
    /// To which agent.
    pub agent: Option<String>,
    /// Whether what was lent lives on when the task is over.
    pub standing: bool,
    /// Whether its issuer takes it back.
    pub revocable: bool,
    /// To how many calls it was handed.
    pub uses: u64,
    /// Since when.
    pub since_ms: u64,
    /// Until when it can live.
    pub until_ms: u64,
    /// Why it is not lent any more.
    pub why: Option<String>,
    /// How often its issuer was asked to take it back.
    pub tries: u32,
    /// What its issuer said the last time.
    pub fault: Option<String>,
    /// When it is asked again.
    pub next_ms: Option<u64>,
    /// How it ended: `revoked`, `expired` or `returned`.
    pub how: Option<String>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
}

/// A credential that lives on when tasks are over.
#[derive(Debug, Clone)]
pub struct StandingRow {
    /// The connector.
    pub connector: String,
    /// Where it comes from.
    pub provider: String,
    /// The variable, or the path.
    pub reference: String,
    /// Since when it is what it is, where that can be told.
    pub since_ms: Option<u64>,
    /// Whether that is so long that it should be changed.
    pub old: bool,
}

/// Which of them are shown; none means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseFilter {
    /// Those of this grant.
    pub grant: Option<String>,
    /// Those of this connector.
    pub connector: Option<String>,
}

impl LeaseFilter {
    /// Whether anything is left out.
    pub fn is_any(&self) -> bool {
        self.grant.is_some() || self.connector.is_some()
    }

    /// What of it is shown. What stands by itself is of no grant.
    #[must_use]
    pub fn of(&self, mut view: CredentialsView) -> CredentialsView {
        let is_connector = |connector: &str| self.connector.as_deref().is_none_or(|wanted| wanted == connector);
        let is_meant = |row: &LeaseRow| {
            is_connector(&row.connector) && self.grant.as_deref().is_none_or(|wanted| row.grant.as_deref() == Some(wanted))
        };
        view.leases.retain(is_meant);
        view.ended.retain(is_meant);
        view.standing.retain(|row| self.grant.is_none() && is_connector(&row.connector));
        view
    }
}
