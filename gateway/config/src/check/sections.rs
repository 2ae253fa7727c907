//! `[server]`, `[approvals]`, `[policy]`, `[trail]`, `[telemetry]`, `[limits]`.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use url::{Host, Url};

use super::{Setting, text, trust};
use crate::{
    checked::{Approvals, AutoGrants, KeepBodies, Limits, PolicyFile, PolicyFiles, Server, Telemetry, Trail},
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawApprovals, RawAutoGrants, RawKeepBodies, RawLimits, RawPolicy, RawTelemetry, RawTrail},
    source::KeyPath,
    units::{Duration, Size},
};

/// Longer than that nobody means the identical call to be the same one.
const KEPT_MOST: Duration = Duration::from_secs(10 * 60);

pub(super) fn server(whole: &Raw, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Server {
    let raw = &whole.server;
    for (key, address) in [("listen", raw.listen), ("console", raw.console)] {
        if !address.ip().is_loopback() && !raw.allow_remote {
            let message = format!("`{address}` can be reached from other machines, and has no TLS");
            let fault = findings.value(&path.key(key), FaultCode::RemoteListener, message);
            fault.help(
                "listen on `127.0.0.1` and set `tls` for others, or put a proxy with TLS in front and set `allow_remote = true`",
            );
        }
    }
    if raw.listen == raw.console && raw.listen.port() != 0 {
        let message = format!("`listen` and `console` are both `{}`", raw.listen);
        findings.value(&path.key("console"), FaultCode::Conflict, message).help("give each listener its own port");
    }
    for (key, duration) in
        [("header_timeout", raw.header_timeout), ("idle_timeout", raw.idle_timeout), ("session_idle", raw.session_idle)]
    {
        more_than_nothing(duration, &path.key(key), findings);
    }
    size_within(raw.max_body, (1 << 10, 1 << 30), &path.key("max_body"), findings);
    let public_url =
        raw.public_url.as_deref().and_then(|url| public_url(url, raw.allow_remote, &path.key("public_url"), findings));
    let hosts = path.key("allowed_hosts");
    let origins = path.key("allowed_origins");
    Server {
        listen: raw.listen,
        console: raw.console,
        tls: trust::tls(whole, &path.key("tls"), setting, findings),
        public_url,
        allowed_hosts: raw.allowed_hosts.iter().enumerate().map(|(at, given)| host(given, &hosts.item(at), findings)).collect(),
        allowed_origins: raw
            .allowed_origins
            .iter()
            .enumerate()
            .map(|(at, given)| origin(given, &origins.item(at), findings))
            .collect(),
        max_body: raw.max_body.as_bytes(),
        max_connections: raw.max_connections,
        header_timeout: raw.header_timeout.into(),
        idle_timeout: raw.idle_timeout.into(),
        max_sessions: raw.max_sessions,
        session_idle: raw.session_idle.into(),
        max_calls_per_agent: raw.max_calls_per_agent,
        max_rate_per_agent: raw.max_rate_per_agent,
        max_rate: raw.max_rate,
    }
}

pub(super) fn approvals(raw: &RawApprovals, path: &KeyPath, findings: &mut Findings<'_>) -> Approvals {
    more_than_nothing(raw.approve_by, &path.key("approve_by"), findings);
    more_than_nothing(raw.execute_by, &path.key("execute_by"), findings);
    if raw.hold > raw.approve_by {
        let message = format!("a call is held for `{}`, and can be approved for `{}` only", raw.hold, raw.approve_by);
        let fault =
            findings.beside(&path.key("hold"), FaultCode::Conflict, message, (&path.key("approve_by"), "decided by then"));
        fault.help("make `hold` at most as long as `approve_by`");
    }
    if raw.keep_outcome > KEPT_MOST {
        let message = format!("the outcomes of calls would be kept for `{}`", raw.keep_outcome);
        let fault = findings.value(&path.key("keep_outcome"), FaultCode::OutOfRange, message);
        fault.help("write `10m` at most: after that the identical call is meant anew");
    }
    if let Some(group) = raw.break_glass.as_ref().and_then(|glass| glass.group.as_ref()) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if group.is_empty() || group.len() > 32 || !group.chars().all(is_plain) {
            let message = format!("`{group}` is no name of a group");
            let fault = findings.value(&path.key("break_glass").key("group"), FaultCode::BadName, message);
            fault.help("name a group of this machine, as `/etc/group` has it");
        }
    }
    Approvals {
        hold: raw.hold.into(),
        approve_by: raw.approve_by.into(),
        execute_by: raw.execute_by.into(),
        deny_cooldown: raw.deny_cooldown.into(),
        keep_outcome: raw.keep_outcome.into(),
        max_pending_per_agent: raw.max_pending_per_agent,
        max_asked_per_hour: raw.max_asked_per_hour,
        max_denied_in_row: raw.max_denied_in_row,
        remember: raw.remember,
        status_tool: raw.status_tool,
        withdraw_on_cancel: raw.on_cancel == "withdraw",
        break_glass: raw.break_glass.as_ref().and_then(|glass| glass.group.clone()),
        allow_same_user: raw.allow_same_user,
    }
}

