//! `[[issuers]]`

use std::collections::BTreeMap;

use bailiwick_identity::{
    Algorithm, IssuerSpec, KeySource, Profile, SenderConstraint, SpiffeId, SubjectPattern, TrustDomain, is_issuer, is_trusted_way,
};
use url::Url;

use super::{Setting, duplicates};
use crate::{
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawIssuer},
    source::KeyPath,
    units::Duration,
};

/// The issuer of the tokens of GitHub Actions.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// The longest id, name of a claim or audience.
const LONGEST: usize = 512;

pub(super) fn issuers(whole: &Raw, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Vec<IssuerSpec> {
    let raw = whole.issuers.as_slice();
    audiences(whole, path, findings);
    duplicates(raw.iter().map(|issuer| issuer.id.as_ref()), "issuer", path, findings);
    alone(raw, path, findings);
    let has_tls = whole.server.tls.is_some();
    raw.iter().enumerate().filter_map(|(index, raw)| issuer((raw, has_tls), &path.item(index), setting, findings)).collect()
}

/// What others reach must know by what name: a token for an address that many a gateway listens at is for all of them.
fn audiences(whole: &Raw, path: &KeyPath, findings: &mut Findings<'_>) {
    let server = &whole.server;
    let over_tls = server.tls.as_ref().map(|tls| tls.listen);
    let Some(at) = [Some(server.listen), over_tls].into_iter().flatten().find(|at| !at.ip().is_loopback()) else { return };
    let is_named = server.public_url.is_some() || findings.has_any_in(&KeyPath::default().key("server").key("public_url"));
    for (index, issuer) in whole.issuers.iter().enumerate() {
        let here = path.item(index).key("audience");
        if !is_named && issuer.audience.is_none() && !findings.has_any_in(&here) {
            let message = format!(
                "`audience` is missing, and the gateway has no URL of its own that its tokens could be for: `{at}` is many a gateway's"
            );
            let fault = findings.key(&here, FaultCode::MissingKey, message);
            fault
                .help("set `public_url` of `[server]` to the URL by which agents reach `/mcp`, or write whom its tokens are for");
        }
    }
}

/// A token names one issuer: no two have the same name, and no two are one trust domain.
fn alone(raw: &[RawIssuer], path: &KeyPath, findings: &mut Findings<'_>) {
    let mut first: BTreeMap<(&str, &str), KeyPath> = BTreeMap::new();
    for (index, issuer) in raw.iter().enumerate() {
        let named = if issuer.profile == "spiffe_jwt" {
            issuer.trust_domain.as_deref().map(|domain| ("trust_domain", domain))
        } else {
            named(issuer).map(|issuer| ("issuer", issuer))
        };
        let Some((key, text)) = named else { continue };
        let here = path.item(index).key(key);
        if let Some(there) = first.get(&(key, text)) {
            let message = format!("`{text}` is the `{key}` of two issuers");
            let fault = findings.beside(&here, FaultCode::Duplicate, message, (there, "first here"));
            fault.help("write one entry for it: a token can be of one issuer only");
        } else {
            first.insert((key, text), here);
        }
    }
}

fn named(raw: &RawIssuer) -> Option<&str> {
    raw.issuer.as_deref().or((raw.profile == "github_actions").then_some(GITHUB))
}

fn issuer(
    (raw, has_tls): (&RawIssuer, bool),
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Option<IssuerSpec> {
    let id = raw.id.clone()?;
    let is_id = |id: &str| id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if id.is_empty() || id.len() > 64 || !is_id(&id) {
        let fault = findings.value(&path.key("id"), FaultCode::BadName, format!("`{id}` is not a valid issuer id"));
        fault.help("use 1 to 64 of `a` to `z`, `0` to `9`, `-`, `_` and `.`");
    }
    let profile = profile(raw, path, findings);
    let (source, issuer) = source(raw, path, setting, findings);
    let algorithms = raw.algorithms.iter().flatten().filter_map(|name| name.parse().ok()).collect::<Vec<Algorithm>>();
    check_spans(raw, path, findings);
    if raw.sender_constraint == "mtls" && !has_tls {
        let message = "`mtls` binds tokens to client certificates, and no listener asks for any";
        let fault = findings.value(&path.key("sender_constraint"), FaultCode::Conflict, message);
        fault.help("serve agents over TLS too, with `[server.tls]`; or leave `sender_constraint` out");
    }
    for (key, text) in
        [("audience", &raw.audience), ("subject_claim", &raw.subject_claim), ("instance_claim", &raw.instance_claim)]
    {
        if let Some(text) = text
            && (text.trim() != text || text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control))
        {
            let fault = findings.value(&path.key(key), FaultCode::BadText, format!("`{key}` is not a plain text"));
            fault.help("write exactly what its tokens have");
        }
    }
    Some(IssuerSpec {
        id,
        profile: profile?,
        issuer,
        source: source?,
        roots: raw.roots.as_deref().map(|given| file(given, &path.key("roots"), setting, findings)),
        audience: raw.audience.clone(),
        algorithms: if algorithms.is_empty() { Algorithm::ALL.to_vec() } else { algorithms },
        max_lifetime: raw.max_lifetime.into(),
        max_stale: raw.max_stale.into(),
        sender_constraint: match raw.sender_constraint.as_str() {
            "dpop" => SenderConstraint::Dpop,
            "mtls" => SenderConstraint::Mtls,
            _ => SenderConstraint::None,
        },
    })
}

fn profile(raw: &RawIssuer, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Profile> {
    let only_with = |key: &'static str, is_set: bool, profile: &str, findings: &mut Findings<'_>| {
        if is_set && raw.profile != profile {
            let message = format!("`{key}` means nothing with the profile `{}`", raw.profile);
            let fault = findings.key(&path.key(key), FaultCode::Conflict, message);
            fault.help(format!("leave it out, or write `profile = \"{profile}\"`"));
        }
    };
    only_with("subject_claim", raw.subject_claim.is_some(), "oidc", findings);
    only_with("instance_claim", raw.instance_claim.is_some(), "oidc", findings);
    only_with("trust_domain", raw.trust_domain.is_some(), "spiffe_jwt", findings);
    match raw.profile.as_str() {
        "kubernetes" => Some(Profile::Kubernetes),
        "github_actions" => Some(Profile::GithubActions),
        "spiffe_jwt" => {
            let Some(domain) = &raw.trust_domain else {
                let fault = findings.key(&path.key("trust_domain"), FaultCode::MissingKey, "`trust_domain` is missing");
                fault.help("add `trust_domain = \"example.org\"`");
                return None;
            };
            match domain.parse::<TrustDomain>() {
                Ok(domain) => Some(Profile::SpiffeJwt(domain)),
                Err(why) => {
                    let message = format!("`{domain}` is no trust domain: {why}");
                    let fault = findings.value(&path.key("trust_domain"), FaultCode::BadName, message);
                    fault.help("write it without a scheme: `example.org`");
                    None
                }
            }
        }
        _ => Some(Profile::Oidc {
            subject: raw.subject_claim.clone().unwrap_or_else(|| "sub".to_owned()),
            instance: raw.instance_claim.clone(),
        }),
    }
}

/// Where its keys are, and its name.
fn source(
    raw: &RawIssuer,
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> (Option<KeySource>, Option<String>) {
    let name = named(raw).map(str::to_owned);
    let is_spiffe = raw.profile == "spiffe_jwt";
    let url = name.as_deref().and_then(|name| {
        let url = is_issuer(name);
        if url.is_none() {
            let fault = findings.value(&path.key("issuer"), FaultCode::BadUrl, format!("`{name}` is no issuer"));
            fault.help("write the `iss` of its tokens, as it stands there: `https://login.example.com`");
        }
        url
    });
    if name.is_none() && !is_spiffe {
        let fault = findings.key(&path.key("issuer"), FaultCode::MissingKey, "`issuer` is missing");
        fault.help("add `issuer = \"https://login.example.com\"`: the `iss` of its tokens");
    }
    let source = match (&raw.jwks_url, &raw.jwks_file) {
        (Some(_), Some(_)) => {
            let message = "the keys of an issuer are at one place, and `jwks_url` is set too";
            findings.key(&path.key("jwks_file"), FaultCode::Conflict, message).help("leave one of the two out");
            None
        }
        (Some(given), None) => address(given, &path.key("jwks_url"), findings).map(KeySource::Url),
        (None, Some(given)) => Some(KeySource::File(file(given, &path.key("jwks_file"), setting, findings))),
        (None, None) if is_spiffe => {
            let fault = findings.key(path, FaultCode::MissingKey, "`jwks_url` or `jwks_file` is missing");
            fault.help("write where the bundle of the trust domain is: `jwks_url = \"https://spire.example.org/bundle\"`");
            None
        }
        (None, None) => url.and_then(|url| {
            let is_fit = is_trusted_way(&url);
            if !is_fit {
                plain(url.as_str(), &path.key("issuer"), findings);
            }
            is_fit.then_some(KeySource::Discovery(url))
        }),
    };
    (source, name)
}

fn address(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let is_plain =
        |url: &Url| url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    match Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && is_plain(url)) {
        Some(url) if is_trusted_way(&url) => Some(url),
        Some(_) => {
            plain(given, path, findings);
            None
        }
        None => {
            let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not where keys are"));
            fault.help("write `https://login.example.com/keys`: no user and no fragment");
            None
        }
    }
}

fn plain(given: &str, path: &KeyPath, findings: &mut Findings<'_>) {
    let message = format!("keys from `{given}` could be anybody's, without TLS");
    findings.value(path, FaultCode::PlainHttp, message).help("write an `https` URL, or name a file with `jwks_file`");
}

pub(super) fn file(given: &str, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> std::path::PathBuf {
    if given.trim().is_empty() || given.contains('\0') {
        let fault = findings.value(path, FaultCode::BadText, format!("`{}` is no path of a file", given.escape_debug()));
        fault.help("write the path of a file, relative to this one");
    }
    setting.resolve(given)
}

fn check_spans(raw: &RawIssuer, path: &KeyPath, findings: &mut Findings<'_>) {
    let spans = [
        ("max_lifetime", raw.max_lifetime, Duration::from_secs(60), Duration::from_secs(30 * 24 * 60 * 60)),
        ("max_stale", raw.max_stale, Duration::from_secs(0), Duration::from_secs(24 * 60 * 60)),
    ];
    for (key, span, least, most) in spans {
        if !(least..=most).contains(&span) {
            let message = format!("`{span}` is out of range for `{key}`");
            let fault = findings.value(&path.key(key), FaultCode::OutOfRange, message);
            fault.help(format!("write a duration from `{least}` to `{most}`"));
        }
    }
}

/// Whether the issuer can speak of such a subject at all.
pub(super) fn check_subject(issuer: &RawIssuer, subject: &SubjectPattern, path: &KeyPath, findings: &mut Findings<'_>) {
    let text = match subject {
        SubjectPattern::Exact(exact) => exact.clone(),
        // The pattern, with something that is meant by it.
        SubjectPattern::Below(begin) => format!("{begin}x"),
    };
    let help = match issuer.profile.as_str() {
        "spiffe_jwt" => {
            let domain = issuer.trust_domain.as_deref().unwrap_or_default();
            let is_fit = text.parse::<SpiffeId>().is_ok_and(|id| id.domain().as_str() == domain);
            (!is_fit).then(|| format!("write `spiffe://{domain}/…`"))
        }
        "kubernetes" => {
            let mut rest = text.strip_prefix("system:serviceaccount:").unwrap_or_default().split(':');
            let is_part = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
            let is_fit = is_part(rest.next()) && is_part(rest.next()) && rest.next().is_none();
            (!is_fit).then(|| "write `system:serviceaccount:NAMESPACE:NAME`".to_owned())
        }
        _ => None,
    };
    if let Some(help) = help {
        let message = format!("`{subject}` is no subject that an issuer of profile `{}` speaks of", issuer.profile);
        findings.value(path, FaultCode::BadSubject, message).help(help);
    }
}
