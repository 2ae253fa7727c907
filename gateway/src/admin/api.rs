//! What is said over the admin API: the one truth for the gateway, which writes it, and the command line, which reads it.
//! Times are unix milliseconds. Whatever can be listed has an `id` and a `state`.

use std::{collections::BTreeMap, fmt};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Budget, Capability, GrantState, Labels},
};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{ApprovalState, AskedFor, ClassedBy, Decided};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// How the gateway is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The URL by which agents reach it; none before it listens.
    pub agents_url: Option<String>,
    /// The callable tools.
    pub tools: usize,
    /// Approvals that wait for a decision.
    pub pending_approvals: usize,
    /// Whether whoever runs an agent may approve its calls.
    pub allow_same_user: bool,
    /// Why nothing can be put on record any more, if so: every call is refused then.
    pub trail_lost: bool,
    /// Why nothing can be stored any more, if so.
    pub store_lost: Option<String>,
    /// The configuration in force, and how its last reload went.
    pub config: ConfigStatus,
}

/// The configuration in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Counts the configurations since the start, from 1.
    pub epoch: u64,
    /// The digest over its files.
    pub digest: String,
    /// The digest of its policies.
    pub policy: String,
    /// Since when it is in force.
    pub since_ms: u64,
    /// Reloads that were taken, since the start.
    pub applied: u64,
    /// Reloads that were refused, since the start.
    pub refused: u64,
    /// The last reload.
    pub last: Option<LastReload>,
    /// The keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
}

/// The last reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastReload {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
    /// Whether it was taken; else what ran before runs on.
    pub successful: bool,
    /// Why it was refused, line by line.
    pub why: Vec<String>,
}

/// Ids that another configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// New ones.
    pub added: Vec<String>,
    /// Ones that are otherwise now.
    pub changed: Vec<String>,
    /// Ones that are no longer there.
    pub removed: Vec<String>,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Another configuration is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloaded {
    /// The epoch.
    pub id: String,
    /// Always `applied`.
    pub state: String,
    /// Counts the configurations since the start.
    pub epoch: u64,
    /// The digest over its files.
    pub digest: String,
    /// The digest of the policies before.
    pub policy_before: String,
    /// The digest of the policies.
    pub policy: String,
    /// The agents.
    pub agents: Changed,
    /// The connectors.
    pub connectors: Changed,
    /// The grants of the configuration.
    pub grants: Changed,
    /// Other keys that changed.
    pub settings: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
    /// Grants that had ended by themselves, and are issued anew.
    pub reissued: Vec<String>,
    /// Grants that stay ended because somebody ended them.
    pub stay_ended: Vec<String>,
    /// Connectors of which no tool was accepted.
    pub unpinned: Vec<String>,
    /// Why something of it could not be stored, if so.
    pub not_stored: Option<String>,
}

impl Reloaded {
    /// What changed, in one line.
    pub fn summary(&self) -> String {
        let named = |what: &str, changed: &Changed| {
            let signed = |sign: char, ids: &[String]| ids.iter().map(|id| format!("{sign}{id}")).collect::<Vec<_>>();
            let all = [signed('+', &changed.added), signed('~', &changed.changed), signed('-', &changed.removed)].concat();
            (!all.is_empty()).then(|| format!("{what} {}", all.join(" ")))
        };
        let policies = (self.policy != self.policy_before).then(|| "policies".to_owned());
        let parts =
            [named("agents", &self.agents), named("connectors", &self.connectors), named("grants", &self.grants), policies];
        let parts: Vec<String> = parts.into_iter().flatten().chain(self.settings.iter().cloned()).collect();
        if parts.is_empty() { "nothing changed".to_owned() } else { parts.join(", ") }
    }

    /// What is left to do for a person.
    pub fn notes(&self) -> Vec<String> {
        let restart = self.needs_restart.iter().map(|key| format!("needs a restart: {key}"));
        let ended =
            self.stay_ended.iter().map(|id| format!("grant `{id}` was ended by somebody and stays so: choose another id"));
        let pins = self
            .unpinned
            .iter()
            .map(|id| format!("`{id}` has no accepted tool: `bailiwick connectors pin {id}` shows and accepts them"));
        let stored = self.not_stored.iter().map(|why| format!("it is in force, but could not be stored: {why}"));
        restart.chain(ended).chain(pins).chain(stored).collect()
    }
}

/// An agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// `active` or `disabled`.
    pub state: String,
    /// Who is accountable.
    pub owner: String,
    /// The highest band it may reach.
    pub ceiling: Band,
    /// Its tokens that are good.
    pub tokens: Vec<TokenView>,
    /// Its grants that are active.
    pub grants: Vec<String>,
}

