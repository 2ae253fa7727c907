//! `args` of a grant: bounds on the arguments of its tools.

use std::collections::BTreeMap;

use bailiwick_pipeline::{
    constraint::{Bound, IntRange},
    grant::ToolPattern,
};
use bailiwick_schemas::names::QualifiedName;

use super::split;
use crate::{code::FaultCode, fault::Findings, raw::RawBound, source::KeyPath, suggest::nearest};

/// Bounds by JSON pointer, by tool.
pub(super) type Bounds = BTreeMap<QualifiedName, BTreeMap<String, Bound>>;

pub(super) fn bounds(raw: &BTreeMap<String, BTreeMap<String, RawBound>>, path: &KeyPath, findings: &mut Findings<'_>) -> Bounds {
    let mut bounds = Bounds::new();
    for (tool, raw) in raw {
        let path = path.key(tool);
        let Ok(name) = tool.parse::<QualifiedName>() else {
            let fault = findings.key(&path, FaultCode::BadName, format!("`{tool}` is not the name of one tool"));
            fault.help("bounds are for one tool each: write `connector__tool`");
            continue;
        };
        if raw.is_empty() && !findings.has_any_in(&path) {
            let fault = findings.value(&path, FaultCode::BadBound, format!("there are no bounds for `{tool}`"));
            fault.help("write `\"/argument\" = { eq = \"value\" }`, or leave the tool out of `args`");
        }
        let checked = raw.iter().map(|(pointer, raw)| (pointer.clone(), bound(pointer, raw, &path.key(pointer), findings)));
        bounds.insert(name, checked.collect());
    }
    bounds
}

fn bound(pointer: &str, raw: &RawBound, path: &KeyPath, findings: &mut Findings<'_>) -> Bound {
    if !is_pointer(pointer) {
        let fault = findings.key(path, FaultCode::BadPointer, format!("`{pointer}` is not a JSON pointer to an argument"));
        let meant = format!("/{}", pointer.trim_start_matches(['$', '.']).replace('.', "/"));
        fault.suggest(Some(meant).filter(|meant| is_pointer(meant) && !pointer.contains('/')));
        fault.help("begin with `/`, as in `/project` or `/items/0/id`; write `~` as `~0` and `/` in a name as `~1` (RFC 6901)");
    }
    let bound = Bound {
        eq: raw.eq.clone(),
        one_of: raw.one_of.clone(),
        int_range: raw.int_range.map(|range| IntRange { min: range.min, max: range.max }),
        path_under: raw.path_under.clone(),
        uri_under: raw.uri_under.clone(),
        host_in: raw.host_in.clone(),
        domain_in: raw.domain_in.clone(),
        len_max: raw.len_max,
        absent: raw.absent,
    };
    if let Err(fault) = bound.check()
        && !findings.has_any_in(path)
    {
        let message = fault.to_string();
        let (message, help) = split(&message);
        findings.value(path, FaultCode::BadBound, message).help(help);
    }
    bound
}

/// Whether it points into the arguments (RFC 6901), and not at all of them.
pub(super) fn is_pointer(pointer: &str) -> bool {
    let escapes_are_whole = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    pointer.starts_with('/') && escapes_are_whole
}

/// Every tool with bounds must be named by the grant, and by nothing in it that has no bounds: a call needs to satisfy one
/// capability only, so a wildcard beside it would lift them.
pub(super) fn match_tools(bounds: &Bounds, patterns: &[(usize, ToolPattern)], path: &KeyPath, findings: &mut Findings<'_>) {
    for tool in bounds.keys() {
        let bounded = path.key("args").key(&tool.to_string());
        let mut covering = patterns.iter().filter(|(_, pattern)| pattern.covers(tool)).peekable();
        if covering.peek().is_none() {
            let fault = findings.key(&bounded, FaultCode::BoundWithoutTool, format!("`{tool}` has bounds, and isn't in `tools`"));
            let named: Vec<String> = patterns.iter().map(|(_, pattern)| pattern.to_string()).collect();
            fault.suggest(nearest(&tool.to_string(), named.iter().map(String::as_str)));
            fault.help(format!("add `\"{tool}\"` to `tools`, or leave its bounds out"));
        }
        for (index, pattern) in covering.filter(|(_, pattern)| matches!(pattern, ToolPattern::Connector(_))) {
            let message = format!("`{pattern}` would lift the bound on `{tool}`");
            let here = path.key("tools").item(*index);
            let fault = findings.beside(&here, FaultCode::LiftedBound, message, (&bounded, "this bound"));
            fault.help("name each tool in `tools`, without the wildcard");
        }
    }
}
