//! How much a value weighs before a validator looks at it.

use serde_json::Value;

/// The size of a value, in units of what one subschema does with one small value.
///
/// Strings weigh by length, since patterns and lengths read them; numbers by their text, since arithmetic is exact.
/// Where `uniqueItems` stands in the schema, an array's items may all be compared with each other: the engine finds
/// duplicates by hashing, and whoever writes the value can make hashes collide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) has_unique_items: bool,
    pub(super) has_patterns: bool,
}

impl Scale {
    /// The weight of `value`, or nothing when it is nested deeper than `depth`.
    pub(super) fn weigh(self, value: &Value, depth: usize) -> Option<u64> {
        Some(
            1 + match value {
                Value::Null | Value::Bool(_) => 0,
                Value::Number(number) => number.as_str().len() as u64 / 8,
                Value::String(text) => self.text(text),
                Value::Array(items) => {
                    let depth = depth.checked_sub(1)?;
                    let mut sum = 0_u64;
                    for item in items {
                        sum = sum.saturating_add(self.weigh(item, depth)?);
                    }
                    if self.has_unique_items { sum.saturating_add(comparisons(items, sum)) } else { sum }
                }
                Value::Object(map) => {
                    let depth = depth.checked_sub(1)?;
                    let mut sum = 0_u64;
                    for (key, item) in map {
                        sum = sum.saturating_add(self.text(key)).saturating_add(self.weigh(item, depth)?);
                    }
                    sum
                }
            },
        )
    }

    fn text(self, text: &str) -> u64 {
        text.len() as u64 / if self.has_patterns { 8 } else { 64 }
    }
}

/// What it costs when all items whose hashes can be made to collide are compared with each other.
fn comparisons(items: &[Value], sum: u64) -> u64 {
    let collides = |item: &&Value| match item {
        Value::Array(_) | Value::Object(_) => true,
        Value::Number(number) => number.as_str().len() > 15,
        _ => false,
    };
    let colliding = items.iter().filter(collides).count() as u64;
    if colliding <= 16 { 0 } else { colliding.saturating_mul(sum) / 2 }
}