pub(super) fn auto_grants(raw: &RawAutoGrants, path: &KeyPath, findings: &mut Findings<'_>) -> AutoGrants {
    more_than_nothing(raw.max_ttl, &path.key("max_ttl"), findings);
    let max_ttl: std::time::Duration = raw.max_ttl.into();
    if max_ttl > std::time::Duration::from_hours(24) {
        let message = format!("`{}` is long for what no person has looked at", raw.max_ttl);
        findings.value(&path.key("max_ttl"), FaultCode::OutOfRange, message).help("say at most `24h`");
    }
    AutoGrants { max_ttl, max_live_per_agent: raw.max_live_per_agent }
}

pub(super) fn policy(raw: &RawPolicy, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> PolicyFiles {
    if !raw.include_default && raw.files.is_none() && !findings.has_any_in(&path.key("files")) {
        let message = "there is no policy at all, so every call would be refused";
        let fault = findings.value(&path.key("include_default"), FaultCode::NoPolicy, message);
        fault.help("name your own in `files`, or leave `include_default` at `true`");
    }
    let list = path.key("files");
    let mut files = Vec::new();
    for (at, given) in raw.files.iter().flatten().enumerate() {
        let (folder, name) = given.rsplit_once('/').unwrap_or((".", given));
        let is_plain = !given.contains('\0') && !folder.contains(['*', '?', '[']) && !folder.is_empty();
        let file = match name {
            "" | "*.cedar" if is_plain => PolicyFile::AllIn(setting.resolve(folder)),
            name if is_plain
                && Path::new(name).extension().is_some_and(|kind| kind == "cedar")
                && !name.contains(['*', '?', '[']) =>
            {
                PolicyFile::One(setting.resolve(given))
            }
            _ => {
                let fault = findings.value(&list.item(at), FaultCode::BadName, format!("`{given}` names no policy file"));
                fault.help("write the path of a `.cedar` file, or `folder/` for all of a folder");
                continue;
            }
        };
        if files.contains(&file) {
            findings.value(&list.item(at), FaultCode::Duplicate, format!("`{given}` is named twice")).help("name it once");
        }
        files.push(file);
    }
    if let Some(given) = &raw.shadow {
        let folder = given.trim_end_matches("*.cedar");
        if folder.trim().is_empty() || folder.contains(['\0', '*', '?', '[']) {
            let fault = findings.value(&path.key("shadow"), FaultCode::BadName, format!("`{given}` names no folder"));
            fault.help("write the path of a folder of `.cedar` files, such as `candidate/`");
        }
        files.push(PolicyFile::Shadow(setting.resolve(folder)));
    }
    for (at, key) in raw.signed_by.iter().enumerate() {
        let mut words = key.split_whitespace();
        let blob = words.next().filter(|kind| *kind == "ssh-ed25519").and(words.next());
        if blob.is_none_or(|blob| blob.len() != 68 || !blob.starts_with("AAAAC3NzaC1lZDI1NTE5AAAAI")) {
            let fault = findings.value(&path.key("signed_by").item(at), FaultCode::BadName, "this is no public key".to_owned());
            fault.help("write the line of a `.pub` file: `ssh-keygen -t ed25519 -f policy-key` makes the two");
        }
    }
    let agent_groups = names(raw.agent_groups.iter(), &path.key("agent_groups"), findings);
    let teams = raw.teams.iter().map(|(team, owners)| {
        let here = path.key("teams").key(team);
        text(Some(team), &here, findings);
        (team.clone(), names(owners.iter(), &here, findings))
    });
    PolicyFiles {
        include_default: raw.include_default,
        files,
        signed_by: raw.signed_by.clone(),
        allow_older: raw.allow_older,
        agent_groups,
        teams: teams.collect(),
    }
}

/// Names that are said once each.
fn names<'n>(given: impl Iterator<Item = &'n String>, path: &KeyPath, findings: &mut Findings<'_>) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (at, name) in given.enumerate() {
        let here = path.item(at);
        text(Some(name), &here, findings);
        if !known.insert(name.clone()) {
            findings.value(&here, FaultCode::Duplicate, format!("`{name}` is named twice")).help("name it once");
        }
    }
    known
}

pub(super) fn trail(raw: &RawTrail, path: &KeyPath, findings: &mut Findings<'_>) -> Trail {
    size_within(raw.segment_size, (1 << 20, 1 << 40), &path.key("segment_size"), findings);
    Trail {
        segment_size: raw.segment_size.as_bytes(),
        keep_bodies: keep_bodies(&raw.keep_bodies, &path.key("keep_bodies"), findings),
    }
}

