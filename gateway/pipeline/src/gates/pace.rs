//! How fast a task and a connector may be called. Asked once for each call, wish to subscribe and list that servers are asked for, however
//! often it walks.

use super::Granted;
use crate::{catalogue::Connector, grant::LiveGrant, ports::Ports, refusal::Refusal};

/// Whether the call comes in time, for its grant and those above it, and for its connector.
pub(crate) fn pace(call: &Granted<'_>, ports: &Ports) -> Result<(), Refusal> {
    pace_of_task(call.grant(), ports)?;
    let connector = &call.tool().connector;
    if !is_in_pace(connector, ports) {
        let rate = connector.max_rate.unwrap_or(0);
        let detail = format!("connector `{}` may be called {rate} times a second by all together", connector.id);
        return Err(Refusal::too_fast("this tool's server", rate, detail));
    }
    Ok(())
}

/// Whether it comes in time for its grant and those above it.
pub(crate) fn pace_of_task(grant: &LiveGrant, ports: &Ports) -> Result<(), Refusal> {
    let now_ns = ports.clock.now_ns();
    if let Some(grant) = grant.chain().find(|grant| !grant.admits_now(now_ns)) {
        let rate = grant.terms().max_rate.unwrap_or(0);
        return Err(Refusal::too_fast(
            "this task",
            rate,
            format!("grant `{}` may be used {rate} times a second", grant.terms().id),
        ));
    }
    Ok(())
}

/// Whether it comes in time for its connector.
pub(super) fn is_in_pace(connector: &Connector, ports: &Ports) -> bool {
    connector.pace.admits(connector.max_rate, ports.clock.now_ns())
}
