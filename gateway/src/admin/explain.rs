//! What would become of a call: told to whoever may read, because nothing comes of it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;

use super::{access::Visitor, agents::registered, api::Foreseen, fault::ApiFault};
use crate::{foresee, runtime::Runtime};

/// The call that is thought of.
#[derive(Debug, Deserialize)]
pub(super) struct Thought {
    /// The tool.
    #[serde(default)]
    tool: String,
    /// The arguments: the text of a JSON object.
    #[serde(default)]
    arguments: Option<String>,
    /// The grant it names.
    #[serde(default)]
    grant: Option<String>,
    /// Facts of the call in the place of those that are so: the text of a JSON object.
    #[serde(default)]
    context: Option<String>,
}

pub(super) async fn foresee(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    Query(thought): Query<Thought>,
) -> Result<Json<Foreseen>, ApiFault> {
    let agent = registered(&id, &runtime)?;
    let Thought { tool, arguments, grant, context } = thought;
    let call = foresee::Call { tool, arguments: arguments.unwrap_or_else(|| "{}".to_owned()), grant, context };
    let foreseen = foresee::foresee(runtime.gateway.ports().clone(), agent, &call).await;
    foreseen.map(Json).map_err(|fault| ApiFault::invalid(fault.to_string()))
}
