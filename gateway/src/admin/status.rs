//! How the gateway is.

use std::sync::Arc;

use axum::{Json, extract::State};
use bailiwick_pipeline::ports::Worlds as _;
use bailiwick_store::{ApprovalState, Which};

use super::{access::Visitor, api::Status};
use crate::runtime::Runtime;

pub(super) async fn show(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Status> {
    let open = runtime.approvals.list(Which::Open);
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        agents_url: runtime.url().map(str::to_owned),
        tools: runtime.worlds.now().tools.len(),
        pending_approvals: open.iter().filter(|approval| approval.state == ApprovalState::Pending).count(),
        allow_same_user: runtime.config.approvals.allow_same_user,
        trail_lost: runtime.recorder.trail().is_lost(),
        store_lost: runtime.store.lost().map(str::to_owned),
    })
}
