//! `freeze` and `thaw`

use bailiwick_pipeline::ports::Clock as _;

use super::{
    Session,
    args::{FreezeArgs, ThawArgs, WhatArgs},
    fault::CliFault,
    screen::{Table, shown},
    units::from_now,
};
use crate::{
    adapters::SystemClock,
    admin::api::{FrozenView, HaltView, HaltWanted},
};

/// Freezes, or lists what is frozen.
pub(super) async fn freeze(freeze: &FreezeArgs, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    if freeze.list {
        let halts: Vec<HaltView> = client.get("halts").await?;
        return session.list(&halts, freeze.json, || table(&halts), "nothing is frozen");
    }
    let wanted = HaltWanted { what: what(&freeze.what), reason: freeze.reason.clone() };
    let frozen: FrozenView = client.post("halts", &wanted).await?;
    let before = if frozen.was_new { "" } else { " (it had been before)" };
    session.screen.tell(&format!(
        "{} is frozen{before}: nothing more is called until `bailiwick thaw{} --reason TEXT`",
        shown(&frozen.id),
        typed(&freeze.what)
    ));
    told_drained(frozen.drained, session)
}

/// Thaws.
pub(super) async fn thaw(thaw: &ThawArgs, session: &Session) -> Result<(), CliFault> {
    let wanted = HaltWanted { what: what(&thaw.what), reason: Some(thaw.reason.clone()) };
    let client = session.client().await?;
    let lifted: HaltView = client.post("halts/lift", &wanted).await?;
    session.screen.tell(&format!("{} is thawed", shown(&lifted.id)));
    let left: Vec<HaltView> = client.get("halts").await?;
    if !left.is_empty() {
        let names: Vec<String> = left.iter().map(|halt| shown(&halt.id)).collect();
        session.screen.tell(&format!("still frozen: {}", names.join(" ")));
    }
    Ok(())
}

/// Says that a write is under way that began before, where one is: then it is a failure.
pub(super) fn told_drained(drained: bool, session: &Session) -> Result<(), CliFault> {
    if drained {
        return Ok(());
    }
    session.screen.tell("but a call that was being written before is still under way: look at `audit tail`");
    Err(CliFault::Said)
}

/// What is meant, as the gateway names it.
fn what(given: &WhatArgs) -> String {
    match given {
        WhatArgs { agent: Some(agent), instance: Some(instance), .. } => format!("instance:{agent}/{instance}"),
        WhatArgs { agent: Some(agent), .. } => format!("agent:{agent}"),
        WhatArgs { connector: Some(connector), .. } => format!("connector:{connector}"),
        WhatArgs { tool: Some(tool), .. } => format!("tool:{tool}"),
        _ => "everything".to_owned(),
    }
}

/// The same as it is typed.
fn typed(given: &WhatArgs) -> String {
    let WhatArgs { agent, instance, connector, tool } = given;
    [("agent", agent), ("instance", instance), ("connector", connector), ("tool", tool)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!(" --{name} {}", shown(value.as_deref()?))))
        .collect()
}

fn table(halts: &[HaltView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["ID", "STATE", "SINCE", "BY", "REASON"]);
    for halt in halts {
        let reason = halt.reason.as_deref().unwrap_or_default();
        table.row([&halt.id, &halt.state, &from_now(halt.since_ms, now_ms), &halt.by, reason]);
    }
    table
}
