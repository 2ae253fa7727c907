//! `detections`

use bailiwick_pipeline::ports::Clock as _;

use super::{
    Session,
    args::DetectionsCommand,
    fault::CliFault,
    screen::{Table, shown},
    units::from_now,
};
use crate::{adapters::SystemClock, admin::api::DetectionView};

/// Lists what was found.
pub(super) async fn detections(command: &DetectionsCommand, session: &Session) -> Result<(), CliFault> {
    let DetectionsCommand::List(list) = command;
    let found: Vec<DetectionView> = session.client().await?.get("detections").await?;
    session.list(&found, list.json, || table(&found), "nothing was found; `[[detections]]` says what is looked for")
}

fn table(found: &[DetectionView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["WHEN", "DETECTION", "ACTION", "AGENT", "GRANT", "TOOL", "CALL", "WHY"]);
    for one in found {
        let tool = one.tool.as_deref().unwrap_or_default();
        let when = from_now(one.at_ms, now_ms);
        table.row([&when, &one.detection, &one.state, &one.agent, &one.grant, tool, &one.call, &shown(&one.why)]);
    }
    table
}
