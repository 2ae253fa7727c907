//! Ports that do nothing: where no gateway runs, a call is judged without what could ask, lend, send or record.

use std::sync::Arc;

use bailiwick_pipeline::{
    catalogue::Tool,
    grant::LiveGrant,
    ids::{AgentId, ApprovalId, GrantId},
    ports::{
        ApprovalFailure, ApprovalRequest, Approvals, Binding, Channel, ClaimEnd, Claimed, Clock, ConnectFailure, Connectors,
        Credentials, Grants, Identities, IdentityFailure, Later, Lease, LendFailure, Loan, Ports, Ticket, Tracer, Trail,
        TrailLost, Wanted, Worlds,
    },
    principal::{Presented, Principal},
    records::{DecisionRecord, DetectionRecord, IntentRecord, LabelledRecord, OutcomeRecord, SecretRecord},
    trace::CallTrace,
};
use bailiwick_schemas::names::ConnectorId;
use bytes::Bytes;

const CLOSED: &str = "no gateway runs: a call is only judged here";

/// Grants to judge by, and nothing else.
pub(crate) struct Closed {
    grants: Vec<Arc<LiveGrant>>,
}

impl Closed {
    /// Ports to judge a call by these grants in this world, and to do nothing else.
    pub(crate) fn ports(grants: Vec<Arc<LiveGrant>>, worlds: Arc<dyn Worlds>, clock: Arc<dyn Clock>) -> Ports {
        let closed = Arc::new(Self { grants });
        Ports {
            clock,
            identities: Arc::clone(&closed) as _,
            grants: Arc::clone(&closed) as _,
            worlds,
            approvals: Arc::clone(&closed) as _,
            credentials: Arc::clone(&closed) as _,
            connectors: Arc::clone(&closed) as _,
            trail: Arc::clone(&closed) as _,
            tracer: closed,
            rounds: Arc::default(),
            halts: Arc::default(),
            detections: Arc::default(),
            endings: Arc::new(bailiwick_pipeline::ports::NoEndings),
            requests: Arc::new(bailiwick_pipeline::ports::NoRequests),
            tasks: Arc::default(),
        }
    }
}

impl Grants for Closed {
    fn by_id(&self, id: &GrantId) -> Option<Arc<LiveGrant>> {
        self.grants.iter().find(|grant| grant.terms().id == *id).cloned()
    }

    fn of(&self, agent: &AgentId) -> Vec<Arc<LiveGrant>> {
        self.grants.iter().filter(|grant| grant.terms().agent == *agent).cloned().collect()
    }
}

impl Identities for Closed {
    fn identify<'a>(&'a self, _: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        Box::pin(async { Err(IdentityFailure::Unavailable(CLOSED.to_owned())) })
    }
}

impl Approvals for Closed {
    fn find(&self, _: &Binding, _: u64) -> Option<Ticket> {
        None
    }

    fn request<'a>(&'a self, _: ApprovalRequest<'a>) -> Later<'a, Result<Ticket, ApprovalFailure>> {
        Box::pin(async { Err(ApprovalFailure::Lost(CLOSED.to_owned())) })
    }

    fn arguments(&self, _: &ApprovalId) -> Result<Bytes, ApprovalFailure> {
        Err(ApprovalFailure::Lost(CLOSED.to_owned()))
    }

    fn claim(&self, _: &ApprovalId, _: u64) -> bool {
        false
    }

    fn keep_claim(&self, _: &ApprovalId, _: Claimed, _: u64) {}

    fn finish(&self, _: &ApprovalId, _: ClaimEnd) {}

    fn decided<'a>(&'a self, _: &'a ApprovalId) -> Later<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Credentials for Closed {
    fn lend<'a>(&'a self, wanted: Wanted<'a>) -> Later<'a, Result<Option<Loan>, LendFailure>> {
        let failure = LendFailure { connector: wanted.connector.clone(), reference: String::new(), why: CLOSED.to_owned() };
        Box::pin(async { Err(failure) })
    }

    fn leaked(&self, _: &Arc<LiveGrant>, _: &ConnectorId, _: &Lease) {}

    fn lent(&self, _: &LiveGrant) -> Vec<(ConnectorId, Arc<Lease>)> {
        Vec::new()
    }
}

impl Connectors for Closed {
    fn ready<'a>(
        &'a self,
        _: &'a Arc<Tool>,
        _: &'a Arc<LiveGrant>,
        _: Option<&'a Arc<Lease>>,
        _: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async { Err(ConnectFailure::Start(CLOSED.to_owned())) })
    }
}

impl Trail for Closed {
    fn decision(&self, _: u64, _: &DecisionRecord<'_>) -> Result<(), TrailLost> {
        Err(lost())
    }

    fn intent(&self, _: u64, _: &IntentRecord<'_>) -> Result<u64, TrailLost> {
        Err(lost())
    }

    fn labelled(&self, _: u64, _: &LabelledRecord<'_>) -> Result<(), TrailLost> {
        Err(lost())
    }

    fn outcome(&self, _: u64, _: &OutcomeRecord<'_>) -> Result<(), TrailLost> {
        Err(lost())
    }

    fn secret(&self, _: u64, _: &SecretRecord<'_>) -> Result<(), TrailLost> {
        Err(lost())
    }

    fn detection(&self, _: u64, _: &DetectionRecord<'_>) -> Result<(), TrailLost> {
        Err(lost())
    }

    fn synced(&self, _: u64) -> Later<'_, Result<(), TrailLost>> {
        Box::pin(async { Err(lost()) })
    }

    fn keyed_digest(&self, _: &[u8]) -> String {
        String::new()
    }

    fn admits_stranger(&self, _: u64) -> bool {
        false
    }
}

impl Tracer for Closed {
    fn finish(&self, _: CallTrace) {}
}

fn lost() -> TrailLost {
    TrailLost(CLOSED.to_owned())
}
