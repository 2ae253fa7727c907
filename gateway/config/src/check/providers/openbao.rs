//! `openbao` of `[[providers]]`, and what of it a connector is lent.

use super::{file, issuer_url, plain};
use crate::{
    check::Setting,
    code::FaultCode,
    fault::Findings,
    provider::{BaoLogin, OpenBao},
    raw::{RawCredential, RawOpenBao},
    source::KeyPath,
};

/// What a connector's `credential` may have.
pub(super) const TAKES: [&str; 6] = ["role", "read_role", "path", "token_policies", "read_token_policies", "ttl"];

/// What it must have.
pub(super) const NEEDS: [&str; 1] = ["token_policies"];

pub(super) fn checked(raw: &RawOpenBao, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<OpenBao> {
    let url = issuer_url(raw.url.as_deref(), &path.key("url"), findings);
    let roots = raw.roots.as_deref().and_then(|given| file(Some(given), &path.key("roots"), setting, findings));
    for (key, text) in [("namespace", &raw.namespace), ("token_role", &raw.token_role), ("auth_mount", &raw.auth_mount)] {
        if let Some(text) = text {
            plain(text, &path.key(key), findings);
            if text.contains("..") || text.starts_with('/') || text.ends_with('/') {
                let fault = findings.value(&path.key(key), FaultCode::BadText, format!("`{text}` is no name there"));
                fault.help("write it without a slash before or after it, and without `..`");
            }
        }
    }
    let login = login(raw, path, setting, findings);
    Some(OpenBao { url: url?, roots, namespace: raw.namespace.clone(), login: login?, token_role: raw.token_role.clone() })
}

/// One way to log in, with all that it needs, and nothing of another.
fn login(raw: &RawOpenBao, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<BaoLogin> {
    let ways =
        [("token_file", raw.token_file.is_some()), ("role_id", raw.role_id.is_some()), ("jwt_file", raw.jwt_file.is_some())];
    let mut chosen = ways.iter().filter(|(_, is_set)| *is_set).map(|(key, _)| *key);
    let Some(way) = chosen.next() else {
        if !findings.has_any_in(path) {
            let message = "nothing says how the gateway proves itself to it";
            findings.key(path, FaultCode::MissingKey, message).help("add one of `token_file`, `role_id` and `jwt_file`");
        }
        return None;
    };
    if let Some(other) = chosen.next() {
        let message = format!("`{way}` and `{other}` are two ways to log in");
        findings.key(&path.key(other), FaultCode::Conflict, message).help("leave one of them out");
        return None;
    }
    let beside = [
        ("secret_id_file", raw.secret_id_file.is_some(), &["role_id"][..]),
        ("auth_role", raw.auth_role.is_some(), &["jwt_file"]),
        ("auth_mount", raw.auth_mount.is_some(), &["role_id", "jwt_file"]),
    ];
    for (key, _, of) in beside.iter().filter(|(_, is_set, of)| *is_set && !of.contains(&way)) {
        let of = of.iter().map(|of| format!("`{of}`")).collect::<Vec<_>>().join(" or ");
        let message = format!("`{key}` means nothing beside `{way}`");
        findings.key(&path.key(key), FaultCode::Conflict, message).help(format!("leave it out; it belongs to {of}"));
    }
    for (key, is_set, of) in beside {
        if !is_set && key != "auth_mount" && of.contains(&way) && !findings.has_any_in(&path.key(key)) {
            let message = format!("`{key}` is missing: `{way}` needs it");
            findings.key(&path.key(key), FaultCode::MissingKey, message).help(format!("add `{key} = \"…\"`"));
        }
    }
    let mount = |usual: &str| raw.auth_mount.clone().unwrap_or_else(|| usual.to_owned());
    for (key, text) in [("role_id", &raw.role_id), ("auth_role", &raw.auth_role)] {
        if let Some(text) = text {
            plain(text, &path.key(key), findings);
        }
    }
    let mut file = |key: &str, given: &Option<String>| file(given.as_deref(), &path.key(key), setting, findings);
    match way {
        "token_file" => file("token_file", &raw.token_file).map(BaoLogin::Token),
        "role_id" => {
            let secret_id_file = file("secret_id_file", &raw.secret_id_file)?;
            Some(BaoLogin::AppRole { mount: mount("approle"), role_id: raw.role_id.clone()?, secret_id_file })
        }
        _ => Some(BaoLogin::Jwt { mount: mount("jwt"), file: file("jwt_file", &raw.jwt_file)?, role: raw.auth_role.clone()? }),
    }
}

/// What a connector is lent of it: what an engine makes, or a value that is kept.
pub(super) fn lent(raw: &RawCredential, provider: &str, path: &KeyPath, findings: &mut Findings<'_>) {
    if raw.role.is_some() && raw.path.is_some() {
        let message = "`role` is made for the task, and what is at `path` is kept";
        findings
            .beside(&path.key("path"), FaultCode::Conflict, message, (&path.key("role"), "and here"))
            .help("leave one of them out");
    } else if raw.role.is_none() && raw.path.is_none() && !findings.has_any_in(&path.key("role")) {
        let message = format!("`role` is missing: the provider `{provider}` needs it, or a `path`");
        findings.key(&path.key("role"), FaultCode::MissingKey, message).help("add `role = \"database/creds/…\"`");
    }
    for (key, text) in [("role", &raw.role), ("read_role", &raw.read_role), ("path", &raw.path)] {
        let Some(text) = text else { continue };
        plain(text, &path.key(key), findings);
        if text.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            let fault = findings.value(&path.key(key), FaultCode::BadText, format!("`{text}` is no path at an OpenBao"));
            fault.help("write it as in `database/creds/tickets-rw`, without a slash before it");
        }
    }
    for (key, policies) in [("token_policies", &raw.token_policies), ("read_token_policies", &raw.read_token_policies)] {
        let Some(policies) = policies else { continue };
        if policies.is_empty() {
            let message = format!("`{key}` is empty: a token without policies reads nothing");
            findings.value(&path.key(key), FaultCode::EmptyList, message).help("name the policy that lets it read what is lent");
        }
        for (index, policy) in policies.iter().enumerate() {
            plain(policy, &path.key(key).item(index), findings);
            if policy == "root" {
                let message = "a token with the policy `root` may do everything";
                findings
                    .value(&path.key(key).item(index), FaultCode::BadName, message)
                    .help("name a policy that reads what is lent, and nothing else");
            }
        }
    }
}
