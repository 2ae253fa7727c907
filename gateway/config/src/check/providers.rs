//! `[[providers]]`, and what of them a connector is lent.

mod aws;
mod bound;
mod exec;
mod github;
mod lent;
mod mcp;
mod oauth;
mod openbao;
mod postgres;
mod svid_file;

use std::{path::PathBuf, time::Duration};

pub(super) use lent::given;

use url::Url;

use super::{Setting, sections::is_loopback};
use crate::{
    code::FaultCode,
    fault::Findings,
    provider::{ByAccess, Lending, ProviderKind, ProviderSpec},
    raw::{RawCredential, RawProvider},
    source::KeyPath,
};

pub(super) use bound::check as is_bound;
pub(super) use mcp::fits;

/// The providers that need no entry.
pub(super) const BUILT_IN: [&str; 2] = ["file", "env"];

/// The shortest time for which something may be lent.
const SHORTEST: Duration = Duration::from_secs(10);

pub(super) fn providers(
    raw: &[RawProvider],
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Vec<ProviderSpec> {
    let mut found: Vec<ProviderSpec> = Vec::new();
    for (index, written) in raw.iter().enumerate() {
        let here = path.item(index);
        let Some(provider) = provider(written, &here, setting, findings) else { continue };
        if found.iter().any(|other| other.id == provider.id) {
            let message = format!("the provider `{}` is named twice", provider.id);
            findings.value(&here.key("id"), FaultCode::Duplicate, message).help("give each provider an id of its own");
        }
        found.push(provider);
    }
    found
}

fn provider(raw: &RawProvider, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<ProviderSpec> {
    let id = raw.id.clone()?;
    let is_id = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if id.is_empty() || id.len() > 64 || !is_id {
        let fault = findings.value(&path.key("id"), FaultCode::BadName, format!("`{id}` is not a valid provider id"));
        fault.help("use 1 to 64 of `a` to `z`, `0` to `9`, `-`, `_` and `.`");
    } else if BUILT_IN.contains(&id.as_str()) {
        let message = format!("`{id}` is a provider that needs no entry");
        findings.value(&path.key("id"), FaultCode::Duplicate, message).help("give yours another id");
    }
    // One line for each kind: which key says it, and what it becomes.
    let kinds = [
        (raw.openbao.is_some(), "openbao"),
        (raw.postgres.is_some(), "postgres"),
        (raw.oauth.is_some(), "oauth"),
        (raw.github.is_some(), "github"),
        (raw.aws.is_some(), "aws"),
        (raw.exec.is_some(), "exec"),
        (raw.svid_file.is_some(), "svid_file"),
        (raw.mcp.is_some(), "mcp"),
    ];
    let chosen: Vec<&str> = kinds.iter().filter(|(is_set, _)| *is_set).map(|(_, key)| *key).collect();
    let words = kinds.map(|(_, key)| format!("`{key}`")).join(", ");
    if let [_, second, ..] = chosen.as_slice() {
        let message = format!("the provider `{id}` is of two kinds");
        findings.key(&path.key(second), FaultCode::Conflict, message).help("write an entry for each");
        return None;
    }
    if chosen.is_empty() && !findings.has_any_in(path) {
        let message = format!("the provider `{id}` is of no kind");
        findings.key(path, FaultCode::MissingKey, message).help(format!("say what it is: one of {words}"));
    }
    let kind = match raw {
        RawProvider { openbao: Some(raw), .. } => {
            openbao::checked(raw, &path.key("openbao"), setting, findings).map(ProviderKind::OpenBao)
        }
        RawProvider { postgres: Some(raw), .. } => {
            postgres::checked(raw, &path.key("postgres"), setting, findings).map(ProviderKind::Postgres)
        }
        RawProvider { oauth: Some(raw), .. } => oauth::oauth(raw, &path.key("oauth"), setting, findings).map(ProviderKind::OAuth),
        RawProvider { github: Some(raw), .. } => {
            github::github(raw, &path.key("github"), setting, findings).map(ProviderKind::GitHub)
        }
        RawProvider { aws: Some(raw), .. } => aws::aws(raw, &path.key("aws"), setting, findings).map(ProviderKind::Aws),
        RawProvider { exec: Some(raw), .. } => exec::exec(raw, &path.key("exec"), findings).map(ProviderKind::Exec),
        RawProvider { svid_file: Some(raw), .. } => {
            svid_file::svid_file(raw, &path.key("svid_file"), setting, findings).map(ProviderKind::SvidFile)
        }
        RawProvider { mcp: Some(raw), .. } => Some(ProviderKind::Mcp(mcp::mcp(raw, &path.key("mcp"), setting, findings))),
        _ => None,
    };
    Some(ProviderSpec { id, kind: kind? })
}

/// What of an issuer's a connector is lent: that the provider takes these keys, and has those that it needs.
pub(super) fn lending(
    raw: &RawCredential,
    (provider, providers): (&str, &[RawProvider]),
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<Lending> {
    let Some(of) = providers.iter().find(|of| of.id.as_deref() == Some(provider)) else {
        if !findings.has_any_in(&KeyPath::default().key("providers")) {
            let names = BUILT_IN.into_iter().chain(providers.iter().filter_map(|of| of.id.as_deref()));
            let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let fault =
                findings.value(&path.key("provider"), FaultCode::UnknownWord, format!("there is no provider `{provider}`"));
            fault.help(format!("add `[[providers]]` with `id = \"{provider}\"`, or name one of {names}"));
        }
        return None;
    };
    // One line for each kind: what it takes, and what it needs.
    let (takes, needs): (&[&str], &[&str]) = match of {
        RawProvider { openbao: Some(_), .. } => (&openbao::TAKES, &openbao::NEEDS),
        RawProvider { postgres: Some(_), .. } => (&["role", "read_role", "ttl"], &["role"]),
        RawProvider { oauth: Some(_), .. } => (&["scopes", "read_scopes", "audience", "resource", "bound"], &["scopes"]),
        RawProvider { github: Some(_), .. } => {
            (&["repositories", "permissions", "read_permissions"], &["repositories", "permissions"])
        }
        RawProvider { aws: Some(_), .. } => {
            (&["role", "read_role", "session_policy", "read_session_policy", "may_outlive", "ttl"], &["role"])
        }
        RawProvider { exec: Some(_), .. } => (&["role", "read_role", "audience", "ttl"], &[]),
        RawProvider { svid_file: Some(_), .. } => (&["audience", "ttl"], &["audience"]),
        RawProvider { mcp: Some(_), .. } => (&["scopes", "read_scopes", "ttl"], &[]),
        _ => return None,
    };
    let given = lent::given(raw);
    for (key, _) in given.iter().filter(|(key, is_set)| *is_set && !takes.contains(key)) {
        let message = format!("`{key}` means nothing to the provider `{provider}`");
        let takes = takes.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        findings.key(&path.key(key), FaultCode::Conflict, message).help(format!("leave it out; `{provider}` takes {takes}"));
    }
    for (key, _) in given.iter().filter(|(key, is_set)| !*is_set && needs.contains(key)) {
        if !findings.has_any_in(&path.key(key)) {
            let message = format!("`{key}` is missing: the provider `{provider}` needs it");
            let value = if key.ends_with("policies") { "[\"…\"]" } else { "\"…\"" };
            findings.key(&path.key(key), FaultCode::MissingKey, message).help(format!("add `{key} = {value}`"));
        }
    }
    let ttl = raw.ttl.map(Duration::from);
    if ttl.is_some_and(|ttl| ttl < SHORTEST) {
        let message = "`ttl` is too short: a credential that ends before it is used is of no use";
        findings.value(&path.key("ttl"), FaultCode::OutOfRange, message).help("write `10s` or more");
    }
    for (key, text) in [("role", &raw.role), ("read_role", &raw.read_role), ("audience", &raw.audience)] {
        if let Some(text) = text {
            plain(text, &path.key(key), findings);
        }
    }
    // What is narrower narrows something.
    for (narrow, wide, is_alone) in [
        ("read_role", "role", raw.read_role.is_some() && raw.role.is_none()),
        ("read_scopes", "scopes", raw.read_scopes.is_some() && raw.scopes.is_none()),
    ] {
        if is_alone && !findings.has_any_in(path) {
            let message = format!("`{narrow}` narrows `{wide}`, which is missing");
            findings.key(&path.key(narrow), FaultCode::MissingKey, message).help(format!("add `{wide}`"));
        }
    }
    if of.openbao.is_some() {
        openbao::lent(raw, provider, path, findings);
    }
    if of.aws.is_some() {
        aws::lent(raw, path, findings);
    }
    let role = raw.role.clone().map(|all| ByAccess { all, read: raw.read_role.clone() });
    let policies = ByAccess { all: raw.token_policies.clone().unwrap_or_default(), read: raw.read_token_policies.clone() };
    let lending = Lending { provider: provider.to_owned(), role, path: raw.path.clone(), policies, ttl, ..Lending::default() };
    lent::more(raw, lending, path, setting, findings)
}

/// The URL of an issuer: secrets come from it, so they travel over TLS, but on this machine.
fn issuer_url(given: Option<&str>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let given = given?;
    let url = Url::parse(given).ok().filter(|url| {
        let is_whole = url.host_str().is_some() && url.username().is_empty() && url.password().is_none();
        is_whole && url.query().is_none() && url.fragment().is_none()
    });
    let Some(url) = url else {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not the URL of an issuer"));
        fault.help("write it with scheme and host, and without user, query and fragment");
        return None;
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        let message = format!("`{given}` would hand out secrets in the clear");
        findings.value(path, FaultCode::PlainHttp, message).help("use `https`; `http` is for this machine only");
        return None;
    }
    Some(url)
}

fn file(given: Option<&str>, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let given = given?;
    if given.trim().is_empty() || given.contains('\0') {
        findings.value(path, FaultCode::BadText, format!("`{given}` is no path of a file")).help("write the path of the file");
        return None;
    }
    Some(setting.resolve(given))
}

fn plain(text: &str, path: &KeyPath, findings: &mut Findings<'_>) {
    if text.trim() != text || text.is_empty() || text.len() > 512 || text.chars().any(char::is_control) {
        let fault = findings.value(path, FaultCode::BadText, format!("`{}` is not a plain text", text.escape_debug()));
        fault.help("write 1 to 512 characters on one line, without blanks around them");
    }
}

/// One of these words.
fn word<'a, 'w>(given: &str, words: &'a [&'w str], path: &KeyPath, findings: &mut Findings<'_>) -> Option<&'a &'w str> {
    let found = words.iter().find(|word| **word == given);
    if found.is_none() {
        let message = format!("`{}` is not known here", given.escape_debug());
        let words = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        findings.value(path, FaultCode::UnknownWord, message).help(format!("write one of {words}"));
    }
    found
}

/// How long what a provider gives lives at most.
fn longest(given: Option<crate::units::Duration>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Duration> {
    let given = given.map(Duration::from);
    if given.is_some_and(|given| given < SHORTEST) {
        let message = "`max_ttl` is too short: a credential that ends before it is used is of no use";
        findings.value(path, FaultCode::OutOfRange, message).help("write `10s` or more");
    }
    given
}
