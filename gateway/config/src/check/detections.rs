//! `[[detections]]`

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::{
    detect::{Act, MOST_RULES, Rule, Sort},
    ids::AgentId,
};
use bailiwick_schemas::names::QualifiedName;

use super::{args::is_pointer, duplicates, grants::pattern};
use crate::{
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawDetection},
    source::KeyPath,
    suggest::nearest,
    units::Duration,
};

/// The keys that belong to some kinds alone.
type Own = (&'static str, &'static [&'static str], fn(&RawDetection) -> bool);

const OWN: [Own; 10] = [
    ("count", &["repeat", "probe"], |raw| raw.count.is_some()),
    ("period", &["cycle"], |raw| raw.period.is_some()),
    ("turns", &["cycle"], |raw| raw.turns.is_some()),
    ("sum", &["sum"], |raw| raw.sum.is_some()),
    ("limit", &["sum"], |raw| raw.limit.is_some()),
    ("per_task", &["sum"], |raw| raw.per_task.is_some()),
    ("after", &["read_then_send"], |raw| raw.after.is_some()),
    ("connectors", &["fan_out"], |raw| raw.connectors.is_some()),
    ("destinations", &["fan_out"], |raw| raw.destinations.is_some()),
    ("grants", &["fan_out"], |raw| raw.grants.is_some()),
];

/// Shorter than that one and the same finding would be on record too often; longer than that a start would read for too long.
const WINDOW: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(7 * 24 * 60 * 60));

pub(super) fn detections(whole: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<Rule> {
    let raw = &whole.detections;
    duplicates(raw.iter().map(|detection| detection.id.as_ref()), "detection", path, findings);
    if raw.len() > MOST_RULES {
        let message = format!("there are {} detections", raw.len());
        let fault = findings.key(&path.item(MOST_RULES), FaultCode::OutOfRange, message);
        fault.help(format!("write {MOST_RULES} at most: each is looked for at every call"));
    }
    raw.iter().enumerate().filter_map(|(index, raw)| detection(raw, whole, &path.item(index), findings)).collect()
}

fn detection(raw: &RawDetection, whole: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Rule> {
    let id = raw.id.as_deref()?;
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(is_fit) {
        let fault = findings.value(&path.key("id"), FaultCode::BadName, format!("`{id}` is not a valid detection id"));
        fault.help("use 1 to 64 of `a` to `z`, `0` to `9`, `-`, `_` and `.`");
    }
    let kind = raw.kind.as_deref()?;
    for (key, kinds, is_set) in OWN {
        if is_set(raw) && !kinds.contains(&kind) {
            let message = format!("`{key}` means nothing with `kind = \"{kind}\"`");
            findings.key(&path.key(key), FaultCode::Conflict, message).help(format!("it belongs to {}", kinds.join(", ")));
        }
    }
    let act = match raw.action.as_str() {
        "deny" => Act::Deny,
        "step_up" => Act::StepUp,
        _ => Act::Observe,
    };
    let tools = raw.tools.iter().flatten().enumerate();
    let tools = tools.filter_map(|(index, given)| pattern(given, whole, &path.key("tools").item(index), findings)).collect();
    let agents = agents(raw, whole, &path.key("agents"), findings);
    let window_ms = window(raw, kind, &path.key("window"), findings);
    let sort = sort(raw, kind, whole, path, findings)?;
    Some(Rule::new(id, sort, act, window_ms).about(tools, agents))
}

fn window(raw: &RawDetection, kind: &str, path: &KeyPath, findings: &mut Findings<'_>) -> u64 {
    let default = match kind {
        "sum" => Duration::from_secs(60 * 60),
        "read_then_send" => Duration::from_secs(10 * 60),
        _ => Duration::from_secs(60),
    };
    let window = raw.window.unwrap_or(default);
    let (least, most) = WINDOW;
    if window < least || window > most {
        let fault = findings.value(path, FaultCode::OutOfRange, format!("`{window}` is no window for a detection"));
        fault.help(format!("write a time from `{least}` to `{most}`"));
    }
    window.as_millis()
}

fn sort(raw: &RawDetection, kind: &str, whole: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Sort> {
    Some(match kind {
        "repeat" => Sort::Repeat { count: raw.count.unwrap_or(10) },
        "cycle" => Sort::Cycle { period: raw.period.unwrap_or(4), turns: raw.turns.unwrap_or(3) },
        "probe" => Sort::Probe { refused: raw.count.unwrap_or(5) },
        "sum" => {
            let amounts = amounts(raw, whole, path, findings);
            if raw.limit.is_none() && raw.per_task.is_none() && !findings.has_any_in(path) {
                let fault = findings.key(path, FaultCode::MissingKey, "nothing says how much is too much");
                fault.help("write `limit` for a window, `per_task`, or both");
            }
            Sort::Sum { amounts, limit: raw.limit, per_task: raw.per_task }
        }
        "read_then_send" => {
            let has = |word: &str| raw.after.as_ref().is_none_or(|after| after.iter().any(|given| given == word));
            Sort::ReadThenSend { untrusted: has("untrusted"), confidential: has("confidential") }
        }
        "fan_out" if raw.connectors.or(raw.destinations).or(raw.grants).is_none() => {
            Sort::FanOut { connectors: Some(5), destinations: Some(10), grants: Some(5) }
        }
        "fan_out" => Sort::FanOut { connectors: raw.connectors, destinations: raw.destinations, grants: raw.grants },
        _ => return None,
    })
}

/// Where the amounts stand, by tool.
fn amounts(raw: &RawDetection, whole: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> BTreeMap<QualifiedName, String> {
    let here = path.key("sum");
    if raw.sum.is_none() && !findings.has_any_in(&here) {
        let fault = findings.key(path, FaultCode::MissingKey, "`sum` is missing");
        fault.help("say where amounts stand: `sum = { tickets__refund = \"/amount_cents\" }`");
    }
    let mut found = BTreeMap::new();
    for (tool, pointer) in raw.sum.iter().flatten() {
        let path = here.key(tool);
        let Ok(name) = tool.parse::<QualifiedName>() else {
            let fault = findings.key(&path, FaultCode::BadName, format!("`{tool}` is not the name of one tool"));
            fault.help("an amount is of one tool: write `connector__tool`");
            continue;
        };
        if pattern(tool, whole, &path, findings).is_none() {
            continue;
        }
        if !is_pointer(pointer) {
            let fault = findings.value(&path, FaultCode::BadPointer, format!("`{pointer}` is not a JSON pointer to an argument"));
            fault.help("begin with `/`, as in `/amount_cents` or `/order/total` (RFC 6901)");
        }
        found.insert(name, pointer.clone());
    }
    found
}

fn agents(raw: &RawDetection, whole: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> BTreeSet<AgentId> {
    let known = || whole.agents.iter().filter_map(|agent| agent.id.as_ref());
    let mut found = BTreeSet::new();
    for (index, given) in raw.agents.iter().flatten().enumerate() {
        if let Some(id) = known().find(|id| id.as_str() == given) {
            found.insert(id.clone());
            continue;
        }
        let fault = findings.value(&path.item(index), FaultCode::UnknownAgent, format!("there is no agent `{given}`"));
        let meant = nearest(given, known().map(AgentId::as_str));
        fault.suggest(meant).help("name one of `[[agents]]`, or leave `agents` out for all");
    }
    found
}
