//! A GitHub App, and what of it a connector is lent.

use std::collections::BTreeMap;

use super::{file, issuer_url, plain};
use crate::{
    check::Setting,
    code::FaultCode,
    fault::Findings,
    provider::{GitHub, PermissionLevel},
    raw::RawGitHub,
    source::KeyPath,
};

/// Where GitHub itself is.
const API: &str = "https://api.github.com";

/// So many repositories a token can be for.
const REPOSITORIES: usize = 500;

pub(super) fn github(raw: &RawGitHub, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<GitHub> {
    let api = issuer_url(Some(raw.api_url.as_deref().unwrap_or(API)), &path.key("api_url"), findings);
    let key_file = file(raw.key_file.as_deref(), &path.key("key_file"), setting, findings);
    let roots = raw.roots.as_deref().and_then(|given| file(Some(given), &path.key("roots"), setting, findings));
    if let Some(app) = &raw.app {
        plain(app, &path.key("app"), findings);
    }
    if raw.installation == Some(0) {
        let message = "`installation` can't be 0";
        findings
            .value(&path.key("installation"), FaultCode::OutOfRange, message)
            .help("write the number from its page's address");
    }
    Some(GitHub { app: raw.app.clone()?, installation: raw.installation?, key_file: key_file?, api: api?, roots })
}

/// Repositories by their names alone: an installation has one owner.
pub(super) fn repositories(given: &[String], path: &KeyPath, findings: &mut Findings<'_>) {
    if given.is_empty() || given.len() > REPOSITORIES {
        let message = format!("`repositories` has to name 1 to {REPOSITORIES}");
        findings.value(path, FaultCode::EmptyList, message).help("name those that the connector works on");
    }
    for (index, name) in given.iter().enumerate() {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if name.is_empty() || name.len() > 100 || !is_name {
            let message = format!("`{}` is no name of a repository", name.escape_debug());
            findings.value(&path.item(index), FaultCode::BadName, message).help("write it without its owner, as in `support`");
        }
    }
}

/// Permissions, each with what it goes up to.
pub(super) fn permissions(
    given: &BTreeMap<String, String>,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, PermissionLevel> {
    let mut found = BTreeMap::new();
    for (name, level) in given {
        let here = path.key(name);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            let message = format!("`{}` is no permission of a GitHub App", name.escape_debug());
            findings.key(&here, FaultCode::BadName, message).help("write it as the API does, as in `pull_requests`");
        }
        let level = match level.as_str() {
            "read" => PermissionLevel::Read,
            "write" => PermissionLevel::Write,
            "admin" => PermissionLevel::Admin,
            other => {
                super::word(other, &["read", "write", "admin"], &here, findings);
                continue;
            }
        };
        found.insert(name.clone(), level);
    }
    found
}
