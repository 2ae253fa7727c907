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
use bailiwick_credentials::{Ended, Entry, Listed};
use bailiwick_pipeline::ports::Access;
use serde_json::json;

use super::{
    access::{Operator, Visitor},
    api::{LeaseView, StandingView, Why},
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::{Runtime, millis};

/// So long an answer waits for the issuer to take one back.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is what it is for longer than that should be changed, milliseconds: 90 days.
const OLD_MS: u64 = 90 * 24 * 60 * 60 * 1000;

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<LeaseView>> {
    Json(leases(&runtime))
}

pub(super) async fn ended_last(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<LeaseView>> {
    Json(ended(&runtime))
}

pub(super) async fn standing(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<StandingView>> {
    Json(standing_of(&runtime))
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<LeaseView>, ApiFault> {
    known(&id, &runtime).map(Json)
}

/// Takes one back: what is under way with it ends, and whoever needs it next is lent another one.
pub(super) async fn revoke(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<LeaseView>, ApiFault> {
    let Why { reason } = super::read(&body)?;
    let reason = super::words(reason)?;
    let lease = to_take_back(&id, &runtime)?;
    let deed = Deed::new(REVOKED, &lease.id, json!({"reason": reason, "connector": lease.connector}));
    let of = Arc::clone(&runtime);
    deed.done_by(&operator, &runtime, async move { Ok(taken_back(&of, lease, reason).await) }).await.map(Json)
}

/// What it is on record as.
pub(crate) const REVOKED: &str = "lease_revoked";

/// The lease of this id, while it is lent.
pub(crate) fn to_take_back(id: &str, runtime: &Runtime) -> Result<LeaseView, ApiFault> {
    let lease = known(id, runtime)?;
    if lease.state != "lent" {
        return Err(ApiFault::conflict(format!("lease `{}` is not lent any more: it is {}", lease.id, lease.state)));
    }
    Ok(lease)
}

/// Takes it back, and waits a moment for its issuer: what became of it.
pub(crate) async fn taken_back(runtime: &Runtime, lease: LeaseView, reason: Option<String>) -> LeaseView {
    let why =
        reason.map_or_else(|| "an operator took it back".to_owned(), |reason| format!("an operator took it back: {reason}"));
    runtime.take_back(&lease.id, &why);
    if let Some(grant) = lease.grant.as_ref().and_then(|grant| grant.parse().ok()) {
        runtime.broker.settled(&grant, PATIENCE).await;
    }
    known(&lease.id, runtime).unwrap_or_else(|_| LeaseView { state: "ended".to_owned(), why: Some(why), ..lease })
}

/// The lease of this id: lent, not back yet, or one of those that ended last.
pub(crate) fn known(id: &str, runtime: &Runtime) -> Result<LeaseView, ApiFault> {
    let id: String = id.chars().take(64).collect();
    let lease = leases(runtime).into_iter().chain(ended(runtime)).find(|lease| lease.id == id);
    lease.ok_or_else(|| {
        ApiFault::unknown(format!("there is no lease `{}`", id.escape_debug()), "`bailiwick credentials list` shows what is lent")
    })
}

/// What is lent, and what is not back yet: the oldest first.
pub(crate) fn leases(runtime: &Runtime) -> Vec<LeaseView> {
    let mut leases: Vec<LeaseView> = runtime.broker.leases().iter().map(|listed| view(listed, runtime)).collect();
    leases.sort_by(|one, other| (one.since_ms, &one.id).cmp(&(other.since_ms, &other.id)));
    leases
}

/// Those that ended last, the latest first.
pub(crate) fn ended(runtime: &Runtime) -> Vec<LeaseView> {
    let shown = |ended: &Ended| LeaseView {
        state: "ended".to_owned(),
        standing: ended.how == "returned",
        uses: ended.uses,
        why: Some(ended.why.clone()),
        how: Some(ended.how.to_owned()),
        ended_ms: Some(ended.at_ms),
        ..bare(&ended.entry, runtime)
    };
    runtime.broker.ended().iter().map(shown).collect()
}

fn view(listed: &Listed, runtime: &Runtime) -> LeaseView {
    let state = match &listed.ending {
        None => "lent",
        Some(ending) if ending.lapses => "lapsing",
        Some(ending) if ending.fault.is_some() => "overdue",
        Some(_) => "ending",
    };
    let again = listed.ending.as_ref().and_then(|ending| ending.again);
    LeaseView {
        state: state.to_owned(),
        standing: listed.standing,
        uses: listed.uses,
        why: listed.ending.as_ref().map(|ending| ending.why.clone()),
        tries: listed.ending.as_ref().map_or(0, |ending| ending.tries),
        fault: listed.ending.as_ref().and_then(|ending| ending.fault.clone()),
        next_ms: again.map(|again| runtime.clock.now_ms().saturating_add(millis(again))),
        ..bare(&listed.entry, runtime)
    }
}

/// What is written down of a lease.
fn bare(entry: &Entry, runtime: &Runtime) -> LeaseView {
    let grant = entry.grant.as_ref().and_then(|grant| runtime.grants.entry(grant));
    let terms = grant.as_ref().map(|grant| grant.grant.terms());
    LeaseView {
        id: entry.lease.clone(),
        state: "lent".to_owned(),
        connector: entry.connector.to_string(),
        provider: entry.provider.clone(),
        reference: entry.reference.clone(),
        access: entry.access.as_str().to_owned(),
        grant: entry.grant.as_ref().map(ToString::to_string),
        task: terms.map(|terms| terms.purpose.clone()),
        owner: terms.map(|terms| terms.owner.clone()),
        agent: entry.agent.as_ref().map(ToString::to_string),
        standing: false,
        revocable: entry.revocable,
        uses: 0,
        since_ms: entry.since_ms,
        until_ms: entry.until_ms,
        why: None,
        tries: 0,
        fault: None,
        next_ms: None,
        how: None,
        ended_ms: None,
    }
}

/// The connectors whose credential lives on when tasks are over.
pub(crate) fn standing_of(runtime: &Runtime) -> Vec<StandingView> {
    let (config, specs, now_ms) = (runtime.config(), runtime.broker.specs(), runtime.clock.now_ms());
    let standing = specs.iter().filter(|(_, spec)| spec.provider.is_standing());
    standing
        .map(|(id, spec)| {
            let source = config.connector(id.as_str()).and_then(|connector| Some(&connector.credential.as_ref()?.source));
            let since_ms = match source {
                Some(SecretSource::File(path)) => changed_ms(path),
                // What is in the environment was there when the gateway began.
                Some(SecretSource::Variable(_)) => Some(runtime.started_at_ms),
                Some(SecretSource::Data(name)) => changed_ms(&runtime.data.path().join(name)),
                _ => None,
            };
            StandingView {
                id: id.to_string(),
                state: "standing".to_owned(),
                provider: spec.provider.name().to_owned(),
                reference: spec.provider.reference(Access::Write),
                since_ms,
                old: since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) > OLD_MS),
            }
        })
        .collect()
}

/// When a file was changed last, unix milliseconds.
fn changed_ms(path: &FilePath) -> Option<u64> {
    let changed = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(changed.as_millis()).ok()
}
