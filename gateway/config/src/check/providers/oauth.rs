//! An OAuth 2.0 authorization server.

use super::{file, issuer_url, plain};
use crate::{
    check::Setting,
    code::FaultCode,
    fault::Findings,
    provider::{OAuth, OAuthClient, OAuthPlace},
    raw::RawOAuth,
    source::KeyPath,
};

/// What kinds of token stand for people, and their URIs (RFC 8693 section 3).
const SUBJECT_KINDS: [(&str, &str); 4] = [
    ("access_token", "urn:ietf:params:oauth:token-type:access_token"),
    ("id_token", "urn:ietf:params:oauth:token-type:id_token"),
    ("refresh_token", "urn:ietf:params:oauth:token-type:refresh_token"),
    ("jwt", "urn:ietf:params:oauth:token-type:jwt"),
];

const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

pub(super) fn oauth(raw: &RawOAuth, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<OAuth> {
    let place = place(raw, path, findings);
    let client = client(raw, path, setting, findings);
    let on_behalf = on_behalf(raw, path, setting, findings);
    if let Some(id) = &raw.client_id {
        plain(id, &path.key("client_id"), findings);
    }
    let roots = raw.roots.as_deref().and_then(|given| file(Some(given), &path.key("roots"), setting, findings));
    let max_ttl = super::longest(raw.max_ttl, &path.key("max_ttl"), findings);
    let has_any = raw.issuer.is_some() || raw.revocation_url.is_some();
    Some(OAuth {
        place: place?,
        is_revocable: raw.revocable.unwrap_or(true) && has_any,
        client_id: raw.client_id.clone()?,
        client: client?,
        on_behalf: on_behalf?,
        max_ttl,
        roots,
    })
}

fn place(raw: &RawOAuth, path: &KeyPath, findings: &mut Findings<'_>) -> Option<OAuthPlace> {
    let mut url = |key: &str, given: &Option<String>| issuer_url(given.as_deref(), &path.key(key), findings);
    let (issuer, token) = (url("issuer", &raw.issuer), url("token_url", &raw.token_url));
    let revocation = url("revocation_url", &raw.revocation_url);
    for (key, is_set) in [("token_url", raw.token_url.is_some()), ("revocation_url", raw.revocation_url.is_some())] {
        if raw.issuer.is_some() && is_set {
            let message = format!("`{key}` and `issuer` both say where the server is");
            findings
                .beside(&path.key(key), FaultCode::Conflict, message, (&path.key("issuer"), "and here"))
                .help("leave one of them out");
        }
    }
    if raw.revocable == Some(false) && raw.revocation_url.is_some() {
        let message = "`revocable = false` says that nothing is taken back, and `revocation_url` where it is";
        findings.key(&path.key("revocable"), FaultCode::Conflict, message).help("leave one of them out");
    }
    if raw.revocable == Some(true) && raw.token_url.is_some() && raw.revocation_url.is_none() {
        let message = "nothing says where tokens are taken back";
        findings
            .key(&path.key("revocable"), FaultCode::Conflict, message)
            .help("add `revocation_url`, or write `revocable = false` where it has none");
    }
    if raw.revocable.is_none() && raw.token_url.is_some() && raw.revocation_url.is_none() && !findings.has_any_in(path) {
        let message = "nothing says where tokens are taken back: each would live on when its task is over";
        let fault = findings.key(&path.key("revocable"), FaultCode::MissingKey, message);
        fault.help("add `revocation_url`, or `revocable = false` where it has none");
    }
    if raw.issuer.is_none() && raw.token_url.is_none() && !findings.has_any_in(path) {
        let message = "nothing says where the authorization server is";
        findings.key(path, FaultCode::MissingKey, message).help("add `issuer = \"https://…\"`, or `token_url`");
    }
    match (issuer, token) {
        (Some(issuer), None) => Some(OAuthPlace::Issuer(issuer)),
        (None, Some(token)) => Some(OAuthPlace::Endpoints(token, revocation)),
        _ => None,
    }
}

fn client(raw: &RawOAuth, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<OAuthClient> {
    let auth = raw.auth.as_deref().unwrap_or("basic");
    let takes: &[&str] = match auth {
        "basic" | "post" => &["client_secret_file"],
        "private_key_jwt" => &["key_file", "key_id", "algorithm"],
        "mtls" => &["identity"],
        _ => {
            super::word(auth, &["basic", "post", "private_key_jwt", "mtls"], &path.key("auth"), findings);
            return None;
        }
    };
    let given = [
        ("client_secret_file", raw.client_secret_file.as_deref()),
        ("key_file", raw.key_file.as_deref()),
        ("identity", raw.identity.as_deref()),
        ("key_id", raw.key_id.as_deref()),
        ("algorithm", raw.algorithm.as_deref()),
    ];
    for (key, _) in given.iter().filter(|(key, given)| given.is_some() && !takes.contains(key)) {
        let message = format!("`{key}` means nothing with `auth = \"{auth}\"`");
        let takes = takes.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        findings.key(&path.key(key), FaultCode::Conflict, message).help(format!("leave it out; `{auth}` takes {takes}"));
    }
    let needed = takes.first().copied().unwrap_or_default();
    let named = given.iter().find(|(key, _)| *key == needed).and_then(|(_, given)| *given);
    if named.is_none() && !findings.has_any_in(&path.key(needed)) {
        let message = format!("`{needed}` is missing: `auth = \"{auth}\"` needs it");
        findings.key(&path.key(needed), FaultCode::MissingKey, message).help(format!("add `{needed} = \"…\"`"));
    }
    if let Some(id) = &raw.key_id {
        plain(id, &path.key("key_id"), findings);
    }
    let algorithm = match raw.algorithm.as_deref() {
        Some(given) => Some(*super::word(given, &ALGORITHMS, &path.key("algorithm"), findings)?),
        None => None,
    };
    let file = file(named, &path.key(needed), setting, findings)?;
    Some(match auth {
        "basic" => OAuthClient::Basic(file),
        "post" => OAuthClient::Post(file),
        "mtls" => OAuthClient::Mtls(file),
        _ => OAuthClient::PrivateKeyJwt { file, key_id: raw.key_id.clone(), algorithm },
    })
}

type OnBehalf = Option<(std::collections::BTreeMap<String, std::path::PathBuf>, &'static str)>;

fn on_behalf(raw: &RawOAuth, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<OnBehalf> {
    let grant = raw.grant.as_deref().unwrap_or("client_credentials");
    super::word(grant, &["client_credentials", "token_exchange"], &path.key("grant"), findings)?;
    if grant == "client_credentials" {
        let given =
            [("subject_tokens", !raw.subject_tokens.is_empty()), ("subject_token_type", raw.subject_token_type.is_some())];
        for (key, _) in given.into_iter().filter(|(_, is_set)| *is_set) {
            let message = format!("`{key}` means nothing without `grant = \"token_exchange\"`");
            findings.key(&path.key(key), FaultCode::Conflict, message).help("add that, or leave it out");
        }
        return Some(None);
    }
    let here = path.key("subject_tokens");
    if raw.subject_tokens.is_empty() && !findings.has_any_in(&here) {
        let message = "`subject_tokens` is missing: nobody would be lent anything";
        findings.key(&here, FaultCode::MissingKey, message).help("add `subject_tokens = { \"OWNER\" = \"FILE\" }`");
        return None;
    }
    let named = raw.subject_tokens.iter().map(|(owner, given)| {
        let path = file(Some(given), &here.key(owner), setting, findings)?;
        Some((owner.clone(), path))
    });
    let files = named.collect::<Option<_>>()?;
    let word = raw.subject_token_type.as_deref().unwrap_or("access_token");
    let words = SUBJECT_KINDS.map(|(word, _)| word);
    let word = super::word(word, &words, &path.key("subject_token_type"), findings)?;
    let (_, kind) = SUBJECT_KINDS.iter().find(|(one, _)| one == word)?;
    Some(Some((files, kind)))
}
