//! Lends the least credential, and makes a channel to the server ready.

use std::sync::Arc;

use bailiwick_schemas::names::ConnectorId;

use super::{Approved, Stop, asks::Takes, halted};
use crate::{
    ports::{Access, Channel, Lease, Ports, Wanted},
    records::SecretRecord,
    refusal::Refusal,
    way::Way,
};

/// A call with all that it needs to go.
pub struct Armed<'r> {
    approved: Approved<'r>,
    lease: Option<Arc<Lease>>,
    channel: Box<dyn Channel>,
}

impl<'r> Armed<'r> {
    /// The evidence before this.
    pub fn approved(&self) -> &Approved<'r> {
        &self.approved
    }

    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }

    pub(crate) fn into_parts(self) -> (Approved<'r>, Option<Arc<Lease>>, Box<dyn Channel>) {
        (self.approved, self.lease, self.channel)
    }
}

/// Arms the call. To mint a credential and to start a server takes time: the end of the grant ends it at once.
pub async fn arm<'r>(call: Approved<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Armed<'r>, Stop> {
    let granted = call.permitted().validated().granted();
    let grant = Arc::clone(granted.grant());
    let reached = halted::Reached::of(&way.seen);
    tokio::select! {
        biased;
        // First: mostly there is nothing to wait for, and `record` asks again whether the grant lives.
        armed = arm_now(call, ports, way) => armed,
        () = grant.cancelled().cancelled() => Err(Refusal::grant_ended(grant.end_of_chain(), "Not executed.").into()),
        () = halted::on_way(&reached, ports) => Err(Stop::Stale),
    }
}

async fn arm_now<'r>(call: Approved<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Armed<'r>, Stop> {
    let granted = call.permitted().validated().granted();
    let (grant, tool) = (granted.grant(), granted.tool());
    let stage = way.enter("arm", "bailiwick.credential.issue", ports);
    let loan = if tool.connector.needs_credential {
        let access = Access::of(tool.kind);
        let (connector, now_ms) = (&tool.connector.id, ports.clock.now_ms());
        let most = || Access::given(granted.world(), grant, connector);
        let lent = ports.credentials.lend(Wanted { grant, connector, access, most: &most, now_ms }).await;
        lent.map_err(|failure| Refusal::lend(&failure))?
    } else {
        None
    };
    if tool.connector.needs_credential && loan.is_none() {
        return Err(Refusal::internal(format!("connector `{}` needs a credential and was lent none", tool.connector.id)).into());
    }
    if let Some(loan) = &loan {
        way.trace.note(stage, "bailiwick.secret.provider", loan.lease.provider);
        way.trace.note(stage, "bailiwick.secret.ref", loan.lease.reference.clone());
        if loan.fresh {
            way.trace.important = true;
            secret_on_record("lent", &call, &loan.lease, 0, ports, way)?;
        }
    }
    let lease = loan.map(|loan| loan.lease);
    let asks = Takes::at_all(granted.identified(), tool, grant, granted.world()).declared();
    let ready = ports.connectors.ready(tool, grant, lease.as_ref(), asks.as_deref()).await;
    // Given back meanwhile, as another took its place, it leaked or was taken back: walked again, with what is lent then.
    if lease.as_ref().is_some_and(|lease| lease.is_over()) {
        return Err(Stop::Stale);
    }
    let channel = ready.map_err(|failure| {
        // It may quote what the server said before it ended.
        let detail = Lease::kept_out(lease.as_deref(), &failure.to_string());
        Refusal::connect(tool.connector.id.as_str(), &failure, &detail)
    })?;
    way.leave(stage, ports);
    Ok(Armed { approved: call, lease, channel })
}

/// A secret was in what the server sent: that is on record, and it is lent no more.
pub(super) fn leak_on_record(
    call: &Approved<'_>,
    lease: &Lease,
    redactions: usize,
    ports: &Ports,
    way: &Way<'_>,
) -> Result<(), Refusal> {
    leak_of(&call.permitted().validated().granted().tool().connector.id, call, lease, redactions, ports, way)
}

/// The same of what was lent to the same task for this connector.
pub(super) fn leak_of(
    connector: &ConnectorId,
    call: &Approved<'_>,
    lease: &Lease,
    redactions: usize,
    ports: &Ports,
    way: &Way<'_>,
) -> Result<(), Refusal> {
    ports.credentials.leaked(call.permitted().validated().granted().grant(), connector, lease);
    on_record(("leaked", redactions), connector, call, lease, ports, way)
}

/// Puts an access to a secret on record.
pub(super) fn secret_on_record(
    event: &'static str,
    call: &Approved<'_>,
    lease: &Lease,
    redactions: usize,
    ports: &Ports,
    way: &Way<'_>,
) -> Result<(), Refusal> {
    let connector = &call.permitted().validated().granted().tool().connector.id;
    on_record((event, redactions), connector, call, lease, ports, way)
}

fn on_record(
    (event, redactions): (&'static str, usize),
    connector: &ConnectorId,
    call: &Approved<'_>,
    lease: &Lease,
    ports: &Ports,
    way: &Way<'_>,
) -> Result<(), Refusal> {
    let granted = call.permitted().validated().granted();
    let record = SecretRecord {
        event,
        call_id: granted.identified().received().call_id(),
        agent: &granted.grant().terms().agent,
        grant: &granted.grant().terms().id,
        connector: connector.as_str(),
        lease: &lease.id,
        provider: lease.provider,
        reference: &lease.reference,
        expires_at_ms: lease.expires_at_ms(),
        redactions,
        trace_id: &way.trace_id,
    };
    ports.trail.secret(ports.clock.now_ms(), &record).map_err(|lost| Refusal::trail_lost(&lost))
}
