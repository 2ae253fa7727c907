//! `check`: the configuration, what it names, and the policies.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use bailiwick_config::{Config, ConfigFaults, Found, Sought};
use bailiwick_schemas::names::QualifiedName;
use serde_json::json;

use super::{
    Session,
    fault::CliFault,
    policy::{Accepted, accepted, compiled},
    screen::shown,
};
use crate::runtime::policies_of;

/// Does it.
pub(super) async fn run(as_json: bool, session: &Session) -> Result<(), CliFault> {
    let config = match session.places.load(&session.around) {
        Err(CliFault::ConfigFaults(faults)) if as_json => {
            session.screen.json(&faults.to_json())?;
            return Err(CliFault::Said);
        }
        config => config?,
    };
    let pins = accepted(session).await?;
    let known: Vec<QualifiedName> = pins
        .iter()
        .flatten()
        .flat_map(|(id, pins)| pins.iter().map(|pin| QualifiedName::new(id.clone(), pin.tool.clone())))
        .collect();
    let mut faults = config.check_presence(session.places.data.path(), |sought| look(sought, &config, session));
    faults.extend(config.check_against(&known));
    if let Some(faults) = ConfigFaults::new(&session.places.config_name(), faults) {
        if as_json {
            session.screen.json(&faults.to_json())?;
            return Err(CliFault::Said);
        }
        return Err(faults.into());
    }
    policies(&config, pins, as_json, session)
}

fn policies(config: &Config, pins: Option<Accepted>, as_json: bool, session: &Session) -> Result<(), CliFault> {
    let texts = policies_of(config)?;
    let compiled = match pins.map(|pins| compiled(config, pins, &texts)).transpose() {
        Ok(compiled) => compiled,
        Err(faults) if as_json => {
            session.screen.json(&faults.to_json())?;
            return Err(CliFault::Said);
        }
        Err(faults) => return Err(CliFault::Policies(Box::new(faults))),
    };
    if as_json {
        return session.screen.json(&json!([]));
    }
    let rules = compiled.as_ref().map_or_else(
        || "not compiled: no tool was accepted yet, the first start shows them".to_owned(),
        |compiled| format!("{} rules over {} accepted tools", compiled.rules.len(), compiled.tools),
    );
    session.screen.answer(&summary(config, &rules, session))?;
    for tool in compiled.iter().flat_map(|compiled| &compiled.unusable) {
        session.screen.tell(&format!("warning: {} can't be used: {}", tool.tool, shown(&tool.why)));
    }
    for remark in compiled.iter().flat_map(|compiled| &compiled.keep_prefix) {
        session.screen.tell(&format!("warning: {}", shown(remark)));
    }
    if config.approvals.allow_same_user {
        session.screen.tell("warning: approvals.allow_same_user is on: whoever runs an agent may approve its calls");
    }
    Ok(())
}

fn summary(config: &Config, rules: &str, session: &Session) -> String {
    let ids = |ids: Vec<String>| if ids.is_empty() { "none".to_owned() } else { ids.join("  ") };
    format!(
        "{}: OK\nagents      {}\nconnectors  {}\ngrants      {}\npolicies    {rules}\nlistens     {} for agents, {} for the console{}\ndata        {}\n",
        session.places.config_name(),
        ids(config.agents.iter().map(|agent| agent.agent.id.to_string()).collect()),
        ids(config.connectors.iter().map(|connector| connector.id.to_string()).collect()),
        ids(config.grants.iter().map(|grant| format!("{} ({})", grant.id, grant.agent)).collect()),
        config.server.listen,
        config.server.console,
        config.server.tls.as_ref().map(|tls| format!(", {} for agents over TLS", tls.listen)).unwrap_or_default(),
        session.places.data.path().display(),
    )
}

/// Looks for something that the configuration names.
pub(super) fn look(sought: Sought<'_>, config: &Config, session: &Session) -> Found {
    match sought {
        Sought::Program(path) => match file(path, |mode| (mode & 0o111 == 0).then_some("is not executable")) {
            Found::Fit => bailiwick_connectors::changeable(path).map_or(Found::Fit, Found::Unfit),
            unfit => unfit,
        },
        Sought::Policy(path) | Sought::Certificate(path) => file(path, |_| None),
        Sought::Roots(path) | Sought::Bundle(path) | Sought::Keys(path) => {
            file(path, |mode| (mode & 0o002 != 0).then_some("can be changed by everybody: chmod o-w"))
        }
        Sought::SecretFile(path) if is_made_at_start(path, config, session) => Found::Fit,
        Sought::SecretFile(path) => file(path, |mode| (mode & 0o077 != 0).then_some("can be read by others: chmod 600")),
        Sought::Folder(path) if path.is_dir() => Found::Fit,
        Sought::Folder(path) if path.exists() => Found::Unfit("is not a folder".to_owned()),
        Sought::SecretVariable(name) if session.around.variable(name).is_some() => Found::Fit,
        Sought::Folder(_) | Sought::SecretVariable(_) => Found::Missing,
    }
}

/// The demo's own secret is made by the first start.
fn is_made_at_start(path: &Path, config: &Config, session: &Session) -> bool {
    let data = session.places.data.path();
    let of_data = |source: &bailiwick_config::SecretSource| {
        matches!(source, bailiwick_config::SecretSource::Data(_)) && source.file(data).as_deref() == Some(path)
    };
    !path.exists()
        && config
            .connectors
            .iter()
            .filter_map(|connector| connector.credential.as_ref())
            .any(|credential| of_data(&credential.source))
}

fn file(path: &Path, unfit: impl Fn(u32) -> Option<&'static str>) -> Found {
    match fs::metadata(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Found::Missing,
        Err(why) => Found::Unfit(format!("can't be looked at: {why}")),
        Ok(found) if !found.is_file() => Found::Unfit("is not a file".to_owned()),
        Ok(found) => unfit(found.permissions().mode()).map_or(Found::Fit, |why| Found::Unfit(why.to_owned())),
    }
}
