//! A security token service of AWS.

use std::time::Duration;

use super::{file, issuer_url, plain};
use crate::{
    check::Setting,
    code::FaultCode,
    fault::Findings,
    provider::Aws,
    raw::{RawAws, RawCredential},
    source::KeyPath,
};

/// The shortest and the longest session that a role can have.
const LIFE: (Duration, Duration) = (Duration::from_mins(15), Duration::from_hours(12));

pub(super) fn aws(raw: &RawAws, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Aws> {
    let region = raw.region.clone().filter(|region| {
        let is_region = region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let is_region = is_region && !region.is_empty() && region.len() <= 32;
        if !is_region {
            let message = format!("`{}` is no region", region.escape_debug());
            findings.value(&path.key("region"), FaultCode::BadName, message).help("write it as in `eu-central-1`");
        }
        is_region
    });
    let usual = region.as_ref().map(|region| {
        // The partition of China has names of its own.
        let more = if region.starts_with("cn-") { ".cn" } else { "" };
        format!("https://sts.{region}.amazonaws.com{more}")
    });
    let endpoint = issuer_url(raw.endpoint.as_deref().or(usual.as_deref()), &path.key("endpoint"), findings);
    let mut of = |key: &str, given: &Option<String>| {
        given.as_deref().and_then(|given| file(Some(given), &path.key(key), setting, findings))
    };
    let secret_file = of("secret_access_key_file", &raw.secret_access_key_file);
    let session_token_file = of("session_token_file", &raw.session_token_file);
    let roots = of("roots", &raw.roots);
    if let Some(id) = &raw.access_key_id {
        plain(id, &path.key("access_key_id"), findings);
    }
    let max_ttl = raw.max_ttl.map(Duration::from);
    if max_ttl.is_some_and(|ttl| ttl < LIFE.0 || ttl > LIFE.1) {
        let message = "a session of a role lives between 15 minutes and 12 hours";
        findings.value(&path.key("max_ttl"), FaultCode::OutOfRange, message).help("write `15m` to `12h`");
    }
    Some(Aws {
        region: region?,
        endpoint: endpoint?,
        access_key_id: raw.access_key_id.clone()?,
        secret_file: secret_file?,
        session_token_file,
        tags: raw.session_tags,
        max_ttl,
        roots,
    })
}

/// What a connector is lent of it: roles by their ARN, as a session is known by that of its role.
pub(super) fn lent(raw: &RawCredential, path: &KeyPath, findings: &mut Findings<'_>) {
    for (key, role) in [("role", &raw.role), ("read_role", &raw.read_role)] {
        let Some(role) = role else { continue };
        if !is_role(role) && !findings.has_any_in(&path.key(key)) {
            let fault = findings.value(&path.key(key), FaultCode::BadText, format!("`{role}` is no ARN of a role"));
            fault.help("write it as in `arn:aws:iam::123456789012:role/tickets`");
        }
    }
}

fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let [arn, partition, service, region, account, role] = parts.as_slice() else { return false };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_named = role.strip_prefix("role/").is_some_and(|path| path.split('/').all(|part| !part.is_empty()));
    *arn == "arn" && partition.starts_with("aws") && *service == "iam" && region.is_empty() && is_account && is_named
}
