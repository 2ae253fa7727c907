//! That what is put into a connector's templates is what its provider gives, and a secret among it.

use std::collections::BTreeMap;

use bailiwick_pipeline::ports::{Injection, Template};

use crate::{
    code::FaultCode,
    fault::Findings,
    raw::{RawCredential, RawInject, RawProvider},
    source::KeyPath,
};

/// The parts of what a provider gives.
struct Parts {
    secret: &'static [&'static str],
    plain: &'static [&'static str],
    /// Whether it may give further ones, each of them a secret.
    is_open: bool,
}

/// What all of these give that give a token, or a text that is kept.
const ONE: Parts = Parts { secret: &["secret"], plain: &[], is_open: false };

/// The parts that this provider gives; none where there is no such provider.
fn parts_of(provider: &str, issuers: &[RawProvider]) -> Option<Parts> {
    if super::providers::BUILT_IN.contains(&provider) {
        return Some(ONE);
    }
    Some(match issuers.iter().find(|of| of.id.as_deref() == Some(provider))? {
        RawProvider { openbao: Some(_), .. } => {
            Parts { secret: &[], plain: &["username", "host", "port", "database"], is_open: true }
        }
        RawProvider { postgres: Some(_), .. } => {
            Parts { secret: &["password", "dsn"], plain: &["username", "host", "port", "database"], is_open: false }
        }
        RawProvider { aws: Some(_), .. } => {
            Parts { secret: &["secret_access_key", "session_token"], plain: &["access_key_id"], is_open: false }
        }
        RawProvider { exec: Some(_), .. } => Parts { secret: &["secret", "key"], plain: &["certificate"], is_open: false },
        _ => ONE,
    })
}

/// What is right by itself is held against what is given.
pub(super) fn check(
    raw: &RawCredential,
    injection: &Injection,
    issuers: &[RawProvider],
    path: &KeyPath,
    findings: &mut Findings<'_>,
) {
    let (Some(provider), Some(inject)) = (raw.provider.as_deref(), &raw.inject) else { return };
    let Some(parts) = parts_of(provider, issuers).filter(|_| !findings.has_any_in(path)) else { return };
    let here = path.key("inject");
    let is_secret = |name: &str| parts.secret.contains(&name) || (parts.is_open && !parts.plain.contains(&name));
    let words = parts.secret.iter().chain(parts.plain).map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ");
    let (mut has_secret, mut is_right) = (false, true);
    for (at, template) in places(injection, inject, &here) {
        for name in template.parts() {
            has_secret |= is_secret(name);
            if !is_secret(name) && !parts.plain.contains(&name) {
                is_right = false;
                let message = format!("what `{provider}` gives has no part `{name}`");
                findings
                    .value(&at, FaultCode::BadText, message)
                    .help(format!("write `variables`, `files` or `value` with {words}"));
            }
        }
    }
    if is_right && !has_secret {
        let secret = if parts.is_open { "`{password}`, or how it is called there".to_owned() } else { words };
        let message = format!("no secret of what `{provider}` gives has a place here: the connector would get none");
        findings.value(&here, FaultCode::BadText, message).help(format!("put one of these somewhere: {secret}"));
    }
}

/// Each template, and where it is written.
fn places<'i>(injection: &'i Injection, raw: &RawInject, here: &KeyPath) -> Vec<(KeyPath, &'i Template)> {
    let of = |name: &str, key: &str, texts: &BTreeMap<String, String>| {
        if texts.contains_key(name) { here.key(key).key(name) } else { here.key("env") }
    };
    match injection {
        Injection::Child { env, files } => {
            let env = env.iter().map(|(name, template)| (of(name, "variables", &raw.variables), template));
            env.chain(files.iter().map(|(name, template)| (of(name, "files", &raw.files), template))).collect()
        }
        Injection::Header { text, .. } => {
            vec![(here.key(if raw.value.is_some() { "value" } else { "header" }), text)]
        }
    }
}
