//! `[server.tls]` and `[[trust_domains]]`

use std::{path::PathBuf, time::Duration};

use bailiwick_identity::{ClientAuth, TrustDomain};
use url::Url;

use super::{Setting, sections::is_loopback};
use crate::{
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawTls, RawTrustDomain},
    source::KeyPath,
    trust::{BundleSource, Tls, TrustedDomain},
};

/// The shortest time for which a bundle may count.
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) fn tls(raw: &Raw, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Tls> {
    let written = raw.server.tls.as_ref()?;
    let server = &raw.server;
    let taken = [("listen", server.listen), ("console", server.console)].into_iter().find(|(_, at)| *at == written.listen);
    if let Some((key, at)) = taken.filter(|(_, at)| at.port() != 0) {
        let message = format!("`{key}` and `tls.listen` are both `{at}`");
        findings.value(&path.key("listen"), FaultCode::Conflict, message).help("give each listener its own port");
    }
    let client_auth = if written.client_auth == "optional" { ClientAuth::Optional } else { ClientAuth::Required };
    let domains = KeyPath::default().key("trust_domains");
    let is_said = !findings.has_any_in(&domains) && !findings.has_any_in(&path.key("client_auth"));
    if client_auth == ClientAuth::Required && raw.trust_domains.is_empty() && is_said {
        let message = "agents must present certificates, and no trust domain speaks for any";
        let fault = findings.value(&path.key("client_auth"), FaultCode::UnknownTrustDomain, message);
        fault.help("add `[[trust_domains]]`, or set `client_auth = \"optional\"` for agents that bear tokens");
    }
    let RawTls { certificate, key, listen, .. } = written;
    let certificate = file(certificate.as_deref(), &path.key("certificate"), setting, findings);
    let key = file(key.as_deref(), &path.key("key"), setting, findings);
    Some(Tls { listen: *listen, certificate: certificate?, key: key?, client_auth })
}

pub(super) fn domains(
    raw: &[RawTrustDomain],
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Vec<TrustedDomain> {
    let mut found: Vec<TrustedDomain> = Vec::new();
    for (index, written) in raw.iter().enumerate() {
        let here = path.item(index);
        let Some(domain) = domain(written, &here, setting, findings) else { continue };
        if found.iter().any(|other| other.name == domain.name) {
            let message = format!("the trust domain `{}` is named twice", domain.name);
            findings.value(&here.key("name"), FaultCode::Duplicate, message).help("name it once, with one bundle");
        }
        found.push(domain);
    }
    found
}

fn domain(raw: &RawTrustDomain, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<TrustedDomain> {
    let name = raw.name.as_deref().and_then(|given| {
        let fault = match given.parse::<TrustDomain>() {
            Ok(name) => return Some(name),
            Err(fault) => fault,
        };
        let message = format!("`{given}` is no trust domain: {fault}");
        findings.value(&path.key("name"), FaultCode::BadName, message).help("write it without a scheme, such as `example.org`");
        None
    });
    let max_stale = Duration::from(raw.max_stale);
    if max_stale < SHORTEST {
        let message = format!("`{}` is out of range for `max_stale`", raw.max_stale);
        findings.value(&path.key("max_stale"), FaultCode::OutOfRange, message).help("write `1s` or more");
    }
    let bundle = bundle(raw, path, setting, findings);
    Some(TrustedDomain { name: name?, bundle: bundle?, max_stale })
}

fn bundle(raw: &RawTrustDomain, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<BundleSource> {
    let roots = raw.ca_file.as_deref();
    match (raw.bundle_file.as_deref(), raw.bundle_url.as_deref()) {
        (Some(given), None) => {
            if roots.is_some() {
                let fault =
                    findings.key(&path.key("ca_file"), FaultCode::Conflict, "`ca_file` means nothing to a bundle in a file");
                fault.help("leave it out: it says whom to trust for `bundle_url`");
            }
            file(Some(given), &path.key("bundle_file"), setting, findings).map(BundleSource::File)
        }
        (None, Some(given)) => {
            let roots = roots.map(|roots| file(Some(roots), &path.key("ca_file"), setting, findings));
            let url = endpoint(given, &path.key("bundle_url"), findings)?;
            Some(BundleSource::Endpoint { url, roots: roots.flatten() })
        }
        (Some(_), Some(_)) => {
            let message = "the bundle is in a file and at an endpoint";
            let fault = findings.key(&path.key("bundle_url"), FaultCode::Conflict, message);
            fault.help("keep one of `bundle_file` and `bundle_url`");
            None
        }
        (None, None) => {
            if !findings.has_any_in(path) {
                let fault = findings.key(path, FaultCode::MissingKey, "`bundle_file` or `bundle_url` is missing");
                fault.help("say where the bundle of the trust domain is: in a file, or at its bundle endpoint");
            }
            None
        }
    }
}

/// A bundle endpoint (SPIFFE Federation, section 5.2.1).
fn endpoint(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let url = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url.filter(|url| given.contains("://") && url.fragment().is_none()) else {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not the URL of a bundle endpoint"));
        fault.help("write it as `https://spire.example.org/bundle`");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let fault = findings.value(path, FaultCode::InlineSecret, "a URL is no place for a user or a password");
        fault.help("leave them out: whoever asks for a bundle says nothing of himself");
        return None;
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = format!("whoever is in between could put another bundle in the place of `{given}`");
        findings.value(path, FaultCode::PlainHttp, message).help("write an `https` URL");
    }
    Some(url)
}

fn file(given: Option<&str>, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let given = given?;
    if given.trim().is_empty() || given.contains('\0') {
        let fault = findings.value(path, FaultCode::BadText, format!("`{}` is no path of a file", given.escape_debug()));
        fault.help("write the path of a PEM file");
    }
    Some(setting.resolve(given))
}
