//! `[[connectors]]` over HTTP: where the server is, and how far the way to it is trusted.

use bailiwick_pipeline::ports::Injection;
use ipnet::IpNet;
use url::Url;

use super::{Setting, environment, sections::is_loopback};
use crate::{code::FaultCode, connector::Http, fault::Findings, raw::RawConnector, source::KeyPath};

/// Headers that the gateway sets itself.
const OURS: [&str; 10] = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "traceparent",
    "tracestate",
    "baggage",
];

/// Headers that belong to one connection (RFC 9110, 7.6.1), and so to no server behind it.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The way to a server over HTTP.
pub(super) fn way(
    raw: &RawConnector,
    given: &str,
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<Http> {
    let url = endpoint(given, raw.dangerous_plain_http, &path.key("url"), findings);
    let networks = networks(raw.networks.as_deref(), &path.key("networks"), findings);
    let roots = raw.roots.as_deref().map(|given| {
        if given.trim().is_empty() || given.contains('\0') {
            let fault = findings.value(&path.key("roots"), FaultCode::BadText, format!("`{given}` is no path of a file"));
            fault.help("write the path of a PEM file with the certificates of its authorities");
        }
        setting.resolve(given)
    });
    let identity = raw.identity.as_deref().map(|given| {
        if given.trim().is_empty() || given.contains('\0') {
            let fault = findings.value(&path.key("identity"), FaultCode::BadText, format!("`{given}` is no path of a file"));
            fault.help("write the path of a PEM file with a client certificate and its private key");
        } else if url.as_ref().is_some_and(|url| url.scheme() != "https") {
            let message = "`identity` means nothing without TLS: nobody is shown a certificate";
            findings.key(&path.key("identity"), FaultCode::Conflict, message).help("write an `https` URL, or leave it out");
        }
        setting.resolve(given)
    });
    Some(Http { url: url?, networks: networks?, roots, identity, dangerous_plain_http: raw.dangerous_plain_http })
}

/// Networks that a name may resolve into though they are not public.
pub(super) fn networks(raw: Option<&[String]>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Vec<IpNet>> {
    let given = raw.unwrap_or_default().iter().enumerate();
    let networks: Vec<_> = given.map(|(at, given)| network(given, &path.item(at), findings)).collect();
    networks.into_iter().collect()
}

/// An endpoint. What looks like a secret in it is not shown.
pub(super) fn endpoint(given: &str, may_be_plain: bool, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let url = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url.filter(|_| given.contains("://")) else {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not the URL of a server"));
        fault.help("write it as `https://tickets.example.com/mcp`");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let fault = findings.value(path, FaultCode::InlineSecret, "a URL is no place for a user or a password");
        fault.help("put the secret into a file and write `credential = { provider = \"file\", path = \"…\", inject = { header = \"…\" } }`");
    } else if let Some((name, _)) = url.query_pairs().find(|(name, _)| environment::is_secret(name)) {
        let message = format!("`{name}` in the URL looks like a secret, and this file is no place for one");
        let fault = findings.value(path, FaultCode::InlineSecret, message);
        fault.help("put the secret into a file and write `credential = { provider = \"file\", path = \"…\", inject = { header = \"…\" } }`");
    } else if url.fragment().is_some() {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` has a fragment, which no server ever sees"));
        fault.help("leave out what follows `#`, and the `#`");
    } else if url.scheme() == "http" && !is_loopback(&url) && !may_be_plain {
        let message = format!("`{given}` would carry calls and credentials without TLS");
        let fault = findings.value(path, FaultCode::PlainHttp, message);
        fault.help("write an `https` URL; `dangerous_plain_http = true` allows it where you trust every machine in between");
    }
    Some(url)
}

fn network(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<IpNet> {
    let network = given.parse::<IpNet>().ok().filter(|network| network.prefix_len() > 0 && network.trunc() == *network);
    if network.is_none() {
        let fault = findings.value(path, FaultCode::BadAddress, format!("`{given}` is not a network"));
        fault.help("write its first address and the length of its prefix, such as `10.1.0.0/16` or `fd00:1::/48`");
    }
    network
}

/// The header that carries a secret.
pub(super) fn header(given: &str, prefix: Option<&str>, path: &KeyPath, findings: &mut Findings<'_>) -> Injection {
    let name = given.to_ascii_lowercase();
    let here = path.key("header");
    if http::HeaderName::try_from(name.as_str()).is_err() {
        let fault = findings.value(&here, FaultCode::BadName, format!("`{given}` is no name of a header"));
        fault.help("write the header that the server reads its secret from, such as `Authorization` or `X-Api-Key`");
    } else if OURS.contains(&name.as_str()) || HOP_BY_HOP.contains(&name.as_str()) || name.starts_with("mcp-") {
        let fault =
            findings.value(&here, FaultCode::BadName, format!("`{given}` is a header that the gateway or the connection sets"));
        fault.help("write the header that the server reads its secret from, such as `Authorization` or `X-Api-Key`");
    }
    let prefix = prefix.unwrap_or_default();
    if !prefix.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || prefix.len() > 100 {
        let fault = findings.value(
            &path.key("prefix"),
            FaultCode::BadText,
            format!("`{}` can't stand in a header", prefix.escape_debug()),
        );
        fault.help("write what stands before the secret, such as `Bearer ` with its space");
    }
    Injection::header(name, prefix)
}
