//! What a halt stops: asked where a call is seen, once more where it counts, and once more where it goes out.

use std::sync::Arc;

use super::Granted;
use crate::{
    catalogue::Tool,
    grant::{LiveGrant, SendPass},
    halts::{Flight, Halt, Subject},
    ports::Ports,
    principal::Principal,
    refusal::Refusal,
    way::Seen,
};

/// What has to be known of a call on its way to tell whether a halt reaches it.
pub(crate) struct Reached {
    principal: Option<Principal>,
    grant: Option<Arc<LiveGrant>>,
    tool: Option<Arc<Tool>>,
}

impl Reached {
    /// As much as was seen of it by now.
    pub(crate) fn of(seen: &Seen) -> Self {
        Self { principal: seen.principal.clone(), grant: seen.grant.clone(), tool: seen.tool.clone() }
    }
}

/// Returns once a halt reaches a call that waits: whoever walks it again is told.
pub(crate) async fn on_way(reached: &Reached, ports: &Ports) {
    let Reached { principal, grant, tool } = reached;
    let tool = tool.as_ref().map(|tool| &tool.name);
    ports.halts.reached(&Subject { principal: principal.as_ref(), grant: grant.as_deref(), tool }).await;
}

/// An agent, or an instance of it, that is halted.
pub(super) fn refuse_caller(principal: &Principal, ports: &Ports) -> Result<(), Refusal> {
    refuse(&Subject { principal: Some(principal), ..Subject::default() }, ports)
}

/// A grant that comes from one of a halted agent.
pub(super) fn refuse_grant(grant: &LiveGrant, ports: &Ports) -> Result<(), Refusal> {
    refuse(&Subject { grant: Some(grant), ..Subject::default() }, ports)
}

/// A tool that is halted, or its connector.
pub(super) fn refuse_tool(tool: &Tool, ports: &Ports) -> Result<(), Refusal> {
    refuse(&Subject { tool: Some(&tool.name), ..Subject::default() }, ports)
}

fn refuse(subject: &Subject<'_>, ports: &Ports) -> Result<(), Refusal> {
    match ports.halts.stopping(subject) {
        Some(halt) => Err(Refusal::halted(&halt)),
        None => Ok(()),
    }
}

/// What stops a call, whatever of it is halted.
pub(super) fn of(call: &Granted<'_>, ports: &Ports) -> Option<Halt> {
    let (principal, grant) = (Some(call.identified().principal()), Some(call.grant().as_ref()));
    ports.halts.stopping(&Subject { principal, grant, tool: Some(&call.tool().name) })
}

/// Leave to go out: neither has the grant ended, nor is any of it halted. In flight until both are dropped that are returned.
pub(super) fn let_out(
    principal: &Principal,
    grant: &Arc<LiveGrant>,
    tool: Option<&Arc<Tool>>,
    ports: &Ports,
) -> Result<(SendPass, Flight), Refusal> {
    let Some(pass) = grant.enter() else { return Err(Refusal::grant_ended(grant.end_of_chain(), "Not executed.")) };
    match ports.halts.enter(principal, grant, tool) {
        Ok((flight, writing)) => Ok((pass.in_flight(writing), flight)),
        Err(halt) => Err(Refusal::halted_under_way(&halt, "Not executed.")),
    }
}
