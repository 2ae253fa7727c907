//! One-time links to the console.

use std::sync::Arc;

use axum::{Json, body::Bytes, extract::State};
use bailiwick_console::{LinkMaker, Refused};
use http::StatusCode;

use super::{
    access::Operator,
    api::{LinkMade, LinkWanted},
    fault::ApiFault,
};
use crate::runtime::Runtime;

pub(super) async fn link(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    body: Bytes,
) -> Result<Json<LinkMade>, ApiFault> {
    let LinkWanted { person, recover } = super::read(&body)?;
    let off = || {
        ApiFault::conflict("the console is switched off").help("set `enabled = true` in `[console]`, and start the gateway anew")
    };
    let console = runtime.console.get().ok_or_else(off)?;
    let people = console.people();
    let person = match (person, people.as_slice()) {
        (Some(person), _) => person,
        (None, [only]) => only.clone(),
        (None, _) => {
            let help = format!("name one with `--person`: `{}`", people.join("`, `"));
            return Err(ApiFault::invalid("there are several people").help(help));
        }
    };
    let by = LinkMaker { name: operator.name(), uid: operator.uid() };
    let made = if recover { console.recovery_link(&person, by).await } else { console.link(&person, by).await };
    let url = made.map_err(|refused| of(&refused))?;
    Ok(Json(LinkMade { id: person, url }))
}

fn of(refused: &Refused) -> ApiFault {
    match refused.status() {
        StatusCode::NOT_FOUND => ApiFault::unknown(refused.message(), refused.help()),
        _ => ApiFault::unavailable(refused.message()).help(refused.help()),
    }
}
