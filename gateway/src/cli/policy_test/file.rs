//! A file of cases: what is asked, and what is to come.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Budget, Capability, ToolPattern},
    ids::AgentId,
};
use bailiwick_policy::{Band, Labels};
use serde::Deserialize;
use serde_json::{Value, json};
use toml_edit::{Item, TableLike};

use super::judge::{HTTP, NEWEST};
use super::reading::{Fields, FileFault, Reading, object};

/// A file, read.
#[derive(Debug)]
pub(super) struct CaseFile {
    /// Its name in tables.
    pub(super) name: String,
    /// The rules that it is about; those of the configuration where it names none.
    pub(super) policies: Option<Vec<PathBuf>>,
    /// Whether the default rules hold beside them.
    pub(super) include_default: bool,
    /// Agents, connectors and grants of its own, as a configuration with the lines of the file.
    pub(super) own: Option<String>,
    /// The arguments of its own tools: a JSON Schema each, and the line.
    pub(super) schemas: BTreeMap<String, (Value, usize)>,
    /// The cases.
    pub(super) cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// What it says.
    pub(super) name: String,
    /// Where it begins.
    pub(super) line: usize,
    /// Under which grant.
    pub(super) grant: Under,
    /// What is asked.
    pub(super) what: Asked,
    /// The circumstances.
    pub(super) context: Circumstances,
    /// What is to come.
    pub(super) expected: Expected,
}

/// Which grant a case is about.
#[derive(Debug, Clone)]
pub(super) enum Under {
    /// The one of this id.
    Id(String),
    /// The default grant of this agent, or its only one.
    AgentsOwn(String),
    /// One that only the case has.
    Inline(Box<Terms>),
    /// The only one that there is.
    Only,
}

/// A grant that only a case has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    /// Its agent.
    pub(super) agent: AgentId,
    /// Its tools.
    pub(super) tools: Vec<ToolPattern>,
    /// The bounds on their arguments.
    #[serde(default)]
    pub(super) args: BTreeMap<ToolPattern, BTreeMap<String, Bound>>,
    /// Its ceiling; that of its agent if it is not said.
    #[serde(default)]
    pub(super) ceiling: Option<Band>,
    /// Its environment.
    #[serde(default)]
    pub(super) environment: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub(super) purpose: String,
    /// How much it may be used.
    #[serde(default)]
    pub(super) budget: Budget,
    /// The data classes that it may touch.
    #[serde(default)]
    pub(super) data_classes: Option<std::collections::BTreeSet<String>>,
}

impl Terms {
    /// Its rights.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        let right = |tools: &ToolPattern| Capability {
            tools: tools.clone(),
            kinds: None,
            args: self.args.get(tools).cloned().unwrap_or_default(),
        };
        self.tools.iter().map(right).collect()
    }
}

/// What a case asks.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// May it make this call?
    Call {
        /// The tool.
        tool: String,
        /// The text of its arguments.
        arguments: String,
    },
    /// May it hand its task on?
    HandOn {
        /// To whom.
        to: String,
        /// Which tools.
        tools: Vec<String>,
        /// For how long, seconds.
        ttl_s: u64,
        /// Up to which band.
        ceiling: Band,
        /// What for.
        purpose: String,
    },
    /// May it get such a grant by itself?
    AutoGrant {
        /// Which tools.
        tools: Vec<String>,
        /// For how long, seconds.
        ttl_s: u64,
        /// What for.
        purpose: String,
        /// How many it has.
        live: u64,
    },
}

/// The circumstances of a case: what is not said is as at the beginning of a task, at noon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// Calls made before.
    pub(super) calls_in_task: u64,
    /// Calls with an effect made before.
    pub(super) writes_in_task: u64,
    /// Bytes of arguments sent before.
    pub(super) bytes_out: u64,
    /// What calls have cost before.
    pub(super) cost: u64,
    /// Whether a stranger's words were read.
    pub(super) untrusted_input: bool,
    /// Whether confidential data was.
    pub(super) confidential: bool,
    /// What else was touched, by its labels.
    pub(super) labels: Vec<String>,
    /// The detections that fire.
    pub(super) detections: Vec<String>,
    /// Calls in the minute before.
    pub(super) calls_last_minute: u64,
    /// The approvals that are held.
    pub(super) approvals: Vec<String>,
    /// The hour, UTC.
    pub(super) hour: u8,
    /// The minute of that hour.
    pub(super) minute: u8,
    /// The day of the week: 1 is Monday.
    pub(super) weekday: u8,
    /// How the agent proved itself, and what that is worth.
    pub(super) authn: String,
    pub(super) authn_strength: u8,
    /// How the agent came.
    pub(super) transport: String,
    /// In which version it speaks.
    pub(super) era: String,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            calls_in_task: 0,
            writes_in_task: 0,
            bytes_out: 0,
            cost: 0,
            untrusted_input: false,
            confidential: false,
            labels: Vec::new(),
            detections: Vec::new(),
            calls_last_minute: 0,
            approvals: Vec::new(),
            hour: 12,
            minute: 0,
            weekday: 1,
            authn: "agent_token".to_owned(),
            authn_strength: 1,
            transport: HTTP.to_owned(),
            era: NEWEST.to_owned(),
        }
    }
}

