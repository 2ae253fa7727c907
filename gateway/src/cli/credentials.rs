//! `credentials`

use std::fmt;

use bailiwick_pipeline::ports::Clock as _;

use super::{
    Session,
    args::CredentialsCommand,
    client::segment,
    fault::CliFault,
    screen::{Table, shown},
    units::from_now,
};
use crate::{
    adapters::SystemClock,
    admin::api::{LeaseView, StandingView, Why},
};

/// Lists what is lent, shows one of it, or takes it back.
pub(super) async fn credentials(command: &CredentialsCommand, session: &Session) -> Result<(), CliFault> {
    let client = session.client().await?;
    match command {
        CredentialsCommand::List(list) => {
            let leases: Vec<LeaseView> = client.get("credentials").await?;
            session.list(&leases, list.json, || table(&leases), "nothing is lent")?;
            if !list.json {
                let standing: Vec<StandingView> = client.get("credentials/standing").await?;
                told(&standing, session);
            }
            Ok(())
        }
        CredentialsCommand::Ended(list) => {
            let leases: Vec<LeaseView> = client.get("credentials/ended").await?;
            session.list(&leases, list.json, || ended_table(&leases), "nothing that was lent has ended since the gateway began")
        }
        CredentialsCommand::Standing(list) => {
            let standing: Vec<StandingView> = client.get("credentials/standing").await?;
            session.list(&standing, list.json, || standing_table(&standing), "no connector has a credential that lives on")
        }
        CredentialsCommand::Show(one) => {
            let lease: LeaseView = client.get(&format!("credentials/{}", segment(&one.id)?)).await?;
            session.one(&lease, one.form.json, || Card(&lease))
        }
        CredentialsCommand::Revoke(revoke) => {
            let why = Why { reason: revoke.reason.clone() };
            let lease: LeaseView = client.post(&format!("credentials/{}/revoke", segment(&revoke.id)?), &why).await?;
            let id = shown(&lease.id);
            let (became, is_back) = match lease.state.as_str() {
                "ended" if lease.standing => (" is not lent any more; what it is lives on at its issuer", true),
                "ended" => (" is taken back", true),
                "lapsing" => (" is not lent any more, and ends by itself: its issuer takes nothing back", true),
                _ => (" is not lent any more, but not back yet: it is tried again", false),
            };
            session.screen.tell(&format!("{id}{became}"));
            if is_back { Ok(()) } else { Err(CliFault::Said) }
        }
    }
}

/// One line for what lives on.
fn told(standing: &[StandingView], session: &Session) {
    if !standing.is_empty() {
        let ids: Vec<String> = standing.iter().map(|one| shown(&one.id)).collect();
        session.screen.tell(&format!("standing credentials, which live on when tasks are over: {}", ids.join(" ")));
    }
}

fn table(leases: &[LeaseView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table =
        Table::new(&["ID", "STATE", "CONNECTOR", "PROVIDER", "REFERENCE", "ACCESS", "GRANT", "AGENT", "SINCE", "UNTIL", "WHY"]);
    for lease in leases {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let provider = if lease.standing { format!("{} (standing)", lease.provider) } else { lease.provider.clone() };
        table.row([
            &lease.id,
            &lease.state,
            &lease.connector,
            &provider,
            &lease.reference,
            &lease.access,
            &text(&lease.grant),
            &text(&lease.agent),
            &from_now(lease.since_ms, now_ms),
            &from_now(lease.until_ms, now_ms),
            &lease.fault.clone().or_else(|| lease.why.clone()).unwrap_or_default(),
        ]);
    }
    table
}

fn ended_table(leases: &[LeaseView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["ID", "HOW", "CONNECTOR", "PROVIDER", "REFERENCE", "GRANT", "AGENT", "USES", "ENDED", "WHY"]);
    for lease in leases {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        table.row([
            &lease.id,
            &text(&lease.how),
            &lease.connector,
            &lease.provider,
            &lease.reference,
            &text(&lease.grant),
            &text(&lease.agent),
            &lease.uses.to_string(),
            &lease.ended_ms.map(|at| from_now(at, now_ms)).unwrap_or_default(),
            &text(&lease.why),
        ]);
    }
    table
}

fn standing_table(standing: &[StandingView]) -> Table {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&["CONNECTOR", "STATE", "PROVIDER", "REFERENCE", "SINCE"]);
    for one in standing {
        let old = if one.old { " (old: change it)" } else { "" };
        let since = one.since_ms.map(|since| format!("{}{old}", from_now(since, now_ms))).unwrap_or_default();
        table.row([&one.id, &one.state, &one.provider, &one.reference, &since]);
    }
    table
}

/// One lease, for a person.
struct Card<'l>(&'l LeaseView);

impl fmt::Display for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lease, now_ms) = (self.0, SystemClock.now_ms());
        let none = || "-".to_owned();
        let rows = [
            ("lease", lease.id.clone()),
            ("state", lease.state.clone()),
            ("connector", lease.connector.clone()),
            ("provider", lease.provider.clone()),
            ("reference", lease.reference.clone()),
            ("access", lease.access.clone()),
            ("grant", lease.grant.clone().unwrap_or_else(none)),
            ("task", lease.task.clone().unwrap_or_else(none)),
            ("owner", lease.owner.clone().unwrap_or_else(none)),
            ("agent", lease.agent.clone().unwrap_or_else(none)),
            ("standing", if lease.standing { "yes" } else { "no" }.to_owned()),
            ("revocable", if lease.revocable { "yes" } else { "no: it ends by itself" }.to_owned()),
            ("uses", lease.uses.to_string()),
            ("since", from_now(lease.since_ms, now_ms)),
            ("until", from_now(lease.until_ms, now_ms)),
            ("why", lease.why.clone().unwrap_or_else(none)),
            ("tries", lease.tries.to_string()),
            ("fault", lease.fault.clone().unwrap_or_else(none)),
            ("next try", lease.next_ms.map_or_else(none, |next| from_now(next, now_ms))),
            ("ended", lease.ended_ms.map_or_else(none, |at| from_now(at, now_ms))),
        ];
        for (at, (name, text)) in rows.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{name:<10} {}", shown(text))?;
        }
        Ok(())
    }
}
