//! What happens now, and what stands out of it.

use bailiwick_console::views::{Detection, HaltRow, LiveCall};
use bailiwick_policy::Band;

use crate::runtime::Runtime;

pub(in crate::console) fn live_calls(runtime: &Runtime) -> Vec<LiveCall> {
    let now_ms = runtime.clock.now_ms();
    let call = |flight: bailiwick_pipeline::halts::InFlight| {
        let age_ms = u64::try_from(flight.age.as_millis()).unwrap_or(u64::MAX);
        // What has no call is a look at what a server offers, for one.
        let id = flight.call?.to_string();
        let state = match (flight.struck, flight.writes, flight.attended) {
            (true, ..) => "being cancelled",
            (_, true, _) => "being sent",
            (_, _, true) => "waits for its answer",
            _ => "nobody waits for its answer",
        };
        Some(LiveCall {
            id,
            agent: flight.agent.to_string(),
            instance: flight.instance,
            grant: flight.grant.to_string(),
            tool: flight.tool.map(|tool| tool.to_string()),
            since_ms: now_ms.saturating_sub(age_ms),
            state: state.to_owned(),
        })
    };
    runtime.gateway.ports().halts.in_flight().into_iter().filter_map(call).collect()
}

pub(in crate::console) fn halts(runtime: &Runtime) -> Vec<HaltRow> {
    let row = |(halt, stopped): (bailiwick_pipeline::halts::Halt, bailiwick_store::Stopped)| HaltRow {
        what: halt.to_string(),
        since_ms: stopped.since_ms,
        by: stopped.by,
        reason: stopped.reason,
    };
    runtime.halts.list().into_iter().map(row).collect()
}

/// What stands out of what is in memory.
pub(in crate::console) fn detections(runtime: &Runtime) -> Vec<Detection> {
    let mut found = Vec::new();
    for tool in runtime.worlds.drifted() {
        found.push(Detection {
            what: format!("{tool} differs from what was accepted"),
            about: tool.connector().to_string(),
            href: Some(format!("/connectors/{}", tool.connector())),
            at_ms: None,
            band: Band::High,
            help: format!("Nobody can call it. `bailiwick connectors diff {}` shows what changed.", tool.connector()),
        });
    }
    for status in runtime.connectors.status() {
        let counts = status.counts;
        let odd = counts.server_requests + counts.garbage_lines + counts.unknown_ids + counts.second_answers;
        if odd > 0 {
            found.push(Detection {
                what: format!("{} said {odd} things that it should not have", status.id),
                about: status.id.to_string(),
                href: Some(format!("/connectors/{}", status.id)),
                at_ms: None,
                band: Band::Medium,
                help: "Answers to no request, questions unasked, lines that are no messages: nothing of it was passed on."
                    .to_owned(),
            });
        }
    }
    for approval in runtime.approvals.uncertain() {
        found.push(Detection {
            what: format!("{} may have run, and nobody knows", approval.binding.tool),
            about: approval.code.clone(),
            href: Some(format!("/approvals/{}", approval.id)),
            at_ms: approval.ended_at_ms,
            band: Band::High,
            help: "Its answer never came. It is never sent again: look at the server itself.".to_owned(),
        });
    }
    found
}
