//! Another configuration, wanted by an operator.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{access::Operator, api::Reloaded, fault::ApiFault};
use crate::{reload::By, runtime::Runtime};

/// Reads the configuration anew. It puts itself on record, as it does when somebody else wants it; and is seen through even if
/// whoever asked goes away.
pub(super) async fn reload(operator: Operator, State(runtime): State<Arc<Runtime>>) -> Result<Json<Reloaded>, ApiFault> {
    let by = By::Operator { name: operator.name().to_owned(), uid: operator.uid() };
    let task = tokio::spawn(async move { runtime.reload(by).await });
    let done = task.await.unwrap_or(Err(crate::reload::ReloadFault::Failed));
    done.map(Json).map_err(|fault| {
        ApiFault::conflict(format!("the configuration was not taken: {fault}\n{}", fault.lines().join("\n")))
            .help("what ran before runs on: `bailiwick check` shows each fault in its text")
    })
}
