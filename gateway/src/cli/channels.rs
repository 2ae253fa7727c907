//! `channels`

use bailiwick_pipeline::ports::Clock as _;

use super::{
    Session,
    args::ChannelsCommand,
    client::segment,
    fault::CliFault,
    screen::{Table, shown},
    units::from_now,
};
use crate::{
    adapters::SystemClock,
    admin::api::{ChannelView, Why},
};

/// Lists the channels, or tries one.
pub(super) async fn channels(command: &ChannelsCommand, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    match command {
        ChannelsCommand::List(list) => {
            let channels: Vec<ChannelView> = client.get("channels").await?;
            session.list(&channels, list.json, || table(&channels), "no channel is configured: write `[[channels]]`")
        }
        ChannelsCommand::Test(one) => {
            let tested: ChannelView = client.post(&format!("channels/{}/test", segment(&one.id)?), &Why::default()).await?;
            session.screen.tell(&format!("a message went out by {}", shown(&tested.id)));
            Ok(())
        }
    }
}

fn table(channels: &[ChannelView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["ID", "KIND", "STATE", "TOLD", "LAST", "BEHIND", "WHY"]);
    for channel in channels {
        let last = channel.told_at_ms.map(|at| from_now(at, now_ms)).unwrap_or_default();
        let why = channel.why.as_deref().unwrap_or_default();
        table.row([
            &channel.id,
            &channel.kind,
            &channel.state,
            &channel.told.to_string(),
            &last,
            &channel.behind.to_string(),
            why,
        ]);
    }
    table
}
