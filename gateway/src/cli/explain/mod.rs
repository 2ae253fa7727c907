//! `explain`: what was decided about a call and by what; why one was refused and what would allow it; what would become of one.

mod advice;
mod case;
mod foreseen;
mod origin;

use bailiwick_trail::{Reader, Record, Start, Stream};
use serde_json::json;

use super::{Session, args::ExplainArgs, audit::reader, fault::CliFault, screen::shown};
use case::Case;
use origin::Origin;

/// Does it.
pub(super) async fn run(explain: &ExplainArgs, session: &Session) -> Result<(), CliFault> {
    if let (Some(agent), Some(tool)) = (&explain.which.agent, &explain.thought.tool) {
        return foreseen::run(agent, tool, explain, session).await;
    }
    let reader = reader(session)?;
    let case = if let Some(id) = &explain.which.call {
        Case::of_call(&reader, id)?.ok_or_else(|| {
            CliFault::refused(
                &format!("nothing is on record about call `{}`", shown(id)),
                Some("`bailiwick audit tail` shows the latest calls with their ids"),
            )
        })?
    } else {
        let refusal = last_refusal(&reader)?.ok_or_else(|| CliFault::refused("no refusal is on record", None))?;
        Case::of_decision(&reader, refusal)?
    };
    // Without a readable configuration the record still says why.
    let config = session.places.load(&session.around).ok();
    let origin = Origin::new(session, config);
    if explain.form.json {
        return session.screen.json(&json!([case.as_json(&origin)]));
    }
    session.screen.answer(&case.text(&origin))
}

/// Looks back in ever longer steps: the last refusal is most often near the end.
fn last_refusal(reader: &Reader) -> Result<Option<Record>, CliFault> {
    for start in [Start::Last(100), Start::Last(10_000), Start::First] {
        let mut last = None;
        for record in reader.records(Stream::Decisions, start)? {
            let record = record?;
            if record.text("effect") == Some("deny") {
                last = Some(record);
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}
