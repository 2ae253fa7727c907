//! A grant in the words of config.toml, and how two of them differ.

use std::collections::BTreeMap;

use bailiwick_pipeline::grant::{ANY_ENVIRONMENT, Capability, Grant, ToolPattern};
use serde::Serialize;
use serde_json::Value;

/// The grant as `[[grants]]` has it, line by line; it lives so long.
pub(super) fn lines(grant: &Grant, ttl_ms: u64) -> Vec<String> {
    let mut lines = vec!["[[grants]]".to_owned()];
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{key} = {value}"));
        }
    };
    set("id", Some(text(grant.id.as_str())));
    set("agent", Some(text(grant.agent.as_str())));
    set("owner", Some(text(&grant.owner)));
    set("purpose", Some(text(&grant.purpose)));
    set("default", grant.default.then(|| "true".to_owned()));
    set("ceiling", Some(text(grant.ceiling.as_str())));
    set("environment", Some(text(&grant.environment)).filter(|_| grant.environment != ANY_ENVIRONMENT));
    set("ttl", Some(text(&time(ttl_ms))));
    set("idle_timeout", grant.idle_ms.map(|idle| text(&time(idle))));
    set("max_rate", grant.max_rate.map(|rate| rate.to_string()));
    set("delegation_depth", (grant.delegation_depth > 0).then(|| grant.delegation_depth.to_string()));
    let listed = |all: &std::collections::BTreeSet<String>| array(all.iter().map(|one| text(one)));
    set("data_classes", grant.data_classes.as_ref().map(listed));
    set("destinations", grant.destinations.as_ref().map(listed));
    set("ticket", grant.ticket.as_deref().map(text));
    set("tool_search", grant.tool_search.then(|| "true".to_owned()));
    set("may_complete", grant.may_complete.then(|| "true".to_owned()));
    set("may_request", grant.may_request.then(|| "true".to_owned()));
    set("kinds", kinds(&grant.capabilities));
    lines.push("tools = [".to_owned());
    for right in &grant.capabilities {
        let line = format!("    {},", text(&right.tools.to_string()));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.push("]".to_owned());
    budget(grant, &mut lines);
    args(&grant.capabilities, &mut lines);
    lines
}

/// The kinds that all rights have; a configuration can say no other.
fn kinds(rights: &[Capability]) -> Option<String> {
    let first = rights.first()?.kinds.as_ref()?;
    let is_common = rights.iter().all(|right| right.kinds.as_ref() == Some(first));
    is_common.then(|| array(first.iter().map(|kind| text(kind.as_str()))))
}

fn budget(grant: &Grant, lines: &mut Vec<String>) {
    let budget = &grant.budget;
    let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
    let limits = [
        ("calls", number(budget.calls)),
        ("writes", number(budget.writes)),
        ("bytes_out", budget.bytes_out.map(|bytes| text(&size(bytes)))),
        ("cost", number(budget.cost)),
    ];
    if limits.iter().any(|(_, limit)| limit.is_some()) {
        lines.push("[grants.budget]".to_owned());
        lines.extend(limits.into_iter().filter_map(|(key, limit)| Some(format!("{key} = {}", limit?))));
    }
    if !budget.tools.is_empty() {
        lines.push("[grants.budget.tools]".to_owned());
        lines.extend(budget.tools.iter().map(|(pattern, most)| format!("{} = {most}", text(&pattern.to_string()))));
    }
}

fn args(rights: &[Capability], lines: &mut Vec<String>) {
    let bound: BTreeMap<&ToolPattern, &Capability> =
        rights.iter().filter(|right| !right.args.is_empty()).map(|right| (&right.tools, right)).collect();
    for (pattern, right) in bound {
        lines.push(format!("[grants.args.{}]", text(&pattern.to_string())));
        for (pointer, bound) in &right.args {
            let value = toml(bound);
            // TOML has no null.
            lines.push(value.map_or_else(
                || format!("# {} must be {}", text(pointer), bound.describe()),
                |value| format!("{} = {value}", text(pointer)),
            ));
        }
    }
}

fn toml(bound: &impl Serialize) -> Option<String> {
    value(&serde_json::to_value(bound).ok()?)
}

/// A value as TOML writes it in one line.
fn value(json: &Value) -> Option<String> {
    Some(match json {
        Value::Null => return None,
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(given) => text(given),
        Value::Array(items) => array(items.iter().map(value).collect::<Option<Vec<_>>>()?),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| Some(format!("{} = {}", key_of(key), value(field)?)));
            format!("{{ {} }}", fields.collect::<Option<Vec<_>>>()?.join(", "))
        }
    })
}

fn key_of(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_bare { key.to_owned() } else { text(key) }
}

fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// A text in quotes. JSON's escapes are TOML's, but for one character that JSON leaves as it is.
fn text(given: &str) -> String {
    Value::from(given).to_string().replace('\u{7f}', "\\u007f")
}

/// A time in the largest unit that says it exactly.
fn time(millis: u64) -> String {
    let unit = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000)]
        .into_iter()
        .find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{}s", millis.div_ceil(1000).max(1)), |(name, factor)| format!("{}{name}", millis / factor))
}

/// A size in the largest unit that says it exactly.
fn size(bytes: u64) -> String {
    let unit = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes}B"), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// Both, with what is only in the first marked `-` and what is only in the second `+`.
pub(super) fn diff(before: &[String], after: &[String], id: &str) -> String {
    let mut out = format!("--- {id} as it is\n+++ {id} as it was used\n");
    let same = common(before, after);
    let (mut old, mut new) = (before.iter().enumerate().peekable(), after.iter().enumerate().peekable());
    let mut push = |mark: char, line: &str| {
        out.push(mark);
        out.push_str(line);
        out.push('\n');
    };
    for (at, to) in same {
        while let Some((_, line)) = old.next_if(|(index, _)| *index < at) {
            push('-', line);
        }
        while let Some((_, line)) = new.next_if(|(index, _)| *index < to) {
            push('+', line);
        }
        if let (Some((_, line)), Some(_)) = (old.next(), new.next()) {
            push(' ', line);
        }
    }
    old.for_each(|(_, line)| push('-', line));
    new.for_each(|(_, line)| push('+', line));
    out
}

/// The longest row of lines that both have, as pairs of places (dynamic programming over both).
fn common(before: &[String], after: &[String]) -> Vec<(usize, usize)> {
    let mut longest: Vec<Vec<usize>> = vec![vec![0; after.len() + 1]; before.len() + 1];
    let at =
        |table: &[Vec<usize>], row: usize, column: usize| table.get(row).and_then(|row| row.get(column)).copied().unwrap_or(0);
    for (row, old) in before.iter().enumerate().rev() {
        for (column, new) in after.iter().enumerate().rev() {
            let length = if old == new {
                at(&longest, row + 1, column + 1) + 1
            } else {
                at(&longest, row + 1, column).max(at(&longest, row, column + 1))
            };
            if let Some(cell) = longest.get_mut(row).and_then(|row| row.get_mut(column)) {
                *cell = length;
            }
        }
    }
    let (mut row, mut column, mut pairs) = (0, 0, Vec::new());
    while let (Some(old), Some(new)) = (before.get(row), after.get(column)) {
        if old == new {
            pairs.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if at(&longest, row + 1, column) >= at(&longest, row, column + 1) {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::path::Path;

    use super::*;

    const WRITTEN: &str = r#"
[[agents]]
id = "a"
owner = "o\"1"
ceiling = "high"

[[connectors]]
id = "files"
url = "https://files.example.com/mcp"

[[grants]]
id = "g"
agent = "a"
owner = "somebody \\ else"
purpose = "read and write"
default = true
ceiling = "medium"
environment = "production"
ttl = "90m"
idle_timeout = "45s"
max_rate = 3
delegation_depth = 1
data_classes = ["internal"]
destinations = ["example.com"]
ticket = "T-1"
tool_search = true
may_complete = true
may_request = true
kinds = ["read", "write"]
tools = ["files__read", "files__write", "files/resource_read"]
[grants.budget]
calls = 7
bytes_out = "4097B"
[grants.budget.tools]
"files__*" = 3
[grants.args.files__write]
"/path" = { path_under = "/srv" }
"/n" = { int_range = { min = 1, max = 5 } }
"/a b" = { in = ["x", 2, 2.50, true] }
"#;

    #[test]
    fn a_grant_in_words_is_the_grant() {
        let load = |text: String| bailiwick_config::load(Path::new("c.toml"), text, []).unwrap();
        let terms = |config: &bailiwick_config::Config| config.grants.first().unwrap().to_grant(0, 1);
        let grant = terms(&load(WRITTEN.to_owned()));
        let head = WRITTEN.split("[[grants]]").next().unwrap();
        let again = format!("{head}{}", lines(&grant, grant.expires_at_ms).join("\n"));
        assert_eq!(terms(&load(again)), grant);
    }

    #[test]
    fn what_differs_is_marked() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            diff(&lines("a b c d"), &lines("a x c e"), "g"),
            "--- g as it is\n+++ g as it was used\n a\n-b\n+x\n c\n-d\n+e\n"
        );
        assert_eq!(diff(&lines("a"), &lines("a"), "g"), "--- g as it is\n+++ g as it was used\n a\n");
    }

    #[test]
    fn times_are_said_exactly() {
        assert_eq!([86_400_000, 5_400_000, 45_000, 1, 0].map(time), ["1d", "90m", "45s", "1s", "1s"]);
    }
}