fn keep_bodies(raw: &RawKeepBodies, path: &KeyPath, findings: &mut Findings<'_>) -> KeepBodies {
    more_than_nothing(raw.kept_for, &path.key("for"), findings);
    size_within(raw.size, (1 << 20, 1 << 40), &path.key("size"), findings);
    let bytes = raw.size.as_bytes();
    let bytes_per_agent = raw.per_agent.map_or(bytes / 4, Size::as_bytes);
    if let Some(given) = raw.per_agent.filter(|given| !(1..=bytes).contains(&given.as_bytes())) {
        let message = format!("`per_agent` would be `{given}` of `{}`", raw.size);
        findings.value(&path.key("per_agent"), FaultCode::OutOfRange, message).help("write a part of `size`, or all of it");
    }
    KeepBodies { kept_for: raw.kept_for.into(), bytes, bytes_per_agent }
}

pub(super) fn telemetry(raw: &RawTelemetry, path: &KeyPath, findings: &mut Findings<'_>) -> Telemetry {
    let key = path.key("endpoint");
    let endpoint = raw.endpoint.as_deref().and_then(|given| {
        let url = web_url(given);
        if url.is_none() {
            let fault = findings.value(&key, FaultCode::BadUrl, format!("`{given}` is not the base address of a collector"));
            fault.help("write it as `http://127.0.0.1:4318`");
        }
        url
    });
    let service_name = text(Some(&raw.service_name), &path.key("service_name"), findings);
    Telemetry { endpoint, service_name, ratio: raw.ratio }
}

pub(super) fn limits(raw: &RawLimits, path: &KeyPath, findings: &mut Findings<'_>) -> Limits {
    size_within(raw.max_result, (1 << 10, 1 << 30), &path.key("max_result"), findings);
    Limits {
        max_result: usize::try_from(raw.max_result.as_bytes()).unwrap_or(usize::MAX),
        max_depth: usize::try_from(raw.max_depth).unwrap_or(usize::MAX),
    }
}

/// Reports a duration of nothing.
pub(super) fn more_than_nothing(duration: Duration, path: &KeyPath, findings: &mut Findings<'_>) {
    if duration.as_millis() == 0 {
        let key = path.last_key().unwrap_or_default();
        findings
            .value(path, FaultCode::OutOfRange, format!("`{duration}` leaves no time for `{key}`"))
            .help("write more than `0s`");
    }
}

fn size_within(size: Size, (least, most): (u64, u64), path: &KeyPath, findings: &mut Findings<'_>) {
    if !(least..=most).contains(&size.as_bytes()) {
        let key = path.last_key().unwrap_or_default();
        let [least, most] = [least, most].map(|bytes| Size::from_bytes(bytes).to_string());
        let fault = findings.value(path, FaultCode::OutOfRange, format!("`{size}` is out of range for `{key}`"));
        fault.help(format!("write a size from `{least}` to `{most}`"));
    }
}

/// An `http` or `https` URL without user, query or fragment.
pub(super) fn web_url(given: &str) -> Option<Url> {
    let url = Url::parse(given).ok().filter(|_| given.contains("://"))?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url)
}

fn public_url(given: &str, allow_remote: bool, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Url> {
    let Some(url) = web_url(given).filter(|url| url.path().trim_end_matches('/').ends_with("/mcp")) else {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not the URL of an MCP endpoint"));
        fault.help("write it as `https://gateway.example.com/mcp`: no user, query or fragment");
        return None;
    };
    if url.scheme() == "http" && !is_loopback(&url) && !allow_remote {
        let fault = findings.value(path, FaultCode::RemoteListener, format!("`{given}` would carry tokens without TLS"));
        fault.help("write an `https` URL, or set `allow_remote = true`");
    }
    Some(url)
}

/// Whether the host as written is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// A host, with a port or without.
fn host(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> String {
    let is_plain = !given.contains(['*', '/', '@', '?', '#', '\\']) && !given.contains(char::is_whitespace);
    let url = Url::parse(&format!("http://{given}/")).ok().filter(|url| is_plain && url.has_host());
    if url.is_none() {
        let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not a host"));
        fault.help("write `gateway.example.com` or `gateway.example.com:8443`: no scheme, path or `*`");
    }
    given.to_ascii_lowercase()
}

/// A web origin (RFC 6454), as browsers send it.
fn origin(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> String {
    match web_url(given).map(|url| url.origin().ascii_serialization()) {
        Some(origin) if origin == given.to_ascii_lowercase() => origin,
        _ => {
            let fault = findings.value(path, FaultCode::BadUrl, format!("`{given}` is not an origin"));
            fault.help("write `https://app.example.com`, with a port if it isn't the usual one: no path and no `*`");
            String::new()
        }
    }
}
