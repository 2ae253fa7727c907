//! Tokens that are bound to a key, or to a certificate: that the connector can show what they are bound to.

use bailiwick_pipeline::ports::Injection;

use crate::{
    code::FaultCode,
    fault::Findings,
    provider::Bound,
    raw::{RawConnector, RawCredential, RawOAuth, RawProvider},
    source::KeyPath,
};

/// The scheme of a token that is bound to a key (RFC 9449, section 7.1).
const SCHEME: &str = "DPoP ";

pub(super) fn word(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Bound> {
    let word = super::word(given, &["dpop", "mtls"], path, findings)?;
    Some(if *word == "dpop" { Bound::Dpop } else { Bound::Mtls })
}

/// That what a token is bound to is shown beside it.
pub(in crate::check) fn check(
    raw: &RawCredential,
    (connector, issuers): (&RawConnector, &[RawProvider]),
    injection: &Injection,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) {
    let here = path.key("credential").key("bound");
    let issuer = issuers.iter().find(|issuer| issuer.id == raw.provider).and_then(|issuer| issuer.oauth.as_ref());
    // Elsewhere it means nothing, and that is said.
    let (Some(bound), Some(issuer)) = (raw.bound.as_deref(), issuer) else { return };
    if connector.command.is_some() {
        let message = "a child process is given a token and nothing that it is bound to: it could not use it";
        let fault = findings.beside(&here, FaultCode::Conflict, message, (&path.key("command"), "a child process"));
        fault.help("leave out `bound`, or reach the server by `url`");
        return;
    }
    if bound == "dpop" && *injection != Injection::header("authorization", SCHEME) {
        let message = "a token that is bound to a key goes into the header `Authorization`, behind `DPoP `";
        let fault = findings.key(&path.key("credential").key("inject"), FaultCode::Conflict, message);
        fault.help("write `inject = { header = \"Authorization\", prefix = \"DPoP \" }`");
    }
    if bound == "mtls" {
        by_certificate(issuer, connector, path, findings);
    }
}

/// The issuer binds a token to the certificate that it was asked with: the connector presents that one.
fn by_certificate(issuer: &RawOAuth, connector: &RawConnector, path: &KeyPath, findings: &mut Findings<'_>) {
    let here = path.key("credential").key("bound");
    if issuer.auth.as_deref() != Some("mtls") {
        let message = "the provider is asked without a certificate, and so binds its tokens to none";
        findings.value(&here, FaultCode::Conflict, message).help("write `auth = \"mtls\"` and `identity` at the provider");
    }
    match &connector.identity {
        None => {
            let message = "`identity` is missing: the token is bound to a certificate, and the connector presents none";
            let fault = findings.key(&path.key("identity"), FaultCode::MissingKey, message);
            fault.help("add `identity = \"…\"` to the connector: the file that the provider has as `identity`");
        }
        Some(own) if issuer.identity.as_ref().is_some_and(|asked| asked != own) => {
            let message = "the connector presents another certificate than the one that its tokens are bound to";
            findings
                .value(&path.key("identity"), FaultCode::Conflict, message)
                .help("name the file that the provider has as `identity`");
        }
        Some(_) => {}
    }
}
