//! What connectors are lent, and how they get it.

use std::{collections::BTreeMap, path::PathBuf};

use bailiwick_pipeline::ports::{Injection, Template};

use super::{Setting, environment, parts, providers};
use crate::{
    code::FaultCode,
    connector::{Credential, SecretSource},
    fault::Findings,
    raw::{RawConnector, RawCredential, RawInject, RawProvider},
    source::KeyPath,
};

pub(super) fn credential(
    raw: &RawCredential,
    (connector, issuers): (&RawConnector, &[RawProvider]),
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<Credential> {
    let here = path.key("credential");
    if connector.shared {
        let message = "a shared connector can't have a credential: it would serve one grant with another's secret";
        let fault = findings.beside(&here, FaultCode::SharedCredential, message, (&path.key("shared"), "shared"));
        fault.help("leave out `shared`, so that each grant gets a process, or a session, of its own, or leave out `credential`");
    }
    let provider = raw.provider.as_deref()?;
    let source = if providers::BUILT_IN.contains(&provider) {
        secret_source(raw, provider, &here, setting, findings)
    } else {
        providers::lending(raw, (provider, issuers), &here, setting, findings)
            .map(|lending| SecretSource::Issuer(Box::new(lending)))
    };
    providers::fits(raw, connector, issuers, &here, findings);
    let injection = injection(raw.inject.as_ref()?, connector, path, findings);
    if let Some(injection) = &injection {
        parts::check(raw, injection, issuers, &here, findings);
        providers::is_bound(raw, (connector, issuers), injection, path, findings);
    }
    Some(Credential { source: source?, injection: injection? })
}

/// How the connector gets its secret: a child process in its environment or in files in memory, a server over HTTP in a header.
fn injection(raw: &RawInject, connector: &RawConnector, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Injection> {
    let here = path.key("credential").key("inject");
    let of_child = [("env", raw.env.is_some()), ("variables", !raw.variables.is_empty()), ("files", !raw.files.is_empty())];
    let of_http = [("header", raw.header.is_some()), ("prefix", raw.prefix.is_some()), ("value", raw.value.is_some())];
    let (wanted, foreign, chosen) = match connector.url {
        Some(_) => ("header", of_child, "url"),
        None => ("env", of_http, "command"),
    };
    let mut is_wrong = false;
    for (key, _) in foreign.iter().filter(|(_, is_set)| *is_set) {
        let message = format!("`{key}` means nothing to a connector with `{chosen}`");
        findings.key(&here.key(key), FaultCode::Conflict, message).help(format!("write `inject = {{ {wanted} = \"…\" }}`"));
        is_wrong = true;
    }
    if wanted == "env" && of_child.iter().any(|(_, is_set)| *is_set) {
        return Some(into_child(raw, connector, path, findings));
    }
    if let (true, Some(name)) = (wanted == "header", &raw.header) {
        return Some(into_header(name, raw, &here, findings));
    }
    if !is_wrong && !findings.has_any_in(&here) {
        let message = format!("`{wanted}` is missing: nothing says how the connector gets its secret");
        findings.key(&here, FaultCode::MissingKey, message).help(format!("write `inject = {{ {wanted} = \"…\" }}`"));
    }
    None
}

fn into_child(raw: &RawInject, connector: &RawConnector, path: &KeyPath, findings: &mut Findings<'_>) -> Injection {
    let here = path.key("credential").key("inject");
    let one = raw.env.iter().map(|name| (name.clone(), Template::secret(), here.key("env")));
    let many = |key: &str, texts: &BTreeMap<String, String>, findings: &mut Findings<'_>| -> Vec<_> {
        let read = texts.iter().filter_map(|(name, text)| {
            let at = here.key(key).key(name);
            Some((name.clone(), template(text, &at, findings)?, at))
        });
        read.collect()
    };
    let env: Vec<_> = one.chain(many("variables", &raw.variables, findings)).collect();
    let files = many("files", &raw.files, findings);
    let mut taken = BTreeMap::new();
    for (name, _, at) in env.iter().chain(&files) {
        if let Some(there) = taken.insert(name.clone(), at.clone()) {
            let message = format!("`{name}` is set twice");
            findings.beside(at, FaultCode::Conflict, message, (&there, "and here")).help("set it once");
        }
        variable(name, connector, (path, at), findings);
    }
    let plain = |of: Vec<(String, Template, KeyPath)>| of.into_iter().map(|(name, text, _)| (name, text)).collect();
    Injection::Child { env: plain(env), files: plain(files) }
}

fn into_header(name: &str, raw: &RawInject, here: &KeyPath, findings: &mut Findings<'_>) -> Injection {
    let injection = super::http::header(name, raw.prefix.as_deref(), here, findings);
    let Some(value) = &raw.value else { return injection };
    if raw.prefix.is_some() {
        let message = "`value` says all that stands in the header, and `prefix` a part of it";
        findings
            .beside(&here.key("value"), FaultCode::Conflict, message, (&here.key("prefix"), "and here"))
            .help("leave out `prefix`");
    }
    match (injection, template(value, &here.key("value"), findings)) {
        (Injection::Header { name, .. }, Some(text)) => Injection::Header { name, text },
        (injection, _) => injection,
    }
}

fn template(text: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(fault) => {
            let help = "write it as in `postgresql://{username}:{password}@localhost/app`";
            findings.value(path, FaultCode::BadText, fault.to_string()).help(help);
            None
        }
    }
}

