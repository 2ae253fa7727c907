//! `policy`, and the policies in `check`.

use std::collections::BTreeMap;

use bailiwick_config::Config;
use bailiwick_pipeline::ports::Worlds as _;
use bailiwick_policy::{Finding, Lint, Obligations, PolicyFault, Rule, lint};
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::{Pin, Pins, Store};
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

use super::{
    Session,
    args::{PolicyCheckArgs, PolicyCommand},
    client::Client,
    fault::CliFault,
    policy_diff, policy_known, policy_replay,
    screen::{Table, lines, short, shown},
};
use crate::{
    admin::api::ConnectorView,
    runtime::policies_of,
    world::{LiveWorlds, PolicyText, Unusable, WorldFault, sources_of},
};

/// The tools that were accepted, by connector.
pub(super) type Accepted = BTreeMap<ConnectorId, Vec<Pin>>;

/// Does it.
pub(super) async fn run(command: &PolicyCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        PolicyCommand::Check(check) => self::check(check, session).await,
        PolicyCommand::Diff(diff) => policy_diff::run(diff, session).await,
        PolicyCommand::Replay(replay) => policy_replay::run(replay, session).await,
        PolicyCommand::Test(test) => super::policy_test::run(test, session).await,
        PolicyCommand::New(new) => super::templates::run(new, session),
        PolicyCommand::Schema(form) => super::policy_schema::run(form, session).await,
    }
}

async fn check(check: &PolicyCheckArgs, session: &Session) -> Result<(), CliFault> {
    let config = session.places.load(&session.around)?;
    let texts = match &check.policy {
        Some(at) => policy_known::texts_at(at, &config)?,
        None => policies_of(&config)?,
    };
    let Some(pins) = accepted(session).await? else { return Err(nothing_accepted(session)) };
    let compiled = match compiled(&config, pins, &texts) {
        Ok(compiled) => compiled,
        Err(faults) if check.form.json => {
            session.screen.json(&faults.to_json())?;
            return Err(CliFault::Said);
        }
        Err(faults) => return Err(CliFault::Policies(Box::new(faults))),
    };
    if check.form.json {
        session.screen.json(&compiled.to_json())?;
    } else {
        session.screen.answer(&compiled.table().to_string())?;
        compiled.findings.iter().for_each(|finding| {
            let what = lines(&finding.fault.to_string());
            session.screen.tell(&format!("warning: {what} [{}]", finding.lint.as_str()));
        });
        compiled
            .unusable
            .iter()
            .for_each(|tool| session.screen.tell(&format!("warning: {} can't be used: {}", tool.tool, shown(&tool.why))));
        for rule in compiled.rules.iter().filter(|rule| !rule.obligations.is_empty()) {
            session.screen.tell(&format!("{} demands: {}", rule.id, shown(&rule.obligations.join("; "))));
        }
        let (rules, tools, digest) = (compiled.rules.len(), compiled.tools, short(&compiled.digest, 13));
        session.screen.tell(&format!("{rules} rules over {tools} tools   bundle {digest}"));
    }
    if check.strict && !compiled.findings.is_empty() { Err(CliFault::Said) } else { Ok(()) }
}

/// Nothing can be said of policies over no tools.
pub(super) fn nothing_accepted(session: &Session) -> CliFault {
    CliFault::refused(
        "no tool was accepted yet, so the policies can't be checked against any",
        Some(&format!("start the gateway once: {}", session.places.start)),
    )
}

/// The accepted tools: of the running gateway, else of its store; none where there is neither.
pub(super) async fn accepted(session: &Session) -> Result<Option<Accepted>, CliFault> {
    if let Some(client) = Client::find(&session.places).await? {
        let connectors: Vec<ConnectorView> = client.get("connectors").await?;
        return connectors.into_iter().map(pins_of).collect::<Result<Accepted, CliFault>>().map(Some);
    }
    let data = session.places.data.path();
    if !data.join("state.db").is_file() {
        return Ok(None);
    }
    Ok(Some(Pins::new(&Store::open(data)?).list()?))
}

fn pins_of(connector: ConnectorView) -> Result<(ConnectorId, Vec<Pin>), CliFault> {
    let odd = |what: &str| CliFault::refused(&format!("the gateway names `{what}`, which is no name"), None);
    let id: ConnectorId = connector.id.parse().map_err(|_| odd(&connector.id))?;
    let mut pins = Vec::new();
    for tool in connector.tools {
        let name = tool.id.split_once("__").map_or("", |(_, name)| name);
        pins.push(Pin {
            tool: name.parse().map_err(|_| odd(&tool.id))?,
            kind: tool.kind,
            band: tool.band,
            classed_by: tool.classed_by,
            digest: tool.digest,
            definition: tool.definition,
            labels: tool.labels,
            accepted_at_ms: tool.accepted_at_ms,
            accepted_by: tool.accepted_by,
        });
    }
    Ok((id, pins))
}

/// Policies that can be put in force.
pub(super) struct Compiled {
    pub(super) tools: usize,
    pub(super) digest: String,
    pub(super) rules: Vec<ListedRule>,
    pub(super) unusable: Vec<Unusable>,
    /// Which tools keep their prefix though their connectors are to have none, and why.
    pub(super) keep_prefix: Vec<String>,
    /// What is doubtful about them.
    findings: Vec<Finding>,
}

