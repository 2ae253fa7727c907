//! `policy schema`: what rules may speak of, for editors and other checkers.

use bailiwick_policy::RuleSchema;

use super::{Session, args::Json, fault::CliFault, policy};
use crate::world::{WorldFault, known_tools};

/// Does it: from the configuration and the accepted tools, of the running gateway or of its store. The rules themselves are not read, so that
/// it helps with those that have faults.
pub(super) async fn run(form: &Json, session: &Session) -> Result<(), CliFault> {
    let config = session.places.load(&session.around)?;
    let pins = policy::accepted(session).await?;
    if pins.as_ref().is_none_or(|pins| pins.values().all(Vec::is_empty)) {
        session
            .screen
            .tell("no tool was accepted yet (`bailiwick connectors pin ID`): the schema has the groups of actions, and no tool");
    }
    let schema = known_tools(&config, &pins.unwrap_or_default()).map_err(|fault| with_faults(&fault))?;
    let schema = RuleSchema::of(&schema).map_err(|faults| with_faults(&WorldFault::Policies(faults)))?;
    if form.json { session.screen.json(schema.as_json()) } else { session.screen.answer(schema.as_text()) }
}

fn with_faults(fault: &WorldFault) -> CliFault {
    CliFault::refused(&fault.to_string(), Some("`bailiwick connectors show` tells which tools are accepted"))
}