impl Circumstances {
    /// Whether the gates alone see all of it but the approvals: the rest is a matter of the task, or of the clock.
    pub(super) fn is_as_the_gates_have_it(&self) -> bool {
        let usual = Self::default();
        let of_sender = |one: &Self| (one.transport.clone(), one.era.clone(), one.authn.clone(), one.authn_strength);
        let of_time = |one: &Self| (one.minute, one.weekday, one.calls_last_minute, one.detections.clone());
        of_sender(self) == of_sender(&usual) && of_time(self) == of_time(&usual)
    }

    /// All that the task has touched.
    pub(super) fn touched(&self) -> Labels {
        let flag = |is_set: bool, label: Labels| if is_set { label } else { Labels::NONE };
        let named = self.labels.iter().map(|name| Labels::named(name).unwrap_or(Labels::ALL));
        let flags = [flag(self.untrusted_input, Labels::UNTRUSTED), flag(self.confidential, Labels::CONFIDENTIAL)];
        named.chain(flags).collect()
    }
}

/// What is to come of a case.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// `allow`, `step_up` or `deny`.
    pub(super) effect: &'static str,
    /// Rules that have to be among those which decide.
    pub(super) by: Vec<String>,
    /// The approvals that are asked for, all of them.
    pub(super) asks: Option<Vec<String>>,
    /// Why, in the word of the records.
    pub(super) reason: Option<String>,
}

/// The words for what may come.
const EFFECTS: [&str; 3] = ["allow", "deny", "step_up"];

/// Reads a file. What its paths begin with is its folder.
pub(super) fn read(name: &str, path: &Path, text: &str) -> Result<CaseFile, Vec<FileFault>> {
    let mut reading = Reading::of(name, text);
    let Some(document) = reading.document() else { return Err(reading.into_faults()) };
    let mut fields = Fields::of(document.as_table(), "the file");
    let policies = fields.texts("policies", &mut reading);
    let include_default = fields.flag("include_default", &mut reading).unwrap_or(true);
    let mut base = Case {
        name: String::new(),
        line: 0,
        grant: Under::Only,
        what: Asked::Call { tool: String::new(), arguments: "{}".to_owned() },
        context: Circumstances::default(),
        expected: Expected { effect: "deny", by: Vec::new(), asks: None, reason: None },
    };
    under(&mut fields, &mut base, &mut reading);
    if let Some(table) = fields.table("context", &mut reading) {
        circumstances(table, &mut base.context, &mut reading);
    }
    let has_own = ["agents", "connectors", "grants", "detections"].map(|key| fields.item(key).is_some()).contains(&true);
    let schemas = fields.table("schemas", &mut reading).map(|table| schemas(table, &mut reading)).unwrap_or_default();
    let cases: Vec<Case> = fields
        .tables("cases", &mut reading)
        .into_iter()
        .filter_map(|(table, span)| case(table, reading.line(span), &base, &mut reading))
        .collect();
    if has_own && policies.is_none() {
        let help = "write `policies = [\"rules.cedar\"]`, with the place of the rules from here";
        reading.fault(None, "cases about agents and tools of their own name their rules", Some(help));
    }
    if !has_own && let Some((_, (_, line))) = schemas.iter().next() {
        let help = "write its `[[connectors]]`, `[[agents]]` and `[[grants]]` as in config.toml, or leave `[schemas]` out";
        reading.fault_at(*line, 1, "a schema belongs to a connector of this file", Some(help));
    }
    fields.end(&mut reading);
    let folder = path.parent().unwrap_or(Path::new(""));
    let faults = reading.into_faults();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(CaseFile {
        name: name.to_owned(),
        policies: policies.map(|all| all.iter().map(|file| folder.join(file)).collect()),
        include_default,
        own: has_own.then(|| configuration_of(text)),
        schemas,
        cases,
    })
}

