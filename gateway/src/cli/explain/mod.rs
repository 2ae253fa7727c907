//! `explain`: what was decided about a call and by what; why one was refused and what would allow it; what would become of one.

mod advice;
mod case;
mod foreseen;
mod origin;

use bailiwick_policy::Probe;
use bailiwick_trail::{Reader, Record, Start, Stream};
use serde_json::json;

use super::{Session, args::ExplainArgs, audit::reader, fault::CliFault, policy_known::Known, screen::shown};
use crate::{
    foresee::{Why, why},
    runtime::policies_of,
};
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
    let why = mattered(&case, session).await;
    if explain.form.json {
        return session.screen.json(&json!([case.as_json(&origin, &why)]));
    }
    session.screen.answer(&case.text(&origin, &why))
}

/// What the rules looked at, by what is on record and the rules as they are written now; nothing where that can't be told.
async fn mattered(case: &Case, session: &Session) -> Why {
    let Some(asked) = case.asked() else { return Why::default() };
    let Ok(known) = Known::find(session).await else { return Why::default() };
    let Ok((policies, connectors)) = policies_of(&known.config).map_err(CliFault::from).and_then(|texts| known.compile(&texts))
    else {
        return Why::default();
    };
    let (Some(tool), Some(grant)) = (case.get("tool"), case.get("grant").and_then(|grant| known.grants.get(grant))) else {
        return Why::default();
    };
    let probe = Probe { tool: tool.to_owned(), grant: grant.clone(), read: asked.read, call_id: None };
    let rules: Vec<String> = case.rules().into_iter().map(str::to_owned).collect();
    why(&policies, &rules, &asked.policy, &probe, &connectors)
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
