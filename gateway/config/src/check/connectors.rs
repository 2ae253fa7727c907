//! `[[connectors]]`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bailiwick_pipeline::{grant::Labels, marks::Marks};
use bailiwick_schemas::{
    names::{Feature, ToolName},
    validate::Undeclared,
};

use super::{Setting, credentials, duplicates, environment, flow::Flow, grants::rate, sections::more_than_nothing, split, text};
use crate::{
    code::FaultCode,
    connector::{Connector, Process, Program, ToolTerms, Way, marks_of},
    fault::Findings,
    raw::{RawConnector, RawFeature, RawProvider, RawTool},
    source::KeyPath,
    suggest::nearest,
};

/// Programs that run text they are given.
const SHELLS: [&str; 11] = ["ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "pwsh", "sh", "tcsh", "zsh"];

pub(super) fn connectors(
    raw: &[RawConnector],
    path: &KeyPath,
    (setting, flow, providers): (Setting<'_>, &Flow<'_>, &[RawProvider]),
    findings: &mut Findings<'_>,
) -> Vec<Connector> {
    duplicates(raw.iter().map(|connector| connector.id.as_ref()), "connector", path, findings);
    raw.iter()
        .enumerate()
        .filter_map(|(index, raw)| connector(raw, &path.item(index), (setting, flow, providers), findings))
        .collect()
}

fn connector(
    raw: &RawConnector,
    path: &KeyPath,
    (setting, flow, providers): (Setting<'_>, &Flow<'_>, &[RawProvider]),
    findings: &mut Findings<'_>,
) -> Option<Connector> {
    let way = way(raw, path, setting, findings);
    text(Some(&raw.environment), &path.key("environment"), findings);
    more_than_nothing(raw.call_timeout, &path.key("call_timeout"), findings);
    more_than_nothing(raw.handshake_timeout, &path.key("handshake_timeout"), findings);
    let credential =
        raw.credential.as_ref().and_then(|given| credentials::credential(given, (raw, providers), path, setting, findings));
    let holds = raw.sensitivity.label();
    let labels = labels((raw.labels.as_deref(), Labels::UNTRUSTED.join(holds)), holds, &path.key("labels"), flow, findings);
    let label_resources = flow.resources(&raw.label_resources, &path.key("label_resources"), findings);
    let from = Comes { labels, holds, resources: &label_resources };
    let tools = tools(&raw.tools, &from, flow, &path.key("tools"), findings);
    let features = features(&raw.features, &from, flow, &path.key("features"), findings);
    Some(Connector {
        id: raw.id.clone()?,
        prefix: raw.prefix,
        way: way?,
        protocol: raw.protocol,
        shared: raw.shared,
        elicitation_hosts: hosts(raw.elicitation_hosts.as_deref().unwrap_or_default(), &path.key("elicitation_hosts"), findings),
        pin: raw.pin,
        sensitivity: raw.sensitivity,
        environment: raw.environment.clone(),
        call_timeout: raw.call_timeout.into(),
        handshake_timeout: raw.handshake_timeout.into(),
        relist_after: raw.relist_after.into(),
        max_rate: rate(raw.max_rate, &path.key("max_rate"), findings),
        labels,
        label_resources,
        credential,
        tools,
        features,
    })
}

/// Exactly one way, and the keys of that one.
fn way(raw: &RawConnector, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Way> {
    match (&raw.command, &raw.url) {
        (Some(_), Some(_)) => {
            let message = "`command` starts a server and `url` names one that runs: a connector has one of them";
            let fault = findings.beside(&path.key("url"), FaultCode::Conflict, message, (&path.key("command"), "and here"));
            fault.help("leave one of them out");
            None
        }
        (Some(_), None) => {
            let others = [
                ("networks", raw.networks.is_some()),
                ("roots", raw.roots.is_some()),
                ("identity", raw.identity.is_some()),
                ("dangerous_plain_http", raw.dangerous_plain_http),
            ];
            foreign(&others, "command", path, findings);
            let program = program(raw, &path.key("command"), setting, findings);
            variables(raw, &path.key("env"), findings);
            let cwd = raw.cwd.as_deref().and_then(|cwd| folder(cwd, &path.key("cwd"), findings));
            let arguments = raw.command.iter().flatten().skip(1).cloned().collect();
            Some(Way::Process(Process { program: program?, arguments, env: raw.env.clone(), cwd }))
        }
        (None, Some(url)) => {
            foreign(&[("cwd", raw.cwd.is_some()), ("env", !raw.env.is_empty())], "url", path, findings);
            super::http::way(raw, url, path, setting, findings).map(Way::Http)
        }
        (None, None) => {
            let key = path.key("command");
            if !findings.has_any_in(&key) && !findings.has_any_in(&path.key("url")) {
                let message = "`command` or `url` is missing: nothing says where the server is";
                let fault = findings.key(&key, FaultCode::MissingKey, message);
                fault.help(
                    "add `command = [\"…\"]` to start it as a child process, or `url = \"https://…\"` where it runs elsewhere",
                );
            }
            None
        }
    }
}

/// Reports keys that mean nothing beside the way that was chosen.
fn foreign(keys: &[(&str, bool)], chosen: &str, path: &KeyPath, findings: &mut Findings<'_>) {
    for (key, _) in keys.iter().filter(|(_, is_set)| *is_set) {
        let message = format!("`{key}` means nothing to a connector with `{chosen}`");
        let fault = findings.beside(&path.key(key), FaultCode::Conflict, message, (&path.key(chosen), "chosen here"));
        fault.help("leave it out");
    }
}

fn program(raw: &RawConnector, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Program> {
    let (given, arguments) = raw.command.as_deref()?.split_first()?;
    if let Some(at) = raw.command.iter().flatten().position(|part| part.contains('\0')) {
        findings.value(&path.item(at), FaultCode::BadText, "a command can't contain a NUL character").help("leave it out");
    }
    let path = path.item(0);
    if given == "@self" {
        if matches!(setting, Setting::File { .. }) {
            let fault =
                findings.value(&path, FaultCode::EmbeddedOnly, "`@self` stands for the gateway only in its own configuration");
            fault.help("write the absolute path of the program");
        }
        return Some(Program::Own);
    }
    let program = Path::new(given);
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !program.is_absolute() {
        let fault = findings.value(&path, FaultCode::RelativeCommand, format!("`{given}` is not an absolute path"));
        fault.help(if given.contains(['/', ' ']) {
            "write the absolute path of the program, and each argument as an item of its own".to_owned()
        } else {
            format!("`command -v {given}` prints the path: write that one, so that `PATH` can't change what runs")
        });
    } else if name == "env" {
        let fault = findings.value(&path, FaultCode::RelativeCommand, format!("`{given}` looks its program up in `PATH`"));
        fault.help("write the absolute path of the program itself");
    } else if SHELLS.contains(&name) && has_inline_script(arguments) {
        let fault = findings.value(&path, FaultCode::ShellCommand, format!("`{given}` would run the text of an argument"));
        fault.help("put the text into a script that only you can change, and write its absolute path");
    }
    Some(Program::Path(program.to_owned()))
}

/// Whether a shell is given a script as text, by `-c`, `-lc`, `-Command` and the like, and not the path of one.
fn has_inline_script(arguments: &[String]) -> bool {
    let is_script_option =
        |part: &String| part.starts_with('-') && !part.starts_with("--") && part.to_ascii_lowercase().contains('c');
    arguments.iter().take_while(|part| !part.starts_with('/')).any(is_script_option)
}

fn variables(raw: &RawConnector, path: &KeyPath, findings: &mut Findings<'_>) {
    for (name, value) in &raw.env {
        let path = path.key(name);
        if !environment::is_name(name) || value.contains('\0') {
            let fault = findings.key(&path, FaultCode::BadName, format!("`{name}` can't be set as a variable"));
            fault.help("use letters, digits and `_`, a letter or `_` first, and no NUL character in the value");
        } else if environment::is_dangerous(name) {
            let fault =
                findings.key(&path, FaultCode::DangerousVariable, format!("`{name}` would change which code the connector runs"));
            fault.help(
                "leave it out; if the server needs it, set it in a script that only you can change, and name that as `command`",
            );
        } else if environment::is_secret(name) {
            let message = format!("`{name}` looks like a secret, and this file is no place for one");
            let fault = findings.key(&path, FaultCode::InlineSecret, message);
            let inject = format!("inject = {{ env = \"{name}\" }}");
            fault.help(format!("put it into a file and write `credential = {{ provider = \"file\", path = \"…\", {inject} }}`"));
        }
    }
}

fn folder(cwd: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let folder = PathBuf::from(cwd);
    if !folder.is_absolute() || cwd.contains('\0') {
        let fault = findings.value(path, FaultCode::BadText, format!("`{cwd}` is not the absolute path of a folder"));
        fault.help("write the path from `/` on");
        return None;
    }
    Some(folder)
}

/// What a connector says of all that comes from it.
struct Comes<'c> {
    /// What its results are marked with, where a tool says nothing else.
    labels: Labels,
    /// What they are marked with in any case: what it holds.
    holds: Labels,
    resources: &'c [(Box<str>, Labels)],
}

/// The labels as written, or as they are without a word; beside what its connector holds, whatever is written.
fn labels(
    (written, otherwise): (Option<&[String]>, Labels),
    holds: Labels,
    path: &KeyPath,
    flow: &Flow<'_>,
    findings: &mut Findings<'_>,
) -> Labels {
    written.map_or(otherwise, |written| flow.labels(written, path, findings).join(holds))
}

/// Hosts of pages that agents may be sent to: in lower case, without port.
fn hosts(raw: &[String], path: &KeyPath, findings: &mut Findings<'_>) -> Vec<String> {
    for (index, host) in raw.iter().enumerate() {
        let is_host = url::Url::parse(&format!("https://{host}/"))
            .is_ok_and(|url| url.host_str() == Some(host.as_str()) && url.path() == "/");
        if !is_host {
            let fault = findings.value(&path.item(index), FaultCode::BadName, format!("`{host}` is no name of a host"));
            fault.help("write it in lower case, without scheme, port and path, as in `pay.example.com`");
        }
    }
    raw.to_vec()
}

fn features(
    raw: &BTreeMap<String, RawFeature>,
    from: &Comes<'_>,
    flow: &Flow<'_>,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) -> BTreeMap<Feature, ToolTerms> {
    let mut features = BTreeMap::new();
    for (name, raw) in raw {
        let path = path.key(name);
        let Ok(feature) = name.parse::<Feature>() else {
            let fault = findings.key(&path, FaultCode::BadName, format!("`{name}` is no feature of a connector"));
            fault.suggest(nearest(name, Feature::ALL.map(Feature::as_str)));
            fault.help("write `resource_read`, `prompt_get`, `complete`, `elicitation`, `sampling` or `roots`");
            continue;
        };
        let labels = labels((raw.labels.as_deref(), from.labels), from.holds, &path.key("labels"), flow, findings);
        let (undeclared, marks) = (Undeclared::Refuse, marks_of(feature, from.resources));
        let terms = ToolTerms { kind: raw.kind, band: raw.band, labels, marks, undeclared, cost: 1, destination: None };
        features.insert(feature, terms);
    }
    features
}

fn tools(
    raw: &BTreeMap<String, RawTool>,
    from: &Comes<'_>,
    flow: &Flow<'_>,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) -> BTreeMap<ToolName, ToolTerms> {
    let mut tools = BTreeMap::new();
    for (name, raw) in raw {
        let path = path.key(name);
        let name: ToolName = match name.parse() {
            Ok(name) => name,
            Err(fault) => {
                let message = fault.to_string();
                let (message, help) = split(&message);
                findings.key(&path, FaultCode::BadName, message).help(help);
                continue;
            }
        };
        let undeclared = if raw.undeclared == "allow" { Undeclared::Allow } else { Undeclared::Refuse };
        let labels = labels((raw.labels.as_deref(), from.labels), from.holds, &path.key("labels"), flow, findings);
        let fields = flow.fields(&raw.label_fields, &path.key("label_fields"), findings);
        let marks = Marks::of_tool(fields, from.resources.to_vec());
        let destination = raw.destination.as_ref().and_then(|given| flow.destination(given, &path.key("destination"), findings));
        let (kind, band, cost) = (raw.kind, raw.band, raw.cost);
        tools.insert(name, ToolTerms { kind, band, labels, marks, undeclared, cost, destination });
    }
    tools
}
