//! What of an issuer's a connector is lent, beside a role.

use super::{file, github, plain};
use crate::{
    check::Setting,
    code::FaultCode,
    fault::Findings,
    provider::{ByAccess, Lending},
    raw::RawCredential,
    source::KeyPath,
};

/// The keys that say what is lent, and whether each is set.
pub(in crate::check) fn given(raw: &RawCredential) -> [(&'static str, bool); 18] {
    [
        ("path", raw.path.is_some()),
        ("name", raw.name.is_some()),
        ("role", raw.role.is_some()),
        ("read_role", raw.read_role.is_some()),
        ("ttl", raw.ttl.is_some()),
        ("token_policies", raw.token_policies.is_some()),
        ("read_token_policies", raw.read_token_policies.is_some()),
        ("scopes", raw.scopes.is_some()),
        ("read_scopes", raw.read_scopes.is_some()),
        ("audience", raw.audience.is_some()),
        ("resource", raw.resource.is_some()),
        ("repositories", raw.repositories.is_some()),
        ("permissions", raw.permissions.is_some()),
        ("read_permissions", raw.read_permissions.is_some()),
        ("session_policy", raw.session_policy.is_some()),
        ("read_session_policy", raw.read_session_policy.is_some()),
        ("bound", raw.bound.is_some()),
        ("may_outlive", raw.may_outlive.is_some()),
    ]
}

/// With what else is written.
pub(super) fn more(
    raw: &RawCredential,
    mut lending: Lending,
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<Lending> {
    for (key, scopes) in [("scopes", &raw.scopes), ("read_scopes", &raw.read_scopes)] {
        if let Some(given) = scopes {
            self::scopes(given, &path.key(key), findings);
        }
    }
    lending.scopes = raw.scopes.clone().map(|all| ByAccess { all, read: raw.read_scopes.clone() });
    if let Some(audience) = &raw.audience {
        plain(audience, &path.key("audience"), findings);
    }
    lending.audience.clone_from(&raw.audience);
    if let Some(given) = &raw.resource {
        // An absolute URI without a fragment (RFC 8707 section 2).
        let url = url::Url::parse(given).ok().filter(|url| url.fragment().is_none());
        if url.is_none() {
            let message = format!("`{}` is not the URL of a resource", given.escape_debug());
            findings.value(&path.key("resource"), FaultCode::BadUrl, message).help("write it with scheme and without fragment");
        }
        lending.resource = Some(url?);
    }
    if let Some(given) = &raw.repositories {
        github::repositories(given, &path.key("repositories"), findings);
        lending.repositories.clone_from(given);
    }
    let mut permissions = |key: &str, given: &Option<std::collections::BTreeMap<String, String>>| {
        given.as_ref().map(|given| {
            let here = path.key(key);
            if given.is_empty() {
                let message = format!("`{key}` is empty: the token could do nothing");
                findings.value(&here, FaultCode::EmptyList, message).help("name what the connector needs");
            }
            github::permissions(given, &here, findings)
        })
    };
    let (all, read) = (permissions("permissions", &raw.permissions), permissions("read_permissions", &raw.read_permissions));
    lending.permissions = all.map(|all| ByAccess { all, read });
    let mut policy = |key: &str, given: &Option<String>| {
        given.as_deref().and_then(|given| file(Some(given), &path.key(key), setting, findings))
    };
    lending.session_policy = policy("session_policy", &raw.session_policy);
    lending.read_session_policy = policy("read_session_policy", &raw.read_session_policy);
    lending.bound = raw.bound.as_deref().and_then(|given| super::bound::word(given, &path.key("bound"), findings));
    lending.may_outlive = raw.may_outlive.unwrap_or_default();
    Some(lending)
}

/// Scopes as RFC 6749 section 3.3 has them.
fn scopes(given: &[String], path: &KeyPath, findings: &mut Findings<'_>) {
    if given.is_empty() {
        let message = "no scope is named: a server would give what it likes";
        findings.value(path, FaultCode::EmptyList, message).help("name those that the connector needs");
    }
    for (index, scope) in given.iter().enumerate() {
        let is_scope = scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if scope.is_empty() || !is_scope {
            let message = format!("`{}` is no scope", scope.escape_debug());
            findings.value(&path.item(index), FaultCode::BadText, message).help("write each scope as a text of its own");
        }
    }
}
