//! What rules have kept of calls: opened for an operator, and on record as that.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::Value;

use super::{access::Operator, api::CallBodies, deed::Deed, fault::ApiFault};
use crate::runtime::Runtime;

/// Opens them: who looks is on record before anything is shown.
pub(super) async fn open(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<CallBodies>, ApiFault> {
    let (of, call) = (Arc::clone(&runtime), id.clone());
    let opened = Deed::new("bodies_opened", &id, Value::Null).done_by(&operator, &runtime, async move {
        let (bodies, now_ms) = (of.bodies(), of.clock.now_ms());
        let part = |part: &str| match bodies.open(&call, part, now_ms) {
            Ok(found) => Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            Err(fault) => Err(ApiFault::unavailable(fault.to_string())),
        };
        let found = CallBodies { id: call.clone(), arguments: part("arguments")?, result: part("result")? };
        if found.arguments.is_none() && found.result.is_none() {
            let help =
                "bodies are kept for as long as `trail.keep_bodies` says, of calls that a rule with `@log(\"full\")` allowed";
            return Err(ApiFault::unknown(format!("nothing is kept of a call `{}`", call.escape_debug()), help));
        }
        Ok(found)
    });
    opened.await.map(Json)
}
