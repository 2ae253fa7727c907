//! The console, in this gateway: who the people are, and what its door asks for.

mod api;
mod connections;
mod desk;
mod house;
mod reading;
#[cfg(test)]
mod tests;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bailiwick_config::Config;
use bailiwick_console::{Bounds, ClaimedRoles, Console, ConsoleParts, Oidc, Person, Refused, Role, SessionLimits, Site};
use bailiwick_identity::LoginProvider;
use bailiwick_store::Passkeys;

use crate::runtime::{Runtime, StartFault};
use house::Gatehouse;
pub(crate) use house::unbacked;
pub(crate) use views::is_theirs;

/// Who is there where the configuration names nobody.
pub(crate) const ADMIN: &str = "admin";

/// The console of this gateway; none where it is switched off. Passkeys of people who are gone are removed.
pub(crate) async fn opened(runtime: &Arc<Runtime>) -> Result<Option<Arc<Console>>, StartFault> {
    let config = runtime.config();
    if !config.console.enabled {
        return Ok(None);
    }
    let fault = |refused: Refused| StartFault::Console(refused.message().to_owned());
    let parts = ConsoleParts {
        desk: desk::GatewayDesk::of(runtime),
        house: Arc::new(Gatehouse::of(runtime)),
        passkeys: Arc::new(Passkeys::load(&runtime.store)?),
        people: people_of(&config),
        site: Site::new(config.console.public_url.clone()),
        limits: SessionLimits { whole: config.console.session, idle: config.console.idle },
        oidc: oidc_of(&config),
    };
    let console = Console::new(parts).map_err(fault)?;
    console.remove_passkeys_of_nobody().await.map_err(fault)?;
    // What changed while nothing ran counts: a yes of somebody who is gone lets nothing go.
    let people = people_of(&config);
    runtime.approvals.void_those(runtime.clock.now_ms(), &|approval| unbacked(&[], &people, approval)).await?;
    Ok(Some(Arc::clone(runtime.console.get_or_init(|| console))))
}

/// The people of this configuration: where it names none, the operator, who may everything.
pub(crate) fn people_of(config: &Config) -> Vec<Person> {
    if config.people.is_empty() {
        let (owns, approves) = (BTreeSet::new(), Bounds::default());
        return vec![Person { id: ADMIN.to_owned(), owns, roles: Role::ALL.into_iter().collect(), approves }];
    }
    let person = |registered: &bailiwick_config::RegisteredPerson| Person {
        id: registered.id.clone(),
        owns: registered.owns.clone(),
        roles: roles_of(&registered.roles),
        approves: Bounds {
            connectors: registered.connectors.iter().flatten().map(ToString::to_string).collect(),
            up_to: registered.up_to.map(|band| band.as_str().to_owned()),
        },
    };
    config.people.iter().map(person).collect()
}

/// The identity provider of this configuration.
fn oidc_of(config: &Config) -> Option<Oidc> {
    let settings = config.console.oidc.as_ref()?;
    let roles = settings.roles.as_ref().map(|(claim, words)| ClaimedRoles {
        claim: claim.clone(),
        roles: words.iter().map(|(text, roles)| (text.clone(), roles_of(roles))).collect(),
    });
    Some(Oidc::new(LoginProvider::new(settings.provider.clone()), roles, subjects_of(config)))
}

/// Who is whom at the identity provider.
pub(crate) fn subjects_of(config: &Config) -> BTreeMap<String, String> {
    config.people.iter().filter_map(|person| Some((person.subject.clone()?, person.id.clone()))).collect()
}

fn roles_of(words: &BTreeSet<String>) -> BTreeSet<Role> {
    Role::ALL.into_iter().filter(|role| words.contains(role.as_str())).collect()
}

/// Everything that is served at the console's listener: pages, the admin API, and what monitoring asks for, behind one guard.
pub(crate) fn site(runtime: &Arc<Runtime>, console: &Arc<Console>, health: axum::Router) -> axum::Router {
    bailiwick_console::router(Arc::clone(console), api::api(runtime, console).merge(health))
}