/// A rule, for the list.
pub(super) struct ListedRule {
    id: String,
    at: String,
    effect: &'static str,
    reason: String,
    obligations: Vec<String>,
}

/// Compiles the policies as the gateway does at its start.
pub(super) fn compiled(config: &Config, pins: Accepted, texts: &[PolicyText]) -> Result<Compiled, PolicyFaults> {
    let worlds =
        LiveWorlds::new(config, pins, texts.to_vec()).map_err(|WorldFault::Policies(faults)| PolicyFaults::new(faults, texts))?;
    let world = worlds.now();
    let policies = &world.policies;
    let rule = |rule: &Rule| {
        let says = |key: &str| policies.annotation(&rule.id, key);
        let effect = match (says("mode"), says("approval")) {
            (Some("shadow"), _) => "only watched",
            (_, Some(_)) => "asks a person",
            _ => "enforced",
        };
        ListedRule {
            id: rule.id.to_string(),
            at: place(&rule.id, texts).unwrap_or_default(),
            effect,
            reason: rule.reason.as_deref().unwrap_or_default().to_owned(),
            obligations: policies.obligations(&rule.id).map(Obligations::words).unwrap_or_default(),
        }
    };
    let doubtful = |fault: &PolicyFault| Finding { lint: Lint::Doubtful, rule: String::new(), fault: fault.clone() };
    let mut findings: Vec<Finding> = policies.warnings().iter().map(doubtful).collect();
    // The rules that are part of the binary are made for any catalogue: some wait for tools of their kind.
    let is_own = |finding: &Finding| finding.fault.source.and_then(|at| texts.get(at)).is_some_and(|text| text.path.is_some());
    findings.extend(lint(&sources_of(texts), &worlds.known()).into_iter().filter(is_own));
    Ok(Compiled {
        tools: world.count(),
        digest: world.policy_digest.clone(),
        rules: policies.rules().into_iter().map(rule).collect(),
        unusable: worlds.unusable(),
        keep_prefix: worlds.names().remarks(),
        findings,
    })
}

/// `file:line` of the rule with this id.
pub(super) fn place(rule: &str, texts: &[PolicyText]) -> Option<String> {
    let annotation = format!("@id(\"{rule}\")");
    let is_there = |line: &str| !line.trim_start().starts_with("//") && line.contains(&annotation);
    texts.iter().find_map(|text| Some(format!("{}:{}", text.name, text.text.lines().position(is_there)? + 1)))
}

impl Compiled {
    fn table(&self) -> Table {
        let mut table = Table::new(&["RULE", "EFFECT", "AT", "REASON"]);
        for rule in &self.rules {
            table.row([&rule.id, rule.effect, &rule.at, &short(&rule.reason, 70)]);
        }
        table
    }

    fn to_json(&self) -> Value {
        let rule = |rule: &ListedRule| {
            let ListedRule { id, at, effect, reason, obligations } = rule;
            json!({"id": id, "state": effect, "at": at, "reason": reason, "obligations": obligations})
        };
        let finding = |Finding { lint, rule, fault }: &Finding| {
            json!({
                "id": rule, "state": "warning", "lint": lint, "message": fault.what, "help": fault.help, "file": fault.source_name,
                "line": fault.line, "column": fault.column,
            })
        };
        self.rules.iter().map(rule).chain(self.findings.iter().map(finding)).collect()
    }
}

/// Everything that is wrong with the policies, each fault with its place.
#[derive(Debug)]
pub struct PolicyFaults {
    faults: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    fault: PolicyFault,
    source: Option<NamedSource<String>>,
}

/// A rule may name a tool that nobody has accepted yet: then that is what is to be done.
pub(super) fn with_what_to_accept(fault: PolicyFault) -> PolicyFault {
    let named = fault.what.strip_prefix("unrecognized action `Bailiwick::Action::\"");
    let Some((connector, _)) = named.and_then(|named| named.split_once("__")) else { return fault };
    let help = format!(
        "{}; a tool is one once it is accepted: `bailiwick connectors pin {}`, with a running gateway or without",
        fault.help.as_deref().unwrap_or("no tool has this name"),
        shown(connector)
    );
    PolicyFault { help: Some(help), ..fault }
}

impl PolicyFaults {
    pub(crate) fn new(faults: Vec<PolicyFault>, texts: &[PolicyText]) -> Self {
        let source = |fault: &PolicyFault| {
            let text = texts.get(fault.source?)?;
            Some(NamedSource::new(&text.name, text.text.clone()))
        };
        let faults = faults.into_iter().map(with_what_to_accept);
        Self { faults: faults.map(|fault| Placed { source: source(&fault), fault }).collect() }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let fault = |Placed { fault, .. }: &Placed| {
            json!({
                "id": "policy", "state": "error", "message": fault.what, "help": fault.help, "file": fault.source_name,
                "line": fault.line, "column": fault.column,
            })
        };
        self.faults.iter().map(fault).collect()
    }
}

impl std::fmt::Display for PolicyFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the policies have a fault"),
            many => write!(f, "the policies have {many} faults"),
        }
    }
}

impl std::error::Error for PolicyFaults {}

impl Diagnostic for PolicyFaults {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.faults.iter().map(|placed| placed as &dyn Diagnostic)))
    }
}

impl std::fmt::Display for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fault.what)
    }
}

impl std::error::Error for Placed {}

impl Diagnostic for Placed {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.fault.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.fault.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(Some("here".to_owned()), span))))
    }
}