/// An agent's token; never the token itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// When it was made.
    pub created_at_ms: u64,
    /// Until when it is good.
    pub expires_at_ms: u64,
}

/// A token is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// For how long.
    pub ttl_ms: u64,
}

/// A token, told once.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenMade {
    /// The token.
    pub token: String,
    /// Until when it is good.
    pub expires_at_ms: u64,
}

impl fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMade").field("expires_at_ms", &self.expires_at_ms).finish_non_exhaustive()
    }
}

/// A connector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectorView {
    /// Its id.
    pub id: String,
    /// `ready`, `idle`, `failing`, `drifted`, or `unpinned` where no tool was accepted.
    pub state: String,
    /// The program, or the address.
    pub program: String,
    /// Whether it is reached over HTTP: by sessions then, and not by processes.
    #[serde(default)]
    pub over_http: bool,
    /// Whether one process, or one session, serves all grants.
    pub shared: bool,
    /// The tools that were accepted.
    pub tools: Vec<ToolView>,
    /// Its processes.
    pub processes: Vec<ProcessView>,
    /// What was counted since the start.
    pub calls: u64,
    /// Failures since the start.
    pub failures: u64,
    /// What its servers said that they should not have, by kind, since the start: answers to no request, questions, and the like.
    #[serde(default)]
    pub oddities: BTreeMap<String, u64>,
    /// The last failure: what, and how long ago.
    pub last_failure: Option<FailureView>,
    /// The end of what it wrote to standard error.
    pub stderr: Vec<String>,
}

/// A failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailureView {
    /// What.
    pub what: String,
    /// How long ago.
    pub ago_ms: u64,
}

/// A tool that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolView {
    /// Its name to agents.
    pub id: String,
    /// `callable`, `drifted`, or `unusable`.
    pub state: String,
    /// What it does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// Who gave it a kind and a band where the configuration has no line for it: `config`, whose silence then counts, or `person`.
    pub classed_by: ClassedBy,
    /// What its results are marked with.
    pub labels: Labels,
    /// The digest of its definition.
    pub digest: Digest,
    /// When it was accepted.
    pub accepted_at_ms: u64,
    /// By whom.
    pub accepted_by: String,
    /// Why it can't be called, where it can't.
    pub why: Option<String>,
    /// The tools of other connectors that its definition speaks of: a reason to read it with care.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<String>,
    /// Its definition, as it was accepted.
    pub definition: Box<RawValue>,
}

/// A process of a connector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessView {
    /// Its process id.
    pub id: u32,
    /// `starting`, `ready` or `ending`.
    pub state: String,
    /// For which grant.
    pub grant: Option<String>,
    /// How long it runs.
    pub age_ms: u64,
    /// Calls under way.
    pub calls: usize,
}

/// What a server offers, held against what was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proposal {
    /// The connector.
    pub id: String,
    /// `same` or `different`.
    pub state: String,
    /// The protocol version it speaks.
    pub protocol: String,
    /// What it says it is.
    pub server_info: Option<Value>,
    /// The tools that may be accepted, and those that are gone.
    pub tools: Vec<ProposedTool>,
    /// The tools that may not, and why.
    pub findings: Vec<RejectedTool>,
}

/// One tool of a proposal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProposedTool {
    /// Its name at its server.
    pub id: String,
    /// `same`, `new`, `changed` or `gone`.
    pub state: String,
    /// What it would count as.
    pub kind: Kind,
    /// How risky it would count as.
    pub band: Band,
    /// Where kind and band come from: `config`, `accepted before`, or what was guessed from.
    pub from: String,
    /// The digest of the definition that would be accepted; of the accepted one where it is gone.
    pub digest: Digest,
    /// What changed: JSON pointers into the definition, with the value before and now.
    pub changes: Vec<Change>,
    /// What its server says of it.
    pub description: String,
    /// The tools of other connectors that its definition speaks of: a reason to read it with care.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<String>,
}

/// One place of a definition that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where (RFC 6901).
    pub at: String,
    /// What was accepted; none where there was nothing.
    pub before: Option<Value>,
    /// What is offered; none where there is nothing.
    pub now: Option<Value>,
}

/// A tool that may not be accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RejectedTool {
    /// The name it claims.
    pub id: String,
    /// Always `rejected`.
    pub state: String,
    /// Why.
    pub why: String,
}

/// How a connector's server did when it was started for a moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// The connector.
    pub id: String,
    /// `same` or `different` from what was accepted, or `failed`.
    pub state: String,
    /// How long it took, to its end, milliseconds.
    pub took_ms: u64,
    /// What it offers, held against what was accepted.
    pub offer: Option<Proposal>,
    /// Why it failed.
    pub failure: Option<String>,
    /// The end of what it wrote to standard error.
    pub stderr: Vec<String>,
}

