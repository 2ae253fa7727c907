//! What detections found, as the trail has it.

use std::{path::Path, sync::Arc};

use axum::{Json, extract::State};
use bailiwick_trail::{Reader, Record, Start, Stream, TrailFault};

use super::{access::Visitor, api::DetectionView, fault::ApiFault};
use crate::runtime::Runtime;

/// So many are looked at: the last ones.
const LAST: u64 = 200;

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Result<Json<Vec<DetectionView>>, ApiFault> {
    let folder = runtime.data.trail();
    let read = tokio::task::spawn_blocking(move || last(&folder)).await;
    match read {
        Ok(Ok(found)) => Ok(Json(found)),
        Ok(Err(fault)) => Err(ApiFault::unavailable(fault.to_string())),
        Err(_) => Err(ApiFault::unavailable("the trail could not be read: the gateway's log says why")),
    }
}

/// The last of them, the newest first.
pub(crate) fn last(folder: &Path) -> Result<Vec<DetectionView>, TrailFault> {
    let records = Reader::open(folder)?.records(Stream::Detections, Start::Last(LAST))?;
    let mut found = records.map(|record| record.map(|record| view(&record))).collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}

fn view(record: &Record) -> DetectionView {
    let text = |key: &str| record.text(key).unwrap_or_default().to_owned();
    DetectionView {
        id: format!("{}-{}", record.stream, record.seq),
        state: text("action"),
        detection: text("detection"),
        kind: text("kind"),
        at_ms: record.unix_ms,
        call: text("call_id"),
        agent: text("agent"),
        grant: text("grant"),
        tool: record.text("tool").map(str::to_owned),
        why: text("why"),
        trace: text("trace_id"),
    }
}
