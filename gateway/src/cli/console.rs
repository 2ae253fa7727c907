//! `console`

use super::{Session, args::ConsoleArgs, fault::CliFault, screen::shown};
use crate::admin::api::{LinkMade, LinkWanted};

/// Prints a one-time link, and nothing else on standard output.
pub(super) async fn run(console: &ConsoleArgs, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    if console.credential {
        session.screen.tell("whoever has this may change everything; type it where the console asks for the operator credential");
        return session.screen.answer(&client.operator_credential()?);
    }
    let made: LinkMade =
        client.post("console/links", &LinkWanted { person: console.person.clone(), recover: console.recover }).await?;
    session.screen.tell(&format!("opens the console as {}, once, within 10 minutes:", shown(&made.id)));
    if console.recover {
        session.screen.tell("whoever opens it adds a passkey without showing one that is there: this is on record as a recovery");
    }
    session.screen.answer(&made.url)
}
