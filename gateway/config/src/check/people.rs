//! `[console]` and `[[people]]`

use std::{collections::BTreeSet, time::Duration};

use bailiwick_identity::{LoginSpec, is_issuer, is_trusted_way};
use bailiwick_schemas::{names::ConnectorId, text::is_invisible};
use url::Url;

use super::{
    Setting, duplicates,
    sections::{is_loopback, more_than_nothing, web_url},
};
use crate::{
    code::FaultCode,
    fault::Findings,
    people::{ConsoleSettings, OidcSettings, RegisteredPerson},
    raw::{Raw, RawConsole, RawOidc, RawPerson},
    source::KeyPath,
};

/// The longest id of a person.
const LONGEST: usize = 64;

/// How long a session may live: longer ones are forgotten about.
const LONGEST_SESSION: Duration = Duration::from_hours(30 * 24);

pub(super) fn console(raw: &RawConsole, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> ConsoleSettings {
    more_than_nothing(raw.session, &path.key("session"), findings);
    more_than_nothing(raw.idle, &path.key("idle"), findings);
    if Duration::from(raw.session) > LONGEST_SESSION {
        let fault = findings.value(
            &path.key("session"),
            FaultCode::OutOfRange,
            format!("`{}` is out of range for `session`", raw.session),
        );
        fault.help("write a duration of at most `30d`");
    }
    if raw.idle > raw.session {
        let message = format!("a session may be idle for `{}`, and lives for `{}` only", raw.idle, raw.session);
        let beside = (&path.key("session"), "over by then");
        findings.beside(&path.key("idle"), FaultCode::Conflict, message, beside).help("make `idle` at most as long as `session`");
    }
    let key = path.key("public_url");
    let public_url = raw.public_url.as_deref().and_then(|given| public_url(given, &key, findings));
    let oidc = raw.oidc.as_ref().and_then(|oidc| provider(oidc, &path.key("oidc"), setting, findings));
    ConsoleSettings { enabled: raw.enabled, public_url, session: raw.session.into(), idle: raw.idle.into(), oidc }
}

fn provider(raw: &RawOidc, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<OidcSettings> {
    let issuer = raw.issuer.as_deref().and_then(|given| {
        let url = is_issuer(given).filter(is_trusted_way);
        if url.is_none() {
            let fault = findings.value(&path.key("issuer"), FaultCode::BadUrl, format!("`{given}` is no issuer with TLS"));
            fault.help("write the `iss` of its tokens, as it stands there: `https://login.example.com`");
        }
        url.map(|url| (given.to_owned(), url))
    });
    let client_id = raw.client_id.as_deref().map(|id| super::text(Some(id), &path.key("client_id"), findings));
    if let Some(claim) = &raw.roles_claim {
        super::text(Some(claim), &path.key("roles_claim"), findings);
        if raw.roles.is_empty() {
            let message = "`roles_claim` without `roles` would leave everybody without a role";
            let fault = findings.key(&path.key("roles_claim"), FaultCode::MissingKey, message);
            fault.help("add `roles = { \"approvers\" = [\"approver\"] }`");
        }
    } else if !raw.roles.is_empty() {
        let message = "`roles` means nothing without `roles_claim`";
        findings.key(&path.key("roles"), FaultCode::Conflict, message).help("name the claim: `roles_claim = \"groups\"`");
    }
    let mut file = |key: &'static str, given: Option<&str>| {
        given.map(|given| super::issuers::file(given, &path.key(key), setting, findings))
    };
    let client_secret_file = file("client_secret_file", raw.client_secret_file.as_deref());
    let roots = file("roots", raw.roots.as_deref());
    let words = raw.roles.iter().map(|(text, roles)| (text.clone(), roles.iter().cloned().collect())).collect();
    let (name, issuer) = issuer?;
    let provider = LoginSpec { name, issuer, client_id: client_id?, client_secret_file, roots };
    Some(OidcSettings { provider, roles: raw.roles_claim.clone().map(|claim| (claim, words)) })
}

fn public_url(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let Some(url) = web_url(given).filter(|url| url.path() == "/") else {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not the URL of a console"));
        fault.help("write it as `https://console.example.com`: no path, user, query or fragment");
        return None;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = format!("`{given}` would carry logins without TLS");
        let fault = findings.value(path, FaultCode::RemoteListener, message);
        fault.help("write an `https` URL, and put a proxy with TLS in front");
        return None;
    }
    // Passkeys are bound to a name (Web Authentication, relying party id); an address is none.
    if url.domain().is_none() {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` has no name that passkeys can be bound to"));
        fault.help("write a name instead of the address, such as `http://localhost:8932`");
        return None;
    }
    Some(url)
}

pub(super) fn people(raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<RegisteredPerson> {
    duplicates(raw.people.iter().map(|person| person.id.as_ref()), "person", path, findings);
    raw.people.iter().enumerate().filter_map(|(index, written)| person(written, raw, &path.item(index), findings)).collect()
}

fn person(written: &RawPerson, raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Option<RegisteredPerson> {
    let is_name = |id: &str| {
        !id.is_empty()
            && id.chars().count() <= LONGEST
            && id.trim() == id
            && !id.chars().any(|c| c.is_control() || is_invisible(c) || c.is_whitespace())
    };
    if let Some(id) = written.id.as_deref().filter(|id| !is_name(id)) {
        let fault =
            findings.value(&path.key("id"), FaultCode::BadName, format!("`{}` is no name of a person", id.escape_debug()));
        fault.help("write 1 to 64 visible characters without spaces, such as `ada@example.com`");
    }
    for (at, owner) in written.owns.iter().enumerate() {
        super::text(Some(owner), &path.key("owns").item(at), findings);
    }
    if let Some(subject) = &written.subject {
        subject_of(subject, raw, path, findings);
    }
    let roles: BTreeSet<String> = written.roles.iter().flatten().cloned().collect();
    let approves = written.approves.as_ref();
    if approves.is_some() && !roles.contains("approver") && !roles.is_empty() {
        let fault =
            findings.key(&path.key("approves"), FaultCode::Conflict, "`approves` means nothing without the role `approver`");
        fault.help("add `approver` to `roles`, or leave `approves` out");
    }
    let connectors = approves.and_then(|approves| approves.connectors.as_ref());
    let place = path.key("approves").key("connectors");
    let connectors = connectors.map(|ids| {
        let known = |(at, id): (usize, &String)| connector(id, raw, &place.item(at), findings);
        ids.iter().enumerate().filter_map(known).collect()
    });
    let up_to = approves.and_then(|approves| approves.up_to.as_deref()).and_then(|band| band.parse().ok());
    let subject = written.subject.clone();
    Some(RegisteredPerson {
        id: written.id.clone()?,
        subject,
        owns: written.owns.iter().cloned().collect(),
        roles,
        connectors,
        up_to,
    })
}

fn subject_of(subject: &str, raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) {
    super::text(Some(subject), &path.key("subject"), findings);
    if raw.console.oidc.is_none() && !findings.has_any_in(&KeyPath::default().key("console")) {
        let fault =
            findings.key(&path.key("subject"), FaultCode::Conflict, "`subject` means nothing without an identity provider");
        fault.help("add `oidc` to `[console]`, or leave `subject` out");
    }
    if raw.people.iter().filter(|person| person.subject.as_deref() == Some(subject)).count() > 1 {
        let fault = findings.value(&path.key("subject"), FaultCode::Duplicate, format!("`{subject}` is two people"));
        fault.help("give each person their own `subject`");
    }
}

fn connector(id: &str, raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Option<ConnectorId> {
    let known = raw.connectors.iter().filter_map(|connector| connector.id.as_ref());
    if let Some(found) = known.clone().find(|known| known.as_str() == id) {
        return Some(found.clone());
    }
    let names: Vec<&str> = known.map(ConnectorId::as_str).collect();
    let fault = findings.value(path, FaultCode::UnknownConnector, format!("there is no connector `{id}`"));
    if names.is_empty() {
        fault.help("add it as `[[connectors]]`, or leave `connectors` out");
    } else {
        fault.help(format!("there is `{}`", names.join("`, `")));
    }
    None
}
