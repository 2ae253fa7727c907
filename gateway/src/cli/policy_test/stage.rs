//! What cases are judged in: a configuration, tools and rules, as a gateway would have them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bailiwick_config::{Config, ConfigFaults, nearest};
use bailiwick_pipeline::grant::Labels;
use bailiwick_policy::DEFAULT_BUNDLE;
use bailiwick_schemas::{
    definition::Definition,
    names::{ConnectorId, QualifiedName, ToolName},
};
use bailiwick_store::{ClassedBy, Pin};
use serde_json::{Value, json, value::to_raw_value};

use super::file::CaseFile;
use crate::{
    cli::{PolicyFaults, Session, fault::CliFault, policy},
    runtime::policies_of,
    world::{LiveWorlds, PolicyText, WorldFault},
};

/// A configuration, its tools and its rules.
pub(in crate::cli) struct Stage {
    /// The configuration.
    pub(in crate::cli) config: Config,
    /// The rules, as they are written.
    pub(in crate::cli) texts: Vec<PolicyText>,
    /// Both, compiled.
    pub(in crate::cli) worlds: Arc<LiveWorlds>,
}

impl Stage {
    /// Of these parts.
    pub(in crate::cli) fn new(
        config: Config,
        pins: BTreeMap<ConnectorId, Vec<Pin>>,
        texts: Vec<PolicyText>,
    ) -> Result<Self, CliFault> {
        let worlds = LiveWorlds::new(&config, pins, texts.clone())
            .map_err(|WorldFault::Policies(faults)| CliFault::Policies(Box::new(PolicyFaults::new(faults, &texts))))?;
        if let Some(unusable) = worlds.unusable().first() {
            return Err(CliFault::refused(&format!("{} can't be used: {}", unusable.tool, unusable.why), None));
        }
        Ok(Self { config, texts, worlds: Arc::new(worlds) })
    }

    /// What a file of cases is about: what it brings itself, or what is configured here and accepted. `folder` is where its paths begin.
    pub(super) async fn of(file: &CaseFile, folder: &Path, session: Option<&Session>) -> Result<Self, CliFault> {
        let texts = |config: &Config| match &file.policies {
            Some(paths) => texts_of(paths, file, folder),
            None => Ok(policies_of(config)?),
        };
        if let Some(own) = &file.own {
            let config = bailiwick_config::load(Path::new(&file.name), own.clone(), []).map_err(|faults| as_usage(&faults))?;
            let pins = pins_of(file, &config)?;
            let texts = texts(&config)?;
            return Self::new(config, pins, texts);
        }
        let nowhere = || CliFault::usage(format!("{} has no tools of its own", file.name), "write its `[[connectors]]`");
        let session = session.ok_or_else(nowhere)?;
        let config = session.places.load(&session.around)?;
        let texts = texts(&config)?;
        let Some(pins) = policy::accepted(session).await? else {
            let help = format!(
                "accept tools (`bailiwick connectors pin ID`), start the gateway once ({}), or let {} bring its own `[[connectors]]` and `[schemas]`",
                session.places.start, file.name
            );
            return Err(CliFault::refused("no tool was accepted yet, so there is none to call", Some(&help)));
        };
        Self::new(config, pins, texts)
    }

    /// `file:line` of the rule of this id.
    pub(in crate::cli) fn place(&self, rule: &str) -> String {
        policy::place(rule, &self.texts).unwrap_or_default()
    }
}

/// The rules that a file names, and the default ones beside them.
fn texts_of(paths: &[PathBuf], file: &CaseFile, folder: &Path) -> Result<Vec<PolicyText>, CliFault> {
    let default = || PolicyText { name: "default".to_owned(), text: DEFAULT_BUNDLE.to_owned(), path: None };
    let mut texts: Vec<PolicyText> = file.include_default.then(default).into_iter().collect();
    for path in paths {
        let text = std::fs::read_to_string(folder.join(path)).map_err(|why| {
            let what = format!("{}: its rules `{}` can't be read: {why}", file.name, path.display());
            CliFault::usage(what, "`policies` names files beside it, with the way from its folder")
        })?;
        texts.push(PolicyText { name: path.display().to_string(), text, path: Some(path.clone()) });
    }
    Ok(texts)
}

/// What is wrong with the agents, connectors and grants of a file.
fn as_usage(faults: &ConfigFaults) -> CliFault {
    let told = faults.faults().iter().map(|fault| {
        let place = fault.line_and_column().map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let help = fault.suggestion().map(|meant| format!("did you mean `{meant}`?"));
        let help = help.or_else(|| fault.advice().map(str::to_owned)).map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}{place}: {fault}{help}", fault.file().unwrap_or_default())
    });
    let what = told.collect::<Vec<_>>().join("\n");
    CliFault::usage(what, "agents, connectors and grants are written as in config.toml: `config.example.toml` has every key")
}

/// The tools of a file, as if somebody had accepted them.
fn pins_of(file: &CaseFile, config: &Config) -> Result<BTreeMap<ConnectorId, Vec<Pin>>, CliFault> {
    let at = |line: usize, what: String| CliFault::usage(format!("{}:{line}:1: {what}", file.name), "see `[schemas]`");
    let mut tools: BTreeMap<ConnectorId, BTreeMap<ToolName, (Value, usize)>> = BTreeMap::new();
    for connector in &config.connectors {
        let classed = connector.tools.keys().map(|tool| (tool.clone(), (json!({"type": "object"}), 1)));
        tools.insert(connector.id.clone(), classed.collect());
    }
    for (name, (schema, line)) in &file.schemas {
        let read: Option<QualifiedName> = name.parse().ok();
        let Some((connector, tool)) = read.as_ref().and_then(|name| Some((name.connector(), name.tool()?))) else {
            return Err(at(*line, format!("`{name}` is no tool: write `connector__tool`")));
        };
        if !tools.contains_key(connector) {
            let known: Vec<&str> = tools.keys().map(ConnectorId::as_str).collect();
            let meant = nearest(connector.as_str(), known.iter().copied());
            let help =
                meant.map_or_else(|| format!("there are {}", known.join(", ")), |meant| format!("did you mean `{meant}`?"));
            return Err(at(*line, format!("there is no connector `{connector}` in this file ({help})")));
        }
        tools.entry(connector.clone()).or_default().insert(tool.clone(), (schema.clone(), *line));
    }
    let pinned = |connector: &ConnectorId, (tool, (schema, line)): (ToolName, (Value, usize))| {
        let config = config.connector(connector.as_str());
        let terms = config.map(|connector| connector.terms_of(&tool));
        let definition = json!({"name": tool.as_str(), "description": "as the cases have it", "inputSchema": schema});
        let definition = to_raw_value(&definition).map_err(|why| at(line, why.to_string()))?;
        let digest = Definition::read(&definition).map_err(|why| at(line, format!("{connector}__{tool}: {why}")))?.digest();
        Ok(Pin {
            kind: terms.as_ref().map_or(bailiwick_policy::Kind::Execute, |terms| terms.kind),
            band: terms.as_ref().map_or(bailiwick_policy::Band::High, |terms| terms.band),
            tool,
            classed_by: ClassedBy::Config,
            digest,
            definition,
            labels: Labels::default(),
            accepted_at_ms: 0,
            accepted_by: String::new(),
        })
    };
    let of_connector = |(connector, tools): (ConnectorId, BTreeMap<ToolName, (Value, usize)>)| {
        let pins: Result<Vec<Pin>, CliFault> = tools.into_iter().map(|tool| pinned(&connector, tool)).collect();
        Ok((connector, pins?))
    };
    tools.into_iter().map(of_connector).collect()
}
