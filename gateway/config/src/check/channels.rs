//! `[[channels]]`

use std::{collections::BTreeSet, path::PathBuf};

use bailiwick_channels::{ChannelSpec, EventKind, Place, Target, Way};

use super::{Setting, duplicates, http};
use crate::{code::FaultCode, fault::Findings, raw::RawChannel, source::KeyPath};

/// The keys that belong to one kind of channel.
type Own = (&'static str, &'static [&'static str], fn(&RawChannel) -> bool);

/// Which keys mean something with which kinds alone.
const OWN: [Own; 11] = [
    ("url", &["webhook", "slack", "teams", "ntfy"], |raw| raw.url.is_some()),
    ("url_file", &["webhook", "slack", "teams", "ntfy"], |raw| raw.url_file.is_some()),
    ("networks", &["webhook", "slack", "teams", "ntfy"], |raw| raw.networks.is_some()),
    ("roots", &["webhook", "slack", "teams", "ntfy"], |raw| raw.roots.is_some()),
    ("secret_file", &["webhook"], |raw| raw.secret_file.is_some()),
    ("include_args", &["webhook"], |raw| raw.include_args),
    ("topic", &["ntfy"], |raw| raw.topic.is_some()),
    ("token_file", &["ntfy"], |raw| raw.token_file.is_some()),
    ("command", &["mail"], |raw| raw.command.is_some()),
    ("from", &["mail"], |raw| raw.from.is_some()),
    ("to", &["mail"], |raw| raw.to.is_some()),
];

pub(super) fn channels(
    raw: &[RawChannel],
    path: &KeyPath,
    setting: Setting<'_>,
    findings: &mut Findings<'_>,
) -> Vec<ChannelSpec> {
    duplicates(raw.iter().map(|channel| channel.id.as_ref()), "channel", path, findings);
    raw.iter().enumerate().filter_map(|(index, raw)| channel(raw, &path.item(index), setting, findings)).collect()
}

fn channel(raw: &RawChannel, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<ChannelSpec> {
    let id = raw.id.as_deref()?;
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(is_fit) {
        let fault = findings.value(&path.key("id"), FaultCode::BadName, format!("`{id}` is not a valid channel id"));
        fault.help("use 1 to 64 of `a` to `z`, `0` to `9`, `-`, `_` and `.`");
    }
    let kind = raw.kind.as_deref()?;
    for (key, kinds, is_set) in OWN {
        if is_set(raw) && !kinds.contains(&kind) {
            let message = format!("`{key}` means nothing with `kind = \"{kind}\"`");
            findings.key(&path.key(key), FaultCode::Conflict, message).help(format!("it belongs to {}", kinds.join(", ")));
        }
    }
    let hears = events(raw, kind, path, findings);
    Some(ChannelSpec {
        id: id.to_owned(),
        way: way(raw, kind, path, setting, findings)?,
        hears,
        from_band: raw.from_band,
        after: raw.after.into(),
        include_args: raw.include_args,
    })
}

fn way(raw: &RawChannel, kind: &str, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Way> {
    if kind == "mail" {
        let command = command(raw, path, findings);
        let from = needed(raw.from.as_ref(), "from", path, findings).filter(|from| address(from, &path.key("from"), findings));
        let list = path.key("to");
        let to = needed(raw.to.as_ref(), "to", path, findings)?;
        let is_good = to.iter().enumerate().fold(true, |good, (at, one)| address(one, &list.item(at), findings) && good);
        return Some(Way::Mail { command: command?, from: from?.clone(), to: to.clone() }).filter(|_| is_good);
    }
    let place = place(raw, path, setting, findings);
    match kind {
        "webhook" => {
            let secrets = needed(raw.secret_file.as_ref(), "secret_file", path, findings);
            Some(Way::Webhook { secrets: file(secrets?, &path.key("secret_file"), setting, findings)?, place: place? })
        }
        "slack" => Some(Way::Slack(place?)),
        "teams" => Some(Way::Teams(place?)),
        "ntfy" => {
            let topic = needed(raw.topic.as_ref(), "topic", path, findings)?;
            let is_topic = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if topic.is_empty() || topic.len() > 64 || !topic.bytes().all(is_topic) {
                let fault = findings.value(&path.key("topic"), FaultCode::BadName, format!("`{topic}` is no topic of ntfy"));
                fault.help("use 1 to 64 letters, digits, `-` and `_`");
            }
            let token = raw.token_file.as_deref().map(|given| file(given, &path.key("token_file"), setting, findings));
            let token = match token {
                Some(read) => Some(read?),
                None => None,
            };
            Some(Way::Ntfy { place: place?, topic: topic.clone(), token })
        }
        _ => None,
    }
}

fn place(raw: &RawChannel, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<Place> {
    let url = match (&raw.url, &raw.url_file) {
        (Some(url), None) => http::endpoint(url, raw.dangerous_plain_http, &path.key("url"), findings).map(Target::Url),
        (None, Some(given)) => file(given, &path.key("url_file"), setting, findings).map(Target::File),
        (Some(_), Some(_)) => {
            let message = "`url` and `url_file` both say where messages go";
            findings.key(&path.key("url_file"), FaultCode::Conflict, message).help("keep one of them");
            None
        }
        (None, None) => {
            if !findings.has_any_in(&path.key("url")) && !findings.has_any_in(&path.key("url_file")) {
                let fault = findings.key(path, FaultCode::MissingKey, "`url` is missing");
                fault.help("write where messages go, or name the file with that URL in `url_file`");
            }
            None
        }
    };
    let networks = http::networks(raw.networks.as_deref(), &path.key("networks"), findings);
    let roots = match raw.roots.as_deref() {
        Some(given) => Some(file(given, &path.key("roots"), setting, findings)?),
        None => None,
    };
    Some(Place { url: url?, networks: networks?, roots, dangerous_plain_http: raw.dangerous_plain_http })
}

/// What it hears of. An escalation is about what waits, and nothing else.
fn events(raw: &RawChannel, kind: &str, path: &KeyPath, findings: &mut Findings<'_>) -> BTreeSet<EventKind> {
    let is_escalation = raw.after.as_millis() > 0;
    let Some(given) = &raw.events else {
        let is_all = kind == "webhook" && !is_escalation;
        return if is_all { EventKind::ALL.into() } else { [EventKind::Requested].into() };
    };
    let hears: BTreeSet<_> = EventKind::ALL.into_iter().filter(|kind| given.iter().any(|word| word == kind.as_str())).collect();
    if is_escalation && hears.iter().any(|kind| *kind != EventKind::Requested) {
        let message = "a channel with `after` hears of what waits, and of nothing else";
        let fault = findings.beside(&path.key("events"), FaultCode::Conflict, message, (&path.key("after"), "set here"));
        fault.help("leave `events` out, and write a second channel for the others");
    }
    hears
}

fn command(raw: &RawChannel, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let command = needed(raw.command.as_ref(), "command", path, findings)?;
    let here = path.key("command");
    let program = command.first()?;
    if !program.starts_with('/') {
        let fault = findings.value(&here, FaultCode::RelativeCommand, format!("`{program}` is not an absolute path"));
        fault.help("write the whole path, such as `[\"/usr/sbin/sendmail\", \"-t\", \"-oi\"]`");
        return None;
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        findings.value(&here, FaultCode::BadText, "`command` has a NUL in it").help("remove it");
        return None;
    }
    Some(command.clone())
}

fn needed<'r, T>(given: Option<&'r T>, key: &'static str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<&'r T> {
    if given.is_none() && !findings.has_any_in(&path.key(key)) {
        let fault = findings.key(path, FaultCode::MissingKey, format!("`{key}` is missing"));
        fault.help(format!("write `{key}`: `config.example.toml` shows one"));
    }
    given
}

/// Whether this can stand in a header of a mail: `name@host`, without a display name.
fn address(given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> bool {
    let is_plain =
        |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\' | '[' | ']');
    let is_address = given.len() <= 254
        && given.chars().all(is_plain)
        && given.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if !is_address {
        let fault = findings.value(path, FaultCode::BadText, format!("`{}` is no address of mail", given.escape_debug()));
        fault.help("write it as `approvals@example.com`, without a name around it");
    }
    is_address
}

fn file(given: &str, path: &KeyPath, setting: Setting<'_>, findings: &mut Findings<'_>) -> Option<PathBuf> {
    if given.trim().is_empty() || given.contains('\0') {
        let fault = findings.value(path, FaultCode::BadText, format!("`{}` is no path of a file", given.escape_debug()));
        fault.help("write the path of a file, relative to this one or absolute");
        return None;
    }
    Some(setting.resolve(given))
}
