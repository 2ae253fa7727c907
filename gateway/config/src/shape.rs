//! Does the configuration have the shape of its schema? What doesn't is reported and taken out, so that the rest can be
//! read and judged too, and everything that is wrong is said at once.

use bailiwick_pipeline::ids::{AgentId, GrantId};
use bailiwick_schemas::names::ConnectorId;
use serde_json::{Map, Value};

use crate::{
    code::FaultCode,
    fault::{Fault, Findings},
    schema::Shape,
    source::{KeyPath, Step},
    suggest::{listed, nearest},
    units::{Duration, Size, UnitFault},
};

/// The key under which the TOML reader hands over a date.
const DATE: &str = "$__toml_private_datetime";

/// Takes out of `value` what doesn't fit `shape`, and says why. False if nothing of it fits.
pub(crate) fn prune(shape: Shape<'_>, value: &mut Value, path: &KeyPath, findings: &mut Findings<'_>) -> bool {
    match (shape.type_name(), value) {
        (None, value) => any(value, path, findings),
        (Some("object"), Value::Object(table)) if !table.contains_key(DATE) => {
            prune_table(shape, table, path, findings);
            true
        }
        (Some("array"), Value::Array(items)) => prune_list(shape, items, path, findings),
        (Some("string"), Value::String(text)) => text_fault(shape, text, path, findings).is_none(),
        (Some("boolean"), Value::Bool(_)) => true,
        (Some("number"), Value::Number(number)) => is_in_range(shape, number.as_f64(), path, findings),
        (Some("integer"), Value::Number(number)) if number.is_i64() => is_in_range(shape, number.as_f64(), path, findings),
        (Some(wanted), found) => {
            wrong_type(shape, wanted, found, path, findings);
            false
        }
    }
}

fn prune_table(shape: Shape<'_>, table: &mut Map<String, Value>, path: &KeyPath, findings: &mut Findings<'_>) {
    for key in shape.required().filter(|key| !table.contains_key(*key)) {
        let below = path.key(key);
        let fault = findings.key(&below, FaultCode::MissingKey, format!("`{key}` is missing"));
        fault.help(match shape.of_key(key).and_then(example) {
            Some(example) => format!("add `{key} = {example}`"),
            None => format!("add `{key} = …`"),
        });
    }
    table.retain(|key, value| {
        let below = path.key(key);
        let Some(shape) = shape.of_key(key) else {
            unknown_key(shape, key, path, findings);
            return false;
        };
        prune(shape, value, &below, findings)
    });
}

fn unknown_key(shape: Shape<'_>, key: &str, path: &KeyPath, findings: &mut Findings<'_>) {
    let below = path.key(key);
    let message = match path.to_string() {
        above if above.is_empty() => format!("unknown key `{key}`"),
        above => format!("unknown key `{key}` in `{above}`"),
    };
    let fault = findings.key(&below, FaultCode::UnknownKey, message);
    fault.suggest(nearest(key, shape.keys())).help(format!("the keys here are {}", listed(shape.keys())));
}

/// A list of which one item doesn't fit is dropped as a whole: what is left of it would mean something else.
fn prune_list(shape: Shape<'_>, items: &mut [Value], path: &KeyPath, findings: &mut Findings<'_>) -> bool {
    if items.is_empty() && shape.number("minItems").is_some_and(|least| least > 0.0) {
        let key = path.last_key().unwrap_or_default();
        let fault = findings.value(path, FaultCode::EmptyList, format!("`{key}` is an empty list, which allows nothing"));
        fault.help("name what is meant, or leave the key out");
        return false;
    }
    let Some(shape) = shape.of_items() else {
        return true;
    };
    let mut fits = true;
    for (index, item) in items.iter_mut().enumerate() {
        fits &= prune(shape, item, &path.item(index), findings);
    }
    fits
}

fn any(value: &Value, path: &KeyPath, findings: &mut Findings<'_>) -> bool {
    let is_date = value.get(DATE).is_some();
    if value.is_null() || is_date {
        let what = if is_date { "a date is" } else { "`nan` and `inf` are" };
        let fault = findings.value(path, FaultCode::WrongType, format!("{what} nothing that JSON has"));
        fault.help("write a text in quotes, a number, `true` or `false`, a list or a table");
        return false;
    }
    match value {
        Value::Array(items) => items.iter().enumerate().all(|(at, item)| any(item, &path.item(at), findings)),
        Value::Object(table) => table.iter().all(|(key, value)| any(value, &path.key(key), findings)),
        _ => true,
    }
}

fn is_in_range(shape: Shape<'_>, number: Option<f64>, path: &KeyPath, findings: &mut Findings<'_>) -> bool {
    let (least, most) = (shape.number("minimum"), shape.number("maximum"));
    let number = number.unwrap_or(f64::NAN);
    if least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most) {
        return true;
    }
    let key = path.last_key().unwrap_or_default();
    let range = match (least, most) {
        (Some(least), Some(most)) => format!("write a number from {least} to {most}"),
        (Some(least), None) => format!("write a number of at least {least}"),
        (None, Some(most)) => format!("write a number of at most {most}"),
        (None, None) => "write a number".to_owned(),
    };
    findings.value(path, FaultCode::OutOfRange, format!("`{number}` is out of range for `{key}`")).help(range);
    false
}