/// The lines of agents, connectors, grants and detections; all other lines are empty, so that faults keep their place.
fn configuration_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_kept = false;
    for line in text.lines() {
        let header = line.trim().trim_start_matches('[');
        if line.starts_with('[') {
            is_kept = ["agents", "connectors", "grants", "detections"]
                .iter()
                .any(|section| header.strip_prefix(section).is_some_and(|rest| rest.starts_with([']', '.'])));
        }
        if is_kept {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn schemas(table: &dyn TableLike, reading: &mut Reading<'_>) -> BTreeMap<String, (Value, usize)> {
    let mut schemas = BTreeMap::new();
    for (name, item) in table.iter() {
        let line = reading.line(table.get_key_value(name).and_then(|(key, _)| key.span()));
        let Some(mut schema) = reading.json(item).as_deref().and_then(object) else {
            reading.fault(item.span(), &format!("the schema of `{name}` must be a table"), None);
            continue;
        };
        schema.entry("type").or_insert_with(|| json!("object"));
        schemas.insert(name.to_owned(), (Value::Object(schema), line));
    }
    schemas
}

/// The grant that is named: `grant` or `agent`.
fn under(fields: &mut Fields<'_>, case: &mut Case, reading: &mut Reading<'_>) {
    if let Some((agent, _)) = fields.item("agent").is_some().then(|| fields.text("agent", reading)).flatten() {
        case.grant = Under::AgentsOwn(agent.to_owned());
    }
    let Some(item) = fields.item("grant") else { return };
    if let Some(id) = item.as_str() {
        case.grant = Under::Id(id.to_owned());
        return;
    }
    let Some(text) = item.is_table_like().then(|| reading.json(item)).flatten() else {
        reading.fault(item.span(), "`grant` must be the id of a grant, or a table", None);
        return;
    };
    match serde_json::from_str::<Terms>(&text) {
        Ok(terms) => case.grant = Under::Inline(Box::new(terms)),
        Err(why) => {
            let what = why.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let meant = what.split('`').nth(1).and_then(|given| {
                let known = ["agent", "tools", "args", "ceiling", "environment", "purpose", "budget", "data_classes"];
                bailiwick_config::nearest(given, known)
            });
            let help = meant.map(|meant| format!("did you mean `{meant}`?"));
            reading.fault(item.span(), &format!("the grant can't be read: {what}"), help.as_deref());
        }
    }
}

fn circumstances(table: &dyn TableLike, context: &mut Circumstances, reading: &mut Reading<'_>) {
    let mut fields = Fields::of(table, "`context`");
    let own = |slot: &mut String, given: Option<(&str, usize)>| {
        if let Some((given, _)) = given {
            given.clone_into(slot);
        }
    };
    context.calls_in_task = fields.count("calls_in_task", reading).unwrap_or(context.calls_in_task);
    context.writes_in_task = fields.count("writes_in_task", reading).unwrap_or(context.writes_in_task);
    context.bytes_out = fields.count("bytes_out", reading).unwrap_or(context.bytes_out);
    context.cost = fields.count("cost", reading).unwrap_or(context.cost);
    context.untrusted_input = fields.flag("untrusted_input", reading).unwrap_or(context.untrusted_input);
    context.confidential = fields.flag("confidential", reading).unwrap_or(context.confidential);
    context.calls_last_minute = fields.count("calls_last_minute", reading).unwrap_or(context.calls_last_minute);
    for (key, slot) in
        [("approvals", &mut context.approvals), ("labels", &mut context.labels), ("detections", &mut context.detections)]
    {
        if let Some(held) = fields.texts(key, reading) {
            *slot = held;
        }
    }
    if let Some(odd) = context.labels.iter().find(|name| Labels::named(name).is_none()) {
        let help = "write `untrusted`, `internal`, `confidential`, `secret`, or a class as `[data]` has them: lower case letters, digits, `-`, `_`";
        reading.fault(fields.item("labels").and_then(Item::span), &format!("`{odd}` can be no label"), Some(help));
    }
    let numbers = [
        ("hour", 0..=23, &mut context.hour),
        ("minute", 0..=59, &mut context.minute),
        ("weekday", 1..=7, &mut context.weekday),
        ("authn_strength", 0..=3, &mut context.authn_strength),
    ];
    for (key, range, slot) in numbers {
        if let Some(given) = fields.count(key, reading) {
            if let Some(given) = u8::try_from(given).ok().filter(|given| range.contains(given)) {
                *slot = given;
            } else {
                let what = format!("`{key}` must be {} to {}", range.start(), range.end());
                reading.fault(fields.item(key).and_then(Item::span), &what, None);
            }
        }
    }
    own(&mut context.authn, fields.text("authn", reading));
    own(&mut context.transport, fields.text("transport", reading));
    own(&mut context.era, fields.text("era", reading));
    fields.end(reading);
}

fn case(table: &dyn TableLike, line: usize, base: &Case, reading: &mut Reading<'_>) -> Option<Case> {
    let mut fields = Fields::of(table, "a case");
    let mut case = Case { line, ..base.clone() };
    let name = fields.text("name", reading);
    under(&mut fields, &mut case, reading);
    if let Some(table) = fields.table("context", reading) {
        circumstances(table, &mut case.context, reading);
    }
    let what = asked(&mut fields, line, reading);
    if let Some(effect) = effect(&mut fields, line, reading) {
        case.expected.effect = effect;
    }
    case.expected.by = fields.texts("by", reading).unwrap_or_default();
    case.expected.asks = fields.texts("asks", reading);
    case.expected.reason = fields.text("reason", reading).map(|(reason, _)| reason.to_owned());
    fields.end(reading);
    case.what = what?;
    case.name = name.map_or_else(|| named(&case.what), |(name, _)| name.to_owned());
    Some(case)
}

/// What is to come of a case.
fn effect(fields: &mut Fields<'_>, line: usize, reading: &mut Reading<'_>) -> Option<&'static str> {
    let Some(span) = fields.item("expect").map(Item::span) else {
        let help = "`expect = \"allow\"`, `\"deny\"` or `\"step_up\"`";
        reading.fault_at(line, 1, "a case says what it expects", Some(help));
        return None;
    };
    let (word, _) = fields.text("expect", reading)?;
    let effect = EFFECTS.into_iter().find(|known| *known == word);
    if effect.is_none() {
        let help = match bailiwick_config::nearest(word, EFFECTS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write `allow`, `deny` or `step_up`".to_owned(),
        };
        reading.fault(span, &format!("`expect` can't be `{word}`"), Some(&help));
    }
    effect
}

fn named(what: &Asked) -> String {
    match what {
        Asked::Call { tool, .. } => tool.clone(),
        Asked::HandOn { to, .. } => format!("hand on to {to}"),
        Asked::AutoGrant { .. } => "a grant by itself".to_owned(),
    }
}

/// What the case asks: exactly one of `tool`, `hand_on` and `auto_grant`.
fn asked(fields: &mut Fields<'_>, line: usize, reading: &mut Reading<'_>) -> Option<Asked> {
    let tool = fields.text("tool", reading);
    let args = fields.item("args");
    let hand_on = fields.table("hand_on", reading);
    let auto_grant = fields.table("auto_grant", reading);
    match (tool, hand_on, auto_grant) {
        (Some((tool, _)), None, None) => {
            let arguments = arguments(args, reading)?;
            Some(Asked::Call { tool: tool.to_owned(), arguments })
        }
        (None, Some(table), None) if args.is_none() => hop(table, line, reading),
        (None, None, Some(table)) if args.is_none() => {
            let mut fields = Fields::of(table, "`auto_grant`");
            let asked = Asked::AutoGrant {
                tools: fields.texts("tools", reading).unwrap_or_default(),
                ttl_s: fields.count("ttl_s", reading).unwrap_or(900),
                purpose: fields.text("purpose", reading).map(|(text, _)| text.to_owned()).unwrap_or_default(),
                live: fields.count("live", reading).unwrap_or(0),
            };
            fields.end(reading);
            Some(asked)
        }
        _ => {
            let help = "a `tool` with its `args`, or `hand_on`, or `auto_grant`";
            reading.fault_at(line, 1, "a case asks one thing", Some(help));
            None
        }
    }
}

/// The arguments as text: a table, or JSON as an agent would send it.
fn arguments(args: Option<&Item>, reading: &mut Reading<'_>) -> Option<String> {
    let Some(item) = args else { return Some("{}".to_owned()) };
    if let Some(text) = item.as_str() {
        return Some(text.to_owned());
    }
    if item.is_table_like() {
        return reading.json(item);
    }
    reading.fault(item.span(), "`args` must be a table, or a text of JSON", None);
    None
}

fn hop(table: &dyn TableLike, line: usize, reading: &mut Reading<'_>) -> Option<Asked> {
    let mut fields = Fields::of(table, "`hand_on`");
    let to = fields.text("to", reading).map(|(to, _)| to.to_owned());
    let tools = fields.texts("tools", reading).unwrap_or_default();
    let ttl_s = fields.count("ttl_s", reading).unwrap_or(900);
    let purpose = fields.text("purpose", reading).map(|(text, _)| text.to_owned()).unwrap_or_default();
    let ceiling = match fields.text("ceiling", reading) {
        Some((word, _)) => Band::ALL.into_iter().find(|band| band.as_str() == word).or_else(|| {
            reading.fault(fields.item("ceiling").and_then(Item::span), &format!("`{word}` is no band"), None);
            None
        }),
        None => Some(Band::Low),
    };
    fields.end(reading);
    if to.is_none() {
        reading.fault_at(line, 1, "`hand_on` names the agent that is to have it", Some("`hand_on = { to = \"scout\", … }`"));
    }
    Some(Asked::HandOn { to: to?, tools, ttl_s, ceiling: ceiling?, purpose })
}
