//! `reload`

use super::{Session, args::Json, fault::CliFault, screen::shown};
use crate::admin::api::Reloaded;

/// Does it.
pub(super) async fn run(form: Json, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    let reloaded: Reloaded = client.post("reload", &serde_json::json!({})).await?;
    reloaded.notes().iter().for_each(|note| session.screen.tell(&format!("warning: {}", shown(note))));
    session.one(&reloaded, form.json, || format!("in force: {}\n", shown(&reloaded.summary())))
}
