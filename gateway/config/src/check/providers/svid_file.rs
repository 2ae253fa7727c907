use super::{super::Setting, file};
use crate::{code::FaultCode, fault::Findings, provider::SvidFile, raw::RawSvidFile, source::KeyPath};

pub(super) fn svid_file(
    raw: &RawSvidFile,
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<SvidFile> {
    let found = file(raw.path.as_deref(), &path.key("path"), setting, findings);
    let domain = raw.trust_domain.as_deref()?;
    // SPIFFE-ID, section 2.1.
    let is_domain = domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if domain.is_empty() || domain.len() > 255 || !is_domain {
        let message = format!("`{domain}` is no trust domain");
        let fault = findings.value(&path.key("trust_domain"), FaultCode::BadName, message);
        fault.help("write it without `spiffe://`, as in `example.org`");
    }
    Some(SvidFile { path: found?, trust_domain: domain.to_owned() })
}
