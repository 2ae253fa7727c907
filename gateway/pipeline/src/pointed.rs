//! What a pointer of the configuration leads to: JSON pointers (RFC 6901), in which `*` stands for each member or item, and a name for that
//! member of each item of a list. So whoever says what is meant need not say how many there are.

use serde_json::Value;

/// All that this pointer leads to.
pub(crate) fn pointed<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let Some(pointer) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() { vec![value] } else { Vec::new() };
    };
    let mut found = vec![value];
    for segment in pointer.split('/') {
        let name = segment.replace("~1", "/").replace("~0", "~");
        found = found.into_iter().flat_map(|value| step(value, &name)).collect();
    }
    found
}

fn step<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(members) if name == "*" => members.values().collect(),
        Value::Object(members) => members.get(name).into_iter().collect(),
        Value::Array(items) if name == "*" => items.iter().collect(),
        Value::Array(items) => match name.parse::<usize>() {
            Ok(at) => items.get(at).into_iter().collect(),
            Err(_) => items.iter().flat_map(|item| step(item, name)).collect(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::pointed;

    #[test]
    fn a_pointer_leads_to_one_and_a_star_to_each() {
        let value = json!({"to": "a", "cc": ["b", "c"], "people": [{"mail": "d"}, {"mail": "e"}, {}], "a/b": {"~": 1}});
        for (pointer, expected) in [
            ("/to", json!(["a"])),
            ("/cc", json!([["b", "c"]])),
            ("/cc/1", json!(["c"])),
            ("/cc/*", json!(["b", "c"])),
            ("/people/*/mail", json!(["d", "e"])),
            ("/people/mail", json!(["d", "e"])),
            ("/people/1/mail", json!(["e"])),
            ("/*/*/mail", json!(["d", "e"])),
            ("/a~1b/~0", json!([1])),
            ("/none", json!([])),
            ("/to/deeper", json!([])),
            ("no pointer", json!([])),
        ] {
            assert_eq!(json!(pointed(&value, pointer)), expected, "{pointer}");
        }
        assert_eq!(pointed(&value, ""), [&value]);
    }
}