fn variable(name: &str, connector: &RawConnector, (path, here): (&KeyPath, &KeyPath), findings: &mut Findings<'_>) {
    if !environment::is_name(name) {
        let fault = findings.value(here, FaultCode::BadName, format!("`{name}` is no name of a variable"));
        fault.help("use letters, digits and `_`, a letter or `_` first");
    } else if environment::is_dangerous(name) {
        let message = format!("`{name}` would change which code the connector runs");
        let fault = findings.value(here, FaultCode::DangerousVariable, message);
        fault.help("name the variable that the server reads its secret from");
    } else if connector.env.contains_key(name) {
        let message = format!("`{name}` is set by `credential` and by `env`");
        let fault = findings.beside(here, FaultCode::Conflict, message, (&path.key("env").key(name), "and here"));
        fault.help("leave it out of `env`");
    }
}

fn secret_source(
    raw: &RawCredential,
    provider: &str,
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<SecretSource> {
    let (wanted, given, other) = match provider {
        "file" => ("path", raw.path.as_deref(), ("name", raw.name.is_some())),
        _ => ("name", raw.name.as_deref(), ("path", raw.path.is_some())),
    };
    let of_issuers = providers::given(raw).into_iter().filter(|(key, _)| !["path", "name"].contains(key));
    for (other, _) in of_issuers.chain([other]).filter(|(_, is_set)| *is_set) {
        let message = format!("`{other}` means nothing to the provider `{provider}`");
        findings.key(&path.key(other), FaultCode::Conflict, message).help(format!("leave it out; `{provider}` takes `{wanted}`"));
    }
    let key = path.key(wanted);
    let Some(given) = given else {
        if findings.has_any_in(&key) {
            return None;
        }
        let message = format!("`{wanted}` is missing: the provider `{provider}` needs it");
        findings.key(&key, FaultCode::MissingKey, message).help(format!("add `{wanted} = \"…\"`"));
        return None;
    };
    if provider == "env" {
        if !environment::is_name(given) {
            let fault = findings.value(&key, FaultCode::BadName, format!("`{given}` is no name of a variable"));
            fault.help("use letters, digits and `_`, a letter or `_` first");
        }
        return Some(SecretSource::Variable(given.to_owned()));
    }
    if given.trim().is_empty() || given.contains('\0') {
        findings
            .value(&key, FaultCode::BadText, format!("`{given}` is no path of a file"))
            .help("write the path of the file with the secret");
    }
    let Some(inside) = given.strip_prefix("@data/") else {
        return Some(SecretSource::File(setting.resolve(given)));
    };
    if matches!(setting, Setting::File { .. }) {
        let message = "`@data` stands for the data folder only in the gateway's own configuration";
        findings.value(&key, FaultCode::EmbeddedOnly, message).help("write the path of the file");
    }
    Some(SecretSource::Data(PathBuf::from(inside)))
}
