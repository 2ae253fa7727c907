//! How the gateway is.

use std::sync::Arc;

use axum::{Json, extract::State};
use bailiwick_pipeline::ports::Worlds as _;
use bailiwick_store::{ApprovalState, Which};

use super::{
    access::Visitor,
    api::{ConfigStatus, LastReload, Status},
};
use crate::runtime::Runtime;

pub(super) async fn show(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Status> {
    let open = runtime.approvals.list(Which::Open);
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        agents_url: runtime.url(),
        tools: runtime.worlds.now().count(),
        pending_approvals: open.iter().filter(|approval| approval.state == ApprovalState::Pending).count(),
        halts: runtime.halts.list().into_iter().map(|(halt, _)| halt.to_string()).collect(),
        allow_same_user: runtime.config().approvals.allow_same_user,
        trail_lost: runtime.recorder.trail().is_lost(),
        store_lost: runtime.store.lost().map(str::to_owned),
        config: config(&runtime),
    })
}

fn config(runtime: &Runtime) -> ConfigStatus {
    let (standing, world) = (runtime.reloads(), runtime.worlds.now());
    let last =
        standing.last.map(|last| LastReload { at_ms: last.at_ms, by: last.by, successful: last.why.is_empty(), why: last.why });
    ConfigStatus {
        epoch: standing.epoch,
        digest: standing.digest,
        bundles: standing.bundles,
        policy: world.policy_digest.clone(),
        shadow_fault: world.policies.candidate().and_then(Result::err).map(str::to_owned),
        since_ms: standing.since_ms,
        applied: standing.applied,
        refused: standing.refused,
        last,
        needs_restart: standing.needs_restart,
    }
}
