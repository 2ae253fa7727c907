//! Real files, in folders of their own.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod acts;
mod allowances;
mod approvals;
mod batches;
mod bodies;
mod caps;
mod classes;
mod concurrency;
mod decisions;
mod files;
mod grants;
mod habits;
mod handles;
mod hops;
mod identities;
mod machine;
mod pins;
mod positions;
mod requests;
mod sealed;
mod standing;
mod stops;
mod tokens;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    catalogue::{Connector, Listed, Tool},
    grant::{Budget, Capability, Grant, Labels},
    ids::{ApprovalId, CallId},
    ports::{ApprovalFailure, ApprovalRequest, Approvals as _, Binding, Clock, Delegator, Ticket},
    principal::Agent,
};
use bailiwick_policy::{Band, Confirm, ConnectorFacts, Kind, Requirement};
use bailiwick_schemas::{
    canonical::Digest,
    validate::{Undeclared, Validator},
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::{AgentEntry, Agents, Approver, ApproverMethod, LiveApprovals, ReplayedIntent, Settings, Store};

/// Some time in 2026.
pub(crate) const NOW: u64 = 1_790_000_000_000;
const HOUR: u64 = 60 * 60 * 1000;
const MINUTE: u64 = 60 * 1000;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn open(data: &TempDir) -> Store {
    Store::open(data.path()).unwrap()
}

/// Copies the files of a store that is open, as a crash would leave them: what was not committed is not in them.
pub(crate) fn crashed(data: &TempDir) -> TempDir {
    let copy = folder();
    for name in ["state.db", "state.db-wal", "seal.key"] {
        std::fs::copy(data.path().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// Changes the database as somebody would who can write the file.
fn tamper(data: &Path, sql: &str) {
    Connection::open(data.join("state.db")).unwrap().execute_batch(sql).unwrap();
}

pub(crate) fn terms(id: &str, agent: &str) -> Grant {
    Grant {
        owner: "olga".to_owned(),
        purpose: "triage".to_owned(),
        ceiling: Band::High,
        environment: "dev".to_owned(),
        budget: Budget { calls: Some(500), writes: Some(20), ..Budget::default() },
        default: true,
        ..Grant::bare(
            id.parse().unwrap(),
            agent.parse().unwrap(),
            vec![Capability {
                tools: "tickets__*".parse().unwrap(),
                kinds: None,
                args: [("/project".to_owned(), serde_json::from_value(json!({"eq": "support"})).unwrap())].into(),
            }],
            NOW..NOW + 8 * HOUR,
        )
    }
}

fn agent(id: &str, uids: &[u32]) -> AgentEntry {
    let agent = Agent { id: id.parse().unwrap(), owner: "team-lead".to_owned(), ceiling: Band::High, disabled: false };
    let spiffe = vec![format!("spiffe://example.org/agent/{id}")];
    AgentEntry { agent, uids: uids.to_vec(), spiffe, subjects: Vec::new() }
}

fn agents() -> Arc<Agents> {
    let agents = Agents::default();
    agents.set(entries());
    Arc::new(agents)
}

fn entries() -> Vec<AgentEntry> {
    vec![agent("bot", &[1000]), agent("other", &[2000])]
}

struct StoppedClock(AtomicU64);

impl Clock for StoppedClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst) * 1_000_000
    }
    fn random(&self) -> [u8; 16] {
        [7; 16]
    }
}

fn clock(now_ms: u64) -> Arc<StoppedClock> {
    Arc::new(StoppedClock(AtomicU64::new(now_ms)))
}

fn approvals(store: &Store) -> LiveApprovals {
    LiveApprovals::load(store, agents(), Settings::default(), &[]).unwrap()
}

fn binding(arguments: &str) -> Binding {
    Binding {
        agent: "bot".parse().unwrap(),
        grant: "triage".parse().unwrap(),
        grant_revision: 1,
        connector: "tickets".parse().unwrap(),
        connector_fingerprint: Digest::of(b"connector"),
        tool: "tickets__refund".to_owned(),
        tool_digest: Digest::of(b"tool"),
        args_digest: Digest::of(arguments.as_bytes()),
        policy_digest: "policies".to_owned(),
        needs: BTreeSet::from(["refunds".to_owned()]),
        obligations: Vec::new(),
    }
}

fn tool() -> Tool {
    let facts =
        ConnectorFacts { id: "tickets".to_owned(), sensitivity: String::new(), environment: String::new(), credential: "none" };
    Tool {
        name: "tickets__refund".parse().unwrap(),
        connector: Arc::new(Connector {
            id: "tickets".parse().unwrap(),
            fingerprint: Digest::of(b"connector"),
            facts,
            prefix: bailiwick_schemas::exposure::Prefix::Always,
            may_ask: true,
            elicitation_hosts: Vec::new(),
            transport: "pipe",
            needs_credential: false,
            call_timeout: Duration::from_secs(1),
            max_rate: None,
            pace: Arc::default(),
        }),
        kind: Kind::Write,
        band: Band::High,
        digest: Digest::of(b"tool"),
        listed: Listed::new("{}"),
        input: Validator::compile_input(&json!({"type": "object"}), Undeclared::Refuse).unwrap(),
        output: None,
        labels: Labels::default(),
        mirrors: Vec::new(),
        cost: 1,
        marks: None,
        destination: None,
    }
}

fn requirement(quorum: u32, ttl: Option<Duration>) -> Requirement {
    Requirement {
        label: "refunds".into(),
        confirm: Confirm::Approver,
        remember: false,
        quorum,
        ttl,
        rule: "refund-needs-a-person".into(),
        reason: Some("money".into()),
    }
}

/// Asks whether `arguments` may be sent, of a grant that lives for eight hours.
async fn ask(approvals: &LiveApprovals, arguments: &str, now_ms: u64) -> Result<Ticket, ApprovalFailure> {
    ask_for(approvals, &binding(arguments), arguments, &[requirement(1, None)], now_ms).await
}

async fn ask_for(
    approvals: &LiveApprovals,
    binding: &Binding,
    arguments: &str,
    requirements: &[Requirement],
    now_ms: u64,
) -> Result<Ticket, ApprovalFailure> {
    ask_below(approvals, &[], binding, (arguments, requirements), now_ms).await
}

/// Asks under a grant that these handed on.
async fn ask_below(
    approvals: &LiveApprovals,
    delegators: &[Delegator],
    binding: &Binding,
    (arguments, requirements): (&str, &[Requirement]),
    now_ms: u64,
) -> Result<Ticket, ApprovalFailure> {
    ask_of(approvals, Band::High, delegators, binding, (arguments, requirements), now_ms).await
}

/// Asks for a tool of this band.
async fn ask_of(
    approvals: &LiveApprovals,
    band: Band,
    delegators: &[Delegator],
    binding: &Binding,
    (arguments, requirements): (&str, &[Requirement]),
    now_ms: u64,
) -> Result<Ticket, ApprovalFailure> {
    let tool = || Tool { band, ..tool() };
    let (tool, call) = (tool(), CallId::new(now_ms, [1; 10]));
    let request = ApprovalRequest {
        binding,
        masked: &[],
        arguments: arguments.as_bytes(),
        requirements,
        owner: "olga",
        delegators,
        purpose: "triage",
        claim: Some("the customer asked"),
        tool: &tool,
        call: &call,
        grant_expires_at_ms: NOW + 8 * HOUR,
        now_ms,
    };
    approvals.request(request).await
}

fn approver(name: &str, uid: u32) -> Approver {
    Approver { uid: Some(uid), name: name.to_owned(), method: ApproverMethod::Operator, owns: BTreeSet::new(), enrolled_by: None }
}

fn claimed(approval: &ApprovalId) -> ReplayedIntent {
    ReplayedIntent {
        tool: "s__t".parse().ok(),
        at_ms: 1,
        bytes_out: 10,
        cost: 1,
        grant: "triage".parse().unwrap(),
        grant_revision: 1,
        debited: vec!["triage".parse().unwrap()],
        has_effect: true,
        labels: Labels::default(),
        sums: Vec::new(),
        approval: Some(approval.clone()),
        allowance: None,
    }
}
