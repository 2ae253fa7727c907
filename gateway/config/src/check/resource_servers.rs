//! `[[resource_servers]]`

use super::duplicates;
use crate::{checked::ResourceServer, code::FaultCode, fault::Findings, raw::RawResourceServer, source::KeyPath};

pub(super) fn resource_servers(raw: &[RawResourceServer], path: &KeyPath, findings: &mut Findings<'_>) -> Vec<ResourceServer> {
    duplicates(raw.iter().map(|server| server.id.as_ref()), "resource server", path, findings);
    raw.iter().enumerate().filter_map(|(index, raw)| resource_server(raw, &path.item(index), findings)).collect()
}

fn resource_server(raw: &RawResourceServer, path: &KeyPath, findings: &mut Findings<'_>) -> Option<ResourceServer> {
    let id = raw.id.as_deref().filter(|id| {
        let is_name = is_name(id);
        if !is_name {
            let fault = findings.value(&path.key("id"), FaultCode::BadName, format!("`{id}` is not the id of a resource server"));
            fault.help("use 1 to 64 of `a` to `z`, `0` to `9`, `-`, `_` and `.`");
        }
        is_name
    });
    let secret_sha256 = raw.secret_sha256.as_deref().and_then(|given| {
        let digest = from_hex(given);
        if digest.is_none() {
            // What was written may be the secret itself: it is not said again.
            let message = "`secret_sha256` is no SHA-256 in hex";
            let fault = findings.value(&path.key("secret_sha256"), FaultCode::BadText, message);
            fault.help("write the 64 hex digits that `printf %s \"$SECRET\" | sha256sum` prints");
        }
        digest
    });
    Some(ResourceServer { id: id?.to_owned(), secret_sha256: secret_sha256? })
}

fn is_name(id: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&id.len()) && id.bytes().all(is_fit)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| (high << 4) | low).collect();
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}
