//! How a tool's definition differs from the one that was accepted.

use serde_json::Value;

use super::api::Change;

/// As many places are told.
const MOST: usize = 50;

/// The places in which two definitions differ, by JSON pointer.
pub(super) fn changes(before: &Value, now: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(before, now, String::new(), &mut found);
    found.truncate(MOST);
    found
}

fn compare(before: &Value, now: &Value, at: String, found: &mut Vec<Change>) {
    if before == now || found.len() >= MOST {
        return;
    }
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                place(old.get(key), new.get(key), at, found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                place(old.get(index), new.get(index), format!("{at}/{index}"), found);
            }
        }
        _ => found.push(Change { at, before: Some(before.clone()), now: Some(now.clone()) }),
    }
}

fn place(before: Option<&Value>, now: Option<&Value>, at: String, found: &mut Vec<Change>) {
    match (before, now) {
        (Some(before), Some(now)) => compare(before, now, at, found),
        (before, now) => found.push(Change { at, before: before.cloned(), now: now.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_change_has_its_place() {
        let before = json!({"name": "a", "description": "x", "inputSchema": {"required": ["a", "b"], "a/b": 1}, "gone": null});
        let now = json!({"name": "a", "description": "y", "inputSchema": {"required": ["a"], "a/b": 2}, "new": true});
        let change = |at: &str, before: Option<Value>, now: Option<Value>| Change { at: at.into(), before, now };
        assert_eq!(
            changes(&before, &now),
            [
                change("/description", Some(json!("x")), Some(json!("y"))),
                change("/inputSchema/required/1", Some(json!("b")), None),
                change("/inputSchema/a~1b", Some(json!(1)), Some(json!(2))),
                change("/gone", Some(json!(null)), None),
                change("/new", None, Some(json!(true))),
            ]
        );
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn a_flood_of_changes_is_cut() {
        let before: Value = (0..500).collect();
        let now: Value = (1..501).collect();
        assert_eq!(changes(&before, &now).len(), MOST);
    }
}
