use url::Url;

use super::{super::Setting, file, issuer_url, plain};
use crate::{
    code::FaultCode,
    fault::Findings,
    provider::Mcp,
    raw::{RawConnector, RawCredential, RawMcp, RawProvider},
    source::KeyPath,
};

pub(super) fn mcp(raw: &RawMcp, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Mcp {
    if raw.issuers.as_ref().is_some_and(Vec::is_empty) {
        let fault = findings.value(&path.key("issuers"), FaultCode::EmptyList, "`issuers` is an empty list");
        fault.help("name those whose tokens are used, or leave it out");
    }
    let issuers = raw.issuers.clone().unwrap_or_default();
    for (index, issuer) in issuers.iter().enumerate() {
        issuer_url(Some(issuer), &path.key("issuers").item(index), findings);
    }
    if let Some(id) = &raw.client_id {
        plain(id, &path.key("client_id"), findings);
        if issuers.len() != 1 {
            let message = "`client_id` is the gateway's id at one issuer, and `issuers` does not name that one";
            findings.value(&path.key("client_id"), FaultCode::Conflict, message).help("write `issuers = [\"…\"]` with it alone");
        }
    }
    if raw.client_id.is_none() && raw.client_secret_file.is_some() {
        let fault = findings.key(&path.key("client_secret_file"), FaultCode::Conflict, "a secret without `client_id`");
        fault.help("add the `client_id` that it goes with");
    }
    let is_known = raw.client_id.is_some() || raw.client_metadata_url.is_some() || raw.register;
    if !is_known && !findings.has_any_in(path) {
        let message = "nothing says how the gateway is known at the issuer";
        findings.key(path, FaultCode::MissingKey, message).help("add `client_id`, `client_metadata_url` or `register = true`");
    }
    let of_file = |given: &Option<String>, key: &str, findings: &mut Findings<'_>| {
        given.as_deref().and_then(|given| file(Some(given), &path.key(key), setting, findings))
    };
    Mcp {
        client_id: raw.client_id.clone(),
        client_secret_file: of_file(&raw.client_secret_file, "client_secret_file", findings),
        client_metadata_url: metadata_url(raw.client_metadata_url.as_deref(), &path.key("client_metadata_url"), findings),
        register: raw.register,
        roots: of_file(&raw.roots, "roots", findings),
        revocable: raw.revocable,
        issuers,
    }
}

/// An id that is an address has `https` and a path (draft-ietf-oauth-client-id-metadata-document, section 3).
fn metadata_url(given: Option<&str>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let url = issuer_url(Some(given?), path, findings)?;
    if url.scheme() == "https" && url.path().len() > 1 {
        return Some(url);
    }
    let fault = findings.value(path, FaultCode::BadUrl, format!("`{url}` can't be the id of a client"));
    fault.help("write it with `https` and a path");
    None
}

/// Only a server over HTTP has an address to consent to.
pub(in crate::check) fn fits(
    raw: &RawCredential,
    connector: &RawConnector,
    issuers: &[RawProvider],
    path: &KeyPath,
    findings: &mut Findings<'_>,
) {
    let is_mcp = issuers.iter().any(|issuer| issuer.mcp.is_some() && issuer.id == raw.provider);
    if is_mcp && connector.command.is_some() {
        let message = "an owner consents to a server over HTTP, and this connector has `command`";
        findings.value(&path.key("provider"), FaultCode::Conflict, message).help("name another provider");
    }
}