/// What would become of a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    pub kind: Option<Kind>,
    /// How risky it is.
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
    /// How much of the grant is used.
    pub used: Option<Used>,
    /// How much of it may be.
    pub budget: Option<Budget>,
}

/// Tools are accepted: exactly those that were shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Tool and digest, as the proposal said.
    pub tools: BTreeMap<String, Digest>,
    /// Which of them speak of tools of other connectors, as the proposal said: who accepts them has seen that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refers_to: BTreeMap<String, Vec<String>>,
}

/// What was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    /// How many tools.
    pub tools: usize,
}

/// A grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantView {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: GrantState,
    /// The only agent that may act under it.
    pub agent: String,
    /// Who is accountable.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// The rights.
    pub capabilities: Vec<Capability>,
    /// The callable tools that it covers now.
    pub tools: Vec<String>,
    /// The highest band it reaches.
    pub ceiling: Band,
    /// The environment it is for.
    pub environment: String,
    /// From when.
    pub not_before_ms: u64,
    /// Until when.
    pub expires_at_ms: u64,
    /// How much it may be used.
    pub budget: Budget,
    /// How often it was used.
    pub used: Used,
    /// What it has touched.
    pub labels: Labels,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
    /// Whether it comes from the configuration.
    pub from_config: bool,
    /// Counts its reissues.
    pub revision: u64,
    /// When it was made.
    pub created_at_ms: u64,
    /// How it ended.
    pub ending: Option<EndingView>,
}

/// How often a grant was used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Used {
    /// Calls.
    pub calls: u64,
    /// Calls that were not reads.
    pub writes: u64,
}

/// How a grant ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndingView {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A grant is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWanted {
    /// Its id; made up where there is none.
    pub id: Option<String>,
    /// The agent.
    pub agent: String,
    /// The owner; the agent's where there is none.
    pub owner: Option<String>,
    /// The task.
    pub purpose: String,
    /// The tools.
    pub tools: Vec<String>,
    /// Bounds by tool, then by JSON pointer.
    pub args: BTreeMap<String, BTreeMap<String, Bound>>,
    /// The highest band; the agent's where there is none.
    pub ceiling: Option<Band>,
    /// The environment.
    pub environment: String,
    /// How long it lives.
    pub ttl_ms: u64,
    /// How much it may be used.
    pub budget: Budget,
    /// Whether its agent acts under it when it names none.
    pub default: bool,
}

/// A grant, made; its token is told once.
#[derive(Clone, Serialize, Deserialize)]
pub struct GrantMade {
    /// The grant.
    pub grant: GrantView,
    /// Its token.
    pub token: String,
}

impl fmt::Debug for GrantMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantMade").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// Words with a change.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the end of a grant came to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EndedView {
    /// Whether it was active until now.
    pub was_active: bool,
    /// Whether nothing is being written downstream any more.
    pub drained: bool,
}

/// An approval.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: ApprovalState,
    /// The short code that the agent sees too.
    pub code: String,
    /// The tool.
    pub tool: String,
    /// The agent.
    pub agent: String,
    /// The grant.
    pub grant: String,
    /// The owner of the grant.
    pub owner: String,
    /// The task.
    pub purpose: String,
    /// What the tool does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// What policy asks for.
    pub requirements: Vec<AskedFor>,
    /// The call that asked first.
    pub call: String,
    /// The digest of the arguments.
    pub args_digest: Digest,
    /// The tool's pin.
    pub tool_digest: Digest,
    /// When it was asked.
    pub created_at_ms: u64,
    /// Until when it waits for a decision.
    pub approve_by_ms: u64,
    /// Until when it may be used once approved.
    pub execute_by_ms: Option<u64>,
    /// What persons said.
    pub decisions: Vec<Decided>,
    /// When it was used or closed.
    pub ended_at_ms: Option<u64>,
    /// Why it was closed, where nobody decided that.
    pub note: Option<String>,
    /// The very bytes that would be sent, as text; only where one is shown, and as long as they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// A decision is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionWanted {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The digest of exactly what was shown to the approver.
    #[serde(default)]
    pub view: Option<Digest>,
}

/// Why something was not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiError {
    /// One word for programs.
    pub error: String,
    /// What, for people.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_in_what_is_printed_of_it() {
        let made = TokenMade { token: "ba_canary".to_owned(), expires_at_ms: 7 };
        assert_eq!(format!("{made:?}"), "TokenMade { expires_at_ms: 7, .. }");
    }
}
