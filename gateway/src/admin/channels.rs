//! Channels: how they are, and whether messages arrive.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::Value;

use super::{
    access::{Operator, Visitor},
    api::ChannelView,
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::Runtime;

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<ChannelView>> {
    Json(runtime.telling.status().await.into_iter().map(ChannelView::from).collect())
}

/// Sends a message that says that messages arrive.
pub(super) async fn test(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<ChannelView>, ApiFault> {
    let find = |all: Vec<ChannelView>| all.into_iter().find(|channel| channel.id == id);
    let listed = async |runtime: &Runtime| runtime.telling.status().await.into_iter().map(ChannelView::from).collect();
    if find(listed(&runtime).await).is_none() {
        return Err(ApiFault::unknown(
            format!("there is no channel `{}`", id.escape_debug()),
            "`bailiwick channels list` shows them",
        ));
    }
    let (of, channel) = (Arc::clone(&runtime), id.clone());
    let tested = Deed::new("channel_tested", &id, Value::Null).done_by(&operator, &runtime, async move {
        match of.telling.trial(&channel).await {
            Some(Ok(())) => Ok(()),
            Some(Err(fault)) => Err(ApiFault::unavailable(format!("no message arrives: {fault}"))),
            None => {
                Err(ApiFault::unknown(format!("there is no channel `{channel}` any more"), "look at `bailiwick channels list`"))
            }
        }
    });
    tested.await?;
    find(listed(&runtime).await).map(Json).ok_or_else(|| ApiFault::unavailable("the channel is gone"))
}
