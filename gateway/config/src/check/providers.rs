//! `[[providers]]`, and what of them a connector is lent.

mod exec;
mod mcp;
mod svid_file;

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{Setting, sections::is_loopback};
use crate::{
    code::FaultCode,
    fault::Findings,
    provider::{ByAccess, Lending, OpenBao, ProviderKind, ProviderSpec},
    raw::{RawCredential, RawOpenBao, RawProvider},
    source::KeyPath,
};

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
    let at = |key: &str| path.key(key);
    let kind = match raw {
        RawProvider { openbao: Some(raw), .. } => openbao(raw, &at("openbao"), setting, findings).map(ProviderKind::OpenBao),
        RawProvider { exec: Some(raw), .. } => exec::exec(raw, &at("exec"), findings).map(ProviderKind::Exec),
        RawProvider { svid_file: Some(raw), .. } => {
            svid_file::svid_file(raw, &at("svid_file"), setting, findings).map(ProviderKind::SvidFile)
        }
        RawProvider { mcp: Some(raw), .. } => Some(ProviderKind::Mcp(mcp::mcp(raw, &at("mcp"), setting, findings))),
        _ => None,
    };
    Some(ProviderSpec { id, kind: kind? })
}

fn openbao(raw: &RawOpenBao, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<OpenBao> {
    let url = issuer_url(raw.url.as_deref(), &path.key("url"), findings);
    let token_file = file(raw.token_file.as_deref(), &path.key("token_file"), setting, findings);
    let roots = raw.roots.as_deref().and_then(|given| file(Some(given), &path.key("roots"), setting, findings));
    if let Some(namespace) = &raw.namespace {
        plain(namespace, &path.key("namespace"), findings);
    }
    Some(OpenBao { url: url?, roots, namespace: raw.namespace.clone(), token_file: token_file? })
}

/// What of an issuer's a connector is lent: that the provider takes these keys, and has those that it needs.
pub(super) fn lending(
    raw: &RawCredential,
    provider: &str,
    providers: &[RawProvider],
    path: &KeyPath,
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
        RawProvider { openbao: Some(_), .. } => (&["role", "read_role", "ttl"], &["role"]),
        RawProvider { exec: Some(_), .. } => (&["role", "read_role", "audience", "ttl"], &[]),
        RawProvider { svid_file: Some(_), .. } => (&["audience", "ttl"], &["audience"]),
        RawProvider { mcp: Some(_), .. } => (&["scopes", "read_scopes", "ttl"], &[]),
        _ => return None,
    };
    let given = [
        ("path", raw.path.is_some()),
        ("name", raw.name.is_some()),
        ("role", raw.role.is_some()),
        ("read_role", raw.read_role.is_some()),
        ("audience", raw.audience.is_some()),
        ("scopes", raw.scopes.is_some()),
        ("read_scopes", raw.read_scopes.is_some()),
        ("ttl", raw.ttl.is_some()),
    ];
    for (key, _) in given.iter().filter(|(key, is_set)| *is_set && !takes.contains(key)) {
        let message = format!("`{key}` means nothing to the provider `{provider}`");
        let takes = takes.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        findings.key(&path.key(key), FaultCode::Conflict, message).help(format!("leave it out; `{provider}` takes {takes}"));
    }
    for (key, _) in given.iter().filter(|(key, is_set)| !*is_set && needs.contains(key)) {
        if !findings.has_any_in(&path.key(key)) {
            let message = format!("`{key}` is missing: the provider `{provider}` needs it");
            findings.key(&path.key(key), FaultCode::MissingKey, message).help(format!("add `{key} = \"…\"`"));
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
    for (key, given) in [("scopes", &raw.scopes), ("read_scopes", &raw.read_scopes)] {
        scopes(given.as_deref(), &path.key(key), findings);
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
    let role = raw.role.clone().map(|all| ByAccess { all, read: raw.read_role.clone() });
    let scopes = raw.scopes.clone().map(|all| ByAccess { all, read: raw.read_scopes.clone() });
    Some(Lending { provider: provider.to_owned(), role, audience: raw.audience.clone(), scopes, ttl })
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

/// Scopes as OAuth writes them (RFC 6749, section 3.3).
fn scopes(given: Option<&[String]>, path: &KeyPath, findings: &mut Findings<'_>) {
    let Some(given) = given else { return };
    if given.is_empty() {
        findings.value(path, FaultCode::EmptyList, "it has no scope").help("name those that are lent, or leave it out");
    }
    for (index, scope) in given.iter().enumerate() {
        let is_scope = scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if scope.is_empty() || !is_scope {
            let message = format!("`{}` is no scope", scope.escape_debug());
            findings.value(&path.item(index), FaultCode::BadText, message).help("write one in each text, without blanks");
        }
    }
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
