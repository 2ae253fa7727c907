//! What connectors were lent.

use std::{
    fs,
    path::Path as FilePath,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use bailiwick_config::SecretSource;
use bailiwick_credentials::Listed;
use bailiwick_pipeline::ports::Access;
use serde_json::json;

use super::{
    access::{Operator, Visitor},
    api::{LeaseView, StandingView, Why},
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::Runtime;

/// So long an answer waits for the issuer to take one back.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<LeaseView>> {
    Json(leases(&runtime))
}

pub(super) async fn standing(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<StandingView>> {
    Json(standing_of(&runtime))
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<LeaseView>, ApiFault> {
    found(&id, &runtime).map(Json)
}

/// Takes one back: whoever needs it next is lent another one.
pub(super) async fn revoke(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<LeaseView>, ApiFault> {
    let Why { reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    let lease = found(&id, &runtime)?;
    if lease.state != "lent" {
        return Err(ApiFault::conflict(format!("lease `{}` is not lent any more: it is {}", lease.id, lease.state)));
    }
    let deed = Deed::new("lease_revoked", &lease.id, json!({"reason": reason, "connector": lease.connector}));
    let of = Arc::clone(&runtime);
    let revoked = deed.done_by(&operator, &runtime, async move {
        let why =
            reason.map_or_else(|| "an operator took it back".to_owned(), |reason| format!("an operator took it back: {reason}"));
        of.broker.returned_lease(&lease.id, &why);
        if let Some(grant) = lease.grant.as_ref().and_then(|grant| grant.parse().ok()) {
            of.broker.settled(&grant, PATIENCE).await;
        }
        // What is over is in no list.
        let now = leases(&of).into_iter().find(|now| now.id == lease.id);
        Ok(now.unwrap_or_else(|| LeaseView { state: "ended".to_owned(), why: Some(why), ..lease }))
    });
    revoked.await.map(Json)
}

fn found(id: &str, runtime: &Runtime) -> Result<LeaseView, ApiFault> {
    let id: String = id.chars().take(64).collect();
    let lease = leases(runtime).into_iter().find(|lease| lease.id == id);
    lease.ok_or_else(|| {
        ApiFault::unknown(format!("there is no lease `{}`", id.escape_debug()), "`bailiwick credentials list` shows what is lent")
    })
}

/// What is lent, and what is not back yet: the oldest first.
pub(crate) fn leases(runtime: &Runtime) -> Vec<LeaseView> {
    let mut leases: Vec<LeaseView> = runtime.broker.leases().iter().map(view).collect();
    leases.sort_by(|one, other| (one.since_ms, &one.id).cmp(&(other.since_ms, &other.id)));
    leases
}

fn view(listed: &Listed) -> LeaseView {
    let entry = &listed.entry;
    let state = match &listed.ending {
        None => "lent",
        Some(ending) if ending.lapses => "lapsing",
        Some(ending) if ending.fault.is_some() => "overdue",
        Some(_) => "ending",
    };
    LeaseView {
        id: entry.lease.clone(),
        state: state.to_owned(),
        connector: entry.connector.to_string(),
        provider: entry.provider.clone(),
        reference: entry.reference.clone(),
        access: entry.access.as_str().to_owned(),
        grant: entry.grant.as_ref().map(ToString::to_string),
        agent: entry.agent.as_ref().map(ToString::to_string),
        standing: listed.standing,
        since_ms: entry.since_ms,
        until_ms: entry.until_ms,
        why: listed.ending.as_ref().map(|ending| ending.why.clone()),
        tries: listed.ending.as_ref().map_or(0, |ending| ending.tries),
        fault: listed.ending.as_ref().and_then(|ending| ending.fault.clone()),
    }
}

/// The connectors whose credential lives on when tasks are over.
pub(crate) fn standing_of(runtime: &Runtime) -> Vec<StandingView> {
    let (config, specs) = (runtime.config(), runtime.broker.specs());
    let standing = specs.iter().filter(|(_, spec)| spec.provider.is_standing());
    standing
        .map(|(id, spec)| {
            let source = config.connector(id.as_str()).and_then(|connector| Some(&connector.credential.as_ref()?.source));
            StandingView {
                id: id.to_string(),
                state: "standing".to_owned(),
                provider: spec.provider.name().to_owned(),
                reference: spec.provider.reference(Access::Write),
                since_ms: match source {
                    Some(SecretSource::File(path)) => changed_ms(path),
                    // What is in the environment was there when the gateway began.
                    Some(SecretSource::Variable(_)) => Some(runtime.started_at_ms),
                    Some(SecretSource::Data(name)) => changed_ms(&runtime.data.path().join(name)),
                    _ => None,
                },
            }
        })
        .collect()
}

/// When a file was changed last, unix milliseconds.
fn changed_ms(path: &FilePath) -> Option<u64> {
    let changed = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(changed.as_millis()).ok()
}