fn wrong_type(shape: Shape<'_>, wanted: &str, found: &Value, path: &KeyPath, findings: &mut Findings<'_>) {
    let key = path.last_key().unwrap_or_default();
    let is_item = matches!(path.steps().last(), Some(Step::Item(_)));
    let subject = if is_item { format!("an item of `{key}`") } else { format!("`{key}`") };
    let wanted = match (wanted, shape.format()) {
        ("object", _) => "a table",
        ("array", _) => "a list",
        ("string", Some("bailiwick-duration")) => "a duration in quotes",
        ("string", Some("bailiwick-size")) => "a size in quotes",
        ("string", _) => "a text in quotes",
        ("integer", _) => "a whole number",
        ("boolean", _) => "`true` or `false`",
        _ => "a number",
    };
    let shown = match found {
        Value::Object(table) if table.contains_key(DATE) => "a date".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "no number".to_owned(),
        plain => format!("`{plain}`"),
    };
    let fault = findings.value(path, FaultCode::WrongType, format!("{subject} must be {wanted}, and this is {shown}"));
    let advice = match (key, found) {
        ("command", Value::String(_)) if !is_item => {
            "write the program and its arguments as a list, without a shell: `[\"/usr/bin/server\", \"--flag\"]`".to_owned()
        }
        (_, _) if shape.is_table() && path.steps().len() == 1 => {
            format!("write `[{key}]` on a line of its own, and its keys below")
        }
        (_, _) if shape.is_table() && is_item => format!("write `[[{key}]]` on a line of its own, and its keys below"),
        (_, _) if shape.is_table() => format!("write `{key} = {{ … }}`"),
        (_, _) if is_item => format!("write each item as {wanted}"),
        _ => match example(shape) {
            Some(example) => format!("for example `{key} = {example}`"),
            None => format!("write {wanted}"),
        },
    };
    fault.help(advice);
}

/// How a value of this shape might look.
fn example(shape: Shape<'_>) -> Option<String> {
    if let Some(value) = shape.default_value() {
        return Some(value.to_string()).filter(|text| !text.starts_with('{'));
    }
    let text = match (shape.type_name()?, shape.format()) {
        ("string", Some("bailiwick-duration")) => "\"30s\"",
        ("string", Some("bailiwick-size")) => "\"4MiB\"",
        ("string", _) => return Some(format!("\"{}\"", shape.words().first().unwrap_or(&"…"))),
        ("array", _) => "[\"…\"]",
        ("boolean", _) => "true",
        ("integer", _) => "1",
        _ => return None,
    };
    Some(text.to_owned())
}

fn text_fault<'f>(shape: Shape<'_>, text: &str, path: &KeyPath, findings: &'f mut Findings<'_>) -> Option<&'f mut Fault> {
    let words = shape.words();
    if !words.is_empty() && !words.contains(&text) {
        let key = path.last_key().unwrap_or_default();
        let fault = findings.value(path, FaultCode::UnknownWord, format!("`{text}` is no word for `{key}`"));
        fault.suggest(nearest(text, words.iter().copied())).help(format!("write one of {}", listed(words)));
        return Some(fault);
    }
    let (code, message, help) = format_fault(shape.format()?, text)?;
    Some(findings.value(path, code, message).help(help))
}

/// What is wrong with a text of a format.
fn format_fault(format: &str, text: &str) -> Option<(FaultCode, String, &'static str)> {
    let unit = |fault: UnitFault, code, help| (code, fault.to_string(), help);
    let name = |fault: String| {
        let (message, help) = fault.split_once(": ").unwrap_or((fault.as_str(), ""));
        let help = match help {
            "" => "use lower-case letters, digits and `-`",
            help if help.contains("1 to 32") => "use 1 to 32 of `a` to `z`, `0` to `9` and `-`, a letter first",
            _ => "use 1 to 64 of `a` to `z`, `0` to `9`, `-`, `_` and `.`, a letter or digit first",
        };
        (FaultCode::BadName, message.to_owned(), help)
    };
    match format {
        "bailiwick-duration" => {
            let help = "write a whole number with a unit: `500ms`, `45s`, `10m`, `8h` or `30d`";
            text.parse::<Duration>().err().map(|fault| unit(fault, FaultCode::BadDuration, help))
        }
        "bailiwick-size" => {
            let help = "write a whole number with a unit: `512B`, `64KiB`, `4MiB` or `1GiB`";
            text.parse::<Size>().err().map(|fault| unit(fault, FaultCode::BadSize, help))
        }
        "bailiwick-address" => {
            let message = format!("`{text}` is not an address with a port");
            let help = "write an IP address and a port: `127.0.0.1:8931` or `[::1]:8931`";
            text.parse::<std::net::SocketAddr>().err().map(|_| (FaultCode::BadAddress, message, help))
        }
        "bailiwick-agent-id" => text.parse::<AgentId>().err().map(|fault| name(fault.to_string())),
        "bailiwick-grant-id" => text.parse::<GrantId>().err().map(|fault| name(fault.to_string())),
        "bailiwick-connector-id" => text.parse::<ConnectorId>().err().map(|fault| name(fault.to_string())),
        _ => None,
    }
}
